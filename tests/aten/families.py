"""What the tests of the operator families share: the same call on the CPU and on the device."""
from __future__ import annotations

import contextlib

import torch
import torch_usbgpu  # noqa: F401  registers the device
from torch.utils import _pytree

DEVICE = "usbgpu"
TOLERANCE = {
    torch.float64: dict(rtol=1e-10, atol=1e-12),
    torch.float32: dict(rtol=2e-5, atol=2e-5),
    torch.float16: dict(rtol=2e-3, atol=2e-3),
    torch.bfloat16: dict(rtol=2e-2, atol=2e-2),
}
GUARD = 77


def random(shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return torch.randint(0 if dtype == torch.uint8 else -9, 10, shape, generator=generator).to(dtype)


def on_device(tree):
    return _pytree.tree_map(lambda x: x.to(DEVICE) if isinstance(x, torch.Tensor) else x, tree)


def keep_strides(tensor):
    """On the device with the strides of `tensor`: `.to` makes some layouts dense."""
    if tensor.is_contiguous():
        return tensor.to(DEVICE)
    storage = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
    return storage.to(DEVICE).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


@contextlib.contextmanager
def no_fallback():
    torch.usbgpu.reset_fallbacks()
    yield
    assert torch.usbgpu.fallbacks() == {}


def assert_same(actual, expected, **tolerance):
    flat_actual, flat_expected = _pytree.tree_leaves(actual), _pytree.tree_leaves(expected)
    assert len(flat_actual) == len(flat_expected)
    for got, want in zip(flat_actual, flat_expected, strict=True):
        if not isinstance(want, torch.Tensor):
            assert got == want
            continue
        assert got.device.type == DEVICE
        limits = tolerance or TOLERANCE.get(want.dtype, dict(rtol=0, atol=0))
        torch.testing.assert_close(got.cpu(), want, equal_nan=True, **limits)


def check(function, *args, tolerance=None, **kwargs):
    """function(*args) natively on the device gives what it gives on the CPU."""
    expected = function(*args, **kwargs)
    with no_fallback():
        actual = function(*_pytree.tree_map(lambda x: keep_strides(x) if isinstance(x, torch.Tensor) else x, args),
                          **on_device(kwargs))
        assert_same(actual, expected, **(tolerance or {}))
    return actual


def guarded(shape, dtype, strides=None):
    """An output on the device inside a larger storage: (output, whole storage, mask of what is not output)."""
    strides = strides or torch.empty(shape).stride()
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    whole = torch.full((span + 16,), GUARD, dtype=dtype, device=DEVICE)
    out = whole.as_strided(shape, strides, 8)
    outside = torch.ones(span + 16, dtype=torch.bool)
    outside.as_strided(shape, strides, 8).fill_(False)
    return out, whole, outside


def assert_guards(whole, outside):
    assert (whole.cpu()[outside] == GUARD).all()
