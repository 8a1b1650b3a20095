import ast
import json
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")

from mutants.mutator import mutants
from mutants.page import JUDGEMENTS, PAGE, RESULTS, WRONG, key, page, sample
from mutants.score import RULES, identity, independent, judged, made, same, texts


def test_each_text_is_the_rule_that_it_says():
    for name, rule in RULES.items():
        found = identity(made(texts()[name]), rule, 5.0)
        assert (found.verdict, found.rule.partition(" ")[0]) == ("right", rule), name


def test_a_mutant_is_one_slip():
    for name, text in texts().items():
        whole = ast.unparse(ast.parse(text))
        its = [*mutants(text)]
        assert len({m.text for m in its}) == len(its)
        for m in its:
            compile(m.text, name, "exec")
            assert m.text != whole
            assert m.was != m.now or m.kind == "order", m
        assert [m.text for m in mutants(text)] == [m.text for m in its]


def test_the_slips_that_people_make_are_among_them():
    its = {(m.was, m.now) for m in mutants(texts()["adam"])}
    for was, now in {
        "self.m[i] / (1 - self.beta1 ** self.t)": "self.m[i]",
        "self.t": "self.t - 1",
        "np.sqrt(v_hat)": "v_hat",
        "np.sqrt(v_hat) + self.eps": "np.sqrt(v_hat) - self.eps",
        "g ** 2": "g",
        "p -= self.lr * m_hat / (np.sqrt(v_hat) + self.eps)": (
            "p += self.lr * m_hat / (np.sqrt(v_hat) + self.eps)"
        ),
        "self.t += 1": "",
        "self.beta1": "self.beta2",
    }.items():
        assert (was, now) in its, (was, now)
    kinds = Counter(m.kind for m in mutants(texts()["adamw"]))
    assert {"into the loop", "not in place", "sign turned", "order", "not stored"} <= {*kinds}


def test_mutants_that_are_none_are_told_by_running_them():
    text = texts()["rmsprop"]
    with np.errstate(all="ignore"):
        right = independent(made(text))
        swapped = text.replace("(1 - self.alpha) * g**2", "g**2 * (1 - self.alpha)")
        assert swapped != text
        assert same(independent(made(swapped)), right)
        off = text.replace("(1 - self.alpha) * g**2", "(1 - self.alpha) * g**2 * (1 + 1e-7)")
        assert not same(independent(made(off)), right)


def test_mutants_whose_parameters_become_nan_are_explained():
    for name, now, says in (
        (
            "adamw",
            "v.mul_(beta2).addcmul_(g, g, value=-(1 - beta2))",
            "in v, g**2 is subtracted",
        ),
        ("adam", "self.t - 1", "the first bias correction uses t − 1 for t"),
        ("rmsprop", "g * 2", "in v, g is multiplied by 2, not raised to that power"),
    ):
        every = enumerate(mutants(texts()[name]))
        number = next(i for i, m in every if m.now == now)
        (row,) = judged(name, 3.0, 1000, number)
        assert (row.outcome, row.says) == ("explained", says)


def test_a_sample_is_detected_and_explained():
    rows = [r for name in ("adam", "lion", "adagrad") for r in judged(name, 2.0, 23, 5)]
    counts = Counter(r.outcome for r in rows)
    assert counts["explained"] >= 5
    assert counts["missed"] == 0
    assert counts["explained"] >= 4 * counts["detected"]


def test_the_page_is_that_of_what_was_measured():
    found = json.loads(RESULTS.read_text())
    judgements = json.loads(JUDGEMENTS.read_text())
    assert page(found, judgements) == PAGE.read_text()
    counts = Counter(r["outcome"] for r in found["mutants"])
    wrong = sum(counts[k] for k in WRONG)
    assert counts["missed"] <= 0.02 * wrong
    assert counts["explained"] >= 0.85 * wrong
    said = {key(r): r["says"] for r in found["mutants"]}
    assert len(judgements) >= 100
    assert all(
        said[k] == j["says"] for k, j in judgements.items()
    )  # what was judged is what is said
    assert {key(r) for r in sample(found["mutants"])} <= {*judgements}
