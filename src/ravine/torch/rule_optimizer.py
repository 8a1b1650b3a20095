"""A torch.optim.Optimizer that steps by a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

import torch
from torch.optim.optimizer import _global_optimizer_post_hooks as _after_all
from torch.optim.optimizer import _global_optimizer_pre_hooks as _before_all

from ravine.engines.eager import Work, plan
from ravine.engines.fused import Fused, describe, insist
from ravine.engines.graph import Graph
from ravine.modifiers import clip_by_value, unscale
from ravine.rule import RuleError
from ravine.spellings import Spelling
from ravine.torch import checkpoints
from ravine.torch.bound import Bound, CallPart, KernelPart, Member
from ravine.torch.checks import (
    How,
    check_options,
    checked_groups,
    checked_how,
    checked_parameters,
)
from ravine.torch.layers import settled
from ravine.torch.sharded import alike, is_spread, refusal
from ravine.torch.tensors import as_real, dtype_name, seen_by, single, unfit

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ravine.torch.in_backward import InBackward

__all__ = ["RuleOptimizer"]

_unscaled, _clipped = cache(unscale), cache(clip_by_value)  # traced and compiled once for each rule


Loss = TypeVar("Loss")


class RuleOptimizer(torch.optim.Optimizer):
    """A torch.optim.Optimizer that steps by a rule. Made by :func:`optimizer`.

    Besides the rule's hyperparameters it takes the keywords of :class:`How`: engine, state_dtype,
    stochastic_rounding and grad_norm.
    """

    spelling: ClassVar[Spelling]
    _how: Mapping[str, Any] = {}
    _bound: Bound | None = None
    _in_backward: InBackward | None = None

    def __init__(self, params: Any, defaults: dict[str, Any], **how: Unpack[How]) -> None:
        name = type(self).__name__
        self._how = checked_how(how, name)
        if defaults.get("differentiable") and (
            how.get("engine") == "kernel" or "seed" in self._how
        ):
            raise ValueError(
                f"{name}: differentiable=True needs engine='eager' or 'auto', and no stochastic_rounding: "
                "autograd cannot see through a kernel"
            )
        # By name, here and in __setstate__: next in line is torch's class of this name, as classes.py says.
        torch.optim.Optimizer.__init__(self, checked_groups(params, name), defaults)

    @property
    def engine(self) -> str:
        """Which engine steps, and why: "kernel", or "eager: ..." with the reason.

        Where some tensors cannot take part in the kernel, it says how many and why.
        """
        if self._differentiable:
            return "eager: differentiable"
        graphs, whys = [], []
        for group in self.param_groups:
            for p in group["params"]:
                graph, hyper = self.planned(group, p)
                graphs.append(graph)
                view = seen_by(graph, p)
                slots = {k: view(v) for k, v in self.state.get(p, {}).items() if k != "step"}
                g = None if p.grad is None or p.grad.is_sparse else p.grad
                whys.append(unfit(Work(view(p), view(g), slots, 0, hyper)))
        return describe(self._wanted, graphs, whys)

    @property
    def _wanted(self) -> str:
        return "eager" if self._differentiable else self._how.get("engine", "auto")

    @property
    def _differentiable(self) -> bool:
        """Whether autograd is to see through the steps."""
        return bool(self.defaults.get("differentiable"))

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether torch.amp.GradScaler hands its scale over, for the step to divide by on the way.

        As in torch, with fused=True only: Lightning takes it to mean that gradients cannot be clipped.
        (And where steps are taken in backward, which then refuse the scaler.)
        """
        return bool(self.defaults.get("fused")) or self._in_backward is not None

    @property
    def seed(self) -> int | None:
        """The seed of stochastic rounding; None where it is off."""
        return self._how.get("seed")

    @property
    def last_grad_norm(self) -> float:
        """The Euclidean norm of all gradients in the last step, divided by `grad_scale` where that
        was set, before anything else was done to them.

        Summed by the kernels on their way; of tensors that are stepped eagerly when it is asked for.
        RuntimeError without grad_norm=True, and before the first step.
        """
        name = type(self).__name__
        if not self._how.get("grad_norm"):
            raise RuntimeError(f"{name}: last_grad_norm needs {name}(..., grad_norm=True)")
        last = self._in_backward or self._bound
        norm = last.grad_norm() if last is not None else None
        if norm is None:
            raise RuntimeError(f"{name}: last_grad_norm: no step has been taken yet")
        return norm

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own; the rest are the optimizer's defaults.

        Raises ValueError for a parameter that is not a leaf, and for an option out of range.
        """
        name = type(self).__name__
        if not isinstance(param_group, dict):
            raise TypeError(
                f"{name}: a param group is a {type(param_group).__name__}; it must be a dict, such as "
                '{"params": [...], "lr": 0.1}'
            )
        param_group = dict(settled(param_group, self.defaults, name))
        options = {**self.defaults, **param_group}
        self.spelling_of(options).check(options)
        check_options(options, name, self._differentiable)
        params = checked_parameters(
            param_group, self.param_groups, self.spelling_of(options), name, self._differentiable
        )
        super().add_param_group({**param_group, "params": params})
        group = self.param_groups[-1]
        for p in group["params"]:
            insist(self._wanted, self.planned(group, p)[0], name)

    def spelling_of(self, group: Mapping[str, Any]) -> Spelling:
        """What a group's options and state are called: the class's spelling."""
        return self.spelling

    @overload
    def step(self, closure: None = ...) -> None: ...
    @overload
    def step(self, closure: Callable[[], Loss]) -> Loss: ...

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the gradients that the parameters have; those without are left alone.

        closure: reevaluates the model and returns the loss, which step returns. The gradients are
        never changed. Where `grad_scale` is set, as torch.amp.GradScaler does, they are divided by
        it on the way; where `found_inf` is set and not zero, no step is taken.
        """
        if torch.compiler.is_compiling():
            return _outside_of_graphs(self, closure)
        if (
            _before_all
            or _after_all
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or torch.autograd._profiler_enabled()
        ):
            return self._watched_step(closure)
        return self._bare_step(closure)

    # torch wraps step to call the hooks and to tell the profiler, at a cost of several kernels.
    step.hooked = True  # type: ignore[attr-defined]

    def _bare_step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._in_backward is not None:
            self._in_backward.finish()
            return loss
        if self.__dict__.get("found_inf"):
            return loss
        bound = self._bound
        if bound is None or not bound.ready():
            with torch.set_grad_enabled(self._differentiable):
                bound = self._bound = self._bind()
        if bound.calls:
            with torch.set_grad_enabled(self._differentiable):
                bound.run()
        else:
            bound.run()
        return loss

    _watched_step = torch.optim.Optimizer.profile_hook_step(_bare_step)

    def _bind(self) -> Bound:
        """Look at every group, parameter and gradient, and find out what steps what."""
        groups = enumerate(self.param_groups)
        chosen = ((i, p) for i, group in groups for p in group["params"] if p.grad is not None)
        return Bound(self, *self._parts(chosen))

    def _parts(
        self, chosen: Iterable[tuple[int, torch.Tensor]]
    ) -> tuple[list[KernelPart], list[CallPart]]:
        """What steps these parameters; each comes with its group's number, and has a gradient."""
        plans: dict[tuple[int, int | None], tuple[Graph, dict[str, Any]]] = {}
        # One list per graph: groups may choose different rules, or other switches, by their options.
        todo: dict[Graph, list[Member]] = {}
        for number, p in chosen:
            group = self.param_groups[number]
            key = number, p.ndim if self.spelling_of(group).by_ndim else None
            if key not in plans:
                plans[key] = self.planned(group, p)
            graph, hyper = plans[key]
            todo.setdefault(graph, []).append(self._member(number, group, graph, hyper, p))
        for graph in todo:
            if graph.uses("total") and sum(other.rule is graph.rule for other in todo) > 1:
                raise ValueError(
                    f"{type(self).__name__}: {graph.rule.name!r} looks at all tensors at once, so "
                    "a switch must be on or off for all tensors alike; the param groups differ"
                )
        kernels: list[KernelPart] = []
        calls: list[CallPart] = []
        for graph, members in todo.items():
            works = [m.work for m in members]
            whys = self._engines.unfits(graph, works, self._wanted, type(self).__name__)
            fit = [m for m, why in zip(members, whys, strict=True) if not why]
            rest = [m for m, why in zip(members, whys, strict=True) if why]
            if fit:
                step, rows = self._engines.bind(graph, [m.work for m in fit])
                kernels.append(KernelPart(graph, step, fit, rows))
            if rest:
                calls.append(CallPart(graph, rest, self._differentiable))
        if calls and self.seed is not None:
            raise RuleError(
                f"{type(self).__name__}: stochastic_rounding needs a kernel for every parameter; "
                f"the engine is {self.engine!r}"
            )
        return kernels, calls

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, as torch.optim does; those that are accumulated in backward, too."""
        super().zero_grad(set_to_none)
        if self._in_backward is not None:
            self._in_backward.forget()

    @property
    def _engines(self) -> Fused:
        if "_fused" not in self.__dict__:
            seeded, squares = self.seed is not None, bool(self._how.get("grad_norm"))
            address = torch.Tensor.data_ptr
            self._fused = Fused(address, dtype_name, unfit, single, seeded, squares)
        return self._fused

    def planned(
        self, group: Mapping[str, Any], p: torch.Tensor | None = None
    ) -> tuple[Graph, dict[str, Any]]:
        """The graph of the rule that a group's options ask for (for p), and its hyperparameters."""
        spelling = self.spelling_of(group)
        rule, hyper = spelling.compose(group, p.ndim if p is not None else None)
        clip = self._in_backward.clip_value if self._in_backward is not None else None
        if clip is not None:
            rule, hyper = _clipped(rule), {**hyper, "clip_value": clip}
        scale = self.__dict__.get("grad_scale")
        if scale is not None:
            rule, hyper = _unscaled(rule), {**hyper, "grad_scale": scale}
        if not self._differentiable:
            hyper = {k: v.item() if isinstance(v, torch.Tensor) else v for k, v in hyper.items()}
        return plan(rule, hyper), hyper

    def _member(
        self,
        number: int,
        group: Mapping[str, Any],
        graph: Graph,
        hyper: dict[str, Any],
        p: torch.Tensor,
    ) -> Member:
        g, state = p.grad, self.state[p]
        assert g is not None
        if g.shape != p.shape:
            raise ValueError(
                f"{type(self).__name__}: a gradient has shape {tuple(g.shape)} and its parameter "
                f"{tuple(p.shape)}; they must be the same (was the parameter's data replaced?)"
            )
        keys, taken = self._begun(group, graph, hyper, p)
        slots = {slot: state[key] for slot, key in keys.items()}
        rows, view = None, seen_by(graph, p)
        if why := refusal(p, graph, self._differentiable, bool(self._how.get("grad_norm"))):
            raise ValueError(f"{type(self).__name__}: {why}")
        if is_spread(p):
            g = alike(g, p)
        elif g.is_sparse:
            g, rows = self._rows(graph, g)

            def view(x: Any) -> Any:
                return as_real(x[rows]) if isinstance(x, torch.Tensor) else x

        elif self._differentiable:

            def view(x: Any) -> Any:  # p itself changes in place afterwards
                return as_real(p.clone() if x is p else x)

        g, slots = seen_by(graph, p)(g), {k: view(x) for k, x in slots.items()}
        work = Work(view(p), g, slots, taken + 1, hyper)
        return Member(p, number, work, state, keys, rows)

    def _begun(
        self, group: Mapping[str, Any], graph: Graph, hyper: dict[str, Any], p: torch.Tensor
    ) -> tuple[dict[str, str], int]:
        """What the slots are called in a parameter's state, begun where it is new; the steps taken."""
        state = self.state[p]
        spelling = self.spelling_of(group)
        keys = {slot: spelling.state_names.get(slot, slot) for slot in graph.live}
        taken = state.get("step")
        if not spelling.step and keys:
            # Where torch keeps no count, it goes by what there is: without a buffer, this is the first step.
            begun = all(state.get(key) is not None for key in keys.values())
            taken = max(1, taken or 0) if begun else 0
        taken = state["step"] = int(taken or 0)
        for slot, key in keys.items():
            if state.get(key) is None:
                state[key] = checkpoints.started(self, graph.rule.slots[slot], p, hyper)
            kept = graph.rule.slots[slot]
            if kept.kind != "scalar" and kept.axis is None and state[key].shape != p.shape:
                raise ValueError(
                    f"{type(self).__name__}: a parameter has shape {tuple(p.shape)} and its {key!r} "
                    f"{tuple(state[key].shape)}; was it resized? del optimizer.state[parameter] begins anew"
                )
        return keys, taken

    def _rows(self, graph: Graph, g: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The values of a sparse gradient, and where they stand: only these elements are stepped."""
        if not graph.pointwise:
            raise RuntimeError(
                f"{type(self).__name__}: a gradient is sparse, and {graph.rule.name!r} looks at whole "
                "tensors; sparse gradients are accepted by rules that work element by element"
            )
        g = g.coalesce()
        return g.values(), tuple(g.indices())

    def state_dict(self) -> dict[str, Any]:
        """The state as torch's class of that name saves it; as torch.optim.Optimizer.state_dict.

        The state of a rule's own class has its slots under their own names, and "step".
        """
        with checkpoints.saving(self):
            return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state_dict of this class or of torch's: options and state, in the dtypes they have.

        By the names of the parameters where both have some, as made with model.named_parameters();
        by their order otherwise. Options that the checkpoint has not stay as they are. Raises
        ValueError, and loads nothing, if it is of other parameters, groups, shapes or options.
        """
        with checkpoints.loading(self):
            super().load_state_dict(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_how": self._how}

    def __setstate__(self, state: dict[str, Any]) -> None:
        torch.optim.Optimizer.__setstate__(self, state)

    def __repr__(self) -> str:
        return f"{super().__repr__()}\nengine: {self.engine}"


@torch._disable_dynamo  # imports torch._dynamo when called; torch.compiler.disable now: two seconds
def _outside_of_graphs(optimizer: RuleOptimizer, closure: Any) -> Any:
    return optimizer.step(closure)
