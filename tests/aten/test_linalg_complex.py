"""Linear algebra of complex matrices. What is unique is compared with the CPU; eigenvectors and singular vectors,
whose phases are free, by what they have to fulfil. Sizes: one wave, LDS, beyond it, and what is cut into blocks."""
from __future__ import annotations

import pytest
import torch

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
        factor = torch.linalg.cholesky(a, upper=upper)
        check(torch.linalg.cholesky, a, upper=upper)
        if n < 150:
            check(torch.cholesky_solve, random((2, n, 3), dtype), factor, upper=upper)
            check(torch.cholesky_inverse, factor, upper=upper)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (7, 3), (3, 7), (50, 50), (140, 150)], ids=str)
def test_lu(shape, dtype):
    a = random((2, *shape), dtype)
    lu, pivots = check(torch.linalg.lu_factor, a, limit=1e-3 if dtype == torch.complex64 else 1e-10)
    p, lower, upper = torch.lu_unpack(lu.cpu(), pivots.cpu())
    torch.testing.assert_close(p @ lower @ upper, a, rtol=0, atol=LIMIT[dtype])


@pytest.mark.parametrize("n", [1, 5, 40, 300])
def test_solve(n, dtype):
    a = solvable(n, dtype, (2,) if n < 300 else ())
    lu, pivots = torch.linalg.lu_factor(a)
    for left in (True, False):
        b = random((2, n, 3) if left else (2, 3, n), dtype, 1)
        check(torch.linalg.solve, a, b, left=left)
        for adjoint in (False, True):
            check(torch.linalg.lu_solve, lu, pivots, b, left=left, adjoint=adjoint)
        for upper in (False, True):
            check(torch.linalg.solve_triangular, a, b, upper=upper, left=left)
            check(torch.linalg.solve_triangular, a / (4 * n), b, upper=upper, left=left, unitriangular=True)
    if n == 300:
        return
    b = random((2, n, 3), dtype, 1)
    for transpose in (False, True):
        check(torch.triangular_solve, b, a, transpose=transpose)
    check(torch.linalg.solve, a, b[..., 0])
    check(torch.linalg.inv, a)
    check(torch.linalg.det, a / n ** 0.5)
    check(torch.linalg.slogdet, a)


@pytest.mark.parametrize("view", VIEWS)
def test_views(view, dtype):
    """Above all the lazily conjugated: half of these operators read them as they are."""
    view = VIEWS[view]
    a, b = solvable(6, dtype), random((2, 6, 6), dtype, 1)
    p, positive = definite(6, dtype), torch.linalg.cholesky(definite(6, dtype))
    for f in (lambda a, b: torch.linalg.solve(a, b), lambda a, b: torch.linalg.solve(a, b, left=False),
              lambda a, b: torch.linalg.solve_triangular(a, b, upper=True), lambda a, b: torch.linalg.inv(a),
              lambda a, b: torch.linalg.solve_triangular(a, b, upper=False, left=False), lambda a, b: torch.linalg.det(a),
              lambda a, b: torch.linalg.lu_factor(a), lambda a, b: torch.linalg.qr(a), lambda a, b: torch.linalg.svdvals(a),
              lambda a, b: torch.triangular_solve(b, a, transpose=True), lambda a, b: torch.linalg.lstsq(a, b)[0],
              lambda a, b: torch.matrix_exp(a.contiguous() / 6)):
        check(lambda a, b, f=f: f(view(a), b), a, b)
        check(lambda a, b, f=f: f(a, view(b)), a, b)
    check(lambda a: torch.linalg.cholesky(view(a)), p)
    check(lambda a: torch.linalg.eigvalsh(view(a)), p)
    check(lambda a, b: torch.cholesky_solve(view(b), view(a)), positive, b)
    check(lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), view(b), adjoint=True), a, b)


