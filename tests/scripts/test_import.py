"""Importing: this package never brings torch, and the device is there as soon as torch is, in every order, process and
thread."""
from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .run import ROOT, TIMEOUT_SECONDS, environment, output, run

KNOWN = "\nprint(torch.ones(2, device='usbgpu').sum().item(), torch.usbgpu.device_count())"
WITHOUT_TORCH = "import sys\nassert not [name for name in sys.modules if name.split('.')[0] == 'torch']\n"


@pytest.mark.parametrize("lines", [
    "import torch_usbgpu; import torch",
    "import torch; import torch_usbgpu",
    "import torch, torch_usbgpu",
    "import torch_usbgpu; import torch.usbgpu",
    "import torch_usbgpu.usb; import torch.nn as nn; import torch",
    "from torch_usbgpu.runtime import Device; import torch",
    "import torch_usbgpu; torch_usbgpu.register(); import torch",
    "import torch_usbgpu; import importlib.util; assert importlib.util.find_spec('torch'); import torch",
], ids=lambda lines: lines.replace("import", "i").replace(";", ""))
def test_every_order_registers(lines):
    assert output(lines + KNOWN).strip() == "2.0 1"


@pytest.mark.parametrize("lines", [
    "import torch_usbgpu",
    "import torch_usbgpu.usb, torch_usbgpu.pcie, torch_usbgpu.amdgpu, torch_usbgpu.compiler, torch_usbgpu.runtime",
    "import torch_usbgpu.cli.app, torch_usbgpu.cli.emulator",
    "from torch_usbgpu.runtime import Device; gpu = Device('emulated'); a = gpu.alloc(64); gpu.free(a); gpu.close()",
])
def test_the_driver_does_not_bring_torch(lines):
    output(f"{lines}\n{WITHOUT_TORCH}")


def test_the_command_does_not_bring_torch():
    code = ("import sys\nsys.argv = ['usbgpu', '--help']\nfrom torch_usbgpu.cli.app import main\n"
            "try: main()\nexcept SystemExit as end: assert not end.code\n")
    output(code + WITHOUT_TORCH)


def test_the_driver_works_where_torch_is_missing():
    code = """
import sys
sys.modules['torch'] = None
import torch_usbgpu
from torch_usbgpu.runtime import Device
gpu = Device('emulated')
print(gpu.arch)
gpu.close()
try: import torch
except ModuleNotFoundError: print('missing')
"""
    assert output(code).split()[-1] == "missing"


def test_nothing_stays_behind():
    """The finder goes, and the loader is the one that Python found."""
    code = """
import torch_usbgpu, sys
before = len(sys.meta_path)
import torch
assert len(sys.meta_path) == before, "in the place of the one for torch is one for safetensors"
import safetensors
assert len(sys.meta_path) == before - 1
assert 'exec_module' not in vars(torch.__loader__) and torch.__spec__.loader is torch.__loader__
import inspect
assert 'def compile' in inspect.getsource(torch.compile)
"""
    output(code)


def test_other_finders_are_asked(tmp_path):
    """One that itself asks everybody (as the libraries for such hooks do) neither loops nor is passed over."""
    code = """
import importlib.util, sys
class Other:
    asking, asked = False, 0
    def find_spec(self, name, path=None, target=None):
        if name != 'torch' or self.asking: return None
        self.asking, self.asked = True, self.asked + 1
        try: return importlib.util.find_spec(name)
        finally: self.asking = False
{order}
import torch
assert other.asked
"""
    for order in ("other = Other(); sys.meta_path.insert(0, other); import torch_usbgpu",
                  "import torch_usbgpu; other = Other(); sys.meta_path.insert(0, other)"):
        assert output(code.format(order=order) + KNOWN).strip() == "2.0 1"


def test_import_in_two_threads():
    """Whoever is first: nobody sees torch without the device once both imports are done."""
    code = """
import threading, importlib
threads = [threading.Thread(target=importlib.import_module, args=(name,)) for name in {names}]
for thread in threads: thread.start()
for thread in threads: thread.join()
import torch
"""
    for names in (("torch", "torch_usbgpu"), ("torch_usbgpu", "torch")):
        assert output(code.format(names=names) + KNOWN, TORCH_DEVICE_BACKEND_AUTOLOAD="0").strip() == "2.0 1"


@pytest.fixture
def other_torch(tmp_path):
    """A torch of a version that we were not built for."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("__version__ = '2.99.0'\nanswer = 42\n")
    return {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


def test_a_torch_of_another_version_is_not_kept_from_importing(other_torch):
    done = run("import torch_usbgpu, torch; print(torch.answer)", **other_torch)
    assert done.returncode == 0 and done.stdout.strip() == "42"
    assert "2.99.0" in done.stderr and ">=2.13,<2.14" in done.stderr
    done = run("import torch, torch_usbgpu", **other_torch)
    assert done.returncode == 1 and "ImportError" in done.stderr and "2.99.0" in done.stderr


def test_a_torch_that_fails_may_be_tried_again(tmp_path):
    """The hook waits on."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('not yet')\n")
    code = f"""
import sys, torch_usbgpu
sys.path.insert(0, {str(tmp_path)!r})
try: import torch
except RuntimeError: sys.path.remove({str(tmp_path)!r})
import torch
"""
    assert output(code + KNOWN).strip() == "2.0 1"


# ---- installed: torch loads our entry point at the end of its own import

