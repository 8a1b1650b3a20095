"""The documentation: every snippet runs, every output shown is what comes out, the site builds.

Python blocks of a page share a namespace and run in order. A block with a file's name as its title
is saved under that name first. A `text` block right after a block is its output, in which … stands
for anything; with an exception's name as its title, it is the error that the block must raise.
A block that is not meant to run has a title beginning with "Not run".

In `sh` blocks, each `ravine` command must be one that the command line accepts. It is run too,
except for races and benchmarks without --epochs, which take too long, and a page that is served.
"""

import contextlib
import io
import linecache
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import pytest

import ravine
from ravine import cli, modifiers, registry
from ravine.engines.tracing import trace
from ravine.experiments.diamonds import PUBLISHED, floor

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts/docs"), str(ROOT / "scripts")]
import gallery  # noqa: E402
import make_gallery  # noqa: E402
import maths  # noqa: E402
import pages  # noqa: E402
import prose  # noqa: E402

FENCE = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = [f"optimizers/{name}.md" for name in (*registry.names(), "modifiers")]


def written(path):
    return path.relative_to(ROOT).as_posix()


class Page:
    """Runs a page's blocks in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.names = {"__name__": "__main__", "signal": ravine.signal}  # in sources of rules

    def python(self, source, title):
        path = self.folder / (title if title.endswith(".py") else "page.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        if title.endswith(".py"):
            sys.path.insert(0, str(path.parent))
        linecache.checkcache(str(path))
        exec(compile(source, path, "exec"), self.names)

    def sh(self, source, title):
        for line in source.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["ravine"]:
                self.command(words[1:])

    def command(self, words):
        with contextlib.redirect_stdout(io.StringIO()):
            assert code([*words, "--help"]) == 0, words
        serves = words[0] == "explore" and "--out" not in words
        if not serves and (words[0] not in ("race", "bench") or "--epochs" in words):
            assert code(words) == 0, words


def code(words):
    """Run `ravine` with these words, and return its exit code."""
    with (
        mock.patch.object(sys, "argv", ["ravine", *words]),
        mock.patch.dict(os.environ, {"COLUMNS": "80"}),
        pytest.raises(SystemExit) as ended,
    ):
        sys.exit(cli.main())
    return ended.value.code or 0


def matches(shown, real):
    pattern = ".*".join(map(re.escape, clean(shown).split("…")))
    return re.fullmatch(pattern, clean(real), re.DOTALL)


def clean(text):
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def run(text, folder):
    """Run all blocks of a page; return how many ran."""
    page, ran = Page(folder), 0
    blocks = [match.groups(default="") for match in FENCE.finditer(text)]
    for (language, title, source), (after, error, shown) in zip(
        blocks, [*blocks, ("", "", "")][1:], strict=True
    ):
        if language not in ("python", "sh") or title.startswith("Not run"):
            continue
        stdout, raised = io.StringIO(), ""
        try:
            with contextlib.redirect_stdout(stdout):
                getattr(page, language)(source, title)
        except Exception as e:
            if not (after == "text" and error == type(e).__name__):
                raise
            raised = str(e)
            assert matches(shown, raised), f"{source}\nraised: {raised}"
        assert bool(raised) == bool(after == "text" and error), f"{source}\ndid not raise {error}"
        if after == "text" and not error:
            assert matches(shown, stdout.getvalue()), f"{source}\nprinted:\n{stdout.getvalue()}"
        ran += 1
    return ran


@cache
def made_pages():
    """All generated pages, made once in each process of the tests."""
    return pages.pages()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("path", WRITTEN, ids=written)
def test_snippets(path, folder):
    if path.stem == "use-jax":
        pytest.importorskip("optax", reason="optax is not installed; the extra optax brings it")
    run(path.read_text(), folder)


@pytest.mark.parametrize("path", GENERATED)
def test_generated_snippets(path, folder):
    assert run(made_pages()[path], folder)


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("```python\n1 / 0\n```", ZeroDivisionError),
        ("```python\nprint(1)\n```\n\n```text\n2\n```", AssertionError),
        ('```python\nint("x")\n```\n\n```text title="ValueError"\nother\n```', AssertionError),
        ('```python\n1\n```\n\n```text title="ValueError"\n…\n```', AssertionError),
        ("```sh\nravine lsit\n```", AssertionError),
        ("```sh\nravine race --no-such-option\n```", AssertionError),
        ("```sh\nravine show adma\n```", AssertionError),
    ],
)
def test_a_wrong_page_is_noticed(page, fault, folder):
    with pytest.raises(fault):
        run(page, folder)


def test_what_a_page_may_do(folder):
    page = """
