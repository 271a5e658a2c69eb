"""The real transport against a pretended bus: which device is ours, how it is opened, which error says what."""
import contextlib
import multiprocessing

import pytest
import usb1

from torch_usbgpu.errors import DeviceBusy, DeviceLost, DeviceNotFound, LinkError, PermissionDenied, WrongMode
from torch_usbgpu.usb import libusb


class Handle:
    def __init__(self, device):
        self.device, self.calls, self.closed = device, [], False

    def getProduct(self):
        return self.device.product

    def getManufacturer(self):
        return "tiny"

    def getSerialNumber(self):
        return self.device.serial

    def getDevice(self):
        return self.device

    def kernelDriverActive(self, interface):
        if self.device.kernel_driver is None:
            raise usb1.USBErrorNotSupported
        return self.device.kernel_driver

    def getConfiguration(self):
        return self.device.configuration

    def close(self):
        self.closed = True

    def __getattr__(self, name):
        if name in ("getVendorID", "getProductID", "getbcdDevice", "getDeviceSpeed"):     # the device's, not ours
            raise AttributeError(name)

        def call(*args):
            self.calls.append((name, *args))
            if name in self.device.errors:
                raise self.device.errors[name]()
        return call


class Device:
    def __init__(
        self,
        ids=(0xADD1, 1),
        product="custom v0.1",
        bus=2,
        ports=(1, 4),
        kernel_driver=False,
        configuration=1,
        serial="ffffffff",
        address=7,
        **errors,
    ):
        self.serial, self.address = serial, address
        self.ids, self.product, self.bus, self.ports = ids, product, bus, ports
        self.kernel_driver, self.configuration, self.errors = kernel_driver, configuration, errors
        self.handle = None

    def getVendorID(self):
        return self.ids[0]

    def getProductID(self):
        return self.ids[1]

    def getBusNumber(self):
        return self.bus

    def getPortNumberList(self):
        return list(self.ports)

    def getDeviceSpeed(self):
        return usb1.SPEED_SUPER

    def getbcdDevice(self):
        return 1

    def getDeviceAddress(self):
        return self.address

    def getSerialNumber(self):
        return self.serial

    def open(self):
        if "open" in self.errors:
            raise self.errors["open"]()
        self.handle = Handle(self)
        return self.handle


class Context:
    def __init__(self, *devices):
        self.devices, self.closed = devices, False

    def getDeviceIterator(self, skip_on_error=False):
        return iter(self.devices)

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def private_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(libusb.private_files.platformdirs, "user_runtime_dir", lambda name: str(tmp_path))


@pytest.fixture(autouse=True)
def no_routers(tmp_path, monkeypatch):
    monkeypatch.setattr(libusb, "THUNDERBOLT", tmp_path / "none")


KEYBOARD = Device((0x046D, 0xC31C), "Keyboard", 1, (3,))


@pytest.mark.parametrize("ids", [(0xADD1, 1), (0x3801, 1)])
def test_opening_in_order(ids):
    device = Device(ids)
    opened = libusb.open_adapter(context=Context(KEYBOARD, device))
    assert opened.label == "USB 2-1.4" and opened.firmware_dirs == ()
    assert device.handle.calls == [("claimInterface", 0), ("setInterfaceAltSetting", 0, 0)]
    assert opened.handle.getDeviceSpeed() == usb1.SPEED_SUPER
    opened.handle.close()
    assert device.handle.closed


def test_kernel_driver_and_configuration():
    device = Device(kernel_driver=True, configuration=0)
    libusb.open_adapter(context=Context(device)).handle.close()
    assert [call[0] for call in device.handle.calls] == [
        "detachKernelDriver", "resetDevice", "setConfiguration", "claimInterface", "setInterfaceAltSetting"]
    libusb.open_adapter(context=Context(Device(kernel_driver=None))).handle.close()  # systems without that call


MODES = [
    ((0xADD1, 1), "custom v0.1", "custom"), ((0x3801, 1), "custom v1.2", "custom"),
    ((0xADD1, 1), "USB 3.2 PCIe TinyEnclosure", "legacy"), ((0xADD1, 1), None, "legacy"),
    ((0x174C, 0x2463), "AS2462", "rom"), ((0x174C, 0x2464), "ASM246X", "stock"), ((0x3801, 0xB007), None, "bootstub")]


