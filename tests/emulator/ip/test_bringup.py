"""Discovery, PSP, SMU, hubs: what the board says and refuses before any engine runs."""
from __future__ import annotations

import struct

import pytest

from torch_usbgpu import emulated_firmware

from .board import CHIPS, DATA, FB, RWX, SRAM_BUS, SRAM_VA, SYSTEM, TMR, UC, VA, VRAM_BYTES, VRAM_VA, WRITE, Board, image, wait
from .test_pm4 import release

BAD, UNSUPPORTED = 0xFFFF0006, 0xFFFF000A
ENGINES = ("gc_hub", "mec_start_address", "mec_reset_pulse", "doorbell_routing", "mec_doorbell_range", "sh_mem", "mec_enable", "sdma_engine",
           "sdma_routing", "map_compute_queue", "mec_active", "sdma_queue", "sdma_rb_enable")


@pytest.fixture(params=[False, True], ids=["threads", "deterministic"])
def board(request):
    return Board(deterministic=request.param)


def test_discovery(board):
    data = board.gpu.vram_read(VRAM_BYTES - 0x10000, 10240)
    signature, _, _, checksum, size = struct.unpack_from("<I4H", data, 0)
    assert signature == 0x28211407
    assert checksum == sum(data[10:size]) & 0xFFFF
    tables = [struct.unpack_from("<4H", data, 12 + 8 * i) for i in range(6)]
    for offset, table_sum, table_size, _ in tables[:3]:
        assert table_sum == sum(data[offset:offset + table_size]) & 0xFFFF
    ip = tables[0][0]
    assert data[ip:ip + 4] == b"IPDS"
    die = struct.unpack_from("<H", data, ip + 16)[0]
    count = struct.unpack_from("<H", data, die + 2)[0]
    at, found = die + 4, {}
    for _ in range(count):
        hw, _, bases, *version = struct.unpack_from("<H5B", data, at)
        found[hw] = (tuple(version), struct.unpack_from(f"<{bases}I", data, at + 8))
        at += 8 + 4 * bases
    assert found[11] == ((11, 0, 0), (0x1260, 0xA000, 0x1C000, 0x2402C00))
    assert found[255][0] == (13, 0, 0)
    gc = tables[1][0]
    assert struct.unpack_from("<I", data, gc + 12)[0] == 6      # shader engines
    assert board.read("RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE") == VRAM_BYTES >> 20
    assert board.read("MP0_SMN_C2PMSG_33") >> 31


def test_indirect_access(board):
    """VRAM through MM_INDEX/MM_DATA; a register beyond BAR5 through RSMU."""
    board.poke(DATA, 0x11223344)
    board.write("BIF_BX_PF0_MM_INDEX_HI", DATA >> 31)
    board.write("BIF_BX_PF0_MM_INDEX", DATA | 1 << 31)
    assert board.read("BIF_BX_PF0_MM_DATA") == 0x11223344
    board.write("BIF_BX_PF0_MM_DATA", 5)
    assert board.peek(DATA) == 5
    assert board.gpu.address("S2A_DOORBELL_ENTRY_0_CTRL") * 4 > board.gpu.identity["register_bytes"]
    board.write("S2A_DOORBELL_ENTRY_0_CTRL", 0x30000007)
    board.write("S2A_DOORBELL_ENTRY_2_CTRL", 0x3009001D)
    assert board.read("S2A_DOORBELL_ENTRY_0_CTRL") == 0x30000007
    assert board.field("S2A_DOORBELL_ENTRY_2_CTRL", "s2a_doorbell_port2_range_offset") == 0x200


def test_hdp_flush_register(board):
    at = board.read("BIF_BX0_REMAP_HDP_MEM_FLUSH_CNTL")
    assert 0 < at < board.gpu.identity["register_bytes"]
    board.gpu.register_write(at, 0)
    board.write("BIF_BX_PF0_GPU_HDP_FLUSH_REQ", 0xFFFFFFFF)
    assert board.read("BIF_BX_PF0_GPU_HDP_FLUSH_DONE") == 0xFFFFFFFF


