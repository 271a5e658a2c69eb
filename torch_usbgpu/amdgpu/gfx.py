"""GFX: the graphics core's command processor (MEC), its compute queue, and the state of halted waves.

One compute queue: micro engine 1, pipe 0, queue 0, VMID 0; no scheduler firmware. Sources: Linux
gfx_v11_0.c, gfx_v12_0.c, v11_structs.h; tinygrad AM_GFX.
"""
from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import BootError
from . import layout
from .facts import enum, put_field, struct_fields, struct_size
from .interrupts import WaveInterrupt
from .layout import PLACES
from .queue import HardwareQueue

COMPUTE_ME = 1
COMPUTE_DOORBELL = enum("doorbell_index64")["MEC_RING0"]
SETTLE_SECONDS = 0.05             # after MEC enable and around its reset (Linux waits 50 us)
AUTOLOAD_SECONDS = 10.0
RESTART_SECONDS = 2.0             # for a queue to go down with its engine
DEQUEUE_SECONDS = 2.0             # a queue whose waves are killed stops in microseconds or never

SH_MEM_SHARED_BASE, SH_MEM_PRIVATE_BASE = 1, 2     # VA bits 63:48 of the LDS and scratch apertures
SCRATCH_BYTES_PER_THREAD = 128
SCRATCH_LANES = 64                # sized for the widest wave
SCRATCH_UNIT = 256                # of TMPRING_SIZE.wavesize

HQD_FIRST = "CP_MQD_BASE_ADDR"    # registers 0x3209..0x3240 mirror MQD bytes 0x200..0x2DF
HQD_START = struct_fields("v11_compute_mqd")["cp_mqd_base_addr_lo"][0]
HQD_END = struct_fields("v11_compute_mqd")["cp_hqd_pq_wptr_hi"][0] + 4
DEQUEUE_RESET_WAVES = 2
# force_order_between_read_write_to_same_address; gfx12's headers do not name the bit, its driver sets it all the same.
TCP_KEEP_ORDER = 1 << 29

HANG_REGISTERS = ("GRBM_STATUS", "GRBM_STATUS2", "CP_STAT", "CP_CPC_STATUS", "CP_CPC_BUSY_STAT", "CP_CPC_STALLED_STAT1",
                  "CP_MEC_RS64_INSTR_PNTR", "CP_MEC_RS64_EXCEPTION_STATUS")
QUEUE_REGISTERS = ("CP_HQD_ACTIVE", "CP_HQD_PQ_RPTR", "CP_HQD_PQ_WPTR_LO", "CP_HQD_ERROR")


# Where a halted wave shows itself, per family: (register, field) of the halt bit, and the register of trap causes.
# On gfx12 the state that a trap handler owns has registers of its own.
WAVE_HALT = {"gfx11": ("STATUS", "halt"), "gfx12": ("STATE_PRIV", "halt")}
WAVE_TRAP_CAUSES = {"gfx11": "TRAPSTS", "gfx12": "EXCP_FLAG_PRIV"}


@dataclass(frozen=True)
class WaveState:
    """A wave, as SQ_IND_INDEX/DATA show it."""

    engine: int
    array: int
    wgp: int
    simd: int
    wave: int
    halted: bool = False
    pc: int = 0
    status: int = 0
    trap_status: int = 0
    execution_mask: int = 0


