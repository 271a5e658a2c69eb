"""sort, argsort, topk, cumsum, cumprod."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, check, random

DTYPES = [torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("shape, dim", [((1,), 0), ((7,), 0), ((3, 300), 1), ((40, 3, 2), 0), ((2, 5000), -1), ((), 0), ((0, 3), 0)],
                         ids=str)
def test_sort_is_stable(shape, dim, descending, dtype):
    check(lambda x: torch.sort(x, dim=dim, descending=descending, stable=True), random(shape, dtype))


def test_nan_is_the_largest():
    x = torch.tensor([1.0, float("nan"), float("-inf"), 3, float("inf"), float("nan"), -0.0, 0.0])
    for descending in (False, True):
        check(lambda x, d=descending: torch.sort(x, descending=d, stable=True), x)
    check(lambda x: torch.argsort(x, stable=True), random((3, 50)).t())


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("shape, k, dim", [((50,), 7, 0), ((4, 60), 60, 1), ((60, 3), 2, 0), ((5,), 0, 0)], ids=str)
def test_topk(shape, k, dim, largest):
    check(lambda x: torch.topk(x, k, dim, largest=largest), random(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64, torch.int8, torch.bool], ids=str)
@pytest.mark.parametrize("shape, dim", [((5,), 0), ((3, 700), 1), ((700, 3), 0), ((4, 90, 2), 1), ((), 0), ((0, 2), 1)], ids=str)
def test_running_sums_and_products(shape, dim, dtype):
    x = random(shape, dtype)
    check(torch.cumsum, x, dim, tolerance=dict(rtol=2e-2, atol=2e-1) if dtype == torch.float16 else
          dict(rtol=1e-4, atol=1e-3) if dtype == torch.float32 else None)
    y = (x * 0.01 + 1).to(dtype) if dtype.is_floating_point else x
    check(torch.cumprod, y, dim, tolerance=dict(rtol=3e-2, atol=1e-1) if dtype == torch.float16 else
          dict(rtol=1e-3, atol=1e-4) if dtype == torch.float32 else None)


# Few long rows: several workgroups share each, the last one's part is short.
@pytest.mark.parametrize("shape, dim, dtype", [
    *((shape, dim, dtype) for shape, dim in (((2, 20011), 1), ((12301, 2), 0))
      for dtype in (torch.float32, torch.float64, torch.int64)),
    ((2100003,), 0, torch.int64),       # more segments than a workgroup has threads
], ids=str)
def test_running_sums_of_long_rows(shape, dim, dtype):
    x = random(shape, dtype)
    tolerance = dict(rtol=1e-4, atol=1e-2) if dtype == torch.float32 else None
    check(torch.cumsum, x, dim, tolerance=tolerance)
    y = x.to(DEVICE)
    expected = y.cumsum(dim).cpu()
    assert torch.equal(y.cumsum(dim).cpu(), expected)     # the same to the last bit
    assert torch.equal(y.cumsum_(dim).cpu(), expected)    # in place: nobody reads what another has written
    if dtype == torch.float64:
        check(torch.cumprod, 1 + x * 1e-3, dim)


def test_errors():
    with pytest.raises(RuntimeError, match="out of range"):
        torch.topk(torch.ones(3, device=DEVICE), 4)
    with pytest.raises(IndexError, match="Dimension out of range"):
        torch.sort(torch.ones(3, device=DEVICE), dim=1)
