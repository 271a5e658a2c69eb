"""Firmware images for the emulated board: the vendor's containers around filler of our own.

The emulated PSP checks what can be checked without the vendor's keys: container slices, the
image header (magic, sizes, kind) and that a signature is there. These images satisfy that and
hold nothing else, so nobody needs the vendor's files to boot the emulated board; genuine files
work as well. Container layouts: asic/structs.json; image header: asic/psp_images.json; what
the files of each chip hold and which versions they tell: asic/boards.json.
"""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from . import private_files

ASIC = Path(__file__).parent / "amdgpu" / "asic"
UCODE_OFFSET = 256
START_ADDRESS = 0x7000000003000  # the same in every vendor file

# Bytes of each image: large enough to be plausible, a fraction of the real ones.
BODY_BYTES = {"SOS": 0x3000, "SYS_DRV": 0x3000, "KDB": 0x1500, "SPL": 0xA0, "TOC": 0x700, "RL": 0x760, "SMU": 0x7C00,
              "RS64_MEC": 0x8000, "RS64_ME": 0x6000, "RS64_PFP": 0x4000}
DEFAULT_BODY_BYTES = 0x1E00
MP0_COMPONENTS = (
    "SYS_DRV",
    "SOS",
    "SOC_DRV",
    "INTF_DRV",
    "DBG_DRV",
    "RAS_DRV",
    "IPKEYMGR_DRV",
)  # these carry its version


@cache
def _facts(name: str) -> dict:
    return json.loads((ASIC / name).read_text())


def _layout(name: str) -> dict:
    return _facts("structs.json")[name]


def _chip(chip: str) -> dict:
    return _facts("chips.json")["chips"][chip]


def _board(chip: str) -> dict:
    return _facts("boards.json")["chips"][chip]


def _mp0_major(chip: str) -> str:
    return _chip(chip)["ip_versions"]["MP0"].split(".")[0]


def image_kind(name: str, chip: str) -> int:
    """The kind that the PSP of `chip` expects in an image of this name; KeyError if it has no such image."""
    facts = _facts("psp_images.json")
    name = facts["same_image"].get(name, name)
    kind = {**facts["bootloader_kinds"], **facts["firmware_kinds"], **facts["generation_kinds"][_mp0_major(chip)]}[name]
    if kind is None:
        raise KeyError(name)
    return kind


def _image_version(name: str, chip: str) -> int:
    if name == "SMU":
        version = _board(chip)["smu_version"]
        generation = _facts("boards.json")["generations"]["gfx" + _chip(chip)["ip_versions"]["GC"].split(".")[0]]
        if generation["smu_image_version_swapped"]:
            version = version & 0xFF0000FF | (version & 0xFF00) << 8 | version >> 8 & 0xFF00
        return version
    return _board(chip)["sos_version"] if name in MP0_COMPONENTS else 1


@cache
def psp_image(name: str, chip: str = "navi31") -> bytes:
    """One image as the PSP takes it: header, filler, filler in place of the signature."""
    facts = _facts("psp_images.json")
    body = BODY_BYTES.get(name, DEFAULT_BODY_BYTES)
    total = facts["header_bytes"] + body + facts["signature_bytes"]
    image = bytearray(_filler(name, total))
    image[:facts["header_bytes"]] = bytes(facts["header_bytes"])
    at = facts["offsets"]
    if name not in facts["without_magic"]:
        image[at["magic"]:at["magic"] + 4] = facts["magic"].encode()
    values = {"body_bytes": body, "version_class": 1, "kind": image_kind(name, chip),
              "version": _image_version(name, chip), "image_bytes": total}
    for field_name, value in values.items():
        struct.pack_into("<I", image, at[field_name], value)
    return bytes(image)


def _filler(name: str, count: int) -> bytes:
    """Bytes that differ by name and are never all zero, the same on every run."""
    state = zlib.crc32(name.encode()) | 1
    words = bytearray()
    while len(words) < count:
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        words += struct.pack("<I", state)
    return bytes(words[:count])


