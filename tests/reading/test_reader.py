"""What is read of a rule is what it computes, for the values of its switches, and as one algorithm."""

import ast
import re
from dataclasses import replace

import numpy as np
import pytest
from cases import REGISTERED, cautious, gradients, lookahead, variants
from stacks import READ, aggmo, half, lars, sophia, window

from ravine import modifier, ops, rule, rules
from ravine.engines.tracing import takes_matrices, trace
from ravine.modifiers import clip_by_global_norm, decoupled_decay, kahan, l2, maximize
from ravine.reading.equations import latex, reading, terminal
from ravine.reading.typesetting import Terminal

SYMBOL = r"[a-zA-Z_]\w*'*(?:\[[a-z0-9,+-]+\])?"


class Evaluator(ast.NodeVisitor):
    """Computes a line of ASCII equations, with arrays for its symbols."""

    def __init__(self, values):
        self.values = values
        self.functions = {
            **{name: getattr(ops, name) for name in ops.__all__ if name not in ("sum", "apply")},
            **{
                "sum": ops.sum,
                "size": lambda x, *axis: x.shape[int(axis[0])] if axis else x.size,
                "stored": lambda x: x,
                "total": np.sum,
                "max": self.largest,
                "min": self.smallest,
                "sum_i": sum,
            },
        }

    @staticmethod
    def largest(x, *others, **kw):
        return ops.maximum(x, *others) if others else ops.greatest(x, **kw)

    @staticmethod
    def smallest(x, *others, **kw):
        return ops.minimum(x, *others) if others else ops.least(x, **kw)

    def compute(self, text):
        text = text.replace("^", "**").replace(" mod ", " % ")
        text = re.sub(r"(?<![<>!=])=(?!=)", "==", text)
        text = re.sub(r"\b(axis|keep|steps) == ", r"\1=", text)
        text = re.sub(
            rf"\b(?!if\b|else\b|and\b|or\b|not\b|axis=|keep=|steps=){SYMBOL}(?!\(|\w)",
            lambda m: f'look_up("{m[0]}")',
            text,
        )
        return self.visit(ast.parse(text, mode="eval").body)

    def visit_Call(self, node):
        name = node.func.id
        args = [x.value if name == "look_up" else self.visit(x) for x in node.args]
        if name == "look_up":
            return self.values[args[0]]
        return self.functions[name](
            *args, **{k.arg: int(self.visit(k.value)) for k in node.keywords}
        )

    def visit_IfExp(self, node):
        return np.where(*map(self.visit, (node.test, node.body, node.orelse)))

    def visit_Compare(self, node):
        a, b = self.visit(node.left), self.visit(node.comparators[0])
        operation = {"Eq": "equal", "NotEq": "not_equal", "Lt": "less", "LtE": "less_equal"}
        operation |= {"Gt": "greater", "GtE": "greater_equal"}
        return getattr(np, operation[type(node.ops[0]).__name__])(a, b)

    def visit_BinOp(self, node):
        a, b = self.visit(node.left), self.visit(node.right)
        names = {"Add": "add", "Sub": "subtract", "Mult": "multiply", "Div": "divide"}
        names |= {"Pow": "power", "Mod": "mod", "MatMult": "matmul"}
        return getattr(np, names[type(node.op).__name__])(a, b)

    def visit_UnaryOp(self, node):
        x = self.visit(node.operand)
        return np.logical_not(x) if isinstance(node.op, ast.Not) else -x

    def visit_BoolOp(self, node):
        both = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return both.reduce([self.visit(x) for x in node.values])

    def visit_Constant(self, node):
        return float(node.value)

    def generic_visit(self, node):
        raise AssertionError(f"{ast.dump(node)} is no equation")


def flat(node):
    return Terminal(plain=True, flat=True).right_side(node).lines[0]


class Shown:
    """A rule's equations for some values, as they are shown in ASCII, to be computed."""

    def __init__(self, rule, values, ndim):
        self.rule, self.values = rule, values
        read = reading(rule, values, ndim)
        self.lines = [(flat(e.target), flat(e.value)) for e in read.equations]
        self.p, self.live = flat(read.ends["p"]), trace(rule, None, ndim, **values).live
        self.names = {k: read.letters[k] for k in read.letters}
        self.ends = {k: flat(x) for k, x in read.ends.items()}
        groups = {**rule.parts.slots, **rule.parts.tuples}
        self.of = {part: (k, i) for k, g in groups.items() for i, part in enumerate(g, 1)}
        self.count = max([len(g) for g in rule.parts.slots.values()], default=0)

    def name(self, k, stamp):
        whole, i = self.of.get(k, (k, 0))
        stamp = ",".join(filter(None, (f"{i}" if i else "", stamp)))
        return flat(replace(self.names[whole], stamp=stamp))

    def each(self, text, i):
        text = text.replace("[i-1,", f"[{max(i - 1, 1)},").replace(" i = ", f" {i} = ")
        return text.replace("[i,", f"[{i},").replace("[i]", f"[{i}]")

    def summed(self, found):
        return f"({' + '.join(self.each(found[1], i) for i in range(1, self.count + 1))})"

    def step(self, p, g, state, t):
        known = {"t": float(t), "theta": p, "theta[t-1]": p, "g[t]": g}
        known |= {self.name(k, ""): v for k, v in self.values.items()}
        known |= {self.name(k, "t-1"): x for k, x in zip(self.rule.slots, state, strict=True)}
        for target, text in self.lines:
            text = re.sub(r"sum_i\((.*?)\)", self.summed, text)
            for i in range(1, self.count + 1) if "[i," in target else (0,):
                known[self.each(target, i)] = Evaluator(known).compute(self.each(text, i))
        ends = [
            self.each(self.ends[self.of.get(k, (k, 0))[0]], self.of.get(k, (k, 0))[1])
            for k in self.rule.slots
        ]
        after = zip(self.rule.slots, ends, state, strict=True)
        return known[self.p], [known[end] if k in self.live else old for k, end, old in after]


