"""Param groups by the role of each parameter: no decay where it hurts, and a rule for each role."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from ravine.hyperparameters import look_up, plain
from ravine.torch.asked import Asked, Options, decayless, of_matrices, same
from ravine.torch.audit import ParamGroups, count, either, size
from ravine.torch.layers import Layered, Layers, layers_of
from ravine.torch.remarks import notes, suspicions, unseen
from ravine.torch.roles import ROLES, Row, kind, roles_of

__all__ = ["NO_DECAY", "GroupingWarning", "ParamGroups", "param_groups"]

NO_DECAY = ("embedding", "norm", "bias", "gain")
"""The roles that are not decayed by default."""


class GroupingWarning(UserWarning):
    """Something in a model, or in the arguments of :func:`param_groups`, that looks wrong."""


def param_groups(
    model: nn.Module,
    *,
    weight_decay: float | None = 1e-2,
    no_decay: str | Iterable[str] = NO_DECAY,
    lr: float | torch.Tensor | None = None,
    layer_decay: float | None = None,
    layers: Layers | None = None,
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
    """Group a model's trainable parameters by their roles; prints what went where, and why.

    weight_decay: for every parameter whose options do not set it; None leaves it to the optimizer.
    no_decay: roles, or patterns of names, that are not decayed. lr: likewise. layer_decay, layers:
    see below. hidden, conv, stack, head, embedding, norm, bias, gain: options for the parameters
    with this role, for example {"rule": "Muon", "lr": 0.02}. rest: options for all others. A role's
    options override those of rest, and replace them if they name another rule. If any group names a
    rule, the default rule is AdamW. roles: correct a role, by name or pattern, {"*.A_log": "gain"};
    the last match counts. audit: whether to print the table, or a function to pass it to.

    Returns a list of {"params": [(name, parameter), ...], **options}, one for each set of options,
    for torch's optimizers and Ravine's or, if groups have a "rule", for :class:`Mixed`. A shared
    parameter appears once, under its first name. Frozen parameters are left out, and listed.

    The role is the first of these that applies:

    norm: torch's normalizations, and vectors in a class whose name ends in Norm. bias: anything
    with that name. embedding: in nn.Embedding, EmbeddingBag or a class with such a name, even if an
    output layer is tied to it; or a bare parameter called a position, embedding or token, or of
    shape (1, n, d). gain: scalars and vectors, and weight norm's magnitudes. head: the last layer
    that has a matrix, unless it is in a repeated block or something follows it in its Sequential;
    and any layer outside of blocks with an embedding's shape. hidden, conv, stack: everything else
    with two dimensions, in convolutions, and with three dimensions or more.

    layer_decay: the learning rate of each layer relative to the next, in (0, 1]. With 0.75, the lr
    of a parameter is that of its options times 0.75 ** (number of layers above), in its group,
    where schedulers find it; or that share of the optimizer's, if no lr is given here. The layers
    are those of the model's `group_matcher(coarse=False)`, if it has one, as timm's models do;
    otherwise the modules of its nn.Sequential, its nn.ModuleList of blocks, or its layer1, layer2,
    …; embeddings, and anything before these, are one layer below, and the head, and anything after,
    one above. layers: names the layers instead: names of modules or parameters, from input to
    output, where * stands for numbers and a tuple is a single layer, ["embed", "blocks.*", ("norm",
    "head")]; or a function from a parameter's name to the number of its layer, counted from 0 at
    the input.

    Raises ValueError for unknown roles, for patterns that match nothing, for a tied head whose
    options differ from its embedding's, for Muon on anything but matrices, and for a model whose
    layers cannot be determined. Warns (GroupingWarning) about options that no parameter uses, a
    missing head if that matters, a hidden matrix as large as a vocabulary, a vector that `roles`
    makes decayed, and modules that torch cannot see.

    The exceptions from decay are those of minGPT and timm. Parameters that a model names in timm's
    `no_weight_decay()`, or marks with `_no_weight_decay` as Mamba does, are not decayed either. For
    which matrices Muon is meant: https://kellerjordan.github.io/posts/muon. layer_decay is that of
    Clark et al. 2020, arXiv:2003.10555, and of BEiT; https://arxiv.org/abs/2106.08254.

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
    if lr is not None:
        look_up("lr", 0.0).check(lr, "param_groups")
    given = {"hidden": hidden, "conv": conv, "stack": stack, "head": head, "embedding": embedding}
    given |= {"norm": norm, "bias": bias, "gain": gain, "rest": rest}
    asked = Asked({role: options for role, options in given.items() if options is not None})

    decided = roles_of(model)
    rows = list(decided.values())
    overridden = _override(rows, roles or {})
    roles_spared = {no_decay} if isinstance(no_decay, str) else {*no_decay}
    patterns = roles_spared - ROLES.keys()
    spared = {i for pattern in patterns for i in _matching("no_decay", pattern, rows)}
    spared |= _spared_by_the_model(model, decided, rows)
    shares = _shares(model, rows, layer_decay, layers)
    lrs: dict[tuple[int, float], Any] = {}

    groups: list[dict[str, Any]] = []
    for i, (p, row) in enumerate(zip(decided, rows, strict=True)):
        if not p.requires_grad:
            continue
        options = asked.of(row.role)
        _refuse(row, asked)
        own = "weight_decay" in asked.own.get(row.role, {})
        if lr is not None:
            options.setdefault("lr", lr)
        if shares:
            options = _scaled(options, shares[i], lrs)
        if decayless(options.get("rule")):
            pass  # if the options contain "weight_decay" nevertheless, the optimizer rejects it
        elif i in spared or (row.role in roles_spared and not own):
            options["weight_decay"] = 0.0
        elif weight_decay is not None:
            options.setdefault("weight_decay", weight_decay)
        index = next((k for k, group in enumerate(groups) if same(group, options)), len(groups))
        if index == len(groups):
            options["params"] = []
            groups.append(options)
        groups[index]["params"].append((row.names[0], p))
        rows[i] = replace(row, group=index)
    if not groups:
        raise ValueError(
            "param_groups: model has no trainable parameter; at least one must have requires_grad=True"
        )

    trained = [row for row in rows if row.group >= 0]
    title = f"{kind(model)}: {size(trained)}, in {count(len(groups), 'group')}"
    made = ParamGroups(groups, rows, title)
    made.notes += notes(trained, asked)
    made.warnings += suspicions(rows, groups, asked, overridden)
    made.warnings += unseen(model, {*decided})
    if audit:
        (print if audit is True else audit)(str(made))
    for warning in made.warnings:
        warnings.warn(f"param_groups: {warning}", GroupingWarning, stacklevel=2)
    return made


