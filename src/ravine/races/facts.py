"""The contents of a report as plain data: for scripts, and for `ravine race report --json`."""

from __future__ import annotations

import math
from typing import Any

from ravine.races.findings import Comparison, Method
from ravine.races.report import Report
from ravine.races.sentences import Words
from ravine.races.statistics import Difference, Estimate

__all__ = ["facts"]


def facts(report: Report) -> dict[str, Any]:
    """Everything that a report's tables and sentences contain.

    Means and intervals are in terms of the score; `ahead` is above 0 for the better one. Whatever was
    not measured is None.
    """
    together = report.overall
    return {
        "headline": report.headline,
        "runs": len(report.runs),
        "problems": [_problem(comparison) for comparison in report.comparisons],
        "over_all_problems": together
        and [
            {
                "optimizer": name,
                "score": float(together.scores[i]),
                "score_by_seconds": float(together.by_seconds[i]),
                "best_or_tied": together.first[i],
                "steps_to_target": together.times[i].tolist(),
            }
            for i, name in enumerate(together.names)
        ],
    }


def _problem(comparison: Comparison) -> dict[str, Any]:
    words, run = Words(comparison), comparison.run
    ranked = zip(comparison.methods, comparison.ranks, strict=True)
    return {
        "problem": comparison.title,
        "about": run.about,
        "task": run.task,
        "steps": run.steps,
        "batch_size": run.batch_size,
        "schedule": run.schedule,
        "parameters": run.parameters,
        "score": run.score_name,
        "lower_is_better": run.lower_is_better,
        "decimals": words.decimals,
        "target": comparison.target,
        "target_is_the_problems": comparison.target_set,
        "untrained": comparison.sign * comparison.start,
        "trials": comparison.tier,
        "seeds": {role: list(seeds) for role, seeds in comparison.seeds.items()},
        "verdict": words.verdict(),
        "rank_correlation_of_defaults": comparison.correlation,
        "remarks": [x for x in (words.enough(), words.defaults(), *words.remarks()) if x],
        "optimizers": [_optimizer(comparison, m, rank) for m, rank in ranked],
        "pairs": [_pair(pair, words) for pair in comparison.pairs],
    }


def _optimizer(comparison: Comparison, m: Method, rank: tuple[int, bool]) -> dict[str, Any]:
    return {
        "optimizer": m.name,
        "rank": rank[0],
        "tied": rank[1],
        "tuned": m.tuned,
        "result": _estimate(comparison.shown(m.result)),
        "default": _estimate(comparison.shown(m.default)) if m.default else None,
        "hyperparameters": dict(m.hyperparameters),
        "searched": m.searched if m.tuned else {},
        "on_the_edge": list(m.edge),
        "best_trial": comparison.sign * max((t.result for t in m.trials), default=math.nan),
        "lr_that_works": m.works and list(m.works),
        "expected_best_at": None if m.best_at is None else (comparison.sign * m.best_at).tolist(),
        "steps_to_target": _estimate(m.steps),
        "seconds_to_target": _estimate(m.seconds),
        "seconds_per_step": m.seconds_per_step,
        "bytes_per_parameter": m.memory_per_parameter,
        "runs": len(m.runs),
        "runs_lost": m.runs_lost,
        "trials": len(m.trials),
        "trials_lost": m.trials_lost[0],
        "trials_stopped": sum(t.stopped_at is not None for t in m.trials),
        "by_seed": {str(seed): run.score for seed, run in sorted(m.runs.items())},
    }


def _pair(pair: Difference, words: Words) -> dict[str, Any]:
    return {
        "first": words.names[pair.first],
        "second": words.names[pair.second],
        "ahead": _estimate(pair.ahead),
        "better": None if pair.better is None else words.names[pair.better],
        "probability_of_being_better": _estimate(pair.beats),
        "seeds": pair.seeds,
        "seeds_needed": pair.needed,
    }


def _estimate(found: Estimate) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}
