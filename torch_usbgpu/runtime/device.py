"""`Device`: an opened, booted GPU that loads code, launches and copies. No torch."""
from __future__ import annotations

import atexit
import logging
import os
import struct
import threading
import weakref
from typing import Any, Sequence

import numpy as np

from torch_usbgpu import _runtime
from torch_usbgpu.errors import DeviceStopped, LaunchError, OutOfMemory, PcieLinkDown, UsbGpuError
from torch_usbgpu.usb import OpenedHandle

from . import codeobject, recovery, report, status
from .kernelstats import KernelStats
from .queue import Failure, Road
from .slow_road import SlowRoad

log = logging.getLogger(__name__)

# Longer than any single transfer: whoever has the cable gives way within a second where the GPU or the adapter
# answers at all, and after a transfer's time-out where they do not.
CLOSE_SECONDS = 60.0

# The hub's latched fault, which every read-back carries along.
FAULT_STATUS = {"gfx11": "GCVM_L2_PROTECTION_FAULT_STATUS", "gfx12": "GCVM_L2_PROTECTION_FAULT_STATUS_LO32"}
# COMPUTE_PGM_RSRC1.PRIV: the reference driver sets it on gfx11; gfx12 uses the bit otherwise.
RSRC1_PRIV = 1 << 20
# Width of COMPUTE_TMPRING_SIZE.wavesize.
TMPRING_WAVESIZE_BITS = {"gfx11": 15, "gfx12": 18}


class Kernel:
    """A loaded kernel: its symbol, entry address and what the compiler said of its arguments."""

    def __init__(self, handle: "_runtime.Kernel", descriptor):
        self.handle = handle
        self.symbol: str = handle.symbol
        self.entry: int = handle.entry
        self.descriptor = descriptor

    def __repr__(self) -> str:
        return f"<kernel {self.symbol} at {self.entry:#x}>"


def _triple(value: int | Sequence[int], what: str) -> tuple[int, int, int]:
    sizes = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    if not 1 <= len(sizes) <= 3 or any(not 0 <= v < 1 << 32 for v in sizes):
        raise LaunchError(f"{what} is {value!r}; one to three sizes are possible.", "Pass e.g. (64,) or (8, 8).")
    return (*sizes, *(1,) * (3 - len(sizes)))


def pack_arguments(args: Sequence[Any]) -> bytes:
    """Kernel arguments in order, each at its natural alignment.

    An int is a GPU address or another 64-bit value; a NumPy scalar keeps its type; bytes (a struct)
    are aligned to 8; a float is refused, because float or double is not ours to guess.
    """
    packed = bytearray()
    for position, argument in enumerate(args):
        if isinstance(argument, np.generic):
            raw, align = argument.tobytes(), argument.dtype.itemsize
        elif isinstance(argument, (bytes, bytearray)):
            raw, align = bytes(argument), 8
        elif isinstance(argument, int) and not isinstance(argument, bool):
            raw, align = struct.pack("<Q", argument & 0xFFFFFFFFFFFFFFFF), 8
        else:
            raise LaunchError(f"Argument {position} is a {type(argument).__name__}.",
                              "Pass GPU addresses as int and values as NumPy scalars (np.float32(1.5), np.int32(n)).")
        packed += bytes(-len(packed) % align) + raw
    return bytes(packed)


