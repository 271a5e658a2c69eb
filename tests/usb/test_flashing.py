"""Flashing emulated docks, end to end and with everything going wrong on the way."""
from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
import usb1

from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import CommandFailed, DeviceLost, FlashError, ImageRefused, WrongMode
from torch_usbgpu.usb import flash_commands, flash_image, flash_spi
from torch_usbgpu.usb.asm2464pd import Adapter
from torch_usbgpu.usb.backups import BackupStore
from torch_usbgpu.usb.flash_image import IMAGE_OFFSET, FlashContent, Image, parse_file
from torch_usbgpu.usb.flashing import Stage, carry_out, make_plan, nobody_watches, open_road
from torch_usbgpu.usb.identity import identify

from .images import CUSTOM, CUSTOM_3801, PATCHED, STOCK, custom_body

pytestmark = pytest.mark.filterwarnings("ignore:The dock is connected at USB 2")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(flash_commands.CommandFlash.__init__, "__defaults__", (0,))
    monkeypatch.setattr(flash_commands, "TIMEOUT_MS", 1000)


@pytest.fixture
def backups(tmp_path):
    return BackupStore(tmp_path / "backups")


class Meddler:
    """A handle that counts transfers, notes what is written, and lets `meddle(number, name, arguments)` interfere."""

    def __init__(self, handle, meddle=None):
        self.handle, self.meddle, self.number = handle, meddle, 0
        self.commands: list[int] = []       # first byte of every command wrapper
        self.pokes: list[tuple[int, int]] = []

    def _do(self, name, *arguments, **named):
        self.number += 1
        if name == "bulkWrite" and bytes(arguments[1][:4]) == b"USBC":
            self.commands.append(arguments[1][15])
        if name == "controlWrite" and arguments[:2] == (0x40, 0xE5):
            self.pokes.append((arguments[2], arguments[3]))
        arguments = list(arguments)
        if self.meddle is not None:
            arguments = self.meddle(self.number, name, arguments) or arguments
        return getattr(self.handle, name)(*arguments, **named)

    def controlWrite(self, *arguments, **named):
        return self._do("controlWrite", *arguments, **named)

    def controlRead(self, *arguments, **named):
        return self._do("controlRead", *arguments, **named)

    def bulkWrite(self, *arguments, **named):
        return self._do("bulkWrite", *arguments, **named)

    def bulkRead(self, *arguments, **named):
        return self._do("bulkRead", *arguments, **named)

    def __getattr__(self, name):
        if name == "getTransfer":           # so every transfer comes by here
            raise AttributeError(name)
        return getattr(self.handle, name)


def read_flash(dock) -> FlashContent:
    return open_road(dock, identify(dock)).read(lambda done, total: None)


def flash(dock, data: bytes, handle=None, **options):
    handle = handle or dock
    identity = identify(handle)
    road = open_road(handle, identity)
    plan = make_plan(road, identity, parse_file(data), **options)
    carry_out(plan, road)
    return plan


def stock_dock_of_asmedia() -> FlashContent:
    return read_flash(EmulatedAdapter("probe", firmware="stock"))


# ---- it works

@pytest.mark.parametrize("source", ["stock", "legacy", "rom", "custom", "custom-2026-08"])
@pytest.mark.parametrize("data, mode, ids", [(CUSTOM, "custom", "add1:0001"), (CUSTOM_3801, "custom", "3801:0001"),
                                             (PATCHED, "legacy", "add1:0001"), (STOCK, "stock", "174c:2464")],
                         ids=["custom", "custom-3801", "legacy", "stock"])
