"""Memory that a kernel must not be pointed at, and memory that tensors share."""

import subprocess
import sys

import pytest
import torch
from torch.testing._internal.two_tensor import TwoTensor

import ravine.torch as rt
from ravine import rules
from ravine.modifiers import clip_by_global_norm

F64 = torch.float64


def parameter(*shape):
    return torch.nn.Parameter(torch.ones(*shape, dtype=F64))


def test_a_wrapper_subclass_is_stepped_as_torch_does():
    results = []
    for module in (rt, torch.optim):
        p = torch.nn.Parameter(TwoTensor(torch.ones(4), torch.full((4,), 5.0)))
        stepper = module.SGD([p], lr=0.1, momentum=0.9)
        for _ in range(3):
            p.grad = TwoTensor(torch.ones(4), -torch.ones(4))
            stepper.step()
        results.append((p.data.a, p.data.b))
    assert all(map(torch.allclose, *results))


@pytest.mark.parametrize("late", [False, True])
def test_a_gradient_without_memory(late):
    p = parameter(3)
    stepper = rt.Adam([p], lr=0.1)
    if late:
        p.grad = torch.ones_like(p)
        stepper.step()
    p.grad = torch._efficientzerotensor(3, dtype=F64)
    stepper.step()
    assert int(stepper.state[p]["step"]) == 1 + late
    assert (p.item() if p.dim() == 0 else p[0].item()) == pytest.approx(
        0.8330 if late else 1.0, 1e-4
    )


def test_under_modes_that_watch_operations():
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    with FakeTensorMode():
        net = torch.nn.Linear(3, 3)
        stepper = rt.Adam(net.parameters())
        net(torch.ones(2, 3)).sum().backward()
        for _ in range(3):
            stepper.step()

    def step(g):
        p = parameter(3)
        stepper = rt.SGD([p], lr=0.1)
        p.grad = g
        stepper.step()
        return p.detach().clone()

    assert len(make_fx(step)(torch.ones(3, dtype=F64)).graph.nodes) > 4
    out = torch.func.functionalize(step)(torch.ones(3, dtype=F64))
    assert torch.allclose(out, torch.full((3,), 0.9, dtype=F64))


FREED = """
import torch, ravine.torch as rt
for what in ("p", "grad", "exp_avg"):
    for engine in ("auto", "eager"):
        for size in (0, 4):
            p = torch.nn.Parameter(torch.ones(3))
            o = rt.Adam([p], engine=engine)
            for _ in range(2):
                p.grad = torch.ones(3)
                o.step()
            x = {"p": p, "grad": p.grad, "exp_avg": o.state[p]["exp_avg"]}[what]
            x.untyped_storage().resize_(size)
            try:
                o.step()
            except ValueError as error:
                assert "less memory" in str(error), error
                assert int(o.state[p]["step"]) == 2
            else:
                raise SystemExit(f"{what}, {engine}, {size}")
"""


