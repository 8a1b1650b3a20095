# Chapter 7 of the lesson. `python scripts/make_notebook.py` makes 07_friends.ipynb of it.

# %% [markdown]
# # 7 Five friends of Adam, and their grandchildren
#
# The first post names five more optimizers: Adagrad, Adadelta, AdaMax, Nadam and AMSGrad. You know
# enough now to read each in a minute. All of them answer one of two questions: *what is the
# gradient divided by?* and *what replaces the gradient?*
#
# | | divides by | instead of the gradient |
# |---|---|---|
# | RMSprop | root of the mean square | the gradient |
# | Adam | root of the mean square | its mean |
# | Adagrad, 2011 | root of the *sum* of squares | the gradient |
# | Adadelta, 2012 | root of the mean square | the gradient, times the usual size of a step |
# | AdaMax, 2015 | the *largest* recent gradient | its mean |
# | NAdam, 2016 | root of the mean square | a mean that looks a step ahead |
# | AMSGrad, 2018 | the largest root of the mean square *so far* | its mean |

# %%
import matplotlib.pyplot as plt
import numpy as np
from lesson import by_hand, descend, draw_path, explore, ravine_gradient, replay, show

from ravine.experiments.plots import BLACK, BLUE, GREEN, ORANGE, RED
from ravine.rules import adadelta, adagrad, adam, adamax, adamw, amsgrad, lion, nadam

# %% [markdown]
# For each there is its rule, a picture of its path through the ravine, and one run that shows what
# it is for. The grey path is Adam's. Learning rates are chosen by hand to show the motion; this is
# no ranking.


# %% [figure]
def in_the_ravine(a_rule, colour, steps=150, **hyperparameters):
    """Draw a rule's path through the ravine over Adam's."""
    _, axes = plt.subplots(figsize=(8, 1.9))
    usual = descend(adam, ravine_gradient, (-9, 1), steps, lr=0.3)
    axes.plot(*usual.T, color="0.7", linewidth=0.9)
    path = descend(a_rule, ravine_gradient, (-9, 1), steps, **hyperparameters)
    given = ", ".join(f"{name} = {value:g}" for name, value in hyperparameters.items())
    draw_path(axes, path, colour, f"{a_rule.name}, {given}")
    plt.show()


# %% [markdown]
# ## Adagrad
#
# Adagrad (Duchi, Hazan and Singer, [2011](https://jmlr.org/papers/v12/duchi11a.html)) is the
# oldest. It *adds up* the squares of all gradients and divides by the root of the sum.

# %%
show(adagrad)

# %%
by_hand(adagrad, lr=0.1)

# %% [figure]
in_the_ravine(adagrad, BLUE, lr=1.0)

# %% [markdown]
# **What it is for: sparse gradients.** In text, some words are rare. Their parameters have a
# gradient of 0 nearly always. Adagrad's sum stays small for them, so that the few steps they do
# take are large. Here one parameter has a gradient in every step and another in every fiftieth.
# The second post says of such parameters: "For parameters with small gradients (infrequently
# updated), the denominator will be smaller, increasing the effective learning rate."

# %%
often, rarely = np.ones(1000), (np.arange(1000) % 50 == 0).astype(float)
for a_rule, options in ((adagrad, {"lr": 1.0}), (adam, {"lr": 1.0})):
    one, other = (replay(a_rule, g, **options).sum() for g in (often, rarely))
    print(f"{a_rule.name:8} frequent parameter {one:6.1f}, rare parameter {other:6.1f}")

# %% [markdown]
# The rare parameter got a fiftieth of the gradients. SGD would move it a fiftieth as far as the
# other one. Adagrad moves it an eighth as far, about the root of a fiftieth, and so does Adam.
#
# **The price.** A sum only grows. On a constant slope the steps shrink like $1/\sqrt t$, whether
# or not there is a reason. The next three are attempts to forget.
#
# ## Adadelta
#
# Adadelta (Zeiler, 2012, [arXiv:1212.5701](https://arxiv.org/abs/1212.5701)) forgets, as RMSprop
# does. Its second idea is about **units**. A parameter in metres should be moved by metres.
# Gradient over gradient has no unit, so Adadelta multiplies by the usual size of its own recent
# steps, which has. Therefore it needs no learning rate: the default `lr` is 1.

# %%
show(adadelta)

# %%
by_hand(adadelta)

# %% [figure]
in_the_ravine(adadelta, GREEN, steps=400, lr=1.0)

# %% [markdown]
# It begins very slowly: at first there are no steps to take the size of, only `eps`. On a constant
# slope you can watch it pick up speed.

# %%
speed = replay(adadelta, np.ones(20_000))
for t in (1, 10, 100, 1000, 10_000):
    print(f"step {t:6,}: {speed[t - 1]:.5f}")

# %% [markdown]
# ## AdaMax
#
# AdaMax is in the paper on Adam ([arXiv:1412.6980](https://arxiv.org/abs/1412.6980), section 7).
# In place of the root of the mean square it has the largest gradient of late: each step the old
# maximum fades by `beta2`, and a larger gradient replaces it.

# %%
show(adamax)

# %%
by_hand(adamax, lr=0.1)

# %% [figure]
in_the_ravine(adamax, ORANGE, lr=0.3)

# %% [markdown]
# A maximum is never too small, even if it began at 0. So `u` needs no bias correction, and **no
# step is longer than `lr`**, not even after a spike in the gradient. For Adam chapter 6 found 3.16
# times `lr`.

