"""Transfers of the open firmware's protocol, decoded one after the other.

The protocol has state: an 0xF0 IN answers the packet before it, bulk data belongs to the last request that armed its
endpoint, a register's name depends on where the GPU's address ranges were put. All of it is followed here.
"""
from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..amdgpu import discovery
from ..amdgpu.registers import CONFIG_MEMSIZE, MM_DATA, MM_INDEX, MM_INDEX_HI, RSMU_DATA, RSMU_INDEX
from ..errors import UsbGpuError
from ..usb import tlp
from ..usb.facts import FACTS
from .chip import Chip
from .memory import Memory
from .names import LTSSM, describe_fields, request_name, xdata_name
from .pci import COMMAND_BITS, Pci
from .psp import PspRing
from .queues import Queues, Seen

SLOT, SECTOR, IN_FLAG = FACTS["sram"]["slot_bytes"], FACTS["sram"]["sector_bytes"], FACTS["sram"]["in_flag"]
SINGLE, WRITE, READ = (FACTS["pcie_mode"][mode] for mode in ("single", "stream_write", "stream_read"))
BAR_NAMES = {0: "VRAM", 2: "doorbells", 5: "registers"}
MIB = 1 << 20
PSP_MESSAGE = re.compile(r"(?:MP0|MPASP)_SMN_C2PMSG_(\d+)")
SHOWN_REGISTERS = 8
KEPT_WINDOWS = 16


@dataclass
class Decoded:
    """One transfer in words. `details` is for programs, `text` for people; `packets` is what a doorbell hands over."""

    name: str
    text: str
    details: dict[str, Any] = field(default_factory=dict)
    packets: list[Seen] = field(default_factory=list)

    def as_dict(self) -> dict:
        out = {"name": self.name, **self.details}
        if self.packets:
            out["packets"] = [seen.as_dict() for seen in self.packets]
        return out


@dataclass
class _Stream:
    kind: str                # "write" or "read"
    address: int
    left: int                # bytes


