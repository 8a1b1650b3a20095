"""torch's own table of optimizers and their inputs, through Ravine's classes and through torch's.

The table (torch.testing._internal.common_optimizers) is what torch's tests run over: option sets, and
inputs that must be refused. Without it, as in a build of torch that leaves it out, these tests skip.
"""

import ast
import inspect
import linecache
import textwrap
import traceback
import warnings

import numpy as np
import pytest
import torch
from cases import default_dtype, error, gradients
from installed import differentiates

import ravine.torch as rt

table = pytest.importorskip(
    "torch.testing._internal.common_optimizers",
    reason="this torch has no table of optimizers, or the package expecttest is missing",
    exc_type=ImportError,
)

INFOS = {info.name: info for info in table.optim_db if info.name != "LBFGS"}
OF_ARRAYS = {"Adafactor", "Muon"}
STEPS = 60
ROUNDING = 2.0**-24  # of float32


def test_every_class_of_torchs_but_lbfgs_is_here():
    assert {name for name in INFOS if issubclass(getattr(rt, name), rt.RuleOptimizer)} == {
        name
        for name, x in vars(torch.optim).items()
        if inspect.isclass(x) and name not in ("Optimizer", "LBFGS")
    }


def inputs(info):
    """The table's options for a class; with those for accelerators, which add capturable=True."""
    for made in info.optim_inputs_func("cuda"):
        # Numbers in tensors as float64: torch's Muon computes with lr in the dtype that it has.
        options = {k: v.double() if torch.is_tensor(v) else v for k, v in made.kwargs.items()}
        yield made.desc, options


def shapes(info):
    return (
        [(4, 5), (6, 3)] if info.name in ("Muon", "SparseAdam") else [(3, 4), (5,), (), (2, 3, 2)]
    )


def train(cls, info, dtype, steps=STEPS, **options):
    """The parameters after that many steps from float32 numbers, and the optimizer."""
    draw = np.random.default_rng(0)
    starts = [torch.tensor(draw.normal(size=s)).float() for s in shapes(info)]
    params = [x.to(dtype).requires_grad_() for x in starts]
    columns = [torch.tensor(gradients(s, steps, i)).float() for i, s in enumerate(shapes(info))]
    stepper = cls(params, **options)
    for t in range(steps):
        for p, column in zip(params, columns, strict=True):
            g = column[t].to(dtype)
            p.grad = g.to_sparse(1) if info.only_supports_sparse_grads else g
        stepper.step()
    return params, stepper


def errors(ours, theirs):
    return [error(a.double(), b.double()) for a, b in zip(ours, theirs, strict=True)]


# In float64 the paths are torch's to 1e-12; found: 2e-15. Float32 is judged by the float64 path: ours
# may be at most twice as far from it as torch's, plus 8 roundings. Found: 4 roundings in excess of
# twice, where torch's is 2 to 57 off; and 0 for most.
@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("name", INFOS)
def test_every_input_gives_torchs_path(name, engine):
    info, ours = INFOS[name], getattr(rt, name)
    asked = "auto" if engine == "kernel" and name == "Adafactor" else engine  # 3 dimensions: eager
    worst, excess = 0.0, -np.inf
    for desc, options in inputs(info):
        if options.get("capturable"):
            continue
        with default_dtype(torch.float64):  # which torch's NAdam and ASGD compute numbers in
            path, _ = train(info.optim_cls, info, torch.float64, **options)
            theirs, _ = train(info.optim_cls, info, torch.float32, **options)
        wide, stepper = train(ours, info, torch.float64, engine=asked, **options)
        single, _ = train(ours, info, torch.float32, engine=asked, **options)
        assert stepper.engine.startswith(engine)
        worst = max(worst, *errors(wide, path))
        off = zip(errors(single, path), errors(theirs, path), strict=True)
        excess = max(excess, *((a - 2 * b) / ROUNDING for a, b in off))
        assert worst <= 1e-12, desc
        assert excess <= 8, desc
    print(f"{name}, {engine}: float64 {worst:.1e}, float32 {excess:.1f} roundings in excess")


