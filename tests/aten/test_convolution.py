"""Convolutions, transposed ones and their gradients against the CPU (in float64: its own low precision rounds too)."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from .families import DEVICE, keep_strides, random

# relative to the largest value: sums of hundreds of products cancel
LIMIT = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}

# function, input, weight, options
CASES = {
    "1d": (F.conv1d, (2, 4, 9), (6, 4, 3), {"padding": 1}),
    "1d transposed": (F.conv_transpose1d, (2, 6, 9), (6, 5, 4), {"stride": 3, "padding": 2, "output_padding": 1}),
    "pointwise": (F.conv2d, (2, 20, 5, 7), (9, 20, 1, 1), {}),
    "strided, dilated": (F.conv2d, (2, 5, 13, 12), (7, 5, 3, 2), {"stride": (2, 3), "padding": (3, 1), "dilation": (2, 1)}),
    "padded beyond the kernel": (F.conv2d, (1, 5, 3, 3), (5, 5, 2, 2), {"padding": 4}),
    "stride beyond the kernel": (F.conv2d, (1, 6, 11, 11), (6, 6, 2, 2), {"stride": 5}),
    "stride shares a factor with dilation": (F.conv2d, (1, 6, 15, 15), (8, 6, 3, 4), {"stride": (4, 6), "dilation": (6, 4), "padding": 5}),
    "grouped": (F.conv2d, (2, 12, 6, 6), (18, 4, 3, 3), {"groups": 3, "padding": "same"}),
    "depthwise": (F.conv2d, (2, 40, 7, 6), (40, 1, 3, 3), {"groups": 40, "padding": 1, "stride": 2}),
    "depthwise, multiplied": (F.conv2d, (2, 3, 7, 6), (24, 1, 3, 3), {"groups": 3}),
    "one output channel": (F.conv2d, (1, 9, 8, 8), (1, 9, 3, 3), {}),
    "reduction is split": (F.conv2d, (1, 70, 5, 5), (33, 70, 3, 3), {"padding": 1}),
    "transposed": (F.conv_transpose2d, (2, 7, 5, 4), (7, 6, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "transposed, grouped, dilated": (F.conv_transpose2d, (1, 6, 4, 5), (6, 5, 3, 2), {"stride": (3, 2), "groups": 2, "dilation": (2, 3)}),
    "3d": (F.conv3d, (1, 3, 6, 5, 7), (6, 3, 3, 2, 3), {"stride": (1, 2, 1), "padding": (0, 1, 2)}),
    "3d transposed": (F.conv_transpose3d, (1, 5, 3, 4, 2), (5, 6, 2, 3, 3), {"stride": 2, "padding": 1}),
}
LOW = ("grouped", "depthwise", "transposed", "reduction is split")


def run(case, dtype, bias=True, arrange=lambda tensor: tensor, device_arrange=lambda tensor: tensor):
    """(ours, theirs): result and gradients of one case, computed from the same values."""
    function, input_shape, weight_shape, options = CASES[case] if isinstance(case, str) else case
    transposed = "transpose" in function.__name__
    channels = weight_shape[1] * options.get("groups", 1) if transposed else weight_shape[0]
    shapes = [input_shape, weight_shape] + [(channels,)] * bias
    values = [random(shape, dtype, seed) for seed, shape in enumerate(shapes)]
    cpu = [value.double().requires_grad_() for value in values]
    gpu = [device_arrange(keep_strides(arrange(value))).requires_grad_() for value in values]
    theirs, ours = function(*cpu, **options), function(*gpu, **options)
    grad = random(theirs.shape, dtype, 9)
    return ([ours, *torch.autograd.grad(ours, gpu, keep_strides(arrange(grad)))],
            [theirs, *torch.autograd.grad(theirs, cpu, grad.double())])


def assert_close(ours, theirs, dtype):
    for name, a, b in zip(("result", "grad of input", "grad of weight", "grad of bias"), ours, theirs, strict=False):
        assert a.device.type == DEVICE and a.dtype == dtype and a.shape == b.shape, name
        error = (a.detach().cpu().double() - b.detach()).abs().max().item()
        assert error <= LIMIT[dtype] * max(1.0, b.detach().abs().max().item()), f"{name}: off by {error}"


@pytest.mark.parametrize("case", CASES)
def test_like_the_cpu(case):
    assert_close(*run(case, torch.float32), torch.float32)


@pytest.mark.parametrize("case", LOW)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_dtypes(case, dtype):
    assert_close(*run(case, dtype, bias=False), dtype)


@pytest.mark.parametrize("case", ["strided, dilated", "grouped", "depthwise", "transposed", "3d"])
def test_channels_last(case):
    ours, theirs = run(case, torch.float32, device_arrange=lambda t: t.to(memory_format=LAST[t.dim()]) if t.dim() > 1 else t)
    assert_close(ours, theirs, torch.float32)
    assert all(t.is_contiguous(memory_format=LAST[t.dim()]) for t in ours[:2]), "the result keeps the input's memory format"


def test_channels_last_in_matrix_units():
    ours, theirs = run("strided, dilated", torch.float16, device_arrange=lambda t: t.to(memory_format=LAST[4]) if t.dim() > 1 else t)
    assert_close(ours, theirs, torch.float16)


@pytest.mark.parametrize("arrange", [lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
                                     lambda t: torch.stack([t, t + 1], -1)[..., 0],
                                     lambda t: torch.cat([t.new_full((3,), 77), t.flatten()])[3:].view(t.shape)],
                         ids=["transposed", "every other", "offset"])
@pytest.mark.parametrize("case", ["grouped", "transposed"])
def test_strides(case, arrange):
    assert_close(*run(case, torch.float32, arrange=arrange), torch.float32)


def test_expanded_operands():
    x, w = random((1, 4, 1, 6)), random((6, 4, 3, 3))
    view = lambda t: t.expand(2, 4, 5, 6)  # noqa: E731
    actual = F.conv2d(view(x.to(DEVICE)), w.to(DEVICE))
    torch.testing.assert_close(actual.cpu(), F.conv2d(view(x), w), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype, shape", [
    (torch.float32, ((2, 96, 34, 34), (130, 96, 3, 3))),    # 128 x 128 with tails
    (torch.float16, ((2, 64, 70, 66), (130, 64, 3, 3))),
], ids=str)
def test_large_tiles(dtype, shape):
    x, w = random(shape[0], dtype), random(shape[1], dtype, 1)
    actual = F.conv2d(x.to(DEVICE), w.to(DEVICE), padding=1).cpu().double()
    expected = F.conv2d(x.double(), w.double(), padding=1)
    assert (actual - expected).abs().max() <= LIMIT[dtype] * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64], ids=str)
def test_integers_wrap(dtype):
    top = torch.iinfo(dtype).max
    x, w = random((2, 3, 6, 5), dtype), random((7, 3, 2, 2), dtype, 1)
    x[0, 0, 2, 2] = w[0, 0, 0, 0] = top
    assert torch.equal(F.conv2d(x.to(DEVICE), w.to(DEVICE)).cpu(), F.conv2d(x, w))


def test_integer_transposed():
    x, w = random((1, 3, 4, 4), torch.int64), random((3, 6, 2, 2), torch.int64, 1)
    assert torch.equal(F.conv_transpose2d(x.to(DEVICE), w.to(DEVICE), stride=2).cpu(), F.conv_transpose2d(x, w, stride=2))
    with pytest.raises(NotImplementedError, match="not implemented for 'Int'"):
        F.conv_transpose2d(x.int().to(DEVICE), w.int().to(DEVICE))


@pytest.mark.parametrize("function, x, w", [(F.conv2d, (0, 3, 5, 5), (4, 3, 2, 2)), (F.conv2d, (3, 5, 5), (4, 3, 2, 2)),
                                            (F.conv_transpose2d, (0, 3, 5, 5), (3, 4, 2, 2)),
                                            (F.conv_transpose1d, (2, 3, 5), (3, 4, 2))])
def test_empty_and_unbatched(function, x, w):
    x, w = random(x), random(w, seed=1)
    actual = function(x.to(DEVICE).requires_grad_(), w.to(DEVICE).requires_grad_())
    torch.testing.assert_close(actual.detach().cpu(), function(x, w), rtol=1e-5, atol=1e-5)
    actual.sum().backward()


def test_second_gradient():
    def twice(device):
        x, w = (random(s, torch.float64, i).to(device).requires_grad_() for i, s in enumerate([(1, 2, 5, 5), (3, 2, 3, 3)]))
        first, = torch.autograd.grad((F.conv2d(x, w, stride=2, padding=1) ** 2).sum(), x, create_graph=True)
        return torch.autograd.grad((first ** 2).sum(), (x, w))
    for actual, expected in zip(twice(DEVICE), twice("cpu"), strict=True):
        torch.testing.assert_close(actual.cpu(), expected)


def test_same_bits_every_time():
    x, w = random((2, 64, 9, 9)).to(DEVICE).requires_grad_(), random((16, 64, 3, 3), seed=1).to(DEVICE).requires_grad_()

    def once():
        out = F.conv2d(x, w)
        return [out, *torch.autograd.grad(out.square().sum(), (x, w))]
    for a, b in zip(once(), once(), strict=True):
        assert torch.equal(a, b)


def test_one_launch():
    x, w, b = random((2, 8, 6, 6)).to(DEVICE), random((8, 8, 3, 3), seed=1).to(DEVICE), random((8,), seed=2).to(DEVICE)
    for function, options in ((F.conv2d, {}), (F.conv_transpose2d, {"stride": 2})):
        function(x, w, b, **options)
        torch.usbgpu.synchronize()
        before = torch.usbgpu.link_stats()["launches"]
        function(x, w, b, **options)
        torch.usbgpu.synchronize()
        assert torch.usbgpu.link_stats()["launches"] == before + 1


def test_errors():
    x, w = torch.ones(1, 2, 5, 5, device=DEVICE), torch.ones(3, 2, 3, 3, device=DEVICE)
    with pytest.raises(RuntimeError, match="expected bias to be 1-dimensional with 3 elements"):
        F.conv2d(x, w, torch.ones(4, device=DEVICE))
    with pytest.raises(RuntimeError, match=r"Input type \(float\) and bias type \(double\) should be the same"):
        F.conv2d(x, w, torch.ones(3, device=DEVICE, dtype=torch.float64))
    with pytest.raises(RuntimeError, match=r"Input type \(float\) and weight type \(double\)"):
        F.conv2d(x, w.double())
    with pytest.raises(RuntimeError, match="all tensors to be on the same device"):
        F.conv2d(x, w.cpu())
    with pytest.raises(RuntimeError, match="to have 2 channels|expected input"):
        F.conv2d(torch.ones(1, 5, 5, 5, device=DEVICE), w)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        F.conv2d(torch.ones(1, 2, 2, 2, device=DEVICE), w)


@pytest.mark.expects_fallback
def test_what_has_no_kernels_is_counted():
    torch.usbgpu.set_fallback("error")
    x, w = torch.ones(1, 1, 4, device=DEVICE).to(torch.uint16), torch.ones(1, 1, 2, device=DEVICE).to(torch.uint16)
    with pytest.raises(NotImplementedError, match="convolution_overrideable.*USBGPU_FALLBACK"):
        F.conv1d(x, w)


def test_addresses_beyond_32_bits():
    """Two images that lie 2^32 bytes apart: such strides take the kernels with 64-bit offsets."""
    far = torch.empty((1 << 32) + 64, dtype=torch.int8, device=DEVICE).as_strided((2, 2, 4, 5), (1 << 32, 20, 5, 1))
    near, w = random(far.shape, torch.int8), random((6, 2, 2, 3), torch.int8, 1)
    far.copy_(near)
    assert torch.equal(F.conv2d(far, w.to(DEVICE)).cpu(), F.conv2d(near, w))
    grad = random((2, 6, 3, 3), torch.int8, 2).to(DEVICE)
    backward = torch.ops.aten.convolution_backward
    options = ([0], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False])
    assert torch.equal(backward(grad, far, w.to(DEVICE), *options)[1].cpu(), backward(grad, near.to(DEVICE), w.to(DEVICE), *options)[1].cpu())
