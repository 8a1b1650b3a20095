"""What happens to optimizers in real programs: parametrized, tied, swapped, copied, compiled, forked."""

import copy
import multiprocessing
import pickle

import pytest
import torch
from cases import error
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.data import DataLoader, Dataset

import ravine.torch as rt
from ravine import rules
from ravine.modifiers import clip_by_global_norm

MODULES = (rt, torch.optim)


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4)).double()


def batches(steps, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, 8, 4, dtype=torch.float64, generator=generator)


def take(net, optimizer, x):
    optimizer.zero_grad()
    loss = (net(x) - x.flip(1)).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def same(*nets, bound=1e-12):
    """Whether the networks' outputs and parameters are equal."""
    ours, theirs = ([net(batches(1)[0]), *net.parameters()] for net in nets)
    return all(error(a, b) <= bound for a, b in zip(ours, theirs, strict=True))


def optimizer_for(module, net):
    return module.Adam(net.parameters(), lr=0.05)


def both(life, steps=12, make=model):
    """The networks after the same life with Ravine's optimizer and with torch's."""
    nets = []
    for module in MODULES:
        net = make()
        optimizer = optimizer_for(module, net)
        for t, x in enumerate(batches(steps)):
            net, optimizer = life(t, net, optimizer, module) or (net, optimizer)
            take(net, optimizer, x)
        nets.append(net)
    return nets


def nothing(t, net, optimizer, module):
    pass


# --- parameters that are not what the layer computes with


def weight_normed():
    net = model()
    parametrizations.weight_norm(net[0])
    return net


def orthogonal():
    net = model()
    parametrizations.orthogonal(net[2])
    return net


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT


def symmetric():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4)).double()
    nn.utils.parametrize.register_parametrization(net[0], "weight", Symmetric())
    return net


@pytest.mark.parametrize("make", [weight_normed, orthogonal, symmetric])
def test_parametrized_layers_train_as_with_torch(make):
    nets = both(nothing, make=make)
    assert same(*nets)
    assert not same(nets[0], make())
    if make is orthogonal:
        weight = nets[0][2].weight
        assert error(weight @ weight.mT, torch.eye(4)) <= 1e-12


def test_a_parametrization_may_be_removed_while_training():
    def life(t, net, optimizer, module):
        if t == 6:
            nn.utils.parametrize.remove_parametrizations(net[0], "weight")
            return net, optimizer_for(module, net)

    assert same(*both(life, make=weight_normed))


