"""What the stream device puts into submission windows."""
from __future__ import annotations

import faulthandler
import struct
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from torch_usbgpu import _runtime
from torch_usbgpu.runtime.queue import SRAM_BYTES, Road

from .conftest import CONFIG, HEAP, SRAM_VA, WINDOW_BYTES
from .pm4 import packets, words


TRAILER = 8     # dwords behind the indirect buffer; the sentinel is the last


def only_payload(road):
    assert len(road.submissions) == 1
    return words(road.submissions[0][1])


def sh_registers(found):
    """SH register index -> value, as the packets set them in order."""
    registers = {}
    for name, body in found:
        if name == "SET_SH_REG":
            registers.update({body[0] + i: value for i, value in enumerate(body[1:])})
    return registers


def test_nothing_crosses_before_it_must(stream, road):
    kernel = stream.kernel("memory", "k", "line")
    for _ in range(10):
        stream.launch(kernel, (1, 1, 1), (64, 1, 1), bytes(16))
    assert road.submissions == [] and road.compiled == []
    stream.flush()
    assert len(road.submissions) == 1 and road.compiled == [["k"]]
    stream.flush()
    assert len(road.submissions) == 1, "an empty flush submits nothing"


def test_window_is_one_valid_packet_stream(stream, road):
    kernel = stream.kernel("memory", "k", "line")
    args = struct.pack("<QQ", 0x1122334455667788, 42)
    stream.launch(kernel, (3, 2, 1), (64, 4, 1), args)
    stream.flush()
    payload = only_payload(road)
    assert len(payload) == WINDOW_BYTES // 4
    assert payload[-1] == 0x5B000001, "the sentinel is the last dword"
    found = packets(payload[:-TRAILER])
    names = [name for name, _ in found]
    assert names[0] == "ACQUIRE_MEM" and names[-1] == "RELEASE_MEM", "the host may overwrite the window after the fence"
    assert names.index("DISPATCH_DIRECT") < names.index("EVENT_WRITE") < names.index("RELEASE_MEM")
    registers = sh_registers(found)
    (dispatch,) = [body for name, body in found if name == "DISPATCH_DIRECT"]
    assert dispatch == [3, 2, 1, 0x8005]
    assert [registers[i] for i in (0x207, 0x208, 0x209)] == [64, 4, 1]
    assert registers[0x212] == 0x11 | 1 << 20 and registers[0x213] == 0x9E and registers[0x228] == 0x33
    entry = (registers[0x20C] | registers[0x20D] << 32) << 8
    assert HEAP <= entry < HEAP + (1 << 30) and entry % 256 == 0
    # the arguments lie in the same window, where USER_DATA_0/1 point
    at = (registers[0x240] | registers[0x241] << 32) - (SRAM_VA + 8 * WINDOW_BYTES)
    assert at % 64 == 0 and road.submissions[0][1][at:at + 16] == args
    (release,) = [body for name, body in found if name == "RELEASE_MEM"]
    assert release[2] | release[3] << 32 == CONFIG["fence"] and release[4] == 1


def test_code_travels_before_its_first_launch(stream, road):
    stream.launch(stream.kernel("memory", "k", "line"), (1, 1, 1), (64, 1, 1), bytes(16))
    stream.flush()
    found = packets(only_payload(road)[:-TRAILER])
    names = [name for name, _ in found]
    write = names.index("WRITE_DATA")
    assert found[write][1][3:] == words(bytes(range(256)))
    acquires = [i for i, (name, body) in enumerate(found) if name == "ACQUIRE_MEM" and body[6] == 0xC3F1 and i > write]
    assert acquires and acquires[0] < names.index("DISPATCH_DIRECT"), "the instruction cache must forget in between"
    stream.launch(stream.kernel("memory", "k", "line"), (1, 1, 1), (64, 1, 1), bytes(16))
    stream.flush()
    assert "WRITE_DATA" not in [name for name, _ in packets(words(road.submissions[1][1])[:-TRAILER])], "code is uploaded once"


