"""Builds the three extension modules with ninja.

    python csrc/build.py [emulator] [runtime] [C]

`_emulator` (the device half) and `_runtime` know no torch; `_C` links it.
Each folder below csrc/ may hold a `generate.py` that turns fact files into C++
headers: it is called as `generate.py --out DIR` when it, or one of the JSON
files it lists with `--inputs`, is newer than its last run.

The instruction handlers of the emulator (`csrc/emulator/isa/ops_*.cpp`) are
compiled by clang where the ziglang wheel is installed (about twice as fast as
gcc's code, see benchmarks/), and in two copies: for x86-64-v3 (AVX2, FMA, F16C)
and for the baseline of the host; the CPU decides at run time.
"""
from __future__ import annotations

import importlib.util
import os
import platform
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
BUILD = Path(os.environ.get("USBGPU_BUILD_DIR", ROOT / "build"))
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
X86 = platform.machine().lower() in ("x86_64", "amd64")
MACOS = sys.platform == "darwin"

GENERATORS = {  # module -> folders whose generate.py must have run
    "emulator": ["emulator/isa", "emulator/ip"],
    "runtime": ["runtime"],
    "C": ["aten"],
}
SOURCES = {
    "emulator": ["emulator/**/*.cpp"],
    "runtime": ["runtime/*.cpp"],
    "C": ["aten/**/*.cpp"],
}


def newest(paths) -> float:
    return max((p.stat().st_mtime for p in paths), default=0.0)


def run_generators(module: str) -> list[Path]:
    """Runs what is out of date; returns the generated .cpp files."""
    generated = []
    for folder in GENERATORS[module]:
        script = CSRC / folder / "generate.py"
        if not script.exists():
            continue
        out = BUILD / "generated" / folder
        out.mkdir(parents=True, exist_ok=True)
        stamp = out / ".stamp"
        listed = subprocess.run([sys.executable, script, "--inputs"], capture_output=True, text=True, check=True)
        inputs = [script, *map(Path, listed.stdout.split())]
        if not stamp.exists() or stamp.stat().st_mtime < newest(inputs):
            print(f"generating {folder}", flush=True)
            subprocess.run([sys.executable, script, "--out", out], check=True)
            stamp.touch()
        generated += sorted(out.glob("*.cpp"))
    return generated


def write_if_changed(path: Path, text: str) -> None:
    """Keeps the time stamp, and so ninja's work, when nothing changed."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def zig_clang() -> str | None:
    """A wrapper script around the clang of the ziglang wheel (one word, as ccache wants it)."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or sys.platform == "win32" or MACOS:
        return None
    package = Path(spec.origin).parent
    wrapper = BUILD / "clang"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    command = f'exec "{package}/zig" clang -nobuiltininc -isystem "{package}/lib/include" "$@"'
    write_if_changed(wrapper, f"#!/bin/sh\n{command}\n")
    wrapper.chmod(0o755)
    probe = subprocess.run([wrapper, "-std=c++20", "-x", "c++", "-fsyntax-only", "-"],
                           input="#include <cstdint>\n#include <cmath>\n", text=True, capture_output=True)
    return str(wrapper) if probe.returncode == 0 else None


def torch_flags() -> tuple[str, str]:
    from torch.utils import cpp_extension as ext
    includes = " ".join(f"-isystem {p}" for p in ext.include_paths())
    libraries = " ".join(f"-L{p}" for p in ext.library_paths())
    return (f"{includes} -DTORCH_API_INCLUDE_EXTENSION_H -DTORCH_EXTENSION_NAME=_C",
            f"{libraries} -lc10 -ltorch_cpu -ltorch -ltorch_python")


def kineto_folders() -> list[str]:
    """torch.profiler's own headers, which its wheel carries beside the others."""
    from torch.utils import cpp_extension as ext
    return [f"{folder}/kineto" for folder in ext.include_paths()]


