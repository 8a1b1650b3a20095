"""A small race that really runs, in NumPy, and the run files that it leaves: what reports are tested on.

All trials and seeds of an optimizer are rows of one array, as rules are elementwise.

    python tests/races/small_race.py FOLDER     a larger one, to look at its report
"""

import math
import sys
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from ravine import registry
from ravine.races.environment import environment
from ravine.races.runs import CHOOSE, REPORT, TUNE, Run, keep

WIDTH, BATCH = 12, 16


@dataclass(frozen=True)
class Problem:
    """Two numbers in, a class or a number out, by a network with one hidden layer."""

    name: str
    about: str
    classes: bool
    target: float | None
    steep: float = 1.0

    def data(self, part):
        rng = np.random.default_rng({"train": 1, "validation": 2, "test": 3}[part])
        x = rng.uniform(-1, 1, size=(400, 2))
        if self.classes:
            y = np.where(np.sin(5 * x[:, 0]) > 1.5 * x[:, 1], 1.0, -1.0)
            y *= np.where(rng.random(400) < 0.05, -1, 1)
        else:
            y = np.sin(3 * x[:, 0]) * x[:, 1] + 0.1 * rng.standard_normal(400)
        return x * [self.steep, 1], y

    def loss(self, p, x, y):
        """Losses of shape (rows,), gradients, and outputs; x has shape (rows or 1, batch, 2)."""
        w, b, v = (
            p[:, : 2 * WIDTH].reshape(-1, 2, WIDTH),
            p[:, 2 * WIDTH : 3 * WIDTH],
            p[:, 3 * WIDTH :],
        )
        h = np.tanh(x @ w + b[:, None])
        out = (h @ v[:, :, None])[:, :, 0]
        with np.errstate(over="ignore"):
            if self.classes:
                losses = np.logaddexp(0, -y * out)
                d = -y / (1 + np.exp(y * out))
            else:
                losses, d = (out - y) ** 2, 2 * (out - y)
        d = d / y.shape[-1]
        dh = d[:, :, None] * v[:, None] * (1 - h * h)
        g = [np.swapaxes(x, 1, 2) @ dh, dh.sum(1), (d[:, None] @ h)[:, 0]]
        return losses.mean(-1), np.concatenate([a.reshape(len(p), -1) for a in g], 1), out

    def scores(self, p, part):
        x, y = self.data(part)
        with np.errstate(all="ignore"):
            out = self.loss(p, x[None], y[None])[2]
            return (
                ((out > 0) == (y > 0)).mean(1)
                if self.classes
                else np.sqrt(((out - y) ** 2).mean(1))
            )


PROBLEMS = [
    Problem("waves", "Which side of a wave a point is on, 5 % of them wrong.", True, 0.82),
    Problem("saddle", "A smooth surface with noise, by its root mean square error.", False, None),
    Problem("stretched", "As waves, one of the two numbers 20 times too large.", True, 0.8, 20.0),
]
OPTIMIZERS = ["sgd", "momentum", "rmsprop", "adam", "adagrad"]


