"""Synthetic firmware in the vendor's containers, and a user with an empty home."""
from __future__ import annotations

import pytest

from torch_usbgpu import emulated_firmware
from torch_usbgpu.amdgpu import firmware
from torch_usbgpu.firmware import needs


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> dict[str, bytes]:
    """Every file that some card needs, by name."""
    folder = tmp_path_factory.mktemp("images")
    for chip in needs.chips():
        emulated_firmware.write_images(chip, folder)
    return {name: (folder / name).read_bytes() for name in needs.known_names()}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Nothing is installed anywhere."""
    monkeypatch.setattr(firmware, "SYSTEM_DIRECTORIES", (tmp_path / "system",))
    for kind in ("data", "cache"):
        monkeypatch.setattr(firmware.private_files.platformdirs, f"user_{kind}_dir",
                            lambda name, kind=kind: str(tmp_path / "home" / kind / name))
    monkeypatch.delenv(firmware.ENVIRONMENT, raising=False)
    return tmp_path
