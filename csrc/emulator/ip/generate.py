"""Turns asic/*.json into C++ headers of facts: registers, fields, enums, byte layouts; the chips.

Registers of all supported chips share one enumeration; addresses and fields are
per chip, because the same field sits at other bits in another generation.
"""
from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

ASIC = Path(__file__).resolve().parents[3] / "torch_usbgpu" / "amdgpu" / "asic"
CHIPS = ["navi31", "navi32", "navi33", "navi44", "navi48"]  # a chip is added by adding its name: all else is data

# One register, two names: what the blocks of the model call it, and how a later generation's files call it.
# A chip answers to both.
ALIASES = [(re.compile(pattern), name) for pattern, name in (
    (r"MPASP_SMN_(C2PMSG_\d+)", r"MP0_SMN_\1"),
    (r"GDC_S2A0_(S2A_DOORBELL_ENTRY_\d+_CTRL)", r"\1"),
    (r"((?:GC|MM)VM_L2_PROTECTION_FAULT_STATUS)_LO32", r"\1"),
    (r"(SDMA\d)_MCU_CNTL", r"\1_F32_CNTL"),
    (r"GRBM_((?:CC_GC|GC_USER)_SA_UNIT_DISABLE)", r"\1"),
)]
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
    names = ["chips.json", "boards.json", "enums.json", "structs.json", "psp_images.json"]
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
    def __init__(self, name: str, chips, boards):
        self.name, self.facts = name, chips["chips"][name]
        self.generation = "gfx" + self.facts["ip_versions"]["GC"].split(".")[0]
        self.board, self.traits = boards["chips"][name], boards["generations"][self.generation]
        self.structs = load("structs.json")
        self.segments = chips["ip_bases"]["segments"] | boards["extra_bases"]
        self.address: dict[str, int] = {}
        self.fields: dict[str, tuple[int, int]] = {}
        for file in self.facts["register_files"].values():
            data = load(f"registers/{file}.json")
            bases = self.segments[data["base_of"]]
            for register, row in data["registers"].items():
                for name in {register, *(p.sub(to, register) for p, to in ALIASES if p.fullmatch(register))}:
                    self.address[name] = bases[row["seg"]] + row["off"]
                    for field, (lsb, msb) in row["fields"].items():
                        self.fields[f"{name}__{identifier(field)}"] = (lsb, msb)


def array(kind: str, name: str, values) -> list[str]:
    values = list(values)
    return [f"inline constexpr {kind} {name}[] = {{", *(f"  {v}," for v in values), "};"]


def ip_lines(chip: Chip, hw_ids) -> list[str]:
    """What the discovery table lists: the blocks of chips.json, SDMA1, and those that only show themselves."""
    versions = dict(chip.facts["ip_versions"])
    blocks = [(ip, "NBIF" if ip == "NBIO" else ip, ip, version) for ip, version in versions.items()]
    blocks += [("SDMA1", "SDMA1", "SDMA0", versions["SDMA0"])]
    blocks += [(ip, ip, ip, version) for ip, version in chip.traits["extra_ips"].items()]
    rows, table = [], []
    for ip, hw, bases, version in blocks:
        rows += array("uint32_t", f"{chip.name}_{ip}_bases", (f"{b:#x}" for b in chip.segments[bases]))
        table.append(f'{{"{ip}", {hw_ids[hw]}, {{{", ".join(version.split("."))}}}, {chip.name}_{ip}_bases}}')
    return rows + array("IpFact", f"{chip.name}_ips", table)


def firmware_lines(chip: Chip, enums, images) -> list[str]:
    """Everything the ring takes on this chip: number, image kind, needed for autoload."""
    kinds = images["firmware_kinds"] | images["generation_kinds"][chip.facts["ip_versions"]["MP0"].split(".")[0]]
    kinds |= {name: kinds[of] for name, of in images["same_image"].items()}
    required = [step.split(":")[1] for step in chip.facts["firmware"]["load_order"] if ":" in step]
    types = enums["psp_gfx_fw_type"]
    return array("FirmwareFact", f"{chip.name}_firmware",
                 (f'{{"{kind}", {types[kind]}, {number:#x}, {str(kind in required).lower()}}}'
                  for kind, number in kinds.items() if number is not None))


def boot_lines(chip: Chip, enums, images) -> list[str]:
    """The boot loader's components of this chip, in the order of their time."""
    commands = {
        "KDB": "LOAD_KEY_DATABASE",
        "SPL": "LOAD_TOS_SPL_TABLE",
        "SYS_DRV": "LOAD_SYSDRV",
        "SOC_DRV": "LOAD_SOCDRV",
        "INTF_DRV": "LOAD_INTFDRV",
        "DBG_DRV": "LOAD_DBGDRV",
        "RAS_DRV": "LOAD_RASDRV",
        "IPKEYMGR_DRV": "LOAD_IPKEYMGRDRV",
        "SOS": "LOAD_SOSDRV",
    }
    kinds, rows = images["bootloader_kinds"], []
    for name, command in commands.items():
        if name in chip.board["boot_required"] + chip.board["boot_optional"]:
            other = kinds["KDB"] if name == "SPL" and chip.traits["spl_may_be_kdb"] else 0
            needed = str(name in chip.board["boot_required"]).lower()
            rows.append(f'{{"{name}", {enums["psp_bootloader_cmd"][command]:#x}, {kinds[name]}, {other}, {needed}}}')
    return array("BootFact", f"{chip.name}_boot", rows)


