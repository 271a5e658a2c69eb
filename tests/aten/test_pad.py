"""Reflecting and replicating pads, channel and pixel shuffles, with gradients, against the CPU."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from .families import DEVICE, check
from .spatial import FLOATS, LAYOUTS, check_out, compare, launches, lay_out, values

aten = torch.ops.aten
SHAPES = {1: (2, 3, 7), 2: (2, 3, 5, 6), 3: (2, 2, 4, 3, 5)}
PADS = {1: [(2, 3), (0, 6), (-2, 1), (0, 0), (4, -3)],
        2: [(2, 3, 1, 4), (5, 5, 4, 4), (-1, 2, 3, -2), (0, 0, 0, 0)],
        3: [(2, 1, 1, 2, 3, 0), (4, 4, 2, 2, 3, 3), (-1, 2, 1, -1, 0, 2)]}
CASES = [(mode, axes) for mode in ("reflect", "replicate") for axes in (1, 2, 3)]


@pytest.mark.parametrize("mode, axes", CASES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_pads_and_gradients(mode, axes, dtype):
    for pad in PADS[axes]:
        compare(lambda x, pad=pad: F.pad(x, pad, mode=mode), values(SHAPES[axes], dtype))


@pytest.mark.parametrize("mode, axes", CASES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.complex64], ids=str)
def test_whole_numbers_and_complex(mode, axes, dtype):
    x = values(SHAPES[axes], torch.float32).to(dtype)
    if dtype == torch.complex64:
        x = torch.complex(values(SHAPES[axes], torch.float32), values(SHAPES[axes], torch.float32, 1))
        got = F.pad(x.to(DEVICE), PADS[axes][0], mode=mode)
        assert torch.equal(got.cpu(), F.pad(x, PADS[axes][0], mode=mode))
        return
    check(lambda x: F.pad(x, PADS[axes][0], mode=mode), x)


def test_replicating_far_beyond_the_borders():
    compare(lambda x: F.pad(x, (300, 200, 7, 9), mode="replicate"), values((1, 2, 3, 2), torch.float32), rtol=1e-5, atol=1e-4)
    compare(lambda x: F.pad(x, (3, 3), mode="replicate"), values((1, 2, 1), torch.float32))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode, axes", CASES)
def test_layouts(mode, axes, layout):
    x = lay_out(values((3, 4, *SHAPES[axes][2:]), torch.float32), layout)
    compare(lambda x: F.pad(x, PADS[axes][0], mode=mode), x, strides=layout in ("contiguous", "channels_last", "unbatched"))


@pytest.mark.parametrize("name, axes", [(f"{kind}_pad{axes}d", axes) for kind in ("reflection", "replication") for axes in (1, 2, 3)])
def test_out(name, axes):
    packet = getattr(aten, name)
    for dtype in (torch.float32, torch.int8):
        check_out(lambda x, **out: (packet.out if out else packet)(x, PADS[axes][0], **out), values(SHAPES[axes], dtype))
    backward = getattr(aten, name + "_backward")
    x = values(SHAPES[axes], torch.float32)
    grad = values(packet(x, PADS[axes][0]).shape, torch.float32, 3)
    whole = torch.full((*x.shape[:-1], x.shape[-1] * 2), 77.0, device=DEVICE)
    backward.grad_input(grad.to(DEVICE), x.to(DEVICE), PADS[axes][0], grad_input=whole[..., ::2])
    assert torch.equal(whole[..., ::2].cpu(), backward(grad, x, PADS[axes][0])) and (whole[..., 1::2] == 77).all().item()


def test_empty_batch():
    for mode, axes in CASES:
        check(lambda x: F.pad(x, PADS[axes][0], mode=mode), torch.zeros(0, *SHAPES[axes][1:]))


def test_launches():
    for mode, axes in CASES:
        x = values(SHAPES[axes], torch.float32).to(DEVICE).requires_grad_()
        assert launches(lambda: F.pad(x, PADS[axes][0], mode=mode)) == 1
        y = F.pad(x, PADS[axes][0], mode=mode)
        cotangent = torch.ones_like(y)
        assert launches(lambda: torch.autograd.grad(y, x, cotangent, retain_graph=True)) == 1


@pytest.mark.parametrize("call", [
    lambda x: aten.reflection_pad2d(x, [6, 0, 0, 0]), lambda x: aten.reflection_pad2d(x, [0, 0, 5, 0]),
    lambda x: aten.reflection_pad2d(x, [1, 1, 1]), lambda x: aten.reflection_pad2d(x[0, 0], [1] * 4),
    lambda x: aten.reflection_pad2d(x[:, :0], [1] * 4), lambda x: aten.reflection_pad1d(x[0], [9, 0]),
    lambda x: aten.replication_pad2d(x, [-3, -3, -3, -2]), lambda x: aten.replication_pad2d_backward(x, x, [1] * 4),
    lambda x: aten.reflection_pad2d_backward(x, x, [1] * 4), lambda x: aten.reflection_pad3d(x, [9] * 6),
    lambda x: aten.channel_shuffle(x, 2), lambda x: aten.channel_shuffle(x, 0), lambda x: aten.channel_shuffle(x[0, 0], 1)])
def test_errors_are_the_cpus(call):
    x = torch.ones(2, 3, 5, 6)
    with pytest.raises(RuntimeError) as expected:
        call(x)
    with pytest.raises(RuntimeError) as got:
        call(x.to(DEVICE))
    assert str(got.value).split("\n")[0] == str(expected.value).split("\n")[0]


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8, torch.int64, torch.bool], ids=str)
def test_channel_shuffle(dtype):
    x = values((2, 6, 3, 4), torch.int64).to(dtype)
    for groups in (1, 2, 3, 6):
        compare(lambda x: F.channel_shuffle(x, groups), x)
        compare(lambda x: F.channel_shuffle(x, groups), lay_out(x, "channels_last"))
    compare(lambda x: F.channel_shuffle(x, 3), x.transpose(2, 3))
    compare(lambda x: F.channel_shuffle(x, 3), x[:, :, 0])
    compare(lambda x: F.channel_shuffle(x, 2), x[:0])


def test_pixel_shuffle():
    compare(lambda x: F.pixel_shuffle(x, 2), values((2, 8, 3, 5), torch.float32))
    compare(lambda x: F.pixel_unshuffle(x, 3), values((2, 2, 6, 9), torch.float32))
