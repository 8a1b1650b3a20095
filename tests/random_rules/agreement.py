"""Whether all engines give what a random rule means, and the same bits where they should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from random_rules.cases import Case
from random_rules.engines import Answer, engines, run, threads
from random_rules.known import known
from random_rules.meaning import Meaning, Value
from random_rules.spans import MINUS, PLUS
from random_rules.trees import ELEMENT

_EXACT = {"input", "constant", "add", "sub", "mul", "neg", "abs", "maximum", "minimum"}
_EXACT |= {"floor", "round", "clip", "where", "if", "lt", "le", "gt", "ge", "eq", "ne"}


@dataclass
class Disagreement(Exception):
    """An engine whose answer is wrong, and where; error: what it raised instead."""

    case: Case
    engine: str
    tensor: int = 0
    name: str = "p"
    element: int = 0
    got: Any = None
    wanted: str = ""
    error: str = ""

    def __str__(self) -> str:
        from random_rules.report import report

        return report(self)


def check(case: Case, pool: int = 2) -> None:
    """Raise the first Disagreement. pool: how many threads must give the bits of one."""
    for disagreement in disagreements(case, pool):
        if not known(disagreement):
            raise disagreement


def disagreements(case: Case, pool: int = 2) -> Iterator[Disagreement]:
    """All that are found, one for each engine."""
    meaning = Meaning(case)
    answers: dict[str, Answer] = {}
    for engine in engines(case):
        try:
            answers[engine] = run(engine, case)
        except Exception as error:
            yield Disagreement(case, engine, error=f"{type(error).__name__}: {error}")
            continue
        for problem in _outside(case, answers[engine], meaning):
            yield Disagreement(case, engine, *problem)
            break
    if sum(t.size for t in case.tensors) >= 32768:  # fewer are stepped by one thread
        with threads(pool):
            answers["kernel, in threads"] = run("kernel", case)
    for engine, answer in answers.items():
        if "kernel" in answers and (bit_equal(case) or "kernel" in engine):
            for problem in _unequal(case, answer, answers["kernel"]):
                yield Disagreement(case, engine, *problem)
                break


def bit_equal(case: Case) -> bool:
    """Whether all engines must give the same bits, since each operation has one right result."""
    if case.state_dtype not in ("", case.dtype):  # where engines may compute in a wider one
        return False
    # Of two zeros they may give either, and what is divided by it has the one sign or the other.
    if case.rule.uses("maximum", "minimum", "clip") and case.rule.uses("div"):
        return False
    for n in case.rule.nodes:
        arrays = n.level < ELEMENT or all(x.array for x in n.args)
        if n.op not in _EXACT and not (n.op == "div" and arrays):
            return False
    return True


def _outside(case: Case, answer: Answer, meaning: Meaning) -> Iterator[tuple[Any, ...]]:
    """(tensor, name, element, got, wanted) for each answer that cannot be."""
    for i, (tensor, values) in enumerate(zip(case.tensors, answer, strict=True)):
        if not tensor.size:
            continue
        for name, got in values.items():
            if name != "p" and not meaning.t[i]:
                continue
            spans = meaning.p[i] if name == "p" else meaning.state[i][name]
            places = tensor.places if isinstance(spans, list) else np.zeros(1, int)
            fits = _fits(np.atleast_1d(got), spans, places)
            for element in np.flatnonzero(~fits)[:1]:
                span = spans[places[element]] if isinstance(spans, list) else spans
                yield i, name, int(element), float(np.atleast_1d(got)[element]), str(span)


def _fits(got: np.ndarray, spans: Value, places: np.ndarray) -> np.ndarray:
    """For each element, whether it is in its span."""
    rows = spans if isinstance(spans, list) else [spans]
    low, high, nan, plus, minus = (
        np.array([ask(s) for s in rows])[places]
        for ask in (
            lambda s: float(s.low),
            lambda s: float(s.high),
            lambda s: s.nan,
            lambda s: bool(s.zeros & PLUS),
            lambda s: bool(s.zeros & MINUS),
        )
    )
    zero = np.where(np.signbit(got), minus, plus)
    inside = (low <= got) & (got <= high) & ((got != 0) | zero)
    return np.where(np.isnan(got), nan, inside)


def _unequal(case: Case, one: Answer, other: Answer) -> Iterator[tuple[Any, ...]]:
    """The same for answers of other bits; the signs of zeros are judged by spans."""
    for i, (x, y) in enumerate(zip(one, other, strict=True)):
        for name in x.keys() & y.keys() if case.tensors[i].size else ():
            a, b = np.atleast_1d(x[name]), np.atleast_1d(y[name])
            apart = np.flatnonzero((a != b) & ~(np.isnan(a) & np.isnan(b)))
            for j in apart[:1]:
                yield i, name, int(j), float(a[j]), f"{float(b[j])!r}, the kernel's bits"
