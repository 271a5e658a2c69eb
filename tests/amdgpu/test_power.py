"""What the SMU measures, and what it is told about power and clocks."""
from __future__ import annotations

import pytest

from torch_usbgpu.amdgpu import Gpu
from torch_usbgpu.amdgpu.facts import load, put_field, struct_fields, struct_size
from torch_usbgpu.amdgpu.metrics import CLOCKS, layout, parse_metrics, parse_power_range
from torch_usbgpu.amdgpu.power import PowerOptions
from torch_usbgpu.errors import BootError, ConfigError
from torch_usbgpu.usb import Adapter

from ..chip import CHIPS

every_chip = pytest.mark.parametrize("board", CHIPS, indirect=True)
EVERY_SMU = sorted({chip["ip_versions"]["MP1"] for chip in CHIPS.values()})


def levels(gpu: Gpu) -> dict[str, list[int]]:
    return load("boards")["chips"][gpu.chip_name]["clocks_mhz"]


def product(gpu: Gpu) -> dict:
    return load("boards")["chips"][gpu.chip_name]["products"][0]


# ---- the tables, byte by byte

def filled(name: str) -> tuple[bytes, dict[str, int]]:
    """A table in which every known member holds another number."""
    table, numbers = bytearray(struct_size(name)), {}
    for index, (field, place) in enumerate(struct_fields(name).items()):
        if len(place) == 2:
            numbers[field] = 10 + index
            put_field(table, name, field, numbers[field])
    return bytes(table), numbers


@pytest.mark.parametrize("mp1", EVERY_SMU)
def test_every_figure_comes_from_its_own_place(mp1):
    table, numbers = filled(layout("smu_metrics", mp1))
    metrics = parse_metrics(table, mp1)
    assert metrics.clocks_mhz == {clock: numbers[f"CurrClock.{clock}"] for clock in CLOCKS}
    assert metrics.temperatures_c == {
        "edge": numbers["AvgTemperature.EDGE"], "hotspot": numbers["AvgTemperature.HOTSPOT"],
        "memory": numbers["AvgTemperature.MEM"], "vr_graphics": numbers["AvgTemperature.VR_GFX"],
        "vr_soc": numbers["AvgTemperature.VR_SOC"]}
    assert metrics.temperature_c == numbers["AvgTemperature.EDGE"]
    assert metrics.power_w == numbers["AverageSocketPower"] and metrics.counter == numbers["MetricsCounter"]
    assert metrics.energy_j == numbers["EnergyAccumulator"] / 65536
    assert (metrics.fan_percent, metrics.fan_rpm) == (numbers["AvgFanPwm"], numbers["AvgFanRpm"])
    assert metrics.throttling_percent["PPT0"] == numbers["ThrottlingPercentage.PPT0"]
    assert metrics.pcie_width == numbers["PcieWidth"]


@pytest.mark.parametrize(("activity", "which"), [(0, "PostDs"), (15, "PostDs"), (16, "PreDs"), (100, "PreDs")])
def test_which_average_counts(activity, which):
    name = layout("smu_metrics", "13.0.0")
    table, numbers = filled(name)
    table = bytearray(table)
    put_field(table, name, "AverageGfxActivity", activity)
    assert parse_metrics(table, "13.0.0").average_mhz["GFXCLK"] == numbers[f"AverageGfxclkFrequency{which}"]


@pytest.mark.parametrize("mp1", EVERY_SMU)
@pytest.mark.parametrize("change", ["none", "moved", "empty", "no overdrive", "higher by message"])
def test_power_range(mp1, change):
    name = layout("smu_powerplay", mp1)
    newer, own = mp1.startswith("14"), "CustomSkuTable" if mp1.startswith("14") else "SkuTable"
    table = bytearray(struct_size(name))
    put_field(table, name, "pmfw_pptable_start_offset" if newer else "table_size",
              load("structs")[name]["smc_pptable"] + 4 * (change == "moved"))
    put_field(table, name, f"{own}.SocketPowerLimitAc.PPT0", 0 if change == "empty" else 200)
    put_field(table, name, "SkuTable.MsgLimits.Power.PPT0_AC", 230 if change == "higher by message" else 200)
    put_field(table, name, *(("SkuTable.OverDriveLimitsBasicMin.Ppt", -25) if newer
                             else ("overdrive_table.min.POWERPERCENTAGE", 25)))
    at, _, bit, _ = struct_fields(name)["SkuTable.OverDriveLimitsBasicMax.FeatureCtrlMask.PPT"]
    table[at] = 0 if change == "no overdrive" else 1 << bit
    found = parse_power_range(table, mp1)
    if change in ("moved", "empty"):
        assert found is None
    else:
        lowest, highest = (200 if change == "no overdrive" else 150), (230 if change == "higher by message" else 200)
        assert (found.lowest_w, found.default_w, found.highest_w) == (lowest, 200, highest)


# ---- the emulated boards

