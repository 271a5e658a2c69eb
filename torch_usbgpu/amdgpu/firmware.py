"""Firmware files: where to find them, what is in them.

Layouts: structs.json (*_firmware_header_*), after Linux amdgpu_ucode.h and amdgpu_psp.h.
"""
from __future__ import annotations

import io
import logging
import lzma
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import private_files
from ..errors import FirmwareMismatch, FirmwareMissing, UnsafePlace
from .facts import enum, get_field, load, struct_size
from .firmware_folder import FirmwareFolder

log = logging.getLogger(__name__)

SYSTEM_DIRECTORIES = (Path("/lib/firmware/amdgpu"), Path("/usr/lib/firmware/amdgpu"),
                      Path("/lib/firmware/updates/amdgpu"))
ENVIRONMENT = "USBGPU_FIRMWARE"

_COMMON = "common_firmware_header"
_PSP_TYPES = {value: name for name, value in enum("psp_fw_type").items()}


def user_directory() -> Path:
    """Where `usbgpu firmware install` puts files, and a user may, on any system."""
    return private_files.data_directory() / "firmware"


@dataclass(frozen=True)
class Slice:
    """A part of a file that goes to the GPU as one item."""

    name: str       # key of psp_gfx_fw_type, or of psp_fw_type for parts of the sos file
    offset: int
    size: int


class FirmwareFile:
    """One file, its header checked, its slices by name (empty ones left out)."""

    def __init__(self, name: str, kind: str, data: bytes, origin: str = "") -> None:
        self.name, self.kind, self.data, self.origin = name, kind, data, origin or name
        if len(data) < struct_size(_COMMON):
            raise self._mismatch("is too short to be firmware", bytes=len(data))
        size, header = self.common("size_bytes"), self.common("header_size_bytes")
        offset = self.common("ucode_array_offset_bytes")
        if size != len(data):
            raise self._mismatch("is not as long as its header says", header=size, bytes=len(data))
        if not struct_size(_COMMON) <= header <= offset <= size:
            raise self._mismatch("has an impossible header", header_size=header, array_offset=offset)
        self.header_version = f"{self.common('header_version_major')}.{self.common('header_version_minor')}"
        self.version = self.common("ucode_version")
        self.start_address: int | None = None    # of RS64 engines
        try:
            slices = _PARSERS[kind](self)
        except (struct.error, KeyError, IndexError) as error:
            raise self._mismatch("has a header that cannot be read", header_version=self.header_version) from error
        for part in slices:
            if part.offset + part.size > size:
                raise self._mismatch(f"ends inside its part {part.name}", offset=part.offset, size=part.size,
                                     bytes=size)
        self.slices = {part.name: part for part in slices if part.size}

    def common(self, field: str) -> int:
        """A field of the header that all kinds share."""
        return get_field(self.data, _COMMON, field)

    def field(self, struct_name: str, field: str) -> int:
        return get_field(self.data, struct_name, field)

    def content(self, slice_name: str) -> bytes:
        """Raises FirmwareMismatch if the file has no such part."""
        try:
            part = self.slices[slice_name]
        except KeyError:
            raise self._mismatch(f"has no part {slice_name}", present=", ".join(self.slices)) from None
        return self.data[part.offset:part.offset + part.size]

    def _mismatch(self, what: str, **state) -> FirmwareMismatch:
        return FirmwareMismatch(f"Firmware file {self.name} {what}.",
                                "Get a fresh copy of the file from linux-firmware.", file=self.origin, **state)

    def expect_version(self, *versions: str) -> None:
        if self.header_version not in versions:
            raise self._mismatch("has a header of an unknown version", header_version=self.header_version,
                                 known=", ".join(versions))


def _parse_sos(file: FirmwareFile) -> list[Slice]:
    file.expect_version("2.0", "2.1")
    count = file.field("psp_firmware_header_v2_0", "psp_fw_bin_count")
    first = 40 if file.header_version == "2.1" else 36
    base = file.common("ucode_array_offset_bytes")
    parts = []
    for i in range(count):
        kind, _, offset, size = struct.unpack_from("<4I", file.data, first + 16 * i)
        parts.append(Slice(f"PSP_{_PSP_TYPES.get(kind, kind)}", base + offset, size))
    return parts