@pytest.fixture
def installed(tmp_path):
    """As pip leaves it, without the files."""
    info = tmp_path / "torch_usbgpu-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch_usbgpu\nVersion: 0\n")
    entry = re.search(r'entry-points."torch.backends"\]\n(.*) = "(.*)"', (ROOT / "pyproject.toml").read_text())
    (info / "entry_points.txt").write_text(f"[torch.backends]\n{entry[1]} = {entry[2]}\n")
    return {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


@pytest.mark.parametrize("lines", ["import torch", "import torch_usbgpu, torch", "import torch, torch_usbgpu"])
def test_the_entry_point_registers_where_the_device_is_asked_for(installed, lines):
    assert output(lines + KNOWN, USBGPU_DEVICE="emulated", **installed).strip() == "2.0 1"


@pytest.mark.parametrize("lines", ["import torch_usbgpu, torch", "import torch, torch_usbgpu", "import torch\nfrom torch_usbgpu import usb",
                                   "import torch\nimport torch_usbgpu.usb\nassert torch_usbgpu.usb.open_handle"])
def test_installed_and_imported_it_is_there_without_any_setting(installed, lines):
    """The README's first lines. Torch has brought the package by then, and it has declined."""
    assert output(lines + KNOWN, USBGPU_DEVICE="", **installed).strip() == "2.0 1"


def test_installed_and_imported_logs_come_once(installed):
    done = run("import torch, torch_usbgpu\ntorch.ones(1, device='usbgpu').sum().item()", USBGPU_DEVICE="",
               USBGPU_LOG="amdgpu:info", **installed)
    lines = [line for line in done.stderr.splitlines() if "firmware" in line or "boot" in line]
    assert done.returncode == 0 and lines and len(lines) == len(set(lines)), done.stderr


def test_merely_installed_it_changes_nothing(installed):
    code = "import torch, sys; print(hasattr(torch, 'usbgpu'), torch.accelerator.is_available(), 'torch_usbgpu._C' in sys.modules)"
    assert output(code, USBGPU_DEVICE="", **installed).split() == ["False", "False", "False"]


def test_kernel_sources_that_are_newer_than_the_module_are_refused():
    code = """
from torch_usbgpu.kernels import arguments
arguments.digest = lambda: "of something else"
import torch
try: import torch_usbgpu; torch_usbgpu.register()
except ImportError as error: print("build it again" in str(error))
"""
    assert output(code).strip() == "True"


@pytest.mark.parametrize("variable", ["USBGPU_CHECK", "USBGPU_FALLBACK"])
def test_a_setting_that_we_do_not_know_leaves_torch_and_no_device(installed, variable):
    """An unchecked run of who asked for a check is worse than none."""
    code = """
import torch
print(torch.ones(2).sum().item())
try: torch.ones(2, device="usbgpu")
except RuntimeError: print("no device")
"""
    assert output(code, USBGPU_DEVICE="emulated", **{variable: "maybe"}, **installed).split("\n") == ["2.0", "no device", ""]


# ---- other processes

@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
@pytest.mark.parametrize("first", ["import torch_usbgpu", "import torch_usbgpu, torch", "import torch, torch_usbgpu"])
def test_fork(first):
    code = f"""
{first}
import os
if os.fork() == 0:
    import torch
    assert torch.arange(3., device='usbgpu').sum().item() == 3
    torch.usbgpu.synchronize()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert output(code).strip() == "7"


MAIN = '''
{first}
import multiprocessing, pickle

def child(pipe):
    import torch
    pipe.send((pickle.loads(pipe.recv()) * 2).cpu().tolist())

if __name__ == "__main__":
    import torch
    here, there = multiprocessing.get_context("{method}").Pipe()
    process = multiprocessing.get_context("{method}").Process(target=child, args=(there,), daemon=True)
    process.start()
    here.send(pickle.dumps(torch.arange(3., device='usbgpu')))
    assert here.poll(60)
    print(here.recv())
    process.join()
    print(process.exitcode)
'''


@pytest.mark.parametrize(("method", "first"), [
    ("spawn", "import torch_usbgpu"), ("spawn", "import torch, torch_usbgpu"), ("forkserver", "import torch_usbgpu")])
def test_new_processes_know_the_device(tmp_path, method, first):
    """They run the script's imports again; a pickled tensor is put on their own device."""
    script = tmp_path / "script.py"
    script.write_text(MAIN.format(first=first, method=method))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, cwd=ROOT,
                          env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["[0.0, 2.0, 4.0]", "0"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The same tensors in a file of each kind."""
    folder = tmp_path_factory.mktemp("files")
    output(f"""
import torch_usbgpu, torch, pickle
value = {{'x': torch.arange(3., device='usbgpu')}}
pickle.dump(value, open('{folder}/pickle', 'wb'))
torch.save(value, '{folder}/saved')
""")
    return folder


@pytest.mark.parametrize("reader", ["import torch_usbgpu, torch", "import torch, torch_usbgpu"])
def test_files_are_read_by_another_process(written, reader):
    code = f"""
{reader}, pickle
for value in (pickle.load(open('{written}/pickle', 'rb')), torch.load('{written}/saved'),
              torch.load('{written}/saved', map_location='cpu')):
    print(value['x'].device.type, value['x'].tolist())
"""
    assert output(code).splitlines() == [f"{device} [0.0, 1.0, 2.0]" for device in ("usbgpu", "usbgpu", "cpu")]
