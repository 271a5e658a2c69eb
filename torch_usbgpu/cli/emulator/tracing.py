"""What the commands of `usbgpu emulator` do."""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ...amdgpu.registers import CONFIG_MEMSIZE
from ...errors import CodeObjectError, ConfigError
from ...tracing import difference
from ...tracing.recorder import Events, Printer, Recorder, new_writer, show_transfer
from ...tracing.replay import Replay
from ...tracing.text import Filter
from ...tracing.wire import WireDecoder
from ...usb import trace_file, transfers
from .run import run_program

INSTRUCTIONS = 2000          # per launch, unless asked otherwise
RECORDS = 1 << 20            # of the emulator, between two transfers


# ---- trace

def trace(output: Path | None, text: TextIO | None, wanted: Filter, packets: str, limit: int, kernel: str | None,
          script: str | None, module: str | None, command: str | None, arguments: list[str]) -> int:
    """Runs a program with its devices' transfers recorded."""
    recorders: list[Recorder] = []
    printer = Printer(text, wanted)
    opened: list[Any] = []

    def wrap(handle: Any, adapter: Any) -> Any:
        number = len(recorders) + 1
        if number > 1 and text is not None:
            print(f"---- device {number}", file=text)

        def kernel_name(entry: int) -> str | None:
            return adapter.kernel_at(entry) if adapter.kernel_at else None

        watched = hasattr(handle, "observe")
        engines = watched and packets in ("auto", "engines", "both")
        log = None
        if engines or (watched and limit):
            from ... import _emulator

            log = _emulator.debug.Log(packets=engines, instructions=limit, capacity=RECORDS)
            handle.observe(log)
            opened.append(handle)
        elif limit:
            print("usbgpu: --instructions needs an emulated device; only the traffic is traced.", file=sys.stderr)
        wire = packets in ("wire", "both") or (packets == "auto" and not engines)
        writer = new_writer(output, number, program=[script or module or "-c", *arguments],
                            python=sys.version.split()[0], emulator=_options_of(handle))
        recorder = Recorder(writer, printer, kernel_name, log, wire, kernel)
        recorders.append(recorder)
        return recorder.wrap(handle)

    before, transfers.wrap_handle = transfers.wrap_handle, wrap
    already_open = _default_is_open()
    try:
        status = run_program(script, module, command, arguments)
        if not already_open:    # the shutdown of the program's default device belongs to the trace
            _close_default()
    finally:
        transfers.wrap_handle = before
        for handle in opened:
            handle.observe()
        for recorder in recorders:
            recorder.close()
        if text is not None:
            text.flush()
    if not recorders:
        print("usbgpu: the program used no USB GPU, so there is no trace.", file=sys.stderr)
    elif output is not None:
        print(f"usbgpu: {sum(recorder.transfers for recorder in recorders)} transfers in {output}", file=sys.stderr)
    return status


def _default_is_open() -> bool:
    runtime = sys.modules.get("torch_usbgpu.runtime")
    return runtime is not None and runtime.is_open()


def _close_default() -> None:
    runtime = sys.modules.get("torch_usbgpu.runtime")
    if runtime is not None:
        runtime.close()


def _options_of(handle: Any) -> dict | None:
    chip = getattr(handle, "chip", None)
    return {"chip": chip, "options": os.environ.get("USBGPU_EMULATOR", "")} if chip else None


# ---- show

def show(file: Path, wanted: Filter, partial: bool, as_json: bool, out: TextIO) -> int:
    """Prints a trace."""
    content = trace_file.read(file, partial=partial)
    printer = Printer(None if as_json else out, wanted)
    names = {row["entry"]: row.get("kernel") for row in content.rows if row.get("event") == "launch"}
    has_engines = any(row.get("event") == "packet" for row in content.rows)
    decoder = WireDecoder(kernel_name=names.get)
    events = Events(decoder.chip, names.get, printer)
    number = 0
    for row in content.rows:
        if "event" in row:
            if as_json:
                print(json.dumps(row), file=out)
            events.show(row)
            continue
        args = [trace_file.decode(value) for value in row["args"]]
        decoded = decoder.transfer(row["op"], args, trace_file.decode(row.get("result")), row.get("error"))
        if has_engines:
            decoded.packets = []
        if as_json:
            print(json.dumps({"transfer": number, "op": row["op"], **decoded.as_dict()}), file=out)
        show_transfer(printer, number, decoded, row.get("t"), row.get("dt"))
        number += 1
    if not content.complete:
        print(f"usbgpu: {file} has no end; {number} transfers were read.", file=sys.stderr)
    return 0


# ---- replay

