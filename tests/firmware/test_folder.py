"""The folder of installed files: one set or another, never a mixture, and nothing that has changed since."""
from __future__ import annotations

import json
import os
import stat

import pytest

from torch_usbgpu import private_files
from torch_usbgpu.amdgpu import firmware_folder
from torch_usbgpu.amdgpu.firmware import find_file
from torch_usbgpu.amdgpu.firmware_folder import FirmwareFolder
from torch_usbgpu.errors import FirmwareMismatch, FirmwareMissing, UnsafePlace

FIRST = {"a.bin": (b"a1", "first"), "b.bin": (b"b1", "first")}
SECOND = {"a.bin": (b"a2", "second"), "b.bin": (b"b2", "second")}


@pytest.fixture
def folder(tmp_path):
    made = FirmwareFolder(tmp_path / "firmware")
    made.install(FIRST, "2026-01-01")
    return made


def contents(folder) -> dict[str, bytes]:
    return {name: folder.read(name)[0] for name in folder.files()}


def test_what_was_installed_is_read(folder):
    assert contents(folder) == {"a.bin": b"a1", "b.bin": b"b1"} and folder.read("c.bin") is None
    assert folder.files()["a.bin"].source == "first"
    assert find_file("a.bin", [folder.path])[0] == b"a1"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder.path, folder.path / "sha256", folder.path / "installed.json",
            folder.read("a.bin")[1])] == [0o700, 0o700, 0o600, 0o600]


def test_new_files_replace_and_join_old_ones(folder):
    folder.install({"a.bin": (b"a2", "second"), "c.bin": (b"c2", "second")}, "2026-01-02")
    assert contents(folder) == {"a.bin": b"a2", "b.bin": b"b1", "c.bin": b"c2"}
    assert len(list((folder.path / "sha256").iterdir())) == 3          # a1 went


@pytest.mark.parametrize("moment", ["first file", "second file", "list", "rename"])
def test_an_installation_that_breaks_off_changes_nothing(folder, monkeypatch, moment):
    """A full disk, a signal: at any moment the old set is there, whole."""
    real, count = private_files.write, []

    def write(path, data, **options):
        count.append(path)
        if (moment, len(count)) in (("first file", 1), ("second file", 2), ("list", 3)):
            raise OSError(28, "No space left on device")
        if moment == "rename" and len(count) == 3:
            monkeypatch.setattr(private_files.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        return real(path, data, **options)
    monkeypatch.setattr(private_files, "write", write)
    with pytest.raises((OSError, KeyboardInterrupt)):
        folder.install(SECOND, "2026-01-02")
    monkeypatch.undo()
    assert contents(folder) == {"a.bin": b"a1", "b.bin": b"b1"}
    folder.install(SECOND, "2026-01-03")
    assert contents(folder) == {"a.bin": b"a2", "b.bin": b"b2"} and len(list((folder.path / "sha256").iterdir())) == 2


@pytest.mark.parametrize("damage, message", [
    (lambda path: path.write_bytes(b"evil"), "has changed since"), (lambda path: path.write_bytes(b""), "has changed since"),
    (lambda path: path.unlink(), "content is gone")])
def test_a_file_that_changed_is_refused_and_mended(folder, damage, message):
    damage(folder.read("a.bin")[1])
    with pytest.raises(FirmwareMismatch, match=message) as caught:
        find_file("a.bin", [folder.path, folder.path.parent])
    assert "usbgpu firmware install" in caught.value.action
    assert folder.read("b.bin")[0] == b"b1"
    folder.install({"a.bin": FIRST["a.bin"]}, "2026-01-02")
    assert contents(folder) == {"a.bin": b"a1", "b.bin": b"b1"}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 2, "files": {}}', '{"format": 1}', '{"format": 1, "files": {"a.bin": {}}}'])
def test_a_damaged_list(folder, text):
    (folder.path / "installed.json").write_text(text)
    with pytest.raises(FirmwareMismatch, match="list of installed firmware is damaged"):
        folder.read("a.bin")
    folder.install(SECOND, "2026-01-02")
    assert contents(folder) == {"a.bin": b"a2", "b.bin": b"b2"}


def test_a_list_cannot_name_files_elsewhere(folder, tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"x")
    listing = json.loads((folder.path / "installed.json").read_text())
    listing["files"]["a.bin"]["sha256"] = "../../secret"
    (folder.path / "installed.json").write_text(json.dumps(listing))
    with pytest.raises(FirmwareMismatch):
        folder.read("a.bin")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_folder_that_others_can_write(folder):
    folder.path.chmod(0o777)
    with pytest.raises(FirmwareMissing) as caught:
        find_file("a.bin", [folder.path])
    assert "can be written by other users" in caught.value.state["unreadable"]
    with pytest.raises(UnsafePlace):
        folder.install(SECOND, "2026-01-02")


def test_one_installation_at_a_time(folder):
    with private_files.Lock(folder.path / ".lock"), pytest.raises(private_files.LockHeld):
        folder.install(SECOND, "2026-01-02")
    assert contents(folder) == {"a.bin": b"a1", "b.bin": b"b1"}


def test_no_folder():
    assert FirmwareFolder("/nonexistent/firmware").files() == {} and firmware_folder.FORMAT == 1
