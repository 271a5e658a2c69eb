"""Writes the first inputs of each fuzz target: one small, valid example per request, packet and instruction family.

    python csrc/fuzz/seeds.py [FOLDER]          (default: csrc/fuzz/corpus)

Valid inputs carry a fuzzer past the first checks. What long hunts find beyond these lies beside them, named by content.
"""
from __future__ import annotations

import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VRAM, SRAM, FB = 0x2000_4000_0000, 0x2000_1000_0000, 0x80_0000_0000
DATA = VRAM + 0x600000  # where the rest of an input is put: target of indirect buffers, dispatches, writes


def split(value: int) -> tuple[int, int]:
    return value & 0xFFFFFFFF, value >> 32


def pm4(opcode: int, *body: int) -> tuple[int, ...]:
    return (0xC0000000 | (len(body) - 1) << 16 | opcode << 8, *body)


def stream(packets: tuple[int, ...], rest: bytes = b"") -> bytes:
    return struct.pack(f"<B{len(packets)}I", len(packets), *packets) + rest


def pm4_seeds() -> dict[str, bytes]:
    sh = 0x2E00 - 0x2C00  # COMPUTE_DISPATCH_INITIATOR is the first of the compute registers
    endpgm = struct.pack("<2I", 0xBFB00000, 0xBF9F0000)
    dispatch = (*pm4(0x76, sh + 7, 32, 1, 1), *pm4(0x76, sh + 0xC, *split(DATA >> 8)),
                *pm4(0x76, sh + 0x12, 0xF0 << 12, 2 << 1 | 1 << 7), *pm4(0x76, sh + 0x40, *split(DATA)),
                *pm4(0x15, 1, 1, 1, 0x8021 | 1 << 15))
    indirect = pm4(0x3F, *split(DATA), 16 | 1 << 23)
    return {
        "nop": stream((0xFFFF1000, *pm4(0x10, 0, 0))),
        "write-data": stream(pm4(0x37, 5 << 8, *split(DATA), 1, 2, 3)),
        "write-register": stream(pm4(0x37, 0, 0xC043, 0, 0xABCD)),
        "copy-data": stream(pm4(0x40, 0 | 2 << 8, 0xC043, 0, *split(DATA))),
        "copy-data-64": stream(pm4(0x40, 5 | 2 << 8 | 1 << 16, 0x99, 0x88, *split(DATA))),
        "wait-reg-mem": stream(pm4(0x3C, 0x13, *split(DATA), 0, 0xFFFFFFFF, 4)),
        "release-mem": stream(pm4(0x49, 0x0070F514, 2 << 29, *split(DATA), 1, 2, 3)),
        "acquire-mem": stream(pm4(0x58, 0, 0xFFFFFFFF, 0xFF, 0, 0, 4, 0x7FFF)),
        "set-sh-reg": stream(pm4(0x76, sh, 1, 2, 3)),
        "set-uconfig-reg": stream(pm4(0x79, 1, 2)),
        "dma-data": stream(pm4(0x50, 0x60300000, *split(DATA), *split(DATA + 64), 64)),
        "atomic-mem": stream(pm4(0x1E, 0x0F, *split(DATA), 1, 0, 0, 0, 4)),
        "indirect-buffer": stream(indirect, struct.pack("<16I", *([0xFFFF1000] * 16))),
        "indirect-to-itself": stream(indirect, struct.pack("<4I", *pm4(0x3F, *split(DATA), 4 | 1 << 23))),
        "dispatch": stream(dispatch, endpgm),
        "event-write": stream(pm4(0x46, 7 | 4 << 8)),
    }


