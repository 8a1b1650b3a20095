"""The modifiers that no package is a witness of, against their papers written a second time in NumPy.

Each oracle changes gradients, or wraps a plain gradient descent, with loops, lists and no rule.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import ravine.numpy
import ravine.torch
from ravine import registry

SHAPES = [(), (5,), (4, 3), (3, 2, 2, 2)]
STEPS = 120
LR = 0.05
Arrays = list[np.ndarray]


def problem() -> tuple[Arrays, list[Arrays]]:
    draw = np.random.RandomState(3)
    starts = [np.array(draw.standard_normal(shape)) for shape in SHAPES]
    path = []
    for t in range(STEPS):
        size = 10 ** draw.uniform(-1, 0.5) * (8 if t % 19 == 0 else 1)  # spikes
        path.append([np.array(size * draw.standard_normal(shape)) for shape in SHAPES])
    return starts, path


def follow(name: str, engine: str, **options: float) -> tuple[list[Arrays], Arrays]:
    """The path of a stack by name, and the weights to evaluate with at its end."""
    params, grads = problem()
    optimizer = ravine.numpy.optimizer(name)(params, engine=engine, **{"lr": LR, **options})
    path = []
    for row in grads:
        path.append([np.array(x) for x in optimizer.step(row)])
        params = optimizer.params
    with optimizer.evaluating():
        return path, [np.array(x) for x in optimizer.params]


def descend(change: Callable[[Arrays, Arrays, int], Arrays]) -> list[Arrays]:
    """Gradient descent with changed gradients: change(weights, gradients, step)."""
    weights, grads = problem()
    path = []
    for t, row in enumerate(grads, 1):
        changed = change(weights, row, t)
        weights = [w - LR * g for w, g in zip(weights, changed, strict=True)]
        path.append(weights)
    return path


def clipped_by_unit(weights: Arrays, grads: Arrays, _: int) -> Arrays:
    """Brock et al. 2021, equation 3."""
    out = []
    for w, g in zip(weights, grads, strict=True):
        g = g.copy()
        units = [...] if w.ndim < 2 else [*range(len(w))]
        for unit in units:
            limit = 0.03 * max(math.sqrt((w[unit] ** 2).sum()), 1e-2)
            length = max(math.sqrt((g[unit] ** 2).sum()), 1e-6)
            if length > limit:
                g[unit] = g[unit] * limit / length
        out.append(g)
    return out


class ZClip:
    """Kumar et al. 2025, Algorithm 1, with the authors' list of the first norms."""

    def __init__(self, z: float = 2.5, alpha: float = 0.9, warmup: int = 25) -> None:
        self.z, self.alpha, self.warmup = z, alpha, warmup
        self.first: list[float] = []
        self.mean = self.variance = math.nan
        self.spikes = 0

    def __call__(self, weights: Arrays, grads: Arrays, t: int) -> Arrays:
        norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
        if t <= self.warmup:
            self.first.append(norm)
            if t == self.warmup:
                self.mean, self.variance = float(np.mean(self.first)), float(np.var(self.first))
            return grads
        deviation = math.sqrt(self.variance)
        score = (norm - self.mean) / (deviation + 1e-6)
        bound = norm
        if score > self.z:
            self.spikes += 1
            bound = self.mean + self.z**2 / score * deviation
        self.mean = self.alpha * self.mean + (1 - self.alpha) * bound
        self.variance = self.alpha * self.variance + (1 - self.alpha) * (bound - self.mean) ** 2
        return [g * (bound / (norm + 1e-6)) if bound < norm else g for g in grads]


class AdaGC:
    """Wang et al. 2025, Algorithm 1."""

    def __init__(self) -> None:
        self.gamma = [math.inf] * len(SHAPES)

    def __call__(self, weights: Arrays, grads: Arrays, t: int) -> Arrays:
        whole = math.sqrt(sum(float((g**2).sum()) for g in grads))
        out = []
        for i, g in enumerate(grads):
            length = math.sqrt(float((g**2).sum()))
            if t < 12:
                g = g * min(1.0, 0.7 / whole)
                self.gamma[i] = min(self.gamma[i], math.sqrt(float((g**2).sum())))
            else:
                g = g * min(1.0, 1.1 * self.gamma[i] / length)
                self.gamma[i] = 0.9 * self.gamma[i] + 0.1 * math.sqrt(float((g**2).sum()))
            out.append(g)
        return out


