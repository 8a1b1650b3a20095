"""Record the witnesses: python -m witnesses [RULE ...], in an environment with the packages.

A path is only recorded where the rule follows it as closely as the card says; otherwise it is an error, with
the distance.
"""

import sys
from typing import Any

import numpy as np

from ravine.cards import Witness
from ravine.rule import Rule
from witnesses import packages, problem
from witnesses.following import distance, is_so
from witnesses.stacks import witnesses


def recorded(rule: Rule, witness: Witness) -> problem.Path_:
    """Run the witness: loud, and calm."""
    packages.check_version(witness)
    runs: dict[bool, list[np.ndarray]] = {}
    said: dict[str, dict[str, Any]] = {}
    evaluated = np.array([])
    saved: Any = ({}, [])
    for loud in (True, False):
        values = problem.values(rule, witness, loud)
        said["loud" if loud else "calm"] = values
        moves = loud and not witness.constant_lr and "lr" in values

        def lr(t: int, values: Any = values, moves: bool = moves) -> float:
            return values.get("lr", 0) * (problem.schedule(t) if moves else 1)

        starts = problem.starts(witness.shapes)
        first = {**values, "lr": lr(1)} if "lr" in values else values
        made = packages.kind(witness)(witness, first, starts, lr if moves else None)
        grads = problem.gradients(witness.shapes, loud and witness.late)
        given = problem.signals(rule, witness.shapes)
        runs[loud] = []
        for t, (row, signals) in enumerate(zip(grads, given, strict=True), 1):
            made.step(row, lr(t), signals)
            runs[loud].append(_flat(made.arrays()))
            if loud and t == problem.HALF and hasattr(made, "checkpoint"):
                saved = made.checkpoint()
        if loud and rule.evaluation is not None and hasattr(made, "evaluated"):
            evaluated = _flat(made.evaluated())
    return problem.Path_(np.array(runs[True]), runs[False][-1], evaluated, said, *saved)


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.array([]), *(np.ravel(x) for x in arrays)])


def main(names: list[str]) -> int:
    """Record those of the rules named, or of all; how many could not be."""
    problem.PATHS.mkdir(exist_ok=True)
    failed = 0
    for rule, witness in witnesses():
        if names and rule.name not in names:
            continue
        label = f"{rule.name}: {witness.package}, {witness.call}"
        try:
            path = recorded(rule, witness)
            apart = distance(rule, witness, path)
        except Exception as error:
            print(f"{label}: {type(error).__name__}: {error}")
            failed += 1
            continue
        wrong = packages.misplaced(witness)
        print(f"{label}: {apart:.1e}{'; not so: ' * bool(wrong)}{', '.join(wrong)}")
        if is_so(apart, witness) and not wrong:
            path.write(problem.file_of(rule, witness))
        else:
            failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
