"""Our own kernels as the compiler sees them: they compile, need no scratch memory and no hidden arguments."""
from __future__ import annotations

import re

import pytest

from torch_usbgpu import kernels

from ..chip import ARCH, CHIPS

TARGETS = [facts["gfx_target"] for facts in CHIPS.values()]
OPERATIONS = re.findall(r"^(OP|TEST)([0-3])\((op_\w+)", (kernels.FOLDER / "pointwise_ops.h").read_text(), re.MULTILINE)
INTEGER_ONLY = re.compile(r"op_(bitwise_|gcd|lcm|lshift|rshift)")


@pytest.mark.parametrize("type_,arithmetic", [("float", "float"), ("_Float16", "float")])
def test_pointwise(type_, arithmetic):
    assert len(OPERATIONS) > 100
    specs = []
    for kind, inputs, name in OPERATIONS:
        if not INTEGER_ONLY.match(name):
            symbol = f"{name}_{type_.strip('_')}"
            types = ", ".join(["bool" if kind == "TEST" else type_] + [type_] * int(inputs))
            specs.append(("pointwise", symbol, f"USBGPU_POINTWISE_VECTOR({symbol}, 4, {name}<{arithmetic}>, {types})"))
    if type_ != "float":
        specs = specs[::8]              # the arithmetic is the same; only loads and stores differ
    result = kernels.compile_kernels(ARCH, specs)
    assert result.failures == {}
    compiled = {symbol: kernel for image in result.images for symbol, kernel in image.kernels.items()}
    assert len(compiled) == len(specs)
    assert [symbol for symbol, kernel in compiled.items() if kernel.scratch_bytes or kernel.vgpr_spills] == []
    assert [symbol for symbol, kernel in compiled.items() if kernel.hidden] == []


@pytest.mark.parametrize("family", sorted(path.stem for path in kernels.FOLDER.glob("*.hip")))
def test_family_parses_alone(family):
    """A unit may hold one family only: each includes what it needs."""
    for target in TARGETS:
        kernels.compiler.compile(f'#include "{family}.hip"\n', target)


def test_families_of_complex_numbers_share_a_unit():
    """Two namespaces convert elements: argument-dependent lookup of a complex one must not see both."""
    number = "usbgpu::kernels::Complex<double>"
    kernels.build_unit(ARCH, [
        ("complex", "u_add", f"USBGPU_POINTWISE_CONTIGUOUS(u_add, 0, op_add_plain<{number}>, {number}, {number}, {number})"),
        ("cross", "u_cross", f"USBGPU_CROSS(u_cross, {number})"),
        ("distance", "u_renorm", f"USBGPU_RENORM(u_renorm, {number}, double)"),
        ("index", "u_product", f"USBGPU_INDEX(u_product, 1, ordered_reduce<{number}, usbgpu_family::ReduceMultiply>)"),
        ("scan", "u_rows", f"USBGPU_SCAN(u_rows, scan_rows, Running<{number}, ScanSum>)"),
        ("scan", "u_columns", f"USBGPU_SCAN(u_columns, scan_columns, Running<{number}, ScanProduct>)")])


@pytest.mark.parametrize(("target", "type_"), [
    *[(target, "_Float16") for target in (*TARGETS, "gfx12-generic")], ("gfx1100", "__bf16"), ("gfx1201", "__bf16")])
def test_matrix_units_are_used(target, type_):
    """Each generation has its own layout of the operands, and its own instruction."""
    specs = [("matmul", f"product_{type_.strip('_')}_{a}{b}",
              f"USBGPU_GEMM_WMMA(product_{type_.strip('_')}_{a}{b}, 128, {type_}, 64, 64, 32, 32, {a}, {b})")
             for a, b in (("true", "false"), ("false", "false"))]
    result = kernels.compile_kernels(target, specs)
    assert result.failures == {}
    compiled = [kernel for image in result.images for kernel in image.kernels.values()]
    assert len(compiled) == len(specs)
    for kernel in compiled:
        assert kernel.scratch_bytes == kernel.vgpr_spills == 0 and kernel.hidden == {}
        # Workgroup ids come in SGPRs behind the user's on gfx11, in TTMP registers on gfx12.
        assert kernel.rsrc2 >> 7 & 7 == 7


def heavy_kernels():
    """Those with the most registers of each family: tiles of products, attention at its widest, doubles."""
    yield from (("matmul", f"g{shape.split(',')[0]}_{a}{b}", f"USBGPU_GEMM_F32(g{shape.split(',')[0]}_{a}{b}, {shape}, {a}, {b})")
                for shape in ("128, 128, 16, 8, 8", "64, 64, 16, 4, 4") for a, b in (("true", "true"), ("false", "false")))
    yield from (("matmul", f"m{a}{b}", f"USBGPU_GEMM_WMMA(m{a}{b}, 256, _Float16, 128, 128, 64, 32, {a}, {b})")
                for a in ("true", "false") for b in ("true", "false"))
    for type_, tile, width in (("float", 64, 128), ("float", 32, 256), ("_Float16", 64, 128), ("double", 32, 128), ("double", 16, 256)):
        for form in ("attention", "attention_grad_q", "attention_grad_kv"):
            symbol = f"{form}_{type_.strip('_')}_{width}"
            yield "attention", symbol, f"USBGPU_ATTENTION({symbol}, {form}, {type_}, {tile}, 32, {width}, true)"
    for type_ in ("float", "double", "__bf16"):
        yield "optim", f"adam_{type_.strip('_')}", f"USBGPU_MULTI(adam_{type_.strip('_')}, AdamArgs, adam<{type_}, false, true>)"


@pytest.mark.parametrize("target", ["gfx1100", "gfx1201"])
def test_no_registers_in_memory(target):
    """What the operators' tests launch is looked at there, too, on the chip that they run on."""
    specs = list(heavy_kernels())
    result = kernels.compile_kernels(target, specs)
    assert result.failures == {}
    compiled = {symbol: kernel for image in result.images for symbol, kernel in image.kernels.items()}
    assert len(compiled) == len(specs)
    assert {symbol: kernel.scratch_bytes for symbol, kernel in compiled.items() if kernel.scratch_bytes or kernel.vgpr_spills} == {}