def test_from_everything_to_everything(source, data, mode, ids, backups):
    dock = EmulatedAdapter("probe", firmware=source)
    needs_config = source == "rom" and mode == "legacy" or source != "stock" and mode == "stock"
    if needs_config:
        with pytest.raises(FlashError, match="configuration blocks") as refused:
            flash(dock, data, backups=backups)
        assert refused.value.stage == "look" and "--config BACKUP" in refused.value.action
    config_from = stock_dock_of_asmedia() if mode == "stock" else read_flash(EmulatedAdapter("probe", firmware="legacy"))
    plan = flash(dock, data, backups=backups, config_from=config_from if needs_config else None)
    assert identify(dock).mode == source.split("-")[0]      # it still runs what it ran
    assert plan.image.data == data
    dock.replug()
    after = identify(dock)
    assert (after.mode, after.ids) == (mode, ids)
    content = read_flash(dock)
    assert content.image.data == data and content.verified


def test_there_and_back_again(backups):
    """A stock dock becomes a custom one and, from its backup, a stock one: bit for bit."""
    dock = EmulatedAdapter("probe", firmware="stock")
    before = read_flash(dock)
    flash(dock, CUSTOM, backups=backups)
    dock.replug()
    assert identify(dock).mode == "custom"
    [saved] = backups._store
    backup = backups._store.get(saved)
    assert backup == before.data
    with pytest.raises(FlashError):     # nothing says whose configuration it is: the dock's own blocks are ASMedia's, so no
        flash(EmulatedAdapter("probe", firmware="custom"), backup, backups=backups)
    flash(dock, backup, backups=backups)
    dock.replug()
    assert identify(dock).mode == "stock"
    assert read_flash(dock).data == before.data


@pytest.mark.parametrize("usb", ["super", "high"])
def test_the_open_firmware_at_both_speeds(usb, backups):
    dock = EmulatedAdapter("probe", firmware="custom", usb=usb)
    flash(dock, CUSTOM_3801, backups=backups)
    dock.replug()
    assert identify(dock).ids == "3801:0001"


def test_the_dock_keeps_its_own_configuration():
    dock = EmulatedAdapter("probe", firmware="stock")
    own = read_flash(dock).config
    handle = Meddler(dock)
    plan = flash(dock, CUSTOM, handle)
    assert 0xE1 not in handle.commands and plan.config_source.startswith("the dock's own")
    assert read_flash(dock).config == own


def test_a_dock_without_configuration_gets_one_that_holds():
    dock = EmulatedAdapter("probe", firmware="rom")
    flash(dock, CUSTOM)
    dock.replug()
    assert [block.problem for block in read_flash(dock).config] == [None, None]


def test_the_rom_gets_the_sequence_that_is_known_to_work():
    """Blocks first, also when they are its own."""
    handle = Meddler(EmulatedAdapter("probe", firmware="rom"))
    for source in ("new", "the dock's own"):
        handle.commands.clear()
        plan = flash(handle.handle, CUSTOM, handle)
        written = [command for command in handle.commands if command in (0xE1, 0xE3, 0xE8)]
        assert plan.config_source.startswith(source) and written == [0xE1, 0xE1, 0xE3, 0xE3, 0xE8]


@pytest.mark.parametrize("source", ["stock", "custom"])
def test_a_plan_writes_nothing(source, tmp_path):
    file = tmp_path / "dock.flash"
    dock = EmulatedAdapter("probe", firmware=source, flash=file)
    before, handle = file.read_bytes(), Meddler(dock)
    store = BackupStore(tmp_path / "backups")
    make_plan(open_road(handle, identify(handle)), identify(handle), parse_file(CUSTOM), backups=store, save=False)
    assert file.read_bytes() == before and not list(store._store)
    assert not {0xE1, 0xE3, 0xE8} & set(handle.commands)


def test_the_sequence_of_commands():
    handle = Meddler(EmulatedAdapter("probe", firmware="stock"))
    flash(handle.handle, STOCK, handle)
    look = [0x00, 0xE0, 0xE0, 0xE2, 0xE2]
    commands = [command for command in handle.commands if command != 0x03]      # REQUEST SENSE
    assert commands == look + [0xE3, 0xE3] + look[1:] + [0xE8]


