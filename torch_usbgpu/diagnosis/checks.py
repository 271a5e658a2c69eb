"""The examination, as a list of checks. Each looks at one thing, says what it saw, and stops what depends on it.

Nothing here disturbs a process that uses the dock: the dock is opened under its lock, or not at all.
"""
from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

from ..errors import ConfigError, LinkTimeout, UsbGpuError
from . import rates, selftest
from .findings import Finding, finding, from_error, with_process
from .states import OK, PROBLEM, WARNING

log = logging.getLogger(__name__)

SKIPPED = "skipped"
# A problem -> warnings that are only another side of it.
COVERS = {"dock-in-usb4-mode": ("usb2-link",)}
RETRIES_OF_A_GOOD_LINK = 5
HANG_SECONDS = "10"         # a test kernel that works takes milliseconds


class Stop(Exception):
    """The check found a problem, and what builds on it makes no sense."""

    def __init__(self, found: Finding) -> None:
        super().__init__(found.seen)
        self.finding = found


@dataclass
class Examination:
    """What the checks share: opened things, findings, facts for a bug report.

    Args:
        given: a value of USBGPU_DEVICE, or an adapter that is open (an OpenedHandle).
    """

    given: Any
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    rates: list[rates.Rate] = field(default_factory=list)
    opened: Any = None
    adapter: Any = None
    gpu: Any = None
    device: Any = None
    compiler: Any = None

    @property
    def gbps(self) -> float | None:
        return self.facts.get("dock", {}).get("usb_gbps")

    @property
    def fast(self) -> bool:
        """Are the rates of the open firmware to be expected?"""
        return self.facts.get("dock", {}).get("mode") != "legacy"

    def note(self, found: Finding) -> None:
        """A warning: the examination goes on."""
        self.findings.append(found)

    def close(self) -> None:
        """Never raises: the first cause is what counts."""
        for thing in (self.device, None if self.device else self.opened and self.opened.handle):
            if thing is not None and hasattr(thing, "close"):
                try:
                    thing.close()
                except Exception as error:      # also USB's own, of a dock that is gone
                    log.info("closing ended with %r", error)
        self.device = self.opened = None


