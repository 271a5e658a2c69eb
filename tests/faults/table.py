"""The matrix: what each fault looks like from each moment. docs/faults.md is made of it (tests/faults/page.py), and
test_matrix.py holds the driver to it.
"""
from __future__ import annotations

from dataclasses import dataclass, field

# Moment -> what the driver is doing.
MOMENTS = {
    "boot": "the GPU is being brought up",
    "idle": "nothing is under way; the error comes with the next operation",
    "copy-in": "3 MiB are on their way to the GPU",
    "copy-out": "3 MiB are on their way back",
    "computing": "a kernel runs while the host does something else; the error comes when it asks for the result",
    "synchronising": "the host waits in synchronize()",
    "closing": "the device is being closed",
}

TIMEOUT_S = 3.0             # USBGPU_TIMEOUT_S of the tests
WORKS = "works"

# What makes it work again.
NOTHING, RESET, OPEN, REPLUG = "nothing", "reset", "open", "replug"
REMEDIES = {
    NOTHING: "nothing needs to be done: the same device goes on",
    RESET: "`Device.reset()` (`torch.usbgpu.reset()`); opening the device anew does too",
    OPEN: "opening the device anew",
    REPLUG: "plugging the dock in again, then opening the device anew",
}


@dataclass(frozen=True)
class Cell:
    """`outcome`: the class of the error, or WORKS. `seconds`: at most so long after the fault struck."""
    outcome: str
    seconds: float
    remedy: str

    def __str__(self) -> str:
        shown = "works on" if self.outcome == WORKS else f"`{self.outcome}`"
        after = "" if self.remedy == NOTHING else f", {self.remedy}"
        return f"{shown} ({self.seconds:g} s{after})"


@dataclass(frozen=True)
class Fault:
    """A row. `switches`: moment -> variants that must all end alike; "" for the moments that are not named.

    What is no switch of the emulated dock (`by`) is done by scenes.py: a kernel, a damaged file, a full memory.
    `speed`: how much faster the driver's clock runs while it boots or closes, so that its long time-outs pass;
    `waiting`: the same at the other moments.
    `known`: variants that do not hold yet, and why.
    `others`: variants that end otherwise than their cell says, with what they end in.
    """
    what: str
    cells: dict[str, Cell]
    switches: dict[str, tuple[str, ...]] = field(default_factory=dict)
    by: str = "switch"
    speed: float = 1.0
    waiting: float = 1.0
    others: dict[str, Cell] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)

    def variants(self, moment: str) -> tuple[str, ...]:
        return self.switches.get(moment, self.switches.get("", ("",)))


def row(everywhere: Cell, **others: Cell) -> dict[str, Cell]:
    named = {name.replace("_", "-"): cell for name, cell in others.items()}
    assert set(named) <= set(MOMENTS)
    return {moment: named.get(moment, everywhere) for moment in MOMENTS}


AT_ONCE, SOON = 3, 5
UNAFFECTED = Cell(WORKS, SOON, NOTHING)
CLOSED = Cell(WORKS, SOON, OPEN)         # close() ends, and the next start puts right what it could not
LOST = Cell("DeviceLost", AT_ONCE, REPLUG)
BROKEN = Cell("LinkError", AT_ONCE, RESET)
LATE = Cell("LinkTimeout", AT_ONCE, RESET)
HANGS = Cell("GpuHang", TIMEOUT_S + SOON, RESET)     # the time, and that of stopping what runs

