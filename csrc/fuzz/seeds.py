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


def both_generations(seeds: dict[str, bytes]) -> dict[str, bytes]:
    """The top bit of the first byte asks for a gfx12 board."""
    return seeds | {f"gfx12-{name}": bytes([seed[0] | 0x80]) + seed[1:] for name, seed in seeds.items()}


def pm4_seeds() -> dict[str, bytes]:
    sh = 0x2E00 - 0x2C00  # COMPUTE_DISPATCH_INITIATOR is the first of the compute registers
    endpgm = struct.pack("<2I", 0xBFB00000, 0xBF9F0000)
    dispatch = (*pm4(0x76, sh + 7, 32, 1, 1), *pm4(0x76, sh + 0xC, *split(DATA >> 8)),
                *pm4(0x76, sh + 0x12, 0xF0 << 12, 2 << 1 | 1 << 7), *pm4(0x76, sh + 0x40, *split(DATA)),
                *pm4(0x15, 1, 1, 1, 0x8021 | 1 << 15))
    indirect = pm4(0x3F, *split(DATA), 16 | 1 << 23)
    return both_generations({
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
    })


def sdma_seeds() -> dict[str, bytes]:
    return both_generations({
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
    })


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
    leaf = 1 << 63  # gfx12 marks every leaf
    levels12 = [levels[0], levels[1], (0x2000, [0x103001, 0x600071 | leaf])]
    leaves12 = (0x3000, [0x600073 | leaf, 0x601071 | leaf, 0x820073 | 3 << 54 | leaf, 0x602031, 0, 0x604471 | leaf])
    walks = [(0, 0x2000_0000_0000), (1, 0x1008), (2, 0x20_0000), (0, 0x5000), (1, FB + 64), (0, 0xFFFF_FFFF_FFFF_FFFF)]
    old = {f"hub-{options}": tables(options, *levels, leaves, walks=walks) for options in range(4)}
    return old | {f"gfx12-hub-{options}": tables(options | 4, *levels12, leaves12, walks=walks) for options in range(4)}


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
        "gfx11-loop": (0xBFA0FFFF,), "gfx11-trap": (0xBF900002, 0xBFB00000), "gfx11-nothing": (0xBFB00000,),
    }
    for name, code_words in words.items():
        options = 1 if name.startswith("gfx12") else 0
        for wide in (0, 2):
            out[f"{name}-wave{64 if wide else 32}"] = bytes([options | wide, 0xF4, 0xF0]) + struct.pack(
                f"<{len(code_words)}I", *code_words)
    return out


