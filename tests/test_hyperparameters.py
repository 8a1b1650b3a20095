"""Hyperparameters: what is accepted, what is refused, and what the message says."""

import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

import ravine.numpy
import ravine.torch
from ravine import RuleError, modifier, modifiers, registry, rule, rules
from ravine.hyperparameters import HYPERPARAMETERS, Hyperparameter, look_up, plain, searched
from ravine.ops import maximum, rms, sign, sqrt

nan, inf = math.nan, math.inf

# What is accepted and what is refused: of a shared name, or of a rule's or a modifier's own.
NUMBERS = {
    "lr": ("a finite number >= 0", [0, 0.0, 1e-3, 10, 1e300], [-1e-3, -5e-324]),
    "momentum": ("a finite number", [0, 0.9, 1.0, 1.5, -0.5], []),
    "beta1": ("a number in [0, 1)", [0, 0.0, 0.9, 1 - 2**-53], [1, 1.0, -0.1, 1.5]),
    "beta2": ("a number in [0, 1)", [0, 0.0, 0.999, 1 - 2**-53], [1, 1.0, -0.1, 1.5]),
    "eps": ("a finite number >= 0", [0, 1e-8, 1.0], [-1e-8]),
    "weight_decay": ("a finite number >= 0", [0, 0.1, 2], [-0.1]),
    "momentum.dampening": ("a finite number", [0, 0.3, -1.0, 2.0], []),
    "clip_by_value.clip_value": ("a finite number >= 0", [0, 1.0], [-1]),
    "clip_by_norm.max_norm": ("a finite number > 0", [5e-324, 1.0], [0, 0.0, -1]),
    "clip_by_global_norm.max_norm": ("a finite number > 0", [5e-324, 1.0], [0, 0.0, -1]),
    "l2.weight_decay": ("a finite number >= 0", [0, 0.1, 2], [-0.1]),
    "decoupled_decay.weight_decay": ("a finite number >= 0", [0, 0.1, 2], [-0.1]),
    "unscale.grad_scale": ("a finite number", [0.5, 65536.0], []),
    "rmsprop.alpha": ("a number in [0, 1]", [0, 0.99, 1, 1.0], [-0.1, 1.0000001]),
    "adadelta.rho": ("a number in [0, 1]", [0, 0.9, 1.0], [-0.1, 1.1]),
    "nadam.momentum_decay": ("a finite number >= 0", [0, 4e-3, 2.0], [-1e-9]),
    "adagrad.lr_decay": ("a finite number >= 0", [0, 0.5], [-1e-9]),
    "adagrad.v0": ("a finite number >= 0", [0, 0.1], [-1e-9]),
    "asgd.lambd": ("a finite number", [-1.0, 0, 1e-4], []),
    "asgd.alpha": ("a finite number", [-1.0, 0, 0.75, 2], []),
    "asgd.t0": ("a finite number", [-1, 0.5, 1e6], []),
    "rprop.eta_minus": ("a number in (0, 1)", [5e-324, 0.5, 1 - 2**-53], [0, 1, 1.0]),
    "rprop.eta_plus": ("a finite number > 1", [1 + 2**-52, 1.2, 100], [1, 0.5]),
    "rprop.step_min": ("a finite number >= 0", [0, 1e-6], [-1e-9]),
    "rprop.step_max": ("a finite number >= 0", [0, 50], [-1e-9]),
    "adafactor.beta2_decay": ("a finite number <= 0", [0, -0.8, -2], [1e-9, 0.8]),
    "adafactor.eps1": ("a finite number >= 0", [0, 5e-324, 1e-30], [-1e-9]),
    "adafactor.eps2": ("a finite number >= 0", [0, 1e-3], [-1e-9]),
    "adafactor.d": ("a finite number >= 1", [1, 1.0, 2.5], [0.5, 0]),
    "muon.ns_a": ("a finite number", [-1, 0, 3.4445], []),
    "muon.ns_b": ("a finite number", [-4.775, 0], []),
    "muon.ns_c": ("a finite number", [2.0315], []),
    "muon.ns_steps": ("a whole number in [0, 99]", [0, 5, 99], [-1, 100, 2.5]),
}
NUMBERS |= {
    "qhm.momentum": ("a number in [0, 1)", [0, 0.999], [1, -0.1]),
    "qhm.nu": ("a number in [0, 1]", [0, 0.7, 1], [-0.1, 1.1]),
    **{f"aggmo.beta{i}": ("a finite number >= 0", [0, 0.9, 1], [-0.1]) for i in (1, 2, 3)},
    **{f"{x}.beta": ("a number in [0, 1)", [0, 0.9], [1, -0.1]) for x in ("signum", "tiger")},
    "lamb_timm.max_grad_norm": ("a finite number > 0", [5e-324, 1.0], [0, -1]),
    "sgdp.momentum": ("a number in [0, 1)", [0, 0.9], [1, -0.1]),
    "sgdp.dampening": ("a finite number", [0, 0.3, -1.0], []),
    **{f"{x}.delta": ("a finite number >= 0", [0, 0.1], [-0.1]) for x in ("sgdp", "adamp")},
    **{f"{x}.wd_ratio": ("a number in [0, 1]", [0, 1], [-0.1, 1.1]) for x in ("sgdp", "adamp")},
    "sgld.temperature": ("a finite number >= 0", [0, 1.0], [-0.1]),
}
LARS = ("lars", "lars_timm", "lars_kozistr", "lars_optax")
NUMBERS |= {f"{x}.trust_coefficient": ("a finite number >= 0", [0, 1e-3], [-1e-9]) for x in LARS}
# Of the rules of matrices.
NUMBERS |= {
    "shampoo.eps": ("a finite number > 0", [5e-324, 1e-6], [0, -1e-6]),
    "soap.shampoo_beta": ("a number in [0, 1)", [0, 0.95], [1, -0.1]),
    "galore.scale": ("a finite number >= 0", [0, 0.25, 2], [-0.1]),
    "psgd_kron.precond_lr": ("a finite number >= 0", [0, 0.1], [-0.1]),
    "psgd_kron.least": ("a number in (0, 1]", [5e-324, 0.03, 1.0], [0, 1.1]),
    "psgd_kron.decay": ("a finite number >= 0", [0, 1e-3], [-1e-3]),
    "psgd_kron.flat_start": ("a finite number >= 0", [0, 500, 0.5], [-1]),
    "psgd_kron.damping": ("a finite number >= 0", [0, 2**-11.5], [-1e-9]),
    "psgd_kron.most": ("a finite number > 0", [5e-324, 1.1], [0, -1]),
    **{f"muon_optax.ns_{x}": ("a finite number", [-4.775, 0, 3.4445], []) for x in "abc"},
    **{
        f"{name}.rms_scale": ("a finite number >= 0", [0, 0.2], [-0.2])
        for name in ("muon_moonshot", "normuon", "adamuon", "adamuon_kozistr")
    },
    **{
        f"{name}.ns_steps": ("a whole number in [0, 99]", [0, 5, 99], [-1, 100, 2.5])
        for name, made in registry.rules().items()
        if "ns_steps" in made.hyperparameters
    },
    **{
        f"{name}.ns_eps": ("a finite number >= 0", [0, 1e-7], [-1e-7])
        for name, made in registry.rules().items()
        if "ns_eps" in made.hyperparameters
    },
    **{
        f"{name}.{count}": ("a whole number >= 1", [1, 200], [0, 1.5])
        for name in ("shampoo", "soap", "galore", "dion")
        for count in ("every", "rank")
        if count in registry.get(name).hyperparameters
    },
    **{
        f"{name}.{option}": its
        for name in ("scion", "scion_sign", "scion_rms")
        for option, its in {
            "alpha": ("a number in (0, 1]", [5e-324, 0.1, 1.0], [0, 1.1]),
            "radius": ("a finite number > 0", [5e-324, 50], [0, -1]),
        }.items()
    },
    "muon_jordan.momentum": ("a finite number >= 0", [0, 0.95], [-0.1]),
    "muon_optax.momentum": ("a finite number >= 0", [0, 0.95], [-0.1]),
    "muon_heavyball.momentum": ("a finite number >= 0", [0, 0.95], [-0.1]),
}
_POSITIVE = ("a finite number > 0", [5e-324, 1.0], [0, 0.0, -1])
_AT_LEAST_0 = ("a finite number >= 0", [0, 0.5, 2.0], [-1e-9])
_BELOW_1 = ("a number in [0, 1)", [0, 0.9, 1 - 2**-53], [1, 1.0, -0.1])
_BETWEEN = ("a number in (0, 1)", [5e-324, 0.9], [0, 1, 1.0])
_SCHEDULE_FREE = ("sgd", "adamw", "adamw_paper", "radam")
NUMBERS |= {
    **dict.fromkeys(
        [
            "dog.reps_rel",
            "ldog.reps_rel",
            "dowg.r_eps",
            "prodigy.d0",
            "prodigy.d_coef",
            "dadapt_adam.d0",
            "dadapt_sgd.d0",
            "prodigy_bias_corrected.d0",
            "prodigy_bias_corrected.d_coef",
            "dadapt_adam_bias_corrected.d0",
            "dadapt_adam_paper.d0",
            "prodigy_paper.d0",
            "came.d",
            "sophia.gamma",
            "sophia_g.rho",
            "sophia_g.bs",
            "mechanic.s_init",
            "mechanic_clipped.s_init",
            "mechanic_paper.s_init",
        ],
        _POSITIVE,
    ),
    **dict.fromkeys(
        [
            "came.eps1",
            "came.eps2",
            "amos.scale",
            "amos.zeta",
            "adafactor_paper.eps1",
            "adafactor_paper.eps2",
            "mechanic.s_decay",
            "mechanic.s_eps",
            "mechanic_clipped.s_decay",
            "mechanic_clipped.s_eps",
            "mechanic_paper.s_decay",
            "mechanic_paper.s_eps",
        ],
        _AT_LEAST_0,
    ),
    **{f"schedule_free_{x}.r": _AT_LEAST_0 for x in _SCHEDULE_FREE},
    **{f"schedule_free_{x}.weight_lr_power": _AT_LEAST_0 for x in _SCHEDULE_FREE},
    **{
        f"schedule_free_{x}.warmup_steps": ("a whole number >= 0", [0, 7], [-1, 2.5])
        for x in _SCHEDULE_FREE[:-1]
    },
    **{f"schedule_free_{x}.beta1": _BETWEEN for x in _SCHEDULE_FREE[1:]},
    "schedule_free_sgd.momentum": _BETWEEN,
    **dict.fromkeys(("dadapt_sgd.momentum", "amos.momentum", "came.beta3"), _BELOW_1),
    **{
        f"adahessian{x}.hessian_power": ("a number in (0, 1]", [5e-324, 0.5, 1], [0, 1.1])
        for x in ("", "_pointwise")
    },
    **{
        f"mechanic{x}.s_beta{i}": ("a number in [0, 1]", [0, 0.9, 1], [-0.1, 1.1])
        for x in ("", "_clipped", "_paper")
        for i in range(1, 7)
    },
    "adafactor_paper.beta2_decay": NUMBERS["adafactor.beta2_decay"],
    "adafactor_paper.d": NUMBERS["adafactor.d"],
}
# Of the modifiers.
NUMBERS |= {
    **{
        key: ("a finite number > 0", [5e-324, 1.0], [0, -1])
        for key in (
            *("adagc.adagc_abs", "adagc.adagc_rel", "zclip.z_threshold"),
            *("adaptive_grad_clip.agc_clip", "adaptive_grad_clip.agc_eps"),
            *("scheduled_decay.lr_max", "corrected_decay.lr_max"),
        )
    },
    **{
        key: ("a number in [0, 1)", [0, 0.9], [1, -0.1])
        for key in (
            *("adagc.adagc_decay", "zclip.zclip_decay"),
            *("ema.ema_decay", "grokfast.grokfast_alpha"),
        )
    },
    **{
        key: ("a whole number >= 1", [1, 25], [0, 1.5])
        for key in (
            *("adagc.adagc_warmup", "zclip.zclip_warmup"),
            *("lookahead.lookahead_k", "swa.swa_every"),
        )
    },
    "lookahead.lookahead_alpha": ("a number in [0, 1]", [0, 0.5, 1], [-0.1, 1.1]),
    "grokfast.grokfast_lamb": ("a finite number >= 0", [0, 2.0], [-0.1]),
    "zclip.zclip_eps": ("a finite number >= 0", [0, 1e-6], [-1e-9]),
    "swa.swa_start": ("a whole number >= 0", [0, 1000], [-1, 0.5]),
}
# torch's constructors refuse it, so these rules do.
NUMBERS |= {
    f"{name}.momentum": ("a finite number >= 0", [0, 0.9, 1.0, 1.5], [-0.1])
    for name in (
        *("momentum", "nesterov", "nesterov_classical", "momentum_classical", "rmsprop", "muon"),
        *LARS,
    )
}
_NOT_NEGATIVE = ("a finite number >= 0", [0, 0.5, 2.0], [-1e-9])
_DECAY = ("a number in [0, 1)", [0, 0.9, 1 - 2**-53], [1, 1.0, -0.1])
_SHARE = ("a number in [0, 1]", [0, 0.99, 1, 1.0], [-0.1, 1.0000001])
NUMBERS |= {
    **dict.fromkeys(
        [
            "nadam_keras.momentum_decay",
            "nadam_paper.momentum_decay",
            "qhadam.nu1",
            "ademamix.alpha",
            "ademamix.alpha_warmup",
            "ademamix.beta3_warmup",
            "mars.gamma",
            "mars_timm.gamma",
            "mars_lion.gamma",
            "mars_shampoo.gamma",
            "adam_atan2.a",
            "adam_atan2.b",
            "adopt.clip_exp",
            "adopt_kozistr.clip_exp",
            "yogi.v0",
            "adagrad_keras.v0",
            "rmsprop_keras.momentum",
            "rmsprop_keras.v0",
            "rmsprop_tf.momentum",
            "rmsprop_tf.v0",
        ],
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(("ademamix.beta3", "adan.beta3", "adan_paper.beta3"), _DECAY),
    **dict.fromkeys(("qhadam.nu2", "rmsprop_keras.alpha", "rmsprop_tf.alpha"), _SHARE),
    "adamc.lr_peak": ("a finite number > 0", [5e-324, 1.0], [0, 0.0, -1]),
}
NEVER = [nan, inf, -inf, "0.1", "x", b"1", None, True, False, [0.1], (0.1,), {}, 1j, object()]
SWITCHES = ["centered", "maximize", "nesterov", "amsgrad", "decoupled_weight_decay"]
MODIFIED = {name: getattr(modifiers, name)(rules.sgd) for name in modifiers.__all__}
ALL = {**registry.rules(), **MODIFIED}


def test_everything_is_covered():
    shared = {k for k in NUMBERS if "." not in k}
    assert {*shared, *SWITCHES} == HYPERPARAMETERS.keys()
    for name, made in ALL.items():
        for h in made.hyperparameters.values():
            usual = h.name in HYPERPARAMETERS and h.accepted == look_up(h.name, h.default).accepted
            of_its_own = f"{name.removesuffix('_vector')}.{h.name}" in NUMBERS
            assert usual or of_its_own or isinstance(h.default, bool), (name, h.name)
    assert all(h.meaning for h in HYPERPARAMETERS.values())


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers(key):
    words, values, refused = NUMBERS[key]
    rule_name, _, name = key.rpartition(".")
    h = ALL[rule_name].hyperparameters[name] if rule_name else look_up(name, 0.5)
    assert h.accepted == words
    for value in values:
        checked = h.check(value, "Adam")
        assert checked == value
        assert type(checked) is type(value)
    for value in [*refused, *NEVER]:
        message = f"Adam: {name}={value!r} is invalid; {name} must be {words}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            h.check(value, "Adam")


@pytest.mark.parametrize("name", SWITCHES)
def test_switches(name):
    h = look_up(name, False)
    assert h.check(True, "") is True
    assert h.check(False, "") is False
    for value in (1, 0, "yes", None, 0.5, np.array([True, False])):
        with pytest.raises(
            ValueError, match=f"RMSprop: {name}=.* is invalid; {name} must be True or False"
        ):
            h.check(value, "RMSprop")


def test_other_names_take_any_finite_number_or_a_declared_range():
    h = look_up("power", 2.0)
    assert h.accepted == "a finite number"
    assert h.check(-3, "") == -3
    h = look_up("k", 5, Hyperparameter("steps between syncs", 1, 10, open_low=True))
    assert (h.name, h.default, h.meaning) == ("k", 5, "steps between syncs")
    assert h.accepted == "a number in (1, 10]"
    assert h.check(10, "") == 10
    with pytest.raises(ValueError, match=r"k=1 is invalid; k must be a number in \(1, 10\]"):
        h.check(1, "")
    h = Hyperparameter("", high=1.0, name="x")
    assert h.check(-5, "") == -5
    with pytest.raises(ValueError, match=r"x=2 is invalid"):
        h.check(2, "")


def test_a_whole_number_becomes_an_int():
    h = rules.muon.hyperparameters["ns_steps"]
    assert type(h.check(3.0, "")) is int
    assert type(h.check(np.int64(3), "")) is int
    assert Hyperparameter("", 1, whole=True).accepted == "a whole number >= 1"


def test_a_bound_on_one_side_reads_well():
    assert "inf" not in Hyperparameter("", high=1.0).accepted


@pytest.mark.parametrize(
    "value",
    [
        *(np.float64(0.5), np.float32(0.5), np.array(0.5), np.array([0.5])),
        *(torch.tensor(0.5), torch.tensor([0.5], dtype=torch.float64)),
        *(Fraction(1, 2), Decimal("0.5")),
    ],
)
def test_numbers_of_other_kinds_become_plain(value):
    assert plain(value) == 0.5
    assert type(plain(value)) is float
    assert type(look_up("lr", 0.1).check(value, "")) is float


def test_integers_stay_integers_and_nonsense_is_none():
    assert type(plain(np.int64(3))) is int
    assert type(plain(torch.tensor(3))) is int
    for value in (None, True, "1", b"1", [1.0], np.zeros(2), torch.zeros(2), 1j, object()):
        assert plain(value) is None


# ---- what a rule declares ------------------------------------------------------------------------


def test_a_rule_declares_only_what_differs():
    @rule(
        lr=searched(1e-3, 2),
        beta1=searched(0.1, 0.5, towards=1),
        beta2="decay rate of the momentum",
        rho=Hyperparameter("radius of the neighbourhood", low=0.0, search=(0.01, 5)),
    )
    def mine(p, g, *, lr=0.1, beta1=0.9, beta2=0.99, rho=2.0, gamma=-3.0):
        return p - lr * g * beta1 * beta2 * rho * gamma

    h = mine.hyperparameters
    assert (h["lr"].search, h["lr"].meaning) == ((1e-3, 2), HYPERPARAMETERS["lr"].meaning)
    assert (h["lr"].accepted, h["lr"].default) == ("a finite number >= 0", 0.1)
    assert (h["beta1"].search, h["beta1"].searched) == ((0.1, 0.5), "0.5 to 0.9")
    assert h["beta2"].meaning == "decay rate of the momentum"
    assert h["beta2"].search == HYPERPARAMETERS["beta2"].search
    assert h["beta2"].accepted == "a number in [0, 1)"
    assert (h["rho"].accepted, h["rho"].searched) == ("a finite number >= 0", "0.01 to 5")
    assert (h["gamma"].meaning, h["gamma"].searched) == ("hyperparameter of this rule", "")


def test_modifiers_and_named_rules_keep_what_the_inner_rule_declares():
    made = modifiers.clip_by_norm(modifiers.l2(rules.rmsprop), alpha=0.9).named("mine", lr=0.5)
    for name, h in rules.rmsprop.hyperparameters.items():
        kept = made.hyperparameters[name]
        assert kept == h.named(name, {"alpha": 0.9, "lr": 0.5}.get(name, h.default))
    assert made.hyperparameters["max_norm"].accepted == "a finite number > 0"
    with pytest.raises(ValueError, match=r"alpha=2 is invalid; alpha must be a number in \[0, 1\]"):
        rules.rmsprop.named("mine", alpha=2)


def test_a_modifier_does_not_declare_what_is_the_inner_rules():
    with pytest.raises(RuleError, match=r"halved: lr has no default.*declare it there"):

        @modifier(lr=searched(1e-3, 1))
        def halved(step, p, g, *, lr):
            return step(p, g * lr)


@pytest.mark.parametrize("ends", [(0, 1), (1, 0.1), (1, 1), (-1, 1), (nan, 1), (1, inf), ("a", 1)])
def test_a_search_range_that_is_none_is_refused(ends):
    with pytest.raises(ValueError, match=r"searched\(low=.* is invalid; .* 0 < low < high"):
        searched(*ends)


def test_a_search_range_outside_of_what_is_accepted_is_refused():
    with pytest.raises(ValueError, match=r"beta1: a search from -1 to 0.5 is invalid; .*\[0, 1"):
        rule(beta1=searched(0.5, 2, towards=1))(lambda p, g, *, beta1=0.9: p - beta1 * g)


@pytest.mark.parametrize("default", [1e-4, 1, np.float32(0.5)])
def test_lr_is_searched_around_its_default_where_nobody_says_otherwise(default):
    h = rule(lambda p, g, *, lr=default: p - lr * g).hyperparameters["lr"]
    assert h.search == pytest.approx((default / 100, default * 100))
    assert h.searched
    off = rule(lambda p, g, *, lr=0.0: p - lr * g).hyperparameters["lr"]
    assert off.search is None


OF_ONE_RULE = {k.rpartition(".")[2] for k in NUMBERS} - HYPERPARAMETERS.keys() - {"grad_scale"}
OF_ONE_RULE |= {"gamma", "beta", "beta3", "k", "c", "r", "kappa", "delta", "nu", "momentum"}


@pytest.mark.parametrize("name", sorted(OF_ONE_RULE))
def test_no_rules_range_is_anothers(name):
    namespace = {}
    exec(f"def mine(p, g, *, lr=0.1, {name}=1.0): return p - lr * {name} * g", namespace)
    made = rule(namespace["mine"])
    for value in (-2.5, 0.0, 0.25, 5.0):
        assert made.check(**{name: value})[name] == value
        assert made(1.0, 0.5, **{name: value}) == 1 - 0.1 * value * 0.5
    with pytest.raises(ValueError, match="is invalid"):
        made.check(**{name: nan})


def ademamix(p, g, m1, m2, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, beta3=0.9999, alpha=5.0):
    m1 = beta1 * m1 + (1 - beta1) * g
    m2 = beta3 * m2 + (1 - beta3) * g
    v = beta2 * v + (1 - beta2) * g**2
    step = (m1 / (1 - beta1**t) + alpha * m2) / (sqrt(v / (1 - beta2**t)) + 1e-8)
    return p - lr * step, m1, m2, v


def clipped(p, g, *, lr=1e-2, d=0.25):
    return p - lr * g / maximum(1, rms(g) / d)


def sharpness_aware(p, g, before, *, lr=1e-2, rho=2.0, momentum=-0.3):
    return p - lr * (g + rho * (g - before) + momentum * before), g


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        (ademamix, "alpha", 8.0),
        (clipped, "d", 0.125),
        (sharpness_aware, "rho", -3.0),
        (sharpness_aware, "momentum", -0.5),
    ],
)
def test_a_rule_of_ones_own_takes_its_papers_values_in_both_fronts(function, name, value):
    made = rule(function)
    start, g = np.array([1.0, -2.0]), np.array([0.5, 0.3])
    ends = []
    for given in ({}, {name: value}):
        expected, state = made.update(start, g, made.init(start), 1, **given)
        expected, _ = made.update(expected, g, state, 2, **given)

        array = start.copy()
        stepper = ravine.numpy.optimizer(made)(array, **given)
        for _ in range(2):
            array = stepper.step(g)
        np.testing.assert_allclose(array, expected, rtol=1e-14)

        tensor = torch.tensor(start, requires_grad=True)
        tensor.grad = torch.tensor(g)
        stepper = ravine.torch.optimizer(made)([{"params": [tensor], **given}])
        stepper.param_groups[0][name] = stepper.param_groups[0][name]  # as a scheduler does
        for _ in range(2):
            stepper.step()
        np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=1e-14)
        ends.append(expected)
    assert not np.array_equal(*ends)


