"""Rastrigin's function in five dimensions: a test function full of minima, without noise.

Data: none; a batch is a number that is not looked at.
Model: five parameters, uniform in [-5.12, 5.12]. The least value, 0, is at the origin; around it lie
minima at all whole numbers, and the next best has the value 1 (Rastrigin, 1974). A descent ends in the
basin where it begins, so what differs is how far a method is carried by its momentum and long steps.
Budget: 500 steps.
Target: a score of 1, that is a value of 10; the score is the decimal logarithm.
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
        self.p = nn.Parameter(5.12 * (2 * torch.rand(5) - 1))

    def forward(self):
        """The value of the function."""
        return (self.p**2 - 10 * torch.cos(2 * torch.pi * self.p) + 10).sum()


model = Point


def loss(model, nothing):
    """The value of the function."""
    return model()


def log10_value(model, nothing):
    """Its decimal logarithm."""
    return model().clamp_min(1e-12).log10()


score, lower_is_better = log10_value, True
steps, batch_size = 500, 1
target = 1.0
