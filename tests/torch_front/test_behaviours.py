"""Each behaviour of torch.optim's optimizers, compared with Ravine's.

docs/torch-compatibility.md is the table of these behaviours; each of its rows names the tests, here or
elsewhere, that show it.
"""

import ast
import copy
import inspect
import math
import pickle
import re
import warnings
from pathlib import Path

import pytest
import torch
from cases import default_dtype, error, gradients
from installed import CLASSES, differentiates, lacks
from torch.optim import lr_scheduler, swa_utils
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

import ravine.torch as rt

ROOT = Path(__file__).parents[2]
MODULES = (rt, torch.optim)
DENSE = [n for n in CLASSES if n != "SparseAdam"]
POINTWISE = [n for n in DENSE if n not in ("Adafactor", "Muon")]
SHAPES = [(4, 3), (2, 5)]


def leaf(*shape, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()


def set_gradients(params, t):
    for i, p in enumerate(params):
        p.grad = torch.tensor(gradients(tuple(p.shape), 1, 1000 * t + i)[0]).to(p.dtype)


def take(stepper, params, steps=20, after=lambda: None):
    for t in range(steps):
        set_gradients(params, t)
        with default_dtype(torch.float64):
            stepper.step()
            after()


def worst(ours, theirs):
    return max(error(a, b) for a, b in zip(ours, theirs, strict=True))


# --- making one


@pytest.mark.parametrize("name", CLASSES)
def test_signatures_defaults_and_groups_are_torchs(name):
    ours, theirs = (inspect.signature(getattr(m, name)) for m in MODULES)
    *parameters, how = ours.parameters.values()
    assert how.kind is how.VAR_KEYWORD
    newer = lacks(name)
    assert [(p.name, p.default, p.kind) for p in parameters if p.name not in newer] == [
        (p.name, p.default, p.kind) for p in theirs.parameters.values()
    ]
    ours, theirs = (getattr(m, name)([leaf(2, 2)]) for m in MODULES)
    shared = {k: v for k, v in ours.defaults.items() if k not in newer}
    assert {**theirs.defaults, **shared} == theirs.defaults
    # torch's AdamW says of itself that it decouples; what that is called is an option of Adam.
    assert theirs.defaults.keys() - ours.defaults.keys() <= {"decoupled_weight_decay"}
    group = {k: v for k, v in ours.param_groups[0].items() if k != "params"}
    assert group == ours.defaults


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_says_what_each_argument_is(name):
    cls = getattr(rt, name)
    said = re.findall(r"[a-z]\w*", cls.__doc__) + re.findall(r"[a-z]\w*", how_to_step())
    missing = [k for k in inspect.signature(cls).parameters if k not in {*said, "params", "how"}]
    assert missing == []


def how_to_step():
    from ravine.torch.checks import How

    return How.__doc__


def test_names_of_parameters_are_kept():
    model = torch.nn.Linear(2, 1)
    for m in MODULES:
        stepper = m.Adam(model.named_parameters())
        assert stepper.param_groups[0]["param_names"] == ["weight", "bias"]
        assert stepper.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_the_groups_passed_in_are_left_as_they_are():
    """torch writes its defaults into them, and keeps them."""
    group = {"params": [leaf(2)], "lr": 0.1}
    stepper = rt.SGD([group])
    assert group.keys() == {"params", "lr"}
    group["lr"] = 3.0
    assert stepper.param_groups[0]["lr"] == 0.1
    torch.optim.SGD([group])
    assert "momentum" in group


def test_options_that_no_rule_has_are_kept_in_groups():
    """Such as names, and the initial_lr of schedulers."""
    for m in MODULES:
        stepper = m.SGD([{"params": [leaf(2)], "name": "backbone", "initial_lr": 0.5}])
        assert stepper.param_groups[0]["name"] == "backbone"
        lr_scheduler.StepLR(stepper, 10, last_epoch=3)


def test_a_repr_shows_torchs_lines_and_the_engine():
    ours, theirs = (
        m.Adam([{"params": [leaf(2)]}, {"params": [leaf(3)], "lr": 0.1}]) for m in MODULES
    )
    shown = [x for x in repr(ours).splitlines() if x.strip().split(":")[0] not in lacks("Adam")]
    assert shown == [*repr(theirs).splitlines(), "engine: kernel"]


def test_a_class_can_be_subclassed():
    class Halved(rt.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["lr"] /= 2
            return super().step(closure)

    p = torch.zeros(2, requires_grad=True)
    stepper = Halved([p], lr=1.0)
    p.grad = torch.ones(2)
    stepper.step()
    assert p.tolist() == [-0.5, -0.5]


# --- taking a step


def test_a_step_without_gradients_does_nothing():
    for m in MODULES:
        p = leaf(2)
        stepper = m.Adam([p])
        before = p.detach().clone()
        assert stepper.step() is None
        assert torch.equal(p, before)
        assert not stepper.state


def test_zero_grad_drops_gradients_or_fills_them_with_zeros():
    for m in MODULES:
        p = leaf(2)
        stepper = m.SGD([p])
        p.grad = g = torch.ones_like(p)
        stepper.zero_grad(set_to_none=False)
        assert p.grad is g
        assert g.tolist() == [0, 0]
        stepper.zero_grad()
        assert p.grad is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_a_step_under_any_grad_mode(mode):
    for engine in ("kernel", "eager"):
        results = []
        for m, how in ((rt, {"engine": engine}), (torch.optim, {})):
            p = leaf(3)
            stepper = m.Adam([p], lr=0.1, **how)
            for _ in range(3):
                p.grad = torch.ones_like(p)
                with mode():
                    stepper.step()
            assert p.requires_grad
            assert p.is_leaf
            results.append(p)
        assert error(*results) <= 1e-13


def test_hooks_of_one_and_of_all_optimizers_are_called_in_torchs_order():
    logs = []
    for m in MODULES:
        p, log = leaf(2), []
        stepper = m.SGD([p])
        p.grad = torch.ones_like(p)
        say = lambda word, log=log: lambda *_: log.append(word)  # noqa: E731
        handles = [
            stepper.register_step_pre_hook(say("before")),
            stepper.register_step_post_hook(say("after")),
            register_optimizer_step_pre_hook(say("before all")),
            register_optimizer_step_post_hook(say("after all")),
        ]
        stepper.step(lambda log=log: log.append("closure"))
        for handle in handles:
            handle.remove()
        stepper.step(lambda log=log: log.append("alone"))
        logs.append(log)
    assert logs[0] == logs[1]
    assert logs[0][-1] == "alone"
    assert len(logs[0]) == 6


def test_a_hook_may_replace_the_arguments():
    for m in MODULES:
        stepper = m.SGD([leaf(2)])
        stepper.register_step_pre_hook(lambda self, *_: ((self, lambda: 7.0), {}))
        assert stepper.step(lambda: 3.0) == 7.0
        stepper.register_step_pre_hook(lambda *_: 3)
        with pytest.raises(RuntimeError, match="must return None or a tuple"):
            stepper.step()


def test_hooks_of_state_dicts_are_called():
    for m in MODULES:
        p, seen = leaf(2), []
        stepper = m.Adam([p])
        stepper.register_state_dict_pre_hook(lambda *_, s=seen: s.append("saving"))
        stepper.register_state_dict_post_hook(
            lambda _, d, s=seen: s.append("saved") or {**d, "x": 1}
        )
        stepper.register_load_state_dict_pre_hook(
            lambda _, d, s=seen: s.append("loading") or {k: d[k] for k in ("state", "param_groups")}
        )
        stepper.register_load_state_dict_post_hook(lambda *_, s=seen: s.append("loaded"))
        saved = stepper.state_dict()
        assert saved["x"] == 1
        stepper.load_state_dict(saved)
        assert seen == ["saving", "saved", "loading", "loaded"]


@pytest.mark.parametrize("name", [n for n in DENSE if n != "Rprop"])
def test_infinite_gradients_spoil_what_they_spoil_in_torch(name):
    for value in (torch.nan, torch.inf, -torch.inf):
        for engine in ("kernel", "eager") if name in POINTWISE else ("eager",):
            ours, theirs = (spoilt(m, name, value, engine) for m in MODULES)
            assert not theirs.isfinite().all()
            assert torch.equal(ours.isfinite(), theirs.isfinite()), (value, engine)
            good = theirs.isfinite()
            assert torch.allclose(ours[good], theirs[good], rtol=1e-6), (value, engine)


def spoilt(module, name, value, engine="auto"):
    """A parameter after a few steps, in one of which an element's gradient is that value."""
    p = leaf(4, 3)
    stepper = getattr(module, name)([p], **({"engine": engine} if module is rt else {}))
    for t in range(4):
        set_gradients([p], t)
        if t == 2:
            p.grad[1, 1] = value
        stepper.step()
    return p.detach()


def test_rprop_shows_a_nan_that_torch_overlooks():
    """torch has sign(nan) = 0, and rests for a step."""
    assert spoilt(torch.optim, "Rprop", torch.nan).isfinite().all()
    for engine in ("kernel", "eager"):
        ours = spoilt(rt, "Rprop", torch.nan, engine)
        assert ours.isnan().nonzero().tolist() == [[1, 1]]
        for value in (torch.inf, -torch.inf):
            theirs = spoilt(torch.optim, "Rprop", value)
            assert error(spoilt(rt, "Rprop", value, engine), theirs) <= 1e-12


# --- tensors of all kinds


def shaped(kind):
    torch.manual_seed(0)
    if kind == "0-d":
        return torch.randn((), dtype=torch.float64)
    if kind == "empty":
        return torch.randn(0, 3, dtype=torch.float64)
    if kind == "one element":
        return torch.randn(1, dtype=torch.float64)
    if kind == "transposed":
        return torch.randn(3, 4, dtype=torch.float64).t()
    if kind == "strided":
        return torch.randn(4, 6, dtype=torch.float64)[:, ::2]
    if kind == "expanded gradient":
        return torch.randn(4, 3, dtype=torch.float64)
    if kind == "channels last":
        return torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=torch.channels_last)
    return torch.randn(2, 3, 4, 5, 6, dtype=torch.float64).to(memory_format=torch.channels_last_3d)


KINDS = ["0-d", "empty", "one element", "transposed", "strided", "expanded gradient"]
KINDS += ["channels last", "channels last 3d"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [n for n in DENSE if n != "Muon"])
def test_tensors_of_every_layout_are_stepped_as_in_torch(name, kind):
    ours, theirs = (
        stepped(m, name, kind) for m in (rt, rt if (name, kind) == REFUSED else torch.optim)
    )
    assert error(ours, theirs) <= 1e-12


REFUSED = ("Adafactor", "empty")  # by torch: it divides by 0


def stepped(module, name, kind):
    p = shaped(kind).requires_grad_()
    stepper, strides = getattr(module, name)([p]), p.stride()
    for t in range(8):
        g = torch.tensor(gradients(tuple(p.shape), 1, t)[0])
        p.grad = torch.empty_like(p).copy_(g) if t % 2 else g  # laid out as p, or contiguous
        if kind == "expanded gradient":
            p.grad = torch.tensor(1.0 - t, dtype=torch.float64).expand(4, 3)
        with default_dtype(torch.float64):
            stepper.step()
    assert p.stride() == strides
    return p


def test_parameters_of_several_dtypes_in_one_optimizer():
    results = []
    for m in MODULES:
        params = [leaf(3, dtype=d) for d in (torch.float64, torch.float32, torch.bfloat16)]
        take(m.AdamW(params, lr=0.1), params)
        results.append(params)
    for ours, theirs, bound in zip(*results, (1e-12, 1e-5, 1e-1), strict=True):
        assert ours.dtype == theirs.dtype
        assert error(ours.double(), theirs.double()) <= bound


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "NAdam"])
def test_half_precision_steps_are_nearer_to_the_exact_ones_than_torchs(name, dtype):
    """Computed in float32 and rounded once, where torch's eager loops round every operation."""
    off = []
    for m, flags in ((rt, {}), (torch.optim, {"foreach": False})):
        p, q = leaf(500, dtype=dtype), leaf(500, dtype=dtype).detach().double().requires_grad_()
        half, exact = (
            getattr(mod, name)([x], lr=0.01, **o)
            for mod, x, o in ((m, p, flags), (torch.optim, q, {}))
        )
        set_gradients([p], 0)
        q.grad = p.grad.double()
        half.step()
        exact.step()
        off.append((p.double() - q).abs().mean().item())
    ours, theirs = off
    assert ours <= theirs or math.isnan(theirs)  # where torch's eps is 0 in float16


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("name", POINTWISE)
def test_complex_parameters_are_stepped_as_in_torch(name, engine):
    results = []
    for m, how in ((rt, {"engine": engine}), (torch.optim, {})):
        p = torch.complex(leaf(3, 2), leaf(3, 2, seed=1)).detach().requires_grad_()
        stepper = getattr(m, name)([p], **how)
        for t in range(20):
            re_, im = gradients((2, 3, 2), 1, t)[0]
            p.grad = torch.complex(torch.tensor(re_), torch.tensor(im))
            with default_dtype(torch.float64):
                stepper.step()
        results.append(torch.view_as_real(p.detach()))
    assert error(*results) <= 1e-12


