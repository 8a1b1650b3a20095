"""The formulas of a sheet give what the rule gives: evaluated here by a translation to Python."""

import io
import math
import re

import numpy as np
import pytest

from ravine import registry
from ravine.ops import sqrt, uniform
from ravine.reading.sheet import sheet
from ravine.reading.worked import worked
from ravine.rule import rule

openpyxl = pytest.importorskip("openpyxl")
pytest.importorskip("xlsxwriter")

GRADIENTS = [0.5, 0.3, -0.2, 0.0, 0.4, -2.0]
STACKS = ["cautious(adamw)", "clip_by_norm(adam)", "l2(rmsprop)", "lookahead(sgd)", "ema(momentum)"]


def _if(condition, yes, no):
    return yes if condition else no


FUNCTIONS = {
    "SQRT": np.sqrt,
    "ABS": abs,
    "SIGN": np.sign,
    "EXP": np.exp,
    "LN": np.log,
    "MAX": max,
    "MIN": min,
    "INT": math.floor,
    "MOD": lambda x, y: x - y * math.floor(x / y),
    "TANH": math.tanh,
    "ATAN2": lambda x, y: math.atan2(y, x),
    "IF": _if,
    "NA": lambda: math.nan,
}


class Cells(dict):
    """The values of cells, computed when they are asked for."""

    def __init__(self, page, names):
        self.page, self.names = page, names

    def __missing__(self, place):
        text = self.page[place].value
        if isinstance(text, str) and text.startswith("="):
            text = text[1:].replace("^", "**").replace("<>", "!=")
            text = re.sub(r"(?<![<>!=])=", "==", text)
            text = re.sub(r"\b[A-Z]{1,2}\d+\b", lambda m: f"cells['{m[0]}']", text)
            text = eval(text, {**FUNCTIONS, **self.names, "cells": self})
        self[place] = np.float64(text) if isinstance(text, (int, float)) else text
        return self[place]


def evaluated(content):
    """The titles, and for each step what the formulas give and what is stored beside them."""
    book = openpyxl.load_workbook(io.BytesIO(content))
    stored = openpyxl.load_workbook(io.BytesIO(content), data_only=True).active
    page = book.active
    places = {k: x.attr_text.split("!")[1].replace("$", "") for k, x in book.defined_names.items()}
    cells = Cells(page, {k: np.float64(page[place].value) for k, place in places.items()})
    rows = list(page.iter_rows())
    head = next(i for i, row in enumerate(rows) if row[0].value == "t")
    titles = [cell.value for cell in rows[head]]
    return titles, [
        {
            title: (cells[c.coordinate], stored[c.coordinate].value)
            for title, c in zip(titles, row, strict=True)
        }
        for row in rows[head + 2 :]
    ]


def offered():
    found, refused = [], {}
    for name in [*registry.rules(), *STACKS]:
        made = registry.get(name)
        try:
            found.append((name, made, sheet(made, GRADIENTS, start=0.8)))
        except ValueError as error:
            refused[name] = str(error)
    return found, refused


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # in the branches of IF that are not taken
def test_formulas_take_the_steps_of_the_rules():
    found, refused = offered()
    assert len(found) > 70
    assert all("whole arrays" in x or "does not compute" in x for x in refused.values()), refused
    for name, made, content in found:
        titles, rows = evaluated(content)
        by_hand = worked(made, GRADIENTS, 0.8)
        for have, kept in (row["p"] for row in rows):
            assert have == pytest.approx(kept, rel=1e-12, abs=1e-300), name
        for row, wanted in zip(rows, by_hand, strict=True):
            assert row["p"][0] == pytest.approx(wanted["p"], rel=1e-12, abs=1e-14), name
            assert row["t"][0] == wanted["t"]
        assert titles[:2] == ["t", "g"]
        assert titles[-2:] == ["step", "p"]


def test_adams_named_values_are_columns():
    titles, rows = evaluated(sheet(registry.get("adam"), GRADIENTS, lr=0.1))
    assert titles == ["t", "g", "m", "v", "m_hat", "v_hat", "step", "p"]
    for row, wanted in zip(rows, worked(registry.get("adam"), GRADIENTS, lr=0.1), strict=True):
        for title in titles:
            assert row[title][0] == pytest.approx(wanted[title], rel=1e-12), title


def test_names_that_a_spreadsheet_takes_for_cells():
    @rule
    def short(p, g, m, *, b1=0.9, c=0.5):
        m = b1 * m + c * g
        return p - 0.1 * m, m

    _, rows = evaluated(sheet(short, GRADIENTS))
    assert rows[-1]["p"][0] == pytest.approx(worked(short, GRADIENTS)[-1]["p"])


def test_what_a_sheet_cannot_compute():
    with pytest.raises(ValueError, match="'muon' works on whole arrays"):
        sheet(registry.get("muon"), GRADIENTS)
    with pytest.raises(ValueError, match="uses uniform, which a spreadsheet does not compute"):
        sheet(rule(lambda p, g, *, lr=0.1: p - lr * g * sqrt(uniform(p))), GRADIENTS)
