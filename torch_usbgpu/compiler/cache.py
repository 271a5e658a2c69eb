"""Compiled kernels on disk, by content.

A key is a SHA-256 over everything that shapes the value. What is stored is data, never code
that Python would run (no pickle); the folder is the user's alone (private_files), because what lies
in it is sent to the GPU. A file that is cut short, damaged or of another format is a miss and is
removed. Writers use a name of their own and rename, so readers see whole files or none.
"""
from __future__ import annotations

import contextlib
import functools
import logging
import os
import struct
import threading
import time
import zlib
from pathlib import Path

from .. import private_files

log = logging.getLogger(__name__)

MAGIC = b"UGPUKC01"
_HEADER = struct.Struct("<8s32sIQ")      # magic, key, CRC-32 of the payload, bytes of the payload
SIZE_LIMIT_BYTES = 256 << 20
# Looking at the whole folder is slow on some systems; once per this many writes is enough.
WRITES_BETWEEN_TRIMS = 200


def default() -> DiskCache:
    """The cache in $USBGPU_CACHE or the user's cache folder. USBGPU_CACHE=off: none."""
    return _at(os.environ.get("USBGPU_CACHE", ""))


@functools.lru_cache(maxsize=8)
def _at(setting: str) -> DiskCache:
    if setting.lower() in ("off", "none"):
        return DiskCache(None)
    try:
        return DiskCache(Path(setting) / "kernels" if setting else private_files.cache_folder("kernels"))
    except OSError as error:
        log.warning("Kernels are not cached: %s", error)
        return DiskCache(None)


class DiskCache:
    """Maps hexadecimal SHA-256 keys to bytes. Never raises: a cache that fails is an empty one."""

    def __init__(self, folder: Path | None, limit_bytes: int = SIZE_LIMIT_BYTES):
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._writes = 0
        self._lock = threading.Lock()
        if folder is not None:
            self._claim(folder)

    def _claim(self, folder: Path) -> None:
        try:
            self.folder = private_files.directory(folder)
        except OSError as error:
            log.warning("Kernels are not cached: %s", error)
            self.folder = None

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.bin"

    def get(self, key: str) -> bytes | None:
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            blob = private_files.read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("Cache entry not used: %s", error)
            return None
        payload = blob[_HEADER.size:]
        if len(blob) < _HEADER.size or _HEADER.unpack_from(blob) != (
                MAGIC, bytes.fromhex(key), zlib.crc32(payload), len(payload)):
            log.info("Damaged cache entry %s removed", path)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        # Trimming goes by age of last use, and file systems are mostly mounted noatime.
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 86400:
                os.utime(path)
        return payload

    def put(self, key: str, payload: bytes) -> None:
        if self.folder is None:
            return
        path = self._path(key)
        with self._lock:
            self._writes += 1
            trim = self._writes % WRITES_BETWEEN_TRIMS == 0
        header = _HEADER.pack(MAGIC, bytes.fromhex(key), zlib.crc32(payload), len(payload))
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            private_files.write(path, (header, payload), durable=False)     # a damaged entry is a miss
        except OSError as error:
            log.info("Cache entry %s not written: %s", path, error)
        if trim:
            self.trim()

    def trim(self) -> None:
        """Removes the entries unused for longest until the rest fits the limit."""
        if self.folder is None:
            return
        entries = []
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                if path.suffix == ".tmp" and time.time() - status.st_mtime > 3600:
                    path.unlink()            # a writer died
                    continue
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit_bytes:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
