"""GMC: the two memory hubs (MM and GC), their page tables, TLB and HDP flushes, and fault decoding.

All VRAM is mapped once, at boot, with the largest pages; after that no page table is written again.
Sources: Linux gmc_v11_0.c, gfxhub_v3_0.c, mmhub_v3_0.c; tinygrad runtime/support/am/ip.py (AM_GMC).
"""
from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import BootError
from ..usb.facts import FACTS as ADAPTER
from . import layout
from .facts import enum
from .layout import GIB, MIB, PLACES

PAGE = 4096
TABLE_ENTRIES = 512
LEVEL_SHIFT = (39, 30, 21, 12)        # PDB2 (root), PDB1, PDB0, PTB
_BITS = enum("pte_bits")

# CONTEXT0_CNTL as both reference drivers write it: enabled, depth 3, seven faults to interrupt and default page.
CONTEXT_CNTL_GFX11 = 0x01FF_FE07
CONTEXT_CNTL_GFX12 = 0x01FF_FC07

FLUSH_ENGINE = 17
FLUSH_REQUEST = 0x00F8_0001           # vmid 0; l2_ptes, pde0..2, l1_ptes; type 0
FAULT_REASONS = {"walker_error": "page walk failed", "permission_faults": "not permitted",
                 "mapping_error": "not mapped"}
HDP_FLUSH_OFFSET = 0x7F000            # what Linux programs into the remap register


def family(chip: dict) -> str:
    """Key of the page-table format in enums.json."""
    return "gfx12" if chip["gfx_target"].startswith("gfx12") else "gfx11"


def encode_directory(table_paddr: int) -> int:
    """An entry that points to a table of the next level: valid and an address, nothing else."""
    return table_paddr | 1 << _BITS["VALID"]


def encode_leaf(address: int, level: int, family: str, *, uncached: bool = False, system: bool = False,
                fragment: int | None = None) -> int:
    """A page of level 0..3 (512 GiB, 1 GiB, 2 MiB, 4 KiB), readable, writable, executable.

    Args:
        address: VRAM offset, or bus address if `system`.
        fragment: log2(contiguous aligned run / 4 KiB), a hint; default is the page's own size.
    """
    bits = _BITS[family]
    if address & ((1 << LEVEL_SHIFT[level]) - 1) or address >> _BITS["ADDR"][1] + 1:
        raise ValueError(f"{address:#x} is no address of a level-{level} page")
    entry = address
    for name in ("VALID", "READABLE", "WRITEABLE", "EXECUTABLE"):
        entry |= 1 << _BITS[name]
    if system:
        # The adapter's SRAM is mapped unsnooped: it sits behind the bridge, not in a host's memory.
        entry |= 1 << _BITS["SYSTEM"]
    entry |= min(LEVEL_SHIFT[level] - 12 if fragment is None else fragment, 31) << _BITS["FRAG"][0]
    if uncached:
        entry |= enum("mtype_pte")[family]["UC"] << bits["MTYPE"][0]
    if level < 3:
        entry |= 1 << bits["PDE_PTE_huge"]
    elif "IS_PTE" in bits:
        entry |= 1 << bits["IS_PTE"]       # gfx12 faults on a 4 KiB page without it
    return entry


