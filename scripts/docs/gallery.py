"""What a rule's page shows of docs/optimizers.json: its ways over landscapes, trials, relatives, speed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from contourpy import contour_generator
from prose import table

from ravine import registry
from ravine.gallery import PROBLEMS, Problem
from ravine.gallery.trials import STEPS
from ravine.rule import Rule

FILE = Path(__file__).parents[2] / "docs" / "optimizers.json"
VIEWS = {
    "ravine": (-1.6, 1.6, -1.1, 1.1),
    "saddle": (-1.4, 1.6, -0.6, 1.46),
    "Rosenbrock": (-1.7, 1.5, -0.6, 1.6),
}
PICTURE = "Rosenbrock"
"""The landscape that a rule is shown on where there is room for one."""
POINTS = 120
"""How many steps are drawn there."""
WIDTH, HEIGHT = 320.0, 220.0
DOTS = 40  # steps that have one
CURVE = (120.0, 32.0)
DECADES = (2.0, -7.0)  # of losses that are drawn


@cache
def measured() -> dict[str, Any]:
    """The facts of all rules by name."""
    return json.loads(FILE.read_text())


def landscapes(rule: Rule) -> Iterator[str]:
    """Its ways, drawn, and what they are."""
    facts = measured().get(rule.name)
    if facts is None:  # of another package
        return
    rated = any(one["lr"] is not None for one in facts["trials"].values())
    rate = ", at the best learning rate for each" * rated
    yield "## On three landscapes"
    yield f"{POINTS} steps from the ring towards the cross{rate}. Dots mark the first {DOTS}."
    figures = "".join(_figure(rule, name, facts) for name in VIEWS)
    yield f'<div class="landscapes">{figures}</div>'


def trials(rule: Rule) -> Iterator[str]:
    """Where it gets to and where it fails."""
    facts = measured().get(rule.name)
    if facts is None:
        return
    by_name = facts["trials"]
    failed = [name for name, one in by_name.items() if one["steps"] is None]
    rated = any(one["lr"] is not None for one in by_name.values())
    grid = ", at the best of 13 learning rates in the search range" * rated
    yield "## Where it fails"
    yield _verdict(by_name, failed)
    yield (
        f"Each problem has two weights and one difficulty. A run has {STEPS} steps{grid}. *Steps*: the "
        "number of steps until the loss reaches the target, the dashed line, and stays there."
        + " *Rates*: the lowest and the highest learning rate that reach it."
        * rated
    )
    rows = []
    for name, problem in PROBLEMS.items():
        one = by_name[name]
        steps = "–" if one["steps"] is None else str(one["steps"])
        lr = [_number(one["lr"]), _span(one["reached"])] if rated else []
        rows.append((f"**{name}**: {problem.teaches}", _curve(problem, one), steps, *lr))
    heads = ["problem", f"loss over {STEPS} steps", ">steps"]
    yield table([*heads, *[">lr", ">rates"] * rated], rows)
    if failed:
        yield from _again(rule, failed[0], by_name[failed[0]])


def _verdict(by_name: dict[str, Any], failed: Sequence[str]) -> str:
    if len(failed) == len(by_name):
        return "It reaches none of the targets."
    if failed:
        return f"It does not reach the target on {listed(f'*{name}*' for name in failed)}."
    slowest = max(by_name, key=lambda name: by_name[name]["steps"])
    return f"It reaches every target, that of *{slowest}* last, after {by_name[slowest]['steps']} steps."


def _again(rule: Rule, name: str, one: Any) -> Iterator[str]:
    """The run that shows it, to be run again."""
    given = "" if one["lr"] is None else f", lr={one['lr']:g}"
    yield f"To repeat the run on *{name}*, and see whether its last point reaches the target:"
    yield (
        "```python\nfrom ravine.gallery import PROBLEMS, walk\nfrom ravine.registry import get\n\n"
        f'problem = PROBLEMS["{name}"]\npath = walk(get("{rule.name}"), problem{given})\n'
        "print(problem.loss(*path[-1]) <= problem.target)\n```"
    )
    yield "```text\nFalse\n```"


def _number(x: float | None) -> str:
    return "–" if x is None else f"{x:g}"


def _span(reached: Sequence[float] | None) -> str:
    if not reached:
        return "–"
    low, high = reached
    return f"{low:g}" if low == high else f"{low:g}&nbsp;to&nbsp;{high:g}"


def listed(words: Iterable[str]) -> str:
    """Words with commas and, before the last one, an "and"."""
    words = [*words]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def relatives(rule: Rule) -> Iterator[str]:
    """Its variants, and how far apart they go."""
    facts, rules = measured().get(rule.name), registry.own()
    if not facts or not facts["apart"]:
        return
    yield "## Variants"
    root = rule.card.variant_of
    yield (
        "The distance of the two paths after 60 identical gradients, with this rule's hyperparameters, "
        "divided by the length of this rule's path."
        + f" The page of `{root}` says how the other variants differ from it."
        * (len(facts["apart"]) > 1)
        * bool(root)
    )
    rows = []
    for name, distance in facts["apart"].items():
        axes = _between(rule, rules[name])
        rows.append((f"[`{name}`]({name}.md)", ", ".join(axes) or "–", f"{distance:.2g}"))
    yield table(("rule", "differs in", ">distance"), rows)


def _between(one: Rule, other: Rule) -> Sequence[str]:
    """What two relatives differ in, where one is a variant of the other."""
    if other.card.variant_of == one.name:
        return other.card.axes
    return one.card.axes if one.card.variant_of == other.name else ()


def speed(rule: Rule) -> Iterator[str]:
    """Engine and time in a sentence."""
    if rule.name not in measured():
        return
    found = measured()[rule.name]["speed"]
    engine = found["engine"].partition(":")[0]
    what = "A step" if found["tensors"] == 6 else "A step of the matrices"
    yield (
        f"{what} of a perceptron of 109,000 parameters runs on the {engine} engine and takes "
        f"{found['of_adam']:.1f} times as long as Adam's, side by side on two cores of one machine."
    )


# ---- pictures ----------------------------------------------------------------------------------


def picture(name: str) -> str:
    """A rule's way over one landscape, small and without words; "" where nothing is measured."""
    facts = measured().get(name)
    return (facts and _drawn(PICTURE, facts["walks"][PICTURE], f'<use href="#{PICTURE}"/>')) or ""


