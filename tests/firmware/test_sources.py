"""Folders, packages, archives: what is in them is found, what does not belong is left, what is damaged is refused."""
from __future__ import annotations

import lzma
import shutil
import subprocess

import pytest

from torch_usbgpu.errors import FirmwareMismatch, FirmwareMissing
from torch_usbgpu.firmware import sources
from torch_usbgpu.firmware.sources import read_files

from . import packages
from .packages import COMPRESS, zst

NAMES = ["smu_13_0_0.bin", "gc_11_0_0_mec.bin", "psp_13_0_0_sos.bin"]
CONTENT = {name: bytes((7 * i + n) & 0xFF for i in range(5000 + n)) for n, name in enumerate(NAMES)}

# how distributions lay it out: Debian, Fedora (compressed files), Arch (compressed), kernel.org's archive
DEBIAN = {f"usr/lib/firmware/amdgpu/{name}": data for name, data in CONTENT.items()}
OLD_DEBIAN = {f"lib/firmware/amdgpu/{name}": data for name, data in CONTENT.items()}
FEDORA = {f"usr/lib/firmware/amdgpu/{name}.xz": lzma.compress(data) for name, data in CONTENT.items()}
ARCH = {f"usr/lib/firmware/amdgpu/{name}.zst": zst(data) for name, data in CONTENT.items()}
KERNEL = {"linux-firmware-20260916/WHENCE": b"", **{f"linux-firmware-20260916/amdgpu/{name}": data for name, data in CONTENT.items()}}
NOISE = {"usr/lib/firmware/radeon/smu_13_0_0.bin": b"other", "usr/share/doc/x/changelog": b"text",
         "usr/lib/firmware/amdgpu/polaris10_mec.bin": b"old card"}


