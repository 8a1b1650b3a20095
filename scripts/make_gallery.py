"""Measure what the optimizers' pages show, and write it to docs/optimizers.json.

    python scripts/make_gallery.py               # all rules; 5 seconds each on two cores
    python scripts/make_gallery.py adam lion     # these
    python scripts/make_gallery.py --stale       # those that have changed since
    python scripts/make_gallery.py --speed       # only the times, on a quiet machine

Of each rule: how it does on the small problems of ravine.gallery and the way it goes on those that are
drawn, how far it goes from its relatives, and the time of a step beside Adam's. A rule is found changed
by the digest of what it computes.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ravine import registry
from ravine.bench import contenders
from ravine.bench.timing import take_turns
from ravine.engines.digest import digest
from ravine.gallery import PROBLEMS, Trial, apart, trial
from ravine.races.atomic import write
from ravine.rule import Rule
from ravine.torch.classes import optimizer

FILE = Path(__file__).parents[1] / "docs" / "optimizers.json"
DRAWN = ("ravine", "saddle", "Rosenbrock")
POINTS = 120  # of a way that is drawn
EVERY = 5  # steps, of the losses that are drawn: outliers come at a multiple of it
FLOOR = 1e-9


def stale(known: Mapping[str, Any]) -> list[str]:
    """The rules of which what is known is missing, or of what they or their relatives were before."""
    rules = registry.own()
    digests = {name: digest(rule) for name, rule in rules.items()}
    changed = {name for name, now in digests.items() if known.get(name, {}).get("digest") != now}
    return [
        name
        for name, rule in rules.items()
        if changed & {name, *relatives(rule)} or [*known[name]["apart"]] != relatives(rule)
    ]


def relatives(rule: Rule) -> list[str]:
    """The rule that this is a variant of, that one's other variants, and its own."""
    rules = registry.own()
    root = rule.card.variant_of or rule.name
    family = [root, *(name for name, other in rules.items() if other.card.variant_of == root)]
    return [name for name in family if name != rule.name] if len(family) > 1 else []


def facts(name: str) -> dict[str, Any]:
    """What is computed of a rule: all but times."""
    rule = registry.own()[name]
    trials = {problem: trial(rule, PROBLEMS[problem]) for problem in PROBLEMS}
    return {
        "digest": digest(rule),
        "trials": {problem: _told(one) for problem, one in trials.items()},
        "walks": {k: trials[k].path[: POINTS + 1].round(3).tolist() for k in DRAWN},
        "apart": {
            other: float(f"{apart(rule, registry.own()[other]):.1e}") for other in relatives(rule)
        },
    }


def _told(one: Trial) -> dict[str, Any]:
    """A trial in numbers.

    reached: the lowest and the highest rate that did. losses: above the minimum, the logarithm to base
    10, after every 5th step.
    """
    excess = PROBLEMS[one.problem].excess(*one.path[::EVERY].T)
    reached = [lr for lr in one.reached if lr is not None]
    return {
        "steps": one.steps,
        "lr": one.lr,
        "reached": [min(reached), max(reached)] if reached else None,
        "losses": np.log10(np.maximum(excess, FLOOR)).round(1).tolist(),
    }


def speed(name: str) -> dict[str, Any]:
    """The time of a step on an MLP, beside Adam's, and the engine."""
    made = optimizer(registry.own()[name])
    try:
        ours = made(contenders.parameters("mlp"), lr=0.0)
        ours.step()
    except (ValueError, TypeError):  # no such rate, or not for vectors
        params = [p for p in contenders.parameters("mlp") if p.ndim == 2]
        ours = made(params)
    adam = optimizer("adam")(contenders.parameters("mlp"))
    adam.step()
    steps = {"ours": ours.step, "adam": adam.step}
    taken = {k: sorted(v)[len(v) // 2] for k, v in take_turns(steps, 0.4).items()}
    return {
        "engine": ours.engine,
        "us": round(1e6 * taken["ours"], 1),
        "of_adam": round(taken["ours"] / taken["adam"], 2),
        "tensors": len(ours.param_groups[0]["params"]),
    }


def save(known: Mapping[str, Any]) -> None:
    """Write the facts of the rules that there are, a line for each."""
    lines = (
        f"{json.dumps(name)}:{json.dumps(known[name], separators=(',', ':'), allow_nan=False)}"
        for name in sorted(known)
        if name in registry.own()
    )
    write(FILE, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rules", nargs="*", metavar="RULE")
    parser.add_argument("--stale", action="store_true", help="those that have changed since")
    parser.add_argument("--speed", action="store_true", help="only the times")
    asked = parser.parse_args()
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    names: Sequence[str] = asked.rules or [*registry.own()]
    if asked.stale:
        names = [name for name in names if name in stale(known)]
    if not asked.speed:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            for name, found in zip(names, pool.map(facts, names), strict=True):
                known[name] = {**known.get(name, {}), **found}
    for name in names:  # alone
        known[name]["speed"] = speed(name)
        print(name, flush=True)
    save(known)


if __name__ == "__main__":
    main()
