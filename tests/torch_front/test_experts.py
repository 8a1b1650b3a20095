"""Sets of gradients that change: as with mixtures of experts, layers dropped, one loss of many."""

import random

import pytest
import torch

import ravine.torch as rt
from ravine import rules
from ravine.modifiers import clip_by_global_norm

SHAPES = [(4, 3), (5,), (2, 3, 2), (), (7,), (3, 3), (1,), (6, 2)]
CLASSES = {
    "SGD": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    "SGD plain": {"lr": 0.01},
    "Adam": {"lr": 0.01, "weight_decay": 0.1, "eps": 1e-2},
    "Adam amsgrad": {"amsgrad": True, "betas": (0.8, 0.9)},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1},
    "Adamax": {"lr": 0.01},
    "NAdam": {"lr": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.1},
    "RAdam": {"lr": 0.01},
    "Adagrad": {"lr": 0.01, "lr_decay": 0.1, "initial_accumulator_value": 0.5},
    "Adadelta": {"lr": 1.0},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "centered": True},
    "Rprop": {"lr": 0.01},
    "ASGD": {"lr": 0.01, "t0": 20.0, "weight_decay": 0.1},
    "Adafactor": {"lr": 0.01},
}


@pytest.fixture
def wide_numbers():
    """torch keeps scalar slots in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def made():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s)) for s in SHAPES]


def masks(steps):
    """Who has a gradient: now and then all, none, or all but one."""
    draw = random.Random(1)
    for _ in range(steps):
        kind = draw.randrange(6)
        odd = draw.randrange(len(SHAPES))
        yield [
            kind == 0 or (kind != 1 and (i != odd if kind == 2 else draw.random() < 0.5))
            for i in range(len(SHAPES))
        ]


def give(params, mask, step):
    draw = torch.Generator().manual_seed(step)
    for p, here in zip(params, mask, strict=True):
        g = torch.randn(p.shape, generator=draw)
        p.grad = g.to(p.dtype) if here else None


@pytest.mark.parametrize("name", CLASSES)
def test_two_hundred_steps_equal_torchs(name, wide_numbers):
    options, cls = CLASSES[name], name.split()[0]
    results = []
    for module in (rt, torch.optim):
        params = made()
        how = {} if module is rt or cls == "Adafactor" else {"foreach": False}
        groups = [{"params": params[:3]}, {"params": params[3:], "lr": 0.003}]
        stepper = getattr(module, cls)(groups, **options, **how)
        bounds = set()
        for step, mask in enumerate(masks(200)):
            give(params, mask, step)
            stepper.param_groups[0]["lr"] = 0.01 / (1 + step)
            stepper.step()
            if module is rt:
                bounds.add(stepper._bound)  # kept, so that no two have one address
        if module is rt and stepper.engine == "kernel":
            assert len(bounds) <= 1 + len(SHAPES)  # once for each that joins
            assert stepper._bound.repeatable
        results.append(params)
    for p, q in zip(*results, strict=True):
        assert torch.allclose(p, q, rtol=1e-12, atol=1e-14)


def test_counts_are_the_parameters():
    params = made()
    stepper, steps = rt.Adam(params), [0] * len(params)
    for step, mask in enumerate(masks(60)):
        give(params, mask, step)
        stepper.step()
        steps = [n + here for n, here in zip(steps, mask, strict=True)]
    assert [int(stepper.state[p]["step"]) for p in params] == steps


def test_a_norm_is_of_those_that_take_part(wide_numbers):
    clipped, plain = made(), made()
    steppers = (
        rt.optimizer(clip_by_global_norm(rules.adam, max_norm=0.7))(clipped, lr=0.01),
        torch.optim.Adam(plain, lr=0.01),
    )
    for step, mask in enumerate(masks(200)):
        for params in (clipped, plain):
            give(params, mask, step)
        here = [p for p in plain if p.grad is not None]
        if here:
            norm = torch.cat([p.grad.flatten() for p in here]).norm()
            for p in here:
                p.grad *= min(1.0, 0.7 / float(norm))
        for stepper in steppers:
            stepper.step()
    for p, q in zip(clipped, plain, strict=True):
        assert torch.allclose(p, q, rtol=1e-12, atol=1e-14)


def test_stochastic_rounding_does_not_depend_on_who_else_takes_part():
    seen = []
    for others in (True, False):
        params = [p.detach().bfloat16().requires_grad_() for p in made()]
        stepper = rt.Adam(params, lr=0.01, stochastic_rounding=3)
        for step, mask in enumerate(masks(40)):
            give(params, [i == 2 or (others and here) for i, here in enumerate(mask)], step)
            stepper.step()
        seen.append(params[2].detach())
    assert torch.equal(*seen)


def test_no_gradient_at_all_is_no_step():
    params = made()
    stepper = rt.Adam(params)
    give(params, [True] * len(params), 0)
    stepper.step()
    before, bound = [p.detach().clone() for p in params], stepper._bound
    versions = [p._version for p in params]
    give(params, [False] * len(params), 1)
    stepper.step()
    assert all(map(torch.equal, params, before))
    assert [p._version for p in params] == versions
    assert {int(state["step"]) for state in stepper.state.values()} == {1}
    give(params, [True] * len(params), 2)
    stepper.step()
    assert stepper._bound is bound


@pytest.mark.parametrize("missing", [1, 20, 60])
def test_of_many_parameters_few_or_most_take_part(missing):
    """Where many are missing, only those that take part are looked at."""
    results = []
    for engine in ("kernel", "eager"):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(3, 2, dtype=torch.float64)) for _ in range(64)]
        stepper = rt.Adam(params, lr=0.1, engine=engine)
        for step in range(12):
            give(params, [(i + 7 * step) % 64 >= missing * bool(step) for i in range(64)], step)
            if step == 1:
                bound = stepper._bound
            if step == 8:  # of one that takes part, and of one that does not
                assert engine == "eager" or stepper._bound is bound
                for p in (params[8], params[(-7 * step) % 64]):
                    stepper.state[p]["exp_avg"].data = torch.ones(3, 2, dtype=torch.float64)
            stepper.step()
        results.append(params)
    for p, q in zip(*results, strict=True):
        assert torch.allclose(p, q, rtol=1e-12, atol=1e-14)


def test_a_switch_that_crosses_zero_while_some_are_missing(wide_numbers):
    results = []
    for module in (rt, torch.optim):
        params = made()
        stepper = module.Adam(params, lr=0.01)
        bounds = set()
        for step, mask in enumerate(masks(60)):
            give(params, mask, step)
            stepper.param_groups[0]["weight_decay"] = 0.1 * (step // 10 % 2)
            stepper.step()
            bounds.add(getattr(stepper, "_bound", None))
        results.append(params)
        assert len(bounds) <= 6 + len(SHAPES)
    for p, q in zip(*results, strict=True):
        assert torch.allclose(p, q, rtol=1e-12, atol=1e-14)


def test_parameters_are_added_frozen_and_thawed(wide_numbers):
    results = []
    for module in (rt, torch.optim):
        params = made()
        stepper = module.AdamW(params[:4], lr=0.01)
        for step, mask in enumerate(masks(60)):
            if step == 10:
                stepper.add_param_group({"params": params[4:6], "lr": 0.02})
            if step == 20:
                stepper.param_groups[0]["params"].extend(params[6:])
            if step in (30, 40):
                params[1].requires_grad_(step == 40)
                mask[1] = False
            give(params, mask, step)
            if 30 <= step < 40:
                params[1].grad = None
            stepper.step()
        results.append(params)
    for p, q in zip(*results, strict=True):
        assert torch.allclose(p, q, rtol=1e-12, atol=1e-14)