def chip_lines(chip: Chip, registers: list[str], fields: list[str], images) -> list[str]:
    name, geometry, enums = chip.name, chip.facts["geometry"], load("enums.json")
    rows = array("uint32_t", f"{name}_addresses", (f"{chip.address.get(r, 0xFFFFFFFF):#x}" for r in registers))
    # a field that this chip has not got: lsb above msb
    rows += array("FieldFact", f"{name}_fields", ("{%d, %d}" % chip.fields.get(f, (1, 0)) for f in fields))
    rows += ip_lines(chip, enums["hw_id"]) + firmware_lines(chip, enums, images) + boot_lines(chip, enums, images)
    rows += product_lines(chip)
    clocks = [f"{name}_{clock}" for clock in enums["smu_clk"]]
    for clock in enums["smu_clk"]:
        rows += array("uint32_t", f"{name}_{clock}", chip.board["clocks_mhz"][clock])
    rows += array("uint8_t", f"{name}_smu_acknowledged", chip.traits["smu_acknowledged"])
    pte = enums["pte_bits"][chip.generation]
    waves = enums[f"sq_wave_index_{chip.generation}"]
    is12 = chip.generation == "gfx12"
    g = ", ".join(
        str(geometry[key])
        for key in (
            "num_se",
            "num_sa_per_se",
            "num_wgp_per_sa",
            "max_waves_per_simd",
            "max_scratch_slots_per_cu",
            "gc_lds_size_kib",
            "wave_size",
            "num_gl2c",
        )
    )
    t = chip.traits
    return [
        *rows,
        f"inline constexpr ChipFacts {name} = {{",
        f'  .name = "{name}", .target = "{chip.facts["gfx_target"]}",',
        f"  .gfx = {chip.generation[3:]}, .gc_info_minor = {t['gc_info_minor']},",
        f"  .products = {name}_products,",
        f"  .geometry = {{{g}}},",
        f"  .pte = {{.huge = {pte['PDE_PTE_huge']}, .prt = {pte['PRT']},"
        f" .leaf_is_marked = {str('IS_PTE' in pte).lower()}}},",
        f"  .psp = {{.sos_version = {chip.board['sos_version']:#x}, .tmr_at_boot = {str(t['tmr_at_boot']).lower()},"
        f" .boot = {name}_boot}},",
        f"  .smu = {{.version = {chip.board['smu_version']:#x},"
        f" .image_version_swapped = {str(t['smu_image_version_swapped']).lower()},"
        f" .driver_interface = {chip.board['smu_driver_interface']}, .mode1_message = {t['smu_mode1_message']},"
        f" .levels = {{{', '.join(clocks)}}}, .acknowledged = {name}_smu_acknowledged,",
        *smu_table_lines(chip), "  },",
        f"  .waves = {{.status = {waves['STATUS']}, .state = {waves['STATE_PRIV' if is12 else 'STATUS']},"
        f" .exceptions = {waves['EXCP_FLAG_PRIV' if is12 else 'TRAPSTS']}, .pc_lo = {waves['PC_LO']},"
        f" .pc_hi = {waves['PC_HI']},"
        f" .exec_lo = {waves['EXEC_LO']}, .exec_hi = {waves['EXEC_HI']}, .hw_id1 = {waves['HW_ID1']},",
        "    " + wave_bits(enums[f"sq_wave_fields_{chip.generation}"], waves, is12) + "},",
        f"  .addresses = {name}_addresses, .fields = {name}_fields, .ips = {name}_ips, .firmware = {name}_firmware}};",
    ]


# Members of MetricsFacts -> fields of the layout.
METRICS = {
    "gfxclk_before_sleep": "AverageGfxclkFrequencyPreDs", "gfxclk_average": "AverageGfxclkFrequencyPostDs",
    "gfxclk_target": "AverageGfxclkFrequencyTarget",
    "fclk_before_sleep": "AverageFclkFrequencyPreDs", "fclk_average": "AverageFclkFrequencyPostDs",
    "memclk_before_sleep": "AverageMemclkFrequencyPreDs", "memclk_average": "AverageMemclkFrequencyPostDs",
    "counter": "MetricsCounter", "gfx_millivolts": "AvgVoltage.GFX", "soc_millivolts": "AvgVoltage.SOC",
    "gfx_activity": "AverageGfxActivity", "memory_activity": "AverageUclkActivity", "energy": "EnergyAccumulator",
    "socket_power": "AverageSocketPower", "board_power": "AverageTotalBoardPower", "temperature": "AvgTemperature.EDGE",
    "hotspot": "AvgTemperature.HOTSPOT", "intake": "AvgTemperatureFanIntake", "pcie_rate": "PcieRate",
    "pcie_width": "PcieWidth", "fan_percent": "AvgFanPwm", "fan_rpm": "AvgFanRpm",
    "ppt_throttling": "ThrottlingPercentage.PPT0",
}


