"""Compiles the corpus: for a chip with the project's compiler, for this machine with the same clang."""
from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.emulator.differential.model import Kernel, translation_unit
from torch_usbgpu import compiler
from torch_usbgpu.compiler import cache, toolchain

HERE = Path(__file__).parent
SHIM, RUNTIME = HERE / "host_shim.h", HERE / "host_runtime.c"
# Not optimised: blocks stay in the order of the source, by which host_runtime.c tells who reconverges first.
HOST_FLAGS = ("-O0", "-fPIC", "-std=c++20", "-fno-exceptions", "-fno-rtti", "-fdeclspec", "-nostdinc++", "-w", "-ffp-contract=off",
              "-fno-fast-math", "-fno-strict-aliasing", "-fwrapv",
              "-Xclang", "-ffloat16-excess-precision=none", "-Xclang", "-fbfloat16-excess-precision=none", "-nostdinc")
WAVE64 = ("-target-feature", "+wavefrontsize64")


def device_object(kernels: list[Kernel], chip: str, wave64: bool = False) -> bytes:
    return compiler.compile(translation_unit(kernels, host=False), chip, WAVE64 if wave64 else (), name="corpus.hip")


class HostLibrary:
    """The kernels as functions of this process."""

    def __init__(self, kernels: list[Kernel]) -> None:
        # The front end that compiles for the GPU compiles for this machine; linking needs a C library, which `zig cc` brings.
        front = toolchain.find().command
        link = (sys.executable, "-m", "ziglang", "cc") if importlib.util.find_spec("ziglang") else front
        source = f'#include "{SHIM}"\n{translation_unit(kernels, host=True)}'
        key = hashlib.sha256("|".join([*front, *link, *HOST_FLAGS, toolchain.find().identity, toolchain.headers_digest(source), source,
                                       SHIM.read_text(), RUNTIME.read_text(), sys.platform]).encode()).hexdigest()
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        library = folder / "corpus.so"
        stored = cache.default().get(key)
        if stored is None:
            (folder / "corpus.cpp").write_text(source)
            run(*front, *HOST_FLAGS, f"-I{toolchain.INCLUDE}", "-c", folder / "corpus.cpp", "-o", folder / "corpus.o")
            run(*link, "-O1", "-fPIC", "-w", "-fno-sanitize=all", "-shared", RUNTIME, folder / "corpus.o", "-o", library, "-lm")
            cache.default().put(key, library.read_bytes())
        else:
            library.write_bytes(stored)
        self._library = ctypes.CDLL(str(library))

    def run(self, kernel: Kernel, addresses: list[int]) -> None:
        """`addresses`: where each argument's value is (for a buffer: where its pointer is)."""
        triple = ctypes.c_uint32 * 3
        arguments = (ctypes.c_void_p * len(addresses))(*addresses)
        entry = ctypes.cast(getattr(self._library, f"host_{kernel.name}"), ctypes.c_void_p)
        status = self._library.host_run(entry, arguments, triple(*kernel.groups), triple(*kernel.threads))
        assert status == 0, {1: "threads wait for each other for ever", 2: "too many threads", 3: "no memory"}[status]


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:6000]
