"""A minimal bring-up of the emulated board, written from the bring-up facts and not from the driver.

Every step is a method with its name in STEPS, so that a test can leave one out.
"""
from __future__ import annotations

import struct
import time

import pytest

from torch_usbgpu import _emulator, emulated_firmware

FB = 0x80_0000_0000
VA = 0x2000_0000_0000
VRAM_BYTES = 256 << 20
SRAM_BUS, SRAM_BYTES = 0x200000, 512 << 10
SRAM_VA = VA + 0x1000_0000
VRAM_VA = VA + 0x4000_0000
READ, WRITE, EXECUTE, SYSTEM = 1 << 5, 1 << 6, 1 << 4, 1 << 1
UC = 1 << 100  # stands for the memory type's bits, which are elsewhere in each generation
RWX = READ | WRITE | EXECUTE

ROOT, TABLES = 0x100000, 0x101000  # page tables
PSP_RING, PSP_COMMAND, PSP_FENCE = 0x200000, 0x210000, 0x211000
IH_RING, IH_WRITEBACK, IH_RING1 = 0x240000, 0x280000, 0x2C0000
SMU_TABLE, DUMMY_PAGE, SCRATCH_PAGE = 0x300000, 0x301000, 0x302000
RING, POINTERS, EOP, MQD = 0x400000, 0x403000, 0x404000, 0x405000
SDMA_RING, SDMA_POINTERS = 0x500000, 0x520000
DATA = 0x600000  # free for tests
TMR = 64 << 20

CHIPS = ("navi31", "navi32", "navi33", "navi44", "navi48")
ONE_OF_EACH = ("navi31", "navi48")  # generations, where chips within one do not differ
GFX12 = ("navi44", "navi48")
every_chip = pytest.mark.parametrize("chip", CHIPS)
each_generation = pytest.mark.parametrize("chip", ONE_OF_EACH)
AFTER_SMU_11 = ("SDMA_UCODE_TH1", "SDMA_UCODE_TH0", "RS64_MEC", "RS64_MEC_P0_STACK", "IMU_I", "IMU_D", "RLC_IRAM",
                "RLC_DRAM_BOOT", "RLC_P", "RLC_V", "RLC_G")
AFTER_SMU_12 = ("SDMA_UCODE_TH0", "RS64_PFP", "RS64_PFP_P0_STACK", "RS64_ME", "RS64_ME_P0_STACK", "RS64_MEC", "RS64_MEC_P0_STACK",
                "IMU_I", "IMU_D", "RLC_IRAM", "RLC_DRAM_BOOT", "RLC_G")
# (command, image) of the boot loader
BOOT_OLD = ((0x80000, "KDB"), (0x10000000, "KDB"), (0x10000, "SYS_DRV"), (0x20000, "SOS"))
DRIVERS = ((0x10000, "SYS_DRV"), (0xB0000, "SOC_DRV"), (0xD0000, "INTF_DRV"), (0xC0000, "DBG_DRV"))
BOOT = {"navi31": BOOT_OLD, "navi33": BOOT_OLD,
        "navi32": ((0x80000, "KDB"), *DRIVERS, (0xE0000, "RAS_DRV"), (0x20000, "SOS")),
        "navi44": ((0x80000, "KDB"), (0x10000000, "SPL"), *DRIVERS, (0x20000, "SOS")),
        "navi48": ((0x80000, "KDB"), (0x10000000, "SPL"), *DRIVERS, (0xE0000, "RAS_DRV"), (0xF0000, "IPKEYMGR_DRV"), (0x20000, "SOS"))}
STEPS = ("bus_master", "doorbell_aperture", "mm_hub", "ih", "psp_bootloader", "psp_ring", "load_toc", "setup_tmr", "load_firmware",
         "autoload", "smu", "gc_hub", "gfx_start_addresses", "mec_start_address", "mec_reset_pulse", "doorbell_routing", "mec_doorbell_range", "sh_mem",
         "mec_enable", "sdma_engine", "sdma_routing", "map_compute_queue", "mec_active", "sdma_queue", "sdma_rb_enable")
