"""Kernels compiled by Triton for GPUs that are not here: wide loads, nothing spilled.

In another process, since in this one Triton interprets.
"""

import json
import os
import subprocess
import sys

import pytest

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("`make test-gpu` runs these", allow_module_level=True)
pytest.importorskip("triton")

pytestmark = pytest.mark.gpu

PROGRAM = r"""
import json, re, subprocess, sys
from pathlib import Path

import triton
import triton.backends.nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ravine import registry
from ravine.engines.cpu import kernel
from ravine.engines.eager import plan
from ravine.engines.llvm.variant import Variant
from ravine.engines.triton.launching import _OPTIONS, functions
from ravine.engines.triton.printer import BLOCK, text

ptxas = Path(triton.backends.nvidia.__file__).parent / "bin" / "ptxas"
folder, name, dtype, stochastic, target = json.loads(sys.argv[1])
rule = registry.get(name)
kern = kernel(plan(rule, rule.check()))
space = functions(text(Variant(kern, (dtype,) * len(kern.columns), stochastic=stochastic)))
found = {}
for name in [x for x in space if re.match("(pass|tensors|totals)_", x)]:
    function = space[name]
    constants = {"BLOCK": BLOCK, "ALIGNED": True}
    kinds = {a: "constexpr" if a in constants else "i64" for a in function.arg_names}
    at = {(i,): constants[a] for i, a in enumerate(function.arg_names) if a in constants}
    made = triton.compile(
        ASTSource(fn=function, signature=kinds, constexprs=at), target=GPUTarget(*target), options=_OPTIONS
    )
    if target[0] == "cuda":
        code = made.asm["ptx"]
        ptx = Path(folder) / "kernel.ptx"
        ptx.write_text(code)
        sm = f"sm_{target[1]}" + "a" * (target[1] >= 90)
        call = [ptxas, "-v", f"-arch={sm}", ptx, "-o", ptx.with_suffix(".cubin")]
        run = subprocess.run(call, stderr=subprocess.PIPE, text=True)
        spills = re.findall(r"(\d+) bytes spill", run.stderr)
        names = {"loads": r"ld\.global\.v4\.b32", "stores": r"st\.global\.v4\.b32", "fused": r"fma\.rn\.f32"}
        names |= {"div": r"div\.rn\.f32", "root": r"sqrt\.rn\.f32", "loose": r"div\.full|\.approx"}
    else:
        code = made.asm["amdgcn"]
        spills = re.findall(r"[vs]gpr_spill_count:\s+(\d+)", code)
        names = {"loads": "global_load_dwordx4", "stores": "global_store_dwordx4"}
    found[name] = {k: len(re.findall(x, code)) for k, x in names.items()} | {"spills": list(map(int, spills))}
print(json.dumps(found))
"""

SM80, SM90, GFX942 = ("cuda", 80, 32), ("cuda", 90, 32), ("hip", "gfx942", 64)


def compiled(folder, *case):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(folder / "cache")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([str(folder), *case])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert all(its["spills"] and not any(its["spills"]) for its in found.values())
    return found


@pytest.mark.parametrize("target", [SM80, SM90, GFX942], ids=lambda target: str(target[1]))
def test_adam(target, tmp_path):
    its = compiled(tmp_path, "adam", "float32", False, target)["pass_0"]
    many = 4 if target == GFX942 else 8  # two for each thread, or one for each of twice as many
    assert (its["loads"], its["stores"]) == (many, many * 3 // 4)
    if target != GFX942:
        assert its["div"] == its["root"] == 16  # a block, and the elements that are left over
        assert its["fused"] == its["loose"] == 0


def test_bfloat16_with_stochastic_rounding(tmp_path):
    its = compiled(tmp_path, "adam", "bfloat16", True, SM90)["pass_0"]
    assert (its["loads"], its["stores"]) == (4, 3)


def test_reductions(tmp_path):
    found = compiled(tmp_path, "lamb", "float32", False, SM80)
    assert {*found} == {"pass_0", "tensors_1", "pass_1"}
    assert found["pass_0"]["loads"] == 8
