"""The threads that kernels run in: the same bits in any of them, and what a fork leaves."""

import ctypes
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from cases import cautious
from engines.kernels import arrays, assert_same, name, run

import ravine
from ravine import rules
from ravine.engines import cpu, threads
from ravine.engines.cpu import READY, Step, kernel
from ravine.engines.eager import plan
from ravine.engines.threads import Team, team
from ravine.modifiers import clip_by_global_norm


def python_threads(monkeypatch, count):
    monkeypatch.setattr(cpu, "team", lambda: Team("Python threads", lambda: count))


CHUNKY = [rules.adam, cautious(rules.adamw), clip_by_global_norm(rules.rmsprop, max_norm=0.5)]
MANY = [*range(1, 40), 40000, 8193, 100000]


@pytest.mark.parametrize("made", CHUNKY, ids=name)
def test_any_number_of_threads_gives_the_same_bits(made, monkeypatch):
    ps, path = arrays(MANY, 3, np.float32)
    results = []
    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(run(made, ps, path))
    finally:
        torch.set_num_threads(before)
    for count in (1, 2, 5):
        python_threads(monkeypatch, count)
        results.append(run(made, ps, path))
    for result in results[1:]:
        assert_same(result, results[0])


def test_the_team_is_torchs_and_as_large_as_torch_says(monkeypatch):
    real, asked = team(), []
    assert real.name == "torch's threads"
    assert real.parallel

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    def parallel(function, data, count, flags):
        asked.append((count, flags))
        for _ in range(count):
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function)(data)

    address = ctypes.cast(parallel, ctypes.c_void_p).value
    monkeypatch.setattr(threads, "_teams", {})
    monkeypatch.setattr(threads, "_openmp", lambda folder: (address, 0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    ps, path = arrays(MANY, 1, np.float32)
    got = run(cautious(rules.adam), ps, path)
    assert asked == [(3, 0), (3, 0)]
    ps, path = arrays([10, 20], 1, np.float32)  # not worth waking anyone
    run(rules.adam, ps, path)
    assert len(asked) == 2
    monkeypatch.setattr(threads, "_openmp", lambda folder: (0, 0))
    del threads._teams["torch"]
    assert team().name == "Python threads, as many as torch has"
    ps, path = arrays(MANY, 1, np.float32)
    assert_same(run(cautious(rules.adam), ps, path), got)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_thread_begins_with_its_own_half_and_then_does_the_other(number, monkeypatch):
    """Two tensors lie in one place: what is there in the end is of the one that came last."""

    @ravine.rule
    def copied(p, g, *, lr=1.0):
        return lr * g

    @ctypes.CFUNCTYPE(ctypes.c_int32)
    def own_number():
        return number

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    def parallel(function, data, count, flags):
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function)(data)

    addresses = (ctypes.cast(f, ctypes.c_void_p).value for f in (parallel, own_number))
    here = Team("two threads, of which one comes", lambda: 2, *addresses)
    monkeypatch.setattr(cpu, "team", lambda: here)
    p, n = np.zeros(50_000), 50_000
    gs = [np.full(n, 10.0), np.full(n, 11.0)]
    step = Step(kernel(plan(copied, copied.check())), [n, n], [("float64", "float64")] * 2)
    step.set_group(0, [1.0])
    step.point("p", [p.ctypes.data] * 2)
    step.point("g", [g.ctypes.data for g in gs])
    assert step.run(2) == READY
    np.testing.assert_array_equal(p, gs[1 - number % 2])


def test_a_torch_without_the_entry_point_is_noticed(tmp_path):
    assert threads._openmp(str(tmp_path)) == (0, 0)


def test_two_threads_step_different_optimizers_at_once(monkeypatch):
    jobs = [(rules.adam, 1), (cautious(rules.adamw), 2), (rules.momentum, 3)]
    data = [arrays([50000, 3], 20, np.float32, seed) for _, seed in jobs]
    want = [run(made, *given) for (made, _), given in zip(jobs, data, strict=True)]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for fallback in (False, True):
            if fallback:
                python_threads(monkeypatch, 2)
            got = [None] * len(jobs)

            def work(i, got=got):
                got[i] = run(jobs[i][0], *data[i])

            running = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()
            for mine, theirs in zip(got, want, strict=True):
                assert_same(mine, theirs)
    finally:
        torch.set_num_threads(before)


STEP = """
import ctypes, os, sys
from ravine import rules
from ravine.engines.cpu import Step, kernel
from ravine.engines.eager import plan
from ravine.engines.threads import team
FRAMEWORK
n = 100000
p, g = (ctypes.c_float * n)(), (ctypes.c_float * n)(*[1.0] * n)
step = Step(kernel(plan(rules.sgd, rules.sgd.check())), [n], [("float32", "float32")])
step.point("p", [ctypes.addressof(p)])
step.point("g", [ctypes.addressof(g)])
step.set_group(0, [0.5])
step.run(1)
assert team().name == TEAM, team()
assert set(p) == {-0.5}
child = os.fork()
if not child:
    import signal
    signal.alarm(20)
    step.run(1)
    assert team().name == "one thread, in a forked process" and team().threads() == 1
    fresh = Step(kernel(plan(rules.momentum, rules.momentum.check())), [2], [("float64",) * 3])
    os._exit(set(p) == {-1.0})
assert os.waitpid(child, 0)[1] == 256
step.run(1)
assert set(p) == {-1.0}
"""


@pytest.mark.parametrize(
    ("framework", "name"),
    [
        ("import torch; torch.set_num_threads(2)", "torch's threads"),
        (
            "assert not {'torch', 'numpy'} & set(sys.modules); os.sched_getaffinity = lambda _: (0, 1)",
            "Python threads",
        ),
    ],
)
def test_a_forked_child_steps_alone(framework, name):
    source = STEP.replace("FRAMEWORK", framework).replace("TEAM", repr(name))
    command = [sys.executable, "-W", "ignore", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