```python title="named.py"
x = 1
```

```python
from named import x
print(x, "and then", x)
```

```text
1 …
```

```python title="Not run: it cannot"
1 / 0
```
"""
    assert run(page, folder) == 2


# ---- the site ----------------------------------------------------------------------------------


class Links(HTMLParser):
    """Collects what a page fetches, and its text."""

    def __init__(self):
        super().__init__()
        self.fetched, self.text, self.mathml = [], [], 0

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "link" and values.get("rel") not in ("next", "prev", "canonical"):
            self.fetched.append(values.get("href"))
        if tag in ("script", "img", "iframe", "source") and "src" in values:
            self.fetched.append(values["src"])
        self.mathml += tag == "math"

    def handle_data(self, text):
        self.text.append(text)


def test_the_site(tmp_path):
    """It builds without warnings, holds all pages, and needs nothing from outside."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    expected = {written(path).removeprefix("docs/") for path in WRITTEN[1:]} | {*made_pages()}
    names.remove("assets/explorer.html")  # tests/explorer
    others = {"404.html", "decision/report.html"}
    assert names == {name.replace(".md", ".html") for name in expected} | others
    home = (tmp_path / "optimizers/index.html").read_text()
    for name in names - {"404.html"}:
        page = Links()
        page.feed((tmp_path / name).read_text())
        for address in page.fetched:
            assert not re.match(r"(https?:)?//", address), f"{name} fetches {address}"
            if not address.startswith("data:"):
                file = (tmp_path / name).parent / address.partition("#")[0]
                assert file.resolve().exists(), address
        assert "\\begin{" not in " ".join(page.text) or name in ("tutorial.html",), name
        assert page.mathml or not re.fullmatch(r"optimizers/(?!index|elsewhere).*", name), name
        if name.startswith("optimizers/"):
            assert f'href="{Path(name).name}"' in home, f"{name} is not in the navigation"
    assert (tmp_path / "lessons/formulas.pdf").read_bytes().startswith(b"%PDF")
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text()), sheet


def test_the_corrections_have_the_posts_numbers():
    text = (ROOT / "docs/corrections.md").read_text()
    for method, (_, rmse) in PUBLISHED.items():
        assert re.search(rf"\| {method} \| {rmse!r} \|", text), method
    least_squares, best_line, mean_price = (row["test_rmse"] for row in floor())
    for number in (f"{least_squares:.4f}", f"{best_line:.4f}", f"{mean_price:,.0f}"):
        assert number in text


# ---- how pages are made ------------------------------------------------------------------------


def test_frames_show_the_explorer_in_states_of_their_own():
    chapters = {path: text for path, text in made_pages().items() if path.startswith("lessons/")}
    assert len(chapters) == 12
    framed = [path for path, text in chapters.items() if '<iframe class="explorer"' in text]
    assert framed == [path for path in chapters if path != "lessons/12_which.md"]
    faults = chapters["lessons/11_faults.md"]
    assert 'src="../assets/explorer.html#embed=1&amp;fault=1"' in faults
    assert "explore(" not in faults, "the call stands in the notebook alone"
    assert '<details class="code" markdown="1"><summary>Code of the figure</summary>' in faults
    frame = '<iframe class="explorer" src="../assets/explorer.html#embed=1&amp;rule='
    assert frame + "adam&amp;land=ravine" in made_pages()["optimizers/adam.md"]
    assert frame + "muon&amp;land=matrix" in made_pages()["optimizers/muon.md"]
    assert "<iframe" not in made_pages()["optimizers/soap.md"], "the explorer has not got it"


