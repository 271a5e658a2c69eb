"""ctc_loss and its gradient."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, assert_same, check, no_fallback, random
from .gradients import compare

LIMITS = {torch.float32: dict(rtol=2e-4, atol=2e-5), torch.float64: dict(rtol=1e-9, atol=1e-10)}


def log_probs(times, batch, classes, dtype=torch.float32):
    return random((times, batch, classes), dtype).log_softmax(-1)


@pytest.mark.parametrize("dtype", list(LIMITS), ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("blank", [0, 3])
def test_padded_targets(blank, reduction, dtype):
    # repeated labels, an empty target, a target that just fits, one of a single step
    targets = torch.tensor([[1, 2, 2, 1], [4, 4, 4, 9], [9, 9, 9, 9], [1, 9, 9, 9]])
    lengths, steps = (4, 3, 0, 1), (8, 5, 7, 1)
    compare(lambda x, t: F.ctc_loss(x, t, steps, lengths, blank=blank, reduction=reduction), log_probs(8, 4, 5, dtype), targets,
            **LIMITS[dtype])


@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
def test_concatenated_targets_and_strides(index):
    targets = torch.tensor([1, 2, 1, 3, 3], dtype=index)
    x = log_probs(7, 3, 8).transpose(0, 1).contiguous().transpose(0, 1)[..., ::2]
    compare(lambda x, t: F.ctc_loss(x, t, (7, 7, 6), (3, 0, 2), reduction="none"), x, targets, **LIMITS[torch.float32])
    spread = torch.stack([torch.tensor([[1, 2], [3, 1], [2, 3]])] * 2, -1)[..., 0].to(index)
    compare(lambda x, t: F.ctc_loss(x, t, (7, 7, 6), (2, 1, 2), reduction="sum"), x, spread, **LIMITS[torch.float32])


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_impossible_targets(zero_infinity):
    """More labels than steps, steps that none may be left of: infinite losses, and NaN or zero gradients."""
    targets = torch.tensor([[1, 2, 3], [1, 1, 2], [1, 2, 1]])
    compare(lambda x, t: F.ctc_loss(x, t, (2, 3, 5), (3, 3, 3), reduction="none", zero_infinity=zero_infinity),
            log_probs(5, 3, 4), targets, **LIMITS[torch.float32])


def test_long_targets():
    """More states than a workgroup has threads, more labels than a wave has lanes."""
    targets = torch.randint(1, 6, (2, 140), generator=torch.Generator().manual_seed(1))
    compare(lambda x, t: F.ctc_loss(x, t, (300, 260), (140, 100), reduction="sum"), log_probs(300, 2, 6), targets,
            rtol=1e-3, atol=1e-4)


def test_no_steps_and_a_single_sample():
    targets = torch.tensor([[1, 2], [1, 2]])
    check(lambda x, t: F.ctc_loss(x, t, (0, 0), (0, 2), reduction="none"), log_probs(3, 2, 4), targets)
    compare(lambda x, t: F.ctc_loss(x, t, (6,), (2,)), log_probs(6, 1, 4)[:, 0], targets[0], **LIMITS[torch.float32])


def test_lengths_as_tensors():
    x, targets = log_probs(6, 2, 4), torch.tensor([[1, 2], [3, 3]])
    steps, lengths = torch.tensor([6, 4]), torch.tensor([2, 1])
    expected = F.ctc_loss(x, targets, steps, lengths)
    with no_fallback():
        assert_same(F.ctc_loss(x.to(DEVICE), targets.to(DEVICE), steps.to(DEVICE), lengths.to(DEVICE)), expected)
        assert_same(F.ctc_loss(x.to(DEVICE), targets.to(DEVICE), steps, lengths), expected)
        assert_same(torch._ctc_loss(x.to(DEVICE), targets.to(DEVICE), steps.to(DEVICE), lengths.to(DEVICE))[0],
                    torch._ctc_loss(x, targets, steps, lengths)[0])


def test_errors():
    x, targets = log_probs(5, 2, 4).to(DEVICE), torch.tensor([[1, 2, 1], [3, 3, 1]], device=DEVICE)

    def loss(steps=(5, 5), lengths=(3, 2), targets=targets, **options):
        return F.ctc_loss(x, targets, steps, lengths, **options)

    for message, call in [("value at most 5, but got value 6", lambda: loss(steps=(6, 5))),
                          ("value at least 0, but got value -1", lambda: loss(steps=(-1, 5))),
                          ("value at least 0, but got value -1", lambda: loss(lengths=(-1, 2))),
                          ("size at least 4 at dimension 1", lambda: loss(lengths=(4, 2))),
                          ("to have size 5 at dimension 0, but got size 4", lambda: loss(targets=targets.flatten()[:4])),
                          ("input_lengths must be of size batch_size", lambda: loss(steps=(5,))),
                          ("target_lengths must be of size batch_size", lambda: loss(lengths=(5,))),
                          ("blank must be in label range", lambda: loss(blank=4)),
                          ("not implemented for 'Half'", lambda: F.ctc_loss(x.half(), targets, (5, 5), (3, 2)))]:
        with pytest.raises(RuntimeError, match=message):
            call()
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        loss(targets=torch.tensor([[1, 2, 9], [1, 2, 3]], device=DEVICE)).item()


def test_single_precision_is_near_double_precision():
    """Logarithms of a hundred and more cancel in the gradient."""
    targets = torch.randint(1, 20, (4, 30), generator=torch.Generator().manual_seed(3))
    x, cotangent = log_probs(50, 4, 20), random((4,), seed=5)

    def gradient(x, device):
        leaf = x.to(device).requires_grad_()
        loss = F.ctc_loss(leaf, targets.to(device), (50,) * 4, (30, 10, 21, 27), reduction="none")
        return torch.autograd.grad(loss, leaf, cotangent.to(loss))[0].cpu().double()

    torch.testing.assert_close(gradient(x, DEVICE), gradient(x.double(), "cpu"), rtol=0, atol=5e-5)
