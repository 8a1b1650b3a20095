# Chapter 4 of the lesson. `python scripts/make_notebook.py` makes 04_momentum.ipynb of it.

# %% [markdown]
# # 4 Ravines and momentum
#
# The bowl of the diamonds was round because the data were standardised. Leave the weight in carats
# and the price in thousands of dollars, and look again. The same data, the same line; but now the
# valley is long and narrow. Such a valley is a **ravine**.
#
# In a ravine the gradient points mostly across, from wall to wall, and hardly along the floor,
# where we need to go. The steep walls forbid long steps, and short steps take ages along the
# floor. One number measures how bad it is, the **condition number**: the curvature across, divided
# by the curvature along.
#
# Below, each descent uses the best possible constant learning rate, which is 2 over the sum of the
# two curvatures.

# %%
import matplotlib.pyplot as plt
import numpy as np
from lesson import (
    by_hand,
    contours,
    descend,
    draw_path,
    explore,
    noisy_slope,
    ravine_gradient,
    ravine_height,
    replay,
    show,
)

import ravine.data
from ravine.experiments import diamonds
from ravine.experiments.plots import BLACK, BLUE, GREEN, ORANGE, RED
from ravine.rules import momentum, momentum_classical, sgd

# %% [figure]
sample = diamonds.sample()
x, y = sample.x, sample.y
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
# And inside a network nobody can standardise everything. So we need optimizers that cope with
# ravines.
#
# For the pictures we use a ravine with a condition number of 100. Its curvature along $y$, across
# the ravine, is a hundred times that along $x$:
#
# $$f(x, y) = \tfrac12 (x^2 + 100\,y^2)$$


# %% [markdown]
# ## Momentum
#
# Our ball behaves strangely. After each step it stands still and forgets where it came from. Put
# it on a **skateboard** instead. Now it has a velocity. A push downhill adds to the velocity,
# friction takes some of it away, and between pushes it rolls on. Pushes from left and right cancel
# out; pushes in the same direction add up.
#
# The rule keeps the velocity in a buffer `b`. This memory is called **state**, and it comes
# between `g` and `t` in the function's arguments. Each step keeps a fraction $\mu$ (`momentum`,
# often 0.9; many texts call it $\beta$) of the old velocity and adds the gradient. $\tau$ is an
# option, `dampening`, which is usually 0; you can ignore it.

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
# Now the ravine again, with momentum 0, 0.9, 0.99 and 0.999, and the same learning rate.

# %% [figure]
momenta = {0.0: BLUE, 0.9: GREEN, 0.99: ORANGE, 0.999: RED}
figure, panels = plt.subplots(4, 1, figsize=(8, 7.2), sharex=True)
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
# floor: after 100 steps it has not arrived. With 0.9 it swings more, and arrives. With 0.99 there
# is too little friction: it rolls past the bottom, comes back, and circles for a long time. With
# 0.999 it is still nearly as high as at the start. More momentum is not better; there is a right
# amount, and it depends on the ravine.
#
# Which amount? Give each its best learning rate and count. On a ravine with condition number
# $\kappa$, theory says that the best momentum is $\left(\frac{\sqrt\kappa - 1}{\sqrt\kappa +
# 1}\right)^2$, and that about $\sqrt\kappa$ steps replace $\kappa$. Here are both, for our ravine
# and for one that is a hundred times worse.


# %%
def steps_needed(mu, condition, limit=20_000):
    """Return the fewest steps to a thousandth of the distance, over many learning rates."""
    rates = np.linspace(0.02, 2 * (1 + mu), 120, endpoint=False)[:, None] / condition
    curvature = np.array([1.0, condition])
    p, b = np.ones((len(rates), 2)), np.zeros((len(rates), 2))
    last = np.zeros(len(rates))
    for t in range(1, limit + 1):
        b = mu * b + curvature * p
        p = (p - rates * b).clip(-1e9, 1e9)  # some diverge
        last[~(np.linalg.norm(p, axis=1) < 0.001)] = t
        if t > 2 * last.min() + 200:
            break
    return int(last.min()) + 1


for condition in (100, 10_000):
    best = ((np.sqrt(condition) - 1) / (np.sqrt(condition) + 1)) ** 2
    counts = {mu: steps_needed(mu, condition) for mu in (0.0, 0.9, 0.99, 0.999)}
    print(f"condition {condition:6,}, best momentum {best:.3f}:", end="")
    said = {mu: f"{n:,}" if n <= 20_000 else "over 20,000" for mu, n in counts.items()}
    print("".join(f"  {mu:g}: {n} steps" for mu, n in said.items()))
for mu in (0.9, 0.99, 0.999):
    fits = ((1 + np.sqrt(mu)) / (1 - np.sqrt(mu))) ** 2
    print(f"momentum {mu} is the best for condition number {fits:,.0f}")

# %% [markdown]
# The worse the ravine, the more momentum it takes. Gabriel Goh's article ["Why Momentum Really
# Works"](https://distill.pub/2017/momentum/), from which the first post quotes, recommends 0.99,
# and 0.999 where things are really bad. Now you know how bad: the last three lines say for which
# ravine each is made.
#
# ## Does it roll through humps?
#
# The article also says: "The added inertia acts both as a smoother and an accelerator, dampening
# oscillations and causing us to barrel through narrow valleys, small humps and local minima." Take
# the two minima of chapter 3 and let 200 balls roll down from the right, where the first minimum
# that they meet is the shallow one. How many end in the deep one?


# %%
def wells_gradient(x):
    """Return the slope of the valley with two minima from chapter 3."""
    return x**3 - x + 0.1


starts = np.linspace(1.0, 2.0, 200)
for mu in (0.0, 0.5, 0.9, 0.99):
    ends = descend(momentum, wells_gradient, starts, 3000, lr=0.01, momentum=mu)[-1]
    print(f"momentum {mu:4}: {np.mean(ends < 0):4.0%} of the balls end in the deep minimum")

# %% [markdown]
# Without momentum none does. With 0.9 a few do, those that start high up. With 0.99 it is about
# half, because such a ball crosses the valley many times before it settles, and where it settles
# is close to chance. Momentum rolls over humps. It does not know which side is better.
#
# ## Does it damp the zigzag?
#
# The second post says: "In areas where the gradient changes rapidly (like narrow valleys in the
# loss landscape), the momentum helps to dampen oscillations." Look at the pictures again: at this
# learning rate it prolongs them. The exercise finds out when the sentence is true.
#
# **Nothing is lost.** With $\beta = 0$ the skateboard stops after each push, and we are back at
# gradient descent, to the last bit:

# %%
noisy = noisy_slope()
without = replay(momentum, noisy, lr=0.1, momentum=0.0)
print("momentum=0 is gradient descent:", np.array_equal(without, replay(sgd, noisy, lr=0.1)))

# %% [markdown]
# **Two ways to write it.** In textbooks the learning rate is inside the velocity. In PyTorch it is
# outside. Here is the textbook version:

# %%
show(momentum_classical)

# %% [markdown]
# As long as the learning rate is constant, both take the same steps. When it changes during
# training, they differ. Outside, a new learning rate affects the whole velocity at once; inside,
# only what is added from then on. So they are two algorithms, and in Ravine they are two rules.


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
# Change the momentum in the explorer; plain descent moves beside it.

# %%
explore(rule="momentum", land="ravine", beside="sgd")

# %% [markdown]
# **Exercise 1.** When does momentum damp the zigzag? Follow $y$ alone, across the ravine, where the
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
