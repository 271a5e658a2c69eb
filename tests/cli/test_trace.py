"""`usbgpu emulator trace` and `show`: what a run looks like in words."""
from __future__ import annotations

import json
import re
from collections import defaultdict

import pytest

from .conftest import usbgpu


def test_program_runs_as_without_us(traced):
    assert traced.stdout == "sum 1048576 --flag word\n"
    assert traced.status == 7


@pytest.mark.parametrize("pattern", [
    r"read_xdata +XDATA LTSSM \(0xb450\) -> 78 \(link up\)",
    r"config read 00:00\.0 VENDOR_ID", r"-> VENDOR_ID 0x744c1002",
    r"config write 04:00\.0 COMMAND = 0x7 \(io, memory, bus master\)",
    r"read register RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE", r"-> RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE 0x00006000",
    r"write GCVM_CONTEXT0_CNTL = 0x\w+ \(.*enable_context=0x1",
    r"write CP_HQD_ACTIVE = 0x00000001 \(active=0x1\)",
    r"write HDP_MEM_FLUSH = 0x00000000",
    r"pcie_stream_write +stream write of \d+ bytes to VRAM 0x\w+",
    r"bulk_in +\d+ bytes: VRAM 0x5ffff0000 07142128",                  # the discovery table's signature
    r"sram_arm_out +arm bulk OUT: 16384 bytes to SRAM slot 8",
    r"sram_arm_in +arm bulk IN: \d+ bytes of SRAM from slot 0",
    r"doorbell 0x18 \(compute0\) = 0x10",
    r"compute0 0x\w+ WAIT_REG_MEM function=EQ mem_space=memory",
    r"\. compute0 0x\w+ SET_SH_REG COMPUTE_PGM_LO=0x\w+ COMPUTE_PGM_HI=0x\w+",
    r"\. compute0 0x\w+ DISPATCH_DIRECT groups_x=4 groups_y=1 groups_z=1 compute_shader_en=1",
    r"doorbell 0x800 \(sdma0\.0\) = 0x\w+", r"sdma0\.0 0x\w+ POLL_REGMEM function=EQ mem_poll=memory",
    r"sdma0\.0 0x\w+ COPY_LINEAR bytes=0x\w+ source=0x\w+ destination=0x\w+",
    r"RELEASE_MEM event_type=CACHE_FLUSH_AND_INV_TS_EVENT event_index=5",
    r"launch add at 0x\w+00: grid 4x1x1, block 256x1x1, wave32, user SGPRs \w+",
    r"\[0,0,0\] w0 add\+0x0 ", r"v_add_f32_e32 v\d+, v\d+, v\d+", r"v\d+ = \w{8} \w{8} \w{8} \w{8} \.\.\. \(",
])
def test_lines(traced, pattern):
    assert re.search(pattern, traced.text), pattern


def test_wire_and_engines_agree_on_the_packets(traced):
    """What the doorbells handed over, decoded from the wire alone, is what the engines fetched."""
    wire, engines = defaultdict(list), defaultdict(list)
    for row in traced.rows:
        for seen in row.get("decoded", {}).get("packets", []):
            wire[seen["queue"]].append((seen["address"], seen["packet"], seen.get("fields")))
        if row.get("event") == "packet":
            engines[row["queue"]].append((row["address"], row["decoded"]["packet"], row["decoded"].get("fields")))
    assert set(engines) == {"compute0", "sdma0.0"} and all(len(packets) > 5 for packets in engines.values())
    assert wire == engines


def test_instructions_are_limited_and_only_of_the_kernel(traced):
    executed = [row for row in traced.rows if row.get("event") == "instruction"]
    assert len(executed) == 2 * 40
    assert all(row["place"].startswith("add+") for row in executed)
    assert [row["place"] for row in executed][0] == "add+0x0"
    launches = [row for row in traced.rows if row.get("event") == "launch"]
    assert [row["kernel"] for row in launches].count("add") == 2


def test_an_instruction_shows_what_it_wrote(traced):
    """v0 of the first wave holds the work-item ids; the product with the block size is added to them."""
    row = next(row for row in traced.rows if row.get("event") == "instruction" and "v_mad_u64_u32" in row["text"])
    kind, _, count, values = row["results"][-1]
    assert (kind, count, values[:32]) == ("v", 2, list(range(32)))