def packed(tmp_path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    return path


FORMATS = [
    *[pytest.param(lambda tree, c=c: packages.deb(tree, c), DEBIAN, id=f"deb{c}") for c in (".xz", ".zst", ".gz", "")],
    pytest.param(packages.deb, OLD_DEBIAN, id="deb-before-usrmerge"),
    *[pytest.param(lambda tree, c=c: packages.rpm(tree, c), FEDORA, id=f"rpm{c}") for c in (".zst", ".xz", ".gz", ".bz2")],
    pytest.param(packages.pkg, ARCH, id="pkg.tar.zst"),
    *[pytest.param(lambda tree, c=c: packages.tar(tree, c), KERNEL, id=f"tar{c}") for c in COMPRESS],
    pytest.param(packages.archive_zip, KERNEL, id="zip"),
]


@pytest.mark.parametrize("make, tree", FORMATS)
@pytest.mark.parametrize("name", ["package", "misleading.zip"])
def test_packages(tmp_path, make, tree, name):
    seen = []
    found = read_files(packed(tmp_path, name, make({**NOISE, **tree})), [*NAMES, "gc_11_0_0_imu.bin"],
                       lambda done, total: seen.append((done, total)))
    assert {key: file.data for key, file in found.items()} == CONTENT
    assert all(file.place.startswith(f"{name}: ") and key in file.place for key, file in found.items())
    assert seen and all(done <= total for done, total in seen)


@pytest.mark.parametrize("make, tree", FORMATS)
@pytest.mark.parametrize("part", [0.4, 0.97])
def test_cut_short(tmp_path, make, tree, part):
    """Never a crash and never a wrong file: an error, or (where the cut is behind it) what is whole."""
    whole = make(tree)
    try:
        found = read_files(packed(tmp_path, "package", whole[:int(len(whole) * part)]), NAMES)
    except FirmwareMismatch as error:
        assert "package" in str(error)
    else:
        assert all(file.data == CONTENT[name] for name, file in found.items())
        assert part > 0.9


@pytest.mark.parametrize("make, tree", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_damaged(tmp_path, make, tree, seed):
    import random
    numbers = random.Random(seed)
    damaged = bytearray(make(tree))
    for _ in range(40):
        damaged[numbers.randrange(10, len(damaged))] ^= 1 << numbers.randrange(8)
    try:
        read_files(packed(tmp_path, "package", bytes(damaged)), NAMES)
    except (FirmwareMismatch, FirmwareMissing):
        pass                    # a plain tar has no checksums: there, examining what comes out finds it


def test_a_payload_that_is_not_the_headers(tmp_path):
    path = packed(tmp_path, "x.rpm", packages.rpm(FEDORA, digest="0" * 64))
    with pytest.raises(FirmwareMismatch, match="not what its header promises"):
        read_files(path, NAMES)


LINKED = "psp_13_0_0_sos_kicker.bin"


@pytest.mark.parametrize("make, target", [
    (packages.deb, "psp_13_0_0_sos.bin"), (packages.rpm, "psp_13_0_0_sos.bin"), (packages.archive_zip, "psp_13_0_0_sos.bin"),
    (packages.pkg, "./psp_13_0_0_sos.bin"), (lambda tree: packages.tar(tree, ".xz", hard=True), "usr/lib/firmware/amdgpu/psp_13_0_0_sos.bin")])
@pytest.mark.parametrize("wanted", [[LINKED], [LINKED, *NAMES]])
@pytest.mark.parametrize("first", [True, False])
def test_links(tmp_path, make, target, wanted, first):
    """Distributions replace equal files by links, in any order, also to files that nobody asked for."""
    link = {f"usr/lib/firmware/amdgpu/{LINKED}": target}
    tree = {**link, **DEBIAN} if first else {**DEBIAN, **link}
    found = read_files(packed(tmp_path, "package", make(tree)), wanted)
    assert set(found) == set(wanted) and found[LINKED].data == CONTENT["psp_13_0_0_sos.bin"]


@pytest.mark.parametrize("target", [LINKED, "nowhere.bin", "/etc/passwd", "../../../../etc/passwd"])
def test_links_that_lead_nowhere(tmp_path, target):
    tree = {**DEBIAN, f"usr/lib/firmware/amdgpu/{LINKED}": target}
    assert set(read_files(packed(tmp_path, "package", packages.deb(tree)), [LINKED, *NAMES])) == set(NAMES)


@pytest.mark.parametrize("kind", ["folder", ".xz", "zip"])
def test_links_of_a_linux_firmware_tree(tmp_path, kind):
    """In its repository links are lines of WHENCE."""
    whence = f"Driver: amdgpu\nFile: amdgpu/psp_13_0_0_sos.bin\nLink: amdgpu/{LINKED} -> psp_13_0_0_sos.bin\n".encode()
    tree = {"WHENCE": whence, **{f"amdgpu/{name}": data for name, data in CONTENT.items()}}
    if kind == "folder":
        source = tmp_path / "linux-firmware"
        for path, data in tree.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(data)
    else:
        wrapped = {f"linux-firmware-20260916/{path}": data for path, data in tree.items()}
        source = packed(tmp_path, "archive", packages.archive_zip(wrapped) if kind == "zip" else packages.tar(wrapped, kind))
    found = read_files(source, [LINKED, NAMES[0]])
    assert found[LINKED].data == CONTENT["psp_13_0_0_sos.bin"] and found[NAMES[0]].data == CONTENT[NAMES[0]]


@pytest.mark.parametrize("root", ["", "amdgpu", "lib/firmware/amdgpu", "usr/lib/firmware/amdgpu"])
@pytest.mark.parametrize("suffix, pack", [("", bytes), (".xz", lzma.compress), (".zst", zst)])
def test_folders(tmp_path, root, suffix, pack):
    (tmp_path / root).mkdir(parents=True, exist_ok=True)
    for name, data in CONTENT.items():
        (tmp_path / root / f"{name}{suffix}").write_bytes(pack(data))
    assert {name: file.data for name, file in read_files(tmp_path, NAMES).items()} == CONTENT


@pytest.mark.parametrize("suffix, pack", [("", bytes), (".xz", lzma.compress), (".zst", zst)])
def test_one_file(tmp_path, suffix, pack):
    path = packed(tmp_path, f"{NAMES[0]}{suffix}", pack(CONTENT[NAMES[0]]))
    assert read_files(path, NAMES) == {NAMES[0]: sources.SourceFile(CONTENT[NAMES[0]], str(path))}


@pytest.mark.parametrize("content", [b"", b"hello", b"\x7fELF" + bytes(600), b"<!DOCTYPE html>" + bytes(600)])
def test_something_else(tmp_path, content):
    with pytest.raises(FirmwareMismatch, match="no package or archive"):
        read_files(packed(tmp_path, "thing", content), NAMES)


def test_nothing_there(tmp_path):
    with pytest.raises(FirmwareMissing, match="does not exist"):
        read_files(tmp_path / "nowhere", NAMES)
    assert read_files(tmp_path, NAMES) == {}


@pytest.mark.parametrize("make", [packages.deb, packages.rpm, packages.archive_zip, lambda tree: packages.tar(tree, ".gz")])
def test_bombs_are_not_unpacked(tmp_path, monkeypatch, make):
    monkeypatch.setattr(sources, "LARGEST_FILE_BYTES", 4096)
    monkeypatch.setattr(sources.unpack, "__defaults__", (4096,))
    for tree in ({f"amdgpu/{NAMES[0]}": bytes(5000)}, {f"amdgpu/{NAMES[0]}.xz": lzma.compress(bytes(5000))},
                 {f"amdgpu/{NAMES[0]}.zst": zst(bytes(5000))}):
        with pytest.raises(FirmwareMismatch, match="too large|unpacks to more"):
            read_files(packed(tmp_path, "package", make(tree)), NAMES)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")
@pytest.mark.parametrize("compression", ["xz", "zstd", "gzip"])
def test_a_package_that_debians_own_tool_made(tmp_path, compression):
    root = tmp_path / "root"
    for path, data in DEBIAN.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "usr/lib/firmware/amdgpu" / LINKED).symlink_to("psp_13_0_0_sos.bin")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text("Package: firmware-x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n")
    done = subprocess.run(["dpkg-deb", f"-Z{compression}", "--root-owner-group", "-b", root, tmp_path / "x.deb"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this dpkg-deb: {done.stderr.strip()}")
    found = read_files(tmp_path / "x.deb", [*NAMES, LINKED])
    assert {name: file.data for name, file in found.items()} == {**CONTENT, LINKED: CONTENT["psp_13_0_0_sos.bin"]}
