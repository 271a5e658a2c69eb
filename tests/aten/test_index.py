"""Gathers, scatters, masks, cat, roll, flip: against the CPU, with strides, and index errors."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, assert_guards, assert_same, check, guarded, no_fallback, random

DTYPES = [torch.float32, torch.float64, torch.float16, torch.int64, torch.int8, torch.bool]
I = torch.tensor


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("pick", [
    lambda x: x[I([2, 0, -1], device=x.device)],
    lambda x: x[:, I([[1, 2], [0, -3]], device=x.device)],
    lambda x: x[I([0, 1], device=x.device), I([3, 2], device=x.device)],
    lambda x: x[I([[0], [1]], device=x.device), :, I([[3, 2]], device=x.device)],
    lambda x: x[x[:, 0, 0] != 0],
    lambda x: x[x != 0],
    lambda x: x[I([], dtype=torch.int64, device=x.device)],
    lambda x: x[..., I([0, 0, 1], dtype=torch.int32, device=x.device)],
], ids=["rows", "middle", "pairs", "apart", "mask rows", "mask", "none", "int32"])
def test_get(pick, dtype):
    check(pick, random((4, 5, 6), dtype))
    check(pick, random((6, 5, 4), dtype).permute(2, 1, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.int8], ids=str)
@pytest.mark.parametrize("accumulate", [False, True])
def test_put(dtype, accumulate):
    def run(x, rows, columns, values):
        x = x.clone()
        x.index_put_((rows, columns), values, accumulate=accumulate)
        return x

    rows, columns = I([0, 2, 3, 0]), I([1, 1, 4, 1 if accumulate else 2])
    check(run, random((4, 5, 3), dtype), rows, columns, random((4, 3), dtype, 1))
    put = torch.ops.aten.index_put_
    check(lambda x, r, v: put(x.clone(), [None, r], v, accumulate), random((4, 5, 3), dtype), I([1, 3]),
          random((2, 3), dtype, 1))
    check(lambda x, r, c, v: put(x.clone(), [r, None, c], v, accumulate), random((4, 5, 3), dtype),
          I([1, 3]), I([0, 2]), random((5,), dtype, 1))


def test_masked_assignment_and_gradient():
    def run(x, m):
        x = x.clone().requires_grad_()
        y = x * 2
        y[m] = 5
        (y[:, I([0, 0, 2], device=x.device)] ** 2).sum().backward()
        return y.detach(), x.grad

    check(run, random((6, 4)), random((6, 4), torch.bool, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.float64], ids=str)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gather_and_scatter(dtype, dim):
    x, src = random((4, 5, 6), dtype), random((3, 4, 5), dtype, 1)
    index = torch.randint(0, 4, (3, 4, 5), generator=torch.Generator().manual_seed(2))
    check(torch.gather, x, dim, index)
    check(torch.gather, x.transpose(0, 2), dim, index.transpose(0, 2)[:, :, :2])
    unique = torch.stack([torch.randperm(4)[:3] for _ in range(20)], 0).reshape(4, 5, 3).movedim(2, dim)
    source = random(unique.shape, dtype, 3)
    y = random([s + 1 for s in unique.shape], dtype, 4)
    check(torch.scatter, y, dim, unique, source)
    check(torch.scatter, y, dim, unique, 3)
    check(torch.scatter_add, x, dim, index, src)
    for reduce in ("sum", "prod", "amax", "amin", "mean") if dtype != torch.int16 else ("sum", "amax", "amin"):
        check(lambda x, i, s, r=reduce: x.scatter_reduce(dim, i, s, r), x, index, src, tolerance=dict(rtol=1e-3, atol=1e-4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8], ids=str)
def test_index_select_add_fill_copy_take(dtype):
    x = random((4, 5, 6), dtype)
    index = I([3, 0, 0, 2])
    check(torch.index_select, x, 1, index)
    check(torch.index_select, x.permute(2, 0, 1), 0, index.int())
    check(torch.index_select, random((), dtype), 0, I([0]))
    check(torch.index_add, x, 1, index, random((4, 4, 6), dtype, 1), alpha=2)
    check(torch.index_fill, x, 2, index, 7)
    check(torch.index_copy, x, 0, I([3, 1]), random((2, 5, 6), dtype, 1))
    check(torch.take, x.transpose(0, 1), I([[0, 119], [-1, 7]]))


def test_embedding_and_gradient():
    def run(weight, index):
        weight = weight.detach().requires_grad_()
        y = torch.nn.functional.embedding(index, weight, padding_idx=1)
        (y * torch.arange(y.numel(), device=y.device).view(y.shape)).sum().backward()
        return y.detach(), weight.grad

    check(run, random((7, 5)), I([[1, 2, 2], [6, 0, 1]]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (7,), (5000,), (3, 1, 50), (0, 4)], ids=str)
def test_masks(shape, dtype):
    x, mask = random(shape, dtype), random(shape, torch.bool, 5)
    check(torch.nonzero, x)
    check(torch.masked_select, x, mask)
    check(lambda x, m, s: x.clone().masked_scatter_(m, s), x, mask, random((x.numel() + 3,), dtype, 2))


def test_masks_broadcast_and_strided():
    x, mask = random((6, 4)).t(), random((6,), torch.bool, 5)
    check(torch.masked_select, x, mask)
    check(torch.nonzero, (x > 0).t()[::2])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cat_roll_flip(dtype):
    a, b = random((3, 4), dtype), random((4, 2), dtype, 1).t()
    check(lambda *t: torch.cat(t), a, b, torch.empty(0, dtype=dtype))
    check(lambda *t: torch.cat(t, -1), a, a[:, :1], a)
    check(lambda *t: torch.stack(t, 1), a, a * 1 if dtype != torch.bool else a)
    check(torch.roll, a, 2)
    check(torch.roll, a, (1, -3), (0, 1))
    check(torch.flip, a, (0, 1))
    check(torch.flip, random((3, 4, 5), dtype).transpose(0, 2), (1,))


def test_cat_promotes_and_writes_where_told():
    check(lambda *t: torch.cat(t), random((2, 3), torch.float16), random((1, 3), torch.int64))
    a, b = random((3, 4)), random((2, 4), seed=1)
    out, whole, outside = guarded((5, 4), torch.float32, (9, 2))
    with no_fallback():
        torch.cat([a.to(DEVICE), b.to(DEVICE)], out=out)
    assert_same(out, torch.cat([a, b]))
    assert_guards(whole, outside)


@pytest.mark.parametrize("call", [
    lambda x: x[I([0, 9], device=x.device)],
    lambda x: torch.gather(x, 0, I([[9, 0, 0]], device=x.device)),
    lambda x: torch.index_select(x, 0, I([-5], device=x.device)),
    lambda x: x.index_put((I([9], device=x.device),), x[0]),
], ids=["index", "gather", "index_select", "index_put"])
def test_out_of_bounds_is_told_at_the_next_read_and_nothing_is_lost(call):
    x = torch.ones(4, 3, device=DEVICE)
    result = call(x)
    with pytest.raises(IndexError, match="out of bounds|out of range"):
        result.cpu()
    assert (x.cpu() == 1).all()


@pytest.mark.parametrize("call, error, message", [
    (lambda x: x[I([0.5], device=x.device)], IndexError, "long, int"),
    (lambda x: torch.gather(x, 0, I([0], device=x.device)), RuntimeError, "dimensions"),
    (lambda x: torch.gather(x, 5, I([[0]], device=x.device)), IndexError, "Dimension out of range"),
    (lambda x: torch.cat([x, x[:, :1]]), RuntimeError, "must match"),
    (lambda x: torch.cat([x, x.cpu()]), RuntimeError, "same device"),
    (lambda x: torch.index_select(x, 0, I([0])), RuntimeError, "same device"),
    (lambda x: x.masked_select(x), RuntimeError, "BoolTensor"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.ones(4, 3, device=DEVICE))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masked_fill(dtype):
    x, mask = random((6, 4), dtype), random((4,), torch.bool, 5)
    check(torch.masked_fill, x, mask, 1)
    check(torch.masked_fill, x.t(), mask[:, None], 1)
    check(lambda x, m, v: x.clone().masked_fill_(m, v), x, mask, random((), dtype, 3))
