"""Sharded matrices in turns of kernels and BLAS: each is put together, and computed with, in one process."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
from cases import gradients
from installed import SHARDS_ON_THE_CPU
from processes import gathers, mesh, params_of, same, together, whole
from torch import nn

import ravine.torch as rt
from ravine import RuleError, rule, rules, zeros
from ravine.modifiers import clip_by_global_norm
from ravine.ops import cholesky, matmul, mean, newton_schulz, norm, transpose
from ravine.torch.matrices import Stacks

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

SHAPES = [(5, 3), (1, 4), (3, 7), (2, 1), (4, 4), (5, 3)]
KERNELS = [(4, 2, 3, 2), (3, 5, 1, 2), (5, 3)]
AT_ONCE = clip_by_global_norm(rules.muon_jordan)


@rule(r=zeros(-1), c=zeros(-2))
def of_lines(p, g, r, c, *, lr=0.05):
    """Rows, columns and numbers on both sides of matrices."""
    r, c = 0.9 * r + mean(g * g, axis=-1), 0.9 * c + mean(abs(g), axis=-2)
    u = newton_schulz(g / (1 + r) / (1 + c), 2.0, -1.5, 0.5)
    square = matmul(u, transpose(u))
    longest = norm(square, axis=-1)  # by the library: one number for each row
    return p - lr * (u + longest) / (1 + norm(u) + norm(square)), r, c


@rule
def whitened(p, g, *, lr=0.1):
    """A decomposition that fails if a number of a matrix is unknown."""
    return p - lr * matmul(cholesky(matmul(g, transpose(g)) + 1e-3 * matmul(p, transpose(p))), g)


def spread(x, over, *dims):
    """X, sharded along one dimension for each dimension of the mesh, or not sharded where that is None."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    how = [Replicate() if dim is None else Shard(dim % x.ndim) for dim in dims]
    made = distribute_tensor(x.detach().clone(), over, how)
    made._local_tensor = made._local_tensor.contiguous()  # an older torch leaves some transposed
    return made


class Pair:
    """The same parameters sharded, and in one process alone, with an optimizer each."""

    def __init__(self, made, over, dims, shapes=SHAPES, dtype=torch.float64, groups=None, **how):
        torch.manual_seed(0)
        self.over, self.dims = over, [dims] * len(shapes) if type(dims) is tuple else dims
        self.alone = [torch.randn(s, dtype=dtype).requires_grad_() for s in shapes]
        self.ours = [
            spread(q, over, *its).requires_grad_()
            for q, its in zip(self.alone, self.dims, strict=True)
        ]
        grouped = groups or (lambda params: params)
        self.both = [made(grouped(ps), **how) for ps in (self.ours, self.alone)]

    def step(self, k, missing=()):
        """A step with new gradients, those of step k, except for some tensors."""
        self.give(k, missing)
        for optimizer in self.both:
            optimizer.step()

    def give(self, k, missing=()):
        for j, (p, q) in enumerate(zip(self.ours, self.alone, strict=True)):
            p.grad = q.grad = None
            if j not in missing:
                q.grad = torch.tensor(gradients(q.shape, k + 1, j)[k]).to(q.dtype)
                p.grad = spread(q.grad, self.over, *self.dims[j])

    @property
    def engine(self):
        return self.both[0].engine

    def same(self, bound=1e-12):
        return same(*self.both, bound)


def rules_equal_those_of_one_process(rank):
    """Sums in kernels on both sides of a library, several turns, state in squares, random matrices."""
    over = mesh()
    every = [rules.muon, AT_ONCE, of_lines, rules.normuon, rules.shampoo, rules.soap, rules.dion]
    for made in every:
        for dim in (0, -1):
            pair = Pair(rt.optimizer(made), over, (dim,), engine="kernel")
            for k in range(12):
                pair.step(k)
            assert pair.same(), (made.name, dim)
            assert pair.engine.startswith("kernel, matrices by BLAS: ")
            assert pair.both[0]._bound.repeatable


