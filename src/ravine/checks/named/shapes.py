"""Parameters of every form: shapes, empty ones, layouts, complex numbers, sparse gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ravine.checks.probe import SINGLE, Probe, distance, unit, walked
from ravine.checks.registry import Context, Fault, Skip, check, refusal
from ravine.checks.subjects import CouldNotRun

__all__: list[str] = []

_CRASHES = (IndexError, KeyError, AttributeError, ZeroDivisionError, UnboundLocalError)
"""Errors of code that overlooks a case; a deliberate refusal raises other errors."""


@check()
def other_shapes(c: Context) -> str | None:
    """Vectors, single numbers and arrays of many axes are stepped by the same rule.

    Runs: six steps of parameters of six shapes. Asked of rules that step each element separately,
    where it is known what to expect. A shape that is refused is a remark.

    Fault: a shape is stepped differently from matrices are, such as biases that are left out.

    Fix: treat parameters alike, or refuse those that the rule is not for.
    """
    trial = c.identity.trial if c.identity.good else None
    if trial is None or not trial.graph.pointwise:
        raise Skip("it is not a known elementwise rule")
    refused, wrong = [], []
    for shape in ((5,), (1,), (), (2, 3, 2), (1, 4), (3, 1, 2, 2)):
        rng = np.random.default_rng(len(shape))
        starts, grads = rng.standard_normal(shape), rng.standard_normal((6, *shape))
        try:
            path = walked(c.fresh([starts]), [[g] for g in grads])
        except CouldNotRun:
            refused.append(str(shape))
            continue
        flat = Probe(starts.reshape(1, 1, -1), grads.reshape(6, 1, 1, -1))
        if distance(path, trial.path(flat), unit(path)) > SINGLE:
            wrong.append(str(shape))
    if wrong:
        raise Fault(f"parameters of shape {', '.join(wrong)} are stepped differently from matrices")
    return f"refuses parameters of shape {', '.join(refused)}" if refused else None


@check("torch")
def empty_parameters(c: Context) -> str | None:
    """A parameter without elements does not disturb the others, or is refused.

    Runs: four steps of two matrices, and of the same with a parameter of shape (0, 3) after them.

    Fault: the others become NaN or move otherwise, as where a norm is divided by a number of
    elements, or statistics of all tensors include it. What raises is a remark.

    Fix: skip parameters with p.numel() == 0.
    """
    (first, second, _), grads = c.probe.starts, c.probe.grads[:4]
    usual = walked(c.fresh([first, second], **c.busy), grads[:, :2])
    try:
        running = c.fresh([first, second, np.zeros((0, 3))], **c.busy)
        path = walked(running, [[g[0], g[1], np.zeros((0, 3))] for g in grads])
    except CouldNotRun as error:
        return _refused(error, "empty parameters")
    if c.off(path, usual):
        raise Fault("an empty parameter changes the steps of the others")
    return None


@check("torch")
def layouts(c: Context) -> str | None:
    """Parameters and gradients that are not contiguous are stepped like contiguous ones, or refused.

    Runs: six steps of matrices that are transposed in memory, or every other element of a larger
    one.

    Fault: they move otherwise, or not at all: `p.view(-1)`, `p.data.reshape(-1)` or a kernel that
    is given an address has changed a copy, or other elements.

    Fix: use operations of torch that respect strides, or refuse what is not contiguous.
    """
    import torch

    def laid_out(params: list[Any]) -> list[Any]:
        params[0].data = params[0].data.t().contiguous().t()
        wide = torch.zeros(params[1].shape[0], 2 * params[1].shape[1], dtype=params[1].dtype)
        wide[:, ::2] = params[1].data
        params[1].data = wide[:, ::2]
        return params

    grads = c.probe.grads[:6]
    try:
        path = walked(c.fresh(None, "float64", laid_out, **c.busy), grads)
    except CouldNotRun as error:
        return _refused(error, "parameters that are not contiguous")
    usual, its = c.path(6, **c.busy), c.probe.starts[0].size
    if c.off(path, usual):
        still = [
            (path[:, i * its : (i + 1) * its] == path[0, i * its : (i + 1) * its]).all()
            for i in (0, 1)
        ]
        how = "are not moved" if any(still) else "are stepped differently from contiguous ones"
        raise Fault(f"parameters that are not contiguous {how}")
    return None


@check("torch", "plain")
def complex_parameters(c: Context) -> str | None:
    """Complex parameters are stepped in both parts, or refused.

    Runs: three steps of a complex matrix whose gradients have a real and an imaginary part.

    Fault: one of the parts is not stepped, or becomes NaN. What raises is a remark. Squares of
    complex numbers are not positive, and abs() is needed, or torch.view_as_real.

    Fix: step torch.view_as_real(p) with torch.view_as_real(p.grad), as torch.optim does, or refuse
    complex ones.
    """
    import torch

    start, grads = c.probe.starts[0], c.probe.grads[:3, :2]
    try:
        running = c.fresh([start], "complex128", **c.busy)
        p = running.params[0]
        before = p.detach().clone()
        for t in range(3):
            p.grad = torch.complex(*(torch.tensor(1.0 + np.abs(g)) for g in grads[t]))
            running.optimizer.step()
    except Exception as error:
        return _refused(error, "complex parameters")
    parts = torch.view_as_real(p.detach()) - torch.view_as_real(before)
    if not parts.isfinite().all():
        raise Fault("complex parameters become NaN or infinite")
    moved = [bool((parts[..., i] != 0).any()) for i in (0, 1)]
    if moved[0] != moved[1]:
        raise Fault(
            f"the {'imaginary' if moved[0] else 'real'} part of complex parameters is not stepped"
        )
    return None


@check("torch")
def sparse_gradients(c: Context) -> str | None:
    """Sparse gradients, such as those of embeddings, work, or are refused.

    Runs: three steps of a matrix of which two of four rows have gradients, of a sparse tensor.

    Fault: the rows that have gradients do not move, or become NaN. What raises is a remark.

    Fix: `if p.grad.is_sparse: raise RuntimeError("... does not support sparse gradients")`, or
    handle them.
    """
    import torch

    starts, some = list(c.probe.starts[:1]), [np.zeros_like(g[:1]) for g in c.probe.grads[:3]]
    for g, whole in zip(some, c.probe.grads, strict=False):
        g[0, 1::2] = 1.0 + np.abs(whole[0, 1:3])
    dense = walked(c.fresh(starts, **c.busy), some)
    if (dense == dense[0]).all():
        raise Skip("its first steps do not move at all")
    try:
        running = c.fresh(starts, **c.busy)
        p = running.params[0]
        before = p.detach().clone()
        for t in range(3):
            rows = torch.tensor(some[t][0, 1::2], dtype=p.dtype)
            p.grad = torch.sparse_coo_tensor(
                torch.tensor([[1, 3]]), rows, p.shape, check_invariants=True
            )
            running.optimizer.step()
    except Exception as error:
        return _refused(error, "sparse gradients")
    if not p.isfinite().all():
        raise Fault("sparse gradients make parameters NaN or infinite")
    if not (p[1::2] != before[1::2]).any():
        raise Fault("rows that have a sparse gradient are not moved")
    return None


def _refused(error: Exception, what: str) -> str:
    crashed = isinstance(error.__cause__ or error, _CRASHES)
    return f"{'fails with' if crashed else 'refuses'} {what}: {refusal(error)}"
