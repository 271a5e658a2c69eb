"""Gradients do not depend on how memory is laid out: every differentiable entry of torch's database, its leaves
with gaps and in reversed order, and what comes from above expanded or with gaps. In double precision."""
from __future__ import annotations

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db

from torch_usbgpu import coverage
from torch_usbgpu.coverage.measure import KEEPS_ARGUMENTS, RANDOM, leaves, moved

from .test_opinfo import GAPS

SAMPLES = 2
UNEVEN = {
    "as_strided_scatter": "reads what lies between the elements",
    # Whether and where these drop out is up to the generator.
    "nn.functional.scaled_dot_product_attention": "drops out", "nn.functional.multi_head_attention_forward": "drops out",
    "svd_lowrank": "random projections",
}


def reversed_with_gaps(x):
    """The same values in memory twice as large in each dimension, the first dimension the fastest."""
    if x.dim() == 0 or x.layout != torch.strided:
        return x.detach()
    room = torch.zeros([2 * size + 1 for size in reversed(x.shape)], dtype=x.dtype, device=x.device)
    return room[tuple(slice(1, None, 2) for _ in x.shape)].permute(*reversed(range(x.dim()))).copy_(x.detach())


def uneven(value):
    if isinstance(value, torch.Tensor):
        return reversed_with_gaps(value).requires_grad_() if value.requires_grad else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(uneven(item) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(uneven(item) for item in value)
    return {key: uneven(item) for key, item in value.items()} if isinstance(value, dict) else value


def gradients(op, sample, device, layout):
    """The gradients and what they are gradients of, or None where nothing is to be derived."""
    torch.manual_seed(0)
    arguments = [moved(part, "cpu" if op.name in KEEPS_ARGUMENTS and part is sample.args else device)
                 for part in (sample.input, sample.args, sample.kwargs)]
    if layout == "leaves":
        arguments = [uneven(part) for part in arguments]
    result = sample.output_process_fn_grad(op.op(arguments[0], *arguments[1], **arguments[2]))
    outputs, inputs = ([leaf for leaf in leaves(part) if leaf.requires_grad] for part in (result, arguments))
    if not outputs or not inputs:
        return None
    torch.manual_seed(1)
    if layout == "expanded":
        above = [torch.full((), 0.7, dtype=leaf.dtype, device=leaf.device).expand(leaf.shape) for leaf in outputs]
    else:
        above = [torch.randn(leaf.shape, dtype=leaf.dtype).to(leaf.device) for leaf in outputs]
        above = above if layout == "leaves" else [reversed_with_gaps(item) for item in above]
    return torch.autograd.grad(outputs, inputs, above, allow_unused=True)


ENTRIES = [op for op in op_db if torch.float64 in op.dtypes and op.supports_autograd and coverage.name_of(op) not in UNEVEN
           and not any(word in coverage.name_of(op) for word in RANDOM) and coverage.name_of(op) not in GAPS]


@pytest.mark.expects_fallback
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", [pytest.param(op, id=coverage.name_of(op)) for op in ENTRIES])
def test_layouts_of_gradients(op):
    torch.usbgpu.set_fallback("silent")
    torch.manual_seed(0)
    for sample, _ in zip(op.sample_inputs("cpu", torch.float64, requires_grad=True), range(SAMPLES)):
        for layout in ("leaves", "expanded", "gaps"):
            try:
                want = gradients(op, sample, "cpu", layout)
            except (RuntimeError, NotImplementedError):
                continue        # a sample, or a layout, that the CPU refuses
            if want is None:
                continue
            got = gradients(op, sample, "usbgpu", layout)
            for mine, its in zip(got, want, strict=True):
                if its is None or mine is None:     # nothing, or zeros
                    assert its is None or not its.any()
                    continue
                torch.testing.assert_close(mine.cpu(), its, rtol=1e-5, atol=1e-7, equal_nan=True)
