"""What a step is said to take, against what it takes: allocated, loaded and stored, multiplied."""

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravine import registry, rule
from ravine.costs import SHARDS, Machine, Model, cost, transformer
from ravine.costs.models import Tensors
from ravine.costs.operations import operations
from ravine.engines.eager import plan
from ravine.engines.narrow import size
from ravine.engines.tracing import takes_matrices
from ravine.ops import norm

torch = pytest.importorskip("torch")

import ravine.torch  # noqa: E402
from ravine.bench import contenders  # noqa: E402
from ravine.costs import of_module  # noqa: E402

SHAPES = [(12, 8), (6, 20), (7,)]
RULES = list(registry.own())
MODEL = Model("three tensors", [Tensors(s, 1, len(s) > 1) for s in SHAPES])


def matrices_of(rule):
    return [s for s in SHAPES if len(s) > 1] if takes_matrices(rule) else SHAPES


@pytest.mark.parametrize("name", RULES)
def test_state_is_what_an_optimizer_allocates(name):
    its = registry.get(name)
    shapes = matrices_of(its)
    params = [torch.ones(s, requires_grad=True) for s in shapes]
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer = ravine.torch.optimizer(its)(params)
    signals = {
        k: (0.5 if s.scalar else [torch.ones(x) for x in shapes]) for k, s in its.signals.items()
    }
    optimizer.step(**signals)
    allocated = 0
    for p in params:
        state = {k: x for k, x in optimizer.state[p].items() if k != "step"}
        allocated += sum(x.numel() * x.element_size() for x in state.values() if torch.is_tensor(x))
    model = Model("", [Tensors(s, 1, inner=True) for s in shapes])
    shared = sum(slot.shared for slot in its.slots.values())
    found = cost(its, model)
    counts = 4 * len(shapes)
    # Each parameter's state has the shared numbers too, though they are one in memory.
    assert found.state - counts == allocated - 8 * shared * len(params)


@pytest.mark.parametrize(
    "name", ["sgd", "adam", "lion", "clip_by_global_norm(adam)", "lamb", "kahan(adam)"]
)
def test_moved_is_what_the_kernel_loads_and_stores(name):
    pytest.importorskip("llvmlite")
    its = registry.get(name)
    params = [torch.ones(12, 8), torch.ones(6, 20)]
    for p in params:
        p.grad = torch.ones_like(p)
    kernel = contenders.Kernel(its, its.check(), params)
    model = Model("", [Tensors(tuple(p.shape), 1, inner=True) for p in params])
    counts = 4 * len(params)  # read and written, as the arrays are
    assert cost(its, model).moved == kernel.bytes + 2 * counts


@pytest.mark.parametrize(
    "name", ["muon", "muon_jordan", "polar_express", "scion", "shampoo", "psgd_kron", "soap"]
)
def test_products_are_those_that_torch_counts(name):
    from torch.utils.flop_counter import FlopCounterMode

    its = registry.get(name)
    p = torch.nn.Parameter(torch.randn(12, 8, dtype=torch.float64))
    optimizer = ravine.torch.optimizer(its)([p], engine="eager")
    for t in range(1, 4):
        p.grad = torch.randn(12, 8, dtype=torch.float64)
        with FlopCounterMode(display=False) as counter:
            optimizer.step()
        graph = plan(its, its.check(), ndim=2)
        found = operations(its, graph, (12, 8), its.check(), t)
        roots = sum(node.op == "inverse_root" for node in graph.nodes)
        # inverse_root counts as one operation; torch counts the products that it ends with
        assert (found.products == counter.get_total_flops()) or roots
        assert found.products > 0


def test_elements_are_counted_one_by_one():
    @rule
    def heavy(p, g, m, *, lr=0.1, beta=0.9):
        m = beta * m + g  # 2
        return p - lr * m / norm(g), m  # 3, with 1 + 1 for the norm

    values = heavy.check()
    found = operations(heavy, plan(heavy, values, ndim=1), (10,), values, 5)
    assert found.products == found.factors == 0
    assert found.elements - 10 * (2 + 3 + 2) in range(4)  # and the root, once


def test_what_happens_every_tenth_step_counts_a_tenth():
    its = registry.get("shampoo")
    model = Model("", [Tensors((12, 8), 1, inner=True)])
    every, tenth = (cost(its, model, every=k).operations.factors for k in (1, 10))
    assert every == pytest.approx(10 * tenth)
    assert every == pytest.approx(11 * (12**3 + 8**3))


@settings(max_examples=50)
@given(st.floats(1e4, 1e12))
def test_a_transformer_has_as_many_parameters_as_asked(params):
    assert transformer(params).numel == pytest.approx(params, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6),
    st.integers(1, 20),
    st.sampled_from(["adam", "muon", "adafactor"]),
)
def test_devices_share_what_one_would_do(shapes, devices, name):
    model = Model("", [Tensors(shape, 1, inner=True) for shape in shapes])
    its = registry.get(name)
    alone = cost(its, model)
    for shard in SHARDS:
        assert cost(its, model, shard=shard) == alone
        each = cost(its, model, devices=devices, shard=shard)
        assert alone.state / devices <= each.state <= alone.state
        assert alone.moved / devices <= each.moved * (1 + 1e-12)
        assert each.moved <= alone.moved
        if shard != "fsdp":
            assert each.sent == each.messages == 0
    spread = cost(its, model, devices=devices, shard="fsdp")
    numel = sum(map(prod, shapes))
    assert spread.parameters == pytest.approx(4 * numel / devices)
    if (
        name == "muon" and devices > 1
    ):  # a matrix that is spread is put together where it is multiplied
        assert spread.sent == pytest.approx((1 - 1 / devices) * 4 * numel)
        assert spread.operations.products == alone.operations.products


