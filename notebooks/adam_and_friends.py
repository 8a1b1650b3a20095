# The lesson's source. `python scripts/make_notebook.py` makes adam_and_friends.ipynb of it.

# %% [markdown]
# # From a ball on a hill to Adam
#
# This lesson is for you if you know some Python and can differentiate $x^2$. It begins with a ball
# on a parabola. It ends with Adam, which trains most neural networks today, and with two published
# experiments that we reproduce, debug and fix.
#
# Everything here is computed. The optimizers are those of the package Ravine, where each is a short
# function. The equations are typeset from these functions, the tables are computed with them, and
# the pictures show their actual paths.
#
# Two posts are behind it, and both are worth your time:
#
# - Aman Arora, ["Adam and friends"](https://amaarora.github.io/posts/2021-03-13-optimizers.html),
#   13 March 2021, builds SGD, momentum, RMSprop and Adam from scratch in PyTorch.
# - Bex Tuychiev,
#   ["Adam Optimizer Tutorial"](https://www.datacamp.com/tutorial/adam-optimizer-tutorial),
#   29 August 2024, does it in NumPy and lets the four compete.
#
# Both explain well, and both have bugs, as most code does. Optimizers are hard to debug, because a
# wrong one often works too. So the last part of the lesson is about finding such bugs, with the
# posts as examples. By then you will know everything you need for it.
#
# **Contents.**
# 1 The hill · 2 What we go down · 3 All the data, some, or one · 4 Ravines · 5 Momentum ·
# 6 RMSprop · 7 Adam · 8 The experiment with diamonds · 9 The experiment with clothes ·
# 10 Finding faults · 11 In PyTorch · 12 Where to go from here
#
# The chapters end with exercises. Their answers are folded away: try first, then look.

# %% [markdown]
# First a few imports and helpers. `show` displays a rule as equations and as code, `by_hand` makes a
# table of five steps, and `descend` is the whole training loop. You can come back to them later.

# %%
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, Math, display

import ravine.data
import ravine.torch
from ravine import rule
from ravine.experiments import as_published, as_published_torch, diamonds, figure1, plots
from ravine.experiments.plots import BLACK, BLUE, GREEN, ORANGE, RED
from ravine.ops import sqrt
from ravine.reading.about import about, source
from ravine.reading.equations import latex
from ravine.reading.worked import worked
from ravine.rules import adam, momentum, momentum_classical, rmsprop, sgd

plt.rcParams.update({"figure.constrained_layout.use": True, "figure.dpi": 90, "font.size": 9})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
torch.set_num_threads(1)  # the fastest for networks as small as ours


def code(function):
    """Show a function's source."""
    return Markdown(f"```python\n{source(function)}```")


def show(a_rule):
    """Show a rule as its equations and as its source, from which they are made."""
    display(Math(latex(a_rule.function)), code(a_rule.function))


def table(rows):
    """Show a list of dicts as a table, with numbers to six digits."""
    texts = [[f"{x:.6g}" if isinstance(x, float) else str(x) for x in r.values()] for r in rows]
    lines = [rows[0], ["---"] * len(rows[0]), *texts]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def by_hand(a_rule, **hyperparameters):
    """Work five steps with the gradients 0.5, 0.3, -0.2, 0.4 and 0.1, from p = 1."""
    return table(worked(a_rule, (0.5, 0.3, -0.2, 0.4, 0.1), **hyperparameters))


def descend(a_rule, gradient, start, steps, **hyperparameters):
    """Take steps by a rule; return the points that were visited, the start first."""
    p = np.array(start, float)
    state = a_rule.init(p)
    path = [p]
    for t in range(1, steps + 1):
        p, state = a_rule.update(p, gradient(p), state, t, **hyperparameters)
        path.append(p)
    return np.array(path)


def contours(axes, f, xs, ys, count=12):
    """Draw lines of equal height, as on a map."""
    x, y = np.meshgrid(np.linspace(*xs, 50), np.linspace(*ys, 50))
    z = np.vectorize(f)(x, y)
    levels = z.min() + np.ptp(z) * np.linspace(0, 1, count + 1)[1:] ** 2
    axes.contour(x, y, z, levels=levels, colors="0.75", linewidths=0.8)


# %% [markdown]
# ## 1 The hill
#
# Picture a ball on a hillside at night. It cannot see the valley. It can feel only one thing: how
# the ground under it tilts. If the ground rises to the right, then down is to the left. So move it a
# little to the left, put it down, and feel again.
#
# The tilt is the **gradient**, the derivative of the height. For the hill $f(p) = p^2$ it is
# $f'(p) = 2p$. A derivative is easy to get wrong and easy to check: move a hair to either side and
# see how much the height changes.


# %%
def hill(p):
    """Return the height."""
    return p**2


def slope(p):
    """Return the gradient: the derivative of the height."""
    return 2 * p


def nudge(f, p, h=1e-6):
    """Measure a derivative: the change of f across p, over the distance."""
    return (f(p + h) - f(p - h)) / (2 * h)


print(f"derived  {slope(2.0):.6f}")
print(f"measured {nudge(hill, 2.0):.6f}")

# %% [markdown]
# Keep `nudge` in mind. It will find the worst bug of this lesson, in one line.
#
# **Gradient descent** moves against the gradient, by a **learning rate** `lr` times its size.
# Where the hill is steep the step is long. Where it is nearly flat, near the bottom, it is short.
# Here it is as a *rule*: a function of the parameter `p` and its gradient `g` that returns the new
# `p`. In the equations, $\theta$ is `p`, $\eta$ is `lr`, and $t$ counts the steps.

# %%
show(sgd)

# %% [markdown]
# One step from A, at $p = 2$, with `lr=0.2`. The gradient is 4, so the step is 0.8 long, and we
# land at B, at 1.2.
#
# The straight line is the tangent at A. It is all that the ball knows: it assumes that the hill
# continues like this. The tangent promises a height of 0.8 at B. But the hill is curved, and the ball
# arrives at 1.44. That is lower than before, which is what counts; but the longer the step, the less
# the promise is worth.

# %%
a = 2.0
b = sgd(a, slope(a), lr=0.2)
promised = hill(a) + slope(a) * (b - a)

p = np.linspace(-1.2, 2.4, 200)
ends = np.array([0.7, 2.35])
figure, axes = plt.subplots(figsize=(6, 3.6))
axes.plot(p, hill(p), color="0.6", linewidth=2)
axes.plot(ends, hill(a) + slope(a) * (ends - a), color=BLUE, linestyle="--", label="tangent at A")
axes.plot([b, b], [promised, hill(b)], color=RED, linewidth=2, label="what the curve adds")
axes.annotate("", (b, -0.9), (a, -0.9), arrowprops={"arrowstyle": "->", "color": BLACK})
axes.text((a + b) / 2, -0.78, "lr × gradient", ha="center")
axes.vlines([a, b], -0.9, [hill(a), promised], color="0.8", linewidth=0.8, zorder=0)
for name, at, colour in (("A", a, ORANGE), ("B", b, GREEN)):
    axes.plot(at, hill(at), "o", color=colour, markersize=13)
    axes.text(at, hill(at), name, ha="center", va="center", color="white", weight="bold")
axes.set(xlabel="p", ylabel="height", ylim=(-1.2, 5.4))
axes.legend(loc="upper left")
plt.show()
print(f"A: p = {a:.1f}, height {hill(a):.2f}.  B: p = {b:.1f}, height {hill(b):.2f}")
print(f"promised by the tangent: {promised:.2f}")

# %% [markdown]
# Five steps worked by hand. The gradients are given: 0.5, 0.3, −0.2, 0.4, 0.1. They are the same
# five for every rule in this lesson, so that you can compare. Check the second row: the step is
# 0.1 × 0.3 = 0.03.

# %%
by_hand(sgd, lr=0.1)

# %% [markdown]
# **How long a step?** A step takes $p$ to $p - \eta \cdot 2p$, which is $(1 - 2\eta)\,p$. Everything
# is in that factor. With `lr=0.1` it is 0.8: each step covers a fifth of the way, and the ball walks
# down. With `lr=0.9` it is −0.8: the ball jumps across the valley each time, and still comes down.
# With `lr=1.05` it is −1.1: it jumps to a higher place on the other side, and climbs out.

# %%
figure, panels = plt.subplots(1, 3, figsize=(9, 3), sharey=True)
p = np.linspace(-4.4, 4.4, 200)
for axes, lr, colour in zip(panels, (0.1, 0.9, 1.05), (GREEN, ORANGE, RED), strict=True):
    path = descend(sgd, slope, 2.0, 8, lr=lr)
    axes.plot(p, hill(p), color="0.6", linewidth=2)
    axes.plot(path, hill(path), "o-", color=colour, linewidth=1, markersize=5)
    axes.plot(path[0], hill(path[0]), "o", color=BLACK, markersize=6)
    factor = f"{1 - 2 * lr:.1f}".replace("-", "−")
    axes.set(title=f"lr = {lr}: p is multiplied by {factor}", xlabel="p", ylim=(-1, 19))
