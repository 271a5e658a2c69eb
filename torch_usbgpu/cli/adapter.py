"""`usbgpu adapter`: the dock itself. What it is, its flash, its PCIe power."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from .. import usb
from ..errors import ConfigError, ImageRefused
from ..usb import docks
from ..usb.backups import BackupStore
from ..usb.flash_image import REACHABLE_BYTES, FlashContent, Image, ImageFile, parse_file
from ..usb.flashing import FLASHABLE, Plan, Stage, Watcher, carry_out, make_plan, open_road
from ..usb.identity import DRIVEN, Identity

CONFIRMATION = "flash this dock"
WAIT_SECONDS = 120
MOST_FILE_BYTES = 16 << 20     # of the order of the largest SPI flashes
STAGES = {Stage.LOOK: "reading", Stage.BACKUP: "saving", Stage.IMAGE: "writing", Stage.VERIFY: "comparing",
          Stage.COMMIT: "committing", Stage.RESTART: "waiting"}

_device = click.option("--device", "spec", metavar="SPEC", help="Which dock, as in USBGPU_DEVICE: usb:2-1.4, "
                       "emulated ... Without: USBGPU_DEVICE, or the dock that is plugged in.")
_ids = click.option("--ids", metavar="VID:PID", callback=lambda _context, _option, text: _parse_ids(text),
                    help="USB ids that the vendor gave a stock dock, if they are not ASMedia's.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and nothing else.")
_directory = click.option("--backups", "directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
                          help="Where backups are kept, in place of the user's data directory.")
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("adapter", short_help="The dock itself: what it is, its firmware, its power.")
def group() -> None:
    """The dock itself: what it is, its firmware, the card's power. Flashing is described in docs/adapter.md."""


# ---- info

@group.command()
@_device
@_ids
@_json
@click.option("--flash", "read_flash", is_flag=True, help="Read the flash too, for which a disk in the dock is "
              "detached.")
def info(spec: str | None, ids: docks.Ids | None, as_json: bool, read_flash: bool) -> None:
    """Show what the dock is, and with --flash what is in its flash."""
    spec = _spec(spec)
    label, identity = docks.look(spec, ids)
    facts: dict[str, Any] = {"device": label, **identity.as_dict()}
    if identity.mode in DRIVEN:
        facts.update(_describe(spec))
    if read_flash:
        with _opened_road(spec, ids) as (_opened, identity, road):
            facts["flash"] = _flash_facts(road.read(lambda _done, _total: None))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        for line in _info_lines(facts):
            click.echo(line)


def _describe(spec: str) -> dict[str, Any]:
    """The PCIe link too."""
    opened, _identity = docks.open_dock(spec, DRIVEN)
    with contextlib.closing(opened.handle), warnings.catch_warnings():
        warnings.simplefilter("ignore")             # about slow links: the speed is shown
        adapter = usb.adapter_for(opened.handle)
        adapter.start()
        return {name: value for name, value in adapter.describe().items() if value is not None}


def _flash_facts(content: FlashContent) -> dict[str, Any]:
    image = content.image
    ok = isinstance(image, Image)
    known = {"firmware": str(image.identity), "bytes": len(image.data), "sha256": image.sha256} if ok else {}
    return {"sha256": content.sha256, "starts": content.verified,
            "image": {"valid": ok, **known, "problem": None if ok else image.found},
            "config": [{"valid": block.problem is None, "problem": block.problem,
                        **({} if block.problem else block.fields())} for block in content.config]}


def _info_lines(facts: dict[str, Any]) -> Iterator[str]:
    def line(name: str, value: Any) -> str:
        return f"{name:<14}{value}"
    yield line("device", facts["device"])
    yield line("mode", facts["mode"])
    yield line("names", " ".join(filter(None, (facts["manufacturer"], facts["product"]))) or "none")
    yield line("ids", f"{facts['ids']}" + (f", release {facts['bcd_device']:04x}" if facts.get("bcd_device") else ""))
    yield line("firmware", ", ".join(filter(None, (facts["firmware"], facts["generation"]))) or "unknown")
    yield line("serial", facts["serial"] or "none")
    yield line("USB link", f"{facts['usb_gbps']:g} Gb/s" if facts.get("usb_gbps") else "unknown")
    if "pcie_link_up" in facts:
        up = facts["pcie_link_up"]
        details = [f"{facts['pcie_gt_per_s']:g} GT/s" if facts.get("pcie_gt_per_s") else None,
                   f"{facts['pcie_lanes']} lanes" if facts.get("pcie_lanes") else None]
        yield line("PCIe link", ("up " + " x ".join(filter(None, details)) if up else "down")
                   + f" (LTSSM {facts['pcie_ltssm']:#04x})")
        if not up and facts["mode"] == "custom" and (facts.get("usb_gbps") or 5) < 1:
            yield line("", "A dock in USB4 or Thunderbolt mode looks like this: `usbgpu doctor` tells.")
    for name, value in _flash_lines(facts.get("flash")):
        yield line(name, value)


