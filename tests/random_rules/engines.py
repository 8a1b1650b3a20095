"""The engines that step a case, each in its own way; and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gpu
import numpy as np
import torch

import ravine.numpy
import ravine.torch
from random_rules.cases import DTYPES, Case, Tensor
from ravine import ops
from ravine.engines.eager import plan
from ravine.engines.python import kernel_source

ALSO: Sequence[str] = ()
"""Engines that take longer: "gpu"."""

Answer = list[dict[str, Any]]
"""For each tensor: the elements of p and of the array slots in float64, flat; other slots as floats."""


def run(engine: str, case: Case) -> Answer:
    """The state after the last step, by one of ENGINES."""
    with np.errstate(all="ignore"):
        return ENGINES[engine](case)


def engines(case: Case) -> Iterator[str]:
    """Those that can step the case."""
    yield from ("kernel", "eager", *ALSO)
    if case.groups == 1 and case.dtype != "bfloat16" and not case.state_dtype:
        yield from ("numpy kernel", "numpy eager")
        if case.dtype == "float64" and not case.rule.uses("total"):
            yield "printed"
        if case.dtype == "float64" and all(t.shape == () for t in case.tensors):
            yield "floats"


@contextmanager
def threads(many: int) -> Iterator[None]:
    """So many threads for kernels and for torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(many)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tensor(case: Case, tensor: Tensor, step: int) -> torch.Tensor | None:
    row = case.row(tensor, step)
    if row is None:
        return None
    whole = torch.tensor(row, dtype=DTYPES[case.dtype])[torch.from_numpy(tensor.places)]
    return whole.reshape(tensor.shape)


def in_torch(case: Case, engine: str) -> Answer:
    """By ravine.torch."""
    params = [_tensor(case, t, -1).requires_grad_() for t in case.tensors]
    groups = [
        {"params": [p for p, t in zip(params, case.tensors, strict=True) if t.group == group]}
        | case.options(0, group)
        for group in range(case.groups)
    ]
    how: Any = {"state_dtype": DTYPES[case.state_dtype]} if case.state_dtype else {}
    optimizer = ravine.torch.optimizer(case.rule.made)(groups, engine=engine, **how)
    for step in range(case.steps):
        for group, options in enumerate(optimizer.param_groups):
            options.update(case.options(step, group))
        for p, tensor in zip(params, case.tensors, strict=True):
            p.grad = _tensor(case, tensor, step)
        optimizer.step()
    return [_answer(case, p.detach(), optimizer.state.get(p, {})) for p in params]


def in_blocks(case: Case) -> Answer:
    """By the passes for a GPU, which are run here; eager, if it has none for the rule."""
    with gpu.stand_in(gpu.Gpu(threads=32)):
        return in_torch(case, "auto")


def in_numpy(case: Case, engine: str, kind: Callable[[np.ndarray], Any] = np.array) -> Answer:
    """By ravine.numpy. kind: what the parameters and gradients are."""

    def arrays(step: int) -> list[Any]:
        tensors = [_tensor(case, t, step) for t in case.tensors]
        return [None if x is None else kind(x.numpy()) for x in tensors]

    made = ravine.numpy.optimizer(case.rule.made)
    optimizer = made(arrays(-1), engine=engine, **case.options(0, 0))
    for step in range(case.steps):
        optimizer.options.update(case.options(step, 0))
        params = optimizer.step(arrays(step))
    states = [optimizer.state.get(f"params[{i}]", {}) for i in range(len(params))]
    return [_answer(case, p, state) for p, state in zip(params, states, strict=True)]


def printed(case: Case) -> Answer:
    """By the function that `ravine show --kernel` prints, tensor by tensor, on NumPy's numbers."""
    rule, answers = case.rule.made, []
    for tensor in case.tensors:
        p, state, t = _tensor(case, tensor, -1).numpy(), {}, 0
        for step in range(case.steps):
            hyper = case.options(step, tensor.group)
            g = _tensor(case, tensor, step)
            if g is None or not tensor.size:
                continue
            graph, t = plan(rule, hyper), t + 1
            if not state:
                begun = {s: slot.init(p, **hyper) for s, slot in rule.slots.items()}
                state = {s: np.asarray(x)[()] for s, x in begun.items()}
            space = {name: getattr(ops, name) for name in ops.__all__}
            exec(kernel_source(graph), space)
            given = {"p": p, "g": g.numpy(), **state, "t": np.float64(t)}
            given |= {k: np.float64(v) for k, v in hyper.items()}
            function = space["found"]
            names = function.__code__.co_varnames[: function.__code__.co_argcount]
            with ops.typed_like(p):
                result = function(*(given[name] for name in names))
            new = dict(
                zip(graph.live_outputs(), (result if graph.live else (result,)), strict=True)
            )
            p = np.broadcast_to(np.asarray(new.pop("p"), p.dtype), p.shape)
            for slot, value in new.items():
                array = not case.rule.is_scalar(slot)
                value = np.asarray(value, p.dtype)
                state[slot] = np.broadcast_to(value, p.shape) if array else np.float64(value)
        live = set(plan(rule, case.options(case.steps - 1, tensor.group)).live)
        answers.append(_answer(case, p, {k: v for k, v in state.items() if k in live}))
    return answers


def _answer(case: Case, p: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    answer = {"p": _flat(p)}
    for slot in case.rule.slots:
        if slot in state:
            whole = _flat(state[slot])
            answer[slot] = whole.item() if case.rule.is_scalar(slot) else whole
    return answer


def _flat(x: Any) -> np.ndarray:
    x = x.detach().double().numpy() if isinstance(x, torch.Tensor) else x
    return np.array(x, np.float64).ravel()


ENGINES: Mapping[str, Callable[[Case], Answer]] = {
    "kernel": lambda case: in_torch(case, "kernel"),
    "eager": lambda case: in_torch(case, "eager"),
    "gpu": in_blocks,
    "numpy kernel": lambda case: in_numpy(case, "kernel"),
    "numpy eager": lambda case: in_numpy(case, "eager"),
    "printed": printed,
    "floats": lambda case: in_numpy(case, "eager", float),
}
