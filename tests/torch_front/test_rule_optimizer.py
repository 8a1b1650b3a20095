"""What Ravine's optimizers do beyond torch.optim's, and odd tensors."""

import inspect
import math
import warnings
from itertools import pairwise

import pytest
import torch
from cases import REGISTERED, cautious, clip_by_global_norm, error

import ravine.torch as rt
from ravine import RuleError, rules
from ravine.ops import matmul


def leaf(*shape, dtype=torch.float32, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()


def take(stepper, params, steps=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(p.shape, generator=draw, dtype=torch.float64).to(p.dtype)
        stepper.step()


# --- state_dtype


@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_the_state_has_the_dtype_that_is_asked_for(engine):
    p, q = leaf(300), leaf(300)
    half = rt.Adam([p], state_dtype=torch.bfloat16, engine=engine)
    full = rt.Adam([q], engine=engine)
    take(half, [p])
    take(full, [q])
    state = half.state[p]
    assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == torch.bfloat16
    assert p.dtype == torch.float32
    assert 0 < error(p, q) < 1e-2
    assert half.engine.startswith(engine)


def test_half_precision_states_are_computed_in_float32_by_both_engines():
    results = []
    for engine in ("kernel", "eager"):
        p = leaf(300)
        take(rt.Adam([p], state_dtype=torch.bfloat16, engine=engine), [p], 20)
        results.append(p)
    # They agree to float32's rounding, now and then to bfloat16's of a moment.
    assert error(*results) < 1e-4
    assert (results[0] - results[1]).abs().median() < 1e-7


def test_numbers_in_the_state_stay_in_full():
    p = leaf(3)
    stepper = rt.NAdam([p], state_dtype=torch.bfloat16)
    take(stepper, [p], 1)
    assert stepper.state[p]["mu_product"].dtype is torch.float64


# --- stochastic rounding


def stochastic(seed, steps=5, dtype=torch.bfloat16):
    p = leaf(3000, dtype=dtype)
    take(rt.SGD([p], lr=1e-3, stochastic_rounding=seed), [p], steps)
    return p.detach()


def test_stochastic_rounding_follows_its_seed():
    assert torch.equal(stochastic(1), stochastic(1))
    assert not torch.equal(stochastic(1), stochastic(2))
    torch.manual_seed(7)
    drawn = stochastic(True)
    torch.manual_seed(7)
    assert torch.equal(stochastic(True), drawn)
    torch.manual_seed(8)
    assert not torch.equal(stochastic(True), drawn)


@pytest.mark.parametrize("seed", [0, 1, True])
def test_small_steps_add_up_where_rounding_to_the_nearest_loses_them(seed):
    torch.manual_seed(0)
    results = []
    for how in ({}, {"stochastic_rounding": seed}):
        p = torch.ones(2000, dtype=torch.bfloat16, requires_grad=True)
        stepper = rt.SGD([p], lr=1e-3, **how)
        for _ in range(100):
            p.grad = torch.ones_like(p)
            stepper.step()
        results.append(p.double().mean().item())
    assert results[0] == 1.0
    assert results[1] == pytest.approx(0.9, abs=2e-3)


def test_stochastic_rounding_needs_kernels():
    with pytest.raises(ValueError, match="stochastic_rounding needs kernels; engine='eager'"):
        rt.SGD([leaf(3)], stochastic_rounding=True, engine="eager")
    p = torch.zeros(4, 4)[:, ::2].requires_grad_()
    p.grad = torch.ones(4, 2)
    with pytest.raises(RuleError, match="stochastic_rounding needs a kernel for every parameter"):
        rt.SGD([p], stochastic_rounding=3).step()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (
            {"stochastic_rounding": 0.5},
            "stochastic_rounding=0.5 is invalid; it must be True, False",
        ),
        ({"state_dtype": torch.int32}, "state_dtype=torch.int32 is invalid"),
        ({"state_dtype": "bfloat16"}, "state_dtype='bfloat16' is invalid"),
    ],
)
def test_unusable_keywords_are_refused(how, words):
    with pytest.raises(ValueError, match=words):
        rt.Adam([leaf(3)], **how)


def test_a_misspelt_keyword_suggests_the_nearest():
    with pytest.raises(
        TypeError, match="unexpected keyword 'state_dtpe'; did you mean 'state_dtype'"
    ):
        rt.Adam([leaf(3)], state_dtpe=torch.bfloat16)


# --- the gradient norm


@pytest.mark.parametrize("rule", [*REGISTERED, clip_by_global_norm(rules.adam, max_norm=0.1)])
def test_the_gradient_norm_comes_with_the_step(rule):
    params = [leaf(30, 7), leaf(9000), leaf(1)]
    stepper = rt.optimizer(rule)(params, grad_norm=True)
    if stepper.engine != "kernel":
        pytest.skip(stepper.engine)
    for seed in range(3):
        take(stepper, params, 1, seed)
        want = math.sqrt(sum(p.grad.double().square().sum().item() for p in params))
        assert stepper.last_grad_norm == pytest.approx(want, rel=1e-7)  # squared in float32


