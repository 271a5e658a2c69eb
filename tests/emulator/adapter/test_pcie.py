"""Bridges and the GPU's config space, walked through 0xF0 alone."""
import pytest

from .wire import DOORBELLS, READ64, REGISTERS, VRAM, WRITE64, Wire

GIB = 1 << 30
BRIDGES = [(0x1B21, 0x2461), (0x1B21, 0x2461), (0x1002, 0x1478), (0x1002, 0x1479)]


def walk_capabilities(wire, bus, function=0):
    found, at = {}, wire.config(bus, 0x34, function=function) & 0xFC
    while at:
        header = wire.config(bus, at, function=function)
        found[header & 0xFF] = at
        at = header >> 8 & 0xFC
    return found


def walk_extended(wire, bus):
    found, at = {}, 0x100
    while at:
        header = wire.config(bus, at)
        found[header & 0xFFFF] = at
        at = header >> 20
    return found


def size_of_bar(wire, register, wide):
    before = [wire.config(4, register), wire.config(4, register + 4) if wide else 0]
    wire.config_write(4, register, 0xFFFFFFFF)
    if wide:
        wire.config_write(4, register + 4, 0xFFFFFFFF)
    mask = wire.config(4, register) & ~0xF | (wire.config(4, register + 4) << 32 if wide else 0xFFFFFFFF << 32)
    wire.config_write(4, register, before[0])
    if wide:
        wire.config_write(4, register + 4, before[1])
    return (-mask) & (1 << 64) - 1


def test_discovery_bus_by_bus():
    """Nothing behind a bridge answers before its bus numbers are set."""
    wire = Wire()
    for bus, (vendor, device) in enumerate(BRIDGES):
        assert wire.config(bus, 0) == device << 16 | vendor
        assert wire.config(bus, 0x0E, size=1) == 1 and wire.config(bus, 0x08) >> 8 == 0x060400
        assert wire.config_read(bus + 1, 0)[:2] == (0xFFFFFFFF, 1)
        wire.config_write(bus, 0x18, bus | (bus + 1) << 8 | 4 << 16)
        assert wire.config(bus, 0x18) == bus | (bus + 1) << 8 | 4 << 16
    assert wire.config(4, 0) == 0x744C1002
    assert wire.config(4, 0x0E, size=1) == 0x80  # type 0, multi-function
    assert wire.config(4, 0, function=1) == 0xAB301002 and wire.config(4, 0x08, function=1) >> 8 == 0x040300


@pytest.mark.parametrize("bus, device, function", [(4, 1, 0), (4, 0, 2), (1, 1, 0), (2, 0, 1), (5, 0, 0), (255, 0, 0)])
def test_absent_functions(wire, bus, device, function):
    assert wire.config_read(bus, 0, device=device, function=function)[:2] == (0xFFFFFFFF, 1)


def test_bus_0_answers_for_every_device(wire):
    assert wire.config_read(0, 0, device=17).data == 0x24611B21
    assert wire.usb.counts()["warning:bus0-device-not-0"] == 1


def test_bus_number_outside_the_range_of_an_upper_bridge(wire):
    wire.config_write(1, 0x18, 1 | 2 << 8 | 3 << 16)  # subordinate 3: bus 4 is not below
    assert wire.config_read(4, 0).status == 1
    assert wire.config(3, 0) == 0x14791002


@pytest.mark.parametrize("bus", range(5))
def test_express_capability(wire, bus):
    at = walk_capabilities(wire, bus)[0x10]
    port = wire.config(bus, at) >> 20 & 0xF
    assert port == [5, 6, 5, 6, 1][bus]
    status = wire.config(bus, at + 0x12, size=2)
    assert (status & 0xF, status >> 4 & 0x3F) == ((3, 2) if bus < 3 else (4, 16))
    assert wire.config(bus, at + 0x0C) & 0xF == 4


def test_lanes_option():
    wire = Wire(lanes=4)
    wire.bridges()
    assert wire.config(1, walk_capabilities(wire, 1)[0x10] + 0x12, size=2) >> 4 & 0x3F == 4
    assert wire.read(0x4092, bank=1)[0] == 0x43


