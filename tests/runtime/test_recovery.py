"""The recovery ladder: each rung brings back what it is for, says what is lost, and keeps to its time."""
from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from torch_usbgpu import compiler, errors
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device, recovery
from torch_usbgpu.usb import open_handle

from ..chip import CHIP

SOURCE = r"""
extern "C" __global__ void add(float* x, int n) { int i = blockIdx.x * 256 + threadIdx.x; if (i < n) x[i] += 1; }
extern "C" __global__ void spin(volatile int* flag) { while (flag[0] == 0) {} }
extern "C" __global__ void store(int* to) { to[threadIdx.x] = 1; }
"""
BIG = 700_000           # bytes: several chunks of a bulk copy
RUNGS = {rung.name: rung for rung in recovery.LADDER}
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "recovery.md"


class Dock:
    """A device on an emulated dock, with a kernel set and something in VRAM that must or must not survive."""

    def __init__(self, **options):
        self.adapter = EmulatedAdapter(CHIP, vram_bytes=1 << 30, **options)
        self.open()

    def open(self):
        self.device = Device(self.adapter)
        self.kernels = self.device.load(compiler.compile(SOURCE, self.device.arch))
        self.content = np.random.default_rng(1).standard_normal(BIG // 4, np.float32)
        self.kept = self.device.alloc(self.content.nbytes)
        self.device.copy_in(self.kept, self.content)

    def read(self) -> np.ndarray:
        values = np.empty_like(self.content)
        self.device.copy_out(values, self.kept)
        return values

    def assert_works(self) -> None:
        """Every road over the cable: inline data, a data window, a kernel, small and large read-backs, bulk copies."""
        for n in (3, 1000, 20_000, 200_000):
            values = np.arange(n, dtype=np.float32)
            at = self.device.alloc(values.nbytes)
            self.device.copy_in(at, values)
            self.device.launch(self.kernels["add"], (-(-n // 256),), (256,), [at, np.int32(n)])
            back = np.empty_like(values)
            self.device.copy_out(back, at)
            np.testing.assert_array_equal(back, values + 1)
            self.device.free(at)

    def assert_kept(self, vram_lost: bool) -> None:
        values = self.read()
        if vram_lost:
            assert np.isnan(values).all()
            self.device.copy_in(self.kept, self.content)
            values = self.read()
        np.testing.assert_array_equal(values, self.content)


@pytest.fixture
def dock(monkeypatch):
    # the emulated board is back at once; hardware is given its second
    monkeypatch.setattr("torch_usbgpu.amdgpu.boot.MODE1_RESET_SECONDS", 0.02)
    dock = Dock()
    yield dock
    dock.device.close()


# ---- the rungs

@pytest.mark.filterwarnings("ignore:The content of the GPU's memory:RuntimeWarning")
@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_brings_back_a_device_that_works(dock, name):
    dock.assert_works()
    report = dock.device.reset(name)
    assert report.rung == name and len(report.steps) == 1
    assert report.steps[0].seconds < RUNGS[name].seconds
    assert report.vram_lost == (not RUNGS[name].keeps_vram)
    if report.vram_lost:
        assert report.lost_bytes >= dock.content.nbytes and report.lost == "all of VRAM"
    dock.assert_kept(report.vram_lost)
    dock.assert_works()


def test_the_ladder_is_documented():
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text.split("<!-- ladder:")[1].split("-->\n")[1].split("<!-- end")[0]
    assert table == ladder_table(), "docs/recovery.md: replace the table by this test's"


def ladder_table() -> str:
    rows = "".join(f"| {rung.name} | {rung.does} | {rung.lost} | {rung.seconds:g} s |\n" for rung in recovery.LADDER)
    return f"| rung | what it does | what is lost | at most |\n|---|---|---|---|\n{rows}"


def test_a_healthy_device_loses_nothing(dock):
    values = np.arange(64, dtype=np.float32)
    dock.device.copy_in(dock.kept, values)      # queued
    assert dock.device.reset().rung == "re-arm"
    np.testing.assert_array_equal(dock.read()[:64], values)


def test_unknown_rung(dock):
    with pytest.raises(errors.ConfigError, match="power cycle"):
        dock.device.reset("a good talk")


# ---- what does not end

def test_an_endless_kernel_is_named_and_killed(dock, monkeypatch):
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "0.5")
    device, flag = dock.device, dock.device.alloc(1024)
    device.copy_in(flag, np.zeros(256, np.int32))
    for name, arguments in (("add", [dock.kept, np.int32(0)]), ("spin", [flag]), ("add", [dock.kept, np.int32(0)])):
        device.launch(dock.kernels[name], 1, 32, arguments)
    started = time.monotonic()
    with pytest.raises(errors.GpuHang, match="Kernel spin did not finish within 0.5 s") as caught:
        device.synchronize()
    assert time.monotonic() - started < 20 and caught.value.kernel == "spin"
    assert not device.gpu.regs.field("GRBM_STATUS", "cp_busy"), "it was not killed"
    with pytest.raises(errors.GpuHang, match="stopped earlier: Kernel spin") as again:
        dock.read()
    assert again.value.__cause__ is caught.value and again.value.kernel == "spin"
    monkeypatch.delenv("USBGPU_TIMEOUT_S")
    report = device.reset()
    assert report.rung == "queue reset" and not report.vram_lost and "spin" in report.cause
    dock.assert_kept(False)
    dock.assert_works()


def test_a_hang_found_while_polling_is_named_too(dock, monkeypatch):
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "0.5")
    flag = dock.device.alloc(4)
    dock.device.fill = dock.device.stream.fill(flag, 0, 4, 4)
    dock.device.launch(dock.kernels["spin"], 1, 32, [flag])
    dock.device.stream.flush()
    with pytest.raises(errors.GpuHang) as caught:       # a bulk copy first waits for what is before it, by polling
        dock.read()
    assert caught.value.kernel == "spin"
    assert dock.device.reset().rung == "queue reset"
    dock.assert_kept(False)


def test_a_fault_is_the_first_cause_and_queues_come_back(dock):
    dock.device.launch(dock.kernels["store"], 1, 32, [0x2000_0000_0000 + (200 << 30)])
    with pytest.raises(errors.GpuFault) as caught:
        dock.device.synchronize()
    with pytest.raises(errors.GpuFault, match="stopped earlier") as again:
        dock.device.synchronize(), dock.read()
    assert (again.value.kernel, again.value.pc) == ("store", caught.value.pc)
    assert dock.device.reset().rung == "queue reset"
    dock.assert_kept(False)
    dock.assert_works()


# ---- the way up

@pytest.mark.filterwarnings("ignore:The content of the GPU's memory:RuntimeWarning")
@pytest.mark.parametrize("broken, winner", [
    (("re-arm", "clear halt", "re-open"), "queue reset"),
    (("re-arm", "clear halt", "re-open", "queue reset", "MEC reset"), "mode-1 reset"),
    (("re-arm", "clear halt", "re-open", "queue reset", "MEC reset", "mode-1 reset"), "power cycle"),
])
def test_it_climbs_until_something_helps(dock, monkeypatch, broken, winner):
    def fails(device):
        raise errors.LinkError("Told to fail.")

    ladder = tuple(recovery.Rung(**{**vars(rung), "climb": fails}) if rung.name in broken else rung
                   for rung in recovery.LADDER)
    monkeypatch.setattr(recovery, "LADDER", ladder)
    report = dock.device.reset()
    assert [(step.rung, step.error) for step in report.steps] == [(name, "Told to fail.") for name in broken] + [(winner, None)]
    dock.assert_kept(report.vram_lost)
    dock.assert_works()


def test_when_nothing_helps_the_first_cause_is_seen(dock, monkeypatch):
    dock.device.launch(dock.kernels["store"], 1, 32, [0x2000_0000_0000 + (200 << 30)])
    with pytest.raises(errors.GpuFault) as first:
        dock.device.synchronize()

    def fails(device):
        raise errors.BootError("Told to fail.")

    monkeypatch.setattr(recovery, "LADDER", tuple(recovery.Rung(**{**vars(rung), "climb": fails}) for rung in recovery.LADDER))
    with pytest.raises(errors.RecoveryFailed, match="failed in kernel store") as caught:
        dock.device.reset()
    assert caught.value.__cause__ is first.value
    assert [step.rung for step in caught.value.report] == ["queue reset", "MEC reset", "mode-1 reset", "power cycle"]
    with pytest.raises(errors.GpuFault, match="stopped earlier"):
        dock.read()
    monkeypatch.undo()
    assert dock.device.reset().rung == "queue reset", "and it may be tried again"
    dock.assert_works()


def test_a_card_that_lost_its_power_is_booted(dock):
    dock.device.adapter.power(False)
    with pytest.raises(errors.LinkError):
        dock.device.gpu.regs.read("GRBM_STATUS")
    with pytest.warns(RuntimeWarning, match="memory was lost"):
        report = dock.device.reset("re-arm")
    assert report.vram_lost and report.rung in ("re-open", "mode-1 reset")
    dock.assert_kept(True)
    dock.assert_works()


# ---- unplugged

def test_replug(dock):
    dock.assert_works()
    dock.adapter.unplug()
    with pytest.raises(errors.DeviceLost) as first:
        dock.read()
    with pytest.raises(errors.DeviceLost, match="not plugged in") as caught:
        dock.device.reset()
    assert caught.value.__cause__ is first.value and "reset()" in caught.value.action
    with pytest.raises(errors.DeviceLost, match="stopped earlier"):
        dock.read()
    dock.adapter.replug()
    with pytest.warns(RuntimeWarning, match="NaN"):
        report = dock.device.reset()
    assert report.rung == "re-open" and report.vram_lost
    dock.assert_kept(True)
    dock.assert_works()


def test_a_dock_whose_firmware_hangs(dock):
    """Nothing but pulling the plug helps against that: said within the time-outs, and put right afterwards."""
    dock.adapter.inject("adapter-hang")
    with pytest.raises(errors.LinkError) as first:
        dock.read()
    with pytest.raises(errors.RecoveryFailed, match="did not come back") as caught:
        dock.device.reset()
    assert caught.value.__cause__ is first.value and "Unplug" in caught.value.action
    assert [step.rung for step in caught.value.report] == ["re-arm", "clear halt", "re-open"], "no rung above can help"
    dock.adapter.heal()
    dock.adapter.unplug()
    dock.adapter.replug()
    with pytest.warns(RuntimeWarning):
        assert dock.device.reset().vram_lost
    dock.assert_kept(True)
    dock.assert_works()


def test_replug_by_spec(monkeypatch):
    """Through the transport's own way to find the adapter again."""
    monkeypatch.setenv("USBGPU_EMULATOR", "vram=1G,serial=01234567")
    with Device(f"emulated:{CHIP}") as device:
        assert device.opened.serial == "01234567"
        device.handle.unplug()
        with pytest.raises(errors.DeviceLost):
            device.copy_out(np.empty(4, np.int32), device.alloc(16))
        threading.Timer(0.5, device.handle.replug).start()      # reset() waits for it
        with pytest.warns(RuntimeWarning):
            assert device.reset().rung == "re-open"
        at, back = device.alloc(16), np.zeros(4, np.int32)
        device.copy_in(at, np.arange(4, dtype=np.int32))
        device.copy_out(back, at)
        assert back.tolist() == [0, 1, 2, 3]


def test_another_process_used_the_card_meanwhile(dock):
    """The mark that each boot draws is not there any more: what is in memory is somebody else's."""
    dock.device.gpu.regs.write("SCRATCH_REG4", dock.device.gpu.session ^ 1)
    with pytest.warns(RuntimeWarning):
        report = dock.device.reset("re-open")
    assert report.vram_lost
    dock.assert_kept(True)


def test_another_card_is_refused(monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", "vram=1G")
    device = Device(f"emulated:{CHIP}")
    other = EmulatedAdapter("navi44" if CHIP != "navi44" else "navi31", vram_bytes=1 << 30)
    before = device.handle
    device.handle.unplug()
    device.opened = recovery.OpenedHandle(device.handle, "", reopen=lambda: recovery.given(other))
    with pytest.raises(errors.DeviceLost):
        device.copy_out(np.empty(4, np.int32), device.alloc(16))
    with pytest.raises(errors.UnsupportedChip, match="Another card"):
        device.reset()
    device.close()
    before.close()


# ---- closing, and other threads

@pytest.mark.parametrize("how, ends_with", [("close", "closed by another thread"), ("reset", "reset by another thread")])
def test_against_a_thread_on_the_cable(dock, how, ends_with):
    device, flag = dock.device, dock.device.alloc(4)
    device.stream.fill(flag, 0, 4, 4)
    device.launch(dock.kernels["spin"], 1, 32, [flag])
    caught: list[BaseException] = []

    def work():
        try:
            device.synchronize()
        except BaseException as error:      # noqa: BLE001
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    started = time.monotonic()
    getattr(device, how)()
    assert time.monotonic() - started < 20
    thread.join(20)
    assert not thread.is_alive() and type(caught[0]) is errors.DeviceStopped and ends_with in str(caught[0])
    if how == "reset":
        dock.assert_kept(False)
        dock.assert_works()
    else:
        with pytest.raises(errors.DeviceStopped, match="closed"):
            dock.read()
        with pytest.raises(errors.DeviceStopped, match="closed"):
            device.reset()
        dock.adapter.reopen()
        dock.open()                         # and the next open finds a device that works
        dock.assert_works()


def test_a_closed_device_is_gone_at_once():
    device = Device(EmulatedAdapter(CHIP, vram_bytes=1 << 30))
    device.copy_in(device.alloc(4096), np.zeros(1024, np.float32))
    device.synchronize()
    watched = [weakref.ref(thing) for thing in (device, device.handle, device.gpu, device.road, device.adapter)]
    gc.disable()
    try:
        device.close()
        del device
        assert [ref() for ref in watched] == [None] * len(watched)
    finally:
        gc.enable()


@pytest.mark.parametrize("stage", ["adapter", "boot", "road"])
def test_what_fails_while_opening_leaves_the_handle_free(monkeypatch, stage):
    handle = open_handle(f"emulated:{CHIP}").handle
    closed = []
    handle_close = handle.close
    handle.close = lambda: (closed.append(True), handle_close())
    target = {"adapter": "torch_usbgpu.usb.Adapter.start", "boot": "torch_usbgpu.amdgpu.Gpu.boot",
              "road": "torch_usbgpu.runtime.queue.Road.start"}[stage]

    def fails(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(target, fails)
    with pytest.raises(KeyboardInterrupt):
        Device(handle)
    assert closed


def test_closing_a_dock_that_is_gone_is_quiet(dock):
    dock.adapter.unplug()
    dock.device.close()
    dock.device.close()


# ---- engines that hang, and what cures them

@pytest.mark.filterwarnings("ignore:The content of the GPU's memory:RuntimeWarning")
@pytest.mark.parametrize("switches, rung", [
    (["queue-hang:until=queue"], "queue reset"), (["queue-hang:until=engine"], "MEC reset"),
    (["queue-hang:until=reset"], "mode-1 reset"), (["queue-hang:until=power"], "power cycle"),
    (["queue-hang:until=power", "smu-silent:until=power"], "power cycle"),
    (["sdma-hang:until=queue"], "queue reset"), (["sdma-hang:until=engine"], "queue reset"),
    (["sdma-hang:until=reset"], "mode-1 reset"), (["sdma-hang:until=power"], "power cycle"),
])
def test_the_rung_that_cures_a_hang_is_found(dock, monkeypatch, switches, rung):
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "0.3")
    monkeypatch.setattr(recovery, "PROOF_SECONDS", 0.3)
    monkeypatch.setattr("torch_usbgpu.amdgpu.gfx.DEQUEUE_SECONDS", 0.1)
    dock.device.synchronize()
    dock.adapter.inject(*switches)
    with pytest.raises((errors.GpuHang, errors.LinkTimeout)):
        dock.assert_works()
    report = dock.device.reset()
    assert report.rung == rung, str(report)
    dock.assert_kept(report.vram_lost)
    dock.assert_works()


@pytest.mark.filterwarnings("ignore:The content of the GPU's memory:RuntimeWarning")
def test_a_queue_that_nothing_cures(dock, monkeypatch):
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "0.5")
    monkeypatch.setattr(recovery, "PROOF_SECONDS", 0.5)
    monkeypatch.setattr("torch_usbgpu.amdgpu.gfx.DEQUEUE_SECONDS", 0.2)
    dock.device.synchronize()
    dock.adapter.inject("queue-hang")
    with pytest.raises(errors.GpuHang) as first:
        dock.assert_works()
    with pytest.raises(errors.RecoveryFailed) as caught:
        dock.device.reset()
    assert caught.value.__cause__ is first.value and len(caught.value.report) == 4
    dock.adapter.heal()
    assert dock.device.reset("mode-1 reset").vram_lost
    dock.assert_works()
