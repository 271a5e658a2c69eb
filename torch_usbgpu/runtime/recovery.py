"""The recovery ladder: what brings a device back, from the mildest means to the harshest, and what each one costs.

`reset()` starts at the rung that can help against what went wrong, tries the device after each rung, and climbs
until it works. Nothing here repeats what the runtime does by itself without any loss (again.py).
"""
from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch_usbgpu.errors import (BootError, ConfigError, DeviceLost, DeviceNotFound, DeviceStopped, GpuHang, LinkError,
                                 LinkTimeout, PcieLinkDown, RecoveryFailed, UnsupportedChip, UsbGpuError, WrongMode)
from torch_usbgpu.usb import OpenedHandle

from .again import is_transient
from .queue import Failure

if TYPE_CHECKING:
    from .device import Device

log = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0        # for what the GPU was given, on the rungs that let it finish
PROOF_SECONDS = 10.0        # for one answer of a device that is said to work again
REOPEN_SECONDS = 5.0        # an adapter that restarts is back after 0.3 s, one with a bootstub after 3 s
REOPEN_PAUSE_SECONDS = 0.1
WAIT_SECONDS = 60.0         # for another thread to let go of the cable; longer than any single transfer
LOST_PATTERN = (1 << 64) - 1


@dataclass(frozen=True)
class Rung:
    """One means. `climb` returns whether VRAM has lost its content; what fails, raises."""

    name: str
    does: str
    lost: str                               # beside the work that was queued, which no rung brings back
    keeps_vram: bool
    seconds: float                          # at most, on an adapter that answers
    helps: Callable[[UsbGpuError], bool]    # against what
    climb: Callable[[Device], bool]


@dataclass(frozen=True)
class Step:
    """What became of one rung."""

    rung: str
    seconds: float
    error: str | None       # None: the device works again


@dataclass(frozen=True)
class Report:
    cause: str | None       # what went wrong before, if anything
    steps: tuple[Step, ...]
    lost: str
    vram_lost: bool
    lost_blocks: int = 0
    lost_bytes: int = 0

    @property
    def rung(self) -> str:
        """The rung that brought the device back."""
        return self.steps[-1].rung

    def __str__(self) -> str:
        lines = [f"cause: {self.cause or 'none'}"]
        lines += [f"{step.rung:<14}{step.seconds:6.2f} s  {step.error or 'works'}" for step in self.steps]
        return "\n".join([*lines, f"lost: {self.lost}"])


class CardLost(BootError):
    """Users never see it: the card is booted again."""


# ---- the rungs

def _go_on(device: Device, clear: Callable[[], None]) -> bool:
    """With the queues as they are. What the GPU still releases is armed for until it is done."""
    if not device.gpu.is_still_ours():
        raise CardLost("The card has lost its power, or was reset.")
    device.road.finish(SETTLE_SECONDS)
    clear()
    device.road.resume()
    return False


def _disarm(device: Device) -> bool:
    return _go_on(device, device.adapter.disarm)


def _clear_halt(device: Device) -> bool:
    device.adapter.recover()
    return _go_on(device, device.adapter.recover)


def _reopen(device: Device) -> bool:
    reattach(device)
    try:
        device.adapter.start()
    except LinkTimeout:
        # EP0 is dead; a reset of the port is all that a host can do about it.
        reset_port = getattr(device.handle, "resetDevice", None)
        if not callable(reset_port):
            raise
        log.info("the adapter does not answer: its port is reset")
        try:
            reset_port()
        except Exception as error:      # noqa: BLE001  it may enumerate anew, which ends the handle
            log.info("resetting the port ended with %r", error)
        reattach(device)
        device.adapter.start()
    if device.gpu.is_still_ours():
        device.road.finish(SETTLE_SECONDS)
        device.road.resume()
        return False
    _with_the_same_card(device, device.gpu.boot)
    return True


def _reset_queues(device: Device) -> bool:
    device.adapter.recover()
    device.gpu.reset_queues()
    device.road.start()
    return False


def _reset_engine(device: Device) -> bool:
    device.adapter.recover()
    device.gpu.recover_queues()
    device.road.start()
    return False


def _reset_gpu(device: Device) -> bool:
    _with_the_same_card(device, device.gpu.reset)
    return True


def _power_cycle(device: Device) -> bool:
    device.adapter.power_cycle()
    _with_the_same_card(device, device.gpu.boot)
    return True


def _of_the_cable(error: UsbGpuError) -> bool:
    return isinstance(error, (LinkError, DeviceStopped))


def _of_a_transfer(error: UsbGpuError) -> bool:
    return _of_the_cable(error) and not isinstance(error, DeviceLost)


