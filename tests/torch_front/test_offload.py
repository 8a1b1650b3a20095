"""`offload=True`: the bits of a step on the CPU, with every copy waited for.

CPU tensors play the part of tensors on a device. Every copy is made as late as possible, and its target
contains NaNs until then. During a step, the device's memory contains NaNs, too.
"""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from signals import sophia

import ravine.torch as rt
from ravine import registry
from ravine.engines.tracing import trace
from ravine.torch import offload, stepping
from ravine.torch.copies import Blocking, Streams, copies_for

NAN = float("nan")
SHAPES = [(5,), (4, 3), (7, 2, 2, 2), (), (6, 5)]
SCHEDULE_FREE = rt.optimizer("schedule_free_adamw")
MATRICES = [(4, 3), (3, 5), (4, 4), (6, 2)]


class Late:
    """Copies that happen when they are waited for."""

    remark = ""

    def __init__(self):
        self.log, self.down, self.up, self.made = [], [], [], 0
        self.params, self.hidden, self.within = [], [], False

    def buffer(self, like, dtype):
        return torch.full_like(like, NAN, dtype=dtype)

    def begin(self):
        assert not self.within
        self.within, self.hidden = True, []
        for p in self.params:
            self._hide(p)

    def _hide(self, x):
        self.hidden.append((x, x.detach().clone()))
        x.data.fill_(NAN)

    def to_host(self, target, source):
        assert self.within
        target.fill_(NAN)
        self.down.append((target, source))

    def record(self):
        self.log.append("record")
        return self.made + len(self.down)

    def wait(self, mark):
        self.log.append(f"wait {mark}")
        while self.made < mark:
            target, source = self.down.pop(0)
            target.copy_(source)
            self._hide(source)
            self.made += 1

    def to_device(self, target, source):
        assert self.within
        self.log.append("send")
        target.fill_(NAN)
        self.hidden = [(x, kept) for x, kept in self.hidden if x is not target]
        self.up.append((target, source))

    def end(self):
        for target, source in self.up:
            target.data.copy_(source)
        for x, kept in self.hidden:
            if x.isnan().all():  # and nothing else has been written since
                x.data.copy_(kept)
        self.down, self.up, self.hidden, self.within = [], [], [], False


@pytest.fixture
def late(monkeypatch):
    """All tensors are on a device, as far as the front knows."""
    late = Late()
    monkeypatch.setattr(offload, "is_away", lambda _: True)
    monkeypatch.setattr(offload, "copies_for", lambda _: late)
    monkeypatch.setattr(offload, "BUCKET", 50)
    return late


def gradients(shapes, steps, dtype=torch.float32):
    """For each step; the second tensor has one late, and is left out once more."""
    torch.manual_seed(1)
    rows = [[torch.randn(shape).to(dtype) for shape in shapes] for _ in range(steps)]
    for step in (0, 3):
        if step < steps:
            rows[step][1] = None
    return rows


def made(kind, shapes=SHAPES, dtype=torch.float32, late=None, **how):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape).to(dtype)) for shape in shapes]
    if late is not None:
        late.params = params
    return kind(params, offload=late is not None, **how), params


def train(optimizer, params, rows, **signals):
    for step, row in enumerate(rows):
        if step == 4 and "lr" in optimizer.param_groups[0]:
            optimizer.param_groups[0]["lr"] *= 0.5
        for p, g in zip(params, row, strict=True):
            p.grad = None if g is None else g.clone()
        optimizer.step(**{k: x(params) for k, x in signals.items()})
        for p, g in zip(params, row, strict=True):
            assert g is None or torch.equal(p.grad, g)  # gradients are left as they are


def both(kind, late, shapes=SHAPES, dtype=torch.float32, steps=6, signals=(), **how):
    """Train with and without; compare all bits."""
    found = []
    for its in (late, None):
        optimizer, params = made(kind, shapes, dtype, its, **how)
        train(optimizer, params, gradients(shapes, steps, dtype), **dict(signals))
        found.append((optimizer, params))
    (mine, params), (other, same) = found
    assert all(map(_same, params, same))
    for p, q in zip(params, same, strict=True):
        assert mine.state[p].keys() == other.state[q].keys()
        assert all(_same(x, other.state[q][k]) for k, x in mine.state[p].items())
    return mine, params


