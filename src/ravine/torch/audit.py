"""The audit of param groups: a table of which parameter went where, and why."""

from __future__ import annotations

import copy
import math
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ravine.torch.layers import Layered
from ravine.torch.roles import Row

__all__ = ["ParamGroups", "count", "digits", "either", "listed", "size"]


class ParamGroups(list[dict[str, Any]]):
    """A list of param groups for any torch optimizer, with an audit of how it was made.

    rows: one for each parameter of the model, in the model's order: names, shape, role, why, layer,
    group. notes: remarks. warnings: what looks wrong. `str()` gives the audit as a table.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], rows: list[Row], title: str) -> None:
        super().__init__(groups)
        self.rows, self.title = rows, title
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # Optimizers write their defaults into the dicts they receive, and schedulers their lr. So each
        # optimizer gets copies, and these groups stay as they were decided.
        return map(copy.copy, super().__iter__())

    def table(self, width: int = 100) -> str:
        """The audit as text, in lines of at most `width` characters."""
        lines = [_Line(rows) for rows in _alike(self.rows)]
        name = min(max((len(line.name) for line in lines), default=0), width // 2)
        shape = max((len(str(line.row.shape)) for line in lines), default=0)

        def block(group: int, heading: str) -> Iterator[str]:
            held = f" ({size([row for row in self.rows if row.group == group])})"
            yield from ("", _cut(heading, width - len(held)) + held)
            for line in lines:
                row = line.row
                if row.group == group:
                    where = f"{_cut(line.name, name, end=name // 2):{name}}  {row.shape!s:{shape}}"
                    yield _cut(f"  {row.role:9}  {where}  {row.why}", width)

        text = [self.title, *self._layers(width)]
        for i, group in enumerate(self):
            options = [group["rule"]] if "rule" in group else []
            options += [_lr(group)] if isinstance(group, Layered) else []
            options += [f"{k}={_short(v)}" for k, v in group.items() if k not in ("params", "rule")]
            text += block(i, f"group {i}: {', '.join(options) or 'no options'}")
        if any(row.group < 0 for row in self.rows):
            text += block(-1, "left out: requires_grad is False")
        remarks = [f"note: {x}" for x in self.notes] + [f"warning: {x}" for x in self.warnings]
        if remarks:
            text.append("")
        for remark in remarks:
            text += textwrap.wrap(remark, width, subsequent_indent="  ", break_on_hyphens=False)
        return "\n".join(text)

    def _layers(self, width: int) -> Iterator[str]:
        """Each layer's lr, and the modules in it."""
        layers = sorted({row.layer for row in self.rows} - {-1})
        if not layers:
            return
        within: dict[str, set[int]] = {}  # the layers that contain each module's parameters
        for row in self.rows:
            for path in _paths(row.names[0]):
                within.setdefault(path, set()).add(row.layer)
        groups, lines = list(self), []
        for layer in layers:
            rows = [row for row in self.rows if row.layer == layer]
            rates = {_lr(groups[row.group]): None for row in rows if row.group >= 0}
            wholes = (next(x for x in _paths(row.names[0]) if len(within[x]) == 1) for row in rows)
            lines.append((f"layer {layer}", " and ".join(rates) or "frozen", dict.fromkeys(wholes)))
        name, rate = (max(len(line[i]) for line in lines) for i in (0, 1))
        yield ""
        for which, its, what in lines:
            yield _cut(f"{which:{name}}  {its:{rate}}  {', '.join(what)}", width)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__


class _Line:
    """A line of the table: one parameter, or the same one of several layers."""

    def __init__(self, rows: list[Row]) -> None:
        self.row = rows[0]
        names = [[*map(digits.split, row.names)] for row in rows]
        self.name = " = ".join(_range(list(column)) for column in zip(*names, strict=True))
        if len(rows) > 1:
            self.name += f" ×{len(rows)}"


digits = re.compile(r"(?<![^.])(\d+)(?![^.])")  # a layer's number is one complete part of a name


def _alike(rows: list[Row]) -> Iterator[list[Row]]:
    """Group the rows that differ only in the numbers of their layers."""
    lines: dict[Any, list[Row]] = {}
    for row in rows:
        key = (*(digits.sub("#", name) for name in row.names), replace(row, names=()))
        lines.setdefault(key, []).append(row)
    yield from lines.values()


def _range(names: list[list[str]]) -> str:
    """The names ["layers.", "0", ".weight"], ["layers.", "1", ".weight"] as layers.0-1.weight."""
    columns = [[*dict.fromkeys(column)] for column in zip(*names, strict=True)]
    every = math.prod(map(len, columns)) == len(names)
    return "".join(column[0] if len(column) == 1 else _run(column, every) for column in columns)


def _run(numbers: list[str], every: bool) -> str:
    ordered = sorted(map(int, numbers))
    if every and ordered == [*range(ordered[0], ordered[-1] + 1)]:
        return f"{ordered[0]}-{ordered[-1]}"
    return "*"


def _paths(name: str) -> Iterator[str]:
    """The modules that contain a parameter, from the outermost on, and its own name."""
    parts = name.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def _lr(group: dict[str, Any]) -> str:
    if isinstance(group, Layered) and "lr" not in group:
        return f"lr × {_short(group.share)}"
    return f"lr={_short(group['lr'])}" if "lr" in group else "lr"


def _short(value: Any) -> str:
    """A value as in Python; six digits of a float."""
    return f"{value:.6g}" if isinstance(value, float) and len(repr(value)) > 8 else str(value)


def _cut(text: str, width: int, end: int = 0) -> str:
    """The text, or as much as fits, including `end` of its last characters."""
    return text if len(text) <= width else f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def size(rows: list[Row]) -> str:
    """The number of tensors and of elements in these rows, in words."""
    return f"{count(len(rows), 'tensor')}, {sum(math.prod(row.shape) for row in rows):,} numbers"


def count(n: int, what: str) -> str:
    """A number of things, in words."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def listed(rows: list[Row]) -> str:
    """The names of some parameters, as in the table; the first three."""
    names = [repr(_Line(x).name) for x in _alike(rows)]
    return ", ".join(names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)


def either(names: Iterable[str]) -> str:
    """The names, with "or" before the last one."""
    *most, last = names
    return f"{', '.join(most)} or {last}"