@pytest.mark.parametrize("name", ["adam", "momentum", "amsgrad", "adan", "adagrad", "ema(adam)"])
def test_state_in_eight_bits_is_what_an_optimizer_allocates(name):
    its, shapes = registry.get(name), [(90, 90), (5000,), (63, 65), (7,)]
    params = [torch.ones(s, dtype=torch.bfloat16, requires_grad=True) for s in shapes]
    for p in params:
        p.grad = torch.ones_like(p)
    how = {} if name == "adagrad" else {"state_dtype": "8bit"}  # which refuses it
    optimizer = ravine.torch.optimizer(its)(params, **how or {"state_dtype": torch.float32})
    optimizer.step()
    allocated = sum(x.nbytes for p in params for k, x in optimizer.state[p].items() if k != "step")
    model = Model("", [Tensors(s, 1, inner=True) for s in shapes])
    found = cost(its, model, dtype="bfloat16", state_dtype="8bit")
    assert found.state - 4 * len(shapes) == allocated


def test_eight_bits_of_a_spread_parameter_are_for_rules_that_work_element_by_element():
    model = Model("", [Tensors((64, 64), 8, inner=True)])
    how = {"state_dtype": "8bit", "devices": 2, "shard": "fsdp"}
    adam, lamb = (cost(registry.get(name), model, **how).state for name in ("adam", "lamb"))
    assert adam == 8 * (2 * size(64 * 64) / 2 + 4)
    assert lamb == 8 * (2 * 4 * 64 * 64 / 2 + 4)


def test_eight_bits_are_a_byte_and_a_scale():
    model = Model("", [Tensors((64, 64), 1, inner=True), Tensors((7,), 1, inner=False)])
    found = cost(registry.get("adam"), model, state_dtype="8bit")
    assert found.state == 2 * (64 * 64 + 64 * 64 / 256 * 4) + 2 * 4 * 7 + 2 * 4


def test_the_least_time_is_that_of_bytes_products_and_messages():
    found = cost(registry.get("muon"), MODEL, devices=2, shard="fsdp")
    machine = Machine(1e3, 1e6, 1e2)
    products = found.operations.products / 1e6
    assert found.seconds(machine) == pytest.approx(found.moved / 1e3 + products + found.sent / 1e2)


def test_a_model_on_the_meta_device_knows_its_hidden_matrices():
    with torch.device("meta"):
        net = torch.nn.Sequential(
            torch.nn.Embedding(50, 8),
            torch.nn.Linear(8, 16),
            torch.nn.Linear(16, 8),
            torch.nn.Linear(8, 3),
        )
    net[2].requires_grad_(False)
    model = of_module(net)
    assert {(t.shape, t.inner) for t in model.tensors} == {
        ((50, 8), False),
        ((16, 8), True),
        ((16,), False),
        ((3, 8), False),
        ((3,), False),
    }
    found = cost(registry.get("muon"), model)
    assert found.others == pytest.approx(1 - 128 / model.numel)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"dtype": "int8"}, "dtype='int8' is invalid; it must be one of float64"),
        ({"state_dtype": "4bit"}, "state_dtype='4bit' is invalid"),
        ({"shard": "zero9"}, "shard='zero9' is invalid; it must be one of none, zero1, fsdp"),
        ({"devices": 0}, "devices=0 is invalid; it must be a whole number above 0"),
    ],
)
def test_what_is_not_accepted(given_, said):
    with pytest.raises(ValueError, match=said):
        cost(registry.get("adam"), MODEL, **given_)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_an_offloaded_step_keeps_and_copies(dtype):
    shapes = [(64, 65), (70,)]
    numel, wide = 64 * 65 + 70, {"float32": 4, "bfloat16": 2}[dtype]
    model = Model("", [Tensors(s, 1, inner=True) for s in shapes])
    adam = registry.get("adam")
    found, plain = (cost(adam, model, dtype=dtype, offload=on) for on in (True, False))
    assert plain.host == plain.copied == 0
    assert found.parameters == found.gradients == found.copied == wide * numel
    assert found.held == 2 * wide * numel
    assert found.state == 8 * numel + 2 * 4  # as that of the copy, in float32
    assert found.host == found.state + 4 * numel + wide * numel
    assert found.moved == (4 + 4 + wide + 4 * 4) * numel + 2 * 2 * 4
    narrow = cost(adam, model, dtype=dtype, state_dtype="8bit", offload=True)
    assert narrow.host - narrow.state == found.host - found.state
    assert narrow.state == cost(adam, model, dtype=dtype, state_dtype="8bit").state
    machine = Machine(1e3, 1e6, link=10.0)
    assert found.seconds(machine) == wide * numel / 10
    assert found.seconds(Machine(1e3, 1e6)) == found.moved / 1e3
    assert plain.seconds(machine) == plain.moved / 1e3


@pytest.mark.parametrize("shard", SHARDS)
def test_devices_share_what_is_offloaded(shard):
    model = Model("", [Tensors((64, 64), 4, inner=True)])
    found = cost(
        registry.get("adam"), model, dtype="bfloat16", devices=4, shard=shard, offload=True
    )
    share = 1 if shard == "none" else 4
    assert found.copied == 2 * 4 * 64 * 64 / share
    assert found.host == found.state + (4 + 2) * 4 * 64 * 64 / share
