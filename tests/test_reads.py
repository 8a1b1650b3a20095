"""What a rule reads besides its arguments counts, in every engine, at the next step."""

import builtins
import contextvars
import ctypes
import functools
import itertools
import os
import random
import secrets
import subprocess
import sys
import textwrap
import time
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, rule
from ravine.engines.eager import plan
from ravine.engines.python import kernel_source, scalar_update
from ravine.engines.tracing import trace
from ravine.modifiers import l2
from ravine.ops import sign
from ravine.reads import Reads
from ravine.rules import adam, sgd

SCALE = 1.0
TABLE = {"scale": 1.0}
LIST = [1.0]
ARRAY = np.array([1.0, 5.0])
TENSOR = torch.tensor(1.0)
config = types.SimpleNamespace(scale=1.0)
module = types.ModuleType("settings")
module.scale = 1.0


@dataclass
class Config:
    scale: float = 1.0

    @property
    def whole(self):
        return self.scale


class Slotted:
    __slots__ = ("scale",)

    def __init__(self):
        self.scale = 1.0


class Shared:
    scale = 1.0


class Calls:
    def __init__(self):
        self.scale = 1.0

    def __call__(self, g):
        return self.scale * g

    def __mul__(self, g):
        return self.scale * g


class Outside(torch.nn.Module):  # from a library, with attributes that it sets itself
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0), requires_grad=False)


class Derived(Shared):
    pass


class Metaclass(type):
    @property
    def scale(cls):
        return SCALE


class OfMetaclass(metaclass=Metaclass):
    pass


@functools.cache
def cached():
    return SCALE


def set_cached(x):
    set_global(x)
    cached.cache_clear()


BYTES = bytearray([1])
NUMBER = ctypes.c_double(1.0)
VARIABLE: contextvars.ContextVar = contextvars.ContextVar("VARIABLE", default=1.0)
dataclassed, slotted, shared, calls, outside = Config(), Slotted(), Shared(), Calls(), Outside()


def helper(g):
    return SCALE * g


def through(g):
    return helper(g)


def twice_removed(g, how=through):
    return how(g)


def set_global(x):
    global SCALE
    SCALE = x


def redefine(x):
    global helper

    def helper(g):
        return x * g


def change_code(x):
    """As IPython's autoreload does."""
    helper.__code__ = (lambda g: 10.0 * g if True else 0.0).__code__


READS = {
    "a global": (lambda g: SCALE * g, set_global),
    "a helper's global": (lambda g: through(g), set_global),
    "by a default": (lambda g: twice_removed(g), set_global),
    "in a comprehension": (lambda g: next(SCALE * x for x in (g,)), set_global),
    "a helper": (lambda g: through(g), redefine),
    "a helper's code": (lambda g: through(g), change_code),
    "an item of a dict": (lambda g: TABLE["scale"] * g, lambda x: TABLE.update(scale=x)),
    "an item of a list": (lambda g: LIST[0] * g, lambda x: LIST.__setitem__(0, x)),
    "an element": (lambda g: float(ARRAY[0]) * g, lambda x: ARRAY.__setitem__(0, x)),
    "a tensor": (lambda g: TENSOR.item() * g, lambda x: TENSOR.fill_(x)),
    "an attribute": (lambda g: config.scale * g, lambda x: setattr(config, "scale", x)),
    "by its name": (lambda g: getattr(config, "scale") * g, lambda x: setattr(config, "scale", x)),  # noqa: B009
    "a module's": (lambda g: module.scale * g, lambda x: setattr(module, "scale", x)),
    "a dataclass's": (lambda g: dataclassed.whole * g, lambda x: setattr(dataclassed, "scale", x)),
    "a slot's": (lambda g: slotted.scale * g, lambda x: setattr(slotted, "scale", x)),
    "a class's": (lambda g: shared.scale * g, lambda x: setattr(Shared, "scale", x)),
    "instead of a class's": (lambda g: shared.scale * g, lambda x: setattr(shared, "scale", x)),
    "an object that is called": (lambda g: calls(g), lambda x: setattr(calls, "scale", x)),
    "an object's operator": (lambda g: calls * g, lambda x: setattr(calls, "scale", x)),
    "a library's object": (lambda g: outside.scale.item() * g, lambda x: outside.scale.fill_(x)),
    "a partial": (lambda g: functools.partial(helper)(g), set_global),
    "globals()": (lambda g: globals()["SCALE"] * g, set_global),
    "in front of a base's": (lambda g: Derived.scale * g, lambda x: setattr(Derived, "scale", x)),
    "a base's": (lambda g: Derived.scale * g, lambda x: setattr(Shared, "scale", x)),
    "by a metaclass": (lambda g: OfMetaclass.scale * g, set_global),
    "behind a cache": (lambda g: cached() * g, set_cached),
    "a byte": (lambda g: BYTES[0] * g, lambda x: BYTES.__setitem__(0, int(x))),
    "made in C": (lambda g: NUMBER.value * g, lambda x: setattr(NUMBER, "value", x)),
    "of a context": (lambda g: VARIABLE.get() * g, lambda x: VARIABLE.set(x)),
    "of the environment": (
        lambda g: float(os.getenv("RAVINE_SCALE", "1.0")) * g,
        lambda x: os.environ.__setitem__("RAVINE_SCALE", str(x)),
    ),
    "among the builtins": (lambda g: ADDED * g, lambda x: setattr(builtins, "ADDED", x)),  # noqa: F821
}


