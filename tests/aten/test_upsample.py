"""Resampling and its gradients against the CPU: modes, sizes, given scales, dtypes, memory formats."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, check
from .spatial import FLOATS, LAYOUTS, check_out, compare, launches, lay_out, values

aten = torch.ops.aten
MODES = {
    "nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "linear": (1,), "bilinear": (2,), "trilinear": (3,), "bicubic": (2,),
    "bilinear aa": (2,), "bicubic aa": (2,), "lanczos aa": (2,), "area": (1, 2, 3),
}
CASES = [(mode, axes) for mode, all_axes in MODES.items() for axes in all_axes]
SHAPES = {1: (2, 3, 11), 2: (2, 3, 7, 11), 3: (2, 2, 4, 5, 7)}
SIZES = {1: [(11,), (22,), (5,), (17,), (1,), (90,)],
         2: [(7, 11), (14, 22), (3, 4), (9, 30), (1, 1), (20, 5)],
         3: [(4, 5, 7), (8, 10, 14), (2, 3, 4), (5, 11, 3), (1, 2, 1)]}


def interpolate(mode, align_corners=None, **options):
    name, _, smooth = mode.partition(" ")
    if align_corners is not None and name in ("nearest", "nearest-exact", "area"):
        align_corners = None
    return lambda x: F.interpolate(x, mode=name, antialias=bool(smooth), align_corners=align_corners, **options)


@pytest.mark.parametrize("mode, axes", CASES)
def test_sizes(mode, axes):
    for size in SIZES[axes]:
        for align in (None, True) if "linear" in mode or "cubic" in mode else (None,):
            compare(interpolate(mode, align, size=size), values(SHAPES[axes], torch.float32))


@pytest.mark.parametrize("mode, axes", CASES)
def test_given_scales(mode, axes):
    # 2.1 of 5 elements are 10 (twice as many, and the scale says otherwise); 1.01 keeps the size
    for scale in (2.0, 2.1, 0.5, 1.01, 0.37, 3.3):
        compare(interpolate(mode, None, scale_factor=scale), values((2, 2, *(5, 7, 6)[:axes]), torch.float32))
        compare(interpolate(mode, None, scale_factor=scale, recompute_scale_factor=True),
                values((2, 2, *(5, 7, 6)[:axes]), torch.float32))


@pytest.mark.parametrize("mode, axes", CASES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_dtypes(mode, axes, dtype):
    for size in (SIZES[axes][2], SIZES[axes][3]):
        compare(interpolate(mode, size=size), values(SHAPES[axes], dtype))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_bytes(mode):
    for axes in (1, 2, 3):
        check(interpolate(mode, size=SIZES[axes][3]), values(SHAPES[axes], torch.uint8))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_every_pair_of_sizes_has_the_cpus_neighbours(mode):
    for size in range(1, 24):
        x = torch.arange(size, dtype=torch.float32).reshape(1, 1, size)
        for scale in [None, 1.07]:
            wanted = [F.interpolate(x, size=n, mode=mode) if scale is None else F.interpolate(x, scale_factor=n / size * scale, mode=mode)
                      for n in range(1, 50, 3) if scale is None or int(n * scale) > 0]
            on_device = x.to(DEVICE)
            got = [F.interpolate(on_device, size=y.shape[-1], mode=mode) if scale is None else None for y in wanted]
            if scale is None:
                assert torch.equal(torch.cat(got, dim=-1).cpu(), torch.cat(wanted, dim=-1))
            else:
                scales = [n / size * scale for n in range(1, 50, 3) if int(n * scale) > 0]
                got = [F.interpolate(on_device, scale_factor=s, mode=mode) for s in scales]
                assert torch.equal(torch.cat(got, dim=-1).cpu(), torch.cat(wanted, dim=-1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode, axes", [("nearest", 2), ("bilinear", 2), ("bicubic", 2), ("bilinear aa", 2), ("trilinear", 3)])
def test_layouts(mode, axes, layout):
    x = values((3, 4, *SHAPES[axes][2:]), torch.float32)
    x = lay_out(x, layout) if layout != "unbatched" else lay_out(x[:, :, :, 1:], "offset")
    compare(interpolate(mode, size=SIZES[axes][3]), x, strides=layout in ("contiguous", "channels_last"))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_no_numbers_stay_where_they_are(mode):
    x = values((1, 1, 6, 6), torch.float32)
    x[0, 0, 2, 3] = float("nan")
    x[0, 0, 5, 5] = float("inf")
    check(interpolate(mode, size=(9, 8)), x)


def test_out():
    x = values((2, 3, 6, 7), torch.float32)
    check_out(lambda x, **out: (aten.upsample_bilinear2d.out if out else aten.upsample_bilinear2d)(x, [9, 4], False, **out), x)
    check_out(lambda x, **out: (aten.upsample_nearest2d.out if out else aten.upsample_nearest2d)(x, [9, 4], **out), x)
    with pytest.raises(RuntimeError, match="dtype"):
        aten.upsample_nearest2d.out(x.to(DEVICE), [9, 4], out=torch.empty(2, 3, 9, 4, dtype=torch.float64, device=DEVICE))


def test_empty_batch_and_one_pixel():
    check(interpolate("bilinear", size=(5, 6)), torch.zeros(0, 3, 4, 4))
    compare(interpolate("bicubic", size=(5, 6)), values((1, 1, 1, 1), torch.float32))
    compare(interpolate("bilinear", True, size=(1, 1)), values((2, 1, 5, 4), torch.float32))


def test_gradients_of_long_axes():
    # the outputs of an input are found by inverting a map of f32
    compare(interpolate("linear", size=150001), values((1, 1, 50000), torch.float32))
    compare(interpolate("nearest", size=70001), values((1, 1, 120000), torch.float32))


def test_launches():
    x = values((2, 3, 8, 8), torch.float32).to(DEVICE).requires_grad_()
    for mode in ("nearest", "bilinear", "bicubic", "bilinear aa"):
        assert launches(lambda: interpolate(mode, size=(12, 5))(x)) == 1
        y = interpolate(mode, size=(12, 5))(x)
        cotangent = torch.ones_like(y)
        assert launches(lambda: torch.autograd.grad(y, x, cotangent, retain_graph=True)) == 1


def test_errors():
    x = torch.ones(1, 2, 4, 4, device=DEVICE)
    with pytest.raises(RuntimeError, match="greater than 0"):
        aten.upsample_bilinear2d(x, [0, 3], False)
    with pytest.raises(RuntimeError, match="output_size equals to 2"):
        aten.upsample_nearest2d(x, [3])
    with pytest.raises(RuntimeError, match="Non-empty 4D|expected"):
        aten.upsample_bilinear2d(x[:, :0], [3, 3], False)
    with pytest.raises(RuntimeError, match="Expected grad_output"):
        aten.upsample_nearest2d_backward(x, [5, 5], [1, 2, 4, 4])


@pytest.mark.expects_fallback
def test_bytes_are_resampled_by_the_cpu():
    torch.usbgpu.set_fallback("silent")
    x = values((1, 3, 8, 9), torch.uint8)
    for mode in ("bilinear", "bicubic", "bilinear aa"):
        assert torch.equal(interpolate(mode, size=(5, 12))(x.to(DEVICE)).cpu(), interpolate(mode, size=(5, 12))(x))
