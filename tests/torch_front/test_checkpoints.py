"""Checkpoints: torch's, Ravine's and back; resumed training is uninterrupted training, bit for bit."""

import copy
import io
import pickle

import pytest
import torch
import torch.distributed.checkpoint as dcp
from cases import ELEMENTWISE, REDUCING, default_dtype, lookahead, schedule_free
from installed import ALONE, as_torchs, flat_may_lack, lacks, takes
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

import ravine.torch as rt
from ravine import registry, rule, rules, scalar, zeros
from ravine.engines.fused import refusal
from ravine.engines.tracing import takes_matrices, trace
from ravine.ops import mean, sqrt

# What torch's own distributed checkpoints warn of: a run of one process, and what they use themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is (disabled|unavailable)"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"),
]

# Each class with each option that changes what is in the state.
CLASSES = {
    "SGD": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "dampening": 0.3},
    ],
    "RMSprop": [{}, {"momentum": 0.9}, {"centered": True}, {"momentum": 0.9, "centered": True}],
    "Adam": [{}, {"amsgrad": True}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "AdamW": [{}, {"amsgrad": True, "maximize": True}],
    "NAdam": [{}, {"momentum_decay": 0.1}],
    "RAdam": [{"betas": (0.9, 0.9)}],
    "Adamax": [{}],
    "Adagrad": [{}, {"initial_accumulator_value": 0.5, "lr_decay": 0.1}],
    "Adadelta": [{}],
    "Rprop": [{}],
    "ASGD": [{}, {"lambd": 0.1, "t0": 3.0}],
    "Adafactor": [{}],
    "Muon": [{}, {"nesterov": False}],
    "SparseAdam": [{}],
}
CASES = [(name, options) for name, those in CLASSES.items() for options in those]
BOTH = [(name, options) for name, options in CASES if takes(name, **options)]  # torch has it too
OF_ARRAYS = ("Adafactor", "Muon")
WITHOUT_BUFFERS = [("SGD", {})]
SHAPES = [(3, 4), (4, 3), (5,), (), (2, 2)]
NEVER, SOMETIMES = 4, 1  # the tensor without gradient, and the one that has it in some steps only


