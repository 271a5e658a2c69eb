"""What went wrong on the GPU, in terms of a kernel, an address and a program counter; and how to go on."""
from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import BootError, GpuFault, IllegalInstruction, UsbGpuError
from .gfx import WaveState
from .interrupts import Interrupt
from .memory import HubFault

if TYPE_CHECKING:
    from .gpu import Gpu

log = logging.getLogger(__name__)

SHADER_CLIENTS = ("TCP", "SQC inst", "SQC data")     # hub clients that act for a wave
ENTRY_SECONDS = 0.02
# The longest instruction: three dwords (RDNA3 ISA, 'Instruction formats') and a literal.
CODE_BYTES = 16


def check(gpu: Gpu, kernel_at: Callable[[int], str | None]) -> None:
    """Raise the first cause of everything that the GPU has reported since the last call."""
    # In this order: a hub latches its fault before it posts the entry, so an entry that is here has its fault.
    entries = [entry for entry in gpu.interrupts.drain() if not entry.benign]
    fault = gpu.memory.read_fault("GC") or gpu.memory.read_fault("MM")
    if fault is None and not entries:
        fatal = gpu.nbio.describe_fault()
        if fatal:
            gpu.failed = True
            raise GpuFault("The GPU reports a fatal hardware error.", "Power-cycle the dock and try again.", **fatal)
        return
    gpu.failed = True
    wave = _halted_wave(gpu, entries)
    deadline = time.monotonic() + ENTRY_SECONDS
    while wave is None and fault is not None and fault.client in SHADER_CLIENTS and time.monotonic() < deadline:
        # The hub latches a fault before the wave's own entry has made its way into the ring.
        time.sleep(1e-3)
        late = [entry for entry in gpu.interrupts.drain() if not entry.benign]
        entries += late
        wave = _halted_wave(gpu, late)
    if fault is not None:
        gpu.memory.clear_fault(fault.hub)
    raise explain(fault, entries, wave, kernel_at, _code_at(gpu, wave))


def _code_at(gpu: Gpu, wave: WaveState | None) -> str | None:
    """The words of the instruction that a wave stopped at, in hexadecimal."""
    if wave is None:
        return None
    paddr = wave.pc - gpu.memory.vram_va(0)
    nbytes = min(CODE_BYTES, gpu.memory.heap_end - paddr) & ~3
    if paddr < 0 or paddr % 4 or nbytes <= 0:
        return None
    code = gpu.vram_read(paddr, nbytes)
    return " ".join(f"{word:08x}" for word, in struct.iter_unpack("<I", code))


def _halted_wave(gpu: Gpu, entries: list[Interrupt]) -> WaveState | None:
    for entry in entries:
        if entry.wave is not None and entry.wave.encoding == "error":
            state = gpu.gfx.find_wave(entry.wave)
            if state is not None:
                return state
    return None


def explain(fault: HubFault | None, entries: list[Interrupt], wave: WaveState | None,
            kernel_at: Callable[[int], str | None], code: str | None = None) -> UsbGpuError:
    """The error that the reports amount to: illegal instruction before memory fault before the rest."""
    pc = wave.pc if wave else None
    kernel = kernel_at(pc) if pc is not None else None
    where = f" in kernel {kernel}" if kernel else ""
    state: dict[str, str] = {}
    if wave:
        state["wave"] = f"engine {wave.engine} array {wave.array} wgp {wave.wgp} simd {wave.simd} wave {wave.wave}"
        state["lanes"] = f"{wave.execution_mask:#x}"    # EXEC: those that took part
    if code:
        state["code"] = code
    if entries:
        state["interrupts"] = "; ".join(str(entry) for entry in entries[:8])

    errors = [entry.wave.error for entry in entries if entry.wave is not None and entry.wave.error]
    if "ILLEGAL_INST" in errors and fault is None:
        return IllegalInstruction(f"The GPU met an illegal instruction{where}.", kernel=kernel, pc=pc, **state)
    address, access, client = _fault_of(fault, entries)
    if address is not None:
        if fault is not None:
            state["status"] = f"{fault.status:#x} ({fault.reason})"
        state["client"] = client
        return GpuFault(f"The GPU's {access} address {address:#x} failed{where}.", kernel=kernel, address=address,
                        pc=pc, **state)
    if "MEMVIOL" in errors:
        return GpuFault(f"A memory access of the GPU was misaligned or outside its apertures{where}.", kernel=kernel,
                        pc=pc, **state)
    first = entries[0]
    sources = {"CP_BAD_OPCODE_ERROR": "The command processor met an unknown packet.",
               "SDMA_QUEUE_HANG": "The copy engine hangs.", "CP_PRIV_REG_FAULT": "A forbidden register was accessed."}
    return GpuFault(sources.get(first.source, f"The GPU reports {first.source}."), kernel=kernel, pc=pc, **state)


def _fault_of(fault: HubFault | None, entries: list[Interrupt]) -> tuple[int | None, str, str]:
    if fault is not None:
        return fault.address, fault.access, f"{fault.hub} hub, {fault.client}"
    for entry in entries:
        if entry.is_page_fault:
            return entry.fault_address, "write to" if entry.ring & 0x20 else "read of", entry.client
    return None, "", ""


def stop_queues(gpu: Gpu) -> None:
    """Kill what runs; the queues are off afterwards."""
    gpu.sdma.stop()
    gpu.gfx.dequeue()


def reset_queues(gpu: Gpu) -> None:
    """Kill what runs and start both queues empty, as Linux resets a single compute queue (gfx_v11_0_reset_kcq)."""
    _start_anew(gpu, gpu.gfx.dequeue)


def recover_queues(gpu: Gpu) -> None:
    """As reset_queues, and the compute engine is restarted. If it does not obey, only reset() helps."""
    _start_anew(gpu, gpu.gfx.reset_mec)


def _start_anew(gpu: Gpu, stop_compute: Callable[[], None]) -> None:
    try:
        gpu.interrupts.drain()
        gpu.memory.clear_fault("GC")
        gpu.sdma.stop()
        stop_compute()
        gpu.memory.flush_tlb("GC")
        gpu.sdma.start()
        gpu.gfx.create_queue()
        gpu.sdma.create_queue()
    except BootError as error:
        gpu.failed = True
        raise BootError(f"The GPU's queues could not be recovered: {error.found}",
                        "Call torch.usbgpu.reset(); tensors on the GPU are lost.", **error.state) from error
    fault = gpu.memory.read_fault("GC")
    if fault is not None:
        gpu.failed = True
        raise BootError("The GPU faults again right after its queues were recovered.",
                        "Call torch.usbgpu.reset(); tensors on the GPU are lost.", address=f"{fault.address:#x}")