class Device:
    """Opens and boots a GPU.

    Args:
        handle_or_spec: a value of USBGPU_DEVICE ("usb", "emulated:navi31", ...; None = the
            environment's), or any object with python-libusb1's controlWrite, controlRead, bulkWrite
            and bulkRead.
        firmware_dirs: where to look for AMD's firmware files first.

    Raises:
        UsbGpuError: with a code, the state found and one next action.
    """

    def __init__(self, handle_or_spec: Any = None, firmware_dirs: Sequence[str] = ()):
        from torch_usbgpu import amdgpu, kernels, usb

        self._closed = False
        self._closing = threading.Lock()
        if handle_or_spec is None or isinstance(handle_or_spec, str):
            self.opened = usb.open_handle(handle_or_spec or os.environ.get("USBGPU_DEVICE") or "auto")
        else:
            self.opened = recovery.given(handle_or_spec)
        atexit.register(_close_weakly, weakref.ref(self))
        try:
            self.adapter = usb.adapter_for(self.handle)
            self.gpu = amdgpu.Gpu(self.adapter, firmware_dirs=(*firmware_dirs, *self.opened.firmware_dirs))
            self.adapter.start()
            self.gpu.boot()
            road = Road if self.adapter.can_arm_reads else SlowRoad
            self.road = road(self.adapter, self.gpu, kernels.compile_kernels)
            self.stream = _runtime.StreamDevice(self.road, self._config())
            # weakly: the native stream holds the road, and the collector does not see through native objects
            myself = weakref.ref(self)
            self.road.kernel_at = lambda pc: (device := myself()) and device.stream.kernel_at(pc) or None
            self.adapter.kernel_at = self.road.kernel_at
            self.stream.fill(self.stream.error_block, 0, 4, 32)
        except BaseException:
            self.close()
            raise
        self._launches_at_reset = 0
        self._kernel_stats = KernelStats(self.stream, self.handle)
        self._reporter, self._endpoint = report.Reporter(), self._listen()

    @property
    def handle(self):
        """The USB handle; another one after the adapter was plugged in again."""
        return self.opened.handle

    @property
    def label(self) -> str:
        return self.opened.label

    def _config(self) -> dict:
        gpu, memory, geometry = self.gpu, self.gpu.memory, self.gpu.discovery.geometry
        error_block = memory.heap_start
        return {
            "name": self.name, "arch": gpu.arch, "compute_units": gpu.compute_units,
            "heap_begin": memory.vram_va(error_block) + 4096, "heap_end": memory.vram_va(memory.heap_end - 1) + 1,
            "error_block": memory.vram_va(error_block),
            "fence": self.road.fence_address, "release": self.road.release_address,
            "readback": self.road.readback_address, "readback_bytes": self.road.readback_bytes,
            "window_bytes": self.road.window_bytes, "largest_upload": self.road.largest_upload,
            "fault_status_register": gpu.regs.address(FAULT_STATUS[gpu.memory.family]),
            "progress": self.road.progress.address,
            "rsrc1_set": RSRC1_PRIV if gpu.memory.family == "gfx11" else 0,
            "scratch": memory.vram_va(gpu.scratch.paddr), "scratch_bytes": gpu.scratch.bytes,
            "shader_engines": geometry.shader_engines,
            # Of the full die: which units a board lacks does not matter to the ring's slots.
            "scratch_waves": geometry.compute_units // geometry.shader_engines * geometry.scratch_slots_per_unit,
            "wavesize_field_bits": TMPRING_WAVESIZE_BITS[gpu.memory.family],
        }

    @property
    def arch(self) -> str:
        """The compiler target, e.g. "gfx1100"."""
        return self.gpu.arch

    @property
    def name(self) -> str:
        """For people: "AMD Radeon RX 7900 XTX, emulated"."""
        return f"{self.gpu.name}, {self.label}" if self.label else self.gpu.name

    # ---- what others may ask

    def status(self) -> dict[str, Any]:
        """How the device is doing: see runtime/report.py. From any thread; waits a second for the cable at most."""
        return self._reporter.report(self)

    def metrics(self):
        """Clocks, power, temperatures, activity: an amdgpu.metrics.Metrics, read now. Waits for no kernel.

        Raises:
            UsbGpuError: the device has stopped, or the board does not answer.
            TimeoutError: another thread holds the cable.
        """
        self.road.refuse_if_failed()
        with self.gpu.visit(report.VISIT_SECONDS):
            if not self.adapter.link_is_up():       # a stream read would now hang the dock
                raise PcieLinkDown("The PCIe link between the adapter and the GPU is down.")
            return self.gpu.smu.metrics(report.SMU_SECONDS)

    def _listen(self) -> status.Endpoint | None:
        try:
            return status.Endpoint(status=self.status)
        except (OSError, UsbGpuError) as error:
            log.info("other processes cannot ask for this device's status: %s", error)
            return None

    # ---- memory

    def alloc(self, nbytes: int) -> int:
        """A 512-byte aligned block of VRAM; returns its GPU address.

        Raises:
            OutOfMemory: the request does not fit; the text gives the sizes.
        """
        try:
            return self.stream.allocate(nbytes)
        except _runtime.OutOfMemory as error:
            # The text is torch's too, which has no action of its own.
            raise OutOfMemory(str(error).partition(" Next: ")[0]) from None

    def free(self, gpu_va: int) -> None:
        self.stream.free(gpu_va)

    def copy_in(self, gpu_va: int, array) -> None:
        """Host array (C-contiguous, any dtype) -> VRAM. The array may be changed when this returns."""
        self.stream.copy_in(gpu_va, np.ascontiguousarray(array).reshape(-1).view(np.uint8))

    def copy_out(self, array: np.ndarray, gpu_va: int) -> None:
        """VRAM -> host array (C-contiguous). Waits for all work before it."""
        if not array.flags.c_contiguous:
            raise LaunchError("copy_out needs a C-contiguous array.", "Pass np.empty(shape, dtype).")
        self.stream.copy_out(array.reshape(-1).view(np.uint8), gpu_va)

    # ---- kernels

    def load(self, code_object: bytes) -> dict[str, Kernel]:
        """Loads a code object of `torch_usbgpu.compiler.compile`; kernels by symbol.

        Raises:
            CodeObjectError: undefined symbols, unknown relocations, wrong target.
            OutOfMemory: the part of VRAM that holds code is full.
        """
        image = codeobject.load(code_object, self.arch)
        try:
            handles = self.stream.load(image)
        except _runtime.OutOfMemory as error:
            found, _, action = str(error).partition(" Next: ")
            raise OutOfMemory(found, action) from None
        return {symbol: Kernel(handle, image.kernels[symbol]) for symbol, handle in handles.items()}

    def launch(self, kernel: Kernel, grid, block, args: Sequence[Any] = (), dynamic_lds_bytes: int = 0) -> None:
        """Queues a launch. grid counts workgroups, block threads; args as for `pack_arguments`.

        Raises:
            LaunchError: sizes that the GPU cannot do, or arguments that do not fit the kernel.
        """
        groups, threads = _triple(grid, "grid"), _triple(block, "block")
        descriptor = kernel.descriptor
        packed = bytearray(pack_arguments(args))
        expected = descriptor.explicit_bytes
        if len(args) != len(descriptor.arguments) or len(packed) != expected:
            raise LaunchError(f"Kernel {kernel.symbol} takes {len(descriptor.arguments)} arguments of {expected} "
                              f"bytes; {len(args)} of {len(packed)} bytes were given.",
                              "Check the order and the NumPy types of the arguments.")
        if threads[0] * threads[1] * threads[2] > descriptor.max_threads:
            raise LaunchError(f"Kernel {kernel.symbol} was compiled for at most {descriptor.max_threads} threads per "
                              f"workgroup; {threads} were asked for.",
                              "Use a smaller block or another __launch_bounds__.")
        start, hidden = descriptor.hidden_block(groups, threads, dynamic_lds_bytes)
        if hidden:
            packed += bytes(start - len(packed)) + hidden
        try:
            self.stream.launch(kernel.handle, groups, threads, bytes(packed), dynamic_lds_bytes)
        except ValueError as error:
            raise LaunchError(str(error), "Change the block size or the dynamic LDS size.") from None

    def synchronize(self) -> None:
        """Waits for everything; raises what went wrong on the GPU meanwhile."""
        self.stream.synchronize()

    # ---- state

    def link_stats(self) -> dict[str, Any]:
        """Transfers and bytes over the cable since the last reset, see torch_usbgpu.usb.LinkStats."""
        stats = self.adapter.stats.snapshot()
        stats["launches"] = self.stream.launches - self._launches_at_reset
        return stats

    def reset_link_stats(self) -> None:
        self.adapter.stats.reset()
        self._launches_at_reset = self.stream.launches

    def kernel_stats(self) -> dict[str, dict[str, Any]]:
        """What ran since the last reset, by kernel name: `launches`, and `FIGURES` of kernelstats.py where the
        adapter's handle knows them, else None. Waits for queued work."""
        self.synchronize()
        return self._kernel_stats.snapshot()

    def reset_kernel_stats(self) -> None:
        self.synchronize()
        self._kernel_stats.reset()

    def reset(self, at_least: str | None = None) -> recovery.Report:
        """Brings the device back after a fault, a hang, a failed transfer or a replug, by the mildest means that works.

        Queued work is lost; runtime/recovery.py says what else is at each rung. The report says what was done, and
        whether VRAM has lost its content: then every block reads as all ones (NaN as a floating-point number).

        Args:
            at_least: name of the rung to begin with, e.g. "mode-1 reset"; by default what went wrong decides.

        Raises:
            DeviceLost: the adapter is not plugged in; call again when it is.
            RecoveryFailed: nothing helped.
        """
        if self._closed:
            raise DeviceStopped("The device is closed.")
        return recovery.reset(self, at_least)

    def reattach(self, opened: OpenedHandle) -> None:
        """Goes on with the same adapter, opened again. For runtime/recovery.py."""
        self.opened = opened
        self.adapter.attach(opened.handle)
        self._kernel_stats.handle = opened.handle

    def close(self) -> None:
        """Shuts the GPU down so that the next process finds it clean. Safe to call twice, and while another thread
        uses the device: its call ends with DeviceStopped. The handle is closed whatever happens."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        road, stream = getattr(self, "road", None), getattr(self, "stream", None)
        if getattr(self, "_endpoint", None) is not None:
            self._endpoint.close()
        alone = True
        try:
            if stream is None:
                self._shut_down()
            else:
                road.stop = DeviceStopped("The device was closed by another thread.")
                alone = stream.exclusively(self._shut_down, CLOSE_SECONDS)
        finally:
            if road is not None:
                road.failure = Failure(DeviceStopped("The device is closed."))
            if alone:
                recovery.close_handle(self.handle)
            else:       # a transfer in flight on a closed handle would be worse
                log.error("another thread has kept the device for %g s: it is left as it is", CLOSE_SECONDS)

    def _shut_down(self) -> None:
        gpu = getattr(self, "gpu", None)
        if gpu is not None:
            gpu.shutdown()

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def _close_weakly(reference) -> None:
    device = reference()
    if device is not None:
        device.close()