def tensors(name="", dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = [s if len(s) == 2 or not matrices_only(name) else (2, 3) for s in SHAPES]
    return [
        torch.randn(s, dtype=torch.float64, generator=draw).to(dtype).requires_grad_()
        for s in shapes
    ]


def matrices_only(name):
    rule = registry.rules().get(name)
    return name in ("Muon", "adafactor", "SparseAdam") or (rule and takes_matrices(rule))


def train(stepper, steps, start=0):
    """Steps with the same gradients each time, that do not depend on the parameters."""
    params = [p for group in stepper.param_groups for p in group["params"]]
    sparse = type(stepper).__name__ == "SparseAdam"
    for t in range(start, start + steps):
        draw = torch.Generator().manual_seed(t)
        for i, p in enumerate(params):
            real = torch.view_as_real(p.detach()) if p.is_complex() else p.detach()
            g = torch.randn(real.shape, dtype=torch.float64, generator=draw).to(real.dtype)
            g = torch.view_as_complex(g) if p.is_complex() else g
            p.grad = g.to_sparse(1) if sparse else g
            if i == NEVER or (i == SOMETIMES and t % 3 == 1):
                p.grad = None
        stepper.step()
    return params


def through_a_file(saved):
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(a, b, path=""):
    """Assert that both are the same to the last bit, and of the same types."""
    assert type(a) is type(b), (path, a, b)
    if isinstance(a, dict):
        assert a.keys() == b.keys(), (path, a.keys(), b.keys())
        for k in a:
            same(a[k], b[k], f"{path}.{k}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{path}.{i}")
    elif isinstance(a, torch.Tensor):
        assert (a.dtype, a.shape, a.device) == (b.dtype, b.shape, b.device), (path, a, b)
        assert torch.equal(a, b), (path, a, b)
    else:
        assert a == b, (path, a, b)


def close(a, b):
    return all((x - y).abs().max() <= 1e-12 * y.abs().max() for x, y in zip(a, b, strict=True))


# --- resumed is uninterrupted

HOW = {
    "float64": (torch.float64, {}),
    "float32": (torch.float32, {}),
    "eager": (torch.float32, {"engine": "eager"}),
    "bfloat16": (torch.bfloat16, {}),
    "bfloat16 states": (torch.float32, {"state_dtype": torch.bfloat16}),
    "float32 states": (torch.bfloat16, {"state_dtype": torch.float32}),
    "rounded by chance": (torch.bfloat16, {"stochastic_rounding": 7}),
}


def check_resumed(make, name="", dtype=torch.float32, steps=5, **how):
    """Interrupted in the middle, the weights and the whole state are what they are without."""
    whole = make(tensors(name, dtype), **how)
    expected = train(whole, 2 * steps)
    before = make(tensors(name, dtype), **how)
    train(before, steps)
    saved = through_a_file({"weights": before.param_groups[0]["params"], "it": before.state_dict()})
    after = make([p.detach().requires_grad_() for p in saved["weights"]], **how)
    after.load_state_dict(saved["it"])
    same(after.state_dict(), saved["it"])
    assert all(type(s.get("step", 0)) in (int, torch.Tensor) for s in after.state.values())
    same([*train(after, steps, steps)], [*expected])
    same(after.state_dict(), whole.state_dict())


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("how", HOW)
def test_the_classes_resume(name, options, how):
    dtype, keywords = HOW[how]
    if how == "rounded by chance" and name in OF_ARRAYS:
        pytest.skip("has no kernel")
    check_resumed(
        lambda params, **how: getattr(rt, name)(params, **options, **how), name, dtype, **keywords
    )


OWN = [*registry.rules().values(), *ELEMENTWISE, *REDUCING]
OWN = list({made.name: made for made in OWN}.values())


@pytest.mark.parametrize(
    ("made", "how"),
    [
        pytest.param(made, how, id=f"{made.name}-{how}")
        for i, made in enumerate(OWN)
        for how in [list(HOW)[i % len(HOW)]]  # by turns; test_every_rule has them all in float64
    ],
)
def test_rules_and_stacks_resume(made, how):
    dtype, keywords = HOW[how]
    if how == "rounded by chance" and refusal(trace(made)):
        pytest.skip("has no kernel")
    cls = rt.optimizer(made)
    check_resumed(lambda params, **how: cls(params, **how), made.name, dtype, **keywords)


@pytest.mark.parametrize("how", HOW)
def test_mixed_groups_resume(how):
    dtype, keywords = HOW[how]
    names = [
        ("Rprop", {}),
        ("SGD", {"momentum": 0.9}),
        ("NAdam", {}),
        ("adagrad", {}),
        ("ASGD", {}),
    ]

    def make(params, **how):
        groups = [
            {"params": [p], "rule": name, **options}
            for p, (name, options) in zip(params, names, strict=True)
        ]
        return rt.Mixed(groups, **how)

    whole, before = make(tensors("", dtype), **keywords), make(tensors("", dtype), **keywords)
    expected = train(whole, 10)
    weights = train(before, 5)
    after = make(copy.deepcopy(weights), **keywords)
    after.load_state_dict(through_a_file(before.state_dict()))
    same(train(after, 5, 5), expected)
    same(after.state_dict(), whole.state_dict())


def test_a_seeded_sgd_saves_its_count_and_torch_does_not_mind():
    """Roundings are drawn by the count of steps, which torch's SGD does not have."""
    p = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    for options in ({}, {"momentum": 0.9}):
        stepper = rt.SGD([p], **options, stochastic_rounding=1)
        train(stepper, 3)
        saved = stepper.state_dict()
        assert saved["state"][0]["step"] == 3
        theirs = torch.optim.SGD([p], **options)
        theirs.load_state_dict(saved)
        train(theirs, 1)


# --- torch's form


@pytest.mark.parametrize(("name", "options"), BOTH)
def test_what_is_saved_has_torchs_keys_and_types(name, options):
    """Numbers apart, a state_dict is what torch's class gives after the same training."""

    def shape(x, key=""):
        if isinstance(x, dict):
            return {k: shape(v, k) for k, v in x.items()}
        if isinstance(x, list):
            return [shape(v) for v in x]
        if isinstance(x, torch.Tensor):
            number = key in ("mu_product", "eta", "mu")  # in float64, so that no bit is lost
            return "number" if number else (x.dtype, tuple(x.shape), x.device)
        return type(x), x

    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for steps in (0, 3):
            for default in (torch.float32, torch.float64):
                with default_dtype(default):
                    found = []
                    for module in (torch.optim, rt):
                        stepper = getattr(module, name)(tensors(name, dtype), **options)
                        train(stepper, steps)
                        found.append(as_torchs(stepper))
                assert shape(found[1]) == shape(found[0])
                assert list(found[1]["state"]) == list(found[0]["state"])


@pytest.mark.parametrize(("name", "options"), BOTH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("steps", [0, 5])
def test_back_and_forth_no_bit_changes_and_no_type(name, options, dtype, steps):
    theirs = getattr(torch.optim, name)(tensors(name, dtype), **options)
    train(theirs, steps)
    for _ in range(3):
        saved = copy.deepcopy(theirs.state_dict())
        ours = getattr(rt, name)(tensors(name, dtype), lr=0.7)  # what is saved wins
        ours.load_state_dict(through_a_file(saved))
        same(as_torchs(ours), saved)
        theirs = getattr(torch.optim, name)(tensors(name, dtype))
        theirs.load_state_dict(as_torchs(ours))


@pytest.mark.parametrize(("name", "options"), BOTH)
@pytest.mark.parametrize("modules", [(torch.optim, rt), (rt, torch.optim)], ids=["from", "to"])
@pytest.mark.parametrize("at", [0, 1, 10])
def test_training_goes_on_from_torchs_and_in_torchs(name, options, modules, at):
    with default_dtype(torch.float64):  # else torch's own NAdam and ASGD have float32 numbers
        whole = getattr(torch.optim, name)(tensors(name), **options)
        expected = train(whole, 40)
        first = getattr(modules[0], name)(tensors(name), **options)
        weights = train(first, at)
        second = getattr(modules[1], name)([p.detach().clone().requires_grad_() for p in weights])
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        assert close(train(second, 40 - at, at), expected)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "NAdam", "Adagrad", "Rprop", "ASGD"])
def test_complex_parameters_are_exchanged_too(name):
    def make(module):
        p = torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex128, requires_grad=True)
        return getattr(module, name)([p], lr=0.01, **{"momentum": 0.9} if name == "SGD" else {})

    with default_dtype(torch.float64):
        theirs, ours, again = make(torch.optim), make(rt), make(torch.optim)
        train(theirs, 3)
        ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        same(as_torchs(ours), theirs.state_dict())
        train(ours, 3, 3)
        again.load_state_dict(copy.deepcopy(ours.state_dict()))
        train(again, 3, 6)


