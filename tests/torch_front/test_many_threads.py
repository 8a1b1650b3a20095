"""Threads on one optimizer: values may race, as in torch, but nothing crashes, hangs or is corrupted.

Only what torch itself survives is done: while one thread replaces `p.grad`, another that reads it can end
the process without any optimizer.
"""

import copy
import subprocess
import sys
import threading
import warnings

import pytest
import torch

import ravine.torch as rt

ON_ONE = """
import faulthandler, os, signal, threading, time
import torch, ravine.torch as rt
faulthandler.enable()
torch.set_num_threads(2)
params = [torch.nn.Parameter(torch.ones(400)) for _ in range(100)]
stepper = rt.AdamW(params, lr=1e-3)
for p in params:
    p.grad = torch.ones(400)
stepper.step()
for p in params[::3]:
    p.grad = None
stop, failed = False, []

def work():
    while not stop:
        try:
            stepper.step()
        except KeyError:  # the state was cleared in between; so it is with torch.optim
            pass
        except BaseException as error:
            failed.append(error)

threads = [threading.Thread(target=work) for _ in range(3)]
[t.start() for t in threads]
end, turn = time.time() + 3, 0
while time.time() < end:
    turn += 1
    for p in params:
        if p.grad is not None:
            p.grad.normal_()
    if turn % 20 == 0:
        stepper.state.clear()
    if turn % 33 == 0:
        stepper.param_groups[0]["lr"] = 1e-3 / (1 + turn)
    if turn % 150 == 0:
        child = os.fork()
        if not child:
            signal.alarm(60)  # ends a child that hangs
            torch.set_num_threads(1)
            for _ in range(5):
                stepper.step()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
stop = True
[t.join() for t in threads]
assert not failed, failed
assert not torch.equal(params[1].detach(), torch.ones(400))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="cannot fork")
def test_threads_clear_schedule_and_fork_while_others_step():
    command = [sys.executable, "-W", "ignore", "-c", ON_ONE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


# Threads meet at the first step of each model, where they do not know of one another yet.
TRAINING = """
import faulthandler, threading
import torch, ravine.torch as rt
faulthandler.enable()

def work(k):
    draw = torch.Generator().manual_seed(k)
    together.wait()
    for _ in range(4):
        try:
            optimizer.zero_grad()
            net(torch.randn(16, 200, generator=draw)).pow(2).mean().backward()
            optimizer.step()
        except RuntimeError:  # as with torch.optim
            pass
    done.append(k)

together = threading.Barrier(4)
for _ in range(150):
    net = torch.nn.Sequential(torch.nn.Linear(200, 400), torch.nn.ReLU(), torch.nn.Linear(400, 10))
    optimizer, done = rt.SGD(net.parameters(), lr=1e-4), []
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(done) == [0, 1, 2, 3]
"""


def test_threads_train_one_model_with_one_optimizer():
    command = [sys.executable, "-W", "ignore", "-c", TRAINING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_gradients_become_zeros_while_another_thread_that_zeroes_them_lives():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = rt.SGD([p], lr=0.1)

    def zeroed(*args):
        p.grad = torch.ones(2)
        optimizer.zero_grad(*args)
        return p.grad

    found, told, done = [], threading.Event(), threading.Event()

    def first():
        found.append(zeroed())
        told.set()
        done.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    told.wait(60)
    with pytest.warns(RuntimeWarning, match="SGD: several threads call zero_grad"):
        assert zeroed().tolist() == [0, 0]
    with warnings.catch_warnings():  # said once
        warnings.simplefilter("error")
        assert zeroed().tolist() == [0, 0]
        assert zeroed(True) is None
        assert zeroed(False).tolist() == [0, 0]
        assert copy.deepcopy(optimizer).zero_grad() is None
        done.set()
        thread.join()
        assert found == [None]
        assert zeroed() is None
        in_a_thread(lambda: found.append(zeroed(True)))
        assert found[1:] == [None]
