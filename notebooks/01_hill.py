# Chapter 1 of the lesson. `python scripts/make_notebook.py` makes 01_hill.ipynb of it.

# %% [markdown]
# # 1 The hill
#
# This lesson goes from a ball on a hill to Adam, which trains most neural networks today, in twelve
# short chapters. You need some Python, and you should be able to differentiate $x^2$.
#
# Picture a ball on a hillside at night. It cannot see the valley. It can feel only one thing: how
# the ground under it tilts. If the ground rises to the right, then down is to the left. So move it
# a little to the left, put it down, and feel again.
#
# The tilt is the **gradient**, the derivative of the height. For the hill $f(p) = p^2$ it is
# $f'(p) = 2p$. A derivative is easy to get wrong and easy to check: move a hair to either side and
# see how much the height changes.


# %% [markdown]
# First a few imports. `lesson` is a file beside this notebook: it shows rules and draws maps.

# %%
import matplotlib.pyplot as plt
import numpy as np
from lesson import by_hand, descend, explore, nudge, show

from ravine.experiments.plots import BLACK, BLUE, GREEN, ORANGE, RED
from ravine.rules import sgd


# %%
def hill(p):
    """Return the height."""
    return p**2


def slope(p):
    """Return the gradient: the derivative of the height."""
    return 2 * p


print(f"derived  {slope(2.0):.6f}")
print(f"measured {nudge(hill, 2.0):.6f}")

# %% [markdown]
# `nudge` computes (f(p + h) − f(p − h)) / 2h for a tiny h. Keep it in mind: it will find the worst
# bug of this lesson, in one line.
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
# continues like this. The tangent promises a height of 0.8 at B. But the hill is curved, and the
# ball arrives at 1.44. That is lower than before, which is what counts; but the longer the step,
# the less the promise is worth.

# %% [figure]
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
# **How long a step?** A step takes $p$ to $p - \eta \cdot 2p$, which is $(1 - 2\eta)\,p$.
# Everything is in that factor. With `lr=0.1` it is 0.8: each step covers a fifth of the way, and
# the ball walks down. With `lr=0.9` it is −0.8: the ball jumps across the valley each time, and
# still comes down. With `lr=1.05` it is −1.1: it jumps to a higher place on the other side, and
# climbs out.

# %% [figure]
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
# ## Without the slope: random search
#
# Suppose the ball cannot feel the slope either, but only how high it is. Then it can still get
# down: try a step in a random direction, keep it if the new place is lower, and otherwise go back.
# The first post begins with this method: "Well, we could try going in a random direction, calculate
# the value of the function and if it's lower than the previous value, we could take a step in that
# direction. But this process is slow."
#
# How slow? On our hill, with one parameter, not very: of two directions one is right. But a
# network has many parameters. Take the bowl $p_1^2 + \dots + p_n^2$, start at a distance of 1, and
# count until the height has fallen to a hundredth.


# %%
def random_search(dimensions, step=0.1, limit=200_000, seed=0):
    """Return how many heights are computed until the bowl's height is a hundredth."""
    random = np.random.default_rng(seed)
    p = np.ones(dimensions) / np.sqrt(dimensions)
    height = np.sum(p**2)
    for tries in range(1, limit + 1):
        move = random.normal(size=dimensions)
        new = p + step * np.sqrt(height) * move / np.linalg.norm(move)
        new_height = np.sum(new**2)
        if new_height < height:
            p, height = new, new_height
        if height < 0.01:
            return tries
    return limit


def gradient_steps(dimensions, lr=0.1):
    """Return how many steps gradient descent needs on the same bowl."""
    p, steps = np.ones(dimensions) / np.sqrt(dimensions), 0
    while np.sum(p**2) >= 0.01:
        p, steps = p - lr * 2 * p, steps + 1
    return steps


sizes = (1, 10, 100, 1000)
searches = [np.mean([random_search(n, seed=seed) for seed in range(3)]) for n in sizes]
for n, tries in zip(sizes, searches, strict=True):
    print(f"{n:5} parameters: random search {tries:8,.0f}, gradient descent {gradient_steps(n)}")

# %% [figure]
figure, axes = plt.subplots(figsize=(5.5, 3))
axes.loglog(sizes, searches, "o-", color=RED, label="random search")
axes.loglog(sizes, [gradient_steps(n) for n in sizes], "o-", color=GREEN, label="gradient descent")
axes.set(xlabel="parameters", ylabel="heights or gradients computed")
axes.legend()
plt.show()

# %% [markdown]
# Gradient descent needs as many steps for a thousand parameters as for one. Random search needs
# more the more parameters there are, because hardly any direction among so many leads down far: the
# part of a random step that points down the slope shrinks like $1/\sqrt n$. And the gradient is
# cheap. By backpropagation it costs about as much as computing the loss two or three times, however
# many parameters there are. That is why nearly everything in deep learning descends by gradients.

# %% [markdown]
# Try it in the explorer. Drag the learning rate, and click on the hill to start elsewhere.

# %%
explore(rule="sgd", land="parabola", values={"lr": 0.3}, t=2)

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
