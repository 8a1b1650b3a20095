"""The role of each parameter in a model: hidden matrix, head, embedding, norm, …

Names are unreliable (`ln_1`, `bn`, `wte`, `fc`), and so are shapes (an embedding is a matrix). So a
parameter's role is decided from the module that owns it, from the places where it is used, and, for the
output layer, from its place in the model. Names count only for bare parameters, which have nothing else.
Every decision states its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.parametrize import ParametrizationList

__all__ = ["BARE", "ROLES", "Row", "kind", "roles_of"]

ROLES = {
    "hidden": "a matrix between the ends of the network",
    "conv": "a convolution's kernel",
    "stack": "three dimensions or more, no convolution: experts, a bilinear form",
    "head": "the output layer's weight",
    "embedding": "a table that is looked up or added: tokens, positions",
    "norm": "gain and bias of a normalisation",
    "bias": "what is added to a layer's output",
    "gain": "any other scalar or vector",
}

BARE = "bare, by shape alone"
"""The weakest reason: only the shape of a parameter is known."""

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
_LAYERS = (nn.Linear, nn.Bilinear, _ConvNd, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
_TABLES = (nn.Embedding, nn.EmbeddingBag)
_BLOCKS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_NORM_CLASS = re.compile(r"norm(act)?(\dd)?$", re.I)
_TABLE_CLASS = re.compile(r"embed(ding)?s?$", re.I)
_TABLE_WORDS = re.compile(
    r"(^|_)(embed(ding)?s?|pos|positions?|positional|tokens?|w?pe|wte)(_|$)", re.I
)
_FUSED = re.compile(r"qkv|c_attn|query_key_value", re.I)
_GATED = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell)


@dataclass(frozen=True)
class Row:
    """One parameter in the audit. names: all of them, if it is shared. why: the reason for its role.
    inside: whether it is in a repeated block. stacked: whether it contains several matrices, one
    above another. tied: whether it is both an embedding and another layer's weight. layer: counted
    from the input; -1 if layers were not requested. group: the index of its group; -1 if it is
    frozen, and so in none.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    role: str
    why: str
    inside: bool = False
    stacked: bool = False
    tied: bool = False
    layer: int = -1
    group: int = -1


class _Place(NamedTuple):
    """A place of a parameter: the module, its path, the name there, and whether it is in a repeated
    block.
    """

    name: str
    path: str
    module: nn.Module
    slot: str
    inside: bool = False


def roles_of(model: nn.Module) -> dict[nn.Parameter, Row]:
    """The row of every parameter, frozen or not, in the model's order.

    Raises ValueError for a lazy parameter, which has no shape yet.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    blocks = set(_blocks(modules))
    places: dict[nn.Parameter, list[_Place]] = {}
    for path, module in modules.items():
        for slot, p in module.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{path}.{slot}" if path else slot
            if isinstance(p, UninitializedParameter):
                raise ValueError(
                    f"param_groups: {name!r} has no shape yet; a lazy module must have seen one batch"
                )
            place = _seen_through(_Place(name, path, module, slot), modules)
            inside = "" in blocks or any(x in blocks for x in _ancestors(place.path))
            places.setdefault(p, []).append(place._replace(inside=inside))
    heads = _heads(modules, places)
    return {p: _row(p, found, heads) for p, found in places.items()}


def kind(module: nn.Module) -> str:
    """The name of a module's class, without torch's internal prefixes."""
    return (
        type(module).__name__.removeprefix("Parametrized").removeprefix("NonDynamicallyQuantizable")
    )


def _seen_through(place: _Place, modules: dict[str, nn.Module]) -> _Place:
    """A parametrization's original represents the parameter that is computed from it."""
    if not isinstance(place.module, ParametrizationList):
        return place
    path, _, slot = f".{place.path}".rpartition(".parametrizations.")
    path = path.removeprefix(".")
    if type(place.module[0]).__name__ == "_WeightNorm":
        slot += "_g" if place.slot == "original0" else "_v"  # their names in the older weight_norm
    return place._replace(path=path, module=modules[path], slot=slot)


def _row(p: nn.Parameter, places: list[_Place], heads: dict[nn.Parameter, str]) -> Row:
    decided = [_role(p, place) for place in places]
    role, why = next((x for x in decided if x[0] == "embedding"), decided[0])
    others = {kind(x.module) for x, (y, _) in zip(places, decided, strict=True) if y != role}
    tied = role == "embedding" and bool(others)
    if tied:
        why += f", tied to {' and '.join(sorted(others))}"
    elif p in heads:
        role, why = "head", f"{why}, {heads[p]}"
    elif len(places) > 1:
        why += f", in {len(places)} places"
    stacked = _stacked(places[0])
    why += f", {stacked}" * bool(stacked)
    names = tuple(x.name for x in places)
    return Row(names, tuple(p.shape), role, why, places[0].inside, bool(stacked), tied)


def _stacked(place: _Place) -> str:
    """The matrices that a matrix contains one above another, if it does."""
    if place.slot.startswith(("weight_ih", "weight_hh")) and isinstance(place.module, _GATED):
        return "its gates in one"
    attention = place.slot == "in_proj_weight" and isinstance(place.module, nn.MultiheadAttention)
    if attention or (place.slot == "weight" and _FUSED.search(place.path.rpartition(".")[2])):
        return "Q, K, V in one"
    return ""


