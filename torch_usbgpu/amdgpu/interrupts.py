"""IH: the interrupt rings, used as an error log. Nothing interrupts anybody over USB; the rings are polled.

Sources: Linux ih_v6_0.c, amdgpu_irq.c, kfd_int_process_v11.c (SQ words); tinygrad AM_IH.
"""
from __future__ import annotations

import logging
from dataclasses import dataclass

from . import layout
from .facts import enum, get_field, struct_size
from .layout import PLACES

log = logging.getLogger(__name__)

ENTRY_BYTES = struct_size("ih_ring_entry")
_CLIENTS = {value: name for name, value in enum("ih_client").items()}
_SQ = enum("sq_interrupt")
BENIGN = ("CP_EOP_INTERRUPT", "SDMA_TRAP", "SDMA_FENCE", "CP_CTX_BUSY_INTERRUPT", "CP_CTX_EMPTY_INTERRUPT",
          "GRBM_REG_GUI_IDLE")


@dataclass(frozen=True)
class WaveInterrupt:
    """What an SQ entry says: which wave, and why."""

    encoding: str         # "auto", "wave", "error"
    error: str            # "ILLEGAL_INST", "MEMVIOL", ... ; "" unless encoding is "error"
    array: int
    wave: int
    simd: int
    wgp: int


@dataclass(frozen=True)
class Interrupt:
    client: str
    source: str
    ring: int
    vmid: int
    context: tuple[int, int, int, int]

    @property
    def benign(self) -> bool:
        return self.source in BENIGN

    @property
    def is_page_fault(self) -> bool:
        return self.source in ("UTCL2_FAULT", "VM_FAULT")

    @property
    def fault_address(self) -> int:
        """Of a page fault: the page's address."""
        return self.context[0] << 12 | (self.context[1] & 0xF) << 44

    @property
    def wave(self) -> WaveInterrupt | None:
        if self.source != "SQ_INTERRUPT_ID":
            return None

        def bits(word: str, name: str) -> int:
            lsb, msb = _SQ[word][name]
            return self.context[0 if word == "ctx0" else 1] >> lsb & ((1 << msb - lsb + 1) - 1)

        encoding = next((n for n, v in _SQ["encoding"].items() if v == bits("ctx1", "encoding")), "unknown")
        error = next((n for n, v in _SQ["error_type"].items() if v == bits("ctx0", "type")), "unknown")
        return WaveInterrupt(encoding, error if encoding == "error" else "", bits("ctx0", "sh_id"),
                             bits("ctx0", "wave_id"), bits("ctx1", "simd_id"), bits("ctx1", "wgp_id"))

    def __str__(self) -> str:
        words = " ".join(f"{word:#x}" for word in self.context)
        return f"{self.client} {self.source} ring {self.ring:#x} vmid {self.vmid} context {words}"


def decode(entry: bytes, family: str) -> Interrupt:
    """One ring entry."""

    def value(name: str) -> int:
        return get_field(entry, "ih_ring_entry", name)

    client, source = value("client_id"), value("source_id")
    names = {"VM_FAULT": 0} if client == enum("ih_client")["VMC"] else enum(f"ih_source_{family}")
    source_name = next((name for name, number in names.items() if number == source), f"source {source}")
    return Interrupt(_CLIENTS.get(client, f"client {client}"), source_name, value("ring_id"), value("vmid"),
                     tuple(value(f"context{i}") for i in range(4)))


