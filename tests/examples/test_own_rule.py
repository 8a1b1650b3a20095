import runpy
from pathlib import Path

EXAMPLE = runpy.run_path(
    str(Path(__file__).parents[2] / "examples" / "own_rule.py"), run_name="example"
)


def test_the_rule_fits_a_line_and_trains_a_network():
    slope, intercept = EXAMPLE["fit_a_line"]()
    assert abs(slope - 3) < 0.02
    assert abs(intercept - 1) < 0.02
    first, last = EXAMPLE["train_a_network"](steps=150)
    assert last < 0.05 * first


def test_running_the_file_shows_the_rule_and_its_steps(capsys, monkeypatch):
    monkeypatch.setitem(EXAMPLE["main"].__globals__, "train_a_network", lambda: (3.0, 0.1))
    EXAMPLE["main"]()
    shown = capsys.readouterr().out
    assert r"\operatorname{sign}(m_t)\, \left| s_t \right|" in shown
    assert "t = 3, g = -0.2, m = 0.0475, s = 0.071, step = 0.0071, p = 0.9639" in shown
    assert "slope 3.00, intercept 1.00" in shown