def test_freed_storage_is_refused_and_counts_nothing():
    command = [sys.executable, "-W", "ignore", "-c", FREED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("tie", ["whole", "part"])
def test_parameters_that_share_memory_are_stepped_one_after_the_other(engine, tie):
    results = []
    for module, how in ((rt, {"engine": engine}), (torch.optim, {})):
        w, u, alone = parameter(10), parameter(10), parameter(4)
        if tie == "whole":
            u.data = w.data
        else:
            whole = torch.ones(14, dtype=F64)
            w.data, u.data = whole[:10], whole[4:]
        stepper = module.Adam([w, u, alone], lr=0.1, **how)
        for step in range(5):
            w.grad, u.grad = torch.full_like(w, 1.0 + step), torch.full_like(u, -2.0)
            alone.grad = torch.ones_like(alone)
            stepper.step()
        results.append(torch.cat([w.detach(), u.detach(), alone.detach()]))
    assert torch.allclose(*results, rtol=1e-12, atol=0)


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_gradient_that_is_the_parameter_itself(engine):
    clipped = rt.optimizer(clip_by_global_norm(rules.adam))
    for make in (
        lambda p: rt.Adam([p], lr=0.1, engine=engine),
        lambda p: clipped([p], engine=engine),
    ):
        results = []
        for alias in (True, False):
            p = parameter(5)
            stepper = make(p)
            for _ in range(3):
                p.grad = p.data if alias else p.data.clone()
                stepper.step()
            results.append(p.detach())
        assert torch.equal(*results)


def test_tying_after_a_step_is_noticed():
    w, u = parameter(4), parameter(4)
    stepper = rt.SGD([w, u], lr=1.0)
    for p in (w, u):
        p.grad = torch.ones_like(p)
    stepper.step()
    u.data = w.data
    stepper.step()
    assert w.tolist() == [-2.0] * 4


FREE = """
import gc, sys, weakref, torch, ravine.torch as rt
gc.collect(); gc.disable()
for how in ("del", "clear", "reset", "pop", "group"):
    p, q = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    o = rt.Adam([{"params": [p]}, {"params": [q]}])
    for _ in range(3):
        p.grad, q.grad = torch.ones(3), torch.ones(3)
        o.step()
    moment, gradient = weakref.ref(o.state[p]["exp_avg"]), weakref.ref(p.grad)
    p.grad = None
    assert gradient() is None, how
    if how == "del":
        del o
    elif how == "clear":
        o.state.clear()
    elif how == "reset":
        o.reset()
    elif how == "pop":
        o.state.pop(p)
    else:
        del o.param_groups[0], o.state[p]
    assert moment() is None, how
"""


def test_what_is_taken_out_is_freed_at_once():
    command = [sys.executable, "-W", "ignore", "-c", FREE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def transposed(p, state):
    p.data = p.data.t()


def transposed_in_place(p, state):
    with torch.no_grad():
        p.t_()


CHANGES = {
    "p.data is transposed": transposed,
    "p is transposed": transposed_in_place,
    "a moment is transposed": lambda p, state: state["exp_avg"].t_(),
    "a moment's data is transposed": lambda p, state: setattr(
        state["exp_avg"], "data", state["exp_avg"].data.t()
    ),
    "p.data is replaced": lambda p, state: setattr(p, "data", p.data.clone()),
    "a moment's data is replaced": lambda p, state: setattr(
        state["exp_avg"], "data", torch.ones_like(state["exp_avg"])
    ),
    "a count's data is replaced": lambda p, state: setattr(
        state["step"], "data", torch.tensor(50.0)
    ),
    "a count's data is wider": lambda p, state: setattr(
        state["step"], "data", torch.tensor(50.0, dtype=F64)
    ),
    "p is shared": lambda p, state: p.share_memory_(),
    "the state is shared": lambda p, state: [x.share_memory_() for x in state.values()],
    "p is swapped": lambda p, state: torch.utils.swap_tensors(p, parameter(4, 4)),
    "a moment is swapped": lambda p, state: torch.utils.swap_tensors(
        state["exp_avg"], torch.ones(4, 4, dtype=F64)
    ),
    "a count is swapped": lambda p, state: torch.utils.swap_tensors(
        state["step"], torch.tensor(30.0)
    ),
    "the gradient is transposed": lambda p, state: setattr(p, "grad", p.grad.t()),
    "the gradient is negated by a flag": lambda p, state: setattr(
        p, "grad", torch._neg_view(p.grad)
    ),
    "the gradient is a lazy clone": lambda p, state: setattr(p, "grad", torch._lazy_clone(p.grad)),
    "p has a lazy clone": lambda p, state: setattr(p, "kept", torch._lazy_clone(p.detach())),
    "the state is zeroed": lambda p, state: [x.zero_() for x in state.values()],
    "p is frozen": lambda p, state: p.requires_grad_(False),
}


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_happens_to_memory_between_steps_is_seen(change, engine):
    results = []
    for module, how in ((rt, {"engine": engine}), (torch.optim, {"foreach": False})):
        torch.manual_seed(0)
        p, q = (torch.nn.Parameter(torch.randn(s, dtype=F64)) for s in ((4, 4), (3,)))
        stepper = module.Adam([p, q], lr=0.1, **how)
        for step in range(6):
            for x in (p, q):
                x.grad = torch.randn(x.shape, dtype=F64)
            if step == 3:
                CHANGES[change](p, stepper.state[p])
            stepper.step()
        results.append(torch.cat([p.detach().flatten(), q.detach()]))
    assert torch.allclose(*results, rtol=1e-12, atol=0)
    if change == "p has a lazy clone":
        assert not torch.equal(p.kept, p)