def test_the_gradient_norm_changes_no_bit_and_adds_no_pass():
    from ravine.engines.cpu import kernel
    from ravine.engines.eager import plan
    from ravine.engines.passes import passes

    results = []
    for keep in (False, True):
        p = leaf(9000)
        take(rt.Adam([p], grad_norm=keep), [p])
        results.append(p)
        graph = plan(rules.adam, rules.adam.check())
        walks = passes(kernel(graph, keep), ("float32",) * 4)
        assert [(list(w.loads), list(w.stores)) for w in walks] == [
            (["p", "g", "m", "v"], ["p", "m", "v"])
        ]
    assert torch.equal(*results)


def test_where_there_is_no_norm_it_is_said():
    p = leaf(3)
    with pytest.raises(RuntimeError, match=r"last_grad_norm needs Adam\(\.\.\., grad_norm=True\)"):
        _ = rt.Adam([p]).last_grad_norm
    with pytest.raises(RuntimeError, match="no step has been taken"):
        _ = rt.Adam([p], grad_norm=True).last_grad_norm


def test_eager_tensors_count_in_the_norm():
    params = [leaf(5), torch.zeros(4, 4)[:, ::2].requires_grad_()]
    for engine in ("auto", "eager"):
        stepper = rt.Adam(params, grad_norm=True, engine=engine)
        take(stepper, params, 2)
        want = math.sqrt(sum(p.grad.double().square().sum().item() for p in params))
        assert stepper.last_grad_norm == pytest.approx(want, rel=1e-6)


# --- AMP and accumulation: the scale is divided out on the way


@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_the_gradient_is_divided_by_grad_scale(engine):
    p, q = leaf(5, dtype=torch.float64), leaf(5, dtype=torch.float64)
    scaled, plain = rt.Adam([p], engine=engine), torch.optim.Adam([q])
    for step in range(4):
        g = torch.randn(5, dtype=torch.float64)
        p.grad, q.grad = g * 4, g.clone()
        if step == 2:
            p.grad = g.clone()  # the scale comes and goes
            scaled.__dict__.pop("grad_scale")
        else:
            scaled.grad_scale = 4.0 if step else torch.tensor(4.0)
        scaled.step()
        plain.step()
        assert error(p, q) <= 1e-14
        assert torch.equal(p.grad, g * (1 if step == 2 else 4))


def test_no_step_is_taken_where_infinity_was_found():
    p = leaf(3)
    stepper = rt.Adam([p])
    p.grad = torch.ones(3)
    stepper.found_inf = torch.tensor(1.0)
    before = p.detach().clone()
    stepper.step()
    assert torch.equal(p, before)
    assert not stepper.state
    stepper.found_inf = torch.tensor(0.0)
    stepper.step()
    assert not torch.equal(p, before)


@pytest.mark.parametrize("fused", [None, True])
def test_grad_scaler_and_autocast_as_with_torch(fused):
    """Fused, the scaler leaves it to the step to divide by the scale."""
    results = []
    for module in (rt, torch.optim):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        stepper = module.AdamW(model.parameters(), lr=0.1, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=2)
        scales = []
        for step in range(12):
            stepper.zero_grad()
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(x).square().mean() * (1e30 if step == 3 else 1.0)
            scaler.scale(loss).backward()
            if step % 2:
                scaler.unscale_(stepper)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(stepper)
            scaler.update()
            scales.append(scaler.get_scale())
        results.append((scales, [p.detach() for p in model.parameters()]))
    (scales, ours), (others, theirs) = results
    assert scales == others
    assert any(b < a for a, b in pairwise(scales))  # a step was skipped
    for p, q in zip(ours, theirs, strict=True):
        assert error(p, q) <= 1e-5


# --- complex and sparse


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_complex_parameters_are_pairs_of_real_ones(name, engine):
    results = []
    for module, how in ((rt, {"engine": engine}), (torch.optim, {})):
        p = torch.complex(leaf(3, 2, dtype=torch.float64), leaf(3, 2, dtype=torch.float64, seed=1))
        p = p.detach().requires_grad_()
        stepper = getattr(module, name)([p], lr=0.1, weight_decay=0.1, **how)
        for step in range(10):
            p.grad = torch.randn(
                3, 2, dtype=torch.complex128, generator=torch.Generator().manual_seed(step)
            )
            stepper.step()
        if how:
            assert stepper.engine.startswith(engine)
            slots = {k: x for k, x in stepper.state[p].items() if k != "step"}
            assert all(x.dtype == torch.complex128 for x in slots.values())
        results.append(torch.view_as_real(p.detach()))
    assert error(*results) <= 1e-13


