"""The math headers as device code on the shader cores: the same bits as on the host.

The functions use correctly rounded operations only, so any difference is a mistake of the code
generation flags (contraction, approximate division or square root), of the loader (tables), or of
the cores.
"""
from __future__ import annotations

import numpy as np
import pytest

from .on_cores import Program
from .test_math import call, library  # noqa: F401 (fixture)

UNARY = ("exp exp2 exp10 expm1 log log2 log10 log1p sin cos tan sinpi cospi asin acos atan sinh cosh tanh asinh acosh "
         "atanh erf erfc erfcx erfinv lgamma tgamma digamma cbrt rsqrt sigmoid softplus").split()
BINARY = "pow atan2 hypot fmod remainder nextafter".split()
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, 88.9, -104.5, 1e10, 3e5]


def _arguments(dtype, count=512):
    random = np.random.default_rng(23)
    word = np.uint32 if dtype == np.float32 else np.uint64
    anything = random.integers(0, np.iinfo(word).max, count // 2, dtype=word).view(dtype)
    ordinary = (random.normal(size=count // 2 - len(SPECIAL)) * 4).astype(dtype)
    return np.concatenate([np.array(SPECIAL, dtype), anything, ordinary])


@pytest.fixture(scope="module")
def programs():
    built = {}

    def get(dtype):
        if dtype not in built:
            name = {np.float32: "float", np.float64: "double"}[dtype]
            lines = [f'extern "C" __global__ USBGPU_BLOCK(64) void k_{f}(const {name}* x, {name}* y) '
                     f"{{ unsigned i = blockIdx.x * 64 + threadIdx.x; y[i] = {f}(x[i]); }}" for f in UNARY]
            lines += [f'extern "C" __global__ USBGPU_BLOCK(64) void k_{f}(const {name}* x, const {name}* w, {name}* y) '
                      f"{{ unsigned i = blockIdx.x * 64 + threadIdx.x; y[i] = {f}(x[i], w[i]); }}" for f in BINARY]
            built[dtype] = Program("\n".join(lines))
        return built[dtype]

    return get


def _same(got, wanted, x):
    # NaN is compared as a class: payloads of generated NaNs differ between processors.
    same = (got.view(f"u{got.itemsize}") == wanted.view(f"u{got.itemsize}")) | (np.isnan(got) & np.isnan(wanted))
    assert same.all(), [(x[i], got[i], wanted[i]) for i in np.nonzero(~same)[0]][:4]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_unary(library, programs, name, dtype):  # noqa: F811
    x = _arguments(dtype)
    got = np.full_like(x, 42)
    programs(dtype).launch(f"k_{name}", (len(x) // 64,), (64,), x, got)
    _same(got, call(library, name, x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BINARY)
def test_binary(library, programs, name, dtype):  # noqa: F811
    x = _arguments(dtype)
    y = np.roll(x[::-1], 5)
    got = np.full_like(x, 42)
    programs(dtype).launch(f"k_{name}", (len(x) // 64,), (64,), x, y, got)
    _same(got, call(library, name, x, y), x)


def test_math_kernels_use_no_scratch(programs):
    for dtype in (np.float32, np.float64):
        assert {k.symbol: k.scratch_bytes for k in programs(dtype).image.kernels.values() if k.scratch_bytes} == {}
