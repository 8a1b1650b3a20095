"""`step(zero_grad=True)`: the same step, and gradients of zeros after it, by every engine."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ravine
import ravine.torch as rt
from ravine import signal


def _net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 33), nn.Tanh(), nn.Linear(33, 7)).to(dtype)


def _trained(kind, zero, dtype=torch.float32, params=nn.Module.parameters, **how):
    """The weights and the state after three steps, the second of two gradients."""
    net = _net(dtype)
    optimizer = kind(params(net), **how)
    torch.manual_seed(1)
    for step in range(4):
        net(torch.randn(5, 9, dtype=dtype)).square().sum().backward()
        if step == 1:
            continue
        if zero:
            optimizer.step(zero_grad=True)
            assert not any(
                p.grad.any() for group in optimizer.param_groups for p in group["params"]
            )
        else:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
    kept = [x for p in net.parameters() for x in optimizer.state[p].values()]
    return [*map(torch.clone, net.parameters()), *kept], optimizer


def _equal(one, other):
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("kind", ["SGD", "Adam", "Adafactor", "LAMB"])
@pytest.mark.parametrize(
    "how",
    [{}, {"engine": "eager"}, {"grad_norm": True}, {"stochastic_rounding": 3}],
    ids=lambda how: next(iter(how), "auto"),
)
def test_every_engine_takes_the_same_step_and_zeroes_the_gradients(kind, how):
    dtype = torch.bfloat16 if "stochastic_rounding" in how else torch.float32
    plain, before = _trained(getattr(rt, kind), False, dtype, **how)
    zeroed, after = _trained(getattr(rt, kind), True, dtype, **how)
    assert _equal(plain, zeroed)
    assert after._bound.zeroes is (how.get("engine") != "eager")  # the kernel itself
    if how.get("grad_norm"):
        assert before.last_grad_norm == after.last_grad_norm > 0


def test_kernels_by_turns_zero_the_gradients_in_the_last_turn():
    def matrices(net):
        return [p for p in net.parameters() if p.ndim == 2]

    plain, _ = _trained(rt.Muon, False, params=matrices)
    zeroed, optimizer = _trained(rt.Muon, True, params=matrices)
    assert _equal(plain, zeroed)
    assert optimizer._bound.zeroes


def test_gradients_are_zeroed_where_the_kernel_sees_copies_or_no_gradients_of_its_own():
    p, q, z = (
        torch.ones(4, dtype=d, requires_grad=True)
        for d in (torch.float32,) * 2 + (torch.complex64,)
    )
    optimizer = rt.SGD([p, q, z], lr=0.5)
    p.grad = q.grad = torch.ones(4)  # one gradient for two
    z.grad = torch.ones(4, dtype=z.dtype)
    for step in (1, 2):
        optimizer.step(zero_grad=True)
        assert p.tolist() == q.tolist() == z.real.tolist() == [1 - 0.5 * step] * 4
        assert not p.grad.any()
        assert not z.grad.any()
        p.grad.fill_(1)
        z.grad.fill_(1)
    table = nn.Embedding(5, 2, sparse=True)
    before = table.weight.detach().clone()
    table(torch.tensor([1, 1])).sum().backward()
    rt.SparseAdam(table.parameters()).step(zero_grad=True)
    assert not table.weight.grad.to_dense().any()
    assert (table.weight != before).any(dim=1).tolist() == [False, True, False, False, False]


def test_gradients_that_come_to_share_memory_are_zeroed_after_the_step():
    p, q = (torch.ones(4, requires_grad=True) for _ in range(2))
    optimizer = rt.SGD([p, q], lr=0.5)
    p.grad, q.grad = torch.ones(4), torch.ones(4)
    optimizer.step(zero_grad=True)
    assert optimizer._bound.zeroes
    p.grad = torch.ones(4)
    q.grad = p.grad.detach()
    optimizer.step(zero_grad=True)
    assert p.tolist() == q.tolist() == [0.0] * 4
    assert not p.grad.any()


def test_a_gradient_that_is_also_a_signal_is_read_before_it_is_zeroed():
    def scaled(p, g, *, lr=0.5, by=signal()):
        return p - lr * g * by

    p = torch.ones(4, requires_grad=True)
    optimizer = rt.optimizer(scaled)([p])
    for _ in range(2):
        p.grad = torch.ones(4)
        optimizer.step(zero_grad=True, by=[p.grad])
    assert p.tolist() == [0.0] * 4
    assert not p.grad.any()


def test_a_step_that_is_skipped_zeroes_the_gradients_too():
    p = torch.ones(3, requires_grad=True)
    optimizer = rt.Adam([p], lr=0.1)
    p.grad = torch.full((3,), torch.inf)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step(zero_grad=True)
    assert optimizer.last_step_skipped
    assert p.tolist() == [1.0] * 3
    assert not p.grad.any()


@pytest.mark.parametrize("fused", [None, True])
def test_a_scaler_that_skips_a_step_leaves_no_infinite_gradients_behind(fused):
    p, q = (torch.ones(3, requires_grad=True) for _ in range(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizer = rt.Adam([p], lr=0.1, fused=fused)
    for scale in (1.0, torch.inf, 1.0):
        scaler.scale((p * scale).sum()).backward()
        scaler.step(optimizer, zero_grad=True)
        assert optimizer.last_step_skipped is (scale > 1)
        scaler.update()
        assert p.grad.tolist() == [0.0] * 3
    reference = torch.optim.Adam([q], lr=0.1)
    for _ in range(2):
        q.grad = torch.ones(3)
        reference.step()
    assert torch.allclose(p, q, rtol=1e-6)


def test_with_a_closure_with_hooks_and_in_backward():
    p = torch.ones(3, requires_grad=True)
    optimizer = rt.SGD([p], lr=0.25)

    def closure():
        loss = p.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure, zero_grad=True) == 3.0
    assert not p.grad.any()
    handle = optimizer.register_step_post_hook(lambda *_: None)
    assert optimizer.step(closure, zero_grad=True) == 2.25
    handle.remove()
    assert p.tolist() == [0.5] * 3
    assert not p.grad.any()
    with rt.step_in_backward([p], optimizer):
        p.sum().backward()
        optimizer.step(zero_grad=True)
    assert p.tolist() == [0.25] * 3
    assert p.grad is None


def test_autograd_notices_that_a_gradient_has_become_zeros():
    p, x = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    optimizer = rt.SGD([p], lr=0.25)
    p.grad = torch.ones(3)
    for _ in range(2):
        loss = (x * p.grad).sum()  # keeps the gradient for the backward pass
        optimizer.step(zero_grad=True)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_what_cannot_be_asked_for_is_refused():
    p = torch.ones(3, requires_grad=True)
    p.grad = torch.ones(3)
    with pytest.raises(ValueError, match=r"SGD: step: zero_grad=1 is invalid; .* True or False"):
        rt.SGD([p]).step(zero_grad=1)
    with pytest.raises(
        ValueError, match="zero_grad=True is not supported with differentiable=True"
    ):
        rt.SGD([p], differentiable=True).step(zero_grad=True)
    assert p.tolist() == [1.0] * 3
    with pytest.raises(ravine.RuleError, match="zero_grad"):
        rt.optimizer(lambda p, g, *, lr=0.1, zero_grad=signal(): p - lr * g)
