"""Waves of 64 lanes: the kernels of test_kernels.py compiled with -mwavefrontsize64, and what only they have."""
from __future__ import annotations

import functools

import numpy as np
import pytest

from torch_usbgpu.runtime import codeobject

from . import machine as wave32
from .machine import CC1, PROLOGUE, Kernel, assemble
from .test_kernels import (  # noqa: F401  run here once more, with the fixture below
    SOURCE,
    test_atomics,
    test_division_of_64_bit_integers,
    test_gemm,
    test_generic_pointers,
    test_mixed_types,
    test_scan_with_dynamic_lds,
)

WAVE64 = 5  # COMPUTE_DISPATCH_INITIATOR without CS_W32_EN
MODES = {"plain": {}, "two_threads": {"threads": 2}, "strict_waits": {"strict_waits": True, "poison": True}, "gfx1201": {"arch": "gfx1201"}}


@functools.cache
def compile_wave64(source: str, arch: str) -> bytes:
    return wave32._clang([*CC1, "-target-cpu", arch, "-target-feature", "+wavefrontsize64", "-emit-obj"], PROLOGUE + source)


class Machine(wave32.Machine):
    def kernels(self, source: str) -> dict[str, Kernel]:
        image = codeobject.load(compile_wave64(source, self.arch))
        va = self.load(image.placed_at(self._code))
        return {name: Wave64Kernel(self, descriptor, va) for name, descriptor in image.kernels.items()}


class Wave64Kernel(Kernel):
    def run(self, *arguments, **more) -> dict:
        return super().run(*arguments, **more, initiator=WAVE64)


@pytest.fixture(params=MODES, ids=MODES.keys())
def machine(request):
    return Machine(**{"threads": 1, **MODES[request.param]})


def run(code: str, inputs: np.ndarray, threads: int = 64, **options) -> np.ndarray:
    """Code with v1 = inputs[lane], whose result is v2 of each lane (0 where it is not stored)."""
    machine = wave32.Machine(threads=1)
    a, out = machine.buffer(inputs.astype(np.uint32)), machine.buffer(np.zeros(64, np.uint32))
    text = f"""v_lshlrev_b32 v20, 2, v0
        global_load_b32 v1, v20, s[0:1]
        s_waitcnt vmcnt(0)
        {code}
        global_store_b32 v20, v2, s[2:3]
        s_endpgm"""
    user = [word for va in (a, out) for word in (va & 0xFFFFFFFF, va >> 32)]
    result = machine.run_code(assemble(text, wave64=True), user, threads=threads, initiator=WAVE64, **options)
    assert result["end"] == "complete", result["fault"]
    return np.frombuffer(machine.memory.read(out, 256), np.uint32)


LANES = np.arange(64)
VALUES = np.random.default_rng(64).integers(0, 1 << 32, 64, dtype=np.uint32)


def test_add_counts_wave_instructions_once(machine, rng):
    n = 64 * 20 + 7
    a, b, o = rng.random(n + 64, np.float32), rng.random(n + 64, np.float32), np.full(n + 64, -1, np.float32)
    result = machine.kernels(SOURCE)["add"].run([o, a, b, n], (6, 1, 1), (256, 1, 1))
    assert result["end"] == "complete"
    np.testing.assert_array_equal(o[:n], a[:n] + b[:n])
    assert (o[n:] == -1).all()
    assert result["counters"]["waves"] == 24 and result["counters"]["vmem_store"] == 21


def test_spilled_arrays_interleave_64_lanes(machine):
    o = np.arange(64, dtype=np.float32)
    assert machine.kernels(SOURCE)["calls"].run([o, np.int32(5)], threads=(64, 1, 1))["end"] == "complete"
    np.testing.assert_array_equal(o, 5 + np.arange(64) * 5)


@pytest.mark.parametrize("threads", [1, 31, 32, 33, 63])
def test_partial_last_wave(threads: int) -> None:
    out = run("v_mov_b32 v2, v1", VALUES, threads)
    np.testing.assert_array_equal(out, np.where(LANES < threads, VALUES, 0))


