"""First light on both generations: boot, queues, faults, launches, copies, the demo, and a sample of all operators.

Each chip has a process of its own, with the dock in strict mode: it raises at whatever hardware would answer with
silence, lets bulk data land late and reorders what may be reordered. The whole suite on another chip is

    USBGPU_TEST_CHIP=navi48 USBGPU_EMULATOR=strict python -m pytest tests
"""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHIPS = ("navi31", "navi48")
ROOMS = ("tests/amdgpu/test_queues.py", "tests/amdgpu/test_kernel_faults.py", "tests/runtime", "tests/aten",
         "tests/compiler/test_cuda_text.py", "tests/compiler/test_headers.py",
         "tests/scripts/test_training.py::test_steps_agree_with_the_cpu_without_fallback",
         "tests/scripts/test_training.py::test_transfers_of_one_step",
         "tests/scripts/test_training.py::test_demo_reaches_its_promise", "tests/scripts/test_errors.py",
         "tests/scripts/test_interrupts.py", "tests/scripts/test_processes.py::test_first_lines")
EVERY = 12              # of the operators' tests: about 250
FEWEST = 300            # tests that must have passed; fewer: the selection is broken
SECONDS = 3000          # a slow machine's; what hangs is ended by each test's own limit


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("chip", CHIPS)
def test_first_light(chip):
    environment = {**os.environ, "USBGPU_TEST_CHIP": chip, "USBGPU_EMULATOR": "strict", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "--every", str(EVERY), "-p", "no:cacheprovider", *ROOMS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= FEWEST, done.stdout[-2000:]
