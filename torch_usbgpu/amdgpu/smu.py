"""SMU (MP1): power and clocks, through a mailbox of three registers.

Sources: Linux drivers/gpu/drm/amd/pm/swsmu/smu_cmn.c, smu13/; tinygrad AM_SMU.
"""
from __future__ import annotations

import logging
import time

from ..errors import BootError, ConfigError, SmuSilent
from .facts import enum, struct_size
from .layout import PLACES
from .metrics import Metrics, PowerRange, layout, parse_metrics, parse_power_range, powerplay_bytes
from .power import CLOCKS_VARIABLE, LIMIT_VARIABLE, PowerOptions
from .registers import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

log = logging.getLogger(__name__)

_RESULT = {value: name for name, value in enum("smu_result").items()}
OK = enum("smu_result")["OK"]
CLOCKS = ("UCLK", "FCLK", "SOCCLK", "GFXCLK")     # in the order in which the reference driver sets them
# Ends of a clock's table; the number that asks for its length.
LOWEST, HIGHEST = "GetMinDpmFreq", "GetMaxDpmFreq"
TABLE_LENGTH, FINE_GRAINED = 0xFF, 1 << 31
NO_LIMIT_MHZ = 0xFFFF
ANSWERING = "Get"             # what messages with a result are called
POWER_SOURCE_AC = 0
SMU_SECONDS = 5.0               # for an answer; a healthy SMU takes microseconds (Linux smu_cmn.c waits 2 s)


