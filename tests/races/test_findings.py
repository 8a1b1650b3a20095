"""What is found in run files: by hand, and in a small race that was really run."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ravine.races.findings import comparisons, lost, overall
from ravine.races.runs import CHOOSE, REPORT, TUNE, Run, read
from ravine.races.sentences import Words, headline, listed, place

INF, NAN = math.inf, math.nan
FALLING = ((10, 2.0), (20, 1.0), (30, 0.5))


def run(optimizer="a", seed=0, score=0.5, role=REPORT, trial=0, **changes):
    given = {
        "task": "t",
        "rule": optimizer,
        "hyperparameters": {"lr": 10.0 ** (trial - 4)},
        "role": role,
        "seed": seed,
        "steps": 30,
        "batch_size": 8,
        "schedule": "linear",
        "problem": "p",
        "optimizer": optimizer,
        "trial": trial,
        "space": {"lr": (1e-4, 10.0, 0.0)},
        "score_name": "accuracy",
        "lower_is_better": False,
        "curve": FALLING,
        "evaluations": ((15, score - 0.2), (30, score)),
        "score": score,
        "seconds_per_step": 0.01,
        "memory_per_parameter": 8.0,
    }
    return Run(**{**given, **changes})


def reports(optimizer, scores, **changes):
    return [run(optimizer, seed, score, **changes) for seed, score in enumerate(scores)]


def search(optimizer, scores, seeds=1):
    """Tuning runs of trials 1, 2, ...; the seeds alike."""
    return [
        run(optimizer, 1000 + seed, score, TUNE, trial)
        for trial, score in enumerate(scores, 1)
        for seed in range(seeds)
    ]


def only(runs):
    (found,) = comparisons(runs)
    return found


# ---- lost runs -------------------------------------------------------------------------------------


def test_a_run_is_lost_by_its_loss_and_never_by_its_score():
    assert not lost(run(score=0.0))
    assert not lost(run(score=0.1, evaluations=((15, 0.9), (30, 0.1))))
    assert lost(run(lost="the loss is nan at step 3", score=NAN)) == "the loss is nan at step 3"
    for descent in (0.0, -1.0, -INF):
        assert "not below" in lost(run(score=0.9, descent=descent))
    assert not lost(run(descent=1e-9))
    assert not lost(run(descent=None)), "nothing is known of its loss"


def test_a_lost_run_counts_as_untrained_whatever_its_score_says():
    runs = reports("a", [0.9, 0.8, 0.7]) + reports("b", [0.6, 0.6])
    runs.append(run("b", 2, NAN, lost="the loss is nan", evaluations=((15, 0.1),)))
    comparison = only(runs)
    assert comparison.start == pytest.approx(0.4), "the worst first evaluation of one that survived"
    b = comparison.methods[1]
    assert b.results == pytest.approx({0: 0.6, 1: 0.6, 2: 0.4})
    assert b.runs_lost == 1
    risen = [replace(r, descent=-0.5, score=0.99) if r.optimizer == "b" else r for r in runs]
    assert only(risen).methods[1].results == pytest.approx(dict.fromkeys(range(3), 0.5))
    assert (
        "3 of 3 report runs of b are lost and count as untrained." in Words(only(risen)).remarks()
    )
    assert "1 of 3 report runs of b is lost and counts as untrained." in Words(comparison).remarks()


def test_where_less_is_better_a_lost_run_counts_as_the_largest():
    runs = reports("a", [0.1, 0.2], lower_is_better=True) + reports(
        "b", [0.3, 0.4], lower_is_better=True
    )
    runs[3] = replace(runs[3], lost="nan", score=NAN)
    comparison = only(runs)
    assert [m.name for m in comparison.methods] == ["a", "b"]
    assert comparison.shown(comparison.methods[0].result).value == pytest.approx(0.15)
    assert comparison.methods[1].results == pytest.approx({0: -0.3, 1: -0.1}), (
        "a's first were -0.1 and 0"
    )
    ahead = comparison.pair(0, 1).ahead
    assert ahead.value > 0, "ahead is ahead"
    low, high = comparison.shown(comparison.methods[0].result)[1:]
    assert low < 0.15 < high


# ---- the search ------------------------------------------------------------------------------------


def tuned(optimizer, found, again, tuned_to, report, default):
    """A race of an optimizer: `again` by trial on three choosing seeds."""
    return [
        *search(optimizer, found),
        *(run(optimizer, 2000 + s, x, CHOOSE, t) for t, x in again.items() for s in range(3)),
        *reports(optimizer, report, trial=tuned_to),
        *reports(optimizer, default),
    ]


def test_what_is_reported_is_never_the_score_that_a_trial_was_chosen_by():
    runs = tuned("a", [0.2, 0.99, 0.5, 0.4], {2: 0.98, 3: 0.7}, 2, [0.6, 0.7, 0.8], [0.3, 0.3, 0.4])
    a = only(runs).methods[0]
    assert a.tuned
    assert a.result.value == pytest.approx(0.7)
    assert a.default.value == pytest.approx(1 / 3)
    assert a.searched == {"lr": pytest.approx(1e-2)}
    assert [t.result for t in a.trials] == pytest.approx([0.2, 0.99, 0.5, 0.4])
    better = [replace(r, score=0.999) if r.role != REPORT else r for r in runs]
    assert only(better).methods[0].result.value == pytest.approx(0.7)


def test_the_trial_is_the_one_that_was_chosen():
    runs = tuned("a", [0.2, 0.9, 0.8], {2: 0.5, 3: 0.7}, 3, [0.6, 0.7], [0.3, 0.3])
    runs += reports("a", [0.1, 0.2], trial=2)  # from an earlier race with fewer seeds
    a = only(runs).methods[0]
    assert a.result.value == pytest.approx(0.65)
    assert a.hyperparameters["lr"] == pytest.approx(0.1)


def test_the_luck_of_tuning_widens_the_interval():
    flat = tuned("a", [0.7] * 5, {2: 0.7, 3: 0.7}, 2, [0.6, 0.7, 0.8], [0.3] * 3)
    steep = tuned("a", [0.1, 0.7, 0.1, 0.1, 0.1], {2: 0.7, 3: 0.1}, 2, [0.6, 0.7, 0.8], [0.3] * 3)
    wide = [only(runs).methods[0].result for runs in (flat, steep)]
    assert wide[0].value == wide[1].value
    assert wide[1].high - wide[1].low > 1.5 * (wide[0].high - wide[0].low)
    plain = only(reports("a", [0.6, 0.7, 0.8])).methods[0]
    assert plain.luck is None
    assert wide[0].high == pytest.approx(plain.result.high, rel=0.02)


def test_the_best_on_the_edge_is_said():
    runs = tuned("a", [0.9, 0.5, 0.4], {1: 0.9}, 1, [0.9, 0.8], [0.3, 0.3])
    runs += tuned("b", [0.3, 0.5, 0.4], {2: 0.5}, 2, [0.5, 0.6], [0.3, 0.3])
    comparison = only(runs)
    assert [m.edge for m in comparison.methods] == [("lr",), ()]
    (remark,) = Words(comparison).remarks()
    assert remark.startswith("The best lr 0.001 of a lies on the edge of what was searched")


def test_an_optimizer_whose_trials_were_all_lost_is_compared_at_its_defaults():
    runs = tuned("a", [0.4, 0.9, 0.5], {2: 0.9}, 2, [0.9, 0.8], [0.3, 0.3])
    gone = [replace(r, lost="nan", score=NAN) for r in search("b", [0.1, 0.1, 0.1])]
    comparison = only([*runs, *gone, *reports("b", [0.5, 0.6])])
    b = comparison.methods[1]
    assert (b.name, b.tuned, b.trials_lost) == ("b", False, (3, 3))
    assert b.result.value == pytest.approx(0.55)
    assert (
        "b is compared at its defaults: no trial of it was chosen." in Words(comparison).remarks()
    )


# ---- targets, comparisons, all problems ---------------------------------------------------------------


def test_steps_and_seconds_to_the_target_with_misses():
    runs = reports("a", [0.9, 0.9, 0.6], target=0.65)
    comparison = only(runs)
    assert comparison.target_set
    a = comparison.methods[0]
    assert (a.steps.value, a.seconds.value) == (15, pytest.approx(0.15))
    a = only(reports("a", [0.9, 0.6, 0.6], target=0.65)).methods[0]
    assert (a.steps.value, a.seconds.value) == (INF, INF), "most of them missed it"
    said = replace(runs[0], steps_to_target=7, seconds_to_target=0.5)
    a = only([said]).methods[0]
    assert (a.steps.value, a.seconds.value) == (7, 0.5), "the run knows better"
    dead = replace(runs[0], lost="nan", score=NAN)
    assert only([dead]).methods[0].steps.value == INF


def test_without_a_target_it_is_what_the_optimizer_in_the_middle_reaches():
    comparison = only(
        reports("a", [0.9, 0.8]) + reports("b", [0.6, 0.6]) + reports("c", [0.1, 0.2])
    )
    assert not comparison.target_set
    assert comparison.target == pytest.approx(0.6)
    assert [m.steps.value for m in comparison.methods] == [15, 30, INF]


def test_problems_and_budgets_are_compared_apart():
    runs = reports("a", [0.5]) + reports("a", [0.6], steps=60) + reports("a", [0.7], problem="q")
    assert [c.title for c in comparisons(runs)] == ["p, 30 steps", "p, 60 steps", "q"]
    runs = reports("a", [0.5]) + reports("a", [0.6], schedule="constant", batch_size=9)
    assert [c.title for c in comparisons(runs)] == [
        "p, batches of 8, linear schedule",
        "p, batches of 9, constant schedule",
    ]
    changed = reports("a", [0.5]) + reports("a", [0.5], task="0123456789")
    assert [c.title for c in comparisons(changed)] == ["p, task 012345", "p, task t"]
    assert comparisons(search("a", [0.5])) == []


def test_what_is_not_finished_is_left_out_and_said():
    comparison = only([*reports("a", [0.5, 0.6]), *reports("b", [0.4]), *search("c", [0.5])])
    assert comparison.missing == ("c",)
    said = Words(comparison).remarks()
    assert said == [
        "Not finished, and left out: c.",
        "Some seeds are missing for b.",
    ]


def test_all_problems_together_by_hand():
    def on(problem, a, b, score=0.6):
        near = {"target": 0.5, "problem": problem}
        return [
            *(run("a", s, 0.6, steps_to_target=a, seconds_to_target=a, **near) for s in range(3)),
            *(
                run("b", s, score, steps_to_target=b, seconds_to_target=b / 9, **near)
                for s in range(3)
            ),
        ]

    found = comparisons(on("p", 10, 20) + on("q", 10, INF, 0.55))
    together = overall(found)
    assert together.names == ("a", "b")
    assert together.times.tolist() == [[10, 10], [20, INF]]
    assert together.scores == pytest.approx([1, (4 - 2) / 3 / 2], abs=1 / 198)
    assert together.by_seconds == pytest.approx([0.5, 0.5], abs=1 / 198), "9/2 is beyond 4"
    assert together.first == (2, 1)
    assert overall(found[:1]) is None
    partly = comparisons(on("p", 10, 20) + reports("a", [0.6], problem="q"))
    assert overall(partly) is None, "only one was raced on both"


# ---- sentences -------------------------------------------------------------------------------------


def test_a_clear_winner():
    comparison = only(reports("a", [0.9, 0.91, 0.92]) + reports("b", [0.5, 0.51, 0.52]))
    words = Words(comparison)
    assert words.verdict() == "a is best at its defaults, ahead of b by 0.400 (0.400 to 0.400)."
    assert words.enough() == words.defaults() == ""
    assert headline([comparison], None) == words.verdict()


def test_not_distinguishable_is_a_verdict():
    x = np.random.default_rng(0).normal(0.5, 0.1, size=(2, 10))
    words = Words(only(reports("a", x[0]) + reports("b", x[1])))
    assert words.verdict() == "Not distinguishable: 10 seeds cannot tell the two apart."
    assert "seeds would be needed" in words.enough()
    pair = words.comparison.pairs[0]
    assert pair.better is None
    assert pair.ahead.low < 0 < pair.ahead.high


def test_some_are_behind():
    x = np.random.default_rng(0).normal(0, 0.01, size=(5, 10))
    level = [0.5, 0.5, 0.5, 0.1, 0.1]
    runs = [
        r for name, row, at in zip("abcde", x, level, strict=True) for r in reports(name, row + at)
    ]
    assert Words(only(runs)).verdict() == "a leads, but 10 seeds cannot tell it from c and b."
    fewer = [r for r in runs if r.optimizer in "acde"]
    assert Words(only(fewer)).verdict() == "a leads, but 10 seeds cannot tell it from c."
    most = [r for r in runs if r.optimizer in "abcd"]
    assert Words(only(most)).verdict() == (
        "Not distinguishable: 10 seeds cannot tell 3 of 4 optimizers apart; d is behind."
    )


def test_one_seed_and_one_optimizer():
    words = Words(only(reports("a", [0.9]) + reports("b", [0.1])))
    assert (
        words.verdict()
        == "Not distinguishable: one seed tells nothing apart. a has the best result."
    )
    assert words.interval(words.comparison.methods[0].result) == "–"
    assert words.enough() == ""
    assert "Only a was raced" in Words(only(reports("a", [0.9, 0.8]))).verdict()


def test_what_the_defaults_would_have_said():
    runs = tuned("a", [0.4, 0.9, 0.5], {2: 0.9}, 2, [0.9, 0.91], [0.1, 0.1])
    runs += tuned("b", [0.4, 0.6, 0.5], {2: 0.6}, 2, [0.6, 0.61], [0.5, 0.5])
    comparison = only(runs)
    said = "At the default hyperparameters b comes first, and a last."
    assert Words(comparison).defaults() == said
    assert [m.name for m in comparison.by_default] == ["b", "a"]


def test_little_words():
    assert listed(["a"]) == "a"
    assert listed("abc") == "a, b and c"
    assert [place(x) for x in ((1, True), (4, False))] == ["1=", "4"]


# ---- a race that was run ---------------------------------------------------------------------------


def test_every_number_of_a_real_race_comes_from_its_run_files(small):
    runs = read(small)
    found = comparisons(runs)
    assert [c.title for c in found] == ["saddle", "stretched", "waves"]
    for comparison in found:
        for method in comparison.methods:
            own = [r for r in runs if (r.problem, r.optimizer) == (comparison.title, method.name)]
            chosen = {r.trial for r in own if r.role == REPORT and r.trial}
            (trial,) = chosen
            scores = [
                comparison.sign * r.score if not lost(r) else comparison.start
                for r in sorted(own, key=lambda r: r.seed)
                if r.role == REPORT and r.trial == trial
            ]
            assert method.result.value == pytest.approx(np.mean(scores))
            plain = np.std(scores, ddof=1) / len(scores) ** 0.5
            assert (method.result.high - method.result.low) / 2 >= 2.26 * plain
            assert method.trials_lost[1] == sum(r.role == TUNE for r in own)
            assert method.best_at.shape == (10,)
            assert method.works[0] <= method.works[1]
        places = [rank for rank, _ in comparison.ranks]
        for p in comparison.pairs:
            if p.better is not None:
                assert p.better == p.first, "the first has the better mean"
                assert places[p.first] <= places[p.second]
        assert comparison.ranks[0][0] == 1


def test_a_real_race_is_read_alike_in_any_order(small):
    runs = read(small)
    one, other = comparisons(runs), comparisons(runs[::-1])
    for a, b in zip(one, other, strict=True):
        assert [m.name for m in a.methods] == [m.name for m in b.methods]
        for m, n in zip(a.methods, b.methods, strict=True):
            assert m.result == pytest.approx(n.result)
