"""What the boot writes, register by register, without a model of what the registers mean.

The constants are those that drivers on real boards were recorded to write (tinygrad's, on GC 11.0.0 and 12.0.0);
where we differ on purpose the line says so.
"""
from __future__ import annotations

import pytest

from torch_usbgpu.amdgpu import boot, faults, layout
from torch_usbgpu.amdgpu.facts import enum, load
from torch_usbgpu.amdgpu.gfx import WaveState
from torch_usbgpu.amdgpu.interrupts import WaveInterrupt
from torch_usbgpu.errors import BootError

from .echo import found

CHIPS = load("chips")["chips"]

# ---- cold boot

HUBS = [
    ("MMMC_VM_AGP_BOT", 0xFFFFFF), ("MMVM_L2_PROTECTION_FAULT_CNTL2", 0x40000), ("MMMC_VM_MX_L1_TLB_CNTL", 0x1859),
    ("MMVM_L2_CNTL", 0x80801), ("MMVM_L2_CNTL2", 0x3), ("MMVM_L2_CNTL3", 0x80130009), ("MMVM_L2_CNTL4", 0x1),
    ("MMVM_L2_CNTL5", 0x3FE0), ("MMVM_CONTEXT0_PAGE_TABLE_START_ADDR_LO32", 0),
    ("MMVM_CONTEXT0_PAGE_TABLE_START_ADDR_HI32", 2), ("MMVM_L2_CONTEXT1_IDENTITY_APERTURE_LOW_ADDR_LO32", 0xFFFFFFFF),
    ("MMVM_L2_CONTEXT1_IDENTITY_APERTURE_LOW_ADDR_HI32", 0xF)]
INTERRUPT_RINGS = [
    ("IH_RB_CNTL", 0xC0310020), ("IH_RB_CNTL_RING1", 0xC0100220), ("IH_STORM_CLIENT_LIST_CNTL", 0x40000),
    ("IH_INT_FLOOD_CNTL", 0x8), ("IH_MSI_STORM_CTRL", 0x3), ("IH_RB_CNTL", 0xC0330021), ("IH_RB_CNTL_RING1", 0xC0100221)]
MEC_PULSE = [
    ("GRBM_GFX_CNTL", 0x4), ("CP_MEC_RS64_PRGRM_CNTR_START", 0xC00), ("CP_MEC_RS64_PRGRM_CNTR_START_HI", 0x1C000),
    ("GRBM_GFX_CNTL", 0x0), ("CP_MEC_RS64_CNTL", 0x10000), ("CP_MEC_RS64_CNTL", 0x0)]
GRAPHICS_PULSES = [
    ("GRBM_GFX_CNTL", 0x0), ("CP_PFP_PRGRM_CNTR_START", 0xC00), ("CP_PFP_PRGRM_CNTR_START_HI", 0x1C000),
    ("CP_ME_CNTL", 0x40000), ("CP_ME_CNTL", 0x0), ("CP_ME_PRGRM_CNTR_START", 0xC00), ("CP_ME_PRGRM_CNTR_START_HI", 0x1C000),
    ("CP_ME_CNTL", 0x100000), ("CP_ME_CNTL", 0x0)]
SDMA = [("SDMA0_WATCHDOG_CNTL", 0x64), ("SDMA0_UTCL1_CNTL", 0x609)]
QUEUES = [
    ("SCRATCH_REG6", 0x1), ("CP_HQD_ACTIVE", 0x0), ("CP_HQD_VMID", 0x0), ("CP_HQD_PERSISTENT_STATE", 0x5501),
    ("CP_HQD_PIPE_PRIORITY", 0x2), ("CP_HQD_QUEUE_PRIORITY", 0xF), ("CP_HQD_QUANTUM", 0x111),
    ("CP_HQD_PQ_DOORBELL_CONTROL", 0x40000018), ("CP_HQD_PQ_CONTROL", 0x50A), ("CP_HQD_IB_CONTROL", 0x300000),
    ("CP_HQD_HQ_STATUS0", 0x20004000), ("CP_MQD_CONTROL", 0x100), ("CP_HQD_EOP_CONTROL", 0x9),
    ("CP_HQD_AQL_CONTROL", 0x0), ("CP_HQD_PQ_WPTR_HI", 0x0), ("CP_HQD_ACTIVE", 0x1),
    ("SDMA0_QUEUE0_MINOR_PTR_UPDATE", 0x1), ("SDMA0_QUEUE0_DOORBELL_OFFSET", 0x800), ("SDMA0_QUEUE0_DOORBELL", 0x10000000),
    ("SDMA0_QUEUE0_MINOR_PTR_UPDATE", 0x0),
    # Not 0x841825: ours does not poll the write pointer in memory.
    ("SDMA0_QUEUE0_RB_CNTL", 0x841025), ("SDMA0_QUEUE0_IB_CNTL", 0x1)]


