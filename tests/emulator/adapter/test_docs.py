"""docs/emulator-adapter.md says what the code does: its example runs, and its lists are complete."""
import re
from pathlib import Path

from .test_strict import ROWS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "emulator-adapter.md").read_text(encoding="utf-8")


def test_example_runs():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(block, "docs/emulator-adapter.md", "exec"), {})


def test_every_violation_is_listed():
    names = {name for name, _ in ROWS}
    for path in (ROOT / "csrc" / "emulator" / "adapter").glob("*.cpp"):
        names |= set(re.findall(r'violation(?:_elsewhere)?\(\s*"([a-z0-9-]+)"', path.read_text(encoding="utf-8")))
    section = PAGE[PAGE.index("## Strict mode"):PAGE.index("## Fault switches")]
    assert names and not [name for name in names if name not in section]


def test_every_fault_switch_is_listed():
    source = (ROOT / "csrc" / "emulator" / "adapter" / "faults.cpp").read_text(encoding="utf-8")
    switches = set(re.findall(r'kind == "([a-z-]+)"', source))
    section = PAGE[PAGE.index("## Fault switches"):]
    assert len(switches) >= 19 and not [switch for switch in switches if f"`{switch}" not in section]