def layout_of(chip: Chip, kind: str):
    """The layout in structs.json that this version of the SMU uses."""
    version = chip.facts["ip_versions"]["MP1"]
    return next(s for name, s in chip.structs.items() if name.startswith(kind) and version in s["mp1"])


def smu_table_lines(chip: Chip) -> list[str]:
    metrics, powerplay = layout_of(chip, "smu_metrics"), layout_of(chip, "smu_powerplay")
    at = {name: metrics["fields"][field][0] for name, field in METRICS.items()}
    at["temperatures"] = sum(field.startswith("AvgTemperature.") for field in metrics["fields"])
    fields = powerplay["fields"]
    own = "CustomSkuTable" if chip.generation == "gfx12" else "SkuTable"
    lower, start = (("SkuTable.OverDriveLimitsBasicMin.Ppt", "pmfw_pptable_start_offset") if chip.generation == "gfx12"
                    else ("overdrive_table.min.POWERPERCENTAGE", "table_size"))
    percent = chip.traits["ppt_lower_percent"]
    values = {
        "bytes": powerplay["size"], "start_field": fields[start][0], "start": powerplay["smc_pptable"],
        "default_watts": fields[f"{own}.SocketPowerLimitAc.PPT0"][0],
        "message_watts": fields["SkuTable.MsgLimits.Power.PPT0_AC"][0],
        "features": fields["SkuTable.OverDriveLimitsBasicMax.FeatureCtrlMask.PPT"][0],
        "feature_bit": fields["SkuTable.OverDriveLimitsBasicMax.FeatureCtrlMask.PPT"][2],
        "lower_percent": fields[lower][0], "lower_bytes": fields[lower][1],
        # the newer table holds how much is added, the older how much is taken
        "lower": -percent if chip.generation == "gfx12" else percent,
    }
    return [f"    .metrics = {{.bytes = {metrics['size']}, " + ", ".join(f".{k} = {v}" for k, v in at.items()) + "},",
            "    .powerplay = {" + ", ".join(f".{k} = {v}" for k, v in values.items()) + "}"]


def product_lines(chip: Chip) -> list[str]:
    rows, table = [], []
    arrays = chip.facts["geometry"]["num_sa_per_se"]
    for index, product in enumerate(chip.board["products"]):
        masks = [0] * (chip.facts["geometry"]["num_se"] * arrays)
        for engine, array_index, wgp in product["inactive_wgps"]:
            masks[engine * arrays + array_index] |= 1 << wgp
        rows += array("uint16_t", f"{chip.name}_wgps_{index}", masks)
        identity = f'0x1002, {product["device"]}, 0x1002, {product["subsystem"]}, {product["revision"]}'
        table.append(f'{{"{product["name"]}", {{{identity}}}, {product["vram_gib"] << 30}ull, {product["ppt_watts"]},'
                     f" {chip.name}_wgps_{index}}}")
    return rows + array("ProductFacts", f"{chip.name}_products", table)


def wave_bits(fields, index, is12: bool) -> str:
    """Bits of a halted wave's registers, by what they say."""
    status, state = fields["STATUS"], fields["STATE_PRIV" if is12 else "STATUS"]
    exceptions = fields["EXCP_FLAG_PRIV" if is12 else "TRAPSTS"]
    violation = exceptions["memviol"][0] if is12 else exceptions["excp"][1]  # gfx11: the last of the exception bits
    valid = 1 << status["valid"][0] if "valid" in status else 0  # gfx12 says it in a register of its own only
    return (
        f".valid = {valid:#x}, .valid_and_idle = {index['VALID_AND_IDLE']}, .execz = {status['execz'][0]},"
        f" .fatal = {status['fatal_halt'][0]},"
        f" .halt = {state['halt'][0]}, .illegal = {exceptions['illegal_inst'][0]}, .mem_viol = {violation}"
    )


def generate(out: Path) -> None:
    chips, boards, images = load("chips.json"), load("boards.json"), load("psp_images.json")
    built = [Chip(name, chips, boards) for name in CHIPS]
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
             "namespace layout {", *struct_lines(load("structs.json")), "}", "}", ""]
    (out / "register_tables.h").write_text("\n".join(lines))
    lines = ["// Generated by csrc/emulator/ip/generate.py. Do not edit.", "#pragma once", "#include <cstdint>",
             '#include "emulator/ip/facts.h"', "namespace usbgpu::emulator::chips {"]
    for chip in built:
        lines += chip_lines(chip, registers, fields, images)
    lines += ["inline constexpr const ChipFacts* all[] = {" + ", ".join(f"&{c.name}" for c in built) + "};", "}", ""]
    (out / "chip_tables.h").write_text("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.inputs:
        print("\n".join(map(str, inputs())))
    else:
        generate(arguments.out)
