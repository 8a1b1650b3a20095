"""Runs, in each of which one optimizer trains one model once, and the files that contain them.

    FOLDER/runs/3f/3f09c1d2a4b5e697.json      one file a run, in one of 256 folders
    FOLDER/packed/5d0c2a97e1b4f386.npz        a thousand runs in one file, see ravine.races.packed

A run is found by its key, everything that its result depends on: the hash of the key is the file's
name. The file is JSON after a checksum. Any number of processes may write to one folder: a file is
complete or absent, and two processes that compute the same run write the same result. Each run has its
own file at first; runs are packed when a task of a large race is done, or when folders are merged.
Packing writes the new file before it removes the others, and a reader looks for a run's own file first,
so no run is missed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from ravine.races import packed
from ravine.races.atomic import aside, write
from ravine.races.curves import Curve
from ravine.races.encoding import encoded, name, parsed, unspelt
from ravine.races.packed import Record

__all__ = [
    "CHOOSE",
    "KEY",
    "REPORT",
    "ROLES",
    "RUNGS",
    "TUNE",
    "Run",
    "keep",
    "kept",
    "merge",
    "names",
    "pack",
    "place",
    "read",
]

TUNE, CHOOSE, REPORT = ROLES = ("tune", "choose", "report")
"""The purpose of a run: to try a point of the search, to choose among the best, or to be reported."""

RUNGS = ((1 / 4, 1 / 2), (1 / 2, 1 / 4))
"""Halving: after each share of the steps, the share of the trials that continue at most."""

PROTOCOL_VERSION = 3
"""Raised by hand when the same key gives other numbers: earlier runs are not reused then."""

_log = logging.getLogger("ravine")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Run:
    """One run: its key, its names, and its results.

    The key. task: the digest of the problem (data, model, loss, score). rule: the digest of the
    optimizer. hyperparameters: all of the optimizer's, with the values they had. role: "tune",
    "choose" or "report"; the first two are scored on the validation part, the last on the test part.
    seed: of the initial weights and the batches, so that runs of one seed are paired. steps: the
    budget. batch_size: examples a step. schedule: of the learning rate, "linear", "cosine" or "constant".
    rivals: the digest of the trials that halving compares it with; "" without halving.

    Names. problem, about: the problem's, and a line on it. optimizer: its label. trial: the number of
    the point in the search, counted from 1; 0 stands for the defaults. space: where each searched
    hyperparameter was searched, (low, high, towards) as in a rule's declaration. score_name: what the
    score is. lower_is_better: whether less of it is better. target: the score that counts as solved;
    None if there is none. parameters: of the model, trainable numbers.

    Results. curve: (step, mean training loss of the batches since the point before). evaluations:
    (step, score), the first at step 0. score: after the last step; NaN where the run is lost. descent:
    by how much the training loss is below that of the untrained model on the same batches, the median
    over the last tenth of the steps, ten at least; None where the run ended early. lost: why the run ended
    early, such as "loss is NaN at step 12"; "" where it did not. lost_at: at which step, or None.
    stopped_at: at which step halving stopped it, or None; its score is the one at that step.
    steps_to_target, seconds_to_target: until the first evaluation at the target; infinity for a miss,
    None without a target. seconds_per_step: of forward, backward and step, trained alone on one
    thread. memory_per_parameter: bytes of optimizer state for each trainable number. how: "swarm", or
    "one by one" and the reason. made: versions, machine, and the command.
    """

    task: str
    rule: str
    hyperparameters: Mapping[str, float | bool]
    role: str
    seed: int
    steps: int
    batch_size: int
    schedule: str

    problem: str
    optimizer: str
    trial: int = 0
    about: str = ""
    space: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    score_name: str = "loss"
    lower_is_better: bool = True
    target: float | None = None
    parameters: int = 0
    rivals: str = ""

    curve: Sequence[tuple[int, float]] = ()
    evaluations: Sequence[tuple[int, float]] = ()
    score: float = math.nan
    descent: float | None = None
    lost: str = ""
    lost_at: int | None = None
    stopped_at: int | None = None
    steps_to_target: float | None = None
    seconds_to_target: float | None = None
    seconds_per_step: float = math.nan
    memory_per_parameter: float = math.nan
    how: str = ""
    made: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role={self.role!r} is invalid; role must be {', '.join(ROLES)}")
        for which in _CURVES:
            object.__setattr__(self, which, Curve(getattr(self, which)))

    @cached_property
    def key(self) -> dict[str, Any]:
        """What the result depends on."""
        return {**{k: getattr(self, k) for k in KEY}, "protocol": PROTOCOL_VERSION}

    @cached_property
    def name(self) -> str:
        """The name of its file: 16 hex digits, the hash of the key."""
        return name(self.key)

    def __eq__(self, other: object) -> bool:
        # as tuples compare, so that a number that is absent (NaN) equals itself in every Python
        if not isinstance(other, Run):
            return NotImplemented
        mine, theirs = (tuple(getattr(x, f.name) for f in fields(Run)) for x in (self, other))
        return mine == theirs

    __hash__ = object.__hash__

    def __str__(self) -> str:
        return f"{self.optimizer} on {self.problem} with seed {self.seed}"


_CURVES = ("curve", "evaluations")
KEY = (
    "task",
    "rule",
    "hyperparameters",
    "role",
    "seed",
    "steps",
    "batch_size",
    "schedule",
    "rivals",
)
_NAMES = (
    "problem",
    "optimizer",
    "trial",
    "about",
    "space",
    "score_name",
    "lower_is_better",
    "target",
    "parameters",
)
_RESULTS = tuple(f.name for f in fields(Run) if f.name not in (*KEY, *_NAMES, *_CURVES, "made"))


def place(folder: str | Path, name: str) -> Path:
    """The path of the separate file of the run with that name."""
    return Path(folder, "runs", name[:2], f"{name}.json")


def keep(folder: str | Path, run: Run) -> Path:
    """Write a run to its file. Raises OSError, naming the file, if that cannot be done."""
    path = place(folder, run.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"asked": _NAMES, "result": _RESULTS}
    record = {k: {x: getattr(run, x) for x in fields} for k, fields in parts.items()}
    curves = {k: [x.steps.tolist(), x.values.tolist()] for k, x in _curves(run).items()}
    return write(path, encoded({"depends": run.key, **record, "made": run.made, "curves": curves}))


def _curves(run: Run) -> dict[str, Curve]:
    return {which: getattr(run, which) for which in _CURVES}


def kept(folder: str | Path, asked: Iterable[Run]) -> list[Run]:
    """The existing ones among the runs asked for, under their names there.

    A damaged file is set aside, which is logged, and counts as absent.
    """
    found: list[Run] = []
    rest: dict[str, Run] = {}
    for run in asked:
        path = place(folder, run.name)
        try:
            found.append(_run(_record(path), _named(run)))
        except FileNotFoundError:
            rest[run.name] = run
        except packed.BROKEN as error:
            _put_aside(path, error)
            rest[run.name] = run
    for path in packed.packs(Path(folder)) if rest else ():
        try:
            if rest.keys().isdisjoint(packed.names(path)):
                continue
            for record in packed.unpack(path):
                if record.name in rest:
                    found.append(_run(record, _named(rest.pop(record.name))))
        except packed.BROKEN as error:
            _put_aside(path, error)
    return found


def _named(run: Run) -> dict[str, Any]:
    return {k: getattr(run, k) for k in _NAMES}


def read(folder: str | Path) -> list[Run]:
    """All runs of a folder, in the order of their names.

    A damaged file is set aside, which is logged, and left out. Raises FileNotFoundError if there is
    no folder, and ValueError if it contains no run.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; name one that a race has written")
    found = {run.name: run for run in _all(Path(folder), _put_aside, _run)}
    if not found:
        raise ValueError(
            f"{folder} holds no runs of a race by this version of Ravine; they would be in {folder}/runs"
        )
    return [found[key] for key in sorted(found)]


