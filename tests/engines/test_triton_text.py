"""Kernels as Triton text: what can be said of it without Triton."""

import ast
import builtins
import sys
from collections import Counter

import pytest

from ravine import registry, rule, rules
from ravine.engines.cpu import KernelError, kernel
from ravine.engines.devices import Place
from ravine.engines.eager import plan
from ravine.engines.llvm.blocks import refusal
from ravine.engines.llvm.variant import Variant
from ravine.engines.triton.printer import text
from ravine.modifiers import clip_by_global_norm
from ravine.ops import sqrt

KNOWN = {*dir(builtins), "triton", "tl"}


def printed(made, dtype="float32", stochastic=False, interpreted=False):
    kern = kernel(plan(made, made.check()))
    dtypes = (dtype,) * len(kern.columns)
    return text(Variant(kern, dtypes, stochastic=stochastic), interpreted)


def is_possible(made):
    try:
        kern = kernel(plan(made, made.check()))
    except KernelError:
        return False
    return not kern.has_lines and not refusal(kern, ("float32",) * len(kern.columns))


RULES = [r for r in registry.rules().values() if is_possible(r)]


def check(source):
    """Each name is known, and is assigned once unless a loop carries it."""
    tree = ast.parse(source)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    imported = {
        a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names
    }
    known = KNOWN | imported | {f.name for f in functions}
    for function in functions:
        arguments = {a.arg for a in function.args.args}
        names = [n for n in ast.walk(function) if isinstance(n, ast.Name)]
        counts = Counter(n.id for n in names if isinstance(n.ctx, ast.Store))
        used = {n.id for n in names if isinstance(n.ctx, ast.Load)}
        assert used <= known | arguments | {*counts}
        again = {n for n, count in counts.items() if count > 1}
        assert all(n in arguments or n.startswith(("sum", "total")) for n in again)


def test_every_rule_is_python_with_known_names():
    assert len(RULES) > 80
    for i, made in enumerate(RULES):
        dtype, stochastic = [("float32", False), ("bfloat16", True), ("float64", False)][i % 3]
        check(printed(made, dtype, stochastic, interpreted=i % 2 == 1))


def test_names_of_a_rule_are_kept_apart_from_the_printers():
    @rule
    def odd(p, g, table, moved, *, lr=0.1, lanes=0.5):
        mask = table + g * lanes
        full = moved + mask * mask
        tl = sqrt(full)
        is_ = tl + lanes
        µ = mask / is_
        i_wide = µ + mask
        return p - lr * i_wide, mask, full

    check(printed(odd))


def test_elements_are_rounded_as_on_the_cpu():
    source = printed(rules.adam)
    assert "tl.div_rn(" in source
    assert "tl.sqrt_rn(" in source
    assert " / " not in source
    assert "tl.bfloat16" not in printed(rules.adam, "bfloat16")  # which the interpreter cuts off


def test_reductions_follow_their_pass():
    source = printed(clip_by_global_norm(rules.lamb))
    names = [line[4:].partition("(")[0] for line in source.splitlines() if line.startswith("def ")]
    names = [name for name in names if not name.startswith("_")]
    assert names == [
        "pass_0",
        "tensors_1",
        "totals_1",
        "tensors_2",
        "pass_2",
        "tensors_3",
        "pass_3",
    ]


@pytest.mark.torch
def test_without_triton_the_reason_is_told(monkeypatch):
    from ravine.engines import triton
    from ravine.engines.devices import Unavailable

    monkeypatch.delitem(sys.modules, "ravine.engines.triton.launching", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(Unavailable, match=r"triton is not installed; pip install '\.\[triton\]'"):
        triton.engine(Place("xpu", 0))