panels[0].set_ylabel("height (start in black)")
plt.show()

# %% [markdown]
# **Exercise 1.** On $f(p) = p^2$ the ball comes to rest only if `lr` is below 1. What is the limit
# on the steeper hill $f(p) = 5p^2$? Find it with a pencil, then try both sides of it.
#
# <details><summary>Answer</summary>
#
# The gradient is $10p$, so a step multiplies $p$ by $1 - 10\,\text{lr}$. That lies between −1 and 1
# only if `lr` is below 0.2. In general the limit is 2 over the second derivative: the more sharply
# the ground curves, the shorter the step must be.
#
# ```python
# for lr in (0.19, 0.2, 0.21):
#     path = descend(sgd, lambda p: 10 * p, 2.0, 50, lr=lr)
#     print(f"lr = {lr:.2f}: after 50 steps |p| = {abs(path[-1]):.4f}")
# ```
#
# ```text
# lr = 0.19: after 50 steps |p| = 0.0103
# lr = 0.20: after 50 steps |p| = 2.0000
# lr = 0.21: after 50 steps |p| = 234.7817
# ```
#
# </details>

# %% [markdown]
# ## 2 What we go down
#
# Our hill is made of mistakes. We want to predict something, and the height is how wrong we are.
#
# The second post predicts the price of a diamond from its weight, by a straight line:
# price ≈ $m$ · weight + $b$. The two parameters $m$ and $b$ are the place of the ball. Ravine has
# the post's data: 16,000 diamonds to train on. Weight and price are *standardised*: shifted and
# scaled to mean 0 and standard deviation 1, over the whole sample.
#
# For each diamond, square the distance from the price to the line. The mean of these squares is
# the **mean squared error**:
#
# $$f(m, b) = \frac1n \sum_{i=1}^{n} (m x_i + b - y_i)^2$$
#
# Its gradient has two coordinates, one for each parameter. Differentiate under the sum: the outer
# derivative gives $2\,(m x_i + b - y_i)$, the inner one gives $x_i$ for $m$, and 1 for $b$.

# %%
sample = diamonds.sample()
x, y = sample.x, sample.y


def loss(m, b):
    """Return the mean squared error of the line over all diamonds."""
    return np.mean((m * x + b - y) ** 2)


def gradient(p, rows=slice(None)):
    """Return the gradient by m and b, on all diamonds or some rows."""
    m, b = p
    error = m * x[rows] + b - y[rows]
    return np.array([2 * np.mean(error * x[rows]), 2 * np.mean(error)])


print(f"derived  {gradient([0.5, 0.2]).round(6)}")
measured = np.array([nudge(lambda m: loss(m, 0.2), 0.5), nudge(lambda b: loss(0.5, b), 0.2)])
print(f"measured {measured.round(6)}")

# %% [markdown]
# What does it look like? On the left, eight diamonds and a line: each squared error is drawn as a
# square, and the loss is the mean of the areas. In the middle, the line is tilted while $b$
# stays 0: the loss is a parabola in $m$, just like the hill above. On the right, both parameters
# vary, and we look down on the loss from above: it is a bowl.

# %%
best_m, best_b = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y, rcond=None)[0]

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.3))
few = np.argsort(x[:60])[5::7]
left.plot([-1.5, 3], [-0.75, 1.5], color=BLUE, label="m = 0.5, b = 0")
for xi, yi in zip(x[few], y[few], strict=True):
    error = 0.5 * xi - yi
    left.add_patch(plt.Rectangle((xi, yi), abs(error), error, color=ORANGE, alpha=0.35, lw=0))
left.plot(x[few], y[few], "o", color=BLACK, markersize=4)
left.set(xlabel="weight (standardised)", ylabel="price (standardised)", aspect="equal")
left.legend(loc="upper left")

m = np.linspace(-0.6, 2.4, 60)
middle.plot(m, [loss(mi, 0) for mi in m], color="0.6", linewidth=2)
for mi, colour in ((0.5, BLUE), (best_m, GREEN)):
    middle.plot(mi, loss(mi, 0), "o", color=colour, markersize=8, label=f"m = {mi:.2f}")
middle.set(xlabel="m", ylabel="mean squared error", ylim=0)
middle.legend()

contours(right, loss, (-0.6, 2.4), (-1.5, 1.5))
right.plot(0.5, 0, "o", color=BLUE, markersize=8, label="the blue line")
right.plot(best_m, best_b, "o", color=GREEN, markersize=8, label="the bottom")
right.set(xlabel="m", ylabel="b", aspect="equal")
right.legend()
plt.show()
print(f"the bottom: m = {best_m:.4f}, b = {best_b:.6f}, loss {loss(best_m, best_b):.4f}")

# %% [markdown]
# For a straight line we can compute the bottom without any descent: it is the least-squares solution,
# the green dot. That makes the line a good test. We know where every optimizer must end up, and how
# far from there it is. Networks have no such formula, so there we have to go down step by step.

# %% [markdown]
# ## 3 All the data, some, or one
#
# The gradient above is a mean over 16,000 diamonds. Must we look at all of them for a single step?
#
# You walk down a hill at night. You can wait for sunrise, see the whole slope, take one step, and
# wait for the next sunrise. You can carry a good **flashlight**, see the nearest stones, and walk
# on. Or you strike a match, see a single stone, and trust it.
#
# - **Full batch**: the gradient of all rows. The direction is right, but each step is expensive. This
#   is gradient descent in the strict sense.
# - **Single sample**: the gradient of one row, drawn at random. Right on average, and very noisy.
#   This is *stochastic* gradient descent, SGD, in the strict sense.
# - **Mini-batch**: the mean over some rows, often 32 to 512. This is what most people call SGD.
#
# The rule is the same, `sgd`; only the gradient differs. In an **epoch** each row is seen once. The
# rows are reshuffled before every epoch.


# %%
def descend_on_batches(a_rule, batch_size, steps, start=(-0.5, 0.8), seed=0, **hyperparameters):
    """Take steps on batches of diamonds, shuffled in every epoch."""
    random = np.random.default_rng(seed)

    def batches():
        while True:
            order = random.permutation(len(x))
            for i in range(0, len(x), batch_size):
                yield order[i : i + batch_size]

    batch = batches()
    return descend(a_rule, lambda p: gradient(p, next(batch)), start, steps, **hyperparameters)


kinds = {"full batch": (16_000, GREEN), "mini-batch of 64": (64, BLUE), "single sample": (1, RED)}
figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), sharex=True, sharey=True)
for axes, (name, (size, colour)) in zip(panels, kinds.items(), strict=True):
    path = descend_on_batches(sgd, size, 200, lr=0.02)
    contours(axes, loss, (-0.8, 1.7), (-0.9, 1.1))
    axes.plot(*path.T, ".-", color=colour, linewidth=0.8, markersize=3)
    axes.plot(*path[0], "o", color=BLACK)
    axes.set(title=name, xlabel="m", aspect="equal")
    late = np.mean([loss(*p) for p in path[-50:]])
    print(f"{name:16} {200 * size:9,} rows looked at; loss in the last 50 steps {late:.4f}")
panels[0].set_ylabel("b (start in black)")
plt.show()

# %% [markdown]
# Two hundred steps each, with the same learning rate. The full batch goes straight to the bottom
# and has looked at 3,200,000 rows. The mini-batch arrives at nearly the same place with 12,800.
# The single sample has looked at 200 rows. It staggers, but it is in the right neighbourhood. Per
# row it makes by far the most progress, but it never comes to rest.
#
# How noisy is a gradient? Draw many batches of one size at one place, and look at how much their
# gradients differ. The noise falls with the square root of the batch size: four times the rows,
# half the noise. So bigger batches have diminishing returns.

# %%
random = np.random.default_rng(1)
sizes = [1, 4, 16, 64, 256, 1024]
place = (0.5, 0.2)
noise = [
    np.std([gradient(place, random.integers(len(x), size=n))[0] for _ in range(1000)])
    for n in sizes
]

figure, axes = plt.subplots(figsize=(5.5, 3.2))
axes.loglog(sizes, noise, "o", color=BLUE, label="measured, 1,000 batches each")
axes.loglog(sizes, noise[0] / np.sqrt(sizes), color="0.6", zorder=0, label="∝ 1 / √(batch size)")
axes.set(xlabel="batch size", ylabel="spread of the gradient by m")
axes.set_xticks(sizes, sizes)
axes.minorticks_off()
axes.legend()
plt.show()
print("batch of 64: the noise of one row divided by", round(noise[0] / noise[3], 1))