class Gfx:
    def __init__(self, gpu) -> None:
        self._gpu = gpu
        self._family = gpu.memory.family
        self._is_gfx12 = self._family == "gfx12"

    # ---- verbs
    def init(self) -> None:
        """Wait until the run list controller has loaded and started all engines' firmware."""
        regs = self._gpu.regs
        # CP_STAT becomes 0 long before everything is loaded; Linux asks for both.
        regs.wait("CP_STAT", lambda value: value == 0, "the command processor to become idle", AUTOLOAD_SECONDS)
        register = regs["RLC_RLCS_BOOTLOAD_STATUS"]
        regs.wait("RLC_RLCS_BOOTLOAD_STATUS", lambda value: register.extract(value, "bootload_complete") == 1,
                  "the graphics core to load its firmware", AUTOLOAD_SECONDS)

    def start(self) -> None:
        """Hub, engine start addresses, constants, engine enable: everything a queue needs."""
        self._gpu.memory.start_hub("GC", stop_on_fault=True)
        self._gpu.memory.flush_tlb("GC")
        self._pulse_engines(self._start_addresses())
        self._write_constants()
        self._enable_mec()

    def restart(self) -> None:
        """Warm start: hub anew, engines reset."""
        self._gpu.memory.start_hub("GC", stop_on_fault=True)
        self._gpu.memory.flush_tlb("GC")
        self.reset_mec()

    def stop(self) -> None:
        self.dequeue()

    def describe_fault(self) -> dict[str, str]:
        regs = self._gpu.regs
        state = regs.snapshot(HANG_REGISTERS)
        self._select(me=COMPUTE_ME)
        state.update(regs.snapshot(QUEUE_REGISTERS))
        self._select()
        return state

    # ---- shader engines
    def _select_shaders(self, engine: int | None = None, array: int | None = None, instance: int | None = None) -> None:
        """Which shader engine, array and instance the banked registers mean; None: all, which is the normal state."""
        fields = {}
        for name, index in (("se", engine), ("sa", array), ("instance", instance)):
            fields.update({f"{name}_broadcast_writes": 1} if index is None else {f"{name}_index": index})
        self._gpu.regs.write("GRBM_GFX_INDEX", **fields)

    def _fused_off(self, fused: str, user: str, field: str) -> int:
        """Units that the factory or the board's own firmware has switched off: a set bit each."""
        regs = self._gpu.regs
        return regs.field(fused, field) | regs.field(user, field)

    def count_units(self) -> int:
        """Compute units of this board. The discovery table describes the full die; boards have parts switched off.

        As Linux gfx_v11_0_get_cu_info: whole arrays by CC_GC_SA_UNIT_DISABLE, workgroup processors (two units
        each) by CC_GC_SHADER_ARRAY_CONFIG, which is banked by engine and array.

        Raises:
            BootError: nothing is left.
        """
        geometry = self._gpu.discovery.geometry
        prefix = "GRBM_" if self._is_gfx12 else ""
        arrays_off = self._fused_off(f"{prefix}CC_GC_SA_UNIT_DISABLE", f"{prefix}GC_USER_SA_UNIT_DISABLE", "sa_disable")
        present = (1 << geometry.units_per_array // 2) - 1
        units = 0
        try:
            for engine in range(geometry.shader_engines):
                for array in range(geometry.arrays_per_engine):
                    if arrays_off >> engine * geometry.arrays_per_engine + array & 1:
                        continue
                    self._select_shaders(engine, array)
                    off = self._fused_off("CC_GC_SHADER_ARRAY_CONFIG", "GC_USER_SHADER_ARRAY_CONFIG", "inactive_wgps")
                    units += 2 * (present & ~off).bit_count()
        finally:
            self._select_shaders()
        if units == 0:
            raise BootError("All compute units of the GPU are switched off.", arrays_off=f"{arrays_off:#x}")
        return units

    # ---- engines
    def _select(self, me: int = 0, pipe: int = 0, queue: int = 0, vmid: int = 0) -> None:
        """Choose which engine, queue and VMID the banked registers mean."""
        self._gpu.regs.write("GRBM_GFX_CNTL", meid=me, pipeid=pipe, queueid=queue, vmid=vmid)

    def _select_first_engine(self) -> None:
        """Whatever the last user of a warm board left selected."""
        if any(me == 0 for _, _, me in self._engines()):
            self._select()

    @contextmanager
    def _selected(self, me: int) -> Iterator[None]:
        """A micro engine, for a while. Number 0 is what is selected otherwise."""
        if me:
            self._select(me=me)
        yield
        if me:
            self._select()

    def _engines(self) -> list[tuple[str, str, int]]:
        """(firmware kind, control register, micro engine) of the engines with firmware."""
        mec = [("mec", "CP_MEC_RS64_CNTL", COMPUTE_ME)]
        return [("pfp", "CP_ME_CNTL", 0), ("me", "CP_ME_CNTL", 0), *mec] if self._is_gfx12 else mec

    def _start_addresses(self) -> dict[str, int]:
        """Start address of each engine, from its firmware."""
        return {kind: self._gpu.firmware.file(kind).start_address for kind, _, _ in self._engines()}

    def _read_start_addresses(self) -> dict[str, int]:
        """The same from a running board, so that a warm start needs no files."""
        addresses = {}
        self._select_first_engine()
        for kind, _, me in self._engines():
            name = f"CP_{kind.upper()}_{'RS64_' if kind == 'mec' else ''}PRGRM_CNTR_START"
            with self._selected(me):
                addresses[kind] = self._gpu.regs.read_pair(name, f"{name}_HI") << 2
        return addresses

    def _pulse_engines(self, starts: dict[str, int]) -> None:
        """Set start addresses, then pulse each engine's pipe reset, which makes it take them."""
        regs = self._gpu.regs
        values: dict[str, int] = {}          # of control registers, which two engines may share
        self._select_first_engine()
        for kind, control, me in self._engines():
            name = f"CP_{kind.upper()}_{'RS64_' if kind == 'mec' else ''}PRGRM_CNTR_START"
            with self._selected(me):
                regs.write_pair(name, starts[kind] >> 2, f"{name}_HI")
            value = values[control] if control in values else regs.read(control)
            regs.write(control, regs[control].insert(value, **{f"{kind}_pipe0_reset": 1}))
            values[control] = regs[control].insert(value, **{f"{kind}_pipe0_reset": 0})
            regs.write(control, values[control])

    def _write_constants(self) -> None:
        gpu, regs = self._gpu, self._gpu.regs
        regs.write("TCP_CNTL", regs.read("TCP_CNTL") | TCP_KEEP_ORDER)
        regs.write("RLC_CNTL", rlc_enable_f32=1)
        regs.update("RLC_SRM_CNTL", srm_enable=1, auto_incr_addr=1)
        regs.write("RLC_SPM_MC_CNTL", rlc_spm_vmid=0xF)
        gpu.nbio.route_doorbells(0)
        gpu.nbio.route_doorbells(3)
        regs.update("GRBM_CNTL", read_timeout=0xFF)
        self._write_apertures()

    def _write_apertures(self) -> None:
        """LDS and scratch apertures. The reference drivers set all 16 VMIDs; ours only ever runs VMID 0."""
        regs = self._gpu.regs
        alignment = enum("sh_mem")["ALIGNMENT_MODE_UNALIGNED"]
        self._select(vmid=0)
        regs.write_set({
            "SH_MEM_BASES": regs["SH_MEM_BASES"].encode(shared_base=SH_MEM_SHARED_BASE,
                                                        private_base=SH_MEM_PRIVATE_BASE),
            "SH_MEM_CONFIG": regs["SH_MEM_CONFIG"].encode(address_mode=0, alignment_mode=alignment,
                                                          initial_inst_prefetch=3)})
        regs.write_block("CP_MEC_DOORBELL_RANGE_LOWER", [0, 0xF8])

    def _enable_mec(self) -> None:
        self._gpu.regs.update("CP_MEC_RS64_CNTL", mec_pipe0_reset=0, mec_pipe0_active=1, mec_halt=0)
        time.sleep(SETTLE_SECONDS)

    def reset_mec(self) -> None:
        """Restart the compute engine with empty queues. VRAM and firmware stay.

        Raises:
            BootError: a queue does not stop; only a reset of the whole GPU helps.
        """
        regs = self._gpu.regs
        starts = self._read_start_addresses()
        stuck = False
        try:
            self.dequeue()
        except BootError:
            stuck = True
        if not self._is_gfx12:       # there the pipe reset does it
            regs.write("GRBM_SOFT_RESET", soft_reset_cp=1, soft_reset_cpc=1)
            time.sleep(SETTLE_SECONDS)
            regs.write("GRBM_SOFT_RESET", 0)
        self._pulse_engines(starts)
        self._write_apertures()
        self._enable_mec()
        if stuck:                       # it did not listen to requests; did the restart end it?
            self._check_queues_are_off()

    def _check_queues_are_off(self) -> None:
        try:
            for number in (0, 1):
                self._select(me=COMPUTE_ME, queue=number)
                active = self._gpu.regs["CP_HQD_ACTIVE"]
                self._gpu.regs.wait("CP_HQD_ACTIVE", lambda value: not active.extract(value, "active"),
                                    f"compute queue {number} to end with the restart of its engine", RESTART_SECONDS)
        finally:
            self._select()

    # ---- the compute queue
    def create_queue(self) -> HardwareQueue:
        """Program queue 0 of pipe 0. Its ring must be idle and its pointers in memory are zeroed here."""
        gpu, regs = self._gpu, self._gpu.regs
        queue = HardwareQueue(gpu, "compute", PLACES["compute_ring"], layout.COMPUTE_RING_BYTES,
                              PLACES["queue_pointers"] + layout.COMPUTE_RPTR,
                              PLACES["queue_pointers"] + layout.COMPUTE_WPTR, COMPUTE_DOORBELL)
        queue.clear_pointers()
        descriptor = self.build_mqd(queue)
        gpu.vram_write(PLACES["compute_mqd"], descriptor)
        gpu.memory.flush_hdp()
        words = [int.from_bytes(descriptor[at:at + 4], "little") for at in range(HQD_START, HQD_END, 4)]
        self._select(me=COMPUTE_ME)
        regs.write_block(HQD_FIRST, words)       # includes HQD_ACTIVE = 0
        regs.write("CP_HQD_ACTIVE", active=1)
        self._select()
        gpu.compute_queue = queue
        return queue

    def build_mqd(self, queue: HardwareQueue) -> bytes:
        """The memory queue descriptor; a part of it is what the registers take."""
        gpu, regs = self._gpu, self._gpu.regs
        layout_name = "v12_compute_mqd" if self._is_gfx12 else "v11_compute_mqd"
        mqd = bytearray(struct_size(layout_name))
        known = struct_fields(layout_name)

        def put(field: str, value: int) -> None:
            put_field(mqd, layout_name, field, value)

        def put_address(field: str, value: int) -> None:
            put(f"{field}_lo", value & 0xFFFF_FFFF)
            put(f"{field}_hi", value >> 32)

        eop_va = gpu.memory.uncached_va(PLACES["compute_eop"])
        put("header", 0xC031_0800)
        for engine in range(9):                  # all compute units of all shader engines
            if f"compute_static_thread_mgmt_se{engine}" in known:
                put(f"compute_static_thread_mgmt_se{engine}", 0xFFFF_FFFF)
        put_address("cp_mqd_base_addr", gpu.memory.mc(PLACES["compute_mqd"]))
        put("cp_hqd_persistent_state", regs["CP_HQD_PERSISTENT_STATE"].encode(preload_size=0x55, preload_req=1))
        put("cp_hqd_pipe_priority", 2)
        put("cp_hqd_queue_priority", 0xF)
        put("cp_hqd_quantum", 0x111)
        put_address("cp_hqd_pq_base", queue.ring_va >> 8)
        put_address("cp_hqd_pq_rptr_report_addr", queue.rptr_va)
        put_address("cp_hqd_pq_wptr_poll_addr", queue.wptr_va)
        put("cp_hqd_pq_doorbell_control", regs["CP_HQD_PQ_DOORBELL_CONTROL"].encode(
            doorbell_en=1, doorbell_offset=2 * queue.doorbell_index))
        put("cp_hqd_pq_control", regs["CP_HQD_PQ_CONTROL"].encode(
            queue_size=(queue.ring_bytes // 4).bit_length() - 2, rptr_block_size=5))
        put("cp_hqd_ib_control", regs["CP_HQD_IB_CONTROL"].encode(min_ib_avail_size=3))
        put("cp_hqd_hq_status0", 0x2000_4000)
        put("cp_mqd_control", regs["CP_MQD_CONTROL"].encode(priv_state=1))
        put_address("cp_hqd_eop_base_addr", eop_va >> 8)     # without it, RELEASE_MEM dereferences null
        put("cp_hqd_eop_control", regs["CP_HQD_EOP_CONTROL"].encode(
            eop_size=(layout.size_of("compute_eop") // 4).bit_length() - 2))
        return bytes(mqd)

    def dequeue(self) -> None:
        """Take the queues off the engine, killing their waves."""
        regs = self._gpu.regs
        try:
            for number in (0, 1):
                self._select(me=COMPUTE_ME, queue=number)
                if regs.field("CP_HQD_ACTIVE", "active"):
                    regs.write("CP_HQD_DEQUEUE_REQUEST", DEQUEUE_RESET_WAVES)
                    regs.write("SPI_COMPUTE_QUEUE_RESET", reset=1)
                    regs.wait("CP_HQD_ACTIVE", lambda value: value & 1 == 0, f"compute queue {number} to stop",
                              DEQUEUE_SECONDS)
        finally:
            self._select()

    # ---- scratch
    def plan_scratch(self) -> tuple[int, int]:
        """(bytes, COMPUTE_TMPRING_SIZE) for SCRATCH_BYTES_PER_THREAD on every wave the die can hold."""
        geometry = self._gpu.discovery.geometry
        wave_units = -(-SCRATCH_LANES * SCRATCH_BYTES_PER_THREAD // SCRATCH_UNIT)
        slots = geometry.scratch_slots_per_unit * geometry.compute_units
        total = SCRATCH_BYTES_PER_THREAD * SCRATCH_LANES * slots
        waves = min(total // (wave_units * SCRATCH_UNIT) // geometry.shader_engines, slots)
        return total, self._gpu.regs["COMPUTE_TMPRING_SIZE"].encode(waves=waves, wavesize=wave_units)

    # ---- halted waves
    def read_wave(self, engine: int, interrupt: WaveInterrupt) -> WaveState:
        """Registers of the wave that an interrupt names, on one shader engine (the entry does not say which).

        Offsets are those of Linux's headers; that the instance index is wgp << 2 | simd is inferred.
        """
        regs, index = self._gpu.regs, enum(f"sq_wave_index_{self._family}")
        fields = enum(f"sq_wave_fields_{self._family}")
        halt_register, halt_field = WAVE_HALT[self._family]
        where = (engine, interrupt.array, interrupt.wgp, interrupt.simd, interrupt.wave)

        def read(name: str) -> int:
            regs.write("SQ_IND_INDEX", wave_id=interrupt.wave, index=index[name])
            return regs.read("SQ_IND_DATA")

        def bit(value: int, register: str, field: str) -> bool:
            return bool(value >> fields[register][field][0] & 1)

        self._select_shaders(engine, interrupt.array, interrupt.wgp << 2 | interrupt.simd)
        try:
            status = read("STATUS")
            if not bit(status, "STATUS", "valid"):
                return WaveState(*where)
            halt = status if halt_register == "STATUS" else read(halt_register)
            halted = bit(halt, halt_register, halt_field) or bit(status, "STATUS", "fatal_halt")
            pc = read("PC_LO") | (read("PC_HI") & 0xFFFF) << 32
            return WaveState(*where, halted, pc, status, read(WAVE_TRAP_CAUSES[self._family]),
                             read("EXEC_LO") | read("EXEC_HI") << 32)
        finally:
            self._select_shaders()

    def find_wave(self, interrupt: WaveInterrupt) -> WaveState | None:
        """The halted wave of an interrupt, on whichever shader engine it sits."""
        for engine in range(self._gpu.discovery.geometry.shader_engines):
            state = self.read_wave(engine, interrupt)
            if state.halted:
                return state
        return None
