"""What may be written to a dock's flash, and what is refused and why."""
from __future__ import annotations

import struct
import zlib

import pytest

from torch_usbgpu.errors import ImageRefused
from torch_usbgpu.usb import flash_image
from torch_usbgpu.usb.flash_image import ConfigBlock, FlashContent, Image, parse_file, parse_image, wrap

from .images import CUSTOM, CUSTOM_3801, PATCHED, STOCK, custom_body, device_descriptor, stock_body


@pytest.mark.parametrize("data, kind, ids, version", [
    (CUSTOM, "custom", "add1:0001", "v0.2"), (CUSTOM_3801, "custom", "3801:0001", "v0.2"),
    (STOCK, "stock", "174c:2462", "240417_85_00_00"), (PATCHED, "legacy", "174c:2462", "240417_85_00_00"),
    (wrap(stock_body(bytes.fromhex("231204850000"), patched=True)), "stock", "174c:2462", "231204_85_00_00")])
def test_known_firmwares(data, kind, ids, version):
    identity = parse_file(data).image.require_known()
    assert (identity.kind, identity.ids, identity.version) == (kind, ids, version)


def test_the_wrapper_is_that_of_the_flashing_tools():
    body = custom_body()
    assert wrap(body) == struct.pack("<I", len(body)) + body + bytes([0xA5, sum(body) & 255]) + struct.pack("<I", zlib.crc32(body))
    assert parse_image(wrap(body)).body == body


def damaged(at: int, data: bytes = CUSTOM) -> bytes:
    copy = bytearray(data)
    copy[at] ^= 0x10
    return bytes(copy)


@pytest.mark.parametrize("data, says", [
    (b"", "too short"), (CUSTOM[:60], "too short"), (CUSTOM[:-1], "length field"), (CUSTOM[:3000], "length field"),
    (damaged(0), "length field|mark is missing"), (damaged(2), "length field"), (damaged(4), "sum or CRC"),
    (damaged(777), "sum or CRC"), (damaged(-6), "mark is missing"), (damaged(-5), "sum or CRC"), (damaged(-1), "sum or CRC"),
    (CUSTOM + b"x", "Something else follows"), (b"\xFF" * 4096, "blank"), (b":10000000020016", "Intel HEX"),
    (custom_body(), "without a wrapper"), (b"A24F" + bytes(4096), "bootstub-based"), (b"PK\x03\x04" + bytes(99), "ZIP"),
    (b"\x1f\x8b\x08\x00" + bytes(999), "gzip"), (wrap(bytes(0x1_FF00)), "length field")])
def test_refused_files(data, says):
    with pytest.raises(ImageRefused, match=says) as refused:
        parse_file(data)
    assert refused.value.code == "USBGPU-120"


