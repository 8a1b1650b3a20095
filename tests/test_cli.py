"""The command line as its user meets it."""

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import NamedTuple
from unittest import mock

import pytest

from ravine import cli, registry
from ravine.experiments import claims

COMMAND = [sys.executable, "-m", "ravine"]


class Done(NamedTuple):
    stdout: str
    stderr: str


def ravine(*words, code=0):
    """Run the command in this process, which has the frameworks loaded."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["ravine", *map(str, words)]),
        mock.patch.dict(os.environ, {"COLUMNS": "80"}),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        pytest.raises(SystemExit) as ended,
    ):
        sys.exit(cli.main())
    assert (ended.value.code or 0) == code, stderr.getvalue()
    return Done(stdout.getvalue(), stderr.getvalue())


def in_a_process(*words, **variables):
    environment = {**os.environ, "COLUMNS": "80", **variables}
    command = [*COMMAND, *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, check=True, timeout=120
    ).stdout


def test_version():
    assert re.fullmatch(r"ravine \d+\.\d+\.\d+\n", in_a_process("--version"))


def test_list_has_one_line_a_rule():
    lines = ravine("list").stdout.splitlines()
    rules = [line.split()[0] for line in lines if line.startswith("  ")][1:]
    assert sorted(rules) == registry.names()
    families = [line for line in lines if line and not line.startswith(" ")]
    assert families[:2] == ["Gradient descent and momentum", "Averaging"]  # 1951 and 1992
    assert len(families) == len({*families})
    rows = json.loads(ravine("list", "--json").stdout)
    assert {row["family"] for row in rows} == {*families}
    assert [row["rule"] for row in rows] == registry.names()
    assert all(row["paper"] for row in rows)


@pytest.mark.parametrize("name", registry.names())
def test_show_is_complete_and_80_wide(name):
    text = ravine("show", name).stdout
    rule = registry.get(name)
    flat = " ".join(text.split())
    assert rule.paper in flat
    assert rule.at in flat
    assert f"def {rule.sources[-1].__name__}(" in text
    assert "θₜ" in text
    assert re.search(r"^State .*((bytes|number) per|a matrix of)", text, re.M)
    assert "Elsewhere" in text
    for h in rule.hyperparameters.values():
        assert re.search(rf"^{h.name} +{re.escape(str(h.default))} ", text, re.M)
    assert max(map(len, text.splitlines())) <= 80


def table_of(text):
    """Each hyperparameter's row, in one line."""
    rows, name = {}, None
    lines = text.partition("hyperparameter ")[2].partition("\n\n")[0].splitlines()[1:]
    for row in lines:
        name = row.split()[0] if row[0] != " " else name
        rows[name] = " ".join(f"{rows.get(name, '')} {row}".split())
    return rows


def test_show_says_what_is_accepted_and_searched_in_this_rule(tmp_path, monkeypatch):
    rows = table_of(ravine("show", "adam").stdout)
    assert rows["lr"].endswith("; search 1e-05 to 0.1")
    assert "squared gradients; search 0.9 to 0.9999" in rows["beta2"]
    rows = table_of(ravine("show", "clip_by_norm(l2(sgd))").stdout)
    assert rows["lr"].endswith("; search 0.0001 to 10")
    assert "a finite number > 0 largest Euclidean norm" in rows["max_norm"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from ravine import rule\n"
        "from ravine.hyperparameters import searched\n"
        "from ravine.ops import sign\n"
        "@rule(lr=searched(1e-3, 2), rho='radius')\n"
        "def lion(p, g, m, *, lr=1e-2, beta1=0.9, beta2=0.99, alpha=5.0, d=0.25, rho=2.0):\n"
        "    m = beta2 * m + (1 - beta2) * g\n"
        "    return p - lr * sign(beta1 * m + (1 - beta1) * g) * alpha * d * rho, m\n"
    )
    shown = ravine("show", "mine.py:lion", "--set", "alpha=-7", "--set", "rho=3").stdout
    assert shown.startswith("lion\n")  # it has no docstring
    rows = table_of(shown)
    assert "search 0.001 to 2" in rows["lr"]
    for name in ("beta1", "beta2"):
        assert "gradient" not in rows[name]
        assert "a number in [0, 1)" in rows[name]
    for name in ("alpha", "d", "rho"):
        assert "a finite number" in rows[name]
        assert "search" not in rows[name]
    assert rows["alpha"].startswith("alpha 5.0 -7.0 ")
    assert "radius" in rows["rho"]


