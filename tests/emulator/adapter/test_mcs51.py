"""The 8051 that runs dock images, instruction by instruction, and an image of our own that it runs.

References: Intel, MCS 51 Microcontroller Family User's Manual (1994), chapter 2.
"""
from __future__ import annotations

import os
from pathlib import Path

import pytest
import usb1

from torch_usbgpu import _emulator
from torch_usbgpu.emulator import EmulatedAdapter

Mcs51 = _emulator.adapter.Mcs51
ACC, B, PSW, SP, DPL, DPH, DPX, P2, IE = 0xE0, 0xF0, 0xD0, 0x81, 0x82, 0x83, 0x93, 0xA0, 0xA8
CARRY, HALF, OVERFLOW, PARITY = 0x80, 0x40, 0x04, 0x01


def run(code: str, *, steps: int = 1, pc: int = 0, ram=None, xdata=None, **registers) -> Mcs51:
    cpu = Mcs51(bytes.fromhex(code))
    cpu.pc = pc
    for name, value in registers.items():
        cpu.set_direct(globals()[name], value)
    for at, value in (ram or {}).items():
        cpu.set_indirect(at, value)
    for (bank, at), value in (xdata or {}).items():
        cpu.set_xdata(bank, at, value)
    for _ in range(steps):
        cpu.step()
    return cpu


EDGES = sorted({0, 1, 5, 9, 10, 15, 16, 0x55, 0x7F, 0x80, 0x99, 0xAA, 0xF0, 0xFE, 0xFF})


@pytest.mark.parametrize("opcode, carry_in, sign", [(0x24, 0, 1), (0x34, 1, 1), (0x94, 1, -1)], ids=["add", "addc", "subb"])
def test_arithmetic_flags(opcode, carry_in, sign):
    for a in EDGES:
        for value in EDGES:
            for carry in (0, 1):
                cpu = run(f"{opcode:02x}{value:02x}", ACC=a, PSW=CARRY * carry)
                c = carry & carry_in
                total = a + sign * (value + c)
                half = (a & 15) + sign * ((value & 15) + c)
                signed = (a ^ 0x80) - 0x80 + sign * ((value ^ 0x80) - 0x80 + c)
                flags = (CARRY * (not 0 <= total <= 255) | HALF * (not 0 <= half <= 15)
                         | OVERFLOW * (not -128 <= signed <= 127) | PARITY * ((total & 255).bit_count() & 1))
                assert (cpu.direct(ACC), cpu.direct(PSW)) == (total & 255, flags), (a, value, carry)


def test_decimal_adjust_after_addition():
    for a in range(100):
        for b in range(100):
            bcd = [int(f"{number:02d}", 16) for number in (a, b)]
            cpu = run(f"24{bcd[1]:02x}d4", steps=2, ACC=bcd[0])
            assert f"{cpu.direct(ACC):02x}" == f"{(a + b) % 100:02d}" and bool(cpu.direct(PSW) & CARRY) == (a + b > 99)


@pytest.mark.parametrize("a, b", [(255, 255), (16, 16), (7, 9), (0, 3), (200, 7), (5, 0)])
def test_multiplication_and_division(a, b):
    product = run("a4", ACC=a, B=b, PSW=CARRY)
    assert product.direct(ACC) | product.direct(B) << 8 == a * b
    assert product.direct(PSW) & (CARRY | OVERFLOW) == OVERFLOW * (a * b > 255)
    quotient = run("84", ACC=a, B=b, PSW=CARRY)
    assert quotient.direct(PSW) & (CARRY | OVERFLOW) == OVERFLOW * (b == 0)
    if b:
        assert (quotient.direct(ACC), quotient.direct(B)) == divmod(a, b)


