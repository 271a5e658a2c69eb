"""Scalar instructions, one row each: operands -> result and SCC. All rows run as one program."""
from __future__ import annotations

import numpy as np
import pytest

from .machine import DATA, Machine, assemble

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
# (instruction with d, a, b for destination and operands; a; b; SCC before; result; SCC after)
# A 64-bit operand is written d2/a2/b2.
ROWS = [
    ("s_add_u32 d, a, b", 0xFFFFFFFF, 2, 0, 1, 1), ("s_add_u32 d, a, b", 5, 2, 1, 7, 0),
    ("s_sub_u32 d, a, b", 1, 2, 0, M32, 1), ("s_sub_u32 d, a, b", 2, 2, 1, 0, 0),
    ("s_add_i32 d, a, b", 0x7FFFFFFF, 1, 0, 0x80000000, 1), ("s_add_i32 d, a, b", M32, 1, 1, 0, 0),
    ("s_sub_i32 d, a, b", 0x80000000, 1, 0, 0x7FFFFFFF, 1), ("s_sub_i32 d, a, b", 0, 1, 1, M32, 0),
    ("s_addc_u32 d, a, b", M32, 0, 1, 0, 1), ("s_addc_u32 d, a, b", 1, 1, 0, 2, 0),
    ("s_addc_u32 d, a, b", M32, M32, 1, M32, 1),
    ("s_subb_u32 d, a, b", 0, 0, 1, M32, 1), ("s_subb_u32 d, a, b", 3, 1, 1, 1, 0),
    ("s_subb_u32 d, a, b", 0, M32, 1, 0, 1),
    ("s_absdiff_i32 d, a, b", 3, 5, 0, 2, 1), ("s_absdiff_i32 d, a, b", 5, 5, 1, 0, 0),
    ("s_min_i32 d, a, b", M32, 3, 0, M32, 1), ("s_min_u32 d, a, b", M32, 3, 1, 3, 0),
    ("s_min_i32 d, a, b", 3, 3, 1, 3, 0),
    ("s_max_i32 d, a, b", M32, 3, 1, 3, 0), ("s_max_u32 d, a, b", M32, 3, 0, M32, 1),
    ("s_lshl_b32 d, a, b", 3, 33, 0, 6, 1), ("s_lshl_b64 d2, a2, b", 3, 65, 0, 6, 1),
    ("s_lshl_b64 d2, a2, b", 1 << 63, 1, 1, 0, 0),
    ("s_lshr_b32 d, a, b", 0x80000000, 31, 0, 1, 1), ("s_lshr_b64 d2, a2, b", 1 << 63, 63, 0, 1, 1),
    ("s_ashr_i32 d, a, b", 0x80000000, 31, 0, M32, 1), ("s_ashr_i64 d2, a2, b", 1 << 63, 63, 0, M64, 1),
    ("s_lshl1_add_u32 d, a, b", 0x80000000, 5, 0, 5, 1), ("s_lshl4_add_u32 d, a, b", 2, 5, 1, 37, 0),
    ("s_and_b32 d, a, b", 0xF0F0, 0xFF00, 0, 0xF000, 1), ("s_and_b32 d, a, b", 1, 2, 1, 0, 0),
    ("s_and_b64 d2, a2, b2", M64, 1 << 40, 0, 1 << 40, 1),
    ("s_or_b32 d, a, b", 1, 2, 0, 3, 1), ("s_or_b64 d2, a2, b2", 1 << 63, 1, 0, 1 << 63 | 1, 1),
    ("s_xor_b32 d, a, b", 3, 3, 1, 0, 0), ("s_xor_b64 d2, a2, b2", M64, 1, 0, M64 - 1, 1),
    ("s_nand_b32 d, a, b", M32, M32, 1, 0, 0), ("s_nor_b32 d, a, b", 0, 0, 0, M32, 1),
    ("s_xnor_b32 d, a, b", 5, 5, 0, M32, 1),
    ("s_and_not1_b32 d, a, b", 7, 5, 0, 2, 1), ("s_or_not1_b32 d, a, b", 0, M32, 1, 0, 0),
    ("s_and_not1_b64 d2, a2, b2", M64, M32, 0, M64 - M32, 1),
    ("s_bfe_u32 d, a, b", 0xABCD1234, 8 | 8 << 16, 0, 0x12, 1), ("s_bfe_u32 d, a, b", 0xABCD1234, 8, 1, 0, 0),
    ("s_bfe_i32 d, a, b", 0x0000F000, 12 | 4 << 16, 0, M32, 1),
    ("s_bfe_u64 d2, a2, b", 0xAB << 40, 40 | 8 << 16, 0, 0xAB, 1),
    ("s_bfe_i64 d2, a2, b", 0xF << 40, 40 | 4 << 16, 0, M64, 1),
    ("s_bfm_b32 d, a, b", 4, 8, 1, 0xF00, 1), ("s_bfm_b64 d2, a, b", 4, 40, 0, 0xF << 40, 0),
    ("s_mul_i32 d, a, b", 0x10001, 0x10001, 1, 0x20001, 1), ("s_mul_hi_u32 d, a, b", M32, M32, 0, M32 - 1, 0),
    ("s_mul_hi_i32 d, a, b", M32, M32, 1, 0, 1),
    ("s_cselect_b32 d, a, b", 1, 2, 1, 1, 1), ("s_cselect_b32 d, a, b", 1, 2, 0, 2, 0),
    ("s_cselect_b64 d2, a2, b2", 1, 2 << 40, 0, 2 << 40, 0),
    ("s_pack_ll_b32_b16 d, a, b", 0x11112222, 0x33334444, 0, 0x44442222, 0),
    ("s_pack_lh_b32_b16 d, a, b", 0x11112222, 0x33334444, 0, 0x33332222, 0),
    ("s_pack_hh_b32_b16 d, a, b", 0x11112222, 0x33334444, 1, 0x33331111, 1),
    ("s_pack_hl_b32_b16 d, a, b", 0x11112222, 0x33334444, 0, 0x44441111, 0),
    ("s_mov_b64 d2, a2", 0x123456789ABCDEF0, 0, 1, 0x123456789ABCDEF0, 1), ("s_not_b32 d, a", M32, 0, 1, 0, 0),
    ("s_not_b64 d2, a2", 0, 0, 0, M64, 1),
    ("s_brev_b32 d, a", 1, 0, 1, 0x80000000, 1), ("s_brev_b64 d2, a2", 1, 0, 0, 1 << 63, 0),
    ("s_ctz_i32_b32 d, a", 0x80, 0, 0, 7, 0), ("s_ctz_i32_b32 d, a", 0, 0, 1, M32, 1),
    ("s_ctz_i32_b64 d, a2", 1 << 40, 0, 0, 40, 0),
    ("s_clz_i32_u32 d, a", 0x80, 0, 0, 24, 0), ("s_clz_i32_u32 d, a", 0, 0, 0, M32, 0),
    ("s_clz_i32_u64 d, a2", 1, 0, 0, 63, 0),
    ("s_cls_i32 d, a", M32, 0, 0, M32, 0), ("s_cls_i32 d, a", 0xFFFF0000, 0, 0, 16, 0),
    ("s_cls_i32_i64 d, a2", 1, 0, 0, 63, 0),
    ("s_sext_i32_i8 d, a", 0x80, 0, 0, 0xFFFFFF80, 0), ("s_sext_i32_i16 d, a", 0x18000, 0, 0, 0xFFFF8000, 0),
    ("s_abs_i32 d, a", M32, 0, 0, 1, 1), ("s_abs_i32 d, a", 0x80000000, 0, 0, 0x80000000, 1),
    ("s_bcnt1_i32_b32 d, a", 0xFF, 0, 0, 8, 1), ("s_bcnt0_i32_b32 d, a", M32, 0, 1, 0, 0),
    ("s_bcnt1_i32_b64 d, a2", M64, 0, 0, 64, 1),
    ("s_bitset1_b32 d, a", 4, 0, 0, 0x10, 0), ("s_bitreplicate_b64_b32 d2, a", 0x80000001, 0, 0, 3 << 62 | 3, 0),
    ("s_quadmask_b32 d, a", 0x00F00100, 0, 0, 0x24, 1), ("s_wqm_b32 d, a", 0x00100100, 0, 0, 0x00F00F00, 1),
    ("s_cmov_b32 d, a", 9, 0, 1, 9, 1), ("s_cmov_b32 d, a", 9, 0, 0, 0, 0),
    ("s_movk_i32 d, 0x8000", 0, 0, 1, 0xFFFF8000, 1), ("s_cmovk_i32 d, 7", 0, 0, 1, 7, 1),
    ("s_cmovk_i32 d, 7", 0, 0, 0, 0, 0),
    ("s_addk_i32 d, 0xffff", 0, 0, 0, M32, 0), ("s_mulk_i32 d, 3", 0, 0, 1, 0, 1),
    *[(f"s_cmp_{op}_{t} a, b", a, b, 1 - scc, 0, scc) for op, t, a, b, scc in [
        ("eq", "i32", 3, 3, 1), ("lg", "i32", 3, 3, 0), ("gt", "i32", 1, M32, 1), ("gt", "u32", 1, M32, 0),
        ("ge", "u32", 1, 1, 1),
        ("lt", "i32", M32, 0, 1), ("lt", "u32", M32, 0, 0), ("le", "i32", 4, 3, 0), ("le", "u32", 3, 3, 1),
        ("ge", "i32", M32, 0, 0)]],
    ("s_cmp_eq_u64 a2, b2", 1 << 40, 0, 1, 0, 0), ("s_cmp_lg_u64 a2, b2", 1 << 40, 0, 0, 0, 1),
    ("s_bitcmp1_b32 a, b", 0x100, 40, 0, 0, 1), ("s_bitcmp0_b32 a, b", 0x100, 8, 1, 0, 0),
    ("s_bitcmp1_b64 a2, b", 1 << 40, 40, 0, 0, 1),
    ("s_cmpk_eq_i32 a, 0xffff", M32, 0, 0, 0, 1), ("s_cmpk_eq_u32 a, 0xffff", M32, 0, 1, 0, 0),
    ("s_cmpk_lt_u32 a, 5", 4, 0, 0, 0, 1),
    # inline constants and literals in their operand's width
    ("s_mov_b32 d, -16", 0, 0, 0, (-16) & M32, 0), ("s_mov_b64 d2, -1", 0, 0, 0, M64, 0),
    ("s_mov_b32 d, 0.5", 0, 0, 0, 0x3F000000, 0),
    ("s_mov_b64 d2, 1.0", 0, 0, 0, 0x3FF0000000000000, 0), ("s_mov_b32 d, 0x12345678", 0, 0, 0, 0x12345678, 0),
    ("s_mov_b32 d, 0.15915494", 0, 0, 0, 0x3E22F983, 0), ("s_mov_b32 d, src_scc", 0, 0, 1, 1, 1),
    ("s_mov_b32 d, null", 0, 0, 0, 0, 0),
    ("s_mov_b32 null, a", 5, 0, 0, 0, 0), ("s_mov_b64 null, a2", 5 << 32, 0, 0, 0, 0),
    ("s_add_u32 d, a, 64", 1, 0, 1, 65, 0),
]


