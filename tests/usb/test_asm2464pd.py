"""The adapter protocol, request by request, against a scripted handle: the bytes on the wire are what counts."""
from __future__ import annotations

import itertools
import struct

import pytest
import usb1

from torch_usbgpu import errors
from torch_usbgpu.usb import asm2464pd, bridge, tlp
from torch_usbgpu.usb.asm2464pd import Adapter
from torch_usbgpu.usb.facts import FACTS

from .scripted import ScriptedHandle, completion, timeout

L0 = b"\x78"


def make(*replies) -> tuple[Adapter, ScriptedHandle]:
    handle = ScriptedHandle(replies)
    return Adapter(handle), handle


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(asm2464pd.time, "sleep", lambda seconds: None)


def payload(address: int, value: int) -> bytes:
    return struct.pack("<III", address & 0xFFFF_FFFF, address >> 32, value)


def test_packet_formats_agree_with_the_adapters_facts():
    for name, value in FACTS["tlp"].items():
        assert getattr(tlp, name.upper()) == value
    assert FACTS["completion_status"] == {"success": tlp.SUCCESS, "unsupported_request": tlp.UNSUPPORTED_REQUEST,
                                          "retry": tlp.CONFIG_RETRY, "abort": tlp.COMPLETER_ABORT}


# ---- single packets

@pytest.mark.parametrize(("address", "size", "value", "fmt", "enables", "shifted"), [
    (0x1000_0000, 4, 0x1234_5678, 0x40, 0xF, 0x1234_5678),
    (0x1000_0001, 1, 0xAB, 0x40, 0x2, 0xAB00),
    (0x1000_0002, 2, 0xBEEF, 0x40, 0xC, 0xBEEF_0000),
    (0x1000_0001, 3, 0x33_2211, 0x40, 0xE, 0x3322_1100),
    (0x8_0000_0000, 4, 0x1_0000_0001, 0x60, 0xF, 1),
])
def test_write_is_one_posted_packet(address, size, value, fmt, enables, shifted):
    adapter, handle = make()
    adapter.write(address, value, size)
    # No 0xF0 IN may follow: the firmware would spin on a completion that never comes.
    assert handle.calls == [("out", 0xF0, fmt | enables << 8, 0, payload(address & ~3, shifted))]


@pytest.mark.parametrize(("address", "size"), [(0x1000_0003, 2), (0x1000_0000, 5), (0x1000_0000, 0)])
def test_write_across_dwords_is_refused(address, size):
    adapter, handle = make()
    with pytest.raises(ValueError):
        adapter.write(address, 0, size)
    assert handle.calls == []


def test_read32_collects_its_completion():
    adapter, handle = make(completion(0xCAFE_F00D))
    assert adapter.read32(0x1000_0010) == 0xCAFE_F00D
    assert handle.calls == [("out", 0xF0, 0x0F00, 0, payload(0x1000_0010, 0)), ("in", 0xF0, 0, 0, 8)]


@pytest.mark.parametrize("got", [0, 4, 7])
def test_a_completion_that_is_cut_short(got):
    adapter, _ = make(completion(1)[:got])
    with pytest.raises(errors.LinkError, match="too few bytes"):
        adapter.read32(0x1000_0010)


def test_engine_errors_are_retried_with_out_and_in_adjacent():
    adapter, handle = make(completion(engine=1), completion(engine=0xFF), completion(7))
    assert adapter.read32(0x8_0000_0000) == 7
    assert [call[0] for call in handle.calls] == ["out", "in"] * 3
    assert adapter.stats.retries == 2


def test_engine_errors_without_end_look_at_the_link():
    adapter, handle = make(*[completion(engine=1)] * 10, b"\x00")
    with pytest.raises(errors.LinkError) as caught:
        adapter.read32(0x8_0000_0000)
    assert "the link is down" in str(caught.value)
    assert len([c for c in handle.calls if c[0] == "in" and c[1] == 0xF0]) == 10