@pytest.fixture(autouse=True)
def as_before():
    saved, code = dict(globals()), helper.__code__
    builtins.ADDED = 1.0
    yield
    del builtins.ADDED
    os.environ.pop("RAVINE_SCALE", None)
    cached.cache_clear()
    BYTES[0], NUMBER.value = 1, 1.0
    VARIABLE.set(1.0)
    if "scale" in vars(Derived):
        del Derived.scale
    saved["helper"].__code__ = code
    globals().update(saved)
    TABLE["scale"] = LIST[0] = ARRAY[0] = config.scale = module.scale = 1.0
    dataclassed.scale = slotted.scale = Shared.scale = calls.scale = 1.0
    vars(shared).clear()
    TENSOR.fill_(1.0)
    outside.scale.fill_(1.0)


def parameter(value=0.0):
    p = torch.nn.Parameter(torch.full((3,), value, dtype=torch.float64))
    p.grad = torch.ones_like(p)
    return p


def cases(name):
    read, change = READS[name]

    def reading(p, g, b, *, lr=0.1):
        b = 0.5 * b + read(g)
        return p - lr * b, b

    return reading, change


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("name", READS)
def test_a_step_equals_calling_the_function_now(name, engine):
    reading, change = cases(name)
    for made in (rule(reading), l2(rule(reading), weight_decay=0.0)):
        p, w = parameter(), np.zeros(3)
        optimizers = rt.optimizer(made)([p], engine=engine), rn.optimizer(made)(w, engine=engine)
        q, b = 0.0, 0.0
        for x in (None, None, 10.0, None):
            if x is not None:
                change(x)
            q, b = made(q, 1.0, b, weight_decay=0.0) if made.name[:2] == "l2" else made(q, 1.0, b)
            optimizers[0].step()
            optimizers[1].step(np.ones(3))
            assert p[0].item() == pytest.approx(float(q), rel=1e-6)
            assert w[0] == pytest.approx(float(q), rel=1e-6)
        assert optimizers[0].engine.startswith(engine)
        change(1.0)
        if change is change_code:
            break


def test_what_is_printed_is_as_it_is_now():
    reading, change = cases("a global")
    made = rule(reading)
    assert "10.0" not in kernel_source(trace(made))
    change(10.0)
    assert "10.0" in kernel_source(trace(made))
    assert "10.0" in scalar_update(made).source


def test_numbers_are_ieee_where_a_helper_has_changed():
    space = {}
    exec("def part(g): return g", space)
    exec("def divided(p, g, *, lr=0.1):\n    return p - lr * part(g)", space)
    made = rule(space["divided"])
    assert made(0.0, 0.0) == 0.0
    exec("def part(g): return 1 / g", space)
    assert made(0.0, 0.0) == float("-inf")


def test_steps_in_backward_see_it_too():
    reading, change = cases("a global")
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = rt.optimizer(reading)([p], lr=1.0)
    with rt.step_in_backward([p], optimizer):
        for _ in range(2):
            p.sum().backward()
            optimizer.step()
        assert p[0].item() == -2.5
        change(10.0)
        p.sum().backward()
        optimizer.step()
    assert p[0].item() == -2.5 - 10.75


