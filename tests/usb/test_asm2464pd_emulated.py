"""The adapter protocol against the emulated dock, with a bare endpoint in place of the GPU: strict about every rule."""
from __future__ import annotations

import pytest

from torch_usbgpu import errors
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.pcie import config
from torch_usbgpu.usb import Adapter
from torch_usbgpu.usb.faulty import Fault, FaultyHandle

DATA = bytes(i * 37 + (i >> 8) & 0xFF for i in range(5000))


def plug(*faults: str, chip: str = "probe", strict: bool = True) -> Adapter:
    adapter = Adapter(EmulatedAdapter(chip=chip, strict=strict, faults=faults))
    adapter.start()
    return adapter


@pytest.fixture
def adapter():
    adapter = plug()
    adapter.raise_link()
    yield adapter
    adapter.close()


@pytest.fixture
def memory(adapter) -> int:
    """PCIe address of the endpoint's memory."""
    gpu = config.find_gpu(adapter)
    config.assign_bars(adapter, gpu)
    return gpu.bars[0].address


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 1020, 4093])
def test_memory_of_any_alignment(adapter, memory, offset):
    for size in (1, 2, 3, 4, 5, 8, 1023, 1024, 1025, 3000):
        adapter.memory_write(memory, bytes(8192))
        adapter.memory_write(memory + offset, DATA[:size])
        assert adapter.memory_read(memory + offset, size) == DATA[:size]
        around = adapter.memory_read(memory, offset + size + 64)
        assert around == bytes(offset) + DATA[:size] + bytes(64), size


def test_single_dwords_and_streams_see_the_same_memory(adapter, memory):
    adapter.write32(memory + 64, 0x1234_5678)
    adapter.write(memory + 69, 0xAB, 1)
    assert adapter.memory_read(memory + 64, 8) == bytes([0x78, 0x56, 0x34, 0x12, 0, 0xAB, 0, 0])
    assert adapter.read32(memory + 64) == 0x1234_5678


def test_nobody_answers():
    adapter = plug(strict=False)
    adapter.raise_link()
    config.assign_bars(adapter, config.find_gpu(adapter))
    with pytest.raises(errors.LinkError, match="unsupported request"):
        adapter.read32(0x7_0000_0000)
    adapter.write32(0x7_0000_0000, 1)             # vanishes, as posted writes do
    assert adapter.config_read(4, 0, 0, 0, 2) == 0x1002


@pytest.mark.parametrize("nbytes", [1, 512, 16384, 100_000, 524_288 - 16384])
def test_data_is_in_the_sram_when_landed_says_so(nbytes):
    adapter = plug()
    data = (DATA * 110)[:nbytes]
    adapter.sram_write_landed(1, data)
    adapter.sram_write(0, b"visible")             # later transfers come after it
    while adapter.read_xdata(0xF000, 7) != b"visible":
        pass
    adapter.close()


def test_transfers_in_flight(adapter, memory):
    for number in range(8):
        slot = 16 * (number & 1)
        arm, fence = adapter.submit_sram_arm_out(slot, 4096), adapter.submit_read_xdata(0xA800, 8)
        assert arm.wait(5) == 0 and len(fence.wait(5)) == 8
        data = adapter.submit_sram_data(bytes([number]) * 4096)
        assert data.wait(5) == 4096
    adapter.submit_sram_arm_out(0, 65536).wait(5)
    data = adapter.submit_sram_data(bytes(65536))
    adapter.write32(memory, 1)                    # waits for what is in flight: strict mode would tell
    assert data.done and adapter.read32(memory) == 1


def test_an_sram_read_that_is_never_released(adapter, memory):
    adapter.sram_arm_in(1000)
    assert adapter.sram_finish_in(1000, timeout_ms=5) is None
    adapter.memory_write(memory, DATA)            # allowed meanwhile
    adapter.recover()
    assert adapter.memory_read(memory, 5000) == DATA


def test_a_foreign_mess_is_cleaned_up_by_start():
    """The last user armed streams and left: neither his data nor his count must reach us."""
    handle = EmulatedAdapter(chip="probe")
    first = Adapter(handle)
    first.start()
    first.raise_link()
    gpu = config.find_gpu(first)
    config.assign_bars(first, gpu)
    at = gpu.bars[0].address
    first.memory_write(at, DATA)
    first._arm_stream("left behind", 0x60, 1, at, 4096)
    second = Adapter(handle)
    second.start()
    assert second.memory_read(at, 5000) == DATA
    second._arm_stream("left behind", 0x20, 2, at + 64, 4096)
    third = Adapter(handle)
    third.start()
    assert third.memory_read(at, 5000) == DATA


