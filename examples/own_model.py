"""Which optimizer suits your model? Handwritten digits, a network with batch normalisation.

    ravine race examples/own_model.py               # 25 learning rates for each, ten seeds: some minutes
    ravine race examples/own_model.py --optimizers adamw,muon,sgd --seeds 3
    python examples/own_model.py                    # a small race, from Python

What a race needs stands below under the names it looks for: `data`, `model`, `loss`, `steps`, `batch_size`.
"""

import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn

import ravine


def data():
    """Return the parts to train on, to choose by, and to report."""
    pixels, digits = load_digits(return_X_y=True)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(pixels / 16, dtype=torch.float32)[order], torch.tensor(digits)[order]
    return (x[:1200], y[:1200]), (x[1200:1500], y[1200:1500]), (x[1500:], y[1500:])


def model():
    """Make the network; every seed has other weights."""
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


loss = nn.functional.cross_entropy
steps, batch_size = 100, 64


def main(optimizers=("adamw", "momentum"), tier="k25", seeds=3):
    """Race some optimizers, and print the mean accuracy of each with the learning rate chosen."""
    train, held_out, test = data()
    with tempfile.TemporaryDirectory() as folder:
        outcome = ravine.race(
            model,
            train,
            loss,
            held_out=held_out,
            test=test,
            steps=steps,
            batch_size=batch_size,
            optimizers=list(optimizers),
            tier=tier,
            seeds=seeds,
            folder=folder,
            workers=1,
        )
    for row in outcome.table():
        tuned = "" if row["tuned"] is None else f"{row['tuned']:.3f} tuned {row['chosen']}, "
        print(f"{row['optimizer']:9} {row['score']} {tuned}{row['default']:.3f} with the defaults")
    return outcome


if __name__ == "__main__":
    main()
