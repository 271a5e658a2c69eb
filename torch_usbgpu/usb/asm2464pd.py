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
from contextlib import contextmanager

import usb1

from .. import errors
from . import tlp
from .facts import FACTS
from .pending import Pending
from .transfers import BULK_IN, BULK_OUT, Transfers

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

XDATA_LTSSM = FACTS["xdata"]["ltssm"]
XDATA_SRAM = FACTS["xdata"]["sram_window"]
XDATA_CPU_CONTROL = FACTS["xdata"]["cpu_control"]
LTSSM_L0 = FACTS["ltssm"]["l0"]

# Host time-outs in milliseconds, those of the reference driver.
TIMEOUT_PCIE_MS, TIMEOUT_XDATA_MS, TIMEOUT_POWER_MS = 5000, 1000, 10_000
TIMEOUT_BULK_MS, TIMEOUT_STREAM_READ_MS = 10_000, 30_000
DRAIN_BYTES, DRAIN_MS = 65536, 100
LANDING_MARKER, LANDING_SECONDS = 0x5EA1_0000, 0.5e-3

TLP_RETRIES = 10                # "very picky" about the 1 ms pause between tries
TLP_RETRY_SECONDS = 1e-3
CONFIG_RETRY_SECONDS = 1.0      # PCIe: a function may answer CRS for up to 1 s after reset
STREAM_CHUNK_BYTES = 1 << 20    # bounds the time that EP0 is blocked by one stream
XDATA_CHUNK = {True: 512, False: 64}   # bytes per 0xE4 at SuperSpeed and at High Speed


