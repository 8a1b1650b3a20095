"""MNIST-1D: signals of 40 numbers in ten classes, an MLP of 15,210 parameters.

Data: generated here, 4,000 signals to train on, 1,000 to choose by, 1,000 to report, as described by
Greydanus and Kobak (2024, arXiv:2011.14439): a class is a curve of 12 points, which is padded, scaled,
shifted, buried in smooth noise, sheared and sampled at 40 places. Random numbers are NumPy's PCG64 of
seed 42. The curves are theirs (Apache-2.0).
Model: 40-100-100-10 with ReLU, torch's initial weights.
Budget: 1,500 steps of 32, 12 passes.
Target: an accuracy of 0.57: what AdamW has at half the budget, at the best of five learning rates,
rounded.
"""

import numpy as np
from torch import nn

CURVES = """
5 6 6.5 6.75 7 7 7 7 6.75 6.5 6 5
5 3 3 3.4 3.8 4.2 4.6 5 5.4 5.8 5 5
5 6 6.5 6.5 6 5.25 4.75 4 3.5 3.5 4 5
5 6 6.5 6.5 6 5 5 6 6.5 6.5 6 5
5 4.4 3.8 3.2 2.6 2.6 5 5 5 5 5 5
5 3 3 3 3 5 6 6.5 6.5 6 4.5 5
5 4 3.5 3.25 3 3 3 3 3.25 3.5 4 5
5 7 7 6.6 6.2 5.8 5.4 5 4.6 4.2 5 5
5 4 3.5 3.5 4 5 5 4 3.5 3.5 4 5
5 4 3.5 3.5 4 5 5 5 5 4.7 4.3 5
"""
LENGTH, LONG = 40, 72  # of a signal, and of a curve with its padding


def data():
    """Three parts of signals and classes."""
    random = np.random.default_rng(42)
    curves = np.array([line.split() for line in CURVES.split("\n")[1:-1]], float)
    curves = (curves - curves.mean(1, keepdims=True)) / curves.std(1, keepdims=True)
    curves = (curves - curves[:, :1]) / 6
    y = np.arange(6000) % 10
    random.shuffle(y)
    x = np.array([signal(curves[i], random) for i in y])
    x = (x - x[:4000].mean()) / x[:4000].std()
    return (x[:4000], y[:4000]), (x[4000:5000], y[4000:5000]), (x[5000:], y[5000:])


def signal(curve, random):
    """One signal of a class."""
    padded = np.append(curve, np.zeros(random.integers(37, 61)))
    long = resampled(padded, LONG) * (1 + 0.4 * (random.random() - 0.5))
    long = np.roll(long, random.integers(48))
    long = np.where(long == 0, smooth(0.25 * random.normal(size=LONG)), long)
    long += 0.02 * random.normal(size=LONG)
    long -= 0.75 * (random.random() - 0.5) * np.linspace(-0.5, 0.5, LONG)
    return resampled(long, LENGTH)


def resampled(x, count):
    """The values at so many places, with lines between those that are known."""
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(x)), x)


def smooth(x):
    """A moving mean with Gaussian weights, two places wide."""
    weights = np.exp(-(np.arange(-8, 9) ** 2) / 8)
    return np.convolve(np.pad(x, 8, mode="symmetric"), weights / weights.sum(), mode="valid")


def model():
    """An MLP with two hidden layers."""
    return nn.Sequential(
        nn.Linear(40, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    )


loss = nn.functional.cross_entropy
steps, batch_size = 1500, 32
target = 0.57
