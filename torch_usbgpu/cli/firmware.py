"""`usbgpu firmware`: status, install, verify."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from ..amdgpu.firmware import ENVIRONMENT, search_directories, user_directory
from ..amdgpu.facts import load
from ..errors import DownloadError, FirmwareMissing
from ..firmware import download, needs, sources
from ..firmware.examine import Report, examine
from ..firmware.install import Plan, Status, carry_out, plan, status_of
from ..private_files import LockHeld

ATTACHED = "attached"
CARD_HELP = ("Only for this card: a chip (navi31, gfx1100, ...), PCI device and revision (744c:c8), or \"attached\": "
             "the one in the dock. Repeatable. Without it: every supported card.")
cards_option = click.option("--card", "cards", multiple=True, metavar="CARD", help=CARD_HELP)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.group("firmware")
def group() -> None:
    """AMD's firmware files for the cards: what is there, getting them, checking them.

    The files belong to AMD and are not part of this package; linux-firmware and the distributions' packages have them.
    """


def _needed(cards: tuple[str, ...]) -> list[needs.NeededFile]:
    return needs.of_cards(tuple(_attached_card() if card == ATTACHED else card for card in cards))


def _attached_card() -> str:
    """PCI device and revision of the card in the dock, which is opened for a moment and not started.

    Raises:
        DeviceNotFound, DeviceBusy, LinkError, UnsupportedChip
    """
    from .. import usb
    from ..amdgpu import Gpu, boot
    spec = os.environ.get("USBGPU_DEVICE") or "usb"
    opened = usb.open_handle("usb" if spec == "auto" else spec)
    try:
        gpu = Gpu(usb.adapter_for(opened.handle))
        boot.open_adapter(gpu)
        boot.find_gpu(gpu)
        return f"{gpu.pci.device:04x}:{gpu.pci.revision:02x}"
    finally:
        opened.handle.close()


# ---- status

@group.command(short_help="Which files do the cards need, and which are there?")
@cards_option
@click.option("--directory", "directories", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Look here first. Repeatable.")
@json_option
def status(cards, directories, as_json) -> int:
    """Show every file that the cards need, where it was found, and its version.

    Exit status 1: files are missing or damaged. What only some boards of a chip need may be missing, unless such a
    board is named with --card.
    """
    places = search_directories(directories)
    rows = [status_of(needed, places) for needed in _needed(cards)]
    complete = not any(row.counts for row in rows)
    if as_json:
        click.echo(json.dumps({"searched": [str(place) for place in places], "complete": complete,
                               "files": [_row(row) for row in rows]}, indent=1))
        return 0 if complete else 1
    _print_status(rows)
    if complete:
        click.echo("All files are there.")
        return 0
    click.echo(f"Searched: {', '.join(map(str, places))}")
    chips = dict.fromkeys(row.needed.chip for row in rows if row.counts)
    ready = [chip for chip in dict.fromkeys(row.needed.chip for row in rows) if chip not in chips]
    click.echo(f"Complete: {', '.join(ready) or 'none'}. Files are missing or bad for: {', '.join(chips)}.")
    click.echo("Next: usbgpu firmware install --download" + "".join(f" --card {card}" for card in cards)
               + "  (or name a package or folder that has them)")
    return 1


def _row(row: Status) -> dict:
    report = _described(row.report) if row.report else {}
    return {"name": row.needed.name, "kind": row.needed.kind, "chip": row.needed.chip,
            "boards": list(row.needed.boards), "state": row.state, "place": row.place, "problem": row.problem, **report}


def _described(report: Report) -> dict:
    return {key: value for key, value in asdict(report).items() if key not in ("name", "kind", "chip", "problems")}


def _print_status(rows: list[Status]) -> None:
    lines = []
    for row in rows:
        state = row.state if row.state != "missing" or row.counts else "optional"
        report = row.report
        where = row.problem if row.state == "bad" else _short(row.place)
        if row.needed.boards and row.state == "missing":
            where = f"only for {', '.join(row.needed.boards)}"
        lines.append((row.needed.chip, row.needed.name, state, report.version or "" if report else "",
                      _releases(report) if report else "", where or ""))
    _table(("chip", "file", "state", "version", "releases", "where"), lines, colour_of=2)


def _short(place: str | None) -> str:
    """Installed files by their folder: nobody needs their hashes here."""
    path = Path(place or "")
    if path.parent.name != "sha256":
        return place or ""
    folder = path.parent.parent
    return "installed" if folder == user_directory() else f"{folder} (installed)"


def _releases(report: Report) -> str:
    return ", ".join(report.releases) or "unknown"


def _table(titles: tuple[str, ...], lines: list[tuple[str, ...]], colour_of: int) -> None:
    """For people on a terminal; plain columns otherwise, with nothing cut off."""
    if not sys.stdout.isatty():
        widths = [max(len(row[column]) for row in (titles, *lines)) for column in range(len(titles))]
        for row in (titles, *lines):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    colours = {"ok": "green", "missing": "red", "bad": "bold red", "optional": "dim"}
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in lines:
        style = colours.get(row[colour_of], "")
        table.add_row(*(Text(cell, style=style if column == colour_of else "") for column, cell in enumerate(row)))
    Console().print(table)


# ---- verify

@group.command(short_help="Check files thoroughly.")
@click.argument("source", required=False, type=click.Path(path_type=Path))
@cards_option
@json_option
def verify(source, cards, as_json) -> int:
    """Check the files in SOURCE (a folder, file, package or archive), or those that the driver would load.

    Checked are the container, its checksum, each image's header as the GPU's security processor reads it, and the
    SHA-256 of installed files. "releases" are those of linux-firmware whose file has this SHA-256, of the known ones.
    AMD's signature is checked by the GPU itself, when it starts. Exit status 1: a file is not what its name says.
    """
    wanted = _needed(cards)
    if source is not None:
        with _bar("Reading") as progress:
            found = sources.read_files(source, [needed.name for needed in wanted], progress)
        rows = [_judged(needed, found[needed.name]) for needed in wanted if needed.name in found]
        if not rows:
            raise FirmwareMissing(f"{source} has none of the files that the cards need.", "Name another place.")
    else:
        places = search_directories()
        rows = [row for row in (status_of(needed, places) for needed in wanted) if row.state != "missing"]
        if not rows:
            raise FirmwareMissing("No firmware is there to be checked.", "Run `usbgpu firmware install`.",
                                  searched=", ".join(map(str, places)))
    bad = [row for row in rows if row.state == "bad"]
    if as_json:
        click.echo(json.dumps({"good": not bad, "files": [_row(row) for row in rows]}, indent=1))
    else:
        _print_status(rows)
        click.echo(f"{len(rows) - len(bad)} of {len(rows)} files are what their names say.")
        if bad:
            click.echo("Next: usbgpu firmware install, from a source with good files.")
    return 1 if bad else 0


def _judged(needed: needs.NeededFile, file: sources.SourceFile) -> Status:
    report = examine(needed, file.data)
    return Status(needed, "bad" if report.problems else "ok", file.place, report, "; ".join(report.problems) or None)


# ---- install

@group.command(short_help="Get and install the files.")
@click.argument("source", required=False)
@click.option("--download", "from_release", is_flag=True, help="Fetch them from linux-firmware (kernel.org).")
@click.option("--release", metavar="DATE", help="Which release of linux-firmware, e.g. "
              f"{download.default_release()} (default). Files of known releases are fetched one by one; of another, "
              "its whole archive, checked against the published checksums.")
@click.option("--sha256", metavar="HEX", help="What SOURCE must be, a package or archive.")
@click.option("--file-url", metavar="PATTERN", help="Fetch single files from here instead; {release} and {name} are "
              "filled in.")
@cards_option
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help=f"Install here instead of your own folder; set {ENVIRONMENT} to it then.")
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@json_option
def install(source, from_release, release, sha256, file_url, cards, folder, dry_run, as_json) -> int:
    """Install the files that the cards need from SOURCE, or with --download.

    SOURCE: a folder (such as a checkout of linux-firmware), a Debian (.deb), Fedora (.rpm) or Arch (.pkg.tar.zst)
    package, a tar or zip archive, or the https address of one. Every file is checked first; if one is bad, nothing is
    changed.

    Exit status 1: the source lacks files that a card named with --card needs.
    """
    if (source is None) == (not from_release):
        raise click.UsageError("Name a SOURCE, or use --download.")
    if (release or file_url) and not from_release:
        raise click.UsageError("--release and --file-url go with --download.")
    wanted = _needed(cards)
    found, origin = _collect(wanted, source, release, sha256, file_url)
    steps = plan(wanted, found, origin, folder)
    if not dry_run:
        try:
            carry_out(steps)
        except LockHeld as held:
            raise click.ClickException(f"Another installation is running ({held}).") from held
    lacking = bool(steps.incomplete_chips) if cards else not steps.complete_chips
    if as_json:
        click.echo(json.dumps({
            "source": origin, "folder": str(steps.folder), "dry_run": dry_run, "complete_chips": steps.complete_chips,
            "incomplete_chips": steps.incomplete_chips, "lacking": [needed.name for needed in steps.lacking],
            **{group: [{"name": report.name, **_described(report)} for report in getattr(steps, group)]
               for group in ("new", "changed", "same")}}, indent=1))
    else:
        _print_plan(steps, origin, dry_run)
    return 1 if lacking else 0


def _collect(wanted, source, release, sha256, file_url) -> tuple[dict[str, sources.SourceFile], str]:
    names = [needed.name for needed in wanted]
    if source is None:
        release = release or download.default_release()
        if release in load("firmware_files")["releases"]:
            with _bar("Fetching", "files") as progress:
                return (download.release_files(names, release, file_url, progress), f"linux-firmware {release}")
        if file_url:
            raise click.UsageError("--file-url needs a release whose checksums are known: "
                                   f"{', '.join(load('firmware_files')['releases'])}.")
        source, sha256 = download.archive_of(release)
    if download.is_url(source):
        with _bar("Fetching") as progress, download.fetched(source, sha256, progress) as path, _bar("Reading") as bar:
            found = sources.read_files(path, names, bar)
        name = source.rsplit("/", 1)[-1] or source
        return ({key: sources.SourceFile(file.data, file.place.replace(path.name, name))
                 for key, file in found.items()}, source)
    if sha256:
        _check_file(Path(source), sha256)
    with _bar("Reading") as progress:
        return sources.read_files(source, names, progress), source


def _check_file(path: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise FirmwareMissing(f"{path} cannot be read: {error.strerror}.",
                              "Check the path; --sha256 is for files.") from error
    if digest.hexdigest() != sha256.lower():
        raise DownloadError(f"{path} is not what was promised.", "Do not use it: get it anew.",
                            sha256=digest.hexdigest(), expected=sha256.lower())


def _print_plan(steps: Plan, origin: str, dry_run: bool) -> None:
    lines = [(report.chip, report.name, word, report.version or "", _releases(report), f"{report.bytes:,}")
             for word, reports in (("new", steps.new), ("changed", steps.changed), ("as before", steps.same))
             for report in reports]
    _table(("chip", "file", "", "version", "releases", "bytes"), lines, colour_of=2)
    verb = "would be installed" if dry_run else "installed"
    click.echo(f"{len(steps.new) + len(steps.changed)} files {verb} in {steps.folder}, {len(steps.same)} were there.")
    for boards in dict.fromkeys(needed.boards for needed in steps.lacking):
        names = ", ".join(needed.name for needed in steps.lacking if needed.boards == boards)
        for_whom = f", only for {', '.join(boards)}" if boards else ""
        click.echo(f"Not in {origin}{for_whom}: {names}")
    if steps.complete_chips:
        click.echo(f"Ready: {', '.join(steps.complete_chips)}.")
    if steps.incomplete_chips:
        click.echo(f"Not complete: {', '.join(steps.incomplete_chips)}. A newer release may have the rest.")
    if steps.folder != user_directory() and not dry_run:
        click.echo(f"The driver finds them there with {ENVIRONMENT}={steps.folder}")


@contextlib.contextmanager
def _bar(what: str, unit: str = "B") -> Iterator[sources.Progress | None]:
    """A progress bar on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm
    with tqdm(desc=what, unit=unit, unit_scale=unit == "B", unit_divisor=1024, file=sys.stderr, leave=False) as bar:
        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
        yield show
