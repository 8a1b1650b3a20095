"""The source that is shown is that of the code that runs, or it is refused."""

import functools
import importlib
import linecache
import subprocess
import sys
import types

import pytest

from ravine import RuleError, modifier, registry, rule
from ravine.reading.about import source
from ravine.reading.equations import latex, terminal
from ravine.rules import adam
from ravine.sources import source_of

FILE = """from ravine import rule

@rule
def r(p, g, *, lr=0.1):
    return p - {} * lr * g
"""


def test_a_file_that_is_edited_after_the_rule_was_made(tmp_path):
    file = tmp_path / "edited.py"
    file.write_text(FILE.format(1))
    old = registry.get(f"{file}:r")
    assert not source(old.function).startswith("#")
    file.write_text("# a new first line\n" + FILE.format(55))
    assert source(old.function) == (
        "# edited.py has changed since; this is what runs\n"
        "def r(p, g, *, lr=0.1):\n    return p - 1 * lr * g\n"
    )
    assert "1 \\cdot" in latex(old.function) or "1" in latex(old.function)
    assert "55" not in latex(old.function) + terminal(old.function)
    new = registry.get(f"{file}:r")
    assert source(new.function).endswith("return p - 55 * lr * g\n")
    assert not source(new.function).startswith("#")
    file.unlink()
    assert source(old.function).endswith("return p - 1 * lr * g\n")


def test_a_function_of_no_rule_whose_file_was_edited_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "not_kept.py"
    file.write_text(FILE.format(1).replace("@rule\n", ""))
    monkeypatch.syspath_prepend(tmp_path)
    function = importlib.import_module("not_kept").r
    file.write_text(FILE.format(55).replace("@rule\n", ""))
    with pytest.raises(ValueError, match=r"source of r cannot be found: .*not_kept.py has changed"):
        source(function)


def test_an_error_quotes_the_line_that_ran(tmp_path):
    file = tmp_path / "branching.py"
    text = (
        "from ravine import rule\n\n@rule\ndef r(p, g, *, lr=0.1):\n    return p if g > 0 else g\n"
    )
    file.write_text(text)
    made = registry.get(f"{file}:r")
    file.write_text(text.replace("g > 0", "p < 9"))
    linecache.checkcache()
    from ravine.engines.tracing import trace

    with pytest.raises(RuleError, match=r"branching.py:5, `return p if g > 0 else g`"):
        trace(made)


def test_code_that_is_changed_in_place_has_its_new_source(tmp_path):
    """As IPython's autoreload changes it."""
    file = tmp_path / "reloaded.py"
    file.write_text(FILE.format(1))
    made = registry.get(f"{file}:r")
    file.write_text(FILE.format(7))
    made.function.__code__ = registry.get(f"{file}:r").function.__code__
    assert source(made.function).endswith("return p - 7 * lr * g\n")


def doubled(function):
    @functools.wraps(function)
    def wrapper(p, g, **hyper):
        return function(p, 2 * g, **hyper)

    return wrapper


@rule
@doubled
def decorated(p, g, *, lr=0.1):
    """Decorated."""
    return p - lr * g


def test_a_decorated_function_is_shown_as_decorated():
    assert decorated(0.0, 1.0) == -0.2
    assert source(decorated.function) == (
        "@rule\n@doubled\ndef decorated(p, g, *, lr=0.1):\n    return p - lr * g\n"
    )
    for show in (latex, terminal):
        with pytest.raises(
            ValueError, match="decorated has no equations: it is wrapped by a decorator"
        ):
            show(decorated.function)