def test_what_the_registers_road_pokes():
    """Nothing but the flash controller, its buffer's arm, and its three switches."""
    handle = Meddler(EmulatedAdapter("probe", firmware="custom"))
    flash(handle.handle, STOCK, handle, config_from=stock_dock_of_asmedia())
    registers = flash_image.FLASH["spi_registers"]
    assert {address for address, _value in handle.pokes} == set(registers.values()) - {registers["buffer"]}
    # Both blocks are erased, the one that the chip starts from last.
    opcodes = [value & 0xFF for address, value in handle.pokes if address == registers["command"]]
    middle = [value & 0xFF for address, value in handle.pokes if address == registers["address_high"]]
    erased = [high for opcode, high in zip([o for o in opcodes if o != 0x06], middle) if opcode == 0xD8]
    assert erased == [1, 0]


def test_what_is_there_already_is_noticed(backups):
    dock = EmulatedAdapter("probe", firmware="stock")
    road, identity = open_road(dock, identify(dock)), identify(dock)
    assert not make_plan(road, identity, parse_file(CUSTOM), backups=backups).already_there
    [saved] = backups._store
    assert make_plan(road, identity, parse_file(backups._store.get(saved))).already_there


def test_progress_is_told_and_ends():
    dock, told = EmulatedAdapter("probe", firmware="custom"), []
    road = open_road(dock, identify(dock))

    def watch(stage, done, total):
        told.append((stage, done, total))
    carry_out(make_plan(road, identify(dock), parse_file(CUSTOM), watch=watch), road, watch)
    assert [stage for at, (stage, _d, _t) in enumerate(told) if not at or told[at - 1][0] is not stage] == [
        Stage.LOOK, Stage.IMAGE, Stage.VERIFY, Stage.COMMIT]
    for stage in (Stage.LOOK, Stage.IMAGE, Stage.VERIFY):
        steps = [(done, total) for at, done, total in told if at is stage]
        assert steps == sorted(steps) and steps[-1][0] == steps[-1][1] and len(steps) > 10


# ---- what is refused

@pytest.mark.parametrize("firmware", ["usb4", "bootstub"])
def test_modes_without_a_known_way(firmware):
    dock = EmulatedAdapter("probe", firmware=firmware)
    handle = Meddler(dock)
    identity = identify(handle)
    with pytest.raises(WrongMode) as refused:
        open_road(handle, identity)
    assert refused.value.code == "USBGPU-104" and not handle.commands and not handle.pokes


def test_a_bad_image_is_refused_before_the_dock_is_touched():
    handle = Meddler(EmulatedAdapter("probe", firmware="stock"))
    road = open_road(handle, identify(handle))
    unknown = flash_image.ImageFile(Image(custom_body(0x1234)))
    with pytest.raises(ImageRefused):
        make_plan(road, identify(handle), unknown)
    assert not handle.commands


def test_an_unknown_image_from_a_backup_is_known(backups, tmp_path):
    """Vendors change ASMedia's firmware: what ran in this dock may run in it again."""
    own = flash_image.wrap(custom_body(0x1234, text=b"vendor"))
    content = FlashContent((stock_dock_of_asmedia().data[:IMAGE_OFFSET] + own).ljust(1 << 17, b"\xFF"))
    file = parse_file(content.data)
    dock = EmulatedAdapter("probe", firmware="stock")
    road, identity = open_road(dock, identify(dock)), identify(dock)
    with pytest.raises(ImageRefused):
        make_plan(road, identity, file, backups=backups)
    backups.save(content, identity)
    assert make_plan(road, identity, file, backups=backups).image.data == own


