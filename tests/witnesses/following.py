"""How far a rule strays from a recorded path."""

import numpy as np

import ravine.numpy
from ravine import Rule
from ravine.cards import Witness
from witnesses import problem

TOLERANCE = 1e-12


def distance(rule: Rule, witness: Witness, path: problem.Path_, engine: str = "auto") -> float:
    """The largest distance from the path at any step, relative to the way that it has come.

    A way shorter than a thousandth of the weights counts as that long, since every step rounds them.
    """
    start = np.concatenate([np.ravel(x) for x in problem.starts(witness.shapes)])
    loud, evaluated = _run(rule, witness, path, True, engine)
    worst = _apart(loud, path.loud, start)
    calm, _ = _run(rule, witness, path, False, engine)
    worst = max(worst, _apart(calm[-1:], path.calm[None], start))
    if path.evaluated.size:
        worst = max(worst, _apart(evaluated[None], path.evaluated[None], start))
    return worst


def is_so(apart: float, witness: Witness) -> bool:
    """Whether a distance is what the card says: within the tolerance, or the one given, to one digit."""
    said = witness.apart
    return (
        abs(apart - said) <= 0.5 * 10.0 ** np.floor(np.log10(said)) if said else apart <= TOLERANCE
    )


def _apart(found: np.ndarray, recorded: np.ndarray, start: np.ndarray) -> float:
    way = np.maximum.accumulate(np.abs(recorded - start).max(axis=1))
    errors = np.abs(found - recorded).max(axis=1)
    if not np.isfinite(errors).all() or (errors[way == 0] > 0).any() or not way.any():
        return np.inf
    return float((errors / np.maximum(way, 1e-3 * np.abs(start).max())).max())


def _run(
    rule: Rule, witness: Witness, path: problem.Path_, loud: bool, engine: str
) -> tuple[np.ndarray, np.ndarray]:
    """The rule's path, and the weights to evaluate with at its end."""
    values = path.values["loud" if loud else "calm"]
    moves = loud and not witness.constant_lr and "lr" in values
    params = problem.starts(witness.shapes)
    made = ravine.numpy.optimizer(rule)(params, **rule.parts.gathered(values), engine=engine)
    rows = []
    gradients = problem.gradients(witness.shapes, loud and witness.late)
    given = problem.signals(rule, witness.shapes)
    for t, (grads, signals) in enumerate(zip(gradients, given, strict=True), 1):
        if moves:
            made.options["lr"] = values["lr"] * problem.schedule(t)
        params = made.step(grads, **signals)
        rows.append(np.concatenate([np.ravel(x) for x in params]))
    with made.evaluating():
        evaluated = np.concatenate([np.ravel(x) for x in made.params])
    return np.array(rows), evaluated
