"""Check optimizers that are right, and say which of them the checker calls wrong.

python -m false_alarms                      # all libraries
python -m false_alarms torch optax          # of these only
python -m false_alarms torch --only Muon    # those whose name has this in it
"""

from __future__ import annotations

import argparse
import sys
import time

from false_alarms import LIBRARIES, right_ones


def main() -> int:
    """Check them; the exit code is 1 if there is an alarm."""
    parser = argparse.ArgumentParser(prog="python -m false_alarms", description=__doc__)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=", ".join(LIBRARIES))
    parser.add_argument("--only", default="", help="those with this in their names")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each search")
    asked = parser.parse_args()
    alarms = 0
    for library in asked.libraries or LIBRARIES:
        begun, count = time.process_time(), 0
        for each in right_ones(library):
            if asked.only not in each.spec:
                continue
            count += 1
            alarm = each.alarm(each.report(asked.seconds))
            if alarm:
                alarms += 1
                print(f"{each}: {alarm}", flush=True)
        print(f"{library}: {count} checked in {time.process_time() - begun:.0f} s", flush=True)
    print(f"{alarms} false alarms")
    return min(alarms, 1)


if __name__ == "__main__":
    sys.exit(main())