def names_more(rule):
    """Whether its equations have what this evaluator lacks: helpers, constants, products of matrices."""
    text = terminal(rule, 10**6, plain=True)
    return bool(
        re.search(r"\^T\b|newton_schulz|normal\(|uniform\(|solve_|leading|cosine", text)
    ) or ("orthogonalized" in text)


COMPUTED = [r for r in READ if not r.signals and not names_more(r)]


def test_nearly_all_rules_are_computed():
    assert len(COMPUTED) > 0.8 * len(READ)


@pytest.mark.parametrize("shape", [(3, 4), (5,)], ids=str)
@pytest.mark.parametrize("rule", COMPUTED, ids=lambda r: r.name)
def test_the_equations_of_a_rule_compute_what_it_does(rule, shape):
    if takes_matrices(rule):
        shape = (3, 4)
    few = [{k: not v} for k, v in rule.check().items() if isinstance(v, bool) and k != "bfloat16"]
    every = [x for x in variants(rule) if "bfloat16" not in x]
    for changed in every if rule in REGISTERED else [{}, *few]:
        values = rule.check(**changed)
        shown = Shown(rule, values, len(shape))
        p = q = np.random.default_rng(1).normal(size=shape)
        state = after = rule.init(p, **values)
        for t, g in enumerate(gradients(shape, 3), 1):
            with np.errstate(all="ignore"):
                q, state = rule.update(q, g, state, t, **values)
                p, after = shown.step(p, g, after, t)
            if not all(np.isfinite(x).all() for x in (q, *state)):
                break  # p - (p - u) and u differ there
            kept = [k in shown.live for k in rule.slots]
            pairs = zip((True, *kept), (p, *after), (q, *state), strict=True)
            for x, y in [(x, y) for is_kept, x, y in pairs if is_kept]:
                assert np.abs(x - y).max() <= 1e-12 * (1 + max(np.abs(y).max(), np.abs(q).max())), (
                    changed,
                    t,
                )


# ------------------------------------------------------------------- a stack is one algorithm


def shown(rule, **values):
    return [
        " ".join(x.split())
        for x in terminal(rule, 10**6, plain=True, values=values).split("\n")
        if x
    ]


ADAM = [
    "m[t] = beta1*m[t-1] + (1 - beta1)*g[t] biased first moment",
    "v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2 biased second raw moment",
    "m_hat[t] = m[t]/(1 - beta1^t)",
    "v_hat[t] = v[t]/(1 - beta2^t)",
]
STEP = "eta*m_hat[t]/(sqrt(v_hat[t]) + epsilon)"
AGREE = [
    "agree[t] = 1.2 if u[t]*{g} > 0 else 0.1 no float32 numbers: a wrong dtype shows",
    "theta[t] = theta[t-1] - agree[t]*u[t]/max(mean(agree[t]), 0.001)",
]


def test_adamw_has_one_equation_for_p():
    assert shown(rules.adamw) == [*ADAM, f"theta[t] = theta[t-1]*(1 - eta*lambda) - {STEP}"]


def test_what_is_taken_off_p_is_shown_without_p():
    """p - (p * (1 - lr * weight_decay) - u)."""
    agree = [x.format(g="g[t]") for x in AGREE]
    assert shown(cautious(rules.adam)) == [*ADAM, f"u[t] = {STEP}", *agree]
    assert shown(cautious(rules.adamw)) == [*ADAM, f"u[t] = eta*lambda*theta[t-1] + {STEP}", *agree]
    assert shown(kahan(rules.sgd))[0] == "u[t] = lost[t-1] - eta*g[t]"


