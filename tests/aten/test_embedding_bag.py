"""embedding_bag: all modes, their gradients, weights per sample, padding, offsets in every form."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, assert_same, check, keep_strides, no_fallback, random
from .gradients import compare
from .spatial import launches

LIMITS = {torch.float32: dict(rtol=1e-5, atol=1e-6), torch.float64: dict(rtol=1e-10, atol=1e-12),
          torch.float16: dict(rtol=4e-3, atol=4e-3), torch.bfloat16: dict(rtol=3e-2, atol=3e-2)}
MODES = ["sum", "mean", "max"]
INDICES = torch.tensor([0, 4, 2, 4, 4, 1, 6, 0, 2, 3, 5])
OFFSETS = torch.tensor([0, 3, 3, 8, 9])   # the second bag is empty


def bags(mode, **options):
    return lambda weight, indices, offsets: F.embedding_bag(indices, weight, offsets, mode=mode, **options)


@pytest.mark.parametrize("dtype", list(LIMITS), ids=str)
@pytest.mark.parametrize("index", [torch.int64, torch.int32], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_modes(mode, index, dtype):
    compare(bags(mode), random((7, 5), dtype), INDICES.to(index), OFFSETS.to(index), **LIMITS[dtype])


@pytest.mark.parametrize("padding", [None, 0, 4, -1])
@pytest.mark.parametrize("mode", MODES)
def test_padding(mode, padding):
    compare(bags(mode, padding_idx=padding), random((7, 5)), INDICES, OFFSETS, **LIMITS[torch.float32])
    only = torch.tensor([4, 4, 1])   # a bag of nothing else
    compare(bags(mode, padding_idx=4), random((7, 5)), only, torch.tensor([0, 2]), **LIMITS[torch.float32])


@pytest.mark.parametrize("mode", MODES)
def test_forms_of_the_bags(mode):
    weight = random((5, 7)).t()[:, ::2]   # [7, 3], strides of its own
    compare(bags(mode), weight, INDICES, OFFSETS.int(), **LIMITS[torch.float32])   # mixed integers
    compare(bags(mode, include_last_offset=True), weight, INDICES, torch.cat([OFFSETS, torch.tensor([11])]), **LIMITS[torch.float32])
    compare(lambda w, i: F.embedding_bag(i, w, mode=mode), weight, INDICES[:10].view(5, 2), **LIMITS[torch.float32])
    compare(bags(mode), weight, torch.stack([INDICES, INDICES], 1)[:, 0], OFFSETS, **LIMITS[torch.float32])


@pytest.mark.parametrize("mode", MODES)
def test_nothing(mode):
    check(bags(mode), random((7, 5)), INDICES[:0], torch.zeros(3, dtype=torch.int64))
    check(bags(mode), random((7, 5)), INDICES[:0], OFFSETS[:0])
    with no_fallback():   # the CPU refuses rows without elements
        assert bags(mode)(random((7, 0)).to(DEVICE), INDICES.to(DEVICE), OFFSETS.to(DEVICE)).shape == (5, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("padding", [None, 4])
def test_weights_of_samples(padding, dtype):
    compare(lambda w, s, i, o: F.embedding_bag(i, w, o, mode="sum", per_sample_weights=s, padding_idx=padding),
            random((7, 45), dtype), random((11,), dtype, seed=4), INDICES, OFFSETS, **LIMITS[dtype])


@pytest.mark.parametrize("padding", [None, 4])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_gradients_scaled_by_frequency(mode, padding):
    """By how often each row is used: the CPU counts other rows' uses (torch 2.13), CUDA does as the documentation says."""
    weight, cotangent = random((7, 5)).requires_grad_(), random((5, 5), seed=1)
    uses = torch.bincount(INDICES, minlength=7).clamp(min=1)[:, None]
    bags(mode, padding_idx=padding)(weight, INDICES, OFFSETS).backward(cotangent)
    ours = weight.detach().to(DEVICE).requires_grad_()
    with no_fallback():
        bags(mode, padding_idx=padding, scale_grad_by_freq=True)(ours, INDICES.to(DEVICE), OFFSETS.to(DEVICE)).backward(cotangent.to(DEVICE))
    torch.testing.assert_close(ours.grad.cpu(), weight.grad / uses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("norm", [0.0, 1.0, 2.0, 3.5, float("inf")])
def test_rows_are_shrunk_to_a_norm(norm, dtype):
    weight = random((10, 7), dtype).t()[:, ::2]   # [7, 5]
    limit = 2.0 if norm else 4.5
    check(lambda w, i: torch.embedding_renorm_(w.clone(), i, limit, norm), weight, INDICES.view(1, 11).int(), tolerance=LIMITS[dtype])
    ours = keep_strides(weight)   # in place, in a table of odd strides
    torch.embedding_renorm_(ours, INDICES.to(DEVICE), limit, norm)
    torch.testing.assert_close(ours.cpu(), torch.embedding_renorm_(weight.clone(), INDICES, limit, norm), **LIMITS[dtype])
    compare(lambda w, i, o: F.embedding_bag(i, w.detach().clone(), o, max_norm=limit, norm_type=norm), weight, INDICES, OFFSETS, **LIMITS[dtype])


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_deterministic_gradients(mode):
    weight, indices = random((6, 33)), torch.randint(0, 6, (200,), generator=torch.Generator().manual_seed(2))
    torch.use_deterministic_algorithms(True)
    try:
        compare(bags(mode), weight, indices, torch.tensor([0, 50, 120]), rtol=1e-4, atol=1e-5)
    finally:
        torch.use_deterministic_algorithms(False)


def test_max_of_nan_and_ties():
    weight = random((7, 5))
    weight[4, 1] = float("nan")
    weight[2, 2] = weight[4, 2]
    check(bags("max"), weight, INDICES, OFFSETS)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_what_is_kept_for_backward(mode):
    weight = random((7, 5))
    for operator in (torch._embedding_bag, torch._embedding_bag_forward_only):
        ours = operator(weight.to(DEVICE), INDICES.to(DEVICE), OFFSETS.to(DEVICE), False, mode, False, None, False, 4)
        theirs = torch._embedding_bag(weight, INDICES, OFFSETS, False, mode, False, None, False, 4)
        for got, want in zip(ours[:3] if mode != 2 else ours, theirs[:3] if mode != 2 else theirs, strict=True):
            if mode == 0 and want.shape == (5,):
                want = torch.tensor([2, 0, 3, 1, 2])   # the CPU has no use for the sizes of summed bags
            assert_same(got, want)


def test_one_launch_makes_bags_and_bookkeeping():
    module, indices, offsets = torch.nn.EmbeddingBag(7, 5, mode="mean").to(DEVICE), INDICES.to(DEVICE), OFFSETS.to(DEVICE)
    with no_fallback():
        assert launches(lambda: module(indices, offsets)) == 1


def test_errors():
    weight, indices = random((5, 2)).to(DEVICE), torch.tensor([0, 1, 2, 3, 1], device=DEVICE)

    def bag(offsets, indices=indices, weight=weight, mode=0, **options):
        return torch._embedding_bag(weight, indices, torch.tensor(offsets, device=DEVICE), False, mode, **options)[0]

    with pytest.raises(RuntimeError, match=r"offsets\[0\] has to be 0, i.e., .* However, got 1"):
        bag([1, 2]).cpu()
    with pytest.raises(RuntimeError, match=r"offsets\[-1\] can not be greater than input's length 5 but got offsets\[-1\] of 9"):
        bag([0, 9]).cpu()
    with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0 with size 5"):
        bag([0], torch.tensor([0, 7], device=DEVICE)).cpu()
    with pytest.raises(IndexError, match="index -1 is out of bounds"):
        bag([0], torch.tensor([0, -1], device=DEVICE)).cpu()
    with pytest.raises(RuntimeError, match="only supported with mode='sum'"):
        bag([0], mode=1, per_sample_weights=torch.ones(5, device=DEVICE))
    with pytest.raises(RuntimeError, match="to have the same type"):
        bag([0], per_sample_weights=torch.ones(5, device=DEVICE, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="scalar types: Half, BFloat16, Float, Double"):
        bag([0], weight=weight.int())
    with pytest.raises(RuntimeError, match="scalar types: Long, Int"):
        bag([0], indices.float())
    with pytest.raises(RuntimeError, match="same device"):
        bag([0], indices.cpu())
    assert bag([0, 2]).cpu().shape == (2, 2)   # and nothing is left behind
