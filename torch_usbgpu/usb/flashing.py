"""Flashing the adapter, step by step: look, back up, write, compare, commit, restart.

    road = open_road(handle, identity)
    plan = make_plan(road, identity, file)          # reads only
    done = carry_out(plan, road)                    # writes

Between the first byte written and the comparison the dock has no firmware that starts; the one that runs goes on from
its RAM as long as there is power. So whatever fails there is tried again at once, and after that the error says to
leave the dock powered and to run the command again: it starts over from the backup that it made the first time.
"""
from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ..errors import DeviceLost, FlashError, LinkError, UsbGpuError, WrongMode
from .asm2464pd import Adapter
from .backups import BackupStore
from .flash_commands import CommandFlash
from .flash_image import (IMAGE_OFFSET, ConfigBlock, FlashContent, Image, ImageFile, fresh_config, has_legacy_ids,
                          legacy_config)
from .flash_spi import SpiFlash
from .identity import Identity, wrong_mode
from .scsi import Bot

log = logging.getLogger(__name__)

LOOK_TRIES, WRITE_TRIES = 2, 3
TUNNEL_PATIENCE_S = 1.5     # to see that a link stays down because the host has it

# What cannot be undone, and what can go wrong.
LEAVING_STOCK = (
    "Afterwards the dock is neither an NVMe enclosure nor a USB4 dock: only this driver can use it. Its maker's "
    "warranty may end.",
    "The vendor's firmware comes from this dock alone. Keep the backup: there is no other copy of it.",
)
ALWAYS = (
    "If power or the cable fails while the flash is written, the dock may come up in its ROM bootloader; this command "
    "can then be run again. Should it not come up at all, only a boot strap inside the dock helps, which most docks "
    "do not bring out.",
)
BY_REGISTERS = (
    "The open firmware has no flashing commands; its flash is written through the adapter's registers, and the block "
    "with both configuration and code is erased for that.",
)


class Stage(str, Enum):
    """How far it came; in `FlashError.stage`."""

    LOOK = "look"
    BACKUP = "backup"
    IMAGE = "image"
    VERIFY = "verify"
    COMMIT = "commit"
    RESTART = "restart"


# stage, bytes done, bytes altogether
Watcher = Callable[[Stage, int, int], None]
Road = CommandFlash | SpiFlash


def nobody_watches(_stage: Stage, _done: int, _total: int) -> None:
    pass


# A firmware that nobody knows, but that has the ids of the open one, mostly is a variety of it: its flash is written
# only if it reads as a firmware that starts, and if the controller obeys.
FLASHABLE = ("stock", "legacy", "rom", "custom", "unknown")


def open_road(handle, identity: Identity) -> Road:
    """The way to the flash of the adapter behind `handle`, by the firmware that it runs.

    Raises:
        WrongMode: it cannot be flashed in this mode.
    """
    if identity.mode not in FLASHABLE:
        raise refused_mode(identity)
    if identity.mode in ("custom", "unknown"):
        adapter = Adapter(handle)
        adapter.start()
        if not identity.super_speed:
            _refuse_tunnelled(adapter)
        return SpiFlash(adapter)
    link = Bot(handle)
    link.start()
    return CommandFlash(link)


def _refuse_tunnelled(adapter: Adapter) -> None:
    """In USB4 mode the firmware is a USB 2 device without PCIe; the dock is the host's, which would lose the card."""
    try:
        adapter.raise_link(TUNNEL_PATIENCE_S)
    except LinkError:
        pass            # no card, or no power: that does not matter here


def refused_mode(identity: Identity) -> WrongMode:
    if identity.mode == "bootstub":
        return WrongMode("The adapter is in its bootstub, whose format has changed several times.",
                         "Use the flashing tool that came with its firmware.", ids=identity.ids, mode=identity.mode)
    return wrong_mode(identity)


# ---- the plan

