"""Sparse tensors: kept on the device as indices and values; what works on the values runs there, the rest is counted."""
from __future__ import annotations

import copy
import io

import pytest
import torch

from .families import DEVICE, random

pytestmark = [pytest.mark.filterwarnings("ignore:Sparse"), pytest.mark.expects_fallback]

COO, COMPRESSED = ["coo"], ["csr", "csc", "bsr", "bsc"]


def dense(shape=(4, 6)):
    x = random(shape)
    return x.masked_fill(x.abs() < 0.6, 0)


def sparse(layout, shape=(4, 6)):
    x = dense(shape)
    return x.to_sparse() if layout == "coo" else getattr(x, f"to_sparse_{layout}")(*[(2, 2)] * layout.startswith("bs"))


def assert_same(got, want):
    assert got.device.type == "usbgpu" and got.layout == want.layout
    torch.testing.assert_close(got.cpu(), want)


@pytest.fixture(autouse=True)
def silent():
    torch.usbgpu.set_fallback("silent")
    torch.usbgpu.reset_fallbacks()


@pytest.mark.parametrize("layout", COO + COMPRESSED)
def test_round_trip(layout):
    x = sparse(layout)
    assert_same(x.to(DEVICE), x)
    assert_same(copy.deepcopy(x.to(DEVICE)), x)
    assert_same(x.to(DEVICE).clone().to(torch.float64), x.to(torch.float64))
    file = io.BytesIO()
    torch.save(x.to(DEVICE), file)
    file.seek(0)
    assert_same(torch.load(file), x)
    assert not torch.usbgpu.fallbacks()


def test_parts_are_dense_tensors_of_the_device():
    x = sparse("coo").to(DEVICE)
    assert x.indices().device.type == x.values().device.type == "usbgpu"
    assert x.values().untyped_storage().data_ptr() == x._values().untyped_storage().data_ptr()
    y = sparse("csr").to(DEVICE)
    assert y.crow_indices().device.type == y.col_indices().device.type == y.values().device.type == "usbgpu"
    assert (x.sparse_dim(), x.dense_dim(), y.sparse_dim(), y.dense_dim()) == (2, 0, 2, 0)


@pytest.mark.parametrize("name", ["abs", "asin", "atanh", "ceil", "erf", "expm1", "floor", "frac", "log1p", "neg", "round",
                                  "sgn", "sign", "sin", "sqrt", "tanh", "trunc"])
@pytest.mark.parametrize("layout", COO + ["csr"])
def test_functions_of_the_values_run_on_the_device(layout, name):
    x = sparse(layout)
    x = (x * 0.01) if name in ("asin", "atanh", "log1p") else x.abs() if name == "sqrt" else x
    on_device = x.to(DEVICE)
    torch.usbgpu.reset_fallbacks()
    got = getattr(torch, name)(on_device)
    assert layout == "coo" and name == "neg" or not torch.usbgpu.fallbacks()
    assert_same(got, getattr(torch, name)(x))


@pytest.mark.parametrize("layout", COO + ["csr"])
@pytest.mark.parametrize("name, function", [
    ("mm", lambda x: x @ torch.ones(6, 3, device=x.device)), ("add", lambda x: (x + x)), ("scale", lambda x: x * 2.5),
    ("to_dense", lambda x: x.to_dense()), ("sum", lambda x: x.sum()), ("mv", lambda x: x @ torch.ones(6, device=x.device)),
    ("addmm", lambda x: torch.addmm(torch.ones(4, 2, device=x.device), x, torch.ones(6, 2, device=x.device))),
    ("mask", lambda x: torch.ones(4, 6, device=x.device).sparse_mask(x)),
    ("to_csr", lambda x: x.to_sparse_csr()), ("to_coo", lambda x: x.to_sparse_coo()), ("t", lambda x: x.t().to_dense()),
], ids=lambda v: v if isinstance(v, str) else "")
def test_operators(layout, name, function):
    x = sparse(layout)
    assert_same(function(x.to(DEVICE)), function(x))


def test_written_arguments():
    x, y = sparse("coo"), dense()
    target = torch.zeros(4, 6, layout=torch.sparse_coo, device=DEVICE)
    assert target.add_(x.to(DEVICE)) is target and torch.equal(target.to_dense().cpu(), x.to_dense())
    plain = y.to(DEVICE)
    plain.add_(x.to(DEVICE))
    assert torch.equal(plain.cpu(), y + x)
    out = torch.empty(0, device=DEVICE)
    torch.mm(sparse("csr").to(DEVICE), y.t().to(DEVICE).contiguous(), out=out.resize_(4, 4))
    torch.testing.assert_close(out.cpu(), sparse("csr") @ y.t())


def test_dense_to_sparse_and_coalescing():
    x = dense()
    assert_same(x.to(DEVICE).to_sparse(), x.to_sparse())
    twice = torch.sparse_coo_tensor(torch.tensor([[0, 0, 2], [1, 1, 3]]), torch.tensor([1.0, 2.0, 5.0]), (4, 6))
    got = twice.to(DEVICE)
    assert not got.is_coalesced() and got.coalesce().is_coalesced()
    assert_same(got.coalesce(), twice.coalesce())


def test_embedding_with_sparse_gradients():
    """The gradient and its optimiser's step, against the CPU's."""
    weights = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        module = torch.nn.Embedding(10, 4, sparse=True).to(device)
        optimizer = torch.optim.SparseAdam(module.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            module(torch.tensor([1, 2, 2, 7], device=device)).square().sum().backward()
            assert module.weight.grad.is_sparse and module.weight.grad.device.type == torch.device(device).type
            optimizer.step()
        weights.append(module.weight.detach().cpu())
    torch.testing.assert_close(*weights)


def test_an_error_is_the_cpus():
    with pytest.raises(RuntimeError) as on_cpu:
        torch.mm(sparse("coo"), torch.ones(5, 2))
    with pytest.raises(RuntimeError) as on_device:
        torch.mm(sparse("coo").to(DEVICE), torch.ones(5, 2, device=DEVICE))
    assert str(on_device.value).splitlines()[0] == str(on_cpu.value).splitlines()[0]


def test_forbidden():
    x = sparse("coo").to(DEVICE)
    torch.usbgpu.set_fallback("error")
    with pytest.raises(NotImplementedError, match="USBGPU_FALLBACK=error"):
        x.to_dense()
