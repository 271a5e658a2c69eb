"""Status of the files that cards need, and installing them: all that was found, checked, in one step."""
from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..amdgpu.firmware import find_file, user_directory
from ..amdgpu.firmware_folder import FirmwareFolder
from ..errors import FirmwareMismatch, FirmwareMissing, UnsafePlace
from .examine import Report, examine
from .needs import NeededFile
from .sources import SourceFile


@dataclass(frozen=True)
class Status:
    """Of one needed file: "ok", "missing" or "bad"."""

    needed: NeededFile
    state: str
    place: str | None = None
    report: Report | None = None
    problem: str | None = None

    @property
    def counts(self) -> bool:
        """Is this a problem of the cards that were asked about? What only some of their boards need may be missing."""
        return self.state == "bad" or (self.state == "missing" and not self.needed.boards)


def status_of(needed: NeededFile, directories: Iterable[Path]) -> Status:
    try:
        data, path = find_file(needed.name, directories)
    except FirmwareMissing as error:
        unreadable = error.state.get("unreadable")
        return Status(needed, "bad" if unreadable else "missing", problem=unreadable)
    except FirmwareMismatch as error:
        return Status(needed, "bad", error.state.get("file"), problem=error.found)
    except UnsafePlace as error:
        return Status(needed, "bad", problem=error.found)
    report = examine(needed, data)
    if report.problems:
        return Status(needed, "bad", str(path), report, "; ".join(report.problems))
    return Status(needed, "ok", str(path), report)


@dataclass(frozen=True)
class Plan:
    """What an installation will do. Nothing has been written yet."""

    folder: Path
    new: tuple[Report, ...]            # not there before
    changed: tuple[Report, ...]
    same: tuple[Report, ...]
    lacking: tuple[NeededFile, ...]    # the source does not have them
    files: Mapping[str, SourceFile]

    @property
    def incomplete_chips(self) -> list[str]:
        return sorted({needed.chip for needed in self.lacking if not needed.boards})

    @property
    def complete_chips(self) -> list[str]:
        chips = {report.chip for report in (*self.new, *self.changed, *self.same)}
        return sorted(chips - set(self.incomplete_chips))


def plan(needed: Iterable[NeededFile], files: Mapping[str, SourceFile], source: str,
         folder: Path | None = None) -> Plan:
    """Checks every file.

    Raises:
        FirmwareMissing: the source has none of them.
        FirmwareMismatch: one is not what its name says. Then nothing is to be installed from there.
    """
    needed = list(needed)
    if not any(file.name in files for file in needed):
        raise FirmwareMissing(f"{source} has none of the firmware files that the cards need.",
                              "Use linux-firmware, or a package of it with AMD's graphics firmware.",
                              needed=", ".join(file.name for file in needed[:6]) + (", ..." if needed[6:] else ""))
    target = FirmwareFolder(folder or user_directory())
    try:
        before = target.files()
    except FirmwareMismatch:
        before = {}
    groups: dict[str, list[Report]] = {"new": [], "changed": [], "same": []}
    for file in needed:
        if file.name not in files:
            continue
        found = files[file.name]
        report = examine(file, found.data)
        if report.problems:
            raise report.error(found.place)
        old = before.get(file.name)
        intact = old is not None and old.sha256 == report.sha256 and _intact(target, file.name)
        groups["new" if old is None else "same" if intact else "changed"].append(report)
    return Plan(target.path, *(tuple(groups[name]) for name in ("new", "changed", "same")),
                tuple(file for file in needed if file.name not in files), dict(files))


def _intact(folder: FirmwareFolder, name: str) -> bool:
    try:
        return folder.read(name) is not None
    except FirmwareMismatch:
        return False


def carry_out(steps: Plan) -> None:
    """Writes what is new or changed, and reads it again.

    Raises:
        UnsafePlace, OSError, private_files.LockHeld: then what was installed before is as it was.
        FirmwareMismatch: the disk does not return what was written.
    """
    todo = {report.name: (steps.files[report.name].data, steps.files[report.name].place)
            for report in (*steps.new, *steps.changed)}
    if not todo:
        return
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    FirmwareFolder(steps.folder).install(todo, date)
    for name in todo:
        FirmwareFolder(steps.folder).read(name)