# ---- what the built-in rules say of theirs ---------------------------------------------------------


def path(made, gradients, signal=np.ones_like, **hyper):
    p, state = np.ones((2, 3)), made.init(np.ones((2, 3)), **hyper)
    for t, g in enumerate(gradients, 1):
        p, state = made.update(p, g, state, t, **hyper, **{k: signal(g) for k in made.signals})
    return p, state


GRADIENTS = np.random.default_rng(1).normal(size=(4, 2, 3)) + 2.0


def degrees(made, name):
    """With which powers of the gradient those slots grow that a hyperparameter has a say in."""
    base = {k: True for k, h in made.hyperparameters.items() if isinstance(h.default, bool)}
    base |= {"momentum": 0.5} if "momentum" in made.hyperparameters else {}
    base |= {"bfloat16": False} if "bfloat16" in base else {}
    value = base.get(name, made.hyperparameters[name].default)
    other = {name: value * 0.9 if value else 0.1}
    _, before = path(made, GRADIENTS, **base)
    _, after = path(made, GRADIENTS, **base | other)
    _, twice = path(made, 2 * GRADIENTS, **base)
    return {
        round(float(np.log2(np.mean(np.abs(z)) / np.mean(np.abs(x)))))
        for x, y, z in zip(before, after, twice, strict=True)
        if np.ndim(x) and not np.array_equal(x, y)
    }


