"""Ctrl-C in the middle of work, in a session that goes on afterwards (a REPL, a notebook)."""
import os
import signal
import threading
import time

import pytest
import torch

from torch_usbgpu import errors, runtime

SPIN = 'extern "C" __global__ void spin(volatile int* flag) { while (flag[0] == 0) {} }'


def bulk_in():
    for _ in range(1000):
        torch.zeros(20_000_000).to("usbgpu")


def bulk_out():
    x = torch.zeros(20_000_000, device="usbgpu")
    for _ in range(1000):
        x.cpu()


def endless_kernel():
    flag = torch.zeros(1, dtype=torch.int32, device="usbgpu")
    torch.usbgpu.compile_kernel(SPIN, "spin")(flag, grid=1, block=1)
    torch.usbgpu.synchronize()


@pytest.mark.parametrize("work", (bulk_in, bulk_out, endless_kernel))
def test_after_an_interruption_the_device_answers_at_once(work, monkeypatch):
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "60")
    x = torch.arange(5.0, device="usbgpu")
    x.sum().item()
    timer = threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        work()
    started = time.monotonic()
    try:
        assert x.tolist() == [0, 1, 2, 3, 4]     # the signal may have come between two operations
    except errors.UsbGpuError as error:
        assert "reset()" in error.action
    assert time.monotonic() - started < 30       # not until the time-out
    torch.usbgpu.reset()
    big = torch.randn(400_000)
    assert torch.equal(big.to("usbgpu").cpu(), big) and (x + 1).tolist() == [1, 2, 3, 4, 5]


class Interrupted:
    """A handle behind which Ctrl-C comes right after the nth call: Python runs the signal's handler when libusb's
    function has returned, so the transfer has happened and nobody has noted it yet."""

    CUT = ("controlWrite", "controlRead", "bulkWrite", "bulkRead", "getTransfer")

    def __init__(self, handle, nth: int) -> None:
        self.handle, self.left = handle, nth

    def __getattr__(self, name):
        call = getattr(self.handle, name)
        if name not in self.CUT:
            return call

        def interrupted(*args, **kwargs):
            result = call(*args, **kwargs)
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return result
        return interrupted


def test_an_interruption_between_any_two_transfers_loses_nothing_that_was_in_vram():
    numbers = torch.randn(100_000)

    def work():
        return (numbers.to("usbgpu") + 1).cpu()

    kept = torch.arange(5.0, device="usbgpu")
    expected = work()
    adapter = runtime.device().adapter
    handle = adapter.handle
    cuts = 0
    while True:
        adapter.handle = Interrupted(handle, cuts + 1)
        try:
            work()
            break
        except KeyboardInterrupt:
            cuts += 1
        finally:
            adapter.handle = handle
        # a copy engine that waits for data which was never sent can only be stopped
        assert torch.usbgpu.reset().rung in ("re-arm", "queue reset"), cuts
        assert torch.equal(work(), expected) and kept.tolist() == [0, 1, 2, 3, 4], cuts
    assert cuts > 10
