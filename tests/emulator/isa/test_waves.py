"""Waves and workgroups: initial registers, barriers, turns, threads, and every way to end."""
from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from torch_usbgpu._emulator import isa

from .machine import CODE, DATA, Machine, assemble

M32 = (1 << 32) - 1


def user(*addresses) -> list[int]:
    return [part for va in addresses for part in (va & M32, va >> 32)]


def test_initial_registers():
    """User SGPRs, then the enabled workgroup ids; v0 = x | y << 10 | z << 20; EXEC of a partial last wave."""
    machine = Machine(threads=1)
    shape, groups = (5, 3, 4), (2, 3, 2)
    out = np.zeros((12, 64, 4), np.uint32)
    va = machine.buffer(out)
    code = assemble("""s_mul_i32 s8, s6, 3
        s_add_u32 s8, s8, s5
        s_mul_i32 s8, s8, 2
        s_add_u32 s8, s8, s4
        s_lshl_b32 s8, s8, 10
        v_bfe_u32 v1, v0, 10, 10
        v_bfe_u32 v2, v0, 20, 10
        v_and_b32 v3, 0x3ff, v0
        v_mul_u32_u24 v4, 3, v2
        v_add_nc_u32 v4, v4, v1
        v_mul_u32_u24 v4, 5, v4
        v_add_nc_u32 v4, v4, v3
        v_lshl_add_u32 v4, v4, 4, s8
        v_mov_b32 v5, v0
        v_mov_b32 v6, exec_lo
        v_mov_b32 v7, s3
        v_mov_b32 v8, exec_hi
        global_store_b128 v4, v[5:8], s[0:1]
        s_endpgm""")
    entry = machine.load(code)
    rsrc2 = 4 << 1 | 7 << 7
    result = machine.cores.run(machine.memory, entry, 0xF0 << 12, rsrc2, [*user(va), 11, 22], groups, shape)
    assert result["end"] == "complete"
    assert result["counters"]["waves"] == 12 * 2
    got = machine.fetch(va, out)
    for group in range(12):
        for t in range(60):
            x, y, z = t % 5, t // 5 % 3, t // 15
            assert got[group, t].tolist() == [x | y << 10 | z << 20, M32 if t < 32 else (1 << 28) - 1, 22, 0]
    assert (got[:, 60:] == 0).all()


def test_only_enabled_workgroup_ids_take_registers():
    machine = Machine(threads=1)
    out = np.zeros(8, np.uint32)
    va = machine.buffer(out)
    entry = machine.load(assemble("""v_mov_b32 v1, s2
        v_mov_b32 v2, 0
        s_lshl_b32 s3, s2, 2
        v_mov_b32 v2, s3
        global_store_b32 v2, v1, s[0:1]
        s_endpgm"""))
    result = machine.cores.run(machine.memory, entry, 0xF0 << 12, 2 << 1 | 1 << 9, user(va), (1, 1, 8),
        (1, 1, 1))  # z only
    assert result["end"] == "complete"
    assert machine.fetch(va, out).tolist() == list(range(8))


def test_barrier_orders_waves_and_ended_waves_leave_it():
    """Wave 1 ends at once; wave 0 writes, all others read behind the barrier, twice."""
    machine = Machine(threads=1)
    out = np.zeros(128, np.uint32)
    va = machine.buffer(out)
    code = assemble("""v_readfirstlane_b32 s4, v0
        v_lshlrev_b32 v1, 2, v0
        v_mov_b32 v9, 0
        s_cmp_eq_u32 s4, 32
        s_cbranch_scc1 done
        s_cmp_lg_u32 s4, 0
        s_cbranch_scc1 first
        v_mov_b32 v2, 123
        ds_store_b32 v9, v2
        first: s_barrier
        ds_load_b32 v3, v9
        s_barrier
        s_cmp_lg_u32 s4, 96
        s_cbranch_scc1 second
        v_mov_b32 v2, 1000
        ds_store_b32 v9, v2
        second: s_barrier
        ds_load_b32 v4, v9
        v_add_nc_u32 v3, v3, v4
        global_store_b32 v1, v3, s[0:1]
        done: s_endpgm""")
    assert machine.run_code(code, user(va), threads=128, lds_bytes=512)["end"] == "complete"
    got = machine.fetch(va, out).reshape(4, 32)
    assert (got[[0, 2, 3]] == 1123).all() and (got[1] == 0).all()


