"""Weights to evaluate with: put in place, and taken out again as if nothing had happened."""

import copy
import io
import pickle

import pytest
import torch
from cases import schedule_free
from torch import nn

import ravine.torch as rt
from ravine import like_p, modifier, rule, rules, scalar


@modifier(ema_p=like_p, evaluate=lambda p, ema_p: ema_p)
def averaged(step, p, g, ema_p, *, decay=0.5):
    """An exponential moving average of the weights."""
    p = step(p, g)
    return p, decay * ema_p + (1 - decay) * p


def make(made, params, **options):
    return rt.optimizer(made)(params, **options)


def train(net, optimizer, steps=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        x = torch.randn(8, 4, generator=generator, dtype=net[0].weight.dtype)
        net(x).square().mean().backward()
        optimizer.step()


def model(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).to(dtype)


def weights(net):
    return [p.detach().clone() for p in net.parameters()]


def equal(some, others):
    return all(map(torch.equal, some, others))


def schedule_free_sequences(start, gradients, lr, beta1, beta2, eps=1e-8):
    """Defazio et al., 2024 (arXiv:2405.15682), by its three sequences: y, z, and x to evaluate with."""
    x, z, v, total = start.clone(), start.clone(), torch.zeros_like(start), 0.0
    y = start
    for t, gradient in enumerate(gradients, 1):
        g = gradient(y)
        v = beta2 * v + (1 - beta2) * g**2
        z = z - lr * g / ((v / (1 - beta2**t)).sqrt() + eps)
        total += lr**2
        x = x + lr**2 / total * (z - x)
        y = (1 - beta1) * z + beta1 * x
    return y, x


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_schedule_free_is_evaluated_at_its_mean(engine):
    torch.manual_seed(1)
    p = nn.Parameter(torch.randn(7, dtype=torch.float64))
    targets = torch.randn(30, 7, dtype=torch.float64)
    start, gradients = p.detach().clone(), [lambda y, c=c: y - c for c in targets]
    optimizer = make(schedule_free, [p], lr=0.1, engine=engine)
    for gradient in gradients:
        p.grad = gradient(p.detach())
        optimizer.step()
    y, x = schedule_free_sequences(start, gradients, 0.1, 0.9, 0.999)
    assert torch.allclose(p, y, rtol=1e-12, atol=0)
    before = p.detach().clone()
    with optimizer.evaluating():
        assert torch.allclose(p, x, rtol=1e-11, atol=1e-13)
    assert torch.equal(p, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_an_average_is_put_in_place_and_training_goes_on(dtype):
    nets = model(dtype), model(dtype)
    optimizers = [make(averaged(rules.adam), net.parameters(), lr=0.1) for net in nets]
    for net, optimizer in zip(nets, optimizers, strict=True):
        train(net, optimizer)
    before = weights(nets[0])
    with optimizers[0].evaluating():
        assert equal(weights(nets[0]), [s["ema_p"] for s in optimizers[0].state.values()])
        assert not equal(weights(nets[0]), before)
    assert equal(weights(nets[0]), before)
    for net, optimizer in zip(nets, optimizers, strict=True):
        train(net, optimizer, seed=1)
    assert equal(weights(nets[0]), weights(nets[1]))


def test_modifiers_evaluate_what_the_inner_rule_evaluates():
    @rule(mean_p=like_p, evaluate=lambda p, mean_p, lr: mean_p + lr)
    def inner(p, g, mean_p, *, lr=0.5):
        return p - lr * g, 10 * mean_p

    @modifier(count=scalar(0.0), evaluate=lambda p, count, decay: p * count * decay)
    def outer(step, p, g, count, *, decay=3.0):
        return step(p, g), count + 1

    p = nn.Parameter(torch.ones(2, dtype=torch.float64))
    for made, expected in ((outer(inner), 2 * 3 * 100.5), (outer(rules.sgd), 6.0)):
        p.data.fill_(1.0)
        optimizer = make(made, [p], lr=0.5)
        for _ in range(2):
            p.grad = torch.zeros_like(p)
            optimizer.step()
        with optimizer.evaluating():
            assert p.tolist() == [expected] * 2
    assert outer(inner).evaluated == ("mean_p", "count")
    with pytest.raises(TypeError, match=r"evaluate uses 'lr'; it can use p, count, decay"):
        modifier(count=scalar(0.0), evaluate=lambda p, lr: p)(outer.__wrapped__)


def test_a_step_is_refused_meanwhile():
    net = model()
    optimizer = make(averaged(rules.sgd), net.parameters(), lr=0.1)
    train(net, optimizer)
    optimizer.eval()
    with pytest.raises(RuntimeError, match=r"evaluate with; take steps outside of evaluating\(\)"):
        optimizer.step()
    optimizer.train()
    with rt.step_in_backward(net, optimizer):
        optimizer.eval()
        with pytest.raises(RuntimeError, match="take steps outside"):
            net(torch.ones(1, 4, dtype=torch.float64)).sum().backward()
        optimizer.train()
    train(net, optimizer)


def test_within_one_another_and_where_something_fails():
    net = model()
    optimizer = make(averaged(rules.sgd), net.parameters(), lr=0.1)
    train(net, optimizer)
    before = weights(net)

    def evaluate():
        with optimizer.evaluating():
            at = weights(net)
            with optimizer.evaluating():
                assert equal(weights(net), at)
            assert equal(weights(net), at)
            optimizer.eval()
            raise KeyError

    with pytest.raises(KeyError):
        evaluate()
    assert equal(weights(net), before)
    optimizer.train()
    assert equal(weights(net), before)


def test_without_an_evaluation_or_a_step_nothing_changes():
    net = model()
    for optimizer in (rt.Adam(net.parameters()), make(averaged(rules.sgd), net.parameters())):
        before = weights(net)
        with optimizer.evaluating():
            assert equal(weights(net), before)
            with pytest.raises(RuntimeError, match="take steps outside"):
                optimizer.step()
    only = rt.ASGD(net.parameters(), lr=0.1, t0=0)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    only.step()
    before = net[2].weight.detach().clone()
    with only.evaluating():
        assert torch.equal(net[0].weight, only.state[net[0].weight]["ax"])
        assert torch.equal(net[2].weight, before)


def test_asgd_is_evaluated_at_its_mean():
    p = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = rt.ASGD([p], lr=0.1, lambd=0.0, t0=0, alpha=0.0)
    path = []
    for t in range(6):
        p.grad = torch.full_like(p, t - 1.0)
        optimizer.step()
        path.append(p.detach().clone())
    with optimizer.evaluating():
        assert torch.allclose(p, torch.stack(path[1:]).mean(0), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("in_evaluation", [False, True])
def test_checkpoints_go_on(in_evaluation):
    net, alone = model(), model()
    optimizer, other = (make(averaged(rules.adam), x.parameters(), lr=0.1) for x in (net, alone))
    train(net, optimizer)
    train(alone, other)
    if in_evaluation:
        optimizer.eval()
    block = io.BytesIO()
    torch.save((net.state_dict(), optimizer.state_dict()), block)
    block.seek(0)
    saved = torch.load(block, weights_only=True)
    again = model()
    resumed = make(averaged(rules.adam), again.parameters(), lr=0.1)
    train(again, resumed, 1, seed=7)
    again.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    if in_evaluation:
        assert equal(weights(again), weights(net))
        assert not equal(weights(again), weights(alone))
        with pytest.raises(RuntimeError, match="take steps outside"):
            resumed.step()
        resumed.train()
    train(again, resumed, seed=1)
    train(alone, other, seed=1)
    assert equal(weights(again), weights(alone))
    assert not any("training_p" in state for state in resumed.state.values())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_evaluated_too(copied):
    net = model()
    optimizer = rt.ASGD(net.parameters(), lr=0.1, t0=0)
    train(net, optimizer)
    before = weights(net)
    optimizer.eval()
    other_net, other = copied((net, optimizer))
    other.train()
    assert equal(weights(other_net), before)
    assert not equal(weights(net), before)
    train(other_net, other, 1)
    optimizer.reset()
    assert equal(weights(net), before)


def test_complex_weights_and_groups():
    p = nn.Parameter(torch.ones(3, dtype=torch.complex128))
    q = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = make(averaged(rules.sgd), [{"params": [p], "decay": 0.25}, {"params": [q]}], lr=1.0)
    p.grad, q.grad = torch.full_like(p, 1j), torch.ones_like(q)
    optimizer.step()
    with optimizer.evaluating():
        assert p.tolist() == [1 - 0.75j] * 3
        assert q.tolist() == [0.5] * 3
    assert (p.tolist(), q.tolist()) == ([1 - 1j] * 3, [0.0] * 3)