# %% [markdown]
# Since the noise does not go away, the ball does not come to rest; it keeps trembling around the
# bottom. A smaller learning rate makes it tremble less, but also walk more slowly. The solution is to
# start with a large one and lower it later. That is a *schedule*; chapter 11 has one.
#
# **Exercise 2.** Let the mini-batch descent run for 3,000 steps with `lr` 0.1, 0.01 and 0.001. How
# far above the bottom is the loss, as a mean over the last 1,000 steps? What happens to it when the
# learning rate is a tenth?
#
# <details><summary>Answer</summary>
#
# From 0.1 to 0.01 it falls to less than a tenth: the smaller the steps, the smaller the trembling.
# From 0.01 to 0.001 it rises, since 3,000 such steps are too few to arrive.
#
# ```python
# for lr in (0.1, 0.01, 0.001):
#     path = descend_on_batches(sgd, 64, 3000, lr=lr)
#     above = np.mean([loss(*p) for p in path[-1000::20]]) - loss(best_m, best_b)
#     print(f"lr = {lr}: {above:.6f} above the bottom")
# ```
#
# ```text
# lr = 0.1: 0.001254 above the bottom
# lr = 0.01: 0.000077 above the bottom
# lr = 0.001: 0.000235 above the bottom
# ```
#
# </details>

# %% [markdown]
# ## 4 Ravines
#
# The bowl of the diamonds was round because the data were standardised. Leave the weight in carats
# and the price in thousands of dollars, and look again. The same data, the same line; but now the
# valley is long and narrow. Such a valley is a **ravine**.
#
# In a ravine the gradient points mostly across, from wall to wall, and hardly along the floor,
# where we need to go. The steep walls forbid long steps, and short steps take ages along the floor. One
# number measures how bad it is, the **condition number**: the curvature across, divided by
# the curvature along.
#
# Below, each descent uses the best possible constant learning rate, which is 2 over the sum of the
# two curvatures.

# %%
carat = x * sample.std[0] + sample.mean[0]
thousands = (y * sample.std[1] + sample.mean[1]) / 1000
starts = {"standardised": (-0.5, 0.8), "raw": (0.0, 8.0)}

figure, panels = plt.subplots(1, 2, figsize=(9, 4.2))
for axes, (name, u, v) in zip(
    panels, (("standardised", x, y), ("raw", carat, thousands)), strict=True
):
    lines = np.stack([u, np.ones_like(u)], 1)
    curvatures = 2 * np.linalg.eigvalsh(lines.T @ lines / len(u))
    bottom = np.linalg.lstsq(lines, v, rcond=None)[0]

    def slopes(p, lines=lines, v=v):
        """Return the gradient for these data."""
        return 2 * lines.T @ (lines @ p - v) / len(v)

    path = descend(sgd, slopes, starts[name], 40, lr=2 / curvatures.sum())
    near = np.linalg.norm(path - bottom, axis=1) < 0.01 * np.linalg.norm(path[0] - bottom)
    print(f"{name:12}  condition number {curvatures[1] / curvatures[0]:5.1f}", end="")
    print(f", within 1% of the way after {near.argmax()} steps")

    span = np.array([-1.2, 1.2]) * np.abs(path - bottom).max()
    contours(
        axes,
        lambda m, b, u=u, v=v: np.mean((m * u + b - v) ** 2),
        span + bottom[0],
        span + bottom[1],
    )
    axes.plot(*path.T, ".-", color=BLUE, linewidth=0.9, markersize=4)
    axes.plot(*path[0], "o", color=BLACK)
    axes.plot(*bottom, "o", color=GREEN, markersize=8)
    axes.set(title=f"{name}: {curvatures[1] / curvatures[0]:.1f} to 1", aspect="equal")
    axes.set(xlabel="m", ylabel="b")
plt.show()

# %% [markdown]
# So the first remedy is not an optimizer at all: **standardise your data**. It does not always help
# enough. Take six columns of the diamonds instead of one; some of them say nearly the same thing:

# %%
columns = ravine.data.diamonds()
six = np.stack([columns[c] for c in ("carat", "depth", "table", "x", "y", "z")], 1).astype(float)
for name, features in (("raw", six), ("standardised", (six - six.mean(0)) / six.std(0))):
    lines = np.hstack([features, np.ones((len(six), 1))])
    low, *_, high = np.linalg.eigvalsh(lines.T @ lines)
    print(f"six columns, {name:12} condition number {high / low:12,.0f}")

# %% [markdown]
# And inside a network nobody can standardise everything. The rest of this lesson is about
# optimizers that cope with ravines.
#
# For the pictures we use a ravine with a condition number of 100. Its curvature along $y$, across the
# ravine, is a hundred times that along $x$:
#
# $$f(x, y) = \tfrac12 (x^2 + 100\,y^2)$$


# %%
def ravine_height(x, y):
    """Return the height of the ravine."""
    return (x**2 + 100 * y**2) / 2


def ravine_gradient(p):
    """Return its gradient."""
    return np.array([1.0, 100.0]) * p


def draw_path(axes, path, colour, title):
    """Draw a path over the map of the ravine; both axes have the same scale."""
    contours(axes, ravine_height, (-10, 6.5), (-1.5, 1.5))
    axes.plot(*path.T, ".-", color=colour, linewidth=0.9, markersize=4)
    axes.plot(*path[0], "o", color=BLACK)
    axes.plot(0, 0, "x", color=BLACK, markersize=8)
    axes.set_title(title, loc="left")
    axes.set(aspect="equal", xlim=(-10, 6.5), ylim=(-1.5, 1.5), ylabel="y")


# %% [markdown]
# ## 5 Momentum
#
# Our ball behaves strangely. After each step it stands still and forgets where it came from. Put it
# on a **skateboard** instead. Now it has a velocity. A push downhill adds to the velocity, friction
# takes some of it away, and between pushes it rolls on. Pushes from left and right cancel out; pushes
# in the same direction add up.
#
# The rule keeps the velocity in a buffer `b`. This memory is called **state**, and it comes
# between `g` and `t` in the function's arguments. Each step keeps a fraction $\mu$ (`momentum`, often
# 0.9; many texts call it $\beta$) of the old velocity and adds the gradient. $\tau$ is an option,
# `dampening`, which is usually 0; you can ignore it.

# %%
show(momentum)

# %% [markdown]
# By hand, with the same five gradients. Second row: b = 0.9 × 0.5 + 0.3 = 0.75. Look at the third
# row: the gradient is negative, but the skateboard rolls on.

# %%
by_hand(momentum, lr=0.1)

# %% [markdown]
# On a slope that never changes, the velocity grows until friction takes away as much as each push
# adds: up to $1/(1-\mu)$ gradients. That is 10 for a momentum of 0.9, and 100 for 0.99. So momentum
# also makes steps longer: to compare fairly, remember that `lr=0.1` with momentum 0.9 walks, in the
# long run, like `lr=1` without.
#
# Now the ravine again, with momentum 0, 0.9 and 0.99 and the same learning rate.

# %%
momenta = {0.0: BLUE, 0.9: GREEN, 0.99: ORANGE}
figure, panels = plt.subplots(3, 1, figsize=(8, 5.4), sharex=True)
paths = {}
for axes, (mu, colour) in zip(panels, momenta.items(), strict=True):
    paths[mu] = descend(momentum, ravine_gradient, (-9, 1), 100, lr=0.018, momentum=mu)
    draw_path(axes, paths[mu], colour, f"momentum {mu}")
panels[-1].set_xlabel("x")
plt.show()

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.9))
for mu, colour in momenta.items():
    speed = -np.diff(descend(momentum, np.ones_like, 0.0, 400, lr=1.0, momentum=mu))
    left.plot(speed, color=colour, label=f"momentum {mu}")
    right.semilogy(ravine_height(*paths[mu].T), color=colour, label=f"momentum {mu}")
    print(f"momentum {mu}: height after 100 steps {ravine_height(*paths[mu][-1]):.2g}")
left.set(title="speed on a constant slope", xlabel="step", ylabel="step / (lr × gradient)")
left.set_yscale("log")
right.set(title="height in the ravine", xlabel="step", ylabel="height")
right.legend()
plt.show()

# %% [markdown]
# Without momentum, the zigzag between the walls soon dies out, and then the ball creeps along the
# floor: after 100 steps it has not arrived. With 0.9 it swings more, and arrives. With 0.99 there is
# too little friction: it rolls past the bottom, comes back, and circles for a long time. More
# momentum is not better; there is a right amount, and it depends on the ravine.
#
# You will read that momentum *dampens* the zigzag. Look at the pictures again: at this learning
# rate it prolongs it. Exercise 3 finds out when the sentence is true.
#
# **Nothing is lost.** With $\beta = 0$ the skateboard stops after each push, and we are back at
# gradient descent, to the last bit:


