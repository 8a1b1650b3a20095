"""Files and modules of one's own: run as an import would, each by itself."""

import logging
import subprocess
import sys
import threading

import pytest

from ravine import Rule, RuleError, get
from ravine.files import load

RULE = "from ravine import rule\n@rule\ndef r(p, g, *, lr=0.1):\n    return p - {} * lr * g\n"


def rule_file(path, factor="1", before=""):
    path.parent.mkdir(exist_ok=True)
    path.write_text(before + RULE.format(factor))
    return f"{path}:r"


def step(place):
    return get(place)(0.0, 1.0)


def test_a_neighbour_is_imported(tmp_path):
    (tmp_path / "neighbour.py").write_text("C = 3\n")
    path = list(sys.path)
    place = rule_file(tmp_path / "mine.py", "C", "from neighbour import C\n")
    assert step(place) == pytest.approx(-0.3)
    assert sys.path == path
    assert "neighbour" not in sys.modules


def test_neighbours_of_one_name_are_each_the_own_folders(tmp_path):
    for folder, value in (("a", 2), ("b", 3)):
        place = rule_file(tmp_path / folder / "mine.py", "C", "from neighbour import C\n")
        (tmp_path / folder / "neighbour.py").write_text(f"C = {value}\n")
        assert step(place) == pytest.approx(-0.1 * value)
    assert step(f"{tmp_path}/a/mine.py:r") == pytest.approx(-0.2)


def test_a_module_of_the_program_is_not_taken_for_a_neighbour(tmp_path, monkeypatch):
    (tmp_path / "program").mkdir()
    (tmp_path / "program/helper_of_all.py").write_text("C = 7\n")
    monkeypatch.syspath_prepend(tmp_path / "program")
    import helper_of_all

    place = rule_file(tmp_path / "mine" / "mine.py", "C", "from helper_of_all import C\n")
    (tmp_path / "mine/helper_of_all.py").write_text("C = 2\n")
    assert step(place) == pytest.approx(-0.2)
    assert sys.modules["helper_of_all"] is helper_of_all
    del sys.modules["helper_of_all"]


def test_a_neighbour_does_not_hide_python(tmp_path):
    (tmp_path / "json.py").write_text("raise RuntimeError\n")
    assert step(rule_file(tmp_path / "mine.py", "1", "import json\njson.dumps\n")) == -0.1


def test_files_of_one_stem_do_not_collide(tmp_path):
    a, b = (
        rule_file(tmp_path / folder / "mine.py", factor) for folder, factor in (("a", 1), ("b", 2))
    )
    rules = get(a), get(b)
    assert [r(0.0, 1.0) for r in rules] == [-0.1, -0.2]
    modules = {r.function.__module__ for r in rules}
    assert len(modules) == 2
    assert all(sys.modules[r.function.__module__].r is r for r in rules)


def test_a_file_is_run_once_until_it_changes(tmp_path):
    runs = tmp_path / "runs"
    count = f"with open({str(runs)!r}, 'a') as file:\n    file.write('.')\n"
    (tmp_path / "near.py").write_text("C = 1\n")
    place = rule_file(tmp_path / "mine.py", "C", count + "from near import C\n")
    assert get(place) is get(place)
    assert runs.read_text() == "."
    old = get(place)
    rule_file(tmp_path / "mine.py", "5 * C", count + "from near import C\n")
    assert step(place) == pytest.approx(-0.5)
    assert old(0.0, 1.0) == pytest.approx(-0.1)
    (tmp_path / "near.py").write_text("C = 2\n")  # as long as before, in the same second
    assert step(place) == pytest.approx(-1.0)
    assert runs.read_text() == "..."
    assert not (tmp_path / "__pycache__").exists()


def test_its_main_does_not_run(tmp_path):
    place = rule_file(tmp_path / "mine.py")
    with open(tmp_path / "mine.py", "a") as file:
        file.write("if __name__ == '__main__':\n    raise RuntimeError\n")
    assert step(place) == -0.1