def test_show_says_why_there_are_no_equations(tmp_path):
    file = tmp_path / "decorating.py"
    head = "import functools\nfrom ravine import rule\n\n"
    body = (
        "def doubled(f):\n    @functools.wraps(f)\n    def wrapper(p, g, **hyper):\n"
        "        return f(p, 2 * g, **hyper)\n    return wrapper\n\n"
        "@rule\n@doubled\ndef r(p, g, *, lr=0.1):\n    return p - lr * g\n\n"
        "unnamed = rule(lambda p, g, *, lr=0.1: p - lr * g)\n"
    )
    file.write_text(head + body)
    command = [sys.executable, "-m", "ravine", "show"]
    shown = subprocess.run([*command, f"{file}:r"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "@doubled\ndef r(p, g" in shown.stdout
    assert "r has no equations: it is wrapped by a decorator" in " ".join(shown.stdout.split())
    shown = subprocess.run([*command, f"{file}:unnamed"], capture_output=True, text=True)
    assert shown.returncode != 0
    assert "written with def has a source to show, got <lambda>" in " ".join(shown.stderr.split())


def test_what_is_made_in_a_loop_by_a_modifier_and_inside_of_functions():
    made = []
    for k in (1, 2):

        @rule
        def looped(p, g, *, lr=0.1):
            return p - k * lr * g  # noqa: B023

        made.append(looped)
    assert source(made[0].function) == source(made[1].function)
    assert source(made[0].function).startswith("def looped(p, g, *, lr=0.1):\n    return p - k *")

    @modifier
    def halved(step, p, g):
        return step(p, g / 2)

    stack = halved(adam)
    assert [source(f).split("(")[0] for f in stack.sources] == ["def halved", "def adam"]


FURTHER_OUT = '''from ravine import rule

def make():
    @rule
    def written(p, g, *, lr=0.1):
        """Begin.

At the margin.
        """
        x = g
#       x = 2 * g
        return (p -
lr * x)
    return written
'''


def test_lines_may_begin_further_out_than_the_function(tmp_path, monkeypatch):
    (tmp_path / "further_out.py").write_text(FURTHER_OUT)
    monkeypatch.syspath_prepend(tmp_path)
    import further_out

    made = further_out.make()
    text = source_of(made.function).text
    assert text.startswith("@rule\ndef written")
    assert "\n#       x = 2 * g\n    return (p -\nlr * x)\n" in text
    assert terminal(made.function).splitlines()[-1].startswith("θₜ = θₜ₋₁ − η ")


def test_lambdas_and_what_exec_made_are_refused():
    with pytest.raises(ValueError, match="written with def has a source to show, got <lambda>"):
        source(rule(lambda p, g, *, lr=0.1: p - lr * g).function)
    space = {}
    exec("def typed(p, g, *, lr=1.0):\n    return p - lr * g", space)
    with pytest.raises(
        ValueError, match="source of typed cannot be found: it was typed at a prompt"
    ):
        source(rule(space["typed"]).function)
    # Compiled as if it stood here, where another text stands.
    exec(compile("\n\ndef typed(p, g, *, lr=1.0):\n    return p - lr * g", __file__, "exec"), space)
    with pytest.raises(ValueError, match="source of typed cannot be found"):
        source(rule(space["typed"]).function)


def test_what_is_no_function_is_no_rule():
    for thing in (functools.partial(decorated.function, lr=1.0), len, type("C", (), {})().__init__):
        with pytest.raises(RuleError, match="a rule is made from a function"):
            rule(thing)


def cell(text, file, space, flags=0):
    """Run it as IPython runs a cell: kept in linecache, statement by statement."""
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file, "exec", flags, dont_inherit=True), space)


def test_a_cell_of_a_notebook_that_is_run_again():
    import __future__

    space = vars(types.ModuleType("notebook"))
    cell("from ravine import rule\n", "<cell 1>", space)
    text = "@rule\ndef r(p: Any, g, *, lr=0.1):\n    return p - {} * lr * g\n"
    flags = __future__.annotations.compiler_flag  # of an earlier cell
    cell(text.format(1), "<cell 2>", space, flags)
    first = space["r"]
    cell(text.format(5), "<cell 3>", space, flags)
    assert source(first.function).endswith("return p - 1 * lr * g\n")
    assert source(space["r"].function).endswith("return p - 5 * lr * g\n")
    cell(text.format(9), "<cell 3>", space, flags)
    assert source(space["r"].function).endswith("return p - 9 * lr * g\n")


@pytest.mark.parametrize("name", registry.names())
def test_every_rule_has_a_source(name):
    made = registry.get(name)
    for function in made.sources:
        found = source_of(function)
        assert found.definition.name == function.__name__
        assert not found.file


def test_in_a_real_notebook():
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell()\n"
        "shell.run_cell('from ravine import rule')\n"
        "for k in (1, 5):\n"
        "    shell.run_cell(f'''@rule\\ndef r(p, g, *, lr=0.1):\\n    return p - {k} * lr * g\\n'''"
        ", store_history=True)\n"
        "    shell.run_cell('old = r') if k == 1 else None\n"
        "from ravine.reading.about import source\n"
        "print(source(shell.user_ns['old'].function).splitlines()[-1].strip())\n"
        "print(source(shell.user_ns['r'].function).splitlines()[-1].strip())\n"
    )
    assert interactive
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[-3:] == ["return p - 1 * lr * g", "return p - 5 * lr * g", ""], (
        done.stdout + done.stderr
    )
