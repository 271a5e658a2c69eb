"""Scaled dot product attention, fused: dtypes, shapes around the tiles, masks, groups, strides, dropout, gradients."""
from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .families import DEVICE, assert_same, keep_strides, no_fallback, random

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
LIMITS = {torch.float32: 2e-5, torch.float64: 1e-11, torch.float16: 4e-3, torch.bfloat16: 3e-2}
attention = F.scaled_dot_product_attention


def qkv(batch, heads, queries, keys, width, value_width=None, dtype=torch.float32, kv_heads=None):
    kv_heads = kv_heads or heads
    return [random((batch, heads, queries, width), dtype, 1), random((batch, kv_heads, keys, width), dtype, 2),
            random((batch, kv_heads, keys, value_width or width), dtype, 3)]


def reference(query, key, value, mask=None, is_causal=False, scale=None, weights=None):
    """In float64, from the definition. weights: what dropout multiplies with."""
    query, key, value = query.double(), key.double(), value.double()
    group = query.size(1) // key.size(1)
    key, value = (t.repeat_interleave(group, 1) for t in (key, value))
    scores = query @ key.mT * (scale if scale is not None else 1 / math.sqrt(query.size(-1)))
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.double()
    weight = torch.softmax(scores, -1).nan_to_num(0.0) if (scores == -math.inf).all(-1).any() else torch.softmax(scores, -1)
    return (weight if weights is None else weight * weights) @ value


def compare(tensors, mask=None, weights=None, backward=True, limit=None, **settings):
    """Forward and all gradients, against float64 on the CPU."""
    leaves = [t.detach().clone().requires_grad_(backward) for t in tensors]
    ours = [keep_strides(t.detach()).requires_grad_(backward) for t in tensors]
    theirs_mask, our_mask = mask, None if mask is None else keep_strides(mask.detach())
    if mask is not None and mask.requires_grad:
        theirs_mask = mask.detach().clone().requires_grad_()
        our_mask.requires_grad_()
        leaves.append(theirs_mask), ours.append(our_mask)
    dropout = settings.pop("dropout_p", 0.0)
    want = reference(*leaves[:3], theirs_mask, weights=weights, **settings)
    with no_fallback():
        got = attention(*ours[:3], our_mask, dropout_p=dropout, enable_gqa=tensors[0].size(1) != tensors[1].size(1), **settings)
        limit = limit or LIMITS[tensors[0].dtype]
        assert got.dtype == tensors[0].dtype
        assert_same(got.detach().double(), want.detach(), rtol=limit, atol=limit)
        if backward:
            cotangent = random(want.shape, tensors[0].dtype, 7)
            want.backward(cotangent.double())
            got.backward(cotangent.to(DEVICE))
            for mine, other in zip(ours, leaves, strict=True):
                size = max(1.0, other.grad.abs().max().item())
                assert_same(mine.grad.double(), other.grad.double(), rtol=2 * limit, atol=2 * limit * size)
    return got


def test_it_is_the_fused_kernel():
    query, key, value = (t.to(DEVICE) for t in qkv(1, 2, 16, 16, 8))
    attention(query, key, value)
    torch.usbgpu.synchronize()
    torch.usbgpu.reset_link_stats()
    attention(query, key, value)
    torch.usbgpu.synchronize()
    assert torch.usbgpu.link_stats()["launches"] == 1
    query.requires_grad_(), key.requires_grad_(), value.requires_grad_()
    out, cotangent = attention(query, key, value), torch.ones_like(query)
    torch.usbgpu.synchronize()
    torch.usbgpu.reset_link_stats()
    torch.autograd.grad(out, (query, key, value), cotangent)
    torch.usbgpu.synchronize()
    assert torch.usbgpu.link_stats()["launches"] == 3


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3, 5, 7, 4), (1, 2, 16, 33, 20), (1, 1, 40, 30, 33), (1, 2, 70, 65, 64)], ids=str)
def test_dtypes_and_sizes(sizes, dtype):
    compare(qkv(*sizes, dtype=dtype))


