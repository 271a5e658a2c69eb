"""Every state that the doctor tells apart: its code, what it means, the one next action, and how to provoke it.

Codes are for ever: a state that goes away leaves a gap. docs/doctor.md holds this table, and a test compares.
"""
from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class State:
    """One row.

    Args:
        code: stable, for scripts and bug reports.
        name: the same for people.
        severity: "problem": the GPU cannot be used; "warning": it can, with the restriction that `meaning` tells.
        meaning: what is the matter.
        action: the one next action, where the error that was met does not know a better one.
        switch: value of USBGPU_EMULATOR that provokes it; empty where only a broken machine does.
    """

    code: str
    name: str
    severity: str
    meaning: str
    action: str
    switch: str


FLASH = "Flash the open firmware to the dock: usbgpu adapter flash FILE."
POWER = "Switch the dock off at its power supply, wait ten seconds, switch it on again."

STATES = (
    State("D000", "all-well", OK, "The GPU works: rates measured, a kernel launched, its result checked.",
          "Nothing to do.", ""),

    State("D001", "no-libusb", PROBLEM, "libusb cannot be loaded, so nobody can look at the USB ports.",
          "pip install --force-reinstall libusb-package", "fault=no-libusb"),

    State("D101", "no-dock", PROBLEM, "No dock is plugged in, or it is not switched on.",
          "Plug the dock in and switch it on (without one: USBGPU_DEVICE=emulated).", "fault=absent"),
    State("D102", "dock-in-usb4-mode", PROBLEM,
          "The dock came up in USB4 or Thunderbolt mode; this driver speaks USB3.",
          "Plug the dock into a port, or use a cable, that is USB3 and not USB4.", "firmware=usb4"),
    State("D103", "stock-firmware", PROBLEM,
          "The dock has its vendor's firmware, as an NVMe enclosure (a real NVMe enclosure looks the same: leave it).",
          FLASH, "firmware=stock"),
    State("D104", "unknown-firmware", PROBLEM, "The dock runs a firmware that this driver does not know.",
          FLASH, "firmware=unknown"),
    State("D105", "legacy-firmware", WARNING,
          "The dock runs the patched firmware of its vendor: everything works, much more slowly.",
          FLASH, "firmware=legacy"),
    State("D106", "dock-in-rom", PROBLEM, "The dock is in its ROM's boot loader: its flash holds no valid firmware.",
          FLASH, "firmware=rom"),
    State("D107", "dock-in-bootstub", PROBLEM, "The dock stays in its bootstub: its application does not start.",
          "Unplug the dock, wait ten seconds, plug it in again; if it stays, use its firmware's own flashing tool.",
          "firmware=bootstub"),
    State("D108", "usb2-link", WARNING, "The dock is connected at USB 2 speed (0.48 Gb/s): everything is slow.",
          "Plug the dock into a USB3 port (blue, or marked SS) with the cable that came with it.", "usb=high"),
    State("D109", "usb-5g-link", WARNING, "The dock is connected at 5 Gb/s; it can do 10 Gb/s.",
          "Use a port marked 10 or SS10 and a cable for 10 Gb/s, at most 1 m long.", "usb=super-5g"),
    State("D110", "no-permission", PROBLEM, "The operating system does not let this user open the dock.",
          "Run the doctor on the machine that the dock is plugged into: it prints the rule that is missing.",
          "fault=no-permission"),
    State("D111", "busy", PROBLEM, "Another process uses the dock. It has not been disturbed.",
          "Close the other process, or wait for it.", "fault=busy"),
    State("D112", "dock-lost", PROBLEM, "The dock went away while it was being looked at.",
          "Check the cable and the dock's power, plug the dock in again.", "fault=unplug-after:40"),
    State("D113", "transfers-fail", PROBLEM, "The dock is there, but USB transfers to it fail.",
          "Unplug the dock, wait ten seconds, plug it in again.", "fault=timeout:F0"),

    State("D114", "slow-transfers", WARNING, "Transfers are less than half as fast as this link allows.",
          "Plug the dock straight into the computer, without a hub, with another cable.", "fault=slow:4"),
    State("D115", "data-changed", PROBLEM, "Bytes that were copied to the GPU and back came back changed.",
          "Use another cable; if it stays, do not trust this dock or card.", ""),
    State("D116", "autosuspend", WARNING,
          "The system may suspend the dock while it is idle; transfers fail after that.",
          "Install the udev rules: usbgpu doctor --udev-rules | sudo tee /etc/udev/rules.d/70-usbgpu.rules; then run "
          "`sudo udevadm control --reload` and plug the dock in again.", "fault=autosuspend"),
    State("D117", "transfers-repeated", WARNING, "Transfers had to be repeated: the link to the card is not clean.",
          "Switch the dock off, seat the card and its power cables again, use a shorter USB cable.",
          "fault=tlp-error:5"),

    State("D201", "no-card", PROBLEM,
          "The PCIe link is down and nobody answers: no card is in the slot, or it has no 12 V.",
          "Seat the card and connect all its power cables, then switch the dock off and on.", "fault=no-card"),
    State("D202", "link-does-not-train", PROBLEM, "A card is there, but the PCIe link to it does not come up.",
          POWER, "fault=no-link"),
    State("D203", "unsupported-card", PROBLEM, "The card in the dock is none that this driver supports.",
          "Use a Radeon RX 7600 to 7900, RX 9060 or RX 9070, or a card with one of their GPUs.",
          "fault=card:10de:2684"),

    State("D301", "firmware-missing", PROBLEM, "Files of AMD's firmware for this card are not on this computer.",
          "Install them: usbgpu firmware install --download", "fault=firmware-missing"),
    State("D302", "firmware-wrong", PROBLEM,
          "Firmware files are damaged, of an unknown format, or the GPU refused one of them.",
          "Install fresh copies: usbgpu firmware install --download", "fault=firmware-corrupted"),
    State("D303", "psp-silent", PROBLEM, "The GPU's security processor (PSP) does not answer.", POWER,
          "fault=psp-silent"),
    State("D304", "smu-silent", PROBLEM, "The GPU's power controller (SMU) does not answer.", POWER,
          "fault=smu-silent"),
    State("D305", "board-was-dirty", WARNING,
          "The last program left the GPU running; the boot had to reset it. It works now.",
          "Nothing to do now; let programs end by themselves rather than by `kill -9`.", "state=dirty"),
    State("D306", "boot-failed", PROBLEM, "The GPU does not start.", POWER, "fault=crs:2000000000"),
    State("D307", "second-start", WARNING,
          "The GPU did not start at once, only after it had been reset or its power switched off and on. It works now.",
          "Nothing to do now; if it happens again, seat the card and its power cables anew.",
          "fault=psp-silent:after=8:until=power"),

    State("D401", "queue-hangs", PROBLEM, "The GPU started, but does not work off its queue.", POWER,
          "fault=queue-hang"),
    State("D402", "wrong-result", PROBLEM, "The GPU computes, but the result of the test kernel is wrong.",
          "Switch the dock off and on, try again; if it stays, do not trust this card.", "fault=wrong-result"),
    State("D403", "kernel-faults", PROBLEM, "The test kernel did not run to its end.",
          "Switch the dock off and on, try again; if it stays, report it with this output.", ""),

    State("D501", "no-compiler", PROBLEM, "No compiler for GPU kernels is installed.",
          "pip install 'ziglang>=0.16,<0.18'", "fault=no-compiler"),
    State("D502", "fallback-compiler", WARNING,
          "Kernels are compiled by another clang than the one of the ziglang package, which is the one that is tested.",
          "pip install 'ziglang>=0.16,<0.18' (and unset USBGPU_CLANG).", "fault=fallback-compiler"),
    State("D503", "compiler-fails", PROBLEM, "The compiler does not compile the test kernel.",
          "pip install --force-reinstall 'ziglang>=0.16,<0.18'", ""),

    State("D900", "other-error", PROBLEM, "An error that this list does not have.",
          "Report it with this output.", ""),
)

BY_NAME = {state.name: state for state in STATES}


def table() -> str:
    """STATES as docs/doctor.md shows them."""
    rows = ["| code | name | severity | what it means | what to do | provoke it: `USBGPU_EMULATOR=` |",
            "|---|---|---|---|---|---|"]
    for state in STATES:
        switch = f"`{state.switch}`" if state.switch else "(nothing)" if state.severity == OK else "-"
        rows.append(f"| {state.code} | {state.name} | {state.severity} | {state.meaning} | {state.action} | {switch} |")
    return "\n".join(rows)