class Tied(nn.Module):
    """An embedding, and an output layer with the same weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(10, 6, dtype=torch.float64)
        self.out = nn.Linear(6, 10, dtype=torch.float64)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.embed(x))


def test_tied_weights_are_stepped_once():
    nets = []
    for module in MODULES:
        net = Tied()
        optimizer = optimizer_for(module, net)
        assert len(optimizer.param_groups[0]["params"]) == 2
        for t in range(10):
            optimizer.zero_grad()
            nn.functional.cross_entropy(
                net(torch.arange(10)), torch.arange(t, t + 10) % 10
            ).backward()
            optimizer.step()
        assert net.out.weight is net.embed.weight
        assert int(optimizer.state[net.out.weight]["step"]) == 10
        nets.append(net)
    for p, q in zip(*(net.parameters() for net in nets), strict=True):
        assert error(p, q) <= 1e-12


# --- parameters that change while training


def frozen_and_thawed(t, net, optimizer, module):
    net[0].requires_grad_(not 3 <= t < 7)


def swapped(t, net, optimizer, module):
    """A layer is replaced, and its parameters take the places of the old ones in the group."""
    if t == 5:
        old, net[2] = net[2], model(seed=3)[2]
        group = optimizer.param_groups[0]
        new = dict(zip(map(id, old.parameters()), net[2].parameters(), strict=True))
        group["params"] = [new.get(id(p), p) for p in group["params"]]
        for p in old.parameters():
            optimizer.state.pop(p)


def data_replaced(t, net, optimizer, module):
    if t == 5:
        for p in net.parameters():
            p.data = p.data.clone() * 0.5


def resized(t, net, optimizer, module):
    """The hidden layer grows; the new numbers start with no past."""
    if t == 5:
        wide = nn.Linear(4, 9).double(), nn.Linear(9, 4).double()
        for old, new in zip((net[0], net[2]), wide, strict=True):
            for p, q in zip(old.parameters(), new.parameters(), strict=True):
                p.data = torch.full_like(q, 0.1)
                p.grad = None
                optimizer.state.pop(p)


def grown_by_a_group(t, net, optimizer, module):
    if t == 5:
        net.append(model(seed=3)[0].requires_grad_())
        net.append(nn.Linear(6, 4, dtype=torch.float64))
        nn.init.eye_(net[4].weight)
        optimizer.add_param_group({"params": [*net[3].parameters(), net[4].weight], "lr": 0.01})
        net[4].bias = None


def moved_to_float_and_back(t, net, optimizer, module):
    if t == 5:
        net.float().double()


CHANGES = [frozen_and_thawed, swapped, data_replaced, resized, grown_by_a_group]
CHANGES += [moved_to_float_and_back]


@pytest.mark.parametrize("life", CHANGES, ids=lambda f: f.__name__)
def test_changes_while_training_are_followed_as_by_torch(life):
    nets = both(life)
    assert same(*nets)
    x = batches(1)[0]
    assert error(nets[0](x), both(nothing)[0](x)) > 1e-9  # the change is one


# --- copies


def piece(module, net):
    return rt.optimizer(clip_by_global_norm(rules.adam))(net.parameters(), max_norm=0.1)


@pytest.mark.parametrize("make", [optimizer_for, piece])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_model_and_its_optimizer_are_copied_together(make, copied):
    """The copies belong together, go on as the originals do, and leave those alone."""
    net = model()
    optimizer = make(rt, net)
    for x in batches(5):
        take(net, optimizer, x)
    other, again = copied((net, optimizer))
    before = [p.detach().clone() for p in net.parameters()]
    for x in batches(5, seed=2):
        take(other, again, x)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    for x in batches(5, seed=2):
        take(net, optimizer, x)
    assert same(net, other, bound=0)


# --- torch.compile; these backends need no compiler


# Dynamo looks at the .grad of whatever it meets, and warns of itself.
looks = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@looks
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("how", ["step", "all", "closure"])
def test_compiled_training_is_training(backend, how):
    torch.compiler.reset()
    nets = []
    for compiled in (True, False):
        net = model()
        optimizer = rt.Adam(net.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

        def wrapped(f, compiled=compiled):
            return torch.compile(f, backend=backend) if compiled else f

        def train(x, net=net, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (net(x) - x).square().mean()
            loss.backward()
            if how == "all":
                optimizer.step()
            return loss

        forward, step = (
            (wrapped(train), optimizer.step) if how == "all" else (train, wrapped(optimizer.step))
        )
        for x in batches(5):
            if how == "closure":
                step(lambda x=x: train(x))
            else:
                forward(x)
                if how == "step":
                    step()
            schedule.step()
        assert optimizer.state[net[0].weight]["step"] == 5
        nets.append(net)
    assert same(*nets, bound=1e-14)


@looks
def test_a_compiled_model_is_trained():
    torch.compiler.reset()
    nets = []
    for module in MODULES:
        net = model()
        compiled = torch.compile(net, backend="aot_eager")
        optimizer = optimizer_for(module, compiled)
        for x in batches(5):
            take(compiled, optimizer, x)
        nets.append(net)
    assert same(*nets)


# --- other processes


LARGE = 200_000  # so many elements are stepped by several threads
forked = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork here"
)
threaded = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def large():
    p = torch.nn.Parameter(torch.zeros(LARGE))
    p.grad = torch.ones(LARGE)
    return p


class Stepping(Dataset):
    """Items that took a step each: a worker trains its own model."""

    def __init__(self):
        self.p = large()
        self.optimizer = rt.SGD([self.p], lr=1.0)

    def __len__(self):
        return 4

    def __getitem__(self, i):
        self.p.grad = torch.ones(LARGE)  # what is sent to a spawned worker has none
        self.optimizer.step()
        return self.p.detach()[-1].item()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@forked
@threaded
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.usefixtures("two_threads")
def test_workers_of_a_data_loader_and_the_parent_step_at_once(start):
    p, dataset = large(), Stepping()
    optimizer = rt.SGD([p], lr=1.0)
    optimizer.step()
    dataset[0]  # the kernel and its threads are there before the fork
    seen = []
    loader = DataLoader(
        dataset, batch_size=None, num_workers=1, multiprocessing_context=start, timeout=60
    )
    for item in loader:
        seen.append(item)
        optimizer.step()
    assert seen == [-2.0, -3.0, -4.0, -5.0]
    assert p.detach().unique().tolist() == [-5.0]
    if start == "fork":  # a spawned worker is sent the same memory
        assert dataset.p.detach().unique().tolist() == [-1.0]


def step_and_tell(optimizer, p, queue):
    optimizer.step()
    queue.put(p.detach()[::1000].tolist())


@forked
@threaded
@pytest.mark.usefixtures("two_threads")
def test_a_forked_process_goes_on_stepping():
    """torch's threads are gone there; torch.optim would wait for them for ever."""
    p = large()
    optimizer = rt.SGD([p], lr=1.0)
    optimizer.step()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=step_and_tell, args=(optimizer, p, queue))
    child.start()
    try:
        assert {*queue.get(timeout=30)} == {-2.0}
        optimizer.step()
        child.join(30)
        assert child.exitcode == 0
    finally:
        child.kill()
    assert p.detach().unique().tolist() == [-2.0]
