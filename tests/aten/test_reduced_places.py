"""put, index_reduce, nonzero_static, cross, addbmm, trace."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, assert_same, check, no_fallback, random
from .layouts import Guarded, lay_out, sample

NUMBERS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
           torch.uint8]
I = torch.tensor


@pytest.mark.parametrize("dtype", [*NUMBERS, torch.bool], ids=str)
@pytest.mark.parametrize("accumulate", [False, True])
def test_put(dtype, accumulate):
    index = I([[0, 7], [-1, 0 if accumulate else 3]])
    values = sample((2, 2), dtype, 1)
    for layout in ("contiguous", "transposed", "sliced", "offset"):
        x = lay_out(sample((3, 4), dtype, 0), layout)
        check(lambda x, i, v: x.clone().put_(i, v, accumulate), x, index, values)
        with no_fallback():     # in place, on the view itself
            target = Guarded((3, 4), dtype, layout)
            target.tensor.copy_(x.to(DEVICE))
            target.tensor.put_(index.to(DEVICE), values.to(DEVICE), accumulate)
        assert_same(target.tensor, x.contiguous().put_(index, values, accumulate))
        target.check()
    check(torch.put, x, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=dtype))


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("reduce", ["prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_index_reduce(dtype, reduce, include_self):
    index = I([2, 0, 2, 2])
    low = 0 if dtype == torch.uint8 else -3
    limits = dict(rtol=2e-2, atol=2e-2) if dtype in (torch.float16, torch.bfloat16) else None
    for dim, shape in ((0, (4, 5)), (1, (3, 4)), (-1, (3, 4))):
        x = sample((3, 5) if dim == 0 else (3, 6), dtype, 0, low, 3)
        check(lambda x, i, s: torch.index_reduce(x, dim, i, s, reduce, include_self=include_self), x, index,
              sample(shape, dtype, 1, low, 3), tolerance=limits)
    check(lambda x, i, s: torch.index_reduce(x.t(), 0, i.int(), s.t(), reduce, include_self=include_self),
          sample((5, 3), dtype, 2, low, 3), index, sample((5, 4), dtype, 3, low, 3), tolerance=limits)


def test_index_reduce_of_nan_and_gradient():
    nan = float("nan")
    for reduce in ("amax", "amin"):
        check(lambda x, i, s, r=reduce: torch.index_reduce(x, 0, i, s, r), I([1.0, nan, 3]), I([0, 1, 2, 0]), I([nan, 2.0, 4, 5]))

    def gradient(x, i, s, reduce):
        x, s = x.detach().requires_grad_(), s.detach().requires_grad_()
        (torch.index_reduce(x, 0, i, s, reduce) ** 2).sum().backward()
        return x.grad, s.grad

    for reduce in ("prod", "mean", "amax", "amin"):
        check(gradient, random((3, 4)), I([2, 0, 2]), random((3, 4), seed=1), reduce, tolerance=dict(rtol=1e-4, atol=1e-4))


@pytest.mark.parametrize("call", [lambda x: torch.put(x, I([12], device=x.device), x[0, :1]),
                                  lambda x: torch.index_reduce(x, 0, I([0, 5, 1], device=x.device), x, "prod"),
                                  lambda x: torch.index_reduce(x, 0, I([0, -1, 1], device=x.device), x, "amax")])
def test_out_of_bounds_is_told_at_the_next_read(call):
    with pytest.raises(IndexError):
        call(torch.ones(3, 4))
    result = call(torch.ones(3, 4, device=DEVICE))
    with pytest.raises(IndexError):
        result.cpu()


@pytest.mark.parametrize("dtype", [*NUMBERS, torch.bool], ids=str)
def test_nonzero_static(dtype):
    x = sample((4, 5), dtype, 0)
    for size in (0, 3, 19, 30):
        check(lambda x: torch.nonzero_static(x, size=size), x)
        check(lambda x: torch.nonzero_static(x.t(), size=size, fill_value=7), x)
    check(lambda x: torch.nonzero_static(x, size=2), x[:0])
    check(lambda x: torch.nonzero_static(x, size=2), x[0, 0])


def test_nonzero_static_writes_where_told():
    x = sample((3000,), torch.bool, 0)
    out = Guarded((5, 1), torch.int64, "sliced")
    with no_fallback():
        torch.nonzero_static(x.to(DEVICE), size=5, out=out.tensor)
    assert_same(out.tensor, torch.nonzero_static(x, size=5))
    out.check()


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_cross(dtype):
    limits = dict(rtol=2e-2, atol=2e-1) if dtype in (torch.float16, torch.bfloat16) else None
    a, b = sample((4, 3, 5), dtype, 0), sample((4, 3, 5), dtype, 1)
    check(lambda a, b: torch.linalg.cross(a, b, dim=1), a, b, tolerance=limits)
    check(lambda a, b: torch.linalg.cross(a.transpose(0, 1), b[:1].transpose(0, 1), dim=0), a, b, tolerance=limits)
    check(lambda a, b: torch.linalg.cross(a[0, :, 0], b[0, :, 0]), a, b, tolerance=limits)
    check(lambda a, b: torch.linalg.cross(a, b, dim=1), a[:0], b[:0])


def test_cross_writes_where_told_and_gradient():
    a, b = random((4, 3)), random((4, 3), seed=1)
    out = Guarded((4, 3), torch.float32, "transposed")
    with no_fallback():
        torch.linalg.cross(a.to(DEVICE), b.to(DEVICE), out=out.tensor)
    assert_same(out.tensor, torch.linalg.cross(a, b))
    out.check()

    def gradient(a, b):
        a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
        (torch.linalg.cross(a, b) ** 2).sum().backward()
        return a.grad, b.grad

    check(gradient, a, b, tolerance=dict(rtol=1e-4, atol=1e-4))


def test_addbmm():
    x, a, b = random((4, 5)), random((3, 4, 6), seed=1), random((3, 6, 5), seed=2)
    check(torch.addbmm, x, a, b)
    check(lambda x, a, b: torch.addbmm(x, a, b, beta=0.5, alpha=2), x[:1], a, b)
    check(lambda x, a, b: x.clone().addbmm_(a, b, beta=2), x, a, b)
    check(lambda x, a, b: torch.addbmm(x, a, b, beta=0), x * float("nan"), a[:, :, :0], b[:, :0])
    check(lambda x, a, b: torch.addbmm(x, a, b, beta=2), x, a[:0], b[:0])
    check(lambda x, a, b: torch.addbmm(x, a.transpose(1, 2), b.transpose(1, 2)), x, random((3, 6, 4)), random((3, 5, 6)))
    check(torch.addbmm, x.double(), a.double(), b.double())
    check(torch.addbmm, x.half(), a.half(), b.half(), tolerance=dict(rtol=1e-2, atol=1e-2))
    out = Guarded((4, 5), torch.float32, "transposed")
    with no_fallback():
        torch.addbmm(x.to(DEVICE), a.to(DEVICE), b.to(DEVICE), out=out.tensor)
    assert_same(out.tensor, torch.addbmm(x, a, b))
    out.check()


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_trace(dtype):
    for shape in ((3, 3), (2, 5), (5, 2), (0, 3)):
        check(torch.trace, sample(shape, dtype, 0))
    check(torch.trace, sample((4, 6), dtype, 0).t())


@pytest.mark.parametrize("call, error", [
    (lambda x: torch.trace(x[0]), RuntimeError), (lambda x: torch.trace(x.bool()), NotImplementedError),
    (lambda x: torch.linalg.cross(x, x), RuntimeError), (lambda x: torch.linalg.cross(x.t(), x.t().half()), RuntimeError), (lambda x: torch.linalg.cross(x.t().bool(), x.t().bool()), NotImplementedError),
    (lambda x: torch.addbmm(x, x, x[None]), RuntimeError), (lambda x: torch.addbmm(x, x[None], x[None]), RuntimeError),
    (lambda x: torch.addbmm(x, x[None], x[None].expand(2, 3, 4)), RuntimeError),
    (lambda x: torch.index_reduce(x, 0, I([0], device=x.device), x[:1], "sum"), RuntimeError),
    (lambda x: torch.index_reduce(x, 0, I([0, 1], device=x.device), x[:1], "prod"), RuntimeError),
    (lambda x: torch.put(x, I([0, 1], device=x.device), x[0, :1]), IndexError),
    (lambda x: torch.put(x, I([0], device=x.device), x[0, :1].double()), RuntimeError),
])
def test_errors_are_the_cpus(call, error):
    with pytest.raises(error) as expected:
        call(torch.ones(3, 4))
    with pytest.raises(error) as actual:
        call(torch.ones(3, 4, device=DEVICE))
    assert str(actual.value).splitlines()[0] == str(expected.value).splitlines()[0]