@pytest.mark.parametrize("ids, product, mode", MODES)
def test_mode(ids, product, mode, monkeypatch):
    monkeypatch.setattr(libusb, "BOOTSTUB_SECONDS", 0)
    context = Context(Device(ids, product))
    if mode in ("custom", "legacy"):
        libusb.open_adapter(context=context).handle.close()
    else:
        with pytest.raises(WrongMode) as caught:
            libusb.open_adapter(context=context)
        assert caught.value.action and "firmware" in str(caught.value) and caught.value.state["mode"] == mode
    assert context.closed


def test_a_tool_may_ask_for_other_modes():
    opened = libusb.open_adapter(context=Context(Device((0x174C, 0x2464), "ASM246X")), modes=("stock", "rom"))
    opened.handle.close()
    with pytest.raises(WrongMode):
        libusb.open_adapter(context=Context(Device((0x174C, 0x2464), "ASM246X")), modes=("rom",))


class StartingContext(Context):
    """The bootstub on a USB 2 bus; after some looks the application on a USB3 bus."""

    def __init__(self, looks, *then):
        super().__init__(Device((0x3801, 0xB007), None, 1, (4,)))
        self.looks, self.then = looks, then

    def getDeviceIterator(self, skip_on_error=False):
        self.looks -= 1
        if self.looks < 0:
            self.devices = self.then
        return iter(self.devices)


@pytest.mark.parametrize("bus_port", [None, "2-1.4"])
def test_a_dock_in_its_bootstub_is_waited_for(bus_port, monkeypatch):
    monkeypatch.setattr(libusb, "LOOK_AGAIN_SECONDS", 0.01)
    context = StartingContext(5, Device((0x3801, 1)))
    assert libusb.open_adapter(bus_port, context=context).label == "USB 2-1.4"
    assert context.looks < 0


def test_a_bootstub_that_stays_is_named(monkeypatch):
    monkeypatch.setattr(libusb, "BOOTSTUB_SECONDS", 0.05)
    monkeypatch.setattr(libusb, "LOOK_AGAIN_SECONDS", 0.01)
    with pytest.raises(WrongMode, match="bootstub"):
        libusb.open_adapter(context=StartingContext(10**6))


def test_found_again_by_serial_or_by_port(monkeypatch):
    """After a replug into another port; without a serial only the port can tell."""
    asked = []
    opened = libusb.open_adapter(context=Context(Device(serial="0123abcd")))
    assert opened.serial == "0123abcd"
    opened.handle.close()
    others = Device(bus=1, ports=(1,)), Device(bus=3, ports=(9,), serial="0123abcd", address=9)
    assert libusb.open_adapter(serial="0123abcd", context=Context(*others)).label == "USB 3-9"
    with pytest.raises(DeviceNotFound, match="0123abcd"):
        libusb.open_adapter(serial="0123abcd", context=Context(Device()))
    blank = libusb.open_adapter(context=Context(Device()))
    blank.handle.close()
    monkeypatch.setattr(libusb, "open_adapter", lambda **how: asked.append(how))
    opened.reopen(), blank.reopen()
    assert [sorted(set(how) - {"modes", "also"}) for how in asked] == [["serial"], ["bus_port"]]
    assert asked[0]["serial"] == "0123abcd" and asked[1]["bus_port"] == "2-1.4"


def test_presence_is_looked_up_on_the_bus():
    context = Context(KEYBOARD, Device())
    handle = libusb.open_adapter(context=context).handle
    assert handle.isAttached()
    context.devices = (KEYBOARD, Device(address=8))      # replugged: the same port, another address
    assert not handle.isAttached()
    handle.close()


def test_a_dock_among_the_usb4_routers_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(libusb, "THUNDERBOLT", tmp_path)
    for name, vendor, device in (("0-0", "0x8087", "Host"), ("0-1", "0x174c", "Dock")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "device_name").write_text(device + "\n")
    with pytest.raises(WrongMode, match="Thunderbolt"):
        libusb.open_adapter(context=Context(KEYBOARD))
    with pytest.raises(DeviceNotFound):         # `auto` takes the emulator then
        libusb.open_adapter(insist=False, context=Context(KEYBOARD))
    (tmp_path / "0-1" / "vendor").write_text("0x05ac\n")
    with pytest.raises(DeviceNotFound):
        libusb.open_adapter(context=Context(KEYBOARD))


