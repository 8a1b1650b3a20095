"""Its manners: closures, gradients, memory, threads, and what it changes besides parameters."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ravine.checks.guard import described, draws
from ravine.checks.kinds.base import array_bytes
from ravine.checks.probe import walked
from ravine.checks.registry import Context, Fault, Skip, check, failing
from ravine.checks.subjects import CouldNotRun, Running

__all__: list[str] = []

_LONG = 240
"""Steps after which a history that is kept on purpose is full."""


@check("torch", "plain")
def closures(c: Context) -> str | None:
    """A closure is called with gradients enabled, and its loss is returned.

    Runs: four steps with a closure that sets the gradients.

    Fault: the closure is not called, or under no_grad, so that its backward() fails; the loss is
    lost, which Lightning and others rely on; or step takes no closure although it is a
    torch.optim.Optimizer's.

    Fix: `with torch.enable_grad(): loss = closure()` at the beginning of `step(self,
    closure=None)`, and `return loss` at its end.
    """
    import torch

    running: Any = c.fresh(**c.busy)
    called: list[bool] = []
    rows = [np.concatenate([x.ravel() for x in running.parameters()])]
    for t, grads in enumerate(c.probe.grads[:4]):

        def closure(grads: Any = grads, t: int = t) -> Any:
            called.append(torch.is_grad_enabled())
            running.give(list(grads))
            return torch.tensor(float(t + 3))

        running.optimizer.zero_grad() if hasattr(running.optimizer, "zero_grad") else None
        try:
            loss = running.optimizer.step(closure)
        except TypeError as error:
            if not isinstance(running.optimizer, torch.optim.Optimizer):
                raise Skip("its step takes no closure") from error
            raise Fault(f"step(closure) fails: {described(error)}") from error
        if len(called) <= t:
            raise Fault("step(closure) does not call the closure")
        if loss is None or float(loss) != t + 3:
            raise Fault(f"step(closure) returns {loss!r}, not the loss")
        rows.append(np.concatenate([x.ravel() for x in running.parameters()]))
    if not all(called):
        raise Fault("the closure is called with gradients disabled")
    if c.off(np.stack(rows), c.path(4, **c.busy)):
        raise Fault("step(closure) takes different steps than step()")
    return None


@check("gradients")
def gradients_untouched(c: Context) -> str | None:
    """A step does not change the gradients.

    Runs: three steps, and a look at the gradients after each.

    Fault: a gradient was changed in place, as by `grad.add_(p, alpha=weight_decay)`, or set to
    None. Who logs gradients after the step, or accumulates into them, gets something else.

    Fix: compute with a new tensor: `grad = grad.add(p, alpha=weight_decay)`.
    """
    running = c.fresh(**c.busy)
    for grads in c.probe.grads[:3]:
        running.step(list(grads))
        for was, now in zip(grads, running.gradients(), strict=True):
            if now is None:
                raise Fault("step sets gradients to None")
            was = np.asarray(was, running.dtype)
            if not np.array_equal(was, now):
                raise Fault(
                    "step changes gradients in place", f"by up to {np.abs(was - now).max():.3g}"
                )
    return None


@check("torch", "plain")
def no_graph_kept(c: Context) -> str | None:
    """No autograd graph is kept alive by its state, and parameters remain leaves.

    Runs: two steps with gradients that belong to a graph, as backward(create_graph=True) leaves
    them.

    Fault: state requires gradients, so that the graphs of all steps are kept, and memory grows; or
    a parameter is the result of an operation, and no longer trained.

    Fix: put @torch.no_grad() on step, and change parameters in place.
    """
    import torch

    if c.values.get("differentiable"):
        raise Skip("it is asked to be differentiable")
    running = c.fresh(**c.busy)
    for grads in c.probe.grads[:2]:
        for p, g in zip(running.params, grads, strict=True):
            factor = torch.ones((), dtype=p.dtype, requires_grad=True)
            p.grad = torch.tensor(g, dtype=p.dtype) * factor
        try:
            running.optimizer.step()
        except RuntimeError as error:
            raise Fault(
                f"it fails with gradients that are part of a graph: {described(error)}"
            ) from error
    if any(p.grad_fn is not None for p in running.params):
        raise Fault("after a step the parameters are not leaves of the graph")
    its = [*_named(running._state(), "", {id(p) for p in running.params})]
    kept = sorted({k for k, x in its if x.requires_grad})
    if kept:
        raise Fault(f"the state keeps a graph: {', '.join(kept[:4])}")
    return None


def _named(x: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Each tensor in a state, with its name."""
    if id(x) in seen:
        return
    seen.add(id(x))
    if hasattr(x, "requires_grad") and hasattr(x, "grad_fn"):
        yield name, x
    elif isinstance(x, Mapping):
        for k, v in x.items():
            yield from _named(v, k if isinstance(k, str) else name, seen)
    elif isinstance(x, (list, tuple)):
        for v in x:
            yield from _named(v, name, seen)
    elif hasattr(x, "__dict__") and not isinstance(x, type):
        yield from _named(vars(x), name, seen)


