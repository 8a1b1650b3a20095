"""A rule that another package offers by an entry point: found by everything that knows Ravine's own."""

import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

import ravine.numpy
import ravine.torch
from ravine import cli, registry
from ravine.races.contest import contest
from ravine.races.entrants import entrants
from ravine.races.protocol import TIERS, Tier
from ravine.races.store import RunFolder
from ravine.races.task import from_objects

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts/docs"))

import optimizers as docs

NAME = "outside_of_a_test"
SOURCE = '''
from ravine import Card, rule

@rule(paper="Doe, 2026. Half Steps", at="here", card=Card({card}))
def half_steps(p, g, m, *, lr=1e-2, beta1=0.5):
    """Steps of half the mean gradient.

    Elsewhere:
        Doe 2026: this rule.
    """
    m = beta1 * m + (1 - beta1) * g
    return p - 0.5 * lr * m, m
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install the package, whose rule has this card."""

    def made(card):
        (tmp_path / f"{NAME}.py").write_text(SOURCE.replace("{card}", card))
        info = tmp_path / f"{NAME}-1.5.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[ravine.rules]\nmine = {NAME}\n")
        monkeypatch.syspath_prepend(tmp_path)
        sys.modules.pop(NAME, None)
        registry.rules.cache_clear()

    yield made
    sys.modules.pop(NAME, None)
    registry.rules.cache_clear()


def said(capsys, *words):
    """What `ravine` prints for these words."""
    with mock.patch.object(sys, "argv", ["ravine", *words]), pytest.raises(SystemExit) as ended:
        sys.exit(cli.main())
    assert not ended.value.code
    return " ".join(capsys.readouterr().out.split())


def test_it_is_in_the_list_the_fronts_the_kernels_the_pages_and_the_race(
    install, capsys, tmp_path, monkeypatch
):
    install("")
    listed = said(capsys, "list")
    assert f"From {NAME} 1.5 half_steps 2026 4 Steps of half the mean gradient." in listed
    shown = said(capsys, "show", "half_steps")
    assert "Doe, 2026. Half Steps here def half_steps(" in shown
    assert "mₜ = β₁ mₜ₋₁ + (1 − β₁) gₜ" in shown

    start, grads = np.array([1.0, -2.0, 3.0]), [np.array([1.0, 0.5, -4.0])] * 3
    expected, mean = start, 0.0
    for g in grads:
        mean = 0.5 * mean + 0.5 * g
        expected = expected - 0.5 * 0.1 * mean
    for engine in ("kernel", "eager"):
        ours = ravine.numpy.optimizer("half-steps")([start.copy()], lr=0.1, engine=engine)
        p = torch.tensor(start, requires_grad=True)
        theirs = ravine.torch.optimizer("half_steps")([p], lr=0.1, engine=engine)
        for g in grads:
            ours.step([g])
            p.grad = torch.tensor(g)
            theirs.step()
        np.testing.assert_allclose(ours.params[0], expected, rtol=1e-15)
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-15)
        assert theirs.engine.startswith(engine)

    assert f"## From {NAME} 1.5" in docs.catalogue(registry.rules())
    page = docs.rule_page(registry.get("half_steps"))
    assert page.startswith("# half_steps\n\nSteps of half the mean gradient.")
    assert "## Algorithm" in page

    monkeypatch.setitem(TIERS, "k25", Tier(2, "lr", (1000,), 1, (2000,)))
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    parts = [(x[i::3], x[i::3].sum(1, keepdim=True)) for i in range(3)]
    task = from_objects(
        lambda: nn.Linear(3, 1),
        parts[0],
        nn.functional.mse_loss,
        steps=5,
        held_out=parts[1],
        test=parts[2],
    )
    found = contest([task], entrants(["half_steps", "sgd"]), RunFolder(tmp_path / "race"), seeds=2)
    assert {row["optimizer"] for row in found.table()} == {"half_steps", "sgd"}


def test_what_nothing_proves_is_unverified_wherever_it_is_shown(install, capsys):
    """Nor is a rule that says how far from its paper it is."""
    missing = "its card names no released optimizer that takes the same path"
    for card, why in (
        ("", missing),
        ('unverified="3e-5 from Doe\'s code"', "3e-5 from Doe's code"),
    ):
        install(card)
        made = registry.get("half_steps")
        assert (
            registry.unverified(made) == registry.unverified(registry.get("l2(half_steps)")) == why
        )
        assert "Steps of half the mean gradient. (unverified)" in said(capsys, "list")
        assert f"Proof unverified: {why}" in said(capsys, "show", "half_steps")
        assert f"Unverified: {why}." in said(capsys, "which", "half_steps")
        assert "Steps of half the mean gradient. Unverified." in docs.catalogue(registry.rules())
        assert f"**Unverified:** {docs.plain(why)}." in docs.rule_page(made)
    assert "Unverified: 3e-5 from Doe's code." in ravine.torch.optimizer("half_steps").__doc__
    witness = 'witnesses=(Witness("doe 1.0", "doe.HalfSteps(lr=lr)"),)'
    install(witness.replace("Witness(", "__import__('ravine').Witness("))
    assert "half_steps" in said(capsys, "which", "doe.HalfSteps")
    assert "unverified" not in said(capsys, "show", "half_steps")
    verified = [name for name, made in registry.own().items() if not registry.unverified(made)]
    assert {*registry.own()} - {*verified} == {"radam_paper"}
