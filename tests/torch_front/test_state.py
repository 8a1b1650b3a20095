"""The state is torch's: live tensors, that may be zeroed, shared, copied and rolled back."""

import copy
import pickle
import subprocess
import sys
import textwrap
from collections import defaultdict

import pytest
import torch
from installed import CLASSES, RAVINES, takes
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

import ravine.torch as rt
from ravine import rules

OPTIONS = {
    "SGD": [{}, {"momentum": 0.9}],
    "RMSprop": [{}, {"momentum": 0.9, "centered": True}],
    "Adam": [{}, {"amsgrad": True}],
}
CASES = [(name, options) for name in RAVINES for options in OPTIONS.get(name, [{}])]
TORCHS = [(name, options) for name, options in CASES if name in CLASSES and takes(name, **options)]
STARTS_AT_ZERO = {*RAVINES} - {"NAdam", "ASGD", "Rprop", "SparseAdam"}  # whose count is an int
OWN = {
    "a rule's own": lambda params: rt.optimizer(rules.nadam)(params),
    "Mixed": lambda params: rt.Mixed([{"params": params, "rule": "AdamW"}]),
}


def tensors():
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (3, 4))]


def parameters(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def train(optimizer, steps, start=0):
    """Steps whose gradients are the same each time, and depend on nothing."""
    sparse = type(optimizer).__name__ == "SparseAdam"
    for t in range(start, start + steps):
        random = torch.Generator().manual_seed(t)
        for p in parameters(optimizer):
            g = torch.randn(p.shape, generator=random)
            p.grad = g.to_sparse(1) if sparse else g
        optimizer.step()


def put(optimizer, values):
    with torch.no_grad():
        for p, value in zip(parameters(optimizer), values, strict=True):
            p.copy_(value)


def equal(a, b):
    return all(map(torch.equal, parameters(a), parameters(b)))


def close(a, b):
    for p, q in zip(parameters(a), parameters(b), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def made(name, options, module=rt):
    return getattr(module, name)(tensors(), **options)


def kept(optimizer):
    return [
        x for its in optimizer.state.values() for x in its.values() if isinstance(x, torch.Tensor)
    ]


# --- starting again


@pytest.mark.parametrize(("name", "options"), TORCHS)
def test_zeroing_every_tensor_of_the_state_is_what_it_is_in_torch(name, options):
    """Anew, where all of the state begins with zeros."""
    ours, theirs = made(name, options), made(name, options, torch.optim)
    for optimizer in (ours, theirs):
        train(optimizer, 3)
        for x in kept(optimizer):
            x.zero_()
        put(optimizer, tensors())
        train(optimizer, 3)
    close(ours, theirs)
    if name in STARTS_AT_ZERO:
        new = made(name, options)
        train(new, 3)
        assert equal(ours, new)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_an_optimizer_that_is_reset_is_a_new_one(name, options, engine):
    ours, new = (getattr(rt, name)(tensors(), engine=engine, **options) for _ in range(2))
    train(ours, 3)
    ours.reset()
    assert not ours.state
    assert not ours.last_step_skipped
    put(ours, tensors())
    for optimizer in (ours, new):
        train(optimizer, 3, start=7)
    assert equal(ours, new)
    for p, q in zip(parameters(ours), parameters(new), strict=True):
        assert ours.state[p].keys() == new.state[q].keys()
        for key, value in new.state[q].items():
            assert torch.equal(torch.as_tensor(ours.state[p][key]), torch.as_tensor(value)), key


@pytest.mark.parametrize("name", OWN)
def test_rules_and_groups_are_reset_and_keep_their_options(name):
    ours, new = OWN[name](tensors()), OWN[name](tensors())
    train(ours, 3)
    ours.param_groups[0]["lr"] = new.param_groups[0]["lr"] = 0.5
    ours.reset()
    put(ours, tensors())
    for optimizer in (ours, new):
        train(optimizer, 3)
    assert equal(ours, new)
    assert ours.param_groups[0]["lr"] == 0.5


# --- a moment


@pytest.mark.parametrize(("name", "options"), TORCHS)
def test_a_state_dict_in_memory_is_live_as_torchs(name, options):
    seen = []
    for module in (rt, torch.optim):
        optimizer = made(name, options, module)
        train(optimizer, 2)
        saved = optimizer.state_dict()
        held = [x for its in saved["state"].values() for x in its.values()]
        train(optimizer, 2, start=2)
        now = [x for its in optimizer.state_dict()["state"].values() for x in its.values()]
        tensors_held = [isinstance(x, torch.Tensor) for x in held]
        assert all(a is b for a, b, t in zip(held, now, tensors_held, strict=True) if t)
        seen.append((saved["state"], tensors_held))
    assert seen[0][1] == seen[1][1]
    torch.testing.assert_close(seen[0][0], seen[1][0], rtol=1e-4, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("loaded", [copy.deepcopy, lambda saved: saved])
def test_a_rollback_is_to_one_moment(name, options, loaded):
    """To that of the copy; loaded as it is, the live state_dict changes nothing, as in torch."""
    optimizer, other = made(name, options), made(name, options)
    for o in (optimizer, other):
        train(o, 3)
    saved = loaded(optimizer.state_dict())
    values = [p.detach().clone() for p in parameters(optimizer)]
    train(optimizer, 2, start=3)
    if loaded is not copy.deepcopy:
        train(other, 2, start=3)
    optimizer.load_state_dict(saved)
    put(optimizer, values)
    put(other, values)
    for o in (optimizer, other):
        train(o, 3, start=5)
    assert equal(optimizer, other)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_in_mid_training_goes_on_equally(name, options, copied):
    optimizer = made(name, options)
    train(optimizer, 3)
    optimizer.param_groups[0]["lr"] = 0.05
    other = copied(optimizer)
    train(optimizer, 3, start=3)
    train(other, 3, start=3)
    assert equal(optimizer, other)
    assert not {id(x) for x in kept(optimizer)} & {id(x) for x in kept(other)}


@pytest.mark.parametrize("name", OWN)
def test_a_copy_of_rules_and_groups_goes_on_equally(name):
    optimizer = OWN[name](tensors())
    train(optimizer, 3)
    others = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    for o in (optimizer, *others):
        train(o, 3, start=3)
    assert all(equal(optimizer, other) for other in others)


# --- before there is any


def net(bias=True):
    return nn.Sequential(nn.Linear(3, 4, bias=bias), nn.Tanh(), nn.Linear(4, 2, bias=bias))


def without_lr(p, g, m, *, rate=0.1):
    m = 0.9 * m + g
    return 0.99 * p - rate * m, m


BEFORE_TRAINING = [
    *((name, options) for name, options in CASES if name != "SparseAdam"),
    *((name, {}) for name in OWN),
    ("no lr", {}),
]


@pytest.mark.parametrize(("name", "options"), BEFORE_TRAINING)
def test_asking_for_the_state_before_training_is_no_step(name, options):
    torch.manual_seed(0)
    model = net(bias=name != "Muon")
    other = copy.deepcopy(model)
    make = {**OWN, "no lr": rt.optimizer(without_lr)}.get(name) or getattr(rt, name)
    optimizer, new = (make([*m.parameters()], **options) for m in (model, other))
    saved = get_optimizer_state_dict(model, optimizer)
    assert {*saved["param_groups"][0]["params"]} == {n for n, _ in model.named_parameters()}
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    for o in (optimizer, new):
        train(o, 3)
    assert equal(optimizer, new)
    for p, q in zip(parameters(optimizer), parameters(new), strict=True):
        for key, value in new.state.get(q, {}).items():
            assert torch.equal(torch.as_tensor(optimizer.state[p][key]), torch.as_tensor(value)), (
                key
            )


def test_asking_is_no_step_where_a_step_is_wrapped():
    class Mine(rt.Adam):
        def step(self, closure=None):
            return super().step(closure)

    model, hooked = net(), []
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = Mine(model.parameters(), lr=0.1, weight_decay=0.1)
    optimizer.register_step_post_hook(lambda *_: hooked.append(True))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer)
    get_optimizer_state_dict(model, optimizer)
    assert hooked
    assert all(map(torch.equal, model.parameters(), before))
    train(optimizer, 1)
    schedule.step()
    assert {int(its["step"]) for its in optimizer.state.values()} == {1}


def lazy(bias=True):
    return nn.Sequential(nn.LazyLinear(4, bias=bias), nn.Tanh(), nn.LazyLinear(2, bias=bias))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_lazy_modules_are_accepted_before_their_dry_run(name, options):
    model = lazy(bias=name != "Muon")
    optimizer = getattr(rt, name)(model.parameters(), **options)
    assert repr(optimizer)
    assert optimizer.state_dict()["state"] == {}
    optimizer.step()
    copy.deepcopy(optimizer).step()
    model(torch.ones(2, 3))
    other = copy.deepcopy(model)
    new = getattr(rt, name)(other.parameters(), **options)
    for o in (optimizer, new):
        train(o, 3)
    assert equal(optimizer, new)
    assert optimizer.engine == new.engine


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "Adafactor"])
def test_a_lazy_part_of_a_model_that_is_trained_already(name):
    model = nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(3))
    optimizer = getattr(rt, name)(model.parameters())
    first = model[0].weight
    for _ in range(3):
        first.grad = torch.ones(2, 2)
        optimizer.step()
    model(torch.ones(1, 2))
    other = copy.deepcopy(model)
    new = getattr(rt, name)(other.parameters())
    new.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for o in (optimizer, new):
        train(o, 3)
    assert equal(optimizer, new)


