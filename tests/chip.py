"""The chip that the tests run on: USBGPU_TEST_CHIP, or that of USBGPU_DEVICE=emulated:CHIP, or navi31.

Tests of one generation's encodings (tests/emulator) name theirs; everything else asks here, so that
`USBGPU_TEST_CHIP=navi48 USBGPU_EMULATOR=strict pytest` is the whole suite on another GPU.
"""
from __future__ import annotations

import os

from torch_usbgpu.amdgpu.facts import load

CHIPS = load("chips")["chips"]


def _chosen() -> str:
    named = os.environ.get("USBGPU_TEST_CHIP") or os.environ.get("USBGPU_DEVICE", "").partition("emulated:")[2].strip()
    name = {facts["gfx_target"]: chip for chip, facts in CHIPS.items()}.get(named, named or "navi31")
    if name not in CHIPS:
        raise ValueError(f"there is no chip {named!r} to test; there are {', '.join(CHIPS)}")
    return name


CHIP = _chosen()
ARCH = CHIPS[CHIP]["gfx_target"]
IS_GFX12 = ARCH.startswith("gfx12")
if os.environ.get("USBGPU_TEST_CHIP"):
    os.environ["USBGPU_DEVICE"] = f"emulated:{CHIP}"
os.environ.setdefault("USBGPU_DEVICE", f"emulated:{CHIP}")
