"""`usbgpu emulator disasm`."""
from __future__ import annotations

import pytest

from torch_usbgpu import compiler

from .conftest import usbgpu


@pytest.mark.parametrize("arch, words, expected, status", [
    ("gfx1100", "7e000280 bf800000", ["v_mov_b32_e32 v0, 0", "s_nop 0"], 0),
    ("gfx1201", "7e000280", ["v_mov_b32_e32 v0, 0"], 0),
    ("gfx1100", "ffffffff", [".long 0xffffffff"], 1),
])
def test_words(arch, words, expected, status):
    text = usbgpu("emulator", "disasm", "--arch", arch, "--hex", words, check=status).stdout
    for line in expected:
        assert line in text


def test_code_object(tmp_path):
    path = tmp_path / "kernels.o"
    path.write_bytes(compiler.compile('extern "C" __global__ void one(float* x) { x[threadIdx.x] = 1; }\n'
                                      'extern "C" __global__ void two(float* x) { x[threadIdx.x] *= 2; }\n', "gfx1100"))
    text = usbgpu("emulator", "disasm", path, check=0).stdout
    assert text.count("s_endpgm") == 2 and "one:" in text and "two:" in text and "s_code_end" not in text
    only = usbgpu("emulator", "disasm", "--kernel", "two", path, check=0).stdout
    assert only.count("s_endpgm") == 1 and "v_mul" in only or "v_add" in only


@pytest.mark.parametrize("arguments, message", [
    (["--hex", "xyz"], "no dwords"), ([], "Name a file"), (["/no/such/file"], "cannot be read"),
    (["--arch", "gfx906", "--hex", "0"], "no architecture"),
])
def test_errors(arguments, message):
    assert message in usbgpu("emulator", "disasm", *arguments, check=2).stderr
