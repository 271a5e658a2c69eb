"""Imports run one way, and the two halves meet only at the cable."""
from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "torch_usbgpu"
# room -> rooms that it may import. Facts and errors are for everybody.
BELOW = {
    "errors": set(),
    "private_files": {"errors"},
    "usb": {"errors", "private_files"},
    "pcie": {"errors", "usb"},
    "amdgpu": {"errors", "private_files", "usb", "pcie"},
    "compiler": {"errors", "private_files"},
    "kernels": {"errors", "compiler", "runtime"},
    "runtime": {"errors", "private_files", "usb", "pcie", "amdgpu", "compiler", "kernels", "_runtime"},
    "firmware": {"errors", "private_files", "amdgpu"},
    "tracing": {"errors", "usb", "amdgpu"},
    "diagnosis": {"errors", "usb", "pcie", "amdgpu", "compiler", "runtime"},
    "cli": {"errors", "coverage", "diagnosis", "firmware", "private_files", "usb", "amdgpu", "tracing", "runtime"},
    # the device half
    "emulator": {"errors", "_emulator", "emulated_firmware"},
    "emulated_firmware": {"errors", "private_files"},
}
THE_ONE_TRANSPORT = PACKAGE / "usb" / "emulated.py"
# The command's `emulator` group works on the device half itself; the debugger compiles and loads what it steps through.
EMULATOR_COMMANDS = {*(PACKAGE / "cli" / "emulator").glob("*.py")}
DEBUGGER = PACKAGE / "emulator" / "debugger.py"


def rooms() -> list:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in BELOW:
            found.append(pytest.param(path, parts[0], id="/".join(parts)))
    return found


def imported(path: Path) -> set[str]:
    """Dotted names, absolute, of everything that the file imports at any depth."""
    package = ("torch_usbgpu", *path.relative_to(PACKAGE).parts[:-1])
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path, room", rooms())
def test_imports_go_down(path, room):
    allowed = BELOW[room] | {room}
    if path == THE_ONE_TRANSPORT:
        allowed |= {"emulator", "emulated_firmware"}
    if path in EMULATOR_COMMANDS:
        allowed |= {"emulator", "_emulator"}
    if path == DEBUGGER:
        allowed |= {"compiler", "runtime"}
    for name in imported(path):
        top, _, rest = name.partition(".")
        assert top != "torch", f"{path.name} imports {name}: this room works without torch"
        if top == "torch_usbgpu" and rest:
            assert rest.split(".")[0] in allowed, f"{path.name} imports {name}"


def test_only_one_file_of_the_host_half_knows_the_emulator():
    device_half = {*(PACKAGE / "emulator").glob("*.py"), PACKAGE / "emulated_firmware.py"}
    found = {path for path in PACKAGE.rglob("*.py")
             if path not in device_half and any("emulat" in part for name in imported(path) for part in name.split("."))}
    assert found <= {THE_ONE_TRANSPORT, PACKAGE / "usb" / "transport.py", PACKAGE / "usb" / "__init__.py",
                     *EMULATOR_COMMANDS}
    for path in found - {THE_ONE_TRANSPORT} - EMULATOR_COMMANDS:      # they may name the transport, not what is behind it
        assert not any(name.startswith(("torch_usbgpu.emulat", "torch_usbgpu._emulat")) for name in imported(path))


@pytest.mark.parametrize("folder, forbidden", [
    ("runtime", ["ATen", "torch", "c10", "emulator"]),
    ("emulator", ["ATen", "torch", "c10", "runtime", "aten"]),
    ("aten", ["emulator"]),
])
def test_native_rooms_do_not_include_each_other(folder, forbidden):
    for path in (PACKAGE.parent / "csrc" / folder).rglob("*"):
        if path.suffix not in (".cpp", ".h"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.lstrip().startswith("#include"):
                target = line.split("include", 1)[1].strip(' <">').split("/")[0]
                assert target not in forbidden, f"{path.name}: {line}"


def test_the_driver_imports_without_torch():
    import subprocess

    code = ("import sys; sys.modules['torch'] = None\n"
            "import importlib.util, types\n"
            f"package = types.ModuleType('torch_usbgpu'); package.__path__ = [{str(PACKAGE)!r}]\n"
            "sys.modules['torch_usbgpu'] = package\n"
            "import torch_usbgpu.usb, torch_usbgpu.pcie, torch_usbgpu.amdgpu, torch_usbgpu.compiler, torch_usbgpu.runtime\n"
            "import torch_usbgpu.diagnosis, torch_usbgpu.cli.doctor, torch_usbgpu.cli.listing, torch_usbgpu.cli.firmware\n"
            "import torch_usbgpu.cli.emulator, torch_usbgpu.emulator.debugger\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
