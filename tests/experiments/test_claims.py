"""The claims: every verdict can come out every way."""

import json

import numpy as np
import pytest

from ravine.experiments.claims import CLAIMS, experiment, run, situations, specs, table, verdicts
from ravine.experiments.claims.adam import width
from ravine.experiments.claims.judging import ALIKE, DEPENDS, FAILS, HOLDS
from ravine.experiments.claims.units import CURVATURES, FLOOR_RATES, OPTIMIZERS
from ravine.experiments.grids import PROBLEMS

# ---- made-up results ---------------------------------------------------------------------------

SEEDS = 12
NOISE = np.random.default_rng(0).normal(size=(len(PROBLEMS) + 1, SEEDS)) * 0.05
RATES = [1e-3, 1e-2, 1e-1, 1.0]


def results(loss=lambda *_: 0.1, steps=lambda *_: 100, good=lambda *_: 2, **units):
    """Make results of races and of the other units, where nothing differs unless it is asked for.

    loss(problem, optimizer, entry, decay, clip): the mean at the end. steps(problem, optimizer,
    entry): to the target. good(problem, optimizer): how many of four learning rates are good.
    """
    names = [*PROBLEMS, "spikes"]
    made = []
    for s in specs([0]):
        if s["unit"] != "race":
            continue
        p, o, asked = s["problem"], s["optimizer"], (s["decay"], s["clip"])
        noise = 10 ** NOISE[names.index(p)]
        entries = {
            entry: {
                "learning_rate": 0.01,
                "edge": False,
                "losses": (noise * loss(p, o, entry, *asked)).tolist(),
                "steps": (noise * steps(p, o, entry)).tolist(),
                "diverged": 0,
                "tuning_loss": float(np.log10(loss(p, o, entry, *asked))),
            }
            for entry in ("tuned", "fast", "default")
        }
        tuning = [[0.1 if k < good(p, o) else 0.9] * 3 for k in range(4)]
        made.append(
            {
                **s,
                **entries,
                "budget": 1000,
                "target": 0.1,
                "tuning": tuning,
                "learning_rates": RATES,
            }
        )
    kept = {"sgd": 0, "momentum": 4, "nesterov": 4, "rmsprop": 4, "adam": 8, "amsgrad": 12}
    kept |= units.get("kept", {})
    made += [
        {"unit": "memory", "optimizer": o, "bytes": {"100": b, "10000": b}} for o, b in kept.items()
    ]
    travel = {0.0: [2.0] * 30, 0.9: [2.0] * 30} | units.get("travel", {})
    for momentum, of in travel.items():
        whole = of + [np.inf] * (len(CURVATURES) - len(of))
        made.append(
            {
                "unit": "ravine",
                "momentum": momentum,
                "travel": whole,
                "turns": [0] * len(whole),
                "steps": [100] * len(whole),
                "best": units.get("best", 0),
            }
        )
    for lr, escaped in units.get("escaped", {0.1: [0, 500, 500, 500, 500, 500]}).items():
        made.append(
            {
                "unit": "escape",
                "learning_rate": lr,
                "runs": 1000,
                "escaped": escaped,
                "lost": [0, 1, 2, 3, 4, 5],
            }
        )
    constant = [[r**2 * 1.01**k for k in range(3)] for r in FLOOR_RATES]
    made.append({"unit": "floor", "constant": constant, "decayed": constant})
    return [*made, *situational(units.get("better", {}), units.get("freed", [50] * 4))]


