"""PTX: what is in its text, and that NVIDIA's assembler takes it, where that is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import gpu
import pytest
from engines.test_blocks import soft

from ravine import rules
from ravine.engines import ptx
from ravine.engines.cpu import kernel
from ravine.engines.eager import plan
from ravine.modifiers import clip_by_global_norm

CLIPPED = clip_by_global_norm(rules.adamw)
SOFT = [(soft, dtype, False, 0) for dtype in ("float32", "bfloat16", "float64")]
CASES = [
    (rules.adam, "float32", False, 4),
    (rules.adam, "bfloat16", True, 4),
    (rules.adam, "float64", False, 0),
    (CLIPPED, "float32", False, 5),
    (rules.adafactor, "float32", False, 5),
]


def made(rule, dtype):
    kern = kernel(plan(rule, rule.check()))
    return kern, (dtype,) * len(kern.columns)


@pytest.mark.parametrize("architecture", ptx.ARCHITECTURES)
@pytest.mark.parametrize(("rule", "dtype", "stochastic", "wide"), CASES)
def test_sixteen_bytes_at_a_time_and_nothing_approximate(
    rule, dtype, stochastic, wide, architecture
):
    text = ptx.assembly(*made(rule, dtype), stochastic, architecture)
    assert f".target {architecture}" in text
    assert len(re.findall(r"ld\.global\.v4", text)) == wide
    if dtype == "float64":
        assert len(re.findall(r"ld\.global\.v2", text)) == 4
    assert re.search(r"div\.rn\.f(32|64)", text)
    assert re.search(r"sqrt\.rn\.f(32|64)", text)
    # Without .rn, the assembler would fuse them.
    assert not re.search(r"fma|mad\.f|\.ftz|approx|(add|sub|mul)\.f(32|64)", text)


def test_as_many_kernels_as_passes_and_nothing_to_link():
    text = ptx.assembly(*made(CLIPPED, "float32"))
    assert re.findall(r"\.entry (\w+)\(", text) == ["pass_0", "pass_2"]
    assert ".extern" not in text
    # between walk, fold, leave, tensors_1, the three phases of the total, and tensors_2
    assert text.count("bar.sync") == 7


def test_a_launch_between_two_passes_for_rows_and_columns():
    text = ptx.assembly(*made(rules.adafactor, "float32"))
    names = ["pass_0", "pass_1", "pass_2", "lines_1", "lines_2"]
    assert re.findall(r"\.entry (\w+)\(", text) == names
    assert ".extern" not in text


def test_formulas_call_nothing_and_fuse_only_what_is_to_be():
    text = ptx.assembly(*made(soft, "float32"))
    assert ".extern" not in text
    assert "fma.rn.f64" in text  # in pow
    assert not re.search(r"\.ftz|approx|mad\.f|(add|sub|mul)\.f(32|64)", text)


def test_scalars_are_computed_by_one_module_that_calls_nothing():
    for rule, last in ((rules.adam, []), (rules.nadam, []), (rules.prodigy, ["finish"])):
        text = ptx.assembly(*made(rule, "float32"), scalars=True)
        assert re.findall(r"\.entry (\w+)\(", text) == ["first", *last, "put"]
        assert not re.search(
            r"\.extern|\.local|approx|\.ftz", text
        )  # put reads its arguments in place
        gpu.parsed(ptx.ir(*made(rule, "float32"), scalars=True))


def test_the_ir_is_valid():
    for rule, dtype, stochastic, _ in CASES + SOFT:
        gpu.parsed(ptx.ir(*made(rule, dtype), stochastic))


def test_other_architectures_are_refused():
    with pytest.raises(
        ValueError, match="architecture='sm_20' is invalid; it must be one of sm_80"
    ):
        ptx.assembly(*made(rules.sgd, "float32"), architecture="sm_20")


def assembler():
    """ptxas of CUDA, or of a wheel: nvidia-cuda-nvcc-cu12 or triton."""
    found = shutil.which("ptxas")
    if found:
        return found
    try:
        import nvidia.cuda_nvcc as wheel
    except ImportError:
        try:
            import triton.backends.nvidia as wheel
        except ImportError:
            return None
    tool = Path(next(iter(wheel.__path__)), "bin", "ptxas")
    return str(tool) if tool.exists() else None


@pytest.mark.gpu
@pytest.mark.skipif(assembler() is None, reason="needs ptxas: pip install nvidia-cuda-nvcc-cu12")
@pytest.mark.parametrize("architecture", ptx.ARCHITECTURES)
@pytest.mark.parametrize(("rule", "dtype", "stochastic"), [case[:3] for case in CASES + SOFT])
def test_it_assembles_without_spills(rule, dtype, stochastic, architecture, tmp_path):
    path = tmp_path / "pass.ptx"
    path.write_text(ptx.assembly(*made(rule, dtype), stochastic, architecture))
    command = [assembler(), "-v", f"-arch={architecture}", str(path), "-o", str(tmp_path / "cubin")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # In passes over the elements; what follows them calls functions for division and roots in float64.
    found = re.findall(r"properties for pass_\d+\n.*?(\d+) bytes spill stores", done.stderr)
    assert {*found} == {"0"}
    assert max(map(int, re.findall(r"Used (\d+) registers", done.stderr))) <= (
        255 if rule is soft else 128
    )


@pytest.mark.gpu
@pytest.mark.skipif(assembler() is None, reason="needs ptxas: pip install nvidia-cuda-nvcc-cu12")
@pytest.mark.parametrize("architecture", ptx.ARCHITECTURES)
@pytest.mark.parametrize("rule", [rules.adam, rules.prodigy, CLIPPED], ids=lambda r: r.name)
def test_the_kernels_for_scalars_assemble(rule, architecture, tmp_path):
    path = tmp_path / "scalars.ptx"
    path.write_text(ptx.assembly(*made(rule, "float32"), False, architecture, scalars=True))
    command = [assembler(), "-v", f"-arch={architecture}", str(path), "-o", str(tmp_path / "cubin")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # Only one block is launched, so registers do not matter.
    assert max(map(int, re.findall(r"(\d+) bytes spill", done.stderr))) <= 32
