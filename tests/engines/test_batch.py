import numpy as np
import pytest

import ravine.numpy
from ravine import registry, rule
from ravine.engines.batch import Batch, unable
from ravine.engines.tracing import trace
from ravine.ops import normal
from ravine.rules import adam, dog

RNG = np.random.default_rng(0)
STARTS, GRADS = RNG.standard_normal((3, 4, 6)), RNG.standard_normal((6, 3, 4, 6))


def _batched(made, values):
    plain = {k: v for k, v in values.items() if not isinstance(v, np.ndarray)}
    return Batch(trace(made, (), 2, **plain)).path(STARTS, GRADS, values)


def test_every_rule_takes_the_path_that_its_calls_take():
    for name, made in registry.own().items():
        values = {k: h.default for k, h in made.hyperparameters.items()}
        if made.signals or unable(trace(made, (), 2, **values)):
            continue
        optimizer = ravine.numpy.optimizer(made)([x.copy() for x in STARTS], engine="eager")
        rows = [STARTS, *(np.stack(optimizer.step(list(g))) for g in GRADS)]
        path = _batched(made, values)
        assert path.shape == (1, 7, 3, 4, 6)
        way = np.abs(rows[-1] - rows[0]).max()
        assert np.abs(path[0] - np.stack(rows)).max() <= 1e-11 * way, name


@pytest.mark.parametrize("made", [adam, dog])
def test_each_run_has_its_own_values(made):
    values = {k: h.default for k, h in made.hyperparameters.items()}
    several = {**values, "lr": np.array([0.1, 0.2, 0.3])}
    paths = _batched(made, several)
    assert len(paths) == 3
    for lr, path in zip(several["lr"], paths, strict=True):
        np.testing.assert_allclose(path, _batched(made, {**values, "lr": lr})[0], rtol=1e-14)


def test_what_a_batch_cannot_compute_is_named():
    @rule
    def noisy(p, g, *, lr=0.1):
        return p - lr * normal(p)

    assert unable(trace(noisy)) == "normal"
    assert unable(trace(adam)) == ""


def test_slots_may_start_at_something_else():
    values = {k: h.default for k, h in adam.hyperparameters.items()}
    graph = trace(adam, **values)
    plain = Batch(graph).path(STARTS, GRADS, values)
    ones = Batch(graph, {"m": 1.0}).path(STARTS, GRADS, values)
    expected = STARTS - values["lr"] * (
        (0.9 + 0.1 * GRADS[0]) / 0.1 / (np.abs(GRADS[0]) + values["eps"])
    )
    np.testing.assert_allclose(ones[0, 1], expected, rtol=1e-9)
    assert not np.allclose(ones, plain)
