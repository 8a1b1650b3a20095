"""Names of slots and hyperparameters: each works everywhere, or is refused when the rule is made."""

import copy
import inspect
import io
import itertools
import keyword
import linecache

import numpy as np
import pytest
import torch

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, modifier, ops, rule, scalar
from ravine.engines.compiler import ir
from ravine.engines.cpu import kernel
from ravine.engines.python import kernel_source, scalar_update
from ravine.engines.tracing import trace
from ravine.modifiers import clip_by_value, unscale
from ravine.numpy import fit, linear, mean_squared_error
from ravine.reading.about import about, source
from ravine.reading.equations import latex, terminal
from ravine.reading.worked import worked
from ravine.reserved import _ALWAYS, _HYPERPARAMETERS, _SLOTS
from ravine.rules import sgd

OTHERS = (
    "state self name function values hyper out where numel dtype shape size key keys param "
    "momentum maximize amsgrad decoupled_weight_decay exp_avg momentum_buffer closure func "
    "kwargs loss_scale found_inf check gradients row chunk record group s1 p_ new_p theta "
    "x y model loss m_hat match _ __x x_ nan β 名 abs int print items float64 "
)
NAMES = [
    *dict.fromkeys(
        [*OTHERS.split(), *keyword.softkwlist, *ops.__all__, *_ALWAYS, *_SLOTS, *_HYPERPARAMETERS]
    )
]
KINDS = ("array", "scalar", "hyperparameter")
XS = np.linspace(-1, 1, 10)
counter = itertools.count()


def written(name, kind):
    """A rule that has the name, and calls most operations."""
    slot, h = ("kept", name) if kind == "hyperparameter" else (name, "of_its_own")
    if h == "t":
        return rule(lambda p, g, *, t=0.25: p - t * g), slot, h
    declared = f"(**{{{slot!r}: scalar(0.5)}})" if kind == "scalar" else ""
    text = f"""@rule{declared}
def f(p, g, {slot}, u, t, *, lr=0.1, {h}=0.25, on=True):
    {slot} = {h} * {slot} + {"lr" if kind == "scalar" else "g"}
    u = u + ops.sign(g) * ops.minimum(ops.abs(g), 2.0) * ops.exp(-{h})
    w = ops.where(u > 0.0, ops.sqrt(1.0 + {slot} * {slot}), ops.maximum(u, 3.0)) + ops.mean(g * g)
    return p - lr * g / w**1.5 - {h} * ops.log(2.0 + u * u) if on else p, {slot}, u
"""
    file = f"<reserved {next(counter)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    space = {"rule": rule, "ops": ops, "scalar": scalar}
    exec(compile(text, file, "exec"), space)
    return space["f"], slot, h


def results(name, kind):
    """What comes out of every front, engine and printer."""
    made, slot, h = written(name, kind)
    state = made.init(1.0)
    found = [made(1.0, 0.5, *state, 1, **{h: 0.2})[0]]
    found.append(made.update(1.0, 0.5, state, 1, **{h: 0.2})[0])
    found.append(made.named("other", **{h: 0.3})(1.0, 0.5, *state, 1)[0])
    made.check(**{h: 0.2})
    for engine, stack in (("kernel", clip_by_value(made)), ("eager", made)):
        arrays = rn.optimizer(made)({"w": np.ones(3)}, engine=engine, **{h: 0.2})
        arrays.step({"w": np.full(3, 0.5)})
        arrays.options[h] = 0.3
        arrays.step({"w": np.full(3, 0.5)})
        found.append(float(arrays.params["w"][0]))
        assert slot in arrays.state["params['w']"]
        p = parameter()
        optimizer = rt.optimizer(stack)([("w", p)], engine=engine, grad_norm=True, **{h: 0.2})
        optimizer.step()
        optimizer.param_groups[0][h] = 0.3
        optimizer.step()
        saved = io.BytesIO()
        torch.save(optimizer.state_dict(), saved)
        saved.seek(0)
        again = rt.optimizer(stack)([("w", p)], engine=engine)
        again.load_state_dict(torch.load(saved))
        again.step()
        copy.deepcopy(again).step()
        torch.optim.lr_scheduler.OneCycleLR(again, 0.5, total_steps=9, cycle_momentum=False)
        torch.optim.swa_utils.SWALR(again, swa_lr=0.05)
        again.step()
        assert again.state[p][slot] is not None
        assert repr(again)
        found += [p[0].item(), optimizer.last_grad_norm]
    fitted = fit(
        linear,
        mean_squared_error,
        {"m": 0.0, "b": 0.0},
        XS,
        XS + 1,
        optimizer=made,
        epochs=1,
        **{h: 0.2},
    )
    return [*found, float(fitted.params["m"]), *printed(made, h)]


def printed(made, h):
    graph = trace(made, **{h: 0.2})
    space = {"ops": ops, **{k: getattr(ops, k) for k in ops.__all__}}
    exec(kernel_source(graph), space)
    values = {"p": 1.0, "g": 0.5, "t": 1, "lr": 0.1, h: 0.2} | dict(
        zip(made.slots, made.init(1.0), strict=True)
    )
    found = [space["f"](*[values[k] for k in inspect.signature(space["f"]).parameters])[0]]
    update = scalar_update(made, **{h: 0.2})
    space = dict(update.namespace)
    exec(update.source, space)
    found.append(space["update"](1.0, 0.5, update.initial(1.0), 1, update.values)[0])
    assert ir(kernel(graph), ["float32"] * len(kernel(graph).columns))
    assert about(made, **{h: 0.2}).kept()
    assert source(made.function)
    assert latex(made.function)
    assert terminal(made.function, plain=True)
    return [*map(float, found), worked(made, [0.5, 0.5], **{h: 0.2})[1]["p"]]


def parameter():
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    p.grad = torch.full_like(p, 0.5)
    return p


@pytest.fixture(scope="module")
def expected():
    return {kind: results("plain_name", kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_works_everywhere_or_is_refused_at_once(name, kind, expected):
    if name == "t" and kind != "hyperparameter":
        return  # the last positional argument is the count
    reserved = _ALWAYS | (_HYPERPARAMETERS if kind == "hyperparameter" else _SLOTS)
    if name in reserved:
        what = "hyperparameter" if kind == "hyperparameter" else "slot"
        with pytest.raises(RuleError) as caught:
            written(name, kind)
        text = f"a {what} cannot be called {name!r}, which {reserved[name]}; rename it"
        assert text in str(caught.value)
    else:
        assert results(name, kind) == expected[kind]


def test_a_modifiers_names_are_checked_too():
    with pytest.raises(RuleError, match=r"faster: a hyperparameter cannot be called 'engine'"):

        @modifier
        def faster(step, p, g, *, engine=2.0):
            return step(p, g * engine)

    assert "grad_scale" in unscale(sgd).hyperparameters  # Ravine's own
