"""where with numbers on the host, x[mask] = value, addr: what csrc/aten/fused.cpp keeps to one launch."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, check, keep_strides, random
from .spatial import launches

NUMBERS = [torch.float32, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_where_with_numbers(dtype):
    mask, x = random((4, 6), torch.bool), random((4, 6), dtype, seed=1)
    for number in (2, 2.5, True, float("nan"), torch.tensor(3), torch.tensor(1.5, dtype=torch.float64)):
        check(lambda m, x: torch.where(m, x, number), mask, x)                # noqa: B023
        check(lambda m, x: torch.where(m[:, :1], number, x.t()[:, :4].t()), mask, x)    # noqa: B023
    check(lambda m: torch.where(m, 1, 2.5), mask)
    check(lambda m: torch.where(m, torch.tensor(1), torch.tensor(2.5)), mask)
    check(lambda m, x: torch.where(m, x, 1), mask[:0], x[:0])
    check(lambda m, x: torch.where(m[0, 0], x, 1), mask, x)


def test_where_with_numbers_writes_where_told():
    mask, x = random((4, 6), torch.bool), random((4, 6))
    out = torch.zeros(6, 8, device=DEVICE)
    torch.where(mask.to(DEVICE), x.to(DEVICE), torch.tensor(2.0), out=out.t()[:4])
    assert torch.equal(out.cpu().t()[:4], torch.where(mask, x, 2.0))
    assert not out[:, 4:].any()
    with pytest.raises(RuntimeError, match="Expected out type to be"):
        torch.where(mask.to(DEVICE), x.to(DEVICE), torch.tensor(2.0), out=torch.empty(4, 6, dtype=torch.float64, device=DEVICE))
    with pytest.raises(RuntimeError):
        torch.where(mask.to(DEVICE), x.to(DEVICE), torch.ones(4, 6))


@pytest.mark.parametrize("dtype", [*NUMBERS, torch.complex64], ids=str)
def test_one_value_where_a_mask_is(dtype):
    whole = random((5, 4, 6), dtype if not dtype.is_complex else torch.float32).to(dtype)
    rows, cells = random((5,), torch.bool), random((4, 6), torch.bool, seed=1)
    for place in (rows, (slice(None), cells), (..., cells[:, 0], slice(None)), (whole == whole), (rows, slice(None), slice(1, 3))):
        for layout in (whole, whole.transpose(0, 2).contiguous().transpose(0, 2)):
            expected, actual = layout.clone(), keep_strides(layout).clone()
            there = tuple(p.to(DEVICE) if isinstance(p, torch.Tensor) else p for p in place) if isinstance(place, tuple) else place.to(DEVICE)
            expected[place] = 1
            actual[there] = 1
            assert torch.equal(actual.cpu(), expected)


def test_masks_that_take_the_long_way():
    x, mask = random((4, 6)), random((4, 6), torch.bool)
    check(lambda x, m: x.clone().index_put_((m,), torch.arange(float(m.sum()), device=x.device)), x, mask)
    check(lambda x, m: x.clone().index_put_((m,), torch.ones((), device=x.device), accumulate=True), x, mask)
    check(lambda x, m: x.clone().index_put_((m[:, 0], m[0]), torch.ones((), device=x.device)), x[:, :4], mask[:, :4] | True)
    y = x.to(DEVICE)
    y[mask] = 5            # a mask on the CPU
    assert torch.equal(y.cpu(), x.masked_fill(mask, 5))
    y[mask.to(DEVICE)] = y[0, 0]
    assert torch.equal(y.cpu(), x.masked_fill(mask, 5).masked_fill(mask, float(y[0, 0])))
    with pytest.raises(IndexError, match="does not match the shape of the indexed tensor"):
        y[mask[:3].to(DEVICE)] = 1


@pytest.mark.parametrize("dtype", [*NUMBERS, torch.complex64], ids=str)
def test_addr(dtype):
    real = dtype if not dtype.is_complex else torch.float32
    self, a, b = (random(s, real, seed=k).to(dtype) for k, s in enumerate([(4, 6), (4,), (12,)]))
    tolerance = {torch.float16: dict(rtol=2e-3, atol=2e-2), torch.complex64: dict(rtol=1e-5, atol=1e-5)}.get(dtype)
    check(lambda s, a, b: torch.addr(s, a, b[::2]), self, a, b, tolerance=tolerance)
    check(lambda s, a, b: torch.addr(s[0], a, b[::2]), self, a, b, tolerance=tolerance)
    if dtype != torch.bool:
        check(lambda s, a, b: torch.addr(s, a, b[::2], beta=2, alpha=3), self, a, b, tolerance=tolerance and dict(rtol=2e-3, atol=1e-1))
    if dtype.is_floating_point:
        check(lambda s, a, b: torch.addr(s, a, b[::2], beta=0, alpha=0.5), self * float("nan"), a, b, tolerance=tolerance)
        check(lambda s, a, b: s.clone().addr_(a.float(), b[::2]), self, a, b, tolerance=tolerance or dict(rtol=1e-6, atol=1e-6))


def test_launches():
    mask, x = random((4, 6), torch.bool).to(DEVICE), random((4, 6)).to(DEVICE)
    assert launches(lambda: torch.where(mask, x, torch.tensor(0.0))) == 1
    assert launches(lambda: torch.where(mask, torch.tensor(1), x)) == 1
    assert launches(lambda: x.__setitem__(mask, 0.0)) == 2       # the value, on the device for Python's sake, and the fill
    assert launches(lambda: x.__setitem__((slice(None), mask[0]), 0.0)) == 2
    assert launches(lambda: torch.addr(x, x[:, 0], x[0])) == 1
