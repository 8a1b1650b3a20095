"""`ravine bench`."""

from __future__ import annotations

import json as json_
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ravine.cli.bench_tables import PRINTERS
from ravine.cli.listing import Json
from ravine.cli.names import RUNS_FILE, depends, find_all, require
from ravine.cli.progress import progress
from ravine.cli.terminal import err
from ravine.registry import get

bench = typer.Typer(
    help="Measure speed, with all contenders side by side in one run.", no_args_is_help=True
)

Rows = Sequence[Mapping[str, Any]]
File = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Also write the results to this JSON file."),
]


@bench.command("diamonds")
def bench_diamonds(
    repeats: Annotated[int, typer.Option(min=1, help="Number of runs of each loop.")] = 5,
    json: Json = False,
) -> None:
    """The diamonds loop, compiled from the rule's graph, against the post's plain NumPy loop."""
    require("numba")
    from ravine.bench import diamonds

    rows = diamonds.run(repeats=repeats)
    if json:
        return print(json_.dumps(rows, indent=2))
    PRINTERS["diamonds"](rows)


@bench.command("step")
def bench_step(
    rules: Annotated[
        str,
        typer.Option(
            help=f'Comma-separated rules; "torch" for all that torch.optim has too; or "all". {RUNS_FILE}'
        ),
    ] = "torch",
    shapes: Annotated[
        str,
        typer.Option(
            help="Comma-separated: scalars, mlp, resnet18, gpt2, many (700 vectors of 64 numbers), "
            "convolutions (ResNet-18's, as matrices), and blocks128, blocks256, blocks768 (four GPT blocks "
            "of that width). gpt2 needs 8 to 11 GiB of memory, and is skipped if less is free."
        ),
    ] = "scalars,mlp,resnet18,gpt2",
    seconds: Annotated[
        float,
        typer.Option(
            min=0.0, help="Time per rule and shape; everything is timed at least 3 times."
        ),
    ] = 1.0,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Add torch's step under torch.compile.")
    ] = False,
    all_engines: Annotated[
        bool, typer.Option("--all-engines", help="Also time the eager engine on gpt2.")
    ] = False,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Add Ravine's optimizer with flatten=True.")
    ] = False,
    first: Annotated[
        bool,
        typer.Option(
            "--first/--no-first",
            help="Also time the first step on the first shape, each in a new process: 3 s each.",
        ),
    ] = True,
    training: Annotated[
        bool,
        typer.Option(
            "--training/--no-training",
            help="Also time steps inside training, after a backward pass, and with different gradients "
            "missing each time.",
        ),
    ] = True,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plot the ratios to torch, as .png or .svg."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="cpu; or cuda, the current NVIDIA GPU: then with the time on the host apart, CUDA graphs, "
            "and Adam with clipping, in bfloat16 and with 8-bit state, but without --first and --training."
        ),
    ] = "cpu",
    file: File = None,
    json: Json = False,
) -> None:
    """One optimizer step: Ravine's engines and torch.optim's loops, taking turns."""
    require("torch", *["matplotlib"] * bool(figure))
    from ravine.bench import contenders, cuda, cuda_stacks, step

    on = shapes.split(",")
    _checked(seconds, on, file)
    if device not in ("cpu", "cuda"):
        raise ValueError(f"--device {device!r} is invalid; it must be cpu or cuda")
    if device == "cuda":
        depends("--figure", figure is not None, "with --device cuda", False)
        depends("--all-engines", all_engines, "with --device cuda", False)
        if why := cuda.lacking():
            raise ValueError(f"--device cuda {why}")
    _writable("--figure", figure, ".png", ".svg")
    depends("--all-engines", all_engines, "without gpt2 among the shapes", "gpt2" in on)
    if rules not in ("torch", "all"):
        rules = ",".join(found.name for found in find_all("--rules", rules))
    chosen = step.choose(rules)
    in_torch = figure is None or any(contenders.in_torch(get(name)) for name in chosen)
    depends("--figure", figure is not None, "where torch has none of the rules", in_torch)
    options: dict[str, Any] = {"compiled": compiled, "progress": progress}
    if device == "cuda":
        stacks = cuda_stacks.run(on, 5 * seconds, progress)
        _bench(
            {"cuda": cuda.run(on, chosen, seconds, **options), "cuda_stacks": stacks}, file, json
        )
        return
    options["flat"] = flatten
    runs = {"step": step.run(on, chosen, seconds, first=first, all_engines=all_engines, **options)}
    if training:
        runs["training"] = step.run_in_training(chosen, seconds, **options)
        runs["experts"] = step.run_with_experts(seconds=seconds, progress=progress)
    tables = _bench(runs, file, json)
    if figure:
        from ravine.bench.plots import against_torch
        from ravine.races.atomic import write
        from ravine.races.store import picture

        write(figure, picture(against_torch(tables["step"]), figure.suffix[1:]))


