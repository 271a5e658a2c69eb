"""Random accesses to a living board: it may do anything but crash or hang, and a reset mends it."""
from __future__ import annotations

import random

import pytest

from .board import CHIPS, DATA, RING, SDMA_RING, VRAM_VA, Board, wait
from .test_pm4 import release

INTERESTING = (0, 1, 2, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x10000, 0x200000, VRAM_VA & 0xFFFFFFFF, VRAM_VA >> 32)
OPCODES = (0x10, 0x15, 0x1E, 0x21, 0x22, 0x23, 0x93, 0x98, 0x37, 0x3C, 0x3F, 0x40, 0x46, 0x49, 0x50, 0x58, 0x76, 0x79)


def value(rng: random.Random) -> int:
    return rng.choice(INTERESTING) if rng.random() < 0.5 else rng.getrandbits(32)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("deterministic", [False, True], ids=["threads", "deterministic"])
def test_survives_noise(seed, deterministic):
    rng = random.Random(seed)
    board = Board(deterministic=deterministic, chip=CHIPS[seed % len(CHIPS)]).boot()
    names = [name for name in NAMES if rng.random() < 0.5]
    for _ in range(400):
        kind = rng.random()
        if kind < 0.35:
            board.write(rng.choice(names), value(rng))
        elif kind < 0.5:
            board.read(rng.choice(names))
        elif kind < 0.55:
            board.gpu.register_write(rng.randrange(0, 1 << 20, 4), value(rng))
        elif kind < 0.75:
            # an endless kernel would never give a deterministic board's access back
            opcode = rng.choice([o for o in OPCODES if o != 0x15 or not deterministic])
            words = [0xC0000000 | rng.randrange(8) << 16 | opcode << 8, *(value(rng) for _ in range(8))]
            board.submit(*words[:rng.randrange(1, 9)])
        elif kind < 0.9:
            board.submit_sdma(rng.randrange(18) | rng.choice((0, 0, 1, 2)) << 8, *(value(rng) & 0xFFFFF for _ in range(6)))
        else:
            board.poke(rng.choice((DATA, RING, SDMA_RING, 0x100000, 0x200000)) + rng.randrange(0, 0x1000, 4), value(rng))
    board.gpu.cold_reset()
    board.gpu.set_bus_master(True)
    fresh = Board.__new__(Board)
    fresh.__dict__.update(board.__dict__, tables={}, next_table=0x101000, wptr=0, sdma_wptr=0, responses={})
    fresh.boot()
    fresh.submit(*release(VRAM_VA + DATA, 0x42))
    assert wait(lambda: fresh.peek(DATA) == 0x42)


NAMES = ["BIF_BX_PF0_MM_INDEX", "BIF_BX_PF0_MM_DATA", "BIF_BX_PF0_RSMU_INDEX", "BIF_BX_PF0_RSMU_DATA", "MP0_SMN_C2PMSG_35", "MP0_SMN_C2PMSG_36",
         "MP0_SMN_C2PMSG_64", "MP0_SMN_C2PMSG_67", "MP0_SMN_C2PMSG_69", "MP0_SMN_C2PMSG_71", "MP1_SMN_C2PMSG_66", "MP1_SMN_C2PMSG_82",
         "MP1_SMN_C2PMSG_75", "GCVM_CONTEXT0_CNTL", "GCVM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32", "GCVM_CONTEXT0_PAGE_TABLE_START_ADDR_HI32",
         "GCVM_INVALIDATE_ENG17_REQ", "GCVM_L2_PROTECTION_FAULT_CNTL", "MMVM_CONTEXT0_CNTL", "MMMC_VM_MX_L1_TLB_CNTL", "GRBM_GFX_CNTL",
         "GRBM_GFX_INDEX", "GRBM_SOFT_RESET", "SQ_IND_INDEX", "SQ_IND_DATA", "CP_MEC_RS64_CNTL", "CP_HQD_ACTIVE", "CP_HQD_PQ_CONTROL",
         "CP_HQD_PQ_BASE", "CP_HQD_DEQUEUE_REQUEST", "CP_HQD_PQ_WPTR_LO", "CP_MQD_BASE_ADDR", "SDMA0_F32_CNTL", "SDMA0_QUEUE0_RB_CNTL",
         "SDMA0_QUEUE0_RB_WPTR", "SDMA0_FREEZE", "IH_RB_CNTL", "IH_RB_BASE", "IH_RB_WPTR", "IH_RB_RPTR", "S2A_DOORBELL_ENTRY_2_CTRL",
         "RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE", "SPI_COMPUTE_QUEUE_RESET", "RLC_SAFE_MODE"]