def test_banked_registers(board):
    for vmid in (0, 3, 15):
        board.write("GRBM_GFX_CNTL", vmid << 4)
        board.write("SH_MEM_BASES", 0x100 + vmid)
    board.write("GRBM_GFX_CNTL", 3 << 4)
    assert board.read("SH_MEM_BASES") == 0x103
    board.write("GRBM_GFX_CNTL", 0)
    assert board.read("SH_MEM_BASES") == 0x100


def test_psp_boots_and_autoloads(board):
    board.boot(skip=ENGINES)
    assert all(r == 0x80000000 for n, r in board.responses.items() if n.startswith("boot")), board.responses
    assert board.read("MP0_SMN_C2PMSG_81") != 0
    statuses = {n: r for n, r in board.responses.items() if not n.startswith(("boot", "smu "))}
    assert set(statuses.values()) == {0}, (statuses, board.gpu.psp_refusal)
    assert [board.responses[f"smu {m}"] for m in ("0xe", "0xf", "0x6")] == [1, 1, 1]
    assert board.field("RLC_RLCS_BOOTLOAD_STATUS", "bootload_complete") == 1
    assert not board.gpu.stray_registers


@pytest.mark.parametrize("order", [
    [(0x10000, "SYS_DRV")], [(0x80000, "KDB"), (0x10000, "SYS_DRV")], [(0x80000, "KDB"), (0x10000000, "KDB"), (0x20000, "SOS")],
    [(0x80000, "KDB"), (0x10000000, "SYS_DRV")], [(0x80000, "SOS")],
], ids=["no key database", "no SPL", "no system driver", "SPL is not a key database", "wrong kind"])
def test_bootloader_refuses(board, order):
    board.bus_master()
    board.boot(skip=set(STEPS_AFTER_HUB))
    answers = [board.bootloader(command, image(name)) for command, name in order]
    assert answers[-1] != 0x80000000 and answers[-1] & 0xFF
    board.bootloader(0x20000, image("SOS"))
    assert board.read("MP0_SMN_C2PMSG_81") == 0


STEPS_AFTER_HUB = ("ih", "psp_bootloader", "psp_ring", "load_toc", "setup_tmr", "load_firmware", "autoload", "smu", *ENGINES)


@pytest.mark.parametrize("missing", ["bus_master", "mm_hub"])
def test_psp_needs_its_way_to_the_staging_buffer(missing):
    board = Board().boot(skip={missing, *STEPS_AFTER_HUB})
    assert board.bootloader(0x80000, image("KDB")) != 0x80000000
    assert board.read("MP0_SMN_C2PMSG_81") == 0


def spoil(data: bytes, at: int, value: int) -> bytes:
    out = bytearray(data)
    struct.pack_into("<I", out, at, value)
    return bytes(out)


@pytest.mark.parametrize("name, data, status", [
    ("RS64_MEC", b"\x5a" * 4096, BAD),
    ("RS64_MEC", image("RLC_G"), BAD),
    ("RS64_MEC", image("RS64_MEC")[:-256], BAD),
    ("RS64_MEC", image("RS64_MEC")[:-256] + bytes(256), BAD),
    ("RS64_MEC", spoil(image("RS64_MEC"), 0x14, 0), BAD),
    ("RS64_MEC", spoil(image("RS64_MEC"), 0x10, 0), BAD),
    ("RS64_MEC", spoil(image("RS64_MEC"), 0x30, 7), BAD),
    ("VCN0_RAM", image("RS64_MEC"), UNSUPPORTED),
    ("RS64_MEC", image("RS64_MEC"), 0),
], ids=["garbage", "other kind", "cut", "unsigned", "empty", "no magic", "class", "type", "good"])
def test_firmware_checks(name, data, status):
    board = Board().boot(skip=("load_firmware", "autoload", *ENGINES))
    from .board import TYPES
    assert board.load_one(name, data, TYPES.get(name, 58)) == status, board.gpu.psp_refusal


