"""The short way of a step: taken when nothing but gradients and numbers changed, and right then.

What must be noticed is in tests/test_torch.py, test_a_repeated_step_sees_every_change.
"""

import sys
import weakref

import pytest
import torch
from cases import clip_by_global_norm, error, lion, schedule_free

import ravine.torch as rt
from ravine import rules
from ravine.engines.cpu import Step
from ravine.ops import where

SHAPES = [(3, 4), (5,), (), (2, 3)]


@pytest.fixture(params=["guards", "public"], autouse=True)
def facts_of_tensors(request, monkeypatch):
    """By torch's guards, and without them."""
    if request.param == "public":
        monkeypatch.setitem(sys.modules, "torch._C._dynamo.guards", None)


def parameters(dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(s, dtype=dtype, requires_grad=True) for s in SHAPES]


def give(params, step, without=()):
    draw = torch.Generator().manual_seed(step)
    for i, p in enumerate(params):
        g = torch.randn(p.shape, generator=draw, dtype=torch.float64).to(p.dtype)
        p.grad = None if i in without else g


def pair(make, **how):
    """The same parameters under the kernel's short way and under calls of the rule."""
    made = []
    for engine in ("kernel", "eager"):
        params = parameters()
        made.append((params, make(params, engine=engine, **how)))
    return made


def agree(made, steps, without=lambda step: (), change=lambda stepper, step: None):
    """Take steps with both; returns how often the first one had to bind again."""
    binds, before = 0, None
    for step in range(steps):
        for params, stepper in made:
            give(params, step, without(step))
            change(stepper, step)
            stepper.step()
        bound = made[0][1]._bound
        binds, before = binds + (bound is not before), bound
        for p, q in zip(made[0][0], made[1][0], strict=True):
            assert error(p, q) <= 1e-13
    return binds


def test_a_step_is_bound_once():
    assert agree(pair(rt.Adam), 6) == 1


def test_a_step_without_some_gradients_is_bound_once_too():
    assert agree(pair(rt.Adam), 6, without=lambda step: (1, 3)) == 1


def test_gradients_that_come_and_go_are_seen():
    made = pair(rt.Adam)
    assert agree(made, 8, without=lambda step: (1,) if step in (2, 5) else ()) == 1
    assert [int(state["step"]) for state in made[0][1].state.values()] == [8, 6, 8, 8]


def test_groups_with_graphs_of_their_own():
    def make(params, **how):
        groups = [{"params": params[:2], "weight_decay": 0.1}, {"params": params[2:]}]
        return rt.SGD(groups, lr=0.1, momentum=0.9, **how)

    made = pair(make)
    assert agree(made, 6) == 1
    assert len(made[0][1]._bound.kernels) == 2


@pytest.mark.parametrize(
    "rule",
    [schedule_free, lion, clip_by_global_norm(rules.adam, max_norm=0.5)],
    ids=lambda r: r.name,
)
def test_slots_that_are_numbers_and_reductions(rule):
    assert agree(pair(rt.optimizer(rule)), 6) == 1


def test_a_schedule_recompiles_and_rebinds_nothing():
    def change(stepper, step):
        stepper.param_groups[0]["lr"] = 0.1 / (1 + step)

    assert agree(pair(rt.Adam), 6, change=change) == 1


def test_options_that_are_tensors_are_read_each_time():
    def make(params, **how):
        return rt.Adam(params, lr=torch.tensor(0.1, dtype=torch.float64), **how)

    def change(stepper, step):
        stepper.param_groups[0]["lr"].fill_(0.1 / (1 + step))

    assert agree(pair(make), 6, change=change) == 1


def test_options_that_are_tensors_in_tuples_are_read_each_time():
    def make(params, **how):
        betas = tuple(torch.tensor(beta, dtype=torch.float64) for beta in (0.9, 0.99))
        return rt.Adam(params, betas=betas, **how)

    def change(stepper, step):
        stepper.param_groups[0]["betas"][0].fill_(0.9 / (1 + step))

    assert agree(pair(make), 6, change=change) == 1


def test_an_equal_tensor_in_an_options_place_is_noticed():
    """Equal now, but it may change in place later."""
    made = pair(rt.Adam, lr=0.5)

    def change(stepper, step):
        if step == 2:
            stepper.param_groups[0]["lr"] = torch.tensor(0.5, dtype=torch.float64)
        if step == 4:
            stepper.param_groups[0]["lr"].fill_(0.125)

    agree(made, 6, change=change)


def test_a_switch_that_crosses_zero_is_another_graph():
    def change(stepper, step):
        if step == 3:
            stepper.param_groups[0]["weight_decay"] = 0.1

    assert agree(pair(rt.Adam), 6, change=change) == 2


def test_layouts_other_than_contiguous_are_repeated():
    params = [torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()]
    stepper = rt.Adam(params, engine="kernel")
    for _ in range(3):
        params[0].grad = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
        stepper.step()
    assert stepper._bound.ready(stepper)
    params[0].grad = torch.randn(2, 3, 4, 4)  # another layout: no kernel
    assert not stepper._bound.ready(stepper)


