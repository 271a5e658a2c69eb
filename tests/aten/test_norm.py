"""Batch, group, instance and layer normalisation: results, statistics and gradients as on the CPU."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, assert_guards, assert_same, check, guarded, keep_strides, no_fallback, random
from .gradients import compare
from .spatial import FLOATS, launches, lay_out

LOOSE = {torch.float16: dict(rtol=1e-2, atol=1e-2), torch.bfloat16: dict(rtol=6e-2, atol=6e-2),
         torch.float32: dict(rtol=1e-4, atol=2e-5), torch.float64: dict(rtol=1e-9, atol=1e-10)}
SHAPES = [(4, 3), (3, 5, 7), (2, 3, 4, 5), (2, 3, 2, 3, 4), (300, 2, 9), (1, 4, 6), (2, 1, 3, 1)]


def parameters(channels, dtype):
    return (random((channels,), dtype, seed=1), random((channels,), dtype, seed=2),
            random((channels,), dtype, seed=3), random((channels,), dtype, seed=4).abs() + 0.5)


def batch_norm(training, running_mean, running_var):
    """The running statistics take no gradient: they are no arguments of what is compared."""
    def run(x, weight, bias):
        mean, var = (t.clone() if x.device.type == "cpu" else keep_strides(t) for t in (running_mean, running_var))
        y = F.batch_norm(x, mean, var, weight, bias, training, momentum=0.3, eps=1e-3)
        return y, mean, var
    return run


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm(shape, training, dtype):
    x = random(shape, dtype) * 2 + 3
    weight, bias, *running = parameters(shape[1], dtype)
    compare(batch_norm(training, *running), x, weight, bias, strides=False, **LOOSE[dtype])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", ["channels_last", "transposed", "offset", "sliced", "expanded"])
def test_batch_norm_layouts(layout, training):
    x = lay_out(random((3, 4, 5, 6)), layout)
    weight, bias, *running = parameters(4, torch.float32)
    compare(batch_norm(training, *running), x, weight, bias, strides=layout in ("channels_last", "offset"), **LOOSE[torch.float32])
    vector = random((8,))[::2]
    compare(batch_norm(training, vector, vector.abs()), x, vector, vector, strides=False, **LOOSE[torch.float32])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_with_parameters_in_float32(training, dtype):
    weight, bias, *running = parameters(3, torch.float32)
    compare(batch_norm(training, *running), random((4, 3, 5), dtype), weight, bias, strides=False, **LOOSE[dtype])


def test_batch_norm_is_exact_far_from_zero():
    """The mean is large and the deviation small: E[x^2] - E[x]^2 in float32 would be noise."""
    x = 4000 + random((16, 2, 64))
    got = F.batch_norm(x.to(DEVICE), None, None, training=True).cpu()
    want = F.batch_norm(x.double(), None, None, training=True).float()
    torch.testing.assert_close(got, want, rtol=2e-3, atol=2e-3)


def test_running_statistics_are_updated_in_place_through_views():
    x = random((6, 4, 3))
    whole = torch.full((12,), 0.5)
    ours, theirs = whole.to(DEVICE), whole.clone()
    F.batch_norm(x.to(DEVICE), ours[::3], ours[1::3], training=True, momentum=0.2)
    F.batch_norm(x, theirs[::3], theirs[1::3], training=True, momentum=0.2)
    assert_same(ours, theirs)
    assert (ours.cpu()[2::3] == 0.5).all()


def test_batch_norm_overloads():
    x, (weight, bias, mean, var) = random((4, 3, 5)), parameters(3, torch.float32)
    aten = torch.ops.aten
    check(lambda *a: aten.native_batch_norm(*a, True, 0.1, 1e-5), x, weight, bias, mean, var)
    check(lambda *a: aten.native_batch_norm(*a, False, 0.1, 1e-5), x, None, bias, mean, var)
    check(lambda *a: aten._native_batch_norm_legit.no_stats(*a, True, 0.1, 1e-5), x, weight, None)
    check(lambda *a: aten._batch_norm_with_update(*a, 0.1, 1e-5)[:3], x, weight, bias, mean, var)
    check(lambda *a: aten.batch_norm_update_stats(*a, 0.1), x, mean, var)
    want = aten.native_batch_norm(x, weight, bias, None, None, True, 0.1, 1e-5)
    outs = [guarded(y.shape, y.dtype, [2 * s for s in y.stride()]) for y in want]
    with no_fallback():
        aten.native_batch_norm.out(*(t.to(DEVICE) for t in (x, weight, bias)), None, None, True, 0.1, 1e-5, out=outs[0][0],
                                   save_mean=outs[1][0], save_invstd=outs[2][0])
    for (out, whole, outside), y in zip(outs, want, strict=True):
        assert_same(out, y)
        assert_guards(whole, outside)


@pytest.mark.parametrize("mask", [(True, False, False), (False, True, True), (False, False, True)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_backward_of_some(training, mask):
    x, (weight, _, mean, var) = random((4, 3, 5)), parameters(3, torch.float32)
    saved = torch.ops.aten.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)[1:]
    args = [random((4, 3, 5), seed=5), x, weight, mean, var, *saved]
    want = torch.ops.aten.native_batch_norm_backward(*args, training, 1e-5, mask)
    with no_fallback():
        got = torch.ops.aten.native_batch_norm_backward(*(a.to(DEVICE) for a in args), training, 1e-5, mask)
    for ours, theirs, asked in zip(got, want, mask, strict=True):
        assert (ours is not None) == asked
        if asked:
            assert_same(ours, theirs, **LOOSE[torch.float32])


def test_one_launch_per_direction():
    x = random((4, 3, 8, 8)).to(DEVICE).requires_grad_()
    module = torch.nn.BatchNorm2d(3, track_running_stats=False).to(DEVICE)
    assert launches(lambda: module(x)) == 1
    args = [x.detach(), x.detach(), None, None, None, torch.zeros(3, device=DEVICE), torch.ones(3, device=DEVICE), True, 1e-5,
            [True] * 3]
    assert launches(lambda: torch.ops.aten.native_batch_norm_backward(*args)) == 1


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(4, 6), (2, 6, 5), (3, 4, 5, 2), (1, 2, 300), (2, 8, 2, 3, 2)], ids=str)
def test_group_norm(shape, dtype):
    groups = 2
    x, (weight, bias, *_) = random(shape, dtype) + 1, parameters(shape[1], dtype)
    compare(lambda x, w, b: F.group_norm(x, groups, w, b, 1e-3), x, weight, bias, strides=False, **LOOSE[dtype])
    compare(lambda x: F.group_norm(x, shape[1], eps=1e-3), x, strides=False, **LOOSE[dtype])


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "offset", "sliced", "expanded"])
def test_group_norm_layouts(layout):
    x, (weight, bias, *_) = lay_out(random((3, 4, 5, 6)), layout), parameters(4, torch.float32)
    compare(lambda x, w, b: F.group_norm(x, 2, w, b), x, weight, bias, strides=False, **LOOSE[torch.float32])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_instance_norm(dtype):
    x, p = random((3, 4, 5, 6), dtype), parameters(4, dtype)
    compare(lambda x, w, b: F.instance_norm(x, weight=w, bias=b), x, *p[:2], strides=False, **LOOSE[dtype])
    compare(lambda x, w, b: F.instance_norm(x, p[2].to(x.device), p[3].to(x.device), w, b, use_input_stats=False), x, *p[:2],
            strides=False, **LOOSE[dtype])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("normalized", [(7,), (5, 7), (3, 5, 7)], ids=str)
def test_layer_norm(normalized, dtype):
    x, weight, bias = random((3, 5, 7), dtype), random(normalized, dtype, seed=1), random(normalized, dtype, seed=2)
    compare(lambda x, w, b: F.layer_norm(x, normalized, w, b), x, weight, bias, strides=False, **LOOSE[dtype])
    compare(lambda x: F.layer_norm(x, normalized), x, strides=False, **LOOSE[dtype])
    compare(lambda x, w: F.rms_norm(x, normalized, w), x, weight, strides=False, **LOOSE[dtype])


def test_empty():
    p = parameters(3, torch.float32)
    for shape in [(0, 3), (0, 3, 4), (2, 3, 0)]:
        check(lambda x, *p: F.group_norm(x, 3, *p), torch.zeros(shape), *p[:2])
        x = torch.zeros(shape, device=DEVICE, requires_grad=True)
        with no_fallback():
            y = F.batch_norm(x, p[2].to(DEVICE), p[3].to(DEVICE))
            y.sum().backward()
        assert y.shape == shape and x.grad.shape == shape


def test_errors():
    x = random((4, 3, 5)).to(DEVICE)
    with pytest.raises(RuntimeError, match="weight should contain 3 elements not 4"):
        F.batch_norm(x, None, None, torch.ones(4, device=DEVICE), training=True)
    with pytest.raises(RuntimeError, match="running_mean"):
        torch.ops.aten.native_batch_norm(x, None, None, None, None, False, 0.1, 1e-5)
    with pytest.raises(RuntimeError, match="same device"):
        F.batch_norm(x, None, None, torch.ones(3), training=True)
    with pytest.raises(RuntimeError, match="mixed dtype"):
        F.batch_norm(x, None, None, torch.ones(3, device=DEVICE, dtype=torch.float64), training=True)
    with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
        torch.ops.aten.native_batch_norm(torch.ones(2, 3, dtype=torch.int64, device=DEVICE), None, None, None, None, True, 0.1, 1e-5)
    with pytest.raises(RuntimeError, match="divisible by num_groups"):
        F.group_norm(x, 2)
    with pytest.raises(RuntimeError, match="same device"):
        F.group_norm(x, 3, torch.ones(3))
