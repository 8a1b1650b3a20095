"""The step benchmark: what it steps, what it says."""

import itertools
from unittest import mock

import pytest
import torch
from installed import CLASSES

from ravine import registry
from ravine.bench import step

TORCHS = ["torch loop", "foreach", "fused"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file of rules: one that reduces, and one of matrices, which has no kernel."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from ravine.ops import norm\n\n"
        "def unit(p, g, *, lr=0.1):\n    return p - lr * g / norm(g)\n\n"
        "def whiten(p, g, *, lr=0.1):\n    return p - lr * (g @ p)\n"
    )


def test_choose():
    assert step.choose("all") == registry.names()
    assert {"sgd", "adam", "adamw", "rmsprop"} <= set(step.choose("torch"))
    assert "momentum_classical" not in step.choose("torch")
    assert step.choose("adam,sgd") == ["adam", "sgd"]
    with pytest.raises(LookupError, match="no rule is called 'adma'; did you mean 'adam'"):
        step.choose("sgd,adma")


def test_the_rows(mine):
    rows = list(step.run(["scalars"], ["adam", "mine.py:unit"], seconds=0.0))
    assert [(r["rule"], r["engine"]) for r in rows] == [
        *(("adam", engine) for engine in ("kernel", "Ravine", "eager", *TORCHS)),
        *(("unit", engine) for engine in ("kernel", "Ravine", "eager")),
    ]
    best = min(r["us"] for r in rows[3:6])
    for row in rows:
        bytes_moved = 2 * (28 if row["rule"] == "adam" else 16)
        assert row["shapes"] == "scalars"
        assert row["gb_per_s"] == pytest.approx(bytes_moved / row["us"] / 1e3)
        low, high = row["us_quartiles"]
        assert low <= row["us"] <= high
        assert row["turns"] == 3
        assert row["of_roof"] > 0
        assert row["extra_bytes"] >= 0
        assert row["first_seconds"] is None
        if row["rule"] == "adam":
            assert row["against_torch"] == pytest.approx(best / row["us"])
        else:
            assert row["against_torch"] is None


def test_the_roof_is_what_the_kernel_would_take_for_as_many_bytes():
    with mock.patch.object(step, "take_turns") as turns:
        turns.side_effect = lambda steps, seconds: {
            name: [3e-6] * 3 if name == "kernel" else [2e-6] * 3 for name in steps
        }
        (kernel, *_) = step.run(["scalars"], ["adam"])
    assert kernel["of_roof"] == pytest.approx(2 / 3)
    assert kernel["against_torch"] == pytest.approx(2 / 3)


def test_who_cannot_run_says_why(mine):
    rows = {r["engine"]: r for r in step.run(["scalars"], ["mine.py:whiten"], 0.0)}
    assert "no CPU kernel: it uses matmul" in rows["kernel"]["skipped"]
    assert list(rows) == ["kernel", "Ravine", "eager"]
    assert all("us" not in row and row["skipped"] for row in rows.values())  # numbers have no @


def test_a_flat_optimizer_takes_part_if_asked_for_and_moves_only_what_is_its_own():
    seen = []

    def makes(engine, rule, twin, params, owned=False):
        seen.append((engine, [p.data_ptr() for p in params], owned))
        return make(engine, rule, twin, params, owned)

    make = step.contenders.make
    with mock.patch.object(step.contenders, "make", side_effect=makes):
        rows = list(step.run(["scalars"], ["adam"], 0.0, flat=True))
        trained = list(step.run_in_training(["adam"], 0.0, flat=True))
    for engines in ([r["engine"] for r in rows], [r["engine"] for r in trained]):
        assert engines == ["kernel", "Ravine", "flat", "eager", *TORCHS]
    assert all(row["us"] > 0 for row in (*rows, *trained))
    stepped, trained = seen[:7], seen[7:]
    assert len({tuple(where) for _, where, _ in stepped}) == 1  # nothing has moved
    assert [engine for engine, _, owned in trained if owned] == ["flat"]


def test_the_many():
    assert step.contenders.shapes("many") == [(64,)] * 700


@pytest.mark.skipif("Muon" not in CLASSES, reason="the installed torch has no Muon")
def test_a_class_is_timed_on_the_parameters_that_it_takes():
    scalars = list(step.run(["scalars"], ["muon"], 0.0))
    assert {row["skipped"] for row in scalars} == {"takes none of the parameters of scalars"}
    kernel, *others = step.run(["mlp"], ["muon"], 0.0)
    assert "alternates between kernels and newton_schulz" in kernel["skipped"]
    assert [row["engine"] for row in others] == ["Ravine", "gram", "eager", "torch loop"]
    assert all(row["numbers"] == 784 * 128 + 128 * 64 + 64 * 10 for row in others)
    assert all(row["gb_per_s"] is row["of_roof"] is None for row in others)


