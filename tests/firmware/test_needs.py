"""Which files which card needs."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from torch_usbgpu.amdgpu.facts import load
from torch_usbgpu.errors import ConfigError
from torch_usbgpu.firmware import needs

REAL = json.loads((Path(__file__).parents[1] / "amdgpu" / "firmware_slices.json").read_text())["files"]


def test_every_name_is_a_file_of_linux_firmware_with_a_known_sum():
    newest = next(iter(load("firmware_files")["releases"].values()))
    assert set(needs.known_names()) <= set(REAL) == set(newest)


@pytest.mark.parametrize("chip, kinds", [
    ("navi31", ["sos", "smu", "sdma", "mec", "imu", "rlc"]), ("navi32", ["sos", "smu", "sdma", "mec", "imu", "rlc"]),
    ("navi33", ["sos", "smu", "sdma", "mec", "imu", "rlc"]),
    ("navi44", ["sos", "smu", "sdma", "pfp", "me", "mec", "imu", "rlc"]),
    ("navi48", ["sos", "smu", "sdma", "pfp", "me", "mec", "imu", "rlc"])])
def test_kinds(chip, kinds):
    assert [file.kind for file in needs.of_chip(chip) if not file.boards] == kinds


def test_the_page_names_them():
    """docs/firmware.md: blocks' versions per chip, and the boards with files of their own."""
    import re
    page = (Path(__file__).parents[2] / "docs" / "firmware.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| Navi (\d\d) .*?\| (.*) \|$", page, re.MULTILINE))
    assert {f"navi{number}" for number in rows} == set(needs.chips())
    for number, row in rows.items():
        psp, sdma, core, special = (cell.strip() for cell in row.split("|"))
        names = {file.name for file in needs.of_chip(f"navi{number}") if not file.boards}
        assert {f"psp_{psp}_sos.bin", f"smu_{psp}.bin", f"sdma_{sdma}.bin", f"gc_{core}_mec.bin"} <= names
        others = {file.name for file in needs.of_chip(f"navi{number}") if file.boards}
        assert bool(special) == bool(others) and ("rlc_1" in special) == any("rlc_1" in name for name in others)
        assert ("_kicker" in special) == any("_kicker" in name for name in others)


@pytest.mark.parametrize("card, special", [
    ("744c:c8", set()), ("744B:00", {"psp_13_0_0_sos_kicker.bin", "smu_13_0_0_kicker.bin", "gc_11_0_0_imu_kicker.bin",
                                     "gc_11_0_0_rlc_kicker.bin"}),
    ("1002:744c:ce", {"gc_11_0_0_rlc_1.bin"}),
    ("7551:c8", {"psp_14_0_3_sos_kicker.bin", "smu_14_0_3_kicker.bin", "gc_12_0_1_imu_kicker.bin", "gc_12_0_1_rlc_kicker.bin"})])
def test_boards(card, special):
    files = needs.of_cards((card,))
    assert {file.name for file in files if "kicker" in file.name or "_1.bin" in file.name and "rlc_1" in file.name} == special
    assert len(files) == len({file.kind for file in files}) and not any(file.boards for file in files)


def test_files_of_few_boards_are_marked():
    marked = {file.name: file.boards for file in needs.of_chip("navi31") if file.boards}
    assert marked["gc_11_0_0_rlc_1.bin"] == ("Radeon RX 7900 GRE",) and len(marked) == 5


def test_a_board_that_was_named_needs_its_files_even_beside_its_chip():
    for cards in (("navi48", "7551:c8"), ("7551:c8", "navi48")):
        files = {file.name: file for file in needs.of_cards(cards)}
        assert not files["psp_14_0_3_sos_kicker.bin"].boards and not files["psp_14_0_3_sos.bin"].boards


@pytest.mark.parametrize("card", ["gfx1201", "NAVI48"])
def test_names_of_chips(card):
    assert needs.of_cards((card,)) == needs.of_chip("navi48")


def test_all_cards():
    assert {file.chip for file in needs.of_cards(())} == set(needs.chips())


@pytest.mark.parametrize("card", ["navi99", "", "ffff:00", "744c", "744c:"])
def test_unknown_cards(card):
    with pytest.raises(ConfigError) as caught:
        needs.of_cards((card,))
    assert "navi31" in caught.value.action
