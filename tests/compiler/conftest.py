import pytest


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    """Every test starts with an empty kernel cache of its own."""
    monkeypatch.setenv("USBGPU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"