@pytest.mark.parametrize(("bus", "register", "size", "fmt", "enables", "raw", "expected"), [
    (0, 0x00, 4, 0x04, 0xF, 0x2463_1B21, 0x2463_1B21),
    (4, 0x0E, 1, 0x05, 0x4, 0x0081_0000, 0x81),
    (4, 0x06, 2, 0x05, 0xC, 0x0010_0007, 0x0010),
    (4, 0x150, 4, 0x05, 0xF, 5, 5),
])
def test_config_read(bus, register, size, fmt, enables, raw, expected):
    adapter, handle = make(completion(raw))
    assert adapter.config_read(bus, 0, 0, register, size) == expected
    assert handle.calls[0] == ("out", 0xF0, fmt | enables << 8, 0, payload(bus << 24 | register & ~3, 0))


def test_config_write_collects_its_completion():
    adapter, handle = make(completion(has_data=False))
    adapter.config_write(2, 0, 0, 0x04, 0x07, 1)
    assert handle.calls == [("out", 0xF0, 0x45 | 0x1 << 8, 0, payload(2 << 24 | 4, 7)), ("in", 0xF0, 0, 0, 8)]


def test_config_retry_status_is_repeated_until_the_function_is_up():
    adapter, handle = make(completion(status=tlp.CONFIG_RETRY), completion(status=tlp.CONFIG_RETRY), completion(0x1002))
    assert adapter.config_read(4, 0, 0, 0, 2) == 0x1002


def test_config_retry_ends():
    adapter, handle = make(*[completion(status=tlp.CONFIG_RETRY)] * 100_000)
    adapter_retry, bridge.CONFIG_RETRY_SECONDS = bridge.CONFIG_RETRY_SECONDS, 0.02
    try:
        with pytest.raises(errors.LinkError, match="retry"):
            adapter.config_read(4, 0, 0, 0)
    finally:
        bridge.CONFIG_RETRY_SECONDS = adapter_retry


@pytest.mark.parametrize("status", [tlp.UNSUPPORTED_REQUEST, tlp.COMPLETER_ABORT])
def test_done_is_not_success(status):
    adapter, _ = make(completion(status=status, has_data=False))
    with pytest.raises(errors.LinkError):
        adapter.config_read(5, 0, 0, 0)


def test_a_refused_read_below_4_gib_is_tried_once_with_a_wide_header():
    adapter, handle = make(completion(status=tlp.UNSUPPORTED_REQUEST), completion(3), completion(4))
    assert adapter.read32(0x1000_0000) == 3
    assert adapter.read32(0x1000_0004) == 4
    assert [c[2] & 0xFF for c in handle.calls if c[0] == "out"] == [0x00, 0x20, 0x20]


# ---- streams

def test_memory_write_is_one_stream():
    adapter, handle = make()
    data = bytes(range(64)) * 2
    adapter.memory_write(0x8_0000_1000, data)
    assert handle.calls == [("out", 0xF0, 0x0F60, 1, payload(0x8_0000_1000, 32)), ("bulk_out", data)]


def test_memory_write_of_any_alignment():
    adapter, handle = make()
    adapter.memory_write(0x1000_0003, bytes(range(1, 15)))          # 1 byte, 12 bytes, 1 byte
    assert handle.calls == [
        ("out", 0xF0, 0x40 | 0x8 << 8, 0, payload(0x1000_0000, 1 << 24)),
        ("out", 0xF0, 0x0F40, 1, payload(0x1000_0004, 3)), ("bulk_out", bytes(range(2, 14))),
        ("out", 0xF0, 0x40 | 0x1 << 8, 0, payload(0x1000_0010, 14))]


def test_no_stream_ever_carries_less_than_a_dword():
    """On an armed stream, a packet of 0..3 bytes makes the firmware write 65536 stray dwords."""
    for size in range(40):
        for start in range(4):
            adapter, handle = make()
            adapter.memory_write(0x1000_0000 + start, bytes(size))
            for call in handle.calls:
                assert call[0] != "bulk_out" or (len(call[1]) >= 4 and len(call[1]) % 4 == 0)


