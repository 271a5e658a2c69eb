"""Fetching: a file or archive by its address, and the files of a linux-firmware release. What arrives is checked."""
from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from .. import private_files
from ..amdgpu.facts import load
from ..amdgpu.firmware import LARGEST_FILE_BYTES
from ..errors import ConfigError, DownloadError
from .sources import Progress, SourceFile

log = logging.getLogger(__name__)

SECONDS_WITHOUT_DATA = 30
LARGEST_ARCHIVE_BYTES = 2 << 30         # a release of linux-firmware has two thirds of a GiB
LEFTOVER_SECONDS = 86400
_MAX_REDIRECTS = 5


def default_release() -> str:
    return next(iter(load("firmware_files")["releases"]))


def is_url(source: str) -> bool:
    return re.match(r"https?://", source, re.IGNORECASE) is not None


@contextlib.contextmanager
def fetched(url: str, sha256: str | None = None, progress: Progress | None = None) -> Iterator[Path]:
    """The file at `url`, on the disk as long as the context lasts.

    Args:
        sha256: what it must be. Without, the connection must be encrypted: then at least its server is known.

    Raises:
        DownloadError
    """
    folder = private_files.cache_folder("downloads")
    _remove_leftovers(folder)
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{os.getpid()}.part"
    digest = hashlib.sha256()
    try:
        private_files.write(path, _stream(url, sha256 is not None, LARGEST_ARCHIVE_BYTES, progress, digest),
                            durable=False)
        _check(url, digest.hexdigest(), sha256)
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_leftovers(folder: Path) -> None:
    """Of processes that were killed."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()


def fetch(url: str, sha256: str | None = None) -> bytes:
    """A small file, as above."""
    digest = hashlib.sha256()
    data = b"".join(_stream(url, sha256 is not None, LARGEST_FILE_BYTES, None, digest))
    _check(url, digest.hexdigest(), sha256)
    return data


def release_files(names: Iterable[str], release: str, file_url: str | None = None,
                  progress: Progress | None = None) -> dict[str, SourceFile]:
    """Files of a release whose sums are known, one by one: a fiftieth of the whole archive.

    Args:
        file_url: where from, with {release} and {name} in it. Without: linux-firmware's servers, one after the other.

    Raises:
        DownloadError: of the first server.
    """
    facts = load("firmware_files")
    sums = facts["releases"][release]
    wanted = [name for name in names if name in sums]
    patterns = [file_url] if file_url else list(facts["file_urls"])
    found = {}
    for done, name in enumerate(wanted):
        if progress:
            progress(done, len(wanted))
        failed: DownloadError | None = None
        for pattern in list(patterns):
            url = _filled(pattern, name=name, release=release)
            try:
                found[name] = SourceFile(fetch(url, sums[name]), url)
                break
            except DownloadError as error:
                log.info("%s: %s", url, error.found)
                failed = failed or error
                patterns.append(patterns.pop(0))        # the next file is asked for elsewhere first
        else:
            raise failed or DownloadError("No server is known.", "Use --file-url.")
    if progress:
        progress(len(wanted), len(wanted))
    return found


def archive_of(release: str) -> tuple[str, str]:
    """Address and published SHA-256 of a whole release.

    Raises:
        DownloadError
    """
    facts = load("firmware_files")
    if not re.fullmatch(r"\d{8}", release):
        raise ConfigError(f"{release!r} is no release of linux-firmware.", "They are dates, such as 20260916.")
    url = _filled(facts["archive_url"], release=release)
    return url, published_sum(fetch(facts["sums_url"]).decode("utf-8", "replace"), url.rsplit("/", 1)[1])


def published_sum(listing: str, name: str) -> str:
    """The line of a sha256sum list (which may stand in a signed message)."""
    for line in listing.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].lstrip("*") == name and re.fullmatch(r"[0-9a-f]{64}", words[0]):
            return words[0]
    raise DownloadError(f"The published checksums do not list {name}.", "Check the name of the release.")


def _filled(pattern: str, **values: str) -> str:
    for name, value in values.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def _check(url: str, found: str, expected: str | None) -> None:
    if expected is not None and found != expected.lower():
        raise DownloadError("What was fetched is not what was promised.",
                            "Do not use it: check the address and the checksum.", url=url, sha256=found,
                            expected=expected.lower())


def _stream(url: str, sum_known: bool, limit: int, progress: Progress | None, digest) -> Iterator[bytes]:
    import httpx
    if urlsplit(url).scheme.lower() != "https" and not sum_known:
        raise DownloadError("An unencrypted connection, and no checksum: anybody on the way could replace the file.",
                            "Use https, or give its SHA-256.", url=url)
    # kernel.org turns clients away that do not say who they are
    client = httpx.Client(follow_redirects=True, timeout=SECONDS_WITHOUT_DATA, max_redirects=_MAX_REDIRECTS,
                          headers={"User-Agent": f"torch_usbgpu/{_version()}", "Accept-Encoding": "identity"})
    try:
        with client, client.stream("GET", url) as response:
            for step in (*response.history, response):
                if step.url.scheme != "https" and not sum_known:
                    raise DownloadError("The server leads to an unencrypted address.", url=str(step.url))
            response.raise_for_status()
            total = int(response.headers.get("Content-Length") or 0)
            done = 0
            for block in response.iter_raw(1 << 16):
                done += len(block)
                if done > limit:
                    raise DownloadError(f"It is larger than {limit >> 20} MiB.", url=url)
                digest.update(block)
                if progress:
                    progress(done, max(total, done))
                yield block
            if done < total:
                raise DownloadError("It ended early.", "Try again.", url=url, bytes=done, promised=total)
    except httpx.HTTPStatusError as error:
        raise DownloadError(f"The server answered {error.response.status_code} {error.response.reason_phrase}.",
                            url=url) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise DownloadError(f"It could not be fetched: {error or type(error).__name__}.", url=url) from error


def _version() -> str:
    try:
        return metadata.version("torch_usbgpu")
    except metadata.PackageNotFoundError:
        return "0"
