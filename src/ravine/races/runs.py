"""Runs: one optimizer that trained one model once, and the files that they are kept in.

    FOLDER/runs/3f/3f09c1d2a4b5e697.json      one file a run, in one of 256 folders

A run is found by its key, what its result depends on: the hash of the key is the file's name. The
file is JSON behind a checksum. Any number of processes may write to one folder: a file is whole or
absent, and two processes that compute the same run write the same result.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ravine.races.atomic import aside, write
from ravine.races.encoding import decoded, encoded, name

__all__ = ["CHOOSE", "KEY", "REPORT", "ROLES", "TUNE", "Run", "keep", "kept", "place", "read"]

TUNE, CHOOSE, REPORT = ROLES = ("tune", "choose", "report")
"""What a run is for: to try a point of the search; to choose among the best; to be reported."""

PROTOCOL_VERSION = 1
"""Raised by hand when the same key gives other numbers: earlier runs are not reused then."""

_log = logging.getLogger("ravine")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Run:
    """One run: its key, what it is called, and what came of it.

    The key. task: the digest of the problem (data, model, loss, score). rule: the digest of the
    optimizer. hyperparameters: all of the optimizer's, with the values they had. role: "tune",
    "choose" or "report"; the first two are scored on the validation part, the last on the test part.
    seed: of the initial weights and the batches, so that runs of one seed are paired. steps: the
    budget. batch_size: examples a step. schedule: of the learning rate, "linear" or "constant".

    Names. problem, about: the problem's, and a line on it. optimizer: its label. trial: the number of
    the point in the search, counted from 1; 0 stands for the defaults. space: where each searched
    hyperparameter was searched, (low, high, towards) as in a rule's declaration. score_name: what the
    score is. lower_is_better: whether less of it is better. target: the score that counts as solved;
    None if there is none. parameters: of the model, trainable numbers.

    Results. curve: (step, mean training loss of the batches since the point before). evaluations:
    (step, score). score: after the last step; NaN where the run is lost. lost: why the run ended
    early, such as "loss is NaN at step 12"; "" where it did not. lost_at: at which step, or None.
    steps_to_target, seconds_to_target: until the first evaluation at the target; infinity for a miss,
    None without a target. seconds_per_step: of forward, backward and step, trained alone on one
    thread. memory_per_parameter: bytes of optimizer state for each trainable number. how: "swarm", or
    "one by one" and the reason. made: versions and machine.
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

    curve: tuple[tuple[int, float], ...] = ()
    evaluations: tuple[tuple[int, float], ...] = ()
    score: float = math.nan
    lost: str = ""
    lost_at: int | None = None
    steps_to_target: float | None = None
    seconds_to_target: float | None = None
    seconds_per_step: float = math.nan
    memory_per_parameter: float = math.nan
    how: str = ""
    made: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role={self.role!r} is not accepted; role is {', '.join(ROLES)}")

    @cached_property
    def key(self) -> dict[str, Any]:
        """What the result depends on."""
        return {**{k: getattr(self, k) for k in KEY}, "protocol": PROTOCOL_VERSION}

    @cached_property
    def name(self) -> str:
        """What the file is called: 16 hex digits, made of the key."""
        return name(self.key)

    def __str__(self) -> str:
        return f"{self.optimizer} on {self.problem} with seed {self.seed}"


KEY = ("task", "rule", "hyperparameters", "role", "seed", "steps", "batch_size", "schedule")
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
_RESULTS = tuple(f.name for f in fields(Run) if f.name not in (*KEY, *_NAMES, "made"))


def place(folder: str | Path, name: str) -> Path:
    """Where the run of that name is kept."""
    return Path(folder, "runs", name[:2], f"{name}.json")


def keep(folder: str | Path, run: Run) -> Path:
    """Write a run to its file. Raises OSError, naming the file, if that cannot be done."""
    path = place(folder, run.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"asked": _NAMES, "result": _RESULTS}
    record = {k: {x: getattr(run, x) for x in names} for k, names in parts.items()}
    return write(path, encoded({"depends": run.key, **record, "made": run.made}))


def kept(folder: str | Path, asked: Run) -> Run | None:
    """The run with the key of the one that is asked for, under the names that it is asked by.

    None if it is not there. A damaged file is put aside, which is logged, and counts as absent.
    """
    path = place(folder, asked.name)
    try:
        return _run(path, decoded(path.read_bytes()), {k: getattr(asked, k) for k in _NAMES})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        _put_aside(path, error)
        return None


def read(folder: str | Path) -> list[Run]:
    """All runs of a folder, in the order of their files' names.

    A damaged file is put aside, which is logged, and left out. Raises FileNotFoundError if there is
    no folder, and ValueError if it holds no run.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is no folder; name one that a race has written")
    runs = list(_all(Path(folder)))
    if not runs:
        raise ValueError(f"{folder} holds no run of a race; those are kept below {folder}/runs")
    return runs


def _all(folder: Path) -> Iterator[Run]:
    older = 0
    for path in sorted(folder.glob("runs/[0-9a-f][0-9a-f]/*.json")):
        try:
            record = decoded(path.read_bytes())
            if record["depends"]["protocol"] == PROTOCOL_VERSION:
                yield _run(path, record)
            else:
                older += 1
        except (OSError, ValueError, LookupError, TypeError) as error:
            _put_aside(path, error)
    if older:
        _log.warning(
            "%d of the runs in %s are of another version's protocol and left out", older, folder
        )


def _run(path: Path, record: Mapping[str, Any], names: Mapping[str, Any] = _NOTHING) -> Run:
    depends = {k: record["depends"][k] for k in KEY}
    found = {**record["asked"], **record["result"], **names}
    for curve in ("curve", "evaluations"):
        found[curve] = tuple((int(step), float(value)) for step, value in found[curve])
    found["space"] = {k: tuple(v) for k, v in found["space"].items()}
    run = Run(**depends, **found, made=record["made"])
    if run.name != path.stem:
        raise ValueError("it holds another run")
    return run


def _put_aside(path: Path, error: Exception) -> None:
    why = (isinstance(error, OSError) and error.strerror) or error
    _log.warning("%s is damaged (%s); it is kept as %s", path, why, aside(path, "damaged").name)
