"""`usbgpu list`: the docks that are plugged in, and what USBGPU_DEVICE can be."""
from __future__ import annotations

import json
import os
import sys

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..amdgpu.facts import load
from ..usb import list_adapters
from ..usb.attached import Attached

STYLES = {"free": "green", "busy": "yellow", "no permission": "red"}


@click.command("list", short_help="Docks that are plugged in.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and nothing else.")
@click.option("--device", "spec", metavar="SPEC", help="Only these, as in USBGPU_DEVICE. Without: USBGPU_DEVICE, or "
              "all real docks.")
def group(as_json: bool, spec: str | None) -> None:
    """List the docks that are plugged in: value of USBGPU_DEVICE, firmware, serial, USB speed, and who uses it.

    Takes no dock away from the program that uses it.
    """
    docks = list_adapters(spec or os.environ.get("USBGPU_DEVICE") or "auto")
    emulated = [f"emulated:{chip}" for chip in load("chips")["chips"]]
    if as_json:
        click.echo(json.dumps({"docks": [dock.as_dict() for dock in docks], "emulated": emulated}, indent=2))
        return
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    if docks:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("USBGPU_DEVICE", "firmware", "mode", "ids", "serial", "USB", "state"):
            table.add_column(name, no_wrap=True)
        for dock in docks:
            table.add_row(*_cells(dock))
        console.print(table)
    else:
        console.print("No dock is plugged in. (usbgpu doctor says what to do about it.)")
    console.print(f"Always there: {', '.join(emulated)}")


def _cells(dock: Attached) -> list[str]:
    identity = dock.identity
    speed = f"{identity.usb_gbps:g} Gb/s" if identity.usb_gbps else "?"
    state = f"{dock.state} (process {dock.holder})" if dock.holder else dock.state
    told = (dock.spec, identity.product or "?", identity.generation or identity.mode, identity.ids or "?",
            identity.unique_serial or "-", speed)      # by the device, which may say anything: no markup
    return [*map(escape, told), f"[{STYLES[dock.state]}]{state}[/]"]