def constants(route: tuple[str, str, str], page: int, engine: str, pulses: list, context: int, psp: str) -> list:
    """A cold boot; `route`: the registers of the three doorbell routes."""
    return [
        ("RCC_DEV0_EPF0_RCC_DOORBELL_APER_EN", 0x1), ("MMVM_INVALIDATE_ENG17_REQ", 0xF80001), *INTERRUPT_RINGS,
        (f"{psp}71", 0x10000), (f"{psp}64", 0x20000), *[(f"{psp}67", 0x10 * n) for n in range(1, 16)],
        ("MP1_SMN_C2PMSG_66", 0xE), ("MP1_SMN_C2PMSG_66", 0xF), ("MP1_SMN_C2PMSG_66", 0x6),
        ("GCVM_CONTEXT0_CNTL", context), ("GCVM_INVALIDATE_ENG17_REQ", 0xF80001), *pulses, ("TCP_CNTL", 0x20000000),
        ("RLC_CNTL", 0x1), ("RLC_SRM_CNTL", 0x3), ("RLC_SPM_MC_CNTL", 0xF), (route[0], 0x30000007), (route[1], 0x3000000D),
        ("GRBM_CNTL", 0xFF), ("SH_MEM_BASES", 0x10002), ("SH_MEM_CONFIG", 0xC00C), ("CP_MEC_DOORBELL_RANGE_UPPER", 0xF8),
        ("CP_MEC_RS64_CNTL", 0x4000000), (route[2], 0x3009001D), *SDMA, ("SDMA0_UTCL1_PAGE", page), (engine, 0x0),
        ("SDMA0_CNTL", 0x1), *QUEUES]


# Not 0x1FFFE07 and 0x1FFFC07 in the GC hub: ours stops a wave at its fault instead of sending it to the dummy page.
COLD = {
    # Its doorbell routes lie beyond BAR 5.
    "navi31": constants(("BIF_BX_PF0_RSMU_DATA",) * 3, 0x100E000, "SDMA0_F32_CNTL", MEC_PULSE, 0x1AAAA07, "MP0_SMN_C2PMSG_"),
    "navi48": constants(tuple(f"GDC_S2A0_S2A_DOORBELL_ENTRY_{n}_CTRL" for n in (0, 3, 2)), 0xE000, "SDMA0_MCU_CNTL",
                        GRAPHICS_PULSES + MEC_PULSE, 0x1555407, "MPASP_SMN_C2PMSG_")}
MM_CONTEXT = {"navi31": 0x1FFFE07, "navi48": 0x1FFFC07}

DEQUEUE = [
    ("SDMA0_QUEUE0_DOORBELL", 0x0), ("GRBM_SOFT_RESET", 0x800000), ("GRBM_SOFT_RESET", 0x0), ("GRBM_GFX_CNTL", 0x4),
    ("CP_HQD_DEQUEUE_REQUEST", 0x2), ("SPI_COMPUTE_QUEUE_RESET", 0x1), ("GRBM_GFX_CNTL", 0x104), ("GRBM_GFX_CNTL", 0x0)]
MEC_RESTART = [
    ("CP_MEC_RS64_PRGRM_CNTR_START", 0xC00), ("CP_MEC_RS64_PRGRM_CNTR_START_HI", 0x1C000), ("CP_MEC_RS64_CNTL", 0x4010000),
    ("CP_MEC_RS64_CNTL", 0x4000000), ("CP_HQD_ACTIVE", 0x1), ("SDMA0_QUEUE0_RB_CNTL", 0x841025)]
RECOVERY = {
    "navi31": [*DEQUEUE, ("GRBM_SOFT_RESET", 0x40001), ("GRBM_SOFT_RESET", 0x0), *MEC_RESTART],
    "navi48": [*DEQUEUE, *GRAPHICS_PULSES, *MEC_RESTART]}      # the pipe resets do it


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def in_order(expected: list[tuple[str, int]], writes: list[tuple[str, int]]) -> None:
    """Every expected write happens, in this order; others may lie between."""
    rest = iter(writes)
    for wanted in expected:
        assert wanted in rest, f"{wanted[0]} = {wanted[1]:#x} is not written, or too early"


