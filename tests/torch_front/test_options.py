"""Param groups: an option is checked whenever it is set, and keys of the user's own are left alone."""

import copy
import io
import math
from inspect import signature

import numpy as np
import pytest
import torch

import ravine.torch as rt
from ravine import rule, rules

lr_scheduler = torch.optim.lr_scheduler


def leaf(n=3):
    return torch.nn.Parameter(torch.ones(n))


def set_later(optimizer, key, value):
    optimizer.param_groups[0][key] = value


def update(optimizer, key, value):
    optimizer.param_groups[0].update({key: value})


def update_in_place(optimizer, key, value):
    group = optimizer.param_groups[0]
    group |= {key: value}


def add_a_group(optimizer, key, value):
    optimizer.add_param_group({"params": [leaf()], key: value})


def load(optimizer, key, value):
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0][key] = value
    optimizer.load_state_dict(saved)


def construct(optimizer, key, value):
    type(optimizer)([{"params": [leaf()], key: value}])


WAYS = [set_later, update, update_in_place, add_a_group, load, construct]


def of_tuple(p, g, m, *, lr=0.1, betas=(0.9, 0.5)):
    m = betas[0] * m + (1 - betas[0]) * g
    return p - lr * (m + betas[1] * g), m


MADE = {
    "Adam": rt.Adam,
    "a tuple": rt.optimizer(of_tuple),
    "a rule's own": rt.optimizer(rules.adam, "Own"),
    "SGD": lambda params: rt.SGD(params, momentum=0.9),
    "Mixed": lambda params: rt.Mixed([{"params": params, "rule": "AdamW"}]),
}


def plain(group):
    return {k: v for k, v in group.items() if k != "params"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("Adam", "lr", "0.1", "lr='0.1' is invalid; lr must be a finite number >= 0"),
        ("Adam", "lr", np.str_("0.1"), "lr='0.1' is invalid"),
        ("Adam", "lr", math.nan, "lr=nan is invalid"),
        ("Adam", "lr", None, "lr=None is invalid"),
        ("Adam", "lr", True, "lr=True is invalid"),
        ("Adam", "lr", 10**400, "lr=1000"),
        ("Adam", "betas", ("0.9", "0.99"), "beta1='0.9' is invalid"),
        ("Adam", "betas", (0.9, 2.0), "beta2=2.0 is invalid"),
        ("Adam", "betas", 0.9, "betas=0.9 is invalid"),
        ("Adam", "eps", "1e-8", "eps='1e-8' is invalid"),
        ("Adam", "amsgrad", "no", "amsgrad='no' is invalid"),
        ("Adam", "foreach", "no", "foreach='no' is invalid"),
        ("SGD", "momentum", "0.9", "momentum='0.9' is invalid"),
        ("SGD", "momentum", -1.0, "momentum=-1.0 is invalid"),
        ("SGD", "weight_decay", "x", "weight_decay='x' is invalid"),
        ("a rule's own", "beta1", "0.9", "beta1='0.9' is invalid"),
        ("a rule's own", "betas", ("a", 0.9), "beta1='a' is invalid"),
        ("a rule's own", "betas", (0.9, 2.0), "beta2=2.0 is invalid"),
        (
            "a rule's own",
            "betas",
            0.9,
            "betas=0.9 is invalid; betas must be a tuple of beta1, beta2",
        ),
        ("a rule's own", "betas", (0.9,), r"betas=\(0.9,\) is invalid"),
        (
            "Adam",
            "weigth_decay",
            0.1,
            "'weigth_decay' is not an option; did you mean 'weight_decay'",
        ),
        ("Adam", "weightdecay", 0.1, "'weightdecay' is not an option; did you mean 'weight_decay'"),
        ("Adam", "beta", (0.9, 0.9), "'beta' is not an option; did you mean 'betas'"),
        ("Adam", "Lr", 0.1, "'Lr' is not an option; did you mean 'lr'"),
        ("SGD", "momentun", 0.1, "'momentun' is not an option; did you mean 'momentum'"),
        ("a rule's own", "beta_1", 0.1, "'beta_1' is not an option; did you mean 'beta1'"),
    ],
)
def test_an_option_is_refused_whenever_it_is_set(way, name, key, value, words):
    optimizer = MADE[name]([leaf()])
    group = optimizer.param_groups[0]
    before = plain(group)
    if way is load and key in ("betas", "beta1"):
        words += "|are mutually exclusive"  # beta1 differs from the betas given with it
    with pytest.raises(ValueError, match=words):
        way(optimizer, key, value)
    assert plain(group) == before
    assert optimizer.param_groups == [group]


