"""Arrays of all kinds: stepped as their numbers are, or refused before anything has changed."""

import warnings

import numpy as np
import pytest

import ravine.numpy as rn
from ravine.modifiers import clip_by_global_norm
from ravine.rules import adam

ENGINES = pytest.mark.parametrize("engine", ["auto", "eager"])


def numbers(seed, shape=(6, 5)):
    return np.random.default_rng(seed).normal(size=shape)


def unaligned():
    whole = np.zeros(30 * 8 + 1, np.uint8)
    return whole[1:].view(np.float64).reshape(6, 5)


def on_disk(path, mode):
    numbers(0).tofile(path / "p.bin")
    return np.memmap(path / "p.bin", np.float64, mode, shape=(6, 5))


def stepped(p, engine="eager", gradient=lambda p, step: numbers(step + 1)):
    """The array after some steps."""
    stepper = rn.AdamW([p], lr=0.1, weight_decay=0.1, engine=engine)
    for step in range(4):
        assert stepper.step([gradient(p, step)])[0] is p
    return np.array(p)


KINDS = {
    "Fortran's order": lambda: np.empty((6, 5), order="F"),
    "strided": lambda: np.empty((6, 10))[:, ::2],
    "reversed": lambda: np.empty((6, 5))[::-1],
    "other byte order": lambda: np.empty((6, 5), np.dtype("f8").newbyteorder("S")),
    "unaligned": unaligned,
    "a field": lambda: np.empty((6, 5), [("a", "i1"), ("b", "f8")])["b"],
    "a record array": lambda: np.empty((6, 5)).view(np.recarray),
    "a subclass": lambda: np.empty((6, 5)).view(type("Mine", (np.ndarray,), {})),
    "of longer floats": lambda: np.empty((6, 5), np.longdouble),
}


@ENGINES
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_any_layout(kind, engine):
    p = KINDS[kind]()
    p[...] = numbers(0)
    assert np.allclose(stepped(p, engine), stepped(numbers(0)), rtol=1e-12)


@ENGINES
def test_the_operators_of_a_matrix_are_an_arrays(engine):
    def by_square(p, g, *, lr=0.1):
        return p - lr * p * p * g

    results = []
    for view in (np.ndarray, np.matrix):
        p = numbers(0, (4, 4))
        # np.matrix warns when it is made, not when it is a view
        rn.optimizer(by_square)([p.view(view)], engine=engine).step([numbers(1, (4, 4))])
        results.append(p)
    assert np.array_equal(*results)


@ENGINES
@pytest.mark.parametrize("mode", ["r+", "c"])
def test_memory_maps(mode, engine, tmp_path):
    p = on_disk(tmp_path, mode)
    now = stepped(p, engine)
    assert np.allclose(now, stepped(numbers(0)), rtol=1e-12)
    p.flush()
    on_file = np.fromfile(tmp_path / "p.bin").reshape(6, 5)
    assert np.array_equal(on_file, now if mode == "r+" else numbers(0))


GRADIENTS = {
    "the parameter": lambda p, step: p,
    "a view of it": lambda p, step: p[::-1],
    "of one number": lambda p, step: np.broadcast_to(np.float64(step), p.shape),
    "of ints": lambda p, step: np.full(p.shape, step),
    "in Fortran's order": lambda p, step: np.asfortranarray(numbers(step)),
    "in other byte order": lambda p, step: numbers(step).astype(np.dtype("f8").newbyteorder("S")),
    "of float32": lambda p, step: numbers(step).astype(np.float32),
}


@ENGINES
@pytest.mark.parametrize("kind", GRADIENTS)
def test_gradients_of_any_kind(kind, engine):
    made = GRADIENTS[kind]
    plain = stepped(numbers(0), gradient=lambda p, step: np.array(made(p, step), np.float64))
    assert np.allclose(stepped(numbers(0), engine, made), plain, rtol=1e-12)


@ENGINES
@pytest.mark.parametrize("rule", [adam, clip_by_global_norm(adam)], ids=lambda r: r.name)
def test_gradients_that_are_each_others_parameters_are_those_before_the_step(rule, engine):
    results = []
    for copied in (False, True):
        p, q = numbers(0), numbers(1)
        stepper = rn.optimizer(rule)([p, q], engine=engine)
        for _ in range(3):
            stepper.step([q.copy(), p.copy()] if copied else [q, p])
        results.append([p, q])
    assert np.array_equal(*results)


def window(made):
    return np.lib.stride_tricks.as_strided(made, (6, 5), (8, 8), writeable=True)


def begun(engine):
    p, q = numbers(0), numbers(1, (2, 5))
    stepper = rn.Adam({"p": p, "q": q}, lr=0.1, engine=engine)
    grads = {"p": numbers(2), "q": numbers(3, (2, 5))}
    stepper.step(grads)
    return stepper, stepper.state["params['p']"], stepper.state["params['q']"], grads


def locked(x):
    x.flags.writeable = False
    return x


