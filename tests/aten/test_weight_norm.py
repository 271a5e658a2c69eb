"""Weight normalisation along the first and last dimension, its gradients, and as torch.nn.utils uses it."""
from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from .families import DEVICE, random
from .gradients import compare
from .spatial import launches

LIMITS = {torch.float32: dict(rtol=2e-5, atol=1e-5), torch.float64: dict(rtol=1e-10, atol=1e-11),
          torch.bfloat16: dict(rtol=6e-2, atol=6e-2)}


@pytest.mark.parametrize("dtype", list(LIMITS), ids=str)
@pytest.mark.parametrize("dim, shape", [(0, (5, 7)), (0, (6, 3, 5)), (2, (3, 4, 300)), (0, (2, 1000)), (0, (4,))],
                         ids=str)
def test_values_and_gradients(dim, shape, dtype):
    v = random((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]
    g = random([size if i == dim else 1 for i, size in enumerate(shape)], dtype, seed=1)
    compare(lambda v, g: torch._weight_norm(v, g, dim), v, g, **LIMITS[dtype])


def test_the_gradient_meets_the_one_of_the_composition():
    v, g = random((5, 7), torch.float64).to(DEVICE), random((5, 1), torch.float64, seed=1).to(DEVICE)
    assert torch.autograd.gradcheck(lambda v, g: torch._weight_norm(v, g, 0), (v.requires_grad_(), g.requires_grad_()))


@pytest.mark.parametrize("make", [lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
                                  lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 4, 3), dim=2),
                                  lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 4, 3), dim=1)],
                         ids=["linear", "conv, last", "conv, between"])
def test_modules(make):
    cpu = make()
    ours = copy.deepcopy(cpu).to(DEVICE)
    x = random((5, 6) if isinstance(cpu, nn.Linear) else (5, 2, 8))
    for model, where in ((cpu, "cpu"), (ours, DEVICE)):
        model(x.to(where)).square().sum().backward()
    for mine, its in zip(ours.parameters(), cpu.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.cpu(), its.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [0, 1])
def test_nothing(dim):
    """Where the CPU's kernel divides by zero, and the process ends."""
    v, g = torch.ones(0, 3, device=DEVICE, requires_grad=True), torch.ones((0, 1) if dim == 0 else (1, 3), device=DEVICE)
    w = torch._weight_norm(v, g, dim)
    w.sum().backward()
    assert w.shape == v.grad.shape == (0, 3)


def test_launches_and_errors():
    v, g = torch.ones(4, 6, device=DEVICE, requires_grad=True), torch.ones(4, 1, device=DEVICE, requires_grad=True)
    assert launches(lambda: torch._weight_norm(v, g, 0)) == 1
    w, grad = torch._weight_norm(v, g, 0), torch.ones(4, 6, device=DEVICE)
    assert launches(lambda: torch.autograd.grad(w, (v, g), grad, retain_graph=True)) == 1
    with pytest.raises(RuntimeError, match="expected 6 lengths"):
        torch.ops.aten._weight_norm_interface(v.detach(), g.detach(), 1)
    with pytest.raises(RuntimeError, match="first or the last"):
        torch.ops.aten._weight_norm_interface(torch.ones(2, 3, 4, device=DEVICE), g.detach(), 1)