def test_a_rules_page_says_all_of_it():
    for name, rule in registry.rules().items():
        page = pages.rule_page(rule)
        for h in rule.hyperparameters.values():
            assert f"| `{h.name}` | `{h.default}` | {prose.plain(h.meaning)} |" in page
        of_numbers = not trace(rule).of_arrays
        assert (f"ravine show {name} --worked 3" in page) == of_numbers
        assert "arXiv:" not in rule.at or "(https://arxiv.org/abs/" in page
    assert "With `centered`: `v`, `m`: 8 bytes" in pages.rule_page(registry.get("rmsprop"))
    assert (
        "`r`: one number per row; `c`: one number per column; m + n numbers for a matrix"
        in pages.rule_page(registry.get("adafactor"))
    )
    assert "; `v` starts at v0." in pages.rule_page(registry.get("adagrad"))
    assert "none: 0 bytes per parameter." in pages.rule_page(registry.get("sgd"))
    assert "\n- **Graves 2013**: eps 1e-4 inside the root" in pages.rule_page(
        registry.get("rmsprop")
    )


def test_the_gallery_has_every_rule_as_it_is_now():
    """If this fails: python scripts/make_gallery.py --stale."""
    assert make_gallery.stale(gallery.measured()) == []
    assert all("speed" in facts for facts in gallery.measured().values())


def test_where_it_fails_is_what_was_measured():
    rule = registry.get("adam")
    page = "\n\n".join(gallery.trials(rule))
    facts = gallery.measured()["adam"]["trials"]
    failed = [name for name, one in facts.items() if one["steps"] is None]
    assert failed
    names = gallery.listed(f"*{name}*" for name in failed)
    assert f"It does not reach the target on {names}." in page
    for name, one in facts.items():
        steps = "–" if one["steps"] is None else one["steps"]
        assert re.search(rf"^\| \*\*{name}\*\*: .* \| {steps} \| {one['lr']:g} \|", page, re.M)
    assert f'PROBLEMS["{failed[0]}"]' in page
    assert page.count("curve failed") == len(failed)


def test_other_packages_optimizers_lead_to_their_rules():
    page = made_pages()["optimizers/elsewhere.md"]
    assert (
        "| `timm.optim.Lamb` | `max_grad_norm=None, always_adapt=True` | [`lamb`](lamb.md) |"
        in page
    )
    for name, rule in registry.own().items():
        assert page.count(f"[`{name}`]({name}.md)") == len(rule.card.witnesses)


def test_every_modifier_and_every_command_is_there():
    made = made_pages()
    for name in modifiers.__all__:
        assert f"\n## {name}\n" in made["optimizers/modifiers.md"]
    commands = made["reference/command-line.md"]
    assert re.findall(r"^## (.*)$", commands, re.MULTILINE)[:5] == [
        "ravine",
        "ravine list",
        "ravine show",
        "ravine explore",
        "ravine which",
    ]
    for row in (
        "| `--set NAME=VALUE` | Set a hyperparameter. |  |",
        "| `--start NUMBER` | The parameter before the first worked step. | `1.0` |",
        "| `--epochs N` | Maximum number of epochs. | 10000 |",
    ):
        assert row in commands


