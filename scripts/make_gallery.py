"""Measure what the optimizers' pages show, and write it to docs/optimizers.json.

    python scripts/make_gallery.py               # all rules; 10 seconds each
    python scripts/make_gallery.py adam lion     # these
    python scripts/make_gallery.py --stale       # those that have changed since

Of each rule: how it does on the small problems of ravine.gallery and the way it goes on those that are
drawn, how far it goes from its relatives, and the time of a step beside Adam's. A rule is found changed
by the digest of what it computes.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ravine import registry
from ravine.bench import contenders
from ravine.bench.timing import take_turns
from ravine.engines.digest import digest
from ravine.gallery import PROBLEMS, apart, trial, walk
from ravine.races.atomic import write
from ravine.rule import Rule
from ravine.torch.classes import optimizer

FILE = Path(__file__).parents[1] / "docs" / "optimizers.json"
DRAWN = ("ravine", "saddle", "Rosenbrock")
POINTS = 120


def relatives(rule: Rule) -> list[str]:
    """The rule that this is a variant of, that one's other variants, and its own."""
    rules = registry.own()
    root = rule.card.variant_of or rule.name
    family = [root, *(name for name, other in rules.items() if other.card.variant_of == root)]
    return [name for name in family if name != rule.name] if len(family) > 1 else []


def facts(name: str) -> dict[str, Any]:
    """What is computed of a rule: all but times."""
    rule = registry.own()[name]
    trials = [trial(rule, problem) for problem in PROBLEMS]
    ways = {}
    for one, problem in zip(trials, PROBLEMS, strict=True):
        if problem.name in DRAWN:
            path = walk(rule, problem, one.lr, POINTS)
            ways[problem.name] = [[round(x, 4) for x in point] for point in path]
    return {
        "digest": digest(rule),
        "trials": [{**asdict(one), "lr": one.lr and float(f"{one.lr:.3g}")} for one in trials],
        "walks": ways,
        "apart": {other: apart(rule, registry.own()[other]) for other in relatives(rule)},
    }


def speed(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The time of a step on an MLP, beside Adam's, and the engine."""
    found = {}
    for name in names:
        made = optimizer(registry.own()[name])
        try:
            ours = made(contenders.parameters("mlp"), lr=0.0)
            ours.step()
        except (ValueError, TypeError):  # no such rate, or not for vectors
            params = [p for p in contenders.parameters("mlp") if p.ndim == 2]
            ours = made(params)
        adam = optimizer("adam")(contenders.parameters("mlp"))
        steps = {"ours": ours.step, "adam": adam.step}
        taken = {k: sorted(v)[len(v) // 2] for k, v in take_turns(steps, 0.4).items()}
        found[name] = {
            "engine": ours.engine,
            "us": round(1e6 * taken["ours"], 1),
            "of_adam": round(taken["ours"] / taken["adam"], 2),
            "tensors": len(ours.param_groups[0]["params"]),
        }
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rules", nargs="*", metavar="RULE")
    parser.add_argument("--stale", action="store_true", help="those that have changed since")
    asked = parser.parse_args()
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    rules = registry.own()
    names = asked.rules or list(rules)
    if asked.stale:
        names = [k for k in names if known.get(k, {}).get("digest") != digest(rules[k])]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for name, found in zip(names, pool.map(facts, names), strict=True):
            print(name, flush=True)
            known[name] = {**known.get(name, {}), **found}
    for name, found in speed(names).items():
        known[name]["speed"] = found
    known = {name: known[name] for name in sorted(known) if name in rules}
    write(FILE, (json.dumps(known, separators=(",", ":")).replace('},"', '},\n"') + "\n").encode())


if __name__ == "__main__":
    main()
