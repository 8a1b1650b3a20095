"""Measure the checker's score, and write it into the documentation.

python -m mutants                 # all mutants: about half an hour
python -m mutants --keep          # the page once more, from what was measured and judged
python -m mutants --every 20      # a sample, printed only
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from datetime import date

from mutants.page import JUDGEMENTS, PAGE, RESULTS, page
from mutants.score import RULES, Judged, judged
from ravine.races.atomic import write
from ravine.races.store import to_json


def main() -> None:
    """Measure, or keep; then write the page."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only each so many-th mutant")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each search")
    parser.add_argument("--keep", action="store_true", help="make the page of what was measured")
    asked = parser.parse_args()
    if not asked.keep:
        rows = [row for name in RULES for row in _measured(name, asked.seconds, asked.every)]
        if asked.every > 1:
            return
        found = {"date": date.today().isoformat(), "seconds": asked.seconds}
        text = to_json(found | {"mutants": [r.as_dict() for r in rows]})
        write(RESULTS, text.encode())
    judgements = json.loads(JUDGEMENTS.read_text()) if JUDGEMENTS.exists() else {}
    write(PAGE, page(json.loads(RESULTS.read_text()), judgements).encode())


def _measured(name: str, seconds: float, every: int) -> list[Judged]:
    rows = [*judged(name, seconds, every)]
    counts = Counter(r.outcome for r in rows)
    print(f"{name}: {', '.join(f'{n} {k}' for k, n in counts.most_common())}", flush=True)
    for r in rows:
        if r.outcome in ("missed", "detected"):
            print(f"  {r.outcome}: line {r.line}: {r.was} became {r.now}: {r.says}", flush=True)
    return rows


if __name__ == "__main__":
    main()
