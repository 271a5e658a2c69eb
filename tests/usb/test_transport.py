"""USBGPU_DEVICE, and what open_handle makes of it."""
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import usb1

from torch_usbgpu import emulated_firmware, usb
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import ConfigError, DeviceNotFound
from torch_usbgpu.usb import emulated, libusb, transport

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("text, kind, detail", [
    ("auto", "auto", None), ("usb", "usb", None), ("usb:2-1.4", "usb", "2-1.4"), ("emulated", "emulated", None),
    ("emulated:navi31", "emulated", "navi31"), (" emulated:gfx1100 ", "emulated", "gfx1100")])
def test_specs(text, kind, detail):
    assert usb.parse_spec(text) == usb.DeviceSpec(kind, detail)


@pytest.mark.parametrize("text", ["", "cuda", "usb:", "usb:one", "usb:1", "auto:1", "emulated:", "Emulated"])
def test_unknown_specs_name_the_valid_ones(text):
    with pytest.raises(ConfigError) as caught:
        usb.parse_spec(text)
    assert "usb" in caught.value.action


def test_unknown_chip():
    with pytest.raises(ConfigError, match="emulated:navi31"):
        usb.open_handle("emulated:voodoo2")


@pytest.fixture
def no_adapter(monkeypatch):
    def nothing(*_arguments, **_options):
        raise DeviceNotFound("No USB GPU adapter is plugged in.")
    monkeypatch.setattr(libusb, "open_adapter", nothing)
    monkeypatch.setattr(transport, "_warned", False)


def test_auto_without_adapter_warns_once(no_adapter):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            opened = usb.open_handle("auto")
            assert opened.label == "emulated" and isinstance(opened.handle, usb.UsbHandle)
            opened.handle.close()
    assert len(seen) == 1 and "USBGPU_DEVICE" in str(seen[0].message)


def test_usb_without_adapter_is_an_error(no_adapter):
    with pytest.raises(DeviceNotFound):
        usb.open_handle("usb")


def test_auto_prefers_the_real_adapter_and_reports_its_errors(monkeypatch):
    from torch_usbgpu.errors import PermissionDenied

    def refuse(*_arguments, **_options):
        raise PermissionDenied("no", "add a rule")
    monkeypatch.setattr(libusb, "open_adapter", refuse)
    with pytest.raises(PermissionDenied):
        usb.open_handle("auto")


def test_emulated_firmware_is_written_once(tmp_path, monkeypatch):
    monkeypatch.setattr(emulated_firmware.private_files.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    first = emulated.firmware_directory("navi31")
    files = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    assert "psp_13_0_0_sos.bin" in files
    assert emulated.firmware_directory("navi31") == first
    assert {path.name: path.stat().st_mtime_ns for path in first.iterdir()} == files
    assert [path for path in first.parent.iterdir()] == [first]  # no scratch left behind


@pytest.mark.parametrize(
    "text, options",
    [
        ("", {}),
        ("strict", {"strict": True}),
        ("vram=2G, threads=1", {"vram_bytes": 2 << 30, "threads": 1}),
        ("fault=crs:2,fault=no-link,usb=high", {"faults": ["crs:2", "no-link"], "usb": "high"}),
        ("vram=4096", {"vram_bytes": 4096}),
        ("bar=small", {"bar": "small"}),
        ("bar=4G", {"bar": 4 << 30}),
    ],
)
def test_emulator_options(text, options):
    assert emulated.parse_options(text) == options


@pytest.mark.parametrize("text", ["fast", "threads=many", "vram=xG", "strict=many", "bar=huge"])
def test_bad_emulator_options(text):
    with pytest.raises(ConfigError, match="USBGPU_EMULATOR"):
        emulated.parse_options(text)


def test_bad_emulator_values_are_config_errors(monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", "fault=explode")
    with pytest.raises(ConfigError, match="explode"):
        usb.open_handle("emulated")


def test_protocol_is_met_by_every_transport(tmp_path):
    from torch_usbgpu.usb.faulty import FaultyHandle
    from torch_usbgpu.usb.recorded import RecordedHandle, RecordingHandle
    adapter = EmulatedAdapter("probe")
    recording = RecordingHandle(adapter, tmp_path / "trace")
    recording.close()
    for handle in (adapter, recording, RecordedHandle(tmp_path / "trace"), FaultyHandle(adapter, [])):
        assert isinstance(handle, usb.UsbHandle), handle


def test_host_half_does_not_know_the_emulator():
    """Only the transport usb/emulated.py may import the device half; nobody may ask whether it is there."""
    offenders = []
    for path in sorted((ROOT / "torch_usbgpu").rglob("*.py")):
        name = path.relative_to(ROOT / "torch_usbgpu").as_posix()
        if name in ("usb/emulated.py", "emulated_firmware.py") or name.startswith(("emulator/", "cli/emulator/")):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = line.split("#")[0]
            if ("import" in code and ("emulator" in code or "emulated_firmware" in code)) or "EmulatedAdapter" in code \
                    or "is_emulated" in code or 'label == "emulated"' in code or '.violations' in code:
                offenders.append(f"{name}:{number}: {line.strip()}")
    assert not offenders, offenders


def test_host_modules_do_not_load_the_emulator():
    """Importing the driver does not even load the extension of the device half."""
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]);"
        "import torch_usbgpu.usb, torch_usbgpu.usb.libusb, torch_usbgpu.usb.recorded;"
        "import torch_usbgpu.pcie, torch_usbgpu.amdgpu;"
        "print(json.dumps([m for m in sys.modules if 'emulat' in m]))"
    )
    result = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    loaded = json.loads(result.stdout.strip().splitlines()[-1])
    assert [name for name in loaded if name.startswith("torch_usbgpu")] == []


def test_usb1_errors_are_the_currency():
    adapter = EmulatedAdapter("probe")
    with pytest.raises(usb1.USBError):
        adapter.controlRead(0x80, 0, 0, 0, 2, 10)
