"""Kernels in Triton's interpreter: they have the CPU kernel's bits."""

import os
from unittest import mock

import gpu
import numpy as np
import pytest
import torch
from cases import error
from engines import kernels
from engines.kernels import Kernel
from engines.test_triton_text import RULES

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("`make test-gpu` runs these", allow_module_level=True)
pytest.importorskip("triton")

import ravine.torch
from ravine import rule, rules
from ravine.engines import cpu, devices
from ravine.engines.devices import Place
from ravine.engines.eager import plan
from ravine.engines.lowering import lower
from ravine.engines.proof import proved
from ravine.engines.triton import engine, launching
from ravine.modifiers import clip_by_global_norm
from ravine.ops import abs, atan2, exp, floor, log, mean, round, sum, tanh, where

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:.* is never used:UserWarning"),
]

HERE = Place("cpu", 0)
TRITON = engine(HERE)
REDUCING = [r for r in RULES if any(plan(r, r.check()).uses(op) for op in ("sum", "mean", "total"))]
POINTWISE = [r for r in RULES if r not in REDUCING]
GROUPS = 6  # of rules: a test for each


def on_triton(kern, *tensors, **how):
    return TRITON.step(kern, *tensors, **how)


def stepped(step, made, ps, path, stochastic=False, groups=None, **hyper):
    """Parameters and state after some steps by one of the engines."""
    with mock.patch.object(kernels, "Step", step):
        kernel = Kernel(made, [p.clone() for p in ps], groups, stochastic, **hyper)
        for name, signal in made.signals.items():  # which the kernel takes as it does state
            kernel.hyper[name] = 0.3
            if not signal.scalar:
                for p, state in zip(ps, kernel.state, strict=True):
                    state[name] = p.abs() + 0.1
        for noise, grads in enumerate(path):
            kernel.step(grads, noise=noise)
    return [kernel.ps, *([s[k] for s in kernel.state] for k in sorted(kernel.state[0]))]


def tensors(dtype, sizes=(1100, 3), steps=2):
    """A block and a part of one; and a part alone, at an odd address."""
    torch.manual_seed(0)
    ps, *path = [
        [
            torch.randn(n + 1, dtype=torch.float64).to(getattr(torch, dtype))[n % 2 :][:n]
            for n in sizes
        ]
        for _ in range(1 + steps)
    ]
    return ps, path


def both(made, dtype, *given, **how):
    ps, path = given or tensors(dtype)
    if cpu.kernel(plan(made, made.check())).by_lines:
        ps, *path = [[x.view(-1, 1) for x in its] for its in (ps, *path)]
    return [stepped(step, made, ps, path, **how) for step in (cpu.Step, on_triton)]


def same(x, y):
    x, y = (torch.as_tensor(a) for a in (x, y))
    whole = {8: torch.int64, 4: torch.int32, 2: torch.int16}[x.element_size()]
    alike = (x.view(whole) == y.view(whole)) | (x.isnan() & y.isnan())
    return bool(alike.all())


def differing(made, *given, **how):
    cpus, its = both(made, *given, **how)
    return [i for i, pairs in enumerate(zip(cpus, its, strict=True)) if not all(map(same, *pairs))]


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize(
    ("dtype", "stochastic"),
    [("float64", False), ("float32", False), ("bfloat16", False), ("bfloat16", True)],
)
def test_pointwise_rules_have_the_cpus_bits(dtype, stochastic, group):
    wrong = {
        made.name: found
        for made in POINTWISE[group::GROUPS]
        if (found := differing(made, dtype, stochastic=stochastic))
    }
    assert not wrong


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_reductions_differ_by_the_order_of_sums_alone(dtype):
    """The interpreter adds up pairs of elements, and the CPU's kernel what its registers hold."""
    limit = {"float64": 1e-14, "float32": 2.0**-22}[dtype]
    for made in REDUCING:
        for mine, its in zip(*both(made, dtype), strict=True):
            for x, y in zip(mine, its, strict=True):
                assert error(np.asarray(y), np.asarray(x)) <= limit, made.name


def test_special_numbers():
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -3e-39, 1e30, -1e38, 1.0]
    p, g = (torch.tensor(x.ravel(), dtype=torch.float32) for x in np.meshgrid(special, special))
    given = [p], [[g], [g.roll(1)], [g.flip(0)]]
    for made in (rules.adam, rules.adamax, rules.rprop, rules.lion, rules.adam_atan2):
        assert not differing(made, "float32", *given), made.name
    half = [x.to(torch.bfloat16) for x in given[0]], [[g.to(torch.bfloat16)] for [g] in given[1]]
    for stochastic in (False, True):
        assert not differing(rules.adam, "bfloat16", *half, stochastic=stochastic)


def test_float16_is_rounded_in_both_ways():
    ps, path = tensors("float16")
    ps[0][:9] *= 2.0**-16  # denormals
    for stochastic in (False, True):
        assert not differing(rules.momentum, "float16", ps, path, stochastic=stochastic)


