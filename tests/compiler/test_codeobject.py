"""The ELF loader against the objects of the compiler and against damaged ones."""
from __future__ import annotations

import io
import struct

import pytest

from torch_usbgpu import compiler
from torch_usbgpu.errors import CodeObjectError
from torch_usbgpu.runtime import codeobject

ARCH = "gfx1100"

PLAIN = 'extern "C" __global__ void USBGPU_BLOCK(64) plain(float* p, int n, double d) { p[threadIdx.x] = n * d; }\n'
SIZES = 'extern "C" __global__ void sizes(unsigned* p) { p[threadIdx.x] = blockDim.y * gridDim.z; }\n'
STATIC_LDS = '''extern "C" __global__ void lds(int* p) {
  __shared__ int s[100]; s[threadIdx.x] = p[threadIdx.x]; __syncthreads(); p[threadIdx.x] = s[99 - threadIdx.x]; }
'''
DYNAMIC_LDS = '''extern "C" __global__ void dynamic(int* p) {
  extern __shared__ int s[]; s[threadIdx.x] = p[threadIdx.x]; __syncthreads(); p[threadIdx.x] = s[p[0]]; }
'''
TABLE = '''__constant__ const int table[4] = {11, 22, 33, 44};
extern "C" __global__ void lookup(int* p) { p[threadIdx.x] = table[p[threadIdx.x]]; }
'''
SCRATCH = '''extern "C" __global__ void spill(int* p, int i) {
  int a[200]; for (int k = 0; k < 200; ++k) a[k] = p[k]; for (int k = 0; k < 50; ++k) a[p[k] % 200] = k; p[0] = a[i]; }
'''


def load(source, **options):
    return codeobject.load(compiler.compile(source, ARCH), ARCH, **options)


def test_descriptor_of_a_plain_kernel():
    image = load(PLAIN)
    kernel = image.kernels["plain"]
    assert image.arch == ARCH
    assert kernel.entry_offset % 256 == 0 and kernel.entry_offset + 4 < len(image.image)
    assert [tuple(a) for a in kernel.arguments] == [
        (0, 8, "global_buffer"), (8, 4, "by_value"), (16, 8, "by_value")]
    assert (kernel.explicit_bytes, kernel.kernarg_bytes) == (24, 24)
    assert kernel.hidden == {} and kernel.hidden_block((1, 1, 1), (64, 1, 1)) == (0, b"")
    assert kernel.max_threads == 64
    assert kernel.scratch_bytes == 0 and kernel.lds_bytes == 0
    # LLVM AMDGPUUsage, kernel descriptor: kernarg pointer is bit 3, wave32 bit 10.
    assert kernel.properties == 1 << 3 | 1 << 10
    assert not kernel.rsrc1 >> 29 & 1, "WGP_MODE must be off: barriers count on CU mode"
    assert kernel.rsrc1 >> 12 & 0xFF == 0xF0, "round to nearest even, denormals kept"


def test_code_is_padded_for_the_prefetcher():
    image = load(PLAIN)
    assert len(image.image) % 256 == 0
    assert image.image.endswith(bytes(256)), "256 bytes behind the last instruction"


def test_hidden_arguments():
    kernel = load(SIZES).kernels["sizes"]
    offset, block = kernel.hidden_block((5, 6, 7), (8, 4, 2), dynamic_lds_bytes=0)
    assert offset == 8 and offset + len(block) == kernel.kernarg_bytes
    assert struct.unpack_from("<III", block, 0) == (5, 6, 7)
    assert struct.unpack_from("<HHH", block, 12) == (8, 4, 2)
    assert struct.unpack_from("<HHH", block, 18) == (0, 0, 0)
    assert struct.unpack_from("<H", block, 64) == (3,)


@pytest.mark.parametrize("groups,threads,dims", [((9, 1, 1), (32, 1, 1), 1), ((1, 1, 1), (8, 8, 1), 2),
                                                 ((1, 3, 1), (8, 1, 1), 2), ((1, 1, 2), (8, 1, 1), 3)])
def test_hidden_grid_dims(groups, threads, dims):
    _, block = load(SIZES).kernels["sizes"].hidden_block(groups, threads)
    assert struct.unpack_from("<H", block, 64) == (dims,)


