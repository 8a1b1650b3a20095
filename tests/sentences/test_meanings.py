"""What hyperparameters mean: each kind of meaning is a law, which holds for every rule that says so."""

import re

import numpy as np
import pytest

from ravine import registry
from sentences import GRADS, G, P, first, follow, norm, same, steps

OWN = [name for name in registry.names() if not registry.rules().package(name)]
MODIFIED = [f"{name}(sgd)" for name in registry.modifiers()]
MEANINGS = [
    (name, key, h.meaning)
    for name in [*OWN, *MODIFIED]
    for key, h in registry.get(name).hyperparameters.items()
]
LAWFUL: set[str] = set()


def means(pattern):
    """Run a test for every (name, key) whose meaning matches in full."""
    found = [(n, k, m) for n, k, m in MEANINGS if re.fullmatch(pattern, m)]
    assert found, f"nothing means {pattern!r}"
    LAWFUL.update(m for *_, m in found)
    return pytest.mark.parametrize(
        ("name", "key", "meaning"), found, ids=[f"{n}-{k}" for n, k, _ in found]
    )


def bare(rule, **options):
    """Nothing decays, nothing is added, no switch is on; and then these."""
    known = registry.get(rule).hyperparameters
    off = {k: 0.0 for k in ("eps", "weight_decay", "ns_eps", "warmup_steps") if k in known}
    return {**off, **{k: x for k, x in options.items() if k in known}}


def after(name, g, state, t, p=P, **options):
    """The state after one step, by slot."""
    rule = registry.get(name)
    values = rule.values({k: x for k, x in options.items() if k in rule.hyperparameters})
    values |= {k: np.abs(g) + 0 * p for k in rule.signals}
    with np.errstate(all="ignore"):
        return dict(zip(rule.slots, rule.update(p, g, state, t, **values)[1], strict=True))


RATE = 0.7


def running(name, key, t=10**6):
    """The slots that keep this share of themselves: a change of theirs is left times it; and what of."""
    rule = registry.get(name)
    options = {"zclip_warmup": 1, "z_threshold": 1e9, key: RATE}  # zclip past its warm-up
    start = follow(name, GRADS[:4], **options, hessian=P, sampled=P)[1][-1]
    base = after(name, GRADS[4], tuple(start.values()), t, **options)
    for slot in rule.slots:
        more = {**start, slot: start[slot] + np.abs(start[slot]) * 0.5 + 1e-3}
        with np.errstate(all="ignore"):
            grown = after(name, GRADS[4], tuple(more.values()), t, **options)[slot] - base[slot]
            share = grown / (more[slot] - start[slot])
        if np.size(share) and np.allclose(share, RATE, rtol=1e-6):
            yield slot, (base[slot] - RATE * start[slot]) / (1 - RATE)


@means(
    "decay rates? of the .*(mean|largest|means) .*|decay rate of the .*mean|share of (the|each) velocity .*|"
    "share of the sum of the gradients kept from step to step"
)
def test_what_is_kept_from_step_to_step(name, key, meaning):
    kept = dict(running(name, key))
    assert kept, f"no slot of {name} keeps {key} of itself"
    if meaning == "decay rate of the mean of the gradients":
        assert any(np.allclose(x, GRADS[4]) for x in kept.values())
    if meaning == "decay rate of the mean of the squared gradients":
        squares = GRADS[4] ** 2
        wholes = (
            squares,
            squares.mean(axis=1, keepdims=True),
            squares.mean(axis=0, keepdims=True),
            squares.mean(),
        )
        assert any(
            np.allclose(x, y) for x in kept.values() for y in wholes if np.shape(x) == np.shape(y)
        )


ROOTS = (
    "added to the root mean square of the gradients",
    "added to the root mean square of the gradients, and to norms",
    "added to the root mean square before its bias correction",
    "added to the root mean square of the gradients before its bias correction",
)


@means("|".join(ROOTS))
def test_what_is_added_to_roots(name, key, meaning):
    """How much longer steps are with 0, in the thirtieth along one gradient, whose size adam_mini's
    rows have in common. It is added to the root that the state keeps, or to the corrected one. The steps
    of lamb have one length whatever is added, and those of an estimated lr another length."""
    g = 0 * G + np.linspace(1, 2, 6)[:, None] if name == "adam_mini" else G
    ends = [
        follow(name, [g] * 30, **bare(name, lr=1e-3, max_grad_norm=1e9, **{key: x}))
        for x in (1e-30, 0.5)
    ]
    ways = [[its["z"] for its in states] if "z" in states[0] else places for places, states in ends]
    longer = np.divide(*(points[-1] - points[-2] for points in ways))
    rule, last = registry.get(name), ends[0][1][-1]
    beta2 = rule.hyperparameters["beta2"].default if "beta2" in rule.hyperparameters else 0.99
    corrects = "before" not in meaning and rule.takes_t and not np.allclose(last["v"], g**2)
    root = np.sqrt(last["v"] / (1 - beta2**30 if corrects else 1))
    found = longer / (1 + 0.5 / root)
    np.testing.assert_allclose(found, found[0, 0], rtol=2e-5)
    if name not in ("lamb", "lamb_v3") and "d" not in last:
        assert found[0, 0] == pytest.approx(1, rel=1e-6)


