"""Training: as a plain PyTorch loop does it, alone or in a swarm, whoever else is in it."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from ravine.races.entrants import Entrant, entrant
from ravine.races.findings import lost
from ravine.races.pace import asked
from ravine.races.swarm import Alone, Crew, Replica, train
from ravine.races.task import from_objects
from ravine.races.together import CannotBatch, Together


@pytest.fixture
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def mlp():
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 3))


def normalised():
    return nn.Sequential(
        nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Dropout(0.3), nn.Linear(10, 3)
    )


class Convolution(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.GELU(), nn.Flatten(), nn.Linear(8, 3)
        )


class Attention(nn.Module):
    """A small transformer with tied weights and a frozen parameter."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(2, 8)
        self.frozen = nn.Parameter(torch.ones(8), requires_grad=False)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24, bias=False)  # the keys' would have a gradient of rounding alone
        self.mixed = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)
        self.again = nn.Linear(8, 8)
        self.again.weight = self.mixed.weight

    def forward(self, x):
        h = self.embedding(x.unflatten(1, (3, 2))) * self.frozen
        q, k, v = self.qkv(self.norm(h)).chunk(3, -1)
        h = h + self.mixed(nn.functional.scaled_dot_product_attention(q, k, v))
        return self.head(self.again(h).mean(1))