def test_every_bit_of_the_wrapper_and_body_counts():
    image = bytearray(wrap(custom_body(nbytes=150)))
    for bit in range(8 * len(image)):
        image[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(ImageRefused):
            parse_file(bytes(image))
        image[bit >> 3] ^= 1 << (bit & 7)
    parse_file(bytes(image))


def test_two_changes_that_keep_the_sum_are_found_by_the_crc():
    image = bytearray(CUSTOM)
    at = next(n for n in range(100, 200) if image[n] != image[n + 1] and 0 < image[n] and image[n + 1] < 255)
    image[at] -= 1
    image[at + 1] += 1
    with pytest.raises(ImageRefused, match="sum or CRC"):
        parse_file(bytes(image))


def test_blank_flash_behind_an_image_is_no_fault():
    assert parse_file(CUSTOM + b"\xFF" * 999).image.data == CUSTOM


@pytest.mark.parametrize("body, says", [
    (custom_body(0x1234), "USB ids in it are 1234:0001"), (custom_body(product=7), "USB ids in it are add1:0007"),
    (custom_body(text=b"firmware"), "product text"), (custom_body(usb=(0x0200,)), "one of the USB speeds"),
    (custom_body(usb=()), "USB ids in it are none"), (custom_body(start=b"\x00\x00\x00"), "no jump into it"),
    (custom_body(start=b"\x02\xFF\xFF"), "no jump into it"),
    (custom_body() + device_descriptor(0x0320, 0x3801, 1), "contradict"),
    (stock_body(bytes.fromhex("249917850000")), "neither size nor version"), (stock_body(nbytes=20_000), "neither size nor version"),
    (stock_body()[:0x2A12 - 4] + b"\x07" + stock_body()[0x2A12 - 3:], "patch that we do not know")])
def test_sound_images_of_unknown_firmwares_are_refused(body, says):
    image = parse_file(wrap(body)).image
    assert image.identity.kind == "unknown"
    with pytest.raises(ImageRefused, match=says):
        image.require_known()


@pytest.mark.parametrize("vendor", [0x3801, 0xADD1])
def test_a_bootstub_is_told_and_refused(vendor):
    image = parse_file(wrap(custom_body(vendor, 0xB007))).image
    assert image.identity.kind == "bootstub"
    with pytest.raises(ImageRefused, match="bootstub"):
        image.require_known()


# ---- configuration blocks

# The blocks that the open firmware's flashing tool writes (asm2464pd-firmware flash.py): their sums are known to hold.
PUBLISHED_0 = bytes.fromhex(
    "ffffffff414141414242424230303630ffffffffffffffff74696e79ffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffff74696e79ffffffff55534220332e32205043496520 54696e79456e636c6f73757265ffff".replace(" ", "")
    + "ffffffff54696e79456e636c6f73757265ffffffd1ad010000 01cfff02ff5a94".replace(" ", ""))


def test_the_published_block():
    block = ConfigBlock(0, PUBLISHED_0)
    assert block.problem is None
    assert block.fields() == {"serial": "AAAABBBB0060", "manufacturer": "tiny", "scsi_vendor": "tiny",
                              "product": "USB 3.2 PCIe TinyEnclosure", "scsi_product": "TinyEnclosure", "vendor_id": "add1",
                              "product_id": "0001", "bcd_device": "0100", "policy": "cfff02ff"}
    assert flash_image.has_legacy_ids(block)
    assert ConfigBlock(1, PUBLISHED_0).problem == "its mark is 0x5a, not 0xa5"


@pytest.mark.parametrize("at, problem", [(0, None), (3, None), (4, "its sum"), (0x7D, "its sum"), (0x7E, "its mark"), (0x7F, "its sum")])
def test_what_the_sum_of_a_block_covers(at, problem):
    found = ConfigBlock(0, damaged(at, PUBLISHED_0)).problem
    assert found is None if problem is None else found.startswith(problem)


def test_new_blocks_hold_and_name_the_image():
    first, second = (ConfigBlock(index, data) for index, data in enumerate(flash_image.fresh_config(parse_image(CUSTOM_3801).identity)))
    assert first.problem is None and second.problem is None
    assert {"product": "custom v0.2", "vendor_id": "3801", "product_id": "0001"}.items() <= first.fields().items()


def test_a_block_becomes_that_of_the_patched_firmware_and_keeps_the_rest():
    before = ConfigBlock(0, flash_image.fresh_config(parse_image(STOCK).identity)[0])
    after = ConfigBlock(0, flash_image.legacy_config(before.data))
    assert after.problem is None and flash_image.has_legacy_ids(after) and not flash_image.has_legacy_ids(before)
    assert (after.fields()["product"], after.fields()["policy"]) == ("USB 3.2 PCIe TinyEnclosure", before.fields()["policy"])


# ---- backups

def content(image: bytes = STOCK, config: bytes = PUBLISHED_0) -> bytes:
    second = flash_image.fresh_config(parse_image(CUSTOM).identity)[1]
    return (config + second + image).ljust(1 << 17, b"\xFF")


def test_a_backup_is_told_from_an_image():
    file = parse_file(content())
    assert file.content.verified and file.image.data == STOCK
    assert parse_file(STOCK).content is None


@pytest.mark.parametrize("data, verified", [
    (content(), True), (content(config=damaged(9, PUBLISHED_0)), False), (content(damaged(99)), False), (b"\xFF" * (1 << 17), False)])
def test_what_a_verified_backup_is(data, verified):
    flash = FlashContent(data)
    assert flash.verified is verified
    assert isinstance(flash.image, Image) == (damaged(99) not in data and data.strip(b"\xFF") != b"")


def test_a_backup_without_an_image_is_refused():
    with pytest.raises(ImageRefused, match="backup without a usable image.*sum or CRC"):
        parse_file(content(damaged(999)))
    with pytest.raises(ImageRefused, match="backup without a usable image"):
        parse_file(b"\xFF" * (1 << 17))
