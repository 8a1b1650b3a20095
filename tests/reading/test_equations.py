"""Equations: what is shown means what the function computes, and is set as one would write it."""

import heapq
import inspect
import itertools
import linecache
import math
import re
import statistics
import textwrap
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravine.ops import maximum, mean, sqrt, where
from ravine.reading.equations import latex, terminal

counter = itertools.count()


def write(source, name="f"):
    """The function that the source defines, its source to be found as if it stood in a file."""
    file = f"<written {next(counter)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace = {"sqrt": sqrt, "where": where, "maximum": maximum}
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]


def returning(expression):
    return write(f"def f(p, g, t, *, a=1.5, b=2.0, c=3.0):\n    return {expression}\n")


def set_in(text):
    return textwrap.dedent(text).strip("\n")


# ------------------------------------------------------------------------------- how rules look


def adam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g  # biased first moment
    v = beta2 * v + (1 - beta2) * g**2  # biased second raw moment
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v


def momentum(p, g, b, t, *, lr=1e-3, momentum=0.9, dampening=0.0):
    b = where(t == 1, g, momentum * b + (1 - dampening) * g)
    return p - lr * b, b


def rmsprop(p, g, v, m, b, *, lr=1e-2, alpha=0.99, eps=1e-8, centered=False, momentum=0.0):
    v = alpha * v + (1 - alpha) * g**2
    spread = v
    if centered:
        m = alpha * m + (1 - alpha) * g
        spread = v - m**2
    u = g / (sqrt(spread) + eps)
    if momentum:
        b = momentum * b + u
    return p - lr * (b if momentum else u), v, m, b


def schedule_free(p, g, z, v, weight_sum, lr_max, t, *, lr=2.5e-3, beta1=0.9, beta2=0.999, r=0.0):
    v = beta2 * v + (1 - beta2) * g**2
    d = g / (sqrt(v / (1 - beta2**t)) + 1e-8)
    lr_max = maximum(lr, lr_max)
    w = t**r * lr_max**2
    weight_sum = weight_sum + w
    c = w / weight_sum
    p = p + c * (z - p) - lr * (1 - beta1 * (1 - c)) * d
    return p, z - lr * d, v, weight_sum, lr_max


def lookahead(step, p, g, slow, t, *, k=5, alpha=0.5):
    p = step(p, g)
    sync = t % k == 0
    slow = where(sync, slow + alpha * (p - slow), slow)
    return where(sync, slow, p), slow


def cautious(step, p, g):
    u = p - step(p, g)
    agree = where(u * g > 0, 1.0, 0.0)
    return p - agree * u / maximum(mean(agree), 1e-5)


def decayed(step, p, g, *, lr, weight_decay=1e-2, maximize=False):
    """The text of a docstring is not an equation."""
    if maximize:
        g = -g  # uphill
    if weight_decay:
        p = p * (1 - lr * weight_decay)
    return step(p, g)


def guarded(p, g, m, t, *, lr=1e-3, momentum=0.0):
    t += 1
    if not momentum:
        return p - lr * g, 2 * m  # at once
    m = momentum * m + g / t  # velocity
    return p - lr * m, m


def words(p, g, *, a=1.0, b=2.0, nesterov=False):
    x = (1 + (a if nesterov and b else b)) / 2
    return p - sqrt(a) * b * x


