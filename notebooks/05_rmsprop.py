# Chapter 5 of the lesson. `python scripts/make_notebook.py` makes 05_rmsprop.ipynb of it.

# %% [markdown]
# # 5 RMSprop
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
import matplotlib.pyplot as plt
import numpy as np
from lesson import (
    by_hand,
    descend,
    draw_path,
    explore,
    noisy_slope,
    ravine_gradient,
    replay,
    show,
)

from ravine import rule
from ravine.experiments.plots import BLACK, GREEN, ORANGE, RED
from ravine.ops import sqrt
from ravine.rules import rmsprop, sgd

noisy = noisy_slope()


# %%
@rule
def rms(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8):
    """RMSprop without its options."""
    v = alpha * v + (1 - alpha) * g**2
    return p - lr * (g / (sqrt(v) + eps)), v


show(rms)
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

# %% [figure]
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
# small. RMSprop takes the ground for flat and makes longer and longer steps across, until they
# exceed the limit of chapter 1's exercise, 2 over the curvature, which is 0.02 here. Now the ball
# jumps from wall to wall, each time a little higher, until `v` catches up; the steps get shorter,
# and it all starts again. This causes the sawtooth in the picture, and the thickening of the path.
# RMSprop knows how large the gradient *is*. It does not know the curvature.
#
# That is the price. Gradient descent slows down near the bottom, because the gradient gets small.
# RMSprop divides by that small gradient and does not slow down: in the end it hops back and forth
# at a distance of `lr`/2. So here, too, the learning rate has to be lowered towards the end.
#
# **No memory at all.** With `alpha=0` the mean is just the last gradient, and $g$ divided by its
# own size is its *sign*: each coordinate moves by exactly `lr`. That is *sign descent*. RMSprop
# lies between it and gradient descent with a fixed learning rate for each coordinate.

# %%
no_memory = replay(rmsprop, noisy, lr=0.1, alpha=0.0, eps=0.0)
apart = abs(no_memory - 0.1 * np.sign(noisy)).max()
print(f"largest distance from lr × sign(g): {apart:.6f}")


# %% [markdown]
# ## Plateaus and vanishing gradients
#
# The second post credits RMSprop with "Handling the "vanishing gradient" problem common in neural
# networks where gradients become too small because of backpropagation." Take the plateau of
# chapter 3 and a chain of ten layers, in which each layer halves the gradient on its way back, and
# let both rules walk with one learning rate.


# %%
def pit_gradient(p):
    """Return the gradient of 1 - exp(-|p|²/4)."""
    return p / 2 * np.exp(-np.sum(p**2) / 4)


for distance in (2.0, 4.0, 6.0):
    reached = {}
    for a_rule, lr in ((sgd, 1.0), (rmsprop, 0.01)):
        path = descend(a_rule, pit_gradient, (distance, 0.0), 20_000, lr=lr)
        near = np.linalg.norm(path, axis=1) < 0.1
        reached[a_rule.name] = f"{near.argmax():6,} steps" if near.any() else "      never"
    print(f"from {distance}:", ", ".join(f"{name} {n}" for name, n in reached.items()))

layers = 0.5 ** np.arange(10)  # the size of the gradient in each layer
for a_rule in (sgd, rmsprop):
    moved = [replay(a_rule, np.full(100, size), lr=0.01).sum() for size in layers]
    print(f"{a_rule.name:8} first layer moves {moved[-1] / moved[0]:.3f} as far as the last")

# %% [markdown]
# So the sentence is right about the *length of the steps*: RMSprop takes about as long from
# everywhere on the plateau, and its layers all move alike. It does not bring back what has
# vanished. If the small gradient is mostly rounding error or noise, then RMSprop walks just as
# fast in a wrong direction.
#
# ## Rare features
#
# The same division helps where a gradient is mostly 0. A parameter that has a gradient in every
# fiftieth step gets, with SGD, a fiftieth of the way:

# %%
rarely = (np.arange(5000) % 50 == 0).astype(float)
for a_rule in (sgd, rmsprop):
    ratio = replay(a_rule, rarely, lr=0.01).sum() / replay(a_rule, np.ones(5000), lr=0.01).sum()
    print(f"{a_rule.name:8} the rare parameter moves {ratio:.2f} as far as the frequent one")

# %% [markdown]
# In the explorer, *Sparse gradients* lets you choose how rare.

# %%
explore(rule="rmsprop", land="ravine", beside="momentum")

# %% [markdown]
# **Exercise 1.** What does `centered=True` do on a slope that never changes? Guess before you
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
