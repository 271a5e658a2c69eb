"""Packets by name and field. Words: sheet of ready-made packets of the reference drivers."""
from __future__ import annotations

import pytest

from torch_usbgpu.amdgpu.facts import enum, load
from torch_usbgpu.tracing import packets

PM4 = [
    ([0xC0053C00, 0x15, 0x1000, 0x2000, 7, 0xFFFFFFFF, 4], "WAIT_REG_MEM",
     {"function": "GE", "mem_space": "memory", "operation": "wait", "address": 0x2000_0000_1000, "reference": 7,
      "mask": 0xFFFFFFFF, "poll_interval": 4}),
    ([0xC0053C00, 0x45, 0xE26, 0xE27, 0xFFFFFFFF, 0xFFFFFFFF, 4], "WAIT_REG_MEM",
     {"function": "GE", "mem_space": "register", "operation": "write, then wait", "register": "R0xe26",
      "done_register": "R0xe27"}),
    ([0xC0064900, 0x0070F514, 0x20000000, 0x800, 0x20, 9, 0, 3], "RELEASE_MEM",
     {"event_type": "CACHE_FLUSH_AND_INV_TS_EVENT", "event_index": 5, "glm_wb": 1, "glm_inv": 1, "glv_inv": 1,
      "gl1_inv": 1, "gl2_inv": 1, "gl2_wb": 1, "seq": 1, "dst_sel": "memory", "data_sel": "low 32 bits",
      "address": 0x2000000800, "data": 9, "context_id": 3}),
    ([0xC0065800, 0, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0, 0xC3F1], "ACQUIRE_MEM",
     {"gli_inv": 1, "glm_wb": 1, "glk_inv": 1, "glv_inv": 1, "gl1_inv": 1, "gl2_inv": 1, "gl2_wb": 1, "size": (1 << 64) - 1}),
    ([0xC0004600, 0x407], "EVENT_WRITE", {"event_type": "CS_PARTIAL_FLUSH", "event_index": 4}),
    ([0xC0023F00, 0x20020000, 0x2040, 0x00800FF8], "INDIRECT_BUFFER",
     {"address": 0x204020020000, "dwords": 0xFF8, "valid": 1, "chain": 0, "priv": 0}),
    ([0xC0044000, 0x100200 | 0x9, 0, 0, 0x10, 0], "COPY_DATA", {"src_sel": "gpu clock", "dst_sel": "l2", "destination": 0x10}),
    ([0xC0031500, 4, 3, 2, 0x8005], "DISPATCH_DIRECT",
     {"groups_x": 4, "groups_y": 3, "groups_z": 2, "compute_shader_en": 1, "force_start_at_000": 1, "cs_w32_en": 1}),
    ([0xFFFF1000], "NOP", {}),
]
SDMA = [
    ([1, 0xFFF, 0, 0x1000, 1, 0x2000, 2], "COPY_LINEAR",
     {"bytes": 0x1000, "source": 0x1_0000_1000, "destination": 0x2_0000_2000}),
    ([2, 0x100, 0, 1, 11, 22], "WRITE_LINEAR", {"destination": 0x100, "dwords": 2}),
    ([0x00030005, 0x40, 0, 5], "FENCE", {"mtype": 3, "address": 0x40, "data": 5}),
    ([0xD0000008, 0x80, 0, 6, 0xFFFFFFFF, 0x0FFF0004], "POLL_REGMEM",
     {"function": "GE", "mem_poll": "memory", "reference": 6, "retries": 0xFFF, "interval": 4}),
    ([0x8000000B, 0x10, 0, 0xAB, 63], "CONST_FILL", {"fill_size": "dword", "bytes": 64, "data": 0xAB}),
    ([0x0000020D, 0x8, 0], "TIMESTAMP", {"operation": "get global", "address": 8}),
    ([4, 0x20, 0, 8, 0, 0], "INDIRECT", {"address": 0x20, "dwords": 8}),
    ([6, 0x123], "TRAP", {"context_id": 0x123}),
    ([0x00020000, 0, 0], "NOP", {"skipped_dwords": 2}),
]


@pytest.mark.parametrize("decode, words, name, fields",
                         [(packets.pm4, *row) for row in PM4] + [(packets.sdma, *row) for row in SDMA])
def test_fields(decode, words, name, fields):
    packet = decode(words + [0xDEADBEEF], "R{:#x}".format)
    assert (packet.name, packet.dwords, packet.complete) == (name, len(words), True)
    assert {key: packet.fields.get(key) for key in fields} == fields


def test_register_packets_name_their_registers():
    packet = packets.pm4([0xC0027600, 0x20C, 0x11, 0x22], "R{:#x}".format)
    assert packet.registers == [(0x2E0C, "R0x2e0c", 0x11), (0x2E0D, "R0x2e0d", 0x22)]


def test_data_of_write_packets():
    assert packets.pm4([0xC0043700, 0x100500, 0x8, 0, 1, 2]).data == (1, 2)
    assert packets.sdma([2, 0x100, 0, 1, 11, 22]).data == (11, 22)


def test_walk_stops_where_words_end_or_make_no_sense():
    words = [0xC0004600, 0x407, 0xC0053C00, 0x15]
    assert [(at, packet.name, packet.complete) for at, packet in packets.walk("compute", words)] == [
        (0, "EVENT_WRITE", True), (2, "WAIT_REG_MEM", False)]
    assert [packet.name for _, packet in packets.walk("compute", [0x12345678, 0])] == ["type 0 packet"]
    assert [packet.name for _, packet in packets.walk("sdma", [0, 0x63, 0])] == ["NOP", "opcode 0x63"]


@pytest.mark.parametrize("engine, group", [("pm4", "pm4_op"), ("sdma", "sdma_op")])
def test_layouts_are_of_known_opcodes_and_do_not_overlap(engine, group):
    known = set(enum(group)) | {"COPY_LINEAR", "WRITE_LINEAR"}
    for name, layout in load("packets")[engine].items():
        assert name in known, name
        taken: set[tuple[int, int]] = set()
        for field, place in layout["fields"].items():
            bits = {(place[0], bit) for bit in range(place[1], place[2] + 1)} if len(place) == 3 else \
                {(dword, bit) for dword in place for bit in range(32)}
            assert not taken & bits, (name, field)
            taken |= bits
        for field in layout.get("enums", {}):
            assert field in layout["fields"], (name, field)
