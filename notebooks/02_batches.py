# Chapter 2 of the lesson. `python scripts/make_notebook.py` makes 02_batches.ipynb of it.

# %% [markdown]
# # 2 Gradients and batches
#
# Our hill is made of mistakes. We want to predict something, and the height is how wrong we are.
#
# One of the two posts behind this lesson, Bex Tuychiev's ["Adam Optimizer
# Tutorial"](https://www.datacamp.com/tutorial/adam-optimizer-tutorial), predicts the price of a
# diamond from its weight, by a straight line: price ≈ $m$ · weight + $b$. The two parameters $m$
# and $b$ are the place of the ball. Ravine has the post's data: 16,000 diamonds to train on.
# Weight and price are *standardised*: shifted and scaled to mean 0 and standard deviation 1, over
# the whole sample.
#
# For each diamond, square the distance from the price to the line. The mean of these squares is
# the **mean squared error**:
#
# $$f(m, b) = \frac1n \sum_{i=1}^{n} (m x_i + b - y_i)^2$$
#
# Its gradient has two coordinates, one for each parameter. Differentiate under the sum: the outer
# derivative gives $2\,(m x_i + b - y_i)$, the inner one gives $x_i$ for $m$, and 1 for $b$.

# %%
import matplotlib.pyplot as plt
import numpy as np
from lesson import contours, descend, explore, nudge

from ravine.experiments import diamonds
from ravine.experiments.plots import BLACK, BLUE, GREEN, ORANGE, RED
from ravine.rules import sgd

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

# %% [figure]
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
# For a straight line we can compute the bottom without any descent: it is the least-squares
# solution, the green dot. That makes the line a good test. We know where every optimizer must end
# up, and how far from there it is. Networks have no such formula, so there we have to go down step
# by step.

# %% [markdown]
# ## All the data, some, or one
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


# %% [figure]
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

# %% [figure]
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
# bottom. A smaller learning rate makes it tremble less, but also walk more slowly. The solution is
# to start with a large one and lower it later. That is a *schedule*; chapter 8 has several.

# %% [markdown]
# The explorer below adds noise to every gradient, as batches do. Halve the learning rate and watch
# the cloud around the bottom shrink.

# %%
explore(rule="sgd", land="noisy")

# %% [markdown]
# **Exercise 1.** Let the mini-batch descent run for 3,000 steps with `lr` 0.1, 0.01 and 0.001. How
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