def situational(better, freed):
    """Make results of the situations, where nothing differs unless it is asked for.

    better: by unit, how many times as large the loss, or the time, is of whom the claim is about: a number,
    or a function of the spec. freed: how many of 100 runs momentum frees, for each rate.
    """
    made = []
    for s in situations.specs([0]):
        given = better.get(s["unit"], 1.0)
        factor = given(s) if callable(given) else given
        losses = (10 ** NOISE[0] * 0.1).tolist()
        lower = [factor * x for x in losses]
        mine = {"vanishing": "rmsprop", "sparse": "rmsprop"}.get(s["unit"], "adam")
        others = ("sgd", "momentum", "nesterov", "rmsprop", "adagrad", "uncorrected")
        tuned = {
            name: {"losses": lower if name == mine else losses, "tuning_loss": -1.0}
            for name in dict.fromkeys((mine, *others))
        }
        if s["unit"] == "drift":
            tuned = {name: tuned[name] for name in ("adam", "sgd")}
        us = {name: [1.0] * 5 for name in ("sgd", "momentum")} | {"adam": [factor] * 5}
        found = {
            "humps": {"stuck": [100] * 4, "freed": freed},
            "saddle": {"steps": {"sgd": [100] * 5, "momentum": [100 * factor] * 5}},
            "vanishing": {"shrinks": 0.1, "tuned": tuned},
            "sparse": {"tuned": tuned, "effective": 1 / factor},
            "drift": {"tuned": tuned},
            "first steps": {"tuned": tuned, "same": {"adam": lower, "uncorrected": losses}},
            "step time": {"us": us, "gradient_us": [0.0] * 5},
        }[s["unit"]]
        made.append({**s, **found})
    return made


def factor(value, *, optimizer, **only):
    """Make a loss that is `value` times as large for one optimizer, where all of `only` is so."""

    def loss(problem, o, entry, decay, clip):
        here = {"problem": problem, "entry": entry, "decay": decay, "clip": clip}
        hit = o == optimizer and all(here[k] in v for k, v in only.items())
        return 0.1 * value if hit else 0.1

    return loss


