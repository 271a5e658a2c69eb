"""Firmware files: slices of 49 real files' headers, damage, and where files are looked for."""
from __future__ import annotations

import json
import lzma
import os
from pathlib import Path

import pytest
from .boards import firmware_image, firmware_kind

from torch_usbgpu.amdgpu import firmware
from torch_usbgpu.amdgpu.facts import load
from torch_usbgpu.amdgpu.firmware import FirmwareFile, FirmwareStore
from torch_usbgpu.errors import FirmwareMismatch, FirmwareMissing

FILES = json.loads(Path(__file__).with_name("firmware_slices.json").read_text())["files"]
NAVI31 = load("chips")["chips"]["navi31"]
MEC = "gc_11_0_0_mec.bin"


@pytest.mark.parametrize("name", FILES)
def test_slices(name):
    image = firmware_image(name, FILES[name])
    file = FirmwareFile(name, firmware_kind(name), image)
    expected = {part: tuple(place) for part, place in FILES[name]["slices"].items() if place[1]}
    assert {part.name: (part.offset, part.size) for part in file.slices.values()} == expected
    for part, (offset, size) in expected.items():
        assert file.content(part) == image[offset:offset + size]
    if "ucode_start_addr" in FILES[name]:
        assert file.start_address == int(FILES[name]["ucode_start_addr"], 0)


@pytest.mark.parametrize("chip", load("chips")["chips"])
def test_every_load_order_is_served_by_its_files(chip):
    store = FirmwareStore(load("chips")["chips"][chip])
    for kind, part in store.load_order():
        if kind and (name := store.file_name(kind)) in FILES:
            assert part in FILES[name]["slices"]


@pytest.mark.parametrize(("damage", "message"), [
    (lambda image: image[:-1], "not as long as its header"), (lambda image: image[:16], "too short"),
    (lambda image: image[:8] + b"\x07" + image[9:], "unknown version"),
    (lambda image: image[:4] + b"\xff\xff\xff\xff" + image[8:], "impossible header"),
    (lambda image: image[:36] + b"\xff\xff\xff\x00" + image[40:], "ends inside its part RS64_MEC"),
])
def test_damage(damage, message):
    with pytest.raises(FirmwareMismatch, match=message):
        FirmwareFile(MEC, "mec", damage(firmware_image(MEC, FILES[MEC])))


def test_a_part_that_is_not_there():
    with pytest.raises(FirmwareMismatch, match="no part RLC_G"):
        FirmwareFile(MEC, "mec", firmware_image(MEC, FILES[MEC])).content("RLC_G")


@pytest.fixture
def empty_system(monkeypatch, tmp_path):
    monkeypatch.setattr(firmware, "SYSTEM_DIRECTORIES", (tmp_path / "system",))
    monkeypatch.setattr(firmware, "user_directory", lambda: tmp_path / "user")
    monkeypatch.delenv(firmware.ENVIRONMENT, raising=False)
    return tmp_path


def test_missing_names_file_places_and_remedy(empty_system):
    with pytest.raises(FirmwareMissing) as caught:
        FirmwareStore(NAVI31, [empty_system / "given"]).file("mec")
    text = str(caught.value)
    for expected in (MEC, "given", "user", "system", firmware.ENVIRONMENT, "linux-firmware", "USBGPU-201"):
        assert expected in text


@pytest.mark.parametrize("place", ["environment", "given", "user", "system"])
@pytest.mark.parametrize("folder", ["", "amdgpu"])
def test_places(empty_system, monkeypatch, place, folder):
    directory = empty_system / place / folder
    directory.mkdir(parents=True)
    (directory / MEC).write_bytes(firmware_image(MEC, FILES[MEC]))
    if place == "environment":
        monkeypatch.setenv(firmware.ENVIRONMENT, str(empty_system / place))
    store = FirmwareStore(NAVI31, [empty_system / "given"])
    assert store.file("mec").origin == str(directory / MEC) and store.file("mec") is store.file("mec")


