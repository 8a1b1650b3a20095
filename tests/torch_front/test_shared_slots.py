"""Slots of one number for the whole optimizer: Prodigy with gradients that come late, or now and then."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, like_p, rule, rules, scalar, shared
from ravine.engines.tracing import trace
from ravine.modifiers import clip_by_global_norm, l2
from ravine.ops import abs, maximum, norm, sqrt, total


@rule(p0=like_p, d=shared("d0"), num=shared(0.0))
def prodigy(
    p, g, m, v, s, p0, d, num, *, lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6, d_coef=1.0
):
    """Mishchenko & Defazio, 2023 (arXiv:2306.06101), Algorithm 4, as prodigyopt runs it."""
    beta3 = sqrt(beta2)
    num = beta3 * num + d / d0 * d * lr * total(g * (p0 - p))
    m = beta1 * m + d * (1 - beta1) * g
    v = beta2 * v + d * d * (1 - beta2) * g**2
    s = beta3 * s + d / d0 * d * lr * g
    d_hat = d_coef * num / total(abs(s))
    old, d = d, maximum(d, d_hat)
    return p - old * lr * m / (sqrt(v) + d * eps), m, v, s, p0, d, num


@rule(k=shared(0.0))
def counted(p, g, k, *, lr=1.0):
    """Steps of the whole optimizer, however many a tensor has taken."""
    k = k + 1
    return p - lr / k * g, k


Prodigy = rt.optimizer(prodigy)


class Oracle:
    """The same once more, over all tensors in one loop, with d where the paper has it: outside."""

    def __init__(self, params, lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6):
        self.params, self.lr, self.betas, self.eps, self.d0 = params, lr, (beta1, beta2), eps, d0
        self.start = [None] * len(params)
        self.m, self.v, self.s = ([np.zeros_like(p) for p in params] for _ in range(3))
        self.d, self.numerator = d0, 0.0

    def step(self, grads):
        beta1, beta2 = self.betas
        beta3, d, lr = beta2**0.5, self.d, self.lr
        there = [i for i, g in enumerate(grads) if g is not None]
        self.numerator *= beta3
        for i in there:
            g, p = grads[i], self.params[i]
            if self.start[i] is None:
                self.start[i] = p.copy()
            self.numerator += d / self.d0 * d * lr * float(g @ (self.start[i] - p))
            self.m[i] = beta1 * self.m[i] + d * (1 - beta1) * g
            self.v[i] = beta2 * self.v[i] + d * d * (1 - beta2) * g * g
            self.s[i] = beta3 * self.s[i] + d / self.d0 * d * lr * g
        self.d = max(d, self.numerator / sum(np.abs(self.s[i]).sum() for i in there))
        for i in there:
            self.params[i] -= d * lr * self.m[i] / (np.sqrt(self.v[i]) + self.d * self.eps)


TARGETS = [np.linspace(-1, 2, n) for n in (5, 7, 3)]


def present(k):
    """The second tensor comes late, the third is missing at every third step."""
    return [True, k >= 20, k % 3 != 1]


def path(params, step, begin=0, end=60):
    """Steps towards the targets, with noise."""
    random = np.random.default_rng(0)
    for k in range(end):
        noise = [random.normal(size=t.shape) for t in TARGETS]
        if k >= begin:
            step(
                [
                    p - t + 0.1 * e if here else None
                    for p, t, e, here in zip(params(), TARGETS, noise, present(k), strict=True)
                ]
            )


def starts():
    return [np.full(t.shape, 0.5) for t in TARGETS]


def expected(**options):
    one = Oracle(starts(), **options)
    path(lambda: one.params, one.step)
    return one


def stepper(optimizer):
    params = [p for group in optimizer.param_groups for p in group["params"]]

    def step(grads):
        for p, g in zip(params, grads, strict=True):
            p.grad = None if g is None else torch.tensor(g)
        optimizer.step()

    return lambda: [p.detach().numpy() for p in params], step


def made(engine="auto", cls=Prodigy, **options):
    return cls([nn.Parameter(torch.tensor(p)) for p in starts()], engine=engine, **options)


def difference(some, others):
    return max(np.abs(p - q).max() / np.abs(q).max() for p, q in zip(some, others, strict=True))


@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_prodigy_with_late_and_missing_gradients(engine):
    optimizer = made(engine, lr=2.0)
    params, step = stepper(optimizer)
    path(params, step)
    oracle = expected(lr=2.0)
    assert difference(params(), oracle.params) <= 1e-12
    states = list(optimizer.state.values())
    assert len({id(state["d"]) for state in states}) == 1
    assert float(states[0]["d"]) == pytest.approx(oracle.d, rel=1e-12)
    arrays = starts()
    opt = rn.optimizer(prodigy)(arrays, engine=engine, lr=2.0)
    path(lambda: arrays, opt.step)
    assert difference(arrays, oracle.params) <= 1e-12
    assert opt.state["shared"]["d"] == pytest.approx(oracle.d, rel=1e-12)
    assert "d" not in opt.state["params[0]"]


def test_a_number_for_each_tensor_is_another_path():
    """So that the test above is one of sharing."""
    own = rule(p0=like_p, d=scalar("d0"), num=scalar(0.0))(prodigy.function)
    optimizer = made(cls=rt.optimizer(own), lr=2.0)
    params, step = stepper(optimizer)
    path(params, step)
    assert difference(params(), expected(lr=2.0).params) > 1e-3


@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_checkpoints_go_on(engine):
    optimizer = made(engine)
    params, step = stepper(optimizer)
    path(params, step, 0, 15)  # before the second has come
    block = io.BytesIO()
    torch.save(optimizer.state_dict(), block)
    block.seek(0)
    for other in (
        made(engine),
        copy.deepcopy(optimizer),
        pickle.loads(pickle.dumps(optimizer)),
    ):
        if other.state_dict()["state"] == {}:
            other.load_state_dict(torch.load(block, weights_only=True))
            for p, q in zip(stepper(other)[0](), params(), strict=True):
                p[...] = q
        mine, onwards = stepper(other)
        path(mine, onwards, 15)
        assert difference(mine(), expected().params) <= 1e-12
    path(params, step, 15)
    assert difference(params(), expected().params) <= 1e-12
    optimizer.reset()
    for p, q in zip(params(), starts(), strict=True):
        p[...] = q
    path(params, step)
    assert difference(params(), expected().params) <= 1e-12


def test_states_that_are_taken_out_one_by_one_leave_nothing():
    p = nn.Parameter(torch.ones(2))
    optimizer = rt.optimizer(counted)([p])
    for k in (1, 2, 1):
        if k == 1:
            optimizer.state.pop(p, None)
        p.grad = torch.ones(2)
        optimizer.step()
        assert float(optimizer.state[p]["k"]) == k


@pytest.mark.parametrize("engine", ["kernel", "eager", "auto"])
def test_a_count_of_all_steps(engine):
    """Without a total; of several dtypes, and in views of one storage, which is two waves."""
    storage = torch.ones(4, dtype=torch.float64)
    params = [storage[:3], storage[1:], torch.ones(3, dtype=torch.float32)]
    params = [nn.Parameter(x) for x in (params[2:] if engine == "kernel" else params)]
    optimizer = rt.optimizer(counted)(params, engine=engine)
    for _ in range(3):
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
    assert {float(state["k"]) for state in optimizer.state.values()} == {3.0}
    assert torch.allclose(params[-1], torch.tensor(1 - (1 + 1 / 2 + 1 / 3)))


def test_groups_may_differ_where_it_does_not_matter():
    a, b = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = rt.optimizer(counted)([{"params": [a], "lr": 0.5}, {"params": [b]}], lr=1.0)
    for _ in range(2):
        a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
        optimizer.step()
    assert (a.tolist(), b.tolist()) == ([0.25] * 2, [-0.5] * 2)
    groups = [{"params": [nn.Parameter(torch.ones(2))]} for _ in range(2)]
    optimizer = rt.optimizer(prodigy)(groups)
    for group in groups:
        group["params"][0].grad = torch.ones(2)
    optimizer.step()
    optimizer.param_groups[1]["lr"] = 0.5
    with pytest.raises(ValueError, match=r"shared by all tensors and depends on lr, .*: 1.0, 0.5"):
        optimizer.step()


def test_two_rules_do_not_share_with_each_other(tmp_path):
    a, b = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    file = tmp_path / "two.py"
    body = "def {}(p, g, k, *, lr=1.0):\n    k = k + 1\n    return p - lr / k * g, k\n"
    rules = [f"\n\n@rule(k=shared(0.0))\n{body.format(name)}" for name in ("first", "second")]
    file.write_text("from ravine import rule, shared\n" + "".join(rules))
    groups = [{"params": [a], "rule": f"{file}:first"}, {"params": [b], "rule": f"{file}:second"}]
    optimizer = rt.Mixed(groups)
    for missing in (True, False):
        a.grad, b.grad = torch.ones_like(a), None if missing else torch.ones_like(b)
        optimizer.step()
    assert (float(optimizer.state[a]["k"]), float(optimizer.state[b]["k"])) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("new", "what"),
    [
        (lambda k, p, g, m, t: k + norm(g), "its sum"),
        (lambda k, p, g, m, t: k + t, "t"),
        (lambda k, p, g, m, t: k * m, "m"),
        (lambda k, p, g, m, t: k + total(g) / abs(t), "t"),
    ],
)
def test_what_differs_between_tensors_is_refused(new, what):
    def function(p, g, k, m, t, *, lr=0.1):
        return p - lr * k * m * g, new(k, p, g, m, t), m + 1

    with pytest.raises(RuleError, match=rf"k is shared by all .* depends on {what}, which differs"):
        trace(rule(k=shared(1.0), m=scalar(0.0))(function))


def test_where_sharing_is_refused():
    net = nn.Linear(2, 2)
    optimizer = rt.optimizer(counted)(net.parameters())
    with pytest.raises(ValueError, match="looks at the gradients of all parameters at once"):
        rt.step_in_backward(net, optimizer)


def test_in_stacks():
    made = clip_by_global_norm(l2(counted), max_norm=1.0)
    assert trace(made).common == {"k": ()}
    assert trace(rules.adam).common == {}
    p = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = rt.optimizer(made)([p], weight_decay=0.0)
    for _ in range(2):
        p.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
        optimizer.step()
    assert torch.allclose(p, torch.tensor([-0.9, -1.2], dtype=torch.float64), rtol=1e-12)


def test_empty_parameters_leave_what_is_shared_to_the_others():
    for engine in ("auto", "eager"):
        paths, arrays = [], []
        for place in (None, 0, 1, 2):
            some = [nn.Parameter(torch.arange(3.0) + i) for i in (1, 5)]
            every = list(some)
            if place is not None:
                every.insert(place, nn.Parameter(torch.zeros(0, 3)))
            with_numpy = [p.detach().double().numpy().copy() for p in every]
            optimizers = rt.DoG(every, engine=engine), rn.DoG(with_numpy, engine=engine)
            for t in range(1, 4):
                for p in every:
                    p.grad = torch.full_like(p, float(t))
                optimizers[0].step()
                optimizers[1].step([np.full_like(x, t) for x in with_numpy])
            assert optimizers[1].state["shared"]["g_sum"] == 84
            paths.append(torch.stack([p.detach() for p in some]))
            arrays.append(np.stack([x for x in with_numpy if x.size]))
        assert all(torch.equal(x, paths[0]) for x in paths)
        assert all(np.array_equal(x, arrays[0]) for x in arrays)
