"""What hip_runtime.h offers beyond CUDA's common names, on the shader cores: reductions, atomics, votes."""
from __future__ import annotations

import numpy as np
import pytest

from .on_cores import Program

THREADS = 128


@pytest.fixture
def random():
    return np.random.default_rng(31)


@pytest.mark.parametrize("name,dtype,op,reference", [
    ("float", np.float32, "a + b", np.sum), ("double", np.float64, "a + b", np.sum),
    ("int", np.int32, "a > b ? a : b", np.max), ("long long", np.int64, "a < b ? a : b", np.min),
    ("_Float16", np.float16, "a > b ? a : b", np.max), ("short", np.int16, "a < b ? a : b", np.min),
    ("signed char", np.int8, "a > b ? a : b", np.max),
])
def test_reductions(random, name, dtype, op, reference):
    """Each thread gets the same result, over its wave and over the group, twice in a row."""
    source = f'''
    extern "C" __global__ void USBGPU_BLOCK({THREADS}) k({name}* p, {name}* wave, {name}* group, {name}* again) {{
      auto op = []({name} a, {name} b) -> {name} {{ return {op}; }};
      int i = threadIdx.x;
      wave[i] = usbgpu::wave_reduce(p[i], op);
      group[i] = usbgpu::block_reduce<{THREADS}>(p[i], op, p[0]);
      again[i] = usbgpu::block_reduce<{THREADS}>(p[{THREADS - 1} - i], op, p[0]);
    }}'''
    # Whole numbers: every order of summation is exact. p[0] = 0 serves as the identity of the sum.
    values = random.integers(-100, 100, THREADS).astype(dtype)
    values[0] = 0 if reference is np.sum else values[0]
    wave, group, again = (np.zeros(THREADS, dtype) for _ in range(3))
    Program(source).launch("k", (1,), (THREADS,), values, wave, group, again)
    np.testing.assert_array_equal(wave.reshape(-1, 32), reference(values.reshape(-1, 32), axis=1, keepdims=True)
                                  .astype(dtype).repeat(32, axis=1))
    np.testing.assert_array_equal(group, np.full(THREADS, reference(values), dtype))
    np.testing.assert_array_equal(again, group)


# call, type, start, expected after every thread i (0..255) applied it, values of i
ATOMICS = {
    "add int": ("atomicAdd(p, i)", "int", np.int32, 5, lambda i: 5 + i.sum()),
    "sub int": ("atomicSub(p, i)", "int", np.int32, 5, lambda i: 5 - i.sum()),
    "max int": ("atomicMax(p, i - 300)", "int", np.int32, -500, lambda i: -45),
    "min int": ("atomicMin(p, i - 300)", "int", np.int32, 500, lambda i: -300),
    "max unsigned": ("atomicMax(p, (unsigned)i + 0x80000000u)", "unsigned", np.uint32, 7, lambda i: 0x800000FF),
    "and": ("atomicAnd(p, ~(1u << (i & 7)))", "unsigned", np.uint32, 0xFFF, lambda i: 0xF00),
    "or": ("atomicOr(p, 1u << (i & 7))", "unsigned", np.uint32, 0xF00, lambda i: 0xFFF),
    "xor": ("atomicXor(p, (unsigned)i)", "unsigned", np.uint32, 3, lambda i: 3 ^ np.bitwise_xor.reduce(i)),
    "inc": ("atomicInc(p, 99u)", "unsigned", np.uint32, 0, lambda i: 256 % 100),
    "dec": ("atomicDec(p, 99u)", "unsigned", np.uint32, 10, lambda i: (10 - 256) % 100),
    "add 64": ("atomicAdd(p, (unsigned long long)i << 40)", "unsigned long long", np.uint64, 1,
               lambda i: 1 + (int(i.sum()) << 40)),
    "max 64": ("atomicMax(p, (long long)i << 40)", "long long", np.int64, -1, lambda i: 255 << 40),
    "add float": ("atomicAdd(p, (float)i)", "float", np.float32, 0.5, lambda i: 0.5 + i.sum()),
    "max float": ("atomicMax(p, (float)i - 300)", "float", np.float32, -1e30, lambda i: -45.0),
    "min float": ("atomicMin(p, (float)i - 300)", "float", np.float32, 1e30, lambda i: -300.0),
    "add double": ("atomicAdd(p, (double)i)", "double", np.float64, 0.5, lambda i: 0.5 + i.sum()),
    "max double": ("atomicMax(p, i - 300.0)", "double", np.float64, -1e300, lambda i: -45.0),
    "add half": ("atomicAdd(p, (half)(i & 3))", "_Float16", np.float16, 1, lambda i: 1 + (i & 3).sum()),
}


@pytest.mark.parametrize("name", ATOMICS)
def test_atomics(name):
    call, spelled, dtype, start, expected = ATOMICS[name]
    source = f'''extern "C" __global__ void k({spelled}* q) {{
      {spelled}* p = q + 1; int i = blockIdx.x * 128 + threadIdx.x; {call}; }}'''
    cells = np.array([11, start, 13], dtype)
    Program(source, threads=2).launch("k", (2,), (128,), cells)
    # The neighbours are untouched: a 16-bit update works on the word around it.
    np.testing.assert_array_equal(cells, np.array([11, expected(np.arange(256)), 13], dtype))


def test_bfloat16_atomics():
    source = '''extern "C" __global__ void k(__nv_bfloat16* p) { atomicAdd(p + 1, __float2bfloat16(1.0f)); }'''
    cells = np.array([0x1234, 0x4000, 0x5678], np.uint16)       # 2.0 in the middle
    Program(source, threads=2).launch("k", (2,), (64,), cells)
    assert cells.tolist() == [0x1234, 0x4302, 0x5678]           # 130.0