class WireDecoder:
    """Feed every transfer to `transfer`, in order.

    Args:
        chip: name of the chip, where it is known beforehand.
        kernel_name: entry address -> name.
        max_packets: of one doorbell.
    """

    def __init__(self, chip: str | None = None, kernel_name: Callable[[int], str | None] = lambda entry: None,
                 max_packets: int = 512) -> None:
        self.chip = Chip(chip)
        self.pci = Pci()
        self._max_packets = max_packets
        self._values: dict[int, int] = {}             # register dword -> value last seen on the wire
        self.memory = Memory(self._by_name, lambda: self.chip.family)
        self.queues = Queues(self.chip, self.memory, kernel_name)
        self.psp = PspRing(self.memory, self._psp_message)
        self._pending: tuple[int, int, int] | None = None     # fmt, address, byte enables
        self._stream: _Stream | None = None
        self._out: deque[tuple[int, int]] = deque()   # armed SRAM windows: (byte offset, bytes)
        self._in: int | None = None
        self._windows: list[tuple[int, bytes]] = []   # SRAM data since the last doorbell: place, content
        self._named: dict[str, int] = {}
        self._named_for: tuple | None = None

    def transfer(self, op: str, args: Iterable[Any], result: Any, error: str | None = None) -> Decoded:
        """Decode one call of a USB handle."""
        args = list(args)
        handler = getattr(self, f"_{op}", None)
        decoded = handler(args, result) if handler else Decoded(op, f"{op}({', '.join(map(repr, args))}) -> {result!r}",
                                                                {"result": result})
        if error:
            decoded.text += f"  !! {error}"
            decoded.details["error"] = error
        return decoded

    # ---- control transfers

    def _controlWrite(self, args: list, result: Any) -> Decoded:
        _, request, value, index, data = args
        data = bytes(data)
        name = request_name(request, index, value, reads=False)
        if request == FACTS["requests"]["pcie"] and len(data) == tlp.PAYLOAD.size:
            return self._pcie(name, value, index & 3, data)
        if request == FACTS["requests"]["sram"]:
            return self._arm(name, value, index)
        if request == FACTS["requests"]["write_xdata"]:
            where, bank = xdata_name(value), index >> 8
            place = f"{value:#06x}{f', bank {bank}' if bank else ''}"
            return Decoded(name, f"XDATA {where} ({place}) = {index & 0xFF:#04x}",
                           {"xdata": value, "where": where, "bank": bank, "value": index & 0xFF})
        if request == FACTS["requests"]["pcie_power"]:
            self._forget_board()
            return Decoded(name, f"PCIe power {'on' if value & 1 else 'off'}", {"on": bool(value & 1)})
        return Decoded(name, f"request {request:#04x} value {value:#06x} index {index:#06x}, {len(data)} bytes",
                       {"request": request, "value": value, "index": index, "bytes": len(data)})

    def _controlRead(self, args: list, result: Any) -> Decoded:
        _, request, value, index, length = args
        length = length if isinstance(length, int) else len(length)
        name = request_name(request, index, value, reads=True)
        data = bytes(result) if result is not None else b""
        if request == FACTS["requests"]["pcie"]:
            return self._completion(name, data)
        if request == FACTS["requests"]["read_xdata"]:
            where, bank = xdata_name(value), index >> 8
            meaning = f" {LTSSM.get(data[0], '')}".rstrip() if where == "LTSSM" and data else ""
            shown = data.hex() if len(data) <= 16 else f"{data[:16].hex()}... ({len(data)} bytes)"
            return Decoded(name, f"XDATA {where} ({value:#06x}{f', bank {bank}' if bank else ''}) -> {shown}{meaning}",
                           {"xdata": value, "where": where, "bank": bank, "bytes": length, "data": data.hex()})
        return Decoded(name, f"request {request:#04x} value {value:#06x} index {index:#06x} -> {data[:32].hex()}",
                       {"request": request, "value": value, "index": index, "data": data.hex()})

    def _clearHalt(self, args: list, result: Any) -> Decoded:
        self._stream = None
        if args[0] & 0x80:
            self._in = None
        else:
            self._out.clear()
        return Decoded("clear_halt", f"endpoint {args[0]:#04x}", {"endpoint": args[0]})

    def _setInterfaceAltSetting(self, args: list, result: Any) -> Decoded:
        self._stream = self._in = None
        self._out.clear()
        return Decoded("set_interface", f"interface {args[0]} alternate {args[1]}",
                       {"interface": args[0], "alternate": args[1]})

    # ---- PCIe packets and streams

    def _pcie(self, name: str, value: int, mode: int, data: bytes) -> Decoded:
        low, high, word = tlp.PAYLOAD.unpack(data)
        fmt, enables = value & 0xFF, value >> 8 & 0xF
        address = high << 32 | low
        self._stream = None
        if mode in (WRITE, READ):
            kind = "write" if mode == WRITE else "read"
            self._stream = _Stream(kind, address, 4 * word)
            place = self._place(address)
            return Decoded(name, f"stream {kind} of {4 * word} bytes {'to' if kind == 'write' else 'from'} {place}",
                           {"address": address, "bytes": 4 * word, "place": place})
        if fmt in (tlp.CONFIG_READ0, tlp.CONFIG_READ1, tlp.CONFIG_WRITE0, tlp.CONFIG_WRITE1):
            return self._config(name, fmt, address, enables, word)
        if tlp.is_posted(fmt):
            self._pending = None
            return self._memory_write(name, address, word, enables)
        self._pending = (fmt, address, enables)
        return Decoded(name, f"read {self._place(address)}", {"tlp": "read", "address": address,
                                                               "place": self._place(address)})

    def _config(self, name: str, fmt: int, address: int, enables: int, word: int) -> Decoded:
        (bus, device, function), register = self.pci.split(address)
        register += (enables & -enables).bit_length() - 1 if enables else 0
        writes = fmt in (tlp.CONFIG_WRITE0, tlp.CONFIG_WRITE1)
        self._pending = (fmt, address, enables)
        what = self.pci.name((bus, device, function), register)
        where = f"{bus:02x}:{device:02x}.{function} {what}"
        details = {"tlp": "config write" if writes else "config read", "function": f"{bus:02x}:{device:02x}.{function}",
                   "register": what, "offset": register}
        if not writes:
            return Decoded(name, f"config read {where}", details)
        self.pci.written(address, word, enables)
        shown = word >> 8 * (register & 3) & ((1 << 8 * bin(enables).count("1")) - 1)
        flags = ""
        if what == "COMMAND":
            flags = f" ({', '.join(text for bit, text in COMMAND_BITS.items() if shown >> bit & 1) or 'off'})"
        return Decoded(name, f"config write {where} = {shown:#x}{flags}", {**details, "value": shown})

    def _completion(self, name: str, raw: bytes) -> Decoded:
        if len(raw) != tlp.COMPLETION.size:
            return Decoded(name, f"no completion ({len(raw)} bytes)", {"bytes": len(raw)})
        completion = tlp.Completion.decode(raw)
        pending = self._pending
        details = {"value": completion.data, "status": completion.status_name, "engine": completion.engine}
        if completion.engine or completion.status != tlp.SUCCESS:
            why = completion.status_name if not completion.engine else f"engine error {completion.engine:#x}"
            return Decoded(name, f"-> {why}", details)
        if pending is None:
            return Decoded(name, f"-> {completion.data:#010x}", details)
        fmt, address, enables = pending
        if fmt in (tlp.CONFIG_WRITE0, tlp.CONFIG_WRITE1):
            return Decoded(name, "-> written", details)
        if fmt in (tlp.CONFIG_READ0, tlp.CONFIG_READ1):
            place, register = self.pci.split(address)
            if enables == 0xF or self._whole(register):
                self.pci.read(address, completion.data)
                if self.pci.device is not None:
                    self.chip.assume_device(self.pci.device)
            low = (enables & -enables).bit_length() - 1 if enables else 0
            shown = completion.data >> 8 * low & ((1 << 8 * bin(enables).count("1")) - 1)
            what = self.pci.name(place, register + low)
            details.update(register=what, value=shown)
            return Decoded(name, f"-> {what} {shown:#x}", details)
        text, more = self._value_read(address, completion.data)
        return Decoded(name, f"-> {text}", {**details, **more})

    @staticmethod
    def _whole(register: int) -> bool:
        """Reads of one byte bring the whole dword all the same; the header type is what they are used for."""
        return register & ~3 == 0x0C

    # ---- places in the GPU's address ranges

    def _bar(self, address: int) -> tuple[int, int] | None:
        for index, (start, size) in self.pci.bars().items():
            if start <= address < start + size:
                return index, address - start
        return None

    def _place(self, address: int) -> str:
        found = self._bar(address)
        if found is None:
            return f"PCIe {address:#x}"
        index, offset = found
        if index == 5:
            return f"register {self._register_name(offset // 4)}"
        return f"{BAR_NAMES.get(index, f'BAR{index}')} {offset:#x}"

    def _register_name(self, dword: int) -> str:
        """The register behind an access, through the index/data pairs."""
        if dword == RSMU_DATA and RSMU_INDEX in self._values:
            return f"{self.chip.register_name(self._values[RSMU_INDEX] // 4)} (RSMU)"
        if dword == MM_DATA and self._values.get(MM_INDEX, 0) >> 31:
            return f"VRAM {self._mm_offset():#x} (MM_DATA)"
        if dword * 4 == (self._by_name("BIF_BX0_REMAP_HDP_MEM_FLUSH_CNTL") or -1) & ~3:
            return "HDP_MEM_FLUSH"
        return self.chip.register_name(dword)

    def _mm_offset(self) -> int:
        return self._values.get(MM_INDEX_HI, 0) << 31 | self._values.get(MM_INDEX, 0) & 0x7FFF_FFFF

    def _behind(self, dword: int) -> int:
        """The register itself where an index/data pair is used."""
        return self._values[RSMU_INDEX] // 4 if dword == RSMU_DATA and RSMU_INDEX in self._values else dword

    def _by_name(self, name: str) -> int | None:
        key = (self.chip.name, self.chip.certain)
        if self._named_for != key:
            self._named_for = key
            self._named = {register.name: address for address, register in self.chip.by_address.items()}
        address = self._named.get(name)
        return None if address is None else self._values.get(address)

    def _psp_message(self, number: int) -> int | None:
        value = self._by_name(f"MP0_SMN_C2PMSG_{number}")
        return self._by_name(f"MPASP_SMN_C2PMSG_{number}") if value is None else value

    def _field(self, register: str, name: str, value: int) -> int:
        self._by_name(register)
        found = self.chip.register(self._named.get(register, -1))
        return found.extract(value, name) if found and name in found.fields else 0

    def _memory_write(self, name: str, address: int, word: int, enables: int) -> Decoded:
        found = self._bar(address)
        details: dict[str, Any] = {"tlp": "write", "address": address, "value": word}
        if found is None:
            return Decoded(name, f"write PCIe {address:#x} = {word:#x}", details)
        index, offset = found
        if index == 5:
            text, more = self._register_write(offset // 4, word)
            return Decoded(name, text, {**details, **more})
        if index == 2:
            return self._doorbell(name, offset, word, details)
        if index == 0:
            for lane in range(4):
                if enables >> lane & 1:
                    self.memory.vram.write(offset + lane, bytes([word >> 8 * lane & 0xFF]))
        shown = BAR_NAMES.get(index, f"BAR{index}")
        return Decoded(name, f"write {shown} {offset:#x} = {word:#x}", {**details, "place": f"{shown} {offset:#x}"})

    def _register_write(self, dword: int, value: int) -> tuple[str, dict]:
        shown, real = self._register_name(dword), self._behind(dword)
        if dword == MM_DATA and self._values.get(MM_INDEX, 0) >> 31:
            self.memory.vram.write(self._mm_offset(), value.to_bytes(4, "little"))
            return f"write {shown} = {value:#x}", {"register": shown}
        self._values[real] = value
        found = self.chip.register(real)
        if found:
            self.queues.written(found.name, value, self._field)
        fields = self.chip.fields(real, value)
        details: dict[str, Any] = {"register": found.name if found else shown, "dword": real, "fields": fields}
        mailbox = PSP_MESSAGE.fullmatch(found.name) if found else None
        if mailbox and (commands := self.psp.written(int(mailbox[1]), value)):
            details["commands"] = commands
        meaning = self.chip.command(found.name, value) if found else None
        if meaning:
            return f"write {shown} = {value:#x} [{meaning}]", {**details, "command": meaning}
        return f"write {shown} = {value:#010x}{describe_fields(fields)}", details

    def _value_read(self, address: int, value: int) -> tuple[str, dict]:
        found = self._bar(address)
        if found is None or found[0] != 5:
            if found and found[0] == 0:
                self._vram_was_read(found[1], value.to_bytes(4, "little"))
            return f"{value:#010x}", {}
        dword = found[1] // 4
        shown, real = self._register_name(dword), self._behind(dword)
        self._values[real] = value
        known = self.chip.register(real)
        fields = self.chip.fields(real, value)
        return (f"{shown} {value:#010x}{describe_fields(fields)}",
                {"register": known.name if known else shown, "dword": real, "fields": fields})

    def _doorbell(self, name: str, offset: int, value: int, details: dict) -> Decoded:
        queue, seen = self.queues.doorbell(offset, value)
        packets = list(islice(seen, self._max_packets))
        if not packets and queue and queue.engine == "compute":
            packets = list(islice(self.queues.guess(queue, self._windows), self._max_packets))
        self._windows = []
        who = queue.name if queue else "nobody's"
        return Decoded(name, f"doorbell {offset:#x} ({who}) = {value:#x}",
                       {**details, "doorbell": offset, "queue": queue.name if queue else None}, packets)

    # ---- bulk data

    def _bulkWrite(self, args: list, result: Any) -> Decoded:
        data = bytes(args[1])
        data = data[:result] if isinstance(result, int) else data
        stream = self._stream
        if stream and stream.kind == "write":
            text, more = self._stream_data(stream, data)
            return Decoded("bulk_out", f"{len(data)} bytes: {text}", {"bytes": len(data), **more})
        if self._out:
            start, size = self._out[0]
            self.memory.sram.write(start, data[:size])
            self._windows = [*self._windows[1 - KEPT_WINDOWS:], (start, data[:size])]
            if len(data) >= size:
                self._out.popleft()
            else:
                self._out[0] = (start + len(data), size - len(data))
            last = int.from_bytes(data[-4:], "little") if len(data) >= 4 else 0
            return Decoded("bulk_out", f"{len(data)} bytes to SRAM {start:#x} (slot {start // SLOT}), "
                                       f"last dword {last:#010x}",
                           {"bytes": len(data), "sram": start, "last_dword": last})
        return Decoded("bulk_out", f"{len(data)} bytes, nothing armed", {"bytes": len(data)})

    def _bulkRead(self, args: list, result: Any) -> Decoded:
        data = bytes(result) if result is not None else b""
        stream = self._stream
        if stream and stream.kind == "read":
            text, more = self._stream_data(stream, data)
            return Decoded("bulk_in", f"{len(data)} bytes: {text}", {"bytes": len(data), **more})
        if self._in is not None:
            if data:
                self.memory.sram.write(0, data)
                self._in = None
            more = "..." if len(data) > 16 else ""
            return Decoded("bulk_in", f"{len(data)} bytes from SRAM: {data[:16].hex()}{more}",
                           {"bytes": len(data), "sram": 0})
        return Decoded("bulk_in", f"{len(data)} bytes (drain)", {"bytes": len(data)})

    def _stream_data(self, stream: _Stream, data: bytes) -> tuple[str, dict]:
        address = stream.address
        stream.address += len(data)
        stream.left -= len(data)
        if stream.left <= 0:
            self._stream = None
        found = self._bar(address)
        place = self._place(address)
        details: dict[str, Any] = {"address": address, "place": place}
        if found is None:
            return f"{place} {data[:16].hex()}{'...' if len(data) > 16 else ''}", details
        index, offset = found
        if index == 5:
            return self._register_stream(stream.kind, offset // 4, data, details)
        if index == 0:
            if stream.kind == "write":
                self.memory.vram.write(offset, data)
            else:
                self._vram_was_read(offset, data)
        return f"{place} {data[:16].hex()}{'...' if len(data) > 16 else ''}", details

    def _register_stream(self, kind: str, first: int, data: bytes, details: dict) -> tuple[str, dict]:
        words = [int.from_bytes(data[at:at + 4], "little") for at in range(0, len(data) & ~3, 4)]
        shown = []
        for n, value in enumerate(words):
            if kind == "write":
                self._register_write(first + n, value)
            else:
                self._values[first + n] = value
            if value or self.chip.register(first + n):       # zeroes without a name say nothing
                shown.append(f"{self.chip.register_name(first + n)}={value:#x}")
        details["registers"] = {self.chip.register_name(first + n): value for n, value in enumerate(words)}
        more = f" and {len(shown) - SHOWN_REGISTERS} more" if len(shown) > SHOWN_REGISTERS else ""
        return f"{len(words)} registers: {', '.join(shown[:SHOWN_REGISTERS])}{more}", details

    # ---- what is learnt on the way

    def _vram_was_read(self, offset: int, data: bytes) -> None:
        self.memory.vram.write(offset, data)
        if self.chip.certain:
            return
        size = self._values.get(CONFIG_MEMSIZE)
        if not size:
            return
        at = size * MIB - discovery.OFFSET_FROM_VRAM_END
        if not at <= offset < at + discovery.MAX_BYTES:
            return
        header = self.memory.vram.read(at, discovery.HEADER_BYTES)
        try:
            whole = self.memory.vram.read(at, discovery.binary_bytes(header)) if header else None
        except UsbGpuError:
            return
        if whole:
            self.chip.learn(whole)

    def _forget_board(self) -> None:
        self._pending = self._stream = None
        self.pci = Pci()
        self._values.clear()

    # ---- SRAM

    def _arm(self, name: str, value: int, index: int) -> Decoded:
        size, slot = (value & ~IN_FLAG) * SECTOR, index & 0xFF
        details = {"bytes": size, "slot": slot, "slots": max(1, index >> 8)}
        if value & IN_FLAG:
            self._in = size
            return Decoded(name, f"arm bulk IN: {size} bytes of SRAM from slot {slot}, released by the GPU", details)
        self._out.append((slot * SLOT, size))
        return Decoded(name, f"arm bulk OUT: {size} bytes to SRAM slot {slot}", details)