def test_fused_and_capturable_counts_are_where_torch_has_them():
    p = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with default_dtype(torch.float64):
        theirs, ours = (module.Adam([p], fused=True) for module in (torch.optim, rt))
        train(theirs, 2)
        ours.load_state_dict(theirs.state_dict())
        same(as_torchs(ours), theirs.state_dict())
        assert ours.state_dict()["state"][0]["step"].dtype is torch.float32


def test_a_count_that_float32_has_not_is_saved_exactly():
    stepper = rt.Adam([torch.ones(2, requires_grad=True)])
    train(stepper, 1)
    (state,) = stepper.state.values()
    state["step"] = 2**24 + 1
    assert int(stepper.state_dict()["state"][0]["step"]) == 2**24 + 1


def test_adamw_is_decoupled_whatever_it_loads():
    params = tensors()
    for module in (torch.optim, rt):
        stepper = module.AdamW(params)
        stepper.load_state_dict(torch.optim.Adam(params).state_dict())
        if "decoupled_weight_decay" not in lacks("AdamW") or module is rt:
            saved = stepper.state_dict()["param_groups"][0]
            assert saved["decoupled_weight_decay"] is True


def test_adagrad_has_its_state_before_the_first_step():
    """As torch's, which older versions insist on."""
    params = [*tensors(), torch.ones(2, dtype=torch.complex64, requires_grad=True)]
    ours, theirs = (m.Adagrad(params, initial_accumulator_value=0.25) for m in (rt, torch.optim))
    same(ours.state_dict(), theirs.state_dict())
    assert not ours.state
    ours.load_state_dict(theirs.state_dict())
    assert ours.state[params[0]]["step"] == 0


def test_an_option_that_was_just_switched_on_is_saved_with_its_state():
    """So a checkpoint is complete, and one that is not is refused."""
    results = []
    for interrupt in (False, True):
        stepper = rt.Adam(tensors(), state_dtype=torch.bfloat16)
        weights = train(stepper, 3)
        stepper.param_groups[0]["amsgrad"] = True
        if interrupt:
            saved = stepper.state_dict()
            assert saved["state"][0]["max_exp_avg_sq"].dtype is torch.bfloat16
            stepper = rt.Adam(weights, state_dtype=torch.bfloat16)
            stepper.load_state_dict(saved)
        results.append(train(stepper, 3, 3))
    same(*results)