def test_show_without_utf8_is_ascii():
    text = in_a_process("show", "adam", PYTHONIOENCODING="ascii")
    assert text.isascii()
    assert "m[t] = beta1*m[t-1] + (1 - beta1)*g[t]" in text


def test_show_latex_kernel_and_settings():
    assert r"\hat m_t" in ravine("show", "adam", "--latex").stdout.replace(r"\hat{m}", r"\hat m")
    on = ("--set", "centered=true", "--set", "momentum=0.5")
    kernel = ravine("show", "rmsprop", "--kernel", *on).stdout
    assert "b = momentum * b + scaled" in kernel
    assert "b = momentum" not in ravine("show", "rmsprop", "--kernel").stdout


def test_show_follows_settings():
    on = ("--set", "centered=true", "--set", "momentum=0.5")
    for words in (("--latex",), ("--latex", "--algorithm")):
        off, on_ = (ravine("show", "rmsprop", *words, *more).stdout for more in ((), on))
        assert "variance" not in off
        assert r"\mu" not in off
        assert r"\mathrm{variance}_t &= v_t - m_t^2" in on_
        assert r"b_t &= \mu\, b_{t-1}" in on_
    assert "varianceₜ" not in ravine("show", "rmsprop").stdout
    assert "varianceₜ = vₜ − mₜ²" in ravine("show", "rmsprop", *on).stdout


def test_show_the_algorithm():
    both = ravine("show", "l2(adam)", "--algorithm", "--set", "lr=0.5", "eps=0.1").stdout
    assert "η = 0.5 (lr)" in both
    assert "ε = 0.1 (eps)" in both
    box = ravine("show", "l2(adam)", "--algorithm", "--set", "lr=0.5").stdout
    assert box.splitlines()[1] == "l2(adam)"
    assert "η = 0.5 (lr)" in box
    assert "g′ₜ = gₜ + λ θₜ₋₁" in box
    assert box.strip() in ravine("show", "l2(adam)", "--set", "lr=0.5").stdout
    assert r"\begin{array}" in ravine("show", "adamw", "--algorithm", "--latex").stdout
    assert "step(" not in ravine("show", "adamw", "--algorithm").stdout


def test_show_takes_tuples_of_any_length(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from ravine import rule, several\n"
        "@rule(b=several('betas'))\n"
        "def aggmo(p, g, b, *, lr=0.1, betas=(0.0, 0.9)):\n"
        "    b = tuple(beta * x + g for beta, x in zip(betas, b))\n"
        "    return p - lr / len(b) * sum(b), b\n"
    )
    shown = ravine("show", "mine.py:aggmo", "--set", "betas=0.5, 0.7, 0.8").stdout
    assert {"beta1", "beta2", "beta3"} <= table_of(shown).keys()
    assert "b1, b2, b3: 12 bytes per float32 parameter" in shown
    kernel = ravine("show", "mine.py:aggmo", "--kernel", "--set", "betas=(0.5,)").stdout
    assert "def aggmo(p, g, b1, lr, beta1):" in kernel


