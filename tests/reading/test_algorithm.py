"""The algorithm box: inputs, initial state and loop, at every width, in ASCII, LaTeX and Markdown."""

import re
import textwrap
import unicodedata

import pytest
from stacks import READ, lars, never_shorter, sophia, window, with_mean

from ravine import like_p, registry, rule, rules, square
from ravine.modifiers import l2
from ravine.ops import normal, stored, total
from ravine.reading.about import about, helpers
from ravine.reading.algorithm import latex, markdown, terminal


def set_in(text):
    return textwrap.dedent(text).strip("\n")


def columns(line):
    return sum(not unicodedata.combining(c) for c in line)


def test_adamw():
    assert terminal(rules.adamw) == set_in("""
        ────────────────────────────────────────────────────────────────────
        adamw
        ────────────────────────────────────────────────────────────────────
        Input     θ₀ (the parameters), η = 0.001 (lr), β₁ = 0.9, β₂ = 0.999,
                  ε = 10⁻⁸ (eps), λ = 0.01 (weight_decay)
        Start     m₀ = 0, v₀ = 0
        for t = 1, 2, …:
           gₜ = ∇f(θₜ₋₁)
           mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ    biased first moment
           vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²   biased second raw moment

                  mₜ
           m̂ₜ = ───────
                1 − β₁ᵗ

                  vₜ
           v̂ₜ = ───────
                1 − β₂ᵗ

                                  η m̂ₜ
           θₜ = θₜ₋₁ (1 − η λ) − ───────
                                 √v̂ₜ + ε
        ────────────────────────────────────────────────────────────────────""")


def test_adafactor_in_ascii():
    box = terminal(rules.adafactor, 80, plain=True, values={"lr": 0.5})
    assert "eta = 0.5 (lr)" in box
    assert "beta2_decay = -0.8" in box
    assert "Switches  eps1 (off)" in box
    assert "r[0] = 0 (matrices: one number per row)" in box
    assert "v[0] = 0 (vectors)" in box
    assert box.index("if ndim(theta) >= 2 (matrices):") < box.index("r[t] =")
    assert box.index("if ndim(theta) <= 1 (vectors):") < box.index("v[t] = beta2[t]*v[t-1]")
    assert box.count("u[t] = ") == 1, "what is the same in all dimensions is shown once"


def test_latex():
    assert latex(l2(rules.sgd)) == set_in(r"""
        \begin{array}{l}
        \hline
        \textbf{Algorithm} ~ \text{l2(sgd)} \\
        \hline
        \textbf{Input} ~ \theta_0\text{ (the parameters)},\ \eta = 0.001\text{ (lr)},\ \lambda = 0.01\text{ (weight\_decay)} \\
        \textbf{for } t = 1, 2, \dots \\
        \quad \begin{aligned}
        g_t &= \nabla f(\theta_{t-1}) \\[6pt]
        g^{\prime}_t &= g_t + \lambda\, \theta_{t-1} && \quad \text{l2} \\[6pt]
        \theta_t &= \theta_{t-1} - \eta\, g^{\prime}_t
        \end{aligned} \\
        \hline
        \end{array}""")  # noqa: E501


def test_markdown():
    lines = markdown(rules.adafactor).splitlines()
    assert lines[0].startswith(r"**Input** $\theta_0$ (the parameters), $\eta = 0.01$ (`lr`), ")
    assert "**for** $t = 1, 2, \\dots$" in lines
    assert r"> **if** $\operatorname{ndim}(\theta) \geq 2$ (matrices)" in lines
    assert markdown(with_mean).endswith("**Evaluate** with $\\mathrm{mean\\_p}_t$")


@pytest.mark.parametrize("made", READ, ids=lambda r: r.name)
def test_every_box_fits_and_says_all(made):
    for width in (40, 60, 80, 120):
        for plain in (False, True):
            box = terminal(made, width, plain=plain)
            assert max(map(columns, box.splitlines())) <= width
            assert not plain or box.isascii()
            assert box.splitlines()[0] == box.splitlines()[-1]
    kept = about(made)
    slots = len([*kept.state, *kept.scalars, *kept.shared, *kept.reduced, *kept.matrices])
    every = {*kept.state, *kept.scalars, *kept.shared, *kept.reduced}
    parts = [x for group in made.parts.slots.values() for x in group[1:] if x in every]
    start = terminal(made, 10**6, plain=True).partition("Start ")[2].partition("\n")[0]
    assert start.count("[0] = ") + start.count("[i,0] = ") == (
        slots - len(parts) + len(kept.in_other_dimensions)
    )
    tex = latex(made)
    assert tex.count("{") == tex.count("}")
    assert tex.count(r"\begin{") == tex.count(r"\end{")
    assert not re.search(r"[^\x00-\x7f]", tex), "LaTeX is ASCII"