def test_a_rules_own_class_saves_numbers_in_tensors():
    stepper = rt.optimizer(schedule_free)(tensors())
    train(stepper, 2)
    state = stepper.state_dict()["state"][0]
    assert state.keys() == {"step", "z", "v", "weight_sum", "lr_max"}
    dtypes = [state[k].dtype for k in ("step", "weight_sum", "lr_max")]
    assert dtypes == [torch.float32, torch.float64, torch.float64]


def test_state_that_is_no_parameters_is_kept_as_it_is():
    stepper, after = rt.Adam(tensors()), rt.Adam(tensors())
    train(stepper, 1)
    stepper.state["all"] = {"step": torch.tensor(3.0), "seen": 7}
    after.load_state_dict(through_a_file(stepper.state_dict()))
    same(after.state["all"], stepper.state["all"])
    same(after.state_dict(), stepper.state_dict())


def test_saving_leaves_the_state_alone_and_old_buffers_stay():
    p = torch.ones(2, requires_grad=True)
    stepper = rt.SGD([p], momentum=0.5)
    stepper.load_state_dict(  # as torch saved it before 2.0
        {
            "state": {0: {"momentum_buffer": None}},
            "param_groups": stepper.state_dict()["param_groups"],
        }
    )
    assert stepper.state_dict()["state"] == {0: {"momentum_buffer": None}}
    train(stepper, 1)
    assert torch.equal(stepper.state[p]["momentum_buffer"], p.grad)
    before = dict(stepper.state[p])
    stepper.state_dict()["state"][0]["momentum_buffer"] = None
    assert stepper.state[p] == before


def test_checkpoints_of_other_versions_of_torch():
    """Older ones lack switches and count in ints; newer ones have more."""
    params = tensors()
    theirs = torch.optim.Adam(params, lr=torch.tensor(0.25))
    train(theirs, 2)
    saved = copy.deepcopy(theirs.state_dict())
    (group,) = saved["param_groups"]
    for switch in (
        "amsgrad",
        "maximize",
        "foreach",
        "capturable",
        "fused",
        "decoupled_weight_decay",
    ):
        group.pop(switch, None)
    group.update(initial_lr=0.5, novelty=3)
    for state in saved["state"].values():
        state.update(step=int(state["step"]), novelty=torch.ones(7))
    ours = rt.Adam(params, maximize=True)
    ours.load_state_dict(saved)
    (group,) = ours.param_groups
    assert torch.equal(group["lr"], torch.tensor(0.25))
    assert (group["maximize"], group["initial_lr"], group["novelty"]) == (True, 0.5, 3)
    train(ours, 1)
    saved = ours.state_dict()
    assert int(saved["state"][0]["step"]) == 3
    assert torch.equal(saved["state"][0]["novelty"], torch.ones(7))


# --- dtypes


def test_the_saved_dtype_wins():
    def states(stepper):
        return {s["exp_avg"].dtype for s in stepper.state.values()}

    for dtype, kept in (
        (torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.float32),
        (torch.float64, torch.float32),
    ):
        first = rt.Adam(tensors("", dtype), state_dtype=kept)
        train(first, 2)
        second = rt.Adam(tensors("", dtype))
        second.load_state_dict(through_a_file(first.state_dict()))
        assert states(second) == {kept}
        train(second, 2, 2)
        assert states(second) == {kept}
        first.load_state_dict(second.state_dict())
        assert states(first) == {kept}


# --- by name


class Model(nn.Module):
    def __init__(self, order=("first", "second"), width=4):
        super().__init__()
        for name in order:
            setattr(self, name, nn.Linear(3, 3 if name == "first" else width))

    def forward(self, x):
        return self.second(self.first(x).tanh())


def learn(model, *steppers, steps=3):
    torch.manual_seed(1)
    for _ in range(steps):
        x = torch.randn(8, 3)
        model(x).square().mean().backward()
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()


def by_name(model, stepper):
    names = {p: name for name, p in model.named_parameters()}
    return {names[p]: state for p, state in stepper.state.items()}


def grouped(model, *groups):
    """Groups of named parameters, each with its own lr."""
    params = dict(model.named_parameters())
    return [{"params": [(name, params[name]) for name in names], "lr": lr} for names, lr in groups]


FIRST, SECOND = ("first.weight", "first.bias"), ("second.weight", "second.bias")


