"""The board's IP discovery table: which blocks it has, of which version, at which register bases.

It lies 64 KiB below the end of VRAM, put there by the board's own firmware. Layouts: structs.json
(discovery_*), after Linux drivers/gpu/drm/amd/include/discovery.h.
"""
from __future__ import annotations

import logging
import struct
from dataclasses import dataclass, field

from ..errors import BootError, UnsupportedChip
from .facts import enum, get_field, load, struct_fields, struct_size

log = logging.getLogger(__name__)

_FACTS = enum("discovery")
OFFSET_FROM_VRAM_END = _FACTS["OFFSET_FROM_VRAM_END"]
MAX_BYTES = _FACTS["SIZE"]
HEADER_BYTES = struct_size("discovery_binary_header")
CHECKSUMS = slice(8, 16)      # of the header: checksum and size of the whole; offset and checksum of the list of blocks

# Our name of a block (as in chips.json) -> name in enums.json hw_id.
_HW_NAMES = {"GC": "GC", "SDMA0": "SDMA0", "MMHUB": "MMHUB", "NBIO": "NBIF", "MP0": "MP0", "MP1": "MP1",
             "HDP": "HDP", "OSSSYS": "OSSSYS", "SMUIO": "SMUIO", "THM": "THM"}


@dataclass(frozen=True)
class IpBlock:
    hw_id: int
    instance: int
    version: str          # "11.0.0"
    bases: tuple[int, ...]


@dataclass(frozen=True)
class Geometry:
    """The full die, from the GC info table. Boards may have units switched off."""

    shader_engines: int
    arrays_per_engine: int
    units_per_array: int        # compute units
    wave_size: int
    waves_per_simd: int
    scratch_slots_per_unit: int
    lds_bytes: int

    @property
    def compute_units(self) -> int:
        return self.shader_engines * self.arrays_per_engine * self.units_per_array


@dataclass
class Discovery:
    blocks: list[IpBlock]
    geometry: Geometry
    binary: bytes = field(repr=False, default=b"")     # what all this was decoded from
    harvested: set[tuple[int, int]] = field(default_factory=set)   # (hw_id, instance)

    def find(self, name: str, instance: int = 0) -> IpBlock | None:
        hw_id = enum("hw_id")[_HW_NAMES[name]]
        return next((b for b in self.blocks if (b.hw_id, b.instance) == (hw_id, instance)), None)


def binary_bytes(header: bytes) -> int:
    """Size of the whole table, from its first HEADER_BYTES bytes.

    Raises:
        BootError: there is no table.
    """
    signature = get_field(header, "discovery_binary_header", "binary_signature")
    size = get_field(header, "discovery_binary_header", "binary_size")
    if signature != _FACTS["BINARY_SIGNATURE"] or not HEADER_BYTES <= size <= MAX_BYTES:
        raise BootError("The GPU's memory holds no discovery table: its own firmware has not finished, "
                        "or memory cannot be read.", signature=f"{signature:#x}", size=size)
    return size


def parse(binary: bytes) -> Discovery:
    """Decode a whole table, with its checksums.

    Raises:
        BootError: a checksum or signature is wrong.
    """
    size = binary_bytes(binary)
    # The checksum covers everything after its own field.
    after = sum(struct_fields("discovery_binary_header")["binary_checksum"])
    expected = get_field(binary, "discovery_binary_header", "binary_checksum")
    if sum(binary[after:size]) & 0xFFFF != expected:
        raise BootError("The GPU's discovery table is damaged (checksum).", expected=f"{expected:#x}",
                        computed=f"{sum(binary[after:size]) & 0xFFFF:#x}")
    blocks = _parse_blocks(binary, _table(binary, "IP_DISCOVERY"))
    return Discovery(blocks, _parse_geometry(binary, _table(binary, "GC")), binary, _parse_harvest(binary))


def _table(binary: bytes, name: str) -> int:
    """Offset of a table, its own checksum verified; 0 if it is absent."""
    entry = 12 + 8 * _FACTS["table_index"][name]
    offset, checksum, size, _ = struct.unpack_from("<4H", binary, entry)
    if offset and size and sum(binary[offset:offset + size]) & 0xFFFF != checksum:
        raise BootError(f"The GPU's discovery table is damaged ({name} checksum).", offset=offset, size=size)
    return offset