@pytest.mark.parametrize("source", ["stock", "custom"])
def test_a_bootstub_comes_back_with_its_application(source, backups):
    """Only from a backup of such a dock: its formats have changed too often to know them."""
    stub = flash_image.wrap(custom_body(0x3801, 0xB007))
    front = (stock_dock_of_asmedia().data[:IMAGE_OFFSET] + stub).ljust(0x4000, b"\xFF")
    content = FlashContent((front + b"A24F" + os.urandom(0x9000)).ljust(1 << 17, b"\xFF"))
    assert content.verified and content.has_bootstub_application
    dock = EmulatedAdapter("probe", firmware=source)
    with pytest.raises(ImageRefused, match="bootstub"):
        flash(dock, content.data, backups=backups)
    backups.save(content, identify(dock))
    with pytest.raises(ImageRefused, match="bootstub"):
        flash(dock, stub, backups=backups)      # without its application it is nothing
    flash(dock, content.data, backups=backups, config_from=content)
    assert read_flash(dock).data[:0x4000 + 0x9000] == content.data[:0x4000 + 0x9000]


def test_a_drive_in_the_enclosure():
    class WithDrive:
        how = "vendor commands"

        def drive_is_ready(self):
            return True

        def read(self, progress):
            return stock_dock_of_asmedia()
    with pytest.raises(FlashError, match="drive") as refused:
        make_plan(WithDrive(), identify(EmulatedAdapter("probe", firmware="stock")), parse_file(CUSTOM))
    assert refused.value.stage == "look"


def corrupt(dock) -> None:
    """Makes the image in the flash of a stock dock one that does not start."""
    flash_link = open_road(dock, identify(dock)).link
    flash_link.command(struct.pack(">BBI", 0xE3, 0x50, 512), data_out=b"\x55" * 512)


def test_what_does_not_start_is_no_backup(backups):
    dock = EmulatedAdapter("probe", firmware="stock")
    corrupt(dock)
    with pytest.raises(FlashError, match="no firmware that starts") as refused:
        flash(dock, CUSTOM, backups=backups)
    assert refused.value.stage == "backup" and "--without-backup" in refused.value.action
    flash(dock, CUSTOM, backups=backups, without_backup=True)
    dock.replug()
    assert identify(dock).mode == "custom"


def test_an_earlier_backup_of_the_dock_will_do(backups):
    dock = EmulatedAdapter("probe", firmware="stock")
    road, identity = open_road(dock, identify(dock)), identify(dock)
    make_plan(road, identity, parse_file(CUSTOM), backups=backups)
    corrupt(dock)
    plan = make_plan(road, identity, parse_file(CUSTOM), backups=backups)
    assert any("the dock's firmware is in" in note for note in plan.notes)


def refusing(opcodes):
    """An adapter that fails these commands."""
    def meddle(number, name, arguments):
        if name == "bulkWrite" and bytes(arguments[1][:4]) == b"USBC" and arguments[1][15] in opcodes:
            wrapper = bytearray(arguments[1])
            wrapper[15:31] = bytes([0xD7]) + bytes(15)       # an unknown command
            return [arguments[0], bytes(wrapper)]
    return meddle


def test_a_flash_that_cannot_be_read_is_not_written():
    handle = Meddler(EmulatedAdapter("probe", firmware="stock"), refusing({0xE2}))
    with pytest.raises(FlashError, match="cannot be read") as refused:
        flash(handle.handle, CUSTOM, handle)
    assert isinstance(refused.value.__cause__, CommandFailed)
    assert refused.value.stage == "look" and not {0xE1, 0xE3, 0xE8} & set(handle.commands)


def test_a_rom_that_does_not_let_its_flash_be_read_is_flashed_blindly(backups):
    handle = Meddler(EmulatedAdapter("probe", firmware="rom"), refusing({0xE0, 0xE2}))
    plan = flash(handle.handle, CUSTOM, handle, backups=backups)
    assert plan.before is None and any("cannot be compared" in note for note in plan.notes)
    handle.handle.replug()
    assert identify(handle.handle).mode == "custom"


