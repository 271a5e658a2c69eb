"""The boot, as lists of steps. A step has a name, does one thing, checks that it worked, and says what it found.

Cold: the board's own firmware has run, nothing of ours has. Warm: the last process left the board clean, so
the PSP, the SMU, the MM hub and the interrupt rings are as this driver sets them up, and only the graphics
core, SDMA and the queues are redone: a few dozen register writes instead of a megabyte of firmware.
"""
from __future__ import annotations

import logging
import secrets
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import (BootError, DeviceLost, FirmwareMismatch, LinkError, PcieLinkDown, PspSilent, SmuSilent,
                      UnsupportedChip, UsbGpuError)
from ..pcie import config
from . import discovery, layout
from .discovery import identify_chip
from .facts import load
from .firmware import FirmwareStore, needs_kicker
from .gfx import SCRATCH_BYTES_PER_THREAD, Gfx
from .interrupts import Interrupts
from .layout import MIB, PLACES
from .memory import Memory
from .nbio import Nbio
from .power import PowerOptions
from .psp import Psp
from .registers import CONFIG_MEMSIZE, MP0_C2PMSG_33, MP0_C2PMSG_35, MP0_C2PMSG_81, Registers
from .sdma import Sdma
from .smu import SMU_SECONDS, Smu

if TYPE_CHECKING:
    from .gpu import Gpu

log = logging.getLogger(__name__)

Step = Callable[["Gpu"], str | None]

FIRMWARE_DONE = 1 << 31
FIRMWARE_SECONDS = 2.0          # Linux waits as long (amdgpu_discovery.c), "generally 60 to 100 ms"
FIRMWARE_SECONDS_AFTER_RESET = 10.0
MODE1_RESET_SECONDS = 1.0       # Linux: 500 ms on 13.x, 1000 ms on 14.x
SMU_STOP_SECONDS = 1.0          # when leaving, nobody wants to wait long for a power controller that is silent
RUNNING, CLEAN = 1, 0           # SCRATCH_REG6
POWER_ACTION = "Switch the dock off at its power supply, wait ten seconds, switch it on again."
LEAST_VRAM_BYTES = 256 * MIB    # half of it is the boot region and the board's own; supported cards have 8 GiB or more
ALL_ONES = 0xFFFF_FFFF
RECORDED_SESSION = 1


# ---- finding the board

def open_adapter(gpu: Gpu) -> str:
    if not gpu.adapter.started:
        gpu.adapter.start()
    gpu.adapter.raise_link()
    return "PCIe link up"


def find_gpu(gpu: Gpu) -> str:
    gpu.pci = config.find_gpu(gpu.adapter)
    discovery.refuse_other_card(gpu.pci.device)
    config.assign_bars(gpu.adapter, gpu.pci)
    used = [bar for bar in gpu.pci.bars.values() if bar.index in (0, 2, 5)]
    bars = ", ".join(f"BAR{bar.index} {bar.size / MIB:g} MiB at {bar.address:#x}" for bar in used)
    kept = ", kept" if gpu.pci.kept else ""
    return f"{gpu.pci.vendor:04x}:{gpu.pci.device:04x} rev {gpu.pci.revision:02x} on bus {gpu.pci.bus}; {bars}{kept}"


def await_board_firmware(gpu: Gpu) -> None:
    """The board's own firmware trains memory before anything can be read from it."""
    gpu.regs = Registers(gpu.adapter, gpu.pci.bars[5].address, gpu.pci.bars[5].size)
    _await_firmware(gpu, "the board's own firmware", FIRMWARE_SECONDS)


def await_board_firmware_again(gpu: Gpu) -> None:
    """After a loss of power it starts anew; else it is there already."""
    _await_firmware(gpu, "the board's own firmware", FIRMWARE_SECONDS_AFTER_RESET)