def test_order_of_ring_commands():
    board = Board().boot(skip=("load_toc", "setup_tmr", "load_firmware", "autoload", "smu", *ENGINES))
    assert board.load_one("RS64_MEC") == BAD                        # nothing known yet
    assert board.psp_command(5, TMR, 0x80, 0x1300000, 0) == BAD     # TMR before its size is known
    board.load_toc()
    assert board.responses["toc"] == 0
    assert board.load_one("RS64_MEC") == BAD                        # no TMR
    assert board.smu_message(2)[0] == 0                             # SMU silent before its firmware
    board.setup_tmr()
    assert board.smu_message(2)[0] == 1
    assert board.psp_command(0x21) == BAD                           # autoload without firmware
    assert board.field("RLC_RLCS_BOOTLOAD_STATUS", "bootload_complete") == 0
    board.load_firmware()
    assert board.psp_command(0x99) == UNSUPPORTED
    assert board.psp_command(0x21) == 0


@pytest.mark.parametrize("name", ["SDMA_UCODE_TH1", "RS64_MEC_P0_STACK", "IMU_D", "RLC_P", "RLC_G"])
def test_autoload_needs_every_piece(name):
    board = Board().boot(skip=("load_firmware", "autoload", *ENGINES))
    board.load_firmware(leave_out={name})
    assert board.psp_command(0x21) == BAD
    assert name in board.gpu.psp_refusal


def test_user_mode_ring_never_executes():
    board = Board().boot(skip=("psp_ring", "load_toc", "setup_tmr", "load_firmware", "autoload", "smu", *ENGINES))
    board.psp_ring(kind=1)
    assert board.read("MP0_SMN_C2PMSG_64") & 0x8000FFFF == 0x80000000
    assert board.psp_command(0x21, seconds=0.1) is None


def test_clocks_and_table():
    board = Board().boot(skip=ENGINES)
    count = board.smu_message(0x1F, 2 << 16 | 0xFF)[1] & 0x7FFFFFFF
    levels = [board.smu_message(0x1F, 2 << 16 | i)[1] for i in range(count)]
    assert count > 1 and levels == sorted(levels)
    assert board.smu_message(0x19, 2 << 16 | levels[-1])[0] == 1
    assert board.smu_message(0x12, 5)[0] == 1
    from .board import SMU_TABLE
    assert board.peek(SMU_TABLE + 8) == levels[-1]
    assert board.smu_message(0x7777)[0] == 0xFE


def test_mode1_reset():
    board = Board().boot(skip=ENGINES)
    board.write("SCRATCH_REG7", 0x1234)
    board.write("MP1_SMN_C2PMSG_54", 0)
    board.write("MP1_SMN_C2PMSG_53", 0)
    board.write("MP1_SMN_C2PMSG_75", 2)
    assert board.read("MP1_SMN_C2PMSG_54") == 1
    assert wait(lambda: board.read("MP0_SMN_C2PMSG_33") >> 31)
    assert board.read("MP0_SMN_C2PMSG_81") == 0 and board.read("SCRATCH_REG7") == 0
    assert board.field("RLC_RLCS_BOOTLOAD_STATUS", "bootload_complete") == 0
    board.boot(skip=ENGINES)
    assert board.field("RLC_RLCS_BOOTLOAD_STATUS", "bootload_complete") == 1


def test_psp_is_not_kept_busy_by_a_write_pointer_inside_a_frame():
    board = Board().boot(skip=ENGINES)
    for wptr in (1, 64, 0x7FFFFFFF, 17):
        board.write("MP0_SMN_C2PMSG_67", wptr)
        assert board.gpu.wait_idle(), wptr


