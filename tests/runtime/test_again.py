"""What the runtime repeats by itself: a transfer that fails once costs nothing but time."""
from __future__ import annotations

import time

import numpy as np
import pytest

from torch_usbgpu import errors
from torch_usbgpu.usb.faulty import Fault, FaultyHandle

from .test_recovery import Dock

SIZES = (3, 1000, 20_000, 900_000)      # of int32: inline, data window, several chunks of a bulk copy


@pytest.fixture(scope="module")
def dock():
    dock = Dock()
    yield dock
    dock.device.close()


def copy_in_and_out(dock, n: int) -> None:
    values = np.random.default_rng(n).integers(0, 1 << 30, n, np.int32)
    at = dock.device.alloc(values.nbytes)
    dock.device.copy_in(at, values)
    back = np.empty_like(values)
    dock.device.copy_out(back, at)
    dock.device.free(at)
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("after", (0, 1, 3))
@pytest.mark.parametrize("fault", ["timeout:F2:1", "stall:F2:1", "timeout:F0:1", "stall:F0:1", "stall:E4:1", "timeout:bulk-out:1",
                                   "stall:bulk-out:1", "timeout:bulk-in:1", "stall:bulk-in:1", "short-bulk:1", "lost-landing:1"])
def test_a_fault_that_passes_is_not_even_noticed(dock, fault, after, n):
    dock.device.synchronize()
    dock.adapter.inject(f"{fault}:after={after}")
    try:
        started = time.monotonic()
        copy_in_and_out(dock, n)
        assert time.monotonic() - started < 20
    finally:
        dock.adapter.heal()
    dock.assert_kept(False)


@pytest.mark.parametrize("fault, n", [(fault, n) for fault in ("timeout:F2", "stall:F2", "stall:F0", "timeout:bulk-out")
                                      for n in SIZES] + [("stall:bulk-in", 900_000), ("short-bulk", 900_000)])
def test_a_fault_that_stays_is_reported_and_what_ran_is_kept(dock, fault, n):
    dock.adapter.inject(fault)
    try:
        started = time.monotonic()
        with pytest.raises(errors.LinkError) as caught:
            copy_in_and_out(dock, n)
        assert time.monotonic() - started < 30
        with pytest.raises(errors.LinkError, match="stopped earlier") as again:
            dock.read()
        assert again.value.__cause__ is caught.value
    finally:
        dock.adapter.heal()
    report = dock.device.reset()
    assert not report.vram_lost
    dock.assert_kept(False)
    dock.assert_works()


@pytest.mark.parametrize("n", (3, 1000))
def test_small_read_backs_do_without_the_bulk_endpoint(dock, n):
    """They lie in the part of the dock's memory that control transfers reach."""
    dock.adapter.inject("stall:bulk-in")
    try:
        copy_in_and_out(dock, n)
    finally:
        dock.adapter.heal()


def test_windows_that_never_arrive(dock, monkeypatch):
    """The dock takes the data and loses it, for good: not a hang of 300 s, but an error that says so."""
    dock.device.launch(dock.kernels["add"], 1, 256, [dock.kept, np.int32(0)])
    dock.device.synchronize()
    dock.adapter.inject("lost-landing")
    monkeypatch.setattr("torch_usbgpu.runtime.queue.NUDGE_SECONDS", 0.2)
    try:
        started = time.monotonic()
        with pytest.raises(errors.LinkTimeout, match="does not arrive"):
            dock.device.launch(dock.kernels["add"], 1, 256, [dock.kept, np.int32(0)])
            dock.device.synchronize()
        assert time.monotonic() - started < 20
    finally:
        dock.adapter.heal()
    assert not dock.device.reset().vram_lost
    dock.assert_kept(False)
    dock.assert_works()


def test_a_kernel_that_takes_long_is_not_taken_for_a_lost_window(dock, monkeypatch):
    """Nothing is sent again while the GPU's own notes say that it is at work."""
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "2")
    monkeypatch.setattr("torch_usbgpu.runtime.queue.NUDGE_SECONDS", 0.2)
    flag = dock.device.alloc(4)
    dock.device.stream.fill(flag, 0, 4, 4)
    dock.device.launch(dock.kernels["spin"], 1, 32, [flag])
    retries = dock.device.adapter.stats.retries
    with pytest.raises(errors.GpuHang, match="spin"):
        dock.device.synchronize()
    assert dock.device.adapter.stats.retries == retries
    dock.device.reset()


def test_without_transfers_in_flight(dock):
    """A handle that does one transfer at a time, and loses an answer now and then."""
    handle = dock.device.adapter.handle
    faulty = FaultyHandle(handle, [])
    dock.device.adapter.attach(faulty)
    dock.device.adapter.start()
    try:
        for op in ("controlWrite", "bulkWrite"):
            for n in SIZES:
                faulty.faults[:] = [Fault("lost-answer", op=op, skip=skip, times=1) for skip in (0, 3)]
                copy_in_and_out(dock, n)
                assert any(fault.hits for fault in faulty.faults)
    finally:
        dock.device.adapter.attach(handle)
        dock.device.adapter.start()
    dock.assert_kept(False)
