"""HIP kernels on the emulated shader cores against the same source on this machine's processor: equal bits.

The corpus is compiled in batches, per chip and for the host; the compiler's cache makes later runs quick.
"""
from __future__ import annotations

import functools
import itertools
import sys

import numpy as np
import pytest

from tests.emulator.differential.build import HostLibrary
from tests.emulator.differential.corpus import atomics, control, elementwise, groups, lanes, math, matrix
from tests.emulator.differential.model import GUARD, Kernel, same
from tests.emulator.differential.run import Device, differences, on_host

BATCH = 26
CHIPS = ("gfx1100", "gfx1201")
MODULES = {"elementwise": elementwise, "lanes": lanes, "groups": groups, "atomics": atomics, "control": control, "math": math,
           "matrix": matrix}
MODES = {"strict_waits": {"strict_waits": True, "poison": True}, "two_threads_shuffled": {"threads": 2, "shuffle_seed": 11}}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the host side needs ucontext")


def batches(chip: str) -> dict[str, list[Kernel]]:
    out = {}
    for name, module in MODULES.items():
        kernels = [k for k in module.KERNELS if chip in k.chips]
        for n, batch in enumerate(itertools.batched(kernels, BATCH) if sys.version_info >= (3, 12) else split(kernels)):
            out[f"{name}{n}"] = list(batch)
    return out


def split(kernels: list[Kernel]) -> list[list[Kernel]]:
    return [kernels[n:n + BATCH] for n in range(0, len(kernels), BATCH)]


BATCHES = {chip: batches(chip) for chip in CHIPS}
CASES = [(chip, name, kernel.name) for chip in CHIPS for name, batch in BATCHES[chip].items() for kernel in batch]


@functools.cache
def host(names: tuple[str, ...], chip: str, batch: str) -> HostLibrary:
    return HostLibrary(BATCHES[chip][batch])


def host_of(chip: str, batch: str) -> HostLibrary:
    """Batches that are the same for both chips share a library."""
    names = tuple(k.name for k in BATCHES[chip][batch])
    for other in CHIPS:
        if tuple(k.name for k in BATCHES[other].get(batch, ())) == names:
            return host(names, other, batch)
    return host(names, chip, batch)


@functools.cache
def device(chip: str, batch: str, mode: str = "") -> Device:
    return Device(BATCHES[chip][batch], chip, **MODES.get(mode, {}))


@functools.cache
def wave64_device(chip: str, batch: str) -> Device:
    return Device([k for k in BATCHES[chip][batch] if k.wave64], chip, wave64=True)


def find(chip: str, batch: str, name: str) -> Kernel:
    return next(k for k in BATCHES[chip][batch] if k.name == name)


@functools.lru_cache(maxsize=512)
def expected(chip: str, batch: str, name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    kernel = find(chip, batch, name)
    values = kernel.buffers()
    return values, on_host(host_of(chip, batch), kernel, values)


@pytest.mark.parametrize("chip,batch,name", CASES, ids=[f"{chip}-{name}" for chip, _, name in CASES])
def test_kernel(chip: str, batch: str, name: str) -> None:
    kernel = find(chip, batch, name)
    values, on_cpu = expected(chip, batch, name)
    wrong = differences(kernel, device(chip, batch).run(kernel, values), on_cpu, values)
    assert not wrong, "\n".join(wrong)
    for argument, after, before in zip(kernel.arguments, on_cpu, values, strict=True):
        if argument.written:
            guard = GUARD // after.itemsize
            assert not np.array_equal(after[guard:-guard], before[guard:-guard]), f"{argument.name} is as it was: nothing was proved"


WAVE64 = [(chip, batch) for chip in CHIPS for batch, kernels in BATCHES[chip].items() if any(k.wave64 for k in kernels)]


@pytest.mark.parametrize("chip,batch", WAVE64, ids=[f"{chip}-{batch}" for chip, batch in WAVE64])
def test_with_waves_of_64(chip: str, batch: str) -> None:
    wrong = []
    for kernel in BATCHES[chip][batch]:
        if kernel.wave64:
            values, on_cpu = expected(chip, batch, kernel.name)
            wrong += differences(kernel, wave64_device(chip, batch).run(kernel, values), on_cpu, values)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("chip", CHIPS)
def test_ways_of_running(chip: str, mode: str) -> None:
    """Late results, poisoned registers, other orders of workgroups, two host threads: the same bits."""
    wrong = []
    for batch, kernels in BATCHES[chip].items():
        for kernel in kernels:
            values, on_cpu = expected(chip, batch, kernel.name)
            wrong += differences(kernel, device(chip, batch, mode).run(kernel, values), on_cpu, values)
    assert not wrong, "\n".join(wrong)


def test_there_are_enough() -> None:
    names = {k.name for kernels in BATCHES.values() for batch in kernels.values() for k in batch}
    assert len(names) == sum(len(m.KERNELS) for m in MODULES.values()) >= 350


def test_a_wrong_bit_is_seen() -> None:
    """The comparison itself: one bit, a NaN for a number, an ulp too many, a byte beside the buffer."""
    kernel = find("gfx1100", "math0", "math_exp")
    values, right = expected("gfx1100", "math0", "math_exp")
    n = GUARD // 4 + 100
    for change in (1 << 22, 0x10, 0x7FC00000):
        wrong = [x.copy() for x in right]
        wrong[2][n] ^= change
        assert differences(kernel, wrong, right, values)
    wrong = [x.copy() for x in right]
    wrong[2][n] += 1                                       # within the function's two ulps
    assert not differences(kernel, wrong, right, values)
    wrong[2][0] ^= 1
    assert "beside" in differences(kernel, wrong, right, values)[0]
    zero, minus = np.array([0], np.uint32), np.array([1 << 31], np.uint32)
    exact = find("gfx1100", "elementwise0", "arithmetic_f32").arguments[2]
    assert not same(exact, zero, minus).any() and same(exact, np.array([0x7FC00000], np.uint32), np.array([0xFFC00001], np.uint32)).all()
