"""Rings and doorbells: which packets a doorbell hands to the GPU; and launches, put together from packets."""
from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile

from ..amdgpu.facts import enum
from . import packets
from .chip import Chip
from .memory import Memory
from .packets import Packet

MAX_PACKETS = 4096           # of one doorbell: garbage is not decoded without end
MAX_DEPTH = 3
GUESSED_PACKETS = 3          # so many in a row are no accident
SH_WINDOW = enum("pm4_reg_window")["SET_SH_REG"][0]


@dataclass
class Queue:
    engine: str              # "compute", "sdma"
    name: str
    base: int
    dwords: int
    fetched: int = 0         # dwords, never wrapped
    state: dict[int, int] = field(default_factory=dict)   # SH registers, by dword address


@dataclass
class Seen:
    """A packet with the place it stands at. depth 0 = ring."""

    engine: str
    queue: str
    depth: int
    address: int
    packet: Packet
    launch: dict | None = None

    def as_dict(self) -> dict:
        out = {"engine": self.engine, "queue": self.queue, "depth": self.depth, "address": self.address,
               **self.packet.as_dict()}
        if self.launch:
            out["launch"] = self.launch
        return out


class Launches:
    """Follows the compute registers of a queue and describes each dispatch."""

    def __init__(self, chip: Chip, kernel_name: Callable[[int], str | None]) -> None:
        self._chip, self._kernel_name = chip, kernel_name
        self._names: dict[str, int] = {}
        self._named_for: str | None = None
        self.states: dict[str, dict[int, int]] = {}

    def note(self, queue: str, packet: Packet) -> dict | None:
        """Takes a packet in; returns the launch if it is one."""
        state = self.states.setdefault(queue, {})
        for address, _, value in packet.registers:
            state[address] = value
        if packet.name != "DISPATCH_DIRECT" or not packet.fields.get("compute_shader_en"):
            return None

        def get(name: str) -> int:
            return state.get(self._address(name), 0)

        entry = (get("COMPUTE_PGM_HI") << 32 | get("COMPUTE_PGM_LO")) << 8
        rsrc2 = get("COMPUTE_PGM_RSRC2")
        launch = {"entry": entry, "kernel": self._kernel_name(entry),
                  "groups": [packet.fields[f"groups_{axis}"] for axis in "xyz"],
                  "threads": [get(f"COMPUTE_NUM_THREAD_{axis}") & 0xFFFF for axis in "XYZ"],
                  "wave": 32 if packet.fields.get("cs_w32_en") else 64, "lds_bytes": (rsrc2 >> 15 & 0x1FF) * 512,
                  "rsrc1": get("COMPUTE_PGM_RSRC1"), "rsrc2": rsrc2, "rsrc3": get("COMPUTE_PGM_RSRC3"),
                  "user_data": [get(f"COMPUTE_USER_DATA_{n}") for n in range(min(16, rsrc2 >> 1 & 31))]}
        return launch

    def _address(self, name: str) -> int:
        if self._named_for != self._chip.name:
            self._named_for = self._chip.name
            self._names = {register.name: address for address, register in self._chip.by_address.items()
                           if register.name.startswith("COMPUTE_")}
        return self._names.get(name, -1)