def test_stream_read_looks_at_the_link_first_but_only_once():
    adapter, handle = make(L0, b"abcdefgh", b"ijkl")
    assert adapter.memory_read(0x8_0000_0000, 8) == b"abcdefgh"
    assert adapter.memory_read(0x8_0000_0000, 4) == b"ijkl"
    assert handle.calls == [
        ("in", 0xE4, 0xB450, 0, 1),
        ("out", 0xF0, 0x0F20, 2, payload(0x8_0000_0000, 2)), ("bulk_in", 8),
        ("out", 0xF0, 0x0F20, 2, payload(0x8_0000_0000, 1)), ("bulk_in", 4)]


def test_stream_read_never_starts_on_a_dead_link():
    adapter, handle = make(b"\x01")
    with pytest.raises(errors.LinkError):
        adapter.memory_read(0x8_0000_0000, 8)
    assert handle.calls == [("in", 0xE4, 0xB450, 0, 1)]


def test_power_makes_the_link_suspect_again():
    adapter, handle = make(L0, b"abcd", b"\x00")
    adapter.memory_read(0x8_0000_0000, 4)
    adapter.power(False)
    with pytest.raises(errors.LinkError):
        adapter.memory_read(0x8_0000_0000, 4)
    assert ("out", 0xF3, 0, 0, b"") in handle.calls


def test_unaligned_read_is_cut_out_of_whole_dwords():
    adapter, handle = make(L0, b"abcdefgh")
    assert adapter.memory_read(0x8_0000_0003, 3) == b"def"
    assert handle.calls[-1] == ("bulk_in", 8)


def test_stream_read_time_out_clears_the_endpoints():
    adapter, handle = make(L0, timeout(), timeout())
    with pytest.raises(errors.LinkTimeout):
        adapter.memory_read(0x8_0000_0000, 8)
    assert handle.calls[-5:] == [("alt", 0, 0), ("clear_halt", 0x02), ("clear_halt", 0x81), ("bulk_in", 65536),
                                 ("clear_halt", 0x81)]


# ---- SRAM

@pytest.mark.parametrize(("slot", "nbytes", "value", "index"), [
    (0, 1, 1, 0x0100), (0, 512, 1, 0x0100), (0, 513, 2, 0x0100), (8, 16384, 32, 0x0108), (8, 16385, 33, 0x0208),
    (0, 524288, 1024, 0x2000), (16, 262144, 512, 0x1010)])
def test_sram_write_arms_then_sends_whole_sectors(slot, nbytes, value, index):
    adapter, handle = make()
    data = bytes(i & 0xFF for i in range(nbytes))
    adapter.sram_write(slot, data)
    arm, bulk = handle.calls
    assert arm == ("out", 0xF2, value, index, b"")
    assert bulk[0] == "bulk_out" and len(bulk[1]) == value * 512 and bulk[1][:nbytes] == data
    assert not any(bulk[1][nbytes:])


@pytest.mark.parametrize(("slot", "nbytes"), [(0, 0), (0, 524289), (31, 16385), (-1, 4), (32, 4)])
def test_sram_windows_that_do_not_exist(slot, nbytes):
    adapter, handle = make()
    with pytest.raises(ValueError):
        adapter.sram_arm_out(slot, nbytes)
    assert handle.calls == []


def test_landed_data_is_proven_by_a_marker_behind_it():
    adapter, handle = make(bytes(4), b"\x01\x00\xa1\x5e", b"\x02\x00\xa1\x5e")
    adapter.sram_write_landed(1, b"data")
    assert [c[:4] for c in handle.calls if c[0] != "bulk_out"] == [
        ("out", 0xF2, 1, 0x0101), ("out", 0xF2, 1, 0x0100), ("in", 0xE4, 0xF000, 0), ("in", 0xE4, 0xF000, 0)]
    assert handle.calls[3][1][:4] == b"\x01\x00\xa1\x5e"
    adapter.sram_write_landed(1, b"data")            # the next marker differs, so the old one cannot be taken for it
    assert handle.replies == []
    with pytest.raises(ValueError):
        adapter.sram_write_landed(0, b"data")