def _await_firmware(gpu: Gpu, what: str, timeout_s: float) -> None:
    """Linux asks C2PMSG_33, but goes on whatever the answer, and tinygrad does not ask: so in the end a security
    processor that shows life otherwise will do."""
    try:
        gpu.regs.wait(MP0_C2PMSG_33, lambda value: value & FIRMWARE_DONE != 0 and value != ALL_ONES, what, timeout_s,
                      error=PspSilent)
    except PspSilent:
        loader, system = gpu.regs.read(MP0_C2PMSG_35), gpu.regs.read(MP0_C2PMSG_81)
        if ALL_ONES in (loader, system) or not (loader & FIRMWARE_DONE or system):
            raise
        log.warning("the board's own firmware does not say that it is ready, but the security processor runs")


def read_vram_size(gpu: Gpu) -> str:
    size = gpu.regs.read(CONFIG_MEMSIZE)
    if size in (0, ALL_ONES):
        raise BootError("The GPU does not know its memory size: the board is not ready or does not answer.",
                        memory_size=f"{size:#x}")
    gpu.vram_bytes = size * MIB
    if gpu.vram_bytes < LEAST_VRAM_BYTES:
        raise UnsupportedChip(f"The GPU has {size} MiB of memory; {LEAST_VRAM_BYTES // MIB} MiB is the least that "
                              "this driver works with.", "Use a card with more memory.")
    return f"{size} MiB"


def read_discovery(gpu: Gpu) -> str:
    gpu.discovery = _copied_discovery(gpu)
    source = ", by our copy of its tables" if gpu.discovery else ""
    if not gpu.discovery:
        gpu.discovery = discovery.parse(_read_table(gpu, gpu.vram_bytes - discovery.OFFSET_FROM_VRAM_END))
    gpu.chip_name, gpu.chip = identify_chip(gpu.discovery)
    gpu.arch = gpu.chip["gfx_target"]
    gpu.compute_units = gpu.discovery.geometry.compute_units       # of the full die, for now
    gpu.name = _board_name(gpu)
    for ip, file in gpu.chip["register_files"].items():
        gpu.regs.add_ip(file, list(gpu.discovery.find(ip).bases))
    gpu.firmware = FirmwareStore(gpu.chip, gpu.firmware_dirs, needs_kicker(gpu.pci.device, gpu.pci.revision),
                                 gpu.pci.revision)
    its = weakref.proxy(gpu)      # a closed device is to go at once, with its handle: no cycles
    gpu.memory = Memory(its, gpu.vram_bytes)
    gpu.nbio, gpu.interrupts, gpu.psp = Nbio(its), Interrupts(its), Psp(its)
    gpu.smu, gpu.gfx, gpu.sdma = Smu(its), Gfx(its), Sdma(its)
    return f"{gpu.name}, {gpu.arch}, a die of {gpu.compute_units} compute units{source}"


def _read_table(gpu: Gpu, at: int) -> bytes:
    """Only as much as there is: 1 KiB over this road takes half a millisecond, over the index registers fifty.

    The first dword goes by a packet of its own, whose completion is looked at: where memory does not answer, a stream
    would never end, and hang the dock.
    """
    gpu.vram_probe(at)
    header = gpu.vram_read(at, discovery.HEADER_BYTES)
    rest = discovery.binary_bytes(header) - len(header)
    return header + gpu.vram_read(at + len(header), rest + 3 & ~3)[:rest]


def _table_is_beyond_bar(gpu: Gpu) -> bool:
    return gpu.vram_bytes > gpu.pci.bars[0].size


def _copied_discovery(gpu: Gpu) -> discovery.Discovery | None:
    """The copy that an earlier start left inside a small BAR, if it is one of this very table.

    The two dwords of the header that hold checksums are compared with the table itself.
    """
    if not _table_is_beyond_bar(gpu):
        return None
    try:
        copy = _read_table(gpu, PLACES["discovery"])
        tables = discovery.parse(copy)
    except BootError:
        return None
    sums = discovery.CHECKSUMS
    its = gpu.vram_read(gpu.vram_bytes - discovery.OFFSET_FROM_VRAM_END + sums.start, sums.stop - sums.start)
    return tables if copy[sums] == its else None


