"""The handlers compiled without AVX2, FMA and F16C compute the same: part of this folder once more, on that copy."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MODULES = ("test_packed.py", "test_wmma.py", "test_wide.py", "test_lanes.py", "test_compare.py")


def test_on_the_fallback_copy() -> None:
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "not gfx1201", *(HERE / m for m in MODULES)],
                         env=os.environ | {"USBGPU_EMULATOR_ISA": "baseline"}, cwd=HERE.parents[2], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