def test_mode1_reset_in_the_middle_of_work():
    """The engines' threads are in their frames, packets and kernels when everything is reset."""
    for turn in range(6):
        board = Board().boot()
        board.submit(*release(VRAM_VA + DATA, 1) * (1 + turn))
        board.write("MP0_SMN_C2PMSG_67", 16 * turn)
        board.write("MP1_SMN_C2PMSG_75", 2)
        assert board.read("MP1_SMN_C2PMSG_54") == 1
        assert board.read("CP_HQD_ACTIVE") == 0 and board.read("MP0_SMN_C2PMSG_81") == 0
        assert board.gpu.wait_idle()
        assert board.read("MP0_SMN_C2PMSG_81") == 0 and board.read("MP0_SMN_C2PMSG_67") == 0


def test_cold_reset_forgets():
    board = Board()
    board.poke(DATA, 7)
    board.write("SCRATCH_REG7", 7)
    board.gpu.cold_reset()
    assert board.peek(DATA) == 0 and board.read("SCRATCH_REG7") == 0
    assert board.peek(VRAM_BYTES - 0x10000) == 0x28211407


def test_walk():
    """Four levels, huge leaves, START subtracted, permissions, SYSTEM pages, fragments."""
    board = Board().boot(skip=STEPS_AFTER_HUB)
    gpu = board.gpu
    assert gpu.translate("mm", VRAM_VA + 0x123456, "read")[:2] == (False, 0x123456)
    assert gpu.translate("mm", SRAM_VA + 0x1004, "read")[:2] == (True, SRAM_BUS + 0x1004)
    assert gpu.translate("mm", FB + 0x5000, "read")[:2] == (False, 0x5000)
    board.map(VA + 0x8000_0000, 0, 1, RWX, level=1)              # one 1 GiB leaf
    assert gpu.translate("mm", VA + 0x8000_0000 + 0x7654320, "write")[:2] == (False, 0x7654320)
    board.map(VA + 0x5000, DATA, 1, RWX & ~WRITE | UC)
    assert gpu.translate("mm", VA + 0x5008, "read")[:2] == (False, DATA + 8)
    assert gpu.translate("mm", VA + 0x5008, "write")[1] == 0x301008      # denied: the default page
    assert gpu.translate("mm", VA + 0x10000 - 1, "read")[1] == 0x301FFF  # never mapped
    board.map(VA + 0x40000, DATA, 16, RWX | 4 << 7)                      # FRAGMENT: 64 KiB
    assert gpu.translate("mm", VA + 0x40000 + 0x3000, "read") == (False, DATA + 0x3000, 0xD000)
    # only the virtual address has to be aligned to the fragment: the run begins before this entry's page
    board.map(VA + 0x80000, DATA + 0x14000, 16, RWX | 4 << 7)
    assert gpu.translate("mm", VA + 0x80000 + 0x3010, "read") == (False, DATA + 0x17010, 0xCFF0)
    assert gpu.translate("mm", VA + 0x80000, "read") == (False, DATA + 0x14000, 0x10000)


def test_gc_hub_is_dead_until_initialised():
    board = Board().boot(skip=ENGINES)
    assert board.gpu.translate("gc", VRAM_VA, "read") is None
    assert board.gpu.translate("gc", FB, "read") is None
    board.gc_hub()
    assert board.gpu.translate("gc", VRAM_VA, "read") == (False, 0, 2 << 20)


def test_tlb_is_stale_until_flushed():
    board = Board().boot(skip=STEPS_AFTER_HUB)
    va = VA + 0x7000
    board.map(va, DATA, 1)
    assert board.gpu.translate("mm", va, "read")[1] == DATA
    board.map(va, DATA + 0x1000, 1)
    assert board.gpu.translate("mm", va, "read")[1] == DATA
    assert board.read("MMVM_INVALIDATE_ENG17_SEM") == 1
    assert board.read("MMVM_INVALIDATE_ENG17_SEM") == 0          # taken
    board.write("MMVM_INVALIDATE_ENG17_SEM", 0)
    board.flush("MM")
    assert board.gpu.translate("mm", va, "read")[1] == DATA + 0x1000