# %%
def replay(a_rule, gradients, **hyperparameters):
    """Return the steps that a rule takes on given gradients."""
    feed = iter(gradients)
    return -np.diff(descend(a_rule, lambda _: next(feed), 0.0, len(gradients), **hyperparameters))


noisy = 1 + np.random.default_rng(0).normal(size=3000)  # a slope of 1, and noise
without = replay(momentum, noisy, lr=0.1, momentum=0.0)
print("momentum=0 is gradient descent:", np.array_equal(without, replay(sgd, noisy, lr=0.1)))

# %% [markdown]
# **Two ways to write it.** In textbooks the learning rate is inside the velocity. In PyTorch it is
# outside. Here is the textbook version:

# %%
show(momentum_classical)

# %% [markdown]
# As long as the learning rate is constant, both take the same steps. When it changes during training,
# they differ. Outside, a new learning rate affects the whole velocity at once; inside, only
# what is added from then on. So they are two algorithms, and in Ravine they are two rules.


# %%
def steps_with_change(a_rule, change_at=50, steps=100):
    """Step on a constant slope, with a tenth of the learning rate from some step on."""
    p, state, path = 0.0, a_rule.init(0.0), [0.0]
    for t in range(1, steps + 1):
        lr = 0.1 if t <= change_at else 0.01
        p, state = a_rule.update(p, 1.0, state, t, lr=lr)
        path.append(p)
    return -np.diff(path)


outside, inside = steps_with_change(momentum), steps_with_change(momentum_classical)
print(f"largest difference before the change: {abs(outside - inside)[:50].max():.6f}")
print(f"first step after it: lr outside {outside[50]:.3f}, inside {inside[50]:.3f}")

# %% [markdown]
# **Exercise 3.** When does momentum damp the zigzag? Follow $y$ alone, across the ravine, where the
# curvature is 100. Without momentum a step multiplies it by $1 - 100\,\text{lr}$. With momentum
# 0.9 the swings die by $\sqrt{0.9} \approx 0.949$ a step. Compare `lr` 0.015, 0.0195 and 0.021:
# how large is $|y|$ after 100 steps, without and with?
#
# <details><summary>Answer</summary>
#
# Without momentum the factor is −0.5, −0.95, −1.1. So momentum damps the zigzag only where plain
# descent is near its limit or beyond it: it makes the largest possible learning rate almost twice
# as large. Far below the limit, momentum itself causes swings.
#
# ```python
# for lr in (0.015, 0.0195, 0.021):
#     ends = [
#         abs(descend(momentum, lambda y: 100 * y, 1.0, 100, lr=lr, momentum=mu)[-10:]).max()
#         for mu in (0.0, 0.9)
#     ]
#     print(f"lr = {lr}: without {ends[0]:.1e}, with {ends[1]:.1e}")
# ```
#
# ```text
# lr = 0.015: without 4.0e-28, with 9.8e-03
# lr = 0.0195: without 9.4e-03, with 1.1e-02
# lr = 0.021: without 1.4e+04, with 1.0e-02
# ```
#
# </details>

# %% [markdown]
# ## 6 RMSprop
#
# Momentum has one learning rate for all directions, and a ravine wants two: short steps across,
# long ones along. Think of **shoes**. On the steep side you want boots with a deep tread that take
# short, sure steps; along the flat floor you want to run. RMSprop gives every coordinate its own
# shoes, and chooses them by experience: where gradients have been large, short steps; where they
# have been small, long ones.
#
# The experience is a running mean of the *squared* gradient, `v`. Its square root is about the
# usual size of the gradient (the *root mean square*, hence the name), and the gradient is divided
# by it. This rule is so short that we can write it ourselves. `eps` keeps the division from failing
# where the gradient is 0.


# %%
@rule
def rms(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8):
    """RMSprop without its options."""
    v = alpha * v + (1 - alpha) * g**2
    return p - lr * (g / (sqrt(v) + eps)), v


display(Math(latex(rms.function)))
same = np.array_equal(replay(rms, noisy), replay(rmsprop, noisy))
print("the same steps as the package's rmsprop:", same)

# %% [markdown]
# The package's rule has two more switches, as in PyTorch. `centered` subtracts the mean
# first, so that it divides by the standard deviation; `momentum` puts the result on a skateboard.

# %%
show(rmsprop)

# %% [markdown]
# By hand. In the first row v = 0.01 × 0.5² = 0.0025, and its root is 0.05. But the gradient was
# 0.5! The mean begins at 0 and has seen one value, which counted for a hundredth. So the first step
# is ten times as long as it should be: 1 instead of 0.1. Remember that for the next chapter.

# %%
by_hand(rms, lr=0.1)

# %% [markdown]
# In the ravine it walks to the floor and then along it. Below the path you see the **effective
# step** of each coordinate, what its gradient is multiplied by: $\eta / (\sqrt{v_t} + \epsilon)$.
# At first it is some ten times shorter across than along, since the gradient is some ten times
# larger there. Nobody had to tell it.

# %%
rms_path = descend(rms, ravine_gradient, (-9, 1), 300, lr=0.05, alpha=0.9)
effective = -np.diff(rms_path, axis=0) / ravine_gradient(rms_path[:-1])

figure, (above, below) = plt.subplots(2, 1, figsize=(8, 4.8), height_ratios=(1, 1.4))
draw_path(above, rms_path, RED, "RMSprop")
below.semilogy(effective[:200, 0], color=GREEN, label="along the floor (x)")
below.semilogy(effective[:200, 1], color=ORANGE, label="across (y)")
below.axhline(0.02, color=BLACK, linestyle="--", linewidth=1, label="limit across: 2 / curvature")
below.set_title("effective step of each coordinate", loc="left")
below.set(xlabel="step", ylabel="step / gradient")
below.legend()
plt.show()
print(f"first step: along / across = {effective[0, 0] / effective[0, 1]:.0f}")
print(f"|x| at the start and after 100, 200, 300 steps: {abs(rms_path[::100, 0]).round(2)}")
print(f"|y| over the last 100 steps: at most {abs(rms_path[-100:, 1]).max():.3f}")

# %% [markdown]
# Then something interesting happens. As the ball approaches the floor, the gradient across gets
# small. RMSprop takes the ground for flat and makes longer and longer steps across, until
# they exceed the limit of exercise 1, 2 over the curvature, which is 0.02 here. Now the ball jumps
# from wall to wall, each time a little higher, until `v` catches up; the steps get shorter, and it all
# starts again. This causes the sawtooth in the picture, and the thickening of the path. RMSprop knows
# how large the gradient *is*. It does not know the curvature.
#
# That is the price. Gradient descent slows down near the bottom, because the gradient gets small.
# RMSprop divides by that small gradient and does not slow down: in the end it hops back and forth at a
# distance of `lr`/2. So here, too, the learning rate has to be lowered towards the end.
#
# **No memory at all.** With `alpha=0` the mean is just the last gradient, and $g$ divided by its own
# size is its *sign*: each coordinate moves by exactly `lr`. That is *sign descent*. RMSprop lies
# between it and gradient descent with a fixed learning rate for each coordinate.

# %%
no_memory = replay(rmsprop, noisy, lr=0.1, alpha=0.0, eps=0.0)
apart = abs(no_memory - 0.1 * np.sign(noisy)).max()
print(f"largest distance from lr × sign(g): {apart:.6f}")

# %% [markdown]
# **Exercise 4.** What does `centered=True` do on a slope that never changes? Guess before you
# compute: the standard deviation of a constant is 0.
#
# <details><summary>Answer</summary>
#
# First they shrink, as after every start from `v = 0`; then they grow and grow. Centring measures
# the *noise* of the gradient, and takes long steps where there is none. With noisy gradients that
# is reasonable. On an even slope it runs away.
#
# ```python
# steps = replay(rmsprop, np.ones(2000), lr=0.1, centered=True)
# for t in (1, 10, 100, 500, 1000, 2000):
#     print(f"step {t:4}: {steps[t - 1]:.4g}")
# ```
#
# ```text
# step    1: 1.005
# step   10: 0.3401
# step  100: 0.2076
# step  500: 1.238
# step 1000: 15.22
# step 2000: 2316
# ```
#
# </details>

# %% [markdown]
# ## 7 Adam
#
# Adam rides the skateboard *and* wears the shoes. It keeps a running mean of the gradient, `m`, and
# a running mean of its square, `v`, and steps by the one over the root of the other. If the
# gradients agree, that quotient is near 1, and the step is about `lr`. If they contradict each
# other, the mean is small, and so is the step. You can read it as signal over noise.

# %%
show(adam)

