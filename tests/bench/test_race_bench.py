"""The benchmark of a race's step: every problem, and what cannot be a swarm."""

from ravine.bench import race


def through(_, specs):
    return specs


def test_a_row_says_what_a_step_takes():
    (row,) = race.run(["noisy-quadratic"], 2, 0.0, through)
    assert (row["problem"], row["parameters"], row["why"]) == ("noisy-quadratic", 100, "")
    for name in ("torch", "ravine", "swarm"):
        assert row[name]["turns"] >= 3
        assert 1 < row[name]["us"] < 1e6


def test_a_replicas_step_is_its_share_of_the_swarms():
    few, many = (next(race.run(["rosenbrock"], n, 0.2, through))["swarm"]["us"] for n in (2, 64))
    assert many < few / 4


def test_what_cannot_be_a_swarm_is_said(monkeypatch):
    def cannot(task, width):
        raise race.CannotBatch("it counts its calls")

    monkeypatch.setattr(race, "_swarm", cannot)
    (row,) = race.run(["rosenbrock"], 2, 0.0, through)
    assert (row["swarm"], row["why"]) == (None, "it counts its calls")
