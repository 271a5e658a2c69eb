"""Convolutions: no kernels yet, so the counted road to the CPU, forward and backward."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import torch_usbgpu  # noqa: F401

CASES = {
    "1d": (F.conv1d, (2, 4, 9), (6, 4, 3), {}),
    "2d strided, padded": (F.conv2d, (2, 4, 8, 7), (6, 4, 3, 3), {"stride": 2, "padding": 1}),
    "2d grouped": (F.conv2d, (2, 4, 6, 6), (8, 2, 3, 3), {"groups": 2}),
    "2d transposed": (F.conv_transpose2d, (2, 4, 5, 5), (4, 3, 3, 3), {"stride": 2, "output_padding": 1}),
}


@pytest.mark.expects_fallback
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_convolution_is_counted_and_right(case, bias):
    function, input_shape, weight_shape, options = CASES[case]
    torch.usbgpu.set_fallback("silent")
    torch.usbgpu.reset_fallbacks()
    torch.manual_seed(0)
    channels = weight_shape[1] if "transposed" in case else weight_shape[0]
    cpu = [torch.randn(shape, requires_grad=True) for shape in (input_shape, weight_shape, *([(channels,)] if bias else []))]
    gpu = [tensor.detach().to("usbgpu").requires_grad_() for tensor in cpu]
    ours, theirs = function(*gpu, **options), function(*cpu, **options)
    torch.testing.assert_close(ours.cpu(), theirs)
    (ours * ours).sum().backward()
    (theirs * theirs).sum().backward()
    for a, b in zip(gpu, cpu, strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad)
    assert torch.usbgpu.fallbacks() == {"aten::convolution_overrideable": 1, "aten::convolution_backward_overrideable": 1}


@pytest.mark.expects_fallback
def test_convolution_can_be_forbidden():
    torch.usbgpu.set_fallback("error")
    try:
        with pytest.raises(NotImplementedError, match="convolution_overrideable.*USBGPU_FALLBACK"):
            F.conv1d(torch.ones(1, 1, 4, device="usbgpu"), torch.ones(1, 1, 2, device="usbgpu"))
    finally:
        torch.usbgpu.set_fallback("warn")
