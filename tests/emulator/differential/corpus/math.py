"""Functions without an exact definition: the project's device math against the C library, within stated ulps."""
from __future__ import annotations

from tests.emulator.differential.model import Kernel, given, result, value

N = 512
LAUNCH = {"groups": (4, 1, 1), "threads": (128, 1, 1)}

# name -> (fill of the argument, expression of x, ulp for float, ulp for double)
UNARY = {
    "exp": ("wide", "x * 0.05{f}", 2, 2), "exp2": ("wide", "x * 0.05{f}", 2, 2), "expm1": ("wide", "x * 0.05{f}", 2, 2),
    "log": ("positive", "x", 2, 2), "log2": ("positive", "x", 2, 2), "log10": ("positive", "x", 2, 2), "log1p": ("positive", "x", 2, 2),
    "sin": ("wide", "x", 2, 2), "cos": ("wide", "x", 2, 2), "tan": ("wide", "x", 4, 3),
    "asin": ("unit", "x", 3, 3), "acos": ("unit", "x", 3, 3), "atan": ("wide", "x", 3, 3),
    "sinh": ("unit", "x * 9{f}", 4, 4), "cosh": ("unit", "x * 9{f}", 3, 3), "tanh": ("unit", "x * 9{f}", 3, 3),
    "asinh": ("wide", "x", 4, 4), "acosh": ("positive", "x + 1{f}", 4, 4), "atanh": ("unit", "x", 4, 4),
    "erf": ("unit", "x * 3{f}", 4, 4), "erfc": ("unit", "x * 3{f}", 6, 6), "cbrt": ("wide", "x", 2, 2),
}


def unary(name: str) -> Kernel:
    fill, expression, single, double = UNARY[name]
    return Kernel(f"math_{name}", (given("a", "f32", N, fill), given("b", "f64", N, fill), result("o", "f32", N, ulp=single),
                                   result("p", "f64", N, ulp=double)), f"""
const int i = GLOBAL_INDEX;
{{ const float x = a[i]; o[i] = {name}f({expression.format(f=".0f" if "." not in expression else "f")}); }}
{{ const double x = b[i]; p[i] = {name}({expression.format(f=".0" if "." not in expression else "")}); }}""", **LAUNCH)


def binary(name: str, first: str, second: str, expression: str, ulp: float) -> Kernel:
    return Kernel(f"math_{name}", (given("a", "f32", N, first), given("b", "f32", N, second), given("c", "f64", N, first), given("d", "f64", N, second),
                                   result("o", "f32", N, ulp=ulp), result("p", "f64", N, ulp=ulp)), f"""
const int i = GLOBAL_INDEX;
{{ const float x = a[i], y = b[i]; o[i] = {name}f({expression}); }}
{{ const double x = c[i], y = d[i]; p[i] = {name}({expression}); }}""", **LAUNCH)


EDGES = [
    Kernel(f"math_edges_{name}", (given("a", "f32", N), result("o", "f32", N, ulp=2)), f"o[GLOBAL_INDEX] = {name}f(a[GLOBAL_INDEX]);", **LAUNCH)
    for name in ("exp", "log", "sin", "cos", "tanh", "cbrt", "log1p")
]
OTHERS = [
    Kernel("math_rsqrt", (given("a", "f32", N, "positive"), result("o", "f32", N, ulp=1)), "o[GLOBAL_INDEX] = rsqrtf(a[GLOBAL_INDEX]);", **LAUNCH),
    Kernel("softmax", (given("a", "f32", 4 * 128, "unit"), result("o", "f32", 4 * 128, ulp=8)), """
const int i = GLOBAL_INDEX;
const float x = a[i] * 8.0f;
const float top = usbgpu::block_reduce<128>(x, [](float p, float q) { return p > q ? p : q; }, -1e30f);
const float e = expf(x - top);
const float sum = usbgpu::block_reduce<128>(e, [](float p, float q) { return p + q; }, 0.0f);
o[i] = e / sum;""", **LAUNCH),
    Kernel("layer_norm", (given("a", "f32", 4 * 128, "wide"), result("o", "f32", 4 * 128, ulp=8)), """
const int i = GLOBAL_INDEX;
const float mean = usbgpu::block_reduce<128>(a[i], [](float p, float q) { return p + q; }, 0.0f) / 128.0f;
const float d = a[i] - mean;
const float variance = usbgpu::block_reduce<128>(d * d, [](float p, float q) { return p + q; }, 0.0f) / 128.0f;
o[i] = d / sqrtf(variance + 1e-5f);""", **LAUNCH),
    Kernel("gelu", (given("a", "f32", N, "unit"), result("o", "f32", N, ulp=16, absolute=2e-7)), """
const float x = a[GLOBAL_INDEX] * 4.0f;
o[GLOBAL_INDEX] = 0.5f * x * (1.0f + erff(x * 0.70710678f));""", **LAUNCH),
    Kernel("box_muller", (given("a", "u32", N), given("b", "u32", N), result("o", "f32", N, ulp=8, absolute=1e-6)), """
const int i = GLOBAL_INDEX;
const float u = ((float)(a[i] >> 8) + 0.5f) * 5.9604645e-8f, v = (float)(b[i] >> 8) * 5.9604645e-8f;
o[i] = sqrtf(-2.0f * logf(u)) * cosf(6.2831853f * v);""", **LAUNCH),
    Kernel("newton_root", (given("a", "f64", N, "positive"), result("o", "f64", N), value("n", "i32", 12)), """
const double x = a[GLOBAL_INDEX];
double r = x > 1 ? x : 1;
for (int k = 0; k < n; ++k) r = 0.5 * (r + x / r);
o[GLOBAL_INDEX] = r;""", **LAUNCH),
    Kernel("n_body", (given("a", "f64", 3 * 64, "unit"), result("o", "f64", 3 * 64)), """
const int i = threadIdx.x;
double fx = 0, fy = 0, fz = 0;
for (int j = 0; j < 64; ++j) {
  const double dx = a[3 * j] - a[3 * i], dy = a[3 * j + 1] - a[3 * i + 1], dz = a[3 * j + 2] - a[3 * i + 2];
  const double r = fma(dx, dx, fma(dy, dy, fma(dz, dz, 1e-3))), k = 1.0 / (r * sqrt(r));
  fx = fma(dx, k, fx); fy = fma(dy, k, fy); fz = fma(dz, k, fz);
}
o[3 * i] = fx; o[3 * i + 1] = fy; o[3 * i + 2] = fz;""", groups=(1, 1, 1), threads=(64, 1, 1), wave64=True),
]

KERNELS = [
    *(unary(name) for name in UNARY), binary("pow", "positive", "unit", "x, y * 5", 2), binary("atan2", "wide", "wide", "x, y", 3),
    binary("fmod", "wide", "positive", "x, y", 0), binary("hypot", "wide", "wide", "x, y", 2), *EDGES, *OTHERS,
]
