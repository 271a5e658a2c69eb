"""What both of the adapter's protocols share: the PCIe link, packets of one dword, configuration space.

How a packet leaves and its completion comes back is the business of asm2464pd.py and legacy.py.
"""
from __future__ import annotations

import logging
import time

from .. import errors
from . import tlp
from .facts import FACTS
from .identity import Identity, identify, wrong_mode
from .transfers import Transfers

log = logging.getLogger(__name__)

XDATA_LTSSM = FACTS["xdata"]["ltssm"]
XDATA_CPU_CONTROL = FACTS["xdata"]["cpu_control"]
XDATA_LINK_STATUS = FACTS["xdata"]["phy_link_status"]      # of the PHY plane
LTSSM_L0 = FACTS["ltssm"]["l0"]
DETECT_QUIET = FACTS["ltssm"]["detect_quiet"]
PHY_PLANE = 1

TLP_RETRIES = 10                # "very picky" about the 1 ms pause between tries
TLP_RETRY_SECONDS = 1e-3
CONFIG_RETRY_SECONDS = 1.0      # PCIe: a function may answer CRS for up to 1 s after reset
LINK_POLL_SECONDS = 0.1
POWER_OFF_SECONDS = 0.1         # at least, between off and on
# A link that nobody trains stays in one state for as long as this; a slot without a card keeps looking for one.
TUNNEL_SECONDS = 1.0
GT_PER_S = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0}      # by PCIe generation


