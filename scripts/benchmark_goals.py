"""What the engines were built to reach, for the table of docs/benchmarks.md.

Each goal is a ratio of times in one row of docs/benchmarks.json. `before` was measured on two cores of the
same kind of machine before matrices were stepped by kernels and BLAS, before state in 8 bits, and before
`flatten`; None if there was no such optimizer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["GOALS", "TRAINING", "Goal"]

TRAINING = "mlp, after a backward pass"
"""What rows of training are called among those of models."""


@dataclass(frozen=True)
class Goal:
    """A ratio: how many times as fast as what it is compared with, in words, before and as aimed at.

    section, row: where it is found, by fields that the row has. over: the row it is compared with, if the
    row itself has no such ratio.
    """

    what: str
    before: float | None
    aim: float
    section: str
    row: dict[str, Any]
    over: dict[str, Any] | None = None


def _matrices() -> Iterator[Goal]:
    models = ("mlp", "convolutions", "blocks128", "blocks256", "blocks768")
    before, aims = (0.76, 0.68, 0.83, 0.88, 0.87), (1.1, 1.05, 1.7, 1.03, 1.05)
    gram = (1.23, 1.75, 1.26, 1.25, 1.45)
    for on, past, aim, other in zip(models, before, aims, gram, strict=True):
        row = {"rule": "muon", "shapes": on}
        yield Goal(
            f"Muon on {on}, over torch.optim.Muon",
            past,
            aim,
            "matrices",
            {**row, "engine": "Ravine"},
        )
        yield Goal(
            f"Muon on {on}, `gram=True`",
            None,
            max(aim, other),
            "matrices",
            {**row, "engine": "gram"},
        )
    for rule, aim in (("soap", 1.0), ("shampoo", 1.5)):
        for on in ("mlp", "blocks128"):
            what = f"`{rule}` on {on}, over the fastest package"
            yield Goal(what, None, aim, "peers", {"rule": rule, "shapes": on})


def _narrow() -> Iterator[Goal]:
    for stack, words, before, aim in (
        ("adam, bfloat16 state", "bfloat16 state", 1.38, 1.38),
        ("adam, all bfloat16", "all bfloat16, to nearest", 1.95, 1.95),
        ("adam, all bfloat16, stochastic", "all bfloat16, stochastic rounding", 1.36, 1.8),
        ("adam, 8-bit state", "8-bit state", None, 1.6),
        ("adam, bfloat16, stochastic, 8-bit state", "bfloat16 with 8-bit state", None, 2.2),
    ):
        what = f"Adam on blocks768, {words}, over torch's fused float32 Adam"
        yield Goal(what, before, aim, "stacks", {"stack": stack, "shapes": "blocks768"})


def _short() -> Iterator[Goal]:
    for on, before, aim in (
        ("scalars", None, 4.0),
        ("mlp", 2.8, 2.8),
        ("resnet18", 1.08, 1.06),
        ("gpt2", None, 1.05),
    ):
        what = f"Adam on {on}, over torch's fused Adam"
        yield Goal(what, before, aim, "step", {"rule": "adam", "shapes": on, "engine": "Ravine"})
    for on, before, aim in (
        ("mlp", 2.8, 3.3),
        ("resnet18", 1.08, 1.08),
        ("many", 5.1, 100.0),
        (TRAINING, 1.9, 2.1),
    ):
        what = f"the same on {on}, `flatten=True`"
        yield Goal(what, before, aim, "flat", {"shapes": on, "engine": "flat"})
    on = {"shapes": "resnet18"}
    ema, both = ({"stack": x, **on} for x in ("ema(adam)", "clip_by_global_norm(ema(adam))"))
    bare = {"stack": "torch: fused", **on}
    yield Goal(
        "Adam and an EMA on resnet18, over torch's bare Adam", 0.70, 0.85, "stacks", ema, bare
    )
    yield Goal("clipping, Adam and an EMA, over torch's three calls", None, 1.4, "stacks", both)


GOALS = (*_matrices(), *_narrow(), *_short())
