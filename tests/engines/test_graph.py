"""The tracer: levels, sharing, switches, live state, names, and what it refuses."""

import cProfile
import math
import sys
import time
import warnings
from inspect import currentframe

import numpy as np
import pytest
import torch
from cases import ELEMENTWISE, REDUCING, lookahead, schedule_free

from ravine import RuleError, filled, like_p, ops, registry, rule, rules, scalar, zeros
from ravine.engines.graph import ELEMENT, STEP, TENSOR
from ravine.engines.tracing import trace
from ravine.hyperparameters import Hyperparameter
from ravine.modifiers import clip_by_global_norm, l2, maximize
from ravine.ops import (
    eigh,
    epsilon,
    matmul,
    mean,
    newton_schulz,
    norm,
    size,
    sqrt,
    total,
    transpose,
    where,
)
from ravine.rules import adam, amsgrad, momentum, rmsprop, sgd

pytestmark = pytest.mark.filterwarnings("ignore:.* is never used:UserWarning")


def named(graph, name):
    (node,) = (n for n in graph.nodes if graph.names.get(n.index) == name)
    return node


def test_every_value_stands_on_its_level():
    @rule
    def levels(p, g, s, t, *, lr=0.1, beta=0.9):
        correction = 1 - beta**t
        size = norm(g)
        ratio = lr / size / correction
        average = mean(s + t)
        new = p - ratio * average * g
        return new, s + g

    graph = trace(levels)
    levels = {name: named(graph, name).level for name in ("correction", "size", "ratio", "average")}
    assert levels == {"correction": STEP, "size": TENSOR, "ratio": TENSOR, "average": TENSOR}
    assert {named(graph, "p").level, named(graph, "s").level} == {ELEMENT}


def test_a_scalar_slot_is_known_on_the_host():
    graph = trace(schedule_free)
    assert named(graph, "weight_sum").level == named(graph, "c").level == STEP
    assert named(graph, "d").level == ELEMENT


def test_arguments_come_before_what_is_made_of_them():
    for made in [*ELEMENTWISE, *REDUCING]:
        graph = trace(made)
        assert [n.index for n in graph.nodes] == list(range(len(graph.nodes)))
        assert all(a.index < n.index for n in graph.nodes for a in n.args)


def test_the_same_operation_on_the_same_arguments_is_one_node():
    graph = trace(rule(lambda p, g, *, lr=0.1: p - lr * g - lr * g - sqrt(g) * sqrt(g)))
    assert [n.op for n in graph.nodes if n.args].count("mul") == 2
    assert [n.op for n in graph.nodes if n.args].count("sqrt") == 1


def test_constants_that_print_apart_are_apart():
    graph = trace(
        rule(lambda p, g: (p * 0.0) + (p * -0.0) + (p * 1) + (p * 1.0) + (p * float("nan")))
    )
    values = [repr(n.value) for n in graph.nodes if n.op == "constant"]
    assert values == ["0.0", "-0.0", "1", "1.0", "nan"]


def test_whole_numbers_too_large_for_floats_are_infinite():
    graph = trace(rule(lambda p, g: p * 10**400 - 10**300 * g - 10**400))
    values = [n.value for n in graph.nodes if n.op == "constant"]
    assert values == [math.inf, 10**300]


def test_numpy_and_torch_numbers_become_constants():
    graph = trace(rule(lambda p, g: p * np.float64(0.5) + np.float32(2) + torch.tensor(3.0) * g))
    values = [n.value for n in graph.nodes if n.op == "constant"]
    assert values == [0.5, 2.0, 3.0]
    assert all(type(v) is float for v in values)


def test_hyperparameters_stay_symbols_and_decide_switches():
    graph = trace(rmsprop, momentum=0.5)
    assert graph.switches == {"centered": False, "momentum": True}
    assert {n.value for n in graph.nodes if n.op == "hyperparameter"} >= {
        "lr",
        "alpha",
        "eps",
        "momentum",
    }
    assert trace(rmsprop).switches == {"centered": False, "momentum": False}
    assert trace(adam).switches == {}
    assert trace(maximize(l2(sgd))).switches == {"maximize": True, "weight_decay": True}
    assert trace(maximize(l2(sgd)), weight_decay=0).switches == {
        "maximize": True,
        "weight_decay": False,
    }