def _same(x, y):
    return torch.equal(x, y) if torch.is_tensor(x) else x == y


def shapes_of(rule):
    return MATRICES if trace(rule, None, 1).of_arrays else SHAPES


@pytest.mark.parametrize("name", list(registry.own()))
def test_every_rule_has_the_bits_of_its_steps_on_the_cpu(name, late):
    rule = registry.get(name)
    given = {
        k: (lambda _: 0.5) if s.scalar else lambda params: [torch.ones_like(p) for p in params]
        for k, s in rule.signals.items()
    }
    mine, _ = both(rt.optimizer(rule), late, shapes_of(rule), signals=given, seed=3)
    assert "tensors offloaded" in mine.engine


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "Adafactor", "Rprop", "Muon", "NAdam", "ASGD"])
def test_every_class_too(kind, late):
    shapes = MATRICES if kind == "Muon" else SHAPES
    mine, _ = both(getattr(rt, kind), late, shapes)
    assert mine.engine.endswith(f"{len(shapes)} tensors offloaded")


@pytest.mark.parametrize(
    "how",
    [
        {"dtype": torch.float64},
        {"dtype": torch.complex64},
        {"dtype": torch.bfloat16, "stochastic_rounding": 5},
        {"state_dtype": torch.bfloat16},
        {"state_dtype": "8bit", "shapes": [(70, 70), (5000,), (3,)]},
        {"engine": "eager"},
        {"maximize": True, "weight_decay": 0.1, "amsgrad": True},
    ],
)
def test_however_the_step_is_taken(how, late):
    both(rt.Adam, late, **how)


def test_a_bound_step_is_repeated(late):
    optimizer, params = made(rt.AdamW, late=late)
    rows = gradients(SHAPES, 6)
    train(optimizer, params, rows[:5])
    bound = optimizer._bound
    train(optimizer, params, rows[5:])
    assert optimizer._bound is bound


# ---- copies --------------------------------------------------------------------------------------


def _log(late, kind, monkeypatch, **how):
    run = stepping.KernelPart.run

    def logged(part, *args):
        status = run(part, *args)
        late.log.append("step")
        return status

    monkeypatch.setattr(stepping.KernelPart, "run", logged)
    optimizer, params = made(kind, [(20,)] * 3, late=late, **how)
    for _ in range(2):  # bound, and repeated
        late.log.clear()
        train(optimizer, params, [[torch.ones(20)] * 3])
    return late.log, late.made


def test_a_bucket_is_stepped_and_sent_while_the_next_one_arrives(late, monkeypatch):
    log, end = _log(late, rt.AdamW, monkeypatch)
    each = [[f"wait {end - 2 + i}", "step", "send"] for i in range(3)]
    assert log == ["record"] * 3 + each[0] + each[1] + each[2]


@pytest.mark.parametrize("rule", ["clip_by_global_norm(adamw)", "prodigy"])
def test_a_sum_over_all_tensors_waits_for_all(rule, late, monkeypatch):
    log, end = _log(late, rt.optimizer(rule), monkeypatch)
    waits = [f"wait {end - 2 + i}" for i in range(3)]
    assert log == ["record"] * 3 + waits + ["step"] + ["send"] * 3


@pytest.mark.parametrize("method", ["wait", "send", "fetch", "follow"])
@pytest.mark.parametrize("kind", [rt.AdamW, rt.optimizer("clip_by_global_norm(adamw)")])
def test_a_missing_wait_or_copy_shows(method, kind, late, monkeypatch):
    monkeypatch.setattr(offload.Mirror, method, lambda _: True)
    with pytest.raises((AssertionError, AttributeError, TypeError)):
        both(kind, late)


def test_without_waiting_the_called_rule_fails_too(late, monkeypatch):
    monkeypatch.setattr(offload.Mirror, "wait", lambda _: None)
    with pytest.raises(AssertionError):
        both(rt.AdamW, late, engine="eager")


