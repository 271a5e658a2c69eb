"""What the user wants of power and clocks: USBGPU_POWER_LIMIT and USBGPU_CLOCKS."""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ConfigError

LIMIT_VARIABLE, CLOCKS_VARIABLE = "USBGPU_POWER_LIMIT", "USBGPU_CLOCKS"
CLOCK_FORMS = "auto, low, high, a level (0 is the slowest), or a graphics clock like 1500MHz"
_CLOCKS = re.compile(r"auto|low|high|\d{1,2}|\d{2,5}mhz")


@dataclass(frozen=True)
class PowerOptions:
    """How the board is to run while a device is open.

    Args:
        limit_w: the power limit in watts; None: the board's own.
        clocks: "high" and "low" pin all clocks to an end of their tables; "auto" leaves them to the SMU; a number is
            a level of every clock's table (a shorter table gives its last); "1500MHz" pins the graphics clock
            there and the others high.
    """

    limit_w: int | None = None
    clocks: str = "high"

    def __post_init__(self) -> None:
        if not _CLOCKS.fullmatch(self.clocks.lower()):
            raise ConfigError(f"{CLOCKS_VARIABLE}={self.clocks!r} is no clock setting.", f"Use one of: {CLOCK_FORMS}.")
        if self.limit_w is not None and not 0 < self.limit_w < 1 << 16:
            raise ConfigError(f"A power limit of {self.limit_w} W is not possible.",
                              f"Set {LIMIT_VARIABLE} to whole watts, e.g. 200.")

    @property
    def level(self) -> int | None:
        return int(self.clocks) if self.clocks.isdigit() else None

    @property
    def graphics_mhz(self) -> int | None:
        return int(self.clocks[:-3]) if self.clocks.lower().endswith("mhz") else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> PowerOptions:
        environment = os.environ if environment is None else environment
        text = environment.get(LIMIT_VARIABLE, "").strip()
        limit = re.fullmatch(r"(\d{1,5})\s*[wW]?", text)
        if text and limit is None:
            raise ConfigError(f"{LIMIT_VARIABLE}={text!r} is not a number of watts.",
                              "Set it to whole watts, e.g. 200.")
        return cls(int(limit[1]) if limit else None, environment.get(CLOCKS_VARIABLE, "").strip() or "high")
