"""Matrix rules by turns on a stand-in for a GPU, and what torch computes between the kernels, on a device."""

from contextlib import nullcontext

import gpu
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import ravine.torch as rt
from ravine import RuleError, registry, rule
from ravine.draws import Draw
from ravine.engines import devices
from ravine.engines.cutting import is_cut
from ravine.engines.eager import plan
from ravine.engines.stacks import Calls, Kind, Pool
from ravine.engines.turns import cuts, exchanged
from ravine.modifiers import clip_by_global_norm
from ravine.ops import eigh, greatest, matmul, mean, newton_schulz, norm, transpose, where
from ravine.rule import scalar, square, zeros
from ravine.torch.matrices import Stacks

BY_TURNS = [r for r in registry.rules().values() if is_cut(plan(r, r.check()))]
SHAPES = [(5, 3), (3, 5), (5, 3), (40, 60), (12, 9)]
IN_ROWS = [r for r in BY_TURNS if r.name.startswith("normuon")]
"""Those whose kernels have something for each row."""
POINTWISE = [r for r in BY_TURNS if r not in IN_ROWS]
META = torch.device("meta")


def names(rules):
    return [r.name for r in rules]


def train(made, shapes=SHAPES, steps=5, dtype=torch.float32, **how):
    optimizer, params = gpu.train(rt.optimizer(made), shapes, steps, dtype, **how)
    return optimizer, params, optimizer.engine


def assert_same(got, want):
    for p, q in zip(got[1], want[1], strict=True):
        assert torch.equal(p, q)
    state = got[0].state_dict()["state"]
    for i, its in want[0].state_dict()["state"].items():
        for name, x in its.items():
            assert torch.equal(state[i][name], x), name


def check(made, **how):
    driver = gpu.Gpu(threads=64)
    with gpu.stand_in(driver):
        train(made, steps=1, **how)  # with the proofs
        driver.launches.clear()
        got = train(made, **how)
    want = train(made, **how)
    name = "kernel (PTX on cuda:0), matrices by cuBLAS"
    assert got[2] == want[2].replace("kernel, matrices by BLAS", name, 1) != want[2]
    assert len(driver.launches) >= 5
    assert_same(got, want)


@pytest.mark.parametrize("made", POINTWISE, ids=names(POINTWISE))
def test_steps_have_the_bits_of_turns_on_the_cpu(made):
    check(made)


def test_in_other_dtypes_and_with_tensors_of_many_matrices():
    check("shampoo", dtype=torch.float64)
    check("muon", dtype=torch.bfloat16)
    check("soap", shapes=[(4, 3), (3, 4), (4, 3)], dtype=torch.bfloat16, state_dtype=torch.float32)
    check("dion", shapes=[(2, 6, 4), (6, 4), (3, 2, 5, 4)])


def test_with_sums_over_all_tensors():
    """Both branches of conditions are then computed, and sums are in another order."""
    made = clip_by_global_norm(registry.rules()["soap"], max_norm=0.1)
    with gpu.stand_in(gpu.Gpu(threads=64)):
        (on_gpu, got, engine) = train(made, grad_norm=True)
    assert engine.startswith("kernel (PTX on cuda:0), matrices by cuBLAS: ")
    on_cpu, want, _ = train(made, grad_norm=True)
    torch.testing.assert_close(got, want)
    assert on_gpu.last_grad_norm == pytest.approx(on_cpu.last_grad_norm)


@rule(r=zeros(-1), n=scalar(0.0))
def of_rows(p, g, r, n, *, lr=0.1):
    """Numbers for rows, for the matrix and for the tensor go to the library, and come back."""
    r = 0.5 * r + norm(g, axis=-1)
    x = newton_schulz(g / r, 3.0, -3.2, 1.2, steps=2)
    y = newton_schulz(x + mean(x, axis=-2), 3.0, -3.2, 1.2, steps=2)
    n = 0.5 * n + mean(y * y)
    return p - lr * (y * norm(x, axis=-1) / (1 + n) + greatest(y)), r, n


@pytest.mark.parametrize("made", [*IN_ROWS, of_rows], ids=names([*IN_ROWS, of_rows]))
def test_with_numbers_for_rows(made):
    shapes, how = [*SHAPES, (300, 130)], {"dtype": torch.float64}
    with gpu.stand_in(gpu.Gpu(threads=64)):
        (on_gpu, got, engine) = train(made, shapes, **how)
    assert engine == "kernel (PTX on cuda:0), matrices by cuBLAS: newton_schulz"
    on_cpu, want, _ = train(made, shapes, **how)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)
    for p, q in zip(got, want, strict=True):
        torch.testing.assert_close(on_gpu.state[p], on_cpu.state[q], rtol=1e-11, atol=1e-13)


def test_gradients_are_filled_with_zeros():
    p = torch.nn.Parameter(torch.randn(6, 4))
    with gpu.stand_in(gpu.Gpu(threads=64)):
        optimizer = rt.Muon([p])
        p.grad = torch.randn_like(p)
        optimizer.step(zero_grad=True)
    assert torch.equal(p.grad, torch.zeros(6, 4))


