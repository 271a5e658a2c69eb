"""Docks on which the GPU cannot release read-backs: legacy firmware, USB 2, USB 2 without SRAM transfers."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from torch_usbgpu import compiler, errors
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device, recovery
from torch_usbgpu.runtime.queue import Road
from torch_usbgpu.runtime.slow_road import SlowRoad, SramStage, VramStage
from torch_usbgpu.usb.faulty import Fault, FaultyHandle
from torch_usbgpu.usb.legacy import LegacyAdapter

from ..chip import CHIP

pytestmark = pytest.mark.filterwarnings("ignore:The dock ")
SOURCE = r"""
extern "C" __global__ void add(float* x, int n) { int i = blockIdx.x * 256 + threadIdx.x; if (i < n) x[i] += 1; }
extern "C" __global__ void spin(volatile int* flag) { while (flag[0] == 0) {} }
extern "C" __global__ void store(int* to) { to[threadIdx.x] = 1; }
"""
CABLES = {
    "legacy": dict(firmware="legacy"),
    "usb2": dict(usb="high"),
    "usb2-without-sram": dict(usb="high", faults=["timeout:F2"]),
    "legacy-usb2": dict(firmware="legacy", usb="high"),
}
GENUINE = os.environ.get("USBGPU_TEST_DOCK_FIRMWARE", "")
if Path(GENUINE).is_file():         # the open firmware's own code, at High Speed
    CABLES["genuine-usb2"] = dict(firmware=f"image:{GENUINE}", usb="high")
STAGES = {name: VramStage if name == "usb2-without-sram" else SramStage for name in CABLES}


@pytest.fixture(scope="module", params=CABLES)
def cable(request):
    handle = EmulatedAdapter(CHIP, vram_bytes=1 << 30, strict=True, **CABLES[request.param])
    with pytest.warns(UserWarning, match="The dock "):
        device = Device(handle)
    device.kernels = device.load(compiler.compile(SOURCE, device.arch))
    device.cable = request.param
    yield device
    device.close()
    assert not handle.violations


def add_one(device, values: np.ndarray) -> np.ndarray:
    at = device.alloc(values.nbytes)
    device.copy_in(at, values)
    device.launch(device.kernels["add"], (-(-values.size // 256),), (256,), [at, np.int32(values.size)])
    back = np.empty_like(values)
    device.copy_out(back, at)
    device.free(at)
    return back


def test_the_road_fits_the_cable(cable):
    assert type(cable.road) is SlowRoad and isinstance(cable.road.stage, STAGES[cable.cable])
    assert isinstance(cable.adapter, LegacyAdapter) == cable.cable.startswith("legacy")


@pytest.mark.parametrize("count", [1, 3, 900, 1100, 4096, 70_001, 300_000])
def test_round_trips_with_a_kernel_between(cable, count):
    """Inline, through the staging place in one piece and in many, read back by the stream and by the copy engine."""
    if cable.cable == "legacy-usb2" and count > 5000:
        pytest.skip("the same as legacy, only slower")
    values = np.random.default_rng(count).standard_normal(count, np.float32)
    np.testing.assert_array_equal(add_one(cable, values), values + np.float32(1))


@pytest.mark.parametrize("nbytes, offset", [(1, 0), (5, 3), (1021, 7), (4097, 1), (20_001, 13)])
def test_any_size_and_alignment(cable, nbytes, offset):
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)
    at = cable.alloc(nbytes + 64)
    cable.copy_in(at, np.zeros(nbytes + 64, np.uint8))
    cable.copy_in(at + offset, data)
    back = np.empty(nbytes + 64, np.uint8)
    cable.copy_out(back, at)
    assert (back[offset:offset + nbytes] == data).all()
    assert not back[:offset].any() and not back[offset + nbytes:].any()
    cable.free(at)


def test_many_submissions_in_a_row(cable):
    """More than the ring has entries, more than a fence byte can count; each overwrites the one window."""
    at = cable.alloc(1024)
    cable.copy_in(at, np.zeros(256, np.float32))
    rounds = 40 if cable.cable.startswith("legacy") else 300
    for _ in range(rounds):
        cable.launch(cable.kernels["add"], (1,), (256,), [at, np.int32(256)])
        cable.stream.flush()
    back = np.empty(256, np.float32)
    cable.copy_out(back, at)
    assert (back == rounds).all()
    cable.free(at)


def test_a_fault_is_typed_and_the_queues_come_back(cable):
    kept = cable.alloc(4096)
    cable.copy_in(kept, np.arange(1024, dtype=np.float32))
    cable.synchronize()
    cable.launch(cable.kernels["store"], (1,), (1,), [0x7FFF_0000_0000])
    with pytest.raises(errors.GpuFault):
        cable.synchronize()
    report = cable.reset()
    assert not report.vram_lost
    back = np.empty(1024, np.float32)
    cable.copy_out(back, kept)
    assert (back == np.arange(1024)).all()
    np.testing.assert_array_equal(add_one(cable, back), back + 1)
    cable.free(kept)


def test_an_endless_kernel_is_named(cable, monkeypatch):
    flag = cable.alloc(4)
    cable.copy_in(flag, np.zeros(1, np.int32))
    cable.synchronize()
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "0.5")
    cable.launch(cable.kernels["spin"], (1,), (1,), [flag])
    with pytest.raises(errors.GpuHang, match="spin"):
        cable.synchronize()
    monkeypatch.delenv("USBGPU_TIMEOUT_S")
    cable.reset()
    assert (add_one(cable, np.zeros(10, np.float32)) == 1).all()


@pytest.mark.parametrize("rung", [rung.name for rung in recovery.LADDER if rung.name != "re-open"])
@pytest.mark.filterwarnings("ignore:The content of the GPU")
def test_every_rung(cable, rung):
    if cable.cable == "legacy-usb2":
        pytest.skip("the same as legacy")
    report = cable.reset(at_least=rung)
    assert report.rung == rung
    if report.vram_lost:
        cable.kernels = cable.load(compiler.compile(SOURCE, cable.arch))
    assert (add_one(cable, np.zeros(5000, np.float32)) == 1).all()


@pytest.mark.parametrize("kind, op, request_number", [
    ("timeout", "controlWrite", 0xF2), ("timeout", "bulkWrite", None), ("io", "bulkWrite", None)])
def test_failed_transfers_are_repeated_at_usb2(kind, op, request_number):
    """The device goes on as if nothing had happened."""
    handle = FaultyHandle(EmulatedAdapter(CHIP, vram_bytes=1 << 30, usb="high"), [])
    with Device(handle) as device:
        device.kernels = device.load(compiler.compile(SOURCE, device.arch))
        add_one(device, np.zeros(9000, np.float32))
        for skip in range(3):
            handle.faults = [Fault(kind, op, request_number, skip=skip)]
            assert (add_one(device, np.zeros(9000, np.float32)) == 1).all()
            assert handle.faults[0].hits == 1


def test_failed_fetches_are_repeated_on_legacy():
    """Bulk-only, because the wrapper has no asynchronous transfers. A read of the window is done twice without harm."""
    handle = FaultyHandle(EmulatedAdapter(CHIP, vram_bytes=1 << 30, firmware="legacy"), [])
    with Device(handle) as device:
        assert device.adapter.describe()["transport"] == "bulk-only"
        data = np.arange(3000, dtype=np.int32)
        at = device.alloc(data.nbytes)
        device.copy_in(at, data)
        device.synchronize()
        get, hits = device.road.stage.get, []

        def failing(nbytes):
            handle.faults = [Fault("timeout", "bulkRead", skip=3)] if not hits else []
            hits.append(nbytes)
            return get(nbytes)

        device.road.stage.get = failing
        back = np.empty_like(data)
        device.copy_out(back, at)
        assert (back == data).all() and len(hits) == 4      # three pieces, one of them twice


@pytest.mark.parametrize("name", ["legacy", "usb2-without-sram"])
@pytest.mark.parametrize("moment", ["idle", "copy-in", "copy-out", "computing"])
def test_unplugged(name, moment):
    """DeviceLost at whatever moment; closing is quiet; plugged in again, the same device goes on."""
    handle = EmulatedAdapter(CHIP, vram_bytes=1 << 30, **CABLES[name])
    device = Device(handle)
    device.kernels = device.load(compiler.compile(SOURCE, device.arch))
    values = np.zeros(40_000, np.float32)
    at = device.alloc(values.nbytes)
    device.copy_in(at, values)
    device.synchronize()
    act = {"idle": device.adapter.ltssm, "copy-in": lambda: device.copy_in(at, values),
           "copy-out": lambda: device.copy_out(values, at),
           "computing": lambda: (device.launch(device.kernels["add"], (157,), (256,), [at, np.int32(40_000)]),
                                 device.synchronize())}[moment]
    handle.inject("unplug" if moment == "idle" else "unplug:after=3")
    with pytest.raises(errors.DeviceLost):
        act()
    if moment == "copy-out":
        handle.heal()
        handle.replug()
        with pytest.warns(RuntimeWarning, match="memory was lost"):
            assert device.reset().rung == "re-open"
        device.kernels = device.load(compiler.compile(SOURCE, device.arch))
        assert (add_one(device, np.zeros(100, np.float32)) == 1).all()
    device.close()


def test_replug_at_another_speed_or_firmware():
    handle = EmulatedAdapter(CHIP, vram_bytes=1 << 30)
    device = Device(handle)
    assert type(device.road) is Road
    handle.getDeviceSpeed = lambda: 3           # the cable was put into a USB 2 port
    with pytest.raises(errors.WrongMode, match="USB 2"):
        device.reset(at_least="re-open")
    del handle.getDeviceSpeed
    device.reset(at_least="re-open")
    back = np.empty(4, np.int32)
    device.copy_out(back, device.alloc(16))
    device.close()


TRAINING = """
import warnings; warnings.simplefilter("ignore")
import torch, torch_usbgpu
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
x, y = torch.randn(32, 8), torch.randint(0, 2, (32,))
def losses(model, x, y):
    optimizer, seen = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(4):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    return seen
import copy
expected = losses(copy.deepcopy(model), x, y)
got = losses(model.to("usbgpu"), x.to("usbgpu"), y.to("usbgpu"))
assert torch.allclose(torch.tensor(got), torch.tensor(expected), atol=1e-5), (got, expected)
print("trained", torch.usbgpu.link_stats()["launches"])
"""


@pytest.mark.parametrize("options", ["firmware=legacy,strict", "usb=high,strict"])
def test_torch_trains(options, monkeypatch):
    monkeypatch.setenv("USBGPU_DEVICE", f"emulated:{CHIP}")
    monkeypatch.setenv("USBGPU_EMULATOR", options)
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout.startswith("trained"), done.stderr
