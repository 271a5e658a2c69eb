"""nn.LSTM, nn.GRU, nn.RNN: results and gradients as on the CPU, natively."""
from __future__ import annotations

import copy

import pytest
import torch
import torch.nn as nn

import torch_usbgpu  # noqa: F401


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_sequence(kind, bias):
    torch.manual_seed(0)
    cpu = kind(5, 7, num_layers=2, bias=bias, bidirectional=True)
    gpu = copy.deepcopy(cpu).to("usbgpu")
    x = torch.randn(4, 3, 5)
    ours_in, theirs_in = x.to("usbgpu").requires_grad_(), x.clone().requires_grad_()
    ours, theirs = gpu(ours_in)[0], cpu(theirs_in)[0]
    torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-5, atol=1e-6)
    weight = torch.randn_like(theirs)
    (ours * weight.to("usbgpu")).sum().backward()
    (theirs * weight).sum().backward()
    torch.testing.assert_close(ours_in.grad.cpu(), theirs_in.grad, rtol=1e-4, atol=1e-5)
    for a, b in zip(gpu.parameters(), cpu.parameters(), strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-4, atol=1e-5)


def test_gradient_of_the_cell_state_alone():
    torch.manual_seed(0)
    cpu = nn.LSTMCell(5, 7)
    gpu = copy.deepcopy(cpu).to("usbgpu")
    x = torch.randn(3, 5)
    gpu(x.to("usbgpu"))[1].sum().backward()
    cpu(x)[1].sum().backward()
    torch.testing.assert_close(gpu.weight_ih.grad.cpu(), cpu.weight_ih.grad, rtol=1e-4, atol=1e-5)
