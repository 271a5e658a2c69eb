"""What every command does with its output, whatever it is connected to."""
from __future__ import annotations

import json

import pytest

from torch_usbgpu.cli import app

from .conftest import usbgpu

COMMANDS = [["list"], ["doctor"], ["smi"], ["adapter", "info"], ["reset"]]


@pytest.mark.parametrize("command", COMMANDS[:-1], ids=" ".join)
def test_an_error_is_a_json_document_too(command):
    done = usbgpu(*command, "--json", "--device", "nonsense", check=2)
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "USBGPU-001" and "nonsense" in error["found"] and error["action"]
    assert "USBGPU-001" in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_error_without_json_is_not(command):
    assert usbgpu(*command, "--device", "nonsense", check=2).stdout.count("{") == 0


@pytest.mark.parametrize("command", [["firmware", "status"], ["smi", "--device", "emulated"], ["list"]], ids=" ".join)
def test_closed_output(monkeypatch, command):
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    with pytest.raises(SystemExit):
        app.main(command)


@pytest.mark.parametrize("command", [["list"], ["adapter", "info", "--device", "emulated"]], ids=" ".join)
def test_variables_that_are_set_to_nothing(monkeypatch, command):
    for name in ("USBGPU_DEVICE", "USBGPU_TIMEOUT_S", "USBGPU_EMULATOR", "USBGPU_LOG"):
        monkeypatch.setenv(name, "")
    usbgpu(*command, check=0)
