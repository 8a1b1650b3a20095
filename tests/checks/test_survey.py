import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ravine.checks.survey import optimizers
from ravine.checks.survey.rows import append, done, results, unfinished
from ravine.checks.survey.running import survey
from ravine.checks.survey.table import confirmed, page

TORCH = pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
DOCS = Path(__file__).parents[2] / "docs"
PACKAGE = '''
import os
import torch
from torch.optim import SGD as Borrowed


class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            p -= self.param_groups[0]["lr"] * p.grad


class SGD(Plain):
    """Decays by a constant."""

    def __init__(self, params, lr=0.1, weight_decay=0.01):
        torch.optim.Optimizer.__init__(self, params, {"lr": lr})
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self):
        super().step()
        for p in self.param_groups[0]["params"]:
            p -= self.param_groups[0]["lr"] * self.weight_decay


class Dies(Plain):
    def step(self):
        os._exit(3)


class Switched(Plain):
    def __init__(self, params, lr=0.1, momentum=0.0, nesterov=False, *, fused=None):
        super().__init__(params, lr)


class Around(Plain):
    def __init__(self, optimizer, lr=0.1): ...


class _Private(Plain): ...


Renamed = Plain
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "fakeoptim.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    yield "fakeoptim"
    sys.modules.pop("fakeoptim", None)


@TORCH
def test_optimizers_are_found_by_what_they_are(package):
    found = optimizers(package)
    assert [(f.name, f.written) for f in found] == [
        ("fakeoptim:Dies", ""),
        ("fakeoptim:Plain", ""),
        ("fakeoptim:SGD", ""),
        ("fakeoptim:Switched", ""),
        ("fakeoptim:Switched", "momentum=0.9, fused=True"),
        ("fakeoptim:Switched", "momentum=0.9, nesterov=True"),
    ]
    assert found[1].aliases == ("fakeoptim:Renamed",)
    assert found[5].command == (
        'ravine check fakeoptim:Switched --args "momentum=0.9, nesterov=True"'
    )
    own = {f.name.rpartition(":")[2] for f in optimizers("torch")}
    assert {"SGD", "Adam", "Adafactor", "Adadelta"} <= own
    assert "Optimizer" not in own


@TORCH
def test_a_survey_survives_what_ends_its_process_and_goes_on_where_it_was(package, tmp_path):
    out = tmp_path / "survey.jsonl"
    rows = survey([package], out, seconds=0.5, timeout=600)
    its = {r["optimizer"]: r for r in rows}
    assert its["fakeoptim:Plain"]["verdict"] == "right"
    assert its["fakeoptim:Plain"]["rule"] == "sgd"
    assert its["fakeoptim:Plain"]["defaults"] == {"lr": 0.1}
    assert "ended its process with code 3" in its["fakeoptim:Dies"]["says"]
    assert its["fakeoptim:SGD"]["verdict"] == "fault"
    assert "constant" in its["fakeoptim:SGD"]["says"]

    whole = out.read_text().splitlines()
    last = next(i for i, x in enumerate(whole) if "SGD" in x and '"row": "result"' in x)
    kept = [x for i, x in enumerate(whole) if i != last]
    out.write_text("\n".join(kept) + "\n" + whole[last][:40])  # killed while it wrote
    assert len(results(out)) == len(rows) - 1
    again = survey([package], out, seconds=0.5, timeout=600)
    assert {r["optimizer"] for r in again} == {*its}
    added = out.read_text().splitlines()[len(kept) + 1 :]
    assert {json.loads(x)["optimizer"] for x in added} == {"fakeoptim:SGD"}
    with pytest.raises(LookupError, match="no package 'nosuchoptim'"):
        survey(["nosuchoptim"], out)


def row(**changed):
    plain = {
        "row": "result",
        "package": "some",
        "version": "1.0",
        "optimizer": "some:Adam",
        "arguments": "",
        "aliases": [],
        "command": "ravine check some:Adam",
        "verdict": "right",
        "rule": "adam",
        "says": "",
        "distance": 0.0,
        "evidence": [],
        "defaults": {"lr": 0.001},
        "faults": [],
    }
    return plain | changed


def test_rows_are_whole_or_not_there(tmp_path):
    out = tmp_path / "rows"
    append(out, row(row="begun"))
    assert unfinished(out, "some")["optimizer"] == "some:Adam"
    assert results(out) == []
    append(out, row(version=""))  # of a package that is not installed: no version
    assert unfinished(out, "some") is None
    assert done(out) == {("some:Adam", "")}
    append(out, row(version="0.9"))  # another one
    assert done(out) == set()


CONFIRMED = {
    "package": "some",
    "version": "1.0",
    "optimizer": "some:SGDW",
    "kind": "fault",
    "fault": "the decay is a constant",
    "does": "p − lr · weight_decay",
    "should": "p − lr · weight_decay · p",
    "source": "the paper",
    "how": "by reading",
}


def test_only_what_was_confirmed_is_called_a_fault():
    rows = [
        row(),
        row(optimizer="some:SGDW", verdict="fault", rule="sgd", says="a bold claim"),
        row(optimizer="some:Lamb", verdict="fault", rule="lamb", says="another bold claim"),
        row(optimizer="some:Odd", verdict="could not run", rule="", says="it is odd"),
    ]
    text = page(rows, [CONFIRMED], "2026-01-01")
    assert "bold claim" not in text
    assert "| `Lamb` | differs from every known rule |" in text
    assert "| `SGDW` | [**fault**](#faults): the decay is a constant |" in text
    assert "| `Adam` | `adam` | lr 0.001 |" in text
    assert "could not be run: it is odd" in text
    assert text.count("the decay is a constant") == 2
    with pytest.raises(LookupError, match="but that version was not surveyed"):
        confirmed(rows, [CONFIRMED | {"version": "2.0"}])


def test_the_page_in_the_documentation_is_that_of_its_data():
    found = json.loads((DOCS / "survey.json").read_text())
    claims = json.loads((DOCS / "survey-confirmed.json").read_text())
    assert (
        page(found["rows"], claims, found["date"], found.get("note", ""))
        == (DOCS / "survey.md").read_text()
    )
    assert sum(c["kind"] == "fault" for c in claims) >= 10
    assert all(c[k] for c in claims for k in ("does", "should", "source", "how"))
