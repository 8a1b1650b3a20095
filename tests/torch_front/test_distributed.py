"""Training by several processes: what they hold together is what one process would hold alone.

The cases run in two processes, see processes.py.
"""

from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
from cases import (
    REDUCING,
    cautious,
    default_dtype,
    error,
    gradients,
    lion,
    lookahead,
    schedule_free,
)
from installed import SHARDS_ON_THE_CPU
from processes import WORLD, gathers, mesh, params_of, same, spread, together, whole
from signals import polyak, sophia
from torch import nn

import ravine.torch as rt
from ravine import RuleError, registry, rule, rules, scalar, zeros
from ravine.arrays import ALONG
from ravine.engines.cutting import is_cut
from ravine.engines.tracing import takes_matrices, trace
from ravine.modifiers import clip_by_global_norm, clip_by_norm, decoupled_decay
from ravine.ops import (
    argsort,
    cholesky,
    eigh,
    greatest,
    inverse_root,
    least,
    matmul,
    mean,
    ndim,
    newton_schulz,
    norm,
    normal,
    qr,
    solve_triangular,
    take,
    transpose,
    uniform,
)

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")


# --- rules, and tensors that are spread


@rule
def whitened(p, g, m, whole, *, lr=0.1):
    """Whole matrices, rows and single numbers meet the parts, and become parts."""
    values, vectors = eigh(matmul(transpose(g), g))
    q, r = qr(g)
    m = 0.5 * m + matmul(matmul(g, vectors) / (1 + values), transpose(vectors))
    return p - lr * (m + whole + g * values + mean(m, axis=-2)), m, matmul(q, r)


@rule(distance=scalar(1.0))
def far(p, g, distance, *, lr=0.1):
    """A number in the state that comes from a reduction."""
    distance = distance + norm(g)
    return p - lr / distance * g, distance


@rule
def by_extremes(p, g, *, lr=0.1):
    """Over whole tensors, and over all axes but one."""
    wide = greatest(abs(g), keep=0) + norm(p, keep=-1) + greatest(p) - least(g)
    return p - lr * (g - mean(g, keep=0)) / wide + least(p * g, keep=-1)


@rule
def ordered(p, g, *, lr=0.1):
    """Along axes; and what is gathered: orders, triangles and roots of matrices."""
    g = g / greatest(abs(g), axis=-1) - least(g, axis=-2)
    low = cholesky(matmul(transpose(g), g) + matmul(transpose(p), p))
    g = take(g, argsort(norm(g, axis=-2)))
    u = transpose(solve_triangular(low, transpose(g))) + matmul(
        g, inverse_root(low @ transpose(low), 4)
    )
    return p - lr * u


@rule(seen="matrix", r=zeros(keep=0))
def by_channels(p, g, r, m, *, lr=0.1):
    """Convolutions as matrices, vectors in another way."""
    if ndim(p) == 2:
        r = 0.5 * r + mean(g * g, keep=0)
        m = 0.5 * m + g / (1 + r) - 0.3 * mean(g, axis=-1)  # of one column, too, something is left
        return p - lr * (m + newton_schulz(m, 2.0, -1.5, 0.5)), r, m
    m = 0.9 * m + g
    return p - lr * m, r, m


RULES = [*registry.rules().values(), lion, schedule_free, lookahead(rules.nesterov), *REDUCING, far]
RULES += [by_extremes, ordered, clip_by_norm(by_extremes)]
RULES += [by_channels, rules.muon.seeing("matrix"), rules.muon.seeing("stack")]
RULES += [whitened, clip_by_norm(whitened), clip_by_global_norm(decoupled_decay(rules.muon))]
SHAPES = [(5, 3), (1, 4), (2, 1), (3,), (1,), (2, 3, 2), (3, 2, 2, 2)]


def shapes_for(operations):
    if "cholesky" in operations:
        return [(5, 3), (4, 2)]
    if "eigh" in operations:
        return [s for s in SHAPES if len(s) == 2]
    if "by ndim" in operations:
        return SHAPES
    matrices = operations & {"newton_schulz", *ALONG}
    return [s for s in SHAPES if len(s) > 1] if matrices else SHAPES