def _of_a_running_card(error: UsbGpuError) -> bool:
    return not isinstance(error, (CardLost, PcieLinkDown))


def _anything(error: UsbGpuError) -> bool:
    return True


LADDER = (
    Rung("re-arm", "drops the transfers that the dock is armed for, lets the GPU finish what it was given, clears the "
         "dock's SRAM", "nothing more", True, 3, _of_a_transfer, _disarm),
    Rung("clear halt", "clears both bulk endpoints and drains them, then as above", "nothing more", True, 4,
         _of_a_transfer, _clear_halt),
    Rung("re-open", "opens the same dock again, found by its serial number or its port (after a replug too); boots the "
         "GPU if it lost its power", "nothing more; all of VRAM if the card had lost its power", True, 20,
         _of_the_cable, _reopen),
    Rung("queue reset", "kills the waves that run, creates both queues anew", "what the running kernels had not stored",
         True, 5, _of_a_running_card, _reset_queues),
    Rung("MEC reset", "restarts the compute engine with empty queues", "what the running kernels had not stored",
         True, 5, _of_a_running_card, _reset_engine),
    Rung("mode-1 reset", "resets the whole GPU and boots it", "all of VRAM", False, 40, _anything, _reset_gpu),
    Rung("power cycle", "switches the card off and on, and boots it", "all of VRAM", False, 60, _anything,
         _power_cycle),
)


# ---- climbing

def reset(device: Device, at_least: str | None = None) -> Report:
    """As Device.reset()."""
    names = [rung.name for rung in LADDER]
    if at_least is not None and at_least not in names:
        raise ConfigError(f"There is no rung {at_least!r}.", f"Use one of: {', '.join(names)}.")
    reports: list[Report] = []
    first = device.road.failure.error if device.road.failure else None
    device.road.stop = DeviceStopped("The device was reset by another thread.",
                                     "Run the work again: what was queued is lost.")

    def climb() -> None:
        device.road.stop = None
        with device.gpu.lock:       # nobody else looks at a GPU that is being reset
            reports.append(_climb(device, first, at_least))

    if not device.stream.exclusively(climb, WAIT_SECONDS):
        device.road.stop = None
        raise GpuHang(f"Another thread has kept the device for {WAIT_SECONDS:g} s.",
                      "End that thread, then call reset().")
    report = reports[0]
    log.warning("the device was reset:\n%s", report)
    if report.vram_lost:
        warnings.warn(f"The content of the GPU's memory was lost: {report.lost_blocks} blocks of {report.lost_bytes} "
                      "bytes now read as all ones (NaN). Load them again.", RuntimeWarning, stacklevel=3)
    return report


def _climb(device: Device, first: UsbGpuError | None, at_least: str | None) -> Report:
    road = device.road
    if first is None and road.failure is not None:
        first = road.failure.error          # of the thread that has just let go
    steps: list[Step] = []
    current: UsbGpuError | None = first
    begun, vram_lost = at_least is None, False
    if first is None:
        current = _hand_over(device)
    device.stream.discard_pending()
    for rung in LADDER:
        begun = begun or rung.name == at_least
        if not begun or (current is not None and not rung.helps(current) and rung.name != at_least):
            continue
        log.info("recovery: %s", rung.name)
        started = time.monotonic()
        vram_lost |= not rung.keeps_vram
        try:
            vram_lost |= _twice_if_transient(rung, device)
            if vram_lost:
                road.start()
            _prove(device)
        except UsbGpuError as error:
            steps.append(Step(rung.name, time.monotonic() - started, error.found))
            # without its traceback, which holds this frame: a device that is closed is to go at once
            current = error.with_traceback(None)
            if _ends_it(rung, error):
                break
            continue
        except BaseException as error:
            road.failure = Failure(LinkError(f"A reset was interrupted ({type(error).__name__}).",
                                             "Call torch.usbgpu.reset()."))
            raise
        finally:
            road.patience_s = None
        steps.append(Step(rung.name, time.monotonic() - started, None))
        blocks, nbytes = _overwrite_lost(device) if vram_lost else (0, 0)
        device.gpu.failed = False
        return Report(_shown(first), tuple(steps), "all of VRAM" if vram_lost else rung.lost, vram_lost, blocks, nbytes)
    raise _given_up(device, first, current, steps)


def _twice_if_transient(rung: Rung, device: Device) -> bool:
    """A transfer that fails on the way is no reason to climb on, to where more is lost."""
    try:
        return rung.climb(device)
    except LinkError as error:
        if not is_transient(error):
            raise
        log.info("recovery: %s again, after %s", rung.name, error.found)
    return rung.climb(device)


