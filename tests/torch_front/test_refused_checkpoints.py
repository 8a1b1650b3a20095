"""A checkpoint that is not supported is refused as a whole: the optimizer goes on as if nothing had been
loaded.
"""

import copy
import math

import numpy as np
import pytest
import torch

import ravine.torch as rt
from ravine import rules

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantiz"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]

OPTIONS = {"lr": 0.1, "betas": (0.9, 0.99)}
SHAPES = [(4, 3), (4,)]


def tensors():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def train(optimizer, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.randn(p.shape, generator=random)
        optimizer.step()


def parameters(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def whole(optimizer):
    """All that an optimizer has: the very objects, and copies of the values that they have now."""
    states = [optimizer.state[p] for p in parameters(optimizer)]
    held = [
        *optimizer.param_groups,
        *states,
        *(x for group in optimizer.param_groups for x in group.values()),
        *(x for state in states for x in state.values()),
    ]
    return held, copy.deepcopy(held)


def options(**new):
    return lambda saved: saved["param_groups"][0].update(new)


def slot(key, change):
    def damage(saved):
        saved["state"][0][key] = change(saved["state"][0][key])

    return damage


def step(value):
    return slot("step", lambda _: value)


def moment(change):
    return slot("exp_avg", change)


def entry(key, value):
    return lambda saved: saved.__setitem__(key, value)


def without(*path):
    def damage(saved):
        for key in path[:-1]:
            saved = saved[key]
        del saved[path[-1]]

    return damage


def again(saved):
    saved["param_groups"].append(saved["param_groups"][0])


def quantized(x):
    return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)


nan, inf = math.nan, math.inf
REFUSED = {
    "lr is NaN": (options(lr=nan), "lr=nan is invalid"),
    "lr is infinite": (options(lr=inf), "lr=inf is invalid"),
    "lr is negative": (options(lr=-1.0), "lr=-1.0 is invalid"),
    "lr is a string": (options(lr="0.1"), "lr='0.1' is invalid"),
    "lr is NumPy's string": (options(lr=np.str_("0.1")), "lr='0.1' is invalid"),
    "lr is None": (options(lr=None), "lr=None is invalid"),
    "lr is a bool": (options(lr=True), "lr=True is invalid"),
    "lr is complex": (options(lr=1j), "lr=1j is invalid"),
    "lr is a list": (options(lr=[0.1]), r"lr=\[0.1\] is invalid"),
    "lr is a NaN tensor": (options(lr=torch.tensor(nan)), r"lr=tensor\(nan\) is invalid"),
    "lr is two numbers": (options(lr=torch.ones(2)), r"lr=tensor\(\[1., 1.\]\) is invalid"),
    "betas of 2.0": (options(betas=(2.0, 0.9)), "beta1=2.0 is invalid"),
    "betas of NaN": (options(betas=(0.9, nan)), "beta2=nan is invalid"),
    "one beta": (options(betas=(0.9,)), r"betas=\(0.9,\) is invalid"),
    "betas is a number": (options(betas=0.9), "betas=0.9 is invalid"),
    "betas is a string": (options(betas="ab"), "betas='ab' is invalid"),
    "decay is negative": (options(weight_decay=-1), "weight_decay=-1 is invalid"),
    "eps is a string": (options(eps="x"), "eps='x' is invalid"),
    "a switch is a string": (options(amsgrad="yes"), "amsgrad='yes' is invalid"),
    "a switch is a number": (options(maximize=2), "maximize=2 is invalid"),
    "foreach is a string": (options(foreach="x"), "foreach='x' is invalid"),
    "fused and foreach": (options(fused=True, foreach=True), "are mutually exclusive"),
    "a slip": (
        options(weigth_decay=0.1),
        "'weigth_decay' is not an option; did you mean 'weight_d",
    ),
    "no lr": (
        without("param_groups", 0, "lr"),
        "from another optimizer: its param group 0 has no 'lr'",
    ),
    "step is negative": (step(torch.tensor(-1.0)), r"'step'=tensor\(-1.\); it must be a whole"),
    "step is negative, an int": (step(-3), "'step'=-3; it must be a whole number >= 0"),
    "step is a fraction": (step(torch.tensor(0.5)), r"'step'=tensor\(0.5000\); it must be"),
    "step is NaN": (step(torch.tensor(nan)), r"'step'=tensor\(nan\); it must be"),
    "step is infinite": (step(inf), "'step'=inf; it must be"),
    "step is too large": (step(10**400), "'step'=1000"),
    "step is a string": (step("3"), "'step'='3'; it must be"),
    "step is a bool": (step(True), "'step'=True; it must be"),
    "step is complex": (step(torch.tensor(1j)), r"'step'=tensor\(0.\+1.j\); it must be"),
    "step is two numbers": (step(torch.ones(2)), r"'step'=tensor\(\[1., 1.\]\); it must be"),
    "step is a list": (step([3]), r"'step'=\[3\]; it must be"),
    "step is on meta": (step(torch.ones((), device="meta")), "'step'=tensor.*meta.*; it must be"),
    "step is None": (step(None), "has no 'step'"),
    "no step": (without("state", 0, "step"), "has no 'step'"),
    "no moment": (without("state", 0, "exp_avg"), "has no 'exp_avg'"),
    "a moment is None": (moment(lambda x: None), "has no 'exp_avg'"),
    "a moment of another shape": (moment(lambda x: x[:2]), r"'exp_avg' in the shape \(2, 3\)"),
    "a moment transposed": (moment(lambda x: x.t()), r"'exp_avg' in the shape \(3, 4\)"),
    "a moment is one number": (moment(lambda x: x.sum()), r"'exp_avg' in the shape \(\)"),
    "a moment is complex": (
        moment(lambda x: x + 0j),
        "'exp_avg' in torch.complex64; the parameter is r",
    ),
    "a moment is sparse": (
        moment(lambda x: x.to_sparse()),
        "as a torch.sparse_coo tensor; it must be dense",
    ),
    "a moment is quantized": (moment(quantized), "a torch.qint8 tensor; it must be dense"),
    "a moment is nested": (
        moment(lambda x: torch.nested.nested_tensor([*x])),
        "a nested tensor; it must be dense",
    ),
    "a moment is on meta": (moment(lambda x: x.to("meta")), "'exp_avg' on the meta device"),
    "a moment is an array": (moment(lambda x: x.numpy()), "'exp_avg'=array.*must be a tensor"),
    "a moment is a list": (moment(lambda x: x.tolist()), "'exp_avg'=.*must be a tensor"),
    "a moment is a number": (moment(lambda x: 0.0), "'exp_avg'=0.0; it must be a tensor"),
    "weights beside the state": (
        lambda saved: saved["state"][0].update(training_p=torch.ones(3)),
        r"'training_p' in the shape \(3,\)",
    ),
    "a state is a number": (lambda saved: saved["state"].update({0: 5}), "is 5; it must be a dict"),
    "state is a list": (entry("state", []), "'state' is a dict"),
    "groups are None": (entry("param_groups", None), "'param_groups' a list of dicts"),
    "groups are numbers": (entry("param_groups", [1]), "'param_groups' a list of dicts"),
    "groups are one dict": (
        entry("param_groups", {"params": [0, 1]}),
        "'param_groups' a list of d",
    ),
    "no groups": (without("param_groups"), "not an optimizer's state_dict"),
    "no params": (without("param_groups", 0, "params"), "each with a list of 'params'"),
    "params is a number": (options(params=2), "each with a list of 'params'"),
    "a group twice": (again, "parameter 0 twice"),
    "a parameter twice": (options(params=[0, 0]), "parameter 0 twice"),
    "params of lists": (
        options(params=[[0], [1]]),
        r"the parameter \[0\]; parameters are numbers or",
    ),
    "params of none": (
        options(params=[7, 8]),
        "state for 0, 1, but no such parameter",
    ),
    "a parameter too many": (options(params=[0, 1, 2]), "of 3 parameters, and here they are of 2"),
    "a state too many": (
        lambda s: s["state"].update({9: s["state"][0]}),
        "state for 9, but no such p",
    ),
    "names too few": (options(param_names=["a"]), r"2 parameters and 'param_names'=\['a'\]"),
    "names are a number": (options(param_names=3), "2 parameters and 'param_names'=3"),
}


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_changes_nothing(what, engine):
    damage, words = REFUSED[what]
    ours, other = (rt.Adam(tensors(), engine=engine, **OPTIONS) for _ in range(2))
    for optimizer in (ours, other):
        train(optimizer, 3)
    saved = copy.deepcopy(ours.state_dict())
    saved["param_groups"][0]["lr"] = 0.5  # not to be taken over either
    damage(saved)
    held, values = whole(ours)
    with pytest.raises(ValueError, match=rf"(?s)^Adam: .*{words}"):
        ours.load_state_dict(saved)
    for after, before, value in zip(whole(ours)[0], held, values, strict=True):
        assert after is before
        if isinstance(after, torch.Tensor):
            assert torch.equal(after, value)
    for optimizer in (ours, other):
        train(optimizer, 2, seed=1)
    assert all(map(torch.equal, parameters(ours), parameters(other)))


def test_what_is_not_a_dict_is_refused():
    optimizer = rt.Adam(tensors())
    for garbage in ([], "state", None, 5, torch.ones(2)):
        with pytest.raises(
            TypeError, match=f"^Adam: state_dict is a {type(garbage).__name__}; it must"
        ):
            optimizer.load_state_dict(garbage)
        assert not optimizer.state


def test_the_last_state_spoils_the_first_groups_too():
    """Groups and states before the one that is refused are not loaded either."""
    made = [
        {"params": [p], "rule": rule} for p, rule in zip(tensors(), ("SGD", "Adam"), strict=True)
    ]
    optimizer = rt.Mixed(made)
    train(optimizer, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["lr"] = 7.0
    saved["state"][1]["exp_avg_sq"] = torch.ones(9)
    held, _ = whole(optimizer)
    with pytest.raises(
        ValueError, match=r"^Mixed: .*parameter 1 .*'exp_avg_sq' in the shape \(9,\)"
    ):
        optimizer.load_state_dict(saved)
    assert all(a is b for a, b in zip(held, whole(optimizer)[0], strict=True))


@pytest.mark.parametrize(
    ("name", "given", "damage", "words"),
    [
        (
            "SGD",
            {"momentum": 0.9},
            slot("momentum_buffer", lambda x: x[0]),
            "'momentum_buffer' in the",
        ),
        ("SGD", {}, options(momentum=-1), "momentum=-1 is invalid"),
        ("SGD", {}, options(nesterov=True), "nesterov=True with momentum=0"),
        ("NAdam", {}, slot("mu_product", lambda x: "1"), "'mu_product'='1'; it must be a tensor"),
        (
            "NAdam",
            {},
            slot("mu_product", lambda x: torch.ones(2)),
            r"'mu_product' in the shape \(2,\)",
        ),
        ("ASGD", {}, slot("eta", lambda x: None), "has no 'eta'"),
        ("Rprop", {}, options(etas=(1.5, 1.2)), "eta_minus=1.5 is invalid"),
        ("Adafactor", {}, slot("row_var", lambda x: x[0]), r"'row_var' in the shape \(1,\)"),
        ("RMSprop", {}, slot("square_avg", lambda x: x.to_sparse()), "torch.sparse_coo"),
    ],
)
def test_every_class_checks_its_own(name, given, damage, words):
    ours, other = (getattr(rt, name)(tensors(), **given) for _ in range(2))
    for optimizer in (ours, other):
        train(optimizer, 2)
    saved = copy.deepcopy(ours.state_dict())
    damage(saved)
    with pytest.raises(ValueError, match=rf"^{name}: .*{words}"):
        ours.load_state_dict(saved)
    for optimizer in (ours, other):
        train(optimizer, 2, seed=1)
    assert all(map(torch.equal, parameters(ours), parameters(other)))


def test_options_that_repeat_others_must_not_contradict_them():
    optimizer = rt.optimizer(rules.adam)(tensors())
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["betas"] = (0.5, 0.6)
    with pytest.raises(
        ValueError, match=r"betas=\(0.5, 0.6\) and beta1=0.9 are mutually exclusive"
    ):
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


# --- what is not refused


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_whole_numbers_become_numbers_of_the_parameters_dtype(dtype):
    ours, other = (rt.Adam(tensors(), **OPTIONS) for _ in range(2))
    train(ours, 2)
    saved = copy.deepcopy(ours.state_dict())
    saved["state"][0]["exp_avg"] = torch.ones(SHAPES[0]).to(dtype)
    saved["state"][0]["step"] = torch.tensor(2)
    other.load_state_dict(saved)
    state = other.state[parameters(other)[0]]
    assert torch.equal(state["exp_avg"], torch.ones(SHAPES[0]))
    assert state["step"].dtype is torch.float32
    train(other, 1)
    assert state["step"] == 3


def test_what_is_expanded_gets_memory_of_its_own():
    ours, other = (rt.Adam(tensors(), **OPTIONS) for _ in range(2))
    train(ours, 2)
    saved = copy.deepcopy(ours.state_dict())
    row = saved["state"][0]["exp_avg"][:1]
    saved["state"][0]["exp_avg"] = row.expand(SHAPES[0])
    other.load_state_dict(copy.deepcopy(saved))
    saved["state"][0]["exp_avg"] = row.repeat(4, 1)
    ours.load_state_dict(saved)
    with torch.no_grad():
        for p, q in zip(parameters(ours), parameters(other), strict=True):
            q.copy_(p)
    for optimizer in (ours, other):
        train(optimizer, 3)
    assert all(map(torch.equal, parameters(ours), parameters(other)))


# --- the state, but not the options


def test_the_options_of_here_are_kept():
    saved_by, ours, other = (rt.Adam(tensors(), **OPTIONS) for _ in range(3))
    train(saved_by, 3)
    saved = copy.deepcopy(saved_by.state_dict())
    for optimizer in (ours, other):
        optimizer.param_groups[0].update(lr=0.7, betas=(0.5, 0.6), mine="x")
    group = ours.param_groups[0]
    ours.load_state_dict(copy.deepcopy(saved), options="keep")
    assert ours.param_groups[0] is group
    assert (group["lr"], group["betas"], group["mine"]) == (0.7, (0.5, 0.6), "x")
    other.load_state_dict(saved)
    assert other.param_groups[0]["lr"] == 0.1
    other.param_groups[0].update(lr=0.7, betas=(0.5, 0.6))
    for optimizer in (ours, other):
        train(optimizer, 3, seed=1)
    assert all(map(torch.equal, parameters(ours), parameters(other)))
    assert not torch.equal(parameters(ours)[0], parameters(saved_by)[0])
    assert ours.state[parameters(ours)[0]]["step"] == 6


def test_a_tensor_among_the_options_of_here_is_kept_itself():
    saved_by, ours = rt.Adam(tensors(), **OPTIONS), rt.Adam(tensors(), lr=torch.tensor(0.3))
    train(saved_by, 1)
    lr = ours.param_groups[0]["lr"]
    ours.load_state_dict(saved_by.state_dict(), options="keep")
    assert ours.param_groups[0]["lr"] is lr


def test_damaged_options_do_not_matter_where_they_are_not_loaded_and_damaged_state_does():
    ours = rt.Adam(tensors(), **OPTIONS)
    train(ours, 1)
    saved = copy.deepcopy(ours.state_dict())
    saved["param_groups"][0]["lr"] = nan
    ours.load_state_dict(saved, options="keep")
    saved["state"][1]["step"] = -1
    with pytest.raises(ValueError, match="'step'=-1"):
        ours.load_state_dict(saved, options="keep")


@pytest.mark.parametrize("options", ["Keep", None, True, ["keep"]])
def test_options_is_one_of_two_words(options):
    ours = rt.Adam(tensors())
    with pytest.raises(
        ValueError, match=r"options=.* is invalid; options must be 'load' or 'keep'"
    ):
        ours.load_state_dict(ours.state_dict(), options=options)
