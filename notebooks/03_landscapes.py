# Chapter 3 of the lesson. `python scripts/make_notebook.py` makes 03_landscapes.ipynb of it.

# %% [markdown]
# # 3 Minima, saddles, plateaus, noise
#
# A bowl has one bottom, and every way down leads there. The loss of a network is no bowl. It has
# places where the ground is level and which are not the bottom, and a ball that only feels the
# slope cannot tell them from it: where the gradient is 0, gradient descent stands still. There are
# four kinds of trouble, and each has a picture.

# %%
import matplotlib.pyplot as plt
import numpy as np
from lesson import contours, descend, explore

from ravine.experiments.plots import BLACK, BLUE, ORANGE, RED
from ravine.rules import sgd

# %% [markdown]
# ## Local minima
#
# The valley below has two bottoms. The left one is deeper: it is the **global minimum**. The right
# one is a **local minimum**: lower than everything near it, but not the lowest. Which one the ball
# finds depends on where it starts, and on nothing else. The set of starts from which it reaches a
# minimum is the minimum's **basin**.


# %%
def wells(x):
    """Return the height of a valley with a deep minimum near -1 and a shallow one near 1."""
    return (x**2 - 1) ** 2 / 4 + 0.1 * x


def wells_gradient(x):
    """Return its derivative."""
    return x**3 - x + 0.1


starts = np.linspace(-1.8, 1.8, 181)
ends = descend(sgd, wells_gradient, starts, 500, lr=0.1)[-1]
border = starts[ends > 0].min()
print(f"deep minimum at {ends[0]:.3f}, shallow minimum at {ends[-1]:.3f}")
print(f"starts to the right of {border:.2f} end in the shallow one")

# %% [figure]
x = np.linspace(-1.75, 1.75, 400)
figure, axes = plt.subplots(figsize=(7, 3.2))
axes.plot(x, wells(x), color="0.6", linewidth=2)
for start, colour in ((-0.1, BLUE), (0.3, RED), (1.7, ORANGE)):
    path = descend(sgd, wells_gradient, start, 40, lr=0.15)
    axes.plot(path, wells(path), "o-", color=colour, markersize=4, linewidth=0.8)
    axes.plot(start, wells(start), "o", color=BLACK)
axes.axvspan(border, 1.75, color=RED, alpha=0.07)
axes.text(1.72, 0.85, "basin of the shallow minimum", ha="right", color=RED)
axes.set(xlabel="p", ylabel="height (starts in black)", ylim=(-0.25, 1.0))
plt.show()

# %% [markdown]
# ## Noise can help
#
# With gradients of batches the ball is pushed about at random. Sometimes the pushes add up and
# throw it over the hump. The second post says of SGD: "This noisy path might actually be the
# biggest advantage: you're very likely to escape local minima." Let a thousand balls start in the
# shallow minimum, and a thousand in the deep one, and count who has changed sides after 1,000
# steps.


# %%
def changed_sides(start, noise, lr=0.1, balls=1000, steps=1000, seed=0):
    """Return the share of balls that end on the other side of the hump."""
    random = np.random.default_rng(seed)
    p = descend(
        sgd,
        lambda p: wells_gradient(p) + noise * random.normal(size=balls),
        np.full(balls, start),
        steps,
        lr=lr,
    )[-1]
    return np.mean((p > border) != (start > border))


for noise in (0.0, 0.5, 1.0, 2.0):
    out, back = changed_sides(0.946, noise), changed_sides(-1.047, noise)
    print(f"noise {noise}: out of the shallow minimum {out:4.0%}, out of the deep one {back:4.0%}")

# %% [markdown]
# Without noise no ball leaves, and with little noise none does either. With more, most balls leave
# the shallow minimum; with more still, they leave the deep one too. In between there is a window
# where the deep minimum holds its balls and the shallow one does not. Whether a training run is in
# that window depends on learning rate, batch size and loss. `ravine race claims` measures the
# sentence for 20 combinations of learning rate and noise.
#
# ## Saddles
#
# At a **saddle** the ground is level too, but it rises in one direction and falls in another, like
# a mountain pass. Nobody stays there for ever, since the smallest step to the side leads down. But
# near the pass the slope is tiny, so it takes long to get away.
#
# How long? On $f(x, y) = x^4/4 - x^2/2 + y^2/2$ the pass is at the origin. Near it a step
# multiplies $x$ by $1 + \eta$. Starting at a distance $d$ from the ridge, it takes about $\ln(1/d)
# / \eta$ steps.


# %%
def saddle(x, y):
    """Return the height of a pass between two minima."""
    return x**4 / 4 - x**2 / 2 + y**2 / 2


def saddle_gradient(p):
    """Return its gradient."""
    x, y = p
    return np.array([x**3 - x, y])


def steps_to_leave(distance, lr=0.1, noise=0.0, seed=0, limit=2000):
    """Return after how many steps the ball is far from the ridge."""
    random = np.random.default_rng(seed)
    path = descend(
        sgd,
        lambda p: saddle_gradient(p) + noise * random.normal(size=2),
        (distance, 1.0),
        limit,
        lr=lr,
    )
    away = np.abs(path[:, 0]) > 0.5
    return int(away.argmax()) if away.any() else None