def train(problem, name, trials, role, seeds, steps):
    """Runs of all trials, [(number, {"lr": ...})], on all seeds, together."""
    rule, made = registry.get(name), environment()
    rows = [(number, values, seed) for number, values in trials for seed in seeds]
    begin = {s: np.random.default_rng([s, 0]).standard_normal(4 * WIDTH) * 0.5 for s in seeds}
    draws = {s: np.random.default_rng([s, 1]).integers(400, size=(steps, BATCH)) for s in seeds}
    p = np.stack([begin[seed] for *_, seed in rows])
    lr = np.array([values["lr"] for _, values, _ in rows])[:, None]
    other = {h.name: h.default for h in rule.hyperparameters.values() if h.name != "lr"}
    space = {"lr": (1e-4, 10.0, 0.0)}
    x, y = problem.data("train")
    state, since = rule.init(p, lr=lr, **other), np.zeros(len(rows))
    curve, looks = [[] for _ in rows], [[] for _ in rows]
    died = np.zeros(len(rows), int)
    for t in range(1, steps + 1):
        batch = np.stack([draws[seed][t - 1] for *_, seed in rows])
        with np.errstate(all="ignore"):
            losses, g, _ = problem.loss(p, x[batch], y[batch])
            result = step(rule, p, g, state, t, lr * (1 - (t - 1) / steps), other)
        p, state, since = result[0], result[1], since + losses
        died[(died == 0) & ~np.isfinite(losses)] = t
        if t % max(steps // 50, 1) == 0:
            for i, total in enumerate(since):
                if not died[i] or died[i] > t - steps // 50:
                    curve[i].append((t, float(total / max(steps // 50, 1))))
            since = np.zeros(len(rows))
        if t % max(steps // 20, 1) == 0:
            for i, found in enumerate(
                problem.scores(p, "test" if role == REPORT else "validation")
            ):
                if not died[i]:
                    looks[i].append((t, float(found)))
    for i, (number, values, seed) in enumerate(rows):
        reached = math.inf
        if problem.target is not None and not died[i]:
            good = (s for s, found in looks[i] if (found >= problem.target) == problem.classes)
            reached = next(good, math.inf)
        yield Run(
            task=f"task-{problem.name}",
            rule=f"rule-{name}",
            hyperparameters={**other, **values},
            role=role,
            seed=seed,
            steps=steps,
            batch_size=BATCH,
            schedule="linear",
            problem=problem.name,
            about=problem.about,
            optimizer=name,
            trial=number,
            space=space,
            score_name="accuracy" if problem.classes else "RMSE",
            lower_is_better=not problem.classes,
            target=problem.target,
            parameters=4 * WIDTH,
            curve=tuple(curve[i]),
            evaluations=tuple(looks[i]),
            score=math.nan if died[i] else looks[i][-1][1],
            descent=None if died[i] else curve[i][0][1] - float(np.mean(curve[i][-5:], 0)[1]),
            lost=f"the loss is not finite at step {died[i]}" if died[i] else "",
            lost_at=int(died[i]) or None,
            steps_to_target=None if problem.target is None else reached,
            seconds_to_target=None if problem.target is None else reached * 1e-4,
            seconds_per_step=1e-4 * (1 + len(state) / 4),
            memory_per_parameter=4.0 * len(state),
            how="swarm",
            made={k: made[k] for k in ("ravine", "python", "packages", "system", "cpu")},
        )


def step(rule, p, g, state, t, lr, other):
    arguments = [p, g, *state] + ([t] if rule.takes_t else [])
    found = rule(*arguments, lr=lr, **other)
    return (found[0], list(found[1:])) if isinstance(found, tuple) else (found, [])


def race(
    folder, problems=PROBLEMS, optimizers=OPTIMIZERS, *, trials=25, seeds=10, steps=200, tuning=2
):
    """Tune, choose, report; every run is kept in the folder."""
    points = qmc.Halton(1, rng=0).random(trials)[:, 0]
    search = [(i + 1, {"lr": float(10 ** (5 * u - 4))}) for i, u in enumerate(points)]
    for problem in problems:
        for name in optimizers:
            sign = 1 if problem.classes else -1

            def mean(runs, number, sign=sign):
                found = [sign * r.score for r in runs if r.trial == number]
                return float(np.mean(np.nan_to_num(found, nan=-1e9)))

            lr = registry.get(name).hyperparameters["lr"].default
            tuned = [*train(problem, name, search, TUNE, range(100, 100 + tuning), steps)]
            few = sorted(search, key=lambda trial: -mean(tuned, trial[0]))[:5]
            again = [*train(problem, name, few, CHOOSE, range(200, 203), steps)]
            best = max(few, key=lambda trial: mean(again, trial[0]))
            report = [*train(problem, name, [(0, {"lr": lr}), best], REPORT, range(seeds), steps)]
            for run in (*tuned, *again, *report):
                keep(folder, run)


if __name__ == "__main__":
    race(sys.argv[1], steps=400)