def test_sram_read_waits_in_slices():
    data = bytes(range(256)) * 4
    adapter, handle = make(timeout(), timeout(data[:512]), data[512:])
    adapter.sram_arm_in(1000)
    assert handle.calls == [("out", 0xF2, 0x8002, 0x0100, b"")]
    assert adapter.sram_finish_in(1000, timeout_ms=5) is None
    assert adapter.sram_finish_in(1000, timeout_ms=5) is None
    assert adapter.sram_finish_in(1000, timeout_ms=5) == data[:1000]
    assert [c for c in handle.calls if c[0] == "bulk_in"] == [("bulk_in", 1024), ("bulk_in", 1024), ("bulk_in", 512)]


def test_no_stream_read_while_an_sram_read_is_armed():
    adapter, handle = make(completion(0x4433_2211), completion(0x8877_6655))
    adapter.sram_arm_in(512)
    assert adapter.memory_read(0x8_0000_0001, 6) == bytes.fromhex("223344556677")
    assert [call[0] for call in handle.calls] == ["out", "out", "in", "out", "in"]      # single packets, no bulk IN
    with pytest.raises(RuntimeError):
        adapter.sram_arm_in(512)
    adapter.memory_write(0x8_0000_0000, bytes(8))        # bulk OUT is free
    assert handle.calls[-1] == ("bulk_out", bytes(8))


def test_recover_forgets_an_armed_read():
    adapter, handle = make(timeout(), timeout(), L0, b"abcd")
    adapter.sram_arm_in(512)
    assert adapter.sram_finish_in(512, timeout_ms=1) is None
    adapter.recover()
    assert adapter.memory_read(0x8_0000_0000, 4) == b"abcd"


# ---- XDATA, opening, errors

def test_xdata_is_read_in_pieces_and_written_byte_by_byte():
    adapter, handle = make(bytes(512), bytes(88))
    assert len(adapter.read_xdata(0xF000, 600)) == 600
    adapter.write_xdata(0xA800, b"\x01\x02")
    adapter.write_xdata(0x6025, b"\x80", bank=1)
    assert handle.calls == [("in", 0xE4, 0xF000, 0, 512), ("in", 0xE4, 0xF200, 0, 88), ("out", 0xE5, 0xA800, 1, b""),
                            ("out", 0xE5, 0xA801, 2, b""), ("out", 0xE5, 0x6025, 0x180, b"")]


def test_start_clears_both_endpoints_and_drains():
    adapter, handle = make(timeout())
    adapter.start()
    assert handle.calls == [("alt", 0, 0), ("clear_halt", 0x02), ("clear_halt", 0x81), ("bulk_in", 65536),
                            ("clear_halt", 0x81)]


@pytest.mark.parametrize("product, mode", [("USB 3.2 PCIe TinyEnclosure", "stock"), ("AS2462", "rom")])
def test_start_refuses_wrong_modes(product, mode):
    adapter, handle = make()
    handle.getProduct = lambda: product
    with pytest.raises(errors.WrongMode) as caught:
        adapter.start()
    assert caught.value.mode == mode and not handle.calls


def probe_answer(works: bool) -> list:
    """The drain, SRAM before, SRAM after the probe."""
    return [timeout(), bytes(8), (bytes([0x5A]) if works else bytes(1)) * 8]


def at_high_speed(*replies):
    adapter, handle = make(*replies)
    handle.getProduct, handle.getDeviceSpeed = lambda: "custom v0.1", lambda: usb1.SPEED_HIGH
    return adapter, handle


def test_high_speed_tries_the_sram_once():
    adapter, handle = at_high_speed(*probe_answer(True), timeout())
    with pytest.warns(UserWarning, match="USB 2 speed"):
        adapter.start()
    assert adapter.has_sram and not adapter.can_arm_reads and adapter.can_stream
    assert ("out", 0xF2, 1, 1 << 8, b"") in handle.calls and ("bulk_out", bytes([0x5A]) * 8 + bytes(504)) in handle.calls
    before = len(handle.calls)
    adapter.start()
    assert len(handle.calls) == before + 5          # the clearing; no second probe


