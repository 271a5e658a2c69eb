"""benchmarks/kernels.py: what it reads out of assembly, and that its table comes out."""
from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kernels.py"
RATES = json.loads((SCRIPT.parents[1] / "torch_usbgpu/amdgpu/asic/rates.json").read_text())["generations"]
ASSEMBLY = """\
k:
.LBB0_1:
s_load_b64 s[0:1], s[2:3], 0x0
s_cbranch_scc1 .LBB0_3
.LBB0_2:
v_dual_fmac_f32 v0, v1, v2 :: v_dual_fmac_f32 v5, v4, v7
v_fma_f32 v3, v1, v2, v3
v_exp_f32_e32 v8, v8
s_cbranch_vccnz .LBB0_2
.LBB0_3:
v_add_f32_e32 v1, v2, v3
s_cbranch_scc0 .LBB0_1""".splitlines()


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("kernels_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_hottest_loop(benchmark):
    loop = benchmark.hottest_loop(ASSEMBLY)
    assert [line.split()[0] for line in loop] == ["v_dual_fmac_f32", "v_fma_f32", "v_exp_f32_e32"]
    assert sum(map(benchmark.work_of, loop)) == 3 * 64
    assert benchmark.issue_cycles(loop, RATES["gfx11"]) == 1 + 1 + 4
    assert benchmark.issue_cycles(["v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]"], RATES["gfx12"]) == 16


@pytest.mark.parametrize("chip", ["navi31", "navi48"])
def test_a_line_of_the_table(chip):
    root = str(SCRIPT.parents[1])
    done = subprocess.run([sys.executable, SCRIPT, chip, "--only", "gemm f32 64x64x4096"], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("gemm f32 64x64x4096")).split()
    vgprs, lds, scratch = int(row[4]), int(row[5]), int(row[7])
    assert 32 < vgprs <= 256 and lds > 0 and scratch == 0
    assert int(row[8].rstrip("%")) > 20 and row[9] == "0%"      # dual-issued; no matrix units
    assert "spilling: none" in done.stdout