@pytest.mark.parametrize("lds, blocks", [(0, 0), (1, 1), (512, 1), (513, 2), (65536, 128)])
def test_lds_size_goes_into_rsrc2(stream, road, lds, blocks):
    stream.launch(stream.kernel("memory", "k", "line"), (1, 1, 1), (64, 1, 1), b"", lds)
    stream.flush()
    assert sh_registers(packets(only_payload(road)[:-TRAILER]))[0x213] >> 15 & 0x1FF == blocks


def test_many_launches_spread_over_windows_in_order(stream, road):
    kernel = stream.kernel("memory", "k", "line")
    for i in range(500):
        stream.launch(kernel, (i + 1, 1, 1), (64, 1, 1), struct.pack("<QQ", i, i))
    stream.flush()
    grids = []
    for number, (window, payload) in enumerate(road.submissions):
        assert window == number % 8
        found = packets(words(payload)[:-TRAILER])
        grids += [body[0] for name, body in found if name == "DISPATCH_DIRECT"]
        assert [body[4] for name, body in found if name == "RELEASE_MEM"] == [number + 1]
    assert grids == list(range(1, 501))
    assert len(road.submissions) < 20, "a window holds dozens of launches"
    assert stream.launches == 500 and stream.submissions == len(road.submissions)


def test_kernel_that_does_not_compile_costs_only_itself(stream, road):
    road.broken["bad"] = ValueError("line 3: no")
    stream.launch(stream.kernel("memory", "good", "line"), (5, 1, 1), (64, 1, 1), bytes(16))
    stream.launch(stream.kernel("memory", "bad", "line"), (6, 1, 1), (64, 1, 1), bytes(16))
    with pytest.raises(ValueError, match="line 3"):
        stream.flush()
    stream.flush()
    assert [b[0] for n, b in packets(only_payload(road)[:-TRAILER]) if n == "DISPATCH_DIRECT"] == [5]


def test_what_did_not_compile_is_tried_again_when_it_is_launched_again(stream, road):
    """The compiler may have been interrupted, or the disk full."""
    road.broken["late"] = ValueError("not now")
    for _ in range(2):
        stream.launch(stream.kernel("memory", "late", "line"), (5, 1, 1), (64, 1, 1), bytes(16))
        with pytest.raises(ValueError, match="not now"):
            stream.flush()
    road.broken.clear()
    stream.flush()
    assert road.submissions == [], "a launch that failed does not come back by itself"
    stream.launch(stream.kernel("memory", "late", "line"), (6, 1, 1), (64, 1, 1), bytes(16))
    stream.flush()
    assert [b[0] for n, b in packets(only_payload(road)[:-TRAILER]) if n == "DISPATCH_DIRECT"] == [6]


def test_full_code_memory_costs_only_what_found_no_room(road):
    stream = _runtime.StreamDevice(road, {**CONFIG, "heap_end": HEAP + 32 * 4096})      # a part of it is for code
    rooms = 4096 // 512
    for i in range(rooms):
        stream.launch(stream.kernel("memory", f"k{i}", "line"), (i + 1, 1, 1), (64, 1, 1), bytes(16))
        stream.flush()
    stream.launch(stream.kernel("memory", "k0", "line"), (20, 1, 1), (64, 1, 1), bytes(16))
    stream.launch(stream.kernel("memory", "late", "line"), (21, 1, 1), (64, 1, 1), bytes(16))
    with pytest.raises(_runtime.OutOfMemory, match="of VRAM for code are free. Next: save .* start the process again"):
        stream.flush()
    stream.flush()
    grids = [body[0] for _, payload in road.submissions for name, body in packets(words(payload)[:-TRAILER])
             if name == "DISPATCH_DIRECT"]
    assert grids == [*range(1, rooms + 1), 20]
    assert stream.allocate(512), "tensors have their own"