def test_spinning_wave_lets_others_run():
    """Wave 0 waits for a flag that wave 1 sets: only turns of limited length can end this."""
    machine = Machine(threads=1)
    va = machine.buffer(np.zeros(2, np.uint32))
    code = assemble("""v_readfirstlane_b32 s4, v0
        v_mov_b32 v1, 0
        v_mov_b32 v2, 7
        s_cmp_lg_u32 s4, 0
        s_cbranch_scc1 set
        spin: global_load_b32 v3, v1, s[0:1] glc
        v_cmp_eq_u32 vcc_lo, 0, v3
        s_cbranch_vccnz spin
        global_store_b32 v1, v3, s[0:1] offset:4
        s_endpgm
        set: global_store_b32 v1, v2, s[0:1]
        s_endpgm""")
    result = machine.run_code(code, user(va), threads=64)
    assert result["end"] == "complete"
    assert machine.fetch(va, np.zeros(2, np.uint32)).tolist() == [7, 7]
    assert result["counters"]["instructions"] >= 10000


@pytest.mark.parametrize("body", ["again: s_branch again",
                                  "again: s_barrier\ns_branch again",   # never uses a quantum up
                                  # the loop is decoded again from its middle, then runs into known code
                                  "s_mov_b32 s0, 0\nagain: s_add_i32 s0, s0, 1\ns_cbranch_execnz again\ns_endpgm"])
@pytest.mark.parametrize("threads", [1, 2])
def test_cancel_ends_an_endless_kernel(threads, body):
    machine = Machine(threads=threads)
    timer = threading.Timer(0.2, machine.cores.cancel)
    timer.start()
    start = time.monotonic()
    result = machine.run_code(assemble(body), threads=64, groups=100)
    assert result["end"] == "cancelled"
    assert time.monotonic() - start < 10
    # the cores work again afterwards
    assert machine.run_code(assemble("s_endpgm"))["end"] == "complete"


@pytest.mark.parametrize("cpu", ["gfx1100", "gfx1201"])
def test_code_goes_on_behind_a_halt_that_is_not_asked_for(cpu):
    machine = Machine(cpu, threads=1)
    result = machine.run_code(assemble("s_sethalt 0\ns_nop 0\ns_trap 2\ns_endpgm", cpu))
    assert (result["end"], result["fault"]["kind"], result["fault"]["pc"]) == ("fault", "trap", CODE + 8)


@pytest.mark.parametrize("cpu", ["gfx1100", "gfx1201"])
def test_modifiers_of_an_instruction_without_a_result(cpu):
    """v_nop in VOP3 encoding, clamped, and with an output multiplier."""
    code = np.array([0xD580_8000, 0, 0xD580_0000, 1 << 27, 0xBFB0_0000], np.uint32).tobytes()
    assert [row[3].split()[0] for row in isa.disassemble(code, cpu)] == ["v_nop", "v_nop", "s_endpgm"]
    assert Machine(cpu, threads=1).run_code(code)["end"] == "complete"


# Instructions that look at their sources lane by lane, with a constant or SGPR there: words that no assembler writes.
SCALAR_IN_PLACE_OF_A_VGPR = {
    "v_swap_b32 literal": ("gfx1100", (0x7E00_CAFF, 0x1234)),
    "v_swap_b32 s4": ("gfx1201", (0x7E00_CA04,)),
    "v_permlane64_b32 literal": ("gfx1100", (0x7E00_CEFF, 0x1234)),
    "v_permlane16_b32 s4": ("gfx1100", (0xD65B_0000, 4 | 5 << 9 | 6 << 18)),
    "v_permlanex16_b32 literal": ("gfx1201", (0xD65C_0000, 255 | 5 << 9 | 6 << 18, 0x1234)),
    "v_wmma_f32_16x16x16_f16 s4": ("gfx1100", (0xCC40_0000, 4 | 264 << 9 | 272 << 18)),
    "v_wmma_f32_16x16x16_f16 1.0": ("gfx1201", (0xCC40_0000, 264 | 242 << 9 | 272 << 18)),
    "v_swmmac_f32_16x16x32_f16 index 1": ("gfx1201", (0xCC50_0000, 264 | 272 << 9 | 129 << 18)),
}