def look_at_software(exam: Examination) -> str:
    versions = {}
    for package in ("torch_usbgpu", "torch", "numpy", "libusb1", "libusb-package", "ziglang"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    exam.facts |= {"python": platform.python_version(), "system": platform.platform(), "packages": versions}
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def open_dock(exam: Examination) -> str:
    from .. import usb

    if not isinstance(exam.given, str):
        exam.opened = exam.given
    else:
        # "auto" would put the emulated GPU in the place of a missing dock, which is what the doctor is asked about.
        exam.opened = usb.open_handle("usb" if usb.parse_spec(exam.given).kind == "auto" else exam.given)
    if exam.opened.may_sleep:
        exam.note(finding("autosuspend", f"The system may put the dock ({exam.opened.label}) to sleep: its "
                                         "power/control is not on, and this user may not change it."))
    return exam.opened.label


def look_at_dock_firmware(exam: Examination) -> str:
    from .. import usb

    identity = usb.identify(exam.opened.handle)
    exam.facts["dock"] = {"label": exam.opened.label, **identity.as_dict()}
    exam.adapter = usb.adapter_for(exam.opened.handle)
    if identity.mode == "legacy":
        exam.note(finding("legacy-firmware", f"The dock calls itself {identity.product!r}.", ids=identity.ids))
    serial = f", serial {identity.unique_serial}" if identity.unique_serial else ""
    what = identity.generation or identity.mode
    return f"{identity.product or 'no name'} ({identity.ids or 'no ids'}, {what}{serial})"


def look_at_usb_link(exam: Examination) -> str:
    exam.adapter.start()
    _describe(exam, "usb_gbps")         # the dock itself knows, where the handle does not
    gbps = exam.gbps
    if gbps is None:
        return "the system does not tell its speed"
    if gbps < 5:
        exam.note(finding("usb2-link", f"The dock is connected at {gbps:g} Gb/s.", usb_gbps=gbps))
    elif gbps < 10:
        exam.note(finding("usb-5g-link", f"The dock is connected at {gbps:g} Gb/s.", usb_gbps=gbps))
    return f"{gbps:g} Gb/s"


def look_at_pcie_link(exam: Examination) -> str:
    exam.adapter.raise_link()
    shown = _describe(exam, "pcie_")
    if exam.adapter.has_sram:
        exam.rates.append(rates.measure_sram(exam.adapter, exam.gbps, exam.fast))
    known = shown.get("pcie_generation") and shown.get("pcie_lanes")
    return f"up, generation {shown['pcie_generation']} x{shown['pcie_lanes']}" if known else "up"


def _describe(exam: Examination, prefix: str) -> dict[str, Any]:
    """What the dock's registers tell. They are no part of the protocol: a dock without them is no worse for it."""
    with contextlib.suppress(LinkTimeout):
        shown = {name: value for name, value in exam.adapter.describe().items() if name.startswith(prefix)}
        exam.facts["dock"] |= shown
        return shown
    return {}


def look_at_card(exam: Examination) -> str:
    from ..amdgpu import Gpu, boot
    from ..pcie import link

    exam.gpu = Gpu(exam.adapter, exam.opened.firmware_dirs)
    for step in boot.FIND:
        boot.do(exam.gpu, step)
    gpu = exam.gpu
    exam.facts["card"] = {
        "name": gpu.name, "chip": gpu.chip_name, "arch": gpu.arch, "vram_bytes": gpu.vram_bytes,
        "pci_id": f"{gpu.pci.vendor:04x}:{gpu.pci.device:04x} rev {gpu.pci.revision:02x}",
        "bar0_bytes": gpu.pci.bars[0].size}
    with contextlib.suppress(LinkTimeout):
        exam.facts["card"]["links"] = link.describe(exam.adapter, gpu.pci)
    return f"{gpu.name} ({gpu.chip_name}, {gpu.arch}), {gpu.vram_bytes >> 30} GiB"


def look_at_state(exam: Examination) -> str:
    from ..amdgpu import boot

    if boot.is_warm(exam.gpu):
        state = "warm"
    else:
        state = "dirty" if exam.gpu.psp.is_alive() else "cold"
    exam.facts["card"]["found"] = state
    return {"warm": "left in order by this driver", "cold": "as after power-on",
            "dirty": "left running by its last user; the boot resets it"}[state]


def look_at_firmware_files(exam: Examination) -> str:
    """All of them, so that the user need not come back for each."""
    store = exam.gpu.firmware
    kinds = list(dict.fromkeys(["sos", *(kind for kind, _ in store.load_order() if kind)]))
    found, errors = {}, []
    for kind in kinds:
        try:
            file = store.file(kind)
            found[file.name] = {"from": file.origin, "version": f"{file.version:#x}"}
        except UsbGpuError as error:
            errors.append(error)
    exam.facts["firmware_files"] = found
    if errors:
        raise Stop(replace(from_error(errors[0]), seen=" ".join(error.found for error in errors)))
    return f"{len(found)} files"


def look_for_compiler(exam: Examination) -> str:
    from ..compiler import toolchain

    compiler = toolchain.find()
    exam.compiler = compiler
    exam.facts["compiler"] = {"command": " ".join(compiler.command), "version": compiler.identity}
    if compiler.origin != "wheel":
        why = "USBGPU_CLANG names it" if compiler.origin == "named" else "ziglang is not installed"
        exam.note(finding("fallback-compiler", f"{compiler.identity} at {compiler.command[0]} ({why}).",
                          oldest=toolchain.OLDEST, newest_tried=toolchain.NEWEST_TRIED))
    return compiler.identity


def boot_gpu(exam: Examination) -> str:
    from ..amdgpu import Gpu
    from ..runtime import Device

    if exam.compiler is None:       # the runtime's own kernels need one; the boot does not
        gpu = exam.gpu = Gpu(exam.adapter, exam.opened.firmware_dirs)
        gpu.boot()
        gpu.shutdown()
    else:
        exam.device = Device(exam.opened.handle, exam.opened.firmware_dirs)
        gpu = exam.device.gpu
    exam.facts["boot"] = {"milliseconds": round(sum(step.seconds for step in gpu.boot_log) * 1e3),
                          "transfers": sum(step.transfers for step in gpu.boot_log),
                          "compute_units": gpu.compute_units}
    first_failure = next((step.detail for step in gpu.boot_log if step.detail.startswith("FAILED: ")), None)
    if exam.facts["card"]["found"] == "dirty":
        exam.note(finding("board-was-dirty", "The GPU was running when the dock was opened, and not left by this "
                                             "driver in order; it has been reset."))
    elif first_failure:
        exam.note(finding("second-start", f"The first start ended with: {first_failure.removeprefix('FAILED: ')}"))
    return f"{exam.facts['boot']['transfers']} transfers, {gpu.compute_units} compute units"


def run_kernel(exam: Examination) -> str:
    from .. import compiler

    code = compiler.compile(selftest.SOURCE, exam.device.arch, name="self_test.hip")
    wrong = selftest.run(exam.device, code)
    if wrong:
        raise Stop(finding("wrong-result", wrong))
    return f"{selftest.GROUPS * selftest.THREADS} results, all as expected"


def measure_rates(exam: Examination) -> str:
    try:
        exam.rates += rates.measure_device(exam.device, exam.gbps, exam.fast)
    except ValueError as error:
        raise Stop(finding("data-changed", f"{error}.")) from error
    stats = exam.device.link_stats()
    exam.facts["link_stats"] = {name: stats[name] for name in ("control_out", "control_in", "bulk_out", "bulk_in",
                                                               "errors", "retries")}
    # After a reset a card may ask for a second try for up to a second; that is no fault.
    if stats["retries"] > RETRIES_OF_A_GOOD_LINK and exam.facts["card"]["found"] != "dirty":
        exam.note(finding("transfers-repeated", f"{stats['retries']} of {stats['control_in']} requests were repeated."))
    slow = [rate for rate in exam.rates if not rate.enough]
    if slow:
        exam.note(finding("slow-transfers", "; ".join(
            f"{rate}, {rates.shown(rate.expected)} expected" for rate in slow) + "."))
    return ", ".join(map(str, exam.rates))


@dataclass(frozen=True)
class Check:
    name: str
    look: Callable[[Examination], str]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("software", look_at_software),
    Check("dock", open_dock),
    Check("dock firmware", look_at_dock_firmware, ("dock",)),
    Check("USB link", look_at_usb_link, ("dock firmware",)),
    Check("PCIe link", look_at_pcie_link, ("USB link",)),
    Check("card", look_at_card, ("PCIe link",)),
    Check("state of the card", look_at_state, ("card",)),
    Check("firmware files", look_at_firmware_files, ("card",)),
    Check("compiler", look_for_compiler),
    Check("boot", boot_gpu, ("state of the card", "firmware files")),
    Check("test kernel", run_kernel, ("boot", "compiler")),
    Check("rates", measure_rates, ("test kernel",)),
)


