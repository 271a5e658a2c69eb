"""The demo's training step: the same as on the CPU, natively, over few transfers."""
from __future__ import annotations

import copy

import pytest
import torch

import torch_usbgpu  # noqa: F401
from torch_usbgpu import demo

from .run import output

MOST_TRANSFERS = 12


@pytest.fixture(scope="module")
def digits():
    return demo.load_digits()


@pytest.fixture
def trainers(digits):
    images, labels, _, _ = digits
    model = demo.make_model()
    return demo.Trainer(copy.deepcopy(model), images, labels, "usbgpu"), demo.Trainer(model, images, labels, "cpu")


def test_steps_agree_with_the_cpu_without_fallback(trainers):
    gpu, cpu = trainers
    torch.usbgpu.reset_fallbacks()
    for step in range(6):
        batch = torch.arange(step * demo.BATCH, (step + 1) * demo.BATCH)
        assert gpu.step(batch) == pytest.approx(cpu.step(batch), rel=demo.TOLERANCE, abs=demo.TOLERANCE)
    assert torch.usbgpu.fallbacks() == {}
    for ours, theirs in zip(gpu.model.parameters(), cpu.model.parameters()):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=1e-4)


def test_transfers_of_one_step(trainers):
    gpu, _ = trainers
    batch = torch.arange(demo.BATCH)
    for _ in range(2):
        gpu.step(batch)
    torch.usbgpu.reset_link_stats()
    gpu.step(batch)
    stats = torch.usbgpu.link_stats()
    transfers = stats["control_out"] + stats["control_in"] + stats["bulk_out"] + stats["bulk_in"]
    assert 0 < transfers <= MOST_TRANSFERS, stats
    assert stats["launches"] > 5, "the step did run on the GPU"


def test_demo_reaches_its_promise(capsys):
    assert demo.main(["--epochs", "8", "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert f"{torch.usbgpu.get_device_name()}\n" in printed and "fell back to the CPU: none" in printed


def test_strict_dock_has_nothing_to_object_to():
    """Strict mode raises on everything that hardware would answer with silence, and lands bulk data late."""
    assert output("""
import torch, torch_usbgpu
from torch_usbgpu import demo, runtime
images, labels, _, _ = demo.load_digits()
trainer = demo.Trainer(demo.make_model(), images, labels, "usbgpu")
losses = [trainer.step(torch.arange(i * 64, i * 64 + 64)) for i in range(8)]
assert losses[-1] < losses[0]
print(runtime.device().handle.violations)
""", USBGPU_EMULATOR="strict").strip() in ("[]", "()")
