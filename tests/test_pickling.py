"""Rules are values: they are pickled by name, or as they were made, and copied to themselves."""

import copy
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest
import torch

import ravine.numpy as rn
import ravine.torch as rt
from ravine import like_p, modifier, registry, rule, rules
from ravine.engines.eager import plan
from ravine.modifiers import clip_by_global_norm, l2, maximize
from ravine.rules import adam

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@rule(slow=like_p)
def mine(p, g, slow, *, lr=0.1):
    return p - lr * (g + p - slow), slow


def plain(p, g, m, *, lr=0.1):
    m = 0.5 * m + g
    return p - lr * m, m


@modifier
def halved(step, p, g, *, factor=0.5):
    return step(p, factor * g)


class Rules:
    @staticmethod
    @rule
    def inside(p, g, *, lr=0.1):
        return p - lr * g


under_another_name = adam.named("fast", lr=0.5)
STACKS = [
    mine,
    rule(plain),
    under_another_name,
    l2(adam),
    l2(adam, weight_decay=0.25),
    maximize(halved(mine), lr=0.5),
    halved(rule(plain)).named("both", paper="Me", doc="Half."),
]


@pytest.mark.parametrize("made", [*registry.rules().values(), *STACKS], ids=lambda r: r.name)
def test_a_rule_comes_back_as_itself(made):
    kept = plan(made, made.check())
    for protocol in PROTOCOLS:
        saved = pickle.dumps(made, protocol)
        assert pickle.loads(saved) is made
        assert len(saved) < 600  # no graphs, no kernels
    assert copy.copy(made) is made
    assert copy.deepcopy({"rule": [made]})["rule"][0] is made
    assert plan(made, made.check()) is kept


def test_a_rule_is_pickled_by_its_name():
    assert b"ravine.rules.adam" in pickle.dumps(adam)
    assert pickle.loads(pickle.dumps(Rules.inside)) is Rules.inside
    assert pickle.loads(pickle.dumps([mine, mine])) == [mine, mine]


def test_a_rule_of_a_file_is_pickled_by_the_files_name(tmp_path):
    file = tmp_path / "of_a_file.py"
    file.write_text(
        "from ravine import rule\n\n@rule\ndef r(p, g, *, lr=0.25):\n    return p - lr * g\n"
    )
    made = registry.get(f"{file}:r")
    assert pickle.loads(pickle.dumps(made)) is made
    code = f"import pickle; print(pickle.loads({pickle.dumps(l2(made))!r})(1.0, 1.0, weight_decay=0.0))"
    assert python(code) == "0.75\n"


