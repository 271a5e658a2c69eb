"""nn.LSTM, nn.GRU, nn.RNN: results and gradients as on the CPU, natively."""
from __future__ import annotations

import copy

import pytest
import torch
import torch.nn as nn

import torch_usbgpu  # noqa: F401

from .spatial import launches


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


LIMITS = {torch.float32: (1e-5, 1e-6), torch.float64: (1e-10, 1e-12), torch.float16: (4e-3, 4e-3), torch.bfloat16: (3e-2, 3e-2)}


@pytest.mark.parametrize("dtype", list(LIMITS), ids=str)
@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell])
def test_cells_in_every_dtype(kind, dtype):
    """More units than a workgroup has threads, a state that is a view, and both gradients of an LSTM's states."""
    torch.manual_seed(0)
    cpu = kind(3, 130).to(dtype)
    gpu = copy.deepcopy(cpu).to("usbgpu")
    x, block = torch.randn(3, 3).to(dtype), torch.randn(3, 260).to(dtype)
    results = []
    for cell, device in [(cpu, "cpu"), (gpu, "usbgpu")]:
        state = block.to(device)[:, ::2].detach().requires_grad_()
        outputs = cell(x.to(device), (state, state * 0.5) if kind is nn.LSTMCell else state)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        sum((y * (k + 1)).float().sum() for k, y in enumerate(outputs)).backward()
        results.append([*outputs, state.grad, *[p.grad for p in cell.parameters()]])
    rtol, atol = LIMITS[dtype]
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got.detach().cpu(), want.detach(), rtol=rtol * 4, atol=atol * 8)


@pytest.mark.parametrize("kind, gates", [(nn.LSTMCell, 4), (nn.GRUCell, 3)])
def test_a_cell_is_one_launch_beside_its_products(kind, gates):
    cell, x = kind(4, 6).to("usbgpu"), torch.randn(2, 4).to("usbgpu")
    state = torch.randn(2, 6).to("usbgpu")
    states = (state, state) if kind is nn.LSTMCell else state
    with torch.no_grad():
        cell(x, states)
        products = launches(lambda: (x @ cell.weight_ih.t(), state @ cell.weight_hh.t()))
        assert launches(lambda: cell(x, states)) == products + 1


def test_cells_without_samples_and_errors():
    assert nn.LSTMCell(4, 6).to("usbgpu")(torch.zeros(0, 4).to("usbgpu"))[0].shape == (0, 6)
    gates, state = torch.zeros(2, 24).to("usbgpu"), torch.zeros(2, 6).to("usbgpu")
    with pytest.raises(RuntimeError, match="same device"):
        torch.ops.aten._thnn_fused_lstm_cell(gates, gates, state.cpu())
    with pytest.raises(RuntimeError, match="expected hidden_gates of size"):
        torch.ops.aten._thnn_fused_lstm_cell(gates, gates[:, :12], state)
    with pytest.raises(RuntimeError, match="expected state of dtype"):
        torch.ops.aten._thnn_fused_gru_cell(gates[:, :18], gates[:, :18], state.double())
