"""Param groups by what each parameter does: no decay where it hurts, each role by its own rule."""

from __future__ import annotations

import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import torch
from torch import nn

from ravine import registry
from ravine.torch.roles import BARE, ROLES, Row, kind, roles_of

__all__ = ["NO_DECAY", "GroupingWarning", "ParamGroups", "param_groups"]

Options: TypeAlias = Mapping[str, Any]

NO_DECAY = ("embedding", "norm", "bias", "gain")
"""The roles that are not decayed, unless it is asked for."""

_MATRICES_ONLY = ("muon",)  # rules that are defined on matrices alone


class GroupingWarning(UserWarning):
    """Something in a model, or in what was asked of :func:`param_groups`, that looks wrong."""


class ParamGroups(list[dict[str, Any]]):
    """A list of param groups for any torch optimizer, and the audit of how it came about.

    rows: one for each parameter of the model, in its order: names, shape, role, why, group. notes:
    what is worth knowing. warnings: what looks wrong. As a string it is the audit table.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], rows: list[Row], title: str) -> None:
        super().__init__(groups)
        self.rows, self.title = rows, title
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # Optimizers write their defaults into the dicts they are given, and schedulers their lr: each
        # optimizer has dicts of its own, so that these groups stay as they were decided.
        return map(dict, super().__iter__())

    def table(self, width: int = 100) -> str:
        """The audit: what went where, and why, in lines of `width` characters."""
        lines = [_Line(rows) for rows in _alike(self.rows)]
        name = min(max((len(line.name) for line in lines), default=0), width // 2)
        shape = max((len(str(line.row.shape)) for line in lines), default=0)

        def block(group: int, heading: str) -> Iterator[str]:
            size = f" ({_size([row for row in self.rows if row.group == group])})"
            yield from ("", _cut(heading, width - len(size)) + size)
            for line in lines:
                row = line.row
                if row.group == group:
                    where = f"{_cut(line.name, name, end=name // 2):{name}}  {row.shape!s:{shape}}"
                    yield _cut(f"  {row.role:9}  {where}  {row.why}", width)

        text = [self.title]
        for i, group in enumerate(self):
            options = [group["rule"]] if "rule" in group else []
            options += [f"{k}={v}" for k, v in group.items() if k not in ("params", "rule")]
            text += block(i, f"group {i}: {', '.join(options) or 'no options'}")
        if any(row.group < 0 for row in self.rows):
            text += block(-1, "left out: requires_grad is False")
        remarks = [f"note: {x}" for x in self.notes] + [f"warning: {x}" for x in self.warnings]
        if remarks:
            text.append("")
        for remark in remarks:
            text += textwrap.wrap(remark, width, subsequent_indent="  ", break_on_hyphens=False)
        return "\n".join(text)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__


def param_groups(
    model: nn.Module,
    *,
    weight_decay: float | None = 1e-2,
    no_decay: str | Iterable[str] = NO_DECAY,
    hidden: Options | None = None,
    conv: Options | None = None,
    stack: Options | None = None,
    head: Options | None = None,
    embedding: Options | None = None,
    norm: Options | None = None,
    bias: Options | None = None,
    gain: Options | None = None,
    rest: Options | None = None,
    roles: Mapping[str, str] | None = None,
    audit: bool | Callable[[str], Any] = True,
) -> ParamGroups:
    """A model's trainable parameters in groups, by their roles; prints what went where, and why.

    weight_decay: of every parameter whose options do not say; None leaves it to the
    optimizer. no_decay: the roles, or patterns of names, that are not decayed. hidden, conv, stack,
    head, embedding, norm, bias, gain: options for the parameters of this role, for example
    {"rule": "Muon", "lr": 0.02}. rest: options of all others; a role's own stand before them, or
    without them where they name another rule. Its rule is AdamW if any other is named. roles: the
    role by name or pattern, where it would be decided wrongly, {"*.A_log": "gain"}; the last that
    matches counts. audit: print the table; or a function to give it to.

    Returns a list of {"params": [(name, parameter), ...], **options}, one for each set of options,
    for torch's optimizers and Ravine's; where groups have a "rule", for :class:`Mixed`. A shared
    parameter appears once, by its first name. Frozen ones are left out, and listed.

    How a role is decided, by the first that fits:

    norm: torch's normalisations, and vectors in a class whose name ends in Norm. bias: it is called
    so. embedding: in nn.Embedding, EmbeddingBag or a class called so, whether an output layer is
    tied to it or not; or bare, and called a position, embedding or token, or of shape (1, n, d).
    gain: scalars and vectors, and weight norm's lengths. head: the last layer that has a matrix, if
    it is in no repeated block and nothing in its Sequential follows; and any layer outside of blocks
    with an embedding's shape. hidden, conv, stack: the others of two dimensions, of convolutions,
    of three dimensions or more.

    Raises ValueError for what is no role, for patterns that match nothing, for a tied head whose
    options are not its embedding's, and for Muon on what is not a matrix. Warns (GroupingWarning)
    of options that no parameter takes, of no head where that matters, of a hidden matrix as large
    as a vocabulary, of a vector that `roles` put among the decayed, and of modules that torch cannot
    see.

    The exceptions from decay are those of minGPT and timm; what a model names in timm's
    `no_weight_decay()`, or marks with `_no_weight_decay` as Mamba does, is not decayed either. Which
    matrices are Muon's: https://kellerjordan.github.io/posts/muon.

    >>> import torch, ravine.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> groups = ravine.torch.param_groups(model, weight_decay=0.1)
    Sequential: 4 tensors, 58 numbers, in 2 groups
    <BLANKLINE>
    group 0: weight_decay=0.1 (2 tensors, 48 numbers)
      hidden     0.weight  (8, 4)  Linear
      head       2.weight  (2, 8)  Linear, the last layer
    <BLANKLINE>
    group 1: weight_decay=0.0 (2 tensors, 10 numbers)
      bias       0.bias    (8,)    Linear
      bias       2.bias    (2,)    Linear
    >>> optimizer = ravine.torch.AdamW(groups, lr=1e-3)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"param_groups: model is a {type(model).__name__}; it must be an nn.Module")
    given = {"hidden": hidden, "conv": conv, "stack": stack, "head": head, "embedding": embedding}
    given |= {"norm": norm, "bias": bias, "gain": gain, "rest": rest}
    asked = _Asked({role: options for role, options in given.items() if options is not None})

    decided = roles_of(model)
    rows = list(decided.values())
    overridden = _override(rows, roles or {})
    roles_spared = {no_decay} if isinstance(no_decay, str) else {*no_decay}
    patterns = roles_spared - ROLES.keys()
    spared = {i for pattern in patterns for i in _matching("no_decay", pattern, rows)}
    spared |= _spared_by_the_model(model, decided, rows)

    groups: list[dict[str, Any]] = []
    for i, (p, row) in enumerate(zip(decided, rows, strict=True)):
        if not p.requires_grad:
            continue
        options = asked.of(row.role)
        _refuse(row, asked)
        own = "weight_decay" in asked.own.get(row.role, {})
        if _decayless(options.get("rule")):
            pass  # a "weight_decay" that is in the options all the same is the optimizer's to refuse
        elif i in spared or (row.role in roles_spared and not own):
            options["weight_decay"] = 0.0
        elif weight_decay is not None:
            options.setdefault("weight_decay", weight_decay)
        index = next((k for k, group in enumerate(groups) if _same(group, options)), len(groups))
        if index == len(groups):
            groups.append({"params": [], **options})
        groups[index]["params"].append((row.names[0], p))
        rows[i] = replace(row, group=index)
    if not groups:
        raise ValueError(
            "param_groups: model has no trainable parameter; at least one must have requires_grad=True"
        )

    trained = [row for row in rows if row.group >= 0]
    title = f"{kind(model)}: {_size(trained)}, in {_count(len(groups), 'group')}"
    made = ParamGroups(groups, rows, title)
    made.notes += _notes(trained, asked)
    made.warnings += _suspicions(rows, groups, asked, overridden)
    made.warnings += _unseen(model, {*decided})
    if audit:
        (print if audit is True else audit)(str(made))
    for warning in made.warnings:
        warnings.warn(f"param_groups: {warning}", GroupingWarning, stacklevel=2)
    return made