# (name, code, what it starts with, what must hold afterwards, machine cycles)
CASES = [
    ("rr", "03", dict(ACC=0x81), dict(acc=0xC0), 1),
    ("rrc", "13", dict(ACC=0x81, PSW=0), dict(acc=0x40, carry=1), 1),
    ("rl", "23", dict(ACC=0x81), dict(acc=0x03), 1),
    ("rlc", "33", dict(ACC=0x81, PSW=CARRY), dict(acc=0x03, carry=1), 1),
    ("swap", "c4", dict(ACC=0x1F), dict(acc=0xF1), 1),
    ("cpl a", "f4", dict(ACC=0x0F), dict(acc=0xF0), 1),
    ("xchd", "d6", dict(ACC=0x12, ram={0: 0x40, 0x40: 0x34}), dict(acc=0x14, ram={0x40: 0x32}), 1),
    ("xch direct", "c540", dict(ACC=1, ram={0x40: 2}), dict(acc=2, ram={0x40: 1}), 1),
    ("inc wraps", "0a", dict(ram={2: 0xFF}), dict(ram={2: 0}), 1),
    ("register bank 2", "7a55", dict(PSW=0x10), dict(ram={0x12: 0x55}), 1),
    ("mov direct, direct", "854041", dict(ram={0x40: 9}), dict(ram={0x41: 9}), 2),
    ("mov @r1, direct", "a740", dict(ram={1: 0x90, 0x40: 9}), dict(ram={0x90: 9}), 2),
    ("upper memory is not the SFRs", "77ab", dict(ram={1: 0xE0}, ACC=3), dict(acc=3, ram={0xE0: 0xAB}), 1),
    ("anl direct, #", "5340f0", dict(ram={0x40: 0x5A}), dict(ram={0x40: 0x50}), 2),
    ("orl c, /bit", "a005", dict(ram={0x20: 0x20}, PSW=0), dict(carry=0), 2),
    ("anl c, /bit", "b005", dict(ram={0x20: 0x00}, PSW=CARRY), dict(carry=1), 2),
    ("mov bit, c", "92d5", dict(PSW=CARRY), dict(psw=CARRY | 0x20), 2),
    ("jbc", "100502", dict(ram={0x20: 0x20}), dict(pc=5, ram={0x20: 0}), 2),
    ("jnb not taken", "300502", dict(ram={0x20: 0x20}), dict(pc=3), 2),
    ("jz backwards", "60fe", dict(ACC=0), dict(pc=0), 2),
    ("cjne sets the carry", "b40502", dict(ACC=4), dict(pc=5, carry=1), 2),
    ("cjne equal", "b40502", dict(ACC=5, PSW=CARRY), dict(pc=3, carry=0), 2),
    ("djnz", "d805", dict(ram={0: 1}), dict(pc=2, ram={0: 0}), 2),
    ("djnz direct", "d54005", dict(ram={0x40: 0}), dict(pc=8, ram={0x40: 0xFF}), 2),
    ("acall in its 2 KiB", "f110", dict(SP=7), dict(pc=0x710, ram={8: 2, 9: 0}, sp=9), 2),
    ("lcall", "121234", dict(SP=7), dict(pc=0x1234, ram={8: 3, 9: 0}), 2),
    ("ret", "22", dict(SP=9, ram={9: 0x12, 8: 0x34}), dict(pc=0x1234, sp=7), 2),
    ("push, then pop elsewhere", "c0e0d0f0", dict(steps=2, ACC=0x77), dict(b=0x77, sp=7), 4),
    ("jmp @a+dptr", "73", dict(ACC=4, DPH=0x10, DPL=0xFE), dict(pc=0x1102), 2),
    ("movc @a+pc", "83aabb", dict(ACC=1), dict(acc=0xBB), 2),
    ("movc @a+dptr", "93aabb", dict(ACC=1, DPH=0, DPL=1), dict(acc=0xBB), 2),
    ("inc dptr carries", "a3", dict(DPH=0x12, DPL=0xFF), dict(dptr=0x1300), 2),
    ("movx a, @dptr", "e0", dict(DPH=0x12, DPL=0x34, xdata={(0, 0x1234): 5}), dict(acc=5), 2),
    ("movx of the other bank", "e0", dict(DPX=1, DPH=0x12, DPL=0x34, xdata={(1, 0x1234): 6}), dict(acc=6), 2),
    ("movx @r0, a in page p2", "f2", dict(ACC=7, P2=0x12, ram={0: 0x34}), dict(xdata={(0, 0x1234): 7}), 2),
    ("reserved", "a5", dict(ACC=1), dict(acc=1, pc=1), 1),
]


