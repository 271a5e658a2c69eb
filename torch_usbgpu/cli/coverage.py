"""`usbgpu coverage`: which of torch's operators run on the GPU, measured; writes docs/coverage.md."""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from ..errors import ConfigError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coverage.md"


@click.command("coverage", short_help="Which of torch's operators run on the GPU: measures, writes docs/coverage.md.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and nothing else.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The page to write. Without: the "
              "checkout's docs/coverage.md if everything is measured, else none.")
@click.option("--samples", type=click.IntRange(min=1), default=4, show_default=True, help="Of each entry at most.")
@click.option("--dtype", "dtypes", multiple=True, metavar="DTYPE", help="Only these, such as float32; may be repeated. "
              "Without: all that have kernels. Backward is measured in float32.")
@click.option("--beside", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="REPORT",
              help="What --json printed on another GPU: the page then says in what that one differs.")
@click.option("--device", "spec", metavar="SPEC", help="As in USBGPU_DEVICE.")
def group(names: tuple[str, ...], as_json: bool, output: Path | None, samples: int,
          dtypes: tuple[str, ...], beside: Path | None, spec: str | None) -> int:
    """Run torch's own operator samples on the CPU and on the GPU: float32 forward and backward, other dtypes forward.

    NAME is an entry, as in docs/coverage.md; without any all are run, which takes some minutes, and much longer the
    first time, when every kernel is compiled. Exit status: 0, 1 if a result is wrong.
    """
    if spec:
        os.environ["USBGPU_DEVICE"] = spec
    other = _read(beside) if beside else None
    report = measure_all(names, samples, dtypes)
    if other and _asked(other) != _asked(report):
        raise click.BadParameter(f"{beside} is none of the same entries, samples and dtypes.", param_hint="--beside")
    if output is None and not names and not dtypes and not as_json:
        if not PAGE.parent.is_dir():
            raise ConfigError("This is no checkout: there is no folder docs to write coverage.md to.",
                              "Say where with --output, or use --json.")
        output = PAGE
    if output:
        from .. import coverage

        output.write_text(coverage.page(report, other), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report, every=bool(names))
        if output:
            click.echo(f"Written to {output}")
    return int(any(total["wrong"] for total in report["totals"].values()))


def _read(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return {key: report[key] for key in ("arch", "dtype", "samples", "dtypes", "totals", "operators")}
    except (ValueError, KeyError, TypeError) as error:
        raise click.BadParameter(f"{path} is no report of `usbgpu coverage --json`.", param_hint="--beside") from error


def _asked(report: dict[str, Any]) -> tuple:
    return report["samples"], report["dtypes"], [entry["name"] for entry in report["operators"]]


def measure_all(names: tuple[str, ...], samples: int, dtypes: tuple[str, ...]) -> dict[str, Any]:
    try:
        from .. import coverage
        chosen = coverage.entries(names)
    except ImportError as error:
        raise ConfigError(f"torch's operator samples cannot be loaded: {error}.",
                          "pip install 'torch_usbgpu[test]'") from error
    except KeyError as error:
        raise click.BadParameter(f"torch has no entry {error.args[0]}", param_hint="NAME") from None
    known = {coverage.title(dtype): dtype for dtype in coverage.DTYPES}
    for name in dtypes:
        if name not in known:
            raise click.BadParameter(f"{name} is none of {', '.join(known)}", param_hint="--dtype")
    return coverage.report(tqdm(chosen, disable=None, file=sys.stderr, unit="entry", leave=False), samples,
                           [known[name] for name in dtypes] or coverage.DTYPES)


def _show(report: dict, every: bool) -> None:
    if every:
        for entry in report["operators"]:
            results = {f"{report['dtype']} forward": entry["forward"], f"{report['dtype']} backward": entry["backward"],
                       **entry["dtypes"]}
            for what, found in results.items():
                if found is None:
                    continue
                reason = f": {', '.join(found['reason'])}" if found["reason"] else ""
                click.echo(f"{entry['name']}  {what}  {found['state']}{reason}")
    for what, total in report["totals"].items():
        shown = ", ".join(f"{count} {state}" for state, count in total.items() if count)
        click.echo(f"{what}: {shown or 'nothing'}")
