"""What the literature says of comparing optimizers, reproduced by the race's own machinery."""

import numpy as np
import pytest

from ravine import get
from ravine.races.entrants import entrant
from ravine.races.pace import asked
from ravine.races.protocol import points
from ravine.races.swarm import Crew, Replica, train
from ravine.races.task import problem
from ravine.races.together import Together


def scores(task, wanted, seed):
    """The score of each (name, values) after training with a seed, on the test part."""
    racing = [entrant(name) for name, _ in wanted]
    models = [task.model(seed) for _ in wanted]
    program = Together(task, models)
    replicas = [
        Replica(asked(task, each, values, role="report", seed=seed), each, model)
        for each, (_, values), model in zip(racing, wanted, models, strict=True)
    ]
    runs = train(task, replicas, seed, lambda some: [Crew(program, some)])
    return [np.nan_to_num(run.score, nan=0.0) for run in runs]


def test_the_order_at_default_rates_is_not_that_of_tuned_ones():
    """MNIST-1D: SGD is last with its default, and first at the best of 25 learning rates.

    The rates are those that `ravine race --problem mnist-1d` chooses.
    """
    wanted = [("sgd", {}), ("rmsprop", {}), ("sgd", {"lr": 1.45}), ("rmsprop", {"lr": 0.009})]
    found = [scores(problem("mnist-1d"), wanted, seed) for seed in (0, 1)]
    sgd, rmsprop, tuned_sgd, tuned_rmsprop = np.mean(found, 0)
    assert sgd < rmsprop - 0.4
    assert tuned_sgd > tuned_rmsprop + 0.04


def test_the_best_trials_own_score_is_too_good():
    """The winner's curse: a trial that was chosen for its score does worse on other seeds."""
    task = problem("mnist-1d").within(250)
    space = entrant("adam").space("lr")
    wanted = [("adam", point) for point in points(space, 25)]
    found = np.array([scores(task, wanted, seed) for seed in range(5)])  # (seeds, trials)
    own, others = [], []
    for i, row in enumerate(found):
        best = row.argmax()
        own.append(row[best])
        others.append(np.delete(found[:, best], i).mean())
    assert np.mean(own) > np.mean(others) + 0.002


def test_adam_becomes_momentum_as_eps_grows():
    """Choi et al., 2019, arXiv:1910.05446: with lr = c eps, Adam tends to momentum, by 1 / eps.

    An eps inside the root, or before the bias correction, tends elsewhere or otherwise fast.
    """
    c, beta1, steps = 0.05, 0.9, 50
    curvatures = np.geomspace(0.1, 1.0, 10)
    start = 400 * np.random.default_rng(0).normal(size=10)
    adam, gaps = get("adam"), []
    for eps in (1e3, 1e6, 1e9):
        p, m = start, np.zeros(10)
        q, state = start, adam.init(start)
        for t in range(1, steps + 1):
            q, state = adam.update(q, curvatures * q, state, t, lr=c * eps, eps=eps, beta1=beta1)
            m = beta1 * m + (1 - beta1) * curvatures * p
            p = p - c * m / (1 - beta1**t)
        gaps.append(np.linalg.norm(q - p) / np.linalg.norm(start - p))
    assert gaps == pytest.approx([7.1e-2, 7.1e-5, 7.1e-8], rel=0.15)