@pytest.mark.parametrize("name", SCALAR_IN_PLACE_OF_A_VGPR)
@pytest.mark.parametrize("wave64", [False, True])
def test_lanes_of_a_scalar_are_illegal(name, wave64):
    cpu, words = SCALAR_IN_PLACE_OF_A_VGPR[name]
    code = np.array([*words, 0xBFB0_0000], np.uint32).tobytes()
    assert name.split()[0] in isa.disassemble(code, cpu)[0][3]
    result = Machine(cpu, threads=1).run_code(code, threads=64, initiator=0x0005 if wave64 else 0x8005)
    assert (result["end"], result["fault"]["kind"]) == ("fault", "illegal_instruction")


FAULTS = {  # body: (kind, access, address or None, index of the faulting instruction)
    "illegal word": (".long 0xbfff0000", "illegal_instruction", "execute", None, 1),
    "image instruction": ("image_load v[4:7], v[0:1], s[4:11] dmask:0xf dim:SQ_RSRC_IMG_2D unorm",
    "illegal_instruction", "execute", None, 1),
    "trap": ("s_trap 2", "trap", "execute", 2, 1),
    "halt": ("s_sethalt 5", "trap", "execute", None, 1),
    "unmapped load": ("global_load_b32 v2, v1, s[2:3]", "memory_violation", "read", 0xDEAD_0000_0000, 1),
    "unmapped store": ("global_store_b64 v1, v[2:3], s[2:3] offset:8", "memory_violation", "write", 0xDEAD_0000_0008,
    1),
    "unmapped scalar load": ("s_load_b128 s[8:11], s[2:3], 0x10", "memory_violation", "read", 0xDEAD_0000_0010, 1),
    "unmapped atomic": ("global_atomic_add_u32 v1, v2, s[2:3]", "memory_violation", "atomic", 0xDEAD_0000_0000, 1),
    "misaligned atomic": ("global_atomic_add_u32 v1, v2, s[0:1] offset:2", "misaligned_atomic", "atomic", DATA + 2, 1),
    "misaligned 64-bit atomic": ("global_atomic_add_u64 v1, v[2:3], s[0:1] offset:4", "misaligned_atomic", "atomic",
    DATA + 4, 1),
    "store to code": ("global_store_b32 v1, v2, s[4:5]", "memory_violation", "write", CODE, 1),
    "jump into nowhere": ("s_setpc_b64 s[2:3]", "memory_violation", "execute", 0xDEAD_0000_0000, None),
    "jump into data": ("s_setpc_b64 s[0:1]", "memory_violation", "execute", DATA, None),
    "jump to the last word": ("s_mov_b64 s[6:7], -4\ns_setpc_b64 s[6:7]", "memory_violation", "execute", (1 << 64) - 4, None),
    "past the end": ("global_load_b32 v2, v1, s[0:1] offset:4092", "memory_violation", "read", None, 1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name):
    """The fault names instruction, address, access, workgroup, wave and mask; nothing after it runs."""
    body, kind, access, address, index = FAULTS[name]
    machine = Machine(threads=1)
    va = machine.buffer(np.zeros(64, np.uint32))
    code = assemble(f"v_mov_b32 v1, 0\n{body}\nv_mov_b32 v2, 99\nglobal_store_b32 v1, v2, s[0:1]\ns_endpgm")
    result = machine.run_code(code, [*user(va), *user(0xDEAD_0000_0000), *user(CODE)], groups=3, threads=50)
    assert result["end"] == "fault"
    fault = result["fault"]
    assert (fault["kind"], fault["access"]) == (kind, access)
    if address is not None:
        assert fault["address"] == address
    if index is not None:
        assert fault["pc"] == CODE + 4, "the program counter is that of the faulting instruction"
        marked = [line for line in fault["text"].splitlines() if line.startswith("=>")]
        assert len(marked) == 1
        assert body.split()[0].lower() in marked[0]
    assert (fault["group"], fault["wave"], fault["exec"]) == ((0, 0, 0), 0, M32)
    assert (machine.fetch(va, np.zeros(64, np.uint32)) == 0).all()
    if kind == "memory_violation":
        assert machine.memory.faults >= 1, "the address space was told"
    assert machine.run_code(assemble("s_endpgm"))["end"] == "complete"


def test_fault_in_one_lane_of_a_scattered_access():
    machine = Machine(threads=1)
    va = machine.buffer(np.zeros(64, np.uint32))
    code = assemble("""v_lshlrev_b32 v1, 2, v0
        v_cmp_eq_u32 vcc_lo, 17, v0
        v_mov_b32 v3, 0x70000000
        v_cndmask_b32 v1, v1, v3, vcc_lo
        v_mov_b32 v2, 5
        global_load_b32 v2, v1, s[0:1]
        s_endpgm""")
    fault = machine.run_code(code, user(va))["fault"]
    assert fault["kind"] == "memory_violation" and fault["address"] == va + 0x70000000
    # the same lane disabled: no access, no fault
    ok = code.replace(assemble("v_mov_b32 v2, 5"), assemble("s_and_not1_b32 exec_lo, exec_lo, vcc_lo"))
    assert machine.run_code(ok, user(va))["end"] == "complete"


def test_wave64_faults_show_all_lanes():
    machine = Machine(threads=1)
    code = assemble("v_mov_b32 v1, 0\nv_mov_b32 v2, 5\nglobal_load_b32 v3, v[1:2], off\ns_endpgm")
    result = machine.run_code(code, threads=50, initiator=5)
    assert result["end"] == "fault" and result["fault"]["exec"] == (1 << 50) - 1


def test_vopd_is_illegal_in_wave64():
    machine = Machine(threads=1)
    result = machine.run_code(assemble("v_dual_mov_b32 v2, v0 :: v_dual_mov_b32 v3, v1\ns_endpgm"), threads=64, initiator=5)
    assert result["end"] == "fault" and result["fault"]["kind"] == "illegal_instruction"
    assert "v_dual_mov_b32" in result["fault"]["text"]


def test_threads_give_the_same_result(rng):
    data = rng.random(32 * 999).astype(np.float32)
    code = assemble("""s_lshl_b32 s4, s4, 7
        v_lshl_add_u32 v1, v0, 2, s4
        global_load_b32 v2, v1, s[0:1]
        v_mul_f32 v2, v2, v2
        global_store_b32 v1, v2, s[2:3]
        s_endpgm""")
    outs = []
    for options in ({"threads": 1}, {"threads": 3}, {"threads": 3, "shuffle_seed": 99}, {"threads": 1, "poison": True}):
        machine = Machine(**options)
        source, target = machine.buffer(data), machine.buffer(np.zeros_like(data))
        for _ in range(3):
            result = machine.run_code(code, user(source, target), groups=999)
            assert result["end"] == "complete"
            assert result["counters"]["instructions"] == 999 * 6
        outs.append(machine.fetch(target, data))
    for out in outs:
        np.testing.assert_array_equal(out, data * data)


def test_new_code_at_the_same_address():
    """Decoded code is kept only while the bytes are the same and the instruction cache was not invalidated."""
    machine = Machine(threads=1)
    va = machine.buffer(np.zeros(1, np.uint32))
    text = "v_mov_b32 v1, 0\nv_mov_b32 v2, {}\nglobal_store_b32 v1, v2, s[0:1]\ns_endpgm"
    programs = [assemble(text.format(n)) for n in (1, 2)]
    entry = machine.load(programs[0])
    run = lambda: machine.cores.run(machine.memory, entry, 0xF0 << 12, 2 << 1, user(va), (1, 1, 1),
        (1, 1, 1))  # noqa: E731
    run()
    machine.memory.write(entry, programs[1])
    machine.cores.invalidate_code()
    run()
    assert machine.fetch(va, np.zeros(1, np.uint32))[0] == 2


def test_poison_shows_uninitialised_registers_and_lds():
    machine = Machine(threads=1, poison=True)
    va = machine.buffer(np.zeros(2, np.uint32))
    code = assemble("v_mov_b32 v1, 0\nds_load_b32 v3, v1\nglobal_store_b64 v1, v[2:3], s[0:1]\ns_endpgm")
    machine.run_code(code, user(va), threads=1, lds_bytes=512)
    got = machine.fetch(va, np.zeros(2, np.float32))
    assert np.isnan(got).all()


def test_vopd_halves_read_before_either_writes():
    machine = Machine(threads=1)
    va = machine.buffer(np.zeros((32, 4), np.float32))
    code = assemble("""v_lshlrev_b32 v1, 4, v0
        v_mov_b32 v4, 1.0
        v_mov_b32 v5, 2.0
        v_mov_b32 v6, 4.0
        v_mov_b32 v7, 0.5
        s_mov_b32 exec_lo, 0x0000ffff
        v_dual_mov_b32 v4, v5 :: v_dual_mov_b32 v5, v4
        v_dual_fmac_f32 v6, v7, v4 :: v_dual_fmac_f32 v7, v6, v5
        s_mov_b32 exec_lo, -1
        global_store_b128 v1, v[4:7], s[0:1]
        s_endpgm""")
    assert machine.run_code(code, user(va))["end"] == "complete"
    got = machine.fetch(va, np.zeros((32, 4), np.float32))
    assert (got[:16] == [2.0, 1.0, 4.0 + 0.5 * 2.0, 0.5 + 4.0 * 1.0]).all()
    assert (got[16:] == [1.0, 2.0, 4.0, 0.5]).all()


WAITS = {  # instructions between a load into v3 (or s4) and its use -> is the value there?
    "global, no wait": ("global_load_b32 v3, v1, s[0:1]", "", False),
    "global, wait": ("global_load_b32 v3, v1, s[0:1]", "s_waitcnt vmcnt(0)", True),
    "global, wait for the wrong counter": ("global_load_b32 v3, v1, s[0:1]", "s_waitcnt lgkmcnt(0)", False),
    "global, one younger outstanding": ("global_load_b32 v3, v1, s[0:1]\nglobal_load_b32 v5, v1, s[0:1]",
    "s_waitcnt vmcnt(1)", True),
    "global, not yet": ("global_load_b32 v5, v1, s[0:1]\nglobal_load_b32 v3, v1, s[0:1]", "s_waitcnt vmcnt(1)", False),
    "both halves": ("global_load_d16_b16 v3, v1, s[0:1]\nglobal_load_d16_hi_b16 v3, v1, s[0:1] offset:2",
    "s_waitcnt vmcnt(0)", True),
    "one half": ("global_load_d16_b16 v3, v1, s[0:1]\nglobal_load_d16_hi_b16 v3, v1, s[0:1] offset:2",
    "s_waitcnt vmcnt(1)", False),
    "lds, no wait": ("ds_load_b32 v3, v1", "", False),
    "lds, wait": ("ds_load_b32 v3, v1", "s_waitcnt lgkmcnt(0)", True),
    "atomic, wait": ("global_atomic_or_b32 v3, v1, v1, s[0:1] glc", "s_waitcnt vmcnt(0)", True),
    "atomic, no wait": ("global_atomic_or_b32 v3, v1, v1, s[0:1] glc", "", False),
    "scalar, no wait": ("s_load_b32 s4, s[0:1], 0x0", "", False),
    "scalar, wait": ("s_load_b32 s4, s[0:1], 0x0", "s_waitcnt lgkmcnt(0)", True),
    "scalar, not zero": ("s_load_b32 s4, s[0:1], 0x0\ns_load_b32 s6, s[0:1], 0x0", "s_waitcnt lgkmcnt(1)", False),
}


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "usual"])
@pytest.mark.parametrize("name", WAITS)
def test_strict_waits_find_missing_waits(name, strict):
    loads, wait, there = WAITS[name]
    machine = Machine(threads=1, strict_waits=strict)
    va = machine.buffer(np.array([0x3F801234, 0], np.uint32))
    code = assemble(f"""v_mov_b32 v1, 0
        v_mov_b32 v2, 0x3f801234
        s_mov_b32 s4, 0
        v_mov_b32 v3, 0
        ds_store_b32 v1, v2
        {loads}
        {wait}
        v_mov_b32 v4, v3
        s_mov_b32 s5, s4
        s_waitcnt vmcnt(0) lgkmcnt(0)
        v_{'add_nc_u32' if 's_load' in loads else 'mov_b32'} v4, {'s5, ' if 's_load' in loads else ''}v4
        global_store_b32 v1, v4, s[0:1] offset:4
        s_endpgm""")
    assert machine.run_code(code, user(va), threads=1, lds_bytes=512)["end"] == "complete"
    assert (machine.fetch(va, np.zeros(2, np.uint32))[1] == 0x3F801234) == (there or not strict)