def ninja_text(modules: list[str]) -> str:
    import pybind11

    ccache = shutil.which("ccache")
    cxx = os.environ.get("CXX", "c++")
    clang = zig_clang() or cxx
    launcher = f"{ccache} " if ccache else ""
    python = sysconfig.get_paths()["include"]
    common = (f"-std=c++20 -O2 -g1 -fPIC -fvisibility=hidden -ffp-contract=off -Wall -Wextra -Wno-unused-parameter "
              f"-I{CSRC} -I{ROOT}/torch_usbgpu -I{BUILD}/generated -isystem {python} -isystem {pybind11.get_include()}")
    link = "-shared -pthread" if not MACOS else "-bundle -undefined dynamic_lookup"
    torch_compile, torch_link = torch_flags() if "C" in modules else ("", "")
    lines = [
        f"builddir = {BUILD}",
        "rule cxx", f"  command = {launcher}{cxx} -MMD -MF $out.d {common} $flags -c $in -o $out",
        "  depfile = $out.d", "  deps = gcc", "  description = $in",
        "rule handler",
        f"  command = {launcher}{clang} -MMD -MF $out.d {common} -O3 -fno-exceptions -fno-rtti $flags -c $in -o $out",
        "  depfile = $out.d", "  deps = gcc", "  description = $in ($level)",
        "rule link", f"  command = {cxx} {link} @$out.rsp -o $out $libs",
        "  rspfile = $out.rsp", "  rspfile_content = $in", "  description = $out", ""]

    def source(path: Path, module: str) -> list[str]:
        stem = str(path.relative_to(CSRC) if path.is_relative_to(CSRC) else path.relative_to(BUILD))
        if module == "emulator" and path.parent.name == "isa" and path.name.startswith("ops_"):
            objects = []
            # the handlers' namespace carries the level, so that both copies link into one module
            levels = [("baseline", "")] + ([("v3", "-march=x86-64-v3")] if X86 else [])
            for level, flags in levels:
                target = BUILD / "obj" / f"{stem}.{level}.o"
                lines.extend([f"build {target}: handler {path}", f"  flags = {flags} -DISA_LEVEL={level}",
                              f"  level = {level}"])
                objects.append(str(target))
            return objects
        target = BUILD / "obj" / module / f"{stem}.o"
        flags = f"{torch_compile} -Wno-comment" if module == "C" else ""
        if path.name == "profiler.cpp":
            flags += " -DUSE_KINETO -DFMT_HEADER_ONLY " + " ".join(f"-isystem {folder}" for folder in kineto_folders())
        if path.is_relative_to(BUILD):
            flags += " -O1 -g0"  # generated registrations: compile time matters, speed does not
        lines.extend([f"build {target}: cxx {path}", f"  flags = {flags}"])
        return [str(target)]

    for module in modules:
        objects = []
        for pattern in SOURCES[module]:
            for path in sorted(CSRC.glob(pattern)):
                objects += source(path, module)
        for path in run_generators(module):
            objects += source(path, module)
        target = ROOT / "torch_usbgpu" / f"_{module}{SUFFIX}"
        lines.append(f"build {target}: link {' '.join(objects)}")
        if module == "C":
            lines.append(f"  libs = {torch_link}")
    return "\n".join(lines) + "\n"


def build(modules: list[str], jobs: int | None = None) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    arguments = runpy.run_path(str(ROOT / "torch_usbgpu/kernels/arguments.py"))["digest"]()
    write_if_changed(BUILD / "generated/kernel_arguments.h",
                     f'#pragma once\n#define USBGPU_KERNEL_ARGUMENTS "{arguments}"\n')
    file = BUILD / f"{'_'.join(modules)}.ninja"
    write_if_changed(file, ninja_text(modules))
    ninja = shutil.which("ninja") or str(Path(sys.executable).parent / "ninja")
    # -k 0 keeps going, so that one run shows every file's errors
    subprocess.run([ninja, "-f", file, "-k", "0", *(["-j", str(jobs)] if jobs else [])], check=True, cwd=ROOT)


if __name__ == "__main__":
    build(sys.argv[1:] or ["emulator", "runtime", "C"])
