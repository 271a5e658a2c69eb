"""Runs torch's samples of an operator on the CPU and on usbgpu, and says how the second went.

An entry's state is that of its worst sample: one sample that needs the CPU makes the entry a fallback.
"""
from __future__ import annotations

import collections
import copy
import functools
import math
import random
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

NATIVE, FALLBACK, WRONG, UNSUPPORTED, NOTHING = "native", "fallback", "wrong", "unsupported", "nothing to run"
SAMPLES = 4
MAIN = torch.float32            # forward and backward, with all samples; other dtypes forward, with SAMPLES_OF_OTHERS
SAMPLES_OF_OTHERS = 2
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool, torch.complex64)
RTOL, ATOL = 2e-4, 2e-5
# Of the largest result: what is computed wide and rounded once differs in the last bits, and sums cancel.
ROUNDING = {torch.float16: 4e-3, torch.bfloat16: 3e-2}
# Where terms cancel and the rounding of float32 decides: the CPU's own result, or gradient, is about as far away from
# what it computes in double precision.
ABSOLUTE = {"matrix_exp": 2e-3, "logcumsumexp": 1e-2, "linalg.householder_product": 1e-2, "cov": 1e-4,
            "native_layer_norm": 3e-4, "nn.functional.layer_norm": 3e-4, "grid_sampler_3d": 1e-3,
            "nn.functional.scaled_dot_product_attention": 1e-4, "nn.functional.ctc_loss": 3e-4}
SEED = 0
# Random results, or memory that nobody wrote: run and counted, only shape and dtype compared.
RANDOM = ("rand", "normal", "uniform", "dropout", "empty", "bernoulli", "multinomial", "exponential", "cauchy",
          "geometric", "log_normal", "fractional_max_pool", "rrelu", "resize_", "resize_as_")
# Attention drops out as well, in some of its samples.
DROPS_OUT = ("scaled_dot_product_attention", "multi_head_attention")
DROPOUT_ARGUMENT = 9    # of multi_head_attention_forward, the input not counted
# Unique only up to signs or phases: the samples' own output_process_fn_grad removes those.
UP_TO_SIGN = ("svd", "eig", "qr", "pca_lowrank")
# Arguments that torch wants on the CPU wherever the tensor is.
KEEPS_ARGUMENTS = ("tensor_split",)


