"""Our own kernels: families of HIP templates (`<family>.hip` in this folder), instantiated on demand.

An instantiation is named by (family, symbol, line): the line, in the family's own macros,
defines `extern "C" __global__ void symbol(...)`. Missing instantiations are compiled in units of
several, because starting the compiler and reading the headers costs as much as two kernels; the
units run side by side. A later process finds each kernel in the cache by itself, however the
units were cut then.
"""
from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import compiler
from ..compiler import cache, toolchain
from ..errors import CompileError, UsbGpuError
from ..runtime import codeobject

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
# More in a unit saves little (measured: benchmarks/compile_time.py) and makes one failure dearer.
KERNELS_PER_UNIT = 12


class KernelSpec(NamedTuple):
    family: str
    symbol: str
    instantiation: str


class Compiled(NamedTuple):
    """`images` hold every kernel that compiled, and only kernels asked for; `failures` the rest."""
    images: list[codeobject.CodeImage]
    failures: dict[str, UsbGpuError]


def unit_source(specs: Sequence[KernelSpec]) -> str:
    """The text of one translation unit."""
    families = dict.fromkeys(spec.family for spec in specs)
    lines = [f'#include "{family}.hip"' for family in families]
    lines += [spec.instantiation for spec in specs]
    return "\n".join(lines) + "\n"


def build_unit(arch: str, specs: Iterable[Sequence[str]]) -> bytes:
    """One object with all the kernels of `specs`, (family, symbol, instantiation) each."""
    checked = _checked(specs)
    return compiler.compile(unit_source(checked), arch, name=_unit_name(checked))


def compile_kernels(arch: str, specs: Iterable[Sequence[str]]) -> Compiled:
    """Everything that the runtime is missing at once. Any thread may call it; torch is not needed."""
    wanted = {spec.symbol: spec for spec in _checked(specs)}
    objects: dict[str, bytes] = {}           # digest of an object -> the object
    members: dict[str, list[str]] = {}       # digest of an object -> symbols wanted from it
    missing = []
    for spec in wanted.values():
        found = _find(arch, spec)
        if found is None:
            missing.append(spec)
        else:
            digest, built = found
            objects[digest] = built
            members.setdefault(digest, []).append(spec.symbol)

    failures: dict[str, UsbGpuError] = {}
    units = _cut(missing)
    log.debug("%d kernels: %d cached, %d to compile in %d units", len(wanted), len(wanted) - len(missing),
              len(missing), len(units))
    for unit, outcome in zip(units, toolchain.pool().map(lambda unit: _build(arch, unit), units), strict=True):
        for part, result in outcome:
            if isinstance(result, UsbGpuError):
                failures.update({spec.symbol: result for spec in part})
                continue
            digest = hashlib.sha256(result).hexdigest()
            objects[digest] = result
            members.setdefault(digest, []).extend(spec.symbol for spec in part)
            _remember(arch, part, digest, result)

    images = []
    for digest, built in objects.items():
        image = codeobject.load(built, arch)
        kernels = {}
        for symbol in members[digest]:
            if symbol not in image.kernels:
                failures[symbol] = CompileError(
                    f"The instantiation of {symbol} defines no kernel of that name.", wanted[symbol].instantiation,
                    action="Mend the operator that named it: the line must define `extern \"C\"` symbol.")
                continue
            kernels[symbol] = image.kernels[symbol]
            if kernels[symbol].scratch_bytes:
                log.warning("%s spills: %d bytes of scratch per lane", symbol, kernels[symbol].scratch_bytes)
        if kernels:
            images.append(dataclasses.replace(image, kernels=kernels))
    return Compiled(images, failures)


def _checked(specs: Iterable[Sequence[str]]) -> list[KernelSpec]:
    checked = [KernelSpec(*spec) for spec in specs]
    for spec in checked:
        if not (FOLDER / f"{spec.family}.hip").is_file():
            raise CompileError(f"There is no kernel family {spec.family!r} (kernel {spec.symbol}).",
                               action="Reinstall torch_usbgpu: its kernel sources are incomplete.")
    return checked


def _unit_name(unit: Sequence[KernelSpec]) -> str:
    return unit[0].symbol + (f" and {len(unit) - 1} more" if len(unit) > 1 else "") if unit else "empty"


def _cut(specs: list[KernelSpec]) -> list[list[KernelSpec]]:
    """Units of like kernels: as many as keep all cores busy, none above the limit."""
    if not specs:
        return []
    ordered = sorted(specs)
    workers = min(os.cpu_count() or 1, 8)
    size = min(KERNELS_PER_UNIT, -(-len(ordered) // workers))
    return [ordered[i:i + size] for i in range(0, len(ordered), size)]


def _build(arch: str, unit: list[KernelSpec]) -> list[tuple[list[KernelSpec], bytes | UsbGpuError]]:
    """One object for the unit; where that fails, one per kernel, so that the failure has a name."""
    try:
        return [(unit, build_unit(arch, unit))]
    except CompileError as error:
        if len(unit) == 1:
            return [(unit, error)]
        return [outcome for spec in unit for outcome in _build(arch, [spec])]


# ---- the cache has two entries per kernel: kernel -> digest of an object, and that object.

def _kernel_key(arch: str, spec: KernelSpec) -> str:
    source = unit_source([spec])
    return compiler.key_of(source, arch, ("kernel", spec.symbol))


def _find(arch: str, spec: KernelSpec) -> tuple[str, bytes] | None:
    pointer = cache.default().get(_kernel_key(arch, spec))
    if pointer is None:
        return None
    digest = pointer.hex()
    built = cache.default().get(digest)
    # An object is stored under its own hash: what else it may hold is then beyond doubt.
    if built is None or hashlib.sha256(built).hexdigest() != digest:
        return None
    return digest, built


def _remember(arch: str, unit: Sequence[KernelSpec], digest: str, built: bytes) -> None:
    cache.default().put(digest, built)
    for spec in unit:
        cache.default().put(_kernel_key(arch, spec), bytes.fromhex(digest))
