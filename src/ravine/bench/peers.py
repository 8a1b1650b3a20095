"""Other packages' optimizers and the rules that take the same path, side by side in one run.

The witnesses on the rules' cards are compared: each is created as the card says, on float32 parameters,
with the rule's defaults. Rules for matrices get the matrices among the shapes. Packages that are not
installed are left out, and named.

Optimizers that decompose matrices every ten steps are compared over ten steps, and only on matrices. They are
no witnesses, because the packages differ from the rules in their first steps.
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

__all__ = ["PERIODIC", "SHAPES", "make", "namespace", "run", "run_periodic", "stepping"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]

SHAPES = ("mlp", "resnet18")
"""The shapes stepped by default."""

EVERY = 10
"""How many steps what is decomposed is used for."""

_KOZISTR = "pytorch_optimizer 4.1.0"
PERIODIC = {
    "shampoo": (
        Witness(
            _KOZISTR,
            "pytorch_optimizer.Shampoo(lr=lr, matrix_eps=eps, preconditioning_compute_steps=every)",
        ),
    ),
    "soap": (
        Witness(
            _KOZISTR,
            "pytorch_optimizer.SOAP(lr=lr, betas=(beta1, beta2), shampoo_beta=shampoo_beta, "
            "precondition_frequency=every, weight_decay=0.0)",
        ),
        Witness(
            "heavyball 3.2.1",
            "heavyball.SOAP(lr=lr, betas=(beta1, beta2), shampoo_beta=shampoo_beta, "
            "precondition_frequency=every)",
        ),
    ),
}
"""What decomposes matrices every so many steps: by rule, the optimizers of packages."""

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


def run_periodic(
    on: Iterable[str] = SHAPES,
    packages: Iterable[str] = (),
    rules: Iterable[str] = (),
    seconds: float = 1.0,
    progress: Progress = lambda _, units: units,
) -> Iterator[dict[str, Any]]:
    """The same for optimizers that decompose matrices every ten steps: on the matrices of the shapes, ten
    steps at a time, of which times are a tenth.
    """
    on, packages, rules = list(on), [*packages], [*rules]
    units = [
        {"rule": name, "witness": witness, "problem": shapes}
        for name, witnesses in PERIODIC.items()
        for witness in witnesses
        for shapes in on
        if (not packages or witness.distribution in packages) and (not rules or name in rules)
    ]
    for unit in progress("periodic", units):
        gc.collect()
        yield _row(registry.get(unit["rule"]), unit["witness"], unit["problem"], seconds, EVERY)


def _is_of_torch(witness: Witness) -> bool:
    return witness.name.partition(".")[0] not in _OF_ARRAYS


def _row(
    rule: Rule, witness: Witness, shapes: str, seconds: float, every: int = 1
) -> dict[str, Any]:
    """every: how many steps a turn has; of more than one, what is decomposed is used for as many."""
    row = {"rule": rule.name, "package": witness.package, "name": witness.name, "shapes": shapes}
    values = {**rule.check(), "every": every} if every > 1 else rule.check()
    try:
        if version(witness.distribution).partition("+")[0] != witness.version:
            return {**row, "skipped": f"{version(witness.distribution)} is installed"}
        ours = optimizer(rule)(_parameters(rule, shapes, every > 1), **rule.parts.gathered(values))
        steps: dict[str, Step] = {"ours": ours.step}
        params = _parameters(rule, shapes, every > 1)
        theirs = make(witness, values, params)
        steps["theirs"] = stepping(theirs, params)
        for loop in {"foreach", "fused"} & {*inspect.signature(type(theirs)).parameters}:
            with contextlib.suppress(RuntimeError):  # not for these options
                params = _parameters(rule, shapes, every > 1)
                again = make(witness, values, params, **{loop: True})
                steps[loop] = stepping(again, params)
        if every > 1:
            steps = {name: _several(step, every) for name, step in steps.items()}
            for step in steps.values():
                step()
        taken = take_turns(steps, seconds)
        taken = {name: [x / every for x in times] for name, times in taken.items()}
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


def _several(step: Step, many: int) -> Step:
    def steps() -> None:
        for _ in range(many):
            step()

    return steps


def _parameters(rule: Rule, shapes: str, matrices: bool = False) -> list[torch.Tensor]:
    """The shapes that the rule can step: for a rule of matrices, those that it can see as such.

    matrices: only those that are matrices.
    """
    params = contenders.parameters(shapes)
    if matrices:
        return [p for p in params if p.ndim == 2]
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
