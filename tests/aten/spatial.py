"""What the tests of pooling, resampling and padding share: one call on the CPU and on the device, with gradients."""
from __future__ import annotations

import torch
from torch.utils import _pytree

from .families import DEVICE, assert_guards, assert_same, guarded, keep_strides, no_fallback, random

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# f16 and bf16 are held against f32 on the CPU, whose own kernels partly round at every step or are missing.
LOW = (torch.float16, torch.bfloat16)
ONE_ROUNDING = {torch.float16: dict(rtol=1e-3, atol=1e-6), torch.bfloat16: dict(rtol=8e-3, atol=1e-6)}
LAYOUTS = ["contiguous", "channels_last", "transposed", "offset", "sliced", "expanded", "unbatched"]


def lay_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """[N, C, ...] with these values, its memory arranged as the name says."""
    if layout == "channels_last" and x.dim() in (4, 5):
        return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
    if layout == "transposed":
        return x.transpose(-1, 1).contiguous().transpose(-1, 1)
    if layout == "offset":
        block = torch.zeros(x.numel() + 5, dtype=x.dtype)
        view = block[5:].view(x.shape)
        return view.copy_(x)
    if layout == "sliced":
        block = torch.zeros((*x.shape[:-1], x.shape[-1] * 2), dtype=x.dtype)
        return block[..., ::2].copy_(x)
    if layout == "expanded":
        return x[:1].expand(x.shape)
    if layout == "unbatched":
        return x[0]
    return x


def values(shape, dtype, seed=0):
    """All different, so that a maximum is at one place; exact in every dtype."""
    count = 1
    for size in shape:
        count *= size
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).reshape(shape)
    if dtype.is_floating_point:
        return ((order % 251 - 125) / 8).to(dtype)
    return (order % 100).to(dtype)


def tolerance_of(dtype):
    return ONE_ROUNDING.get(dtype, {})


def compare(function, *args, strides=True, **tolerance):
    """function(*args) and the gradients of all floating arguments, natively and as the CPU has them.

    The cotangents are the same on both, and have awkward strides themselves."""
    dtype = args[0].dtype

    def run(inputs, device):
        inputs = [x.detach().requires_grad_(x.is_floating_point()) if isinstance(x, torch.Tensor) else x for x in inputs]
        outputs = [y for y in _pytree.tree_leaves(function(*inputs)) if isinstance(y, torch.Tensor)]
        roots = [y for y in outputs if y.requires_grad]
        leaves = [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
        cotangents = []
        for number, y in enumerate(roots):
            cotangent = random((*y.shape[:-1], 2 * y.shape[-1]), dtype, seed=100 + number)[..., ::2]
            cotangents.append(cotangent.to(y.dtype) if device == "cpu" else keep_strides(cotangent))
        gradients = torch.autograd.grad(roots, leaves, cotangents) if roots else ()
        return [y.detach() for y in outputs], list(gradients)

    def widened(x):
        if not isinstance(x, torch.Tensor) or x.dtype not in LOW:
            return x
        wide = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage()).float()
        return wide.as_strided(x.shape, x.stride(), x.storage_offset())

    want, want_gradients = run([widened(x) for x in args], "cpu")
    if dtype in LOW:
        want, want_gradients = ([y.to(dtype) if y.is_floating_point() else y for y in ys] for ys in (want, want_gradients))
    with no_fallback():
        moved = [keep_strides(x) if isinstance(x, torch.Tensor) else x for x in args]
        got, got_gradients = run(moved, DEVICE)
        torch.usbgpu.synchronize()
    assert_same(got, want, **(tolerance or tolerance_of(dtype)))
    assert_same(got_gradients, want_gradients, **(tolerance or tolerance_of(dtype)))
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        if strides:
            assert a.stride() == b.stride(), "the memory format differs from the CPU's"


def check_out(function, *args, **tolerance):
    """function(*args, out=...) into outputs with gaps, and nothing is written into the gaps."""
    want = function(*args)
    single = isinstance(want, torch.Tensor)
    wants = [want] if single else list(want)
    outs = []
    for y in wants:
        strides = [2 * step for step in torch.empty(y.shape).stride()]
        outs.append(guarded(y.shape, y.dtype, strides))
    with no_fallback():
        moved = [keep_strides(x) if isinstance(x, torch.Tensor) else x for x in args]
        function(*moved, out=outs[0][0] if single else tuple(o[0] for o in outs))
    for (out, whole, outside), y in zip(outs, wants, strict=True):
        assert_same(out, y, **(tolerance or tolerance_of(y.dtype)))
        assert_guards(whole, outside)


def launches(function) -> int:
    """How many kernels one call takes, once its kernels are there."""
    function()
    before = torch.usbgpu.link_stats()["launches"]
    function()
    return torch.usbgpu.link_stats()["launches"] - before