def test_a_plan_is_found_again_until_something_changes():
    reading, change = cases("a global")
    made = rule(reading)
    before = plan(made, made.check())
    change(2.0 / 2.0)  # another float, equal
    assert plan(made, made.check()) is before
    reads = before.reads
    assert reads.at_a_glance()
    change(2.0)
    assert not reads.hold()
    assert reads.changed() == ["SCALE"]
    assert plan(made, made.check()) is not before


def test_ravines_own_rules_read_nothing():
    assert Reads(adam.sources).constant
    assert trace(l2(adam)).reads.constant
    assert plan(sgd, sgd.check()) is plan(sgd, sgd.check())


def test_what_changes_all_the_time_gets_no_new_kernels():
    reading, change = cases("a global")
    p, q = parameter(), parameter()
    optimizer = rt.optimizer(reading)([p], lr=0.1)
    eager = rt.optimizer(reading)([q], lr=0.1, engine="eager")
    for i in range(15):
        change(float(i))
        optimizer.step()
        eager.step()
    assert optimizer.engine.startswith("eager: rule 'reading' reads SCALE, which has changed 1")
    torch.testing.assert_close(p, q)
    kernels = rt.optimizer(reading)([p], lr=0.1, engine="kernel")
    kernels.step()
    assert kernels.engine == "kernel"


