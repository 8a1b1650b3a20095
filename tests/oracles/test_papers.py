"""The rules and torch.optim, compared with the papers in 50 digits.

Every registered rule needs a witness, or an oracle: in papers.py, or in the `of_*.py` of its family.
Every hyperparameter of an oracle needs a case that moves it. That the comparison tells algorithms apart
is itself tested: wrong optimizers, the well-known mistakes, must each be caught by it.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from cases import default_dtype

from ravine import modifiers, registry
from ravine.ops import (
    abs,
    clip,
    maximum,
    mean,
    minimum,
    ndim,
    newton_schulz,
    rms,
    sign,
    size,
    sqrt,
    where,
)
from ravine.rule import Rule, filled, rule, scalar, zeros

from . import papers

STEPS = 50
WIDTH = 6
# Fifty steps of some ten roundings leave about 1e-15; 1 - 0.9999**t loses digits and leaves 1.2e-13.
TOLERANCE = 2e-13
# RAdam's rho is 1999 less almost as much, at beta2 = 0.9999 19999 (torch's loses the same digits).
LOSING_DIGITS = {"radam": 1e-9, "radam_paper": 1e-9}
CAUGHT = 1e-4  # a wrong algorithm is off by at least a hundred thousand tolerances

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


# The rules of whole arrays get the coordinates as matrices, wide and tall, or as a vector.
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "adafactor": [(2, 3), (3, 2), (WIDTH,)],
    "muon": [(2, 3), (3, 2)],
}
PROBLEMS = [(1e-6, 0.0), (1e-3, 1.0), (1.0, 0.0), (1e3, 1.0)]  # scale, start

adam_cases: list[dict[str, Any]] = [
    {},
    {"lr": 0.1, "eps": 1e-2},
    {"lr": 0.1, "beta1": 0.01, "beta2": 0.02, "eps": 1e-4},
    {"lr": 0.1, "beta1": 0.9999, "beta2": 0.9999},
    {"beta1": 0.0, "beta2": 0.0},
    {"lr": SCHEDULE},
]
adafactor_cases: list[dict[str, Any]] = [
    {},
    {"lr": 0.3, "eps2": 0.1},
    {"eps1": 1e-4, "beta2_decay": -0.5},
    {"d": 2.0, "lr": 0.1},
    {"weight_decay": 0.3, "lr": 0.3},
    {"lr": SCHEDULE, "weight_decay": 0.1},
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
    "momentum_ema": [{}, {"lr": 0.3, "beta1": 0.99}, {"beta1": 0.0}, {"lr": SCHEDULE}],
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
    "adam_eps_hat": adam_cases,
    "adamax": [*adam_cases[:-2], {"beta1": 0.0, "beta2": 0.5}, {"lr": SCHEDULE}],
    "nadam": [*adam_cases, {"momentum_decay": 1.0}, {"momentum_decay": 0.0, "lr": 0.1}],
    "radam": [*adam_cases, {"beta2": 0.9, "lr": 0.1}, {"beta2": 0.5}],
    "adagrad": [
        {},
        {"lr": 0.1, "eps": 1e-2},
        {"lr": 0.1, "lr_decay": 0.1},
        {"lr": 0.1, "v0": 0.1},
        {"lr": SCHEDULE, "v0": 1e-3, "lr_decay": 1e-2},
    ],
    "adadelta": [
        {},
        {"lr": 0.3, "eps": 1e-2},
        {"rho": 0.5},
        {"rho": 0.0, "eps": 1e-3},
        {"lr": SCHEDULE},
    ],
    "rprop": [
        {},
        {"lr": 0.3},
        {"eta_minus": 0.3, "eta_plus": 1.7},
        {"step_min": 9e-3, "step_max": 1.1e-2},
        {"lr": 1.0, "step_max": 0.1},
        {"lr": SCHEDULE},
    ],
    "asgd": [
        {},
        {"lr": 0.3, "lambd": 0.1, "alpha": 0.5},
        {"t0": 7.0},
        {"t0": 7.5, "lambd": 1e-2},
        {"t0": 0.0, "lr": 0.1},
        {"lr": SCHEDULE, "lambd": 0.1, "t0": 3.0},
    ],
    "adafactor": adafactor_cases,
    "muon": [
        {},
        {"lr": 0.1, "momentum": 0.5},
        {"nesterov": False},
        {"match_adamw": True},
        {"unclamped": True},
        {"ns_a": 2.0, "ns_b": -1.5, "ns_c": 0.5, "ns_steps": 8},
        {"ns_a": 1.5, "ns_b": -0.5, "ns_c": 0.0},
        {"eps": 10.0, "ns_steps": 3},
        {"lr": SCHEDULE},
    ],
}
PRECISION = {"bfloat16"}  # the same algorithm, less exactly

# Each with ALGORITHMS and CASES; with SHAPES where it has matrices, UNMODIFIED where they take too long.
for _module in papers.families():
    CASES |= _module.CASES
    SHAPES |= getattr(_module, "SHAPES", {})
UNMODIFIED = {name for _module in papers.families() for name in getattr(_module, "UNMODIFIED", ())}


def label(value: Any) -> str:
    if value is SCHEDULE:
        return "lr=schedule"
    if isinstance(value, dict):
        return ",".join(label(v) if v is SCHEDULE else f"{k}={v}" for k, v in value.items()) or "-"
    return str(value)


def at(t: int, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of step t: a schedule gives one lr a step."""
    return {k: v[t - 1] if isinstance(v, tuple) else v for k, v in hyperparameters.items()}