# code, what v2 is
SIMPLE = {
    "mbcnt": ("v_mbcnt_lo_u32_b32 v2, -1, 0\nv_mbcnt_hi_u32_b32 v2, -1, v2", LANES),
    "mbcnt_of_exec": ("s_mov_b64 exec, 0x5555\ns_mov_b32 exec_hi, 0xf0f0\ns_mov_b64 s[8:9], exec\ns_mov_b64 exec, -1\n"
                      "v_mbcnt_lo_u32_b32 v2, s8, 0\nv_mbcnt_hi_u32_b32 v2, s9, v2",
                      np.array([bin((0xF0F0_0000_5555) & ((1 << n) - 1)).count("1") for n in range(64)])),
    "exec_as_operand": ("s_mov_b64 s[8:9], exec\ns_mov_b32 exec_hi, 0x12345678\nv_mov_b32 v2, exec_hi\nv_add_nc_u32 v2, v2, exec_lo\n"
                        "s_mov_b32 exec_hi, -1\nv_mov_b32 v3, v2\nv_readlane_b32 s4, v3, 3\nv_mov_b32 v2, s4",
                        np.full(64, 0x12345677)),
    "compare": ("v_cmp_gt_u32 vcc, v1, v0\nv_mov_b32 v3, vcc_lo\nv_mov_b32 v2, vcc_hi\nv_cndmask_b32 v2, v2, v3, vcc",
                None),
    "compare_into_its_source": ("s_mov_b32 s8, 20\nv_cmp_lt_u32 s[8:9], s8, v0\nv_cndmask_b32 v2, 1, 2, s[8:9]", np.where(LANES > 20, 2, 1)),
    "carry": ("v_add_co_u32 v3, vcc, v1, v1\nv_add_co_ci_u32 v2, vcc, 0, 0, vcc", VALUES >> 31),
    "carry_into_its_source": ("s_mov_b32 s8, 7\nv_add_co_u32 v3, s[8:9], s8, v1\nv_sub_nc_u32 v2, v3, v1", np.full(64, 7)),
    "readfirstlane": ("s_mov_b32 exec_lo, 0\ns_mov_b32 exec_hi, 0x100\nv_readfirstlane_b32 s8, v0\ns_mov_b64 exec, -1\nv_mov_b32 v2, s8", np.full(64, 40)),
    "readfirstlane_of_none": ("s_mov_b64 exec, 0\nv_readfirstlane_b32 s8, v1\ns_mov_b64 exec, -1\nv_mov_b32 v2, s8", np.full(64, VALUES[0])),
    "readlane": ("v_readlane_b32 s8, v0, 45\nv_mov_b32 v2, s8", np.full(64, 45)),
    "writelane": ("v_mov_b32 v2, 0\nv_writelane_b32 v2, 9, 63\nv_writelane_b32 v2, 8, 31", np.where(LANES == 63, 9, np.where(LANES == 31, 8, 0))),
    "permlane64": ("v_permlane64_b32 v2, v0", LANES ^ 32),
    "permlane64_in_place": ("v_mov_b32 v2, v0\nv_permlane64_b32 v2, v2", LANES ^ 32),
    "permlanex16": ("v_permlanex16_b32 v2, v0, s8, s8", None),
    "row_share": ("v_mov_b32_dpp v2, v0 row_share:3 row_mask:0xf bank_mask:0xf", LANES & ~15 | 3),
    "row_mask": ("v_mov_b32 v2, 99\nv_mov_b32_dpp v2, v0 row_share:3 row_mask:0x4 bank_mask:0xf", np.where(LANES >> 4 == 2, 35, 99)),
    "swizzle": ("ds_swizzle_b32 v2, v0 offset:swizzle(SWAP,16)\ns_waitcnt lgkmcnt(0)", LANES ^ 16),
    "bpermute": ("v_sub_nc_u32 v3, 63, v0\nv_lshlrev_b32 v3, 2, v3\nds_bpermute_b32 v2, v3, v0\ns_waitcnt lgkmcnt(0)", LANES & 32 | 31 - (LANES & 31)),
    "permute": ("v_add_nc_u32 v3, 1, v0\nv_lshlrev_b32 v3, 2, v3\nds_permute_b32 v2, v3, v0\ns_waitcnt lgkmcnt(0)", LANES & 32 | (LANES - 1 & 31)),
    "branch_vcc": ("v_cmp_eq_u32 vcc, 50, v0\nv_mov_b32 v2, 1\ns_cbranch_vccz L1\nv_mov_b32 v2, 2\nL1:", np.full(64, 2)),
    "branch_exec": ("v_mov_b32 v2, 1\ns_mov_b32 exec_lo, 0\ns_cbranch_execz L1\ns_mov_b64 exec, -1\nv_mov_b32 v2, 2\nL1:\ns_mov_b64 exec, -1", np.full(64, 2)),
    "cmpx": ("v_mov_b32 v2, 1\nv_cmpx_lt_u32 40, v0\nv_mov_b32 v2, 2\ns_mov_b64 exec, -1", np.where(LANES > 40, 2, 1)),
    "cmpx_dpp": ("v_mov_b32 v2, 1\nv_cmpx_lt_u32_dpp v0, v0 row_shl:1 row_mask:0xf bank_mask:0xf bound_ctrl:1\nv_mov_b32 v2, 2\ns_mov_b64 exec, -1",
                 np.where((LANES & 15) == 15, np.where(LANES > 0, 2, 1), 1)),
    "saveexec": ("v_mov_b32 v2, 1\nv_cmp_lt_u32 vcc, 40, v0\ns_and_saveexec_b64 s[8:9], vcc\nv_mov_b32 v2, 2\ns_mov_b64 exec, s[8:9]", np.where(LANES > 40, 2, 1)),
    "div_fmas": ("v_mov_b32 v3, 1.0\nv_cmp_lt_u32 vcc, 40, v0\nv_div_fmas_f32 v2, v3, v3, v3",
                 np.where(LANES > 40, np.float32(2.0 ** -63).view(np.uint32), np.float32(2).view(np.uint32))),
    "movrels": ("v_mov_b32 v5, v1\ns_mov_b32 m0, 2\nv_movrels_b32 v2, v3", VALUES),
    "movreld": ("s_mov_b32 m0, 1\nv_movreld_b32 v1, v0", LANES),
}
SIMPLE["permlanex16"] = ("s_mov_b32 s8, 0x33333333\n" + SIMPLE["permlanex16"][0], LANES & ~15 ^ 16 | 3)
_above = VALUES > LANES
SIMPLE["compare"] = (SIMPLE["compare"][0], np.where(_above, sum(int(_above[n]) << n for n in range(32)), sum(int(_above[n + 32]) << n for n in range(32))))


