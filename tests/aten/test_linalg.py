"""Dense linear algebra. What is unique is compared with the CPU; eigenvectors and singular vectors, whose
signs and bases are free, by what they have to fulfil."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, assert_guards, assert_same, check, guarded, keep_strides, no_fallback, random

DTYPES = [torch.float32, torch.float64]
TOLERANCE = {torch.float32: dict(rtol=1e-4, atol=2e-5), torch.float64: dict(rtol=1e-10, atol=1e-12)}
# One element, one wave, more rows than a wave, what no longer fits LDS, and what is cut into blocks.
SIZES = [1, 2, 5, 40, 70, 150]


def matrices(n, dtype, batch=(), columns=None, seed=0):
    """Random and far from singular: a solution's error then says something about the kernel."""
    x = random((*batch, n, columns or n), dtype, seed)
    x.diagonal(dim1=-2, dim2=-1).add_(2 * n ** 0.5)
    return x


def definite(n, dtype, batch=()):
    x = random((*batch, n, n), dtype)
    return x @ x.mT / n + torch.eye(n, dtype=dtype)


def layouts(x):
    """The same matrices column-major, with gaps, and broadcast over a batch."""
    gaps = torch.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)[..., ::2]
    return [x, x.mT.contiguous().mT, gaps.copy_(x), x.expand(2, *x.shape)]


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


@pytest.mark.parametrize("n", SIZES)
def test_cholesky(n, dtype):
    a = definite(n, dtype, (2,))
    for upper in (False, True):
        check(torch.linalg.cholesky, a, upper=upper, tolerance=TOLERANCE[dtype])
        factor = torch.linalg.cholesky(a, upper=upper)
        check(torch.cholesky_solve, random((2, n, 3), dtype), factor, upper=upper, tolerance=TOLERANCE[dtype])
        check(torch.cholesky_inverse, factor, upper=upper, tolerance=TOLERANCE[dtype])