IN_THE_TERMINAL = {
    adam: """
        mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ    biased first moment
        vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²   biased second raw moment

               mₜ
        m̂ₜ = ───────
             1 − β₁ᵗ

               vₜ
        v̂ₜ = ───────
             1 − β₂ᵗ

                     η m̂ₜ
        θₜ = θₜ₋₁ − ───────
                    √v̂ₜ + ε
        """,
    momentum: """
             ⎧ gₜ                    if t = 1
        bₜ = ⎨
             ⎩ μ bₜ₋₁ + (1 − τ) gₜ   otherwise

        θₜ = θₜ₋₁ − η bₜ
        """,
    rmsprop: """
             vₜ = α vₜ₋₁ + (1 − α) gₜ²
             mₜ = α mₜ₋₁ + (1 − α) gₜ   if centered

                  ⎧ vₜ − mₜ²   if centered
        spreadₜ = ⎨
                  ⎩ vₜ         otherwise

                       gₜ
             uₜ = ────────────
                  √spreadₜ + ε

             bₜ = μ bₜ₋₁ + uₜ   if μ ≠ 0

                           ⎧ bₜ   if μ ≠ 0
             θₜ = θₜ₋₁ − η ⎨
                           ⎩ uₜ   otherwise
        """,
    schedule_free: """
                 vₜ = β₂ vₜ₋₁ + (1 − β₂) gₜ²

                                gₜ
                 dₜ = ──────────────────────
                      √(vₜ/(1 − β₂ᵗ)) + 10⁻⁸

             η_maxₜ = max(η, η_maxₜ₋₁)
                 wₜ = tʳ · η_maxₜ²
        weight_sumₜ = weight_sumₜ₋₁ + wₜ

                          wₜ
                 cₜ = ───────────
                      weight_sumₜ

                 θₜ = θₜ₋₁ + cₜ (zₜ₋₁ − θₜ₋₁) − η (1 − β₁ (1 − cₜ)) dₜ
                 zₜ = zₜ₋₁ − η dₜ
        """,
    lookahead: """
          θ′ₜ = step(θₜ₋₁, gₜ)
        syncₜ = (t mod k = 0)

                ⎧ slowₜ₋₁ + α (θ′ₜ − slowₜ₋₁)   if syncₜ
        slowₜ = ⎨
                ⎩ slowₜ₋₁                       otherwise

                ⎧ slowₜ   if syncₜ
           θₜ = ⎨
                ⎩ θ′ₜ     otherwise
        """,
    cautious: """
            uₜ = θₜ₋₁ − step(θₜ₋₁, gₜ)

                 ⎧ 1   if uₜ gₜ > 0
        agreeₜ = ⎨
                 ⎩ 0   otherwise

                              agreeₜ · uₜ
            θₜ = θₜ₋₁ − ───────────────────────
                        max(mean(agreeₜ), 10⁻⁵)
        """,
    decayed: """
              ⎧ −gₜ   if maximize
        g′ₜ = ⎨                     uphill
              ⎩ gₜ    otherwise

              ⎧ θₜ₋₁ (1 − η λ)   if λ ≠ 0
        θ′ₜ = ⎨
              ⎩ θₜ₋₁             otherwise

         θₜ = step(θ′ₜ, g′ₜ)
        """,
    guarded: """
        t′ = t + 1

             ⎧ 2 mₜ₋₁        if μ = 0
             ⎪
        mₜ = ⎨          gₜ               velocity
             ⎪ μ mₜ₋₁ + ──   otherwise
             ⎩          t′

             ⎧ θₜ₋₁ − η gₜ   if μ = 0
        θₜ = ⎨                           at once
             ⎩ θₜ₋₁ − η mₜ   otherwise
        """,
    words: """
             1 + (a if nesterov and b ≠ 0 else b)
         x = ────────────────────────────────────
                              2

        θₜ = θₜ₋₁ − √a · b x
        """,
}


@pytest.mark.parametrize("function", IN_THE_TERMINAL, ids=lambda f: f.__name__)
def test_terminal(function):
    assert terminal(function) == textwrap.dedent(IN_THE_TERMINAL[function]).strip("\n")


def test_latex_of_adam():
    assert latex(adam) == set_in(r"""
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t && \quad \text{biased first moment} \\[6pt]
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 && \quad \text{biased second raw moment} \\[6pt]
        \hat{m}_t &= \frac{m_t}{1 - \beta_1^t} \\[6pt]
        \hat{v}_t &= \frac{v_t}{1 - \beta_2^t} \\[6pt]
        \theta_t &= \theta_{t-1} - \frac{\eta\, \hat{m}_t}{\sqrt{\hat{v}_t} + \epsilon}
        \end{aligned}""")


def test_latex_of_rmsprop():
    assert latex(rmsprop) == set_in(r"""
        \begin{aligned}
        v_t &= \alpha\, v_{t-1} + (1 - \alpha)\, g_t^2 \\[6pt]
        m_t &= \alpha\, m_{t-1} + (1 - \alpha)\, g_t \quad \text{if } \mathrm{centered} \\[6pt]
        \mathrm{spread}_t &= \begin{cases} v_t - m_t^2 & \text{if } \mathrm{centered} \\ v_t & \text{otherwise} \end{cases} \\[6pt]
        u_t &= \frac{g_t}{\sqrt{\mathrm{spread}_t} + \epsilon} \\[6pt]
        b_t &= \mu\, b_{t-1} + u_t \quad \text{if } \mu \neq 0 \\[6pt]
        \theta_t &= \theta_{t-1} - \eta\, \begin{cases} b_t & \text{if } \mu \neq 0 \\ u_t & \text{otherwise} \end{cases}
        \end{aligned}""")  # noqa: E501