class Calls:
    """In place of torch.cuda: a list of what is called."""

    def __init__(self):
        self.log, self.streams = [], 0
        self.now = Calls.Stream_(self, "now")

    class Stream_:
        def __init__(self, module, name):
            self.module, self.name = module, name

        def wait_stream(self, other):
            self.module.log.append(f"{self.name} waits for {other.name}")

        def record_event(self):
            self.module.log.append(f"event on {self.name}")
            return self

        def synchronize(self):
            self.module.log.append(f"host waits for {self.name}")

        def __enter__(self):
            self.module.log.append(f"on {self.name}")

        def __exit__(self, *_):
            self.module.log.append("off")

    def Stream(self, device):
        self.streams += 1
        return Calls.Stream_(self, ["down", "up"][self.streams - 1])

    def current_stream(self, device):
        return self.now

    def stream(self, stream):
        return stream


def test_what_streams_wait_for():
    module, x, y = Calls(), torch.zeros(2, 3), torch.ones(2, 3)
    streams = Streams(module, torch.device("cpu"))
    streams.begin()
    streams.to_host(x, y)
    streams.wait(streams.record())
    streams.to_device(y, x)
    streams.end()
    assert module.log == [
        *("down waits for now", "up waits for now"),
        *("on down", "off", "event on down", "host waits for down", "on up", "off"),
        "now waits for up",
    ]
    assert torch.equal(x, torch.ones(2, 3))
    module.log.clear()
    streams.to_host(x, torch.full((3, 2), 2.0).T)  # in another layout
    streams.to_host(x, torch.full((2, 3), 3.0, dtype=torch.float64))
    assert module.log == []
    assert torch.equal(x, torch.full((2, 3), 3.0))


def test_devices_without_streams_have_copies_that_wait():
    copies = copies_for(torch.device("mps"))
    assert isinstance(copies, Blocking)
    assert copies.remark == "copies do not overlap on mps"
    x, y = copies.buffer(torch.zeros(3), torch.float32), torch.arange(3.0)
    copies.begin()
    copies.to_host(x, y)
    copies.wait(copies.record())
    copies.to_device(y, x.neg())
    copies.end()
    assert y.tolist() == [0, -1, -2]