def test_gradients_come_first_and_what_follows_last():
    stack = lookahead(clip_by_global_norm(maximize(l2(rules.sgd))))
    assert shown(stack) == [
        "g'[t] = g[t]*(max_norm/max(sqrt(total(g[t]*g[t])), max_norm))",
        "g''[t] = -g'[t]",
        "g'''[t] = g''[t] + lambda*theta[t-1]",
        "theta'[t] = theta[t-1] - eta*g'''[t]",
        "sync[t] = (t mod k = 0)",
        "slow[t] = slow[t-1] + pull*(theta'[t] - slow[t-1]) if sync[t] else slow[t-1]",
        "theta[t] = slow[t] if sync[t] else theta'[t]",
    ]
    agree = [x.format(g="g'[t]") for x in AGREE]
    assert shown(clip_by_global_norm(cautious(rules.adamw)))[-2:] == agree


def test_a_p_that_is_used_twice_has_an_equation():
    assert shown(decoupled_decay(rules.asgd)) == [
        "theta[t] = theta[t-1]*(1 - lr*weight_decay)*(1 - lambda*eta[t-1]) - eta[t-1]*g[t]",
        "ax[t] = theta[t] if mu[t-1] = 1 else ax[t-1] + mu[t-1]*(theta[t] - ax[t-1])",
        "eta[t] = lr/(1 + lambda*lr*t)^alpha",
        "mu[t] = 1/max(1, t - t0)",
    ]
    twice = shown(half(rules.adamw))
    assert twice[-1] == f"theta[t] = (theta[t-1]*(1 - eta*lambda) - {STEP} + theta[t-1])/2"


def test_names_that_two_functions_have_are_told_apart():
    lines = shown(cautious(rules.adamax))
    assert "u[t] = max(beta2*u[t-1], abs(g[t]) + epsilon)" in lines
    assert "u_cautious[t] = (eta/(1 - beta1^t))*m[t]/u[t]" in lines


@modifier
def again(step, p, g):
    for _ in range(2):
        p = step(p, g)
    return p


def test_a_step_that_cannot_be_followed_is_shown_beside_what_it_is():
    assert shown(again(rules.sgd)) == [
        "for _ in range(2):",
        "p = step(p, g)",
        "where step, sgd, is",
        "theta[t] = theta[t-1] - eta*g[t]",
    ]


# --------------------------------------------------------------------- switches are decided


def test_a_switch_that_is_off_is_gone():
    assert shown(rules.rmsprop) == [
        "v[t] = alpha*v[t-1] + (1 - alpha)*g[t]^2",
        "scaled[t] = g[t]/(sqrt(v[t]) + epsilon)",
        "theta[t] = theta[t-1] - eta*scaled[t]",
    ]
    assert shown(rules.rmsprop, centered=True, momentum=0.9) == [
        "v[t] = alpha*v[t-1] + (1 - alpha)*g[t]^2",
        "m[t] = alpha*m[t-1] + (1 - alpha)*g[t]",
        "variance[t] = v[t] - m[t]^2",
        "scaled[t] = g[t]/(sqrt(variance[t]) + epsilon)",
        "b[t] = mu*b[t-1] + scaled[t]",
        "theta[t] = theta[t-1] - eta*b[t]",
    ]
    assert "mathrm{centered}" not in latex(rules.rmsprop, {"centered": True})
    assert shown(l2(rules.sgd), weight_decay=0.0) == ["theta[t] = theta[t-1] - eta*g[t]"]
    assert not any("as_adamw" in line or "unclamped" in line for line in shown(rules.muon))


@rule
def asked(p, g, *, lr=1.0, a=0.0, b=2.0, on=True, off=False):
    x = a or b
    y = (on and b) + (off or b) * x
    return p - lr * (g + y if not off and (on or a) else y)


def test_and_and_or_are_decided_as_python_does():
    assert shown(asked) == ["y = b + b*b", "theta[t] = theta[t-1] - eta*(g[t] + y)"]
    assert shown(asked, a=1.0, on=False, off=True)[0] == "y = False + True*a"


def test_dimensions_decide():
    assert shown(lars)[0] == "g'[t] = g[t] + lambda*theta[t-1] if ndim(theta) >= 2"
    matrices, vectors = (reading(lars, None, n).equations for n in (2, 1))
    assert len(matrices) == 4
    assert [flat(e.value) for e in vectors] == ["mu*b[t-1] + eta*g[t]", "theta[t-1] - b[t]"]


def test_signals_stay_open_and_are_passed_on():
    assert "h[t] = beta2*h[t-1] + (1 - beta2)*hessian[t] if hessian[t] is given" in shown(
        cautious(sophia)
    )


def test_tuples_read_well():
    assert shown(aggmo) == [
        "b[i,t] = beta[i]*b[i,t-1] + g[t]",
        "theta[t] = theta[t-1] - (eta/3)*sum_i(b[i,t])",
    ]
    assert shown(window) == [
        "u[t] = g[t] + sum_i(past[i,t-1])",
        "past[i,t] = g[t] if i = 1 else past[i-1,t-1]",
        "theta[t] = theta[t-1] - eta*u[t]/(1 + 3) - eta*past[1,t]*past[3,t]",
    ]
    assert "Σᵢ bᵢ,ₜ" in terminal(aggmo)
    assert r"\sum_i b_{i,t}" in latex(aggmo)
