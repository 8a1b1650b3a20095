"""Profiles, scores and the tables they are made from: AlgoPerf's published scores, and cases by hand."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from test_cli import ravine

from ravine.races.profiles import FACTORS, profile, read, score

INF = math.inf
ALGOPERF = Path(__file__).with_name("algoperf_v05.csv")

# As published: github.com/mlcommons/submissions_algorithms, previous_leaderboards/algoperf_v05.
EXTERNAL = {
    "shampoo_submission": 0.7784,
    "schedule_free_adamw": 0.7077,
    "generalized_adam": 0.6383,
    "cyclic_lr": 0.6301,
    "nadamp": 0.5909,
    "baseline": 0.5707,
    "amos": 0.4918,
    "caspr_adaptive": 0.4722,
    "lawa_queue": 0.3699,
    "lawa_ema": 0.3384,
    "schedule_free_prodigy": 0.0,
}
SELF = {
    "schedule_free_adamw": 0.8542,
    "baseline": 0.8194,
    "nadamw_sequential": 0.3308,
    "sinv6_75": 0.1420,
    "sinv6": 0.0903,
    "adamg": 0.0,
}
PUBLISHED = {
    ("external_tuning", "idx"): EXTERNAL,
    ("external_tuning", "time"): EXTERNAL | {"lawa_ema": 0.3434},
    ("self_tuning", "idx"): SELF,
    ("self_tuning", "time"): SELF,
}


def test_the_published_scores_of_algoperf_come_out():
    found = {
        (table.ruleset, table.rule): {row["name"]: round(row["score"], 4) for row in table.scores()}
        for table in read(ALGOPERF)
    }
    assert found == PUBLISHED
    assert [*found["external_tuning", "idx"]] == [*EXTERNAL], "the highest score first"


def test_a_profile_by_hand():
    times = np.array([[10.0, 30.0, INF], [20.0, 10.0, INF], [INF, 40.0, 7.0]])
    shares = profile(times, [1, 2, 3, 4])
    assert shares[0] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert shares[1] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert shares[2] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3])
    assert profile(np.array([[INF], [INF]])).max() == 0, "nobody reached it"


def test_the_score_is_the_trapezoid_and_near_the_closed_form():
    assert score(np.array([[5.0], [INF]])) == pytest.approx([1, 0])
    ratios = np.array([1.3, 2.1, 3.7])
    times = np.stack([np.ones(3), ratios])
    ours = score(times)[1]
    assert ours == pytest.approx(np.mean((4 - ratios) / 3), abs=1 / 198)
    steps = [np.mean(ratios <= f) for f in FACTORS]
    width = FACTORS[1] - FACTORS[0]
    by_hand = sum(width * (a + b) / 2 for a, b in pairwise(steps)) / 3
    assert ours == pytest.approx(by_hand, rel=1e-12)


@pytest.fixture
def write(tmp_path):
    def file(text, name="times.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return file


HELD_OUT = """name,digits,digits_wide,text,text_small,text_small_deep
a,10,5,100,50,9
b,20,,100,50,9
c,inf,1,100,50,9
d,11,5,500,3,9
e,12,50,100,50,9
"""


def test_held_out_variants_void_a_problem_in_algoperf_s_order(write):
    (table,) = read(write(HELD_OUT))
    assert table.problems == ["digits", "text"]
    assert table.held_out == {
        "digits_wide": "digits",
        "text_small": "text",
        "text_small_deep": "text",
    }
    times, why = table.counted()
    # c's 1 on digits_wide does not count, since it missed digits; or a's and d's 5 would be beyond 4.
    assert times[:, 0].tolist() == [10, INF, INF, 11, INF]
    # d's 3 on text_small counts, although its 500 on text goes: so all others are beyond 4 times it.
    assert times[:, 1].tolist() == [INF] * 5
    assert why["b", "digits"] == "digits_wide, which is held out, was missed"
    assert why["e", "digits"] == "digits_wide, which is held out, was beyond 4 times the best"
    assert why["d", "text"] == "beyond 4 times the best"
    assert why["a", "text"] == "text_small, which is held out, was beyond 4 times the best"
    assert ("c", "digits") not in why, "it was missed, and nothing was left out"


@pytest.mark.parametrize("ends", [",", ";", "\t"])
def test_columns_may_be_parted_by_semicolons_and_tabs_and_rows_be_blank(write, ends):
    text = "\ufeffname,p,q\n\na,1,inf\n,,\nb,2,\n".replace(",", ends)
    (table,) = read(write(text))
    assert table.names == ("a", "b")
    assert {k: v.tolist() for k, v in table.times.items()} == {"p": [1, 2], "q": [INF, INF]}


def test_labels_part_the_rows_wherever_they_stand(write):
    text = "name,rule,p,ruleset\na,x,1,s\nb,x,4,s\na,y,2,s\na,x,8,t\n"
    tables = read(write(text))
    assert [(t.ruleset, t.rule, t.names) for t in tables] == [
        ("s", "x", ("a", "b")),
        ("s", "y", ("a",)),
        ("t", "x", ("a",)),
    ]
    assert tables[1].scores()[0]["score"] == 1, "compared within its own table only"
    (table,) = read(write("rule,p\na,1\n"))
    assert table.names == ("a",), "the first column has the names, whatever it is called"


REFUSED = {
    "": "times.csv is empty",
    "\n,,\n": "is empty",
    "name\na\n": "has no problem",
    "name,rule\na,x\n": "has no problem",
    "name,p\n": "no row below its header",
    "name,p,p\na,1,2\n": "line 1: there are two columns called 'p'",
    "name,p,\na,1,2\n": "line 1: column 3 has no name",
    "name,p\na,1,2\n": "line 2: 3 values; the header has 2 columns",
    "name,p\na,1\n\na,2\n": "line 4: 'a' is in its table twice",
    "name,p\n,1\n": "line 2: the name is missing",
    "name,p\na,fast\n": "line 2, column p: 'fast' is invalid",
    "name,p\na,0\n": "'0' is invalid; a time is a number above 0",
    "name,p\na,-3\n": "'-3' is invalid",
    "name,p\na,nan\n": "'nan' is invalid",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_such_table_is_refused_with_its_line(write, text):
    path = write(text)
    with pytest.raises(ValueError, match=r"times\.csv") as refused:
        read(path)
    assert REFUSED[text] in str(refused.value)
    assert REFUSED[text] in ravine("score", path, code=2).stderr


def test_what_cannot_be_read_is_named(tmp_path):
    assert (
        "nowhere.csv cannot be read (No such file"
        in ravine("score", tmp_path / "nowhere.csv", code=1).stderr
    )
    assert "cannot be read" in ravine("score", tmp_path, code=1).stderr
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    assert "binary.csv is not text in UTF-8" in ravine("score", binary, code=2).stderr


def test_the_command_prints_a_table_for_each_rule():
    text = ravine("score", ALGOPERF).stdout
    assert text.count(": scores\n") == 4
    assert "external_tuning, idx: scores" in text
    first = next(line for line in text.splitlines() if line.startswith("shampoo_submission"))
    assert first.split()[1:5] == ["0.7784", "7", "of", "8"]
    assert "wmt: wmt_glu_tanh, which is held out, was missed" in " ".join(text.split())
    assert "counted for none   imagenet_resnet" in text
    assert max(map(len, text.splitlines())) <= 80


def test_json_has_all_of_it(write):
    tables = json.loads(ravine("score", ALGOPERF, "--json").stdout)
    assert [(t["ruleset"], t["rule"]) for t in tables] == [*PUBLISHED]
    best = tables[0]["scores"][0]
    assert best["name"] == "shampoo_submission"
    assert len(best["profile"]) == len(tables[0]["factors"]) == 100
    assert best["times"]["imagenet_resnet"] == "Infinity"
    assert tables[0]["held_out"]["wmt_glu_tanh"] == "wmt"
    (plain,) = json.loads(ravine("score", write("n,p\na,1\n"), "--json").stdout)
    assert (plain["ruleset"], plain["rule"], plain["scores"][0]["score"]) == ("", "", 1.0)