def test_parameters_on_the_cpu_are_stepped_as_ever():
    optimizer, params = made(rt.AdamW)
    other = rt.AdamW([p.detach().clone().requires_grad_() for p in params], offload=True)
    train(optimizer, params, gradients(SHAPES, 3))
    train(other, other.param_groups[0]["params"], gradients(SHAPES, 3))
    assert all(map(torch.equal, params, other.param_groups[0]["params"]))
    assert other.engine == "kernel; nothing to offload: all tensors are on the CPU"
    code = (
        "import torch, ravine.torch as rt; p = torch.ones(3, requires_grad=True); p.grad = p.detach();"
        "rt.Adam([p], offload=True).step(); assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- half precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_halves_are_a_step_in_float32_rounded(dtype, engine, late):
    optimizer, params = made(rt.AdamW, dtype=dtype, late=late, engine=engine, lr=1e-4)
    rows = gradients(SHAPES, 6, dtype)
    train(optimizer, params, rows)
    exact, wide = made(rt.AdamW, engine=engine, lr=1e-4)
    for p, q in zip(made(rt.AdamW, dtype=dtype)[1], wide, strict=True):
        q.data.copy_(p.detach())
    train(exact, wide, [[g if g is None else g.float() for g in row] for row in rows])
    for p, q in zip(params, wide, strict=True):
        state = optimizer.state[p]
        assert torch.equal(state["master_param"], q)
        assert torch.equal(p, q.to(dtype))
        assert state["exp_avg"].dtype == torch.float32
        assert torch.equal(state["exp_avg"], exact.state[q]["exp_avg"])


def test_small_updates_are_not_lost(late):
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    late.params = [p]
    optimizer = rt.SGD([p], lr=1e-4, offload=True)
    for _ in range(100):
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert p.tolist() == [0.98828125] * 3  # 0.99, rounded; without a copy in float32 it stays 1


# ---- somebody else changes a parameter ----------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_parameter_that_was_changed_counts(dtype, late):
    optimizer, params = made(rt.SGD, dtype=dtype, late=late, lr=0.5)
    rows = gradients(SHAPES, 2, dtype)
    train(optimizer, params, rows[1:])
    with torch.no_grad():
        params[0][1] = 3.0
        params[1].data = torch.zeros_like(params[1])
        params[2].zero_()
    kept = [optimizer.state[p].get("master_param", p).clone() for p in params]
    train(optimizer, params, [[torch.zeros_like(p) for p in params]])
    assert params[0][1] == 3
    assert not params[1].any()
    assert not params[2].any()
    for p, before in zip(params, kept, strict=True):
        now = optimizer.state[p].get("master_param", p)
        unchanged = before.to(dtype) == p
        assert torch.equal(
            now[unchanged], before[unchanged]
        )  # also the digits that the dtype of p lacks


def test_a_parameter_that_became_another_is_mirrored_again(late):
    optimizer, params = made(rt.SGD, late=late, lr=0.5)
    train(optimizer, params, gradients(SHAPES, 1))
    params[0].grad = None
    params[0].data = torch.ones(9)
    params[0].grad = torch.ones(9)
    for p in params[1:]:
        p.grad = None
    optimizer.step()
    assert params[0].tolist() == [0.5] * 9


def test_evaluation(late):
    its = []
    for where in (late, None):
        optimizer, params = made(SCHEDULE_FREE, late=where)
        rows = gradients(SHAPES, 4)
        train(optimizer, params, rows[:3])
        with optimizer.evaluating():
            its.append([p.detach().clone() for p in params])
        train(optimizer, params, rows[3:])
        its.append(params)
    assert all(map(torch.equal, its[0] + its[1], its[2] + its[3]))
    assert not torch.equal(its[0][0], its[1][0])


def test_evaluation_keeps_what_halves_have_not(late):
    optimizer, params = made(SCHEDULE_FREE, late=late, dtype=torch.bfloat16)
    same, others = copy.deepcopy((optimizer, params))
    rows = gradients(SHAPES, 4, torch.bfloat16)
    train(optimizer, params, rows[:3])
    late.params = others
    train(same, others, rows[:3])
    with same.evaluating():
        pass
    for p, q in zip(params, others, strict=True):
        assert torch.equal(optimizer.home(p), same.home(q))


# ---- what goes with an optimizer -----------------------------------------------------------------


def _halfway(late, dtype, kind=rt.AdamW):
    optimizer, params = made(kind, dtype=dtype, late=late, lr=1e-3)
    rows = gradients(SHAPES, 6, dtype)
    train(optimizer, params, rows[:3])
    return optimizer, params, rows


def _packed(x):
    buffer = io.BytesIO()
    torch.save(x, buffer)
    buffer.seek(0)
    return torch.load(buffer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [rt.AdamW, rt.SGD])
def test_a_resumed_run_has_the_same_bits(dtype, kind, late):
    optimizer, params, rows = _halfway(late, dtype, kind)
    again, others = made(kind, dtype=dtype, late=late)
    again.load_state_dict(_packed(optimizer.state_dict()))
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p.detach())  # after the state was loaded, which is the harder order
    train(again, others, rows[3:])
    late.params = params
    train(optimizer, params, rows[3:])
    assert all(map(torch.equal, params, others))
    assert all(map(torch.equal, map(optimizer.home, params), map(again.home, others)))


@pytest.mark.parametrize("there", [rt.AdamW, torch.optim.AdamW])
def test_checkpoints_go_both_ways(there, late):
    optimizer, params, rows = _halfway(late, torch.float32)
    saved = optimizer.state_dict()
    plain, others = made(rt.AdamW)
    train(plain, others, rows[:3])
    assert saved.keys() == plain.state_dict().keys()
    for key, state in plain.state_dict()["state"].items():
        assert all(torch.equal(x, saved["state"][key][k]) for k, x in state.items())
        assert state.keys() == saved["state"][key].keys()
    same = there([p.detach().clone().requires_grad_() for p in params])
    same.load_state_dict(_packed(saved))
    late.params = params
    optimizer.load_state_dict(_packed(same.state_dict()))
    train(optimizer, params, rows[3:])
    train(same, its := same.param_groups[0]["params"], rows[3:])
    for p, q in zip(params, its, strict=True):
        torch.testing.assert_close(p, q)


