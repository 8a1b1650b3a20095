"""Train with NumPy: optimizers on arrays, and the mini-batch loop.

from ravine.numpy import Adam, fit
Lion = ravine.numpy.optimizer(lion)     # a class from a rule of your own
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ravine import registry, spellings
from ravine.engines.eager import Work, plan
from ravine.engines.fused import Fused, check_engine, describe, insist
from ravine.engines.graph import Graph
from ravine.modifiers import clip_by_value
from ravine.rule import Rule
from ravine.rule import rule as as_rule
from ravine.spellings import Spelling, spelling_of

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "History",
    "Loss",
    "Model",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "RuleOptimizer",
    "fit",
    "linear",
    "mean_squared_error",
    "optimizer",
]


class RuleOptimizer:
    """Steps a structure of arrays by a rule. Made by :func:`optimizer`.

    params: an array, a number, or lists, tuples and dicts of these, nested as you like. Arrays are
    updated in place; numbers cannot be, so `step` returns the structure with their new values.
    options: the hyperparameters; change them between steps as you like (`opt.options["lr"] = 0.1`).
    engine: "auto" steps by a fused CPU kernel where the rule and the arrays allow, and calls the
    rule where not; "kernel" refuses what a kernel cannot do; "eager" always calls the rule.
    """

    spelling: ClassVar[Spelling]

    def __init__(self, params: Any, options: dict[str, Any], engine: str = "auto") -> None:
        name = type(self).__name__
        self._engine = check_engine(engine, name)
        self._engines = Fused(_address, _dtype, _unfit, _single)
        self.options = options
        self.spelling.check(options)
        self.params = params
        self.state: dict[str, dict[str, Any]] = {}
        leaves = list(_leaves(params, "params"))
        if not leaves:
            raise ValueError(
                f"{name}: params={params!r} is empty; it must hold at least one array or number"
            )
        for path, p in leaves:
            if (
                not isinstance(p, (float, np.ndarray, np.floating))
                or np.asarray(p).dtype.kind != "f"
            ):
                kind = f"array of {p.dtype}" if isinstance(p, np.ndarray) else type(p).__name__
                raise TypeError(
                    f"{name}: {path} is of type {kind}; it must be a float or an array of floats"
                )
            if isinstance(p, np.ndarray) and not p.flags.writeable:
                raise ValueError(
                    f"{name}: {path} is read-only; arrays are updated in place, so pass a copy"
                )
            self.spelling.check_parameter(np.shape(p))
        self._plan()

    def _plan(self) -> dict[int, tuple[Graph, dict[str, Any]]]:
        """What the options ask for now, by the number of dimensions of an array: the rule's graph,
        and the hyperparameters' values.
        """
        name = type(self).__name__
        plans: dict[int, tuple[Graph, dict[str, Any]]] = {}
        known: dict[Rule, tuple[Graph, dict[str, Any]]] = {}
        for ndim in {np.ndim(p) for _, p in _leaves(self.params, "params")}:
            rule, hyper = self.spelling.compose(self.options, ndim)
            if rule not in known:
                hyper = rule.check(name, **hyper)
                known[rule] = plan(rule, hyper), hyper
                insist(self._engine, known[rule][0], name)
            plans[ndim] = known[rule]
        return plans

    @property
    def engine(self) -> str:
        """Which engine steps, and why: "kernel", or "eager: ..." with the reason.

        Where some arrays cannot take part in the kernel, it says how many and why.
        """
        leaves = _leaves(self.params, "params")
        states = (
            {**self.state.get(path, {}), "step": None} for path, _ in _leaves(self.params, "params")
        )
        works = (Work(p, p, state, 0, {}) for (_, p), state in zip(leaves, states, strict=True))
        graphs = [graph for graph, _ in self._plan().values()]
        return describe(self._engine, graphs, map(_unfit, works))

    def step(self, grads: Any) -> Any:
        """One step: arrays change in place; returns the parameters in their structure.

        grads: the gradients, in the structure of the parameters; None leaves a parameter alone.
        Raises ValueError where structure or shape differ.
        """
        plans = self._plan()
        given, mine = dict(_leaves(grads, "params")), dict(_leaves(self.params, "params"))
        todo: dict[Graph, list[tuple[str, Work]]] = {}
        for path, p in mine.items():
            if path not in given:
                raise ValueError(
                    f"step: no gradient for {path}; grads has {', '.join(given) or 'nothing'}"
                )
            g = given.pop(path)
            if g is not None:
                if np.shape(g) != np.shape(p):
                    raise ValueError(
                        f"step: the gradient of {path} has shape {np.shape(g)}; it must be {np.shape(p)}"
                    )
                graph, hyper = plans[np.ndim(p)]
                todo.setdefault(graph, []).append((path, self._work(graph, hyper, path, p, g)))
        if given:
            raise ValueError(f"step: a gradient for {next(iter(given))}, which is not a parameter")
        changed: dict[str, Any] = {}
        for path, (new_p, new_state) in self._results(todo):
            if new_p is not None and isinstance(mine[path], np.ndarray):
                mine[path][...] = new_p
            elif new_p is not None:
                changed[path] = type(mine[path])(new_p)
            state = self.state[path]
            for slot, value in new_state.items():
                if isinstance(state[slot], np.ndarray):
                    state[slot][...] = value
                else:
                    state[slot] = float(value)
        if changed:
            self.params = _replace(self.params, "params", changed)
        return self.params

    def _results(
        self, todo: dict[Graph, list[tuple[str, Work]]]
    ) -> Iterator[tuple[str, tuple[Any, dict[str, Any]]]]:
        for graph, members in todo.items():
            works = [work for _, work in members]
            results = self._engines.take(graph, works, self._engine, type(self).__name__)
            yield from zip((path for path, _ in members), results, strict=True)

    def _work(self, graph: Graph, hyper: dict[str, Any], path: str, p: Any, g: Any) -> Work:
        state = self.state.setdefault(path, {"step": 0})
        state["step"] += 1
        for slot in graph.live:
            if slot not in state:
                state[slot] = graph.rule.slots[slot].init(p, **hyper)
        slots = {k: v for k, v in state.items() if k != "step"}
        if isinstance(p, np.ndarray):
            g = np.asarray(g, p.dtype, order="C" if p.flags.c_contiguous else None)
        else:
            g = type(p)(g)
        return Work(p, g, slots, state["step"], hyper)

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self.options.items())
        return f"{type(self).__name__}({options}) on engine {self.engine}"


def _address(x: np.ndarray) -> int:
    return x.ctypes.data


def _dtype(x: np.ndarray) -> str:
    return x.dtype.name


def _unfit(work: Work) -> str:
    """Why a parameter cannot take part in a kernel, or nothing."""
    p = work.p
    if not isinstance(p, np.ndarray):
        return "not an array"
    arrays = [x for x in (p, work.g, *work.state.values()) if isinstance(x, np.ndarray)]
    for x in arrays:
        if x.dtype.name not in ("float64", "float32", "float16"):
            return f"dtype {x.dtype}"
        if x.shape != p.shape:
            return f"state of shape {x.shape}"
    if all(x.flags.c_contiguous and x.dtype.isnative for x in arrays):
        return ""
    if all(x.flags.f_contiguous and x.dtype.isnative for x in arrays):
        return ""
    return "not dense, or not in one memory layout"


def _single(work: Work) -> Work:
    """Half precision is computed in float32, and stored in the parameter's dtype."""
    if not isinstance(work.p, np.ndarray) or work.p.dtype != np.float16:
        return work
    slots = {k: np.float32(v) if isinstance(v, np.ndarray) else v for k, v in work.state.items()}
    return Work(np.float32(work.p), np.float32(work.g), slots, work.t, work.hyper)


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}[{key!r}]")
    elif isinstance(tree, (list, tuple)):
        for i, value in enumerate(tree):
            yield from _leaves(value, f"{path}[{i}]")
    else:
        yield path, tree


