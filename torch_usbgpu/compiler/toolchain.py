"""Finds a clang that can emit AMDGPU code, and runs it.

Any clang from 19 on with the amdgcn target will do. The one that pip can install everywhere is
inside the `ziglang` wheel: `zig clang` is clang's own driver, `zig clang -cc1` its front end.
One -cc1 process turns source on stdin into an object on stdout: no temporary files, no linker
(runtime/codeobject.py does what is left).

The flags are those of clang's own HIP driver (`clang -x hip --offload-device-only -###`), less
what fits GPU code badly; -cc1 flags are not a stable interface, hence the range of versions.
"""
from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .. import private_files
from ..errors import CompileError, CompilerMissing, UnsafePlace
from . import cache

INCLUDE = Path(__file__).parent / "include"
KERNELS = Path(__file__).parent.parent / "kernels"

OLDEST, NEWEST_TRIED = 19, 22          # major versions of clang
TIMEOUT_SECONDS = 300
# Names of system compilers, newest first: Debian's and LLVM's, Homebrew's keg, ROCm's.
SYSTEM_NAMES = ("clang-22", "clang-21", "clang-20", "clang-19", "amdclang++", "clang")
SYSTEM_FOLDERS = ("/opt/homebrew/opt/llvm/bin", "/usr/local/opt/llvm/bin", "/opt/rocm/lib/llvm/bin")


@dataclass(frozen=True)
class Compiler:
    command: tuple[str, ...]           # what comes before "-cc1"
    identity: str                      # version line: part of every cache key
    major: int
    origin: str = "wheel"              # "wheel": ziglang's, which is tested; "system"; "named" in USBGPU_CLANG


def find() -> Compiler:
    """The compiler to use: $USBGPU_CLANG ("none": no compiler at all), then ziglang's, then a system clang.

    Raises:
        CompilerMissing: with what was tried.
    """
    return _find(os.environ.get("USBGPU_CLANG", ""))


_find_lock = threading.Lock()


def _find(explicit: str) -> Compiler:
    with _find_lock:
        return _find_cached(explicit)


@functools.lru_cache(maxsize=8)
def _find_cached(explicit: str) -> Compiler:
    tried: dict[str, str] = {}
    if explicit == "none":
        raise CompilerMissing("No compiler is to be used: USBGPU_CLANG=none.", "Unset USBGPU_CLANG.")
    for origin, command in _candidates(explicit):
        found = _probe(command, origin)
        if isinstance(found, Compiler):
            return found
        tried[" ".join(command)] = found
    raise CompilerMissing("No compiler for AMD GPUs was found.", **(tried or {"tried": "ziglang and the PATH"}))


def _candidates(explicit: str):
    if explicit:
        # A zig binary needs its sub-command; anything else is clang itself. No fall-back: who
        # names a compiler wants that one.
        is_zig = Path(explicit).stem.startswith("zig")
        yield "named", (explicit, "clang") if is_zig else (explicit,)
        return
    if (spec := importlib.util.find_spec("ziglang")) is not None and spec.origin:
        # Not `python -m ziglang`, which costs an interpreter start per kernel.
        zig = Path(spec.origin).with_name("zig.exe" if sys.platform == "win32" else "zig")
        yield "wheel", (str(zig), "clang")
    for name in SYSTEM_NAMES:
        if path := shutil.which(name):
            yield "system", (path,)
    for folder in SYSTEM_FOLDERS:
        path = Path(folder) / "clang"
        if path.exists():
            yield "system", (str(path),)


def _probe(command: tuple[str, ...], origin: str) -> Compiler | str:
    """The compiler behind a command, or why it will not do. Remembered on disk by path, size and
    time of change, because a hit in the kernel cache must not start any process."""
    try:
        status = os.stat(command[0])
        private_files.check_source(command[0])
    except UnsafePlace as error:
        return error.found
    except OSError as error:
        return str(error.strerror)
    key = hashlib.sha256(f"probe|{command}|{status.st_size}|{status.st_mtime_ns}".encode()).hexdigest()
    stored = cache.default().get(key)
    if stored is None:
        answer = _ask(command)
        if isinstance(answer, str):
            return answer
        stored = json.dumps(answer).encode()
        cache.default().put(key, stored)
    version = json.loads(stored)["version"]
    match = re.search(r"clang version (\d+)\.", version)
    if not match or int(match[1]) < OLDEST:
        return f"{version}: older than clang {OLDEST}"
    return Compiler(command, version, int(match[1]), origin)


