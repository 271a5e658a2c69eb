"""Every fault at every moment: the right typed error in time, a process that goes on, and a device that works again."""
from __future__ import annotations

import time

import pytest

from torch_usbgpu import errors

from ..clock import hurry
from .scenes import Scene
from .table import FAULTS, MOMENTS, NOTHING, REPLUG, RESET, TIMEOUT_S, WORKS

BETWEEN = 4     # how much faster the driver's pauses pass before and after the moment in question
CELLS = [pytest.param(name, moment, variant, id=f"{name}-{moment}-{variant}".replace(" ", "_"),
                      marks=[pytest.mark.xfail(strict=True, reason=fault.known[variant])] if variant in fault.known else [])
         for name, fault in FAULTS.items() for moment in MOMENTS for variant in fault.variants(moment)]


@pytest.mark.parametrize(("name", "moment", "variant"), CELLS)
def test_cell(name, moment, variant, tmp_path, monkeypatch):
    fault = FAULTS[name]
    cell = fault.others.get(variant, fault.cells[moment])
    monkeypatch.setenv("USBGPU_TIMEOUT_S", f"{TIMEOUT_S}")
    with monkeypatch.context() as patch:
        hurry(patch, BETWEEN)
        scene = Scene(fault, variant, moment, tmp_path)

    outcome, error = WORKS, None
    with monkeypatch.context() as patch:
        clock = hurry(patch, fault.speed if moment in ("boot", "closing") else fault.waiting)
        try:
            scene.play()
        except errors.UsbGpuError as caught:
            outcome, error = type(caught).__name__, caught
        took = (time.monotonic() - scene.struck) * clock.speed

    assert outcome == cell.outcome, error
    assert took < cell.seconds
    if error is not None:
        assert error.found and error.action and error.code in str(error)
        if fault.by.startswith("kernel:"):
            assert fault.by.removeprefix("kernel:") in error.found

    monkeypatch.setenv("USBGPU_TIMEOUT_S", f"{10 * BETWEEN}")
    with monkeypatch.context() as patch:
        hurry(patch, BETWEEN)
        scene.repair()
        if cell.remedy == NOTHING and moment not in ("boot", "closing"):
            scene.check_anew()              # the same device goes on
        elif cell.remedy == RESET:
            scene.device.reset()            # or is put right
            scene.check_anew()
        if scene.device is not None:
            scene.device.close()
        if cell.remedy == REPLUG:
            scene.adapter.replug()
        scene.adapter.reopen()              # as the next process would
        if scene.has_enough_memory:
            scene.open()
            scene.check_anew()
            scene.device.close()