def test_plain_adam():
    assert terminal(adam, plain=True) == textwrap.dedent("""\
            m[t] = beta1*m[t-1] + (1 - beta1)*g[t]     biased first moment
            v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2   biased second raw moment
        m_hat[t] = m[t]/(1 - beta1^t)
        v_hat[t] = v[t]/(1 - beta2^t)
        theta[t] = theta[t-1] - eta*m_hat[t]/(sqrt(v_hat[t]) + epsilon)""")


def test_two_dimensions():
    function = write(
        "def f(p, g, t, *, lr=1.0, k=1.0, b=1.0):\n"
        "    x = sqrt(g / (1 - b**t)) + k\n"
        "    y = (g / (1 + k)) ** 2 * (k + b / (1 + k)) - abs(g / (1 - k)) * norm((1 + g) / t)\n"
        "    return p - lr * x * y ** (t / 2)\n"
    )
    assert terminal(function) == set_in("""
                 _______
                ╱   gₜ
        xₜ =   ╱  ────── + k
             ╲╱   1 − bᵗ

             ⎛ gₜ  ⎞² ⎛      b  ⎞   │ gₜ  │ ‖1 + gₜ‖
        yₜ = ⎜─────⎟  ⎜k + ─────⎟ − │─────│ ‖──────‖
             ⎝1 + k⎠  ⎝    1 + k⎠   │1 − k│ ‖  t   ‖

                           t/2
        θₜ = θₜ₋₁ − η xₜ yₜ
        """)


# ------------------------------------------------------------- parentheses, products and numbers