class Recurrent(nn.Module):
    """torch has no batched form of nn.LSTM."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.cell(x.unflatten(1, (3, 2)))[0][:, -1])


def task(make=mlp, steps=30, **more):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(200, 6, generator=generator)
    y = (x[:, :3] * x[:, 3:]).argmax(1)
    parts = {"held_out": (x[120:160], y[120:160]), "test": (x[160:], y[160:])}
    return from_objects(
        make,
        (x[:120], y[:120]),
        nn.functional.cross_entropy,
        steps=steps,
        batch_size=16,
        **parts,
        **more,
    )


def run(its, name, seed=0, role="report", **values):
    racing = entrant(name)
    return asked(its, racing, values, role=role, seed=seed), racing


def singly(its):
    """What makes a program for each replica."""
    return lambda replicas: [Crew(Alone(its, x.model), [x]) for x in replicas]


def alone(its, name, seed=0, role="report", **values):
    (wanted, racing), model = run(its, name, seed, role, **values), its.model(seed)
    (done,) = train(its, [Replica(wanted, racing, model)], seed, singly(its))
    return done, model


def swarm(its, wanted, seed=0):
    models = [its.model(seed) for _ in wanted]
    program = Together(its, models)
    replicas = [Replica(w, racing, m) for (w, racing), m in zip(wanted, models, strict=True)]
    return train(its, replicas, seed, lambda some: [Crew(program, some)]), models


def values(curve):
    return [value for _, value in curve]


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def gap(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


# ---- the loop ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        ("linear", lambda t: 1 - t / 30),
        ("cosine", lambda t: (1 + math.cos(math.pi * t / 30)) / 2),
        ("constant", lambda t: 1.0),
    ],
)
def test_training_is_a_plain_pytorch_loop(schedule, factor, float64):
    its = task(schedule=schedule)
    done, model = alone(its, "adamw", seed=3, lr=0.02)
    torch.manual_seed(3)
    expected, losses = mlp(), []
    optimizer = torch.optim.AdamW(expected.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(3)
    order = torch.cat([torch.randperm(120, generator=generator) for _ in range(4)])
    for t in range(30):
        x, y = its.train.batch(order[16 * t : 16 * (t + 1)])
        optimizer.param_groups[0]["lr"] = 0.02 * factor(t)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(expected(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert gap(weights(model), weights(expected)) < 1e-12
    assert [step for step, _ in done.curve] == [*range(1, 31)]
    assert values(done.curve) == pytest.approx(losses, rel=1e-12)
    x, y = its.test.batch(torch.arange(40))
    accuracy = (expected(x).argmax(1) == y).double().mean().item()
    assert done.score == done.evaluations[-1][1] == pytest.approx(accuracy)
    assert (done.evaluations[-1][0], len(done.evaluations)) == (30, 1 + 20)
    assert done.parameters == sum(p.numel() for p in expected.parameters())
    assert done.memory_per_parameter == 16  # two numbers in float64


def test_what_is_tuned_is_scored_on_the_validation_part():
    its = task()
    done, model = alone(its, "adamw", role="tune")
    start = its.evaluate(its.model(0), its.validation)
    assert done.evaluations == ((0, start), (30, its.evaluate(model, its.validation)))
    assert its.evaluate(model, its.validation) != its.evaluate(model, its.test)


def test_a_curve_has_a_hundred_means_at_the_most():
    done, _ = alone(task(steps=350), "sgd", lr=0.05)
    full, _ = alone(task(steps=350), "sgd", lr=0.05, role="tune")
    assert len(done.curve) == 100
    assert done.curve == full.curve
    steps = [step for step, _ in done.curve]
    assert (steps[-1], {b - a for a, b in itertools.pairwise(steps)}) == (350, {3, 4})


def test_dropout_is_the_seeds_whatever_else_is_drawn():
    its = task(normalised)
    first, _ = alone(its, "sgd")
    torch.rand(7)
    again, _ = alone(its, "sgd")
    assert first == again
    assert alone(its, "sgd", seed=1)[0].curve != first.curve


def test_the_callers_random_numbers_and_threads_are_left():
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    alone(task(normalised), "sgd")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_averaged_weights_are_those_that_are_scored():
    its = task()
    done, model = alone(its, "asgd", lr=0.3, t0=0.0, alpha=0.75)
    plain = its.evaluate(model, its.test)
    assert done.score != plain  # the weights in training are back in their place
    assert done.lost == ""


def test_the_target_is_reached_at_the_first_evaluation_there():
    its = task(steps=60, target=0.5)
    done, _ = alone(its, "adamw", lr=0.05)
    first = next(step for step, score in done.evaluations if score >= 0.5)
    assert done.steps_to_target == first > 3
    assert alone(its, "sgd", lr=1e-6)[0].steps_to_target == math.inf
    assert alone(task(), "sgd")[0].steps_to_target is None


# ---- runs that are lost --------------------------------------------------------------------------


def test_a_run_is_lost_by_its_loss():
    done, _ = alone(task(), "sgd", lr=1e38)
    assert done.lost == f"the loss is nan at step {done.lost_at}"
    assert 2 <= done.lost_at <= 4
    assert math.isnan(done.score)
    assert [step for step, _ in done.curve] == [*range(1, done.lost_at + 1)]


def batch_losses(its, seed=0):
    """The losses of the untrained model on the batches of a seed."""
    model = its.model(seed)
    pairs = zip(range(its.steps), its.order(seed))  # noqa: B905
    return [its.losses(model, its.train.batch(index)).item() for _, index in pairs]


def test_how_far_the_loss_has_come_down_is_told_by_the_same_batches():
    its = task(steps=57)
    done, _ = alone(its, "adamw", lr=0.01)
    gaps = np.array(batch_losses(its)) - values(done.curve)
    assert done.descent == pytest.approx(np.median(gaps[-10:]), rel=1e-6)
    for each in swarm(its, [run(its, "adamw", lr=0.01), run(its, "sgd")])[0][:1]:
        assert each.descent == pytest.approx(done.descent, rel=1e-6)


def test_a_short_run_that_learns_little_is_not_lost_by_a_hard_batch():
    its = task(steps=20)
    done = [alone(its, "sgd", lr=1e-4, seed=seed)[0] for seed in range(6)]
    losses = [batch_losses(its, seed) for seed in range(6)]
    assert any(np.mean(found[-2:]) > found[0] for found in losses), (
        "none has harder batches at last"
    )
    assert not any(map(lost, done))


def test_nothing_is_known_of_the_loss_after_a_single_step():
    done, _ = alone(task(steps=1), "sgd")
    assert done.descent is None
    assert not lost(done)


def test_one_hard_batch_at_the_end_loses_nothing():
    replica = Replica(run(task(), "sgd")[0], entrant("sgd"), task().model(0))
    replica.losses = [1.0, 1.0, 1e6]
    replica.compare([2.0, 2.0, 2.0])
    assert replica.descent == 1.0


def test_a_short_run_that_ends_higher_is_lost_though_its_loss_is_finite():
    done, _ = alone(task(steps=20), "sgd", lr=30.0)
    assert math.isfinite(done.score)
    assert "not below" in lost(done)


def test_a_run_whose_last_step_leaves_the_numbers_is_lost():
    class Last(torch.optim.SGD):
        def step(self, closure=None):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 30:
                self.param_groups[0]["params"][0].data.fill_(math.nan)

    racing = entrant(Last)
    its = task()
    model = its.model(0)
    wanted = asked(its, racing, {}, role="report", seed=0)
    (done,) = train(its, [Replica(wanted, racing, model)], 0, singly(its))
    assert done.lost == "parameters are not finite after step 30"
    assert math.isnan(done.score)


class Raises(torch.optim.SGD):
    """An optimizer that raises at its eleventh step."""

    def step(self, closure=None):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 11:
            raise ValueError("out of luck\nand more")
        super().step()


def test_an_optimizer_that_raises_loses_its_run_alone():
    its = task()
    racing = entrant(Raises)
    pair = [(asked(its, racing, {}, role="report", seed=0), racing), run(its, "adamw")]
    done, _ = swarm(its, [*pair, run(its, "adamw", lr=0.01)])
    assert done[0].lost == "Raises raises ValueError at step 11: out of luck"
    assert done[0].lost_at == 11
    expected, _ = swarm(its, [run(its, "adamw"), run(its, "adamw", lr=0.01)])
    assert [x.curve for x in done[1:]] == [x.curve for x in expected]


def test_an_optimizer_that_cannot_be_made_loses_its_run():
    its = task()
    wanted, racing = run(its, "adamw", lr=-1.0)
    model = its.model(0)
    (done,) = train(its, [Replica(wanted, racing, model)], 0, singly(its))
    assert done.lost.startswith("adamw cannot be made: ")
    assert done.lost_at == 0
    assert math.isnan(done.score)


# ---- swarms --------------------------------------------------------------------------------------

ENTRANTS = [
    ("adamw", {"lr": 0.03}),
    ("sgd", {"lr": 0.3}),
    ("nadam", {"lr": 0.01}),
    ("clip_by_global_norm(adam, max_norm=0.5)", {"lr": 0.02}),
    ("muon", {"lr": 0.02}),
    ("torch.optim:RMSprop", {"lr": 0.01}),
]


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (mlp, 1e-11),
        (Convolution, 1e-11),
        (Attention, 1e-11),
        (normalised, 1e-8),
    ],
)
def test_a_swarm_is_as_one_by_one(make, bound, float64):
    its = task(make)
    done, models = swarm(its, [run(its, name, 5, **values) for name, values in ENTRANTS], 5)
    for swarmed, model, (name, given) in zip(done, models, ENTRANTS, strict=True):
        single, expected = alone(its, name, 5, **given)
        assert gap(weights(model), weights(expected)) < bound, name
        assert values(swarmed.curve) == pytest.approx(values(single.curve), rel=bound), name
        for x, y in zip(model.buffers(), expected.buffers(), strict=True):
            assert torch.allclose(x.double(), y.double(), rtol=bound, atol=bound)
        assert swarmed.memory_per_parameter == single.memory_per_parameter, name


@pytest.mark.parametrize("make", [mlp, normalised, Convolution, Attention])
def test_bits_do_not_depend_on_the_company(make):
    its = task(make, steps=8)
    wanted = [run(its, name, **values) for name, values in ENTRANTS]
    done, models = swarm(its, wanted)
    others = [run(its, "adamw", lr=1e-3 * k) for k in range(1, 7)]
    for i, each in enumerate(wanted):
        company = [each, others[i]] if i % 2 else [*others, each, *others]
        place = company.index(each)
        again, its_models = swarm(its, company)
        assert again[place] == done[i]
        assert torch.equal(weights(its_models[place]), weights(models[i]))


def test_a_lost_replica_leaves_the_others_alone():
    its = task()
    wanted = [run(its, "adamw"), run(its, "sgd", lr=1e38), run(its, "sgd")]
    done, _ = swarm(its, wanted)
    assert [bool(x.lost) for x in done] == [False, True, False]
    expected, _ = swarm(its, [wanted[0], wanted[2]])
    assert [done[0], done[2]] == expected


# ---- what cannot be one program ------------------------------------------------------------------


class Counting(nn.Module):
    """Its scale grows with every call: Python's state, which a trace freezes."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = nn.Linear(6, 3), 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x) * self.calls


class Branching(nn.Module):
    """What it computes depends on the parameters."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 3)

    def forward(self, x):
        h = self.inner(x)
        return h * 2 if h.sum() > 0 else h


class Ragged(nn.Module):
    """The shape of what it computes depends on the data."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 3)

    def forward(self, x):
        h = self.inner(x)
        return h - h[h > 0].mean()


@pytest.mark.parametrize("make", [Counting, Branching, Ragged, Recurrent])
def test_what_a_replay_would_freeze_is_found(make):
    its = task(make)
    with pytest.raises(CannotBatch):
        swarm(its, [run(its, "sgd"), run(its, "sgd", lr=0.1)])


def test_an_entrant_without_pinned_steps_is_still_stepped():
    """One whose rule reads what may change is looked at before each step."""
    its = task()
    plain = entrant("sgd")

    def build(model, values):
        return torch.optim.SGD(model.parameters(), lr=values["lr"])

    slow = Entrant("sgd", plain.rule, plain.defaults, plain.searched, build)
    wanted = asked(its, plain, {"lr": 0.3}, role="report", seed=0)
    done, models = swarm(its, [(wanted, plain), (wanted, slow)])
    assert gap(weights(models[0]), weights(models[1])) < 1e-6
    assert done[0].score == done[1].score
