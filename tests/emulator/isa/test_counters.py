"""Counters and modelled times of hand-written kernels: exact numbers."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import torch_usbgpu

from .machine import Machine, assemble

ASIC = Path(torch_usbgpu.__file__).parent / "amdgpu" / "asic"
LANE = "v_and_b32 v0, 0x3ff, v0\n"


def run(text: str, user_data=(), machine: Machine | None = None, chip: str = "", **more) -> dict:
    machine = machine or Machine(threads=1, counters=True, chip=chip)
    result = machine.run_code(assemble(text + "\ns_endpgm"), user_data, **more)
    assert result["end"] == "complete", result["fault"]
    return result


def pointer(va: int) -> list[int]:
    return [va & 0xFFFFFFFF, va >> 32]


def test_classes_barriers_and_doubles():
    counters = run("""
        s_mov_b32 s0, 3
        loop:
        v_add_f32 v1, v1, v1
        v_dual_mov_b32 v2, v1 :: v_dual_mov_b32 v3, v4
        v_exp_f32 v4, v1
        v_add_f64 v[6:7], v[6:7], v[6:7]
        ds_load_b128 v[8:11], v12
        s_barrier
        s_sub_u32 s0, s0, 1
        s_cmp_lg_u32 s0, 0
        s_cbranch_scc1 loop""", lds_bytes=512, threads=64)["counters"]
    # s_barrier and s_endpgm are SALU, too
    expected = {"waves": 2, "workgroups": 1, "salu": 2 * (1 + 3 * 3 + 1), "valu": 2 * 6, "vopd": 2 * 3, "trans": 2 * 3, "lds": 2 * 3,
                "branch": 2 * 3, "other": 0, "barriers": 2 * 3, "valu_f64": 2 * 3, "lds_passes": 2 * 3 * 4,
                "active_lanes": 2 * 32 * 15, "wmma": 0}
    assert {name: counters[name] for name in expected} == expected
    assert counters["instructions"] == 2 * (1 + 3 * 9 + 1)


@pytest.mark.parametrize("write", [
    "s_mov_b32 exec_lo, 0xff", "s_and_b32 exec_lo, exec_lo, 0xff", "v_cmpx_gt_u32 8, v0",
    "s_mov_b32 vcc_lo, 0xff\ns_and_saveexec_b32 s6, vcc_lo",
])
def test_active_lanes_follow_exec(write):
    """Lanes count as they are when the instruction runs, also in the middle of a block."""
    before = f"{LANE}v_mov_b32 v1, 0\nv_mov_b32 v2, 0\n{write}\n"
    counters = run(before + "v_mov_b32 v3, 1\nv_mov_b32 v4, 1\ns_mov_b32 exec_lo, -1\nv_mov_b32 v5, 1")["counters"]
    compare = 1 if write.startswith("v_cmpx") else 0
    assert counters["active_lanes"] == 32 * (3 + compare) + 2 * 8 + 32


MEMORY = [  # instruction, address = lane * stride, (loaded, stored) per lane, segments of 32, 64, 128, lines
    ("global_load_b32 v1, v0, s[0:1]", 4, (4, 0), (4, 2, 1), 1),
    ("global_load_b32 v1, v0, s[0:1] offset:64", 4, (4, 0), (4, 2, 2), 2),
    ("global_load_b32 v1, v0, s[0:1]", 32, (4, 0), (32, 16, 8), 8),
    ("global_load_b32 v1, v0, s[0:1]", 128, (4, 0), (32, 32, 32), 32),
    ("global_load_b32 v1, v0, s[0:1]", 0, (4, 0), (1, 1, 1), 1),
    ("global_load_b128 v[4:7], v0, s[0:1]", 16, (16, 0), (16, 8, 4), 4),
    ("global_load_b64 v[4:5], v0, s[0:1] offset:28", 8, (8, 0), (9, 5, 3), 3),
    ("global_load_u8 v1, v0, s[0:1]", 1, (1, 0), (1, 1, 1), 1),
    ("global_load_d16_hi_b16 v1, v0, s[0:1]", 2, (2, 0), (2, 1, 1), 1),
    ("global_store_b96 v0, v[4:6], s[0:1]", 12, (0, 12), (12, 6, 3), 3),
    ("global_store_b8 v0, v4, s[0:1]", 256, (0, 1), (32, 32, 32), 32),
    ("global_atomic_add_u32 v0, v4, s[0:1]", 4, (0, 4), (4, 2, 1), 1),
    ("global_atomic_add_u32 v5, v0, v4, s[0:1] glc", 4, (4, 4), (4, 2, 1), 1),
    ("flat_load_b32 v1, v[2:3]", 4, (4, 0), (4, 2, 1), 1),
    ("global_load_b32 v1, v[2:3], off offset:-128", 4, (4, 0), (4, 2, 1), 1),
]


@pytest.mark.parametrize("text, stride, moved, segments, lines", MEMORY)
def test_bytes_and_segments(text, stride, moved, segments, lines):
    machine = Machine(threads=1, counters=True)
    va = machine.buffer(np.zeros(16384, np.uint8)) + 4096
    counters = run(f"""{LANE}v_mul_u32_u24 v0, {stride}, v0
        v_add_co_u32 v2, vcc_lo, s0, v0
        v_mov_b32 v3, s1
        s_clause 0
        {text}""", pointer(va), machine)["counters"]
    assert (counters["bytes_loaded"], counters["bytes_stored"]) == (32 * moved[0], 32 * moved[1])
    assert tuple(counters[f"segments_{size}"] for size in (32, 64, 128)) == segments
    assert counters["lines_touched"] == lines


def test_lines_count_once_in_a_dispatch_segments_every_time():
    machine = Machine(threads=2, counters=True)
    va = machine.buffer(np.zeros(4096, np.uint8))
    text = f"{LANE}v_lshlrev_b32 v0, 2, v0\n" + "global_load_b32 v1, v0, s[0:1]\n" * 3
    counters = run(text, pointer(va), machine, groups=50)["counters"]
    assert (counters["segments_128"], counters["lines_touched"]) == (150, 1)
    assert counters["bytes_loaded"] == 150 * 128


def test_scratch_is_interleaved():
    """A dword at one offset in all lanes is one line; four dwords are four lines."""
    counters = run("scratch_load_b32 v1, off, off offset:16\nscratch_load_b128 v[4:7], off, off offset:32", scratch=64)["counters"]
    assert counters["bytes_loaded"] == 32 * 20
    assert (counters["segments_128"], counters["lines_touched"]) == (1 + 4, 5)


BANKS = [  # instruction, address = lane * stride (+ lane / 16 * other), cycles, conflicts
    ("ds_load_b32 v1, v0", 4, 1, 0),
    ("ds_load_b32 v1, v0", 0, 1, 0),        # one dword for all lanes: broadcast
    ("ds_load_b32 v1, v0", 8, 2, 1),
    ("ds_load_b32 v1, v0", 12, 1, 0),       # odd strides in dwords meet every bank once
    ("ds_load_b32 v1, v0", 16, 4, 3),
    ("ds_store_b32 v0, v1", 128, 32, 31),
    ("ds_load_u8 v1, v0", 1, 1, 0),
    ("ds_load_b64 v[2:3], v0", 8, 2, 0),
    ("ds_load_b64 v[2:3], v0", 16, 4, 2),
    ("ds_store_b128 v0, v[4:7]", 16, 4, 0),
    ("ds_load_b128 v[4:7], v0", 32, 8, 4),
    ("ds_load_b128 v[4:7], v0", 80, 4, 0),  # rows of 20 dwords
    ("ds_load_2addr_b32 v[2:3], v0 offset0:0 offset1:1", 8, 4, 2),
    ("ds_load_2addr_stride64_b32 v[2:3], v0 offset0:0 offset1:1", 4, 2, 0),
    ("ds_add_u32 v0, v1", 4, 1, 0),
    ("ds_add_u32 v0, v1", 0, 32, 31),       # read-modify-write of one dword takes turns
    ("ds_bpermute_b32 v1, v0, v2", 64, 0, 0),
]


@pytest.mark.parametrize("text, stride, cycles, conflicts", BANKS)
def test_bank_conflicts(text, stride, cycles, conflicts):
    counters = run(f"{LANE}v_mul_u32_u24 v0, {stride}, v0\n{text}", lds_bytes=8192)["counters"]
    assert (counters["lds_cycles"], counters["lds_conflicts"]) == (cycles, conflicts)


def test_disabled_lanes_do_not_conflict():
    counters = run(f"{LANE}v_lshlrev_b32 v0, 7, v0\ns_mov_b32 exec_lo, 0x7\nds_load_b32 v1, v0", lds_bytes=8192)["counters"]
    assert (counters["lds_cycles"], counters["lds_conflicts"]) == (3, 2)


def test_costly_figures_only_when_asked_for():
    counters = Machine(threads=1).run_code(assemble("ds_load_b32 v1, v0\ns_endpgm"), lds_bytes=512)["counters"]
    assert counters["lds_passes"] == 1 and "lds_conflicts" not in counters and "segments_64" not in counters


@pytest.mark.parametrize("arch", ["gfx1100", "gfx1201"])
def test_wave64_has_twice_the_lanes(arch):
    machine = Machine(arch, threads=1, counters=True)
    va = machine.buffer(np.zeros(4096, np.uint8))
    code = assemble(f"{LANE}v_lshlrev_b32 v0, 4, v0\nglobal_load_b128 v[4:7], v0, s[0:1]\nds_load_b64 v[8:9], v0\ns_endpgm", arch)
    result = machine.run_code(code, pointer(va), threads=48, lds_bytes=2048, initiator=5)
    assert result["end"] == "complete", result["fault"]
    counters = result["counters"]
    assert (counters["waves"], counters["active_lanes"], counters["bytes_loaded"]) == (1, 4 * 48, 16 * 48)
    assert (counters["segments_32"], counters["segments_128"]) == (24, 6)
    assert (counters["lds_cycles"], counters["lds_conflicts"]) == (6, 3), "three passes of sixteen lanes, 16 bytes apart"


# ---- the model -----------------------------------------------------------------------------------


def rates(chip: str) -> dict:
    facts, chips = (json.loads((ASIC / name).read_text()) for name in ("rates.json", "chips.json"))
    return {**chips["chips"][chip]["geometry"], **facts["generations"][chips["chips"][chip]["gfx_target"][:5]], **facts["chips"][chip]}


@pytest.mark.parametrize("chip", ["navi31", "navi33", "navi48"])
def test_issue_time_is_cycles_over_clock(chip):
    """One wave: every instruction after the other; 1000 transcendentals take 4 cycles each."""
    result = run("v_exp_f32 v1, v1\n" * 1000, chip=chip)
    cycles = 1000 * 4 + 1
    assert result["model"]["issue_seconds"] == pytest.approx(cycles / (rates(chip)["clock_mhz"] * 1e6))
    assert result["model"]["modelled_seconds"] == result["model"]["issue_seconds"]


def test_vector_units_are_the_limit_when_every_simd_is_full():
    facts = rates("navi31")
    simds = facts["num_cu_full"] * facts["simd_per_cu"]
    groups = simds  # of 4 waves: four on each SIMD
    result = run("v_add_f32 v1, v1, v1\n" * 512, chip="navi31", groups=groups, threads=128)
    assert result["model"]["issue_seconds"] == pytest.approx(4 * 512 / (facts["clock_mhz"] * 1e6))


@pytest.mark.parametrize("vgprs, lds_bytes, threads, expected", [
    (24, 0, 256, 16.0),        # 1536 / 24 = 64, but there are 16 slots
    (96, 0, 256, 16.0),
    (128, 0, 256, 8.0),        # 10 waves of 144 fit; workgroups of 8 waves on two SIMDs leave two slots empty
    (256, 0, 32, 5.0),
    (32, 32 * 1024, 256, 8.0),  # two workgroups of 8 waves in 64 KiB, on two SIMDs
    (32, 64 * 1024, 32, 0.5),
])
def test_occupancy(vgprs, lds_bytes, threads, expected):
    result = run("s_nop 0", chip="navi31", threads=threads, lds_bytes=lds_bytes, rsrc1=0xF0 << 12 | vgprs // 8 - 1)
    assert result["model"]["waves_per_simd"] == expected


def test_memory_time_is_lines_over_bandwidth():
    machine = Machine(threads=1, counters=True, chip="navi31")
    va = machine.buffer(np.zeros(1 << 20, np.uint8))
    text = f"{LANE}v_lshlrev_b32 v0, 7, v0\ns_lshl_b32 s2, s2, 12\nv_add_nc_u32 v0, s2, v0\n"
    text += "global_load_b32 v1, v0, s[0:1]\n" * 2
    model = run(text, pointer(va), machine, groups=256)["model"]
    assert model["vram_seconds"] == pytest.approx(256 * 32 * 128 / rates("navi31")["vram_bytes_per_second"])
    cycles = 256 * 32 * 2 * 64 / 64 / rates("navi31")["num_cu_full"]
    assert model["l0_seconds"] == pytest.approx(cycles / (rates("navi31")["clock_mhz"] * 1e6))