def test_a_complex_state_cannot_be_kept_in_a_real_dtype():
    p = torch.ones(2, dtype=torch.complex64, requires_grad=True)
    p.grad = torch.ones_like(p)
    with pytest.raises(
        ValueError, match=r"state_dtype=torch\.bfloat16 is not supported with complex"
    ):
        rt.Adam([p], state_dtype=torch.bfloat16).step()


def sparse(rows, values, shape):
    return torch.sparse_coo_tensor([rows], values, shape, check_invariants=True)


@pytest.mark.parametrize("made", REGISTERED, ids=lambda r: r.name)
def test_a_sparse_gradient_steps_the_rows_it_touches(made):
    """As if those rows alone were the parameter; the others, and their state, are left alone."""
    p = leaf(6, 2, dtype=torch.float64)
    stepper = rt.optimizer(made)([p])
    values = torch.tensor([[1.0, -2.0], [0.5, 3.0], [1.0, 1.0]], dtype=torch.float64)
    before = p.detach().clone()
    p.grad = sparse([4, 1, 4], values, (6, 2))
    from ravine.engines.eager import plan

    graph = plan(made, made.check())
    if not graph.pointwise:
        with pytest.raises(RuntimeError, match=r"sparse, and .* looks at whole tensors"):
            stepper.step()
        return
    grad = p.grad
    stepper.step()
    assert p.grad is grad
    touched = torch.tensor([1, 4])
    g = torch.stack([values[1], values[0] + values[2]])
    hyper = made.check()
    want, state = made.update(before[touched], g, made.init(before[touched], **hyper), 1, **hyper)
    assert error(p[touched], want) <= 1e-15
    for slot, value in zip(made.slots, state, strict=True):
        if slot in graph.live and made.slots[slot].kind != "scalar":
            assert error(stepper.state[p][slot][touched], value) <= 1e-15
    others = torch.tensor([0, 2, 3, 5])
    assert torch.equal(p[others], before[others])


def test_an_embedding_with_sparse_gradients_trains_as_with_dense_ones():
    """Plain SGD moves untouched rows by nothing."""
    results = []
    for is_sparse in (True, False):
        torch.manual_seed(0)
        table = torch.nn.Embedding(10, 3, sparse=is_sparse, dtype=torch.float64)
        stepper = rt.SGD(table.parameters(), lr=0.1)
        for step in range(5):
            stepper.zero_grad()
            table(torch.tensor([step, 2, step])).square().sum().backward()
            stepper.step()
        results.append(table.weight)
    assert error(*results) <= 1e-14


def test_reductions_refuse_sparse_gradients():
    p = leaf(3)
    p.grad = sparse([0], [1.0], (3,))
    with pytest.raises(
        RuntimeError, match=r"sparse, and 'cautious\(adam\)' looks at whole tensors"
    ):
        rt.optimizer(cautious(rules.adam))([p]).step()


# --- differentiable


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (rt.SGD, {"momentum": 0.9}),
        (rt.Adam, {"weight_decay": 0.1}),
        (rt.AdamW, {"amsgrad": True}),
        (rt.RMSprop, {"momentum": 0.9}),
    ],
)
def test_the_loss_can_be_differentiated_by_the_learning_rate(cls, options):
    def loss(lr):
        start = leaf(3, dtype=torch.float64)
        p = start.clone()
        stepper = cls([p], lr=lr, differentiable=True, **options)
        for _ in range(4):
            q = p.clone()  # p itself changes in place
            p.grad = torch.autograd.grad((q**2 * (1 + q)).sum(), q, create_graph=True)[0]
            stepper.step()
        assert stepper.engine == "eager: differentiable"
        return (p**3).sum()

    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(loss(lr), lr)
    h = 1e-6
    with torch.enable_grad():
        numeric = (loss(lr.detach() + h) - loss(lr.detach() - h)) / (2 * h)
    assert slope.item() == pytest.approx(numeric.item(), rel=1e-6)


@pytest.mark.parametrize("how", [{"engine": "kernel"}, {"stochastic_rounding": 1}])
def test_autograd_cannot_see_through_kernels(how):
    with pytest.raises(ValueError, match="differentiable=True needs engine='eager' or 'auto'"):
        rt.Adam([leaf(3)], differentiable=True, **how)


# --- hooks, the profiler, compilation


def test_step_is_not_wrapped_again_and_hooks_are_still_called():
    p = leaf(3)
    stepper = rt.Adam([p])
    assert type(stepper).step is rt.RuleOptimizer.step
    seen = []
    stepper.register_step_pre_hook(lambda *_: seen.append("before"))
    stepper.register_step_post_hook(lambda *_: seen.append("after"))
    take(stepper, [p], 2)
    assert seen == ["before", "after"] * 2


