"""Builds the fuzz targets of this folder with sanitizers.

    python csrc/fuzz/build.py [--out DIR] [target ...]

The device half is compiled once more, with AddressSanitizer and UndefinedBehaviorSanitizer, the instruction handlers
for the baseline only. With clang++ (CXX=clang++) each target is a libFuzzer binary; with another compiler it is
linked with standalone.cpp, which takes `-runs=N -seed=S CORPUS...`, too. docs/emulator-fuzzing.md says how to run them.
"""
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

CSRC = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CSRC))
import build as extension  # noqa: E402

TARGETS = ("requests", "pm4", "sdma", "page_tables", "instructions", "firmware")
SHARED = ("board.cpp",)
# vptr needs RTTI, which the handlers have not.
SANITIZE = "-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer"
# A hunt has time for every check, the test suite for those that AddressSanitizer does not see anyway.
QUICK = "-fno-sanitize=null,alignment,pointer-overflow,object-size"


def has_libfuzzer(cxx: str, folder: Path) -> bool:
    """Whether this compiler links libFuzzer."""
    source = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
    probe = subprocess.run([cxx, "-fsanitize=fuzzer", "-x", "c++", "-", "-o", str(folder / "probe")], input=source,
                           text=True, capture_output=True)
    return probe.returncode == 0


def build(out: Path, targets: tuple[str, ...] = TARGETS, jobs: int | None = None) -> dict[str, Path]:
    """Returns the binaries by target. Raises subprocess.CalledProcessError when the compiler refuses."""
    out.mkdir(parents=True, exist_ok=True)
    cxx = os.environ.get("CXX", "c++")
    libfuzzer = has_libfuzzer(cxx, out)
    launcher = f"{shutil.which('ccache')} " if shutil.which("ccache") else ""
    generated = extension.run_generators("emulator")
    flags = f"-std=c++20 -ffp-contract=off -w -I{CSRC} -I{extension.BUILD}/generated {SANITIZE} "
    # The handlers are written for clang, and it is the fastest; its instrumented code links with GCC's run-time
    # but for the check of function types.
    clang = None if libfuzzer else extension.zig_clang()
    flags += "-O1 -g1 -fsanitize=fuzzer-no-link" if libfuzzer else QUICK
    flags += " -fPIE -fno-sanitize=function" if clang else ""
    compile_command = f"{launcher}{clang or cxx} -MMD -MF $out.d {flags} $flags -c $in -o $out"
    lines = [f"builddir = {out}", "rule cxx", f"  command = {compile_command}",
             "  depfile = $out.d", "  deps = gcc", "  description = $in", "rule link",
             f"  command = {cxx} {SANITIZE} {'-fsanitize=fuzzer' if libfuzzer else ''} -pthread @$out.rsp -o $out",
             "  rspfile = $out.rsp", "  rspfile_content = $in", "  description = $out"]

    def compile_one(path: Path, flags: str = "") -> str:
        base = CSRC if path.is_relative_to(CSRC) else extension.BUILD
        target = out / "obj" / f"{path.relative_to(base)}.o"
        lines.extend([f"build {target}: cxx {path}", f"  flags = {flags}"])
        return str(target)

    device = []
    for path in sorted(CSRC.glob("emulator/**/*.cpp")):
        if path.name in ("binding.cpp", "module.cpp"):
            continue
        handler = path.parent.name == "isa" and path.name.startswith("ops_")
        own = "-DISA_LEVEL=baseline -fno-exceptions" if handler else "-DUSBGPU_ISA_BASELINE_ONLY"
        device.append(compile_one(path, own))
    device += [compile_one(path, "-O0 -g0") for path in generated]
    device += [compile_one(CSRC / "fuzz" / name) for name in SHARED]
    if not libfuzzer:
        device.append(compile_one(CSRC / "fuzz" / "standalone.cpp"))
    binaries = {}
    for name in targets:
        binaries[name] = out / name
        lines.append(f"build {out / name}: link {compile_one(CSRC / 'fuzz' / f'{name}.cpp')} {' '.join(device)}")
    file = out / "fuzz.ninja"
    extension.write_if_changed(file, "\n".join(lines) + "\n")
    ninja = shutil.which("ninja") or str(Path(sys.executable).parent / "ninja")
    subprocess.run([ninja, "-f", file, "-k", "0", *(["-j", str(jobs)] if jobs else [])], check=True)
    return binaries


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=extension.BUILD / "fuzz")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[])
    arguments = parser.parse_args()
    for name, binary in build(arguments.out, tuple(arguments.targets) or TARGETS).items():
        print(f"{name}: {binary}")
