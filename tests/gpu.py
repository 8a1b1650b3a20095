"""A stand-in for CUDA's driver: device memory is on the host, and the passes' own IR runs there.

The text that is loaded is PTX. What runs is the IR that it was made of, compiled for this computer with
`entry_in_turn` in place of the entry for the GPU: one thread plays all threads, phase by phase.

While it captures, launches are recorded with their arguments, and what a capture does not allow is an error.
`replay` runs them.
"""

import ctypes
from contextlib import contextmanager
from unittest import mock

import llvmlite.binding as llvm
import torch

from ravine.engines import compiler, cuda, devices
from ravine.engines.llvm import first
from ravine.engines.llvm.blocks import Blocks, shared_words
from ravine.engines.llvm.entries import entry_in_turn
from ravine.engines.llvm.launches import text
from ravine.torch import places, stepping

ERRORS = {
    1: b"CUDA_ERROR_INVALID_VALUE",
    2: b"CUDA_ERROR_OUT_OF_MEMORY",
    100: b"CUDA_ERROR_NO_DEVICE",
    101: b"CUDA_ERROR_INVALID_DEVICE",
    201: b"CUDA_ERROR_INVALID_CONTEXT",
    209: b"CUDA_ERROR_NO_BINARY_FOR_GPU",
    400: b"CUDA_ERROR_INVALID_HANDLE",
    700: b"CUDA_ERROR_ILLEGAL_ADDRESS",
    900: b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
}
_Pass = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)


_Put = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
_CAPTURED = ("cuMemAlloc", "cuMemFree", "cuModuleLoadData", "cuModuleUnload", "cuStreamSynchronize")
_CAPTURED += ("cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync")  # of memory that is not pinned


class InTurn(compiler.Compiled):
    """The passes, or the kernels for scalars, compiled for this computer."""

    def __init__(self, kernel, dtypes, stochastic, scalars=False):
        variant = Blocks(kernel, tuple(dtypes), stochastic=stochastic)
        self.words = shared_words(variant)
        compiler.host()
        if scalars:
            printed = first.text(variant, entry_in_turn, first.put_in_turn)
        else:
            printed = text(variant, entry_in_turn)
        super().__init__(printed, 0, 0)


