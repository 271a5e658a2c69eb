"""Every fault at every moment: the right typed error in time, a process that goes on, and a device that works again."""
from __future__ import annotations

import time

import pytest

from torch_usbgpu import errors

from ..clock import hurry
from .scenes import Scene
from .table import FAULTS, MOMENTS, NOTHING, REPLUG, RESET, TIMEOUT_S, WORKS

CELLS = [pytest.param(name, moment, variant, id=f"{name}-{moment}-{variant}".replace(" ", "_"))
         for name, fault in FAULTS.items() for moment in MOMENTS for variant in fault.variants(moment)]


@pytest.mark.parametrize(("name", "moment", "variant"), CELLS)
def test_cell(name, moment, variant, tmp_path, monkeypatch):
    monkeypatch.setenv("USBGPU_TIMEOUT_S", f"{TIMEOUT_S}")
    fault = FAULTS[name]
    cell = fault.cells[moment]
    scene = Scene(fault, variant, moment, tmp_path)
    clock = hurry(monkeypatch, fault.speed)

    outcome, error = WORKS, None
    try:
        getattr(scene, moment.replace("-", "_"))()
    except errors.UsbGpuError as caught:
        outcome, error = type(caught).__name__, caught
    took = (time.monotonic() - scene.struck) * clock.speed
    monkeypatch.undo()
    monkeypatch.setenv("USBGPU_TIMEOUT_S", f"{10 * TIMEOUT_S}")

    assert outcome == cell.outcome, error
    assert took < cell.seconds
    if error is not None:
        assert error.found and error.action and error.code in str(error)

    # the same device goes on, or is put right
    scene.repair()
    if cell.remedy == NOTHING and moment not in ("boot", "closing"):
        scene.check_anew()
    elif cell.remedy == RESET:
        scene.device.reset()
        scene.check_anew()
    # and the next one opens
    if scene.device is not None:
        scene.device.close()
    if cell.remedy == REPLUG:
        scene.adapter.replug()
    scene.adapter.reopen()
    if not (fault.by == "memory" and moment == "boot"):     # a board with too little memory stays one
        scene.open()
        scene.check_anew()
        scene.device.close()
