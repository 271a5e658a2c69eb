"""PyTorch's own operator samples: whatever runs on usbgpu gives the CPU's results, natively or counted.

Forward and backward, float32, the first SAMPLES of each entry. Coverage is not asserted here; being wrong is.
"""
from __future__ import annotations

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db

import torch_usbgpu  # noqa: F401
from torch_usbgpu import coverage
from torch_usbgpu.coverage.measure import ABSOLUTE, UP_TO_SIGN

SAMPLES = 3
RTOL, ATOL = 2e-4, 2e-5
# Their results are random, or memory that nobody wrote; the jiterator is for CUDA alone.
LEFT_OUT = ("rand", "normal", "uniform", "dropout", "empty", "bernoulli", "multinomial", "exponential", "cauchy",
            "geometric", "rrelu", "fractional_max_pool", "scaled_dot_product_attention", "multi_head_attention",
            "jiterator")
GAPS = {
    "tensor_split": "the sample's indices must be on the CPU, and the samples move with the device",
}


def name_of(op) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def moved(value, device: str):
    """A copy with every tensor, and every mention of a device, on `device`."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().to(device)
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, device) for item in value)
    if isinstance(value, dict):
        return {key: moved(item, device) for key, item in value.items()}
    return torch.device(device) if isinstance(value, torch.device) else value


def run(op, sample, device: str):
    return op.op(moved(sample.input, device), *moved(sample.args, device), **moved(sample.kwargs, device))


OPERATORS = [
    pytest.param(op, id=name_of(op),
                 marks=pytest.mark.xfail(reason=GAPS[name_of(op)], strict=True) if name_of(op) in GAPS else ())
    for op in op_db if torch.float32 in op.dtypes and not any(word in name_of(op) for word in LEFT_OUT)]


@pytest.mark.expects_fallback
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", OPERATORS)
def test_samples(op):
    torch.usbgpu.set_fallback("silent")
    torch.manual_seed(0)
    compared = 0
    for sample in list(op.sample_inputs("cpu", torch.float32, requires_grad=False))[:SAMPLES]:
        try:
            want = run(op, sample, "cpu")
        except (RuntimeError, NotImplementedError):
            continue        # a sample that only other devices take
        got = run(op, sample, "usbgpu")
        if any(word in name_of(op) for word in UP_TO_SIGN):     # the sample knows what is unique
            want, got = sample.output_process_fn_grad(want), sample.output_process_fn_grad(got)
        torch.testing.assert_close(moved(got, "cpu"), want, rtol=RTOL, atol=ABSOLUTE.get(name_of(op), ATOL), equal_nan=True,
                                   check_device=False)
        compared += 1
    if not compared:
        pytest.skip("no sample of this operator runs on the CPU")


# ---- backward: as `usbgpu coverage` counts it


@pytest.mark.expects_fallback
@pytest.mark.parametrize("op", [
    pytest.param(op, id=name_of(op),
                 marks=pytest.mark.xfail(reason=GAPS[name_of(op)], strict=True)
                 if name_of(op) in GAPS and name_of(op) != "tensor_split" else ())
    for op in op_db if torch.float32 in op.dtypes and op.supports_autograd])
def test_gradients(op):
    found = coverage.measure(op, samples=SAMPLES, directions=("backward",))["backward"]
    assert found["state"] in (coverage.NATIVE, coverage.FALLBACK, coverage.NOTHING), found
