"""Pooling and its gradients against the CPU: windows, dtypes, memory formats, out=, errors."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, assert_same, no_fallback
from .spatial import FLOATS, LAYOUTS, check_out, compare, launches, lay_out, values

aten = torch.ops.aten
SHAPES = {1: (2, 3, 23), 2: (2, 3, 9, 11), 3: (2, 2, 5, 6, 7)}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
ADAPTIVE_AVERAGE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
AXES = [1, 2, 3]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("options", [
    dict(kernel_size=2), dict(kernel_size=3, stride=1, padding=1), dict(kernel_size=3, stride=2, padding=1, ceil_mode=True),
    dict(kernel_size=2, stride=1, dilation=2), dict(kernel_size=3, dilation=2, padding=1, stride=2),
    dict(kernel_size=2, stride=3),
], ids=str)
def test_max(axes, options):
    compare(lambda x: MAX[axes](x, return_indices=True, **options), values(SHAPES[axes], torch.float32))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_max_dtypes(axes, dtype):
    if axes == 1 and not dtype.is_floating_point:
        compare(lambda x: aten.max_pool2d_with_indices(x[:, :, None], [1, 3], [1, 2])[1], values(SHAPES[1], dtype))
        return
    compare(lambda x: MAX[axes](x, 3, 2, 1, return_indices=True), values(SHAPES[axes], dtype))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("options", [
    dict(kernel_size=2), dict(kernel_size=3, stride=1, padding=1), dict(kernel_size=3, stride=2, padding=1, ceil_mode=True),
    dict(kernel_size=3, padding=1, count_include_pad=False), dict(kernel_size=2, stride=3, ceil_mode=True),
], ids=str)
def test_average(axes, options):
    for dtype in FLOATS:
        compare(lambda x: AVERAGE[axes](x, **options), values(SHAPES[axes], dtype))


def test_average_divisor_and_integers():
    compare(lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=5), values((2, 3, 8, 8), torch.float32))
    compare(lambda x: F.avg_pool3d(x, 2, divisor_override=-3), values((2, 4, 4, 4), torch.float32))
    compare(lambda x: F.avg_pool2d(x, 3, 2, 1), values((2, 3, 8, 8), torch.int64) - 50)
    compare(lambda x: F.avg_pool2d(x, (3, 2), (1, 2), (1, 0)), values((2, 3, 8, 9), torch.float32))
    compare(lambda x: F.max_pool3d(x, (3, 2, 1), (1, 2, 2), (1, 0, 0)), values((2, 3, 6, 8, 9), torch.float32))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("size", [1, 3, 5], ids=str)
def test_adaptive(axes, dtype, size):
    x = values(SHAPES[axes], dtype)
    compare(lambda x: ADAPTIVE_AVERAGE[axes](x, size), x)
    compare(lambda x: ADAPTIVE_MAX[axes](x, size, return_indices=True), x)


def test_adaptive_larger_than_the_input_and_by_axis():
    x = values((2, 3, 5, 7), torch.float32)
    for size in [(8, 15), (None, 4), (5, 7), (1, 1), (2, 20)]:
        compare(lambda x, size=size: F.adaptive_avg_pool2d(x, size), x)
        compare(lambda x, size=size: F.adaptive_max_pool2d(x, size, return_indices=True), x)


def test_adaptive_long_axes_need_64_bits():
    x = values((1, 1, 70000), torch.float32)
    compare(lambda x: F.adaptive_avg_pool1d(x, 65537), x)
    compare(lambda x: F.adaptive_max_pool1d(x, 65537, return_indices=True), x)


POOLS = {
    "max": lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
    "average": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "adaptive average": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, (3, 4), return_indices=True),
    "max 3d": lambda x: F.max_pool3d(x, 2, return_indices=True),
    "average 3d": lambda x: F.avg_pool3d(x, 2),
    "adaptive average 3d": lambda x: F.adaptive_avg_pool3d(x, (3, 2, 4)),
    "adaptive max 3d": lambda x: F.adaptive_max_pool3d(x, (3, 2, 4), return_indices=True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pool", POOLS)
def test_layouts(pool, layout):
    x = values((3, 4, 6, 5, 7) if "3d" in pool else (3, 4, 6, 7), torch.float32)
    compare(POOLS[pool], lay_out(x, layout), strides=layout in ("contiguous", "channels_last", "unbatched"))


def test_nan_and_infinity():
    x = values((1, 2, 6, 6), torch.float32)
    x[0, 0, 1, 1] = x[0, 0, 1, 0] = float("nan")
    x[0, 1, :2, :2] = -float("inf")
    x[0, 1, 3, 3] = float("inf")
    for pool in (lambda x: F.max_pool2d(x, 2, return_indices=True), lambda x: F.max_pool2d(x, 3, 1, 1, return_indices=True),
                 lambda x: F.adaptive_max_pool2d(x, 4, return_indices=True), lambda x: F.avg_pool2d(x, 2)):
        compare(pool, x)


def test_equal_values_take_the_first_index():
    compare(lambda x: F.max_pool2d(x, 3, 1, 1, return_indices=True), torch.zeros(1, 1, 5, 5))
    compare(lambda x: F.max_pool2d(x, 2, return_indices=True), torch.zeros(1, 1, 4, 4, dtype=torch.uint8))


def test_out():
    x = values((2, 3, 8, 8), torch.float32)
    check_out(lambda x, **out: aten.avg_pool2d(x, [2, 2], **out), x)
    y = values((2, 3, 4, 6, 8), torch.float32)
    for function, x in ((aten.max_pool2d_with_indices, x), (aten.max_pool3d_with_indices, y)):
        kernel = [2] * (x.dim() - 2)
        check_pairs(lambda x, f=function, k=kernel, **out: (f if not out else f.out)(x, k, **out), x)
    check_pairs(lambda x, **out: (aten.adaptive_max_pool2d.out if out else aten.adaptive_max_pool2d)(x, [3, 3], **out), x=x[:, :, 0])
    check_out(lambda x, **out: aten.adaptive_avg_pool3d(x, [2, 3, 3], **out), y)


def check_pairs(function, x):
    want = function(x)
    outs = [torch.full((*w.shape[:-1], w.shape[-1] * 2), 77, dtype=w.dtype, device=DEVICE) for w in want]
    with no_fallback():
        function(x.to(DEVICE), out=outs[0][..., ::2], indices=outs[1][..., ::2])
    for out, w in zip(outs, want, strict=True):
        assert_same(out[..., ::2], w)
        assert (out[..., 1::2] == 77).all().item()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_fractional(dtype):
    generator = torch.Generator().manual_seed(3)
    for shape, kernel, size in [((2, 3, 9, 11), [2, 3], [4, 5]), ((2, 2, 7, 8, 9), [2, 2, 3], [3, 4, 5]), ((3, 9, 8), [3, 2], [7, 1])]:
        axes = len(kernel)
        samples = torch.rand((shape[0] if len(shape) > axes + 1 else 1, shape[-axes - 1], axes), generator=generator).to(dtype)
        function = aten.fractional_max_pool2d if axes == 2 else aten.fractional_max_pool3d
        x = values(shape, dtype)
        with torch.no_grad():
            want, want_indices = function(x, kernel, size, samples)
        leaf, device_leaf = x.clone().requires_grad_(), x.to(DEVICE).requires_grad_()
        expected = function(leaf, kernel, size, samples)[0]
        cotangent = values(expected.shape, dtype, 7)
        with no_fallback():
            got, indices = function(device_leaf, kernel, size, samples.to(DEVICE))
            gradient, = torch.autograd.grad(got, device_leaf, cotangent.to(DEVICE))
        assert_same((got.detach(), indices), (want, want_indices))
        # added up by atomics, with a rounding each
        limit = 2e-2 if dtype.itemsize == 2 else 1e-6
        assert_same(gradient, torch.autograd.grad(expected, leaf, cotangent)[0], rtol=limit, atol=limit)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_unpool(axes, dtype):
    x = values(SHAPES[axes], dtype)
    _, indices = MAX[axes](x, 2, return_indices=True)
    unpool = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}[axes]
    compare(lambda y, i: unpool(y, i, 2, output_size=SHAPES[axes][2:]), values(indices.shape, dtype, 5), indices)
    unique = torch.arange(indices[0, 0].numel()).flip(0).reshape(indices.shape[2:]).expand(indices.shape)
    compare(lambda y, i: unpool(y, i, 2), lay_out(values(indices.shape, dtype, 5), "channels_last"), unique)


def test_unpool_index_out_of_range_is_told_at_the_next_read():
    out = F.max_unpool2d(torch.ones(1, 1, 2, 2, device=DEVICE), torch.tensor([[[[0, 3], [16, 5]]]], device=DEVICE), 2)
    with pytest.raises(IndexError, match="16"):
        out.sum().item()
    assert torch.ones(3, device=DEVICE).sum().item() == 3


def test_random_samples_follow_the_seed():
    x = values((2, 3, 12, 12), torch.float32).to(DEVICE)
    torch.manual_seed(5)
    first = F.fractional_max_pool2d(x, 2, output_ratio=(0.6, 0.6))
    torch.manual_seed(5)
    assert torch.equal(first, F.fractional_max_pool2d(x, 2, output_ratio=(0.6, 0.6)))


@pytest.mark.parametrize("pool", [
    lambda x: F.max_pool2d(x, 3, 2), lambda x: F.avg_pool2d(x, 3, 2), lambda x: F.adaptive_avg_pool2d(x, 3),
    lambda x: F.max_pool3d(x[:, None], 2), lambda x: F.lp_pool2d(x, 2, 2), lambda x: F.local_response_norm(x, 2)],
    ids=["max", "average", "adaptive", "max 3d", "lp", "lrn"])
def test_empty_batch(pool):
    x = torch.zeros(0, 3, 8, 8)
    assert pool(x.to(DEVICE)).shape == pool(x).shape


def test_composites():
    x = values((2, 4, 8, 8), torch.float32).abs() + 0.5
    compare(lambda x: F.lp_pool2d(x, 3, 2), x)
    compare(lambda x: F.local_response_norm(x, 3), x)


def test_launches():
    x = values((2, 3, 16, 16), torch.float32).to(DEVICE).requires_grad_()
    channels_last = x.detach().contiguous(memory_format=torch.channels_last)
    for pool in (lambda x: F.max_pool2d(x, 2), lambda x: F.avg_pool2d(x, 3, 2, 1), lambda x: F.adaptive_max_pool2d(x, 3)):
        assert launches(lambda: pool(x)) == 1
        assert launches(lambda: pool(channels_last)) == 1
        y = pool(x)
        cotangent = torch.ones_like(y)
        assert launches(lambda: torch.autograd.grad(y, x, cotangent, retain_graph=True)) == 1


@pytest.mark.parametrize("call", [
    lambda x: F.max_pool2d(x, 0), lambda x: F.max_pool2d(x, 2, padding=2), lambda x: F.avg_pool2d(x, 99),
    lambda x: F.avg_pool2d(x, 2, divisor_override=0), lambda x: F.adaptive_avg_pool2d(x[0, 0], 2),
    lambda x: F.max_pool3d(x, 9), lambda x: aten.max_unpool2d(x, x.long()[0], [4, 4]), lambda x: F.max_pool2d(x[:, :0], 2),
    lambda x: aten._adaptive_avg_pool3d(x[0], [2, 2, 2]), lambda x: aten.avg_pool2d(x, [2, 2, 2]),
    lambda x: aten.adaptive_max_pool2d(x, [2]),
], ids=range(11))
def test_errors_are_the_cpus(call):
    x = torch.ones(2, 3, 4, 4)
    with pytest.raises(RuntimeError) as expected:
        call(x)
    with pytest.raises(RuntimeError) as got:
        call(x.to(DEVICE))
    assert str(got.value).split("usbgpu")[0].split("(")[0][:30] == str(expected.value).split("cpu")[0].split("(")[0][:30]


def test_offsets_beyond_32_bits():
    block = torch.empty(2**31 + 64, dtype=torch.uint8, device=DEVICE)
    picture = torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4)
    far_samples = block.as_strided((2, 1, 4, 4), (2**31 + 8, 16, 4, 1))
    far_samples.copy_(picture)
    for function in (lambda x: F.max_pool2d(x, 2), lambda x: F.interpolate(x, size=(8, 3)), lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect")):
        with no_fallback():
            assert torch.equal(function(far_samples).cpu(), function(picture))
            far_channels = block.as_strided((1, 2, 4, 4), (0, 2**31 + 8, 4, 1))
            assert torch.equal(function(far_channels).cpu(), function(picture.transpose(0, 1)))
