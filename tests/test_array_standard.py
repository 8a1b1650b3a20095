"""Arrays of any library that follows the array standard: array_api_strict, and MLX where it is installed."""

import numpy as np
import pytest

from ravine import ops, registry, rules
from ravine.engines.tracing import trace

REFUSED = {"array_api_strict": set(), "mlx.core": {"argsort"}}  # MLX's may not be stable


def library(name):
    module = pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)
    dtype = np.float64 if name == "array_api_strict" else np.float32
    return (lambda x: module.asarray(x.astype(dtype))), dtype


@pytest.mark.parametrize("name", REFUSED)
def test_every_rule_steps_the_arrays_of_any_library(name):
    make, dtype = library(name)
    wrong, refused = {}, set()
    for rule in registry.own().values():
        draw = np.random.default_rng(0)
        start, grads = draw.normal(size=(4, 4)).astype(dtype), draw.normal(size=(3, 4, 4))
        signals = {k: 1.5 if s.scalar else grads[0].astype(dtype) for k, s in rule.signals.items()}
        theirs = {k: make(x) if isinstance(x, np.ndarray) else x for k, x in signals.items()}
        p, state = start, rule.init(start)
        q, others = make(start), rule.init(make(start))
        lacks = REFUSED[name] & {node.op for node in trace(rule).nodes}
        try:
            for t, g in enumerate(grads, 1):
                p, state = rule.update(p, g.astype(dtype), state, t, **signals)
                q, others = rule.update(q, make(g), others, t, **theirs)
        except TypeError as error:
            if not (lacks and name in str(error)):
                raise
            refused.add(rule.name)
            continue
        far = np.abs(np.array(q) - p).max()
        if not far <= (1e-12 if dtype is np.float64 else 1e-4):
            wrong[rule.name] = far
    assert not wrong
    assert len(refused) <= 3 * len(REFUSED[name])


class Foreign:
    """An array of a library that is not known."""

    shape, dtype, ndim = (2,), "float32", 1


def test_an_array_of_an_unknown_library_is_refused_by_its_name():
    with pytest.raises(TypeError, match=r"a Foreign of test_array_standard is invalid"):
        ops.sqrt(Foreign())
    with pytest.raises(TypeError, match="Foreign"):
        rules.sgd(Foreign(), Foreign())