class Bridge(Transfers):
    """An adapter that emits PCIe packets.

    What an adapter lacks is told by attributes:

    - `can_arm_reads`: the GPU can release a bulk IN of SRAM content (sram_arm_in, sram_finish_in);
    - `can_stream`: dwords of PCIe memory cost about a microsecond, not several transfers each;
    - `has_sram`: the host can fill the SRAM (sram_write, sram_write_landed);
    - `sram_slots`: such a write may start at any slot. Otherwise the content before the slot is lost.
    """

    can_arm_reads = can_stream = has_sram = sram_slots = True
    link_up_states: tuple[int, ...] = (LTSSM_L0,)

    def __init__(self, handle, identity: Identity | None = None) -> None:
        super().__init__(handle)
        self.started = False
        self._identity = identity
        self._super_speed = True
        self._wide_headers = False       # 4-dword headers below 4 GiB too (see _read_memory_dword)
        self._link_checked = False

    def attach(self, handle) -> None:
        super().attach(handle)
        self._identity, self._link_checked = None, False

    # ---------------------------------------------------------------- who and what

    @property
    def identity(self) -> Identity:
        """What the adapter says of itself; asked for once."""
        if self._identity is None:
            self._identity = identify(self.handle, ask_device=False)
        return self._identity

    def describe(self) -> dict:
        """For people and tools: firmware, serial, USB speed, and the PCIe link as the adapter sees it."""
        identity = self.identity
        shown = {"mode": identity.mode, "ids": identity.ids, "manufacturer": identity.manufacturer,
                 "product": identity.product, "firmware": identity.firmware, "generation": identity.generation,
                 "serial": identity.serial, "usb_gbps": identity.usb_gbps or self._usb_gbps()}
        with self.lock:
            state = self.ltssm()
            up = state in self.link_up_states
            generation, lanes = self._link_status() if up else (None, None)
        return {**shown, "pcie_link_up": up, "pcie_ltssm": state, "pcie_generation": generation,
                "pcie_gt_per_s": GT_PER_S.get(generation), "pcie_lanes": lanes}

    def _usb_gbps(self) -> float | None:
        """The USB speed where the host's side does not tell it."""
        return None

    def _link_status(self) -> tuple[int | None, int | None]:
        """(PCIe generation, lanes) by the PHY's own register."""
        try:
            value = self.read_xdata(XDATA_LINK_STATUS, 1, bank=PHY_PLANE)[0]
        except errors.DeviceLost:
            raise
        except errors.LinkError as error:       # nothing depends on it
            log.debug("the PHY does not tell the link's speed: %s", error.found)
            return None, None
        generation, lanes = value & 0xF, value >> 4
        return (generation, lanes) if generation in GT_PER_S and lanes in (1, 2, 4, 8) else (None, None)

    @property
    def firmware_dirs(self) -> tuple:
        """Directories with the card's firmware that the handle brings; a real dock's brings none."""
        return tuple(self._ask("firmware_directories") or ())

    def _ask(self, method: str):
        query = getattr(self.handle, method, None)
        return self._wrap(method, query) if callable(query) else None

    def close(self) -> None:
        with self.lock:
            close = getattr(self.handle, "close", None)
            if callable(close):
                close()

    # ---------------------------------------------------------------- for the protocols

    def start(self) -> None:
        """Bring the adapter into a known state, whatever the last user left behind. Does not touch power."""
        raise NotImplementedError

    def recover(self) -> None:
        """After a transfer was cut short or timed out: transports cleared, link to be looked at again."""
        raise NotImplementedError

    def disarm(self) -> None:
        """Drop what is armed, by the mildest means that there is."""
        self.recover()

    def read_xdata(self, address: int, nbytes: int, bank: int = 0) -> bytes:
        raise NotImplementedError

    def write_xdata(self, address: int, data: bytes, bank: int = 0) -> None:
        raise NotImplementedError

    def power(self, on: bool) -> None:
        """PCIe slot power and PERST#. Acknowledged whether or not the link trains: ask link_is_up() afterwards."""
        raise NotImplementedError

    def _launch(self, fmt: int, address: int, size: int, value: int) -> None:
        """Emit one packet."""
        raise NotImplementedError

    def _launch_and_collect(self, fmt: int, address: int, size: int, value: int) -> tlp.Completion:
        """Emit one packet and fetch its completion. Called with the lock held."""
        raise NotImplementedError

    def _settle_out(self) -> None:
        """Wait for what must not be overtaken by a packet."""

    # ---------------------------------------------------------------- the link

    def ltssm(self) -> int:
        """The PCIe link's state machine; `link_up_states` are the values that mean "up"."""
        return self.read_xdata(XDATA_LTSSM, 1)[0]

    def link_is_up(self) -> bool:
        up = self.ltssm() in self.link_up_states
        self._link_checked = up
        return up

    def raise_link(self, timeout_s: float = 5.0) -> None:
        """Make sure that the PCIe link is up, powering the slot if it is not.

        Raises:
            PcieLinkDown: it did not come up; the LTSSM value tells where training stopped.
            WrongMode: it cannot, because the host owns it (USB4).
        """
        if self.link_is_up():
            return
        self.power(True)
        started, in_a_row, states = time.monotonic(), 0, set()
        while True:
            state = self.ltssm()
            states.add(state)
            in_a_row = in_a_row + 1 if state in self.link_up_states else 0
            if in_a_row == 2:
                self._link_checked = True
                return
            waited = time.monotonic() - started
            if waited > TUNNEL_SECONDS and states == {DETECT_QUIET} and self._may_be_tunnelled():
                raise self._error(wrong_mode(Identity("usb4"), ltssm=f"{state:#x}"))
            if waited > timeout_s:
                raise self._error(errors.PcieLinkDown(
                    "The PCIe link between the adapter and the GPU does not come up.", ltssm=f"{state:#x}"))
            if in_a_row == 0:
                time.sleep(LINK_POLL_SECONDS)

    def _may_be_tunnelled(self) -> bool:
        """In USB4 mode the adapter's firmware is left with a USB 2 function and no PCIe."""
        return not self._super_speed

    def power_cycle(self) -> None:
        """Drop and restore the card's power. Everything on the PCIe side must be set up again afterwards."""
        self.recover()
        self.power(False)
        time.sleep(POWER_OFF_SECONDS)
        self.raise_link()

    def restart_cpu(self) -> None:
        """Restart the adapter's own CPU; it re-enumerates on USB, so this handle is dead afterwards."""
        try:
            self.write_xdata(XDATA_CPU_CONTROL, b"\1")
        except errors.LinkError as error:
            log.debug("the restart request ended with %s, as expected", error)

    # ---------------------------------------------------------------- packets

    def config_read(self, bus: int, device: int, function: int, register: int, size: int = 4) -> int:
        address = tlp.config_address(bus, device, function, register)
        return self._config(address, tlp.config_fmt(bus, write=False), size)

    def config_write(self, bus: int, device: int, function: int, register: int, value: int, size: int = 4) -> None:
        address = tlp.config_address(bus, device, function, register)
        self._config(address, tlp.config_fmt(bus, write=True), size, value)

    def _config(self, address: int, fmt: int, size: int, value: int = 0) -> int:
        deadline = time.monotonic() + CONFIG_RETRY_SECONDS
        while True:
            completion = self._transact(fmt, address, size, value)
            if completion.status == tlp.SUCCESS:
                return completion.data >> 8 * (address & 3) & ((1 << 8 * size) - 1)
            if completion.status != tlp.CONFIG_RETRY or time.monotonic() > deadline:
                raise self._completion_error(completion, "configuration", address)
            self.stats.retries += 1
            time.sleep(1e-3)

    def read32(self, address: int) -> int:
        """One dword of PCIe memory, with its completion checked."""
        with self.lock:
            completion = self._read_memory_dword(address)
        if completion.status != tlp.SUCCESS:
            raise self._completion_error(completion, "memory", address)
        return completion.data

    def write32(self, address: int, value: int) -> None:
        """One posted dword, never answered."""
        self.write(address, value, 4)

    def write(self, address: int, value: int, size: int) -> None:
        """1..4 posted bytes inside one dword."""
        with self.lock:
            self._settle_out()
            self._launch(tlp.memory_fmt(address, write=True, wide=self._wide_headers), address, size, value)

    def _write_fragment(self, address: int, part: memoryview) -> None:
        self.write(address, int.from_bytes(part, "little"), len(part))

    def _read_memory_dword(self, address: int) -> tlp.Completion:
        completion = self._transact(tlp.memory_fmt(address, write=False, wide=self._wide_headers), address, 4)
        if completion.status == tlp.UNSUPPORTED_REQUEST and not address >> 32 and not self._wide_headers:
            # The reference driver sends 4-dword headers everywhere and AMD GPUs take them; a bridge that wants
            # them shows up as a refused 3-dword read.
            wide = self._transact(tlp.MEM_READ64, address, 4)
            if wide.status == tlp.SUCCESS:
                self._wide_headers = True
                return wide
        return completion

    def _transact(self, fmt: int, address: int, size: int, value: int = 0) -> tlp.Completion:
        """A packet with a completion. Repeats engine errors."""
        with self.lock:
            self._settle_out()
            for attempt in range(TLP_RETRIES):
                if attempt:
                    self.stats.retries += 1
                    time.sleep(TLP_RETRY_SECONDS)
                completion = self._launch_and_collect(fmt, address, size, value)
                if completion.engine == 0:
                    return completion
            self._link_checked = False
            state = self.ltssm()
            state_text = {"address": f"{address:#x}", "fmt": f"{fmt:#x}", "engine": f"{completion.engine:#x}",
                          "ltssm": f"{state:#x}"}
            if state not in self.link_up_states:
                raise self._error(errors.PcieLinkDown(
                    f"A PCIe transaction was not completed {TLP_RETRIES} times in a row: the link is down.",
                    **state_text))
            raise self._error(errors.LinkError(
                f"A PCIe transaction was not completed {TLP_RETRIES} times in a row: the link is up but nobody "
                "answers.", **state_text))

    def _completion_error(self, completion: tlp.Completion, space: str, address: int) -> errors.LinkError:
        return self._error(errors.LinkError(f"The PCIe {space} address was answered with {completion.status_name}.",
                                            address=f"{address:#x}", status=completion.status))