def test_a_switch_chooses_by_its_zero():
    chosen = rule(
        lambda p, g, *, a=0.0, b=0.0: p - (g if a and not b else 2 * g if a or b else 3 * g)
    )

    def factor(**values):
        graph = trace(chosen, **values)
        return next((n.value for n in graph.needed([graph.outputs["p"]]) if n.op == "constant"), 1)

    assert factor() == 3
    assert factor(a=0.5) == 1
    assert factor(b=0.5) == factor(a=0.5, b=0.5) == 2


@pytest.mark.parametrize(
    ("made", "values", "live"),
    [
        (sgd, {}, ()),
        (adam, {}, ("m", "v")),
        (amsgrad, {}, ("m", "v", "v_max")),
        (rmsprop, {}, ("v",)),
        (rmsprop, {"centered": True}, ("v", "m")),
        (rmsprop, {"momentum": 0.9}, ("v", "b")),
        (rmsprop, {"momentum": 0.9, "centered": True}, ("v", "m", "b")),
        (lookahead(momentum), {}, ("b", "slow")),
        (schedule_free, {}, ("z", "v", "weight_sum", "lr_max")),
        (rule(lambda p, g, a, b, c: (p - g, a + b, b + c, c + g)), {}, ()),
        (rule(lambda p, g, a, b, c: (p - a, b, c, c + g)), {}, ("a", "b", "c")),
        (rule(lambda p, g, a, b, c: (p - a, a + g, c, b)), {}, ("a",)),
    ],
)
def test_state_that_p_never_depends_on_is_dead(made, values, live):
    assert trace(made, **values).live == live


def warmed_up(p, g, m, *, lr=0.1):
    m = 0.5 * m + 0.5 * g
    return (p - lr * m if lr else p), m


def nested(p, g, a, b, c, *, k=0.0, j=0.0, on=False):
    if k:
        p = p - (a if j else g)
    if j:
        a = a + (b if on else g)
    return p, a, b + g, c + g


def fails_by_itself(p, g, m, *, k=0.0, j=1.0):
    if k and j:
        raise ValueError("not both")
    return p - (m if k else g), m + g


@pytest.mark.parametrize(
    ("function", "values", "live"),
    [
        # A number may change, whatever it is now; a bool may not.
        (warmed_up, {"lr": 0.0}, ("m",)),
        (nested, {}, ()),
        (nested, {"on": True}, ("b",)),
        (nested, {"k": 1.0}, ()),
        (nested, {"j": 1.0}, ("a",)),
        (nested, {"j": 1.0, "on": True}, ("a", "b")),
        (fails_by_itself, {}, ("m",)),
        (lambda p, g, m, *, k=0.0, on=False: (p - (m if k and on else g), m + g), {}, ()),
        (lambda p, g, m, *, k=0.0, on=False: (p - (m if k or on else g), m + g), {}, ("m",)),
    ],
)
def test_state_that_p_may_depend_on_once_numbers_change_is_live(function, values, live):
    assert trace(rule(function), **values).live == live


def test_only_what_a_number_may_be_is_asked():
    positive = Hyperparameter("never off", 0, open_low=True)
    zero = Hyperparameter("never on", 0, 0)

    def function(p, g, m, *, k=0.0):
        return p - (m if k else g), m + g

    assert trace(rule(function)).live == ("m",)
    assert trace(rule(k=zero)(function)).live == ()

    def other(p, g, m, *, k=1.0):
        return p - (g if k else m), m + g

    assert trace(rule(other)).live == ("m",)
    assert trace(rule(k=positive)(other)).live == ()


