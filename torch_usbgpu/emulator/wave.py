"""A wave that is stopped: its registers, and where it stands. Made by debugger.py."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .debugger import Controller

VCC, M0, EXEC = 106, 125, 126


@dataclass(frozen=True)
class Stop:
    """Why and where a wave stands still.

    reason: "entry", "step", "breakpoint", "paused", "end" (the wave ended), "fault", "finished" (the whole dispatch).
    """

    reason: str
    pc: int = 0
    group: tuple[int, int, int] = (0, 0, 0)
    wave: int = 0
    where: str = ""           # "kernel+0x10"
    text: str = ""            # the instruction
    fault: str = ""

    def __str__(self) -> str:
        if self.reason == "finished":
            return f"finished{': ' + self.fault if self.fault else ''}"
        place = f"workgroup {self.group}, wave {self.wave}, {self.where or hex(self.pc)}"
        return f"{self.reason} at {place}: {self.text}"


class Wave:
    """The wave that is stopped. Arrays are live: writing to them writes the registers. Copy what you want to keep."""

    def __init__(self, debugger: Controller):
        self._debugger = debugger
        self._session = debugger.session

    # ---- registers
    @property
    def sgpr(self) -> np.ndarray:
        """Scalar registers, uint32[128]: s0..s105, VCC at 106, TTMPs from 108, M0 at 125, EXEC at 126."""
        return self._session.sgpr(self._debugger.owner)

    @property
    def vgpr(self) -> np.ndarray:
        """Vector registers, uint32[256, lanes]. Of a wave64 a read-only copy, because its halves lie apart in memory:
        write with write_vgpr()."""
        halves = self._session.vgpr(self._debugger.owner)
        if halves.shape[1] == 1:
            return halves[:, 0]
        copied = halves.reshape(halves.shape[0], -1)
        copied.flags.writeable = False
        return copied

    @property
    def vgpr_f32(self) -> np.ndarray:
        """The same registers as float32."""
        return self.vgpr.view(np.float32)

    @property
    def vgpr_i32(self) -> np.ndarray:
        return self.vgpr.view(np.int32)

    def write_vgpr(self, register: int, values, lanes=slice(None)) -> None:
        """Set a vector register in some or all lanes; floats are stored as float32."""
        values = np.asarray(values)
        if values.dtype.kind == "f":
            values = values.astype(np.float32).view(np.uint32)
        halves = self._session.vgpr(self._debugger.owner)
        row = halves[register].reshape(-1).copy()
        row[lanes] = values.astype(np.int64) & 0xFFFF_FFFF
        halves[register] = row.reshape(halves.shape[1:])

    @property
    def lds(self) -> np.ndarray:
        """The workgroup's LDS, uint8; use .view(np.float32) and the like."""
        return self._session.lds(self._debugger.owner)

    @property
    def lanes(self) -> int:
        return self._session.lanes

    def _pair(self, first: int) -> int:
        low, high = self.sgpr[first:first + 2]
        return int(low) | (int(high) << 32 if self.lanes == 64 else 0)

    def _set_pair(self, first: int, value: int) -> None:
        registers = self.sgpr
        registers[first] = value & 0xFFFF_FFFF
        if self.lanes == 64:
            registers[first + 1] = value >> 32

    exec = property(lambda self: self._pair(EXEC), lambda self, value: self._set_pair(EXEC, value),
                    doc="Mask of the active lanes.")
    vcc = property(lambda self: self._pair(VCC), lambda self, value: self._set_pair(VCC, value),
                   doc="Mask that compares write, one bit per lane.")

    @property
    def active(self) -> np.ndarray:
        """EXEC as bool[lanes]: an index for the second dimension of vgpr."""
        return np.array([self.exec >> lane & 1 for lane in range(self.lanes)], bool)

    @property
    def m0(self) -> int:
        return int(self.sgpr[M0])

    @m0.setter
    def m0(self, value: int) -> None:
        self.sgpr[M0] = value

    @property
    def scc(self) -> bool:
        return bool(self._session.scc)

    @scc.setter
    def scc(self, value: bool) -> None:
        self._session.scc = bool(value)

    @property
    def mode(self) -> int:
        """MODE: rounding 3:0, denormals 7:4, dx10_clamp 8, ieee 9."""
        return self._session.mode

    @mode.setter
    def mode(self, value: int) -> None:
        self._session.mode = value

    @property
    def pc(self) -> int:
        """Address of the instruction that comes next. Setting it jumps."""
        return self._session.pc

    @pc.setter
    def pc(self, address: int) -> None:
        self._session.pc = address

    @property
    def group(self) -> tuple[int, int, int]:
        return tuple(self._session.group)

    @property
    def index(self) -> int:
        """Number of the wave in its workgroup."""
        return self._session.index

    # ---- code and memory
    @property
    def instruction(self) -> str:
        """The instruction at pc, not yet executed."""
        return self._debugger.text_at(self.pc)

    def disassembly(self, before: int = 4, after: int = 6) -> str:
        """Instructions around pc, which "=>" marks."""
        return self._debugger.disassembly(self.pc, before, after)

    def read(self, address: int, count: int, dtype=np.uint32) -> np.ndarray:
        """`count` elements of GPU memory."""
        return self._debugger.read(address, count, dtype)

    # ---- going on
    def step(self, count: int = 1) -> Stop:
        return self._debugger.step(count)

    def run(self) -> Stop:
        return self._debugger.run()

    def __repr__(self) -> str:
        return f"<wave {self.index} of workgroup {self.group} at {self._debugger.place(self.pc)}: {self.instruction}>"
