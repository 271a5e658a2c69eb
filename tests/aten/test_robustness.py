"""Every operator of torch's database on awkward memory: operands that are transposed, sliced or off by one element,
each inside a block of guard elements; `out=` that is not contiguous; in place on such views.

Guards are NaN where the dtype has one: what a kernel reads beside an operand shows in its result, what it writes beside
it shows in the block. The suite runs every STEP-th entry; all of them (some minutes on a cold cache):

    USBGPU_ROBUSTNESS=all python -m pytest tests/aten/test_robustness.py
"""
from __future__ import annotations

import os
import random
import zlib

import numpy as np
import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree

from .layouts import GUARD, lay_out

STEP = 1 if os.environ.get("USBGPU_ROBUSTNESS") == "all" else 8
SAMPLES = 2
PLACES = ("transposed", "sliced", "offset")
RTOL, ATOL = 2e-4, 2e-5
# Random results or memory that nobody wrote; results unique up to signs; sparse layouts; the jiterator is CUDA's.
LEFT_OUT = ("rand", "normal", "uniform", "dropout", "empty", "bernoulli", "multinomial", "exponential", "cauchy",
            "geometric", "fractional_max_pool", "rrelu", "scaled_dot_product_attention", "multi_head_attention", "svd", "eig",
            "qr", "pca_lowrank", "lobpcg", "geqrf", "sparse", "jiterator", "resize_", "resize_as_", "tensor_split")
# Their results depend on the strides of their operands, as torch has them.
TAKES_NO_TUPLE = ("_batch_norm_with_update", "histogramdd", "nonzero")     # several outputs, with other names or none
LAYOUT_IS_THE_RESULT = ("as_strided", "as_strided_copy", "as_strided_scatter", "as_strided.partial_views", "view", "view_as",
                        "view_copy", "view_as_complex", "kron", "is_set_to", "unsafe_chunk", "unbind_copy")


def name_of(op) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def entries() -> list:
    chosen = [op for op in op_db if torch.float32 in op.dtypes and not any(word in name_of(op) for word in LEFT_OUT)
              and op.name not in LAYOUT_IS_THE_RESULT]
    return [op for op in chosen if zlib.crc32(name_of(op).encode()) % STEP == 0]


def guard_value(dtype: torch.dtype):
    if dtype == torch.bool:
        return True
    return float("nan") if dtype.is_floating_point or dtype.is_complex else 77


class Placed:
    """A tensor's values on the device, in one of PLACES, amid guards."""

    def __init__(self, values: torch.Tensor, place: str):
        values = values.detach().resolve_conj().resolve_neg()
        probe = lay_out(values, place if values.dim() else "offset")
        count = probe.untyped_storage().nbytes() // probe.element_size()
        self.before = torch.full((count + 2 * GUARD,), guard_value(values.dtype), dtype=values.dtype)
        self.view = (probe.shape, probe.stride(), probe.storage_offset() + GUARD)
        self.before.as_strided(*self.view).copy_(values)
        self.block = self.before.to("usbgpu")
        self.tensor = self.block.as_strided(*self.view)

    def check_surroundings(self) -> None:
        after = self.block.cpu()
        inside = torch.zeros(after.shape, dtype=torch.bool)
        inside.as_strided(*self.view).fill_(True)
        bits = [t[~inside].contiguous().view(torch.uint8) for t in (after, self.before)]
        assert torch.equal(*bits), "memory beside an operand was written"


def seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def samples_of(op) -> list:
    seeded()
    found = op.sample_inputs("cpu", torch.float32, requires_grad=False)
    return [sample for sample, _ in zip(found, range(SAMPLES), strict=False)]


def copied(tree):
    return _pytree.tree_map(lambda x: x.detach().clone() if isinstance(x, torch.Tensor) else x, tree)


def on_device(tree, first: int) -> tuple[object, list[Placed]]:
    """The arguments with every tensor placed; strings and devices that say "cpu" say "usbgpu"."""
    placed: list[Placed] = []

    def move(x):
        if isinstance(x, torch.Tensor):
            placed.append(Placed(x, PLACES[(first + len(placed)) % len(PLACES)]))
            return placed[-1].tensor
        if isinstance(x, torch.device) or x == "cpu":
            return torch.device("usbgpu")
        return x

    return _pytree.tree_map(move, tree), placed


