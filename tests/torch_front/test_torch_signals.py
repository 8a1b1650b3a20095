"""Signals in the torch front: the forms in which they are given, and every way to take a step."""

import copy
import io
import threading

import pytest
import torch
from signals import both, in_passes, polyak, sophia
from torch import nn

import ravine.torch as rt
from ravine import RuleError, modifier, rule, scalar, signal
from ravine.modifiers import decoupled_decay
from ravine.ops import qr

Sophia, Polyak = rt.optimizer(sophia), rt.optimizer(polyak)


def params(*shapes, dtype=torch.float64):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(*shape, dtype=dtype)) for shape in shapes or ((3, 4), (5,))]


def give(ps, seed):
    """Random gradients, and as many random signals."""
    torch.manual_seed(seed)
    for p in ps:
        p.grad = torch.randn_like(p)
    return [torch.randn_like(p.detach()) ** 2 for p in ps]


def train(optimizer, ps, steps=12, every=3, form=list):
    for t in range(steps):
        hessian = give(ps, t)
        optimizer.step(hessian=form(hessian) if t % every == 0 else None)
    return [p.detach().clone() for p in ps]


def expected(ps, steps=12, every=3):
    """The same by hand."""
    ends, states = [p.detach().clone() for p in ps], [sophia.init(p.detach()) for p in ps]
    for t in range(steps):
        hessian = give(ps, t)
        for i, p in enumerate(ps):
            h = hessian[i] if t % every == 0 else None
            ends[i], *states[i] = sophia(ends[i], p.grad, *states[i], hessian=h)
    return ends


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("every", [1, 3, 100])
def test_steps_with_and_without(engine, every):
    ps = params()
    wanted = expected(ps, every=every)
    optimizer = Sophia(ps, engine=engine)
    for mine, other in zip(train(optimizer, ps, every=every), wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-13, atol=1e-15)
    assert optimizer.engine.startswith(engine)


def test_both_kinds_of_step_are_bound_once(monkeypatch):
    """Nothing is inspected again while the tensors are the same objects, whatever is given."""
    count = []
    whole = rt.rule_optimizer.RuleOptimizer.step_all
    monkeypatch.setattr(
        rt.rule_optimizer.RuleOptimizer,
        "step_all",
        lambda self, *given, **how: count.append(1) or whole(self, *given, **how),
    )
    ps = params()
    optimizer = Sophia(ps)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    for t in range(10):
        hessian = give(ps, t)
        optimizer.step(hessian=hessian if t % 4 == 0 else None)
        schedule.step()
    assert len(count) == 2
    ps = params()
    optimizer = Polyak(ps)
    for t in range(10):
        give(ps, t)
        optimizer.step(loss=float(t))
    assert len(count) == 3
    # a signal where the parameters are, and one that is absent beside its gradient
    optimizer = Sophia(ps)
    for t in range(3):
        give(ps, t)
        optimizer.step(hessian=ps)
    ps[0].grad = None
    optimizer.step(hessian=[None, ps[1]])


@pytest.mark.parametrize("made", [Sophia, Polyak])
def test_a_step_in_another_thread_takes_no_signals_away(monkeypatch, made):
    """While one thread binds a step that is given signals, another takes steps that are given others."""
    ps, others = params(), params()
    give(ps, 0)
    hessian = give(others, 0)
    first = {"hessian": hessian} if made is Sophia else {"loss": 3.0}
    second = {} if made is Sophia else {"loss": 5.0}
    expected = made(others)
    expected.step(**second)
    expected.step(**first)

    optimizer, bind, threads = made(ps), rt.RuleOptimizer.parts, []

    def parts(self, *given, **how):
        if not threads:
            threads.append(threading.Thread(target=optimizer.step, kwargs=second))
            threads[0].start()
            threads[0].join()
        return bind(self, *given, **how)

    monkeypatch.setattr(rt.RuleOptimizer, "parts", parts)
    optimizer.step(**first)
    assert threads
    assert all(map(torch.equal, ps, others))


