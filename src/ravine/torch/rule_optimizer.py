"""A torch.optim.Optimizer that steps by a rule."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

import torch
from torch.optim.optimizer import _global_optimizer_post_hooks as _after_all
from torch.optim.optimizer import _global_optimizer_pre_hooks as _before_all

from ravine.engines.eager import plan
from ravine.engines.fused import insist
from ravine.engines.graph import Graph
from ravine.engines.narrow import EIGHT_BITS, narrow
from ravine.modifiers import clip_by_value, unscale
from ravine.rule import Rule, kept
from ravine.spellings import Spelling
from ravine.torch import amp, checkpoints, evaluation, in_use, members, places, state
from ravine.torch.bound import ELSEWHERE, Bound
from ravine.torch.checks import (
    HowAll,
    check_offload,
    check_options,
    checked_groups,
    checked_how,
    checked_parameters,
)
from ravine.torch.exchange import KERNELS
from ravine.torch.flat import Flat
from ravine.torch.layers import settled
from ravine.torch.offload import Mirror, Offload
from ravine.torch.options import Options, checked_names, with_numbers
from ravine.torch.signals import NOTHING, Given, given
from ravine.torch.state import State
from ravine.torch.stepping import Wave
from ravine.torch.tensors import dimensions
from ravine.torch.zeroing import Callers, checked_zero_grad, fill

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ravine.torch.in_backward import InBackward

__all__ = ["RuleOptimizer"]


# torch excludes it from compilation, for which it imports the compiler at the first call: two seconds, and
# frames that hold the optimizer until a garbage collection.
_add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)


def _check(kind: type[RuleOptimizer], differentiable: bool, options: Mapping[str, Any]) -> None:
    kind.spelling_of(options).check(options)
    check_options(options, kind.__name__, differentiable)


def _wrapped(modifier: Callable[[Rule], Rule], rule: Rule) -> Rule:
    """The rule modified; traced and compiled once."""
    return kept(rule, modifier, lambda: modifier(rule))


Loss = TypeVar("Loss")


class RuleOptimizer(torch.optim.Optimizer):
    """A torch.optim.Optimizer that takes the steps of a rule. Made by :func:`optimizer`.

    In addition to the rule's hyperparameters, it takes the keywords of :class:`HowAll`: engine,
    state_dtype, stochastic_rounding, seed, grad_norm, gram, flatten, offload and capturable.
    """

    spelling: ClassVar[Spelling]
    state: State
    _how: Mapping[str, Any] = {}
    _bound: Bound | None = None
    _bounds: dict[tuple[frozenset[str], bool], Bound]
    called_elsewhere = (
        False  # whether the last step was by calls, since another process needed them
    )
    _flat: Flat | None = None
    _offload: Offload | None = None
    _in_backward: InBackward | None = None
    _last_step_skipped: bool | torch.Tensor = False
    _tried = False
    _in_evaluation = False

    def __init__(self, params: Any, defaults: dict[str, Any], **how: Unpack[HowAll]) -> None:
        name = type(self).__name__
        self._how = checked_how(how, name, defaults)
        kernels = how.get("engine") == "kernel" or self.stochastic or self._how["flatten"]
        if self._how["offload"]:
            self._offload = Offload()
            check_offload(name, defaults)
        if defaults.get("differentiable") and kernels:
            raise ValueError(
                f"{name}: differentiable=True needs engine='eager' or 'auto', and no stochastic_rounding or "
                "flatten: autograd cannot see through a kernel"
            )
        if defaults.get("differentiable") and self.eight_bits:
            raise ValueError(
                f"{name}: differentiable=True and state_dtype={EIGHT_BITS!r} are mutually exclusive: "
                "autograd cannot see through codes"
            )
        defaults = with_numbers(defaults, defaults)
        if defaults:  # even if every group overrides them
            _check(type(self), bool(defaults.get("differentiable")), defaults)
        self._bounds = {}
        if self._how["flatten"]:
            self._flat = Flat()
        # By name, here and in __setstate__: next in line is torch's class of this name, as classes.py says.
        torch.optim.Optimizer.__init__(self, checked_groups(params, name), defaults)
        graphs = [self.planned(group, 2)[0] for group in self.param_groups]
        if self._how["gram"] and not any(graph.uses("newton_schulz") for graph in graphs):
            raise ValueError(
                f"{name}: gram=True does nothing without Newton-Schulz steps; leave it out"
            )
        if self.eight_bits and not any(map(narrow, graphs)):
            raise ValueError(
                f"{name}: state_dtype={EIGHT_BITS!r} does nothing: none of its state is a running mean that "
                "8 bits suffice for; leave it out"
            )

    @property  # type: ignore[no-redef]
    def state(self) -> State:
        """The state of each parameter, by parameter. Replacing it with a new dict resets the optimizer."""
        state: State = self.__dict__["state"]
        return state

    @state.setter  # type: ignore[override]
    def state(self, states: Mapping[Any, dict[str, Any]]) -> None:
        if isinstance(states, State) and states.is_of(self):
            self.__dict__["state"] = states
            return
        self.__dict__["state"] = State(self, states)
        self.unbind()

    @property
    def engine(self) -> str:
        """The engine in use, and why: "kernel", or "eager: ..." with the reason.

        If the kernel cannot step some of the tensors, it says how many and why.
        """
        return in_use.engine(self)

    @property
    def _wanted(self) -> str:
        return "eager" if self._differentiable else self._how.get("engine", "auto")

    @property
    def _differentiable(self) -> bool:
        """Whether autograd sees through the steps."""
        return bool(self.defaults.get("differentiable"))

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether torch.amp.GradScaler passes its scale on, and the step divides by it.

        As in torch, only with fused=True, because Lightning takes this to mean that gradients cannot be
        clipped; with capturable=True on GPUs; and for a step that fills gradients with zeros, whether it is
        skipped or not. Not while `step` is replaced: accelerate concludes that a step was skipped if it was
        not called. (Also if steps are taken in backward, which then reject the scaler.)
        """
        frame = sys._getframe(1)
        if amp.asks(frame):
            self._last_step_skipped = True  # until the scaler calls step
        wanted = bool(self.defaults.get("fused")) or amp.zeroes(frame) or self._is_captured
        fused = wanted and not amp.is_replaced(self, self.step)
        return fused or self._in_backward is not None

    @property
    def _is_captured(self) -> bool:
        """Whether steps may be captured: with capturable=True, on GPUs."""
        return places.asked(self) == "capturable" and all(
            places.place(p.device) is not None
            for group in self.param_groups
            for p in group["params"]
        )

    @property
    def eight_bits(self) -> bool:
        """Whether state is stored in 8 bits if possible."""
        return bool(self._how.get("state_dtype") == EIGHT_BITS)

    @property
    def seed(self) -> int:
        """The seed of all random numbers, including those of stochastic rounding."""
        return self._how.get("seed", 0)

    @property
    def stochastic(self) -> bool:
        """Whether rounding is stochastic."""
        return bool(self._how.get("stochastic"))

    @property
    def last_grad_norm(self) -> float:
        """The Euclidean norm of all gradients in the last step, divided by `grad_scale` if that was
        set, and before any other change to them.

        The kernels compute it during the step; for tensors stepped by the eager engine, it is
        computed on access. RuntimeError without grad_norm=True, and before the first step.
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
        """Add parameters, optionally with their own options; missing ones are the optimizer's defaults.

        Raises ValueError for a parameter that is not a leaf, and for an option out of range.
        """
        name = type(self).__name__
        if not isinstance(param_group, dict):
            raise TypeError(
                f"{name}: a param group is a {type(param_group).__name__}; it must be a dict, such as "
                '{"params": [...], "lr": 0.1}'
            )
        param_group = dict(settled(param_group, self.defaults, name))
        given = with_numbers(param_group, {*self.known(param_group)})
        spelling = self.spelling_of({**self.defaults, **given})
        options = spelling.with_parts(self.defaults, given)
        checked_names({*options}, {*self.known(options)}, name)
        self.check(options)
        params = checked_parameters(
            param_group, self.param_groups, spelling, name, self._differentiable
        )
        _add_param_group(self, {**options, "params": params})
        group = self.param_groups[-1] = self._group(self.param_groups[-1])
        if self._flat is not None:
            self._flat.pending = True
        for p in group["params"]:
            if self._offload is not None:
                self._offload.check(p, name)
        for ndim in dict.fromkeys(map(dimensions, group["params"])):
            insist(self._wanted, self.planned(group, ndim)[0], name)

    def _group(self, options: Mapping[str, Any]) -> Options:
        """The options as a param group that checks its values."""
        check = partial(_check, type(self), self._differentiable)  # which refers to no optimizer
        return Options(options, type(self).__name__, self.known(options), self.spelling_of, check)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError if a group's options, or their combination, are invalid."""
        _check(type(self), self._differentiable, options)

    def known(self, group: Mapping[str, Any]) -> Iterable[str]:
        """The names of the options that such a group may have."""
        return self.defaults

    @classmethod
    def spelling_of(cls, group: Mapping[str, Any]) -> Spelling:
        """The class's spelling: the names of a group's options and state."""
        return cls.spelling.fitting(group)

    @overload
    def step(self, closure: None = ..., *, zero_grad: bool = ..., **signals: Any) -> None: ...
    @overload
    def step(
        self, closure: Callable[[], Loss], *, zero_grad: bool = ..., **signals: Any
    ) -> Loss: ...

    def step(
        self,
        closure: Callable[[], Any] | None = None,
        *,
        zero_grad: bool = False,
        **signals: Any,
    ) -> Any:
        """Take one step with the parameters' gradients; parameters without one are left unchanged.

        closure: re-evaluates the model and returns the loss, which `step` then returns. If `grad_scale`
        is set, as by torch.amp.GradScaler, gradients are divided by it within the step; if `found_inf`
        is set and not zero, no step is taken.

        zero_grad: fill all gradients with zeros after the step, or instead of a step that is skipped, like
        `zero_grad(set_to_none=False)`. A kernel does so while it has the gradients in the caches anyway.
        Without it, gradients are never modified. Not supported with differentiable=True.

        signals: other inputs of the rule, for steps that have them (None for none). For one in the
        shape of p, pass a sequence of tensors in the order of the parameters, or a dict from
        parameters or their names to tensors; parameters without a gradient need none. They are cast
        to the parameters' dtypes and otherwise used unchanged, regardless of `grad_scale`. Raises
        TypeError or ValueError for invalid signals, and then takes no step.
        """
        if torch.compiler.is_compiling():
            return _outside_of_graphs(self, closure, zero_grad, signals)
        if (
            _before_all
            or _after_all
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or torch.autograd._profiler_enabled()
        ):
            given = {"zero_grad": True} if zero_grad else {}
            return self._watched_step(closure, **given, **signals)
        return self._bare_step(closure, signals, zero_grad)

    # torch wraps step to call hooks and inform the profiler, which costs as much as several kernels.
    step.hooked = True  # type: ignore[attr-defined]

    def _bare_step(
        self, closure: Callable[[], Any] | None, signals: Mapping[str, Any], zero: bool
    ) -> Any:
        if zero is not False:
            checked_zero_grad(zero, type(self).__name__, self._differentiable)
        if self._in_evaluation:
            raise evaluation.refusal(self)
        loss = None
        now = given(self, signals, closure is None) if signals else NOTHING
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        bound = self._bounds.get((now.names, zero))
        found = self.__dict__.get("found_inf")
        # On a device, the kernel looks at it.
        unread = bound is not None and bound.on_device and isinstance(found, torch.Tensor)
        self._last_step_skipped = found if unread else bool(found)  # type: ignore[assignment]
        if self._in_backward is not None:
            self._in_backward.finish()
            if zero:
                fill(self)
            return loss
        if self._last_step_skipped is True:
            circle = members.circle(self)
            if circle is not None:
                circle.agree(KERNELS, (), type(self).__name__)  # that there is nothing to do
            if zero:
                fill(self)
            return loss
        if bound is None and state.is_trial(self):
            return loss
        if self._offload is not None:
            with self._offload.stepping(self):
                self._take(self._bounds.get((now.names, zero)), now, zero)
        elif self._flat is None:
            self._take(bound, now, zero)
        else:
            with self._flat.lock:
                self._take(self._bounds.get((now.names, zero)), now, zero)
        return loss

    def _take(self, bound: Bound | None, now: Given, zero: bool) -> None:
        """Take a step, the bound one if only gradients and numbers have changed."""
        left = bound.take(self, now) if bound is not None else None
        unread = self._last_step_skipped is not False
        if unread and (left or left is None):  # some step must be looked at anew
            self._last_step_skipped = bool(self._last_step_skipped)
            if self._last_step_skipped:
                left = ()
        if left is None or left is ELSEWHERE:  # something has changed
            if bound is not None:
                self._bounds.clear()
            bound = self.step_all(now, called=left is ELSEWHERE, zero=zero)
        elif left:
            zeroes = bound is not None and bound.zeroes
            bound = self._start(left, now, zero=zero)
            bound.zeroes &= zeroes
        else:
            self._bound, self.called_elsewhere = bound, False
        if zero and (unread or not (bound is not None and bound.zeroes)):
            fill(self)

    @torch.optim.Optimizer.profile_hook_step
    def _watched_step(
        self, closure: Callable[[], Any] | None = None, zero_grad: bool = False, **signals: Any
    ) -> Any:
        return self._bare_step(closure, signals, zero_grad)

    @property
    def last_step_skipped(self) -> bool:
        """Whether the last step was skipped because torch.amp.GradScaler found an infinity or NaN
        in the gradients, or because `found_inf` was set by hand.
        """
        return bool(self._last_step_skipped)

    @property
    def scale(self) -> float:
        """The number that the step divides the gradients by: 1, unless `grad_scale` is set."""
        scale = self.__dict__.get("grad_scale")
        return 1.0 if scale is None else float(scale)

    def step_all(self, given: Given = NOTHING, called: bool = False, zero: bool = False) -> Bound:
        """Take a step, whatever has changed since the last; see :meth:`start`."""
        numbers = range(sum(len(group["params"]) for group in self.param_groups))
        return self._start(numbers, given, called, zero)

    def _start(
        self, numbers: Iterable[int], given: Given, called: bool = False, zero: bool = False
    ) -> Bound:
        """Check every group, parameter and gradient, and take the step.

        numbers: indices of the parameters to step. zero: let kernels fill the gradients with zeros if they
        can; `Bound.zeroes` says whether all are zeros then.
        """
        self.forget_trial()
        for group in self.param_groups:
            if type(group) is not Options:  # a plain dict in its place: nothing in it was checked
                self.check(group)
        places.check(self)
        chosen = {*numbers}
        every = ((i, p) for i, group in enumerate(self.param_groups) for p in group["params"])
        circle = members.circle(self)
        with torch.set_grad_enabled(self._differentiable):
            mine = [(i, n, p) for n, (i, p) in enumerate(every) if n in chosen]
            waves = members.start(self, mine, given, circle, called, zero)
        self._bound = bound = Bound(self, waves, bool(self._how.get("grad_norm")), circle)
        self._bounds[given.names, zero] = bound
        if self._flat is not None:
            self._flat.settle(self, bound)
        return bound

    def forget_trial(self) -> None:
        """Discard the state that a step created which was not a real one; see `is_trial` in state.py."""
        if self._tried:
            self._tried = False
            self.state.clear()

    def mirror(self, p: torch.Tensor) -> Mirror | None:
        """What is stepped on the host in place of a parameter; None if it is stepped where it is."""
        return self._offload.mirror(self, p) if self._offload is not None else None

    def home(self, p: torch.Tensor) -> torch.Tensor:
        """The tensor that is stepped for a parameter: itself, or its mirror on the host."""
        mirror = self.mirror(p)
        return p if mirror is None else mirror.p

    def parts(
        self,
        chosen: Iterable[tuple[int, int, torch.Tensor]],
        given: Given = NOTHING,
        called: bool = False,
        zero: bool = False,
    ) -> list[Wave]:
        """The parts that step these parameters, each given with its group's number and its index;
        parameters in later waves share memory with some in earlier ones.

        called: whether the rule must be called for sharded parameters, if it uses whole tensors. zero:
        whether kernels fill the gradients with zeros.
        """
        return members.parts(self, chosen, given, called, zero)

    def zero_grad(self, set_to_none: bool | None = None) -> None:
        """Discard all gradients, as torch.optim does, including those accumulated in backward.

        set_to_none: whether to set `p.grad` to None, or to fill it with zeros. By default it is set
        to None, unless another thread that has called this is still alive: torch crashes if one
        thread sets `p.grad` to None while another's backward pass adds to it. It is then filled
        with zeros, and a warning says so once.
        """
        if torch.compiler.is_compiling():
            torch.optim.Optimizer.zero_grad(self, set_to_none is not False)
        elif self._flat is not None and not set_to_none:
            self._flat.zero_grad([p for group in self.param_groups for p in group["params"]])
        else:
            self.__dict__.setdefault("_callers", Callers()).zero(self, set_to_none)
        if self._in_backward is not None:
            self._in_backward.forget()

    def planned(
        self, group: Mapping[str, Any], ndim: int | None = None, given: Given | None = None
    ) -> tuple[Graph, dict[str, Any]]:
        """The graph of the rule that a group's options select, and its hyperparameters.

        ndim: the number of dimensions that the rule sees in the parameter; None if it does not ask.
        given: the signals of the step; by default all that the rule takes.
        """
        rule, hyper = self.spelling_of(group).compose(group)
        clip = self._in_backward.clip_value if self._in_backward is not None else None
        if clip is not None:
            rule, hyper = _wrapped(clip_by_value, rule), {**hyper, "clip_value": clip}
        scale = self.__dict__.get("grad_scale")
        if scale is not None:
            rule, hyper = _wrapped(unscale, rule), {**hyper, "grad_scale": scale}
        known = hyper
        if not self._differentiable and any(isinstance(v, torch.Tensor) for v in hyper.values()):
            known = hyper = places.read(hyper, places.asked(self))
            there = {k for k, v in hyper.items() if isinstance(v, torch.Tensor)}
            if there:  # unread, and so never switched off
                known = {**hyper, **{k: rule.hyperparameters[k].default or 1.0 for k in there}}
        if given is None or not rule.signals:
            return plan(rule, known, ndim=ndim), hyper
        numbers = {k: x for k, x in given.numbers.items() if k in rule.signals}
        return plan(rule, known, given.names, ndim), hyper | numbers

    def state_dict(self) -> dict[str, Any]:
        """The state, as torch's class of the same name saves it; see torch.optim.Optimizer.state_dict.

        A class made from another rule saves the rule's slots under their own names, and "step".
        """
        with checkpoints.saving(self):
            return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any], *, options: str = "load") -> None:
        """Load a state_dict of this class or of torch's: the options, and the state in its saved dtypes.

        Parameters are matched by name if both have names, as with model.named_parameters(), and
        otherwise by order. Options that are not in the checkpoint keep their values. options:
        "load" restores the checkpoint's learning rates and other options; "keep" keeps the current
        ones and loads only the state. Raises ValueError, and loads nothing, if the checkpoint has
        other parameters, groups or shapes, or invalid options or counts.
        """
        if options not in ("load", "keep"):
            raise ValueError(
                f"{type(self).__name__}: options={options!r} is invalid; options must be 'load' or 'keep'"
            )
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"{type(self).__name__}: state_dict is a {type(state_dict).__name__}; it must be a dict, "
                "as state_dict() gives it"
            )
        with checkpoints.loading(self, options == "keep"):
            super().load_state_dict(state_dict)
        if self._flat is not None:
            self._flat.pending = True

    def eval(self) -> None:
        """Replace the parameters by the weights for evaluation, until :meth:`train`.

        These are what the rule's `evaluate=` returns, such as a mean of past weights; without it,
        they are the parameters themselves. Meanwhile, `step` raises an error.
        """
        evaluation.begin(self)

    def train(self) -> None:
        """Restore the parameters that :meth:`eval` replaced, bit for bit."""
        evaluation.end(self)

    def evaluating(self) -> AbstractContextManager[None]:
        """A context in which the parameters are the weights for evaluation.

        with optimizer.evaluating():
            accuracy = evaluate(model)
        """
        return evaluation.evaluating(self)

    def reset(self) -> None:
        """Discard the state of all parameters, so that the next step is a first step. Options are kept.

        If the weights for evaluation are in place, the weights in training are restored first.
        """
        evaluation.end(self)
        self.state.clear()
        if self._flat is not None:
            self._flat.pending = True
        self._last_step_skipped = False
        if self._in_backward is not None:
            self._in_backward.forget()

    def unbind(self) -> None:
        """Check everything again in the next step."""
        self._bound = None
        self._bounds.clear()
        if self._in_backward is not None:
            self._in_backward.unbind()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_how": self._how}

    def __setstate__(self, state: dict[str, Any]) -> None:
        torch.optim.Optimizer.__setstate__(self, state)
        self._bound, self._bounds, self._tried = None, {}, False
        if (
            self._how.get("flatten") and self._flat is None
        ):  # torch loads checkpoints through here, too
            self._flat = Flat()
        if self._how.get("offload") and self._offload is None:
            self._offload = Offload()
        self.state = State(self, self.state)
        self._in_evaluation = evaluation.is_saved_in(self.state)
        self.param_groups = [self._group(group) for group in self.param_groups]

    def __repr__(self) -> str:
        return f"{super().__repr__()}\nengine: {self.engine}"


@torch._disable_dynamo  # imports torch._dynamo when called; torch.compiler.disable now: two seconds
def _outside_of_graphs(
    optimizer: RuleOptimizer, closure: Any, zero_grad: bool, signals: Mapping[str, Any]
) -> Any:
    return optimizer.step(closure, zero_grad=zero_grad, **signals)
