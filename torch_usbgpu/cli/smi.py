"""`usbgpu smi`: what the cards are doing, asked of the processes that use them, and looked at where nobody does."""
from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .. import usb
from ..amdgpu import Gpu, look
from ..errors import ConfigError, DeviceBusy, DeviceNotFound, UsbGpuError
from ..runtime import status
from ..usb.transport import parse_spec

SAMPLE_SECONDS = 0.25          # between the two answers that rates are counted from
GIB = 1 << 30
STYLES = {"running": "green", "failed": "bold red", look.IDLE: "green", look.COLD: "cyan", look.LEFT: "yellow",
          look.NO_LINK: "yellow", "busy": "yellow", "error": "bold red"}


@click.command("smi", short_help="Memory, clocks, temperature, power, link and queue of every card.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and nothing else; with "
              "--watch, one a line.")
@click.option("--watch", metavar="SECONDS", type=click.FloatRange(min=0.1), help="Repeat until Ctrl-C.")
@click.option("--device", "spec", metavar="SPEC", help="Only this one, as in USBGPU_DEVICE. Without: USBGPU_DEVICE, or "
              "all docks.")
@click.option("--boot", is_flag=True, help="Start a card that nobody uses, so that it can say everything.")
def group(as_json: bool, watch: float | None, spec: str | None, boot: bool) -> int:
    """Show what the cards are doing.

    A card that a program uses is never taken from it: the program is asked. A card that nobody uses is looked at, and
    not started; memory in use is then unknown. Exit status: 0, 1 if a card is in trouble.
    """
    spec = spec or os.environ.get("USBGPU_DEVICE") or "auto"
    parse_spec(spec)
    if watch is None:
        devices = collect(spec, boot, pause_s=SAMPLE_SECONDS)
        if as_json:
            click.echo(json.dumps({"devices": devices}, indent=2))
        else:
            _show(devices)
        return int(any(device["state"] in ("failed", "error") for device in devices))
    try:
        _watch(spec, boot, watch, as_json)
    except KeyboardInterrupt:
        pass
    return 0


def _console() -> Console:
    return Console(file=sys.stdout, highlight=False)


def _watch(spec: str, boot: bool, seconds: float, as_json: bool) -> None:
    before: list[dict] = []
    if as_json or not sys.stdout.isatty():
        while True:
            devices = collect(spec, boot, before)
            if as_json:
                click.echo(json.dumps({"time": time.time(), "devices": devices}))
            else:
                click.echo(time.strftime("%H:%M:%S"))
                _show(devices)
            sys.stdout.flush()
            before = devices
            time.sleep(seconds)
    with Live(console=_console(), auto_refresh=False, screen=False) as live:
        while True:
            before = collect(spec, boot, before)
            live.update(render(before), refresh=True)
            time.sleep(seconds)


# ---- collecting

def collect(spec: str = "auto", boot: bool = False, before: list[dict] | None = None,
            pause_s: float = 0.0) -> list[dict[str, Any]]:
    """Every device: those of running processes, then the docks that nobody uses.

    Args:
        before: an earlier result, to count rates from.
        pause_s: or ask running processes twice, so far apart.
    """
    wanted = parse_spec(spec)
    answers = status.ask_all()
    if pause_s and any("transfers" in answer for answer in answers):
        before = answers
        time.sleep(pause_s)
        answers = status.ask_all()
    running = [_running(answer, before or []) for answer in answers]
    if wanted.kind == "usb" and wanted.detail:
        running = [device for device in running if device["device"] in (None, f"USB {wanted.detail}")]
    elif wanted.kind == "emulated":
        mine = [device for device in running if device["device"] == "emulated"
                and wanted.detail in (None, device.get("chip"), device.get("arch"))]
        return mine + [_look(spec, boot)] if boot or not mine else mine
    pids, ports = {device["pid"] for device in running}, {device["device"] for device in running}
    idle = []
    try:
        docks = usb.list_adapters(spec)
    except DeviceNotFound:
        docks = []              # a machine without USB
    except UsbGpuError as error:
        docks, idle = [], [{"pid": None, "device": "USB", "state": "error", **_told(error)}]
    for dock in docks:
        port = f"USB {dock.spec.removeprefix('usb:')}"
        if dock.holder in pids or port in ports:
            continue
        if dock.state == "free" and dock.identity.mode in ("custom", "legacy"):
            idle.append(_look(dock.spec, boot))
        else:
            idle.append({"pid": dock.holder, "device": port, "state": "busy" if dock.state == "busy" else "error",
                         "missing": _why_closed(dock), "identity": dock.identity.as_dict()})
    return running + idle


