"""The page docs/which-optimizer.md: what its race found, and that its command works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import make_decision  # noqa: E402

from ravine.races.report import LIMIT  # noqa: E402
from ravine.races.task import problems  # noqa: E402

DOCS = make_decision.DOCS


def test_the_page_has_the_tables_of_what_was_raced():
    found = make_decision.read((DOCS / make_decision.RESULTS).read_text("utf-8"))
    texts = [(DOCS / name).read_text("utf-8") for name in make_decision.PAGES]
    page = texts[0]
    for text in texts:
        assert make_decision.fill(text, make_decision.tables(found)) == text
    assert {p["problem"] for p in found["problems"]} == {*problems()}
    for p in found["problems"]:
        assert {o["optimizer"] for o in p["optimizers"]} == {*make_decision.OPTIMIZERS}
        assert len(p["seeds"]["report"]) == 10
        assert f"**{p['optimizers'][0]['optimizer']}**" in page
        assert p["verdict"] in page


def test_the_report_beside_it_is_whole_and_of_the_same_race():
    found = make_decision.read((DOCS / make_decision.RESULTS).read_text("utf-8"))
    report = (DOCS / "decision" / "report.html").read_text("utf-8")
    assert len(report.encode()) < LIMIT
    assert found["headline"] in report
    assert all(p["verdict"] in report for p in found["problems"])
    assert not re.search(r"<link|<img|fetch\(|@import", report)
    for name in make_decision.DRAWN:
        assert (DOCS / "decision" / f"{name}.svg").read_text("utf-8").startswith("<svg")


def test_the_command_that_makes_it_works(tmp_path):
    before = {path: path.stat().st_mtime_ns for path in DOCS.rglob("*")}
    words = [sys.executable, "scripts/make_decision.py", "--quick", "--out", str(tmp_path / "new")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "new" / make_decision.PAGES[0]).read_text("utf-8")
    assert len(re.findall("^### ", page, re.MULTILINE)) == len(problems())
    assert "<!-- end -->" in page
    assert (tmp_path / "new" / "decision" / "report.html").stat().st_size < LIMIT
    assert before == {path: path.stat().st_mtime_ns for path in DOCS.rglob("*")}