def test_what_is_neither_read_nor_changed_need_not_exist_unless_it_would_start_otherwise_later():
    def later(p, g, m, *, lr=0.1, k=0.0):
        if k:
            m = m + g
        return p - lr * (g + k * m if k else g), m

    assert trace(rule(later)).live == ()
    assert trace(rule(m=filled(2.0))(later)).live == ()
    assert trace(rule(m=scalar(1.0))(lambda p, g, m, *, k=0.0: (p - (m if k else g), m))).live == ()
    # By then, p and lr may be others.
    assert trace(rule(m=like_p)(later)).live == ("m",)
    assert trace(rule(m=filled("lr"))(later)).live == ("m",)
    # Read, though never changed.
    assert trace(rule(m=like_p)(lambda p, g, m: (p - g + m, m))).live == ("m",)
    evaluated = rule(evaluate=lambda p, m: m)(lambda p, g, m, *, k=0.0: (p - g, m + g if k else m))
    assert trace(evaluated).live == ("m",)


def test_many_switches_are_taken_to_need_all_state():
    switches = [f"k{i}" for i in range(20)]
    lines = [f"def made(p, g, a, b, c, *, {', '.join(f'{k}=0.0' for k in switches)}):"]
    lines += [f"    if {k}: a = a + {k} * b" for k in switches]
    space = {}
    exec("\n".join([*lines, "    return p - g, a, b + g, c + g"]), space)
    start = time.process_time()
    assert trace(rule(space["made"])).live == ("b", "c")
    assert time.process_time() - start < 5


def test_other_settings_leave_the_graph_alone():
    graph = trace(rmsprop)
    assert graph.switches == {"centered": False, "momentum": False}
    assert not graph.uses("where")
    assert {n.graph for n in graph.nodes} == {graph}


def test_what_the_weights_to_evaluate_with_need_is_live():
    def mean(p, g, idle, total, count, *, lr=0.1):
        count = count + 1
        total = total + p
        return p - lr * g, idle + g, total, count

    made = rule(count=scalar(0.0))(mean)
    assert trace(made).live == ()
    evaluated = rule(count=scalar(0.0), evaluate=lambda p, total, count: total / count)(mean)
    assert trace(evaluated).live == trace(maximize(l2(evaluated))).live == ("total", "count")
    assert trace(rules.asgd).live == ("eta", "mu", "ax")


def test_a_rule_of_arrays_is_known_by_its_operations():
    of_arrays = [
        lambda p, g: p - matmul(g, g),
        lambda p, g: p - mean(g, axis=-1),
        lambda p, g: p - ops.sum(g, axis=0),
        lambda p, g: p - size(g, 0) * g,
        lambda p, g: p - newton_schulz(g, 1.5, -0.5, 0.0),
        lambda p, g: p - transpose(transpose(g)),
        lambda p, g: p - ops.greatest(g, axis=-1),
        lambda p, g: p - ops.cholesky(g),
        lambda p, g: p - ops.solve_triangular(g, g),
        lambda p, g: p - ops.inverse_root(g, 4),
        lambda p, g: p - ops.take(g, 0),
        lambda p, g: p - ops.argsort(g),
    ]
    assert all(trace(rule(f)).of_arrays for f in of_arrays)
    assert not any(trace(made, None, 1).of_arrays for made in [*ELEMENTWISE, *REDUCING])
    assert not trace(rule(lambda p, g: p - epsilon(g) * norm(g))).of_arrays
    of_numbers_too = [
        lambda p, g: p - ops.greatest(g),
        lambda p, g: p - ops.least(g),
        lambda p, g: p - mean(g, keep=0),
        lambda p, g: p - ops.greatest(g, keep=-1),
    ]
    for graph in map(trace, map(rule, of_numbers_too)):
        assert (graph.of_arrays, graph.pointwise) == (False, False)
    # dead, so it does not count
    assert not trace(rule(lambda p, g, s: (p - g, s + mean(g, axis=0)))).of_arrays


def test_sizes_and_reductions_along_an_axis_stand_on_their_levels():
    @rule(r=zeros(-1))
    def levels(p, g, r, *, lr=0.1):
        rows = size(p, -2)
        tiny = epsilon(p)
        r = r + mean(g, axis=-1)
        return p - lr * rows * tiny * r, r

    graph = trace(levels)
    assert {n: named(graph, n).level for n in ("rows", "tiny", "r")} == {
        "rows": TENSOR,
        "tiny": TENSOR,
        "r": ELEMENT,
    }


def test_uses_counts_only_what_reaches_the_parameter():
    assert trace(clip_by_global_norm(adam)).uses("total")
    assert not trace(adam).uses("total")
    assert not trace(rule(lambda p, g, s: (p - g, s + total(g)))).uses("total")


