"""The benchmark of stacks."""

import pytest
import torch

from ravine import modifiers, rules
from ravine.bench import contenders, stacks
from ravine.engines.tracing import trace

_HALF = [  # whose parameters are others
    "adam, all bfloat16",
    "adam, all bfloat16, stochastic",
    "adam, bfloat16, stochastic, 8-bit state",
]


def test_the_rows():
    rows = {r["stack"]: r for r in stacks.run(["scalars"], seconds=0.0)}
    under = {f"{name}(adam)": getattr(modifiers, name)(rules.adam) for name in modifiers.__all__}
    assert {name for name, stack in under.items() if not trace(stack).by_ndim} < set(rows)
    adam = rows["adam"]
    assert adam["bytes"] == 2 * 28
    assert adam["time_of_adam"] == adam["time_per_byte_of_adam"] == 1
    assert rows["adam, bfloat16 state"]["bytes"] == 2 * 20
    assert rows["adam, all bfloat16, stochastic"]["bytes"] == 2 * 14
    assert rows["adam, 8-bit state"]["bytes"] == 2 * 28  # of parameters this small
    assert rows["clip_by_global_norm(adam)"]["bytes"] == 2 * 32  # g is read twice
    for name, row in rows.items():
        assert row["time_of_adam"] == pytest.approx(row["us"] / adam["us"])
        low, high = row["us_quartiles"]
        assert low <= row["us"] <= high
        if row["bytes"]:
            per_byte = row["us"] / row["bytes"] / (adam["us"] / adam["bytes"])
            assert row["time_per_byte_of_adam"] == pytest.approx(per_byte)
        if row["torch"]:
            assert row["against_torch"] == pytest.approx(rows[row["torch"]]["us"] / row["us"])
        else:
            assert row["against_torch"] is None, name
    assert rows["clip_by_global_norm(adam)"]["torch"] == "torch: clip_grad_norm_, fused"
    assert rows["clip_by_norm(adam)"]["torch"] is None


def test_a_stack_and_torchs_counterpart_take_the_same_step():
    made = stacks._stacks()
    for stack, other in stacks._COUNTERPARTS.items():
        other_options = ("l2", "decoupled_decay", "maximize")  # which cost nothing
        if stack.partition("(")[0] in other_options or stack in _HALF:
            continue
        after = []
        for name in (stack, other):
            params = contenders.parameters("mlp")
            made[name](params)()
            after.append([p.detach() for p in params])
        torch.testing.assert_close(*after, rtol=1e-4, atol=1e-6)


def test_few_take_part_on_gpt2(monkeypatch):
    monkeypatch.setattr(contenders, "shapes", lambda name: [(3,)])
    assert [r["stack"] for r in stacks.run(["gpt2"], 0.0)] == [
        "adam",
        "adam, bfloat16 state",
        "adam, 8-bit state",
        "torch: fused",
    ]


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match="'vgg' is invalid"):
        list(stacks.run(["resnet18", "vgg"]))
