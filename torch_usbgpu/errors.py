"""Every error that a user can meet, with a stable code and one next action.

An error says three things: what was found, the state that led there, and the one next
action. `str(error)` shows them in that order. docs/errors.md lists the codes.
"""
from __future__ import annotations


class UsbGpuError(RuntimeError):
    """Base of all typed errors.

    Args:
        found: what was found, a whole sentence.
        action: the one next action for the user.
        state: name -> value of whatever led there (registers, counters); shown, never parsed.
    """

    code = "USBGPU-000"
    default_action = "Report this with the output above."

    def __init__(self, found: str, action: str | None = None, **state):
        self.found = found
        self.action = action or self.default_action
        self.state = state
        details = "".join(f"\n  {name} = {value}" for name, value in state.items())
        super().__init__(f"[{self.code}] {found}{details}\n  Next: {self.action}")


class ConfigError(UsbGpuError, ValueError):
    """An environment variable or option holds something that we do not know."""
    code = "USBGPU-001"


class UnsafePlace(UsbGpuError, PermissionError):
    """Another user of this machine could change a file or folder that we would believe."""
    code = "USBGPU-002"
    default_action = "Use a folder that only you can write: `chmod go-w` it, or name another one."


class DeviceNotFound(UsbGpuError):
    code = "USBGPU-101"
    default_action = "Plug in the dock, or set USBGPU_DEVICE=emulated."


class PermissionDenied(UsbGpuError):
    code = "USBGPU-102"


class DeviceBusy(UsbGpuError):
    """Another process holds the adapter."""
    code = "USBGPU-103"
    default_action = "Close the other process that uses the adapter."


class WrongMode(UsbGpuError):
    """The adapter is there, but in a mode that cannot work (stock firmware, USB2, USB4)."""
    code = "USBGPU-104"

    @property
    def mode(self) -> str | None:
        """"stock", "rom", "bootstub", "usb4", ..., where it is known."""
        return self.state.get("mode")


class LinkError(UsbGpuError):
    """A USB transfer or a PCIe transaction failed."""
    code = "USBGPU-105"
    default_action = "Check the cable and the dock's power, then try again."


class LinkTimeout(LinkError):
    code = "USBGPU-106"


class DeviceLost(LinkError):
    """The adapter went away."""
    code = "USBGPU-107"
    default_action = "Plug the dock in again, then call torch.usbgpu.reset() or start the process again."


class TraceMismatch(LinkError):
    """A replayed trace holds another transfer than the one asked for."""
    code = "USBGPU-108"
    default_action = "Record the trace again, or find the change that altered the sequence of transfers."


class TraceError(UsbGpuError, ValueError):
    """A trace file is damaged, cut off, or of another version."""
    code = "USBGPU-109"
    default_action = "Record the trace again."


class CommandFailed(LinkError):
    """The adapter's own (mass-storage) firmware refused a command."""
    code = "USBGPU-110"
    default_action = "Unplug the dock, wait a few seconds, plug it in again."


class UsbLibraryMissing(DeviceNotFound):
    """libusb cannot be loaded, so nobody knows what is plugged in."""
    code = "USBGPU-111"
    default_action = "pip install --force-reinstall libusb-package"


class PcieLinkDown(LinkError):
    """The dock answers, but its PCIe link to the card does not come up."""
    code = "USBGPU-112"
    default_action = "Check the card's seat and its power cables, then power-cycle the dock."


class DeviceStopped(UsbGpuError):
    """The device was closed or reset, by whoever has it open too."""
    code = "USBGPU-113"
    default_action = "Open the device again."


class ImageRefused(UsbGpuError, ValueError):
    """A file is no image that may be written to the adapter's flash."""
    code = "USBGPU-120"
    default_action = "Get the file again, and compare its checksum with the published one."


