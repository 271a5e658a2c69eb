"""The page docs/coverage.md."""
from __future__ import annotations

import collections
from collections.abc import Iterable

from .measure import FALLBACK, NATIVE, NOTHING, UNSUPPORTED, WRONG, totals

MEANING = {
    NATIVE: "our kernels computed all of it, with the CPU's result",
    FALLBACK: "right, but at least one sample ran an operator on the CPU",
    WRONG: "another result than the CPU's",
    UNSUPPORTED: "an error on usbgpu where the CPU has a result",
    NOTHING: "torch has no sample that runs on the CPU, or none with a derivative",
}


MARKS = {NATIVE: "●", FALLBACK: "○", WRONG: "wrong", UNSUPPORTED: "×", NOTHING: "–"}


def page(report: dict, beside: dict | None = None) -> str:
    """Markdown of the report that `usbgpu coverage --json` prints; `beside` is such a report of another GPU."""
    measured = report["operators"]
    forward, backward = (totals(measured, direction) for direction in ("forward", "backward"))
    others = [name for name in report["dtypes"] if name != report["dtype"]]
    counts = report["totals"]
    lines = [
        "# Coverage: which operators run on the GPU", "",
        "Written by `usbgpu coverage`; do not edit. Each entry is one of torch's own operator tests (`op_db`), run "
        f"with its first {report['samples']} samples in {report['dtype']}, and fewer in the other dtypes that the "
        f"CPU's operator takes, on the CPU and on usbgpu ({report['arch']}, torch {report['torch']}). `usbgpu coverage "
        "NAME ...` measures single entries and prints them. In a program, `torch.usbgpu.fallbacks()` counts the "
        "operators that ran on the CPU and `torch.usbgpu.fallback_sites()` has the lines that asked for them; "
        "`USBGPU_CHECK=1` runs every operator on the CPU as well and stops at the first that differs "
        "([checking](checking.md)).",
        "",
        f"| {report['dtype']} | forward ({sum(forward.values())}) | with backward ({sum(backward.values())}) | |",
        "|---|---|---|---|",
        *(f"| {state} | {forward[state]} | {backward[state]} | {MEANING[state]} |" for state in MEANING), "",
        "Random results and uninitialised memory are compared in shape and dtype only; decompositions up to signs.", ""]
    if others:
        lines += ["| forward | " + " | ".join(others) + " |", "|---|" + "---|" * len(others),
                  *(_row(state, (str(counts[name][state]) for name in others)) for state in MEANING),
                  ""]
    if beside:
        lines += [*_beside(measured, beside), ""]
    lines += ["## What falls back", "",
              f"Operators without a kernel (for the dtypes they then got), and how many {report['dtype']} entries each "
              "of them holds back.", "",
              "| operator | forward | with backward |", "|---|---|---|", *_reasons(measured), "",
              f"## Entries that are not native in {report['dtype']}", "", "| entry | forward | with backward |",
              "|---|---|---|"]
    lines += [f"| {entry['name']} | {_cell(entry['forward'])} | {_cell(entry['backward'])} |" for entry in measured
              if not _is_native(entry)]
    if others:
        lines += ["", "## Other dtypes: what is not native", "", "| entry | dtypes | |", "|---|---|---|",
                  *_others(measured)]
    lines += ["", "## Every entry", "",
              "; ".join(f"{MARKS[state]} {state}" for state in MEANING) + "; empty: the CPU has no such kernel.", "",
              _row("entry", [report["dtype"], "backward", *others]), "|---|---|---|" + "---|" * len(others)]
    for entry in measured:
        found = [entry["forward"], entry["backward"], *(entry["dtypes"].get(name) for name in others)]
        lines.append(_row(entry["name"], (MARKS[result["state"]] if result else "" for result in found)))
    return "\n".join(lines) + "\n"


def _beside(measured: list[dict], other: dict) -> list[str]:
    """What another GPU's report says, and every cell of it whose state is not this one's."""
    here = {entry["name"]: _cells(entry) for entry in measured}
    differs = [f"| {entry['name']} | {what} | {_cell(there)} |" for entry in other["operators"]
               for what, there in _cells(entry).items() if _state(there) != _state(here[entry["name"]].get(what))]
    forward, backward = other["totals"]["forward"], other["totals"]["backward"]
    lines = [f"The same run on {other['arch']}: {forward[NATIVE]} of {sum(forward.values())} {other['dtype']} entries "
             f"native forward, {backward[NATIVE]} of {sum(backward.values())} with backward, "
             f"{sum(total[WRONG] for total in other['totals'].values())} wrong in all dtypes; "
             + ("what differs there:" if differs else "every cell has the state it has here.")]
    return [*lines, "", f"| entry | | {other['arch']} |", "|---|---|---|", *differs] if differs else lines


def _cells(entry: dict) -> dict[str, dict | None]:
    return {"forward": entry["forward"], "backward": entry["backward"], **entry["dtypes"]}


def _state(cell: dict | None) -> str | None:
    return cell and cell["state"]


def _row(first: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def _others(measured: list[dict]) -> list[str]:
    """Rows of an entry's dtypes that have the same state for the same reason."""
    rows = []
    for entry in measured:
        alike: dict[str, list[str]] = {}
        for name, result in entry["dtypes"].items():
            if result["state"] not in (NATIVE, NOTHING):
                alike.setdefault(_cell(result), []).append(name)
        rows += [f"| {entry['name']} | {', '.join(names)} | {cell} |" for cell, names in alike.items()]
    return rows


def _is_native(entry: dict) -> bool:
    return all(result is None or result["state"] == NATIVE for result in (entry["forward"], entry["backward"]))


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
        return "none"
    reason = ", ".join(direction["reason"]).replace("|", "\\|").replace("aten::", "")
    reason = reason if len(reason) <= 200 else reason[:199] + "…"
    return direction["state"] + (f": {reason}" if reason else "")
