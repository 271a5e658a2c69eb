"""Waves of gfx12: workgroup ids in TTMP registers, split barriers, program counter, hardware registers, counters of strict mode."""
from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from .lanes import M32, WAVE64, run
from .machine import CODE, Machine, assemble

ARCHS = ("gfx1200", "gfx1201")


def user(*addresses) -> list[int]:
    return [part for va in addresses for part in (va & M32, va >> 32)]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("enabled", [7, 1, 3, 4])
def test_workgroup_ids_are_in_ttmp_registers(arch, enabled):
    """TTMP9 = x, TTMP7 = y | z << 16, TTMP8[29:25] = wave; an id that RSRC2 does not enable is 0; user SGPRs stay alone."""
    machine = Machine(arch, threads=1)
    groups = (3, 2, 4)
    out = np.zeros((24, 2, 4), np.uint32)
    va = machine.buffer(out)
    entry = machine.load(assemble("""s_bfe_u32 s8, ttmp8, 0x50019
        v_mov_b32 v1, ttmp9
        v_mov_b32 v2, ttmp7
        v_mov_b32 v3, s8
        v_mov_b32 v4, s4
        v_and_b32 v6, 0x3ff, v0
        v_lshrrev_b32 v6, 5, v6
        s_load_b32 s9, s[2:3], 0x0
        v_mov_b32 v5, 1
        v_mov_b32 v7, 0
        v_cmp_eq_u32 vcc_lo, 0, v6
        s_barrier_signal -1
        s_barrier_wait -1
        v_mbcnt_lo_u32_b32 v8, -1, 0
        v_cmpx_eq_u32 0, v8
        global_atomic_add_u32 v9, v7, v5, s[2:3] th:TH_ATOMIC_RETURN
        v_lshlrev_b32 v9, 4, v9
        global_store_b128 v9, v[1:4], s[0:1]
        s_endpgm""", arch))
    counter = machine.buffer(np.zeros(1, np.uint32))
    result = machine.cores.run(machine.memory, entry, 0xF0 << 12, 4 << 1 | enabled << 7, user(va, counter), groups, (64, 1, 1), arch=arch)
    assert result["end"] == "complete", result["fault"]
    got = machine.fetch(va, out).reshape(48, 4)
    want = sorted([x if enabled & 1 else 0, (y if enabled & 2 else 0) | (z if enabled & 4 else 0) << 16, wave, 0]
                  for z in range(4) for y in range(2) for x in range(3) for wave in range(2))
    assert sorted(got.tolist()) == want


def barrier_program(rounds: int) -> str:
    """Wave n adds its number after a different amount of work, four times over; each round's sum is read behind the barrier."""
    lines = ["v_readfirstlane_b32 s8, v0", "s_lshr_b32 s9, s8, 5", "v_mov_b32 v9, 0", "v_lshlrev_b32 v10, 2, v0", "v_mov_b32 v11, 0"]
    for n in range(rounds):
        lines += [f"v_mov_b32 v1, s9\nv_add_nc_u32 v1, 1, v1\ns_mov_b32 s20, exec_lo\ns_mov_b32 exec_lo, 1\nds_add_u32 v9, v1 offset:{4 * n}",
                  "s_mov_b32 exec_lo, s20\ns_barrier_signal -1\ns_nop 3\ns_barrier_wait -1", f"ds_load_b32 v2, v9 offset:{4 * n}", "v_add_nc_u32 v11, v11, v2"]
    return "\n".join([*lines, "global_store_b32 v10, v11, s[0:1]", "s_endpgm"])


@pytest.mark.parametrize("options", [{}, {"threads": 2}, {"poison": True}])
def test_split_barriers(options):
    machine = Machine("gfx1201", **{"threads": 1, **options})
    out = np.zeros(256, np.uint32)
    va = machine.buffer(out)
    clear = """v_mov_b32 v20, 0
        v_mov_b32 v21, 0
        v_mov_b32 v22, 0
        v_mov_b32 v23, 0
        ds_store_b128 v20, v[20:23]
        s_barrier_signal -1
        s_barrier_wait -1
        """
    result = machine.run_code(assemble(clear + barrier_program(3), "gfx1201"), user(va), threads=256, lds_bytes=512)
    assert result["end"] == "complete", result["fault"]
    assert (machine.fetch(va, out) == 3 * sum(range(1, 9))).all()


