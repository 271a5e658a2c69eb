"""The vendor protocol of the ASM2464PD's open ("custom") firmware.

The serialisation rules of the chip live here and nowhere else:

- Requests on EP0 run one at a time; bulk data carries no tag, so the last request that armed an endpoint
  decides what the next bulk bytes mean. One lock covers "request and its bulk transfer".
- No 0xF0 while SRAM data is still on bulk OUT, and no stream read while an SRAM read is armed (single packets
  take its place): both would use the same endpoint.
- An SRAM arm (0xF2) must have completed before its bulk transfer is submitted.
- A stream read whose completion never comes hangs the firmware for good, so the link is looked at first.
- 0xF0 OUT always carries 12 bytes; a posted packet is never followed by 0xF0 IN.

Sources: asm2464pd-firmware handmade/src/{main.c,usb.h,pcie_pio.h}; tinygrad runtime/support/usb.py.
"""
from __future__ import annotations

import logging
import time
import warnings
from contextlib import contextmanager

import usb1

from .. import errors
from . import tlp
from .bridge import Bridge
from .facts import FACTS
from .identity import Identity, wrong_mode
from .pending import Pending
from .transfers import BULK_IN, BULK_OUT

log = logging.getLogger(__name__)

READ_XDATA = FACTS["requests"]["read_xdata"]
WRITE_XDATA = FACTS["requests"]["write_xdata"]
PCIE = FACTS["requests"]["pcie"]
SRAM = FACTS["requests"]["sram"]
PCIE_POWER = FACTS["requests"]["pcie_power"]
SINGLE = FACTS["pcie_mode"]["single"]
STREAM_WRITE, STREAM_READ = FACTS["pcie_mode"]["stream_write"], FACTS["pcie_mode"]["stream_read"]

SLOT_BYTES = FACTS["sram"]["slot_bytes"]
SECTOR_BYTES = FACTS["sram"]["sector_bytes"]
SRAM_BYTES = FACTS["sram"]["bytes"]
SRAM_IN_FLAG = FACTS["sram"]["in_flag"]

XDATA_SRAM = FACTS["xdata"]["sram_window"]
XDATA_USB_SPEED = FACTS["xdata"]["usb_speed"]
USB_GBPS = {0: 0.012, 1: 0.48, 2: 5.0, 3: 10.0}       # by what it holds

# Host time-outs in milliseconds, those of the reference driver.
TIMEOUT_PCIE_MS, TIMEOUT_XDATA_MS, TIMEOUT_POWER_MS = 5000, 1000, 10_000
TIMEOUT_BULK_MS, TIMEOUT_STREAM_READ_MS = 10_000, 30_000
CANCEL_SECONDS = 1.0            # for a transfer that was taken back to end
MARGIN_SECONDS = 2.0            # for the system to report a transfer that it has timed out
DRAIN_BYTES, DRAIN_MS = 65536, 100
LANDING_MARKER, LANDING_SECONDS = 0x5EA1_0000, 0.5e-3

STREAM_CHUNK_BYTES = 1 << 20    # bounds the time that EP0 is blocked by one stream
XDATA_CHUNK = {True: 512, False: 64}   # bytes per 0xE4 at SuperSpeed and at High Speed
TIMEOUT_PROBE_MS, PROBE_SECONDS = 500, 0.2
SLOW_LINK = ("The dock is connected at USB 2 speed (480 Mb/s): everything works, but 20 times slower and more. Unplug "
             "it, wait a few seconds, and plug it into a USB3 port with a USB3 cable.")


