"""The command line: groups of commands, errors, exit codes.

0: done. 1: done, and a difference was found. 2: wrong usage, or an error of this package. `trace` ends with the status
of the program that it ran.
"""
from __future__ import annotations

import importlib
import json
import os
import sys

import click

from ..errors import UsbGpuError

# name -> (module below this package, one line of help). Loaded when it is used.
COMMANDS = {"adapter": ("adapter", "The dock itself: what it is, its firmware, its power."),
            "coverage": ("coverage", "Which of torch's operators run on the GPU."),
            "doctor": ("doctor", "What is wrong with dock, card and software, and what to do about it."),
            "emulator": ("emulator", "Traces of the cable; the emulated dock and GPU."),
            "firmware": ("firmware", "AMD's firmware files: status, install, verify."),
            "list": ("listing", "Docks that are plugged in."),
            "reset": ("reset", "Reset a card that no program uses."),
            "smi": ("smi", "Memory, clocks, temperature, power, link and queue of every card.")}


class _Commands(click.Group):
    """Loads a group of commands when it is asked for, so that one does not pay for the others."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"{__package__}.{COMMANDS[name][0]}").group

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(context)])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def usbgpu() -> None:
    """Tools around the USB GPU."""


def _show(error: UsbGpuError, arguments: list[str]) -> None:
    """With --json whoever reads standard output gets a document in any case."""
    print(error, file=sys.stderr)
    if "--json" in arguments and arguments[0] in COMMANDS and arguments[0] != "emulator":
        state = {name: str(value) for name, value in error.state.items()}
        print(json.dumps({"error": {"code": error.code, "found": error.found, "state": state, "action": error.action}},
                         indent=2))


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:      # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))      # noqa: SIM115  for the whole process
    try:
        status = usbgpu.main(arguments, prog_name="usbgpu", standalone_mode=False)
    except click.exceptions.Abort:
        print("Interrupted.", file=sys.stderr)
        status = 130
    except click.ClickException as error:
        error.show()
        status = 2
    except UsbGpuError as error:
        _show(error, sys.argv[1:] if arguments is None else arguments)
        status = 2
    except BrokenPipeError:      # `usbgpu ... | head`
        sys.stderr.close()
        status = 0
    sys.exit(status if isinstance(status, int) else 0)