# %%
spike = np.zeros(20_000)
spike[-100] = 1.0
for a_rule in (adam, adamax):
    longest = replay(a_rule, spike, lr=1.0, eps=1e-12).max()
    print(f"{a_rule.name:6} longest step after a spike: {longest:.2f} lr")

# %% [markdown]
# ## NAdam
#
# Nesterov's momentum looks ahead: it feels the slope where the skateboard is *about to be*. NAdam
# (Dozat, [2016](https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ)) builds that into Adam by
# giving the newest gradient more weight.

# %%
show(nadam)

# %%
by_hand(nadam, lr=0.1)

# %% [figure]
in_the_ravine(nadam, RED, lr=0.3)

# %% [markdown]
# It turns earlier. Its momentum also starts low and rises over thousands of steps, which makes it
# turn earlier still. Let the slope change its sign at step 100, and count how long each goes on in
# the old direction.

# %%
turn = np.concatenate([np.ones(100), -np.ones(100)])
for a_rule in (adam, nadam):
    forward = replay(a_rule, turn, lr=1.0)[100:] > 0
    print(f"{a_rule.name:6} goes on for {forward.argmin()} steps")

# %% [markdown]
# ## AMSGrad
#
# Reddi, Kale and Kumar ([2018](https://openreview.net/forum?id=ryQu7f-RZ)) found a loss on which
# Adam walks to the *worst* point, and showed that the mean of squares can forget a large gradient
# too soon. AMSGrad divides by the largest mean square so far, which never falls.

# %%
show(amsgrad)

# %%
by_hand(amsgrad, lr=0.1)

# %% [figure]
in_the_ravine(amsgrad, BLACK, lr=0.3)

# %% [markdown]
# Their loss, on the numbers from −1 to 1: two steps out of three have gradient −10, and every
# hundred and first has 1010. Per cycle the sum is 10, so the best point is −1. Adam hardly notices
# the rare large gradient, since it divides by it.

# %%
cycle = np.full(101, -10.0)
cycle[0] = 1010.0


def on_their_loss(a_rule, steps=100_000):
    """Return where a rule ends on Reddi's loss; after each step p is brought back to [-1, 1]."""
    p, state = 0.0, a_rule.init(0.0)
    for t in range(1, steps + 1):
        lr = 6 / np.sqrt(t)
        p, state = a_rule.update(p, cycle[t % 101], state, t, lr=lr, beta1=0.0, beta2=0.99)
        p = min(max(p, -1.0), 1.0)
    return p


for a_rule in (adam, amsgrad):
    print(f"{a_rule.name:8} ends at {on_their_loss(a_rule):+.2f}; the best point is -1")

# %% [markdown]
# ## And after 2018
#
# The five are history by now; their ideas are not. Three that are used to train large models:
#
# - **AdamW** (Loshchilov and Hutter, 2019, [arXiv:1711.05101](https://arxiv.org/abs/1711.05101))
#   subtracts the weight decay from the parameter, not through the gradient, so that Adam does not
#   divide it by anything. Most large models are trained with it.
# - **Lion** (Chen et al., 2023, [arXiv:2302.06675](https://arxiv.org/abs/2302.06675)) was found by a
#   program. It keeps only a mean and steps by its sign: half of Adam's memory.
# - **Muon** (Jordan et al., [2024](https://kellerjordan.github.io/posts/muon)) treats a weight matrix as
#   a matrix: it replaces the mean gradient by the nearest matrix whose singular values are all 1.
#
# Ravine has them all, with more than a hundred relatives: `ravine list`, or the gallery in the
# documentation.

# %%
show(adamw)

# %%
show(lion)

# %% [markdown]
# Choose any of them in the explorer, and put Adam beside it.

# %%
explore(rule="adamax", land="ravine", beside="adam", knobs={"angle": 30})

# %% [markdown]
# **Exercise 1.** Write Adagrad as a rule yourself, and compare it with the package's. Then find out
# how long its steps are after 100 and 10,000 steps on a constant slope.
#
# <details><summary>Answer</summary>
#
# The sum only grows, so the steps shrink like $1/\sqrt t$: a schedule for free, and sometimes too
# soon. RMSprop forgets; that is the whole difference.
#
# ```python
# from lesson import noisy_slope
#
# from ravine import rule
# from ravine.ops import sqrt
#
#
# @rule
# def my_adagrad(p, g, v, *, lr=1e-2, eps=1e-10):
#     v = v + g**2
#     return p - lr * g / (sqrt(v) + eps), v
#
#
# noisy = noisy_slope()
# print("equal:", np.allclose(replay(my_adagrad, noisy), replay(adagrad, noisy), rtol=1e-9))
# steps = replay(my_adagrad, np.ones(10_000), lr=1.0)
# print(f"step 1: {steps[0]:.2f}, step 100: {steps[99]:.2f}, step 10,000: {steps[9999]:.2f}")
# ```
#
# ```text
# equal: True
# step 1: 1.00, step 100: 0.10, step 10,000: 0.01
# ```
#
# </details>
#
# **Exercise 2.** Measure the loss in cents instead of dollars, so that every gradient is a hundred
# times as large. Whose steps stay the same?
#
# <details><summary>Answer</summary>
#
# Those of all five: each divides by the gradient's own size, and only `eps` knows the unit.
#
# ```python
# for a_rule in (adagrad, adadelta, adamax, nadam, amsgrad):
#     ratio = replay(a_rule, 100 * noisy_slope()) / replay(a_rule, noisy_slope())
#     print(f"{a_rule.name:8} {np.median(ratio):.3f}")
# ```
#
# ```text
# adagrad  1.000
# adadelta 1.000
# adamax   1.000
# nadam    1.000
# amsgrad  1.000
# ```
#
# </details>
