"""Other packages' optimizers and the rules that take the same path, side by side in one run.

The witnesses on the rules' cards are compared: each is created as the card says, on float32 parameters,
with the rule's defaults. Rules for matrices get the matrices among the shapes. Packages that are not
installed are left out, and named.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from types import ModuleType
from typing import Any

import torch

from ravine import elsewhere, registry
from ravine.bench import contenders
from ravine.bench.contenders import Step
from ravine.bench.timing import summary, take_turns
from ravine.cards import Witness
from ravine.engines.tracing import trace
from ravine.rule import Rule
from ravine.torch.classes import optimizer

__all__ = ["SHAPES", "make", "namespace", "run", "stepping"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]

SHAPES = ("mlp", "resnet18")
"""The shapes stepped by default."""

_OF_ARRAYS = ("jax", "keras", "optax")  # they step arrays that are not torch's


def run(
    on: Iterable[str] = SHAPES,
    packages: Iterable[str] = (),
    rules: Iterable[str] = (),
    seconds: float = 1.0,
    progress: Progress = lambda _, units: units,
) -> Iterator[dict[str, Any]]:
    """Time a step of each optimizer that is a witness, and of the rule.

    on: names of shapes, as in :func:`ravine.bench.step.run`. packages, rules: only these; all by default.
    seconds: for each witness and shape; at least three turns each are taken. progress: is handed a name
    and the units of work, and hands them on.

    Yields a row for each: ``rule``, ``package``, ``name``, ``shapes``, ``us`` and ``their_us``, medians,
    ``us_quartiles``, ``turns``; ``ratio``, their time over ours, theirs being the fastest of its loops;
    ``engine``. A row with ``skipped`` says why there is none. Raises ValueError for unknown shapes.
    """
    on, packages, rules = list(on), [*packages], [*rules]
    for name in on:
        contenders.shapes(name)
    units = [
        {"rule": rule.name, "witness": witness, "problem": shapes}
        for rule in registry.own().values()
        for witness in rule.card.known
        for shapes in on
        if _is_of_torch(witness)
        and (not packages or witness.distribution in packages)
        and (not rules or rule.name in rules)
    ]
    for unit in progress("peers", units):
        gc.collect()
        yield _row(registry.get(unit["rule"]), unit["witness"], unit["problem"], seconds)


def _is_of_torch(witness: Witness) -> bool:
    return witness.name.partition(".")[0] not in _OF_ARRAYS


def _row(rule: Rule, witness: Witness, shapes: str, seconds: float) -> dict[str, Any]:
    row = {"rule": rule.name, "package": witness.package, "name": witness.name, "shapes": shapes}
    values = rule.check()
    try:
        if version(witness.distribution).partition("+")[0] != witness.version:
            return {**row, "skipped": f"{version(witness.distribution)} is installed"}
        ours = optimizer(rule)(_parameters(rule, shapes), **rule.parts.gathered(values))
        steps: dict[str, Step] = {"ours": ours.step}
        params = _parameters(rule, shapes)
        theirs = make(witness, values, params)
        steps["theirs"] = stepping(theirs, params)
        for loop in {"foreach", "fused"} & {*inspect.signature(type(theirs)).parameters}:
            with contextlib.suppress(RuntimeError):  # not for these options
                params = _parameters(rule, shapes)
                again = make(witness, values, params, **{loop: True})
                steps[loop] = stepping(again, params)
        taken = take_turns(steps, seconds)
    except PackageNotFoundError:
        return {**row, "skipped": "not installed"}
    except Exception as error:  # the package's error, which may be anything
        return {**row, "skipped": f"{type(error).__name__}: {error}"}
    their_us = min(1e6 * median(x) for name, x in taken.items() if name != "ours")
    found = summary(taken["ours"])
    return {
        **row,
        **found,
        "their_us": their_us,
        "ratio": their_us / found["us"],
        "engine": ours.engine.partition(":")[0],
    }


def _parameters(rule: Rule, shapes: str) -> list[torch.Tensor]:
    """The shapes that the rule can step: for a rule of matrices, those that it can see as such."""
    params = contenders.parameters(shapes)
    graph = trace(rule)
    if not graph.of_arrays or graph.by_ndim:
        return params
    return [p for p in params if p.ndim == 2 or (p.ndim > 2 and rule.seen)]


def stepping(theirs: Any, params: Sequence[torch.Tensor]) -> Step:
    """Its step, taken once; gradients are set again if it discards them, as heavyball does."""
    grads = [p.grad for p in params]
    theirs.step()
    if all(p.grad is not None for p in params):
        return theirs.step

    def step() -> None:
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        theirs.step()

    return step


def make(
    witness: Witness, values: Mapping[str, Any], params: Sequence[torch.Tensor], **options: Any
) -> Any:
    """The torch-style optimizer of a witness, with the values of the rule's hyperparameters.

    options: further options of its class. Runs code of the package, and the call on the card.
    """
    call = witness.call
    if options:  # this loop, in place of the recorded one
        call = re.sub(r"(?:, )?(?:foreach|fused)=\w+", "", call).replace("(, ", "(")
        extra = ", ".join(f"{k}={v!r}" for k, v in options.items())
        call = f"{call[:-1]}, {extra})" if not call.endswith("()") else f"{call[:-1]}{extra})"
    if "(params" not in call:
        call = call.replace("(", "(params, ", 1)
    given: Any = list(params)
    if witness.distribution == "adam-mini":  # which decides by names what it treats as a matrix
        given = [(f"{'mlp' if p.ndim == 2 else 'block'}.{i}", p) for i, p in enumerate(params)]
    with contextlib.redirect_stdout(io.StringIO()):  # some packages print advice
        made = eval(call, {**namespace(witness), **values, "params": given})
    if hasattr(made, "train"):  # schedule-free
        made.train()
    return made


def namespace(witness: Witness) -> dict[str, ModuleType]:
    """The packages in a witness's call, with the modules of them that it names."""
    found = {}
    for name in {witness.name, *re.findall(r"torch\.optim\.\w+|optax\.\w+", witness.call)}:
        places = name.split(".")[:-1]
        elsewhere.importable(places[0])
        importlib.import_module(".".join(places))
        found[places[0]] = sys.modules[places[0]]
    return found
