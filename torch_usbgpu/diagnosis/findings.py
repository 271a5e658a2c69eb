"""What the doctor found: a state of states.py, with what was seen."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import (
    BootError, CompileError, CompilerMissing, DeviceBusy, DeviceLost, DeviceNotFound, FirmwareMismatch, FirmwareMissing,
    GpuFault, GpuHang, LinkError, PcieLinkDown, PermissionDenied, PspSilent, SmuSilent, UnsupportedChip, UsbGpuError,
    UsbLibraryMissing, WrongMode,
)
from .states import BY_NAME, State


@dataclass(frozen=True)
class Finding:
    """Args:
        seen: what led to it, a sentence.
        action: the one next action.
        details: values for a bug report.
        error: code of the error that was met, None where there was none.
    """

    state: State
    seen: str
    action: str
    severity: str
    details: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.state.code, "name": self.state.name, "severity": self.severity,
                "meaning": self.state.meaning, "seen": self.seen, "action": self.action, "error": self.error,
                "details": self.details}


def finding(name: str, seen: str, *, action: str | None = None, severity: str | None = None, error: str | None = None,
            **details: Any) -> Finding:
    state = BY_NAME[name]
    return Finding(state, seen, action or state.action, severity or state.severity,
                   {key: value for key, value in details.items() if value is not None}, error)


COMMAND_CHARACTERS = 200
MODES = {"stock": "stock-firmware", "rom": "dock-in-rom", "bootstub": "dock-in-bootstub", "usb4": "dock-in-usb4-mode",
         "unknown": "unknown-firmware", "legacy": "legacy-firmware"}

# Error -> state, the more special class first. True: the error knows a better action than the state, because it knows
# the system, the process or the file.
_STATES: tuple[tuple[type[UsbGpuError], str, bool], ...] = (
    (UsbLibraryMissing, "no-libusb", True),
    (DeviceNotFound, "no-dock", False),
    (PermissionDenied, "no-permission", True),
    (DeviceBusy, "busy", True),
    (DeviceLost, "dock-lost", False),
    (UnsupportedChip, "unsupported-card", False),
    (FirmwareMissing, "firmware-missing", False),
    (FirmwareMismatch, "firmware-wrong", False),
    (PspSilent, "psp-silent", False),
    (SmuSilent, "smu-silent", False),
    (BootError, "boot-failed", False),
    (LinkError, "transfers-fail", False),
    (GpuHang, "queue-hangs", False),
    (GpuFault, "kernel-faults", False),
    (CompilerMissing, "no-compiler", False),
    (CompileError, "compiler-fails", False),
)


def from_error(error: UsbGpuError) -> Finding:
    """The state that an error tells of."""
    if isinstance(error, WrongMode) and "speed" in error.state:
        name, better = "usb2-link", False
    elif isinstance(error, WrongMode):
        name, better = MODES.get(error.mode or "unknown", "unknown-firmware"), False
    elif isinstance(error, PcieLinkDown):
        name, better = _link_state(error), False
    else:
        name, better = next(((name, better) for kind, name, better in _STATES if isinstance(error, kind)),
                            ("other-error", True))
    details = {key: value for key, value in error.state.items() if key not in ("seen", "action", "severity", "error")}
    return finding(name, error.found, action=error.action if better else None, severity="problem", error=error.code,
                   **details)


def with_process(found: Finding) -> Finding:
    """A process that holds the dock is shown by its command too, where the system tells."""
    pid = found.details.get("pid")
    if found.state.name != "busy" or not isinstance(pid, int):
        return found
    try:
        # Linux; elsewhere the number must do
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return found
    return replace(found, details={**found.details, "command": command[:COMMAND_CHARACTERS]}) if command else found


def _link_state(error: PcieLinkDown) -> str:
    """Detect.Quiet and Detect.Active: no receiver was found on the lanes; anything beyond: somebody is there."""
    try:
        ltssm = int(str(error.state.get("ltssm")), 16)
    except ValueError:
        return "link-does-not-train"
    return "no-card" if ltssm <= 1 else "link-does-not-train"
