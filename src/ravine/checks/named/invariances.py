"""What its steps depend on, and what they do not: facts, which are neither right nor wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ravine.checks.probe import Path, apart, walked
from ravine.checks.registry import Context, Skip, check
from ravine.checks.subjects import CouldNotRun

__all__: list[str] = []

_STEPS = 8
_NEARLY = 1e-3
_EXACTLY = 1e-9

Change = Callable[[Path], Path]
"""What is done with a matrix; the steps follow if they go through the same."""


@check(fact=True)
def gradient_scale(c: Context) -> str | None:
    """Whether its steps depend on the scale of the gradients.

    Runs: eight steps, and eight with gradients a thousand times as large, with its own
    hyperparameters.

    Fact: of Adam's kind they do not, except for eps; of SGD they are in proportion; clipping makes
    them neither.
    """
    starts = c.probe.starts
    path = _path(c, lambda x: x, starts)
    scaled = _path(c, lambda g: 1000 * g, starts)
    same, times = apart(scaled, path), apart(scaled, path[0] + 1000 * (path - path[0]))
    if times < _NEARLY:
        return f"steps are in proportion to the gradients{_but(times)}"
    if same < _NEARLY:
        return f"steps do not depend on the scale of the gradients{_but(same)}"
    return "steps depend on the scale of the gradients, and are not in proportion to it"


@check(fact=True)
def rotation(c: Context) -> str | None:
    """Whether its steps turn with a rotation of the coordinates.

    Runs: eight steps; and eight where parameters and gradients are rotated, as vectors of all
    coordinates, and as matrices from the left and from the right.

    Fact: SGD's do; those of rules of single elements do not, so they depend on the choice of
    coordinates; Muon's turn with matrices.
    """
    rng = np.random.default_rng(11)
    rows, columns = c.probe.starts.shape[1:]
    whole, left, right = (
        np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (rows * columns, rows, columns)
    )
    return _follows(
        c,
        "rotations",
        lambda x: (x.reshape(-1, rows * columns) @ whole.T).reshape(x.shape),
        "rotations of rows and columns",
        lambda x: left @ x @ right,
    )


@check(fact=True)
def sign_flips(c: Context) -> str | None:
    """Whether its steps follow when coordinates change their signs.

    Runs: eight steps; and eight where some coordinates of parameters and gradients have the other sign.

    Fact: nearly all rules do; one that prefers a direction does not.
    """
    signs = np.random.default_rng(12).choice([-1.0, 1.0], c.probe.starts.shape[1:])
    row, column = signs[:, :1], signs[:1]
    return _follows(
        c,
        "sign flips",
        lambda x: signs * x,
        "sign flips of rows and columns",
        lambda x: row * x * column,
    )


@check(fact=True)
def permutation(c: Context) -> str | None:
    """Whether its steps follow when the coordinates of a tensor change places.

    Runs: eight steps; and eight where the elements of each tensor are in another order, or its rows
    and columns.

    Fact: rules of single elements do; rules of matrices follow when rows and columns change places.
    """
    rng = np.random.default_rng(13)
    rows, columns = c.probe.starts.shape[1:]
    every, some, others = (rng.permutation(n) for n in (rows * columns, rows, columns))
    return _follows(
        c,
        "permutations",
        lambda x: x.reshape(-1, rows * columns)[:, every].reshape(x.shape),
        "permutations of rows and columns",
        lambda x: x[:, some][:, :, others],
    )


@check(fact=True)
def splitting(c: Context) -> str | None:
    """Whether its steps stay the same when a tensor is split into two.

    Runs: eight steps of three matrices; and eight of their upper and lower halves as six tensors.

    Fact: rules of single elements do; those that scale a step by the norm of a tensor, or see
    matrices, do not. So it matters to them whether the heads of an attention layer are one tensor.
    """

    def halves(x: Path) -> Path:
        return x.reshape(2 * x.shape[0], x.shape[1] // 2, x.shape[2])

    path, split = _path(c, lambda x: x, c.probe.starts), _path(c, halves, halves(c.probe.starts))
    far = apart(split, path)
    if far < _NEARLY:
        return f"steps stay the same when a tensor is split{_but(far)}"
    return "steps change when a tensor is split"


def _path(c: Context, change: Change, starts: Path) -> Path:
    """Its path, as its user would have it, with gradients that are changed."""
    values = c.subject.values | c.subject.needed
    try:
        path = walked(c.fresh(list(starts), **values), map(change, c.probe.grads[:_STEPS]))
    except CouldNotRun as error:
        raise Skip(str(error)) from error
    if (path == path[0]).all():
        raise Skip("its steps move nothing")
    return path


def _follows(c: Context, what: str, change: Change, else_: str, lesser: Change) -> str:
    """Whether the steps follow a change, or else a lesser one, of matrices."""
    starts = c.probe.starts
    path = _path(c, lambda x: x, starts).reshape(_STEPS + 1, *starts.shape)
    for name, its in ((what, change), (else_, lesser)):
        expected = np.stack([its(row).ravel() for row in path])
        far = apart(_path(c, its, its(starts)), expected)
        if far < _NEARLY:
            return f"steps follow {name}{_but(far)}"
    return f"steps do not follow {what}, nor {else_}"


def _but(far: float) -> str:
    return "" if far < _EXACTLY else f", up to {far:.0e}"
