"""What compiling costs: per kernel alone, per kernel in a unit, a hit in the cache, the headers.

Prints a table; best of several runs, because the machine does other things too.
"""
from __future__ import annotations

import os
import tempfile
import time

KERNEL = '''#define ELEMENTWISE(symbol, T, expression) \\
  extern "C" __global__ USBGPU_BLOCK(256) void symbol(T* to, const T* from, unsigned n) { \\
    const unsigned i = (blockIdx.x * 256 + threadIdx.x) * 4; \\
    if (i + 4 <= n) { \\
      auto v = usbgpu::load_vector<4>(from + i); \\
      for (int k = 0; k < 4; ++k) { const T x = v[k]; v[k] = T(expression); } \\
      usbgpu::store_vector(to + i, v); \\
    } else { \\
      for (unsigned k = i; k < n; ++k) { const T x = from[k]; to[k] = T(expression); } \\
    } \\
  }
'''
EXPRESSIONS = ("x + x", "x * x - 1", "x > 0 ? x : 0", "exp(float(x))", "tanh(float(x))",
               "1 / (1 + exp(-float(x)))", "log(float(x))", "x < 2 ? -x : x * 3", "erf(float(x))", "sqrt(float(x))",
               "x / (x + 1)", "fabs(float(x))")


def _cpu_seconds() -> float:
    """Of this process and of the compilers it started and waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def best(runs: int, work) -> tuple[float, float]:
    """(wall seconds, processor seconds), the least of each."""
    wall, cpu = [], []
    for run in range(runs):
        start = time.perf_counter(), _cpu_seconds()
        work(run)
        wall.append(time.perf_counter() - start[0])
        cpu.append(_cpu_seconds() - start[1])
    return min(wall), min(cpu)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["USBGPU_CACHE"] = folder
        from torch_usbgpu import compiler
        from torch_usbgpu.compiler import toolchain

        arch, found = "gfx1100", toolchain.find()
        print(f"{found.identity}, {os.cpu_count()} cores")

        def unit(count: int, salt: int) -> str:
            lines = [f"ELEMENTWISE(k{i}_{salt}, {('float', '_Float16')[i % 2]}, {EXPRESSIONS[i % len(EXPRESSIONS)]})"
                     for i in range(count)]
            return KERNEL + "\n".join(lines) + "\n"

        rows = [("headers alone", best(5, lambda run: toolchain.run(found, f"// {run}\n", arch, (), "empty")), 1)]
        rows += [(f"unit of {count}", best(3, lambda run: compiler.compile(unit(count, run), arch)), count)
                 for count in (1, 2, 4, 8, 12, 16, 32)]
        rows += [("hit in the cache", best(20, lambda run: compiler.compile(unit(1, 0), arch)), 1)]
        side_by_side = [(unit(8, 100 + n), arch, ()) for n in range(4)]
        rows += [("4 units of 8 side by side", best(1, lambda run: compiler.compile_many(side_by_side)), 32)]
        print(f"{'job':<28}{'ms':>9}{'CPU ms':>9}{'CPU ms per kernel':>20}")
        for name, (wall, cpu), count in rows:
            print(f"{name:<28}{1000 * wall:9.1f}{1000 * cpu:9.1f}{1000 * cpu / count:20.1f}")


if __name__ == "__main__":
    main()
