"""The legacy protocol as the fact sheets describe it: commands over bulk-only or UAS, TLPs by register pokes."""
from __future__ import annotations

import struct
import threading
from typing import NamedTuple

from torch_usbgpu.emulator import EmulatedAdapter

COMMAND, STATUS, DATA_IN, DATA_OUT = 0x04, 0x83, 0x81, 0x02
START_UP = [(0x054B, 0x20), (0x054E, 0x04), (0x05A8, 0x02), (0x05F8, 0x04), (0x07EC, 1), (0x07ED, 0), (0x07EE, 0),
            (0x07EF, 0), (0xC422, 0x02), (0x0000, 0x33)]


class Command(NamedTuple):
    cdb: bytes
    receive: int = 0
    send: bytes | None = None


def read_xdata(address: int, count: int) -> Command:
    return Command(struct.pack(">BBBHB", 0xE4, count, 0x50 | address >> 16 & 1, address & 0xFFFF, 0), count)


def write_xdata(address: int, value: int) -> Command:
    return Command(struct.pack(">BBBHB", 0xE5, value, 0x50 | address >> 16 & 1, address & 0xFFFF, 0))


class CommandFailed(Exception):
    pass


class BulkOnlyWire:
    def __init__(self, usb: EmulatedAdapter):
        self.usb, self.tag = usb, 0
        if usb.kernelDriverActive(0):
            usb.detachKernelDriver(0)
            usb.resetDevice()
        usb.setConfiguration(1)
        usb.claimInterface(0)
        usb.setInterfaceAltSetting(0, 0)

    def run(self, *commands: Command) -> list[bytes]:
        results = []
        for cdb, receive, send in commands:
            self.tag += 1
            length = receive or (len(send) if send is not None else 0)
            self.usb.bulkWrite(DATA_OUT, struct.pack("<IIIBBB", 0x43425355, self.tag, length, 0x80 if receive else 0, 0,
                                                     len(cdb)) + cdb.ljust(16, b"\0"), 1000)
            results.append(self.usb.bulkRead(DATA_IN, receive, 1000) if receive else b"")
            if send is not None:
                self.usb.bulkWrite(DATA_OUT, send, 1000)
            signature, tag, residue, status = struct.unpack("<IIIB", self.usb.bulkRead(DATA_IN, 13, 2000))
            assert (signature, tag) == (0x53425355, self.tag)
            if status:
                raise CommandFailed(status, residue)
        return results


class UasWire:
    """A window of up to 31 commands: command, status and data transfers, all submitted, then all awaited."""
    WINDOW = 31

    def __init__(self, usb: EmulatedAdapter, reverse: bool = False):
        self.usb, self.reverse = usb, reverse
        if usb.kernelDriverActive(0):
            usb.detachKernelDriver(0)
        usb.setConfiguration(1)
        usb.claimInterface(0)
        usb.setInterfaceAltSetting(0, 1)
        for endpoint in (COMMAND, STATUS, DATA_IN, DATA_OUT):
            usb.clearHalt(endpoint)
        self.streams = usb.allocStreams(31 * 3, [DATA_OUT, DATA_IN, STATUS])

    def run(self, *commands: Command) -> list[bytes]:
        results = []
        for start in range(0, len(commands), self.WINDOW):
            results += self._window(commands[start:start + self.WINDOW])
        return results

    def _window(self, commands) -> list[bytes]:
        done = threading.Semaphore(0)
        transfers, data, statuses = [], [], []

        def add(endpoint, stream, buffer):
            transfer = self.usb.getTransfer()
            finished = lambda _transfer: done.release()  # noqa: E731
            if stream:
                transfer.setBulkStream(endpoint, stream, buffer, callback=finished, timeout=400)
            else:
                transfer.setBulk(endpoint, buffer, callback=finished, timeout=400)
            transfers.append(transfer)
            return transfer

        for slot, (cdb, receive, send) in enumerate(commands):
            unit = bytes([1, 0, 0, slot + 1]) + bytes(12) + cdb.ljust(16, b"\0")
            add(COMMAND, 0, unit)
            statuses.append(add(STATUS, slot + 1, 64))
            data.append(add(DATA_IN, slot + 1, receive) if receive else None)
            if send is not None:
                add(DATA_OUT, slot + 1, send)
        order = transfers
        if self.reverse:  # only the order of the commands means something
            order = [t for t in reversed(transfers) if t.getEndpoint() != COMMAND]
            order += [t for t in transfers if t.getEndpoint() == COMMAND]
        for transfer in order:
            transfer.submit()
        for _ in transfers:
            assert done.acquire(timeout=5)
        for slot, transfer in enumerate(statuses):
            unit = bytes(transfer.getBuffer()[:transfer.getActualLength()])
            assert unit[0] == 3 and unit[3] == slot + 1, unit
            if unit[6]:
                raise CommandFailed(unit[6], unit[16:])
        assert all(transfer.getStatus() == 0 for transfer in transfers)
        return [bytes(t.getBuffer()[:t.getActualLength()]) if t else b"" for t in data]


