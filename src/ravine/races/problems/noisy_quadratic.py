"""A noisy quadratic in 100 dimensions whose curvatures span three decades.

Data: generated here: 2,000 random minima around zero, in a batch of which the loss is a parabola with
another minimum each time, so that the gradient is noisy (Zhang et al., 2019, arXiv:1907.04164). The
score does not look at them: it is the loss above the least, exactly, as its decimal logarithm.
Model: 100 parameters, from a standard normal distribution; curvatures from 1 down to 1e-3. The noise of
a gradient's coordinate has the standard deviation of the root of its curvature, as near a minimum of
a likelihood.
Budget: 1,000 steps of 8.
Target: a score of -2.5: what AdamW has at half the budget, at the best of five learning rates,
rounded.
"""

import numpy as np
import torch
from torch import nn

CURVATURES = np.geomspace(1, 1e-3, 100)


def data():
    """Minima to train on; what is held out is not looked at."""
    minima = np.random.default_rng(0).normal(size=(2000, 100)) / np.sqrt(CURVATURES) * 0.1
    minima -= minima.mean(0)
    return (minima,), (minima[:1],), (minima[1:2],)


class Point(nn.Module):
    """A point, and its height."""

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.randn(100))
        self.register_buffer("curvatures", torch.tensor(CURVATURES, dtype=self.p.dtype))

    def forward(self, minima):
        """The height above the least, for each row of minima."""
        return 0.5 * (self.curvatures * (self.p - minima) ** 2).sum(-1)


model = Point


def loss(model, minima):
    """The mean height over a batch."""
    return model(minima).mean()


def log10_height(model, minima):
    """The decimal logarithm of the height above the least of all."""
    return model(torch.zeros_like(minima)).mean().clamp_min(1e-12).log10()


score, lower_is_better = log10_height, True
steps, batch_size = 1000, 8
target = -2.5