TYPES = emulated_firmware._facts("enums.json")["psp_gfx_fw_type"]


image = emulated_firmware.psp_image


def wait(condition, seconds: float = 2.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.0002)
    return True


class Board:
    def __init__(self, deterministic: bool = False, threads: int = 1, patience: float = 0.5, chip: str = "navi31", **options):
        self.patience = patience  # seconds for an answer of the PSP
        self.chip, self.gfx12 = chip, chip in GFX12
        self.mp0 = "MPASP_SMN_C2PMSG_" if self.gfx12 else "MP0_SMN_C2PMSG_"
        self.s2a = "GDC_S2A0_S2A_DOORBELL_ENTRY_" if self.gfx12 else "S2A_DOORBELL_ENTRY_"
        self.fault_status = "VM_L2_PROTECTION_FAULT_STATUS" + ("_LO32" if self.gfx12 else "")
        self.gpu = _emulator.gpu.Gpu(chip=chip, vram_bytes=VRAM_BYTES, deterministic=deterministic, threads=threads, **options)
        self.gpu.add_bus_window(SRAM_BUS, SRAM_BYTES)
        self.gpu.add_bus_window(0x820000, 4096)
        self.gpu.add_bus_window(0x822000, 4096)
        self.tables: dict[tuple[int, int], int] = {}
        self.root, self.next_table = ROOT, TABLES
        self.wptr = 0
        self.sdma_wptr = 0
        self.responses: dict[str, int] = {}
        self.read, self.write, self.update, self.field = self.gpu.read, self.gpu.write, self.gpu.update, self.gpu.field

    # -- memory
    def poke(self, paddr: int, *dwords: int) -> None:
        self.gpu.vram_write(paddr, struct.pack(f"<{len(dwords)}I", *dwords))

    def peek(self, paddr: int) -> int:
        return struct.unpack("<I", self.gpu.vram_read(paddr, 4))[0]

    def peek64(self, paddr: int) -> int:
        return struct.unpack("<Q", self.gpu.vram_read(paddr, 8))[0]

    def table(self, level: int, va: int) -> int:
        """The table of `level` (0 = root) that covers va; made on first use."""
        if level == 0:
            return self.root
        key = (level, (va - VA) >> (12 + 9 * (4 - level)))
        if key not in self.tables:
            self.tables[key] = self.next_table
            self.next_table += 0x1000
            parent = self.table(level - 1, va)
            self.set_entry(parent, level - 1, va, self.tables[key] | 1)
        return self.tables[key]

    def set_entry(self, table: int, level: int, va: int, entry: int) -> None:
        slot = table + ((va - VA) >> (12 + 9 * (3 - level)) & 511) * 8
        self.gpu.vram_write(slot, struct.pack("<Q", entry))

    def map(self, va: int, address: int, count: int, flags: int = RWX, level: int = 3) -> None:
        """Leaves of `level` from va on; `address` is a paddr or, with SYSTEM, a bus address."""
        step = 1 << (12 + 9 * (3 - level))
        for i in range(count):
            entry = (address + i * step) | flags & ~UC | 1
            if flags & UC:
                entry |= 3 << 54 if self.gfx12 else 3 << 48
            if self.gfx12:
                entry |= 1 << 63  # marks every leaf
            elif level < 3:
                entry |= 1 << 54
            self.set_entry(self.table(level, va + i * step), level, va + i * step, entry)

    def unmap(self, va: int, level: int = 3) -> None:
        self.set_entry(self.table(level, va), level, va, 0)

    def flush(self, hub: str) -> None:
        if hub == "MM":
            assert wait(lambda: self.read("MMVM_INVALIDATE_ENG17_SEM") & 1)
        self.write(f"{hub}VM_INVALIDATE_ENG17_REQ", 0x00F80001)
        assert wait(lambda: self.read(f"{hub}VM_INVALIDATE_ENG17_ACK") & 1)
        if hub == "MM":
            self.write("MMVM_INVALIDATE_ENG17_SEM", 0)

    # -- boot
    def boot(self, skip=()) -> Board:
        self.map(SRAM_VA, SRAM_BUS, SRAM_BYTES >> 12, RWX | SYSTEM | UC)
        self.map(VRAM_VA, 0, VRAM_BYTES >> 21, RWX, level=2)
        for step in STEPS:
            if step not in skip:
                getattr(self, step)()
        return self

    def bus_master(self):
        self.gpu.set_bus_master(True)

    def doorbell_aperture(self):
        self.write("RCC_DEV0_EPF0_RCC_DOORBELL_APER_EN", 1)

    def hub(self, p: str):
        end = VA + (1 << 40) - 1
        w = self.write
        w(f"{p}MC_VM_SYSTEM_APERTURE_LOW_ADDR", FB >> 18)
        w(f"{p}MC_VM_SYSTEM_APERTURE_HIGH_ADDR", (FB + VRAM_BYTES - 1) >> 18)
        w(f"{p}VM_L2_PROTECTION_FAULT_DEFAULT_ADDR_LO32", DUMMY_PAGE >> 12)
        self.update(f"{p}MC_VM_MX_L1_TLB_CNTL", enable_l1_tlb=1, system_access_mode=3, enable_advanced_driver_model=1, mtype=3)
        w(f"{p}VM_CONTEXT0_PAGE_TABLE_START_ADDR_LO32", VA >> 12 & 0xFFFFFFFF)
        w(f"{p}VM_CONTEXT0_PAGE_TABLE_START_ADDR_HI32", VA >> 44)
        w(f"{p}VM_CONTEXT0_PAGE_TABLE_END_ADDR_LO32", end >> 12 & 0xFFFFFFFF)
        w(f"{p}VM_CONTEXT0_PAGE_TABLE_END_ADDR_HI32", end >> 44)
        w(f"{p}VM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32", self.root | 1)
        w(f"{p}VM_CONTEXT0_PAGE_TABLE_BASE_ADDR_HI32", 0)
        w(f"{p}VM_CONTEXT0_CNTL", 0x01FFFC07 if self.gfx12 else 0x01FFFE07)

    def faults_stop(self, p: str = "GC"):
        """No default page: an access that fails stops who did it."""
        kinds = ("range", "dummy_page", "pde0", "valid", "read", "write", "execute")
        self.update(f"{p}VM_CONTEXT0_CNTL", **{f"{k}_protection_fault_enable_default": 0 for k in kinds})

    def mm_hub(self):
        self.hub("MM")

    def ih(self):
        mc = FB + IH_RING
        self.write("IH_RB_BASE", mc >> 8 & 0xFFFFFFFF)
        self.write("IH_RB_BASE_HI", mc >> 40)
        self.write("IH_RB_CNTL", 0xC0310020)
        self.write("IH_RB_WPTR_ADDR_LO", FB + IH_WRITEBACK & 0xFFFFFFFF)
        self.write("IH_RB_WPTR_ADDR_HI", FB + IH_WRITEBACK >> 32)
        self.write("IH_RB_WPTR", 0)
        self.write("IH_RB_RPTR", 0)
        self.update("IH_RB_CNTL", rb_enable=1, enable_intr=1)

    def stage(self, data: bytes):
        self.gpu.bus_write(SRAM_BUS, data + bytes(-len(data) % 16))

    def bootloader(self, command: int, data: bytes) -> int:
        """Returns C2PMSG_35 after the command."""
        self.stage(data)
        self.write(f"{self.mp0}36", SRAM_VA >> 20)
        self.write(f"{self.mp0}35", command)
        wait(lambda: self.read(f"{self.mp0}35") >> 31, self.patience)
        return self.read(f"{self.mp0}35")

    def psp_bootloader(self):
        for command, name in BOOT[self.chip]:
            self.responses[f"boot {name} {command:#x}"] = self.bootloader(command, self.image(name))
        wait(lambda: self.read(f"{self.mp0}81") != 0, 0.1)

    def psp_ring(self, kind: int = 2):
        self.write(f"{self.mp0}69", FB + PSP_RING & 0xFFFFFFFF)
        self.write(f"{self.mp0}70", FB + PSP_RING >> 32)
        self.write(f"{self.mp0}71", 0x10000)
        self.write(f"{self.mp0}64", kind << 16)

    def psp_command(self, command: int, *parameters: int, seconds: float | None = None) -> int | None:
        """Status of the answer; None when no fence arrived."""
        wptr = self.read(f"{self.mp0}67")
        block = bytearray(1024)
        struct.pack_into("<I", block, 8, command)
        struct.pack_into(f"<{len(parameters)}I", block, 28, *parameters)
        struct.pack_into("<I", block, 864, 0xDEAD)
        self.gpu.vram_write(PSP_COMMAND, bytes(block))
        self.poke(PSP_FENCE, 0)
        command_mc, fence_mc = FB + PSP_COMMAND, FB + PSP_FENCE
        self.poke(PSP_RING + 4 * wptr, command_mc & 0xFFFFFFFF, command_mc >> 32, 0, fence_mc & 0xFFFFFFFF, fence_mc >> 32, wptr + 1,
                  *(0,) * 10)
        self.write(f"{self.mp0}67", (wptr + 16) % 0x4000)
        if not wait(lambda: self.peek(PSP_FENCE) == wptr + 1, seconds or self.patience):
            return None
        return self.peek(PSP_COMMAND + 864)

    def image(self, name: str) -> bytes:
        return image(name, self.chip)

    def load_toc(self):
        toc = self.image("TOC")
        self.stage(toc)
        self.responses["toc"] = self.psp_command(0x20, SRAM_VA & 0xFFFFFFFF, SRAM_VA >> 32, len(toc))

    def load_one(self, name: str, data: bytes | None = None, kind: int | None = None) -> int | None:
        data = self.image(name) if data is None else data
        self.stage(data)
        return self.psp_command(6, SRAM_VA & 0xFFFFFFFF, SRAM_VA >> 32, len(data), TYPES[name] if kind is None else kind)

    def setup_tmr(self):
        """And the SMU's firmware, which comes before it. On gfx12 the region is there since power-on."""
        self.responses["smu"] = self.load_one("SMU")
        if self.gfx12:
            return
        mc = FB + TMR
        self.responses["tmr"] = self.psp_command(5, mc & 0xFFFFFFFF, mc >> 32, 0x1300000, 2, TMR, 0)

    def load_firmware(self, leave_out=()):
        for name in AFTER_SMU_12 if self.gfx12 else AFTER_SMU_11:
            if name not in leave_out:
                self.responses[name] = self.load_one(name)

    def autoload(self):
        self.responses["autoload"] = self.psp_command(0x21)

    def smu_message(self, message: int, argument: int = 0) -> tuple[int, int]:
        """(response, result)"""
        self.write("MP1_SMN_C2PMSG_90", 0)
        self.write("MP1_SMN_C2PMSG_82", argument)
        self.write("MP1_SMN_C2PMSG_66", message)
        wait(lambda: self.read("MP1_SMN_C2PMSG_90") != 0, 0.02)
        return self.read("MP1_SMN_C2PMSG_90"), self.read("MP1_SMN_C2PMSG_82")

    def smu(self):
        mc = FB + SMU_TABLE
        for message, argument in ((0xE, mc >> 32), (0xF, mc & 0xFFFFFFFF), (6, 0)):
            self.responses[f"smu {message:#x}"] = self.smu_message(message, argument)[0]

    def gc_hub(self):
        self.hub("GC")

    def gfx_start_addresses(self):
        """PFP and ME, which gfx12 starts as well."""
        start = emulated_firmware.START_ADDRESS >> 2
        for engine in ("PFP", "ME") if self.gfx12 else ():
            self.write("GRBM_GFX_CNTL", 0)
            self.write(f"CP_{engine}_PRGRM_CNTR_START", start & 0xFFFFFFFF)
            self.write(f"CP_{engine}_PRGRM_CNTR_START_HI", start >> 32)
            self.update("CP_ME_CNTL", **{f"{engine.lower()}_pipe0_reset": 1})
            self.update("CP_ME_CNTL", **{f"{engine.lower()}_pipe0_reset": 0})

    def mec_start_address(self):
        self.update("GRBM_GFX_CNTL", meid=1, pipeid=0, queueid=0, vmid=0)
        start = emulated_firmware.START_ADDRESS >> 2
        self.write("CP_MEC_RS64_PRGRM_CNTR_START", start & 0xFFFFFFFF)
        self.write("CP_MEC_RS64_PRGRM_CNTR_START_HI", start >> 32)
        self.write("GRBM_GFX_CNTL", 0)

    def mec_reset_pulse(self):
        self.update("CP_MEC_RS64_CNTL", mec_pipe0_reset=1)
        self.update("CP_MEC_RS64_CNTL", mec_pipe0_reset=0)

    def doorbell_routing(self):
        self.write(f"{self.s2a}0_CTRL", 0x30000007)
        self.write(f"{self.s2a}3_CTRL", 0x3000000D)

    def mec_doorbell_range(self):
        self.write("CP_MEC_DOORBELL_RANGE_LOWER", 0)
        self.write("CP_MEC_DOORBELL_RANGE_UPPER", 0xF8)

    def sh_mem(self):
        for vmid in range(16):
            self.write("GRBM_GFX_CNTL", vmid << 4)
            self.write("SH_MEM_CONFIG", 0xC00C)
            self.write("SH_MEM_BASES", 0x10002)
        self.write("GRBM_GFX_CNTL", 0)

    def mec_enable(self):
        self.update("CP_MEC_RS64_CNTL", mec_pipe0_reset=0, mec_pipe0_active=1, mec_halt=0)

    def sdma_engine(self):
        self.sdma_hold(halt=0, reset=0)
        self.update("SDMA0_CNTL", trap_enable=1)

    def sdma_hold(self, **fields):
        if self.gfx12:
            self.update("SDMA0_MCU_CNTL", **fields)
        else:
            self.update("SDMA0_F32_CNTL", **{"th1_reset" if k == "reset" else k: v for k, v in fields.items()})

    def sdma_routing(self):
        self.write(f"{self.s2a}2_CTRL", 0x3009001D)

    def map_compute_queue(self):
        mqd = bytearray(4096)
        struct.pack_into("<I", mqd, 0, 0xC0310800)
        for at in (0x5C, 0x60, 0x68, 0x6C, 0xB0, 0xB4, 0xB8, 0xBC, *((0xEC,) if self.gfx12 else ())):
            struct.pack_into("<I", mqd, at, 0xFFFFFFFF)
        ring, rptr, wptr, eop = VRAM_VA + RING, VRAM_VA + POINTERS + 0x80, VRAM_VA + POINTERS + 0x38, VRAM_VA + EOP
        mc = FB + MQD
        values = {0x200: mc, 0x204: mc >> 32, 0x210: 0x5501, 0x214: 2, 0x218: 0xF, 0x21C: 0x111, 0x220: ring >> 8, 0x224: ring >> 40,
                  0x22C: rptr, 0x230: rptr >> 32, 0x234: wptr, 0x238: wptr >> 32, 0x23C: 0x40000018, 0x244: 0x50A, 0x254: 0x300000,
                  0x280: 0x20004000, 0x288: 0x100, 0x294: eop >> 8, 0x298: eop >> 40, 0x29C: 9}
        for at, value in values.items():
            struct.pack_into("<I", mqd, at, value & 0xFFFFFFFF)
        self.gpu.vram_write(MQD, bytes(mqd))
        self.poke(POINTERS + 0x80, 0, 0)
        self.wptr = 0
        self.write("GRBM_GFX_CNTL", 4)
        first = self.gpu.address("CP_MQD_BASE_ADDR")
        for i in range(56):
            self.gpu.register_write(4 * (first + i), struct.unpack_from("<I", mqd, 0x200 + 4 * i)[0])
        self.write("GRBM_GFX_CNTL", 0)

    def mec_active(self):
        self.write("GRBM_GFX_CNTL", 4)
        self.write("CP_HQD_ACTIVE", 1)
        self.write("GRBM_GFX_CNTL", 0)

    def sdma_queue(self):
        ring, rptr, wptr = VRAM_VA + SDMA_RING, VRAM_VA + SDMA_POINTERS + 0x80, VRAM_VA + SDMA_POINTERS + 0x38
        w = self.write
        w("SDMA0_QUEUE0_MINOR_PTR_UPDATE", 1)
        for name in ("RPTR", "RPTR_HI", "WPTR", "WPTR_HI"):
            w(f"SDMA0_QUEUE0_RB_{name}", 0)
        w("SDMA0_QUEUE0_RB_BASE", ring >> 8 & 0xFFFFFFFF)
        w("SDMA0_QUEUE0_RB_BASE_HI", ring >> 40)
        w("SDMA0_QUEUE0_RB_RPTR_ADDR_LO", rptr & 0xFFFFFFFF)
        w("SDMA0_QUEUE0_RB_RPTR_ADDR_HI", rptr >> 32)
        w("SDMA0_QUEUE0_RB_WPTR_POLL_ADDR_LO", wptr & 0xFFFFFFFF)
        w("SDMA0_QUEUE0_RB_WPTR_POLL_ADDR_HI", wptr >> 32)
        w("SDMA0_QUEUE0_DOORBELL_OFFSET", 0x800)
        w("SDMA0_QUEUE0_DOORBELL", 1 << 28)
        w("SDMA0_QUEUE0_MINOR_PTR_UPDATE", 0)
        w("SDMA0_QUEUE0_IB_CNTL", 1)
        self.sdma_wptr = 0

    def sdma_rb_enable(self):
        size = 15  # 64 KiB ring would be 14; log2 of dwords of 128 KiB
        self.write("SDMA0_QUEUE0_RB_CNTL", 0x00841801 | size << 1)

    # -- running things
    def submit(self, *dwords: int) -> None:
        """PM4 packets into the compute ring, then the doorbell."""
        for dword in dwords:
            self.poke(RING + 4 * (self.wptr % 2048), dword)
            self.wptr += 1
        self.gpu.doorbell_write(0x18, self.wptr)

    def submit_sdma(self, *dwords: int) -> None:
        for dword in dwords:
            self.poke(SDMA_RING + self.sdma_wptr % 0x20000, dword)
            self.sdma_wptr += 4
        self.gpu.doorbell_write(0x800, self.sdma_wptr)

    def interrupts(self) -> list[tuple[int, int, list[int]]]:
        """(client, source, context words) of the entries since the last call."""
        wptr, rptr, out = self.read("IH_RB_WPTR") & 0x3FFFC, self.read("IH_RB_RPTR"), []
        while rptr != wptr:
            words = struct.unpack("<8I", self.gpu.vram_read(IH_RING + rptr, 32))
            out.append((words[0] & 0xFF, words[0] >> 8 & 0xFF, list(words[4:])))
            rptr = (rptr + 32) & 0x3FFFF
        self.write("IH_RB_RPTR", rptr)
        return out