def _why_closed(dock) -> str:
    if dock.state == "busy":
        return f"in use by {f'process {dock.holder}' if dock.holder else 'another program'}, which does not answer"
    if dock.state == "free":
        return f"the dock's firmware is {dock.identity.mode}; see usbgpu doctor"
    return f"{dock.state}; see usbgpu doctor"


def _running(answer: dict, before: list[dict]) -> dict[str, Any]:
    if "error" in answer:
        return {"device": None, "state": "busy", "missing": answer["error"], **answer}
    earlier = next((other for other in before if other["pid"] == answer["pid"] and "transfers" in other), None)
    answer["rates"] = rates(earlier["transfers"], answer["transfers"]) if earlier else None
    return answer


def rates(first: dict, second: dict) -> dict[str, float] | None:
    """Per second, from two sets of counters; None if they were reset in between."""
    seconds = second["at_s"] - first["at_s"]

    def per_second(*names: str) -> float:
        return (sum(second[name] for name in names) - sum(first[name] for name in names)) / seconds

    if seconds <= 0:
        return None
    counted = {"transfers": per_second("control_out", "control_in", "bulk_out", "bulk_in"),
               "bytes_out": per_second("bytes_out"), "bytes_in": per_second("bytes_in"),
               "errors": per_second("errors"), "retries": per_second("retries"), "launches": per_second("launches")}
    return None if any(value < 0 for value in counted.values()) else counted


def _look(spec: str, boot: bool) -> dict[str, Any]:
    """A dock that nobody uses."""
    told: dict[str, Any] = {"pid": None, "device": spec.replace("usb:", "USB "), "state": "error", "missing": None}
    try:
        if boot:
            return {**told, **_booted(spec), "pid": None, "program": None, "state": look.IDLE}
        opened = usb.open_handle(spec)
        try:
            adapter = usb.adapter_for(opened.handle)
            adapter.start()
            told |= {"device": opened.label, "serial": opened.serial, "link": adapter.describe()}
            told |= look.look(Gpu(adapter, opened.firmware_dirs))
            if told["state"] != look.IDLE:
                told["missing"] = told.get("missing") or look.MEANING[told["state"]]
        finally:
            opened.handle.close()
    except ConfigError:
        raise                   # what the user has set is the user's to correct
    except DeviceBusy as error:
        told |= {"state": "busy", "missing": error.found}
    except UsbGpuError as error:
        told |= _told(error)
    return told


def _told(error: UsbGpuError) -> dict[str, Any]:
    return {"missing": error.found, "code": error.code, "action": error.action}


def _booted(spec: str) -> dict[str, Any]:
    from ..runtime import Device

    with Device(spec) as device:
        return device.status()


# ---- showing

NOBODY = ("No dock is plugged in, and no program uses an emulated one. (usbgpu doctor says what to do; "
          "--device emulated shows an emulated card.)")


def _show(devices: list[dict]) -> None:
    """Once. What is no terminal has no width: one line for each figure there."""
    if sys.stdout.isatty():
        _console().print(render(devices))
        return
    for device in devices:
        click.echo(_title(device).plain)
        for name, shown in _rows(device):
            click.echo(f"  {name:<12}  {shown}")
    if not devices:
        click.echo(NOBODY)


def render(devices: list[dict]) -> Group | Text:
    """For a terminal."""
    parts: list[Any] = []
    for device in devices:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", min_width=14)
        table.add_column()
        for name, shown in _rows(device):
            table.add_row(f"  {name}", Text(shown))
        parts += [_title(device), table]
    return Group(*parts) if devices else Text(NOBODY)