def test_a_signal_in_the_memory_of_a_slot():
    ends = []
    for copied in (False, True):
        [p] = params((4,))
        optimizer = rt.optimizer(in_passes)([p])
        for t in range(5):
            [extra] = give([p], t)
            if t > 2:  # when the step is bound
                extra = optimizer.state[p]["h"]
            optimizer.step(extra=[extra.clone() if copied else extra])
        ends.append(p.detach())
    assert optimizer.engine == "kernel"
    torch.testing.assert_close(*ends, rtol=1e-14, atol=0)


def test_steps_after_schedules_are_those_of_the_formula():
    ends = []
    for engine in ("kernel", "eager"):
        ps = params()
        optimizer = Sophia(ps, engine=engine)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
        for t in range(12):
            hessian = give(ps, t)
            optimizer.step(hessian=hessian if t % 3 == 0 else None)
            schedule.step()
            if t == 5:
                optimizer.param_groups[0]["gamma"] = 0.5
        ends.append([p.detach() for p in ps])
    torch.testing.assert_close(*ends, rtol=1e-13, atol=1e-15)


def test_forms():
    wanted = train(Sophia(ps := params()), ps)
    forms = {
        "tuple": tuple,
        "iterator": iter,
        "generator": lambda xs: (x for x in xs),
        "other layout": lambda xs: [x.t().contiguous().t() if x.ndim == 2 else x for x in xs],
        "wide": lambda xs: [x.to(torch.float64) for x in xs],
        "of autograd": lambda xs: [x.requires_grad_() * 1 for x in xs],
    }
    for form in forms.values():
        ps = params()
        assert all(map(torch.equal, train(Sophia(ps), ps, form=form), wanted))
    ps = params()
    mapping = train(Sophia(ps), ps, form=lambda xs: dict(zip(ps, xs, strict=True)))
    assert all(map(torch.equal, mapping, wanted))
    ps = params()
    named = Sophia([*zip("ab", ps, strict=True)])
    assert all(map(torch.equal, train(named, ps, form=lambda xs: {"a": xs[0], "b": xs[1]}), wanted))
    [p] = params((3, 4))
    p.grad = torch.ones_like(p)
    Sophia([p]).step(hessian=torch.ones(3, 4))  # one tensor for one parameter


def test_parameters_without_gradients_need_none():
    ps = params((2, 3), (4,), (2,))
    optimizer = Sophia(ps)
    for t in range(8):
        hessian = give(ps, t)
        ps[t % 3].grad = None
        hessian[t % 3] = None
        before = [p.detach().clone() for p in ps]
        optimizer.step(hessian=hessian if t % 2 else dict(zip(ps, hessian, strict=True)))
        for i, p in enumerate(ps):
            assert torch.equal(p, before[i]) is (i == t % 3)


