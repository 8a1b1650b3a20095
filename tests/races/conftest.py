"""A small race, run once for all tests of what is read from run files."""

import pytest


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The folder of a small race of four optimizers on three problems, with ten report seeds."""
    small_race = pytest.importorskip("small_race", reason="needs scipy")
    folder = tmp_path_factory.mktemp("small-race")
    names = ["sgd", "momentum", "rmsprop", "adam"]
    small_race.race(folder, optimizers=names, trials=10, steps=100)
    return folder


@pytest.fixture(scope="session")
def small_page(small, tmp_path_factory):
    """Its page."""
    from ravine.races.report import Report

    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(Report(small).html(), "utf-8")
    return path
