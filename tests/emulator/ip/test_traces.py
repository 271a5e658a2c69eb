"""A recorded boot of a foreign driver runs through on the model, and its queues work."""
from __future__ import annotations

import struct
from pathlib import Path

import pytest

from .board import DATA, FB, VA, Board, wait
from .test_pm4 import release
from .test_sdma import fence

STAGING = 0x100000          # the recording's: one MiB of VRAM
QUEUES = 0x1000000          # where VA leads: rings, pointers, EOP buffer
COMMAND, FENCE = 0xA00000, 0xA01000
# registers that take addresses of the memory controller; the recording has its frame buffer at 0
MOVED = {
    "MC_VM_SYSTEM_APERTURE_LOW_ADDR": FB >> 18, "MC_VM_SYSTEM_APERTURE_HIGH_ADDR": FB >> 18, "IH_RB_BASE": FB >> 8 & 0xFFFFFFFF,
    "IH_RB_BASE_HI": FB >> 40, "IH_RB_WPTR_ADDR_HI": FB >> 32, "IH_RB_BASE_RING1": FB >> 8 & 0xFFFFFFFF, "IH_RB_BASE_HI_RING1": FB >> 40,
    "CP_MQD_BASE_ADDR_HI": FB >> 32, "SMN_C2PMSG_70": FB >> 32,
}
POLLED = {"RLC_SAFE_MODE": lambda v: not v & 1, "CP_HQD_ACTIVE": lambda v: not v & 1, "CP_STAT": lambda v: v == 0}


class Replay(Board):
    def __init__(self, chip: str, steps: list[str]):
        super().__init__(chip=chip)
        self.gpu.set_bus_master(True)
        self.root, self.next_table = 0, 0x800000
        self.map(VA, QUEUES, 1024)
        self.steps, self.frames, self.ring = steps, 0, 0
        self.gpu.vram_write(0x9B000, bytes(0x1000))
        for at in (0x5C, 0x60, 0x68, 0x6C, 0xB0, 0xB4, 0xB8, 0xBC):  # the descriptor lies in memory, not in the recording
            self.poke(0x9B000 + at, 0xFFFFFFFF)
        self.poke(0x9B000, 0xC0310800)

    def address(self, name: str) -> int:
        return int(name, 16) if name.startswith("0x") else self.gpu.address(name)

    def run(self, stop_before: str = "") -> None:
        while self.steps and not (stop_before and self.steps[0].startswith(stop_before)):
            kind, *words = self.steps.pop(0).split()
            getattr(self, "do_" + kind)(*words)

    def do_r(self, name):
        done = POLLED.get(name)
        value = self.gpu.reach(self.address(name))
        if done and self.steps[0].split()[:2] != ["w", "CP_HQD_DEQUEUE_REQUEST"]:
            assert wait(lambda: done(self.gpu.reach(self.address(name)))), (name, value)

    def do_w(self, name, value):
        moved = next((offset for end, offset in MOVED.items() if name == end or name[2:] == end or name.endswith(end)), 0)
        self.gpu.reach(self.address(name), int(value, 16) + moved)
        if name.endswith("C2PMSG_69"):
            self.ring = int(value, 16)

    def do_ranges(self, hub):
        for engine in range(18):
            for word, value in (("LO32", 0xFFFFFFFF), ("HI32", 0x1F)):
                self.gpu.reach(self.gpu.address(f"{hub}VM_INVALIDATE_ENG0_ADDR_RANGE_{word}") + 2 * engine, value)

    def do_flush(self, hub):
        self.flush(hub)

    def do_boot(self, command, name):
        self.gpu.vram_write(STAGING, self.image(name))
        assert wait(lambda: self.read(f"{self.mp0}35") >> 31)
        self.write(f"{self.mp0}36", FB + STAGING >> 20)
        self.write(f"{self.mp0}35", int(command, 16))
        assert wait(lambda: self.read(f"{self.mp0}35") >> 31)
        assert self.read(f"{self.mp0}35") == 0x80000000, (name, self.gpu.psp_refusal)

    def do_psp(self, what, name=""):
        from .board import TMR, TYPES
        mc = FB + STAGING
        data = self.image("TOC" if what == "toc" else name) if what in ("toc", "load") else b""
        self.gpu.vram_write(STAGING, data)
        numbers = {"toc": (0x20, mc & 0xFFFFFFFF, mc >> 32, len(data)), "autoload": (0x21,),
                   "tmr": (5, FB + TMR & 0xFFFFFFFF, FB + TMR >> 32, 0x1300000, 2, TMR, 0),
                   "load": (6, mc & 0xFFFFFFFF, mc >> 32, len(data), TYPES.get(name, 0))}[what]
        block = bytearray(1024)
        struct.pack_into("<I", block, 8, numbers[0])
        struct.pack_into(f"<{len(numbers) - 1}I", block, 28, *numbers[1:])
        self.gpu.vram_write(COMMAND, bytes(block))
        wptr = self.read(f"{self.mp0}67")
        assert wptr == 16 * self.frames
        self.frames += 1
        self.poke(self.ring + 4 * wptr, COMMAND, FB >> 32, 0, FENCE, FB >> 32, wptr + 1, *(0,) * 10)
        self.write(f"{self.mp0}67", wptr + 16)
        assert wait(lambda: self.peek(FENCE) == wptr + 1), (what, name)
        assert self.peek(COMMAND + 864) == 0, (what, name, self.gpu.psp_refusal)

    def do_smu(self, message, argument):
        number = int(message, 16)
        response, _ = self.smu_message(number, int(argument, 16) + (FB >> 32 if number == 0xE else 0))
        assert response == 1, (message, argument)

    def do_levels(self, argument):
        first = int(argument, 16)
        count = self.smu_message(0x1F, first)[1] & 0x7FFFFFFF
        assert 1 < count < 17
        for level in range(count):
            assert self.smu_message(0x1F, first & ~0xFF | level)[0] == 1


