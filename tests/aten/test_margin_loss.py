"""multi_margin_loss and multilabel_margin_loss: values, gradients, outputs, errors."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, assert_guards, check, guarded, no_fallback, random
from .gradients import compare

DTYPES = [torch.float32, torch.float64]
REDUCTIONS = ["mean", "sum", "none"]


def labels(batch, classes):
    """Lists of classes, ended by -1 and followed by what must not count."""
    generator = torch.Generator().manual_seed(5)
    rows = torch.stack([torch.randperm(classes, generator=generator) for _ in range(batch)])
    for row, end in enumerate(torch.randint(0, classes + 1, (batch,), generator=generator).tolist()):
        if end < classes:
            rows[row, end] = -1
    return rows


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("p, margin, weighted", [(1, 1.0, False), (2, 0.5, True)])
@pytest.mark.parametrize("batch, classes", [(9, 5), (3, 70), (1, 1)])
def test_multi_margin(batch, classes, p, margin, weighted, reduction, dtype):
    x, target = random((batch, 2 * classes), dtype)[:, ::2], torch.arange(batch) % classes
    weight = random((classes,), dtype, seed=3).abs() if weighted else None
    compare(lambda x, t, w: F.multi_margin_loss(x, t, p, margin, None if w is None else w.detach(), reduction=reduction), x, target, weight)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("batch, classes", [(9, 5), (3, 70), (2, 1)])
def test_multilabel_margin(batch, classes, reduction, dtype):
    x, target = random((classes, batch), dtype).t(), labels(batch, classes)
    compare(lambda x, t: F.multilabel_margin_loss(x, t, reduction=reduction), x, target)
    check(lambda x, t: torch.ops.aten.multilabel_margin_loss_forward(x, t, 1), x, target)   # is_target, too


def test_a_label_may_be_listed_twice():
    compare(F.multilabel_margin_loss, random((1, 4)), torch.tensor([[2, 2, 0, -1]]))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_single_samples(reduction):
    for shape in [(), (1,)]:
        compare(lambda x, t: F.multi_margin_loss(x, t, reduction=reduction), random((6,)), torch.full(shape, 2))
    compare(lambda x, t: F.multi_margin_loss(x, t, reduction=reduction), random(()), torch.tensor(0))
    compare(lambda x, t: F.multilabel_margin_loss(x, t, reduction=reduction), random((6,)), torch.tensor([3, 1, -1, 9, 9, 9]).clamp(max=5))


def test_empty_batches():
    empty = torch.zeros(0, 4)
    for loss, target in [(F.multi_margin_loss, torch.zeros(0, dtype=torch.int64)),
                         (F.multilabel_margin_loss, torch.zeros(0, 4, dtype=torch.int64))]:
        check(lambda x, t, f=loss: f(x, t, reduction="none"), empty, target)
        assert loss(empty.to(DEVICE), target.to(DEVICE), reduction="sum").item() == 0


def test_outputs():
    x, target = random((5, 4)), torch.tensor([0, 3, 1, 2, 2])
    for reduction, shape in [(0, (5,)), (1, ()), (2, ())]:
        out, whole, outside = guarded(shape, torch.float32, (3,) if shape else None)
        with no_fallback():
            torch._C._nn.multi_margin_loss(x.to(DEVICE), target.to(DEVICE), reduction=reduction, out=out)
        torch.testing.assert_close(out.cpu(), torch._C._nn.multi_margin_loss(x, target, reduction=reduction))
        assert_guards(whole, outside)


def test_nan_counts_as_on_the_cpu():
    x = random((3, 4))
    x[1, 2] = float("nan")
    check(lambda x, t: F.multi_margin_loss(x, t, reduction="none"), x, torch.tensor([2, 2, 1]))
    check(lambda x, t: F.multilabel_margin_loss(x, t, reduction="none"), x, torch.tensor([[0, 1, -1, 0]] * 3))


def test_errors():
    x = torch.ones(2, 4, device=DEVICE)
    target = torch.tensor([1, 3], device=DEVICE)
    with pytest.raises(RuntimeError, match="target out of range"):
        F.multi_margin_loss(x, target + 1).item()
    with pytest.raises(RuntimeError, match="argument #2 'target' is out of range"):
        F.multilabel_margin_loss(x, torch.tensor([[0, -2, 1, 1]] * 2, device=DEVICE)).item()
    with pytest.raises(RuntimeError, match="expected scalar type Long but found Int"):
        F.multi_margin_loss(x, target.int())
    with pytest.raises(RuntimeError, match="target tensor should be 1-D"):
        F.multi_margin_loss(x, torch.cat([target, target]))
    with pytest.raises(RuntimeError, match="inconsistent target size"):
        F.multilabel_margin_loss(x, target)
    with pytest.raises(RuntimeError, match="expected scalar type Float but found Double"):
        F.multi_margin_loss(x, target, weight=torch.ones(4, device=DEVICE, dtype=torch.float64))
    with pytest.raises(ValueError, match="only p == 1 and p == 2"):
        F.multi_margin_loss(x, target, p=3)
    with pytest.raises(RuntimeError, match="same device"):
        F.multi_margin_loss(x, target.cpu())
