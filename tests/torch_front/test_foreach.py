"""Bags whose operators are torch's foreach functions."""

import numpy as np
import pytest
import torch
from cases import ELEMENTWISE, REDUCING, error, gradients
from hypothesis import given
from hypothesis import strategies as st

import ravine.torch as rt
from ravine import ops, rules
from ravine.engines.eager import Work, plan, steps
from ravine.torch import stepping
from ravine.torch.foreach import Foreach

SHAPES = [(3, 4), (5,), (1,)]


def tensors(dtype=torch.float64, seed=0):
    draw = np.random.default_rng(seed)
    return [torch.tensor(draw.normal(size=s), dtype=dtype) for s in SHAPES]


def trajectory(made, bag, counts):
    hyper = made.check()
    live = plan(made, hyper).live
    ps = tensors()
    states = [{s: made.slots[s].init(p, **hyper) for s in live} for p in ps]
    columns = [torch.tensor(gradients(s, 6, i)) for i, s in enumerate(SHAPES)]
    for t in range(6):
        works = [
            Work(p, column[t], s, t + count, hyper)
            for p, column, s, count in zip(ps, columns, states, counts, strict=True)
        ]
        results = list(steps(made, works, bag))
        ps, states = [p for p, _ in results], [s for _, s in results]
    return ps, states


@pytest.mark.parametrize("made", [*ELEMENTWISE, *REDUCING], ids=lambda r: r.name)
@pytest.mark.parametrize("counts", [(1, 1, 1), (1, 3, 1)], ids=["in step", "apart"])
def test_a_rule_called_on_bags_takes_the_steps_of_single_calls(made, counts):
    (ps, states), (qs, others) = (trajectory(made, bag, counts) for bag in (Foreach, None))
    for p, q in zip(ps, qs, strict=True):
        assert error(p, q) <= 1e-14
    for state, other in zip(states, others, strict=True):
        for slot in state:
            assert error(state[slot], other[slot]) <= 1e-14


BINARY = ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "mod", "lt", "ge", "atan2"]
NUMBERS = st.floats(0.125, 8.0)


@given(st.sampled_from(BINARY), NUMBERS, st.sampled_from(["xs", "sx", "xx", "xn", "nx"]))
def test_every_operation_is_the_one_by_one_operation(name, number, order):
    def operands(bag):
        x = bag(t.abs() + 0.5 for t in tensors())
        y = bag(t.abs() + 0.5 for t in tensors(seed=1))
        each = bag([number, 2.0, 3.0])
        return {
            "xs": (x, number),
            "sx": (number, x),
            "xx": (x, y),
            "xn": (x, each),
            "nx": (each, x),
        }

    mine, theirs = (ops.apply(name, *operands(bag)[order]) for bag in (Foreach, ops.Tensors))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    "name", ["neg", "sqrt", "abs", "exp", "log", "sign", "tanh", "floor", "round"]
)
def test_unary_operations(name):
    x = [torch.tensor([1.5, -2.0, 0.0, float("nan"), 2.5, -0.5]), torch.tensor(3.0)]
    for a, b in zip(ops.apply(name, Foreach(x)), ops.apply(name, ops.Tensors(x)), strict=True):
        assert torch.equal(a.nan_to_num(-7.0), b.nan_to_num(-7.0))


def test_few_calls_for_many_tensors(monkeypatch):
    """What the bag is for: the number of calls does not grow with the number of tensors."""
    calls = []

    class Counted(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    hyper = rules.adam.check()
    works = [
        Work(torch.ones(3), torch.ones(3), {"m": torch.zeros(3), "v": torch.zeros(3)}, 1, hyper)
        for _ in range(50)
    ]
    with Counted():
        list(steps(rules.adam, works, Foreach))
    assert len(calls) < 50
    assert all("foreach" in call for call in calls)


def test_tensors_elsewhere_are_stepped_together(monkeypatch):
    """On the meta device, which stands for an accelerator here."""
    bags = []
    monkeypatch.setattr(
        stepping, "steps", lambda rule, works, bag: bags.append(bag) or steps(rule, works, bag)
    )
    for device, bag in (("meta", Foreach), ("cpu", None)):
        p = torch.zeros(3, device=device, requires_grad=True)
        p.grad = torch.ones(3, device=device)
        stepper = rt.Adam([p], engine="eager" if device == "cpu" else "auto")
        stepper.step()
        assert bags.pop() is bag
    assert rt.Adam([torch.zeros(3, device="meta", requires_grad=True)]).engine == (
        "kernel; eager for 1 tensor (on meta)"
    )
