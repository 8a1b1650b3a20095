"""`ravine cost`."""

from __future__ import annotations

import json as json_
import re
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from ravine import registry
from ravine.cli.listing import Json
from ravine.cli.names import find_all, given, quiet
from ravine.cli.terminal import notes, say, table, title
from ravine.costs import SHARDS, Cost, Machine, Model, cost, of_place, transformer
from ravine.costs.machines import KNOWN, measured
from ravine.registry import Found
from ravine.rule import RuleError

_SHORT = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64"}
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def cost_of(
    context: typer.Context,
    optimizers: Annotated[
        str, typer.Argument(help="Comma-separated rules or stacks: adamw,muon")
    ] = "adamw",
    params: Annotated[
        str,
        typer.Option(
            help="Number of parameters: 7e9, 350M or 7B. They are assumed to be a decoder's, with the shapes "
            "of Llama's blocks."
        ),
    ] = "7e9",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FILE:NAME",
            help="Instead of --params: a function that returns the torch.nn.Module. It is called on the "
            "meta device, which allocates nothing. The file is run.",
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="Data type of parameters and gradients: float32, bfloat16 (bf16), float16 …"
        ),
    ] = "float32",
    state_dtype: Annotated[
        str,
        typer.Option(help="Data type of the state; also 8bit. Default: that of the parameters."),
    ] = "",
    gpus: Annotated[int, typer.Option(min=1, help="Number of devices that share the model.")] = 1,
    shard: Annotated[
        str,
        typer.Option(
            help=f"How the model is sharded: {'; '.join(f'{k}: {v}' for k, v in SHARDS.items())}."
        ),
    ] = "none",
    on: Annotated[
        str | None,
        typer.Option(help=f"The device: {', '.join(KNOWN)}. Default: this machine, measured."),
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(help="Memory bandwidth in GB/s, instead of the device's.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="TFLOP/s of matrix products, instead of the device's.")
    ] = None,
    network: Annotated[
        float | None, typer.Option(help="GB/s that each device sends to the others.")
    ] = None,
    offload: Annotated[
        bool,
        typer.Option("--offload", help="Step on the host, with the state there (offload=True)."),
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare with all other rules.")
    ] = False,
    json: Json = False,
) -> None:
    """Compute the cost of an optimizer step: bytes, operations, messages, minimum time.

    Everything is computed from the rule: its slots, what its kernel loads and stores, and the operations
    in its graph. Nothing is allocated, and no step is taken.
    """
    if model is not None and given(context, "params"):
        raise ValueError("--params and --model are mutually exclusive; give one of them")
    with quiet():
        its = of_place(model) if model is not None else transformer(_number(params))
    machine, said = _machine(on, bandwidth, rate, network)
    asked = find_all("optimizers", optimizers)
    if compare:
        names = {found.name for found in asked}
        asked += [Found(r, name) for name, r in registry.own().items() if name not in names]
    shared = {
        "dtype": _SHORT.get(dtype, dtype),
        "state_dtype": _SHORT.get(state_dtype, state_dtype),
        "devices": gpus,
        "shard": shard,
        "offload": offload,
    }
    costs: dict[str, Cost] = {}
    for found in asked:
        try:
            costs[found.label] = cost(found.rule, its, **shared)  # type: ignore[arg-type]
        except RuleError as error:
            say(f"{found.label} is left out: {error}")
    if compare:
        costs = dict(sorted(costs.items(), key=lambda pair: pair[1].seconds(machine)))
    if json:
        return print(json_.dumps([_row(k, v, machine) for k, v in costs.items()], indent=2))
    _say(costs, its, machine, said, shared)


def _number(text: str) -> float:
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmbt]?)\s*", text.lower())
    try:
        return float(found[1]) * _UNITS[found[2]] if found else float("nan")
    except ValueError:
        return float("nan")


