"""Its state: saved and loaded, copied, pickled."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ravine.checks.probe import EQUAL, SINGLE, Path, apart, walked
from ravine.checks.registry import Context, Fault, Skip, check, failing, refusal
from ravine.checks.subjects import CouldNotRun, Running

__all__: list[str] = []

_BEFORE, _AFTER = slice(0, 4), slice(4, 8)
"""The steps of the probe before and after the interruption."""


@check("torch", "state_dict")
def saves(c: Context) -> str | None:
    """Its state goes through torch.save and torch.load(weights_only=True).

    Runs: four steps, then state_dict(), torch.save, and torch.load as it is by default, which
    accepts tensors and plain values only.

    Fault: saving or loading raises. State that holds functions, generators or objects of a class of
    its own cannot be saved, or needs weights_only=False, which runs any code that the file
    contains.

    Fix: keep in `self.state` and `self.param_groups` only tensors, numbers, text, and lists and
    dicts of these.
    """
    running = c.fresh(**c.busy)
    walked(running, c.probe.grads[_BEFORE])
    with failing("its state cannot be saved"):
        file = _file(running.optimizer.state_dict())
    with failing("torch.load(weights_only=True) refuses its state"):
        _load(file, weights_only=True)
    return None


@check("torch", "state_dict")
def resumes(c: Context) -> str | None:
    """Training resumed from a checkpoint continues bit for bit as if it had never been interrupted.

    Runs: eight steps at once; and four steps, a checkpoint through a file, a fresh optimizer that
    loads it, and four more.

    Fault: the paths differ. Something that the steps depend on is missing from state_dict(): a
    count kept in `self.t`, an average in a list, a dict keyed by id(p).

    Fix: keep all of it in `self.state[p]`, or in `self.param_groups` where it belongs to all
    tensors; or extend state_dict() and load_state_dict().
    """
    expected, found, _, _ = _resumed(c, "float64")
    return _goes_on(expected, found, "resumed")


@check("torch", "state_dict")
def state_keeps_its_dtype(c: Context) -> str | None:
    """State has the same dtypes after a checkpoint as before, for float64 and for bfloat16 parameters.

    Runs: four steps, a checkpoint, four more; then the dtypes of all tensors of the state are
    compared with those of an optimizer that was not interrupted.

    Fault: an average kept in float32 for bfloat16 parameters comes back in bfloat16, since torch's
    load_state_dict converts state to the dtype of its parameter. What it rounds away is lost. Of
    single numbers that is a remark: torch.optim's NAdam and ASGD have it, too.

    Fix: override load_state_dict and put the dtypes back, or keep state in the dtype of the
    parameters.
    """
    said = []
    for dtype in ("float64", "bfloat16"):
        try:
            _, _, before, after = _resumed(c, dtype)
        except Skip:
            if dtype == "float64":
                raise
            continue
        changed = {
            k: f"{_short(was)} to {_short(after[k][0])}"
            for k, (was, _) in before.items()
            if k in after and after[k][0] != was
        }
        arrays = {k: x for k, x in changed.items() if before[k][1] > 1}
        if arrays:
            raise Fault(f"for {dtype} parameters, loading changes the dtype of {_listed(arrays)}")
        if changed:
            said.append(f"for {dtype} parameters, loading changes the dtype of {_listed(changed)}")
    return "; ".join(said)


@check("torch", "state_dict", "groups")
def resumes_reordered(c: Context) -> str | None:
    """An optimizer with its parameters in another order loads a checkpoint correctly.

    Runs: four steps, a checkpoint whose state and parameters are listed in another order, as a
    script that builds its groups otherwise would need them; a fresh optimizer of that order loads
    it, and takes four steps.

    Fault: the paths differ. State is kept in a list by position, or in the order in which a dict
    happened to be filled.

    Fix: keep state in `self.state[p]`, by the parameter.
    """
    if c.coupled:
        raise Skip("the step of a tensor depends on the other tensors")
    order = [2, 0, 1]
    probe = c.probe
    moved = c.fresh(None, "float64", lambda ps: [ps[i] for i in order], **c.busy)
    every = np.concatenate([probe.grads[_BEFORE], probe.grads[_AFTER]])
    if apart(walked(moved, every), c.path(8, **c.busy)) > EQUAL:
        raise Skip("its steps depend on the order of the parameters")

    def reordered(saved: Any) -> Any:
        try:
            state, groups = saved["state"], saved["param_groups"]
            for group in groups:
                for k in ("params", "param_names"):
                    if k in group:
                        group[k] = [group[k][i] for i in order]
        except (TypeError, KeyError, IndexError):
            raise Skip("its state_dict has a nonstandard form") from None
        return {**saved, "state": dict(reversed(state.items()))}

    expected, found, _, _ = _resumed(c, "float64", reordered, lambda ps: [ps[i] for i in order])
    far = c.off(expected, found)
    if far:
        raise Fault(
            f"with its parameters in another order it resumes differently, by {far:.1e} of a step"
        )
    return None


@check("object")
def deep_copies(c: Context) -> str | None:
    """A deep copy made together with its parameters takes the same steps, and leaves the original alone.

    Runs: four steps, copy.deepcopy, and four more steps of the copy and then of the original.

    Fault: the copy takes different steps, or the steps of one change the other. What raises is a
    remark. Typical causes are state outside of the object, dicts keyed by id(p), and attributes
    that torch's `__getstate__` leaves out: it keeps `defaults`, `state` and `param_groups` only.

    Fix: keep everything in `self.state` and `self.param_groups`, or extend `__getstate__`.
    """
    running = c.fresh(**c.busy)
    walked(running, c.probe.grads[_BEFORE])
    try:
        params, optimizer = copy.deepcopy((running.params, running.optimizer))
    except (Exception, SystemExit) as error:
        return f"it cannot be copied: {refusal(error)}"
    return _both(c, running, running.holding(params, optimizer), "a deep copy")


@check("object")
def pickles(c: Context) -> str | None:
    """Pickled together with its parameters, it takes the same steps.

    Runs: four steps, pickle.dumps and pickle.loads, and four more steps of both.

    Fault: what comes back takes different steps, since attributes that `__getstate__` leaves out are
    missing. What raises, as where an attribute is a function, is a remark.

    Fix: keep such attributes out of the object, and everything else in `self.state` and
    `self.param_groups`.
    """
    running = c.fresh(**c.busy)
    walked(running, c.probe.grads[_BEFORE])
    its = running.optimizer if isinstance(running.optimizer, list) else [running.optimizer]
    try:
        pickle.loads(pickle.dumps([type(x) for x in its]))
    except Exception as error:
        raise Skip("its class is not where pickle looks for it") from error
    try:
        params, optimizer = pickle.loads(pickle.dumps((running.params, running.optimizer)))
    except (Exception, SystemExit) as error:
        return f"it cannot be pickled: {refusal(error)}"
    return _both(c, running, running.holding(params, optimizer), "pickled and read back, it")


def _both(c: Context, running: Running, other: Running, what: str) -> str | None:
    after = c.probe.grads[_AFTER]
    try:
        found = walked(other, after)
    except CouldNotRun as error:
        return f"{what} cannot be stepped: {refusal(error)}"
    expected = walked(running, after)
    alone = c.path(8, **c.busy)[4:]
    if not np.array_equal(expected, alone, equal_nan=True):
        raise Fault(f"{what} shares state with the original, whose steps change")
    return _goes_on(expected, found, what)


def _goes_on(expected: Path, found: Path, what: str) -> str | None:
    """That the paths are the same bits; a remark where they are the same in single precision."""
    if np.array_equal(expected, found, equal_nan=True):
        return None
    far = apart(expected, found)
    rows = ~((expected == found) | (np.isnan(expected) & np.isnan(found))).all(axis=1)
    first = int(np.flatnonzero(rows)[0])
    if far > SINGLE:
        raise Fault(
            f"{what} takes different steps",
            f"{'at once' if first <= 1 else f'from step {first} on'}, by up to {far:.2g} of a step",
        )
    return f"{what} takes the same steps except for rounding ({far:.0e})"


_Kinds = dict[str, tuple[Any, int]]


def _resumed(
    c: Context,
    dtype: str,
    changed: Callable[[Any], Any] = lambda saved: saved,
    arrange: Callable[[list[Any]], Any] = list,
) -> tuple[Path, Path, _Kinds, _Kinds]:
    """The paths after a checkpoint: uninterrupted, and resumed; and the dtypes and sizes of both states."""
    try:
        running = c.fresh(None, dtype, **c.busy)
        walked(running, c.probe.grads[_BEFORE])
    except CouldNotRun as error:
        raise Skip(f"it refuses {dtype}: {error.why}") from error
    starts = running.parameters()
    try:
        file = _file(running.optimizer.state_dict())
    except (Exception, SystemExit) as error:
        raise Skip("its state cannot be saved") from error
    expected = walked(running, c.probe.grads[_AFTER])
    other = c.fresh(starts, dtype, arrange, **c.busy)
    other.steps = running.steps - len(c.probe.grads[_AFTER])
    saved = changed(_load(file, weights_only=False))
    with failing("it cannot load its state_dict"):
        other.optimizer.load_state_dict(saved)
    with failing("it cannot be stepped after a checkpoint"):
        found = walked(other, c.probe.grads[_AFTER])
    return expected, found, _kinds(running), _kinds(other)


def _file(state: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _load(file: bytes, weights_only: bool) -> Any:
    import torch

    return torch.load(io.BytesIO(file), weights_only=weights_only)


def _kinds(running: Running) -> _Kinds:
    state = running.optimizer.state_dict()
    return dict(_tensors(state.get("state", state) if isinstance(state, Mapping) else state, ""))


def _tensors(x: Any, name: str) -> Iterator[tuple[str, tuple[Any, int]]]:
    """Each tensor in a state: its name, its dtype, how many numbers it has."""
    if hasattr(x, "dtype") and hasattr(x, "numel"):
        yield name, (x.dtype, x.numel())
    elif isinstance(x, Mapping):
        for k, v in x.items():
            yield from _tensors(v, f"{name}/{k}" if name else str(k))
    elif isinstance(x, (list, tuple)):
        for i, v in enumerate(x):
            yield from _tensors(v, f"{name}/{i}")


def _short(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


def _listed(changed: Mapping[str, str]) -> str:
    """Each name once, though every tensor has it."""
    its: dict[str, str] = {}
    for k, x in changed.items():
        its.setdefault(k.rpartition("/")[2], x)
    return ", ".join(f"{k} ({x})" for k, x in its.items())
