# Chapter 8 of the lesson. `python scripts/make_notebook.py` makes 08_schedules.ipynb of it.

# %% [markdown]
# # 8 Schedules
#
# In the noise of batches no optimizer comes to rest while its learning rate is constant (chapter
# 2): a large rate walks fast and trembles much, a small one creeps. So begin with a large one and
# lower it. A learning rate that depends on the step is a **schedule**.
#
# Four are common. **Step decay** divides by ten now and then. **Linear** falls to 0 in a straight
# line. **Cosine** falls along half a wave, slowly at first and at the end. **Warm-up** starts at 0
# and climbs for the first few percent of the steps, which protects from long first steps; then
# another one follows.

# %%
import matplotlib.pyplot as plt
import numpy as np
from lesson import explore

from ravine import rule
from ravine.experiments import diamonds
from ravine.experiments.plots import BLACK, BLUE, GREEN, ORANGE, RED
from ravine.ops import sqrt
from ravine.rules import adam, momentum, sgd

SCHEDULES = {
    "constant": (lambda part: 1.0, BLACK),
    "step": (lambda part: 1.0 if part < 0.5 else 0.1 if part < 0.8 else 0.01, ORANGE),
    "linear": (lambda part: 1 - part, BLUE),
    "cosine": (lambda part: (1 + np.cos(np.pi * part)) / 2, GREEN),
    "warm-up, cosine": (
        lambda part: min(part / 0.05, (1 + np.cos(np.pi * (part - 0.05) / 0.95)) / 2),
        RED,
    ),
}

# %% [figure]
figure, axes = plt.subplots(figsize=(6.5, 2.8))
parts = np.linspace(0, 1, 400)
for name, (schedule, colour) in SCHEDULES.items():
    axes.plot(parts, [schedule(part) for part in parts], color=colour, label=name)
axes.set(xlabel="part of the training", ylabel="learning rate / largest")
axes.legend()
plt.show()

# %% [markdown]
# What do they bring? The line through the diamonds, in batches of 64, 2,000 steps: how far above
# the bottom is the loss at the end? Each combination of optimizer and schedule gets the best of
# nine learning rates, chosen on other seeds than those that are shown.

# %%
sample = diamonds.sample()
x, y = sample.x, sample.y
best = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y, rcond=None)[0]


def above_the_bottom(a_rule, schedule, rates, seeds, steps=2000):
    """Return how far above the least loss each run ends: a row for each rate, a column for each seed."""
    randoms = [np.random.default_rng(seed) for seed in seeds]
    batches = np.stack([random.integers(len(x), size=(steps, 64)) for random in randoms], 1)
    p = np.tile([-0.5, 0.8], (len(rates), len(randoms), 1))
    state = a_rule.init(p)
    for t, rows in enumerate(batches, 1):
        u = x[rows]
        error = p[..., :1] * u + p[..., 1:] - y[rows]
        g = 2 * np.stack([np.mean(error * u, -1), np.mean(error, -1)], -1)
        lr = np.array(rates)[:, None, None] * schedule((t - 1) / steps)
        p, state = a_rule.update(p, g, state, t, lr=lr)
        p = p.clip(-1e9, 1e9)  # some diverge
    m, b = np.moveaxis(p - best, -1, 0)
    return m**2 * np.mean(x**2) + 2 * m * b * np.mean(x) + b**2


rates = 10.0 ** np.arange(-3.5, 0.3, 0.25)
for a_rule in (sgd, momentum, adam):
    ends = {}
    for name, (schedule, _) in SCHEDULES.items():
        tuning = above_the_bottom(a_rule, schedule, rates, range(100, 110))
        tuned = rates[np.log(tuning).mean(1).argmin()]
        ends[name] = np.median(above_the_bottom(a_rule, schedule, [tuned], range(20)))
    print(f"{a_rule.name:9}", ", ".join(f"{name} {end:.1e}" for name, end in ends.items()))

# %% [markdown]
# Any schedule that falls to 0 ends several times lower than the best constant rate. Which one it
# is matters less than that there is one. Warm-up brings nothing here, on a bowl; it matters where
# the first steps of Adam are too long for a network that has just been initialized.
#
# ## In PyTorch
#
# This is the loop that you will write most often: a network, a loss, Adam, and a schedule. `StepLR`
# divides the learning rate by ten every 30 epochs. The data are synthetic: the target is a noisy
# function of ten numbers. The file `examples/train_pytorch.py` is the same program.

# %%
import torch
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

# %% [figure]
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
# (chapter 2).
#
# To train with Ravine's Adam, change one import. The function is the same; only the name `Adam` in
# it now means another class.

# %%
import ravine.torch
from ravine.torch import Adam

ravine_losses, _ = train()
print(f"largest difference of the losses: {max(abs(np.subtract(losses, ravine_losses))):.5f}")

# %% [markdown]
# You can train with your own rules in the same way. Here is the short RMSprop of chapter 5 as a
# PyTorch optimizer:


# %%
@rule
def rms(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8):
    """RMSprop without its options."""
    v = alpha * v + (1 - alpha) * g**2
    return p - lr * (g / (sqrt(v) + eps)), v


Adam = ravine.torch.optimizer(rms)
rms_losses, _ = train()
print(f"loss after 90 epochs: Adam {losses[-1]:.4f}, our own rms {rms_losses[-1]:.4f}")

# %% [markdown]
# How does a class like that work inside? `examples/minimal_optimizers.py` has SGD, momentum,
# RMSprop and Adam for PyTorch in forty lines, in the style of the first post but without its bugs.
#
# In the explorer a rule's learning rate is constant. Watch RMSprop hop at the bottom, and lower it.

# %%
explore(rule="rmsprop", land="ravine", values={"lr": 0.2})

# %% [markdown]
# **Exercise 1.** A schedule is a learning rate that depends on the step. RMSprop hopped at the
# bottom of the ravine. Let it take 400 steps with `lr=0.05`; then do it again with a rate that
# falls to 0 in a straight line from twice that. How much deeper does it get?
#
# <details><summary>Answer</summary>
#
# The walk is as long as before, since the mean of the rates is the same, and at the end it comes to
# rest.
#
# ```python
# from lesson import ravine_gradient, ravine_height
#
#
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
