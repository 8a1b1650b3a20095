"""Sentences about what a rule is, or differs by, next to another; and about estimates and averages."""

import numpy as np
import pytest

from ravine import registry
from sentences import DRAW, GRADS, G, P, first, follow, norm, said, same, says, steps

LR = 0.1
BETAS = {"beta1": 0.9, "beta2": 0.99}
EQUAL = {  # what is said: the rule's options, the other rule, and its options
    "At lr = lr_peak it is `adamw`.": (
        {"weight_decay": 0.1, "lr_peak": LR},
        ("adamw", {"weight_decay": 0.1}),
    ),
    "With both nu at 1 it is `adam`": ({"nu1": 1.0, "nu2": 1.0, **BETAS}, ("adam", BETAS)),
    "nu = 0 is gradient descent": ({"nu": 0.0}, ("sgd", {})),
    "nu = 0 is gradient descent, nu = 1 is `momentum_ema`": (
        {"nu": 1.0, "momentum": 0.8},
        ("momentum_ema", {"beta1": 0.8}),
    ),
    # the velocity of a mean, so at a tenth of the lr; the buffer of `nesterov` is its sum
    "nu = 0 is gradient descent, nu = 1 is `momentum_ema`, and nu = momentum is Nesterov's": (
        {"nu": 0.9, "momentum": 0.9},
        ("nesterov", {"lr": LR * (1 - 0.9), "momentum": 0.9}),
    ),
    "Its steps are those of a mean, where `momentum` has a sum": (
        {"nu": 1.0, "momentum": 0.9},
        ("momentum", {"lr": LR / 10, "momentum": 0.9}),
    ),
    "The velocity is an average of the gradients": (
        {"beta1": 0.8},
        ("momentum", {"lr": LR * 0.2, "momentum": 0.8}),
    ),
    "It is Lion with one decay rate instead of two.": (
        {"beta": 0.9, "weight_decay": 0.1},
        ("lion", {"beta1": 0.9, "beta2": 0.9, "weight_decay": 0.1}),
    ),
    "Without decay it would hardly change anything": (
        {"eps": 0.0, "lr": 0.01, **BETAS},
        ("lamb", {"eps": 0.0, "lr": 0.01, **BETAS}),
    ),
}


@pytest.mark.parametrize("start", EQUAL)
def test_what_is_another_rule(start):
    (name,) = {n for n, its in said().items() for s in its if s.startswith(start)}
    options, (other, its) = EQUAL[start]
    found = follow(name, GRADS, **{"lr": LR, **options})[0]
    assert norm(found[-1] - P) > 0.01
    np.testing.assert_allclose(found, follow(other, GRADS, **{"lr": LR, **its})[0], rtol=1e-9)


says(*EQUAL)(test_what_is_another_rule)


@says(
    "The average starts at zero, and nothing corrects for that.",
    "The mean is not corrected for its",
)
def test_means_that_start_at_zero(name):
    slot, rate = ("v", "beta1") if name == "momentum_ema" else ("m", "momentum")
    same(follow(name, [G], **{rate: 0.9})[1][-1][slot], 0.1 * G)


@says("The gradient keeps the step responsive, so the mean can be over a thousand steps.")
def test_the_means_length_in_qhm(name):
    default = {k: h.default for k, h in registry.get(name).hyperparameters.items()}
    assert 1 / (1 - default["momentum"]) == pytest.approx(1000)
    same(steps(name, [G], lr=LR), [-LR * (1 - default["nu"] * default["momentum"]) * G])


@says(
    "It acts like an eps of eps / sqrt(1 - beta2**t) in `adam`: 32 times as strong in the first step."
)
def test_eps_hat(name):
    theirs = [first("adam", eps=e * 1e-2) for e in (31, 1 / np.sqrt(1e-3), 32)]
    same(first(name, eps=1e-2), theirs[1])
    assert norm(theirs[0]) > norm(first(name, eps=1e-2)) > norm(theirs[2])


@says("The weights shrink by lr * weight_decay, and then step; in `l2(adam)` the decay joins")
def test_decoupled_decay_and_l2(name):
    zeros = [0 * G] * 3
    shrunk = follow(name, zeros, lr=LR, weight_decay=0.5)[0]
    same(shrunk, [P * (1 - LR * 0.5) ** t for t in range(4)])
    divided = first("l2(adam)", 0 * G, lr=LR, weight_decay=1e-2)
    np.testing.assert_allclose(divided, -LR * np.sign(P), rtol=1e-3)


