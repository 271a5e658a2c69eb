"""kthvalue, median, nanmedian, mode, cummax, cummin."""
from __future__ import annotations

import re

import pytest
import torch

from .families import DEVICE, assert_same, check, no_fallback, random
from .layouts import Guarded, lay_out, sample, to_device

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8]
NAN = float("nan")
# a wave per row, a workgroup per row, rows apart, and beyond what one workgroup sorts in LDS
SHAPES = [((7,), 0), ((5, 32), 1), ((33, 3), 0), ((2, 3, 300), -1), ((2, 2500), 1)]


def place_is_right(run, x, dim):
    """Values as on the CPU; of equal elements any may be named, so the place is judged by its value."""
    expected = run(x.contiguous()).values   # the CPU sorts an expanded row in place: wrong medians
    with no_fallback():
        values, indices = run(to_device(x))
    assert_same(values, expected, rtol=0, atol=0)
    assert indices.dtype == torch.int64
    at_place = x.gather(dim, indices.cpu().unsqueeze(dim)).squeeze(dim) if x.dim() else x
    torch.testing.assert_close(at_place, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ranks(dtype):
    for number, (shape, dim) in enumerate(SHAPES):
        x = sample(shape, dtype, number, 0 if dtype == torch.uint8 else -100, 100)
        for k in {1, x.size(dim) // 3 + 1, x.size(dim)}:
            place_is_right(lambda x, k=k: torch.kthvalue(x, k, dim), x, dim)
        place_is_right(lambda x: torch.median(x, dim), x, dim)
        place_is_right(lambda x: torch.nanmedian(x, dim), x, dim)
        check(torch.median, x)


@pytest.mark.parametrize("n", [6, 7, 50])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_nan_and_zeros(dtype, n):
    x = sample((4, n), dtype, 1)
    x[0, 2] = x[0, -1] = NAN
    x[1] = NAN
    x[2, ::2], x[2, 1::2] = 0.0, -0.0
    x[3, 1] = float("inf")
    x[3, 2] = -float("inf")
    for run in (lambda x: torch.median(x, 1), lambda x: torch.nanmedian(x, 1), lambda x: torch.kthvalue(x, n - 1, 1),
                lambda x: torch.kthvalue(x, n, 1), lambda x: torch.kthvalue(x, 1, 1)):
        place_is_right(run, x, 1)
    check(lambda x: torch.median(x, 1).indices[:2], x)        # the first NaN
    check(torch.median, x)
    check(torch.nanmedian, x)


@pytest.mark.parametrize("layout", ["transposed", "sliced", "offset", "expanded"])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_layouts(layout, dim):
    x = lay_out(sample((3, 4, 5), torch.float32, 3), layout)
    for run in (lambda x: torch.kthvalue(x, 2, dim), lambda x: torch.median(x, dim)):
        place_is_right(run, x, dim)
    check(lambda x: torch.mode(x.round(), dim), x)
    check(lambda x: torch.cummax(x, dim), x)
    check(lambda x: torch.cummin(x, dim), x)
    check(torch.median, x)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool], ids=str)
def test_mode(dtype):
    for number, (shape, dim) in enumerate(SHAPES):
        x = sample(shape, dtype, number, 0 if dtype == torch.uint8 else -6, 6)
        x = x.round() if dtype.is_floating_point else x
        expected = torch.mode(x, dim).values
        with no_fallback():
            values, indices = torch.mode(x.to(DEVICE), dim)
        assert_same(values, expected)
        assert torch.equal(x.gather(dim, indices.cpu().unsqueeze(dim)).squeeze(dim), expected)
    check(lambda x: torch.mode(x, 0, keepdim=True), sample((9, 2), dtype, 5, 0, 3))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool], ids=str)
@pytest.mark.parametrize("shape, dim", [((5,), 0), ((3, 700), 1), ((700, 3), 0), ((4, 90, 2), 1), ((), 0), ((0, 2), 1)], ids=str)
def test_running_extremes(shape, dim, dtype):
    x = sample(shape, dtype, 2)
    if dtype.is_floating_point and x.dim() and x.numel():
        x.select(dim, x.size(dim) // 2)[...] = NAN
        x.select(dim, x.size(dim) - 1)[...] = NAN
    check(lambda x: torch.cummax(x, dim), x)
    check(lambda x: torch.cummin(x, dim), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8], ids=str)
def test_running_extremes_of_long_rows(dtype):
    x = sample((2, 12301), dtype, 2, -500 if dtype == torch.int64 else -9, 9)     # full of equals
    x[:, 5000:] += 1
    if dtype == torch.float32:
        x[1, 9000] = NAN
    for dim, x in ((1, x), (0, x.t().contiguous())):
        check(lambda x: torch.cummax(x, dim), x)       # noqa: B023
        check(lambda x: torch.cummin(x, dim), x)       # noqa: B023