def test_atomics_give_every_old_value_once():
    source = '''extern "C" __global__ void k(unsigned* p, unsigned* old) {
      unsigned i = blockIdx.x * 64 + threadIdx.x;
      old[i] = atomicAdd(p, 1u);
      unsigned seen, value = p[1];
      do { seen = value; value = atomicCAS(p + 1, seen, seen + 3); } while (value != seen);
    }'''
    cells, old = np.array([7, 0], np.uint32), np.zeros(256, np.uint32)
    Program(source, threads=2).launch("k", (4,), (64,), cells, old)
    assert sorted(old.tolist()) == list(range(7, 263))
    assert cells.tolist() == [263, 768]


def test_block_votes():
    source = '''extern "C" __global__ void k(const int* p, int* o) {
      int i = threadIdx.x;
      int n = __syncthreads_count(p[i] > 50), a = __syncthreads_and(p[i] >= 0), b = __syncthreads_and(p[i] > 0);
      int c = __syncthreads_or(p[i] == 99), d = __syncthreads_or(p[i] == 100);
      o[i] = n * 16 + a * 8 + b * 4 + c * 2 + d;
    }'''
    p, o = np.arange(100, dtype=np.int32), np.zeros(100, np.int32)
    Program(source).launch("k", (1,), (100,), p, o)             # the last wave is not full
    assert (o == 49 * 16 + 8 + 2).all()


@pytest.mark.parametrize("block", [(96,), (8, 6), (4, 3, 5)])
def test_indices_and_sizes(block):
    source = '''extern "C" __global__ void k(unsigned* o) {
      unsigned t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
      unsigned b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      dim3 size = blockDim; unsigned n = size.x * size.y * size.z;
      o[b * n + t] = b * 1000 + t;
    }'''
    grid, threads = (3, 2, 4), int(np.prod(block))
    out = np.zeros(24 * threads, np.uint32)
    Program(source).launch("k", grid, block, out)
    expected = (np.arange(24)[:, None] * 1000 + np.arange(threads)).ravel()
    np.testing.assert_array_equal(out, expected)


def test_vectors_are_wide_loads(random):
    source = '''extern "C" __global__ void USBGPU_BLOCK(32) k(float* to, const float* from) {
      auto v = usbgpu::load_vector<4>(from + 4 * threadIdx.x);
      for (int i = 0; i < 4; ++i) v[i] *= 2;
      usbgpu::store_vector(to + 4 * threadIdx.x, v);
    }'''
    program = Program(source)
    x = random.normal(size=128).astype(np.float32)
    y = np.zeros_like(x)
    counters = program.launch("k", (1,), (32,), y, x)["counters"]
    np.testing.assert_array_equal(y, 2 * x)
    assert (counters["vmem_load"], counters["vmem_store"]) == (1, 1)


def test_barrier_for_lds_does_not_wait_for_loads():
    """usbgpu::barrier_lds leaves global loads in flight; __syncthreads does not."""
    from .on_cores import ARCH, CODE, emulator
    source = '''extern "C" __global__ void USBGPU_BLOCK(64) k(int* p) {
      __shared__ int s[64]; int next = p[threadIdx.x + 64];
      s[threadIdx.x] = threadIdx.x; %s; p[threadIdx.x] = s[63 - threadIdx.x] + next; }'''

    def waits_for_loads(barrier):
        image = Program(source % barrier).image
        start = image.kernels["k"].entry_offset
        text = [row[3] for row in emulator.isa.disassemble(image.image[start:], ARCH, CODE)]
        barriers = [i for i, line in enumerate(text) if line.startswith("s_barrier")]
        wait = [line for line in text[:barriers[0]] if line.startswith("s_wait")][-1]
        return "vmcnt(0)" in wait or "loadcnt" in wait          # gfx12 has a counter and a wait for each kind

    assert waits_for_loads("__syncthreads()")
    assert not waits_for_loads("usbgpu::barrier_lds()")


# Calls with integers and with unlike types, which C++ must not find ambiguous: expression, value.
MIXED = [
    ("sqrt(2)", 2**0.5), ("exp(0)", 1.0), ("pow(2, 10)", 1024.0), ("pow(2.0f, 3)", 8.0), ("pow(2.0, 0.5f)", 2**0.5),
    ("pow(n, 2)", 9.0), ("max(0.0, f)", 1.5), ("min(f, 1)", 1.0), ("max(n, 4u)", 4.0), ("min(n, 5l)", 3.0),
    ("max((size_t)7, n)", 7.0), ("fmax(f, 2.0)", 2.0), ("fmin(n, f)", 1.5), ("max(h, (half)2)", 2.0),
    ("fmod(7, 4)", 3.0), ("floor(n)", 3.0), ("isnan(h) + 2 * isnan(n) + 4 * isfinite(f)", 4.0), ("abs(-n)", 3.0),
    ("atan2(0, -1)", 3.141592653589793), ("max(u, n)", 2.0**32 - 1), ("hypot(n, 4)", 5.0),
]


def test_unlike_arguments():
    lines = "\n".join(f"o[{i}] = {expression};" for i, (expression, _) in enumerate(MIXED))
    source = f'''extern "C" __global__ void k(double* o, int n, unsigned u, float f) {{ half h = f; {lines} }}'''
    out = np.zeros(len(MIXED))
    Program(source).launch("k", (1,), (1,), out, np.int32(3), np.uint32(2**32 - 1), np.float32(1.5))
    np.testing.assert_allclose(out, [value for _, value in MIXED], rtol=1e-15)