def test_errors():
    ps = params()
    optimizer = Sophia(ps)
    hessian = give(ps, 0)
    before = [p.detach().clone() for p in ps]
    one, two = hessian
    for wrong, message in [
        (hessian[:1], "hessian has 1 entry for 2 parameters"),
        ({ps[0]: one}, r"no entry for a parameter of shape \(5,\), which has a gradient"),
        ([one, None], r"no entry for a parameter of shape \(5,\)"),
        (hessian[::-1], r"a tensor of shape \(5,\) for a parameter of shape \(3, 4\)"),
        (3.0, "hessian is of type float; it must be a sequence of tensors"),
        (one, "hessian is of type Tensor; it must be a sequence of tensors"),
        ([1.0, 2.0], r"hessian has an entry of type float for a parameter of shape \(3, 4\)"),
        ({"x": one}, "hessian has an entry for 'x'"),
        ({torch.ones(1): one}, "hessian has an entry for a key of type Tensor"),
        ([one.to_sparse(), two], "of layout torch.sparse_coo"),
        ([one.to("meta"), two], "on meta; it must be dense, and on cpu"),
        ([one + 1j, two], "a tensor of torch.complex128 for a parameter of torch.float64"),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"Sophia: step: .*{message}"):
            optimizer.step(hessian=wrong)
    with pytest.raises(
        TypeError, match="'hesian' is not a signal of rule 'sophia'; it has hessian; did"
    ):
        optimizer.step(hesian=hessian)
    with pytest.raises(TypeError, match=r"'loss' is not a signal of rule .*; it has none"):
        rt.AdamW(ps).step(loss=1.0)
    for wrong in ("much", torch.ones(2), [1.0]):
        with pytest.raises(ValueError, match="is invalid; loss must be one number"):
            Polyak(ps).step(loss=wrong)
    with pytest.raises(RuleError, match="the step is not given loss, so the rule gets None"):
        Polyak(ps).step()
    assert all(map(torch.equal, ps, before))
    wanted = expected(ps, steps=3)  # none of it has left anything behind
    assert all(map(torch.allclose, train(optimizer, ps, steps=3), wanted))


def test_closures_and_hooks():
    ps = params()
    optimizer, seen = Sophia(ps), []
    wanted = train(Sophia(qs := params()), qs, steps=2, every=1)
    optimizer.register_step_pre_hook(lambda _, args, kwargs: seen.append(sorted(kwargs)))
    for t in range(2):
        hessian = give(ps, t)
        assert optimizer.step(lambda: 7.0, hessian=hessian) == 7.0
    assert all(map(torch.equal, ps, wanted))
    assert seen == [["hessian"]] * 2


