"""Kernels as Triton text: run in Triton's interpreter, against the CPU kernel, and compiled for GPUs.

Nothing here needs a GPU, and nothing has run on one.
"""

import os
import subprocess
import sys
import textwrap
from unittest import mock

import pytest

pytestmark = pytest.mark.gpu
os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
pytest.importorskip("triton", reason="Triton is not installed; the extra triton brings it")

import gpu  # noqa: E402
import torch  # noqa: E402
from cases import ELEMENTWISE, REDUCING  # noqa: E402
from kernels import name  # noqa: E402

import ravine.torch  # noqa: E402
from ravine import rule, rules  # noqa: E402
from ravine.engines import proof  # noqa: E402
from ravine.engines.cpu import kernel  # noqa: E402
from ravine.engines.devices import Place  # noqa: E402
from ravine.engines.eager import plan  # noqa: E402
from ravine.engines.proof import proved  # noqa: E402
from ravine.engines.triton import engine  # noqa: E402
from ravine.modifiers import clip_by_global_norm  # noqa: E402
from ravine.ops import exp, log, tanh  # noqa: E402

HOW = [("float32", False), ("bfloat16", True), ("float64", False), ("bfloat16", False)]
EVERY = [*ELEMENTWISE, *REDUCING]
CLIPPED = clip_by_global_norm(rules.adamw, max_norm=0.5)
INTERPRETER = engine(Place("cpu", 0))


def made(rule):
    return kernel(plan(rule, rule.check()))


def wrong(rule, dtype, stochastic):
    kern = made(rule)
    dtypes = (dtype,) * len(kern.columns)
    why = INTERPRETER.refusal(kern, dtypes, stochastic)
    return why or proved(INTERPRETER, kern, dtypes, stochastic)


@pytest.mark.parametrize(("number", "made_rule"), [*enumerate(EVERY)], ids=map(name, EVERY))
def test_every_rule_has_the_bits_of_the_cpu_kernel(number, made_rule):
    why = wrong(made_rule, *HOW[number % len(HOW)])
    if why:
        assert made_rule in REDUCING
        assert why == "it has something for each row or column of a matrix"


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("made_rule", [rules.adam, CLIPPED], ids=name)
def test_in_every_arithmetic(made_rule, how):
    assert wrong(made_rule, *how) == ""


def test_columns_of_several_dtypes():
    kern = made(rules.adam)
    dtypes = ("bfloat16", "float16", "float32", "float32")
    assert proved(INTERPRETER, kern, dtypes, True) == ""


@pytest.mark.parametrize("function", [exp, tanh, log])
def test_what_a_library_computes_is_near(function):
    """It is another library here: the last bits may differ."""

    @rule
    def soft(p, g, *, lr=0.1):
        return p - lr * function(abs(g) + 1)

    def near(dtype, x, y, exact, same=proof._same):
        return same(dtype, x, y, False)

    with mock.patch.object(proof, "_same", near):
        assert wrong(soft, "float64", False) == ""


@pytest.mark.parametrize("kind", [ravine.torch.AdamW, ravine.torch.NAdam])
def test_an_optimizer_steps_by_it(kind):
    def train():
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(size)) for size in ((40, 60), (), (3, 7))]
        optimizer = kind(params)
        for _ in range(3):
            for p in params:
                p.grad = torch.randn_like(p)
            optimizer.step()
        return optimizer, params

    with gpu.stand_in(engine=INTERPRETER):
        optimizer, mine = train()
        assert optimizer.engine == "kernel (Triton on cuda:0)"
    for p, q in zip(mine, train()[1], strict=True):
        assert torch.equal(p, q)


AHEAD = """
    import re, sys
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from ravine import rules
    from ravine.engines.cpu import kernel
    from ravine.engines.eager import plan
    from ravine.engines.llvm.variant import Variant
    from ravine.engines.triton.engine import functions
    from ravine.engines.triton.printer import text

    backend, architecture, dtype, stochastic = sys.argv[1:]
    number = int(architecture) if architecture.isdigit() else architecture
    target = GPUTarget(backend, number, 32 if backend == "cuda" else 64)
    kern = kernel(plan(rules.adam, rules.adam.check()))
    dtypes = (dtype,) * len(kern.columns)
    [function] = [
        f for name, f in functions(text(Variant(kern, dtypes, stochastic=stochastic == "1"))).items()
        if name.startswith("pass_")
    ]
    known = {"BLOCK": 1024, "ALIGNED": True}
    source = ASTSource(
        fn=function,
        signature={a: "constexpr" if a in known else "i64" for a in function.arg_names},
        constexprs={(function.arg_names.index(a),): x for a, x in known.items()},
    )
    made = compile(source, target=target, options={"num_warps": 4, "enable_fp_fusion": False})
    print(made.asm["ptx" if backend == "cuda" else "amdgcn"])
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("backend", "architecture"), [("cuda", "80"), ("cuda", "90"), ("hip", "gfx942")]
)
def test_it_compiles_ahead_of_time(backend, architecture, dtype, tmp_path):
    """With wide loads, without fused products and sums; in a process of its own, without the interpreter."""
    script = tmp_path / "ahead.py"
    script.write_text(textwrap.dedent(AHEAD))
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    words = [sys.executable, script, backend, architecture, dtype, str(int(dtype == "bfloat16"))]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=240,
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    wide = "ld.global.v4" if backend == "cuda" else "global_load_dwordx"
    assert wide in done.stdout
    fused = ("fma.rn.f32", "div.full") if backend == "cuda" else ("scratch_store",)
    assert not any(word in done.stdout for word in fused)
