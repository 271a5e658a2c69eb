"""Every wait of the host half has a time-out: in its loops, in what it waits for, and in each transfer."""
from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device

from ..chip import CHIP

PACKAGE = Path(__file__).resolve().parents[2] / "torch_usbgpu"
SOURCES = sorted(path for room in ("usb", "pcie", "amdgpu", "runtime") for path in (PACKAGE / room).rglob("*.py"))
# Loops that look at no clock, and what ends them.
BOUNDED = {
    ("config.py", "index < 6"): "six BARs",
    ("config.py", "(header := self.read(offset)) not in (0, 4294967295)"): "offsets ascend and are at most 0xFFC",
    ("asm2464pd.py", "self._out_in_flight"): "takes one away, or fails, after a wait with a time-out",
    ("copies.py", "len(on_wire) >= 2"): "takes one away, after a wait with a time-out",
    ("copies.py", "start < last"): "each turn finishes a chunk or uses up a try",
    ("copies.py", "True"): "each turn ends it or uses up a try; tries come back only with a chunk that was drained",
    ("queue.py", "self.shadow_dword(at) == sentinel"): "counts on; one value is excluded",
    ("codeobject.py", "at + 12 <= len(data)"): "moves on through a file",
    ("flash_spi.py", "len(data) < REACHABLE_BYTES"): "each turn reads a piece",
    ("legacy.py", "start + len(data) < end"): "each turn reads a dword at least",
    ("libusb.py", "not self._stop"): "the event thread, which close() ends; it has no user waiting",
    ("status.py", "True"): "the endpoint's own thread, which close() ends",
    ("uas.py", "len(results) < len(commands)"): "each turn runs a command at least",
}
WAITS = {"wait", "join", "acquire", "result", "communicate", "recv", "accept", "getTransfer"}
WITHOUT = {("status.py", "listener.accept()"): "the endpoint's own thread",
           ("transfers.py", "self.handle.getTransfer()"): "makes a transfer, does not wait",
           ("uas.py", "self.handle.getTransfer()"): "makes a transfer, does not wait"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_loops_and_waits_end(path):
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.While):
            loop = ast.unparse(node)
            timed = "time.monotonic()" in loop and any(isinstance(inner, (ast.Raise, ast.Return, ast.Break, ast.Expr))
                                                       for inner in ast.walk(node))
            assert timed or (path.name, ast.unparse(node.test)) in BOUNDED, f"{path}:{node.lineno}: what ends this loop?"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
            if not node.args and not node.keywords:
                assert (path.name, ast.unparse(node)) in WITHOUT, f"{path}:{node.lineno}: waits without a time-out"


def test_the_tables_name_what_there_is():
    """A loop that went away takes its excuse along."""
    found = {(path.name, ast.unparse(node.test)) for path in SOURCES
             for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.While)}
    assert set(BOUNDED) <= found


class Timed:
    """A handle that lets no transfer pass that could wait for ever, synchronous or in flight."""

    def __init__(self, handle):
        self._handle = handle
        self.transfers = 0

    def __getattr__(self, name):
        method = getattr(self._handle, name)
        if name in ("controlWrite", "controlRead", "bulkWrite", "bulkRead"):
            def timed(*arguments, timeout=0):
                assert timeout > 0, (name, arguments)
                self.transfers += 1
                return method(*arguments, timeout=timeout)
            return timed
        return method

    def getTransfer(self, *arguments):
        transfer, timed = self._handle.getTransfer(*arguments), self

        class Transfer:
            def __getattr__(self, name):
                method = getattr(transfer, name)
                if not name.startswith("set"):
                    return method

                def set_up(*arguments, timeout=0, **named):
                    assert timeout > 0, (name, arguments)
                    timed.transfers += 1
                    return method(*arguments, timeout=timeout, **named)
                return set_up
        return Transfer()


@pytest.mark.filterwarnings("ignore:The content of the GPU's memory:RuntimeWarning")
def test_every_transfer_has_a_time_out():
    handle = Timed(EmulatedAdapter(CHIP, vram_bytes=1 << 30))
    with Device(handle) as device:
        for nbytes in (16, 50_000, 900_000):
            at, values = device.alloc(nbytes), np.arange(nbytes // 4, dtype=np.int32)
            device.copy_in(at, values)
            back = np.empty_like(values)
            device.copy_out(back, at)
            np.testing.assert_array_equal(back, values)
        for rung in ("clear halt", "MEC reset", "power cycle"):
            device.reset(rung)
    assert handle.transfers > 1000