@dataclass
class Container:
    """A firmware file: the common header, a header of its own kind, then slices one after another."""
    layout: str
    version: tuple[int, int]
    ucode_version: int = 1
    values: dict[str, int] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    def append(self, data: bytes) -> int:
        """Adds a slice; returns its offset in the file."""
        offset = UCODE_OFFSET + len(self.body)
        self.body += data
        return offset

    def to_bytes(self, ucode_bytes: int | None = None, extra_header: bytes = b"") -> bytes:
        described = _layout(self.layout)
        header = bytearray(described["size"])
        common = {
            "size_bytes": UCODE_OFFSET + len(self.body),
            "header_size_bytes": described["size"],
            "header_version_major": self.version[0],
            "header_version_minor": self.version[1],
            "ucode_version": self.ucode_version,
            "ucode_size_bytes": len(self.body) if ucode_bytes is None else ucode_bytes,
            "ucode_array_offset_bytes": UCODE_OFFSET,
        }
        for name, where in described["fields"].items():
            value = self.values.get(name, common.get(name.split(".")[-1]) if ".header." in f".{name}" else None)
            if value is not None:
                header[where[0]:where[0] + where[1]] = value.to_bytes(where[1], "little")
        header += extra_header
        if len(header) > UCODE_OFFSET:
            raise ValueError(f"{self.layout}: header of {len(header)} bytes does not fit before the first slice")
        return bytes(header.ljust(UCODE_OFFSET, b"\0") + self.body)


def sos_file(chip: str) -> bytes:
    """The components of the boot loader and the table of contents."""
    board = _board(chip)
    version = board["sos_version"]
    parts = board["sos_parts"]
    box = Container("psp_firmware_header_v2_0", (2, 0), version, {"psp_fw_bin_count": len(parts)})
    rows = []
    types = _facts("enums.json")["psp_fw_type"]
    for name in parts:
        image = psp_image(name, chip)
        offset = box.append(image)
        rows.append(struct.pack("<4I", types[name], version, offset - UCODE_OFFSET, len(image)))
    data = bytearray(box.to_bytes())
    first = _layout("psp_firmware_header_v2_0")["fields"]["psp_fw_bin"][0]
    if first + 16 * len(rows) > UCODE_OFFSET:
        raise ValueError(f"{chip}: {len(rows)} components do not fit before the first slice")
    struct.pack_into("<I", data, 4, first)  # the vendor's header size stops before the list
    data[first:first + 16 * len(rows)] = b"".join(rows)
    return bytes(data)


def smu_file(chip: str) -> bytes:
    minor = 1 if _mp0_major(chip) == "13" else 0
    box = Container(f"smc_firmware_header_v2_{minor}", (2, minor), _board(chip)["smu_version"])
    image = psp_image("SMU", chip)
    box.append(image)
    return box.to_bytes(len(image))


def sdma_file(chip: str) -> bytes:
    context = psp_image("SDMA_UCODE_TH0", chip)
    if _chip(chip)["ip_versions"]["SDMA0"].startswith("7."):
        box = Container("sdma_firmware_header_v3_0", (3, 0))
        box.values = {"ucode_offset_bytes": box.append(context), "ucode_size_bytes": len(context)}
        return box.to_bytes()
    box = Container("sdma_firmware_header_v2_0", (2, 0))
    control = psp_image("SDMA_UCODE_TH1", chip)
    box.append(context)
    box.values = {"ctx_ucode_size_bytes": len(context), "ctl_ucode_offset": box.append(control),
                  "ctl_ucode_size_bytes": len(control)}
    return box.to_bytes()


def cp_file(engine: str, chip: str) -> bytes:
    box = Container("gfx_firmware_header_v2_0", (2, 0))
    code, stack = psp_image(f"RS64_{engine}", chip), psp_image(f"RS64_{engine}_P0_STACK", chip)
    box.values = {"ucode_offset_bytes": box.append(code), "ucode_size_bytes": len(code),
                  "data_offset_bytes": box.append(stack), "data_size_bytes": len(stack),
                  "ucode_start_addr_lo": START_ADDRESS & 0xFFFFFFFF, "ucode_start_addr_hi": START_ADDRESS >> 32}
    return box.to_bytes()


def imu_file(chip: str) -> bytes:
    box = Container("imu_firmware_header_v1_0", (1, 0))
    code, data = psp_image("IMU_I", chip), psp_image("IMU_D", chip)
    box.values = {"imu_iram_ucode_offset_bytes": box.append(code), "imu_iram_ucode_size_bytes": len(code),
                  "imu_dram_ucode_offset_bytes": box.append(data), "imu_dram_ucode_size_bytes": len(data)}
    return box.to_bytes()


