"""What is believed or executed lies where nobody else can write, whole or not at all, and one process holds a lock."""
from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import stat
import sys

import pytest

from torch_usbgpu import private_files
from torch_usbgpu.errors import UnsafePlace
from torch_usbgpu.private_files import ContentStore, Lock, LockHeld

ROOT = os.name == "posix" and os.getuid() == 0
pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes of POSIX")


def mode(path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def somebody_else(monkeypatch):
    """From now on what was made before belongs to another user than the one who runs."""
    monkeypatch.setattr(private_files.os, "geteuid", lambda: os.getuid() + 4711)


# ---- folders

def test_created_with_all_that_leads_to_it(tmp_path, umask):
    made = private_files.directory(tmp_path / "a" / "b" / "c")
    assert made == tmp_path / "a" / "b" / "c"
    assert [mode(path) for path in (made, made.parent, made.parent.parent)] == [0o700] * 3


@pytest.mark.parametrize("before", [0o755, 0o750, 0o711, 0o777, 0o1777])
def test_a_folder_of_ours_is_closed(tmp_path, before):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(before)
    assert mode(private_files.directory(tmp_path / "a")) == 0o700


@pytest.mark.parametrize("before, refused", [(0o755, False), (0o777, True), (0o1777, True), (0o757, True)])
def test_a_folder_that_others_may_have_filled(tmp_path, before, refused):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "there").touch()
    (tmp_path / "a").chmod(before)
    if refused:
        with pytest.raises(UnsafePlace, match="not empty") as caught:
            private_files.directory(tmp_path / "a")
        assert "chmod 700" in caught.value.action and mode(tmp_path / "a") == before
    else:
        assert mode(private_files.directory(tmp_path / "a")) == 0o700


def test_a_file_system_without_modes(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o777)
    monkeypatch.setattr(private_files.Path, "chmod", lambda *_: None)
    with pytest.raises(UnsafePlace, match="does not keep access modes"):
        private_files.directory(tmp_path / "a")


@pytest.mark.parametrize("leading, refused", [(0o777, True), (0o757, True), (0o1777, False), (0o755, False), (0o700, False)])
@pytest.mark.parametrize("exists", [True, False])
def test_the_way_to_it(tmp_path, leading, refused, exists):
    (tmp_path / "way").mkdir()
    if exists:
        (tmp_path / "way" / "ours").mkdir(0o700)
    (tmp_path / "way").chmod(leading)
    if refused:
        with pytest.raises(UnsafePlace, match="can be written by other users"):
            private_files.directory(tmp_path / "way" / "ours")
        assert (tmp_path / "way" / "ours").exists() is exists
    else:
        private_files.directory(tmp_path / "way" / "ours")


def test_a_group_counts_as_others_unless_it_is_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "way").mkdir()
    (tmp_path / "way").chmod(0o775)
    monkeypatch.setattr(private_files, "_only_private_group", lambda status: False)
    with pytest.raises(UnsafePlace):
        private_files.directory(tmp_path / "way" / "ours")
    monkeypatch.setattr(private_files, "_only_private_group", lambda status: True)
    private_files.directory(tmp_path / "way" / "ours")


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.parametrize("group, members, private", [("root", ["root"], True), ("root", ["root", "eve"], False), ("staff", [], False)])
def test_what_a_private_group_is(tmp_path, monkeypatch, group, members, private):
    import grp
    tmp_path.chmod(0o770)
    monkeypatch.setattr(grp, "getgrgid", lambda number: grp.struct_group((group, "x", number, members)))
    assert private_files._only_private_group(tmp_path.stat()) is private


