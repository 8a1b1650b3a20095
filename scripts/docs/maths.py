"""LaTeX as MathML: browsers show it by themselves, without scripts, fonts or a connection.

latex2mathml does the work, one formula at a time. It knows neither `aligned` nor a formula that it
cannot translate: here the lines of an `aligned` become rows of a grid, which style.css can break
where a screen is narrow, and what is not understood is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape, unescape

from latex2mathml.converter import convert

ARITHMATEX = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
ALIGNED = re.compile(r"\s*\\begin\{aligned\}(.*)\\end\{aligned\}\s*", re.DOTALL)
# What separates cells and lines, and what may contain separators itself.
STRUCTURE = re.compile(r"(\\begin\{\w+\}|\\end\{\w+\}|\\\\(?:\[\w+\])?|(?<!\\)&)")
# Without a font for mathematics no brace is as high as its cases: style.css draws one.
BRACE = re.compile(r'<mo [^>]*form="prefix">&#x0007B;</mo><mtable>')
# Letters that are escaped in a word or a text travel through latex2mathml as private characters.
TEXT = re.compile(r"\\(?:text|mathrm|operatorname)\{(?:[^{}\\]|\\[^a-z]|\\text[a-z]+\{\})*\}")
ESCAPED = {rf"\{c}": c for c in "#$%&_{}"} | {r"\textbackslash{}": "\\", "~": "\u00a0"}
ESCAPED |= {r"\textasciitilde{}": "~", r"\textasciicircum{}": "^"}
PRIVATE = {escaped: chr(0xE000 + i) for i, escaped in enumerate(ESCAPED)}
WORD = re.compile(r'(?:<mi mathvariant="normal">.</mi>){2,}')


def typeset(html: str) -> str:
    """Replace the formulas that the Markdown extension arithmatex has marked in a page."""
    return ARITHMATEX.sub(lambda m: formula(unescape(m[2]), display=m[1] == "div"), html)


def formula(latex: str, *, display: bool = False) -> str:
    """A formula as HTML: MathML, or a grid of MathML if it has aligned lines.

    Raises ValueError for LaTeX that cannot be translated.
    """
    if aligned := ALIGNED.fullmatch(latex):
        rows = "".join(f"<div>{''.join(map(_cell, row))}</div>" for row in _rows(aligned[1]))
        return f'<div class="equations">{rows}</div>'
    if display:
        return f'<div class="equations"><div>{_cell(latex)}</div></div>'
    return _mathml(latex)


def _rows(body: str) -> list[list[str]]:
    """The lines of an aligned body: what stands left of the sign, right of it, and a note."""
    rows, depth = [[""]], 0
    for part in STRUCTURE.split(body):
        depth += part.startswith(r"\begin") - part.startswith(r"\end")
        if depth == 0 and part == "&":
            rows[-1].append("")
        elif depth == 0 and part.startswith(r"\\"):
            rows.append([""])
        else:
            rows[-1][-1] += part
    kept = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    return [[*row[:2], *filter(None, row[2:])] for row in kept]


def _cell(latex: str) -> str:
    latex = latex.removeprefix(r"\quad ")
    if latex.startswith(r"\text{") and TEXT.fullmatch(latex):
        note = _swap(latex, ESCAPED).removeprefix(r"\text{").removesuffix("}")
        return f'<span class="note">{escape(note)}</span>'
    mathml = _mathml(latex).replace('display="inline"', 'displaystyle="true"', 1) if latex else ""
    return f"<span>{mathml}</span>"


def _swap(text: str, by: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, by)), lambda m: by[m[0]], text)


def _mathml(latex: str) -> str:
    private = TEXT.sub(lambda m: _swap(m[0], PRIVATE), latex)
    mathml = convert(private.replace(r"\operatorname{", r"\mathrm{"))
    if re.search(r">[^<]*[\\&](?!#?\w+;)", mathml):
        raise ValueError(f"this LaTeX cannot be translated into MathML: {latex}")
    mathml = BRACE.sub('<mtable class="cases">', mathml)
    mathml = _swap(mathml, {PRIVATE[escaped]: escape(c) for escaped, c in ESCAPED.items()})
    # One upright word, not letters side by side: <mi>lr</mi>.
    return WORD.sub(lambda m: f"<mi>{re.sub('<[^>]*>', '', m[0])}</mi>", mathml)