def kernels_of_convolutions_are_matrices(rank):
    """Sharded along any dimension: those that a matrix's columns are made of, and those of a batch."""
    over = mesh()
    for made in (rules.muon_jordan, rules.muon.seeing("stack"), rules.shampoo.seeing("matrix")):
        for dim in range(4):
            dims = [(dim,), (dim,), (dim % 2,)]
            pair = Pair(rt.optimizer(made), over, dims, KERNELS, engine="kernel")
            for k in range(4):
                pair.step(k)
            assert pair.same(), (made.name, dim)


def bits_are_those_of_one_process(rank):
    """Where the matrices are so large that each is multiplied alone. Half of them in each process."""
    shapes = [(300, 260), (256, 300), (300, 260)]
    for made, dtype in ((rt.Muon, torch.float32), (rt.Muon, torch.bfloat16)):
        pair = Pair(made, mesh(), (0,), shapes, dtype, engine="kernel")
        for k in range(3):
            pair.step(k)
        for p, q in zip(pair.ours, pair.alone, strict=True):
            assert torch.equal(whole(p), q)
    pair = Pair(rt.optimizer(rules.muon), mesh(), (0,), [(8, 40), (40, 8)], gram=True)
    for k in range(3):
        pair.step(k)
    assert pair.same()
    assert "on Gram matrices" in pair.engine


def what_is_complex_is_pairs(rank):
    if not gathers(torch.complex128):
        return
    made = rt.optimizer(rules.muon)
    pair = Pair(made, mesh(), (0,), [(4, 3), (5, 2)], torch.complex128, engine="kernel")
    for k in range(4):
        pair.step(k)
    assert pair.same()


def counted(optimizer, step):
    """Of how many matrices of which shapes this process has taken the polynomials."""
    real, seen = Stacks.newton_schulz, []

    def noted(self, x, *numbers):
        seen.extend([tuple(x.shape[1:])] * len(x))
        return real(self, x, *numbers)

    Stacks.newton_schulz = noted
    try:
        step()
    finally:
        Stacks.newton_schulz = real
    return sorted(seen)


def each_matrix_is_computed_with_once(rank):
    """A large one here, the small ones there; whatever is missing, what is left is divided."""
    from torch.distributed.tensor import Replicate

    over, shapes = mesh(), [(2, 3), (6, 8), (3, 2), (4, 4)]
    pair = Pair(rt.optimizer(rules.muon), over, (0,), shapes)
    large, small = [(6, 8)], sorted([(2, 3), (3, 2), (4, 4)])
    for k, missing in enumerate([(), (), (1,), (), (0, 2, 3)]):
        pair.give(k, missing)
        mine = counted(pair.both[0], pair.both[0].step)
        left = [(2, 3), (3, 2)] if rank else [(4, 4)]
        assert mine == {1: left, 3: [] if rank else large}.get(
            len(missing), small if rank else large
        )
        pair.both[1].step()
    assert pair.same()
    [p] = pair.ours[:1]
    copy = p.redistribute(placements=[Replicate()]).detach().requires_grad_()
    copy.grad = torch.ones_like(copy)
    optimizer = rt.optimizer(rules.muon)([copy])
    assert counted(optimizer, optimizer.step) == [(2, 3)]  # each process has it whole


def messages_of_a_step(rank):
    """They are as many and as long as in the step before: two to agree, one there and one back."""
    sent, names = [], ("all_gather", "all_to_all_single", "broadcast")
    real = {name: getattr(dist, name) for name in names}

    def noted(name, *args, **how):
        tensor = args[1] if name == "all_gather" else args[0]
        sent.append((name, tensor.numel()))
        return real[name](*args, **how)

    for name in names:
        setattr(dist, name, partial(noted, name))
    try:
        for made, others in ((rules.muon, 0), (rules.shampoo, 2)):
            pair = Pair(rt.optimizer(made), mesh(), (0,), [(6, 4), (5, 4)])
            steps = []
            for k in range(3):
                pair.give(k)
                sent.clear()
                pair.both[0].step()
                steps.append([*sent])
            first, then, last = ([name for name, _ in step] for step in steps)
            assert first[:1] + first[3:] == then[:1] + then[3:]
            assert steps[1] == steps[2] or others
            way = ["all_gather", "all_to_all_single", "all_gather", "all_to_all_single"]
            assert then[:4] == last[:4] == way
            assert set(then[4:]) <= {"broadcast"}
            assert bool(then[4:]) is bool(others)
    finally:
        for name in names:
            setattr(dist, name, real[name])