@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_conjugates_and_negatives_that_are_flags_only(engine):
    """Autograd hands out the first; torch's Adam refuses them, its SGD does not."""
    p, q = (torch.complex(leaf(3), leaf(3, seed=1)).detach().requires_grad_() for _ in range(2))
    ours, theirs = rt.SGD([p], lr=0.1, engine=engine), torch.optim.SGD([q], lr=0.1)
    for _ in range(3):
        for stepper, x in ((ours, p), (theirs, q)):
            x.grad = None
            (x.conj() * (1 + 2j)).real.sum().backward()
            assert x.grad.is_conj()
            stepper.step()
        assert error(torch.view_as_real(p.detach()), torch.view_as_real(q.detach())) <= 1e-14
    x, y = leaf(3), leaf(3)
    ours, theirs = (
        rt.SGD([x], lr=0.1, engine=engine if engine == "eager" else "auto"),
        torch.optim.SGD([y], lr=0.1),
    )
    for negated in (False, True, True, False):
        x.grad = y.grad = torch._neg_view(torch.ones_like(x)) if negated else torch.ones_like(x)
        ours.step()
        theirs.step()
        assert error(x, y) <= 1e-14
    with pytest.raises(ValueError, match="lazily conjugated or negated view"):
        rt.SGD([torch.nn.Parameter(p.detach().conj())])