def sdma_seeds() -> dict[str, bytes]:
    return {
        "nop": stream((0, 3 << 16, 0, 0, 0)),
        "copy": stream((1, 63, 0, *split(DATA), *split(DATA + 256))),
        "copy-in": stream((1, 0xFFF, 0, *split(SRAM), *split(DATA))),
        "write": stream((2, *split(DATA), 1, 5, 6)),
        "indirect": stream((4, *split(DATA), 8, 0, 0), struct.pack("<8I", *([0] * 8))),
        "fence": stream((0x00030005, *split(DATA), 7)),
        "trap": stream((6, 0)),
        "poll": stream((0xB0000008, *split(DATA), 0, 0xFFFFFFFF, 0x0FFF0004)),
        "poll-register": stream((0x30000008, 0xC043 * 4, 0, 0, 0xFFFFFFFF, 0x00010004)),
        "atomic": stream((0x1E00000A, *split(DATA), 1, 0, 0, 0, 4)),
        "fill": stream((0x8000000B, *split(DATA), 0x55, 255)),
        "timestamp": stream((0x20D, *split(DATA))),
        "register-write": stream((0xF000000E, 0xC043, 1)),
        "gcr": stream((0x11, 0, 0, 0, 0)),
        "conditional": stream((9, *split(DATA), 1, 2, 0, 0)),
        "constant-poll-mem": stream((0x80000008, *split(DATA), 0, 1, 4)),
    }


def page_table_seeds() -> dict[str, bytes]:
    def tables(options: int, *pieces: tuple[int, list[int]], walks: list[tuple[int, int]]) -> bytes:
        body = bytes([options])
        body += struct.pack("<7I", 0x01FFFE07, 0x100001, 0, 0, 0x20FF, 0x301, 0) if options & 2 else b""
        body += bytes([len(pieces)])
        for offset, entries in pieces:
            body += struct.pack("<H8Q", offset, *(entries + [0] * 8)[:8])
        return body + b"".join(struct.pack("<BQ", access, va) for access, va in walks)

    levels = [(0x0000, [0x101001]), (0x1000, [0x102001]), (0x2000, [0x103001, 0x600071 | 1 << 54])]
    leaves = (0x3000, [0x600073, 0x601071, 0x820073 | 3 << 48, 0x602031, 0, 0x604471])
    walks = [(0, 0x2000_0000_0000), (1, 0x1008), (2, 0x20_0000), (0, 0x5000), (1, FB + 64), (0, 0xFFFF_FFFF_FFFF_FFFF)]
    return {f"hub-{options}": tables(options, *levels, leaves, walks=walks) for options in range(4)}


def instruction_seeds() -> dict[str, bytes]:
    """Code of the instruction tests' kernels; options: generation, wave64, scratch, strict."""
    from tests.emulator.isa import machine
    from torch_usbgpu.runtime import codeobject

    out = {}
    kernels = (ROOT / "tests/emulator/isa/kernels.hip").read_text()
    image = codeobject.load(machine.compile_hip(kernels))
    code = image.placed_at(0)
    for name, descriptor in image.kernels.items():
        body = code[descriptor.entry_offset:descriptor.entry_offset + 2048]
        out[f"gfx11-{name}"] = bytes([0x00, 0x14, 0xF0]) + body
    words = {
        "gfx12-barrier": (0xBE804EC1, 0xBF94FFFF, 0xBFB00000), "gfx12-add": (0x06000501, 0xBFB00000),
        "gfx11-loop": (0xBF82FFFF,), "gfx11-trap": (0xBF900002, 0xBFB00000), "gfx11-nothing": (0xBFB00000,),
    }
    for name, code_words in words.items():
        options = 1 if name.startswith("gfx12") else 0
        for wide in (0, 2):
            out[f"{name}-wave{64 if wide else 32}"] = bytes([options | wide, 0xF4, 0xF0]) + struct.pack(
                f"<{len(code_words)}I", *code_words)
    return out


