"""Rosenbrock's valley in ten dimensions: a test function, without noise.

Data: none; a batch is a number that is not looked at.
Model: ten parameters, from a normal distribution around zero with standard deviation 0.5. The least
value, 0, is at (1, ..., 1), at the end of a curved valley a hundred times as steep as it is long
(Rosenbrock, 1960, The Computer Journal 3).
Budget: 2,000 steps.
Target: a score of -2: what AdamW has at half the budget, at the best of five learning rates,
rounded.
"""

import torch
from torch import nn


def data():
    """Numbers that stand for batches."""
    nothing = (torch.zeros(1),)
    return nothing, nothing, nothing


class Point(nn.Module):
    """A point, and the function's value there."""

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(0.5 * torch.randn(10))

    def forward(self):
        """The value of the function."""
        a, b = self.p[:-1], self.p[1:]
        return (100 * (b - a**2) ** 2 + (1 - a) ** 2).sum()


model = Point


def loss(model, nothing):
    """The value of the function."""
    return model()


def log10_value(model, nothing):
    """Its decimal logarithm."""
    return model().clamp_min(1e-12).log10()


score, lower_is_better = log10_value, True
steps, batch_size = 2000, 1
target = -2.0
