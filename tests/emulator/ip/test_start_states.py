"""Boards that somebody used before: what a driver finds, and that every way back to a clean board works."""
from __future__ import annotations

import pytest

from .board import BOOT, DATA, VRAM_BYTES, Board, each_generation, every_chip, wait
from .test_skips import run_compute, run_sdma

STATES = ("warm", "dirty", "wedged")


def mode1(board: Board) -> int:
    board.write("MP1_SMN_C2PMSG_54", 0)
    board.write("MP1_SMN_C2PMSG_53", 0)
    board.write("MP1_SMN_C2PMSG_75", 2)
    wait(lambda: board.read("MP1_SMN_C2PMSG_54") != 0, 0.02)
    return board.read("MP1_SMN_C2PMSG_54")


@every_chip
def test_a_cold_board(chip):
    board = Board(chip=chip)
    assert board.read(f"{board.mp0}81") == 0 and board.read(f"{board.mp0}71") == 0
    assert board.read("SCRATCH_REG7") == 0 and board.read("GC" + board.fault_status) == 0
    assert board.smu_message(2)[0] == 0
    assert board.field("CP_MEC_RS64_CNTL", "mec_halt") == 1


@every_chip
@pytest.mark.parametrize("state", STATES)
def test_what_is_found(chip, state):
    board = Board(chip=chip, state=state)
    assert board.read(f"{board.mp0}81") != 0                          # sOS lives
    assert board.read(f"{board.mp0}71") != 0                          # a ring is there
    assert board.read("SCRATCH_REG7") != 0
    assert board.field("RLC_RLCS_BOOTLOAD_STATUS", "bootload_complete") == 1
    assert (board.smu_message(2)[0] == 1) == (state != "wedged")
    assert board.field("GCVM_CONTEXT0_CNTL", "enable_context") == 1
    board.write("GRBM_GFX_CNTL", 4)
    assert board.read("CP_HQD_ACTIVE") == (state == "dirty")
    board.write("GRBM_GFX_CNTL", 0)
    if state == "dirty":
        assert board.read("SCRATCH_REG6") == 1
        assert wait(lambda: board.read("GC" + board.fault_status) != 0)   # its queue ran into the void
        assert board.field("SDMA0_QUEUE0_RB_CNTL", "rb_enable") == 1
    else:
        assert board.read("SCRATCH_REG6") == 0 and board.read("GC" + board.fault_status) == 0
    assert any(board.gpu.vram_read(0, 64))                            # memory was used
    assert board.peek(VRAM_BYTES - 0x10000) == 0x28211407


@every_chip
@pytest.mark.parametrize("state", ["warm", "dirty"])
def test_mode1_reset_makes_it_clean(chip, state):
    board = Board(chip=chip, state=state)
    assert mode1(board) == 1
    assert wait(lambda: board.read(f"{board.mp0}33") >> 31)
    assert board.read(f"{board.mp0}81") == 0 and board.read("SCRATCH_REG7") == 0 and board.read("GC" + board.fault_status) == 0
    board.gpu.vram_write(0x100000, bytes(0x300000))                   # its leavings
    board.poke(DATA, 0)
    board.boot()
    assert run_compute(board), (board.gpu.last_stop, board.gpu.psp_refusal)
    board.poke(DATA, 0)
    assert run_sdma(board)


@each_generation
def test_only_power_helps_a_wedged_board(chip):
    board = Board(chip=chip, state="wedged")
    assert mode1(board) == 0
    assert board.read(f"{board.mp0}81") != 0
    board.gpu.cold_reset()
    assert board.read(f"{board.mp0}81") == 0 and not any(board.gpu.vram_read(0, 64))
    assert run_compute(board.boot())


@each_generation
def test_the_boot_loader_is_gone_while_sos_lives(chip):
    board = Board(chip=chip, state="dirty", patience=0.02)
    command, name = BOOT[chip][0]
    before = board.read(f"{board.mp0}35")
    board.boot(skip=set(ALL_STEPS) - {"bus_master"})
    assert board.bootloader(command, board.image(name)) == before


ALL_STEPS = ("doorbell_aperture", "mm_hub", "ih", "psp_bootloader", "psp_ring", "load_toc", "setup_tmr", "load_firmware", "autoload", "smu",
             "gc_hub", "gfx_start_addresses", "mec_start_address", "mec_reset_pulse", "doorbell_routing", "mec_doorbell_range", "sh_mem",
             "mec_enable", "sdma_engine", "sdma_routing", "map_compute_queue", "mec_active", "sdma_queue", "sdma_rb_enable")


def test_unknown_state():
    with pytest.raises(ValueError, match="no start state"):
        Board(state="lukewarm")