def test_waves_that_end_leave_the_barrier():
    """Wave 1 ends at once, wave 2 signals and ends without waiting: the others pass two phases."""
    machine = Machine("gfx1201", threads=1)
    va = machine.buffer(np.zeros(128, np.uint32))
    code = assemble("""v_readfirstlane_b32 s8, v0
        s_cmp_eq_u32 s8, 32
        s_cbranch_scc1 done
        s_barrier_signal -1
        s_cmp_eq_u32 s8, 64
        s_cbranch_scc1 done
        s_barrier_wait -1
        s_barrier_signal -1
        s_barrier_wait -1
        v_lshlrev_b32 v1, 2, v0
        v_mov_b32 v2, 7
        global_store_b32 v1, v2, s[0:1]
        done: s_endpgm""", "gfx1201")
    assert machine.run_code(code, user(va), threads=128)["end"] == "complete"
    assert (machine.fetch(va, np.zeros(128, np.uint32)).reshape(4, 32) == np.array([[7], [0], [0], [7]])).all()


def test_first_signal_of_a_phase_and_the_barriers_state():
    """Exactly one wave of four is the first in each of two phases; s_get_barrier_state counts members and signals."""
    machine = Machine("gfx1201", threads=1)
    out = np.zeros((128, 4), np.uint32)
    va = machine.buffer(out)
    code = assemble("""s_get_barrier_state s12, -1
        s_barrier_signal_isfirst -1
        s_cselect_b32 s10, 1, 0
        s_get_barrier_state s13, -1
        s_barrier_wait -1
        s_barrier_signal_isfirst -1
        s_cselect_b32 s11, 1, 0
        s_barrier_wait -1
        v_mov_b32 v1, s10
        v_mov_b32 v2, s11
        v_mov_b32 v3, s12
        v_mov_b32 v4, s13
        v_lshlrev_b32 v5, 4, v0
        global_store_b128 v5, v[1:4], s[0:1]
        s_endpgm""", "gfx1201")
    assert machine.run_code(code, user(va), threads=128)["end"] == "complete"
    first, second, before, after = machine.fetch(va, out)[::32].T.tolist()
    assert sorted(first) == sorted(second) == [0, 0, 0, 1]
    assert [x >> 16 & 127 for x in before] == [0, 1, 2, 3] and {x & 0xFFFF for x in before} == {4 << 4 | 1}
    assert [x >> 16 & 127 for x in after] == [1, 2, 3, 0], "the last signal completes the phase"


def test_a_workgroup_of_one_wave_has_no_barrier():
    got = run("gfx1201", "s_cmp_eq_u32 0, 0\ns_barrier_signal_isfirst -1\ns_cselect_b32 s20, 1, 0\ns_barrier_wait -1\ns_barrier_signal -1\ns_barrier_wait -1", sout=[20])
    assert got["s20"] == 0


def test_named_barrier():
    """Two of four waves meet at barrier 3: members from M0[22:16], number from M0[4:0]."""
    machine = Machine("gfx1201", threads=1)
    out = np.zeros(128, np.uint32)
    va = machine.buffer(out)
    code = assemble("""v_readfirstlane_b32 s8, v0
        v_mov_b32 v9, 0
        s_mov_b32 m0, 0x20003
        s_cmp_lg_u32 s8, 0
        s_cbranch_scc1 other
        s_barrier_init m0
        other: s_barrier_signal -1
        s_barrier_wait -1
        s_cmp_ge_u32 s8, 64
        s_cbranch_scc1 done
        s_mov_b32 m0, 3
        s_barrier_join m0
        v_mov_b32 v1, 5
        s_cmp_lg_u32 s8, 32
        s_cbranch_scc1 skip
        ds_store_b32 v9, v1
        skip: s_barrier_signal m0
        s_barrier_wait 1
        ds_load_b32 v2, v9
        v_lshlrev_b32 v3, 2, v0
        global_store_b32 v3, v2, s[0:1]
        done: s_endpgm""", "gfx1201")
    assert machine.run_code(code, user(va), threads=128, lds_bytes=512)["end"] == "complete"
    assert machine.fetch(va, out).tolist() == [5] * 64 + [0] * 64