def test_names_are_those_of_the_source():
    assert {"m_hat", "v_hat", "m", "v", "p"} <= set(trace(adam).names.values())
    assert "variance" in trace(rmsprop, centered=True).names.values()


def test_outputs_may_be_inputs_or_numbers():
    graph = trace(rule(lambda p, g, prev, n: (p - g * prev * n, p, 1.0)))
    assert graph.outputs["prev"].value == "p"
    assert graph.outputs["n"].value == 1.0


def branches(p, g, *, lr=0.1):
    if g > 0:
        return p - lr
    return p + lr


def loops(p, g):
    for x in g:
        p = p - x
    return p


def nested(p, g, *, lr=0.1):
    return p - helper(lr, g)


def helper(lr, g):
    return lr * math.sqrt(g)


# What a rule does wrong, the line that does it, and words that its message must have.
WRONG = [
    (branches, "if g > 0:", ["an array (gt)", "where(condition, x, y)"]),
    (lambda p, g, t: p - g if t > 3 else p, "if t > 3", ["(gt)", "where(condition, x, y)"]),
    (
        lambda p, g, *, lr=0.1: p - g if lr > 0.5 else p,
        "if lr > 0.5",
        ["(gt)", "where(condition, x, y)"],
    ),
    (lambda p, g, v: (p, g and v), "g and v", ["the value of g", "where(condition, x, y)"]),
    (
        lambda p, g: p if norm(g) > 1 else g,
        "norm(g) > 1",
        ["a reduction (gt)", "where(condition, x, y)"],
    ),
    (lambda p, g: p - max(p, g), "max(p, g)", ["where(condition, x, y)"]),
    (loops, "for x in g:", ["a loop over elements"]),
    (lambda p, g: p - g[0], "g[0]", ["indexing"]),
    (lambda p, g, t: p - sum(g for _ in range(t)), "range(t)", ["range() or indexing"]),
    (
        lambda p, g: p - math.sqrt(g),
        "math.sqrt(g)",
        ["float() or a function of math", "ravine.ops"],
    ),
    (lambda p, g: p - float(g), "float(g)", ["float() or a function of math", "ravine.ops"]),
    (lambda p, g: p - int(g), "int(g)", ["int()"]),
    (nested, "helper(lr, g)", ["float() or a function of math", "ravine.ops"]),
    (lambda p, g: p - np.sqrt(g), "np.sqrt(g)", ["ravine.ops"]),
    (lambda p, g: p - torch.sqrt(g), "torch.sqrt(g)", ["ravine.ops"]),
    (lambda p, g: p - torch.zeros(3) * g, "torch.zeros(3)", ["Tensor", "only numbers"]),
    (lambda p, g: p - np.zeros(3) * g, "np.zeros(3)", ["ndarray", "only numbers"]),
    (lambda p, g: p - g * "x", 'g * "x"', ["a str ('x')", "only numbers"]),
    (lambda p, g: p - g * None, "g * None", ["a NoneType (None)", "only numbers"]),
    (
        lambda p, g: p - g.clamp(0),
        "g.clamp(0)",
        [".clamp is not part of the rule language", "ravine.ops"],
    ),
    (
        lambda p, g: p - g.mean(),
        "g.mean()",
        [".mean is not part of the rule language", "ravine.ops"],
    ),
    (lambda p, g: p - len(g), "len(g)", ["ravine.ops"]),
    (lambda p, g: p - undefined * g, "undefined", ["'undefined' is not defined"]),  # noqa: F821
]


@pytest.mark.parametrize(("function", "line", "words"), WRONG, ids=[line for _, line, _ in WRONG])
def test_what_cannot_be_known_without_numbers_is_refused(function, line, words):
    name = function.__name__
    with pytest.raises(RuleError) as caught:
        trace(rule(function))
    message = str(caught.value)
    place, _, reason = message.partition("`: ")
    assert place.startswith(f"rule {name!r}, test_graph.py:")
    assert line in place
    assert [w for w in words if w not in reason] == []


