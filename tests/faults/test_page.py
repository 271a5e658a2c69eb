"""The page says what the table says, and the table names what exists."""
from __future__ import annotations

import pytest

from torch_usbgpu import errors

from .page import PAGE, cells, errors_named, text
from .table import FAULTS, MOMENTS, REMEDIES

# The faults that a driver of a card on a cable has to expect.
ASKED_FOR = {"unplug", "stall", "time-out", "short packet", "lost landing", "link down", "unsupported request", "page fault",
             "illegal instruction", "endless kernel", "PSP silent", "SMU silent", "firmware corrupted", "VRAM exhausted"}


def test_page_is_made_of_the_table():
    assert PAGE.read_text(encoding="utf-8") == text(), "python -m tests.faults.page"


def test_table_is_complete():
    assert ASKED_FOR <= set(FAULTS)
    assert all(set(fault.cells) == set(MOMENTS) for fault in FAULTS.values())
    assert {cell.remedy for cell in cells()} == set(REMEDIES)


@pytest.mark.parametrize("name", sorted(errors_named()))
def test_errors_exist(name):
    assert issubclass(getattr(errors, name), errors.UsbGpuError)


@pytest.mark.parametrize("name", FAULTS)
def test_special_variants_are_used(name):
    fault = FAULTS[name]
    used = {variant for moment in MOMENTS for variant in fault.variants(moment)}
    assert {*fault.others, *fault.known} <= used