# ---- what goes wrong on the way

def transfers_of(source: str, data: bytes) -> tuple[int, int]:
    """(transfers before the writing begins, transfers altogether)"""
    handle = Meddler(EmulatedAdapter("probe", firmware=source))
    road, identity = open_road(handle, identify(handle)), identify(handle)
    plan = make_plan(road, identity, parse_file(data))
    begin = handle.number
    carry_out(plan, road)
    return begin, handle.number


@pytest.mark.parametrize("source, data, ids", [
    ("stock", CUSTOM_3801, "3801:0001"), ("custom", CUSTOM_3801, "3801:0001"), ("stock", PATCHED, "add1:0001")])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.7, 0.99])
def test_the_cable_is_pulled_and_the_command_run_again(source, data, ids, share, backups):
    begin, end = transfers_of(source, data)
    cut = begin + 1 + int(share * (end - begin - 1))
    dock = EmulatedAdapter("probe", firmware=source)

    def meddle(number, name, arguments):
        if number == cut:
            dock.unplug()
    with pytest.raises(DeviceLost) as lost:
        flash(dock, data, Meddler(dock, meddle), backups=backups)
        raise DeviceLost("after the last comparison the dock may leave", stage="commit")
    assert lost.value.state["stage"] in ("image", "verify", "commit")
    dock.replug()
    mode = identify(dock).mode
    assert mode in ("rom", source, "custom", "legacy")
    if mode == source == "stock":
        assert read_flash(dock).verified
    flash(dock, data, backups=backups)
    dock.replug()
    assert identify(dock).ids == ids
    verified = [FlashContent(backups._store.get(digest)).verified for digest in backups._store]
    assert True in verified                 # the first backup survived