# %% [markdown]
# The two lines with hats are new. Both means start at 0, so at first they are too small: you saw
# what that did to RMSprop's first step. We know exactly how much too small. After $t$ steps the
# weights of the gradients in `m` add up to $1 - \beta_1^t$ instead of 1. Divide by that, and the
# mean is right from the first step on. It is like a speedometer that shows the mean of the last
# minute. In the first second it still counts 59 seconds of standing; since you know when you
# started, you can correct for it.
#
# By hand: in the first row m = 0.1 × 0.5 = 0.05, and divided by 1 − 0.9 that is 0.5, the gradient.
# In the same way v becomes 0.25, whose root is 0.5. The quotient is 1, and **the first step is
# exactly `lr`, whatever the gradient is**. We will need that fact later.

# %%
by_hand(adam, lr=0.1)

# %% [markdown]
# What if we leave the correction out? Write that rule, and compare. On the left, the two means of a
# noisy gradient around 1. On the right, the length of a step on a constant slope: with the
# correction it is always `lr`. Without it, `v` starts out more wrong than `m`, so the steps are too
# long: the first is 3.2 times `lr`, the twelfth 6.6 times, and it takes thousands of steps to calm
# down.


# %%
@rule
def adam_uncorrected(p, g, m, v, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam without its bias correction."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return p - lr * m / (sqrt(v) + eps), m, v


m, raw = 0.0, []
for g in 1 + 0.3 * (noisy[:50] - 1):
    m = 0.9 * m + 0.1 * g
    raw.append(m)
t = np.arange(1, 51)
on = replay(adam, np.ones(5000), lr=1.0)
off = replay(adam_uncorrected, np.ones(5000), lr=1.0)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.9))
left.plot(t, 1 + 0.3 * (noisy[:50] - 1), ".", color="0.7", label="gradients")
left.plot(t, raw, color=RED, label="m: correction off")
left.plot(t, raw / (1 - 0.9**t), color=GREEN, label="m with a hat: correction on")
left.set(title="mean of the gradient", xlabel="step", ylim=0)
left.legend()
right.semilogx(range(1, 5001), off, color=RED, label="correction off")
right.semilogx(range(1, 5001), on, color=GREEN, label="correction on")
right.set(title="length of the step on a constant slope", xlabel="step", ylabel="step / lr", ylim=0)
right.legend()
plt.show()
print(
    f"correction off: first step {off[0]:.2f} lr, longest {off.max():.2f} lr at {off.argmax() + 1}"
)
print(f"correction on: from {on.min():.6f} lr to {on.max():.6f} lr")

# %% [markdown]
# **Adam's relatives.** Switch its memories off, one after the other, and the rules of the last
# chapters come back. With `beta1=0` it is RMSprop, with bias correction. With `beta2=0` as well it
# is sign descent.

# %%
t = np.arange(1, len(noisy) + 1)
beta1_off = replay(adam, noisy, lr=0.1, beta1=0.0, eps=0.0)
rms_steps = replay(rmsprop, noisy, lr=0.1, alpha=0.999, eps=0.0)
both_off = replay(adam, noisy, lr=0.1, beta1=0.0, beta2=0.0, eps=0.0)
table(
    [
        {"Adam with": a, "is": b, "largest difference": float(abs(c - d).max().round(12))}
        for a, b, c, d in (
            ("beta1=0", "RMSprop × √(1 − alpha^t)", beta1_off, rms_steps * np.sqrt(1 - 0.999**t)),
            ("beta1=0, beta2=0", "lr × sign(g)", both_off, 0.1 * np.sign(noisy)),
        )
    ]
)

# %% [markdown]
# **What scale?** Measure the loss in cents instead of dollars, and each gradient is a hundred
# times as large. Gradient descent then takes steps a hundred times as long, and you must search for
# a new learning rate. Adam divides by the gradient's own size, and its steps stay the same (but for
# `eps`). That is a good reason why one default, `lr=0.001`, is a fair start in so many places.

# %%
for a_rule in (sgd, momentum, rmsprop, adam):
    dollars = replay(a_rule, noisy, lr=0.001)
    cents = replay(a_rule, 100 * noisy, lr=0.001)
    print(f"{a_rule.name:9} steps in cents / steps in dollars: {np.median(cents / dollars):.4f}")

# %% [markdown]
# **All four in the ravine**, each with a learning rate that suits it. Read it with care. One
# picture of one function with hand-picked learning rates shows *how* they move. It does not show
# which is best, and no such picture can.

# %%
entries = (
    ("gradient descent", sgd, {"lr": 0.018}, BLUE),
    ("momentum 0.9", momentum, {"lr": 0.018}, GREEN),
    ("RMSprop", rmsprop, {"lr": 0.05, "alpha": 0.9}, RED),
    ("Adam", adam, {"lr": 0.3}, BLACK),
)
heights = {}
figure, panels = plt.subplots(4, 1, figsize=(8, 7.2), sharex=True)
for axes, (name, a_rule, hyper, colour) in zip(panels, entries, strict=True):
    path = descend(a_rule, ravine_gradient, (-9, 1), 250, **hyper)
    draw_path(axes, path, colour, f"{name}, lr = {hyper['lr']}")
    heights[name] = ravine_height(*path.T)
panels[-1].set_xlabel("x")
plt.show()

figure, axes = plt.subplots(figsize=(7, 2.9))
for name, _, _, colour in entries:
    axes.semilogy(heights[name], color=colour, label=name, linewidth=1)
axes.set(xlabel="step", ylabel="height in the ravine")
axes.legend()
plt.show()
remembering = descend(rmsprop, ravine_gradient, (-9, 1), 250, lr=0.05, alpha=0.999)
for alpha, end in ((0.9, heights["RMSprop"][-1]), (0.999, ravine_height(*remembering[-1]))):
    print(f"RMSprop with alpha={alpha}: height after 250 steps {end:.1e}")

# %% [markdown]
# You see the families. Momentum swings and arrives. RMSprop arrives and hops. Adam swings too, but
# gently, since its steps across are short. And Adam goes on down where RMSprop hops: its `beta2` of
# 0.999 remembers a thousand steps, so `v` is still large when the gradients have become small, and
# the steps shrink with them. For a while, a long memory acts like a schedule. RMSprop can have
# it too, with `alpha=0.999`.
#
# What does it cost in memory?

# %%
table(
    [
        {
            "rule": a_rule.name,
            "state": ", ".join(about(a_rule).state) or "none",
            "bytes per float32 parameter": about(a_rule).state_bytes(4),
        }
        for _, a_rule, _, _ in entries
    ]
)

# %% [markdown]
# Adam keeps two numbers for every parameter. A model of a billion parameters in float32 takes 4 GB;
# its optimizer needs 8 GB more.
#
# **Exercise 5.** Adam's steps are "about `lr`". What is the longest it can take? Feed it gradients
# of 0 for a long time, then a single one of 1.
#
# <details><summary>Answer</summary>
#
# Then $m = 1-\beta_1 = 0.1$ and $v = 1-\beta_2 = 0.001$, and the step is $0.1/\sqrt{0.001}$, about
# 3.16 times `lr`. With `beta1=0` it is 31.6 times. So Adam limits every step; but a spike after
# silence moves it further than usual, and its echo in `m` lasts for about ten more steps.
#
# ```python
# spike = np.zeros(20_000)
# spike[-100] = 1.0
# for beta1 in (0.9, 0.0):
#     longest = replay(adam, spike, lr=1.0, beta1=beta1, eps=1e-12).max()
#     print(f"beta1 = {beta1}: {longest:.2f} times lr")
# ```
#
# ```text
# beta1 = 0.9: 3.16 times lr
# beta1 = 0.0: 31.62 times lr
# ```
#
# </details>
#
# **Exercise 6.** *Adagrad* (Duchi, Hazan and Singer, 2011) is older than RMSprop. It divides by the
# root of the *sum* of all squared gradients. Write it as a rule, and compare with
# `torch.optim.Adagrad`. What happens to its steps in the long run?
#
# <details><summary>Answer</summary>
#
# The sum only grows, so on a constant slope the steps shrink like $1/\sqrt t$: a schedule for free,
# and sometimes too soon. RMSprop forgets; that is the whole difference.
#
# ```python
# @rule
# def my_adagrad(p, g, v, *, lr=1e-2, eps=1e-10):
#     v = v + g**2
#     return p - lr * g / (sqrt(v) + eps), v
#
#
# q = torch.zeros((), dtype=torch.float64, requires_grad=True)
# theirs, places = torch.optim.Adagrad([q]), [0.0]
# for g in noisy:
#     q.grad = torch.tensor(g)
#     theirs.step()
#     places.append(q.item())
# difference = abs(replay(my_adagrad, noisy) + np.diff(places)).max()
# print("equal to torch.optim.Adagrad:", difference < 1e-12)
# steps = replay(my_adagrad, np.ones(10_000), lr=1.0)
# print(f"step 1: {steps[0]:.2f}, step 100: {steps[99]:.2f}, step 10,000: {steps[9999]:.2f}")
# ```
#
# ```text
# equal to torch.optim.Adagrad: True
# step 1: 1.00, step 100: 0.10, step 10,000: 0.01
# ```
#
# </details>

