"""Discovery, PSP, SMU, hubs: what the board says and refuses before any engine runs."""
from __future__ import annotations

import struct

import pytest

from torch_usbgpu import emulated_firmware

from .board import BOOT, CHIPS, DATA, each_generation, every_chip, FB, RWX, SRAM_BUS, SRAM_VA, SYSTEM, TMR, UC, VA, VRAM_BYTES, VRAM_VA, WRITE, Board, image, wait
from .test_pm4 import release

BAD, UNSUPPORTED = 0xFFFF0006, 0xFFFF000A
ENGINES = ("gc_hub", "mec_start_address", "mec_reset_pulse", "doorbell_routing", "mec_doorbell_range", "sh_mem", "mec_enable", "sdma_engine",
           "sdma_routing", "map_compute_queue", "mec_active", "sdma_queue", "sdma_rb_enable")


@pytest.fixture(params=[False, True], ids=["threads", "deterministic"])
def board(request):
    return Board(deterministic=request.param)


GEOMETRY = {  # shader engines, arrays per engine, WGPs per array, GC version, MP0 version, PCI device
    "navi31": (6, 2, 4, (11, 0, 0), (13, 0, 0), 0x744C), "navi32": (3, 2, 5, (11, 0, 3), (13, 0, 10), 0x747E),
    "navi33": (2, 2, 4, (11, 0, 2), (13, 0, 7), 0x7480), "navi44": (2, 2, 4, (12, 0, 0), (14, 0, 2), 0x7590),
    "navi48": (4, 2, 4, (12, 0, 1), (14, 0, 3), 0x7550)}


@every_chip
def test_discovery(chip):
    engines, arrays, groups, gc_version, mp0_version, device = GEOMETRY[chip]
    board = Board(chip=chip)
    assert board.gpu.identity["vendor"] == 0x1002 and board.gpu.identity["device"] == device
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
    assert found[11] == (gc_version, (0x1260, 0xA000, 0x1C000, 0x2402C00))
    assert found[255][0] == mp0_version
    assert {1, 3, 4, 34, 40, 41, 42, 108} <= set(found)
    gc = tables[1][0]
    assert struct.unpack_from("<2I", data, gc + 12) == (engines, groups)
    assert struct.unpack_from("<I", data, gc + 76)[0] == arrays and struct.unpack_from("<I", data, gc + 56)[0] == 32
    assert struct.unpack_from("<I", data, gc + 8)[0] == tables[1][2]
    assert board.read("RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE") == VRAM_BYTES >> 20
    assert board.read(f"{board.mp0}33") >> 31


def test_where_the_doorbell_routing_is():
    """gfx11: beyond BAR5, only by the indirect pair; gfx12: inside."""
    for chip, inside in (("navi31", False), ("navi33", False), ("navi44", True), ("navi48", True)):
        board = Board(chip=chip)
        assert (board.gpu.address(f"{board.s2a}0_CTRL") * 4 < board.gpu.identity["register_bytes"]) == inside
        board.write(f"{board.s2a}2_CTRL", 0x3009001D)
        assert board.read(f"{board.s2a}2_CTRL") == 0x3009001D
        assert board.field(f"{board.s2a}2_CTRL", "s2a_doorbell_port2_range_offset") == 0x200


def test_names_of_the_other_generation_are_unknown():
    for chip, name in (("navi31", "SDMA0_MCU_CNTL"), ("navi31", "MPASP_SMN_C2PMSG_35"), ("navi48", "CP_HQD_SEMA_CMD")):
        with pytest.raises(KeyError):
            Board(chip=chip).read(name)


def test_gc_11_0_3_has_its_hub_elsewhere():
    one, other = Board(chip="navi31"), Board(chip="navi32")
    name = "GCVM_CONTEXT0_CNTL"
    assert one.gpu.address(name) != other.gpu.address(name)
    assert one.gpu.address("CP_HQD_ACTIVE") == other.gpu.address("CP_HQD_ACTIVE")


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


@every_chip
@pytest.mark.parametrize("deterministic", [False, True], ids=["threads", "deterministic"])
def test_psp_boots_and_autoloads(chip, deterministic):
    board = Board(chip=chip, deterministic=deterministic).boot(skip=ENGINES)
    assert all(r == 0x80000000 for n, r in board.responses.items() if n.startswith("boot")), board.responses
    assert board.read(f"{board.mp0}81") == emulated_firmware._board(chip)["sos_version"]
    assert board.smu_message(2) == (1, emulated_firmware._board(chip)["smu_version"])
    statuses = {n: r for n, r in board.responses.items() if not n.startswith(("boot", "smu "))}
    assert set(statuses.values()) == {0}, (statuses, board.gpu.psp_refusal)
    assert [board.responses[f"smu {m}"] for m in ("0xe", "0xf", "0x6")] == [1, 1, 1]
    assert board.field("RLC_RLCS_BOOTLOAD_STATUS", "bootload_complete") == 1
    assert not board.gpu.stray_registers