def test_a_disk_enclosure_is_left_alone_unless_asked_for():
    enclosure = Device((0x174C, 0x2464), "ASM246X", 3, (2,))
    with pytest.raises(DeviceNotFound, match="3-2"):
        libusb.open_adapter(insist=False, context=Context(enclosure))
    assert enclosure.handle is None
    ours = Device(bus=4, ports=(1,))
    assert libusb.open_adapter(context=Context(enclosure, ours)).label == "USB 4-1"


def test_choice_by_port():
    devices = [Device(bus=2, ports=(1,)), Device(bus=2, ports=(2, 3))]
    opened = libusb.open_adapter("2-2.3", context=Context(*devices))
    assert opened.label == "USB 2-2.3" and devices[0].handle is None
    with pytest.raises(DeviceNotFound, match="9-9"):
        libusb.open_adapter("9-9", context=Context(*devices))


@pytest.mark.parametrize("where, usb_error, error", [
    ("open", usb1.USBErrorAccess, PermissionDenied), ("open", usb1.USBErrorNotSupported, PermissionDenied),
    ("open", usb1.USBErrorNoDevice, DeviceLost), ("claimInterface", usb1.USBErrorBusy, DeviceBusy),
    ("setInterfaceAltSetting", usb1.USBErrorIO, LinkError)])
def test_errors_are_typed(where, usb_error, error):
    context = Context(Device(**{where: usb_error}))
    with pytest.raises(error) as caught:
        libusb.open_adapter(context=context)
    assert isinstance(caught.value.__cause__, usb_error) and "add1:0001" in str(caught.value)
    assert context.closed
    with contextlib.suppress(error):  # the lock is free again
        libusb.open_adapter(context=Context(Device(**{where: usb_error})))


@pytest.mark.parametrize("platform, word", [("linux", "udev"), ("win32", "Zadig"), ("darwin", "sudo")])
def test_permission_help_fits_the_system(monkeypatch, platform, word):
    monkeypatch.setattr(libusb.sys, "platform", platform)
    with pytest.raises(PermissionDenied, match=word), libusb.translated(libusb.FoundAdapter(None, 0xADD1, 1, "1-1")):
        raise usb1.USBErrorAccess


def test_the_udev_rule_keeps_the_dock_awake_and_is_not_for_everybody():
    text = libusb.permission_action((0x3801, 1), "linux")
    assert 'ATTR{idVendor}=="3801", ATTR{idProduct}=="0001"' in text and 'ATTR{power/control}="on"' in text
    assert "uaccess" in text and "0666" not in text and libusb.UDEV_FILE in text


@pytest.mark.parametrize("before, may_sleep", [("auto", False), ("on", False), (None, False), ("locked", True)])
def test_autosuspend_is_forbidden_where_we_may(monkeypatch, tmp_path, before, may_sleep):
    monkeypatch.setattr(libusb, "SYSFS", tmp_path)
    monkeypatch.setattr(libusb.sys, "platform", "linux")
    control = tmp_path / "2-1.4" / "power" / "control"
    control.parent.mkdir(parents=True)
    if before == "locked":
        control.mkdir()                 # not even root can write there
    elif before:
        control.write_text(f"{before}\n")
    assert libusb.open_adapter(context=Context(Device())).may_sleep == may_sleep
    if control.is_file():
        assert control.read_text().strip() == "on"


def _hold(directory, ready, go):
    libusb.private_files.platformdirs.user_runtime_dir = lambda name: directory
    with libusb.adapter_lock("2-1.4"):
        ready.set()
        go.wait(20)


def test_one_process_per_adapter(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready, go))
    process.start()
    try:
        assert ready.wait(20)
        with pytest.raises(DeviceBusy, match=f"Process {process.pid} uses") as caught:
            libusb.open_adapter(context=Context(Device()))
        assert caught.value.state["pid"] == process.pid
        with libusb.adapter_lock("2-1.5"):
            pass
    finally:
        go.set()
        process.join(20)
    with libusb.adapter_lock("2-1.4"):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready, go))
    process.start()
    assert ready.wait(20)
    process.kill()
    process.join(20)
    with libusb.adapter_lock("2-1.4"):
        pass


def test_this_process_has_it_already():
    with libusb.adapter_lock("2-1.4"), pytest.raises(DeviceBusy, match="This process"):
        libusb.open_adapter(context=Context(Device()))


def test_the_wheels_library_loads():
    libusb.load_library()
    assert usb1.getVersion().major == 1
