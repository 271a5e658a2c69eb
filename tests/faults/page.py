"""Writes docs/faults.md from the table: `python -m tests.faults.page`."""
from __future__ import annotations

from pathlib import Path

from .table import FAULTS, MOMENTS, REMEDIES, TIMEOUT_S, WORKS, Cell

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"

INTRODUCTION = f"""# Faults and moments

What each fault looks like from each moment: the error that is raised, how long after the fault at the latest, and what
makes it work again. `tests/faults` provokes every cell on the emulated dock, by the
[fault switches](emulator-adapter.md#fault-switches), by bad kernels and by damaged files; it checks the error, the time, that
the process goes on, and that the device can be opened anew and computes. `USBGPU_TEST_CHIP=navi48 USBGPU_EMULATOR=strict
pytest tests/faults` does so on another chip and a stricter dock. [errors.md](errors.md) explains the errors,
[recovery.md](recovery.md) what `reset()` does.

This page is made from `tests/faults/table.py` by `python -m tests.faults.page`.

## Moments

{{moments}}

## What makes it work again

{{remedies}}

Whatever the cell says, closing the device ends in the stated time, and the next process finds a board that works once the
cause is gone.

## The table

Times are upper limits on the driver's clock. Where a wait for the GPU is involved they assume
`USBGPU_TIMEOUT_S={TIMEOUT_S:g}`, and are so much longer with another value (the default is 300 s).

"""


def _row(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def text() -> str:
    moments = "\n".join(f"- **{name}**: {what}." for name, what in MOMENTS.items())
    remedies = "\n".join(f"- *{name}*: {what}." for name, what in REMEDIES.items())
    lines = [_row(("Fault", *MOMENTS)), "|" + "---|" * (1 + len(MOMENTS))]
    notes: list[str] = []
    for name, fault in FAULTS.items():
        cells = []
        for moment in MOMENTS:
            shown = [str(fault.cells[moment])]
            shown += [str(cell) for variant, cell in fault.others.items() if variant in fault.variants(moment)]
            cells.append("; or ".join(shown))
        lines.append(_row((f"**{name}**: {fault.what}", *cells)))
        notes += [f"- {name}, `{variant}`: {why}." for variant, why in fault.known.items()]
    page = INTRODUCTION.format(moments=moments, remedies=remedies) + "\n".join(lines) + "\n"
    if notes:
        page += "\n## Does not hold yet\n\n" + "\n".join(notes) + "\n"
    return page


def cells() -> list[Cell]:
    return [cell for fault in FAULTS.values() for cell in (*fault.cells.values(), *fault.others.values())]


def errors_named() -> set[str]:
    return {cell.outcome for cell in cells()} - {WORKS}


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
