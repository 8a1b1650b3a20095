"""Steps on NVIDIA's GPUs: through the driver, by ctypes, on torch's current stream.

`Driver` calls the driver and reports its errors by name; `Cuda` is the engine of one device, see devices.py.
Its steps are those of gpu.py.

Nothing here is imported before a tensor on a GPU is stepped.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ravine.engines.devices import Place, Unavailable
from ravine.engines.gpu import Step
from ravine.engines.kernel import Kernel
from ravine.engines.llvm.blocks import THREADS, Blocks, refusal
from ravine.engines.llvm.first import finishes_last
from ravine.engines.llvm.launches import launches
from ravine.engines.ptx import ARCHITECTURES, assembly
from ravine.rule import kept

__all__ = ["Cuda", "Driver", "DriverError", "engine"]

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...


class DriverError(RuntimeError):
    """An error of the driver; `name`: its name there."""

    def __init__(self, function: str, name: str):
        super().__init__(f"CUDA's driver: {function}: {name}")
        self.name = name


class Driver:
    """The driver's functions, by name. library: as ctypes loads it."""

    def __init__(self, library: Any = None):
        try:
            self.library = ctypes.CDLL(_LIBRARY) if library is None else library
            self.call("cuInit", ctypes.c_uint(0))
        except (OSError, AttributeError) as error:
            raise Unavailable(f"CUDA's driver cannot be loaded ({error})") from None
        except DriverError as error:
            raise Unavailable(str(error)) from None

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function; DriverError if it does not succeed."""
        status = getattr(self.library, function)(*arguments)
        if status:
            name = ctypes.c_char_p()
            self.library.cuGetErrorName(ctypes.c_int(status), ctypes.byref(name))
            raise DriverError(function, name.value.decode() if name.value else f"error {status}")


_drivers: list[Driver] = []


def engine(place: Place) -> Cuda:
    """The engine of a device. Raises Unavailable if there is none."""
    if not _drivers:
        _drivers.append(Driver())
    return Cuda(_drivers[0], place)


class Cuda:
    """The engine of one GPU, in its primary context, which is torch's."""

    name, has_scalars = "PTX", True

    def __init__(self, driver: Driver, place: Place):
        self.driver, self.place = driver, place
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._context = ctypes.c_void_p()
        try:
            driver.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(place.index))
            for value, attribute in ((major, _MAJOR), (minor, _MINOR)):
                which = ctypes.c_int(attribute)
                driver.call("cuDeviceGetAttribute", ctypes.byref(value), which, device)
            driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        except DriverError as error:
            raise Unavailable(str(error)) from None
        capability = 10 * major.value + minor.value
        fitting = [a for a in ARCHITECTURES if int(a.removeprefix("sm_")) <= capability]
        if not fitting:
            raise Unavailable(
                f"PTX is for compute capability 8.0 and later; this GPU has {major.value}.{minor.value}"
            )
        self.architecture = fitting[-1]
        self._late: list[int] = []

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the device's context that of the thread."""
        self.driver.call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self.driver.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def refusal(self, kernel: Kernel, dtypes: Sequence[str], stochastic: bool) -> str:
        """Why it cannot step a kernel, or ""."""
        return refusal(kernel, dtypes)

    def step(self, kernel: Kernel, *tensors: Any, **how: Any) -> Step:
        """A kernel bound to tensors; the arguments are those of :class:`Step`."""
        return Step(self, kernel, *tensors, **how)

    def functions(self, kernel: Kernel, dtypes: Sequence[str], stochastic: bool) -> dict[str, Any]:
        """The kernels of a module with the passes, loaded once."""

        def load() -> _Module:
            text = assembly(kernel, dtypes, stochastic, self.architecture)
            return _Module(
                self, text, launches(Blocks(kernel, tuple(dtypes), stochastic=stochastic))
            )

        return kept(kernel, ("module", self, tuple(dtypes), stochastic), load).functions

    def scalars(self, kernel: Kernel, dtypes: Sequence[str], stochastic: bool) -> dict[str, Any]:
        """The kernels of llvm/first.py, loaded once."""

        def load() -> _Module:
            text = assembly(kernel, dtypes, stochastic, self.architecture, scalars=True)
            last = finishes_last(Blocks(kernel, tuple(dtypes), stochastic=stochastic))
            return _Module(self, text, ["first", "put", *["finish"] * last])

        return kept(kernel, ("scalars", self, tuple(dtypes), stochastic), load).functions

    def arguments(self, *words: int) -> Any:
        """The arguments of a launch in the driver's form: words, of which `put` takes the last as one."""
        kept = (ctypes.c_int64 * len(words))(*words)
        at = ctypes.addressof(kept)
        pointers = (ctypes.c_void_p * 3)(at, at + 8, at + 16)
        pointers.kept = kept  # type: ignore[attr-defined]
        return pointers

    def captures(self) -> bool:
        """Whether what is queued on the stream is recorded for a CUDA graph."""
        captured, stream = ctypes.c_int(), ctypes.c_void_p(self.place.stream())
        self.driver.call("cuStreamIsCapturing", stream, ctypes.byref(captured))
        return bool(captured.value)

    def launch(self, function: Any, blocks: int, arguments: Any) -> None:
        """Queue a kernel, in the current context."""
        zero, one, threads = ctypes.c_uint(0), ctypes.c_uint(1), ctypes.c_uint(THREADS)
        stream = ctypes.c_void_p(self.place.stream())
        self.driver.call(
            "cuLaunchKernel", function, ctypes.c_uint(blocks), one, one, threads, one, one, zero,
            stream, arguments, None,
        )  # fmt: skip

    def allocate(self, size: int) -> int:
        """Allocate bytes of the device's memory; return their address."""
        address = ctypes.c_uint64()
        while self._late:
            self.free(self._late.pop())
        with self.current():
            self.driver.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        """Free memory, when all work on the device that may use it is done; later, if this happens during a
        capture, which it would end.
        """
        with self.current():
            if self.captures():
                self._late.append(address)
            else:
                self.driver.call("cuMemFree_v2", ctypes.c_uint64(address))

    def write(self, address: int, content: bytes) -> None:
        """Copy to the device, on the stream. The host's memory may change as soon as this returns."""
        with self.current():
            self.copy_in(address, content, len(content))

    def copy_in(self, address: int, source: Any, size: int) -> None:
        """The same of memory of the host, in the current context."""
        to, stream = ctypes.c_uint64(address), ctypes.c_void_p(self.place.stream())
        self.driver.call("cuMemcpyHtoDAsync_v2", to, source, ctypes.c_size_t(size), stream)

    def read(self, address: int, size: int) -> bytes:
        """Copy from the device, when the work queued on the stream is done."""
        content = ctypes.create_string_buffer(size)
        with self.current():
            self.copy_out(content, address, size)
        return content.raw

    def copy_out(self, target: Any, address: int, size: int) -> None:
        """The same to memory of the host, in the current context."""
        source, stream = ctypes.c_uint64(address), ctypes.c_void_p(self.place.stream())
        self.driver.call("cuMemcpyDtoHAsync_v2", target, source, ctypes.c_size_t(size), stream)
        self.driver.call("cuStreamSynchronize", stream)


class _Module:
    """Code that is loaded into a context, and unloaded with this object."""

    def __init__(self, engine: Cuda, text: str, names: Sequence[str]):
        driver, module = engine.driver, ctypes.c_void_p()
        with engine.current():
            driver.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(text.encode()))
            self.functions = {}
            for name in names:
                function = ctypes.c_void_p()
                driver.call(
                    "cuModuleGetFunction",
                    ctypes.byref(function),
                    module,
                    ctypes.c_char_p(name.encode()),
                )
                self.functions[name] = function
        weakref.finalize(self, _unload, engine, module).atexit = False


def _unload(engine: Cuda, module: Any) -> None:
    with engine.current():
        if not engine.captures():  # which it would end
            engine.driver.call("cuModuleUnload", module)
