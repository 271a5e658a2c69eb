"""Host microseconds per operator, beside CPU eager in the same run.

    python benchmarks/host_overhead.py

Only the host's share: launches are queued, the GPU's work is waited for outside the timed part.
The yardstick is the same call on CPU tensors of 4 x 4 elements, where the arithmetic is nothing.
"""
from __future__ import annotations

import time

import torch

import torch_usbgpu  # noqa: F401

CALLS = 40      # stays below a full submission window, so that no transfer falls into the timed part
ROUNDS = 40


def microseconds(call, settle) -> float:
    """The median over ROUNDS of the mean time of CALLS calls."""
    samples = []
    for _ in range(ROUNDS):
        settle()
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        samples.append((time.perf_counter() - start) / CALLS * 1e6)
    return sorted(samples)[ROUNDS // 2]


OPERATORS = {
    "a + b": lambda a, b: a + b,
    "a + 1.0": lambda a, b: a + 1.0,
    "a.add_(b)": lambda a, b: a.add_(b),
    "torch.relu(a)": lambda a, b: torch.relu(a),
    "a == b": lambda a, b: a == b,
    "a.sum()": lambda a, b: a.sum(),
    "a @ b": lambda a, b: a @ b,
    "a.view(-1)": lambda a, b: a.view(-1),
    "torch.empty_like(a)": lambda a, b: torch.empty_like(a),
}


def main() -> None:
    cpu = (torch.randn(4, 4), torch.randn(4, 4))
    gpu = tuple(t.to("usbgpu") for t in cpu)
    print(f"{torch.usbgpu.get_device_name()}; host time per call, median of {ROUNDS} rounds of {CALLS} calls\n")
    print(f"{'':<22} {'usbgpu':>9} {'CPU eager':>10} {'ratio':>7}")
    for name, operator in OPERATORS.items():
        operator(*gpu)
        on_gpu = microseconds(lambda: operator(*gpu), torch.usbgpu.synchronize)
        on_cpu = microseconds(lambda: operator(*cpu), lambda: None)
        print(f"{name:<22} {on_gpu:7.2f} us {on_cpu:7.2f} us {on_gpu / on_cpu:6.1f}x")


if __name__ == "__main__":
    main()