class Interrupts:
    def __init__(self, gpu) -> None:
        self._gpu = gpu
        self._rptr = 0        # bytes

    def init(self) -> None:
        """Program both rings, disabled."""
        regs, mc = self._gpu.regs, self._gpu.memory.mc
        size = (layout.IH_RING_BYTES // 4).bit_length() - 1
        common = {"mc_space": 4, "wptr_overflow_clear": 1, "rb_size": size, "mc_snoop": 1}
        writeback = mc(PLACES["ih_writeback0"])
        self._control0 = regs["IH_RB_CNTL"].encode(**common, wptr_overflow_enable=1, rptr_rearm=1)
        self._control1 = regs["IH_RB_CNTL_RING1"].encode(**common, rb_full_drain_enable=1)
        regs.write_set({
            "IH_RB_CNTL": self._control0,
            "IH_RB_BASE": mc(PLACES["ih_ring0"]) >> 8 & 0xFFFF_FFFF, "IH_RB_BASE_HI": mc(PLACES["ih_ring0"]) >> 40,
            "IH_RB_WPTR_ADDR_LO": writeback & 0xFFFF_FFFF, "IH_RB_WPTR_ADDR_HI": writeback >> 32,
            "IH_RB_WPTR": 0, "IH_RB_RPTR": 0, "IH_DOORBELL_RPTR": 0,
            "IH_RB_CNTL_RING1": self._control1,
            "IH_RB_BASE_RING1": mc(PLACES["ih_ring1"]) >> 8 & 0xFFFF_FFFF,
            "IH_RB_BASE_HI_RING1": mc(PLACES["ih_ring1"]) >> 40,
            "IH_RB_WPTR_RING1": 0, "IH_RB_RPTR_RING1": 0, "IH_DOORBELL_RPTR_RING1": 0,
        })
        self._rptr = 0

    def start(self) -> None:
        """Throttle floods, then let entries come."""
        regs = self._gpu.regs
        regs.update("IH_STORM_CLIENT_LIST_CNTL", client18_is_storm_client=1)
        regs.update("IH_INT_FLOOD_CNTL", flood_cntl_enable=1)
        regs.update("IH_MSI_STORM_CTRL", delay=3)
        regs.write("IH_RB_CNTL", regs["IH_RB_CNTL"].insert(self._control0, rb_enable=1, enable_intr=1))
        regs.write("IH_RB_CNTL_RING1", regs["IH_RB_CNTL_RING1"].insert(self._control1, rb_enable=1))

    def adopt(self) -> None:
        """A warm start: the rings run; begin where the last process stopped reading."""
        self._rptr = self._gpu.regs.read("IH_RB_RPTR") & layout.IH_RING_BYTES - 4

    def stop(self) -> None:
        """Leave nothing unread for the next process."""
        self.drain()

    def describe_fault(self) -> dict[str, str]:
        return self._gpu.regs.snapshot(["IH_RB_WPTR", "IH_RB_RPTR", "IH_STATUS"])

    def drain(self) -> list[Interrupt]:
        """Everything that came in since the last call, oldest first."""
        regs = self._gpu.regs
        raw = regs.read("IH_RB_WPTR")
        wptr = raw & layout.IH_RING_BYTES - 4
        if wptr == self._rptr and not raw & 1:
            return []
        if regs["IH_RB_WPTR"].extract(raw, "rb_overflow"):
            log.warning("the interrupt ring has overflowed; older entries are lost")
            self._rptr = (wptr + ENTRY_BYTES) % layout.IH_RING_BYTES
            self._clear_overflow(raw)
        data = self._read_ring(self._rptr, wptr)
        self._rptr = wptr
        regs.write("IH_RB_RPTR", wptr)
        entries = [decode(data[at:at + ENTRY_BYTES], self._gpu.memory.family)
                   for at in range(0, len(data) - ENTRY_BYTES + 1, ENTRY_BYTES)]
        for entry in entries:
            log.log(logging.DEBUG if entry.benign else logging.INFO, "interrupt: %s", entry)
        return entries

    def _read_ring(self, start: int, end: int) -> bytes:
        base = PLACES["ih_ring0"]
        if end >= start:
            return self._gpu.vram_read(base + start, end - start)
        tail = self._gpu.vram_read(base + start, layout.IH_RING_BYTES - start)
        return tail + (self._gpu.vram_read(base, end) if end else b"")

    def _clear_overflow(self, wptr: int) -> None:
        regs = self._gpu.regs
        regs.write("IH_RB_WPTR", regs["IH_RB_WPTR"].insert(wptr, rb_overflow=0))
        control = regs.update("IH_RB_CNTL", wptr_overflow_clear=1)
        regs.write("IH_RB_CNTL", regs["IH_RB_CNTL"].insert(control, wptr_overflow_clear=0))
