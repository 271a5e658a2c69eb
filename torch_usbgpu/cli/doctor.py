"""`usbgpu doctor`: looks at everything, says what is wrong and the one next thing to do."""
from __future__ import annotations

import json
import logging
import os
import sys
import warnings

import click
from rich.console import Console
from rich.text import Text

from ..diagnosis import Finding, Outcome, Report, examine
from ..usb import libusb

STYLES = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}


@click.command("doctor", short_help="What is wrong with dock, card and software, and what to do about it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and nothing else.")
@click.option("--device", "spec", metavar="SPEC", help="What to examine, as in USBGPU_DEVICE (usb, usb:2-1.4, "
              "emulated:navi31). Without: USBGPU_DEVICE, or the dock that is plugged in.")
@click.option("--udev-rules", is_flag=True, help=f"Print the rules for {libusb.UDEV_FILE} (Linux), and do no more.")
def group(as_json: bool, spec: str | None, udev_rules: bool) -> int:
    """Examine software, dock, links, card, firmware files, compiler; start the GPU, run a test kernel, measure rates.

    Never disturbs a program that uses the dock: then that is the finding. Exit status: 0 the GPU works (perhaps with
    warnings), 1 it does not. Codes and what they mean: docs/doctor.md.
    """
    if udev_rules:
        click.echo("\n".join(libusb.udev_rule(ids) for ids in libusb.ALL_IDS))
        return 0
    spec = spec or os.environ.get("USBGPU_DEVICE") or "auto"
    if as_json:
        report = _quietly(examine, spec)
        click.echo(json.dumps(report.as_dict(), indent=2, default=str))
    else:
        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        report = _quietly(examine, spec, lambda outcome: console.print(_line(outcome)))
        _show(console, report)
    return 0 if report.works else 1


def _quietly(function, *arguments):
    """What the driver would warn of and log is in the report already."""
    if os.environ.get("USBGPU_LOG"):
        return function(*arguments)
    logger, silence = logging.getLogger("torch_usbgpu"), logging.NullHandler()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(silence)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments)
    finally:
        logger.removeHandler(silence)
        logger.propagate = before


def _line(outcome: Outcome) -> Text:
    return Text.assemble((f"{outcome.result:<9}", STYLES[outcome.result]), f"{outcome.name:<19}",
                         (_first_line(outcome.seen), "dim" if outcome.result == "skipped" else ""))


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def _show(console: Console, report: Report) -> None:
    for found in report.findings:
        console.print()
        console.print(_finding(found))


def _finding(found: Finding) -> Text:
    text = Text.assemble((f"[{found.state.code}] {found.state.name}", f"bold {STYLES[found.severity]}"),
                         f": {found.state.meaning}\n  Seen: {found.seen}\n")
    if found.severity != "ok":
        for name, value in found.details.items():
            text.append(f"    {name} = {value}\n", "dim")
    text.append("  Next: ", "bold")
    text.append(found.action)
    return text