def needed(chip: str) -> list[tuple[int, str]]:
    return [step for step in BOOT[chip] if step[1] not in ("RAS_DRV", "IPKEYMGR_DRV")]


@pytest.mark.parametrize("chip, left_out", [(chip, i) for chip in CHIPS for i in range(len(needed(chip)) - 1)])
def test_bootloader_wants_every_component(chip, left_out):
    """Without one of them sOS is refused, with an error code; afterwards the rest may still be sent in order."""
    steps = needed(chip)
    board = Board(chip=chip, patience=0.1).boot(skip=set(STEPS_AFTER_HUB))
    answers = [board.bootloader(command, board.image(name)) for i, (command, name) in enumerate(steps) if i != left_out]
    assert answers[-1] & 0xFF == 1 and answers[-1] >> 31
    assert board.read(f"{board.mp0}81") == 0
    for command, name in steps[left_out:]:
        answer = board.bootloader(command, board.image(name))
    assert answer == 0x80000000 and board.read(f"{board.mp0}81") != 0


@pytest.mark.parametrize("chip, image_name, good", [
    ("navi31", "KDB", True), ("navi31", "SPL", True), ("navi33", "KDB", True), ("navi48", "SPL", True), ("navi48", "KDB", False),
    ("navi44", "SYS_DRV", False)])
def test_what_goes_in_as_spl_table(chip, image_name, good):
    """13.x is given the key database a second time, 14.x a table of its own."""
    board = Board(chip=chip, patience=0.1).boot(skip=set(STEPS_AFTER_HUB))
    assert board.bootloader(0x80000, board.image("KDB")) == 0x80000000
    answer = board.bootloader(0x10000000, board.image(image_name))
    assert answer == 0x80000000 if good else answer & 0xFF == 2, hex(answer)


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


@pytest.mark.parametrize("chip, name, image_name, status", [
    ("navi31", "SDMA_UCODE_TH1", "SDMA_UCODE_TH1", 0), ("navi48", "SDMA_UCODE_TH1", None, UNSUPPORTED), ("navi48", "RLC_P", None, UNSUPPORTED),
    ("navi48", "SDMA_UCODE_TH0", "SDMA_UCODE_TH0", 0), ("navi48", "RS64_MEC_P3_STACK", "RS64_MEC_P0_STACK", 0),
    ("navi48", "RS64_MEC_P3_STACK", "RS64_MEC", BAD), ("navi32", "RLC_RESTORE_LIST_SRM_MEM", "RLC_RESTORE_LIST_SRM_MEM", 0),
    ("navi44", "CP_MES", "CP_MES", 0), ("navi44", "RS64_PFP", "RS64_ME", BAD)])
def test_firmware_of_each_generation(chip, name, image_name, status):
    board = Board(chip=chip).boot(skip=("load_firmware", "autoload", *ENGINES))
    data = board.image(image_name) if image_name else image(name, "navi31")
    assert board.load_one(name, data) == status, board.gpu.psp_refusal


def test_sdma_image_of_the_other_generation_is_refused():
    for chip, other in (("navi48", "navi31"), ("navi31", "navi48")):
        board = Board(chip=chip).boot(skip=("load_firmware", "autoload", *ENGINES))
        assert board.load_one("SDMA_UCODE_TH0", image("SDMA_UCODE_TH0", other)) == BAD


@pytest.mark.parametrize("name, data, status", [
    ("RS64_MEC", b"\x5a" * 4096, BAD),
    ("RS64_MEC", image("RLC_G"), BAD),
    ("RS64_MEC", image("RS64_MEC")[:-256], BAD),
    ("RS64_MEC", image("RS64_MEC")[:-256] + bytes(256), BAD),
    ("RS64_MEC", spoil(image("RS64_MEC"), 0x14, 0), BAD),
    ("RS64_MEC", spoil(image("RS64_MEC"), 0x10, 0), BAD),
    ("RS64_MEC", spoil(image("RS64_MEC"), 0x30, 7), BAD),
    ("DMUB", image("RS64_MEC"), UNSUPPORTED),
    ("RS64_MEC", image("RS64_MEC"), 0),
], ids=["garbage", "other kind", "cut", "unsigned", "empty", "no magic", "class", "type", "good"])
def test_firmware_checks(name, data, status):
    board = Board().boot(skip=("load_firmware", "autoload", *ENGINES))
    from .board import TYPES
    assert board.load_one(name, data, TYPES.get(name, 58)) == status, board.gpu.psp_refusal