def test_show_decodes_the_same_from_the_file(traced):
    shown = usbgpu("emulator", "show", traced.path, check=0).stdout
    for pattern in (r"doorbell 0x18 \(compute0\) = 0x10", r"launch add at", r"write GCVM_CONTEXT0_CNTL"):
        assert re.search(pattern, shown), pattern
    as_json = [json.loads(line) for line in usbgpu("emulator", "show", "--json", traced.path, check=0).stdout.splitlines()]
    names = [row["name"] for row in as_json if "name" in row]
    assert names == [row["decoded"]["name"] for row in traced.rows if "op" in row]


@pytest.mark.parametrize("words, expected, absent", [
    ("launches", "launch add", "XDATA"), ("CP_HQD_*", "CP_HQD_ACTIVE", "LTSSM"), ("DISPATCH_DIRECT", "groups_x=4", "COPY"),
    ("xdata,config", "LTSSM", "CP_HQD"), ("doorbells", "doorbell 0x18", "LTSSM"),
])
def test_filter(traced, words, expected, absent):
    shown = usbgpu("emulator", "show", "--filter", words, traced.path, check=0).stdout
    assert expected in shown and absent not in shown


def test_text_goes_to_standard_error_without_a_file(program):
    done = usbgpu("emulator", "trace", "--filter", "launches", program, check=7)
    assert "launch add" in done.stderr and done.stdout == "sum 1048576\n"
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("arguments, status, message", [
    (["-c", "raise SystemExit(3)"], 3, "no USB GPU"),
    (["-c", "1/0"], 1, "ZeroDivisionError"),
    (["missing.py"], 2, "There is no script missing.py"),
    ([], 2, "Which program?"),
    (["--filter", "nonsense", "-c", "0"], 2, "is no category"),
    (["-o", "/nowhere/at/all", "-c", "0"], 2, "cannot be written"),
])
def test_other_ends(arguments, status, message):
    done = usbgpu("emulator", "trace", *arguments, check=status)
    assert message in done.stderr
    assert "runpy" not in done.stderr


TWICE = '''
import numpy as np
from torch_usbgpu import compiler
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device
from torch_usbgpu.usb import emulated

adapter = EmulatedAdapter("navi31")
for run in range(2):
    with Device(adapter, (emulated.firmware_directory("navi31"),)) as gpu:
        kernel = gpu.load(compiler.compile('extern "C" __global__ void one(float* x) { x[threadIdx.x] = 1; }', gpu.arch))["one"]
        x, result = gpu.alloc(512), np.empty(32, np.float32)
        gpu.launch(kernel, 1, 32, [x])
        gpu.copy_out(result, x)
        assert (result == 1).all()
    adapter.reopen()
'''


def test_second_device_and_warm_start(tmp_path):
    """A warm start writes no page tables: the ring cannot be followed, but the command windows say what they are."""
    path = tmp_path / "run"
    usbgpu("emulator", "trace", "-o", path, "--text", tmp_path / "text", "--packets", "wire", "-c", TWICE, check=0)
    cold, warm = (tmp_path / "text").read_text().split("---- device 2\n")
    assert "compute0 0x" in cold and "compute0? 0x" not in cold
    assert "compute0? 0x" in warm and "launch one at" in warm and "launch one at" in cold
    assert usbgpu("emulator", "show", "--filter", "launches", tmp_path / "run.2", check=0).stdout.count("launch (unnamed)") >= 1


def test_mailboxes_say_what_they_are_told(traced):
    loaded = re.findall(r"PSP LOAD_IP_FW (\w+), (\d+) bytes at 0x\w+, fence (\d+)", traced.text)
    assert [kind for kind, _, _ in loaded][0] == "SMU" and "RLC_G" in {kind for kind, _, _ in loaded}
    assert [int(fence) for _, _, fence in loaded] == sorted({int(fence) for _, _, fence in loaded})
    for command in ("PSP LOAD_TOC", "PSP SETUP_TMR 0x", "PSP AUTOLOAD_RLC"):
        assert command in traced.text
    for text in ("MP0_SMN_C2PMSG_35 = 0x10000 [LOAD_SYSDRV]", "MP1_SMN_C2PMSG_66 = 0x6 [EnableAllSmuFeatures]"):
        assert f"write {text}" in traced.text