@says("The correction multiplies the rate, so that it acts on the estimate as well")
def test_bias_corrections_of_estimates(name):
    """The rate of the first step is multiplied by sqrt(1 - beta2) / (1 - beta1), and what is summed too."""
    plain = name.removesuffix("_bias_corrected")
    factor = np.sqrt(1 - 0.999) / (1 - 0.9)
    ours, theirs = (follow(n, [G], d0=1e-3)[1][-1]["s"] for n in (name, plain))
    same(ours, factor * theirs)
    assert registry.get(name).slots["k"].shared
    step, other = first(name, d0=1e-3), first(plain, d0=1e-3)
    assert norm(step) == pytest.approx(factor * norm(other), rel=1e-5)


@says("Where it sums up what d is made of, the authors' code divides by the mean before the newest")
def test_a_large_gradient_in_d_adaptation(name):
    def more(jump):
        r = [follow(n, [*GRADS, jump * GRADS[-1]])[1][-1]["r"] for n in ("dadapt_adam", name)]
        return r[0] / r[1]

    assert more(10.0) > 1.2 * more(1.0)


@says("The rate is d over the norm of the first gradient")
def test_the_rate_of_dadapt_sgd(name):
    same(first(name, lr=2.0, d0=1e-3, momentum=0.0), -2e-3 * G / norm(G))


@says("lr multiplies it: use a schedule that peaks at 1")
def test_lr_multiplies_the_estimate(name):
    rule = f"{name}(sgd)" if name in registry.modifiers() else name
    if name == "mechanic":
        assert registry.get(name + "(sgd)")
        one, half = (steps(rule, GRADS[:3] * 1e3, lr=lr, s_init=1e-2)[1] for lr in (1.0, 0.5))
    else:
        one, half = (first(rule, lr=lr, momentum=0.0) for lr in (1.0, 0.5))
        assert registry.get(name).hyperparameters["lr"].default == 1.0
    same(half, one / 2, 1e-6)


@says("The first step is as short as reps_rel says; the steps then grow with the distance.")
def test_dogs_first_steps(name):
    sizes = [norm(s) for s in steps(name, [G] * 40, reps_rel=1e-4, eps=0.0)]
    assert sizes[0] == pytest.approx(1e-4 * (1 + norm(P)))
    assert sizes[-1] > 10 * sizes[0]


@says("Early gradients count less")
def test_early_gradients_count_less_in_dowg(name):
    sums = [float(its["g_sum"]) for its in follow(name, [G] * 10, eps=0.0)[1]]
    assert np.all(np.diff(np.diff(sums))[1:] > 0)


@says(
    "The two differ in the steps in which the estimate grows", "The authors' code multiplies it by"
)
def test_where_prodigy_and_its_paper_differ(name):
    def apart(**options):
        ours, theirs = (follow(n, [G] * 12, d0=1e-3, **options) for n in (name, "prodigy"))
        grew = np.diff([float(its["d"]) for its in theirs[1]]) > 0
        return norm(np.diff(ours[0] - theirs[0], axis=0)), grew

    with_eps, grew = apart(eps=1e-1)
    assert grew.any()
    assert with_eps > 1e-6
    assert apart(eps=0.0)[0] < 1e-9 * with_eps


@says("r and s are as small as the square of the estimate here; the code divides them by d0.")
def test_the_sums_of_prodigys_paper(name):
    ours, theirs = (follow(n, [G], d0=1e-3)[1][-1]["s"] for n in (name, "prodigy"))
    np.testing.assert_allclose(ours / theirs, (1 - np.sqrt(0.999)) * 1e-3, rtol=1e-9)


@says("It is not bias-corrected, so it comes in gradually.", "For long runs, as the slow mean")
def test_the_slow_mean_comes_in_gradually(name):
    ratios = np.linalg.norm(steps(name, [G] * 3000), axis=(1, 2)) / norm(first("adam"))
    assert ratios[0] == pytest.approx(1, rel=1e-2)
    assert np.all(np.diff(ratios) > 0)
    assert ratios[-1] > 2
    default = registry.get(name).hyperparameters["beta3"].default
    assert 1 / (1 - default) == pytest.approx(10_000)


