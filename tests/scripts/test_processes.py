"""Plain scripts, the REPL, several processes, and every way to leave."""
from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from .run import ROOT, TIMEOUT_SECONDS, environment, output, run

FIRST_LINES = """
import torch, torch_usbgpu
x = torch.arange(6.).reshape(2, 3).to("usbgpu")
print((x @ x.T + 1).cpu().tolist(), x.device)
"""


def test_first_lines():
    assert output(FIRST_LINES).strip() == "[[6.0, 15.0], [15.0, 51.0]] usbgpu:0"


def test_import_boots_nothing():
    code = "import torch, torch_usbgpu; from torch_usbgpu import runtime; print(torch.usbgpu.is_available(), runtime.is_open())"
    assert output(code).strip() == "True False"


def test_repl():
    done = run("", stdin=FIRST_LINES + 'print(x)\n')
    assert done.returncode == 0 and "[[6.0, 15.0], [15.0, 51.0]]" in done.stdout
    assert "tensor([[0., 1., 2.],\n        [3., 4., 5.]], device='usbgpu:0')" in done.stdout


def test_autoload_without_import():
    pytest.importorskip("torch_usbgpu")
    from importlib.metadata import entry_points

    if not any(entry.name == "torch_usbgpu" for entry in entry_points(group="torch.backends")):
        pytest.skip("the package is not installed (run from a checkout), so torch cannot find its entry point")
    assert output("import torch; print(torch.ones(2, device='usbgpu').sum().item())").strip() == "2.0"


def test_two_processes_at_once():
    code = FIRST_LINES + "import time; time.sleep(2); print(x.sum().item())"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
            for _ in range(2)]
    for process in both:
        text, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 0 and text.strip().endswith("15.0")


def test_exception_ends_the_process_with_its_traceback():
    done = run(FIRST_LINES + "raise KeyError('mine')")
    assert done.returncode == 1 and "KeyError: 'mine'" in done.stderr


@pytest.mark.parametrize("busy", [
    "import time; time.sleep(60)",
    "while True: x = torch.relu(x + 1); x.sum().item()",
], ids=["idle", "computing"])
def test_ctrl_c(busy):
    process = subprocess.Popen([sys.executable, "-c", FIRST_LINES + "print('ready', flush=True)\n" + busy],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
    while "ready" not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors


def test_tensors_that_outlive_everything_do_not_hang_exit():
    code = FIRST_LINES + """
import builtins
builtins.kept = [torch.ones(1000, device="usbgpu") for _ in range(10)]
kept.append(x + 1)     # still queued at exit
"""
    output(code)


def test_unknown_device_is_named_with_the_valid_ones():
    done = run(FIRST_LINES, USBGPU_DEVICE="cuda")
    assert done.returncode == 1 and "USBGPU-001" in done.stderr and "emulated" in done.stderr and "'cuda'" in done.stderr


def test_no_adapter():
    done = run(FIRST_LINES, USBGPU_DEVICE="usb:250-1")
    assert done.returncode == 1 and "USBGPU-101" in done.stderr


def test_a_tensor_that_dies_after_the_runtimes_modules():
    """Something else keeps the main module's names, so they go last: the memory is given back to a device that is
    still there. (This module of torch is one that does so.)"""
    output("import torch, torch_usbgpu, torch.testing._internal.common_utils\nx = torch.ones(3, device='usbgpu')")