def firmware_seeds() -> dict[str, bytes]:
    from torch_usbgpu.emulated_firmware import image_kind

    out = {}
    for kind, command in ((79, 0x80000), (86, 0x10000000), (10, 0x10000), (9, 0x20000)):
        out[f"component-{kind}"] = struct.pack("<BHBBI", 0, kind, 0, 0, command)
    out["component-with-wrong-size"] = struct.pack("<BHBBHII", 0, 79, 0, 1, 20, 0xFFFFFF00, 0x80000)
    for command, parameters in ((6, (0, 0, 640, 18)), (5, (FB & 0xFFFFFFFF, FB >> 32, 0x1300000, 2)),
                                (0x20, (0, 0, 640, 0)), (0x21, (0, 0, 0, 0)), (7, (0, 0, 0, 0))):
        header = bytearray(512)
        header[16:20] = b"$PS1"
        struct.pack_into("<I", header, 20, 64)
        struct.pack_into("<I", header, 48, 1)
        struct.pack_into("<I", header, 88, 4097)
        out[f"ring-command-{command:#x}"] = struct.pack("<B5I", 3, command, *parameters) + bytes(header)
        out[f"gfx12-ring-command-{command:#x}"] = struct.pack("<B5I", 7, command, *parameters) + bytes(header)
    boot = {"navi31": ((0x80000, "KDB"), (0x10000000, "KDB"), (0x10000, "SYS_DRV"), (0x20000, "SOS")),
            "navi48": ((0x80000, "KDB"), (0x10000000, "SPL"), (0x10000, "SYS_DRV"), (0xB0000, "SOC_DRV"),
                       (0xD0000, "INTF_DRV"), (0xC0000, "DBG_DRV"), (0xE0000, "RAS_DRV"), (0xF0000, "IPKEYMGR_DRV"),
                       (0x20000, "SOS"))}
    for options, (chip, chain) in zip((0, 4), boot.items(), strict=True):
        out[f"{chip}-boot-chain"] = bytes([options]) + b"".join(
            struct.pack("<HBBI", image_kind(name, chip), 0, 0, command) for command, name in chain)
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

    def special(what: int, how: int) -> bytes:
        return bytes([7 | how << 3 | what << 5])

    def bulk_only(cdb: bytes, data: bytes = b"", receive: int = 0, image: bool = False) -> bytes:
        how = 3 if image else 1 if receive else 0
        return special(1, how) + bytes([receive or len(data)]) + data + bytes(receive) + cdb.ljust(16, b"\0")

    def uas(tag: int, cdb: bytes, how: int = 1) -> bytes:
        return special(2, how) + bytes([tag - 1, 0]) + cdb.ljust(16, b"\0")

    def transfer(which: int, stream: int, length: int, data: bytes = b"") -> bytes:
        return special(3, 0) + bytes([which, stream, length, len(data)]) + data

    firmwares = {"custom": 0, "custom-2026-08": 2, "usb4": 4, "legacy": 6, "stock": 8, "rom": 10, "bootstub": 12}
    high, strict, probe, serial = 1, 0x10, 0x40, 0x80
    inquiry, sense, ready = bytes([0x12, 0, 0, 0, 36]), bytes([3, 0, 0, 0, 18]), bytes(6)
    peek, poke = bytes([0xE4, 4, 0x50, 0xB2, 0x96]), bytes([0xE5, 0x12, 0x50, 0xA8, 0])
    believed = [bytes([0xE5, value, 0x50, at >> 8, at & 0xFF]) for at, value in (
        (0x054B, 0x20), (0x054E, 4), (0x05A8, 2), (0x05F8, 4), (0x07EC, 1),
        (0x07ED, 0), (0x07EE, 0), (0x07EF, 0), (0xC422, 2), (0, 0x33))]
    write16 = struct.pack(">BBQIBB", 0x8A, 0, 0, 1, 0, 0)
    believe = b"".join(bulk_only(cdb) for cdb in believed)
    flashing = (bulk_only(bytes([0xE1, 0x50, 0]), bytes(128)) + bulk_only(bytes([0xE1, 0x50, 1]), bytes(128))
                + bulk_only(struct.pack(">BBI", 0xE3, 0x50, 31), b"custom v9" + bytes(12), image=True)
                + bulk_only(struct.pack(">BBI", 0xE2, 0x50, 31), receive=31) + bulk_only(bytes([0xE8, 0x51])) + b"\xf7")
    spi = b"".join(bulk_only(bytes([0xE5, value, 0x50, 0xC8, at])) for at, value in (
        (0xAA, 0x9F), (0xA3, 3), (0xA4, 0), (0xA9, 1), (0xAA, 6), (0xA9, 1), (0xAA, 0x20), (0xA9, 1)))
    storage = {}
    for name in ("legacy", "stock", "rom"):
        for speed in (0, high):
            head = bytes([firmwares[name] | speed | probe])
            label = f"{name}-{'high' if speed else 'super'}"
            storage[f"{label}-bulk-only"] = head + b"".join((
                bulk_only(inquiry, receive=36), bulk_only(ready), bulk_only(sense, receive=18),
                bulk_only(peek, receive=4), bulk_only(poke)))
            storage[f"{label}-flashing"] = head + flashing + bulk_only(inquiry, receive=36)
            storage[f"{label}-uas"] = head + special(0, 1) + control_out(1, 11, 1, 0) + b"".join((
                uas(1, inquiry), transfer(1, 1, 36), uas(2, poke), uas(3, peek), transfer(1, 3, 4), uas(4, ready, 3),
                special(4, 0)))
    head = bytes([firmwares["legacy"] | probe])
    streamed = b"".join(uas(1 + i % 7, cdb) for i, cdb in enumerate(believed))
    storage["legacy-write-blocks"] = head + believe + special(1, 2) + bytes([2]) + b"ab" + write16
    storage["legacy-write-blocks-by-streams"] = (head + control_out(1, 11, 1, 0) + streamed + uas(5, write16)
                                                 + transfer(2, 5, 255, b"data") * 3)
    storage["legacy-spi"] = head + spi
    storage["legacy-bad-wrapper"] = (head + bulk_out(31) + control_out(2, 1, 0, 0x81) + control_out(0x21, 0xFF)
                                     + bulk_only(ready))
    power = control_out(0x40, 0xF3, 1)
    waiting = special(5, 1) + struct.pack("<H", 512) + bytes(31) + special(5, 0) + struct.pack("<H", 64) + bytes(31)
    return storage | {
        "cancel": bytes([probe]) + waiting + control_in(0xE4, 0xB450) + special(6, 0) + special(6, 0),
        "cancel-then-unplug": bytes([probe]) + waiting + b"\xff" + special(6, 1) + b"\xf7" + control_in(0xE4, 0xB450),
        "reset-while-waiting": bytes([probe]) + waiting + special(7, 1) + power,
        "bootstub": (bytes([firmwares["bootstub"] | probe]) + control_in(6, 0x100, 0, 1, 0x80)
                     + control_in(0xE4, 0xB450) + power),
        "usb4": bytes([firmwares["usb4"] | probe]) + control_in(6, 0x200, 0, 2, 0x80) + power,
        "later-custom-strict": (bytes([firmwares["custom-2026-08"] | strict | probe | serial]) + power
                                + control_in(0xE4, 0xB450)),
        "strict-sram": bytes([strict | probe]) + control_out(0x40, 0xF2, 1, 1 << 8) + bulk_out(512) + bulk_in(512),
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
        "tlp-registers": b"\0" + b"".join(control_out(0x40, 0xE5, 0xB210 + i, v)
                                          for i, v in ((0, 4), (7, 15), (0x44, 15))),
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
