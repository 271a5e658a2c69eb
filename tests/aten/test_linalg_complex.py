"""Linear algebra of complex matrices. What is unique is compared with the CPU; eigenvectors and singular vectors,
whose phases are free, by what they have to fulfil. Sizes: one wave, LDS, beyond it, and what is cut into blocks."""
from __future__ import annotations

import pytest
import torch
from torch import linalg

from .families import DEVICE, assert_guards, guarded, no_fallback

# What rounding may do to the results of well-conditioned matrices of some dozens of rows, relative to the largest.
LIMIT = {torch.complex64: 2e-4, torch.complex128: 1e-11}


@pytest.fixture(params=[torch.complex64, torch.complex128], ids=str)
def dtype(request):
    return request.param


def random(shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128).to(dtype)


def solvable(n, dtype, batch=(2,)):
    x = random((*batch, n, n), dtype)
    x.diagonal(dim1=-2, dim2=-1).add_((2 + 1j) * n ** 0.5)
    return x


def hermitian(n, dtype, batch=(2,)):
    x = random((*batch, n, n), dtype)
    return x + x.mH


def definite(n, dtype, batch=(2,)):
    x = random((*batch, n, n), dtype)
    return x @ x.mH / n + torch.eye(n, dtype=dtype)


def leaves(result):
    return [result] if isinstance(result, torch.Tensor) else list(result)


def assert_same(actual, expected, limit=None):
    actual, expected = leaves(actual), leaves(expected)
    assert len(actual) == len(expected)
    for got, want in zip(actual, expected, strict=True):
        assert got.device.type == DEVICE and got.dtype == want.dtype and got.shape == want.shape
        exact = not (want.is_complex() or want.is_floating_point())
        wide = want.dtype in (torch.complex128, torch.float64)
        largest = want.abs().max().item() if want.numel() and not exact else 1.0
        room = 0 if exact else (limit or LIMIT[torch.complex128 if wide else torch.complex64]) * max(1.0, largest)
        torch.testing.assert_close(got.cpu().resolve_conj(), want.resolve_conj(), rtol=0, atol=room, equal_nan=True)


def close(actual, expected, atol):
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def check(function, *args, limit=None, **kwargs):
    """function(*args) natively on the device gives what it gives on the CPU."""
    expected = function(*args, **kwargs)
    with no_fallback():
        actual = function(*(x.to(DEVICE) if isinstance(x, torch.Tensor) else x for x in args), **kwargs)
        assert_same(actual, expected, limit)
    return actual


VIEWS = {
    "plain": lambda x: x, "transposed": lambda x: x.mT, "conjugated": lambda x: x.conj(), "adjoint": lambda x: x.mH,
    "sliced": lambda x: torch.cat([x, x], -1)[..., ::2] if x.shape[-1] == 1 else x.repeat_interleave(2, -1)[..., ::2],
    "broadcast": lambda x: x[:1].expand(2, -1, -1), "of a negative": lambda x: (-x).conj() * -1,
}


@pytest.mark.parametrize("n", [1, 5, 40, 50, 150])
def test_cholesky(n, dtype):
    a = definite(n, dtype)
    for upper in (False, True):
        factor = linalg.cholesky(a, upper=upper)
        check(linalg.cholesky, a, upper=upper)
        if n < 150:
            check(torch.cholesky_solve, random((2, n, 3), dtype), factor, upper=upper)
            check(torch.cholesky_inverse, factor, upper=upper)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (7, 3), (3, 7), (50, 50), (140, 150)], ids=str)
def test_lu(shape, dtype):
    a = random((2, *shape), dtype)
    lu, pivots = check(linalg.lu_factor, a, limit=1e-3 if dtype == torch.complex64 else 1e-10)
    p, lower, upper = torch.lu_unpack(lu.cpu(), pivots.cpu())
    close(p @ lower @ upper, a, LIMIT[dtype])


