"""`usbgpu firmware`, as a user meets it."""
from __future__ import annotations

import hashlib
import json

import pytest

from tests.firmware import packages
from tests.firmware.conftest import home, images  # noqa: F401
from tests.firmware.test_download import Server, server  # noqa: F401
from torch_usbgpu.amdgpu.facts import load
from torch_usbgpu.firmware import needs

from .conftest import usbgpu

NAVI48 = [file.name for file in needs.of_chip("navi48")]


@pytest.fixture
def package(home, images):  # noqa: F811
    path = home / "firmware-amd-graphics_1_all.deb"
    path.write_bytes(packages.deb({f"usr/lib/firmware/amdgpu/{name}": data for name, data in images.items()}))
    return path


@pytest.fixture
def installed(package):
    usbgpu("firmware", "install", package, check=0)
    return package


def document(*arguments, check=0) -> dict:
    return json.loads(usbgpu("firmware", *arguments, "--json", check=check).stdout)


def states(*arguments, check=0) -> dict[str, str]:
    return {row["name"]: row["state"] for row in document("status", *arguments, check=check)["files"]}


def test_nothing_is_there(home):  # noqa: F811
    done = usbgpu("firmware", "status", check=1)
    assert "psp_13_0_0_sos.bin" in done.stdout and str(home / "system") in done.stdout
    assert "usbgpu firmware install" in done.stdout.splitlines()[-1]
    answer = document("status", check=1)
    assert not answer["complete"] and {row["state"] for row in answer["files"]} == {"missing"}
    assert "USBGPU-201" in usbgpu("firmware", "verify", check=2).stderr


def test_install_status_verify(package, images):  # noqa: F811
    answer = document("install", package)
    assert sorted(row["name"] for row in answer["new"]) == sorted(images) and answer["incomplete_chips"] == []
    rows = document("status")["files"]
    assert {row["name"]: row["sha256"] for row in rows} == {name: hashlib.sha256(data).hexdigest() for name, data in images.items()}
    assert all(row["state"] == "ok" and row["version"] for row in rows)
    assert document("verify")["good"]
    again = document("install", package)
    assert again["new"] == again["changed"] == [] and len(again["same"]) == len(images)
    text = usbgpu("firmware", "status", check=0).stdout
    assert "All files are there" in text and "installed" in text


def test_the_driver_uses_them(package, monkeypatch):
    """The emulated dock's own images are passed over: the card boots with what was installed."""
    from torch_usbgpu.runtime import Device
    usbgpu("firmware", "install", package, "--card", "gfx1201", "--to", package.parent / "mine", check=0)
    monkeypatch.setenv("USBGPU_FIRMWARE", str(package.parent / "mine"))
    with Device("emulated:navi48") as device:
        origin = device.gpu.firmware.file("smu").origin
    assert str(package.parent / "mine" / "sha256") in origin


def test_only_what_a_card_needs(package, images):  # noqa: F811
    answer = document("install", package, "--card", "7551:c8")
    assert {row["name"] for row in answer["new"]} == {file.name for file in needs.of_board(0x7551, 0xC8)}
    assert answer["complete_chips"] == ["navi48"]
    usbgpu("firmware", "status", "--card", "7551:c8", check=0)
    usbgpu("firmware", "status", "--card", "navi48", check=1)


@pytest.mark.parametrize("device, options, special", [
    ("emulated:navi31", "", []), ("emulated:navi31", "board=Radeon Pro W7900D", ["psp_13_0_0_sos_kicker.bin"]), ("emulated:navi44", "", [])])
def test_the_card_in_the_dock(home, monkeypatch, device, options, special):  # noqa: F811
    monkeypatch.setenv("USBGPU_DEVICE", device)
    monkeypatch.setenv("USBGPU_EMULATOR", options)
    rows = document("status", "--card", "attached", check=1)["files"]
    assert {row["chip"] for row in rows} == {device.split(":")[1]}
    assert [row["name"] for row in rows if "psp" in row["name"] and "kicker" in row["name"]] == special


def test_no_card_in_the_dock(home, monkeypatch):  # noqa: F811
    monkeypatch.setenv("USBGPU_DEVICE", "emulated")
    monkeypatch.setenv("USBGPU_EMULATOR", "fault=no-card")
    done = usbgpu("firmware", "status", "--card", "attached", "--json", check=2)
    assert json.loads(done.stdout)["error"]["code"] == "USBGPU-112" and "USBGPU-112" in done.stderr


def test_an_older_release_without_the_files_of_few_boards(home, images):  # noqa: F811
    path = home / "old.pkg.tar.zst"
    plain = {file.name for file in needs.of_cards(()) if not file.boards}
    path.write_bytes(packages.pkg({f"usr/lib/firmware/amdgpu/{name}.zst": packages.zst(images[name]) for name in plain}))
    done = usbgpu("firmware", "install", path, check=0)
    assert "only for Radeon RX 7900 GRE: gc_11_0_0_rlc_1.bin" in done.stdout
    assert "optional" in usbgpu("firmware", "status", check=0).stdout
    usbgpu("firmware", "install", path, "--card", "744c:ce", check=1)