def test_capabilities_of_the_gpu(wire):
    assert walk_capabilities(wire, 4) == {0x09: 0x48, 0x01: 0x50, 0x10: 0x64, 0x05: 0xA0}
    extended = walk_extended(wire, 4)
    assert list(extended)[:3] == [0x000B, 0x0001, 0x0015] and extended[0x0015] == 0x200
    assert set(walk_extended(wire, 0)) == {0x0001}


def test_bar_sizes(wire):
    assert size_of_bar(wire, 0x10, True) == 256 << 20
    assert size_of_bar(wire, 0x18, True) == 2 << 20
    assert size_of_bar(wire, 0x24, False) == 1 << 20
    assert wire.config(4, 0x10) & 0xF == wire.config(4, 0x18) & 0xF == 0xC
    assert wire.config(4, 0x20) & 1
    wire.config_write(4, 0x20, 0xFFFFFFFF)
    assert wire.config(4, 0x20) == 0xFFFFFF01


@pytest.mark.parametrize("vram, largest", [(64 << 20, 256 << 20), (GIB, GIB), (3 * GIB // 2, 2 * GIB)])
def test_resizable_bar(vram, largest):
    wire = Wire(vram_bytes=vram).bring_up()
    supported = wire.config(4, 0x204)
    index = supported.bit_length() - 1 - 4
    assert 1 << (20 + index) == largest and supported & 0xFFF == 0  # nothing below 256 MiB
    assert wire.config(4, 0x208) & 0xFF == 2 << 5 and wire.config(4, 0x208) >> 8 & 0x3F == 8
    wire.config_write(4, 0x208, wire.config(4, 0x208) & ~0x3F00 | index << 8)
    assert size_of_bar(wire, 0x10, True) == largest
    assert wire.config(4, 0x210) & 7 == 2
    last = VRAM + vram - 4
    wire.config_write(4, 0x14, VRAM >> 32)
    wire.config_write(4, 0x10, 0)
    wire.write32(last, 0x12345678)
    assert wire.read32(last) == 0x12345678


def test_unsupported_bar_size_is_clamped(wire):
    wire.config_write(4, 0x208, 40 << 8)
    assert size_of_bar(wire, 0x10, True) == 256 << 20


@pytest.mark.parametrize("bar, largest", [(GIB, GIB), (512 << 20, 512 << 20), (64 * GIB, 4 * GIB), ("large", 4 * GIB)])
def test_a_card_may_offer_smaller_bars_only(bar, largest):
    wire = Wire(vram_bytes=4 * GIB, bar=bar).bring_up()
    wire.config_write(4, 0x208, 2 << 5 | 40 << 8)
    assert size_of_bar(wire, 0x10, True) == largest
    assert 1 << (wire.config(4, 0x204).bit_length() - 1 - 4 + 20) == largest


def test_a_card_without_resizable_bar():
    wire = Wire(vram_bytes=4 * GIB, bar="small").bring_up()
    assert 0x0015 not in walk_extended(wire, 4) and {0x000B, 0x0001, 0x0004} <= set(walk_extended(wire, 4))
    assert size_of_bar(wire, 0x10, True) == 256 << 20 and size_of_bar(wire, 0x18, True) == 2 << 20
    before = [wire.config(4, register) for register in range(0x200, 0x218, 4)]
    for register in range(0x200, 0x218, 4):
        wire.config_write(4, register, 0xFFFFFFFF)
    assert [wire.config(4, register) for register in range(0x200, 0x218, 4)] == before == [0] * 6


@pytest.mark.parametrize("bar", ["tiny", 0, 128 << 20, 3 * GIB, True])
def test_impossible_bars(bar):
    with pytest.raises(ValueError, match="bar"):
        Wire(bar=bar)


def test_aperture_beyond_the_memory():
    wire = Wire(vram_bytes=16 << 20).bring_up()
    wire.write32(VRAM + (16 << 20), 5)
    assert wire.read32(VRAM + (16 << 20)) == 0xFFFFFFFF


@pytest.mark.parametrize("address", [VRAM, DOORBELLS, REGISTERS])
def test_memory_decode_of_the_gpu(wire, address):
    assert wire.single(READ64, address).status == 0
    wire.config_write(4, 4, 4, size=1)
    assert wire.single(READ64, address)[:2] == (0xFFFFFFFF, 1)


@pytest.mark.parametrize("bus", range(4))
def test_memory_decode_of_a_bridge(wire, bus):
    wire.config_write(bus, 4, 4, size=1)
    assert wire.single(READ64, VRAM).status == 1
    wire.config_write(bus, 4, 6, size=1)
    assert wire.single(READ64, VRAM).status == 0


@pytest.mark.parametrize("bus", range(4))
def test_windows_are_decoded(wire, bus):
    """Close and shift each window of each bridge: what lies outside is unsupported."""
    wire.config_write(bus, 0x20, 0x0000_FFF0)                    # memory base above its limit: closed
    assert wire.single(READ64, REGISTERS).status == 1 and wire.single(READ64, VRAM).status == 0
    wire.config_write(bus, 0x20, 0x1000_1000)                    # exactly one MiB
    assert wire.single(READ64, REGISTERS).status == 0
    assert wire.single(READ64, REGISTERS + 0xFFFFC).status == 0
    wire.config_write(bus, 0x28, 9)                              # prefetchable window starts at 36 GiB
    assert wire.single(READ64, VRAM).status == 1
    wire.config_write(bus, 0x28, 8)
    wire.config_write(bus, 0x2C, 8)
    wire.config_write(bus, 0x24, 0x0010_0000)                    # ... ends 2 MiB behind its base
    assert wire.single(READ64, VRAM + (2 << 20) - 4).status == 0
    assert wire.single(READ64, VRAM + (2 << 20)).status == 1


def test_stream_ends_where_a_window_ends(wire):
    wire.config_write(2, 0x2C, 8)
    wire.config_write(2, 0x24, 0x0000_0000)
    edge = VRAM + (1 << 20)
    wire.stream_write(edge - 8, b"inside!!" + b"outside.")
    wire.config_write(2, 0x24, 0xFFFF_0000)
    wire.config_write(2, 0x2C, 0xFFFFFFFF)
    assert wire.stream_read(edge - 8, 16) == b"inside!!" + bytes(8)


def test_bars_can_be_moved(wire):
    wire.write32(VRAM + 8, 77)
    wire.config_write(4, 0x14, 9)
    assert wire.single(READ64, VRAM + 8).status == 1
    assert wire.read32((9 << 32) + 8) == 77


def test_secondary_bus_reset(wire):
    wire.write32(VRAM, 1)
    resets = wire.read32(REGISTERS + 0x20)
    wire.config_write(2, 0x3E, 0x40, size=2)
    assert wire.config_read(3, 0).status == 1     # held in reset
    wire.config_write(2, 0x3E, 0, size=2)
    assert wire.config(3, 0x18) == 0 and wire.config(2, 0x18) != 0
    wire.bring_up()
    assert wire.read32(REGISTERS + 0x20) == resets + 1


def test_function_level_reset(wire):
    resets = wire.read32(REGISTERS + 0x20)
    at = walk_capabilities(wire, 4)[0x10]
    assert wire.config(4, at + 4) >> 28 & 1
    wire.config_write(4, at + 8, 1 << 15, size=2)
    assert wire.config(4, 0x10) == 0xC and wire.config(4, 4, size=2) == 0
    assert wire.config(3, 4, size=1) == 7         # the bridges stay
    wire.bring_up()
    assert wire.read32(REGISTERS + 0x20) == resets + 1


def test_crs_after_reset():
    wire = Wire(faults=["crs:3"])
    wire.bridges()
    assert [wire.config_read(4, 0).status for _ in range(4)] == [2, 2, 2, 0]
    wire.power(False)
    wire.power(True)
    wire.bridges()
    assert wire.config_read(4, 0).status == 2


def test_state_survives_a_second_opener(wire):
    """The host process ends, another opens the device: bridges, BARs and memory are as they were."""
    wire.write32(VRAM, 0xABCD)
    wire.usb.close()
    wire.usb.reopen()
    assert wire.config(4, 0) == 0x744C1002 and wire.read32(VRAM) == 0xABCD


def test_identity_registers_are_read_only(wire):
    for bus in range(5):
        before = [wire.config(bus, register) for register in (0, 8, 0x34)]
        for register in (0, 8, 0x34):
            wire.config_write(bus, register, 0xFFFFFFFF)
        assert [wire.config(bus, register) for register in (0, 8, 0x34)] == before


def test_messages_are_posted_and_ignored(wire):
    wire.f0(0x34, 0)
    assert wire.reply().firmware == 0xFF
    wire.f0(WRITE64, VRAM, 3)
    assert wire.read32(VRAM) == 3