def test_a_folder_of_another_user(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir(0o700)
    monkeypatch.setattr(private_files, "_trusted", lambda owner: True)
    somebody_else(monkeypatch)
    with pytest.raises(UnsafePlace, match="belongs to another user"):
        private_files.directory(tmp_path / "theirs")


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_a_way_that_belongs_to_another_user(tmp_path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 4711, 4711)
    with pytest.raises(UnsafePlace, match="belongs to another user"):
        private_files.directory(tmp_path / "theirs" / "ours")


@pytest.mark.parametrize("leading", [0o755, 0o777])
def test_links_are_followed_to_safe_places_only(tmp_path, leading):
    (tmp_path / "far").mkdir()
    (tmp_path / "far").chmod(leading)
    (tmp_path / "link").symlink_to("far")
    if leading == 0o777:
        with pytest.raises(UnsafePlace):
            private_files.directory(tmp_path / "link" / "ours")
    else:
        private_files.directory(tmp_path / "link" / "ours")
        assert mode(tmp_path / "far" / "ours") == 0o700


def test_the_folder_itself_may_be_a_link_of_ours(tmp_path):
    (tmp_path / "far").mkdir(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "far")
    assert private_files.directory(tmp_path / "link") == (tmp_path / "far").resolve() and mode(tmp_path / "far") == 0o700


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.parametrize("below", ["", "ours"])
def test_a_link_of_another_user_in_a_sticky_folder(tmp_path, below):
    """Where anybody may create names, as in /tmp, a link would lead us to a folder of an attacker's choosing."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    (tmp_path / "target").mkdir(0o700)
    (tmp_path / "tmp" / "link").symlink_to(tmp_path / "target")
    os.chown(tmp_path / "tmp" / "link", 4711, 4711, follow_symlinks=False)
    with pytest.raises(UnsafePlace, match="belongs to another user"):
        private_files.directory(tmp_path / "tmp" / "link" / below)


def test_a_ring_of_links_ends(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        private_files.directory(tmp_path / "a" / "ours")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OSError):
            private_files.directory(path)


def test_folders_fall_back(tmp_path, monkeypatch):
    """Neither a runtime directory nor a home of one's own: under sudo, in containers."""
    monkeypatch.setattr(private_files.platformdirs, "user_runtime_dir", lambda name: str(tmp_path / "bad" / "run"))
    monkeypatch.setattr(private_files.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "bad" / "cache"))
    monkeypatch.setattr(private_files.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad").chmod(0o777)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    ours = tmp_path / "tmp" / f"torch_usbgpu-{os.geteuid()}"
    assert private_files.runtime_directory() == ours
    assert private_files.cache_folder("kernels") == ours / "kernels"
    assert mode(ours) == 0o700
    (tmp_path / "tmp").chmod(0o777)
    with pytest.raises(UnsafePlace) as caught:
        private_files.runtime_directory()
    assert "bad/run" in caught.value.state["tried"]


# ---- files

def test_written_whole_and_private(tmp_path, umask):
    for durable in (True, False):
        private_files.write(tmp_path / "file", b"first", durable=durable)
        private_files.write(tmp_path / "file", (b"sec", b"ond"), durable=durable)
        assert private_files.read(tmp_path / "file") == b"second" and mode(tmp_path / "file") == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    private_files.write(tmp_path / "file", b"old")

    def parts():
        yield b"new"
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        private_files.write(tmp_path / "file", parts())
    assert (tmp_path / "file").read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_link_in_place_of_the_file_is_replaced_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "file").symlink_to("victim")
    with pytest.raises(OSError):
        private_files.read(tmp_path / "file")
    private_files.write(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious" and private_files.read(tmp_path / "file") == b"new"


@pytest.mark.parametrize("bits, refused", [(0o600, False), (0o644, False), (0o666, True), (0o602, True)])
def test_modes_of_files(tmp_path, bits, refused):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "file").chmod(bits)
    if refused:
        with pytest.raises(UnsafePlace, match="written by other users"):
            private_files.read(tmp_path / "file")
    else:
        assert private_files.read(tmp_path / "file") == b"x"