def test_names_count_more_than_order():
    model, other = Model(), Model(("second", "first"))
    stepper = rt.Adam(grouped(model, (FIRST, 0.1), (SECOND, 0.2)))
    learn(model, stepper)
    after = rt.Adam(grouped(other, (SECOND[::-1], 1.0), (FIRST, 1.0)))
    after.load_state_dict(through_a_file(stepper.state_dict()))
    same(by_name(other, after), by_name(model, stepper))
    assert [group["lr"] for group in after.param_groups] == [0.2, 0.1]
    assert after.param_groups[0]["param_names"] == list(SECOND[::-1])
    other.load_state_dict(model.state_dict())
    learn(model, stepper)
    learn(other, after)
    same(dict(other.state_dict()), {k: model.state_dict()[k] for k in other.state_dict()})


def test_torchs_named_checkpoints_are_read_by_name_too():
    model, other = Model(), Model(("second", "first"))
    theirs = torch.optim.Adam(model.named_parameters())
    learn(model, theirs)
    ours = rt.Adam(other.named_parameters())
    ours.load_state_dict(theirs.state_dict())
    for name, state in by_name(other, ours).items():
        assert torch.equal(state["exp_avg"], by_name(model, theirs)[name]["exp_avg"])


@pytest.mark.parametrize("module", [rt, torch.optim], ids=["ours", "theirs"])
@pytest.mark.parametrize("named", [False, True])
def test_a_state_dict_with_names_for_keys(module, named):
    model, other = Model(), Model(("second", "first"))
    stepper = module.Adam(model.named_parameters() if named else model.parameters(), amsgrad=True)
    assert rt.named_state_dict(model, stepper)["state"] == {}
    learn(model, stepper)
    saved = rt.named_state_dict(model, stepper)
    assert saved["state"].keys() == {*FIRST, *SECOND}
    same(saved, get_optimizer_state_dict(model, stepper))
    after = module.Adam(other.named_parameters() if named else other.parameters())
    rt.load_named_state_dict(other, after, through_a_file(saved))
    same(by_name(other, after), by_name(model, stepper))
    if named:  # state saved by number also has its names
        rt.load_named_state_dict(other, after, stepper.state_dict())
        same(by_name(other, after), by_name(model, stepper))
        assert after.param_groups[0]["param_names"] == [n for n, _ in other.named_parameters()]


def test_names_of_wrapped_models_are_those_of_the_model():
    model = Model()
    stepper = rt.Adam(model.named_parameters())
    learn(model, stepper)
    for wrappers in (["_orig_mod"], ["module"], ["_orig_mod", "module"], ["module", "_orig_mod"]):
        wrapped = model  # as by torch.compile and DistributedDataParallel
        for name in wrappers:
            wrapped = nn.ModuleDict({name: wrapped})
        after = rt.Adam(wrapped.named_parameters())
        after.load_state_dict(stepper.state_dict())
        same(by_name(model, after), by_name(model, stepper))
    model.first = nn.ModuleDict({"_checkpoint_wrapped_module": model.first})
    assert rt.named_state_dict(wrapped, stepper)["state"].keys() == {*FIRST, *SECOND}


def test_parameters_of_other_names_are_refused():
    model, other = Model(), Model(("first", "third"))
    stepper, after = rt.Adam(model.named_parameters()), rt.Adam(other.named_parameters())
    learn(model, stepper)
    with pytest.raises(
        ValueError,
        match=r"^Adam: the checkpoint is for other parameters: it lacks 'third\.bias', 'third\.weight'; "
        r"only it has 'second\.bias', 'second\.weight'; to load it by order, delete",
    ):
        after.load_state_dict(stepper.state_dict())
    with pytest.raises(ValueError, match=r"it lacks 'third\.bias'"):
        rt.load_named_state_dict(other, torch.optim.Adam(other.parameters()), stepper.state_dict())
    assert not after.state
    saved = stepper.state_dict()
    del saved["param_groups"][0]["param_names"]
    after.load_state_dict(saved)
    assert len(after.state) == 4


def test_parameters_grouped_otherwise_are_refused():
    model = Model()
    stepper = rt.Adam(grouped(model, (FIRST, 0.1), (SECOND, 0.2)))
    for groups in (
        [(FIRST[:1], 1.0), (FIRST[1:] + SECOND, 1.0)],
        [(FIRST + SECOND, 1.0)],
        [(FIRST, 1.0), (SECOND[:1], 1.0), (SECOND[1:], 1.0)],
    ):
        with pytest.raises(
            ValueError, match=r"^Adam: the checkpoint's parameters are grouped differently"
        ):
            rt.Adam(grouped(model, *groups)).load_state_dict(stepper.state_dict())