@pytest.mark.parametrize("chip, recording", [("navi31", "gfx11"), ("navi33", "gfx11"), ("navi44", "gfx12"), ("navi48", "gfx12")])
def test_a_foreign_boot_runs_through(chip, recording):
    lines = (Path(__file__).parent / "traces" / f"{recording}.txt").read_text().splitlines()
    board = Replay(chip, [line for line in lines if not line.startswith("#") and not (chip == "navi33" and "MM_ATC_L2_MISC_CG" in line)])
    board.run(stop_before="r IH_RB_WPTR")      # everything is up
    board.map(VA + 0x400000, DATA, 1)
    words = release(VA + 0x400000, 0x77)
    board.poke(QUEUES, *words)
    board.gpu.doorbell_write(0x18, len(words))
    assert wait(lambda: board.peek(DATA) == 0x77), board.gpu.last_stop
    words = fence(VA + 0x400000, 0x88)
    board.poke(QUEUES + 0x100000, *words)
    board.gpu.doorbell_write(0x800, 4 * len(words))
    assert wait(lambda: board.peek(DATA) == 0x88), board.gpu.sdma_stop
    board.run()
    board.gpu.doorbell_write(0x18, 16)         # after the shutdown nobody listens
    board.gpu.doorbell_write(0x800, 1024)
    assert board.gpu.wait_idle() and board.peek(DATA) == 0x88
    assert board.read("SCRATCH_REG7") == 0xA0000008 and board.read("SCRATCH_REG6") == 0
    ranges = {board.gpu.address(f"{hub}VM_INVALIDATE_ENG0_ADDR_RANGE_LO32") + i for hub in ("GC", "MM") for i in range(36)}
    assert set(board.gpu.stray_registers) <= ranges | {0x3219, 0x3223}  # the latter: nameless slots among the queue's registers