def test_a_source_that_lacks_a_chip(home, images):  # noqa: F811
    path = home / "x.rpm"
    path.write_bytes(packages.rpm({f"usr/lib/firmware/amdgpu/{name}": images[name] for name in images if name not in NAVI48}))
    done = usbgpu("firmware", "install", path, check=0)
    assert "Not complete: navi48." in done.stdout and "Ready: navi31, navi32, navi33, navi44." in done.stdout
    assert "USBGPU-201" in usbgpu("firmware", "install", path, "--card", "navi48", check=2).stderr


def test_nothing_is_lost_when_the_new_files_are_bad(installed, images):  # noqa: F811
    before = document("status")
    bad = dict(images, **{NAVI48[0]: images[NAVI48[0]][:-1] + b"?"})
    path = installed.with_name("bad.tar.xz")
    path.write_bytes(packages.tar({f"linux-firmware/amdgpu/{name}": data for name, data in bad.items()}, ".xz"))
    done = usbgpu("firmware", "install", path, check=2)
    assert "USBGPU-202" in done.stderr and NAVI48[0] in done.stderr and "checksum" in done.stderr
    assert document("status") == before
    verdict = document("verify", path, check=1)
    assert [row["name"] for row in verdict["files"] if row["state"] == "bad"] == [NAVI48[0]]


def test_damage_on_the_disk_is_found_and_mended(installed):
    from pathlib import Path
    row = next(row for row in document("status")["files"] if row["name"] == "smu_13_0_7.bin")
    Path(row["place"]).write_bytes(b"rotten")
    assert states("--card", "navi33", check=1)["smu_13_0_7.bin"] == "bad"
    assert "has changed since it was installed" in usbgpu("firmware", "verify", check=1).stdout
    assert [row["name"] for row in document("install", installed)["changed"]] == ["smu_13_0_7.bin"]
    assert states("--card", "navi33")["smu_13_0_7.bin"] == "ok"


def test_dry_run_writes_nothing(package, home):  # noqa: F811
    before = sorted(home.rglob("*"))
    assert "would be installed" in usbgpu("firmware", "install", package, "--dry-run", check=0).stdout
    assert sorted(home.rglob("*")) == before


def test_from_an_address(package, server):  # noqa: F811
    data = package.read_bytes()
    server.files["/pool/x.deb"] = data
    refused = usbgpu("firmware", "install", f"{server.url}/pool/x.deb", check=2)
    assert "USBGPU-207" in refused.stderr and "SHA-256" in refused.stderr
    wrong = usbgpu("firmware", "install", f"{server.url}/pool/x.deb", "--sha256", "0" * 64, check=2)
    assert "not what was promised" in wrong.stderr
    states(check=1)
    answer = document("install", f"{server.url}/pool/x.deb", "--sha256", hashlib.sha256(data).hexdigest())
    assert answer["complete_chips"] == sorted(needs.chips())


def test_from_a_release(home, images, server, monkeypatch):  # noqa: F811
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in images.items()}
    monkeypatch.setitem(load("firmware_files")["releases"], "20990101", sums)
    server.files |= {f"/20990101/{name}": data for name, data in images.items()}
    pattern = server.url + "/{release}/{name}"
    answer = document("install", "--download", "--release", "20990101", "--file-url", pattern, "--card", "navi33")
    assert answer["complete_chips"] == ["navi33"] and len(server.asked) == len(needs.of_chip("navi33"))
    row = document("status", "--card", "navi33")["files"][0]
    assert row["releases"] == ["20990101"]


def test_two_installations_at_once(package, home):  # noqa: F811
    from torch_usbgpu.amdgpu.firmware import user_directory
    from torch_usbgpu.private_files import Lock, directory
    with Lock(directory(user_directory()) / ".lock"):
        assert "Another installation is running" in usbgpu("firmware", "install", package, check=2).stderr
    usbgpu("firmware", "install", package, check=0)


def test_sum_of_a_local_file(package):
    usbgpu("firmware", "install", package, "--sha256", "0" * 64, check=2)
    usbgpu("firmware", "install", package, "--sha256", hashlib.sha256(package.read_bytes()).hexdigest(), check=0)


@pytest.mark.parametrize("words", [
    ["install"], ["install", "x.deb", "--download"], ["install", "x.deb", "--release", "20260916"], ["install", "/nowhere.deb"],
    ["install", "--download", "--release", "yesterday"], ["status", "--card", "navi99"], ["verify", "/nowhere"],
    ["install", "--download", "--release", "20990101", "--file-url", "https://x/{name}"], ["remove"]])
def test_wrong_usage(home, words):  # noqa: F811
    done = usbgpu("firmware", *words, check=2)
    assert done.stdout == "" and done.stderr and "Traceback" not in done.stderr