def test_names_that_are_not_unique_do_not_count():
    """As of two models that one optimizer trains: then the order does."""

    def make(order):
        models = [nn.Linear(2, 1), nn.Linear(3, 1)]
        twice = [named for model in models for named in model.named_parameters()]
        groups = [{"params": twice}, {"params": [("other", torch.ones(4, requires_grad=True))]}]
        return rt.Adam(groups[::order])

    stepper, after = make(1), make(1)
    train(stepper, 2)
    after.load_state_dict(stepper.state_dict())
    same(after.state_dict(), stepper.state_dict())
    with pytest.raises(ValueError, match="param groups of 4 and 1 parameters"):
        make(-1).load_state_dict(stepper.state_dict())


def test_what_has_no_name_is_said():
    model = Model()
    stray = torch.ones(2, requires_grad=True)
    with pytest.raises(
        ValueError, match=r"^Adam: parameter 4 of param group 0, of shape \(2,\), is not"
    ):
        rt.named_state_dict(model, rt.Adam([*model.parameters(), stray]))
    stepper = rt.Adam(model.parameters())
    with pytest.raises(ValueError, match=r"^Adam: the checkpoint has no parameter names"):
        rt.load_named_state_dict(model, stepper, stepper.state_dict())


# --- what is refused


def test_shapes_must_be_the_parameters():
    model, other = Model(), Model(width=5)
    for named in (True, False):
        stepper, after = (
            rt.Adam(m.named_parameters() if named else m.parameters()) for m in (model, other)
        )
        learn(model, stepper)
        which = r"'second\.weight'" if named else r"2 \(counted from 0\)"
        with pytest.raises(
            ValueError,
            match=rf"^Adam: the checkpoint's state of parameter {which} has 'exp_avg' in the shape "
            r"\(4, 3\); here the parameter has \(5, 3\), so 'exp_avg' has \(5, 3\)$",
        ):
            after.load_state_dict(stepper.state_dict())
        assert not after.state
    matrix = torch.ones(3, 4, requires_grad=True)
    stepper = rt.Adafactor([matrix])
    train(stepper, 1)
    saved = copy.deepcopy(stepper.state_dict())
    saved["state"][0]["row_var"] = torch.ones(3, 4)
    with pytest.raises(
        ValueError, match=r"'row_var' in the shape \(3, 4\);.* so 'row_var' has \(3, 1\)"
    ):
        stepper.load_state_dict(saved)
    matrix.data = torch.ones(4, 4)  # replaced
    with pytest.raises(ValueError, match=r"'row_var' in the shape \(3, 1\).*\(4, 1\)"):
        stepper.load_state_dict(stepper.state_dict())


@pytest.mark.parametrize("shape", [(4, 3, 2), (3,), ()])
def test_slots_with_a_number_for_each_row_go_on(shape):
    @rule(v=zeros(keep=0))
    def by_rows(p, g, v, *, lr=0.1):
        v = 0.9 * v + mean(g * g, keep=0)
        return p - lr * g / sqrt(v), v

    made, p = rt.optimizer(by_rows), torch.ones(shape, requires_grad=True)
    stepper, after = made([p]), made([p])
    p.grad = torch.ones(shape)
    stepper.step()
    saved = stepper.state_dict()
    kept = saved["state"][0]["v"]
    assert kept.shape == torch.Size([*shape[:1], *[1] * (len(shape) - 1)])
    after.load_state_dict(saved)
    assert torch.equal(after.state[p]["v"], kept)
    saved["state"][0]["v"] = torch.ones(7)
    with pytest.raises(ValueError, match=r"'v' in the shape \(7,\)"):
        after.load_state_dict(saved)


def test_groups_must_be_of_the_same_sizes():
    a, b, c = tensors()[:3]
    saved = rt.SGD([a, b]).state_dict()
    with pytest.raises(
        ValueError,
        match=r"^SGD: the checkpoint has param groups of 2 parameters, and here they are of 1 and 2",
    ):
        rt.SGD([{"params": [a]}, {"params": [b, c]}]).load_state_dict(saved)