ONE_LINE = {  # source: ASCII, LaTeX
    "a - (b - c)": ("a - (b - c)", r"a - (b - c)"),
    "(a - b) - c": ("a - b - c", r"a - b - c"),
    "a + (b - c)": ("a + (b - c)", r"a + (b - c)"),
    "a + (-b)": ("a + (-b)", r"a + (-b)"),
    "(a / b) / c": ("(a/b)/c", r"\frac{a/b}{c}"),
    "a / (b / c)": ("a/(b/c)", r"\frac{a}{b/c}"),
    "a / b * c": ("(a/b)*c", r"\frac{a}{b}\, c"),
    "a / (b * c)": ("a/(b*c)", r"\frac{a}{b\, c}"),
    "a * (1 - b / c)": ("a*(1 - b/c)", r"a\, (1 - b/c)"),
    "-a**2": ("-a^2", r"-a^2"),
    "(-a)**2": ("(-a)^2", r"(-a)^2"),
    "-a * b": ("-a*b", r"-a\, b"),
    "a * -b": ("a*(-b)", r"a\, (-b)"),
    "-(a + b)": ("-(a + b)", r"-(a + b)"),
    "(a**b)**c": ("(a^b)^c", r"(a^b)^c"),
    "a**(b**c)": ("a^(b^c)", r"a^{b^c}"),
    "a**-b": ("a^(-b)", r"a^{-b}"),
    "sqrt(a)**2": ("(sqrt(a))^2", r"(\sqrt{a})^2"),
    "(a + b) % c": ("(a + b) mod c", r"(a + b) \bmod c"),
    "a * (b % c)": ("a*(b mod c)", r"a\, (b \bmod c)"),
    "2 * 1e-3 * a * 3": ("2*0.001*a*3", r"2 \cdot 0.001\, a \cdot 3"),
    "1e-8 + 2.5e-09 * 3e20": (
        "10^(-8) + 2.5*10^(-9)*(3*10^20)",
        r"10^{-8} + 2.5 \cdot 10^{-9}\, (3 \cdot 10^{20})",
    ),
    "where(not t > 2 or a < b <= c and a != 1, a, b)": (
        "a if not t > 2 or a < b and b <= c and a != 1 else b",
        r"\begin{cases} a & \text{if } \text{not }t > 2 \text{ or } a < b \text{ and } b \leq c"
        r" \text{ and } a \neq 1 \\ b & \text{otherwise} \end{cases}",
    ),
    "(a if b > c else 1) - a": (
        "(a if b > c else 1) - a",
        r"\left( \begin{cases} a & \text{if } b > c \\ 1 & \text{otherwise} \end{cases} \right) - a",
    ),
    "2 * (a / b)": ("2*(a/b)", r"2 \cdot \frac{a}{b}"),
    "b * sqrt(a) * c": ("b*sqrt(a)*c", r"b\, \sqrt{a} \cdot c"),
    "g[0] * a": ("g[0]*a", r"\text{g[0]} \cdot a"),
    "sqrt(matmul(g, transpose(g)))": ("sqrt(g[t] @ g[t]^T)", r"\sqrt{g_t\, g_t^{\top}}"),
    "-(-a)": ("-(-a)", "-(-a)"),
    "floor(t / a) * b": (
        "floor(t/a)*b",
        r"\left\lfloor t/a \right\rfloor\, b",
    ),
    "round(g) + tanh(g) - atan2(g, a)": (
        "round(g[t]) + tanh(g[t]) - atan2(g[t], a)",
        r"\operatorname{round}(g_t) + \tanh(g_t) - \operatorname{atan2}(g_t, a)",
    ),
    "greatest(g) - least(g, keep=0)": (
        "max(g[t]) - min(g[t], keep = 0)",
        r"\max(g_t) - \min(g_t, \mathrm{keep} = 0)",
    ),
    "inverse_root(g, 4) + inverse_root(a * g, 2 * c, b) + inverse_root(g, 2, eps=1e-6)": (
        "g[t]^(-1/4) + (a*g[t] + b*I)^(-1/(2*c)) + (g[t] + 10^(-6)*I)^(-1/2)",
        r"g_t^{-1/4} + (a\, g_t + b\, I)^{-1/(2\, c)} + (g_t + 10^{-6}\, I)^{-1/2}",
    ),
    "solve_triangular(cholesky(g), p) + solve_triangular(g, a * g, False, transposed=True)": (
        "cholesky(g[t])^(-1) @ theta[t-1] + g[t]^(-T) @ (a*g[t])",
        r"\operatorname{cholesky}(g_t)^{-1}\, \theta_{t-1} + g_t^{-\top}\, (a\, g_t)",
    ),
    "solve_triangular(g, p, transposed=a)": (
        "solve_triangular(g[t], theta[t-1], transposed = a)",
        r"\operatorname{solve\_triangular}(g_t, \theta_{t-1}, \mathrm{transposed} = a)",
    ),
    "take(g, argsort(g, axis=-2, descending=True), -1)": (
        "take(g[t], argsort(g[t], axis = -2, descending = True), -1)",
        r"\operatorname{take}(g_t, \operatorname{argsort}(g_t, \mathrm{axis} = -2, \mathrm{descending}"
        r" = \text{True}), -1)",
    ),
    "newton_schulz(g, POLAR_EXPRESS, steps=a)": (
        "newton_schulz(g[t], POLAR_EXPRESS, steps = a)",
        r"\operatorname{newton\_schulz}(g_t, \mathrm{POLAR\_EXPRESS}, \mathrm{steps} = a)",
    ),
    "1 if (a > 1 or b > 1) and not (c > 1 and t > 1) else 2": (
        "1 if (a > 1 or b > 1) and not (c > 1 and t > 1) else 2",
        r"\begin{cases} 1 & \text{if } (a > 1 \text{ or } b > 1) \text{ and } \text{not }(c > 1"
        r" \text{ and } t > 1) \\ 2 & \text{otherwise} \end{cases}",
    ),
    "where(a > 1, 1, where(b > 1, 2, 3))": (
        "1 if a > 1 else 2 if b > 1 else 3",
        r"\begin{cases} 1 & \text{if } a > 1 \\ 2 & \text{if } b > 1 \\ 3 & \text{otherwise} \end{cases}",
    ),
}


@pytest.mark.parametrize("source", ONE_LINE)
def test_one_line(source):
    ascii_line, tex = ONE_LINE[source]
    function = returning(source)
    assert terminal(function, plain=True) == f"theta[t] = {ascii_line}"
    assert latex(function).splitlines()[1:-1] == [rf"\theta_t &= {tex}"]


