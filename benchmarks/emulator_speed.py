"""Speed of the emulated shader cores (wave-instructions and floating-point operations per second) and of the dock.

    python benchmarks/emulator_speed.py [--threads N] [--repeat N] [--json]

Kernels are compiled for gfx1100 and run over a flat memory, without the GPU, the adapter and the
command stream around them. A wave-instruction is one instruction for 32 lanes; a VOPD pair counts
as one. Times are processor time of the calling thread with one thread (other load on the machine
does not count), wall time with several. Every result is checked before it is timed.

Machines differ and are busy, so every figure is also given as a ratio to plain C on one core of this host
in the same run: the add to a loop over the same arrays, matrices to fused multiply-adds in registers.
The design asks for 150 M wave-instructions/s on a float add of 2^20 elements, 12 GFLOP/s in a tiled fp32
GEMM and 30 GFLOP/s in an fp16 WMMA GEMM on one core with AVX2.

The dock's rows are bytes per second of wall time through its USB requests (10 M dwords/s are asked of PCIe streams),
next to a copy of as many bytes in this host's memory.
"""
from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ziglang

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.emulator.adapter.wire import IN, OUT, VRAM, Wire  # noqa: E402
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


HOST = """
typedef float v8 __attribute__((vector_size(32)));
void add(float *restrict o, const float *restrict a, const float *restrict b, long n) {
  for (long i = 0; i < n; ++i) o[i] = a[i] + b[i];
}
float fma_loop(long n) {  // 10 chains of 8 lanes
  v8 s[10], a, b;
  for (int k = 0; k < 8; ++k) a[k] = 0.999f, b[k] = 0.001f;
  for (int k = 0; k < 10; ++k) s[k] = b;
  for (long i = 0; i < n; ++i)
    for (int k = 0; k < 10; ++k) s[k] = __builtin_elementwise_fma(s[k], a, b);
  float sum = 0;
  for (int k = 0; k < 10; ++k) sum += s[k][k & 7];
  return sum;
}
"""