def name_of(op) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def title(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def entries(names: tuple[str, ...] = (), dtype: torch.dtype | None = None) -> list:
    """The entries of torch's op_db (that take the dtype); with names only these (with or without their variant)."""
    from torch.testing._internal.common_methods_invocations import op_db

    found = [op for op in op_db if dtype is None or dtype in op.dtypes]
    unknown = set(names) - {op.name for op in found} - {name_of(op) for op in found}
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    return [op for op in found if not names or op.name in names or name_of(op) in names]


def measure(op, samples: int = SAMPLES, dtypes: Iterable[torch.dtype] = (MAIN,),
            directions: tuple[str, ...] = ("forward", "backward")) -> dict[str, Any]:
    """{"name", "forward": {"state", "reason"}, "backward": the same, "dtypes": {name: the same}}.

    Forward and backward are of float32; None where torch has no such kernel, no derivative, or it is not asked for.
    `dtypes` has the other ones that the CPU's operator takes, forward.
    """
    mode = torch.usbgpu.set_fallback("silent")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: dict[str, Any] = {"name": name_of(op), "forward": None, "backward": None, "dtypes": {}}
            if MAIN in dtypes and MAIN in op.dtypes:
                able = {"forward": True, "backward": op.supports_autograd}
                found |= {direction: _direction(op, MAIN, samples, direction == "backward") for direction in directions
                          if able[direction]}
            for dtype in dtypes:
                if dtype != MAIN and dtype in op.dtypes:
                    found["dtypes"][title(dtype)] = _direction(op, dtype, min(samples, SAMPLES_OF_OTHERS),
                                                               backward=False)
            return found
    finally:
        torch.usbgpu.set_fallback(mode)


def report(chosen: Iterable, samples: int = SAMPLES, dtypes: Iterable[torch.dtype] = DTYPES) -> dict[str, Any]:
    """Of these entries: what `usbgpu coverage --json` prints."""
    dtypes = tuple(dtypes)
    measured = [measure(op, samples, dtypes) for op in chosen]
    others = [title(dtype) for dtype in dtypes if dtype != MAIN]
    return {"torch": torch.__version__.split("+")[0], "arch": torch.usbgpu.get_device_properties().arch,
            "dtype": title(MAIN), "samples": samples, "dtypes": [title(dtype) for dtype in dtypes],
            "totals": {**{direction: totals(measured, direction) for direction in ("forward", "backward")},
                       **{name: _count(entry["dtypes"].get(name) for entry in measured) for name in others}},
            "operators": measured}


def totals(measured: list[dict], direction: str) -> dict[str, int]:
    return _count(entry[direction] for entry in measured)


def _count(found: Iterable[dict | None]) -> dict[str, int]:
    states = collections.Counter(result["state"] for result in found if result)
    return {state: states[state] for state in (NATIVE, FALLBACK, WRONG, UNSUPPORTED, NOTHING)}


# ---- one direction of one entry


def _direction(op, dtype: torch.dtype, samples: int, backward: bool) -> dict[str, Any]:
    fallen: set[str] = set()
    wrong = error = None
    ran = 0
    for sample in _samples(op, dtype, samples, backward):
        try:
            want, cotangents = _run(op, sample, "cpu", backward, None)
        except Exception:  # noqa: BLE001  a sample that the CPU refuses says nothing about us
            continue
        if backward and want is None:
            continue
        ran += 1
        torch.usbgpu.reset_fallbacks()
        try:
            got, _ = _run(op, sample, "usbgpu", backward, cotangents)
            torch.usbgpu.synchronize()
            fallen |= torch.usbgpu.fallbacks().keys()
            wrong = wrong or _difference(op, sample, got, want, backward)
        except Exception as problem:  # noqa: BLE001  whatever it is, it is the entry's result
            fallen |= torch.usbgpu.fallbacks().keys()
            error = error or _said(problem)
            _recover()
    torch.usbgpu.reset_fallbacks()
    if error:
        return {"state": UNSUPPORTED, "reason": [error]}
    if wrong:
        return {"state": WRONG, "reason": [wrong]}
    if fallen:
        return {"state": FALLBACK, "reason": sorted(fallen)}
    return {"state": NATIVE if ran else NOTHING, "reason": []}


def _said(problem: Exception) -> str:
    """Its first sentence: torch's errors go on about dispatch keys."""
    lines = str(problem).splitlines()
    return f"{type(problem).__name__}: {lines[0].split('. ')[0]}" if lines else type(problem).__name__


def _recover() -> None:
    """After an error the next sample finds a device that works."""
    try:
        torch.usbgpu.synchronize()
    except RuntimeError:
        torch.usbgpu.reset()


def _seed() -> None:
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


def _samples(op, dtype: torch.dtype, count: int, backward: bool) -> list:
    _seed()
    try:
        found = op.sample_inputs("cpu", dtype, requires_grad=backward)
        return [sample for sample, _ in zip(found, range(count))]
    except Exception:  # noqa: BLE001  torch cannot make them on this machine (no SciPy, no CUDA)
        return []


def moved(value: Any, device: str) -> Any:
    """A copy with every tensor, and every mention of a device, on `device`."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().to(device).requires_grad_(value.requires_grad)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(item, device) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, device) for item in value)
    if isinstance(value, dict):
        return {key: moved(item, device) for key, item in value.items()}
    return torch.device(device) if isinstance(value, torch.device) else value


def leaves(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, (list, tuple)) else []


def _run(op, sample, device: str, backward: bool, cotangents: list | None) -> tuple[Any, list | None]:
    """The result, or the gradients by given cotangents (random ones at first), and those. None: nothing to derive."""
    _seed()
    arguments = (moved(sample.input, device), moved(sample.args, "cpu" if op.name in KEEPS_ARGUMENTS else device),
                 moved(sample.kwargs, device))
    result = op.op(arguments[0], *arguments[1], **arguments[2])
    if not backward:
        return result, None
    result = sample.output_process_fn_grad(result)
    outputs = [leaf for leaf in leaves(result) if leaf.requires_grad]
    inputs = [leaf for leaf in leaves(arguments) if leaf.requires_grad]
    if cotangents is None:
        if not outputs or not inputs:
            return None, None
        cotangents = [torch.randn_like(leaf) for leaf in outputs]
    here = [cotangent.to(leaf.device) for cotangent, leaf in zip(cotangents, outputs, strict=True)]
    return torch.autograd.grad(outputs, inputs, here, allow_unused=True), cotangents


def _difference(op, sample, got: Any, want: Any, backward: bool) -> str | None:
    """What is wrong with the result, in a few words."""
    name = name_of(op)
    atol = ABSOLUTE.get(name, ATOL)
    if op.name in COMPARABLE and not backward:
        got, want = (COMPARABLE[op.name](sample, result) for result in (got, want))
    found = _compare(got, want, not _by_chance(name, sample), atol)
    if found and not backward and any(word in name for word in UP_TO_SIGN):
        found = _compare(sample.output_process_fn_grad(got), sample.output_process_fn_grad(want), True, atol)
    return None if found and not backward and _nearer(op, sample, got, want) else found


def _values_in_order(sample, result: Any, dim_at: int = 0) -> Any:
    """The values, and those at the places told instead of the places: equal ones may come in any order."""
    x, places = sample.input.detach(), leaves(result)[-1].detach().cpu()
    if sample.kwargs.get("stable"):
        return result
    dim = sample.kwargs.get("dim", sample.args[dim_at] if len(sample.args) > dim_at else -1)
    if x.dim() == 0:
        x, places, dim = x.flatten(), places.flatten(), 0
    elif places.dim() < x.dim():
        places = places.unsqueeze(dim)
    return *leaves(result)[:-1], torch.take_along_dim(x, places, dim)


def _poles_are_infinite(sample, result: Any) -> Any:
    """The CPU's are large and finite, by its rounding of pi."""
    result = result.detach().cpu()
    return result.masked_fill(result.abs() > 1e12, torch.inf)


def _moments_are_float32(sample, result: Any) -> Any:
    """Mean and 1/deviation beside a half precision result, as on CUDA; the CPU rounds them, too."""
    return result[0], *(moment.float() for moment in result[1:])


# What a result is compared by, where it may differ.
COMPARABLE = {"sort": _values_in_order, "argsort": _values_in_order,
              **dict.fromkeys(("topk", "kthvalue"), functools.partial(_values_in_order, dim_at=1)),
              **dict.fromkeys(("polygamma", "special.polygamma"), _poles_are_infinite),
              "native_layer_norm": _moments_are_float32}


def _nearer(op, sample, got: Any, want: Any) -> bool:
    """In half precision the CPU often computes in it: is ours no farther from the result in double?"""
    if not any(leaf.dtype in ROUNDING for leaf in leaves(want)):
        return False
    double = copy.copy(sample)
    double.input, double.args, double.kwargs = map(_doubled, (sample.input, sample.args, sample.kwargs))
    try:
        exact, _ = _run(op, double, "cpu", False, None)
    except Exception:  # noqa: BLE001  an operator of half precision alone
        return False

    def farthest(result: Any) -> float:
        errors = [(_wide(leaf) - _wide(true)).abs().max().item() for leaf, true in zip(leaves(result), leaves(exact))
                  if true.numel()]
        return max((math.inf if math.isnan(error) else error for error in errors), default=0.0)

    return farthest(got) <= farthest(want)


def _doubled(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.double() if value.dtype in ROUNDING else value
    if isinstance(value, (list, tuple)):
        return type(value)(_doubled(item) for item in value)
    return {key: _doubled(item) for key, item in value.items()} if isinstance(value, dict) else value


def _by_chance(name: str, sample) -> bool:
    if any(word in name for word in RANDOM):
        return True
    if name == "svd_lowrank":       # random projections: exact only when the rank is not above q
        return sample.kwargs.get("M") is not None
    if not any(word in name for word in DROPS_OUT) or not sample.kwargs.get("training", True):
        return False
    dropout = [value for key, value in sample.kwargs.items() if "dropout" in key]
    if name.endswith("multi_head_attention_forward") and len(sample.args) > DROPOUT_ARGUMENT:
        dropout.append(sample.args[DROPOUT_ARGUMENT])
    return any(dropout)


def _compare(got: Any, want: Any, values: bool, atol: float) -> str | None:
    if isinstance(want, (bool, int, float, complex)):
        return None if not values or np.isclose(got, want, RTOL, atol, equal_nan=True) else f"{got} instead of {want}"
    ours, theirs = leaves(got), leaves(want)
    if len(ours) != len(theirs):
        return f"{len(ours)} tensors instead of {len(theirs)}"
    for mine, its in zip(ours, theirs):
        if mine.dtype != its.dtype:
            return f"{mine.dtype} instead of {its.dtype}"
        if mine.shape != its.shape:
            return f"shape {tuple(mine.shape)} instead of {tuple(its.shape)}"
        if values and not _close(mine, its, atol):
            return "other values than the CPU's"
    return None


def _close(mine: torch.Tensor, its: torch.Tensor, atol: float) -> bool:
    rounding = ROUNDING.get(its.dtype, 0.0)
    exact = not (its.dtype.is_floating_point or its.dtype.is_complex)
    mine, its = _wide(mine), _wide(its)
    if exact:
        return torch.equal(mine, its)
    finite = its[torch.isfinite(its)].abs()
    room = rounding * finite.max().item() if rounding and finite.numel() else 0.0
    return torch.allclose(mine, its, max(RTOL, rounding), atol + room, equal_nan=True)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    if not tensor.is_complex() and not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