def program(rows) -> str:
    """Stores d (64 bits), SCC and EXEC of each row as four dwords. s[0:1]: where to."""
    lines = []
    for text, a, b, scc, _result, _after in rows:
        text = text.replace("d2", "s[8:9]").replace("a2", "s[4:5]").replace("b2", "s[6:7]")
        mnemonic, _, operands = text.partition(" ")
        operands = ", ".join({"d": "s8", "a": "s4", "b": "s6"}.get(o.strip(), o.strip()) for o in operands.split(","))
        lines += [f"s_mov_b32 s{4 + k}, {v & M32:#x}" for k, v in enumerate((a, a >> 32, b, b >> 32))]
        lines += ["s_mov_b64 s[8:9], 0", f"s_cmp_eq_u32 {scc}, 1", f"{mnemonic} {operands}",
                  "s_cselect_b32 s10, 1, 0", "v_mov_b32 v2, s8", "v_mov_b32 v3, s9", "v_mov_b32 v4, s10",
                  "v_mov_b32 v5, exec_lo",
                  "global_store_b128 v1, v[2:5], s[0:1]", "v_add_nc_u32 v1, 16, v1"]
    return "v_mov_b32 v1, 0\n" + "\n".join(lines) + "\ns_endpgm"


@pytest.fixture(scope="module")
def results():
    machine = Machine(threads=1)
    out = np.zeros((len(ROWS), 4), np.uint32)
    va = machine.buffer(out)
    run = machine.run_code(assemble(program(ROWS)), [va & M32, va >> 32], threads=1)
    assert run["end"] == "complete", run["fault"]
    assert va == DATA
    return machine.fetch(va, out)


