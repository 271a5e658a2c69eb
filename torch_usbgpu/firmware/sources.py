"""Where firmware files come from: a folder, a file, a distribution's package, an archive.

What something is, its first bytes tell, not its name. Nothing is unpacked onto the disk: of an archive only the files
that were asked for are read, into memory, each up to a limit; names in an archive are compared, never used as paths.
"""
from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ..amdgpu.firmware import LARGEST_FILE_BYTES, SUFFIXES, unpack
from ..errors import FirmwareMismatch, FirmwareMissing

Progress = Callable[[int, int], None]     # bytes done, of so many

FOLDER = "amdgpu"
_ROOTS = (".", FOLDER, f"lib/firmware/{FOLDER}", f"usr/lib/firmware/{FOLDER}", f"lib/firmware/updates/{FOLDER}")
_WHENCE = "WHENCE"                        # linux-firmware's list; `Link: a -> b` lines stand for links
_WHENCE_LIMIT = 8 << 20
_MAX_LINKS = 8


@dataclass(frozen=True)
class SourceFile:
    data: bytes
    place: str            # for people: path, or path in archive


def read_files(path: str | Path, names: Iterable[str], progress: Progress | None = None) -> dict[str, SourceFile]:
    """Those of the files that the source has.

    Args:
        path: a folder (of files, of linux-firmware, or a root with lib/firmware in it), one firmware file, a Debian,
            Fedora or Arch package, a tar or zip archive.

    Raises:
        FirmwareMissing: there is nothing at `path`.
        FirmwareMismatch: it is damaged, or nothing of these.
    """
    path, wanted = Path(path), set(names)
    try:
        if path.is_dir():
            return _read_folder(path, wanted)
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            total = path.stat().st_size
            reader = io.BufferedReader(_Counted(file, lambda done: progress(done, total))) if progress else file
            return _read_file(path, start, reader, wanted)
    except FileNotFoundError as error:
        raise FirmwareMissing(f"{path} does not exist.", "Check the path.") from error
    except PermissionError as error:
        raise FirmwareMissing(f"{path} cannot be read: {error.strerror}.", "Check who may read it.") from error


def _read_file(path: Path, start: bytes, file: IO[bytes], wanted: set[str]) -> dict[str, SourceFile]:
    if path.name in wanted or _plain_name(path.name) in wanted:
        name = _plain_name(path.name)
        data = _unpacked(file.read(LARGEST_FILE_BYTES + 1), path.name, str(path))
        return {name: SourceFile(data, str(path))}
    for magic, at, reader in _FORMATS:
        if start[at:at + len(magic)] == magic:
            break
    else:
        raise FirmwareMismatch(f"{path.name} is no package or archive that can be read, and no firmware file that a "
                               "supported card needs.", _ACTION, file=str(path))
    try:
        return _resolve(lambda: reader(file), wanted, path.name, lambda: file.seek(0))
    except FirmwareMismatch:
        raise
    except Exception as error:      # the readers' libraries raise all sorts of things when a file is cut short
        raise FirmwareMismatch(f"{path.name} is damaged, or not what it seems: {error or type(error).__name__}.",
                               "Get it anew.", file=str(path)) from error


_ACTION = "Name a folder, a .deb, .rpm or .pkg.tar.zst package, a tar or zip archive, or use --download."


# ---- folders

def _read_folder(path: Path, wanted: set[str]) -> dict[str, SourceFile]:
    whence = path / _WHENCE
    links = _whence_links(whence.read_bytes()) if whence.is_file() else {}
    found = {}
    for name in wanted:
        for candidate in _names_of(name, links):
            if file := _find(path, candidate):
                found[name] = SourceFile(_unpacked(file.read_bytes(), file.name, str(file)), str(file))
                break
    return found


def _names_of(name: str, links: dict[str, str]) -> Iterator[str]:
    for _ in range(_MAX_LINKS):
        yield name
        if name not in links:
            return
        name = links[name]


def _find(path: Path, name: str) -> Path | None:
    for root in _ROOTS:
        for suffix in SUFFIXES:
            file = path / root / (name + suffix)
            if file.is_file():
                if file.stat().st_size > LARGEST_FILE_BYTES:
                    raise FirmwareMismatch(f"{file} is too large for a firmware file.", _ACTION)
                return file
    return None


def _whence_links(content: bytes) -> dict[str, str]:
    """Name -> name of the file that it stands for, within the folder of AMD's graphics firmware."""
    links = {}
    for line in content.decode("utf-8", "replace").splitlines():
        if line.startswith("Link:") and "->" in line:
            name, target = (part.strip().replace("\\ ", " ") for part in line[5:].split("->", 1))
            if PurePosixPath(name).parent.name == FOLDER and "/" not in target:
                links[PurePosixPath(name).name] = target
    return links


# ---- archives

@dataclass(frozen=True)
class Entry:
    """A file or link of an archive. `read` is good until the next entry is asked for."""

    path: str                                 # as the archive has it
    target: str | None                        # of a link
    bytes: int
    read: Callable[[], bytes]


Entries = Iterator[Entry]


