"""What the boot writes, register by register, without a model of what the registers mean.

The constants are those that drivers on real boards were recorded to write (tinygrad's on GC 11.0.0); where we
differ on purpose the line says so.
"""
from __future__ import annotations

import pytest

from torch_usbgpu.amdgpu import boot, faults
from torch_usbgpu.amdgpu.facts import load

from .echo import found

CHIPS = list(load("chips")["chips"])
COLD = [
    ("RCC_DEV0_EPF0_RCC_DOORBELL_APER_EN", 0x1), ("MMMC_VM_AGP_BOT", 0xFFFFFF), ("MMVM_L2_PROTECTION_FAULT_CNTL2", 0x40000),
    ("MMMC_VM_MX_L1_TLB_CNTL", 0x1859), ("MMVM_L2_CNTL", 0x80801), ("MMVM_L2_CNTL2", 0x3), ("MMVM_L2_CNTL3", 0x80130009),
    ("MMVM_L2_CNTL4", 0x1), ("MMVM_L2_CNTL5", 0x3FE0), ("MMVM_CONTEXT0_CNTL", 0x1FFFE07),
    ("MMVM_CONTEXT0_PAGE_TABLE_START_ADDR_LO32", 0), ("MMVM_CONTEXT0_PAGE_TABLE_START_ADDR_HI32", 2),
    ("MMVM_L2_CONTEXT1_IDENTITY_APERTURE_LOW_ADDR_LO32", 0xFFFFFFFF), ("MMVM_L2_CONTEXT1_IDENTITY_APERTURE_LOW_ADDR_HI32", 0xF),
    ("MMVM_INVALIDATE_ENG17_REQ", 0xF80001), ("IH_RB_CNTL", 0xC0310020), ("IH_RB_CNTL_RING1", 0xC0100220),
    ("IH_STORM_CLIENT_LIST_CNTL", 0x40000), ("IH_INT_FLOOD_CNTL", 0x8), ("IH_MSI_STORM_CTRL", 0x3),
    ("IH_RB_CNTL", 0xC0330021), ("IH_RB_CNTL_RING1", 0xC0100221),
    ("MP0_SMN_C2PMSG_35", 0x80000), ("MP0_SMN_C2PMSG_35", 0x10000000), ("MP0_SMN_C2PMSG_35", 0x10000),
    ("MP0_SMN_C2PMSG_35", 0x20000), ("MP0_SMN_C2PMSG_71", 0x10000), ("MP0_SMN_C2PMSG_64", 0x20000),
    *[("MP0_SMN_C2PMSG_67", 0x10 * n) for n in range(1, 16)],
    ("MP1_SMN_C2PMSG_66", 0xE), ("MP1_SMN_C2PMSG_66", 0xF), ("MP1_SMN_C2PMSG_66", 0x6),
    # Not 0x1FFFE07: ours stops a wave at its fault instead of sending it to the dummy page.
    ("GCVM_CONTEXT0_CNTL", 0x1AAAA07),
    ("GCVM_INVALIDATE_ENG17_REQ", 0xF80001), ("GRBM_GFX_CNTL", 0x4), ("CP_MEC_RS64_PRGRM_CNTR_START", 0xC00),
    ("CP_MEC_RS64_PRGRM_CNTR_START_HI", 0x1C000), ("GRBM_GFX_CNTL", 0x0), ("CP_MEC_RS64_CNTL", 0x10000),
    ("CP_MEC_RS64_CNTL", 0x0), ("TCP_CNTL", 0x20000000), ("RLC_CNTL", 0x1), ("RLC_SRM_CNTL", 0x3), ("RLC_SPM_MC_CNTL", 0xF),
    ("BIF_BX_PF0_RSMU_DATA", 0x30000007), ("BIF_BX_PF0_RSMU_DATA", 0x3000000D), ("GRBM_CNTL", 0xFF),
    ("SH_MEM_BASES", 0x10002), ("SH_MEM_CONFIG", 0xC00C), ("CP_MEC_DOORBELL_RANGE_UPPER", 0xF8),
    ("CP_MEC_RS64_CNTL", 0x4000000), ("BIF_BX_PF0_RSMU_DATA", 0x3009001D), ("SDMA0_WATCHDOG_CNTL", 0x64),
    ("SDMA0_UTCL1_CNTL", 0x609), ("SDMA0_UTCL1_PAGE", 0x100E000), ("SDMA0_F32_CNTL", 0x0), ("SDMA0_CNTL", 0x1),
    ("SCRATCH_REG6", 0x1), ("CP_HQD_ACTIVE", 0x0), ("CP_HQD_PERSISTENT_STATE", 0x5501), ("CP_HQD_PIPE_PRIORITY", 0x2),
    ("CP_HQD_QUEUE_PRIORITY", 0xF), ("CP_HQD_QUANTUM", 0x111), ("CP_HQD_PQ_DOORBELL_CONTROL", 0x40000018),
    ("CP_HQD_PQ_CONTROL", 0x50A), ("CP_HQD_IB_CONTROL", 0x300000), ("CP_MQD_CONTROL", 0x100), ("CP_HQD_EOP_CONTROL", 0x9),
    ("CP_HQD_PQ_WPTR_HI", 0x0), ("CP_HQD_ACTIVE", 0x1), ("SDMA0_QUEUE0_MINOR_PTR_UPDATE", 0x1),
    ("SDMA0_QUEUE0_DOORBELL_OFFSET", 0x800), ("SDMA0_QUEUE0_DOORBELL", 0x10000000), ("SDMA0_QUEUE0_MINOR_PTR_UPDATE", 0x0),
    # Not 0x841825: ours does not poll the write pointer in memory.
    ("SDMA0_QUEUE0_RB_CNTL", 0x841025), ("SDMA0_QUEUE0_IB_CNTL", 0x1),
]
RECOVERY = [
    ("SDMA0_QUEUE0_DOORBELL", 0x0), ("GRBM_SOFT_RESET", 0x800000), ("GRBM_SOFT_RESET", 0x0), ("GRBM_GFX_CNTL", 0x4),
    ("CP_HQD_DEQUEUE_REQUEST", 0x2), ("SPI_COMPUTE_QUEUE_RESET", 0x1), ("GRBM_GFX_CNTL", 0x104), ("GRBM_GFX_CNTL", 0x0),
    ("GRBM_SOFT_RESET", 0x40001), ("GRBM_SOFT_RESET", 0x0), ("CP_MEC_RS64_PRGRM_CNTR_START", 0xC00),
    ("CP_MEC_RS64_PRGRM_CNTR_START_HI", 0x1C000), ("CP_MEC_RS64_CNTL", 0x4010000), ("CP_MEC_RS64_CNTL", 0x4000000),
    ("CP_HQD_ACTIVE", 0x1), ("SDMA0_QUEUE0_RB_CNTL", 0x841025)]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def in_order(expected: list[tuple[str, int]], writes: list[tuple[str, int]]) -> None:
    """Every expected write happens, in this order; others may lie between."""
    rest = iter(writes)
    for wanted in expected:
        assert wanted in rest, f"{wanted[0]} = {wanted[1]:#x} is not written, or too early"