@pytest.mark.parametrize("n", [1, 5, 40, 300])
def test_solve(n, dtype):
    a = solvable(n, dtype, (2,) if n < 300 else ())
    lu, pivots = linalg.lu_factor(a)
    for left in (True, False):
        b = random((2, n, 3) if left else (2, 3, n), dtype, 1)
        check(linalg.solve, a, b, left=left)
        for adjoint in (False, True):
            check(linalg.lu_solve, lu, pivots, b, left=left, adjoint=adjoint)
        for upper in (False, True):
            check(linalg.solve_triangular, a, b, upper=upper, left=left)
            check(linalg.solve_triangular, a / (4 * n), b, upper=upper, left=left, unitriangular=True)
    if n == 300:
        return
    b = random((2, n, 3), dtype, 1)
    for transpose in (False, True):
        check(torch.triangular_solve, b, a, transpose=transpose)
    check(linalg.solve, a, b[..., 0])
    check(linalg.inv, a)
    check(linalg.det, a / n ** 0.5)
    check(linalg.slogdet, a)


@pytest.mark.parametrize("view", VIEWS)
def test_views(view, dtype):
    """Above all the lazily conjugated: half of these operators read them as they are."""
    view = VIEWS[view]
    a, b = solvable(6, dtype), random((2, 6, 6), dtype, 1)
    p, positive = definite(6, dtype), linalg.cholesky(definite(6, dtype))
    for f in (lambda a, b: linalg.solve(a, b), lambda a, b: linalg.solve(a, b, left=False),
              lambda a, b: linalg.solve_triangular(a, b, upper=True), lambda a, b: linalg.inv(a),
              lambda a, b: linalg.solve_triangular(a, b, upper=False, left=False), lambda a, b: linalg.det(a),
              lambda a, b: linalg.lu_factor(a), lambda a, b: linalg.qr(a), lambda a, b: linalg.svdvals(a),
              lambda a, b: torch.triangular_solve(b, a, transpose=True), lambda a, b: linalg.lstsq(a, b)[0],
              lambda a, b: torch.matrix_exp(a.contiguous() / 6)):
        check(lambda a, b, f=f: f(view(a), b), a, b)
        check(lambda a, b, f=f: f(a, view(b)), a, b)
    check(lambda a: linalg.cholesky(view(a)), p)
    check(lambda a: linalg.eigvalsh(view(a)), p)
    check(lambda a, b: torch.cholesky_solve(view(b), view(a)), positive, b)
    check(lambda a, b: linalg.lu_solve(*linalg.lu_factor(a), view(b), adjoint=True), a, b)


def test_nothing(dtype):
    for shape in ((0, 0), (2, 0, 0), (0, 3, 3)):
        for function in (linalg.cholesky, linalg.inv, linalg.det, linalg.lu_factor, linalg.qr,
                         linalg.svd, linalg.eigh, torch.matrix_exp, linalg.slogdet, linalg.ldl_factor):
            check(function, torch.zeros(shape, dtype=dtype))


def test_singular_and_indefinite(dtype):
    singular = torch.stack([torch.eye(3, dtype=dtype), torch.full((3, 3), 1j, dtype=dtype)])
    assert check(linalg.inv_ex, singular)[1].tolist() == [0, 2]
    assert check(linalg.lu_factor_ex, singular)[2].tolist() == [0, 2]
    check(linalg.det, singular)
    check(linalg.slogdet, singular)
    indefinite = definite(4, dtype, ())
    indefinite[2, 2] = -1
    assert check(linalg.cholesky_ex, indefinite, limit=float("inf")).info.item() == 3
    a = definite(3, dtype, ())
    a.diagonal().imag.add_(5)           # nobody reads a Hermitian matrix's imaginary diagonal
    check(linalg.cholesky, a)
    check(linalg.eigvalsh, a)
    for function in (linalg.inv, linalg.cholesky):
        with pytest.raises(linalg.LinAlgError) as expected:
            function(singular[1] * 0)
        with pytest.raises(linalg.LinAlgError) as got:
            function(singular[1].to(DEVICE) * 0)
        assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (9, 4), (4, 9), (70, 66), (150, 140)], ids=str)