@check("torch")
def memory_freed(c: Context) -> str | None:
    """An optimizer that is deleted frees its parameters, and its state does not grow with every step.

    Runs: steps with a look at the bytes of its state; then it is deleted with its parameters, which
    are to be gone.

    Fault: something outside of the object refers to the parameters, such as a dict of the module or
    a hook; or every step appends to a list.

    Fix: keep state in `self.state`, and have hooks hold weak references.
    """
    running = c.fresh(**c.busy)
    begun = time.perf_counter()
    sizes = []
    for i in (0, 4, 8):
        walked(running, c.probe.grads[i : i + 4])
        sizes.append(running.state_bytes())
    if sizes[0] < sizes[1] < sizes[2] and time.perf_counter() - begun < 0.1:
        for _ in range(_LONG // len(c.probe.grads)):
            walked(running, c.probe.grads)
        whole = running.state_bytes()
        walked(running, c.probe.grads[:4])
        if running.state_bytes() > whole:
            grown = (running.state_bytes() - sizes[0]) / (running.steps - 4)
            raise Fault(f"its state grows with every step, by {grown:.0f} bytes in each")
    held = [weakref.ref(p) for p in running.params]
    del running
    if any(r() is not None for r in held):
        gc.collect()
    if any(r() is not None for r in held):
        raise Fault("its parameters are kept in memory after it is deleted")
    return None


@check(fact=True)
def state_memory(c: Context) -> str | None:
    """How much memory its state takes.

    Runs: two steps of one matrix of 32 by 64, in float32 where it computes in it.

    Fact: the bytes of its state over those of the parameters. Adam keeps two averages, and takes 2.
    """
    dtype = "float32" if "dtypes" in c.subject.has else "float64"
    start = np.random.default_rng(3).standard_normal((32, 64))
    try:
        running = c.fresh([start], dtype, **c.busy)
        walked(running, [[start[::-1]], [start]])
    except CouldNotRun as error:
        raise Skip(str(error)) from error
    whole = array_bytes(running.params) or start.size * np.dtype(dtype).itemsize
    if not running.state_bytes():
        return "it keeps no state"
    times = f"{running.state_bytes() / whole:.3g}"
    much = "as many bytes as" if times == "1" else f"{times} times as many bytes as"
    return f"its state takes {much} the parameters"


@check()
def two_at_once(c: Context) -> str | None:
    """Two optimizers that take turns do not affect each other.

    Runs: two optimizers with other gradients, by turns, six steps each; and one of them alone.

    Fault: they share state: an attribute of the class, a default argument that is a dict or a list,
    a global.

    Fix: create state in `__init__` or in the step, never in the class body or among the default
    arguments.
    """
    one, other = c.fresh(**c.busy), c.fresh(**c.busy)
    grads = c.probe.grads[:6]
    rows = []
    for g in grads:
        one.step(list(g))
        other.step(list(-0.7 * g[::-1]))
        rows.append(np.concatenate([x.ravel() for x in one.parameters()]))
    far = c.off(np.stack([c.probe.starts.ravel(), *rows]), c.path(6, **c.busy))
    if far:
        raise Fault(f"two optimizers affect each other: a step differs by {far:.1e} of itself")
    return None


@check("object")
def two_threads(c: Context) -> str | None:
    """Two optimizers in two threads take the same steps as each would alone.

    Runs: two optimizers, each in a thread, ten steps at the same time, and each alone.

    Fault: a step uses memory that all optimizers share, such as a buffer of the module, or changes
    settings of the process for a while. Races, sweeps and tests train in threads.

    Fix: use memory of the object, or of the step itself.
    """
    tried = c.fresh(**c.busy)
    tried.step(list(c.probe.grads[0]))
    before = str(draws())
    tried._step([np.array(g) for g in c.probe.grads[1]])
    if before != str(draws()):
        raise Skip("it draws random numbers that all threads share")
    given = (c.probe.grads[:10], -0.7 * c.probe.grads[9::-1])
    alone = [walked(c.fresh(**c.busy), grads)[::10] for grads in given]
    every = [c.fresh(**c.busy) for _ in given]
    ready = threading.Barrier(len(given))
    errors: list[BaseException] = []

    def train(running: Running, grads: Any) -> None:
        try:
            ready.wait(5)
            for t, g in enumerate(grads, 1):
                running.steps = t
                running._step([np.array(x) for x in g])
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=train, args=x, daemon=True) for x in zip(every, given, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if any(thread.is_alive() for thread in threads):
        raise Fault("two threads that step two optimizers wait for each other")
    with failing("in a thread it fails"):
        for error in errors:
            raise error
    for running, path in zip(every, alone, strict=True):
        end = np.concatenate([np.ravel(x) for x in running.parameters()])
        if c.off(np.stack([path[0], end]), path):
            raise Fault("two optimizers in two threads affect each other")
    return None


@check()
def quiet(c: Context) -> str | None:
    """It leaves alone what other code relies on, such as torch's default dtype.

    Runs: what all checks run; torch's default dtype, grad mode and threads, NumPy's handling of
    errors, the working directory and the recursion limit are compared before and after each step.

    Fault: one of these has changed, or the process is forked. What is printed is a remark, not a fault.

    Fix: use the context managers that put it back: torch.no_grad(), np.errstate().
    """
    c.path()
    heard = c.subject.heard
    if heard.changed:
        what = "; ".join(f"{k}: {v}" for k, v in heard.changed.items())
        raise Fault(f"it changes {what}")
    if heard.forks:
        raise Fault("it forks the process")
    return f"it prints {heard.printed.splitlines()[0]!r}" if heard.printed else None