def _parse_smu(file: FirmwareFile) -> list[Slice]:
    file.expect_version("2.0", "2.1")
    return [Slice("SMU", file.common("ucode_array_offset_bytes"), file.common("ucode_size_bytes"))]


def _parse_sdma(file: FirmwareFile) -> list[Slice]:
    file.expect_version("2.0", "3.0")
    base = file.common("ucode_array_offset_bytes")
    if file.header_version == "3.0":
        layout = "sdma_firmware_header_v3_0"
        return [Slice("SDMA_UCODE_TH0", base, file.field(layout, "ucode_size_bytes"))]
    layout = "sdma_firmware_header_v2_0"
    return [Slice("SDMA_UCODE_TH1", file.field(layout, "ctl_ucode_offset"), file.field(layout, "ctl_ucode_size_bytes")),
            Slice("SDMA_UCODE_TH0", base, file.field(layout, "ctx_ucode_size_bytes"))]


def _parse_engine(file: FirmwareFile) -> list[Slice]:
    file.expect_version("2.0")
    layout, engine = "gfx_firmware_header_v2_0", file.kind.upper()
    file.start_address = (file.field(layout, "ucode_start_addr_lo")
                          | file.field(layout, "ucode_start_addr_hi") << 32)
    return [Slice(f"RS64_{engine}", file.common("ucode_array_offset_bytes"), file.field(layout, "ucode_size_bytes")),
            Slice(f"RS64_{engine}_P0_STACK", file.field(layout, "data_offset_bytes"),
                  file.field(layout, "data_size_bytes"))]


def _parse_imu(file: FirmwareFile) -> list[Slice]:
    file.expect_version("1.0")
    layout, base = "imu_firmware_header_v1_0", file.common("ucode_array_offset_bytes")
    code = file.field(layout, "imu_iram_ucode_size_bytes")
    return [Slice("IMU_I", base, code), Slice("IMU_D", base + code, file.field(layout, "imu_dram_ucode_size_bytes"))]


def _parse_rlc(file: FirmwareFile) -> list[Slice]:
    file.expect_version("2.2", "2.3", "2.4")

    def part(name: str, prefix: str, stem: str) -> Slice:
        return Slice(name, file.field(layout, f"{prefix}{stem}_ucode_offset_bytes"),
                     file.field(layout, f"{prefix}{stem}_ucode_size_bytes"))

    layout = "rlc_firmware_header_v2_2" if file.header_version == "2.2" else "rlc_firmware_header_v2_3"
    inner = "" if file.header_version == "2.2" else "v2_2."
    parts = [part("RLC_IRAM", inner, "rlc_iram"), part("RLC_DRAM_BOOT", inner, "rlc_dram")]
    if layout == "rlc_firmware_header_v2_3":
        parts += [part("RLC_P", "", "rlcp"), part("RLC_V", "", "rlcv")]
    return [*parts, Slice("RLC_G", file.common("ucode_array_offset_bytes"), file.common("ucode_size_bytes"))]


_PARSERS = {"sos": _parse_sos, "smu": _parse_smu, "sdma": _parse_sdma, "pfp": _parse_engine, "me": _parse_engine,
            "mec": _parse_engine, "imu": _parse_imu, "rlc": _parse_rlc}


