"""HIP and CUDA-C source to AMDGPU code objects, in one compiler process, with an on-disk cache."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from . import cache, toolchain

__all__ = ["compile", "compile_many", "key_of"]

# Part of every cache key: raise it when the meaning of a stored object changes.
SCHEMA = 1


def compile(source: str, arch: str, options: Sequence[str] = (), *, name: str = "kernel.hip") -> bytes:
    """Compiles one translation unit to a relocatable code object (ELF), or takes it from the cache.

    Args:
        source: HIP or CUDA-C text. `hip_runtime.h` is included before its first line.
        arch: target of LLVM, such as "gfx1100" or "gfx11-generic".
        options: further clang -cc1 options, such as "-DTILE=16".
        name: what the compiler's messages call the source; not part of the cache key.

    Raises:
        CompileError: `log` holds the compiler's own messages, with the lines of `source`.
        CompilerMissing: no compiler for AMDGPU was found.
    """
    compiler = toolchain.find()
    # Files outside our own folders are not in the key: no caching then.
    cacheable = not any(option.startswith(("-I", "-i")) for option in options)
    key = key_of(source, arch, options) if cacheable else ""
    if cacheable and (found := cache.default().get(key)) is not None:
        return found
    built = toolchain.run(compiler, source, arch, options, name)
    if cacheable:
        cache.default().put(key, built)
    return built


def compile_many(units: Iterable[tuple[str, str, Sequence[str]]]) -> list[bytes]:
    """Compiles (source, arch, options) units side by side, one process each, in their order."""
    return list(toolchain.pool().map(lambda unit: compile(*unit), units))


def key_of(source: str, arch: str, options: Sequence[str] = ()) -> str:
    """SHA-256 over all that shapes the object: compiler, flags, headers, source. No paths."""
    compiler = toolchain.find()
    digest = hashlib.sha256()
    for part in (str(SCHEMA), compiler.identity, *toolchain.flags(compiler, arch), "--", *options, "--",
                 toolchain.headers_digest(source), source):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()