def _shares(
    model: nn.Module, rows: list[Row], layer_decay: float | None, layers: Layers | None
) -> list[float]:
    """The share of its lr for each row, by its layer, which is recorded; none without layer_decay."""
    if layer_decay is None:
        if layers is not None:
            raise ValueError(f"param_groups: layers={layers!r} has no meaning without layer_decay")
        return []
    decay = plain(layer_decay)
    if decay is None or not 0 < decay <= 1:
        raise ValueError(
            f"param_groups: layer_decay={layer_decay!r} is invalid; it must be a number in (0, 1]: how "
            "many times as fast each layer learns as the next"
        )
    found = layers_of(model, rows, layers)
    rows[:] = [replace(row, layer=layer) for row, layer in zip(rows, found, strict=True)]
    return [decay ** (max(found) - layer) for layer in found]


def _scaled(
    options: dict[str, Any], share: float, lrs: dict[tuple[int, float], Any]
) -> dict[str, Any]:
    """The options with a share of their lr or, if they have none, of the optimizer's. lrs: existing
    ones, one tensor for each, so that parameters of one layer are in one group.
    """
    if "lr" not in options:
        return Layered(options, share)
    lr = options["lr"]
    number = look_up("lr", 0.0).check(lr, "param_groups")
    if isinstance(lr, torch.Tensor):
        return {**options, "lr": lrs.setdefault((id(lr), share), lr * share)}
    return {**options, "lr": number * share}


def _matching(argument: str, pattern: str, rows: list[Row]) -> list[int]:
    """The rows with a name that matches the pattern; ValueError if there are none."""
    found = [i for i, row in enumerate(rows) if any(fnmatchcase(x, pattern) for x in row.names)]
    if not found:
        names = [name for row in rows for name in row.names]
        near = ", ".join(map(repr, get_close_matches(pattern, names, cutoff=0.0)))
        accepted = f"{either(ROLES)}, or a pattern" if argument == "no_decay" else "a pattern"
        raise ValueError(
            f"param_groups: {argument} has {pattern!r}, which matches no parameter; it must be {accepted} "
            f"such as {near}"
        )
    return found


def _override(rows: list[Row], roles: Mapping[str, str]) -> list[int]:
    """Give rows other roles, and return which."""
    named: dict[int, dict[str, str]] = {}
    for pattern, role in roles.items():
        if role not in ROLES:
            raise ValueError(
                f"param_groups: roles[{pattern!r}]={role!r} is invalid; it must be {either(ROLES)}"
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
    """The rows that a model excludes from decay, as timm's and Mamba's do; also in a wrapper."""
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


def _refuse(row: Row, asked: Asked) -> None:
    """Raise ValueError for rows that cannot be stepped as requested."""
    options = asked.of(row.role)
    rule = options.get("rule", "")
    if of_matrices(rule, len(row.shape)):
        raise ValueError(
            f"param_groups: {row.role} has rule {rule!r}, and {row.names[0]!r} has shape {row.shape}; "
            f"{rule} takes matrices: give {row.names[0]!r} another role by roles=, or {row.role} "
            "another rule"
        )
    if row.tied and "head" in asked.own and not same(asked.of("head"), options):
        raise ValueError(
            f"param_groups: head={dict(asked.own['head'])!r} is not supported for a head that is tied to "
            f"an embedding ({' = '.join(row.names)}): one tensor takes one step; give embedding= the "
            "same options, or leave head= out"
        )
