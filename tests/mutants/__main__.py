"""Measure the checker's score, and write it into the documentation.

python -m mutants                 # all mutants: about half an hour
python -m mutants adam lion       # of these texts only; the others' stay as they were measured
python -m mutants --keep          # the page once more, from what was measured and judged
python -m mutants --every 20      # a sample, printed only
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from datetime import date
from typing import Any

from mutants.page import JUDGEMENTS, PAGE, RESULTS, page
from mutants.score import RULES, judged
from ravine.races.atomic import write
from ravine.races.store import to_json


def main() -> None:
    """Measure, or keep; then write the page."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help=", ".join(RULES))
    parser.add_argument("--every", type=int, default=1, help="only each so many-th mutant")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each search")
    parser.add_argument("--keep", action="store_true", help="make the page of what was measured")
    asked = parser.parse_args()
    if not asked.keep:
        names = asked.texts or [*RULES]
        rows = {name: _measured(name, asked.seconds, asked.every) for name in names}
        if asked.every > 1:
            return
        before = json.loads(RESULTS.read_text())["mutants"] if asked.texts else []
        for row in before:
            if row["text"] not in names:
                rows.setdefault(row["text"], []).append(row)
        found = {"date": date.today().isoformat(), "seconds": asked.seconds}
        whole = found | {"mutants": [r for name in RULES for r in rows.get(name, ())]}
        write(RESULTS, to_json(whole).encode())
    judgements = json.loads(JUDGEMENTS.read_text()) if JUDGEMENTS.exists() else {}
    write(PAGE, page(json.loads(RESULTS.read_text()), judgements).encode())


def _measured(name: str, seconds: float, every: int) -> list[dict[str, Any]]:
    rows = [*judged(name, seconds, every)]
    counts = Counter(r.outcome for r in rows)
    print(f"{name}: {', '.join(f'{n} {k}' for k, n in counts.most_common())}", flush=True)
    for r in rows:
        if r.outcome in ("missed", "detected"):
            print(f"  {r.outcome}: line {r.line}: {r.was} became {r.now}: {r.says}", flush=True)
    return [r.as_dict() for r in rows]


if __name__ == "__main__":
    main()