def _ask(command: tuple[str, ...]) -> dict[str, str] | str:
    try:
        version = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60)
        if version.returncode:
            return (version.stderr or version.stdout).strip()[:200] or f"exit code {version.returncode}"
        # zig's clang answers --print-targets as well.
        targets = subprocess.run([*command, "--print-targets"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if "amdgcn" not in targets.stdout:       # Apple's clang, for one
        return "has no amdgcn target"
    return {"version": version.stdout.splitlines()[0].strip()}


def flags(compiler: Compiler, arch: str) -> list[str]:
    return [
        # One auxiliary triple on every host: it makes long 64 bits wide and objects the same everywhere.
        "-triple", "amdgcn-amd-amdhsa", "-aux-triple", "x86_64-unknown-linux-gnu",
        "-x", "hip", "-fcuda-is-device", "-std=c++20", "-fgnuc-version=4.2.1",
        # CU mode: a group stays on one CU, so barriers need not invalidate the L0 cache.
        "-target-cpu", arch, "-target-feature", "+cumode",
        # Vectorizers are left off: on GPU code they inflate scalar tail loops.
        "-O3", "-emit-obj",
        # No global offset table, everything relative to the program counter, unused functions dropped.
        "-mrelocation-model", "pic", "-pic-level", "2", "-mframe-pointer=none",
        "-fvisibility=hidden", "-fapply-global-visibility-to-externs", "-mllvm", "-amdgpu-internalize-symbols",
        # Private arrays would move into LDS, indexed by block sizes from a dispatch packet that PM4 has not.
        "-mllvm", "-disable-promote-alloca-to-lds",
        # HIP's default contracts across statements, which would void the error bounds of the math headers.
        "-ffp-contract=off",
        # Headers of the host would work on one machine and fail on the next.
        "-nostdsysteminc", "-nobuiltininc",
        "-disable-free", "-disable-llvm-verifier", "-discard-value-names", "-fno-ident",
    ]


def run(compiler: Compiler, source: str, arch: str, options: Sequence[str], name: str) -> bytes:
    """One compiler process."""
    if not re.fullmatch(r"gfx[0-9a-f]+(-generic)?", arch):
        raise CompileError(f"{arch!r} is not a GPU target.", action="Name a target such as gfx1100.")
    shown = name.replace("\\", "/").replace('"', "'").replace("\n", " ")
    command = [*compiler.command, "-cc1", *flags(compiler, arch), f"-I{INCLUDE}", f"-I{KERNELS}",
               "-include", "hip_runtime.h", *options, "-main-file-name", shown, "-o", "-", "-"]
    # The marker makes messages speak of the user's file and lines.
    text = f'# 1 "{shown}"\n{source}'
    if not source.endswith("\n"):
        text += "\n"
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise CompileError(f"{shown} took more than {TIMEOUT_SECONDS} s to compile.",
                           action="Split the source into smaller kernels.") from None
    except OSError as error:
        raise CompilerMissing(f"{command[0]} did not start: {error.strerror}.") from error
    log = done.stderr.decode(errors="replace").strip()
    if done.returncode:
        raise CompileError(f"{shown} did not compile for {arch}.", log)
    if not done.stdout.startswith(b"\x7fELF"):
        raise CompileError(f"{' '.join(compiler.command)} gave no object for {shown}.", log,
                           action="Point USBGPU_CLANG at a clang between "
                                  f"{OLDEST} and {NEWEST_TRIED} with the amdgcn target.")
    return done.stdout


# Every header of ours counts, and of the kernel files those that the source reaches.
_INCLUDED = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>|(\w))', re.MULTILINE)


def headers_digest(source: str) -> str:
    """SHA-256 over the names and texts of all files of ours that `source` can see."""
    digest = hashlib.sha256(_folder_digest(INCLUDE).encode())
    seen: set[Path] = set()
    waiting = [source.encode()]
    while waiting:
        for quoted, angled, computed in _INCLUDED.findall(waiting.pop()):
            if computed:                     # #include MACRO: who knows; take the folder
                digest.update(_folder_digest(KERNELS).encode())
                continue
            path = KERNELS / (quoted or angled).decode(errors="replace")
            if path not in seen and path.is_file():
                seen.add(path)
                waiting.append(_text(path))
    for path in sorted(seen):
        text = _text(path)
        digest.update(f"{path.name}\0{len(text)}\0".encode())
        digest.update(text)
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


def _text(path: Path) -> bytes:
    return _text_cached(*_stamp(path))


@functools.lru_cache(maxsize=256)
def _text_cached(name: str, _mtime_ns: int, _size: int) -> bytes:
    return Path(name).read_bytes()


def _folder_digest(folder: Path) -> str:
    return _files_digest(folder, tuple(_stamp(path) for path in sorted(folder.rglob("*"))
                                       if path.suffix != ".py" and path.is_file()
                                       and "__pycache__" not in path.parts))


@functools.lru_cache(maxsize=8)
def _files_digest(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in files:
        text = Path(name).read_bytes()
        digest.update(f"{Path(name).relative_to(folder).as_posix()}\0{len(text)}\0".encode())
        digest.update(text)
    return digest.hexdigest()


@functools.cache
def pool() -> ThreadPoolExecutor:
    """Threads that wait for compiler processes."""
    return ThreadPoolExecutor(min(os.cpu_count() or 1, 8), thread_name_prefix="usbgpu-compile")