def python(code, folder=None):
    path = os.pathsep.join(filter(None, [str(folder or ""), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rules_that_are_equal_are_one():
    assert rule(plain) is rule(plain)
    assert l2(adam) is l2(adam)
    assert l2(adam, weight_decay=0.5) is l2(adam, weight_decay=0.5)
    assert l2(adam, weight_decay=0.5) is not l2(adam, weight_decay=0.25)
    whole, half = adam.named("a", lr=1), adam.named("a", lr=1.0)
    assert [type(r.hyperparameters["lr"].default) for r in (whole, half)] == [int, float]
    assert rule(slow=like_p)(mine.function) is mine
    gone = weakref.ref(halved(adam, factor=0.125))
    import gc

    gc.collect()
    assert gone() is None


# --- classes


def stepped(optimizer):
    if isinstance(optimizer, torch.optim.Optimizer):
        p = optimizer.param_groups[0]["params"][0]
        p.grad = torch.ones_like(p)
        optimizer.step()
        return p.tolist()
    return optimizer.step({"w": np.ones(3)})["w"].tolist()


def of(cls):
    torchs = issubclass(cls, torch.optim.Optimizer)
    return cls(
        [torch.nn.Parameter(torch.ones(3, dtype=torch.float64))] if torchs else {"w": np.ones(3)}
    )


OfMine, Plain, Arrays = rt.optimizer(mine), rt.optimizer(plain), rn.optimizer(mine)


class Sub(OfMine):
    """One of a user's own."""


CLASSES = [
    OfMine,
    Plain,
    Arrays,
    Sub,
    rt.optimizer(adam),
    rt.optimizer(l2(mine)),
    rn.optimizer(l2(plain_rule := rule(plain))),
    rt.optimizer(clip_by_global_norm(adam), "Clipped"),
    rt.Adam,
    rn.Adam,
]


@pytest.mark.parametrize("cls", CLASSES)
def test_classes_and_their_optimizers_are_pickled_and_copied(cls):
    for protocol in PROTOCOLS:
        assert pickle.loads(pickle.dumps(cls, protocol)) is cls
    assert copy.deepcopy(cls) is cls
    optimizer = of(cls)
    stepped(optimizer)
    saved = io.BytesIO()
    torch.save(optimizer, saved)
    saved.seek(0)
    copies = [
        *(pickle.loads(pickle.dumps(optimizer, protocol)) for protocol in PROTOCOLS[2:]),
        copy.deepcopy(optimizer),
        torch.load(saved, weights_only=False),
    ]
    expected = stepped(optimizer)
    assert [type(x) for x in copies] == [cls] * len(copies)
    assert [stepped(x) for x in copies] == [expected] * len(copies)


def test_a_class_whose_rule_has_no_name_is_refused_with_the_reason():
    def inner(p, g, *, lr=0.1):
        return p - lr * g

    unnamed = rule(lambda p, g, *, lr=0.1: p - lr * g)
    for thing in (
        rule(inner),
        l2(rule(inner)),
        unnamed,
        rt.optimizer(inner),
        of(rn.optimizer(inner)),
    ):
        with pytest.raises(pickle.PicklingError) as caught:
            pickle.dumps(thing)
        assert "cannot be pickled: " in str(caught.value)
        assert "pickle needs a rule to be defined in a module" in str(caught.value)


def test_a_rule_that_another_has_replaced_is_refused():
    made = []
    for k in (1, 2):

        @rule
        def replaced(p, g, *, lr=0.1):
            return p - k * lr * g  # noqa: B023

        replaced.function.__qualname__ = "replaced"
        made.append(replaced)
    globals()["replaced"] = made[1]
    assert pickle.loads(pickle.dumps(made[1])) is made[1]
    with pytest.raises(pickle.PicklingError, match="rule 'replaced' cannot be pickled"):
        pickle.dumps(made[0])


MAIN = """
import pickle, sys
from ravine import rule
import ravine.torch as rt

@rule
def of_main(p, g, *, lr=0.25):
    return p - lr * g
"""


def test_a_rule_of_main_says_what_to_do_where_it_is_not_found():
    data = eval(python(MAIN + "print(pickle.dumps(of_main))"))
    with pytest.raises(pickle.UnpicklingError) as caught:
        pickle.loads(data)
    assert str(caught.value).startswith(
        "rule 'of_main' was pickled as __main__:of_main, and it is not"
    )
    assert "must be in a module that all of them can import" in str(caught.value)
    with pytest.raises(pickle.UnpicklingError, match="as nowhere_at_al:mine, and No module"):
        pickle.loads(pickle.dumps(mine).replace(b"test_pickling", b"nowhere_at_al"))


def in_another_process(things):
    return [stepped(of(x)) if isinstance(x, type) else x for x in things]


def test_spawned_processes_get_rules_and_classes():
    things = [adam, mine, l2(adam), OfMine, Arrays, CLASSES[5]]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(in_another_process, (things,))
    assert found[:3] == things[:3]
    assert found[3:] == [stepped(of(cls)) for cls in things[3:]]


def test_a_script_spawns_its_own_rule(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        MAIN + "def work(made):\n    return made(1.0, 1.0)\n\n"
        "if __name__ == '__main__':\n"
        "    import multiprocessing\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(work, (of_main,)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout == "0.75\n", done.stderr


def test_cloudpickle_takes_rules_whole(tmp_path):
    pytest.importorskip("cloudpickle")
    code = f"""{MAIN}
import cloudpickle, torch
from ravine import modifier, rules
from ravine.modifiers import l2
@modifier
def halved(step, p, g):
    return step(p, g / 2)
def closed(k):
    @rule
    def inner(p, g, *, lr=0.25):
        return p - k * lr * g
    return inner
unnamed = rule(lambda p, g, *, lr=0.25: p - lr * g)
things = [of_main, halved(of_main), closed(2.0), unnamed, l2(unnamed, weight_decay=0.0), rules.sgd]
Main = rt.optimizer(of_main)
optimizers = [cls([torch.nn.Parameter(torch.ones(1))]) for cls in (Main, rt.optimizer(unnamed))]
assert cloudpickle.loads(cloudpickle.dumps(rules.adam)) is rules.adam
assert cloudpickle.loads(cloudpickle.dumps(of_main)) is not None
open({str(tmp_path / "all")!r}, "wb").write(cloudpickle.dumps((things, Main, optimizers)))
"""
    python(code)
    things, cls, optimizers = pickle.loads((tmp_path / "all").read_bytes())
    assert [r(1.0, 1.0) for r in things] == [0.75, 0.875, 0.5, 0.75, 0.75, 1 - 1e-3]
    assert things[-1] is rules.sgd
    assert type(optimizers[0]) is cls
    assert [stepped(x) for x in optimizers] == [[0.75], [0.75]]
    assert optimizers[0].engine == "kernel"