def best_of(repeat: int, run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(repeat):
        start = time.thread_time()
        run()
        best = min(best, time.thread_time() - start)
    return best


def host_yardsticks(n: int, repeat: int) -> dict[str, float]:
    """Additions and floating-point operations per second of plain C on one core."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "host.so"
        zig = Path(ziglang.__file__).parent / "zig"
        flags = ["-O3", "-march=native", "-shared", "-fPIC", "-nostdlib", "-x", "c"]
        subprocess.run([zig, "clang", *flags, "-", "-o", library], input=HOST, text=True, check=True)
        host = ctypes.CDLL(str(library))
    host.fma_loop.restype = ctypes.c_float
    a, b, out = (np.ones(n, np.float32) for _ in range(3))
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (out, a, b)]
    steps = 200_000
    return {"adds": n / best_of(repeat, lambda: host.add(*pointers, ctypes.c_long(n))),
            "flops": steps * 160 / best_of(repeat, lambda: host.fma_loop(ctypes.c_long(steps)))}


def dock_speeds(repeat: int) -> list[dict]:
    """Bytes per second through the emulated dock, each also as a part of what numpy copies."""
    wire, rng = Wire().bring_up(), np.random.default_rng(0)
    stream, sram = rng.bytes(4 << 20), rng.bytes(512 << 10)

    def write() -> None:
        wire.arm_write(VRAM, len(stream) // 4)
        wire.usb.bulkWrite(OUT, stream, 10_000)

    def read() -> None:
        wire.arm_read(VRAM, len(stream) // 4)
        wire.usb.bulkRead(IN, len(stream), 10_000)

    def fill() -> None:
        wire.f2(len(sram))
        wire.usb.bulkWrite(OUT, sram, 1000)

    found = []
    for name, run, data in (("PCIe stream write", write, stream), ("PCIe stream read", read, stream),
                            ("SRAM write", fill, sram)):
        source, seconds, copying = np.frombuffer(data, np.uint8), float("inf"), float("inf")
        for _ in range(3 * repeat):
            start = time.perf_counter()
            run()
            middle = time.perf_counter()
            source.copy()
            seconds, copying = min(seconds, middle - start), min(copying, time.perf_counter() - middle)
        found.append({"name": name, "bytes_per_second": len(data) / seconds, "host_ratio": copying / seconds})
    return found


rows: list[dict] = []


def measure(name: str, run: Callable[[], dict], operations: float, repeat: int, threads: int, host: float) -> None:
    clock = time.thread_time if threads == 1 else time.perf_counter
    best = float("inf")
    for _ in range(repeat):
        start = clock()
        result = run()
        best = min(best, clock() - start)
    assert result["end"] == "complete", result["fault"]
    count = result["counters"]["instructions"]
    rows.append({"name": name, "threads": threads, "seconds": best, "wave_instructions_per_second": count / best,
                 "operations_per_second": operations / best, "host_ratio": operations / best / host if host else None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    machine = Machine(threads=args.threads)
    kernels = machine.kernels((ROOT / "tests/emulator/isa/kernels.hip").read_text()) | machine.kernels(WMMA)
    rng = np.random.default_rng(0)
    host = host_yardsticks(1 << 20, args.repeat)

    n = 1 << 20
    a, b, out = rng.random(n, np.float32), rng.random(n, np.float32), np.zeros(n, np.float32)
    addresses = [machine.buffer(x) for x in (out, a, b)]
    add = lambda: kernels["add"].run([*addresses, n], (n // 256, 1, 1), (256, 1, 1))  # noqa: E731
    add()
    np.testing.assert_array_equal(machine.fetch(addresses[0], out), a + b)
    measure("add 2^20 f32", add, n, args.repeat, args.threads, host["adds"])

    n = 256
    x, y, z = rng.random((n, n), np.float32), rng.random((n, n), np.float32), np.zeros((n, n), np.float32)
    fp32 = [machine.buffer(m) for m in (z, x, y)]
    gemm = lambda: kernels["gemm"].run([*fp32, np.int32(n)], (n // 64, n // 64, 1), (256, 1, 1))  # noqa: E731
    gemm()
    np.testing.assert_allclose(machine.fetch(fp32[0], z), x.astype(np.float64) @ y, rtol=1e-5)
    measure("GEMM 256^3 f32", gemm, 2 * n**3, args.repeat, args.threads, host["flops"])

    h, ht = x.astype(np.float16), y.astype(np.float16)
    fp16 = [machine.buffer(m) for m in (z, h, np.ascontiguousarray(ht.T))]
    wmma = lambda: kernels["wmma_gemm"].run([*fp16, np.int32(n)], (n // 64, n // 64, 1), (128, 1, 1))  # noqa: E731
    wmma()
    np.testing.assert_allclose(machine.fetch(fp16[0], z), h.astype(np.float64) @ ht, rtol=1e-4)
    measure("GEMM 256^3 f16", wmma, 2 * n**3, args.repeat, args.threads, host["flops"])

    one = np.zeros(256, np.float32)
    small = [machine.buffer(m) for m in (one, one, one)]
    measure("one workgroup", lambda: kernels["add"].run([*small, 256], (1, 1, 1), (256, 1, 1)), 0, 50 * args.repeat,
            args.threads, 0)
    dock = dock_speeds(args.repeat)
    if args.json:
        print(json.dumps({"handlers": isa.level, "host": host, "rows": rows, "dock": dock}, indent=1))
        return
    print(f"handlers: {isa.level}, threads: {args.threads}; this host in C on one core: "
          f"{host['adds'] / 1e6:.0f} M additions/s over arrays, {host['flops'] / 1e9:.1f} GFLOP/s of fma")
    for row in rows:
        work = ""
        if row["host_ratio"]:
            work = f"{row['operations_per_second'] / 1e9:7.2f} G operations/s, {row['host_ratio']:.3f} of the host"
        rate = row["wave_instructions_per_second"] / 1e6
        print(f"{row['name']:14} {row['seconds'] * 1e3:9.3f} ms {rate:8.1f} M wave-instructions/s {work}")
    for row in dock:
        rate = row["bytes_per_second"] / 1e6
        print(f"{row['name']:18} {rate:8.0f} MB/s, {row['host_ratio']:.3f} of a copy in memory")


if __name__ == "__main__":
    main()
