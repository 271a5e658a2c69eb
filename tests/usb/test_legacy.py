"""The patched stock firmware, over both transports, strict about every rule; and what goes over the wire."""
from __future__ import annotations

import os
import struct

import pytest
import usb1

from torch_usbgpu import errors
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.pcie import config
from torch_usbgpu.usb import Adapter, adapter_for, libusb
from torch_usbgpu.usb.legacy import LegacyAdapter
from torch_usbgpu.usb.scsi import Bot, Command
from torch_usbgpu.usb.uas import Uas

pytestmark = pytest.mark.filterwarnings("ignore:The dock runs")
DATA = bytes(i * 37 + (i >> 8) & 0xFF for i in range(700))


def plug(*faults: str, streams: bool = True, strict: bool | int = True) -> LegacyAdapter:
    adapter = LegacyAdapter(EmulatedAdapter("probe", firmware="legacy", strict=strict, faults=faults), streams=streams)
    adapter.start()
    return adapter


@pytest.fixture(params=[True, False], ids=["uas", "bulk-only"])
def adapter(request):
    adapter = plug(streams=request.param)
    assert isinstance(adapter.scsi, Uas if request.param else Bot)
    adapter.raise_link()
    yield adapter
    assert not adapter.handle.violations
    adapter.close()


@pytest.fixture
def memory(adapter) -> int:
    gpu = config.find_gpu(adapter)
    config.assign_bars(adapter, gpu)
    return gpu.bars[0].address


def test_it_is_chosen_and_warns():
    handle = EmulatedAdapter("probe", firmware="legacy")
    adapter = adapter_for(handle)
    assert isinstance(adapter, LegacyAdapter)
    assert not (adapter.can_arm_reads or adapter.can_stream or adapter.sram_slots) and adapter.has_sram
    with pytest.warns(UserWarning, match="patched stock firmware"):
        adapter.start()
    handle.close()
    with pytest.raises(errors.WrongMode) as caught:
        LegacyAdapter(EmulatedAdapter("probe")).start()
    assert caught.value.mode == "custom"


class FourMethods:
    """Somebody else's handle: transfers, and nothing else."""

    def __init__(self, handle):
        self._held = handle
        for name in ("controlWrite", "controlRead", "bulkWrite", "bulkRead"):
            setattr(self, name, getattr(handle, name))