def test_lds():
    assert load(STATIC_LDS).kernels["lds"].lds_bytes == 400
    assert load(DYNAMIC_LDS).kernels["dynamic"].lds_bytes == 0
    assert load(SCRATCH).kernels["spill"].scratch_bytes > 0


def test_relocations_reach_the_table():
    """s_getpc_b64 / s_add_u32 / s_addc_u32 with the relocated literals lead to the table's bytes."""
    image = load(TABLE)
    table = struct.pack("<4i", 11, 22, 33, 44)
    at = image.image.index(table)
    code = image.kernels["lookup"].entry_offset
    words = struct.unpack_from(f"<{(len(image.image) - code) // 4}I", image.image, code)
    # RDNA3 ISA: s_getpc_b64 is SOP1 opcode 71; s_add_u32 / s_addc_u32 with a literal follow.
    start = next(i for i, word in enumerate(words) if word & 0xFF80FF00 == 0xBE800000 | 71 << 8)
    low, high = words[start + 2], words[start + 4]
    # The literal is added to the address after s_getpc_b64.
    assert (code + 4 * (start + 1) + (high << 32 | low)) % 2**64 == at


def test_pointer_in_data_depends_on_the_address():
    image = load('''__device__ int cells[4]; __device__ int* pointer = cells + 1;
        extern "C" __global__ void f(int* p) { *p = *pointer; pointer = p; cells[0] = *p; }''')
    assert len(image.absolute) == 1
    where, target = image.absolute[0]
    placed = image.placed_at(0x7F0000_001000)
    assert struct.unpack_from("<Q", placed, where) == (0x7F0000_001000 + target,)
    assert placed[:where] == image.image[:where]
    with pytest.raises(CodeObjectError, match="256"):
        image.placed_at(0x1010)


def test_no_absolute_addresses_means_one_image():
    image = load(TABLE)
    assert image.placed_at(0x100000) == image.image == image.placed_at(0x200000)


@pytest.mark.parametrize("body,name,text", [
    ("p[0] = other(p[1]);", "other", "nothing defines"),
    ("p[0] = __ockl_printf_begin(p[1]);", "__ockl_printf_begin", "printf"),
])
def test_undefined_symbols_are_refused(body, name, text):
    source = f'extern "C" __device__ int {name}(int);\nextern "C" __global__ void f(int* p) {{ {body} }}\n'
    with pytest.raises(CodeObjectError, match=text) as caught:
        load(source)
    assert name in str(caught.value)


def test_other_arch_is_refused():
    with pytest.raises(CodeObjectError, match="gfx1201"):
        codeobject.load(compiler.compile(PLAIN, ARCH), "gfx1201")


def test_generic_object_runs_on_its_family():
    generic = compiler.compile(PLAIN, "gfx11-generic")
    assert "plain" in codeobject.load(generic, "gfx1100").kernels
    with pytest.raises(CodeObjectError):
        codeobject.load(generic, "gfx1201")


@pytest.mark.parametrize("damage", [
    lambda o: b"", lambda o: b"\x7fELF", lambda o: o[:64], lambda o: o[:len(o) // 2], lambda o: o[:-40],
    lambda o: b"MZ" + o[2:], lambda o: o[:18] + struct.pack("<H", 62) + o[20:],      # e_machine x86-64
    lambda o: o[:16] + struct.pack("<H", 3) + o[18:],                                # ET_DYN
], ids=["empty", "magic", "header", "half", "cut", "not ELF", "x86", "linked"])
def test_damaged_objects_are_refused(damage):
    with pytest.raises(CodeObjectError):
        codeobject.load(damage(compiler.compile(PLAIN, ARCH)), ARCH)


def test_unknown_relocation_is_refused():
    built = bytearray(compiler.compile(TABLE, ARCH))
    # Turn an R_AMDGPU_REL32_LO (10) entry of .rela.text into R_AMDGPU_GOTPCREL (7).
    elf = codeobject.ELFFile(io.BytesIO(bytes(built)))
    section = elf.get_section_by_name(".rela.text")
    types = [entry["r_info_type"] for entry in section.iter_relocations()]
    index = types.index(codeobject.R_AMDGPU_REL32_LO)
    struct.pack_into("<I", built, section["sh_offset"] + 24 * index + 8, 7)
    with pytest.raises(CodeObjectError, match="type 7"):
        codeobject.load(bytes(built), ARCH)
