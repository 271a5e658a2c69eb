"""USBGPU_CHECK=1: every operator runs on the CPU as well, and the first that differs is an error that names it.

A dispatch mode sees the operators below autograd, as our kernels get them. The operands' whole storages are copied
to the CPU before the operator runs, so that views, gaps and overlaps are there as on the device.
"""
from __future__ import annotations

import contextlib
import os
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from . import fallback_sites
from .errors import ConfigError

__all__ = ["Divergence", "checked", "configure"]

# dtype -> what may differ, relative to the largest result, and absolutely: other orders of summation.
TOLERANCE = {torch.float64: (1e-9, 1e-12), torch.float32: (1e-4, 1e-6), torch.float16: (4e-3, 1e-5),
             torch.bfloat16: (3e-2, 1e-5), torch.complex64: (1e-4, 1e-6), torch.complex128: (1e-9, 1e-12)}
# Memory that nobody wrote, and answers about the device itself.
UNWRITTEN = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted", "resize_",
             "resize_as_", "set_", "record_stream", "is_pinned", "_pin_memory", "_has_compatible_shallow_copy_type"}
# Equal values may come in any order, and their places with them: only the values are compared.
PLACES_ARE_FREE = {"sort", "topk", "kthvalue", "mode", "median", "nanmedian", "argsort"}
# What follows the first result is for the same device's backward pass: the CPU leaves parts of it unwritten, or out.
NOTES = {"_embedding_bag", "_embedding_bag_forward_only", "_ctc_loss"}
# Unique only up to signs, phases or pivots.
NOT_UNIQUE = {"_linalg_svd", "_linalg_eigh", "linalg_eig", "linalg_qr", "geqrf", "linalg_lstsq"}


class Divergence(RuntimeError):
    """An operator gave another result on usbgpu than on the CPU."""


class _Check(TorchDispatchMode):

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function._schema.name.split("::")[-1]
        if not self._is_ours((args, kwargs)) or name in UNWRITTEN or name in NOT_UNIQUE \
                or torch.Tag.nondeterministic_seeded in function.tags:
            return function(*args, **kwargs)
        mirrors: dict[int, torch.UntypedStorage] = {}
        try:
            there_args, there_kwargs = tree_map(lambda value: _mirror(value, mirrors), (args, kwargs))
        except NotImplementedError:     # a layout without a storage
            return function(*args, **kwargs)
        shown = _described(function, args, kwargs)
        result = function(*args, **kwargs)
        try:
            want = function(*there_args, **there_kwargs)
        except (RuntimeError, NotImplementedError, IndexError, ValueError):
            return result               # the CPU does not have it (backend-specific operators): nothing to compare with
        self._compare(function, name, result, want, shown)
        for argument, given, mirrored in zip(function._schema.arguments, args, there_args):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._compare(function, name, given, mirrored, shown)
        for argument in function._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write and argument.name in kwargs:
                self._compare(function, name, kwargs[argument.name], there_kwargs[argument.name], shown)
        return result

    @staticmethod
    def _is_ours(values: Any) -> bool:
        return any(isinstance(value, torch.Tensor) and value.device.type == "usbgpu" or
                   isinstance(value, torch.device) and value.type == "usbgpu" for value in tree_leaves(values))

    @staticmethod
    def _compare(function, name: str, result: Any, want: Any, shown: str) -> None:
        for index, (got, expected) in enumerate(zip(tree_leaves(result), tree_leaves(want), strict=True)):
            if index and name in PLACES_ARE_FREE | NOTES or name == "argsort":
                continue
            found = _difference(got, expected)
            if found:
                raise Divergence(f"{function} on usbgpu differs from the CPU in result {index}: {found}\n{shown}"
                                 f"\n  at {fallback_sites.site()}")


def _mirror(value: Any, mirrors: dict[int, torch.UntypedStorage]) -> Any:
    """The same on the CPU: tensors that share a storage share one there too."""
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == "usbgpu" else value
    if not isinstance(value, torch.Tensor):
        return value
    if value.layout != torch.strided:
        raise NotImplementedError
    storage = value.untyped_storage()
    if storage._cdata not in mirrors:
        whole = torch.empty(0, dtype=torch.uint8, device=value.device).set_(storage, 0, (storage.nbytes(),), (1,))
        mirrors[storage._cdata] = (whole.cpu() if value.device.type != "cpu" else whole.clone()).untyped_storage()
    mirror = torch.empty(0, dtype=value.dtype).set_(mirrors[storage._cdata], value.storage_offset(), value.size(),
                                                    value.stride())
    mirror = torch._neg_view(mirror) if value.is_neg() else mirror
    return mirror.conj() if value.is_conj() else mirror


def _difference(got: Any, want: Any) -> str | None:
    if not isinstance(want, torch.Tensor):
        return None if got == want or got != got and want != want else f"{got} instead of {want}"
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{got.dtype} {tuple(got.shape)} instead of {want.dtype} {tuple(want.shape)}"
    if not want.numel() or want.layout != torch.strided:
        return None
    got, want = got.detach().cpu(), want.detach()
    if want.dtype in TOLERANCE:
        relative, absolute = TOLERANCE[want.dtype]
        wide = torch.complex128 if want.is_complex() else torch.float64
        got, want = got.to(wide), want.to(wide)
        finite = want[torch.isfinite(want)].abs()
        room = absolute + relative * (finite.max().item() if finite.numel() else 0.0)
        bad = ~torch.isclose(got, want, rtol=relative, atol=room, equal_nan=True)
    elif want.dtype.is_floating_point:      # float8: no arithmetic, so no rounding either
        bad = got.view(torch.uint8) != want.view(torch.uint8)
    else:
        bad = got != want
    count = int(bad.sum())
    if not count:
        return None
    first = tuple(bad.nonzero()[0].tolist())
    return (f"{count} of {bad.numel()} elements; first at {list(first)}: {got[first].item()} instead of "
            f"{want[first].item()}")


def _described(function, args: tuple, kwargs: dict) -> str:
    """The arguments as they are before the operator changes them, a line each."""
    names = [argument.name for argument in function._schema.arguments]
    return "\n".join(f"  {name} = {_shown(value)}" for name, value in [*zip(names, args), *kwargs.items()])


def _shown(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        offset = f", storage offset {value.storage_offset()}" if value.storage_offset() else ""
        return f"{value.dtype} {tuple(value.shape)}, strides {value.stride()}{offset}, on {value.device}"
    if isinstance(value, (list, tuple)) and any(isinstance(item, torch.Tensor) for item in value):
        return "[" + "; ".join(map(_shown, value)) + "]"
    return repr(value)


@contextlib.contextmanager
def checked():
    """Every operator of this thread, and of the backward passes that it starts, runs on the CPU as well. The first
    that differs raises Divergence, with operator, shapes, strides and the line that asked for it. Slow: every operand
    crosses the cable. USBGPU_CHECK=1 does it for the thread that imports torch_usbgpu, to its end."""
    with _Check():
        yield


_for_good: _Check | None = None


def configure() -> None:
    """USBGPU_CHECK, as the program starts."""
    global _for_good
    wanted = os.environ.get("USBGPU_CHECK", "0")
    if wanted not in ("0", "1", ""):
        raise ConfigError(f"USBGPU_CHECK is {wanted!r}.", "Set it to 1 (check every operator) or 0.")
    if wanted == "1" and _for_good is None:
        _for_good = _Check()
        _for_good.__enter__()