def contours() -> str:
    """What the pictures of a page have in common, once."""
    lines = f'<defs><g id="{PICTURE}">{_contours(PICTURE)}</g></defs>'
    return f'<svg width="0" height="0" style="position: absolute">{lines}</svg>'


def _figure(rule: Rule, name: str, facts: Any) -> str:
    one = facts["trials"][name]
    lr = "" if one["lr"] is None else f" at lr {one['lr']:g}"
    steps = f"not within {STEPS} steps" if one["steps"] is None else f"{one['steps']} steps"
    text = f"{name}{lr}: {steps}"
    drawn = _drawn(name, facts["walks"][name], _contours(name), f"{rule.title} on {text}")
    return f"<figure>{drawn}<figcaption>{text}</figcaption></figure>"


def _at(name: str, x: float, y: float) -> tuple[float, float]:
    """The place of a point in the picture; what is outside of it stays near."""
    left, right, bottom, top = VIEWS[name]
    across, down = (x - left) / (right - left) * WIDTH, (top - y) / (top - bottom) * HEIGHT
    near = min(max(across, -50), WIDTH + 50), min(max(down, -50), HEIGHT + 50)
    return round(near[0], 1), round(near[1], 1)


def _drawn(name: str, way: Sequence[Sequence[float]], contours: str, label: str = "") -> str:
    points = [_at(name, x, y) for x, y in way]
    line = " ".join(f"{x:g},{y:g}" for x, y in points)
    # One path of points with round ends: a circle each would be three times as long.
    dots = "".join(f"M{x:g} {y:g}h0" for x, y in points[:DOTS])
    problem = PROBLEMS[name]
    (x0, y0), (x1, y1) = _at(name, *problem.start), _at(name, *problem.minimum)
    role = f'role="img" aria-label="{label}"' if label else 'aria-hidden="true"'
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" {role}><g class="contours">{contours}</g>'
        f'<path class="minimum" d="M{x1 - 5:g} {y1:g}h10M{x1:g} {y1 - 5:g}v10"/>'
        f'<polyline class="way" points="{line}"/><path class="way dots" d="{dots}"/>'
        f'<circle class="start" cx="{x0:g}" cy="{y0:g}" r="5"/></svg>'
    )


@cache
def _contours(name: str) -> str:
    problem = PROBLEMS[name]
    left, right, bottom, top = VIEWS[name]
    xs, ys = np.linspace(left, right, 65), np.linspace(bottom, top, 45)
    excess = problem.excess(xs[None, :], ys[:, None])
    made = contour_generator(xs, ys, excess)
    lines = []
    for level in np.geomspace(4e-4, 0.6, 9) * excess.max():
        for line in made.lines(level):
            px = (line[:, 0] - left) / (right - left) * WIDTH
            py = (top - line[:, 1]) / (top - bottom) * HEIGHT
            at = " ".join(f"{x:.0f},{y:.0f}" for x, y in zip(px, py, strict=True))
            lines.append(f'<polyline points="{at}"/>')
    return "".join(lines)


def _curve(problem: Problem, one: Any) -> str:
    """The loss of the best run, on a logarithmic scale, and the target."""
    width, height = CURVE
    top, bottom = DECADES

    def down(decades: float) -> float:
        return round((top - min(max(decades, bottom), top)) / (top - bottom) * height, 1)

    excess = problem.target - problem.loss(*problem.minimum)
    target = down(float(np.log10(excess)))
    step = width / (STEPS // 5)
    line = " ".join(f"{i * step:.1f},{down(loss):g}" for i, loss in enumerate(one["losses"]))
    ended = "failed" if one["steps"] is None else "reached"
    said = "above the target" if one["steps"] is None else "at the target"
    return (
        f'<svg class="curve {ended}" viewBox="0 -2 {width:g} {height + 4:g}" role="img" '
        f'aria-label="ends {said}"><path class="target" d="M0 {target:g}H{width:g}"/>'
        f'<polyline points="{line}"/></svg>'
    )
