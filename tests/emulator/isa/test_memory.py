"""Loads, stores and atomics of GLOBAL, FLAT, SCRATCH and DS: every width, with enabled and
disabled lanes, consecutive and scattered addresses, mapped memory and memory behind the bridge."""
from __future__ import annotations

import numpy as np
import pytest

from .machine import Machine, assemble

M32 = (1 << 32) - 1
LANES = np.arange(32)
EXEC = {"all": M32, "some": 0x80F00F13, "none": 0}
# offsets of the lanes in bytes, for elements of `size`
PATTERNS = {
    "consecutive": lambda size: LANES * size,
    "reversed": lambda size: (31 - LANES) * size,
    "scattered": lambda size: (LANES * 7 % 32) * max(size, 4) * 3,
    "misaligned": lambda size: LANES * (size + 5) + 1,
}
LOADS = {  # suffix: (bytes, dtype, where in the register)
    "u8": (1, np.uint8, "all"), "i8": (1, np.int8, "all"), "u16": (2, np.uint16, "all"), "i16": (2, np.int16, "all"),
    "b32": (4, None, ""), "b64": (8, None, ""), "b96": (12, None, ""), "b128": (16, None, ""),
    "d16_u8": (1, np.uint8, "low"), "d16_i8": (1, np.int8, "low"), "d16_b16": (2, np.uint16, "low"),
    "d16_hi_u8": (1, np.uint8, "high"), "d16_hi_i8": (1, np.int8, "high"), "d16_hi_b16": (2, np.uint16, "high"),
}
OLD = 0xA5A5C3C3