@every_chip
def test_a_reading(board):
    gpu = board.boot()
    before = gpu.adapter.stats.transfers
    metrics = gpu.smu.metrics()
    assert gpu.adapter.stats.transfers - before <= 8       # three posted writes, and two streams of two transfers
    assert metrics.clocks_mhz == {clock: levels(gpu)[clock][-1] for clock in CLOCKS}
    assert 20 <= metrics.temperature_c < 100 and 0 < metrics.power_w < product(gpu)["ppt_watts"]
    assert gpu.smu.metrics().counter == metrics.counter + 1
    allowed = gpu.smu.power_range()
    assert allowed.lowest_w < allowed.default_w == gpu.smu.power_limit() == product(gpu)["ppt_watts"]


@pytest.mark.parametrize(("clocks", "expected"), [
    ("low", lambda table: table[0]), ("high", lambda table: table[-1]), ("0", lambda table: table[0]),
    ("1", lambda table: table[1]), ("3", lambda table: table[min(3, len(table) - 1)]), ("auto", lambda table: table[0])])
def test_clocks(board, clocks, expected):
    """An idle board that may choose runs at its lowest."""
    gpu = board.open()
    gpu.power = PowerOptions(clocks=clocks)
    gpu.boot()
    assert gpu.smu.metrics().clocks_mhz == {clock: expected(levels(gpu)[clock]) for clock in CLOCKS}


def test_a_graphics_clock(board):
    gpu = board.boot()
    gpu.smu.set_clocks(PowerOptions(clocks="1234MHz"))
    clocks = gpu.smu.metrics().clocks_mhz
    assert clocks["GFXCLK"] == 1234 and clocks["UCLK"] == levels(gpu)["UCLK"][-1]
    for wrong in ("99MHz", "9999MHz", "4"):
        with pytest.raises(ConfigError) as caught:
            gpu.smu.set_clocks(PowerOptions(clocks=wrong))
        assert "USBGPU_CLOCKS" in caught.value.action
    assert gpu.smu.metrics().clocks_mhz == clocks


@every_chip
def test_power_limit_from_boot_to_shutdown(board):
    gpu = board.open()
    percent = load("boards")["generations"][CHIPS[board.opened.handle.chip]["gfx_target"][:5]]["ppt_lower_percent"]
    usual = load("boards")["chips"][board.opened.handle.chip]["products"][0]["ppt_watts"]
    lowest = usual * (100 - percent) // 100
    gpu.power = PowerOptions(limit_w=lowest)
    gpu.boot()
    assert gpu.smu.power_limit() == lowest
    assert f"at most {lowest} W" in next(step.detail for step in gpu.boot_log if step.name == "raise_clocks")
    for wrong in (lowest - 1, usual + 1):
        with pytest.raises(ConfigError) as caught:
            gpu.smu.set_power_limit(wrong)
        assert f"{lowest} .. {usual}" in caught.value.action
    assert gpu.smu.power_limit() == lowest
    gpu.shutdown()
    assert board.boot().smu.power_limit() == usual         # warm: nobody else would have taken it back


def test_a_board_without_the_table_has_the_last_word(board, monkeypatch):
    gpu = board.boot()
    fetch = gpu.smu._fetch

    def refused(table, *arguments):
        if table == "COMBO_PPTABLE":
            raise BootError("The SMU refused TransferTableSmu2Dram.")
        return fetch(table, *arguments)

    monkeypatch.setattr(gpu.smu, "_fetch", refused)
    usual = gpu.smu.power_limit()
    assert gpu.smu.power_range() is None
    with pytest.raises(BootError, match="SetPptLimit"):
        gpu.smu.set_power_limit(usual + 1)
    gpu.smu.set_power_limit(100)
    gpu.smu.stop()
    assert gpu.smu.power_limit() == usual


# ---- what the user says

@pytest.mark.parametrize(("environment", "limit", "clocks"), [
    ({}, None, "high"), ({"USBGPU_POWER_LIMIT": "200"}, 200, "high"), ({"USBGPU_POWER_LIMIT": " 150 W"}, 150, "high"),
    ({"USBGPU_CLOCKS": "auto"}, None, "auto"), ({"USBGPU_CLOCKS": "2"}, None, "2"),
    ({"USBGPU_CLOCKS": "1500MHz", "USBGPU_POWER_LIMIT": ""}, None, "1500MHz")])
def test_environment(environment, limit, clocks, monkeypatch, board):
    for name in ("USBGPU_POWER_LIMIT", "USBGPU_CLOCKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    gpu = Gpu(Adapter(board.opened.handle))
    assert gpu.power == PowerOptions(limit, clocks) == PowerOptions.from_environment(environment)


@pytest.mark.parametrize("environment", [
    {"USBGPU_POWER_LIMIT": "lots"}, {"USBGPU_POWER_LIMIT": "0"}, {"USBGPU_POWER_LIMIT": "-5"},
    {"USBGPU_POWER_LIMIT": "99999"}, {"USBGPU_CLOCKS": "fast"}, {"USBGPU_CLOCKS": "-1"}, {"USBGPU_CLOCKS": "1.5GHz"}])
def test_environment_that_says_nothing(environment):
    with pytest.raises(ConfigError) as caught:
        PowerOptions.from_environment(environment)
    assert next(iter(environment)) in str(caught.value)