def _parse_blocks(binary: bytes, start: int) -> list[IpBlock]:
    header = binary[start:start + struct_size("discovery_ip_header")]
    if get_field(header, "discovery_ip_header", "signature") != _FACTS["IP_TABLE_SIGNATURE_IPDS"]:
        raise BootError("The GPU's discovery table has no list of blocks.", offset=start)
    version = get_field(header, "discovery_ip_header", "version")
    wide = version >= 4 and get_field(header, "discovery_ip_header", "flags") & 1
    base_format, base_bytes = ("Q", 8) if wide else ("I", 4)
    blocks = []
    for die in range(get_field(header, "discovery_ip_header", "num_dies")):
        _, at = struct.unpack_from("<HH", header, 14 + 4 * die)      # counts from the start of the binary
        _, count = struct.unpack_from("<HH", binary, at)
        at += struct_size("discovery_die_header")
        for _ in range(count):
            hw_id, instance, bases, major, minor, revision, _ = struct.unpack_from("<H6B", binary, at)
            values = struct.unpack_from(f"<{bases}{base_format}", binary, at + 8)
            blocks.append(IpBlock(hw_id, instance, f"{major}.{minor}.{revision}", values))
            at += 8 + bases * base_bytes
    return blocks


def _parse_geometry(binary: bytes, start: int) -> Geometry:
    table = binary[start:]
    if get_field(table, "discovery_gc_info_v1_0", "header.table_id") != _FACTS["GC_TABLE_ID"]:
        raise BootError("The GPU's discovery table does not describe its shader engines.", offset=start)
    major = get_field(table, "discovery_gc_info_v1_0", "header.version_major")
    layout = "discovery_gc_info_v2_0" if major == 2 else "discovery_gc_info_v1_0"

    def value(name: str) -> int:
        return get_field(table, layout, f"gc_{name}")

    if major == 2:
        per_array, arrays = value("num_cu_per_sh"), value("num_sh_per_se")
    else:
        per_array = 2 * (value("num_wgp0_per_sa") + value("num_wgp1_per_sa"))
        arrays = value("num_sa_per_se")
    return Geometry(shader_engines=value("num_se"), arrays_per_engine=arrays, units_per_array=per_array,
                    wave_size=value("wave_size"), waves_per_simd=value("max_waves_per_simd"),
                    scratch_slots_per_unit=value("max_scratch_slots_per_cu"), lds_bytes=value("lds_size") * 1024)


def _parse_harvest(binary: bytes) -> set[tuple[int, int]]:
    start = _table(binary, "HARVEST_INFO")
    signature = get_field(binary[start:], "discovery_harvest_header", "signature")
    if not start or signature != _FACTS["HARVEST_SIGNATURE_HARV"]:
        return set()
    found: set[tuple[int, int]] = set()
    for i in range(32):
        hw_id, instance, _ = struct.unpack_from("<HBB", binary, start + 8 + 4 * i)
        if hw_id == 0:
            break
        found.add((hw_id, instance))
    return found


def refuse_other_card(device: int) -> None:
    """Cards that are known not to work are refused by their PCI id, before anything of them is touched.

    Raises:
        UnsupportedChip
    """
    name = {int(key, 16): name for key, name in load("other_cards")["devices"].items()}.get(device)
    if name:
        raise UnsupportedChip(f"The card in the dock is an AMD {name}, which is not supported.", _supported(),
                              device=f"1002:{device:04x}")


def _supported() -> str:
    known = [chip["codename"] for chip in load("chips")["chips"].values()]
    return f"Use a card with a supported GPU: {', '.join(known)}."


def identify_chip(discovery: Discovery) -> tuple[str, dict]:
    """(name, facts) of the chip in chips.json, by the version of its graphics core.

    The GC version is not the gfx name (11.0.3 is gfx1101), so the table decides, never arithmetic.

    Raises:
        UnsupportedChip: unknown graphics core, or a block of a version that no register file serves.
    """
    core = discovery.find("GC")
    version = core.version if core else "none"
    for name, chip in load("chips")["chips"].items():
        if chip["ip_versions"]["GC"] == version:
            break
    else:
        other = load("other_cards")["graphics_cores"].get(version)
        raise UnsupportedChip(f"This GPU has graphics core {version}{f', {other}' if other else ''}, which is not "
                              "supported.", _supported())
    files = {}
    for ip, usual in chip["register_files"].items():
        block = discovery.find(ip)
        file = _register_file(ip, usual, block.version) if block else None
        if file is None:
            raise UnsupportedChip(
                f"This {chip['codename']} board has block {ip} in version {block.version if block else 'none'}.",
                "Report the board with the output above.",
                served=", ".join(load(f"registers/{usual}")["used_for_versions"]))
        files[ip] = file
    return name, {**chip, "register_files": files}


def _register_file(ip: str, usual: str, version: str) -> str | None:
    """The register file for a version of a block: the board decides, not what other boards with its chip have."""
    files = list(dict.fromkeys([usual, *(chip["register_files"][ip] for chip in load("chips")["chips"].values())]))
    for file in files:
        if version in load(f"registers/{file}")["used_for_versions"]:
            return file
    for file in files:
        facts = load(f"registers/{file}")
        if version.rpartition(".")[0] == facts.get("default_for") and version not in facts["default_not_for"]:
            log.warning("this board has block %s in version %s, which nobody we know of has described; %s is assumed",
                        ip, version, facts["version"])
            return file
    return None