def test_nothing(dtype):
    for shape in ((0, 0), (2, 0, 0), (0, 3, 3)):
        for function in (torch.linalg.cholesky, torch.linalg.inv, torch.linalg.det, torch.linalg.lu_factor, torch.linalg.qr,
                         torch.linalg.svd, torch.linalg.eigh, torch.matrix_exp, torch.linalg.slogdet, torch.linalg.ldl_factor):
            check(function, torch.zeros(shape, dtype=dtype))


def test_singular_and_indefinite(dtype):
    singular = torch.stack([torch.eye(3, dtype=dtype), torch.full((3, 3), 1j, dtype=dtype)])
    assert check(torch.linalg.inv_ex, singular)[1].tolist() == [0, 2]
    assert check(torch.linalg.lu_factor_ex, singular)[2].tolist() == [0, 2]
    check(torch.linalg.det, singular)
    check(torch.linalg.slogdet, singular)
    indefinite = definite(4, dtype, ())
    indefinite[2, 2] = -1
    assert check(torch.linalg.cholesky_ex, indefinite, limit=float("inf")).info.item() == 3
    a = definite(3, dtype, ())
    a.diagonal().imag.add_(5)           # nobody reads a Hermitian matrix's imaginary diagonal
    check(torch.linalg.cholesky, a)
    check(torch.linalg.eigvalsh, a)
    for function in (torch.linalg.inv, torch.linalg.cholesky):
        with pytest.raises(torch.linalg.LinAlgError) as expected:
            function(singular[1] * 0)
        with pytest.raises(torch.linalg.LinAlgError) as got:
            function(singular[1].to(DEVICE) * 0)
        assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (9, 4), (4, 9), (70, 66), (150, 140)], ids=str)
def test_qr(shape, dtype):
    a = random((2, *shape), dtype)
    for mode in ("reduced", "complete") if shape[0] < 100 else ("reduced",):
        check(torch.linalg.qr, a, mode)
    if shape[0] > 100:
        return
    h, tau = torch.geqrf(a)
    check(torch.geqrf, a)
    if shape[0] >= shape[1]:
        check(torch.linalg.householder_product, h, tau)
    c = random((2, shape[0], 3), dtype, 1)
    for transpose in (False, True):
        check(torch.ormqr, h[..., :tau.shape[-1]], tau, c, transpose=transpose)
        check(torch.ormqr, h[..., :tau.shape[-1]], tau, c.mT, left=False, transpose=transpose)


@pytest.mark.parametrize("driver", ["gels", "gelsy", "gelsd", "gelss"])
@pytest.mark.parametrize("a, b", [((5, 3), (5, 2)), ((3, 5), (3, 2)), ((2, 4, 3), (1, 4, 2))], ids=str)
def test_least_squares(a, b, driver, dtype):
    check(torch.linalg.lstsq, random(a, dtype), random(b, dtype, 1), driver=driver, limit=2e-3 if dtype == torch.complex64 else 1e-10)


@pytest.mark.parametrize("hermitian_", [False, True])
@pytest.mark.parametrize("n", [1, 2, 6, 50])
def test_ldl(n, hermitian_, dtype):
    a = random((2, n, n), dtype)
    a = a + (a.mH if hermitian_ else a.mT)
    a[0].diagonal().mul_(1e-3)      # makes blocks of two
    _, pivots = check(torch.linalg.ldl_factor, a, hermitian=hermitian_, limit=5e-2 if dtype == torch.complex64 else 1e-8)
    assert n < 6 or (pivots < 0).any()
    b = random((2, n, 3), dtype)
    with no_fallback():
        ld, pivots = torch.linalg.ldl_factor(a.to(DEVICE), hermitian=hermitian_)
        x = torch.linalg.ldl_solve(ld, pivots, b.to(DEVICE), hermitian=hermitian_).cpu()
    torch.testing.assert_close(a @ x, b, rtol=0, atol=LIMIT[dtype] * 10 * max(1, x.abs().max().item()))


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
            values, vectors = (x.cpu() for x in torch.linalg.eigh(one_half.to(DEVICE), UPLO=uplo))
        assert not values.is_complex() and (values.diff(dim=-1) >= 0).all()
        limit = LIMIT[dtype] * 0.1
        torch.testing.assert_close(vectors.mH @ vectors, torch.eye(n, dtype=dtype).expand(3, n, n), rtol=0, atol=limit)
        torch.testing.assert_close(a @ vectors, vectors * values[:, None], rtol=0, atol=limit * scale)
    check(torch.linalg.eigvalsh, a)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (3, 6), (6, 3), (40, 37), (53, 50)], ids=str)