@pytest.mark.parametrize("n", range(len(ROWS)), ids=[f"{n}-{row[0].split()[0]}" for n, row in enumerate(ROWS)])
def test_row(results, n):
    text, _a, _b, _scc, result, after = ROWS[n]
    low, high, scc, exec_mask = (int(v) for v in results[n])
    assert (low | high << 32, scc) == (result, after), text
    assert exec_mask == 1


EXEC_ROWS = [  # instruction, EXEC before, s4, -> saved, EXEC after, SCC
    ("s_and_saveexec_b32 s8, s4", 0xFF, 0xF0, 0xFF, 0xF0, 1), ("s_and_saveexec_b32 s8, s4", 0xFF, 0xF00, 0xFF, 0, 0),
    ("s_or_saveexec_b32 s8, s4", 1, 2, 1, 3, 1), ("s_xor_saveexec_b32 s8, s4", 3, 3, 3, 0, 0),
    ("s_and_not1_saveexec_b32 s8, s4", 0xFF, 0xF0, 0xFF, 0, 0),
    ("s_and_not0_saveexec_b32 s8, s4", 0xFF, 0xF0, 0xFF, 0xF, 1),
    ("s_and_saveexec_b32 s4, s4", 0xFF, 0xF0, None, 0xF0, 1),  # destination is the source
    ("s_and_not1_wrexec_b32 s8, s4", 0xF, 0xFF, 0xF0, 0xF0, 1),
]