class OnlyThere(TorchDispatchMode):
    """Operations on tensors of one device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for x in tree_leaves((args, kwargs, found)):
            assert not isinstance(x, torch.Tensor) or x.device == META, function
        return found


@pytest.mark.parametrize("made", BY_TURNS, ids=names(BY_TURNS))
def test_what_is_computed_between_kernels_stays_on_the_device_and_waits_for_nothing(
    made, monkeypatch
):
    """Tensors without values raise an error if the host asks for one."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    hyper = made.check()
    graph, slots = plan(made, hyper), made.slots
    leaves = {**hyper, "t": 3.0, **{s: 1.0 for s in graph.live if slots[s].kind == "scalar"}}
    for gram, shape in ((False, (6, 4)), (False, (4, 6)), (True, (20, 4))):
        library, kind = Stacks(gram, META), Kind(0, [0, 1], [1, 1], shape, "float32")
        state = {
            s: [torch.zeros(slots[s].shape(shape, **hyper), device=META) for _ in kind.members]
            for s in graph.live
            if slots[s].matrix
        }
        for way in cuts(graph):
            draws = [Draw(0, 1, i) for i in kind.members]
            calls = Calls(way, kind, library, Pool(library), state.get, [leaves], draws)
            dtypes = exchanged(way, {"p": "float32"})
            with library.calling(), OnlyThere():
                for turn in way.turns:
                    for column, node in turn.given.items():
                        calls.given(node, dtypes[column])
                    calls.run(turn)
                    for column, node in turn.found.items():
                        assert calls.column(node, dtypes[column]).is_contiguous()
                for slot, node in way.stores.items():
                    library.copy(state[slot], calls.stored(node))
                for slot, fused in way.late.items():
                    calls.store_late(slot, fused)


@pytest.mark.parametrize(("side", "counts"), [(300, (6, 0)), (1100, (0, 18))])
def test_matrices_take_one_call_for_a_stack_on_a_device_unless_they_are_large(side, counts):
    x, calls = torch.empty(3, side, 1200, device=META), []

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls.append(str(function))
            return function(*args, **(kwargs or {}))

    with Counted():
        Stacks(device=META).newton_schulz(x, 1e-7, 2, False, 3.4, -4.8, 2.0)
    stacks = sum("bmm" in name for name in calls)
    assert (stacks, sum(".mm" in name or "addmm" in name for name in calls)) == counts


def test_arrays_are_viewed_where_tensors_are_held():
    library, state = Stacks(), torch.arange(26.0)[2:]
    library.hold("L", [state, None])
    library.hold("R", [torch.zeros(3)])
    found = library.view(state.data_ptr(), (2, 3, 4), "float32")
    assert torch.equal(found, state.view(2, 3, 4))
    found[1, 2, 3] = 7.0
    assert state[-1] == 7.0
    library.hold("L", [])
    assert torch.equal(library.view(state.data_ptr(), (2, 3, 4), "float32"), found)


def test_state_is_not_viewed_by_address(monkeypatch):
    def frombuffer(*_, **__):
        raise AssertionError("there is no such memory on the host")

    monkeypatch.setattr(torch, "frombuffer", frombuffer)
    with gpu.stand_in(gpu.Gpu(threads=64)):
        train("shampoo", steps=2)


@rule(q=square(-2), r=square(-1))
def undecided(p, g, q, r, t, *, lr=0.1):
    """Each basis at its own steps."""
    q = where(t % 2 == 0, eigh(matmul(g, transpose(g)))[1], q)
    r = where(t % 3 == 0, eigh(matmul(transpose(g), g))[1], r)
    u = where(t > 4, newton_schulz(g, 3.0, -3.2, 1.2), g)
    v = where(t > 5, newton_schulz(g, 3.0, -3.2, 1.3), g)
    return p - lr * (matmul(matmul(q, u), r) + v), q, r


def test_what_too_many_numbers_decide_is_called_and_the_engine_says_so():
    with gpu.stand_in(gpu.Gpu(threads=64)):
        *_, engine = train(undecided, steps=1)
    assert engine.endswith(
        "eager for 5 tensors (on cuda:0: more than 3 numbers decide between its matrices)"
    )


def test_a_kernel_that_fails_its_test_is_not_used(monkeypatch):
    """The last kernel of the steps at which SOAP's bases are made, which come later."""
    soap = registry.rules()["soap"]
    wrong = cuts(plan(soap, soap.check(lr=0.5)))[1].turns[-1].kernel
    before = devices.chosen

    def chosen(kernel, dtypes, stochastic, where):
        if kernel.columns == wrong.columns:
            return None, f"on {where}: it is wrong"
        return before(kernel, dtypes, stochastic, where)

    monkeypatch.setattr("ravine.torch.places.chosen", chosen)
    with gpu.stand_in(gpu.Gpu(threads=64)):
        *_, engine = train(soap, steps=1)
        assert engine.endswith("eager for 5 tensors (on cuda:0: it is wrong)")
        with pytest.raises(RuleError, match="on cuda:0: it is wrong"):
            train(soap, steps=1, engine="kernel")