@pytest.mark.parametrize("run", [lambda x, out=None: torch.kthvalue(x, 2, 1, out=out), lambda x, out=None: torch.median(x, 1, out=out),
                                 lambda x, out=None: torch.nanmedian(x, 1, out=out), lambda x, out=None: torch.mode(x, 1, out=out)],
                         ids=["kthvalue", "median", "nanmedian", "mode"])
@pytest.mark.parametrize("n", [5, 40])
def test_writes_where_told(run, n):
    x = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(k)) for k in range(12)]).float().view(3, 4, n).transpose(1, 2)
    values, indices = Guarded((3, 4), torch.float32, "transposed"), Guarded((3, 4), torch.int64, "sliced")
    with no_fallback():
        run(x.to(DEVICE), out=(values.tensor, indices.tensor))
    expected = run(x)
    assert_same(values.tensor, expected.values)
    assert_same(indices.tensor, expected.indices)
    values.check()
    indices.check()


def test_running_extremes_write_where_told():
    x = sample((4, 5), torch.float32, 1)
    values, indices = Guarded((4, 5), torch.float32, "sliced"), Guarded((4, 5), torch.int64, "transposed")
    with no_fallback():
        torch.cummax(x.to(DEVICE), 1, out=(values.tensor, indices.tensor))
    assert_same(values.tensor, torch.cummax(x, 1).values)
    assert_same(indices.tensor, torch.cummax(x, 1).indices)
    values.check()
    indices.check()


def test_small_and_empty():
    for run in (lambda x: torch.kthvalue(x, 1), torch.median, lambda x: torch.median(x, 0), torch.nanmedian, torch.mode):
        check(run, torch.tensor(3.0))
    for dtype in (torch.float32, torch.float16, torch.int32, torch.int8):
        check(torch.median, torch.empty(0, dtype=dtype))
    for run in (lambda x: torch.kthvalue(x, 1), lambda x: torch.median(x, 1, keepdim=True), lambda x: torch.mode(x, 1)):
        check(run, torch.empty(0, 3))


@pytest.mark.parametrize("run", [lambda x: torch.kthvalue(x, 3, 1).values, lambda x: torch.median(x, 0).values, torch.median,
                                 lambda x: torch.nanmedian(x, 1).values, lambda x: torch.mode(x, 1).values,
                                 lambda x: torch.cummax(x, 1).values, lambda x: torch.cummin(x, 0).values])
def test_gradients(run):
    def gradient(x):
        x = x.detach().requires_grad_()
        y = run(x)
        (y * torch.arange(1, y.numel() + 1, device=y.device).view(y.shape)).sum().backward()
        return x.grad

    check(gradient, random((4, 6)))


@pytest.mark.parametrize("call, error", [
    (lambda x: torch.kthvalue(x, 0), RuntimeError), (lambda x: torch.kthvalue(x, 9), RuntimeError),
    (lambda x: torch.kthvalue(x, 1, 5), IndexError), (lambda x: torch.kthvalue(x[:0], 1, 0), IndexError),
    (lambda x: torch.median(x[:0], 0), IndexError), (lambda x: torch.mode(x[:0], 0), IndexError),
    (lambda x: torch.kthvalue(x, 1, out=(x.int(), x.long())), RuntimeError),
    (lambda x: torch.median(x, 0, out=(x.clone(), x.int())), RuntimeError),
    (lambda x: torch.mode(x, 0, out=(x.clone(), x.clone())), RuntimeError),
])
def test_errors_are_the_cpus(call, error):
    with pytest.raises(error) as expected:
        call(torch.ones(3, 4))
    with pytest.raises(error) as actual:
        call(torch.ones(3, 4, device=DEVICE))

    def words(caught):   # the type's name has the device in it
        return re.sub(r"torch\.(\w+)Tensor|usbgpu(\w+)Type", lambda m: m[1] or m[2], str(caught.value).splitlines()[0])

    assert words(actual) == words(expected)


@pytest.mark.expects_fallback
def test_bool_has_the_cpus_error():
    torch.usbgpu.set_fallback("silent")
    for run in (lambda x: torch.kthvalue(x, 1), torch.median, lambda x: torch.nanmedian(x, 0)):
        with pytest.raises(NotImplementedError, match="not implemented for 'Bool'"):
            run(torch.ones(3, dtype=torch.bool, device=DEVICE))


def test_long_rows_of_nans_are_not_equal():
    x = torch.full((2100,), NAN)
    x[5] = x[2000] = 1
    assert torch.mode(x.to(DEVICE)).values.item() == 1