def test_a_wait_without_signal_hangs_until_cancelled():
    machine = Machine("gfx1201", threads=1)
    code = assemble("s_barrier_wait -1\ns_endpgm", "gfx1201")
    timer = threading.Timer(0.3, machine.cores.cancel)
    timer.start()
    start = time.monotonic()
    assert machine.run_code(code, threads=64)["end"] == "cancelled"
    assert 0.2 < time.monotonic() - start < 10
    timer.join()


def test_getpc_is_48_bits_and_calls_return():
    got = run("gfx1201", """s_getpc_b64 s[20:21]
        s_sext_i32_i16 s21, s21
        s_add_nc_u64 s[22:23], s[20:21], 16
        s_swappc_b64 s[24:25], s[22:23]
        s_branch over
        s_mov_b32 s26, 77
        s_setpc_b64 s[24:25]
        over:""", sout=(20, 21, 26))
    assert CODE <= got["s20"] | got["s21"] << 32 < CODE + 0x10000


def test_hardware_registers():
    """MODE without DX10_CLAMP and IEEE, which this generation does not have; cycles in two halves; place of the wave."""
    code = """s_getreg_b32 s20, hwreg(HW_REG_WAVE_MODE)
        s_setreg_imm32_b32 hwreg(HW_REG_WAVE_MODE, 0, 4), 3
        s_getreg_b32 s21, hwreg(HW_REG_WAVE_MODE, 0, 8)
        s_setreg_imm32_b32 hwreg(HW_REG_WAVE_MODE, 0, 4), 0
        s_getreg_b32 s22, hwreg(HW_REG_SHADER_CYCLES_HI)
        s_getreg_b32 s23, hwreg(HW_REG_SHADER_CYCLES_LO)
        s_getreg_b32 s24, hwreg(HW_REG_WAVE_SCRATCH_BASE_LO)
        s_getreg_b32 s25, hwreg(HW_REG_WAVE_SCRATCH_BASE_HI)
        s_getreg_b32 s26, hwreg(HW_REG_WAVE_HW_ID1)
        s_sendmsg_rtn_b64 s[28:29], sendmsg(MSG_RTN_GET_REALTIME)
        s_getreg_b32 s30, hwreg(HW_REG_SHADER_CYCLES_LO)
        s_cmp_eq_u32 0, 0
        s_getreg_b32 s31, hwreg(HW_REG_WAVE_STATE_PRIV)"""
    got = run("gfx1201", code, sout=range(20, 32), scratch=16)
    assert got["s20"] == 0xF0 and got["s21"] == 0xF3
    first, message = got["s23"] | got["s22"] << 32, got["s28"] | got["s29"] << 32
    assert first <= message and 0 <= (got["s30"] - got["s23"]) % 2**32 < 10**9
    assert got["s24"] | got["s25"] << 32 == 0x4_0000_0000
    assert got["s26"] & 31 == 0
    assert got["s31"] >> 9 & 1 == 1, "SCC"


def test_hardware_registers_of_gfx11():
    code = """s_getreg_b32 s20, hwreg(HW_REG_LDS_ALLOC)
        s_cmp_eq_u32 0, 0
        s_getreg_b32 s21, hwreg(HW_REG_STATUS)
        s_setreg_imm32_b32 hwreg(HW_REG_STATUS), 0
        s_getreg_b32 s22, hwreg(HW_REG_MODE)"""
    got = run("gfx1100", code, sout=(20, 21, 22), lds_bytes=2048)
    assert got["s20"] >> 12 & 0x1FF == 4
    assert got["s21"] & 1 == 1 and got["s21"] >> 9 & 1 == 0 and got["s21"] >> 16 & 1 == 1
    assert got["s22"] == 0xF0


@pytest.mark.parametrize("counter,load", [("loadcnt", "global_load_b32 v5, v240, s[2:3]"), ("dscnt", "ds_load_b32 v5, v6"),
                                          ("kmcnt", "s_load_b32 s20, s[0:1], 0x0"), ("loadcnt_dscnt", "ds_load_b32 v5, v6")])