@rule
def odd(p, g, *, lr=0.1):
    whole = floor(g * 3) + round(g * 5) + g % 0.3 + (-g) % -0.7 + atan2(g, p)
    return p - lr * where(g > 0, whole, abs(g))


@rule
def transcendental(p, g, *, lr=0.1, power=1.3):
    return p - lr * (tanh(g) + exp(-abs(g)) + log(abs(g) + 1) + (abs(g) + 1) ** power)


@rule
def extremes(p, g, *, lr=0.1):
    from ravine.ops import greatest, least

    return p - lr * (g * greatest(abs(g)) + least(g) + mean(g) + sum(g))


def test_operations():
    for dtype in ("float32", "float64"):
        assert not differing(odd, dtype)
        for made, limit in ((transcendental, 4), (extremes, 8)):
            (ps, *_), (its, *_) = both(made, dtype)
            for x, y in zip(ps, its, strict=True):
                assert error(np.asarray(y), np.asarray(x)) <= limit * torch.finfo(x.dtype).eps


@rule
def greatest_and_least(p, g, *, lr=0.1):
    from ravine.ops import greatest, least

    return p - lr * where(p > 0, greatest(g), least(g))


def test_the_greatest_of_nan_is_nan():
    ps, path = tensors("float32")
    path[0][0][1050] = np.nan
    cpus, its = both(greatest_and_least, "float32", ps, path)
    assert all(x.isnan().all() == (i == 0) for i, x in enumerate(its[0]))
    assert all(map(torch.equal, map(torch.isnan, cpus[0]), map(torch.isnan, its[0])))


def test_groups_dtypes_and_totals():
    """The norm of all gradients, of tensors with different dtypes and learning rates."""
    made = clip_by_global_norm(rules.adam, max_norm=0.5)
    ps, path = tensors("float32", (40, 1100, 7))
    ps[2], path = ps[2].double(), [[a, b, c.double()] for a, b, c in path]
    for mine, its in zip(*both(made, "float32", ps, path, groups=[1, 0, 1]), strict=True):
        for x, y in zip(mine, its, strict=True):
            assert (
                error(np.asarray(y), np.asarray(x)) <= 1e-14
                if x.dtype == torch.float64
                else same(x, y)
            )


def proof(made, *dtypes):
    """Of a kernel that nobody has proved yet."""
    return proved(TRITON, lower(plan(made, made.check())), dtypes, False)


def test_a_kernel_proves_itself_or_does_not(monkeypatch):
    adam = (rules.adam, *["float32"] * 4)
    assert proof(*adam) == ""
    assert proof(rules.lamb, *["float32"] * 4) == ""
    right = launching.text

    def wrong(new):
        monkeypatch.setattr(launching, "text", lambda *how: right(*how).replace("tl.sqrt_rn(", new))

    wrong("tl.exp(")
    assert proof(*adam) == "its self-test failed: p of 4099 elements is not the CPU kernel's"
    wrong("tl.no_root(")
    assert "no_root" in proof(*adam)


def test_kernels_by_lines_are_refused():
    kern = cpu.kernel(plan(rules.adafactor, rules.adafactor.check()))
    assert TRITON.refusal(kern, ("float32",) * 4, False)


def test_columns_of_several_dtypes():
    kern = cpu.kernel(plan(rules.adam, rules.adam.check()))
    assert proved(TRITON, kern, ("bfloat16", "float16", "float32", "float32"), True) == ""


def test_every_device_has_an_engine(monkeypatch):
    """Also the second one, when everything has been imported."""
    monkeypatch.setattr(devices, "_MODULES", {"cpu": ("ravine.engines.triton",)})
    monkeypatch.setattr(devices, "_engines", {})
    kern = cpu.kernel(plan(rules.sgd, rules.sgd.check()))
    for place in (HERE, Place("cpu", 1), HERE):
        found, why = devices.chosen(kern, ("float32",) * 2, False, place)
        assert (found.place, why) == (place, "")


@pytest.mark.parametrize("kind", [ravine.torch.AdamW, ravine.torch.NAdam])
def test_an_optimizer_steps_by_it(kind):
    def train():
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(size)) for size in ((20, 60), (), (3, 7))]
        optimizer = kind(params)
        for step in range(3):
            for i, p in enumerate(params):
                p.grad = None if (step, i) == (1, 2) else torch.randn_like(p)
            optimizer.step()
        return optimizer, params

    with gpu.stand_in(engine=TRITON):
        optimizer, got = train()
        assert optimizer.engine == "kernel (Triton on cuda:0)"
    assert all(map(torch.equal, got, train()[1]))


def test_matrices_by_turns():
    def train():
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(size)) for size in ((20, 60), (3, 7))]
        optimizer = ravine.torch.SOAP(params)
        for _ in range(3):
            for p in params:
                p.grad = torch.randn_like(p)
            optimizer.step()
        return optimizer, params

    with gpu.stand_in(engine=TRITON):
        optimizer, got = train()
        assert optimizer.engine.startswith("kernel (Triton on cuda:0), matrices by cuBLAS: matmul")
    assert all(map(torch.equal, got, train()[1]))
