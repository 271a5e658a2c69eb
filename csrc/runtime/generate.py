"""PM4 opcodes and compute-register indices for the stream encoder, from the fact files."""
import argparse
import json
from pathlib import Path

ASIC = Path(__file__).resolve().parents[2] / "torch_usbgpu" / "amdgpu" / "asic"
ENUMS, CHIPS, GC = ASIC / "enums.json", ASIC / "chips.json", ASIC / "registers" / "gc_11_0_0.json"

# gfx11 and gfx12 keep these at the same places (amdgpu-packets: "Compute state for one dispatch")
REGISTERS = ["COMPUTE_START_X", "COMPUTE_NUM_THREAD_X", "COMPUTE_PGM_LO", "COMPUTE_DISPATCH_SCRATCH_BASE_LO",
             "COMPUTE_PGM_RSRC1", "COMPUTE_RESOURCE_LIMITS", "COMPUTE_TMPRING_SIZE", "COMPUTE_RESTART_X",
             "COMPUTE_PGM_RSRC3", "COMPUTE_USER_DATA_0"]


def header() -> str:
    enums = json.loads(ENUMS.read_text())
    bases = json.loads(CHIPS.read_text())["ip_bases"]["segments"]["GC"]
    registers = json.loads(GC.read_text())["registers"]
    window = enums["pm4_reg_window"]["SET_SH_REG"][0]
    lines = ["// Generated from asic/enums.json and asic/registers/gc_11_0_0.json.", "#pragma once",
             "#include <cstdint>",
             "namespace usbgpu::runtime::pm4 {", "enum Opcode : uint32_t {"]
    lines += [f"  OP_{name} = {value:#x}," for name, value in enums["pm4_op"].items()]
    lines += ["};", "enum Event : uint32_t {"]
    lines += [f"  EVENT_{name} = {value:#x}," for name, value in enums["vgt_event"].items()]
    lines += ["};", "enum Compare : uint32_t {"]
    lines += [f"  COMPARE_{name} = {value}," for name, value in enums["pm4_compare"].items()]
    lines += ["};", "// dword index inside the SET_SH_REG window", "enum ShRegister : uint32_t {"]
    for name in REGISTERS:
        row = registers[name]
        lines.append(f"  {name} = {bases[row['seg']] + row['off'] - window:#x},")
    return "\n".join([*lines, "};", "}  // namespace usbgpu::runtime::pm4", ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--inputs", action="store_true")
    options = parser.parse_args()
    if options.inputs:
        print(ENUMS, CHIPS, GC, sep="\n")
    else:
        (options.out / "pm4_facts.h").write_text(header())
