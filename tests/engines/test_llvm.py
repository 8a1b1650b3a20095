"""The printed kernels: what they read and write, what they are called, what they refuse."""

import re

import pytest
from cases import ELEMENTWISE, REDUCING, cautious, schedule_free, variants

from ravine import RuleError, like_p, ops, rule, rules, scalar, zeros
from ravine.engines import compiler
from ravine.engines.eager import plan
from ravine.engines.kernel import KernelError
from ravine.engines.llvm.module import text
from ravine.engines.llvm.variant import Variant
from ravine.engines.lowering import lower
from ravine.engines.passes import passes
from ravine.engines.tracing import trace
from ravine.modifiers import clip_by_global_norm, l2
from ravine.ops import matmul, norm, qr, sqrt, sum, total, transpose, where


def kernel(made, **hyper):
    return lower(plan(made, made.check(**hyper)))


def walks(made, *dtypes, **hyper):
    """(what is read, what is written, how many sums) for each pass."""
    kern = kernel(made, **hyper)
    dtypes = dtypes or ("float32",) * len(kern.columns)
    return [("".join(w.loads), "".join(w.stores), len(w.sums)) for w in passes(kern, dtypes)]


@rule
def trusted(p, g, m, *, lr=0.1, beta=0.9):
    """As LARS and LAMB: the new state is complete before the norms are known."""
    m = beta * m + (1 - beta) * g
    return p - lr * norm(p) / norm(m) * m, m


@rule
def rewound(p, g, m, *, lr=0.1, beta=0.9):
    """The old state is needed after the reduction."""
    new = beta * m + (1 - beta) * g
    return p - lr * norm(new) * (new - m), new


def test_passes_move_the_fewest_bytes():
    assert walks(rules.adamw) == [("pgmv", "pmv", 0)]
    assert walks(rules.rmsprop) == [("pgv", "pv", 0)]
    assert walks(clip_by_global_norm(rules.sgd)) == [("g", "", 1), ("pg", "p", 0)]
    # m is stored by the first pass and loaded by the second, which then needs no g ...
    assert walks(trusted) == [("pgm", "m", 2), ("pm", "p", 0)]
    # ... unless storing it would round it, or its old value is still needed.
    assert walks(trusted, "float32", "float32", "bfloat16") == [("pgm", "", 2), ("pgm", "pm", 0)]
    assert walks(trusted, "bfloat16", "bfloat16", "float32") == [("pgm", "m", 2), ("pm", "p", 0)]
    assert walks(rewound) == [("gm", "", 1), ("pgm", "pm", 0)]


def test_a_slot_that_does_not_change_is_not_written():
    @rule(anchor=like_p)
    def tethered(p, g, anchor, *, lr=0.1):
        return p - lr * (g + p - anchor), anchor

    assert walks(tethered) == [("pganchor", "p", 0)]


def test_scalars_are_computed_outside_the_loops():
    groups, walk = compiler.ir(kernel(rules.adam), ("float32",) * 4).split("define void @pass_0")
    assert groups.count("llvm.pow.f64") == 2
    loop = re.search(r"\nwide:\n(.*?)\n\w[\w.]*:\n", walk, re.S).group(1)
    assert "double" not in loop
    assert "pow" not in loop
    # 5 multiplications, 1 for the square and 4 for 2 divisions by scalars, 3 additions, 1 subtraction,
    # 1 division
    counts = {op: loop.count(f"{op} ") for op in ("fmul", "fadd", "fsub", "fdiv")}
    assert counts == {"fmul": 10, "fadd": 3, "fsub": 1, "fdiv": 1}


def test_the_rules_names_are_the_kernels_names():
    ir = compiler.ir(kernel(rules.adam), ("float32",) * 4)
    for name in ("%m_hat", "%v_hat", "%beta1", "%lr"):
        assert f"{name} = " in ir
    assert "; adam: p float32, g float32, m float32, v float32" in ir
    assert "reads p g m v, writes p m v; 28 bytes" in ir


@rule(sum0=like_p, end=scalar(1.0))
def awkward(p, g, sum0, wide, end, t, *, i=0.1, j=0.5, chunk=2.0, count=1.0):
    """Names that the printer uses itself, and one that is not ASCII."""
    entry = g * i + total(g) * 1e-9
    β = entry * j + sum(entry) * 1e-9
    chunk_count, add, claim = β * chunk, β + count * end, where(t == 1, p, β)
    again = add * sum0 + wide * claim
    return p - i * again * chunk_count, again, wide + add, end + 1


@rule
def curved(p, g, *, lr=0.1, a=0.5):
    """Functions and extremes: of elements, of a group's scalars, of a tensor's."""
    tanh, greatest = ops.tanh(g) * ops.tanh(a), ops.greatest(abs(g))
    angle = ops.atan2(p, g) + ops.atan2(a, lr) - ops.atan2(greatest, ops.least(p))
    return p - lr * angle * ops.floor(tanh) + ops.round(p / greatest)


@pytest.mark.parametrize(
    "made", [*ELEMENTWISE, *REDUCING, trusted, rewound, awkward, curved], ids=lambda r: r.name
)
def test_every_rule_is_printed_in_all_dtypes(made):
    for hyper in variants(made):
        kern = kernel(made, **hyper)
        for dtype in ("float64", "float32", "bfloat16", "float16"):
            for stochastic in {False, dtype.endswith("16")}:
                for width in (16, 64):
                    variant = Variant(kern, (dtype,) * len(kern.columns), width, stochastic)
                    compiler.llvm.parse_assembly(text(variant)).verify()


