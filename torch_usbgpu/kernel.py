"""`torch.usbgpu.compile_kernel`: HIP or CUDA-C source in, callable on tensors out."""
from __future__ import annotations

import re
from typing import Any, Sequence

import numpy as np
import torch

from .errors import CompileError, LaunchError


class CompiledKernel:
    """A kernel, called with tensors and numbers.

        kernel(x, y, n, grid=(blocks,), block=(256,))

    Tensors are passed as their address; a Python number takes the size of its parameter (int:
    8, 16, 32 or 64 bits, float: f16, f32 or f64); NumPy scalars keep their type. Launches are in
    order with torch's operators.
    """

    def __init__(self, handle: Any, source: str):
        self._handle = handle
        self.name: str = handle.symbol
        self.source = source

    def __repr__(self) -> str:
        return f"<usbgpu kernel {self.name}>"

    def __call__(self, *args: Any, grid: int | Sequence[int], block: int | Sequence[int],
                 shared_bytes: int = 0) -> None:
        from . import runtime

        parameters = [a for a in self._handle.descriptor.arguments if not a.kind.startswith("hidden")]
        if len(args) != len(parameters):
            raise LaunchError(f"Kernel {self.name} takes {len(parameters)} arguments; {len(args)} were given.",
                              "Pass one value per parameter of the kernel.")
        packed = [_pack(self.name, i, value, parameter.size)
                  for i, (value, parameter) in enumerate(zip(args, parameters, strict=True))]
        runtime.device().launch(self._handle, grid, block, packed, shared_bytes)


INTEGERS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
FLOATS = {2: np.float16, 4: np.float32, 8: np.float64}


def _pack(kernel: str, position: int, value: Any, size: int) -> Any:
    """A value that the runtime accepts: an address as int, or a NumPy scalar of the parameter's size."""
    where = f"Argument {position} of kernel {kernel}"
    if isinstance(value, torch.Tensor):
        if value.device.type != "usbgpu":
            raise LaunchError(f"{where} is a tensor on {value.device}.", "Move it with .to('usbgpu') first.")
        if size != 8:
            raise LaunchError(f"{where} is a tensor, but the parameter has {size} bytes and is no pointer.",
                              "Check the order of the arguments.")
        return int(value.data_ptr())
    if isinstance(value, np.generic):
        if value.dtype.itemsize != size:
            raise LaunchError(f"{where} has {value.dtype.itemsize} bytes ({value.dtype}), the parameter has {size}.",
                              "Pass the NumPy type that matches the parameter.")
        return value
    if isinstance(value, bool):
        value = int(value)
    table = INTEGERS if isinstance(value, int) else FLOATS if isinstance(value, float) else {}
    if size not in table:
        raise LaunchError(f"{where} is a {type(value).__name__}, which does not fit a parameter of {size} bytes.",
                          "Pass tensors, Python numbers or NumPy scalars.")
    if isinstance(value, int):
        bits = 8 * size
        if not -(1 << (bits - 1)) <= value < (1 << bits):
            raise LaunchError(f"{where} is {value}, which does not fit {bits} bits.", "Use a wider parameter.")
        value = (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))   # unsigned values by their bits
    return table[size](value)


def compile_kernel(source: str, name: str, *, options: Sequence[str] = ()) -> CompiledKernel:
    """Compiles HIP or CUDA-C source and returns the kernel `name`, ready to be called.

    Args:
        source: the text; `hip_runtime.h` need not be included.
        name: the `__global__` function, as written in the source (`extern "C"` or not).
        options: further compiler options, such as "-DTILE=16".

    Raises:
        CompileError: the compiler's messages with line numbers of `source`, or no such kernel in it.
    """
    from . import compiler, runtime

    gpu = runtime.device()
    kernels = gpu.load(compiler.compile(source, gpu.arch, options, name=f"{name}.hip"))
    # Itanium mangling of a function outside namespaces: _Z, length, name, parameter types
    mangled = re.compile(rf"_Z{len(name)}{re.escape(name)}(?!\d)")
    found = [symbol for symbol in kernels if symbol == name or mangled.match(symbol)]
    if len(found) != 1:
        what = "is not in the source" if not found else "is overloaded"
        raise CompileError(f"The kernel {name!r} {what}; the source defines: {', '.join(sorted(kernels)) or 'none'}.",
                           action='Name a `__global__` function of the source, declared extern "C" if overloaded.')
    return CompiledKernel(kernels[found[0]], source)
