"""The vendor protocol as bare transfers: what the tests of the model say to it. Shares nothing with the driver."""
from __future__ import annotations

import struct
from typing import NamedTuple

import usb1

from torch_usbgpu.emulator import EmulatedAdapter

READ, READ64, WRITE, WRITE64 = 0x00, 0x20, 0x40, 0x60
CONFIG_READ0, CONFIG_WRITE0, CONFIG_READ1, CONFIG_WRITE1 = 0x04, 0x44, 0x05, 0x45
VRAM, REGISTERS, DOORBELLS = 8 << 32, 0x1000_0000, (8 << 32) + (1 << 30)
SRAM, SUBMISSION, COMPLETION = 0x20_0000, 0x82_0000, 0x82_2000
OUT, IN = 0x02, 0x81
SHORT = 60  # ms: for what is expected to time out


class Reply(NamedTuple):
    data: int
    status: int       # PCIe completion status
    byte_count: int
    had_data: int
    firmware: int     # 0 done, 1 error flag, 0xFF time-out


class Wire:
    def __init__(self, chip: str = "probe", **options):
        self.usb = EmulatedAdapter(chip, **options)

    # -- requests
    def read(self, address: int, count: int = 1, bank: int = 0) -> bytes:
        return self.usb.controlRead(0xC0, 0xE4, address, bank << 8, count, 1000)

    def poke(self, address: int, value: int, bank: int = 0) -> None:
        self.usb.controlWrite(0x40, 0xE5, address, bank << 8 | value, b"", 1000)

    def f0(self, fmt: int, address: int, value: int = 0, mode: int = 0, enables: int = 0xF) -> None:
        payload = struct.pack("<QI", address, value)
        self.usb.controlWrite(0x40, 0xF0, fmt | enables << 8, mode, payload, 1000)

    def reply(self) -> Reply:
        raw = self.usb.controlRead(0xC0, 0xF0, 0, 0, 8, 1000)
        return Reply(int.from_bytes(raw[:4], "little"), raw[4] >> 5, (raw[4] & 0xF) << 8 | raw[5], raw[6], raw[7])

    def f2(self, nbytes: int, slot: int = 0, count: int | None = None, into_host: bool = False) -> None:
        sectors = -(-nbytes // 512)
        count = -(-nbytes // 0x4000) if count is None else count
        self.usb.controlWrite(0x40, 0xF2, sectors | (0x8000 if into_host else 0), slot | count << 8, b"", 1000)

    def power(self, on: bool, timeout: int = 10_000) -> None:
        self.usb.controlWrite(0x40, 0xF3, int(on), 0, b"", timeout)

    # -- PCIe
    def single(self, fmt: int, address: int, value: int = 0, enables: int = 0xF) -> Reply:
        self.f0(fmt, address, value, enables=enables)
        return self.reply()

    def config_read(self, bus: int, register: int, device: int = 0, function: int = 0, size: int = 4) -> Reply:
        return self.single(
            CONFIG_READ1 if bus else CONFIG_READ0,
            bus << 24 | device << 19 | function << 16 | register & ~3,
            enables=((1 << size) - 1) << (register & 3),
        )

    def config(self, bus: int, register: int, size: int = 4, function: int = 0) -> int:
        reply = self.config_read(bus, register, function=function, size=size)
        assert (reply.status, reply.firmware) == (0, 0), reply
        return reply.data >> 8 * (register & 3)

    def config_write(self, bus: int, register: int, value: int, size: int = 4, function: int = 0) -> Reply:
        return self.single(CONFIG_WRITE1 if bus else CONFIG_WRITE0, bus << 24 | function << 16 | register & ~3,
                           value << 8 * (register & 3), enables=((1 << size) - 1) << (register & 3))

    def bridges(self, below: int = 4) -> None:
        for bus in range(below):
            self.config_write(bus, 0x18, (bus + 1) << 8 | 4 << 16)
            self.config_write(bus, 0x20, 0xFFFF_1000)
            self.config_write(bus, 0x24, 0xFFFF_0000)
            self.config_write(bus, 0x28, 8)
            self.config_write(bus, 0x2C, 0xFFFF_FFFF)
            self.config_write(bus, 0x04, 7, size=1)

    def bring_up(self) -> Wire:
        """Bridges, BARs at VRAM / DOORBELLS / REGISTERS, memory decode and bus mastering on."""
        self.bridges()
        for register, value in ((0x10, VRAM), (0x18, DOORBELLS)):
            self.config_write(4, register, value & 0xFFFF_FFFF)
            self.config_write(4, register + 4, value >> 32)
        self.config_write(4, 0x24, REGISTERS)
        self.config_write(4, 0x04, 7, size=1)
        return self

    def write32(self, address: int, value: int) -> None:
        self.f0(WRITE64 if address >> 32 else WRITE, address, value)

    def read32(self, address: int) -> int:
        reply = self.single(READ64 if address >> 32 else READ, address)
        assert reply.status == 0 and reply.firmware == 0, reply
        return reply.data

    def arm_write(self, address: int, dwords: int) -> None:
        self.f0(WRITE64 if address >> 32 else WRITE, address, dwords, mode=1)

    def arm_read(self, address: int, dwords: int) -> None:
        self.f0(READ64 if address >> 32 else READ, address, dwords, mode=2)

    def stream_write(self, address: int, data: bytes) -> None:
        self.arm_write(address, len(data) // 4)
        assert self.usb.bulkWrite(OUT, data, 1000) == len(data)

    def stream_read(self, address: int, nbytes: int) -> bytes:
        self.arm_read(address, nbytes // 4)
        return self.usb.bulkRead(IN, nbytes, 1000)

    # -- the probe endpoint's DMA engine
    def dma(
        self,
        command: int,
        bus_address: int,
        vram_offset: int = 0,
        nbytes: int = 0,
        value: int = 0,
        delay_us: int | None = None,
    ) -> int:
        """1: VRAM to bus, 2: bus to VRAM, 3: dword `value` to bus. Returns 1 claimed, 2 unclaimed, 3 not emitted."""
        for register, content in ((0x00, bus_address & 0xFFFF_FFFF), (0x04, bus_address >> 32), (0x08, vram_offset),
                                  (0x0C, nbytes), (0x14, value), (0x18, delay_us or 0), (0x1C, 0)):
            self.write32(REGISTERS + register, content)
        self.write32(REGISTERS + 0x10, command | (0x100 if delay_us is not None else 0))
        return self.read32(REGISTERS + 0x1C)

    def release(self, slot: int = 0, offset: int = 12) -> None:
        self.dma(3, COMPLETION + offset, value=slot)

    # -- what silence looks like
    def bulk_in_times_out(self) -> bool:
        try:
            self.usb.bulkRead(IN, 4096, SHORT)
        except usb1.USBErrorTimeout as error:
            assert error.received == b""
            return True
        return False

    def bulk_out_accepts(self, data: bytes) -> int:
        """Bytes taken before the endpoint went silent."""
        try:
            return self.usb.bulkWrite(OUT, data, SHORT)
        except usb1.USBErrorTimeout as error:
            return error.transferred
