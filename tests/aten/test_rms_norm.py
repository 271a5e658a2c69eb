"""rms_norm in one launch, its gradients, and the double backward that ATen composes."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, check, random
from .gradients import compare
from .spatial import launches

LIMITS = {torch.float32: dict(rtol=2e-5, atol=1e-5), torch.float64: dict(rtol=1e-10, atol=1e-11),
          torch.float16: dict(rtol=1e-2, atol=1e-2), torch.bfloat16: dict(rtol=6e-2, atol=6e-2)}


@pytest.mark.parametrize("dtype", list(LIMITS), ids=str)
@pytest.mark.parametrize("shape, normalized", [((3, 5), (5,)), ((2, 3, 70), (70,)), ((4, 3, 5), (3, 5)), ((2, 1500), (1500,))], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("eps", [None, 0.1])
def test_values_and_gradients(eps, weighted, shape, normalized, dtype):
    x = random((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]
    weight = random(normalized, dtype, seed=1) if weighted else None
    compare(lambda x, w: F.rms_norm(x, normalized, w, eps), x, weight, **LIMITS[dtype])


def test_nothing_and_zeros():
    for shape in [(0, 4), (3, 0)]:
        check(lambda x: F.rms_norm(x, x.shape[-1:]), torch.zeros(shape))
    compare(lambda x: F.rms_norm(x, (4,)), torch.zeros(2, 4), **LIMITS[torch.float32])
    weight = torch.ones(4, device=DEVICE, requires_grad=True)
    F.rms_norm(torch.zeros(0, 4, device=DEVICE), (4,), weight).sum().backward()
    assert weight.grad.tolist() == [0, 0, 0, 0]


def test_second_derivatives():
    x, w = random((3, 5), torch.float64), random((5,), torch.float64, seed=1)

    def penalty(x, w):
        x, w = x.requires_grad_(), w.requires_grad_()
        first = torch.autograd.grad(F.rms_norm(x, (5,), w).pow(3).sum(), (x, w), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), (x, w))

    ours = penalty(x.to(DEVICE), w.to(DEVICE))
    for got, want in zip(ours, penalty(x, w), strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-9, atol=1e-9)


def test_launches():
    x = torch.ones(4, 64, device=DEVICE, requires_grad=True)
    module = torch.nn.RMSNorm(64).to(DEVICE)
    assert launches(lambda: module(x)) == 1
    y, grad = module(x), torch.ones(4, 64, device=DEVICE)
    assert launches(lambda: torch.autograd.grad(y, (x, module.weight), grad, retain_graph=True)) == 2


def test_mixed_dtypes_and_errors():
    """A weight of another dtype is promoted, as on the CPU."""
    check(lambda x, w: F.rms_norm(x, (6,), w), random((3, 6), torch.float16), random((6,)), tolerance=LIMITS[torch.float16])
    with pytest.raises(RuntimeError, match="normalized_shape"):
        F.rms_norm(torch.ones(3, 4, device=DEVICE), (5,))