def names(folder: str | Path) -> set[str]:
    """The names of all runs in a folder."""
    found = {path.stem for path in _own(Path(folder))}
    for path in packed.packs(Path(folder)):
        try:
            found.update(packed.names(path))
        except packed.BROKEN as error:
            _put_aside(path, error)
    return found


Found = TypeVar("Found")


def _all(
    folder: Path, damaged: Callable[[Path, Exception], Any], made: Callable[[Record], Found]
) -> Iterator[Found]:
    """Apply a function to each run of a folder; a run that is stored twice occurs twice."""
    older = 0
    for path in (*_own(folder), *packed.packs(folder)):
        try:
            records = [_record(path)] if path.suffix == ".json" else packed.unpack(path)
            for record in records:
                if record.fields["depends"]["protocol"] == PROTOCOL_VERSION:
                    yield made(record)
                else:
                    older += 1
        except packed.BROKEN as error:
            damaged(path, error)
    if older:
        _log.warning(
            "%d of the runs in %s are of another version's protocol and left out", older, folder
        )


def _own(folder: Path) -> list[Path]:
    """The files of single runs."""
    return sorted(folder.glob("runs/[0-9a-f][0-9a-f]/*.json"))


def _record(path: Path) -> Record:
    fields = parsed(path.read_bytes())
    curves = fields.pop("curves", {})
    losses, evaluations = (Curve.of(*curves.get(which, ((), ()))) for which in _CURVES)
    return Record(path.stem, fields, (losses, evaluations))


