"""Takes a kernel's step again, on a short way that notices every change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ravine.engines.eager import Work, plan
from ravine.engines.fused import Fused
from ravine.engines.graph import Graph
from ravine.torch.tensors import unfit

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["Again"]


class Again:
    """A step that one kernel took for all parameters, to be taken again as cheaply as can be.

    It holds what the kernel was given, and looks each time whether anything else than gradients
    and numbers has changed since; then it declines, and the step is worked out anew.
    """

    def __init__(self, optimizer: RuleOptimizer, graph: Graph, step: Any, groups: list[Any]):
        self.optimizer, self.graph, self.kernel, self.groups = optimizer, graph, step, groups
        self.state, self.param_groups = optimizer.state, optimizer.param_groups
        self.params = [record[0] for _, _, _, records in groups for record in records]

    @classmethod
    def of(
        cls, optimizer: RuleOptimizer, graph: Graph, members: list[Any], engines: Fused
    ) -> Again | None:
        """The step just taken, if it is of the kind that can be repeated."""
        works: dict[torch.Tensor, Work] = dict(members)
        groups: list[Any] = []
        names = optimizer.spelling.state_names
        for group in optimizer.param_groups:
            records: list[Any] = []
            for p in group["params"]:
                work = works.get(p)
                if (
                    work is None
                    or unfit(work)
                    or not (p.is_contiguous() and work.g.is_contiguous())
                ):
                    return None
                arrays = [work.state[s] for s in graph.live]
                if not all(isinstance(x, torch.Tensor) and x.is_contiguous() for x in arrays):
                    return None
                keys = [names.get(s, s) for s in graph.live]
                slots = [(key, x, x.dtype) for key, x in zip(keys, arrays, strict=True)]
                records.append((p, p.shape, p.dtype, work.g.dtype, optimizer.state[p], slots))
            counts = {works[p].t for p in group["params"]}
            values = _constants(group)
            if len(counts) != 1 or values is None:
                return None
            groups.append((group, values, optimizer._rule(group)[1], records))
        step = engines.last
        if step is None or step.kernel.graph is not graph:
            return None
        return cls(optimizer, graph, step, groups)

    def step(self) -> bool:
        """Take the step, or say False, having done nothing."""
        optimizer = self.optimizer
        if optimizer.state is not self.state or optimizer.param_groups is not self.param_groups:
            return False
        if len(self.param_groups) != len(self.groups):
            return False
        grads: list[torch.Tensor] = []
        arrays: list[list[torch.Tensor]] = []
        rows: list[tuple[int, dict[str, Any]]] = []
        all_states: Any = self.state
        for (group, values, hyper, records), now in zip(
            self.groups, self.param_groups, strict=True
        ):
            params = now["params"]
            if now is not group or len(params) != len(records):
                return False
            same = all(now.get(k) is v for k, v in values.items())
            if not same and not self._follow(now, values, hyper):
                return False
            t = records[0][4]["step"]
            for q, (p, shape, dtype, g_dtype, state, slots) in zip(params, records, strict=True):
                g = p.grad
                if q is not p or g is None or g.is_sparse or all_states.get(p) is not state:
                    return False
                if state["step"] != t or not (
                    _plain(p, shape, dtype) and _plain(g, shape, g_dtype)
                ):
                    return False
                for name, x, x_dtype in slots:
                    if state.get(name) is not x or not _plain(x, shape, x_dtype):
                        return False
                grads.append(g)
                arrays.append([x for _, x, _ in slots])
            rows.append((t + 1, hyper))
        kernel = self.kernel
        kernel.point("p", [p.data_ptr() for p in self.params])
        kernel.point("g", [g.data_ptr() for g in grads])
        for slot, column in zip(self.graph.live, zip(*arrays, strict=True), strict=False):
            kernel.point(slot, [x.data_ptr() for x in column])
        for i, (_, _, _, records) in enumerate(self.groups):
            t, hyper = rows[i]
            kernel.set_group(i, [t if name == "t" else hyper[name] for name in kernel.inputs])
            for record in records:
                record[4]["step"] = t
        kernel.run()
        torch.autograd.graph.increment_version(self.params)
        return True

    def _follow(self, group: dict[str, Any], values: dict[str, Any], hyper: dict[str, Any]) -> bool:
        """Take over a group's new options, as a scheduler sets them, if the kernel stays the same."""
        new = _constants(group)
        if new is None:
            return False
        rule, now = self.optimizer._rule(group)
        if plan(rule, now) is not self.graph:
            return False
        values.clear()
        values.update(new)
        hyper.clear()
        hyper.update(now)
        return True


def _plain(x: torch.Tensor, shape: torch.Size, dtype: torch.dtype) -> bool:
    return x.dtype is dtype and x.shape == shape and x.is_cpu and x.is_contiguous()


def _constants(group: dict[str, Any]) -> dict[str, Any] | None:
    """A group's options, if none of them can change without being replaced."""
    options = {k: v for k, v in group.items() if k not in ("params", "param_names")}
    parts = (x for v in options.values() for x in (v if isinstance(v, tuple) else (v,)))
    fixed = (bool, int, float, str, type(None))
    return options if all(isinstance(x, fixed) for x in parts) else None
