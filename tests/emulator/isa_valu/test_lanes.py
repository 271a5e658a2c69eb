"""Lane crossing: DPP, permutes, single lanes, mbcnt, relative moves, swaps."""
from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.emulator.isa_valu import harness
from tests.emulator.isa_valu.harness import Inputs

LANES = np.arange(32)
ROW, IN_ROW = LANES & 16, LANES & 15


def outside(lane: np.ndarray, good: np.ndarray) -> np.ndarray:
    return np.where(good, lane, -1)


# pattern text -> lane each lane reads from (-1: outside of the row)
DPP16 = {
    "quad_perm:[1,0,3,2]": LANES ^ 1,
    "quad_perm:[3,3,0,1]": (LANES & ~3) | np.tile([3, 3, 0, 1], 8),
    "row_shl:1": outside(LANES + 1, IN_ROW + 1 < 16),
    "row_shl:15": outside(LANES + 15, IN_ROW + 15 < 16),
    "row_shr:3": outside(LANES - 3, IN_ROW >= 3),
    "row_ror:5": ROW | (IN_ROW - 5) % 16,
    "row_mirror": ROW | (15 - IN_ROW),
    "row_half_mirror": (LANES & ~7) | (7 - (LANES & 7)),
    "row_share:6": ROW | 6,
    "row_xmask:9": LANES ^ 9,
}
MASKS = {"": (0xF, 0xF), " row_mask:0x1 bank_mask:0xf": (0x1, 0xF), " row_mask:0xf bank_mask:0xa": (0xF, 0xA)}
KERNELS: dict[str, str] = {}
DPP_CASES: dict[str, tuple[str, str, str, np.ndarray, tuple[int, int], bool, bool]] = {}
for _p, _source in DPP16.items():
    for _m, _masks in MASKS.items():
        for _bc in (False, True):
            for _fi in (False, True):
                _tail = f"{_p}{_m or ' row_mask:0xf bank_mask:0xf'}{' bound_ctrl:1' if _bc else ''}{' fi:1' if _fi else ''}"
                for _op, _text in (("mov", "v_mov_b32_dpp v8, v2 "), ("sub", "v_sub_nc_u32_dpp v8, v2, v4 "), ("neg", "v_max_f32_dpp v8, -v2, |v2| ")):
                    if _op != "mov" and (_m or _bc != _fi):
                        continue
                    _name = f"dpp16_{len(DPP_CASES)}"
                    KERNELS[_name] = _text + _tail
                    DPP_CASES[_name] = (_op, _p, _tail, _source, _masks, _bc, _fi)
KERNELS["dpp8"] = "v_mov_b32_dpp v8, v2 dpp8:[7,0,3,3,2,6,1,4]"
KERNELS["dpp8_fi"] = "v_mov_b32_dpp v8, v2 dpp8:[7,0,3,3,2,6,1,4] fi:1"
KERNELS["dpp_cmp"] = "v_cmp_gt_i32_e64_dpp s20, v2, v4 row_share:0 row_mask:0xf bank_mask:0xf"
for _x in ("", "x"):
    for _fi in (0, 1):
        for _bc in (0, 1):
            KERNELS[f"permlane{_x}16_{_fi}{_bc}"] = f"v_permlane{_x}16_b32 v8, v2, s28, s29 op_sel:[{_fi},{_bc}]"
KERNELS |= {
    "readlane": "v_readlane_b32 s20, v2, s28",
    "readlane_constant": "v_readlane_b32 s20, v2, 31",
    "readfirstlane": "v_readfirstlane_b32 s20, v2",
    "writelane": "v_writelane_b32 v8, s21, s28",
    "mbcnt_lo": "v_mbcnt_lo_u32_b32 v8, v2, v4",
    "mbcnt_lo_mask": "v_mbcnt_lo_u32_b32 v8, s21, 0",
    "mbcnt_hi": "v_mbcnt_hi_u32_b32 v8, -1, v4",
    "permlane64": "v_permlane64_b32 v2, v2",
    "movreld": "v_movreld_b32 v8, v2",
    "movrels": "v_movrels_b32 v8, v2",
    "movrelsd": "v_movrelsd_b32 v8, v2",
    "movrelsd_2": "v_movrelsd_2_b32 v8, v2",
    "swap": "v_swap_b32 v8, v2",
    "swaprel": "v_swaprel_b32 v8, v2",
    "swap16_ll": "v_swap_b16 v8.l, v2.l",
    "swap16_hl": "v_swap_b16 v8.h, v2.l",
    "swap16_lh": "v_swap_b16 v8.l, v2.h",
    "swap16_same": "v_swap_b16 v8.l, v8.h",
}