@pytest.mark.parametrize("shape", [(n, n) for n in SIZES] + [(7, 3), (3, 7), (200, 140), (140, 200)], ids=str)
def test_lu(shape, dtype):
    a = random((2, *shape), dtype)
    tolerance = dict(rtol=1e-3, atol=1e-3) if dtype == torch.float32 else dict(rtol=1e-9, atol=1e-10)
    lu, pivots = check(torch.linalg.lu_factor, a, tolerance=tolerance)
    check(torch.linalg.lu, a, tolerance=tolerance)
    p, lower, upper = torch.lu_unpack(lu, pivots)
    assert_same(p @ lower @ upper, a, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("left", [True, False])
def test_solve(n, left, dtype):
    a = matrices(n, dtype, (2,))
    b = random((2, n, 3) if left else (2, 3, n), dtype, 1)
    check(torch.linalg.solve, a, b, left=left, tolerance=TOLERANCE[dtype])
    lu, pivots = torch.linalg.lu_factor(a)
    for adjoint in (False, True):
        check(torch.linalg.lu_solve, lu, pivots, b, left=left, adjoint=adjoint, tolerance=TOLERANCE[dtype])
    if left:
        check(torch.linalg.solve, a, b[..., 0], tolerance=TOLERANCE[dtype])
        check(torch.linalg.solve, a, b[:1], tolerance=TOLERANCE[dtype])
        check(torch.linalg.inv, a, tolerance=TOLERANCE[dtype])


def test_determinants(dtype):
    for n in (1, 4, 33):
        a = random((3, n, n), dtype)
        check(torch.linalg.det, a, tolerance=dict(rtol=1e-3 if dtype == torch.float32 else 1e-10, atol=1e-4))
        check(torch.linalg.slogdet, a, tolerance=dict(rtol=1e-4 if dtype == torch.float32 else 1e-11, atol=1e-4))
        check(torch.linalg.det, a[0].t(), tolerance=dict(rtol=1e-3 if dtype == torch.float32 else 1e-10, atol=1e-4))
    check(torch.linalg.det, torch.zeros(2, 2, dtype=dtype))
    check(torch.linalg.slogdet, torch.zeros(2, 2, dtype=dtype))


@pytest.mark.parametrize("n, upper, dtype", [
    *((n, upper, dtype) for n in (1, 5, 40) for upper in (True, False) for dtype in DTYPES),
    (600, True, torch.float32), (600, False, torch.float64)], ids=str)
def test_triangular(n, upper, dtype):
    a = matrices(n, dtype, (2,) if n < 600 else ())
    unit = a / (4 * n)
    for left in (True, False):
        b = random((2, n, 3) if left else (2, 3, n), dtype, 1)
        check(torch.linalg.solve_triangular, a, b, upper=upper, left=left, tolerance=TOLERANCE[dtype])
        check(torch.linalg.solve_triangular, unit, b, upper=upper, left=left, unitriangular=True, tolerance=TOLERANCE[dtype])
    b = random((2, n, 2), dtype)
    for transpose in (False, True):
        check(torch.triangular_solve, b, a, upper=upper, transpose=transpose, tolerance=TOLERANCE[dtype])


def test_layouts_and_batches(dtype):
    a, b = definite(6, dtype, (3,)), random((3, 6, 4), dtype)
    limits = TOLERANCE[dtype]
    for x in layouts(a):
        check(torch.linalg.cholesky, x, tolerance=limits)
        check(torch.linalg.inv, x, tolerance=limits)
        check(torch.linalg.qr, x, tolerance=limits)
        check(torch.linalg.svdvals, x, tolerance=limits)
        check(torch.linalg.eigvalsh, x, tolerance=limits)
        with no_fallback():   # the CPU refuses some of these layouts
            assert_same(torch.matrix_exp(keep_strides(x)), torch.matrix_exp(x.contiguous()), **limits)
        for y in layouts(b):
            check(torch.linalg.solve, x, y, tolerance=limits)
            check(torch.linalg.solve_triangular, x, y, upper=True, tolerance=limits)
            check(torch.cholesky_solve, y, x.tril(), tolerance=limits)
    check(torch.linalg.solve, a[:, None], random((1, 2, 6, 2), dtype), tolerance=limits)
    check(torch.linalg.lu_solve, *torch.linalg.lu_factor(a[:, None]), random((2, 6, 2), dtype), tolerance=limits)


@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3, 3)], ids=str)
def test_nothing(shape, dtype):
    a = torch.zeros(shape, dtype=dtype)
    for function in (torch.linalg.cholesky, torch.linalg.inv, torch.linalg.det, torch.linalg.lu_factor, torch.linalg.qr,
                     torch.linalg.svd, torch.linalg.eigh, torch.matrix_exp, torch.linalg.slogdet, torch.linalg.ldl_factor):
        check(function, a)
    check(torch.linalg.svd, torch.zeros(2, 3, 0, dtype=dtype))
    check(torch.linalg.qr, torch.zeros(2, 3, 0, dtype=dtype), "complete")


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (9, 4), (4, 9), (70, 66), (150, 140)], ids=str)
def test_qr(shape, dtype):
    a = random((2, *shape), dtype)
    limits = dict(rtol=1e-4, atol=1e-4) if dtype == torch.float32 else dict(rtol=1e-9, atol=1e-10)
    for mode in ("reduced", "complete", "r"):
        check(torch.linalg.qr, a, mode, tolerance=limits)
    check(torch.geqrf, a, tolerance=limits)
    h, tau = torch.geqrf(a)
    if shape[0] >= shape[1]:
        check(torch.linalg.householder_product, h, tau, tolerance=limits)
    c = random((2, shape[0], 3), dtype, 1)
    for transpose in (False, True):
        check(torch.ormqr, h[..., :tau.shape[-1]], tau, c, transpose=transpose, tolerance=limits)
        check(torch.ormqr, h[..., :tau.shape[-1]], tau, c.mT, left=False, transpose=transpose, tolerance=limits)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_qr_of_extreme_numbers(scale):
    check(torch.linalg.qr, random((5, 3), torch.float64) * scale, tolerance=dict(rtol=1e-9, atol=1e-310))
    check(torch.linalg.qr, random((5, 3)) * scale ** 0.12, tolerance=dict(rtol=1e-3, atol=0))