@pytest.mark.parametrize("firmware", ["custom", "custom-2026-08", "legacy"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["all-methods", "four-methods"])
def test_both_protocols_do_the_same(firmware, wrapped):
    """PCIe on or off at the start, both vendors' ids, both protocols: one card behind them."""
    handle = EmulatedAdapter("probe", firmware=firmware, strict=True)
    adapter = adapter_for(FourMethods(handle) if wrapped else handle)
    assert adapter.identity.mode == firmware.split("-")[0]
    adapter.start()
    adapter.raise_link()
    assert adapter.link_is_up()
    gpu = config.find_gpu(adapter)
    config.assign_bars(adapter, gpu)
    at = gpu.bars[0].address
    adapter.memory_write(at + 5, DATA)
    adapter.write32(at + 8, 0x1234_5678)
    adapter.submit_write32(at + 16, 7).wait(5)
    assert adapter.read32(at + 8) == 0x1234_5678 and adapter.read32(at + 16) == 7
    assert adapter.memory_read(at + 5, 3) == DATA[:3] and adapter.memory_read(at + 20, 99) == DATA[15:114]
    adapter.sram_write_landed(1, DATA)
    with pytest.raises(errors.LinkError, match="unsupported request"):
        adapter.read32(0x7_0000_0000)
    assert adapter.config_read(gpu.bus, 0, 0, 0, 2) == 0x1002
    adapter.power_cycle()
    assert adapter.link_is_up() and config.find_gpu(adapter).bus == gpu.bus
    handle.close()


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_memory_of_any_alignment(adapter, memory, offset):
    for size in (1, 2, 3, 4, 5, 8, 100):
        adapter.memory_write(memory, bytes(128))
        adapter.memory_write(memory + offset, DATA[:size])
        assert adapter.memory_read(memory + offset, size) == DATA[:size]
        assert adapter.memory_read(memory, offset + size + 8) == bytes(offset) + DATA[:size] + bytes(8), size


def test_xdata(adapter):
    adapter.write_xdata(0x1234, DATA[:300])
    assert adapter.read_xdata(0x1234, 300) == DATA[:300]            # 255 bytes at a time
    adapter.write_xdata(0x2000, b"\x5A", bank=1)
    assert adapter.read_xdata(0x2000, 1, bank=1) == b"\x5A" and adapter.read_xdata(0x2000, 1) == b"\0"


@pytest.mark.parametrize("slot, nbytes", [(0, 5), (0, 16384), (0, 16385), (0, 524288), (1, 4), (1, 100_000), (31, 16384)])
def test_sram(adapter, memory, slot, nbytes):
    """What the endpoint's DMA engine finds there, twice: the second write must not land behind the first."""
    at = slot * 16384 + nbytes - 4 & ~3
    for _ in range(2):
        data = os.urandom(nbytes)
        adapter.sram_write_landed(slot, data)
        registers = config.find_gpu(adapter)
        config.assign_bars(adapter, registers)
        base = registers.bars[5].address
        for register, value in ((0, 0x20_0000 + at), (4, 0), (8, 0), (12, 4), (16, 2)):     # SRAM to memory
            adapter.write32(base + register, value)
        image = bytes(slot * 16384) + data + bytes(4)
        assert adapter.memory_read(memory, 4) == image[at:at + 4]
        assert adapter.read_xdata(0xF000, 64) == image[:64].ljust(64, b"\0")


@pytest.mark.parametrize("slot, nbytes", [(0, 0), (0, 524289), (31, 16385)])
def test_sram_has_bounds(adapter, slot, nbytes):
    with pytest.raises(ValueError):
        adapter.sram_write(slot, bytes(nbytes))


def test_refused_reads_of_memory_are_seen(adapter, memory):
    with pytest.raises(errors.LinkError, match="unsupported request"):
        adapter.memory_read(0x7_0000_0000, 64)
    assert len(adapter.memory_read(memory, 64)) == 64


def test_engine_errors_are_repeated():
    adapter = plug("tlp-error:3", streams=False)
    gpu = config.find_gpu(adapter)
    config.assign_bars(adapter, gpu)
    at = gpu.bars[0].address
    adapter.memory_write(at, DATA)
    assert adapter.memory_read(at, len(DATA)) == DATA
    assert adapter.stats.retries > 100
    adapter.close()


def test_no_card():
    adapter = plug("no-card", strict=False)
    with pytest.raises(errors.PcieLinkDown):
        adapter.raise_link(timeout_s=0.2)
    with pytest.raises(errors.PcieLinkDown, match="link is down"):
        adapter.config_read(0, 0, 0, 0)
    adapter.close()


def test_going_on_after_a_failure():
    """Registers that may or may not have been written are written again."""
    adapter = plug(streams=False)
    gpu = config.find_gpu(adapter)
    config.assign_bars(adapter, gpu)
    at = gpu.bars[0].address
    adapter.write32(at, 1)
    run, adapter.scsi.run = adapter.scsi.run, lambda commands: (_ for _ in ()).throw(errors.LinkTimeout("gone"))
    with pytest.raises(errors.LinkTimeout):
        adapter.write32(at + 4, 2)
    adapter.scsi.run = run
    adapter.recover()
    adapter.write32(at + 4, 3)
    assert adapter.read32(at + 4) == 3 and adapter.read32(at) == 1
    adapter.close()


@pytest.mark.parametrize("cut_after", range(1, 9))
@pytest.mark.parametrize("anew", [False, True], ids=["recovered", "by another process"])
def test_a_write_after_one_that_was_cut_off(cut_after, anew):
    """The firmware goes on where the last write ended: the next one must not land behind it."""
    adapter = plug(streams=False, strict=False)
    run, left = adapter.scsi.run, cut_after

    def broken(commands, *more):
        nonlocal left
        left -= 1
        if not left:
            run(commands, *more)        # it did run; only the answer is lost
            raise errors.LinkTimeout("gone")
        return run(commands, *more)

    adapter.sram_write(0, b"before")
    adapter.scsi.run = broken
    with pytest.raises(errors.LinkTimeout):
        adapter.sram_write(0, bytes(524288))
    adapter.scsi.run = run
    if anew:
        adapter = LegacyAdapter(adapter.handle, streams=False)
        adapter.start()
    else:
        adapter.recover()
    adapter.sram_write(0, DATA)
    assert adapter.read_xdata(0xF000, len(DATA)) == DATA
    adapter.close()


def test_restart_and_attach():
    handle = EmulatedAdapter("probe", firmware="legacy", strict=True)
    adapter = LegacyAdapter(handle)
    adapter.start()
    adapter.restart_cpu()
    handle.reopen()
    adapter.attach(handle)
    assert not adapter.started
    adapter.start()
    adapter.raise_link()
    assert config.find_gpu(adapter).vendor == 0x1002
    adapter.close()


class Recorder:
    """A transport that keeps commands and answers reads of the packet engine as scripted."""

    def __init__(self, *flags: int, header: int = 4, data: int = 0x1122_3344):
        self.flags, self.header, self.data = list(flags), header, data
        self.commands: list[Command] = []

    def run(self, commands):
        self.commands += commands
        return [self._answer(command) for command in commands]

    def _answer(self, command: Command) -> bytes:
        if not command.length_in:
            return b""
        address = int.from_bytes(command.cdb[3:5], "big")
        if address == 0xB296:
            return bytes([self.flags.pop(0) if self.flags else 2])
        if address == 0xB220:
            return struct.pack(">I6xH", self.data, self.header)
        return bytes(command.length_in)

    def writes(self) -> list[tuple[int, int]]:
        assert all(command.cdb[2] == 0x50 and len(command.cdb) == 6 for command in self.commands)
        return [(int.from_bytes(c.cdb[3:5], "big"), c.cdb[1]) for c in self.commands if c.cdb[0] == 0xE5]


def recorded(*flags, **options) -> tuple[LegacyAdapter, Recorder]:
    adapter = LegacyAdapter(object())
    adapter.scsi = Recorder(*flags, **options)
    return adapter, adapter.scsi


def test_a_packet_is_poked_in_and_only_what_changes():
    adapter, wire = recorded()
    adapter.write32(0x8_1234_5678, 0xAABB_CCDD)
    assert wire.writes() == [(0xB210, 0x60), (0xB217, 0x0F), (0xB218, 0x12), (0xB219, 0x34), (0xB21A, 0x56),
                             (0xB21B, 0x78), (0xB21C, 0), (0xB21D, 0), (0xB21E, 0), (0xB21F, 8), (0xB220, 0xAA),
                             (0xB221, 0xBB), (0xB222, 0xCC), (0xB223, 0xDD), (0xB254, 0x0F), (0xB296, 4)]
    wire.commands.clear()
    adapter.write32(0x8_1234_5678, 0xAABB_CCDD)         # a doorbell may be rung twice with one value
    assert wire.writes() == [(0xB254, 0x0F), (0xB296, 4)]
    wire.commands.clear()
    adapter.write(0x8_1234_5679, 0x77, 1)
    assert wire.writes() == [(0xB217, 2), (0xB220, 0), (0xB221, 0), (0xB222, 0x77), (0xB223, 0), (0xB254, 0x0F),
                             (0xB296, 4)]


def test_a_read_clears_done_first_and_waits_for_it():
    adapter, wire = recorded(0, 0, 2)
    assert adapter.read32(0x1000_0010) == 0x1122_3344
    assert wire.writes()[-3:] == [(0xB296, 2), (0xB296, 4), (0xB254, 0x0F)] and not wire.flags


def test_a_completion_overwrites_the_data_registers():
    adapter, wire = recorded()
    adapter.write32(0x1000_0010, 0xAABB_CCDD)
    adapter.read32(0x1000_0010)
    wire.commands.clear()
    adapter.write32(0x1000_0010, 0xAABB_CCDD)
    assert [(0xB220, 0xAA), (0xB221, 0xBB), (0xB222, 0xCC), (0xB223, 0xDD)] == [
        write for write in wire.writes() if 0xB220 <= write[0] < 0xB224]


def test_after_a_failure_nothing_is_taken_for_written():
    adapter, wire = recorded()
    adapter.write32(0x8_0000_0010, 1)
    complete = wire.writes()
    run, wire.run = wire.run, lambda commands: (_ for _ in ()).throw(errors.LinkTimeout("gone"))
    with pytest.raises(errors.LinkTimeout):
        adapter.write32(0x8_0000_0014, 2)
    wire.run = run
    wire.commands.clear()
    adapter.write32(0x8_0000_0010, 1)
    assert wire.writes() == complete


def test_the_error_flag_is_cleared_and_the_packet_repeated():
    adapter, wire = recorded(1, 3, 2)
    assert adapter.read32(0x1000_0010) == 0x1122_3344
    assert wire.writes().count((0xB296, 1)) == 2 and adapter.stats.retries == 2


@pytest.mark.parametrize("status, name", [(1, "unsupported request"), (4, "completer abort")])
def test_bad_completions(status, name):
    adapter, _ = recorded(header=status << 13 | 4)
    with pytest.raises(errors.LinkError, match=name):
        adapter.read32(0x8_0000_0000)


def test_a_completion_that_never_comes(monkeypatch):
    monkeypatch.setattr("torch_usbgpu.usb.legacy.COMPLETION_SECONDS", 0)
    monkeypatch.setattr("torch_usbgpu.usb.bridge.TLP_RETRY_SECONDS", 0)
    adapter, _ = recorded(*[0] * 1000)
    with pytest.raises(errors.LinkError, match="10 times"):
        adapter.read32(0x8_0000_0000)


# ---- below the real transport

class Bus:
    def __init__(self, handle):
        self.device = handle
        handle.getBusNumber, handle.getDeviceAddress = lambda: 2, lambda: 5
        handle.getPortNumberList = lambda: [1, 4]
        handle.open = lambda: handle

    def getDeviceIterator(self, skip_on_error=False):
        return iter([self.device])

    def close(self):
        pass


def test_through_the_libusb_transport(tmp_path, monkeypatch):
    """Claimed from the disk driver, bulk-only because python-libusb1 has no streams."""
    monkeypatch.setattr(libusb, "lock_path", lambda bus_port: tmp_path / f"{bus_port}.lock")
    handle = EmulatedAdapter("probe", firmware="legacy", strict=True)
    opened = libusb.open_adapter(context=Bus(handle))
    adapter = adapter_for(opened.handle)
    assert isinstance(adapter, LegacyAdapter) and isinstance(adapter.scsi, Bot)
    adapter.start()
    assert adapter.describe()["transport"] == "bulk-only" and adapter.describe()["pcie_lanes"] == 1
    assert opened.handle.isAttached() and opened.serial == "000000000001"
    handle.unplug()
    with pytest.raises(errors.DeviceLost):
        adapter.read_xdata(0, 1)
    opened.handle.close()


def test_no_streams_at_high_speed():
    handle = EmulatedAdapter("probe", firmware="legacy", usb="high", strict=True)
    adapter = adapter_for(handle)
    adapter.start()
    assert isinstance(adapter.scsi, Bot) and adapter.describe()["usb_gbps"] == 0.48
    assert isinstance(adapter_for(EmulatedAdapter("probe")), Adapter)
    adapter.close()


def test_an_ambiguous_error_of_a_command(monkeypatch):
    adapter = plug(streams=False)
    monkeypatch.setattr(adapter.handle, "bulkWrite", lambda *_a, timeout=0: (_ for _ in ()).throw(usb1.USBErrorIO()))
    with pytest.raises(errors.LinkError) as caught:
        adapter.read_xdata(0, 1)
    assert type(caught.value) is errors.LinkError       # it answers for its descriptor
    adapter.handle.unplug()
    with pytest.raises(errors.DeviceLost):
        adapter.read_xdata(0, 1)
