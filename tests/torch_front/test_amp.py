"""Whether the last step was taken: under torch.amp.GradScaler, and to those who watch it."""

import copy
import pickle

import pytest
import torch

import ravine.torch as rt

BAD = (False, True, False, True, True, False)


def backward(p, scaler, bad):
    p.grad = None
    scaler.scale((p * (float("inf") if bad else 1.0)).sum()).backward()


def made(module, fused, engine="auto"):
    p = torch.nn.Parameter(torch.ones(3))
    how = {"engine": engine} if module is rt else {}
    return p, module.Adam([p], lr=0.1, fused=fused, **how)


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("unscaled", [False, True])
@pytest.mark.parametrize("fused", [None, False, True])
def test_a_step_that_the_scaler_skips_is_known(fused, unscaled, engine):
    p, optimizer = made(rt, fused, engine)
    q, theirs = made(torch.optim, fused)
    scalers = [torch.amp.GradScaler("cpu", init_scale=4.0) for _ in range(2)]
    assert not optimizer.last_step_skipped
    for bad in BAD:
        before = p.detach().clone()
        for x, stepper, scaler in ((p, optimizer, scalers[0]), (q, theirs, scalers[1])):
            backward(x, scaler, bad)
            if unscaled:
                scaler.unscale_(stepper)
            scaler.step(stepper)
            scaler.update()
        assert optimizer.last_step_skipped is bad
        assert torch.equal(p, before) is bad
    torch.testing.assert_close(p, q)
    assert optimizer.state[p]["step"] == BAD.count(False)


@pytest.mark.parametrize("fused", [None, True])
def test_a_scaler_that_is_off_skips_nothing(fused):
    p, optimizer = made(rt, fused)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    backward(p, scaler, True)
    scaler.step(optimizer)
    assert not optimizer.last_step_skipped


def test_found_inf_by_hand():
    p, optimizer = made(rt, None)
    p.grad = torch.ones(3)
    for found in (torch.tensor(1.0), torch.tensor(0.0), 1.0, 0.0, torch.tensor([2.0]), None):
        optimizer.found_inf = found
        before = p.detach().clone()
        optimizer.step()
        skipped = found is not None and bool(found)
        assert optimizer.last_step_skipped is skipped
        assert torch.equal(p, before) is skipped
    optimizer.found_inf = 1.0
    optimizer.step()
    assert optimizer.last_step_skipped
    del optimizer.found_inf
    optimizer.step()
    assert not optimizer.last_step_skipped


def test_a_question_alone_skips_nothing():
    """Lightning asks whether it may clip."""
    p, optimizer = made(rt, True)
    p.grad = torch.ones(3)
    optimizer.step()
    assert optimizer._step_supports_amp_scaling
    assert not optimizer.last_step_skipped


def test_two_optimizers_of_one_scaler():
    (p, first), (q, second) = made(rt, None), made(rt, True)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for bad in ((True, False), (False, True), (True, True)):
        for x, b in zip((p, q), bad, strict=True):
            backward(x, scaler, b)
        for optimizer in (first, second):
            scaler.step(optimizer)
        scaler.update()
        assert (first.last_step_skipped, second.last_step_skipped) == bad


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_has_taken_no_step(copied):
    p, optimizer = made(rt, None)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    backward(p, scaler, True)
    scaler.step(optimizer)
    assert optimizer.last_step_skipped
    assert not copied(optimizer).last_step_skipped


# --- accelerate: a step was skipped if the scaler has not called it


class Watched:
    """An optimizer as accelerate.optimizer.AcceleratedOptimizer steps it with a scaler."""

    def __init__(self, optimizer, scaler):
        self.optimizer, self.scaler, self.step_was_skipped = optimizer, scaler, False
        self.own = optimizer.step

    def step(self):
        called = []

        def patched(*args, **kwargs):
            called.append(True)
            return self.own(*args, **kwargs)

        self.optimizer.step = patched
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step_was_skipped = not called
        self.optimizer.step = self.own


def accelerated(optimizer, scaler):
    module = pytest.importorskip("accelerate.optimizer")
    pytest.importorskip("accelerate").Accelerator(cpu=True)  # whose state an optimizer asks for
    return module.AcceleratedOptimizer(optimizer, scaler=scaler)


@pytest.mark.filterwarnings(
    "ignore:Seems like `optimizer.step"
)  # it has been, as accelerate does it
@pytest.mark.parametrize("scheduled", ["not", "before", "after"])
@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize(
    "watch", [Watched, pytest.param(accelerated, marks=pytest.mark.frameworks)]
)
def test_accelerate_sees_that_a_step_was_skipped(watch, fused, scheduled):
    p, optimizer = made(rt, fused)
    q, theirs = made(torch.optim, None)
    steps = []
    optimizer.register_step_pre_hook(lambda *_: steps.append(True))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    schedule = None
    if scheduled == "before":
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    watched = watch(optimizer, scaler)
    if scheduled == "after":
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    theirs_schedule = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.5)
    for bad in BAD:
        backward(p, scaler, bad)
        watched.step()
        assert watched.step_was_skipped is bad
        assert optimizer.last_step_skipped is bad
        if not bad:
            q.grad = torch.ones_like(q)
            theirs.step()
            if schedule is not None:
                schedule.step()
                theirs_schedule.step()
    assert len(steps) == BAD.count(False)
    assert optimizer.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
    torch.testing.assert_close(p, q)
    assert bool(optimizer._step_supports_amp_scaling) is bool(fused)