def names(*identifiers):
    body = "".join(f"    {name} = g + 1\n" for name in identifiers)
    function = write(f"def f(p, g):\n{body}    return p\n")
    lefts = [
        line.split(" = ")[0].split(" &")[0].strip() for line in terminal(function).splitlines()
    ]
    return lefts[:-1], [line.split(" &=")[0] for line in latex(function).splitlines()[1:-2]]


def test_names():
    shown, tex = names(
        "m_hat", "mu_prod", "lr_max", "beta1", "x_2", "weight_sum", "v_sq", "nu_bar", "lam"
    )
    assert shown == ["m̂ₜ", "μ_prodₜ", "η_maxₜ", "β₁,ₜ", "x₂,ₜ", "weight_sumₜ", "v_sqₜ", "ν̄ₜ", "λₜ"]
    assert tex == [
        *(
            r"\hat{m}_t",
            r"\mu_{\mathrm{prod},t}",
            r"\eta_{\mathrm{max},t}",
            r"\beta_{1,t}",
            "x_{2,t}",
        ),
        *(r"\mathrm{weight\_sum}_t", r"v_{\mathrm{sq},t}", r"\bar{\nu}_t", r"\lambda_t"),
    ]


def test_two_variables_never_look_the_same():
    shown, _ = names("momentum", "mu", "eps", "lam", "eta")
    assert shown == ["momentumₜ", "μₜ", "εₜ", "λₜ", "ηₜ"]


def test_what_does_not_change_carries_no_index():
    function = write(
        "def f(p, g, t, *, a=1.0):\n    x = 1 - a\n    y = x**t\n    return p - x * y\n"
    )
    assert terminal(function) == " x = 1 − a\nyₜ = xᵗ\nθₜ = θₜ₋₁ − x yₜ"


def test_notes_that_do_not_fit_and_notes_to_tools():
    source = "def f(p, g):\n    x = g + 1  # noqa: E501\n    y = x + g  # 100% & _more_\n    return p - y\n"
    function = write(source)
    assert r"\text{100\% \& \_more\_}" in latex(function)
    assert "noqa" not in latex(function)
    assert terminal(function, 30).splitlines()[1] == "yₜ = xₜ + gₜ   100% & _more_"
    assert terminal(function, 26).splitlines()[1] == "yₜ = xₜ + gₜ"
    wide = write("def f(p, g):\n    x = g + 1  # 勾配\n    return p - x\n")  # four columns
    assert terminal(wide, 20).splitlines()[0] == "xₜ = gₜ + 1   勾配"
    wide = write("def f(p, g):\n    x = g + 1  # 勾配の和\n    return p - x\n")
    assert terminal(wide, 20).splitlines()[0] == "xₜ = gₜ + 1"


# ------------------------------------------------------------------- what is shown is what is done

operators = st.sampled_from(["+", "-", "*", "/", "%"])
leaves = st.sampled_from(["p", "g", "a", "b", "c", "t", "2", "0.5"])
exponents = st.sampled_from(["2", "3", "-1", "(2**2)", "(1 + 1)"])


def compound(inner, modulo=True):
    signs = operators if modulo else operators.filter("%".__ne__)
    return st.one_of(
        st.builds("({} {} {})".format, inner, signs, inner),
        st.builds("({} {} {})".format, inner, signs, inner),
        st.builds("({} ** {})".format, inner, exponents),
        st.builds("(-{})".format, inner),
        st.builds("abs({})".format, inner),
        st.builds("sqrt(abs({}))".format, inner),
    )


def conditional(inner):
    condition = st.builds("{} {} {}".format, inner, st.sampled_from(["<", ">=", "=="]), inner)
    both = st.builds("({} or not {} and {})".format, condition, condition, condition)
    return compound(inner) | st.builds("({} if {} else {})".format, inner, condition | both, inner)


VALUES = {"p": -0.75, "g": 1.25, "t": 3, "a": 1.5, "b": 2.0, "c": 3.0}
SHOWN = VALUES | {"theta": [0, 0, VALUES["p"]], "G": {3: VALUES["g"]}, "sqrt": math.sqrt}