def gradients_may_be_missing(rank):
    """Tensors have counts of their own, so what is due every few steps is due at other times."""
    over = mesh()

    def grouped(params):
        return [{"params": params[::2]}, {"params": params[1::2], "lr": 0.02}]

    for made in (rules.muon_jordan, rules.shampoo, rules.soap, AT_ONCE):
        pair = Pair(rt.optimizer(made), over, (0,), groups=grouped)
        for k in range(14):
            pair.step(k, [] if k < 2 else [i for i in range(6) if (i + k * k) % 3 == 0])
            if k == 9:
                pair.both[0].unbind() if rank else None
        assert pair.same(1e-11), made.name
        pair.step(14, range(6))
        assert pair.same(1e-11), made.name


def one_process_cannot_use_the_kernel(rank):
    """All of them step by calls then, say why, and use kernels again."""
    for made in (rules.muon, rules.shampoo):
        pair = Pair(rt.optimizer(made), mesh(), (0,))
        for k in range(6):
            pair.give(k)
            odd = k in (0, 3)
            if odd and rank == 0:
                part = pair.ours[0].grad._local_tensor
                pair.ours[0].grad._local_tensor = part.t().contiguous().t()
            for optimizer in pair.both:
                optimizer.step()
            assert ("eager for" in pair.engine) is odd
            why = "not contiguous" if rank == 0 else "stepped eagerly in another process"
            assert (why in pair.engine) is odd
        assert pair.same(), made.name


def what_the_owner_cannot_do_no_process_does(rank):
    """The first matrix is here, the second there; whoever fails, both raise, and nothing has changed."""
    for fails in (0, 1):
        pair = Pair(rt.optimizer(whitened), mesh(), (0,), [(4, 6), (4, 6)])
        for k in range(2):
            pair.step(k)
        for again in range(2):  # when the step is bound, and when it is not
            pair.give(2)
            pair.ours[fails].grad._local_tensor[:, 0] = torch.nan
            before = [whole(p.detach()).clone() for p in pair.ours]
            error, text = (
                (RuleError, "cholesky")
                if rank == fails
                else (RuntimeError, f"process {fails} could not take this step, so none takes it")
            )
            with pytest.raises(error, match=text):
                pair.both[0].step()
            assert all(map(torch.equal, before, (whole(p.detach()) for p in pair.ours)))
            if again == 0:
                pair.both[0].unbind()
        for k in range(2, 5):
            pair.step(k)
        assert pair.same()


def what_differs_between_processes_is_refused(rank):
    """Messages of other lengths are never sent: here, of state in another dtype."""
    pair = Pair(rt.optimizer(rules.muon), mesh(), (0,), dtype=torch.float32)
    pair.step(0)
    if rank == 0:
        its = pair.both[0].state[pair.ours[2]]
        its["m"] = its["m"].double()
    pair.give(1)
    with pytest.raises(RuntimeError, match="different rules, shapes, dtypes or placements"):
        pair.both[0].step()


def four(rank):
    """Two dimensions of processes: what is sharded over one, over the other, over both, or over none."""
    over = dist.device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "model"))
    dims = [(0, 1), (1, 0), (0, 0), (None, 0), (1, None), (None, None), (0, 1)]
    shapes = [(6, 5), (5, 7), (7, 2), (5, 4), (3, 4), (2, 2), (1, 3)]
    for made in (AT_ONCE, rules.shampoo, rules.soap):
        pair = Pair(rt.optimizer(made), over, dims, shapes, engine="kernel")
        for k in range(6):
            pair.step(k, [2, 3] if k == 4 else [])
        assert pair.same(1e-11), made.name
    for fails in (0, 3):
        pair = Pair(rt.optimizer(whitened), over, [(0, 1)] * 4, [(4, 6)] * 4)
        pair.give(0)
        pair.ours[fails].grad._local_tensor[0, 0] = torch.nan
        text = "cholesky" if rank == fails else f"process {fails} could not take this step"
        with pytest.raises((RuntimeError, RuleError), match=text):
            pair.both[0].step()


