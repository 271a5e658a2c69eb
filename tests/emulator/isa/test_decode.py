"""Decoder and disassembler against LLVM's assembler: what it encodes must read back as the same text."""
from __future__ import annotations

import random

import pytest

from torch_usbgpu._emulator import isa

from .machine import assemble

GFX11 = """
s_add_u32 s0, s1, 0x12345678
s_mov_b64 vcc, exec
s_mov_b32 m0, -5
s_cmp_lg_u64 s[2:3], 0
s_movk_i32 s4, 0xffff
s_bfe_u64 s[8:9], s[10:11], s12
s_and_saveexec_b32 s4, vcc_lo
s_load_b512 s[16:31], s[2:3], 0x40
s_load_b32 s5, s[2:3], -0x8
s_load_b64 s[6:7], s[2:3], s9 offset:0x10
s_waitcnt vmcnt(0) expcnt(0) lgkmcnt(0)
s_waitcnt vmcnt(3)
s_waitcnt lgkmcnt(63) expcnt(1)
s_delay_alu instid0(VALU_DEP_1) | instskip(NEXT) | instid1(SALU_CYCLE_1)
s_delay_alu instid0(TRANS32_DEP_1)
s_sendmsg sendmsg(MSG_DEALLOC_VGPRS)
s_barrier
s_endpgm
s_getreg_b32 s4, hwreg(HW_REG_MODE, 4, 2)
s_setreg_imm32_b32 hwreg(HW_REG_MODE, 0, 8), 0xf0
v_mov_b32_e32 v1, 0x40490fdb
v_mov_b32_e32 v1, src_shared_base
v_add_f32_e32 v2, v2, v3
v_add_f32_e32 v2, 0.15915494, v3
v_add_f32_e64 v2, |v2|, -v3 clamp mul:2
v_add_f32_e64 v2, s4, 4.0 div:2
v_fma_f32 v1, -v2, |s3|, 1.0
v_fma_f64 v[2:3], v[4:5], -v[6:7], 0.5
v_fmaak_f32 v1, v2, v3, 0x42280000
v_fmamk_f32 v1, v2, 0x42280000, v3
v_cmp_gt_i64_e32 vcc_lo, s[6:7], v[0:1]
v_cmp_lt_f32_e64 s4, v1, -1.0
v_cmpx_eq_u32_e32 0, v1
v_cmpx_class_f32_e64 v1, 0x1f8
v_cndmask_b32_e32 v1, 0, v2, vcc_lo
v_cndmask_b32_e64 v1, v2, v3, s5
v_add_co_u32 v0, s8, s8, v0
v_add_co_ci_u32_e32 v1, vcc_lo, v2, v3, vcc_lo
v_add_co_ci_u32_e64 v3, null, s3, v1, vcc_lo
v_mad_u64_u32 v[1:2], null, v3, s2, 0
v_div_scale_f32 v1, vcc_lo, v2, v3, v2
v_div_fmas_f32 v1, v2, v3, v4
v_readfirstlane_b32 s3, v4
v_readlane_b32 s3, v4, s5
v_writelane_b32 v4, s3, 7
v_add_f16_e32 v1.l, v2.h, v3.l
v_cvt_f16_f32_e32 v1.h, v14
v_pk_add_f16 v1, v2, v3
v_pk_fma_f16 v1, v2, v3, v4 op_sel:[1,0,0] op_sel_hi:[0,1,1] neg_lo:[1,0,0]
v_fma_mix_f32 v1, v2, v3, v4 op_sel_hi:[1,0,0]
v_dot2_f32_f16 v1, v2, v3, v4
v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]
v_permlanex16_b32 v1, v2, s3, s4 op_sel:[1,0]
v_mov_b32_dpp v1, v2 quad_perm:[1,0,3,2] row_mask:0xf bank_mask:0xf
v_add_f32_dpp v1, v2, v3 row_shr:4 row_mask:0xf bank_mask:0xe bound_ctrl:1 fi:1
v_add_f32_dpp v1, -v2, |v3| row_xmask:1 row_mask:0x3 bank_mask:0xf
v_mov_b32_dpp v1, v2 dpp8:[7,6,5,4,3,2,1,0]
v_mov_b32_dpp v1, v2 dpp8:[1,0,2,3,4,5,6,7] fi:1
v_swap_b32 v1, v2
v_exp_f32_e32 v1, v2
v_nop
v_dual_fmac_f32 v5, v31, v27 :: v_dual_fmac_f32 v14, v32, v28
v_dual_mov_b32 v1, 0 :: v_dual_and_b32 v2, 63, v0
v_dual_fmaak_f32 v4, v5, v6, 0x40490fdb :: v_dual_fmamk_f32 v7, v8, 0x40490fdb, v9
v_dual_cndmask_b32 v2, v2, v3 :: v_dual_mul_f32 v3, 0x40c00000, v0
ds_load_b128 v[27:30], v24 offset:256
ds_store_2addr_stride64_b32 v0, v29, v30 offset0:2 offset1:3
ds_add_rtn_u32 v1, v2, v3
ds_cmpstore_rtn_b64 v[1:2], v3, v[4:5], v[6:7]
ds_bpermute_b32 v1, v2, v3 offset:4
ds_load_u16_d16_hi v1, v2
global_load_b128 v[4:7], v[2:3], off offset:-4096
global_load_d16_hi_b16 v1, v15, s[6:7] offset:128
global_store_b96 v1, v[2:4], s[2:3] glc slc dlc
global_atomic_cmpswap_b64 v[0:1], v4, v[0:3], s[0:1] offset:16 glc
global_atomic_add_f32 v1, v2, s[0:1]
flat_load_b64 v[1:2], v[3:4] offset:8
flat_atomic_add_u32 v1, v[2:3], v4 glc
scratch_load_b32 v1, off, off offset:4
scratch_store_b128 off, v[1:4], s5
scratch_load_u8 v1, v2, s5 offset:-1
"""
GFX12 = """
s_add_co_u32 s0, s1, s2
s_add_nc_u64 s[0:1], s[2:3], 8
s_add_f32 s0, s1, s2
s_load_b96 s[4:6], s[2:3], 0x10
s_barrier_wait 0xffff
v_add_f32_e32 v2, v2, v3
v_min_num_f32_e32 v1, v2, v3
v_add_f64_e32 v[0:1], v[2:3], v[4:5]
v_mad_co_u64_u32 v[0:1], null, v2, v3, v[4:5]
v_dual_fmac_f32 v5, v31, v27 :: v_dual_fmac_f32 v14, v32, v28
v_wmma_f32_16x16x16_f16 v[0:7], v[8:11], v[12:15], v[0:7]
ds_load_b128 v[4:7], v8 offset:16
global_load_b128 v[4:7], v[2:3], off offset:-8388608
global_store_b32 v1, v2, s[2:3] offset:8
global_load_b32 v1, v[2:3], off
flat_load_b32 v1, v[2:3]
scratch_store_b32 off, v1, s5
"""


