"""The rules, and torch.optim beside them, held against the papers in 50 digits.

Every registered rule needs an oracle in papers.py, and every hyperparameter of it a case here that
moves it; a rule without them fails. That the comparison tells algorithms apart is itself tested:
wrong optimizers, the well-known mistakes, must each be caught by it.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from inspect import signature
from typing import Any

import pytest
import torch

from ravine import modifiers, registry
from ravine.ops import maximum, sqrt, where
from ravine.rule import Rule, rule

from . import papers

STEPS = 50
WIDTH = 4
# Fifty steps of some ten roundings leave about 1e-15; 1 - 0.9999**t loses digits and leaves 7e-14.
TOLERANCE = 1e-13
CAUGHT = 1e-4  # a wrong algorithm is off by at least a billion tolerances

Row = Sequence[float]
Trajectory = list[list[float]]
SCHEDULE = tuple(0.1 * (1 + t % 3) * 0.97**t for t in range(STEPS))  # lr at each step


@cache
def problem(scale: float, start: float) -> tuple[Row, list[Row]]:
    """Starting point and gradients; a tenth of them, and all of the first coordinate's, are zero.

    From zero (`start` = 0), the error is relative to the way covered, however short.
    """
    draw = random.Random(f"{scale} {start}")
    theta0 = [start * draw.gauss(0, 1) for _ in range(WIDTH)]
    gradients = [
        [scale * draw.gauss(0, 1) * (i > 0) * (draw.random() > 0.1) for i in range(WIDTH)]
        for _ in range(STEPS)
    ]
    return theta0, gradients


PROBLEMS = [(1e-6, 0.0), (1e-3, 1.0), (1.0, 0.0), (1e3, 1.0)]  # scale, start

adam_cases: list[dict[str, Any]] = [
    {},
    {"lr": 0.1, "eps": 1e-2},
    {"lr": 0.1, "beta1": 0.01, "beta2": 0.02, "eps": 1e-4},
    {"lr": 0.1, "beta1": 0.9999, "beta2": 0.9999},
    {"beta1": 0.0, "beta2": 0.0},
    {"lr": SCHEDULE},
]
CASES: dict[str, list[dict[str, Any]]] = {
    "sgd": [{}, {"lr": 0.3}, {"lr": SCHEDULE}],
    "momentum": [
        {},
        {"lr": 0.3, "momentum": 0.99},
        {"lr": 0.3, "momentum": 0.5, "dampening": 0.3},
        {"momentum": 0.0},
        {"momentum": 1e-3, "dampening": 0.3},
        {"lr": SCHEDULE},
    ],
    "nesterov": [{}, {"lr": 0.3, "momentum": 0.99}, {"momentum": 0.0}, {"lr": SCHEDULE}],
    "momentum_classical": [{}, {"lr": 0.3, "momentum": 0.99}, {"momentum": 0.0}, {"lr": SCHEDULE}],
    "rmsprop": [
        {**variant, **case}
        for variant in ({}, {"centered": True}, {"momentum": 0.9})
        for case in ({}, {"lr": 0.1, "alpha": 0.1, "eps": 1e-2}, {"alpha": 0.9999})
    ]
    + [
        {"centered": True, "momentum": 0.9},
        {"centered": True, "momentum": 0.5, "lr": 0.1, "alpha": 0.9, "eps": 1e-2},
        {"lr": SCHEDULE},
        {"centered": True, "momentum": 0.9, "lr": SCHEDULE},
    ],
    "adam": adam_cases,
    "amsgrad": [*adam_cases, {"beta2": 0.9, "lr": 0.1}],
    "adamw": [*adam_cases, {"weight_decay": 0.1, "lr": 0.1}, {"weight_decay": 0.0}],
}


def label(value: Any) -> str:
    if value is SCHEDULE:
        return "lr=schedule"
    if isinstance(value, dict):
        return ",".join(label(v) if v is SCHEDULE else f"{k}={v}" for k, v in value.items()) or "-"
    return str(value)


def at(t: int, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of step t: a schedule gives one lr a step."""
    return {k: v[t - 1] if isinstance(v, tuple) else v for k, v in hyperparameters.items()}