@pytest.mark.parametrize("n", [1, 2, 7, 40, 70])
def test_eigh(n, dtype):
    a = random((2, n, n), dtype)
    symmetric = (a.tril() + a.tril(-1).mT) * 3
    limit = 3e-6 * n ** 0.5 if dtype == torch.float32 else 2e-14 * n ** 0.5
    scale = symmetric.norm().item()
    for lower, uplo in ((a.tril(), "L"), (a.tril().mT, "U")):
        with no_fallback():
            values, vectors = torch.linalg.eigh(lower.to(DEVICE) * 3, UPLO=uplo)
        values, vectors = values.cpu(), vectors.cpu()
        torch.testing.assert_close(values, torch.linalg.eigvalsh(symmetric), rtol=0, atol=limit * scale)
        torch.testing.assert_close(vectors.mT @ vectors, torch.eye(n, dtype=dtype).expand(2, n, n), rtol=0, atol=limit)
        torch.testing.assert_close(symmetric @ vectors, vectors * values[:, None], rtol=0, atol=limit * scale)
    check(torch.linalg.eigvalsh, symmetric, tolerance=dict(rtol=0, atol=limit * scale))


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 6), (6, 3), (40, 37), (73, 60), (5, 100)], ids=str)
def test_svd(shape, full, dtype):
    a = random((2, *shape), dtype)
    a[1] = a[1, :, :1] @ a[1, :1]   # rank 1: the rest of the basis is free, but orthonormal
    k, limit = min(shape), (3e-6 if dtype == torch.float32 else 2e-14) * max(shape) ** 0.5
    with no_fallback():
        u, s, vh = (x.cpu() for x in torch.linalg.svd(a.to(DEVICE), full_matrices=full))
    assert u.shape == (2, shape[0], shape[0] if full else k) and vh.shape == (2, shape[1] if full else k, shape[1])
    torch.testing.assert_close(s, torch.linalg.svdvals(a), rtol=0, atol=limit * s.max().item())
    for basis in (u.mT @ u, vh @ vh.mT):
        torch.testing.assert_close(basis, torch.eye(basis.shape[-1], dtype=dtype).expand(basis.shape), rtol=0, atol=limit)
    torch.testing.assert_close((u[..., :k] * s[:, None]) @ vh[:, :k], a, rtol=0, atol=limit * s.max().item())
    check(torch.linalg.svdvals, a, tolerance=dict(rtol=0, atol=limit * s.max().item()))


def test_singular_values_of_extreme_matrices(dtype):
    with no_fallback():
        u, s, vh = torch.linalg.svd(torch.zeros(2, 4, 3, dtype=dtype, device=DEVICE))
        assert_same(s, torch.zeros(2, 3, dtype=dtype))
        assert_same(u.mT @ u, torch.eye(4, dtype=dtype).expand(2, 4, 4))
        big = torch.finfo(dtype).max / 8
        assert_same(torch.linalg.svdvals(torch.tensor([[big, 0], [0, 1]], dtype=dtype, device=DEVICE)) / big,
                    torch.tensor([1, 1 / big], dtype=dtype))
        # Small ones keep their digits: each column's length is exact.
        graded = torch.diag(torch.tensor([1, 1e-10, 1e-20], dtype=dtype)) @ torch.eye(3, dtype=dtype)
        assert_same(torch.linalg.svdvals(graded.to(DEVICE)), torch.tensor([1, 1e-10, 1e-20], dtype=dtype), rtol=1e-6, atol=0)