def cases():
    for cpu, text in (("gfx1100", GFX11), ("gfx1201", GFX12)):
        for line in text.strip().splitlines():
            yield pytest.param(cpu, line, id=f"{cpu}-{line[:60]}")


@pytest.fixture(scope="module")
def decoded():
    """Both programs assembled at once, and taken apart: {(cpu, line): (length, text)}."""
    out = {}
    for cpu, text in (("gfx1100", GFX11), ("gfx1201", GFX12)):
        lines = text.strip().splitlines()
        found = isa.disassemble(assemble("\n".join(lines), cpu), cpu)
        assert len(found) == len(lines)
        out |= {(cpu, line): row for line, row in zip(lines, found)}
    return out


@pytest.mark.parametrize("cpu,line", list(cases()))
def test_text_reads_back(decoded, cpu, line):
    _offset, _length, mnemonic, text = decoded[cpu, line]
    assert mnemonic is not None
    expected = line.replace("lgkmcnt(63) expcnt(1)", "expcnt(1)")
    assert text == expected


def test_lengths_follow_literals_and_dpp(decoded):
    lengths = {line: decoded["gfx1100", line][1] for line in GFX11.strip().splitlines()}
    assert lengths["v_add_f32_e32 v2, v2, v3"] == 4
    assert lengths["v_mov_b32_e32 v1, 0x40490fdb"] == 8
    assert lengths["v_mov_b32_dpp v1, v2 dpp8:[7,6,5,4,3,2,1,0]"] == 8
    assert lengths["v_dual_fmaak_f32 v4, v5, v6, 0x40490fdb :: v_dual_fmamk_f32 v7, v8, 0x40490fdb, v9"] == 12
    assert decoded["gfx1201", "global_load_b32 v1, v[2:3], off"][1] == 12


@pytest.mark.parametrize("arch", ["gfx1100", "gfx1201"])
def test_any_bytes_decode_to_something(arch):
    """Garbage never crashes, always makes progress, and unknown words are shown as data."""
    words = random.Random(5).randbytes(4 * 50000)
    rows = isa.disassemble(words, arch)
    assert sum(length for _, length, _, _ in rows) >= len(words)
    assert all(length in (4, 8, 12, 16) for _, length, _, _ in rows)
    assert any(text.startswith(".long") for _, _, name, text in rows if name is None)


def test_instructions_without_a_handler_say_so():
    code = assemble("image_load v[4:7], v[0:1], s[4:11] dmask:0xf dim:SQ_RSRC_IMG_2D unorm\ns_endpgm")
    (reason,) = isa.unsupported(code).values()
    assert "image_load" in reason and "not implemented" in reason
    assert isa.implements("v_add_f32") and not isa.implements("image_load")
