"""Which firmware is it? By methods of the handle, by descriptors, or not at all."""
from __future__ import annotations

import json

import pytest
import usb1

from torch_usbgpu import errors
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.usb.identity import Identity, identify, tell_generation, tell_mode, wrong_mode

FIRMWARES = {
    "custom": ("custom", "add1:0001", "custom v0.1", "v0.1", "custom-2026-04", 10.0),
    "custom-2026-08": ("custom", "3801:0001", "custom v0.1", "v0.1", "custom-2026-08", 10.0),
    "legacy": ("legacy", "add1:0001", "USB 3.2 PCIe TinyEnclosure", "1.00", "patched 240417", 10.0),
    "stock": ("stock", "174c:2464", "ASM246X", "1.00", "ASMedia", 10.0),
    "rom": ("rom", "174c:2463", "AS2462", "0.01", "mask ROM", 10.0),
    "bootstub": ("bootstub", "3801:b007", None, None, "bootstub", 0.48),
}


class FourMethods:
    """Somebody else's handle: transfers, and nothing that tells who it is."""

    def __init__(self, handle):
        for name in ("controlWrite", "controlRead", "bulkWrite", "bulkRead"):
            setattr(self, name, getattr(handle, name))


@pytest.mark.parametrize("firmware", FIRMWARES)
@pytest.mark.parametrize("how", ["methods", "descriptors"])
def test_every_firmware(firmware, how):
    handle = EmulatedAdapter("probe", firmware=firmware, serial="01234567" if "custom" in firmware else "")
    identity = identify(handle if how == "methods" else FourMethods(handle))
    mode, ids, product, version, generation, gbps = FIRMWARES[firmware]
    assert (identity.mode, identity.ids, identity.product, identity.firmware, identity.generation) == (
        mode, ids, product, version, generation)
    assert identity.usb_gbps == (gbps if how == "methods" or gbps < 1 else None)
    if "custom" in firmware:
        assert identity.serial == identity.unique_serial == "01234567" and identity.manufacturer == "tiny"
    json.dumps(identity.as_dict())
    assert not handle.violations
    handle.close()


@pytest.mark.parametrize("how", ["methods", "descriptors"])
def test_strings_of_the_device_cannot_command_a_terminal(how):
    class Named(FourMethods):
        def __init__(self, handle):
            super().__init__(handle)
            genuine = self.controlRead

            def control_read(request_type, request, value, index, length, timeout=0):
                if request == 6 and value >> 8 == 3 and index:
                    text = "custom\x1b]0;x\x07\n\u202eevil".encode("utf-16-le")
                    return bytes([len(text) + 2, 3]) + text
                return genuine(request_type, request, value, index, length, timeout=timeout)
            self.controlRead = control_read
            if how == "methods":
                for name in ("getVendorID", "getProductID", "getbcdDevice"):
                    setattr(self, name, getattr(handle, name))
                self.getProduct = self.getManufacturer = self.getSerialNumber = lambda: "custom\x1b]0;x\x07\n\u202eevil"

    handle = EmulatedAdapter("probe")
    identity = identify(Named(handle))
    assert identity.product == identity.manufacturer == identity.serial == "custom?]0;x???evil"
    handle.close()


def test_usb2_is_seen_in_the_descriptor():
    assert not identify(FourMethods(EmulatedAdapter("probe", usb="high"))).super_speed
    assert identify(FourMethods(EmulatedAdapter("probe"))).super_speed


def test_a_handle_that_answers_nothing_is_unknown():
    class Dumb:
        def controlRead(self, *_arguments, timeout=0):
            raise usb1.USBErrorTimeout

    assert identify(Dumb()) == Identity("unknown")
    assert identify(object()) == Identity("unknown")

    class Rude:
        def controlRead(self, *_arguments, timeout=0):
            raise NotImplementedError("request 6")

    assert identify(Rude()).mode == "unknown"


def test_nothing_goes_over_the_wire_unless_wanted():
    class Dumb:
        def controlRead(self, *_arguments, timeout=0):
            raise AssertionError("asked the device")

    assert identify(Dumb(), ask_device=False).mode == "unknown"


def test_unplugged_meanwhile():
    class Gone:
        def getProduct(self):
            raise usb1.USBErrorNoDevice

    with pytest.raises(errors.DeviceLost):
        identify(Gone())


@pytest.mark.parametrize("ids, product, mode", [
    ((0xADD1, 1), "custom v0.1", "custom"), ((0x3801, 1), "custom", "custom"), (None, "custom v3", "custom"),
    ((0xADD1, 1), None, "legacy"), ((0xADD1, 1), "TinyEnclosure", "legacy"), ((0xADD1, 0xB007), None, "bootstub"),
    ((0x174C, 0x2463), "AS2462", "rom"), ((0x174C, 0x2463), "ASM2463", "stock"), (None, "Disk", "stock"),
    ((0x1234, 1), "Keyboard", "unknown"), (None, None, "unknown")])
def test_modes(ids, product, mode):
    assert tell_mode(ids, product) == mode
    tell_generation(mode, ids, product)


def test_bcd_device_tells_where_the_string_cannot_be_read():
    assert tell_mode((0xADD1, 1), None, 0x0001) == "custom" and tell_mode((0xADD1, 1), None, 0x0100) == "legacy"
    assert tell_mode((0xADD1, 1), "TinyEnclosure", 0x0001) == "legacy"

    class NoStrings:
        def getProduct(self):
            raise usb1.USBErrorPipe

        def getVendorID(self):
            return 0xADD1

        def getProductID(self):
            return 1

        def getbcdDevice(self):
            return 1

    assert identify(NoStrings()).mode == "custom" and identify(NoStrings()).firmware is None


@pytest.mark.parametrize("serial, unique", [("ffffffff", None), ("0" * 20, None), ("0badcafe", "0badcafe"), (None, None)])
def test_blank_serials_tell_nothing(serial, unique):
    assert Identity("custom", serial=serial).unique_serial == unique


@pytest.mark.parametrize("mode", ["stock", "rom", "bootstub", "usb4", "unknown", "custom", "legacy"])
def test_every_other_mode_has_its_error(mode):
    error = wrong_mode(Identity(mode))
    assert error.code == "USBGPU-104" and error.state["mode"] == mode and error.action


@pytest.mark.parametrize("speed, gbps, is_super", [
    (usb1.SPEED_HIGH, 0.48, False), (usb1.SPEED_SUPER, 5, True), (usb1.SPEED_SUPER_PLUS, 10, True),
    (usb1.SPEED_SUPER_PLUS_X2, 20, True), (usb1.SPEED_UNKNOWN, None, True), (None, None, True)])
def test_speeds(speed, gbps, is_super):
    identity = Identity("custom", usb_speed=speed)
    assert identity.usb_gbps == gbps and identity.super_speed == is_super
