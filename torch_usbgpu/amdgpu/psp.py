"""PSP: the security processor. It takes all firmware, checks it and hands it to the engines.

Two phases: its boot loader takes its own components one by one through a mailbox; then a ring of commands
loads everything else. Both read from a staging buffer, which here is the adapter's SRAM: filled fast over
USB, and seen by the PSP through the MM hub. Sources: Linux psp_v13_0.c, amdgpu_psp.c; tinygrad AM_PSP.
"""
from __future__ import annotations

import logging
import struct
import time

from ..errors import BootError, FirmwareMismatch, PspSilent
from . import layout
from .facts import enum, put_field, struct_fields, struct_size
from .layout import PLACES
from .registers import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

log = logging.getLogger(__name__)

_COMMANDS = enum("psp_gfx_cmd_id")
_TYPES = enum("psp_gfx_fw_type")
_LOADER = enum("psp_bootloader_cmd")
_CONTROL = enum("psp_ctrl_cmd_id")
_STATUS = {value: name for name, value in enum("psp_status").items()}

# Component -> boot loader command, in the order that the loader wants them.
BOOT_COMPONENTS = (("KDB", "LOAD_KEY_DATABASE"), ("SPL", "LOAD_TOS_SPL_TABLE"), ("SYS_DRV", "LOAD_SYSDRV"),
                   ("SOC_DRV", "LOAD_SOCDRV"), ("INTF_DRV", "LOAD_INTFDRV"), ("DBG_DRV", "LOAD_DBGDRV"),
                   ("RAS_DRV", "LOAD_RASDRV"), ("IPKEYMGR_DRV", "LOAD_IPKEYMGRDRV"), ("SOS", "LOAD_SOSDRV"))

READY = 1 << 31
RING_TYPE = enum("psp_ring_type")["KM_GPCOM"]     # 1 (RBI) would be accepted and never executed
FRAME_BYTES = struct_size("psp_gfx_rb_frame")
FRAMES_AT_ONCE = 16              # a boot takes 15 commands
UNANSWERED = 0xFFFF_FFFF          # no status of a response
RING_DWORDS = layout.PSP_RING_BYTES // 4
RESPONSE = struct_fields("psp_gfx_cmd_resp")["resp.status"][0]
TMR_SIZE = struct_fields("psp_gfx_cmd_resp")["resp.tmr_size"][0]
COMMAND_HEAD_BYTES = 64           # all parameters of our commands lie in here
TMR_BOTH_ADDRESSES = 2
ANSWER_SECONDS = 5.0              # Linux: 1 s for a component (psp_v13_0.c), 2 s for a command (amdgpu_psp.c)
SETTLE_SECONDS = 0.02             # Linux and tinygrad sleep 20 ms around ring creation and after SOS