def signals_are_spread_as_parameters_are(rank):
    """Element by element, and by a rule that looks at whole tensors; one of another kind is refused."""
    over, shapes = mesh(), [(5, 3), (1, 4), (3,)]
    for made in (sophia, clip_by_norm(sophia), polyak):
        torch.manual_seed(0)
        alone = [torch.randn(s).requires_grad_() for s in shapes]
        ours = [spread(p.detach(), over, 0).requires_grad_() for p in alone]
        both = rt.optimizer(made)(ours), rt.optimizer(made)(alone)
        for t in range(4):
            for p, q in zip(ours, alone, strict=True):
                q.grad = torch.randn(q.shape)
                p.grad = spread(q.grad, over, 0)
            hessian = [torch.rand(s) for s in shapes]
            if made is polyak:
                for optimizer in both:
                    optimizer.step(loss=1.0 + t)
            elif t % 2:
                both[0].step(hessian=[spread(x, over, 0) for x in hessian])
                both[1].step(hessian=hessian)
            else:
                for optimizer in both:
                    optimizer.step()
        assert same(*both)
    whole_ones = [torch.rand(s) for s in shapes]
    with pytest.raises(
        ValueError, match=r"not spread over processes \(a DTensor\) for a parameter that is"
    ):
        rt.optimizer(sophia)(ours).step(hessian=whole_ones)


def random_numbers_are_those_of_the_whole(rank):
    """However a tensor is spread, each of its elements has the number that it has in one process."""

    @rule
    def langevin(p, g, *, lr=0.1):
        return p - lr * g * uniform(p) + lr * normal(p)

    over, shapes = mesh(), [(5, 3), (1, 4), (3,)]
    for dim in (0, -1):
        torch.manual_seed(0)
        alone = [torch.randn(s).requires_grad_() for s in shapes]
        ours = [spread(p.detach(), over, dim % p.ndim).requires_grad_() for p in alone]
        both = rt.optimizer(langevin)(ours, seed=4), rt.optimizer(langevin)(alone, seed=4)
        for _ in range(3):
            for p, q in zip(ours, alone, strict=True):
                q.grad = torch.randn(q.shape)
                p.grad = spread(q.grad, over, dim % q.ndim)
            for optimizer in both:
                optimizer.step()
        assert same(*both)
        assert "sharded, with random numbers" in both[0].engine


def steps_with_every_rule(rank):
    over = mesh()
    for i, made in enumerate(RULES):
        graph = trace(made)
        shapes = shapes_for(
            {node.op for node in graph.nodes} | ({"by ndim"} if graph.by_ndim else set())
        )
        if takes_matrices(made):
            shapes = [s for s in shapes if len(s) == 2]
        for dim in (0, -1):
            torch.manual_seed(i)
            alone = [torch.randn(s).requires_grad_() for s in shapes]
            ours = [spread(p.detach(), over, dim % p.ndim).requires_grad_() for p in alone]
            mine = rt.optimizer(made)(ours)
            # BLAS by turns rounds otherwise than calls do, which decompositions make large.
            how = {"engine": "eager"} if is_cut(graph) and "eager" in mine.engine else {}
            both = mine, rt.optimizer(made)(alone, **how)
            columns = [torch.tensor(gradients(s, 3, j)) for j, s in enumerate(shapes)]
            for row in zip(*columns, strict=True):
                for p, q, g in zip(ours, alone, row, strict=True):
                    p.grad, q.grad = spread(g, over, dim % q.ndim), g
                for optimizer in both:
                    with default_dtype(torch.float32):  # which counts for nothing
                        optimizer.step()
            assert same(*both), (made.name, dim)


def nan_is_the_greatest(rank):
    """Wherever it is, and in whichever process."""
    over = mesh()
    made = rt.optimizer(rule(lambda p, g: p - greatest(g) + least(g, keep=0) - least(p, axis=0)))
    for place in (0, 2, 4, None):
        start, g = torch.arange(10.0).reshape(5, 2) - 20, -torch.ones(5, 2)
        if place is not None:
            g[place, 1] = torch.nan
        alone, ours = start.clone().requires_grad_(), spread(start, over, 0).requires_grad_()
        alone.grad, ours.grad = g, spread(g, over, 0)
        for p in (alone, ours):
            made([p]).step()
        torch.testing.assert_close(whole(ours.detach()), alone.detach(), equal_nan=True)
        assert alone.isnan().any() == (place is not None)