class Gpu:
    """What ctypes would load: functions by name. calls: their names, in turn.

    capability: of the devices, of which there are so many. fails: what functions return instead. threads:
    how many a block has here; the passes are printed for any number.
    """

    def __init__(self, capability=90, devices=2, threads=256):
        self.capability, self.devices, self.threads = capability, devices, threads
        self.calls, self.fails, self.launches = [], {}, []
        self.memory, self.loaded, self.codes = {}, {}, {}
        self.contexts, self.captures, self.names = [], False, {}
        self.graph = []

    def __getattr__(self, name):
        if not name.startswith("cu"):
            raise AttributeError(name)
        function = getattr(type(self), f"do_{name.removesuffix('_v2')}")

        def call(*arguments):
            self.calls.append(name)
            if name in self.fails:
                return self.fails[name]
            if self.captures and name.removesuffix("_v2") in _CAPTURED:
                return 900
            return function(self, *arguments) or 0

        return call

    def do_cuInit(self, flags):
        return 0 if self.devices else 100

    def do_cuGetErrorName(self, status, name):
        name._obj.value = ERRORS.get(status.value)
        return 0 if status.value in ERRORS else 1

    def do_cuDeviceGet(self, device, number):
        device._obj.value = number.value
        return 0 if number.value < self.devices else 101

    def do_cuDeviceGetAttribute(self, value, which, device):
        value._obj.value = {75: self.capability // 10, 76: self.capability % 10}[which.value]

    def do_cuDevicePrimaryCtxRetain(self, context, device):
        context._obj.value = 1000 + device.value

    def do_cuCtxPushCurrent(self, context):
        self.contexts.append(context.value)

    def do_cuCtxPopCurrent(self, context):
        context._obj.value = self.contexts.pop()

    def _here(self):
        return 0 if self.contexts else 201

    def do_cuMemAlloc(self, address, size):
        block = ctypes.create_string_buffer(size.value + 16)
        address._obj.value = (ctypes.addressof(block) + 15) // 16 * 16
        self.memory[address._obj.value] = block, size.value, self.contexts[-1]
        return self._here()

    def do_cuMemFree(self, address):
        _, _, context = self.memory.pop(address.value)
        return 0 if self.contexts[-1] == context else 201

    def _holds(self, address, size):
        return any(
            at <= address and address + size <= at + whole and context == self.contexts[-1]
            for at, (_, whole, context) in self.memory.items()
        )

    def do_cuMemcpyHtoDAsync(self, to, source, size, stream):
        if not self._holds(to.value, size.value):
            return 1
        ctypes.memmove(to.value, source, size.value)
        return self._here()

    def do_cuMemcpyDtoHAsync(self, to, source, size, stream):
        if not self._holds(source.value, size.value):
            return 1
        ctypes.memmove(to, source.value, size.value)
        return self._here()

    def do_cuStreamSynchronize(self, stream):
        return self._here()

    def do_cuStreamIsCapturing(self, stream, status):
        status._obj.value = int(self.captures)
        return self._here()

    def do_cuModuleLoadData(self, module, image):
        ptx = image.value.decode()
        target = int(ptx.partition(".target sm_")[2][:2])
        if target > self.capability:
            return 209
        module._obj.value = 1 + len(self.loaded)
        self.loaded[module._obj.value] = ptx, self.contexts[-1]
        return self._here()

    def do_cuModuleUnload(self, module):
        self.loaded.pop(module.value, None)

    def do_cuModuleGetFunction(self, function, module, name):
        ptx, _ = self.loaded[module.value]
        if f".entry {name.value.decode()}(" not in ptx:
            return 1
        function._obj.value = 1 + len(self.names)
        self.names[function._obj.value] = module.value, name.value.decode()

    def do_cuLaunchKernel(self, function, bx, by, bz, tx, ty, tz, shared, stream, arguments, extra):
        module, name = self.names[function.value]
        _, context = self.loaded[module]
        if context != self.contexts[-1]:
            return 400
        assert (by.value, bz.value, tx.value, ty.value, tz.value) == (1, 1, 256, 1, 1)
        assert not shared.value
        assert extra is None
        sizes = [1, 1, *[first.PUT] * (name == "put")]
        words = [
            ctypes.cast(arguments[i], ctypes.POINTER(ctypes.c_int64 * size)).contents[:]
            for i, size in enumerate(sizes)
        ]
        launch = module, name, bx.value, words
        if self.captures:
            self.graph.append(launch)
        else:
            kind, _, stage = name.partition("_")
            what = int(stage) if kind == "pass" else name if stage else -1
            self.launches.append((what, bx.value, stream.value))
            self._run(*launch)

    def _run(self, module, name, blocks, words):
        code = self.codes[self.loaded[module][0]]
        if name == "put":
            content = (ctypes.c_int64 * first.PUT)(*words[2])
            _Put(code.address[name])(*words[0], *words[1], ctypes.addressof(content))
            return
        block = (ctypes.c_int64 * (code.words + 1))()
        shared = (ctypes.addressof(block) + 15) // 16 * 16
        run = _Pass(code.address[name])
        run(*words[0], *words[1], blocks, self.threads, shared)

    def replay(self):
        """Run what was captured."""
        for launch in self.graph:
            self._run(*launch)


class Cuda(cuda.Cuda):
    """The engine, on that driver; it tells the driver which IR its PTX was made of."""

    def __init__(self, gpu, place=None):
        self.gpu = gpu
        super().__init__(cuda.Driver(gpu), place or devices.Place("cuda", 0))

    def functions(self, kernel, dtypes, stochastic):
        ptx = cuda.assembly(kernel, dtypes, stochastic, self.architecture)
        self.gpu.codes[ptx] = InTurn(kernel, dtypes, stochastic)
        return super().functions(kernel, dtypes, stochastic)

    def scalars(self, kernel, dtypes, stochastic):
        ptx = cuda.assembly(kernel, dtypes, stochastic, self.architecture, scalars=True)
        self.gpu.codes[ptx] = InTurn(kernel, dtypes, stochastic, scalars=True)
        return super().scalars(kernel, dtypes, stochastic)


@contextmanager
def stand_in(driver=None, engine=None):
    """Let the CPU's tensors be on a GPU with this driver, or engine, as far as ravine.torch knows."""
    place = devices.Place("cuda", 0)
    engine = engine or Cuda(driver)
    with (
        mock.patch.object(places, "place", return_value=place),
        mock.patch.object(stepping, "place", return_value=place),
        mock.patch.object(devices, "_engines", {("ravine.engines.cuda", place): engine}),
    ):
        yield


def parsed(printed):
    """LLVM's own check of a module."""
    module = llvm.parse_assembly(printed)
    module.verify()
    return module


def train(kind, sizes, steps, dtype, **how):
    """The optimizer and its parameters after some steps; the second tensor has no gradient in the third one,
    and lr is halved before the fourth.
    """
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(size).to(dtype)) for size in sizes]
    optimizer = kind(params, **how)
    for step in range(steps):
        for i, p in enumerate(params):
            p.grad = None if (step, i) == (2, 1) else torch.randn_like(p)
        if step == 3:
            optimizer.param_groups[0]["lr"] *= 0.5
        optimizer.step()
    return optimizer, params