def test_compressed_files(empty_system):
    image = firmware_image(MEC, FILES[MEC])
    (empty_system / "given").mkdir()
    (empty_system / "given" / f"{MEC}.xz").write_bytes(lzma.compress(image))
    assert FirmwareStore(NAVI31, [empty_system / "given"]).file("mec").data == image


def test_zstd_files(empty_system):
    import zstandard
    image = firmware_image(MEC, FILES[MEC])
    (empty_system / "given").mkdir()
    (empty_system / "given" / f"{MEC}.zst").write_bytes(zstandard.compress(image))
    assert FirmwareStore(NAVI31, [empty_system / "given"]).file("mec").data == image


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("folder, file", [(0o777, 0o644), (0o755, 0o666)])
def test_files_that_any_user_could_change_are_not_used(empty_system, folder, file):
    (empty_system / "given").mkdir()
    (empty_system / "given" / MEC).write_bytes(firmware_image(MEC, FILES[MEC]))
    (empty_system / "given" / MEC).chmod(file)
    (empty_system / "given").chmod(folder)
    store = FirmwareStore(NAVI31, [empty_system / "given"])
    with pytest.raises(FirmwareMissing) as caught:
        store.file("mec")
    assert "can be written by other users" in caught.value.state["unreadable"]
    (empty_system / "given").chmod(0o755)
    (empty_system / "given" / MEC).chmod(0o644)
    assert store.file("mec").slices


def test_a_damaged_archive_is_not_passed_over_silently(empty_system):
    (empty_system / "given").mkdir()
    (empty_system / "given" / f"{MEC}.xz").write_bytes(b"not xz")
    with pytest.raises(FirmwareMissing) as caught:
        FirmwareStore(NAVI31, [empty_system / "given"]).file("mec")
    assert f"{MEC}.xz" in caught.value.state["unreadable"]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_what_is_passed_over_is_told(empty_system, monkeypatch, caplog):
    """Somebody chose that folder: a file from elsewhere must not silently take its place."""
    for place, mode in (("environment", 0o777), ("user", 0o755)):
        (empty_system / place).mkdir()
        (empty_system / place / MEC).write_bytes(firmware_image(MEC, FILES[MEC]))
        (empty_system / place).chmod(mode)
    monkeypatch.setenv(firmware.ENVIRONMENT, str(empty_system / "environment"))
    assert FirmwareStore(NAVI31).file("mec").origin == str(empty_system / "user" / MEC)
    assert str(empty_system / "environment" / MEC) in caplog.text and "other users" in caplog.text


def test_kicker_boards():
    assert firmware.needs_kicker(0x744B, 0) and not firmware.needs_kicker(0x744C, 0xC8)
    store = FirmwareStore(NAVI31, kicker=True)
    assert store.file_name("sos") == "psp_13_0_0_sos_kicker.bin" and store.file_name("mec") == MEC


@pytest.mark.parametrize(("chip", "kicker"), [
    *[(chip, False) for chip in load("chips")["chips"]], ("navi31", True), ("navi48", True)])   # chips of such boards
@pytest.mark.parametrize("revision", [0xC8, 0xCE])
def test_file_names_exist(chip, kicker, revision):
    """Every name that is asked for is a file of linux-firmware."""
    store = FirmwareStore(load("chips")["chips"][chip], kicker=kicker, revision=revision)
    for kind in ("sos", "smu", "sdma", "pfp", "me", "mec", "imu", "rlc"):
        assert store.file_name(kind) in FILES, kind


def test_the_rlc_file_of_a_revision():
    assert FirmwareStore(NAVI31, revision=0xCE).file_name("rlc") == "gc_11_0_0_rlc_1.bin"
    assert FirmwareStore(NAVI31, revision=0xCE, kicker=True).file_name("rlc") == "gc_11_0_0_rlc_1.bin"    # as Linux
    assert FirmwareStore(NAVI31, revision=0xC8).file_name("rlc") == "gc_11_0_0_rlc.bin"
    navi48 = load("chips")["chips"]["navi48"]
    assert FirmwareStore(navi48, revision=0xCE).file_name("rlc") == "gc_12_0_1_rlc.bin"
