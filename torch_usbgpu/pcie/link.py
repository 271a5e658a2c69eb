"""Speed and width of the PCIe links between the adapter and the GPU, by the functions' own registers.

Source: PCI Express Base Specification 7.5.3 (PCI Express capability): link capabilities at +0x0C, link status at +0x12.
The speed fields are indices into the supported-speeds vector, which for every generation so far are 2.5 GT/s to 64 GT/s
in order.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..errors import LinkError
from .config import ConfigSpace, PciFunction

STATUS, STATUS_CAPABILITY_LIST = 0x06, 1 << 4
CAPABILITIES = 0x34
EXPRESS = 0x10
FIRST_CAPABILITY = 0x40          # lower addresses are the header
LINK_CAPABILITIES, LINK_STATUS = 0x0C, 0x12
GT_PER_S = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}


@dataclass(frozen=True)
class Link:
    """One function's side of its link. Generation 3 = 8 GT/s per lane, and so on."""

    bus: int
    vendor: int
    generation: int
    lanes: int
    most_generation: int
    most_lanes: int

    @property
    def gt_per_s(self) -> float | None:
        return GT_PER_S.get(self.generation)

    @property
    def gb_per_s(self) -> float | None:
        """What the line code leaves of it, in each direction: 8b/10b up to generation 2, 128b/130b from 3 on."""
        if self.gt_per_s is None:
            return None
        return self.lanes * self.gt_per_s * (8 / 10 if self.generation < 3 else 128 / 130) / 8

    def __str__(self) -> str:
        return f"generation {self.generation} x{self.lanes}"


def read_link(adapter, bus: int, device: int = 0, function: int = 0) -> Link | None:
    """The link of one function, or None where it has no such capability. The road to it must be configured.

    Raises:
        LinkError: nobody answers there.
    """
    space = ConfigSpace(adapter, bus, device, function)
    at = _express(space)
    if at is None:
        return None
    most, status = space.read(at + LINK_CAPABILITIES), space.read(at + LINK_STATUS, 2)
    return Link(bus, space.read(0, 2), status & 0xF, status >> 4 & 0x3F, most & 0xF, most >> 4 & 0x3F)


def _express(space: ConfigSpace) -> int | None:
    """Offset of the PCI Express capability. The list is followed as often as it can have entries."""
    if not space.read(STATUS, 2) & STATUS_CAPABILITY_LIST:
        return None
    at = space.read(CAPABILITIES, 1) & 0xFC
    for _ in range((0x100 - FIRST_CAPABILITY) // 4):
        if at < FIRST_CAPABILITY:
            return None
        head = space.read(at, 2)
        if head & 0xFF == EXPRESS:
            return at
        at = head >> 8 & 0xFC
    return None


def road(adapter, gpu: PciFunction) -> list[Link]:
    """The links of all functions from the adapter to the GPU, as far as they tell. The road must be configured."""
    links = []
    for bus in range(gpu.bus + 1):
        try:
            link = read_link(adapter, bus)
        except LinkError:
            continue            # a function that hides is none of our concern here
        if link is not None:
            links.append(link)
    return links


def narrowest(links: list[Link]) -> Link | None:
    """The link that bounds what the GPU can move: with a card that has its own switch, not the GPU's."""
    usable = [link for link in links if link.gb_per_s]
    return min(usable, key=lambda link: link.gb_per_s, default=None)


def describe(adapter, gpu: PciFunction) -> dict:
    """For people and tools: the GPU's own link, and the one that everything must pass."""
    links = road(adapter, gpu)
    own = next((link for link in links if link.bus == gpu.bus), None)
    shown = {}
    for name, link in (("gpu", own), ("narrowest", narrowest(links))):
        shown[name] = None if link is None else {
            "bus": link.bus, "generation": link.generation, "gt_per_s": link.gt_per_s, "lanes": link.lanes,
            "most_generation": link.most_generation, "most_lanes": link.most_lanes, "gb_per_s": link.gb_per_s}
    return shown