def test_another_optimizers_checkpoint_is_refused():
    params = tensors()
    wrong = {}
    for name, options in BOTH:  # the last of each class
        if name in ("Muon", "SparseAdam"):
            continue
        stepper = getattr(torch.optim, name)(params, **options)
        train(stepper, 1)
        wrong[name] = stepper.state_dict()
    relatives = {"Adam", "AdamW", "RAdam", "NAdam"}  # what the others need of these is there
    for name in wrong:
        for other, saved in wrong.items():
            if name == other or {name, other} <= relatives:
                continue
            stepper = getattr(rt, name)(params)
            with pytest.raises(ValueError, match=rf"^{name}: the checkpoint"):
                stepper.load_state_dict(saved)
            assert not stepper.state
    with pytest.raises(
        ValueError,
        match=r"^Adam: the checkpoint is from another optimizer: its param group 0 has no 'betas', 'eps'; "
        "it has 'lr', 'momentum'",
    ):
        rt.Adam(params).load_state_dict(wrong["SGD"])
    with pytest.raises(
        ValueError, match=r"parameter 0 .* no 'exp_avg_sq'; it has 'step', 'exp_avg'"
    ):
        rt.Adam(params).load_state_dict(wrong["Adamax"])


def test_a_part_of_the_state_is_refused():
    for key, name, options in (
        ("exp_avg", "Adam", {}),
        ("step", "Adam", {}),
        ("mu_product", "NAdam", {}),
        ("momentum_buffer", "SGD", {"momentum": 0.9}),
    ):
        stepper = getattr(rt, name)(tensors(), **options)
        train(stepper, 1)
        saved = stepper.state_dict()
        saved["state"][0].pop(key)
        saved["state"][0]["other"] = 1
        with pytest.raises(ValueError, match=f"parameter 0 .* has no '{key}'; it has .*'other'$"):
            stepper.load_state_dict(saved)


def test_what_is_not_an_optimizers_is_refused():
    model = Model()
    stepper = rt.Adam(model.parameters())
    for load in (stepper.load_state_dict, lambda s: rt.load_named_state_dict(model, stepper, s)):
        with pytest.raises(ValueError, match=r"^Adam: this is not an.*it has 'first\.weight'"):
            load(model.state_dict())


def test_mixed_groups_must_have_their_rules():
    a, b = tensors()[:2]
    saved = rt.Mixed([{"params": [a], "rule": "SGD"}, {"params": [b], "rule": "Adam"}]).state_dict()
    other = rt.Mixed([{"params": [a], "rule": "Adam"}, {"params": [b], "rule": "SGD"}])
    with pytest.raises(
        ValueError,
        match=r"^Mixed: param group 0 is stepped by SGD in the checkpoint, and by Adam here",
    ):
        other.load_state_dict(saved)


# --- torch's machinery


def test_hooks_see_torchs_form_and_may_change_it():
    p = torch.ones(2, requires_grad=True)
    stepper, seen = rt.NAdam([p]), []
    train(stepper, 1)

    def before_load(_, saved):
        seen.append(type(saved["state"][0]["mu_product"]))
        state = {0: {**saved["state"][0], "step": torch.tensor(41.0)}}
        return {**saved, "state": state}

    stepper.register_state_dict_pre_hook(lambda _: seen.append("before"))
    stepper.register_state_dict_post_hook(
        lambda _, saved: seen.append(type(saved["state"][0]["step"]))
    )
    stepper.register_state_dict_post_hook(lambda _, saved: {**saved, "more": 1})
    stepper.register_load_state_dict_pre_hook(before_load)
    stepper.register_load_state_dict_post_hook(lambda s: seen.append(s.state[p]["step"]))
    saved = stepper.state_dict()
    assert saved["more"] == 1
    for _ in range(2):  # nothing of ours is left behind
        stepper.load_state_dict(saved)
        assert seen == ["before", torch.Tensor, torch.Tensor, 41]
        del seen[2:]
    with pytest.raises(ValueError, match="another"):
        stepper.load_state_dict({**saved, "param_groups": [{"params": [0]}]})
    assert [len(hooks) for name, hooks in vars(stepper).items() if "state_dict" in name] == [
        1,
        2,
        1,
        1,
    ]


def test_copies_and_pickles_of_what_was_loaded_go_on():
    for name in ("NAdam", "ASGD"):
        theirs = getattr(torch.optim, name)(tensors())
        train(theirs, 3)
        ours = getattr(rt, name)(tensors())
        ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        copies = [copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))]
        expected = train(ours, 3, 3)
        for other in copies:
            same(other.state_dict(), theirs.state_dict())
            same(train(other, 3, 3), expected)


