"""Files that are the user's alone: places, reading, atomic writing, content by its hash, locks.

What lies in these folders is run by the GPU (compiled kernels, firmware), written to a dock's flash, or believed (who
holds an adapter). So a folder is used only if nobody else can change what is in it: it
is ours and has mode 0700, and no folder or link on the way to it belongs to, or can be written by, another user.
(A folder with the sticky bit, such as /tmp, lets nobody replace what is ours.) docs/security.md has the whole list.

On Windows the access lists of a user's profile do this; owners and modes are not looked at there.
"""
from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import stat
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import platformdirs

from .errors import UnsafePlace

log = logging.getLogger(__name__)

APPLICATION = "torch_usbgpu"
POSIX = os.name == "posix"
_MAX_LINKS = 40              # as many as Linux follows


# ---- places

def cache_directory() -> Path:
    """For what can be made again. Not created yet: see directory()."""
    return Path(platformdirs.user_cache_dir(APPLICATION))


def data_directory() -> Path:
    """For what must last: firmware that was installed, backups of a dock's flash."""
    return Path(platformdirs.user_data_dir(APPLICATION))


def cache_folder(name: str) -> Path:
    """A folder of ours for what can be made again, created: in the user's cache, or where that is not ours (a container
    with somebody else's home directory), below the system's folder for temporary files.

    Raises:
        UnsafePlace: neither is, or can be made, ours.
    """
    return _first_usable(cache_directory() / name, _temporary() / name)


def runtime_directory() -> Path:
    """For locks and local endpoints: a folder of ours, created. It may be empty again after the next login.

    Raises:
        UnsafePlace: none of the candidates is, or can be made, ours.
    """
    # There is no runtime directory without a login session; under sudo it, and the home directory, can be another's.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")       # platformdirs' RuntimeDirWarning says just that
        preferred = Path(platformdirs.user_runtime_dir(APPLICATION))
    return _first_usable(preferred, cache_directory() / "run", _temporary())


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"{APPLICATION}-{os.geteuid() if POSIX else 'user'}"


def _first_usable(*candidates: Path) -> Path:
    refused: list[OSError] = []
    for candidate in candidates:
        try:
            return directory(candidate)
        except OSError as error:
            log.info("%s is passed over: %s", candidate, error)
            refused.append(error)
    raise UnsafePlace(f"There is no folder that only this user can write: {refused[0]}",
                      "Set XDG_CACHE_HOME to a folder of yours.", tried=", ".join(map(str, candidates))) from refused[0]


def directory(path: str | Path) -> Path:
    """`path` as a folder that is ours alone: created (with what leads to it) or checked, mode 0700.

    A folder of ours that others could write is taken back if it is empty; otherwise nobody knows who put things there.

    Raises:
        UnsafePlace: somebody else could change what is in it.
        OSError: it cannot be created.
    """
    path = Path(os.path.abspath(path))
    if not POSIX:
        path.mkdir(parents=True, exist_ok=True)
        return path
    _check_way(path.parent)
    missing = []
    at = path
    while not _exists(at):
        missing.append(at)
        at = at.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):      # another process of ours was faster, or it is checked below
            folder.mkdir(mode=0o700)
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        # A link is as good as the folder it leads to if its maker can be trusted.
        _check_way(path)
        path = path.resolve()
        status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{path} is not a folder")
    if status.st_uid != os.geteuid():
        raise _unsafe(path, "belongs to another user", owner=_user_name(status.st_uid))
    if stat.S_IMODE(status.st_mode) & 0o077:
        open_to_others = stat.S_IMODE(status.st_mode) & 0o022
        path.chmod(0o700)
        if open_to_others and next(path.iterdir(), None) is not None and not _only_private_group(status):
            path.chmod(stat.S_IMODE(status.st_mode))
            raise _unsafe(path, "could be written by other users, and is not empty",
                          mode=oct(stat.S_IMODE(status.st_mode)),
                          action=f"Remove {path}, or `chmod 700` it if you know everything in it.")
        if stat.S_IMODE(path.lstat().st_mode) & 0o077:
            raise _unsafe(path, "lies on a file system that does not keep access modes",
                          action="Use a folder on another file system.")
    return path