def test_qr(shape, dtype):
    a = random((2, *shape), dtype)
    for mode in ("reduced", "complete") if shape[0] < 100 else ("reduced",):
        check(linalg.qr, a, mode)
    if shape[0] > 100:
        return
    h, tau = torch.geqrf(a)
    check(torch.geqrf, a)
    if shape[0] >= shape[1]:
        check(linalg.householder_product, h, tau)
    c = random((2, shape[0], 3), dtype, 1)
    for transpose in (False, True):
        check(torch.ormqr, h[..., :tau.shape[-1]], tau, c, transpose=transpose)
        check(torch.ormqr, h[..., :tau.shape[-1]], tau, c.mT, left=False, transpose=transpose)


def test_extreme_numbers(dtype):
    part = torch.finfo(dtype).max / 1.7        # |re| + |im| overflows, the modulus does not
    z, size = complex(part, part), part * 2 ** 0.5
    diagonal = torch.tensor([[z, 0], [0, 1j]], dtype=dtype)
    swap = torch.tensor([[0, z], [z.conjugate(), 0]], dtype=dtype)
    rank_one = torch.full((9, 9), 0.1j, dtype=dtype)     # what is left of it after one step is noise, and of that ...
    with no_fallback():
        assert linalg.svdvals(diagonal.to(DEVICE)).tolist() == pytest.approx([size, 1], rel=1e-6, abs=size * 1e-300)
        assert linalg.eigvalsh(swap.to(DEVICE)).tolist() == pytest.approx([-size, size], rel=1e-6)
        values = linalg.eigvals(diagonal.to(DEVICE)).cpu()
        assert sorted(values.tolist(), key=abs) == pytest.approx([1j, z], rel=1e-6)
        assert linalg.qr(diagonal.to(DEVICE))[1][0, 0].abs().item() == pytest.approx(size, rel=1e-6)
        q, r = linalg.qr(rank_one.to(DEVICE))
        assert_same(q @ r, rank_one)
        assert_same(q.mH @ q, torch.eye(9, dtype=dtype))
        noisy = rank_one.to(DEVICE) * torch.linspace(0.1, 3, 9, device=DEVICE)[:, None]
        p, lower, upper = torch.lu_unpack(*(x.cpu() for x in linalg.lu_factor_ex(noisy)[:2]))
    close(p @ lower @ upper, noisy.cpu(), LIMIT[dtype])


@pytest.mark.parametrize("driver", ["gels", "gelsy", "gelsd", "gelss"])
@pytest.mark.parametrize("a, b", [((5, 3), (5, 2)), ((3, 5), (3, 2)), ((2, 4, 3), (1, 4, 2))], ids=str)
def test_least_squares(a, b, driver, dtype):
    check(linalg.lstsq, random(a, dtype), random(b, dtype, 1), driver=driver, limit=10 * LIMIT[dtype])


@pytest.mark.parametrize("hermitian_", [False, True])
@pytest.mark.parametrize("n", [1, 2, 6, 50])
def test_ldl(n, hermitian_, dtype):
    a = random((2, n, n), dtype)
    a = a + (a.mH if hermitian_ else a.mT)
    a[0].diagonal().mul_(1e-3)      # makes blocks of two
    limit = 5e-2 if dtype == torch.complex64 else 1e-8
    _, pivots = check(linalg.ldl_factor, a, hermitian=hermitian_, limit=limit)
    assert n < 6 or (pivots < 0).any()
    b = random((2, n, 3), dtype)
    with no_fallback():
        ld, pivots = linalg.ldl_factor(a.to(DEVICE), hermitian=hermitian_)
        x = linalg.ldl_solve(ld, pivots, b.to(DEVICE), hermitian=hermitian_).cpu()
    close(a @ x, b, LIMIT[dtype] * 10 * max(1, x.abs().max().item()))


def test_matrix_exponential(dtype):
    for n in (1, 2, 5, 34):
        check(torch.matrix_exp, torch.stack([random((n, n), dtype) * scale for scale in (0, 1e-3, 0.3, 5 / n)]))


