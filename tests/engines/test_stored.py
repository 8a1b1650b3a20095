"""What is read back after storing, in every engine; and Kahan summation, which is made of it."""

import numpy as np
import pytest
import torch
from torch import nn

import ravine.numpy as rn
import ravine.torch as rt
from ravine import rule, rules
from ravine.engines.python import kernel_source
from ravine.engines.tracing import trace
from ravine.modifiers import clip_by_global_norm, kahan
from ravine.ops import stored

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@rule(evaluate=lambda p, lost: lost)
def rounding(p, g, lost, *, lr=1.0):
    """What rounding takes; `lost` is kept in another dtype, so that it can be seen."""
    new = p - lr * g
    return new, new - stored(new)


def special(dtype):
    """Numbers of the dtype at its edges, and others."""
    low = torch.finfo(dtype)
    odd = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), low.max, -low.max])
    tiny = torch.tensor([low.tiny, -low.tiny, low.tiny / 4, low.tiny * 1.5], dtype=torch.float64)
    rest = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([odd.double(), tiny, rest]).to(dtype)


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("state", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_lost_is_what_the_dtype_has_not(dtype, state, engine):
    wanted = special(dtype)
    p = nn.Parameter(torch.zeros(len(wanted), dtype=dtype))
    for lr in (1.0, 1 + 2**-9, 1 + 2**-13, 1 / 3):
        optimizer = rt.optimizer(rounding)([p], engine=engine, state_dtype=state, lr=lr)
        p.data.zero_()
        p.grad = -wanted
        optimizer.step()
        computed = torch.float64 if torch.float64 in (dtype, state) else torch.float32
        exact = wanted.to(computed) * torch.tensor(lr, dtype=computed)
        expected = exact - exact.to(dtype).to(computed)
        assert torch.equal(p.nan_to_num(), exact.to(dtype).nan_to_num())
        lost = optimizer.state[p]["lost"]
        assert torch.equal(lost.nan_to_num(), expected.to(lost.dtype).nan_to_num())
        assert lr != 1 / 3 or bool(lost.nan_to_num().any()) is (dtype != computed)


@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_of_arrays_in_half_precision(engine):
    p, plain = np.ones(40, np.float16), np.ones(40, np.float16)
    optimizers = (
        rn.optimizer(kahan(rules.sgd))([p], engine=engine, lr=1e-4),
        rn.SGD([plain], lr=1e-4),
    )
    for _ in range(100):
        for opt in optimizers:
            opt.step([np.ones(40, np.float16)])
    assert np.abs(p.astype(float) - 0.99).max() < 1e-3
    assert (plain == 1).all()


def test_what_is_not_rounded():
    assert stored(1 / 3) == 1 / 3
    for dtype in (torch.float64, torch.bfloat16):
        x = torch.tensor([1 / 3], dtype=dtype)
        assert torch.equal(stored(x), x)
    made = rule(lambda p, g, *, lr=0.1: p - g * stored(lr * 2))
    assert "stored(lr * 2)" in kernel_source(trace(made))
    p = nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    p.grad = torch.ones_like(p)
    rt.optimizer(made)([p], engine="kernel", lr=1 / 3).step()
    assert torch.equal(p, torch.full((3,), -2 / 3).bfloat16())


def test_tensors_of_several_dtypes_at_once():
    made = clip_by_global_norm(kahan(rules.sgd), max_norm=1e9)
    both = []
    for engine in ("kernel", "eager"):
        params = [nn.Parameter(torch.ones(5, dtype=dtype)) for dtype in DTYPES]
        optimizer = rt.optimizer(made)(params, engine=engine, lr=1e-3)
        for _ in range(20):
            for p in params:
                p.grad = torch.full_like(p, 0.3)
            optimizer.step()
        both.append(params)
    for p, q in zip(*both, strict=True):
        assert torch.allclose(p, q, rtol=1e-12)
        assert abs(p[0].item() - 0.994) <= 4 * torch.finfo(p.dtype).eps


def path(dtype, made, steps=400, **options):
    """Where noisy steps towards a target end, and where they started."""
    generator = torch.Generator().manual_seed(0)
    start, target = (torch.randn(4096, generator=generator).bfloat16() for _ in range(2))
    p = nn.Parameter(start.to(dtype))
    optimizer = rt.optimizer(made)([p], lr=2e-4, **options)
    for _ in range(steps):
        noise = torch.randn(4096, generator=generator)
        p.grad = (0.1 * (p.detach().float() - target.float()) + 0.5 * noise).to(dtype)
        optimizer.step()
    return p.detach().float(), start.float()


def test_adam_in_bfloat16_follows_the_run_in_float32():
    """Distances from where float32 ends, by how far it moved."""
    wanted, start = path(torch.float32, rules.adam)

    def distance(made, **options):
        reached, _ = path(torch.bfloat16, made, **options)
        return ((reached - wanted).norm() / (wanted - start).norm()).item()

    assert distance(rules.adam) > 0.9
    assert distance(kahan(rules.adam)) < 0.2
    assert distance(kahan(rules.adam), state_dtype=torch.float32) < 0.1
    assert distance(rules.adam, state_dtype=torch.float32, stochastic_rounding=1) > 0.3