class LegacyDriver:
    """What a driver of 2025 does, over either transport."""

    def __init__(self, wire):
        self.wire = wire
        self.shadow: dict[int, int] = {}
        wire.run(*(write_xdata(*pair) for pair in START_UP))

    def read(self, address: int, count: int) -> bytes:
        parts = [read_xdata(address + at, min(255, count - at)) for at in range(0, count, 255)]
        return b"".join(self.wire.run(*parts))

    def write(self, address: int, data: bytes) -> None:
        self.wire.run(*(write_xdata(address + i, byte) for i, byte in enumerate(data)))

    def tlp(self, fmt: int, address: int, value: int | None = None, size: int = 4) -> int | None:
        lane = address & 3
        registers = {0xB217: bytes([((1 << size) - 1) << lane]), 0xB210: bytes([fmt]),
                     0xB218: struct.pack(">I", address & 0xFFFF_FFFC), 0xB21C: struct.pack(">I", address >> 32)}
        if value is not None:
            registers[0xB220] = struct.pack(">I", value << 8 * lane)
        pokes = []
        for register, content in registers.items():
            for i, byte in enumerate(content):
                if self.shadow.get(register + i) != byte:
                    pokes.append(write_xdata(register + i, byte))
                    self.shadow[register + i] = byte
        self.wire.run(*pokes, write_xdata(0xB254, 0x0F), write_xdata(0xB296, 0x04))
        if fmt & 0xDF == 0x40:
            return None
        while not (status := self.read(0xB296, 1)[0]) & 2:
            assert not status & 1, "completion time-out"
        assert status == 2
        had_data, header = self.read(0xB284, 1)[0] & 1, int.from_bytes(self.read(0xB22A, 2), "big")
        if header >> 13:
            raise CommandFailed(header >> 13)
        assert header & 0xFFF == (4 if fmt & 0xBE == 0x04 else size)
        if fmt & 0xBE == 0x04:
            assert had_data == (value is None)
        for i in range(4):
            self.shadow.pop(0xB220 + i, None)
        if value is not None:
            return None
        return int.from_bytes(self.read(0xB220, 4), "big") >> 8 * lane & (1 << 8 * size) - 1

    def config(self, bus: int, register: int, value: int | None = None, size: int = 4) -> int | None:
        fmt = (0x44 if value is not None else 0x04) | (bus > 0)
        return self.tlp(fmt, bus << 24 | register, value, size)

    def read32(self, address: int) -> int:
        return self.tlp(0x20, address)

    def write32(self, address: int, value: int) -> None:
        self.tlp(0x60, address, value)

    def bring_up(self, vram: int, registers: int) -> LegacyDriver:
        for bus in range(4):
            self.config(bus, 0x18, (bus + 1) << 8 | 4 << 16)
            self.config(bus, 0x20, 0xFFFF_1000)
            self.config(bus, 0x24, 0xFFFF_0000)
            self.config(bus, 0x28, 8)
            self.config(bus, 0x2C, 0xFFFF_FFFF)
            self.config(bus, 0x04, 7, size=1)
        self.config(4, 0x10, vram & 0xFFFF_FFFF)
        self.config(4, 0x14, vram >> 32)
        self.config(4, 0x24, registers)
        self.config(4, 0x04, 7, size=1)
        return self

    def sram_write(self, data: bytes, lba: int = 0) -> None:
        if len(data) > 0x4000:
            data += bytes(-len(data) % 0x10000)
        for at in range(0, len(data), 0x10000):
            chunk = data[at:at + 0x10000]
            chunk += bytes(-len(chunk) % 512)
            cdb = struct.pack(">BBQIBB", 0x8A, 0, lba, len(chunk) // 512, 0, 0)
            self.wire.run(Command(cdb, send=chunk), *(write_xdata(0x171 + i, 0xFF) for i in range(3)))
            self.wire.run(write_xdata(0xCE6E, 0), write_xdata(0xCE6F, 0))
        if len(data) > 0x4000:
            for i in range(4):
                self.wire.run(write_xdata(0xCE40 + i, 0))
