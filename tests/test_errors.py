"""Every error has a code of its own, and the documentation lists exactly those."""
from __future__ import annotations

import re
from pathlib import Path

from torch_usbgpu import errors

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.UsbGpuError)]
TABLE = re.findall(r"^\| (USBGPU-\d{3}) \| `(\w+)` \|", (Path(__file__).parents[1] / "docs/errors.md").read_text(), re.MULTILINE)


def test_codes_are_unique():
    codes = [error.code for error in CLASSES]
    assert len(set(codes)) == len(codes)


def test_documentation_lists_all_of_them():
    assert sorted(TABLE) == sorted((error.code, error.__name__) for error in CLASSES)


def test_message_says_what_the_state_and_the_next_step():
    text = str(errors.BootError("The queue did not stop.", CP_STAT="0x1"))
    assert text == ("[USBGPU-204] The queue did not stop.\n  CP_STAT = 0x1\n  Next: Power-cycle the dock and try again.")
