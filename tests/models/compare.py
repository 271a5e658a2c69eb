"""The same model, the same batches and the same optimizer on the CPU and on the device, step by step."""
from __future__ import annotations

import copy

import torch
from torch.utils import _pytree

DEVICE = "usbgpu"


def on_device(tree):
    return _pytree.tree_map(lambda x: x.to(DEVICE) if isinstance(x, torch.Tensor) else x, tree)


def close(got, want, what, rtol=1e-3, atol=2e-5):
    """Errors are judged by the size of the tensor they are in: what sums cancel is lost on either device."""
    assert got.device.type == DEVICE, f"{what} is on {got.device}"
    want = want.detach()
    if want.is_floating_point():
        atol = atol + rtol * want.abs().max().item() if want.numel() else atol
    torch.testing.assert_close(got.detach().cpu(), want, rtol=rtol, atol=atol, msg=lambda text: f"{what}: {text}")


def forward(model, *inputs, pick=lambda output: output, **limits):
    """model(*inputs) without gradients, on both; returns the CPU's output."""
    model.eval()
    ours = copy.deepcopy(model).to(DEVICE)
    with torch.no_grad():
        want = pick(model(*inputs))
        got = pick(ours(*on_device(inputs)))
    for i, (g, w) in enumerate(zip(_pytree.tree_leaves(got), _pytree.tree_leaves(want), strict=True)):
        if w is None:
            assert g is None
        else:
            close(g, w, f"output {i}", **limits)
    return want


def train(model, batches, loss_of, make_optimizer=None, **limits):
    """Losses, gradients, parameters and buffers agree after every step; the loss is not stuck."""
    make_optimizer = make_optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9))
    model.train()
    ours = copy.deepcopy(model).to(DEVICE)
    optimizers = make_optimizer(model.parameters()), make_optimizer(ours.parameters())
    losses = []
    for step, batch in enumerate(batches):
        results = []
        for side, optimizer, data in zip((model, ours), optimizers, (batch, on_device(batch)), strict=True):
            optimizer.zero_grad()
            loss = loss_of(side, *data)
            loss.backward()
            results.append(loss)
        close(results[1], results[0], f"loss of step {step}", **limits)
        theirs = dict(model.named_parameters())
        for name, parameter in ours.named_parameters():
            if theirs[name].grad is None:
                assert parameter.grad is None, name
                continue
            close(parameter.grad, theirs[name].grad, f"gradient of {name} in step {step}", **limits)
        for optimizer in optimizers:
            optimizer.step()
        theirs = model.state_dict()
        for name, tensor in ours.state_dict().items():
            close(tensor, theirs[name], f"{name} after step {step}", **limits)
        losses.append(results[0].item())
    assert len(set(losses)) == len(losses), "the loss never changed: nothing was trained"
    return losses