BATCHES = [p for p, problem in PROBLEMS.items() if not problem.exact]
HALF = list(PROBLEMS)[: len(PROBLEMS) // 2]


def lower(problems, optimizers=OPTIMIZERS):
    """Make a loss that is halved by decay on some problems, doubled on the others."""

    def loss(problem, o, entry, decay, clip):
        return 0.1 * (0.5 if problem in problems else 2.0) if decay and o in optimizers else 0.1

    return loss


def many(count):
    """Make steps: on the first `count` problems Adam takes a tenth of SGD's, elsewhere as many."""
    first = list(PROBLEMS)[:count]
    return lambda p, o, entry: 10 if o == "adam" and p in first else 100


def situations_of(unit, key, limit):
    """The ways in which a claim about a situation can go: for half of the cases, one that depends."""
    return [
        (ALIKE, {}),
        (HOLDS, {"better": {unit: 0.5}}),
        (FAILS, {"better": {unit: 2.0}}),
        (DEPENDS, {"better": {unit: lambda s: 0.5 if s[key] < limit else 2.0}}),
    ]


FLIPS = {
    "clipping": [
        (HOLDS, {}),
        (FAILS, {"loss": factor(0.5, optimizer="adam", clip=[True])}),
        (HOLDS, {"loss": factor(0.5, optimizer="adam", clip=[True], problem=["spikes"])}),
        (DEPENDS, {"loss": factor(0.5, optimizer="adam", clip=[True], problem=HALF)}),
        (ALIKE, {"loss": factor(0.9, optimizer="adam", clip=[True])}),
    ],
    "sensitivity": [
        (ALIKE, {}),
        (HOLDS, {"good": lambda p, o: 3 if o == "adam" else 2}),
        (FAILS, {"good": lambda p, o: 1 if o == "adam" else 2}),
        (DEPENDS, {"good": lambda p, o: {"adam": 3, "sgd": 2}.get(o, 4)}),
        (DEPENDS, {"good": lambda p, o: (3 if p in HALF else 1) if o == "adam" else 2}),
    ],
    "speed": [
        (FAILS, {}),
        (HOLDS, {"steps": many(8)}),
        (DEPENDS, {"steps": many(4)}),
        (DEPENDS, {"steps": lambda p, o, e: 10 if o == "adam" and e == "fast" else 100}),
        (ALIKE, {"steps": lambda p, o, e: np.inf}),
        (ALIKE, {"steps": lambda p, o, e: 800 if o == "adam" else np.inf}),
        (FAILS, {"steps": lambda p, o, e: np.inf if o == "adam" else 100}),
    ],
    "memory": [
        (DEPENDS, {}),
        (HOLDS, {"kept": {"adam": 0}}),
        (FAILS, {"kept": {"adam": 4e6}}),
    ],
    "superior": [
        (ALIKE, {}),
        (HOLDS, {"loss": factor(0.5, optimizer="adam")}),
        (FAILS, {"loss": factor(2.0, optimizer="adam")}),
        (FAILS, {"loss": factor(0.5, optimizer="rmsprop")}),
        (DEPENDS, {"loss": factor(0.5, optimizer="adam", entry=["tuned"], decay=[False])}),
        (DEPENDS, {"loss": factor(2.0, optimizer="adam", entry=["default"])}),
    ],
    "rmsprop": [
        (ALIKE, {}),
        (HOLDS, {"loss": factor(0.5, optimizer="rmsprop")}),
        (FAILS, {"loss": factor(2.0, optimizer="rmsprop")}),
        (DEPENDS, {"loss": factor(0.5, optimizer="sgd")}),
        (DEPENDS, {"loss": factor(0.5, optimizer="rmsprop", entry=["default"])}),
        (DEPENDS, {"loss": factor(0.5, optimizer="momentum")}),
    ],
    "oscillations": [
        (ALIKE, {}),
        (HOLDS, {"travel": {0.9: [1.5] * 30}}),
        (FAILS, {"travel": {0.9: [3.0] * 30}}),
        (FAILS, {"travel": {0.9: [np.inf] * 30}}),
        (FAILS, {"travel": {0.9: [3.0] * 29 + [1.0]}}),
        (DEPENDS, {"travel": {0.9: [3.0] * 15 + [1.0] * 15}}),
    ],
    "escape": [
        (ALIKE, {}),
        (HOLDS, {"escaped": {0.1: [0, 900, 900, 900, 900, 900]}}),
        (FAILS, {"escaped": {0.1: [0, 100, 100, 100, 100, 100]}}),
        (HOLDS, {"escaped": {0.1: [0, 100, 900, 900, 900, 900]}}),
        (DEPENDS, {"escaped": {0.1: [0, 100, 100, 900, 900, 900]}}),
        (DEPENDS, {"escaped": {0.1: [0] + [900] * 5, 0.01: [0] * 6}}),
        (FAILS, {"escaped": {0.1: [1000, 0, 0, 0, 0, 0]}}),
    ],
    "decay": [
        (ALIKE, {}),
        (HOLDS, {"loss": lower(PROBLEMS)}),
        (FAILS, {"loss": lower([])}),
        (DEPENDS, {"loss": lower(BATCHES)}),
        (ALIKE, {"loss": lower(PROBLEMS, ["rmsprop"])}),
    ],
    "humps": [
        (ALIKE, {}),
        (HOLDS, {"freed": [90] * 4}),
        (FAILS, {"freed": [10] * 4}),
        (DEPENDS, {"freed": [10, 10, 90, 90]}),
    ],
    "saddles": situations_of("saddle", "learning_rate", 0.05),
    "vanishing": situations_of("vanishing", "depth", 4),
    "sparse": situations_of("sparse", "rarest", 0.02),
    "drift": situations_of("drift", "speed", 1e-4),
    "bias-correction": [
        *situations_of("first steps", "steps", 0)[:3],
        (DEPENDS, {"better": {"first steps": lambda s: 0.5 if s["problem"] in HALF else 2.0}}),
    ],
    "time": [
        (FAILS, {}),
        (HOLDS, {"better": {"step time": 0.2}}),
        (DEPENDS, {"better": {"step time": lambda s: 0.2 if s["hidden"] > 100 else 1.0}}),
    ],
    "efficiency": [
        (HOLDS, {}),
        (FAILS, {"better": {"step time": 2.0}}),
        (DEPENDS, {"better": {"step time": lambda s: 2.0 if s["hidden"] > 100 else 1.0}}),
    ],
}


@pytest.mark.parametrize(
    ("name", "verdict", "changes"),
    [(name, verdict, changes) for name, flips in FLIPS.items() for verdict, changes in flips],
)
def test_every_verdict_follows_from_the_numbers(name, verdict, changes):
    (found,) = (c for c in verdicts(results(**changes)) if c["name"] == name)
    assert found["verdict"] == verdict, found["sentence"]
    assert bool(found["depends_on"]) == (verdict == DEPENDS)


def test_every_claim_can_hold_and_fail():
    assert set(FLIPS) == {c["name"] for c in verdicts(results())}
    assert len(FLIPS) == len(CLAIMS) == 17
    for flips in FLIPS.values():
        assert {HOLDS, FAILS, DEPENDS} <= {verdict for verdict, _ in flips}


def test_what_a_claim_returns_is_complete_and_fit_for_json():
    for found in verdicts(results()):
        assert found["claim"]
        assert "Tuychiev 2024" in found["source"]
        assert found["criterion"]
        assert found["rows"]
        assert found["sentence"].endswith(".")
        assert {"rows", "contrast", "conditions", "threshold", "measure"} <= found.keys()
        json.dumps(found)


def test_sentences_are_made_of_the_numbers():
    def sentence(name, **changes):
        (found,) = (c for c in verdicts(results(**changes)) if c["name"] == name)
        return found["sentence"]

    half = sentence("speed", steps=many(4))
    assert "tuned, in 4 of 8 problems (the opposite in 4)" in half
    assert "in 8 of 8 problems" in sentence("speed", steps=many(8))
    assert "SGD 0, momentum 4, Nesterov 4, RMSprop 4, Adam 8, AMSGrad 12" in sentence("memory")
    assert "Adam 7" in sentence("memory", kept={"adam": 7})
    told = sentence("escape", escaped={0.3: [7, 100, 800, 100, 100, 100]})
    assert "Without noise 7 of 1,000 do." in told
    assert "rate 0.3, noise 0.5: 80%" in told
    assert "the power 2.00 (2.00 to 2.00)" in sentence("decay")
    swung = sentence("oscillations", travel={0.9: [3.0] * 29 + [1.0]}, best=29)
    assert "momentum swings less at 1.5. Each at its best, SGD goes 2 times" in swung


def test_dependence_is_named():
    loss = factor(0.5, optimizer="adam", clip=[True], problem=["line", "raw", "turned"])
    (found,) = (c for c in verdicts(results(loss=loss)) if c["name"] == "clipping")
    (on,) = found["depends_on"]
    assert "contradicts: diamonds line, diamonds raw, ravine at 45°" in on
    assert "supports: diamonds standardised, " in on
    swings = results(travel={0.9: [3.0] * 15 + [1.0] * 15})
    (same, tuned) = next(c for c in verdicts(swings) if c["name"] == "oscillations")["depends_on"]
    assert (
        same == "same rate for both: it depends (supports: 0.8 to 1.5; contradicts: 0.05 to 0.75)"
    )
    assert tuned == "each at its best rate: does not hold"
    conditions = next(c for c in verdicts(results(loss=lower(BATCHES))) if c["name"] == "decay")
    assert conditions["depends_on"] == [
        "gradients of batches: holds",
        "exact gradients: does not hold",
    ]


def test_the_rival_of_adam_is_named_by_the_tuning_seeds():
    loss = factor(0.5, optimizer="nesterov", problem=["raw"])
    found = next(c for c in verdicts(results(loss=loss)) if c["name"] == "superior")
    assert found["rivals"]["tuned: raw"] == "nesterov"
    made = results(loss=loss)
    for r in made:
        if r["unit"] == "race" and r["optimizer"] == "momentum":
            r["tuned"]["losses"] = [1e-5] * SEEDS  # luck on the report seeds chooses nobody
    found = next(c for c in verdicts(made) if c["name"] == "superior")
    assert found["rivals"]["tuned: raw"] == "nesterov"


@pytest.mark.torch
def test_what_is_claimed_of_adam_is_tried_on_any_optimizer():
    """A class of torch's kind in Adam's place: its races, its verdicts, its name in each sentence."""
    names = ["torch.optim:RAdam", "sgd"]
    asked = experiment(range(2), quick=True, optimizers=names, settings={"clip_value": 2.0})
    of = {s["optimizer"] for s in asked.specs}
    assert of == {"sgd", "momentum", "nesterov", "rmsprop", "torch.optim:RAdam"}
    kept = {s["optimizer"]: s["set"] for s in asked.specs if "set" in s}
    assert kept == {"torch.optim:RAdam": {"clip_value": 2.0}, "sgd": {"clip_value": 2.0}}
    small = {"learning_rates": [1e-3, 1e-2, 0.1], "shorter": 30}
    results = []
    for s in asked.specs:
        if s["unit"] == "memory" or s["problem"] in ("line", "spikes", "turned"):
            results.append(asked.run({**s, **(small if s["unit"] == "race" else {})}))
    shown = asked.show(results)
    rows = shown.tables["claims"]
    assert len(rows) == 10
    assert rows[0]["claim"] == "torch.optim:RAdam needs no gradient clipping"
    assert rows[5]["claim"] == "SGD needs no gradient clipping"
    assert "torch.optim:RAdam 8" in rows[3]["sentence"]
    names = set(shown.figures())
    assert {"claims-clipping-torch.optim-RAdam", "claims-memory-SGD", "claims-curves"} <= names


def test_a_learning_rate_that_is_set_is_not_tuned():
    races = [s for s in specs(quick=True, lr=0.25) if s["unit"] == "race"]
    assert {tuple(s["learning_rates"]) for s in races} == {(0.25,)}
    with pytest.raises(ValueError, match="learning rates are tuned: it has no lr"):
        specs(optimizers=[f"{__file__}:halved"])


def halved(p, g, *, share=0.5):
    return p * share


def test_width_counts_decades_within_a_hundredth_of_the_descent():
    rates = [1e-3, 1e-2, 1e-1, 1.0]
    assert width([0.5, 0.1, 0.108, 0.11], rates) == pytest.approx(2)
    assert width([0.5, 0.1, 0.5, np.inf], rates) == pytest.approx(1)
    assert width([0.1, 0.1, 0.1, 0.1], [1e-2, 1e-1, 1.0, 10.0]) == pytest.approx(4)


def test_the_table_has_a_row_for_each_race():
    made = results()
    rows = table(made)
    assert len(rows) == sum(r["unit"] == "race" for r in made)
    first = rows[0]
    assert (first["problem"], first["optimizer"]) == ("diamonds line", "SGD")
    assert first["low"] < first["loss"] < first["high"]
    assert first["loss"] == pytest.approx(0.1, rel=0.1)
    assert not first["edge"]


def test_the_whole_race_on_two_problems():
    """From specs to verdicts, as the command does it."""
    few = [
        s
        for s in specs(range(4), quick=True)
        if s["unit"] != "race" or s["problem"] in ("line", "ravine", "spikes")
    ]
    found = [run(s) for s in few]
    judged = verdicts(found)
    assert len(judged) == len(CLAIMS)
    speed = next(c for c in judged if c["name"] == "speed")
    assert {r["case"] for r in speed["rows"]} == {"diamonds line", "ravine along an axis"}