def _board_name(gpu: Gpu) -> str:
    for board in load("pci_ids")["boards"]:
        if (int(board["device"], 16), int(board["revision"], 16)) == (gpu.pci.device, gpu.pci.revision):
            return f"AMD {board['name']}"
    return f"AMD {gpu.chip['codename']}"


# ---- in which state is it?

def is_warm(gpu: Gpu) -> bool:
    """Was the board left clean by this driver, with this memory plan?

    Asked with single packets until something answers: the graphics core may hang, and a stream would with it.
    """
    regs = gpu.regs
    if regs.read("SCRATCH_REG7") != layout.LAYOUT_VERSION:
        return False
    units, mark = regs.read_block("SCRATCH_REG5", 2)
    if mark != CLEAN or not gpu.psp.is_alive():
        return False
    if not 0 < units <= gpu.compute_units:
        return False                # of the three, the one that no other driver would put there
    gpu.compute_units = units
    return regs.read(gpu.memory.fault_register("GC")) == 0 and gpu.smu.is_alive()


def reset_if_used(gpu: Gpu) -> str:
    """A board that somebody has started before, and that did not end clean, is reset as a whole."""
    if not gpu.psp.is_alive():
        return "cold"
    if not gpu.smu.is_alive():
        raise SmuSilent("The GPU is wedged: its security processor runs, but its power controller does not answer.",
                        POWER_ACTION)
    mode1_reset(gpu)
    return "was in use; reset"


def mode1_reset(gpu: Gpu) -> None:
    """Reset the whole GPU. Afterwards it is as after power-on, except for the BARs."""
    config.set_bus_master(gpu.adapter, gpu.pci, False)
    gpu.smu.request_mode1_reset()
    time.sleep(MODE1_RESET_SECONDS)
    config.assign_bars(gpu.adapter, gpu.pci)         # they usually survive; placed anew if not
    _await_firmware(gpu, "the board's own firmware after the reset", FIRMWARE_SECONDS_AFTER_RESET)
    gpu.regs.wait(CONFIG_MEMSIZE, lambda value: value not in (0, ALL_ONES), "the GPU's memory after the reset")
    if gpu.psp.is_alive():
        raise BootError("The GPU did not take the reset.")


def power_cycle(gpu: Gpu) -> None:
    """The last means against a board that does not start: nothing of its state is left."""
    gpu.adapter.power_cycle()


# ---- bringing it up

def start_bus_interface(gpu: Gpu) -> None:
    gpu.nbio.init()


def start_memory(gpu: Gpu) -> str:
    gpu.memory.init()
    gpu.memory.start()
    if _table_is_beyond_bar(gpu):
        gpu.vram_write(PLACES["discovery"], gpu.discovery.binary)
    return f"frame buffer at {gpu.memory.fb_base:#x}"


def adopt_memory(gpu: Gpu) -> None:
    gpu.memory.init()
    gpu.memory.hub_is_warm("MM")


def start_interrupt_rings(gpu: Gpu) -> None:
    gpu.interrupts.init()
    gpu.interrupts.start()


def adopt_interrupt_rings(gpu: Gpu) -> None:
    gpu.interrupts.adopt()


def start_security_processor(gpu: Gpu) -> str:
    components = gpu.psp.init()
    gpu.psp.start()
    return components


def load_firmware(gpu: Gpu) -> str:
    trusted = gpu.psp.load_toc()
    return f"{gpu.psp.load_all()}; trusted memory {trusted // 1024} KiB"


def start_power_controller(gpu: Gpu) -> None:
    gpu.smu.init()


def await_graphics_core(gpu: Gpu) -> None:
    gpu.gfx.init()


def start_graphics_core(gpu: Gpu) -> None:
    gpu.gfx.start()


def restart_graphics_core(gpu: Gpu) -> None:
    gpu.gfx.restart()


