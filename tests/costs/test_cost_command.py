"""`ravine cost`, and the page with its table."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ON = ("--bandwidth", "1000", "--rate", "100")


def cost(*words, cwd=None):
    command = [sys.executable, "-m", "ravine", "cost", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)


def test_the_table_of_a_sharded_step():
    done = cost(
        *("adamw,muon", "--params", "7e9", "--dtype", "bf16", "--state-dtype", "8bit"),
        *("--gpus", "64", "--shard", "fsdp", "--on", "h100"),
    )
    assert done.returncode == 0, done.stderr
    assert "7,000,119,360 parameters: a decoder of 32 blocks of width 4,160" in done.stdout
    assert (
        "222 MB    660 MB" in done.stdout
    )  # 2 * 7e9 * (1 + 4 / 256) / 64, and 2 * 2 * 7e9 / 64 more
    assert "memory 3,350 GB/s, matrix products 989 TFLOP/s, sends 450 GB/s" in done.stdout
    assert "muon *" in done.stdout
    assert "AdamW steps the rest, 3.0%" in done.stdout


def test_a_step_that_is_offloaded():
    done = cost("adamw", "--params", "7e9", "--dtype", "bf16", "--offload", "--on", "h100")
    assert done.returncode == 0, done.stderr
    assert "98 GB" in done.stdout  # on the host: 4 + 8 + 2 bytes each
    assert "14 GB" in done.stdout  # copied there
    assert "219 ms" in done.stdout  # at 64 GB/s
    assert "64 GB/s to and from its host" in done.stdout


def test_all_rules_are_compared_from_the_fastest_on():
    done = cost("sgd", "--params", "1e6", "--compare", "--json", *ON)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    from ravine import registry

    assert {row["optimizer"] for row in rows} == {*registry.own()}
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_a_model_of_ones_own(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "mine.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Linear(10**6, 10**6)\ndef none():\n    return 1\n"
    )
    done = cost("sgd", "--model", "mine.py:make", "--json", *ON, cwd=tmp_path)
    assert done.returncode == 0, done.stderr  # four terabytes, of which nothing is allocated
    assert json.loads(done.stdout)[0]["parameters"] == 4 * (10**12 + 10**6)
    assert "mine.py" in done.stderr  # it says what it runs
    done = cost("sgd", "--model", "mine.py:none", *ON, cwd=tmp_path)
    assert done.returncode == 2
    assert "none() returns int, and it must return a torch.nn.Module" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--params", "many"), "params=nan is invalid"),
        (("--on", "tpu"), "--on 'tpu' is invalid; it must be one of a100"),
        (("--bandwidth", "-1"), "--bandwidth -1 is invalid; it must be a number above 0"),
        (("--shard", "fsdp3"), "shard='fsdp3' is invalid; it must be one of none, zero1, fsdp"),
        (("--dtype", "int4"), "dtype='int4' is invalid"),
        (("adm",), "no rule is called 'adm'; did you mean 'adam'"),
        (("--model", "mine"), "model 'mine' is invalid; write FILE:NAME"),
        (("--model", "a.py:b", "--params", "1e9"), "--params and --model are mutually exclusive"),
    ],
)
def test_what_is_not_accepted(words, said):
    done = cost(*words, *(() if "--bandwidth" in words else ON))
    assert done.returncode == 2
    assert said in done.stderr


def test_the_page_has_todays_numbers():
    place = ROOT / "scripts" / "make_costs.py"
    spec = importlib.util.spec_from_file_location("make_costs", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.PAGE.read_text("utf-8")
    assert module.page(text) == text, "run python scripts/make_costs.py"