def misnomers(made):
    """The hyperparameters whose meaning says another mean than the one that the rule takes."""
    for name, h in made.hyperparameters.items():
        if isinstance(h.default, bool) or h.whole or name == "lr":
            continue
        found = degrees(made, name)
        of_squares = bool(re.search("squared gradients", h.meaning))
        of_gradients = bool(re.search(r"(of|and) the gradients|a gradient had", h.meaning))
        if "decay rate" in h.meaning:
            fits = (of_squares, of_gradients) == (2 in found, 1 in found)
        else:
            fits = of_squares or 2 not in found
        if not fits:
            yield name


@pytest.mark.parametrize("name", registry.rules())
def test_meanings_fit(name):
    made = registry.get(name)
    if not any(slot.shared for slot in made.slots.values()):  # of which everything depends
        assert [*misnomers(made)] == []
    for h in made.hyperparameters.values():
        assert h.meaning != "hyperparameter of this rule"
        if h.name in ("beta1", "beta2", "eps"):  # what the field shares of these says little
            assert h.meaning != HYPERPARAMETERS[h.name].meaning


def test_meanings_that_do_not_fit_are_found():
    squares, gradients = (rules.adam.hyperparameters[k].meaning for k in ("beta2", "beta1"))

    def lion(p, g, m, *, lr=1e-4, beta1=0.9, beta2=0.99):
        return p - lr * sign(beta1 * m + (1 - beta1) * g), beta2 * m + (1 - beta2) * g

    assert [*misnomers(rule(beta2=squares)(lion))] == ["beta2"]
    assert [*misnomers(rule(beta2=gradients)(lion))] == []
    assert [*misnomers(rule(lion))] == ["beta2"]  # nothing is said
    for h in rule(lion).hyperparameters.values():
        assert "squared" not in h.meaning
        assert "gradient" not in h.meaning
    wrong = rule(beta1=squares, beta2=gradients)(rules.adam.function)
    assert [*misnomers(wrong)] == ["beta1", "beta2"]


@pytest.mark.parametrize("name", registry.rules())
def test_lr_is_searched_where_the_rules_steps_are_sensible(name):
    made = registry.get(name)
    h = made.hyperparameters["lr"]
    low, high = h.search
    assert low <= h.default <= high
    assert 3 <= math.log10(high / low) <= 5

    def step(steps, factor, lr):
        before, after = (
            path(made, [factor * GRADIENTS[0]] * n, np.abs, lr=lr)[0] for n in (steps - 1, steps)
        )
        return np.sqrt(np.mean((after - before) ** 2))

    if step(8, 4.0, low) < 2 * step(8, 1.0, low):  # the steps do not grow with the gradient
        assert step(1, 1.0, high) <= 1.0000001
    else:
        assert high == 10


@pytest.mark.parametrize("made", ALL.values(), ids=ALL)
def test_what_a_search_draws_is_accepted(made):
    for h in made.hyperparameters.values():
        if h.search:
            low, high = h.search
            assert 0 < low < high
            for distance in (low, math.sqrt(low * high), high):
                h.check(h.towards - distance if h.towards else distance, "")
            assert h.searched