def count_compute_units(gpu: Gpu) -> str:
    gpu.compute_units = gpu.gfx.count_units()
    return f"{gpu.compute_units} of {gpu.discovery.geometry.compute_units}"


def start_copy_engine(gpu: Gpu) -> None:
    gpu.sdma.init()
    gpu.sdma.start()


def restart_copy_engine(gpu: Gpu) -> None:
    gpu.sdma.start()


def raise_clocks(gpu: Gpu) -> str:
    """Optional for function: a board that refuses what nobody asked for runs with the clocks it has."""
    try:
        return gpu.smu.start(gpu.power)
    except SmuSilent:
        raise
    except BootError as error:
        if gpu.power != PowerOptions():
            raise
        log.warning("the clocks stay as they are: %s", error.found)
        return f"left as they are ({error.found})"


def mark_running(gpu: Gpu) -> None:
    """From here on, a process that dies leaves a board that the next one resets.

    The number of compute units stays with the marks, so that a warm start need not count them again.
    """
    # A conversation that is recorded, to be replayed or compared with another, is the same every time.
    gpu.session = RECORDED_SESSION if getattr(gpu.adapter, "repeatable", False) else secrets.randbits(32)
    gpu.regs.write_block("SCRATCH_REG4", [gpu.session, gpu.compute_units, RUNNING, layout.LAYOUT_VERSION])


def is_still_ours(gpu: Gpu) -> bool:
    """After the cable was away: does the board go on as this boot left it, with the content of its memory?

    Power that was lost shows in the link or the BARs, another process in the number that mark_running() drew.
    """
    if not gpu.booted or not gpu.adapter.link_is_up():
        return False
    try:
        if not config.is_in_place(gpu.adapter, gpu.pci):
            return False
        marks = gpu.session, gpu.compute_units, RUNNING, layout.LAYOUT_VERSION
        return gpu.regs.read_block("SCRATCH_REG4", 4) == marks
    except PcieLinkDown:
        return False
    except LinkError as error:
        if "status" in error.state:     # of a completion: nobody answers at this address any more
            return False
        raise


def create_queues(gpu: Gpu) -> str:
    from .gpu import ThreadScratch

    compute, sdma = gpu.gfx.create_queue(), gpu.sdma.create_queue()
    size, tmpring = gpu.gfx.plan_scratch()
    if size > layout.size_of("thread_scratch"):
        raise BootError("This board has more compute units than thread scratch is reserved for.", bytes=size)
    gpu.scratch = ThreadScratch(PLACES["thread_scratch"], size, SCRATCH_BYTES_PER_THREAD, tmpring)
    return f"compute ring {compute.ring_bytes // 1024} KiB, SDMA ring {sdma.ring_bytes // 1024} KiB"


FIND: tuple[Step, ...] = (open_adapter, find_gpu, await_board_firmware, read_vram_size, read_discovery)

COLD: tuple[Step, ...] = (
    reset_if_used, start_bus_interface, start_memory, start_interrupt_rings, start_security_processor, load_firmware,
    start_power_controller, await_graphics_core, start_graphics_core, count_compute_units, start_copy_engine,
    raise_clocks, mark_running, create_queues)

WARM: tuple[Step, ...] = (
    adopt_memory, adopt_interrupt_rings, restart_graphics_core, restart_copy_engine, raise_clocks, mark_running,
    create_queues)


def run(gpu: Gpu) -> None:
    """Boot by the shortest road that is safe; if that fails, once more with the card's power switched off and on.

    A board may hang in a state that only a loss of power ends: its power controller silent, or a boot cut short in
    the middle of the security processor's start. So the user need not pull the plug.
    """
    gpu.boot_log.clear()
    try:
        road = _start(gpu)
    except (BootError, LinkError, FirmwareMismatch) as error:
        if not _may_be_wedged(error):
            raise
        log.warning("%s The card's power is switched off and on.", error.found)
        try:
            do(gpu, power_cycle)
            road = _start(gpu) + " after a power cycle"
        except DeviceLost:
            raise
        except UsbGpuError as second:
            # What was wrong first is what the user is to know.
            state = {**error.state, "after_power_cycle": second.found}
            raise type(error)(error.found, POWER_ACTION, **state) from error
    _log_total(gpu, road)


