"""softmax, log_softmax, layer_norm and their gradients."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, assert_guards, assert_same, check, guarded, no_fallback, random

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# a thread, a wave, a group per row; rows that lie apart
CASES = [((7, 10), 1), ((5, 100), -1), ((3, 1500), 1), ((4, 6, 5), 1), ((70, 9), 0), ((4, 90, 3), 1), ((6,), 0), ((), 0), ((0, 4), 1)]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape, dim", CASES, ids=str)
@pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax])
def test_forward(function, shape, dim, dtype):
    check(function, random(shape, dtype) * 3, dim)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape, dim", CASES[:6], ids=str)
@pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax])
def test_gradient(function, shape, dim, dtype):
    def gradient(x, g):
        x = x.detach().requires_grad_()
        function(x, dim).backward(g)
        return x.grad

    check(gradient, random(shape, dtype) * 2, random(shape, dtype, 1),
          tolerance={torch.float16: dict(rtol=5e-3, atol=5e-3), torch.bfloat16: dict(rtol=5e-2, atol=5e-2)}.get(dtype))


def test_strided_input_and_large_values():
    x = random((20, 30))[::2, ::3].t() * 1000
    check(torch.softmax, x, 0)
    check(torch.log_softmax, x, 1)
    check(torch.softmax, torch.tensor([[float("-inf"), 1.0, 2.0], [float("-inf")] * 3, [float("nan"), 0, 0]]), 1)


def test_dtype_argument_and_out():
    x = random((6, 12), torch.float16)
    check(torch.softmax, x, 1, dtype=torch.float32)
    out, whole, outside = guarded((6, 12), torch.float32, (40, 3))
    with no_fallback():
        torch._softmax(x.float().to(DEVICE), 1, False, out=out)
    assert_same(out, torch.softmax(x.float(), 1))
    assert_guards(whole, outside)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("shape, width", [((5, 7), 1), ((3, 4, 1200), 1), ((2, 3, 8), 2)], ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(dtype, shape, width, affine):
    normalized = shape[-width:]

    def run(x, weight, bias, g):
        leaves = [t.detach().requires_grad_() for t in ([x, weight, bias] if affine else [x])]
        y = torch.nn.functional.layer_norm(leaves[0], normalized, *leaves[1:])
        y.backward(g)
        return [y.detach(), *(leaf.grad for leaf in leaves)]

    check(run, random(shape, dtype), random(normalized, dtype, 1), random(normalized, dtype, 2), random(shape, dtype, 3),
          tolerance=dict(rtol=1e-2, atol=2e-2) if dtype == torch.float16 else dict(rtol=2e-4, atol=2e-4))


@pytest.mark.parametrize("call, error, message", [
    (lambda d: torch.softmax(torch.ones(3, device=d), 2), IndexError, "Dimension out of range"),
    (lambda d: torch.softmax(torch.ones(3, device=d, dtype=torch.int64), 0), RuntimeError, "not implemented"),
    (lambda d: torch.layer_norm(torch.ones(3, 4, device=d), (5,)), RuntimeError, "normalized_shape"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(DEVICE)
