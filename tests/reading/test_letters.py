"""Names are set so that nobody takes them for something else: no exponents, no products of letters."""

import re

import pytest
from cases import OF_ARRAYS
from stacks import READ
from test_equations import write

from ravine import modifiers, registry, rules
from ravine.engines.graph import DIMENSIONS
from ravine.reading.composing import symbols
from ravine.reading.equations import latex, reading, terminal
from ravine.reading.typesetting import RAISED, LaTeX, Terminal

HOW = {
    "terminal": lambda x: Terminal(plain=False, flat=False).put(x).lines[0],
    "ascii": lambda x: Terminal(plain=True, flat=True).put(x).lines[0],
    "latex": lambda x: LaTeX().put(x),
}
MODIFIED = [getattr(modifiers, name)(rules.sgd) for name in modifiers.__all__]


def symbols_of(read):
    found = [x for e in read.equations for x in [*e.read, *symbols(e.target)]]
    return [*found, *read.letters.values()]


@pytest.mark.parametrize("rule", [*READ, *MODIFIED], ids=lambda r: r.name)
def test_two_names_of_a_rule_never_look_alike(rule):
    for values in ({}, {k: True for k, h in rule.hyperparameters.items() if h.default is False}):
        read = reading(rule, values)
        letters = {name: x for name, x in read.letters.items() if name != "step"}
        for put in HOW.values():
            known = {}
            for symbol in symbols_of(read):
                meant = (symbol.name, symbol.stamp, symbol.primes)
                assert known.setdefault(put(symbol), meant) == meant
            assert len({put(x) for x in letters.values()}) == len(letters)


@pytest.mark.parametrize("rule", [*READ, *MODIFIED], ids=lambda r: r.name)
def test_a_name_is_one_letter_or_an_upright_word(rule):
    for symbol in symbols_of(reading(rule)):
        tex = LaTeX().put(symbol)
        assert "^" not in re.sub(r"\^\{?(\\prime)+\}?", "", tex), "a name has no exponent"
        letters = re.sub(r"\\(mathrm|text)\{[^{}]*\}|\\_|\\[a-z]+", "", tex)
        assert not re.search(r"[a-zA-Z]{2}", letters), f"{tex} looks like a product"
        shown = HOW["terminal"](symbol)
        assert not {*map(ord, shown)} & {*RAISED.values()}, f"{shown} has an exponent"


def names(*identifiers):
    body = "".join(f"    {name} = g + {i}\n" for i, name in enumerate(identifiers))
    function = write(f"def f(p, g, v, *, lr=1.0, v0=1.0):\n{body}    return p, v\n")
    lines = terminal(function).splitlines(), latex(function).splitlines()[1:]
    return [x.split(" = ")[0].strip() for x in lines[0]][: len(identifiers)], [
        x.split(" &=")[0] for x in lines[1]
    ]


def test_the_names_that_misled():
    shown, tex = names(
        *("momentum_decay", "lr_decay", "mu_product", "beta2_decay", "weight_sum", "lr_max"),
        *("grad_scale", "x_t", "b_i", "v_0", "eps_hat"),
    )
    assert shown[:7] == [
        *("momentum_decayₜ", "η_decayₜ", "μ_productₜ", "β₂_decayₜ", "weight_sumₜ", "η_maxₜ"),
        "grad_scaleₜ",
    ]
    assert shown[7:] == ["x_tₜ", "b_iₜ", "v₀,ₜ", "ε̂ₜ"]
    assert tex[:4] == [
        *(r"\mathrm{momentum\_decay}_t", r"\eta_{\mathrm{decay},t}"),
        *(r"\mu_{\mathrm{product},t}", r"\beta_{2,\mathrm{decay},t}"),
    ]


def test_what_would_look_alike_is_a_word():
    shown, tex = names(
        "x2", "x_2", "v_max_hat", "v_hat_max", "lam", "lambd", "momentum", "mu", "eta"
    )
    assert len({*shown}) == len({*tex[:9]}) == 9
    assert shown[:4] == ["x₂,ₜ", "x_2ₜ", "v̂_maxₜ", "v_hat_maxₜ"]
    assert shown[4:] == ["λₜ", "lambdₜ", "momentumₜ", "μₜ", "ηₜ"]


def test_exponents_are_set_as_such_where_they_are_words():
    function = write(
        "def f(p, g, t, *, power=1.0, T=2.0):\n    return p - transpose(g) * t**power * g**T\n"
    )
    assert terminal(function) == "                 power   T\nθₜ = θₜ₋₁ − gₜᵀ t      gₜ"
    assert r"t^{\mathrm{power}}\, g_t^T" in latex(function)
    assert r"g_t^{\top}" in latex(function)


def test_every_registered_rule_is_among_those_read():
    assert {*registry.rules().values()} <= {*READ}
    assert OF_ARRAYS
    assert len(DIMENSIONS) > 2
