"""Make docs/survey.md of what `ravine check --survey` found, and of what was confirmed by hand.

    python scripts/make_survey.py FILE...    # with what surveys wrote, which becomes docs/survey.json
    python scripts/make_survey.py            # the page once more

docs/survey-confirmed.json has the faults that somebody has looked into: the optimizer and its version, what
it does and what it should do, the source, and how that was confirmed. Whatever else a survey finds is
listed as different from every rule known here, not as a fault.
"""

import argparse
import json
from datetime import date
from pathlib import Path

from ravine.checks.survey.rows import results
from ravine.checks.survey.table import kept, page
from ravine.races.atomic import write
from ravine.races.store import to_json

DOCS = Path(__file__).parents[1] / "docs"
SURVEY, CONFIRMED, PAGE = DOCS / "survey.json", DOCS / "survey-confirmed.json", DOCS / "survey.md"


def main() -> None:
    """Take the rows of surveys, or those that are there, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="what surveys have written")
    parser.add_argument("--note", default="", help="what else the page says of them")
    asked = parser.parse_args()
    if asked.files:
        rows = kept(row for file in asked.files for row in results(file))
        rows.sort(key=lambda r: (r["package"].lower(), r["optimizer"].lower(), r["arguments"]))
        found = {"date": date.today().isoformat(), "note": asked.note, "rows": rows}
        write(SURVEY, to_json(found).encode())
    found = json.loads(SURVEY.read_text())
    confirmations = json.loads(CONFIRMED.read_text())
    write(PAGE, page(found["rows"], confirmations, found["date"], found.get("note", "")).encode())


if __name__ == "__main__":
    main()
