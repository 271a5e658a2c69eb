"""nll_loss in all its reductions, and cross_entropy with gradients."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, assert_guards, check, guarded, no_fallback, random

REDUCTIONS = ["mean", "sum", "none"]


def with_gradient(loss, reduction):
    def run(x, target, *rest):
        x = x.detach().requires_grad_()
        y = loss(x, target, *rest)
        (y if reduction != "none" else (y * torch.arange(y.numel(), device=y.device).reshape(y.shape)).sum()).backward()
        return y.detach(), x.grad
    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(300, 10), (5, 3), (4, 6, 3, 5)], ids=str)
def test_nll_loss(shape, reduction, weighted, dtype):
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=torch.Generator().manual_seed(1))
    target.view(-1)[::3] = 2  # ignored
    weight = random((shape[1],), dtype).abs() if weighted else None
    check(with_gradient(lambda x, t, *w: F.nll_loss(x, t, *w, reduction=reduction, ignore_index=2), reduction),
          random(shape, dtype), target, *([weight] if weighted else []))


def test_single_sample_and_empty_batch():
    check(with_gradient(F.nll_loss, "mean"), random((5,)), torch.tensor(3))
    check(lambda x, t: F.nll_loss(x, t, reduction="sum"), random((0, 5)), torch.zeros(0, dtype=torch.int64))
    check(F.nll_loss, random((0, 5)), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy(reduction):
    target = torch.arange(64) % 10
    check(with_gradient(lambda x, t: F.cross_entropy(x, t, reduction=reduction), reduction), random((64, 10)), target)
    check(with_gradient(lambda x, t: F.cross_entropy(x, t, reduction=reduction, label_smoothing=0.1), reduction),
          random((64, 10)), target)


def test_target_out_of_range_is_told_at_the_next_read():
    loss = F.nll_loss(torch.ones(3, 5, device=DEVICE), torch.tensor([0, 5, 1], device=DEVICE))
    with pytest.raises(IndexError, match="5"):
        loss.item()
    assert torch.ones(2, device=DEVICE).sum().item() == 2  # and nothing else is lost


def test_errors():
    with pytest.raises(RuntimeError, match="dtype|scalar type"):
        F.nll_loss(torch.ones(3, 5, device=DEVICE), torch.ones(3, device=DEVICE))
    with pytest.raises(ValueError, match="batch_size"):
        F.nll_loss(torch.ones(3, 5, device=DEVICE), torch.ones(4, device=DEVICE, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="same device"):
        F.nll_loss(torch.ones(3, 5, device=DEVICE), torch.ones(3, dtype=torch.int64))


FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
BCE_LIMITS = {torch.float16: dict(rtol=1e-2, atol=1e-2), torch.bfloat16: dict(rtol=6e-2, atol=6e-2)}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy(weighted, reduction, dtype):
    x = (random((5, 14)).sigmoid()[:, ::2]).to(dtype)
    target = (random((7, 5), seed=1).sigmoid().t()).to(dtype)
    weight = random((7,), dtype, seed=2).abs() if weighted else None
    check(with_gradient(lambda x, t, *w: F.binary_cross_entropy(x, t, *w, reduction=reduction), reduction), x, target,
          *([weight] if weighted else []), tolerance=BCE_LIMITS.get(dtype))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_at_the_ends(reduction):
    x, target = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.5]), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    check(with_gradient(lambda x, t: F.binary_cross_entropy(x, t, reduction=reduction), reduction), x, target)
    check(lambda x, t: F.binary_cross_entropy(x, t, reduction=reduction), torch.zeros(0, 3), torch.zeros(0, 3))


@pytest.mark.parametrize("x, target, which", [(1.5, 0.0, "input"), (-0.5, 1.0, "input"), (float("nan"), 0.0, "input"),
                                              (0.5, 2.0, "target"), (0.5, float("nan"), "target")])
def test_binary_cross_entropy_out_of_range_is_told_at_the_next_read(x, target, which):
    loss = F.binary_cross_entropy(torch.tensor([0.5, x], device=DEVICE), torch.tensor([0.5, target], device=DEVICE))
    with pytest.raises(RuntimeError, match=f"all elements of {which} should be between 0 and 1"):
        loss.item()
    assert loss.isnan().item()  # told once


def test_binary_cross_entropy_outputs():
    x, target = random((4, 6)).sigmoid(), random((4, 6), seed=1).sigmoid()
    for reduction, shape in [("none", (4, 6)), ("mean", ()), ("sum", ())]:
        number = {"none": 0, "mean": 1, "sum": 2}[reduction]
        out, whole, outside = guarded(shape, torch.float32, (1, 4) if shape else None)
        with no_fallback():
            torch._C._nn.binary_cross_entropy(x.to(DEVICE), target.to(DEVICE), None, number, out=out)
        torch.testing.assert_close(out.cpu(), F.binary_cross_entropy(x, target, reduction=reduction))
        assert_guards(whole, outside)
