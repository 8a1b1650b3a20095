"""The weights to evaluate with, in the place of those in training, and back.

Those in training are kept in the state meanwhile, where a checkpoint has them: a model that was saved
while it was evaluated, and its optimizer with it, go on as if nothing had happened.
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
    """Put the weights to evaluate with in the place of the parameters; nothing, where they are there."""
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
    """Put the parameters that were in training back, bit for bit; nothing, where they are there."""
    with torch.no_grad():
        for group in optimizer.param_groups:
            for p in group["params"]:
                kept = (optimizer.state.get(p) or {}).pop(KEPT, None)
                if kept is not None:
                    p.copy_(kept)
    optimizer._in_evaluation = False


@contextmanager
def evaluating(optimizer: RuleOptimizer) -> Iterator[None]:
    """Have the weights to evaluate with in place within it, and what was there before it afterwards."""
    within = optimizer._in_evaluation
    begin(optimizer)
    try:
        yield
    finally:
        if not within:
            end(optimizer)


def refusal(optimizer: RuleOptimizer) -> RuntimeError:
    """What to raise where a step is to be taken meanwhile."""
    return RuntimeError(
        f"{type(optimizer).__name__}: the parameters are the weights to evaluate with; take steps "
        "outside of evaluating(), or after train()"
    )


def is_saved_in(states: Any) -> bool:
    """Whether states are of parameters that are being evaluated."""
    return any(isinstance(its, dict) and KEPT in its for its in states.values())


def _weights(optimizer: RuleOptimizer, group: Any, p: torch.Tensor) -> Iterator[tuple[Any, Any]]:
    """Where the weights to evaluate with go, and what they are, if a step has been taken and if they are
    not p itself.
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