def test_start_and_evaluation():
    def line(made, head, **more):
        box = terminal(made, 200, **more)
        return (
            next((x for x in box.splitlines() if x.startswith(head)), "").removeprefix(head).strip()
        )

    assert line(rules.asgd, "Start") == "η₀ = lr (one number), μ₀ = 1 (one number), ax₀ = 0"
    assert line(rules.asgd, "Evaluate") == "with axₜ"
    assert line(rules.adagrad, "Start") == "v₀ = v0"
    assert line(rules.sgd, "Start") == ""
    assert line(never_shorter, "Start") == "longest₀ = 0 (one number for all tensors)"
    assert (
        line(never_shorter, "Where")
        == "total(x): the sum over all tensors that the optimizer holds"
    )
    assert line(window, "Start") == "pastᵢ,₀ = 0"
    assert line(sophia, "Given") == "hessianₜ (at some steps, in the shape of the parameter)"
    assert line(with_mean, "Start").startswith("mean_p₀ = θ₀")
    assert line(rules.rmsprop, "Start") == "v₀ = 0"
    assert line(rules.rmsprop, "Switches") == "centered (off), momentum (off)"
    on = {"values": {"momentum": 0.9, "centered": True}}
    assert line(rules.rmsprop, "Start", **on) == "v₀ = 0, m₀ = 0, b₀ = 0"
    assert line(rules.rmsprop, "Switches", **on) == "centered (on)"
    assert "μ = 0.9 (momentum)" in line(rules.rmsprop, "Input", **on)
    assert "momentum" not in line(rules.rmsprop, "Input")
    assert line(mixed, "Start") == "a₀ = θ₀, left₀ = 10⁻⁶ I (a matrix of m × m for one of m × n)"
    assert line(mixed, "Evaluate") == "with aₜ + (θₜ − aₜ)/(1 + η)"
    assert line(lars, "Given") == ""


def test_what_calls_mean_is_told_of_the_axis_and_of_helpers():
    told = terminal(rules.adafactor, 200).partition("Where ")[2]
    assert "mean(x, axis = −1): the mean of each row\n" in told
    assert "mean(x, axis = −2): the mean of each column\n" in told
    assert "mean(x):" not in told
    told = terminal(rules.psgd_kron, 200)
    assert "fitted(q, a, b, precond_lr): a triangle, moved one step" in told
    assert "q_left₀ = I (" in told
    assert "damping = 0.000345267," in told
    assert r"\operatorname{mean}(x, \mathrm{axis} = -1)\text{: }" in latex(rules.adafactor)
    assert r"- $\operatorname{mean}(x, \mathrm{axis} = -1)$: " in markdown(rules.adafactor)
    found = [f.__name__ for f in helpers(rules.psgd_kron)]
    assert found == ["_fitted", "_at_most_the_norm", "_upper"]


def test_several_values_at_once_are_equations_unless_one_reads_another():
    box = terminal(rules.soap, 200, plain=True)
    assert "(new_left[t], order_left[t]) = nearer(left[t], q_left[t-1])" in box
    assert "(new_right[t], order_right[t]) = nearer(right[t], q_right[t-1])" in box

    @rule
    def swapped(p, g, *, lr=0.1):
        a, b = g, 2 * g
        (a, b), c = (b, a), a
        return p - lr * (a + b + c)

    assert "(a, b), c = (b, a), a" in terminal(swapped, 200, plain=True)


@rule(a=like_p, left=square(-2, 1e-6), evaluate=lambda p, a, lr: a + (p - a) / (1 + lr))
def mixed(p, g, a, left, *, lr=1e-2):
    left = left + total(g * normal(p))
    return stored(p - lr * left @ g), a + p, left


def test_width():
    with pytest.raises(ValueError, match="width must be at least 20 columns, got 19"):
        terminal(rules.sgd, 19)


def test_every_name_in_a_box_is_told_of():
    """What only the state's shape depends on, and constants, too."""
    assert "rank = 768" in terminal(rules.dion)
    shown = terminal(rules.normuon)
    assert "orthogonalized(mₜ, JORDAN, ns_eps, ns_steps)\n" in shown
    assert "JORDAN: (3.4445, -4.775, 2.0315)" in shown
    assert "ns_steps, bfloat16 = True)\n" in terminal(rules.normuon, values={"bfloat16": True})
    assert r"\mathrm{JORDAN}\text{: }\text{(3.4445, -4.775, 2.0315)}" in latex(rules.normuon)


def test_what_three_kinds_of_tensors_have_in_common_is_said_once():
    shown = terminal(rules.amos)
    assert shown.count("if ndim(θ)") == 3
    assert shown.count("vₜ = β₂ vₜ₋₁") == shown.count("θₜ = θₜ₋₁ − uₜ") == 1
    assert shown.index("≤ 1 (vectors):") < shown.index("vₜ = β₂ vₜ₋₁")


def test_what_a_condition_decides_is_decided_within():
    shown = terminal(registry.get("swa(sgd)"))
    assert "if countsₜ else" not in shown
    assert "countsₜ = (pastₜ > 0 and pastₜ mod swa_every = 0)" in shown