def run_rule(
    rule: Rule,
    theta0: Row,
    gradients: list[Row],
    shape: tuple[int, ...] | None = None,
    evaluate: bool = False,
    **hyperparameters: Any,
) -> Trajectory:
    """The rule as it stands, on Python floats, one coordinate at a time, or on an array.

    evaluate: the weights to evaluate with instead of the last ones.
    """

    def coordinate(p: Any, column: Sequence[Any]) -> Iterator[Any]:
        state = rule.init(p, **at(1, hyperparameters))
        for t, g in enumerate(column, 1):
            now = at(t, hyperparameters)
            p, state = rule.update(p, g, state, t, **now)
            yield rule.evaluate(p, state, **now) if evaluate else p

    if shape:
        whole = [np.reshape(row, shape) for row in gradients]
        return [p.ravel().tolist() for p in coordinate(np.reshape(theta0, shape), whole)]
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
        worst = max(worst, float(error / size) if error and size else math.inf * bool(error))
    return worst


def tolerance(name: str) -> float:
    return LOSING_DIGITS.get(name, TOLERANCE)


@cache
def oracle(
    name: str, shape: Any, scale: float, start: float, settings: tuple[Any, ...]
) -> list[list[Any]]:
    return papers.trajectory(name, *problem(scale, start), shape=shape, **dict(settings))


def disagreement(run: Callable[..., Trajectory], name: str, **settings: Any) -> float:
    """How far `run(theta0, gradients, shape)` strays from the oracle: the worst over all problems."""
    return max(
        deviation(run(*problem(*p), shape), oracle(name, shape, *p, tuple(settings.items())))
        for p in PROBLEMS
        for shape in SHAPES.get(name, [None])
    )


