"""torch.usbgpu.fallback_sites(): the lines that asked for operators without a kernel."""
from __future__ import annotations

import sys

import pytest
import torch

pytestmark = [pytest.mark.expects_fallback, pytest.mark.filterwarnings("ignore")]
NAME = "usbgpu_sites::on_the_cpu"


@torch.library.custom_op(NAME, mutates_args=(), device_types="cpu")
def on_the_cpu(x: torch.Tensor) -> torch.Tensor:
    return x * 2


class Module(torch.nn.Module):
    def forward(self, x):
        return on_the_cpu(x), sys._getframe().f_lineno


@pytest.fixture(autouse=True)
def fresh():
    before = torch.usbgpu.set_fallback("silent")
    torch.usbgpu.reset_fallbacks()
    yield
    torch.usbgpu.reset_fallbacks()
    torch.usbgpu.set_fallback(before)


def sites() -> dict[str, int]:
    return torch.usbgpu.fallback_sites().get(NAME, {})


def test_line_and_count():
    x = torch.ones(3, device="usbgpu")
    for _ in range(3):
        on_the_cpu(x); first = sys._getframe().f_lineno     # noqa: E702
    on_the_cpu(x); second = sys._getframe().f_lineno        # noqa: E702
    assert sites() == {f"{__file__}:{first}": 3, f"{__file__}:{second}": 1}
    assert sum(sites().values()) == torch.usbgpu.fallbacks()[NAME]


def test_the_line_in_a_module_not_torchs_own():
    _, line = Module()(torch.ones(3, device="usbgpu"))
    assert sites() == {f"{__file__}:{line}": 1}


def test_a_formula_of_torchs_counts_for_the_line_that_ran_backward():
    """It runs on a thread of autograd's that has no Python of its own. Pairs of float16 are multiplied by no kernel."""
    x = torch.ones(4, dtype=torch.complex32).to("usbgpu").requires_grad_()
    loss = torch.view_as_real(x * x).sum()
    torch.usbgpu.reset_fallbacks()
    loss.backward(); line = sys._getframe().f_lineno        # noqa: E702
    found = torch.usbgpu.fallback_sites()
    assert found and all(set(sites) == {f"{__file__}:{line} (backward)"} for sites in found.values())


def test_a_hook_in_the_backward_pass_counts_for_its_own_line():
    x = torch.ones(3, device="usbgpu", requires_grad=True)
    x.register_hook(lambda gradient: on_the_cpu(gradient)); line = sys._getframe().f_lineno     # noqa: E702
    (x + 1).sum().backward()
    (site, times), = sites().items()
    assert site.startswith(f"{__file__}:{line}") and times == 1


def test_a_reset_forgets_them():
    on_the_cpu(torch.ones(3, device="usbgpu"))
    assert sites()
    torch.usbgpu.reset_fallbacks()
    assert torch.usbgpu.fallback_sites() == {} == torch.usbgpu.fallbacks()


def test_native_operators_have_none():
    torch.ones(3, device="usbgpu") + 1
    assert torch.usbgpu.fallback_sites() == {}
