"""Steps in backward: the bits of ordinary steps, in every loop that torch's users write."""

import copy
import gc
import pickle
import threading
import time
import warnings
import weakref

import pytest
import torch
from cases import ELEMENTWISE, REDUCING
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.checkpoint import checkpoint

import ravine.torch as rt
import ravine.torch.in_backward as front
from ravine import modifiers, rules
from ravine.bench.timing import extra_bytes
from ravine.engines.tracing import trace
from ravine.rule import RuleError
from ravine.torch.stepping import KernelPart

LOCAL = [r for r in (*ELEMENTWISE, *REDUCING) if not trace(r).uses("total")]


class Model(nn.Module):
    """Two layers with one weight, a norm, and a layer that only some passes use."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second, self.third = (nn.Linear(6, 6) for _ in range(3))
        self.second.weight = self.first.weight
        self.norm = nn.LayerNorm(6)
        self.times = nn.Parameter(torch.tensor(1.5))

    def forward(self, x, third=True):
        x = self.norm(torch.tanh(self.second(torch.tanh(self.first(x)))))
        return ((self.third(x) if third else x) * self.times).square().mean()


def batches(n, seed=1):
    torch.manual_seed(seed)
    return [torch.randn(4, 6) for _ in range(n)]


def train(make, loop, in_backward=True, **options):
    """The model and its optimizer after a loop, stepped in backward or not."""
    model = Model()
    optimizer = make(model.parameters())
    if in_backward:
        rt.step_in_backward(model, optimizer, **options)
    loop(model, optimizer)
    return model, optimizer


def loop(model, optimizer, steps=6):
    scheduler = LambdaLR(optimizer, lambda t: 1 / (1 + t))
    for i, x in enumerate(batches(steps)):
        optimizer.zero_grad()
        model(x, third=i != 2).backward()
        optimizer.step()
        scheduler.step()


def same(a, b):
    """Whether parameters, state and param groups have the same bits."""
    (model, optimizer), (other, others) = a, b
    ours, theirs = optimizer.state_dict(), others.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    assert ours["state"].keys() == theirs["state"].keys()
    for i, state in theirs["state"].items():
        assert ours["state"][i].keys() == state.keys()
        for k, v in state.items():
            assert torch.equal(torch.as_tensor(ours["state"][i][k]), torch.as_tensor(v)), (i, k)
    return True


def adamw(params):
    return rt.AdamW(params, lr=0.01)


# --- the bits


@pytest.mark.parametrize("rule", LOCAL, ids=lambda r: r.name)
def test_every_rule_takes_the_same_steps(rule):
    made = rt.optimizer(rule)
    assert same(train(made, loop), train(made, loop, in_backward=False))


def two_groups(params):
    *most, last = params
    return rt.Mixed(
        [
            {"params": [p for p in most if p.ndim < 2], "rule": "SGD", "lr": 0.1, "momentum": 0.9},
            {"params": [p for p in most if p.ndim == 2], "rule": "Muon"},
            {"params": [last], "rule": "RMSprop", "lr": torch.tensor(0.01)},
        ]
    )


@pytest.mark.parametrize(
    "make",
    [
        two_groups,
        lambda ps: rt.Adafactor(ps),
        lambda ps: rt.Adam(ps, engine="eager"),
        lambda ps: rt.Adam([p for p in ps if p.ndim]),
    ],
)
def test_so_do_groups_engines_and_roundings(make):
    done = train(make, loop)
    assert same(done, train(make, loop, in_backward=False))
    pairs = zip(done[0].parameters(), Model().parameters(), strict=True)
    moved = [not torch.equal(p, q) for p, q in pairs]
    assert sum(moved) >= 6


def test_roundings_draw_the_same_random_bits():
    def every_layer(model, optimizer):
        for x in batches(4):
            optimizer.zero_grad()
            model(x).backward()
            optimizer.step()

    def make(params):
        return rt.AdamW(params, state_dtype=torch.bfloat16, stochastic_rounding=3)

    assert same(train(make, every_layer), train(make, every_layer, in_backward=False))


def test_each_parameter_has_random_bits_of_its_own():
    """Though kernels of tensors of one size share their tables."""
    ps = [nn.Parameter(torch.ones(500, dtype=torch.bfloat16)) for _ in range(2)]
    optimizer = rt.SGD(ps, lr=1e-3, stochastic_rounding=0)
    rt.step_in_backward(ps, optimizer)
    (ps[0] + ps[1]).sum().backward()
    assert not torch.equal(*ps)


def test_half_precision_and_a_scale():
    def scaled(model, optimizer):
        model.bfloat16()
        optimizer.grad_scale = torch.tensor(8.0)
        for x in batches(3):
            optimizer.zero_grad()
            (8 * model(x.bfloat16())).backward()
            optimizer.step()

    def clipped(model, optimizer):
        optimizer.register_step_pre_hook(
            lambda *_: nn.utils.clip_grad_value_(model.parameters(), 8 / 64)
        )
        scaled(model, optimizer)

    ours = train(adamw, scaled, clip_value=1 / 64)
    assert same(ours, train(adamw, clipped, in_backward=False))


def test_sparse_gradients():
    results = []
    for in_backward in (True, False):
        torch.manual_seed(0)
        table = nn.Embedding(5, 3, sparse=True)
        optimizer = rt.SparseAdam(table.parameters(), lr=0.1)
        if in_backward:
            rt.step_in_backward(table, optimizer)
        for rows in ([0, 1], [1, 4, 1]):
            optimizer.zero_grad()
            table(torch.tensor(rows)).square().sum().backward()
            optimizer.step()
        results.append(table.weight.detach())
    assert torch.equal(*results)


# --- freed at once


def test_gradients_do_not_stand_together():
    model = nn.Sequential(*(nn.Linear(100, 100, bias=False) for _ in range(8)))
    x = torch.randn(1, 100)
    optimizer = adamw(model.parameters())

    def step():
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    step()
    before = extra_bytes(step)
    optimizer.zero_grad()
    with rt.step_in_backward(model, optimizer):
        step()
        after = extra_bytes(step)
    one = 4 * 100 * 100
    assert before >= 8 * one
    assert after < 3 * one


def test_a_gradient_is_gone_when_the_next_arrives():
    model, seen = Model(), []
    optimizer = adamw(model.parameters())
    rt.step_in_backward(model, optimizer)
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(
            lambda p: seen.append([q.grad is None for q in model.parameters()])
        )
    model(batches(1)[0]).backward()
    assert len(seen) == 8
    assert all(map(all, seen))


def test_what_gradients_leave_among_new_states_is_given_back(monkeypatch):
    """That it helps, the benchmark of memory shows."""
    calls = []
    monkeypatch.setattr(front, "_trim", lambda pad: calls.append(pad))
    train(adamw, loop)
    assert calls == [0] * 8
    monkeypatch.setattr(front, "_trim", None)  # as on other systems
    train(adamw, loop)


def test_hyperparameters_are_those_of_the_backward_pass():
    def run(model, optimizer):
        optimizer.param_groups[0]["lr"] = 0.5
        loop(model, optimizer)

    assert same(train(adamw, run), train(adamw, run, in_backward=False))


def test_a_step_is_bound_once(monkeypatch):
    calls = []
    parts = rt.RuleOptimizer.parts
    monkeypatch.setattr(
        rt.RuleOptimizer, "parts", lambda self, *c: calls.append(1) or parts(self, *c)
    )
    train(adamw, lambda model, optimizer: loop(model, optimizer, 20))
    assert len(calls) == 8


# --- several passes to a step


def accumulating(k, clip_value=None, skip=False):
    """A loop of 3 k + 1 passes, of which one does without a layer."""

    def run(model, optimizer):
        xs = batches(3 * k + 1)
        for i, x in enumerate(xs, 1):
            (model(x, third=i != 2 * k) / k).backward()
            if skip and i == k + 1:
                optimizer.zero_grad()  # what there was is dropped; the step is shorter
            if i % k == 0 or i == len(xs):
                if clip_value is not None:
                    nn.utils.clip_grad_value_(model.parameters(), clip_value)
                optimizer.step()
                optimizer.zero_grad()

    return run


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("clip_value", [None, 0.01])
def test_accumulation_and_clipping(clip_value, skip):
    theirs = train(adamw, accumulating(3, clip_value, skip), in_backward=False)
    for accumulate in (3, 5):  # more than there are: then step applies them
        ours = train(
            adamw, accumulating(3, skip=skip), accumulate=accumulate, clip_value=clip_value
        )
        assert same(ours, theirs)


def test_the_last_pass_steps():
    model = Model()
    optimizer = adamw(model.parameters())
    rt.step_in_backward(model, optimizer, accumulate=3)
    before = [p.detach().clone() for p in model.parameters()]
    for x in batches(2):
        model(x).backward()
    assert all(map(torch.equal, before, model.parameters()))
    assert all(p.grad is not None for p in model.parameters())
    model(batches(1)[0]).backward()
    assert not any(map(torch.equal, before, model.parameters()))
    assert all(p.grad is None for p in model.parameters())


def test_dropped_gradients_do_not_count():
    model = Model()
    optimizer = adamw(model.parameters())
    rt.step_in_backward(model, optimizer, accumulate=2)
    x, *kept = batches(3)
    model(x).backward()
    optimizer.zero_grad()
    for y in kept:
        assert not optimizer.state
        model(y).backward()
    optimizer.step()

    def run(model, optimizer):
        for y in kept:
            model(y).backward()
        optimizer.step()

    assert same((model, optimizer), train(adamw, run, in_backward=False))


def test_one_gradient_too_many():
    model = Model()
    optimizer = adamw(model.parameters())
    rt.step_in_backward(model, optimizer)
    model(batches(1)[0]).backward()
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match=r"call optimizer\.step\(\).*accumulate=k; it is 1"):
        model(batches(1)[0]).backward()
    optimizer.zero_grad()
    optimizer.step()
    model(batches(1)[0]).backward()


def test_two_losses_of_one_graph():
    def run(model, optimizer):
        for x in batches(3):
            optimizer.zero_grad()
            y = model(x)
            y.backward(retain_graph=True)
            (y * 2).sin().backward()
            optimizer.step()

    ours = train(adamw, run, accumulate=2)
    assert same(ours, train(adamw, run, in_backward=False))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        train(adamw, run)


def test_closures():
    def run(model, optimizer):
        for x in batches(3):

            def closure(x=x):
                optimizer.zero_grad()
                loss = model(x)
                loss.backward()
                return loss

            assert optimizer.step(closure).item() > 0

    assert same(train(adamw, run), train(adamw, run, in_backward=False))


# --- checkpoints of activations


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(reentrant):
    def run(model, optimizer):
        for x in batches(3):
            optimizer.zero_grad()
            x = checkpoint(model.third, x.requires_grad_(), use_reentrant=reentrant)
            checkpoint(lambda x: model(x, third=False), x, use_reentrant=reentrant).backward()
            optimizer.step()

    assert same(train(adamw, run), train(adamw, run, in_backward=False))


def test_a_parameter_that_checkpoints_share():
    def run(reentrant):
        def run(model, optimizer):
            for x in batches(3):
                optimizer.zero_grad()
                x = checkpoint(model.third, x.requires_grad_(), use_reentrant=reentrant)
                checkpoint(model.third, x, use_reentrant=reentrant).sin().sum().backward()
                optimizer.step()

        return run

    expected = train(adamw, run(True), in_backward=False)
    assert same(train(adamw, run(False)), expected)
    assert same(train(adamw, run(True), accumulate=2), expected)
    with pytest.raises(RuntimeError, match="k reentrant checkpoints"):
        train(adamw, run(True))


# --- what changes during training


def test_checkpoints_go_on():
    def halves(model, optimizer):
        loop(model, optimizer, 3)
        optimizer.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
        for group in optimizer.param_groups:
            group["lr"], group["betas"] = 0.02, (0.8, 0.99)
        loop(model, optimizer, 3)

    assert same(train(adamw, halves), train(adamw, halves, in_backward=False))


def test_parameters_come_and_go():
    def run(model, optimizer):
        model.third.requires_grad_(False)
        loop(model, optimizer, 2)
        model.third.requires_grad_(True)
        model.norm.requires_grad_(False)
        loop(model, optimizer, 2)
        model.new = nn.Linear(6, 6)
        model.register_forward_pre_hook(lambda _, args: (model.new(args[0]), *args[1:]))
        optimizer.add_param_group({"params": model.new.parameters(), "lr": 0.1})
        loop(model, optimizer, 2)

    ours = train(adamw, run)
    model, optimizer = ours
    assert same(ours, train(adamw, run, in_backward=False))
    model(batches(1)[0]).backward()
    assert all(p.grad is None for p in model.parameters())  # the new ones, too
    del optimizer.param_groups[1]
    optimizer.step()
    model(batches(1)[0]).backward()
    assert model.new.weight.grad is not None


def test_switches_turn_during_training():
    def run(model, optimizer):
        loop(model, optimizer, 2)
        optimizer.param_groups[0]["maximize"] = True
        loop(model, optimizer, 2)
        optimizer.param_groups[0]["amsgrad"] = True
        loop(model, optimizer, 2)

    assert same(train(adamw, run), train(adamw, run, in_backward=False))


def test_some_parameters_of_an_optimizer():
    model = Model()
    optimizer = adamw(model.parameters())
    rt.step_in_backward(model.first.parameters(), optimizer)
    model(batches(1)[0]).backward()
    assert model.first.weight.grad is None
    assert model.third.weight.grad is not None
    optimizer.step()
    assert all(p.grad is None for p in model.parameters())
    assert all(int(optimizer.state[p]["step"]) == 1 for p in model.parameters())
    assert same(
        train(adamw, lambda m, o: (m(batches(1)[0]).backward(), o.step())), (model, optimizer)
    )


def test_the_norm_of_all_gradients():
    norms = {}
    for in_backward in (True, False):
        norms[in_backward] = []

        def run(model, optimizer, to=norms[in_backward]):
            for x in batches(3):
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                to.append(optimizer.last_grad_norm)

        for engine in ("auto", "eager"):
            train(lambda ps, e=engine: rt.SGD(ps, grad_norm=True, engine=e), run, in_backward)
    assert norms[True] == pytest.approx(norms[False], rel=1e-6)
    model = Model()
    optimizer = rt.SGD(model.parameters(), grad_norm=True)
    rt.step_in_backward(model, optimizer, clip_value=1e-9)
    with pytest.raises(RuntimeError, match="no step"):
        print(optimizer.last_grad_norm)
    optimizer.grad_scale = torch.tensor(8.0)
    (8 * model(batches(3)[0])).backward()
    optimizer.step()
    assert optimizer.last_grad_norm == pytest.approx(norms[False][0], rel=1e-6)


# --- the end of it


def test_removal():
    model = Model()
    optimizer = adamw(model.parameters())
    stepping = rt.step_in_backward(model, optimizer, accumulate=2, clip_value=1e-3)
    x, y = batches(2)
    model(x).backward()
    stepping.remove()
    stepping.remove()
    assert all(p.grad is not None for p in model.parameters())
    model(y).backward()
    optimizer.step()

    def run(model, optimizer):
        for z in (x, y):
            model(z).backward()
        optimizer.step()

    assert same((model, optimizer), train(adamw, run, in_backward=False))
    optimizer.zero_grad()
    with pytest.raises(ZeroDivisionError), rt.step_in_backward(model, optimizer):
        raise ZeroDivisionError
    model(x).backward()
    assert model.first.weight.grad is not None


def test_nothing_is_kept_alive():
    model = Model()
    optimizer = adamw(model.parameters())
    rt.step_in_backward(model, optimizer)
    model(batches(1)[0]).backward()
    gone = [weakref.ref(optimizer), weakref.ref(model), weakref.ref(model.norm.weight)]
    weight = model.first.weight
    del model, optimizer
    gc.collect()
    assert not any(ref() for ref in gone)
    weight.sum().backward()  # nobody steps it any more
    assert weight.grad is not None


def test_a_copy_steps_as_ever():
    model, optimizer = train(adamw, loop)
    model, optimizer = copy.deepcopy((model, optimizer))
    before = model.first.weight.detach().clone()
    model(batches(1)[0]).backward()
    assert torch.equal(model.first.weight, before)
    optimizer.step()
    assert not torch.equal(model.first.weight, before)


# --- threads


def test_backward_in_two_threads(monkeypatch):
    """One optimizer, whose kernels share tables: one at a time."""
    running, most = [], []
    run = KernelPart.run

    def slowly(*args):
        running.append(1)
        time.sleep(1e-4)  # others may go on here
        most.append(len(running))
        status = run(*args)
        running.pop()
        return status

    monkeypatch.setattr(KernelPart, "run", slowly)

    models = [Model(), Model()]
    optimizer = adamw([p for m in models for p in m.parameters()])
    rt.step_in_backward(nn.ModuleList(models), optimizer)
    xs = batches(5)
    barrier = threading.Barrier(2, optimizer.step)

    def passes(model):
        for x in xs:
            model(x).backward()
            barrier.wait()

    threads = [threading.Thread(target=passes, args=(m,)) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    expected, _ = train(adamw, lambda m, o: [(m(x).backward(), o.step()) for x in xs])
    for model in models:
        assert all(map(torch.equal, model.parameters(), expected.parameters()))


# --- refusals


def test_what_is_not_accepted():
    model = Model()
    optimizer, torchs = adamw(model.parameters()), torch.optim.AdamW(model.parameters())
    by_norm = rt.optimizer(modifiers.clip_by_global_norm(rules.adam))(model.parameters())
    clipped = rt.optimizer(modifiers.clip_by_value(rules.adam))(model.parameters())
    for error, message, args, options in (
        (TypeError, r"is a torch\.optim.*AdamW; it must be one of", (model, torchs), {}),
        (TypeError, "model is a int; it must be", (3, optimizer), {}),
        (TypeError, "model is a Parameter; it must be", (model.times, optimizer), {}),
        (ValueError, "accumulate=0 is invalid", (model, optimizer), {"accumulate": 0}),
        (ValueError, "accumulate=1.5 is invalid", (model, optimizer), {"accumulate": 1.5}),
        (ValueError, "clip_value=-1 is invalid", (model, optimizer), {"clip_value": -1}),
        (ValueError, "has none of the model's", (Model(), optimizer), {}),
        (ValueError, r"'clip_by_global_norm\(adam\)'.*all parameters at once", (model, by_norm), {}),
        (RuleError, "clip_by_value", (model, clipped), {"clip_value": 1.0}),
        (ValueError, "differentiable=True", (model, rt.SGD(model.parameters(), differentiable=True)), {}),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            rt.step_in_backward(*args, **options)
    model(batches(1)[0]).backward()
    assert all(p.grad is not None for p in model.parameters())  # no hook has been left behind
    by_norm.step()
    with rt.step_in_backward(model, optimizer), pytest.raises(ValueError, match="already"):
        rt.step_in_backward(model, optimizer)


def test_gradient_scalers():
    model = Model()
    optimizer = adamw(model.parameters())
    rt.step_in_backward(model, optimizer)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(batches(1)[0])).backward()
    with pytest.raises(RuntimeError, match="GradScaler is not supported"):
        scaler.step(optimizer)
    assert same(train(adamw, loop_of_scaler(enabled=False)), train(adamw, loop, in_backward=False))


def loop_of_scaler(enabled):
    def run(model, optimizer):
        scaler = torch.amp.GradScaler("cpu", enabled=enabled)
        scheduler = LambdaLR(optimizer, lambda t: 1 / (1 + t))
        for i, x in enumerate(batches(6)):
            optimizer.zero_grad()
            scaler.scale(model(x, third=i != 2)).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()

    return run


def test_distributed_data_parallel():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(Model())
        with pytest.raises(ValueError, match="DistributedDataParallel model is not supported"):
            rt.step_in_backward(model, adamw(model.parameters()))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_create_graph(engine):
    model = Model()
    optimizer = rt.AdamW(model.parameters(), lr=0.01, engine=engine)
    rt.step_in_backward(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cycle, which is broken here
        model(batches(1)[0]).backward(create_graph=True)
    assert all(p.grad is None and p.is_leaf for p in model.parameters())
    state = optimizer.state[model.times]
    assert not state["exp_avg"].requires_grad
    expected, _ = train(adamw, lambda m, o: m(batches(1)[0]).backward())
    torch.testing.assert_close([*model.parameters()], [*expected.parameters()])
