"""Decoding of interrupt entries, and what they are turned into for the user."""
from __future__ import annotations

import struct

import pytest

from torch_usbgpu.amdgpu import faults, interrupts
from torch_usbgpu.amdgpu.facts import enum
from torch_usbgpu.amdgpu.gfx import WaveState
from torch_usbgpu.amdgpu.memory import HubFault
from torch_usbgpu.errors import GpuFault, IllegalInstruction

CLIENT, SOURCE = enum("ih_client"), enum("ih_source_gfx11")


def entry(client: str, source: int, context=(0, 0, 0, 0), ring: int = 0) -> interrupts.Interrupt:
    raw = struct.pack("<8I", CLIENT[client] | source << 8 | ring << 16, 0x1111, 0x2222, 0, *context)
    return interrupts.decode(raw, "gfx11")


def sq(error: int, wave: int = 5, simd: int = 2, wgp: int = 3, array: int = 1, encoding: int = 2) -> interrupts.Interrupt:
    return entry("GRBM_CP", SOURCE["SQ_INTERRUPT_ID"], (error << 21 | array << 25 | wave << 27, simd | wgp << 2 | encoding << 6, 0, 0))


def halted(pc: int) -> WaveState:
    return WaveState(engine=4, array=1, wgp=3, simd=2, wave=5, halted=True, pc=pc, status=1 << 13 | 1 << 16, trap_status=0, execution_mask=~0)


HUB = HubFault("GC", 0x2030_0000_5000, True, 8, "TCP", 0x1_0001, "not permitted")


def kernel_at(pc: int) -> str | None:
    return "add_f32" if 0x2000_0000_1000 <= pc < 0x2000_0000_2000 else None


def test_entry_fields():
    found = entry("GFX", SOURCE["UTCL2_FAULT"], (0x345, 0x12, 0, 0), ring=0x20)
    assert (found.client, found.source, found.is_page_fault, found.benign) == ("GFX", "UTCL2_FAULT", True, False)
    assert found.fault_address == 0x2_0000_0000_0000 >> 4 | 0x34_5000
    assert entry("VMC", 0).source == "VM_FAULT"
    assert entry("GRBM_CP", SOURCE["CP_EOP_INTERRUPT"]).benign


def test_wave_of_an_entry():
    wave = sq(1).wave
    assert wave == interrupts.WaveInterrupt("error", "ILLEGAL_INST", array=1, wave=5, simd=2, wgp=3)
    assert sq(2, encoding=0).wave.error == "" and entry("GFX", 0).wave is None


@pytest.mark.parametrize(("fault", "entries", "wave", "kind", "expected"), [
    (HUB, [sq(2)], halted(0x2000_0000_1040), GpuFault,
     dict(kernel="add_f32", address=0x2030_0000_5000, pc=0x2000_0000_1040)),
    (HUB, [sq(2)], halted(0x2000_0001_0000), GpuFault, dict(kernel=None, address=0x2030_0000_5000, pc=0x2000_0001_0000)),
    (HUB, [], None, GpuFault, dict(kernel=None, address=0x2030_0000_5000, pc=None)),
    (None, [entry("GFX", 0, (0x345, 0, 0, 0))], None, GpuFault, dict(kernel=None, address=0x34_5000, pc=None)),
    (None, [sq(1)], halted(0x2000_0000_1ffc), IllegalInstruction, dict(kernel="add_f32", address=None, pc=0x2000_0000_1ffc)),
    (None, [sq(2)], halted(0x2000_0000_1000), GpuFault, dict(kernel="add_f32", address=None, pc=0x2000_0000_1000)),
    (None, [entry("GFX", SOURCE["SDMA_QUEUE_HANG"])], None, GpuFault, dict(kernel=None, address=None, pc=None)),
    (None, [entry("GFX", 250)], None, GpuFault, dict(kernel=None, address=None, pc=None)),
])
def test_reports(fault, entries, wave, kind, expected):
    error = faults.explain(fault, entries, wave, kernel_at)
    assert type(error) is kind
    assert {name: getattr(error, name) for name in expected} == expected
    text = str(error)
    for value in (expected["kernel"], expected["address"] and f"{expected['address']:#x}", expected["pc"] and f"{expected['pc']:#x}"):
        assert value is None or value in text
    assert error.code in text


def test_access_and_client_are_said():
    text = str(faults.explain(HUB, [sq(2)], halted(0x2000_0000_1040), kernel_at))
    assert "write to address 0x203000005000 failed in kernel add_f32" in text
    assert "GC hub, TCP" in text and "engine 4 array 1 wgp 3 simd 2 wave 5" in text