def test_svd(shape, full, dtype):
    a = random((2, *shape), dtype)
    a[1] = a[1, :, :1] @ a[1, :1]   # rank 1: the rest of the basis is free, but orthonormal
    k, limit = min(shape), LIMIT[dtype] * 0.1
    with no_fallback():
        u, s, vh = (x.cpu() for x in torch.linalg.svd(a.to(DEVICE), full_matrices=full))
    assert u.shape == (2, shape[0], shape[0] if full else k) and vh.shape == (2, shape[1] if full else k, shape[1])
    assert not s.is_complex()
    torch.testing.assert_close(s, torch.linalg.svdvals(a), rtol=0, atol=limit * s.max().item())
    for basis in (u.mH @ u, vh @ vh.mH):
        torch.testing.assert_close(basis, torch.eye(basis.shape[-1], dtype=dtype).expand(basis.shape), rtol=0, atol=limit)
    torch.testing.assert_close((u[..., :k] * s[:, None]) @ vh[:, :k], a, rtol=0, atol=limit * s.max().item())


@pytest.mark.parametrize("n", [1, 2, 3, 9, 40])
def test_eig(n, dtype):
    big, small = (1e30, 1e-30) if dtype == torch.complex64 else (1e300, 1e-300)
    epsilon = torch.finfo(dtype).eps
    for name, a in {"random": random((2, n, n), dtype), "hermitian": hermitian(n, dtype), "triangular": random((n, n), dtype).triu(),
                    "lower": random((n, n), dtype).tril(), "zero": torch.zeros(n, n, dtype=dtype), "rank one": torch.ones(n, n, dtype=dtype) * 1j,
                    "rotation": torch.roll(torch.eye(n, dtype=dtype), 1, 0) * 1j, "large": random((n, n), dtype) * big,
                    "small": random((n, n), dtype) * small, "real": random((n, n), dtype).real.to(dtype)}.items():
        with no_fallback():
            values, vectors = torch.linalg.eig(a.to(DEVICE))
            alone = torch.linalg.eigvals(a.to(DEVICE))
        assert values.dtype == vectors.dtype == dtype and torch.equal(values.cpu(), alone.cpu())
        scale = a.abs().max().item() or 1.0
        exact, values, vectors = (a / scale).to(torch.complex128), values.cpu().to(torch.complex128) / scale, vectors.cpu().to(torch.complex128)
        residual = exact @ vectors - vectors * values[..., None, :]
        assert residual.abs().max().item() < 30 * n * epsilon, name
        torch.testing.assert_close(vectors.norm(dim=-2), torch.ones(values.shape, dtype=torch.float64), rtol=0, atol=(10 + n) * epsilon)
        real = (vectors.imag == 0) & (vectors.abs() > (1 - 1e-3) * vectors.abs().amax(-2, keepdim=True))
        assert real.any(-2).all(), name
        if name in ("random", "hermitian", "large", "small", "rotation"):     # the others' values are ill-conditioned
            distance = (values[..., :, None] - torch.linalg.eigvals(exact)[..., None, :]).abs()
            assert max(distance.amin(-1).max().item(), distance.amin(-2).max().item()) < 300 * n * epsilon, name


