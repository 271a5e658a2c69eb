"""Units of our own kernels: cut, compiled, found again."""
from __future__ import annotations

import threading

import pytest

from torch_usbgpu import kernels
from torch_usbgpu.compiler import toolchain
from torch_usbgpu.errors import CompileError

ARCH = "gfx1100"
FAMILY = '''#pragma once
#define STEP(symbol, T, op) \\
  extern "C" __global__ USBGPU_BLOCK(64) void symbol(T* p) { p[threadIdx.x] = p[threadIdx.x] op T(3); }
'''


@pytest.fixture
def family(tmp_path, monkeypatch):
    folder = tmp_path / "families"
    folder.mkdir()
    (folder / "step.hip").write_text(FAMILY)
    (folder / "other.hip").write_text(FAMILY.replace("STEP", "OTHER"))
    monkeypatch.setattr(kernels, "FOLDER", folder)
    monkeypatch.setattr(toolchain, "KERNELS", folder)
    return folder


@pytest.fixture
def compiled(monkeypatch):
    """The units that reach the compiler."""
    seen, lock, run = [], threading.Lock(), toolchain.run

    def counted(compiler, source, *rest):
        with lock:
            seen.append(source)
        return run(compiler, source, *rest)

    monkeypatch.setattr(toolchain, "run", counted)
    return seen


def specs(count, types=("float", "int"), family="step", macro="STEP"):
    names = [(f"{family}_{n}_{t}", n, t) for n in range(count) for t in types]
    return [(family, name, f"{macro}({name}, {t}, +{n} *)") for name, n, t in names]


def symbols(result):
    return sorted(symbol for image in result.images for symbol in image.kernels)


def test_every_kernel_once(family, compiled):
    wanted = specs(15) + specs(3, family="other", macro="OTHER")
    result = kernels.compile_kernels(ARCH, wanted)
    assert symbols(result) == sorted(symbol for _, symbol, _ in wanted)
    assert result.failures == {}
    assert -(-len(wanted) // kernels.KERNELS_PER_UNIT) <= len(compiled) < len(wanted) / 2, "compiled in units"
    for image in result.images:
        for kernel in image.kernels.values():
            assert kernel.entry_offset < len(image.image)


def test_found_again_however_cut(family, compiled):
    kernels.compile_kernels(ARCH, specs(10))
    compiled.clear()
    again = kernels.compile_kernels(ARCH, specs(10)[3:14:4])
    assert compiled == []
    assert symbols(again) == sorted(symbol for _, symbol, _ in specs(10)[3:14:4]), "and nothing that was not asked for"
    more = kernels.compile_kernels(ARCH, specs(11))
    assert len(symbols(more)) == 22
    assert sum(source.count("STEP(") for source in compiled) == 2, "only the two new ones"


def test_same_symbol_other_line_is_another_kernel(family, compiled):
    kernels.compile_kernels(ARCH, [("step", "same", "STEP(same, int, +)")])
    first = kernels.compile_kernels(ARCH, [("step", "same", "STEP(same, int, +)")]).images[0]
    second = kernels.compile_kernels(ARCH, [("step", "same", "STEP(same, int, *)")]).images[0]
    assert len(compiled) == 2
    assert first.image != second.image


def test_change_of_the_family_is_seen(family, compiled):
    kernels.compile_kernels(ARCH, specs(1))
    (family / "step.hip").write_text(FAMILY.replace("T(3)", "T(5)"))
    compiled.clear()
    kernels.compile_kernels(ARCH, specs(1))
    assert compiled


def test_one_bad_kernel_spoils_nothing_else(family):
    wanted = specs(5) + [("step", "bad", "STEP(bad, dim3, +)")]
    result = kernels.compile_kernels(ARCH, wanted)
    assert symbols(result) == sorted(symbol for _, symbol, _ in specs(5))
    assert set(result.failures) == {"bad"}
    assert isinstance(result.failures["bad"], CompileError)
    assert "invalid operands" in str(result.failures["bad"])


def test_wrong_symbol_is_named(family):
    result = kernels.compile_kernels(ARCH, [("step", "wanted", "STEP(written, int, +)")])
    assert set(result.failures) == {"wanted"} and result.images == []
    assert "wanted" in str(result.failures["wanted"])


def test_unknown_family(family):
    with pytest.raises(CompileError, match="nowhere"):
        kernels.compile_kernels(ARCH, [("nowhere", "k", "STEP(k, int, +)")])


def test_nothing_to_do(family, compiled):
    assert kernels.compile_kernels(ARCH, []) == ([], {})
    assert compiled == []


def test_from_several_threads(family):
    results = [None] * 4

    def work(index):
        results[index] = kernels.compile_kernels(ARCH, specs(4)[index:])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(symbols(result)) for result in results] == [8, 7, 6, 5]