# --- the rules ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names())
def test_every_rule_has_an_oracle_and_every_hyperparameter_a_case(name: str) -> None:
    card = registry.get(name).card
    if (card.witnesses or card.unverified) and name not in papers.ALGORITHMS:
        return
    assert name in papers.ALGORITHMS, (
        f"{name} has no witness; transcribe its paper in tests/oracles"
    )
    assert bool(card.unverified) == (not card.witnesses and tolerance(name) > 1e-12), (
        f"{name} has an oracle: it is verified, or says how far from it it is"
    )
    assert name in CASES, f"add settings for {name} that move each of its hyperparameters"
    hyperparameters = registry.get(name).hyperparameters
    asked = {*signature(papers.ALGORITHMS[name]).parameters} - {"theta", "grad"}
    assert asked == {*hyperparameters} - PRECISION
    moved = {k for case in CASES[name] for k, v in case.items() if v != hyperparameters[k].default}
    assert moved == asked
    assert (registry.get(name).evaluation is not None) == (name in papers.EVALUATED)


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name in CASES for case in CASES[name]], ids=label
)
def test_rule_follows_its_paper(name: str, case: dict[str, Any]) -> None:
    def run(theta0: Row, gradients: list[Row], shape: Any) -> Trajectory:
        return run_rule(registry.get(name), theta0, gradients, shape, **case)

    assert disagreement(run, name, **case) <= tolerance(name)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_adamuon_follows_its_authors_with_their_eps(shape: tuple[int, int]) -> None:
    """Above it is larger, since Newton-Schulz makes entries of smaller matrices of signs zero."""
    draw = random.Random(1)
    row = [draw.gauss(0, 1) for _ in range(math.prod(shape))]
    gradients = [[draw.gauss(0, 1) for _ in row] for _ in range(20)]
    exact = papers.trajectory("adamuon", row, gradients, shape=shape)
    found = run_rule(registry.get("adamuon"), row, gradients, shape)
    assert deviation(found, exact) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name in papers.EVALUATED for case in CASES[name]], ids=label
)
def test_weights_to_evaluate_with_follow_their_paper(name: str, case: dict[str, Any]) -> None:
    apart = 0.0
    for p in PROBLEMS:
        found = run_rule(registry.get(name), *problem(*p), evaluate=True, **case)
        path = oracle(name, None, *p, tuple(case.items()))
        apart = max(apart, deviation(found, path))
        columns = [papers.EVALUATED[name](column, **case) for column in zip(*path, strict=True)]
        expected = [list(row) for row in zip(*columns, strict=True)]
        assert deviation(found, expected) <= tolerance(name)
    assert (apart > CAUGHT) == (case.get("t0", 1e6) < STEPS)


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


NOT_TO_BE_MODIFIED = {
    (
        "asgd",
        "decoupled_decay",
    ),  # it looks at the parameter itself: decay before is not decay after
    *(
        ("muon", x) for x in ("l2", "all")
    ),  # what rounding leaves of p is made as large as p, and so on
}


@pytest.mark.parametrize(
    ("name", "modifier"),
    [
        (name, modifier)
        for i, name in enumerate(CASES)  # all of them together, and one alone, by turns
        for modifier, (_, hyperparameters, _) in MODIFIED.items()
        if modifier in ("all", list(MODIFIED)[i % len(MODIFIED)])
        and name not in UNMODIFIED
        and (name, modifier) not in NOT_TO_BE_MODIFIED
        and not {*hyperparameters} & {*registry.get(name).hyperparameters}  # a decay of their own
    ],
)
def test_modified_rule_follows_its_paper(name: str, modifier: str) -> None:
    modify, hyperparameters, options = MODIFIED[modifier]

    def run(theta0: Row, gradients: list[Row], shape: Any) -> Trajectory:
        modified = modify(registry.get(name))
        return run_rule(modified, theta0, gradients, shape, lr=SCHEDULE, **hyperparameters)

    assert disagreement(run, name, lr=SCHEDULE, **options) <= tolerance(name)


# --- the second witness ---------------------------------------------------------------------


# torch's class for each, and what the class takes together, by our names.
TORCH: dict[str, tuple[Any, dict[str, tuple[str, ...]]]] = {
    **dict.fromkeys(("sgd", "momentum", "nesterov", "momentum_classical"), (torch.optim.SGD, {})),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adam": (torch.optim.Adam, {"betas": ("beta1", "beta2")}),
    "amsgrad": (partial(torch.optim.Adam, amsgrad=True), {"betas": ("beta1", "beta2")}),
    "adamw": (torch.optim.AdamW, {"betas": ("beta1", "beta2")}),
    "adam_eps_hat": (torch.optim.SparseAdam, {"betas": ("beta1", "beta2")}),
    "adamax": (torch.optim.Adamax, {"betas": ("beta1", "beta2")}),
    "nadam": (torch.optim.NAdam, {"betas": ("beta1", "beta2")}),
    "radam": (torch.optim.RAdam, {"betas": ("beta1", "beta2")}),
    "adagrad": (torch.optim.Adagrad, {}),
    "adadelta": (torch.optim.Adadelta, {}),
    "rprop": (
        torch.optim.Rprop,
        {"etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_min", "step_max")},
    ),
    "asgd": (torch.optim.ASGD, {}),
    "adafactor": (torch.optim.Adafactor, {"eps": ("eps1", "eps2")}),
}