def check_source(path: str | Path) -> None:
    """Refuses a file or folder of somebody's choosing, such as firmware, that any user of the machine could change.

    Weaker than what is asked of our own folders: the owner may be anybody whom the user chose to trust.

    Raises:
        UnsafePlace, OSError
    """
    if POSIX:
        _check_way(Path(os.path.abspath(path)), any_owner=True)


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _check_way(path: Path, any_owner: bool = False) -> None:
    """Every folder and link from the root to `path`, as far as they exist, must be out of the reach of other users."""
    at, pending, links = Path(path.anchor), list(reversed(path.parts[1:])), 0
    at_status = at.lstat()
    _check_step(at, at_status, any_owner)
    while pending:
        part = pending.pop()
        if part == "..":
            at = at.parent
            at_status = at.lstat()
            continue
        candidate = at / part
        try:
            status = candidate.lstat()
        except FileNotFoundError:
            return
        # Where anybody may create names, as in /tmp, whose it is counts even for what the user chose.
        _check_step(candidate, status, any_owner and not at_status.st_mode & 0o002)
        if not stat.S_ISLNK(status.st_mode):
            at, at_status = candidate, status
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(f"{path}: too many symbolic links")
        target = Path(os.readlink(candidate))
        if target.is_absolute():
            at = Path(target.anchor)
            at_status = at.lstat()
        pending += [part for part in reversed(target.parts) if part != target.anchor]


def _check_step(path: Path, status: os.stat_result, any_owner: bool) -> None:
    if not any_owner and not _trusted(status.st_uid):
        raise _unsafe(path, "belongs to another user", owner=_user_name(status.st_uid))
    if stat.S_ISLNK(status.st_mode):
        return
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode) and mode & stat.S_ISVTX:
        return
    if mode & 0o002 or (mode & 0o020 and not any_owner and not _only_private_group(status)):
        raise _unsafe(path, "can be written by other users", mode=oct(mode))


def _trusted(owner: int) -> bool:
    return owner in (0, os.geteuid()) or owner == _unmapped_owner()


def _unmapped_owner() -> int | None:
    """In a user namespace without the host's root (bubblewrap, rootless containers) its files show this owner."""
    try:
        mapped = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
        if mapped == [["0", "0", "4294967295"]]:
            return None
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return None


def _only_private_group(status: os.stat_result) -> bool:
    """May write: only a group that is the user's own and has no other member (the default of many Linux systems)."""
    if stat.S_IMODE(status.st_mode) & 0o002:
        return False
    try:
        import grp
        import pwd
        group, user = grp.getgrgid(status.st_gid), pwd.getpwuid(os.geteuid())
    except (ImportError, KeyError):
        return False
    return (group.gr_gid in (0, user.pw_gid) and group.gr_name in ("root", "wheel", user.pw_name)
            and set(group.gr_mem) <= {user.pw_name, "root"})


def _user_name(number: int) -> str:
    try:
        import pwd
        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError):
        return str(number)


def _unsafe(path: Path, what: str, action: str | None = None, **state) -> UnsafePlace:
    return UnsafePlace(f"{path} {what}: nothing is read from there or written there.", action, **state)


# ---- files

def read(path: str | Path) -> bytes:
    """The content of a file in a folder of ours, which must be a plain file that only we can write.

    Raises:
        UnsafePlace, OSError
    """
    # non-blocking: a FIFO in place of the file must not stop us
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
                     | getattr(os, "O_BINARY", 0))
    with open(number, "rb") as file:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise _unsafe(Path(path), "is not a plain file")
        if POSIX:
            if status.st_uid != os.geteuid():
                raise _unsafe(Path(path), "belongs to another user", owner=_user_name(status.st_uid))
            if stat.S_IMODE(status.st_mode) & 0o022 and not _only_private_group(status):
                raise _unsafe(Path(path), "can be written by other users", mode=oct(stat.S_IMODE(status.st_mode)))
        return file.read()


def write(path: str | Path, data: bytes | Iterable[bytes], *, durable: bool = True) -> None:
    """Writes a file of mode 0600 whole or not at all: aside, then renamed into place.

    Args:
        path: in a folder that directory() returned.
        durable: wait until the disk has it, so that not even a power cut leaves an empty file.
    """
    path = Path(path)
    aside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
    number = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
                     | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with open(number, "wb") as file:
            for part in ([data] if isinstance(data, (bytes, bytearray, memoryview)) else data):
                file.write(part)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    if durable and POSIX:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)          # the new name, too
        finally:
            os.close(folder)


