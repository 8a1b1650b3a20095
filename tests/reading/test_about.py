"""The facts about a rule."""

import itertools
import re

import pytest

import ravine
from ravine import filled, like_p, low_rank, registry, scalar, square
from ravine.ops import mean
from ravine.ops import sum as sum_
from ravine.reading.about import about, source
from ravine.reading.memory import state_bytes
from ravine.reading.worked import worked
from ravine.rules import adam, adamw, rmsprop, sgd


@pytest.mark.parametrize("name", registry.names())
def test_every_rule_is_documented(name):
    rule = registry.get(name)
    facts = about(rule)
    assert rule.paper
    assert rule.at
    assert facts.elsewhere, f"{name}: say how other packages differ"
    assert all(package and what for package, what in facts.elsewhere)
    assert 0 < len(facts.summary) <= 60, f"{name}: the summary is one line of `ravine list`"
    for h in rule.hyperparameters.values():
        assert h.meaning != "hyperparameter of this rule", f"{name}: what does {h.name} mean?"


def test_state_bytes():
    assert about(sgd).state_bytes(4) == 0
    assert about(adam).state == ("m", "v")
    assert about(adam).state_bytes(8) == 16
    assert about(rmsprop).state == ("v",)
    assert about(rmsprop, centered=True, momentum=0.9).state == ("v", "m", "b")


def counted(p, g, n, *, lr=1.0):
    """Count."""
    n = n + 1
    return p - lr * g / n, n


def test_scalar_state_is_told_apart():
    facts = about(ravine.rule(n=scalar(0.0))(counted))
    assert facts.state == ()
    assert facts.scalars == ("n",)


def test_state_in_words():
    assert about(sgd).kept() == "none: 0 bytes per parameter"
    assert about(adam).kept("`") == "`m`, `v`: 8 bytes per float32 parameter, 16 per float64"
    assert about(registry.get("adafactor")).kept() == (
        "r: one number per row; c: one number per column; m + n numbers for a matrix of m × n, "
        "4(m + n) bytes in float32, 8(m + n) in float64; v: only where ndim(p) is 0 or 1: "
        "4 bytes per float32 parameter, 8 per float64"
    )
    assert about(registry.get("adafactor")).state_bytes(4) == 0
    assert about(registry.get("asgd")).kept("`") == (
        "`ax`: 4 bytes per float32 parameter, 8 per float64; `eta`, `mu`: one number per tensor; "
        "`eta` starts at lr; `mu` starts at 1"
    )
    assert "start starts at p" in about(ravine.rule(start=like_p)(pulled)).kept()


def pulled(p, g, start, *, lr=1.0):
    """Pull."""
    return p - lr * (g + p - start), start


def test_elsewhere_is_read_entry_by_entry():
    packages = [package for package, _ in about(adam).elsewhere]
    assert "TensorFlow, Keras" in packages
    assert all("\n" not in what and "  " not in what for _, what in about(adamw).elsewhere)


def test_source_is_the_function_without_decorator_and_docstring():
    text = source(adam.function)
    assert text.startswith("def adam(p, g, m, v, t, *,")
    assert '"""' not in text
    assert "# biased first moment" in text
    assert text.endswith("return p - lr * m_hat / (sqrt(v_hat) + eps), m, v\n")


def test_source_that_cannot_be_found_is_named():
    space: dict = {}
    exec("def typed(p, g, *, lr=1.0):\n    return p - lr * g", space)
    with pytest.raises(ValueError, match="source of typed cannot be found"):
        source(space["typed"])


# ------------------------------------------------------------ what is said is what is allocated

SHAPES = [(5, 7), (6,), (4, 3, 2, 2)]


def numbers_of(formula, m, n):
    """A formula such as 4(mn + m + n), computed."""
    text = re.sub(r"([mn])²", r"\1\1", formula)
    text = re.sub(r"(?<=[\dmn)])(?=[(mn])", "*", text)
    return eval(text, {"m": m, "n": n})


@pytest.mark.parametrize("name", registry.names())
def test_state_bytes_are_those_that_a_front_allocates(name):
    torch = pytest.importorskip("torch")
    from ravine.engines.tracing import takes_matrices

    rule = registry.get(name)
    switched = {k: 0.5 for k in ("momentum",) if rule.hyperparameters.get(k)}
    switched |= {k: True for k, h in rule.hyperparameters.items() if h.default is False}
    low = {"rank": 2} if "rank" in rule.hyperparameters else {}  # low beside these matrices
    dtypes = ((torch.float32, 4), (torch.float64, 8))
    for shape, on, (dtype, size) in itertools.product(SHAPES, ({}, switched), dtypes):
        if not takes_matrices(rule, len(shape)):
            check_bytes(rule, torch.ones(shape, dtype=dtype), size, {**on, **low})