def test_the_inputs_can_be_told_apart():
    """Else the paths above would prove nothing."""
    for name, info in INFOS.items():
        made = [o for _, o in inputs(info) if not o.get("capturable")]
        default, *paths = (train(info.optim_cls, info, torch.float64, **o)[0] for o in made)
        for options, path in zip(made[1:], paths, strict=True):
            same = torch.is_tensor(options.get("lr"))  # the default lr, in a tensor
            same |= not {"t0", "step_sizes"}.isdisjoint(options)  # later, and further, than here
            assert same or max(errors(path, default)) > 1e-9, (name, options)


@pytest.mark.parametrize("name", INFOS)
def test_capturable_on_the_cpu_is_refused_in_the_step(name):
    """As in torch, whose classes accept it before; with fused=True, they accept the step."""
    capturable = [o for _, o in inputs(INFOS[name]) if o.get("capturable")]
    assert bool(capturable) == INFOS[name].has_capturable_arg or name == "SGD"
    for options in capturable:
        if name == "SGD":
            continue
        p = leaf()
        p.grad = torch.ones_like(p)
        stepper = getattr(rt, name)([p], **options)
        with pytest.raises(AssertionError, match=f"{name}: If capturable=True, params and state"):
            stepper.step()
        assert not stepper.state


@pytest.mark.parametrize("name", INFOS)
def test_torchs_choices_of_implementation_are_accepted_and_change_no_bit(name):
    info, ours = INFOS[name], getattr(rt, name)
    plain, _ = train(ours, info, torch.float32, 5)
    for flag in {*info.supported_impls} - {"differentiable"}:
        for value in (True, False, None):
            params, stepper = train(ours, info, torch.float32, 5, **{flag: value})
            assert stepper.param_groups[0][flag] is value
            assert all(map(torch.equal, params, plain))


# --- bad input


def leaf(*shape, dtype=torch.float64):
    return torch.zeros(shape or (2, 3), dtype=dtype, requires_grad=True)


def failure(build, *args, **options):
    """What a call raises, a warning too; None if it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(*args, **options)
    except Exception as e:
        return e


def stepped(cls, params, **options):
    """An optimizer that has taken a step, since some refuse only then."""
    stepper = cls(params, **options)
    for group in stepper.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    stepper.step()


@pytest.mark.parametrize("name", INFOS)
def test_what_torchs_table_says_is_wrong_is_refused_in_more_words(name):
    info = INFOS[name]
    for case in info.optim_error_inputs_func("cpu", torch.float64):
        wrong, at_once = case.optimizer_error_input, table.OptimizerErrorEnum.CONSTRUCTION_ERROR
        params = [leaf()] if wrong.params is None else wrong.params
        theirs, ours = (
            failure(cls, params, **wrong.kwargs)
            if case.error_on == at_once
            else failure(stepped, cls, params, **wrong.kwargs)
            for cls in (info.optim_cls, getattr(rt, name))
        )
        assert isinstance(theirs, case.error_type), wrong.desc
        assert isinstance(ours, case.error_type), (wrong.desc, ours)
        if case.error_type is not UserWarning:  # torch's own, in its words
            assert not unsaid(ours, name, wrong.kwargs), (wrong.desc, ours)


def unsaid(ours, name, options):
    """What a message lacks of: the class, the value under its name, what is accepted."""
    message = str(ours)
    if not message.startswith(f"{name}: "):
        return name
    given = [f"{k}={v!r}" for k, v in options.items()] or ["param"]
    if not any(x in message for x in given):
        return given
    return "" if ";" in message else "what is accepted"


# Options that are wrong for the classes that have them, unless torch accepts them there.
WRONG = [
    {"lr": -0.1},
    {"lr": torch.tensor([0.1, 0.2])},
    {"eps": -1.0},
    {"eps": (-1.0, 1e-3)},
    {"eps": (None, -1.0)},
    {"betas": (1.0, 0.9)},
    {"betas": (0.9, 1.0)},
    {"betas": (0.9, torch.tensor(0.9))},
    {"betas": (torch.tensor(0.9), torch.tensor(0.9)), "foreach": True},
    {"lr": torch.tensor(0.1), "foreach": True},
    {"weight_decay": -1.0},
    {"momentum": -1.0},
    {"momentum_decay": -1.0},
    {"lr_decay": -1.0},
    {"initial_accumulator_value": -1.0},
    {"alpha": -1.0},
    {"rho": 1.5},
    {"etas": (1.5, 1.2)},
    {"etas": (0.5, 0.9)},
    {"beta2_decay": 0.5},
    {"d": 0.5},
    {"adjust_lr_fn": "other"},
    {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
    {"fused": True, "differentiable": True},
    {"fused": True, "foreach": True},
]
P, Q = leaf(), leaf()
UNTRAINABLE = [
    lambda: P,
    lambda: [],
    lambda: {P},
    lambda: [{"params": {P}}],
    lambda: [[P]],
    lambda: [{"params": [P]}, [Q]],
    lambda: [3.0],
    lambda: [P * 2],
    lambda: [leaf(3)],
    lambda: [("a", P), Q],
    lambda: [{"params": [("a", P)]}, {"params": [Q]}],
    lambda: [{"params": [P]}, {"params": [("b", Q)]}],
    lambda: [{"params": [P]}, {"params": [P]}],
    lambda: [torch.zeros(2, 3).to_sparse()],
    lambda: [leaf(dtype=torch.complex128)],
]


# Another line is always there before: the comparison with 1, and the line for betas[0]. No class has
# options without defaults.
UNREACHABLE = ["betas[0] must be", "betas[1] must be", "betas[1] as a", "a value of required"]


def raising(function):
    """The lines of a function's `raise`s, each as (file, first line, last line)."""
    source, first = inspect.getsourcelines(inspect.unwrap(function))
    file = inspect.getsourcefile(inspect.unwrap(function))
    for node in ast.walk(ast.parse(textwrap.dedent("".join(source)))):
        if isinstance(node, ast.Raise) and "AssertionError" not in ast.unparse(node):
            yield file, first + node.lineno - 1, first + node.end_lineno - 1


