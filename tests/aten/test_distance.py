"""cdist, pdist, renorm, segment_reduce: values and gradients."""
from __future__ import annotations

import math

import pytest
import torch

from .families import DEVICE, check, no_fallback, random
from .gradients import compare

LOOSE = {torch.float32: dict(rtol=1e-4, atol=2e-5), torch.float64: dict(rtol=1e-9, atol=1e-10),
         torch.float16: dict(rtol=1e-2, atol=1e-2), torch.bfloat16: dict(rtol=6e-2, atol=6e-2)}
DOUBLES = [torch.float32, torch.float64]
NORMS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf]


@pytest.mark.parametrize("dtype", DOUBLES, ids=str)
@pytest.mark.parametrize("p", NORMS)
def test_cdist(p, dtype):
    a, b = random((2, 5, 3), dtype), random((4, 3), dtype, seed=1)
    a[0, 1] = b[2]   # a distance of 0 and differences of 0
    a[1, 1, 0] = b[1, 0]
    compare(lambda a, b: torch.cdist(a, b, p, compute_mode="donot_use_mm_for_euclid_dist"), a, b, **LOOSE[dtype])


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_cdist_of_long_vectors_and_strides(p):
    a, b = random((6, 77)).t()[:, :5].t(), random((7, 77), seed=1)[::2]
    compare(lambda a, b: torch.cdist(a, b, p, compute_mode="donot_use_mm_for_euclid_dist"), a, b, **LOOSE[torch.float32])
    many = random((30, 4))
    compare(lambda a: torch.cdist(a, a + 1, p), many, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("p, dtype", [*((p, torch.float32) for p in (0.0, 1.0, 1.5, 2.0, math.inf)), (2.0, torch.float64)], ids=str)
def test_cdist_by_tiles(p, dtype):
    a, b = random((2, 1, 67, 19), dtype), random((3, 70, 19), dtype, seed=1)
    a[1, 0, 66] = b[2, 69]   # a distance of 0 in the corner of a batch
    for mode in ("donot_use_mm_for_euclid_dist", "use_mm_for_euclid_dist"):
        got = torch.cdist(a.to("usbgpu"), b.to("usbgpu"), p, compute_mode=mode)
        assert got.shape == (2, 3, 67, 70)
        torch.testing.assert_close(got.cpu(), torch.cdist(a, b, p, compute_mode="donot_use_mm_for_euclid_dist"), **LOOSE[dtype])
        assert got[1, 2, 66, 69] == 0


def test_euclidean_distances_of_many_rows():
    a, b = random((40, 21)), random((30, 42), seed=1)[:, ::2]
    compare(torch.cdist, a, b, rtol=1e-3, atol=1e-3)
    check(lambda a, b: torch.cdist(a, b), a.half(), b.half(), tolerance=dict(rtol=2e-2, atol=2e-2))     # by the matrix product
    check(lambda a, b: torch.cdist(a, b), a[:, :0], b[:, :0])
    check(lambda a, b: torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist"), a[:0], b)


@pytest.mark.parametrize("dtype", DOUBLES, ids=str)
@pytest.mark.parametrize("p", NORMS)
def test_pdist(p, dtype):
    x = random((9, 4), dtype)
    x[3] = x[5]
    compare(lambda x: torch.pdist(x, p), x, **LOOSE[dtype])
    compare(lambda x: torch.pdist(x, p), random((3, 40), dtype), **LOOSE[dtype])


def test_pdist_numbers_its_pairs_right():
    x = torch.arange(300.0)[:, None] ** 2   # every pair has its own distance
    check(lambda x: torch.pdist(x, 1.0), x)


def test_distances_of_nothing():
    for a, b in [((0, 3), (4, 3)), ((4, 3), (0, 3)), ((4, 0), (3, 0))]:
        check(torch.cdist, torch.zeros(a), torch.zeros(b))
    check(torch.pdist, torch.zeros(1, 3))
    check(torch.pdist, torch.zeros(3, 0))


@pytest.mark.parametrize("dtype", list(LOOSE), ids=str)
@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_renorm(p, dtype):
    x = random((4, 5, 3), dtype)
    for dim in range(3):
        compare(lambda x: torch.renorm(x, p, dim, 2.0), x, **LOOSE[dtype])
    check(lambda x: torch.renorm(x, p, 0, 2.0), x.transpose(0, 2), tolerance=LOOSE[dtype])
    ours, theirs = x.clone().to(DEVICE), x.clone()
    with no_fallback():
        ours[:, ::2].renorm_(p, 1, 1.0)
    theirs[:, ::2].renorm_(p, 1, 1.0)
    torch.testing.assert_close(ours.cpu(), theirs, **LOOSE[dtype])


REDUCTIONS = ["sum", "mean", "max", "min", "prod"]


@pytest.mark.parametrize("dtype", list(LOOSE), ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("initial", [None, 0.5])
def test_segment_reduce(initial, reduction, dtype):
    data, lengths = random((9, 3), dtype), torch.tensor([2, 0, 4, 3])
    data[1, 0] = data[0, 0]   # a tie
    data[2, 1] = 0
    if initial is None:
        lengths = torch.tensor([2, 4, 3])
    compare(lambda d: torch.segment_reduce(d, reduction, lengths=lengths.to(d.device), initial=initial), data, **LOOSE[dtype])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    compare(lambda d: torch.segment_reduce(d, reduction, offsets=offsets.to(d.device), initial=initial), data, **LOOSE[dtype])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_segment_reduce_along_an_inner_axis(reduction):
    data = random((6, 2, 4)).transpose(0, 2)[..., ::2]   # [4, 2, 3]
    lengths = torch.tensor([[[1, 2], [3, 0]], [[2, 1], [0, 3]], [[1, 2], [1, 2]], [[3, 0], [2, 1]]], dtype=torch.int32)
    compare(lambda d: torch.segment_reduce(d, reduction, lengths=lengths.to(d.device), axis=2, initial=1.0), data,
            **LOOSE[torch.float32])


def test_segment_reduce_without_elements_and_with_nan():
    data = torch.tensor([1.0, math.nan, 2.0, 3.0])
    for reduction in REDUCTIONS:
        check(lambda d, n: torch.segment_reduce(d, reduction, lengths=n), data, torch.tensor([2, 0, 2]))
    check(lambda d, n: torch.segment_reduce(d, "max", lengths=n), torch.zeros(0), torch.tensor([0, 0]))


def test_errors():
    x = random((4, 3)).to(DEVICE)
    with pytest.raises(RuntimeError, match="non-negative p"):
        torch.cdist(x, x, -1.0)
    with pytest.raises(RuntimeError, match="same number of columns"):
        torch.cdist(x, x[:, :2])
    with pytest.raises(NotImplementedError, match="not implemented for 'Half'"):
        torch.cdist(x.half(), x.half())
    with pytest.raises(RuntimeError, match="scalar type"):
        torch.cdist(x, x.double())
    with pytest.raises(RuntimeError, match="sum to"):
        torch.segment_reduce(x, "sum", lengths=torch.tensor([1, 2], device=DEVICE))