@pytest.mark.parametrize("n", [1, 2, 6, 40, 70])
def test_ldl(n, dtype):
    a = random((2, n, n), dtype) + 1
    a = a + a.mT
    a[0].diagonal().mul_(1e-3)      # makes blocks of two
    limits = dict(rtol=5e-2, atol=5e-3) if dtype == torch.float32 else dict(rtol=1e-6, atol=1e-9)
    _, pivots = check(torch.linalg.ldl_factor, a, tolerance=limits)
    assert n < 6 or (pivots < 0).any()
    b = random((2, n, 3), dtype)
    with no_fallback():
        ld, pivots = torch.linalg.ldl_factor(a.to(DEVICE))
        x = torch.linalg.ldl_solve(ld, pivots, b.to(DEVICE)).cpu()
    torch.testing.assert_close(a @ x, b, rtol=0, atol=(2e-3 if dtype == torch.float32 else 1e-11) * max(1, x.abs().max().item()))


@pytest.mark.parametrize("driver", ["gels", "gelsy", "gelsd", "gelss", None])
@pytest.mark.parametrize("a, b", [((4, 3), (4, 2)), ((3, 4), (3, 2)), ((4, 3), (4,)), ((2, 5, 3), (2, 5)), ((2, 4, 3), (1, 4, 2))],
                         ids=str)
def test_least_squares(a, b, driver, dtype):
    check(torch.linalg.lstsq, random(a, dtype), random(b, dtype, 1), driver=driver, tolerance=dict(rtol=2e-3, atol=1e-4)
          if dtype == torch.float32 else dict(rtol=1e-9, atol=1e-11))


def test_least_squares_of_deficient_rank(dtype):
    limits = dict(rtol=1e-4, atol=1e-5) if dtype == torch.float32 else None
    a, b = torch.ones(4, 3, dtype=dtype), random((4, 2), dtype)
    for driver in ("gelsy", "gelsd"):
        got, want = torch.linalg.lstsq(a.to(DEVICE), b.to(DEVICE), driver=driver), torch.linalg.lstsq(a, b, driver=driver)
        assert_same((got.solution, got.residuals, got.rank), (want.solution, want.residuals, want.rank), **(limits or {}))
    with pytest.raises(torch.linalg.LinAlgError, match="does not have full rank"):
        torch.linalg.lstsq(torch.zeros(4, 3, dtype=dtype, device=DEVICE), b.to(DEVICE), driver="gels")
    with pytest.raises(RuntimeError, match="parameter `driver` should be one of"):
        torch.linalg.lstsq(a.to(DEVICE), b.to(DEVICE), driver="x")
    with pytest.raises(RuntimeError, match=r"input.size\(-2\) should match other.size\(-2\)"):
        torch.linalg.lstsq(a.to(DEVICE), b[:2].to(DEVICE))


def test_matrix_exponential(dtype):
    limits = {torch.float32: dict(rtol=2e-5, atol=2e-5), torch.float64: dict(rtol=1e-11, atol=1e-11)}[dtype]
    for n in (1, 2, 5, 34):
        a = torch.stack([random((n, n), dtype) * scale for scale in (0, 1e-3, 0.3, 5 / n)])   # none to many halvings
        check(torch.matrix_exp, a, tolerance=limits)
        check(torch.matrix_exp, a[3].t(), tolerance=limits)
    check(torch.matrix_exp, torch.full((2, 2), float("nan"), dtype=dtype))


def test_outputs_in_awkward_memory(dtype):
    a, b = definite(5, dtype, (2,)), random((2, 5, 3), dtype)
    x, y = a.to(DEVICE), b.to(DEVICE)
    limits = TOLERANCE[dtype]
    for strides in (None, (40, 7, 1), (60, 1, 11)):
        out, whole, outside = guarded((2, 5, 5), dtype, strides)
        for function in (torch.linalg.inv, torch.linalg.cholesky, torch.cholesky_inverse):
            function(x, out=out)
            assert_same(out, function(a), **limits)
            assert_guards(whole, outside)
        out, whole, outside = guarded((2, 5, 3), dtype, strides)
        torch.linalg.solve(x, y, out=out)
        assert_same(out, torch.linalg.solve(a, b), **limits)
        torch.linalg.solve_triangular(x, y, upper=False, out=out)
        assert_same(out, torch.linalg.solve_triangular(a, b, upper=False), **limits)
        assert_guards(whole, outside)
        values, whole, outside = guarded((2, 5), dtype, strides and (20, 3))
        torch.linalg.svdvals(x, out=values)
        assert_same(values, torch.linalg.svdvals(a), **limits)
        assert_guards(whole, outside)