@pytest.mark.parametrize("chip", COLD)
def test_cold_boot(chip):
    gpu, board = found(chip)
    for step in boot.COLD:
        boot.do(gpu, step)
    assert set(HUBS) <= set(board.writes)            # inside one block the order is by address
    in_order(COLD[chip], board.writes)
    assert board.value("MMVM_CONTEXT0_CNTL") == MM_CONTEXT[chip]
    assert board.value("SCRATCH_REG7") == layout.LAYOUT_VERSION
    gpu.booted = True
    board.writes.clear()
    faults.recover_queues(gpu)
    in_order(RECOVERY[chip], board.writes)
    soft_resets = [value for name, value in board.writes if name == "GRBM_SOFT_RESET" and value]
    assert soft_resets == [value for name, value in RECOVERY[chip] if name == "GRBM_SOFT_RESET" and value]


@pytest.mark.parametrize("chip", CHIPS)
def test_every_chip_has_what_the_boot_touches(chip):
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


# ---- firmware: boot loader components of the real files, then the ring's commands

TOS = {"KDB": 0x80000, "SPL": 0x10000000, "SYS_DRV": 0x10000, "SOC_DRV": 0xB0000, "INTF_DRV": 0xD0000, "DBG_DRV": 0xC0000,
       "RAS_DRV": 0xE0000, "IPKEYMGR_DRV": 0xF0000, "SOS": 0x20000}
LOADER = {
    "navi31": "KDB SPL SYS_DRV SOS", "navi33": "KDB SPL SYS_DRV SOS",
    "navi32": "KDB SYS_DRV SOC_DRV INTF_DRV DBG_DRV RAS_DRV SOS",            # its file has no SPL table: as Linux
    "navi44": "KDB SPL SYS_DRV SOC_DRV INTF_DRV DBG_DRV IPKEYMGR_DRV SOS",
    "navi48": "KDB SPL SYS_DRV SOC_DRV INTF_DRV DBG_DRV RAS_DRV IPKEYMGR_DRV SOS"}
# PSP 13: the key database again in place of the SPL table.
SPL_CONTENT = {"navi31": ["PSP_KDB"], "navi32": [], "navi33": ["PSP_KDB"], "navi44": ["PSP_SPL"], "navi48": ["PSP_SPL"]}
GFX11 = "SDMA_UCODE_TH1 SDMA_UCODE_TH0 RS64_MEC RS64_MEC_P0_STACK IMU_I IMU_D RLC_IRAM RLC_DRAM_BOOT RLC_P RLC_V RLC_G"
GFX12 = ("SMU SDMA_UCODE_TH0 RS64_PFP RS64_PFP_P0_STACK RS64_ME RS64_ME_P0_STACK RS64_MEC RS64_MEC_P0_STACK IMU_I IMU_D "
         "RLC_IRAM RLC_DRAM_BOOT RLC_G")
RING = {   # SETUP_TMR: not on PSP 14, whose region exists since the board's own boot; Linux' place of it on 13.0.10
    "navi31": f"LOAD_TOC SMU SETUP_TMR {GFX11}", "navi32": f"LOAD_TOC SETUP_TMR SMU {GFX11}",
    "navi33": f"LOAD_TOC SMU SETUP_TMR {GFX11}", "navi44": f"LOAD_TOC {GFX12}", "navi48": f"LOAD_TOC {GFX12}"}


@pytest.mark.parametrize("chip", CHIPS)
def test_firmware_goes_in_the_order_of_the_chip(chip):
    gpu, board = found(chip)
    for step in boot.COLD[:boot.COLD.index(boot.load_firmware) + 1]:
        boot.do(gpu, step)
    loader = [value for name, value in board.writes if name.endswith("C2PMSG_35")]
    assert loader == [TOS[name] for name in LOADER[chip].split()]
    components = [part for part in board.staged if part.startswith("PSP_") and part != "PSP_TOC"]
    if "SPL" in LOADER[chip]:
        del components[0]
        assert components[:1] == SPL_CONTENT[chip]
    commands, types = enum("psp_gfx_cmd_id"), enum("psp_gfx_fw_type")
    ring = [(commands[name], 0) if name in commands else (commands["LOAD_IP_FW"], types[name])
            for name in [*RING[chip].split(), "AUTOLOAD_RLC"]]
    assert board.commands == ring


# ---- compute units of this board

@pytest.mark.parametrize(("chip", "inactive", "arrays_off", "expected"), [
    ("navi31", {}, 0, 96), ("navi48", {}, 0, 64), ("navi44", {}, 0, 32),
    ("navi31", {(se, sa): 1 << 16 for se in range(6) for sa in range(2)}, 0, 72),
    ("navi31", {(0, 0): 0b1000 << 16, (5, 1): 0b0110 << 16}, 0, 90),            # of the factory and of the user
    ("navi31", {(2, 1): 0xFFF0 << 16}, 0, 96),                                  # no such processors
    ("navi31", {(1, 1): 1 << 16}, 1 << 3 << 8, 88),                             # array 3 = engine 1, array 1
    ("navi32", {(0, 0): 0b10001 << 16}, 0, 56), ("navi48", {(3, 0): 0b11 << 16}, 1 << 8, 52)])