@pytest.mark.parametrize("way", WAYS[:5])
@pytest.mark.parametrize("name", MADE)
def test_keys_of_ones_own_are_left_alone(way, name):
    value = {"a": [1, 2]}
    for key in ("name", "lr_scale", "initial_lr", "warmup_steps", "max_lr", "layer", "rank"):
        optimizer = MADE[name]([leaf()])
        q = leaf()
        if way is add_a_group and name == "Mixed":
            optimizer.add_param_group({"params": [q], "rule": "AdamW", key: value})
        elif way is add_a_group:
            optimizer.add_param_group({"params": [q], key: value})
        else:
            way(optimizer, key, value)
            (q,) = optimizer.param_groups[0]["params"]
        mine = optimizer.param_groups[-1][key]
        assert mine == value if way is load else mine is value
        q.grad = torch.ones_like(q)
        other = MADE[name]([r := leaf()])
        r.grad = torch.ones_like(r)
        for o in (optimizer, other):
            for _ in range(2):
                o.step()
        assert torch.equal(q, r) or (
            way is add_a_group and name == "SGD"
        )  # which has momentum 0 there
        assert optimizer.state_dict()["param_groups"][-1][key] == value


def test_a_group_of_mixed_has_keys_of_its_own_but_no_options_of_other_rules():
    made = rt.Mixed([{"params": [leaf()], "rule": "AdamW", "name": "x", "lr_scale": 0.5}])
    assert made.param_groups[0]["name"] == "x"
    for key in ("momentum", "rho", "alpha", "etas"):
        with pytest.raises(ValueError, match=f"'AdamW' has no option '{key}'"):
            made.add_param_group({"params": [leaf()], "rule": "AdamW", key: 0.5})
    for name in ("AdamW", "adam"):  # which has no weight decay
        with pytest.raises(ValueError, match="'weigth_decay' is not an option; did you mean"):
            made.add_param_group({"params": [leaf()], "rule": name, "weigth_decay": 0.5})


def test_a_schedule_of_lr_scale_is_the_users_own():
    """As timm's schedulers do it: they multiply by lr_scale themselves."""
    params = [leaf() for _ in range(4)]
    ours = rt.SGD([{"params": [params[0]], "lr_scale": 0.5}, {"params": [params[1]]}], lr=1.0)
    theirs = torch.optim.SGD(
        [{"params": [params[2]], "lr_scale": 0.5}, {"params": [params[3]]}], lr=1.0
    )
    for optimizer in (ours, theirs):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * group.get("lr_scale", 1.0)
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
    assert torch.equal(params[0], params[2])
    assert torch.equal(params[1], params[3])


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_plain_dict_in_a_groups_place_is_checked_at_each_step(engine):
    p, q = leaf(), leaf()
    ours, theirs = rt.Adam([p], engine=engine), torch.optim.Adam([q])
    for lr in (0.1, 0.5, 0.0, "0.5", math.nan, -1.0, 0.2):
        for optimizer in (ours, theirs):
            if type(optimizer.param_groups[0]) is not dict:
                optimizer.param_groups[0] = dict(optimizer.param_groups[0])
        ours.param_groups[0]["lr"] = theirs.param_groups[0]["lr"] = lr
        p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
        if lr in (0.1, 0.5, 0.0, 0.2):
            ours.step()
            theirs.step()
        else:
            with pytest.raises(ValueError, match=f"^Adam: lr={lr!r} is invalid"):
                ours.step()
        torch.testing.assert_close(p, q)


def test_a_misspelt_keyword_suggests_an_option_too():
    with pytest.raises(
        TypeError, match="unexpected keyword 'weigth_decay'; did you mean 'weight_d"
    ):
        rt.Adam([leaf()], weigth_decay=0.1)


# --- numpy's scalars


@pytest.mark.parametrize("way", WAYS[:5])
@pytest.mark.parametrize("name", ["Adam", "a rule's own"])
@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("lr", np.float64(0.5), 0.5),
        ("lr", np.float32(0.5), 0.5),
        ("lr", np.int64(1), 1),
        ("lr", np.array(0.5), 0.5),
        ("betas", (np.float64(0.5), 0.25), (0.5, 0.25)),
        ("betas", (0.5, np.float32(0.25)), (0.5, 0.25)),
        ("mine", np.float64(0.5), 0.5),
        ("mine", np.bool_(True), True),
    ],
)
def test_numpys_scalars_become_numbers(way, name, key, value, kept):
    optimizer = MADE[name]([leaf()])
    if way is load and (name, key) == ("a rule's own", "betas"):
        key = "beta1"
        value, kept = np.float64(0.9), 0.9
    way(optimizer, key, value)
    got = optimizer.param_groups[-1][key]
    assert got == kept
    for x, y in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, kept)), strict=True):
        assert type(x) is type(y)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert saved["param_groups"][-1][key] == kept