def test_errors(dtype):
    singular = torch.zeros(3, 3, dtype=dtype)
    indefinite = torch.eye(3, dtype=dtype)
    indefinite[1, 1] = -1
    batch = torch.stack([torch.eye(3, dtype=dtype), singular])
    for function, matrix in ((torch.linalg.inv, singular), (torch.linalg.inv, batch), (torch.linalg.cholesky, indefinite),
                             (torch.linalg.cholesky, batch), (torch.cholesky_inverse, singular),
                             (torch.linalg.eigh, singular * float("nan")), (torch.linalg.svd, singular * float("nan")),
                             (torch.linalg.inv, torch.zeros(2, 3, dtype=dtype)), (torch.linalg.cholesky, singular.half()),
                             (torch.geqrf, singular.half()), (torch.linalg.inv, singular.int())):
        with pytest.raises((RuntimeError, NotImplementedError)) as expected:
            function(matrix)
        with pytest.raises(type(expected.value)) as got:
            function(matrix.to(DEVICE))
        # Where an iteration stops is the algorithm's own affair.
        assert str(got.value).split(" (error code")[0] == str(expected.value).split(" (error code")[0]
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        torch.linalg.solve(singular.to(DEVICE), singular.to(DEVICE))
    info = check(torch.linalg.cholesky_ex, indefinite).info
    assert info.item() == 2
    assert check(torch.linalg.inv_ex, batch)[1].tolist() == [0, 1]


def gradients(function, *inputs):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    result = function(*inputs)
    outputs = [x for x in (result if isinstance(result, (tuple, list)) else [result]) if x.requires_grad]
    cotangents = [random(x.shape, x.dtype, 3).to(x.device) for x in outputs]
    return torch.autograd.grad(outputs, inputs, cotangents)


@pytest.mark.parametrize("name, function, count", [
    ("cholesky", torch.linalg.cholesky, 1), ("inv", torch.linalg.inv, 1), ("det", torch.linalg.det, 1),
    ("slogdet", lambda a: torch.linalg.slogdet(a)[1], 1), ("solve", torch.linalg.solve, 2),
    ("triangular", lambda a, b: torch.linalg.solve_triangular(a, b, upper=True), 2), ("qr", torch.linalg.qr, 1),
    ("lu", torch.linalg.lu, 1), ("svdvals", torch.linalg.svdvals, 1), ("eigvalsh", torch.linalg.eigvalsh, 1),
    ("projector", lambda a: (lambda v: v * v)(torch.linalg.eigh(a)[1]), 1), ("matrix_exp", torch.matrix_exp, 1),
    ("cholesky_solve", lambda a, b: torch.cholesky_solve(b, a), 2), ("pinv", torch.linalg.pinv, 1),
    ("lstsq", lambda a, b: torch.linalg.lstsq(a, b)[0], 2), ("nuclear", lambda a: torch.linalg.matrix_norm(a, "nuc"), 1),
    ("householder", lambda a: torch.linalg.householder_product(a, a.diagonal(dim1=-2, dim2=-1)), 1),
], ids=lambda x: x if isinstance(x, str) else "")
def test_gradients(name, function, count):
    inputs = [definite(5, torch.float64, (2,)), random((2, 5, 3), torch.float64)][:count]
    expected = gradients(function, *inputs)
    with no_fallback():
        actual = gradients(function, *(x.to(DEVICE) for x in inputs))
        assert_same(actual, expected, rtol=1e-8, atol=1e-9)
