"""A board that gives back what was written, and says yes where a boot waits: for the sequence, not for the meaning."""
from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from torch_usbgpu.amdgpu import Gpu, boot, layout
from torch_usbgpu.amdgpu.facts import enum, load
from torch_usbgpu.amdgpu.firmware import FirmwareFile, FirmwareStore
from torch_usbgpu.amdgpu.gpu import PciFunction
from torch_usbgpu.amdgpu.registers import CONFIG_MEMSIZE, MP0_C2PMSG_33
from torch_usbgpu.pcie.config import Bar
from torch_usbgpu.usb import LinkStats

from .boards import discovery_binary

VRAM, DOORBELLS, REGISTERS = 0x8_0000_0000, 0x10_0000_0000, 0x1000_0000
VRAM_BYTES = 24 << 30
FILES = json.loads(Path(__file__).with_name("firmware_slices.json").read_text())["files"]


class Echo:
    """Stands in for the adapter."""

    has_sram = True

    def __init__(self, chip: str):
        self.lock, self.stats, self.started = threading.RLock(), LinkStats(), True
        self.registers: dict[int, int] = {MP0_C2PMSG_33: 1 << 31, CONFIG_MEMSIZE: VRAM_BYTES >> 20}
        self.binary = discovery_binary(chip)
        self.writes: list[tuple[str, int]] = []
        self.staged: list[str] = []                      # parts of files that the PSP was shown
        self.commands: list[tuple[int, int]] = []        # of the PSP's ring: (command, type of LOAD_IP_FW)
        self.banked: dict[str, Callable[[], int]] = {}   # registers whose content depends on others
        self.gpu: Gpu | None = None
        self.names: dict[int, str] = {}
        self.answers = {"ENG17_SEM": 1, "ENG17_ACK": 1, "MP1_SMN_C2PMSG_90": 1, "MP1_SMN_C2PMSG_82": 3,
                        "RLC_RLCS_BOOTLOAD_STATUS": 1 << 31, "C2PMSG_35": 1 << 31, "C2PMSG_64": 1 << 31}

    def read32(self, address: int) -> int:
        dword = (address - REGISTERS) // 4
        name = self.names.get(dword, "")
        if name in self.banked:
            return self.banked[name]()
        for ending, answer in self.answers.items():
            if name.endswith(ending):
                return answer
        return self.registers.get(dword, 0)

    def write32(self, address: int, value: int) -> None:
        dword = (address - REGISTERS) // 4
        name = self.names.get(dword, f"{dword:#x}")
        self.writes.append((name, value))
        self.registers[dword] = value
        if name == "CP_HQD_DEQUEUE_REQUEST" and value:
            self.registers[self.gpu.regs.address("CP_HQD_ACTIVE")] = 0
        if name.endswith("C2PMSG_35") and value == 0x2_0000:
            self.answers["C2PMSG_81"] = 1

    def memory_write(self, address: int, data) -> None:
        if address < VRAM:
            for offset, (value,) in enumerate(struct.iter_unpack("<I", bytes(data))):
                self.write32(address + 4 * offset, value)
        elif address == VRAM + layout.PLACES["psp_command"] and any(data):
            command = int.from_bytes(data[8:12], "little")
            load_ip_fw = command == enum("psp_gfx_cmd_id")["LOAD_IP_FW"]
            self.commands.append((command, int.from_bytes(data[40:44], "little") if load_ip_fw else 0))

    def memory_read(self, address: int, nbytes: int) -> bytes:
        if address < VRAM:
            return b"".join(struct.pack("<I", self.read32(address + offset)) for offset in range(0, nbytes, 4))
        paddr = address - VRAM
        table = VRAM_BYTES - 65536
        if paddr >= table:
            return self.binary.ljust(10240, b"\0")[paddr - table:paddr - table + nbytes]
        if paddr == layout.PLACES["psp_command"] + 864:
            return bytes(nbytes - 4) + struct.pack("<I", self.gpu.psp._fence)
        return bytes(nbytes)

    def sram_write_landed(self, slot: int, data: bytes) -> None:
        self.staged.append(data.rstrip(b"\0").decode())

    def value(self, name: str) -> int:
        """What was last written to a register."""
        return self.registers.get(self.gpu.regs.address(name), 0)


class AnyFirmware(FirmwareStore):
    """Every file has every part that the chip's order wants; the PSP's file has those of the real one."""

    def file(self, kind: str) -> FirmwareFile:
        file = object.__new__(FirmwareFile)
        file.name = file.origin = self.file_name(kind)
        file.start_address = 0x7_0000_0000_3000
        parts = [part for owner, part in self.load_order() if owner == kind]
        file.slices = dict.fromkeys(FILES[file.name]["slices"] if kind == "sos" else parts)
        file.content = lambda part: part.encode()
        return file


def found(chip: str) -> tuple[Gpu, Echo]:
    """A GPU on an echo board, after the steps that find it."""
    board = Echo(chip)
    gpu = board.gpu = Gpu(board)
    gpu.pci = PciFunction(4, 0x1002, 0x744C, 0xC8, {
        0: Bar(0, VRAM, 32 << 30, True), 2: Bar(2, DOORBELLS, 2 << 20, True), 5: Bar(5, REGISTERS, 1 << 20, False)})
    for step in (boot.await_board_firmware, boot.read_vram_size, boot.read_discovery):
        boot.do(gpu, step)
    gpu.firmware = AnyFirmware(load("chips")["chips"][chip])
    board.names = {register.address: name for name, register in gpu.regs._registers.items()}
    board.writes.clear()
    return gpu, board