@pytest.mark.parametrize("nbytes, way", [(4, "inline"), (16 * 1024, "inline"), (3, "upload"), (5000 * 4 + 1, "upload"),
                                         (128 * 1024 - 4, "upload"), (128 * 1024, "bulk")])
def test_copy_in_takes_the_cheapest_way(stream, road, nbytes, way):
    data = bytes(i * 7 & 0xFF for i in range(nbytes))
    to = stream.allocate(nbytes)
    stream.copy_in(to, data)
    stream.flush()
    if way == "inline":
        sent = b"".join(struct.pack(f"<{len(body) - 3}I", *body[3:]) for _, payload in road.submissions
                        for name, body in packets(words(payload)[:-TRAILER]) if name == "WRITE_DATA")
        assert sent == data
        first = next(body for name, body in packets(words(road.submissions[0][1])[:-TRAILER]) if name == "WRITE_DATA")
        assert first[1] | first[2] << 32 == to
    elif way == "upload":
        assert road.uploads == [data]
        names = [name for name, _ in packets(only_payload(road)[:-TRAILER])]
        assert names.index("WAIT_REG_MEM") < names.index("DISPATCH_DIRECT")
    else:
        assert road.bulk == [("in", to, data)]


def test_an_upload_counts_as_consumed_with_the_window_that_waits_for_it(stream, road):
    """What waits in the stream, and code that is new, go first: the wait may come a window later."""
    to = stream.allocate(64 * 1024)
    stream.copy_in(to, bytes(8 * 1024))
    stream.copy_in(to, bytes(6 * 1024))
    for i in range(8):
        stream.launch(stream.kernel("memory", f"new{i}", "line"), (1, 1, 1), (64, 1, 1), b"")
    stream.copy_in(to, bytes(20 * 1024))
    assert len(road.submissions) > 1
    waits = [i for i, (_, payload) in enumerate(road.submissions)
             if "WAIT_REG_MEM" in [name for name, _ in packets(words(payload)[:-TRAILER])]]
    assert waits == [len(road.submissions) - 1] and road.consumed == [len(road.submissions)]


def test_a_data_window_is_free_after_the_last_window_that_may_use_it():
    """Else the next upload but one overwrites what the GPU still waits for, and it waits for ever."""
    road = Road.__new__(Road)
    road.failure = road.stop = None
    road.send = lambda slot, data: None
    road.sequence = road.done = 0
    road.window_free_at, road.window_sent = [0] * 8, [None] * 8
    road.data_free_at, road.data_sent, road.next_data, road.data_awaited = [0, 0], [None, None], 0, set()
    road.shadow = np.zeros(SRAM_BYTES, np.uint8)
    road.gpu = SimpleNamespace(memory=SimpleNamespace(sram_va=1 << 40))
    road.upload(memoryview(bytes(1000)))
    for window in range(3):
        road.next_sequence()
        road._send_window(window, b"")
        assert road.data_free_at[0] == window + 1
    road.upload_consumed()
    road.next_sequence()
    road._send_window(3, b"")
    assert road.data_free_at == [3, 0]


@pytest.mark.parametrize("nbytes", [1, 4, 8, 60, 64, 65, 4096, 100_000])
def test_read_back_is_one_submission_with_status_behind(stream, road, nbytes):
    to = stream.allocate(nbytes + 64)
    road.answers = [b"\x05" * nbytes]
    into = bytearray(nbytes)
    stream.copy_out(into, to)
    assert bytes(into) == b"\x05" * nbytes
    found = packets(only_payload(road)[:-TRAILER])
    releases = [body[2] | body[3] << 32 for name, body in found if name == "RELEASE_MEM"]
    assert releases == [CONFIG["fence"], CONFIG["release"]], "the release comes last"
    registers = [body for name, body in found if name == "COPY_DATA" and body[0] & 0xF == 0]
    assert [body[1] for body in registers] == [0x2828], "the hub's fault status rides along"
    assert ("DISPATCH_DIRECT" in [name for name, _ in found]) == (nbytes > 64), "few bytes need no kernel"


