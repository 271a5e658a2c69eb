"""The commands and the Python of docs/emulator-debugger.md run, one after the other."""
from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

from .conftest import PROGRAM, usbgpu

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "emulator-debugger.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]


def test_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples.py").write_text(PROGRAM.replace("sys.exit(7)", ""))
    assert len(COMMANDS) >= 7
    for command in COMMANDS:
        words = shlex.split(command)
        assert words[0] == "usbgpu"
        usbgpu(*words[1:], check=0)
    assert "launch add" in (tmp_path / "run.txt").read_text()


def test_python():
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "docs/emulator-debugger.md", "exec"), {})
        assert "finished" in printed.getvalue() and "12. 14.  8.  9." in printed.getvalue()