class FirmwareStore:
    """Finds and opens the files of one chip.

    Args:
        chip: entry of chips.json.
        directories: searched first, in order; then USBGPU_FIRMWARE, the user's directory, the system's.
        kicker: the board needs the _kicker variants of sos, smu, imu and rlc.
        revision: PCI revision of the board, which may have an rlc file of its own.
    """

    KICKER_KINDS = ("sos", "smu", "imu", "rlc")

    def __init__(self, chip: dict, directories: Iterable[str | Path] = (), kicker: bool = False,
                 revision: int | None = None) -> None:
        self.chip = chip
        self.kicker = kicker
        self.revision = revision
        self.directories = search_directories(directories)
        self._open: dict[str, FirmwareFile] = {}

    def file_name(self, kind: str) -> str:
        files = self.chip["firmware"]
        if kind == "rlc" and (of_revision := files.get("rlc_by_revision", {}).get(str(self.revision))):
            return of_revision
        name = files[kind]
        return name.replace(".bin", "_kicker.bin") if self.kicker and kind in self.KICKER_KINDS else name

    def file(self, kind: str) -> FirmwareFile:
        """The file of a kind ("sos", "smu", "mec", ...), opened once.

        Raises:
            FirmwareMissing, FirmwareMismatch
        """
        if kind not in self._open:
            name = self.file_name(kind)
            data, path = find_file(name, self.directories)
            self._open[kind] = FirmwareFile(name, kind, data, str(path))
        return self._open[kind]

    def load_order(self) -> list[tuple[str, str]]:
        """("smu", "SMU") for a slice of a file; ("", "SETUP_TMR") for a command in between."""
        return [("", step.strip("[]")) if step.startswith("[") else tuple(step.split(":"))
                for step in self.chip["firmware"]["load_order"]]


# ---- files on disk

# The largest that a card of these chips loads has half a megabyte; an archive may claim anything.
LARGEST_FILE_BYTES = 64 << 20
SUFFIXES = ("", ".xz", ".zst")        # as distributions compress them


def search_directories(given: Iterable[str | Path] = ()) -> list[Path]:
    """Where files are looked for, in order."""
    named = os.environ.get(ENVIRONMENT)
    return [*([Path(named)] if named else []), *map(Path, given), user_directory(), *SYSTEM_DIRECTORIES]


def find_file(name: str, directories: Iterable[Path]) -> tuple[bytes, Path]:
    """Content and place of the first file of this name, as installed, plain or compressed.

    Raises:
        FirmwareMissing: it is nowhere, or could be read nowhere.
        FirmwareMismatch: it was installed and has changed since.
    """
    directories, unreadable = list(directories), []
    for directory in directories:
        try:
            if installed := FirmwareFolder(directory).read(name):
                return installed
        except FirmwareMismatch:
            raise
        except OSError as error:
            unreadable.append(f"{directory} ({_reason(error)})")
        for base in (directory / name, directory / "amdgpu" / name):
            for suffix in SUFFIXES:
                path = base.with_name(name + suffix)
                try:
                    data = unpack(path.read_bytes(), suffix)
                    private_files.check_source(path)
                    if unreadable:
                        log.warning("%s is used instead of %s", path, ", ".join(unreadable))
                    return data, path
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except (OSError, ValueError) as error:
                    unreadable.append(f"{path} ({_reason(error)})")
    state = {"searched": ", ".join(map(str, directories))}
    action = (f"Run `usbgpu firmware install --download`, which fetches it from linux-firmware, or name a folder that "
              f"has it in {ENVIRONMENT}.")
    if unreadable:
        state["unreadable"] = ", ".join(unreadable)
        action = "Correct or remove what cannot be read, or run `usbgpu firmware install`."
    raise FirmwareMissing(f"Firmware file {name} was not found.", action, **state)


def _reason(error: Exception) -> str:
    return error.found if isinstance(error, UnsafePlace) else str(error)


def unpack(data: bytes, suffix: str, limit: int = LARGEST_FILE_BYTES) -> bytes:
    """The content of a file whose name ends in `suffix`: ".xz", ".zst" or anything else, which is not compressed.

    Raises:
        ValueError: it is damaged, or unpacks to more than `limit` bytes.
    """
    if suffix == ".xz":
        stream = lzma.LZMAFile(io.BytesIO(data))
    elif suffix == ".zst":
        import zstandard
        stream = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    else:
        return data
    try:
        content = stream.read(limit + 1)
    except Exception as error:        # each library has classes of its own
        raise ValueError(f"cannot be unpacked: {error}") from error
    if len(content) > limit:
        raise ValueError(f"unpacks to more than {limit} bytes")
    return content


def needs_kicker(device: int, revision: int) -> bool:
    """Boards that Linux gives the _kicker variants."""
    return {"device": device, "revision": revision} in load("chips")["kicker_boards"]["list"]
