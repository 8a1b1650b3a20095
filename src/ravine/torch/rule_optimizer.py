"""A torch.optim.Optimizer that steps by a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, overload

import torch

from ravine.engines.eager import Work, plan
from ravine.engines.fused import Fused, check_engine, describe, insist, refusal
from ravine.engines.graph import Graph
from ravine.rule import Rule
from ravine.spellings import Spelling
from ravine.torch.repeat import Again
from ravine.torch.tensors import dtype_name, single, unfit

__all__ = ["RuleOptimizer"]


class RuleOptimizer(torch.optim.Optimizer):
    """A torch.optim.Optimizer that steps by a rule. Made by :func:`optimizer`.

    engine: "auto" steps by a fused CPU kernel where the rule and the tensors allow, and calls the
    rule where not; "kernel" refuses what a kernel cannot do; "eager" always calls the rule.
    """

    spelling: ClassVar[Spelling]
    _engine = "auto"
    _again: Again | None = None

    def __init__(self, params: Any, defaults: dict[str, Any], engine: str = "auto") -> None:
        name = type(self).__name__
        self._engine = check_engine(engine, name)
        super().__init__(_checked(params, name), defaults)

    @property
    def engine(self) -> str:
        """Which engine steps, and why: "kernel", or "eager: ..." with the reason.

        Where some tensors cannot take part in the kernel, it says how many and why.
        """
        graphs, whys = [], []
        for group in self.param_groups:
            rule, hyper = self._rule(group)
            graphs.append(plan(rule, hyper))
            for p in group["params"]:
                slots = {k: v for k, v in self.state.get(p, {}).items() if k != "step"}
                whys.append(unfit(Work(p, p.grad, slots, 0, hyper)))
        return describe(self._engine, graphs, whys)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own; the rest are the optimizer's defaults.

        Raises ValueError for a parameter that is not a leaf, and for an option out of range.
        """
        name = type(self).__name__
        options = {**self.defaults, **param_group}
        self.spelling.check(options)
        for refused in ("capturable", "differentiable"):
            if options.get(refused):
                raise ValueError(
                    f"{name}: {refused}=True is not supported; it is False or left out"
                )
        super().add_param_group(
            {**param_group, "params": list(_leaves(param_group["params"], name))}
        )
        insist(self._engine, plan(*self._rule(self.param_groups[-1])), name)

    @overload
    def step(self, closure: None = ...) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with the gradients that the parameters have; those without are left alone.

        closure: reevaluates the model and returns the loss, which step returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._again is None or not self._again.step():
            self._again = None
            with torch.no_grad():
                self._step()
        return loss

    def _step(self) -> None:
        # One list per graph: groups may choose different rules, or other switches, by their options.
        todo: dict[Graph, list[tuple[torch.Tensor, Work]]] = {}
        for group in self.param_groups:
            rule, hyper = self._rule(group)
            graph = plan(rule, hyper)
            members = todo.setdefault(graph, [])
            for p in group["params"]:
                if p.grad is not None:
                    members.append((p, self._work(rule, graph, hyper, p)))
        for graph in todo:
            if graph.uses("total") and sum(other.rule is graph.rule for other in todo) > 1:
                raise ValueError(
                    f"{type(self).__name__}: {graph.rule.name!r} looks at all tensors at once, so "
                    "a switch must be on or off for all tensors alike; the param groups differ"
                )
        engines = self.__dict__.setdefault(
            "_engines", Fused(torch.Tensor.data_ptr, dtype_name, unfit, single)
        )
        for graph, members in todo.items():
            works = [work for _, work in members]
            results = engines.take(graph, works, self._engine, type(self).__name__)
            for (p, _), (new_p, new_state) in zip(members, results, strict=True):
                if new_p is None:
                    torch.autograd.graph.increment_version(p)  # the kernel wrote to its memory
                else:
                    p.copy_(new_p)
                self._store(p, new_state)
        if len(todo) == 1 and self._engine != "eager" and not refusal(graph):
            self._again = Again.of(self, graph, members, engines)

    def _rule(self, group: dict[str, Any]) -> tuple[Rule, dict[str, Any]]:
        rule, hyper = self.spelling.compose(group)
        return rule, {k: v.item() if isinstance(v, torch.Tensor) else v for k, v in hyper.items()}

    def _work(self, rule: Rule, graph: Graph, hyper: dict[str, Any], p: torch.Tensor) -> Work:
        g, state = p.grad, self.state[p]
        assert g is not None
        if g.shape != p.shape:
            raise ValueError(
                f"{type(self).__name__}: a gradient has shape {tuple(g.shape)} and its parameter "
                f"{tuple(p.shape)}; they must be the same (was the parameter's data replaced?)"
            )
        if g.is_sparse or p.is_complex():
            kind = "a sparse gradient" if g.is_sparse else "complex"
            raise RuntimeError(
                f"{type(self).__name__}: a parameter is {kind}; dense real ones are accepted"
            )
        # torch's SGD saves a buffer and no count: there the first step has been taken.
        taken = state.get("step")
        if taken is None:
            taken = any(v is not None for v in state.values())
        state["step"] = int(taken) + 1
        names = self.spelling.state_names
        slots: dict[str, Any] = {}
        for slot in graph.live:
            key = names.get(slot, slot)
            if state.get(key) is None:
                state[key] = rule.slots[slot].init(p.detach())
            slots[slot] = state[key]
        return Work(p, g, slots, state["step"], hyper)

    def _store(self, p: torch.Tensor, new_state: dict[str, Any]) -> None:
        state, names = self.state[p], self.spelling.state_names
        for slot, value in new_state.items():
            key = names.get(slot, slot)
            if isinstance(state[key], torch.Tensor):
                state[key].copy_(value)
            else:
                state[key] = float(value)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_engine": self._engine}

    def __repr__(self) -> str:
        return f"{super().__repr__()}\nengine: {self.engine}"


def _checked(params: Any, name: str) -> list[Any]:
    accepted = (
        "an iterable of tensors, of (name, tensor) pairs or of dicts, such as model.parameters()"
    )
    if isinstance(params, (torch.Tensor, dict, str)) or not isinstance(params, Iterable):
        raise TypeError(f"{name}: params is a {type(params).__name__}; it must be {accepted}")
    groups = list(params)
    if not groups:
        raise ValueError(
            f"{name}: params is empty; it must be {accepted} that is not empty (or used up)"
        )
    return groups


def _leaves(params: Any, name: str) -> Iterator[Any]:
    for i, entry in enumerate([params] if isinstance(params, torch.Tensor) else params):
        p = entry[1] if isinstance(entry, tuple) else entry
        if isinstance(p, torch.Tensor) and not (p.is_leaf or p.retains_grad):
            raise ValueError(
                f"{name}: params[{i}], of shape {tuple(p.shape)}, is not a leaf: it was computed by "
                f"{p.grad_fn.name() if p.grad_fn else 'another tensor'}; parameters must be leaf tensors, "
                "made by nn.Parameter or detach().requires_grad_()"
            )
        yield entry