# %% [markdown]
# ## 8 The experiment with diamonds
#
# Now the second post's experiment: SGD, SGD with momentum, RMSprop and Adam fit the line of chapter
# 2, in batches of 64, for at most 10,000 epochs. They stop when the loss changes by less than
# 0.000001 from one epoch to the next. SGD and momentum *clip*: a coordinate of the gradient that is
# beyond 1 or −1 is brought back to it. The result is an error in dollars, the root of the mean
# squared error (RMSE) on 4,000 diamonds that were kept aside for the test.
#
# The post reports that Adam's error is 1,570 dollars, and that of the others 138 million to 14
# billion dollars. Can that be? Let us first do what the post's author did, as exactly as we can.
# Ravine has a compiled loop for this protocol, so 10,000 epochs take a second.

# %%
published = [diamonds.run(spec) for spec in diamonds.as_published_specs()]
table(
    [
        {
            "method": r["method"],
            "the post's RMSE": repr(r["published_rmse"]),
            "ours": repr(r["rmse"]),
            "epochs": r["epochs"],
        }
        for r in diamonds.as_published_table(published)
    ]
)

# %%
plots.diamonds_bars(
    diamonds.as_published_table(published), "Diamonds as published (runtime: this machine)"
)

# %% [markdown]
# We get the same numbers, down to the digits where the order of summation begins to matter. So we can
# reproduce the post's experiment, including whatever is wrong with it. That is worth a lot: a bug that
# can be reproduced can be found.
#
# And something must be wrong. A slow optimizer does not misprice a diamond by 14 billion dollars.
# If you always predict the mean price, your error is below 4,000
# dollars. And no straight line can be better than about 1,570 dollars:

# %%
table(diamonds.floor())

# %% [markdown]
# Before we look for the bug, here is the end of the story: the same protocol without it, first with
# the post's own random numbers, then with twelve other seeds.

# %%
mended = [diamonds.run(spec) for spec in diamonds.corrected_specs(range(12))]
rows = diamonds.corrected_table(mended)
ends = [row["rmse"] for row in rows]
columns = ("method", "rmse", "epochs", "rmse_min", "rmse_median", "rmse_max", "stopped")
columns += ("epochs_min", "epochs_max")
table([{c: row[c] for c in columns} for row in rows])

# %%
display(plots.diamonds_bars(rows, "Diamonds, mended (runtime: this machine)"))
floor = {row["line"]: row["test_rmse"] for row in diamonds.floor()}
display(
    plots.diamonds_seeds(
        mended[4:],
        best_line=floor["best line for the test rows"],
        least_squares=floor["least squares"],
    )
)

# %% [markdown]
# All four find the line. On the post's seed they end between 1,569.70 and 1,570.97 dollars; least
# squares gives 1,569.81 (less than that is luck with the test's diamonds). So this problem cannot
# tell them apart. It is a round bowl with two parameters, and a bowl is no test for optimizers that
# were made for ravines.
#
# What differs is the trembling. Momentum 0.9 with the same `lr=0.1` makes steps that are eventually ten
# times as long, so it trembles most, up to 1,692 dollars. And the number of epochs is a
# lottery: the stopping rule waits for two epochs that happen to end at almost the same height. With
# noise that is luck, and takes between 3 epochs and all 10,000.
#
# **And the speed?** In the post Adam took 1.8 seconds and the others 42 to 51. But Adam stopped
# after 412 epochs, while the others ran for 10,000. Divide:

# %%
ran = {r["method"]: r["epochs"] for r in diamonds.as_published_table(published)}
table(
    [
        {
            "method": name,
            "seconds in the post": s,
            "epochs": ran[name],
            "ms per epoch": 1000 * s / ran[name],
        }
        for name, (s, _) in diamonds.PUBLISHED.items()
    ]
)

# %% [markdown]
# Per epoch there is hardly any difference. To compare speeds, compare the time per step and,
# separately, the number of steps needed.
#
# **Exercise 7.** The post asks its readers to vary the learning rate and the batch size. Do it:
# `diamonds.exercise_specs` makes a list of runs. Give all four `lr=0.01`, and the whole data as one
# batch, for at most 2,000 epochs. Who arrives, and why is it so quiet?
#
# <details><summary>Answer</summary>
#
# All four arrive, within half a dollar of least squares, in some hundred epochs. With all the data
# in the batch there is no noise, so nothing trembles, and the rule to stop is no lottery any more.
# Now it has another fault: it takes slowness for arrival. SGD is stopped while it still creeps, a
# little on the side that it came from. Momentum walks ten times as fast, and gets nearest.
#
# ```python
# specs = diamonds.exercise_specs(lr=0.01, batch_size="all", epochs=2000, seeds=range(3))
# for row in diamonds.exercise_table([diamonds.run(spec) for spec in specs]):
#     low, high = row["rmse_min"], row["rmse_max"]
#     print(f"{row['method']:18} {low:.2f} to {high:.2f} dollars, {row['epochs_median']:.0f} epochs")
# ```
#
# ```text
# SGD                1569.69 to 1570.15 dollars, 269 epochs
# SGD with momentum  1569.81 to 1569.83 dollars, 85 epochs
# RMSprop            1569.86 to 1569.91 dollars, 113 epochs
# Adam               1569.69 to 1569.99 dollars, 192 epochs
# ```
#
# </details>

# %% [markdown]
# ## 9 The experiment with clothes
#
# The first post's figure 1 compares the four optimizers of `torch.optim` with four of the author's
# own, on the training loss of a small network: eight curves. Its curves lie near each other in
# pairs, but they start at different heights, since every run had its own random weights. So the
# figure says "comparable". It cannot say "equal".
#
# Here every optimizer gets the same weights and the same batches. The post's images may not be
# redistributed; ours are of clothes, Fashion-MNIST, and the network has 5,994 parameters. Like the
# post's, the runs are 147 batches of 64. The broad curves are torch.optim's, the thin ones
# Ravine's.

# %%
clothes = [figure1.run(spec) for spec in figure1.specs([0])]
plots.figure_1(clothes)

# %%
table(
    [
        {
            "torch.optim": r["torch"],
            "Ravine": r["ravine"],
            "running mean of the loss at the end": round(
                float(figure1.running_means(clothes, r["torch"])[0, -1]), 3
            ),
            "largest difference of the curves": "below 1e-6" if r["loss"] < 1e-6 else r["loss"],
        }
        for r in figure1.pairs(clothes)
    ]
)

# %% [markdown]
# Each thin curve lies on its broad one. That is what "the same optimizer" looks like.
#
# It is not a ranking either. All four have `lr=0.001`, which is Adam's default, and far too
# small for SGD; and RMSprop leads because its first steps are ten times as long, as you know from
# chapter 6.
#
# And now the post's own optimizers, each fault alone and both together, beside the right ones.

# %%
faulty = [figure1.run(spec) for spec in figure1.specs([0], as_published=True)[8:]]
plots.figure_1_faults([*clothes, *faulty])

# %% [markdown]
# Look at the upper row only, as one does in practice. Would you have noticed? The loss of the
# faulty Adam falls, and even **faster** than that of the right one! A longer step happens to be
# welcome here. So a loss that goes down proves nothing. Below, in units of the right step, the
# faults are plain to see. The next chapter is about how to see them.

# %% [markdown]
# ## 10 Finding faults
#
# You have all the tools by now. Here they are, one after the other, from the loudest fault to the
# quietest. Each time: *see* that something is wrong, *find* it, *fix* it, and *check*.
#
# ### A loss that rises
#
# Look at the loss of the published SGD on the diamonds during the first epochs.

# %%
post_sgd = published[0]
print("after epochs 1 to 5:", ", ".join(f"{value:.1f}" for value in post_sgd["losses"][:5]))
print("after epoch 10,000: ", f"{post_sgd['losses'][-1]:.3g}")

# %% [markdown]
# It rises. The first suspicion is a learning rate that is too large. That is easy to rule out: make
# it so small that no curvature matters. The loss must then fall, if ever so slowly. In Ravine the
# published loop is a plain function, so we can call it with any learning rate.

# %%
start = loss(0.0, 0.0)
for lr in (0.1, 0.001, 0.00001):
    epochs = as_published.train(
        *(x, y, 0.0, 0.0, as_published.wrong_gradients, as_published.sgd(lr)),
        np.random.RandomState(0),
        epochs=3,
        batch_size=64,
        stopping_threshold=0.0,
    )
    after = [value for _, _, value in epochs]
    print(f"lr = {lr:g}:", " → ".join(f"{value:.6f}" for value in (start, *after)))

# %% [markdown]
# It rises with every learning rate. So the problem is not the length of the step but the direction. Check
# the gradient with `nudge`.

