"""Where everything lives: in VRAM and in the GPU's virtual address space.

The boot region is the first 64 MiB of VRAM. Its plan is fixed, because a warm start finds the security
processor, interrupt rings and page tables where the last process left them. Change the plan, and
LAYOUT_VERSION must change with it: it is what a warm start compares.
"""
from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# Kept in SCRATCH_REG7 while the board is ours, above its state (SCRATCH_REG6) and its number of compute units
# (SCRATCH_REG5). Other drivers use other constants.
LAYOUT_VERSION = 0x5542_0003

BOOT_REGION_BYTES = 64 * MIB
# The board's own firmware and the discovery table; never touched, never mapped.
TOP_RESERVED_BYTES = 64 * MIB

# Offset 0 counts from the start of this range: the page walker subtracts the context's start address.
VA_BASE = 0x2000_0000_0000
VA_BYTES = 512 * GIB                 # one root entry
UNCACHED_VA = VA_BASE + 256 * GIB    # the boot region again, uncached
SYSTEM_VA = UNCACHED_VA + 512 * MIB  # the adapter's SRAM and queue pages
# The SRAM again without its first slot: the PSP's staging buffer, whose address it takes in MiB. Slot 0 stays free
# for the marker that proves that content has landed.
STAGING_VA = SYSTEM_VA + MIB
STAGING_SLOT = 1

COMPUTE_RING_BYTES = 8 * KIB
SDMA_RING_BYTES = 1 * MIB
IH_RING_BYTES = 256 * KIB
PSP_RING_BYTES = 64 * KIB
TMR_BYTES = 0x130_0000               # trusted memory of the PSP; LOAD_TOC tells what it needs

# name -> (bytes, alignment), placed one after the other.
_PLAN = {
    "page_tables": (64 * KIB, 4 * KIB),
    "scratch_page": (4 * KIB, 4 * KIB),
    "dummy_page": (4 * KIB, 4 * KIB),
    "ih_ring0": (IH_RING_BYTES, 4 * KIB),
    "ih_writeback0": (4 * KIB, 4 * KIB),
    "ih_ring1": (IH_RING_BYTES, 4 * KIB),
    "psp_ring": (PSP_RING_BYTES, 4 * KIB),
    "psp_command": (4 * KIB, 4 * KIB),   # command, then the fence dword right behind it
    "discovery": (16 * KIB, 4 * KIB),    # a copy, where BAR 0 does not reach the table itself
    "smu_table": (16 * KIB, 4 * KIB),
    "compute_mqd": (4 * KIB, 4 * KIB),
    "compute_eop": (4 * KIB, 4 * KIB),
    "queue_pointers": (4 * KIB, 4 * KIB),
    "compute_ring": (COMPUTE_RING_BYTES, 4 * KIB),
    "sdma_ring": (SDMA_RING_BYTES, 64 * KIB),
    "tmr": (TMR_BYTES, MIB),
    "thread_scratch": (24 * MIB, 64 * KIB),
    # In place of the adapter's SRAM, where that cannot be filled. The PSP takes its address in MiB.
    "vram_stage": (1 * MIB, MIB),
}


def _place() -> tuple[dict[str, int], int]:
    places, at = {}, 64 * KIB      # paddr 0 stays unused, so that a null address is never a valid one
    for name, (size, alignment) in _PLAN.items():
        at = -(-at // alignment) * alignment
        places[name] = at
        at += size
    return places, at


PLACES, _END = _place()
assert _END <= BOOT_REGION_BYTES


def size_of(name: str) -> int:
    return _PLAN[name][0]


# Byte offsets inside "queue_pointers".
COMPUTE_RPTR, COMPUTE_WPTR = 0x80, 0x38
SDMA_RPTR, SDMA_WPTR = 0x180, 0x138
COMPUTE_PROGRESS = 0x400             # what the command processor notes (csrc/runtime/road.h, Progress)
PSP_FENCE = 1024                     # inside "psp_command"
