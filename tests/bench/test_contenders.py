"""What is timed: all of them take the same step, and torch's classes are found by the spellings."""

import math
from unittest import mock

import pytest
import torch
from cases import cautious, schedule_free
from installed import CLASSES

from ravine import registry, rule, rules, spellings
from ravine.bench import contenders
from ravine.modifiers import decoupled_decay
from ravine.rule import RuleError
from ravine.spellings import Spelling

BY_TORCH = contenders.rules_of_torch()
ADAM = rules.adam.check()


@pytest.mark.parametrize(
    ("name", "tensors", "numbers"),
    [
        ("scalars", 2, 2),
        ("mlp", 6, 109386),
        ("resnet18", 62, 11689512),
        ("gpt2", 148, 124439808),
        ("blocks256", 48, 3159040),
        ("convolutions", 20, 11689512 - 2 * 4800 - 513000),
    ],
)
def test_the_shapes_are_those_of_the_models(name, tensors, numbers):
    given = contenders.shapes(name)
    assert (len(given), sum(map(math.prod, given))) == (tensors, numbers)


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match="'vgg' is invalid; it must be one of scalars, mlp"):
        contenders.shapes("vgg")


def test_parameters_are_drawn_the_same_each_time():
    params = contenders.parameters("mlp")
    before = [p.detach().clone() for p in params], [p.grad.clone() for p in params]
    with torch.no_grad():
        for p in params:
            p.zero_()
            p.grad.zero_()
    contenders.refresh(params)
    torch.testing.assert_close(([p.detach() for p in params], [p.grad for p in params]), before)


@pytest.mark.parametrize(
    ("rule", "name", "options"),
    [
        (rules.sgd, "SGD", {}),
        (rules.momentum, "SGD", {"momentum": 0.9}),
        (rules.nesterov, "SGD", {"momentum": 0.9, "nesterov": True}),
        (rules.rmsprop, "RMSprop", {"alpha": 0.99}),
        (rules.adam, "Adam", {"betas": (0.9, 0.999)}),
        (rules.adam.named("careful", eps=1e-2), "Adam", {"eps": 1e-2}),
        (rules.amsgrad, "Adam", {"amsgrad": True}),
        (rules.adamw, "AdamW", {"weight_decay": 0.01}),
    ],
)
def test_the_class_of_torch(rule, name, options):
    twin = contenders.in_torch(rule)
    assert twin.name == name
    assert options.items() <= twin.options.items()
    assert "amsgrad" not in twin.options or rule is rules.amsgrad


def test_a_class_that_puts_modifiers_round_the_rule():
    def inner(p, g, *, lr=0.1):
        return p - lr * g

    inner = rule(inner)
    spelling = Spelling("AdamW", lambda _: decoupled_decay(inner), {})
    with mock.patch.object(contenders, "_spellings", return_value={"AdamW": spelling}):
        assert contenders.in_torch(inner) == contenders.Twin("AdamW", {})


@pytest.mark.skipif("Muon" not in CLASSES, reason="the installed torch has no Muon")
def test_muon_takes_matrices_only():
    params = contenders.parameters("mlp")
    muon = contenders.Twin("Muon", {})
    assert [p.ndim for p in contenders.fitting(muon, params)] == [2, 2, 2]
    assert contenders.fitting(None, params) == params
    assert contenders.fitting(contenders.Twin("SGD", {}), params) == params
    assert contenders.has_kernel(registry.get("muon"), muon)
    assert contenders.has_kernel(registry.get("soap"), None)
    assert not contenders.has_kernel(rule(lambda p, g: p - g @ p), None)


def test_what_torch_has_not():
    assert contenders.in_torch(cautious(rules.adam)) is None
    assert "momentum_classical" not in BY_TORCH
    assert contenders.engines(None, compiled=True) == ["kernel", "Ravine", "eager"]
    with pytest.raises(ValueError, match=r"engine='fused': torch\.optim has no class for rule 'ca"):
        contenders.make("fused", cautious(rules.adam), None, [])


def test_every_class_is_benchmarked():
    """So that one that is added takes part with nothing to be added here."""
    found = {contenders.in_torch(registry.get(name)).name for name in BY_TORCH}
    spelt = {x.name for x in vars(spellings).values() if isinstance(x, Spelling)}
    assert found == {name for name in spelt if hasattr(torch.optim, name)} - {"SparseAdam"}


@pytest.mark.parametrize("name", BY_TORCH)
def test_each_contender_takes_the_same_step(name):
    """Benchmarks of different computations say nothing."""
    made, after = registry.get(name), {}
    twin = contenders.in_torch(made)
    for engine in contenders.engines(twin):
        torch.manual_seed(0)
        params = [torch.randn(3, 2).requires_grad_() for _ in range(2)]
        for p in params:
            p.grad = torch.empty(3, 2)
        try:
            take = contenders.make(engine, made, twin, params)
        except RuleError:  # a rule of matrices
            assert name in ("adafactor", "muon")
            continue
        for _ in range(3):
            for p in params:  # torch's foreach loop for Nesterov's momentum changes them
                p.grad.normal_()
            take()
        after[engine] = torch.stack(params).detach()
    assert {"eager", "torch loop"} <= set(after)
    assert ("fused" in after) == twin.knows("fused")
    for engine in after:
        torch.testing.assert_close(after[engine], after["eager"], rtol=1e-5, atol=1e-7)


def test_the_kernel_keeps_scalar_slots():
    after = []
    for engine in ("kernel", "eager"):
        params = contenders.parameters("mlp")
        take = contenders.make(engine, schedule_free, None, params)
        for _ in range(3):
            take()
        after.append([p.detach() for p in params])
    torch.testing.assert_close(*after, rtol=1e-5, atol=1e-6)


def test_the_bytes_of_a_kernel():
    params = contenders.parameters("mlp")
    n = sum(p.numel() for p in params)
    assert contenders.Kernel(rules.adam, ADAM, params).bytes == 28 * n
    assert contenders.Kernel(rules.adam, ADAM, params, torch.bfloat16).bytes == (12 + 8) * n
    assert contenders.Kernel(cautious(rules.adam), ADAM, params).bytes == 44 * n
    assert contenders.Kernel(contenders.roof(2), {}, params).bytes == 28 * n


def test_a_kernel_whose_state_is_bfloat16_comes_close():
    after = []
    for dtype in (None, torch.bfloat16):
        params = contenders.parameters("mlp")
        take = contenders.Kernel(rules.adam, ADAM, params, dtype)
        take()
        take()
        after.append([p.detach() for p in params])
    torch.testing.assert_close(*after, rtol=1e-2, atol=1e-4)
    assert not torch.equal(after[0][0], after[1][0])


def test_a_rule_of_matrices_has_no_kernel():
    def whiten(p, g, *, lr=0.1):
        return p - lr * (g @ p)

    with pytest.raises(RuleError, match="'whiten' has no CPU kernel"):
        contenders.make("kernel", rule(whiten), None, [torch.ones(2, 2)])


def test_a_rule_that_treats_vectors_differently_has_a_kernel_for_each():
    made, stepped = ([torch.ones(4, 6), torch.ones(5), torch.ones(3, 2)] for _ in range(2))
    for p in (*made, *stepped):
        p.grad = torch.linspace(-1, 1, p.numel()).view(p.shape)
    bare = contenders.make("kernel", rules.adafactor, None, made)
    front = contenders.make("eager", rules.adafactor, None, stepped)
    for _ in range(3):
        bare()
        front()
    for one, other in zip(made, stepped, strict=True):
        torch.testing.assert_close(one, other)
    assert bare.bytes == 24 * (24 + 6) + 32 * 5