def test_a_checkpoint_may_be_loaded_before_the_dry_run():
    model, other = lazy(), net()
    optimizer, saved_by = rt.Adam(model.parameters()), rt.Adam(other.parameters())
    train(saved_by, 3)
    optimizer.load_state_dict(copy.deepcopy(saved_by.state_dict()))
    model.load_state_dict(other.state_dict())
    for o in (optimizer, saved_by):
        train(o, 2, start=3)
    assert equal(optimizer, saved_by)


def test_what_a_lazy_parameter_turns_out_to_be_is_checked_in_its_first_step():
    lazies = nn.LazyConv2d(3, 3, bias=False)
    optimizer = rt.Muon(lazies.parameters())
    lazies(torch.ones(1, 2, 5, 5)).sum().backward()
    with pytest.raises(ValueError, match=r"Muon: a parameter of shape \(3, 2, 3, 3\) is invalid"):
        optimizer.step()
    lazies = nn.LazyLinear(3)
    with pytest.raises(
        ValueError, match="of a shape that is not known yet, is already in param group 0"
    ):
        rt.Adam([{"params": lazies.weight}, {"params": lazies.weight}])


# --- shared among processes


@pytest.mark.parametrize(("name", "options"), CASES)
def test_state_that_is_moved_into_shared_memory_goes_on(name, options):
    optimizer, other = made(name, options), made(name, options)
    for o in (optimizer, other):
        train(o, 2)
    for x in kept(optimizer):
        x.share_memory_()
    for o in (optimizer, other):
        train(o, 2, start=2)
    assert equal(optimizer, other)
    assert all(x.is_shared() for x in kept(optimizer))


