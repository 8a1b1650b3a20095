"""`flatten=True`: the bits of the step without it, whatever happens to parameters, gradients and states."""

from __future__ import annotations

import copy
import io
import pickle
import threading

import pytest
import torch
from torch import nn

import ravine.torch as rt

pytestmark = pytest.mark.skipif(
    not hasattr(torch._C, "_storage_Use_Count"),
    reason="this version of torch does not count who holds a tensor's memory",
)


def _net(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 7)).to(dtype)


def _backward(net, seed):
    torch.manual_seed(seed)
    dtype = next(net.parameters()).dtype
    net(torch.randn(5, 9, dtype=dtype)).square().sum().backward()


def _run(
    kind=rt.Adam, flatten=True, steps=7, dtype=torch.float32, between=None, scheduled=False, **how
):
    """The network and its optimizer after some steps; between: is called before each of them."""
    net = _net(dtype)
    optimizer = kind(net.parameters(), flatten=flatten, **how)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) if scheduled else None
    for step in range(steps):
        optimizer.zero_grad()
        _backward(net, step)
        if between is not None:
            changed = between(net, optimizer, step)
            net, optimizer = changed or (net, optimizer)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return net, optimizer


def _bits(net, optimizer):
    states = [optimizer.state[p] for p in net.parameters()]
    return [*net.parameters(), *(x for state in states for x in state.values())]


def _assert_same(**how):
    plain, flat = _run(flatten=False, **how), _run(flatten=True, **how)
    assert all(map(torch.equal, _bits(*plain), _bits(*flat)))
    return flat


def _is_quick(optimizer):
    """Whether steps are taken with the gradients that were kept."""
    return all(k.kept_grads and k.addresses is k.kept_grads[1] for k in optimizer._bound.kernels)


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "LAMB", "Adafactor", "ASGD", "Prodigy", "Lion"])
def test_steps_have_the_same_bits(kind):
    _, optimizer = _assert_same(kind=getattr(rt, kind))
    assert optimizer.engine == "kernel; flat"
    assert _is_quick(optimizer)


@pytest.mark.parametrize(
    "how",
    [
        {"dtype": torch.float64},
        {"dtype": torch.bfloat16, "stochastic_rounding": 5},
        {"state_dtype": torch.bfloat16},
        {"grad_norm": True},
        {"scheduled": True},
    ],
    ids=lambda how: next(iter(how)),
)
def test_steps_have_the_same_bits_with_other_options(how):
    _, optimizer = _assert_same(**how)
    assert _is_quick(optimizer)


def test_tensors_stand_in_blocks():
    net, optimizer = _run()
    for tensors in (
        list(net.parameters()),
        [p.grad for p in net.parameters()],
        *(
            [optimizer.state[p][key] for p in net.parameters()]
            for key in ("exp_avg", "exp_avg_sq", "step")
        ),
    ):
        assert len({x.untyped_storage().data_ptr() for x in tensors}) == 1
        starts = [x.data_ptr() for x in tensors]
        assert starts == sorted({*starts})


