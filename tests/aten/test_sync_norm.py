"""The parts of SyncBatchNorm: put together over two halves of a batch, they are a batch norm of the whole."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, no_fallback, random

LIMITS = {torch.float32: dict(rtol=2e-5, atol=2e-5), torch.float64: dict(rtol=1e-10, atol=1e-10),
          torch.float16: dict(rtol=1e-2, atol=1e-2), torch.bfloat16: dict(rtol=6e-2, atol=6e-2)}


@pytest.mark.parametrize("dtype", list(LIMITS), ids=str)
@pytest.mark.parametrize("shape", [(6, 3), (6, 5, 4), (6, 3, 4, 5), "channels_last"], ids=str)
def test_two_processes_make_one_batch_norm(shape, dtype):
    last = shape == "channels_last"
    shape = (6, 3, 4, 5) if last else shape
    channels, eps, momentum = shape[1], 1e-3, 0.3
    x, grad = random(shape, dtype), random(shape, dtype, seed=1)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    weight, bias = random((channels,), wide, seed=2), random((channels,), wide, seed=3)
    running_mean, running_var = torch.zeros(channels, dtype=wide), torch.ones(channels, dtype=wide)

    whole = [t.to(wide).requires_grad_() for t in (x, weight, bias)]
    expected = F.batch_norm(whole[0], running_mean, running_var, whole[1], whole[2], True, momentum, eps)
    want = torch.autograd.grad(expected, whole, grad.to(wide))

    def halves(tensor):
        parts = [tensor[:2], tensor[2:]]
        return [(p.contiguous(memory_format=torch.channels_last) if last else p).to(DEVICE) for p in parts]

    ours_mean, ours_var = torch.zeros(channels, dtype=wide, device=DEVICE), torch.ones(channels, dtype=wide, device=DEVICE)
    w, b = weight.to(DEVICE), bias.to(DEVICE)
    with no_fallback():
        xs, grads = halves(x), halves(grad)
        each = [torch.batch_norm_stats(part, eps) for part in xs]
        counts = torch.tensor([part.numel() // channels for part in xs], device=DEVICE)
        mean, rstd = torch.batch_norm_gather_stats_with_counts(
            xs[0], torch.stack([m for m, _ in each]), torch.stack([r for _, r in each]), ours_mean, ours_var, momentum, eps,
            counts.to(wide))
        outputs = [torch.batch_norm_elemt(part, w, b, mean, rstd, eps) for part in xs]
        sums = [torch.batch_norm_backward_reduce(g, part, mean, rstd, w, True, True, True) for g, part in zip(grads, xs, strict=True)]
        total, along = sum(s[0] for s in sums), sum(s[1] for s in sums)
        inputs = [torch.batch_norm_backward_elemt(g, part, mean, rstd, w, total, along, counts.int())
                  for g, part in zip(grads, xs, strict=True)]
        torch.usbgpu.synchronize()
    limits = LIMITS[dtype]
    torch.testing.assert_close(torch.cat(outputs).cpu().to(wide), expected.detach(), **limits)
    torch.testing.assert_close(torch.cat(inputs).cpu().to(wide), want[0], **limits)
    torch.testing.assert_close(sum(s[2] for s in sums).cpu(), want[1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sum(s[3] for s in sums).cpu(), want[2], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours_mean.cpu(), running_mean, **LIMITS[wide])
    torch.testing.assert_close(ours_var.cpu(), running_var, **LIMITS[wide])
    if last:
        assert outputs[0].is_contiguous(memory_format=torch.channels_last)


def test_one_count_for_all_and_what_is_not_asked_for():
    x = random((4, 3, 5)).to(DEVICE)
    mean, rstd = torch.batch_norm_stats(x, 1e-5)
    same = torch.batch_norm_gather_stats(x, torch.stack([mean, mean]), torch.stack([rstd, rstd]), None, None, 0.1, 1e-5, 20)
    torch.testing.assert_close(same[0], mean)
    torch.testing.assert_close(same[1], rstd)
    assert torch.batch_norm_backward_reduce(x, x, mean, rstd, None, False, False, True)[:3] == (None, None, None)
    out = torch.empty(3, 4, 5, device=DEVICE).transpose(0, 1)
    torch.batch_norm_elemt(x, None, None, mean, rstd, 1e-5, out=out)
    torch.testing.assert_close(out.cpu(), F.batch_norm(x.cpu(), None, None, training=True), rtol=1e-5, atol=1e-5)


def test_errors():
    x = random((4, 3)).to(DEVICE)
    mean, rstd = torch.batch_norm_stats(x, 1e-5)
    with pytest.raises(RuntimeError, match="expected mean of 3 elements"):
        torch.batch_norm_elemt(x, None, None, mean[:2], rstd, 1e-5)
    with pytest.raises(RuntimeError, match="at least 2 dimensions"):
        torch.batch_norm_stats(x[0], 1e-5)
    with pytest.raises(RuntimeError, match="a gradient like the input"):
        torch.batch_norm_backward_reduce(x[:2], x, mean, rstd, None, True, True, True)