class Adapter(Transfers):
    """One adapter behind `handle`, any object with python-libusb1's transfer methods.

    Thread-safe: every operation holds `lock`, which callers may also take around several operations.

    Args:
        handle: controlWrite, controlRead, bulkWrite, bulkRead; what else of python-libusb1 it has is used too
            (getTransfer, clearHalt, setInterfaceAltSetting, getProduct, getDeviceSpeed, close).
        guard_seconds: pause after the bulk part of a stream write. The firmware looks at control events
            before bulk events, so a request that follows within microseconds can cut off the last packet.
        allow_high_speed: USB 2 is refused unless this is set; whether SRAM transfers work there is unknown.
    """

    def __init__(self, handle, *, guard_seconds: float = 0.0, allow_high_speed: bool = False) -> None:
        super().__init__(handle)
        self.guard_seconds = guard_seconds
        self.allow_high_speed = allow_high_speed
        self._super_speed = True
        self._wide_headers = False       # 4-dword headers below 4 GiB too (see _read_memory_dword)
        self._link_checked = False
        self.started = False
        self._in_armed = 0               # bytes of the armed SRAM read, 0 = none
        self._in_partial = bytearray()
        self._marker = 0
        self._out_in_flight: list[Pending] = []

    # ---------------------------------------------------------------- opening and the link

    def start(self) -> None:
        """Bring the adapter into a known state, whatever the last user left behind. Does not touch power."""
        with self.lock:
            product = self._ask("getProduct")
            if product is not None and not product.startswith("custom"):
                raise errors.WrongMode(
                    f"The adapter reports itself as {product!r}, which is not the open firmware.",
                    "Install the open firmware of the adapter (product string 'custom ...').")
            speed = self._ask("getDeviceSpeed")
            self._super_speed = speed is None or speed >= usb1.SPEED_SUPER
            if not self._super_speed and not self.allow_high_speed:
                raise errors.WrongMode(
                    "The adapter is connected at USB 2 speed.",
                    "Unplug it, wait a few seconds, and plug it into a USB3 port with a USB3 cable.", speed=speed)
            self._clear_streams()
            self.started = True

    @property
    def firmware_dirs(self) -> tuple:
        """Directories with the card's firmware that the handle brings; a real dock's brings none."""
        return tuple(self._ask("firmware_directories") or ())

    def _ask(self, method: str):
        query = getattr(self.handle, method, None)
        return self._wrap(method, query) if callable(query) else None

    def _clear_streams(self) -> None:
        """Step 1 of the recovery ladder: both endpoints empty, no stream armed, data toggles at zero."""
        self._in_armed, self._out_in_flight = 0, []
        self._in_partial.clear()
        self.set_interface(0, 0)
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

    def ltssm(self) -> int:
        """The PCIe link's state machine; LTSSM_L0 is the only value that means "up"."""
        return self.read_xdata(XDATA_LTSSM, 1)[0]

    def link_is_up(self) -> bool:
        up = self.ltssm() == LTSSM_L0
        self._link_checked = up
        return up

    def power(self, on: bool) -> None:
        """PCIe slot power and PERST#. Acknowledged whether or not the link trains: ask link_is_up() afterwards."""
        with self.lock:
            self._link_checked = False
            self._settle_out()
            self._control_out("pcie_power", PCIE_POWER, int(on), 0, b"", TIMEOUT_POWER_MS)

    def raise_link(self, timeout_s: float = 5.0) -> None:
        """Make sure that the PCIe link is up, powering the slot if it is not.

        Raises:
            LinkError: it did not come up; the LTSSM value tells where training stopped.
        """
        if self.link_is_up():
            return
        self.power(True)
        deadline, in_a_row, state = time.monotonic() + timeout_s, 0, 0
        while True:
            state = self.ltssm()
            in_a_row = in_a_row + 1 if state == LTSSM_L0 else 0
            if in_a_row == 2:
                self._link_checked = True
                return
            if time.monotonic() > deadline:
                raise errors.PcieLinkDown("The PCIe link between the adapter and the GPU does not come up.",
                                          ltssm=f"{state:#x}")
            if in_a_row == 0:
                time.sleep(0.1)

    def recover(self) -> None:
        """After a stream was cut short or timed out: clear both endpoints and look at the link again."""
        with self.lock:
            self.stats.retries += 1
            self._link_checked = False
            self._clear_streams()

    def disarm(self) -> None:
        """The mildest way: to select the interface anew makes the firmware drop what is armed, and toggles zero."""
        with self.lock:
            self.stats.retries += 1
            self._in_armed, self._out_in_flight = 0, []
            self._in_partial.clear()
            self.set_interface(0, 0)

    def power_cycle(self) -> None:
        """Drop and restore the card's power. Everything on the PCIe side must be set up again afterwards."""
        self.recover()
        self.power(False)
        time.sleep(0.1)
        self.raise_link()

    def restart_cpu(self) -> None:
        """Restart the adapter's own CPU; it re-enumerates on USB, so this handle is dead afterwards."""
        try:
            self._control_out("write_xdata", WRITE_XDATA, XDATA_CPU_CONTROL, 1, b"", TIMEOUT_XDATA_MS)
        except errors.LinkError as error:
            log.debug("the restart request ended with %s, as expected", error)

    def close(self) -> None:
        with self.lock:
            close = getattr(self.handle, "close", None)
            if callable(close):
                close()

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

    def config_read(self, bus: int, device: int, function: int, register: int, size: int = 4) -> int:
        address = tlp.config_address(bus, device, function, register)
        return self._config(address, tlp.config_fmt(bus, write=False), size)

    def config_write(self, bus: int, device: int, function: int, register: int, value: int, size: int = 4) -> None:
        address = tlp.config_address(bus, device, function, register)
        self._config(address, tlp.config_fmt(bus, write=True), size, value)

    def _config(self, address: int, fmt: int, size: int, value: int = 0) -> int:
        deadline = time.monotonic() + CONFIG_RETRY_SECONDS
        while True:
            completion = self._transact(fmt, address, size, value)
            if completion.status == tlp.SUCCESS:
                return completion.data >> 8 * (address & 3) & ((1 << 8 * size) - 1)
            if completion.status != tlp.CONFIG_RETRY or time.monotonic() > deadline:
                raise self._completion_error(completion, "configuration", address)
            self.stats.retries += 1
            time.sleep(1e-3)

    def read32(self, address: int) -> int:
        """One dword of PCIe memory, with its completion checked."""
        with self.lock:
            completion = self._read_memory_dword(address)
        if completion.status != tlp.SUCCESS:
            raise self._completion_error(completion, "memory", address)
        return completion.data

    def write32(self, address: int, value: int) -> None:
        """One posted dword: a single control transfer, never answered."""
        self.write(address, value, 4)

    def write(self, address: int, value: int, size: int) -> None:
        """1..4 posted bytes inside one dword."""
        with self.lock:
            self._settle_out()
            self._launch(tlp.memory_fmt(address, write=True, wide=self._wide_headers), address, size, value)

    def submit_write32(self, address: int, value: int) -> Pending:
        """As write32, without waiting for the control transfer. Several may be in flight; they run in order."""
        with self.lock:
            self._settle_out()
            fmt = tlp.memory_fmt(address, write=True, wide=self._wide_headers)
            payload = tlp.PAYLOAD.pack(address & 0xFFFF_FFFC, address >> 32, value & 0xFFFF_FFFF)
            return self.submit_control("pcie_single", PCIE, fmt | 0xF << 8, SINGLE, payload, TIMEOUT_PCIE_MS)

    def _read_memory_dword(self, address: int) -> tlp.Completion:
        completion = self._transact(tlp.memory_fmt(address, write=False, wide=self._wide_headers), address, 4)
        if completion.status == tlp.UNSUPPORTED_REQUEST and not address >> 32 and not self._wide_headers:
            # The reference driver sends 4-dword headers everywhere and AMD GPUs take them; a bridge that wants
            # them shows up as a refused 3-dword read.
            wide = self._transact(tlp.MEM_READ64, address, 4)
            if wide.status == tlp.SUCCESS:
                self._wide_headers = True
                return wide
        return completion

    def _transact(self, fmt: int, address: int, size: int, value: int = 0) -> tlp.Completion:
        """A packet with a completion. OUT and IN stay adjacent under the lock. Repeats engine errors."""
        with self.lock:
            self._settle_out()
            for attempt in range(TLP_RETRIES):
                if attempt:
                    self.stats.retries += 1
                    time.sleep(TLP_RETRY_SECONDS)
                self._launch(fmt, address, size, value)
                raw = self._control_in("pcie_completion", PCIE, 0, 0, tlp.COMPLETION.size, TIMEOUT_PCIE_MS)
                completion = tlp.Completion.decode(raw)
                if completion.engine == 0:
                    return completion
            self._link_checked = False
            state = self.ltssm()
            hint = "the link is down" if state != LTSSM_L0 else "the link is up but nobody answers"
            raise self._error(errors.LinkError(
                f"A PCIe transaction was not completed {TLP_RETRIES} times in a row: {hint}.",
                address=f"{address:#x}", fmt=f"{fmt:#x}", engine=f"{completion.engine:#x}", ltssm=f"{state:#x}"))

    def _launch(self, fmt: int, address: int, size: int, value: int) -> None:
        enables = tlp.byte_enables(address, size)
        shifted = (value & ((1 << 8 * size) - 1)) << 8 * (address & 3)
        payload = tlp.PAYLOAD.pack(address & 0xFFFF_FFFC, address >> 32, shifted)
        self._control_out("pcie_single", PCIE, fmt | enables << 8, SINGLE, payload, TIMEOUT_PCIE_MS)

    def _completion_error(self, completion: tlp.Completion, space: str, address: int) -> errors.LinkError:
        return self._error(errors.LinkError(f"The PCIe {space} address was answered with {completion.status_name}.",
                                            address=f"{address:#x}", status=completion.status))

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

    def _write_fragment(self, address: int, part: memoryview) -> None:
        self.write(address, int.from_bytes(part, "little"), len(part))

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
        """A stream that was cut short leaves endpoints armed: clear them, then let the first cause go on."""
        try:
            yield
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
            self._control_out("sram_arm_in", SRAM, value | SRAM_IN_FLAG, index, b"", TIMEOUT_XDATA_MS)
            self._in_armed = -(-nbytes // SECTOR_BYTES) * SECTOR_BYTES
            self._in_partial.clear()

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
        """No 0xF0 while SRAM data is on bulk OUT: it would reset the stream state under it."""
        waiting, self._out_in_flight = self._out_in_flight, []
        for pending in waiting:
            try:
                pending.wait(TIMEOUT_BULK_MS / 1000)
            except TimeoutError:
                raise self._error(errors.LinkTimeout("Data for the adapter's SRAM is stuck on the way.")) from None
