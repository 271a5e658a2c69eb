"""The two tables that the SMU hands out: what it measures, and what the board allows.

Sources: Linux drivers/gpu/drm/amd/pm/swsmu/smu13/smu_v13_0_{0,7}_ppt.c, smu14/smu_v14_0_2_ppt.c; the layouts are in
asic/structs.json.
"""
from __future__ import annotations

import struct
from dataclasses import asdict, dataclass

from .facts import get_field, load

CLOCKS = ("GFXCLK", "SOCCLK", "UCLK", "FCLK")
# The members that are shown, by our names. Boards without a sensor leave its member at 0.
TEMPERATURES = {"edge": "EDGE", "hotspot": "HOTSPOT", "memory": "MEM", "vr_graphics": "VR_GFX", "vr_soc": "VR_SOC"}
VOLTAGES = {"graphics": "GFX", "soc": "SOC"}
# Up to this activity the average that counts sleep is shown, above it the other (Linux: SMU_13_0_0_BUSY_THRESHOLD).
BUSY_PERCENT = 15
JOULES_PER_UNIT = 2.0 ** -16
PCIE_GT_PER_S = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0}


def layout(kind: str, mp1: str) -> str:
    """Name of the struct that an SMU of version `mp1` ("13.0.0") uses for a table: smu_metrics or smu_powerplay."""
    for name, content in load("structs").items():
        if name.startswith(kind) and mp1 in content["mp1"]:
            return name
    raise KeyError(f"no layout of {kind} is known for SMU {mp1}")


@dataclass(frozen=True)
class Metrics:
    """One reading. Averages are the SMU's own, over some milliseconds.

    The PCIe figures are those of the GPU's own link: on cards with a switch, the one between the two.
    """

    counter: int                            # of the SMU's updates
    clocks_mhz: dict[str, int]              # now
    average_mhz: dict[str, int]
    activity_percent: dict[str, int]        # graphics, memory
    power_w: int                            # of the GPU's package with its memory
    energy_j: float                         # since the SMU started; wraps at 65536
    temperatures_c: dict[str, int]
    voltages_mv: dict[str, int]
    fan_percent: int
    fan_rpm: int
    throttling_percent: dict[str, int]      # by cause, without those at 0
    pcie_gt_per_s: float | None
    pcie_width: int

    @property
    def temperature_c(self) -> int | None:
        """Of the die's edge: the figure that tools call "the temperature"."""
        return self.temperatures_c.get("edge")

    def as_dict(self) -> dict:
        return asdict(self)


def parse_metrics(table: bytes, mp1: str) -> Metrics:
    name = layout("smu_metrics", mp1)
    fields = load("structs")[name]["fields"]

    def number(field: str) -> int:
        return get_field(table, name, field)

    def present(stem: str, members: dict[str, str]) -> dict[str, int]:
        values = {ours: number(f"{stem}.{theirs}") for ours, theirs in members.items() if f"{stem}.{theirs}" in fields}
        return {ours: value for ours, value in values.items() if value}

    graphics, memory = min(number("AverageGfxActivity"), 100), min(number("AverageUclkActivity"), 100)
    averages = {}
    for clock, stem, activity in (("GFXCLK", "Gfxclk", graphics), ("UCLK", "Memclk", memory), ("FCLK", "Fclk", memory)):
        averages[clock] = number(f"Average{stem}Frequency{'PostDs' if activity <= BUSY_PERCENT else 'PreDs'}")
    causes = {field.partition(".")[2]: number(field) for field in fields if field.startswith("ThrottlingPercentage.")}
    return Metrics(
        counter=number("MetricsCounter"), clocks_mhz={clock: number(f"CurrClock.{clock}") for clock in CLOCKS},
        average_mhz=averages, activity_percent={"graphics": graphics, "memory": memory},
        power_w=number("AverageSocketPower"), energy_j=number("EnergyAccumulator") * JOULES_PER_UNIT,
        temperatures_c=present("AvgTemperature", TEMPERATURES), voltages_mv=present("AvgVoltage", VOLTAGES),
        fan_percent=number("AvgFanPwm"), fan_rpm=number("AvgFanRpm"),
        throttling_percent={cause: value for cause, value in causes.items() if value},
        pcie_gt_per_s=PCIE_GT_PER_S.get(number("PcieRate")), pcie_width=number("PcieWidth"))


@dataclass(frozen=True)
class PowerRange:
    """Watts that the power limit may be set to, without overdrive, and the board's own setting."""

    lowest_w: int
    default_w: int
    highest_w: int


def powerplay_bytes(mp1: str) -> int:
    return load("structs")[layout("smu_powerplay", mp1)]["size"]


def parse_power_range(table: bytes, mp1: str) -> PowerRange | None:
    """None: the table is not of the layout that is known, or holds no limit."""
    name = layout("smu_powerplay", mp1)
    content = load("structs")[name]
    newer = "pmfw_pptable_start_offset" in content["fields"]

    def number(field: str) -> int:
        return get_field(table, name, field)

    if number("pmfw_pptable_start_offset" if newer else "table_size") != content["smc_pptable"]:
        return None
    default = number(f"{'CustomSkuTable' if newer else 'SkuTable'}.SocketPowerLimitAc.PPT0")
    message = number("SkuTable.MsgLimits.Power.PPT0_AC")
    if not default or not message:
        return None
    lower = 0                # percent that may be taken
    if number("SkuTable.OverDriveLimitsBasicMax.FeatureCtrlMask.PPT"):
        if newer:            # the signed percentage that is added
            at = content["fields"]["SkuTable.OverDriveLimitsBasicMin.Ppt"][0]
            lower = -struct.unpack_from("<h", table, at)[0]
        else:
            lower = number("overdrive_table.min.POWERPERCENTAGE")
    lower = min(max(lower, 0), 100)
    return PowerRange(min(default, message) * (100 - lower) // 100, default, max(default, message))
