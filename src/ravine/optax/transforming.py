"""A rule as an optax.GradientTransformation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ravine import registry
from ravine.arithmetic import drawn_of, stored_in, typed_like
from ravine.draws import Draw
from ravine.engines.eager import plan
from ravine.engines.graph import Graph
from ravine.optax.values import Known, Program, program, scalars, steps
from ravine.rule import Rule, RuleError
from ravine.rule import rule as as_rule
from ravine.views import restored, view

__all__ = ["RuleState", "evaluate", "flat", "transformation"]


class RuleState(NamedTuple):
    """The state of a transformation.

    count: the number of updates so far, an int32. slots: for each slot of the rule, a tree like the
    parameters, with None for leaves that do not need it; a shared slot is one number. late: the
    leaves, by path, that had no gradient in some update, with the number of such updates.
    """

    count: Any
    slots: dict[str, Any]
    late: dict[str, Any]


def transformation(
    rule: Rule | Callable[..., Any] | str, *, seed: Any = 0, **hyperparameters: Any
) -> optax.GradientTransformationExtraArgs:
    """A rule, or a stack of modifiers on one, as an optax.GradientTransformationExtraArgs.

    rule: a Rule, a plain function with a rule's signature, or a name that :func:`ravine.get`
    accepts, such as "clip_by_global_norm(adam)". hyperparameters: each a number, a schedule (a
    function of the number of updates so far, as in optax), or a zero-dimensional array, which may
    be traced by vmap, grad or inject_hyperparams. A schedule or an array counts as nonzero in the
    rule's `if`s. seed: the seed of the random numbers, a whole number, if the rule draws any.

    `update` needs params, and accepts the rule's signals by name; like optax, it ignores other
    extra arguments. A leaf whose gradient is None keeps its state, and its update is None. Steps on
    half-precision parameters are computed in float32, and their updates are float32, so that
    `optax.apply_updates` rounds once.

    Raises TypeError for an unknown hyperparameter, and ValueError for a value out of range.

    >>> import jax, jax.numpy as jnp, optax, ravine.optax
    >>> tx = ravine.optax.transformation("clip_by_global_norm(adam)", lr=0.1)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    >>> optax.apply_updates(params, updates)
    {'w': Array([0.9, 0.9], dtype=float32)}
    """
    its = _Transformation(_rule(rule, hyperparameters), hyperparameters, seed)
    return optax.GradientTransformationExtraArgs(its.init, its.update)


def evaluate(
    rule: Rule | Callable[..., Any] | str, params: Any, state: Any, **hyperparameters: Any
) -> Any:
    """The weights for evaluation of a rule that declares `evaluate=`, such as the schedule-free ones.

    rule, hyperparameters: as in :func:`transformation`. params: the weights in training. state: the
    rule's state, also inside that of chain, MultiSteps, inject_hyperparams or apply_if_finite.
    Raises ValueError unless the state contains that of exactly one rule.
    """
    is_state = partial(_is, RuleState)
    found = [x for x in jax.tree.leaves(state, is_leaf=is_state) if is_state(x)]
    if len(found) != 1:
        raise ValueError(
            f"evaluate: state holds the states of {len(found)} rules; it must hold exactly one"
        )
    return _Transformation(_rule(rule, hyperparameters), hyperparameters, 0).evaluate(
        params, found[0]
    )


def _is(kind: type, x: Any) -> bool:
    return isinstance(x, kind)


def _rule(rule: Any, hyperparameters: Mapping[str, Any]) -> Rule:
    rule = registry.get(rule) if isinstance(rule, str) else rule
    return (rule if isinstance(rule, Rule) else as_rule(rule)).fitting(hyperparameters)


@dataclass
class _Leaf:
    """A parameter's step. dtype: of the computation. given: p, g, slots and signals that are arrays, in
    the rule's view. old: p and the slots as stored.
    """

    path: str
    number: int
    p: Any
    dtype: Any
    program: Program
    t: Any
    given: dict[str, Any]
    old: dict[str, Any]

    @property
    def idle(self) -> bool:
        """Whether it is left out, because the mean of nothing is not a number."""
        return not self.p.size and not self.program.pointwise


class _Transformation:
    """The `init` and `update` of a rule."""

    def __init__(self, rule: Rule, hyperparameters: Mapping[str, Any], seed: Any) -> None:
        self.rule, self.seed = rule, seed
        self.where = f"rule {rule.name!r}"
        self.values = rule.values(hyperparameters)
        stand_ins: dict[str, Any] = {}
        for name, x in self.values.items():
            if callable(x) or isinstance(x, jax.Array):
                stand_ins[name] = self._stand_in(name, x)
        checked = rule.check(**{**self.values, **stand_ins})
        self.values |= {k: x for k, x in checked.items() if k not in stand_ins}
        self.plain = checked
        self._graph(2)  # a rule that cannot be traced is rejected now

    def _stand_in(self, name: str, x: Any) -> Any:
        """A valid nonzero number, in place of a hyperparameter that is known later."""
        known = self.rule.hyperparameters[name]
        if isinstance(known.default, bool):
            raise TypeError(
                f"{self.where}: {name}={x!r} is invalid; {name} must be True or False, known before "
                "training (for inject_hyperparams, one of its static_args)"
            )
        if getattr(x, "ndim", 0):
            raise ValueError(
                f"{self.where}: {name} of shape {x.shape} is invalid; it must be one number"
            )
        for number in (known.default, 1.0, 0.5, known.low, known.high):
            try:
                if number and known.check(number, ""):
                    return number
            except ValueError:
                continue
        return known.default

    def _graph(self, ndim: int, given: Sequence[str] | None = None) -> Graph:
        return plan(self.rule, self.plain, given, ndim)

    def _now(self, count: Any) -> dict[str, Any]:
        """The hyperparameters at an update, schedules as numbers."""
        return {k: x(count) if callable(x) else x for k, x in self.values.items()}

    # --- the state

    def init(self, params: Any) -> RuleState:
        """The state before the first update."""
        count = jnp.zeros([], jnp.int32)
        paths, tree = flat(params)
        leaves = [self._checked(jax.tree_util.keystr(path), p) for path, p in paths]
        graphs = [self._graph(p.ndim) for p in leaves]
        now = self._now(count)
        slots: dict[str, Any] = {}
        for name, slot in self.rule.slots.items():
            if not any(name in graph.live for graph in graphs):
                continue
            if slot.shared:
                slots[name] = self._number(name, now, [_wide(p) for p in leaves])
                continue
            made = [
                self._begun(name, p, now) if name in graph.live else None
                for p, graph in zip(leaves, graphs, strict=True)
            ]
            slots[name] = tree.unflatten(made)
        return RuleState(count, slots, {})

    def _checked(self, path: str, p: Any) -> Any:
        p = jnp.asarray(p)
        if not jnp.issubdtype(p.dtype, jnp.floating):
            raise TypeError(
                f"{self.where}: the parameter {path or 'params'} has dtype {p.dtype}; it must be a real "
                "floating-point dtype (optax.masked leaves others out)"
            )
        return p

    def _number(self, name: str, now: Mapping[str, Any], dtypes: Sequence[Any]) -> Any:
        value = self.rule.slots[name].value
        value = now[value] if isinstance(value, str) else value
        return jnp.asarray(value, jnp.result_type(*dtypes))

    def _begun(self, name: str, p: Any, now: Mapping[str, Any]) -> Any:
        slot = self.rule.slots[name]
        if slot.kind == "scalar":
            return self._number(name, now, [_wide(p)])
        made = jnp.asarray(self.rule.start(name, p, now))
        return made.astype(jax.dtypes.canonicalize_dtype(slot.dtype or p.dtype))

    # --- a step

    def update(
        self, updates: Any, state: RuleState, params: Any = None, **extra: Any
    ) -> tuple[Any, RuleState]:
        """The updates to add to the parameters, and the new state."""
        if params is None:
            raise ValueError(f"{self.where}: update needs params: tx.update(grads, state, params)")
        signals = {k: x for k in self.rule.signals if (x := extra.get(k)) is not None}
        paths, tree = flat(params)
        late, count = dict(state.late), optax.safe_increment(state.count)
        columns = {"g": updates, **state.slots}
        columns |= {k: x for k, x in signals.items() if not self.rule.signals[k].scalar}
        shared = {k: x for k, x in state.slots.items() if self.rule.slots[k].shared}
        rows = {k: tree.flatten_up_to(x) for k, x in columns.items() if k not in shared}
        leaves = []
        for i, (path, p) in enumerate(paths):
            name, its = jax.tree_util.keystr(path), {k: row[i] for k, row in rows.items()}
            if its["g"] is None:
                late[name] = late.get(name, jnp.zeros([], jnp.int32)) + 1
                continue
            t = count - late[name] if name in late else count
            leaves.append(self._leaf(name, i, p, its, t, [*signals]))
        now = self._now(state.count) | shared | signals
        found = dict(zip((x.number for x in leaves), self._stepped(leaves, now), strict=True))
        slots = dict(state.slots)
        for name in slots:
            if name in shared:
                new = next((x[name] for x in found.values() if name in x), slots[name])
                slots[name] = _like(new, slots[name])
            else:
                row = [found[i].get(name) if i in found else x for i, x in enumerate(rows[name])]
                slots[name] = tree.unflatten(row)
        added = [found[i]["p"] if i in found else None for i in range(len(paths))]
        return tree.unflatten(added), RuleState(count, slots, late)

    def _leaf(
        self, path: str, number: int, p: Any, its: dict[str, Any], t: Any, signals: Sequence[str]
    ) -> _Leaf:
        p = self._checked(path, p)
        of = program(self._graph(p.ndim, signals))
        arrays = {"p": p} | {
            k: x for k, x in its.items() if k not in self.rule.slots or k in of.live
        }
        for k, x in arrays.items():
            if x is None or (k not in self.rule.slots and jnp.shape(x) != p.shape):
                shape = "missing" if x is None else f"of shape {jnp.shape(x)}"
                raise ValueError(
                    f"{self.where}: {'the gradient' if k == 'g' else k} of {path or 'params'} is {shape}; "
                    f"it must be of shape {p.shape}"
                )
        dtype, seen = _wide(p), self.rule.seen
        wide = {k: jnp.asarray(x).astype(dtype) for k, x in arrays.items()}
        given = {k: view(x, seen) if x.shape == p.shape else x for k, x in wide.items()}
        old = {"p": wide["p"]} | {k: arrays[k] for k in self.rule.slots if k in arrays}
        return _Leaf(path, number, p, dtype, of, t, given, old)

    def _stepped(self, leaves: Sequence[_Leaf], now: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The outputs of each leaf's program: the update of p, as "p", and the new slots."""
        with jax.enable_x64(True):
            common: dict[tuple[int, int], Known] = {}
            going = []
            for x in leaves:
                key = id(x.program), id(x.t)
                if key not in common and not x.idle:
                    common[key] = scalars(x.program, {**now, "t": x.t})
                if not x.idle:
                    scalar = {
                        k: v.astype(jnp.float64) for k, v in x.given.items() if self._is_scalar(k)
                    }
                    given = {**x.given, **scalar}
                    going.append((x, steps(x.program, common[key], given, x.dtype)))
            done = iter(self._together(going))
            return [
                {k: jnp.zeros_like(v) if k == "p" else v for k, v in x.old.items()}
                if x.idle
                else self._kept(x, next(done))
                for x in leaves
            ]

    def _is_scalar(self, name: str) -> bool:
        return name in self.rule.slots and self.rule.slots[name].kind == "scalar"

    def _together(self, going: Sequence[tuple[_Leaf, Any]]) -> list[dict[str, Any]]:
        """The results of all steps, which advance together from total to total."""
        sent: Any = None
        while True:
            parts, results = [], []
            for x, step in going:
                try:
                    with self._within(x):
                        parts.append(step.send(sent))
                except StopIteration as end:
                    results.append(end.value)
                except RuleError:
                    raise
                except (TypeError, ValueError) as error:
                    raise RuleError(
                        f"{self.where}: {error} (the parameter {x.path or 'params'} of shape {x.p.shape})"
                    ) from error
            if not parts:
                return results
            if results:
                raise RuleError(
                    f"{self.where}: how many totals it takes depends on ndim(p); a total is over all "
                    "tensors, so take it before the `if`"
                )
            sent = sum(parts)

    def _within(self, x: _Leaf) -> Any:
        """The context of a leaf's step."""
        return _Contexts(
            typed_like(x.given["p"]),
            stored_in(None if x.p.dtype == x.dtype else x.p.dtype),
            drawn_of(Draw(self.seed, x.t, x.number)),
        )

    def _kept(self, x: _Leaf, new: Mapping[str, Any]) -> dict[str, Any]:
        """The results of a leaf in the shapes and dtypes in which they are stored."""
        kept = {}
        for name, value in new.items():
            old = x.old.get(name)
            if old is None:  # a shared slot
                kept[name] = value
                continue
            value = restored(jnp.asarray(value), old, self.rule.seen)
            if value.shape not in ((), old.shape):
                raise RuleError(
                    f"{self.where} returns, as new {name}, an array of shape {value.shape} in place of one "
                    f"of shape {old.shape} ({x.path or 'params'}); an operation in it mixes up shapes"
                )
            kept[name] = _like(value, old)
        return kept

    def evaluate(self, params: Any, state: RuleState) -> Any:
        """The weights to evaluate with."""
        paths, tree = flat(params)
        now = self._now(state.count)
        names = self.rule.slots
        rows = {
            k: [x] * len(paths) if names[k].shared else tree.flatten_up_to(x)
            for k, x in state.slots.items()
        }
        weights = []
        for i, (_, p) in enumerate(paths):
            slots = [
                0.0 if rows.get(k) is None or rows[k][i] is None else rows[k][i] for k in names
            ]
            wide = jnp.asarray(p).astype(_wide(p))
            weights.append(self.rule.evaluate(wide, slots, **now).astype(p.dtype))
        return tree.unflatten(weights)


class _Contexts:
    """Several contexts as one."""

    def __init__(self, *contexts: Any) -> None:
        self.contexts = contexts

    def __enter__(self) -> None:
        for context in self.contexts:
            context.__enter__()

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self.contexts):
            context.__exit__(*error)


def flat(tree: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """A tree's leaves with their paths, and the structure to rebuild it."""
    return jax.tree_util.tree_flatten_with_path(tree)


def _wide(p: Any) -> Any:
    """The dtype in which a parameter's step is computed."""
    return jnp.promote_types(jnp.asarray(p).dtype, jnp.float32)


def _like(x: Any, old: Any) -> Any:
    """A result in the shape and dtype of the value that it replaces."""
    return jnp.broadcast_to(jnp.asarray(x).astype(old.dtype), old.shape)