def test_dataclasses_and_annotations(tmp_path):
    before = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    before += "@dataclass\nclass Settings:\n    lr: float = 1.0\n"
    assert isinstance(get(rule_file(tmp_path / "mine.py", "1", before)), Rule)


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("x = 1\n1 / 0\n", LookupError, "mine.py, line 2: ZeroDivisionError: division by zero"),
        ("def f(:\n", LookupError, "mine.py, line 1: SyntaxError: "),
        ("import nowhere_at_all\n", LookupError, "mine.py, line 1: ModuleNotFoundError: No module"),
        ("import broken\n", LookupError, "broken.py, line 1: NameError: name 'boom'"),
        (
            "import sys\nsys.exit('bye')\n",
            LookupError,
            r"mine.py, line 2: it calls sys.exit\('bye'\)",
        ),
        (
            "import ravine\n\n@ravine.rule\ndef f(x): ...\n",
            RuleError,
            "mine.py, line [34]: RuleError: f",  # Python 3.10 names the line of the def
        ),
        ("raise Exception\n", LookupError, "mine.py, line 1: Exception$"),
        ("\0", LookupError, "(Syntax|Value)Error: source code string cannot contain null bytes"),
        (
            "import ravine\nravine.get(__file__ + ':f')\n",
            LookupError,
            "is looked up by its own code while it is being loaded",
        ),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(tmp_path, source, kind, message):
    (tmp_path / "broken.py").write_text("boom\n")
    path = tmp_path / "mine.py"
    path.write_text(source)
    modules = {*sys.modules}
    with pytest.raises(kind, match=message) as caught:
        get(f"{path}:f")
    assert str(caught.value).startswith(f"{path} cannot be run: ")
    assert {
        name for name in {*sys.modules} - modules if "mine" in name or name == "broken"
    } == set()
    path.write_text("def f(p, g):\n    return p - g\n")
    assert get(f"{path}:f")(3.0, 1.0) == 2.0


def test_an_interrupt_stays_one(tmp_path):
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        get(f"{tmp_path}/mine.py:f")


def test_modules_that_fail(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_module.py").write_text("x = 1\nimport nowhere_at_all\n")
    with pytest.raises(
        LookupError, match=r"failing_module.py, line 2: ModuleNotFoundError: .*nowhere"
    ):
        get("failing_module:f")
    (tmp_path / "leaving_module.py").write_text("import sys\nsys.exit()\n")
    with pytest.raises(LookupError, match=r"leaving_module.py, line 2: it calls sys.exit\(\)"):
        get("leaving_module:f")


@pytest.mark.parametrize(
    "place", ["x\0.py", "x" * 5000, "/" + "x" * 5000 + ".py", "..", "", ".", "a..b"]
)
def test_places_that_are_none(place):
    with pytest.raises(LookupError):
        load(place)


def test_what_is_no_python_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(LookupError, match=r"notes.txt' is not a Python file"):
        load(f"{tmp_path}/notes.txt")


def test_what_runs_is_said(tmp_path, caplog):
    place = rule_file(tmp_path / "mine.py")
    with caplog.at_level(logging.INFO, "ravine"):
        get(place)
        get(place)
    assert caplog.messages == [f"running {tmp_path}/mine.py"]


def test_threads_see_one_rule(tmp_path):
    place = rule_file(tmp_path / "mine.py", "1", "import time\ntime.sleep(0.05)\n")
    found = []
    threads = [threading.Thread(target=lambda: found.append(get(place))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*map(id, found)}) == 1


def test_from_another_folder(tmp_path):
    """As its user meets it: a process that stands elsewhere."""
    (tmp_path / "neighbour.py").write_text("C = 3\n")
    place = rule_file(tmp_path / "mine.py", "C", "from neighbour import C\n")
    code = f"import ravine; print(ravine.get({place!r})(0.0, 1.0))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert float(done.stdout) == pytest.approx(-0.3)
