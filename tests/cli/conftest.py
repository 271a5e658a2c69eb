"""One program, traced once: boot, a kernel, shutdown."""
from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from torch_usbgpu.cli import app

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = '''
import sys
import numpy as np
from torch_usbgpu import compiler
from torch_usbgpu.runtime import Device

source = """
extern "C" __global__ void add(float* a, float* b, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) b[i] += a[i];
}"""
with Device("emulated:navi31") as gpu:
    kernel = gpu.load(compiler.compile(source, gpu.arch))["add"]
    a, b = gpu.alloc(4096), gpu.alloc(4096)
    gpu.copy_in(a, np.arange(1024, dtype=np.float32))
    gpu.copy_in(b, np.ones(1024, np.float32))
    gpu.launch(kernel, 4, 256, [a, b, np.int32(1024)])
    result = np.empty(1024, np.float32)
    gpu.copy_out(result, b)
    assert (result == np.arange(1024) + 1).all()
    gpu.launch(kernel, 4, 256, [a, b, np.int32(1024)])     # a second submission
    gpu.copy_out(result, b)
    much = gpu.alloc(1 << 19)
    gpu.copy_in(much, np.arange(1 << 17, dtype=np.int32))  # more than a window holds: SDMA copies it
    back = np.empty(1 << 17, np.int32)
    gpu.copy_out(back, much)
    assert (back == np.arange(1 << 17)).all()
assert (result == 2 * np.arange(1024) + 1).all()
print("sum", int(result.sum()), *sys.argv[1:])
sys.exit(7)
'''


@dataclass
class Done:
    status: int
    stdout: str
    stderr: str


def usbgpu(*arguments, check: int | None = None) -> Done:
    """The command, in this process: a new one takes seconds to import torch."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        app.main([str(argument) for argument in arguments])
    done = Done(end.value.code, out.getvalue(), err.getvalue())
    assert check is None or done.status == check, done.stdout + done.stderr
    return done


def usbgpu_process(*arguments, check: int | None = None) -> Done:
    """The command, as a user runs it."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "USBGPU_DEVICE": "emulated"}
    ran = subprocess.run([sys.executable, "-m", "torch_usbgpu.cli", *map(str, arguments)], capture_output=True,
                         text=True, env=settings, timeout=120)
    assert check is None or ran.returncode == check, ran.stdout + ran.stderr
    return Done(ran.returncode, ran.stdout, ran.stderr)


@dataclass
class Traced:
    path: Path
    text: str
    stdout: str
    status: int

    @property
    def rows(self) -> list[dict]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture(scope="session")
def program(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("program") / "adds.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture(scope="session")
def traced(program) -> Traced:
    path, text = program.with_name("run.trace"), program.with_name("run.txt")
    done = usbgpu_process("emulator", "trace", "-o", path, "--text", text, "--packets", "both", "--instructions=add:40",
                          program, "--flag", "word")
    return Traced(path, text.read_text(), done.stdout, done.status)
