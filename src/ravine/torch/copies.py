"""Copies between a device and the host, queued beside what the device computes.

A step calls `begin`, queues copies to the host, waits for some of them, queues copies to the device, and
calls `end`:

    copies.begin()
    copies.to_host(buffer, gradient)
    mark = copies.record()
    copies.wait(mark)               # now the buffer may be read
    copies.to_device(parameter, buffer)
    copies.end()                    # what the device computes next sees the new parameter

A buffer must not be written between a `to_device` from it and the next `wait` for a copy that was queued
after `end`: only then has it surely been read.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from ravine.engines.devices import KINDS

__all__ = ["Blocking", "Copies", "Streams", "copies_for"]


class Copies(Protocol):
    """The copies between the host and one device.

    remark: why they do not overlap with anything, or "".
    """

    remark: str

    def buffer(self, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Memory of the host that copies can use, in the shape and the layout of a tensor."""

    def begin(self) -> None:
        """Let copies that are queued from now on come after what the device has been given to compute."""

    def to_host(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Queue a copy to the host."""

    def to_device(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Queue a copy to the device."""

    def record(self) -> Any:
        """A mark after the copies to the host that have been queued so far."""

    def wait(self, mark: Any) -> None:
        """Wait until the copies before a mark have been made."""

    def end(self) -> None:
        """Let what the device is given to compute from now on come after the copies to it."""


class Streams:
    """Copies on two streams of an accelerator, one for each direction, from and to pinned memory.

    module: torch.cuda, or another module with its functions.
    """

    remark = ""

    def __init__(self, module: Any, device: torch.device) -> None:
        self._module, self._device = module, device
        self._down, self._up = module.Stream(device), module.Stream(device)

    def buffer(self, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Pinned memory: copies from and to other memory are not asynchronous."""
        return torch.empty_like(like, dtype=dtype, device="cpu", pin_memory=True)

    def begin(self) -> None:
        """See :class:`Copies`."""
        now = self._module.current_stream(self._device)
        self._down.wait_stream(now)
        self._up.wait_stream(now)

    def to_host(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """See :class:`Copies`."""
        self._copy(self._down, target, source)

    def to_device(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """See :class:`Copies`."""
        self._copy(self._up, target, source)

    def _copy(self, stream: Any, target: torch.Tensor, source: torch.Tensor) -> None:
        if target.dtype is not source.dtype or target.stride() != source.stride():
            target.copy_(source)  # torch needs memory for it, which belongs to the current stream
            return
        with self._module.stream(stream):
            target.copy_(source, non_blocking=True)

    def record(self) -> Any:
        """See :class:`Copies`."""
        return self._down.record_event()

    def wait(self, mark: Any) -> None:
        """See :class:`Copies`."""
        mark.synchronize()

    def end(self) -> None:
        """See :class:`Copies`."""
        self._module.current_stream(self._device).wait_stream(self._up)


class Blocking:
    """Copies that have been made when the call returns, for devices without streams."""

    def __init__(self, device: torch.device) -> None:
        self.remark = f"copies do not overlap on {device.type}"

    def buffer(self, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Ordinary memory."""
        return torch.empty_like(like, dtype=dtype, device="cpu")

    def to_host(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy to the host."""
        target.copy_(source)

    def to_device(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy to the device."""
        target.copy_(source)

    def begin(self) -> None:
        """Nothing has to be waited for."""

    def record(self) -> None:
        """Nothing has to be waited for."""

    def wait(self, mark: None) -> None:
        """Nothing has to be waited for."""

    def end(self) -> None:
        """Nothing has to be waited for."""


def copies_for(device: torch.device) -> Copies:
    """The copies between the host and a device."""
    if device.type in KINDS:
        return Streams(getattr(torch, device.type), device)
    return Blocking(device)