@pytest.mark.parametrize("n", [1, 2, 5, 40, 53])
def test_eigh(n, dtype):
    a = torch.stack([*hermitian(n, dtype), torch.eye(n, dtype=dtype) * 3])
    scale = a.abs().max().item() * n
    for uplo in "LU":
        one_half = a.tril() if uplo == "L" else a.triu()
        with no_fallback():
            values, vectors = (x.cpu() for x in linalg.eigh(one_half.to(DEVICE), UPLO=uplo))
        assert not values.is_complex() and (values.diff(dim=-1) >= 0).all()
        limit = LIMIT[dtype] * 0.1
        close(vectors.mH @ vectors, torch.eye(n, dtype=dtype).expand(3, n, n), limit)
        close(a @ vectors, vectors * values[:, None], limit * scale)
    check(linalg.eigvalsh, a)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (3, 6), (6, 3), (40, 37), (53, 50)], ids=str)
def test_svd(shape, full, dtype):
    a = random((2, *shape), dtype)
    a[1] = a[1, :, :1] @ a[1, :1]   # rank 1: the rest of the basis is free, but orthonormal
    k, limit = min(shape), LIMIT[dtype] * 0.1
    with no_fallback():
        u, s, vh = (x.cpu() for x in linalg.svd(a.to(DEVICE), full_matrices=full))
    assert u.shape == (2, shape[0], shape[0] if full else k) and vh.shape == (2, shape[1] if full else k, shape[1])
    assert not s.is_complex()
    close(s, linalg.svdvals(a), limit * s.max().item())
    for basis in (u.mH @ u, vh @ vh.mH):
        close(basis, torch.eye(basis.shape[-1], dtype=dtype).expand(basis.shape), limit)
    close((u[..., :k] * s[:, None]) @ vh[:, :k], a, limit * s.max().item())


def general_matrices(n, dtype):
    big, small = (1e30, 1e-30) if dtype == torch.complex64 else (1e300, 1e-300)
    some = random((n, n), dtype)
    return {
        "random": random((2, n, n), dtype), "hermitian": hermitian(n, dtype), "triangular": some.triu(),
        "lower": some.tril(),
        "zero": some * 0, "rank one": torch.full((n, n), 1j, dtype=dtype), "real": some.real.to(dtype),
        "rotation": torch.roll(torch.eye(n, dtype=dtype), 1, 0) * 1j, "large": some * big, "small": some * small,
    }


@pytest.mark.parametrize("n", [1, 2, 3, 9, 40])
def test_eig(n, dtype):
    epsilon = torch.finfo(dtype).eps
    for name, a in general_matrices(n, dtype).items():
        with no_fallback():
            values, vectors = linalg.eig(a.to(DEVICE))
            alone = linalg.eigvals(a.to(DEVICE))
        assert values.dtype == vectors.dtype == dtype and torch.equal(values.cpu(), alone.cpu())
        scale = a.abs().max().item() or 1.0
        exact, values, vectors = (x.cpu().to(torch.complex128) for x in (a / scale, values, vectors))
        values = values / scale
        residual = exact @ vectors - vectors * values[..., None, :]
        assert residual.abs().max().item() < 30 * n * epsilon, name
        close(vectors.norm(dim=-2), torch.ones(values.shape, dtype=torch.float64), (10 + n) * epsilon)
        real = (vectors.imag == 0) & (vectors.abs() > (1 - 1e-3) * vectors.abs().amax(-2, keepdim=True))
        assert real.any(-2).all(), name
        if name in ("random", "hermitian", "large", "small", "rotation"):     # the others' values are ill-conditioned
            distance = (values[..., :, None] - linalg.eigvals(exact)[..., None, :]).abs()
            assert max(distance.amin(-1).max().item(), distance.amin(-2).max().item()) < 300 * n * epsilon, name


