"""Damaged, mixed up and foreign files are told from good ones."""
from __future__ import annotations

import os
import random
import re
import struct
import zlib
from pathlib import Path

import pytest

from torch_usbgpu.amdgpu.facts import load
from torch_usbgpu.amdgpu.firmware import FirmwareFile
from torch_usbgpu.firmware import needs
from torch_usbgpu.firmware.examine import _version, examine

FILES = needs.known_names()
GENUINE = os.environ.get("USBGPU_TEST_FIRMWARE")


@pytest.mark.parametrize("name", FILES)
def test_good_files(images, name):
    report = examine(FILES[name], images[name])
    assert report.problems == () and report.releases == () and report.version
    assert report.images and report.bytes == len(images[name])


@pytest.mark.skipif(not GENUINE, reason="USBGPU_TEST_FIRMWARE does not name a folder with AMD's files")
@pytest.mark.parametrize("name", FILES)
def test_genuine_files(name):
    path = Path(GENUINE or "") / name
    if not path.exists():
        pytest.skip("older releases lack it")
    assert examine(FILES[name], path.read_bytes()).problems == ()


def change(data: bytes, at: int, value: bytes, kind: str = "mec") -> bytes:
    """With the container's checksum made right again, as for somebody who wants to get past it."""
    data = data[:at] + value + data[at + len(value):]
    return data[:28] + struct.pack("<I", zlib.crc32(data[32:])) + data[32:]


def _first_image(data: bytes, kind: str) -> int:
    return next(iter(FirmwareFile("x", kind, data).slices.values())).offset


MEC, SOS = "gc_11_0_0_mec.bin", "psp_13_0_0_sos.bin"


@pytest.mark.parametrize("name, damage, message", [
    (MEC, lambda data: b"", "is too short to be firmware"),
    (MEC, lambda data: data[:-1], "is not as long as its header says"),
    (MEC, lambda data: data + b"\0", "is not as long as its header says"),
    (MEC, lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "checksum does not match"),
    (SOS, lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "checksum does not match"),
    (MEC, lambda data: change(data, 12, b"\x0c\0"), "another generation: GC 12, not 11"),
    (MEC, lambda data: change(data, _first_image(data, "mec") + 16, b"$XX1"), "no image of the security processor"),
    (MEC, lambda data: change(data, _first_image(data, "mec") + 20, b"\xff\xff\xff\x7f"), "ends inside the image"),
    (MEC, lambda data: change(data, _first_image(data, "mec") + 88, b"\x01\x10\0\0"), "image of another kind"),
    (MEC, lambda data: change(data, 36, bytes(4)), "has no part RS64_MEC"),
    (SOS, lambda data: change(data, 32, bytes(4)), "has no part PSP_SYS_DRV"),
    (SOS, lambda data: change(data, 32, b"\xff\xff\0\0"), "cannot be read|ends inside"),
    (MEC, lambda data: b"<html>404 Not Found</html>" * 40, "not as long as its header"),
])
def test_damage(images, name, damage, message):

    report = examine(FILES[name], damage(images[name]))
    assert report.problems and re.search(message, "; ".join(report.problems)), report.problems
    assert message.split("|")[0] in str(report.error("here")) or "|" in message


@pytest.mark.parametrize("name, content", [
    ("smu_13_0_0.bin", "sdma_6_0_0.bin"), ("gc_11_0_0_mec.bin", "gc_12_0_0_mec.bin"), ("gc_12_0_0_me.bin", "gc_12_0_0_pfp.bin"),
    ("psp_13_0_0_sos.bin", "psp_14_0_2_sos.bin"), ("gc_11_0_0_imu.bin", "gc_11_0_0_rlc.bin")])
def test_files_under_the_wrong_name(images, name, content):
    assert examine(FILES[name], images[content]).problems


def test_known_content(images, monkeypatch):
    """Files of neighbouring chips look alike from inside; their sums tell."""
    report = examine(FILES[MEC], images[MEC])
    monkeypatch.setitem(load("firmware_files")["releases"], "20990101", {"gc_11_0_2_mec.bin": report.sha256})
    assert examine(FILES[MEC], images[MEC]).problems == ("has the content of gc_11_0_2_mec.bin",)
    imu, of_kicker = "gc_11_0_0_imu.bin", "gc_11_0_0_imu_kicker.bin"
    monkeypatch.setitem(load("firmware_files")["releases"], "20990103", {of_kicker: examine(FILES[imu], images[imu]).sha256})
    assert examine(FILES[imu], images[imu]).problems == ()       # one chip's files may be the same
    monkeypatch.setitem(load("firmware_files")["releases"], "20990102", {MEC: report.sha256})
    known = examine(FILES[MEC], images[MEC])
    assert known.problems == () and known.releases == ("20990102",)


# numbers of linux-firmware 20260916, as Linux and AMD's tools write them
@pytest.mark.parametrize("kind, number, text", [
    ("smu", 0x4E8700, "78.135.0"), ("smu", 0x684400, "104.68.0"), ("smu", 0x07684400, "7.104.68.0"), ("sos", 0x310036, "00.31.00.36"),
    ("imu", 0xB1F4B00, "11.31.75.0"), ("mec", 0xAE6, "2790"), ("sdma", 0x1B, "27"), ("rlc", 0x80, "128")])
def test_versions(kind, number, text):
    assert _version(kind, number) == text


@pytest.mark.parametrize("name", ["psp_13_0_0_sos.bin", "smu_14_0_2.bin", "sdma_6_0_0.bin", "sdma_7_0_0.bin", "gc_12_0_0_mec.bin",
                                  "gc_11_0_0_imu.bin", "gc_11_0_0_rlc.bin", "gc_12_0_0_rlc.bin"])
def test_headers_full_of_nonsense(images, name):
    """Never an exception, whatever a header says; the numbers that count most are offsets and lengths."""
    numbers = random.Random(name)
    values = (0, 1, 31, 32, 255, 256, 0x7FFFFFFF, 0x80000000, 0xFFFFFF00, 0xFFFFFFFF, len(images[name]), len(images[name]) - 1)
    noticed = 0
    for _ in range(400):
        data = bytearray(images[name][:1024] if numbers.random() < 0.1 else images[name])
        for _ in range(numbers.randrange(1, 4)):
            struct.pack_into("<I", data, 4 * numbers.randrange(64), numbers.choice(values))
        noticed += bool(examine(FILES[name], bytes(data)).problems)
    assert noticed > 50