@says("`prev` starts at zero, so the first gradient counts")
def test_the_first_gradient_of_mars(name):
    small = G / norm(G) * 0.1
    m = follow(name, [small], beta1=0.95, gamma=0.025)[1][-1]["m"]
    same(m, 0.05 * (1 + 0.025 * 0.95 / 0.05) * small)


@says("The corrected gradient is clipped to norm 1.")
def test_the_corrected_gradient_of_mars_is_clipped(name):
    for size in (1e3, 1e6):
        m = follow(name, [G * size], beta1=0.95)[1][-1]["m"]
        assert norm(m) == pytest.approx(0.05)


@says("The correction shortens the lag of the mean by the share gamma")
def test_the_lag_of_the_mean_in_mars(name):
    """Of gradients that grow by one in each step, small enough not to be clipped."""
    size = 1e-4
    grads = [np.full(3, size * t) for t in range(1, 200)]
    for gamma in (0.0, 0.025, 1.0):
        m = follow(name, grads, 0 * grads[0], beta1=0.9, gamma=gamma)[1][-1]["m"]
        lag = (grads[-1] - m) / size
        np.testing.assert_allclose(lag, 9 * (1 - gamma), atol=1e-9)
    noise = DRAW.standard_normal((1000, 1)) * 1e-3
    left = [
        np.std([its["m"] for its in follow(name, noise, 0 * noise[0], beta1=0.9, gamma=gamma)[1]])
        for gamma in (0.0, 1.0)
    ]
    assert left[1] > left[0]


@says("In `nadam` that takes 25,000: there momentum_decay is 0.004.")
def test_how_long_the_momentum_of_nadam_warms_up(name):
    def warm(which, t):
        rule = registry.get(which)
        return (
            rule.update(1.0, 1.0, (0.0, 0.0, 1.0), t)[1][-1] / rule.hyperparameters["beta1"].default
        )

    assert warm(name, 10) < 0.7
    assert warm(name, 100) > 0.99
    assert warm("nadam", 25_000) == pytest.approx(warm(name, 100), rel=1e-12)
    assert registry.get("nadam").hyperparameters["momentum_decay"].default == 0.004


@says("The parameter held is the point looked ahead to")
def test_the_parameter_is_the_point_looked_ahead_to(name):
    plain = name.replace("nesterov", "momentum")
    slot = next(iter(registry.get(name).slots))
    ahead, at = (follow(n, GRADS, lr=LR, momentum=0.9) for n in (name, plain))
    factor = LR if name == "nesterov" else 1.0
    for p, q, its in zip(ahead[0], at[0], at[1], strict=True):
        same(p, q - factor * 0.9 * its[slot], 1e-9)


@says("rho is the number of gradients that the mean of squares effectively averages.")
def test_rho():
    """One over the sum of the squared weights, in the limit: (1 + beta2) / (1 - beta2) = rho_max + ..."""
    beta2 = 0.9
    weights = (1 - beta2) * beta2 ** np.arange(500)
    assert 1 / (weights**2).sum() == pytest.approx(2 / (1 - beta2) - 1)


@says("Up to 5, the step is that of momentum; from there it grows from 0 to Adam's")
def test_radams_warm_up(name):
    grads = [1e3 * G] * 4000
    sizes = np.linalg.norm(steps(name, grads, lr=1.0), axis=(1, 2))
    assert np.all(sizes[:5] == pytest.approx(1e3 * norm(G)))
    assert sizes[5] < 0.1 * norm(np.sign(G))
    assert np.all(np.diff(sizes[5:]) > 0)
    assert 0.9 * norm(np.sign(G)) < sizes[-1] < norm(np.sign(G))


@says("At the default beta2 that is the first five steps.")
def test_the_steps_that_radam_skips(name):
    places = follow(name, GRADS[:6])[0]
    assert (places[5] == P).all()
    assert (places[6] != P).all()


@says(
    "While the mean of squares averages no more than 4 gradients, the weights do not move, or move by"
)
def test_the_warm_up_of_schedule_free_radam(name):
    still = [(s == 0).all() for s in steps(name, [G] * 40)]
    assert still == [True] * 4 + [False] * 36
    by_sgd = first(name, silent_sgd_phase=False, lr=LR)
    same(by_sgd, -LR * G)
    z = [norm(s) for s in np.diff([its["z"] for its in follow(name, [G] * 3000, lr=LR)[1]], axis=0)]
    assert np.all(np.diff(z[4:]) > 0)
    assert z[-1] == pytest.approx(LR * norm(np.sign(G)), rel=0.1)


