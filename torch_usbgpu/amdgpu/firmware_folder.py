"""A folder of installed firmware: files by their content's hash, and a list of which name is which content.

    installed.json          {"format": 1, "files": {"smu_13_0_0.bin": {"sha256": ..., "bytes": ..., ...}}}
    sha256/<digest>.bin

A set of files changes in one step, when the list is replaced; a reader sees the old set or the new one. What is read is
what was installed: a file that changed on the disk since is refused.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import private_files
from ..errors import FirmwareMismatch

LIST = "installed.json"
FORMAT = 1
_CONTENT = "sha256"


@dataclass(frozen=True)
class InstalledFile:
    sha256: str
    bytes: int
    source: str          # where it came from, for people
    date: str            # when it was installed (ISO 8601, UTC)


class FirmwareFolder:
    """Reads, and with install() writes, such a folder. A folder without a list has no files.

    Args:
        path: need not exist. The reader's rule is that of any firmware (private_files.check_source).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def files(self) -> dict[str, InstalledFile]:
        """
        Raises:
            FirmwareMismatch: the list is damaged.
            UnsafePlace, OSError
        """
        path = self.path / LIST
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return {}
        private_files.check_source(path)
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}")
            return {name: InstalledFile(**row) for name, row in content["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FirmwareMismatch("The list of installed firmware is damaged.", _AGAIN, file=str(path),
                                   reason=str(error)) from error

    def content_path(self, file: InstalledFile) -> Path:
        return self.path / _CONTENT / f"{file.sha256}.bin"

    def read(self, name: str) -> tuple[bytes, Path] | None:
        """A file's content and place, or None if it is not installed here.

        Raises:
            FirmwareMismatch: it is not what was installed.
            UnsafePlace, OSError
        """
        entry = self.files().get(name)
        if entry is None:
            return None
        path = self.content_path(entry)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise FirmwareMismatch(f"Firmware file {name} was installed, but its content is gone.", _AGAIN,
                                   file=str(path)) from error
        private_files.check_source(path)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise FirmwareMismatch(f"Firmware file {name} has changed since it was installed.", _AGAIN, file=str(path))
        return data, path

    def install(self, files: Mapping[str, tuple[bytes, str]], date: str) -> None:
        """Adds or replaces files, all of them or, if anything fails, none. What no name refers to any more is removed.

        Args:
            files: name -> (content, source).

        Raises:
            UnsafePlace, OSError, private_files.LockHeld
        """
        folder = private_files.directory(self.path)
        with private_files.Lock(folder / ".lock"):
            try:
                before = self.files()
            except FirmwareMismatch:
                before = {}                 # nothing says any more which content is which
            store = private_files.ContentStore(folder / _CONTENT)
            rows = {**before, **{name: InstalledFile(store.put(data), len(data), source, date)
                                 for name, (data, source) in files.items()}}
            content = {"format": FORMAT, "files": {name: asdict(rows[name]) for name in sorted(rows)}}
            private_files.write(folder / LIST, f"{json.dumps(content, indent=1)}\n".encode())
            store.keep_only(row.sha256 for row in rows.values())


_AGAIN = "Run `usbgpu firmware install` again."