def test_docstrings_become_markdown():
    made = prose.markdown(
        """Do it: <p> * q, __init__ and `a_b`. See :func:`other`.

        beta, eps: floats. size: how many; name: is no argument. Raises ValueError if not.

            x = 1

            y = 2

        >>> f(1)
        2
        """.replace("\n        ", "\n"),
        ["beta", "eps", "size"],
        "pkg.{}".format,
    )
    link = '<autoref optional identifier="pkg.other"><code>other</code></autoref>'
    assert made == (
        f"Do it: &lt;p> \\* q, \\_\\_init\\_\\_ and `a_b`. See {link}.\n\n"
        "- `beta, eps`: floats.\n- `size`: how many; name: is no argument.\n\n"
        "Raises ValueError if not.\n\n```text\nx = 1\n\ny = 2\n```\n\n```pycon\n>>> f(1)\n2\n```"
    )


def test_formulas():
    inline = maths.typeset('<p><span class="arithmatex">\\(a &lt; b\\)</span></p>')
    assert "<mo>&#x0003C;</mo>" in inline
    assert "arithmatex" not in inline
    alone = maths.formula(
        r"\begin{aligned} \mathrm{rows} &= x && \quad \text{a note} \end{aligned}"
    )
    assert "<mi>rows</mi>" in alone
    assert '<span class="note">a note</span>' in alone
    assert "<mi>max_norm</mi>" in maths.formula(r"\mathrm{max\_norm}")
    assert "<mi>step</mi>" in maths.formula(r"\operatorname{step}(x)")
    with pytest.raises(ValueError, match=r"\\nonsense x"):
        maths.formula(r"\nonsense x")


def test_aligned_lines_become_rows():
    made = maths.formula(
        r"""\begin{aligned}
        a &= \begin{cases} b & \text{if } c \\ d & \text{otherwise} \end{cases} && \quad \text{x\_y} \\[6pt]
        & \text{for i in z}
        \end{aligned}"""
    )
    assert made.count("<div>") == 2
    assert '<span class="note">x_y</span>' in made
    assert '<mtable class="cases">' in made
    assert made.count("<mtr>") == 2
    assert '<div><span></span><span class="note">for i in z</span></div>' in made


def test_the_formula_sheet_is_one_page_with_every_rule_of_the_lesson():
    import formulas

    page = formulas.sheet()
    assert len(re.findall(rb"/Type /Page\b", page)) == 1
    assert page == formulas.sheet()
    assert formulas.lines("sgd") == [r"$\theta_t = \theta_{t-1} - \eta\, g_t$"]
    first, _ = formulas.lines("momentum")
    assert r"\;\mathrm{if \;} t = 1,\;\;" in first, "a choice is on one line"
    friends = {"adagrad", "adadelta", "adamax", "nadam", "amsgrad"}
    named = {name for column in formulas.COLUMNS for name in column}
    assert friends | {"sgd", "momentum", "rmsprop", "adam"} <= named
    with (
        mock.patch.object(formulas, "HEIGHT", 6),
        pytest.raises(ValueError, match="is below the end of the page"),
    ):
        formulas.draw()


def test_the_page_of_claims_has_every_claim_and_its_verdict_by_the_rule():
    from ravine.experiments.claims import CLAIMS
    from ravine.experiments.claims.judging import (
        CONTRADICTS,
        RULE,
        SUPPORTS,
        UNDECIDED,
        decide,
    )

    page = (ROOT / "docs/claims.md").read_text()
    rows = re.findall(r"^\| \*\*(.*?)\.\*\* (.*?) \| (\d+), (\d+), (\d+) \| (.*?) \|", page, re.M)
    assert len(rows) == len(CLAIMS)
    for claim, source, *counts, verdict in rows:
        outcomes = zip((SUPPORTS, UNDECIDED, CONTRADICTS), map(int, counts), strict=True)
        made = [{"outcome": outcome} for outcome, count in outcomes for _ in range(count)]
        assert decide(made) == verdict, claim
        assert source.startswith("Tuychiev 2024: “")
    assert RULE.count("at least three quarters") == page.count("at least three quarters")