@pytest.mark.parametrize("chip", ["navi44", "navi48"])
def test_trusted_memory_of_gfx12_is_there_since_power_on(chip):
    board = Board(chip=chip).boot(skip=("load_toc", "setup_tmr", "load_firmware", "autoload", "smu", *ENGINES))
    assert board.load_one("RS64_MEC") == 0                          # no table of contents, no SETUP_TMR
    assert board.psp_command(5, TMR, 0x80, 0x1300000, 0) == BAD     # there is one already
    assert board.psp_command(0x21) == BAD


@pytest.mark.parametrize("size, base", [(0x1100000, TMR), (0x1300000, TMR + 0x1000), (0x1300000, VRAM_BYTES - 0x100000)],
                         ids=["small", "unaligned", "outside"])
def test_trusted_memory_is_checked(size, base):
    board = Board().boot(skip=("setup_tmr", "load_firmware", "autoload", "smu", *ENGINES))
    assert board.psp_command(5, FB + base & 0xFFFFFFFF, FB + base >> 32, size, 0) == BAD
    assert board.load_one("RS64_MEC") == BAD


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


@pytest.mark.parametrize("chip, name", [
    ("navi31", "SDMA_UCODE_TH1"), ("navi32", "RS64_MEC_P0_STACK"), ("navi33", "IMU_D"), ("navi31", "RLC_P"), ("navi31", "RLC_G"),
    ("navi48", "RS64_PFP"), ("navi48", "RS64_ME"), ("navi44", "RS64_ME_P0_STACK"), ("navi44", "SDMA_UCODE_TH0"), ("navi48", "RLC_G")])
def test_autoload_needs_every_piece(chip, name):
    board = Board(chip=chip).boot(skip=("load_firmware", "autoload", *ENGINES))
    board.load_firmware(leave_out={name})
    assert board.psp_command(0x21) == BAD
    assert name in board.gpu.psp_refusal


@each_generation
def test_user_mode_ring_never_executes(chip):
    board = Board(chip=chip).boot(skip=("psp_ring", "load_toc", "setup_tmr", "load_firmware", "autoload", "smu", *ENGINES))
    board.psp_ring(kind=1)
    assert board.read(f"{board.mp0}64") & 0x8000FFFF == 0x80000000
    assert board.psp_command(0x21, seconds=0.1) is None


@every_chip
def test_clocks_and_table(chip):
    board = Board(chip=chip).boot(skip=ENGINES)
    count = board.smu_message(0x1F, 2 << 16 | 0xFF)[1] & 0x7FFFFFFF
    levels = [board.smu_message(0x1F, 2 << 16 | i)[1] for i in range(count)]
    assert count > 1 and levels == sorted(levels)
    assert board.smu_message(0x19, 2 << 16 | levels[-1])[0] == 1
    assert board.smu_message(0x12, 5)[0] == 1
    from .board import SMU_TABLE
    assert board.peek(SMU_TABLE + 8) == levels[-1]
    watts, celsius, average = (136, 140, 48) if board.gfx12 else (116, 120, 56)
    assert 0 < board.peek(SMU_TABLE + watts) & 0xFFFF < board.smu_message(0x33)[1]
    assert 20 < board.peek(SMU_TABLE + celsius) & 0xFFFF < 100
    assert board.peek(SMU_TABLE + average) & 0xFFFF == board.peek(SMU_TABLE)
    assert board.smu_message(0x32, 100)[0] == 1 and board.smu_message(0x33) == (1, 100)
    assert board.smu_message(0x7777)[0] == 0xFE
    assert board.smu_message(0x12, 99)[0] == 0xFF                   # no such table
    assert board.smu_message(0x19, 9 << 16)[0] == 0xFF              # no such clock
    assert board.smu_message(0x28)[0] == 0xFD                       # AllowGfxOff


@every_chip
def test_clock_limits_want_features(chip):
    board = Board(chip=chip).boot(skip=("smu", *ENGINES))
    assert board.smu_message(0x19, 96)[0] == 0xFD
    assert board.smu_message(6)[0] == 1 and board.smu_message(0x19, 96)[0] == 1
    assert board.smu_message(7)[0] == 1 and board.smu_message(0x19, 96)[0] == 0xFD


@pytest.mark.parametrize("chip, answer", [("navi31", None), ("navi32", None), ("navi33", None), ("navi44", 0xFE), ("navi48", 0xFE)])
def test_mode1_by_the_normal_mailbox_is_of_gfx11(chip, answer):
    board = Board(chip=chip).boot(skip=ENGINES)
    board.write("SCRATCH_REG7", 0x1234)
    response, _ = board.smu_message(0x2F)
    assert response == answer if answer else board.read("SCRATCH_REG7") == 0
    assert (board.read(f"{board.mp0}81") == 0) == (answer is None)