# ---- what was asked ----------------------------------------------------------------------------


class _Asked:
    """The options that were asked for, by role."""

    def __init__(self, options: Mapping[str, Options]) -> None:
        for role, given in options.items():
            if not isinstance(given, Mapping) or "params" in given:
                what = "has params" if isinstance(given, Mapping) else f"is {given!r}"
                raise ValueError(
                    f"param_groups: {role} {what}; it must be a dict of options without params, such "
                    'as {"lr": 0.02}'
                )
            if not isinstance(given.get("rule", ""), str):
                raise ValueError(
                    f"param_groups: {role} has rule {given['rule']!r}; it must be a name, such as 'Muon'"
                )
        self.own = dict(options)
        self.rest = dict(self.own.pop("rest", {}))
        if "rule" not in self.rest and any("rule" in given for given in self.own.values()):
            self.rest = {"rule": "AdamW", **self.rest}

    def of(self, role: str) -> dict[str, Any]:
        """The options of a role: its own before the rest's, or alone if they name another rule."""
        own = self.own.get(role, {})
        same = own.get("rule", self.rest.get("rule")) == self.rest.get("rule")
        return {**self.rest, **own} if same else dict(own)


def _decayless(rule: Any) -> bool:
    """Whether it is the name of a rule without weight decay, to which none can be given."""
    known = registry.rules().get(rule) if rule else None
    return known is not None and "weight_decay" not in known.hyperparameters


