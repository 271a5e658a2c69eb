"""What torch.profiler's session for usbgpu (csrc/aten/backend/profiler.cpp) asks of the device."""
from __future__ import annotations

from . import runtime
from .runtime.kernelstats import KernelStats
from .usb.stats import BULK_RATES, BULK_SECONDS, CONTROL_SECONDS

INLINE_BYTES = 16 * 1024        # up to here a copy rides along in a submission that is sent anyway
TRANSFER_BYTES = 256 * 1024     # one control and one bulk transfer each


def begin() -> KernelStats | None:
    """The figures of all kernels as a session starts; None while the device is not open, for then there are none."""
    if not runtime.is_open():
        return None
    gpu = runtime.device()
    gpu.synchronize()
    return KernelStats(gpu.stream, gpu.handle)


def modelled_seconds(since: KernelStats | None) -> dict[str, float]:
    """What each kernel took since then, all launches together, on the card as the emulated device models it. A
    device that measures nothing says nothing."""
    if not runtime.is_open():
        return {}
    gpu = runtime.device()
    gpu.synchronize()
    if since is None:
        since = KernelStats(gpu.stream, gpu.handle, from_the_start=True)
    return {symbol: row["modelled_seconds"] for symbol, row in since.snapshot().items()
            if row["modelled_seconds"] is not None}


def copy_seconds(nbytes: int) -> float:
    """What a copy over the cable takes by the link model of usb/stats.py."""
    transfers = -(-nbytes // TRANSFER_BYTES) if nbytes > INLINE_BYTES else 0
    return transfers * (CONTROL_SECONDS + BULK_SECONDS) + nbytes / BULK_RATES["sram_out"]
