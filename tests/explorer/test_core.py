"""The language in Node: every rule and stack that the page offers equals NumPy; losses; errors by line."""

import json
import linecache
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import ravine.draws
from ravine import modifiers, registry
from ravine.draws import Draw
from ravine.engines.python import kernel_source
from ravine.engines.tracing import trace
from ravine.explorer.sources import CHIPS, MODIFIERS, besides, offered, sources
from ravine.hyperparameters import HYPERPARAMETERS
from ravine.rule import RuleError

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(not NODE, reason="needs Node")
CORE = Path(__file__).parents[2] / "src/ravine/explorer/core/index.js"
STEPS = 60
STACKS = (
    "cautious(adam)",
    "decoupled_decay(momentum)",
    "clip_by_global_norm(nesterov)",
    "lookahead(cautious(adamw))",
    "lookahead(clip_by_global_norm(decoupled_decay(cautious(nadam))))",
    "ema(l2(rmsprop))",
    *(f"{name}(adam)" for name in modifiers.__all__ if name not in MODIFIERS),
)
BEGIN = """
import { readFileSync } from "node:fs";
import { Library, load, loss, Paths } from "FILE";
const given = JSON.parse(readFileSync(0, "utf8"));
const library = new Library(given);
const out = {};
const defaults = (rule) => Object.fromEntries(rule.hyperparameters.map((h) => [h.name, h.default]));
const all = (rule, values) => ({ ...defaults(rule), ...values });
const range = [0, 1];
"""


