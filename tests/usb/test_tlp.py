from __future__ import annotations

import pytest

from torch_usbgpu.usb import tlp


@pytest.mark.parametrize(("fmt", "posted"), [
    (0x00, False), (0x20, False), (0x40, True), (0x60, True), (0x04, False), (0x44, False), (0x05, False), (0x45, False),
    (0x30, True), (0x37, True)])
def test_what_has_no_completion(fmt, posted):
    assert tlp.is_posted(fmt) is posted


@pytest.mark.parametrize(("address", "write", "wide", "fmt"), [
    (0x1000_0000, False, False, 0x00), (0x1000_0000, True, False, 0x40), (0x1000_0000, True, True, 0x60),
    (0x1_0000_0000, False, False, 0x20), (0x1_0000_0000, True, False, 0x60), (0xFFFF_FFFC, False, False, 0x00)])
def test_header_width(address, write, wide, fmt):
    assert tlp.memory_fmt(address, write=write, wide=wide) == fmt


def test_config_address():
    assert tlp.config_address(4, 0, 0, 0x104) == 0x0400_0104
    assert tlp.config_address(1, 31, 7, 0xFFC) == 0x01FF_0FFC
    with pytest.raises(ValueError):
        tlp.config_address(0, 0, 0, 0x1000)


def test_completion_fields():
    done = tlp.Completion.decode(bytes([0x78, 0x56, 0x34, 0x12, 0x2F, 0xFF, 1, 0]))
    assert (done.data, done.status, done.byte_count, done.has_data, done.engine) == (0x1234_5678, 1, 0xFFF, True, 0)
    assert done.status_name == "unsupported request"