class ContentStore:
    """Files named by the SHA-256 of what is in them: what is read is what was written, or an error.

    Args:
        folder: becomes ours alone.
        suffix: of every file's name.
    """

    def __init__(self, folder: str | Path, suffix: str = ".bin") -> None:
        self.folder = directory(folder)
        self.suffix = suffix

    def path(self, digest: str) -> Path:
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ValueError(f"{digest!r} is no SHA-256")
        return self.folder / f"{digest}{self.suffix}"

    def put(self, data: bytes) -> str:
        """Stores the content and returns its name. What is there already is checked, not trusted."""
        digest = hashlib.sha256(data).hexdigest()
        if self.get(digest) is None:
            write(self.path(digest), data)
        return digest

    def get(self, digest: str) -> bytes | None:
        """The content, or None if it is not there, or damaged.

        Raises:
            UnsafePlace: somebody else could have changed the file.
        """
        try:
            data = read(self.path(digest))
        except FileNotFoundError:
            return None
        return data if hashlib.sha256(data).hexdigest() == digest else None

    def __iter__(self) -> Iterator[str]:
        return (path.name.removesuffix(self.suffix) for path in sorted(self.folder.glob(f"*{self.suffix}")))

    def keep_only(self, digests: Iterable[str]) -> None:
        """Removes everything else."""
        wanted = set(digests)
        for digest in list(self):
            if digest not in wanted:
                with contextlib.suppress(OSError, ValueError):
                    self.path(digest).unlink()


# ---- locks

class LockHeld(Exception):
    """Somebody else has the lock. `pid`: who, where known."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"held by process {pid}" if pid else "held by another process")
        self.pid = pid


# Where Windows' lock sits: beyond the text, because a locked byte cannot be read there.
_LOCKED_BYTE = 1 << 30
# holder() takes the lock for a moment; that must not turn an opener away.
_PATIENCE_S = 0.2


class Lock:
    """One process at a time. The system drops the lock if we die; the file tells who has it.

    A forked child neither has the lock nor can drop it.

    Args:
        path: in a folder of ours. The file stays when the lock is dropped: removing it would let two processes each
            lock a file of that name.

    Raises:
        LockHeld, OSError
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: int | None = _open_lock(self.path)
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while not _try_lock(self._file):
                if time.monotonic() > deadline:
                    raise LockHeld(_written_pid(self._file))
                time.sleep(0.01)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0) if POSIX else os.write(self._file, b"%d\n" % os.getpid())
        except BaseException:
            os.close(self._file)
            self._file = None
            raise
        with _guard:
            _held.add(self)

    def release(self) -> None:
        """Idempotent."""
        with _guard:
            file, self._file = self._file, None
            _held.discard(self)
        if file is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
        _unlock(file)           # not by closing alone: a forked child that has not run its handler yet shares the lock
        os.close(file)

    def _forget(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_exception) -> None:
        self.release()


_held: weakref.WeakSet[Lock] = weakref.WeakSet()
_guard = threading.Lock()


def _after_fork() -> None:
    global _guard
    _guard = threading.Lock()
    for lock in list(_held):
        lock._forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def holder(path: str | Path) -> LockHeld | None:
    """Who has the lock; None: nobody. Does not keep anybody from taking it."""
    try:
        file = _open_lock(Path(path), create=False)
    except FileNotFoundError:
        return None
    try:
        if _try_lock(file, shared=True):
            _unlock(file)
            return None
        return LockHeld(_written_pid(file))
    finally:
        os.close(file)


def _open_lock(path: Path, create: bool = True) -> int:
    flags = os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags, 0o600)
    if POSIX and os.fstat(file).st_uid != os.geteuid():
        os.close(file)
        raise _unsafe(path, "belongs to another user")
    return file


def _written_pid(file: int) -> int | None:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        return int(os.read(file, 32))
    except (OSError, ValueError):
        return None


def _try_lock(file: int, shared: bool = False) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt
            os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            os.lseek(file, 0, os.SEEK_SET)
        else:
            import fcntl
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt
        with contextlib.suppress(OSError):
            os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl
        fcntl.flock(file, fcntl.LOCK_UN)