def check_bytes(rule, value, size, switches):
    import torch

    import ravine.torch

    p, shape = torch.nn.Parameter(value), value.shape
    optimizer = ravine.torch.optimizer(rule)([p], **switches)
    p.grad = torch.full_like(p, 0.5)
    optimizer.step()
    state = {k: x for k, x in optimizer.state[p].items() if k != "step"}
    arrays = [x for x in state.values() if x.ndim]
    allocated = sum(x.numel() * x.element_size() for x in arrays)
    facts = about(rule, **switches)
    numbers = sum(x.element_size() for x in state.values() if not x.ndim)
    shared = sum(state[k].element_size() for k in facts.shared)
    assert state_bytes(rule, shape, size=size, **switches) == allocated + numbers - shared
    plain, known = {k for k, x in state.items() if not x.ndim}, {*facts.scalars, *facts.shared}
    assert known <= plain <= known | {k for k, *_ in facts.in_other_dimensions}
    if len(shape) == 2:
        assert numbers_of(facts.bytes_of_matrix(size), *shape) == allocated
    whole = {*facts.state, *(k for k, *_ in facts.in_other_dimensions)}
    assert {k for k, x in state.items() if x.shape == p.shape} <= whole


def test_state_bytes_of_other_slots():
    assert about(adam).bytes_of_matrix(4) == "8mn"
    assert about(sgd).bytes_of_matrix(4) == "0"
    assert about(registry.get("adafactor")).bytes_of_matrix(4) == "4(m + n)"
    assert state_bytes(registry.get("adafactor"), (1000, 2000)) == 4 * 3000
    assert state_bytes(registry.get("adafactor"), (1000,)) == 4 * 1000
    mixed = ravine.rule(left=square(-2), low=low_rank(3), half=filled(0.0).kept_in("bfloat16"))(
        several_kinds
    )
    facts = about(mixed)
    assert facts.bytes_of_matrix(4) == "2(2m² + mn + 6m)"
    assert numbers_of(facts.bytes_of_matrix(4), 5, 7) == state_bytes(mixed, (5, 7)) == 230
    assert "low: a matrix of m × 3 for one of m × n" in facts.kept()
    assert "half: 2 bytes per float32 parameter, 2 per float64" in facts.kept()


def several_kinds(p, g, left, low, half, *, lr=1.0):
    """Keep."""
    return p - lr * g - left @ half, left + 1, low + mean(half), half + g + sum_(low)


# --------------------------------------------------------------------- what docstrings say


def test_amsgrad_divides_by_less_and_less_though_its_maximum_never_falls():
    amsgrad = registry.get("amsgrad")
    rows = worked(amsgrad, [1.0, *[0.01] * 400])
    largest = [row["v_max"] for row in rows]
    assert largest == sorted(largest)
    assert rows[-1]["v_hat"] < rows[0]["v_hat"] / 100
    assert "never shrinks" not in amsgrad.doc
    corrections = [1 / (1 - 0.999**t) for t in (1, 10**5)]
    assert corrections == [pytest.approx(1000), pytest.approx(1)]


def test_eps_before_the_correction_is_32_times_as_strong_at_first():
    beta2 = registry.get("adam_eps_hat").hyperparameters["beta2"].default
    assert round(1 / (1 - beta2) ** 0.5) == 32
    assert "32 times" in registry.get("adam_eps_hat").doc


def test_adafactor_keeps_what_its_docstring_says():
    doc = registry.get("adafactor").doc
    assert "n + m numbers are kept where Adam keeps 2nm" in doc
    m, n = 30, 70
    assert state_bytes(registry.get("adafactor"), (m, n)) == 4 * (n + m)
    assert state_bytes(adam, (m, n)) == 4 * 2 * n * m
    assert state_bytes(registry.get("adafactor"), (n,)) == 4 * n  # of a vector, all squares


def test_adagrads_sum_only_grows_and_radam_waits():
    sums = [row["v"] for row in worked(registry.get("adagrad"), [1.0, 0.0, -2.0, 0.1])]
    assert sums == sorted(sums)
    rows = worked(registry.get("radam"), [1.0] * 8, lr=0.1)
    assert [row["step"] == pytest.approx(0.1 * row["m_hat"]) for row in rows] == [
        row["rho"] <= 5 for row in rows
    ]


def test_momentum_ema_and_nadam_are_as_said():
    ema, sums = (
        [row["step"] for row in worked(registry.get(name), [1.0, 0.5, -2.0], lr=0.1)]
        for name in ("momentum_ema", "momentum_classical")
    )
    assert ema == pytest.approx([0.1 * x for x in sums])  # shorter by the factor 1 - beta1
    first, *_, late = worked(registry.get("nadam"), [1.0] * (17 * 250 + 1))
    assert first["mu"] / 0.9 == pytest.approx(0.5, abs=1e-3)
    assert late["mu"] / 0.9 == pytest.approx(0.75, abs=1e-3)  # after 17 / momentum_decay steps
