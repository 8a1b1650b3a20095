# Chapter 11 of the lesson. `python scripts/make_notebook.py` makes 11_faults.ipynb of it.

# %% [markdown]
# # 11 Finding faults
#
# You have all the tools by now. Here they are, one after the other, from the loudest fault to the
# quietest. Each time: *see* that something is wrong, *find* it, *fix* it, and *check*.

# %%
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Math, display
from lesson import code, explore, noisy_slope, nudge, replay

from ravine import rule
from ravine.experiments import as_published, as_published_torch, diamonds
from ravine.experiments.plots import BLUE, ORANGE, RED
from ravine.ops import sqrt
from ravine.reading.equations import latex
from ravine.rules import adam, momentum, rmsprop

sample = diamonds.sample()
x, y = sample.x, sample.y
noisy = noisy_slope()
published = [diamonds.run(spec) for spec in diamonds.as_published_specs()]


def loss(m, b):
    """Return the mean squared error of the line over all diamonds."""
    return np.mean((m * x + b - y) ** 2)


# %% [markdown]
# ## A loss that rises
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
# It rises with every learning rate. So the problem is not the length of the step but the
# direction. Check the gradient with `nudge`.

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
# You have seen the fixed version in chapter 9. **The tools:** a loss that rises even with a tiny
# learning rate, and then a derivative measured by nudging. Do this with every gradient that you
# write yourself.
#
# ## A first step that is ten times too large
#
# Adam's first step is exactly `lr`, whatever the gradient (chapter 6). So let the first post's Adam
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
PostAdam = partial(as_published_torch.AdamCountingTensors, lr=0.001)  # the division fixed
print(f"first step {first_step(PostAdam, 1.0):.6f}")

# %% [markdown]
# **The tool:** find a case whose answer you can work out in your head, and look.
#
# ## A pair that should be equal, and is not
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
# they should not. Look at `t` in the code: the post increments one counter for every *tensor*, not
# for every *step*. With ten tensors `t` runs ten times too fast, and the correction fades ten
# times too early. Count the steps of each tensor separately, and all is well:


# %%
class FixedAdam(as_published_torch.PublishedAdam):
    """The post's Adam with both faults fixed."""

    corrects_twice = False
    counts_tensors = False


for tensors in (1, 2, 10):
    apart = largest_difference(partial(FixedAdam, lr=0.001), RightAdam, tensors)
    print(f"{tensors:2} tensors: {apart:.6f}")

# %% [markdown]
# **The tools:** an independent implementation, the same gradients, many steps, high precision, and
# more than one of everything. "Looks similar" is not enough; in float64, two programs that do the
# same thing differ by about 0.000000000000001.
#
# ## A skateboard that does not roll
#
# The post's momentum, on a slope that never changes. Its speed should grow to ten times that of the
# first step (chapter 4).

# %% [figure]
right = partial(torch.optim.SGD, lr=0.001, momentum=0.9)


def constant_slope(make, right, steps=60):
    """Return the lengths of an optimizer's steps on a constant slope, and of the right one's."""
    ratios = as_published_torch.step_ratios(make, right, tensors=1, steps=steps)
    good = replay(momentum, np.ones(steps), lr=1.0)
    return good * np.array(ratios)[:, 0], good


speeds = {
    "as published": (as_published_torch.PublishedMomentum, RED),
    "key fixed": (as_published_torch.MomentumKeyMended, ORANGE),
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
# buffer *is* the first gradient. This is a quiet fault: after 60 steps nobody can see it. Fix that
# too:


# %%
class FixedMomentum(as_published_torch.Optimizer):
    """The post's momentum with both faults fixed."""

    def update(self, p, g, state, lr=1e-3, momentum=0.9):
        """Move p."""
        b = state["buffer"] = momentum * state["buffer"] + g if "buffer" in state else g.clone()
        p -= lr * b


for name, make in (
    ("as published", as_published_torch.PublishedMomentum),
    ("key fixed", as_published_torch.MomentumKeyMended),
    ("start fixed", FixedMomentum),
):
    apart = largest_difference(partial(make, lr=0.001), right, tensors=2)
    print(f"{name:12}  largest difference from torch.optim {apart:.6f}")

# %% [markdown]
# **The tool:** an input so simple that you know the whole answer, not just its end.
#
# ## Formulas with the wrong units
#
# Two slips of the first post are in its text; its code is right. The formula of RMSprop lacks the
# square root. And a parenthesis is in the wrong place, so that it reads $1 - \alpha\, g^2$ where
# $(1 - \alpha)\, g^2$ is meant. Physicists find such things by checking **units**. Say $p$ is in
# metres and the height in dollars. Then $g$ is in dollars per metre, and $g/\sqrt{g^2}$ has no
# unit, as it should; $g/g^2$ is in metres per dollar. If the units are wrong, the steps must
# change when we count in cents. They do:


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
for a_rule in (rmsprop, rms_without_root, rms_misplaced):
    with np.errstate(invalid="ignore"):
        ratio = replay(a_rule, 100 * noisy) / replay(a_rule, noisy)
    print(f"{a_rule.name:16} steps in cents / steps in dollars: {np.median(ratio):.4f}")

# %% [markdown]
# The last one is not a number: with large gradients its `v` is negative, and has no real root.
#
# ## The rest
#
# - The first post says that it re-implements its equation 1, momentum with the learning rate
#   *inside*. Its code has it *outside*, as torch does. You saw in chapter 4 that these differ as
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
# None of this makes the posts bad. Two people published what they understood, in readable code,
# and only readable code can be checked. By the way, the first post's SGD and RMSprop and the
# second post's Adam are right to the last digit.

# %% [markdown]
# ## The same, by a machine
#
# All of this is mechanical, so a program can do it. `ravine check` takes any optimizer, feeds it
# gradients, and finds out which rule it is and, if it is none, what must be changed to make it one.
# Here it meets the first post's Adam and momentum, of which it knows nothing but that they have a
# `step()`.

# %%
from ravine.checks import check_optimizer

for published_optimizer in (
    as_published_torch.PublishedAdam,
    as_published_torch.PublishedMomentum,
    as_published_torch.MomentumKeyMended,
):
    report = check_optimizer(published_optimizer, only=["identity"])
    print(report.headline, end="\n\n")

# %% [markdown]
# On the command line it is `ravine check mine.py:MyAdam`. Now find faults yourself: ten broken
# rules, each beside the right one.

# %%
explore(fault=1)

# %% [markdown]
# **Exercise 1.** Here is a new bug: an Adam that adds `eps` inside the root. With
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
# **Exercise 2.** The second post clips each coordinate of the gradient to 1, and its `lr` is 0.1.
# On data that are not standardised the slope $m$ of the best line is 7,737 dollars per carat. How
# many steps does it take to get there at least, and how many epochs of 250 steps is that?
#
# <details><summary>Answer</summary>
#
# A clipped step is at most 0.1 long. So it takes more than 300 epochs just to walk the distance,
# and with Adam at `lr=0.01` ten times as many. Clipping protects, and it limits the speed.
#
# ```python
# best_m = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y, rcond=None)[0][0]
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
