"""SCSI over mass storage: what goes over the wire, and every way in which a command can end."""
from __future__ import annotations

import struct

import pytest
import usb1

from torch_usbgpu import errors
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.usb.scsi import Bot, Command, describe_sense

READ = bytes([0xE4, 8, 0x50, 0xF0, 0, 0])
SENSE = bytes([0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0, 0, 0])


def csw(tag: int, status: int = 0, residue: int = 0, signature: bytes = b"USBS") -> bytes:
    return struct.pack("<4sIIB", signature, tag, residue, status)


class Pipe:
    """Two bulk pipes with scripted answers; what was sent is kept."""

    def __init__(self, *answers, out=()):
        self.answers, self.out_errors = list(answers), dict(out)
        self.sent, self.log = [], []

    def controlWrite(self, request_type, request, value, index, data, timeout=0):
        self.log.append(("control", request_type, request))
        return len(data)

    def controlRead(self, request_type, request, value, index, length, timeout=0):
        self.log.append(("ask", request_type, request))
        return bytes(length)

    def bulkWrite(self, endpoint, data, timeout=0):
        assert endpoint == 0x02 and timeout > 0
        self.sent.append(bytes(data))
        error = self.out_errors.pop(len(self.sent) - 1, None)
        if isinstance(error, Exception):
            raise error
        return len(data) if error is None else error

    def bulkRead(self, endpoint, length, timeout=0):
        assert endpoint == 0x81 and timeout > 0
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer[:length]

    def clearHalt(self, endpoint):
        self.log.append(("clear_halt", endpoint))

    def setInterfaceAltSetting(self, interface, setting):
        self.log.append(("alt", setting))


def run(pipe, *arguments, **options):
    return Bot(pipe).command(*arguments, **options)


def test_a_read_on_the_wire():
    pipe = Pipe(b"12345678", csw(1))
    assert run(pipe, READ, length_in=8) == b"12345678"
    assert pipe.sent == [struct.pack("<4sIIBBB", b"USBC", 1, 8, 0x80, 0, 6) + READ + bytes(10)]
    assert pipe.log == [("alt", 0)]


def test_a_write_on_the_wire():
    pipe = Pipe(csw(1), csw(2))
    bot = Bot(pipe)
    assert bot.command(bytes([0xE1, 0x50, 1]) + bytes(12), bytes(128)) == b""
    assert pipe.sent[0] == struct.pack("<4sIIBBB", b"USBC", 1, 128, 0, 0, 15) + b"\xE1\x50\x01" + bytes(13)
    assert pipe.sent[1] == bytes(128)
    bot.command(bytes(6))
    assert pipe.sent[2][4:13] == struct.pack("<IIB", 2, 0, 0) and len(pipe.sent) == 3
    assert bot.stats.bulk_out == 3 and bot.stats.bulk_in == 2 and bot.stats.by_request["scsi_e1"] == 1


def test_less_data_than_asked_for_is_what_the_command_has():
    assert run(Pipe(b"123", csw(1, residue=5)), READ, length_in=8) == b"123"
    # a device may pad up to the announced length, and says how much of it counts
    assert run(Pipe(b"12345678", csw(1, residue=6)), READ, length_in=8) == b"12"


def test_a_halt_ends_the_data_phase_and_the_status_follows():
    pipe = Pipe(usb1.USBErrorPipe(), csw(1, residue=8))
    assert run(pipe, READ, length_in=8) == b""
    assert ("clear_halt", 0x81) in pipe.log
    pipe = Pipe(csw(1, 1, 512), SENSE, csw(2), out={1: usb1.USBErrorPipe()})
    with pytest.raises(errors.CommandFailed):
        run(pipe, bytes([0x8A]) + bytes(15), bytes(512))
    assert ("clear_halt", 0x02) in pipe.log


def test_a_halt_instead_of_the_status_is_read_again():
    pipe = Pipe(b"12345678", usb1.USBErrorPipe(), csw(1))
    assert run(pipe, READ, length_in=8) == b"12345678"
    assert pipe.log == [("alt", 0), ("clear_halt", 0x81)]