@pytest.mark.skipif(not differentiates(), reason="the installed torch's Adam cannot be")
def test_the_steps_of_complex_parameters_can_be_differentiated():
    slopes = []
    for m in MODULES:
        lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
        p = torch.complex(leaf(3), leaf(3, seed=1)).detach().requires_grad_().clone()
        stepper = m.Adam([p], lr=lr, differentiable=True)
        for _ in range(3):
            (p.grad,) = torch.autograd.grad(p.sum().abs() ** 2, p, create_graph=True)
            with default_dtype(torch.float64):
                stepper.step()
        slopes.append(torch.autograd.grad(p.sum().abs(), lr)[0].item())
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-12)


# --- sparse gradients


def sparse_gradient(t, coalesced, shape=(6, 3)):
    """Rows of a table; some of them twice unless coalesced."""
    draw = torch.Generator().manual_seed(t)
    rows = torch.randint(shape[0], (4,), generator=draw)
    values = torch.randn(4, *shape[1:], dtype=torch.float64, generator=draw)
    g = torch.sparse_coo_tensor(rows[None], values, shape, check_invariants=True)
    return g.coalesce() if coalesced else g


SPARSE = [("SparseAdam", {}), ("SparseAdam", {"betas": (0.5, 0.9), "maximize": True})]
SPARSE += [("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5}), ("SGD", {})]
SPARSE += [("SGD", {"maximize": True})]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's Adagrad
@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize(("name", "options"), SPARSE)
def test_sparse_gradients_step_as_in_torch(name, options, engine):
    for coalesced in (True, False):
        results = []
        for m, how in ((rt, {"engine": engine}), (torch.optim, {})):
            p = leaf(6, 3)
            stepper = getattr(m, name)([p], lr=0.1, **options, **how)
            for t in range(30):
                p.grad = sparse_gradient(t, coalesced)
                stepper.step()
            if how:
                assert stepper.engine == ("kernel" if engine == "kernel" else "eager: asked for")
            results.append(p)
        assert error(*results) <= 1e-12


def test_complex_sparse_gradients_and_empty_ones():
    for engine in ("kernel", "eager"):
        results = []
        for m, how in ((rt, {"engine": engine}), (torch.optim, {})):
            p = torch.complex(leaf(6, 3), leaf(6, 3, seed=1)).detach().requires_grad_()
            stepper = m.SGD([p], lr=0.1, **how)
            for t in range(4):
                g = sparse_gradient(t, True) * (1 + 2j)
                p.grad = g if t != 2 else torch.zeros_like(g)
                stepper.step()
            results.append(torch.view_as_real(p.detach()))
        assert error(*results) <= 1e-14


@pytest.mark.parametrize("name", [n for n in POINTWISE if n not in ("SGD", "Adagrad")])
def test_what_torch_refuses_of_sparse_gradients_steps_the_rows_that_have_one(name):
    p, q = leaf(6, 3), leaf(6, 3)
    before = p.detach().clone()
    for m in MODULES:
        stepper = getattr(m, name)([p if m is rt else q])
        (p if m is rt else q).grad = g = sparse_gradient(0, True)
        if m is torch.optim:
            with pytest.raises(RuntimeError, match="sparse"):
                stepper.step()
        else:
            stepper.step()
    touched = torch.zeros(6, dtype=torch.bool).index_fill(0, g.indices()[0], True)
    assert torch.equal(p[~touched], before[~touched])
    assert (p[touched] != before[touched]).all()


@pytest.mark.parametrize("name", ["Adafactor", "Muon"])
def test_rules_of_matrices_refuse_sparse_gradients(name):
    for m in [m for m in MODULES if hasattr(m, name)]:
        p = leaf(6, 3)
        p.grad = sparse_gradient(0, True)
        with pytest.raises(RuntimeError, match="sparse"):
            getattr(m, name)([p]).step()


def test_momentum_of_sparse_gradients_stays_in_the_rows():
    """torch's SGD keeps moving all rows that ever had a gradient."""
    moved = []
    for m in MODULES:
        p = leaf(6, 3)
        stepper = m.SGD([p], lr=0.1, momentum=0.9)
        for row in (1, 4):
            before = p.detach().clone()
            p.grad = torch.sparse_coo_tensor(
                [[row]], torch.ones(1, 3, dtype=torch.float64), (6, 3), check_invariants=True
            )
            stepper.step()
        moved.append((p != before).any(1).nonzero().flatten().tolist())
    assert moved == [[4], [1, 4]]


def test_sparse_adam_takes_dense_gradients_too():
    p, q = leaf(6, 3), leaf(6, 3)
    p.grad = q.grad = torch.ones_like(p)
    rt.SparseAdam([p]).step()
    assert (p != q).all()
    with pytest.raises(RuntimeError, match="does not support dense gradients"):
        torch.optim.SparseAdam([q]).step()


# --- state


def test_the_count_of_steps_is_a_tensor_as_torchs():
    p = leaf(2)
    p.grad = torch.ones_like(p)
    for m in MODULES:
        for dtype in (torch.float32, torch.float64):
            stepper = m.Adam([p])
            torch.set_default_dtype(dtype)
            try:
                stepper.step()
            finally:
                torch.set_default_dtype(torch.float32)
            count = stepper.state[p]["step"]
            assert (type(count), count.dtype, count.item()) == (torch.Tensor, dtype, 1)


def test_state_has_the_dtype_device_and_layout_of_its_parameter():
    for m in MODULES:
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            p = leaf(2, 3, 4, 5, dtype=dtype).detach().to(memory_format=torch.channels_last)
            p.requires_grad_()
            p.grad = torch.ones_like(p)
            stepper = m.Adam([p])
            stepper.step()
            for key in ("exp_avg", "exp_avg_sq"):
                slot = stepper.state[p][key]
                assert (slot.dtype, slot.stride(), slot.device) == (p.dtype, p.stride(), p.device)


def test_state_dicts_that_do_not_fit_are_refused():
    one, two = [leaf(2)], [leaf(2), leaf(3)]
    for m in MODULES:
        saved = m.SGD(one).state_dict()
        with pytest.raises(ValueError, match="group"):
            m.SGD(two).load_state_dict(saved)
        with pytest.raises(ValueError, match="group"):
            m.SGD([{"params": one}, {"params": [leaf(3)]}]).load_state_dict(saved)


@pytest.mark.parametrize("name", CLASSES)
def test_copies_and_pickles_step_on_their_own(name):
    p = leaf(4, 3)
    stepper = getattr(rt, name)([p])
    take(stepper, [p], 3)
    others = [copy.deepcopy(stepper), pickle.loads(pickle.dumps(stepper))]
    take(stepper, [p], 3)
    for other in others:
        (q,) = other.param_groups[0]["params"]
        assert type(other) is type(stepper)
        take(other, [q], 3)
        assert torch.equal(p, q)


# --- schedulers, averages


def warm_up(optimizer):
    return lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)


SCHEDULERS = {
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [warm_up(o), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 5),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 4),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: min(1, t / 5)),
    "LinearLR": warm_up,
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [3, 8], 0.5),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 25),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 15, 2),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [warm_up(o), lr_scheduler.StepLR(o, 3)], [5]
    ),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 4, 0.5),
    "SWALR": lambda o: swa_utils.SWALR(o, 0.2, anneal_epochs=5),
}