@dataclass(frozen=True)
class Plan:
    """What would be written, and what is there now. Making it writes nothing to the dock."""

    identity: Identity
    image: Image
    payload: bytes                           # the image, and what belongs to it
    before: FlashContent | None              # None: the flash could not be read
    config: tuple[bytes, bytes]
    config_source: str                       # for people
    write_config: bool
    how: str
    notes: tuple[str, ...] = field(default=())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody has to know before this is carried out."""
        leaves = self.identity.mode != "custom" and self.image.identity.kind == "custom"
        return (LEAVING_STOCK if leaves else ()) + ALWAYS + (BY_REGISTERS if self.how == SpiFlash.how else ())

    @property
    def already_there(self) -> bool:
        return self.before is not None and self.difference(self.before) is None

    def difference(self, content: FlashContent) -> int | None:
        """Where the flash first differs from what it shall hold, or None."""
        wanted = b"".join(self.config) + self.payload
        if content.data.startswith(wanted):
            return None
        return next(at for at, (is_there, shall) in enumerate(zip(content.data, wanted)) if is_there != shall)


def make_plan(road: Road, identity: Identity, file: ImageFile, *, config_from: FlashContent | None = None,
              backups: BackupStore | None = None, save: bool = True, without_backup: bool = False,
              watch: Watcher = nobody_watches) -> Plan:
    """Looks at the dock and the image, and decides what is to be written.

    Args:
        config_from: the configuration blocks to write, in place of keeping the dock's own.
        backups: where what is in the flash is saved, if `save`, and where earlier backups are looked for.
        without_backup: go on if what is in the flash is no firmware that starts, and nobody ever saved one.

    Raises:
        ImageRefused: the image is none that may be flashed.
        FlashError: there is a drive in the enclosure; the flash cannot be read or backed up; it needs a configuration.
    """
    known = backups is not None and backups.holds(file)
    image = file.image.identity if known else file.image.require_known()
    before = _look(road, identity, watch)
    notes = list(_back_up(before, identity, backups, save, without_backup))
    config, source, write_config = _choose_config(before, image.kind, file, config_from)
    # The ROM has only ever been seen to take an image after configuration blocks.
    write_config |= identity.mode == "rom"
    if file.content is not None and b"".join(config) != file.content.data[:IMAGE_OFFSET] and config_from is None:
        notes.append("The backup's configuration blocks differ from the dock's, which are kept. "
                     "--config FILE would restore them too.")
    if before is not None and before.has_bootstub_application:
        notes.append("The dock has a bootstub with its application. Both are replaced; the backup brings them back.")
    return Plan(identity, file.image, file.payload, before, config, source, write_config, road.how, tuple(notes))


def _look(road: Road, identity: Identity, watch: Watcher) -> FlashContent | None:
    try:
        drive = identity.mode == "stock" and _patiently(road.drive_is_ready)
        content = _patiently(lambda: road.read(lambda done, total: watch(Stage.LOOK, done, total)))
    except DeviceLost:
        raise
    except LinkError as error:
        if identity.mode != "rom":
            raise FlashError("The dock's flash cannot be read, so it cannot be backed up, and nothing was written.",
                             "Power-cycle the dock and try again.", stage=Stage.LOOK.value) from error
        log.warning("the ROM does not let its flash be read: %s", error.found)     # nobody knows whether it does
        return None
    if drive:
        raise FlashError("There is a drive in the enclosure, and it works: after flashing it would be out of reach.",
                         "Take the drive out, or name the dock with the GPU by --device.", stage=Stage.LOOK.value)
    return content


def _patiently(look: Callable):
    """Looking does no harm, so it is tried again."""
    for attempt in range(LOOK_TRIES):
        try:
            return look()
        except DeviceLost:
            raise
        except LinkError as error:
            if attempt + 1 == LOOK_TRIES:
                raise
            log.info("trying again: %s", error.found)


def _back_up(before: FlashContent | None, identity: Identity, backups: BackupStore | None, save: bool,
             without_backup: bool) -> list[str]:
    """Saves what is there. Returns remarks.

    Raises:
        FlashError: what is there is no firmware that starts, and nobody ever saved one of this dock.
    """
    if before is None:
        return ["The ROM did not let the flash be read: there is no backup, and what is written cannot be compared."]
    if not before.data.strip(b"\xFF"):
        return ["The flash is blank: there is nothing to back up."]
    notes = []
    if backups is not None and save:
        backup = backups.save(before, identity)
        notes.append(f"Backup: {backup.path}{'' if before.verified else ' (not verified)'}")
    if before.verified or identity.mode == "rom":
        return notes
    earlier = backups.find_verified(before.data[:IMAGE_OFFSET]) if backups is not None else None
    if earlier is not None:
        return [*notes, f"What is in the flash now does not start; the dock's firmware is in {earlier.path}."]
    if without_backup:
        return [*notes, "What is in the flash now is not verified, so there is no backup to go back to."]
    why = before.image.found if not isinstance(before.image, Image) else next(
        f"Configuration block {block.index}: {block.problem}." for block in before.config if block.problem)
    raise FlashError(f"What was read from the dock is no firmware that starts, so it is no backup. {why}",
                     "Run the command again; if it stays so and you can do without the dock's own firmware, add "
                     "--without-backup.", stage=Stage.BACKUP.value)


def _choose_config(before: FlashContent | None, kind: str, file: ImageFile,
                   config_from: FlashContent | None) -> tuple[tuple[bytes, bytes], str, bool]:
    """(the blocks, where they come from, whether they have to be written)."""
    own = before.config if before is not None else None
    if config_from is not None:
        _require_good(config_from.config)
        blocks = tuple(block.data for block in config_from.config)
        return blocks, "from the backup", own is None or blocks != tuple(block.data for block in own)
    if own is not None and not any(block.problem for block in own):
        blocks = own[0].data, own[1].data
        if kind == "legacy" and not has_legacy_ids(own[0]):
            return (legacy_config(blocks[0]), blocks[1]), "the dock's own, with the ids of the patched firmware", True
        if kind == "stock" and has_legacy_ids(own[0]):
            raise FlashError("The dock's configuration blocks are those of the patched firmware; ASMedia's firmware "
                             "would name itself by them.", "Add --config BACKUP with a backup of this dock.",
                             stage=Stage.LOOK.value)
        return blocks, "the dock's own, kept", False
    if kind == "custom":
        return fresh_config(file.image.identity), "new, since the dock has none that is valid", True
    raise FlashError("The dock has no valid configuration blocks, and ASMedia's firmware needs them.",
                     "Add --config BACKUP with a backup of this dock.", stage=Stage.LOOK.value,
                     **{f"block_{block.index}": block.problem or "ok" for block in own or ()})


def _require_good(blocks: tuple[ConfigBlock, ConfigBlock]) -> None:
    for block in blocks:
        if block.problem:
            raise FlashError(f"Configuration block {block.index} of the backup is not valid: {block.problem}.",
                             "Use another backup.", stage=Stage.LOOK.value)


# ---- carrying it out

def carry_out(plan: Plan, road: Road, watch: Watcher = nobody_watches) -> None:
    """Writes, compares, commits. The new firmware starts with the next power-up.

    Raises:
        FlashError: after WRITE_TRIES tries the flash does not hold what it shall. DeviceLost: the dock left.
    """
    _write_until_it_holds(plan, road, watch)
    watch(Stage.COMMIT, 0, 1)
    try:
        road.commit()
    except LinkError as error:      # what is in the flash has been compared
        log.warning("the commit command failed: %s", error.found)
    watch(Stage.COMMIT, 1, 1)


def _write_until_it_holds(plan: Plan, road: Road, watch: Watcher) -> None:
    failure: UsbGpuError | None = None
    stage = Stage.IMAGE
    for attempt in range(WRITE_TRIES):
        try:
            stage = Stage.IMAGE
            road.write(plan.config, plan.payload, lambda done, total: watch(Stage.IMAGE, done, total),
                       config_too=plan.write_config or attempt > 0)
            if plan.before is None:
                log.warning("what was written cannot be compared: the ROM does not let its flash be read")
                return
            stage = Stage.VERIFY
            content = road.read(lambda done, total: watch(Stage.VERIFY, done, total))
            wrong_at = plan.difference(content)
            if wrong_at is None:
                return
            failure = FlashError("The flash does not hold what was written.", stage=stage.value,
                                 first_difference=f"{wrong_at:#x}")
        except DeviceLost as error:
            raise DeviceLost(
                "The dock went away while its flash was written.",
                "Plug it in again and run the same command: it probably comes up in its ROM bootloader, which can be "
                "flashed.", stage=stage.value) from error
        except LinkError as error:
            failure = error
        except KeyboardInterrupt:
            raise FlashError("Interrupted while the flash was written: what is in it now does not start.",
                             stage=stage.value) from None
        log.warning("try %d of %d failed: %s", attempt + 1, WRITE_TRIES, failure.found)
    raise FlashError(f"The flash could not be written in {WRITE_TRIES} tries.",
                     "Leave the dock plugged in and powered, and run the command again: the firmware that runs is "
                     "still in its memory.", **{"stage": stage.value, **failure.state}) from failure
