"""The language in Node: every rule and stack that the page offers equals NumPy; losses; errors by line."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ravine import registry
from ravine.explorer.sources import offered, sources

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
)
BEGIN = """
import { readFileSync } from "node:fs";
import { Library, load, loss } from "FILE";
const given = JSON.parse(readFileSync(0, "utf8"));
const library = given.texts.reduce((known, text) => load(text, known), new Library({ about: given.about }));
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
        input=json.dumps({**sources(), **given}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr[-2000:]
    return json.loads(done.stdout)


def in_numpy(rule, p, gradients, values):
    state, path = rule.init(p, **values), []
    with np.errstate(all="ignore"):
        for t, g in enumerate(gradients, 1):
            p, state = rule.update(p, g, state, t, **values)
            path.append(p)
    return np.array(path)


def test_every_rule_and_stack_equals_numpy():
    draw = np.random.default_rng(3)
    names, cases, wanted = [*offered(), *STACKS], [], []
    for name in names:
        rule = registry.get(name)
        whole = not {"newton_schulz"}.isdisjoint(_helpers(rule))
        shape = (2, 2) if whole else (3,)
        p, gradients = draw.normal(size=shape), draw.normal(size=(STEPS, *shape))
        values = {"lr": 0.01} if "lr" in rule.hyperparameters else {}
        values |= {"weight_decay": 0.1} if "weight_decay" in rule.hyperparameters else {}
        cases.append(
            (name, p.ravel().tolist(), gradients.reshape(STEPS, -1).tolist(), values, shape)
        )
        wanted.append(in_numpy(rule, p, gradients, rule.check(**values)).reshape(STEPS, -1))
    found = node(
        """for (const [name, start, gradients, values, shape] of given.cases) {
             const rule = library.rule(name), program = rule.program(values, { shape });
             let p = Float64Array.from(start), state = program.start(p), path = [];
             gradients.forEach((g, i) => {
               ({ p, state } = program.step(p, Float64Array.from(g), state, i + 1, all(rule, values)));
               path.push([...p]);
             });
             out[name] = path;
           }""",
        cases=cases,
    )
    wrong = {}
    for name, path in zip(names, wanted, strict=True):
        np.testing.assert_equal(np.isfinite(path).all(), True, err_msg=name)
        distance = np.abs(np.array(found[name]) - path).max() / np.abs(path).max()
        if not distance < 1e-12:
            wrong[name] = distance
    assert not wrong
    assert len(found) > 80


def _helpers(rule):
    return {name for function in rule.sources for name in function.__code__.co_names}


def test_many_paths_are_the_steps():
    """Of basins: with a loss's gradient, all in one loop."""
    found = node(
        """const f = loss("(x**2 + y - 11)**2 + (x + y**2 - 7)**2", ["x", "y"]);
           for (const name of ["sgd", "nadam", "lookahead(adam)", "prodigy", "rprop", "asgd"]) {
             const rule = library.rule(name), values = all(rule, { lr: 0.001 });
             const program = rule.program(values, { shape: [2] });
             const ends = [], starts = Float64Array.of(1, -2, 3, 0.5);
             for (const k of [0, 2]) {
               let p = starts.slice(k, k + 2), state = program.start(p, values);
               for (let t = 1; t <= 50; t++) {
                 ({ p, state } = program.step(p, f.gradient(p), state, t, values));
               }
               ends.push(...p);
             }
             const of = { loss: f, starts, steps: 50, values }, paths = program.paths(of);
             const arrived = program.paths({ ...of, targets: paths, near: 1e-9 });
             out[name] = [ends, [...paths], [...arrived]];
           }"""
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


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (
            "def f(p, g, *, lr=1):\n    return p - lr * gg",
            2,
            "gg has no value here; did you mean g",
        ),
        (
            "def f(p, g, m, *, lr=1):\n    return p - lr * g",
            2,
            "returns 1 value; it must return 2: p, m",
        ),
        ("def f(p, g, *, lr=1):\n    if g > 0:\n        return p\n    return g", 2, "write where"),
        ("def f(p, g, *, lr=1):\n    for i in p:\n        p = p", 2, "a rule has no for loops"),
        ("def f(p, g, *, lr=1):\n    return (p - lr * g", 2, "a bracket is not closed"),
        ("def f(p, g, *, lr=1):\n    return p - lr * np.sqrt(g)", 2, "only functions with a name"),
        (
            "def f(p, g, *, lr=1):\n    return p - lr * cube(g)",
            2,
            "cube cannot be called in a rule",
        ),
        ("def f(p, g, lr=1):\n    return p", 1, "hyperparameters come after"),
        ("def f(w, g, *, lr=1):\n    return w", 1, "the first arguments must be p, g"),
        ("def f(p, g, *, lr=1):\n    p - lr * g", 2, "this value is not used"),
        (
            "def f(p, g, *, lr=1):\n    x = 1 +\n    return p",
            2,
            "did not expect the end of the line",
        ),
        ("x + 1", 1, "this value is not used"),
        (
            "def f(p, g, *, lr=1):\n      p = p\n   return p",
            3,
            "the indentation fits no line above",
        ),
        ("def f(p, g, *, lr=1):\n    return p ? g", 2, "cannot read ? g"),
    ],
)
def test_errors_name_the_line(text, line, says):
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
           out.python = library.rule("adam").program().python();
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
    assert found["python"] == (
        "def adam(p, g, m, v, t, lr, beta1, beta2, eps):\n"
        "    # for every element\n"
        "    new_m = beta1 * m + (1 - beta1) * g\n"
        "    new_v = beta2 * v + (1 - beta2) * g**2\n"
        "    m_hat = new_m / (1 - beta1**t)\n"
        "    v_hat = new_v / (1 - beta2**t)\n"
        "    new_p = p - lr * m_hat / (sqrt(v_hat) + eps)\n"
        "    return new_p, new_m, new_v\n"
    )
    assert found["equations"].count("<math") == 2
    assert "<mi>θ</mi>" in found["equations"]
