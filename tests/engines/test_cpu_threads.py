"""Native objects have one owner: what could end the process runs in a process that may end."""

import subprocess
import sys

import pytest

RUN = """
import faulthandler, gc, sys, threading
faulthandler.enable()
import numpy as np
"""

COMPILING_AT_ONCE = """
import torch, ravine.torch as rt, ravine.numpy as rn
torch.set_num_threads(1)
many = int(sys.argv[1])
barrier, failed = threading.Barrier(many), []

def work(i):
    try:
        for name in "SGD Adam AdamW RMSprop Adagrad NAdam RAdam Adamax Rprop ASGD".split():
            barrier.wait()
            if i % 2:
                p = torch.nn.Parameter(torch.ones(1000))
                o = getattr(rt, name)([p], lr=0.1)
                for _ in range(3):
                    p.grad = torch.ones(1000)
                    o.step()
            else:
                w = np.ones(1000)
                o = getattr(rn, name)([w], lr=0.1)
                for _ in range(3):
                    o.step([np.ones(1000)])
    except BaseException as error:
        failed.append(error)
        barrier.abort()

threads = [threading.Thread(target=work, args=(i,)) for i in range(many)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not failed, failed
"""

MADE_IN_A_LOOP = """
import weakref
from ravine import rule
from ravine.engines.cpu import READY, Step, kernel
from ravine.engines.eager import plan

def made(factor):
    space = {}
    exec(f"def r(p, g, m, *, lr=0.1):\\n    m = {factor} * m + g\\n    return p - lr * m, m", space)
    return rule(space["r"])

alive = []
for i in range(40):
    r = made(0.5 + i / 100)
    graph = plan(r, r.check())
    kern = kernel(graph)
    x = [np.ones(3) for _ in range(3)]
    step = Step(kern, [3], [("float64",) * 3])
    step.set_group(0, [0.1])
    for name, a in zip(step.columns, x):
        step.point(name, [a.ctypes.data])
    assert step.run(1) == READY
    alive += map(weakref.ref, (r, graph, kern, step._codes[0]))
    del r, graph, kern, step
    gc.collect()
assert sum(ref() is not None for ref in alive) == 0
"""

ONE_OPTIMIZER = """
import torch, ravine.torch as rt
for cls in (rt.SGD, rt.Adam, rt.NAdam):
    ps = [torch.nn.Parameter(torch.ones(n)) for n in (70000, 3, 500)]
    o = cls(ps, lr=1e-4)
    for p in ps:
        p.grad = torch.ones_like(p)

    def work(i):
        for step in range(300):
            if i == 0:  # one thread alone replaces gradients: torch itself allows no more
                for p in ps:
                    p.grad = torch.ones_like(p)
            if i == 1 and step % 20 == 0:
                o.state.clear()
            if i == 2 and step % 20 == 10:
                o.param_groups[0]["lr"] = 1e-4 / (1 + step)
            try:
                o.step()
            except (KeyError, RuntimeError):  # dictionaries that change while they are read
                pass

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all(torch.isfinite(p).all() for p in ps)
"""

FORKED = """
import os, signal, torch, ravine.torch as rt
ps = [torch.nn.Parameter(torch.ones(200000))]
ps[0].grad = torch.ones_like(ps[0])
o = rt.Adam(ps)
o.step()
stop = threading.Event()
thread = threading.Thread(target=lambda: [o.step() for _ in iter(lambda: stop.is_set(), True)])
thread.start()
children = []
for _ in range(10):
    child = os.fork()
    if not child:
        signal.alarm(60)
        torch.set_num_threads(1)  # torch's own loops wait for threads that a child does not have
        mine = rt.Adam(ps)
        mine.step()
        o.step()
        os._exit(0)
    children.append(child)
status = [os.waitpid(child, 0)[1] for child in children]
stop.set()
thread.join()
assert status == [0] * 10, status
"""


def run(source, *args):
    command = [sys.executable, "-W", "ignore", "-c", RUN + source, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.torch
@pytest.mark.parametrize("many", ["2", "8", "16"])
def test_threads_that_compile_at_once(many):
    run(COMPILING_AT_ONCE, many)


def test_what_is_made_in_a_loop_is_freed():
    run(MADE_IN_A_LOOP)


@pytest.mark.torch
def test_threads_that_step_one_optimizer():
    run(ONE_OPTIMIZER)


@pytest.mark.torch
@pytest.mark.skipif(sys.platform == "win32", reason="cannot fork")
def test_a_fork_while_another_thread_steps():
    run(FORKED)
