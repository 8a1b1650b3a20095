# Chapter 6 of the lesson. `python scripts/make_notebook.py` makes 06_adam.ipynb of it.

# %% [markdown]
# # 6 Adam
#
# The name is short for *adaptive moment estimation*. Adam rides the skateboard *and* wears the
# shoes. It keeps a running mean of the gradient, `m`, and a running mean of its square, `v`, and
# steps by the one over the root of the other. If the gradients agree, that quotient is near 1, and
# the step is about `lr`. If they contradict each other, the mean is small, and so is the step. You
# can read it as signal over noise.

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
    ravine_height,
    replay,
    show,
    table,
)

from ravine import rule
from ravine.experiments.plots import BLACK, BLUE, GREEN, RED
from ravine.ops import sqrt
from ravine.reading.about import about
from ravine.rules import adam, momentum, rmsprop, sgd

noisy = noisy_slope()

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


# %% [figure]
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

# %% [figure]
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

# %% [markdown]
# Turn the ravine in the explorer: Adam scales each coordinate by itself, so a ravine at 45° is hard
# for it.

# %%
explore(rule="adam", land="ravine", knobs={"angle": 30})

# %% [markdown]
# **Exercise 1.** Adam's steps are "about `lr`". What is the longest it can take? Feed it gradients
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
