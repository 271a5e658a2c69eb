"""Speed of the emulated shader cores: wave-instructions and floating-point operations per second.

    python benchmarks/emulator_speed.py [--threads N] [--repeat N]

Kernels are compiled for gfx1100 and run over a flat memory, without the GPU, the adapter and the
command stream around them. A wave-instruction is one instruction for 32 lanes; a VOPD pair counts
as one. Times are processor time of the calling thread with one thread (other load on the machine
does not count), wall time with several. Every result is checked before it is timed.

The yardsticks are what the design asks for on one core with AVX2: 100 M wave-instructions/s on a
float add of 2^20 elements, 8 GFLOP/s in a tiled fp32 GEMM, 20 GFLOP/s in an fp16 WMMA GEMM.
"""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.emulator.isa.machine import Machine  # noqa: E402
from torch_usbgpu._emulator import isa  # noqa: E402

WMMA = """
typedef _Float16 h16 __attribute__((ext_vector_type(16)));
typedef _Float16 h8 __attribute__((ext_vector_type(8)));
typedef float f8 __attribute__((ext_vector_type(8)));
// C (f32) = A (f16, row-major) * B^T (f16, B stored by columns): 64x64 per workgroup of 4 waves, 32x32 per wave
KERNEL __attribute__((amdgpu_flat_work_group_size(128, 128))) void wmma_gemm(
    float* C, const _Float16* A, const _Float16* Bt, int N) {
  __shared__ __attribute__((aligned(16))) _Float16 As[64][40];
  __shared__ __attribute__((aligned(16))) _Float16 Bs[64][40];
  int t = TID, lane = t & 31, wave = t >> 5, n = lane & 15;
  int row = BLOCK * 64, col = __builtin_amdgcn_workgroup_id_y() * 64, wr = (wave >> 1) * 32, wc = (wave & 1) * 32;
  f8 acc[2][2] = {};
  for (int k = 0; k < N; k += 32) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
      int r = (t >> 2) + 32 * j, c = (t & 3) * 8;
      *(h8*)&As[r][c] = *(const h8*)&A[(row + r) * (long)N + k + c];
      *(h8*)&Bs[r][c] = *(const h8*)&Bt[(col + r) * (long)N + k + c];
    }
    SYNC();
#pragma unroll
    for (int kk = 0; kk < 32; kk += 16) {
      h16 a[2], b[2];
      for (int j = 0; j < 2; j++) {
        a[j] = *(h16*)&As[wr + 16 * j + n][kk];
        b[j] = *(h16*)&Bs[wc + 16 * j + n][kk];
      }
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 2; j++) acc[i][j] = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(a[i], b[j], acc[i][j]);
    }
    SYNC();
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++)
      for (int e = 0; e < 8; e++)
        C[(row + wr + 16 * i + 2 * e + (lane >> 4)) * (long)N + col + wc + 16 * j + n] = acc[i][j][e];
}
"""


def measure(name: str, run: Callable[[], dict], operations: float, repeat: int, threads: int, yardstick: str) -> None:
    clock = time.thread_time if threads == 1 else time.perf_counter
    best = float("inf")
    for _ in range(repeat):
        start = clock()
        result = run()
        best = min(best, clock() - start)
    assert result["end"] == "complete", result["fault"]
    count = result["counters"]["instructions"]
    flops = f"{operations / best / 1e9:7.2f} GFLOP/s" if operations else " " * 15
    rate = f"{count / best / 1e6:8.1f} M wave-instructions/s"
    print(f"{name:14} {best * 1e3:9.3f} ms {rate} {flops}   yardstick: {yardstick}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    machine = Machine(threads=args.threads)
    kernels = machine.kernels((ROOT / "tests/emulator/isa/kernels.hip").read_text()) | machine.kernels(WMMA)
    rng = np.random.default_rng(0)
    print(f"handlers: {isa.level}, threads: {args.threads}")

    n = 1 << 20
    a, b, out = rng.random(n, np.float32), rng.random(n, np.float32), np.zeros(n, np.float32)
    addresses = [machine.buffer(x) for x in (out, a, b)]
    add = lambda: kernels["add"].run([*addresses, n], (n // 256, 1, 1), (256, 1, 1))  # noqa: E731
    add()
    np.testing.assert_array_equal(machine.fetch(addresses[0], out), a + b)
    measure("add 2^20 f32", add, 0, args.repeat, args.threads, "100 M/s")

    n = 256
    x, y, z = rng.random((n, n), np.float32), rng.random((n, n), np.float32), np.zeros((n, n), np.float32)
    fp32 = [machine.buffer(m) for m in (z, x, y)]
    gemm = lambda: kernels["gemm"].run([*fp32, np.int32(n)], (n // 64, n // 64, 1), (256, 1, 1))  # noqa: E731
    gemm()
    np.testing.assert_allclose(machine.fetch(fp32[0], z), x.astype(np.float64) @ y, rtol=1e-5)
    measure("GEMM 256^3 f32", gemm, 2 * n**3, args.repeat, args.threads, "8 GFLOP/s")

    h, ht = x.astype(np.float16), y.astype(np.float16)
    fp16 = [machine.buffer(m) for m in (z, h, np.ascontiguousarray(ht.T))]
    wmma = lambda: kernels["wmma_gemm"].run([*fp16, np.int32(n)], (n // 64, n // 64, 1), (128, 1, 1))  # noqa: E731
    wmma()
    np.testing.assert_allclose(machine.fetch(fp16[0], z), h.astype(np.float64) @ ht, rtol=1e-4)
    measure("GEMM 256^3 f16", wmma, 2 * n**3, args.repeat, args.threads, "20 GFLOP/s (WMMA)")

    one = np.zeros(256, np.float32)
    small = [machine.buffer(m) for m in (one, one, one)]
    measure("one workgroup", lambda: kernels["add"].run([*small, 256], (1, 1, 1), (256, 1, 1)), 0, 50 * args.repeat,
        args.threads,
            "the cost of a dispatch")


if __name__ == "__main__":
    main()
