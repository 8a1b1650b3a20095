"""The score: of the mutants of a text that are wrong, how many are detected, and how many explained.

Whether a mutant is wrong is decided without Ravine: both texts are run side by side, on gradients that the
checker does not use. Those that cannot be run are counted, and so are those that take the same path.
"""

from __future__ import annotations

import linecache
import sys
import types
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from mutants.mutator import Mutant, mutants
from ravine.checks.findings import Finding
from ravine.checks.guard import CouldNotRun, one_thread
from ravine.checks.registry import Context
from ravine.checks.subjects import subject

__all__ = ["RULES", "Judged", "identity", "independent", "judged", "made", "same", "texts"]

RULES = {
    "sgd_momentum": "momentum",
    "nesterov": "nesterov",
    "adagrad": "adagrad",
    "rmsprop": "rmsprop",
    "adadelta": "adadelta",
    "adam": "adam",
    "adamw": "adamw",
    "adamax": "adamax",
    "amsgrad": "amsgrad",
    "lion": "lion",
}
"""The texts, and the rule that each is."""
VALUES = {
    "lr": 0.021,
    "momentum": 0.8,
    "alpha": 0.93,
    "rho": 0.87,
    "eps": 0.004,
    "weight_decay": 0.13,
}
BETAS = {"beta1": 0.85, "beta2": 0.96}
"""What the independent run uses: other numbers than the checker's."""
_count = count()


@dataclass(frozen=True)
class Judged:
    """A mutant and what became of it.

    number: which of the text's mutants it is. outcome: "cannot run", "equivalent", "missed", "explained",
    "detected", "becomes NaN". says: the checker's sentence.
    """

    text: str
    number: int
    kind: str
    line: int
    was: str
    now: str
    outcome: str
    verdict: str = ""
    rule: str = ""
    says: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """In plain values."""
        return asdict(self)


def texts() -> dict[str, str]:
    """The source texts by name."""
    folder = Path(__file__).with_name("textbook")
    return {name: (folder / f"{name}.py").read_text() for name in RULES}


def made(text: str) -> type:
    """The class of a text."""
    name = f"mutant{next(_count)}"
    module = sys.modules[name] = types.ModuleType(name)
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    exec(compile(text, name, "exec"), vars(module))
    del sys.modules[name]
    return next(x for x in vars(module).values() if isinstance(x, type) and x.__module__ == name)


def independent(cls: type, steps: int = 40) -> np.ndarray:
    """The path of a class, taken here and now: (steps + 1, numbers). Raises what it raises."""
    rng = np.random.default_rng(12)
    shapes = ((3, 2), (4,), (2, 3))
    starts = [rng.standard_normal(s) for s in shapes]
    size = 10.0 ** rng.uniform(-1.5, 0.5, steps)
    names = cls.__init__.__code__.co_varnames[: cls.__init__.__code__.co_argcount]
    values: dict[str, Any] = {k: v for k, v in {**VALUES, **BETAS}.items() if k in names}
    if "betas" in names:
        values["betas"] = tuple(BETAS.values())
    rows = [np.concatenate([x.ravel() for x in starts])]
    if "params" not in names:
        optimizer, params = cls(**values), [x.copy() for x in starts]
    else:
        import torch

        params = [torch.nn.Parameter(torch.tensor(x)) for x in starts]
        optimizer = cls(params, **values)
    for i in range(steps):
        grads = [size[i] * rng.standard_normal(s) * (rng.random(s) < 0.9) for s in shapes]
        if "params" not in names:
            optimizer.update(params, grads)
            rows.append(np.concatenate([x.ravel() for x in params]))
            continue
        for p, g in zip(params, grads, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
        rows.append(np.concatenate([p.detach().numpy().ravel() for p in params]))
    return np.stack(rows)


def same(path: np.ndarray, other: np.ndarray) -> bool:
    """Whether two paths are equal up to rounding."""
    if path.shape != other.shape or not np.isfinite(path).all():
        return False
    moves, others = np.diff(path, axis=0), np.diff(other, axis=0)
    size = np.maximum(np.abs(others).max(axis=0), 1e-300)
    return bool((np.abs(moves - others) <= 1e-9 * size).all())


def judged(name: str, seconds: float = 10.0, every: int = 1, begin: int = 0) -> Iterator[Judged]:
    """The mutants of a text; every: only each so many-th of them, beginning with that one."""
    text = texts()[name]
    with np.errstate(all="ignore"):
        right = independent(made(text))
    for i, mutant in enumerate(mutants(text)):
        if i % every != begin % every:
            continue
        yield _judged(name, i, mutant, right, seconds)


def _judged(name: str, number: int, mutant: Mutant, right: np.ndarray, seconds: float) -> Judged:
    its = (name, number, mutant.kind, mutant.line, mutant.was, mutant.now)
    try:
        with np.errstate(all="ignore"):
            cls = made(mutant.text)
            path = independent(cls)
    except Exception as error:
        return Judged(*its, "cannot run", says=f"{type(error).__name__}: {error}"[:200])
    if same(path, right):
        return Judged(*its, "equivalent")
    found = identity(cls, RULES[name], seconds)
    return Judged(
        *its, outcome(found), found.verdict, found.rule, found.says, round(found.seconds, 2)
    )


def identity(cls: type, like: str, seconds: float) -> Finding:
    """What the checker says: with options that are off by default left off, and then with all on."""
    try:
        with one_thread():
            c = Context(subject(cls), like, seconds)
            if not c.identity.good or c.switched == c.values:
                return c.identity
            return c.identified(c.switched)
    except CouldNotRun as error:
        return Finding("could not run", "", str(error))


def outcome(found: Finding) -> str:
    """Whether a wrong optimizer is missed, detected, or explained: by a rule that takes the same path.

    Where most of that path is NaN, the fault is detected, but no sentence can be told from another by it:
    so many faults take such a path.
    """
    if found.good:
        return "missed"
    exact = found.verdict in ("fault", "other numbers") and found.distance < 1e-6
    still = found.says == "nothing moves" or found.verdict == "could not run"
    if found.finite <= 0.5:
        return "becomes NaN"
    return "explained" if exact or still else "detected"
