"""Parameters stay the same objects when a module is moved to the device and back."""
from __future__ import annotations

import pytest
import torch
from torch import nn

from .families import DEVICE


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x):
        return self.head(self.tokens(x))


@pytest.mark.parametrize("move", [lambda m: m.to(DEVICE), lambda m: m.usbgpu(), lambda m: m.to(DEVICE, torch.bfloat16), lambda m: m.to(DEVICE).half().cpu()])
def test_tied_weights_stay_tied(move):
    model = Tied()
    weight, kept = model.tokens.weight, model.tokens.weight.detach().clone()
    moved = move(model)
    assert moved.tokens.weight is moved.head.weight is weight
    assert isinstance(weight, nn.Parameter) and weight.requires_grad and weight.is_leaf
    torch.testing.assert_close(weight.detach().cpu().float(), kept, rtol=1e-2, atol=1e-2)
    assert len(list(moved.parameters())) == 1


def test_both_uses_of_a_tied_weight_are_in_its_gradient():
    theirs = Tied()
    ours = Tied()
    ours.load_state_dict(theirs.state_dict())
    ours.to(DEVICE)
    tokens = torch.tensor([1, 2, 3])
    theirs(tokens).square().sum().backward(), ours(tokens.to(DEVICE)).square().sum().backward()
    torch.testing.assert_close(ours.tokens.weight.grad.cpu(), theirs.tokens.weight.grad)


def test_an_optimizer_made_before_the_move_trains():
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer.to(DEVICE)
    before = layer.weight.detach().clone()
    layer(torch.ones(1, 3, device=DEVICE)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach().cpu(), before.cpu() - 1)


def test_gradients_move_along():
    layer = nn.Linear(3, 2)
    layer(torch.ones(1, 3)).sum().backward()
    layer.to(DEVICE)
    assert layer.weight.grad.device.type == DEVICE
    assert torch.equal(layer.weight.grad.cpu(), torch.ones(2, 3))


def test_weights_that_a_graph_holds_are_replaced_and_stay_tied():
    model = Tied()
    held = model(torch.tensor([1, 2])).sum()
    model.to(DEVICE)
    assert model.tokens.weight is model.head.weight
    assert model.tokens.weight.device.type == DEVICE
    held.backward()


def test_recurrent_weights_move():
    cell = nn.LSTM(3, 4).to(DEVICE)
    assert all(weight.device.type == DEVICE for weight in cell._flat_weights)
    assert all(a is b for a, b in zip(cell._flat_weights, cell.parameters(), strict=True))


def test_other_moves_are_torchs_own():
    layer = nn.Linear(3, 2)
    weight = layer.weight
    assert layer.double().weight is weight and weight.dtype == torch.float64
    assert layer.to("meta").weight.device.type == "meta"