def gradients_may_be_spread_otherwise(rank):
    from torch.distributed.tensor import Replicate, Shard

    over, g = mesh(), torch.arange(12.0).reshape(4, 3)
    for made in (rules.momentum, clip_by_norm(rules.momentum)):
        for placement in (Shard(1), Replicate()):
            alone = torch.ones(4, 3, requires_grad=True)
            ours = spread(alone.detach(), over, 0).requires_grad_()
            ours.grad = spread(g, over, 0).redistribute(placements=[placement])
            alone.grad = g
            both = rt.optimizer(made)([ours]), rt.optimizer(made)([alone])
            for optimizer in both:
                optimizer.step()
            assert same(*both), (made.name, placement)


def steps_of_half_precision_and_complex_tensors(rank):
    over, made = mesh(), rt.optimizer(cautious(rules.adam))
    for dtype in (torch.bfloat16, torch.complex128):
        if dtype.is_complex and not gathers(dtype):
            print(f"skipped: the installed torch cannot gather {dtype}", flush=True)
            continue
        start, g = torch.randn(2, 5, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
        alone, ours = start.clone().requires_grad_(), spread(start, over, 0).requires_grad_()
        both = made([ours]), made([alone])
        for _ in range(3):
            ours.grad, alone.grad = spread(g, over, 0), g
            for optimizer in both:
                optimizer.step()
        assert alone.dtype == dtype
        assert torch.equal(whole(ours), alone) if dtype == torch.bfloat16 else same(*both)


def one_message_for_all_tensors(rank):
    """However many tensors there are, a step sends as many messages as its rule has reductions, and one
    to agree on it.
    """
    over, sent, real = mesh(), [], (dist.all_reduce, dist.all_gather)
    dist.all_reduce = lambda *args, **how: (sent.append("eager"), real[0](*args, **how))
    dist.all_gather = lambda *args, **how: (sent.append("kernel"), real[1](*args, **how))
    try:
        for made, count in [
            (clip_by_norm(rules.sgd), 1),
            (clip_by_global_norm(rules.sgd), 1),
            (clip_by_global_norm(cautious(rules.sgd)), 2),
            (rules.adam, 0),
        ]:
            for engine in ("kernel", "eager"):
                params = [spread(torch.ones(3, 2), over, 0).requires_grad_() for _ in range(4)]
                for p in params:
                    p.grad = spread(torch.ones(3, 2), over, 0)
                optimizer = rt.optimizer(made)(params, engine=engine)
                for _ in range(2):
                    sent.clear()
                    optimizer.step()
                    agreed = ["kernel"] if count else []
                    assert sent == [*agreed, *[engine] * count], made.name
    finally:
        dist.all_reduce, dist.all_gather = real


def what_is_refused(rank):
    p = spread(torch.ones(3, 2), mesh(), 0).requires_grad_()
    p.grad = torch.ones_like(p)
    clipped = rt.optimizer(clip_by_norm(rules.sgd))
    assert rt.SGD([p]).engine == rt.SGD([p], engine="kernel").engine == "kernel"
    assert clipped([p]).engine == clipped([p], engine="kernel").engine == "kernel"
    drawing = rt.optimizer(rule(lambda p, g: p - uniform(p) * g))
    for optimizer, message in [
        (drawing([p], engine="kernel"), r"shape \(3, 2\): sharded, with random numbers"),
        (rt.SGD([p], differentiable=True), "differentiable=True is not supported"),
        (rt.SGD([p], grad_norm=True), "grad_norm=True is not supported"),
    ]:
        with pytest.raises((RuleError, ValueError), match=message):
            optimizer.step()


# --- models that are sharded


def model():
    """Of its rows, 5, 3 and 1, the second process has fewer, or none."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.LayerNorm(3), nn.Linear(3, 1)
    )


def sharded(net, **how):
    from torch.distributed.fsdp import fully_shard

    for layer in net[::2]:
        fully_shard(layer, **how)
    return fully_shard(net, **how)


def train(net, optimizer, rank=None, steps=5):
    """Steps on batches of 8: all of each, or a process's half."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(8, 4, generator=generator)
        x = x if rank is None else x.chunk(WORLD)[rank]
        optimizer.zero_grad()
        (net(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()


def of_roles(net, **how):
    params = list(net.parameters())
    matrices, vectors = ([p for p in params if (p.ndim == 2) is which] for which in (True, False))
    muon = {"params": matrices, "rule": "Muon", "lr": 0.02}
    return rt.Mixed([muon, {"params": vectors, "rule": "AdamW", "lr": 0.01}], **how)


def of_rule(made, **options):
    return lambda net: rt.optimizer(made)(net.parameters(), **options)


OPTIMIZERS = {
    "Adam": lambda net: rt.Adam(net.parameters(), lr=0.05, amsgrad=True, weight_decay=0.1),
    "SGD": lambda net: rt.SGD(net.parameters(), lr=0.05, momentum=0.9),
    "lion": of_rule(lion),
    "clip_by_norm": of_rule(clip_by_norm(rules.adam), max_norm=0.1),
    "clip_by_global_norm": of_rule(clip_by_global_norm(rules.momentum), max_norm=0.1, lr=0.1),
    "cautious": of_rule(cautious(rules.adam), lr=0.05),
    "Adafactor": lambda net: rt.Adafactor(net.parameters(), lr=0.05),
    "Muon": of_roles,
}


def fully_shard_trains_as_one_process_does(rank):
    for name, make in OPTIMIZERS.items():
        ours, alone = sharded(model()), model()
        both = make(ours), make(alone)
        train(ours, both[0], rank)
        train(alone, both[1])
        assert same(*both), name
        assert all(
            value.placements
            for state in both[0].state.values()
            for key, value in state.items()
            if key != "step"
        ), name


def evaluation_is_that_of_the_whole(rank):
    from torch.nn.parallel import DistributedDataParallel

    for net in (sharded(model()), DistributedDataParallel(model())):
        alone = model()
        ours, theirs = (of_rule(schedule_free, lr=0.05)(x) for x in (net, alone))
        train(net, ours, rank)
        train(alone, theirs)
        before = [whole(p).clone() for p in params_of(ours)]
        with ours.evaluating(), theirs.evaluating():
            pairs = list(zip(params_of(ours), params_of(theirs), strict=True))
            assert all(error(whole(p), q) <= 1e-12 for p, q in pairs)
            assert not any(torch.equal(q, p) for (_, q), p in zip(pairs, before, strict=True))
            kept = ours.state[params_of(ours)[0]]["training_p"]
            assert torch.equal(whole(kept), before[0])
        assert all(map(torch.equal, map(whole, params_of(ours)), before))


def even():
    """As some ways of sharding ask for: 6 and 2 are two halves."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def columns_may_be_sharded(rank):
    from torch.distributed.tensor import Shard

    for name in ("Adafactor", "Muon", "clip_by_global_norm"):
        ours, alone = sharded(even(), shard_placement_fn=lambda p: Shard(p.ndim - 1)), even()
        assert ours[0].weight.placements == (Shard(1),)
        both = OPTIMIZERS[name](ours), OPTIMIZERS[name](alone)
        train(ours, both[0], rank)
        train(alone, both[1])
        assert same(*both), name


def copies_may_be_sharded(rank):
    """Two dimensions of processes, over one of which parameters are the same."""
    for shape in ((WORLD, 1), (1, WORLD)):
        over = dist.device_mesh.init_device_mesh("cpu", shape, mesh_dim_names=("copies", "shards"))
        for name in ("clip_by_global_norm", "Adafactor", "Muon"):
            ours, alone = sharded(model(), mesh=over), model()
            both = OPTIMIZERS[name](ours), OPTIMIZERS[name](alone)
            train(ours, both[0], rank)
            train(alone, both[1])
            assert same(*both), (name, shape)


def layers_may_be_parallel(rank):
    """Tensor parallel: some parameters are spread by rows, some by columns, some not at all."""
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    for name in ("clip_by_global_norm", "Adafactor", "Muon"):
        ours, alone = even(), even()
        parallelize_module(ours, mesh(), {"0": ColwiseParallel(), "2": RowwiseParallel()})
        both = OPTIMIZERS[name](ours), OPTIMIZERS[name](alone)
        train(ours, both[0])
        train(alone, both[1])
        assert same(*both), name


def clipping_is_torchs(rank):
    """torch's clip_grad_norm_ before the step, or the modifier in it."""
    ours, theirs = sharded(model()), sharded(model())
    inside = rt.optimizer(clip_by_global_norm(rules.adam))(ours.parameters(), max_norm=0.1)
    before = torch.optim.Adam(theirs.parameters())
    before.register_step_pre_hook(
        lambda *_: torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1) and None
    )
    train(ours, inside, rank)
    train(theirs, before, rank)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert error(whole(p), whole(q)) <= 1e-5  # torch adds 1e-6 to the norm
        assert not torch.equal(whole(p), whole(q))


def mixed_precision_is_torchs(rank):
    from torch.distributed.fsdp import MixedPrecisionPolicy

    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=True)
    nets = [sharded(model(), mp_policy=policy) for _ in range(2)]
    for net, module in zip(nets, (rt, torch.optim), strict=True):
        train(net, module.AdamW(net.parameters(), lr=0.01), rank)
    for p, q in zip(*(net.parameters() for net in nets), strict=True):
        assert error(whole(p), whole(q)) <= 1e-6


def checkpoints_go_on(rank, folder):
    """Saved by all processes, loaded into a new model and optimizer, it goes on as if never stopped."""
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint import state_dict as states

    for name in ("Adam", "clip_by_global_norm", "Adafactor", "Muon"):
        net = sharded(model())
        optimizer = OPTIMIZERS[name](net)
        train(net, optimizer, rank)
        saved = dict(zip(("net", "optimizer"), states.get_state_dict(net, optimizer), strict=True))
        place = f"{folder}/{name}"
        checkpoint.save(saved, checkpoint_id=place)
        again = sharded(model())
        other = OPTIMIZERS[name](again)
        loaded = dict(zip(("net", "optimizer"), states.get_state_dict(again, other), strict=True))
        checkpoint.load(loaded, checkpoint_id=place)
        states.set_state_dict(
            again,
            other,
            model_state_dict=loaded["net"],
            optim_state_dict=loaded["optimizer"],
        )
        for pair in ((net, optimizer), (again, other)):
            train(*pair, rank)
        alone = model()
        whole_run = OPTIMIZERS[name](alone)
        for _ in range(2):
            train(alone, whole_run)
        assert same(other, whole_run), name
        assert same(optimizer, whole_run), name


def eight_bits_are_of_each_part():
    """The codes are those of a process's part alone; a checkpoint has the whole, and goes on from there."""
    over, x = mesh(), torch.randn(100, 90)
    p = nn.Parameter(spread(x, over, 0))
    part = nn.Parameter(p.to_local().detach().clone())

    def take(*steps):
        for t in steps:
            g = torch.sin(t * x)
            for optimizer in optimizers:
                [its] = params_of(optimizer)
                its.grad = (
                    spread(g, over, 0)
                    if hasattr(its, "to_local")
                    else spread(g, over, 0).to_local()
                )
                optimizer.step()

    optimizers = [rt.Adam([its], state_dtype="8bit") for its in (p, part)]
    take(1, 2)
    assert optimizers[0].engine == "kernel; 8-bit state: exp_avg, exp_avg_sq"
    saved = deepcopy(optimizers[0].state_dict())
    assert whole(saved["state"][0]["exp_avg"]).shape == x.shape
    other = nn.Parameter(spread(whole(p).detach(), over, 0))
    optimizers.append(rt.Adam([other], state_dtype="8bit"))
    optimizers[2].load_state_dict(saved)
    take(3, 4)
    for its in (part, other):
        assert torch.equal(p.to_local(), its.to_local() if its is other else its)
    for optimizer in optimizers[1:]:
        [its] = optimizer.state.values()
        assert all(torch.equal(its[key], y) for key, y in optimizers[0].state[p].items())
    clipped = rt.optimizer("clip_by_global_norm(adam)")([p], state_dtype="8bit")
    clipped.step()
    assert clipped.engine == "kernel; 8-bit state: m, v; float32 state: 1 sharded parameter"


def a_step_is_skipped_by_all_processes_or_none(rank):
    """Infinity in one process's part, found by the scaler alone or handed to the step."""
    fused = {"Adam, fused": lambda net: rt.Adam(net.parameters(), fused=True)}
    for name, make in (OPTIMIZERS | fused).items():
        net = sharded(model())
        optimizer, scaler = make(net), torch.amp.GradScaler("cpu", init_scale=2.0)
        for skipped in (True, False):
            before = [whole(p).clone() for p in net.parameters()]
            optimizer.zero_grad()
            scaler.scale(net(torch.ones(2, 4)).sum()).backward()
            if skipped and rank == 0:
                net[0].weight.grad.to_local()[0] = torch.inf
            scaler.step(optimizer)
            scaler.update()
            assert scaler.get_scale() == 1.0
            after = [whole(p) for p in net.parameters()]
            assert all(map(torch.equal, after, before)) is skipped, name


def what_is_flattened_is_refused_where_the_whole_counts(rank):
    from torch.distributed.fsdp import FullyShardedDataParallel

    device = torch.device("cpu")
    nets = [FullyShardedDataParallel(model(), device_id=device, use_orig_params=True), model()]
    optimizers = [OPTIMIZERS["Adam"](net) for net in nets]
    for net, optimizer, part in zip(nets, optimizers, (rank, None), strict=True):
        train(net, optimizer, part)
    gathered = nets[0].state_dict()
    assert all(error(gathered[name], p) <= 1e-12 for name, p in nets[1].named_parameters())
    with pytest.raises(ValueError, match=r"looks at whole tensors.*fully_shard"):
        train(nets[0], OPTIMIZERS["clip_by_norm"](nets[0]), rank)


# --- models that are copied


def copies_train_as_one_process_does(rank):
    from torch.nn.parallel import DistributedDataParallel

    for name, make in OPTIMIZERS.items():
        for views in (False, True):  # separate gradients, or views of the buffer that is sent
            ours, alone = DistributedDataParallel(model(), gradient_as_bucket_view=views), model()
            both = make(ours), make(alone)
            train(ours, both[0], rank)
            train(alone, both[1])
            assert same(*both), name


def zero_redundancy_changes_nothing(rank):
    from torch.distributed.optim import ZeroRedundancyOptimizer
    from torch.nn.parallel import DistributedDataParallel

    for cls, options in [
        (rt.Adam, {"lr": 0.05, "amsgrad": True}),
        (rt.optimizer(clip_by_norm(rules.momentum)), {"max_norm": 0.1}),
    ]:
        ours, alone = DistributedDataParallel(model()), model()
        split = ZeroRedundancyOptimizer(ours.parameters(), optimizer_class=cls, **options)
        schedule = torch.optim.lr_scheduler.ExponentialLR(split, 0.5)
        plain = cls(alone.parameters(), **options)
        for _ in range(2):
            train(ours, split, rank)
            train(alone, plain)
            schedule.step()
            plain.param_groups[0]["lr"] *= 0.5
        for p, q in zip(ours.parameters(), alone.parameters(), strict=True):
            assert error(p, q) <= 1e-12
        assert 0 < len(split.optim.state) < len(plain.state)


# --- the tests: starting processes takes longer than most cases


def test_rules_see_whole_tensors_and_copied_models_stay_alike(tmp_path):
    together(
        tmp_path,
        steps_with_every_rule,
        signals_are_spread_as_parameters_are,
        random_numbers_are_those_of_the_whole,
        nan_is_the_greatest,
        gradients_may_be_spread_otherwise,
        steps_of_half_precision_and_complex_tensors,
        one_message_for_all_tensors,
        what_is_refused,
        copies_train_as_one_process_does,
        zero_redundancy_changes_nothing,
    )


@pytest.mark.skipif(not SHARDS_ON_THE_CPU, reason="the installed torch's fully_shard does not")
def test_a_sharded_model_trains_as_in_one_process(tmp_path):
    together(
        tmp_path,
        fully_shard_trains_as_one_process_does,
        evaluation_is_that_of_the_whole,
        columns_may_be_sharded,
        copies_may_be_sharded,
        mixed_precision_is_torchs,
        clipping_is_torchs,
        checkpoints_go_on,
        eight_bits_are_of_each_part,
        a_step_is_skipped_by_all_processes_or_none,
    )


def test_layers_may_be_parallel_or_flattened(tmp_path):
    together(tmp_path, layers_may_be_parallel, what_is_flattened_is_refused_where_the_whole_counts)


def test_data_parallel_without_devices_changes_nothing():
    nets = [nn.DataParallel(model().double()), model().double()]
    optimizers = [OPTIMIZERS["Adam"](net) for net in nets]
    for net, optimizer in zip(nets, optimizers, strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.ones(2, 4, dtype=torch.float64)).sum().backward()
            optimizer.step()
    assert same(*optimizers)