# %%
m, b = 0.3, 0.1
theirs = as_published.wrong_gradients(x, y, m, b)
measured = (nudge(lambda m: loss(m, b), m), nudge(lambda b: loss(m, b), b))
print(f"published / measured: {theirs[0] / measured[0]:.6f}, {theirs[1] / measured[1]:.6f}")
code(as_published.wrong_gradients)

# %% [markdown]
# Minus one, in both coordinates: the sign. The derivative of $(y - \hat y)^2$ by $m$ is $-2x\,(y -
# \hat y)$, and the minus was lost. Easily done! So three of the post's four methods walk *up* the
# hill, as fast as clipping and learning rate let them. With Adam the sign is right. That is the
# whole difference between 1,570 and 14 billion dollars: not a better method, just the other sign.
# Give Adam the same wrong sign, and it climbs like the rest.

# %%
for r in published:
    direction = "climbs" if r["climb"] else "descends"
    print(f"{r['method']:17} {direction:8} {r['rmse']:17,.2f} dollars")

# %% [markdown]
# You have seen the fixed version above. **The tools:** a loss that rises even with a tiny learning rate,
# and then a derivative measured by nudging. Do this with every gradient that you write yourself.
#
# ### A first step that is ten times too large
#
# Adam's first step is exactly `lr`, whatever the gradient (chapter 7). So let the first post's Adam
# take one.


# %%
def first_step(optimizer, gradient):
    """Return how far an optimizer moves a parameter in its first step."""
    p = torch.zeros((), dtype=torch.float64, requires_grad=True)
    p.grad = torch.tensor(gradient, dtype=torch.float64)
    optimizer([p]).step()
    return -p.item()


PostAdam = partial(as_published_torch.PublishedAdam, lr=0.001)
RightAdam = partial(torch.optim.Adam, lr=0.001)
for g in (0.01, 1.0, 100.0):
    ours, theirs = first_step(RightAdam, g), first_step(PostAdam, g)
    print(f"gradient {g:6}: torch.optim {ours:.6f}, the post {theirs:.6f}")

# %% [markdown]
# Ten times too large. Which ten is it? At the first step $1 - \beta_1 = 0.1$, so someone divides by
# it once too often. Here is the code, in our words:

# %%
code(as_published_torch.PublishedAdam.update)

# %% [markdown]
# There it is: `m_hat` is divided by $1 - \beta_1^t$ twice. (In Ravine's copy each fault has a
# switch, so that it can be fixed separately.) We fix it, and the first step is right.

# %%
PostAdam = partial(as_published_torch.AdamCountingTensors, lr=0.001)  # the division mended
print(f"first step {first_step(PostAdam, 1.0):.6f}")

# %% [markdown]
# **The tool:** find a case whose answer you can work out in your head, and look.
#
# ### A pair that should be equal, and is not
#
# Is it right now? One step is not enough to tell. Take many, on random gradients, beside torch's,
# in float64, where rounding is small enough to ignore. And a model has more than one tensor of
# parameters, so try one, two and ten.


# %%
def largest_difference(mine, theirs, tensors=1, steps=200):
    """Let two optimizers take the same gradients; return how far their parameters get apart."""
    ends = []
    for make in (mine, theirs):
        random = torch.Generator().manual_seed(0)
        params = [torch.zeros(3, dtype=torch.float64, requires_grad=True) for _ in range(tensors)]
        optimizer = make(params)
        for _ in range(steps):
            for p in params:
                p.grad = torch.randn(3, dtype=torch.float64, generator=random)
            optimizer.step()
        ends.append(torch.stack(params).detach())
    return (ends[0] - ends[1]).abs().max().item()


for tensors in (1, 2, 10):
    print(f"{tensors:2} tensors: {largest_difference(PostAdam, RightAdam, tensors):.6f}")

# %% [markdown]
# With one tensor the two are equal; with two they are not. So the tensors share something that
# they should not. Look at `t` in the code: the post increments one counter for every *tensor*, not for
# every *step*. With ten tensors `t` runs ten times too fast, and the correction fades ten times too
# early. Count the steps of each tensor separately, and all is well:


# %%
class MendedAdam(as_published_torch.PublishedAdam):
    """The post's Adam with both faults mended."""

    corrects_twice = False
    counts_tensors = False


for tensors in (1, 2, 10):
    apart = largest_difference(partial(MendedAdam, lr=0.001), RightAdam, tensors)
    print(f"{tensors:2} tensors: {apart:.6f}")

# %% [markdown]
# **The tools:** an independent implementation, the same gradients, many steps, high precision, and
# more than one of everything. "Looks similar" is not enough; in float64, two programs that do the
# same thing differ by about 0.000000000000001.
#
# ### A skateboard that does not roll
#
# The post's momentum, on a slope that never changes. Its speed should grow to ten times that of the
# first step (chapter 5).

# %%
right = partial(torch.optim.SGD, lr=0.001, momentum=0.9)


def constant_slope(make, right, steps=60):
    """Return the lengths of an optimizer's steps on a constant slope, and of the right one's."""
    ratios = as_published_torch.step_ratios(make, right, tensors=1, steps=steps)
    good = replay(momentum, np.ones(steps), lr=1.0)
    return good * np.array(ratios)[:, 0], good


speeds = {
    "as published": (as_published_torch.PublishedMomentum, RED),
    "key mended": (as_published_torch.MomentumKeyMended, ORANGE),
}
figure, axes = plt.subplots(figsize=(6.5, 3))
for name, (make, colour) in speeds.items():
    speed, good = constant_slope(partial(make, lr=0.001), right)
    axes.plot(range(1, 61), speed, color=colour, label=name)
    print(f"{name:12}: {', '.join(f'{v:.2f}' for v in speed[:5])} … {speed[-1]:.2f}")
print(f"{'torch.optim':12}: {', '.join(f'{v:.2f}' for v in good[:5])} … {good[-1]:.2f}")
axes.plot(range(1, 61), good, color=BLUE, linestyle="--", label="torch.optim")
axes.set(xlabel="step", ylabel="step / (lr × gradient)", ylim=0)
axes.legend()
plt.show()

# %% [markdown]
# The red line is flat: this skateboard never gains speed. The buffer is stored under a key with two
# stray backticks in it, and looked up without them. So it is never found, and starts afresh at each
# step. What is left is SGD with 1.9 times the learning rate. Its loss falls a little faster than
# plain SGD's, which is exactly what you expect of momentum, so nothing looked wrong.
#
# With the key fixed (orange) it rolls, but still starts 1.9 times too fast: the buffer is set to
# the first gradient, *then* multiplied by $\mu$, and the gradient is added once more. In torch the
# buffer *is* the first gradient. This is a quiet fault: after 60 steps nobody can see it. Fix that too:


# %%
class MendedMomentum(as_published_torch.Optimizer):
    """The post's momentum with both faults mended."""

    def update(self, p, g, state, lr=1e-3, momentum=0.9):
        """Move p."""
        b = state["buffer"] = momentum * state["buffer"] + g if "buffer" in state else g.clone()
        p -= lr * b


for name, make in (
    ("as published", as_published_torch.PublishedMomentum),
    ("key mended", as_published_torch.MomentumKeyMended),
    ("start mended", MendedMomentum),
):
    apart = largest_difference(partial(make, lr=0.001), right, tensors=2)
    print(f"{name:12}  largest difference from torch.optim {apart:.6f}")

# %% [markdown]
# **The tool:** an input so simple that you know the whole answer, not just its end.
#
# ### Formulas with the wrong units
#
# Two slips of the first post are in its text; its code is right. The formula of RMSprop lacks the
# square root. And a parenthesis is in the wrong place, so that it reads $1 - \alpha\, g^2$ where
# $(1 - \alpha)\, g^2$ is meant. Physicists find such things by checking **units**. Say $p$ is in
# metres and the height in dollars. Then $g$ is in dollars per metre, and $g/\sqrt{g^2}$ has no
# unit, as it should; $g/g^2$ is in metres per dollar. If the units are wrong, the steps must change when
# we count in cents. They do:


# %%
@rule
def rms_without_root(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8):
    """RMSprop as the post's formula has it."""
    v = alpha * v + (1 - alpha) * g**2
    return p - lr * g / (v + eps), v


@rule
def rms_misplaced(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8):
    """RMSprop with the parenthesis in the wrong place."""
    v = alpha * v + (1 - alpha * g**2)
    return p - lr * g / (sqrt(v) + eps), v


display(Math(latex(rms_without_root.function)), Math(latex(rms_misplaced.function)))
for a_rule in (rms, rms_without_root, rms_misplaced):
    with np.errstate(invalid="ignore"):
        ratio = replay(a_rule, 100 * noisy) / replay(a_rule, noisy)
    print(f"{a_rule.name:16} steps in cents / steps in dollars: {np.median(ratio):.4f}")

