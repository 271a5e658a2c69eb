"""Builds the shader cores and driver.cpp for another architecture, with the clang and the C library of the ziglang wheel.

Only what `csrc/emulator/isa` itself needs, with the baseline copy of the handlers (on aarch64: NEON). -O1 without debug
information: about 45 s of processor time from nothing, and only what has changed after that.
"""
from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CSRC = ROOT / "csrc"
BUILD = Path(os.environ.get("USBGPU_BUILD_DIR", ROOT / "build"))
FLAGS = "-std=c++20 -O1 -g0 -fno-sanitize=all -ffp-contract=off -w -DISA_LEVEL=baseline"
WITH_PYTHON = {"binding.cpp"}


def zig() -> Path | None:
    spec = importlib.util.find_spec("ziglang")
    return Path(spec.origin).parent / "zig" if spec and spec.origin else None


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def build(target: str, jobs: int = 1) -> Path:
    """The driver's path. target: as zig names it, for instance aarch64-linux-musl."""
    out = BUILD / "isa_native" / target
    generated = out / "generated"
    tables = generated / "emulator/isa"
    tables.mkdir(parents=True, exist_ok=True)
    compiler = out / "compiler"  # one word, as ccache wants it
    write_if_changed(compiler, f'#!/bin/sh\nexec "{zig()}" c++ -target {target} "$@"\n')
    compiler.chmod(0o755)
    with tempfile.TemporaryDirectory() as fresh:  # unchanged files keep their time stamps, and ninja its objects
        subprocess.run([sys.executable, CSRC / "emulator/isa/generate.py", "--out", fresh], check=True)
        for file in Path(fresh).iterdir():
            write_if_changed(tables / file.name, file.read_text())
    sources = [p for p in sorted((CSRC / "emulator/isa").glob("*.cpp")) if p.name not in WITH_PYTHON]
    sources += [*sorted(tables.glob("*.cpp")), HERE / "driver.cpp"]
    launcher = f"{shutil.which('ccache')} " if shutil.which("ccache") else ""
    lines = [f"builddir = {out}", "rule cxx",
             f"  command = {launcher}{compiler} -MMD -MF $out.d {FLAGS} -I{CSRC} -I{generated} -c $in -o $out",
             "  depfile = $out.d", "  deps = gcc", "rule link", f"  command = {compiler} -static -s $in -o $out"]
    objects = [out / f"{p.stem}.o" for p in sources]
    lines += [f"build {o}: cxx {p}" for o, p in zip(objects, sources)]
    driver = out / "driver"
    lines += [f"build {driver}: link {' '.join(map(str, objects))}", ""]
    (out / "build.ninja").write_text("\n".join(lines))
    ninja = shutil.which("ninja") or str(Path(sys.executable).parent / "ninja")
    done = subprocess.run(["nice", ninja, "-f", out / "build.ninja", "-j", str(jobs)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"building for {target}:\n{done.stdout[-4000:]}")
    return driver