def test_a_file_of_another_user(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    somebody_else(monkeypatch)
    with pytest.raises(UnsafePlace, match="belongs to another user"):
        private_files.read(tmp_path / "file")


def test_a_pipe_does_not_stop_us(tmp_path):
    os.mkfifo(tmp_path / "file")
    with pytest.raises(UnsafePlace, match="plain file"):
        private_files.read(tmp_path / "file")


@pytest.mark.parametrize("folder, file, refused", [(0o755, 0o644, False), (0o775, 0o664, False), (0o777, 0o644, True),
                                                   (0o1777, 0o644, False), (0o755, 0o646, True)])
def test_sources_that_anybody_could_change(tmp_path, folder, file, refused):
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware" / "file.bin").touch()
    (tmp_path / "firmware" / "file.bin").chmod(file)
    (tmp_path / "firmware").chmod(folder)
    if refused:
        with pytest.raises(UnsafePlace):
            private_files.check_source(tmp_path / "firmware" / "file.bin")
    else:
        private_files.check_source(tmp_path / "firmware" / "file.bin")


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.parametrize("folder, link, refused", [(0o755, False, False), (0o755, True, False), (0o1777, False, True), (0o1777, True, True)])
def test_sources_of_another_user(tmp_path, folder, link, refused):
    """A colleague's folder is the user's choice; in a folder such as /tmp anybody could have made it."""
    (tmp_path / "way").mkdir()
    (tmp_path / "way").chmod(folder)
    theirs = tmp_path / "way" / "theirs"
    if link:
        (tmp_path / "far").mkdir()
        theirs.symlink_to(tmp_path / "far")
    else:
        theirs.mkdir()
    os.chown(theirs, 4711, 4711, follow_symlinks=False)
    (theirs / "file.bin").touch()
    if refused:
        with pytest.raises(UnsafePlace, match="belongs to another user"):
            private_files.check_source(theirs / "file.bin")
    else:
        private_files.check_source(theirs / "file.bin")


# ---- content by hash

def test_content(tmp_path):
    store = ContentStore(tmp_path / "store")
    digest = store.put(b"content")
    assert digest == hashlib.sha256(b"content").hexdigest() == store.put(b"content")
    assert store.get(digest) == b"content" and list(store) == [digest]
    assert store.path(digest).name == f"{digest}.bin" and mode(store.path(digest)) == 0o600
    assert store.get(hashlib.sha256(b"other").hexdigest()) is None
    store.keep_only([])
    assert list(store) == []


@pytest.mark.parametrize("damage", [b"", b"contenu", b"content\0"])
def test_damaged_content_is_not_returned_and_is_mended(tmp_path, damage):
    store = ContentStore(tmp_path / "store")
    digest = store.put(b"content")
    store.path(digest).write_bytes(damage)
    assert store.get(digest) is None
    store.put(b"content")
    assert store.get(digest) == b"content"


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_names_that_are_no_hashes(tmp_path, digest):
    with pytest.raises(ValueError):
        ContentStore(tmp_path / "store").get(digest)


# ---- locks

def _hold(path, ready, go):
    with Lock(path):
        ready.set()
        go.wait(20)


@pytest.fixture
def held(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "lock", ready, go))
    process.start()
    assert ready.wait(20)
    yield process
    if process.is_alive():
        go.set()
        process.join(20)


def test_the_holder_is_named(held, tmp_path):
    with pytest.raises(LockHeld) as caught:
        Lock(tmp_path / "lock")
    assert caught.value.pid == held.pid == private_files.holder(tmp_path / "lock").pid
    assert mode(tmp_path / "lock") == 0o600
    held.kill()
    held.join(20)
    assert private_files.holder(tmp_path / "lock") is None        # though its pid is still in the file
    with Lock(tmp_path / "lock"):
        assert private_files.holder(tmp_path / "lock").pid == os.getpid()
    assert private_files.holder(tmp_path / "lock") is None and (tmp_path / "lock").read_bytes() == b""


def test_nobody_holds_a_lock_that_never_was(tmp_path):
    assert private_files.holder(tmp_path / "lock") is None and not (tmp_path / "lock").exists()


def test_asking_who_holds_it_turns_nobody_away(tmp_path):
    """holder() takes the lock for a moment."""
    import threading
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            private_files.holder(tmp_path / "lock")
    with Lock(tmp_path / "lock"):
        pass
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(50):
            Lock(tmp_path / "lock").release()
    finally:
        stop.set()
        asking.join()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    """DataLoader workers outlive what their parent does with the device."""
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    lock = Lock(tmp_path / "lock")

    def child():
        ready.set()
        go.wait(20)
        lock.release()              # as the end of a child may do: nothing of the parent's goes away
    process = context.Process(target=child)
    process.start()
    assert ready.wait(20)
    lock.release()
    with Lock(tmp_path / "lock"):
        go.set()
        process.join(20)
        assert process.exitcode == 0 and private_files.holder(tmp_path / "lock").pid == os.getpid()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="calls fork() of the C library")
def test_a_child_that_python_did_not_make(tmp_path):
    """A library may fork without Python's handlers: its child has the file open, and the lock goes all the same."""
    lock, (read, write) = Lock(tmp_path / "lock"), os.pipe()
    child = ctypes.CDLL(None).fork()
    if child == 0:
        os.read(read, 1)
        os._exit(0)
    try:
        lock.release()
        Lock(tmp_path / "lock").release()
    finally:
        os.write(write, b"x")
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def test_a_lock_through_a_link(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "lock").symlink_to("victim")
    with pytest.raises(OSError):
        Lock(tmp_path / "lock")
    assert (tmp_path / "victim").read_bytes() == b"precious"