def test_matrices_and_channels_last_keep_their_layout():
    torch.manual_seed(0)
    nets = [nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    made = [rt.Adam(net.parameters(), flatten=i == 1) for i, net in enumerate(nets)]
    for seed in range(4):
        for net, optimizer in zip(nets, made, strict=True):
            optimizer.zero_grad()
            torch.manual_seed(seed)
            net(
                torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
            ).sum().backward()
            optimizer.step()
    assert all(map(torch.equal, nets[0].parameters(), nets[1].parameters()))
    assert nets[1].weight.is_contiguous(memory_format=torch.channels_last)


def _one(net):
    return next(net.parameters())


def _no_gradient(net, optimizer, step):
    _one(net).grad = None


def _another_gradient(net, optimizer, step):
    _one(net).grad = 2 * _one(net).grad


def _data_of_gradient(net, optimizer, step):
    old = _one(net).grad.data  # keeps the piece of the block in view
    _one(net).grad.data = 3 * old
    net.kept = [old]


def _another_parameter(net, optimizer, step):
    backup = _one(net).data
    _one(net).data = backup + 1
    net.kept = [backup]


def _transposed(net, optimizer, step):
    p = net[2].weight
    p.data = p.data.t().contiguous().t()
    p.grad = p.grad.t().contiguous().t()


def _turned_gradient(net, optimizer, step):
    _one(net).grad.t_()


def _turned_parameter(net, optimizer, step):
    with torch.no_grad():
        _one(net).t_()


def _another_state(net, optimizer, step):
    state = optimizer.state[_one(net)]
    state["exp_avg"] = state["exp_avg"] * 2


def _updated_state(net, optimizer, step):
    state = optimizer.state[_one(net)]
    state.update(exp_avg=state["exp_avg"] + 1)


def _data_of_state(net, optimizer, step):
    old = optimizer.state[_one(net)]["exp_avg"].data
    optimizer.state[_one(net)]["exp_avg"].data = old * 2
    net.kept = [old]


def _state_in_place(net, optimizer, step):
    optimizer.state[_one(net)]["exp_avg"].mul_(2)
    optimizer.state[_one(net)]["step"].add_(3)


def _state_taken_out(net, optimizer, step):
    del optimizer.state[_one(net)]


def _frozen(net, optimizer, step):
    _one(net).requires_grad_(False)


def _reset(net, optimizer, step):
    optimizer.reset()


def _loaded(net, optimizer, step):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    net.load_state_dict({k: 2 * v for k, v in net.state_dict().items()})


def _copied(net, optimizer, step):
    grads = [p.grad for p in net.parameters()]
    net, optimizer = copy.deepcopy((net, optimizer))
    for p, g in zip(net.parameters(), grads, strict=True):
        p.grad = g.clone()
    return net, optimizer


def _clipped(net, optimizer, step):
    nn.utils.clip_grad_norm_(net.parameters(), 0.1)


def _in_float64(net, optimizer, step):
    net.double()
    for state in optimizer.state.values():
        state.update({k: v.double() for k, v in state.items()})


def _graph(net, optimizer, step):
    optimizer.zero_grad()
    torch.manual_seed(step)
    loss = net(torch.randn(5, 9)).square().sum()
    loss.backward(create_graph=True)


CHANGES = [
    *(_no_gradient, _another_gradient, _data_of_gradient, _another_parameter, _transposed),
    *(
        _turned_gradient,
        _turned_parameter,
        _another_state,
        _updated_state,
        _data_of_state,
        _state_in_place,
    ),
    *(_state_taken_out, _frozen, _reset, _loaded, _copied, _clipped, _in_float64),
    pytest.param(_graph, marks=pytest.mark.filterwarnings("ignore:Using backward")),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", [(3,), (0, 3, 4)], ids=["once", "often"])
def test_whatever_is_replaced_steps_have_the_same_bits(change, when):
    def between(net, optimizer, step):
        if step in when and (step or change in (_another_gradient, _clipped, _another_parameter)):
            return change(net, optimizer, step)
        return None

    _assert_same(between=between)


def test_zero_grad_keeps_the_gradients_in_their_places():
    net, optimizer = _run()
    grads = [p.grad for p in net.parameters()]
    places = [g.data_ptr() for g in grads]
    del grads
    for p in net.parameters():
        p.grad = None if p.ndim > 1 else p.grad * 2  # as after model.zero_grad()
    assert optimizer.engine == "kernel; flat except for 4 tensors (its gradient was replaced)"
    optimizer.zero_grad()
    assert [p.grad.data_ptr() for p in net.parameters()] == places
    assert not any(p.grad.any() for p in net.parameters())
    assert optimizer.engine == "kernel; flat"


@pytest.mark.parametrize("hold", [lambda g: g, lambda g: g.view(-1), lambda g: g.data])
@pytest.mark.parametrize("dropped", [False, True])
def test_zero_grad_does_not_touch_gradients_that_somebody_holds(hold, dropped):
    net, optimizer = _run()
    held = [hold(p.grad) for p in net.parameters()]
    before = [g.clone() for g in held]
    if dropped:
        net.zero_grad()
    optimizer.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert all(map(torch.equal, held, before))
    _backward(net, 1)
    optimizer.step()
    assert all(map(torch.equal, held, before))
    del held
    optimizer.zero_grad()
    assert not any(p.grad.any() for p in net.parameters())


def test_zero_grad_keeps_places_after_a_checkpoint_was_loaded_and_parameters_were_replaced():
    net, optimizer = _run()
    net[2] = nn.Linear(9, 7)
    optimizer.param_groups[0]["params"][2:] = net[2].parameters()
    optimizer.state.clear()
    for step in range(2):
        _backward(net, step)
        optimizer.step()
    fresh = rt.Adam(net.parameters())
    _backward(net, 1)
    fresh.step()
    optimizer.load_state_dict(fresh.state_dict())
    for step in range(4):
        optimizer.zero_grad()
        assert not any(p.grad.any() for p in net[0].parameters())
        _backward(net, step)
        optimizer.step()
    assert optimizer.engine == "kernel; flat"
    assert _is_quick(optimizer)
    held = net[0].weight.grad
    before = held.clone()
    optimizer.zero_grad()
    assert torch.equal(held, before)


def test_set_to_none_sets_gradients_to_none():
    net, optimizer = _run()
    optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in net.parameters())


def test_autograd_sees_that_gradients_and_parameters_change():
    net, optimizer = _run()
    p, x = net[2].bias, torch.ones(7, requires_grad=True)
    loss = (x * p.grad).sum()
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    loss = (x * p).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    before = [q._version for q in net.parameters()]
    with torch.no_grad():
        p.add_(1)  # each parameter counts its own changes
    assert sum(q._version for q in net.parameters()) == sum(before) + 1


def test_memory_that_somebody_else_has_in_view_stays_where_it_is():
    whole = torch.ones(8)
    p, q, r = nn.Parameter(whole[:4]), nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    view = q.data[1:]
    r.share_memory_()
    optimizer = rt.SGD([p, q, r], lr=0.25, flatten=True)
    for _ in range(3):
        for x in (p, q, r):
            x.grad = torch.ones(4) if x.grad is None else x.grad.add_(1)
        optimizer.step()
        optimizer.zero_grad()
    assert whole[:4].tolist() == p.tolist() == q.tolist() == r.tolist() == [0.25] * 4
    assert view.tolist() == [0.25] * 3
    assert r.is_shared()


def test_one_gradient_of_two_parameters_stays_where_it_is():
    p, q = (nn.Parameter(torch.ones(4)) for _ in range(2))
    optimizer = rt.SGD([p, q], lr=0.25, flatten=True)
    for _ in range(3):
        p.grad = torch.ones(4)
        q.grad = p.grad.detach()
        optimizer.step()
    assert p.tolist() == q.tolist() == [0.25] * 4
    assert "2 tensors (its gradient shares memory)" in optimizer.engine


def test_parameters_that_come_later_are_moved_too():
    nets = [_net(), _net()]
    made = [
        rt.Adam(net[0].parameters(), flatten=flat)
        for net, flat in zip(nets, (False, True), strict=True)
    ]
    for step in range(8):
        for net, optimizer in zip(nets, made, strict=True):
            optimizer.zero_grad()
            _backward(net, step)
            optimizer.step()
            if step == 3:
                optimizer.add_param_group({"params": net[2].parameters(), "lr": 0.1})
                for p in net[2].parameters():
                    p.grad = None
    assert all(map(torch.equal, nets[0].parameters(), nets[1].parameters()))
    assert made[1].engine == "kernel; flat"
    assert _is_quick(made[1])


def test_a_checkpoint_has_no_blocks_in_it():
    net, optimizer = _run()
    _, plain = _run(flatten=False)
    saved, wanted = optimizer.state_dict(), plain.state_dict()
    for key, state in wanted["state"].items():
        assert type(saved["state"][key]) is dict
        for name, x in state.items():
            assert torch.equal(saved["state"][key][name], x)
            assert (
                saved["state"][key][name].untyped_storage().nbytes() == x.untyped_storage().nbytes()
            )
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    torch.optim.Adam(net.parameters()).load_state_dict(torch.load(file, weights_only=True))
    again = pickle.loads(pickle.dumps(optimizer))
    assert again.engine == "kernel; flat after the next step"
    assert all(type(state) is dict for state in again.state.values())


def test_several_groups_dtypes_and_kernels():
    made = []
    for flat in (False, True):
        net = _net()
        net[2].to(torch.float64)
        groups = [
            {"params": [net[0].weight], "rule": "Muon", "lr": 0.02},
            {"params": [net[0].bias], "rule": "Lion", "lr": 0.1},
            {"params": net[2].parameters(), "rule": "ema(adam)", "lr": 0.1},
        ]
        optimizer = rt.Mixed(groups, flatten=flat)
        for step in range(8):
            optimizer.zero_grad()
            torch.manual_seed(step)
            net[2](net[0](torch.randn(5, 9)).double()).square().sum().backward()
            optimizer.step()
            if step == 4:
                with optimizer.evaluating():
                    assert not torch.equal(net[2].bias, optimizer.state[net[2].bias]["training_p"])
        made.append((net, optimizer))
    assert all(map(torch.equal, _bits(*made[0]), _bits(*made[1])))
    assert made[1][1].engine.endswith("; flat")
    assert _is_quick(made[1][1])


def test_threads_that_step_one_optimizer():
    params = [nn.Parameter(torch.zeros(64)) for _ in range(20)]
    optimizer = rt.SGD(params, lr=1.0, flatten=True)
    for p in params:
        p.grad = torch.ones(64)

    def steps():
        for _ in range(50):
            optimizer.step()

    threads = [threading.Thread(target=steps) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(p.tolist() == [-200.0] * 64 for p in params)


def test_step_with_zero_grad():
    made = []
    for flat in (False, True):
        net = _net()
        optimizer = rt.Adam(net.parameters(), flatten=flat)
        for step in range(6):
            _backward(net, step)
            optimizer.step(zero_grad=True)
            assert not any(p.grad.any() for p in net.parameters())
        made.append((net, optimizer))
    assert all(map(torch.equal, _bits(*made[0]), _bits(*made[1])))
    assert _is_quick(made[1][1])


@pytest.mark.parametrize("fused", [None, True])
def test_with_a_scaler(fused):
    made = []
    for flat in (False, True):
        net = _net()
        optimizer = rt.Adam(net.parameters(), flatten=flat, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        for step in range(6):
            optimizer.zero_grad()
            torch.manual_seed(step)
            loss = net(torch.randn(5, 9)).square().sum() * (torch.inf if step == 3 else 1)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        made.append((net, optimizer))
    assert all(map(torch.equal, _bits(*made[0]), _bits(*made[1])))


def test_in_backward_nothing_is_moved():
    made = []
    for flat in (False, True):
        net = _net()
        optimizer = rt.Adam(net.parameters(), flatten=flat)
        with rt.step_in_backward(net, optimizer):
            for step in range(4):
                _backward(net, step)
                optimizer.step()
        made.append((net, optimizer))
    assert all(map(torch.equal, _bits(*made[0]), _bits(*made[1])))
    assert all(p.grad is None for p in made[1][0].parameters())


def test_what_no_kernel_steps_is_not_moved():
    z = nn.Parameter(torch.ones(4, dtype=torch.complex64))
    optimizer = rt.SGD([z], lr=0.25, flatten=True)
    for _ in range(3):
        z.grad = torch.ones_like(z)
        optimizer.step()
    assert z.real.tolist() == [0.25] * 4
    not_flat = "not flat, since kernels do not step all tensors in the memory that they have"
    assert optimizer.engine == f"kernel; {not_flat}"
    meta = nn.Parameter(torch.empty(3, device="meta"))
    optimizer = rt.SGD([meta], flatten=True)
    meta.grad = torch.empty(3, device="meta")
    optimizer.step()
    assert optimizer.engine == f"kernel; eager for 1 tensor (on meta); {not_flat}"


def test_what_is_refused():
    p = [nn.Parameter(torch.ones(3))]
    with pytest.raises(ValueError, match=r"flatten='yes' is invalid; it must be True or False"):
        rt.Adam(p, flatten="yes")
    with pytest.raises(ValueError, match=r"flatten=True needs kernels; engine='eager' has none"):
        rt.Adam(p, flatten=True, engine="eager")
    with pytest.raises(ValueError, match=r"differentiable=True needs .* no .*flatten"):
        rt.Adam(p, flatten=True, differentiable=True)


def test_without_torchs_counts_nothing_is_flat(monkeypatch):
    monkeypatch.delattr(torch._C, "_storage_Use_Count")
    net, optimizer = _run(steps=2)
    _, plain = _run(steps=2, flatten=False)
    assert optimizer.engine == (
        "kernel; not flat, since this version of torch does not count who holds a tensor's memory"
    )
    for p, q in zip(net.parameters(), plain.param_groups[0]["params"], strict=True):
        assert torch.equal(p, q)
