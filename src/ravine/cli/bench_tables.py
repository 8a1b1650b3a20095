"""The printed tables of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ravine.cli.terminal import NONE, line, notes, number, paragraph, table, title

__all__ = ["PRINTERS"]

Rows = Sequence[Mapping[str, Any]]


def _diamonds(rows: Rows) -> None:
    title("One epoch of the diamonds protocol: 250 steps, permutation, loss")
    cells = []
    for r in rows:
        times = f"{r['plain_us']:.0f}", f"{r['fast_us']:.1f}", f"{r['ratio']:.1f}"
        cells.append((r["method"], *times, str(r["digits"]), f"{r['compile_seconds']:.2f}"))
    table(("method", ">plain µs", ">compiled µs", ">ratio", ">equal digits", ">compile s"), cells)


def _step(rows: Rows) -> None:
    for shapes in dict.fromkeys(r["shapes"] for r in rows):
        here = [r for r in rows if r["shapes"] == shapes]
        title(f"One step on {shapes}, float32; ratio: the time of torch's fastest over this one's")
        columns = ["rule", "engine", ">µs", ">ratio", ">GB/s", ">of roof", ">extra", ">first s"]
        timed = any(r.get("first_seconds") is not None for r in here)
        cells = [
            (
                name,
                r["engine"],
                f"{r['us']:,.1f}",
                number(r["against_torch"], ".2f"),
                number(r["gb_per_s"], ".1f"),
                number(r["of_roof"], ".2f"),
                _size(r["extra_bytes"]),
                *[number(r["first_seconds"], ".2f")] * timed,
            )
            for name, r in _measured(here)
        ]
        columns = columns if timed else columns[:-1]
        table(columns, cells)
        _dashes(
            columns,
            cells,
            {
                "ratio": "torch has no such optimizer",
                "GB/s": "the rule has no kernel whose bytes could be counted",
                "first s": "not timed",
            },
        )
        _skipped(here)
        line()


def _cuda(rows: Rows) -> None:
    for shapes in dict.fromkeys(r["shapes"] for r in rows):
        here = [r for r in rows if r["shapes"] == shapes]
        title(
            f"One step on {shapes}, float32, on {here[0]['device']}; ratio: the time of torch's fastest over "
            "this one's (low: its lower quartile), on the device and on the host"
        )
        cells = [
            (
                name,
                r["engine"] if r["engine"] != "Ravine" else f"Ravine: {r['ran']}",
                *_on_device(r),
            )
            for name, r in _measured(here)
        ]
        columns = ["rule", "engine", *_ON_DEVICE]
        table(columns, cells)
        why = {"ratio": "torch has no such optimizer, or it could not run", **_ON_DEVICE_WHY}
        _dashes(columns, cells, why)
        _skipped(here)
        line()


def _cuda_stacks(rows: Rows) -> None:
    for shapes in dict.fromkeys(r["shapes"] for r in rows):
        here = [{**r, "rule": r["stack"], "engine": r["stack"]} for r in rows]
        here = [r for r in here if r["shapes"] == shapes]
        title(
            f"One step of Adam on {shapes}, on {here[0]['device']}; ratio: the time of torch's fused Adam in "
            "float32, after clip_grad_norm_ if this one clips, over this one's"
        )
        cells = [(r["stack"], *_on_device(r)) for _, r in _measured(here)]
        columns = ["stack", *_ON_DEVICE]
        table(columns, cells)
        why = {"ratio": "torch's own, or torch's could not run", **_ON_DEVICE_WHY}
        _dashes(columns, cells, why)
        notes((r["stack"], r["ran"]) for _, r in _measured(here) if r["torch"])
        _skipped(here)
        line()


_ON_DEVICE = (">µs", ">ratio", ">low", ">host µs", ">host ratio", ">launches", ">GB/s", ">of roof")
_ON_DEVICE_WHY = {
    "launches": "torch's profiler could not count them",
    "GB/s": "there is no kernel of Ravine's whose bytes could be counted",
}


def _on_device(r: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{r['us']:,.1f}",
        number(r["against_torch"], ".2f"),
        number(r["against_torch_low"], ".2f"),
        f"{r['host_us']:,.1f}",
        number(r["host_against_torch"], ".2f"),
        number(r["launches"], "d"),
        number(r["gb_per_s"], ".1f"),
        number(r["of_roof"], ".2f"),
    )


def _training(rows: Rows) -> None:
    title("The step inside training an MLP, after a backward pass; µs, and torch's fastest over it")
    columns = ("rule", "engine", ">µs", ">ratio")
    cells = [
        (name, r["engine"], f"{r['us']:,.1f}", number(r["against_torch"], ".2f"))
        for name, r in _measured(rows)
    ]
    table(columns, cells)
    _dashes(columns, cells, {"ratio": "torch has no such optimizer"})
    _skipped(rows)


def _experts(rows: Rows) -> None:
    title("One step where other gradients are missing each time; µs, and torch's fastest over it")
    columns = ("tensors", "with gradients", "rule", "engine", ">µs", ">ratio")
    cells = []
    before: tuple[Any, ...] = ()
    for r in rows:
        if "skipped" not in r:
            case = str(r["tensors"]), r["gradients"], r["rule"]
            times = f"{r['us']:,.1f}", number(r["against_torch"], ".2f")
            cells.append((*(case if case != before else ("", "", "")), r["engine"], *times))
            before = case
    table(columns, cells)
    _skipped(rows)


def _stacks(rows: Rows) -> None:
    for shapes in dict.fromkeys(r["shapes"] for r in rows):
        title(f"One step of a stack on {shapes}; × Adam: over the time of its kernel in float32")
        columns = ("stack", ">µs", ">moves", ">× Adam", ">per byte", ">ratio")
        cells = [
            (
                r["stack"],
                f"{r['us']:,.0f}",
                _size(r["bytes"]),
                f"{r['time_of_adam']:.2f}",
                number(r["time_per_byte_of_adam"], ".2f"),
                number(r["against_torch"], ".2f"),
            )
            for r in rows
            if r["shapes"] == shapes
        ]
        table(columns, cells)
        paragraph(
            f"ratio: torch's fused Adam, clipping alike, over this; {NONE}: none, or not known"
        )
        line()


def _half(rows: Rows) -> None:
    spread = number(rows[0]["spread"] if rows else None, ".4f")
    title(
        f"The character model's held-out loss, AdamW, lr {rows[0]['lr'] if rows else 0:g}; float32's varies "
        f"by {spread} between seeds"
    )
    cells = [
        (
            r["variant"],
            f"{r['loss']:.4f}",
            f"{r['apart']:+.4f}",
            "yes" if r["within"] else "no",
            f"{r['decayed']:.2f}",
        )
        for r in rows
    ]
    table(("stored in", ">loss", ">from float32", "within its spread", ">decay"), cells)
    paragraph("decay: the share of a weight decay of 1e-5 per step that acts, without gradients")


def _periodic(rows: Rows) -> None:
    if rows:
        line()
        _peers(rows, "A step of ten, of which one decomposes matrices; ratio: as above")


def _peers(
    rows: Rows,
    heading: str = "One step, float32; ratio: the time of the package's optimizer over that of the rule's",
) -> None:
    if not rows:
        return
    title(heading)
    shapes = list(dict.fromkeys(r["shapes"] for r in rows))
    found = {(r["rule"], r["name"], r["shapes"]): r for r in rows if "skipped" not in r}
    pairs = dict.fromkeys((r["rule"], r["name"], r["package"]) for r in rows if "skipped" not in r)
    cells = []
    for rule, name, package in pairs:
        each = [found.get((rule, name, on)) for on in shapes]
        ratios = [f"{r['ratio']:.2f}" if r else NONE for r in each]
        cells.append((rule, name, package.partition(" ")[2], *ratios))
    table(("rule", "optimizer", "version", *(f">{on}" for on in shapes)), cells)
    whys: dict[str, list[str]] = {}
    for r in rows:
        if "skipped" in r:
            whys.setdefault(f"{r['package']}: {r['skipped']}", []).append(r["name"])
    for why, names in whys.items():
        paragraph(f"{', '.join(dict.fromkeys(names))} left out; {why}")


def _memory(rows: Rows) -> None:
    gradients = _size(rows[0]["gradient_bytes"]) if rows else NONE
    title(f"A training step with AdamW, float32; all gradients together take {gradients}")
    cells = []
    for r in rows:
        saved = f"{r['gradients_saved']:.0%}"
        cells.append((r["contender"], _size(r["peak_bytes"]), saved, f"{r['us']:,.0f}"))
    table(("contender", ">peak", ">gradients saved", ">µs"), cells)


def _size(count: int | None) -> str:
    """Bytes, in the unit that suits them."""
    if count is None:
        return NONE
    unit, name = next(
        (x for x in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if count >= x[0]), (1, "B")
    )
    return f"{count / unit:.3g}\xa0{name}"


def _measured(rows: Rows) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The rows with a measurement; only the first one of a rule has its name."""
    before = None
    for r in rows:
        if "skipped" not in r:
            yield ("" if r["rule"] == before else r["rule"]), r
            before = r["rule"]