def test_every_scheduler_of_torchs_is_here():
    found = {k for k, x in vars(lr_scheduler).items() if inspect.isclass(x)}
    found = {k for k in found if issubclass(getattr(lr_scheduler, k), lr_scheduler.LRScheduler)}
    assert found - {"LRScheduler", "_LRScheduler"} <= SCHEDULERS.keys()


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # of torch's own SequentialLR, once
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_steers_as_in_torch(scheduler):
    def trained(m, name, options):
        params = [leaf(*s, seed=i) for i, s in enumerate(SHAPES)]
        groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.02}]
        stepper = getattr(m, name)(groups, **{"lr": 0.05, **options})
        schedule = SCHEDULERS[scheduler](stepper)
        after = (lambda: schedule.step(1.0)) if scheduler == "ReduceLROnPlateau" else schedule.step
        take(stepper, params, after=after)
        return params, [float(g["lr"]) for g in stepper.param_groups]

    choices = [
        ("SGD", {"momentum": 0.9}),
        ("Adam", {"weight_decay": 0.1}),
        ("NAdam", {}),
        ("Adagrad", {"lr": torch.tensor(0.05, dtype=torch.float64)}),
    ]
    for name, options in choices:
        if scheduler in ("CyclicLR", "OneCycleLR") and name == "Adagrad":
            continue  # they cycle a momentum, which it does not have
        (ours, lrs), (theirs, others) = (trained(m, name, copy.deepcopy(options)) for m in MODULES)
        assert lrs == others
        assert worst(ours, theirs) <= 1e-12, name


