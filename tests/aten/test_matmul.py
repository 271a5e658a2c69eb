"""mm, addmm, bmm, baddbmm, addmv, dot: dtypes, shapes around the tile sizes, strides, scales, errors."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, assert_guards, assert_same, check, guarded, no_fallback, random

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]
# small tile 32, middle 64, large 128 (with 32 groups), tails on every side
SHAPES = [(1, 1, 1), (2, 3, 5), (31, 33, 17), (32, 64, 32), (65, 70, 66), (64, 64, 128), (3, 200, 7), (130, 33, 129)]


def scaled(dtype, k):
    """Random sums grow with the root of k."""
    if not dtype.is_floating_point:
        return None
    base = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    return dict(rtol=base, atol=base * k ** 0.5 * 2)


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_mm(shape, dtype):
    m, k, n = shape
    check(torch.mm, random((m, k), dtype, 1), random((k, n), dtype, 2), tolerance=scaled(dtype, k))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int32], ids=str)
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_transposed_operands(dtype, transpose_a, transpose_b):
    a = random((70, 40), dtype, 1) if not transpose_a else random((40, 70), dtype, 1).t()
    b = random((40, 50), dtype, 2) if not transpose_b else random((50, 40), dtype, 2).t()
    check(torch.mm, a, b, tolerance=scaled(dtype, 40))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_no_stride_is_one(dtype):
    a = random((80, 90), dtype, 1)[::2, ::3]
    b = random((60, 100), dtype, 2)[::2, 1::2]
    check(torch.mm, a, b, tolerance=scaled(dtype, 30))
    check(torch.mm, a[:1].expand(33, 30), b, tolerance=scaled(dtype, 30))


def test_large_tile():
    check(torch.mm, random((640, 24), seed=1), random((24, 900), seed=2), tolerance=scaled(torch.float32, 24))


def test_large_matrix_unit_tile():
    check(torch.mm, random((640, 40), torch.float16, 1), random((40, 900), torch.float16, 2),
          tolerance=scaled(torch.float16, 40))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64], ids=str)
@pytest.mark.parametrize("addend", ["row", "column", "full", "scalar", "transposed"])
def test_addmm(dtype, addend):
    c = {"row": random((50,), dtype), "column": random((40, 1), dtype), "full": random((40, 50), dtype),
         "scalar": random((), dtype), "transposed": random((50, 40), dtype).t()}[addend]
    check(torch.addmm, c, random((40, 20), dtype, 1), random((20, 50), dtype, 2), beta=2, alpha=3,
          tolerance=scaled(dtype, 400))


def test_beta_zero_ignores_nan():
    check(torch.addmm, torch.full((4, 5), float("nan")), random((4, 6), seed=1), random((6, 5), seed=2), beta=0)


def test_in_place_addend():
    c, a, b = random((40, 50)), random((40, 20), seed=1), random((20, 50), seed=2)
    device = c.to(DEVICE)
    with no_fallback():
        device.addmm_(a.to(DEVICE), b.to(DEVICE), beta=0.5, alpha=-1)
        assert_same(device, c.addmm(a, b, beta=0.5, alpha=-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int32], ids=str)
def test_batches(dtype):
    a, b, c = random((5, 20, 33), dtype, 1), random((5, 33, 18), dtype, 2), random((5, 20, 18), dtype, 3)
    check(torch.bmm, a, b, tolerance=scaled(dtype, 33))
    check(torch.bmm, a[:1].expand(5, 20, 33), b.transpose(1, 2).contiguous().transpose(1, 2), tolerance=scaled(dtype, 33))
    check(torch.baddbmm, c, a, b, beta=2, alpha=-1, tolerance=scaled(dtype, 130))
    check(torch.baddbmm, c[0, 0], a, b, tolerance=scaled(dtype, 130))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (40, 33), (300, 70), (2, 3000)], ids=str)
def test_matrix_vector(shape, dtype):
    m, k = shape
    a, x, c = random((m, k), dtype, 1), random((k,), dtype, 2), random((m,), dtype, 3)
    check(torch.mv, a, x, tolerance=scaled(dtype, k))
    check(torch.mv, random((k, m), dtype, 1).t(), x, tolerance=scaled(dtype, k))
    check(torch.addmv, c, a, x, beta=2, alpha=3, tolerance=scaled(dtype, 10 * k))
    check(torch.dot, random((k,), dtype, 4), random((2 * k,), dtype, 5)[::2], tolerance=scaled(dtype, k))


@pytest.mark.parametrize("strides", [(50, 1), (1, 40), (130, 2)], ids=str)
def test_output_keeps_its_strides_and_neighbours(strides):
    a, b = random((40, 20), seed=1), random((20, 50), seed=2)
    out, whole, outside = guarded((40, 50), torch.float32, strides)
    with no_fallback():
        torch.mm(a.to(DEVICE), b.to(DEVICE), out=out)
    assert out.stride() == strides
    assert_same(out, a @ b)
    assert_guards(whole, outside)


def test_output_may_be_an_operand():
    a, b = random((20, 20), seed=1), random((20, 20), seed=2)
    device = a.to(DEVICE)
    torch.mm(device, b.to(DEVICE), out=device)
    assert_same(device, a @ b)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)], ids=str)
def test_empty(shape):
    m, k, n = shape
    check(torch.mm, torch.ones(m, k), torch.ones(k, n))
    check(torch.addmm, random((n,)), torch.ones(m, k), torch.ones(k, n), beta=2)
    check(torch.bmm, torch.ones(2, m, k), torch.ones(2, k, n))
    check(torch.mv, torch.ones(m, k), torch.ones(k))


def test_linear_and_its_gradients():
    layer = torch.nn.Linear(17, 9)
    x = random((12, 17))

    def run(weight, bias, x):
        x, weight, bias = (t.detach().requires_grad_() for t in (x, weight, bias))
        torch.nn.functional.linear(x, weight, bias).square().sum().backward()
        return x.grad, weight.grad, bias.grad

    check(run, layer.weight.detach(), layer.bias.detach(), x, tolerance=dict(rtol=1e-4, atol=1e-4))


@pytest.mark.parametrize("call, error, message", [
    (lambda d: torch.ones(2, 3, device=d) @ torch.ones(4, 5, device=d), RuntimeError, "cannot be multiplied"),
    (lambda d: torch.mm(torch.ones(2, 3, device=d), torch.ones(3, device=d)), RuntimeError, "must be a matrix"),
    (lambda d: torch.mm(torch.ones(2, 3, device=d), torch.ones(3, 4)), RuntimeError, "same device"),
    (lambda d: torch.mm(torch.ones(2, 3, device=d), torch.ones(3, 4, device=d, dtype=torch.float64)), RuntimeError, "dtype"),
    (lambda d: torch.mm(torch.ones(2, 2, device=d, dtype=torch.bool), torch.ones(2, 2, device=d, dtype=torch.bool)),
     NotImplementedError, "Bool"),
    (lambda d: torch.bmm(torch.ones(2, 3, 4, device=d), torch.ones(3, 4, 5, device=d)), RuntimeError, "batch"),
    (lambda d: torch.dot(torch.ones(2, device=d), torch.ones(3, device=d)), RuntimeError, "inconsistent tensor size"),
    (lambda d: torch.mm(torch.ones(2, 3, device=d), torch.ones(3, 2, device=d), out=torch.ones(2, 2, device=d, dtype=torch.float64)),
     RuntimeError, "Expected out tensor to have dtype"),
], ids=["shape", "rank", "device", "dtype", "bool", "batch", "dot", "out"])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(DEVICE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_long_inner_dimension_is_cut_into_pieces(dtype):
    """Few tiles and a long k: workgroups share k, a second launch adds up, always in the same order."""
    for m, n, k, batch in ((64, 64, 2048, ()), (3, 5, 1000, ()), (20, 70, 1025, (3,)), (64, 40, 513, (2,))):
        a, b, c = random((*batch, m, k), dtype), random((*batch, k, n), dtype, 1), random((*batch, m, n), dtype, 2)
        add = torch.baddbmm if batch else torch.addmm
        scale = 1 / k                        # sums of k products of random numbers: their size, not their root
        for function in (torch.matmul, lambda a, b: add(c.to(a.device).mT.contiguous().mT, a, b, beta=0.5, alpha=2)):
            expected = function(a.double() if function is torch.matmul else a, b.double() if function is torch.matmul else b)
            with no_fallback():
                actual = function(a.to(DEVICE), b.to(DEVICE))
                assert torch.equal(actual, function(a.to(DEVICE), b.to(DEVICE)))
            tolerance = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
            torch.testing.assert_close(actual.cpu().double() * scale, expected.double() * scale, rtol=tolerance, atol=tolerance)
    long = random((4, 4096), dtype).to(DEVICE), random((4096, 8), dtype).to(DEVICE)
    before = torch.usbgpu.link_stats()["launches"]
    torch.matmul(*long)
    assert torch.usbgpu.link_stats()["launches"] == before + 2


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64], ids=str)
def test_few_long_rows(dtype):
    """dot and mv with so long a k that workgroups share a row."""
    for rows, k in ((1, 16384), (5, 20001), (1, 70000)):
        a, x = random((rows, k), dtype), random((k,), dtype, 1)
        limit = scaled(dtype, k)
        check(torch.mv, a, x, tolerance=limit)
        check(lambda c, a, x: torch.addmv(c, a, x, alpha=2, beta=3), random((rows,), dtype, 2), a, x, tolerance=limit)
    check(torch.dot, a[0], x, tolerance=limit)
    check(torch.mv, random((20000, 3), dtype).t(), random((20000,), dtype, 1), tolerance=limit)