def test_show_llvm_and_asm(tmp_path, monkeypatch):
    text = ravine("show", "adam", "--llvm").stdout
    assert text.startswith("; adam: p float32, g float32, m float32, v float32")
    assert "define void @pass_0(" in text
    assert any(len(line) > 80 for line in text.splitlines()), "code is not to be folded"
    halves = ravine("show", "adam", "--llvm", "--dtype", "bfloat16").stdout
    assert "v bfloat16; computed in float" in halves
    doubles = ravine("show", "adam", "--llvm", "--dtype", "float64").stdout
    assert "computed in double" in doubles
    settings = ("--set", "momentum=0.5", "--llvm")
    assert "b float32" in ravine("show", "rmsprop", *settings).stdout.splitlines()[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def tiny(p, g, *, lr=0.5):\n    return p - lr * g\n")
    code = ravine("show", "mine.py:tiny", "--asm").stdout
    assert re.search(r"^pass_0:", code, re.M)
    assert "define void" not in code


def test_worked_steps_as_table_and_as_csv():
    words = ("show", "adam", "--worked", 3, "--gradients", "1,-2", "--start", 3, "--set", "lr=0.1")
    table = ravine(*words).stdout.splitlines()
    assert table[1].split() == ["t", "g", "m", "v", "m_hat", "v_hat", "step", "p"]
    assert len(table) == 2 + 3
    rows = list(csv.DictReader(io.StringIO(ravine(*words, "--csv").stdout)))
    assert [float(row["g"]) for row in rows] == [1, -2, 1]
    assert float(rows[0]["p"]) == pytest.approx(2.9, abs=1e-8)
    assert float(rows[0]["m_hat"]) == pytest.approx(1.0)


def test_a_rule_of_your_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from ravine.ops import sign\n\ndef tiny(p, g, *, lr=0.5):\n    return p - lr * sign(g)\n"
    )
    assert "sign" in ravine("show", "mine.py:tiny").stdout
    rows = ravine("show", "mine.py:tiny", "--worked", 1, "--csv").stdout
    assert rows.splitlines()[1].endswith("0.5")


def test_what_runs_a_file_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loud.py").write_text(
        "print('hello')\n\ndef tiny(p, g, *, lr=0.5):\n    return p - lr * g\n"
    )
    done = ravine("show", "l2(loud.py:tiny)", "--worked", 1, "--csv")
    assert done.stderr == "ravine: running loud.py\nhello\n"
    assert len(done.stdout.splitlines()) == 2
    assert "runs that file" in " ".join(ravine("show", "--help").stdout.replace("│", " ").split())


def test_a_name_of_a_package_is_explained_and_shown():
    done = ravine("show", "Nadam")
    assert done.stdout.startswith("nadam: ")
    assert "Keras" in done.stdout
    assert done.stderr == ("ravine: Nadam is nadam here; keras.optimizers.Nadam is nadam_keras\n")
    assert ravine("show", "AdamW").stderr == ""
    keras = ravine("show", "keras.Nadam").stdout
    assert keras.startswith("nadam_keras: ")
    assert "keras.optimizers.Nadam (keras 3.15.1)" in keras


def test_a_stack_is_shown():
    text = ravine("show", "clip_by_norm(L2(adam), max_norm=0.5)").stdout
    assert text.startswith("clip_by_norm(l2(adam), max_norm=0.5): ")
    assert "def clip_by_norm(step, p, g" in text
    assert re.search(r"^max_norm +0.5 ", text, re.M)
    changed = ravine("show", "adam", "--set", "lr=0.25").stdout
    assert re.search(r"^lr +0.001 +0.25 ", changed, re.M)
    assert re.search(r"^eps +1e-08 +a finite", changed, re.M)


