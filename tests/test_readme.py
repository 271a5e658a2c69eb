"""The README's Python runs, and its commands are the Makefile's."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scripts.run import output
from torch_usbgpu.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(code):
    output(code)


def test_has_python():
    assert BLOCKS


@pytest.mark.parametrize("command", ["demo", "test"])
def test_commands_exist(command):
    assert f"make {command}" in README
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.M)
    if command == "test":
        assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`usbgpu ([a-z]+)", README))))
def test_usbgpu_commands_exist(name):
    assert name in COMMANDS


def test_the_way_to_the_usbgpu_command():
    assert ".venv/bin/activate" in README and "VENV := .venv" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)", README))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()
