"""An optimizer for NumPy arrays that steps by a rule."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from operator import is_
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ravine.engines.eager import Work, plan, steps
from ravine.engines.fused import (
    ACROSS,
    bind,
    by_lines,
    check_engine,
    check_seed,
    describe,
    insist,
    joined,
    unfits,
)
from ravine.engines.graph import Graph
from ravine.engines.overlap import sharing
from ravine.engines.signals import checked_signals
from ravine.numpy.arrays import (
    Stacks,
    arrays_of,
    dtype_name,
    is_folded,
    leaves,
    replaced,
    share,
    single,
    span,
    unfit,
)
from ravine.rule import Rule
from ravine.spellings import Spelling

if TYPE_CHECKING:
    from ravine.engines.cpu import Step
    from ravine.engines.turns import Turns

__all__ = ["RuleOptimizer"]

_KEPT = 16  # tables for so many patterns of sizes, dtypes and groups


@dataclass
class _Todo:
    """A parameter's step: the engine's input, and the place of its state."""

    path: str
    work: Work
    state: dict[str, Any]


class RuleOptimizer:
    """Steps a structure of arrays by a rule. Made by :func:`optimizer`.

    params: an array, a number, or lists, tuples and dicts of these, nested as you like. Arrays are
    updated in place; numbers cannot be, so `step` returns the structure with their new values.
    options: the hyperparameters, which you may change between steps (`opt.options["lr"] = 0.1`).
    engine: "auto" uses a fused CPU kernel if the rule and the arrays allow it, and otherwise calls
    the rule; "kernel" raises an error instead of calling the rule; "eager" always calls the rule.
    seed: the seed of the random numbers, a whole number, if the rule draws any.
    """

    spelling: ClassVar[Spelling]

    def __init__(
        self, params: Any, options: dict[str, Any], engine: str = "auto", seed: int = 0
    ) -> None:
        self._engine = check_engine(engine, self._name)
        self.seed = check_seed(seed, self._name)
        self._tables: dict[Any, _Tables] = {}
        self._known: list[Any] = []
        self._seen: list[Any] = []
        self._training: dict[str, Any] | None = None  # while others are in place
        self.options = options
        self.spelling.fitting(options).check(options)
        self.params = params
        self.state: dict[str, dict[str, Any]] = {}
        if not list(leaves(params, "params")):
            raise ValueError(
                f"{self._name}: params={params!r} is empty; it must hold at least one array or number"
            )
        self._check_params()
        plans = self._plan()
        for path, p in leaves(params, "params"):
            graph = plans[np.ndim(p)][0]
            if graph.of_arrays and not isinstance(p, np.ndarray):
                raise TypeError(
                    f"{self._name}: {path} is a number, and rule {graph.rule.name!r} works on arrays, "
                    "such as matrices"
                )

    @property
    def _name(self) -> str:
        return type(self).__name__

    def __getstate__(self) -> dict[str, Any]:
        # Tables contain addresses, so a copy creates its own.
        return {**self.__dict__, "_tables": {}, "_known": [], "_seen": []}

    def _check_params(self) -> dict[str, Any]:
        """The parameters by path, if each can be stepped; only changed ones are checked again."""
        mine = dict(leaves(self.params, "params"))
        now = [*mine.values()]
        seen = [(getattr(p, "dtype", None), getattr(p, "strides", ())) for p in now]
        if seen == self._seen and all(map(is_, now, self._known)):
            for path, p in mine.items():
                self._check_writeable(path, p)
            return mine
        for path, p in mine.items():
            if isinstance(p, np.ma.MaskedArray):
                raise TypeError(
                    f"{self._name}: {path} is a masked array, and a step would ignore its mask; pass its "
                    "data, such as p.filled(0.0)"
                )
            if (
                not isinstance(p, (float, np.ndarray, np.floating))
                or np.asarray(p).dtype.kind != "f"
            ):
                kind = f"array of {p.dtype}" if isinstance(p, np.ndarray) else type(p).__name__
                raise TypeError(
                    f"{self._name}: {path} is of type {kind}; it must be a float or an array of floats"
                )
            self._check_writeable(path, p)
            self.spelling.check_parameter(np.shape(p))
        self._check_apart(mine)
        self._known, self._seen = now, seen
        return mine

    def _check_writeable(self, path: str, p: Any) -> None:
        if isinstance(p, np.ndarray) and not p.flags.writeable:
            raise ValueError(
                f"{self._name}: {path} is read-only; arrays are updated in place, so pass a copy"
            )

    def _check_apart(self, mine: Mapping[str, Any]) -> None:
        """Check that no two parameters or states are the same array, or views with common elements."""
        arrays = [(path, p) for path, p in mine.items() if isinstance(p, np.ndarray) and p.size]
        arrays.sort(key=lambda entry: span(entry[1]))
        for i, (path, p) in enumerate(arrays):
            if is_folded(p):
                raise ValueError(
                    f"{self._name}: {path} has elements that share memory, as np.broadcast_to and "
                    "sliding_window_view make them; pass a copy"
                )
            for other, q in arrays[i + 1 :]:
                if span(q)[0] >= span(p)[1]:
                    break
                if share(p, q):
                    raise ValueError(
                        f"{self._name}: {path} and {other} share memory, so a step would update it twice; "
                        "each array may be only one parameter, or the state of one"
                    )

    def _plan(
        self, given: Collection[str] | None = None, numbers: Mapping[str, float] | None = None
    ) -> dict[int, tuple[Graph, dict[str, Any]]]:
        """What the current options select, by the number of dimensions of an array: the rule's graph,
        and the hyperparameters' values.

        given: the signals of a step; None if no step is taken. numbers: the signals that are one number.
        """
        rule, hyper = self.spelling.fitting(self.options).compose(self.options)
        hyper = rule.check(self._name, **hyper)
        values = {**hyper, **(numbers or {})}
        dimensions = {np.ndim(p) for _, p in leaves(self.params, "params")}
        plans = {ndim: (plan(rule, hyper, given, ndim), values) for ndim in dimensions}
        for graph, _ in plans.values():
            insist(self._engine, graph, self._name)
        return plans

    @property
    def engine(self) -> str:
        """The engine in use, and why: "kernel", or "eager: ..." with the reason.

        If the kernel cannot step some of the arrays, it says how many and why.
        """
        plans, whys = self._plan(), []
        graphs = [graph for graph, _ in plans.values()]
        across = joined(graphs)
        for path, p in leaves(self.params, "params"):
            state = {k: v for k, v in self.state.get(path, {}).items() if k != "step"}
            if np.size(p):
                graph = plans[np.ndim(p)][0]
                why = unfit(Work(p, p, state, 0, {}), graph)
                whys.append(ACROSS if graph in across else why)
        return describe(self._engine, graphs, whys)

    def step(self, grads: Any, **signals: Any) -> Any:
        """Take one step: updates arrays in place, and returns the parameters in their structure.

        grads: the gradients, in the structure of the parameters; None leaves a parameter unchanged.
        signals: other inputs of the rule, for steps that have them: arrays in the same structure,
        or one number. Raises ValueError if a structure or shape differs or an array has become
        read-only, and TypeError for masked arrays and unknown signals; then nothing has changed,
        and the step does not count.
        """
        if self._training is not None:
            raise RuntimeError(
                f"{self._name}: the parameters are the weights for evaluation now; take steps outside "
                "evaluating(), or after train()"
            )
        numbers: dict[str, float] = {}
        arrays: dict[str, Any] = {}
        if signals:
            rules = {graph.rule for graph, _ in self._plan().values()}
            numbers, arrays = checked_signals(rules, signals, self._name)
        plans, mine = self._plan([*numbers, *arrays], numbers), self._check_params()
        given = self._given("gradient", "grads", grads, mine)
        stepped = {path: mine[path] for path in given}
        arrays = {name: self._given(name, name, x, mine, stepped) for name, x in arrays.items()}
        todo: dict[Graph, list[_Todo]] = {}
        number = {path: i for i, path in enumerate(mine)}
        across = joined(plans[np.ndim(mine[path])][0] for path in given)
        for path, g in given.items():
            graph, hyper = plans[np.ndim(mine[path])]
            its = {name: arrays[name][path] for name in graph.given if name in arrays}
            one = self._todo(graph, hyper, path, mine[path], g, its)
            one.work.seed, one.work.number = self.seed, number[path]
            todo.setdefault(across.get(graph, graph), []).append(one)
        self._copy_shared([one for its in todo.values() for one in its])

        in_kernels: list[tuple[Graph, list[_Todo]]] = []
        called: list[tuple[_Todo, tuple[Any, dict[str, Any]]]] = []
        for graph, every in todo.items():
            full = [one for one in every if np.size(one.work.p)]  # there is nothing else to compute
            works = [one.work for one in full]
            why_not = (lambda _: ACROSS) if graph in across else partial(unfit, graph=graph)
            whys = unfits(graph, works, why_not, self._engine, self._name)
            rest = [one for one, why in zip(full, whys, strict=True) if why]
            results = steps(graph.rule, [single(one.work) for one in rest])
            called += zip(rest, results, strict=True)
            in_kernels.append((graph, [o for o, why in zip(full, whys, strict=True) if not why]))
        # Nothing can fail from here on.
        for graph, fit in in_kernels:
            if fit:
                self._bound(graph, fit).run(fit)
        changed: dict[str, Any] = {}
        for one, (new_p, new_state) in called:
            self._store(one, new_p, new_state, changed)
        for every in todo.values():
            for one in every:
                one.state["step"] = one.work.t
                self.state[one.path] = one.state
        for graph, every in todo.items():
            for slot in graph.common if every else ():
                values = [(np.size(one.work.p) > 0, one.state.pop(slot)) for one in every]
                sized = max(values, key=lambda x: x[0])  # empty arrays are left out
                self.state.setdefault("shared", {})[slot] = sized[1]
        if changed:
            self.params = replaced(self.params, "params", changed)
        return self.params

    def _given(
        self,
        what: str,
        argument: str,
        tree: Any,
        mine: Mapping[str, Any],
        needed: Collection[str] = (),
    ) -> dict[str, Any]:
        """The gradients, or a signal's arrays, by path, without those that are None; they must match
        the parameters. needed: the paths of those that must be there.
        """
        given = dict(leaves(tree, "params"))
        for path, p in mine.items():
            if path not in given or (given[path] is None and path in needed):
                there = ", ".join(k for k, x in given.items() if x is not None)
                raise ValueError(f"step: no {what} for {path}; {argument} has {there or 'nothing'}")
            g = given[path]
            if isinstance(g, np.ma.MaskedArray):
                raise TypeError(
                    f"step: the {what} of {path} is a masked array, and a step would ignore its mask; pass "
                    "its data, such as g.filled(0.0)"
                )
            if g is not None and (kind := np.asarray(g).dtype).kind not in "biuf":
                raise TypeError(
                    f"step: the {what} of {path} is of {kind}; it must be of real numbers"
                )
            if g is not None and np.shape(g) != np.shape(p):
                raise ValueError(
                    f"step: the {what} of {path} has shape {np.shape(g)}; it must be {np.shape(p)}"
                )
        unknown = next((path for path in given if path not in mine), None)
        if unknown is not None:
            raise ValueError(f"step: a {what} for {unknown}, which is not a parameter")
        return {path: given[path] for path in mine if given[path] is not None}

    def _todo(
        self,
        graph: Graph,
        hyper: dict[str, Any],
        path: str,
        p: Any,
        g: Any,
        signals: Mapping[str, Any],
    ) -> _Todo:
        if isinstance(p, np.ndarray):
            p = np.asarray(p)  # operators of np.matrix and others mean something else
        # A copy, so that a new state is not kept if the step fails.
        state = {"step": 0, **self.state.get(path, {})}
        taken: Any = state["step"]
        counted = isinstance(taken, (int, float, np.number)) and taken >= 0
        if not (counted and float(taken) % 1 == 0):
            raise ValueError(
                f"{self._name}: the state of {path} has step={taken!r}; it must be a whole number"
            )
        common = self.state.get("shared", {})
        for slot in graph.live:
            if graph.rule.slots[slot].shared and slot in common:
                state[slot] = common[slot]
            if slot not in state:
                state[slot] = self._started(slot, graph.rule, p, hyper)
            else:
                declared = graph.rule.slots[slot]
                array = declared.kind != "scalar" and isinstance(p, np.ndarray)
                shape = graph.rule.shape(slot, p.shape, **hyper) if array else None
                self._check_slot(f"the state {slot!r} of {path}", state[slot], shape)

        def like_p(x: Any) -> Any:
            if not isinstance(p, np.ndarray):
                return type(p)(x)
            return np.asarray(x, p.dtype, order="C" if p.flags.c_contiguous else None)

        slots, its = (
            {slot: state[slot] for slot in graph.live},
            {k: like_p(x) for k, x in signals.items()},
        )
        work = Work(p, like_p(g), slots, int(taken) + 1, hyper, signals=its)
        return _Todo(path, work, state)

    def _started(self, slot: str, rule: Rule, p: Any, hyper: Mapping[str, Any]) -> Any:
        try:
            made = rule.start(slot, p, hyper)
        except ValueError as error:
            raise ValueError(f"{self._name}: {slot!r}: {error}") from None
        if isinstance(made, np.ndarray) and (dtype := rule.slots[slot].dtype) not in (
            "",
            "bfloat16",
        ):
            return made.astype(dtype)
        # NumPy makes numbers of arrays without dimensions.
        return np.asarray(made) if isinstance(made, np.generic) else made

    def _check_slot(self, what: str, kept: Any, shape: tuple[int, ...] | None) -> None:
        """shape: of an array, or None for a number."""
        if shape is None:
            if not isinstance(kept, (int, float, np.number)):
                raise TypeError(f"{self._name}: {what} is {kept!r}; it must be a number")
        elif (
            not isinstance(kept, np.ndarray)
            or isinstance(kept, np.ma.MaskedArray)
            or kept.dtype.kind != "f"
        ):
            kind = f"of {kept.dtype}" if type(kept) is np.ndarray else f"a {type(kept).__name__}"
            raise TypeError(f"{self._name}: {what} is {kind}; it must be an array of floats")
        elif kept.shape != shape:
            raise ValueError(f"{self._name}: {what} has shape {kept.shape}; it must be {shape}")
        elif not kept.flags.writeable or is_folded(kept):
            why = "has elements that share memory" if kept.flags.writeable else "is read-only"
            raise ValueError(
                f"{self._name}: {what} {why}; it is updated in place, so put a copy there"
            )

    def _copy_shared(self, todo: Sequence[_Todo]) -> None:
        """Copy gradients and signals out of memory that the step writes, such as that of their parameters."""
        arrays = [one for one in todo if isinstance(one.work.g, np.ndarray)]
        waves, alone = sharing(
            [[span(x) for x in (one.work.g, *one.work.signals.values())] for one in arrays],
            [[span(x) for x in (one.work.p, *arrays_of(one.work))] for one in arrays],
        )
        if alone or any(waves):
            written = {one.path: one.work.p for one in arrays}
            for one in arrays:
                for slot, x in one.work.state.items():
                    if isinstance(x, np.ndarray):
                        written[f"the state {slot!r} of {one.path}"] = x
            self._check_apart(written)
            for one in arrays:
                signals = {k: x.copy(order="K") for k, x in one.work.signals.items()}
                one.work = replace(one.work, g=one.work.g.copy(order="K"), signals=signals)

    def _bound(self, graph: Graph, todo: Sequence[_Todo]) -> _Tables:
        """The kernel's tables for such arrays, kept for similar steps."""
        works = [one.work for one in todo]
        rows: dict[int, int] = {}
        numbers = [rows.setdefault(id(work.hyper), len(rows)) for work in works]
        shape: Any = np.shape if by_lines(graph) else np.size
        facts: list[Any] = [
            (shape(w.p), w.p.dtype, *((x.dtype, x.shape) for x in arrays_of(w))) for w in works
        ]
        facts += [work.number for work in works] if graph.draws else []
        key = graph, tuple(facts), tuple(numbers)
        if key not in self._tables:
            if len(self._tables) >= _KEPT:
                self._tables.clear()
            of_tensors = [work.number for work in works]
            step = bind(graph, works, dtype_name, numbers, Stacks(), numbers=of_tensors)
            self._tables[key] = _Tables(step, numbers)
        return self._tables[key]

    def _store(
        self, one: _Todo, new_p: Any, new_state: Mapping[str, Any], changed: dict[str, Any]
    ) -> None:
        p = one.work.p
        if not isinstance(p, np.ndarray):
            changed[one.path] = type(p)(new_p)
        else:
            p[...] = new_p
        for slot, value in new_state.items():
            if isinstance(one.state[slot], np.ndarray):
                one.state[slot][...] = value
            else:
                one.state[slot] = float(value)

    def eval(self) -> Any:
        """Replace the parameters by the weights for evaluation, until :meth:`train`, and return
        them in their structure.

        These are what the rule's `evaluate=` returns, such as a mean of past weights; without it,
        they are the parameters themselves. Meanwhile, `step` raises an error.
        """
        if self._training is None:
            weights: dict[str, Any] = {}
            plans, mine = self._plan(), self._check_params()
            for path, p in mine.items():
                graph, hyper = plans[np.ndim(p)]
                rule, state = graph.rule, self.state.get(path, {})
                if rule.evaluation is not None and all(slot in state for slot in graph.live):
                    work = single(Work(p, p, {k: state[k] for k in graph.live}, 0, hyper))
                    slots = [work.state.get(slot, 0.0) for slot in rule.slots]
                    weights[path] = rule.evaluate(work.p, slots, **hyper)
            self._training = self._put(mine, weights)
        return self.params

    def train(self) -> Any:
        """Restore the parameters that :meth:`eval` replaced, bit for bit, and return them in their
        structure.
        """
        if self._training is not None:
            self._put(dict(leaves(self.params, "params")), self._training)
            self._training = None
        return self.params

    @contextmanager
    def evaluating(self) -> Iterator[Any]:
        """A context in which the parameters are the weights for evaluation, which it returns in
        their structure.

            with opt.evaluating() as params:
                loss = evaluate(params)
        """
        within = self._training is not None
        try:
            yield self.eval()
        finally:
            if not within:
                self.train()

    def _put(self, mine: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the values of parameters, and return the previous ones."""
        before = {
            path: np.copy(mine[path]) if isinstance(mine[path], np.ndarray) else mine[path]
            for path in new
        }
        changed = {}
        for path, value in new.items():
            if isinstance(mine[path], np.ndarray):
                mine[path][...] = value
            else:
                changed[path] = type(mine[path])(value)
        if changed:
            self.params = replaced(self.params, "params", changed)
        return before

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self.options.items())
        return f"{self._name}({options}) on engine {self.engine}"


class _Tables:
    """A kernel bound to arrays of certain sizes; counts and scalar slots are copied in and out."""

    def __init__(self, step: Step | Turns, rows: Sequence[int]):
        self.step, self.rows = step, rows
        self.numbers = {column: (ctypes.c_double * len(rows))() for column in (*step.slots, "step")}
        for column, block in self.numbers.items():
            begin = ctypes.addressof(block)
            step.point(column, [begin + 8 * i for i in range(len(rows))])

    def run(self, todo: Sequence[_Todo]) -> None:
        """Take one step in place, and store new scalar slots in the state."""
        step, works = self.step, [one.work for one in todo]
        with step.lock:
            step.point("p", [w.p.ctypes.data for w in works])
            step.point("g", [w.g.ctypes.data for w in works])
            for signal in step.kernel.signals:
                step.point(signal, [w.signals[signal].ctypes.data for w in works])
            for slot in step.arrays:
                step.point(slot, [w.state[slot].ctypes.data for w in works])
            for row, work in dict(zip(self.rows, works, strict=True)).items():
                step.set_group(row, [work.hyper[name] for name in step.inputs])
            self.numbers["step"][:] = [work.t - 1 for work in works]
            for slot in step.slots:
                self.numbers[slot][:] = [work.state[slot] for work in works]
            if step.run(len(works), works[0].seed):
                raise RuntimeError("memory has changed while a step was being taken")
            for slot in step.slots:
                for one, value in zip(todo, self.numbers[slot], strict=True):
                    one.state[slot] = value