def random_inputs(name: str, blocks: int = 4) -> Inputs:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    inputs = Inputs(blocks)
    inputs.registers[:] = rng.integers(0, 1 << 32, inputs.registers.shape, dtype=np.uint32)
    inputs.scalars[:, :8] = rng.integers(0, 1 << 32, (blocks, 8), dtype=np.uint32)
    inputs.scalars[0, harness.EXEC] = 0xFFFFFFFF
    return inputs


def taken(values: np.ndarray, source: np.ndarray, active: np.ndarray, fetch_inactive: bool) -> tuple[np.ndarray, np.ndarray]:
    """(value or 0, is it valid) per [block][lane]."""
    valid = (source >= 0) & (fetch_inactive | active[:, np.maximum(source, 0)])
    return np.where(valid, values[:, np.maximum(source, 0)], 0), valid


@pytest.mark.parametrize("pattern", DPP16)
def test_dpp16(pattern: str, on_both) -> None:
    for name, (operation, of, tail, source, (rows, banks), bound, fetch) in DPP_CASES.items():
        if of != pattern:
            continue
        inputs = random_inputs(name)
        if operation == "neg":  # ordinary floats
            inputs.set(2, np.random.default_rng(5).standard_normal(128).astype(np.float32).view(np.uint32))
        active = inputs.active()
        value, valid = taken(inputs.get(2), source, active, fetch)
        written = active & (valid | bound) & ((rows >> (LANES >> 4)) & 1).astype(bool) & ((banks >> (LANES >> 2 & 3)) & 1).astype(bool)
        if operation == "sub":
            value = value - inputs.get(4) & np.uint64(0xFFFFFFFF)
        elif operation == "neg":
            a = -value.astype(np.uint32).view(np.float32)
            value = np.maximum(a, np.abs(inputs.get(2).astype(np.uint32).view(np.float32))).view(np.uint32).astype(np.uint64)
        result = on_both(KERNELS).run(name, inputs)
        assert (result.get(8) == np.where(written, value, inputs.get(8))).all(), KERNELS[name]
        assert (result.exec == inputs.scalars[:, harness.EXEC]).all(), "EXEC was not restored"
        assert (np.delete(result.registers, 6, 1) == np.delete(inputs.registers, 6, 1)).all()


@pytest.mark.parametrize("name", ["dpp8", "dpp8_fi"])
def test_dpp8(name: str, on_both) -> None:
    inputs = random_inputs(name)
    source = (LANES & ~7) | np.tile([7, 0, 3, 3, 2, 6, 1, 4], 4)
    value, _ = taken(inputs.get(2), source, inputs.active(), name == "dpp8_fi")
    result = on_both(KERNELS).run(name, inputs)
    assert (result.get(8) == np.where(inputs.active(), value, inputs.get(8))).all()
    assert (result.exec == inputs.scalars[:, harness.EXEC]).all()


def test_dpp_compare(on_both) -> None:
    inputs = random_inputs("dpp_cmp", 8)
    active = inputs.active()
    value, valid = taken(inputs.get(2), ROW, active, False)
    greater = value.astype(np.uint32).view(np.int32) > inputs.get(4).astype(np.uint32).view(np.int32)
    want = ((greater & active & valid) << LANES).sum(1)
    result = on_both(KERNELS).run("dpp_cmp", inputs)
    assert (result.sdst == want).all()
    assert (result.exec == inputs.scalars[:, harness.EXEC]).all()


@pytest.mark.parametrize("name", [k for k in KERNELS if k.startswith("permlane") and k != "permlane64"])
def test_permlane16(name: str, on_both) -> None:
    inputs = random_inputs(name)
    fetch, bound, cross = name[-2] == "1", name[-1] == "1", "x16" in name
    active = inputs.active()
    result = on_both(KERNELS).run(name, inputs)
    for block in range(inputs.blocks):
        selectors = int(inputs.scalars[block, harness.SGPR]) | int(inputs.scalars[block, harness.SGPR_HIGH]) << 32
        for lane in range(32):
            source = (lane & 16 ^ (16 if cross else 0)) | selectors >> 4 * (lane & 15) & 15
            want = inputs.get(8)[block, lane]
            if active[block, lane]:
                if fetch or active[block, source]:
                    want = inputs.get(2)[block, source]
                elif bound:
                    want = 0
            assert result.get(8)[block, lane] == want, (block, lane)