@bench.command("stacks")
def bench_stacks(
    shapes: Annotated[
        str, typer.Option(help="Comma-separated, as for step. gpt2 needs 4 GiB of memory.")
    ] = "resnet18,gpt2",
    seconds: Annotated[
        float, typer.Option(min=0.0, help="Time per shape; everything is timed at least 3 times.")
    ] = 5.0,
    file: File = None,
    json: Json = False,
) -> None:
    """Adam with modifiers, and with bfloat16 or 8-bit state: Ravine's kernels and torch's equivalents."""
    require("torch", "llvmlite")
    from ravine.bench import stacks

    on = shapes.split(",")
    _checked(seconds, on, file)
    _bench({"stacks": stacks.run(on, seconds, progress)}, file, json)


@bench.command("peers")
def bench_peers(
    packages: Annotated[
        str, typer.Option(help="Comma-separated packages, by their names on PyPI. Default: all.")
    ] = "",
    rules: Annotated[str, typer.Option(help="Comma-separated rules. Default: all.")] = "",
    shapes: Annotated[str, typer.Option(help="Comma-separated, as for step.")] = "mlp,resnet18",
    seconds: Annotated[
        float,
        typer.Option(
            min=0.0, help="Time per optimizer and shape; everything is timed at least 3 times."
        ),
    ] = 1.0,
    file: File = None,
    json: Json = False,
) -> None:
    """Other packages' optimizers, if installed, and the rules that take the same path.

    SOAP and Shampoo, which decompose matrices every ten steps, step the matrices of the shapes. Imports
    these packages. scripts/peers.txt lists the versions that are compared.
    """
    require("torch")
    from ravine.bench import peers

    on = shapes.split(",")
    _checked(seconds, on, file)
    wanted = [x for x in packages.split(",") if x]
    chosen = [found.name for found in find_all("--rules", rules)] if rules else []
    given = (on, wanted, chosen, seconds, progress)
    _bench({"peers": peers.run(*given), "periodic": peers.run_periodic(*given)}, file, json)


@bench.command("optax")
def bench_optax(
    rules: Annotated[
        str, typer.Option(help="Comma-separated rules that optax also has.")
    ] = "sgd,nesterov,adam,adamw,lion,nadam_optax,adamax,adabelief,lamb",
    shapes: Annotated[str, typer.Option(help="Comma-separated: mlp, blocks.")] = "mlp,blocks",
    seconds: Annotated[float, typer.Option(min=0.0, help="Time per rule and shape.")] = 2.0,
    file: File = None,
    json: Json = False,
) -> None:
    """Steps of ravine.optax under jit, against optax's own optimizers of the same path."""
    require("jax", "optax")
    from ravine.bench import optax

    _checked(seconds, [], file)
    chosen = [found.name for found in find_all("--rules", rules)]
    _bench({"optax": optax.run(chosen, shapes.split(","), seconds, progress)}, file, json)


