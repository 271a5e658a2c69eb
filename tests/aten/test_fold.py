"""Sliding windows: unfold and fold of images, and the gradient of Tensor.unfold."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from .families import DEVICE, assert_guards, check, guarded, on_device, random

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
LOW = dict(rtol=1e-2, atol=2e-2)     # the CPU adds f16 and bf16 in f16 and bf16
# image, kernel, other options
CASES = [((2, 3, 6, 7), (2, 3), {}), ((1, 2, 5, 5), 3, {"padding": 2, "stride": 2}), ((4, 1, 9, 8), (2, 3), {"dilation": (3, 2), "stride": (1, 2)}),
         ((3, 6, 7), 2, {"stride": 3}), ((1, 2, 3, 3), 2, {"padding": 4, "dilation": 3}), ((0, 2, 4, 4), 2, {})]


def columns_of(image, kernel, options, dtype):
    return random(F.unfold(torch.zeros(image), kernel, **options).shape, dtype)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.bool], ids=str)
@pytest.mark.parametrize("image, kernel, options", CASES, ids=str)
def test_unfold(image, kernel, options, dtype):
    check(F.unfold, random(image, dtype), kernel, **options)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.bool], ids=str)
@pytest.mark.parametrize("image, kernel, options", CASES, ids=str)
def test_fold(image, kernel, options, dtype):
    tolerance = LOW if dtype in (torch.float16, torch.bfloat16) else None
    check(F.fold, columns_of(image, kernel, options, dtype), image[-2:], kernel, tolerance=tolerance, **options)


def test_strided_operands():
    x = random((2, 7, 6, 3)).permute(0, 3, 2, 1)
    check(F.unfold, x, 2)
    check(F.unfold, x[:, :, ::2, 1:], 2, padding=1)
    check(F.unfold, random((1, 1, 4, 4)).expand(3, 2, 4, 4), 3)
    columns = random((12, 30, 2)).permute(2, 0, 1)
    check(F.fold, columns, (6, 7), 2)
    check(F.fold, random((2, 12, 60))[..., ::2], (6, 7), 2)


@pytest.mark.parametrize("strides", [(300, 40, 3), (1, 30, 400)])
def test_unfold_out(strides):
    x = random((2, 2, 4, 5))
    out, whole, outside = guarded((2, 8, 12), torch.float32, strides)
    torch.ops.aten.im2col.out(x.to(DEVICE), [2, 2], [1, 1], [0, 0], [1, 1], out=out)
    assert torch.equal(out.cpu(), F.unfold(x, 2))
    assert_guards(whole, outside)


def test_fold_out():
    columns = random((2, 8, 12))
    out, whole, outside = guarded((2, 2, 4, 5), torch.float32, (500, 100, 1, 7))
    torch.ops.aten.col2im.out(columns.to(DEVICE), [4, 5], [2, 2], [1, 1], [0, 0], [1, 1], out=out)
    torch.testing.assert_close(out.cpu(), F.fold(columns, (4, 5), 2))
    assert_guards(whole, outside)
    with pytest.raises(RuntimeError, match="expected scalar type Float but found Double"):
        torch.ops.aten.col2im.out(columns.to(DEVICE), [4, 5], [2, 2], [1, 1], [0, 0], [1, 1], out=out.double())


def gradient(function, tensor):
    tensor = tensor.detach().requires_grad_()
    out = function(tensor)
    weights = random(out.shape, seed=5).to(out)
    return torch.autograd.grad(out, tensor, weights)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("image, kernel, options", CASES[:4], ids=str)
def test_gradients(image, kernel, options, dtype):
    for function, tensor in ((lambda x: F.unfold(x, kernel, **options), random(image, dtype)),
                             (lambda x: F.fold(x, image[-2:], kernel, **options), columns_of(image, kernel, options, dtype))):
        torch.testing.assert_close(gradient(function, tensor.to(DEVICE)).cpu(), gradient(function, tensor), rtol=1e-5, atol=1e-5)


# shape, dim, size, step
UNFOLDS = [((9,), 0, 3, 1), ((4, 11, 3), 1, 4, 2), ((4, 11, 3), 1, 2, 5), ((5, 6), -1, 6, 1), ((2, 3, 7), 2, 1, 1), ((7, 2), 0, 3, 10),
           ((3, 4, 5, 2, 2), 2, 2, 2), ((), 0, 1, 1), ((0, 5), 1, 2, 1), ((4, 5), 0, 0, 1)]


@pytest.mark.parametrize("shape, dim, size, step", UNFOLDS, ids=str)
def test_unfold_gradient(shape, dim, size, step):
    function, x = lambda t: t.unfold(dim, size, step), random(shape)
    torch.testing.assert_close(gradient(function, x.to(DEVICE)).cpu(), gradient(function, x))


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool], ids=str)
def test_unfold_backward_dtypes(dtype):
    grad = random((3, 5, 2, 3), dtype)
    tolerance = LOW if dtype in (torch.float16, torch.bfloat16) else None
    check(torch.ops.aten.unfold_backward, grad, [3, 11, 2], 1, 3, 2, tolerance=tolerance)
    check(torch.ops.aten.unfold_backward, grad.transpose(0, 2).contiguous().transpose(0, 2), [3, 11, 2], 1, 3, 2, tolerance=tolerance)
    check(torch.ops.aten.unfold_backward, grad[:, :, :1].expand(3, 5, 2, 3), [3, 7, 2], 1, 3, 1, tolerance=tolerance)


def test_many_dimensions():
    shape = (2, 1, 3, 2, 2, 1, 2, 2, 2, 2, 3)
    x = random(shape).permute(10, 3, 1, 7, 0, 5, 2, 9, 4, 8, 6)
    function = lambda t: t.unfold(0, 2, 1)  # noqa: E731
    out = function(x)
    grad = random(out.shape[::-1]).permute(*reversed(range(out.dim())))
    check(torch.ops.aten.unfold_backward, grad, list(x.shape), 0, 2, 1)


def test_one_launch():
    x = random((2, 3, 6, 6)).to(DEVICE)
    for function in (lambda: F.unfold(x, 2), lambda: F.fold(x.view(2, 12, 9), (4, 4), 2),
                     lambda: torch.ops.aten.unfold_backward(x, [2, 3, 11], 2, 6, 1)):
        function()
        torch.usbgpu.synchronize()
        before = torch.usbgpu.link_stats()["launches"]
        function()
        torch.usbgpu.synchronize()
        assert torch.usbgpu.link_stats()["launches"] == before + 1


@pytest.mark.parametrize("function", [
    lambda x: F.unfold(x, 5), lambda x: F.unfold(x, 0), lambda x: F.unfold(x, 2, stride=0), lambda x: F.unfold(x, 2, padding=-1),
    lambda x: F.unfold(x, (2, 3, 4)), lambda x: F.unfold(x.int(), 2), lambda x: F.unfold(x[None], 2),
    lambda x: F.fold(x[0], (4, 4), 2), lambda x: F.fold(x.view(1, 8, 4), (4, 4), 2), lambda x: F.fold(x.view(1, 8, 4).long(), (3, 3), 2),
    lambda x: F.fold(x.view(1, 8, 4), (4,), 2)])
def test_errors(function):
    x = random((1, 2, 4, 4))
    with pytest.raises(Exception) as on_cpu:
        function(x)
    with pytest.raises(type(on_cpu.value)) as ours:
        function(on_device(x))
    assert str(ours.value).splitlines()[0] == str(on_cpu.value).splitlines()[0]
