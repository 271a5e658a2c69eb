"""Listens to a device's transfers: decodes them, writes the trace file and the text."""
from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ..usb.tapped import TappedHandle, Transfer
from ..usb.trace_file import TraceWriter
from .chip import Chip
from .packets import pm4, sdma
from .queues import Launches
from .text import Filter, category_of, instruction_lines, launch_line, names_in, packet_line, transfer_line
from .wire import Decoded, WireDecoder

KERNEL_BYTES = 1 << 16       # how far into a kernel its name is shown as name+offset


class Printer:
    """Writes lines that pass the filter."""

    def __init__(self, stream: TextIO | None, wanted: Filter | None = None) -> None:
        self._stream, self._filter = stream, wanted or Filter()

    def __call__(self, line: str, category: str, *names: str) -> None:
        if self._stream is not None and self._filter.admits(category, *names):
            print(line, file=self._stream)

    @property
    def on(self) -> bool:
        return self._stream is not None


class Events:
    """What happens between transfers, as rows of the trace file and as text.

    Args:
        chip: for register names; shared with the decoder of the wire.
        kernel_name: entry address -> name.
    """

    def __init__(self, chip: Chip, kernel_name: Callable[[int], str | None], printer: Printer,
                 only_kernel: str | None = None) -> None:
        self._chip, self._kernel_name, self._print = chip, kernel_name, printer
        self._launches = Launches(chip, kernel_name)
        self._only = only_kernel
        self._entries: dict[int, tuple[int, str]] = {}       # launch -> entry, name

    def row(self, event: dict) -> dict | None:
        """Makes a raw record of the emulator a row, prints it; None: not asked for."""
        kind = event["event"]
        if kind == "packet":
            event = self._packet(event)
        elif kind == "launch":
            name = self._kernel_name(event["entry"])
            self._entries[event["launch"]] = (event["entry"], name or hex(event["entry"]))
            event = {**event, "kernel": name}
        elif kind == "instruction":
            entry, name = self._entries.get(event["launch"], (event["pc"], ""))
            if self._only and self._only not in name:
                return None
            event = {**event, "place": f"{name}+{event['pc'] - entry:#x}" if name else hex(event["pc"])}
        self.show(event)
        return event

    def _packet(self, event: dict) -> dict:
        decode = pm4 if event["engine"] == "compute" else sdma
        packet = decode(event["words"], self._chip.register_name)
        compute = event["engine"] == "compute"
        queue = f"compute{event['queue']}" if compute else f"sdma{event['instance']}.{event['queue']}"
        launch = self._launches.note(queue, packet) if compute else None
        row = {"event": "packet", "engine": event["engine"], "queue": queue, "depth": event["depth"],
               "address": event["address"], "words": list(event["words"]), **{"decoded": packet.as_dict()}}
        return {**row, "launch": launch} if launch else row

    def show(self, event: dict) -> None:
        """Prints a row."""
        if not self._print.on:
            return
        kind = event["event"]
        if kind == "packet":
            decode = pm4 if event["engine"] == "compute" else sdma
            packet = decode(event["words"], self._chip.register_name)
            self._print(packet_line(event["queue"], event["depth"], event["address"], packet), "packets", packet.name)
            if event.get("launch"):
                self._print(launch_line(event["launch"]), "launches", event["launch"].get("kernel") or "")
        elif kind == "instruction":
            for line in instruction_lines(event, event["place"]):
                self._print(line, "instructions", event["text"].split()[0])
        elif kind == "launch_end" and event.get("fault"):
            self._print(f"        the launch stopped: {event['fault']['text']}", "launches")
        elif kind == "lost":
            self._print(f"        ({event['records']} records of the emulator were lost: too many at once)", "packets")


class Recorder:
    """One device's trace.

    Args:
        writer: the trace file, or None.
        printer: the text.
        log: the emulator's record of packets and instructions (`drain()`), or None.
        wire_packets: show the packets that doorbells hand over, as the wire knows them.
    """

    def __init__(self, writer: TraceWriter | None, printer: Printer, kernel_name: Callable[[int], str | None],
                 log=None, wire_packets: bool = True, only_kernel: str | None = None) -> None:
        self._writer, self._print, self._log = writer, printer, log
        self.decoder = WireDecoder(kernel_name=kernel_name)
        self._wire_packets = wire_packets
        self.events = Events(self.decoder.chip, kernel_name, printer, only_kernel)
        self._lock = threading.Lock()
        self._start: float | None = None
        self._number = self._lost = 0

    def wrap(self, handle) -> TappedHandle:
        return TappedHandle(handle, self.note)

    def note(self, transfer: Transfer) -> None:
        """A transfer has ended."""
        with self._lock:
            if self._start is None:
                self._start = transfer.start
            at = transfer.start - self._start
            decoded = self.decoder.transfer(transfer.op, transfer.args, transfer.result, transfer.error)
            if not self._wire_packets:
                decoded.packets = []
            if self._writer:
                self._writer.transfer(transfer.op, transfer.args, transfer.result, transfer.error, t=round(at, 7),
                                      dt=round(transfer.seconds, 7), decoded=decoded.as_dict())
            show_transfer(self._print, self._number, decoded, at, transfer.seconds)
            self._number += 1
            self._drain()

    def _drain(self) -> None:
        if self._log is None:
            return
        records = self._log.drain()
        if self._log.lost > self._lost:
            records.append({"event": "lost", "records": self._log.lost - self._lost})
            self._lost = self._log.lost
        for record in records:
            row = self.events.row(record)
            if row is not None and self._writer:
                self._writer.event(row)

    def close(self) -> None:
        with self._lock:
            self._drain()
            if self._writer:
                self._writer.close()
                self._writer = None

    @property
    def transfers(self) -> int:
        return self._number


def show_transfer(printer: Printer, number: int, decoded: Decoded, start: float | None, seconds: float | None) -> None:
    if not printer.on:
        return
    printer(transfer_line(number, decoded, start, seconds), category_of(decoded), *names_in(decoded))
    for command in decoded.details.get("commands", ()):
        printer(f"        {command}", "packets", *command.split()[1:2])
    for seen in decoded.packets:
        printer(packet_line(seen.queue, seen.depth, seen.address, seen.packet), "packets", seen.packet.name)
        if seen.launch:
            printer(launch_line(seen.launch), "launches", seen.launch.get("kernel") or "")


def new_writer(path: Path | None, number: int, **header) -> TraceWriter | None:
    """A process may open several devices: the second one's trace goes to FILE.2."""
    if path is None:
        return None
    return TraceWriter(path if number == 1 else path.with_name(f"{path.name}.{number}"), **header)
