"""`offload=True`: parameters on a device are stepped on the host, where their state is.

Each has a mirror on the host: a copy of the parameter, which the engines step like any parameter there, and
a buffer for its gradient. A step queues the copies of all gradients, in buckets; as soon as those of a bucket
have arrived, its tensors are stepped and copied back, while the next gradients arrive. So the results are
those of the same step on the CPU. All that the rest of the front knows is that a member has a mirror.

The mirror of a parameter in half precision is in float32, and belongs to the state, so that checkpoints have
it. It is valid wherever it rounds to the parameter; wherever it does not, somebody has changed the parameter,
which then counts.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.nn.parameter import is_lazy

from ravine.engines.threads import after_fork
from ravine.torch.copies import Copies, copies_for
from ravine.torch.memory import apart
from ravine.torch.sharded import is_spread

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["BUCKET", "MASTER", "Mirror", "Offload", "in_buckets", "is_away"]

BUCKET = 1 << 26
"""The number of bytes of parameters that are stepped while the next gradients arrive, at least."""

MASTER = "master_param"
"""The state's key for the mirror of a parameter in half precision."""

T = TypeVar("T")
_offloads: weakref.WeakSet[Offload] = weakref.WeakSet()
_HALVES = (torch.bfloat16, torch.float16)
_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def _after_fork() -> None:
    for one in _offloads:
        one.lock = threading.RLock()


after_fork(_after_fork)


def is_away(p: torch.Tensor) -> bool:
    """Whether a parameter is on a device, so that it can be offloaded."""
    return p.device.type != "cpu"


class Mirror:
    """The host's side of a parameter on a device.

    p: what is stepped in its place. grad: its gradient, which may be read after `wait`; None if it has none.
    """

    def __init__(self, of: torch.Tensor, p: torch.Tensor, copies: Copies) -> None:
        self.of, self.p, self.copies = of, p, copies
        self.grad: torch.Tensor | None = None
        self.mark: Any = None
        self.form = _form(of)
        self._seen: Any = None  # of the parameter, as it was when both were alike
        self._buffer: torch.Tensor | None = None
        self._staging: torch.Tensor | None = None

    @property
    def size(self) -> int:
        """The number of bytes that a bucket counts for it."""
        return self.of.numel() * self.of.element_size()

    def follow(self) -> None:
        """Take over the parameter, if somebody has changed it."""
        if self._seen == (now := _facts(self.of)):
            return
        if self.p.dtype is self.of.dtype:
            self.p.copy_(self.of.detach())
        else:
            theirs = self.of.detach().to("cpu")
            self.p.copy_(torch.where(self.p.to(theirs.dtype) == theirs, self.p, theirs))
        self._seen = now

    def fetch(self) -> bool:
        """Queue the copy of the gradient; return whether there is one to wait for."""
        g, self.mark = self.of.grad, None
        if g is None or type(g) not in _PLAIN or g.layout is not torch.strided:
            self.grad = None if g is None else g.detach().to("cpu")
            return False
        like = self.p if g.shape == self.p.shape else g
        buffer = self._buffer
        if buffer is None or buffer.shape != g.shape or buffer.dtype is not g.dtype:
            buffer = self._buffer = self.copies.buffer(like, g.dtype)
        self.copies.to_host(buffer, g.detach())
        self.grad = buffer
        return True

    def wait(self) -> None:
        """Wait for the gradient."""
        if self.mark is not None:
            self.copies.wait(self.mark)
            self.mark = None

    def send(self) -> None:
        """Queue the copy of the new parameter to the device. The gradient is lost if it is in half
        precision: its buffer is used.
        """
        source = self.p
        if source.dtype is not self.of.dtype:
            source = self._in_half()
            source.copy_(self.p)
        self.copies.to_device(self.of, source)
        self._seen = _facts(self.of)

    def put(self) -> None:
        """Copy the new parameter to the device at once, and keep the gradient."""
        self.of.copy_(self.p)
        self._seen = _facts(self.of)

    def _in_half(self) -> torch.Tensor:
        """A buffer for the parameter in its own dtype."""
        for x in (self._buffer, self._staging):
            if x is not None and x.dtype is self.of.dtype and x.shape == self.of.shape:
                return x
        self._staging = self.copies.buffer(self.p, self.of.dtype)
        return self._staging


