"""What is in a firmware file, and whether it is what its name says.

Nothing here can tell AMD's files from a clever forgery: that is done by the GPU's security processor, which checks
AMD's signature on every image. What is checked here finds damaged, mixed up and foreign files before they get there:
the container's header, parts and checksum, and of each image that will be sent the header that the security processor
will look at.
"""
from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, field

from ..amdgpu.facts import load, struct_size
from ..amdgpu.firmware import FirmwareFile
from ..errors import FirmwareMismatch
from .needs import NeededFile, chips, known_names

_MAX_SHOWN = 3


@dataclass(frozen=True)
class Report:
    name: str
    kind: str
    chip: str
    sha256: str
    bytes: int
    header_version: str | None = None
    version: str | None = None               # decoded as its kind is
    feature_version: int | None = None
    releases: tuple[str, ...] = ()           # of linux-firmware that have exactly this file, of those we know
    images: dict[str, str] = field(default_factory=dict)    # part -> version in the image's own header
    problems: tuple[str, ...] = ()

    def error(self, origin: str) -> FirmwareMismatch:
        return FirmwareMismatch(f"Firmware file {self.name} {self.problems[0]}.",
                                "Get a fresh copy of the file from linux-firmware.", file=origin,
                                also="; ".join(self.problems[1:_MAX_SHOWN]) or "nothing else")


def examine(needed: NeededFile, data: bytes) -> Report:
    """Never raises: what is wrong is in `problems`."""
    facts = load("firmware_files")
    digest = hashlib.sha256(data).hexdigest()
    base = {"name": needed.name, "kind": needed.kind, "chip": needed.chip, "sha256": digest, "bytes": len(data),
            "releases": _releases(needed.name, digest)}
    try:
        file = FirmwareFile(needed.name, needed.kind, data)
    except FirmwareMismatch as error:
        return Report(**base, problems=(error.found.removeprefix(f"Firmware file {needed.name} ").rstrip("."),))
    problems = []
    ip = facts["ip_of_kind"][needed.kind]
    expected = chips()[needed.chip]["ip_versions"][ip].split(".")[0]
    if str(file.common("ip_version_major")) != expected:
        problems.append(f"is for another generation: {ip} {file.common('ip_version_major')}, not {expected}")
    after = struct_size("common_firmware_header")
    if others := _belongs_to_others(needed, digest):
        problems.append(f"has the content of {', '.join(others)}")
    if needed.kind in facts["crc32_kinds"] and zlib.crc32(data[after:]) != file.common("crc32"):
        problems.append("is damaged: its checksum does not match")
    images = {}
    for part in _wanted_parts(needed, file):
        if part not in file.slices:
            problems.append(f"has no part {part}")
            continue
        content = file.content(part)
        problems += _image_problems(part, content, needed.chip)
        if len(content) >= load("psp_images")["header_bytes"]:
            images[part] = f"{_image_field(content, 'version'):#x}"
    return Report(**base, header_version=file.header_version, version=_version(needed.kind, file.version),
                  feature_version=_feature_version(file), images=images, problems=tuple(problems))


def _wanted_parts(needed: NeededFile, file: FirmwareFile) -> list[str]:
    if needed.kind == "sos":          # of the boot loader's components a file has those that its boards want
        return list(dict.fromkeys(["PSP_SYS_DRV", "PSP_SOS", *file.slices]))
    steps = [step.split(":") for step in chips()[needed.chip]["firmware"]["load_order"]]
    return [step[1] for step in steps if step[0] == needed.kind]


def _image_field(content: bytes, name: str) -> int:
    return struct.unpack_from("<I", content, load("psp_images")["offsets"][name])[0]


def _image_problems(part: str, content: bytes, chip: str) -> list[str]:
    facts = load("psp_images")
    name = part.removeprefix("PSP_")
    generation = facts["generation_kinds"].get(chips()[chip]["ip_versions"]["MP0"].split(".")[0], {})
    kind = {**facts["bootloader_kinds"], **facts["firmware_kinds"], **generation}.get(name)
    if kind is None:
        return []                     # a component that nothing here sends
    if len(content) < facts["header_bytes"] + facts["signature_bytes"]:
        return [f"has a part {name} that is too short for an image"]
    at = facts["offsets"]["magic"]
    if name not in facts["without_magic"] and content[at:at + 4] != facts["magic"].encode():
        return [f"holds no image of the security processor in its part {name}"]
    if facts["header_bytes"] + _image_field(content, "body_bytes") + facts["signature_bytes"] > len(content):
        return [f"ends inside the image of its part {name}"]
    if _image_field(content, "kind") & 0xFFFF != kind & 0xFFFF:
        return [f"holds an image of another kind in its part {name} ({_image_field(content, 'kind') & 0xFFFF:#x}, "
                f"not {kind & 0xFFFF:#x})"]
    return []


def _version(kind: str, number: int) -> str:
    parts = number.to_bytes(4, "big")
    form = load("firmware_files")["versions"][kind]
    if form == "bytes":
        return ".".join(str(part) for part in (parts if parts[0] else parts[1:]))
    if form == "hex_bytes":
        return ".".join(f"{part:02x}" for part in parts)
    return str(number)


def _feature_version(file: FirmwareFile) -> int | None:
    """Files of the PFP, ME, MEC, RLC and SDMA 6 have one behind the common header (SDMA 7 another number there)."""
    if file.kind not in ("sdma", "pfp", "me", "mec", "rlc") or (file.kind, file.header_version) == ("sdma", "3.0"):
        return None
    return struct.unpack_from("<I", file.data, struct_size("common_firmware_header"))[0]


def _releases(name: str, digest: str) -> tuple[str, ...]:
    return tuple(sorted(release for release, sums in load("firmware_files")["releases"].items()
                        if sums.get(name) == digest))


def _belongs_to_others(needed: NeededFile, digest: str) -> list[str]:
    """Files of other chips or kinds that have this content in a known release: neighbours look alike from inside.

    That two files of one chip are the same (a board's own and the plain one) is for linux-firmware to decide.
    """
    known = {name for sums in load("firmware_files")["releases"].values() for name, sum_of in sums.items()
             if sum_of == digest}
    files = known_names()
    if any((files[name].chip, files[name].kind) == (needed.chip, needed.kind) for name in known if name in files):
        return []
    return sorted(known)