def replay(file: Path, model: dict, most: int, partial: bool, as_json: bool, out: TextIO) -> int:
    """Plays a trace against an emulated dock."""
    from ...emulator import EmulatedAdapter
    from ...usb.emulated import parse_options

    content = trace_file.read(file, partial=partial)
    recorded = content.header.get("emulator") or {}
    options = parse_options(recorded.get("options", "")) if recorded else {}
    options.pop("faults", None)
    chip = model["chip"] or recorded.get("chip") or _chip_in(content.transfers)
    if model["vram"]:
        options.update(parse_options(f"vram={model['vram']}"))
    elif "vram_bytes" not in options:
        options["vram_bytes"] = _vram_in(content.transfers)
    options.update(firmware=model["firmware"], usb=model["usb"], strict=model["strict"])
    try:
        adapter = EmulatedAdapter(chip, **options)
    except ValueError as error:
        raise ConfigError(f"The model cannot be made: {error}.", "Choose another --chip.") from error
    run = Replay(adapter, content.transfers)
    console = Console(file=out, highlight=False, soft_wrap=True)
    total = 0
    try:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
            task = bar.add_task("replaying", total=len(content.transfers))
            for found in run.differences(lambda done, _: bar.update(task, completed=done)):
                total += 1
                if total > most:
                    continue
                if as_json:
                    print(json.dumps(found.as_dict()), file=out)
                    continue
                where = f", byte {found.offset}" if found.offset is not None else ""
                console.print(f"[bold]transfer {found.number}[/bold]{where}: {escape(found.text)}")
                console.print(f"    recorded  {escape(found.recorded)}")
                console.print(f"    got       {escape(found.got)}")
    finally:
        adapter.close()
    if not as_json:
        late = f"; {run.early} polls were answered earlier or later" if run.early else ""
        count = f"{total or 'no'} difference{'' if total == 1 else 's'}"
        console.print(f"{run.compared} transfers replayed on {chip}: {count}{late}")
    return 1 if total else 0


def _chip_in(rows: list[dict]) -> str:
    """The chip that a trace of hardware shows."""
    decoder = WireDecoder(max_packets=0)
    for row in rows:
        decoder.transfer(row["op"], [trace_file.decode(v) for v in row["args"]], trace_file.decode(row.get("result")),
                         row.get("error"))
        if decoder.chip.name:
            return decoder.chip.name
    raise ConfigError("The trace does not show which GPU it is of.", "Say it with --chip.")


def _vram_in(rows: list[dict]) -> int:
    """Its memory, if the trace shows it; 0: what such boards have."""
    decoder = WireDecoder(max_packets=0)
    for row in rows:
        decoded = decoder.transfer(row["op"], [trace_file.decode(v) for v in row["args"]],
                                   trace_file.decode(row.get("result")), row.get("error"))
        if decoded.name == "pcie_completion" and decoded.details.get("dword") == CONFIG_MEMSIZE:
            return decoded.details["value"] << 20
    return 0


# ---- diff

def diff(left: Path, right: Path, context: int, partial: bool, out: TextIO) -> int:
    """Shows the first divergence of two traces."""
    rows = [trace_file.read(path, partial=partial).transfers for path in (left, right)]
    console = Console(file=out, highlight=False, soft_wrap=True)
    found = difference.compare(*rows, context=context)
    if found is None:
        console.print(f"The traces agree: {len(rows[0])} and {len(rows[1])} transfers.")
        return 0
    numbers = [str(line.step.number) if line else "the end" for line in (found.left, found.right)]
    console.print(f"[bold]The traces part at transfer {numbers[0]} | {numbers[1]}[/bold]: {escape(found.explain())}")
    for line in found.before:
        console.print(f"    {escape(line.text())}")
    for mark, style, path, line, after in (("-", "red", left, found.left, found.after_left),
                                           ("+", "green", right, found.right, found.after_right)):
        console.print(f"  {mark} {escape(line.text()) if line else '(end of ' + escape(str(path)) + ')'}", style=style)
        for following in after:
            console.print(f"  {mark}   {escape(following.text())}", style=style)
    counts = difference.summary(*rows)
    names = [escape(str(path)) for path in (left, right)]
    console.print(f"{counts['equal before']} steps equal before; of the next {difference.WINDOW}, "
                  f"{counts['equal behind']} equal, {counts['only left']} only in {names[0]}, "
                  f"{counts['only right']} only in {names[1]}")
    return 1


# ---- disasm

def disassemble_code(code: bytes, arch: str, out: TextIO, base: int = 0) -> int:
    """Prints instructions. Exit status 1: some are none."""
    from ... import _emulator

    try:
        rows = _emulator.isa.disassemble(code[:len(code) & ~3], arch, base)
    except ValueError as error:
        raise ConfigError(f"There is no architecture {arch!r}: {error}.", "Use gfx1100 or gfx1201.") from error
    unknown = 0
    for offset, size, mnemonic, text in rows:
        words = " ".join(f"{int.from_bytes(code[at:at + 4], 'little'):08x}" for at in range(offset, offset + size, 4))
        print(f"{base + offset:08x}  {words:<36} {text}", file=out)
        unknown += mnemonic is None
    return 1 if unknown else 0


def disassemble_file(content: bytes, arch: str | None, kernel: str | None, out: TextIO) -> int:
    """A code object kernel by kernel; anything else as raw code."""
    if not content.startswith(b"\x7fELF"):
        return disassemble_code(content, arch or "gfx1100", out)
    from ...runtime import codeobject

    image = codeobject.load(content, arch)
    wanted = {name: found for name, found in image.kernels.items() if kernel is None or kernel in name}
    if not wanted:
        raise CodeObjectError(f"The code object has no kernel {kernel!r}.", f"It has: {', '.join(image.kernels)}.")
    from ... import _emulator

    starts = sorted(found.entry_offset for found in image.kernels.values())
    for name, found in wanted.items():
        end = next((start for start in starts if start > found.entry_offset), len(image.image))
        code = image.image[found.entry_offset:end]
        for offset, size, mnemonic, _ in _emulator.isa.disassemble(code, image.arch, found.entry_offset):
            if mnemonic == "s_code_end" or not any(code[offset:]):    # padding behind the last instruction
                code = code[:offset]
                break
        print(f"{name}:  # {found.vgprs} VGPRs, {found.sgprs} SGPRs, LDS {found.lds_bytes}, scratch "
              f"{found.scratch_bytes}", file=out)
        disassemble_code(code, image.arch, out, found.entry_offset)
    return 0