def test_a_module_that_is_imported_inside_counts(tmp_path):
    (tmp_path / "inside.py").write_text("SCALE = 1.0\n")
    code = """
        import sys, torch
        import ravine.torch as rt
        def reading(p, g, *, lr=1.0):
            from inside import SCALE
            return p - lr * SCALE * g
        p = torch.nn.Parameter(torch.zeros(1)); p.grad = torch.ones(1)
        optimizer = rt.optimizer(reading)([p])
        optimizer.step()
        import inside
        inside.SCALE = 10.0
        optimizer.step()
        print(p.item())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{tmp_path}"},
    )
    assert done.stdout == "-11.0\n", done.stderr


# --- pure


COUNT = 0
SEEN: list = []
STATE = {}
thing = types.SimpleNamespace(count=0)
new = types.SimpleNamespace()
own_generator, own_random, own_torch = np.random.default_rng(0), random.Random(0), torch.Generator()
counter = iter(range(10**6))
rarely = itertools.cycle([1.0] * 50 + [2.0])
of_the_system = random.SystemRandom()


def random_number(p, g, *, lr=0.1):
    return p - lr * g * random.random()


def numpy_noise(p, g, *, lr=0.1):
    noise = float(np.random.normal())  # noqa: NPY002
    return p - lr * (g + noise)


def torch_noise(p, g, *, lr=0.1):
    return p - lr * g * torch.rand(()).item()


def coin(p, g, *, lr=0.1):
    return p - lr * (g if random.random() < 0.5 else -g)


def own_coin(p, g, *, lr=0.1):
    return p - lr * (g if own_generator.random() < 0.5 else -g)


def own_python_coin(p, g, *, lr=0.1):
    return p - lr * (g if own_random.random() < 0.5 else -g)


def own_torch_coin(p, g, *, lr=0.1):
    return p - lr * (g if torch.rand((), generator=own_torch) < 0.5 else -g)


def rare(p, g, *, lr=0.1):
    return p - lr * (g if random.random() < 1e-9 else -g)


def own_rare(p, g, *, lr=0.1):
    return p - lr * (g if own_generator.random() < 1e-9 else -g)


def own_rare_torch(p, g, *, lr=0.1):
    drawn = torch.randn((), generator=own_torch)
    return p - lr * (g if drawn > 20 else -g)


def rare_of_the_system(p, g, *, lr=0.1):
    return p - lr * (g if of_the_system.random() < 1e-9 else -g)


def rare_secret(p, g, *, lr=0.1):
    return p - lr * (g if secrets.randbelow(10**9) == 0 else -g)


def rare_item(p, g, *, lr=0.1):
    return p - lr * next(rarely) * g


def clock(p, g, *, lr=0.1):
    return p - lr * g * time.perf_counter()


def next_number(p, g, *, lr=0.1):
    return p - lr * g * next(counter)


def global_count(p, g, *, lr=0.1):
    global COUNT
    COUNT += 1
    return p - lr * g


def appending(p, g, *, lr=0.1):
    SEEN.append(g)
    return p - lr * g


def appending_in_a_helper(p, g, *, lr=0.1):
    return p - lr * noted(g)


def noted(g):
    SEEN.append(g)
    return g


def filling(p, g, *, lr=0.1):
    STATE["g"] = g
    return p - lr * g


def counting(p, g, *, lr=0.1):
    thing.count += 1
    return p - lr * g


def storing(p, g, *, lr=0.1):
    new.g = g
    return p - lr * g


def of_itself(p, g, *, lr=0.1):
    of_itself.calls = getattr(of_itself, "calls", 0) + 1
    return p - lr * g


def calling_a_rule(p, g, *, lr=0.1):
    return p - lr * counted(0.0, g)


@rule
def counted(p, g):
    return p + noted(g)


def closing():
    count = 0

    def closed(p, g, *, lr=0.1):
        nonlocal count
        count += 1
        return p - lr * g

    return closed


IMPURE = [
    (random_number, "it computes p with 0"),
    (numpy_noise, "it computes p with "),
    (torch_noise, "it computes p with "),
    *((f, "it computes p with <") for f in (coin, own_coin, own_python_coin, own_torch_coin)),
    *((f, "it draws from a random generator; ") for f in (rare, own_rare, own_rare_torch)),
    *((f, "it draws from a random generator; ") for f in (rare_of_the_system, rare_secret)),
    (rare_item, "it may take the next item of rarely; "),
    (clock, "it computes p with "),
    (next_number, "it computes p with "),
    (global_count, "it changes COUNT; "),
    (appending, "it changes SEEN; "),
    (appending_in_a_helper, "it changes SEEN; "),
    (calling_a_rule, "it changes SEEN; "),
    (filling, "it changes STATE; "),
    (counting, "it changes thing.count; "),
    (storing, "it changes new.g; "),
    (of_itself, "it changes of_itself.calls; "),
    (closing(), "it changes count; "),
]


@pytest.mark.parametrize("front", [rt, rn])
@pytest.mark.parametrize(("function", "words"), IMPURE, ids=[f.__name__ for f, _ in IMPURE])
def test_what_is_not_pure_is_refused_when_the_class_is_made(function, words, front):
    for made in (rule(function), l2(rule(function))):
        with pytest.raises(RuleError) as caught:
            front.optimizer(made)
        text = str(caught.value)
        assert f"rule {made.name!r} is not pure: called twice with the same arguments, " in text
        assert words in text or made.name[:2] == "l2"
        assert "keep state in a slot" in text


def test_torchs_generator_moves_on_by_its_draws_only():
    """Part of its state is memory that torch does not write."""
    draws = [
        lambda: torch.rand(1),
        lambda: torch.randn(1),  # which draws two, and keeps one
        lambda: torch.randn(1, dtype=torch.float64),
        lambda: torch.randperm(3),
    ]
    reads = Reads([own_torch_coin])
    for i in range(2000):
        before, _ = reads.random_states(), torch.empty(i)
        assert reads.random_states() == before
    for draw in draws:
        for _ in range(20):
            before, _ = reads.random_states(), draw()
            assert reads.random_states() != before


def test_a_generator_that_moves_in_one_call_is_another_threads():
    calls = 0

    def beside(p, g, *, lr=0.1):
        other_thread()
        return p - lr * g

    def other_thread():
        nonlocal calls
        calls += 1
        if calls == 1:
            random.random()

    made = rule(beside)
    vars(made)["_reads"] = Reads([clock])  # so that `calls` is not seen
    assert trace(made).outputs["p"] is not None


def test_a_library_that_is_being_imported_has_no_generator_yet(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy.random", types.ModuleType("numpy.random"))
    assert len(Reads([clock]).random_states()) == 2


def test_what_stays_inside_a_call_is_pure():
    def made_inside(p, g, *, lr=0.1):
        parts = []
        parts.append(lr * np.random.default_rng(0).random())
        count = 0

        def add():
            nonlocal count
            count += 1

        add()
        return p - parts[0] * count * sign(g)

    made = rule(made_inside)
    p = parameter()
    rt.optimizer(made)([p], engine="kernel").step()
    assert p[0].item() == made(0.0, 1.0)


def test_a_cached_helper_is_pure():
    @functools.cache
    def factor(beta, t):
        return 1 - beta**t

    def corrected(p, g, t, *, lr=0.1, beta1=0.9):
        return p - lr * g / factor(beta1, t)

    p = parameter()
    rt.optimizer(corrected)([p]).step()
    assert p[0].item() == pytest.approx(-1.0)
