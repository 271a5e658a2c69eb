"""torch.use_deterministic_algorithms: what several sources go to has one result, that of the CPU's order."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, check, random

I = torch.tensor


@pytest.fixture(autouse=True)
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def places(n, below, seed=0):
    return torch.randint(0, below, (n,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sums_have_the_order_of_the_cpu(dtype):
    # Terms of very different size: another order gives other bits.
    source = random((3000,), dtype) * 10.0 ** torch.arange(3000).remainder(9).to(dtype)
    exact = dict(rtol=0, atol=0)
    x, index = random((7,), dtype, 1), places(3000, 7)
    check(lambda x, i, s: x.index_add(0, i, s), x, index, source, tolerance=exact)
    check(lambda x, i, s: x.scatter_add(0, i, s), x, index, source, tolerance=exact)
    check(lambda x, i, s: x.index_put((i,), s, accumulate=True), x, index, source, tolerance=exact)
    check(lambda x, i, s: x.put(i, s, accumulate=True), x, index, source, tolerance=exact)
    check(lambda x, i, s: x.index_reduce(0, i, s, "prod"), x, places(30, 7), random((30,), dtype, 2), tolerance=exact)
    check(lambda i, s: torch.bincount(i, s, minlength=9), index, source, tolerance=exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.bool], ids=str)
def test_the_last_value_wins(dtype):
    x, index, source = random((50,), dtype), places(3000, 50), random((3000,), dtype, 1)
    check(lambda x, i, s: x.index_put((i,), s), x, index, source)
    check(lambda x, i, s: x.scatter(0, i, s), x, index, source)
    check(lambda x, i, s: x.index_copy(0, i, s), x, index, source)
    rows = places(300, 5)
    check(lambda x, i, s: x.index_copy(1, i, s), random((4, 5), dtype), rows, random((4, 300), dtype, 2))


def test_indices_out_of_bounds_are_told():
    x = torch.ones(4, device=DEVICE)
    result = x.index_add(0, I([0, 9, 1], device=DEVICE), torch.ones(3, device=DEVICE))
    with pytest.raises(IndexError):
        result.cpu()


def test_weighted_histograms_refuse():
    with pytest.raises(RuntimeError, match="deterministic"):
        torch.histogram(torch.ones(3, device=DEVICE), 2, weight=torch.ones(3, device=DEVICE))


def test_embedding_gradient():
    def gradient(weight, index):
        weight = weight.detach().requires_grad_()
        y = torch.nn.functional.embedding(index, weight)
        (y * torch.linspace(-1000, 3, y.numel()).to(y.device).view(y.shape)).sum().backward()
        return weight.grad

    check(gradient, random((5, 3)), places(400, 5), tolerance=dict(rtol=0, atol=0))