def test_a_value_that_there_is_not_yet_is_a_dash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from ravine.ops import sqrt\n\n"
        "def late(p, g, m, t, *, lr=0.5):\n"
        "    if t > 1:\n        half = m / 2\n        g = g + half\n"
        "    return p - lr * g, g\n"
    )
    with mock.patch("ravine.reading.worked.trace") as trace:
        trace.return_value.of_arrays, trace.return_value.live = False, ("m",)
        table = ravine("show", "mine.py:late", "--worked", 2).stdout.splitlines()
        rows = ravine("show", "mine.py:late", "--csv").stdout.splitlines()
    assert table[1].split() == ["t", "g", "m", "step", "p", "half"]
    assert table[2].split()[-1] == "—"
    assert table[3].split()[-1] == "0.25"
    assert table[4] == "—: the rule did not compute this value in that step"
    assert rows[1].endswith(",")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "adma"), "no rule is called 'adma'; did you mean 'adam'"),
        (("show", "nowhere.py:x"), "no file 'nowhere.py'"),
        (("show", "adam", "--set", "lr=-1"), "lr=-1.0 is invalid; lr must be a finite number >= 0"),
        (
            ("show", "adam", "--set", "beta1=1"),
            r"beta1=1.0 is invalid; beta1 must be a number in \[0, 1\)",
        ),
        (
            ("show", "adam", "--llvm", "--dtype", "int8"),
            "'int8' is invalid; it must be one of float64",
        ),
        (
            ("show", "adam", "--dtype", "float64"),
            "--dtype 'float64' says what --llvm or --asm is for",
        ),
        (
            ("show", "matrices.py:whiten", "--llvm"),
            "rule 'whiten' has no CPU kernel: it uses matmul",
        ),
        (("show", "matrices.py:whiten", "--asm"), "has no CPU kernel"),
        (("show", "adam", "--set", "lr=fast"), "'fast' is not a number"),
        (("show", "adam", "--set", "lr=1,2"), "'1,2' is not a number"),
        (("show", "adam", "--set", "lr"), "write NAME=VALUE"),
        (("show", "adam", "--set", "rl=1"), "no hyperparameter 'rl'"),
        (
            ("show", "adam", "--worked", "2", "--gradients", "a,b"),
            "'a,b' is invalid; write comma-separated numbers",
        ),
        (("race", "diamonds", "--batch-size", "0"), "batch_size=0 is invalid"),
        (("race", "diamonds", "--batch-size", "half"), "batch_size='half' is invalid"),
        (("race", "diamonds", "--epochs", "0"), "epochs=0 is invalid"),
        (("race", "diamonds", "--lr", "nan"), "lr=nan is invalid; lr must be a finite number >= 0"),
        (
            ("race", "diamonds", "--stopping-threshold", "-1"),
            "stopping_threshold=-1.0 is invalid",
        ),
        (
            ("race", "diamonds", "--optimizers", "adam,sdg"),
            "no rule is called 'sdg'; did you mean 'sgd'",
        ),
        (("race", "diamonds", "--seeds", "0"), "--seeds.*greater than or equal to 1|--seeds.*x>=1"),
        (
            ("bench", "step", "--shapes", "cube"),
            "shapes='cube' is invalid; it must be one of scalars",
        ),
        (("bench", "step", "--rules", "adma"), "no rule is called 'adma'; did you mean 'adam'"),
        (
            ("bench", "step", "--figure", "x.gif"),
            "--figure 'x.gif' is invalid; it ends in .png",
        ),
        (("bench", "stacks", "--shapes", "cube"), "shapes='cube' is invalid"),
        (("bench", "stacks", "--out", "no/x.json"), "there is no folder no"),
        (("rase",), "No such command 'rase'"),
        (("show", "AdaBound"), "no rule is called 'AdaBound'; `ravine list`"),
        (("show", ""), "no rule name is given"),
        (("show", "l2"), r"'l2' is a modifier, a function from rule to rule; write l2\(adam\)"),
        (("show", "adam(weight_decay=1)"), "has no hyperparameter 'weight_decay'"),
        (
            ("show", "matrices.py"),
            "'matrices.py' is a file's name; a rule in it is matrices.py:NAME",
        ),
        (("show", "matrices:x"), "no module 'matrices'; a rule in the file matrices.py is named"),
        (("show", ".:x"), "'.' is a folder"),
        (("show", "matrices.py:Whiten"), "matrices.py has no rule 'Whiten'; did you mean 'whiten'"),
        (
            ("show", "broken.py:x"),
            r"broken.py cannot be run: .*broken.py, line 2: ZeroDivisionError",
        ),
        (("show", "adam", "--latex", "--kernel"), "--latex and --kernel ask for different things"),
        (("show", "adam", "--llvm", "--asm"), "--llvm and --asm ask for different things"),
        (("show", "adam", "--worked", "3", "--latex"), "--latex and --worked ask for different"),
        (("show", "adam", "--csv", "--kernel"), "--kernel and --csv ask for different things"),
        (
            ("show", "adam", "--csv", "--sheet", "a.xlsx"),
            "--csv and --sheet are mutually exclusive",
        ),
        (
            ("show", "adam", "--sheet", "a.ods"),
            "--sheet 'a.ods' is invalid; the name of a spread",
        ),
        (("show", "adam", "--worked", "0"), "Invalid value for '--worked'"),
        (
            ("show", "adam", "--gradients", "1"),
            "--gradients does nothing without --worked, --csv or --sheet",
        ),
        (
            ("show", "adam", "--start", "1"),
            "--start does nothing without --worked, --csv or --sheet",
        ),
        (("show", "adam", "--algorithm", "--kernel"), "--algorithm and --kernel ask for different"),
        (
            ("show", "adam", "--set", "lr=1", "--set", "lr=2"),
            "'lr=2' is invalid; lr is set twice",
        ),
        (
            ("race", "--seeds", "3", "diamonds"),
            "--seeds does nothing before diamonds; write ravine race",
        ),
        (("race", "--quick", "claims"), "--quick does nothing before claims"),
        (("race", "--json", "figure-1"), "--json does nothing before figure-1"),
        (("race", "diamonds", "--out", ""), "Invalid value for '--out': name a folder"),
        (("race", "diamonds", "--optimizers", ""), "no rule name is given"),
        (("race", "diamonds", "--optimizers", "adam,"), "no rule name is given"),
        (
            ("race", "diamonds", "--optimizers", "adam,Adam"),
            r"\['adam', 'Adam'\] is invalid; adam is listed twice",
        ),
        (
            ("race", "diamonds", "--optimizers", "muon"),
            "'muon' cannot run here, .*: it works on arrays, such as matrices",
        ),
        (
            ("race", "diamonds", "--optimizers", "matrices.py:whiten"),
            "'matrices.py:whiten' cannot run here",
        ),
        (("race", "diamonds", "--quick", "--seeds", "2"), "--quick does nothing with --seeds"),
        (
            ("race", "diamonds", "--quick", "--lr", "1"),
            "--quick does nothing with your own settings",
        ),
        (("race", "diamonds", "--batch-size", "²"), "batch_size='²' is invalid"),
        (("race", "claims", "--seeds", "1001"), "seeds"),
        (
            ("race", "claims", "--set", "beta=0.8"),
            "none of .* has 'beta'.* did you mean 'beta[12]'",
        ),
        (("race", "claims", "--optimizers", "muon"), "'muon' cannot run here, where vectors are"),
        (("race", "conditioning", "eps=1e-6"), "'eps=1e-6' is invalid; write --set eps=1e-6"),
        (("race", "diamonds", "--set", "lr=1", "lr=2"), "'lr=2' is invalid; lr is set twice"),
        (("bench", "step", "--rules", ""), "no rule name is given"),
        (("bench", "step", "--rules", "adam,ADAM"), "adam is listed twice"),
        (
            ("bench", "step", "--shapes", "mlp,mlp"),
            "--shapes 'mlp,mlp' is invalid; mlp is listed",
        ),
        (
            ("bench", "step", "--shapes", "mlp", "--all-engines"),
            "--all-engines does nothing without gpt2",
        ),
        (("bench", "step", "--seconds", "inf"), "--seconds inf is invalid"),
        (
            ("bench", "step", "--rules", "momentum_classical", "--figure", "x.png"),
            "--figure does nothing where torch has none of the rules",
        ),
    ],
)
def test_what_is_not_accepted_is_one_clear_message(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matrices.py").write_text(
        "def whiten(p, g, *, lr=0.1):\n    return p - lr * (g @ p)\n"
    )
    (tmp_path / "broken.py").write_text("x = 1\n1 / 0\n")
    before = {*tmp_path.iterdir()}
    if words[0] == "bench":
        pytest.importorskip("torch", reason="torch is not installed")
    done = ravine(*words, code=2)
    assert re.search(message, " ".join(done.stderr.replace("│", " ").split()))
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert {*tmp_path.iterdir()} == before, "it is refused before there is a folder"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = ravine("race", "diamonds", "--out", tmp_path / "file", "--epochs", 1, code=1)
    assert "cannot be written to" in done.stderr
    assert "Traceback" not in done.stderr


