"""grid_sample and affine_grid, with both gradients, against the CPU."""
from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, check, random
from .spatial import LAYOUTS, compare, launches, lay_out, values

aten = torch.ops.aten
MODES = ["bilinear", "nearest", "bicubic"]
PADDINGS = ["zeros", "border", "reflection"]
SHAPES = {2: ((2, 3, 5, 6), (2, 4, 7, 2)), 3: ((2, 2, 4, 3, 5), (2, 3, 2, 4, 3))}
CASES = [(mode, axes) for axes in (2, 3) for mode in MODES if (mode, axes) != ("bicubic", 3)]


def sampler(mode, padding, align):
    return lambda x, grid: F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=align)


def operands(axes, dtype, spread=1.3):
    shape, grid = SHAPES[axes]
    return random(shape, dtype), (random(grid, torch.float64, 5) * spread).to(dtype)


@pytest.mark.parametrize("mode, axes", CASES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_modes(mode, axes, padding, align, dtype):
    compare(sampler(mode, padding, align), *operands(axes, dtype))


@pytest.mark.parametrize("mode, axes", CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_low_precision(mode, axes, dtype):
    # the gradient of the input is a sum of rounded shares
    tolerance = dict(rtol=2e-2, atol=2e-2) if dtype == torch.float16 else dict(rtol=5e-2, atol=1e-1)
    compare(sampler(mode, "border", False), *operands(axes, dtype), **tolerance)
    x, grid = operands(axes, dtype)
    want = sampler(mode, "zeros", True)(x.float(), grid.float()).to(dtype)
    torch.testing.assert_close(sampler(mode, "zeros", True)(x.to(DEVICE), grid.to(DEVICE)).cpu(), want,
                               rtol=8e-3 if dtype == torch.bfloat16 else 1e-3, atol=1e-5)


@pytest.mark.parametrize("mode, axes", CASES)
def test_points_far_outside_and_on_the_borders(mode, axes):
    x, grid = operands(axes, torch.float32, 7.0)
    for padding in PADDINGS:
        for align in (True, False):
            compare(sampler(mode, padding, align), x, grid, rtol=1e-4, atol=1e-4)
    if mode != "nearest":       # corners: between pixels a nearest neighbour is anybody's
        corners = torch.tensor([-1.0, 0.0, 1.0])
        grid = torch.stack(torch.meshgrid(*[corners] * axes, indexing="ij"), dim=-1)[None].expand(2, *[3] * axes, axes)
        for padding in PADDINGS:
            check(sampler(mode, padding, True), x, grid)


@pytest.mark.parametrize("mode, axes", CASES)
def test_points_that_are_no_numbers(mode, axes):
    x = values((1, 1, *SHAPES[axes][0][2:]), torch.float32)
    grid = torch.zeros(1, *[1] * (axes - 1), 5, axes)
    grid[..., 0].view(-1)[:] = torch.tensor([math.nan, math.inf, -math.inf, 0.25, 1e20])
    for padding in PADDINGS[:2] if axes == 2 else PADDINGS[:1]:
        check(sampler(mode, padding, False), x, grid)


@pytest.mark.parametrize("layout", LAYOUTS[:-1])
@pytest.mark.parametrize("mode, axes", CASES)
def test_layouts(mode, axes, layout):
    x, grid = operands(axes, torch.float32)
    compare(sampler(mode, "reflection", False), lay_out(x, layout), grid)
    compare(sampler(mode, "zeros", False), x, lay_out(grid, "transposed"))
    compare(sampler(mode, "zeros", True), x, lay_out(grid, "offset"))


def test_one_gradient_only_and_nothing_at_all():
    x, grid = (t.to(DEVICE) for t in operands(2, torch.float32))
    grad = torch.ones(2, 3, 4, 7, device=DEVICE)
    both = aten.grid_sampler_2d_backward(grad, x, grid, 0, 0, False, [True, True])
    assert torch.equal(aten.grid_sampler_2d_backward(grad, x, grid, 0, 0, False, [False, True])[1], both[1])
    torch.testing.assert_close(aten.grid_sampler_2d_backward(grad, x, grid, 0, 0, False, [True, False])[0], both[0])
    assert F.grid_sample(x[:0], grid[:0], align_corners=False).shape == (0, 3, 4, 7)
    assert F.grid_sample(x, grid[:, :0], align_corners=False).shape == (2, 3, 0, 7)
    none = aten.grid_sampler_2d_backward(grad[:, :0], x[:, :0], grid, 0, 0, False, [True, True])
    assert (none[1] == 0).all().item()


def test_single_pixels():
    compare(sampler("bilinear", "reflection", True), random((1, 2, 1, 1)), random((1, 3, 3, 2), seed=2))
    compare(sampler("bicubic", "border", False), random((1, 2, 1, 4)), random((1, 3, 3, 2), seed=2))


@pytest.mark.parametrize("size", [(2, 3, 5, 6), (2, 3, 4, 5, 6)], ids=str)
@pytest.mark.parametrize("align", [True, False])
def test_affine_grid(size, align):
    axes = len(size) - 2
    compare(lambda theta: F.affine_grid(theta, size, align_corners=align), random((2, axes, axes + 1)))


def test_launches():
    x, grid = (t.to(DEVICE).requires_grad_() for t in operands(2, torch.float32))
    assert launches(lambda: sampler("bilinear", "zeros", False)(x, grid)) == 1
    y = sampler("bilinear", "zeros", False)(x, grid)
    cotangent = torch.ones_like(y)
    assert launches(lambda: torch.autograd.grad(y, (x, grid), cotangent, retain_graph=True)) == 2


@pytest.mark.parametrize("call", [
    lambda x, g: aten.grid_sampler_2d(x, g.double(), 0, 0, False), lambda x, g: aten.grid_sampler_2d(x, g[:1], 0, 0, False),
    lambda x, g: aten.grid_sampler_2d(x, g[..., :1], 0, 0, False), lambda x, g: aten.grid_sampler_2d(x[:, :, :0], g, 0, 0, False),
    lambda x, g: aten.grid_sampler_3d(x[:, :, None], torch.cat([g, g[..., :1]], -1)[:, None], 2, 0, False),
    lambda x, g: aten.grid_sampler_2d(x[:, :, 0], g, 0, 0, False)])
def test_errors_are_the_cpus(call):
    x, grid = operands(2, torch.float32)
    with pytest.raises(RuntimeError) as expected:
        call(x, grid)
    with pytest.raises(RuntimeError) as got:
        call(x.to(DEVICE), grid.to(DEVICE))
    assert str(got.value).split("\n")[0] == str(expected.value).split("\n")[0]


def test_operands_on_two_devices():
    x, grid = operands(2, torch.float32)
    with pytest.raises(RuntimeError, match="same device"):
        F.grid_sample(x.to(DEVICE), grid, align_corners=False)
