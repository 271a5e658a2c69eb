"""Operand values: for every type the special ones first, then random bits; deterministic."""
from __future__ import annotations

import numpy as np

SPECIAL = {
    16: {"float": [0x0000, 0x8000, 0x3C00, 0xBC00, 0x3800, 0x7C00, 0xFC00, 0x7E00, 0xFE01, 0x7D01, 0x0001, 0x8001, 0x03FF, 0x0400,
                   0x7BFF, 0xFBFF, 0x3BFF, 0x3C01, 0x4248, 0xC900],
         "integer": [0, 1, 2, 7, 15, 16, 31, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0xFFFE, 0x00FF, 0x0100]},
    32: {"float": [0, 0x80000000, 0x3F800000, 0xBF800000, 0x3F000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0x7F800001,
                   1, 0x80000001, 0x007FFFFF, 0x00800000, 0x80800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F7FFFFF, 0x4F000000, 0x4F800000,
                   0xCF000000, 0x477FE000, 0x477FF000, 0x387FC000, 0x33000000, 0x33000001, 0x40490FDB, 0xC3800000, 0x43800001,
                   0x3E800000, 0x42C80000, 0x3EFFFFFF, 0x4B000001, 0x4F7FFFFF, 0x01800000, 0x7E800000, 0x7E000001],
         "integer": [0, 1, 2, 31, 32, 33, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0xFFFFFFFE, 0xFF, 0xFFFF, 0x10000, 0xFF00FF,
                     0x7FFF8000, 0x00FFFFFF, 0x01000000, 0x00800000, 5, 0xFFFFFF80]},
    64: {"float": [0, 1 << 63, 0x3FF0 << 48, 0xBFF0 << 48, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, (0xFFF8 << 48) | 1, (0x7FF0 << 48) | 1,
                   1, (1 << 63) | 1, 0x000FFFFFFFFFFFFF, 1 << 52, 0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFF, 0x3FEFFFFFFFFFFFFF,
                   0x41DFFFFFFFC00000, 0x41E0000000000000, 0xC1E0000000200000, 0xC1E0000000000000, 0x41EFFFFFFFE00000, 0x41F0000000000000,
                   0x47EFFFFFF0000000, 0x36A0000000000000, 0x3690000000000001, 0x4008000000000000, 0x3FE0000000000000,
                   0x47F0000000000000, 0x3810000000000000, 0x380FFFFFF0000000],
         "integer": [0, 1, 63, 64, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF, 0x100000000, 0x80000000]},
}


def bits_of(kind: str) -> tuple[int, bool]:
    """(width of an element, is it a float) of an operand type name."""
    if kind in ("p16",):
        return 16, False
    if kind in ("pf16", "pbf16"):
        return 16, True
    return int(kind.lstrip("abcdefghijklmnopqrstuvwxyz")), kind.startswith(("f", "bf"))


def random_bits(rng: np.random.Generator, kind: str, count: int, position: int = 0) -> np.ndarray:
    """`count` values as uint64: special values, plain magnitudes, and arbitrary bits."""
    if kind in ("p16", "pf16", "pbf16"):
        inner = {"p16": "u16", "pf16": "f16", "pbf16": "bf16"}[kind]
        return random_bits(rng, inner, count, position) | random_bits(rng, inner, count, position + 1) << np.uint64(16)
    width, is_float = bits_of(kind)
    special = np.array(SPECIAL[width]["float" if is_float else "integer"], dtype=np.uint64)
    out = rng.integers(0, 1 << width, count, dtype=np.uint64, endpoint=False) if width < 64 else \
        rng.integers(0, 0xFFFFFFFFFFFFFFFF, count, dtype=np.uint64, endpoint=True)
    choice = rng.random(count)
    if is_float:
        plain = (rng.standard_normal(count) * 2.0 ** rng.integers(-6, 7, count))
        if kind == "f16":
            as_bits = plain.astype(np.float16).view(np.uint16)
        elif kind == "bf16":
            as_bits = plain.astype(np.float32).view(np.uint32) >> 16
        elif kind == "f32":
            as_bits = plain.astype(np.float32).view(np.uint32)
        else:
            as_bits = plain.view(np.uint64)
        out = np.where(choice < 0.5, as_bits.astype(np.uint64), out)
    else:
        small = rng.integers(0, 70, count, dtype=np.uint64)
        out = np.where(choice < 0.25, small, out)
    use_special = choice > 0.75
    out = np.where(use_special, special[rng.integers(0, len(special), count)], out)
    # every special value at least once where there is room, shifted by position so that pairs differ
    n = min(len(special), count)
    out[:n] = np.roll(special, position * 3)[:n]
    return out