def _run(record: Record, asked: Mapping[str, Any] = _NOTHING) -> Run:
    known = unspelt(record.fields)
    depends = {k: known["depends"][k] for k in KEY}
    found = {**known["asked"], **known["result"], **asked}
    found["space"] = {k: tuple(v) for k, v in found["space"].items()}
    found |= zip(_CURVES, record.curves, strict=True)
    run = Run(**depends, **found, made=known["made"])
    if run.name != record.name:
        raise ValueError("it holds another run")
    return run


def _put_aside(path: Path, error: Exception) -> None:
    why = (isinstance(error, OSError) and error.strerror) or error
    _log.warning("%s is damaged (%s); it is kept as %s", path, why, aside(path, "damaged").name)


# ---- packing and merging -------------------------------------------------------------------------


def pack(folder: str | Path, least: int = 1) -> int:
    """Pack the runs that have separate files. Returns their number.

    If there are fewer than `least`, nothing is done. Raises as :func:`merge` does.
    """
    _check(Path(folder))
    own = _own(Path(folder))
    if len(own) < max(least, 1):
        return 0
    count = 0
    for some in _some(own):
        records, good = [], []
        for path in some:
            try:
                records.append(_record(path))
                good.append(path)
            except FileNotFoundError:  # somebody else packs, too
                continue
            except packed.BROKEN as error:
                _put_aside(path, error)
        if records:
            packed.pack(Path(folder), records)
        for path in good:
            path.unlink(missing_ok=True)
        count += len(good)
    return count


def merge(folder: str | Path, others: Iterable[str | Path]) -> tuple[int, int]:
    """Copy the runs of other folders into one, packed. Returns the numbers of new and of existing runs.

    Raises FileNotFoundError for a folder that does not exist, and ValueError for one without runs. A
    damaged file is named and left out.
    """
    sources = [Path(other) for other in others]
    for other in sources:
        _check(other)
    known = names(folder)
    there = 0

    def new() -> Iterator[Record]:
        nonlocal there
        for other in sources:
            for record in _all(other, _left_out, lambda record: record):
                if record.name in known:
                    there += 1
                else:
                    known.add(record.name)
                    yield record

    count = 0
    for some in _some(new()):
        packed.pack(Path(folder), some)
        count += len(some)
    return count, there


def _check(folder: Path) -> None:
    if not (folder / "runs").is_dir() and not packed.packs(folder):
        kind = ValueError if folder.is_dir() else FileNotFoundError
        raise kind(f"{folder} holds no runs of a race; they would be in {folder}/runs")


def _left_out(path: Path, error: Exception) -> None:
    _log.warning("%s is damaged (%s), and left out", path, error)


Thing = TypeVar("Thing")


def _some(things: Iterable[Thing]) -> Iterator[list[Thing]]:
    """Groups of as many as go into one packed file."""
    rest = iter(things)
    while some := list(islice(rest, packed.SIZE)):
        yield some
