"""The page docs/benchmarks.md says what was measured."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import make_benchmarks  # noqa: E402


def test_the_page_has_the_tables_of_what_was_measured():
    results = json.loads(make_benchmarks.RESULTS.read_text())
    page = make_benchmarks.PAGE.read_text()
    assert make_benchmarks.fill(page, make_benchmarks.tables(results)) == page
    row = next(r for r in results["step"] if r["engine"] == "Ravine" and r["shapes"] == "resnet18")
    assert f"| {row['us']:,.0f} ({row['against_torch']:.2f}) |" in page


def test_only_what_stands_between_markers_changes():
    page = "a\n\n<!-- x -->\nold\n<!-- end -->\n\nb\n\n<!-- y -->\n<!-- end -->\n"
    made = "a\n\n<!-- x -->\n\nnew\n\n<!-- end -->\n\nb\n\n<!-- y -->\n\nmore\n\n<!-- end -->\n"
    tables = {"x": "new", "y": "more", "z": "unused"}
    assert make_benchmarks.fill(page, tables) == made
    assert make_benchmarks.fill(made, tables) == made
    with pytest.raises(KeyError, match="y"):
        make_benchmarks.fill(page, {"x": "new"})
