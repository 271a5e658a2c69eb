"""Link speed and width, on a small model of functions and on the emulated dock."""
from __future__ import annotations

import json

import pytest

from torch_usbgpu.errors import LinkError
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.pcie import config, link
from torch_usbgpu.usb import adapter_for

from .test_config_space import Function


class Bus:
    """Functions by bus number; nobody at all the others."""

    def __init__(self, **functions: Function):
        self.functions = {int(name[1:]): function for name, function in functions.items()}
        self.reads = 0

    def config_read(self, bus, device, function, register, size=4):
        self.reads += 1
        if bus not in self.functions:
            raise LinkError("The PCIe configuration address was answered with unsupported request.")
        return self.functions[bus].get(register & ~3) >> 8 * (register & 3) & (1 << 8 * size) - 1


def function(speed: int, lanes: int, most: tuple[int, int] = (4, 16), at: int = 0x58, first: int = 0x50) -> Function:
    made = Function(0x744C_1002, 0)
    made.set(0x04, 1 << 20)                     # status: there is a list
    made.set(0x34, first)
    made.set(0x50, 0x0003_0001 | at << 8)       # power management, then ours
    made.set(at, 0x0002_0010)
    made.set(at + 0x0C, most[0] | most[1] << 4 | 0x0030_0C00)
    made.set(at + 0x10, (speed | lanes << 4 | 0x1000) << 16)
    return made


@pytest.mark.parametrize("speed, lanes, gt, gb", [
    (1, 1, 2.5, 0.25), (2, 4, 5.0, 2.0), (3, 1, 8.0, 0.985), (3, 4, 8.0, 3.938), (4, 16, 16.0, 31.51)])
def test_speed_and_width(speed, lanes, gt, gb):
    found = link.read_link(Bus(b4=function(speed, lanes)), 4)
    assert (found.generation, found.lanes, found.gt_per_s) == (speed, lanes, gt)
    assert found.gb_per_s == pytest.approx(gb, rel=1e-3)
    assert (found.most_generation, found.most_lanes, found.bus, found.vendor) == (4, 16, 4, 0x1002)


def test_without_the_capability():
    nothing = Function(0x744C_1002, 0)
    assert link.read_link(Bus(b0=nothing), 0) is None
    other = function(3, 4)
    other.set(0x58, 0x0002_0005)                # another capability in its place, and the list ends
    assert link.read_link(Bus(b0=other), 0) is None


@pytest.mark.parametrize("next_at", [0x50, 0x58])
def test_a_list_that_runs_in_circles_ends(next_at):
    circle = function(3, 4)
    circle.set(0x58, 0x05 | next_at << 8)
    bus = Bus(b0=circle)
    assert link.read_link(bus, 0) is None and bus.reads < 100


def test_a_list_that_points_into_the_header_ends():
    assert link.read_link(Bus(b0=function(3, 4, first=0x10)), 0) is None


def test_the_narrowest_link_counts():
    bus = Bus(b0=function(3, 2), b1=function(3, 2), b3=function(4, 16), b4=function(4, 16))     # bus 2 hides
    gpu = config.PciFunction(4, 0x1002, 0x744C, 0xC8)
    assert [found.bus for found in link.road(bus, gpu)] == [0, 1, 3, 4]
    shown = link.describe(bus, gpu)
    assert shown["gpu"]["lanes"] == 16 and shown["narrowest"]["lanes"] == 2 and shown["narrowest"]["generation"] == 3
    json.dumps(shown)
    assert link.describe(Bus(), gpu) == {"gpu": None, "narrowest": None}


@pytest.mark.parametrize("firmware, lanes, expected", [("custom", 0, 2), ("custom", 4, 4), ("legacy", 0, 1)])
@pytest.mark.filterwarnings("ignore:The dock runs")
def test_on_the_emulated_dock(firmware, lanes, expected):
    """What the adapter says and what configuration space says agree."""
    handle = EmulatedAdapter("probe", firmware=firmware, lanes=lanes, strict=True)
    adapter = adapter_for(handle)
    adapter.start()
    adapter.raise_link()
    gpu = config.find_gpu(adapter)
    narrowest = link.describe(adapter, gpu)["narrowest"]
    said = adapter.describe()
    assert narrowest["lanes"] == said["pcie_lanes"] == expected
    assert narrowest["generation"] == said["pcie_generation"] == 3 and said["pcie_gt_per_s"] == 8
    handle.close()
