"""The sentences that describe rules, and the tests that verify them.

A description's first line says what a rule computes, which its witness or oracle proves, and what
stands under `Elsewhere:` is about other packages. Every other sentence is held by a test that quotes
it, or stands in `unmeasured.py` with the reason why no test can hold it. The same goes for what
hyperparameters mean. So a sentence that nobody has looked at fails a test.
"""

import inspect
import re
from functools import cache

import numpy as np
import pytest

from ravine import registry

DRAW = np.random.RandomState(5)
SHAPE = (6, 4)
P, G = DRAW.standard_normal((2, *SHAPE))
GRADS = DRAW.standard_normal((30, *SHAPE)) * 10 ** DRAW.uniform(-2, 1, (30, 1, 1))
VECTOR, VECTORS = P[:, 0], GRADS[:, :, 0]

_END = re.compile(r"(?<=\.)(?<!al\.)\s+")
HELD: set[tuple[str, str]] = set()  # a rule's or modifier's name, and a sentence about it


def sentences(doc):
    """The first sentence of a description, and then the others."""
    return [s for s in _END.split(" ".join(doc.partition("Elsewhere:")[0].split())) if s]


@cache
def said():
    """All sentences by the name of the rule or modifier that they are about."""
    made = {
        name: rule.doc
        for name, rule in registry.rules().items()
        if not registry.rules().package(name)
    }
    made |= {name: inspect.getdoc(f) for name, f in registry.modifiers().items()}
    return {name: sentences(doc) for name, doc in made.items()}


def says(*starts):
    """Mark a test as the one that holds these sentences, given from their beginning.

    With an argument `name` it runs for every rule and modifier of which one of them is said, so for
    those too that are yet to come.
    """
    names = set()
    for start in starts:
        found = {(n, s) for n, its in said().items() for s in its if s.startswith(start)}
        assert found, f"nobody says {start!r}"
        HELD.update(found)
        names |= {n for n, _ in found}

    def marked(test):
        if "name" not in inspect.signature(test).parameters:
            return test
        return pytest.mark.parametrize("name", sorted(names))(test)

    return marked


def follow(rule, grads, start=P, lrs=None, state=None, t=0, **options):
    """The weights after each step, the start first, and the state after each, by slot.

    lrs: the learning rate of each step. state and t: where it goes on from.
    """
    rule = registry.get(rule) if isinstance(rule, str) else rule
    values = rule.values({k: x for k, x in options.items() if k in rule.hyperparameters})
    p, state = start, rule.init(start, **values) if state is None else state
    values |= {k: options.get(k) for k in rule.signals}
    places, states = [start], [dict(zip(rule.slots, state, strict=True))]
    for i, g in enumerate(grads):
        if lrs is not None:
            values["lr"] = lrs[i]
        with np.errstate(all="ignore"):  # of branches not taken
            p, state = rule.update(p, g, state, t + i + 1, **values)
        places.append(p)
        states.append(dict(zip(rule.slots, state, strict=True)))
    return np.array(places), states


def first(rule, g=G, start=P, **options):
    """The first step."""
    return follow(rule, [g], start, **options)[0][1] - start


def steps(rule, grads, start=P, **options):
    return np.diff(follow(rule, grads, start, **options)[0], axis=0)


def norm(x):
    return float(np.linalg.norm(x))


def same(a, b, tolerance=1e-12):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def without(rule, *kinds):
    """Zeros for what a rule adds to denominators, and for its decay; or for other hyperparameters."""
    known = registry.get(rule).hyperparameters if isinstance(rule, str) else rule.hyperparameters
    return {k: 0.0 for k in kinds or ("eps", "eps1", "weight_decay", "ns_eps") if k in known}