def value(source, **variables):
    try:
        result = eval(source, variables)
    except (ZeroDivisionError, OverflowError) as error:
        return type(error)
    return "nan" if result != result else result


def from_plain(line):
    """A line of ASCII as Python source."""
    line = line.replace("^", "**").replace(" mod ", " % ")
    return re.sub(r"(?<![<>!=])=(?!=)", "==", line.replace(">=", "≥")).replace("≥", ">=")


@settings(deadline=None, max_examples=200)
@given(st.recursive(leaves, conditional, max_leaves=12), st.integers(20, 60))
def test_the_ascii_line_means_the_source(source, width):
    function = returning(source)
    shown = (
        terminal(function, 10**6, plain=True).removeprefix("theta[t] = ").replace("g[t]", "G[t]")
    )
    expected = value(source, sqrt=math.sqrt, **VALUES)
    assert value(from_plain(shown), **SHOWN) == expected
    broken = " ".join(line.strip() for line in terminal(function, width, plain=True).split("\n"))
    assert broken.replace(" ", "").replace("g[t]", "G[t]") == f"theta[t]={shown}".replace(" ", "")


def from_latex(tex):
    """LaTeX of the operations above as Python source."""
    tex = tex.replace(r"\left| ", "abs(").replace(r" \right|", ")")
    for old, new in ((r"\left(", "("), (r"\right)", ")"), (r"\,", "*"), (r"\cdot", "*")):
        tex = tex.replace(old, new)

    def argument(rest):
        if rest[0] != "{":
            return rest[0], rest[1:]
        depth = list(itertools.accumulate((c == "{") - (c == "}") for c in rest))
        end = depth.index(0)
        return convert(rest[1:end]), rest[end + 1 :]

    def convert(rest):
        head, mark, rest = re.match(
            r"((?:(?!\\frac|\\sqrt|\^).)*)(\\frac|\\sqrt|\^|$)(.*)", rest
        ).groups()
        if not mark:
            return head
        first, rest = argument(rest)
        if mark == "^":
            return f"{head}**({first}){convert(rest)}"
        if mark == r"\sqrt":
            return f"{head}sqrt({first}){convert(rest)}"
        second, rest = argument(rest)
        return f"{head}(({first})/({second})){convert(rest)}"

    return convert(tex.replace(r"\theta_{t-1}", "p").replace("g_t", "g"))


@settings(deadline=None, max_examples=200)
@given(st.recursive(leaves, lambda inner: compound(inner, modulo=False), max_leaves=12))
def test_the_latex_means_the_source(source):
    tex = latex(returning(source)).splitlines()[1].removeprefix(r"\theta_t &= ")
    shown = value(from_latex(tex), sqrt=math.sqrt, **VALUES)
    assert shown == value(source, sqrt=math.sqrt, **VALUES)


@st.composite
def programs(draw):
    """A rule's source: assignments, early returns and ifs on the switches s and k."""
    variables = ["p", "g", "m", "v", "x"]
    operand = st.sampled_from([*variables, "a", "2"])

    def statements(indent, depth):
        lines = []
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["assign", "assign", "alias", "if", "if-else", "return"]))
            if kind == "assign":
                left, right = draw(operand), draw(operand)
                sign = draw(st.sampled_from(["+", "-", "*"]))
                lines.append(f"{draw(st.sampled_from(variables))} = {left} {sign} {right}")
            elif kind == "alias":
                lines.append(
                    f"{draw(st.sampled_from(variables))} = {draw(st.sampled_from(variables))}"
                )
            elif depth < (1 if kind == "return" else 2):
                lines.append(f"if {draw(st.sampled_from(['s', 'k', 'not s', 's and not k']))}:")
                lines += statements("    ", depth + 1)
                if kind == "if-else":
                    lines += ["else:", *statements("    ", depth + 1)]
                elif kind == "return":
                    lines.append("    return p * x - g, m, x")
        return [indent + line for line in lines or ["pass"]]

    body = ["x = g + m", *statements("", 0), "return p - x + g, m, v"]
    head = "def f(p, g, m, v, *, a=3, s=False, k=0.5):"
    return "\n".join([head, *(f"    {line}" for line in body), ""])