def test_a_refused_command_says_why():
    with pytest.raises(errors.CommandFailed) as caught:
        run(Pipe(b"", csw(1, 1, 8), SENSE, csw(2)), READ, length_in=8)
    assert caught.value.state == {"command": "e4 08 50 f0 00 00", "sense_key": "0x5", "sense_code": "24/00"}
    assert caught.value.code == "USBGPU-110"


def test_a_refused_command_without_sense_data():
    pipe = Pipe(b"", csw(1, 1, 8), usb1.USBErrorTimeout())      # a ROM that knows no REQUEST SENSE
    with pytest.raises(errors.CommandFailed) as caught:
        run(pipe, READ, length_in=8)
    assert "sense_key" not in caught.value.state
    assert ("control", 0x21, 0xFF) in pipe.log


@pytest.mark.parametrize("answers, found", [
    ([b"12345678", csw(9)], "not that of the command"), ([b"12345678", csw(1, signature=b"USBX")], "not that of"),
    ([b"12345678", b"USBS"], "wrong size"), ([b"12345678", csw(1, status=2)], "phase error"),
    ([usb1.USBErrorTimeout()], "in time"), ([b"12345678", usb1.USBErrorPipe(), usb1.USBErrorPipe()], "failed"),
    ([usb1.USBErrorOverflow()], "failed")])
def test_out_of_step_resets_the_transport(answers, found):
    pipe = Pipe(*answers, b"abcdefgh", csw(2))
    bot = Bot(pipe)
    with pytest.raises(errors.LinkError, match=found) as caught:
        bot.command(READ, length_in=8)
    assert not isinstance(caught.value, (errors.DeviceLost, errors.CommandFailed))
    assert pipe.log[-3:] == [("control", 0x21, 0xFF), ("clear_halt", 0x81), ("clear_halt", 0x02)]
    assert bot.command(READ, length_in=8) == b"abcdefgh"


def test_data_that_went_out_in_part_is_not_a_success():
    pipe = Pipe(csw(1), out={1: 100})
    with pytest.raises(errors.LinkError, match="only in part"):
        run(pipe, bytes(10), bytes(512))
    assert ("control", 0x21, 0xFF) in pipe.log      # the transport is reset: the device waits for the rest


def test_unplugged_is_not_reset():
    pipe = Pipe(usb1.USBErrorNoDevice())
    with pytest.raises(errors.DeviceLost):
        run(pipe, READ, length_in=8)
    assert pipe.log == [("alt", 0)]


def test_nonsense_is_refused_before_it_is_sent():
    pipe = Pipe()
    for cdb, data, length in ((b"", b"", 0), (bytes(17), b"", 0), (bytes(6), b"x", 4)):
        with pytest.raises(ValueError):
            run(pipe, cdb, data, length)
    assert not pipe.sent


def test_sense_of_other_formats_is_left_out():
    assert describe_sense(b"") == {} and describe_sense(bytes([0x72]) + bytes(20)) == {}


@pytest.mark.parametrize("firmware", ["rom", "stock", "legacy"])
def test_flash_commands_of_the_emulated_dock(firmware):
    handle = EmulatedAdapter("probe", firmware=firmware, strict=True)
    bot = Bot(handle)
    block = bot.command(bytes([0xE0, 0x50, 0]) + bytes(12), length_in=128)
    assert len(block) == 128 and block[0x7E] == (0xFF if firmware == "rom" else 0x5A)     # the ROM's flash is blank
    bot.run([Command(bytes([0xE1, 0x50, 1]) + bytes(12), block), Command(bytes([0x1B]) + bytes(5))])
    assert bot.command(bytes([0xE0, 0x50, 1]) + bytes(12), length_in=128) == block
    with pytest.raises(errors.CommandFailed):
        bot.command(bytes([0xE0, 0x50, 7]) + bytes(12), length_in=128)      # there are two blocks
    assert bot.command(bytes([0xE0, 0x50, 0]) + bytes(12), length_in=128) == block
    assert not handle.violations
    handle.close()
