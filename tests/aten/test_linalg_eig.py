"""Eigenvalues of general matrices: by what they have to fulfil, and as multisets against the CPU's."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, keep_strides, no_fallback, random
from .test_linalg import layouts


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


def multiset_distance(a, b):
    """How far the worst of a's values is from its nearest of b, and the other way round."""
    distance = (a[..., :, None] - b[..., None, :]).abs()
    return max(distance.min(-1)[0].max().item(), distance.min(-2)[0].max().item())


def general_matrices(n, dtype):
    shift = torch.roll(torch.eye(n, dtype=dtype), 1, 0)     # no shift from its corner ever converges
    return {"random": random((2, n, n), dtype), "rotation": shift, "orthogonal": torch.linalg.qr(random((n, n), dtype))[0],
            "symmetric": random((n, n), dtype) + random((n, n), dtype).mT, "triangular": random((n, n), dtype).triu(),
            "lower": random((n, n), dtype).tril(), "zero": torch.zeros(n, n, dtype=dtype), "rank one": torch.ones(n, n, dtype=dtype),
            "identity": 3 * torch.eye(n, dtype=dtype), "large": random((n, n), dtype) * (1e30 if dtype == torch.float32 else 1e300),
            "small": random((n, n), dtype) * (1e-30 if dtype == torch.float32 else 1e-300)}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9, 33, 70])
def test_eig(n, dtype):
    epsilon = torch.finfo(dtype).eps
    for name, a in general_matrices(n, dtype).items():
        with no_fallback():
            values, vectors = torch.linalg.eig(a.to(DEVICE))
            alone = torch.linalg.eigvals(a.to(DEVICE))
        assert values.dtype == vectors.dtype == alone.dtype == (torch.complex64 if dtype == torch.float32 else torch.complex128)
        values, vectors, alone = values.cpu().to(torch.complex128), vectors.cpu().to(torch.complex128), alone.cpu().to(torch.complex128)
        scale = a.abs().max().double().item() or 1.0
        exact = a.double() / scale
        limit = 30 * n * epsilon
        residual = exact.to(torch.complex128) @ vectors - vectors * (values / scale)[..., None, :]
        assert residual.abs().max().item() < limit, name
        torch.testing.assert_close(vectors.norm(dim=-2), torch.ones(values.shape, dtype=torch.float64), rtol=0, atol=(10 + n) * epsilon)
        assert torch.equal(values, alone), name
        # A real matrix has conjugate pairs, the positive one first; each vector's largest component is real.
        assert (values.imag.sum(-1).abs() <= limit * scale).all()
        real = (vectors.imag.abs() < 10 * epsilon) & (vectors.abs() > (1 - 1e-3) * vectors.abs().amax(-2, keepdim=True))
        assert real.any(-2).all(), name
        if name not in ("rank one", "zero", "identity", "triangular", "lower"):     # those' values are ill-conditioned
            expected = torch.linalg.eigvals(exact)
            assert multiset_distance(values / scale, expected) < 300 * n * epsilon, name
        if name == "triangular":                                                    # nothing to do
            assert multiset_distance(values.real, a.double().diagonal(dim1=-2, dim2=-1)) < 2 * epsilon * scale


def test_eig_of_jordan_blocks(dtype):
    a = 2 * torch.eye(4, dtype=dtype) + torch.diag(torch.ones(3, dtype=dtype), 1)
    with no_fallback():
        values, vectors = torch.linalg.eig(a.to(DEVICE))
    assert (values.cpu() - 2).abs().max().item() == 0      # already in Schur form
    assert torch.isfinite(torch.view_as_real(vectors.cpu())).all()


def test_eig_arguments(dtype):
    a = random((3, 4, 4), dtype)
    want, vectors = torch.linalg.eig(a)
    with no_fallback():
        for x in layouts(a):
            x = keep_strides(x)
            got, basis = torch.linalg.eig(x)
            torch.testing.assert_close(basis.cpu().norm(dim=-2), torch.ones(x.shape[:-1], dtype=dtype))
            assert multiset_distance(got.cpu(), torch.linalg.eigvals(x.cpu())) < (1e-5 if dtype == torch.float32 else 1e-13)
        for shape in ((0, 0), (2, 0, 0), (0, 3, 3)):
            values, basis = torch.linalg.eig(torch.zeros(shape, dtype=dtype, device=DEVICE))
            assert values.shape == shape[:-1] and basis.shape == shape
    out = [torch.empty(1, dtype=x.dtype, device=DEVICE) for x in (want, vectors)]
    with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
        torch.linalg.eig(a.to(DEVICE), out=tuple(out))
    assert [x.shape for x in out] == [want.shape, vectors.shape]
    assert multiset_distance(out[0].cpu(), want) < (1e-5 if dtype == torch.float32 else 1e-13)
    strided = torch.empty(4, 3, dtype=want.dtype, device=DEVICE).t()
    torch.linalg.eigvals(a.to(DEVICE), out=strided)
    assert multiset_distance(strided.cpu(), want) < (1e-5 if dtype == torch.float32 else 1e-13)
    for function, matrix in ((torch.linalg.eig, a * float("nan")), (torch.linalg.eig, a / 0), (torch.linalg.eig, a[0, 0]),
                             (torch.linalg.eigvals, a[:, :2]), (torch.linalg.eig, a.half()), (torch.linalg.eig, a.int())):
        with pytest.raises((RuntimeError, NotImplementedError)) as expected:
            function(matrix)
        with pytest.raises(type(expected.value)) as got:
            function(matrix.to(DEVICE))
        assert str(got.value) == str(expected.value)
    with pytest.raises(RuntimeError, match="torch.linalg.eigvals: input tensor should not contain infs or NaNs."):
        torch.linalg.eigvals(a.to(DEVICE) / 0)      # the CPU's crashes
    with pytest.raises(RuntimeError) as expected:
        torch.linalg.eigvals(a, out=torch.empty(0, dtype=dtype))
    with pytest.raises(RuntimeError) as got:
        torch.linalg.eigvals(a.to(DEVICE), out=torch.empty(0, dtype=dtype, device=DEVICE))
    assert str(got.value) == str(expected.value)