def test_without_memory_nothing_is_begun():
    with mock.patch.object(step.Path, "read_text", return_value="MemAvailable:   1000000 kB\n"):
        rows = list(step.run(["gpt2"], ["adam"], 0.0))
    assert len(rows) == 6
    for row in rows:
        assert "needs 7.9 GiB of memory; 1.0 are free" in row["skipped"]


def test_the_slow_are_left_out_of_gpt2_unless_asked_for():
    with (
        mock.patch.object(step, "_case", side_effect=lambda *given: iter(())) as case,
        mock.patch.object(step.contenders, "parameters", return_value=[torch.ones(1)]),
        mock.patch.object(step, "_lacking", return_value=""),
    ):
        list(step.run(["mlp", "gpt2"], ["adam"]))
        list(step.run(["gpt2"], ["adam"], all_engines=True))
        with mock.patch.object(step.contenders, "has_kernel", return_value=False):
            list(step.run(["gpt2"], ["sgd"]))
    left_out = [list(call.args[4]) for call in case.call_args_list]
    assert left_out == [[], ["eager"], [], ["kernel", "Ravine", "eager", *TORCHS]]


def test_first_calls_are_timed_on_the_first_shape():
    with mock.patch.object(step, "first_call", side_effect=[0.5, RuntimeError("no"), 0.25]) as call:
        rows = list(step.run(["mlp", "scalars"], ["momentum_classical"], 0.0, first=True))
    assert [r["first_seconds"] for r in rows] == [0.5, None, 0.25, None, None, None]
    assert [c.args for c in call.call_args_list] == [
        ("momentum_classical", None, engine, "mlp") for engine in ("kernel", "Ravine", "eager")
    ]


def test_the_compiler_takes_part_or_says_why_not():
    with mock.patch.object(torch, "compile", side_effect=RuntimeError("no compiler\n at all")):
        rows = list(step.run(["scalars"], ["sgd"], 0.0, compiled=True))
    assert rows[-1] == {
        "rule": "sgd",
        "shapes": "scalars",
        "engine": "compile",
        "skipped": "no compiler",
    }
    with mock.patch.object(torch, "compile", side_effect=lambda step: step):
        rows = list(step.run(["scalars"], ["sgd"], 0.0, compiled=True))
    assert rows[-1]["us"] > 0


def test_progress_sees_every_unit():
    def progress(name, units):
        seen.extend((name, u["problem"], u["optimizer"]) for u in units)
        return units

    seen = []
    list(step.run(["scalars", "mlp"], ["sgd"], 0.0, progress=progress))
    assert seen == [("step", "scalars", "sgd"), ("step", "mlp", "sgd")]


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match="'vgg' is invalid"):
        list(step.run(["vgg"], ["sgd"]))


def test_the_rows_in_training():
    rows = list(step.run_in_training(["sgd"], seconds=0.0, batch_size=2))
    assert [r["engine"] for r in rows] == ["kernel", "Ravine", "eager", *TORCHS]
    assert all(r["us"] > 0 and r["turns"] == 3 for r in rows)
    assert max(r["against_torch"] for r in rows[3:]) == 1.0


def test_training_trains():
    """The step that is timed is taken on the gradients of the model."""
    seen = []

    def make(engine, rule, twin, params):
        return lambda: seen.append([p.grad.abs().sum().item() for p in params])

    with mock.patch.object(step.contenders, "make", make):
        list(step.run_in_training(["adam"], 0.0))
    assert all(all(x > 0 for x in sums) for sums in seen)
    assert len({sums[0] for sums in seen}) > 3  # each batch is new


def test_the_rows_with_experts():
    rows = list(step.run_with_experts(["sgd"], seconds=0.0))
    cases = dict.fromkeys((r["tensors"], r["gradients"]) for r in rows)
    assert list(cases) == [(n, g) for n in (8, 64, 300) for g in ("half", "all but one")]
    assert [r["engine"] for r in rows] == ["Ravine", "eager", *TORCHS] * 6
    assert all(r["us"] > 0 and r["turns"] == 3 for r in rows)


def test_other_experts_have_gradients_in_each_step():
    seen = []

    def make(engine, rule, twin, params):
        return lambda: seen.append((engine, [p.grad is not None for p in params]))

    with mock.patch.object(step.contenders, "make", make):
        list(step.run_with_experts(["adamw"], 0.0))
    assert all(seen[0][1])  # the state of all has begun
    for many, missing in ((8, 4), (64, 32), (300, 150), (8, 1), (64, 1), (300, 1)):
        mine = [
            has
            for engine, has in seen
            if engine == "Ravine" and (len(has), has.count(False)) == (many, missing)
        ]
        assert len(mine) == 6  # three turns of two steps
        assert all(a != b for a, b in itertools.pairwise(mine))