class Adapter(Bridge):
    """One adapter behind `handle`, any object with python-libusb1's transfer methods.

    Thread-safe: every operation holds `lock`, which callers may also take around several operations.

    Args:
        handle: controlWrite, controlRead, bulkWrite, bulkRead; what else of python-libusb1 it has is used too
            (getTransfer, clearHalt, setInterfaceAltSetting, getProduct, getDeviceSpeed, close).
        guard_seconds: pause after the bulk part of a stream write. The firmware looks at control events
            before bulk events, so a request that follows within microseconds can cut off the last packet.
        identity: what is known of it already.
    """

    def __init__(self, handle, *, guard_seconds: float = 0.0, identity: Identity | None = None) -> None:
        super().__init__(handle, identity)
        self.guard_seconds = guard_seconds
        self._was_super_speed = False
        self._in_armed = 0               # bytes of the armed SRAM read, 0 = none
        self._in_partial = bytearray()
        self._bulk_announced = False     # a request has announced bulk data that has not all passed yet
        self._marker = 0
        self._out_in_flight: list[Pending] = []

    # ---------------------------------------------------------------- opening and the link

    def start(self) -> None:
        """Bring the adapter into a known state, whatever the last user left behind. Does not touch power."""
        with self.lock:
            if self.identity.mode not in ("custom", "unknown"):
                raise wrong_mode(self.identity)
            self._super_speed = self.identity.super_speed
            if not self._super_speed and self._was_super_speed:
                # What was set up for the fast link does not work on the slow one.
                raise errors.WrongMode("The dock has come back at USB 2 speed.",
                                       "Unplug it, wait a few seconds, and plug it into a USB3 port with a USB3 cable.",
                                       mode="usb2", usb_gbps=self.identity.usb_gbps)
            if not self._super_speed and not self.started:
                warnings.warn(SLOW_LINK, stacklevel=2)
            try:
                self._clear_streams()
            except errors.LinkTimeout as error:     # not even to what every USB device answers
                raise errors.LinkTimeout(
                    "The adapter does not answer any more: its firmware hangs.",
                    "Unplug the dock from the computer and from its power, wait ten seconds, plug it in again."
                ) from error
            if not self._super_speed and not self.started:
                self.can_arm_reads = False
                self.has_sram = self._sram_works()
            self._was_super_speed = self._super_speed
            self.started = True

    def _usb_gbps(self) -> float | None:
        return USB_GBPS.get(self.read_xdata(XDATA_USB_SPEED, 1)[0] & 3)

    def _sram_works(self) -> bool:
        """At High Speed nobody has seen the SRAM engine work, so it is tried once: is what we send there afterwards?

        Whether data is released to the host there cannot be tried without a GPU: that is not used.
        """
        before = self.read_xdata(XDATA_SRAM, 8)
        probe = bytes(byte ^ 0x5A for byte in before)
        try:
            self.sram_arm_out(0, SECTOR_BYTES)
            self._bulk_out("sram_out", self._padded(probe), TIMEOUT_PROBE_MS)
            deadline = time.monotonic() + PROBE_SECONDS
            while self.read_xdata(XDATA_SRAM, 8) != probe:
                if time.monotonic() > deadline:
                    raise self._error(errors.LinkTimeout("Data sent to the adapter's SRAM did not arrive there."))
            return True
        except errors.DeviceLost:
            raise
        except errors.LinkError as error:
            log.warning("no SRAM transfers over this link: %s", error.found)
            self._clear_streams()
            return False

    def _clear_streams(self) -> None:
        """Step 1 of the recovery ladder: both endpoints empty, no stream armed, data toggles at zero."""
        self._select_anew()
        self.clear_halt(BULK_OUT)
        self.clear_halt(BULK_IN)
        try:
            # An abandoned stream read leaves up to one packet in the IN FIFO.
            self.handle.bulkRead(BULK_IN, DRAIN_BYTES, timeout=DRAIN_MS)
        except usb1.USBErrorNoDevice as error:
            raise self._translate(error) from error
        except usb1.USBError:
            pass
        self.stats.count_bulk("drain", 0)
        self.clear_halt(BULK_IN)
        self._bulk_announced = False

    def _select_anew(self) -> None:
        """To select the interface makes the firmware drop what is armed. What is still in flight would take the
        place of what is sent next, so it is taken back before."""
        waiting, self._out_in_flight = self._out_in_flight, []
        for pending in waiting:
            pending.cancel(CANCEL_SECONDS)
        self.set_interface(0, 0)
        self._in_armed = 0              # not before it is true: Ctrl-C may come between any two lines
        self._in_partial.clear()

    def power(self, on: bool) -> None:
        """PCIe slot power and PERST#. Acknowledged whether or not the link trains: ask link_is_up() afterwards."""
        with self.lock:
            self._link_checked = False
            self._settle_out()
            self._control_out("pcie_power", PCIE_POWER, int(on), 0, b"", TIMEOUT_POWER_MS)

    def recover(self) -> None:
        """After a stream was cut short or timed out: clear both endpoints and look at the link again."""
        with self.lock:
            self.stats.retries += 1
            self._link_checked = False
            self._clear_streams()

    def disarm(self) -> None:
        """The mildest way: nothing armed, data toggles at zero; what the endpoints hold stays."""
        with self.lock:
            self.stats.retries += 1
            self._select_anew()

    # ---------------------------------------------------------------- XDATA

    def read_xdata(self, address: int, nbytes: int, bank: int = 0) -> bytes:
        """Bytes of the adapter's address space, lowest first: not atomic against a GPU that writes there."""
        chunk = XDATA_CHUNK[self._super_speed]
        parts = []
        with self.lock:
            for offset in range(0, nbytes, chunk):
                size = min(chunk, nbytes - offset)
                data = self._control_in("read_xdata", READ_XDATA, (address + offset) & 0xFFFF, bank << 8, size,
                                        TIMEOUT_XDATA_MS)
                if len(data) != size:
                    raise self._error(errors.LinkError("The adapter answered a read of its memory with too few bytes.",
                                                       address=f"{address + offset:#x}", asked=size, got=len(data)))
                parts.append(data)
        return b"".join(parts)

    def write_xdata(self, address: int, data: bytes, bank: int = 0) -> None:
        """One request per byte: for rare set-up only."""
        with self.lock:
            for offset, byte in enumerate(data):
                self._control_out("write_xdata", WRITE_XDATA, address + offset, bank << 8 | byte, b"", TIMEOUT_XDATA_MS)

    # ---------------------------------------------------------------- single PCIe packets

    def submit_write32(self, address: int, value: int) -> Pending:
        """As write32, without waiting for the control transfer. Several may be in flight; they run in order."""
        with self.lock:
            self._settle_out()
            fmt = tlp.memory_fmt(address, write=True, wide=self._wide_headers)
            payload = tlp.PAYLOAD.pack(address & 0xFFFF_FFFC, address >> 32, value & 0xFFFF_FFFF)
            return self.submit_control("pcie_single", PCIE, fmt | 0xF << 8, SINGLE, payload, TIMEOUT_PCIE_MS)

    def _launch(self, fmt: int, address: int, size: int, value: int) -> None:
        enables = tlp.byte_enables(address, size)
        shifted = (value & ((1 << 8 * size) - 1)) << 8 * (address & 3)
        payload = tlp.PAYLOAD.pack(address & 0xFFFF_FFFC, address >> 32, shifted)
        self._control_out("pcie_single", PCIE, fmt | enables << 8, SINGLE, payload, TIMEOUT_PCIE_MS)

    def _launch_and_collect(self, fmt: int, address: int, size: int, value: int) -> tlp.Completion:
        """OUT and IN stay adjacent under the lock."""
        self._launch(fmt, address, size, value)
        raw = self._control_in("pcie_completion", PCIE, 0, 0, tlp.COMPLETION.size, TIMEOUT_PCIE_MS)
        if len(raw) != tlp.COMPLETION.size:
            raise self._error(errors.LinkError("The adapter handed over a PCIe completion with too few bytes.",
                                               address=f"{address:#x}", asked=tlp.COMPLETION.size, got=len(raw)))
        return tlp.Completion.decode(raw)

    # ---------------------------------------------------------------- PCIe streams

    def memory_write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write to PCIe memory in ascending order. Posted: errors are invisible. Alignment is free."""
        view = memoryview(data).cast("B")
        with self.lock:
            head = min(-address & 3, len(view))
            if head:
                self._write_fragment(address, view[:head])
            body = len(view) - head & ~3
            for start in range(head, head + body, STREAM_CHUNK_BYTES):
                self._stream_write(address + start, view[start:min(start + STREAM_CHUNK_BYTES, head + body)])
            if head + body < len(view):
                self._write_fragment(address + head + body, view[head + body:])

    def _stream_write(self, address: int, data: memoryview) -> None:
        self._settle_out()
        if len(data) == 4:
            self.write(address, int.from_bytes(data, "little"), 4)
            return
        fmt = tlp.memory_fmt(address, write=True, wide=self._wide_headers)
        self._arm_stream("pcie_stream_write", fmt, STREAM_WRITE, address, len(data))
        with self._clearing_on_failure():
            self._bulk_out("pcie_stream_write", data, TIMEOUT_BULK_MS)
        if self.guard_seconds:
            time.sleep(self.guard_seconds)

    def memory_read(self, address: int, nbytes: int) -> bytes:
        """Read PCIe memory by streams. Errors on the bus are invisible (all ones); alignment is free.

        While an SRAM read is armed a stream would take its place on bulk IN; then every dword is a packet of its
        own, at twice the control transfers: enough to look at registers and error logs.
        """
        start, end = address & ~3, address + nbytes + 3 & ~3
        parts = []
        with self.lock:
            if self._in_armed:
                dwords = b"".join(self.read32(at).to_bytes(4, "little") for at in range(start, end, 4))
                return dwords[address - start:address - start + nbytes]
            for at in range(start, end, STREAM_CHUNK_BYTES):
                parts.append(self._stream_read(at, min(STREAM_CHUNK_BYTES, end - at)))
        return b"".join(parts)[address - start:address - start + nbytes]

    def _stream_read(self, address: int, nbytes: int) -> bytes:
        self._settle_out()
        if not self._link_checked and not self.link_is_up():
            raise self._error(errors.LinkError("The PCIe link is down; a stream read now would hang the adapter.",
                                               address=f"{address:#x}"))
        fmt = tlp.memory_fmt(address, write=False, wide=self._wide_headers)
        self._arm_stream("pcie_stream_read", fmt, STREAM_READ, address, nbytes)
        with self._clearing_on_failure():
            data = self._bulk_in("pcie_stream_read", nbytes, TIMEOUT_STREAM_READ_MS)
            if len(data) != nbytes:
                raise self._error(errors.LinkError("A PCIe stream read ended early.", address=f"{address:#x}",
                                                   asked=nbytes, got=len(data)))
        return data

    @contextmanager
    def _clearing_on_failure(self):
        """A stream that was cut short leaves endpoints armed: clear them, then let the first cause go on.

        Ctrl-C is not kept waiting for that: whatever uses the bulk endpoints next clears them first.
        """
        try:
            yield
            self._bulk_announced = False
        except errors.DeviceLost:
            raise
        except errors.LinkError:
            try:
                self.recover()
            except errors.LinkError as second:
                log.warning("clearing the endpoints failed too: %s", second.found)
            raise

    def _arm_stream(self, name: str, fmt: int, mode: int, address: int, nbytes: int) -> None:
        payload = tlp.PAYLOAD.pack(address & 0xFFFF_FFFF, address >> 32, nbytes // 4)
        self._bulk_announced = True
        self._control_out(name, PCIE, fmt | 0xF << 8, mode, payload, TIMEOUT_PCIE_MS)

    # ---------------------------------------------------------------- SRAM (0xF2)

    @staticmethod
    def sram_window(slot: int, nbytes: int) -> tuple[int, int]:
        """(wValue, wIndex) of an arm request for `nbytes` from `slot` on."""
        sectors, slots = -(-nbytes // SECTOR_BYTES), -(-nbytes // SLOT_BYTES)
        if nbytes <= 0 or slot < 0 or (slot + slots) * SLOT_BYTES > SRAM_BYTES:
            raise ValueError(f"{nbytes} bytes from slot {slot} do not fit into the adapter's SRAM")
        return sectors, slots << 8 | slot

    def sram_arm_out(self, slot: int, nbytes: int) -> None:
        """The next bulk OUT goes to `slot`. Complete when this returns, so the data may follow."""
        value, index = self.sram_window(slot, nbytes)
        self._control_out("sram_arm_out", SRAM, value, index, b"", TIMEOUT_XDATA_MS)

    def sram_write(self, slot: int, data: bytes | bytearray | memoryview) -> None:
        """Fill the SRAM from `slot` on, padded with zeros to whole sectors.

        Return means that the USB controller has the bytes, not that they are in the SRAM: what consumes them
        must look for the last dword.
        """
        with self.lock:
            self._settle_out()
            self._bulk_announced = True
            self.sram_arm_out(slot, len(data))
            with self._clearing_on_failure():
                self._bulk_out("sram_out", self._padded(data), TIMEOUT_BULK_MS)

    def sram_write_landed(self, slot: int, data: bytes | bytearray | memoryview, timeout_s: float = 1.0) -> None:
        """As sram_write to a slot after the first, but returns when the data is in the SRAM.

        For a reader that does not look for a sentinel. Transfers land one after the other, so a marker that is
        sent behind the data proves that the data has landed; slot 0 is where the host can see it.

        Raises:
            LinkTimeout: the marker did not show up.
        """
        if slot < 1:
            raise ValueError("slot 0 is where the marker goes")
        with self.lock:
            self._marker = self._marker + 1 & 0xFFFF
            marker = (LANDING_MARKER | self._marker).to_bytes(4, "little")
            self.sram_write(slot, data)
            self.sram_write(0, marker)
            # Whether the window can be read while its slot is being filled is unknown; by now it is not.
            time.sleep(LANDING_SECONDS)
            deadline = time.monotonic() + timeout_s
            while self.read_xdata(XDATA_SRAM, 4) != marker:
                if time.monotonic() > deadline:
                    raise self._error(errors.LinkTimeout("Data sent to the adapter's SRAM did not arrive there.",
                                                         slot=slot, bytes=len(data)))

    @staticmethod
    def _padded(data: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
        rest = -len(data) % SECTOR_BYTES
        return bytes(data) + bytes(rest) if rest else data

    def sram_arm_in(self, nbytes: int) -> None:
        """Arm the read of the SRAM from slot 0 on. Data flows once the GPU writes the completion queue's dword 3.

        Until sram_finish_in() has delivered it, nothing else may use bulk IN.
        """
        value, index = self.sram_window(0, nbytes)
        with self.lock:
            if self._in_armed:
                raise RuntimeError("an SRAM read is armed already")
            self._in_partial.clear()
            self._in_armed = -(-nbytes // SECTOR_BYTES) * SECTOR_BYTES      # from here on it may be, Ctrl-C or not
            self._control_out("sram_arm_in", SRAM, value | SRAM_IN_FLAG, index, b"", TIMEOUT_XDATA_MS)

    def sram_finish_in(self, nbytes: int, timeout_ms: int = TIMEOUT_BULK_MS) -> bytes | None:
        """The data of the armed read, or None if it was not released within `timeout_ms`: call again.

        After giving up for good, call recover().
        """
        with self.lock:
            if not self._in_armed:
                raise RuntimeError("no SRAM read is armed")
            wanted = self._in_armed - len(self._in_partial)
            try:
                data = self.handle.bulkRead(BULK_IN, wanted, timeout=timeout_ms)
            except usb1.USBErrorTimeout as timeout:
                self._in_partial += getattr(timeout, "received", b"") or b""
                return None
            except usb1.USBError as error:
                raise self._translate(error) from error
            self._in_partial += data
            self.stats.count_bulk("sram_in", self._in_armed)
            whole, armed = bytes(self._in_partial[:nbytes]), self._in_armed
            short = len(self._in_partial) != armed
            self._in_armed = 0
            self._in_partial.clear()
            if short:
                self.recover()
                raise self._error(errors.LinkError("An SRAM read ended early.", asked=armed, got=len(whole)))
            return whole

    def sram_clear(self) -> None:
        """Zero the whole SRAM, so that nothing stale in it can be taken for fresh data."""
        self.sram_write(0, bytes(SRAM_BYTES))

    # ---------------------------------------------------------------- transfers in flight

    def submit_sram_arm_out(self, slot: int, nbytes: int) -> Pending:
        """As sram_arm_out. wait() for it before submit_sram_data()."""
        value, index = self.sram_window(slot, nbytes)
        return self.submit_control("sram_arm_out", SRAM, value, index, b"", TIMEOUT_XDATA_MS)

    def submit_read_xdata(self, address: int, nbytes: int) -> Pending:
        """As read_xdata for what fits into one request. Allowed while SRAM data is in flight."""
        if nbytes > XDATA_CHUNK[self._super_speed]:
            raise ValueError(f"{nbytes} bytes do not fit into one request")
        return self.submit_control("read_xdata", READ_XDATA, address, 0, nbytes, TIMEOUT_XDATA_MS)

    def submit_sram_data(self, data: bytes | bytearray | memoryview) -> Pending:
        """The bulk OUT of the last completed arm. The buffer must stay unchanged until it is done."""
        with self.lock:
            pending = self.submit_bulk(BULK_OUT, self._padded(data), TIMEOUT_BULK_MS, path="sram_out")
            self._out_in_flight = [p for p in self._out_in_flight if not p.done] + [pending]
            return pending

    def _settle_out(self) -> None:
        """No 0xF0 while SRAM data is on bulk OUT: it would reset the stream state under it. And none while data is
        still announced that an interruption has kept from coming."""
        if self._bulk_announced:
            log.info("the streams that an interruption cut short are cleared")
            self._clear_streams()
        while self._out_in_flight:
            pending = self._out_in_flight[0]
            try:
                pending.wait(TIMEOUT_BULK_MS / 1000 + MARGIN_SECONDS)
            except TimeoutError:
                raise self._error(errors.LinkTimeout("Data for the adapter's SRAM is stuck on the way.")) from None
            finally:
                if pending.done:
                    self._out_in_flight.pop(0)