class Smu:
    def __init__(self, gpu) -> None:
        self._gpu = gpu
        self.patience_s = SMU_SECONDS
        self._version = gpu.chip["ip_versions"]["MP1"]
        generation = self._version.split(".")[0] + ".0.x"
        self._messages, self._tables = enum("smu_msg")[generation], enum("smu_table")[generation]
        self._default_limit_w: int | None = None     # to go back to; None: we changed nothing

    # ---- verbs
    def is_alive(self) -> bool:
        """Does it answer (since an earlier boot)?"""
        try:
            self.send("GetSmuVersion", timeout_s=0.1, careful=True)
            return True
        except BootError:
            return False

    def init(self) -> None:
        """Tell it where its table lies and switch its features on."""
        address = self._gpu.memory.mc(PLACES["smu_table"])
        self.send("SetDriverDramAddrHigh", address >> 32)
        self.send("SetDriverDramAddrLow", address & 0xFFFF_FFFF)
        self.send("EnableAllSmuFeatures")

    def start(self, options: PowerOptions | None = None) -> str:
        """Power limit and clocks as asked for.

        Raises:
            ConfigError: the board cannot do what is asked.
        """
        options = options or PowerOptions()
        shown = [self.set_clocks(options)]
        if options.limit_w is not None:
            self.set_power_limit(options.limit_w)
            shown.append(f"at most {options.limit_w} W")
        return ", ".join(shown)

    def stop(self) -> None:
        """Clocks down, power limit as it was: the next process may want neither."""
        if self._default_limit_w is not None:
            self.send("SetPptLimit", self._default_limit_w)
            self._default_limit_w = None
        self.set_clocks(PowerOptions(clocks="low"))

    def describe_fault(self) -> dict[str, str]:
        return self._gpu.regs.snapshot(["MP1_SMN_C2PMSG_90"])

    # ---- clocks
    def set_clocks(self, options: PowerOptions) -> str:
        """Bounds of all clocks; says what was set.

        One message asks for an end of a table (Linux smu_v13_0_get_dpm_ultimate_freq); tinygrad walks it.

        Raises:
            ConfigError: no such level, or a clock outside the board's range.
        """
        if options.clocks.lower() == "auto":
            for name in CLOCKS:
                self._set_bounds(name, 0, NO_LIMIT_MHZ)
            return "clocks left to the SMU"
        end = LOWEST if options.clocks.lower() == "low" else HIGHEST
        chosen: dict[str, int] = {}
        if options.level is not None:
            chosen = self._at_level(options.level)
        elif options.graphics_mhz is not None:
            chosen["GFXCLK"] = self._in_range("GFXCLK", options.graphics_mhz)
        for name in CLOCKS:
            if name not in chosen:
                chosen[name] = self._end(name, end)
            if chosen[name]:    # else: no table for this clock
                self._set_bounds(name, chosen[name], chosen[name])
        return ", ".join(f"{name} {chosen[name]} MHz" for name in CLOCKS if chosen[name])

    def clock_levels(self, name: str) -> list[int]:
        """MHz by level, the slowest first. A finely tunable clock has its two ends only."""
        clock = enum("smu_clk")[name] << 16
        count = self.send("GetDpmFreqByIndex", clock | TABLE_LENGTH) & ~FINE_GRAINED
        return [self.send("GetDpmFreqByIndex", clock | level) & 0xFFFF for level in range(min(count, TABLE_LENGTH))]

    def _end(self, name: str, end: str) -> int:
        try:
            return self.send(end, enum("smu_clk")[name] << 16) & 0xFFFF
        except SmuSilent:
            raise
        except BootError as error:       # it does not know the message: walk the table, as tinygrad does
            log.info("%s", error.found)
            levels = self.clock_levels(name)
            return levels[0 if end == LOWEST else -1] if levels else 0

    def _in_range(self, name: str, mhz: int) -> int:
        lowest, highest = self._end(name, LOWEST), self._end(name, HIGHEST)
        if not lowest <= mhz <= highest:
            raise ConfigError(f"The board cannot run its graphics clock at {mhz} MHz.",
                              f"Set {CLOCKS_VARIABLE} to {lowest}MHz .. {highest}MHz.")
        return mhz

    def _at_level(self, level: int) -> dict[str, int]:
        tables = {name: self.clock_levels(name) for name in CLOCKS}
        levels = max(map(len, tables.values()))
        if level >= levels:
            raise ConfigError(f"The board's clocks have no level {level}.",
                              f"Set {CLOCKS_VARIABLE} to 0 .. {levels - 1}.")
        return {name: table[min(level, len(table) - 1)] if table else 0 for name, table in tables.items()}

    def _set_bounds(self, name: str, lowest_mhz: int, highest_mhz: int) -> None:
        clock = enum("smu_clk")[name] << 16
        try:
            # tinygrad: this one may go unanswered; it is optional.
            self.send("SetSoftMinByFreq", clock | lowest_mhz, timeout_s=0.02)
        except SmuSilent:
            pass
        self.send("SetSoftMaxByFreq", clock | highest_mhz)

    # ---- power
    def power_limit(self, timeout_s: float = SMU_SECONDS) -> int:
        """Watts that the board may draw now."""
        return self.send("GetPptLimit", POWER_SOURCE_AC << 16, timeout_s) & 0xFFFF

    def power_range(self) -> PowerRange | None:
        """What the limit may be set to; None where the board's table cannot be read."""
        try:
            table = self._fetch("COMBO_PPTABLE", powerplay_bytes(self._version))
        except SmuSilent:
            raise
        except BootError:
            return None         # it has no such table
        return parse_power_range(table, self._version)

    def set_power_limit(self, watts: int) -> None:
        """Lower (or restore) what the board may draw, within its range. stop() takes it back.

        Raises:
            ConfigError: outside the range.
            BootError: the SMU does not take it.
        """
        now, allowed = self.power_limit(), self.power_range()
        if allowed is not None and not allowed.lowest_w <= watts <= allowed.highest_w:
            raise ConfigError(f"The board does not allow a power limit of {watts} W.",
                              f"Set {LIMIT_VARIABLE} to {allowed.lowest_w} .. {allowed.highest_w}.",
                              default_w=allowed.default_w)
        self.send("SetPptLimit", watts)
        if self._default_limit_w is None:
            self._default_limit_w = allowed.default_w if allowed else now
        if (taken := self.power_limit()) != watts:
            raise BootError("The SMU did not take the power limit.", asked_w=watts, set_w=taken)

    # ---- what it measures
    def metrics(self, timeout_s: float = SMU_SECONDS) -> Metrics:
        """A fresh reading: one message, and one read of the table in VRAM."""
        table = self._fetch("SMU_METRICS", struct_size(layout("smu_metrics", self._version)), timeout_s)
        return parse_metrics(table, self._version)

    def _fetch(self, table: str, nbytes: int, timeout_s: float = SMU_SECONDS) -> bytes:
        with self._gpu.lock:
            self.send("TransferTableSmu2Dram", self._tables[table], timeout_s)
            return self._gpu.vram_read(PLACES["smu_table"], nbytes + 3 & ~3)

    # ---- mailboxes
    def send(self, message: str, argument: int = 0, timeout_s: float | None = None, *, careful: bool = False) -> int:
        """One message; returns the answer's argument. It may take `patience_s` unless a time-out is given.

        Args:
            careful: single packets only, for a board of which nobody knows whether it still answers.

        Raises:
            SmuSilent: no answer in time.
            BootError: it refused.
        """
        regs = self._gpu.regs
        regs.write("MP1_SMN_C2PMSG_90", 0)
        regs.write("MP1_SMN_C2PMSG_82", argument)
        regs.write("MP1_SMN_C2PMSG_66", self._messages[message])
        # The answer's argument lies eight registers before the answer: one stream fetches both, the argument first,
        # though the SMU writes it first too. What is still our own argument may have been read too early.
        count = regs.address("MP1_SMN_C2PMSG_90") - regs.address("MP1_SMN_C2PMSG_82") + 1
        timeout_s = self.patience_s if timeout_s is None else timeout_s
        deadline, pause_s = time.monotonic() + timeout_s, FIRST_PAUSE_SECONDS

        def look() -> tuple[int, ...]:
            if careful:
                result = regs.read("MP1_SMN_C2PMSG_90")
                return (regs.read("MP1_SMN_C2PMSG_82") if result else 0, result)
            return regs.read_block("MP1_SMN_C2PMSG_82", count)

        while (answer := look())[-1] == 0:
            if time.monotonic() > deadline:
                raise SmuSilent(f"The SMU did not answer {message} within {timeout_s:g} s.", argument=f"{argument:#x}")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_SECONDS)
        result = answer[-1]
        if result != OK:
            raise BootError(f"The SMU refused {message}: {_RESULT.get(result, 'unknown answer')}.",
                            argument=f"{argument:#x}", result=f"{result:#x}")
        if answer[0] == argument and message.startswith(ANSWERING):
            return regs.read("MP1_SMN_C2PMSG_82")
        return answer[0]

    def request_mode1_reset(self, timeout_s: float = SMU_SECONDS) -> None:
        """Ask for a reset of the whole GPU, over the debug mailbox (works for all supported chips)."""
        regs = self._gpu.regs
        regs.write("MP1_SMN_C2PMSG_54", 0)
        regs.write("MP1_SMN_C2PMSG_53", 0)
        regs.write("MP1_SMN_C2PMSG_75", enum("smu_debug_msg")["Mode1Reset"])
        deadline = time.monotonic() + timeout_s
        while (result := regs.read("MP1_SMN_C2PMSG_54")) != OK:
            # All ones: the reset is under way already and the registers are gone.
            if result == 0xFFFF_FFFF:
                return
            if time.monotonic() > deadline:
                raise SmuSilent("The SMU did not take the request for a reset.", answer=f"{result:#x}")
