"""The whole boot against the emulated dock: cold, warm, after a crash, with what can go wrong on the way."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from torch_usbgpu.amdgpu import Gpu, boot, layout
from torch_usbgpu.amdgpu.firmware import FirmwareStore
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import BootError, DeviceLost, FirmwareMismatch, FirmwareMissing, LinkError
from torch_usbgpu.usb import Adapter

# What a cold start may cost; a warm start a third of that. Lower the numbers when the boot gets cheaper.
COLD_TRANSFERS, COLD_MODELLED_SECONDS = 740, 0.050     # a few more when the PSP is slow: polls
WARM_TRANSFERS = 380


def names(gpu: Gpu) -> list[str]:
    return [step.name for step in gpu.boot_log]


def test_cold_boot(board):
    gpu = board.boot()
    assert (gpu.arch, gpu.name, gpu.compute_units) == ("gfx1100", "AMD Radeon RX 7900 XTX", 96)
    assert gpu.vram_bytes == 24 << 30 and gpu.memory.heap_end == gpu.vram_bytes - (64 << 20)
    assert names(gpu) == [step.__name__ for step in boot.FIND] + ["decide_state"] + [step.__name__ for step in boot.COLD]
    assert gpu.boot_log[len(boot.FIND)].detail == "cold start"
    assert gpu.regs.read("SCRATCH_REG7") == layout.LAYOUT_VERSION and gpu.regs.read("SCRATCH_REG6") == boot.RUNNING
    assert gpu.regs.read("CP_STAT") == 0 and gpu.regs.field("RLC_RLCS_BOOTLOAD_STATUS", "bootload_complete") == 1
    assert gpu.adapter.stats.errors == gpu.adapter.stats.retries == 0


def test_cold_boot_is_cheap(board):
    gpu = board.boot()
    stats = gpu.adapter.stats
    assert sum(step.transfers for step in gpu.boot_log) == stats.transfers <= COLD_TRANSFERS
    assert stats.modelled_seconds <= COLD_MODELLED_SECONDS


def test_vram_through_the_bar(board):
    gpu = board.boot()
    data = bytes(range(256)) * 17
    gpu.vram_write(gpu.memory.heap_start + 3, data)
    assert gpu.vram_read(gpu.memory.heap_start + 3, len(data)) == data
    far = gpu.memory.heap_end - len(data)
    gpu.vram_write(far, data)
    assert gpu.vram_read(far, len(data)) == data


def test_warm_start_after_a_clean_shutdown(board):
    first = board.boot()
    first.vram_write(first.memory.heap_start, b"still here")
    first.shutdown()
    gpu = board.boot()
    assert names(gpu)[len(boot.FIND) + 1:] == [step.__name__ for step in boot.WARM]
    assert gpu.vram_read(gpu.memory.heap_start, 10) == b"still here"
    assert gpu.adapter.stats.transfers <= WARM_TRANSFERS and gpu.pci.kept
    assert gpu.regs.read("SCRATCH_REG6") == boot.RUNNING


def test_warm_start_needs_no_firmware_files(board, tmp_path, monkeypatch):
    board.boot().shutdown()
    gpu = Gpu(Adapter(board.opened.handle), [tmp_path])
    monkeypatch.setattr("torch_usbgpu.amdgpu.firmware.SYSTEM_DIRECTORIES", ())
    gpu.boot()
    assert "adopt_memory" in names(gpu)


def test_a_process_that_died_leaves_a_board_that_is_reset(board):
    board.boot()                                  # no shutdown
    gpu = board.boot()
    assert "was in use; reset" in [step.detail for step in gpu.boot_log]
    assert names(gpu)[-1] == "create_queues"


@pytest.mark.parametrize(("register", "value"), [("SCRATCH_REG7", 0xA000_0008), ("SCRATCH_REG6", 1)])
def test_a_foreign_or_dirty_board_is_reset(board, register, value):
    first = board.boot()
    first.shutdown()
    first.regs.write(register, value)
    gpu = board.boot()
    assert "was in use; reset" in [step.detail for step in gpu.boot_log]


def test_a_failed_device_is_not_left_as_clean(board):
    gpu = board.boot()
    gpu.failed = True
    gpu.shutdown()
    assert gpu.regs.read("SCRATCH_REG6") != boot.CLEAN


def test_reset(board):
    gpu = board.boot()
    gpu.reset()
    assert "was in use; reset" in [step.detail for step in gpu.boot_log] and gpu.booted
    gpu.check_faults()


def test_reset_after_the_card_lost_power(board):
    gpu = board.boot()
    gpu.adapter.power(False)
    gpu.reset()
    assert not gpu.pci.kept and "cold" in [step.detail for step in gpu.boot_log]
    gpu.vram_write(gpu.memory.heap_start, b"alive again!")
    assert gpu.vram_read(gpu.memory.heap_start, 12) == b"alive again!"


def test_shutdown_twice_and_without_boot(board):
    gpu = board.open()
    gpu.shutdown()
    gpu.boot()
    gpu.shutdown()
    before = gpu.adapter.stats.transfers
    gpu.shutdown()
    assert gpu.adapter.stats.transfers == before


def test_power_cycle_in_between(board):
    first = board.boot()
    first.adapter.power_cycle()
    gpu = board.boot()
    assert not gpu.pci.kept and "load_firmware" in names(gpu)


# ---- the way there

def test_missing_firmware_stops_before_anything_is_loaded(board, tmp_path, monkeypatch):
    monkeypatch.setattr("torch_usbgpu.amdgpu.firmware.SYSTEM_DIRECTORIES", ())
    monkeypatch.setattr("torch_usbgpu.amdgpu.firmware.user_directory", lambda: tmp_path / "none")
    gpu = Gpu(Adapter(board.opened.handle), [tmp_path])
    with pytest.raises(FirmwareMissing, match="psp_13_0_0_sos.bin"):
        gpu.boot()
    assert gpu.boot_log[-1].name == "start_security_processor" and gpu.boot_log[-1].detail.startswith("FAILED")
    assert board.boot().booted                    # and it is no lasting damage


@pytest.mark.parametrize(("kind", "part"), [("mec", "RS64_MEC"), ("sos", "PSP_KDB"), ("smu", "SMU")])
def test_the_gpu_refuses_a_forged_part(board, tmp_path, kind, part):
    source = board.opened.firmware_dirs[0]
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    store = FirmwareStore(_navi31(), [tmp_path])
    file = store.file(kind)
    path, place = tmp_path / file.name, file.slices[part]
    image = bytearray(path.read_bytes())
    image[place.offset:place.offset + place.size] = bytes(place.size)
    path.write_bytes(image)
    with pytest.raises((FirmwareMismatch, BootError)) as caught:
        Gpu(Adapter(board.opened.handle), [tmp_path]).boot()
    assert caught.value.code in ("USBGPU-202", "USBGPU-204")


def _navi31():
    from torch_usbgpu.amdgpu.facts import load
    return load("chips")["chips"]["navi31"]


@pytest.mark.parametrize(("switch", "error"), [("no-link", LinkError), ("unplug-after:200", DeviceLost)])
def test_faults_of_the_dock(board, switch, error):
    handle = EmulatedAdapter(vram_bytes=1 << 30, faults=[switch])
    gpu = Gpu(Adapter(handle), board.opened.firmware_dirs)
    with pytest.raises(error):
        gpu.boot()
    assert gpu.boot_log[-1].detail.startswith("FAILED")
    gpu.shutdown()


def test_boot_breaks_no_rule_of_the_adapter(board):
    """Strict mode raises at whatever hardware would answer with silence, and lets bulk data land late."""
    handle = EmulatedAdapter(vram_bytes=1 << 30, strict=True)
    gpu = Gpu(Adapter(handle), board.opened.firmware_dirs)
    gpu.boot()
    assert gpu.vram_bytes == 1 << 30
    gpu.shutdown()


def test_small_bar(board):
    """VRAM beyond a BAR of 256 MiB is reached through the index registers, dword by dword."""
    gpu = board.boot()
    data = bytes(range(64))
    gpu.vram_write(1 << 30, data)
    object.__setattr__(gpu.pci.bars[0], "size", 256 << 20)
    assert gpu.vram_read(1 << 30, 64) == data
    gpu.vram_write((1 << 30) + 64, data)
    object.__setattr__(gpu.pci.bars[0], "size", 32 << 30)
    assert gpu.vram_read(1 << 30, 128) == data + data


# ---- genuine firmware

GENUINE = os.environ.get("USBGPU_TEST_FIRMWARE") or os.environ.get("USBGPU_FIRMWARE") or ""


@pytest.mark.skipif(not (Path(GENUINE) / "psp_13_0_0_sos.bin").is_file() if GENUINE else True,
                    reason="AMD's firmware files are not here; .ci/fetch_firmware.sh DIRECTORY gets them, "
                           "USBGPU_TEST_FIRMWARE names the directory")
def test_boot_with_genuine_firmware():
    handle = EmulatedAdapter(vram_bytes=1 << 30)
    gpu = Gpu(Adapter(handle), [GENUINE])
    gpu.boot()
    assert str(gpu.firmware.file("mec").origin).startswith(GENUINE)
    loaded = next(step.detail for step in gpu.boot_log if step.name == "load_firmware")
    for kind, part in gpu.firmware.load_order():
        assert not kind or part in loaded
    gpu.shutdown()
