"""ASMedia's own firmwares: stock, patched ("legacy") and the mask ROM, over bulk-only and UAS (sheet section 5, 6.1)."""
import os
import struct
import time
import zlib

import pytest
import usb1

from torch_usbgpu.emulator import EmulatedAdapter, ProtocolViolation

from .scsi_wire import (
    COMMAND,
    DATA_IN,
    DATA_OUT,
    START_UP,
    STATUS,
    BulkOnlyWire,
    Command,
    CommandFailed,
    LegacyDriver,
    UasWire,
    read_xdata,
    write_xdata,
)
from .wire import REGISTERS, SRAM, VRAM, Wire

COMPLETION_PAGE = 0x82_8000  # where ASMedia's code puts it
TRANSPORTS = {
    "bulk-only": BulkOnlyWire,
    "uas": UasWire,
    "uas-submitted-backwards": lambda usb: UasWire(usb, reverse=True),
}
INQUIRY = Command(bytes([0x12, 0, 0, 0, 36, 0]), 36)


@pytest.fixture(params=TRANSPORTS, ids=str)
def legacy(request):
    usb = EmulatedAdapter("probe", firmware="legacy")
    yield LegacyDriver(TRANSPORTS[request.param](usb))
    usb.close()


def test_xdata_and_link(legacy):
    assert legacy.read(0xB450, 1) == b"\x48"
    legacy.write(0x1234, b"abc")
    assert legacy.read(0x1234, 3) == b"abc"
    legacy.write(0x1_2000, b"\x5A")  # the PHY plane
    assert legacy.read(0x1_2000, 1) == b"\x5A" and legacy.read(0x2000, 1) == b"\0"
    assert legacy.read(0xB26E, 2) == b"\x08\x28" and legacy.read(0xB266, 2) == b"\x08\x08"


def test_bridges_memory_and_dma(legacy):
    legacy.bring_up(VRAM, REGISTERS)
    assert legacy.config(4, 0) == 0x744C1002
    with pytest.raises(CommandFailed):
        legacy.config(9, 0)
    legacy.write32(VRAM + 8, 0xCAFEF00D)
    assert legacy.read32(VRAM + 8) == 0xCAFEF00D
    assert legacy.tlp(0x20, VRAM + 9, size=2) == 0xFEF0
    legacy.tlp(0x60, VRAM + 11, 0x11, size=1)
    assert legacy.read32(VRAM + 8) == 0x11FEF00D
    for register, value in ((0x00, SRAM), (0x04, 0), (0x08, 8), (0x0C, 4), (0x10, 1)):  # copy VRAM to the SRAM
        legacy.write32(REGISTERS + register, value)
    assert legacy.read(0xF000, 4) == b"\x0D\xF0\xFE\x11"
    for register, value in ((0x00, 0x82_0800), (0x14, 0x1234), (0x10, 3)):  # a signal
        legacy.write32(REGISTERS + register, value)
    assert legacy.read(0xA800, 4) == b"\x34\x12\0\0"


@pytest.mark.parametrize("nbytes", [512, 1000, 0x4000, 0x4001, 0x10000, 0x30000, 0x80000])
def test_sram_writes_start_at_its_first_slot_every_time(legacy, nbytes):
    legacy.bring_up(VRAM, REGISTERS)
    for _ in range(2):
        data = os.urandom(nbytes)
        legacy.sram_write(data)
        assert legacy.read(0xF000, 512) == data[:512].ljust(512, b"\0")
        for register, value in ((0x00, SRAM + (nbytes - 4 & ~3)), (0x04, 0), (0x08, 0), (0x0C, 4), (0x10, 2)):
            legacy.write32(REGISTERS + register, value)
        tail = data[nbytes - 4 & ~3:][:4].ljust(4, b"\0")
        assert legacy.read32(VRAM) == int.from_bytes(tail, "little")


