"""Steps of kernels on arrays and tensors, for the tests of the CPU engine."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from cases import gradients

from ravine.engines.cpu import READY, Step, kernel
from ravine.engines.eager import plan
from ravine.rule import Rule

Arrays = list[Any]  # NumPy arrays or torch tensors


def address(x: Any) -> int:
    return x.data_ptr() if isinstance(x, torch.Tensor) else x.ctypes.data


def dtype(x: Any) -> str:
    return str(x.dtype).removeprefix("torch.")


class ByReciprocal(np.ndarray):
    """An array that a number divides as in kernels: multiplied by the number's reciprocal."""

    def __truediv__(self, other: Any) -> Any:
        if np.ndim(other):
            return super().__truediv__(other)
        try:
            return self * (1.0 / other)
        except ZeroDivisionError:
            return self * np.inf

    def __array_function__(self, *call: Any) -> Any:
        """np.where would make a plain array."""
        made = super().__array_function__(*call)
        return made.view(ByReciprocal) if isinstance(made, np.ndarray) else made


def array(x: Any) -> Any:
    """NumPy makes numbers of arrays without dimensions."""
    return x if isinstance(x, torch.Tensor) else np.array(x)


class Kernel:
    """A rule stepped by its kernel: parameters and state in place.

    state: for each parameter, its live slots. dtypes: for slots that are not to have p's dtype.
    """

    def __init__(
        self,
        rule: Rule,
        ps: Arrays,
        groups: Sequence[int] | None = None,
        stochastic: bool = False,
        **hyper: Any,
    ):
        self.rule, self.ps, self.stochastic = rule, [array(p) for p in ps], stochastic
        self.hyper = rule.check(**hyper)
        self.graph = plan(rule, self.hyper)
        self.groups = list(groups or [0] * len(ps))
        slots = {s: rule.slots[s] for s in self.graph.live}
        self.state = [
            {
                s: x if isinstance(x := slot.init(p, **self.hyper), float) else array(x)
                for s, slot in slots.items()
            }
            for p in ps
        ]
        self.t = 0

    def bind(self, grads: Arrays) -> Step:
        kern, grads = kernel(self.graph), [array(g) for g in grads]
        self.columns = [
            [p, g, *(state[s] for s in kern.columns[2:])]
            for p, g, state in zip(self.ps, grads, self.state, strict=True)
        ]
        sizes = [p.size if isinstance(p, np.ndarray) else p.numel() for p in self.ps]
        dtypes = [[dtype(x) for x in row] for row in self.columns]
        matrices = [kern.matrices(p.shape) for p in self.ps] if kern.by_lines else None
        return Step(kern, sizes, dtypes, self.groups, matrices=matrices, stochastic=self.stochastic)

    def step(self, grads: Arrays, t: Sequence[int] | None = None, noise: int = 0, **hyper: Any):
        """One step; t, and hyperparameters as lists, are given for each group."""
        step = self.bind(grads)
        for i, name in enumerate(step.kernel.columns):
            step.point(name, [address(row[i]) for row in self.columns])
        for group in range(1 + max(self.groups)):
            values = {k: v[group] if isinstance(v, list) else v for k, v in hyper.items()}
            values = {**self.hyper, **values}
            step.set_group(group, [values[name] for name in step.inputs])
        numbers = {name: [np.array(float(s[name])) for s in self.state] for name in step.slots}
        numbers["step"] = [np.array(float(t[g] - 1 if t else self.t)) for g in self.groups]
        for name, values in numbers.items():
            step.point(name, [address(x) for x in values])
        assert step.run(len(self.ps), noise) == READY
        self.t += 1
        for name in step.slots:
            for state, value in zip(self.state, numbers[name], strict=True):
                state[name] = value.item()
        return step


def arrays(sizes, steps, dtype=np.float64, seed=0):
    """Parameters, and gradients for each step; none of them aligned to more than an element."""
    draw = np.random.default_rng(seed)
    ps = [draw.normal(size=n + 1).astype(dtype)[1:] for n in sizes]
    columns = [gradients((n + 1,), steps, seed=i)[:, 1:].astype(dtype) for i, n in enumerate(sizes)]
    return ps, [list(grads) for grads in zip(*columns, strict=True)]


def run(made, ps, path, **hyper):
    """The rule's steps by the kernel: parameters and live state of each after the last."""
    stepped = Kernel(made, [p.copy() for p in ps], **hyper)
    for grads in path:
        stepped.step(grads)
    return stepped.ps, stepped.state


def assert_same(got, want, check=np.testing.assert_array_equal):
    for mine, theirs in zip(got[0], want[0], strict=True):
        assert mine.dtype == np.asarray(theirs).dtype
        check(mine, theirs)
    for mine, theirs in zip(got[1], want[1], strict=True):
        assert mine.keys() == theirs.keys()
        for slot in mine:
            check(mine[slot], theirs[slot])


def name(case):
    return case.name if hasattr(case, "name") else "-".join(f"{k}={v}" for k, v in case.items())
