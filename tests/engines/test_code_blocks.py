"""State in 8 bits on a GPU: the passes that encode it, run on this computer, against the CPU kernel."""

import math
import re
import subprocess

import gpu
import pytest
import torch
from test_ptx import assembler

import ravine.torch
from ravine import registry, rule
from ravine.engines import proof, ptx
from ravine.engines.cpu import kernel
from ravine.engines.eager import plan
from ravine.engines.llvm.blocks import refusal
from ravine.engines.llvm.code_blocks import TILE
from ravine.engines.narrow import BLOCK, narrow
from ravine.engines.proof import proved

HOW = [("float32", False), ("bfloat16", True), ("float64", False), ("float16", True)]


def made(name, dtype="float32"):
    """A kernel, and dtypes of its columns with codes where they can be."""
    its = registry.get(name)
    kern = kernel(plan(its, its.check()))
    codes = narrow(kern.graph)
    assert codes
    return kern, tuple(codes.get(c, dtype if c in ("p", "g") else "float32") for c in kern.columns)


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("name", ["adam", "lion", "amsgrad", "adan"])
def test_codes_and_scales_are_those_of_the_cpu_kernel(name, how):
    dtype, stochastic = how
    assert proved(gpu.Cuda(gpu.Gpu(threads=64)), *made(name, dtype), stochastic) == ""


@pytest.mark.parametrize("name", ["lamb", "clip_by_global_norm(adam)"])
def test_after_reductions(name):
    assert proved(gpu.Cuda(gpu.Gpu(threads=64)), *made(name), False) == ""


@pytest.mark.parametrize("threads", [1, 7, 256])
def test_any_size_tile_by_tile(threads, monkeypatch):
    sizes = (1, 3, BLOCK - 1, BLOCK, BLOCK + 1, TILE, TILE + 1, 3 * TILE + 5)
    monkeypatch.setattr(proof, "_SIZES", sizes)
    monkeypatch.setattr("ravine.engines.gpu._SHORTEST_CHUNK", 2 * TILE)
    driver = gpu.Gpu(threads=threads)
    assert proved(gpu.Cuda(driver), *made("adam"), False) == ""
    assert [launch[:2] for launch in driver.launches] == [(0, len(sizes) + 1)] * 2


def stepped(on_gpu, steps=3, bad=1.0, **how):
    """Large tensors in codes and small ones in float32, on the stand-in or by the CPU's kernel."""
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(n)) for n in (10, 6 * TILE + 5, 5000)]
    optimizer = ravine.torch.Adam(params, state_dtype="8bit", **how)

    def step():
        for t in range(steps):
            for p in params:
                p.grad = torch.randn(p.shape)
                p.grad[BLOCK : BLOCK + 1] *= bad if t == 0 else 1.0
            optimizer.step()

    if on_gpu:
        with gpu.stand_in(gpu.Gpu(threads=64)):
            step()
            assert optimizer.engine.startswith("kernel (PTX on cuda:0); 8-bit state: exp_avg,")
    else:
        step()
    state = [x for p in params for x in optimizer.state[p].values()]
    return optimizer, [*params, *state]


def same(one, other):
    for x, y in zip(one, other, strict=True):
        assert x.dtype == y.dtype
        assert torch.equal(x.view(torch.uint8), y.view(torch.uint8)) if x.ndim else x == y


@pytest.mark.parametrize("how", [{}, {"seed": 5}, {"amsgrad": True}])
def test_an_optimizer_has_the_bits_of_the_cpu(how):
    same(stepped(True, **how)[1], stepped(False, **how)[1])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_spoils_its_block(bad):
    _, found = stepped(True, bad=bad)
    same(found, stepped(False, bad=bad)[1])
    for p in found[1:3]:
        assert p.isnan().nonzero().flatten().tolist() == [*range(BLOCK, 2 * BLOCK)]


def test_sums_of_a_pass_go_on_from_tile_to_tile(monkeypatch):
    monkeypatch.setattr("ravine.engines.gpu._SHORTEST_CHUNK", 4 * TILE)
    (one, mine), (other, its) = (stepped(on_gpu, grad_norm=True) for on_gpu in (True, False))
    assert one.last_grad_norm == pytest.approx(other.last_grad_norm, rel=1e-14)
    same(mine, its)


def test_each_element_is_a_byte_and_phases_are_apart():
    text = ptx.assembly(*made("adam"))
    assert text.count("ld.global.v4.b32") == 2  # p and g; the codes are four bytes each
    assert text.count("st.global.v4.b32") == 1
    assert text.count("bar.sync") == 4  # after each phase of a tile
    assert ".minnctapersm 3" in text
    assert "div.rn.f32" in text


@pytest.mark.gpu
@pytest.mark.skipif(assembler() is None, reason="needs ptxas: pip install nvidia-cuda-nvcc-cu12")
@pytest.mark.parametrize("architecture", ptx.ARCHITECTURES)
@pytest.mark.parametrize(
    "case", [("adam", "float32"), ("adam", "bfloat16"), ("adam", "float64"), ("adan", "float32")]
)
def test_it_assembles_without_spills(case, architecture, tmp_path):
    path = tmp_path / "pass.ptx"
    path.write_text(ptx.assembly(*made(*case), case[1] == "bfloat16", architecture))
    command = [assembler(), "-v", f"-arch={architecture}", str(path), "-o", str(tmp_path / "cubin")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {*re.findall(r"(\d+) bytes spill", done.stderr)} == {"0"}
    assert max(map(int, re.findall(r"Used (\d+) registers", done.stderr))) <= 80


def test_a_block_has_memory_for_so_many_slots():
    names = [f"m{i}" for i in range(6)]
    new = [f"0.9 * {name} + 0.1 * g" for name in names]
    space = {}
    code = f"def many(p, g, {', '.join(names)}, *, lr=0.1):\n"
    code += "".join(f"    {name} = {x}\n" for name, x in zip(names, new, strict=True))
    exec(code + f"    return p - lr * ({' + '.join(names)}), {', '.join(names)}", space)
    its = rule(space["many"])
    kern = kernel(plan(its, its.check()))
    assert {*narrow(kern.graph)} == {*names}
    for codes, why in ((5, ""), (6, "6 slots in 8 bits need more memory")):
        dtypes = ("float32",) * (8 - codes) + ("int8",) * codes
        assert why in refusal(kern, dtypes)
        assert bool(refusal(kern, dtypes)) is bool(why)
