"""A pretended libusb bus with emulated docks on it, for what lies between them and the user: opening, replugging."""
from __future__ import annotations

import usb1

from torch_usbgpu.emulator import EmulatedAdapter


class Handle:
    """What `device.open()` returns. Closing it does not unplug the dock."""

    def __init__(self, device: Device):
        self.device = device

    def getDevice(self) -> Device:
        return self.device

    def close(self) -> None:
        self.device.open_handles -= 1

    def __getattr__(self, name):
        if name in ("replug", "unplug", "reopen", "getTransfer", "getDeviceSpeed", "getVendorID", "getProductID", "getbcdDevice"):
            raise AttributeError(name)      # a real handle has no such method; ids and speed are the device's
        return getattr(self.device.dock, name)


class Device:
    def __init__(self, dock: EmulatedAdapter, bus: int = 2, ports: tuple[int, ...] = (1, 4), refuses: type | None = None):
        self.dock, self.bus, self.ports, self.refuses = dock, bus, ports, refuses
        self.address, self.open_handles, self.opened = 7, 0, 0

    def getBusNumber(self):
        return self.bus

    def getPortNumberList(self):
        return list(self.ports)

    def getDeviceAddress(self):
        return self.address

    def open(self):
        if self.refuses:
            raise self.refuses()
        self.open_handles += 1
        self.opened += 1
        return Handle(self)

    def replug(self):
        self.dock.replug()
        self.address += 1

    def __getattr__(self, name):
        return getattr(self.dock, name)


class Bus:
    """In place of `usb1.USBContext`: `monkeypatch.setattr(usb1, "USBContext", lambda: bus)`."""

    def __init__(self, *devices: Device):
        self.devices = list(devices)

    def open(self):
        return self

    def close(self):
        pass

    def getDeviceIterator(self, skip_on_error=False):
        return iter(list(self.devices))


def plug_in(monkeypatch, tmp_path, *devices: Device) -> Bus:
    from torch_usbgpu.usb import libusb
    bus = Bus(*devices)
    monkeypatch.setattr(usb1, "USBContext", lambda: bus)
    monkeypatch.setattr(libusb, "load_library", lambda: None)
    monkeypatch.setattr(libusb, "THUNDERBOLT", tmp_path / "none")
    monkeypatch.setattr(libusb.private_files.platformdirs, "user_runtime_dir", lambda name: str(tmp_path / "run"))
    return bus
