"""The layer of each parameter of a model, counted from the input, and its share of the lr.

A module does not state the order of its parts. It is inferred from an nn.Sequential, the indices of an
nn.ModuleList or of modules called layer1, layer2, the model's `group_matcher`, or the user. If there is no
such source, or if there are two sequences of unknown order, an error is raised instead of guessing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from operator import itemgetter
from typing import Any, TypeAlias

from torch import nn

from ravine.torch.roles import Row

__all__ = ["Layered", "Layers", "layers_of", "settled"]

Layers: TypeAlias = "Callable[[str], int] | Sequence[str | Sequence[str]]"


class Layered(dict[str, Any]):
    """A param group without an lr, which will be a share of its optimizer's lr.

    torch's optimizers add missing options by setdefault, so that is where lr is scaled; for Ravine's there is
    :func:`settled`.
    """

    def __init__(self, options: Mapping[str, Any], share: float) -> None:
        super().__init__(options)
        self.share = share

    def setdefault(self, key: str, default: Any = None, /) -> Any:
        """Like a dict's, but lr is scaled."""
        scaled = key == "lr" and key not in self
        return super().setdefault(key, default * self.share if scaled else default)


def settled(group: Mapping[str, Any], defaults: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The group, with an lr if its lr is a share of the defaults' one; ValueError if they have none."""
    if not isinstance(group, Layered) or "lr" in group:
        return group
    if "lr" not in defaults:
        raise ValueError(
            f"{name}: layer_decay gives each layer a share of lr, and there is no lr among the options "
            f"{', '.join(defaults) or '(none)'}"
        )
    return {**group, "lr": defaults["lr"] * group.share}


def layers_of(model: nn.Module, rows: Sequence[Row], layers: Layers | None) -> list[int]:
    """The layer of each row, counted from 0 at the input.

    layers: a function from a parameter's name to its layer; or the names of modules from the input to
    the output; None for the model's own. Raises ValueError if the layers cannot be determined.
    """
    names = [row.names[0] for row in rows]
    if callable(layers):
        return [_whole(layers(name), name) for name in names]
    if layers is not None:
        keys = _around(model, rows, _listed(layers, names))
    else:
        keys = _matched(model, names) or _guessed(model, rows)
    order = {key: i for i, key in enumerate(sorted({*keys}))}
    if len(order) < 2:
        raise ValueError(
            f"param_groups: all parameters of {type(model).__name__} are in one layer, so none is below "
            f"another; {_how(model)}"
        )
    return [order[key] for key in keys]


def _whole(layer: Any, name: str) -> int:
    if isinstance(layer, bool) or not isinstance(layer, int) or layer < 0:
        raise ValueError(
            f"param_groups: layers({name!r}) is {layer!r}; it must be a whole number >= 0: the layer, "
            "counted from the input"
        )
    return layer


def _how(model: nn.Module, example: Sequence[str] = ()) -> str:
    named = [*example] or [name for name, child in model.named_children() if _has(child)]
    return (
        f"name them from the input to the output, as in layers={named[:6]!r}, where * stands for any "
        "number, or give a function from a parameter's name to its layer"
    )


def _has(module: nn.Module, ndim: int = 0) -> bool:
    """Whether a module has parameters with at least this number of dimensions."""
    return any(p.ndim >= ndim for p in module.parameters())


# ---- by the user's word, or the model's --------------------------------------------------------

_Key: TypeAlias = tuple[float, ...]
_STEM: _Key = (-1.0,)  # below all layers that have a number
_TOP: _Key = (math.inf,)
_WITH_THE_ONE_BEFORE = 99999.0  # timm's mark for parameters that belong to the previous group


def _listed(layers: Any, names: list[str]) -> dict[str, _Key]:
    """The places of the modules and parameters in a list from the input to the output."""
    if isinstance(layers, (str, Mapping)) or not isinstance(layers, Sequence):
        raise ValueError(
            f"param_groups: layers={layers!r} is invalid; it must be a list of modules from the input to "
            "the output, such as ['embed', 'blocks.*', 'head'], or a function from a parameter's name to "
            "its layer"
        )
    places: dict[str, _Key] = {}
    for i, entry in enumerate(layers):
        for pattern in entry if isinstance(entry, (tuple, list)) else [entry]:
            found = [x for name in names if (x := _match(pattern, name)) is not None]
            if not found:
                near = ", ".join(map(repr, get_close_matches(str(pattern), names, cutoff=0.0)))
                raise ValueError(
                    f"param_groups: layers has {pattern!r}, which matches no parameter; give the name of a "
                    f"parameter or of a module that contains it, or a pattern; similar names are {near}"
                )
            for path, numbers in found:
                places.setdefault(path, (i, *numbers))
    return places


def _match(pattern: Any, name: str) -> tuple[str, _Key] | None:
    """The part of a parameter's path that matches the pattern, and the numbers matched by its stars."""
    parts = pattern.split(".") if isinstance(pattern, str) else []
    inner = name.split(".")[: len(parts)]
    if not parts or len(inner) < len(parts) or not all(map(fnmatchcase, inner, parts)):
        return None
    starred = [x for x, part in zip(inner, parts, strict=True) if "*" in part]
    return ".".join(inner), tuple(float(n) for x in starred for n in re.findall(r"\d+", x))


def _matched(model: nn.Module, names: list[str]) -> list[_Key]:
    """From the model's `group_matcher`, which timm's models have, even inside a wrapper."""
    for path, module in model.named_modules():
        told = getattr(module, "group_matcher", None)
        if callable(told):
            matcher, prefix = told(coarse=False), f"{path}." if path else ""
            keys = [
                _told(matcher, name.removeprefix(prefix)) if name.startswith(prefix) else _TOP
                for name in names
            ]
            return [_joined(key, keys) for key in keys]
    return []


def _told(matcher: Any, name: str) -> _Key:
    """The position of a name in a matcher: the order and numbers of the first matching expression."""
    if callable(matcher):
        place = matcher(name)
        return tuple(map(float, place)) if isinstance(place, Sequence) else (float(place),)
    for i, told in enumerate(matcher.values()):
        for expression, suffix in [(told, None)] if isinstance(told, str) else told or ():
            if found := re.match(expression, name):
                numbers = (n for n in found.groups() if n is not None)
                return (float(i), *map(float, numbers), *map(float, suffix or ()))
    return _TOP


def _joined(key: _Key, keys: list[_Key]) -> _Key:
    before = [k for k in keys if k < key and k[-1] != _WITH_THE_ONE_BEFORE]
    return max(before) if key[-1] == _WITH_THE_ONE_BEFORE and before else key


# ---- by what is in the model -------------------------------------------------------------------

_ENDS = re.compile(
    r"(^|[._])(stem|embed(der|dings?)?|heads?|classifiers?|fc|pooler|projector|projection)(?=[._]|$)",
    re.I,
)
"""Names of modules at either end of a network, all of which belongs to the stem or the top."""


@dataclass
class _Chain:
    """Modules that follow one another. name: their common name. pattern: their name in `layers=`."""

    name: str
    pattern: str
    units: list[tuple[str, nn.Module]]

    @property
    def blocks(self) -> bool:
        """Whether any of them is a composite module."""
        return any(_composite(module) for _, module in self.units)

    @property
    def length(self) -> int:
        """The number of modules with a matrix."""
        return sum(_has(module, 2) for _, module in self.units)

    def places(self) -> dict[str, _Key]:
        """A number for each; one without a matrix, such as a norm, belongs to the previous one."""
        number = -1
        places: dict[str, _Key] = {}
        for path, module in self.units:
            number += _has(module, 2)
            places[path] = (float(max(number, 0)),)
        return places


def _guessed(model: nn.Module, rows: Sequence[Row]) -> list[_Key]:
    """From the model's only sequence."""
    chains = [*_chains(model, "")]
    main = [c for c in chains if not _ENDS.search(c.name) and (c.blocks or c.length > 1)]
    main = [c for c in main if c.blocks] or main or [c for c in chains if len(chains) == 1]
    why = "has no nn.Sequential, nn.ModuleList or numbered modules to tell them by"
    if len(main) > 1:
        names = [repr(chain.name) for chain in main]
        found = " and ".join(names[:3] + [f"{len(names) - 3} more"] * (len(names) > 3))
        why = f"has the sequences {found}, of which none is known to come first"
    elif main:
        places = main[0].places()
        matrices = [row for row in rows if len(row.shape) > 1]
        inside = [row for row in matrices if _unit(row.names[0], places)]
        ends = [x for x in matrices if x.role in ("embedding", "head") or _ENDS.search(x.names[0])]
        if len(inside) >= sum(row not in inside and row not in ends for row in matrices):
            last = max(places.values())
            for (
                other
            ) in chains:  # norms in a separate list belong to the layers with the same numbers
                if not other.length and abs(len(other.units) - len(main[0].units)) <= 1:
                    numbered = enumerate(other.units)
                    places |= {path: min((float(i),), last) for i, (path, _) in numbered}
            return _around(model, rows, places)
        why = f"has most of its matrices outside of {main[0].name!r}, the only sequence in it"
    raise ValueError(
        f"param_groups: layer_decay needs the layers, and {type(model).__name__} {why}; "
        f"{_how(model, [chain.pattern for chain in main] if len(main) > 1 else ())}"
    )


def _around(model: nn.Module, rows: Sequence[Row], places: Mapping[str, _Key]) -> list[_Key]:
    """The position of each row: its layer; the stem, for embeddings and anything registered before all
    layers; the layer after which it is registered; or the top, for heads and anything after all layers.
    """
    order = {path: i for i, (path, _) in enumerate(model.named_modules(remove_duplicate=False))}
    starts = {path: order.get(path, order[_outer(path)]) for path in places}
    last = max(starts.values())
    return [_place(row, places, starts, order[_outer(row.names[0])], last) for row in rows]


def _place(
    row: Row, places: Mapping[str, _Key], starts: Mapping[str, int], start: int, last: int
) -> _Key:
    if path := _unit(row.names[0], places):
        return places[path]
    owner = _outer(row.names[0])
    # A parameter of a module around the layers, such as the scale of the logits, has no order among them.
    around = not owner or any(path.startswith(f"{owner}.") for path in places)
    if row.role == "embedding":
        return _STEM
    if row.role == "head" or around or start > last:
        return _TOP
    return max((places[path] for path, other in starts.items() if other < start), default=_STEM)


def _unit(name: str, places: Mapping[str, _Key]) -> str:
    """The path of the innermost unit that contains a parameter, or ""."""
    while name and name not in places:
        name = _outer(name)
    return name


def _outer(path: str) -> str:
    return path.rpartition(".")[0]


def _joint(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _chains(module: nn.Module, path: str) -> Iterator[_Chain]:
    """The outermost sequences in a module, in the order of registration."""
    if isinstance(module, (nn.Sequential, nn.ModuleList)):
        yield _Chain(path, _joint(path, "*"), [*_flat(module, path)])
        return
    # Modules whose names differ only in a number: layer1, layer2.
    families: dict[str, list[tuple[int, str, nn.Module]]] = {}
    for name, child in module.named_children():
        stem = name.rstrip("0123456789")
        if _has(child):
            number = name[len(stem) :]
            families.setdefault(f"{stem}*" if number else name, []).append(
                (int(number or 0), name, child)
            )
    for pattern, family in families.items():
        members = [
            (_joint(path, name), child) for _, name, child in sorted(family, key=itemgetter(0))
        ]
        if len(members) == 1:
            yield from _chains(members[0][1], members[0][0])
        else:
            units = [unit for inner, child in members for unit in _stage(child, inner)]
            name = _joint(path, pattern.removesuffix("*"))
            yield _Chain(name, _joint(path, pattern), units)


def _stage(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The blocks of a stage, if it consists only of a list of blocks; otherwise the module itself."""
    if type(module) in (nn.Sequential, nn.ModuleList) and any(map(_composite, module.children())):
        yield from _flat(module, path)
    else:
        yield path, module


def _flat(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules in a list, including those in its stages, nested Sequentials, and networks."""
    children = [
        (_joint(path, name), child) for name, child in module.named_children() if _has(child)
    ]
    kinds = [type(child) for _, child in children]
    for inner, child in children:
        if isinstance(module, nn.ModuleList):
            yield from _stage(child, inner) if type(child) is nn.Sequential else [(inner, child)]
        elif type(child) is nn.Sequential:
            yield from _flat(child, inner)
        else:
            alone = kinds.count(type(child)) == 1
            yield from (alone and _network(child, inner)) or [(inner, child)]


def _network(module: nn.Module, path: str) -> list[tuple[str, nn.Module]]:
    """The blocks of a module that is itself a network, such as an encoder before a head in a Sequential."""
    if isinstance(module, (nn.Sequential, nn.ModuleList)):
        return []
    chains = [c for c in _chains(module, path) if c.blocks and not _ENDS.search(c.name)]
    kinds = [type(unit) for _, unit in chains[0].units] if len(chains) == 1 else []
    return chains[0].units if len(kinds) > len({*kinds}) else []


def _composite(module: nn.Module) -> bool:
    return any(_has(child) for child in module.children())