def _flash_lines(flash: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if flash is None:
        return
    image = flash["image"]
    yield "flash image", f"{image['firmware']}, {image['bytes']} bytes" if image["valid"] else image["problem"]
    for index, block in enumerate(flash["config"]):
        texts = ", ".join(f"{name} {value}" for name, value in block.items()
                          if value and name not in ("valid", "problem")) or "no texts"
        yield f"config {index}", block["problem"] or texts


# ---- backup

@group.command()
@_device
@_ids
@_json
@_directory
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Make a copy under this name.")
def backup(spec: str | None, ids: docks.Ids | None, as_json: bool, directory: Path | None, output: Path | None) -> int:
    """Save the dock's flash: configuration and firmware, 128 KiB. A disk in the dock is detached for that.

    Exit status: 0; 1 if what was read is saved, but is no firmware that starts.
    """
    with _opened_road(_spec(spec), ids) as (_opened, identity, road), _progress(quiet=as_json) as watch:
        content = road.read(lambda done, total: watch(Stage.LOOK, done, total))
    saved = BackupStore(directory).save(content, identity)
    if output is not None:
        _write_new(output, content.data)
    if as_json:
        click.echo(json.dumps({"path": str(saved.path), "verified": content.verified, "sha256": content.sha256,
                               "flash": _flash_facts(content)}, indent=2))
    else:
        click.echo(f"Saved to {saved.path}")
        for name, value in _flash_lines(_flash_facts(content)):
            click.echo(f"{name:<14}{value}")
        if not content.verified:
            click.echo("What is in the flash is no firmware that starts: this backup is for study only.", err=True)
    return 0 if content.verified else 1


def _write_new(path: Path, data: bytes) -> None:
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists already.", "Choose another name: a backup is never overwritten.") from None
    with open(number, "wb") as file:
        file.write(data)


# ---- flash

@group.command()
@click.argument("file", type=_file)
@_device
@_ids
@_json
@_directory
@click.option("--dry-run", is_flag=True, help="Look at dock and file and say what would be done. Nothing is written.")
@click.option("--yes", is_flag=True, help="Do not ask. All checks are made all the same.")
@click.option("--config", "config_file", metavar="BACKUP", type=_file, help="Write the configuration blocks of this "
              "backup too, in place of keeping the dock's own.")
@click.option("--sha256", "expected", metavar="HEX", help="What FILE must have; otherwise it is refused.")
@click.option("--without-backup", is_flag=True, help="Go on although what is in the flash is no firmware that starts, "
              "and no backup of one is there.")
@click.option("--again", is_flag=True, help="Write even if the flash holds just that already.")
@click.option("--wait", type=click.FloatRange(min=0), default=WAIT_SECONDS, show_default=True,
              help="How many seconds to wait for the dock to come back; 0: do not wait.")
def flash(file: Path, spec: str | None, ids: docks.Ids | None, as_json: bool, directory: Path | None,
          dry_run: bool, yes: bool, config_file: Path | None, expected: str | None, without_backup: bool, again: bool,
          wait: float) -> int:
    """Write FILE to the dock's flash: a wrapped firmware image, or a backup.

    The dock's flash is saved first, and compared with FILE after it was written. Exit status: 0; 1 if the dock came
    back as something else; 2 if anything was refused or failed.
    """
    wanted = _read_image(file, expected)
    config_from = _read_backup(config_file) if config_file else None
    report: dict[str, Any] = {"file": str(file), "sha256": wanted.image.sha256, "firmware": str(wanted.image.identity),
                              "written": False, "dry_run": dry_run}
    with _opened_road(_spec(spec), ids) as (opened, identity, road):
        with _progress(quiet=as_json) as watch:
            plan = make_plan(road, identity, wanted, config_from=config_from, backups=BackupStore(directory),
                             save=not dry_run, without_backup=without_backup, watch=watch)
        report.update(device=opened.label, before=identity.as_dict(), plan=_plan_lines(plan, opened.label),
                      notes=plan.notes)
        if not as_json:
            click.echo("\n".join([*_plan_lines(plan, opened.label), *plan.notes]))
        if plan.already_there and not again:
            return _finish(report, as_json, "The flash holds this already. (--again writes it anyway.)")
        if dry_run:
            return _finish(report, as_json, "Dry run: nothing was written.")
        _confirm(plan, opened.label, yes, quiet=as_json)
        with _progress(quiet=as_json) as watch:
            carry_out(plan, road, watch)
        report["written"] = True
        if not as_json:
            click.echo("Written and compared.")
        after = docks.restart(opened, wait, lambda text: click.echo(text, err=as_json), ids)
    if after is None:
        return _finish(report, as_json, "It starts with the new firmware then.")
    report["after"] = after.as_dict()
    fits = _came_back_right(plan, after)
    text = f"The dock is back as {after.ids} {after.product or ''} (mode {after.mode})."
    _finish(report, as_json, text if fits else f"{text} That is not what was flashed: usbgpu adapter info --flash")
    return 0 if fits else 1


# kind of image -> modes in which it may come back
_COMES_BACK_AS = {"custom": ("custom", "usb4", "bootstub"), "bootstub": ("bootstub", "custom", "usb4"),
                  "legacy": ("legacy", "stock")}


def _came_back_right(plan: Plan, after: Identity) -> bool:
    return after.mode in _COMES_BACK_AS.get(plan.image.identity.kind, ("stock", "legacy", "unknown"))


def _finish(report: dict[str, Any], as_json: bool, text: str) -> int:
    click.echo(json.dumps({**report, "result": text}, indent=2) if as_json else text)
    return 0


def _read_image(file: Path, expected: str | None) -> ImageFile:
    if file.stat().st_size > MOST_FILE_BYTES:
        raise ImageRefused(f"{file} is far too large for the dock's flash.", bytes=file.stat().st_size)
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if expected is not None and expected.lower() != digest:
        raise ImageRefused(f"{file} is not the file that --sha256 names.", sha256=digest, expected=expected.lower())
    try:
        return parse_file(data)
    except ImageRefused as refused:
        raise ImageRefused(f"{file}: {refused.found}", refused.action, **refused.state) from None


def _read_backup(file: Path) -> FlashContent:
    data = file.read_bytes()
    if len(data) != REACHABLE_BYTES:
        raise ImageRefused(f"{file} is no backup: it has {len(data)} bytes, not {REACHABLE_BYTES}.",
                           "Name a file that `usbgpu adapter backup` has made.")
    return FlashContent(data)


def _plan_lines(plan: Plan, label: str) -> list[str]:
    now = "cannot be read" if plan.before is None else (
        str(plan.before.image.identity) if isinstance(plan.before.image, Image) else plan.before.image.found)
    return [f"dock      {label}, mode {plan.identity.mode}, {plan.identity.ids} {plan.identity.product or ''}".rstrip(),
            f"flash now {now}",
            f"to write  {plan.image.identity}, {len(plan.payload)} bytes, SHA-256 {plan.image.sha256}",
            f"config    {plan.config_source}",
            f"by        {plan.how}"]


def _confirm(plan: Plan, label: str, yes: bool, quiet: bool) -> None:
    if not quiet:
        click.echo()
        for number, text in enumerate(plan.warnings, 1):
            click.echo(f"  {number}. {text}")
        click.echo()
    if yes:
        return
    if quiet or not sys.stdin.isatty():
        raise ConfigError("Nobody is there to be asked.", "Add --yes if this dock shall be flashed.", device=label)
    answer = click.prompt(f"To write to {label}, type: {CONFIRMATION}\nAnything else ends this", default="",
                          show_default=False)
    if answer.strip() != CONFIRMATION:
        raise ConfigError("Not confirmed; nothing was written.", "Run the command again if you want to flash the dock.")


# ---- power

@group.command()
@click.argument("state", type=click.Choice(["on", "off"]))
@_device
@_json
def power(state: str, spec: str | None, as_json: bool) -> None:
    """Switch the card's power on or off. What is in its memory is lost; a program that uses it must have ended."""
    opened, _identity = docks.open_dock(_spec(spec), DRIVEN)
    with contextlib.closing(opened.handle), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapter = usb.adapter_for(opened.handle)
        adapter.start()
        adapter.power(state == "on")
        if state == "on":
            adapter.raise_link()
        facts = adapter.describe()
    if as_json:
        click.echo(json.dumps({"device": opened.label, "power": state, **facts}, indent=2))
    else:
        link = "up" if facts["pcie_link_up"] else "down"
        click.echo(f"{opened.label}: power {state}, PCIe link {link} (LTSSM {facts['pcie_ltssm']:#04x}).")


# ---- shared

def _parse_ids(text: str | None) -> docks.Ids | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}", text):
        raise click.BadParameter(f"{text!r} is not like 174c:2464.")
    vendor, product = text.split(":")
    return int(vendor, 16), int(product, 16)


def _spec(spec: str | None) -> str:
    """A made-up dock in place of the one that somebody means would be of no use: no emulation by default."""
    spec = spec or os.environ.get("USBGPU_DEVICE") or "usb"
    return "usb" if spec == "auto" else spec


@contextlib.contextmanager
def _opened_road(spec: str, ids: docks.Ids | None):
    opened, identity = docks.open_dock(spec, FLASHABLE, ids)
    with contextlib.closing(opened.handle), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield opened, identity, open_road(opened.handle, identity)


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Watcher]:
    """A bar per stage on a terminal, a line per stage elsewhere."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        seen: set[Stage] = set()

        def say(stage: Stage, _done: int, _total: int) -> None:
            if stage not in seen and not quiet:
                click.echo(f"{STAGES[stage]} ...", err=True)
            seen.add(stage)
        yield say
        return
    bar = Progress(TextColumn("{task.description:<10}"), BarColumn(), DownloadColumn(), console=console, transient=True)
    tasks: dict[Stage, Any] = {}

    def show(stage: Stage, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(STAGES[stage], total=total)
        bar.update(tasks[stage], completed=done, total=total)
    with bar:
        yield show
