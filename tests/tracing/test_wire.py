"""Requests by name and meaning, from hand-made transfers."""
from __future__ import annotations

import struct

import pytest

from torch_usbgpu.tracing.chip import Chip
from torch_usbgpu.tracing.memory import Memory, Pages
from torch_usbgpu.tracing.pci import Pci
from torch_usbgpu.tracing.text import Filter
from torch_usbgpu.tracing.wire import WireDecoder

OK = bytes([4, 4, 1, 0])


def out(request, value, index, data=b""):
    return "controlWrite", (0x40, request, value, index, data), len(data)


def single(fmt, address, value=0, enables=0xF):
    return out(0xF0, fmt | enables << 8, 0, struct.pack("<QI", address, value))


def answer(value):
    return "controlRead", (0xC0, 0xF0, 0, 0, 8), struct.pack("<I", value) + OK[:1] + b"\0\1\0"


def feed(decoder, *transfers):
    for transfer in transfers:
        decoded = decoder.transfer(*transfer)
    return decoded


def board(decoder, device=0x744C):
    """A GPU at bus 4 with BAR0, BAR2 and BAR5 placed."""
    base = 4 << 24
    feed(decoder, single(5, base), answer(device << 16 | 0x1002), single(5, base + 0xC), answer(0))
    for register, kind, address in ((0x10, 0xC, 0x8_0000_0000), (0x18, 0xC, 0x10_0000_0000), (0x24, 0, 0x1000_0000)):
        feed(decoder, single(5, base + register), answer(kind))
        feed(decoder, single(0x45, base + register, address & 0xFFFFFFFF))
        if kind:
            feed(decoder, single(0x45, base + register + 4, address >> 32))
    return decoder


@pytest.mark.parametrize("transfer, name, text", [
    (("controlRead", (0xC0, 0xE4, 0xB450, 0, 1), b"\x78"), "read_xdata", "XDATA LTSSM (0xb450) -> 78 (link up)"),
    (("controlRead", (0xC0, 0xE4, 0xB450, 0, 1), b"\x01"), "read_xdata", "XDATA LTSSM (0xb450) -> 01 (detect: active)"),
    (("controlRead", (0xC0, 0xE4, 0xA804, 0, 4), b"\1\2\3\4"), "read_xdata", "XDATA fence+0x4 (0xa804) -> 01020304"),
    (("controlRead", (0xC0, 0xE4, 0x4092, 0x100, 1), b"\x34"), "read_xdata", "XDATA firmware RAM+0x4092 (0x4092, bank 1) -> 34"),
    (out(0xE5, 0xCC31, 1), "write_xdata", "XDATA CPU control (0xcc31) = 0x01"),
    (out(0xF3, 1, 0), "pcie_power", "PCIe power on"),
    (out(0xF2, 32, 1 << 8 | 8), "sram_arm_out", "arm bulk OUT: 16384 bytes to SRAM slot 8"),
    (out(0xF2, 0x8009, 1 << 8), "sram_arm_in", "arm bulk IN: 4608 bytes of SRAM from slot 0, released by the GPU"),
    (("clearHalt", (0x81,), None), "clear_halt", "endpoint 0x81"),
    (single(4, 0x04, 0), "pcie_single", "config read 00:00.0 COMMAND"),
    (single(0x45, 4 << 24 | 0x04, 6, enables=1), "pcie_single", "config write 04:00.0 COMMAND = 0x6 (memory, bus master)"),
    (single(0x40, 0x20_0000, 5), "pcie_single", "write PCIe 0x200000 = 0x5"),
    (out(0x99, 1, 2), "request_0x99", "request 0x99 value 0x0001 index 0x0002, 0 bytes"),
    (("bulkWrite", (2, b"1234"), 4), "bulk_out", "4 bytes, nothing armed"),
])
def test_requests(transfer, name, text):
    decoded = WireDecoder().transfer(*transfer)
    assert (decoded.name, decoded.text) == (name, text)


@pytest.mark.parametrize("raw, text", [
    (struct.pack("<IBBBB", 0, 0x20, 0, 0, 0), "-> unsupported request"),
    (struct.pack("<IBBBB", 0, 0, 0, 0, 0xFF), "-> engine error 0xff"),
    (struct.pack("<IBBBB", 0x1234, 0, 4, 1, 0), "-> 0x00001234"),
    (b"\0\0", "no completion (2 bytes)"),
])
def test_completions(raw, text):
    decoder = WireDecoder()
    feed(decoder, single(0x20, 0x1_0000_0000))
    assert decoder.transfer("controlRead", (0xC0, 0xF0, 0, 0, 8), raw).text == text


def test_error_is_named():
    decoded = WireDecoder().transfer("bulkRead", (0x81, 512), None, "USBErrorTimeout")
    assert decoded.text.endswith("!! USBErrorTimeout") and decoded.details["error"] == "USBErrorTimeout"


@pytest.mark.parametrize("address, place", [
    (0x8_0000_1234, "VRAM 0x1234"), (0x1000_0000 + 4 * 0x16061, "register MP0_SMN_C2PMSG_33"),
    (0x10_0000_0018, "doorbells 0x18"), (0x7000_0000, "PCIe 0x70000000"),
])
def test_places(address, place):
    decoder = board(WireDecoder())
    assert feed(decoder, single(0x20, address)).text == f"read {place}"