for distance in (1e-1, 1e-3, 1e-6, 0.0):
    quiet, noisy = steps_to_leave(distance), steps_to_leave(distance, noise=0.1)
    print(f"{distance:7g} from the ridge: {quiet} steps; with noise {noisy}")

# %% [figure]
figure, axes = plt.subplots(figsize=(6, 3.4))
contours(axes, saddle, (-1.6, 1.6), (-1.1, 1.1))
for start, colour in ((-1e-3, BLUE), (0.0, RED)):
    path = descend(sgd, saddle_gradient, (start, 1.0), 120, lr=0.1)
    axes.plot(*path.T, ".-", color=colour, linewidth=0.9, label=f"start at x = {start:g}")
axes.plot(0, 0, "x", color=BLACK, markersize=9)
axes.set(xlabel="x", ylabel="y", aspect="equal")
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# Exactly on the ridge, gradient descent walks to the pass and stays there for ever. The smallest
# noise gets it off. Here noise does nothing but help.
#
# ## Which is more common?
#
# At a place with gradient 0 the matrix of second derivatives decides: if it curves upwards in every
# direction, it is a minimum; if it curves down in some, a saddle. With one parameter it is a coin
# toss. With many, all coins must show heads. Draw random symmetric matrices and see.

# %%
random = np.random.default_rng(0)
for n in (1, 2, 3, 4, 5, 6):
    square = random.normal(size=(100_000, n, n))
    least = np.linalg.eigvalsh(square + square.swapaxes(1, 2))[:, 0]
    print(f"{n} parameters: {np.mean(least > 0):8.3%} curve upwards in every direction")

# %% [markdown]
# A network's second derivatives are not drawn at random, but the direction of the argument holds
# (Dauphin et al., 2014, [arXiv:1406.2572](https://arxiv.org/abs/1406.2572)): with many parameters,
# high places without a slope are nearly always saddles. So what slows training down is less often a
# local minimum than a region where the slope is nearly 0.
#
# ## Plateaus
#
# The extreme case of such a region is a **plateau**. Far from the pit $f(x, y) = 1 - e^{-(x^2 +
# y^2)/4}$ the ground is almost flat, and a step of gradient descent, which is proportional to the
# slope, is almost nothing. In a network this happens where a unit is saturated, and where gradients
# shrink from layer to layer on their way back, which is called the **vanishing gradient**.


# %%
def pit_gradient(p):
    """Return the gradient of 1 - exp(-|p|²/4)."""
    return p / 2 * np.exp(-np.sum(p**2) / 4)


for distance in (2.0, 3.0, 4.0, 5.0, 6.0):
    path = descend(sgd, pit_gradient, (distance, 0.0), 20_000, lr=1.0)
    near = np.linalg.norm(path, axis=1) < 0.1
    steps = f"{near.argmax():6,} steps" if near.any() else "not in 20,000 steps"
    slope = np.linalg.norm(pit_gradient(path[0]))
    print(f"from {distance}: slope {slope:.5f}, to the bottom {steps}")

# %% [markdown]
# A constant learning rate cannot serve both the plateau, where it would have to be in the
# thousands, and the pit, where 4 is already too much. Keep this in mind for chapter 5: RMSprop
# divides by the gradient's size, so that it crosses a plateau as fast as a slope.
#
# Try the four landscapes yourself: choose *Two wells*, *Saddle*, *Plateau* or *Noisy bowl* in the
# menu, and put another rule beside gradient descent.

# %%
explore(rule="sgd", land="saddle", beside="momentum")

# %% [markdown]
# **Exercise 1.** At which noise do the most balls change from the shallow to the deep minimum
# *and* stay there? Look at the share of all 2,000 balls that are in the deep minimum at the end,
# for noises from 0 to 3.
#
# <details><summary>Answer</summary>
#
# Around 1.5, where 84% of the balls are in the deep minimum. With less noise too few leave the
# shallow one; with more, the deep one cannot hold them any longer.
#
# ```python
# for noise in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0):
#     deep = (changed_sides(0.946, noise) + 1 - changed_sides(-1.047, noise)) / 2
#     print(f"noise {noise}: {deep:.0%} in the deep minimum")
# ```
#
# ```text
# noise 0.0: 50% in the deep minimum
# noise 0.25: 50% in the deep minimum
# noise 0.5: 50% in the deep minimum
# noise 0.75: 53% in the deep minimum
# noise 1.0: 78% in the deep minimum
# noise 1.5: 84% in the deep minimum
# noise 3.0: 61% in the deep minimum
# ```
#
# </details>
#
# **Exercise 2.** Ten times closer to the ridge: how many more steps does it take to leave the
# saddle? Compute it first.
#
# <details><summary>Answer</summary>
#
# A step multiplies the distance by 1.1, and $\ln 10 / \ln 1.1$ is 24. So distance costs only its
# logarithm: a millionth of the distance, six times 24 steps more.
#
# ```python
# counts = [steps_to_leave(10.0**-k) for k in range(1, 7)]
# print([later - earlier for earlier, later in zip(counts, counts[1:])])
# ```
#
# ```text
# [24, 24, 24, 24, 24]
# ```
#
# </details>