def test_units_that_are_switched_off(chip, inactive, arrays_off, expected):
    gpu, board = found(chip)
    prefix = "GRBM_" if chip in ("navi44", "navi48") else ""
    seen = []

    def of_array() -> int:
        value, register = board.value("GRBM_GFX_INDEX"), gpu.regs["GRBM_GFX_INDEX"]
        assert register.extract(value, "instance_broadcast_writes") == 1
        assert not register.extract(value, "se_broadcast_writes") and not register.extract(value, "sa_broadcast_writes")
        seen.append((register.extract(value, "se_index"), register.extract(value, "sa_index")))
        return inactive.get(seen[-1], 0)

    board.banked = {"CC_GC_SHADER_ARRAY_CONFIG": lambda: of_array() & 0x3_0000,
                    "GC_USER_SHADER_ARRAY_CONFIG": lambda: of_array() & ~0x3_0000,
                    f"{prefix}CC_GC_SA_UNIT_DISABLE": lambda: arrays_off & 0x100,
                    f"{prefix}GC_USER_SA_UNIT_DISABLE": lambda: arrays_off & ~0x100}
    boot.do(gpu, boot.count_compute_units)
    assert gpu.compute_units == expected and gpu.discovery.geometry.compute_units == CHIPS[chip]["geometry"]["num_cu_full"]
    geometry = CHIPS[chip]["geometry"]
    assert len(set(seen)) == geometry["num_se"] * geometry["num_sa_per_se"] - bin(arrays_off).count("1")
    assert board.value("GRBM_GFX_INDEX") == 0xE000_0000
    boot.do(gpu, boot.mark_running)
    assert board.value("SCRATCH_REG5") == expected


def test_a_board_without_units():
    gpu, board = found("navi33")
    board.banked = {"CC_GC_SHADER_ARRAY_CONFIG": lambda: 0xF << 16}
    with pytest.raises(BootError, match="switched off"):
        boot.do(gpu, boot.count_compute_units)
    assert board.value("GRBM_GFX_INDEX") == 0xE000_0000


# ---- halted waves: registers and bits as in Linux' headers and UMR's register database

STATUS, VALID, FATAL_HALT = 0x102, 1 << 16, 1 << 23
WAVES = {"navi31": dict(pc=0x108, halt=(STATUS, 1 << 13), trap=0x103), "navi48": dict(pc=0x140, halt=(0x104, 1 << 14), trap=0x111)}


@pytest.mark.parametrize("chip", WAVES)
@pytest.mark.parametrize("fatal", [False, True])
@pytest.mark.parametrize("where", [1, None])
def test_a_halted_wave_is_found_on_its_engine(chip, fatal, where):
    """`where`: the shader engine; the interrupt does not name it. None: the wave has gone."""
    gpu, board = found(chip)
    facts, asked = WAVES[chip], []
    registers = {STATUS: VALID | (FATAL_HALT if fatal else 0), facts["pc"]: 0x1000_1040, facts["pc"] + 1: 0xABCD_2000,
                 facts["trap"]: 0x40, 0x27E: 0xFFFF_0000, 0x27F: 0}
    if not fatal:
        register, bit = facts["halt"]
        registers[register] = registers.get(register, 0) | bit

    def data() -> int:
        select, index = board.value("GRBM_GFX_INDEX"), board.value("SQ_IND_INDEX")
        asked.append(select)
        if select != where << 16 | 1 << 8 | (3 << 2 | 2) if where is not None else True:
            return 0 if index >> 16 == STATUS else 0xBEBE_BEEF
        assert index & 0xFFFF == 5
        return registers.get(index >> 16, 0)

    board.banked = {"SQ_IND_DATA": data}
    wave = gpu.gfx.find_wave(WaveInterrupt("error", "ILLEGAL_INST", array=1, wave=5, simd=2, wgp=3))
    if where is None:
        assert wave is None and len(set(asked)) == CHIPS[chip]["geometry"]["num_se"]
    else:
        assert wave == WaveState(where, 1, 3, 2, 5, True, 0x2000_1000_1040, registers[STATUS], 0x40, 0xFFFF_0000)
    assert board.value("GRBM_GFX_INDEX") == 0xE000_0000
