"""Tests in separate processes, over gloo: a failure or a hang in any of them fails the test."""

import os
import time
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from cases import error

WORLD, LIMIT = 2, 300  # processes, and the seconds after which they are said to hang


def together(folder, *cases, world=WORLD):
    """Run the cases in all processes, and raise what one of them raised."""
    done = mp.get_context("spawn").Barrier(world)
    context = mp.spawn(work, (str(folder), cases, world, done), world, join=False)
    end = time.monotonic() + LIMIT
    try:
        while not context.join(max(0.1, end - time.monotonic())):
            assert time.monotonic() < end, "the processes hang"
    finally:
        for process in context.processes:
            process.kill()


def work(rank, folder, cases, world, done):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/init",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=30),
    )
    for case in cases:
        start = time.monotonic()
        try:
            case(*(rank, folder)[: case.__code__.co_argcount])
        except Exception as e:
            raise RuntimeError(f"{case.__name__}, in process {rank}") from e
        print(f"{case.__name__}: {time.monotonic() - start:.1f} s", flush=True)
    # Now and then gloo's groups never finish closing, or a thread of theirs aborts the interpreter's
    # end. So the processes leave without closing them, once none needs another any more.
    done.wait(LIMIT)
    os._exit(0)


def mesh():
    return dist.device_mesh.init_device_mesh("cpu", (WORLD,))


def spread(x, over, dim):
    """X as a DTensor, each process with its part along the dimension: 3 rows are 2 and 1."""
    from torch.distributed.tensor import DTensor, Shard

    parts = [*x.chunk(WORLD, dim), x.narrow(dim, 0, 0)]  # one row leaves the second process none
    part = parts[dist.get_rank()].clone(memory_format=torch.contiguous_format)
    return DTensor.from_local(part, over, [Shard(dim)], shape=x.shape, stride=x.stride())


def whole(x):
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def gathers(dtype):
    """Whether this torch's gloo can gather numbers of a dtype."""
    try:
        whole(spread(torch.ones(2, dtype=dtype), mesh(), 0))
    except RuntimeError:
        return False
    return True


def same(ours, alone, bound=1e-12):
    """Whether an optimizer's parameters and state, gathered, are those of one process alone."""
    pairs = list(zip(params_of(ours), params_of(alone), strict=True))
    for p, q in pairs:
        mine, theirs = ours.state[p], alone.state[q]
        assert mine.keys() == theirs.keys()
        # Checkpoints of rules that do not count have no count; others show in p where it is wrong.
        pairs += [(mine[key], theirs[key]) for key in theirs if key != "step"]
    return all(error(*map(real, pair)) <= bound for pair in pairs)


def real(x):
    x = whole(x)
    return torch.view_as_real(x.detach()) if isinstance(x, torch.Tensor) and x.is_complex() else x


def params_of(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]