def test_eig_arguments(dtype):
    a = random((3, 4, 4), dtype)
    for shape in ((0, 0), (2, 0, 0), (0, 3, 3)):
        check(torch.linalg.eig, torch.zeros(shape, dtype=dtype))
    with no_fallback():
        out = torch.empty(4, 3, dtype=dtype, device=DEVICE).t()
        torch.linalg.eigvals(a.to(DEVICE).mH, out=out)
        torch.testing.assert_close(out.sum(-1).cpu(), a.mH.diagonal(dim1=-2, dim2=-1).sum(-1), rtol=1e-4, atol=1e-4)
    for x in (a * float("nan"), a[:, :2]):
        with pytest.raises(RuntimeError) as expected:
            torch.linalg.eig(x)
        with pytest.raises(RuntimeError) as got:
            torch.linalg.eig(x.to(DEVICE))
        assert str(got.value) == str(expected.value)


def test_outputs_in_awkward_memory(dtype):
    a, b = definite(5, dtype), random((2, 5, 3), dtype)
    x, y = a.to(DEVICE), b.to(DEVICE)
    for strides in (None, (40, 7, 1), (60, 1, 11)):
        out, whole, outside = guarded((2, 5, 5), dtype, strides)
        for function in (torch.linalg.inv, torch.linalg.cholesky, torch.cholesky_inverse):
            function(x, out=out)
            assert_same(out, function(a))
            assert_guards(whole, outside)
        out, whole, outside = guarded((2, 5, 3), dtype, strides)
        torch.linalg.solve(x, y, out=out)
        assert_same(out, torch.linalg.solve(a, b))
        torch.linalg.solve_triangular(x.conj(), y, upper=False, out=out)
        assert_same(out, torch.linalg.solve_triangular(a.conj(), b, upper=False))
        assert_guards(whole, outside)
        torch.linalg.solve_triangular(x, y, upper=False, out=out.conj())
        assert_same(out.conj(), torch.linalg.solve_triangular(a, b, upper=False))
        assert_guards(whole, outside)


def gradients(function, *inputs):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    result = function(*inputs)
    outputs = [x for x in leaves(result) if x.requires_grad]
    cotangents = [random(x.shape, torch.complex128, 3).to(x.device) for x in outputs]
    return torch.autograd.grad(outputs, inputs, [c if x.is_complex() else c.real for c, x in zip(cotangents, outputs, strict=True)])


GRADIENTS = {
    "cholesky": (torch.linalg.cholesky, 1), "inv": (torch.linalg.inv, 1), "det": (torch.linalg.det, 1),
    "slogdet": (lambda a: torch.linalg.slogdet(a)[1], 1), "solve": (torch.linalg.solve, 2),
    "triangular": (lambda a, b: torch.linalg.solve_triangular(a, b, upper=True), 2), "qr": (torch.linalg.qr, 1),
    "svdvals": (torch.linalg.svdvals, 1), "eigvalsh": (torch.linalg.eigvalsh, 1),
    "projector": (lambda a: torch.linalg.eigh(a)[1].abs(), 1), "matrix_exp": (torch.matrix_exp, 1),
    "cholesky_solve": (lambda a, b: torch.cholesky_solve(b, a), 2), "pinv": (torch.linalg.pinv, 1),
    "lstsq": (lambda a, b: torch.linalg.lstsq(a, b)[0], 2), "eig": (lambda a: torch.linalg.eig(a)[1].abs(), 1),
    "householder": (lambda a: torch.linalg.householder_product(a, a.diagonal(dim1=-2, dim2=-1)), 1),
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
    for function in (lambda a: torch.linalg.eigvals(a).abs().sum(), lambda a: torch.linalg.eig(a)[1].abs().sum()):
        x, y = (t.requires_grad_() for t in (a.clone(), a.to(DEVICE)))
        function(x).backward()
        with no_fallback():
            function(y).backward()
            assert_same(y.grad, x.grad, 1e-8)