def test_a_subclass_or_a_sparse_gradient_is_noticed():
    [p] = params = [torch.zeros(3, requires_grad=True)]
    stepper = rt.Adam(params)
    p.grad = torch.ones(3)
    stepper.step()
    assert stepper._bound.ready(stepper)
    p.grad = torch.sparse_coo_tensor([[1]], [1.0], (3,), check_invariants=True)
    assert not stepper._bound.ready(stepper)
    p.grad = torch.ones(3).as_subclass(type("Mine", (torch.Tensor,), {}))
    assert not stepper._bound.ready(stepper)


def test_a_state_that_is_replaced_is_stepped_and_the_old_one_is_not():
    [p] = params = [torch.zeros(3, requires_grad=True)]
    stepper = rt.Adam(params, betas=(0.5, 0.999))
    p.grad = torch.ones(3)
    stepper.step()
    old, new = stepper.state[p]["exp_avg"], torch.full((3,), 8.0)
    stepper.state[p]["exp_avg"] = new
    stepper.step()
    assert old.tolist() == [0.5] * 3
    assert new.tolist() == [4.5] * 3


def test_a_state_that_is_emptied_is_noticed():
    [p] = params = [torch.zeros(3, requires_grad=True)]
    stepper = rt.Adam(params)
    p.grad = torch.ones(3)
    stepper.step()
    del stepper.state[p]["exp_avg"]
    assert not stepper._bound.ready(stepper)
    stepper.step()
    assert stepper.state[p]["step"] == 2


def test_the_gradients_are_never_changed():
    for cls in (rt.SGD, rt.Adam, rt.RMSprop, rt.AdamW):
        for engine in ("kernel", "eager"):
            params = parameters()
            stepper = cls(params, weight_decay=0.1, maximize=True, engine=engine)
            for step in range(3):
                give(params, step)
                before = [(p.grad.clone(), p.grad._version) for p in params]
                stepper.step()
                for p, (g, version) in zip(params, before, strict=True):
                    assert torch.equal(p.grad, g)
                    assert p.grad._version == version


def test_counts_beyond_two_to_the_53_are_not_needed_but_large_ones_work():
    made = pair(rt.Adam)
    for params, stepper in made:
        give(params, 0)
        stepper.step()
        for state in stepper.state.values():
            state["step"] = 10**6
    assert agree(made, 3) == 1


def test_a_rule_that_looks_at_t():
    def thrice(p, g, t, *, lr=0.1):
        return p - where(t % 3 == 0, lr, 0.0) * g

    assert agree(pair(rt.optimizer(thrice)), 7) == 1


def test_views_of_one_storage_are_tensors_of_their_own():
    """As parameters that are flattened into one buffer are; and a gradient may be shared."""
    made = []
    for engine in ("kernel", "eager"):
        whole = torch.arange(12.0, dtype=torch.float64)
        params = [whole[:5].requires_grad_(), whole[5:].view(7, 1).requires_grad_()]
        stepper = rt.Adam(params, lr=0.1, engine=engine)
        for step in range(4):
            grads = torch.full((12,), 1.0 + step, dtype=torch.float64)
            params[0].grad, params[1].grad = grads[:5], grads[5:].view(7, 1)
            stepper.step()
        assert stepper.engine.startswith(engine)
        made.append(whole)
    assert error(*made) <= 1e-14
    assert (made[0] < torch.arange(12.0)).all()  # the buffer itself has moved


def test_a_number_of_the_state_is_held_until_the_step_is_taken():
    """Another thread may put another tensor in its place."""
    p = torch.nn.Parameter(torch.ones(2, dtype=torch.complex128))
    p.grad = torch.ones_like(p)
    optimizer = rt.NAdam([p])
    optimizer.step()
    with torch.no_grad():
        [wave] = optimizer.parts([(0, 0, p)])
        assert not wave.kernels[0].repeatable
        was = weakref.ref(optimizer.state[p]["mu_product"])
        optimizer.state[p]["mu_product"] = torch.ones((), dtype=torch.float64)
        assert was() is not None
        wave.start(optimizer.seed)
    assert was() is None


def test_a_slot_that_another_thread_replaces_while_a_step_is_bound_is_noticed(monkeypatch):
    """Else later steps would write to the old one, when its memory is somebody else's."""
    place = Step.place
    p = torch.nn.Parameter(torch.ones(1000))
    p.grad = torch.ones(1000)
    optimizer = rt.AdamW([p], lr=0.1)

    def replaced_then(step, column, addresses):
        place(step, column, addresses)
        if column == "m":
            optimizer.state[p]["exp_avg"] = torch.zeros(1000)

    monkeypatch.setattr(Step, "place", replaced_then)
    optimizer.step()
    monkeypatch.undo()
    assert optimizer.state[p]["exp_avg"].eq(0).all()  # that step had begun with the old one
    for expected in (0.1, 0.19):
        optimizer.step()
        torch.testing.assert_close(optimizer.state[p]["exp_avg"], torch.full((1000,), expected))