def tensors(tree) -> list[torch.Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def assert_same(actual, expected) -> None:
    got, want = tensors(actual), tensors(expected)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        largest = b[b.isfinite()].abs().max().item() if b.dtype.is_floating_point and b.isfinite().any() else 1
        torch.testing.assert_close(a.cpu(), b, rtol=RTOL, atol=ATOL * max(1, largest), equal_nan=True)


def cases(op):
    """(number, arguments, the CPU's result, the CPU's arguments afterwards) of each sample that the CPU takes."""
    for number, sample in enumerate(samples_of(op)):
        arguments = (sample.input, sample.args, sample.kwargs)
        after = copied(arguments)
        try:
            seeded()
            expected = op.op(after[0], *after[1], **after[2])
        except (RuntimeError, NotImplementedError, TypeError):
            continue
        yield number, arguments, expected, after


@pytest.fixture(autouse=True)
def counted():
    torch.usbgpu.set_fallback("silent")
    torch.usbgpu.reset_fallbacks()


def skip_if_on_cpu() -> None:
    """An operator without a kernel has no memory to misuse."""
    if torch.usbgpu.fallbacks():
        pytest.skip(f"falls back: {', '.join(sorted(torch.usbgpu.fallbacks()))}")


OPERATORS = [pytest.param(op, id=name_of(op)) for op in entries()]
WITH_OUT = [pytest.param(op, id=name_of(op)) for op in entries() if op.supports_out and op.name not in TAKES_NO_TUPLE]
IN_PLACE = [pytest.param(op, id=name_of(op)) for op in entries() if op.inplace_variant]


@pytest.mark.expects_fallback
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", OPERATORS)
def test_operands(op):
    for number, arguments, expected, after in cases(op):
        (value, args, kwargs), placed = on_device(arguments, number)
        got = op.op(value, *args, **kwargs)
        torch.usbgpu.synchronize()
        skip_if_on_cpu()
        assert_same(got, expected)
        for operand, changed in zip(placed, tensors(after), strict=True):
            operand.check_surroundings()
            assert_same(operand.tensor, changed)


@pytest.mark.expects_fallback
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", WITH_OUT)
def test_out(op):
    for number, arguments, expected, _ in cases(op):
        outs = [Placed(torch.zeros_like(t, memory_format=torch.contiguous_format), PLACES[(number + i) % len(PLACES)])
                for i, t in enumerate(tensors(expected))]
        if not outs or "out" in arguments[2] or not all(isinstance(x, torch.Tensor) for x in _pytree.tree_leaves(expected)):
            continue
        (value, args, kwargs), _ = on_device(arguments, number + 1)
        out = outs[0].tensor if isinstance(expected, torch.Tensor) else tuple(o.tensor for o in outs)
        op.op(value, *args, **kwargs, out=out)
        torch.usbgpu.synchronize()
        skip_if_on_cpu()
        assert_same([o.tensor for o in outs], expected)
        for o in outs:
            assert all(a == b for size, a, b in zip(o.tensor.shape, o.tensor.stride(), o.view[1], strict=True) if size > 1)
            o.check_surroundings()


@pytest.mark.expects_fallback
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", IN_PLACE)
def test_in_place(op):
    for number, sample in enumerate(samples_of(op)):
        arguments = (sample.input, sample.args, sample.kwargs)
        expected = copied(arguments)
        try:
            op.inplace_variant(expected[0], *expected[1], **expected[2])
        except (RuntimeError, NotImplementedError, TypeError):
            continue
        (value, args, kwargs), placed = on_device(arguments, number)
        if not isinstance(value, torch.Tensor) or expected[0].shape != value.shape:     # CPU's addbmm_ resizes
            continue
        op.inplace_variant(value, *args, **kwargs)
        torch.usbgpu.synchronize()
        skip_if_on_cpu()
        assert_same(value, expected[0])
        for operand in placed:
            operand.check_surroundings()