@pytest.mark.parametrize("row", EXEC_ROWS, ids=lambda row: row[0])
def test_exec_masks(row):
    text, before, s4, saved, after, scc = row
    machine = Machine(threads=1)
    out = np.zeros(4, np.uint32)
    va = machine.buffer(out)
    code = assemble(f"""s_mov_b32 exec_lo, {before:#x}
        s_mov_b32 s4, {s4:#x}
        {text}
        s_cselect_b32 s10, 1, 0
        s_mov_b32 s11, exec_lo
        s_mov_b32 exec_lo, 1
        v_mov_b32 v1, 0
        v_mov_b32 v2, s8
        v_mov_b32 v3, s11
        v_mov_b32 v4, s10
        v_mov_b32 v5, s4
        global_store_b128 v1, v[2:5], s[0:1]
        s_endpgm""")
    assert machine.run_code(code, [va & M32, va >> 32])["end"] == "complete"
    got = machine.fetch(va, out).tolist()
    assert got[1:3] == [after, scc]
    assert (got[3] == before) if saved is None else (got[0] == saved)


def run_and_store(text: str, dwords: int, **options) -> list[int]:
    machine = Machine(threads=1)
    out = np.zeros(dwords, np.uint32)
    va = machine.buffer(out)
    result = machine.run_code(assemble(text + "\ns_endpgm"), [va & M32, va >> 32], threads=1, **options)
    assert result["end"] == "complete", result["fault"]
    return machine.fetch(va, out).tolist()