def firmware_seeds() -> dict[str, bytes]:
    out = {}
    for kind, command in ((79, 0x80000), (86, 0x10000000), (10, 0x10000), (9, 0x20000)):
        out[f"component-{kind}"] = struct.pack("<BHBBI", 0, kind, 0, 0, command)
    out["component-with-wrong-size"] = struct.pack("<BHBBHII", 0, 79, 0, 1, 20, 0xFFFFFF00, 0x80000)
    for command, parameters in ((6, (0, 0, 640, 18)), (5, (FB & 0xFFFFFFFF, FB >> 32, 0x1300000, 2)), (0x20, (0, 0, 640, 0)),
                                (0x21, (0, 0, 0, 0)), (7, (0, 0, 0, 0))):
        header = bytearray(512)
        header[16:20] = b"$PS1"
        struct.pack_into("<I", header, 20, 64)
        struct.pack_into("<I", header, 48, 1)
        struct.pack_into("<I", header, 88, 4097)
        out[f"ring-command-{command:#x}"] = struct.pack("<B5I", 3, command, *parameters) + bytes(header)
    return out


def request_seeds() -> dict[str, bytes]:
    def control_out(request_type: int, request: int, value: int = 0, index: int = 0, data: bytes = b"") -> bytes:
        return struct.pack("<BBBHH", 0 | len(data) << 3, request_type, request, value, index) + data

    def control_in(request: int, value: int = 0, index: int = 0, chunks: int = 1, request_type: int = 0xC0) -> bytes:
        return struct.pack("<BBBHH", 3 | chunks << 3, request_type, request, value, index)

    def bulk_out(length: int, data: bytes = b"") -> bytes:
        return struct.pack("<BBH", 5, 2, length) + data[:5]

    def bulk_in(length: int) -> bytes:
        return struct.pack("<BBH", 6, 0x41, length)

    def tlp(fmt: int, mode: int, address: int, value: int, enables: int = 15) -> bytes:
        return control_out(0x40, 0xF0, fmt | enables << 8, mode, struct.pack("<QI", address, value))

    power = control_out(0x40, 0xF3, 1)
    return {
        "read-xdata": b"\0" + control_in(0xE4, 0xB450),
        "write-xdata": b"\0" + control_out(0x40, 0xE5, 0xA800, 0x12),
        "config-read": b"\0" + power + tlp(0x04, 0, 0, 0) + control_in(0xF0),
        "config-write": b"\0" + power + tlp(0x44, 0, 0x18, 0x00040100) + control_in(0xF0),
        "memory-read": b"\0" + power + tlp(0x20, 0, 0x10000000, 0) + control_in(0xF0),
        "stream-write": b"\0" + power + tlp(0x60, 1, 1 << 35, 16) + bulk_out(64, b"abcde"),
        "stream-read": b"\0" + power + tlp(0x20, 2, 1 << 35, 16) + bulk_in(64),
        "sram-out": b"\0" + control_out(0x40, 0xF2, 1, 1 << 8) + bulk_out(512),
        "sram-in": b"\0" + control_out(0x40, 0xF2, 0x8001, 1 << 8) + bulk_in(512),
        "descriptors": b"\0" + b"".join(control_in(6, kind << 8, 0, 4, 0x80) for kind in (1, 2, 3, 15)),
        "set-interface": b"\0" + control_out(1, 11, 1, 0) + control_out(0, 9, 1, 0) + control_out(2, 1, 0, 0x81),
        "high-speed": b"\1" + control_in(0xE4, 0xF000, 0, 15) + power,
        "restart": b"\0" + control_out(0x40, 0xE5, 0xCC31, 1) + control_in(0xE4, 0xB450),
        "replug": b"\0\xff" + power + b"\xf7" + power,
        "tlp-registers": b"\0" + b"".join(control_out(0x40, 0xE5, 0xB210 + i, v) for i, v in ((0, 4), (7, 15), (0x44, 15))),
    }


TARGETS = {"pm4": pm4_seeds, "sdma": sdma_seeds, "page_tables": page_table_seeds, "instructions": instruction_seeds,
           "firmware": firmware_seeds, "requests": request_seeds}


def main() -> None:
    sys.path.insert(0, str(ROOT))
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "corpus"
    for target, seeds in TARGETS.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds().items():
            (folder / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
