"""`usbgpu emulator replay` and `diff`; the same trace serves the host half."""
from __future__ import annotations

import json

import pytest

from torch_usbgpu.usb import emulated, recorded

from .conftest import PROGRAM, usbgpu


def rewritten(traced, path, change):
    """A copy of the trace with one transfer changed. change(number, row) -> True where it did."""
    out, number, hits = [], -1, []
    for row in traced.rows:
        if "op" in row:
            number += 1
            if not hits and change(number, row):
                hits.append(number)
        out.append(json.dumps(row))
    path.write_text("\n".join(out) + "\n")
    assert hits
    return hits[0]


def test_replay_against_the_model_gives_the_recorded_answers(traced):
    done = usbgpu("emulator", "replay", traced.path, check=0)
    assert "transfers replayed on navi31: no differences" in done.stdout
    assert "\x1b" not in done.stdout


def flip_readback(number, row):
    """One byte of what the kernel computed."""
    result = row.get("result")
    if row["op"] == "bulkRead" and isinstance(result, dict) and len(result.get("hex", "")) > 8000:
        data = bytearray.fromhex(result["hex"])
        data[1029] ^= 0x40
        result["hex"] = data.hex()
        return True
    return False


def test_replay_finds_a_changed_answer(traced, tmp_path):
    number = rewritten(traced, tmp_path / "changed", flip_readback)
    done = usbgpu("emulator", "replay", "--json", tmp_path / "changed", check=1)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["transfer"], row["offset"]) for row in found] == [(number, 1029)]


def test_diff_of_a_run_with_itself(traced):
    assert "agree" in usbgpu("emulator", "diff", traced.path, traced.path, check=0).stdout


def test_two_runs_of_one_program_agree(traced, program, tmp_path):
    """Whatever differs in time (polls, how long the GPU takes) is not in the way."""
    usbgpu("emulator", "trace", "-o", tmp_path / "again", program, check=7)
    assert "agree" in usbgpu("emulator", "diff", traced.path, tmp_path / "again", check=0).stdout


def test_diff_finds_a_changed_answer(traced, tmp_path):
    number = rewritten(traced, tmp_path / "changed", flip_readback)
    text = usbgpu("emulator", "diff", traced.path, tmp_path / "changed", check=1).stdout
    assert f"part at transfer {number} | {number}" in text
    assert "the answers differ; first difference at byte 1029" in text


def test_diff_finds_other_data(traced, tmp_path):
    """A byte of a command window that the host sent."""
    def change(number, row):
        if row["op"] == "bulkWrite" and len(row["args"][1].get("hex", "")) == 2 * 16384:
            data = bytearray.fromhex(row["args"][1]["hex"])
            data[100] ^= 1
            row["args"][1]["hex"] = data.hex()
            return True
        return False

    number = rewritten(traced, tmp_path / "changed", change)
    text = usbgpu("emulator", "diff", traced.path, tmp_path / "changed", check=1).stdout
    assert f"part at transfer {number}" in text and "the hosts send different data; first difference at byte 100" in text


def test_diff_finds_another_register_write(traced, tmp_path):
    def change(number, row):
        written = row.get("decoded", {})
        if written.get("register") == "GCVM_L2_CNTL3":
            row["args"][4]["hex"] = row["args"][4]["hex"][:-8] + "00000000"
            return True
        return row["op"] == "controlWrite" and written.get("name") == "pcie_single" and \
            written.get("register") == "CP_HQD_ACTIVE" and not row["args"].__setitem__(3, 3)

    rewritten(traced, tmp_path / "changed", change)
    text = usbgpu("emulator", "diff", traced.path, tmp_path / "changed", check=1).stdout
    assert "the hosts" in text and "GCVM_L2_CNTL3" in text or "CP_HQD_ACTIVE" in text


def test_the_host_half_runs_on_the_trace(traced):
    """The `recorded` transport answers a driver that does the same again, without any device."""
    replay = recorded.RecordedHandle(traced.path)
    program = PROGRAM.replace('Device("emulated:navi31")', "Device(replay, directories)").replace("sys.exit(7)", "")
    exec(program, {"replay": replay, "directories": (emulated.firmware_directory("navi31"),)})
    assert replay.remaining == 0


@pytest.mark.parametrize("command", ["replay", "show", "diff"])
@pytest.mark.parametrize("damage, message", [
    (lambda text: "", "is no trace file"),
    (lambda text: "hello\nworld\n", "is no trace file"),
    (lambda text: text.replace("usbgpu-trace-1", "usbgpu-trace-9", 1), "another version, usbgpu-trace-9"),
    (lambda text: text[:len(text) // 2], "cut off in the middle"),
    (lambda text: text[:text.rstrip().rindex("\n") + 1], "its last line is missing"),
    (lambda text: text.replace('"hex":"', '"hex":"zz', 1), "damaged"),
    (lambda text: "\n".join(line for n, line in enumerate(text.splitlines()) if n != 5), "it says it has"),
    (lambda text: text.replace('"op":', '"po":', 1), "neither a transfer nor an event"),
    (lambda text: text + "\u00e4", "is no trace file: it is not text"),
])
def test_bad_files(traced, tmp_path, command, damage, message):
    path = tmp_path / "bad"
    path.write_text(damage(traced.path.read_text()), encoding="utf-8")
    from torch_usbgpu.errors import TraceError
    from torch_usbgpu.usb import trace_file

    with pytest.raises(TraceError, match=message):
        trace_file.read(path)
    if message == "damaged":       # the commands pass it on; one of each is enough
        files = [path, path] if command == "diff" else [path]
        done = usbgpu("emulator", command, *files, check=2)
        assert "USBGPU-109" in done.stderr and "Traceback" not in done.stderr


def test_a_partial_trace_can_be_read(traced, tmp_path):
    path = tmp_path / "half"
    text = traced.path.read_text()
    path.write_text(text[:len(text) // 2])
    done = usbgpu("emulator", "show", "--partial", "--filter", "xdata", path, check=0)
    assert "LTSSM" in done.stdout and "has no end" in done.stderr


def test_missing_file():
    assert "cannot be read" in usbgpu("emulator", "replay", "/no/such/trace", check=2).stderr
