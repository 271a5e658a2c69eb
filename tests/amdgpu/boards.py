"""Synthetic parts of boards for tests: a discovery table, and firmware files of given sizes."""
from __future__ import annotations

import struct

from torch_usbgpu.amdgpu.discovery import _HW_NAMES
from torch_usbgpu.amdgpu.facts import enum, load, put_field, struct_size

_FACTS = enum("discovery")
BASES_OF = {"GC": "GC", "SDMA0": "SDMA0", "MMHUB": "MMHUB", "NBIO": "NBIO", "MP0": "MP0", "MP1": "MP1", "HDP": "HDP",
            "OSSSYS": "OSSSYS"}


def _sum(data: bytes) -> int:
    return sum(data) & 0xFFFF


def ip_table(chip: str, at: int, *, version: int = 3, wide: bool = False, changed: dict[str, str] | None = None) -> bytes:
    """The list of blocks, to be placed at offset `at` of the binary. `changed` replaces versions."""
    facts = load("chips")
    versions = {**facts["chips"][chip]["ip_versions"], **(changed or {})}
    records = b""
    for ip, number in versions.items():
        bases = facts["ip_bases"]["segments"][BASES_OF[ip]]
        records += struct.pack("<H6B", enum("hw_id")[_HW_NAMES[ip]], 0, len(bases), *map(int, number.split(".")), 0)
        records += struct.pack(f"<{len(bases)}{'Q' if wide else 'I'}", *bases)
    header = bytearray(struct_size("discovery_ip_header"))
    for field, value in (("signature", _FACTS["IP_TABLE_SIGNATURE_IPDS"]), ("version", 4 if wide else version),
                         ("num_dies", 1), ("flags", int(wide))):
        put_field(header, "discovery_ip_header", field, value)
    struct.pack_into("<HH", header, 14, 0, at + len(header))
    return bytes(header) + struct.pack("<HH", 0, len(versions)) + records


def gc_table(chip: str, major: int = 1) -> bytes:
    geometry = load("chips")["chips"][chip]["geometry"]
    layout = f"discovery_gc_info_v{major}_0"
    table = bytearray(struct_size(layout))
    values = {"num_se": geometry["num_se"], "wave_size": geometry["wave_size"],
              "max_waves_per_simd": geometry["max_waves_per_simd"],
              "max_scratch_slots_per_cu": geometry["max_scratch_slots_per_cu"], "lds_size": geometry["gc_lds_size_kib"]}
    if major == 1:
        values |= {"num_wgp0_per_sa": geometry["num_wgp_per_sa"] - 1, "num_wgp1_per_sa": 1,
                   "num_sa_per_se": geometry["num_sa_per_se"]}
    else:
        values |= {"num_cu_per_sh": 2 * geometry["num_wgp_per_sa"], "num_sh_per_se": geometry["num_sa_per_se"]}
    for field, value in values.items():
        put_field(table, layout, f"gc_{field}", value)
    put_field(table, layout, "header.table_id", _FACTS["GC_TABLE_ID"])
    put_field(table, layout, "header.version_major", major)
    put_field(table, layout, "header.size", len(table))
    return bytes(table)


def discovery_binary(chip: str, *, gc_major: int = 1, harvest: tuple[tuple[int, int], ...] = (), **ip) -> bytes:
    """A whole table with valid checksums."""
    tables: dict[str, bytes] = {}
    at = struct_size("discovery_binary_header")
    places = {}
    for name in ("IP_DISCOVERY", "GC", "HARVEST_INFO"):
        if name == "IP_DISCOVERY":
            tables[name] = ip_table(chip, at, **ip)
        elif name == "GC":
            tables[name] = gc_table(chip, gc_major)
        else:
            entries = b"".join(struct.pack("<HBB", *entry, 0) for entry in harvest).ljust(128, b"\0")
            tables[name] = struct.pack("<II", _FACTS["HARVEST_SIGNATURE_HARV"], 0) + entries
        places[name] = at
        at += len(tables[name])
    header = bytearray(struct_size("discovery_binary_header"))
    put_field(header, "discovery_binary_header", "binary_signature", _FACTS["BINARY_SIGNATURE"])
    put_field(header, "discovery_binary_header", "binary_size", at)
    for name, table in tables.items():
        struct.pack_into("<4H", header, 12 + 8 * _FACTS["table_index"][name], places[name], _sum(table), len(table), 0)
    binary = bytearray(header + b"".join(tables.values()))
    put_field(binary, "discovery_binary_header", "binary_checksum", _sum(binary[10:]))
    return bytes(binary)


