"""Two sets of shader cores in step: this machine's `_emulator`, and driver.cpp built for another architecture.

As a pytest plugin (`-p tests.emulator.isa_native.twin`) it puts Memory and Cores in the place of `_emulator.isa.FlatMemory` and
`_emulator.isa.Cores`. Whatever a test then maps, writes and runs happens on both; what it reads back, and the result, counters
and fault record of every launch, must be equal bit by bit. USBGPU_ISA_DRIVER is the command that starts the driver.
"""
from __future__ import annotations

import itertools
import os
import shlex
import struct
import subprocess
from collections.abc import Sequence

import numpy as np

from torch_usbgpu._emulator import isa

(NEW_MEMORY, MAP, UNMAP, WRITE, READ, NEW_CORES, RUN, INVALIDATE, FORGET, LEVEL) = range(10)
ENDS = ("complete", "fault", "cancelled")
KINDS = ("illegal_instruction", "memory_violation", "misaligned_atomic", "trap", "wmma_exec", "lds_address")
ACCESSES = {"unknown": 0, "read": 1, "write": 2, "execute": 4, "atomic": 8}
HereMemory, HereCores = isa.FlatMemory, isa.Cores


class Different(AssertionError):
    """The other architecture computed something else."""


class Driver:
    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.numbers = itertools.count(1)
        self.launches = self.compared = 0

    def send(self, operation: int, number: int, data: bytes = b"") -> None:
        self.process.stdin.write(struct.pack("<II", operation, number) + data)

    def answer(self, size: int | None = None) -> bytes:
        self.process.stdin.flush()
        if size is None:
            size, = struct.unpack("<I", self.answer(4))
        data = self.process.stdout.read(size)
        if len(data) != size:
            raise RuntimeError(f"the driver ended with status {self.process.wait()}")
        return data

    def level(self) -> str:
        self.send(LEVEL, 0)
        return self.answer().decode()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


driver: Driver | None = None


class Twin:
    """One object here and one there."""

    def __init__(self) -> None:
        self.driver, self.number = driver, next(driver.numbers)

    def send(self, operation: int, data: bytes = b"") -> None:
        self.driver.send(operation, self.number, data)

    def __del__(self) -> None:
        if not self.driver.process.stdin.closed:
            self.send(FORGET)


class Memory(Twin):
    def __init__(self) -> None:
        super().__init__()
        self.here = HereMemory()
        self.send(NEW_MEMORY)

    def map(self, va: int, bytes: int, write: bool = True, execute: bool = False, bridge: bool = False) -> None:
        self.here.map(va, bytes, write, execute, bridge)
        self.send(MAP, struct.pack("<QQI", va, bytes, write | execute << 1 | bridge << 2))

    def unmap(self, va: int) -> None:
        self.here.unmap(va)
        self.send(UNMAP, struct.pack("<Q", va))

    def write(self, va: int, data) -> None:
        self.here.write(va, data)
        raw = np.asarray(data).tobytes() if isinstance(data, np.ndarray) else memoryview(data).tobytes()
        self.send(WRITE, struct.pack("<QQ", va, len(raw)) + raw)

    def read(self, va: int, bytes: int) -> bytes:
        here = self.here.read(va, bytes)
        self.send(READ, struct.pack("<QQ", va, bytes))
        there = self.driver.answer(bytes)
        self.driver.compared += bytes
        if here != there:
            at = next(n for n in range(bytes) if here[n] != there[n]) & ~3
            raise Different(f"at {va + at:#x}: {here[at:at + 16].hex(' ', 4)} here, {there[at:at + 16].hex(' ', 4)} there")
        return here

    @property
    def faults(self) -> int:
        return self.here.faults


class Cores(Twin):
    def __init__(self, threads: int = 1, strict_waits: bool = False, poison: bool = False, shuffle_seed: int = 0,
                 jitter_transcendentals: bool = False, counters: bool = False, chip: str = "") -> None:
        super().__init__()
        self.here = HereCores(threads, strict_waits, poison, shuffle_seed, jitter_transcendentals, counters, chip)
        self.counters = counters
        self.send(NEW_CORES, struct.pack("<5IQ", threads, strict_waits, poison, jitter_transcendentals, counters, shuffle_seed))

    def run(self, memory: Memory, entry: int, rsrc1: int, rsrc2: int, user_data: Sequence[int], groups: Sequence[int],
            threads: Sequence[int], scratch_base: int = 0, tmpring_size: int = 0, sh_mem_bases: int = 0, initiator: int = 0x8005,
            arch: str = "gfx1100") -> dict:
        # the other one starts first, and runs meanwhile
        self.send(RUN, struct.pack("<QQ8I6I16I", entry, scratch_base, memory.number, arch.startswith("gfx12"), rsrc1, rsrc2,
            tmpring_size, sh_mem_bases, initiator, len(user_data), *groups, *threads,
            *user_data, *[0] * (16 - len(user_data))))
        self.driver.process.stdin.flush()
        result = self.here.run(memory.here, entry, rsrc1, rsrc2, user_data, tuple(groups), tuple(threads), scratch_base, tmpring_size,
                               sh_mem_bases, initiator, arch)
        there, here = self.driver.answer().decode(), as_text(result)
        self.driver.launches += 1
        if here != there:
            raise Different(f"here:\n{here}\nthere:\n{there}")
        return result

    def invalidate_code(self) -> None:
        self.here.invalidate_code()
        self.send(INVALIDATE)

    def watch(self, session: object = None) -> None:
        raise NotImplementedError("the debugger sees this machine's cores only")


def as_text(result: dict) -> str:
    """A launch's result as driver.cpp writes it."""
    lines = [f"end {ENDS.index(result['end'])}", *(f"interrupt {m}" for m in result["interrupts"])]
    lines += [f"{name} {value}" for name, value in result["counters"].items()]
    if fault := result["fault"]:
        values = [KINDS.index(fault["kind"]), fault["pc"], fault["address"], ACCESSES[fault["access"]], *fault["group"], fault["wave"],
                  fault["exec"]]
        lines += [*(f"fault {v}" for v in values), fault["text"]]
    return "\n".join(lines)


def pytest_configure(config) -> None:
    global driver
    driver = Driver(shlex.split(os.environ["USBGPU_ISA_DRIVER"]))
    isa.FlatMemory, isa.Cores = Memory, Cores


def pytest_terminal_summary(terminalreporter) -> None:
    terminalreporter.write_line(f"twin: {driver.launches} launches, {driver.compared} bytes equal on {driver.level()}")


def pytest_unconfigure(config) -> None:
    isa.FlatMemory, isa.Cores = HereMemory, HereCores
    driver.close()