def _replace(tree: Any, path: str, changed: dict[str, Any]) -> Any:
    if isinstance(tree, dict):
        return {k: _replace(v, f"{path}[{k!r}]", changed) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        values = [_replace(v, f"{path}[{i}]", changed) for i, v in enumerate(tree)]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return changed.get(path, tree)


def optimizer(rule: Rule | Callable[..., Any], name: str = "") -> type[RuleOptimizer]:
    """An optimizer class for NumPy arrays from a rule.

    rule: a Rule, or a plain function with a rule's signature. name: the class's name; by default
    the rule's, in CamelCase. Raises RuleError if the function is not a rule.

    >>> import ravine.numpy, numpy as np
    >>> from ravine.ops import sign
    >>> def sign_descent(p, g, *, lr=1e-3):
    ...     return p - lr * sign(g)
    >>> SignDescent = ravine.numpy.optimizer(sign_descent)
    >>> w = np.zeros(3)
    >>> SignDescent({"w": w}, lr=0.1).step({"w": np.array([1.0, -2.0, 0.0])})
    {'w': array([-0.1,  0.1,  0. ])}
    """
    made = rule if isinstance(rule, Rule) else as_rule(rule)
    plan(made, made.check())

    class Optimizer(RuleOptimizer):
        spelling = spelling_of(made)

        def __init__(self, params: Any, *, engine: str = "auto", **hyperparameters: Any) -> None:
            super().__init__(params, made.values(hyperparameters), engine)

    spellings.present(Optimizer, made, name)
    return Optimizer


class SGD(RuleOptimizer):
    """Gradient descent, with momentum, Nesterov's momentum and L2 regularisation (weight_decay)."""

    spelling = spellings.SGD

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class RMSprop(RuleOptimizer):
    """The gradient over its root mean square; options as in torch.optim.RMSprop."""

    spelling = spellings.RMSPROP

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adam(RuleOptimizer):
    """Adam, or AMSGrad with amsgrad=True; weight_decay is L2."""

    spelling = spellings.ADAM

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class AdamW(RuleOptimizer):
    """Adam with decoupled weight decay; the options are those of Adam."""

    spelling = spellings.ADAMW

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class NAdam(RuleOptimizer):
    """Adam with Nesterov's look ahead; options as in torch.optim.NAdam."""

    spelling = spellings.NADAM

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class RAdam(RuleOptimizer):
    """Adam with a rectified denominator; options as in torch.optim.RAdam."""

    spelling = spellings.RADAM

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adamax(RuleOptimizer):
    """Adam over the largest recent gradient; options as in torch.optim.Adamax."""

    spelling = spellings.ADAMAX

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adagrad(RuleOptimizer):
    """The gradient over the root of the sum of its squares; options as in torch.optim.Adagrad."""

    spelling = spellings.ADAGRAD

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adadelta(RuleOptimizer):
    """Steps as long as the last ones were; options as in torch.optim.Adadelta."""

    spelling = spellings.ADADELTA

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Rprop(RuleOptimizer):
    """Step sizes by the signs of the gradient; options as in torch.optim.Rprop."""

    spelling = spellings.RPROP

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class ASGD(RuleOptimizer):
    """Descent whose weights are averaged, in the state `ax`; options as in torch.optim.ASGD."""

    spelling = spellings.ASGD

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adafactor(RuleOptimizer):
    """Relative steps, the squares kept by row and column; options as in torch.optim.Adafactor."""

    spelling = spellings.ADAFACTOR

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Muon(RuleOptimizer):
    """Momentum with singular values near 1, for matrices; options as in torch.optim.Muon.

    Computed in the precision of the arrays, where torch has bfloat16.
    """

    spelling = spellings.MUON_IN_FULL

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Model(NamedTuple):
    """A model as two functions.

    predict(params, x): the predictions for the rows of x. gradient(params, x, d): the gradient of
    the loss by the parameters, in their structure, where d is its gradient by the predictions.
    """

    predict: Callable[[Any, Any], Any]
    gradient: Callable[[Any, Any, Any], Any]


class Loss(NamedTuple):
    """A loss as two functions of predictions and targets: its value, its gradient by predictions."""

    value: Callable[[Any, Any], float]
    gradient: Callable[[Any, Any], Any]


linear = Model(
    predict=lambda params, x: np.dot(x, params["m"]) + params["b"],
    gradient=lambda params, x, d: {"m": np.dot(d, x), "b": np.sum(d)},
)
"""The line m*x + b, with params {"m": slope, "b": intercept}; for x of shape (n, k), m has shape (k,)."""

mean_squared_error = Loss(
    value=lambda prediction, y: float(np.mean((prediction - y) ** 2)),
    gradient=lambda prediction, y: 2 * (prediction - y) / np.size(y),
)
"""mean((prediction - y)**2)."""


@dataclass
class History:
    """What :func:`fit` did.

    params: after the last epoch. losses: of all rows, after each epoch. path: the parameters after
    each epoch. steps: how many were taken. seconds: wall time. stopped: "epochs" (all were run),
    "threshold" (the loss changed by less), "diverged" (it is not finite) or "callback".
    """

    params: Any
    losses: list[float] = field(default_factory=list)
    path: list[Any] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    stopped: str = "epochs"

    @property
    def epochs(self) -> int:
        """How many epochs were run."""
        return len(self.losses)


def fit(
    model: Model,
    loss: Loss,
    params: Any,
    x: Any,
    y: Any,
    *,
    optimizer: str | Rule | Callable[..., Any] = "adam",
    learning_rate: float | None = None,
    epochs: int = 100,
    batch_size: int | str = 64,
    stopping_threshold: float | None = None,
    clipping: float | None = None,
    seed: Any = 0,
    callback: Callable[[int, Any, float], bool | None] | None = None,
    **hyperparameters: Any,
) -> History:
    """Train a model on rows of data, mini-batch by mini-batch.

    model, loss: see :class:`Model`, :class:`Loss`; `linear` and `mean_squared_error` are at hand.
    params: where to start; they are copied. x, y: arrays of n rows. optimizer: a rule, or its name.
    learning_rate: its lr; by default the rule's own. epochs: passes over the data, at the most.
    batch_size: rows per step; 1 is SGD, "all" is gradient descent. stopping_threshold: stop when
    the loss of all rows changes by less from one epoch to the next. clipping: bring each coordinate
    of the gradient into [-clipping, clipping]. seed: a number, or a NumPy random generator (the
    legacy RandomState as well), which shuffles the rows anew in each epoch. callback(epoch, params,
    loss): called after each epoch, counted from 1; return True to stop. Further keywords are the
    rule's hyperparameters. Raises ValueError or TypeError for what is not accepted.

    >>> x = np.linspace(-1, 1, 100)
    >>> done = fit(linear, mean_squared_error, {"m": 0.0, "b": 0.0}, x, 2 * x + 1, learning_rate=0.1)
    >>> round(done.params["m"], 3), round(done.params["b"], 3)
    (2.0, 1.0)
    """
    x, y = np.asarray(x), np.asarray(y)
    rows = len(x)
    if len(y) != rows or not rows:
        raise ValueError(
            f"fit: x has {rows} rows and y {len(y)}; both must have the same number, at least 1"
        )
    batch: Any = rows if batch_size == "all" else batch_size
    for name, value in (("epochs", epochs), ("batch_size", batch)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            also = ' or "all"' * (name == "batch_size")
            raise ValueError(
                f"fit: {name}={value!r} is not accepted; {name} is a whole number >= 1{also}"
            )
    if stopping_threshold is not None and not stopping_threshold >= 0:
        raise ValueError(
            f"fit: stopping_threshold={stopping_threshold!r} is not accepted; it is a number >= 0, or None"
        )
    rule = registry.get(optimizer) if isinstance(optimizer, str) else optimizer
    rule = rule if isinstance(rule, Rule) else as_rule(rule)
    if clipping is not None:
        rule = clip_by_value(rule, clip_value=clipping)
    if learning_rate is not None:
        hyperparameters["lr"] = learning_rate
    stepper = _class_of(rule)(copy.deepcopy(params), **hyperparameters)
    random = seed if hasattr(seed, "permutation") else np.random.default_rng(seed)

    done = History(stepper.params)
    start, before = time.perf_counter(), np.inf
    with np.errstate(over="ignore", invalid="ignore"):  # `stopped` says it
        for epoch in range(1, epochs + 1):
            order = random.permutation(rows)
            x, y = x[order], y[order]
            for i in range(0, rows, batch):
                x_batch, y_batch = x[i : i + batch], y[i : i + batch]
                d = loss.gradient(model.predict(stepper.params, x_batch), y_batch)
                stepper.step(model.gradient(stepper.params, x_batch, d))
                done.steps += 1
            now = loss.value(model.predict(stepper.params, x), y)
            done.losses.append(now)
            done.path.append(copy.deepcopy(stepper.params))
            if callback is not None and callback(epoch, stepper.params, now):
                done.stopped = "callback"
            elif not np.isfinite(now):
                done.stopped = "diverged"
            elif stopping_threshold is not None and abs(before - now) < stopping_threshold:
                done.stopped = "threshold"
            else:
                before = now
                continue
            break
    done.params, done.seconds = stepper.params, time.perf_counter() - start
    return done


_class_of = optimizer  # `fit` has an argument of that name