def _dashes(columns: Sequence[str], cells: Iterable[Sequence[str]], why: Mapping[str, str]) -> None:
    """Explain below a table what a dash means, for each column that has one."""
    heads = [column.lstrip(">") for column in columns]
    empty = {head for row in cells for head, cell in zip(heads, row, strict=True) if cell == NONE}
    notes((f"{NONE} {head}", text) for head, text in why.items() if head in empty)


def _skipped(rows: Rows) -> None:
    whys: dict[str, list[str]] = {}
    for r in rows:
        if "skipped" in r:
            whys.setdefault(f"{r['engine']} skipped: {r['skipped']}", []).append(r["rule"])
    for why, rules in whys.items():
        paragraph(f"{why} ({', '.join(rules)})")


def _race(rows: Rows) -> None:
    title("A step of Adam on one thread, a replica's in a swarm; µs, and the others' time over it")
    columns = ("problem", ">parameters", ">torch.optim", ">Ravine", ">swarm", ">ratio", ">ratio")
    cells = []
    for r in rows:
        torch, ravine, swarm = (r[k] and r[k]["us"] for k in ("torch", "ravine", "swarm"))
        ratios = (number(swarm and x / swarm, ".1f") for x in (torch, ravine))
        times = (number(x, ",.0f") for x in (torch, ravine, swarm))
        cells.append((r["problem"], f"{r['parameters']:,}", *times, *ratios))
    table(columns, cells)
    notes((r["problem"], r["why"]) for r in rows if r["why"])


def _optax(rows: Rows) -> None:
    title("One step under jit, float32; ratio: the time of optax's own over this one's")
    cells = [
        (
            r["rule"],
            r["shapes"],
            f"{r['us']:,.0f}",
            f"{r['optax_us']:,.0f}",
            f"{r['against_optax']:.2f}",
        )
        for r in rows
    ]
    table(("rule", "shapes", ">µs", ">optax µs", ">ratio"), cells)


PRINTERS: dict[str, Callable[[Rows], None]] = {
    "diamonds": _diamonds,
    "step": _step,
    "cuda": _cuda,
    "cuda_stacks": _cuda_stacks,
    "training": _training,
    "experts": _experts,
    "stacks": _stacks,
    "half": _half,
    "peers": _peers,
    "periodic": _periodic,
    "memory": _memory,
    "optax": _optax,
    "race": _race,
}
"""The functions that print each benchmark's rows, by its name."""
