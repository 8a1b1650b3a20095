"""Meanings that only a few rules have: for each the equation that it says, and the rest by name."""

from itertools import pairwise

import numpy as np
import pytest

from ravine import registry
from sentences import GRADS, G, P, first, follow, norm, steps
from sentences.test_meanings import LAWFUL, MEANINGS

LR = 0.1
V = np.abs(G)
PLAIN = {"momentum": 0.0, "weight_decay": 0.0, "lr": LR}


def ratio(name, key, x, g=G, **options):
    """How much longer the first step is with next to nothing than with x."""
    options = {**PLAIN, **options}
    return first(name, g, **options, **{key: 1e-30}) / first(name, g, **options, **{key: x})


def last(name, grads=GRADS, **options):
    return follow(name, grads, **options)[1][-1]


def one_newton_schulz(x, a, b, c):
    xx = x @ x.T
    return a * x + b * xx @ x + c * xx @ xx @ x


def relative_steps(name, grads, **options):
    places = follow(name, grads, **options)[0]
    return np.array([rms(b - a) / rms(a) for a, b in pairwise(places)])


def averaged(name):
    rule, (places, states) = registry.get(name), follow(name, GRADS, beta1=0.6, momentum=0.6)
    share = {k: 0.6 for k in ("beta1", "momentum") if k in rule.hyperparameters}
    return rule.evaluate(places[-1], tuple(states[-1].values()), **share)


def warmed(name):
    """The momentum, as a share of beta1, at first and after 17 / momentum_decay steps."""
    rule = registry.get(name)
    for t, decay in ((1, 1e-9), (17, 1.0)):
        product = rule.update(P, G, (G, V, 1.0), t, momentum_decay=decay, beta1=0.8)[1][2]
        yield product / 0.8


def rms(x):
    return float(np.sqrt(np.mean(x**2)))


def singular(step):
    values = np.linalg.svd(step)[1]
    return int((values > 1e-9 * values[0]).sum())


def start(name, slot, **options):
    rule = registry.get(name)
    value = dict(zip(rule.slots, rule.init(P, **options), strict=True))[slot]
    return float(np.max(value))


def changes(name, slot, grads=GRADS, **options):
    """The steps in which a slot changes."""
    its = [np.asarray(s[slot]) for s in follow(name, grads, **options)[1]]
    return [t for t in range(1, len(its)) if not np.allclose(its[t], its[t - 1], atol=0)]


