"""Every hyperparameter of every rule changes the path: what is accepted and has no effect is a fault."""

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
    with optimizer.evaluating():
        return np.concatenate([np.ravel(x) for x in optimizer.params])


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
    for moved in own:
        assert moves(rule, moved), f"no value of {moved} changes where {STEPS} steps lead"


def moves(rule, moved):
    calm = {k: h.default for k, h in rule.hyperparameters.items()}
    loud = {**calm, **{k: v for k, v in (LOUD | EARLY).items() if k in calm and k != moved}}
    on = {**loud, **{k: True for k, v in calm.items() if v is False and k != moved}}
    for base in (calm, loud, on):
        try:
            path = follow(rule, base)
        except TypeError:  # a switch that NumPy refuses, such as bfloat16
            continue
        for value in others(rule.hyperparameters[moved]):
            try:
                found = follow(rule, {**base, moved: value})
            except TypeError as error:
                if "bfloat16" not in str(error):
                    raise
                return True
            if not np.array_equal(found, path, equal_nan=True):
                return True
    return False