def _matching(argument: str, pattern: str, rows: list[Row]) -> list[int]:
    """Which rows have a name that the pattern matches; ValueError if none has."""
    found = [i for i, row in enumerate(rows) if any(fnmatchcase(x, pattern) for x in row.names)]
    if not found:
        names = [name for row in rows for name in row.names]
        near = ", ".join(map(repr, get_close_matches(pattern, names, cutoff=0.0)))
        accepted = f"{_either(ROLES)}, or a pattern" if argument == "no_decay" else "a pattern"
        raise ValueError(
            f"param_groups: {argument} has {pattern!r}, which matches no parameter; accepted is "
            f"{accepted} such as {near}"
        )
    return found


def _override(rows: list[Row], roles: Mapping[str, str]) -> list[int]:
    """Put rows into other roles, and say which."""
    named: dict[int, dict[str, str]] = {}
    for pattern, role in roles.items():
        if role not in ROLES:
            raise ValueError(
                f"param_groups: roles[{pattern!r}]={role!r} is not accepted; it is {_either(ROLES)}"
            )
        for i in _matching("roles", pattern, rows):
            rows[i] = replace(rows[i], role=role, why=f"roles[{pattern!r}]", tied=False)
            names = (x for x in rows[i].names if fnmatchcase(x, pattern))
            named.setdefault(i, {}).update(dict.fromkeys(names, role))
    for by_name in named.values():
        if len({*by_name.values()}) > 1:
            raise ValueError(
                f"param_groups: roles gives one shared tensor several roles ({by_name}); it takes one step"
            )
    return sorted(named)


def _spared_by_the_model(
    model: nn.Module, params: Iterable[nn.Parameter], rows: list[Row]
) -> set[int]:
    """The rows that a model does not want decayed, as timm's and Mamba's say; also in a wrapper."""
    names = set()
    for path, module in model.named_modules():
        told = getattr(module, "no_weight_decay", None)
        if callable(told):
            names |= {f"{path}.{name}" if path else name for name in told()}
    spared = set()
    for i, (p, row) in enumerate(zip(params, rows, strict=True)):
        if names.intersection(row.names) or getattr(p, "_no_weight_decay", False):
            rows[i] = replace(row, why=f"{row.why}, in no_weight_decay")
            spared.add(i)
    return spared


def _refuse(row: Row, asked: _Asked) -> None:
    """ValueError for what cannot be stepped as it was asked."""
    options = asked.of(row.role)
    rule = options.get("rule", "")
    if rule.lower() in _MATRICES_ONLY and len(row.shape) != 2:
        raise ValueError(
            f"param_groups: {row.role} has rule {rule!r}, and {row.names[0]!r} has shape {row.shape}; "
            f"{rule} takes matrices: give {row.names[0]!r} another role by roles=, or {row.role} "
            "another rule"
        )
    if row.tied and "head" in asked.own and not _same(asked.of("head"), options):
        raise ValueError(
            f"param_groups: head={dict(asked.own['head'])!r} is not accepted for a head that is tied to "
            f"an embedding ({' = '.join(row.names)}): one tensor takes one step; give embedding= the "
            "same options, or leave head= out"
        )


# ---- what is worth saying ----------------------------------------------------------------------


def _notes(rows: list[Row], asked: _Asked) -> Iterator[str]:
    """What is worth knowing of the trained parameters, though it may well be right."""

    def takes_matrices(role: str) -> bool:
        return asked.of(role).get("rule", "").lower() in _MATRICES_ONLY

    for rule in {asked.of(row.role).get("rule"): None for row in rows}:
        if _decayless(rule):
            yield f"{rule} has no weight decay"
    rules = [asked.of(role)["rule"] for role in asked.own if takes_matrices(role)]
    if not rules:
        return
    rule, matrices = rules[0], [row for row in rows if takes_matrices(row.role)]
    if higher := [row for row in rows if row.role in ("conv", "stack")]:
        yield f"not {rule}'s, which takes matrices, since of more dimensions: {_list(higher)}"
    if stacked := [row for row in matrices if row.stacked]:
        yield f"several matrices in one, and {rule} takes them for one: {_list(stacked)}"
    if bare := [row for row in matrices if row.why == BARE]:
        pattern = _digits.sub("*", bare[0].names[0])
        yield (
            f"{rule}'s by shape alone: {_list(bare)}; if one does not multiply as a matrix, say so: "
            f"roles={{{pattern!r}: 'gain'}}"
        )
    layers = [row for row in rows if row.role not in ("norm", "bias", "gain")]
    if takes_matrices(layers[0].role) and all(row.role != "embedding" for row in layers):
        first = layers[0].names[0]
        yield (
            f"{first!r} is the first layer, which {rule}'s authors leave to AdamW; "
            f"roles={{{first!r}: 'embedding'}} does too"
        )