@pytest.mark.parametrize("failure", [usb1.USBErrorTimeout, usb1.USBErrorPipe, usb1.USBErrorIO])
@pytest.mark.parametrize("source", ["stock", "custom"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_transfer_fails_once(source, share, failure, backups):
    begin, end = transfers_of(source, CUSTOM)
    at = begin + 1 + int(share * (end - begin - 1))
    dock = EmulatedAdapter("probe", firmware=source)

    def meddle(number, name, arguments):
        if number == at:
            raise failure()
    flash(dock, CUSTOM, Meddler(dock, meddle), backups=backups)
    dock.replug()
    assert identify(dock).product == "custom v0.2"


@pytest.mark.parametrize("failure", [usb1.USBErrorTimeout, usb1.USBErrorPipe])
@pytest.mark.parametrize("source", ["stock", "custom"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_looking_is_tried_twice(source, share, failure):
    begin, _end = transfers_of(source, CUSTOM)
    at, times = max(8, int(share * begin)), [1]

    def meddle(number, name, arguments):
        if number >= at and times and name in ("bulkRead", "controlRead"):
            times.pop()
            raise failure()
    handle = Meddler(EmulatedAdapter("probe", firmware=source), meddle)
    flash(handle.handle, CUSTOM, handle)
    assert not times

    def broken(number, name, arguments):
        if number >= at and name in ("bulkRead", "controlRead"):
            raise usb1.USBErrorTimeout()    # any other error for good would mean that the dock is gone
    handle = Meddler(EmulatedAdapter("probe", firmware=source), broken)
    with pytest.raises(FlashError, match="nothing was written") as failed:
        flash(handle.handle, CUSTOM, handle)
    assert failed.value.stage == "look" and not {0xE1, 0xE3, 0xE8} & set(handle.commands)


@pytest.mark.parametrize("times, works", [(1, True), (2, True), (3, False)])
def test_data_is_damaged_on_the_way(times, works):
    damaged = []

    def meddle(number, name, arguments):
        if name == "bulkWrite" and bytes(arguments[1][:2]) == STOCK[:2] and len(damaged) < times:
            data = bytearray(arguments[1])
            data[500] ^= 1
            damaged.append(number)
            return [arguments[0], bytes(data)]
    handle = Meddler(EmulatedAdapter("probe", firmware="stock"), meddle)
    if works:
        flash(handle.handle, STOCK, handle)
        assert read_flash(handle.handle).image.data == STOCK
    else:
        with pytest.raises(FlashError, match="could not be written in 3 tries") as failed:
            flash(handle.handle, STOCK, handle)
        assert (failed.value.stage, failed.value.state["first_difference"]) == ("verify", hex(IMAGE_OFFSET + 500))
        assert "powered" in failed.value.action
    assert (0xE8 in handle.commands) is works       # committed only what was compared


def test_configuration_that_got_lost_is_written_again():
    """A firmware that erased more than the image: the dock's own blocks come back with the second try."""
    dock, spoilt = EmulatedAdapter("probe", firmware="stock"), []
    own = read_flash(dock).config

    def meddle(number, name, arguments):
        if name == "bulkWrite" and bytes(arguments[1][:1]) == CUSTOM[:1] and len(arguments[1]) == len(CUSTOM) and not spoilt:
            spoilt.append(number)
            result = dock.bulkWrite(*arguments, timeout=1000)
            status = dock.bulkRead(0x81, 13, timeout=1000)
            open_road(dock, identify(dock)).link.command(bytes([0xE1, 0x50, 0]).ljust(15, b"\0"), data_out=b"\xFF" * 128)
            assert result and status
            raise usb1.USBErrorIO()
    flash(dock, CUSTOM, Meddler(dock, meddle))
    assert spoilt and read_flash(dock).config == own


def test_ctrl_c_says_what_state_the_flash_is_in():
    dock = EmulatedAdapter("probe", firmware="custom")
    begin, end = transfers_of("custom", CUSTOM)

    def meddle(number, name, arguments):
        if number == (begin + end) // 2:
            raise KeyboardInterrupt
    with pytest.raises(FlashError, match="Interrupted while the flash was written") as interrupted:
        flash(dock, CUSTOM, Meddler(dock, meddle))
    assert "powered" in interrupted.value.action
    flash(dock, CUSTOM, without_backup=True)
    dock.replug()
    assert identify(dock).product == "custom v0.2"


@pytest.mark.parametrize("spoil, says", [
    (lambda register, value: (register, 0) if register == 0xCA81 else None, "does not answer to the SPI controller"),
])
def test_a_controller_that_does_not_obey(spoil, says):
    def meddle(number, name, arguments):
        if name == "controlWrite" and arguments[1] == 0xE5:
            changed = spoil(arguments[2], arguments[3])
            if changed is not None:
                return [arguments[0], arguments[1], *changed, arguments[4]]
    handle = Meddler(EmulatedAdapter("probe", firmware="custom"), meddle)
    with pytest.raises(FlashError, match=says):
        flash(handle.handle, CUSTOM, handle)


def test_a_relative_of_the_open_firmware(backups):
    dock = EmulatedAdapter("probe", firmware="unknown")
    assert identify(dock).mode == "unknown"
    flash(dock, CUSTOM, backups=backups, without_backup=True)
    dock.replug()
    assert identify(dock).product == "custom v0.2"


def test_a_buffer_that_takes_nothing_is_noticed_before_anything_is_erased(tmp_path):
    def meddle(number, name, arguments):
        if name == "bulkWrite":
            return [arguments[0], bytes(len(arguments[1]))]
    dock = EmulatedAdapter("probe", firmware="custom", flash=tmp_path / "dock.flash")
    before = (tmp_path / "dock.flash").read_bytes()
    with pytest.raises(FlashError, match="buffer does not take what is sent"):
        flash(dock, CUSTOM, Meddler(dock, meddle))
    assert (tmp_path / "dock.flash").read_bytes() == before


def test_a_flash_that_stays_protected():
    def meddle(number, name, arguments):
        if name == "controlWrite" and arguments[1:4] == [0xE5, 0xC8AA, 0x01]:
            return [*arguments[:3], 0x00, arguments[4]]
    handle = Meddler(EmulatedAdapter("probe", firmware="custom"), meddle)
    with pytest.raises(FlashError, match="write-protected"):
        flash(handle.handle, CUSTOM, handle)
    assert read_flash(handle.handle).verified       # and nothing was erased


@pytest.mark.parametrize("register, says", [("start", "controller stays busy"), ("buffer", "flash stays busy")])
def test_a_busy_flash_is_not_waited_for_for_ever(register, says, monkeypatch):
    monkeypatch.setattr(flash_spi, "CONTROLLER_SECONDS", 0.05)
    monkeypatch.setattr(flash_spi, "BUSY_SECONDS", 0.05)
    dock = EmulatedAdapter("probe", firmware="custom")
    road = flash_spi.SpiFlash(Adapter(dock))
    road.adapter.start()
    road._prepare()
    monkeypatch.setattr(road, "_get", lambda name: 1 if name == register else 0)
    with pytest.raises(Exception, match=says):
        road._wait_for_controller()
        road._wait_until_written()


def test_backups_are_private_and_kept(backups, tmp_path):
    dock = EmulatedAdapter("probe", firmware="stock", serial="")
    content, identity = read_flash(dock), identify(dock)
    first, second = backups.save(content, identity), backups.save(content, identity)
    assert first.path == second.path and first.path.name == f"{content.sha256}.bin"
    assert first.facts["verified"] and first.facts["mode"] == "stock" and first.facts["ids"] == "174c:2464"
    assert {path.stat().st_mode & 0o777 for path in backups.directory.iterdir()} == {0o600}
    assert backups.directory.stat().st_mode & 0o777 == 0o700
    assert backups.find_verified(content.data[:IMAGE_OFFSET]).content.data == content.data
    assert backups.find_verified(b"\0" * IMAGE_OFFSET) is None
    first.path.write_bytes(b"damaged")
    assert backups.find_verified(content.data[:IMAGE_OFFSET]) is None
    nobody_watches(Stage.LOOK, 0, 1)


class FourMethods:
    """The least that a handle is, as somebody else's model of the dock may have it."""

    def __init__(self, dock):
        self.controlWrite, self.controlRead = dock.controlWrite, dock.controlRead
        self.bulkWrite, self.bulkRead = dock.bulkWrite, dock.bulkRead


@pytest.mark.parametrize("source", ["stock", "legacy", "rom", "custom", "custom-2026-08"])
def test_a_handle_with_four_methods(source, backups):
    dock = EmulatedAdapter("probe", firmware=source)
    flash(FourMethods(dock), CUSTOM_3801, backups=backups)
    dock.replug()
    assert identify(FourMethods(dock)).ids == "3801:0001"


# ---- with the open firmware itself

GENUINE = os.environ.get("USBGPU_TEST_DOCK_FIRMWARE", "")


@pytest.mark.skipif(not Path(GENUINE).is_file(), reason="USBGPU_TEST_DOCK_FIRMWARE names no image")
@pytest.mark.parametrize("source", ["stock", "rom", "custom", f"image:{GENUINE}"])
def test_the_genuine_image(source, backups):
    """It is recognised, goes into every dock, and its own code lets the flash be driven by registers."""
    data = Path(GENUINE).read_bytes()
    data = data if data[:1] != b"\x02" else flash_image.wrap(data)
    dock = EmulatedAdapter("probe", firmware=source)
    plan = flash(dock, data, backups=backups)
    assert plan.image.identity.kind == "custom"
    dock.replug()
    assert identify(dock).mode == "custom" and read_flash(dock).image.data == data
    flash(dock, CUSTOM_3801, backups=backups)
    dock.replug()
    assert identify(dock).ids == "3801:0001"
