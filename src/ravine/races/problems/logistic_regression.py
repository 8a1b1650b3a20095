"""Logistic regression on 30 measurements of cells, 62 parameters: convex, and badly scaled.

Data: scikit-learn's breast cancer data (Wolberg, Street and Mangasarian, 1995, UCI repository, CC BY
4.0), 369 cases to train on, 100 to choose by, 100 to report, shuffled. The measurements are divided by
their greatest one over all columns' logarithmic mean, and not standardised, so that the columns differ
by factors of thousands: what adaptive methods are for.
Model: one linear layer to two classes, weights from zero.
Budget: 500 steps of 32, 43 passes.
Target: a held-out loss of 0.2: what AdamW has at half the budget, at the best of five learning rates,
rounded.
"""

import numpy as np
from torch import nn


def data():
    """Three parts of measurements and diagnoses."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order] / np.exp(np.log(x.max(0)).mean()), y[order]
    return (x[:369], y[:369]), (x[369:469], y[369:469]), (x[469:], y[469:])


def model():
    """A linear layer that begins at zero."""
    layer = nn.Linear(30, 2)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


loss = score = nn.functional.cross_entropy
lower_is_better = True
steps, batch_size = 500, 32
target = 0.2