def _resolve(entries: Callable[[], Entries], wanted: set[str], archive: str,
             rewind: Callable[[], object]) -> dict[str, SourceFile]:
    """Goes through the archive once, and again for what a link turned out to lead to."""
    links: dict[str, str] = {}
    found: dict[str, SourceFile] = {}
    asked: set[str] = set()
    missing = set(wanted)
    while missing - asked:
        looking, asked = missing - asked, asked | missing
        rewind()
        for entry in entries():
            name = _firmware_name(entry.path)
            if name is None:
                if PurePosixPath(entry.path).name == _WHENCE and entry.target is None and entry.bytes <= _WHENCE_LIMIT:
                    links = {**_whence_links(entry.read()), **links}
            elif entry.target is not None:
                if target := _plain_name(PurePosixPath(entry.target).name):
                    links[name] = target
            elif name in looking:
                if entry.bytes > LARGEST_FILE_BYTES:
                    raise FirmwareMismatch(f"{archive} has a file {entry.path} that is too large for firmware.",
                                           _ACTION)
                found[name] = SourceFile(_unpacked(entry.read(), entry.path, f"{archive}: {entry.path}"),
                                         f"{archive}: {entry.path}")
        missing = {last for name in wanted if name not in found
                   for last in [list(_names_of(name, links))[-1]] if last not in found}
    answer = {}
    for name in wanted:
        if file := next((found[candidate] for candidate in _names_of(name, links) if candidate in found), None):
            answer[name] = file
    return answer


def _firmware_name(path: str) -> str | None:
    """The name of a file in AMD's folder; None elsewhere (other vendors' files may be called the same)."""
    pure = PurePosixPath(path)
    return _plain_name(pure.name) if pure.parent.name == FOLDER or len(pure.parts) == 1 else None


def _plain_name(name: str) -> str:
    for suffix in SUFFIXES[1:]:
        if name.endswith(f".bin{suffix}"):
            return name.removesuffix(suffix)
    return name


def _unpacked(data: bytes, name: str, place: str) -> bytes:
    try:
        return unpack(data, next((suffix for suffix in SUFFIXES[1:] if name.endswith(suffix)), ""))
    except ValueError as error:
        raise FirmwareMismatch(f"{place} {error}.", "Get it anew.") from error


def _tar(file: IO[bytes]) -> Entries:
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        yield from _tar_members(archive)


def _tar_zstd(file: IO[bytes]) -> Entries:
    import zstandard
    with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False) as plain, \
            tarfile.open(fileobj=plain, mode="r|") as archive:
        yield from _tar_members(archive)


def _tar_members(archive: tarfile.TarFile) -> Entries:
    for member in archive:
        if member.isfile() or member.issym() or member.islnk():
            target = member.linkname if member.issym() or member.islnk() else None
            yield Entry(member.name, target, member.size, lambda member=member: archive.extractfile(member).read())


def _zip(file: IO[bytes]) -> Entries:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            link = stat.S_ISLNK(member.external_attr >> 16)
            target = archive.read(member).decode("utf-8", "replace") if link and member.file_size < 4096 else None
            yield Entry(member.filename, target, member.file_size, lambda member=member: archive.read(member))


def _deb(file: IO[bytes]) -> Entries:
    """deb(5): an ar archive whose member data.tar.* holds the files."""
    import arpy
    archive = arpy.Archive(fileobj=file)
    for member in archive:
        if member.header.name.startswith(b"data.tar"):
            compression = PurePosixPath(member.header.name.decode()).suffix
            yield from (_tar_zstd if compression == ".zst" else _tar)(member)
            return
    raise ValueError("it has no data.tar")


def _rpm(file: IO[bytes]) -> Entries:
    import hashlib

    import rpmfile
    with rpmfile.open(fileobj=file) as package:
        # RPMTAG_PAYLOADDIGEST: SHA-256 (8) of the compressed payload; packages have it since rpm 4.14.
        stated = package.headers.get("payloaddigest")
        if stated and package.headers.get("payloaddigestalgo") == 8:
            file.seek(package.data_offset)
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            stated = stated[0] if isinstance(stated, (list, tuple)) else stated
            if digest.hexdigest() != (stated.decode() if isinstance(stated, bytes) else stated):
                raise ValueError("its payload is not what its header promises")
        for member in package.getmembers():
            target = None
            if member.issymlink:
                target = package.extractfile(member).read().decode("utf-8", "replace") if member.size < 4096 else ""
            yield Entry(member.name, target, member.size, lambda member=member: package.extractfile(member).read())


_FORMATS: tuple[tuple[bytes, int, Callable[[IO[bytes]], Entries]], ...] = (
    (b"!<arch>\n", 0, _deb), (b"\xed\xab\xee\xdb", 0, _rpm), (b"PK\x03\x04", 0, _zip),
    (b"\x28\xb5\x2f\xfd", 0, _tar_zstd), (b"\xfd7zXZ\0", 0, _tar), (b"\x1f\x8b", 0, _tar), (b"BZh", 0, _tar),
    (b"ustar", 257, _tar))


class _Counted(io.RawIOBase):
    """A file that tells how far into it somebody has read."""

    def __init__(self, file: IO[bytes], tell: Callable[[int], None]) -> None:
        self._file, self._tell = file, tell

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = self._file.readinto(buffer)
        self._tell(self._file.tell())
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
