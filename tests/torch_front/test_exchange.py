"""Sharded parameters stepped by the kernel: sums go round the processes, which agree on each step first."""

import math
from functools import partial

import pytest
import torch
import torch.distributed as dist
from cases import gradients
from processes import mesh, same, spread, together, whole

import ravine.torch as rt
from ravine import rule, rules, shared, zeros
from ravine.modifiers import clip_by_global_norm, clip_by_norm
from ravine.ops import greatest, least, mean, norm, rms, sqrt, total
from ravine.torch import members
from ravine.torch.bound import Bound
from ravine.torch.rule_optimizer import RuleOptimizer

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

SHAPES = [(5, 3), (1, 4), (7,), (1,), (2, 3, 2), (3, 2, 2, 2)]
Clipped = rt.optimizer(clip_by_global_norm(rules.adamw))


@rule
def novograd(p, g, v, m, *, lr=0.05, beta1=0.9, beta2=0.98, eps=1e-8):
    """One second moment for each tensor."""
    v = beta2 * v + (1 - beta2) * mean(g * g)
    m = beta1 * m + g / (sqrt(v) + eps)
    return p - lr * m, v, m


@rule(d=shared(1e-3))
def of_one_distance(p, g, d, *, lr=0.5):
    """A number for the whole optimizer, made of totals."""
    d = 0.9 * d + 0.1 * sqrt(total(norm(g) ** 2)) / (1 + total(rms(p)))
    return p - lr * d * g, d


@rule(r=zeros(-1), c=zeros(-2))
def of_lines(p, g, r, c, *, lr=0.05):
    """All kinds of reductions of rows and columns, along axes and to one number."""
    r = 0.9 * r + greatest(g, axis=-1) - mean(g, axis=-1)
    c = 0.5 * c + least(g, axis=-2)
    wide = 1 + rms(r) + greatest(c) - least(r) + mean(abs(c), axis=-1) + greatest(r, axis=-2)
    return p - lr * (g + r - c) / wide, r, c


def pair(made, over, dim, shapes=SHAPES, **how):
    """The optimizer of sharded parameters, and that of the same ones in one process."""
    torch.manual_seed(0)
    alone = [torch.randn(s).requires_grad_() for s in shapes]
    ours = [spread(p.detach(), over, dim % p.ndim).requires_grad_() for p in alone]
    return [ours, alone], [made(ours, **how), made(alone, **how)]


def give(params, over, dim, k):
    """New gradients, those of step k."""
    for j, (p, q) in enumerate(zip(*params, strict=True)):
        q.grad = torch.tensor(gradients(q.shape, k + 1, j)[k])
        p.grad = spread(q.grad, over, dim % q.ndim)


def fifty_steps_by_the_kernel(rank):
    """They equal those of one process, and all processes have the same bits in what all of them have."""
    over, cores = mesh(), [rules.adafactor, novograd, of_one_distance, clip_by_norm(rules.adam)]
    for core in (*cores, clip_by_global_norm(rules.adamw), of_lines):
        shapes = [s for s in SHAPES if len(s) > 1] if core is of_lines else SHAPES
        for dim in (0, -1):
            params, both = pair(rt.optimizer(core), over, dim, shapes, engine="kernel")
            for k in range(50):
                give(params, over, dim, k)
                for optimizer in both:
                    optimizer.step()
            assert same(*both), (core.name, dim)
            assert both[0].engine == "kernel"
            assert len(both[0]._bound.kernels) == len(both[1]._bound.kernels)
            for state in both[0].state.values():
                for x in state.values():
                    if not hasattr(x, "placements"):
                        mine = x
                    elif all(placement.is_replicate() for placement in x.placements):
                        mine = x.to_local()
                    else:
                        continue
                    theirs = [torch.empty_like(mine) for _ in range(2)]
                    dist.all_gather(theirs, mine)
                    assert torch.equal(*theirs)


