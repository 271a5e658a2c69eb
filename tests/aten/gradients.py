"""One call and the gradients of all its floating arguments, natively and as the CPU has them, in the same dtypes."""
from __future__ import annotations

import torch
from torch.utils import _pytree

from .families import DEVICE, assert_same, keep_strides, no_fallback, random


def _run(function, args, device, differentiable):
    leaves = []

    def leaf(x):
        if not isinstance(x, torch.Tensor):
            return x
        x = x.detach()
        if x.is_floating_point() and differentiable:
            leaves.append(x.requires_grad_())
        return x

    outputs = [y for y in _pytree.tree_leaves(function(*[leaf(x) for x in args])) if isinstance(y, torch.Tensor)]
    roots = [y for y in outputs if y.requires_grad]
    cotangents = []
    for number, y in enumerate(roots):
        # with a step in memory, where there is a dimension to step through
        whole = random((*y.shape[:-1], 2 * y.shape[-1]) if y.dim() else (), y.dtype, seed=100 + number)
        cotangent = whole[..., ::2] if y.dim() else whole
        cotangents.append(cotangent if device == "cpu" else keep_strides(cotangent))
    gradients = torch.autograd.grad(roots, leaves, cotangents, allow_unused=True) if roots else ()
    return [y.detach() for y in outputs], list(gradients)


def compare(function, *args, strides=False, differentiable=True, **tolerance):
    """Values, shapes, dtypes (and strides) of function(*args), and the gradients. The cotangents are the same on both."""
    want, want_gradients = _run(function, args, "cpu", differentiable)
    with no_fallback():
        moved = [keep_strides(x) if isinstance(x, torch.Tensor) else x for x in args]
        got, got_gradients = _run(function, moved, DEVICE, differentiable)
        torch.usbgpu.synchronize()
    assert_same(got, want, **tolerance)
    assert [g is None for g in got_gradients] == [g is None for g in want_gradients]
    assert_same([g for g in got_gradients if g is not None], [g for g in want_gradients if g is not None], **tolerance)
    if strides:
        assert [y.stride() for y in got] == [y.stride() for y in want], "the memory format differs from the CPU's"