def run_rule(rule: Rule, theta0: Row, gradients: list[Row], **hyperparameters: Any) -> Trajectory:
    """The rule as it stands, on Python floats, one coordinate at a time."""

    def coordinate(p: float, column: Row) -> Iterator[float]:
        state = rule.init(p, **at(1, hyperparameters))
        for t, g in enumerate(column, 1):
            p, state = rule.update(p, g, state, t, **at(t, hyperparameters))
            yield p

    columns = map(coordinate, theta0, zip(*gradients, strict=True))
    return [list(row) for row in zip(*columns, strict=True)]


def deviation(found: Trajectory, oracle: list[list[Any]]) -> float:
    """The largest error of any step, relative to the largest value up to it.

    Up to it, since weight decay takes all coordinates through zero at once: there the error
    relative to the step's own values says how near to zero they came.
    """
    worst, size = 0.0, 0
    for row, exact in zip(found, oracle, strict=True):
        if not all(math.isfinite(x) for x in row):
            return math.inf
        size = max(size, *map(abs, exact))
        error = max(abs(papers.mpf(x) - y) for x, y in zip(row, exact, strict=True))
        worst = max(worst, float(error / size))
    return worst


@cache
def oracle(name: str, scale: float, start: float, settings: tuple[Any, ...]) -> list[list[Any]]:
    return papers.trajectory(name, *problem(scale, start), **dict(settings))


def disagreement(run: Callable[..., Trajectory], name: str, **settings: Any) -> float:
    """How far `run(theta0, gradients)` strays from the oracle: the worst over all problems."""
    return max(
        deviation(run(*problem(*p)), oracle(name, *p, tuple(settings.items()))) for p in PROBLEMS
    )


# --- the rules ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names())
def test_every_rule_has_an_oracle_and_every_hyperparameter_a_case(name: str) -> None:
    assert name in papers.ALGORITHMS, f"transcribe {name}'s paper into tests/oracles/papers.py"
    assert name in CASES, f"add settings for {name} that move each of its hyperparameters"
    hyperparameters = registry.get(name).hyperparameters
    assert set(signature(papers.ALGORITHMS[name]).parameters) == {"theta", "grad", *hyperparameters}
    moved = {k for case in CASES[name] for k, v in case.items() if v != hyperparameters[k].default}
    assert moved == set(hyperparameters)


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name in CASES for case in CASES[name]], ids=label
)
def test_rule_follows_its_paper(name: str, case: dict[str, Any]) -> None:
    def run(theta0: Row, gradients: list[Row]) -> Trajectory:
        return run_rule(registry.get(name), theta0, gradients, **case)

    assert disagreement(run, name, **case) <= TOLERANCE


def clipped_l2_ascent(r: Rule) -> Rule:
    return modifiers.clip_by_value(modifiers.maximize(modifiers.l2(r)))


# A modifier, its hyperparameters, and the oracle's option of the same meaning.
MODIFIED: dict[str, tuple[Callable[[Rule], Rule], dict[str, Any], dict[str, Any]]] = {
    "l2": (modifiers.l2, {"weight_decay": 0.1}, {"l2": 0.1}),
    "decoupled_decay": (
        modifiers.decoupled_decay,
        {"weight_decay": 0.1},
        {"decoupled_decay": 0.1},
    ),
    "maximize": (modifiers.maximize, {}, {"maximize": True}),
    "clip_by_value": (modifiers.clip_by_value, {"clip_value": 0.5}, {"clip_value": 0.5}),
    "all": (
        clipped_l2_ascent,
        {"weight_decay": 0.1, "clip_value": 0.5},
        {"l2": 0.1, "maximize": True, "clip_value": 0.5},
    ),
}


@pytest.mark.parametrize(
    ("name", "modifier"),
    [
        (name, modifier)
        for name in CASES
        for modifier, (_, hyperparameters, _) in MODIFIED.items()
        if not (name == "adamw" and "weight_decay" in hyperparameters)  # it has its own
    ],
)
def test_modified_rule_follows_its_paper(name: str, modifier: str) -> None:
    modify, hyperparameters, options = MODIFIED[modifier]

    def run(theta0: Row, gradients: list[Row]) -> Trajectory:
        modified = modify(registry.get(name))
        return run_rule(modified, theta0, gradients, lr=SCHEDULE, **hyperparameters)

    assert disagreement(run, name, lr=SCHEDULE, **options) <= TOLERANCE


