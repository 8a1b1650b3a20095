"""Tables and text in any width: words and numbers stay whole."""

import contextlib
import io
import os
import re
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ravine.cli import bench_tables, race_tables, terminal


def printed(columns, call, *args):
    """What a call prints in so many columns."""
    stdout = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": str(columns)}), contextlib.redirect_stdout(stdout):
        call(*args)
    return stdout.getvalue()


WORD = st.text(alphabet="abc.=-,é—", min_size=1, max_size=12)
NUMBER = st.floats(allow_nan=False).map(repr) | st.integers(0, 10**9).map(lambda n: f"{n:,}")
WIDTH = st.integers(20, 120)


@given(
    WIDTH,
    st.lists(
        st.tuples(st.lists(WORD, min_size=1, max_size=5), NUMBER, NUMBER), min_size=1, max_size=4
    ),
)
def test_a_table_breaks_no_number_and_no_word(width, rows):
    cells = [(" ".join(words), a, b) for words, a, b in rows]
    text = printed(width, terminal.table, ("a method", ">a long name", ">b"), cells)
    shown = text.split()
    for words, a, b in rows:
        assert {a, b, *words} <= {*shown}
    for line in text.splitlines():
        assert len(line) <= width or max(map(len, line.split())) + 4 > width


@given(
    WIDTH, st.lists(st.tuples(WORD, st.lists(WORD, min_size=1, max_size=9)), min_size=1, max_size=3)
)
def test_notes_and_paragraphs_break_no_word(width, pairs):
    text = printed(width, terminal.notes, [(about, " ".join(words)) for about, words in pairs])
    assert text.split() == [x for about, words in pairs for x in (about, *words)]
    assert all(len(line) <= width for line in text.splitlines())
    for _, words in pairs:
        assert printed(width, terminal.paragraph, " ".join(words), 2).split() == words


def test_a_table_at_three_widths():
    table = (
        ("name", ">lr", "what"),
        [("adam", "0.001", "the mean of it"), ("sgd", "1e-05", "down")],
    )
    assert printed(80, terminal.table, *table) == (
        "name     lr  what\nadam  0.001  the mean of it\nsgd   1e-05  down\n"
    )
    assert printed(20, terminal.table, *table) == (
        "name     lr  what\n"
        "adam  0.001  the\n"
        "             mean of\n"
        "             it\n"
        "sgd   1e-05  down\n"
    )
    wide = (("name", ">lr", ">loss"), [("adam", "0.001", "1570.1177340514528")])
    assert printed(20, terminal.table, *wide) == (
        "adam\n  lr    0.001\n  loss\n    1570.1177340514528\n"
    )
    assert printed(80, terminal.table, (">t", ">p"), []) == "t  p\n"


def test_what_does_not_belong_apart_stays_together():
    text = printed(20, terminal.table, ("name", "accepted"), [("a" * 8, "a number in [0,\xa01)")])
    assert "[0, 1)" in text


def test_code_is_folded_so_that_it_still_runs():
    source = "def f(m, g):\n    m = 0.9 * m + (1 - 0.9) * g  # the biased first moment of it\n    return m\n"
    text = printed(36, terminal.code, source, "python", True)
    assert max(map(len, text.splitlines())) <= 36
    assert "    # the biased first moment of it\n    m = 0.9 * m" in text
    assert printed(20, terminal.code, source) == source


RESULT = {
    "method": "Adam with a name of many words",
    "lr": 0.01,
    "seeds": 2,
    "stopped": 1,
    "batch_size": 64,
    "us_per_step": 1234.5678,
    "seconds": 123456.789,
    "rmse": 1424002054.8657749,
    "epochs": 10000,
    **{f"rmse_{k}": 137715232.46 for k in ("min", "median", "max")},
    **{f"epochs_{k}": 10000 for k in ("min", "median", "max")},
    "published_seconds": 49.9305,
    "published_rmse": 14239929470.045788,
    "digits": 17,
    "reason": "climbs, its sign is wrong: 2,500,000 clipped steps of 0.1 take m to 357,123,456",
}


@pytest.mark.parametrize("width", [20, 60, 80, 200])
@pytest.mark.parametrize(
    "name", ["diamonds-as-published", "diamonds-corrected", "diamonds-exercise"]
)
def test_the_posts_numbers_are_whole(name, width):
    words = printed(width, race_tables.print_race, {name: [RESULT, RESULT]}).split()
    numbers = {
        "diamonds-as-published": [
            "1424002054.8657749",
            "14239929470.045788",
            "123456.79",
            "357,123,456",
        ],
        "diamonds-corrected": ["1424002054.8658", "137715232.46", "1234.57"],
        "diamonds-exercise": ["137715232.46", "10000", "0.01"],
    }[name]
    assert {*numbers} <= {word.strip("();,") for word in words}


def test_a_value_that_there_is_not_is_a_dash_with_a_note():
    lost = {**RESULT, "lr": None, **{f"rmse_{k}": float("nan") for k in ("min", "median", "max")}}
    text = printed(200, race_tables.print_race, {"diamonds-exercise": [RESULT, lost]})
    assert re.search(r"^—  +the rule has no lr$", text, re.M)
    assert re.search(r"^nan  +a run diverged$", text, re.M)
    assert "no lr" not in printed(80, race_tables.print_race, {"diamonds-exercise": [RESULT]})

    row = {"rule": "mine", "shapes": "mlp", "engine": "kernel", "us": 2.5, "extra_bytes": 1500}
    row |= {"against_torch": None, "gb_per_s": 1.0, "of_roof": 1.0, "first_seconds": None}
    timed = {**row, "engine": "eager", "first_seconds": 0.5, "gb_per_s": None, "of_roof": None}
    text = printed(80, bench_tables.PRINTERS["step"], [row, timed])
    assert re.search(r"^mine +kernel +2.5 +— +1.0 +1.00 +1.5 kB +—$", text, re.M)
    assert re.search(r"^— ratio +torch has no such optimizer$", text, re.M)
    assert re.search(r"^— GB/s +the rule has no kernel", text, re.M)
    assert re.search(r"^— first s +not timed$", text, re.M)
    text = printed(80, bench_tables.PRINTERS["step"], [{**row, "against_torch": 2.0}])
    assert "first s" not in text, "a column in which there is nothing is left out"
    assert "—" not in text
    text = printed(80, bench_tables.PRINTERS["training"], [row])
    assert re.search(r"^— ratio +torch has no such optimizer$", text, re.M)