RLC_PARTS = {
    "RLC_IRAM": "rlc_iram_ucode",
    "RLC_DRAM_BOOT": "rlc_dram_ucode",
    "RLC_P": "rlcp_ucode",
    "RLC_V": "rlcv_ucode",
    "RLC_RESTORE_LIST_GPM_MEM": "save_restore_list_gpm",
    "RLC_RESTORE_LIST_SRM_MEM": "save_restore_list_srm",
}


def rlc_file(chip: str) -> bytes:
    wanted = {step.split(":")[-1] for step in _chip(chip)["firmware"]["load_order"]}
    minor = 3 if "RLC_P" in wanted else 2
    layout = f"rlc_firmware_header_v2_{minor}"
    box = Container(layout, (2, minor))
    common = psp_image("RLC_G", chip)
    box.append(common)
    fields = _layout(layout)["fields"]
    for name, stem in RLC_PARTS.items():
        offset = next((f for f in fields if f.endswith(f"{stem}_offset_bytes")), None)
        if offset is None:
            continue  # not in the older header
        size = next(f for f in fields if f.endswith(f"{stem}_size_bytes"))
        image = psp_image(name, chip)
        box.values |= {offset: box.append(image), size: len(image)}
    return box.to_bytes(len(common))


FILES = {"sos": sos_file, "smu": smu_file, "sdma": sdma_file, "imu": imu_file, "rlc": rlc_file,
         "pfp": lambda chip: cp_file("PFP", chip), "me": lambda chip: cp_file("ME", chip),
         "mec": lambda chip: cp_file("MEC", chip)}


def _with_common_fields(data: bytes, kind: str, chip: str) -> bytes:
    """Which block a file is for, and the checksum over what follows the common header."""
    facts, fields = _facts("firmware_files.json"), _layout("common_firmware_header")["fields"]
    version = _chip(chip)["ip_versions"][facts["ip_of_kind"][kind]].split(".")
    filled = bytearray(data)
    struct.pack_into("<HH", filled, fields["ip_version_major"][0], int(version[0]), int(version[1]))
    if kind in facts["crc32_kinds"]:
        struct.pack_into("<I", filled, fields["crc32"][0],
                         zlib.crc32(filled[_layout("common_firmware_header")["size"]:]))
    return bytes(filled)


KICKER_KINDS = ("sos", "smu", "imu", "rlc")


def _has_kicker(chip: str) -> bool:
    """Is there a board with this chip that Linux gives the _kicker files?"""
    ids = [{"device": p["device"], "revision": p["revision"]} for p in _board(chip)["products"]]
    return any(row in ids for row in _facts("chips.json")["kicker_boards"]["list"])


def write_images(chip: str, directory: str | Path) -> list[Path]:
    """Writes every firmware file that `chip` loads into `directory`, under the vendor's names.

    Boards of some device and revision ids are given files of other names; those are written too.
    """
    names = _chip(chip)["firmware"]
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, make in FILES.items():
        files = [names[kind], *names.get(f"{kind}_by_revision", {}).values()]
        if kind in KICKER_KINDS and _has_kicker(chip):
            files.append(names[kind].replace(".bin", "_kicker.bin"))
        for file in files:
            (directory / file).write_bytes(_with_common_fields(make(chip), kind, chip))
            written.append(directory / file)
    return written


def firmware_directory(chip: str) -> Path:
    """The synthetic firmware images that the emulated GPU accepts, written once per version of their generator."""
    generator = Path(__file__)
    digest = hashlib.sha256(generator.read_bytes())
    for facts in sorted((generator.parent / "amdgpu" / "asic").glob("*.json")):
        digest.update(facts.read_bytes())
    root = private_files.cache_folder("emulated-firmware")
    target = root / f"{chip}-{digest.hexdigest()[:16]}"
    if target.is_dir():
        return target
    # Written aside and renamed: another process either sees all of it or nothing.
    scratch = Path(tempfile.mkdtemp(prefix=f".{chip}-", dir=root))
    try:
        write_images(chip, scratch)
        os.rename(scratch, target)
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target