def layers_may_be_parallel_and_sharded(rank):
    """Tensor parallel, and each part by fully_shard: along another dimension, or chunks of chunks."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8, bias=False), nn.Tanh(), nn.Linear(8, 4, bias=False))

    over = dist.device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "model"))
    ours, alone = model(), model()
    parallelize_module(ours, over["model"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    fully_shard(ours, mesh=over["data"])
    both = [rt.optimizer(of_lines)(net.parameters(), engine="kernel") for net in (ours, alone)]
    for k in range(4):
        x = torch.tensor(gradients((6, 4), 4)[k])
        for net, optimizer in zip((ours, alone), both, strict=True):
            optimizer.zero_grad()
            (net(x) - x).square().mean().backward()
            optimizer.step()
    kinds = {type(place).__name__ for place in ours[0].weight.placements}
    assert "_StridedShard" in kinds
    assert same(*both)


class Net(nn.Module):
    """Some matrices."""

    def __init__(self, dim=0):
        super().__init__()
        torch.manual_seed(0)
        self.size = dist.get_world_size()
        self.over = dist.device_mesh.init_device_mesh("cpu", (self.size,))
        made = [spread(torch.randn(s), self.over, dim) for s in SHAPES]
        self.matrices = nn.ParameterList(map(nn.Parameter, made))
        self.dim = dim

    def train_for(self, optimizer, steps):
        for k in steps:
            for j, p in enumerate(self.matrices):
                p.grad = spread(torch.tensor(gradients(p.shape, k + 1, j)[k]), self.over, self.dim)
            optimizer.step()


def state_of(net, optimizer):
    from torch.distributed.checkpoint import state_dict as states

    return dict(zip(("net", "optimizer"), states.get_state_dict(net, optimizer), strict=True))


RESUMED = (rules.muon, rules.shampoo, rules.soap)


def a_checkpoint_is_saved(rank, folder):
    from torch.distributed import checkpoint

    for made in RESUMED:
        net = Net()
        optimizer = rt.optimizer(made)(net.parameters())
        net.train_for(optimizer, range(7))
        state = optimizer.state[net.matrices[0]]
        assert all(
            state[slot].placements == net.matrices[0].placements
            for slot in state
            if slot != "step" and not made.slots[slot].matrix
        )
        checkpoint.save(state_of(net, optimizer), checkpoint_id=f"{folder}/{made.name}")


def another_number_of_processes_goes_on(rank, folder):
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint import state_dict as states

    for made in RESUMED:
        net = Net(-1)
        optimizer = rt.optimizer(made)(net.parameters(), engine="kernel")
        loaded = state_of(net, optimizer)
        checkpoint.load(loaded, checkpoint_id=f"{folder}/{made.name}")
        states.set_state_dict(
            net,
            optimizer,
            model_state_dict=loaded["net"],
            optim_state_dict=loaded["optimizer"],
        )
        net.train_for(optimizer, range(7, 14))
        torch.manual_seed(0)
        alone = [torch.randn(s).requires_grad_() for s in SHAPES]
        whole_run = rt.optimizer(made)(alone)
        for k in range(14):
            for j, q in enumerate(alone):
                q.grad = torch.tensor(gradients(q.shape, k + 1, j)[k])
            whole_run.step()
        assert len(params_of(optimizer)) == len(alone)
        assert same(optimizer, whole_run, 1e-11), made.name


def test_sharded_matrices_step_by_turns(tmp_path):
    together(
        tmp_path,
        rules_equal_those_of_one_process,
        kernels_of_convolutions_are_matrices,
        bits_are_those_of_one_process,
        what_is_complex_is_pairs,
    )


def test_processes_divide_the_work_and_agree(tmp_path):
    together(
        tmp_path,
        each_matrix_is_computed_with_once,
        messages_of_a_step,
        gradients_may_be_missing,
        one_process_cannot_use_the_kernel,
        what_the_owner_cannot_do_no_process_does,
        what_differs_between_processes_is_refused,
    )


def test_meshes_of_two_dimensions(tmp_path):
    cases = [layers_may_be_parallel_and_sharded] if SHARDS_ON_THE_CPU else []
    together(tmp_path, four, *cases, world=4)


def test_checkpoints_go_on_with_other_processes(tmp_path):
    together(tmp_path, a_checkpoint_is_saved)
    (tmp_path / "init").unlink()
    together(tmp_path, another_number_of_processes_goes_on, world=3)
