"""Memory instructions of both generations beyond test_memory.py: scalar and vector buffers, the rest of LDS, atomics with and without
the value before, block and transposing loads. Expectations are computed in Python from the ISA documents' pseudo-code."""
from __future__ import annotations

import struct

import numpy as np
import pytest

from .lanes import M32, WAVE64, lane_bits, run
from .machine import SCRATCH, Machine, assemble

ARCHS = ("gfx1100", "gfx1201")
LANES = np.arange(32)
SOME = 0x80F00F13
OLD = 0xA5A5C3C3


def f32(x: float) -> int:
    return struct.unpack("<I", struct.pack("<f", x))[0]


def pair16(low: float, high: float) -> int:
    return int(np.float16(low).view(np.uint16)) | int(np.float16(high).view(np.uint16)) << 16


def pair_bf16(low: float, high: float) -> int:
    return f32(low) >> 16 | f32(high) & 0xFFFF0000


def descriptor(va: int, records: int, stride: int = 0, swizzle: int = 0, index_stride: int = 0, add_lane: int = 0, bounds: int = 3) -> list[int]:
    return [va & M32, va >> 32 | stride << 16 | swizzle << 30, records, index_stride << 21 | add_lane << 23 | bounds << 28]


# ---- scalar memory ------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHS)
def test_scalar_buffer_loads_stop_at_the_end(arch):
    """Dwords beyond num_records read as 0; the offset's low bits do not count; stride scales the size."""
    machine = Machine(arch, threads=1)
    data = np.arange(1, 65, dtype=np.uint32) * 0x01010101
    va = machine.buffer(data)
    code = """s_mov_b32 s20, 0x1234
        s_buffer_load_b32 s20, s[8:11], 0x4
        s_buffer_load_b64 s[22:23], s[8:11], 0x24
        s_buffer_load_b128 s[24:27], s[8:11], 0x20
        s_mov_b32 s40, 0x11
        s_buffer_load_b32 s21, s[8:11], s40
        s_buffer_load_b256 s[44:51], s[8:11], 0x10
        s_buffer_load_b512 s[52:67], s[8:11], 0x0
        s_mov_b32 s9, s12
        s_mov_b32 s10, 4
        s_buffer_load_b32 s28, s[8:11], 0x3c
        s_buffer_load_b32 s29, s[8:11], 0x40"""
    sout = [*range(20, 30), *range(44, 68)]
    got = run(arch, code, machine=machine, user=[*descriptor(va, 42), va >> 32 | 16 << 16], sout=sout)
    word = lambda offset, limit=42: int(data[offset // 4]) if offset + 4 <= limit else 0  # noqa: E731
    assert got["s20"] == word(4) and got["s21"] == word(0x10)
    assert [got["s22"], got["s23"]] == [word(0x24), 0]
    assert [got[f"s{24 + n}"] for n in range(4)] == [word(0x20), word(0x24), 0, 0]
    assert [got[f"s{44 + n}"] for n in range(8)] == [word(0x10 + 4 * n) for n in range(8)]
    assert [got[f"s{52 + n}"] for n in range(16)] == [word(4 * n) for n in range(16)]
    assert got["s28"] == int(data[15]) and got["s29"] == 0, "4 records of 16 bytes"


def test_sub_dword_scalar_loads():
    machine = Machine("gfx1201", threads=1)
    data = np.array([0x80, 0x7F, 0xFE, 0xFF, 0x34, 0x92, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], np.uint8)
    va = machine.buffer(data)
    code = """s_mov_b32 s40, 3
        s_load_i8 s20, s[8:9], 0x0
        s_load_u8 s21, s[8:9], 0x0
        s_load_i8 s22, s[8:9], s40 offset:-2
        s_load_i16 s23, s[8:9], 0x4
        s_load_u16 s24, s[8:9], 0x4
        s_load_u16 s25, s[8:9], 0x5
        s_load_b96 s[28:30], s[8:9], 0x4
        s_buffer_load_u8 s26, s[8:11], 0x5
        s_buffer_load_i8 s27, s[8:11], 0x6
        s_buffer_load_i16 s31, s[8:11], 0x4
        s_buffer_load_b96 s[32:34], s[8:11], 0x0
        s_prefetch_data s[8:9], 0x0, null, 0
        s_prefetch_inst_pc_rel 0x0, null, 0"""
    got = run("gfx1201", code, machine=machine, user=descriptor(va, 6), sout=range(20, 35))
    assert [got[f"s{n}"] for n in range(20, 28)] == [0xFFFFFF80, 0x80, 0x7F, 0xFFFF9234, 0x9234, 0x9234, 0x92, 0]
    assert [got[f"s{n}"] for n in (28, 29, 30)] == data[4:16].view(np.uint32).tolist()
    assert got["s31"] == 0xFFFF9234 and [got[f"s{n}"] for n in (32, 33, 34)] == [0xFFFE7F80, 0, 0]


# ---- vector buffers -------------------------------------------------------------------------------------
BUFFER_LOADS = {"u8": (1, False), "i8": (1, True), "u16": (2, False), "i16": (2, True), "b32": (4, False), "b64": (8, False), "b96": (12, False),
                "b128": (16, False)}


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("exec_mask", [M32, SOME, 0], ids=["all", "some", "none"])
def test_raw_buffer_loads_and_stores(arch, exec_mask):
    """Offset VGPR + constant + SGPR (which the range check leaves out); beyond the end 0 is read and nothing written, dword by dword."""
    machine = Machine(arch, threads=1)
    memory = np.random.default_rng(3).integers(0, 256, 1024, dtype=np.uint8)
    source, target = machine.buffer(memory), machine.buffer(np.zeros(1024, np.uint8))
    size, constant, scalar = 500, 5, 16
    offsets = LANES * 17
    code, want = [], {}
    for n, (name, (width, signed)) in enumerate(BUFFER_LOADS.items()):
        first = 20 + 4 * n
        count = max(1, width // 4)
        registers = f"v{first}" if count == 1 else f"v[{first}:{first + count - 1}]"
        code.append(f"buffer_load_{name} {registers}, v10, s[8:11], s12 offen offset:{constant}")
        step = min(4, width)
        for k in range(count):
            out = np.full(32, OLD, np.uint32)
            for lane in np.flatnonzero(lane_bits(exec_mask)):
                at = offsets[lane] + constant + 4 * k
                raw = memory[at + scalar:at + scalar + step].tobytes() if at + step <= size else bytes(step)
                out[lane] = int.from_bytes(raw, "little", signed=signed) & M32
            want[first + k] = out
    code.append("s_mov_b32 s8, s13\ns_mov_b32 s9, s14")
    code += ["v_mul_lo_u32 v11, v0, 20", "buffer_store_b128 v[32:35], v11, s[8:11], 0 offen", "buffer_store_b8 v20, v11, s[8:11], 0 offen offset:16",
             "buffer_store_d16_hi_b16 v20, v11, s[8:11], 0 offen offset:18"]
    got = run(arch, "\n".join(code).replace(" 0 offen", " s15 offen") if arch == "gfx1201" else "\n".join(code), machine=machine, vgprs={10: offsets} | {20 + n: np.full(32, OLD) for n in range(32)},
              user=[*descriptor(source, size), scalar, target & M32, target >> 32, 0], exec_mask=exec_mask, out=range(20, 52))
    for register, out in want.items():
        assert (got[register] == out).all(), (register, got[register], out)
    stored = machine.fetch(target, memory)
    expected = np.zeros(1024, np.uint8)
    for lane in np.flatnonzero(lane_bits(exec_mask)):
        parts = [(20 * lane + 4 * k, int(got[32 + k][lane]).to_bytes(4, "little")) for k in range(4)]
        parts += [(20 * lane + 16, bytes([got[20][lane] & 0xFF])), (20 * lane + 18, int(got[20][lane] >> 16).to_bytes(2, "little"))]
        for at, raw in parts:
            if at + len(raw) <= size:
                expected[at:at + len(raw)] = np.frombuffer(raw, np.uint8)
    assert (stored == expected).all()


@pytest.mark.parametrize("arch", ARCHS)
def test_d16_buffer_loads_keep_the_other_half(arch):
    machine = Machine(arch, threads=1)
    va = machine.buffer(np.array([0x8182, 0x9394] * 8, np.uint16))
    names = {"d16_u8": 0xA5A50082, "d16_i8": 0xA5A5FF82, "d16_b16": 0xA5A58182, "d16_hi_u8": 0x0082C3C3, "d16_hi_i8": 0xFF82C3C3, "d16_hi_b16": 0x8182C3C3}
    code = "\n".join(f"v_mov_b32 v{20 + n}, {OLD:#x}\nbuffer_load_{name} v{20 + n}, off, s[8:11], s12" for n, name in enumerate(names))
    got = run(arch, code, machine=machine, user=[*descriptor(va, 32), 0], out=range(20, 26))
    assert [int(got[20 + n][0]) for n in range(6)] == list(names.values())


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("swizzle", [0, 1, 3])
@pytest.mark.parametrize("add_lane", [0, 1])
def test_structured_buffers(arch, swizzle, add_lane):
    """index * stride + offset, or swizzled by index_stride and element size; index and offset are checked each by itself."""
    machine = Machine(arch, threads=1)
    memory = np.arange(4096, dtype=np.uint32)
    va = machine.buffer(memory)
    stride, records, index_stride = 48, 20, 8
    index, offset = LANES % 24, LANES * 4 % 64
    code = "v_mov_b32 v20, 7\nbuffer_load_b32 v20, v[10:11], s[8:11], s12 idxen offen\nbuffer_load_b32 v21, v10, s[8:11], s12 idxen offset:4"
    user = [*descriptor(va, records, stride, swizzle, 0, add_lane, bounds=0), 0]
    got = run(arch, code, machine=machine, vgprs={10: index, 11: offset}, user=user, out=(20, 21))

    def element(i: int, o: int) -> int:
        if i >= records or o + 4 > stride:
            return 0
        size = 2 << swizzle
        at = i * stride + o if not swizzle else (i // index_stride * stride + o // size * size) * index_stride + i % index_stride * size + o % size
        return int(memory[at // 4])
    for lane in range(32):
        i = int(index[lane]) + (lane if add_lane else 0)
        assert got[20][lane] == element(i, int(offset[lane])), lane
        assert got[21][lane] == element(i, 4)


@pytest.mark.parametrize("arch", ARCHS)
def test_bounds_modes(arch):
    """OOB_SELECT 1 looks at the index only, 2 at nothing but an empty buffer."""
    machine = Machine(arch, threads=1)
    va = machine.buffer(np.arange(256, dtype=np.uint32))
    code = "buffer_load_b32 v20, v[10:11], s[8:11], s12 idxen offen"
    for bounds, records, want in ((1, 2, [20, 24, 0]), (2, 1, [20, 24, 28]), (2, 0, [0, 0, 0])):
        got = run(arch, code, machine=machine, vgprs={10: np.minimum(LANES, 2), 11: np.full(32, 80)},
                  user=[*descriptor(va, records, 16, bounds=bounds), 0], out=[20])
        assert got[20][:3].tolist() == want


# ---- atomics ------------------------------------------------------------------------------------------------
def signed(x: int, bits: int = 32) -> int:
    return x - (1 << bits) if x >> (bits - 1) else x


def number(x: int) -> float:
    return struct.unpack("<f", struct.pack("<I", x))[0]


def halves(function, pack, unpack):
    return lambda old, new: pack(*(function(a, b) for a, b in zip(unpack(old), unpack(new))))


HALF = halves(lambda a, b: np.float16(a + b), pair16, lambda v: np.array([v & 0xFFFF, v >> 16], np.uint16).view(np.float16).astype(np.float32))
BHALF = halves(lambda a, b: a + b, pair_bf16, lambda v: [number(v << 16 & M32), number(v & 0xFFFF0000)])
# name of the LDS form, suffix of the memory form, old value, operand, result (None: computed per lane is not needed)
RMW32 = {
    "add_u32": (5, 0xFFFFFFFE, 3), "sub_u32": (5, 7, M32 - 1), "min_i32": (5, M32, M32), "min_u32": (5, M32, 5), "max_i32": (5, M32, 5),
    "max_u32": (5, M32, M32), "and_b32": (0xF0F0, 0xFF00, 0xF000), "or_b32": (0xF0F0, 0xFF00, 0xFFF0), "xor_b32": (0xF0F0, 0xFF00, 0x0FF0),
    "inc_u32": (9, 9, 0), "dec_u32": (0, 9, 9), "add_f32": (f32(1.5), f32(2.25), f32(3.75)), "min_f32": (f32(0.0), f32(-0.0), f32(-0.0)),
    "max_f32": (f32(-3), f32(float("nan")), f32(-3)), "swap_b32": (1, 2, 2),
}
GFX11_ONLY = {"csub_u32": (5, 7, 0)}
GFX12_ONLY = {"sub_clamp_u32": (5, 7, 0), "cond_sub_u32": (5, 7, 5), "pk_add_f16": (pair16(1.5, -2), pair16(0.25, 3), pair16(1.75, 1)),
              "pk_add_bf16": (pair_bf16(1.5, -2), pair_bf16(0.25, 3), pair_bf16(1.75, 1))}
RMW64 = {"add_u64": (M32, 1, M32 + 1), "sub_u64": (1 << 40, 1, (1 << 40) - 1), "min_i64": (1, (1 << 64) - 1, (1 << 64) - 1), "min_u64": (1 << 33, 1 << 32, 1 << 32),
         "max_i64": (1, 1 << 63, 1), "max_u64": (1, 1 << 63, 1 << 63), "and_b64": (M32 << 16, 0xFF << 40, 0xFF << 40), "or_b64": (1 << 63, 1, 1 << 63 | 1),
         "xor_b64": (3 << 60, 1 << 60, 2 << 60), "inc_u64": (1 << 40, 1 << 40, 0), "dec_u64": (0, 1 << 41, 1 << 41), "swap_b64": (1, 2 << 40, 2 << 40)}


def renamed(name: str, arch: str) -> str:
    return name.replace("min_f32", "min_num_f32").replace("max_f32", "max_num_f32") if arch == "gfx1201" else name


def cases(arch: str) -> dict[str, tuple]:
    return RMW32 | (GFX12_ONLY if arch == "gfx1201" else GFX11_ONLY) | RMW64


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("space", ["global", "flat", "buffer"])
@pytest.mark.parametrize("exec_mask", [M32, SOME], ids=["all", "some"])
def test_memory_atomics(arch, space, exec_mask):
    """Each lane has its own cell; the value before comes back where it is asked for, and a register is left alone where not."""
    table = cases(arch)
    machine = Machine(arch, threads=1)
    memory = np.zeros((len(table), 32), np.uint64)
    for row, (old, _new, _want) in zip(memory, table.values()):
        row[:] = old
    va = machine.buffer(memory)
    back = "th:TH_ATOMIC_RETURN" if arch == "gfx1201" else "glc"
    code, outs = ["v_lshlrev_b32 v10, 3, v0", "v_add_co_u32 v12, vcc_lo, s8, v10", "v_mov_b32 v13, s9", "v_add_co_ci_u32 v13, vcc_lo, 0, v13, vcc_lo"], {}
    for n, (name, (_old, new, _want)) in enumerate(table.items()):
        wide = name.endswith("64")
        data, result = ("v[14:15]", "v[16:17]") if wide else ("v14", "v16")
        code += [f"v_mov_b32 v14, {new & M32:#x}", f"v_mov_b32 v15, {new >> 32:#x}", "v_mov_b32 v16, 0x77", "v_mov_b32 v17, 0x77"]
        returns, op = n % 2 == 0, renamed(name, arch)
        if space == "buffer":
            register, address = (data, "v10, s[8:11], s12 offen")
            code += [f"buffer_atomic_{op} {register}, {address}{' ' + back if returns else ''}", "v_mov_b32 v16, v14\nv_mov_b32 v17, v15" if returns else "v_nop"]
        else:
            address = f"v10, {data}, s[8:9]" if space == "global" else f"v[12:13], {data}"
            code.append(f"{space}_atomic_{op} {result + ', ' if returns else ''}{address}{' ' + back if returns else ''}")
        first = 20 + 2 * n
        code += [f"v_mov_b32 v{first}, v16", f"v_mov_b32 v{first + 1}, v17", "v_add_nc_u32 v10, 0x100, v10",
                 "v_add_co_u32 v12, vcc_lo, 0x100, v12", "v_add_co_ci_u32 v13, vcc_lo, 0, v13, vcc_lo"]
        outs[name] = (first, returns, wide)
    if arch == "gfx1100" and space == "flat":
        code = [line for line in code if not line.startswith("flat_atomic_csub")]  # GLOBAL only in this generation
    got = run(arch, "\n".join(code), machine=machine, user=[*descriptor(va, memory.nbytes), 0], exec_mask=exec_mask,
              out=[r for first, _, _ in outs.values() for r in (first, first + 1)])
    after, on = machine.fetch(va, memory), lane_bits(exec_mask)
    for n, (name, (old, _new, want)) in enumerate(table.items()):
        if name == "csub_u32" and space == "flat":
            continue
        assert (after[n][on] == want).all() and (after[n][~on] == old).all(), (name, hex(int(after[n][on][0])), hex(want))
        first, returns, wide = outs[name]
        if returns:
            assert (got[first][on] == old & M32).all() and (not wide or (got[first + 1][on] == old >> 32).all()), name
        elif space != "buffer":
            assert (got[first][on] == 0x77).all(), name


@pytest.mark.parametrize("arch", ARCHS)
def test_compare_and_swap(arch):
    """Data registers: new value, then the one compared with. Buffer lanes out of range return 0 and change nothing."""
    machine = Machine(arch, threads=1)
    memory = np.arange(64, dtype=np.uint32)
    va = machine.buffer(memory)
    back = "th:TH_ATOMIC_RETURN" if arch == "gfx1201" else "glc"
    code = f"""v_lshlrev_b32 v10, 2, v0
        v_mov_b32 v14, 0x1000
        v_and_b32 v15, -2, v0
        global_atomic_cmpswap_b32 v20, v10, v[14:15], s[8:9] {back}
        v_mov_b32 v16, 0x2000
        v_add_nc_u32 v17, 32, v0
        buffer_atomic_cmpswap_b32 v[16:17], v10, s[8:11], s12 offen {back}
        v_mov_b32 v21, v16"""
    got = run(arch, code, machine=machine, user=[*descriptor(va, 64), 128], out=(20, 21))
    after = machine.fetch(va, memory)
    assert (after[:32] == np.where(LANES % 2 == 0, 0x1000, LANES)).all() and (got[20] == LANES).all()
    assert (after[32:] == np.where(LANES < 16, 0x2000, LANES + 32)).all() and (got[21] == np.where(LANES < 16, LANES + 32, 0)).all()


# ---- LDS --------------------------------------------------------------------------------------------------
DS32 = {name.replace("swap_b32", "storexchg_rtn_b32"): value for name, value in RMW32.items()} | {"rsub_u32": (5, 7, 2)}
DS64 = {name.replace("swap_b64", "storexchg_rtn_b64"): value for name, value in RMW64.items()} | {"rsub_u64": (5, 7, 2)}
DS12 = {"sub_clamp_u32": (5, 7, 0), "cond_sub_u32": (9, 7, 2), "pk_add_f16": GFX12_ONLY["pk_add_f16"], "pk_add_bf16": GFX12_ONLY["pk_add_bf16"]}


def with_rtn(name: str) -> str:
    return name if "_rtn_" in name else "_rtn_".join(name.rsplit("_", 1))


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("exec_mask", [M32, SOME, 0], ids=["all", "some", "none"])
def test_lds_atomics(arch, exec_mask):
    table = DS32 | DS64 | (DS12 if arch == "gfx1201" else {})
    on = lane_bits(exec_mask)
    code, outs = [], []
    for n, (name, (old, new, _want)) in enumerate(table.items()):
        wide, op = name.endswith("64"), f"ds_{renamed(name, arch)}"
        if n % 2 or "_rtn_" in name:
            op = with_rtn(op)
        code += [f"v_lshlrev_b32 v10, 3, v0\nv_mov_b32 v12, {old & M32:#x}\nv_mov_b32 v13, {old >> 32:#x}\nv_mov_b32 v14, {new & M32:#x}\nv_mov_b32 v15, {new >> 32:#x}",
                 "v_mov_b32 v16, 0x77\nv_mov_b32 v17, 0x77\ns_mov_b32 exec_lo, -1\nds_store_b64 v10, v[12:13] offset:16\n" + f"s_mov_b32 exec_lo, {exec_mask:#x}"]
        data, result = ("v[14:15]", "v[16:17], ") if wide else ("v14", "v16, ")
        code += [f"{op} {result if '_rtn_' in op else ''}v10, {data} offset:16", "s_mov_b32 exec_lo, -1\nds_load_b64 v[18:19], v10 offset:16"]
        first = 20 + 4 * n
        code += [f"v_mov_b32 v{first + k}, v{16 + k}" for k in range(4)]
        outs += range(first, first + 4)
    # v0, the lane, has to be known in all lanes: EXEC is narrowed by the program itself
    got = run(arch, "v_mbcnt_lo_u32_b32 v0, -1, 0\n" + "\n".join(code), out=outs, lds_bytes=512)
    for n, (name, (old, _new, want)) in enumerate(table.items()):
        first, wide = 20 + 4 * n, name.endswith("64")
        value = got[first + 2].astype(np.uint64) | (got[first + 3].astype(np.uint64) << np.uint64(32) if wide else np.uint64(0))
        assert (value[on] == want).all() and (value[~on] == old).all(), (name, value, want)
        returned = n % 2 == 1 or "_rtn_" in name
        assert (got[first][on] == (old & M32 if returned else 0x77)).all() and (got[first][~on] == 0x77).all() or not returned, name


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("exec_mask", [M32, SOME, 0], ids=["all", "some", "none"])
def test_append_consume_addtid_and_conditional_exchange(arch, exec_mask):
    """M0 is the base of the counter and of addtid; all enabled lanes get the counter's value before."""
    on, count = lane_bits(exec_mask), bin(exec_mask).count("1")
    code = f"""v_mbcnt_lo_u32_b32 v0, -1, 0
        s_mov_b32 exec_lo, -1
        v_mbcnt_lo_u32_b32 v0, -1, 0
        v_mov_b32 v10, 0
        v_mov_b32 v11, 100
        ds_store_b32 v10, v11 offset:72
        v_mov_b32 v20, 0x77
        v_mov_b32 v21, 0x77
        v_mov_b32 v22, 0x77
        v_lshlrev_b32 v13, 3, v0
        v_mov_b32 v14, 0x11
        v_mov_b32 v15, 0x22
        ds_store_b64 v13, v[14:15] offset:512
        v_mov_b32 v24, 0x77
        v_mov_b32 v25, 0x77
        v_mov_b32 v16, 0x80000033
        v_mov_b32 v17, 0x44
        s_mov_b32 m0, 64
        s_mov_b32 exec_lo, {exec_mask:#x}
        ds_append v20 offset:8
        ds_append v21 offset:8
        ds_consume v22 offset:8
        ds_condxchg32_rtn_b64 v[24:25], v13, v[16:17] offset:512
        s_mov_b32 exec_lo, -1
        ds_load_b32 v23, v10 offset:72
        ds_load_b64 v[26:27], v13 offset:512
        v_add_nc_u32 v28, 0x300, v0
        ds_store_addtid_b32 v28 offset:1024
        v_lshlrev_b32 v12, 2, v0
        ds_load_b32 v29, v12 offset:1088
        ds_load_addtid_b32 v30 offset:1024"""
    got = run(arch, code, exec_mask=M32, out=range(20, 31), lds_bytes=4096)
    for register, want in ((20, 100), (21, 100 + count), (22, 100 + 2 * count)):
        assert (got[register] == np.where(on, want, 0x77)).all()
    assert (got[23] == 100 + count).all()
    assert (got[24] == np.where(on, 0x11, 0x77)).all() and (got[25] == np.where(on, 0x22, 0x77)).all()
    assert (got[26] == np.where(on, 0x33, 0x11)).all() and (got[27] == 0x22).all()
    assert (got[29] == LANES + 0x300).all() and (got[30] == LANES + 0x300).all()


@pytest.mark.parametrize("arch", ARCHS)
def test_two_address_and_wide_lds(arch):
    """stride64 offsets count elements times 64; b96 and b128 at addresses of 4 bytes; the address register may be overwritten."""
    code = """v_lshlrev_b32 v10, 2, v0
        v_add_nc_u32 v11, 0x100, v0
        v_add_nc_u32 v12, 0x200, v0
        ds_store_2addr_stride64_b32 v10, v11, v12 offset0:1 offset1:3
        ds_load_b32 v20, v10 offset:256
        ds_load_b32 v21, v10 offset:768
        ds_load_2addr_stride64_b32 v[22:23], v10 offset0:3 offset1:1
        v_lshlrev_b32 v13, 4, v0
        v_add_nc_u32 v13, 4, v13
        v_mov_b32 v14, v0
        v_mov_b32 v15, 1
        v_mov_b32 v16, 2
        v_mov_b32 v17, 3
        ds_store_b128 v13, v[14:17] offset:1024
        v_mov_b32 v24, v13
        ds_load_b96 v[24:26], v24 offset:1024
        ds_load_b128 v[28:31], v13 offset:1024
        ds_storexchg_2addr_rtn_b32 v[32:33], v10, v15, v16 offset0:64 offset1:192
        ds_load_2addr_b32 v[34:35], v10 offset0:64 offset1:192"""
    got = run(arch, code, out=range(20, 36), lds_bytes=4096)
    want = {20: LANES + 0x100, 21: LANES + 0x200, 22: LANES + 0x200, 23: LANES + 0x100, 24: LANES, 25: 1, 26: 2, 28: LANES, 29: 1, 30: 2, 31: 3,
            32: LANES + 0x100, 33: LANES + 0x200, 34: 1, 35: 2}
    for register, value in want.items():
        assert (got[register] == value).all(), register


@pytest.mark.parametrize("arch", ARCHS)
def test_lds_beyond_the_end(arch):
    """Loads and atomics give 0, stores are dropped, each lane by itself; permutations need no LDS at all."""
    code = """v_lshlrev_b32 v10, 6, v0
        v_mov_b32 v11, 9
        ds_store_b32 v10, v11
        v_mov_b32 v20, 0x77
        ds_load_b32 v20, v10
        ds_add_rtn_u32 v21, v10, v11
        ds_load_u8 v22, v10
        v_lshlrev_b32 v12, 2, v0
        v_xor_b32 v12, 4, v12
        ds_bpermute_b32 v23, v12, v0"""
    got = run(arch, code, out=range(20, 24), lds_bytes=512)
    inside = LANES * 64 < 512
    assert (got[20] == np.where(inside, 9, 0)).all() and (got[21] == np.where(inside, 9, 0)).all()
    assert (got[22] == np.where(inside, 18, 0)).all() and (got[23] == (LANES ^ 1)).all()


@pytest.mark.parametrize("lanes", [32, 64])
def test_permutations_across_the_wave(lanes):
    lane, mask = np.arange(lanes), 0x0FFF_F0F0_FFFF_0FF0 & (1 << lanes) - 1
    on = lane_bits(mask, lanes)
    source = (lane * 5 + 3) % lanes
    code = """ds_bpermute_b32 v20, v10, v11
        ds_bpermute_fi_b32 v21, v10, v11 offset:4
        ds_permute_b32 v22, v10, v11"""
    got = run("gfx1201", "v_mov_b32 v20, 7\nv_mov_b32 v21, 7\nv_mov_b32 v22, 7\n" + code, vgprs={10: source * 4, 11: lane + 100}, exec_mask=mask, out=(20, 21, 22), lanes=lanes)
    pushed = np.zeros(lanes, int)
    pushed[source[on]] = lane[on] + 100
    for register, want in ((20, np.where(on[source], source + 100, 0)), (21, (source + 1) % lanes + 100), (22, pushed)):
        assert (got[register][on] == want[on]).all(), register


@pytest.mark.parametrize("arch", ARCHS)
def test_swizzle_modes(arch):
    offsets = {0x8000 | 0b00_01_10_11: lambda i: i & ~3 | 3 - i % 4, 0x041F: lambda i: i ^ 1, 0xC000 | 3 << 5: lambda i: (i + 3) % 32,
               0xC400 | 3 << 5 | 0x10: lambda i: i & 0x10 | (i - 3) & 0xF, 0xE000: lambda i: int(f"{i:05b}"[::-1], 2)}
    code = "\n".join(f"ds_swizzle_b32 v{20 + n}, v10 offset:{offset:#x}" for n, offset in enumerate(offsets))
    got = run(arch, code, vgprs={10: LANES + 50}, out=range(20, 20 + len(offsets)))
    for n, function in enumerate(offsets.values()):
        assert got[20 + n].tolist() == [function(i) + 50 for i in range(32)], hex(list(offsets)[n])


# ---- global memory ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHS)
def test_global_addtid(arch):
    machine = Machine(arch, threads=1)
    memory = np.arange(128, dtype=np.uint32)
    va = machine.buffer(memory)
    got = run(arch, "v_mov_b32 v20, 7\nglobal_load_addtid_b32 v20, s[8:9] offset:16\nglobal_store_addtid_b32 v20, s[8:9] offset:256", machine=machine,
              user=[va & M32, va >> 32], exec_mask=SOME, out=[20])
    on = lane_bits(SOME)
    assert (got[20][on] == LANES[on] + 4).all()
    assert (machine.fetch(va, memory)[64:96] == np.where(on, LANES + 4, LANES + 64)).all()


@pytest.mark.parametrize("space", ["global", "scratch"])
def test_blocks(space):
    """One dword for each bit of M0, to the register of the bit's number."""
    machine = Machine("gfx1201", threads=1)
    memory = np.arange(32 * 32, dtype=np.uint32).reshape(32, 32)
    source, target = machine.buffer(memory), machine.buffer(np.zeros_like(memory))
    setup = "s_mov_b32 m0, 0x80000105\nv_lshlrev_b32 v10, 7, v0\n"
    fill = "\n".join(f"v_mov_b32 v{20 + n}, 7" for n in range(32)) + "\n"
    if space == "global":
        code = setup + fill + "global_load_block v[20:51], v10, s[8:9]\nglobal_store_block v10, v[20:51], s[10:11]"
    else:
        code = setup + fill + """global_load_block v[20:51], v10, s[8:9]
            v_mov_b32 v11, 4
            scratch_store_block v11, v[20:51], off
            """ + fill + "scratch_load_block v[20:51], v11, off\nglobal_store_block v10, v[20:51], s[10:11]"
    got = run("gfx1201", code, machine=machine, user=[source & M32, source >> 32, target & M32, target >> 32], out=range(20, 52), scratch=256)
    bits = lane_bits(0x80000105)
    for n in range(32):
        assert (got[20 + n] == (memory[:, n] if bits[n] else 7)).all()
    assert (machine.fetch(target, memory) == np.where(bits, memory, 0)).all()
    if space == "scratch":
        image = np.frombuffer(machine.memory.read(SCRATCH, 136 * 32), np.uint32).reshape(34, 32)
        assert (image[1:33][bits] == memory.T[bits]).all(), "dword-interleaved over the lanes"


@pytest.mark.parametrize("width", [16, 8])
def test_transposing_loads(width):
    """Eight lanes load a row of eight elements each and get the columns."""
    machine = Machine("gfx1201", threads=1)
    dtype = np.uint16 if width == 16 else np.uint8
    memory = np.random.default_rng(1).integers(0, 1 << width, (32, 8)).astype(dtype)
    va = machine.buffer(memory)
    count = width // 4
    code = f"v_lshlrev_b32 v10, {4 if width == 16 else 3}, v0\nglobal_load_tr_b{8 * width} v[20:{19 + count}], v10, s[8:9]"
    got = run("gfx1201", code, machine=machine, user=[va & M32, va >> 32], out=range(20, 20 + count))
    registers = np.stack([got[20 + k] for k in range(count)], 1).copy().view(dtype)
    assert (registers.reshape(4, 8, 8) == memory.reshape(4, 8, 8).transpose(0, 2, 1)).all()


def test_memory_of_a_wave64():
    """Both halves: scattered global loads, LDS, addtid and append count all 64 lanes."""
    machine = Machine("gfx1201", threads=1)
    memory = np.arange(256, dtype=np.uint32)
    va = machine.buffer(memory)
    out = machine.buffer(np.zeros((3, 64), np.uint32))
    text = """v_lshlrev_b32 v1, 3, v0
        global_load_b32 v2, v1, s[0:1]
        v_mov_b32 v4, 0
        ds_store_b32 v4, v4
        s_mov_b32 m0, 0
        ds_append v3
        ds_append v3
        global_load_addtid_b32 v5, s[0:1] offset:8
        v_lshlrev_b32 v1, 2, v0
        global_store_b32 v1, v2, s[2:3]
        global_store_b32 v1, v3, s[2:3] offset:256
        global_store_b32 v1, v5, s[2:3] offset:512
        s_endpgm"""
    result = machine.run_code(assemble(text, "gfx1201", wave64=True), [va & M32, va >> 32, out & M32, out >> 32], threads=64, lds_bytes=512, initiator=WAVE64)
    assert result["end"] == "complete", result["fault"]
    got = machine.fetch(out, np.zeros((3, 64), np.uint32))
    assert (got[0] == np.arange(64) * 2).all() and (got[1] == 64).all() and (got[2] == np.arange(64) + 2).all()