@dataclass(frozen=True)
class Outcome:
    """How a check ended: "ok", "warning", "problem" or "skipped"."""

    name: str
    result: str
    seen: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "result": self.result, "seen": self.seen, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Report:
    device: str
    findings: list[Finding]
    outcomes: list[Outcome]
    rates: list[rates.Rate]
    facts: dict[str, Any]

    @property
    def works(self) -> bool:
        return all(found.severity != PROBLEM for found in self.findings)

    def as_dict(self) -> dict[str, Any]:
        return {"device": self.device, "works": self.works, "findings": [found.as_dict() for found in self.findings],
                "checks": [outcome.as_dict() for outcome in self.outcomes],
                "rates": [rate.as_dict() for rate in self.rates], "facts": self.facts}


def examine(given: Any, tell: Callable[[Outcome], None] = lambda outcome: None) -> Report:
    """Run all checks.

    Args:
        given: a value of USBGPU_DEVICE; or an OpenedHandle, or any object with python-libusb1's transfer methods, which
            is closed at the end if it can be.
        tell: called with the outcome of each check as soon as it is known.

    Raises:
        ConfigError: `given` names no device, or an environment variable holds nonsense.
    """
    from .. import usb

    if isinstance(given, str):
        usb.parse_spec(given)
    elif not isinstance(given, usb.OpenedHandle):
        given = usb.OpenedHandle(given, "given")
    exam, outcomes = Examination(given), []
    failed: dict[str, str] = {}          # check -> the one whose problem is the cause
    with _patience():
        try:
            for check in CHECKS:
                outcome = _skip(check, failed) or _look(check, exam)
                if outcome.result == PROBLEM:
                    failed[check.name] = check.name
                elif outcome.result == SKIPPED:
                    failed[check.name] = failed[next(name for name in check.needs if name in failed)]
                outcomes.append(outcome)
                tell(outcome)
        finally:
            exam.close()
    findings = sorted(exam.findings, key=lambda found: found.severity != PROBLEM)
    if not findings:
        findings = [finding("all-well", f"{exam.facts['card']['name']}: {outcomes[-1].seen}.")]
    return Report(given if isinstance(given, str) else given.label, findings, outcomes, exam.rates, exam.facts)


def _skip(check: Check, failed: dict[str, str]) -> Outcome | None:
    cause = next((failed[name] for name in check.needs if name in failed), None)
    return Outcome(check.name, SKIPPED, f"because of: {cause}", 0.0) if cause else None


def _look(check: Check, exam: Examination) -> Outcome:
    started, before = time.perf_counter(), len(exam.findings)
    try:
        seen = check.look(exam)
    except Stop as stop:
        found = stop.finding
    except ConfigError:             # not a state of the machine, but a wrong word of the user's
        raise
    except UsbGpuError as error:
        found = with_process(from_error(error))
    except Exception as error:      # a fault of ours, or a machine that nobody thought of: say so, but go on
        found = finding("other-error", f"{type(error).__name__} in check {check.name!r}: {error}")
    else:
        result = WARNING if len(exam.findings) > before else OK
        return Outcome(check.name, result, seen, time.perf_counter() - started)
    covered = {found.state.name, *COVERS.get(found.state.name, ())}
    exam.findings = [warned for warned in exam.findings if warned.state.name not in covered] + [found]
    return Outcome(check.name, PROBLEM, found.seen, time.perf_counter() - started)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """A hang is to be found in seconds, unless the user has chosen."""
    if "USBGPU_TIMEOUT_S" in os.environ:
        yield
        return
    os.environ["USBGPU_TIMEOUT_S"] = HANG_SECONDS
    try:
        yield
    finally:
        os.environ.pop("USBGPU_TIMEOUT_S", None)