@pytest.mark.parametrize(
    "made", [rules.adamw, cautious(rules.rmsprop), schedule_free], ids=lambda r: r.name
)
@pytest.mark.parametrize(
    "dtypes", [("float64",), ("float32",), ("float32", "float32", "bfloat16"), ("float16",)]
)
def test_the_wide_path_is_packed(made, dtypes):
    """In the wide loop every square root and division is of whole registers."""
    kern = kernel(made)
    dtypes = (*dtypes, *[dtypes[-1]] * len(kern.columns))[: len(kern.columns)]
    machine = compiler.host()
    if not machine.triple.startswith("x86_64"):
        pytest.skip("reads x86-64 assembly")
    register = {64: "zmm", 32: "ymm", 16: "xmm"}[machine.vector_bytes]
    walk = compiler.assembly(kern, dtypes).split("pass_0:")[1].split(".cfi_endproc")[0]
    kind = "pd" if "float64" in dtypes else "ps"
    wide = re.findall(rf"v?sqrt{kind}\s.*%{register}", walk)
    assert len(wide) == 2, "two registers at a time"
    loops = [block for block in re.split(r"\n\.L\w+:", walk) if wide[0] in block]
    assert len(loops) == 1
    loop = re.split(r"\n\tj", loops[0])[0]  # sums of registers are added up behind it
    assert not re.search(r"\bv?(sqrt|div|mul|add|sub)s[sd]\b", loop)
    assert "call" not in loop


@pytest.mark.parametrize(
    ("made", "dtype", "elements"),
    [
        (rules.sgd, "float32", 8),
        (rules.momentum, "float64", 4),
        (rules.adam, "float32", 32),
        (rules.sgd, "bfloat16", 32),  # rounding is computing
    ],
)
def test_what_computes_little_loads_little_at_a_time(made, dtype, elements):
    kern = kernel(made)
    assert Variant(kern, (dtype,) * len(kern.columns), 64).width == elements


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_angles_are_computed_in_whole_registers(dtype):
    """No call of the C library, which takes an element at a time; for ARM too."""
    kern = kernel(
        rule(lambda p, g: ops.atan2(p, g) + ops.floor(g) - ops.round(p) * ops.greatest(g))
    )
    codes = [compiler.assembly(kern, (dtype,) * 2)]
    compiler.llvm.initialize_all_targets()
    compiler.llvm.initialize_all_asmprinters()
    machine = compiler.llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(
        opt=3
    )
    printed = text(Variant(kern, (dtype,) * 2, 16))
    codes.append(machine.emit_assembly(compiler.llvm.parse_assembly(printed)))
    for code in codes:
        assert not re.search(r"\b(atan2|floor|rint|fmaximum|fminimum)", code)


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-macosx14"])
def test_on_arm_the_wide_path_is_packed_too(triple):
    """Cross-compiled only; not run on that platform."""
    compiler.llvm.initialize_all_targets()
    compiler.llvm.initialize_all_asmprinters()
    machine = compiler.llvm.Target.from_triple(triple).create_target_machine(opt=3, jit=True)
    for dtype, vector in (
        ("float32", "4s"),
        ("float64", "2d"),
        ("bfloat16", "4s"),
        ("float16", "4s"),
    ):
        variant = Variant(kernel(rules.adam), (dtype,) * 4, 16)
        code = machine.emit_assembly(compiler.llvm.parse_assembly(text(variant)))
        assert len(re.findall(rf"fsqrt.*\b{vector}\b", code)) == 2, "two registers at a time"


def test_what_a_kernel_cannot_do_is_refused_by_name():
    @rule
    def muon(p, g, *, lr=0.1):
        return p - lr * matmul(g, transpose(g))

    @rule
    def orthogonal(p, g, *, lr=0.1):
        return p - lr * qr(g)[0]

    with pytest.raises(
        KernelError, match=r"'muon' has no CPU kernel: it uses transpose.*eager engine instead"
    ):
        lower(trace(muon))
    with pytest.raises(RuleError, match=r"'orthogonal' has no CPU kernel: it uses qr"):
        lower(trace(orthogonal))

    for made, words in (
        (rules.muon, "newton_schulz, which is not an operation on elements"),
        (rule(lambda p, g: p - sum(g, axis=-3)), "axis -3, which a matrix does not have"),
        (rule(r=zeros(-1))(lambda p, g, r: (p - r, g)), "the new r, which has another shape"),
        (rule(lambda p, g: p - ops.cholesky(g)), "cholesky, which is not an operation on elements"),
        (rule(lambda p, g: p - ops.take(g, ops.argsort(g))), "argsort, which is not an operation"),
    ):
        with pytest.raises(KernelError, match=f"it uses {words}.*eager engine instead"):
            lower(trace(made))

    @rule
    def counted(p, g, t, *, lr=0.1):
        return p - lr * g / sqrt(total(t))

    with pytest.raises(
        KernelError, match=r"'counted'.* total, of a number that does not depend on"
    ):
        lower(trace(counted))


def test_reductions_of_numbers_are_the_numbers():
    @rule
    def odd(p, g, *, lr=0.1):
        return p - sum(lr) * g * norm(norm(g))

    assert walks(odd) == [("g", "", 1), ("pg", "p", 0)]


def test_modifiers_add_no_pass_and_no_bytes():
    plain = Variant(kernel(rules.adam), ("float32",) * 4)
    stacked = Variant(kernel(l2(rules.adam)), ("float32",) * 4)
    assert len(plain.passes) == len(stacked.passes) == 1
    assert walks(l2(rules.adam)) == walks(rules.adam)
    assert len(walks(clip_by_global_norm(cautious(rules.adam)))) == 3
