"""The problem that every witness steps through, and the values that it does so with."""

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ravine import Rule
from ravine.cards import Witness
from ravine.hyperparameters import Hyperparameter

PATHS = Path(__file__).parent / "paths"
STEPS, HALF = 60, 30
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "": [(), (5,), (4, 3), (3, 2, 2, 2)],
    "matrices": [(4, 3), (3, 5), (4, 4)],
    "vectors": [(5,), (7,), (3,)],
}
LATE = {1: (1, 2, 3, 20)}  # of the second parameter, the steps without a gradient
# Far from every default, and from each other: what is left out or exchanged shows.
LOUD = {
    **{"beta1": 0.8, "beta2": 0.95, "beta3": 0.9, "momentum": 0.7, "eps": 1e-2},
    "weight_decay": 0.1,
    "flat_start": 5,
}


def starts(shapes: str) -> list[np.ndarray]:
    """Where the parameters start."""
    draw = np.random.RandomState(7)
    return [np.array(draw.standard_normal(shape)) for shape in SHAPES[shapes]]


def gradients(shapes: str, late: bool) -> list[list[np.ndarray | None]]:
    """The gradients of each step, of sizes from 0.01 to 3; None where a parameter has none."""
    draw = np.random.RandomState(11)
    found: list[list[np.ndarray | None]] = []
    for t in range(1, STEPS + 1):
        sizes = 10 ** draw.uniform(-2, 0.5, len(SHAPES[shapes]))
        row = [
            np.array(s * draw.standard_normal(x))
            for s, x in zip(sizes, SHAPES[shapes], strict=True)
        ]
        found.append([None if late and t in LATE.get(i, ()) else g for i, g in enumerate(row)])
    return found


def signals(rule: Rule, shapes: str) -> list[dict[str, list[np.ndarray]]]:
    """What the rule is given at each step besides gradients: arrays, one for each parameter."""
    draw = np.random.RandomState(13)
    return [
        {k: [np.array(draw.standard_normal(x)) for x in SHAPES[shapes]] for k in rule.signals}
        for _ in range(STEPS)
    ]


def schedule(t: int) -> float:
    """What the learning rate of step t is multiplied by, in the loud run."""
    return 1 + 0.5 * float(np.sin(1.7 * t))


def values(rule: Rule, witness: Witness, loud: bool) -> dict[str, Any]:
    """The hyperparameters of a run; loud ones where the witness has them as options."""
    defaults = {k: h.default for k, h in rule.hyperparameters.items()}
    if not loud:
        return defaults
    asked: set[str] = set()
    for names in witness.options.values():
        asked |= {names} if isinstance(names, str) else {*names}
    moved = {k: LOUD.get(k, _loud(h)) for k, h in rule.hyperparameters.items() if k in asked}
    return {**defaults, **moved, **witness.loud}


def _loud(h: Hyperparameter) -> Any:
    x = h.default
    if isinstance(x, bool):
        return x
    if h.name == "lr":
        return min(10 * x, 0.7 * max(x, 0.1))
    tried = [x + 1, x - 1] if h.whole else [1.4 * x + 0.1 * (x == 0), 0.6 * x]
    return next(y for y in tried if h.low <= y <= h.high and y not in (h.low, h.high))


@dataclass(frozen=True)
class Path_:  # pathlib's is Path
    """A recorded path: the parameters after each step, all their elements in a row.

    loud: after each step of the loud run. calm: after the last of the run with defaults. evaluated: the
    weights to evaluate with at the end of the loud run; empty where they are the last ones. state, groups:
    what a class of torch's kind saves after half of the loud run, its arrays by "number/name".
    """

    loud: np.ndarray
    calm: np.ndarray
    evaluated: np.ndarray
    values: dict[str, dict[str, Any]]
    state: dict[str, np.ndarray] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)

    def write(self, file: Path) -> None:
        """Write it to a file."""
        said = np.array(json.dumps([self.values, self.groups], sort_keys=True))
        own = {"loud": self.loud, "calm": self.calm, "evaluated": self.evaluated, "said": said}
        np.savez(file, **own, **self.state)

    def checkpoint(self) -> dict[str, Any]:
        """What the package saved, in numbers and arrays; torch makes tensors of them."""
        found: dict[Any, Any] = {}
        groups: dict[Any, Any] = {}
        for place, array in self.state.items():
            *way, last = (_key(part) for part in place.removesuffix("/").split("/"))
            into = found
            if way[:1] == ["groups"]:
                into, way = groups, way[1:]
            for key in way:
                into = into.setdefault(key, {})
            into[last] = array
        every = [{**its, **groups.get(i, {})} for i, its in enumerate(self.groups)]
        return {"state": found, "param_groups": every}


def _key(part: str) -> Any:
    """A key of a dict or a place in a list, from its text."""
    try:
        return ast.literal_eval(part)
    except (SyntaxError, ValueError):
        return part


def file_of(rule: Rule, witness: Witness) -> Path:
    """The file of a witness's path."""
    return PATHS / f"{_in_a_file(rule.name)}--{witness.name.replace('.', '-')}.npz"


def _in_a_file(name: str) -> str:
    return name.replace("(", "-").replace(")", "")


def read(file: Path) -> Path_:
    """The path in a file."""
    with np.load(file) as found:
        values, groups = json.loads(str(found["said"]))
        state = {k: found[k] for k in found.files if "/" in k}
        return Path_(found["loud"], found["calm"], found["evaluated"], values, state, groups)
