"""Which files which card needs."""
from __future__ import annotations

import re
from dataclasses import dataclass

from ..amdgpu.facts import load
from ..amdgpu.firmware import FirmwareStore, needs_kicker
from ..errors import ConfigError


@dataclass(frozen=True)
class NeededFile:
    name: str
    kind: str                      # "sos", "smu", ...
    chip: str                      # "navi31"
    boards: tuple[str, ...] = ()   # only these need it; empty: every board with the chip


def chips() -> dict[str, dict]:
    return load("chips")["chips"]


def needed_kinds(chip: str) -> list[str]:
    """What the boot sends to the GPU, in that order."""
    order = [step.split(":")[0] for step in chips()[chip]["firmware"]["load_order"] if not step.startswith("[")]
    return ["sos", *dict.fromkeys(order)]


def of_chip(chip: str) -> list[NeededFile]:
    """Every file that some board with this chip needs; those of few boards last."""
    boards = [(board["name"], int(board["device"], 16), int(board["revision"], 16))
              for board in load("pci_ids")["boards"] if board["chip"] == chip]
    plain = FirmwareStore(chips()[chip])
    files = {plain.file_name(kind): NeededFile(plain.file_name(kind), kind, chip) for kind in needed_kinds(chip)}
    special: dict[str, tuple[str, list[str]]] = {}
    for board, device, revision in boards:
        store = FirmwareStore(chips()[chip], kicker=needs_kicker(device, revision), revision=revision)
        for kind in needed_kinds(chip):
            if store.file_name(kind) not in files:
                special.setdefault(store.file_name(kind), (kind, []))[1].append(board)
    return [*files.values(), *(NeededFile(name, kind, chip, tuple(names)) for name, (kind, names) in special.items())]


def of_board(device: int, revision: int) -> list[NeededFile]:
    """
    Raises:
        ConfigError: no supported card has this PCI device id.
    """
    for board in load("pci_ids")["boards"]:
        if int(board["device"], 16) == device:
            store = FirmwareStore(chips()[board["chip"]], kicker=needs_kicker(device, revision), revision=revision)
            return [NeededFile(store.file_name(kind), kind, board["chip"]) for kind in needed_kinds(board["chip"])]
    raise ConfigError(f"No supported card has the PCI device id {device:04x}.", "Name a chip instead: "
                      f"{', '.join(chips())}.")


def of_cards(cards: tuple[str, ...]) -> list[NeededFile]:
    """`cards`: chips ("navi31"), their targets ("gfx1100"), or boards by PCI device and revision ("744c:c8").

    Raises:
        ConfigError: an unknown name.
    """
    found: dict[str, NeededFile] = {}
    by_name = {name.lower(): chip for chip, facts in chips().items() for name in (chip, facts["gfx_target"])}
    for card in cards or tuple(chips()):
        if chip := by_name.get(card.lower().replace(" ", "")):
            files = of_chip(chip)
        elif match := re.fullmatch(r"(?:1002:)?([0-9a-f]{4}):([0-9a-f]{2})", card.lower()):
            files = of_board(int(match[1], 16), int(match[2], 16))
        else:
            raise ConfigError(f"{card!r} is no card that this driver knows.", "Use a chip "
                              f"({', '.join(by_name)}), or PCI device and revision, such as 744c:c8.")
        for file in files:
            # what a board needs counts more than that others with the chip do
            if file.name not in found or not file.boards:
                found[file.name] = file
    return list(found.values())


def known_names() -> dict[str, NeededFile]:
    """Every file of every chip, by name."""
    return {file.name: file for chip in chips() for file in of_chip(chip)}
