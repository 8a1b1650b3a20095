"""Write what `ravine race claims` found into docs/claims.md, with its figures.

ravine race claims --out FOLDER
python scripts/make_claims.py FOLDER
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ravine.experiments.claims.judging import OUTCOMES
from ravine.races.atomic import write

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "claims.md"
FIGURES = {"claims": 1400, "claims-oscillations": 1400}
"""The figures that the page shows, and how wide."""


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Make the page's table: a row for each claim."""
    lines = [
        "| what is said | supported, undecided, contradicted | verdict | measured |",
        "| :-- | :-: | :-- | :-- |",
    ]
    for claim in found:
        count = Counter(row["outcome"] for row in claim["rows"])
        supports, contradicts, undecided = (count[outcome] for outcome in OUTCOMES)
        lines.append(
            f"| **{claim['claim']}.** {claim['source']} | {supports}, {undecided}, {contradicts} | "
            f"{claim['verdict']} | {claim['sentence']} |"
        )
    return "\n".join(lines)


def main(folder: Path) -> None:
    found = json.loads((folder / "claims-evidence.json").read_text("utf-8"))
    page = PAGE.read_text("utf-8")
    made = re.sub(
        r"(?s)(<!-- claims -->\n).*?(<!-- end -->)",
        lambda marks: f"{marks[1]}\n{table(found)}\n\n{marks[2]}",
        page,
    )
    write(PAGE, made.encode())
    for name, width in FIGURES.items():
        image = Image.open(folder / f"{name}.png").convert("RGB")
        smaller = image.resize((width, round(image.height * width / image.width)), Image.LANCZOS)
        smaller.quantize(128).save(DOCS / "images" / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