ROW = np.sqrt((G**2).mean(axis=1, keepdims=True))
STEADY = [G] * 60
SAME = {  # meaning: of a rule, what is found and what is wanted
    "factor of the angle; at 4 / pi, a gradient that stays the same takes steps of lr": lambda n: (
        steps(n, STEADY, lr=LR, a=4 / np.pi, b=1.0)[-1],
        -LR * np.sign(G),
    ),
    "factor of the root mean square: steps are at most lr * a * pi / 2, and near Adam's": lambda n: (
        steps(n, GRADS, lr=LR, a=1e6, b=1e6, beta1=0.9, beta2=0.9),
        steps("adam", GRADS, lr=LR, eps=0.0, beta1=0.9, beta2=0.9),
    ),
    "weight of the newest in the mean of the gradients: one minus its decay rate": lambda n: (
        last(n, [G], alpha=0.3)["m"],
        0.3 * G,
    ),
    "weight of the slow mean beside the fast one": lambda n: (
        first(n, lr=LR, alpha=7.0, beta3=0.9, eps=0.0),
        first(n, lr=LR, alpha=0.0, eps=0.0) * (1 + 7 * 0.1),
    ),
    "steps in which alpha grows from 0; 0: no warm-up": lambda n: (
        [first(n, alpha=4.0, alpha_warmup=w, beta3=0.5, eps=0.0) for w in (4.0, 1.0)],
        [first(n, alpha=a, beta3=0.5, eps=0.0) for a in (1.0, 4.0)],
    ),
    "steps in which beta3 grows from beta1, its half-life linearly; 0: no warm-up": lambda n: (
        1
        / np.log2(
            1
            - last(n, [0 * G] * 5 + [G], beta1=0.5, beta3=0.9, beta3_warmup=12.0)["m2"][0, 0]
            / G[0, 0]
        ),
        (1 / np.log2(0.5) + 1 / np.log2(0.9)) / 2,
    ),
    "weight of the mean in the sum whose sign is taken; the rest is the new gradient": lambda n: (
        steps(n, [G, P], lr=LR, beta1=0.3, beta2=0.6, weight_decay=0.0)[1],
        -LR * np.sign(0.3 * 0.4 * G + 0.7 * P),
    ),
    "1 - this is what v may change by in a step, as a share of the squared gradients": lambda n: (
        np.abs(last(n, [G], beta2=0.7)["v"] - start(n, "v", beta2=0.7)),
        0.3 * G**2,
    ),
    "divide by the standard deviation instead of the root mean square": lambda n: (
        first(n, **PLAIN, alpha=0.8, centered=True, eps=0.0, v0=0.0),
        -LR * G / np.sqrt(0.2 * G**2 - (0.2 * G) ** 2),
    ),
    "how much of the correction for the gradient's change is applied; 0: none": lambda n: (
        last(n, [G / 99, P / 99], beta1=0.5, gamma=0.3)["m"]
        - last(n, [G / 99, P / 99], beta1=0.5, gamma=0.0)["m"],
        0.5 * 0.3 * (P - G) / 99 + 0.25 * 0.3 * G / 99 * (n != "mars_timm"),
    ),
    "pull the weights into the ball, by lr of their length; off is unconstrained Scion": lambda n: (
        first(n, lr=LR, constrained=True) - first(n, lr=LR, constrained=False),
        -LR * P,
    ),
    "radius of the ball of weights, in the layer's norm": lambda n: (
        first(n, lr=LR, radius=3.0, constrained=False),
        3 * first(n, lr=LR, radius=1.0, constrained=False),
    ),
    "first estimate of the distance, too small": lambda n: (start(n, "d", d0=0.5), 0.5),
    "distance that is taken for granted at first": lambda n: (start(n, "r_max", r_eps=0.5), 0.5),
    "first distance, as a share of 1 + the norm of the weights": lambda n: (
        norm(first(n, reps_rel=0.01, eps=0.0)),
        0.01 * (1 + norm(P)),
    ),
    "what the mean of the squared gradients starts at": lambda n: (start(n, "v", v0=0.5), 0.5),
    "what the means of the gradients and of the squared gradients start at": lambda n: (
        [start(n, "m", v0=0.5), start(n, "v", v0=0.5)],
        [0.5, 0.5],
    ),
    "what the sum of the squared gradients starts at": lambda n: (start(n, "v", v0=0.5), 0.5),
    "factor of the estimate": lambda n: (
        last(n, [G, G], d_coef=99.0, d0=1e-3)["d"] / last(n, [G, G], d_coef=33.0, d0=1e-3)["d"],
        3.0,
    ),
    "share of the gradient kept out of the velocity": lambda n: (
        last(n, [G, P], momentum=0.5, dampening=0.2)["b"],
        0.5 * G * (1 if n == "momentum" else 0.8) + 0.8 * P,
    ),
    "added to the largest recent gradient": lambda n: (ratio(n, "eps", 0.5), 1 + 0.5 / V),
    "added to the size of each gradient": lambda n: (ratio(n, "eps", 0.5), 1 + 0.5 / V),
    "added to the mean of the squared gradients, inside the root": lambda n: (
        ratio(n, "eps", 0.5, alpha=0.0) ** 2,
        1 + 0.5 / V**2,
    ),
    "added to the sum of the squared gradients, inside the root": lambda n: (
        ratio(n, "eps", 0.5, v0=0.0) ** 2,
        1 + 0.5 / V**2,
    ),
    "added to the sum of the squared gradients": lambda n: (
        ratio(n, "eps", 0.5, v0=0.0) ** 2,
        1 + 0.5 / (norm(G) ** 2 if n in ("dog", "ldog") else V**2),
    ),
    "added to the root mean square of the corrected gradients": lambda n: (
        ratio(n, "eps", 0.5, g=G / 99, gamma=0.0),
        1 + 0.5 / (V / 99),
    ),
    "added to the root mean square of the gradients as they are expected next": lambda n: (
        ratio(n, "eps", 0.5),
        1 + 0.5 / V,
    ),
    "added to the root mean square of the estimates, to that power": lambda n: (
        ratio(n, "eps", 0.5, hessian=P, hessian_power=0.5),
        1 + 0.5 / np.abs(P) ** 0.5,
    ),
    "power of the curvature that divides; 1: all of it": lambda n: (
        first(n, **PLAIN, eps=0.0, hessian=P, hessian_power=0.5),
        -LR * G / np.abs(P) ** 0.5,
    ),
    "added to the root of beta2 times the mean of the squared gradients": lambda n: (
        ratio(n, "eps", 0.5, beta2=0.6),
        1 + 0.5 / (np.sqrt(0.6) * V),
    ),
    "added to the root mean square of the gradients, and to the norm of the step": lambda n: (
        ratio(n, "eps", 0.5, beta2=0.0) / ratio(n, "eps", 0.5, beta2=0.0)[0, 0],
        (1 + 0.5 / V) / (1 + 0.5 / V[0, 0]),
    ),
    "added to the root of the mean squared norm": lambda n: (
        ratio(n, "eps", 0.5),
        1 + 0.5 / norm(G) + 0 * G,
    ),
    "added to what the ratio divides by": lambda n: (
        ratio(n, "eps", 0.5, weight_decay=1e-30),
        1 + 0.5 / norm(G) + 0 * G,
    ),
    "added to both means of squares, inside the roots": lambda n: (
        first(n, lr=LR, rho=0.0, eps=0.5),
        -LR * G * np.sqrt(0.5 / (G**2 + 0.5)),
    ),
    "added to rho times the curvature": lambda n: (
        first(n, **PLAIN, sampled=P, beta1=0.0, beta2=0.0, bs=1e4, rho=0.5, eps=99.0),
        -LR * G / (0.5 * 1e4 * P**2 + 99),
    ),
    "how many labels the loss is the mean of": lambda n: (
        first(n, **PLAIN, sampled=P, beta1=0.0, bs=1e4),
        first(n, **PLAIN, sampled=10 * P, beta1=0.0, bs=100),
    ),
    "factor of the curvature; larger: fewer coordinates make a full step": lambda n: (
        first(
            n,
            **PLAIN,
            beta1=0.0,
            beta2=0.0,
            eps=0.0,
            hessian=1e3 * P**2,
            sampled=P,
            bs=1e3,
            gamma=0.5,
            rho=0.5,
        ),
        -LR * G / np.maximum(np.abs(G), 0.5e3 * P**2),
    ),
    "times the estimate, added to the root mean square of the scaled gradients": lambda n: (
        ratio(n, "eps", 0.5, beta1=0.0, beta2=0.0, d0=1e-3)
        / ratio(n, "eps", 0.5, beta1=0.0, beta2=0.0, d0=1e-3)[0, 0],
        (1 + 0.5 / V) / (1 + 0.5 / V[0, 0]),
    ),
    "the size that smaller parameters count as, where steps are relative": lambda n: (
        [first(n, start=1e-6 * P, lr=LR, eps2=e) for e in (0.5, 1e-9)],
        [first(n, start=P, lr=LR) * k for k in (0.5 / rms(P), 1e-6)],
    ),
    "longest step, relative to the weights; after 1 / lr**2 steps it falls as 1 / sqrt(t)": lambda n: (
        relative_steps(n, [0 * G + 1] * 49, lr=0.2)[[0, 24, 48]],
        [0.2, 0.2, 1 / 7],
    ),
    "norm of a step over that of the weights": lambda n: (
        norm(first(n, lr=1e-6, weight_decay=1e-12)) / norm(P),
        1e-6 * (registry.get(n).hyperparameters["trust_coefficient"].default if "lars" in n else 1),
    ),
    "size of the first step": lambda n: (first(n, lr=LR), -LR * np.sign(G)),
    "learning rate of the first step": lambda n: (first(n, lr=LR, lambd=0.0), -LR * G),
    "learning rate: its half is the factor of the gradient": lambda n: (
        [first(n, lr=LR, temperature=0.0), first(n, 0 * G, lr=4 * LR)],
        [-LR / 2 * G, 2 * first(n, 0 * G, lr=LR)],
    ),
    "what is sampled is exp(-loss / temperature); at 0 there is no noise": lambda n: (
        first(n, 0 * G, temperature=4.0),
        2 * first(n, 0 * G),
    ),
    "lr falls as 1 / (1 + this * steps taken)": lambda n: (
        steps(n, [0 * G] * 3 + [G], lr=LR, lr_decay=0.5)[-1],
        first(n, lr=LR / (1 + 0.5 * 3)),
    ),
    "power with which lr falls": lambda n: (
        last(n, STEADY, lr=LR, lambd=0.5, alpha=2.0)["eta"],
        LR / (1 + 0.5 * LR * 60) ** 2,
    ),
    "pull of the weights towards zero, and decay of lr": lambda n: (
        first(n, 0 * G, lr=LR, lambd=0.5),
        -LR * 0.5 * P,
    ),
    "factor of a step size while the gradient keeps its sign": lambda n: (
        steps(n, [G, G], lr=LR, eta_plus=1.5)[1],
        1.5 * first(n, lr=LR),
    ),
    "factor of a step size when the gradient changes its sign": lambda n: (
        steps(n, [G, -G, -G], lr=LR, eta_minus=0.25)[2],
        -0.25 * first(n, lr=LR),
    ),
    "smallest step size": lambda n: (
        np.abs(steps(n, [G * (-1) ** t for t in range(60)], lr=LR, step_min=1e-3))
        .max(axis=(1, 2))[-2:]
        .max(),
        1e-3,
    ),
    "largest step size": lambda n: (np.abs(steps(n, STEADY, step_max=0.5)[-1]), 0.5),
    "largest root mean square of a step of lr 1": lambda n: (
        rms(first(n, 1e6 * G, lr=1.0, most=0.5)),
        0.5,
    ),
    "largest Euclidean norm of all gradients together": lambda n: (
        norm(last(n, [1e6 * G], max_grad_norm=0.5)["m"])
        if n == "lamb_timm"
        else norm(first(n, 1e6 * G, max_norm=0.5, adagc_abs=0.5, lr=1.0)),
        0.1 * 0.5 if n == "lamb_timm" else 0.5,
    ),
    "each divided gradient is clipped to the number of steps to this power": lambda n: (
        np.abs(last(n, [G] * 8 + [1e9 * G], clip_exp=0.5, beta1=0.0)["m"]),
        np.sqrt(8 if n == "adopt" else 9),
    ),
    "root mean square that a step of lr 1 has": lambda n: (
        rms(first(n, rms_scale=0.5, **PLAIN)) / rms(first(n, rms_scale=0.25, **PLAIN)),
        2.0,
    ),
    "scale steps to the size that AdamW's usually have": lambda n: (
        abs(rms(first(n, lr=1.0, match_adamw=True)) - 0.2) < 0.04,
        True,
    ),
    "scale steps by sqrt(rows / columns), also where that is below 1": lambda n: (
        first(n, G.T, P.T, unclamped=True),
        first(n, G.T, P.T) * np.sqrt(4 / 6),
    ),
    "how many directions a step has": lambda n: (singular(first(n, rank=2)), 2),
    "how many directions the gradient is projected to": lambda n: (singular(first(n, rank=2)), 2),
    "factor of the step, beside lr": lambda n: (
        first(n, rank=2, scale=0.5),
        2 * first(n, rank=2, scale=0.25),
    ),
    "how many steps the bases are used for": lambda n: (
        changes(n, "q_left", every=7)[:4],
        [1, 8, 15, 22],
    ),
    "how many steps the directions are used for": lambda n: (
        changes(n, "q", rank=2, every=7)[:4],
        [1, 8, 15, 22],
    ),
    "how many steps the roots are used for": lambda n: (
        changes(n, "left_root", every=7)[:4],
        [1, 8, 15, 22],
    ),
    "in how many steps at first it always moves": lambda n: (
        changes(n, "q_left", flat_start=5, decay=9.0, least=0.1)[:6],
        [1, 2, 3, 4, 5, 6],
    ),
    "the share of steps in which the preconditioner moves, in the end": lambda n: (
        np.diff(changes(n, "q_left", [*GRADS] * 2, flat_start=0, decay=9.0, least=0.1))[-3:],
        10,
    ),
    "leave lr out of what the estimate is divided by": lambda n: (
        last(n, [G], lr=0.5, safeguard_warmup=True, d0=1e-3)["s"]
        / last(n, [G], lr=1.0, safeguard_warmup=True, d0=1e-3)["s"],
        1.0,
    ),
    "share of the mean in the step; the rest is the": lambda n: (
        first(n, lr=LR, nu=0.3, momentum=0.9)
        if n == "qhm"
        else steps(n, [G, P], lr=LR, nu1=0.3, beta1=0.0, eps=0.0)[1],
        -LR * (0.3 * 0.1 + 0.7) * G
        if n == "qhm"
        else steps("adam", [G, P], lr=LR, beta1=0.0, eps=0.0)[1],
    ),
    "share of the mean of squares in the denominator; the rest is the squared gradient": lambda n: (
        steps(n, [G, P], lr=LR, nu1=0.0, nu2=0.0, eps=0.0)[1],
        -LR * np.sign(P),
    ),
    "the weights are averaged from two steps after this one on": lambda n: (
        last(n, GRADS[:8], t0=4, lr=LR)["ax"],
        np.mean(follow(n, GRADS[:8], t0=4, lr=LR)[0][6:], axis=0),
    ),
    "rest in the steps that RAdam takes without its denominator": lambda n: (
        [first(n, lr=LR, silent_sgd_phase=s) for s in (True, False)],
        [0 * G, -LR * G],
    ),
    "steps in which lr grows to its full size": lambda n: (
        follow(n, [G], lr=LR, warmup_steps=4)[0][1],
        follow(n, [G], lr=LR / 4)[0][1],
    ),
    "power of the step with which it counts in the average": lambda n: (
        last(n, STEADY[:9], r=2.0, weight_lr_power=0.0, silent_sgd_phase=False)["weight_sum"],
        np.sum(np.arange(1, 10) ** 2),
    ),
    "power of the largest lr so far with which a step counts in the average; 0: all count": lambda n: (
        [
            last(n, [G], lr=0.5, weight_lr_power=w, silent_sgd_phase=False, beta2=0.0)["weight_sum"]
            for w in (3.0, 0.0)
        ],
        [0.5**3, 1.0],
    ),
    "factor of the decay where the step is projected": lambda n: (
        first(n, 0 * G, lr=LR, weight_decay=0.5, wd_ratio=0.25, momentum=0.0),
        -LR * 0.5 * 0.25 * P,
    ),
    "how fast the momentum warms up: half of it is there at first, 3/4 after 17 / this steps": lambda n: (
        list(warmed(n)),
        [0.5, 0.75],
    ),
    "how slowly the weights follow the descent; 0: they are its points": lambda n: (
        first(n, momentum=0.75, d0=0.1),
        0.25 * first(n, momentum=0.0, d0=0.1),
    ),
    "share of what the step has used that stays in the sum of the gradients": lambda n: (
        last(n, [G], rank=4, momentum=0.3)["m"],
        0.3 * G,
    ),
    "size that the trained weights should have; 0: after the tensor's shape": lambda n: (
        first(n, start=0 * P, scale=0.5),
        2 * first(n, start=0 * P, scale=0.25),
    ),
    "how much a step changes the weights at first, relative to scale": lambda n: (
        rms(first(n, start=0 * P, lr=0.01, scale=0.5)),
        0.01 * 0.5,
    ),
    "the largest learning rate of the schedule": lambda n: (
        first(n, 0 * G, lr=LR, weight_decay=0.5, lr_peak=0.4, lr_max=0.4),
        -(LR ** (1 if "scheduled" in n else 2)) / 0.4 * 0.5 * P,
    ),
    "added to the root of the sum of the squared gradients": lambda n: (
        ratio(n, "eps", 0.5, r_eps=2.0),
        1 + 0.5 / (V if n == "adagrad" else 2 * norm(G) + 0 * V),
    ),
    "the decay rate of the mean of the squared gradients, at step t, is 1 - t to this power": lambda n: (
        last(n, [V[0], V[1], V[2]], start=P[0], beta2_decay=-0.5)["v"],
        3**-0.5 * V[2] ** 2 + (1 - 3**-0.5) * (2**-0.5 * V[1] ** 2 + (1 - 2**-0.5) * V[0] ** 2),
    ),
    "largest root mean square of a step before lr": lambda n: (
        relative_steps(n, [V[0], 99 * V[0]], start=1 + 0 * V[0], lr=1e-6, d=1.2)[int(n != "came")],
        1.2e-6 * (0.1 if n == "came" else 1),
    ),
    "where gradients are taken: this share of the average, the rest of the descent": lambda n: (
        follow(n, GRADS, beta1=0.6, momentum=0.6)[0][-1],
        0.6 * averaged(n) + 0.4 * last(n, beta1=0.6, momentum=0.6)["z"],
    ),
    "largest norm of a tensor's gradient, relative to its usual one": lambda n: (
        norm(steps(n, [G, 99 * G], lr=1.0, adagc_abs=1e9, adagc_warmup=2, adagc_rel=1.5)[1]),
        1.5 * norm(G),
    ),
    "the step from which on the bound is relative": lambda n: (
        [
            round(norm(s))
            for s in steps(
                n, [G / norm(G)] + [9 * G] * 3, lr=1.0, adagc_abs=5.0, adagc_rel=2.0, adagc_warmup=3
            )
        ],
        [1, 5, 2, 2],
    ),
    "largest norm of a unit's gradient, relative to that of its weights": lambda n: (
        np.linalg.norm(first(n, 99 * G, lr=1.0, agc_clip=0.5), axis=1),
        0.5 * np.linalg.norm(P, axis=1),
    ),
    "the norm that smaller weights count as": lambda n: (
        np.linalg.norm(first(n, 99 * G, 1e-9 * P, lr=1.0, agc_clip=0.5, agc_eps=0.1), axis=1),
        0.5 * 0.1,
    ),
    "weights that the step moves towards zero shrink by lr times this besides": lambda n: (
        first(n, lr=LR, weight_decay=0.5) + LR * G,
        np.where(G * P > 0, -LR * 0.5 * P, 0),
    ),
    "largest Euclidean norm of one tensor's gradient": lambda n: (
        norm(first(n, 1e6 * G, lr=1.0, max_norm=0.5)),
        0.5,
    ),
    "largest size of a gradient's coordinate": lambda n: (
        np.abs(first(n, 1e6 * G, lr=1.0, clip_value=0.5)),
        0.5,
    ),
    "the weights shrink by lr**2 / lr_max times this in each step": lambda n: (
        first(n, 0 * G, lr=LR, weight_decay=0.5, lr_max=0.4),
        -(LR**2) / 0.4 * 0.5 * P,
    ),
    "the weights shrink by this in each step at the peak of the schedule": lambda n: (
        first(n, 0 * G, lr=LR, weight_decay=0.5, lr_max=LR),
        -0.5 * P,
    ),
    "the weights move by lr times this towards where they started": lambda n: (
        steps(n, [G, 0 * G], lr=LR, weight_decay=0.5)[1],
        LR * 0.5 * LR * G,
    ),
    "what the mean is multiplied by before it joins the gradient": lambda n: (
        first(n, lr=LR, grokfast_lamb=3.0),
        -LR * 4 * G,
    ),
    "the gradient grows by this times the weights": lambda n: (
        first(n, lr=LR, weight_decay=0.5),
        -LR * (G + 0.5 * P),
    ),
    "steps until the slow weights follow": lambda n: (
        changes(n, "slow", GRADS[:12], lookahead_k=4),
        [4, 8, 12],
    ),
    "share of the way that the slow weights follow": lambda n: (
        first(n, lr=LR, lookahead_k=1, lookahead_alpha=0.25),
        -0.25 * LR * G,
    ),
    "climb instead of descend": lambda n: (first(n, lr=LR, maximize=True), LR * G),
    "what the gradients are divided by": lambda n: (first(n, lr=LR, grad_scale=8.0), -LR * G / 8),
    "the step after which averaging begins": lambda n: (
        changes(n, "swa_count", GRADS[:6], swa_start=3),
        [4, 5, 6],
    ),
    "steps from one average to the next": lambda n: (
        changes(n, "swa_count", GRADS[:12], swa_start=3, swa_every=4),
        [7, 11],
    ),
    "steps whose norms give the first mean and variance; nothing is clipped": lambda n: (
        [last(n, GRADS[:7], zclip_warmup=7)[k] for k in ("norm_mean", "norm_variance")],
        [f([norm(g) for g in GRADS[:7]]) for f in (np.mean, np.var)],
    ),
    "Newton-Schulz: coefficient of": lambda n: (
        first(n, lr=LR, ns_steps=1, ns_a=1.5, ns_b=-0.5, ns_c=0.25, nesterov=False, eps=0.0),
        -LR
        * np.sqrt(6 / 4 if n == "muon" else 1)
        * one_newton_schulz(G / norm(G), 1.5, -0.5, 0.25),
    ),
}