def node(script, **given):
    """What a script leaves in `out`; NaN and infinities are null there."""
    text = BEGIN.replace("FILE", CORE.as_uri()) + script + "\nconsole.log(JSON.stringify(out));\n"
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", text],
        input=json.dumps({**sources(*besides(" ".join(STACKS))), **given}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr[-2000:]
    return json.loads(done.stdout)


def in_numpy(rule, p, gradients, values, hessians):
    state, path = rule.init(p, **values), []
    with np.errstate(all="ignore"):
        for t, g in enumerate(gradients, 1):
            given = {"hessian": hessians[t - 1]} if rule.signals else {}
            p, state = rule.update(p, g, state, t, **values, **given)
            path.append(p)
    return np.array(path)


def test_every_rule_and_stack_equals_numpy():
    """On vectors and on matrices; those for matrices on matrices alone."""
    draw = np.random.default_rng(3)
    cases, wanted = [], []
    for name in (*offered(), *STACKS):
        rule = registry.get(name)
        values = {"lr": 0.01} if "lr" in rule.hyperparameters else {}
        values |= {"weight_decay": 0.1} if "weight_decay" in rule.hyperparameters else {}
        values = rule.check(**values)
        for shape in (
            [(2, 2)] if rule.seen == "matrix" or trace_of_matrices(rule) else [(3,), (2, 2)]
        ):
            p, gradients = draw.normal(size=shape), draw.normal(size=(STEPS, *shape))
            hessians = 0.1 + draw.random(size=(STEPS, *shape))
            given = [x.reshape(-1, p.size).tolist() for x in (p, gradients, hessians)]
            cases.append((name, *given, values, shape))
            path = in_numpy(rule, p, gradients, values, hessians)
            wanted.append(path.reshape(STEPS, -1))
    found = node(
        """out.paths = given.cases.map(([name, [start], gradients, hessians, values, shape]) => {
             const rule = library.rule(name), program = rule.program(values, { shape });
             let p = Float64Array.from(start), state = program.start(p), path = [];
             gradients.forEach((g, i) => {
               const x = { seed: 0, hessian: hessians[i] };
               ({ p, state } = program.step(p, Float64Array.from(g), state, i + 1, all(rule, values), x));
               path.push([...p]);
             });
             return path;
           });""",
        cases=cases,
    )
    wrong = {}
    for (name, *_, shape), mine, path in zip(cases, found["paths"], wanted, strict=True):
        np.testing.assert_equal(np.isfinite(path).all(), True, err_msg=name)
        distance = np.abs(np.array(mine) - path).max() / np.abs(path).max()
        if not distance < 1e-12:
            wrong[name, shape] = distance
    assert not wrong
    assert len(cases) > 200


def test_every_chip_around_every_rule_equals_numpy():
    """And where Python refuses a stack, the page refuses it in the same words."""
    draw, cases, wanted, refused = np.random.default_rng(5), [], [], {}
    for name in [f"{chip}({name})" for name in offered() for chip in CHIPS]:
        try:
            rule = registry.get(name)
        except RuleError as error:
            refused[name] = str(error)
            continue
        values = rule.check(lr=0.01) if "lr" in rule.hyperparameters else rule.check()
        shape = (2, 2) if rule.seen == "matrix" or trace_of_matrices(rule) else (3,)
        p, gradients = draw.normal(size=shape), draw.normal(size=(7, *shape))
        hessians = 0.1 + draw.random(size=(7, *shape))
        given = [x.reshape(-1, p.size).tolist() for x in (p, gradients, hessians)]
        cases.append((name, *given, values, shape))
        wanted.append(in_numpy(rule, p, gradients, values, hessians)[-1].ravel())
    found = node(
        """out.ends = given.cases.map(([name, [start], gradients, hessians, values, shape]) => {
             const rule = library.rule(name), program = rule.program(values, { shape });
             let p = Float64Array.from(start), state = program.start(p);
             gradients.forEach((g, i) => {
               const x = { seed: 0, hessian: hessians[i] };
               ({ p, state } = program.step(p, Float64Array.from(g), state, i + 1, all(rule, values), x));
             });
             return [...p];
           });
           for (const name of given.refused) {
             try { library.rule(name); } catch ({ message }) { out[name] = message; }
           }""",
        cases=cases,
        refused=[*refused],
    )
    for (name, *_), mine, end in zip(cases, found.pop("ends"), wanted, strict=True):
        np.testing.assert_allclose(mine, end, rtol=1e-12, atol=1e-15, err_msg=name)
    assert found == refused
    assert len(cases) > 350


def trace_of_matrices(rule):
    """Whether it refuses vectors."""
    p = np.ones(3)
    try:
        rule.update(p, p, rule.init(p), 1)
    except (TypeError, ValueError):
        return True
    return False


def test_decompositions_have_the_signs_of_lapack():
    draw = np.random.default_rng(8)
    matrices = draw.normal(size=(40, 2, 2))
    matrices[0] = np.diag([3.0, -1.0])
    matrices[1] = np.diag([1.0, 2.0])
    matrices[2] = [[0.0, 1.0], [1.0, 0.0]]
    matrices[3] = [[2.0, 0.5], [0.5, 2.0]]
    text = (
        "def f(p, g, m, v, q, k, x, *, lr=1.0):\n    s = p + transpose(p)\n    w, e = eigh(s)\n"
        "    d = matmul(p, transpose(p))\n    l = cholesky(d)\n"
        "    return solve_triangular(l, p), e + 0 * w, qr(p)[0], qr(p)[1], l, inverse_root(d, 4)\n"
    )
    found = node(
        """const program = load(given.text, library).rule("f").program({}, { shape: [2, 2] });
           out.all = given.matrices.map((p) => {
             const flat = p.flat(), done = program.step(flat, flat, program.start(flat), 1);
             return [done.p, ...Object.values(done.state)].map((x) => [...x]);
           });""",
        text=text,
        matrices=matrices.tolist(),
    )
    for p, mine in zip(matrices, found["all"], strict=True):
        q, r = np.linalg.qr(p)
        d = p @ p.T
        lower = np.linalg.cholesky(d)
        _, e = np.linalg.eigh(p + p.T)
        root = np.linalg.eigh(d)
        root = root[1] @ np.diag((root[0] + 1e-12) ** -0.25) @ root[1].T
        for x, y in zip(mine, (np.linalg.solve(lower, p), e, q, r, lower, root), strict=True):
            np.testing.assert_allclose(np.reshape(x, (2, 2)), y, rtol=1e-9, atol=1e-11)


def test_draws_are_those_of_numpy():
    """Bit for bit, for any seed, step, stream and place."""
    draws = [Draw(seed, t) for seed in (0, 1, 123456789) for t in (1, 2, 5000)]
    like = np.zeros(3000)
    found = node(
        """const { normal, uniform } = await import(given.draws);
           const many = (make) => Array.from({ length: 3000 }, (_, i) => make(i));
           out.normal = given.of.map(([seed, t]) => many((i) => normal(seed, t, 2, i)));
           out.uniform = given.of.map(([seed, t]) => many((i) => uniform(seed, t, 1, i)));""",
        draws=(CORE.parent / "draws.js").as_uri(),
        of=[draw[:2] for draw in draws],
    )
    for draw, normal, uniform in zip(draws, found["normal"], found["uniform"], strict=True):
        assert normal == ravine.draws.normal(np, like, 2, draw).tolist()
        assert uniform == ravine.draws.uniform(np, like, 1, draw).tolist()


@pytest.mark.parametrize("ndim", [1, 2])
def test_the_kernel_is_what_show_prints(ndim):
    """And every rule's equations can be typeset."""
    wanted = {}
    for name in (*offered(), *STACKS):
        rule = registry.get(name)
        if ndim == 2 or not (rule.seen == "matrix" or trace_of_matrices(rule)):
            wanted[name] = kernel_source(trace(rule, None, ndim))
    found = node(
        """for (const name of given.names) {
             const program = library.rule(name).program({}, { shape: Array(given.ndim).fill(2) });
             out[name] = program.python();
             if (/undefined|…/.test(program.equations())) out[name] = program.equations();
           }""",
        names=[*wanted],
        ndim=ndim,
    )
    assert found == wanted


def test_many_paths_are_the_steps():
    """Of basins: with a loss's gradient, all in one loop."""
    found = node(
        """const f = loss("(x**2 + y - 11)**2 + (x + y**2 - 7)**2", ["x", "y"]);
           for (const name of given.names) {
             const rule = library.rule(name), values = all(rule, { lr: 0.001 });
             const program = rule.program(values, { shape: [2] });
             const ends = [], starts = Float64Array.of(1, -2, 3, 0.5);
             for (const k of [0, 2]) {
               let p = starts.slice(k, k + 2), state = program.start(p, values);
               for (let t = 1; t <= 50; t++) {
                 const x = { seed: 7, hessian: f.hessian(p).map((row, i) => row[i]) };
                 ({ p, state } = program.step(p, f.gradient(p), state, t, values, x));
               }
               ends.push(...p);
             }
             const many = new Paths(program, f), of = { starts, steps: 50, values, seed: 7 };
             const paths = many.run(of);
             const arrived = many.run({ ...of, targets: paths, near: 1e-9 });
             out[name] = [ends, [...paths], [...arrived]];
           }""",
        names=[
            "sgd",
            "nadam",
            "lookahead(adam)",
            "prodigy",
            "rprop",
            "asgd",
            "sgld",
            "sophia",
            "aggmo",
        ],
    )
    for name, (ends, paths, arrived) in found.items():
        assert ends == paths, name
        assert all(0 < t <= 50 for t in arrived), name


def test_losses_are_derived():
    """Gradients and Hessians against differences in value."""
    texts = {
        "rosenbrock": "(1 - x)**2 + 100*(y - x**2)**2",
        "rastrigin": "20 + x**2 + y**2 - 10*cos(2*pi*x) - 10*sin(2*pi*y)",
        "plateau": "1 - exp(-(x**2 + y**2) / 4) + tanh(x*y) / sqrt(x**2 + 1)",
        "huber": "where(abs(x) < 1, x**2 / 2, abs(x) - 0.5) + maximum(y, 0.3*x) - minimum(x, 2) + log(2 + y)",
        "rows": "mean((x*a + y - b)**2) + norm(a) * x**3",
    }
    found = node(
        """for (const [name, text] of Object.entries(given.losses)) {
             const f = loss(text, ["x", "y"], { pi: Math.PI, a: [1, 2, -0.5], b: [0.5, 1, 3] });
             const p = [0.7, -1.3], e = 1e-5, moved = (i, by) => p.map((x, k) => k === i ? x + by : x);
             const slope = (i, of) => (of(moved(i, e)) - of(moved(i, -e))) / (2 * e);
             out[name] = [
               [...f.gradient(p)], range.map((i) => slope(i, f.value)), f.hessian(p),
               range.map((i) => range.map((k) => slope(i, (q) => f.gradient(q)[k]))),
               [...f.gradient(p, { a: [1], b: [0.5] })],
             ];
           }""",
        losses=texts,
    )
    for name, (slope, by_value, bend, by_slope, batch) in found.items():
        np.testing.assert_allclose(slope, by_value, rtol=1e-7, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(bend, by_slope, rtol=1e-6, atol=1e-6, err_msg=name)
        assert (batch != slope) == (name == "rows")


HEAD = "def f(p, g, *, lr=1):\n    "
BROKEN = [
    HEAD + "return p - lr * gg",
    HEAD + "return p - lr * cube(g)",
    HEAD + "return p - lr * np.sqrt(g)",
    HEAD + "return p - lr * g.T",
    HEAD + "return p - lr * g[0]",
    HEAD + "return p - lr * float(g)",
    HEAD + "return p, g",
    HEAD + "if g > 0:\n        return p\n    return g",
    HEAD + "if sum(g) > lr:\n        return p\n    return g",
    HEAD + "p = g if not sqrt(lr) else p\n    return p",
    HEAD + "return p and g",
    HEAD + "for x in p:\n        p = x\n    return p",
    HEAD + "p += g\n    return p",
    HEAD + "return p - sqrt()",
    HEAD + "return p - sqrt(g, 2)",
    HEAD + "return p - sum(g, 0, 1, 2)",
    HEAD + "return p - where(g)",
    HEAD + "return clip(p)",
    HEAD + "return maximum(p, y=g, z=2)",
    HEAD + "return maximum(p, g, y=2)",
    HEAD + "return p - mean(g, axis=0.5)",
    HEAD + "return p - lr * normal(lr)",
    HEAD + "return p - lr * normal(sum(g))",
    HEAD + "return newton_schulz(p, 1, 2)",
    HEAD + "return p - half(g, 2)\ndef half(x):\n    return x / 2",
    HEAD + "return (p - lr * g",
    HEAD + "return [p - lr * g)",
    HEAD + "return p - lr * g)",
    HEAD + "x = 1 +\n    return p",
    HEAD + "x = / 2\n    return p",
    HEAD + "  p = p\n   return p",
    HEAD + "p = p\n      return p",
    HEAD + "if lr:\n    return p",
    HEAD + "if lr\n        return p",
    HEAD + "return p ? g",
    HEAD + "f = lambda x\n    return p",
    HEAD + "return p - lr * g^2",
    HEAD + "return p - 2 ^ g",
    "def f(p, g, *, lr=1):\nreturn p",
    "def f(p, g, *, lr=1)\n    return p",
    "def f(p, g, m, *, lr=1):\n    return p - lr * g",
    "def f(p, g, lr=1):\n    return p",
    "def f(w, g, *, lr=1):\n    return w",
    "def f(p, g, t, m, *, lr=1):\n    return p, m",
    "@rule(k=scalar(1.0))\ndef f(p, g, *, lr=1):\n    return p",
    "@rule(k=scalar(1.0))\ndef f(p, g, k, *, lr=1):\n    return p, k * g",
    "@rule(b=several('betas'))\ndef f(p, g, b, *, lr=1):\n    return p, b",
    "@rule(b=several('betas'))\ndef f(p, g, b, *, betas=(0.5, 0.9)):\n    return p, b[0]",
    "@rule(b=several('betas'))\ndef f(p, g, b, *, betas=(0.5, 0.9)):\n    return p, (b[0],)",
    "def f(p, g, *, hessian=signal(), lr=1):\n    return p - lr * g if hessian else p",
]


@pytest.mark.torch  # which `from ravine import *` imports
def test_errors_are_those_of_python(tmp_path):
    """Of `ravine show`, without the name of the file: its line is given apart."""
    found = node(
        """out.all = given.broken.map((text) => {
             try {
               const made = load(text, library).rule("f");
               made.program({}, { shape: [2] });
               return "no error";
             } catch ({ line, message, name }) {
               return name === "RuleError" ? [line, message] : message;
             }
           });""",
        broken=[text + "\n" for text in BROKEN],
    )["all"]
    for text, mine in zip(BROKEN, found, strict=True):
        line, message = in_python(tmp_path / "mine.py", text)
        assert mine[1] == message, text
        assert line in (None, mine[0]), text


def in_python(path, text):
    """The line and the message of a rule's error: both as a reader of the page needs them."""
    text = text if "@rule" in text else text.replace("def f(", "@rule\ndef f(")
    head = "from ravine import *; from ravine.ops import *; from ravine.rule import several\n"
    path.write_text(head + text + "\n")
    first = 1 + text.count("@rule\n")  # lines that are missing on the page
    try:
        names = {"__name__": "mine"}
        exec(compile(path.read_text(), str(path), "exec"), names)
        linecache.checkcache()
        trace(names["f"])
    except SyntaxError as error:
        return error.lineno - first, re.sub(
            r"line (\d+)", lambda line: f"line {int(line[1]) - first}", error.msg
        )
    except RuleError as error:
        place = re.match(r"rule 'f', mine.py:(\d+)(?:, `[^\n]*?`)?: (?=\S)(.*)", str(error))
        return (int(place[1]) - first, place[2]) if place else (None, str(error))
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (HEAD + "p - lr * g", 2, "this value is not used; give it a name, or return it"),
        (HEAD + "while lr:\n        p = p", 2, "a rule has no while loops"),
        ("x + 1", 1, "this value is not used"),
        ("def f(p, g, *, lr):\n    return p", 1, "f: hyperparameter lr needs a default"),
        ("@rule(k=table(1))\ndef f(p, g, k):\n    return p, k", 1, "that this page does not know"),
        (HEAD + "return matmul(p, g)", 2, "matmul needs matrices"),
        (HEAD + "return transpose(p)", 2, "transpose needs a matrix or a batch of matrices"),
        (HEAD + "return p - sum(g, axis=1)", 2, "axis=1 is not an axis of an array of shape (2,)"),
    ],
)
def test_errors_of_the_page_name_the_line(text, line, says):
    found = node(
        """try { const made = load(given.text, library).rule("f"); made.program({}, { shape: [2] }); }
           catch ({ line, message, name }) {
             Object.assign(out, { line, message, ours: name === "RuleError" });
           }""",
        text=text + "\n",
    )
    assert found.get("ours"), found
    assert found["line"] == line
    assert says in found["message"]


