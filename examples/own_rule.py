"""Write an optimizer as a function, read it, and train with it in NumPy and in PyTorch.

    python examples/own_rule.py

The rule steps by the sign of the mean gradient (Signum; Bernstein et al., 2018), but shrinks the step
where the gradient's sign keeps changing.
"""

import numpy as np
import torch

import ravine.torch
from ravine import rule
from ravine.numpy import fit, linear, mean_squared_error
from ravine.ops import sign
from ravine.reading.equations import latex
from ravine.reading.worked import worked


@rule
def steady_sign(p, g, m, s, *, lr=1e-2, beta1=0.9):
    """The sign of the mean gradient, times how steady that sign has been."""
    m = beta1 * m + (1 - beta1) * g
    s = beta1 * s + (1 - beta1) * sign(g)
    return p - lr * sign(m) * abs(s), m, s


def fit_a_line():
    """Fit y = 3x + 1 with NumPy; return slope and intercept."""
    x = np.linspace(-1, 1, 200)
    start = {"m": 0.0, "b": 0.0}
    options = {"optimizer": steady_sign, "learning_rate": 0.02, "batch_size": 20, "epochs": 60}
    done = fit(linear, mean_squared_error, start, x, 3 * x + 1, seed=0, **options)
    return done.params["m"], done.params["b"]


def train_a_network(steps=300):
    """Train a small network with PyTorch; return its first and its last loss."""
    torch.manual_seed(0)
    x = torch.randn(256, 10)
    y = x[:, :1].sin() + x[:, 1:2] ** 2
    model = torch.nn.Sequential(torch.nn.Linear(10, 50), torch.nn.ReLU(), torch.nn.Linear(50, 1))

    SteadySign = ravine.torch.optimizer(steady_sign)  # a torch.optim.Optimizer
    optimizer = SteadySign(model.parameters(), lr=3e-3)

    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def main():
    print(latex(steady_sign), "\n")
    for row in worked(steady_sign, (0.5, 0.3, -0.2), lr=0.1):
        print(", ".join(f"{name} = {value:.4g}" for name, value in row.items()))
    slope, intercept = fit_a_line()
    print(f"\nthe line: slope {slope:.2f}, intercept {intercept:.2f}")
    first, last = train_a_network()
    print(f"the network: loss {first:.3f} -> {last:.3f}")


if __name__ == "__main__":
    main()
