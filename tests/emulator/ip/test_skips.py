"""A bring-up with one step left out leaves the engine dead; the complete one does not."""
from __future__ import annotations

import pytest

from .board import DATA, ONE_OF_EACH, RWX, SYSTEM, UC, VRAM_VA, Board, each_generation, every_chip, wait
from .test_pm4 import release, write_data
from .test_sdma import fence

BOTH = ("mm_hub", "psp_bootloader", "psp_ring", "load_toc", "setup_tmr", "load_firmware", "autoload", "gc_hub", "doorbell_aperture")
COMPUTE = (*BOTH, "mec_start_address", "doorbell_routing", "mec_doorbell_range", "mec_enable", "map_compute_queue",
           "mec_active")
SDMA = (*BOTH, "sdma_engine", "sdma_routing", "sdma_queue", "sdma_rb_enable")
HERE = VRAM_VA + DATA


def run_compute(board: Board) -> bool:
    board.submit(*release(HERE, 0x1234))
    return wait(lambda: board.peek(DATA) == 0x1234, 0.05)


def run_sdma(board: Board) -> bool:
    board.submit_sdma(*fence(HERE, 0x1234))
    return wait(lambda: board.peek(DATA) == 0x1234, 0.05)


@every_chip
def test_nothing_left_out(chip):
    board = Board(chip=chip).boot()
    assert run_compute(board)
    board.poke(DATA, 0)
    assert run_sdma(board)
    assert not board.gpu.stray_registers


def generations(steps) -> pytest.MarkDecorator:
    """gfx12 has its trusted memory from power-on and takes firmware without the table of contents."""
    return pytest.mark.parametrize("chip, step", [(chip, step) for chip in ONE_OF_EACH for step in steps
                                                  if (chip, step) != ("navi48", "load_toc")])


@generations(COMPUTE)
def test_compute_is_dead_without(step, chip):
    board = Board(patience=0.02, chip=chip).boot(skip={step})
    assert not run_compute(board)
    if step not in ("gc_hub",):
        assert board.gpu.last_stop == ""            # it never even began


def test_start_address_counts_only_if_it_is_there_when_reset_ends():
    board = Board().boot(skip={"mec_start_address"})
    board.mec_start_address()
    assert not run_compute(board)
    board.mec_reset_pulse()
    assert wait(lambda: board.peek(DATA) == 0x1234)


@generations(SDMA)
def test_sdma_is_dead_without(step, chip):
    assert not run_sdma(Board(patience=0.02, chip=chip).boot(skip={step}))


@pytest.mark.parametrize("moment", ["cold", "mode1", "bus master"])
@each_generation
def test_a_living_board_dies(moment, chip):
    board = Board(chip=chip).boot()
    assert run_compute(board)
    if moment == "bus master":
        board.map(VRAM_VA - 0x100000, 0x820000, 1, RWX | SYSTEM | UC)
        board.gpu.set_bus_master(False)
        board.submit(*write_data(VRAM_VA - 0x100000, 0x77))
        assert board.gpu.wait_idle()
        assert board.gpu.bus_read(0x820000, 4) == bytes(4)
        return
    if moment == "cold":
        board.gpu.cold_reset()
    else:
        board.write("MP1_SMN_C2PMSG_75", 2)
    board.poke(DATA, 0)
    board.wptr = 0
    assert not run_compute(board)
    assert not run_sdma(board)


def test_doorbell_of_an_inactive_queue_is_lost():
    board = Board().boot(skip={"mec_active"})
    board.submit(*release(HERE, 1))
    board.mec_active()
    assert not wait(lambda: board.peek(DATA) == 1, 0.02)
    board.gpu.doorbell_write(0x18, board.wptr)
    assert wait(lambda: board.peek(DATA) == 1)


@pytest.mark.parametrize("low, high", [(0x20, 0xF8), (0, 0x10)], ids=["below", "above"])
def test_doorbell_outside_the_range_of_the_engine(low, high):
    board = Board().boot()
    board.write("CP_MEC_DOORBELL_RANGE_LOWER", low)
    board.write("CP_MEC_DOORBELL_RANGE_UPPER", high)
    assert not run_compute(board)


def test_autoload_bit_comes_from_autoload_only():
    board = Board().boot(skip={"autoload"})
    board.write("RLC_RLCS_BOOTLOAD_STATUS", 0xFFFFFFFF)
    assert board.field("RLC_RLCS_BOOTLOAD_STATUS", "bootload_complete") == 0
