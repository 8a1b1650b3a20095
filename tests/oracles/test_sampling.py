"""The moments of what a sampler draws, in many independent chains, against those of its target."""

import numpy as np
import pytest

import ravine.numpy
from ravine import registry

CHAINS = 20_000


@pytest.mark.parametrize(("curvature", "temperature"), [(1.0, 1.0), (4.0, 0.25), (1.0, 0.0)])
def test_langevin_dynamics_samples_at_its_temperature(curvature, temperature):
    """Of the loss k x**2 / 2 with lr h: the variance T / (k (1 - h k / 4)), the kurtosis 3."""
    lr = 0.2
    optimizer = ravine.numpy.optimizer(registry.get("sgld"))
    made = optimizer([np.ones(CHAINS)], lr=lr, temperature=temperature, seed=3)
    for _ in range(150):
        made.step([curvature * made.params[0]])
    x = made.params[0]
    variance = temperature / (curvature * (1 - lr * curvature / 4))
    error = (2 / CHAINS) ** 0.5 * variance  # of the variance of so many independent numbers
    assert abs(x.var() - variance) < 4 * error + 1e-12
    assert abs(x.mean()) < 4 * (variance / CHAINS) ** 0.5 + 1e-6
    if temperature:
        assert abs((x**4).mean() / variance**2 - 3) < 4 * (96 / CHAINS) ** 0.5
