"""Race the optimizers that people choose between on all bundled problems, and write what it says.

    python scripts/make_decision.py                  # 25 minutes of two quiet cores
    python scripts/make_decision.py --quick          # a minute: all problems, with next to no training
    python scripts/make_decision.py --out FOLDER     # its runs are kept there, and a second call goes on

Runs are kept in runs/decision; what is there is not computed again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ravine.races.contest import contest
from ravine.races.entrants import entrants
from ravine.races.pace import Pace
from ravine.races.runs import Run
from ravine.races.store import RunFolder
from ravine.races.task import Task, problem, problems

OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "nadam", "lion", "muon")
LAST = "character-lm"  # half of all the time


class Told:
    """Says on the terminal how far the race is."""

    def task(self, task: Task, pace: Pace, runs: int, seconds: float) -> None:
        """A task begins."""
        print(f"{task.name}: {runs} runs of {task.steps} steps, about {seconds:.0f} s", flush=True)

    def stage(self, role: str, runs: Sequence[Run]) -> None:
        """The runs of a role begin."""
        print(f"  {role}: {len(runs)} runs", flush=True)

    def done(self, runs: Sequence[Run]) -> None:
        """Runs are there."""


def race(folder: Path, quick: bool) -> None:
    """Run what is missing of the race."""
    names = sorted(problems(), key=lambda name: (name == LAST, name))
    kept = RunFolder(folder)
    with kept.session():
        contest(
            [problem(name) for name in names],
            entrants(OPTIMIZERS[::4] if quick else OPTIMIZERS),
            kept,
            seeds=2 if quick else 10,
            steps=10 if quick else None,
            watcher=Told(),
            command="python scripts/make_decision.py" + " --quick" * quick,
        )


def main() -> None:
    """Race and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="next to no training")
    parser.add_argument("--out", type=Path, default=Path("runs/decision"), metavar="FOLDER")
    asked = parser.parse_args()
    race(asked.out, asked.quick)


if __name__ == "__main__":
    sys.exit(main())
