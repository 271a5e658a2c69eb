"""Finding a compiler, running it, and what the user sees when the source is wrong."""
from __future__ import annotations

import concurrent.futures
import os
import stat
import subprocess
import sys
import textwrap

import pytest

from torch_usbgpu import compiler
from torch_usbgpu.compiler import toolchain
from torch_usbgpu.errors import CompileError, CompilerMissing

ARCH = "gfx1100"
TRIVIAL = 'extern "C" __global__ void f(int* p) { p[threadIdx.x] = %d; }\n'


@pytest.fixture
def processes(monkeypatch):
    """Counts the processes that the toolchain starts."""
    started = []
    run = subprocess.run
    monkeypatch.setattr(toolchain.subprocess, "run",
                        lambda command, **options: started.append(command) or run(command, **options))
    toolchain._find_cached.cache_clear()
    yield started
    toolchain._find_cached.cache_clear()


def test_hit_starts_no_process(processes):
    first = compiler.compile(TRIVIAL % 1, ARCH)
    assert processes, "the first run has to ask the compiler"
    processes.clear()
    toolchain._find_cached.cache_clear()            # as in a new process: the probe is remembered on disk
    assert compiler.compile(TRIVIAL % 1, ARCH) == first
    assert processes == []


@pytest.mark.parametrize("change", [
    dict(source=TRIVIAL % 2), dict(arch="gfx1101"), dict(options=("-DX=1",))], ids=["source", "arch", "options"])
def test_key_depends_on(change):
    base = dict(source=TRIVIAL % 1, arch=ARCH, options=())
    assert compiler.key_of(**base) != compiler.key_of(**(base | change))


def test_key_depends_on_included_kernel_files(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "KERNELS", tmp_path)
    (tmp_path / "a.hip").write_text('#include "b.h"\n')
    (tmp_path / "b.h").write_text("// one\n")
    (tmp_path / "c.h").write_text("// not included\n")
    source = '#include "a.hip"\n'
    before = compiler.key_of(source, ARCH)
    (tmp_path / "c.h").write_text("// still not included\n")
    assert compiler.key_of(source, ARCH) == before
    (tmp_path / "b.h").write_text("// another text\n")
    assert compiler.key_of(source, ARCH) != before


def test_objects_are_reproducible(monkeypatch):
    first = compiler.compile(TRIVIAL % 1, ARCH)
    monkeypatch.setenv("USBGPU_CACHE", "off")
    assert compiler.compile(TRIVIAL % 1, ARCH) == first


@pytest.mark.parametrize("source,line,text", [
    ("int a;\n__global__ void f(int* p) {\n  p[0] = nothing;\n}\n", 3, "undeclared identifier 'nothing'"),
    ("__global__ void f(float* p) { p[0] = \"x\"; }", 1, "assigning to 'float'"),
    ("#include <hip/hip_runtime.h>\n\n__global__ int f() { return 1; }\n", 3, "must have void return type"),
    ("#include <iostream>\n", 1, "file not found"),
    ("\n\n\n#error stop here\n", 4, "stop here"),
    ('__global__ void f(int* p) {\n  printf("%d", *p);\n}', 2, "kernels cannot print"),
])
def test_messages_name_the_users_line(source, line, text):
    with pytest.raises(CompileError) as caught:
        compiler.compile(source, ARCH, name="mine.cu")
    assert f"mine.cu:{line}:" in caught.value.log
    assert text in caught.value.log
    assert caught.value.log in str(caught.value)


def test_failure_is_not_cached():
    for _ in range(2):
        with pytest.raises(CompileError):
            compiler.compile("nonsense", ARCH)


def test_unknown_arch():
    with pytest.raises(CompileError, match="sm_90"):
        compiler.compile(TRIVIAL % 1, "sm_90")


def test_compile_many_keeps_order():
    objects = compiler.compile_many((TRIVIAL % n, ARCH, ()) for n in range(6))
    assert objects == [compiler.compile(TRIVIAL % n, ARCH) for n in range(6)]


def test_threads_share_nothing():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        objects = list(pool.map(lambda n: compiler.compile(TRIVIAL % (n % 2), ARCH), range(8)))
    assert len(set(objects)) == 2


# ---- lookup order

def _fake_clang(path, version="clang version 22.1.0", targets="amdgcn - AMD GPU"):
    path.write_text(textwrap.dedent(f"""\
        #!{sys.executable}
        import sys
        print({version!r} if "--version" in sys.argv else {targets!r})
        """))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def no_pip_compiler(monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(toolchain, "SYSTEM_FOLDERS", ())
    toolchain._find_cached.cache_clear()
    yield
    toolchain._find_cached.cache_clear()


posix = pytest.mark.skipif(os.name != "posix", reason="the fake compiler is a script")


@posix
@pytest.mark.parametrize("version,targets,found", [
    ("clang version 22.1.0", "amdgcn - AMD GPU", True),
    ("clang version 19.1.7", "amdgcn - AMD GPU", True),
    ("clang version 18.1.8", "amdgcn - AMD GPU", False),
    ("Apple clang version 17.0.0 (clang-1700.0.13.3)", "arm64 - AArch64", False),
], ids=["22", "19", "too old", "no AMDGPU target"])
def test_system_compiler(no_pip_compiler, tmp_path, monkeypatch, version, targets, found):
    clang = _fake_clang(tmp_path / "clang", version, targets)
    monkeypatch.setenv("PATH", str(tmp_path))
    if found:
        assert toolchain.find().command == (str(clang),)
    else:
        with pytest.raises(CompilerMissing) as caught:
            toolchain.find()
        assert str(clang) in str(caught.value) and "pip install" in str(caught.value)


@posix
def test_explicit_compiler_wins_and_is_the_only_one(tmp_path, monkeypatch):
    clang = _fake_clang(tmp_path / "my-clang")
    monkeypatch.setenv("USBGPU_CLANG", str(clang))
    assert toolchain.find().command == (str(clang),)
    monkeypatch.setenv("USBGPU_CLANG", str(tmp_path / "not there"))
    with pytest.raises(CompilerMissing, match="not there"):
        compiler.compile(TRIVIAL % 1, ARCH)


@posix
@pytest.mark.parametrize("folder, file", [(0o777, 0o755), (0o755, 0o777)])
def test_a_compiler_that_any_user_could_replace_is_not_started(no_pip_compiler, tmp_path, monkeypatch, folder, file):
    (tmp_path / "bin").mkdir()
    clang = _fake_clang(tmp_path / "bin" / "clang")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    clang.chmod(file)
    (tmp_path / "bin").chmod(folder)
    with pytest.raises(CompilerMissing, match="can be written by other users"):
        toolchain.find()
    clang.chmod(0o755)
    (tmp_path / "bin").chmod(0o755)
    toolchain._find_cached.cache_clear()
    assert toolchain.find().command == (str(clang),)


@posix
def test_replaced_compiler_is_asked_again(no_pip_compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    _fake_clang(tmp_path / "clang", "clang version 21.1.0")
    assert toolchain.find().major == 21
    _fake_clang(tmp_path / "clang", "clang version 22.1.00")
    toolchain._find_cached.cache_clear()
    assert toolchain.find().major == 22