class FlashError(UsbGpuError):
    """Reading or writing the adapter's flash failed. `stage`: how far it came."""
    code = "USBGPU-121"
    default_action = "Leave the dock plugged in and powered, and run the command again."

    @property
    def stage(self) -> str | None:
        return self.state.get("stage")


class FirmwareMissing(UsbGpuError, FileNotFoundError):
    code = "USBGPU-201"


class FirmwareMismatch(UsbGpuError):
    """A firmware file is not what its name says, or the GPU refused it."""
    code = "USBGPU-202"


class UnsupportedChip(UsbGpuError):
    code = "USBGPU-203"


class BootError(UsbGpuError):
    """A boot step's postcondition did not hold."""
    code = "USBGPU-204"
    default_action = "Power-cycle the dock and try again."


class PspSilent(BootError):
    """The GPU's security processor does not answer."""
    code = "USBGPU-205"


class SmuSilent(BootError):
    """The GPU's power controller does not answer."""
    code = "USBGPU-206"


class DownloadError(UsbGpuError, OSError):
    """Something could not be fetched, or is not what was promised."""
    code = "USBGPU-207"
    default_action = "Check the connection and the address, or install from a package or folder."


class GpuHang(UsbGpuError):
    """The GPU did not finish in time. `kernel` names what it was at, where known."""
    code = "USBGPU-301"
    default_action = ("Call torch.usbgpu.reset(), then mend the kernel; or give it more time (USBGPU_TIMEOUT_S).")

    def __init__(self, found: str, action: str | None = None, *, kernel: str | None = None, **state):
        self.kernel = kernel
        super().__init__(found, action, **({"kernel": kernel} if kernel else {}), **state)


class GpuFault(UsbGpuError):
    """A memory access of the GPU failed. `kernel`, `address` and `pc` say which, where known."""
    code = "USBGPU-302"
    default_action = "Call torch.usbgpu.reset() and mend the kernel or its arguments."

    def __init__(self, found: str, action: str | None = None, *, kernel: str | None = None,
                 address: int | None = None, pc: int | None = None, **state):
        self.kernel, self.address, self.pc = kernel, address, pc
        shown = dict(state)
        if kernel is not None:
            shown["kernel"] = kernel
        if address is not None:
            shown["address"] = f"{address:#x}"
        if pc is not None:
            shown["pc"] = f"{pc:#x}"
        super().__init__(found, action, **shown)


class IllegalInstruction(GpuFault):
    code = "USBGPU-303"


class OutOfMemory(UsbGpuError):
    """VRAM is full. (Tensors raise torch.OutOfMemoryError with the same text.)"""
    code = "USBGPU-304"
    default_action = "Free tensors, call torch.usbgpu.empty_cache(), or use a smaller batch."


class RecoveryFailed(UsbGpuError):
    """No rung of the recovery ladder brought the device back; `report` has what was tried."""
    code = "USBGPU-305"
    default_action = ("Unplug the dock, switch its power off for ten seconds, plug it in, then call reset() or start "
                      "the process again.")


class CompileError(UsbGpuError):
    """Kernel source did not compile; `log` is the compiler's own output."""
    code = "USBGPU-401"
    default_action = "Mend the source line that the compiler names."

    def __init__(self, found: str, log: str = "", action: str | None = None, **state):
        self.log = log
        super().__init__(f"{found}\n{log}".rstrip(), action, **state)


class CompilerMissing(UsbGpuError):
    code = "USBGPU-402"
    default_action = "pip install 'ziglang>=0.16,<0.18'"


class CodeObjectError(UsbGpuError, ValueError):
    """A code object cannot be loaded (undefined symbol, unknown relocation, wrong target)."""
    code = "USBGPU-403"


class LaunchError(UsbGpuError, ValueError):
    """Grid, block or arguments do not fit the kernel."""
    code = "USBGPU-404"


class DebuggerError(UsbGpuError):
    """The debugger was asked for something that the wave's state does not allow."""
    code = "USBGPU-501"
    default_action = "Launch a kernel, and look at the wave while it is stopped."