def test_numbers_that_were_loaded_step_as_any_others():
    """By kernels and eagerly, in float64, whatever dtype they came in."""

    @rule(kept=scalar(1.0))
    def drifting(p, g, kept, *, lr=0.1):
        kept = kept * 0.9
        return p - lr * kept * g, kept

    for cls in (rt.ASGD, rt.NAdam, rt.optimizer(drifting), rt.optimizer(schedule_free)):
        for engine in ("kernel", "eager"):
            results = []
            for change in (lambda x: x, lambda x: torch.tensor(float(x), dtype=torch.float64)):
                stepper = cls(tensors(dtype=torch.float32), engine=engine)
                train(stepper, 2)
                saved = copy.deepcopy(stepper.state_dict())
                for state in saved["state"].values():
                    for key in {"mu_product", "eta", "mu", "kept", "weight_sum"} & state.keys():
                        state[key] = change(state[key])
                stepper.load_state_dict(saved)
                values = stepper.state_dict()["state"][0].values()
                assert all(type(x) in (int, float, torch.Tensor) for x in values)
                results.append(train(stepper, 2, 2))
            same(*results)


# --- torch.distributed.checkpoint

DISTRIBUTED = {
    "Adam": lambda params: rt.Adam(params, amsgrad=True),
    "SGD": lambda params: rt.SGD(params, momentum=0.9),
    "plain SGD": rt.SGD,
    "NAdam": rt.NAdam,
    "ASGD": rt.ASGD,
    "Adagrad": rt.Adagrad,
    "lookahead": rt.optimizer(lookahead(rules.nesterov)),
    "bfloat16": lambda params: rt.Adam(params, state_dtype=torch.bfloat16),
    "mixed": lambda params: rt.Mixed([{"params": list(params), "rule": "ASGD", "lr": 0.1}]),
}


@pytest.mark.parametrize("kind", DISTRIBUTED)
@pytest.mark.parametrize("flat", [False, True])
def test_distributed_checkpoints(kind, flat, tmp_path):
    """Through files and by name into a model of another order, as uninterrupted to the last bit."""
    if flat and "SGD" in kind and not flat_may_lack():
        pytest.skip("the installed torch insists on the count, which SGD's checkpoints have not")
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    make = DISTRIBUTED[kind]
    model, other = Model(), Model(("second", "first"))
    stepper, after = make(model.parameters()), make(other.parameters())
    learn(model, stepper)
    saved = {"it": get_optimizer_state_dict(model, stepper, options=options)}
    dcp.save(saved, checkpoint_id=tmp_path, **ALONE)
    loaded = {"it": get_optimizer_state_dict(other, after, options=options)}
    dcp.load(loaded, checkpoint_id=tmp_path, **ALONE)
    other.load_state_dict(model.state_dict())
    set_optimizer_state_dict(other, after, loaded["it"], options=options)
    same(rt.named_state_dict(other, after)["state"], rt.named_state_dict(model, stepper)["state"])
    learn(model, stepper)
    learn(other, after)
    same(
        dict(other.named_parameters()),
        {n: dict(model.named_parameters())[n] for n, _ in other.named_parameters()},
    )


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("modules", [(torch.optim, rt), (rt, torch.optim)], ids=["from", "to"])
@pytest.mark.parametrize("name", ["SGD", "AdamW", "NAdam"])
def test_distributed_checkpoints_are_torchs(name, modules, flat):
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    keywords = {"momentum": 0.9} if name == "SGD" else {}
    model, other = Model(), Model(("second", "first"))
    stepper = getattr(modules[0], name)(model.named_parameters(), **keywords)
    after = getattr(modules[1], name)(other.named_parameters(), **keywords)
    learn(model, stepper)
    if flat and (name, modules[0]) == ("SGD", torch.optim) and not flat_may_lack():
        pytest.skip("the installed torch insists on the count, which its SGD does not have")
    saved = get_optimizer_state_dict(model, stepper, options=options)
    set_optimizer_state_dict(other, after, saved, options=options)
    for n, state in by_name(other, after).items():
        for key, value in by_name(model, stepper)[n].items():
            if isinstance(value, torch.Tensor) and value.ndim:
                assert torch.equal(state[key], value), (n, key)


@pytest.mark.parametrize("name", ["Adam", "NAdam"])
def test_an_optimizer_is_stateful_to_distributed_checkpoints(name, tmp_path):
    stepper, after = (getattr(rt, name)(tensors()) for _ in range(2))
    train(stepper, 3)
    train(after, 1)
    dcp.save({"it": stepper}, checkpoint_id=tmp_path, **ALONE)
    dcp.load({"it": after}, checkpoint_id=tmp_path, **ALONE)
    same(after.state_dict(), stepper.state_dict())