@pytest.mark.parametrize("where, access, permission, rw", [
    (VA + 0x3_0000_0000, "read", 0x3, 0), (VA + 0x3_0000_0000, "write", 0x5, 1), (VA + 0x6000, "write", 0x4, 1),
    (VA + 0x6000, "execute", 0x8, 0), (0x1000, "read", 0x3, 0),
], ids=["unmapped read", "unmapped write", "read-only", "no execute", "outside the window"])
def test_fault_registers_and_interrupt(where, access, permission, rw):
    board = Board().boot(skip=ENGINES)
    board.gc_hub()
    board.faults_stop("GC")
    board.map(VA + 0x6000, DATA, 1, 1 << 5)
    board.interrupts()
    assert board.gpu.translate("gc", where, access) is None
    status = board.read("GCVM_L2_PROTECTION_FAULT_STATUS")
    assert board.field("GCVM_L2_PROTECTION_FAULT_STATUS", "permission_faults") == permission
    assert board.field("GCVM_L2_PROTECTION_FAULT_STATUS", "rw") == rw
    assert board.field("GCVM_L2_PROTECTION_FAULT_STATUS", "cid") == 8
    assert board.read("GCVM_L2_PROTECTION_FAULT_ADDR_LO32") == where >> 12 & 0xFFFFFFFF
    assert board.read("GCVM_L2_PROTECTION_FAULT_ADDR_HI32") == where >> 44
    entries = board.interrupts()
    assert [(c, s) for c, s, _ in entries] == [(10, 0)]
    assert entries[0][2][0] | (entries[0][2][1] & 0xF) << 32 == where >> 12
    board.gpu.translate("gc", where + 0x100000, access)          # the first one stays latched
    assert board.read("GCVM_L2_PROTECTION_FAULT_STATUS") == status | 1
    assert board.read("GCVM_L2_PROTECTION_FAULT_ADDR_LO32") == where >> 12 & 0xFFFFFFFF
    board.update("GCVM_L2_PROTECTION_FAULT_CNTL", clear_protection_fault_status_addr=1)
    assert board.read("GCVM_L2_PROTECTION_FAULT_STATUS") == 0


def test_interrupt_ring_wraps_and_overflows():
    board = Board().boot(skip=ENGINES)
    board.gc_hub()
    board.faults_stop("GC")

    def fault(page: int) -> None:
        assert board.gpu.translate("gc", VA + 0x4_0000_0000 + page * 4096, "read") is None

    for page in range(8191):
        fault(page)
    assert board.field("IH_RB_WPTR", "rb_overflow") == 0
    assert len(board.interrupts()) == 8191
    for page in range(10000, 10010):                              # over the end of the ring
        fault(page)
    assert len(board.interrupts()) == 10
    for page in range(20000, 20000 + 8192):
        fault(page)
    assert board.field("IH_RB_WPTR", "rb_overflow") == 1
    board.update("IH_RB_CNTL", wptr_overflow_clear=0)
    board.update("IH_RB_CNTL", wptr_overflow_clear=1)
    assert board.field("IH_RB_WPTR", "rb_overflow") == 0


@pytest.mark.parametrize("chip", CHIPS)
def test_images_are_complete(tmp_path, chip):
    """Names of the chip; sizes and slices consistent in themselves."""
    files = emulated_firmware.write_images(chip, tmp_path)
    facts = emulated_firmware._facts("chips.json")["chips"][chip]["firmware"]
    assert {f.name for f in files} == {facts[kind] for kind in ("sos", "smu", "sdma", "imu", "rlc", "pfp", "me", "mec")}
    for file in files:
        data = file.read_bytes()
        assert struct.unpack_from("<I", data, 0)[0] == len(data), file.name
        assert b"$PS1" in data


def test_system_pages_reach_the_bridge_only(board):
    board.boot(skip=STEPS_AFTER_HUB)
    board.map(VA + 0x9000, 0x9990000, 1, RWX | SYSTEM)
    assert board.gpu.translate("mm", VA + 0x9010, "read")[:2] == (True, 0x9990010)
