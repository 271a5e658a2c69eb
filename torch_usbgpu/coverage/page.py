"""The page docs/coverage.md."""
from __future__ import annotations

import collections

from .measure import FALLBACK, NATIVE, NOTHING, UNSUPPORTED, WRONG, totals

MEANING = {
    NATIVE: "our kernels computed all of it, with the CPU's result",
    FALLBACK: "right, but at least one sample ran an operator on the CPU",
    WRONG: "another result than the CPU's",
    UNSUPPORTED: "an error on usbgpu where the CPU has a result",
    NOTHING: "torch has no sample that runs on the CPU, or none with a derivative",
}


def page(report: dict) -> str:
    """Markdown of the report that `usbgpu coverage --json` prints."""
    measured = report["operators"]
    forward, backward = (totals(measured, direction) for direction in ("forward", "backward"))
    lines = [
        "# Coverage: which operators run on the GPU", "",
        "Written by `usbgpu coverage`; do not edit. Each entry is one of torch's own operator tests (`op_db`), run "
        f"with its first {report['samples']} samples in {report['dtype']} on the CPU and on usbgpu "
        f"({report['arch']}, torch {report['torch']}). `usbgpu coverage NAME ...` measures single entries and prints "
        "them.", "",
        f"| | forward ({sum(forward.values())}) | with backward ({sum(backward.values())}) | |", "|---|---|---|---|",
        *(f"| {state} | {forward[state]} | {backward[state]} | {MEANING[state]} |" for state in MEANING), "",
        "Random results and uninitialised memory are compared in shape and dtype only; decompositions up to signs.", "",
        "## What falls back", "",
        "Operators without a kernel (for the dtypes they then got), and how many entries each of them holds back.", "",
        "| operator | forward | with backward |", "|---|---|---|", *_reasons(measured), "",
        "## Entries that are not native", "", "| entry | forward | with backward |", "|---|---|---|"]
    rest = [entry for entry in measured if not _is_native(entry)]
    lines += [f"| {entry['name']} | {_cell(entry['forward'])} | {_cell(entry['backward'])} |" for entry in rest]
    native = [entry for entry in measured if _is_native(entry)]
    lines += ["", f"## Native entries ({len(native)})", "",
              "Forward and, where torch has a derivative (all but those marked with *), backward.", "",
              ", ".join(entry["name"] + ("" if entry["backward"] else "\\*") for entry in native) + "."]
    return "\n".join(lines) + "\n"


def _is_native(entry: dict) -> bool:
    return entry["forward"]["state"] == NATIVE and (entry["backward"] is None or entry["backward"]["state"] == NATIVE)


def _reasons(measured: list[dict]) -> list[str]:
    counts: dict[str, collections.Counter] = {"forward": collections.Counter(), "backward": collections.Counter()}
    for entry in measured:
        for direction, counted in counts.items():
            if entry[direction] and entry[direction]["state"] == FALLBACK:
                counted.update(entry[direction]["reason"])
    both = counts["forward"] + counts["backward"]
    return [f"| {name} | {counts['forward'][name]} | {counts['backward'][name]} |"
            for name in sorted(both, key=lambda name: (-both[name], name))]


def _cell(direction: dict | None) -> str:
    if direction is None:
        return "no derivative"
    reason = ", ".join(direction["reason"]).replace("|", "\\|").replace("aten::", "")
    reason = reason if len(reason) <= 200 else reason[:199] + "…"
    return direction["state"] + (f": {reason}" if reason else "")