# %% [markdown]
# The last one is not a number: with large gradients its `v` is negative, and has no real root.
#
# ### The rest
#
# - The first post says that it re-implements its equation 1, momentum with the learning rate
#   *inside*. Its code has it *outside*, as torch does. You saw in chapter 5 that these differ as
#   soon as the learning rate changes. **The tool:** test with a learning rate that changes.
# - The second post, as printed, never raises its step counter, so $t$ is 0 and Adam divides
#   by $1 - \beta^0 = 0$. What comes out is not a number:

# %%
print("Adam's p after a step with t = 0:", adam(1.0, 0.5, 0.0, 0.0, 0)[0])

# %% [markdown]
# - As printed, it also trains on data that were never standardised, and calls a function that it
#   does not define. So the table cannot come from the program that is printed. **The tool:** run
#   what you print. (Every cell of this lesson was run to produce it, and Ravine's tests run it
#   again.)
# - It says that all four have the same learning rate. They have 0.1, 0.1, 0.01 and 0.01.
#
# None of this makes the posts bad. Two people published what they understood, in
# readable code, and only readable code can be checked. By the way, the first post's SGD and RMSprop and
# the second post's Adam are right to the last digit.
#
# **Exercise 8.** Here is a new bug: an Adam that adds `eps` inside the root. With
# `largest_difference` and the default `eps=1e-8` you can hardly see it. How do you make it
# visible?
#
# <details><summary>Answer</summary>
#
# Make `eps` large. A test must use values that are large enough for the tested thing to matter.
#
# ```python
# class RootedAdam(as_published_torch.Optimizer):
#     def update(self, p, g, state, lr=1e-3, eps=1e-8):
#         t = state["t"] = state.get("t", 0) + 1
#         m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
#         v = state["v"] = 0.999 * state.get("v", 0) + 0.001 * g**2
#         p -= lr * (m / (1 - 0.9**t)) / (v / (1 - 0.999**t) + eps).sqrt()
#
#
# for eps in (1e-8, 1e-2):
#     apart = largest_difference(
#         partial(RootedAdam, lr=0.001, eps=eps), partial(torch.optim.Adam, lr=0.001, eps=eps)
#     )
#     print(f"eps = {eps}: {apart:.1e}")
# ```
#
# ```text
# eps = 1e-08: 2.6e-11
# eps = 0.01: 2.6e-05
# ```
#
# </details>
#
# **Exercise 9.** The second post clips each coordinate of the gradient to 1, and its `lr` is 0.1.
# On data that are not standardised the slope $m$ of the best line is 7,737 dollars per carat. How
# many steps does it take to get there at least, and how many epochs of 250 steps is that?
#
# <details><summary>Answer</summary>
#
# A clipped step is at most 0.1 long. So it takes more than 300 epochs just to walk the distance,
# and with Adam at `lr=0.01` ten times as many. Clipping protects, and it limits the speed.
#
# ```python
# m_dollars = best_m * sample.std[1] / sample.std[0]
# print(f"m = {m_dollars:.0f} dollars per carat")
# print(f"at least {m_dollars / 0.1:,.0f} steps, {m_dollars / 0.1 / 250:.0f} epochs")
# ```
#
# ```text
# m = 7737 dollars per carat
# at least 77,368 steps, 309 epochs
# ```
#
# </details>

# %% [markdown]
# ## 11 In PyTorch
#
# This is the loop that you will write most often: a network, a loss, Adam, and a schedule. `StepLR`
# divides the learning rate by ten every 30 epochs. The data are synthetic: the target is a noisy
# function of ten numbers. The file `examples/train_pytorch.py` is the same program.

# %%
from torch import nn
from torch.optim import Adam  # or: from ravine.torch import Adam
from torch.optim.lr_scheduler import StepLR


def train(epochs=90, batch_size=50, lr=0.01, seed=0):
    """Return the mean training loss of each epoch, and the learning rate it was trained with."""
    torch.manual_seed(seed)
    x = torch.randn(1000, 10)
    y = x[:, :1] * x[:, 1:2] + torch.sin(2 * x[:, 2:3]) + 0.3 * torch.randn(1000, 1)

    model = nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 1))
    loss_function = nn.MSELoss()
    optimizer = Adam(model.parameters(), lr=lr)
    scheduler = StepLR(optimizer, step_size=30, gamma=0.1)  # every 30 epochs, a tenth of it

    losses, rates = [], []
    for _ in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(x)).split(batch_size):
            optimizer.zero_grad()  # or the gradients of the last batch would be added
            loss = loss_function(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(x))
        rates.append(scheduler.get_last_lr()[0])
        scheduler.step()  # once an epoch, after the optimizer
    return losses, rates


losses, rates = train()

# %%
figure, axes = plt.subplots(figsize=(7, 3))
axes.semilogy(range(1, 91), losses, color=BLUE)
for epoch in (30, 60):
    axes.axvline(epoch + 0.5, color="0.7", linestyle="--", linewidth=1)
for epoch in (1, 31, 61):
    axes.text(epoch + 1, max(losses), f"lr = {rates[epoch - 1]:g}", va="top")
axes.set(xlabel="epoch", ylabel="mean training loss")
plt.show()
print("loss after 30, 60 and 90 epochs:", ", ".join(f"{losses[e - 1]:.4f}" for e in (30, 60, 90)))

# %% [markdown]
# At epoch 31 the loss drops at once. The network does not suddenly learn; it stops trembling
# (chapter 3).
#
# To train with Ravine's Adam, change one import. The function is the same; only the name `Adam` in
# it now means another class.

# %%
from ravine.torch import Adam

ravine_losses, _ = train()
print(f"largest difference of the losses: {max(abs(np.subtract(losses, ravine_losses))):.5f}")

# %% [markdown]
# You can train with your own rules in the same way. Here is `rms`, the short rule from chapter 6, as a
# PyTorch optimizer:

# %%
Adam = ravine.torch.optimizer(rms)
rms_losses, _ = train()
print(f"loss after 90 epochs: Adam {losses[-1]:.4f}, our own rms {rms_losses[-1]:.4f}")

# %% [markdown]
# How does a class like that work inside? `examples/minimal_optimizers.py` has SGD, momentum, RMSprop
# and Adam for PyTorch in forty lines, in the style of the first post but without its bugs.
#
# **Exercise 10.** A schedule is a learning rate that depends on the step. RMSprop hopped at the
# bottom of the ravine. Let it take 400 steps with `lr=0.05`; then do it again with a rate that
# falls to 0 in a straight line from twice that. How much deeper does it get?
#
# <details><summary>Answer</summary>
#
# The walk is as long as before, since the mean of the rates is the same, and at the end it comes to
# rest.
#
# ```python
# def height_after(schedule, steps=400):
#     p = np.array([-9.0, 1.0])
#     state = rms.init(p)
#     for t in range(1, steps + 1):
#         lr = schedule(t / steps)
#         p, state = rms.update(p, ravine_gradient(p), state, t, lr=lr, alpha=0.9)
#     return ravine_height(*p)
#
#
# print(f"constant: height {height_after(lambda part: 0.05):.1e}")
# print(f"falling:  height {height_after(lambda part: 0.1 * (1 - part)):.1e}")
# ```
#
# ```text
# constant: height 3.2e-02
# falling:  height 6.4e-20
# ```
#
# </details>

# %% [markdown]
# ## 12 Where to go from here
#
# | | intuition | remembers | weak spot |
# |---|---|---|---|
# | gradient descent | a ball that stops after each step | nothing | creeps along ravines |
# | momentum | a ball on a skateboard | the velocity | rolls past the bottom |
# | RMSprop | shoes for every coordinate | the size of the gradient | long first steps, hops at the bottom |
# | Adam | the skateboard and the shoes | both | two numbers to keep for each parameter |
#
# All of them need a learning rate, and in the noise of mini-batches none comes to rest
# while that rate is constant.
#
# - **Read any rule** the way you did here: `ravine list`, `ravine show adam --worked 5`.
# - **Race them**: `ravine race` runs both experiments in full; `ravine race diamonds --optimizers
#   adam,nesterov --lr 0.05` one of your own.
# - **More names.** You have written Adagrad yourself. Adadelta fixes the units of its steps. AdaMax uses
#   the largest recent gradient instead of the root mean square. Nadam gives Adam Nesterov's momentum.
#   AMSGrad (`ravine show amsgrad`) divides by the largest mean square so far. AdamW (`ravine show
#   adamw`) decays the weights directly, not through the gradient; most large models are trained with it.
# - **The sources.** Each rule names its paper, and most are short. Kingma and Ba's paper on
#   [Adam](https://arxiv.org/abs/1412.6980) fits its algorithm in a box of ten lines. Compare it
#   with `show(adam)`.
# - **The posts.** Read them now. You will enjoy them twice: for what they explain, and for what you
#   find.
