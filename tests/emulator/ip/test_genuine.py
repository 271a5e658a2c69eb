"""AMD's genuine files: the emulated PSP takes every part of them, and the GPU runs. Skipped where they are not at hand."""
from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from torch_usbgpu import emulated_firmware

from .board import BOOT, Board, every_chip
from .test_skips import run_compute, run_sdma

FOLDER = Path(os.environ.get("USBGPU_TEST_FIRMWARE") or os.environ.get("USBGPU_FIRMWARE") or "/nonexistent")
pytestmark = pytest.mark.skipif(not any(FOLDER.glob("psp_1*_sos.bin")),
                                reason="AMD's firmware files are not here; .ci/fetch_firmware.sh DIRECTORY gets them, "
                                       "USBGPU_TEST_FIRMWARE names the directory")


def word(data: bytes, at: int) -> int:
    return struct.unpack_from("<I", data, at)[0]


class Files:
    """Slices of the vendor's files, cut by the offsets of the headers (Linux amdgpu_ucode.h)."""

    def __init__(self, chip: str):
        names = emulated_firmware._facts("chips.json")["chips"][chip]["firmware"]
        self.sdma7 = names["sdma"].startswith("sdma_7")
        for kind in ("sos", "smu", "sdma", "pfp", "me", "mec", "imu", "rlc"):
            path = FOLDER / names[kind]
            if not path.is_file():
                pytest.skip(f"{path.name} is not in the folder")
            setattr(self, kind, path.read_bytes())

    def boot(self) -> dict[str, bytes]:
        types = {v: k for k, v in emulated_firmware._facts("enums.json")["psp_fw_type"].items()}
        rows = (struct.unpack_from("<4I", self.sos, 36 + 16 * i) for i in range(word(self.sos, 32)))
        base = word(self.sos, 24)
        return {types[kind]: self.sos[base + offset:base + offset + size] for kind, _, offset, size in rows}

    def slices(self) -> dict[str, bytes]:
        def cut(data: bytes, offset: int, size: int) -> bytes:
            return data[offset:offset + size]

        found = {"SMU": cut(self.smu, word(self.smu, 24), word(self.smu, 20))}
        if self.sdma7:
            found["SDMA_UCODE_TH0"] = cut(self.sdma, word(self.sdma, 24), word(self.sdma, 40))
        else:
            found["SDMA_UCODE_TH1"] = cut(self.sdma, word(self.sdma, 48), word(self.sdma, 52))
            found["SDMA_UCODE_TH0"] = cut(self.sdma, word(self.sdma, 24), word(self.sdma, 36))
        for engine, pipes in (("pfp", 2), ("me", 2), ("mec", 4)):
            data = getattr(self, engine)
            found[f"RS64_{engine.upper()}"] = cut(data, word(data, 24), word(data, 36))
            for pipe in range(pipes):
                found[f"RS64_{engine.upper()}_P{pipe}_STACK"] = cut(data, word(data, 48), word(data, 44))
        code = word(self.imu, 32)
        found["IMU_I"] = cut(self.imu, word(self.imu, 24), code)
        found["IMU_D"] = cut(self.imu, word(self.imu, 24) + code, word(self.imu, 40))
        at = {"RLC_RESTORE_LIST_GPM_MEM": (136, 132), "RLC_RESTORE_LIST_SRM_MEM": (152, 148), "RLC_IRAM": (160, 156), "RLC_DRAM_BOOT": (168, 164)}
        if struct.unpack_from("<H", self.rlc, 10)[0] >= 3:
            at |= {"RLC_P": (184, 180), "RLC_V": (200, 196)}
        for name, (offset, size) in at.items():
            found[name] = cut(self.rlc, word(self.rlc, offset), word(self.rlc, size))
        found["RLC_G"] = cut(self.rlc, word(self.rlc, 24), word(self.rlc, 20))
        return found


@every_chip
def test_genuine_files(chip):
    """All parts that Linux sends, not only those that compute needs."""
    files = Files(chip)
    parts, slices = files.boot(), files.slices()
    board = Board(chip=chip)
    board.image = lambda name: parts[name] if name in parts else slices[name]
    board.boot()
    assert all(board.responses[f"boot {name} {command:#x}"] == 0x80000000 for command, name in BOOT[chip]), board.responses
    assert board.read(f"{board.mp0}81") == word(files.sos, 16)        # the file's version
    assert board.smu_message(2) == (1, word(files.smu, 16))
    assert run_compute(board) and run_sdma(board), (board.gpu.psp_refusal, board.gpu.last_stop)
    for name, data in slices.items():
        assert board.load_one(name, data) == 0, (name, board.gpu.psp_refusal)


@every_chip
def test_a_spoilt_genuine_file_is_refused(chip):
    slices = Files(chip).slices()
    board = Board(chip=chip).boot(skip=("load_firmware", "autoload", "gc_hub"))
    assert board.load_one("RLC_G", slices["RLC_IRAM"]) == 0xFFFF0006
    assert board.load_one("RS64_MEC", slices["RS64_MEC"][:-0x100]) == 0xFFFF0006
    assert board.load_one("RS64_MEC", slices["RS64_MEC"]) == 0