@settings(deadline=None, max_examples=200)
@given(programs(), st.booleans(), st.sampled_from([0, 0.5]))
def test_the_equations_compute_what_the_function_does(source, s, k):
    function = write(source)
    known = {"theta[t-1]": 2, "g[t]": 3, "m[t-1]": 5, "v[t-1]": 7, "a": 3, "s": s, "k": k}
    equations = {}
    for line in terminal(function, 10**6, plain=True).splitlines():
        target, shown = line.strip().split(" = ", 1)
        shown, _, condition = shown.partition("   if ")
        assert target not in equations
        equations[target] = shown, condition or "True"

    def look_up(name):
        if name in known:
            return known[name]
        shown, condition = equations[name]
        if not compute(condition):  # a slot that this branch leaves alone
            return look_up(re.match(r"[a-z]+", name)[0] + "[t-1]")
        return compute(shown)

    def compute(shown):
        keyword = r"(?:if|else|and|or|not|True)\b"
        shown = re.sub(rf"\b(?!{keyword})[a-z]+'*(\[[t1-]+\])?", r'look_up("\g<0>")', shown)
        return eval(from_plain(shown), {"look_up": look_up})

    computed = tuple(compute(name) for name in ("theta[t]", "m[t]", "v[t]"))
    assert computed == function(2, 3, 5, 7, s=s, k=k)


# --------------------------------------------------------------------- what a terminal can display


@settings(deadline=None, max_examples=100)
@given(st.recursive(leaves, conditional, max_leaves=20), st.integers(20, 100))
def test_never_wider_than_the_terminal(source, width):
    function = write(
        f"def f(p, g, t, *, a=1.5, b=2.0, c=3.0):\n"
        f"    m_hat = {source}\n    a_very_long_name_of_a_variable = m_hat + {source}\n"
        f"    return p - a_very_long_name_of_a_variable, 1\n"
    )
    for plain in (False, True):
        for line in terminal(function, width, plain=plain).splitlines():
            marks = [c for c in line if unicodedata.combining(c)]
            assert all(unicodedata.east_asian_width(c) not in "WF" for c in line)
            assert len(line) - len(marks) <= width
            assert not plain or line.isascii()


def test_breaking():
    assert terminal(schedule_free, 50).endswith("""

         θₜ = θₜ₋₁ + cₜ (zₜ₋₁ − θₜ₋₁)
              − η (1 − β₁ (1 − cₜ)) dₜ

         zₜ = zₜ₋₁ − η dₜ""")
    assert terminal(cautious, 34).endswith("""
    θₜ = θₜ₋₁
                 agreeₜ · uₜ
         − ───────────────────────
           max(mean(agreeₜ), 10⁻⁵)""")
    assert terminal(cautious, 30).endswith("""
    θₜ = θₜ₋₁
         − agreeₜ · uₜ/
         max(mean(agreeₜ),
         10⁻⁵)""")
    assert terminal(schedule_free, 28, plain=True).endswith("""
     theta[t] = theta[t-1]
                + c[t]*
                (z[t-1] -
                theta[t-1])
                - eta*(1 -
                beta1*(1 -
                c[t]))*d[t]

         z[t] = z[t-1]
                - eta*d[t]""")


@pytest.mark.parametrize("function", [f for f in IN_THE_TERMINAL if f is not words])
def test_every_line_of_latex_is_understood(function):
    """By matplotlib's parser, which knows no alignment, no cases and no \\bmod."""
    parser = pytest.importorskip("matplotlib.mathtext").MathTextParser("path")
    for line in latex(function).splitlines()[1:-1]:
        line = re.sub(r"\\\\\[6pt\]|\\(begin|end)\{cases\}", "", line).replace(r"\bmod", "m")
        for part in filter(str.strip, re.split(r"\\\\|&", line)):
            parser.parse(f"${part} $")


def test_a_mean_along_an_axis_and_what_no_step_changes():
    function = write(
        "def f(p, g, r, *, lr=1.0, ns_a=1.0, eps1=0.0, lambd=0.0):\n"
        "    r = lambd * r + mean(g**2, axis=-1)\n"
        "    rows = size(p, -2)\n"
        "    scale = sqrt(rows) * ns_a + eps1 * epsilon(p)\n"
        "    return p - lr * scale * r, r\n"
    )
    assert terminal(function) == set_in("""
           rₜ = λ rₜ₋₁ + mean(gₜ², axis = −1)
         rows = size(θ, −2)
        scale = √rows · a + ε₁ epsilon(θ)
           θₜ = θₜ₋₁ − η · scale · rₜ
    """)
    assert r"\operatorname{mean}(g_t^2, \mathrm{axis} = -1)" in latex(function)