def _suspicions(
    rows: list[Row], groups: list[dict[str, Any]], asked: _Asked, overridden: list[int]
) -> Iterator[str]:
    """What looks wrong in who got which options."""
    trained = [row for row in rows if row.group >= 0]
    tied = any(row.tied for row in rows)
    for role, options in asked.own.items():
        if any(row.role == role for row in trained) or (role == "head" and tied):
            continue
        why = "all of them are frozen" if any(row.role == role for row in rows) else ROLES[role]
        yield f"no parameter takes {role}={dict(options)!r} ({role}: {why}); roles= can name one"
    named = [rows[i] for i in overridden]
    outside = [x for x in trained if x.role == "hidden" and not x.inside and x not in named]
    apart = not _same(asked.of("hidden"), asked.of("head"))
    if outside and apart and not tied and all(row.role != "head" for row in rows):
        yield (
            f"no head was found; if one of {_list(outside)} is the output layer, say so: "
            f"roles={{{outside[-1].names[0]!r}: 'head'}}"
        )
    for row in trained:
        if row.role == "hidden" and _as_a_vocabulary(*row.shape):
            yield (
                f"{row.names[0]!r}, of shape {row.shape}, is as large as a vocabulary; if it is an "
                f"embedding or the head, say so: roles={{{row.names[0]!r}: 'head'}}"
            )
    for row in named:
        if row.group >= 0 and len(row.shape) < 2 and groups[row.group].get("weight_decay"):
            yield (
                f"{row.names[0]!r}, of shape {row.shape}, is decayed, since {row.why} is "
                f"{row.role!r}; vectors mostly are not"
            )


def _as_a_vocabulary(*shape: int) -> bool:
    """Whether a matrix is long and lean; those that are leaner still are adapters of low rank."""
    return max(shape) >= max(8192, 8 * min(shape)) and min(shape) >= 64


def _unseen(model: nn.Module, known: set[nn.Parameter]) -> Iterator[str]:
    """Modules and parameters in plain lists and dicts, which torch does not register."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") or not isinstance(value, (list, tuple, dict)):
                continue
            for x in value.values() if isinstance(value, dict) else value:
                held = x.parameters() if isinstance(x, nn.Module) else [x]
                # One that needs no gradient is kept out on purpose: a teacher, say.
                stray = (p for p in held if isinstance(p, nn.Parameter) and p.requires_grad)
                if any(p not in known for p in stray):
                    whole = f"{path}.{name}" if path else name
                    yield (
                        f"{whole!r} is a plain {type(value).__name__} with parameters that are not the "
                        "model's; nn.ModuleList, ModuleDict, ParameterList and ParameterDict register them"
                    )
                    break


# ---- the table ---------------------------------------------------------------------------------


class _Line:
    """A line of the table: one parameter, or the same one of several layers."""

    def __init__(self, rows: list[Row]) -> None:
        self.row = rows[0]
        names = [[*map(_digits.split, row.names)] for row in rows]
        self.name = " = ".join(_range(list(column)) for column in zip(*names, strict=True))
        if len(rows) > 1:
            self.name += f" ×{len(rows)}"


_digits = re.compile(r"(?<![^.])(\d+)(?![^.])")  # a layer's number is a whole part of a name


def _alike(rows: list[Row]) -> Iterator[list[Row]]:
    """The rows that differ in the numbers of their layers alone, together."""
    lines: dict[Any, list[Row]] = {}
    for row in rows:
        key = (*(_digits.sub("#", name) for name in row.names), replace(row, names=()))
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


def _cut(text: str, width: int, end: int = 0) -> str:
    """The text, or as much as fits, with `end` of its last characters."""
    return text if len(text) <= width else f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def _size(rows: list[Row]) -> str:
    return f"{_count(len(rows), 'tensor')}, {sum(math.prod(row.shape) for row in rows):,} numbers"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def _list(rows: list[Row]) -> str:
    """The names of some parameters, as in the table; the first three."""
    names = [repr(_Line(x).name) for x in _alike(rows)]
    return ", ".join(names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"


def _same(group: dict[str, Any], options: dict[str, Any]) -> bool:
    """Whether a group has just these options."""
    return all(k == "params" or k in options for k in group) and all(
        k in group and _equal(group[k], v) for k, v in options.items()
    )


def _equal(a: Any, b: Any) -> bool:
    # A learning rate may be a tensor, shared by groups or not: only the same one is equal.
    return a is b if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor) else bool(a == b)