class Grokfast:
    """Lee et al. 2024, Grokfast-EMA."""

    def __init__(self) -> None:
        self.mean: Arrays = []

    def __call__(self, weights: Arrays, grads: Arrays, t: int) -> Arrays:
        pairs = zip(self.mean or grads, grads, strict=True)
        self.mean = [0.9 * m + 0.1 * g for m, g in pairs]
        return [g + 3 * m for g, m in zip(grads, self.mean, strict=True)]


CHANGES = {
    "adaptive_grad_clip": (lambda: clipped_by_unit, {"agc_clip": 0.03, "agc_eps": 1e-2}),
    "zclip": (ZClip, {"zclip_decay": 0.9}),
    "adagc": (
        AdaGC,
        {"adagc_warmup": 12, "adagc_abs": 0.7, "adagc_rel": 1.1, "adagc_decay": 0.9},
    ),
    "grokfast": (Grokfast, {"grokfast_alpha": 0.9, "grokfast_lamb": 3.0}),
}


def furthest(found: list[Arrays], exact: list[Arrays]) -> float:
    """The largest distance at any step, relative to the largest coordinate of the path."""
    pairs = [(x, y) for a, b in zip(found, exact, strict=True) for x, y in zip(a, b, strict=True)]
    size = max(float(np.abs(y).max()) for _, y in pairs)
    return max(float(np.abs(x - y).max()) for x, y in pairs) / size


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_gradient_follows_its_paper(name, engine):
    make, options = CHANGES[name]
    path, _ = follow(f"{name}(sgd)", engine, **options)
    assert furthest(path, descend(make())) <= 1e-12
    assert furthest(descend(make()), descend(lambda w, g, t: g)) > 1e-3  # it does something


def test_the_problem_has_spikes_for_zclip():
    clip = ZClip()
    descend(clip)
    assert clip.spikes >= 4


# --- of the step and the weights ------------------------------------------------------------------


def adam(cautious: bool = False, decay: float = 0.0, careful: bool = False) -> list[Arrays]:
    """Adam, with the step masked as in the code of Liang et al. 2024, or the decay as in Chen et al. 2025."""
    weights, grads = problem()
    m, v = ([np.zeros(shape) for shape in SHAPES] for _ in range(2))
    path = []
    for t, row in enumerate(grads, 1):
        after = []
        for i, (w, g) in enumerate(zip(weights, row, strict=True)):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            u = m[i] / (1 - 0.9**t) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
            if cautious:
                mask = (u * g > 0).astype(float)
                u = u * mask * (mask.size / (mask.sum() + 1))
            pull = decay * w * ((u * w >= 0) if careful else 1.0)
            after.append(w - LR * u - LR * pull)
        weights = after
        path.append(weights)
    return path


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize(
    ("name", "options", "exact"),
    [
        ("cautious(adam)", {}, lambda: adam(cautious=True)),
        (
            "decoupled_decay(cautious(adam))",
            {"weight_decay": 0.3},
            lambda: adam(cautious=True, decay=0.3),
        ),
        (
            "cautious_decay(adam)",
            {"weight_decay": 0.3},
            lambda: adam(decay=0.3, careful=True),
        ),
    ],
)
def test_a_change_of_the_step_follows_its_paper(name, options, exact, engine):
    path, _ = follow(name, engine, **options)
    assert furthest(path, exact()) <= 1e-12


def published_mechanic(s_init: float, decay: float, eps: float) -> list[Arrays]:
    """Cutkosky et al. 2023, Algorithm 1, round gradient descent; u_t is its step."""
    betas = np.array([0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999])
    weights, grads = problem()
    delta = [np.zeros(shape) for shape in SHAPES]
    s, m, v, r = np.zeros((4, len(betas)))
    start, path = weights, []
    for row in grads:
        flat = [np.concatenate([x.ravel() for x in of]) for of in (weights, row, delta)]
        x, g, d = flat
        pull = decay * s.sum() * np.linalg.norm(g) / np.linalg.norm(x)
        h = float(d @ (g + pull * x))
        m = np.maximum(betas * m, h)
        v = betas**2 * v + h**2
        r = np.maximum(0, betas * r - s * h)
        s = (s_init / len(betas) * m + r) / (np.sqrt(v) + eps)
        delta = [d - LR * g for d, g in zip(delta, row, strict=True)]
        weights = [w + s.sum() * d for w, d in zip(start, delta, strict=True)]
        path.append(weights)
    return path