HOGWILD = """
    import sys
    import torch
    import torch.multiprocessing as multiprocessing
    import ravine.torch as rt

    MADE = [
        ("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.1}), ("Adam", {"amsgrad": True}),
        ("Adam", {"fused": True}), ("NAdam", {}), ("RMSprop", {"centered": True}), ("Adagrad", {}),
        ("ASGD", {}), ("Rprop", {}), ("Adafactor", {}),
    ]

    def parameters(optimizer):
        return optimizer.param_groups[0]["params"]

    def step(optimizer, seed):
        random = torch.Generator().manual_seed(seed)
        for p in parameters(optimizer):
            p.grad = torch.randn(p.shape, generator=random)
        optimizer.step()

    def work(rank, optimizers, turns, free):
        torch.set_num_threads(1)
        for t in range(5):  # by turns, so that it is known what comes out
            turns[rank].acquire()
            for optimizer in optimizers:
                step(optimizer, 10 * t + rank)
            turns[1 - rank].release()
        for t in range(200):  # at once: any values, but no crash
            step(free, t)

    def shared(module, name, options):
        torch.manual_seed(0)
        made = [torch.nn.Parameter(torch.randn(s).share_memory_()) for s in ((5, 3), (7,))]
        optimizer = getattr(module, name)(made, **options)
        step(optimizer, 1000)  # the state begins
        for its in optimizer.state.values():
            for x in its.values():
                x.share_memory_()
        return optimizer

    if __name__ == "__main__":
        torch.set_num_threads(1)
        context = multiprocessing.get_context(sys.argv[1])
        modules = (rt, torch.optim)
        ours, theirs = ([shared(m, *x) for x in MADE] for m in modules)
        free, turns = shared(rt, "Adam", {}), [context.Semaphore(n) for n in (1, 0)]
        rest = ([*ours, *theirs], turns, free)
        workers = [context.Process(target=work, args=(rank, *rest)) for rank in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(100)
            assert worker.exitcode == 0, worker.exitcode
        for (name, options), a, b in zip(MADE, ours, theirs, strict=True):
            for optimizer in (a, b):
                step(optimizer, 2000)
            for p, q in zip(parameters(a), parameters(b), strict=True):
                torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=f"{name} {options}")
                for key, value in b.state[q].items():
                    value = torch.as_tensor(value).double()
                    mine = torch.as_tensor(a.state[p][key]).double()
                    torch.testing.assert_close(mine, value, rtol=1e-4, atol=1e-6, msg=f"{name} {key}")
                if "step" in b.state[q]:
                    assert int(a.state[p]["step"]) == 12, name
        assert all(bool(p.isfinite().all()) for p in parameters(free))
        print("done")
"""


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_that_share_parameters_and_state_step_as_with_torch(start, tmp_path):
    """Hogwild, in a process that may crash."""
    if start not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} here")
    script = tmp_path / "hogwild.py"
    script.write_text(textwrap.dedent(HOGWILD))
    run = subprocess.run(
        [sys.executable, script, start], capture_output=True, text=True, timeout=240, check=False
    )
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_new_dict_in_place_of_the_state_begins_anew(engine):
    """As in `optimizer.state = defaultdict(dict)`, which many a training script has."""
    for new in (defaultdict(dict), {}):
        p = nn.Parameter(torch.ones(3))
        optimizer = rt.Adam([p], lr=0.1, engine=engine)
        p.grad = torch.tensor([1.0, -2.0, 3.0])
        for _ in range(3):
            optimizer.step()
        at, fresh = p.detach().clone(), nn.Parameter(p.detach().clone())
        optimizer.state = new
        optimizer.step()
        assert optimizer.state[p]["step"] == 1
        assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg"], 0.1 * p.grad)
        fresh.grad = p.grad.clone()
        rt.Adam([fresh], lr=0.1, engine=engine).step()
        assert torch.equal(p, fresh)
        assert not torch.equal(p, at)
