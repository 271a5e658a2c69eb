"""The protocol of the patched stock ("legacy") firmware: SCSI commands that poke the chip's registers.

The firmware believes in an NVMe drive (START_UP makes it), so block writes fill the SRAM. Everything else is XDATA:
a PCIe packet is a dozen pokes into the packet engine's registers, and the GPU's data is read through windows.

Everything works, ten to a thousand times slower than with the open firmware, and depends on variables of one stock
build (AS_USB4_240417_85_00_00). Sources: tinygrad of May 2025 to July 2026 (runtime/support/usb.py, system.py);
asm2464pd-firmware handmade/src/pcie_pio.h for the order in which the packet engine's flags are cleared.
"""
from __future__ import annotations

import logging
import struct
import time
import warnings

from .. import errors
from . import tlp
from .bridge import Bridge
from .facts import FACTS
from .identity import Identity, wrong_mode
from .pending import Pending
from .scsi import Bot, Command, ScsiLink
from .uas import Uas

log = logging.getLogger(__name__)

_LEGACY, _XDATA = FACTS["legacy"], FACTS["xdata"]
READ_XDATA, WRITE_XDATA, WRITE_BLOCKS = (_LEGACY["commands"][name] for name in ("read_xdata", "write_xdata", "write16"))
ADDRESS_PREFIX, PHY_PLANE_BIT = _LEGACY["address_prefix"], 1
START_UP = tuple((int(address, 16), value) for address, value in _LEGACY["start_up"])
SLOT_STATE, COMPLETION_STATE, SLOT_POINTER = (tuple((int(address, 16), value) for address, value in _LEGACY[name])
                                              for name in ("slot_state", "completion_state", "slot_pointer"))
# Of the packet engine.
FMT, ENABLES, ADDRESS, ADDRESS_HIGH, DATA, HEADER, LAUNCH, HAD_DATA, FLAGS = (
    _XDATA[f"tlp_{name}"] for name in ("fmt", "enables", "address", "address_high", "data", "header", "launch",
                                       "had_data", "flags"))
LAUNCH_PACKET = 0x0F
FLAG_ERROR, FLAG_DONE, FLAG_SENT = 1, 2, 4
ENGINE_GAVE_UP = 0xFF           # as the open firmware says it
COMPLETION_SECONDS = 0.5        # of the order of the open firmware's patience
# Power: rails and PERST#, registers that the open firmware uses for it.
PERST, PERST_ASSERTED = _XDATA["perst"], 1
RAIL_3V3, RAIL_3V3_ON = _XDATA["rail_3v3"], 0x20
RAIL_12V, RAIL_12V_ON = _XDATA["rail_12v"], 0x01
POWER_GOOD_SECONDS = 0.1        # PCIe CEM: PERST# stays asserted for 100 ms after power is good

READ_CHUNK = 255                # bytes per read
BLOCK = 512
SLOT_BYTES, SRAM_BYTES = FACTS["sram"]["slot_bytes"], FACTS["sram"]["bytes"]
WRITE_CHUNK = 64 * 1024         # what a longer write consists of
READS_AT_ONCE = 16              # packets per submission; the reference driver's number on Linux

SLOW_FIRMWARE = ("The dock runs the patched stock firmware: everything works, but 10 to 1000 times slower than with "
                 "the open firmware (usbgpu adapter flash FILE).")