def test_powers_of_matrices_and_whole_numbers_in_the_terminal():
    function = write(
        "def f(p, g, l, t, *, lr=1.0, eps=0.0, k=5, beta=0.9):\n"
        "    l = l + matmul(g, transpose(g))\n"
        "    u = inverse_root(l, 4, eps) @ solve_triangular(l, g, transposed=True)\n"
        "    n = floor(t / k) * round(g) + floor(g / (1 - beta))\n"
        "    return p - lr * n * u / greatest(abs(g)), l\n"
    )
    assert terminal(function) == set_in("""
        lₜ = lₜ₋₁ + gₜ gₜᵀ

                       −1/4
        uₜ = (lₜ + ε I)     (lₜ⁻ᵀ gₜ)

                               ⎢ gₜ  ⎥
        nₜ = ⌊t/k⌋ round(gₜ) + ⎢─────⎥
                               ⎣1 − β⎦

                     η nₜ uₜ
        θₜ = θₜ₋₁ − ─────────
                    max(|gₜ|)
    """)


# ------------------------------------------------------------------ what is not an equation; errors


def test_other_python_is_shown_as_it_is_written():
    function = write(
        "def f(p, g, m, *, lr=1.0):\n"
        "    x = 0.50 * g[0] + sum(m, where=0)\n"
        "    for i in range(3):\n"
        "        x = x + {1: 'a_b'}[i]\n"
        "    (q, r) = qr(x)\n"
        "    return other(p, q, r, lr)\n"
    )
    assert terminal(function) == set_in("""
             x′ₜ = 0.5 g[0] + sum(m, where=0)
        for i in range(3):
            x = x + {1: 'a_b'}[i]
        (qₜ, rₜ) = qr(xₜ)
        (θₜ, mₜ) = other(θₜ₋₁, qₜ, rₜ, η)
        """)
    assert r"& \text{~~~~x = x + \{1: 'a\_b'\}[i]} \\" in latex(function)


@pytest.mark.parametrize("module", [heapq, statistics, textwrap])
def test_any_function_can_be_shown(module):
    for _, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__:
            assert latex(function)
            assert terminal(function, 40)


@pytest.mark.parametrize("show", [latex, terminal])
def test_without_source(show):
    namespace = {}
    exec("def typed_in(p, g):\n    return p - g\n", namespace)
    with pytest.raises(ValueError, match=r"source of typed_in cannot be found: it was typed"):
        show(namespace["typed_in"])
    with pytest.raises(ValueError, match="written with def has a source to show, got <lambda>"):
        show(lambda p, g: p - g)
    with pytest.raises(TypeError, match="from a Python function, got 3"):
        show(3)


def test_width():
    with pytest.raises(ValueError, match="width must be at least 20 columns, got 19"):
        terminal(adam, 19)


def test_methods_and_wrapped_functions():
    class Rules:
        def sgd(self, p, g, *, lr=0.1):
            return p - lr * g

    def wrapper(*args):
        raise AssertionError

    wrapper.__wrapped__ = momentum
    with pytest.raises(ValueError, match="momentum has no equations: it is wrapped by a decorator"):
        latex(wrapper)
    assert "\\theta_{t-1} - \\eta\\, g_t" in latex(Rules.sgd)


def test_parts_of_tuples_carry_an_index():
    f = write(
        "def f(p, g, b, *, lr=0.1, betas=(0.0, 0.9)):\n"
        "    b = tuple(beta * x + g for beta, x in zip(betas, b))\n"
        "    hats = [x / 2 for x in b]\n"
        "    return p - lr / len(b) * sum(x * x for x in hats), b\n"
    )
    assert [line.strip() for line in terminal(f, plain=True).splitlines()] == [
        "b[i,t] = beta[i]*b[i,t-1] + g[t]",
        "hat[i,t] = b[i,t]/2",
        "theta[t] = theta[t-1] - (eta/n)*sum_i(hat[i,t]*hat[i,t])",
    ]
    assert r"b_{i,t} &= \beta_i\, b_{i,t-1} + g_t" in latex(f)
