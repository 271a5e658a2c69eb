"""Backups of docks' flashes: 128 KiB each, named by their SHA-256, with what was known of the dock beside them.

The vendor's firmware of a dock can be had from nowhere else: vendors change it, and publish none. So a backup is made
before anything is written, and none is ever overwritten or removed.
"""
from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import private_files
from .flash_image import FlashContent, Image, ImageFile
from .identity import Identity


def default_directory() -> Path:
    return private_files.data_directory() / "adapter-backups"


@dataclass(frozen=True)
class Backup:
    path: Path
    content: FlashContent
    facts: dict[str, Any]


class BackupStore:
    """A folder of backups, readable by the user alone: a flash may hold a serial number."""

    def __init__(self, directory: Path | None = None) -> None:
        self._store = private_files.ContentStore(directory or default_directory())

    @property
    def directory(self) -> Path:
        return self._store.folder

    def save(self, content: FlashContent, identity: Identity) -> Backup:
        """Idempotent: the same content is stored once, with the facts of the first time."""
        digest = self._store.put(content.data)
        path = self._store.path(digest)
        beside = path.with_suffix(".json")
        if not beside.exists():
            private_files.write(beside, json.dumps(_facts(content, identity), indent=1).encode())
        return Backup(path, content, json.loads(private_files.read(beside)))

    def find_verified(self, config: bytes) -> Backup | None:
        """A backup with a usable image, of the dock that has these configuration blocks."""
        for digest in self._store:
            data = self._store.get(digest)
            if data is None or len(data) < len(config) or data[:len(config)] != config:
                continue
            content = FlashContent(data)
            if content.verified:
                return Backup(self._store.path(digest), content, {})
        return None

    def holds(self, file: ImageFile) -> bool:
        """Was this very firmware read from a dock?"""
        if file.image.identity.kind == "bootstub":      # the image alone is not all of it
            return file.content is not None and self._store.get(file.content.sha256) is not None
        return any(isinstance(known, Image) and known.data == file.image.data for known in self._images())

    def _images(self):
        for digest in self._store:
            data = self._store.get(digest)
            if data is not None:
                yield FlashContent(data).image


def _facts(content: FlashContent, identity: Identity) -> dict[str, Any]:
    image = content.image
    return {
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "sha256": content.sha256,
        "verified": content.verified,
        "mode": identity.mode, "ids": identity.ids, "manufacturer": identity.manufacturer,
        "product": identity.product, "serial": identity.serial,
        "image": str(image.identity) if isinstance(image, Image) else f"not usable: {image.found}",
        "config": [block.problem or block.fields() for block in content.config],
    }
