"""A rule worked out in a spreadsheet: every named value of each step is a live formula.

The formulas come from the rule's graph, as printed code does. A row is a step; a formula refers to the
hyperparameters by name, to its own row, and to the state in the row above.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ravine import ops
from ravine.arrays import KEPT
from ravine.engines.graph import REDUCTIONS, Graph, Node
from ravine.engines.tracing import trace
from ravine.extras import lacking
from ravine.rule import Rule

__all__ = ["sheet"]

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "^"}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=", "ne": "<>"}
_CALLED = {"sqrt": "SQRT", "abs": "ABS", "sign": "SIGN", "exp": "EXP", "log": "LN", "tanh": "TANH"}
_CALLED |= {"maximum": "MAX", "minimum": "MIN", "floor": "INT", "mod": "MOD"}
_SAME = {*REDUCTIONS, *KEPT, "stored"}  # of one number
_SIZES = {"size": "1", "numel": "1", "epsilon": repr(ops.epsilon(1.0))}
# Excel takes these for cells, or for old functions.
_TAKEN = {"c", "r"}


def sheet(
    rule: Rule, gradients: Sequence[float], /, start: float = 1.0, **hyperparameters: Any
) -> bytes:
    """A workbook, as the content of an .xlsx file, in which a rule takes a step in each row.

    gradients: one per step, to be changed in the sheet. start: the parameter before the first step.
    hyperparameters: their values; defaults for the rest. They stand at the top, in cells that carry their
    names; a switch is fixed, since the formulas depend on it. Formulas are stored with their results.

    Raises ValueError or TypeError for invalid hyperparameters, ValueError for a rule that a
    spreadsheet cannot compute (of arrays, with random numbers), and ModuleNotFoundError where XlsxWriter
    is not installed.
    """
    if why := lacking("xlsxwriter"):
        raise ModuleNotFoundError(f"a spreadsheet: {why}", name="xlsxwriter")
    import xlsxwriter

    values = rule.check(**hyperparameters)
    graph = trace(rule, (), 0, **values)
    if graph.of_arrays:
        raise ValueError(
            f"rule {rule.name!r} works on whole arrays, which a sheet of numbers cannot show"
        )
    table = _Table(graph, values, float(start))
    content = io.BytesIO()
    book = xlsxwriter.Workbook(content, {"in_memory": True, "nan_inf_to_errors": True})
    page = book.add_worksheet(rule.name[:31])
    bold, exact = book.add_format({"bold": True}), book.add_format({"num_format": "General"})
    page.write(0, 0, rule.name, bold)
    for i, name in enumerate(table.numbers, 1):
        page.write(i, 0, name)
        page.write_number(i, 1, float(values[name]))
        book.define_name(table.numbers[name], f"='{rule.name[:31]}'!$B${i + 1}")
    head = len(table.numbers) + 2
    for column, title in enumerate(table.titles):
        page.write(head, column, title, bold)
    page.set_column(0, len(table.titles), 12)
    page.freeze_panes(head + 1, 0)
    known = table.before()
    for column, name in enumerate(table.titles):
        if name in known and math.isfinite(known[name]):
            page.write_number(head + 1, column, known[name])
        elif name in known:  # such as a NaN that says that there was no step yet
            page.write_formula(head + 1, column, "=NA()", exact, "#N/A")
    for step, g in enumerate(map(float, gradients), 1):
        row = head + 1 + step
        page.write_number(row, 0, step)
        page.write_number(row, 1, g)
        known = table.after(known, step, g)
        for column, title in enumerate(table.titles[2:], 2):
            text, value = f"={table.formula(title, row + 1)}", known[title]
            page.write_formula(row, column, text, exact, value if math.isfinite(value) else "#NUM!")
    book.close()
    return content.getvalue()


class _Table:
    """The columns of a rule's steps: t, g, the named values in the order of the graph, the step, p.

    numbers: the hyperparameters that the formulas use, and the names of their cells.
    """

    def __init__(self, graph: Graph, values: Mapping[str, Any], start: float):
        self.graph, self.values, self.start = graph, values, start
        outputs = graph.live_outputs()
        nodes = graph.needed(outputs.values())
        for node in nodes:
            if node.args and node.op not in {*_INFIX, *_COMPARE, *_CALLED, *_SAME, *_SIZES, *_MORE}:
                raise ValueError(
                    f"rule {graph.rule.name!r} uses {node.op}, which a spreadsheet does not compute"
                )
        used = {n.value for n in nodes if n.op == "hyperparameter"}
        cells = {k: f"{k}_" if k.lower() in _TAKEN or _is_cell(k) else k for k in values}
        self.numbers = {k: cells[k] for k in values if k in used}
        self.columns: dict[str, Node] = {}
        for node in nodes:
            name = graph.names.get(node.index)
            if node.args and name and node is not outputs["p"]:
                self.columns[_free(name, {*self.columns, "t", "g", "p", "step"})] = node
        for slot in graph.live:  # those that are a number, or another value's name
            if outputs[slot].index not in {node.index for node in self.columns.values()}:
                self.columns[_free(slot, {*self.columns, "t", "g", "p", "step"})] = outputs[slot]
        self.of = {node.index: name for name, node in self.columns.items()}
        self.slots = {slot: self.of[outputs[slot].index] for slot in graph.live}
        self.titles = ["t", "g", *self.columns, "step", "p"]
        self.place = {title: _letters(i) for i, title in enumerate(self.titles)}

    def before(self) -> dict[str, float]:
        """The row above the first step: p, and the state."""
        begun = dict(
            zip(self.graph.rule.slots, self.graph.rule.init(self.start, **self.values), strict=True)
        )
        return {
            "p": self.start,
            **{title: float(begun[slot]) for slot, title in self.slots.items()},
        }

    def after(self, above: Mapping[str, float], t: int, g: float) -> dict[str, float]:
        """The values of a row."""
        given = {"p": above["p"], "g": g, "t": float(t), **self.values}
        given |= {slot: above[title] for slot, title in self.slots.items()}
        found: dict[int, Any] = {}
        outputs = self.graph.live_outputs()
        for node in self.graph.needed(outputs.values()):
            if node.op == "constant":
                found[node.index] = node.value
            elif not node.args:
                found[node.index] = given[node.value]
            else:
                found[node.index] = _computed(node, [found[x.index] for x in node.args])
        row = {title: float(found[node.index]) for title, node in self.columns.items()}
        new = float(found[outputs["p"].index])
        return {"t": t, "g": g, **row, "step": above["p"] - new, "p": new}

    def formula(self, title: str, row: int) -> str:
        """The formula of a cell, in a row counted from 1."""

        def cell(name: str, row: int = row) -> str:
            return f"{self.place[name]}{row}"

        if title == "step":
            return f"{cell('p', row - 1)}-{cell('p')}"
        node = self.graph.outputs["p"] if title == "p" else self.columns[title]
        return self._text(node, cell, title)

    def _text(self, node: Node, cell: Callable[..., str], mine: str = "") -> str:
        """A node as a formula: the cell of one that has a name, or what it is made of."""
        above = int(cell("p")[len(self.place["p"]) :]) - 1
        title = self.of.get(node.index)
        if title is not None and title != mine:
            return cell(title)
        if node.op == "constant":
            return _number(node.value)
        if node.op == "hyperparameter":
            return self.numbers[node.value]
        if not node.args:
            if node.value in ("g", "t"):
                return cell(node.value)
            return cell(self.slots.get(node.value, node.value), above)
        args = [self._text(x, cell) for x in node.args]
        if node.op in _INFIX:
            return f"({args[0]}{_INFIX[node.op]}{args[1]})"
        if node.op in _COMPARE:
            return f"IF({args[0]}{_COMPARE[node.op]}{args[1]},1,0)"
        if node.op == "neg":
            return f"(-{args[0]})"
        if node.op == "where":
            return f"IF({args[0]}<>0,{args[1]},{args[2]})"
        if node.op == "atan2":  # x comes first
            return f"ATAN2({args[1]},{args[0]})"
        if node.op in _SAME:
            return args[0]
        return _SIZES.get(node.op) or f"{_CALLED[node.op]}({','.join(args)})"


_MORE = ("neg", "where", "atan2")


def _computed(node: Node, args: Sequence[Any]) -> Any:
    if node.op in _SIZES:
        return float(_SIZES[node.op])
    return args[0] if node.op in _SAME else ops.apply(node.op, *args)


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value) if value >= 0 else f"({value!r})"
    # The largest number stands for infinity.
    return "1.7976931348623157E+308" if value > 0 else "(-1.7976931348623157E+308)"


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number appended if it is taken."""
    return next(x for x in (name, *(f"{name} {i}" for i in range(2, 100))) if x not in taken)


def _is_cell(name: str) -> bool:
    """Whether a spreadsheet would take a name for a cell, as it does b1."""
    letters = name.rstrip("0123456789")
    return letters != name and letters.isalpha() and len(letters) <= 3


def _letters(column: int) -> str:
    first, last = divmod(column, 26)
    return (chr(64 + first) if first else "") + chr(65 + last)