@pytest.mark.parametrize("width, value_width", [(128, 128), (100, 40), (16, 130), (256, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_widths(width, value_width, dtype):
    compare(qkv(1, 1, 20, 18, width, value_width, dtype=dtype))


@pytest.mark.parametrize("sizes", [(1, 2, 9, 9, 8), (1, 1, 80, 80, 16), (2, 1, 70, 40, 8), (1, 1, 33, 100, 8)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_causal(sizes, dtype):
    compare(qkv(*sizes, dtype=dtype), is_causal=True)


@pytest.mark.parametrize("shape", [(7, 40), (1, 40), (1, 1, 40), (2, 1, 7, 40), (2, 3, 7, 40), (3, 7, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_masks(shape, dtype):
    tensors = qkv(2, 3, 7, 40, 8, dtype=dtype)
    allowed = random(shape, torch.bool, 4)
    allowed[..., :1, :1] = True
    compare(tensors, allowed)
    compare(tensors, random(shape, dtype, 5).requires_grad_())


def test_mask_and_causal_together():
    """The CPU's fused kernel takes both, and so do we."""
    tensors, mask = qkv(1, 2, 40, 40, 8), random((40, 40), seed=4)
    want = attention(*tensors, mask, is_causal=True)
    assert_same(attention(*(t.to(DEVICE) for t in tensors), mask.to(DEVICE), is_causal=True), want)
    torch.testing.assert_close(want, reference(*tensors, mask.masked_fill(torch.ones(40, 40).triu(1) == 1, -math.inf)).float())


def test_a_query_without_keys_gives_zero():
    tensors = qkv(1, 2, 5, 40, 8)
    mask = torch.ones(5, 40, dtype=torch.bool)
    mask[2], mask[3, :35] = False, False
    got = compare(tensors, mask)
    assert torch.count_nonzero(got[:, :, 2]) == 0
    torch.testing.assert_close(got.cpu(), attention(*tensors, mask))


@pytest.mark.parametrize("heads, kv_heads", [(4, 2), (6, 1), (3, 3)])
def test_grouped_queries(heads, kv_heads):
    compare(qkv(2, heads, 20, 24, 8, kv_heads=kv_heads))
    compare(qkv(1, heads, 36, 36, 8, kv_heads=kv_heads), is_causal=True)


def test_scale():
    compare(qkv(1, 2, 6, 6, 8), scale=0.7)
    compare(qkv(1, 2, 6, 6, 8), scale=-1.5)


def test_strides():
    packed = random((2, 9, 3, 4, 8))                       # batch, position, (q, k, v), head, width
    tensors = [packed[:, :, i].transpose(1, 2) for i in range(3)]
    assert compare(tensors).transpose(1, 2).is_contiguous(), "the heads of a position lie together"
    wide = random((2, 4, 16, 30), seed=5)
    compare([wide[:, :, ::2, 1::3], random((10, 10, 4, 2), seed=6).permute(3, 2, 1, 0), random((1, 1, 10, 6)).expand(2, 4, 10, 6)])


def test_large_scores_do_not_overflow():
    tensors = qkv(1, 1, 40, 70, 16)
    compare([tensors[0] * 50, tensors[1] * 50, tensors[2]], limit=1e-3)


def test_not_a_number_stays_one():
    query, key, value = qkv(1, 1, 4, 40, 8)
    query[0, 0, 2, 3] = math.nan
    got = attention(query.to(DEVICE), key.to(DEVICE), value.to(DEVICE)).cpu()
    assert got[0, 0, 2].isnan().all() and got[0, 0, [0, 1, 3]].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_dropout(dtype):
    """With the identity for values the output is the dropped weights: which, is read off, and the rest follows."""
    query, key, value = qkv(2, 2, 20, 33, 33, dtype=dtype)
    torch.manual_seed(3)
    eye = torch.eye(33, dtype=dtype).expand(2, 2, 33, 33)
    shown = attention(query.to(DEVICE), key.to(DEVICE), eye.to(DEVICE), dropout_p=0.3).cpu()
    kept = shown != 0
    assert abs(kept.double().mean().item() - 0.7) < 0.05
    assert not torch.equal(kept[0, 0], kept[0, 1]) and not torch.equal(kept[0], kept[1])
    torch.manual_seed(3)
    compare([query, key, value], weights=kept.double() / 0.7, dropout_p=0.3)
    torch.manual_seed(3)
    with sdpa_kernel(SDPBackend.OVERRIDEABLE):
        assert torch.equal(attention(query.to(DEVICE), key.to(DEVICE), eye.to(DEVICE), dropout_p=0.3).cpu(), shown)
        again = attention(query.to(DEVICE), key.to(DEVICE), eye.to(DEVICE), dropout_p=0.3).cpu()
    assert not torch.equal(again, shown), "the generator moved on"
    assert torch.count_nonzero(attention(query.to(DEVICE), key.to(DEVICE), eye.to(DEVICE), dropout_p=1.0)) == 0


def test_gradients_are_the_same_bits_every_time():
    runs = []
    for _ in range(2):
        tensors = [t.to(DEVICE).requires_grad_() for t in qkv(1, 4, 50, 70, 16, kv_heads=2)]
        attention(*tensors, enable_gqa=True).square().sum().backward()
        runs.append([t.grad.cpu() for t in tensors])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_only_wanted_gradients():
    for wanted in range(3):
        tensors = qkv(1, 1, 6, 7, 4)
        ours = [t.to(DEVICE).requires_grad_(i == wanted) for i, t in enumerate(tensors)]
        theirs = [t.requires_grad_(i == wanted) for i, t in enumerate(tensors)]
        attention(*ours).sum().backward()
        attention(*theirs).sum().backward()
        assert_same(ours[wanted].grad, theirs[wanted].grad)


@pytest.mark.parametrize("shapes", [((5, 4), (6, 4)), ((2, 5, 4), (2, 6, 4)), ((2, 2, 2, 5, 4), (2, 2, 2, 6, 4)),
                                    ((1, 1, 5, 300), (1, 1, 6, 300))], ids=str)
def test_other_ranks_and_widths_are_composed_on_the_device(shapes):
    tensors = [random(shapes[0], seed=1), random(shapes[1], seed=2), random(shapes[1], seed=3)]
    with no_fallback():
        assert_same(attention(*(t.to(DEVICE) for t in tensors)), attention(*tensors))


def test_the_composition_can_be_asked_for():
    tensors = qkv(1, 2, 6, 6, 8)
    with sdpa_kernel(SDPBackend.MATH), no_fallback():
        assert_same(attention(*(t.to(DEVICE) for t in tensors)), attention(*tensors))


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (2, 2, 0, 4)], ids=str)
def test_empty(shape):
    tensors = [torch.ones(shape)] * 3
    with no_fallback():
        assert_same(attention(*(t.to(DEVICE) for t in tensors)), attention(*tensors))


def test_a_view_of_a_larger_block_stays_within_it():
    """Tiles reach beyond 5 queries and 7 keys; what lies there must not count, even where it is not a number."""
    whole = [torch.full((2, 2, 70, 8), math.nan) for _ in range(3)]
    for tensor, size in zip(whole, (5, 7, 7), strict=True):
        tensor[:, :, 10:10 + size] = random((2, 2, size, 8), seed=size)
    views = [t[:, :, 10:10 + size] for t, size in zip(whole, (5, 7, 7), strict=True)]
    compare([v.clone() for v in views])
    ours = [keep_strides(v) for v in views]
    assert_same(attention(*ours), attention(*(v.clone() for v in views)))


@pytest.mark.parametrize("call", [
    lambda d: attention(torch.ones(1, 1, 2, 4, device=d), torch.ones(1, 1, 2, 4, device=d), torch.ones(1, 1, 2, 4, device=d),
                        torch.ones(2, 2, device=d, dtype=torch.int64)),
    lambda d: attention(torch.ones(1, 1, 2, 4, device=d), torch.ones(1, 1, 2, 5, device=d), torch.ones(1, 1, 2, 5, device=d)),
    lambda d: attention(torch.ones(1, 1, 2, 4, device=d), torch.ones(1, 1, 2, 4, device=d, dtype=torch.float16), torch.ones(1, 1, 2, 4, device=d)),
    lambda d: attention(torch.ones(1, 3, 2, 4, device=d), torch.ones(1, 2, 2, 4, device=d), torch.ones(1, 2, 2, 4, device=d), enable_gqa=True),
], ids=["mask", "width", "dtype", "group"])
def test_errors_are_the_cpus(call):
    with pytest.raises(Exception) as theirs:
        call("cpu")
    with pytest.raises(type(theirs.value)) as ours:
        call(DEVICE)
    assert str(ours.value)[:40] == str(theirs.value)[:40]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_low_precision_goes_through_the_matrix_units(dtype):
    """Q K^T and P V forward, and all products of the gradients. Tiles of 16, 32 and 64 rows."""
    for length, width in ((16, 32), (32, 100), (70, 64), (20, 256)):
        torch.usbgpu.reset_kernel_stats()
        compare(qkv(1, 2, length, length, width, dtype=dtype), is_causal=True)
        stats = {name: row for name, row in torch.usbgpu.kernel_stats().items() if name.startswith("attention") and "delta" not in name}
        assert len(stats) == 3
        if any(row["wmma"] is None for row in stats.values()):
            pytest.skip("this device does not count instructions")
        assert all(row["wmma"] > 0 for row in stats.values())