def test_the_profiler_sees_the_step():
    p = leaf(3)
    stepper = rt.Adam([p])
    take(stepper, [p], 1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        stepper.step()
    assert "Optimizer.step#Adam.step" in {event.key for event in profile.key_averages()}


def test_a_compiled_step_is_the_same_step():
    results = []
    for compiled in (True, False):
        p = leaf(7)
        stepper = rt.Adam([p])
        step = torch.compile(stepper.step, backend="eager") if compiled else stepper.step
        for seed in range(3):
            p.grad = torch.randn(7, generator=torch.Generator().manual_seed(seed))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                step()
        results.append(p)
    assert torch.equal(*results)
    assert stepper.state[p]["step"] == 3


# --- a different rule for each group


def test_groups_name_their_rules():
    params = [
        leaf(4, 3, dtype=torch.float64),
        leaf(4, dtype=torch.float64, seed=1),
        leaf(2, seed=2),
    ]
    copies = [p.detach().clone().requires_grad_() for p in params]
    mixed = rt.Mixed(
        [
            {"params": params[:1], "rule": "SGD", "lr": 0.1, "momentum": 0.9},
            {"params": params[1:2], "rule": "AdamW", "betas": (0.8, 0.9)},
            {"params": params[2:], "rule": "rmsprop", "lr": 0.02},
        ]
    )
    apart = [
        torch.optim.SGD(copies[:1], lr=0.1, momentum=0.9),
        torch.optim.AdamW(copies[1:2], betas=(0.8, 0.9)),
        torch.optim.RMSprop(copies[2:], lr=0.02),
    ]
    schedule = torch.optim.lr_scheduler.StepLR(mixed, 2)
    others = [torch.optim.lr_scheduler.StepLR(o, 2) for o in apart]
    assert mixed.engine == "kernel"
    for seed in range(6):
        for p, q in zip(params, copies, strict=True):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)).to(p)
            q.grad = p.grad.clone()
        mixed.step()
        schedule.step()
        for o, s in zip(apart, others, strict=True):
            o.step()
            s.step()
    for p, q in zip(params, copies, strict=True):
        assert error(p, q) <= (1e-13 if p.dtype == torch.float64 else 1e-6)
    assert mixed._bound.repeatable
    assert mixed.param_groups[1]["eps"] == 1e-8


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({}, 'a param group names its rule, as {"params"'),
        ({"rule": "Admaw"}, "rule='Admaw' is invalid; did you mean 'AdamW'"),
        ({"rule": 3}, "rule=3 is invalid"),
        ({"rule": "optimizer"}, "rule='optimizer' is invalid"),
        ({"rule": "AdamW", "momentum": 0.9}, "'AdamW' has no option 'momentum'"),
        ({"rule": "SGD", "lr": -1.0}, "SGD: lr=-1.0 is invalid"),
    ],
)
def test_a_group_without_a_usable_rule_is_refused(group, words):
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        rt.Mixed([{"params": [leaf(3)], **group}])


def test_a_rule_of_matrices_beside_others():
    def turned(p, g, *, lr=0.1):
        return p - lr * matmul(g, g)

    params = [leaf(3, 3), leaf(3)]
    stepper = rt.optimizer(turned)(params[:1])
    take(stepper, params[:1], 1)
    assert "eager" in stepper.engine


# --- refused at once, as by torch


def test_the_defaults_are_checked_before_the_parameters_and_where_no_group_uses_them():
    for module in (rt, torch.optim):
        for params in (None, [{"params": [leaf(3)], "lr": 0.1, "betas": (0.9, 0.99)}]):
            with pytest.raises(ValueError, match=r"lr|learning rate"):
                module.Adam(params, lr=-1.0)
            with pytest.raises(ValueError, match="beta"):
                module.Adam(params, betas=(1.0, 0.9))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_fused_on_the_meta_device_is_refused_as_by_torch(name):
    for module in (rt, torch.optim):
        p = torch.nn.Parameter(torch.ones(2, 3, device="meta"))
        p.grad = torch.ones_like(p)
        stepper = getattr(module, name)([p], fused=True)
        with pytest.raises(RuntimeError, match=r"fused=True.*(meta|floating point)"):
            stepper.step()
        getattr(module, name)([p]).step()


def test_a_subclass_has_the_signature_of_its_own_constructor():
    class Warm(rt.optimizer("adamw")):
        def __init__(self, params, warmth=0.5):
            super().__init__(params, lr=warmth * 1e-3)

    class Plain(Warm): ...

    for made in (Warm, Plain):
        assert [*inspect.signature(made).parameters] == ["params", "warmth"]
    assert "beta1" in inspect.signature(rt.optimizer("adamw")).parameters