@pytest.mark.parametrize("switch", ["crs:3", "tlp-error:3"])
def test_hiccups_of_the_link_are_ridden_out(switch):
    adapter = plug(switch)
    adapter.raise_link()
    gpu = config.find_gpu(adapter)
    config.assign_bars(adapter, gpu)
    assert gpu.device and adapter.stats.retries >= 3


@pytest.mark.parametrize("switch", ["no-link", "no-card"])
def test_no_way_to_the_card(switch):
    adapter = plug(switch)
    with pytest.raises(errors.LinkError) as caught:
        adapter.raise_link(timeout_s=0.3)
    assert "ltssm" in caught.value.state and "power cables" in caught.value.action


def test_power_cycle_brings_the_link_back(adapter, memory):
    adapter.power(False)
    assert not adapter.link_is_up()
    with pytest.raises(errors.LinkError):
        adapter.memory_read(memory, 4)
    adapter.raise_link()
    gpu = config.find_gpu(adapter)
    config.assign_bars(adapter, gpu)
    assert not gpu.kept and gpu.bars[0].address == memory
    assert adapter.read32(memory) == 0


def test_unplugged():
    adapter = plug("unplug-after:40")
    with pytest.raises(errors.DeviceLost):
        adapter.raise_link()
        config.find_gpu(adapter)
    with pytest.raises(errors.DeviceLost):
        adapter.read_xdata(0xA800, 1)


@pytest.mark.parametrize(("fault", "error"), [
    (Fault("timeout", op="bulkWrite"), errors.LinkTimeout), (Fault("timeout", op="bulkRead", skip=0), errors.LinkTimeout),
    (Fault("lost-answer", op="controlWrite", request=0xF0), errors.LinkTimeout), (Fault("io", op="bulkRead"), errors.LinkError),
    (Fault("short", op="bulkRead"), errors.LinkError)])
def test_after_any_failed_stream_the_next_one_is_right(fault, error):
    handle = EmulatedAdapter(chip="probe")
    calm = Adapter(handle)
    calm.start()
    calm.raise_link()
    gpu = config.find_gpu(calm)
    config.assign_bars(calm, gpu)
    at = gpu.bars[0].address
    calm.memory_write(at, DATA)
    adapter = Adapter(FaultyHandle(handle, [fault]))
    with pytest.raises(error):
        adapter.memory_write(at + 8192, DATA)
        adapter.memory_read(at, 4096)
    assert fault.hits == 1
    adapter.recover()
    assert adapter.memory_read(at, 5000) == DATA


@pytest.mark.parametrize("way", [Adapter.recover, Adapter.disarm, Adapter.start])
def test_data_that_is_stuck_is_taken_back(way):
    """Nobody armed the endpoint for it: left alone it would swallow the place of what is sent next."""
    adapter = plug(strict=False)
    adapter.raise_link()
    stuck = adapter.submit_sram_data(b"\xEE" * 512)
    way(adapter)
    assert stuck.done
    adapter.sram_write_landed(1, DATA)
    assert adapter.read_xdata(0xF000, 4) != b"\xEE" * 4
    gpu = config.find_gpu(adapter)
    config.assign_bars(adapter, gpu)
    adapter.memory_write(gpu.bars[0].address, DATA)
    assert adapter.memory_read(gpu.bars[0].address, 5000) == DATA


def test_at_high_speed():
    handle = EmulatedAdapter(chip="probe", usb="high")
    adapter = Adapter(handle)
    with pytest.warns(UserWarning, match="USB 2 speed"):
        adapter.start()
    assert adapter.has_sram and not adapter.can_arm_reads
    adapter.raise_link()
    assert len(adapter.read_xdata(0xF000, 200)) == 200       # the firmware hands out 64 bytes at a time
    gpu = config.find_gpu(adapter)
    config.assign_bars(adapter, gpu)
    adapter.memory_write(gpu.bars[0].address, DATA)
    assert adapter.memory_read(gpu.bars[0].address, 5000) == DATA


def test_usb4_mode_is_told_from_an_empty_slot():
    adapter = Adapter(EmulatedAdapter(chip="probe", firmware="usb4"))
    with pytest.warns(UserWarning):
        adapter.start()
    with pytest.raises(errors.WrongMode) as caught:
        adapter.raise_link()
    assert caught.value.mode == "usb4"
    adapter = Adapter(EmulatedAdapter(chip="probe", usb="high", faults=["no-card"]))
    with pytest.warns(UserWarning):
        adapter.start()
    with pytest.raises(errors.PcieLinkDown):
        adapter.raise_link(timeout_s=1.5)


@pytest.mark.parametrize("firmware", ["legacy", "stock", "rom", "bootstub"])
def test_other_firmware_is_refused(firmware):
    with pytest.raises(errors.WrongMode):
        Adapter(EmulatedAdapter(chip="probe", firmware=firmware)).start()