def within(error, file, first, last):
    """Whether an error comes from these lines."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return frame.f_code.co_filename == file and first <= line <= last


def test_everything_that_torchs_constructors_refuse_is_refused_in_more_words():
    """The cases above reach every `raise` in torch's constructors, and in add_param_group."""
    raises = {
        line
        for f in (torch.optim.Optimizer.__init__, torch.optim.Optimizer.add_param_group)
        for line in raising(f)
    }
    reached, accepted, silent = set(), [], []
    for name, info in INFOS.items():
        theirs_, ours_ = info.optim_cls, getattr(rt, name)
        raises |= {*raising(theirs_.__init__)}
        known = inspect.signature(theirs_).parameters.keys()
        cases = [(lambda: [P], options) for options in WRONG if options.keys() <= known]
        cases += [(params, {}) for params in UNTRAINABLE]
        for params, options in cases:
            theirs = failure(theirs_, params(), **options)
            hit = {x for x in raises if theirs is not None and within(theirs, *x)}
            reached |= hit
            if not hit:  # accepted, or an accident
                continue
            ours = failure(ours_, params(), **options)
            if not isinstance(ours, type(theirs)):
                accepted.append((name, params(), options, theirs, ours))
            elif lacks := unsaid(ours, name, options):
                silent.append((lacks, str(ours), str(theirs)))
    assert not accepted
    assert not silent
    left = ["".join(linecache.getlines(f)[a - 1 : b]) for f, a, b in raises - reached]
    assert [lines for lines in left if not any(x in lines for x in UNREACHABLE)] == []


# --- p.grad


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("name", INFOS)
def test_a_step_never_changes_a_gradient(name, engine):
    """torch's foreach SGD does, with nesterov; and gradients may be shared, or wanted afterwards."""
    info = INFOS[name]
    engine = "auto" if name in OF_ARRAYS else engine
    switches = [{}, {"maximize": True}, {"weight_decay": 0.1}, {"foreach": True}, {"fused": True}]
    switches += [{"maximize": True, "weight_decay": 0.1, "foreach": True}]
    known = inspect.signature(info.optim_cls).parameters.keys()
    for _, options in inputs(info):
        if not options.get("capturable"):
            for more in switches:
                if more.keys() <= known and not (
                    "foreach" in more and torch.is_tensor(options.get("lr"))
                ):
                    unchanged(getattr(rt, name), info, {**options, **more}, engine)