@pytest.mark.parametrize("way", WAYS[:4])
def test_an_array_of_ones_own_stays_the_array(way):
    optimizer, mine = rt.Adam([leaf()]), np.array([0.5])
    way(optimizer, "mine", mine)
    assert optimizer.param_groups[-1]["mine"] is mine


def test_numpys_scalars_in_a_constructor_and_in_a_schedule():
    p = leaf()
    optimizer = rt.Adam([p], lr=np.float64(0.5), betas=(np.float32(0.5), np.float64(0.25)))
    assert type(optimizer.defaults["lr"]) is float
    schedule = lr_scheduler.LambdaLR(optimizer, lambda t: np.float64(0.5) ** t)
    p.grad = torch.ones_like(p)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    group = torch.load(file, weights_only=True)["param_groups"][0]
    assert (group["lr"], group["betas"]) == (0.0625, (0.5, 0.25))


# --- options that repeat others


def test_betas_and_their_parts_are_equal_however_they_are_set():
    made = MADE["a rule's own"]
    optimizer = made([{"params": [leaf()], "betas": (0.5, 0.6)}])
    optimizer.add_param_group({"params": [leaf()], "beta1": 0.5})
    optimizer.add_param_group({"params": [leaf()], "betas": [0.5, 0.6], "beta1": 0.5})
    groups = optimizer.param_groups
    expected = [(0.5, 0.6), (0.5, 0.999), (0.5, 0.6)]
    assert [g["betas"] for g in groups] == expected
    assert [(g["beta1"], g["beta2"]) for g in groups] == expected
    groups[0]["beta2"] = 0.7
    groups[1].update(betas=(0.1, 0.2))
    groups[2].update(beta1=0.3, beta2=0.4)
    expected = [(0.5, 0.7), (0.1, 0.2), (0.3, 0.4)]
    assert [g["betas"] for g in groups] == expected
    assert [(g["beta1"], g["beta2"]) for g in groups] == expected
    for contradicting in (groups[0].update, lambda g: made([{"params": [leaf()], **g}])):
        with pytest.raises(
            ValueError, match=r"betas=\(0.1, 0.2\) and beta1=0.9 are mutually exclusive"
        ):
            contradicting({"betas": (0.1, 0.2), "beta1": 0.9})
    assert groups[0]["betas"] == (0.5, 0.7)


def test_parts_in_a_group_of_mixed():
    made = rt.Mixed([{"params": [leaf()], "rule": "adam", "beta1": 0.5}])
    made.add_param_group({"params": [leaf()], "rule": "adam", "betas": (0.5, 0.6)})
    assert [g["betas"] for g in made.param_groups] == [(0.5, 0.999), (0.5, 0.6)]
    assert [g["beta2"] for g in made.param_groups] == [0.999, 0.6]


# --- schedulers that cycle the momentum


def of_momentum(p, g, b, *, lr=0.1, momentum=0.9):
    b = momentum * b + g
    return p - lr * b, b


def of_betas(p, g, m, *, lr=0.1, beta1=0.9, beta2=0.5):
    m = beta1 * m + (1 - beta1) * g
    return p - lr * (m + beta2 * g), m


def of_beta1(p, g, m, *, lr=0.1, beta1=0.9):
    m = beta1 * m + (1 - beta1) * g
    return p - lr * m, m


RULES = {
    "momentum": (rule(of_momentum), of_momentum),
    "betas": (rule(of_betas), of_betas),
    "beta1": (rule(of_beta1), of_beta1),
    "a tuple": (rule(of_tuple), of_tuple),
}
CYCLES = {
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.5, total_steps=12),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.5, step_size_up=3),
}


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("name", RULES)
def test_the_momentum_of_a_rule_of_ones_own_is_cycled(name, cycle, engine):
    """As of torch's SGD; the rule's function says what a step is."""
    made, function = RULES[name]
    p, q = (torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    ours, theirs = rt.optimizer(made)([p], engine=engine), torch.optim.SGD([q], 0.1, momentum=0.9)
    schedules = [CYCLES[cycle](o) for o in (ours, theirs)]
    expected, slot, seen = p.detach().clone(), torch.zeros(3, dtype=torch.float64), set()
    for step in range(10):
        g = torch.full_like(p, 1.0 + step)
        p.grad, q.grad = g, g.clone()
        group, torchs = ours.param_groups[0], theirs.param_groups[0]
        momentum = group["momentum"] if name == "momentum" else group["betas"][0]
        assert momentum == torchs["momentum"]
        assert group["lr"] == torchs["lr"]
        seen.add(momentum)
        options = {k: v for k, v in group.items() if k in signature(function).parameters}
        expected, slot = function(expected, g, slot, **options)
        for o, schedule in zip((ours, theirs), schedules, strict=True):
            o.step()
            schedule.step()
        torch.testing.assert_close(p.detach(), expected, rtol=1e-12, atol=0)
    assert len(seen) > 3