def store(*registers: str) -> str:
    lines = ["v_mov_b32 v1, 0"]
    for n, register in enumerate(registers):
        lines += [f"v_mov_b32 v2, {register}", f"global_store_b32 v1, v2, s[0:1] offset:{4 * n}"]
    return "\n".join(lines)


def test_mode_register_and_rounding():
    """f32 sums follow MODE.round; the wave starts with FLOAT_MODE of RSRC1."""
    tiny, one = "0x33000001", "1.0"  # just over half an ulp of 1
    text = "\n".join([
        "s_getreg_b32 s4, hwreg(HW_REG_MODE, 0, 8)", f"v_mov_b32 v3, {tiny}", f"v_add_f32 v4, {one}, v3",
        "s_round_mode 2", f"v_add_f32 v5, {one}, v3", "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 0, 2), 3",
        "v_sub_f32 v6, -1.0, v3",
        "s_getreg_b32 s5, hwreg(HW_REG_MODE, 0, 4)", "s_round_mode 0", store("s4", "v4", "v5", "v6", "s5")])
    assert run_and_store(text, 5) == [0xF0, 0x3F800000, 0x3F800000, 0xBF800000, 3]
    assert run_and_store("\n".join(["s_round_mode 1", "v_mov_b32 v3, 0x33000001", "v_add_f32 v4, 1.0, v3",
        store("v4")]), 1) == [0x3F800001]


def test_denormals_follow_mode():
    text = "\n".join(["v_mov_b32 v3, 0x00400000", "v_mul_f32 v4, 1.0, v3", "s_denorm_mode 0", "v_mul_f32 v5, 1.0, v3",
        store("v4", "v5")])
    assert run_and_store(text, 2) == [0x00400000, 0]


def test_program_counter_and_calls():
    text = "\n".join([
        "s_getpc_b64 s[4:5]", "s_add_u32 s4, s4, f-.", "s_addc_u32 s5, s5, 0",
        # s_getpc gives the address of the next instruction
        "s_mov_b32 s6, 1", "s_swappc_b64 s[8:9], s[4:5]", "s_add_u32 s6, s6, 100", "s_call_b64 s[8:9], f",
        "s_branch out",
        "f:", "s_lshl_b32 s6, s6, 1", "s_setpc_b64 s[8:9]", "s_trap 2", "out:", store("s6")])
    assert run_and_store(text, 1) == [(2 + 100) * 2]


def test_scalar_loads_of_every_width():
    machine = Machine(threads=1)
    data = np.arange(100, 132, dtype=np.uint32)
    out = np.zeros(32, np.uint32)
    source, target = machine.buffer(data), machine.buffer(out)
    loads = {"b32": (8, "s8"), "b64": (10, "s[10:11]"), "b128": (12, "s[12:15]"), "b256": (16, "s[16:23]"),
        "b512": (24, "s[24:39]")}
    lines = ["s_movk_i32 s7, 4"]
    for n, (width, (_first, registers)) in enumerate(loads.items()):
        offset = "s7 offset:0x4" if width == "b64" else f"{4 * n + 2:#x}"  # the low address bits are ignored
        lines.append(f"s_load_{width} {registers}, s[2:3], {offset}")
    lines.append("v_mov_b32 v1, 0")
    picks = [8, 10, 11, 12, 15, 16, 23, 24, 39]
    for k, register in enumerate(picks):
        lines += [f"v_mov_b32 v2, s{register}", f"global_store_b32 v1, v2, s[0:1] offset:{4 * k}"]
    code = assemble("\n".join(lines) + "\ns_endpgm")
    user = [target & M32, target >> 32, source & M32, source >> 32]
    assert machine.run_code(code, user, threads=1)["end"] == "complete"
    assert machine.fetch(target, out)[:9].tolist() == [100, 102, 103, 102, 105, 103, 110, 104, 119]
