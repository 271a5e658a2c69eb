"""Commands of the security processor: what its ring's write pointer hands over."""
from __future__ import annotations

from collections.abc import Callable, Iterator

from ..amdgpu.facts import enum, get_field, struct_size
from .memory import Memory

FRAME, COMMAND = "psp_gfx_rb_frame", "psp_gfx_cmd_resp"
FRAME_BYTES = struct_size(FRAME)
COMMAND_BYTES = 64           # all parameters of the commands below lie in here
MAX_FRAMES = 64
WRITE_POINTER = 67           # C2PMSG: in dwords
RING_LOW, RING_HIGH, RING_BYTES = 69, 70, 71
CREATE = 64                  # a new ring starts at its front


def _name(group: str, value: int) -> str:
    return next((name for name, number in enum(group).items() if number == value), f"{value:#x}")


class PspRing:
    """Follows the ring of the PSP.

    Args:
        message: value of C2PMSG_n as last seen, or None.
    """

    def __init__(self, memory: Memory, message: Callable[[int], int | None]) -> None:
        self._memory, self._message = memory, message
        self._fetched = 0

    def written(self, number: int, value: int) -> list[str]:
        """C2PMSG_n was written; the commands that this hands over, in words."""
        if number == CREATE:
            self._fetched = 0
        if number != WRITE_POINTER:
            return []
        start, self._fetched = self._fetched, value
        return list(self._commands(start, value))

    def _commands(self, start: int, end: int) -> Iterator[str]:
        low, size = self._message(RING_LOW), self._message(RING_BYTES)
        if low is None or not size:
            return
        base, dwords = (self._message(RING_HIGH) or 0) << 32 | low, size // 4
        count = (end - start) % dwords * 4 // FRAME_BYTES
        for n in range(min(count, MAX_FRAMES)):
            frame = self._memory.read(base + (start * 4 + n * FRAME_BYTES) % size, FRAME_BYTES)
            if frame is None:
                yield "PSP command (not seen on the wire)"
                continue
            address = get_field(frame, FRAME, "cmd_buf_addr_hi") << 32 | get_field(frame, FRAME, "cmd_buf_addr_lo")
            fence = get_field(frame, FRAME, "fence_value")
            command = self._memory.read(address, COMMAND_BYTES)
            yield f"PSP {self._describe(command)}, fence {fence}"

    @staticmethod
    def _describe(command: bytes | None) -> str:
        if command is None:
            return "command (not seen on the wire)"
        name = _name("psp_gfx_cmd_id", get_field(command, COMMAND, "cmd_id"))

        def get(field: str) -> int:
            return get_field(command, COMMAND, f"cmd.{field}")

        if name == "LOAD_IP_FW":
            address = get("cmd_load_ip_fw.fw_phy_addr_hi") << 32 | get("cmd_load_ip_fw.fw_phy_addr_lo")
            kind = _name("psp_gfx_fw_type", get("cmd_load_ip_fw.fw_type"))
            return f"LOAD_IP_FW {kind}, {get('cmd_load_ip_fw.fw_size')} bytes at {address:#x}"
        if name == "SETUP_TMR":
            address = get("cmd_setup_tmr.buf_phy_addr_hi") << 32 | get("cmd_setup_tmr.buf_phy_addr_lo")
            return f"SETUP_TMR {get('cmd_setup_tmr.buf_size'):#x} bytes at {address:#x}"
        return name