def test_a_copy_in_float32_is_dropped_where_it_means_nothing(late):
    optimizer, params, _ = _halfway(late, torch.bfloat16)
    saved = _packed(optimizer.state_dict())
    plain, others = made(rt.AdamW, dtype=torch.bfloat16)
    plain.load_state_dict(saved)
    assert "master_param" not in plain.state[others[0]]
    theirs = torch.optim.AdamW([p.detach().clone().requires_grad_() for p in params])
    theirs.load_state_dict(saved)
    its = theirs.param_groups[0]["params"]
    for p in its:
        p.grad = torch.ones_like(p)
    theirs.step()
    again, last = made(rt.AdamW, dtype=torch.bfloat16, late=late)
    again.load_state_dict(theirs.state_dict())
    for p, q in zip(its, last, strict=True):
        q.data.copy_(p.detach())
    for p in last:  # the copy is stale by now, and the parameter counts
        assert torch.equal(again.home(p).to(p.dtype), p)


def test_reset_and_a_deleted_state_begin_from_the_parameters(late):
    optimizer, params, rows = _halfway(late, torch.bfloat16)
    del optimizer.state[params[0]]
    train(optimizer, params, rows[:1])
    optimizer.reset()
    _, same = made(rt.AdamW, dtype=torch.bfloat16, lr=1e-3)
    for p, q in zip(params, same, strict=True):
        q.data.copy_(p.detach())
    train(optimizer, params, rows[3:])
    late.params = same
    fresh = rt.AdamW(same, lr=1e-3, offload=True)
    train(fresh, same, rows[3:])
    assert all(map(torch.equal, params, same))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_an_optimizer(how, late):
    optimizer, params, rows = _halfway(late, torch.bfloat16)
    again, others = how((optimizer, params))
    train(optimizer, params, rows[3:])
    late.params = others
    train(again, others, rows[3:])
    assert again.engine == optimizer.engine
    assert all(map(torch.equal, params, others))


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("zeroed", [False, True])
def test_a_scaler(fused, zeroed, late):
    its = []
    for where in (late, None):
        optimizer, params = made(rt.AdamW, late=where, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for step, row in enumerate(gradients(SHAPES, 5)):
            for p, g in zip(params, row, strict=True):
                p.grad = None if g is None else 4 * g / (0 if step == 2 else 1)
            scaler.scale(torch.ones(()))
            scaler.step(optimizer, **({"zero_grad": True} if zeroed else {}))
            scaler.update(4.0)
            assert optimizer.last_step_skipped is (step == 2)
            assert not zeroed or not any(p.grad.any() for p in params if p.grad is not None)
        its.append(params)
    assert all(map(torch.equal, *its))


def test_closures_hooks_schedulers_and_new_groups(late):
    its = []
    for where in (late, None):
        optimizer, params = made(rt.AdamW, late=where)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        seen = []
        optimizer.register_step_post_hook(lambda *_, s=seen: s.append(1))

        def closure(params=params, optimizer=optimizer):
            optimizer.zero_grad()
            loss = sum((p**2).sum() for p in params)
            loss.backward()
            return loss.item()

        losses = [optimizer.step(closure) for _ in range(2)]
        scheduler.step()
        new = torch.nn.Parameter(torch.arange(30.0))
        params.append(new)
        optimizer.add_param_group({"params": [new], "lr": 0.1})
        losses += [optimizer.step(closure) for _ in range(2)]
        assert len(seen) == 4
        its.append((params, losses))
    assert all(map(torch.equal, its[0][0], its[1][0]))
    assert its[0][1] == its[1][1]


def test_a_parameter_that_leaves_is_forgotten(late):
    optimizer, params = made(rt.AdamW, late=late)
    train(optimizer, params, gradients(SHAPES, 2))
    optimizer.param_groups[0]["params"] = late.params = params[:2]
    train(optimizer, params[:2], gradients(SHAPES[:2], 2))
    assert len(optimizer._offload._mirrors) == 2


def test_mixed_groups(late):
    its = []
    for where in (late, None):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (3,))]
        groups = [{"params": params[:1], "rule": "Muon"}, {"params": params[1:], "rule": "AdamW"}]
        optimizer = rt.Mixed(groups, offload=where is not None)
        late.params = params if where else []
        train(optimizer, params, gradients([(4, 3), (3,)], 5))
        its.append(params)
    assert all(map(torch.equal, *its))


