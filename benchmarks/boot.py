"""What a boot costs on the cable: USB transfers and modelled link time, per chip, BAR and state of the board.

    python benchmarks/boot.py                      # all chips, large and small BAR
    python benchmarks/boot.py navi48 --steps       # one chip, step by step

The boards are emulated and step only inside transfers, so no poll comes too early and counts are exact; on hardware
every poll that comes too early adds two. Link time is the yardstick of torch_usbgpu/usb/stats.py (60 us a control
transfer, 30 us a bulk transfer plus its bytes), summed serially. The other driver of AMD GPUs over USB was counted at
4,435 transfers and 236 ms for a cold Navi 48. "on the clock" is the whole boot here, with the pauses that the chips
want; the reset of a dirty board takes a second of it.
"""
from __future__ import annotations

import argparse

from torch_usbgpu.amdgpu import Gpu
from torch_usbgpu.amdgpu.facts import load
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.usb import Adapter, open_handle

OTHER_DRIVER = {"transfers": 4435, "link_ms": 236}       # navi48, cold
PROMISED = {"cold": 1500, "warm": 300}


def boots(chip: str, bar: str):
    """(state of the board, GPU just booted from it), on one card that stays plugged in."""
    handle = EmulatedAdapter(chip, deterministic=True, bar=bar)
    firmware = open_handle(f"emulated:{chip}").firmware_dirs
    for state in ("cold", "warm", "dirty"):
        gpu = Gpu(Adapter(handle), firmware)
        gpu.boot()
        yield state, gpu
        if state == "cold":
            gpu.shutdown()          # in order, so that the next start is a warm one
    handle.close()


def report(chip: str, bar: str, steps: bool) -> None:
    for state, gpu in boots(chip, bar):
        stats = gpu.adapter.stats
        sram, pio = (stats.by_request[f"bulk_{path}"] for path in ("sram_out", "pcie_stream_write"))
        seconds = sum(step.seconds for step in gpu.boot_log)
        promise = f"  (promised: {PROMISED[state]})" if state in PROMISED else ""
        print(f"{chip} {bar:<5} {state:<5} {stats.transfers:5d} transfers {1e3 * stats.modelled_seconds:6.1f} ms link "
              f"{1e3 * seconds:7.1f} ms on the clock {stats.bytes_out:>9,} B out, {sram} F2 and {pio} PIO streams"
              f"{promise}")
        if chip == "navi48" and state == "cold":
            fewer = OTHER_DRIVER["transfers"] / stats.transfers
            less = OTHER_DRIVER["link_ms"] / 1e3 / stats.modelled_seconds
            print(f"{'':18}{fewer:5.1f} x fewer transfers, {less:.1f} x less link time than the other driver")
        if steps:
            for step in gpu.boot_log:
                print(f"    {step.name:<28} {step.transfers:5d} {1e3 * step.link_seconds:7.2f} ms  {step.detail[:70]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chips = list(load("chips")["chips"])
    parser.add_argument("chip", nargs="?", choices=chips, help="all if left out")
    parser.add_argument("--bar", choices=("large", "small"), help="both if left out")
    parser.add_argument("--steps", action="store_true", help="also step by step")
    given = parser.parse_args()
    for bar in [given.bar] if given.bar else ("large", "small"):
        for chip in [given.chip] if given.chip else chips:
            report(chip, bar, given.steps)


if __name__ == "__main__":
    main()
