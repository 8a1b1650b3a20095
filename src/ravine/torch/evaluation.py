"""Swaps the weights for evaluation with those in training, and back.

In the meantime, those in training are in the state, and so in checkpoints: a model that is saved during
evaluation, together with its optimizer, resumes as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ravine.engines.eager import Work
from ravine.torch import state
from ravine.torch.narrow import is_narrow
from ravine.torch.sharded import Sharded
from ravine.torch.tensors import dimensions, seen_by, single

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["KEPT", "begin", "end", "evaluating", "is_saved_in", "refusal"]

KEPT = "training_p"


def begin(optimizer: RuleOptimizer) -> None:
    """Replace the parameters by the weights for evaluation, unless that is done."""
    if optimizer._in_evaluation:
        return
    with torch.no_grad():
        found = [
            (p, view, weights)
            for group in optimizer.param_groups
            for p in group["params"]
            for view, weights in _weights(optimizer, group, p)
        ]
        for p, _, _ in found:
            optimizer.state[p][KEPT] = p.detach().clone()
        for _, view, weights in found:
            view.copy_(weights if _is_array(weights) else state.number(float(weights)))
    optimizer._in_evaluation = True


def end(optimizer: RuleOptimizer) -> None:
    """Restore the parameters in training, bit for bit, unless that is done."""
    with torch.no_grad():
        for group in optimizer.param_groups:
            for p in group["params"]:
                kept = (optimizer.state.get(p) or {}).pop(KEPT, None)
                if kept is not None:
                    p.copy_(kept)
    optimizer._in_evaluation = False


@contextmanager
def evaluating(optimizer: RuleOptimizer) -> Iterator[None]:
    """Use the weights for evaluation within this context, and restore the previous ones afterwards."""
    within = optimizer._in_evaluation
    begin(optimizer)
    try:
        yield
    finally:
        if not within:
            end(optimizer)


def refusal(optimizer: RuleOptimizer) -> RuntimeError:
    """The error for a step during evaluation."""
    return RuntimeError(
        f"{type(optimizer).__name__}: the parameters are the weights for evaluation now; take steps "
        "outside of evaluating(), or after train()"
    )


def is_saved_in(states: Any) -> bool:
    """Whether states are of parameters that are being evaluated."""
    return any(isinstance(its, dict) and KEPT in its for its in states.values())


def _weights(optimizer: RuleOptimizer, group: Any, p: torch.Tensor) -> Iterator[tuple[Any, Any]]:
    """The parameters and their weights for evaluation, if a step has been taken and these are not p
    itself.
    """
    graph, hyper = optimizer.planned(group, dimensions(p))
    rule = graph.rule
    if rule.evaluation is None or not state.is_begun(optimizer, group, graph, p):
        return
    names, its, view = (
        optimizer.spelling_of(group).state_names,
        optimizer.state[p],
        seen_by(graph, p),
    )
    slots = {slot: its[names.get(slot, slot)] for slot in graph.live}
    numbers = {k: v.item() for k, v in slots.items() if rule.slots[k].kind == "scalar"}
    # Rules evaluate with averages of weights, which are not kept in codes.
    seen = {k: view(v) for k, v in slots.items() if k not in numbers and not is_narrow(v)} | numbers
    work = single(Work(view(p.detach()), None, seen, 0, hyper))
    kept = [work.state.get(slot, 0.0) for slot in rule.slots]
    yield view(p.detach()), rule.evaluate(work.p, kept, **hyper)


def _is_array(x: Any) -> bool:
    return isinstance(x, (torch.Tensor, Sharded))