class LegacyAdapter(Bridge):
    """One adapter behind `handle`; the same operations as asm2464pd.Adapter's, as far as the firmware has them.

    Thread-safe: every operation holds `lock`.

    Args:
        handle: python-libusb1's transfer methods. Streams, where the handle has them, make it faster.
        streams: False = bulk-only transport in any case. libusb's streams have crashed host controllers badly
            (asm2464pd-firmware reset_xhci.sh), which is why the libusb transport does not offer them.
        identity: what is known of it already.
    """

    can_arm_reads = can_stream = sram_slots = False
    link_up_states = (FACTS["ltssm"]["l0"], FACTS["ltssm"]["l0_stock"])

    def __init__(self, handle, *, streams: bool = True, identity: Identity | None = None) -> None:
        super().__init__(handle, identity)
        self._streams = streams
        self.scsi = self._transport()
        self._registers: dict[int, int] = {}     # what the packet engine's registers are known to hold
        self._at_start = False                   # is it known that the next block write begins at the SRAM's start?

    def _transport(self) -> ScsiLink:
        # High Speed has no streams; the transport's other way of moving data is not worth having.
        use_streams = self._streams and Uas.is_offered_by(self.handle) and self.identity.super_speed
        return (Uas if use_streams else Bot)(self)

    def attach(self, handle) -> None:
        super().attach(handle)
        self.scsi = self._transport()

    def describe(self) -> dict:
        return {**super().describe(), "transport": "UAS" if isinstance(self.scsi, Uas) else "bulk-only"}

    # ---------------------------------------------------------------- opening and the link

    def start(self) -> None:
        with self.lock:
            if self.identity.mode not in ("legacy", "unknown"):
                raise wrong_mode(self.identity)
            self._super_speed = self.identity.super_speed
            if not self.started:
                warnings.warn(SLOW_FIRMWARE, stacklevel=2)
            self.scsi.start()
            self._make_believe()
            self.started = True

    def _make_believe(self) -> None:
        """The firmware shall think that an NVMe drive is ready."""
        self._registers.clear()
        self._at_start = False
        self._poke(START_UP)

    def recover(self) -> None:
        with self.lock:
            self.stats.retries += 1
            self._link_checked = False
            self.scsi.reset()
            self._make_believe()

    def power(self, on: bool) -> None:
        """There is no request for it: rails and PERST# by register, in the order of the open firmware. That the stock
        firmware does not interfere is inferred."""
        with self.lock:
            self._link_checked = False
            rails = ((RAIL_3V3, RAIL_3V3_ON), (RAIL_12V, RAIL_12V_ON))
            self._change(PERST, PERST_ASSERTED, True)
            for register, bit in rails if on else reversed(rails):
                self._change(register, bit, on)
            if on:
                time.sleep(POWER_GOOD_SECONDS)
                self._change(PERST, PERST_ASSERTED, False)
            self._registers.clear()

    def _change(self, register: int, bits: int, on: bool) -> None:
        value = self.read_xdata(register, 1)[0]
        self.write_xdata(register, bytes([value | bits if on else value & ~bits]))

    def _ask_something(self) -> None:
        self.scsi._ask_something()

    # ---------------------------------------------------------------- XDATA

    @staticmethod
    def _read_command(address: int, nbytes: int, bank: int = 0) -> Command:
        prefix = ADDRESS_PREFIX | (PHY_PLANE_BIT if bank else 0)
        return Command(struct.pack(">BBBHB", READ_XDATA, nbytes, prefix, address & 0xFFFF, 0), b"", nbytes)

    @staticmethod
    def _write_command(address: int, value: int, bank: int = 0) -> Command:
        prefix = ADDRESS_PREFIX | (PHY_PLANE_BIT if bank else 0)
        return Command(struct.pack(">BBBHB", WRITE_XDATA, value, prefix, address & 0xFFFF, 0))

    def read_xdata(self, address: int, nbytes: int, bank: int = 0) -> bytes:
        """Bytes of the adapter's address space, lowest first: not atomic against a GPU that writes there."""
        commands = [self._read_command(address + at, min(READ_CHUNK, nbytes - at), bank)
                    for at in range(0, nbytes, READ_CHUNK)]
        return b"".join(self._run(commands))

    def write_xdata(self, address: int, data: bytes, bank: int = 0) -> None:
        """One command per byte."""
        self._run([self._write_command(address + at, value, bank) for at, value in enumerate(data)])

    def _poke(self, writes) -> None:
        self._run([self._write_command(address, value) for address, value in writes])

    def _run(self, commands: list[Command]) -> list[bytes]:
        with self.lock:
            try:
                answers = self.scsi.run(commands)
            except errors.LinkError:
                self._registers.clear()          # who knows which of them have run
                raise
        for command, answer in zip(commands, answers, strict=True):
            if len(answer) != command.length_in:
                raise self._error(errors.LinkError("The adapter answered a read of its memory with too few bytes.",
                                                   asked=command.length_in, got=len(answer)))
        return answers

    # ---------------------------------------------------------------- PCIe packets

    def _packet(self, fmt: int, address: int, size: int, value: int) -> list[Command]:
        """The pokes that emit one packet; registers that hold their value already are left out."""
        wanted = {FMT: bytes([fmt]), ENABLES: bytes([tlp.byte_enables(address, size)]),
                  ADDRESS: struct.pack(">I", address & 0xFFFF_FFFC), ADDRESS_HIGH: struct.pack(">I", address >> 32)}
        if fmt & 0x40:                           # with data
            wanted[DATA] = struct.pack(">I", (value & (1 << 8 * size) - 1) << 8 * (address & 3))
        pokes = []
        for first, content in wanted.items():
            for register, byte in enumerate(content, first):
                if self._registers.get(register) != byte:
                    pokes.append(self._write_command(register, byte))
                    self._registers[register] = byte
        if tlp.is_posted(fmt):
            return [*pokes, self._write_command(LAUNCH, LAUNCH_PACKET), self._write_command(FLAGS, FLAG_SENT)]
        for register in range(DATA, DATA + 4):   # will hold the completion's
            self._registers.pop(register, None)
        # "done" of the packet before must not be taken for this one's
        return [*pokes, self._write_command(FLAGS, FLAG_DONE), self._write_command(FLAGS, FLAG_SENT),
                self._write_command(LAUNCH, LAUNCH_PACKET)]

    # Flags first: data and header are complete once they say so.
    _COLLECT_BYTES = HEADER + 2 - DATA

    def _collect(self) -> list[Command]:
        return [self._read_command(FLAGS, 1), self._read_command(DATA, self._COLLECT_BYTES),
                self._read_command(HAD_DATA, 1)]

    def _launch(self, fmt: int, address: int, size: int, value: int) -> None:
        self._run(self._packet(fmt, address, size, value))

    def _launch_and_collect(self, fmt: int, address: int, size: int, value: int) -> tlp.Completion:
        answers = self._run(self._packet(fmt, address, size, value) + self._collect())[-3:]
        deadline = time.monotonic() + COMPLETION_SECONDS
        while not answers[0][0] & (FLAG_DONE | FLAG_ERROR):
            if time.monotonic() > deadline:
                return tlp.Completion(0, 0, 0, False, ENGINE_GAVE_UP)
            answers = self._run(self._collect())
        return self._completion(*answers)

    def _completion(self, flags: bytes, registers: bytes, had_data: bytes) -> tlp.Completion:
        if flags[0] & FLAG_ERROR:
            self._poke([(FLAGS, FLAG_ERROR)])
            return tlp.Completion(0, 0, 0, False, FLAG_ERROR)
        header = int.from_bytes(registers[-2:], "big")
        return tlp.Completion(int.from_bytes(registers[:4], "big"), header >> 13, header & 0xFFF,
                              bool(had_data[0] & 1), 0)

    def submit_write32(self, address: int, value: int) -> Pending:
        """As write32; nothing is left in flight."""
        self.write32(address, value)
        done = Pending(self._translate)
        done.finish(4)
        return done

    # ---------------------------------------------------------------- PCIe memory

    def memory_write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write to PCIe memory in ascending order. Posted: errors are invisible. Alignment is free."""
        view = memoryview(data).cast("B")
        with self.lock:
            head = min(-address & 3, len(view))
            if head:
                self._write_fragment(address, view[:head])
            end = head + (len(view) - head & ~3)
            commands: list[Command] = []
            for at in range(head, end, 4):
                fmt = tlp.memory_fmt(address + at, write=True, wide=self._wide_headers)
                commands += self._packet(fmt, address + at, 4, int.from_bytes(view[at:at + 4], "little"))
            self._run(commands)
            if end < len(view):
                self._write_fragment(address + end, view[end:])

    def memory_read(self, address: int, nbytes: int) -> bytes:
        """Read PCIe memory, dword by dword, completions checked. Alignment is free.

        Raises:
            LinkError: an address is refused.
        """
        start, end = address & ~3, address + nbytes + 3 & ~3
        data = bytearray()
        with self.lock:
            while start + len(data) < end:
                at = start + len(data)
                data += self._read_dwords(at, min(READS_AT_ONCE, (end - at) // 4))
        return bytes(data[address - start:address - start + nbytes])

    def _read_dwords(self, address: int, count: int) -> bytes:
        """Some dwords in one submission. Where a packet was not complete at once, the rest is left to the next."""
        commands: list[Command] = []
        places = []
        for at in range(address, address + 4 * count, 4):
            commands += self._packet(tlp.memory_fmt(at, write=False, wide=self._wide_headers), at, 4, 0)
            places.append(len(commands))
            commands += self._collect()
        answers = self._run(commands)
        data = b""
        for place in places:
            flags, registers, had_data = answers[place:place + 3]
            if flags[0] & (FLAG_DONE | FLAG_ERROR) != FLAG_DONE:
                break
            completion = self._completion(flags, registers, had_data)
            if completion.status != tlp.SUCCESS:
                break
            data += completion.data.to_bytes(4, "little")
        # What went wrong, if anything, is found out packet by packet.
        return data or self.read32(address).to_bytes(4, "little")

    # ---------------------------------------------------------------- SRAM

    def sram_write(self, slot: int, data: bytes | bytearray | memoryview) -> None:
        """Fill the SRAM from `slot` on, padded with zeros. The data is there when this returns.

        The firmware puts every write at the start, so what lies before `slot` is zeroed.
        """
        image = bytes(slot * SLOT_BYTES) + bytes(data)
        if not data or len(image) > SRAM_BYTES:
            raise ValueError(f"{len(data)} bytes from slot {slot} do not fit into the adapter's SRAM")
        with self.lock:
            if not self._at_start:               # this write, or another process's, was cut off in the middle
                self._poke(SLOT_STATE)
                self._poke(COMPLETION_STATE)
                self._poke(SLOT_POINTER)
            self._at_start = False
            if len(image) <= SLOT_BYTES:
                self._write_blocks(image + bytes(-len(image) % BLOCK))
            else:
                image += bytes(-len(image) % WRITE_CHUNK)
                for at in range(0, len(image), WRITE_CHUNK):
                    self._write_blocks(image[at:at + WRITE_CHUNK])
                self._poke(SLOT_POINTER)         # the next write begins at the start again
            self._at_start = True

    def _write_blocks(self, blocks: bytes) -> None:
        """One write command. The firmware's slot allocator decides where it lands, not the block address."""
        command = Command(struct.pack(">BBQIBB", WRITE_BLOCKS, 0, 0, len(blocks) // BLOCK, 0, 0), blocks)
        self._run([command, *(self._write_command(*write) for write in SLOT_STATE)])
        self._poke(COMPLETION_STATE)

    def sram_write_landed(self, slot: int, data: bytes | bytearray | memoryview, timeout_s: float = 1.0) -> None:
        """As sram_write: a command that has ended has landed."""
        self.sram_write(slot, data)

    def sram_clear(self) -> None:
        """Zero the whole SRAM, so that nothing stale in it can be taken for fresh data."""
        self.sram_write(0, bytes(SRAM_BYTES))