def test_what_is_read_of_a_rule():
    found = node(
        """const rule = library.rule("lookahead(adam)"), program = rule.program({}, { shape: [2] });
           out.equations = program.equations();
           out.slots = rule.slots.map((s) => s.name);
           out.h = rule.hyperparameters.find((h) => h.name === "beta2"); out.summary = rule.summary;
           const traced = program.trace([1, 2], [3, 4], program.start([1, 2]), 1);
           out.traced = traced.filter((x) => x.name).map((x) => [x.name, x.line]);"""
    )
    assert found["slots"] == ["m", "v", "slow"]
    assert (found["h"]["low"], found["h"]["high"], found["h"]["default"]) == (0, 1, 0.999)
    assert "squared gradients" in found["h"]["meaning"]
    assert found["summary"]
    names = [name for name, _ in found["traced"]]
    assert names == ["m", "v", "m_hat", "v_hat", "p", "now", "slow"]
    assert found["equations"].count("<math") == 2
    assert "<mi>θ</mi>" in found["equations"]


def test_hyperparameters_of_a_rule_of_ones_own_have_the_shared_meanings():
    found = node(
        """const text = "def mine(p, g, *, lr=0.1, beta1=0.9, spice=2.0):\\n    return p - lr * g\\n";
           out.h = load(text, library).rule("mine").hyperparameters;"""
    )["h"]
    names = ("lr", "beta1", "spice")
    for each, name in zip(found, names, strict=True):
        shared = HYPERPARAMETERS.get(name)
        assert each["name"] == name
        assert each["meaning"] == (shared.meaning if shared else "")
        assert each["low"] == (shared.low if shared else None)
        assert each["high"] == (1.0 if name == "beta1" else None)


def test_a_rule_that_is_copied_is_the_same_rule(tmp_path):
    """As Python, with its helpers and constants: of every rule that is a function.

    Without what its weights to evaluate with are, which is no part of a step.
    """
    rules = {name: registry.get(name) for name in offered()}
    names = [k for k, rule in rules.items() if len(rule.sources) == 1 and not rule.evaluated]
    found = node(
        """const { python } = await import(given.exports);
           const each = given.names.map((name) => library.rule(name));
           for (const rule of each) out[rule.name] = python(rule, rule.source);""",
        names=names,
        exports=(CORE.parents[1] / "view/exports.js").as_uri(),
    )
    for name in names:
        path = tmp_path / f"{name}.py"
        path.write_text(found[name], "utf-8")
        rule = rules[name]
        copied = registry.get(f"{path}:{rule.sources[-1].__name__}")
        values = {k: h.default for k, h in rule.hyperparameters.items()}
        assert (
            kernel_source(trace(copied, **values)).partition("(")[2]
            == (kernel_source(trace(rule, **values)).partition("(")[2])
        ), name
        assert copied.slots == rule.slots, name
