"""Which engine a device gets: the first that proves itself there; if none does, the reasons are told."""

import subprocess
import sys
from types import SimpleNamespace

import gpu
import pytest

from ravine import rules
from ravine.engines import devices
from ravine.engines.cpu import kernel
from ravine.engines.devices import Place, Unavailable, bound, chosen
from ravine.engines.eager import plan
from ravine.engines.lowering import lower
from ravine.modifiers import l2

PLACE = Place("cuda", 0)


@pytest.fixture
def has(monkeypatch):
    """Let the device have these engines, in the place of Ravine's own."""

    def has(*engines):
        names = [f"engine_{i}" for i in range(len(engines))]
        for name, engine in zip(names, engines, strict=True):
            made = SimpleNamespace(engine=engine)
            monkeypatch.setitem(sys.modules, name, made)
        monkeypatch.setattr(devices, "_MODULES", {"cuda": names})
        monkeypatch.setattr(devices, "_engines", {})

    return has


def made(rule):
    """A kernel that nobody has proved yet."""
    return lower(plan(rule, rule.check()))


def missing(place):
    raise Unavailable(f"no engine for {place}")


class Wrong(gpu.Cuda):
    """Flips a bit of what it computes, or of what is beside it."""

    flipped = 0.5

    def read(self, address, size):
        content = bytearray(super().read(address, size))
        content[int(self.flipped * (size - 1))] ^= 1
        return bytes(content)


class Beside(Wrong):
    flipped = 1.0


class Broken(gpu.Cuda):
    def step(self, *given, **how):
        raise OSError("the compiler is gone")


ADAM = ("float32",) * 4


def test_the_first_that_proves_itself(has):
    good = gpu.Cuda(gpu.Gpu())
    has(missing, lambda _: Wrong(gpu.Gpu()), lambda _: Broken(gpu.Gpu()), lambda _: good)
    assert chosen(made(rules.adam), ADAM, False, PLACE) == (good, "")


def test_if_there_is_none_the_reasons_are_told(has):
    has(missing, *(lambda _, kind=kind: kind(gpu.Gpu()) for kind in (Wrong, Beside, Broken)))
    engine, why = chosen(made(rules.adam), ADAM, False, PLACE)
    assert engine is None
    assert why == (
        "on cuda:0: no engine for cuda:0; PTX: its self-test failed: p of 4099 elements is not the "
        "CPU kernel's; PTX: its self-test failed: the step changed memory beside a tensor; "
        "PTX: its self-test failed: the compiler is gone"
    )
    with pytest.raises(Unavailable, match="self-test"):
        bound(PLACE, made(rules.adam), [3], [ADAM])


def test_a_kernel_proves_itself_once_for_its_dtypes(has):
    driver = gpu.Gpu()
    has(lambda _: gpu.Cuda(driver))
    kern = made(rules.adam)
    for _ in range(3):
        chosen(kern, ADAM, False, PLACE)
    assert len(driver.launches) == 2
    chosen(kern, ("bfloat16",) * 4, True, PLACE)
    chosen(made(l2(rules.adam)), ADAM, False, PLACE)
    assert len(driver.launches) == 6


def test_memory_of_the_proof_is_given_back(has):
    driver = gpu.Gpu()
    has(lambda _: gpu.Cuda(driver))
    chosen(made(rules.adam), ADAM, False, PLACE)
    assert driver.memory == {}


def test_other_devices_have_no_engine():
    assert chosen(kernel(plan(rules.sgd, rules.sgd.check())), ADAM[:2], False, Place("mps", 0)) == (
        None,
        "on mps",
    )


def test_numbers_differ_from_gpu_to_gpu_and_not_from_stream_to_stream():
    assert Place("cuda", 0, lambda: 1) == PLACE
    assert Place("cuda", 1) != PLACE
    assert str(Place("cuda", 1)) == "cuda:1"


def test_nothing_of_it_is_imported_before():
    code = "import ravine.torch, sys; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    modules = {*done.stdout.split()}
    assert "ravine.engines.devices" in modules
    assert not modules & {f"ravine.engines.{name}" for name in ("cuda", "ptx", "proof")}
