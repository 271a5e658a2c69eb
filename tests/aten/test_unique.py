"""unique, unique_consecutive, searchsorted, bucketize, repeat_interleave, histograms, bincount."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, assert_same, check, no_fallback, random
from .layouts import Guarded, lay_out, sample

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8, torch.bool]
NUMBERS = DTYPES[:-1]
NAN = float("nan")
I = torch.tensor
ALL = dict(return_inverse=True, return_counts=True)


def few(shape, dtype, seed=0):
    """Few different values, so that runs form."""
    x = sample(shape, dtype, seed, 0 if dtype == torch.uint8 else -3, 4)
    return x.round() if dtype.is_floating_point else x


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_unique(dtype):
    for shape in ((), (1,), (50,), (3, 700), (0, 2), (5000,)):
        x = few(shape, dtype)
        check(lambda x: torch.unique(x, **ALL), x)
        check(lambda x: torch.unique_consecutive(x, **ALL), x)
    check(torch.unique, few((9, 7), dtype).t())
    check(lambda x: torch.unique(x, return_counts=True), lay_out(few((3, 4, 5), dtype), "sliced"))
    check(lambda x: torch.unique(x, sorted=False, return_inverse=True), few((40,), dtype))
    check(lambda x: torch.ops.aten._unique(x, True, True), few((40,), dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_unique_slices(dtype):
    for shape, dim in (((6, 2), 0), ((2, 3, 40), 2), ((2, 70), 1), ((0, 3), 0), ((5,), 0)):
        x = few(shape, dtype)
        check(lambda x: torch.unique(x, dim=dim, **ALL), x)
        check(lambda x: torch.unique_consecutive(x, dim=dim, **ALL), x)
    check(lambda x: torch.unique(x, dim=1), few((3, 4, 5), dtype).transpose(0, 2))


def test_many_slices():
    x = torch.randint(0, 40, (5000, 2), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    check(lambda x: torch.unique(x, dim=0, **ALL), x)


def test_nans_stand_alone():
    x = I([NAN, 1, NAN, NAN, 1])
    check(lambda x: torch.unique(x, **ALL), x)
    check(lambda x: torch.unique_consecutive(x, **ALL), x)
    check(lambda x: torch.unique(x, **ALL), I([0.0, -0.0, 1.0, 0.0]))


@pytest.mark.parametrize("call, error", [
    (lambda x: torch.unique(x[:0], dim=1), RuntimeError), (lambda x: torch.unique(x[:0, :0], dim=1), RuntimeError),
    (lambda x: torch.unique(x, dim=4), IndexError), (lambda x: torch.unique(x[0, 0], dim=0), IndexError),
    (lambda x: torch.searchsorted(x, x[0]), RuntimeError), (lambda x: torch.searchsorted(x[0], x, side="middle"), RuntimeError),
    (lambda x: torch.searchsorted(x[0], x, right=True, side="left"), RuntimeError),
    (lambda x: torch.searchsorted(x[0], x, sorter=x[0]), RuntimeError),
    (lambda x: torch.searchsorted(x[0], x, sorter=torch.full((4,), 9, device=x.device)), RuntimeError),
    (lambda x: torch.bucketize(x, x), RuntimeError),
    (lambda x: torch.searchsorted(x[0], x, out=x.clone()), RuntimeError),
    (lambda x: torch.repeat_interleave(x.long()), RuntimeError),
    (lambda x: torch.repeat_interleave(-x[0].long()), RuntimeError),
    (lambda x: torch.bincount(x.long()), RuntimeError), (lambda x: torch.bincount(-x[0].long()), RuntimeError),
    (lambda x: torch.bincount(x[0].long(), minlength=-1), RuntimeError),
    (lambda x: torch.bincount(x[0].long(), x[0, :2]), RuntimeError), (lambda x: torch.bincount(x[0]), NotImplementedError),
    (lambda x: torch.histc(x, 0), RuntimeError), (lambda x: torch.histc(x, 3, 2, 1), RuntimeError),
    (lambda x: torch.histc(x * NAN), RuntimeError),
    (lambda x: torch.histogram(x.half(), 3), NotImplementedError),
    (lambda x: torch.nonzero_static(x, size=-1), RuntimeError),
    (lambda x: torch.nonzero_static(x, size=2, out=torch.empty(1, device=x.device)), RuntimeError),
])
def test_errors_are_the_cpus(call, error):
    with pytest.raises(error) as expected:
        call(torch.ones(3, 4))
    with pytest.raises(error) as actual:
        call(torch.ones(3, 4, device=DEVICE))
    assert str(actual.value).splitlines()[0] == str(expected.value).splitlines()[0].replace("-nan", "nan")


# ---- searches

@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("right", [False, True])
def test_searchsorted(dtype, right):
    edges, values = few((3, 50), dtype).sort().values, few((3, 9), dtype, 1)
    check(lambda e, v: torch.searchsorted(e, v, right=right), edges, values)
    check(lambda e, v: torch.searchsorted(e[0], v, right=right, out_int32=True), edges, values)
    check(lambda v, e: torch.bucketize(v, e[1], right=right), values.t(), edges)
    unsorted = few((3, 50), dtype, 2)
    check(lambda u, v: torch.searchsorted(u, v, side="right" if right else "left", sorter=torch.argsort(u, stable=True)),
          unsorted, values)


def test_searchsorted_of_all_sorts():
    edges = I([1.0, 2, 2, 3, NAN])
    check(torch.searchsorted, edges, I([NAN, 0.0, 2.0, float("inf"), 9.0]))
    check(lambda e: torch.searchsorted(e, 2), edges)
    check(lambda e: torch.searchsorted(e, 2.5, right=True), I([1, 2, 3]))
    check(lambda e: torch.bucketize(2, e), edges)
    check(torch.searchsorted, I([1, 2, 3]), I([0.5, 2.5]))
    check(torch.searchsorted, torch.empty(0), I([0.5, 2.5]))
    check(torch.searchsorted, edges, torch.empty(0, 3))
    check(torch.searchsorted, edges, torch.tensor(2.0))
    check(torch.searchsorted, lay_out(edges[None].repeat(3, 1), "transposed"), lay_out(random((3, 4)), "sliced"))
    out = Guarded((2, 3), torch.int64, "transposed")
    with no_fallback():
        torch.searchsorted(edges.to(DEVICE), torch.ones(2, 3, device=DEVICE), out=out.tensor)
    assert_same(out.tensor, torch.searchsorted(edges, torch.ones(2, 3)))
    out.check()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32], ids=str)
def test_repeat_interleave(dtype):
    repeats = torch.randint(0, 4, (1000,), generator=torch.Generator().manual_seed(0)).to(dtype)
    check(torch.repeat_interleave, repeats)
    check(torch.repeat_interleave, repeats[::3])
    check(lambda r: torch.repeat_interleave(r, output_size=int(repeats.sum())), repeats)
    check(torch.repeat_interleave, torch.zeros(3, dtype=dtype))
    check(torch.repeat_interleave, torch.empty(0, dtype=dtype))
    check(lambda x, r: torch.repeat_interleave(x, r, dim=1), random((2, 3)), I([2, 0, 3], dtype=dtype))


def test_a_wrong_output_size_is_told():
    result = torch.repeat_interleave(I([1, 2], device=DEVICE), output_size=5)
    with pytest.raises(IndexError):
        result.cpu()


# ---- histograms

@pytest.mark.parametrize("dtype", NUMBERS[:4], ids=str)
def test_histc(dtype):
    x = sample((700,), dtype, 4, -2, 2)
    x[3], x[9] = -2, 2       # edges that every dtype can hold: bins of 0.5 and 0.25
    check(lambda x: torch.histc(x, 8, -1, 3), x)
    check(lambda x: torch.histc(x, 16), x)
    check(lambda x: torch.histc(x.view(7, 100).t(), 4, 0, 1), x)
    if dtype.itemsize >= 4:
        check(lambda x: torch.histc(x, 11, -1, 2), x)
    check(lambda x: torch.histc(x, 3), torch.full((4,), 2.0, dtype=dtype))
    check(lambda x: torch.histc(x, 3), torch.empty(0, dtype=dtype))
    check(lambda x: torch.histc(x, 4, 0, 4), I([0.0, 1, 2, 3, 4, 4, NAN, -1, 5], dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_histc_of_integers(dtype):
    """As CUDA has it; the CPU has it for floats only."""
    x = torch.randint(0, 100, (700,), generator=torch.Generator().manual_seed(0)).to(dtype)
    for arguments in [(7,), (10, 0, 10), (100, 0, 99), (3, 40, 80), (1, 5, 5)]:
        got = torch.histc(x.to(DEVICE), *arguments)
        assert got.dtype == dtype and torch.equal(got.cpu(), torch.histc(x.double(), *arguments).to(dtype)), arguments


def test_histc_by_several_groups():
    x = sample((30000,), torch.float32, 1).half()     # all values at edges of 1/8 or between
    for run in (lambda x: torch.histc(x, 16), lambda x: torch.histc(x, 8, -1, 3)):
        check(run, x)
        assert torch.equal(run(x.to(DEVICE)).cpu(), run(x))
    out = torch.zeros(32, dtype=torch.float16, device=DEVICE)[::2]
    torch.histc(x.to(DEVICE), 16, out=out)
    assert torch.equal(out.cpu(), torch.histc(x, 16))


def test_histc_with_bins_beyond_lds():
    check(lambda x: torch.histc(x, 9000, -3, 3), sample((20000,), torch.float32, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("density", [False, True])
def test_histogram(dtype, density):
    x, weight = sample((30, 20), dtype, 5), sample((30, 20), dtype, 6, 0, 2)
    edges = I([-2.0, -0.5, 0, 1, 2.5], dtype=dtype)
    check(lambda x: torch.histogram(x, 7, density=density), x)
    check(lambda x, w: torch.histogram(x, 7, range=(-1, 2), weight=w, density=density), x, weight)
    check(lambda x, e: torch.histogram(x, e, density=density), x, edges)
    check(lambda x, e, w: torch.histogram(x, e, weight=w, density=density), x, edges, weight)
    points = sample((40, 3), dtype, 7)
    check(lambda x: torch.histogramdd(x.view(5, 4, 2, 3), [2, 3, 4], density=density), points)
    check(lambda x: torch.histogramdd(x, [2, 3, 4], density=density), points)
    check(lambda x, w: torch.histogramdd(x, [2, 3, 2], range=[-1, 1, -2, 2, 0, 3], weight=w, density=density), points, weight.flatten()[:40])
    check(lambda x, *e: torch.histogramdd(x, list(e), density=density), points, edges, edges[:3], edges[1:])


def test_histograms_write_where_told():
    x = sample((100,), torch.float32, 5)
    hist, edges = Guarded((4,), torch.float32, "sliced"), Guarded((5,), torch.float32, "offset")
    with no_fallback():
        torch.histogram(x.to(DEVICE), 4, out=(hist.tensor, edges.tensor))
    expected = torch.histogram(x, 4)
    assert_same(hist.tensor, expected.hist)
    assert_same(edges.tensor, expected.bin_edges)
    hist.check()
    edges.check()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8], ids=str)
def test_bincount(dtype):
    x = torch.randint(0, 50, (3000,), generator=torch.Generator().manual_seed(0)).to(dtype)
    check(torch.bincount, x)
    check(lambda x: torch.bincount(x[::2], minlength=70), x)
    check(torch.bincount, x, random((3000,)), tolerance=dict(rtol=1e-4, atol=1e-4))
    check(torch.bincount, x, random((3000,), torch.float64))
    check(torch.bincount, x, random((3000,), torch.int32))
    check(torch.bincount, x, random((3000,), torch.float16))
    check(lambda x: torch.bincount(x, minlength=3), torch.empty(0, dtype=dtype))


def test_bincount_with_bins_beyond_lds():
    check(torch.bincount, torch.randint(0, 20000, (5000,), generator=torch.Generator().manual_seed(0)))
