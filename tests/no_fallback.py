"""For folders of tests in which nothing may run on the CPU: their conftest.py imports these two."""
import pytest
import torch

import torch_usbgpu  # noqa: F401  registers the device


@pytest.fixture(autouse=True)
def no_fallback():
    before = torch.usbgpu.set_fallback("error")
    torch.manual_seed(0)
    yield
    torch.usbgpu.set_fallback(before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        torch.usbgpu.reset()