def test_single_lanes(on_both) -> None:
    kernels = on_both(KERNELS)
    inputs = random_inputs("single", 6)
    inputs.scalars[-1, harness.EXEC] = 0
    rows = np.arange(6)
    lane = inputs.scalars[:, harness.SGPR] & 31
    assert (kernels.run("readlane", inputs).sdst == inputs.get(2)[rows, lane]).all()
    assert (kernels.run("readlane_constant", inputs).sdst == inputs.get(2)[:, 31]).all()
    first = [(int(e) & -int(e)).bit_length() - 1 if e else 0 for e in inputs.scalars[:, harness.EXEC]]
    assert (kernels.run("readfirstlane", inputs).sdst == inputs.get(2)[rows, first]).all()
    want = inputs.get(8).copy()
    want[rows, lane] = inputs.scalars[:, harness.MASK]
    assert (kernels.run("writelane", inputs).get(8) == want).all()
    assert (kernels.run("permlane64", inputs).registers == inputs.registers).all()


def test_mbcnt(on_both) -> None:
    kernels = on_both(KERNELS)
    inputs = random_inputs("mbcnt")
    active = inputs.active()
    below = np.array([[int(v) & ((1 << lane) - 1) for lane, v in enumerate(row)] for row in inputs.get(2)], np.uint64)
    want = (np.bitwise_count(below) + inputs.get(4)) & 0xFFFFFFFF
    assert (kernels.run("mbcnt_lo", inputs).get(8) == np.where(active, want, inputs.get(8))).all()
    scalar = inputs.scalars[:, harness.MASK].astype(np.uint64)[:, None] & np.array([(1 << n) - 1 for n in range(32)], np.uint64)
    assert (kernels.run("mbcnt_lo_mask", inputs).get(8) == np.where(active, np.bitwise_count(scalar), inputs.get(8))).all()
    assert (kernels.run("mbcnt_hi", inputs).get(8) == np.where(active, inputs.get(4), inputs.get(8))).all()


# name -> (M0, source register, destination register)
RELATIVE = {"movreld": (5, 2, 13), "movrels": (5, 7, 8), "movrelsd": (5, 7, 13), "movrelsd_2": (3 << 16 | 5, 7, 11)}


@pytest.mark.parametrize("name", RELATIVE)
def test_relative_moves(name: str, on_both) -> None:
    m0, source, destination = RELATIVE[name]
    inputs = random_inputs(name)
    inputs.scalars[:, harness.M0] = m0
    want = inputs.registers.copy()
    want[:, destination - 2] = np.where(inputs.active(), inputs.get(source), inputs.get(destination))
    assert (on_both(KERNELS).run(name, inputs).registers == want).all()


@pytest.mark.parametrize("name,a,b", [("swap", 8, 2), ("swaprel", 11, 7)])
def test_swap(name: str, a: int, b: int, on_both) -> None:
    inputs = random_inputs(name)
    inputs.scalars[:, harness.M0] = 3 << 16 | 5
    want = inputs.registers.copy()
    want[:, a - 2] = np.where(inputs.active(), inputs.get(b), inputs.get(a))
    want[:, b - 2] = np.where(inputs.active(), inputs.get(a), inputs.get(b))
    assert (on_both(KERNELS).run(name, inputs).registers == want).all()


@pytest.mark.parametrize("name,a,b", [("swap16_ll", (8, 0), (2, 0)), ("swap16_hl", (8, 1), (2, 0)), ("swap16_lh", (8, 0), (2, 1)),
                                      ("swap16_same", (8, 0), (8, 1))])
def test_swap_halves(name: str, a: tuple[int, int], b: tuple[int, int], on_both) -> None:
    inputs = random_inputs(name)
    halves = inputs.registers.view(np.uint16).reshape(inputs.blocks, harness.COUNT, 32, 2)
    want = halves.copy()
    for (register, half), (other, other_half) in ((a, b), (b, a)):
        want[:, register - 2, :, half] = np.where(inputs.active(), halves[:, other - 2, :, other_half], halves[:, register - 2, :, half])
    assert (on_both(KERNELS).run(name, inputs).registers == want.view(np.uint32)[..., 0]).all()