def test_bar_sizes_are_learnt_from_probing():
    pci = Pci()
    base = 4 << 24
    pci.read(base, 0x744C1002), pci.read(base + 0xC, 0)
    pci.read(base + 0x24, 0)
    pci.written(base + 0x24, 0xFFFFFFFF, 0xF)
    assert 5 not in pci.bars()                     # while it is probed it lies nowhere
    pci.read(base + 0x24, 0xFFF80000)
    pci.written(base + 0x24, 0x10000000, 0xF)
    assert pci.bars() == {5: (0x10000000, 512 << 10)}


@pytest.mark.parametrize("device, register, name", [
    (0x744C, 0x1260 + 8113, "CP_HQD_PQ_BASE"), (0x7550, 0x1260 + 8113, "CP_HQD_PQ_BASE"),
])
def test_register_names_by_device_id(device, register, name):
    decoder = board(WireDecoder(), device)
    assert decoder.chip.name == {0x744C: "navi31", 0x7550: "navi48"}[device]
    assert name in feed(decoder, single(0x40, 0x1000_0000 + 4 * register, 1)).text


def test_registers_of_further_instances():
    chip = Chip("navi31")
    names = {register.name: address for address, register in chip.by_address.items()}
    assert names["GCVM_CONTEXT5_CNTL"] == names["GCVM_CONTEXT0_CNTL"] + 5
    assert names["GCVM_INVALIDATE_ENG3_REQ"] == names["GCVM_INVALIDATE_ENG0_REQ"] + 3
    assert names["SDMA0_QUEUE2_RB_CNTL"] == names["SDMA0_QUEUE0_RB_CNTL"] + 2 * 88


def test_index_data_pair():
    decoder = board(WireDecoder())
    feed(decoder, single(0x40, 0x1000_0000 + 4 * 0x14, 4 * (0x1260 + 8113)))
    decoded = feed(decoder, single(0x40, 0x1000_0000 + 4 * 0x15, 0x99))
    assert decoded.text.startswith("write CP_HQD_PQ_BASE (RSMU) = 0x00000099")


def test_fields_of_a_register():
    decoder = board(WireDecoder())
    feed(decoder, single(0x20, 0x1000_0000 + 4 * (40960 + 2304)))
    decoded = feed(decoder, answer(0x104))
    assert decoded.details["fields"] == {"meid": 1, "queueid": 1}
    assert decoded.text == "-> GRBM_GFX_CNTL 0x00000104 (meid=0x1, queueid=0x1)"


def test_streams_continue_over_several_bulk_transfers():
    decoder = board(WireDecoder())
    feed(decoder, out(0xF0, 0xF60, 1, struct.pack("<QI", 0x8_0000_2000, 4)))
    assert "VRAM 0x2000" in feed(decoder, ("bulkWrite", (2, bytes(8)), 8)).text
    assert "VRAM 0x2008" in feed(decoder, ("bulkWrite", (2, bytes(8)), 8)).text
    assert "nothing armed" in feed(decoder, ("bulkWrite", (2, bytes(8)), 8)).text
    assert decoder.memory.vram.read(0x2000, 16) == bytes(16)


def test_sram_data_goes_to_the_oldest_window():
    decoder = WireDecoder()
    feed(decoder, out(0xF2, 1, 8), out(0xF2, 1, 9))
    assert "slot 8" in feed(decoder, ("bulkWrite", (2, b"\1" * 512), 512)).text
    assert "slot 9" in feed(decoder, ("bulkWrite", (2, b"\2" * 512), 512)).text
    assert decoder.memory.sram.read(9 * 16384, 4) == b"\2" * 4


def test_pages_know_what_was_written():
    pages = Pages()
    pages.write(4094 & ~3, b"abcdefgh")
    assert pages.read(4092, 8) == b"abcdefgh"
    assert pages.read(4092, 12) is None and pages.read(0, 4) is None


@pytest.mark.parametrize("family, leaf", [("gfx11", 1 << 54), ("gfx12", 1 << 63)])
def test_page_walk(family, leaf):
    """root -> directory -> a 1 GiB page of VRAM, and through two more tables to a 4 KiB page of SRAM."""
    values = {"GCVM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32": 0x1001, "GCVM_CONTEXT0_PAGE_TABLE_START_ADDR_LO32": 0x1000}
    memory = Memory(values.get, lambda: family)

    def entry(table, index, value):
        memory.vram.write(table + 8 * index, value.to_bytes(8, "little"))

    entry(0x1000, 0, 0x2000 | 1)
    entry(0x2000, 3, 0x4000_0000 | 1 | leaf)
    entry(0x2000, 4, 0x3000 | 1)
    entry(0x3000, 0, 0x4000 | 1)
    entry(0x4000, 2, 0x20_5000 | 3 | (leaf if family == "gfx12" else 0))
    start = 0x1000 << 12
    assert memory.resolve(start + (3 << 30) + 0x1234) == (memory.vram, 0x4000_1234)
    assert memory.resolve(start + (4 << 30) + 0x2010) == (memory.sram, 0x5010)
    assert memory.resolve(start + (5 << 30)) is None


@pytest.mark.parametrize("words, category, names, admitted", [
    ([], "xdata", [], True), (["xdata"], "xdata", [], True), (["config"], "xdata", [], False),
    (["CP_*"], "registers", ["cp_stat"], True), (["CP_*"], "registers", ["SDMA0"], False),
    (["config", "CP_*"], "registers", ["CP_STAT"], True),
])
def test_filter(words, category, names, admitted):
    assert Filter(words).admits(category, *names) is admitted


def test_filter_refuses_typing_errors():
    with pytest.raises(ValueError, match="no category"):
        Filter(["regsters"])
