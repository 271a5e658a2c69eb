"""The cache on disk: what is read back is what was written, or nothing."""
from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
import time

import pytest

from torch_usbgpu.compiler import cache

KEY = hashlib.sha256(b"key").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def store(tmp_path):
    return cache.DiskCache(tmp_path / "kernels")


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 300])
def test_round_trip(store, payload):
    assert store.get(KEY) is None
    store.put(KEY, payload)
    assert store.get(KEY) == payload
    assert store.get(OTHER) is None
    store.put(KEY, b"replaced")
    assert cache.DiskCache(store.folder).get(KEY) == b"replaced"


def _cut(blob): return blob[:-1]
def _shorter_than_header(blob): return blob[:10]
def _empty(blob): return b""
def _longer(blob): return blob + b"\0"
def _payload_bit(blob): return blob[:-1] + bytes([blob[-1] ^ 1])
def _header_bit(blob): return bytes([blob[0] ^ 1]) + blob[1:]
def _key_bit(blob): return blob[:8] + bytes([blob[8] ^ 1]) + blob[9:]


@pytest.mark.parametrize("damage", [_cut, _shorter_than_header, _empty, _longer, _payload_bit, _header_bit, _key_bit])
def test_damaged_entry_is_a_miss_and_goes(store, damage):
    store.put(KEY, b"payload")
    path = store._path(KEY)
    path.write_bytes(damage(path.read_bytes()))
    assert store.get(KEY) is None
    assert not path.exists()
    store.put(KEY, b"payload")
    assert store.get(KEY) == b"payload"


def test_entry_under_another_key_is_a_miss(store):
    store.put(KEY, b"payload")
    target = store._path(OTHER)
    target.parent.mkdir(exist_ok=True)
    os.replace(store._path(KEY), target)
    assert store.get(OTHER) is None


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_folder_is_private(tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    store = cache.DiskCache(folder)
    store.put(KEY, b"x")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_unusable_folder_is_an_empty_cache(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    store = cache.DiskCache(tmp_path / "file" / "kernels")
    store.put(KEY, b"x")
    assert store.get(KEY) is None
    assert "not cached" in caplog.text


def test_trim_removes_the_oldest(tmp_path):
    store = cache.DiskCache(tmp_path / "kernels", limit_bytes=3500)
    keys = [hashlib.sha256(bytes([n])).hexdigest() for n in range(6)]
    for age, key in enumerate(reversed(keys)):
        store.put(key, bytes(900))
        os.utime(store._path(key), (time.time() - 1000 + age,) * 2)
    store.trim()
    assert [store.get(key) is not None for key in keys] == [True] * 3 + [False] * 3


def _write(folder, number):
    store = cache.DiskCache(folder)
    for _ in range(50):
        store.put(KEY, bytes([number]) * 5000)


def test_processes_never_see_half_a_file(tmp_path):
    folder = tmp_path / "kernels"
    writers = [multiprocessing.get_context("spawn").Process(target=_write, args=(folder, n)) for n in (1, 2)]
    for writer in writers:
        writer.start()
    store, seen = cache.DiskCache(folder), set()
    while any(writer.is_alive() for writer in writers):
        if (payload := store.get(KEY)) is not None:
            assert payload in (bytes([1]) * 5000, bytes([2]) * 5000)
            seen.add(payload[:1])
        time.sleep(0.002)
    assert store.get(KEY) is not None
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize("setting", ["off", "none"])
def test_switched_off(monkeypatch, setting):
    monkeypatch.setenv("USBGPU_CACHE", setting)
    cache.default().put(KEY, b"x")
    assert cache.default().get(KEY) is None