class Offload:
    """The mirrors of an optimizer's parameters. lock: held during a step."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._mirrors: dict[torch.Tensor, Mirror] = {}
        self._copies: dict[torch.device, Copies] = {}
        _offloads.add(self)

    def mirror(self, optimizer: RuleOptimizer, p: torch.Tensor) -> Mirror | None:
        """The mirror of a parameter, equal to it; None if it is on the host itself.

        Raises ValueError for a parameter that cannot be offloaded.
        """
        if not is_away(p) or is_lazy(p):
            return None
        self.check(p, type(optimizer).__name__)
        if p.is_meta:
            raise ValueError(
                f"{type(optimizer).__name__}: offload=True with a parameter of shape {tuple(p.shape)} on the "
                "meta device is not supported: it has no values; use to_empty() first"
            )
        with torch.no_grad(), torch.inference_mode(False):
            found = self._mirrors.get(p)
            if found is None or not _is_valid(found, optimizer, p):
                found = self._mirrors[p] = self._made(optimizer, p)
                optimizer.unbind()
            found.follow()
        return found

    def check(self, p: torch.Tensor, where: str) -> None:
        """Raise ValueError, beginning with `where`, for a parameter of a class that cannot be offloaded."""
        if not is_away(p) or is_lazy(p) or type(p) in _PLAIN:
            return
        if is_spread(p):
            raise ValueError(
                f"{where}: offload=True is not supported with a DTensor on {p.device.type}; "
                "fully_shard(..., offload_policy=CPUOffloadPolicy()) keeps the shards, their gradients and "
                "their state on the CPU, where kernels step them without offload"
            )
        raise ValueError(
            f"{where}: offload=True is not supported with a parameter of class {type(p).__name__}; it must "
            "be a torch.Tensor or an nn.Parameter"
        )

    def pictured(
        self, optimizer: RuleOptimizer, p: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What will be stepped for a parameter, and its gradient, in tensors that need not have values."""
        if not is_away(p):
            return p, p.grad
        found = self._mirrors.get(p)
        if found is not None:
            return found.p, found.grad
        return torch.empty_like(p, dtype=_dtype(optimizer, p), device="cpu"), None

    def describe(self, params: Sequence[torch.Tensor]) -> str:
        """How many of these parameters are offloaded, for `optimizer.engine`."""
        away = [p for p in params if not is_lazy(p) and is_away(p)]
        if not away:
            return "nothing to offload: all tensors are on the CPU"
        remarks = dict.fromkeys(self._copies_of(p.device).remark for p in away if not p.is_meta)
        return "; ".join(
            [f"{len(away)} tensor{'s' * (len(away) > 1)} offloaded", *filter(None, remarks)]
        )

    @contextmanager
    def stepping(self, optimizer: RuleOptimizer) -> Iterator[None]:
        """Within this context, a step is taken: gradients are on their way to the host, and the device
        will continue with the new parameters.
        """
        with self.lock, torch.no_grad():
            optimizer.forget_trial()
            known, self._mirrors = self._mirrors, {}
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p in known:
                        self._mirrors[p] = known[p]
                    if p.grad is not None or p.requires_grad or p in known:
                        self.mirror(optimizer, p)
            if {*map(id, known.values())} != {*map(id, self._mirrors.values())}:
                self._check_apart(optimizer)
            used = {id(m.copies): m.copies for m in self._mirrors.values()}
            for copies in used.values():
                copies.begin()
                _fetch([m for m in self._mirrors.values() if m.copies is copies], copies)
            try:
                yield
            finally:
                for copies in used.values():
                    copies.end()

    def _check_apart(self, optimizer: RuleOptimizer) -> None:
        if not apart([p.detach() for p in self._mirrors]):
            raise ValueError(
                f"{type(optimizer).__name__}: offload=True is not supported with parameters that share "
                "memory, as two views of a tensor do: each has its own copy on the host"
            )

    def _copies_of(self, device: torch.device) -> Copies:
        if device not in self._copies:
            self._copies[device] = copies_for(device)
        return self._copies[device]

    def _made(self, optimizer: RuleOptimizer, p: torch.Tensor) -> Mirror:
        copies, dtype = self._copies_of(p.device), _dtype(optimizer, p)
        if dtype is p.dtype:
            return Mirror(p, copies.buffer(p.detach(), dtype), copies)
        kept: Any = (optimizer.state.get(p) or {}).get(MASTER)
        if not _is_master(kept, p):
            # It is never copied to the device itself, so it need not be in pinned memory.
            kept = torch.empty_like(p.detach(), dtype=dtype, device="cpu").copy_(p.detach())
            optimizer.state[p][MASTER] = kept
        return Mirror(p, kept, copies)


def _fetch(mirrors: Sequence[Mirror], copies: Copies) -> None:
    """Queue the copies of all gradients, with a mark after each bucket."""
    for bucket in in_buckets([(m, m.size) for m in mirrors]):
        arriving = [m for m in bucket if m.fetch()]
        mark = copies.record() if arriving else None
        for m in arriving:
            m.mark = mark


def in_buckets(sized: Iterable[tuple[T, int]]) -> list[list[T]]:
    """Things with their sizes in bytes, in groups of BUCKET bytes or a little more."""
    buckets: list[list[T]] = []
    room = 0
    for x, size in sized:
        if room <= 0:
            buckets.append([])
            room = BUCKET
        buckets[-1].append(x)
        room -= size
    return buckets


def _dtype(optimizer: RuleOptimizer, p: torch.Tensor) -> torch.dtype:
    """The dtype of a parameter's mirror; stochastic rounding does without one in float32."""
    return torch.float32 if p.dtype in _HALVES and not optimizer.stochastic else p.dtype


def _is_valid(mirror: Mirror, optimizer: RuleOptimizer, p: torch.Tensor) -> bool:
    """Whether a mirror still has the form of the parameter, and is the state's if it has to be."""
    if mirror.form != _form(p):
        return False
    return mirror.p.dtype is p.dtype or (optimizer.state.get(p) or {}).get(MASTER) is mirror.p


def _is_master(x: Any, p: torch.Tensor) -> bool:
    """Whether something from a checkpoint can be the mirror of a parameter in half precision."""
    return (
        type(x) is torch.Tensor
        and x.device.type == "cpu"
        and x.dtype is torch.float32
        and x.shape == p.shape
        and x.layout is torch.strided
        and x.stride() == torch.empty_like(p.detach(), device="meta").stride()
        and not (x.requires_grad or x.is_inference())
    )


def _form(p: torch.Tensor) -> Any:
    return p.shape, p.stride(), p.dtype, p.device


def _facts(p: torch.Tensor) -> Any:
    """What changes if somebody changes a parameter; never the same where torch does not count that."""
    return object() if p.is_inference() else (p._version, p.data_ptr())