def test_read_back_reports_fault_and_bad_index(stream, road):
    to = stream.allocate(8)
    status_at = 512 - 64
    road.answers = [bytes(status_at) + struct.pack("<I", 0x1234)]
    with pytest.raises(RuntimeError, match="0x1234"):
        stream.copy_out(bytearray(8), to)
    assert road.faults == [0x1234]
    road.answers = [bytes(status_at + 16) + struct.pack("<IIqq", 1, 0, 99, 10)]
    with pytest.raises(IndexError, match="index 99 is out of bounds for dimension 0 with size 10"):
        stream.copy_out(bytearray(8), to)
    stream.flush()
    clears = [body for name, body in packets(words(road.submissions[-1][1])[:-TRAILER]) if name == "WRITE_DATA"]
    assert [(body[1] | body[2] << 32, body[3:]) for body in clears] == [(CONFIG["error_block"], [0] * 8)]


def test_blocks_are_reused_coalesced_and_counted(stream):
    first = stream.allocate(1000)
    assert first % 512 == 0 and stream.memory_stats()["allocated"] == 1024
    stream.free(first)
    assert stream.allocate(1024) == first, "same rounded size: the cached block"
    stream.free(first)
    blocks = [stream.allocate(128 << 20) for _ in range(7)]
    assert len({b for b in blocks}) == 7
    with pytest.raises(MemoryError, match="tried to allocate 0.50 GiB"):
        stream.allocate(512 << 20)
    for block in blocks:
        stream.free(block)
    stream.empty_cache()
    everything = stream.allocate(stream.memory_stats()["total"])
    assert everything == HEAP, "all holes have grown together again"
    with pytest.raises(MemoryError):
        stream.allocate((1 << 30) + 1)
    assert stream.memory_stats()["ooms"] == 2


def test_ring_entries_wait_then_jump():
    from torch_usbgpu import _runtime

    entries = [(SRAM_VA + (8 + i % 8) * WINDOW_BYTES, 0x5B000000 | i) for i in range(16)]
    ring = words(_runtime.ring_image(entries, WINDOW_BYTES, 16))
    assert len(ring) == 256
    for i, (address, sentinel) in enumerate(entries):
        wait, jump, filler = packets(ring[16 * i:16 * i + 16])
        assert wait[0] == "WAIT_REG_MEM" and wait[1][:5] == [0x13, (address + WINDOW_BYTES - 4) & 0xFFFFFFFF,
                                                            address + WINDOW_BYTES - 4 >> 32, sentinel, 0xFFFFFFFF]
        assert jump == ("INDIRECT_BUFFER", [address & 0xFFFFFFFF, address >> 32, WINDOW_BYTES // 4 - TRAILER | 1 << 23])
        assert filler[0] == "NOP"


def test_naming_a_kernel_does_not_hold_up_the_thread_that_has_the_stream(stream, road):
    """One thread is on the cable (it has the stream and wants the GIL), another asks for a kernel."""
    on_the_cable, asking = threading.Event(), threading.Event()
    submit = road.submit

    def slow_submit(window, payload):
        on_the_cable.set()
        asking.wait(20)
        time.sleep(0.05)    # the other thread is inside kernel() by now
        submit(window, payload)

    road.submit = slow_submit
    stream.launch(stream.kernel("memory", "k", "line"), (1, 1, 1), (64, 1, 1), bytes(16))
    flusher = threading.Thread(target=stream.flush, daemon=True)
    flusher.start()
    assert on_the_cable.wait(20)
    # a deadlock would hold the GIL: only the dump of another, native thread gets the test out of it
    faulthandler.dump_traceback_later(20, exit=True)
    try:
        asking.set()
        stream.kernel("memory", "other", "line")
    finally:
        faulthandler.cancel_dump_traceback_later()
    flusher.join(20)
    assert not flusher.is_alive() and len(road.submissions) == 1
