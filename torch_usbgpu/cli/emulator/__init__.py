"""`usbgpu emulator`: trace, show, replay, diff, disasm."""
from __future__ import annotations

import sys
from pathlib import Path

import click

from ...errors import ConfigError, TraceError
from ...tracing.text import CATEGORIES, Filter
from . import tracing

FILTER_HELP = (f"Lines to show, comma separated: {', '.join(CATEGORIES)}; or names and patterns of registers and "
               "packets (CP_*, RELEASE_MEM). The trace file always holds everything.")


@click.group("emulator")
def group() -> None:
    """Traces of the cable, and the emulated dock and GPU."""


class _InstructionsOption(click.Command):
    """`--instructions` has an optional value, which must be given with "=": the next word is the script."""

    WITH_VALUE = ("-o", "--output", "--text", "--filter", "--packets", "-m", "-c")

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        out, rest = [], list(args)
        while rest and rest[0].startswith("-") and rest[0] != "--":
            word = rest.pop(0)
            out.append("--instructions=all" if word == "--instructions" else word)
            if word in self.WITH_VALUE and rest:
                out.append(rest.pop(0))
            if word in ("-m", "-c"):
                break                # what follows belongs to the program
        if rest and rest[0] != "--":
            out.append("--")
        return super().parse_args(context, out + rest)


def _filter(text: str | None) -> Filter:
    try:
        return Filter(word.strip() for word in (text or "").split(",") if word.strip())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--filter") from error


def _instructions(text: str | None) -> tuple[int, str | None]:
    """(limit per launch, kernel)."""
    if text is None:
        return 0, None
    kernel, _, limit = text.rpartition(":")
    if not kernel and not limit.isdigit():
        kernel, limit = limit, ""
    return int(limit) if limit.isdigit() else tracing.INSTRUCTIONS, None if kernel in ("", "all") else kernel


@group.command(cls=_InstructionsOption, short_help="Run a program and write down its USB traffic.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the machine-readable trace here.")
@click.option("--text", type=click.File("w", lazy=False), help="Write the readable text here ('-': standard output). "
              "Without -o and --text it goes to standard error.")
@click.option("--filter", "wanted", help=FILTER_HELP)
@click.option("--instructions", help="Also executed instructions with what they write: =KERNEL, =N (per launch), "
              "=KERNEL:N. Emulated devices only.")
@click.option("--packets", type=click.Choice(["auto", "wire", "engines", "both", "none"]), default="auto",
              help="Packets as doorbells hand them over (wire), as the emulated engines fetch them (engines), or both. "
                   "auto: engines where there are some.")
@click.option("-m", "module", metavar="MODULE", help="Run a module.")
@click.option("-c", "command", metavar="TEXT", help="Run program text.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def trace(output, text, wanted, instructions, packets, module, command, arguments) -> int:
    """Run SCRIPT [ARGS] (or -m MODULE, -c TEXT) with the traffic of its USB GPU recorded.

    The exit status is the program's.
    """
    arguments = list(arguments)
    script = None
    if module is None and command is None:
        if not arguments:
            raise click.UsageError("Which program? Name a script, or use -m or -c.")
        script = arguments.pop(0)
    limit, kernel = _instructions(instructions)
    if text is None and output is None:
        text = sys.stderr
    if output is not None:
        try:
            output.open("w").close()
        except OSError as error:
            raise ConfigError(f"{output} cannot be written: {error.strerror}.", "Choose another file.") from error
    return tracing.trace(output, text, _filter(wanted), packets, limit, kernel, script, module, command, arguments)


@group.command(short_help="Show a trace as text.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--filter", "wanted", help=FILTER_HELP)
@click.option("--partial", is_flag=True, help="Accept a trace whose end is missing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per transfer and event, decoded.")
def show(file, wanted, partial, as_json) -> int:
    """Decode FILE again, from its bytes alone."""
    return tracing.show(file, _filter(wanted), partial, as_json, sys.stdout)


@group.command(short_help="Play a trace against an emulated dock.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--chip", help="The GPU in it; without, the one that the trace shows.")
@click.option("--vram", metavar="SIZE", help="Its memory, e.g. 2G; without, what the trace shows.")
@click.option("--firmware", default="custom", show_default=True, help="Firmware of the dock.")
@click.option("--usb", type=click.Choice(["super", "super-5g", "high"]), default="super", show_default=True,
              help="Speed of the link.")
@click.option("--strict", is_flag=True, help="Stop at what hardware would answer with silence.")
@click.option("--max", "most", type=int, default=20, show_default=True, help="Differences to show; all are counted.")
@click.option("--partial", is_flag=True, help="Accept a trace whose end is missing.")
@click.option("--json", "as_json", is_flag=True, help="Differences as JSON lines.")
def replay(file, chip, vram, firmware, usb, strict, most, partial, as_json) -> int:
    """Play the host of FILE against a fresh model, and report every answer that differs from the recorded one.

    Exit status 1: there are differences.
    """
    return tracing.replay(file, {"chip": chip, "vram": vram, "firmware": firmware, "usb": usb, "strict": strict}, most,
                          partial, as_json, sys.stdout)


@group.command(short_help="Where do two traces part?")
@click.argument("left", type=click.Path(path_type=Path))
@click.argument("right", type=click.Path(path_type=Path))
@click.option("--context", type=int, default=5, show_default=True, help="Transfers to show around it.")
@click.option("--partial", is_flag=True, help="Accept traces whose end is missing.")
def diff(left, right, context, partial) -> int:
    """Align two traces and show the first divergence. Timing, repeated polls and running counters do not count.

    Exit status 1: they differ.
    """
    return tracing.diff(left, right, context, partial, sys.stdout)


@group.command(short_help="Disassemble machine code.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--arch", help="gfx1100, gfx1201, ...; code objects know theirs.")
@click.option("--hex", "words", help='Instruction dwords, e.g. "7e000280 bf800000".')
@click.option("--kernel", help="Only this kernel of a code object (or a part of its name).")
def disasm(file, arch, words, kernel) -> int:
    """Disassemble FILE (a code object, or raw code), or the words of --hex."""
    if (file is None) == (words is None):
        raise click.UsageError("Name a file, or use --hex.")
    if words is not None:
        try:
            code = b"".join(int(word, 16).to_bytes(4, "little") for word in words.replace(",", " ").split())
        except (ValueError, OverflowError) as error:
            raise click.BadParameter(f"{words!r} are no dwords in hexadecimal", param_hint="--hex") from error
        return tracing.disassemble_code(code, arch or "gfx1100", sys.stdout)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TraceError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from error
    return tracing.disassemble_file(content, arch, kernel, sys.stdout)