def _sparse():
    with torch.sparse.check_sparse_tensor_invariants():
        return torch.sparse_coo_tensor([[1, 4]], torch.ones(2, 3), (6, 3))


def test_sparse_gradients_and_those_in_another_layout(late):
    its = []
    for where in (late, None):
        torch.manual_seed(0)
        p, q = (torch.nn.Parameter(torch.randn(6, 3)) for _ in range(2))
        optimizer = rt.SparseAdam([p], offload=where is not None)
        other = rt.Adam([q], offload=where is not None)
        late.params = []
        for _ in range(3):
            p.grad = _sparse()
            q.grad = torch.randn(3, 6).T
            optimizer.step()
            other.step()
        its.append([p, q])
    assert all(map(torch.equal, *its))


def test_signals_are_on_the_device(late):
    kind = rt.optimizer(sophia)
    both(kind, late, signals={"hessian": lambda params: [torch.full_like(p, 2) for p in params]})
    optimizer, params = made(kind, late=late)
    params[0].grad = torch.ones_like(params[0])
    with pytest.raises(ValueError, match="hessian has no entry"):
        optimizer.step(hessian=[None] * len(params))


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_of_the_gradients(engine, dtype, late):
    optimizer, params = made(rt.AdamW, dtype=dtype, late=late, engine=engine, grad_norm=True)
    train(optimizer, params, gradients(SHAPES, 3, dtype))
    every = torch.cat([p.grad.flatten().double() for p in params])
    assert optimizer.last_grad_norm == pytest.approx(every.norm().item(), rel=1e-6)


def test_the_engine_before_a_step_allocates_nothing(late):
    optimizer, params = made(rt.AdamW, late=late)
    assert optimizer.engine == "kernel; 5 tensors offloaded"
    assert not optimizer._offload._mirrors
    train(optimizer, params, gradients(SHAPES, 2))
    assert optimizer.engine == "kernel; 5 tensors offloaded"


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"capturable": True}, "offload=True and capturable=True are mutually exclusive"),
        ({"differentiable": True}, "offload=True and differentiable=True are mutually exclusive"),
        ({"flatten": True}, "offload=True and flatten=True are mutually exclusive"),
        ({"offload": "cpu"}, "offload='cpu' is invalid; it must be True or False"),
    ],
)
def test_what_contradicts_it(how, message):
    with pytest.raises(ValueError, match=message):
        rt.Adam([torch.ones(3, requires_grad=True)], **{"offload": True, **how})


def test_the_meta_device_has_no_values():
    p = torch.nn.Parameter(torch.empty(3, device="meta"))
    optimizer = rt.Adam([p], offload=True)
    assert optimizer.engine.endswith("1 tensor offloaded")
    p.grad = torch.empty(3, device="meta")
    with pytest.raises(ValueError, match="on the meta device is not supported: it has no values"):
        optimizer.step()


def test_classes_of_tensors_that_are_not_plain(late):
    class Odd(torch.Tensor):
        pass

    p = torch.ones(3).as_subclass(Odd).requires_grad_()
    with pytest.raises(ValueError, match="a parameter of class Odd"):
        rt.Adam([p], offload=True)


def test_dtensors_on_a_device(late, monkeypatch):
    monkeypatch.setattr(offload, "_PLAIN", ())
    monkeypatch.setattr(offload, "is_spread", lambda _: True)
    with pytest.raises(ValueError, match="CPUOffloadPolicy"):
        rt.Adam([torch.ones(3, requires_grad=True)], offload=True)


def test_parameters_that_share_memory(late):
    whole = torch.ones(6)
    p, q = (torch.nn.Parameter(x) for x in (whole[:4], whole[2:]))
    optimizer = rt.Adam([p, q], offload=True)
    p.grad = q.grad = torch.ones(4)
    with pytest.raises(ValueError, match="parameters that share memory"):
        optimizer.step()


def test_steps_in_backward(late):
    model = torch.nn.Linear(3, 1)
    with pytest.raises(ValueError, match="the optimizer has offload=True"):
        rt.step_in_backward(model, rt.Adam(model.parameters(), offload=True))
