"""`make fuzz SECONDS=600 SEED=1`: random rules until the time is over, or one is answered wrongly."""

from __future__ import annotations

import sys
import time
import warnings

from hypothesis import HealthCheck, given, seed, settings

from random_rules import engines
from random_rules.agreement import check
from random_rules.strategies import cases


def main(seconds: float, first: int) -> None:
    """Search in rounds, each with a seed; hypothesis shrinks what a round finds to a small rule."""
    warnings.simplefilter("ignore")
    engines.ALSO = ("gpu",)
    end, searched, number = time.monotonic() + seconds, 0, first
    while time.monotonic() < end:
        # Shapes in turn: small ones find most, large ones find what happens at chunks and threads.
        shapes = ("small odd", "small", "chunks", "threads")[number % 4]

        @seed(number)
        @settings(
            max_examples=100,
            deadline=None,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(cases(shapes=shapes))
        def found(case):
            check(case)

        try:
            found()
        except Exception as error:
            print(f"seed {number}, shapes {shapes!r}:\n{error}")
            sys.exit(1)
        searched, number = searched + 100, number + 1
    print(f"{searched} rules from seed {first} on: all engines agree with their meaning")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