# --- the second witness ---------------------------------------------------------------------


def torch_optimizer(name: str, p: torch.Tensor, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """torch's optimizer of that name; what is not given keeps torch's own default."""
    decays = dict.fromkeys(("l2", "decoupled_decay"), "weight_decay")
    given = {decays.get(k, k): v for k, v in settings.items() if k != "clip_value"}
    if name in ("adam", "amsgrad", "adamw"):
        decoupled = name == "adamw" or "decoupled_decay" in settings
        betas = (given.pop("beta1", 0.9), given.pop("beta2", 0.999))
        make = torch.optim.AdamW if decoupled else torch.optim.Adam
        return make([p], betas=betas, amsgrad=name == "amsgrad", **given)
    if name == "rmsprop":
        return torch.optim.RMSprop([p], **given)
    if name != "sgd":
        given.setdefault("momentum", 0.9)
    nesterov = name == "nesterov" and given["momentum"] > 0  # torch refuses it at zero
    return torch.optim.SGD([p], nesterov=nesterov, **given)


def run_torch(name: str, theta0: Row, gradients: list[Row], **settings: Any) -> Trajectory:
    p = torch.tensor(theta0, dtype=torch.float64, requires_grad=True)
    optimizer = torch_optimizer(name, p, at(1, settings))
    rows = []
    for t, row in enumerate(gradients, 1):
        p.grad = torch.tensor(row, dtype=torch.float64)
        if "clip_value" in settings:
            torch.nn.utils.clip_grad_value_([p], settings["clip_value"])
        if "lr" in settings:
            optimizer.param_groups[0]["lr"] = at(t, settings)["lr"]
        optimizer.step()
        rows.append(p.tolist())
    return rows


def has_torch(name: str, settings: dict[str, Any]) -> bool:
    """torch lacks classical momentum (torch's own until lr changes), SGDW, and AdamW with L2."""
    return not (
        (name == "momentum_classical" and settings.get("lr") is SCHEDULE)
        or ("decoupled_decay" in settings and name not in ("adam", "amsgrad"))
        or ("l2" in settings and name == "adamw")
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (name, settings)
        for name in CASES
        for settings in [
            *CASES[name],
            *({"lr": 0.1, **options} for _, _, options in MODIFIED.values()),
        ]
        if has_torch(name, settings)
    ],
    ids=label,
)
def test_oracle_agrees_with_torch(name: str, settings: dict[str, Any]) -> None:
    def run(theta0: Row, gradients: list[Row]) -> Trajectory:
        return run_torch(name, theta0, gradients, **settings)

    assert disagreement(run, name, **settings) <= TOLERANCE


def apart(
    one: str, other: str, settings_of_other: dict[str, Any] | None = None, **settings: Any
) -> float:
    """How far two oracles are from each other."""
    a = papers.trajectory(one, *problem(1.0, 1.0), **settings)
    b = papers.trajectory(other, *problem(1.0, 1.0), **(settings_of_other or settings))
    return deviation(a, b)  # type: ignore[arg-type]


def test_oracles_agree_where_the_papers_say_so() -> None:
    """Polyak's two points are Sutskever's velocity; looking ahead is the shifted form at one lr."""
    assert apart("momentum_classical", "heavy_ball", lr=SCHEDULE, l2=0.1) < 1e-45
    assert apart("nesterov", "nesterov_ahead", lr=0.1, l2=0.1) < 1e-45
    assert apart("nesterov", "nesterov_ahead", lr=SCHEDULE) > CAUGHT
    assert apart("momentum", "momentum_classical", lr=0.1) < 1e-45
    assert apart("momentum", "momentum_classical", lr=SCHEDULE) > CAUGHT
    decayed = {"lr": SCHEDULE, "decoupled_decay": 0.1}
    assert apart("adamw", "adam", decayed, lr=SCHEDULE, weight_decay=0.1) < 1e-45


