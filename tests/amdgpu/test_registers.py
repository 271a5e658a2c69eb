"""Register access: encoding by field, streams for neighbours, the indirect pair past the end of the BAR."""
from __future__ import annotations

import struct
import threading

import pytest

from torch_usbgpu.amdgpu.facts import load
from torch_usbgpu.amdgpu.registers import RSMU_DATA, RSMU_INDEX, Registers
from torch_usbgpu.errors import BootError

BAR = 0x1000_0000


class Recorder:
    """Memory that remembers how it was accessed."""

    def __init__(self):
        self.lock, self.calls, self.content = threading.RLock(), [], {}

    def read32(self, address):
        self.calls.append(("R", (address - BAR) // 4))
        return self.content.get((address - BAR) // 4, 0)

    def write32(self, address, value):
        self.calls.append(("W", (address - BAR) // 4, value))
        self.content[(address - BAR) // 4] = value

    def memory_write(self, address, data):
        self.calls.append(("S", (address - BAR) // 4, struct.unpack(f"<{len(data) // 4}I", data)))

    def memory_read(self, address, nbytes):
        self.calls.append(("SR", (address - BAR) // 4, nbytes // 4))
        return b"".join(struct.pack("<I", self.content.get((address - BAR) // 4 + i, 0)) for i in range(nbytes // 4))


@pytest.fixture
def board():
    recorder = Recorder()
    regs = Registers(recorder, BAR, 512 << 10)
    chip, bases = load("chips")["chips"]["navi31"], load("chips")["ip_bases"]["segments"]
    for ip, file in chip["register_files"].items():
        regs.add_ip(file, bases[ip])
    return regs, recorder


# Values that drivers on real boards write, and the fields they consist of.
@pytest.mark.parametrize(("register", "fields", "value"), [
    ("GCVM_L2_CNTL", dict(enable_l2_cache=1, enable_default_page_out_to_system_memory=1, context1_identity_access_mode=1),
     0x80801),
    ("GCMC_VM_MX_L1_TLB_CNTL", dict(enable_l1_tlb=1, system_access_mode=3, enable_advanced_driver_model=1, mtype=3), 0x1859),
    ("GCVM_INVALIDATE_ENG17_REQ", dict(per_vmid_invalidate_req=1, invalidate_l2_ptes=1, invalidate_l2_pde0=1,
                                       invalidate_l2_pde1=1, invalidate_l2_pde2=1, invalidate_l1_ptes=1), 0x00F8_0001),
    ("IH_RB_CNTL", dict(mc_space=4, wptr_overflow_clear=1, rb_size=16, mc_snoop=1, wptr_overflow_enable=1, rptr_rearm=1),
     0xC031_0020),
    ("IH_RB_CNTL_RING1", dict(mc_space=4, wptr_overflow_clear=1, rb_size=16, mc_snoop=1, rb_full_drain_enable=1), 0xC010_0220),
    ("SH_MEM_CONFIG", dict(alignment_mode=3, initial_inst_prefetch=3), 0xC00C),
    ("CP_HQD_PQ_DOORBELL_CONTROL", dict(doorbell_en=1, doorbell_offset=6), 0x4000_0018),
    ("SDMA0_QUEUE0_RB_CNTL", dict(f32_wptr_poll_enable=1, rptr_writeback_enable=1, rptr_writeback_timer=4, rb_enable=1,
                                  rb_priv=1, rb_size=18), 0x0084_1825),
    ("S2A_DOORBELL_ENTRY_2_CTRL", dict(s2a_doorbell_port2_enable=1, s2a_doorbell_port2_awid=0xE,
                                       s2a_doorbell_port2_range_offset=0x200, s2a_doorbell_port2_range_size=4,
                                       s2a_doorbell_port2_awaddr_31_28_value=3), 0x3009_001D),
    ("GRBM_SOFT_RESET", dict(soft_reset_cp=1, soft_reset_cpc=1), 0x40001),
])
def test_fields_make_the_known_constants(board, register, fields, value):
    assert board[0][register].encode(**fields) == value
    assert all(board[0][register].extract(value, name) == content for name, content in fields.items())


@pytest.mark.parametrize(("register", "address"), [
    ("RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE", 0xDE3), ("MP0_SMN_C2PMSG_33", 0x16061), ("BIF_BX_PF0_RSMU_INDEX", 0x14),
    ("SCRATCH_REG7", 0xC047), ("CP_MQD_BASE_ADDR", 0x3209), ("CP_HQD_PQ_WPTR_HI", 0x3240), ("CP_STAT", 0x21A0),
    ("GCVM_L2_PROTECTION_FAULT_STATUS", 0x2828), ("MP1_SMN_C2PMSG_66", 0x16282), ("SQ_IND_INDEX", 0x2378),
    ("RCC_DEV0_EPF2_STRAP2", 0x404D102), ("BIF_BX_PF0_GPU_HDP_FLUSH_REQ", 0xE26)])
def test_addresses(board, register, address):
    assert board[0].address(register) == address


def test_unknown_names_and_too_large_values(board):
    regs, _ = board
    with pytest.raises(KeyError, match="no register NO_SUCH"):
        regs.read("NO_SUCH")
    with pytest.raises(ValueError, match="mtype has 3 bits"):
        regs.write("GCMC_VM_MX_L1_TLB_CNTL", mtype=8)
    with pytest.raises(KeyError):
        regs.write("CP_HQD_ACTIVE", nothing=1)
    with pytest.raises(TypeError):
        regs.write("CP_HQD_ACTIVE", 1, active=1)


def test_update_keeps_the_other_fields(board):
    regs, recorder = board
    recorder.content[regs.address("GRBM_CNTL")] = 0x8000_0018
    assert regs.update("GRBM_CNTL", read_timeout=0xFF) == 0x8000_00FF
    assert [call[0] for call in recorder.calls] == ["R", "W"]


def test_past_the_end_of_the_bar(board):
    regs, recorder = board
    regs.write("S2A_DOORBELL_ENTRY_0_CTRL", 0x3000_0007)
    address = regs.address("S2A_DOORBELL_ENTRY_0_CTRL")
    assert recorder.calls == [("W", RSMU_INDEX, 4 * address), ("R", RSMU_INDEX), ("W", RSMU_DATA, 0x3000_0007)]
    recorder.calls.clear()
    recorder.content[RSMU_DATA] = 5
    assert regs.read("RCC_DEV0_EPF2_STRAP2") == 5
    assert recorder.calls == [("W", RSMU_INDEX, 4 * 0x404D102), ("R", RSMU_INDEX), ("R", RSMU_DATA)]


def test_neighbours_share_a_stream(board):
    regs, recorder = board
    regs.write_set({"IH_RB_RPTR": 3, "IH_RB_BASE": 1, "IH_RB_CNTL": 0, "IH_RB_BASE_HI": 2, "SCRATCH_REG7": 9})
    first = regs.address("IH_RB_CNTL")
    assert recorder.calls == [("S", first, (0, 1, 2, 3)), ("W", 0xC047, 9)]


def test_order_is_kept_where_it_matters(board):
    regs, recorder = board
    regs.write_many([("SCRATCH_REG7", 1), ("SCRATCH_REG6", 2), ("SCRATCH_REG7", 3)])
    assert recorder.calls == [("W", 0xC047, 1), ("S", 0xC046, (2, 3))]


@pytest.mark.parametrize(("low", "high", "order"), [
    ("SDMA0_QUEUE0_RB_RPTR_ADDR_LO", None, "high first"), ("GCVM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32", None, "low first"),
    ("IH_RB_WPTR_ADDR_LO", None, "high first")])
def test_pairs(board, low, high, order):
    regs, recorder = board
    regs.write_pair(low, 0x1234_5678_9ABC_DEF0, high)
    words = (0x9ABC_DEF0, 0x1234_5678)
    (call,) = recorder.calls
    assert call[0] == "S" and call[2] == (words if order == "low first" else words[::-1])


def test_waiting_ends_with_the_last_value(board):
    regs, recorder = board
    recorder.content[regs.address("CP_HQD_ACTIVE")] = 3
    with pytest.raises(BootError, match="in vain for the queue") as caught:
        regs.wait("CP_HQD_ACTIVE", lambda value: value == 0, "the queue", timeout_s=0.0)
    assert caught.value.state["CP_HQD_ACTIVE"] == "0x00000003 (active=0x1, busy_gate=0x1)"
