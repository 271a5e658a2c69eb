"""What our kernels come to: registers, occupancy, instruction mix and modelled time against the chip's peak.

    python benchmarks/kernels.py [navi31 navi48 ...] [--only gemm]

Each kernel runs once, on the emulated chip, in an operator of the size named. VGPRs, LDS and scratch are the
compiler's; waves per SIMD, the shares of the instruction mix and the bound are counted by the emulator, whose
model of time (docs/emulator-isa.md, 'Modelled time') is a roofline: issue, LDS, L0 or VRAM, whatever needs longest.
"of peak" is the useful work (floating operations, or bytes that have to be moved) over that time and the chip's rate
for it: dual-issued FMA for f32, matrix units for f16 and bf16, memory bandwidth for what computes little.

Where llvm-mca is found (LLVM with the AMDGPU target), its cycles per iteration of the kernel's hottest loop are beside
the same loop's issue cycles by our rates: one wave alone, waiting for everything it waits for. LLVM counts every
matrix instruction as one cycle on gfx11; ours is 32.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FACTS = Path(__file__).parents[1] / "torch_usbgpu" / "amdgpu" / "asic"
FLOAT_PER_CYCLE = 32 * 2 * 2         # of a SIMD: lanes, the two halves of a dual issue, multiply and add
MATRIX_OPERATIONS = 16 * 16 * 16 * 2  # of one matrix instruction


def operators():
    """name -> (function, useful floating operations or 0, bytes that have to be moved, peak: f32, matrix or memory)"""
    import torch
    import torch.nn.functional as F
    d = "usbgpu"

    def randn(*shape, dtype=torch.float32):
        return torch.randn(*shape).to(d, dtype)

    table = {}

    def product(name, m, n, k, dtype, batches=()):
        a, b = randn(*batches, m, k, dtype=dtype), randn(*batches, k, n, dtype=dtype)
        count = 2 * m * n * k * (batches[0] if batches else 1)
        table[name] = (lambda: a @ b, count, 0, "f32" if dtype == torch.float32 else "matrix")

    product("gemm f32 1024^3", 1024, 1024, 1024, torch.float32)
    product("gemm f32 256^3", 256, 256, 256, torch.float32)
    product("gemm f32 64x64x4096", 64, 64, 4096, torch.float32)
    product("gemm f16 1024^3", 1024, 1024, 1024, torch.float16)
    product("gemm bf16 1024^3", 1024, 1024, 1024, torch.bfloat16)
    product("bmm f16 64 x 128x128x64", 128, 128, 64, torch.float16, (64,))
    image, weight = randn(8, 64, 28, 28), randn(64, 64, 3, 3)
    count = 2 * 8 * 64 * 28 * 28 * 64 * 9
    table["conv2d f32 3x3"] = (lambda: F.conv2d(image, weight, padding=1), count, 0, "f32")
    half_image, half_weight = image.half(), weight.half()
    table["conv2d f16 3x3"] = (lambda: F.conv2d(half_image, half_weight, padding=1), count, 0, "matrix")
    for dtype, name, peak in ((torch.float32, "f32", "f32"), (torch.float16, "f16", "matrix")):
        q = randn(2, 8, 256, 64, dtype=dtype)
        function = lambda q=q: F.scaled_dot_product_attention(q, q, q)     # noqa: E731
        table[f"attention {name} 256x64"] = (function, 4 * 16 * 256 * 256 * 64, 0, peak)
    n = 1 << 22
    x, y, h = randn(n), randn(n), randn(n, dtype=torch.float16)
    table["add f32"] = (lambda: x + y, 0, 12 * n, "memory")
    table["gelu f16"] = (lambda: F.gelu(h), 0, 4 * n, "memory")
    table["copy transposed f32"] = (lambda: x.view(2048, 2048).t().contiguous(), 0, 8 * n, "memory")
    table["sum f32"] = (lambda: x.sum(), 0, 4 * n, "memory")
    table["sum f32 of rows 4096x1024"] = (lambda: x.view(4096, 1024).sum(1), 0, 4 * n, "memory")
    table["cumsum f32 of one row"] = (lambda: x.cumsum(0), 0, 8 * n, "memory")
    table["softmax f32 4096x1024"] = (lambda: x.view(4096, 1024).softmax(1), 0, 8 * n, "memory")
    scale = randn(1024)
    table["layer_norm f32 4096x1024"] = (lambda: F.layer_norm(x.view(4096, 1024), (1024,), scale), 0, 8 * n, "memory")
    table["cat f32"] = (lambda: torch.cat([x, y]), 0, 16 * n, "memory")
    pool = randn(8, 64, 64, 64)
    # read 4 bytes, of every fourth a value and its place (int64, for the gradient): 4 + (4 + 8) / 4
    table["max_pool2d f32"] = (lambda: F.max_pool2d(pool, 2), 0, 7 * pool.numel(), "memory")
    parameters = [randn(512, 512) for _ in range(8)]
    states = [[torch.zeros_like(p) for p in parameters] for _ in range(3)]
    steps = [torch.ones((), device=d) for _ in parameters]
    table["adamw f32 8 x 512x512"] = (lambda: torch._fused_adamw_(
        parameters, states[2], states[0], states[1], [], steps, lr=1e-3, beta1=0.9, beta2=0.999, weight_decay=0.01,
        eps=1e-8, amsgrad=False, maximize=False), 0, 16 * 8 * 512 * 512, "memory")
    # in place: the model counts a line once
    return table


# ---- llvm-mca

def llvm_mca() -> str | None:
    """The newest: gfx11 needs LLVM 16, gfx12 LLVM 18."""
    found = {}
    for path in filter(None, map(shutil.which, ["llvm-mca", *(f"llvm-mca-{v}" for v in range(16, 30))])):
        said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        if "amdgcn" in said and (version := re.search(r"version (\d+)", said)):
            found[int(version[1])] = path
    return found[max(found)] if found else None


def assembly(spec, arch: str) -> list[str]:
    """The instructions and labels of one kernel."""
    from torch_usbgpu import kernels
    from torch_usbgpu.compiler import toolchain
    compiler = toolchain.find()
    flags = ["-S" if flag == "-emit-obj" else flag for flag in toolchain.flags(compiler, arch)]
    command = [*compiler.command, "-cc1", *flags, f"-I{toolchain.INCLUDE}", f"-I{toolchain.KERNELS}", "-include",
               "hip_runtime.h", "-o", "-", "-"]
    text = subprocess.run(command, input=kernels.unit_source([spec]), capture_output=True, text=True, check=True).stdout
    body = text[text.index(f"\n{spec.symbol}:") + 1:]
    body = body[:body.index("s_endpgm")]
    lines = (line.split(";")[0].strip() for line in body.splitlines())
    return [line for line in lines if line and (not line.startswith(".") or line.endswith(":"))]


def work_of(line: str) -> int:
    """Floating operations of a wave in an instruction: FMAs, dual ones, matrix products."""
    if line.startswith("v_wmma"):
        return MATRIX_OPERATIONS
    return 64 * len(re.findall(r"v_(?:dual_)?(?:pk_)?fma", line))


def hottest_loop(lines: list[str]) -> list[str]:
    """The innermost loop that computes most; if none computes, the longest one."""
    labels, loops = {}, []
    for at, line in enumerate(lines):
        if line.endswith(":"):
            labels[line[:-1]] = at
        elif match := re.match(r"s_c?branch\S*\s+(\S+)", line):
            if (begin := labels.get(match[1])) is not None:
                loops.append((begin, at + 1))
    inner = [(a, b) for a, b in loops if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops)]
    bodies = [[line for line in lines[a:b] if not line.endswith(":") and not re.match(r"s_c?branch", line)]
              for a, b in inner]
    return max(bodies, key=lambda body: (sum(map(work_of, body)), len(body)), default=[])


def issue_cycles(body: list[str], rates: dict) -> int:
    """Of the vector unit, for one wave; nothing waits for anything."""
    total = 0
    for line in body:
        if line.startswith("v_wmma"):
            total += rates["wmma_cycles"]
        elif line.startswith("v_dual_"):
            total += rates["vopd_cycles"]
        elif re.match(r"v_(exp|log|rcp|rsq|sqrt|sin|cos)_", line):
            total += rates["trans_cycles"]
        elif re.match(r"v_\w+_f64", line):
            total += rates["f64_cycles"]
        elif line.startswith("v_"):
            total += rates["valu_cycles"]
    return total


def modelled_by_llvm(mca: str, arch: str, body: list[str]) -> float | None:
    iterations = 20
    done = subprocess.run([mca, "-mtriple=amdgcn", f"-mcpu={arch}", f"-iterations={iterations}",
                           "-instruction-info=false", "-resource-pressure=false"], input="\n".join(body),
                          capture_output=True, text=True)
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    return int(found[1]) / iterations if found else None     # else: an instruction that this LLVM does not know


# ---- one chip, in a process of its own

def measure(chip: str, only: str) -> None:
    from torch_usbgpu import kernels
    specs, descriptors, compile_kernels = {}, {}, kernels.compile_kernels

    def remember(arch, wanted):
        wanted = [kernels.KernelSpec(*spec) for spec in wanted]
        specs.update({spec.symbol: spec for spec in wanted})
        compiled = compile_kernels(arch, wanted)
        for image in compiled.images:
            descriptors.update(image.kernels)
        return compiled

    kernels.compile_kernels = remember       # before the device opens
    import torch

    import torch_usbgpu  # noqa: F401
    facts = json.loads((FACTS / "chips.json").read_text())
    geometry = (facts.get("chips") or facts)[chip]
    rates = json.loads((FACTS / "rates.json").read_text())
    table = operators()
    properties = torch.usbgpu.get_device_properties()
    arch, units = properties.gcnArchName.split(":")[0], properties.multi_processor_count
    generation, board = rates["generations"][arch[:5]], rates["chips"][chip]
    simds = units * geometry.get("simd_per_cu", 2)
    clock = board["clock_mhz"] * 1e6
    peaks = {"f32": simds * clock * FLOAT_PER_CYCLE,
             "matrix": simds * clock * MATRIX_OPERATIONS / generation["wmma_cycles"],
             "memory": board["vram_bytes_per_second"]}
    mca = llvm_mca()
    print(f"\n{chip} ({arch}), {units} compute units, {board['clock_mhz']} MHz: peak {peaks['f32'] / 1e12:.1f} TFLOP/s "
          f"f32, {peaks['matrix'] / 1e12:.0f} f16, {peaks['memory'] / 1e9:.0f} GB/s; "
          f"{mca or 'no llvm-mca: its columns are empty'}\n")
    print(f"{'operator':<25} {'kernel':<38} {'VGPRs':>5} {'LDS':>6} {'waves':>5} {'scratch':>7} {'dual':>5} "
          f"{'wmma':>5} {'us':>8} {'bound':>5} {'of peak':>7} {'loop: mca':>9} {'issue':>6} {'of peak':>7}")
    for name, (function, operations, moved, peak) in table.items():
        if only not in name:
            continue
        torch.usbgpu.synchronize()
        torch.usbgpu.reset_kernel_stats()
        function()
        torch.usbgpu.synchronize()
        stats = torch.usbgpu.kernel_stats()
        seconds = sum(row["modelled_seconds"] for row in stats.values())
        for symbol, row in sorted(stats.items(), key=lambda item: -item[1]["modelled_seconds"]):
            kernel = descriptors[symbol]
            vector = max(row["valu"] + row["vopd"] + row["wmma"] + row["trans"], 1)
            bound = max(("issue", "lds", "l0", "vram"), key=lambda unit: row[f"{unit}_seconds"])
            first = symbol == max(stats, key=lambda s: stats[s]["modelled_seconds"])
            share = (operations or moved) / seconds / peaks[peak] if first else None
            body = hottest_loop(assembly(specs[symbol], arch)) if first else []
            by_llvm = modelled_by_llvm(mca, arch, body) if mca and body else None
            cycles, work = issue_cycles(body, generation), sum(map(work_of, body))
            used = work / cycles if cycles and peak != "memory" else None
            rate = FLOAT_PER_CYCLE if peak != "matrix" else MATRIX_OPERATIONS / generation["wmma_cycles"]
            cell = lambda value, form: format(value, form) if value else ""     # noqa: E731
            print(f"{name if first else '':<25} {symbol[:38]:<38} {kernel.vgprs:5} {kernel.lds_bytes:6} "
                  f"{row['waves_per_simd']:5.1f} {kernel.scratch_bytes:7} {row['vopd'] / vector:5.0%} "
                  f"{row['wmma'] / vector:5.0%} "
                  f"{row['modelled_seconds'] * 1e6:8.2f} {bound:>5} {cell(share, '7.0%'):>7} "
                  f"{cell(by_llvm, '9.1f'):>9} {cell(cycles, '6'):>6} {cell(used and used / rate, '7.0%'):>7}")
    spilling = sorted(symbol for symbol, kernel in descriptors.items() if kernel.scratch_bytes or kernel.vgpr_spills)
    print(f"\n{len(descriptors)} kernels; spilling: {', '.join(spilling) or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chips", nargs="*", default=["navi31", "navi48"])
    parser.add_argument("--only", default="", help="operators whose name contains this")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        return measure(arguments.chips[0], arguments.only)
    for chip in arguments.chips:
        # counters: every lane's address, so that what a cache line serves again does not count as traffic
        environment = {**os.environ, "USBGPU_DEVICE": f"emulated:{chip}", "USBGPU_EMULATOR": "counters"}
        command = [sys.executable, __file__, chip, "--here", "--only", arguments.only]
        subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