def test_the_line_is_the_right_one():
    def wrong(p, g):
        p = p - g
        q = p if p else g
        return q

    first = wrong.__code__.co_firstlineno
    assert first < currentframe().f_lineno
    for made in (rule(wrong), maximize(l2(rule(wrong)))):
        with pytest.raises(RuleError) as caught:
            trace(made)
        start = f"rule {made.name!r}, test_graph.py:{first + 2}, `q = p if p else g`: "
        assert str(caught.value).startswith(start)


def test_a_rule_made_without_a_file_is_told_its_line():
    space = {}
    exec("def typed(p, g):\n    return p if g else g\n", space)
    with pytest.raises(RuleError, match=r"rule 'typed'.*:2.*where\(condition, x, y\)"):
        trace(rule(space["typed"]))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda p, g, m: p, ["returns 1 value", "it must return 2: p, m"]),
        (lambda p, g: (p, g), ["returns 2 values", "it must return 1: p"]),
        (lambda p, g: None, ["as new p", "NoneType", "None"]),
        (lambda p, g: [p], ["as new p", "list"]),
        (lambda p, g, m: (p, "m"), ["as new m", "str", "'m'"]),
        (rule(s=scalar(0.0))(lambda p, g, s: (p - s * g, s + g)), ["new s", "scalar"]),
    ],
)
def test_what_a_rule_returns_is_looked_at(function, words):
    made = function if hasattr(function, "slots") else rule(function)
    with pytest.raises(RuleError) as caught:
        trace(made)
    assert [w for w in ["rule '<lambda>'", *words] if w not in str(caught.value)] == []


def test_changing_a_value_in_place_is_refused():
    """`v += g` would change the caller's array when the rule is called as it stands."""

    def greedy(p, g, v):
        v += g
        return p - v, v

    with pytest.raises(RuleError, match=r"rule 'greedy'.*`v \+= g`.*v = v \+"):
        trace(rule(greedy))


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"rule 'adam': beta1=1 is invalid"):
        trace(adam, beta1=1)
    with pytest.raises(TypeError, match=r"no hyperparameter 'beta'"):
        trace(adam, beta=1)


def test_a_matrix_rule_is_traced():
    @rule
    def whitened(p, g, *, lr=0.1):
        values, vectors = eigh(matmul(g, transpose(g)))
        return p - lr * matmul(vectors, g) / sqrt(mean(values))

    assert trace(whitened).uses("eigh")


def test_a_symbol_shows_what_it_is():
    graph = trace(adam)
    assert repr(graph.outputs["p"]) == "<sub>"
    assert repr(graph.nodes[0]) == "<input p>"


def test_tracing_leaves_the_profiler_as_it_was():
    def mine(*_):
        return None

    before = sys.getprofile()
    sys.setprofile(mine)
    try:
        trace(rules.adam)
        with pytest.raises(RuleError):
            trace(rule(branches))
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(before)


def test_a_rule_is_traced_while_a_program_is_profiled():
    def counted():
        return None

    profile = cProfile.Profile()
    with profile:
        trace(rules.adam)
        counted()
    calls = {entry.code: entry.callcount for entry in profile.getstats()}
    assert calls[counted.__code__] == 1


def test_where_is_what_branches_are_written_with():
    graph = trace(rule(start=like_p)(lambda p, g, start, t: (where(t == 1, p, start) - g, start)))
    assert graph.uses("where")


def test_a_slot_that_is_never_used_is_a_warning():
    @rule
    def lost(p, g, mean_p, m, *, lr=0.1, beta1=0.0, on=False):
        m = beta1 * m + g if beta1 else m
        return p - lr * (m if on else g), mean_p + p, m

    with pytest.warns(UserWarning, match=r"'lost': the slot 'mean_p' is never used") as warned:
        assert trace(lost).live == ()
    assert len(warned) == 1  # m may yet be used
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        assert trace(lost, on=True, beta1=0.5).live == ("m",)
        kept = rule(evaluate=lambda p, mean_p: mean_p)(lost.function)
        assert trace(kept).live == ("mean_p",)


@pytest.mark.parametrize("made", registry.rules().values(), ids=lambda made: made.name)
def test_every_slot_of_the_rules_is_of_use(made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(made)