REFUSED = {  # what is done to (params, state of p, state of q, gradients), and what is said
    "a parameter is read-only": (lambda p, s, r, g: locked(p["q"]), "'q'.* is read-only"),
    "a moment is read-only": (lambda p, s, r, g: locked(s["v"]), "state 'v' of .*'p'.* read-only"),
    "a moment is broadcast": (
        lambda p, s, r, g: s.update(m=np.broadcast_to(np.ones(5), (6, 5))),
        "read-only",
    ),
    "a moment is a window": (
        lambda p, s, r, g: s.update(m=window(np.ones(40))),
        "elements that share memory",
    ),
    "a moment is masked": (
        lambda p, s, r, g: s.update(m=np.ma.masked_array(s["m"], mask=s["m"] > 0)),
        "MaskedArray",
    ),
    "a moment is of ints": (lambda p, s, r, g: s.update(m=np.ones((6, 5), int)), "of int64"),
    "a moment is complex": (lambda p, s, r, g: s.update(m=np.ones((6, 5), complex)), "complex128"),
    "a moment is a list": (lambda p, s, r, g: s.update(m=s["m"].tolist()), "a list"),
    "a moment is nothing": (lambda p, s, r, g: s.update(m=None), "a NoneType"),
    "a moment has another shape": (
        lambda p, s, r, g: s.update(m=np.ones((7, 5))),
        "has shape \\(7, 5\\); it must be \\(6, 5\\)",
    ),
    "a moment is the parameter": (lambda p, s, r, g: s.update(m=p["p"]), "share memory"),
    "a moment is another's": (lambda p, s, r, g: r.update(m=s["m"][2:4]), "share memory"),
    "two moments are one": (lambda p, s, r, g: s.update(m=s["v"]), "share memory"),
    "a moment is in a parameter": (lambda p, s, r, g: r.update(m=p["p"][1:3]), "share memory"),
    "a count is negative": (lambda p, s, r, g: r.update(step=-3), "step=-3"),
    "a count is infinite": (lambda p, s, r, g: r.update(step=float("inf")), "step=inf"),
    "a count is not whole": (lambda p, s, r, g: r.update(step=1.5), "step=1.5"),
    "a count is no number": (lambda p, s, r, g: r.update(step="3"), "step='3'"),
    "a parameter is given twice": (lambda p, s, r, g: p.update(r=p["p"]), "share memory"),
    "a gradient is missing": (lambda p, s, r, g: g.pop("q"), "no gradient for .*'q'"),
    "a gradient is too many": (lambda p, s, r, g: g.update(r=np.ones(1)), "not a parameter"),
    "a gradient is complex": (lambda p, s, r, g: g.update(q=1j * g["q"]), "'q'.* complex128"),
    "a gradient is of words": (lambda p, s, r, g: g.update(q=np.full((2, 5), "a")), "'q'.* <U1"),
    "a gradient is masked": (
        lambda p, s, r, g: g.update(q=np.ma.masked_array(g["q"], mask=g["q"] > 0)),
        "masked array",
    ),
    "a gradient has another shape": (lambda p, s, r, g: g.update(q=g["q"][0]), r"shape \(5,\)"),
}


@ENGINES
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_step_changes_and_counts_nothing(case, engine):
    stepper, of_p, of_q, grads = begun(engine)
    change, said = REFUSED[case]
    p, q = stepper.params["p"], stepper.params["q"]
    change(stepper.params, of_p, of_q, grads)

    def numbers_now():
        return [repr(x) for x in (p, q, *of_p.items(), *of_q.items())]

    before = numbers_now()
    with pytest.raises((ValueError, TypeError), match=said):
        stepper.step(grads)
    assert numbers_now() == before


def test_a_dtype_that_is_changed_in_place_is_noticed():
    stepper, _, _, grads = begun("auto")
    p = stepper.params["p"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer NumPy deprecates it
        p.dtype = np.int64
    with pytest.raises(TypeError, match="array of int64"):
        stepper.step(grads)


@pytest.mark.parametrize(
    "made",
    [
        lambda: window(np.ones(40)),
        lambda: np.lib.stride_tricks.as_strided(np.ones(5), (6, 5), (0, 8), writeable=True),
        lambda: np.lib.stride_tricks.as_strided(np.ones(40), (6, 5), (20, 8), writeable=True),
    ],
)
def test_elements_that_share_memory_are_refused(made):
    with pytest.raises(ValueError, match="elements that share memory"):
        rn.Adam([made()])


def test_strides_that_interleave_are_no_overlap():
    """The strides interleave, and yet no two elements are one."""
    p = np.lib.stride_tricks.as_strided(np.zeros(100), (3, 2), (16, 24), writeable=True)
    assert rn.SGD([p], lr=1.0).step([np.ones((3, 2))])[0].tolist() == [[-1.0, -1.0]] * 3


@ENGINES
def test_views_of_one_array_that_are_apart(engine):
    whole, plain = numbers(0), numbers(0)
    rn.Adam([whole[:, ::2], whole[:, 1::2]], lr=0.1, engine=engine).step(
        [numbers(1)[:, ::2], numbers(1)[:, 1::2]]
    )
    rn.Adam([plain], lr=0.1, engine="eager").step([numbers(1)])
    assert np.allclose(whole, plain, rtol=1e-12)


@ENGINES
@pytest.mark.parametrize("shape", [(), (0, 3), (1,)])
def test_arrays_of_few_elements(shape, engine):
    p = np.full(shape, 1.5)
    stepper = rn.Adam([p], lr=0.5, engine=engine)
    for _ in range(2):
        stepper.step([np.ones(shape)])
    assert p.shape == shape
    assert np.allclose(p, 0.5)


def test_a_structure_that_changes_between_steps():
    p, q = numbers(0), numbers(1)
    stepper = rn.Adam({"p": p}, lr=0.1)
    stepper.step({"p": numbers(2)})
    stepper.params["q"] = q
    stepper.step({"p": numbers(3), "q": numbers(4)})
    del stepper.params["p"]
    before = p.copy()
    stepper.step({"q": numbers(5)})
    assert np.array_equal(p, before)
    assert {path: s["step"] for path, s in stepper.state.items()} == {
        "params['p']": 2,
        "params['q']": 2,
    }
