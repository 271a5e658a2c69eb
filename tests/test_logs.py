"""USBGPU_LOG: what it means, what it prints, and what a wrong one does."""
from __future__ import annotations

import logging

import pytest

from torch_usbgpu import logs
from torch_usbgpu.errors import ConfigError

from .scripts.run import run

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


@pytest.mark.parametrize(("text", "levels"), [
    ("", {}),
    ("amdgpu:info", {"amdgpu": INFO}),
    ("amdgpu", {"amdgpu": INFO}),
    ("amdgpu:info,usb:debug", {"amdgpu": INFO, "usb": DEBUG}),
    (" amdgpu.psp:DEBUG  usb:error,", {"amdgpu.psp": DEBUG, "usb": ERROR}),
    ("warning", {"": WARNING}),
    ("all:debug", {"": DEBUG}),
    ("all", {"": INFO}),
    ("warning,pcie:debug", {"": WARNING, "pcie": DEBUG}),
])
def test_parse(text, levels):
    assert logs.parse(text) == {f"torch_usbgpu.{name}".rstrip("."): level for name, level in levels.items()}


@pytest.mark.parametrize("text", ["amdgpu:loud", "gpu:info", "amdgpu.pps:debug", ":info", "amdgpu:", "../usb:info", "1"])
def test_wrong_text_is_refused(text):
    with pytest.raises(ConfigError, match="USBGPU_LOG"):
        logs.parse(text)


BOOT = """
{before}
from torch_usbgpu.runtime import Device
gpu = Device('emulated')
gpu.close()
"""


def boot(text: str, before: str = "") -> list[str]:
    done = run(BOOT.format(before=before), USBGPU_LOG=text)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def test_the_boot_log_is_readable():
    lines = boot("amdgpu:info")
    steps = [line.split()[2] for line in lines]
    assert steps.index("find_gpu") < steps.index("load_firmware") < steps.index("create_queues")
    assert all(line.split()[1].startswith("amdgpu.") for line in lines) and all(len(line) < 400 for line in lines)
    assert "cold start" in lines[-1] and "transfers" in lines[-1]


def test_requests_are_shown_at_debug():
    lines = boot("usb:debug")
    assert any("pcie_single value=" in line and "data=" in line for line in lines)
    assert any("pcie_completion" in line and "answer=" in line for line in lines)
    assert any("bulk sram_out" in line for line in lines)
    assert not any(" amdgpu." in line for line in lines)


def test_silent_without_it():
    assert boot("") == []


def test_a_wrong_text_is_a_warning():
    lines = boot("amdgpu:loud")
    assert any("USBGPU-001" in line and "amdgpu:loud" in line for line in lines)


def test_not_said_twice_where_the_program_logs_itself():
    lines = boot("amdgpu:info", "import logging; logging.basicConfig(level=logging.DEBUG)")
    assert len([line for line in lines if "find_gpu" in line]) == 1