def steps_are_bound_once(rank):
    """Also where rules look at no other elements, and where some gradients are missing."""
    over, real, bound = mesh(), RuleOptimizer.step_all, []
    RuleOptimizer.step_all = lambda self, *args, **how: bound.append(1) or real(self, *args, **how)
    try:
        for made in (rt.Adafactor, Clipped, rt.Adam, rt.SGD):
            params, both = pair(made, over, 0)
            bound.clear()
            for k in range(8):
                give(params, over, 0, k)
                if k > 2:
                    params[0][k % 3].grad = params[1][k % 3].grad = None
                for optimizer in both:
                    optimizer.param_groups[0]["lr"] = 0.01 + 0.01 * k
                    optimizer.step()
            assert len(bound) == 2, made
            assert same(*both), made
    finally:
        RuleOptimizer.step_all = real


def one_process_cannot_use_the_kernel(rank):
    """All of them step by calls then, say why, and use the kernel again."""
    over = mesh()
    for made in (Clipped, rt.Adafactor, rt.optimizer(clip_by_norm(rules.momentum))):
        params, both = pair(made, over, 0)
        for k in range(6):
            give(params, over, 0, k)
            odd = k in (0, 3)
            if odd and rank == 0:  # the same numbers, with other strides
                part = params[0][0].grad._local_tensor
                params[0][0].grad._local_tensor = part.t().contiguous().t()
            for optimizer in both:
                optimizer.step()
            assert ("eager for" in both[0].engine) is odd
            if odd:
                why = "not contiguous" if rank == 0 else "stepped eagerly in another process"
                assert why in both[0].engine
        assert same(*both), made


def one_process_binds_anew(rank):
    over = mesh()
    params, both = pair(Clipped, over, 0)
    for k in range(6):
        give(params, over, 0, k)
        if k % 2 == rank:
            both[0].unbind()
        for optimizer in both:
            optimizer.step()
    assert same(*both)


def gradients_that_are_missing_everywhere(rank):
    over = mesh()
    for made in (Clipped, rt.Adafactor):
        params, both = pair(made, over, 0)
        for k in range(6):
            give(params, over, 0, k)
            for i in range(len(SHAPES)):
                if (k + i) % 3 == 0:
                    params[0][i].grad = params[1][i].grad = None
            for optimizer in both:
                optimizer.step()
        assert same(*both), made
        for several in params:
            for p in several:
                p.grad = None
        for optimizer in both:
            optimizer.step()
        assert same(*both), made


def refused(rank, optimizer, at_fault, others, step=None):
    """A step that raises in all processes: in number 0 one error, and another in the others."""
    before = [whole(p.detach()).clone() for p in optimizer.param_groups[0]["params"]]
    with pytest.raises((RuntimeError, ValueError, TypeError), match=others if rank else at_fault):
        (step or optimizer.step)()
    after = [whole(p.detach()) for p in optimizer.param_groups[0]["params"]]
    assert all(map(torch.equal, before, after))


def what_one_process_cannot_do_no_process_does(rank):
    """A clear error in each of them, and nothing has changed."""
    over = mesh()
    fewer = r"5 to 6 take part in this step.*\(in this one, {}\)"
    failed = "process 0 could not take this step, so none takes it"
    for made, engine in ((Clipped, "auto"), (Clipped, "eager"), (rt.Adafactor, "auto")):
        params, both = pair(made, over, 0, engine=engine)
        for k in range(3):
            give(params, over, 0, k)
            for optimizer in both:
                optimizer.step()
        for _ in range(2):  # when the step is bound, and when it is not
            give(params, over, 0, 3)
            if rank == 0:
                params[0][2].grad = None
            refused(rank, both[0], fewer.format(5), fewer.format(6))
            give(params, over, 0, 3)
            params[0][3 * rank].grad = None
            refused(rank, both[0], *["gradients for different parameters"] * 2)
            give(params, over, 0, 3)
            if rank == 0:
                params[0][0].grad._local_tensor.untyped_storage().resize_(0)
            refused(rank, both[0], "has less memory", failed)
            give(params, over, 0, 3)
            if rank == 0:
                both[0].found_inf = torch.tensor(1.0)
            refused(rank, both[0], "0 to 6 take part", "0 to 6 take part")
            both[0].__dict__.pop("found_inf", None)
            signals = {} if rank else {"hessian": 1.0}
            refused(rank, both[0], "is not a signal", failed, partial(both[0].step, **signals))
            both[0].unbind()
        give(params, over, 0, 3)
        for optimizer in both:
            optimizer.step()
        assert same(*both), (made, engine)


