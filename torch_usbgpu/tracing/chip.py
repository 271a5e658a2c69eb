"""Names of a board's registers by address, learnt from what crosses the cable.

Until the discovery table has been seen, the PCI device id tells the chip and chips.json its likely register bases.
"""
from __future__ import annotations

import re

from ..amdgpu import discovery
from ..amdgpu.facts import enum, load
from ..amdgpu.registers import CONFIG_MEMSIZE, MM_DATA, MM_INDEX, MM_INDEX_HI, RSMU_DATA, RSMU_INDEX, Register
from ..errors import UsbGpuError

FIXED = {MM_INDEX: "MM_INDEX", MM_DATA: "MM_DATA", MM_INDEX_HI: "MM_INDEX_HI", RSMU_INDEX: "RSMU_INDEX",
         RSMU_DATA: "RSMU_DATA", CONFIG_MEMSIZE: "RCC_CONFIG_MEMSIZE"}
# Mailbox registers whose values are commands: enums.json.
MAILBOXES = {r"MP1_SMN_C2PMSG_66": "smu_msg", r"MP(0|ASP)_SMN_C2PMSG_35": "psp_bootloader_cmd",
             r"MP(0|ASP)_SMN_C2PMSG_64": "psp_ctrl_cmd_id"}
INSTANCES = {"VM_CONTEXTn": 16, "VM_INVALIDATE_ENGn": 18, "SDMA0_QUEUEn": 8}


class Chip:
    """The board's registers. `name` is "navi31" or None while unknown."""

    def __init__(self, name: str | None = None) -> None:
        self.name: str | None = None
        self.certain = False                 # the discovery table has been read
        self.by_address: dict[int, Register] = {}
        if name:
            self.assume(name)

    @property
    def family(self) -> str:
        """Key of the page-table format."""
        target = load("chips")["chips"][self.name]["gfx_target"] if self.name else "gfx11"
        return "gfx12" if target.startswith("gfx12") else "gfx11"

    @property
    def arch(self) -> str | None:
        return load("chips")["chips"][self.name]["gfx_target"] if self.name else None

    def assume(self, name: str) -> None:
        """Take a chip's usual register bases."""
        self._load(name, load("chips")["ip_bases"]["segments"])

    def assume_device(self, device: int) -> None:
        """A PCI device id was seen."""
        if self.name:
            return
        for board in load("pci_ids")["boards"]:
            if int(board["device"], 16) == device:
                self.assume(board["chip"])
                return

    def learn(self, binary: bytes) -> bool:
        """The board's discovery table was read. False: it is not whole or not known."""
        try:
            table = discovery.parse(binary)
            name, chip = discovery.identify_chip(table)
        except (UsbGpuError, IndexError, KeyError, ValueError):
            return False
        self._load(name, {ip: list(table.find(ip).bases) for ip in chip["register_files"]})
        self.certain = True
        return True

    def _load(self, name: str, bases: dict[str, list[int]]) -> None:
        self.name = name
        self.by_address = {address: Register(text, address, {}) for address, text in FIXED.items()}
        for ip, file in load("chips")["chips"][name]["register_files"].items():
            content = load(f"registers/{file}")
            for register, entry in content["registers"].items():
                segments = bases.get(ip, [])
                if entry["seg"] < len(segments):
                    address = segments[entry["seg"]] + entry["off"]
                    fields = {field: (lsb, msb) for field, (lsb, msb) in entry["fields"].items()}
                    self.by_address[address] = Register(register, address, fields)
            self._add_instances(content["strides_dwords"])

    def _add_instances(self, strides: dict[str, int]) -> None:
        """Registers that exist several times, a stride apart, of which the files name the first."""
        for pattern, stride in strides.items():
            kind = next((kind for kind in INSTANCES if pattern.startswith(kind)), None)
            if kind is None:
                continue
            template = re.compile(re.escape(pattern).replace("n", "0", 1) if pattern.startswith("SDMA")
                                  else r"\w*" + re.escape(pattern.replace("n", "0", 1)))
            first = [register for register in self.by_address.values() if template.match(register.name)]
            for register in first:
                for instance in range(1, INSTANCES[kind]):
                    address = register.address + instance * stride
                    name = register.name.replace(kind.replace("n", "0"), kind.replace("n", str(instance)))
                    if name != register.name:
                        self.by_address.setdefault(address, Register(name, address, register.fields))

    def register(self, address: int) -> Register | None:
        return self.by_address.get(address)

    def register_name(self, address: int) -> str:
        found = self.by_address.get(address)
        return found.name if found else f"reg {address:#x}"

    def command(self, register: str, value: int) -> str | None:
        """What a value means in a mailbox of the PSP or the SMU."""
        group = next((group for pattern, group in MAILBOXES.items() if re.fullmatch(pattern, register)), None)
        if group is None or not self.name:
            return None
        names = enum(group)
        if group == "smu_msg":
            version = load("chips")["chips"][self.name]["ip_versions"]["MP1"].split(".")
            names = names.get(f"{version[0]}.{version[1]}.x", {})
        return next((name for name, number in names.items() if number == value), None)

    def fields(self, address: int, value: int) -> dict[str, int]:
        """The non-zero fields of a register's value."""
        register = self.by_address.get(address)
        if register is None:
            return {}
        return {name: content for name in register.fields if (content := register.extract(value, name))}