def test_a_checkpoint_goes_on():
    ps = params()
    optimizer = Sophia(ps)
    train(optimizer, ps, steps=5)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    qs = copy.deepcopy(ps)
    other = Sophia(qs)
    other.load_state_dict(torch.load(file))
    third = copy.deepcopy(optimizer)
    rs = third.param_groups[0]["params"]
    ends = [train(o, xs, steps=7) for o, xs in ((optimizer, ps), (other, qs), (third, rs))]
    for end in ends[1:]:
        assert all(map(torch.equal, end, ends[0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_parameters(dtype):
    ends = []
    for engine in ("kernel", "eager"):
        ps = params(dtype=dtype)
        ends.append(train(Sophia(ps, engine=engine), ps))
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(*ends, rtol=20 * eps, atol=eps)


def test_complex_parameters_and_sparse_gradients():
    ends = []
    for engine in ("kernel", "eager"):
        p = nn.Parameter(torch.ones(4, dtype=torch.complex128))
        optimizer = Sophia([p], engine=engine)
        for t in range(6):
            [hessian] = give([p], t)
            optimizer.step(hessian=[hessian] if t % 2 else None)
        ends.append(p.detach())
    torch.testing.assert_close(*ends)
    table, plain = (nn.Parameter(torch.ones(5, 2, dtype=torch.float64)) for _ in "ab")
    hessian = torch.rand(5, 2, dtype=torch.float64)
    rows = torch.tensor([[1, 3]])
    table.grad = torch.sparse_coo_tensor(
        rows, torch.ones(2, 2), (5, 2), dtype=torch.float64, check_invariants=True
    )
    plain.grad = table.grad.to_dense()
    Sophia([table]).step(hessian=[hessian])
    Sophia([plain]).step(hessian=[hessian])
    assert torch.equal(table[rows[0]], plain[rows[0]])
    assert torch.equal(table[[0, 2, 4]], torch.ones(3, 2, dtype=torch.float64))


def test_groups_and_mixed_rules():
    ps = params((2, 2), (3,), (4,))
    optimizer = Sophia([{"params": ps[:2]}, {"params": ps[2:], "lr": 0.5}])
    optimizer.step(hessian=give(ps, 0))
    qs = params((2, 2), (3,), (4,))
    hessian = give(qs, 0)
    Sophia(qs[:2]).step(hessian=hessian[:2])
    Sophia(qs[2:], lr=0.5).step(hessian=hessian[2:])
    assert all(map(torch.equal, ps, qs))


def test_autograd_sees_through_a_rule_that_is_called():
    p = torch.ones(3, dtype=torch.float64)
    loss = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    polyak(p, p, loss=loss).sum().backward()
    assert loss.grad.item() == pytest.approx(-1)


def test_a_scaler_leaves_signals_alone():
    ps, qs = params(), params()
    scaled, plain = Sophia(ps), Sophia(qs)
    hessian = give(qs, 0)
    for p, q in zip(ps, qs, strict=True):
        p.grad = q.grad * 8
    scaled.grad_scale = torch.tensor(8.0)
    scaled.found_inf = torch.tensor(0.0)
    scaled.step(hessian=hessian)
    plain.step(hessian=hessian)
    for p, q in zip(ps, qs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-14, atol=0)
    before = [p.detach().clone() for p in ps]
    scaled.found_inf = torch.tensor(1.0)
    scaled.step(hessian=hessian)
    assert scaled.last_step_skipped
    assert all(map(torch.equal, ps, before))


def test_steps_in_backward_are_refused():
    [p] = params((3,))
    with pytest.raises(
        ValueError, match=r"it takes hessian with optimizer.step\(\), and parameters are"
    ):
        rt.step_in_backward([p], Sophia([p]))
    with rt.step_in_backward([p], optimizer := rt.SGD([p], lr=0.1)):
        p.sum().backward()
        with pytest.raises(TypeError, match="it has none"):
            optimizer.step(hessian=[p])


def test_the_engine_says_which_steps_are_eager():
    @rule
    def turned(p, g, *, basis=signal(), lr=0.1):
        return p - lr * (g if basis is None else qr(basis)[0] @ g)

    ps = params((3, 3))
    made = rt.optimizer(turned)
    assert made(ps).engine.startswith(
        "eager: at steps with basis, rule 'turned' has no CPU kernel: it uses"
    )
    with pytest.raises(RuleError, match="engine='kernel' is not possible"):
        made(ps, engine="kernel")
    optimizer = made(ps)
    give(ps, 0)
    before = ps[0].detach().clone()
    basis = torch.randn(3, 3, dtype=torch.float64)
    optimizer.step(basis=[basis])
    torch.testing.assert_close(
        ps[0].detach(), before - 0.1 * torch.linalg.qr(basis)[0] @ ps[0].grad
    )


def test_gradient_norms_and_modifiers():
    @modifier
    def trusting(step, p, g, *, trust=signal(scalar)):
        u = p - step(p, g)
        return p - (u if trust is None else trust * u)

    made = rt.optimizer(trusting(polyak))
    ps = params()
    optimizer = made(ps, grad_norm=True)
    give(ps, 0)
    optimizer.step(loss=1.0, trust=0.5)
    norm = torch.cat([p.grad.flatten() for p in ps]).norm()
    assert optimizer.last_grad_norm == pytest.approx(norm.item())
    qs = params()
    give(qs, 0)
    for p, q in zip(ps, qs, strict=True):
        torch.testing.assert_close(p.detach(), q.detach() - 0.5 / norm**2 * q.grad)


def test_evaluation_and_weights_beside():
    made = decoupled_decay(both)
    ps = params((4,))
    optimizer = rt.optimizer(made)(ps, weight_decay=0.1)
    for t in range(4):
        left = give(ps, t)
        optimizer.step(left=left if t == 2 else None, right=1.0 if t == 3 else None)
        with optimizer.evaluating():
            pass
    state = optimizer.state[ps[0]]
    assert torch.equal(state["a"], give(ps, 2)[0])
    give(ps, 3)
    assert torch.equal(state["b"], ps[0].grad)
