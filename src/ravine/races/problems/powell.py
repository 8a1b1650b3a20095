"""Powell's singular function in twelve dimensions: a test function whose minimum is flat, without noise.

Data: none; a batch is a number that is not looked at.
Model: twelve parameters, three times the usual starting point (3, -1, 0, 1) with standard normal noise. The
least value, 0, is at zero, where half of the curvatures vanish, so that convergence slows down on the way
(Powell, 1962, The Computer Journal 5).
Budget: 2,000 steps.
Target: a score of -1.7: what AdamW has at half the budget, at the best of five learning rates,
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
        self.p = nn.Parameter(torch.tensor([3.0, -1.0, 0.0, 1.0]).repeat(3) + torch.randn(12))

    def forward(self):
        """The value of the function."""
        a, b, c, d = self.p.view(3, 4).unbind(1)
        each = (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4
        return each.sum()


model = Point


def loss(model, nothing):
    """The value of the function."""
    return model()


def log10_value(model, nothing):
    """Its decimal logarithm."""
    return model().clamp_min(1e-12).log10()


score, lower_is_better = log10_value, True
steps, batch_size = 2000, 1
target = -1.7