# ---- firmware

def firmware_kind(name: str) -> str:
    stem = name.removesuffix(".bin").removesuffix("_kicker").removesuffix("_1")
    return "smu" if stem.startswith("smu") else "sdma" if stem.startswith("sdma") else stem.rsplit("_", 1)[-1]


def firmware_image(name: str, facts: dict) -> bytes:
    """A file with the header of a real one (tests/amdgpu/firmware_slices.json) and recognisable content."""
    kind, version, slices = firmware_kind(name), facts["header_version"], facts["slices"]
    image = bytearray(i * 7 + 3 & 0xFF for i in range(facts["file_size"]))
    image[:256] = bytes(256)
    starts = [offset for offset, _ in slices.values()]
    common = {"size_bytes": facts["file_size"], "header_size_bytes": facts["header_size"],
              "header_version_major": int(version.split(".")[0]), "header_version_minor": int(version.split(".")[1]),
              "ucode_version": int(facts["ucode_version"], 0), "ucode_array_offset_bytes": min(starts)}

    def put(layout: str, field: str, value: int) -> None:
        put_field(image, layout, field, value)

    def put_slice(layout: str, field: str, part: str, offset: str | None = None) -> None:
        put(layout, field, slices[part][1])
        if offset:
            put(layout, offset, slices[part][0])

    if kind == "smu":
        common["ucode_size_bytes"] = slices["SMU"][1]
    elif kind == "rlc":
        common["ucode_size_bytes"] = slices["RLC_G"][1]
        common["ucode_array_offset_bytes"] = slices["RLC_G"][0]
        layout = f"rlc_firmware_header_v{version.replace('.', '_')}"
        prefix = "" if version == "2.2" else "v2_2."
        for part, stem, owner in (("RLC_IRAM", "rlc_iram", prefix), ("RLC_DRAM_BOOT", "rlc_dram", prefix),
                                  ("RLC_P", "rlcp", ""), ("RLC_V", "rlcv", "")):
            if part in slices:
                put_slice(layout, f"{owner}{stem}_ucode_size_bytes", part, f"{owner}{stem}_ucode_offset_bytes")
    elif kind == "sdma":
        common["ucode_array_offset_bytes"] = slices["SDMA_UCODE_TH0"][0]
        if version == "2.0":
            put_slice("sdma_firmware_header_v2_0", "ctx_ucode_size_bytes", "SDMA_UCODE_TH0")
            put_slice("sdma_firmware_header_v2_0", "ctl_ucode_size_bytes", "SDMA_UCODE_TH1", "ctl_ucode_offset")
        else:
            put_slice("sdma_firmware_header_v3_0", "ucode_size_bytes", "SDMA_UCODE_TH0")
    elif kind in ("pfp", "me", "mec"):
        layout, engine = "gfx_firmware_header_v2_0", kind.upper()
        put_slice(layout, "ucode_size_bytes", f"RS64_{engine}")
        put_slice(layout, "data_size_bytes", f"RS64_{engine}_P0_STACK", "data_offset_bytes")
        start = int(facts["ucode_start_addr"], 0)
        put(layout, "ucode_start_addr_lo", start & 0xFFFF_FFFF)
        put(layout, "ucode_start_addr_hi", start >> 32)
    elif kind == "imu":
        put_slice("imu_firmware_header_v1_0", "imu_iram_ucode_size_bytes", "IMU_I")
        put_slice("imu_firmware_header_v1_0", "imu_dram_ucode_size_bytes", "IMU_D")
    elif kind == "sos":
        types = enum("psp_fw_type")
        first = 40 if version == "2.1" else 36
        put("psp_firmware_header_v2_0", "psp_fw_bin_count", len(slices))
        for i, (part, (offset, size)) in enumerate(slices.items()):
            struct.pack_into("<4I", image, first + 16 * i, types[part.removeprefix("PSP_")], 1, offset - min(starts), size)
    for field, value in common.items():
        put("common_firmware_header", field, value)
    return bytes(image)