class Psp:
    def __init__(self, gpu) -> None:
        self._gpu = gpu
        self._wptr = 0
        self._fence = self._frames_written = 0     # since the ring was created
        self._tmr_bytes = 0

    def _message(self, number: int) -> str:
        name = f"MP0_SMN_C2PMSG_{number}"
        return name if name in self._gpu.regs else f"MPASP_SMN_C2PMSG_{number}"

    @property
    def major(self) -> int:
        return int(self._gpu.chip["ip_versions"]["MP0"].split(".")[0])

    # ---- verbs
    def is_alive(self) -> bool:
        """Does its operating system run (since an earlier boot)?"""
        return self._gpu.regs.read(self._message(81)) != 0

    def init(self) -> str:
        """Boot loader phase: load the PSP's own operating system."""
        if self.is_alive():
            return "already running"
        sos = self._gpu.firmware.file("sos")
        self._await_loader("its first component")
        names = []
        for component, command in BOOT_COMPONENTS:
            if f"PSP_{component}" not in sos.slices:
                continue
            # 13.x takes the key database again in place of the SPL table, in Linux and tinygrad alike.
            content = sos.content("PSP_KDB" if component == "SPL" and self.major == 13 else f"PSP_{component}")
            self._load_component(component, content, _LOADER[command])
            names.append(component)
        time.sleep(SETTLE_SECONDS)
        self._gpu.regs.wait(self._message(81), lambda value: value != 0, "the PSP's operating system to come up",
                             ANSWER_SECONDS, error=PspSilent)
        return " ".join(names)

    def _load_component(self, name: str, content: bytes, command: int) -> None:
        regs = self._gpu.regs
        self._stage(content)
        # 35 and 36 are neighbours, but the command must come last.
        regs.write(self._message(36), self._staging_va >> 20)
        regs.write(self._message(35), command)
        if name == "SOS":
            return
        value = self._await_loader(name)
        if value & 0xFFFF:
            raise FirmwareMismatch(f"The PSP's boot loader refused {name}.",
                                   "Get a fresh copy of the file from linux-firmware.",
                                   file=self._gpu.firmware.file("sos").origin, answer=f"{value:#x}")

    def _await_loader(self, component: str) -> int:
        return self._gpu.regs.wait(self._message(35), lambda value: value & READY != 0,
                                   f"the PSP's boot loader to take {component}", ANSWER_SECONDS, error=PspSilent)

    def start(self) -> None:
        """Create the command ring."""
        regs = self._gpu.regs
        if regs.read(self._message(71)) != 0:
            regs.write(self._message(64), _CONTROL["DESTROY_RINGS"])
            time.sleep(SETTLE_SECONDS)
        regs.wait(self._message(64), lambda value: value & READY != 0, "the PSP's ring mailbox", ANSWER_SECONDS,
                  error=PspSilent)
        address = self._gpu.memory.mc(PLACES["psp_ring"])
        regs.write_many([(self._message(69), address & 0xFFFF_FFFF), (self._message(70), address >> 32),
                         (self._message(71), layout.PSP_RING_BYTES)])
        regs.write(self._message(64), RING_TYPE << 16)
        time.sleep(SETTLE_SECONDS)
        regs.wait(self._message(64), lambda value: value & 0x8000_FFFF == READY, "the PSP to create its ring",
                  ANSWER_SECONDS, error=PspSilent)
        self._wptr = regs.read(self._message(67))
        self._gpu.vram_write(PLACES["psp_command"], bytes(struct_size("psp_gfx_cmd_resp") + 4))
        self._fence = self._frames_written = 0

    def stop(self) -> None:
        """Nothing: what is loaded stays loaded, which is what makes a warm start quick."""

    def describe_fault(self) -> dict[str, str]:
        return self._gpu.regs.snapshot([self._message(35), self._message(64), self._message(81)])

    # ---- firmware
    def load_toc(self) -> int:
        """Table of contents first; it tells how much trusted memory (TMR) all firmware needs."""
        content = self._gpu.firmware.file("sos").content("PSP_TOC")
        self._stage(content)
        response = self._load(content, "LOAD_TOC", "TOC", app=len(content))
        self._tmr_bytes = struct.unpack_from("<I", response, TMR_SIZE - RESPONSE)[0]
        if self._tmr_bytes > layout.TMR_BYTES:
            raise BootError("The firmware wants more trusted memory than is reserved for it.",
                            "Use the firmware files of an older linux-firmware release.",
                            wanted=self._tmr_bytes, reserved=layout.TMR_BYTES)
        return self._tmr_bytes

    def load_all(self) -> str:
        """Every slice in the chip's order, with SETUP_TMR and AUTOLOAD_RLC where they belong."""
        staged = None
        loaded = []
        for kind, name in self._gpu.firmware.load_order():
            if not kind:
                if name == "SETUP_TMR":
                    self._setup_tmr()
                else:
                    self._command(name, name)
                continue
            file = self._gpu.firmware.file(kind)
            if name not in file.slices:
                continue
            content = file.content(name)
            if content != staged:
                self._stage(content)
                staged = content
            self._load(content, "LOAD_IP_FW", f"{file.name}:{name}", firmware=(len(content), _TYPES[name]))
            loaded.append(name)
        return " ".join(loaded)

    def _load(self, content: bytes, command: str, what: str, **parameters) -> bytes:
        """A command about what is staged; if it is refused, with the content staged once more.

        That the adapter has taken data does not prove that the data has arrived.
        """
        try:
            return self._command(command, what, **parameters)
        except FirmwareMismatch as refusal:
            log.warning("%s It is sent again.", refusal.found)
            self._stage(content)
            return self._command(command, what, **parameters)

    def _setup_tmr(self) -> None:
        self._command("SETUP_TMR", "TMR", tmr=self._tmr_bytes or layout.TMR_BYTES)

    @property
    def _staging_va(self) -> int:
        """Where _stage() puts things, as the PSP sees it."""
        memory = self._gpu.memory
        return memory.staging_va if self._gpu.adapter.has_sram else memory.mc(PLACES["vram_stage"])

    def _stage(self, content: bytes) -> None:
        """Fill the staging buffer, zero-padded to 16 bytes (and by the adapter to a sector).

        The PSP looks for no sentinel: half-landed content would be refused as forged.
        """
        if not self._gpu.adapter.has_sram:       # then through BAR0, at a hundredth of the rate
            self._gpu.vram_write(PLACES["vram_stage"], content + bytes(-len(content) % 16))
            self._gpu.memory.flush_hdp()
            return
        self._gpu.adapter.sram_write_landed(layout.STAGING_SLOT, content + bytes(-len(content) % 16))

    def _command(self, command: str, what: str, *, app: int = 0, firmware: tuple[int, int] | None = None,
                 tmr: int = 0) -> bytes:
        """Run one ring command; returns the response.

        Raises:
            FirmwareMismatch: the PSP refused it.
            PspSilent: it never answered.
        """
        gpu, memory = self._gpu, self._gpu.memory
        buffer = bytearray(COMMAND_HEAD_BYTES)

        def put(field: str, value: int) -> None:
            put_field(buffer, "psp_gfx_cmd_resp", field, value)

        put("cmd_id", _COMMANDS[command])
        if firmware:
            prefix, (size, kind) = "cmd.cmd_load_ip_fw.fw", firmware
            put(f"{prefix}_phy_addr_lo", self._staging_va & 0xFFFF_FFFF)
            put(f"{prefix}_phy_addr_hi", self._staging_va >> 32)
            put(f"{prefix}_size", size)
            put(f"{prefix}_type", kind)
        elif app:         # LOAD_TOC: address and size at the same places as LOAD_TA's
            put("cmd.cmd_load_ta.app_phy_addr_lo", self._staging_va & 0xFFFF_FFFF)
            put("cmd.cmd_load_ta.app_phy_addr_hi", self._staging_va >> 32)
            put("cmd.cmd_load_ta.app_len", app)
        elif tmr:
            prefix, address = "cmd.cmd_setup_tmr", memory.mc(PLACES["tmr"])
            put(f"{prefix}.buf_phy_addr_lo", address & 0xFFFF_FFFF)
            put(f"{prefix}.buf_phy_addr_hi", address >> 32)
            put(f"{prefix}.buf_size", tmr)
            put(f"{prefix}.tmr_flags", TMR_BOTH_ADDRESSES)
            put(f"{prefix}.system_phy_addr_lo", PLACES["tmr"] & 0xFFFF_FFFF)
            put(f"{prefix}.system_phy_addr_hi", PLACES["tmr"] >> 32)
        if self._fence == self._frames_written:
            self._write_frames()
        self._fence += 1
        gpu.vram_write(PLACES["psp_command"], buffer)
        gpu.vram_write(PLACES["psp_command"] + RESPONSE, UNANSWERED.to_bytes(4, "little"))
        memory.flush_hdp()
        self._wptr = (self._wptr + FRAME_BYTES // 4) % RING_DWORDS
        gpu.regs.write(self._message(67), self._wptr)
        response = self._await_fence(what)
        status = struct.unpack_from("<I", response)[0]
        if status:
            raise FirmwareMismatch(f"The PSP refused {what} ({_STATUS.get(status, 'unknown reason')}).",
                                   "Get a fresh copy of the firmware files from linux-firmware.",
                                   command=command, status=f"{status:#x}")
        return response

    def _write_frames(self) -> None:
        """The next frames of the ring. They differ in their fence values only, so many go in one stream."""
        count = min(FRAMES_AT_ONCE, (RING_DWORDS - self._wptr) * 4 // FRAME_BYTES)
        frames = b"".join(self._frame(self._fence + 1 + i) for i in range(count))
        self._gpu.vram_write(PLACES["psp_ring"] + 4 * self._wptr, frames)
        self._frames_written += count

    def _frame(self, fence_value: int) -> bytes:
        memory, frame = self._gpu.memory, bytearray(FRAME_BYTES)
        command, fence = memory.mc(PLACES["psp_command"]), memory.mc(PLACES["psp_command"] + layout.PSP_FENCE)
        for field, value in (("cmd_buf_addr_lo", command & 0xFFFF_FFFF), ("cmd_buf_addr_hi", command >> 32),
                             ("fence_addr_lo", fence & 0xFFFF_FFFF), ("fence_addr_hi", fence >> 32),
                             ("fence_value", fence_value)):
            put_field(frame, "psp_gfx_rb_frame", field, value)
        return bytes(frame)

    def _await_fence(self, what: str, timeout_s: float = ANSWER_SECONDS) -> bytes:
        """The response. It lies right before the fence, so one read fetches both: the fence last, though it is
        written last. A response that was read before it was there is fetched again."""
        place = PLACES["psp_command"] + RESPONSE
        deadline, pause_s = time.monotonic() + timeout_s, FIRST_PAUSE_SECONDS
        while True:
            data = self._gpu.vram_read(place, layout.PSP_FENCE + 4 - RESPONSE)
            if struct.unpack_from("<I", data, len(data) - 4)[0] == self._fence:
                break
            if time.monotonic() > deadline:
                raise PspSilent(f"The PSP did not answer within {timeout_s:g} s to {what}.", **self.describe_fault(),
                                **self._gpu.memory.describe_fault())
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_SECONDS)
        if struct.unpack_from("<I", data)[0] == UNANSWERED:
            data = self._gpu.vram_read(place, layout.PSP_FENCE + 4 - RESPONSE)
        return data[:-4]
