"""Every registered rule in training: groups, late and missing gradients, resuming, all engines.

What a step is, is said by the function itself, called tensor by tensor; a rule that looks at all tensors
at once is called on bags of them.
"""

import io
from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import ravine.torch as rt  # noqa: E402
from ravine import registry  # noqa: E402
from ravine.engines.tracing import trace  # noqa: E402

STEPS = 200
TENSORS = [(5,), (4, 3), (7, 2, 2, 2), (6, 5)]
MATRICES = [(4, 3), (3, 5), (4, 4), (6, 2)]
LATE = {1: (1, 2, 3), 3: (40, 41, 90)}  # steps at which a tensor has no gradient
RULES = list(registry.own().values())


def shapes(rule):
    return MATRICES if trace(rule, None, 1).of_arrays else TENSORS


@cache
def path(of, dtype=torch.float64):
    """Starting points, and for each step gradients and positive numbers for signals."""
    torch.manual_seed(4)
    every = MATRICES if of == "matrices" else TENSORS
    starts = [torch.randn(shape, dtype=torch.float64) for shape in every]
    steps = []
    for t in range(1, STEPS + 1):
        size = 10 ** float(torch.rand(()) * 2 - 1.5)
        rows = [size * torch.randn(shape, dtype=torch.float64) for shape in every]
        grads = [None if t in LATE.get(i, ()) else g for i, g in enumerate(rows)]
        steps.append((grads, [torch.rand(shape, dtype=torch.float64) + 0.1 for shape in every]))
    return starts, steps


def kind(rule):
    return "matrices" if shapes(rule) is MATRICES else "tensors"


def made(rule, engine="auto", dtype=torch.float64, starts=None):
    first, _ = path(kind(rule))
    params = [torch.nn.Parameter(x.to(dtype).clone()) for x in (starts or first)]
    lr = rule.hyperparameters.get("lr")
    groups = [{"params": params[:2]}, {"params": params[2:]}]
    if lr is not None and not any(slot.shared for slot in rule.slots.values()):
        groups[1]["lr"] = 3 * lr.default
    return rt.optimizer(rule)(groups, engine=engine, seed=1)


def params_of(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def train(rule, optimizer, first=1, last=STEPS):
    _, steps = path(kind(rule))
    for t in range(first, last + 1):
        grads, extra = steps[t - 1]
        params = params_of(optimizer)
        for p, g in zip(params, grads, strict=True):
            p.grad = None if g is None else g.to(p.dtype)
        signals = {}
        for name, signal in rule.signals.items():
            if signal.scalar:
                signals[name] = float(t) ** -0.5
            else:
                signals[name] = [x.to(p.dtype) for x, p in zip(extra, params, strict=True)]
        optimizer.step(**signals)
    return [p.detach().clone() for p in params_of(optimizer)]


def furthest(found, exact):
    """The largest distance of any element."""
    return max(float((x.double() - y).abs().max()) for x, y in zip(found, exact, strict=True))


def apart(found, wanted, start):
    """The largest distance, relative to the longest way, or to a thousandth of the weights: each step
    rounds them.
    """
    way = max(float((y - x).abs().max()) for x, y in zip(start, wanted, strict=True))
    way = max(way, 1e-3 * max(float(x.abs().max()) for x in start))
    off = max(float((x - y).abs().max()) for x, y in zip(found, wanted, strict=True))
    return off / way


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_200_steps_are_the_function_called_tensor_by_tensor(rule):
    starts, steps = path(kind(rule))
    optimizer = made(rule)
    found = train(rule, optimizer)
    assert all(torch.isfinite(x).all() for x in found)
    wanted = train(rule, made(rule, "eager"))
    assert apart(found, wanted, starts) <= 1e-12
    graph = trace(rule)
    together = any(node.op == "total" for node in graph.nodes)
    alone = not (together or any(slot.shared for slot in rule.slots.values()))
    if alone and not graph.draws and not rule.signals:
        ends = []
        for i, p in enumerate(starts):
            group = optimizer.param_groups[i // 2]
            values = {k: group[k] for k in rule.parts.gathered(dict(rule.values({})))}
            state, t = rule.init(p, **values), 0
            for grads, _ in steps:
                if grads[i] is not None:
                    t += 1
                    p, state = rule.update(p, grads[i], state, t, **values)
            ends.append(p)
        assert apart(wanted, ends, starts) <= 1e-12


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_resumed_in_the_middle_it_goes_on_bit_for_bit(rule):
    whole = train(rule, made(rule), last=60)
    first = made(rule)
    middle = train(rule, first, last=30)
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second = made(rule, starts=middle)
    second.load_state_dict(torch.load(saved, weights_only=True))
    for x, y in zip(train(rule, second, 31, 60), whole, strict=True):
        assert torch.equal(x, y)


def train_jolted(rule, starts, eps, seed, last):
    """Train in float64, with the gradients off by eps of themselves, and after each step the state by eps
    of its largest element: what rounding does to gradients, and to the sums and decompositions of matrices.
    """
    optimizer, draw = made(rule, starts=starts), torch.Generator().manual_seed(seed)

    def off(x, size):
        noise = torch.rand(x.shape, generator=draw, dtype=torch.float64) * 2 - 1
        return x + eps * size * noise

    steps = path(kind(rule))[1]
    for grads, _ in steps[:last]:
        for p, g in zip(params_of(optimizer), grads, strict=True):
            p.grad = None if g is None else off(g, g.abs())
        optimizer.step()
        for its in optimizer.state.values():
            for x in its.values():
                if x.ndim:
                    x.copy_(off(x, x.abs().max()))
    return [p.detach() for p in params_of(optimizer)]


# Short numbers may be this many times as far away as jolted paths are in the mean. With MKL, the eager engine
# needs 6; with Debian's OpenBLAS, whose decompositions round differently, 19 (SOAP). By turns, SOAP needs 26:
# its first sums are rounded once instead of twice, and since those of 8 x 8 have rank 7, their last
# eigenvectors turn.
JOLTS = 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_short_numbers_stay_near_the_long_ones(dtype):
    """Ten steps, from weights so small that what rounds them at each step hides little."""
    steps, eps = 10, torch.finfo(dtype).eps
    for rule in RULES:
        starts = [(1e-2 * x).bfloat16().double() for x in path(kind(rule))[0]]  # exact in both
        exact = train(rule, made(rule, starts=starts), last=steps)
        found = train(rule, made(rule, dtype=dtype, starts=starts), last=steps)
        assert all(x.dtype == dtype for x in found)
        size = max(float(x.abs().max()) for x in [*starts, *exact])
        way = furthest(starts, exact)
        bound = eps * (steps * size + way)
        if furthest(found, exact) > bound:
            # Where a basis of eigenvectors turns, a small singular value grows until it is near 1, or a mean
            # near zero gets another sign, roundings become larger. How large is found out in float64.
            jolted = (train_jolted(rule, starts, eps, seed, steps) for seed in range(4))
            bound += JOLTS * sum(furthest(x, exact) for x in jolted) / 4
        assert furthest(found, exact) <= bound, rule.name
