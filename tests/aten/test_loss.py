"""nll_loss in all its reductions, and cross_entropy with gradients."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, check, random

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