def what_is_not_a_number_reaches_all(rank):
    over = mesh()
    optimizers = [rt.optimizer(core) for core in (of_lines, clip_by_global_norm(rules.sgd))]
    for made in optimizers:
        p = spread(torch.ones(4, 3), over, 0).requires_grad_()
        optimizer = made([p], engine="kernel")
        p.grad = spread(torch.ones(4, 3), over, 0)
        if rank == 0:
            p.grad._local_tensor[0, 0] = math.nan
        optimizer.step()
        assert p.to_local().isnan().all()


def parts_may_be_replaced(rank):
    """By torch, under the parameter that stays: the kernel steps the part that is there."""
    over = mesh()
    for made in (Clipped, rt.Adam):
        params, both = pair(made, over, 0)
        for k in range(4):
            give(params, over, 0, k)
            if k == 2:
                for p in params[0]:
                    p._local_tensor = p._local_tensor.clone()
            for optimizer in both:
                optimizer.step()
        assert same(*both), made


def four(rank):
    """Two dimensions of processes: what is spread over one, over the other, or over both."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    over = dist.device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "model"))

    def spread(whole, how):
        found = distribute_tensor(whole, over, how)
        found._local_tensor = (
            found._local_tensor.contiguous()
        )  # an older torch leaves some transposed
        return found

    ways = [
        ((6, 5), [Shard(0), Shard(1)]),
        ((6, 5), [Shard(0), Shard(0)]),
        ((5, 7), [Replicate(), Shard(0)]),
        ((3, 5), [Shard(1), Replicate()]),
        ((4, 3, 5), [Shard(0), Shard(2)]),
        ((4, 3, 5), [Shard(1), Shard(0)]),
        ((3,), [Shard(0), Replicate()]),
        ((1, 3), [Shard(0), Shard(1)]),
        ((4,), [Replicate(), Replicate()]),
    ]
    for core in (rules.adafactor, clip_by_global_norm(rules.adam), of_lines):
        mine = [way for way in ways if core is not of_lines or len(way[0]) > 1]
        torch.manual_seed(0)
        alone = [torch.randn(s).requires_grad_() for s, _ in mine]
        ours = [
            spread(q.detach().clone(), how).requires_grad_()
            for q, (_, how) in zip(alone, mine, strict=True)
        ]
        both = [rt.optimizer(core)(ps) for ps in (ours, alone)]
        for k in range(4):
            for j, (p, q, (_, how)) in enumerate(zip(ours, alone, mine, strict=True)):
                q.grad = torch.tensor(gradients(q.shape, k + 1, j)[k])
                p.grad = spread(q.grad, how)
            if k == 2 and rank == 2:
                ours[0].grad._local_tensor = ours[0].grad._local_tensor.t().contiguous().t()
            for optimizer in both:
                optimizer.step()
            assert (both[0].engine == "kernel") is (k != 2), both[0].engine
        assert same(*both), core.name
        if rank == 1:
            ours[2].grad = None
        with pytest.raises(RuntimeError, match="depending on the process"):
            both[0].step()


def test_the_kernel_steps_what_is_sharded(tmp_path):
    together(
        tmp_path,
        fifty_steps_by_the_kernel,
        steps_are_bound_once,
        gradients_that_are_missing_everywhere,
        what_is_not_a_number_reaches_all,
        parts_may_be_replaced,
    )


def test_processes_agree_on_each_step(tmp_path):
    together(
        tmp_path,
        one_process_cannot_use_the_kernel,
        one_process_binds_anew,
        what_one_process_cannot_do_no_process_does,
    )


def test_meshes_of_two_dimensions(tmp_path):
    together(tmp_path, four, world=4)


def test_one_process_alone_has_nobody_to_ask(tmp_path):
    together(tmp_path, alone_in_the_world, world=1)


def alone_in_the_world(rank):
    from torch.distributed.tensor import Shard, distribute_tensor

    over = dist.device_mesh.init_device_mesh("cpu", (1,))
    p = distribute_tensor(torch.ones(3, 2), over, [Shard(0)]).requires_grad_()
    p.grad = torch.ones_like(p)
    optimizer = Clipped([p])
    assert members.circle(optimizer) is None
    for _ in range(2):
        optimizer.step()
    assert isinstance(optimizer._bound, Bound)
    assert optimizer._bound.repeatable
    assert optimizer.engine == "kernel"