@says(
    "z takes the steps; x, the average of its points, is what to evaluate with; gradients are taken"
)
def test_x_averages_z_and_p_is_between(name):
    rule = registry.get(name)
    share = "momentum" if "momentum" in rule.hyperparameters else "beta1"
    places, states = follow(name, GRADS, lr=LR, **{share: 0.9})
    z = [its["z"] for its in states]
    for t in (1, 5, 30):
        x = rule.evaluate(places[t], tuple(states[t].values()), **{share: 0.9})
        same(x, np.mean(z[1 : t + 1], axis=0), 1e-9)
        same(places[t], 0.9 * x + 0.1 * z[t], 1e-9)


@says("So early steps count less in the average, and decay less, for about 1 / (1 - beta2) steps.")
def test_early_steps_count_less(name):
    its = follow(name, [G] * 600, beta2=0.99)[1]
    counts = np.diff([float(x["weight_sum"]) for x in its])
    assert np.all(np.diff(counts) >= 0)
    assert counts[0] < 0.02 * counts[-1]
    assert counts[99] > 0.6 * counts[-1]  # 1 - 1/e
    places, its = follow(name, [0 * G] * 600, beta2=0.99, weight_decay=0.1, lr=LR)
    moved = np.diff([x["z"] for x in its], axis=0)
    decayed = [norm(step) / norm(p) for step, p in zip(moved, places, strict=False)]
    assert decayed[0] == pytest.approx(0.1 * decayed[-1], rel=1e-2)


@says(
    "Evaluate with ax: the weights of the last step until step t0 + 2, and their mean from there on."
)
def test_what_asgd_averages(name):
    places, states = follow(name, GRADS[:12], lr=LR, t0=4)
    for t in range(1, 13):
        mean = np.mean(places[6 : t + 1], axis=0) if t > 6 else places[t]
        same(states[t]["ax"], mean)


@says("With 0 it is sqrt(2 / inputs) for matrices, sqrt(1 / inputs) for kernels")
def test_the_scales_of_amos(name):
    draw = np.random.RandomState(0)
    for shape, size in (((6, 4), np.sqrt(2 / 4)), ((6, 4, 3, 3), np.sqrt(1 / 4)), ((6,), 0.5)):
        p, g = draw.standard_normal((2, *shape))
        plain, given = (first(name, g, p, scale=scale, zeta=0.0) for scale in (0.0, size))
        same(plain, given)


@says("The quotients are then averaged; this converges for any beta2.")
def test_adopt_descends_where_adam_climbs(name):
    """Rare large gradients, Reddi et al. 2018: the mean gradient is 1/4, so weights should fall."""
    draw = np.random.RandomState(0)
    grads = np.where(draw.uniform(size=(5000, 1)) < 0.25, 4.0, -1.0)
    options = {"beta1": 0.0, "beta2": 0.1, "lr": 1e-3, "eps": 1e-6}
    ends = {n: follow(n, grads, np.zeros(1), **options)[0][-1, 0] for n in (name, "adam")}
    assert ends["adam"] > 0.2
    assert ends[name] < -0.2


@says("The distribution is exact only as lr goes to zero; for a loss of p**2 / 2 its variance is")
def test_the_variance_of_sgld(name):
    rule, lr, temperature = registry.get(name), 1.0, 2.0
    p = np.zeros(40_000)
    for t in range(1, 40):
        p = rule.update(p, p, (), t, lr=lr, temperature=temperature)[0]
    assert p.var() == pytest.approx(temperature / (1 - lr / 4), rel=0.03)


@says("For a posterior, the loss is minus its logarithm, a sum over all N data")
def test_the_temperature_of_a_posterior(name):
    """N times the gradient at lr is the mean's at N * lr with temperature 1 / N."""
    whole = first(name, 50 * G, lr=1e-3)
    same(first(name, G, lr=50e-3, temperature=1 / 50), whole)


@says("The noise of mini-batches adds to it.")
def test_the_noise_of_mini_batches_adds(name):
    rule, draw = registry.get(name), np.random.RandomState(0)
    p = np.zeros(20_000)
    for t in range(1, 40):
        p = rule.update(p, p + draw.standard_normal(p.shape), (), t, lr=1.0)[0]
    assert p.var() > 1.2 / (1 - 1 / 4)
