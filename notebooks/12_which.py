# Chapter 12 of the lesson. `python scripts/make_notebook.py` makes 12_which.ipynb of it.

# %% [markdown]
# # 12 Which optimizer should I use?
#
# The honest answer is: the one that wins on *your* task, tuned, over several seeds. The useful
# answer is shorter.
#
# - **Start with AdamW or Adam** and tune the learning rate, by factors of three. A default of 0.001 is a
#   fair start for networks; for small ones 0.01 is often better.
# - **Use a schedule** that falls to 0, with a warm-up if the first steps are unstable.
# - **Tune before you switch.** In Ravine's race of nine optimizers on nine problems, tuning Adam's
#   learning rate gained more on most problems than exchanging it for another optimizer.
# - **SGD with momentum** is as good on many problems, and uses half the memory; it needs more tuning.
# - **Muon**, for the matrices of a network, had the best score over all problems of that race.
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
# What a race says depends on the race. Here is a small one to change: pictures of digits, 8 × 8
# pixels each, and a network with one hidden layer. Every optimizer is tuned over 25 learning rates
# on some seeds, and reported on others.

# %%
import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn

import ravine

torch.set_num_threads(1)
pixels, digits = load_digits(return_X_y=True)
x, y = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits)

with tempfile.TemporaryDirectory() as folder:
    outcome = ravine.race(
        lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)),
        (x, y),
        nn.functional.cross_entropy,
        optimizers=["sgd", "momentum", "adam"],
        steps=100,
        batch_size=64,
        seeds=3,
        workers=1,
        folder=folder,
    )
for row in outcome.table():
    print(
        f"{row['optimizer']:9} {row['score']} {row['tuned']:.3f} tuned, {row['default']:.3f} with "
        f"the defaults; lr {row['chosen']['lr']:.3g}"
    )

# %% [markdown]
# Compare the two columns. With the default rates SGD has learned nothing after 100 steps, and Adam
# is far ahead. Tuned, the three are within a few percent of each other, and Adam does not lead.
# Comparing a tuned optimizer with an untuned one says nothing about either.
#
# **Exercise 1.** Race your own rule: write one, as in chapter 5, and put it into the list in place
# of `"momentum"`. Any function with `@rule` will do.
#
# <details><summary>Answer</summary>
#
# A rule is given as it is. This is Signum: the sign of the mean gradient.
#
# ```python
# from ravine import rule
# from ravine.ops import sign
#
#
# @rule
# def signum(p, g, m, *, lr=1e-2, beta1=0.9):
#     m = beta1 * m + (1 - beta1) * g
#     return p - lr * sign(m), m
#
#
# with tempfile.TemporaryDirectory() as folder:
#     outcome = ravine.race(
#         lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)),
#         (x, y),
#         nn.functional.cross_entropy,
#         optimizers=[signum],
#         steps=100,
#         batch_size=64,
#         seeds=3,
#         workers=1,
#         tier="default",
#         folder=folder,
#     )
# (row,) = outcome.table()
# print(f"{row['optimizer']} {row['score']} above 0.8: {row['default'] > 0.8}")
# ```
#
# ```text
# signum accuracy above 0.8: True
# ```
#
# </details>

# %% [markdown]
# ## Where to go from here
#
# - **Read any rule** the way you did here: `ravine list`, `ravine show adam --worked 5`.
# - **Race them**: `ravine race` runs both experiments in full; `ravine race diamonds --optimizers
#   adam,nesterov --lr 0.05` one of your own.
# - **The sources.** Each rule names its paper, and most are short. Kingma and Ba's paper on
#   [Adam](https://arxiv.org/abs/1412.6980) fits its algorithm in a box of ten lines. Compare it
#   with `show(adam)`.
# - **The posts.** Read them now. You will enjoy them twice: for what they explain, and for what you
#   find.