FAULTS: dict[str, Fault] = {
    "unplug": Fault(
        "the USB cable is pulled",
        row(LOST, closing=Cell(WORKS, AT_ONCE, REPLUG)),
        {"boot": ("unplug:after=30", "unplug:after=150", "unplug:after=250"), "copy-in": ("unplug:after=9",),
         "copy-out": ("unplug:after=9",), "closing": ("unplug:after=2", "unplug"), "": ("unplug",)}),
    "stall": Fault(
        "the adapter refuses one transfer",
        row(UNAFFECTED, closing=CLOSED),
        {"boot": ("stall:F0:1:after=60", "stall:bulk-in:1:after=5", "stall:bulk-out:1:after=3", "stall:F2:1:after=1",
                  "stall:F2:1:after=6"),
         "idle": ("stall:F2:1", "stall:bulk-out:1", "stall:bulk-in:1", "stall:F0:1"),
         "copy-in": ("stall:bulk-out:1:after=5", "stall:F2:1:after=5"),
         "copy-out": ("stall:bulk-in:1:after=2", "stall:F2:1:after=2"),
         "closing": ("stall:F0:1:after=1", "stall:bulk-out:1"), "": ("stall:bulk-in:1",)}),
    "stall for good": Fault(
        "the adapter refuses all transfers of a kind",
        row(BROKEN, boot=Cell("LinkError", AT_ONCE, OPEN), closing=CLOSED),
        {"boot": ("stall:E4", "stall:bulk-in"), "idle": ("stall:F2", "stall:F0"),
         "copy-in": ("stall:bulk-out:after=5",), "copy-out": ("stall:bulk-in:after=2", "stall:F0:after=2"),
         "closing": ("stall:F0",), "": ("stall:F2",)},
        # A request as cheap as this is how the driver finds out whether the adapter is still there.
        others={"stall:E4": Cell("DeviceLost", AT_ONCE, OPEN)}),
    "time-out": Fault(
        "the adapter does not answer one transfer",
        row(UNAFFECTED, closing=CLOSED),
        {"boot": ("timeout:F0:1:after=60", "timeout:F2:1:after=1", "timeout:bulk-out:1:after=3"),
         "idle": ("timeout:F2:1", "timeout:bulk-out:1", "timeout:F0:1"),
         "copy-in": ("timeout:bulk-out:1:after=5", "timeout:F2:1:after=5"),
         "copy-out": ("timeout:F2:1:after=2", "timeout:F0:1:after=2"),
         "closing": ("timeout:F0:1:after=1",), "": ("timeout:F2:1",)}),
    "time-out for good": Fault(
        "the adapter does not answer any transfer of a kind",
        row(LATE, boot=Cell("LinkTimeout", AT_ONCE, OPEN), closing=CLOSED),
        {"boot": ("timeout:E4", "timeout:F2"), "idle": ("timeout:F2", "timeout:bulk-out"),
         "copy-in": ("timeout:bulk-out:after=5", "timeout:E4:after=2"), "copy-out": ("timeout:F0:after=2",),
         "closing": ("timeout:F0",), "": ("timeout:F2",)}),
    "short packet": Fault(
        "one answer ends early",
        row(UNAFFECTED, closing=CLOSED),
        {"boot": ("short-bulk:1:after=1", "short-bulk:1:after=20"), "copy-out": ("short-bulk:1:after=2",),
         "": ("short-bulk:1",)}),
    "short packets for good": Fault(
        "all answers by bulk transfer end early; small ones have another way",
        row(UNAFFECTED, boot=Cell("LinkError", AT_ONCE, OPEN), copy_out=BROKEN, closing=CLOSED),
        {"": ("short-bulk",)}),
    "lost landing": Fault(
        "data for the GPU is taken by the adapter once and never arrives in its memory",
        row(UNAFFECTED, closing=CLOSED),
        {"boot": ("lost-landing:1:after=3", "lost-landing:1:after=4", "lost-landing:1:after=24"), "copy-in": ("lost-landing:1:after=5",),
         "": ("lost-landing:1",)}, waiting=3),
    "lost landings for good": Fault(
        "no data for the GPU arrives any more",
        row(HANGS, boot=Cell("LinkTimeout", SOON, OPEN), copy_in=Cell("LinkTimeout", 2 * SOON, RESET),
            copy_out=UNAFFECTED, closing=CLOSED),
        {"copy-in": ("lost-landing:after=5",), "": ("lost-landing",)}, waiting=3),
    "link down": Fault(
        "the PCIe link between dock and card goes down",
        row(Cell("PcieLinkDown", AT_ONCE, RESET), boot=Cell("PcieLinkDown", AT_ONCE, OPEN), closing=CLOSED),
        {"boot": ("link-down:after=15", "link-down:after=41", "link-down:after=190"), "copy-in": ("link-down:after=9",),
         "copy-out": ("link-down:after=9",), "closing": ("link-down", "link-down:after=2"), "": ("link-down",)}),
    "adapter hang": Fault(
        "the adapter's firmware hangs, as it does when the link goes down under a stream read",
        row(Cell("LinkTimeout", AT_ONCE, REPLUG), closing=Cell(WORKS, SOON, REPLUG)),
        {"boot": ("adapter-hang:after=41", "adapter-hang:after=150"), "copy-in": ("adapter-hang:after=9",),
         "copy-out": ("adapter-hang:after=9",), "closing": ("adapter-hang", "adapter-hang:after=2"),
         "": ("adapter-hang",)}),
    "unsupported request": Fault(
        "the card stops claiming its addresses",
        row(Cell("LinkError", AT_ONCE, RESET), boot=UNAFFECTED, closing=CLOSED),
        {"boot": ("ur:after=100", "ur:after=2000", "ur:1:after=9"), "": ("ur",)}),
    "page fault": Fault(
        "a kernel writes to an address that is not mapped",
        row(Cell("GpuFault", AT_ONCE, RESET), boot=UNAFFECTED, closing=CLOSED), by="kernel:outside"),
    "illegal instruction": Fault(
        "a kernel runs into an instruction that the GPU does not have",
        row(Cell("IllegalInstruction", AT_ONCE, RESET), boot=UNAFFECTED, closing=CLOSED), by="kernel:illegal"),
    "endless kernel": Fault(
        "a kernel never ends",
        row(HANGS, boot=UNAFFECTED, closing=CLOSED), by="kernel:endless", waiting=3),
    "PSP silent": Fault(
        "the GPU's security processor stops answering",
        row(UNAFFECTED, boot=Cell("PspSilent", 40, OPEN), closing=CLOSED),
        {"boot": ("psp-silent", "psp-silent:after=2", "psp-silent:after=9"), "": ("psp-silent",)}, speed=20),
    "SMU silent": Fault(
        "the GPU's power controller stops answering",
        row(UNAFFECTED, boot=Cell("SmuSilent", 40, OPEN), closing=Cell(WORKS, 12, OPEN)),
        {"boot": ("smu-silent", "smu-silent:after=2"), "": ("smu-silent",)}, speed=20),
    "firmware corrupted": Fault(
        "a firmware file of the host is damaged",
        row(UNAFFECTED, boot=Cell("FirmwareMismatch", SOON, OPEN)),
        {"boot": ("cut off", "empty", "header", "signature", "another file"), "": ("cut off",)}, by="file"),
    "VRAM exhausted": Fault(
        "the GPU's memory is full; the operation itself needs none",
        row(Cell("OutOfMemory", AT_ONCE, NOTHING), boot=Cell("UnsupportedChip", AT_ONCE, OPEN)), by="memory"),
    "queue hang": Fault(
        "the compute engine takes no more packets",
        row(HANGS, copy_in=UNAFFECTED, copy_out=UNAFFECTED, boot=UNAFFECTED, closing=CLOSED),
        {"": ("queue-hang:until=engine",)}, waiting=3),
    "copy engine hang": Fault(
        "the copy engine takes no more packets",
        row(UNAFFECTED, copy_in=HANGS, copy_out=HANGS),
        {"copy-in": ("sdma-hang:until=engine:after=5",), "": ("sdma-hang:until=engine",)}, waiting=3),
}
