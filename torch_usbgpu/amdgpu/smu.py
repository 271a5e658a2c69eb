"""SMU (MP1): power and clocks, through a mailbox of three registers.

Sources: Linux drivers/gpu/drm/amd/pm/swsmu/smu_cmn.c, smu13/; tinygrad AM_SMU.
"""
from __future__ import annotations

import time

from ..errors import BootError, SmuSilent
from .facts import enum
from .layout import PLACES
from .registers import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

_RESULT = {value: name for name, value in enum("smu_result").items()}
OK = enum("smu_result")["OK"]
CLOCKS = ("UCLK", "FCLK", "SOCCLK", "GFXCLK")
# Ends of a clock's table.
LOWEST, HIGHEST = "GetMinDpmFreq", "GetMaxDpmFreq"

class Smu:
    def __init__(self, gpu) -> None:
        self._gpu = gpu
        self._messages = enum("smu_msg")[gpu.chip["ip_versions"]["MP1"].split(".")[0] + ".0.x"]

    # ---- verbs
    def is_alive(self) -> bool:
        """Does it answer (since an earlier boot)?"""
        try:
            self.send("GetSmuVersion", timeout_s=0.1)
            return True
        except BootError:
            return False

    def init(self) -> None:
        """Tell it where its table lies and switch its features on."""
        address = self._gpu.memory.mc(PLACES["smu_table"])
        self.send("SetDriverDramAddrHigh", address >> 32)
        self.send("SetDriverDramAddrLow", address & 0xFFFF_FFFF)
        self.send("EnableAllSmuFeatures")

    def start(self) -> str:
        """Clocks up."""
        return self.set_clocks(HIGHEST)

    def stop(self) -> None:
        """Clocks down."""
        self.set_clocks(LOWEST)

    def describe_fault(self) -> dict[str, str]:
        return self._gpu.regs.snapshot(["MP1_SMN_C2PMSG_90"])

    # ---- clocks
    def set_clocks(self, end: str) -> str:
        """Pin all clocks to one end of their tables, LOWEST or HIGHEST.

        One message asks for it (Linux smu_v13_0_get_dpm_ultimate_freq); tinygrad walks the whole table.
        """
        shown = []
        for name in CLOCKS:
            clock = enum("smu_clk")[name] << 16
            mhz = self.send(end, clock) & 0xFFFF
            if mhz == 0:
                continue        # no table for this clock
            try:
                # tinygrad: this one may go unanswered; it is optional.
                self.send("SetSoftMinByFreq", clock | mhz, timeout_s=0.02)
            except SmuSilent:
                pass
            self.send("SetSoftMaxByFreq", clock | mhz)
            shown.append(f"{name} {mhz} MHz")
        return ", ".join(shown)

    # ---- mailboxes
    def send(self, message: str, argument: int = 0, timeout_s: float = 10.0) -> int:
        """One message; returns the answer's argument.

        Raises:
            SmuSilent: no answer in time.
            BootError: it refused.
        """
        regs = self._gpu.regs
        regs.write("MP1_SMN_C2PMSG_90", 0)
        regs.write("MP1_SMN_C2PMSG_82", argument)
        regs.write("MP1_SMN_C2PMSG_66", self._messages[message])
        # The answer's argument lies eight registers before the answer: one stream fetches both.
        count = regs.address("MP1_SMN_C2PMSG_90") - regs.address("MP1_SMN_C2PMSG_82") + 1
        deadline, pause_s = time.monotonic() + timeout_s, FIRST_PAUSE_SECONDS
        while (answer := regs.read_block("MP1_SMN_C2PMSG_82", count))[-1] == 0:
            if time.monotonic() > deadline:
                raise SmuSilent(f"The SMU did not answer {message} within {timeout_s:g} s.", argument=f"{argument:#x}")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_SECONDS)
        result = answer[-1]
        if result != OK:
            raise BootError(f"The SMU refused {message}: {_RESULT.get(result, 'unknown answer')}.",
                            argument=f"{argument:#x}", result=f"{result:#x}")
        return answer[0]

    def request_mode1_reset(self, timeout_s: float = 10.0) -> None:
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