@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_mechanic_paper_follows_its_algorithm(engine):
    path, _ = follow(
        "mechanic_paper(sgd)", engine, **{"s_init": 2.0, "s_decay": 0.1, "s_eps": 1e-6}
    )
    exact = published_mechanic(2.0, 0.1, 1e-6)
    assert furthest(path, exact) <= 1e-12
    authors, _ = follow("mechanic(sgd)", engine, **{"s_init": 2.0, "s_decay": 0.1, "s_eps": 1e-6})
    assert furthest(authors, exact) > 1e-3


def test_mechanic_as_published_does_not_start_where_gradients_agree():
    for name, moves in (("mechanic_paper(sgd)", False), ("mechanic(sgd)", True)):
        optimizer = ravine.numpy.optimizer(name)(np.ones(3), lr=1.0, s_init=1.0)
        for _ in range(5):
            optimizer.step(np.full(3, 0.1))
        assert (np.abs(optimizer.params - 1).max() > 1e-3) == moves, name


@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_decays_by_the_schedule_corrected_and_to_the_start(engine):
    def run(factor: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> list[Arrays]:
        weights, grads = problem()
        origin = weights
        path = []
        for row in grads:
            weights = [factor(w, o) - LR * g for w, o, g in zip(weights, origin, row, strict=True)]
            path.append(weights)
        return path

    decay = {"weight_decay": 0.2, "lr_max": 0.4}
    for name, options, factor in (
        ("scheduled_decay(sgd)", decay, lambda w, o: w - 0.2 * LR / 0.4 * w),
        ("corrected_decay(sgd)", decay, lambda w, o: w - 0.2 * LR**2 / 0.4 * w),
        ("decay_to_start(sgd)", {"weight_decay": 0.2}, lambda w, o: w - 0.2 * LR * (w - o)),
    ):
        path, _ = follow(name, engine, **options)
        assert furthest(path, run(factor)) <= 1e-13, name


@pytest.mark.parametrize(
    ("name", "options", "average"),
    [
        ("ema(adam)", {"ema_decay": 0.9}, {"multi_avg_fn": get_ema_multi_avg_fn(0.9)}),
        ("polyak(adam)", {}, {}),
        ("swa(adam)", {"swa_start": 30, "swa_every": 4}, {}),
    ],
)
def test_averages_are_those_of_torch(name, options, average):
    starts, grads = problem()

    def model() -> torch.nn.ParameterList:
        return torch.nn.ParameterList([torch.tensor(x) for x in starts])

    ours, theirs = model(), model()
    optimizer = ravine.torch.optimizer(name)(ours.parameters(), lr=LR, **options)
    plain = torch.optim.Adam(theirs.parameters(), lr=LR)
    averaged = AveragedModel(theirs, **average)
    for t, row in enumerate(grads, 1):
        for of, stepped in ((ours, optimizer), (theirs, plain)):
            for p, g in zip(of.parameters(), row, strict=True):
                p.grad = torch.tensor(g)
            stepped.step()
        past = t - options.get("swa_start", 0)
        if past > 0 and past % options.get("swa_every", 1) == 0:
            averaged.update_parameters(theirs)
    with optimizer.evaluating():
        for p, q in zip(ours.parameters(), averaged.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_before_swa_starts_evaluation_is_with_the_weights():
    path, evaluated = follow("swa(sgd)", "kernel", swa_start=STEPS)
    for x, y in zip(evaluated, path[-1], strict=True):
        np.testing.assert_array_equal(x, y)


# --- stacks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cautious(cautious(adam))", "cautious is already part of cautious(adam)"),
        ("centralize(l2(centralize(sgd)))", "centralize is already part of l2(centralize(sgd))"),
        ("l2(adamw)", "adamw and l2 both have 'weight_decay'"),
        ("clip_by_norm(clip_by_global_norm(sgd))", "both have 'max_norm'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(name, reason):
    with pytest.raises(TypeError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        registry.get(name)
