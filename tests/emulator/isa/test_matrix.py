"""Matrix instructions of gfx12, dense and sparse, and those of wave64 on both generations, against NumPy. Register layouts are
written here from the ISA documents: n = lane % 16, h = lane / 16, G groups of 16 lanes."""
from __future__ import annotations

import numpy as np
import pytest

from .lanes import run
from .test_gfx12_values import TABLE

BITS = {"f16": 16, "bf16": 16, "fp8": 8, "bf8": 8, "iu8": 8, "iu4": 4}


def random_codes(rng, kind: str, shape) -> np.ndarray:
    """Unsigned bit patterns whose products and sums are exact in f32."""
    if kind in ("f16", "bf16"):
        x = (rng.integers(-32, 33, shape) / 16).astype(np.float32)
        return x.astype(np.float16).view(np.uint16).astype(np.uint32) if kind == "f16" else x.view(np.uint32) >> 16
    if kind in TABLE:
        return rng.choice(np.flatnonzero((np.abs(TABLE[kind]) <= 4) & (np.abs(TABLE[kind]) >= 1 / 16)), shape).astype(np.uint32)
    return rng.integers(0, 1 << BITS[kind], shape).astype(np.uint32)


def values(codes: np.ndarray, kind: str, signed: bool = False) -> np.ndarray:
    if kind == "f16":
        return codes.astype(np.uint16).view(np.float16).astype(np.float64)
    if kind == "bf16":
        return (codes << 16).astype(np.uint32).view(np.float32).astype(np.float64)
    if kind in TABLE:
        return TABLE[kind][codes]
    wide = codes.astype(np.int64)
    return np.where(signed & (wide >> (BITS[kind] - 1)), wide - (1 << BITS[kind]), wide)