def test_diamonds_exercise(tmp_path):
    words = (
        "race",
        "diamonds",
        "--optimizers",
        "adam,nesterov",
        "--lr",
        "0.05",
        "--batch-size",
        "all",
    )
    words = (
        *words,
        "--epochs",
        40,
        "--stopping-threshold",
        0,
        "--seeds",
        2,
        "--out",
        tmp_path / "run",
    )
    done = ravine(*words)
    assert "batch size all (gradient descent), 2 seeds" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    run = tmp_path / "run"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["diamonds"]["seeds"] == [0, 1]
    assert manifest["diamonds"]["exercise"]["lr"] == 0.05
    table = json.loads((run / "diamonds-exercise.json").read_text())
    assert [row["optimizer"] for row in table] == ["adam", "nesterov"]
    assert len((run / "diamonds-points.csv").read_text().splitlines()) == 1 + 2 * 2 * 40
    for name in ("diamonds-exercise.png", "diamonds-exercise.svg", "diamonds-seeds.png"):
        assert (run / name).stat().st_size > 1000
    again = ravine(*words)
    assert "4 runs taken from before" in again.stderr
    assert again.stdout == done.stdout


@pytest.mark.torch
def test_figure_1_quick_as_json(tmp_path):
    done = ravine("race", "figure-1", "--quick", "--as-published", "--json", "--out", tmp_path)
    tables = json.loads(done.stdout)
    assert [row["optimizer"] for row in tables["figure-1"]][:4] == [
        "SGD",
        "SGD_with_momentum",
        "RMSprop",
        "Adam",
    ]
    assert all(row["loss"] < 1e-5 for row in tables["figure-1-pairs"])
    assert {row["step_1"][0] for row in tables["figure-1-faults"]} > {1.9}
    assert (tmp_path / "figure-1.svg").exists()
    assert (tmp_path / "figure-1-faults.png").exists()
    assert len((tmp_path / "figure-1-points.csv").read_text().splitlines()) == 1 + 13 * 30


