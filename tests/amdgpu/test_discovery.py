"""The discovery table's parser, on tables built from the chips' facts."""
from __future__ import annotations

import pytest
from .boards import discovery_binary

from torch_usbgpu.amdgpu import discovery
from torch_usbgpu.amdgpu.facts import load, put_field
from torch_usbgpu.errors import BootError, UnsupportedChip

CHIPS = load("chips")["chips"]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("chip", CHIPS)
def test_blocks_and_geometry(chip, wide):
    found = discovery.parse(discovery_binary(chip, wide=wide))
    for ip, version in CHIPS[chip]["ip_versions"].items():
        assert found.find(ip).version == version
        assert list(found.find(ip).bases) == load("chips")["ip_bases"]["segments"][ip]
    geometry = CHIPS[chip]["geometry"]
    assert found.geometry.compute_units == geometry["num_cu_full"]
    assert found.geometry.lds_bytes == 65536 and found.geometry.shader_engines == geometry["num_se"]
    assert discovery.identify_chip(found) == (chip, CHIPS[chip])


def test_the_other_geometry_table():
    found = discovery.parse(discovery_binary("navi31", gc_major=2))
    assert found.geometry.compute_units == 96


def test_harvested_units():
    assert discovery.parse(discovery_binary("navi31", harvest=((12, 0), (12, 1)))).harvested == {(12, 0), (12, 1)}


@pytest.mark.parametrize("at", [12, 70, 200, 350])
def test_damage_is_noticed(at):
    binary = bytearray(discovery_binary("navi31"))
    binary[at] ^= 0x10
    with pytest.raises(BootError):
        discovery.parse(bytes(binary))


def test_a_table_checksum_of_its_own():
    binary = bytearray(discovery_binary("navi31"))
    binary[14] ^= 1                                        # checksum of the IP table
    put_field(binary, "discovery_binary_header", "binary_checksum", sum(binary[10:]) & 0xFFFF)
    with pytest.raises(BootError, match="IP_DISCOVERY checksum"):
        discovery.parse(bytes(binary))


@pytest.mark.parametrize("binary", [bytes(10240), b"\xff" * 10240])
def test_no_table(binary):
    with pytest.raises(BootError, match="no discovery table"):
        discovery.parse(binary)


@pytest.mark.parametrize(("changed", "message"), [
    ({"GC": "11.0.1"}, "graphics core 11.0.1"), ({"GC": "9.4.3"}, "graphics core 9.4.3, Aqua Vanjaram"),
    ({"MMHUB": "3.3.0"}, "MMHUB in version 3.3.0"), ({"MMHUB": "3.0.1"}, "MMHUB in version 3.0.1"), ({"OSSSYS": "5.0.0"}, "OSSSYS in version 5.0.0")])
def test_unknown_chips_are_refused(changed, message):
    with pytest.raises(UnsupportedChip, match=message):
        discovery.identify_chip(discovery.parse(discovery_binary("navi31", changed=changed)))


@pytest.mark.parametrize(("chip", "ip", "version", "file"), [
    ("navi33", "OSSSYS", "6.0.2", "osssys_6_0_0"), ("navi33", "HDP", "6.0.1", "hdp_6_0_0"),
    ("navi32", "NBIO", "4.3.1", "nbio_4_3_0"), ("navi32", "MMHUB", "3.0.2", "mmhub_3_0_2"),
    ("navi33", "MMHUB", "3.0.0", "mmhub_3_0_0"), ("navi32", "MMHUB", "3.0.3", "mmhub_3_0_0")])
def test_the_register_file_is_that_of_the_version_found(chip, ip, version, file, caplog):
    """As Linux chooses its drivers: which revisions the boards with a chip have is not known of all."""
    found = discovery.parse(discovery_binary(chip, changed={ip: version}))
    name, facts = discovery.identify_chip(found)
    assert name == chip and facts["register_files"] == {**CHIPS[chip]["register_files"], ip: file}
    assert ("is assumed" in caplog.text) == (version == "3.0.3")


def test_known_other_cards_are_refused_by_their_id():
    with pytest.raises(UnsupportedChip, match=r"AMD Navi 21 \(RX 6800/6900 XT\)"):
        discovery.refuse_other_card(0x73BF)
    supported = {int(board["device"], 16) for board in load("pci_ids")["boards"]}
    for device in supported:
        discovery.refuse_other_card(device)
