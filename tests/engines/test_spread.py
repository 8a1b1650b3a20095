"""Kernels of tensors that are parts of others: between the passes, the parts' sums become the whole's."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from cases import gradients
from kernels import Kernel, address

from ravine import rule, rules, zeros
from ravine.engines.cpu import READY, Step, kernel
from ravine.engines.eager import plan
from ravine.engines.kernel import COLUMN, MATRIX, ROW
from ravine.modifiers import clip_by_global_norm
from ravine.ops import greatest, least, mean, norm

CUTS = {"rows": (0, [0, 4, 6, 6]), "columns": (1, [0, 1, 1, 5])}  # an empty part among them
FOLD = {"sum": np.add, "greatest": np.maximum, "least": np.minimum}


@rule(r=zeros(-1), c=zeros(-2))
def of_lines(p, g, r, c, *, lr=0.05):
    """Reductions of elements, of rows and of columns, to lines and to one number."""
    r = 0.5 * r + greatest(g, axis=-1) + mean(g, axis=-1)
    c = 0.5 * c + least(g, axis=-2)
    return p - lr * (g + r - c) / (1 + norm(r) + greatest(c) + abs(mean(r, axis=-2))), r, c


class Together:
    """Parts of one matrix, each stepped in a thread, whose sums are put together between passes."""

    def __init__(self, made, whole, axis, cuts):
        self.axis, self.spans = axis, list(pairwise(cuts))
        hyper = made.check()
        self.kernel = kern = kernel(plan(made, hyper), spread=True)
        self.ps = [self.part(whole, i) for i in range(len(self.spans))]
        self.slots = [
            {s: self.part(made.start(s, whole, hyper), i) for s in kern.arrays}
            for i in range(len(self.spans))
        ]
        self.counts = np.zeros(len(self.ps))
        self.steps = []
        for i, p in enumerate(self.ps):
            shapes = [
                kern.matrices(x.shape) if kern.by_lines else (1, 1, x.size) for x in (p, whole)
            ]
            dtypes = ("float64",) * len(kern.columns)
            step = Step(kern, [p.size], [dtypes], matrices=shapes[:1], wholes=shapes[1:])
            step.set_group(0, [hyper[name] for name in step.inputs])
            step.point("p", [address(p) if p.size else step.anywhere])
            for slot, x in self.slots[i].items():
                step.point(slot, [address(x) if x.size else step.anywhere])
            step.point("step", [self.counts[i:].ctypes.data])
            self.steps.append(step)
        self.barrier = threading.Barrier(len(self.ps))

    def part(self, x, i):
        """What belongs to a part: all of it along an axis of length 1."""
        if x.shape[self.axis] == 1:
            return x.copy()
        return np.ascontiguousarray(
            np.moveaxis(np.moveaxis(x, self.axis, 0)[slice(*self.spans[i])], 0, self.axis)
        )

    def between(self, i, stage):
        """Of what is found for a stage, the whole's in place of a part's."""
        self.barrier.wait()
        for value in self.kernel.found(stage):
            line = self.kernel.line_of(2, self.axis)
            if line not in self.kernel.reduced(value):
                continue
            views = []
            for step in self.steps:
                first, count = step.where(value, 0)
                views.append(np.frombuffer(step.numbers)[first : first + count])
            parts = [view.copy() for view in views]
            self.barrier.wait()
            found = parts[0]
            for part in parts[1:]:
                found = FOLD[value.op.rpartition("_")[2]](found, part)
            self.barrier.wait()
            views[i][:] = found
        self.barrier.wait()

    def step(self, g):
        """One step of all parts."""
        grads = [self.part(g, i) for i in range(len(self.ps))]
        status = [None] * len(grads)

        def run(i):
            step = self.steps[i]
            step.point("g", [address(grads[i]) if grads[i].size else step.anywhere])
            status[i] = step.run(1, between=lambda stage: self.between(i, stage))

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(grads))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert status == [READY] * len(grads)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("made", [rules.adafactor, of_lines, clip_by_global_norm(rules.adam)])
def test_parts_are_stepped_as_the_whole(made, cut):
    start = np.random.default_rng(0).normal(size=(6, 5))
    alone, parts = Kernel(made, [start.copy()]), Together(made, start, *CUTS[cut])
    for g in gradients((6, 5), 5, seed=1):
        alone.step([g])
        parts.step(g)
    for i, p in enumerate(parts.ps):
        np.testing.assert_allclose(p, parts.part(alone.ps[0], i), rtol=0, atol=1e-14)
        for slot, x in parts.slots[i].items():
            np.testing.assert_allclose(x, parts.part(alone.state[0][slot], i), rtol=0, atol=1e-14)
    assert list(parts.counts) == [5.0] * len(parts.ps)


def test_what_lies_along_an_axis():
    def along(function, ndim, seen=""):
        kern = kernel(plan(made := rule(function, seen=seen), made.check()))
        return [kern.line_of(ndim, axis) for axis in range(ndim)]

    def by_first(p, g):
        return p - mean(g, keep=0)

    def by_last(p, g):
        return p - mean(g, axis=-1)

    def by_both(p, g):
        return p - mean(g, axis=-1) * mean(g, axis=-2)

    assert along(by_both, 2) == along(by_first, 2) == [ROW, COLUMN]
    assert along(by_first, 3) == [ROW, COLUMN, COLUMN]
    assert along(by_last, 3) == [ROW, ROW, COLUMN]
    assert along(by_both, 4) == [MATRIX, MATRIX, ROW, COLUMN]
    assert along(by_both, 4, "matrix") == [ROW, COLUMN, COLUMN, COLUMN]
    assert along(by_both, 4, "stack") == [MATRIX, MATRIX, ROW, COLUMN]