def test_a_scheduler_notices_steps_in_the_wrong_order():
    for m in MODULES:
        p = leaf(2)
        stepper = m.SGD([p])
        schedule = lr_scheduler.StepLR(stepper, 2)
        with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\)` before"):
            schedule.step()
        stepper = m.SGD([p])
        schedule = lr_scheduler.StepLR(stepper, 2)
        stepper.step()
        schedule.step()  # warnings are errors here


def test_a_tensor_lr_is_filled_in_place_by_schedulers():
    for m in MODULES:
        lr = torch.tensor(0.5, dtype=torch.float64)
        stepper = m.Adam([leaf(2)], lr=lr)
        schedule = lr_scheduler.ExponentialLR(stepper, 0.5)
        stepper.step()
        schedule.step()
        assert stepper.param_groups[0]["lr"] is lr
        assert lr == 0.25


def test_averages_of_models_follow():
    results = []
    for m in MODULES:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2, dtype=torch.float64)
        stepper = m.SGD(model.parameters(), lr=0.1, momentum=0.9)
        mean = swa_utils.AveragedModel(model)
        ema = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
        schedule = swa_utils.SWALR(stepper, 0.05, anneal_epochs=3)
        for _ in range(10):
            stepper.zero_grad()
            model(torch.ones(4, 3, dtype=torch.float64)).square().mean().backward()
            stepper.step()
            mean.update_parameters(model)
            ema.update_parameters(model)
            schedule.step()
        results.append([*mean.parameters(), *ema.parameters(), *model.parameters()])
    assert worst(*results) <= 1e-12


# --- around a training loop


def test_a_step_in_a_compiled_training_loop():
    """The step is taken outside of the graph that torch.compile makes of the rest."""
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1, dtype=torch.float64)
        stepper = rt.Adam(model.parameters(), lr=0.1)

        def train(x, model=model, stepper=stepper):
            stepper.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            stepper.step()
            return loss

        run = torch.compile(train, backend="eager") if compiled else train
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(3):
                run(torch.ones(4, 3, dtype=torch.float64))
        results.append([*model.parameters()])
    assert worst(*results) <= 1e-14


# --- the table

PAGE = ROOT / "docs/torch-compatibility.md"


def rows():
    """The cells of the page's tables of behaviours, without their heads."""
    for line in PAGE.read_text().partition("\n## Supported versions\n")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and set(line) - set("|:- ") and cells[0] != "behaviour":
            yield cells


def names_in(path):
    return {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_of_the_table_names_tests_that_exist_and_every_test_here_has_a_row():
    files = [ROOT / "tests/test_torch.py", *sorted((ROOT / "tests/torch_front").glob("test_*.py"))]
    known = {f"{path.stem}::{test}" for path in files for test in names_in(path)}
    named = set()
    for behaviour, _, ravines, tests in rows():
        assert behaviour
        assert ravines
        shown = re.findall(r"`(\w+::\w+)`", tests)
        assert shown, behaviour
        assert {*shown} <= known, behaviour
        named |= {*shown}
    here = {f"test_behaviours::{test}" for test in names_in(Path(__file__))}
    assert sorted(x for x in here - named if "_of_the_table_" not in x) == []
