"""What a rule's page shows of docs/optimizers.json: its ways over landscapes, trials, relatives, speed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from contourpy import contour_generator
from prose import table

from ravine import registry
from ravine.gallery import PROBLEMS, Problem
from ravine.rule import Rule

FILE = Path(__file__).parents[2] / "docs" / "optimizers.json"
VIEWS = {
    "ravine": (-1.6, 1.6, -1.1, 1.1),
    "saddle": (-1.4, 1.6, -0.7, 1.5),
    "Rosenbrock": (-1.7, 1.5, -0.6, 1.6),
}
MINIMA = {"ravine": (0.0, 0.0), "saddle": (0.0, 1.0), "Rosenbrock": (1.0, 1.0)}
WIDTH, HEIGHT = 320.0, 220.0


@cache
def measured() -> dict[str, Any]:
    """The facts of all rules by name."""
    return json.loads(FILE.read_text())


def landscapes(rule: Rule) -> Iterator[str]:
    """Its ways, drawn, and what they are."""
    facts = measured().get(rule.name)
    if facts is None:  # of another package
        return
    rates = {one["problem"]: one for one in facts["trials"]}
    yield "## On three landscapes"
    figures = "".join(
        _figure(rule, problem, facts["walks"][problem.name], rates[problem.name])
        for problem in PROBLEMS
        if problem.name in VIEWS
    )
    yield f'<div class="landscapes">{figures}</div>'


def trials(rule: Rule) -> Iterator[str]:
    """Where it gets to and where it fails."""
    facts = measured().get(rule.name)
    if facts is None:
        return
    by_name = {one["problem"]: one for one in facts["trials"]}
    failed = [name for name, one in by_name.items() if one["steps"] is None]
    yield "## Where it fails"
    yield (
        "Steps until the loss stays at its target, within 500, at the best of 13 learning rates over "
        f"the range worth searching. {_verdict(len(by_name), failed)}"
    )
    rows = []
    for problem in PROBLEMS:
        one = by_name[problem.name]
        steps = "–" if one["steps"] is None else str(one["steps"])
        lr = "–" if one["lr"] is None else f"{one['lr']:g}"
        rows.append((f"{problem.name}: {problem.teaches}", steps, lr))
    yield table(("problem", ">steps", ">lr"), rows)


def _verdict(count: int, failed: Sequence[str]) -> str:
    if not failed:
        return "It reaches all of them."
    if len(failed) == count:
        return "It reaches none of them."
    return f"It does not get there on {', '.join(failed)}."


def relatives(rule: Rule) -> Iterator[str]:
    """Its variants, and how far apart they go."""
    facts, rules = measured().get(rule.name), registry.own()
    if not facts or not facts["apart"]:
        return
    yield "## Variants"
    yield (
        "How far the paths are apart after 60 equal gradients at equal hyperparameters, relative to the "
        "length of this one's."
    )
    rows = []
    for name, distance in facts["apart"].items():
        card = rules[name].card if rules[name].card.variant_of else rule.card
        rows.append((f"[`{name}`]({name}.md)", ", ".join(card.axes), f"{distance:.1e}"))
    yield table(("rule", "differs in", ">distance"), rows)


def speed(rule: Rule) -> Iterator[str]:
    """Engine and time in a sentence."""
    if rule.name not in measured():
        return
    found = measured()[rule.name]["speed"]
    engine = found["engine"].partition(":")[0]
    share = f"{found['of_adam']:.1f} times as long as Adam's"
    yield (
        f"A step on a perceptron of 109,000 parameters runs on the {engine} engine; it took {share}, "
        "side by side on two cores of one machine."
    )


def _figure(rule: Rule, problem: Problem, way: Sequence[Sequence[float]], one: Any) -> str:
    left, right, bottom, top = VIEWS[problem.name]

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            round((x - left) / (right - left) * WIDTH, 1),
            round((top - y) / (top - bottom) * HEIGHT, 1),
        )

    points = [at(x, y) for x, y in way]
    inside = [(min(max(x, -50), WIDTH + 50), min(max(y, -50), HEIGHT + 50)) for x, y in points]
    line = " ".join(f"{x:g},{y:g}" for x, y in inside)
    dots = "".join(f'<circle cx="{x:g}" cy="{y:g}" r="2"/>' for x, y in inside[:40])
    (x0, y0), (x1, y1) = at(*problem.start), at(*MINIMA[problem.name])
    lr = "" if one["lr"] is None else f" at lr {one['lr']:g}"
    steps = "not within 500 steps" if one["steps"] is None else f"{one['steps']} steps"
    text = f"{problem.name}{lr}: {steps}"
    return (
        f'<figure><svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{rule.title} on {text}">'
        f'<g class="contours">{_contours(problem)}</g>'
        f'<path class="minimum" d="M{x1 - 5:g} {y1:g}h10M{x1:g} {y1 - 5:g}v10"/>'
        f'<polyline class="way" points="{line}"/><g class="way">{dots}</g>'
        f'<circle class="start" cx="{x0:g}" cy="{y0:g}" r="5"/></svg>'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _contours(problem: Problem) -> str:
    left, right, bottom, top = VIEWS[problem.name]
    xs, ys = np.linspace(left, right, 65), np.linspace(bottom, top, 45)
    loss = np.array([[problem.loss(x, y) for x in xs] for y in ys])
    low = problem.loss(*MINIMA[problem.name])
    made = contour_generator(xs, ys, loss - low)
    lines = []
    for level in np.geomspace(0.01, 1, 7) * (loss.max() - low) * 0.6:
        for line in made.lines(level):
            px = (line[:, 0] - left) / (right - left) * WIDTH
            py = (top - line[:, 1]) / (top - bottom) * HEIGHT
            at = " ".join(f"{x:.0f},{y:.0f}" for x, y in zip(px, py, strict=True))
            lines.append(f'<polyline points="{at}"/>')
    return "".join(lines)
