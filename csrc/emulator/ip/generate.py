"""Turns asic/*.json into one C++ header of facts: registers, fields, enums, byte layouts, chips.

Registers of all supported chips share one enumeration; addresses and fields are
per chip, because the same field sits at other bits in another generation.
"""
from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

ASIC = Path(__file__).resolve().parents[3] / "torch_usbgpu" / "amdgpu" / "asic"
CHIPS = ["navi31"]  # a chip is added by adding its name: everything else about it is data
KEYWORDS = {"register", "default", "class", "public", "private", "auto", "union", "switch", "case"}


def load(name: str):
    return json.loads((ASIC / name).read_text())


def identifier(name: str) -> str:
    name = re.sub(r"\W", "_", name)
    if name[0].isdigit():
        name = "v" + name
    return name + "_" if name in KEYWORDS else name


def register_file_names() -> list[str]:
    chips = load("chips.json")["chips"]
    return sorted({file for chip in CHIPS for file in chips[chip]["register_files"].values()})


def inputs() -> list[Path]:
    names = ["chips.json", "enums.json", "structs.json", "psp_images.json"]
    return [ASIC / n for n in names] + [ASIC / "registers" / f"{n}.json" for n in register_file_names()]


def enum_lines(name: str, values, indent: str = "") -> list[str]:
    """Nested dictionaries become nested namespaces; a pair [lsb, msb] becomes two constants."""
    rows = []
    for key, value in values.items():
        if key.startswith("_"):
            continue
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, int):
            kind = "uint64_t" if value > 0xFFFFFFFF else "uint32_t"
            rows.append(f"{indent}  inline constexpr {kind} {identifier(key)} = {value:#x};")
        elif isinstance(value, dict):
            rows += enum_lines(key, value, indent + "  ")
    return [f"{indent}namespace {identifier(name)} {{", *rows, f"{indent}}}"] if rows else []


def struct_lines(structs) -> list[str]:
    rows = []
    for name, struct in structs.items():
        if name.startswith("_"):
            continue
        rows.append(f"namespace {identifier(name)} {{ inline constexpr size_t total_bytes = {struct['size']};")
        for field, where in struct["fields"].items():
            if len(where) == 2:
                rows.append(f"  inline constexpr size_t {identifier(field)} = {where[0]};")
        rows.append("}")
    return rows


class Chip:
    def __init__(self, name: str, chips):
        self.name, self.facts = name, chips["chips"][name]
        self.segments = chips["ip_bases"]["segments"]
        self.address: dict[str, int] = {}
        self.fields: dict[str, tuple[int, int]] = {}
        for file in self.facts["register_files"].values():
            data = load(f"registers/{file}.json")
            bases = self.segments[data["base_of"]]
            for register, row in data["registers"].items():
                self.address[register] = bases[row["seg"]] + row["off"]
                for field, (lsb, msb) in row["fields"].items():
                    self.fields[f"{register}__{identifier(field)}"] = (lsb, msb)


def chip_lines(chip: Chip, registers: list[str], fields: list[str], images) -> list[str]:
    name, facts, geometry = chip.name, chip.facts, chip.facts["geometry"]
    enums = load("enums.json")
    types = enums["psp_gfx_fw_type"]
    kinds = images["firmware_kinds"]
    required = [step.split(":")[1] for step in facts["firmware"]["load_order"] if ":" in step]
    ids = {"GC": "GC", "SDMA0": "SDMA0", "MMHUB": "MMHUB", "NBIO": "NBIF", "MP0": "MP0", "MP1": "MP1", "HDP": "HDP",
           "OSSSYS": "OSSSYS"}
    rows = [f"inline constexpr uint32_t {name}_addresses[] = {{",
            *(f"  {chip.address.get(r, 0xFFFFFFFF):#x},  // {r}" for r in registers), "};",
            f"inline constexpr FieldFact {name}_fields[] = {{",
            *(f"  {{{lsb}, {msb}}}," for lsb, msb in (chip.fields.get(f, (0, 0)) for f in fields)), "};"]
    for ip in ids:
        bases = ", ".join(f"{b:#x}" for b in chip.segments[ip])
        rows.append(f"inline constexpr uint32_t {name}_{ip}_bases[] = {{{bases}}};")
    rows.append(f"inline constexpr IpFact {name}_ips[] = {{")
    for ip, hw in ids.items():
        version = ", ".join(facts["ip_versions"][ip].split("."))
        rows.append(f'  {{"{ip}", {enums["hw_id"][hw]}, {{{version}}}, {name}_{ip}_bases}},')
    rows += ["};", f"inline constexpr FirmwareFact {name}_firmware[] = {{"]
    for kind, number in kinds.items():
        rows.append(f'  {{"{kind}", {types[kind]}, {number:#x}, {str(kind in required).lower()}}},')
    g = {key: geometry[key] for key in ("num_se", "num_sa_per_se", "num_wgp_per_sa", "max_waves_per_simd",
                                        "max_scratch_slots_per_cu", "gc_lds_size_kib", "wave_size", "num_gl2c")}
    rows += ["};", f"inline constexpr ChipFacts {name} = {{",
             f'  "{name}", "{facts["gfx_target"]}", {geometry["vram_bytes_typical"]}ull,',
             "  {" + ", ".join(str(v) for v in g.values()) + "},",
             f"  {name}_addresses, {name}_fields, {name}_ips, {name}_firmware}};"]
    return rows


def generate(out: Path) -> None:
    chips, images = load("chips.json"), load("psp_images.json")
    built = [Chip(name, chips) for name in CHIPS]
    registers = sorted({r for c in built for r in c.address})
    fields = sorted({f for c in built for f in c.fields})
    lines = ["// Generated by csrc/emulator/ip/generate.py. Do not edit.", "#pragma once", "#include <cstddef>",
             "#include <cstdint>", '#include "emulator/ip/facts.h"', "namespace usbgpu::emulator {",
             "enum class Reg : uint16_t {", *(f"  {identifier(r)}," for r in registers), "  count };",
             "inline constexpr const char* register_names[] = {", *(f'  "{r}",' for r in registers), "};",
             "enum class Field : uint16_t {", *(f"  {f}," for f in fields), "  count };",
             "inline constexpr const char* field_names[] = {", *(f'  "{f}",' for f in fields), "};",
             "inline constexpr Reg field_registers[] = {",
             *(f"  Reg::{identifier(f.split('__')[0])}," for f in fields), "};",
             *enum_lines("facts", load("enums.json")),
             *enum_lines("psp_image", images),
             "namespace layout {", *struct_lines(load("structs.json")), "}",
             "namespace chips {"]
    for chip in built:
        lines += chip_lines(chip, registers, fields, images)
    lines += ["inline constexpr const ChipFacts* all[] = {" + ", ".join(f"&{c.name}" for c in built) + "};",
              "}", "}", ""]
    (out / "register_tables.h").write_text("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.inputs:
        print("\n".join(map(str, inputs())))
    else:
        generate(arguments.out)
