"""What it is: the rule, with the numbers that were asked for."""

from __future__ import annotations

from ravine.checks.findings import leaving
from ravine.checks.options import rounding
from ravine.checks.probe import SINGLE, Path, unit
from ravine.checks.registry import Context, Fault, Skip, check, refusal
from ravine.checks.search import identified
from ravine.checks.subjects import CouldNotRun

__all__: list[str] = []


@check()
def identity(c: Context) -> str | None:
    """It takes the path of a known rule, with the requested hyperparameters.

    Runs: 24 steps with gradients of many kinds, in float64. The updates are compared with those of
    all rules. Where none fits, hyperparameters are fitted, and rules are put wrong in hundreds of
    ways, until one takes the same path: its sentence is the diagnosis. Without --like, the rule is
    the one that the name of the optimizer claims, its variants, or any other.

    Fault: the sentence says what is wrong, from which step on, and by how much.

    Fix: the lines marked + are those of the optimizer, those marked - are the rule's.
    """
    found = c.identity
    if found.verdict == "could not run":
        raise Fault(found.says)
    if found.good or found.verdict == "unknown":
        return str(found)
    raise Fault(": ".join(x for x in (found.rule, found.says) if x), *found.evidence)


@check()
def options_in_use(c: Context) -> str | None:
    """It is the same rule with options that are off by default, such as weight decay and momentum.

    Runs: the probe with all hyperparameters set whose default is 0; the path is searched for as before.

    Fault: an option is implemented wrongly, such as weight decay with the wrong sign.

    Fix: as the diagnosis says.
    """
    if c.switched == c.values:
        raise Skip("nothing is off by default")
    if not c.identity.good:
        raise Skip("it is not a known rule even without them")
    on = [k for k in c.switched if c.switched[k] != c.values[k]]
    try:
        path = c.path(**c.switched)
    except CouldNotRun:  # options may be mutually exclusive: one by one
        return _one_by_one(c, on)
    return _in_use(c, path, c.switched, on)


def _one_by_one(c: Context, on: list[str]) -> str | None:
    said = []
    for name in on:
        values = {**c.values, name: c.switched[name]}
        try:
            path = c.path(**values)
        except CouldNotRun as error:
            said.append(f"{name}={values[name]} is refused: {refusal(error)}")
            continue
        said.append(_in_use(c, path, values, [name]))
    return "; ".join(said)


def _in_use(c: Context, path: Path, values: dict[str, float | bool], on: list[str]) -> str:
    found = identified(path, c.probe, values, c.subject.name, c.like, c.seconds)
    asked = ", ".join(f"{k}={values[k]}" for k in on)
    if found.good or found.verdict in ("another rule", "unknown"):
        return f"with {asked} it is {found.rule}" if found.good else f"with {asked}: {found}"
    raise Fault(f"with {asked}: {found.says}", *found.evidence)


@check()
def as_it_comes(c: Context) -> str | None:
    """It is the same rule with the given arguments, or with the defaults.

    Runs: the probe with the optimizer's own values, where other checks choose values that show.

    Fault: it is another rule there: a constant stands in the code for a hyperparameter, or a
    threshold lies between.

    Fix: use the hyperparameter.
    """
    mine = c.subject.values | c.subject.needed
    trial = c.trial(**mine)
    if trial is None:
        raise Skip("it is not a known rule")
    path, reference = c.path(**mine), trial.path(c.probe)
    # With lr a tensor in float32, torch computes 1 - lr * weight_decay in float32, too.
    coarse = max(unit(path), rounding([*c.subject.given.values()]))
    far = trial.off(path, reference, coarse)
    if far > SINGLE and trial.graph.of_arrays and c.identity.verdict == "single precision":
        return f"single precision may be all that moves it away from the rule, by {far:.1e}"
    if far > SINGLE:
        raise Fault(
            "with the given arguments it follows a different rule than with generic values",
            leaving(path, reference, mine, unit(path), c.identity.rule),
        )
    return None
