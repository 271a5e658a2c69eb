"""Operators on the emulated GPU. USBGPU_DEVICE chooses another device for these very tests."""
import logging

import pytest
import torch

import torch_usbgpu  # noqa: F401  registers the device


@pytest.fixture(autouse=True)
def no_fallback(request):
    """An operator test that ran on the CPU has tested nothing. Marked tests expect fallbacks."""
    if request.node.get_closest_marker("expects_fallback"):
        yield
        return
    before = torch.usbgpu.set_fallback("error")
    yield
    torch.usbgpu.set_fallback(before)


class Spills(logging.Handler):
    """Hears of every kernel that is compiled, or comes out of the cache, with registers in memory."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.heard = []

    def emit(self, record):
        if "spills" in record.msg:
            self.heard.append(record.getMessage())


@pytest.fixture(autouse=True)
def no_spills():
    """No kernel that any of these tests launches may need scratch memory, on whichever chip they run. Kernels are
    compiled when the stream is flushed: what is heard may stem from the test before."""
    handler = Spills()
    logging.getLogger("torch_usbgpu.kernels").addHandler(handler)
    yield
    logging.getLogger("torch_usbgpu.kernels").removeHandler(handler)
    assert handler.heard == []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:      # a GPU that stopped in one test shall not fail the next ones
        torch.usbgpu.reset()


def pytest_configure(config):
    config.addinivalue_line("markers", "expects_fallback: operators of this test may run on the CPU")
