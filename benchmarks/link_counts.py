"""USB transfers, bytes and modelled link time per workload.

    python benchmarks/link_counts.py

Counts are exact and the same on real and emulated hardware. The modelled time is the yardstick of
torch_usbgpu/usb/stats.py (60 us a control transfer, 30 us a bulk transfer plus its bytes), summed
serially. The yardstick for the training step is the other driver of AMD GPUs over USB, which was
counted at 5,984 transfers for the same kind of step (forward, backward, Adam, loss.item()).
"""
from __future__ import annotations

import torch

import torch_usbgpu  # noqa: F401
from torch_usbgpu import demo
from torch_usbgpu.usb.stats import BULK_RATES, CONTROL_SECONDS

EXISTING_TRANSFERS_PER_STEP = 5984
LINK_BYTES_PER_SECOND = BULK_RATES["sram_in"]


def transfers(stats: dict) -> int:
    return stats["control_out"] + stats["control_in"] + stats["bulk_out"] + stats["bulk_in"]


def measure(name: str, work, yardstick: int | None = None) -> None:
    """Runs `work` once warm (kernels compiled, caches full), then counts the second run."""
    work()
    torch.usbgpu.synchronize()
    torch.usbgpu.reset_link_stats()
    work()
    stats = torch.usbgpu.link_stats()
    ratio = f"{yardstick / transfers(stats):8.0f} x fewer" if yardstick else ""
    print(f"{name:<46} {transfers(stats):5d} transfers {stats['bytes_out']:>10,} B out {stats['bytes_in']:>10,} B in "
          f"{stats['launches']:4d} launches {1e3 * stats['modelled_seconds']:9.3f} ms {ratio}")


def main() -> None:
    from torch_usbgpu import runtime

    device = runtime.device()
    print(f"{torch.usbgpu.get_device_name()}\n\nboot:")
    boot = device.gpu.boot_log
    for step in boot:
        print(f"  {step}")
    print(f"  in all {sum(step.transfers for step in boot)} transfers\n")

    a = torch.randn(1024, 1024, device="usbgpu")
    host = torch.randn(8 << 20)
    on_gpu = torch.empty(8 << 20, device="usbgpu")

    def rates(copy, hidden: bool) -> None:
        torch.usbgpu.synchronize()
        torch.usbgpu.reset_link_stats()
        copy()
        stats = torch.usbgpu.link_stats()
        control = CONTROL_SECONDS * (stats["control_out"] + stats["control_in"])
        serial, bulk = (100 * host.nbytes / seconds / LINK_BYTES_PER_SECOND
                        for seconds in (stats["modelled_seconds"], stats["modelled_seconds"] - control))
        overlap = f", {bulk:.0f} % with the control transfers hidden behind bulk ones, as they are submitted"
        print(f"    = {serial:.0f} % of the link's 700 MB/s when everything is serial{overlap if hidden else ''}")

    measure("a + b", lambda: a + a)
    measure("(a + b).sum().item()", lambda: (a + a).sum().item())
    measure("100 additions, then synchronize()",
            lambda: [a.add(1.0) for _ in range(100)] and torch.usbgpu.synchronize())
    measure("copy in, 4 bytes", lambda: torch.ones(1).to("usbgpu") + 1)
    measure("copy in, 32 MiB", lambda: on_gpu.copy_(host))
    rates(lambda: on_gpu.copy_(host), hidden=True)
    measure("copy out, 32 MiB", lambda: on_gpu.cpu())
    rates(lambda: on_gpu.cpu(), hidden=False)

    images, labels, _, _ = demo.load_digits()
    trainer = demo.Trainer(demo.make_model(), images, labels, "usbgpu")
    batch = torch.arange(demo.BATCH)
    measure("training step of the demo, with loss.item()", lambda: trainer.step(batch), EXISTING_TRANSFERS_PER_STEP)


if __name__ == "__main__":
    main()