def expected_load(memory: np.ndarray, offsets, exec_mask, kind):
    size, dtype, where = kind
    dwords = -(-size // 4)
    out = np.full((32, dwords), OLD, np.uint32)
    for lane in range(32):
        if not exec_mask >> lane & 1:
            continue
        raw = memory[offsets[lane]:offsets[lane] + size].tobytes()
        if dtype is None:
            out[lane] = np.frombuffer(raw, np.uint32)
            continue
        value = int(np.frombuffer(raw, dtype)[0]) & M32
        low, high = OLD & 0xFFFF0000 | value & 0xFFFF, OLD & 0xFFFF | value << 16 & M32
        out[lane, 0] = {"all": value, "low": low, "high": high}[where]
    return out


def registers(first: int, count: int) -> str:
    return f"v{first}" if count == 1 else f"v[{first}:{first + count - 1}]"


def load_program(instruction: str, dwords: int, exec_mask: int) -> str:
    """v2 = lane's offset (from s[2:3]), v[4:7] = old values -> instruction -> v[4:7] to s[0:1]."""
    fill = [f"v_mov_b32 v{4 + k}, {OLD:#x}" for k in range(4)]
    return "\n".join([
        "v_lshlrev_b32 v1, 2, v0", "global_load_b32 v2, v1, s[2:3]", "v_lshlrev_b32 v1, 4, v0", *fill,
        f"s_mov_b32 exec_lo, {exec_mask:#x}", instruction, "s_mov_b32 exec_lo, -1",
        "global_store_b128 v1, v[4:7], s[0:1]", "s_endpgm"])


def user(*addresses) -> list[int]:
    return [part for va in addresses for part in (va & M32, va >> 32)]


@pytest.mark.parametrize("bridge", [False, True], ids=["vram", "bridge"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("exec_name", EXEC)
def test_global_loads(exec_name, pattern, bridge, rng):
    """All widths; FLAT with the same 64-bit addresses must agree with GLOBAL."""
    content = rng.integers(0, 256, 4096).astype(np.uint8)
    machine = Machine(threads=1)
    source = 0x7_0000_0000
    machine.memory.map(source, 4096, bridge=bridge)
    machine.memory.write(source, content)
    out, lanes = np.zeros((32, 4), np.uint32), np.zeros(32, np.uint32)
    target, where = machine.buffer(out), machine.buffer(lanes)
    for suffix, kind in LOADS.items():
        offsets = PATTERNS[pattern](kind[0])
        machine.memory.write(where, offsets.astype(np.uint32))
        dwords = -(-kind[0] // 4)
        want = expected_load(content, offsets + 16, EXEC[exec_name], kind)
        forms = {
            "saddr": f"global_load_{suffix} {registers(4, dwords)}, v2, s[4:5] offset:16",
            "vaddr": "v_add_co_u32 v2, vcc_lo, s4, v2\nv_add_co_ci_u32_e64 v3, null, s5, 0, vcc_lo\n"
                     f"global_load_{suffix} {registers(4, dwords)}, v[2:3], off offset:16",
            "flat": "v_add_co_u32 v2, vcc_lo, s4, v2\nv_add_co_ci_u32_e64 v3, null, s5, 0, vcc_lo\n"
                    f"flat_load_{suffix} {registers(4, dwords)}, v[2:3] offset:16",
        }
        for form, instruction in forms.items():
            code = assemble(load_program(instruction, dwords, EXEC[exec_name]))
            result = machine.run_code(code, user(target, where, source), sh_mem_bases=0x20001)
            assert result["end"] == "complete", (suffix, form, result["fault"])
            got = machine.fetch(target, out)
            np.testing.assert_array_equal(got[:, :dwords], want, err_msg=f"{suffix} {form}")
            assert (got[:, dwords:] == OLD).all(), f"{suffix} {form}: wrote a register too many"


STORES = {"b8": (1, 0), "b16": (2, 0), "b32": (4, 0), "b64": (8, 0), "b96": (12, 0), "b128": (16, 0),
    "d16_hi_b8": (1, 16), "d16_hi_b16": (2, 16)}


@pytest.mark.parametrize("bridge", [False, True], ids=["vram", "bridge"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("exec_name", EXEC)
def test_global_stores(exec_name, pattern, bridge, rng):
    machine = Machine(threads=1)
    data = rng.integers(0, 1 << 32, (32, 4)).astype(np.uint32)
    lanes = np.zeros(32, np.uint32)
    target = 0x7_0000_0000
    machine.memory.map(target, 4096, bridge=bridge)
    values, where = machine.buffer(data), machine.buffer(lanes)
    guard = np.full(4096, 0xEE, np.uint8)
    for suffix, (size, shift) in STORES.items():
        offsets = PATTERNS[pattern](size)
        machine.memory.write(where, offsets.astype(np.uint32))
        dwords = -(-size // 4)
        want = guard.copy()
        for lane in range(32):
            if EXEC[exec_name] >> lane & 1:
                raw = data[lane].tobytes() if not shift else np.uint32(data[lane, 0] >> shift).tobytes()
                want[offsets[lane] + 32:offsets[lane] + 32 + size] = np.frombuffer(raw[:size], np.uint8)
        for prefix, address in (("global", "v2, {}, s[4:5]"), ("flat", "v[2:3], {}")):
            machine.memory.write(target, guard)
            flat = ["v_add_co_u32 v2, vcc_lo, s4, v2",
                "v_add_co_ci_u32_e64 v3, null, s5, 0, vcc_lo"] if prefix == "flat" else []
            code = assemble("\n".join([
                "v_lshlrev_b32 v1, 2, v0", "global_load_b32 v2, v1, s[2:3]", "v_lshlrev_b32 v1, 4, v0",
                "global_load_b128 v[4:7], v1, s[0:1]", *flat,
                f"s_mov_b32 exec_lo, {EXEC[exec_name]:#x}",
                f"{prefix}_store_{suffix} {address.format(registers(4, dwords))} offset:32", "s_endpgm"]))
            result = machine.run_code(code, user(values, where, target), sh_mem_bases=0x20001)
            assert result["end"] == "complete", (suffix, result["fault"])
            np.testing.assert_array_equal(machine.fetch(target, guard), want, err_msg=f"{prefix} {suffix}")


@pytest.mark.parametrize("exec_name", EXEC)
def test_lds_loads_and_stores(exec_name, rng):
    """All widths and both 2addr forms; LDS is copied in and out by the program itself."""
    mask = EXEC[exec_name]
    for instruction, result_dwords, offsets, pick in [
        ("ds_load_b32 v4, v2 offset:8", 1, LANES * 4, lambda m, o: m[(o + 8) // 4][:, None]),
        ("ds_load_b64 v[4:5], v2 offset:16", 2, LANES * 8, lambda m, o: m[(o[:, None] + 16) // 4 + np.arange(2)]),
        ("ds_load_b96 v[4:6], v2", 3, LANES * 12, lambda m, o: m[o[:, None] // 4 + np.arange(3)]),
        ("ds_load_b128 v[4:7], v2 offset:32", 4, (31 - LANES) * 16, lambda m,
        o: m[(o[:, None] + 32) // 4 + np.arange(4)]),
        ("ds_load_2addr_b32 v[4:5], v2 offset0:1 offset1:3", 2, LANES * 4, lambda m, o: m[o[:, None] // 4 + [1, 3]]),
        ("ds_load_2addr_stride64_b32 v[4:5], v2 offset0:1 offset1:0", 2, LANES * 4, lambda m,
        o: m[o[:, None] // 4 + [64, 0]]),
        ("ds_load_2addr_b64 v[4:7], v2 offset0:2 offset1:1", 4, LANES * 4, lambda m,
        o: m[o[:, None] // 4 + [4, 5, 2, 3]]),
        ("ds_load_b32 v4, v2 offset:4092", 1, LANES * 4, lambda m, o: np.where(LANES == 0, m[1023], 0)[:, None]),
        # beyond the end: 0
    ]:
        content = rng.integers(0, 1 << 32, 1024).astype(np.uint32)
        machine = Machine(threads=1)
        out = np.zeros((32, 4), np.uint32)
        target, where, source = machine.buffer(out), machine.buffer(offsets.astype(np.uint32)), machine.buffer(content)
        fill = ["v_lshlrev_b32 v8, 2, v0"] + [
            line for k in range(32) for line in (f"global_load_b32 v9, v8, s[4:5] offset:{128 * k}",
                f"ds_store_b32 v8, v9 offset:{128 * k}")]
        code = assemble("\n".join(fill) + "\n" + load_program(instruction, result_dwords, mask))
        result = machine.run_code(code, user(target, where, source), lds_bytes=4096)
        assert result["end"] == "complete", result["fault"]
        enabled = (mask >> LANES & 1).astype(bool)
        want = np.full((32, 4), OLD, np.uint32)
        want[enabled, :result_dwords] = pick(content, offsets)[enabled] if result_dwords else 0
        np.testing.assert_array_equal(machine.fetch(target, out), want, err_msg=instruction)


@pytest.mark.parametrize("instruction,offsets,dwords,sites", [
    ("ds_store_b8 v2, v4", LANES * 3, 1, [(0, 0, 1)]), ("ds_store_b16 v2, v4 offset:2", LANES * 4, 1, [(2, 0, 2)]),
    ("ds_store_b8_d16_hi v2, v4", LANES, 1, [(0, 2, 1)]), ("ds_store_b16_d16_hi v2, v4", LANES * 2, 1, [(0, 2, 2)]),
    ("ds_store_b64 v2, v[4:5]", LANES * 8, 2, [(0, 0, 8)]), ("ds_store_b96 v2, v[4:6]", LANES * 12, 3, [(0, 0, 12)]),
    ("ds_store_b128 v2, v[4:7]", LANES * 16, 4, [(0, 0, 16)]),
    ("ds_store_b128 v2, v[4:7] offset:1020", LANES * 16, 4, [(1020, 0, 16)]),
    ("ds_store_2addr_b32 v2, v4, v5 offset0:1 offset1:9", LANES * 64, 2, [(4, 0, 4), (36, 4, 4)]),
    ("ds_store_2addr_stride64_b64 v2, v[4:5], v[6:7] offset0:0 offset1:1", LANES * 8, 4, [(0, 0, 8), (512, 8, 8)]),
], ids=lambda v: v.split()[0] if isinstance(v, str) else "")
@pytest.mark.parametrize("exec_name", EXEC)
def test_lds_stores(instruction, offsets, dwords, sites, exec_name, rng):
    machine = Machine(threads=1)
    data = rng.integers(0, 1 << 32, (32, 4)).astype(np.uint32)
    size = 1024
    target, where, values = machine.buffer(np.zeros(size,
        np.uint8)), machine.buffer(offsets.astype(np.uint32)), machine.buffer(data)
    clear = ["v_lshlrev_b32 v8, 2, v0",
        "v_mov_b32 v9, 0xeeeeeeee"] + [f"ds_store_b32 v8, v9 offset:{128 * k}" for k in range(size // 128)]
    copy = [line for k in range(size // 128) for line in (f"ds_load_b32 v9, v8 offset:{128 * k}",
        f"global_store_b32 v8, v9, s[0:1] offset:{128 * k}")]
    code = assemble("\n".join([*clear, "v_lshlrev_b32 v1, 2, v0", "global_load_b32 v2, v1, s[2:3]",
        "v_lshlrev_b32 v1, 4, v0",
                               "global_load_b128 v[4:7], v1, s[4:5]", f"s_mov_b32 exec_lo, {EXEC[exec_name]:#x}",
                               instruction,
                               "s_mov_b32 exec_lo, -1", *copy, "s_endpgm"]))
    result = machine.run_code(code, user(target, where, values), lds_bytes=size)
    assert result["end"] == "complete", result["fault"]
    want = np.full(size, 0xEE, np.uint8)
    for lane in range(32):
        for at, part, n in sites if EXEC[exec_name] >> lane & 1 else []:
            if offsets[lane] + at + n <= size:  # out of range stores are dropped
                want[offsets[lane] + at:offsets[lane] + at + n] = np.frombuffer(data[lane].tobytes()[part:part + n],
                    np.uint8)
    np.testing.assert_array_equal(machine.fetch(target, np.zeros(size, np.uint8)), want)


def _signed(x, bits):
    return x - (1 << bits) if x >> (bits - 1) else x


ATOMICS = {  # name: new value of (old, data); by width
    "add_u": lambda o, d, b: o + d, "sub_u": lambda o, d, b: o - d,
    "min_i": lambda o, d, b: min(_signed(o, b), _signed(d, b)), "max_i": lambda o, d,
    b: max(_signed(o, b), _signed(d, b)),
    "min_u": lambda o, d, b: min(o, d), "max_u": lambda o, d, b: max(o, d),
    "and_b": lambda o, d, b: o & d, "or_b": lambda o, d, b: o | d, "xor_b": lambda o, d, b: o ^ d, "swap_b": lambda o,
    d, b: d,
    "inc_u": lambda o, d, b: 0 if o >= d else o + 1, "dec_u": lambda o, d, b: d if o == 0 or o > d else o - 1,
}


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("where", ["global", "flat", "bridge", "ds"])
def test_integer_atomics(where, bits, rng):
    """Two lanes per cell in lane order; the value before the operation comes back; disabled lanes do nothing."""
    mask, n = 0xFFFF00FF, bits // 32
    dtype = np.uint32 if bits == 32 else np.uint64
    for name, operation in ATOMICS.items():
        data = rng.integers(0, 1 << bits, 32, dtype=np.uint64).astype(dtype)
        data[::3] = data[::3] % dtype(7)
        cells = rng.integers(0, 1 << bits, 16, dtype=np.uint64).astype(dtype)
        cells[::2] = cells[::2] % dtype(5)
        machine = Machine(threads=1)
        target = 0x7_0000_0000
        machine.memory.map(target, 4096, bridge=where == "bridge")
        machine.memory.write(target, cells)
        values, results = machine.buffer(data), machine.buffer(np.zeros(32, dtype))
        move, width = f"b{bits}", f"{name.split('_')[1]}{bits}"
        plain = name.split("_")[0]
        prefix = {"bridge": "global", "ds": "ds", "global": "global", "flat": "flat"}[where]
        lds_name = f"ds_{'storexchg' if plain == 'swap' else plain}_rtn_{width}"
        instruction = {
            "global": f"global_atomic_{plain}_{width} {registers(6, n)}, v2, {registers(4, n)}, s[4:5] glc",
            "flat": f"flat_atomic_{plain}_{width} {registers(6, n)}, v[10:11], {registers(4, n)} glc",
            "ds": f"{lds_name} {registers(6, n)}, v2, {registers(4, n)}"}[prefix]
        stage = [f"global_load_{move} {registers(8, n)}, v2, s[4:5]",
            f"ds_store_{move} v2, {registers(8, n)}"] if where == "ds" else []
        back = [f"ds_load_{move} {registers(8, n)}, v2",
            f"global_store_{move} v2, {registers(8, n)}, s[4:5]"] if where == "ds" else []
        code = assemble("\n".join([
            f"v_lshlrev_b32 v1, {1 + n}, v0", f"global_load_{move} {registers(4, n)}, v1, s[0:1]",
            "v_and_b32 v2, 15, v0", f"v_lshlrev_b32 v2, {1 + n}, v2", "v_add_co_u32 v10, vcc_lo, s4, v2",
            "v_add_co_ci_u32_e64 v11, null, s5, 0, vcc_lo",
            *stage, "v_mov_b32 v6, -1", "v_mov_b32 v7, -1",
            f"s_mov_b32 exec_lo, {mask:#x}", instruction, "s_mov_b32 exec_lo, -1", *back,
            f"global_store_{move} v1, {registers(6, n)}, s[2:3]", "s_endpgm"]))
        result = machine.run_code(code, user(values, results, target), lds_bytes=512, sh_mem_bases=0x20001)
        assert result["end"] == "complete", (name, result["fault"])
        want, old = [int(c) for c in cells], [(1 << bits) - 1] * 32
        for lane in range(32):
            if mask >> lane & 1:
                old[lane] = want[lane % 16]
                want[lane % 16] = operation(want[lane % 16], int(data[lane]), bits) % (1 << bits)
        assert machine.fetch(target, cells).tolist() == want, name
        assert machine.fetch(results, data).tolist() == old, name


def test_compare_and_swap_register_order():
    """Memory: data = {new, compare}. DS: data0 = new, data1 = compare."""
    machine = Machine(threads=1)
    cells = np.array([10, 20, 10, 20], np.uint32)
    target = machine.buffer(cells)
    code = assemble("""v_lshlrev_b32 v1, 2, v0
        v_mov_b32 v4, 77
        v_mov_b32 v5, 10
        global_load_b32 v6, v1, s[0:1]
        ds_store_b32 v1, v6
        global_atomic_cmpswap_b32 v1, v[4:5], s[0:1]
        ds_cmpstore_rtn_b32 v7, v1, v4, v5
        ds_load_b32 v8, v1
        v_add_nc_u32 v8, v8, v7
        global_store_b32 v1, v8, s[0:1] offset:16
        s_endpgm""")
    machine.memory.unmap(target)
    machine.memory.map(target, 32)
    machine.memory.write(target, cells)
    assert machine.run_code(code, user(target), threads=4, lds_bytes=512)["end"] == "complete"
    assert machine.fetch(target, np.zeros(8, np.uint32)).tolist() == [77, 20, 77, 20, 87, 40, 87, 40]


@pytest.mark.parametrize("name,old,data,new", [
    ("add_f32", 1.5, 2.25, 3.75), ("min_f32", 1.5, -2.0, -2.0), ("max_f32", 1.5, 2.0, 2.0),
    ("min_f32", np.nan, 3.0, 3.0), ("add_f32", 1e-40, 1e-40, 2 * float(np.float32(1e-40)))])
@pytest.mark.parametrize("where", ["global", "ds"])
def test_float_atomics(where, name, old, data, new):
    machine = Machine(threads=1)
    target = machine.buffer(np.array([old, data], np.float32))
    if where == "global":
        body = ["global_load_b32 v2, v1, s[0:1] offset:4", f"global_atomic_{name} v1, v2, s[0:1]"]
    else:
        body = ["global_load_b32 v2, v1, s[0:1] offset:4", "global_load_b32 v3, v1, s[0:1]", "ds_store_b32 v1, v3",
            f"ds_{name} v1, v2",
                "ds_load_b32 v3, v1", "global_store_b32 v1, v3, s[0:1]"]
    code = assemble("\n".join(["v_mov_b32 v1, 0", *body, "s_endpgm"]))
    assert machine.run_code(code, user(target), threads=1, lds_bytes=512)["end"] == "complete"
    np.testing.assert_array_equal(machine.fetch(target, np.zeros(2, np.float32))[0], np.float32(new))


def test_scratch_is_interleaved_by_dwords(rng):
    """The memory image of private memory: byte = base + (offset & ~3) * 32 + lane * 4 + (offset & 3)."""
    from .machine import SCRATCH
    machine = Machine(threads=1)
    data = rng.integers(0, 1 << 32, (32, 4)).astype(np.uint32)
    values, out = machine.buffer(data), machine.buffer(np.zeros((32, 8), np.uint32))
    code = assemble("""v_lshlrev_b32 v1, 4, v0
        global_load_b128 v[4:7], v1, s[0:1]
        s_movk_i32 s8, 32
        v_and_b32 v2, 1, v0
        v_lshlrev_b32 v2, 6, v2
        scratch_store_b128 off, v[4:7], off offset:16
        scratch_store_b32 off, v4, s8 offset:4
        scratch_store_b64 v2, v[6:7], off offset:128
        scratch_store_b8 off, v4, off offset:65
        scratch_store_d16_hi_b16 off, v4, off offset:66
        scratch_load_b96 v[10:12], off, off offset:20
        scratch_load_b32 v13, off, s8 offset:4
        scratch_load_b64 v[14:15], v2, off offset:128
        scratch_load_b32 v16, off, off offset:18
        scratch_load_u8 v17, off, off offset:65
        v_lshlrev_b32 v1, 5, v0
        global_store_b128 v1, v[10:13], s[2:3]
        global_store_b128 v1, v[14:17], s[2:3] offset:16
        s_endpgm""")
    result = machine.run_code(code, user(values, out), scratch=256)
    assert result["end"] == "complete", result["fault"]
    got = machine.fetch(out, np.zeros((32, 8), np.uint32))
    np.testing.assert_array_equal(got[:, :3], data[:, 1:])
    np.testing.assert_array_equal(got[:, 3], data[:, 0])
    np.testing.assert_array_equal(got[:, 4:6], data[:, 2:])
    np.testing.assert_array_equal(got[:, 6], data[:, 0] >> 16 | data[:, 1] << 16)
    np.testing.assert_array_equal(got[:, 7], data[:, 0] & 0xFF)
    image = machine.fetch(SCRATCH, np.zeros(64 * 32, np.uint32)).reshape(64, 32)
    for k in range(4):
        np.testing.assert_array_equal(image[4 + k], data[:, k])
    np.testing.assert_array_equal(image[9], data[:, 0])
    np.testing.assert_array_equal(image[32, ::2], data[::2, 2])
    np.testing.assert_array_equal(image[48, 1::2], data[1::2, 2])
    np.testing.assert_array_equal(image[16], (data[:, 0] & 0xFF) << 8 | data[:, 0] & 0xFFFF0000)


def test_lane_permutations_skip_disabled_sources(rng):
    machine = Machine(threads=1)
    data, picks = rng.integers(1, 1000, 32).astype(np.uint32), rng.integers(0, 64, 32).astype(np.uint32)
    values, where, out = machine.buffer(data), machine.buffer(picks * 4), machine.buffer(np.zeros((32, 4), np.uint32))
    mask = 0x7FFFFFF5
    code = assemble(f"""v_lshlrev_b32 v1, 2, v0
        global_load_b32 v2, v1, s[0:1]
        global_load_b32 v3, v1, s[2:3]
        v_mov_b32 v4, -1
        v_mov_b32 v5, -1
        v_mov_b32 v6, -1
        v_mov_b32 v7, -1
        s_mov_b32 exec_lo, {mask:#x}
        ds_bpermute_b32 v4, v3, v2 offset:4
        ds_permute_b32 v5, v3, v2
        ds_swizzle_b32 v6, v2 offset:swizzle(QUAD_PERM, 1, 0, 3, 2)
        ds_swizzle_b32 v7, v2 offset:swizzle(SWAP, 16)
        s_mov_b32 exec_lo, -1
        v_lshlrev_b32 v1, 4, v0
        global_store_b128 v1, v[4:7], s[4:5]
        s_endpgm""")
    assert machine.run_code(code, user(values, where, out))["end"] == "complete"
    got = machine.fetch(out, np.zeros((32, 4), np.uint32))
    on = (mask >> LANES & 1).astype(bool)
    visible = np.where(on, data, 0)
    pushed = np.zeros(32, np.uint32)
    for lane in LANES[on]:
        pushed[picks[lane] % 32] = data[lane]
    for k, want in enumerate([visible[(picks + 1) % 32], pushed, visible[LANES ^ 1], visible[LANES ^ 16]]):
        np.testing.assert_array_equal(got[:, k], np.where(on, want, M32))