class Queues:
    """The hardware queues, from the registers that set them up."""

    def __init__(self, chip: Chip, memory: Memory, kernel_name: Callable[[int], str | None]) -> None:
        self._chip, self._memory = chip, memory
        self.launches = Launches(chip, kernel_name)
        self._by_doorbell: dict[int, Queue] = {}        # byte offset in BAR2
        self._registers: dict[tuple[int, str], int] = {}    # (GRBM_GFX_CNTL, name)
        self._select = 0
        self._high: dict[int, int] = {}

    def written(self, name: str, value: int, field_of: Callable[[str, str, int], int]) -> None:
        """A register was written. field_of(register, field, value)."""
        if name == "GRBM_GFX_CNTL":
            self._select = value
        banked = name.startswith(("CP_HQD_", "CP_MQD_"))
        bank = self._select if banked else 0
        self._registers[bank, name] = value
        if name == "CP_HQD_ACTIVE" and value & 1:
            self._activate_compute(bank, field_of)
        if name.endswith("_RB_CNTL") and "_QUEUE" in name and field_of(name, "rb_enable", value):
            self._activate_sdma(name.removesuffix("RB_CNTL"), field_of)

    def _activate_compute(self, bank: int, field_of) -> None:
        def get(name: str) -> int:
            return self._registers.get((bank, name), 0)

        control = get("CP_HQD_PQ_CONTROL")
        doorbell = field_of("CP_HQD_PQ_DOORBELL_CONTROL", "doorbell_offset", get("CP_HQD_PQ_DOORBELL_CONTROL")) * 4
        base = (get("CP_HQD_PQ_BASE_HI") << 32 | get("CP_HQD_PQ_BASE")) << 8
        number = field_of("GRBM_GFX_CNTL", "queueid", bank)
        self._by_doorbell[doorbell] = Queue("compute", f"compute{number}", base,
                                            2 << field_of("CP_HQD_PQ_CONTROL", "queue_size", control),
                                            get("CP_HQD_PQ_WPTR_HI") << 32 | get("CP_HQD_PQ_WPTR_LO"))
        self.launches.states.pop(f"compute{number}", None)

    def _activate_sdma(self, prefix: str, field_of) -> None:
        def get(name: str) -> int:
            return self._registers.get((0, prefix + name), 0)

        doorbell = field_of(f"{prefix}DOORBELL_OFFSET", "offset", get("DOORBELL_OFFSET")) * 4
        engine, _, number = prefix.rstrip("_").partition("_QUEUE")
        self._by_doorbell[doorbell] = Queue("sdma", f"{engine.lower()}.{number}",
                                            (get("RB_BASE_HI") << 32 | get("RB_BASE")) << 8,
                                            1 << field_of(f"{prefix}RB_CNTL", "rb_size", get("RB_CNTL")),
                                            (get("RB_WPTR_HI") << 32 | get("RB_WPTR")) // 4)

    def doorbell(self, offset: int, value: int) -> tuple[Queue | None, Iterator[Seen]]:
        """A dword was written to BAR2."""
        slot = offset & ~7
        if offset & 4:
            self._high[slot] = value
            return self._by_doorbell.get(slot), iter(())
        queue = self._by_doorbell.get(slot)
        if queue is None:
            return None, iter(())
        pointer = self._high.get(slot, 0) << 32 | value
        end = pointer if queue.engine == "compute" else pointer // 4
        start, queue.fetched = queue.fetched, max(end, queue.fetched)
        return queue, self._ring(queue, start, end)

    def guess(self, queue: Queue, windows: list[tuple[int, bytes]]) -> Iterator[Seen]:
        """Packets in data that went to the SRAM before a doorbell whose ring cannot be followed, because the page
        tables are from before the trace. Marked by a "?" behind the queue's name; addresses count from the SRAM's
        start. Data that does not begin with packets is passed over.
        """
        for start, data in windows:
            words = list(struct.unpack(f"<{len(data) // 4}I", data[:len(data) & ~3]))
            found = [(at, packet) for at, packet in islice(packets.walk(queue.engine, words, self._chip.register_name),
                                                           MAX_PACKETS)]
            known = list(takewhile(lambda item: item[1].complete and " " not in item[1].name, found))
            if len(known) < GUESSED_PACKETS:
                continue
            for at, packet in known:
                launch = self.launches.note(queue.name, packet)
                yield Seen(queue.engine, f"{queue.name}?", 1, start + 4 * at, packet, launch)

    def _ring(self, queue: Queue, start: int, end: int) -> Iterator[Seen]:
        words, addresses = [], []
        for n in range(start, min(end, start + queue.dwords)):
            address = queue.base + 4 * (n % queue.dwords)
            raw = self._memory.read(address, 4)
            if raw is None:
                break
            words.append(int.from_bytes(raw, "little"))
            addresses.append(address)
        budget = [MAX_PACKETS]
        yield from self._packets(queue, words, addresses.__getitem__, 0, budget)

    def _packets(self, queue: Queue, words: list[int], address_of: Callable[[int], int], depth: int,
                 budget: list[int]) -> Iterator[Seen]:
        for at, packet in packets.walk(queue.engine, words, self._chip.register_name):
            if budget[0] <= 0:
                return
            budget[0] -= 1
            launch = self.launches.note(queue.name, packet) if queue.engine == "compute" else None
            yield Seen(queue.engine, queue.name, depth, address_of(at), packet, launch)
            if packet.name in ("INDIRECT_BUFFER", "INDIRECT") and depth < MAX_DEPTH:
                base, dwords = packet.fields["address"], packet.fields["dwords"]
                content = self._memory.read(base, 4 * dwords) if dwords else None
                if content is not None:
                    inner = list(struct.unpack(f"<{dwords}I", content))
                    yield from self._packets(queue, inner, lambda n, base=base: base + 4 * n, depth + 1, budget)