@every_chip
def test_mode1_reset(chip):
    board = Board(chip=chip).boot(skip=ENGINES)
    board.write("SCRATCH_REG7", 0x1234)
    board.write("MP1_SMN_C2PMSG_54", 0)
    board.write("MP1_SMN_C2PMSG_53", 0)
    board.write("MP1_SMN_C2PMSG_75", 2)
    assert board.read("MP1_SMN_C2PMSG_54") == 1
    assert wait(lambda: board.read(f"{board.mp0}33") >> 31)
    assert board.read(f"{board.mp0}81") == 0 and board.read("SCRATCH_REG7") == 0
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


@each_generation
def test_walk(chip):
    """Four levels, huge leaves, START subtracted, permissions, SYSTEM pages, fragments."""
    board = Board(chip=chip).boot(skip=STEPS_AFTER_HUB)
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


@pytest.mark.parametrize("chip, marked, level, good", [
    ("navi31", 0, 3, True), ("navi31", 1 << 54, 2, True), ("navi31", 1 << 63, 2, False),
    ("navi48", 0, 3, False), ("navi48", 1 << 63, 3, True), ("navi48", 1 << 54, 2, False), ("navi48", 1 << 63, 2, True)])
def test_what_makes_an_entry_a_leaf(chip, marked, level, good):
    board = Board(chip=chip).boot(skip=STEPS_AFTER_HUB)
    board.faults_stop("MM")
    va = VA + 0x1_0000_0000
    board.set_entry(board.table(level, va), level, va, DATA & ~0x1FFFFF | RWX | 1 | marked)
    found = board.gpu.translate("mm", va + 0x123, "read")
    assert found is not None and found[1] == (DATA & ~0x1FFFFF) + 0x123 if good else found is None or found[1] != (DATA & ~0x1FFFFF) + 0x123


@every_chip
def test_gc_hub_is_dead_until_initialised(chip):
    board = Board(chip=chip).boot(skip=ENGINES)
    assert board.gpu.translate("gc", VRAM_VA, "read") is None
    assert board.gpu.translate("gc", FB, "read") is None
    board.gc_hub()
    assert board.gpu.translate("gc", VRAM_VA, "read") == (False, 0, 2 << 20)


@each_generation
def test_tlb_is_stale_until_flushed(chip):
    board = Board(chip=chip).boot(skip=STEPS_AFTER_HUB)
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
@each_generation
def test_fault_registers_and_interrupt(chip, where, access, permission, rw):
    board = Board(chip=chip).boot(skip=ENGINES)
    status_name = "GC" + board.fault_status
    board.gc_hub()
    board.faults_stop("GC")
    board.map(VA + 0x6000, DATA, 1, 1 << 5)
    board.interrupts()
    assert board.gpu.translate("gc", where, access) is None
    status = board.read(status_name)
    assert board.field(status_name, "permission_faults") == permission
    assert board.field(status_name, "rw") == rw
    assert board.field(status_name, "cid") == 8
    assert board.read("GCVM_L2_PROTECTION_FAULT_ADDR_LO32") == where >> 12 & 0xFFFFFFFF
    assert board.read("GCVM_L2_PROTECTION_FAULT_ADDR_HI32") == where >> 44
    entries = board.interrupts()
    assert [(c, s) for c, s, _ in entries] == [(10, 0)]
    assert entries[0][2][0] | (entries[0][2][1] & 0xF) << 32 == where >> 12
    board.gpu.translate("gc", where + 0x100000, access)          # the first one stays latched
    assert board.read(status_name) == status | 1
    assert board.read("GCVM_L2_PROTECTION_FAULT_ADDR_LO32") == where >> 12 & 0xFFFFFFFF
    board.update("GCVM_L2_PROTECTION_FAULT_CNTL", clear_protection_fault_status_addr=1)
    assert board.read(status_name) == 0


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
    assert {f.name for f in files} >= {facts[kind] for kind in ("sos", "smu", "sdma", "imu", "rlc", "pfp", "me", "mec")}
    kicker = {f.name.split("_")[0] for f in files if f.name.endswith("_kicker.bin")}
    assert kicker == ({"psp", "smu", "gc"} if chip in ("navi31", "navi48") else set())
    for file in files:
        data = file.read_bytes()
        assert struct.unpack_from("<I", data, 0)[0] == len(data), file.name
        assert b"$PS1" in data


def test_system_pages_reach_the_bridge_only(board):
    board.boot(skip=STEPS_AFTER_HUB)
    board.map(VA + 0x9000, 0x9990000, 1, RWX | SYSTEM)
    assert board.gpu.translate("mm", VA + 0x9010, "read")[:2] == (True, 0x9990010)
