"""The demo: an MLP learns scikit-learn's 1,797 scanned digits on `usbgpu`, beside the CPU.

    python -m torch_usbgpu.demo [--epochs 12]

Both trainings start from the same weights and see the same batches. During the first epoch every
step's loss must agree within `TOLERANCE`; later ones drift apart as rounding differences grow.
"""
from __future__ import annotations

import argparse
import copy
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm import tqdm

import torch_usbgpu  # noqa: F401  registers the device

SEED = 0
BATCH = 64
TEST_SAMPLES = 360
HIDDEN = 128
TOLERANCE = 1e-4        # absolute and relative, on the loss of one step
TARGET_ACCURACY = 0.95


def load_digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(train images [1437, 64] in 0..1, labels, test images [360, 64], labels), shuffled with SEED."""
    from sklearn.datasets import load_digits as sklearn_digits

    data = sklearn_digits()
    images = torch.tensor(data.data, dtype=torch.float32) / 16
    labels = torch.tensor(data.target, dtype=torch.int64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
    train, test = order[TEST_SAMPLES:], order[:TEST_SAMPLES]
    return images[train], labels[train], images[test], labels[test]


def make_model() -> nn.Sequential:
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


class Trainer:
    """One model with its optimizer and data on one device."""

    def __init__(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, device: str):
        self.model = model.to(device)
        self.images, self.labels = images.to(device), labels.to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-3)
        self.device = device

    def step(self, batch: torch.Tensor) -> float:
        """One training step on the samples of `batch` (indices); returns the loss."""
        batch = batch.to(self.device)
        loss = F.cross_entropy(self.model(self.images[batch]), self.labels[batch])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def accuracy(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        guess = self.model(images.to(self.device)).argmax(dim=1)
        return (guess == labels.to(self.device)).float().mean().item()


def show_link(stats: dict) -> None:
    transfers = stats["control_out"] + stats["control_in"] + stats["bulk_out"] + stats["bulk_in"]
    print(f"One training step over the cable: {transfers} USB transfers "
          f"({stats['control_out'] + stats['control_in']} control, {stats['bulk_out']} bulk out, "
          f"{stats['bulk_in']} bulk in), "
          f"{stats['bytes_out']:,} bytes out, {stats['bytes_in']:,} bytes in, {stats['launches']} kernel launches; "
          f"{1e3 * stats['modelled_seconds']:.2f} ms by the link model")


def run(epochs: int, show_progress: bool = True) -> dict:
    """Trains on both devices; returns the figures that main() prints."""
    images, labels, test_images, test_labels = load_digits()
    model = make_model()
    print(f"Device: {torch.usbgpu.get_device_name()}")
    boot = time.perf_counter()
    gpu = Trainer(copy.deepcopy(model), images, labels, "usbgpu")
    torch.usbgpu.synchronize()
    print(f"Boot and upload of weights and data: {time.perf_counter() - boot:.1f} s")
    cpu = Trainer(model, images, labels, "cpu")

    shuffle = torch.Generator().manual_seed(SEED)
    worst, link, gpu_seconds = 0.0, None, 0.0
    steps = len(images) // BATCH
    # None: a bar on a terminal, none in a log
    with tqdm(total=epochs * steps, unit="step", disable=None if show_progress else True, file=sys.stdout,
              leave=False) as bar:
        for epoch in range(epochs):
            order = torch.randperm(len(images), generator=shuffle)
            gpu_loss = cpu_loss = 0.0
            for step in range(steps):
                batch = order[step * BATCH:(step + 1) * BATCH]
                torch.usbgpu.reset_link_stats()
                start = time.perf_counter()
                on_gpu = gpu.step(batch)
                gpu_seconds += time.perf_counter() - start
                link = torch.usbgpu.link_stats()
                on_cpu = cpu.step(batch)
                if epoch == 0:
                    worst = max(worst, abs(on_gpu - on_cpu) / max(1.0, abs(on_cpu)))
                gpu_loss += on_gpu / steps
                cpu_loss += on_cpu / steps
                bar.update()
                bar.set_postfix(loss=f"{on_gpu:.4f}", refresh=False)
            bar.write(f"epoch {epoch + 1:2d}   loss on usbgpu {gpu_loss:.6f}   on the CPU {cpu_loss:.6f}",
                      file=sys.stdout)
    return {"accuracy": gpu.accuracy(test_images, test_labels), "cpu_accuracy": cpu.accuracy(test_images, test_labels),
            "worst_difference": worst, "seconds": gpu_seconds, "link": link, "steps": epochs * steps,
            "fallbacks": torch.usbgpu.fallbacks()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="torch_usbgpu.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--no-progress", action="store_true")
    options = parser.parse_args(arguments)
    result = run(options.epochs, not options.no_progress)
    print(f"First epoch: the losses of usbgpu and CPU differ by at most {result['worst_difference']:.1e} "
          f"(allowed {TOLERANCE:.0e})")
    print(f"Test accuracy: {100 * result['accuracy']:.1f} % on usbgpu, {100 * result['cpu_accuracy']:.1f} % on the CPU")
    print(f"Training on usbgpu: {result['seconds']:.1f} s for {result['steps']} steps; "
          f"operators that fell back to the CPU: {result['fallbacks'] or 'none'}")
    show_link(result["link"])
    good = result["accuracy"] >= TARGET_ACCURACY and result["worst_difference"] <= TOLERANCE and not result["fallbacks"]
    if not good:
        print("The demo did not reach what it promises.", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