def test_claims_are_judged(tmp_path):
    done = ravine("race", "claims", "--quick", "--seeds", 4, "--out", tmp_path)
    verdicts = json.loads((tmp_path / "claims.json").read_text())
    assert len(verdicts) == len(claims.CLAIMS)
    flat = " ".join(done.stdout.split())
    for verdict in verdicts:
        assert f"{verdict['claim']} ({verdict['source']}): {verdict['verdict']}" in flat
        assert verdict["sentence"] in flat
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert len(list(tmp_path.glob("claims*.png"))) >= 10


def test_conditioning_says_where_adapting_helps(tmp_path):
    done = ravine("race", "conditioning", "--quick", "--out", tmp_path)
    rows = json.loads((tmp_path / "conditioning.json").read_text())
    steps = {
        (r["form"], r["batch"], r["optimizer"]): r["steps_1e-2"]
        for r in rows
        if r["columns"] == "numeric"
    }
    assert steps["axes", "all", "adam"] < steps["standardised", "all", "sgd"] < 1000
    assert steps["raw", "all", "sgd"] == "Infinity"
    assert "Does adapting to each coordinate help" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert (tmp_path / "conditioning-coordinates.svg").exists()


def test_interrupt_keeps_what_is_done_and_says_so(tmp_path):
    words = (
        "race",
        "diamonds",
        "--optimizers",
        "sgd",
        "--stopping-threshold",
        "0",
        "--seeds",
        "40",
    )
    process = subprocess.Popen(
        [*COMMAND, *words, "--out", str(tmp_path)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    units = tmp_path / "units"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(units.glob("*.json"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    kept = len(list(units.glob("*.json")))
    assert 2 <= kept < 40
    assert f"{kept} finished runs are kept" in " ".join(errors.split())
    assert "--out" in errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "interrupted"
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_not_installed_is_named_with_the_extra_that_brings_it(tmp_path):
    with mock.patch.dict(sys.modules, {"ravine.experiments.figure1": None, "torch": None}):
        sys.modules.pop("ravine.experiments.figure1")
        done = ravine("race", "figure-1", "--quick", "--out", tmp_path, code=1)
    said = (
        "torch is not installed; pip install '.[torch]' in the folder of Ravine's source brings it"
    )
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_bench_diamonds():
    rows = json.loads(ravine("bench", "diamonds", "--repeats", 1, "--json").stdout)
    assert [row["method"] for row in rows] == ["SGD", "SGD with momentum", "RMSprop", "Adam"]
    assert all(row["ratio"] > 1 and row["digits"] >= 10 for row in rows)


@pytest.mark.torch
def test_bench_step(tmp_path):
    words = ("bench", "step", "--shapes", "scalars", "--rules", "adam,nesterov", "--seconds", 0)
    words = (*words, "--no-first")
    done = json.loads(ravine(*words, "--json", "--out", tmp_path / "bench.json").stdout)
    assert list(done) == ["environment", "step", "training", "experts"]
    assert done["environment"]["cpu"]
    for rows in (done["step"], done["training"]):
        engines = [row["engine"] for row in rows if row["rule"] == "adam"]
        assert engines == ["kernel", "Ravine", "eager", "torch loop", "foreach", "fused"]
    assert json.loads((tmp_path / "bench.json").read_text()) == done
    table = ravine(*words, "--no-training", "--figure", tmp_path / "bench.png").stdout.splitlines()
    assert max(map(len, table)) <= 80
    assert len(table) == 2 + len(done["step"]) + 1
    assert [line.split()[0] for line in table if "kernel" in line] == ["adam", "nesterov"]
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.torch
def test_bench_step_says_who_is_skipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from ravine.ops import norm\n\ndef whiten(p, g, *, lr=0.1):\n    return p - lr * (g @ p)\n"
    )
    words = ("--shapes", "scalars", "--seconds", 0, "--no-first", "--no-training")
    done = ravine("bench", "step", "--rules", "mine.py:whiten", *words)
    flat = " ".join(done.stdout.split())
    assert "kernel skipped: rule 'whiten' has no CPU kernel: it uses matmul" in flat
    assert "(whiten)" in flat
    import torch

    if hasattr(torch.optim, "Muon"):  # whose parameters are matrices
        words = ("--shapes", "mlp", *words[2:])
        table = ravine("bench", "step", "--rules", "muon", *words).stdout.splitlines()
        assert table[2].split()[:2] == ["muon", "Ravine"]  # named though its kernel is skipped


@pytest.mark.torch
def test_an_interrupted_benchmark_says_what_it_has():
    def rows(*given, **options):
        yield {"rule": "sgd", "engine": "kernel", "us": 2.5, "against_torch": None}
        raise KeyboardInterrupt

    with (
        mock.patch("ravine.bench.step.run", return_value=[]),
        mock.patch("ravine.bench.step.run_in_training", rows),
    ):
        done = ravine("bench", "step", "--rules", "sgd", code=130)
    assert "kernel 2.5" in " ".join(done.stdout.split())
    assert "Interrupted" in done.stderr


@pytest.mark.torch
def test_bench_stacks(tmp_path):
    words = ("bench", "stacks", "--shapes", "scalars", "--seconds", 0)
    done = json.loads(ravine(*words, "--json").stdout)
    names = [row["stack"] for row in done["stacks"]]
    assert names[:2] == ["adam", "adam, bfloat16 state"]
    table = ravine(*words).stdout.splitlines()
    assert max(map(len, table)) <= 80
    assert [line.split("  ")[0] for line in table[2:-2]] == names


@pytest.mark.torch
def test_bench_memory(tmp_path):
    measured = {"peak_bytes": 4e8, "taken": [0.07, 0.08]}
    with (
        mock.patch("ravine.bench.memory._in_a_process", return_value=measured),
        mock.patch("ravine.bench.memory._CLEAR", tmp_path),
    ):
        words = ("bench", "memory", "--rounds", 1)
        done = json.loads(ravine(*words, "--json").stdout)
        table = ravine(*words).stdout
    assert [row["peak_bytes"] for row in done["memory"]] == [4e8] * 4
    assert "all gradients together take 101 MB" in table
    assert "ravine: in backward 400 MB 0% 75,000" in " ".join(table.split())
    assert max(map(len, table.splitlines())) <= 80


def test_completion_knows_the_rules():
    asked = {
        "_RAVINE_COMPLETE": "complete_bash",
        "COMP_WORDS": "ravine show ada",
        "COMP_CWORD": "2",
    }
    rules = [name for name in registry.names() if name.startswith("ada")]
    assert {"adam", "adamw"} < {*in_a_process(**asked).split()} == {*rules}
