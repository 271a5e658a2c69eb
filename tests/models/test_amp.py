"""Mixed precision: autocast against the CPU's, and GradScaler's scale."""
from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from . import networks
from .compare import DEVICE, close, on_device

STEPS = 3
LIMITS = {torch.bfloat16: dict(rtol=4e-2, atol=4e-2), torch.float16: dict(rtol=6e-3, atol=6e-3)}


def gpt():
    batches = [(torch.randint(31, (2, 16)), torch.randint(31, (2, 16))) for _ in range(STEPS)]
    return (networks.GPT(vocabulary=31, width=32, heads=4, layers=1, context=16), batches,
            lambda m, x, y: F.cross_entropy(m(x).flatten(0, 1), y.flatten()))


def cnn():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 5))
    batches = [(torch.randn(4, 3, 8, 8), torch.randint(5, (4,))) for _ in range(STEPS)]
    return model, batches, lambda m, x, y: F.cross_entropy(m(x), y)


def mlp():
    model = nn.Sequential(nn.Linear(20, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 5))
    return model, [(torch.randn(8, 20), torch.randint(5, (8,))) for _ in range(STEPS)], lambda m, x, y: F.cross_entropy(m(x), y)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("make", [mlp, cnn, gpt])
def test_amp_training(make, dtype):
    model, batches, loss_of = make()
    ours = copy.deepcopy(model).to(DEVICE)
    sides = []
    for device, side in (("cpu", model), (DEVICE, ours)):
        sides.append((device, side, torch.optim.SGD(side.parameters(), lr=0.05),
                      torch.amp.GradScaler(device, init_scale=256.0, growth_interval=2, enabled=dtype == torch.float16)))
    for step, batch in enumerate(batches):
        losses = []
        for device, side, optimizer, scaler in sides:
            data = on_device(batch) if device == DEVICE else batch
            optimizer.zero_grad()
            with torch.autocast(device, dtype=dtype):
                loss = loss_of(side, *data)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss)
        assert losses[0].dtype == losses[1].dtype
        close(losses[1], losses[0], f"loss of step {step}", **LIMITS[dtype])
        theirs = dict(model.named_parameters())
        for name, parameter in ours.named_parameters():
            close(parameter, theirs[name], f"{name} after step {step}", **LIMITS[dtype])
    assert sides[0][3].get_scale() == sides[1][3].get_scale()


def test_an_overflow_skips_the_step_and_halves_the_scale():
    layer = nn.Linear(4, 4).to(DEVICE)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**16)
    with torch.autocast(DEVICE, dtype=torch.float16):
        loss = (layer(torch.ones(2, 4, device=DEVICE)) * 1e4).sum()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**15
    assert torch.equal(before.cpu(), layer.weight.detach().cpu())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_chooses_the_same_dtypes_as_cuda(dtype):
    a, b = torch.randn(4, 4, device=DEVICE), torch.randn(4, 4, device=DEVICE)
    with torch.autocast(DEVICE, dtype=dtype):
        assert (a @ b).dtype == F.linear(a, b).dtype == torch.bmm(a[None], b[None]).dtype == dtype
        assert F.scaled_dot_product_attention(*[a[None, None]] * 3).dtype == dtype
        assert torch.softmax(a @ b, 0).dtype == torch.exp(a @ b).dtype == torch.float32
        assert F.layer_norm(a @ b, (4,)).dtype == torch.float32
        assert torch.cat([a @ b, a]).dtype == torch.float32
        assert torch.relu(a @ b).dtype == dtype
