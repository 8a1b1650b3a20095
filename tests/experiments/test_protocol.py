"""What stored results are found by changes only on purpose; protocol.json is what it was.

It holds the digest of every rule and data set, and what small races gave under the PROTOCOL_VERSION of
their time. After a change to an experiment that changes its results, raise that version in its module.
After this, and after a rule is added or changed, run this file, which writes what is new:

    python tests/experiments/test_protocol.py
"""

import json
import math
import sys
from importlib import resources
from itertools import count
from pathlib import Path

import pytest

from ravine import data, registry
from ravine.engines.digest import digest
from ravine.experiments import conditioning, diamonds, diamonds_sample, figure1, grids
from ravine.experiments.claims import units as claims

REFERENCE = Path(__file__).with_name("protocol.json")
HOW = "run python tests/experiments/test_protocol.py, which writes protocol.json anew"


def diamonds_specs():
    post = {"max_epochs": 3, "batch_size": 512}
    specs = [{**spec, **post} for spec in diamonds.corrected_specs([0])[-4:]]
    climbing = {**specs[0], "climb": True}
    after = {**specs[1], "stream": {"after": {**climbing, "stream": "post"}}}
    return [*specs, climbing, after, {**specs[3], "batch_size": "all"}]


def figure1_specs():
    return figure1.specs([0], iterations=4, batch_size=16, as_published=True)


def claims_specs():
    small = {"learning_rates": [1e-3, 1e-2, 0.1], "seeds": [0, 1], "tuning_seeds": [1000]}
    wanted = []
    for spec in claims.specs(quick=True):
        if spec["unit"] == "race":
            spec = {**spec, **small, "shorter": 30}
            full = spec["problem"] in ("turned", "spikes")  # the others with one optimizer each
            if full or (spec["optimizer"] == "adam" and not spec["decay"] and not spec["clip"]):
                wanted.append(spec)
        elif spec["unit"] == "escape":
            wanted.append({**spec, "runs": 20})
        else:
            fewer = {"seeds": [0], "steps": 20, "runs": 20, "rounds": 1}
            wanted.append({**spec, **{k: v for k, v in fewer.items() if k in spec}})
    return wanted


def conditioning_specs():
    small = {"steps": 300, "learning_rates": [1e-2, 0.1, 0.3], "seeds": [0], "tuning_seeds": [1000]}
    return [
        {**spec, **small}
        for spec in conditioning.specs(quick=True)
        if spec["optimizer"] == "sgd" or (spec["optimizer"] == "adam" and spec["batch"] != "all")
    ]  # with all rows some gradients are rounding alone, and Adam makes whole steps of them


EXPERIMENTS = {  # and how exactly their results are the same on every machine
    "diamonds": (diamonds, diamonds_specs, 1e-9),
    "figure-1": (figure1, figure1_specs, 1e-4),
    "claims": (claims, claims_specs, 1e-5),
    "conditioning": (conditioning, conditioning_specs, 1e-5),
}


def numbers(value):
    """Every number in a result, those in text aside."""
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in numbers(value[key])]
    if isinstance(value, (list, tuple)):
        return [x for item in value for x in numbers(item)]
    return [float(value)] if isinstance(value, (bool, int, float)) else []


def summary(result, spec):
    """How many numbers there are, how many of them finite, and a sum that each of them moves."""
    found = {k: numbers(v) for k, v in result.items() if k not in spec}
    return {
        key: [len(x), sum(map(math.isfinite, x)), sum(map(weighed, count(1), x))]
        for key, x in found.items()
        if x and key not in ("seconds", "us_per_step", "us", "gradient_us")
    }


def weighed(place, x):
    return math.cos(place) * math.asinh(1e6 * x) if math.isfinite(x) else 0.0


def measured(name):
    experiment, specs, _ = EXPERIMENTS[name]
    results = [summary(experiment.run(spec), spec) for spec in specs()]
    return {"version": experiment.PROTOCOL_VERSION, "results": results}


def digests():
    """Of the rules and the data sets."""
    files = [path.name for path in resources.files("ravine.data").iterdir()]
    return {
        "rules": {name: digest(rule) for name, rule in sorted(registry.own().items())},
        "data": {x: data.digest(x) for x in sorted(files) if x.endswith((".npz", ".xz"))},
    }


def changed(kept, now, tolerance):
    """The keys of the results that are not the same."""
    if len(kept) != len(now):
        return ["the number of units"]
    found = {}
    for a, b in zip(kept, now, strict=True):
        for key in a.keys() | b.keys():
            pair = a.get(key, [0, 0, 0.0]), b.get(key, [0, 0, 0.0])
            same = pair[0][:2] == pair[1][:2]
            if not same or abs(pair[0][2] - pair[1][2]) > tolerance * max(1, pair[0][0]):
                found[key] = None
    return list(found)


@pytest.mark.parametrize("kind", ["rules", "data"])
def test_digests_change_only_on_purpose(kind):
    kept, now = json.loads(REFERENCE.read_text())[kind], digests()[kind]
    other = [name for name in kept | now if kept.get(name) != now.get(name)]
    assert not other, (
        f"{kind} new, gone or changed: {', '.join(other)}. Stored results of what has changed are not "
        f"found again. If that is meant, {HOW}"
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_results_change_only_with_the_version_of_the_protocol(name):
    kept, now = json.loads(REFERENCE.read_text())[name], measured(name)
    module = EXPERIMENTS[name][0].__name__
    assert now["version"] == kept["version"], f"{module}.PROTOCOL_VERSION is new; {HOW}"
    different = changed(kept["results"], now["results"], EXPERIMENTS[name][2])
    assert not different, f"{different} changed: raise {module}.PROTOCOL_VERSION, then {HOW}"


@pytest.mark.parametrize(
    ("name", "module", "attribute", "value"),
    [
        ("diamonds", diamonds, "clip_by_value", lambda rule, clip_value: rule),
        ("diamonds", diamonds_sample.Sample, "test_rmse", lambda self, m, b: 1.0),
        ("claims", grids, "BATCH_SIZE", 65),
        ("claims", claims, "WANDER", 999),
        ("claims", claims, "FLOOR_RATES", (0.003, 0.01, 0.03, 0.1, 0.301)),
        ("conditioning", conditioning, "TARGETS", (0.1, 1e-4)),
        ("figure-1", figure1, "step_ratios", lambda *_, **__: [[1.0, 1.0]]),
    ],
)
def test_a_changed_experiment_is_noticed(monkeypatch, name, module, attribute, value):
    monkeypatch.setattr(module, attribute, value)
    kept = json.loads(REFERENCE.read_text())[name]["results"]
    assert changed(kept, measured(name)["results"], EXPERIMENTS[name][2])


def lines(entry):
    """JSON with a line for each rule, data set or unit."""
    if "results" in entry:
        units = ",\n".join(map(json.dumps, entry["results"]))
        return f'{{"version": {entry["version"]}, "results": [\n{units}\n]}}'
    return json.dumps(entry, indent=0)


if __name__ == "__main__":
    before = json.loads(REFERENCE.read_text())
    entries = digests()
    for name, (module, _, tolerance) in EXPERIMENTS.items():
        kept, now = before[name], measured(name)
        if now["version"] == kept["version"]:
            if changed(kept["results"], now["results"], tolerance):
                sys.exit(
                    f"{name} has other results; raise {module.__name__}.PROTOCOL_VERSION first"
                )
            now = kept  # this machine may round otherwise
        entries[name] = now
    text = ",\n".join(f'"{name}": {lines(entry)}' for name, entry in entries.items())
    REFERENCE.write_text(f"{{\n{text}\n}}\n")