def _role(p: nn.Parameter, place: _Place) -> tuple[str, str]:
    """The role in one place, and the reason, if the owner determines it."""
    module, slot, name = place.module, place.slot, kind(place.module)
    long = sum(n > 1 for n in p.shape)  # a vector may be stored as (1, c, 1, 1)
    if isinstance(module, _NORMS):
        return "norm", name
    if _NORM_CLASS.search(name) and long <= 1:
        return "norm", f"{name}, by name"
    if _weight_norm(place, "_g"):
        return "gain", f"{name}, weight norm's lengths"
    if "bias" in slot.lower().split("_"):
        return "bias", name
    if isinstance(module, _TABLES):
        return "embedding", name
    if _TABLE_CLASS.search(name) and p.ndim > 1:
        return "embedding", f"{name}, by name"
    if p.ndim <= 1:
        return "gain", f"{name}, {('scalar', 'vector')[p.ndim]}"
    by_shape = "hidden" if p.ndim == 2 else "stack"
    if isinstance(module, _LAYERS):
        direction = ", weight norm's directions" * _weight_norm(place, "_v")
        return ("conv" if isinstance(module, _ConvNd) else by_shape), name + direction
    if _TABLE_WORDS.search(slot):
        return "embedding", "bare, by name"
    if p.ndim > 2 and p.shape[0] == 1:
        return ("embedding" if long > 1 else "gain"), "bare, the same for every example"
    return by_shape, f"{name}, by shape" if slot == "weight" else BARE


def _weight_norm(place: _Place, end: str) -> bool:
    """Whether it is one of the two parts into which weight norm splits a weight."""
    if not place.slot.endswith(end):
        return False
    slot, module = place.slot.removesuffix(end), place.module
    lists = getattr(module, "parametrizations", {})
    return slot in lists or {f"{slot}_g", f"{slot}_v"} <= {*module._parameters}


# ---- the head ----------------------------------------------------------------------------------


def _heads(
    modules: dict[str, nn.Module], places: dict[nn.Parameter, list[_Place]]
) -> dict[nn.Parameter, str]:
    """The weights of output layers, and how they were found."""
    order = {path: i for i, path in enumerate(modules)}  # of registration: mostly that of forward
    matrices = [
        (p, place)
        for p, found in places.items()
        for place in found
        if _role(p, place)[0] in ("hidden", "conv", "stack")
    ]
    matrices.sort(key=lambda pair: order[pair[1].path])
    heads: dict[nn.Parameter, str] = {}
    for p, place in reversed(matrices):
        if not _may_be_head(place, modules):
            break
        if not heads:
            if _followed(place.path, modules):
                break
            last = p
            heads[p] = "the last layer"
        # Another with the same number of inputs, whose outputs cannot be the last one's inputs, is parallel.
        elif p.ndim == last.ndim == 2 and p.shape[1] == last.shape[1] != p.shape[0]:
            heads[p] = "parallel to the last layer"
        else:
            break
    tables = {
        p.shape: place.name
        for p, found in places.items()
        for place in found
        if isinstance(place.module, _TABLES) and p.shape[0] > p.shape[1]
    }
    for p, place in matrices:
        if p.shape in tables and _may_be_head(place, modules):
            heads.setdefault(p, f"shaped like {tables[p.shape]}")
    return heads


def _may_be_head(place: _Place, modules: dict[str, nn.Module]) -> bool:
    """Whether it is a layer's weight outside repeated blocks and attention."""
    outer = modules.get(place.path.rpartition(".")[0])
    whole = place.slot in ("weight", "weight_v") and not isinstance(outer, nn.MultiheadAttention)
    return whole and not place.inside


def _ancestors(path: str) -> Iterator[str]:
    """The path itself and those above it, without the root."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def _blocks(modules: dict[str, nn.Module]) -> Iterator[str]:
    """The paths of repeated blocks: composite modules of the same class, in one ModuleList or Sequential."""
    for path, module in modules.items():
        if isinstance(module, _BLOCKS):
            yield path
        if not isinstance(module, (nn.ModuleList, nn.Sequential)):
            continue
        made = {
            f"{path}.{name}" if path else name: _make(child)
            for name, child in module.named_children()
            if any(True for _ in child.children())
        }
        lone = isinstance(module, nn.ModuleList) and len(module) == 1
        for name, make in made.items():
            if lone or list(made.values()).count(make) > 1:
                yield name


def _make(module: nn.Module) -> tuple[type, tuple[str, ...]]:
    return type(module), tuple(name for name, _ in module.named_parameters())


def _followed(path: str, modules: dict[str, nn.Module]) -> bool:
    """Whether a module with parameters follows this one in a Sequential."""
    for inner in _ancestors(path):
        outer, _, name = inner.rpartition(".")
        if isinstance(parent := modules[outer], nn.Sequential):
            later = list(parent)[list(parent._modules).index(name) + 1 :]
            if any(True for x in later for _ in x.parameters()):
                return True
    return False
