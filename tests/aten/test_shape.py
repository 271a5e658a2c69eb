"""cat and roll, which move words and know no dtypes: every layout, many inputs, guard elements."""
from __future__ import annotations

import random as numbers

import pytest
import torch

from .families import DEVICE, assert_guards, guarded, keep_strides, no_fallback
from .spatial import launches

DTYPES = [torch.float32, torch.float16, torch.int8, torch.float64, torch.bool, torch.complex64, torch.complex128,
          torch.float8_e4m3fn, torch.uint16, torch.int64]


def values(shape, dtype):
    whole = torch.randint(0, 100, shape)
    if dtype.is_complex:
        return torch.complex(whole.double(), -whole.double()).to(dtype)
    return whole.to(torch.float32).to(dtype)


def laid_out(shape, dtype, layout):
    """The same on both sides; the last three lie in memory as the name says."""
    if layout == "transposed":
        return values(shape[::-1], dtype).permute(*range(len(shape) - 1, -1, -1))
    if layout == "sliced":
        return values([*shape[:-1], shape[-1] * 2], dtype)[..., ::2]
    if layout == "offset":
        return values([torch.Size(shape).numel() + 1], dtype)[1:].view(shape)
    return values(shape, dtype)


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor.shape


def assert_equal_bits(actual, expected):
    actual = actual.cpu()
    assert actual.dtype == expected.dtype and actual.shape == expected.shape and actual.stride() == expected.stride()
    assert torch.equal(bits(actual), bits(expected)) if expected.numel() else True


def shapes(layout, dtype, count):
    draw = numbers.Random(f"{layout}{dtype}{count}")
    dims = draw.randint(1, 5)
    base, dim = [draw.randint(1, 5) for _ in range(dims)], draw.randrange(dims)
    return [[*base[:dim], draw.randint(0, 6), *base[dim + 1:]] for _ in range(count)], dim


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced", "offset"])
def test_cat(layout, dtype):
    for count in (1, 2, 9):
        sizes, dim = shapes(layout, dtype, count)
        inputs = [laid_out(size, dtype, layout) for size in sizes]
        with no_fallback():
            actual = torch.cat([keep_strides(x) for x in inputs], dim)
        assert_equal_bits(actual, torch.cat(inputs, dim))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced", "offset"])
def test_roll(layout, dtype):
    for seed in (1, 2):
        (size,), _ = shapes(layout, dtype, 1) if seed == 1 else ([[3, 1, 4, 2]], 0)
        x = laid_out(size, dtype, layout)
        moved, dims = keep_strides(x), list(range(x.dim()))
        for shifts, along in [([3, -2, 7, 1, -9][:x.dim()], dims), (1, -1), (-8, None), ((2, 3), (0, 0)), (0, 0)]:
            with no_fallback():
                actual = torch.roll(moved, shifts, along)
            assert_equal_bits(actual, torch.roll(x, shifts, along))


def test_tables_of_inputs():
    """More inputs than one launch takes, and strided ones among dense ones."""
    many = [torch.randn(i % 4, 3) for i in range(300)]
    moved = [x.to(DEVICE) for x in many]
    assert_equal_bits(torch.cat(moved), torch.cat(many))
    assert launches(lambda: torch.cat(moved)) == 2                 # 225 of them have elements
    mixed = [torch.randn(3, 7).t() if i % 3 else torch.randn(7, 3) for i in range(70)]
    moved = [keep_strides(x) for x in mixed]
    assert_equal_bits(torch.cat(moved, 1), torch.cat(mixed, 1))
    assert launches(lambda: torch.cat(moved, 1)) == 2
    image = torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last)
    moved = keep_strides(image)
    assert_equal_bits(torch.cat([moved, moved], 1), torch.cat([image, image], 1))
    assert launches(lambda: torch.cat([moved, moved], 1)) == 1


def test_out_is_guarded():
    a, b = torch.randn(3, 4), torch.randn(2, 4)
    for strides in ((4, 1), (9, 2), (1, 5)):
        out, whole, outside = guarded((5, 4), torch.float32, strides)
        with no_fallback():
            torch.cat([a.to(DEVICE), b.to(DEVICE)], out=out)
        assert torch.equal(out.cpu(), torch.cat([a, b]))
        assert_guards(whole, outside)


@pytest.mark.parametrize("strides", [(3, 1), (7, 2), (1, 4)])
def test_narrow_copy_out(strides):
    x = torch.randn(5, 4).t()
    out, whole, outside = guarded((4, 3), torch.float32, strides)
    with no_fallback():
        torch.narrow_copy(keep_strides(x), 1, -4, 3, out=out)
    assert torch.equal(out.cpu(), x[:, 1:4])
    assert_guards(whole, outside)


def test_rows_of_all_word_sizes():
    """The widest word that addresses and rows allow, for rows of 1 to 17 bytes at odd places."""
    for row in range(1, 18):
        for offset in (0, 1, 2, 4, 8):
            block = torch.arange(200, dtype=torch.uint8)
            moved = block.to(DEVICE)
            a, b = (t[offset:offset + 5 * row].view(5, row) for t in (block, moved))
            assert torch.equal(torch.cat([b, b[:, :1]], 1).cpu(), torch.cat([a, a[:, :1]], 1))
            assert torch.equal(torch.cat([b, b], 1).cpu(), torch.cat([a, a], 1))


@pytest.mark.parametrize("call", [
    lambda x: torch.cat([x[:2], x[2:4]], out=x[:4]), lambda x: torch.roll(x, 1, 5), lambda x: torch.roll(x[0, 0], 1, 0),
    lambda x: torch.roll(x, (1, 2)), lambda x: torch.cat([x, x[0]]), lambda x: torch.cat([]),
    lambda x: torch.narrow_copy(x, 0, 7, 2, out=x.new_empty(0)), lambda x: torch.narrow_copy(x[0, 0], 0, 0, 1, out=x[0]),
    lambda x: torch.narrow_copy(x, 0, 9, 0, out=x.new_empty(0)),
], ids=["overlap", "dimension", "scalar", "no dimensions", "ranks", "nothing", "too long", "narrow scalar", "start"])
def test_errors_are_the_cpus(call):
    x = torch.randn(8, 2)
    with pytest.raises(Exception) as expected:
        call(x)
    with pytest.raises(type(expected.value)) as actual:
        call(x.to(DEVICE))
    assert str(actual.value).split("\n")[0][:60] == str(expected.value).split("\n")[0][:60]