def test_high_speed_without_sram(monkeypatch):
    monkeypatch.setattr(asm2464pd, "PROBE_SECONDS", 0)
    adapter, handle = at_high_speed(*probe_answer(False), *[bytes(8)] * 3, timeout())
    with pytest.warns(UserWarning):
        adapter.start()
    assert not adapter.has_sram and handle.calls[-1] == ("clear_halt", 0x81)
    adapter, handle = at_high_speed(timeout(), bytes(8), timeout())
    handle.bulkWrite = lambda *_arguments, timeout=0: (_ for _ in ()).throw(usb1.USBErrorTimeout())
    with pytest.warns(UserWarning):
        adapter.start()
    assert not adapter.has_sram


def test_usb4_is_told_by_a_link_that_nobody_trains(monkeypatch):
    monkeypatch.setattr(bridge, "TUNNEL_SECONDS", 0.02)
    monkeypatch.setattr(bridge, "LINK_POLL_SECONDS", 0.01)
    adapter, handle = at_high_speed(*probe_answer(True))
    with pytest.warns(UserWarning):
        adapter.start()
    handle.controlRead = lambda *_arguments, timeout=0: b"\x00"
    with pytest.raises(errors.WrongMode, match="USB4") as caught:
        adapter.raise_link()
    assert caught.value.mode == "usb4"
    adapter, handle = at_high_speed(*probe_answer(True))
    with pytest.warns(UserWarning):
        adapter.start()
    answers = itertools.cycle([b"\x00", b"\x01"])                 # a slot without a card
    handle.controlRead = lambda *_arguments, timeout=0: next(answers)
    with pytest.raises(errors.PcieLinkDown):
        adapter.raise_link(timeout_s=0.1)
    adapter, handle = make()                                      # SuperSpeed
    handle.controlRead = lambda *_arguments, timeout=0: b"\x00"
    with pytest.raises(errors.PcieLinkDown):
        adapter.raise_link(timeout_s=0.1)


def test_describe():
    adapter, handle = make(b"\x78", b"\x43")
    handle.getProduct, handle.getDeviceSpeed = lambda: "custom v0.1", lambda: usb1.SPEED_SUPER_PLUS
    handle.getSerialNumber, handle.getVendorID, handle.getProductID = lambda: "0123abcd", lambda: 0x3801, lambda: 1
    shown = adapter.describe()
    assert shown["firmware"] == "v0.1" and shown["generation"] == "custom-2026-08" and shown["serial"] == "0123abcd"
    assert shown["usb_gbps"] == 10 and shown["pcie_link_up"] and shown["pcie_lanes"] == 4
    assert shown["pcie_gt_per_s"] == 8 and shown["ids"] == "3801:0001"
    assert ("in", 0xE4, 0x4092, 0x100, 1) in handle.calls
    adapter, handle = make(b"\x03", b"\x00")                  # nothing but transfers; the link is down
    shown = adapter.describe()
    assert shown["usb_gbps"] == 10 and not shown["pcie_link_up"] and shown["pcie_lanes"] is None


def test_raise_link_powers_up_and_wants_it_twice_in_a_row():
    adapter, handle = make(b"\x00", b"\x78", b"\x10", b"\x78", b"\x78")
    adapter.raise_link()
    assert handle.calls[1] == ("out", 0xF3, 1, 0, b"") and len(handle.calls) == 6
    assert handle.replies == []


def test_raise_link_gives_up():
    adapter, handle = make(*[b"\x4C"] * 1000)
    with pytest.raises(errors.LinkError) as caught:
        adapter.raise_link(timeout_s=0.0)
    assert caught.value.state["ltssm"] == "0x4c"


@pytest.mark.parametrize(("usb_error", "ours"), [
    (usb1.USBErrorTimeout, errors.LinkTimeout), (usb1.USBErrorNoDevice, errors.DeviceLost),
    (usb1.USBErrorPipe, errors.LinkError), (usb1.USBErrorBusy, errors.DeviceBusy),
    (usb1.USBErrorAccess, errors.PermissionDenied)])
def test_usb_errors_become_ours(usb_error, ours):
    adapter, handle = make()
    handle.fail_writes[0] = usb_error()
    with pytest.raises(ours) as caught:
        adapter.write32(0x1000_0000, 1)
    assert caught.value.code.startswith("USBGPU-1") and isinstance(caught.value.__cause__, usb_error)
    assert adapter.stats.errors == 1


# ---- transfers in flight