def _hand_over(device: Device) -> UsbGpuError | None:
    """Nothing is known to be wrong: then what is queued need not be lost. Returns what went wrong now."""
    device.road.patience_s = SETTLE_SECONDS
    try:
        device.stream.synchronize()
    except UsbGpuError as error:
        return error
    except Exception as error:      # noqa: BLE001  of the program's data (an index out of bounds): not the device's
        log.info("handing over what was queued ended with %r", error)
    finally:
        device.road.patience_s = None
    return None


def _ends_it(rung: Rung, error: UsbGpuError) -> bool:
    """Nothing further up can help: there is no adapter to talk to, it is another kind of adapter now,
    or another card is behind it."""
    if isinstance(error, (DeviceLost, DeviceNotFound, UnsupportedChip, WrongMode)):
        return rung.name not in ("re-arm", "clear halt")
    return rung.name == "re-open" and isinstance(error, LinkTimeout)


def _prove(device: Device) -> None:
    """A trip over each queue and back. Code goes along each time: what was lost may have held some."""
    device.road.patience_s = PROOF_SECONDS
    device.stream.discard_pending()
    device.stream.clear_error_block()
    device.stream.synchronize()
    device.road.prove()


def _overwrite_lost(device: Device) -> tuple[int, int]:
    """So that nobody computes on with whatever lies there now. Returns how many blocks, and bytes."""
    lost = device.stream.fill_allocated(LOST_PATTERN)
    try:
        device.stream.synchronize()
    except UsbGpuError as error:
        log.warning("what was lost could not be overwritten: %s", error.found)
    return lost


def _shown(error: UsbGpuError | None) -> str | None:
    return f"[{error.code}] {error.found}" if error is not None else None


def _given_up(device: Device, first: UsbGpuError | None, last: UsbGpuError | None, steps: list[Step]) -> UsbGpuError:
    """The error that the user sees: chained to the first cause, which the device stays stopped with."""
    cause = first or last
    device.road.failure = Failure(cause)
    if isinstance(last, (DeviceLost, DeviceNotFound)):
        error: UsbGpuError = DeviceLost("The adapter is not plugged in.",
                                        "Plug the dock in again, then call reset() once more.")
    elif isinstance(last, UnsupportedChip) or steps[-1].rung == "re-open" and not isinstance(last, LinkError):
        error = last
    else:
        error = RecoveryFailed(f"The device did not come back. First cause: {cause.found if cause else 'none'}",
                               **{step.rung: step.error for step in steps})
    error.report = tuple(steps)
    error.__cause__ = first if first is not error else None
    return error


# ---- finding the adapter again

def given(handle: Any) -> OpenedHandle:
    """Somebody's own handle. It can be opened again if it says how: `reopen()`, which leaves it usable."""
    again = getattr(handle, "reopen", None)
    if not callable(again):
        return OpenedHandle(handle, "")

    def reopen() -> OpenedHandle:
        again()
        return given(handle)

    return OpenedHandle(handle, "", reopen=reopen)


def reattach(device: Device) -> None:
    """Closes the handle, and opens the same adapter as soon as it is there.

    Raises:
        DeviceNotFound: it is not plugged in within REOPEN_SECONDS.
    """
    reopen = device.opened.reopen
    if reopen is None:
        return              # the handle is all there is; perhaps it works again
    close_handle(device.handle)
    deadline = time.monotonic() + REOPEN_SECONDS
    while True:
        try:
            device.reattach(reopen())
            return
        except UsbGpuError:
            # not there yet, not ready yet, permissions not set yet
            if time.monotonic() > deadline:
                raise
        time.sleep(REOPEN_PAUSE_SECONDS)


def close_handle(handle: Any) -> None:
    """Never raises: the adapter may be gone."""
    close = getattr(handle, "close", None)
    if callable(close):
        try:
            close()
        except Exception as error:      # noqa: BLE001
            log.info("closing the handle ended with %r", error)


def _with_the_same_card(device: Device, boot: Callable[[], None]) -> None:
    """Addresses and code are of the card that was there before."""
    gpu = device.gpu
    before = gpu.arch, gpu.vram_bytes
    failed: UsbGpuError | None = None
    try:
        boot()
    except UsbGpuError as error:        # perhaps because it is another one
        failed = error
    try:
        if (gpu.arch, gpu.vram_bytes) != before:
            raise UnsupportedChip("Another card is in the dock now.", "Start the process again.", before=before[0],
                                  now=gpu.arch, bytes_before=before[1], bytes_now=gpu.vram_bytes) from failed
        if failed is not None:
            raise failed
    finally:
        del failed      # no cycle of frame and traceback