def _title(device: dict) -> Text:
    text = Text(device.get("card") or device["device"] or "a device", style="bold")
    facts = [device[name] for name in ("chip", "arch") if device.get(name)]
    if device.get("compute_units"):
        facts.append(f"{device['compute_units']} compute units")
    if facts:
        text.append(f"  {', '.join(facts)}", "not bold")
    where = device["device"] if device.get("card") else None
    user = f"process {device['pid']}" + (f" ({device['program']})" if device.get("program") else "") \
        if device.get("pid") else None
    if where or user:
        text.append("  " + ", ".join(filter(None, (where, user))), "not bold dim")
    text.append("  ")
    text.append(device["state"], f"not bold {STYLES.get(device['state'], '')}")
    return text


def _rows(device: dict) -> list[tuple[str, str]]:
    rows = (("memory", _memory(device)), ("clocks", _clocks(device)), ("power", _power(device)),
            ("temperature", _temperature(device)), ("link", _link(device)), ("transfers", _transfers(device)),
            ("queue", _queue(device)), ("failure", device.get("failure")), ("note", device.get("missing")),
            ("next", device.get("action")))
    return [(name, shown) for name, shown in rows if shown]


def _bytes(count: float) -> str:
    for unit, size in (("GiB", GIB), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def _memory(device: dict) -> str | None:
    vram = device.get("vram")
    if not vram:
        return None
    if vram["allocated"] is None:
        return f"{_bytes(vram['total'])} (in use: unknown)"
    return f"{_bytes(vram['allocated'])} of {_bytes(vram['total'])} in use, {_bytes(vram['reserved'])} held"


def _clocks(device: dict) -> str | None:
    metrics = device.get("metrics")
    if not metrics:
        return None
    clocks, activity = metrics["clocks_mhz"], metrics["activity_percent"]
    slowed = "".join(f", {cause} {share} %" for cause, share in metrics["throttling_percent"].items())
    return (f"graphics {clocks['GFXCLK']} MHz, {activity['graphics']} % busy; memory {clocks['UCLK']} MHz, "
            f"{activity['memory']} % busy; SoC {clocks['SOCCLK']} MHz; fabric {clocks['FCLK']} MHz"
            + (f"; slowed by{slowed[1:]}" if slowed else ""))


def _power(device: dict) -> str | None:
    metrics = device.get("metrics")
    if not metrics:
        return None
    limit = f" of {device['power_limit_w']} W" if device.get("power_limit_w") else ""
    return f"{metrics['power_w']} W{limit}; {metrics['energy_j'] / 3600:.2f} Wh since the start"


def _temperature(device: dict) -> str | None:
    metrics = device.get("metrics")
    if not metrics:
        return None
    shown = ", ".join(f"{name.replace('_', ' ')} {degrees} C" for name, degrees in metrics["temperatures_c"].items())
    return f"{shown}; fan {metrics['fan_percent']} %, {metrics['fan_rpm']} rpm"


def _link(device: dict) -> str | None:
    link = device.get("link")
    if not link:
        return None
    shown = [f"USB {link['usb_gbps']:g} Gb/s" if link["usb_gbps"] else "USB speed unknown"]
    if not link["pcie_link_up"]:
        shown.append(f"PCIe down (LTSSM {link['pcie_ltssm']:#x})")
    elif link["pcie_gt_per_s"]:
        shown.append(f"PCIe {link['pcie_gt_per_s']:g} GT/s x{link['pcie_lanes']}")
    else:
        shown.append("PCIe up")
    shown.append(f"firmware {link['product'] or link['mode']}")
    return ", ".join(shown)


def _transfers(device: dict) -> str | None:
    total, now = device.get("transfers"), device.get("rates")
    if not total:
        return None
    count = sum(total[name] for name in ("control_out", "control_in", "bulk_out", "bulk_in"))
    rate = (f"{now['transfers']:.0f}/s, {_bytes(now['bytes_out'])}/s out, {_bytes(now['bytes_in'])}/s in; "
            if now else "")
    return (f"{rate}{count} in all, {_bytes(total['bytes_out'])} out, {_bytes(total['bytes_in'])} in, "
            f"{total['errors']} errors, {total['retries']} retries")


def _queue(device: dict) -> str | None:
    queue = device.get("queue")
    if not queue:
        return None
    waiting = f", {queue['waiting']} of {queue['submitted']} submissions not done" if queue["waiting"] else ""
    return f"{queue['state']}{waiting}; {device['transfers']['launches']} kernels launched"
