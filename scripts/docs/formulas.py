"""The formula sheet: the lesson's rules on one page of PDF, typeset from their source by Matplotlib.

python scripts/docs/formulas.py formulas.pdf
"""

import io
import re
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ravine import registry
from ravine.reading.equations import latex

COLUMNS = (
    {
        "sgd": "Gradient descent",
        "momentum": "Momentum",
        "adagrad": "Adagrad",
        "rmsprop": "RMSprop",
        "adadelta": "Adadelta",
        "adam": "Adam",
        "lion": "Lion",
    },
    {
        "adamax": "AdaMax",
        "nadam": "NAdam",
        "amsgrad": "AMSGrad",
        "adamw": "AdamW",
    },
)
WIDTH, HEIGHT, MARGIN = 8.27, 11.69, 0.5  # A4, in inches


def lines(name: str) -> list[str]:
    """Return a rule's equations, a line each, without notes, as Matplotlib can set them."""
    body = re.sub(r"\\(?:begin|end)\{aligned\}", "", latex(registry.get(name))).strip()
    body = re.sub(r"\\begin\{cases\}(.*?)\\end\{cases\}", on_one_line, body, flags=re.DOTALL)
    body = re.sub(r"\\operatorname\{(\w+)\}", r"\\mathrm{\1}", body).replace(r"\frac", r"\dfrac")
    each = re.split(r"\\\\(?:\[\d+pt\])?\n", body)
    return [f"${line.partition('&&')[0].replace('&', '').strip()}$" for line in each]


def on_one_line(found: re.Match[str]) -> str:
    """Write a choice on one line: Matplotlib has no brace over several."""
    branches = [branch.strip() for branch in found[1].split(r"\\") if branch.strip()]
    said = [re.sub(r"& \\text\{(.*?)\}", r"\\;\\mathrm{\1\\;}", branch) for branch in branches]
    return r",\;\; ".join(text for text in said)


def draw() -> Figure:
    """Draw the page; raise ValueError if the rules do not fit on it."""
    figure, top = Figure(figsize=(WIDTH, HEIGHT)), HEIGHT - MARGIN

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / WIDTH, y / HEIGHT, text, **{"va": "top", **style})

    write(MARGIN, top, "From gradient descent to Adam", fontsize=17)
    letters = (
        r"$\theta$ parameter,  $g$ gradient,  $\eta$ learning rate (lr),  $\lambda$ weight decay,  "
        r"$t$ step, from 1;  state starts at 0 ($\mu_\mathrm{product}$ at 1)"
    )
    write(MARGIN, top - 0.36, letters, fontsize=9, color="0.35")
    for column, titles in enumerate(COLUMNS):
        x, y = MARGIN + column * (WIDTH - 2 * MARGIN) / 2, top - 0.7
        for name, title in titles.items():
            values = registry.get(name).hyperparameters.values()
            given = ", ".join(f"{h.name} {h.default:g}" for h in values)
            write(x, y, title, fontsize=11, weight="bold")
            write(x, y - 0.2, f"{name}: {given}", fontsize=6.5, color="0.35")
            y -= 0.38
            for line in lines(name):
                tall = 0.385 if r"\dfrac" in line else 0.225
                write(x, y - tall / 2, line, fontsize=9.5, va="center")
                y -= tall
            y -= 0.16
            if y < MARGIN:
                raise ValueError(
                    f"{title} is below the end of the page; take a rule out of COLUMNS"
                )
    write(MARGIN, MARGIN, "Typeset from the source of Ravine's rules", fontsize=7, color="0.35")
    return figure


def sheet() -> bytes:
    """Return the page as PDF."""
    buffer = io.BytesIO()
    draw().savefig(buffer, format="pdf", metadata={"CreationDate": None, "Title": "Formula sheet"})
    return buffer.getvalue()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(sheet())