def unchanged(cls, info, options, engine):
    params = [
        leaf(*shape) if shape else torch.tensor(1.0, requires_grad=True) for shape in shapes(info)
    ]
    stepper = cls(params, engine=engine, **options)
    for p in params:
        g = torch.randn_like(p)
        p.grad = g.to_sparse(1) if info.only_supports_sparse_grads else g
    before = [(p.grad, p.grad.clone(), p.grad._version) for p in params]
    for _ in range(3):
        stepper.step()
    for p, (g, copy, version) in zip(params, before, strict=True):
        assert p.grad is g
        assert torch.equal(g.to_dense(), copy.to_dense()), options
        assert g._version == version, options


# --- differentiable

C = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
SETTINGS = {"lr": 0.05, "weight_decay": 0.1, "momentum": 0.5}
# Where torch differentiates, and right: its SGD and ASGD say None, or something else than the finite
# differences, for what is not here, and all classes refuse the rest.
TORCH_TOO = {
    "SGD": ["momentum"],
    "Adam": ["lr", "betas.0", "betas.1", "eps", "weight_decay"],
    "AdamW": ["lr", "betas.0", "betas.1", "eps", "weight_decay"],
    "RMSprop": ["momentum", "eps"],
    "Adagrad": ["eps"],
    "Adadelta": ["eps"],
    "NAdam": ["eps"],
    "RAdam": ["lr"],
}
# RAdam's root is that of a negative number in its first steps; Rprop's lr is where its state begins.
NOT = {"RAdam.betas", "RAdam.eps", "Rprop.lr", "Rprop.step_sizes", "ASGD.t0"}


def meta_loss(cls, name, value, steps=3):
    """The loss after a few steps, as a function of one hyperparameter: "lr", or "betas.0"."""
    option, _, place = name.partition(".")
    defaults = {k: p.default for k, p in inspect.signature(cls).parameters.items()}
    options = {k: v for k, v in SETTINGS.items() if k in defaults}
    if place:
        given = [torch.tensor(x, dtype=torch.float64) for x in defaults[option]]
        given[int(place)] = value
        options[option] = tuple(given)
    else:
        options[option] = value
    p = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64, requires_grad=True).clone()
    stepper = cls([p], differentiable=True, **options)
    for _ in range(steps):
        s = (p * C).sum()
        (p.grad,) = torch.autograd.grad((s - 1) ** 2 * (1 + s / 10), p, create_graph=True)
        stepper.step()
    return ((p * C).sum() - 3) ** 2


def hyperparameters():
    for name in INFOS:
        signature = inspect.signature(getattr(torch.optim, name)).parameters
        if "differentiable" in signature:
            for k, p in signature.items():
                several = isinstance(p.default, tuple)
                number = k in SETTINGS or type(p.default) is float
                if (number or several) and f"{name}.{k}" not in NOT:
                    yield from ((name, f"{k}.{i}" if several else k) for i in range(1 + several))


@pytest.mark.parametrize(("name", "option"), [*hyperparameters()])
def test_a_loss_can_be_differentiated_by_every_hyperparameter(name, option):
    with default_dtype(torch.float64):
        key, _, place = option.partition(".")
        start = SETTINGS.get(key, inspect.signature(getattr(rt, name)).parameters[key].default)
        start = torch.tensor(float(start[int(place)] if place else start))
        if key == "eps":
            start = start + 1e-3
        value = start.clone().requires_grad_()
        ours = torch.autograd.grad(meta_loss(getattr(rt, name), option, value), value)[0].item()
        h = 1e-5 * max(start.item(), 1e-3)
        up, down = (meta_loss(getattr(rt, name), option, start + d).item() for d in (h, -h))
        assert ours == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-9)
        if option in TORCH_TOO.get(name, ()) and ("Adam" not in name or differentiates()):
            loss = meta_loss(getattr(torch.optim, name), option, value)
            theirs = torch.autograd.grad(loss, value)[0].item()
            assert ours == pytest.approx(theirs, rel=1e-9)