# Inside one block the order is by address; only these orders are required.
HUB_SET = [w for w in COLD if w[0].startswith(("MMMC", "MMVM_L2", "MMVM_CONTEXT0_PAGE"))]


def test_cold_boot_of_navi31():
    gpu, board = found("navi31")
    for step in boot.COLD:
        boot.do(gpu, step)
    assert set(HUB_SET) <= set(board.writes)
    in_order([write for write in COLD if write not in HUB_SET], board.writes)
    last = {name: value for name, value in board.writes}
    assert last["MMVM_CONTEXT0_CNTL"] == 0x1FFFE07 and last["SCRATCH_REG7"] == 0x5542_0001
    gpu.booted = True
    board.writes.clear()
    faults.recover_queues(gpu)
    in_order(RECOVERY, board.writes)


@pytest.mark.parametrize("chip", CHIPS)
def test_every_chip_has_what_the_boot_touches(chip):
    """The other chips are not driven yet; their data must not break what is shared."""
    gpu, board = found(chip)
    for step in boot.COLD:
        boot.do(gpu, step)
    gpu.booted = True
    faults.recover_queues(gpu)
    for step in boot.WARM:
        boot.do(gpu, step)
    assert gpu.describe_hang()
    gpu.check_faults()
    gpu.shutdown()
    assert gpu.regs.read("SCRATCH_REG6") == boot.CLEAN