def test_eig_arguments(dtype):
    a = random((3, 4, 4), dtype)
    for shape in ((0, 0), (2, 0, 0), (0, 3, 3)):
        check(linalg.eig, torch.zeros(shape, dtype=dtype))
    with no_fallback():
        out = torch.empty(4, 3, dtype=dtype, device=DEVICE).t()
        linalg.eigvals(a.to(DEVICE).mH, out=out)
        close(out.sum(-1).cpu(), a.mH.diagonal(dim1=-2, dim2=-1).sum(-1), 1e-4)
    for x in (a * float("nan"), a[:, :2]):
        with pytest.raises(RuntimeError) as expected:
            linalg.eig(x)
        with pytest.raises(RuntimeError) as got:
            linalg.eig(x.to(DEVICE))
        assert str(got.value) == str(expected.value)


def test_outputs_in_awkward_memory(dtype):
    a, b = definite(5, dtype), random((2, 5, 3), dtype)
    x, y = a.to(DEVICE), b.to(DEVICE)
    for strides in (None, (40, 7, 1), (60, 1, 11)):
        out, whole, outside = guarded((2, 5, 5), dtype, strides)
        for function in (linalg.inv, linalg.cholesky, torch.cholesky_inverse):
            function(x, out=out)
            assert_same(out, function(a))
            assert_guards(whole, outside)
        out, whole, outside = guarded((2, 5, 3), dtype, strides)
        linalg.solve(x, y, out=out)
        assert_same(out, linalg.solve(a, b))
        linalg.solve_triangular(x.conj(), y, upper=False, out=out)
        assert_same(out, linalg.solve_triangular(a.conj(), b, upper=False))
        assert_guards(whole, outside)
        linalg.solve_triangular(x, y, upper=False, out=out.conj())
        assert_same(out.conj(), linalg.solve_triangular(a, b, upper=False))
        assert_guards(whole, outside)


def gradients(function, *inputs):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    result = function(*inputs)
    outputs = [x for x in leaves(result) if x.requires_grad]
    cotangents = [random(x.shape, torch.complex128, 3).to(x.device) for x in outputs]
    cotangents = [c if x.is_complex() else c.real for c, x in zip(cotangents, outputs, strict=True)]
    return torch.autograd.grad(outputs, inputs, cotangents)


GRADIENTS = {
    "cholesky": (linalg.cholesky, 1), "inv": (linalg.inv, 1), "det": (linalg.det, 1),
    "slogdet": (lambda a: linalg.slogdet(a)[1], 1), "solve": (linalg.solve, 2),
    "triangular": (lambda a, b: linalg.solve_triangular(a, b, upper=True), 2), "qr": (linalg.qr, 1),
    "svdvals": (linalg.svdvals, 1), "eigvalsh": (linalg.eigvalsh, 1),
    "projector": (lambda a: linalg.eigh(a)[1].abs(), 1), "matrix_exp": (torch.matrix_exp, 1),
    "cholesky_solve": (lambda a, b: torch.cholesky_solve(b, a), 2), "pinv": (linalg.pinv, 1),
    "lstsq": (lambda a, b: linalg.lstsq(a, b)[0], 2), "eig": (lambda a: linalg.eig(a)[1].abs(), 1),
    "householder": (lambda a: linalg.householder_product(a, a.diagonal(dim1=-2, dim2=-1)), 1),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    function, count = GRADIENTS[name]
    inputs = [definite(5, torch.complex128), random((2, 5, 3), torch.complex128)][:count]
    expected = gradients(function, *inputs)
    with no_fallback():
        assert_same(gradients(function, *(x.to(DEVICE) for x in inputs)), expected, 1e-8)


def test_gradients_of_real_matrices_that_pass_complex_ones():
    a = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for function in (lambda a: linalg.eigvals(a).abs().sum(), lambda a: linalg.eig(a)[1].abs().sum()):
        x, y = (t.requires_grad_() for t in (a.clone(), a.to(DEVICE)))
        function(x).backward()
        with no_fallback():
            function(y).backward()
            assert_same(y.grad, x.grad, 1e-8)