def build_page_tables(vram_bytes: int, family: str, tables_paddr: int) -> tuple[bytes, int]:
    """(image of all tables, address of the root). One stream writes the image at `tables_paddr`."""
    mapped = vram_bytes - layout.TOP_RESERVED_BYTES
    directory, tail, alias, pages = ([0] * TABLE_ENTRIES for _ in range(4))
    directory_at, tail_at, alias_at, pages_at, root_at = (tables_paddr + PAGE * i for i in range(5))

    for i in range(mapped // GIB):
        directory[i] = encode_leaf(i * GIB, 1, family)
    whole = mapped // GIB
    for i in range(mapped % GIB // (2 * MIB)):
        tail[i] = encode_leaf(whole * GIB + i * 2 * MIB, 2, family)
    directory[whole] = encode_directory(tail_at)

    directory[(layout.UNCACHED_VA - layout.VA_BASE) // GIB] = encode_directory(alias_at)
    for i in range(layout.BOOT_REGION_BYTES // (2 * MIB)):
        alias[i] = encode_leaf(i * 2 * MIB, 2, family, uncached=True)
    alias[(layout.SYSTEM_VA - layout.UNCACHED_VA) // (2 * MIB)] = encode_directory(pages_at)
    for i, (address, fragment) in enumerate(_system_pages()):
        pages[i] = encode_leaf(address, 3, family, uncached=True, system=True, fragment=fragment)
    first = (layout.STAGING_VA - layout.SYSTEM_VA) // PAGE
    skipped = layout.STAGING_SLOT * ADAPTER["sram"]["slot_bytes"]
    for i in range((ADAPTER["sram"]["bytes"] - skipped) // PAGE):
        pages[first + i] = encode_leaf(ADAPTER["pcie_address"]["sram"] + skipped + i * PAGE, 3, family, uncached=True,
                                       system=True)

    # The context ends after one root entry, so one cache line of the root is all that is ever fetched.
    root = [encode_directory(directory_at)] + [0] * 7
    entries = directory + tail + alias + pages + root
    return struct.pack(f"<{len(entries)}Q", *entries), root_at


def _system_pages() -> list[tuple[int, int]]:
    """(bus address, fragment) of the adapter's pages in VA order: SRAM, submission page, completion page."""
    start, size = ADAPTER["pcie_address"]["sram"], ADAPTER["sram"]["bytes"]
    fragment = (size // PAGE).bit_length() - 1
    pages = [(start + offset, fragment) for offset in range(0, size, PAGE)]
    return pages + [(ADAPTER["pcie_address"]["submission_queue"], 0), (ADAPTER["pcie_address"]["completion_queue"], 0)]


@dataclass(frozen=True)
class HubFault:
    """A hub's latched protection fault."""

    hub: str              # "GC" or "MM"
    address: int          # of the page
    write: bool
    client_id: int
    client: str
    status: int
    reason: str           # which checks failed

    @property
    def access(self) -> str:
        return "write to" if self.write else "read of"


class Memory:
    """Addresses of one GPU's memory, and the hubs that translate them."""

    def __init__(self, gpu, vram_bytes: int) -> None:
        self._gpu = gpu
        self.vram_bytes = vram_bytes
        self.family = family(gpu.chip)
        self.fb_base = self.fb_end = 0
        self._hdp_flush_offset = HDP_FLUSH_OFFSET
        self._hub_ready = {"MM": False, "GC": False}
        self.heap_start = layout.BOOT_REGION_BYTES
        self.heap_end = vram_bytes - layout.TOP_RESERVED_BYTES
        sram_bytes = ADAPTER["sram"]["bytes"]
        self.sram_va = layout.SYSTEM_VA
        self.sram_bytes = sram_bytes
        self.staging_va = layout.STAGING_VA
        self.submission_page_va = layout.SYSTEM_VA + sram_bytes
        self.completion_page_va = self.submission_page_va + PAGE

    # ---- addresses
    def vram_va(self, paddr: int) -> int:
        """Cached GPU address of a VRAM offset."""
        if not 0 <= paddr < self.heap_end:
            raise ValueError(f"VRAM offset {paddr:#x} is not mapped")
        return layout.VA_BASE + paddr

    def uncached_va(self, paddr: int) -> int:
        """Uncached GPU address of a VRAM offset in the boot region."""
        if not 0 <= paddr < layout.BOOT_REGION_BYTES:
            raise ValueError(f"VRAM offset {paddr:#x} has no uncached mapping")
        return layout.UNCACHED_VA + paddr

    def mc(self, paddr: int) -> int:
        """Memory-controller address, what the PSP, SMU, interrupt rings and MQD base take."""
        return self.fb_base + paddr

    # ---- verbs
    def init(self) -> None:
        """Learn what the board's own firmware has set up: the frame buffer's place, the HDP flush address."""
        regs = self._gpu.regs
        base, top = regs.read_block("MMMC_VM_FB_LOCATION_BASE", 2)
        if base == 0xFFFF_FFFF:
            raise BootError("The memory hub's registers read as all ones.")
        self.fb_base = (base & 0xFF_FFFF) << 24
        self.fb_end = (top & 0xFF_FFFF) << 24
        offset = regs.read("BIF_BX0_REMAP_HDP_MEM_FLUSH_CNTL")
        if offset == 0 or offset >= self._gpu.register_bytes:
            # With 0 the flush would land on MM_INDEX.
            regs.write("BIF_BX0_REMAP_HDP_MEM_FLUSH_CNTL", HDP_FLUSH_OFFSET)
            offset = HDP_FLUSH_OFFSET
        self._hdp_flush_offset = offset & ~3

    def start(self) -> None:
        """Write the page tables and bring up the MM hub, through which the PSP reads its staging buffer."""
        self.write_page_tables()
        self.start_hub("MM")
        self.flush_tlb("MM")

    def stop(self) -> None:
        """Nothing to undo: a warm start relies on the hubs and tables as they are."""

    def describe_fault(self) -> dict[str, str]:
        state = {}
        for hub in ("GC", "MM"):
            if self._hub_ready[hub]:
                status = self.fault_register(hub)
                state[status] = self._gpu.regs[status].describe(self._gpu.regs.read(status))
        return state

    # ---- page tables and hubs
    def write_page_tables(self) -> None:
        image, self._root = build_page_tables(self.vram_bytes, self.family, PLACES["page_tables"])
        self._gpu.vram_write(PLACES["page_tables"], image)
        self.flush_hdp()

    @property
    def root_paddr(self) -> int:
        return PLACES["page_tables"] + 4 * PAGE

    def start_hub(self, hub: str, *, stop_on_fault: bool = False) -> None:
        """Program one hub for VMID 0.

        Args:
            hub: "MM" or "GC".
            stop_on_fault: a faulting access is not routed to the dummy page, so that a wave halts where it
                faulted and its program counter can be read.
        """
        regs, memory = self._gpu.regs, f"{hub}MC_VM_"
        vm = f"{hub}VM_"
        old = dict(zip(range(10), regs.read_block(f"{vm}L2_CNTL", 10), strict=True))
        offset = regs.address(f"{vm}L2_CNTL")

        def changed(name: str, **fields: int) -> int:
            return regs[name].insert(old[regs.address(name) - offset], **fields)

        writes = {
            f"{memory}AGP_BASE": 0, f"{memory}AGP_BOT": 0xFF_FFFF, f"{memory}AGP_TOP": 0,   # bottom > top: off
            f"{memory}SYSTEM_APERTURE_LOW_ADDR": self.fb_base >> 18,
            f"{memory}SYSTEM_APERTURE_HIGH_ADDR": self.fb_end >> 18,
            f"{memory}SYSTEM_APERTURE_DEFAULT_ADDR_LSB": PLACES["scratch_page"] >> 12,
            f"{memory}SYSTEM_APERTURE_DEFAULT_ADDR_MSB": 0,
            f"{memory}MX_L1_TLB_CNTL": regs[f"{memory}MX_L1_TLB_CNTL"].insert(
                regs.read(f"{memory}MX_L1_TLB_CNTL"), enable_l1_tlb=1, system_access_mode=3,
                enable_advanced_driver_model=1, system_aperture_unmapped_access=0, mtype=enum("mtype")["UC"]),
            f"{vm}L2_CNTL": changed(
                f"{vm}L2_CNTL", enable_l2_cache=1, enable_l2_fragment_processing=0,
                enable_default_page_out_to_system_memory=1, l2_pde0_cache_tag_generation_mode=0,
                pde_fault_classification=0, context1_identity_access_mode=1, identity_mode_fragment_size=0),
            f"{vm}L2_CNTL2": changed(f"{vm}L2_CNTL2", invalidate_all_l1_tlbs=1, invalidate_l2_cache=1),
            f"{vm}L2_CNTL3": 0x8013_0009,
            f"{vm}L2_CNTL4": regs[f"{vm}L2_CNTL4"].encode(l2_cache_4k_partition_count=1),
            f"{vm}L2_CNTL5": 0x3FE0,
            f"{vm}L2_PROTECTION_FAULT_CNTL2": changed(f"{vm}L2_PROTECTION_FAULT_CNTL2",
                                                      active_page_migration_pte_read_retry=1),
        }
        if stop_on_fault:
            writes[f"{vm}L2_PROTECTION_FAULT_CNTL"] = self._without_defaults(
                f"{vm}L2_PROTECTION_FAULT_CNTL", old[regs.address(f"{vm}L2_PROTECTION_FAULT_CNTL") - offset])
        pairs = {
            f"{vm}L2_PROTECTION_FAULT_DEFAULT_ADDR": PLACES["dummy_page"] >> 12,
            f"{vm}CONTEXT0_PAGE_TABLE_START_ADDR": layout.VA_BASE >> 12,
            f"{vm}CONTEXT0_PAGE_TABLE_END_ADDR": layout.VA_BASE + layout.VA_BYTES - 1 >> 12,
            f"{vm}CONTEXT0_PAGE_TABLE_BASE_ADDR": self.root_paddr | 1,
            f"{vm}L2_CONTEXT1_IDENTITY_APERTURE_LOW_ADDR": 0xF_FFFF_FFFF,     # low > high: off
            f"{vm}L2_CONTEXT1_IDENTITY_APERTURE_HIGH_ADDR": 0,
            f"{vm}L2_CONTEXT_IDENTITY_PHYSICAL_OFFSET": 0,
        }
        for name, value in pairs.items():
            writes[f"{name}_LO32"], writes[f"{name}_HI32"] = value & 0xFFFF_FFFF, value >> 32
        regs.write_set(writes)
        # All 18 invalidation engines cover the whole range; LO and HI alternate.
        regs.write_block(f"{vm}INVALIDATE_ENG0_ADDR_RANGE_LO32", [0xFFFF_FFFF, 0x1F] * 18)
        control = CONTEXT_CNTL_GFX12 if self.family == "gfx12" else CONTEXT_CNTL_GFX11
        if stop_on_fault:
            control = self._without_defaults(f"{vm}CONTEXT0_CNTL", control)
        regs.write(f"{vm}CONTEXT0_CNTL", control)
        self._hub_ready[hub] = True

    def hub_is_warm(self, hub: str) -> None:
        """A warm start found this hub running."""
        self._hub_ready[hub] = True

    def _without_defaults(self, register: str, value: int) -> int:
        fields = self._gpu.regs[register].fields
        return self._gpu.regs[register].insert(
            value, **{name: 0 for name in fields if name.endswith("fault_enable_default")})

    # ---- flushes
    def flush_hdp(self) -> None:
        """Push writes that went through BAR0 out to VRAM. One posted write."""
        self._gpu.regs.write(self._hdp_flush_offset // 4, 0)

    def flush_tlb(self, hub: str) -> None:
        """Forget all translations of VMID 0. A hub that was not started must not be touched."""
        if not self._hub_ready[hub]:
            return
        regs = self._gpu.regs
        engine = f"{hub}VM_INVALIDATE_ENG{FLUSH_ENGINE}"
        self.flush_hdp()
        if hub == "MM":
            # Reading the semaphore as 1 acquires it.
            regs.wait(f"{engine}_SEM", lambda value: value & 1 == 1, "the memory hub's invalidation semaphore")
        regs.write(f"{engine}_REQ", FLUSH_REQUEST)
        regs.wait(f"{engine}_ACK", lambda value: value & 1 == 1, f"the {hub} hub's TLB flush")
        if hub == "MM":
            regs.write(f"{engine}_SEM", 0)
            regs.update("MMVM_L2_BANK_SELECT_RESERVED_CID2", reserved_cache_private_invalidation=1)
            regs.read("MMVM_L2_BANK_SELECT_RESERVED_CID2")

    # ---- faults
    def fault_register(self, hub: str) -> str:
        name = f"{hub}VM_L2_PROTECTION_FAULT_STATUS"
        return name if name in self._gpu.regs else f"{name}_LO32"       # gfx12

    def read_fault(self, hub: str) -> HubFault | None:
        """The hub's latched fault. Read twice, because the first read may be stale."""
        if not self._hub_ready[hub]:
            return None
        regs = self._gpu.regs
        name = self.fault_register(hub)
        status = regs.read(name)
        if status:
            status = regs.read(name) or status
        if not status:
            return None
        register = regs[name]
        page = regs.read_pair(f"{hub}VM_L2_PROTECTION_FAULT_ADDR_LO32")
        write, client = bool(register.extract(status, "rw")), register.extract(status, "cid")
        reasons = [text for field, text in FAULT_REASONS.items()
                   if field in register.fields and register.extract(status, field)]
        return HubFault(hub, page << 12, write, client, self._client_name(hub, client, write), status,
                        ", ".join(reasons) or "no translation")

    def clear_fault(self, hub: str) -> None:
        if self._hub_ready[hub]:
            self._gpu.regs.update(f"{hub}VM_L2_PROTECTION_FAULT_CNTL", clear_protection_fault_status_addr=1)

    def _client_name(self, hub: str, client: int, write: bool) -> str:
        if hub == "MM":
            return enum("mmhub_client_write" if write else "mmhub_client_read").get(str(client), f"client {client}")
        names = enum("gfxhub_client")[self.family]
        return names[client] if client < len(names) else f"client {client}"