@pytest.mark.parametrize("name", SIMPLE)
def test_whole_wave(name: str) -> None:
    code, expected = SIMPLE[name]
    np.testing.assert_array_equal(run(code, VALUES), np.asarray(expected).astype(np.uint32))


def test_permute_crosses_halves_on_gfx12() -> None:
    """RDNA4 ISA: the lane is taken modulo 64 in wave64."""
    for code, expected in (("ds_bpermute_b32 v2, v3, v0", 63 - LANES), ("ds_permute_b32 v2, v3, v0", 63 - LANES)):
        machine = wave32.Machine("gfx1201", threads=1)
        out = machine.buffer(np.zeros(64, np.uint32))
        text = f"v_lshlrev_b32 v20, 2, v0\nv_sub_nc_u32 v3, 63, v0\nv_lshlrev_b32 v3, 2, v3\n{code}\ns_wait_dscnt 0\nglobal_store_b32 v20, v2, s[2:3]\ns_endpgm"
        result = machine.run_code(assemble(text, cpu="gfx1201", wave64=True), [0, 0, out & 0xFFFFFFFF, out >> 32], threads=64, initiator=WAVE64)
        assert result["end"] == "complete", result["fault"]
        np.testing.assert_array_equal(np.frombuffer(machine.memory.read(out, 256), np.uint32), expected)


def test_private_memory_is_interleaved_over_64_lanes() -> None:
    machine = wave32.Machine(threads=1)
    code = assemble("v_mov_b32 v1, 0x100\nv_add_nc_u32 v2, v0, v1\nscratch_store_b32 off, v2, off offset:4\ns_endpgm", wave64=True)
    result = machine.run_code(code, threads=64, scratch=64, initiator=WAVE64)
    assert result["end"] == "complete", result["fault"]
    words = np.frombuffer(machine.memory.read(wave32.SCRATCH, 1024), np.uint32)
    np.testing.assert_array_equal(words[64:128], LANES + 0x100)
    assert not words[:64].any() and not words[128:].any()


def test_waves_of_a_workgroup_share_lds_and_barriers() -> None:
    machine = wave32.Machine(threads=1)
    out = machine.buffer(np.zeros(320, np.uint32))
    code = assemble("""v_lshlrev_b32 v1, 2, v0
        ds_store_b32 v1, v0
        s_waitcnt lgkmcnt(0)
        s_barrier
        v_sub_nc_u32 v2, 319, v0
        v_lshlrev_b32 v2, 2, v2
        ds_load_b32 v3, v2
        s_waitcnt lgkmcnt(0)
        global_store_b32 v1, v3, s[0:1]
        s_endpgm""", wave64=True)
    result = machine.run_code(code, [out & 0xFFFFFFFF, out >> 32], threads=320, lds_bytes=2048, initiator=WAVE64)
    assert result["end"] == "complete" and result["counters"]["waves"] == 5
    np.testing.assert_array_equal(np.frombuffer(machine.memory.read(out, 1280), np.uint32), 319 - np.arange(320))