@pytest.mark.parametrize("code, start, want, cycles", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_instruction(code, start, want, cycles):
    cpu = run(code, **start)
    got = {"acc": cpu.direct(ACC), "b": cpu.direct(B), "sp": cpu.direct(SP), "pc": cpu.pc,
           "psw": cpu.direct(PSW) & ~PARITY, "carry": cpu.direct(PSW) >> 7, "dptr": cpu.direct(DPH) << 8 | cpu.direct(DPL),
           "ram": {at: cpu.indirect(at) for at in want.get("ram", {})},
           "xdata": {at: cpu.xdata(*at) for at in want.get("xdata", {})}}
    assert {name: got[name] for name in want} == want
    assert cpu.cycles == cycles


def test_interrupts_wait_for_the_one_that_runs():
    cpu = run("32", pc=3, IE=0x81)                          # RETI at the vector of INT0
    assert cpu.accepts_interrupt(0) and not cpu.accepts_interrupt(1)
    cpu.pc = 0x100
    cpu.interrupt(0)
    assert cpu.pc == 3 and not cpu.accepts_interrupt(0)


# ---- an image of our own: answers every request IN with what stands at 0x9E00, of the length in the low byte of wLength

def asm(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts))


DEVICE_DESCRIPTOR = bytes([18, 1, 0x20, 3, 0, 0, 0, 9, 0xD1, 0xAD, 0x34, 0x12, 1, 0, 0, 0, 0, 1])


def mov_dptr(address: int) -> str:
    return f"90{address:04x}"


def store(address: int, value: int) -> str:
    return mov_dptr(address) + f"74{value:02x}f0"


def tiny_image() -> bytes:
    """main: the descriptor into the EP0 buffer, interrupts on, wait. Handler: acknowledge; on SETUP, send 18 bytes."""
    handler = asm(mov_dptr(0x9091), "e0", "f0",             # phase; writing it back acknowledges
                  "fa", "30e00c",                           # R2 = phase; no SETUP: only end the status stage
                  store(0x9003, 0), store(0x9004, 18),      # length of the answer
                  store(0x9092, 0x04), "32",                # send; RETI
                  store(0x9092, 0x0A), "32")                # status stage done; RETI
    skip = len(asm(store(0x9003, 0), store(0x9004, 18), store(0x9092, 4), "32"))
    handler = handler.replace(bytes.fromhex("30e00c"), bytes([0x30, 0xE0, skip]), 1)
    main = asm(*(store(0x9E00 + i, byte) for i, byte in enumerate(DEVICE_DESCRIPTOR)), "75a881", "80fe")
    image = bytearray(0x200)
    image[0:3] = asm("020100")                              # reset: LJMP main
    image[3:3 + len(handler)] = handler
    image[0x100:0x100 + len(main)] = main
    return bytes(image)


def test_an_image_answers_for_itself(tmp_path):
    path = tmp_path / "tiny.bin"
    path.write_bytes(tiny_image())
    adapter = EmulatedAdapter("probe", firmware=f"image:{path}")
    assert (adapter.getVendorID(), adapter.getProductID()) == (0xADD1, 0x1234)
    assert adapter.controlRead(0xC0, 0xE4, 0xB450, 0, 18, 1000) == DEVICE_DESCRIPTOR     # it knows nothing else
    with pytest.raises(usb1.USBErrorOverflow):
        adapter.controlRead(0xC0, 0xE4, 0xB450, 0, 4, 1000)
    assert adapter.controlWrite(0x40, 0xE5, 0x9E00, 0x55, b"", 1000) == 0                # acknowledged, not done
    assert adapter.controlRead(0xC0, 0xE4, 0, 0, 18, 1000) == DEVICE_DESCRIPTOR
    times = adapter.statistics()["requests"]["E4"]
    assert times["count"] == 3 and 0 < times["firmware_us"] / 3 < 5