@pytest.mark.parametrize("start", SAME)
def test_the_equation_of_a_meaning(start):
    found = {n for n, _, m in MEANINGS if m.startswith(start)}
    assert found
    for name in found:
        is_so, wanted = SAME[start](name)
        np.testing.assert_allclose(is_so, wanted, rtol=2e-3, atol=1e-12, err_msg=name)


# They name a term of the equations, which an oracle or a witness holds; tests/test_every_argument.py
# shows that each has an effect.
TERMS = (
    "Newton-Schulz: how many steps",
    "decay rates, each with a scale",
    "size of the scale at first",
    "pull of the weights towards zero, in the gradient that the scale learns from",
    "keeps denominators away from zero",
    "added to the standard deviation, and to the norm that is divided by",
    "standard deviations above the mean from which on a norm is clipped",
    "add the gradient to its mean",
    "added to 1.01 times the norm that the mean is divided by",
    "added to norms; in a cosine, the smallest that a norm counts as",
    "added to the length of each direction",
    "added to the mean of the centered squared gradients in every step, and to its root",
    "added to the norm that the mean is divided by",
    "added to the root mean square",
    "added to the root mean square of each entry, and to the norm that a step is divided by",
    "added to the root mean square in the bases, before its bias correction",
    "added to the root mean square of each row",
    "added to the squared distances",
    "added to the squared gradients",
    "added to the sums: times the identity",
    "bound on the cosine of gradient and weights, times the root of their number, for a projection",
    "compute the Newton-Schulz steps in bfloat16",
    "how far the preconditioner moves",
    "how fast steps and decay fall",
    "how fast that share falls",
    "look one step of the mean ahead",
    "noise that is added to the gradient, in its mean size",
    "vectors: added to the root mean square of the mean",
    "added to the root mean square of each row, and to the norm that a step is divided by",
    "added to the root mean square of each row; the smallest norm that a step is divided by",
)


def test_every_meaning_is_held():
    meanings = {m for *_, m in MEANINGS}
    loose = {m for m in meanings - LAWFUL - {*TERMS} if not m.startswith(tuple(SAME))}
    assert not loose, "give each a law, an equation here, or its place among the terms"
    assert meanings >= {*TERMS}