def torch_optimizer(name: str, p: torch.Tensor, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """torch's optimizer of that name; what is not given keeps torch's own default."""
    make, together = TORCH[name]
    names = {"l2": "weight_decay", "decoupled_decay": "weight_decay"}
    names["v0"] = "initial_accumulator_value"
    given = {names.get(k, k): v for k, v in settings.items() if k != "clip_value"}
    for option, parts in together.items():
        if {*parts} & {*given}:
            defaults = signature(make).parameters[option].default
            pairs = zip(parts, defaults, strict=True)
            given[option] = tuple(given.pop(part, default) for part, default in pairs)
    if "decoupled_decay" in settings:
        given["decoupled_weight_decay"] = True
    if make is torch.optim.SGD and name != "sgd":
        given.setdefault("momentum", 0.9)
        given["nesterov"] = name == "nesterov" and given["momentum"] > 0  # torch refuses it at 0
    return make([p], **given)


def run_torch(
    name: str, theta0: Row, gradients: list[Row], shape: Any = None, **settings: Any
) -> Trajectory:
    p = torch.tensor(theta0, dtype=torch.float64).reshape(shape or -1).requires_grad_()
    rows = []
    with default_dtype(torch.float64):  # in which NAdam and ASGD keep numbers
        optimizer = torch_optimizer(name, p, at(1, settings))
        for t, row in enumerate(gradients, 1):
            p.grad = torch.tensor(row, dtype=torch.float64).reshape(p.shape)
            if "clip_value" in settings:
                torch.nn.utils.clip_grad_value_([p], settings["clip_value"])
            if name == "adam_eps_hat":  # sparse, with all entries in it
                where = torch.arange(len(row))[None]
                p.grad = torch.sparse_coo_tensor(where, p.grad, check_invariants=True)
            if "lr" in settings:
                optimizer.param_groups[0]["lr"] = at(t, settings)["lr"]
            optimizer.step()
            rows.append(p.flatten().tolist())
    return rows


def decouples(name: str) -> bool:
    return "decoupled_weight_decay" in signature(TORCH[name][0]).parameters


def has_torch(name: str, settings: dict[str, Any]) -> bool:
    """What torch lacks: classical momentum (torch's own until lr changes), Muon in float64, and some
    decays, or the installed torch does.
    """
    options = {"l2", "decoupled_decay"} & {*settings}
    own = {"adamw", "adam_eps_hat", "adafactor", "rprop"}  # or have none
    return name in TORCH and not (
        (name == "momentum_classical" and settings.get("lr") is SCHEDULE)
        or ("decoupled_decay" in options and not decouples(name))
        or (options and name in own)
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
    def run(theta0: Row, gradients: list[Row], shape: Any) -> Trajectory:
        return run_torch(name, theta0, gradients, shape, **settings)

    assert disagreement(run, name, **settings) <= tolerance(name)


def apart(
    one: str, other: str, settings_of_other: dict[str, Any] | None = None, **settings: Any
) -> float:
    """How far two oracles are from each other."""
    a = papers.trajectory(one, *problem(1.0, 1.0), **settings)
    b = papers.trajectory(other, *problem(1.0, 1.0), **(settings_of_other or settings))
    return deviation(a, b)  # type: ignore[arg-type]


def test_momentum_of_the_course_has_its_published_numbers() -> None:
    """deeplearning.ai, "Optimization methods": the output printed for update_parameters_with_momentum."""
    random = np.random.RandomState(1)
    shapes = ((2, 3), (2, 1), (3, 3), (3, 1))
    parameters = [random.randn(*shape) for shape in shapes]
    gradients = [random.randn(*shape) for shape in shapes]
    published = [
        [[1.62544598, -0.61290114, -0.52907334], [-1.07347112, 0.86450677, -2.30085497]],
        [[1.74493465], [-0.76027113]],
        [
            [0.31930698, -0.24990073, 1.4627996],
            [-2.05974396, -0.32173003, -0.38320915],
            [1.13444069, -1.0998786, -0.1713109],
        ],
        [[-0.87809283], [0.04055394], [0.58207317]],
    ]
    velocity = [[-0.11006192, 0.11447237, 0.09015907], [0.05024943, 0.09008559, -0.06837279]]
    course = registry.get("momentum_ema")
    found = [
        course(p, g, 0 * p, lr=0.01, beta1=0.9) for p, g in zip(parameters, gradients, strict=True)
    ]
    for (p, _), expected in zip(found, published, strict=True):
        np.testing.assert_allclose(p, expected, rtol=0, atol=5.1e-9)
    np.testing.assert_allclose(found[0][1], velocity, rtol=0, atol=5.1e-9)


def test_oracles_agree_where_the_papers_say_so() -> None:
    """Polyak's two points are Sutskever's velocity; looking ahead is the shifted form at one lr."""
    assert apart("momentum_classical", "heavy_ball", lr=SCHEDULE, l2=0.1) < 1e-45
    assert apart("nesterov", "nesterov_ahead", lr=0.1, l2=0.1) < 1e-45
    assert apart("nesterov", "nesterov_ahead", lr=SCHEDULE) > CAUGHT
    assert apart("momentum", "momentum_classical", lr=0.1) < 1e-45
    assert apart("momentum", "momentum_classical", lr=SCHEDULE) > CAUGHT
    averaged = {"lr": 1.0, "beta1": 0.75}  # at lr * (1 - beta1) the sum takes the mean's steps
    assert apart("momentum", "momentum_ema", averaged, lr=0.25, momentum=0.75) < 1e-45
    decayed = {"lr": SCHEDULE, "decoupled_decay": 0.1}
    assert apart("adamw", "adam", decayed, lr=SCHEDULE, weight_decay=0.1) < 1e-45


# --- wrong optimizers, which the comparison must catch --------------------------------------

WRONG: list[tuple[str, Rule, dict[str, Any], dict[str, Any]]] = []


def wrong(name: str, options: dict[str, Any] | None = None, **settings: Any) -> Callable[..., None]:
    """Register a wrong version of the rule, and the settings under which its fault shows."""

    def register(function: Any) -> None:
        made = function if isinstance(function, Rule) else rule(function)
        WRONG.append((name, made, settings, options or {}))

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


@wrong("momentum_ema")
def ema_starting_at_the_gradient(p, g, v, t, *, lr=1e-2, beta1=0.9):
    v = where(t == 1, g, beta1 * v + (1 - beta1) * g)
    return p - lr * v, v


@wrong("momentum_ema")
def ema_corrected_for_its_start(p, g, v, t, *, lr=1e-2, beta1=0.9):
    v = beta1 * v + (1 - beta1) * g
    return p - lr * v / (1 - beta1**t), v


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


@wrong("adam_eps_hat", eps=1e-2)
def eps_hat_after_the_correction(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    return p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps), m, v


@wrong("adamax", eps=1e-2)
def adamax_eps_in_the_denominator(p, g, m, u, t, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, u = beta1 * m + (1 - beta1) * g, maximum(beta2 * u, abs(g))
    return p - lr / (1 - beta1**t) * m / (u + eps), m, u


@wrong("adamax")
def adamax_without_bias_correction(p, g, m, u, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, u = beta1 * m + (1 - beta1) * g, maximum(beta2 * u, abs(g) + eps)
    return p - lr * m / u, m, u


@wrong("nadam")
def nadam_with_constant_momentum(p, g, m, v, t, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = moments(g, m, v, beta1, beta2)
    m_hat = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
    return p - lr * m_hat / (sqrt(v / (1 - beta2**t)) + eps), m, v


@wrong("nadam")
@rule(product=scalar(1.0))
def nadam_with_the_same_product_twice(
    p, g, m, v, product, t, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=4e-3
):
    mu, after = (beta1 * (1 - 0.5 * 0.96 ** (momentum_decay * s)) for s in (t, t + 1))
    product = product * mu
    m, v = moments(g, m, v, beta1, beta2)
    m_hat = (after * m + (1 - mu) * g) / (1 - product)
    return p - lr * m_hat / (sqrt(v / (1 - beta2**t)) + eps), m, v, product


def rectified(p, g, m, v, t, lr, beta1, beta2, step_of):
    m, v = moments(g, m, v, beta1, beta2)
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
    r = sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    return p - lr * m / (1 - beta1**t) * step_of(rho, r, v), m, v


@wrong("radam")
def radam_from_rho_4_on(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    def step(rho, r, v):
        return where(rho > 4, r * sqrt(1 - beta2**t) / (sqrt(v) + eps), 1.0)

    return rectified(p, g, m, v, t, lr, beta1, beta2, step)


@wrong("radam")
def radam_skipping_the_first_steps(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    def step(rho, r, v):
        return where(rho > 5, r * sqrt(1 - beta2**t) / (sqrt(v) + eps), 0.0)

    return rectified(p, g, m, v, t, lr, beta1, beta2, step)


@wrong("radam", eps=1e-2, lr=0.1)
def radam_eps_after_the_correction(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    def step(rho, r, v):
        return where(rho > 5, r / (sqrt(v / (1 - beta2**t)) + eps), 1.0)

    return rectified(p, g, m, v, t, lr, beta1, beta2, step)


@wrong("adagrad", eps=1e-2)
def adagrad_eps_inside_the_root(p, g, v, *, lr=1e-2, eps=1e-10):
    v = v + g**2
    return p - lr * g / sqrt(v + eps), v


@wrong("adagrad", lr_decay=0.1, lr=0.1)
def adagrad_decaying_from_the_first_step_on(p, g, v, t, *, lr=1e-2, lr_decay=0.0, eps=1e-10):
    v = v + g**2
    return p - lr / (1 + t * lr_decay) * g / (sqrt(v) + eps), v


@wrong("adagrad", v0=0.1)
def adagrad_starting_at_zero(p, g, v, *, lr=1e-2, eps=1e-10):
    v = v + g**2
    return p - lr * g / (sqrt(v) + eps), v


@wrong("adadelta")
def adadelta_with_the_new_steps(p, g, v, u, *, lr=1.0, rho=0.9, eps=1e-6):
    v = rho * v + (1 - rho) * g**2
    u = rho * u + (1 - rho) * ((u + eps) / (v + eps)) * g**2
    return p - lr * sqrt(u + eps) / sqrt(v + eps) * g, v, u


@wrong("adadelta", eps=1e-2)
def adadelta_eps_outside_the_root(p, g, v, u, *, lr=1.0, rho=0.9, eps=1e-6):
    v = rho * v + (1 - rho) * g**2
    step = (sqrt(u) + eps) / (sqrt(v) + eps) * g
    return p - lr * step, v, rho * u + (1 - rho) * step**2


@wrong("rprop")
@rule(size=filled("lr"))
def rprop_that_does_not_rest(
    p, g, prev, size, *, lr=1e-2, eta_minus=0.5, eta_plus=1.2, step_min=1e-6, step_max=50.0
):
    size = size * where(g * prev > 0, eta_plus, where(g * prev < 0, eta_minus, 1.0))
    size = clip(size, step_min, step_max)
    return p - sign(g) * size, g, size


@wrong("rprop")
@rule(size=filled("lr"))
def rprop_taking_the_step_before(
    p, g, prev, update, size, *, lr=1e-2, eta_minus=0.5, eta_plus=1.2, step_min=1e-6, step_max=50.0
):
    factor = where(g * prev > 0, eta_plus, where(g * prev < 0, eta_minus, 1.0))
    size = clip(size * factor, step_min, step_max)
    g = where(g * prev < 0, 0.0, g)
    return p - update, g, sign(g) * size, size


@wrong("rprop", step_min=9e-3, step_max=1.1e-2)
@rule(size=filled("lr"))
def rprop_without_bounds(p, g, prev, size, *, lr=1e-2, eta_minus=0.5, eta_plus=1.2):
    size = size * where(g * prev > 0, eta_plus, where(g * prev < 0, eta_minus, 1.0))
    g = where(g * prev < 0, 0.0, g)
    return p - sign(g) * size, g, size


@wrong("asgd", lambd=0.1, lr=0.3)
def asgd_with_the_new_eta(p, g, t, *, lr=1e-2, lambd=1e-4, alpha=0.75):
    eta = lr / (1 + lambd * lr * t) ** alpha
    return p * (1 - lambd * eta) - eta * g


@wrong("asgd", lambd=0.1, lr=0.3)
@rule(eta=scalar("lr"))
def asgd_decaying_after_the_step(p, g, eta, t, *, lr=1e-2, lambd=1e-4, alpha=0.75):
    p = (p - eta * g) * (1 - lambd * eta)
    return p, lr / (1 + lambd * lr * t) ** alpha


def factored(p, g, r, c, v, t, alpha, v_of):
    beta2 = 1 - t**-0.8
    if ndim(p) >= 2:
        r = beta2 * r + (1 - beta2) * mean(g**2, axis=-1)
        c = beta2 * c + (1 - beta2) * mean(g**2, axis=-2)
        v = v_of(r, c)
    else:
        v = beta2 * v + (1 - beta2) * g**2
    u = g / sqrt(maximum(v, 2.0**-104))
    return p - alpha * u / maximum(1.0, rms(u)), r, c, v


def relative(p, t, lr):
    return maximum(1e-3, rms(p)) * minimum(lr, 1 / sqrt(t))


def normalized(r, c):
    return r * c / maximum(mean(r, axis=-2), 2.0**-52)


@wrong("adafactor")
@rule(r=zeros(-1), c=zeros(-2))
def adafactor_not_normalized(p, g, r, c, v, t, *, lr=1e-2):
    return factored(p, g, r, c, v, t, relative(p, t, lr), lambda r, c: r * c)


@wrong("adafactor")
@rule(r=zeros(-1), c=zeros(-2))
def adafactor_with_absolute_steps(p, g, r, c, v, t, *, lr=1e-2):
    return factored(p, g, r, c, v, t, lr, normalized)


@wrong("adafactor")
@rule(r=zeros(-1), c=zeros(-2))
def adafactor_of_the_last_row_sums(p, g, r, c, v, t, *, lr=1e-2):
    before = mean(r, axis=-2) if ndim(p) >= 2 else 0
    alpha = relative(p, t, lr)
    return factored(p, g, r, c, v, t, alpha, lambda r, c: r * c / maximum(before, 2.0**-52))


@wrong("adafactor")
@rule(r=zeros(-1), c=zeros(-2))
def adafactor_without_clipping_vectors(p, g, r, c, v, t, *, lr=1e-2):
    alpha = relative(p, t, lr)
    if ndim(p) < 2:
        beta2 = 1 - t**-0.8
        v = beta2 * v + (1 - beta2) * g**2
        return p - alpha * g / sqrt(maximum(v, 2.0**-104)), r, c, v
    return factored(p, g, r, c, v, t, alpha, normalized)


@wrong("adafactor", weight_decay=0.3, lr=0.3)
@rule(r=zeros(-1), c=zeros(-2))
def adafactor_looking_at_decayed_weights(p, g, r, c, v, t, *, lr=1e-2, weight_decay=0.0):
    p = p * (1 - lr * weight_decay)
    return registry.get("adafactor")(p, g, r, c, v, t, lr=lr)


@wrong("muon")
def muon_with_the_scale_upside_down(p, g, m, *, lr=1e-3):
    m = 0.95 * m + 0.05 * g
    o = newton_schulz(0.95 * m + 0.05 * g, 3.4445, -4.775, 2.0315)
    return p - lr * sqrt(maximum(1.0, size(p, -1) / size(p, -2))) * o, m


@wrong("muon")
def muon_without_looking_ahead(p, g, m, *, lr=1e-3):
    m = 0.95 * m + 0.05 * g
    o = newton_schulz(m, 3.4445, -4.775, 2.0315)
    return p - lr * sqrt(maximum(1.0, size(p, -2) / size(p, -1))) * o, m


@wrong("muon")
def muon_with_one_step_more(p, g, m, *, lr=1e-3):
    return registry.get("muon")(p, g, m, lr=lr, ns_steps=6)


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

    def run(theta0: Row, gradients: list[Row], shape: Any) -> Trajectory:
        return run_rule(wrong_rule, theta0, gradients, shape, **known)

    assert disagreement(run, name, **settings, **options) > CAUGHT