# --- wrong optimizers, which the comparison must catch --------------------------------------

WRONG: list[tuple[str, Rule, dict[str, Any], dict[str, Any]]] = []


def wrong(name: str, options: dict[str, Any] | None = None, **settings: Any) -> Callable[..., None]:
    """Register a wrong version of the rule, and the settings under which its fault shows."""

    def register(function: Callable[..., Any]) -> None:
        WRONG.append((name, rule(function), settings, options or {}))

    return register


def moments(g, m, v, beta1, beta2):
    return beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2


@wrong("sgd")
def ascends(p, g, *, lr=1e-3):
    return p + lr * g


@wrong("momentum", dampening=0.3)
def buffer_starts_at_zero(p, g, b, *, lr=1e-3, momentum=0.9, dampening=0.0):
    b = momentum * b + (1 - dampening) * g
    return p - lr * b, b


@wrong("momentum")
def buffer_is_made_anew_each_step(p, g, b, *, lr=1e-3, momentum=0.9):
    return p - lr * (momentum * g + g), g


@wrong("momentum")
def buffer_starts_at_mu_g_plus_g(p, g, b, t, *, lr=1e-3, momentum=0.9):
    b = momentum * where(t == 1, g, b) + g
    return p - lr * b, b


@wrong("momentum", dampening=0.3)
def dampening_forgotten(p, g, b, *, lr=1e-3, momentum=0.9, dampening=0.0):
    b = momentum * b + g
    return p - lr * b, b


@wrong("momentum", lr=SCHEDULE)
def lr_inside_the_velocity(p, g, v, *, lr=1e-3, momentum=0.9):
    v = momentum * v + lr * g
    return p - v, v


@wrong("momentum_classical", lr=SCHEDULE)
def lr_outside_the_velocity(p, g, v, *, lr=1e-3, momentum=0.9):
    v = momentum * v + g
    return p - lr * v, v


@wrong("nesterov")
def nesterov_with_the_old_buffer(p, g, b, *, lr=1e-3, momentum=0.9):
    new = momentum * b + g
    return p - lr * (g + momentum * b), new


@wrong("nesterov", lr=SCHEDULE)
def nesterov_with_lr_inside(p, g, v, *, lr=1e-3, momentum=0.9):
    v = momentum * v + lr * g
    return p - (lr * g + momentum * v), v


@wrong("rmsprop", eps=1e-2)
def rmsprop_eps_inside_the_root(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8):
    v = alpha * v + (1 - alpha) * g**2
    return p - lr * g / sqrt(v + eps), v


@wrong("rmsprop")
def rmsprop_without_the_root(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8):
    v = alpha * v + (1 - alpha) * g**2
    return p - lr * g / (v + eps), v


@wrong("rmsprop")
def rmsprop_with_a_misplaced_parenthesis(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8):
    v = alpha * v + (1 - alpha * g**2)
    return p - lr * g / (sqrt(v) + eps), v


@wrong("rmsprop")
def rmsprop_starting_at_one(p, g, v, t, *, lr=1e-2, alpha=0.99, eps=1e-8):
    v = alpha * where(t == 1, 1.0, v) + (1 - alpha) * g**2
    return p - lr * g / (sqrt(v) + eps), v


@wrong("rmsprop", centered=True)
def rmsprop_not_centered(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8, centered=False):
    v = alpha * v + (1 - alpha) * g**2
    return p - lr * g / (sqrt(v) + eps), v


@wrong("rmsprop", centered=True)
def rmsprop_centered_by_the_old_mean(p, g, v, m, *, lr=1e-2, alpha=0.99, eps=1e-8, centered=False):
    v = alpha * v + (1 - alpha) * g**2
    return p - lr * g / (sqrt(v - m**2) + eps), v, alpha * m + (1 - alpha) * g


