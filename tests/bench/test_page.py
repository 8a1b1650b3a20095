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


def test_the_aims_are_compared_with_what_was_measured():
    muon = {"rule": "muon", "shapes": "mlp", "us": 2.0}
    stack = {"shapes": "resnet18", "against_torch": None}
    results = {
        "matrices": [
            {**muon, "engine": "kernel", "skipped": "none"},
            {**muon, "engine": "Ravine", "against_torch": 1.25},
        ],
        "stacks": [
            {"stack": "ema(adam)", **stack, "us": 8.0},
            {"stack": "torch: fused", **stack, "us": 6.0},
        ],
        "peers": {
            "periodic": [
                {"rule": "soap", "shapes": "mlp", "us": 1.0, "ratio": r, "package": "x 1"}
                for r in (1.5, 0.875)
            ]
        },
        **{key: [] for key in ("step", "flat")},
    }
    table = make_benchmarks._aims(results).splitlines()
    assert "| Muon on mlp, over torch.optim.Muon | 0.76 | 1.10 | 1.25 |" in table
    assert "| Muon on mlp, `gram=True` | — | 1.23 | — |" in table
    assert "| Adam and an EMA on resnet18, over torch's bare Adam | 0.70 | 0.85 | 0.75 |" in table
    # of several packages, the one that Ravine is slowest against
    assert "| `soap` on mlp, over the fastest package | — | 1.00 | 0.88 |" in table


def test_each_section_names_the_day_and_the_machine_it_was_measured_on():
    on = json.loads(make_benchmarks.RESULTS.read_text())["environments"]["step"]
    later = {**on, "written": "2030-01-02T00:00:00"}
    said = make_benchmarks._all_measured({"step": on, "half": later, "flat": later}).splitlines()
    assert said[0].startswith("Measured on 2026")
    assert said[1].startswith("`half`, `flat`: Measured on 2030-01-02")
    assert len(said) == 2