@bench.command("half")
def bench_half(
    seeds: Annotated[int, typer.Option(min=2, help="How many seeds.")] = 5,
    lr: Annotated[
        float, typer.Option(min=0.0, help="Learning rate; it falls to zero along a cosine.")
    ] = 1e-4,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run.")] = 2000,
    file: File = None,
    json: Json = False,
) -> None:
    """The loss of a small language model trained in bfloat16, against float32's and its spread over seeds."""
    require("torch", "llvmlite")
    from ravine.bench import half

    _checked(0.0, [], file)
    _bench({"half": half.run(seeds, lr, steps, progress)}, file, json)


@bench.command("memory")
def bench_memory(
    layers: Annotated[int, typer.Option(min=1, help="Number of linear layers.")] = 24,
    width: Annotated[int, typer.Option(min=1, help="Width of each layer.")] = 1024,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per batch.")] = 16,
    seconds: Annotated[
        float, typer.Option(min=0.0, help="Time per process; a step is timed at least 3 times.")
    ] = 2.0,
    rounds: Annotated[int, typer.Option(min=1, help="Processes per contender.")] = 3,
    file: File = None,
    json: Json = False,
) -> None:
    """Peak memory and time of a training step: ordinary, and with the step in backward. Linux only."""
    require("torch")
    from ravine.bench import memory

    _checked(seconds, [], file)
    rows = memory.run(layers, width, batch_size, seconds, rounds, progress)
    _bench({"memory": rows}, file, json)


@bench.command("race")
def bench_race(
    problems: Annotated[
        str, typer.Option(help="Comma-separated bundled problems. Default: all.")
    ] = "",
    width: Annotated[int, typer.Option(min=2, help="Number of replicas in a swarm.")] = 32,
    seconds: Annotated[
        float, typer.Option(min=0.0, help="Time per problem; everything is timed at least 3 times.")
    ] = 5.0,
    file: File = None,
    json: Json = False,
) -> None:
    """A training step on the bundled problems: with torch.optim, with Ravine, and in a swarm."""
    require("torch", "llvmlite")
    from ravine.bench import race
    from ravine.races.task import problem
    from ravine.races.task import problems as known

    _checked(seconds, [], file)
    chosen = [name.strip() for name in problems.split(",")] if problems else [*known()]
    for name in chosen:
        problem(name)  # which says so if it is missing
    _bench({"race": race.run(chosen, width, seconds, progress)}, file, json)


def _checked(seconds: float, shapes: Sequence[str], file: Path | None) -> None:
    """Reject, before anything runs, what could not be measured, or a file that could not be written."""
    if not math.isfinite(seconds):
        raise ValueError(f"--seconds {seconds} is invalid; it must be a finite number >= 0")
    for name in shapes:
        if shapes.count(name) > 1:
            raise ValueError(f"--shapes {','.join(shapes)!r} is invalid; {name} is listed twice")
    _writable("--out", file, ".json")


def _writable(option: str, path: Path | None, *kinds: str) -> None:
    """Reject, before anything is measured, a file that could not be written afterwards."""
    if path is None:
        return
    if path.suffix not in kinds:
        raise ValueError(f"{option} {str(path)!r} is invalid; it ends in {' or '.join(kinds)}")
    if not path.parent.is_dir():
        raise ValueError(f"{option} {str(path)!r} is invalid; there is no folder {path.parent}")


def _bench(
    runs: Mapping[str, Iterable[Mapping[str, Any]]], file: Path | None, json: bool
) -> dict[str, Rows]:
    """Run the measurements and print them, even if they are interrupted."""
    from ravine.races.atomic import write
    from ravine.races.environment import environment
    from ravine.races.store import to_json

    tables: dict[str, list[Mapping[str, Any]]] = {name: [] for name in runs}
    interrupted = False
    try:
        for name, rows in runs.items():
            for row in rows:
                tables[name].append(row)
    except KeyboardInterrupt:
        interrupted = True
        err.print("\nInterrupted; these are the results so far.")
    text = to_json({"environment": environment(), **tables})
    if file:
        write(file, text.encode())
    if json:
        print(text)
    else:
        for name, done in tables.items():
            PRINTERS[name](done)
    if interrupted:
        sys.exit(130)
    return {**tables}