@pytest.mark.parametrize("waits", [True, False])
def test_strict_mode_needs_the_matching_wait(counter, load, waits):
    """A wait for another counter does not deliver."""
    other = {"loadcnt": "dscnt", "dscnt": "loadcnt", "kmcnt": "dscnt", "loadcnt_dscnt": "kmcnt"}[counter]
    machine = Machine("gfx1201", threads=1, strict_waits=True)
    source = machine.buffer(np.full(64, 0x1234, np.uint32))
    target = machine.buffer(np.zeros(32, np.uint32))
    text = f"""v_lshlrev_b32 v240, 2, v0
        v_mov_b32 v6, 0
        v_mov_b32 v7, 0x1234
        ds_store_b32 v6, v7
        s_wait_dscnt 0x0
        {load.replace("s[2:3]", "s[0:1]")}
        s_wait_{counter if waits else other} 0x0
        {"v_mov_b32 v5, s20" if counter == "kmcnt" else ""}
        global_store_b32 v240, v5, s[2:3]
        s_endpgm"""
    assert machine.run_code(assemble(text, "gfx1201"), user(source, target), lds_bytes=512)["end"] == "complete"
    got = machine.fetch(target, np.zeros(32, np.uint32))
    assert (got == (0x1234 if waits else 0xFFC0DEAD)).all()


def test_setkill_and_messages_that_halt():
    machine = Machine("gfx1201", threads=1)
    assert machine.run_code(assemble("s_setkill 1\ns_trap 2\ns_endpgm", "gfx1201"))["end"] == "complete"
    for text in ("s_sendmsghalt sendmsg(MSG_INTERRUPT)", "s_sethalt 1", "s_trap 2"):
        assert machine.run_code(assemble(text + "\ns_endpgm", "gfx1201"))["fault"]["kind"] == "trap"
    for text in ("s_sendmsg sendmsg(MSG_INTERRUPT)", "s_sleep_var s4", "s_wakeup", "s_alloc_vgpr s4", "s_setkill 0", "s_trap 0"):
        assert machine.run_code(assemble(text + "\ns_endpgm", "gfx1201"))["end"] == "complete", text


def test_subvector_loop_runs_once_for_each_half_with_lanes():
    """wave64 on gfx11: the body counts its passes, and adds EXEC's lanes to a VGPR."""
    machine = Machine("gfx1100", threads=1)
    for mask, passes in (((1 << 64) - 1, 2), (0xFF << 32, 1), (0xFF, 1), (0, 0)):
        out = np.zeros((2, 64), np.uint32)
        va = machine.buffer(out)
        text = f"""v_mov_b32 v1, 0
            s_mov_b32 s20, 0
            s_mov_b32 exec_lo, {mask & M32:#x}
            s_mov_b32 exec_hi, {mask >> 32:#x}
            s_subvector_loop_begin s21, end
            body: s_add_u32 s20, s20, 1
            v_add_nc_u32 v1, 1, v1
            s_subvector_loop_end s21, body
            end: s_mov_b64 exec, -1
            v_mov_b32 v2, s20
            v_lshlrev_b32 v3, 2, v0
            global_store_b32 v3, v1, s[0:1]
            global_store_b32 v3, v2, s[0:1] offset:256
            s_endpgm"""
        result = machine.run_code(assemble(text, "gfx1100", wave64=True), user(va), threads=64, initiator=WAVE64)
        assert result["end"] == "complete", result["fault"]
        got = machine.fetch(va, out)
        assert got[0].tolist() == [mask >> lane & 1 for lane in range(64)] and got[1, 0] == passes


@pytest.mark.parametrize("arch", ["gfx1100", "gfx1201"])
def test_messages_interrupt_the_host(arch):
    """s_sendmsg MSG_INTERRUPT carries M0[23:0]; giving VGPRs back is no interrupt."""
    machine = Machine(arch, threads=1)
    code = assemble("s_mov_b32 m0, 0xab123456\ns_sendmsg sendmsg(MSG_INTERRUPT)\ns_sendmsg sendmsg(MSG_DEALLOC_VGPRS)\ns_endpgm", arch)
    assert machine.run_code(code, threads=64)["interrupts"] == [0x123456] * 2