def _may_be_wedged(error: UsbGpuError) -> bool:
    if isinstance(error, FirmwareMismatch):      # the boot loader may refuse what it has been given before
        return error.state["boot_step"] == start_security_processor.__name__
    # A link that does not come up was powered a moment ago.
    return not isinstance(error, (DeviceLost, PcieLinkDown))


def _start(gpu: Gpu) -> str:
    for step in FIND:
        do(gpu, step)
    warm = False

    def decide(gpu: Gpu) -> str:
        nonlocal warm
        warm = is_warm(gpu)
        return "warm start" if warm else "cold start"

    do(gpu, decide, "decide_state")
    if warm:
        try:
            for step in WARM:
                do(gpu, step)
            return "warm start"
        except DeviceLost:
            raise
        except (BootError, LinkError) as error:
            log.warning("the warm start failed, so the board is reset: %s", error.found)
            gpu.adapter.recover()
    for step in COLD:
        do(gpu, step)
    return "cold start"


def _log_total(gpu: Gpu, road: str) -> None:
    steps = gpu.boot_log
    log.info("%s of %s (%s): %.1f ms, %d transfers (%.1f ms of link time)", road, gpu.name, gpu.arch,
             1e3 * sum(step.seconds for step in steps), sum(step.transfers for step in steps),
             1e3 * sum(step.link_seconds for step in steps))


def reset_and_boot(gpu: Gpu) -> None:
    """Reset everything and start cold; for a GPU that hung, or whose link went down.

    Nothing of VRAM is looked at before the reset: a read that a hung GPU never answers would hang the adapter too.
    """
    gpu.boot_log.clear()
    gpu.adapter.recover()
    for step in (open_adapter, find_gpu, await_board_firmware_again, *COLD):
        do(gpu, step)
    _log_total(gpu, "reset and cold start")


def do(gpu: Gpu, step: Step, name: str | None = None) -> None:
    """One step, with its line in the boot log. A failing step is logged too, then its error goes on."""
    from .gpu import BootStep

    name = name or step.__name__
    stats = gpu.adapter.stats
    started, transfers, link_seconds = time.perf_counter(), stats.transfers, stats.modelled_seconds
    detail = ""
    try:
        detail = step(gpu) or ""
    except UsbGpuError as error:
        detail = f"FAILED: {error.found}"
        error.state.setdefault("boot_step", name)
        if hasattr(error, "add_note"):          # Python 3.11
            error.add_note(f"  (in boot step {name})")
        raise
    finally:
        line = BootStep(name, time.perf_counter() - started, stats.transfers - transfers, detail,
                        stats.modelled_seconds - link_seconds)
        gpu.boot_log.append(line)
        log.info("%s", line)


# ---- taking it down

def shut_down(gpu: Gpu) -> None:
    """Stop everything that runs, keep everything that is loaded, and say in SCRATCH_REG6 whether that went well."""
    if not gpu.booted:
        return
    clean = not gpu.failed
    gpu.smu.patience_s = SMU_STOP_SECONDS
    try:
        for block in (gpu.sdma, gpu.gfx, gpu.smu, gpu.interrupts):
            try:
                block.stop()
            except LinkError:
                raise
            except UsbGpuError as error:        # one block that does not obey is no reason to leave the others on
                clean = False
                log.warning("the GPU is not left clean: %s", error.found)
        gpu.regs.write("SCRATCH_REG6", CLEAN if clean else RUNNING)
    except DeviceLost as error:
        log.info("nothing to shut down: %s", error.found)
    except LinkError as error:
        # Nothing else would get through. The mark stays at RUNNING, so that the next process resets the board.
        log.warning("the GPU could not be left clean: %s", error.found)
    finally:
        gpu.smu.patience_s = SMU_SECONDS
