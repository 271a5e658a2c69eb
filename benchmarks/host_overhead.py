"""Host microseconds per operator, beside CPU eager in the same run.

    python benchmarks/host_overhead.py

Only the host's share: launches are queued, the GPU's work is waited for outside the timed part. Processor time of
the calling thread, so that other load on the machine counts little; rounds on either device take turns.
The yardstick is the same call on CPU tensors of 4 x 4 elements, where the arithmetic is nothing.
"""
from __future__ import annotations

import time

import torch

import torch_usbgpu  # noqa: F401

CALLS = 20      # stays below a full submission window, so that no transfer falls into the timed part
MANY = 200      # with all that a longer run costs: every 30 or 40 launches a window is encoded and sent
ROUNDS = 40


def round_of(call, calls: int = CALLS) -> float:
    """Mean microseconds of a call."""
    start = time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.thread_time_ns() - start) / calls / 1e3


OPERATORS = {
    "a + b": lambda a, b: a + b,
    "a * b": lambda a, b: a * b,
    "a + 1.0": lambda a, b: a + 1.0,
    "a.add_(b)": lambda a, b: a.add_(b),
    "torch.relu(a)": lambda a, b: torch.relu(a),
    "a == b": lambda a, b: a == b,
    "a.sum()": lambda a, b: a.sum(),
    "a @ b": lambda a, b: a @ b,
    "a.view(-1)": lambda a, b: a.view(-1),
    "torch.empty(4, 4)": lambda a, b: torch.empty(4, 4, device=a.device),
    "torch.empty_like(a)": lambda a, b: torch.empty_like(a),
}


def main() -> None:
    cpu = (torch.randn(4, 4), torch.randn(4, 4))
    gpu = tuple(t.to("usbgpu") for t in cpu)
    print(f"{torch.usbgpu.get_device_name()}; host time per call, median of {ROUNDS} rounds of {CALLS} calls\n")
    print(f"{'':<22} {'usbgpu':>9} {'CPU eager':>10} {'ratio':>7} {'with sending':>14} {'ratio':>7}")
    for name, operator in OPERATORS.items():
        operator(*gpu)
        gpu_rounds, cpu_rounds, long_rounds = [], [], []
        for _ in range(ROUNDS):
            torch.usbgpu.synchronize()
            gpu_rounds.append(round_of(lambda: operator(*gpu)))  # noqa: B023
            cpu_rounds.append(round_of(lambda: operator(*cpu)))  # noqa: B023
            torch.usbgpu.synchronize()
            long_rounds.append(round_of(lambda: operator(*gpu), MANY))  # noqa: B023
        on_gpu, on_cpu, sent = (sorted(rounds)[ROUNDS // 2] for rounds in (gpu_rounds, cpu_rounds, long_rounds))
        print(f"{name:<22} {on_gpu:7.2f} us {on_cpu:7.2f} us {on_gpu / on_cpu:6.1f}x "
              f"{sent:11.2f} us {sent / on_cpu:6.1f}x")


if __name__ == "__main__":
    main()
