"""Halving: the worse trials stop on the way, and what goes on is what it would be without."""

import math
from dataclasses import replace

import pytest
import scipy  # noqa: F401  which says where it is missing
import torch
from test_swarm import Recurrent, mlp, normalised, task

from ravine.races import protocol
from ravine.races.entrants import entrants
from ravine.races.pace import HALVED, Pace, work
from ravine.races.protocol import TIERS, Tier
from ravine.races.runs import RUNGS, kept

EIGHT = Tier(8, "lr")


def tuned(folder, its, names, width=32, alone="", halving=True):
    racing = entrants(names)
    pace = Pace(alone, width, dict.fromkeys((x.label for x in racing), 1e-3), 9e-4, 0.0)
    asked = protocol.tuning(its, racing, EIGHT, halving=halving)
    for batch in pace.batches(asked):
        work(its, racing, pace, "ravine race mine", str(folder), batch)
    return {(run.optimizer, run.trial): run for run in kept(folder, asked)}, racing


@pytest.mark.parametrize(
    ("make", "width", "alone"),
    [(mlp, 32, ""), (normalised, 5, ""), (mlp, 32, "as said"), (Recurrent, 32, "")],
)
def test_what_goes_on_is_what_it_would_be_without(tmp_path, make, width, alone):
    """For optimizers that kernels step, for those of torch, and for rules of matrices."""
    its, names = task(make, steps=20), ["adam", "torch.optim:RAdam", "muon"]
    halved, _ = tuned(tmp_path / "a", its, names, width, alone)
    whole, _ = tuned(tmp_path / "b", its, names, width, alone, halving=False)
    assert halved.keys() == whole.keys()
    for label in {label for label, _ in halved}:
        each = [run for (of, _), run in halved.items() if of == label]
        assert sorted(run.stopped_at or 20 for run in each) == [5, 5, 5, 5, 10, 10, 20, 20]
        for run in each:
            full = whole[label, run.trial]
            assert run.key != full.key
            end = run.stopped_at or 20
            curve = [point for point in full.curve if point[0] <= end]
            assert run.evaluations[-1] == (end, run.score)
            if make is normalised:  # torch's RAdam rounds by its place in memory
                curve = [(t, pytest.approx(loss, rel=1e-4)) for t, loss in curve]
                assert [*run.curve] == curve
            else:
                assert [*run.curve] == curve
                assert run.stopped_at or run.score == full.score
            assert run.made["command"] == "ravine race mine"
        at = {t: [dict(run.evaluations).get(t) for run in each] for t in (5, 10)}
        on = {t: [run for run in each if (run.stopped_at or 20) > t] for t in (5, 10)}
        for t, scores in at.items():
            best = sorted((x for x in scores if x is not None), reverse=True)[: len(on[t])]
            assert sorted(dict(run.evaluations)[t] for run in on[t]) == sorted(best)


def test_a_lost_trial_takes_no_place(tmp_path):
    """Of eight trials most diverge: the others go on to the next rung."""
    its = task(steps=20)

    class Bad(torch.optim.SGD):
        def step(self, closure=None):
            if self.param_groups[0]["lr"] > 3e-4:
                raise ArithmeticError("too fast")
            super().step()

    halved, racing = tuned(tmp_path, its, [Bad])
    lost = [run for run in halved.values() if run.lost]
    ends = [run.stopped_at for run in halved.values() if not run.lost]
    assert len(lost) > 4
    assert ends.count(None) == min(len(ends), 2)
    order = protocol.choosing(its, racing, Tier(8, "lr", finalists=9), [*halved.values()])
    assert {run.trial for run in order} == {r.trial for r in halved.values() if not r.lost}


def test_trials_that_went_further_come_first():
    its, racing = task(), entrants(["sgd"])
    runs = protocol.tuning(its, racing, EIGHT, halving=True)

    def ended(run):  # more is better; the later ones were stopped earlier, and had higher scores
        return replace(run, score=run.trial, stopped_at={5: 15, 6: 15, 7: 7, 8: 7}.get(run.trial))

    done = [ended(run) for run in runs]
    chosen = protocol.choosing(
        its, racing, Tier(8, "lr", finalists=6, choosing_seeds=(2000,)), done
    )
    assert [run.trial for run in chosen] == [4, 3, 2, 1, 6, 5]
    assert not any(run.rivals for run in chosen)


def test_rivals_are_those_of_one_search():
    its, racing = task(), entrants(["sgd", "adam"])
    few, many = (protocol.tuning(its, racing, Tier(n, "lr"), halving=True) for n in (8, 16))
    assert few[0].hyperparameters == many[0].hyperparameters
    assert few[0].name != many[0].name
    pace = Pace("", 32, {"sgd": 1e-3, "adam": 1e-3}, 0.0, 0.0)
    assert sorted(len(batch) for batch in pace.batches(few)) == [8, 8]
    assert pace.estimate(few) == pytest.approx(HALVED * 16 * 30 * 1e-3)


def test_halving_is_half_the_price_and_never_the_default():
    assert HALVED == 0.5
    assert [int(share * 25) for _, share in RUNGS] == [12, 6]
    its, racing = task(), entrants(["sgd"])
    assert not any(run.rivals for run in protocol.tuning(its, racing, TIERS["k25"]))
    assert math.isclose(RUNGS[-1][1] * 25, 6, abs_tol=0.5)