@pytest.mark.parametrize("content, words", [(None, "cannot be read"), (b"", "no image"), (bytes(70_000), "no image"),
                                            (b"\x80\xfe", "no device descriptor")],
                         ids=["no file", "empty", "too long", "endless main"])
def test_bad_images_are_refused_by_name(tmp_path, content, words):
    path = tmp_path / "image.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        EmulatedAdapter("probe", firmware=f"image:{path}")


# ---- the genuine one, where somebody has it

GENUINE = os.environ.get("USBGPU_TEST_DOCK_FIRMWARE", "")
needs_genuine = pytest.mark.skipif(not Path(GENUINE).is_file(), reason="USBGPU_TEST_DOCK_FIRMWARE names no image")


@needs_genuine
def test_the_genuine_image_and_the_model_agree_on_requests():
    """Answers equal; the firmware's time within a tenth."""
    model, image = (EmulatedAdapter("probe", firmware=kind) for kind in ("custom", f"image:{GENUINE}"))
    answers = []
    for dock in (model, image):
        dock.setInterfaceAltSetting(0, 0)
        got = [dock.getDeviceDescriptor(), dock.getManufacturer(), dock.getProduct(), dock.getSerialNumber()]
        got += [bytes(dock.controlRead(0xC0, 0xE4, at, bank << 8, n, 1000))
                for at, bank, n in [(0xB450, 0, 1), (0xA000, 0, 255), (0xF000, 0, 512), (0xC8FF, 0, 1), (0x6025, 1, 1)]]
        dock.controlWrite(0x40, 0xE5, 0xA800, 0x5A, b"", 1000)
        got.append(bytes(dock.controlRead(0xC0, 0xE4, 0xA800, 0, 4, 1000)))
        for request in (bytes(12), b"\x00\x00\x00\x01" + bytes(8)):          # configuration reads of buses 0 and 1
            dock.controlWrite(0x40, 0xF0, 0x04 | 0xF << 8, 0, request, 1000)
            got.append(bytes(dock.controlRead(0xC0, 0xF0, 0, 0, 8, 1000)))
        payload = bytes(range(256)) * 64
        dock.controlWrite(0x40, 0xF2, 32, 0x0100, b"", 1000)
        dock.bulkWrite(0x02, payload, 1000)
        got.append(bytes(dock.controlRead(0xC0, 0xE4, 0xF000, 0, 512, 1000)))
        answers.append(got)
    assert answers[0] == answers[1]
    requests = [dock.statistics()["requests"] for dock in (model, image)]
    for kind in ("E4", "E5", "F2:out", "F0:single"):
        ours, theirs = (r[kind]["firmware_us"] / r[kind]["count"] for r in requests)
        assert ours == pytest.approx(theirs, rel=0.1), kind


@needs_genuine
@pytest.mark.parametrize("chip", ["navi31", "navi48"])
def test_the_driver_runs_on_the_genuine_image(chip):
    import numpy as np

    from torch_usbgpu.runtime import Device

    adapter = EmulatedAdapter(chip, firmware=f"image:{GENUINE}")
    data = np.arange(1 << 18, dtype=np.float32)
    back = np.zeros_like(data)
    for _ in range(2):                                       # cold, then warm
        with Device(adapter) as gpu:
            at = gpu.alloc(data.nbytes)
            gpu.copy_in(at, data)
            gpu.copy_out(back, at)
        assert np.array_equal(data, back)
        adapter.reopen()
