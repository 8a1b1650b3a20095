"""Every hyperparameter of every rule changes the path: what is accepted and has no effect is a fault."""

from itertools import tee

import numpy as np
import pytest
from witnesses.problem import LOUD

import ravine.numpy
from ravine import modifiers, registry
from ravine.engines.tracing import trace

STEPS = 40
MODIFIED = {f"{name}(sgd)": registry.get(f"{name}(sgd)") for name in modifiers.__all__}
EARLY = {"swa_start": 3, "adagc_warmup": 3}  # so that what comes later comes within the steps
RULES = {**registry.own(), **MODIFIED}


def shapes(rule):
    matrices = trace(rule, None, 1).of_arrays
    return [(4, 3), (3, 5), (6, 2)] if matrices else [(5,), (4, 3), (3, 2, 2, 2)]


def follow(rule, values):
    """All weights after each step, and at last those to evaluate with."""
    draw = np.random.RandomState(6)
    params = [draw.standard_normal(shape) for shape in shapes(rule)]
    optimizer = ravine.numpy.optimizer(rule)(params, **rule.parts.gathered(values), seed=1)
    for t in range(STEPS):
        size = 10 ** draw.uniform(-4, 1)
        grads = [size * draw.standard_normal(shape) for shape in shapes(rule)]
        extra = [draw.uniform(0.1, 1, shape) for shape in shapes(rule)]
        signals = {
            name: 1 / (1 + t) if signal.scalar else extra for name, signal in rule.signals.items()
        }
        if "lr" in values:  # some arguments matter where it changes
            optimizer.options["lr"] = values["lr"] * (1 + 0.1 * (t % 3))
        optimizer.step(grads, **signals)
        yield np.concatenate([np.ravel(x) for x in optimizer.params])
    with optimizer.evaluating():
        yield np.concatenate([np.ravel(x) for x in optimizer.params])


def others(h):
    """Values of a hyperparameter far from its default, near first."""
    x = h.default
    if isinstance(x, bool):
        return [not x]
    tried = [2 * x, x / 2, x + 1, x - 1, 10 * x, x / 10, x + 10, h.low, h.high, 0.5, 1e3, 1e-3]
    found = []
    for value in tried:
        try:
            found.append(h.check(round(value) if h.whole else value, ""))
        except (ValueError, OverflowError):
            continue
    return [value for value in found if value != x]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # some values are far out
@pytest.mark.parametrize("name", RULES)
def test_every_argument_changes_the_path(name):
    rule = RULES[name]
    own = {*rule.hyperparameters} - (
        {*registry.get("sgd").hyperparameters} if "(" in name else set()
    )
    paths = {}
    for moved in own:
        assert moves(rule, moved, paths), f"no value of {moved} changes where {STEPS} steps lead"


def moves(rule, moved, paths):
    """Whether a value of a hyperparameter changes the path; steps are taken until one shows it.

    paths: of the other values, found when they are asked for, and kept for the next hyperparameter.
    """
    calm = {k: h.default for k, h in rule.hyperparameters.items()}
    loud = {**calm, **{k: v for k, v in (LOUD | EARLY).items() if k in calm and k != moved}}
    on = {**loud, **{k: True for k, v in calm.items() if v is False and k != moved}}
    for base in (calm, loud, on):
        if values_refused(base):
            continue
        for value in others(rule.hyperparameters[moved]):
            other = {**base, moved: value}
            if values_refused(other):
                return True
            key = tuple(base.items())
            paths[key], path = tee(paths.get(key) or follow(rule, base))
            pairs = zip(path, follow(rule, other), strict=True)
            if any(not np.array_equal(*pair, equal_nan=True) for pair in pairs):
                return True
    return False


def values_refused(values):
    """Whether NumPy refuses a switch, since it has no bfloat16."""
    return bool(values.get("bfloat16"))