def operand(codes: np.ndarray, kind: str, lanes: int, gfx12: bool = True) -> list[np.ndarray]:
    """codes[n][k] -> registers."""
    bits, groups = BITS[kind], lanes // 16
    share = codes.shape[1] // groups if gfx12 else codes.shape[1]
    per = min(32 // bits, share)
    n, h = np.arange(lanes) % 16, np.arange(lanes) // 16
    registers = []
    for j in range(share // per):
        k = (h * share if gfx12 else 0) + per * j
        registers.append(sum(codes[n, k + p].astype(np.uint64) << np.uint64(bits * p) for p in range(per)).astype(np.uint32))
    return registers


def result_rows(lanes: int, gfx12: bool):
    """(register, lanes) -> row of D, for 32-bit elements."""
    groups, h = lanes // 16, np.arange(lanes) // 16
    return [(16 // groups * h + j) if gfx12 else groups * j + h for j in range(16 // groups)]


def accumulator(codes: np.ndarray, kind: str, lanes: int, gfx12: bool) -> list[np.ndarray]:
    n, rows = np.arange(lanes) % 16, result_rows(lanes, gfx12)
    if kind in ("f32", "i32"):
        return [codes[row, n] for row in rows]
    if gfx12:
        return [codes[low, n] | codes[high, n] << 16 for low, high in zip(rows[::2], rows[1::2])]
    return [codes[row, n] | 0xABCD0000 for row in rows]


def matrix(registers: list[np.ndarray], kind: str, lanes: int, gfx12: bool) -> np.ndarray:
    out, n = np.zeros((16, 16), np.uint32), np.arange(lanes) % 16
    for j, row in enumerate(result_rows(lanes, gfx12)):
        if kind in ("f32", "i32"):
            out[row, n] = registers[j]
        else:
            out[row, n] = registers[j // 2] >> 16 * (j % 2) & 0xFFFF if gfx12 else registers[j] & 0xFFFF
    return out


def text(registers: list, first: int) -> str:
    return f"v{first}" if len(registers) == 1 else f"v[{first}:{first + len(registers) - 1}]"


FLOATS = {"f32": np.float32, "f16": np.float16}


def initial(rng, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes and values of C."""
    if kind == "i32":
        c = rng.integers(-2**31, 2**31, (16, 16))
        return (c & 0xFFFFFFFF).astype(np.uint32), c
    c = (rng.integers(-64, 65, (16, 16)) / 16).astype(np.float32)
    codes = c.view(np.uint32) if kind == "f32" else random_codes(rng, kind, (16, 16))
    return codes, c.astype(np.float64) if kind == "f32" else values(codes, kind)


def check(got: np.ndarray, want: np.ndarray, kind: str) -> None:
    if kind == "i32":
        assert (got == want & 0xFFFFFFFF).all()
    elif kind == "f32":
        assert (got.view(np.float32) == want).all()
    else:
        error = np.abs(values(got, kind) - want)
        assert error.max() <= np.abs(want).max() * (2.0**-11 if kind == "f16" else 2.0**-8)


DENSE = {  # mnemonic: D, A, B, K
    "v_wmma_f32_16x16x16_f16": ("f32", "f16", "f16", 16), "v_wmma_f32_16x16x16_bf16": ("f32", "bf16", "bf16", 16),
    "v_wmma_f16_16x16x16_f16": ("f16", "f16", "f16", 16), "v_wmma_bf16_16x16x16_bf16": ("bf16", "bf16", "bf16", 16),
    "v_wmma_i32_16x16x16_iu8": ("i32", "iu8", "iu8", 16), "v_wmma_i32_16x16x16_iu4": ("i32", "iu4", "iu4", 16),
    "v_wmma_i32_16x16x32_iu4": ("i32", "iu4", "iu4", 32),
    **{f"v_wmma_f32_16x16x16_{a}_{b}": ("f32", a, b, 16) for a in ("fp8", "bf8") for b in ("fp8", "bf8")},
}
CASES = [("gfx1201", 32, name) for name in DENSE] + [("gfx1201", 64, name) for name in DENSE]
CASES += [("gfx1100", 64, name) for name, (_d, a, _b, k) in DENSE.items() if a not in TABLE and k == 16]


@pytest.mark.parametrize("arch,lanes,name", CASES, ids=lambda v: str(v).replace("v_wmma_", ""))
def test_dense(arch, lanes, name, rng):
    d, a_kind, b_kind, k = DENSE[name]
    gfx12 = arch == "gfx1201"
    a, b = random_codes(rng, a_kind, (16, k)), random_codes(rng, b_kind, (16, k))  # b[column][k]
    c_codes, c = initial(rng, d)
    ra, rb, rc = operand(a, a_kind, lanes, gfx12), operand(b, b_kind, lanes, gfx12), accumulator(c_codes, d, lanes, gfx12)
    modifiers, signed = (" neg_lo:[1,0,0] clamp", (True, False)) if d == "i32" else ("", (False, False))
    want = values(a, a_kind, signed[0]) @ values(b, b_kind, signed[1]).T + c
    if d == "i32":
        want = np.clip(want, -2**31, 2**31 - 1)
    vgprs = {first + n: r for first, rs in ((10, ra), (20, rb), (30, rc)) for n, r in enumerate(rs)}
    code = f"{name} {text(rc, 30)}, {text(ra, 10)}, {text(rb, 20)}, {text(rc, 30)}{modifiers}"
    got = run(arch, code, vgprs=vgprs, out=range(30, 30 + len(rc)), lanes=lanes)
    registers = [got[30 + n] for n in range(len(rc))]
    check(matrix(registers, d, lanes, gfx12), want, d)
    if d in ("f16", "bf16") and not gfx12:
        assert all((r >> 16 == 0xABCD).all() for r in registers), "the other half stays"


SPARSE = {
    "v_swmmac_f32_16x16x32_f16": ("f32", "f16", "f16", 32), "v_swmmac_f32_16x16x32_bf16": ("f32", "bf16", "bf16", 32),
    "v_swmmac_f16_16x16x32_f16": ("f16", "f16", "f16", 32), "v_swmmac_bf16_16x16x32_bf16": ("bf16", "bf16", "bf16", 32),
    "v_swmmac_i32_16x16x32_iu8": ("i32", "iu8", "iu8", 32), "v_swmmac_i32_16x16x32_iu4": ("i32", "iu4", "iu4", 32),
    "v_swmmac_i32_16x16x64_iu4": ("i32", "iu4", "iu4", 64),
    **{f"v_swmmac_f32_16x16x32_{a}_{b}": ("f32", a, b, 32) for a in ("fp8", "bf8") for b in ("fp8", "bf8")},
}


@pytest.mark.parametrize("lanes", [32, 64])
@pytest.mark.parametrize("name", SPARSE, ids=lambda v: v.replace("v_swmmac_", ""))
def test_sparse(name, lanes, rng):
    """A dense A with two of every four k, packed with their positions in the index register; unused B is infinite."""
    d, a_kind, b_kind, k = SPARSE[name]
    groups = lanes // 16
    packed = random_codes(rng, a_kind, (16, k // 2))
    chosen = np.array([[sorted(rng.choice(4, 2, replace=False)) for _ in range(k // 4)] for _ in range(16)]).reshape(16, k // 2)
    position = 4 * (np.arange(k // 2) // 2) + chosen
    dense = np.zeros((16, k))
    signed = (False, True) if d == "i32" else (False, False)
    np.put_along_axis(dense, position, values(packed, a_kind, signed[0]).astype(np.float64), 1)
    b = random_codes(rng, b_kind, (16, k))
    c_codes, c = initial(rng, d)
    share = k // 2 // groups                       # packed elements in a lane
    n, h = np.arange(lanes) % 16, np.arange(lanes) // 16
    index = sum(chosen[n, h * share + e].astype(np.uint64) << np.uint64(2 * e) for e in range(share))
    part = 16 if a_kind == "iu4" and share == 4 else 2 * share
    key = {32: 0, 16: 1, 8: 2}[part]
    index = index << np.uint64(part * key) | (np.uint64(0) if key == 0 else np.uint64(0b1110))  # other sets hold something else
    ra, rb, rd = operand(packed, a_kind, lanes), operand(b, b_kind, lanes), accumulator(c_codes, d, lanes, True)
    want = dense @ values(b, b_kind, signed[1]).T + c
    if d == "i32":
        want = np.clip(want.astype(np.int64), -2**31, 2**31 - 1)
    vgprs = {first + m: r for first, rs in ((10, ra), (20, rb), (30, rd), (40, [index.astype(np.uint32)])) for m, r in enumerate(rs)}
    modifiers = (f" index_key:{key}" if key else "") + (" neg_lo:[0,1,0] clamp" if d == "i32" else "")
    got = run("gfx1201", f"{name} {text(rd, 30)}, {text(ra, 10)}, {text(rb, 20)}, v40{modifiers}", vgprs=vgprs, out=range(30, 30 + len(rd)), lanes=lanes)
    check(matrix([got[30 + m] for m in range(len(rd))], d, lanes, True), want, d)


def test_sparse_skips_what_is_not_stored(rng):
    """Infinity in rows of B that no element of A selects leaves the result finite."""
    b = np.full((16, 32), 0x7C00, np.uint32)        # +inf everywhere
    b[:, 0::4] = b[:, 1::4] = 0x3C00                # 1.0 where the index points (positions 0 and 1 of each four)
    index = np.full(32, 0b0100_0100_0100_0100, np.uint32)
    ones = np.full((16, 16), 0x3C00, np.uint32)
    vgprs = {first + m: r for first, rs in ((10, operand(ones, "f16", 32)), (20, operand(b, "f16", 32)), (40, [index])) for m, r in enumerate(rs)}
    vgprs |= {30 + m: np.zeros(32) for m in range(8)}
    got = run("gfx1201", "v_swmmac_f32_16x16x32_f16 v[30:37], v[10:13], v[20:27], v40", vgprs=vgprs, out=range(30, 38))
    assert all((got[30 + m].view(np.float32) == 16).all() for m in range(8))


@pytest.mark.parametrize("arch,lanes,mask", [("gfx1201", 32, 0x7FFFFFFF), ("gfx1201", 64, (1 << 63) - 1), ("gfx1100", 64, (1 << 64) - 2)])
def test_all_lanes_are_needed(arch, lanes, mask):
    width = {("gfx1201", 32): (3, 7), ("gfx1201", 64): (1, 3), ("gfx1100", 64): (7, 3)}[arch, lanes]
    code = f"v_wmma_f32_16x16x16_f16 v[30:{30 + width[1]}], v[10:{10 + width[0]}], v[20:{20 + width[0]}], 1.0"
    fault = run(arch, code, exec_mask=mask, lanes=lanes, end="fault")["fault"]
    assert fault["kind"] == "wmma_exec" and "v_wmma_f32_16x16x16_f16" in fault["text"]
