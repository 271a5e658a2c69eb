"""Ordinary CUDA files, unmodified: compiled, loaded, run on the shader cores, compared with NumPy."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .on_cores import ARCH, Program, emulator

SOURCES = Path(__file__).parent / "cuda"


def program(name, **cores):
    return Program((SOURCES / f"{name}.cu").read_text(), **cores)


@pytest.fixture
def random():
    return np.random.default_rng(11)


@pytest.mark.parametrize("n,grid,block", [(1, 1, 64), (1000, 3, 128), (4096, 4, 1024), (777, 7, 96)])
def test_vector_add(random, n, grid, block):
    a, b = random.normal(size=(2, n)).astype(np.float32)
    c = np.full(n, np.nan, np.float32)
    program("vector_add").launch("_Z9vectorAddPKfS0_Pfi", (grid,), (block,), a, b, c, np.int32(n))
    np.testing.assert_array_equal(c, a + b)


@pytest.mark.parametrize("m,n,k", [(16, 16, 16), (32, 48, 64), (33, 17, 50), (1, 1, 1)])
def test_matmul(random, m, n, k):
    a, b = random.normal(size=(m, k)).astype(np.float32), random.normal(size=(k, n)).astype(np.float32)
    c = np.full((m, n), np.nan, np.float32)
    program("matmul").launch("matmul", (-(-n // 16), -(-m // 16)), (16, 16), a, b, c, *np.int32([m, n, k]))
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n,grid,block", [(100, 1, 64), (5000, 4, 256), (3000, 2, 1024)])
def test_reduce(random, n, grid, block):
    values, total = random.normal(size=n).astype(np.float32), np.zeros(1, np.float32)
    program("reduce").launch("_Z12deviceReducePKfPfi", (grid,), (block,), values, total, np.int32(n))
    np.testing.assert_allclose(total[0], values.astype(np.float64).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows,cols,block", [(3, 10, 32), (4, 300, 128), (2, 1000, 256)])
def test_softmax(random, rows, cols, block):
    x = (random.normal(size=(rows, cols)) * 5).astype(np.float32)
    y = np.full_like(x, np.nan)
    program("softmax").launch("_Z7softmaxPKfPfi", (rows,), (block,), x, y, np.int32(cols), dynamic_lds=4 * block)
    e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(axis=1, keepdims=True), rtol=2e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_histogram(random, threads):
    data, bins = random.integers(0, 256, 10000, dtype=np.uint8), np.zeros(64, np.uint32)
    program("histogram", threads=threads).launch("_Z9histogramPKhPjm", (5,), (128,), data, bins, np.uint64(data.size))
    np.testing.assert_array_equal(bins, np.bincount(data % 64, minlength=64))


@pytest.mark.parametrize("width,height", [(32, 32), (50, 37)])
def test_transpose_to_sixteen_bits(random, width, height):
    x = (random.normal(size=(height, width)) * 100).astype(np.float32)
    x[0, :4] = [np.inf, -0.0, 1e-7, 65520]
    half, bfloat = np.zeros((width, height), np.float16), np.zeros((width, height), np.uint16)
    program("transpose_half").launch("transpose", (-(-width // 32), -(-height // 32)), (32, 8), x, half, bfloat,
                                     *np.int32([width, height]))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half, x.T.astype(np.float16))
    bits = np.ascontiguousarray(x.T).view(np.uint32).astype(np.uint64)
    np.testing.assert_array_equal(bfloat, (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)       # nearest, ties to even


def test_warp_intrinsics(random):
    v = random.integers(0, 2**31 - 1, 32, dtype=np.int32)
    out = np.zeros((32, 12), np.int32)
    program("warps").launch("warps", (1,), (32,), v, out)
    lane = np.arange(32)
    odd = sum(1 << int(i) for i in lane[v & 1 == 1])
    np.testing.assert_array_equal(out[:, 0], v[5])
    np.testing.assert_array_equal(out[:, 1], v[np.where(lane >= 3, lane - 3, lane)])
    np.testing.assert_array_equal(out[:, 2], v[np.where(lane % 16 + 4 < 16, lane + 4, lane)])
    np.testing.assert_array_equal(out[:, 3], v[lane ^ 7])
    np.testing.assert_array_equal(out[:, 4].view(np.uint32), odd)
    np.testing.assert_array_equal(out[:, 5], 1)
    for word, value in zip(out[:, 6].tolist(), v.tolist(), strict=True):
        assert word == bin(value).count("1") | (32 - value.bit_length()) << 8 | ((value & -value).bit_length()) << 16
    assert [int(f"{int(x):032b}"[::-1], 2) for x in v] == out[:, 7].view(np.uint32).tolist()
    np.testing.assert_array_equal(out[:, 8], v[lane ^ 16])
    np.testing.assert_array_equal(out[:, 9], v.max())
    np.testing.assert_array_equal(out[:, 10].view(np.uint32), np.where(v & 1, odd, 0))
    np.testing.assert_array_equal(out[:, 11], v.astype(np.int64) * 0x10000000 >> 32)


def test_assert_ends_in_a_fault_that_names_the_line():
    source = 'extern "C" __global__ void f(int* p) {\n  assert(p[threadIdx.x] != 3);\n  p[threadIdx.x] = 1;\n}\n'
    good, bad = np.arange(4, 36, dtype=np.int32), np.arange(32, dtype=np.int32)
    checked = Program("#include <assert.h>\n" + source)
    checked.launch("f", (1,), (32,), good)
    assert (good == 1).all()
    fault = checked.launch("f", (1,), (32,), bad, check=False)["fault"]
    assert fault["kind"] == "memory_violation"
    assert fault["address"] == 0x5A55_0000_0000 + 4 * 3


@pytest.mark.parametrize("name", sorted(path.stem for path in SOURCES.glob("*.cu")))
def test_cores_know_every_instruction(name):
    image = program(name).image
    code = image.image[min(k.entry_offset for k in image.kernels.values()):]
    # Behind the last instruction: s_code_end up to the prefetch distance, then zeros.
    while code.endswith(bytes(4)) or code.endswith(b"\x00\x00\x9f\xbf"):
        code = code[:-4]
    assert emulator.isa.unsupported(code, ARCH) == {}