class AsynchronousHandle(ScriptedHandle):
    """Transfers stay in flight until complete_next()."""

    def __init__(self, replies=()):
        super().__init__(replies)
        self.in_flight: list[ScriptedTransfer] = []

    def getTransfer(self):
        return ScriptedTransfer(self)

    def complete_next(self):
        self.in_flight.pop(0).complete()


class ScriptedTransfer:
    def __init__(self, handle):
        self.handle = handle

    def setControl(self, request_type, request, value, index, buffer_or_len, callback=None, user_data=None, timeout=0):
        self.callback, self.length = callback, buffer_or_len
        reads = isinstance(buffer_or_len, int)
        self.call = ("in" if reads else "out", request, value, index, buffer_or_len if reads else bytes(buffer_or_len))

    def setBulk(self, endpoint, buffer_or_len, callback=None, user_data=None, timeout=0):
        self.callback, self.length = callback, buffer_or_len
        self.call = ("bulk_out", bytes(buffer_or_len))

    def submit(self):
        self.handle.calls.append(self.call)
        self.handle.in_flight.append(self)

    def complete(self):
        self.buffer = self.handle._reply(self.length) if self.call[0] == "in" else b""
        self.callback(self)

    def getStatus(self):
        return usb1.TRANSFER_COMPLETED

    def getActualLength(self):
        return self.length if isinstance(self.length, int) else len(self.length)

    def getBuffer(self):
        return self.buffer


def test_submitted_transfers_end_later():
    handle = AsynchronousHandle([b"\x05" + bytes(7)])
    adapter = Adapter(handle)
    arm, fence = adapter.submit_sram_arm_out(0, 512), adapter.submit_read_xdata(0xA800, 8)
    assert not arm.done and not fence.done
    with pytest.raises(TimeoutError):
        arm.wait(0.001)
    handle.complete_next()
    handle.complete_next()
    assert arm.wait(1) == 0 and fence.wait(1) == b"\x05" + bytes(7)


def test_no_pcie_request_overtakes_sram_data_in_flight(monkeypatch):
    handle = AsynchronousHandle()
    adapter = Adapter(handle)
    data = adapter.submit_sram_data(bytes(512))
    waited = []
    monkeypatch.setattr(data, "wait", lambda seconds=None: waited.append(data.done) or handle.complete_next())
    adapter.write32(0x1000_0000, 1)
    assert waited == [False] and data.done


def test_without_asynchronous_transfers_submission_is_synchronous():
    adapter, handle = make(bytes(8))
    assert adapter.submit_read_xdata(0xA800, 8).wait(0) == bytes(8)
    assert adapter.submit_sram_data(bytes(512)).wait(0) == 512


# ---- statistics

def test_statistics_follow_the_yardstick():
    adapter, handle = make(L0, bytes(1800))
    adapter.write32(0x1000_0000, 1)                       # control
    adapter.memory_write(0x8_0000_0000, bytes(3600))      # control, bulk at 3.6 MB/s
    adapter.memory_read(0x8_0000_0000, 1800)              # LTSSM, control, bulk at 1.8 MB/s
    adapter.sram_write(0, bytes(7 * 512))                 # control, bulk at 700 MB/s
    stats = adapter.stats.snapshot()
    expected = 5 * 60e-6 + (30e-6 + 3600 / 3.6e6) + (30e-6 + 1800 / 1.8e6) + (30e-6 + 3584 / 700e6)
    assert stats["modelled_seconds"] == pytest.approx(expected)
    assert (stats["control_out"], stats["control_in"], stats["bulk_out"], stats["bulk_in"]) == (4, 1, 2, 1)
    assert stats["bytes_out"] == 12 * 3 + 3600 + 3584 and stats["bytes_in"] == 1 + 1800
    assert stats["by_request"] == {"pcie_single": 1, "pcie_stream_write": 1, "bulk_pcie_stream_write": 1, "read_xdata": 1,
                                   "pcie_stream_read": 1, "bulk_pcie_stream_read": 1, "sram_arm_out": 1, "bulk_sram_out": 1}
    adapter.stats.reset()
    assert adapter.stats.transfers == 0 and adapter.stats.snapshot()["modelled_seconds"] == 0