def test_long_commands_move_the_slot_pointer_until_it_is_cleared():
    usb = EmulatedAdapter("probe", firmware="legacy")
    driver = LegacyDriver(BulkOnlyWire(usb))

    def write(data, clear=True):
        cdb = struct.pack(">BBQIBB", 0x8A, 0, 77, len(data) // 512, 0, 0)  # the block address means nothing
        driver.wire.run(Command(cdb, send=data))
        if clear:
            driver.write(0x171, b"\xFF" * 3)
            driver.write(0xCE6E, b"\0\0")

    write(b"1" * 0x10000)
    write(b"2" * 0x10000)
    assert driver.read(0xF000, 4) == b"1111"
    driver.write(0xCE40, bytes(4))
    write(b"3" * 0x10000)
    driver.write(0xCE40, bytes(4))
    assert driver.read(0xF000, 4) == b"3333"
    write(b"4" * 512, clear=False)
    write(b"5" * 512)  # behind the first: its slots had not been given back
    assert driver.read(0xF000, 4) == b"4444" and ("write-slots-busy" in dict(usb.violations))


def test_writes_need_the_start_up_writes():
    usb = EmulatedAdapter("probe", firmware="legacy")
    wire = BulkOnlyWire(usb)
    write = Command(struct.pack(">BBQIBB", 0x8A, 0, 0, 1, 0, 0), send=bytes(512))
    for missing in (None, 0, 3, 9):
        for i, pair in enumerate(START_UP):
            wire.run(write_xdata(pair[0], 0xEE if i == missing or missing is None else pair[1]))
        with pytest.raises(CommandFailed):
            wire.run(write)
    wire.run(*(write_xdata(*pair) for pair in START_UP), write)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("firmware, vendor, name", [("stock", b"ASMedia ", b"ASM246X"), ("legacy", b"tiny    ", b"USB 3.2 PCIe Tin")])
def test_it_is_a_disk_without_a_medium(firmware, vendor, name, transport):
    wire = TRANSPORTS[transport](EmulatedAdapter("probe", firmware=firmware))
    [answer] = wire.run(INQUIRY)
    assert answer[8:16] == vendor and answer[16:32].startswith(name) and answer[0] == 0
    assert wire.run(Command(bytes([0xA0]) + bytes(5) + struct.pack(">I", 16) + bytes(2), 16)) == [
        bytes([0, 0, 0, 8]) + bytes(12)]
    for cdb, receive in ((bytes(6), 0), (bytes([0x25]) + bytes(9), 8), (bytes([0x28]) + bytes(9), 512)):
        with pytest.raises((CommandFailed, usb1.USBErrorPipe)):
            wire.run(Command(cdb, receive))
        if isinstance(wire, BulkOnlyWire) and receive:  # nothing to send: the pipe halts, then comes the status
            wire.usb.clearHalt(DATA_IN)
            assert wire.usb.bulkRead(DATA_IN, 13, 100)[12] == 1
    if isinstance(wire, BulkOnlyWire):
        with pytest.raises(CommandFailed):
            wire.run(Command(bytes(6)))
        [sense] = wire.run(Command(bytes([3, 0, 0, 0, 18, 0]), 18))
        assert (sense[2] & 15, sense[12]) == (2, 0x3A)


def test_stock_firmware_refuses_writes_even_with_the_start_up():
    wire = BulkOnlyWire(EmulatedAdapter("probe", firmware="stock"))
    LegacyDriver(wire)
    with pytest.raises(CommandFailed):
        wire.run(Command(struct.pack(">BBQIBB", 0x8A, 0, 0, 1, 0, 0), send=bytes(512)))
    assert wire.run(read_xdata(0xB450, 1)) == [b"\x48"]


@pytest.mark.parametrize("firmware", ["stock", "legacy", "rom"])
def test_standard_requests(firmware):
    usb = EmulatedAdapter("probe", firmware=firmware)
    assert usb.controlRead(0x80, 0, 0, 0, 2, 100) == b"\1\0"   # GET_STATUS: self powered
    assert usb.controlRead(0x80, 8, 0, 0, 1, 100) == b"\1"     # GET_CONFIGURATION
    assert usb.controlRead(0x81, 10, 0, 0, 1, 100) == b"\0"    # GET_INTERFACE
    assert usb.controlRead(0xA1, 0xFE, 0, 0, 1, 100) == b"\0"  # one logical unit
    assert usb.getConfigurationDescriptor()[14:17] == bytes([8, 6, 0x50])
    for request_type, request in ((0xC0, 0xE4), (0x80, 0x77)):
        with pytest.raises(usb1.USBErrorPipe):
            usb.controlRead(request_type, request, 0, 0, 1, 100)
    with pytest.raises(usb1.USBErrorPipe):
        usb.controlWrite(0x40, 0xF3, 1, 0, b"", 100)


def test_kernel_driver():
    usb = EmulatedAdapter("probe", firmware="legacy")
    assert usb.kernelDriverActive(0)
    with pytest.raises(usb1.USBErrorBusy):
        usb.claimInterface(0)
    usb.detachKernelDriver(0)
    assert not usb.kernelDriverActive(0)
    usb.claimInterface(0)
    with pytest.raises(usb1.USBErrorNotFound):
        usb.detachKernelDriver(0)
    assert not EmulatedAdapter("probe").kernelDriverActive(0)


@pytest.mark.parametrize("wrapper", [b"", b"USBC", bytes(31), b"USBD" + bytes(27), b"USBC" + bytes(28)])
def test_bulk_only_wrapper_that_is_none(wrapper):
    """Both pipes halt until the class reset."""
    usb = BulkOnlyWire(EmulatedAdapter("probe", firmware="legacy")).usb
    with pytest.raises(usb1.USBErrorPipe):
        usb.bulkWrite(DATA_OUT, wrapper, 100)
    usb.clearHalt(DATA_OUT)
    with pytest.raises(usb1.USBErrorPipe):
        usb.bulkRead(DATA_IN, 13, 100)
    usb.controlWrite(0x21, 0xFF, 0, 0, b"", 100)
    usb.clearHalt(DATA_OUT)
    usb.clearHalt(DATA_IN)
    assert BulkOnlyWire(usb).run(INQUIRY)[0][8:12] == b"tiny"


@pytest.mark.parametrize("receive, residue", [(64, 28), (1024, 988)])
def test_bulk_only_residue(receive, residue):
    usb = BulkOnlyWire(EmulatedAdapter("probe", firmware="legacy")).usb
    usb.bulkWrite(DATA_OUT, struct.pack("<IIIBBB", 0x43425355, 9, receive, 0x80, 0, 6) + INQUIRY.cdb.ljust(16, b"\0"))
    assert len(usb.bulkRead(DATA_IN, receive, 100)) == 36
    assert struct.unpack("<IIIB", usb.bulkRead(DATA_IN, 13, 100)) == (0x53425355, 9, residue, 0)


def test_prefix_is_required():
    wire = BulkOnlyWire(EmulatedAdapter("probe", firmware="legacy"))
    with pytest.raises(CommandFailed):
        wire.run(Command(struct.pack(">BBBHB", 0xE5, 1, 0x00, 0x1234, 0)))
    assert wire.run(read_xdata(0x1234, 1)) == [b"\0"]


def test_streams_wait_for_their_partners():
    """A status without a command waits; a command's data and status come on its own stream only."""
    usb = EmulatedAdapter("probe", firmware="legacy")
    wire = UasWire(usb)
    assert wire.streams == 31
    status = usb.getTransfer()
    status.setBulkStream(STATUS, 7, 64, timeout=80)
    status.submit()
    time.sleep(0.03)
    assert status.isSubmitted() and status.getStreamID() == 7
    assert wire.run(read_xdata(0xB450, 1)) == [b"\x48"]  # on stream 1
    deadline = time.monotonic() + 20
    while status.isSubmitted() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert status.getStatus() == usb1.TRANSFER_TIMED_OUT
    for stream, error in ((32, usb1.USBErrorInvalidParam), (99, usb1.USBErrorInvalidParam)):
        status.setBulkStream(STATUS, stream, 64, timeout=50)
        with pytest.raises(error):
            status.submit()


@pytest.mark.parametrize("end", ["cancel", "alternate", "unplug", "close"])
def test_what_ends_a_waiting_stream(end):
    usb = EmulatedAdapter("probe", firmware="legacy")
    UasWire(usb)
    status = usb.getTransfer()
    status.setBulkStream(STATUS, 3, 64)
    status.submit()
    time.sleep(0.03)
    {"cancel": status.cancel, "alternate": lambda: usb.setInterfaceAltSetting(0, 0), "unplug": usb.unplug,
     "close": usb.close}[end]()
    deadline = time.monotonic() + 20
    while status.isSubmitted() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert status.getStatus() == (usb1.TRANSFER_NO_DEVICE if end == "unplug" else usb1.TRANSFER_CANCELLED)


@pytest.mark.parametrize("unit, code", [(bytes([1, 0, 0, 0]) + bytes(28), None), (bytes([9, 0, 0, 5]) + bytes(28), 2),
                                        (bytes([1, 0, 0, 5]) + bytes(4), 2), (bytes([5, 0, 0, 5]) + bytes(12), 0)])
def test_uas_units_that_are_no_commands(unit, code):
    usb = EmulatedAdapter("probe", firmware="legacy")
    wire = UasWire(usb)
    usb.bulkWrite(COMMAND, unit, 200)
    if code is not None:
        status = usb.getTransfer()
        status.setBulkStream(STATUS, 5, 64, timeout=500)
        status.submit()
        while status.isSubmitted():
            time.sleep(0.002)
        assert bytes(status.getBuffer()[:8]) == bytes([4, 0, 0, 5, 0, 0, 0, code])
    assert wire.run(INQUIRY)[0][8:12] == b"tiny"


def test_uas_without_streams_at_high_speed():
    """USB 2: the status pipe says whose data comes next."""
    usb = EmulatedAdapter("probe", firmware="legacy", usb="high")
    usb.detachKernelDriver(0)
    usb.setInterfaceAltSetting(0, 1)
    with pytest.raises(usb1.USBErrorInvalidParam):
        usb.allocStreams(31, [DATA_IN])
    usb.bulkWrite(COMMAND, bytes([1, 0, 0, 1]) + bytes(12) + INQUIRY.cdb.ljust(16, b"\0"), 200)
    assert usb.bulkRead(STATUS, 64, 200) == bytes([6, 0, 0, 1])
    assert usb.bulkRead(DATA_IN, 36, 200)[8:12] == b"tiny"
    assert usb.bulkRead(STATUS, 64, 200)[:8] == bytes([3, 0, 0, 1, 0, 0, 0, 0])
    usb.close()


def test_strict_mode_names_what_it_sees():
    usb = EmulatedAdapter("probe", firmware="legacy", strict=3)
    wire = BulkOnlyWire(usb)
    with pytest.raises(ProtocolViolation, match="unknown-command"):
        wire.run(Command(bytes([0xC7])))
    usb.controlWrite(0x21, 0xFF, 0, 0, b"", 100)
    assert wire.run(INQUIRY)
    with pytest.raises(ProtocolViolation, match="command-prefix"):
        wire.run(Command(bytes([0xE5, 1, 0, 0, 0, 0])))


def test_tlps_on_a_dead_link(legacy):
    legacy.bring_up(VRAM, REGISTERS)
    legacy.write(0xB480, b"\1")  # PERST#
    legacy.shadow.clear()
    legacy.wire.run(write_xdata(0xB210, 0x20), write_xdata(0xB254, 0x0F), write_xdata(0xB296, 0x07),
                    write_xdata(0xB254, 0x0F))
    assert not legacy.read(0xB296, 1)[0] & 2  # no completion, and nobody hangs
    legacy.write(0xB480, b"\0")
    assert legacy.read(0xB450, 1) == b"\x48"


# --- flashing (6.1, 6.2) -------------------------------------------------------------------------------------------------

def wrap(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body + b"\xA5" + bytes([sum(body) & 255]) + struct.pack("<I", zlib.crc32(body))


def config_block(magic: int, **fields: bytes) -> bytes:
    block = bytearray(b"\xFF" * 128)
    for at, content in fields.values():
        block[at:at + len(content)] = content
    block[0x7E] = magic
    block[0x7F] = sum(block[4:0x7F]) & 255
    return bytes(block)


CONFIG = [config_block(0x5A, serial=(4, b"AAAABBBB0060"), maker=(0x18, b"tiny"), product=(0x44, b"USB 3.2 PCIe TinyEnclosure"),
                       ids=(0x74, struct.pack("<HHH", 0xADD1, 1, 0x100))), config_block(0xA5, name=(4, b"vendor"))]


def stock_body(patched: bool) -> bytes:
    body = bytearray(os.urandom(98_006))
    body[0x2A12 - 4] = 0x05 if patched else 0x0A
    return bytes(body)


def custom_body(vendor: int = 0xADD1) -> bytes:
    device = bytes([18, 1, 0, 2, 0, 0, 0, 64]) + struct.pack("<HHH", vendor, 1, 1) + bytes([1, 2, 3, 1])
    return b"\x02" * 777 + device + b"\x02" * 33 + b"custom v0.9\0" + b"\x02" * 5000


def flash(wire: BulkOnlyWire, image: bytes, config=None) -> None:
    for number, block in enumerate(config or CONFIG):
        wire.run(Command(bytes([0xE1, 0x50, number]).ljust(15, b"\0"), send=block))
    parts = image[:0xFF00], image[0xFF00:]
    for second, part in enumerate(parts):
        wire.run(Command(struct.pack(">BBI", 0xE3, 0xD0 if second else 0x50, len(part)), send=part))
    wire.run(Command(bytes([0xE8, 0x51]).ljust(15, b"\0")))


@pytest.mark.parametrize("source", ["rom", "stock", "legacy"])
@pytest.mark.parametrize("body, identity", [
    (stock_body(True), (0xADD1, 1, "USB 3.2 PCIe TinyEnclosure")), (custom_body(), (0xADD1, 1, "custom v0.9")),
    (custom_body(0x3801), (0x3801, 1, "custom v0.9")), (stock_body(False), (0xADD1, 1, "USB 3.2 PCIe TinyEnclosure"))],
    ids=["legacy", "custom", "custom-2026-08", "stock"])
def test_flashed_firmware_runs_after_the_replug(source, body, identity):
    usb = EmulatedAdapter("probe", firmware=source)
    before = usb.getProduct()
    wire = BulkOnlyWire(usb)
    image = wrap(body)
    flash(wire, image)
    assert usb.getProduct() == before
    assert wire.run(Command(bytes([0xE0, 0x50, 0]).ljust(15, b"\0"), 128)) == [CONFIG[0]]
    [first] = wire.run(Command(struct.pack(">BBI", 0xE2, 0x50, min(len(image), 0xFF00)), min(len(image), 0xFF00)))
    assert first == image[:0xFF00]
    if len(image) > 0xFF00:
        [second] = wire.run(Command(struct.pack(">BBI", 0xE2, 0xD0, len(image) - 0xFF00), len(image) - 0xFF00))
        assert second == image[0xFF00:]
    usb.replug()
    assert (usb.getVendorID(), usb.getProductID(), usb.getProduct()) == identity
    if b"custom" in body:
        wire = Wire.__new__(Wire)
        wire.usb = usb
        wire.power(True)
        wire.bring_up().stream_write(VRAM, b"flashed!")
        assert wire.stream_read(VRAM, 8) == b"flashed!"
    else:
        assert usb.getSerialNumber() == "AAAABBBB0060"
        driver = LegacyDriver(BulkOnlyWire(usb))
        if body[0x2A12 - 4] == 5:
            driver.sram_write(b"works" * 100)
            assert driver.read(0xF000, 5) == b"works"
        else:
            with pytest.raises(CommandFailed):
                driver.sram_write(b"works" * 100)
    usb.reset()
    assert usb.getProduct() == before  # a board as new


@pytest.mark.parametrize("damage", [0, 3, 700, -6, -5, -1])
def test_a_damaged_image_leaves_the_rom(damage):
    usb = EmulatedAdapter("probe", firmware="legacy")
    image = bytearray(wrap(custom_body()))
    image[damage] ^= 0x40
    flash(BulkOnlyWire(usb), bytes(image))
    usb.replug()
    assert (usb.getVendorID(), usb.getProductID(), usb.getProduct()) == (0x174C, 0x2463, "AS2462")
    flash(BulkOnlyWire(usb), wrap(custom_body()))  # and from there it can be repaired
    usb.replug()
    assert usb.getProduct() == "custom v0.9"


@pytest.mark.parametrize("command, length, accepted", [
    (0xE2, 0x1_0000, True), (0xE2, 0x1_0001, False), (0xE3, 0xFF00, True), (0xE3, 0xFF01, False)])
@pytest.mark.parametrize("part", [0x50, 0xD0, 0x51, 0xD1])
def test_how_much_a_flash_command_takes(command, length, accepted, part):
    """As in the code of ASMedia's firmware 231204_85_00_00; the second part of a write may be longer."""
    wire = BulkOnlyWire(EmulatedAdapter("probe", firmware="stock"))
    accepted |= command == 0xE3 and bool(part & 0x80)
    cdb = struct.pack(">BBI", command, part, length)
    data = os.urandom(length)
    todo = Command(cdb, send=data) if command == 0xE3 else Command(cdb, length)
    if not accepted:
        with pytest.raises((CommandFailed, usb1.USBErrorPipe)):
            wire.run(todo)
        return
    answer = wire.run(todo)
    if command == 0xE3:
        [back] = wire.run(Command(struct.pack(">BBI", 0xE2, part, length), length))
        assert back == data
    else:
        assert len(answer[0]) == length


def test_the_second_half_of_the_flash_is_another_copy():
    wire = BulkOnlyWire(EmulatedAdapter("probe", firmware="stock"))
    [image] = wire.run(Command(struct.pack(">BBI", 0xE2, 0x50, 4), 4))
    for cdb in (struct.pack(">BBI", 0xE2, 0x51, 4), bytes([0xE0, 0x51, 0]).ljust(15, b"\0")):
        assert set(wire.run(Command(cdb, 128 if cdb[0] == 0xE0 else 4))[0]) == {0xFF} != set(image)


def test_a_flash_file_outlives_the_dock(tmp_path):
    file = tmp_path / "dock.flash"
    first = EmulatedAdapter("probe", firmware="stock", flash=file)
    flash(BulkOnlyWire(first), wrap(custom_body()))
    assert first.getProduct() == "ASM246X"  # no replug, so it still runs
    first.close()
    del first
    assert file.stat().st_size == 512 << 10
    second = EmulatedAdapter("probe", firmware="stock", flash=file)
    assert second.getProduct() == "custom v0.9"
    second.reset()
    assert second.getProduct() == "custom v0.9"
    file.write_bytes(b"short")
    with pytest.raises(ValueError, match="has 5 bytes"):
        EmulatedAdapter("probe", flash=file)

def test_the_rom_speaks_bulk_only_alone():
    usb = EmulatedAdapter("probe", firmware="rom")
    with pytest.raises(usb1.USBErrorNotFound):
        usb.setInterfaceAltSetting(0, 1)
    wire = BulkOnlyWire(usb)
    assert wire.run(INQUIRY)[0][16:22] == b"AS2462"
    with pytest.raises(CommandFailed):
        wire.run(write_xdata(0x1000, 1))


def spi(wire: Wire, command: int, address: int = 0, count: int = 0, with_address: bool = True, write: bool = False) -> None:
    for register, value in ((0xC8AD, int(write)), (0xC8AA, command), (0xC8AC, 7 if with_address else 4),
                            (0xC8A1, address & 255), (0xC8A2, address >> 8 & 255), (0xC8AB, address >> 16),
                            (0xC8A3, count >> 8), (0xC8A4, count & 255), (0xC8A9, 1)):
        wire.poke(register, value)
    assert not wire.read(0xC8A9)[0] & 1


def test_flashing_through_the_custom_firmware():
    """The SPI controller by 0xE5, its buffer at 0x7000 filled by a bulk OUT that 0x9094 arms (6.4)."""
    wire = Wire()

    def load(data):
        wire.poke(0x9094, 0x10)
        assert wire.usb.bulkWrite(2, data, 500) == len(data)

    spi(wire, 0x9F, count=3, with_address=False)
    assert wire.read(0x7000, 3) == bytes(3)  # not before the controller is enabled
    wire.poke(0xCA81, 1)
    spi(wire, 0x9F, count=3, with_address=False)
    assert wire.read(0x7000, 3) != bytes(3)
    spi(wire, 0x06, with_address=False)
    load(bytes(4))
    spi(wire, 0x01, count=1, with_address=False, write=True)
    spi(wire, 0x05, count=1, with_address=False)
    assert not wire.read(0x7000)[0] & 0x1C
    spi(wire, 0x03, 0x74, 4096)
    assert wire.read(0x7000, 4) == struct.pack("<HH", 0xADD1, 1)
    image = wrap(custom_body(0x3801))
    spi(wire, 0xD8, 0)
    spi(wire, 0x03, 0x100, 16)
    assert wire.read(0x7000, 16) != b"\xFF" * 16  # nothing is erased without write enable
    for address in (0,):
        spi(wire, 0x06, with_address=False)
        spi(wire, 0xD8, address)
    for at in range(0, len(image), 128):
        page = image[at:at + 128]
        load(page + bytes(-len(page) % 4))
        spi(wire, 0x06, with_address=False)
        spi(wire, 0x02, 0x100 + at, len(page), write=True)
    spi(wire, 0x03, 0x100, 4096)
    assert wire.read(0x7000, 512) == image[:512]
    with pytest.raises(usb1.USBErrorNoDevice):
        wire.poke(0xCC31, 1)
    wire.usb.reopen()
    assert wire.usb.getProduct() == "custom v0.1"  # a CPU reset does not read the flash
    wire.usb.replug()
    assert (wire.usb.getVendorID(), wire.usb.getProduct()) == (0x3801, "custom v0.9")