LR, DECAY = 0.1, 0.3
SHRINKS = {  # of a gradient of zero, in the first step: the share that the weights lose
    "the weights shrink by lr times this in each step": lambda v: LR * DECAY,
    "the weights shrink by lr / (1 - momentum) times this in each step": (
        lambda v: LR * DECAY / (1 - v["momentum"])
    ),
    "the weights shrink by lr**2 / lr_peak times this in each step": (
        lambda v: LR**2 / v["lr_peak"] * DECAY
    ),
    "the weights shrink by the estimated rate times this in each step": (
        lambda v: v["d0"] * LR * DECAY
    ),
    "the weights shrink by this times the clipped learning rate": lambda v: LR * DECAY,
    "after the step, the weights are divided by 1 + lr times this": (
        lambda v: 1 - 1 / (1 + LR * DECAY)
    ),
}


@means("|".join(map(re.escape, SHRINKS)))
def test_how_weights_shrink(name, key, meaning):
    values = {k: h.default for k, h in registry.get(name).hyperparameters.items()} | {"d0": 0.1}
    share = SHRINKS[meaning](values)
    if name.endswith("_bias_corrected"):
        share *= np.sqrt(1 - values["beta2"]) / (1 - values["beta1"])
    step = first(name, 0 * G, lr=LR, d0=0.1, wd_ratio=1.0, **{key: DECAY})
    np.testing.assert_allclose(step, -share * P, rtol=1e-6)


@means("weights times this join the gradient, .*")
def test_decay_that_joins_the_gradient(name, key, meaning):
    """Along the sum of both; the ratio is of its norm where that says so, or of both norms."""
    step = first(name, lr=LR, momentum=0.0, beta1=0.0, **{key: DECAY})
    if "once it is divided" in meaning:
        same(step, -LR * (G / norm(G) + DECAY * P), 1e-6)
        return
    both = G + DECAY * P
    length = norm(both) if "before its norm" in meaning else norm(G) + DECAY * norm(P)
    trust = registry.get(name).hyperparameters["trust_coefficient"].default
    same(step, -LR * trust * norm(P) / length * both, 1e-6)


@means("weights times this join the step, before its norm is taken.*")
def test_decay_that_joins_the_step(name, key, meaning):
    plain = "lamb_v3" if name == "lamb_v3" else "adam"
    u = G / (np.abs(G) if plain == "adam" else np.sqrt(1e-3) / 0.1 * np.abs(G)) + DECAY * P
    same(first(name, lr=LR, eps=0.0, **{key: DECAY}), -LR * norm(P) / norm(u) * u, 1e-6)


@means("pull of the weights towards zero, of those that the gradient is taken at, times lr")
def test_decay_where_the_gradient_is_taken(name, key, meaning):
    options = {"lr": LR, "beta1": 0.5, "momentum": 0.5, "silent_sgd_phase": False}
    start = follow(name, GRADS[:8], **options)
    ends = [
        follow(
            name,
            [GRADS[8]],
            start[0][-1],
            state=tuple(start[1][-1].values()),
            t=8,
            **options,
            **{key: x},
        )
        for x in (0.0, DECAY)
    ]
    moved = ends[1][1][-1]["z"] - ends[0][1][-1]["z"]
    rate = LR * (np.sqrt(1 - 0.999**9) if name.endswith("paper") else 1)
    if name == "schedule_free_radam":  # its rate is rectified
        rate = -moved[0, 0] / start[0][-1][0, 0] / DECAY
        assert 0 < rate < LR
    same(moved, -rate * DECAY * start[0][-1], 1e-9)


@means("learning rate: the factor of the step")
def test_lr_is_the_factor_of_the_step(name, key, meaning):
    """From rest: of the first step that moves the weights. Where they are pulled, the pull has it, too."""
    options = {"weight_decay": 0.0, "silent_sgd_phase": False, "hessian": P, "sampled": P}
    ends = [follow(name, GRADS[:6], lr=lr, **options)[0] for lr in (0.01, 0.02)]
    t = next(t for t in range(1, 7) if (ends[0][t] != P).any())
    same(ends[1][t] - P, 2 * (ends[0][t] - P), 1e-9)


@means("smallest .*")
def test_the_smallest(name, key, meaning):
    """Below what is there, it has no effect; far above, it is all that is divided by."""
    options = bare(name, weight_decay=0.0, beta1=0.0, momentum=0.0, nesterov=False)
    if name in (
        "adopt",
        "adopt_kozistr",
        "amos",
        "adafactor",
        "muon",
        "muon_heavyball",
        "sophia",
        "rprop",
    ):
        grads = [G, G]
    signals = {"hessian": np.abs(P), "sampled": P}

    def second(x):
        return steps(name, grads, **{**options, key: x}, **signals)[-1]

    assert norm(second(1e-30) - second(1e-9 * np.abs(G).min())) <= 1e-6 * norm(second(1e-30))
    changed = second(1e3)
    assert norm(changed - second(1e-30)) > 1e-3 * norm(second(1e-30))