@wrong("rmsprop", momentum=0.9, lr=SCHEDULE)
def rmsprop_lr_inside_the_momentum(p, g, v, b, *, lr=1e-2, alpha=0.99, eps=1e-8, momentum=0.0):
    v = alpha * v + (1 - alpha) * g**2
    b = momentum * b + lr * g / (sqrt(v) + eps)
    return p - b, v, b


@wrong("adam", eps=1e-2)
def adam_eps_inside_the_root(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    return p - lr * (m / (1 - beta1**t)) / sqrt(v / (1 - beta2**t) + eps), m, v


@wrong("adam", eps=1e-2)
def adam_eps_before_the_correction(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    return p - lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + eps), m, v


@wrong("adam")
def adam_without_bias_correction(p, g, m, v, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    return p - lr * m / (sqrt(v) + eps), m, v


@wrong("adam")
def adam_correcting_the_mean_twice(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    return p - lr * m / (1 - beta1**t) ** 2 / (sqrt(v / (1 - beta2**t)) + eps), m, v


@wrong("adam")
def adam_counting_every_tensor(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    t = 2 * t  # as with two tensors
    return p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps), m, v


@wrong("adam")
def adam_stepping_with_the_old_moments(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    step = lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)
    return p - step, *moments(g, m, v, beta1, beta2)


@wrong("amsgrad", beta2=0.9)
def amsgrad_maximum_after_the_correction(
    p, g, m, v, v_max, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8
):
    m, v = moments(g, m, v, beta1, beta2)
    v_max = maximum(v_max, v / (1 - beta2**t))
    return p - lr * (m / (1 - beta1**t)) / (sqrt(v_max) + eps), m, v, v_max


@wrong("amsgrad")
def amsgrad_without_bias_correction(
    p, g, m, v, v_max, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8
):
    m, v = moments(g, m, v, beta1, beta2)
    v_max = maximum(v_max, v)
    return p - lr * m / (sqrt(v_max) + eps), m, v, v_max


@wrong("amsgrad", beta2=0.9)
def amsgrad_without_the_maximum(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    return p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps), m, v


@wrong("amsgrad", beta2=0.9)
def amsgrad_storing_the_maximum_as_v(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = maximum(v, beta2 * v + (1 - beta2) * g**2)
    return p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps), m, v


@wrong("sgd", {"decoupled_decay": 0.1}, lr=0.3)
def decay_after_the_step(p, g, *, lr=1e-3):
    p = p - lr * g
    return p - lr * 0.1 * p


@wrong("adam", {"decoupled_decay": 0.1}, lr=0.1)
def adamw_decay_after_the_step(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    p = p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)
    return p - lr * 0.1 * p, m, v


@wrong("adam", {"decoupled_decay": 0.1}, lr=0.1)
def adamw_decay_without_lr(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    p = p - 0.1 * p
    return p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps), m, v


@wrong("adamw", weight_decay=0.1)
def adamw_decay_in_the_gradient(
    p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2
):
    g = g + weight_decay * p
    m, v = moments(g, m, v, beta1, beta2)
    return p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps), m, v


@wrong("sgd", {"l2": 0.1, "maximize": True}, lr=0.1)
def decay_negated_too(p, g, *, lr=1e-3):
    return p - lr * -(g + 0.1 * p)


@wrong("sgd", {"l2": 0.1, "clip_value": 0.1}, lr=0.3)
def decay_clipped_too(p, g, *, lr=1e-3):
    return p - lr * max(-0.1, min(0.1, g + 0.1 * p))


@wrong("sgd", {"clip_value": 0.5}, lr=0.1)
def clipped_from_above_only(p, g, *, lr=1e-3):
    return p - lr * min(0.5, g)


@pytest.mark.parametrize(
    ("name", "wrong_rule", "settings", "options"),
    WRONG,
    ids=[wrong_rule.name for _, wrong_rule, _, _ in WRONG],
)
def test_comparison_catches(
    name: str, wrong_rule: Rule, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    known = {k: v for k, v in settings.items() if k in wrong_rule.hyperparameters}

    def run(theta0: Row, gradients: list[Row]) -> Trajectory:
        return run_rule(wrong_rule, theta0, gradients, **known)

    assert disagreement(run, name, **settings, **options) > CAUGHT
