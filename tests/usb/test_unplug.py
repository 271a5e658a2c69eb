"""Unplugging looks different on every system; it must always end in DeviceLost, and nothing else must."""
from __future__ import annotations

import time

import pytest
import usb1

from torch_usbgpu import errors
from torch_usbgpu.usb import Adapter
from torch_usbgpu.usb.scsi import Bot

AMBIGUOUS = [usb1.USBErrorIO, usb1.USBErrorPipe, usb1.USBErrorNotFound, usb1.USBErrorOther, usb1.USBErrorInterrupted]


class Port:
    """Fails the first transfer with `first`, the question after it with `then` (None: it is answered)."""

    def __init__(self, first, then, attached=None):
        self.errors, self.asked = [first], 0
        self.then = then
        if attached is not None:
            self.isAttached = lambda: attached[min(self.asked, len(attached) - 1)]

    def controlRead(self, request_type, request, value, index, length, timeout=0):
        if self.errors:
            raise self.errors.pop()()
        self.asked += 1
        assert 0 < timeout < 1000, "a question must not take long"
        if self.then is not None:
            raise self.then()
        return bytes(length)

    def bulkWrite(self, endpoint, data, timeout=0):
        raise self.errors.pop()()

    def setInterfaceAltSetting(self, interface, setting):
        pass

    def controlWrite(self, *_arguments, timeout=0):
        return 0

    def clearHalt(self, endpoint):
        pass


@pytest.mark.parametrize("first", AMBIGUOUS)
def test_the_device_answers_for_itself(first):
    """The same error, with the device there and with it gone: a handle of four methods is enough to tell."""
    with pytest.raises(errors.LinkError) as there:
        Adapter(Port(first, None)).read_xdata(0, 1)
    assert type(there.value) is errors.LinkError
    with pytest.raises(errors.DeviceLost) as gone:
        Adapter(Port(first, usb1.USBErrorNoDevice)).read_xdata(0, 1)
    assert first.__name__ in str(gone.value) and isinstance(gone.value.__cause__, first)


@pytest.mark.parametrize("first", AMBIGUOUS)
def test_the_bus_is_asked_where_it_can_be(first):
    """macOS and Windows may go on reporting such an error for ever."""
    with pytest.raises(errors.DeviceLost):
        Adapter(Port(first, first, attached=[False])).read_xdata(0, 1)
    port = Port(first, first, attached=[True, True, False])      # the hub notices a moment later
    with pytest.raises(errors.DeviceLost):
        Adapter(port).read_xdata(0, 1)
    assert port.asked == 2


def test_nothing_works_but_the_bus_still_shows_it():
    started = time.monotonic()
    with pytest.raises(errors.LinkError) as caught:
        Adapter(Port(usb1.USBErrorIO, usb1.USBErrorIO, attached=[True])).read_xdata(0, 1)
    assert type(caught.value) is errors.LinkError and time.monotonic() - started < 10
    with pytest.raises(errors.DeviceLost):      # nobody can say, and nothing is answered
        Adapter(Port(usb1.USBErrorIO, usb1.USBErrorIO)).read_xdata(0, 1)


def test_a_silent_device_is_there():
    with pytest.raises(errors.LinkError) as caught:
        Adapter(Port(usb1.USBErrorPipe, usb1.USBErrorTimeout)).read_xdata(0, 1)
    assert type(caught.value) is errors.LinkError


def test_no_question_where_there_is_no_doubt():
    port = Port(usb1.USBErrorNoDevice, None)
    with pytest.raises(errors.DeviceLost):
        Adapter(port).read_xdata(0, 1)
    assert port.asked == 0
    port = Port(usb1.USBErrorTimeout, None)
    with pytest.raises(errors.LinkTimeout):
        Adapter(port).read_xdata(0, 1)
    assert port.asked == 0


def test_mass_storage_is_asked_for_its_descriptor():
    with pytest.raises(errors.DeviceLost):
        Bot(Port(usb1.USBErrorIO, usb1.USBErrorNoDevice)).command(bytes(6))
    with pytest.raises(errors.LinkError) as caught:
        Bot(Port(usb1.USBErrorIO, None)).command(bytes(6))
    assert type(caught.value) is errors.LinkError
