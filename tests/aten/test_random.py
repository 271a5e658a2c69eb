"""Random numbers: distributions by their moments, seeds, and layouts."""
from __future__ import annotations

import math

import pytest
import torch

from .families import DEVICE, assert_guards, guarded, no_fallback

N = 40_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("draw, mean, std, low, high", [
    (lambda t: t.uniform_(-1, 3), 1.0, 4 / math.sqrt(12), -1, 3),
    (lambda t: t.normal_(2, 3), 2.0, 3.0, -math.inf, math.inf),
    (lambda t: t.exponential_(2), 0.5, 0.5, 0, math.inf),
    (lambda t: t.bernoulli_(0.3), 0.3, math.sqrt(0.21), 0, 1),
    (lambda t: t.log_normal_(0, 0.5), math.exp(0.125), math.sqrt((math.exp(0.25) - 1) * math.exp(0.25)), 0, math.inf),
    (lambda t: t.geometric_(0.4), 2.5, math.sqrt(0.6) / 0.4, 1, math.inf),
], ids=["uniform", "normal", "exponential", "bernoulli", "log_normal", "geometric"])
def test_moments(draw, mean, std, low, high, dtype):
    torch.manual_seed(3)
    with no_fallback():
        x = draw(torch.empty(N, dtype=dtype, device=DEVICE)).cpu().double()
    assert abs(x.mean() - mean) < 6 * std / math.sqrt(N) + (0.02 if dtype.itemsize == 2 else 0)
    assert abs(x.std() - std) < 0.06 * std
    assert x.min() >= low and x.max() <= high
    # neighbours are independent: the four numbers of one block, too
    y = (x - x.mean()) / x.std()
    for step in (1, 2, 3, 4):
        assert abs((y[step:] * y[:-step]).mean()) < 6 / math.sqrt(N)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float32], ids=str)
def test_integers(dtype):
    x = torch.randint(3, 17, (N,), device=DEVICE, dtype=dtype).cpu()
    counts = torch.bincount(x.long(), minlength=17)
    assert counts[:3].sum() == 0 and (counts[3:] - N / 14).abs().max() < 6 * math.sqrt(N / 14)
    wide = torch.empty(1000, dtype=torch.int64, device=DEVICE).random_(-2**62, 2**62).cpu()
    assert (wide.abs() > 2**60).any() and wide.unique().numel() == 1000


def test_seed_decides_and_offset_moves_on():
    torch.manual_seed(7)
    a, b = torch.randn(100, device=DEVICE).cpu(), torch.randn(100, device=DEVICE).cpu()
    torch.manual_seed(7)
    assert torch.equal(torch.randn(100, device=DEVICE).cpu(), a)
    assert torch.equal(torch.randn(100, device=DEVICE).cpu(), b)
    assert not torch.equal(a, b)
    generator = torch.Generator(device=DEVICE).manual_seed(7)
    assert torch.equal(torch.randn(100, device=DEVICE, generator=generator).cpu(), a)


def test_known_block_of_philox():
    # Random123's known answer for key 0, counter 0
    generator = torch.Generator(device=DEVICE).manual_seed(0)
    x = torch.empty(4, dtype=torch.int64, device=DEVICE).random_(0, 2**32, generator=generator)
    assert [hex(v) for v in x.tolist()] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


def test_strided_target():
    out, whole, outside = guarded((30, 40), torch.float32, (90, 2))
    out.normal_()
    assert out.cpu().unique().numel() > 1000
    assert_guards(whole, outside)
    assert torch.empty(0, device=DEVICE).uniform_().numel() == 0


@pytest.mark.parametrize("n", [0, 1, 10, 5000])
def test_randperm(n):
    with no_fallback():
        x = torch.randperm(n, device=DEVICE).cpu()
    assert torch.equal(x.sort().values, torch.arange(n))
    assert n < 100 or not torch.equal(x, torch.arange(n))


def test_dropout():
    x = torch.full((100, 400), 2.0, device=DEVICE, requires_grad=True)
    with no_fallback():
        y = torch.nn.functional.dropout(x, 0.25)
        y.backward(torch.ones_like(y))
        values, grad = y.detach().cpu(), x.grad.cpu()
    kept = values != 0
    assert abs(kept.float().mean() - 0.75) < 0.02
    assert torch.allclose(values[kept], torch.tensor(2 / 0.75))
    assert torch.allclose(grad, kept / 0.75)


def test_errors():
    with pytest.raises(RuntimeError, match="generator"):
        torch.empty(3, device=DEVICE).normal_(generator=torch.Generator())
    with pytest.raises(RuntimeError, match="from"):
        torch.empty(3, device=DEVICE).uniform_(2, 1)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("rows", [None, 3])
def test_multinomial(replacement, rows):
    torch.manual_seed(7)
    weights = torch.tensor([0.0, 1.0, 2.0, 5.0]) if rows is None else torch.tensor([[0.0, 1.0, 2.0, 5.0]] * rows)
    on_gpu = weights.to("usbgpu")
    if replacement:
        drawn = torch.multinomial(on_gpu, 4000, replacement=True).cpu()
        share = torch.stack([(drawn == c).float().mean() for c in range(4)])
        torch.testing.assert_close(share, torch.tensor([0, 1, 2, 5]) / 8, rtol=0, atol=0.03)
    else:
        drawn = torch.multinomial(on_gpu, 3).cpu()
        assert drawn.sort(-1).values.reshape(-1, 3).tolist() == [[1, 2, 3]] * (rows or 1), "zero weight is never drawn"
    torch.manual_seed(7)
    again = torch.multinomial(on_gpu, drawn.size(-1), replacement=replacement).cpu()
    assert torch.equal(drawn, again), "the seed decides"


def test_multinomial_refuses_what_is_no_probability():
    with pytest.raises(RuntimeError, match="inf.*nan|probability"):
        torch.multinomial(torch.tensor([1.0, -1.0], device="usbgpu"), 1)