def _machine(
    on: str | None, bandwidth: float | None, rate: float | None, network: float | None
) -> tuple[Machine, str]:
    """The device, and what is known of it in words."""
    if on is not None and on.lower() not in KNOWN:
        raise ValueError(f"--on {on!r} is invalid; it must be one of {', '.join(KNOWN)}")
    for option, value in (("bandwidth", bandwidth), ("rate", rate), ("network", network)):
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{option} {value:g} is invalid; it must be a number above 0")
    if on is not None:
        found, name = KNOWN[on.lower()], on.upper()
    elif bandwidth is not None and rate is not None:
        found, name = Machine(1.0, 1.0), "as given"
    else:
        found, name = measured(), "this machine, measured"
    found = replace(
        found,
        bandwidth=bandwidth * 1e9 if bandwidth is not None else found.bandwidth,
        rate=rate * 1e12 if rate is not None else found.rate,
        network=network * 1e9 if network is not None else found.network,
    )
    sends = f", sends {found.network / 1e9:,.0f} GB/s" if found.network else ""
    link = f", {found.link / 1e9:,.0f} GB/s to and from its host" if found.link else ""
    return found, (
        f"{name}: memory {found.bandwidth / 1e9:,.0f} GB/s, matrix products "
        f"{found.rate / 1e12:,.3g} TFLOP/s{sends}{link}"
    )


def _row(name: str, found: Cost, machine: Machine) -> dict[str, Any]:
    kept = {k: v for k, v in vars(found).items() if k not in ("rule", "model", "operations")}
    return {
        "optimizer": name,
        "model": found.model.name,
        "numbers": found.model.numel,
        **kept,
        "held": found.held,
        **found.operations._asdict(),
        "seconds": found.seconds(machine),
        "machine": asdict(machine),
    }


def in_bytes(count: float) -> str:
    """In decimal units, with three digits."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def _of_ten(count: float) -> str:
    return f"{count:.2g}" if count else "0"


def in_seconds(seconds: float) -> str:
    """In the unit that fits, with three digits."""
    unit, scale = ("s", 1) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    return f"{seconds * scale:.3g} {unit}"


def _say(
    costs: dict[str, Cost], model: Model, machine: Machine, said: str, shared: dict[str, Any]
) -> None:
    devices, several = shared["devices"], shared["devices"] > 1
    title(f"{model.numel:,} parameters: {model.name}")
    columns = ["optimizer", ">state", ">all kept", ">moved", ">operations", ">at least"]
    columns += [">on the host", ">copied"] * shared["offload"]
    columns += [">sent", ">messages"] * several
    rows = []
    for name, found in costs.items():
        operations = found.operations
        row = [
            name + " *" * bool(found.others),
            in_bytes(found.state),
            in_bytes(found.held),
            in_bytes(found.moved),
            _of_ten(sum(operations)),
            in_seconds(found.seconds(machine)),
        ]
        row += [in_bytes(found.host), in_bytes(found.copied)] if found.host else []
        row += [in_bytes(found.sent), f"{found.messages:,}"] if several else []
        rows.append(row)
    table(columns, rows)
    first = next(iter(costs.values()), None)
    if first is None:
        return
    state = f", state in {shared['state_dtype']}" if shared["state_dtype"] else ""
    pairs = [("Numbers", f"{shared['dtype']}{state}")]
    if several:
        pairs += [
            ("Devices", f"{devices:,}; {shared['shard']}: {SHARDS[shared['shard']]}"),
            (
                "Besides",
                f"for the training itself each device sends {in_bytes(first.trained)} per step",
            ),
        ]
    pairs.append(("Machine", said))
    pairs.append(("Moved", "read and written in a step, of state, parameters and gradients"))
    if shared["offload"]:
        pairs += [
            (
                "On the host",
                "the state, a copy of the parameters, and the gradients, for each device",
            ),
            ("Copied", "gradients to the host; and as much back: parameters"),
        ]
    if any(found.others for found in costs.values()):
        share = max(found.others for found in costs.values())
        pairs.append(("*", f"steps hidden matrices; AdamW steps the rest, {share:.1%}"))
    if whole := max(found.whole for found in costs.values()):
        pairs.append(("Whole", f"for a moment a matrix of {in_bytes(whole)} is put together"))
    notes(pairs)
