"""Every name that hip_runtime.h's header comment and CUDA's manual promise exists, with its suffix forms."""
from __future__ import annotations

import pytest

from torch_usbgpu import compiler
from torch_usbgpu.runtime import codeobject

ONE = ("exp exp2 exp10 expm1 log log2 log10 log1p sin cos tan sinpi cospi asin acos atan sinh cosh tanh "
       "asinh acosh atanh erf erfc erfcx erfinv erfcinv normcdf normcdfinv lgamma tgamma sqrt rsqrt cbrt rcbrt "
       "fabs floor ceil trunc rint round nearbyint").split()
TWO = "pow atan2 hypot fmod remainder copysign nextafter fmax fmin fdim".split()
FAST = "__expf __exp2f __exp10f __logf __log2f __log10f __sinf __cosf __tanf __frcp_rn __fsqrt_rn __saturatef".split()


@pytest.mark.parametrize("names,forms", [
    (ONE, ("p[{i}] = {n}f(p[{i}]);", "q[{i}] = {n}(q[{i}]);", "p[{i}] = {n}(p[{i}]);")),
    ([n for n in ONE if n not in ("round", "nearbyint")], ("h[{i}] = {n}(h[{i}]);", "b[{i}] = {n}(b[{i}]);")),
    (TWO, ("p[{i}] = {n}f(p[{i}], p[0]);", "q[{i}] = {n}(q[{i}], q[0]);")),
    (FAST, ("p[{i}] = {n}(p[{i}]);",)),
], ids=["unary", "sixteen bits", "binary", "fast"])
def test_math_names(names, forms):
    body = "\n".join(form.format(i=i, n=n) for i, n in enumerate(names) for form in forms)
    source = f'extern "C" __global__ void k(float* p, double* q, half* h, __nv_bfloat16* b) {{\n{body}\n}}\n'
    codeobject.load(compiler.compile(source, "gfx1100"))


@pytest.mark.parametrize("arch", ["gfx1100", "gfx1102", "gfx1201", "gfx11-generic", "gfx12-generic"])
def test_headers_compile_for(arch):
    source = '''
    extern "C" __global__ void k(float* p, int* i, unsigned long long* u, half* h, __nv_bfloat16* b, double* d) {
      atomicAdd(p, 1.0f); atomicMax(p, 2.0f); atomicAdd(i, 1); atomicAdd(u, 1ull);
      atomicAdd(h, half(1)); atomicAdd(b, __nv_bfloat16(1));
      atomicAdd(d, 1.0); atomicCAS(i, 1, 2); atomicInc((unsigned*)i, 5u); atomicExch(p, 3.0f);
      __threadfence(); __threadfence_block(); __threadfence_system(); __syncwarp(); p[1] = __syncthreads_count(i[0]);
      p[2] = usbgpu::block_reduce<256>(p[threadIdx.x], [](float a, float b) { return a + b; }, 0.0f);
      float4 v = make_float4(1, 2, 3, 4); reinterpret_cast<float4*>(p)[1] = v; p[9] = __shfl_xor_sync(~0u, p[3], 1);
    }'''
    assert codeobject.load(compiler.compile(source, arch), arch).kernels["k"].scratch_bytes == 0
