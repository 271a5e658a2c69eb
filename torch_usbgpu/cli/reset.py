"""`usbgpu reset`: a card that no program uses, brought back to cold."""
from __future__ import annotations

import json
import os

import click

from .. import usb
from ..amdgpu import Gpu
from ..amdgpu.reset import NOTHING, reset_card


@click.command("reset", short_help="Reset a card that no program uses.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and nothing else.")
@click.option("--device", "spec", metavar="SPEC", help="Which one, as in USBGPU_DEVICE. Without: USBGPU_DEVICE, or the "
              "dock that is plugged in.")
@click.option("--power", is_flag=True, help="Switch the card's power off and on, even if a reset would do.")
def group(as_json: bool, spec: str | None, power: bool) -> None:
    """Reset the card, so that the next program starts it from cold. The content of its memory is lost.

    A card that runs is reset by its power controller; one that does not answer gets its power switched. A card that a
    program uses is left alone: end the program, or call torch.usbgpu.reset() in it.
    """
    spec = spec or os.environ.get("USBGPU_DEVICE") or "auto"
    # A reset of a made-up card in place of the one that somebody means would be of no use: no emulation by default.
    opened = usb.open_handle("usb" if spec == "auto" else spec)
    try:
        adapter = usb.adapter_for(opened.handle)
        adapter.start()
        done = reset_card(Gpu(adapter, opened.firmware_dirs), power)
    finally:
        opened.handle.close()
    if as_json:
        click.echo(json.dumps({"device": opened.label, **done.as_dict()}, indent=2))
    elif done.means == NOTHING:
        click.echo(f"{opened.label}: the card is cold already; there is nothing to reset.")
    else:
        why = f" ({done.first_error})" if done.first_error else ""
        click.echo(f"{opened.label}: {done.means}, {done.seconds:.1f} s{why}. Lost: {done.lost}.")
