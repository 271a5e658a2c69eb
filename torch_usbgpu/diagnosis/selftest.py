"""A kernel whose result is known: integer and float arithmetic, global memory, LDS and a barrier, on every lane."""
from __future__ import annotations

import numpy as np

GROUPS, THREADS = 256, 256
SOURCE = """
extern "C" __global__ void usbgpu_self_test(const unsigned* a, const float* x, unsigned* out, float* y) {
  __shared__ unsigned turned[256];
  unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  turned[threadIdx.x] = (a[i] ^ i) * 2654435761u + (a[i] >> 7);
  __syncthreads();
  out[i] = turned[255 - threadIdx.x];
  y[i] = x[i] * 0.5f + static_cast<float>(i & 1023u);
}
"""


def expected(a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    i = np.arange(a.size, dtype=np.uint32)
    mixed = (a ^ i) * np.uint32(2654435761) + (a >> np.uint32(7))
    # Powers of two and small integers: exact in float32, in whatever order it is computed.
    return mixed.reshape(GROUPS, THREADS)[:, ::-1].reshape(-1), x * np.float32(0.5) + (i & 1023).astype(np.float32)


def run(device, code: bytes) -> str | None:
    """Launches the compiled SOURCE on `device`; what is wrong with its result, or None."""
    kernel = device.load(code)["usbgpu_self_test"]
    random = np.random.default_rng(0xADD1)
    a = random.integers(0, 1 << 32, GROUPS * THREADS, dtype=np.uint32)
    x = random.integers(-4096, 4096, a.size).astype(np.float32)
    blocks = [device.alloc(a.nbytes) for _ in range(4)]
    try:
        device.copy_in(blocks[0], a)
        device.copy_in(blocks[1], x)
        # so that a kernel that never ran cannot pass on an older run's result
        device.copy_in(blocks[2], np.full_like(a, 0xDEADBEEF))
        device.copy_in(blocks[3], np.full_like(x, np.nan))
        device.launch(kernel, GROUPS, THREADS, blocks)
        out, y = np.empty_like(a), np.empty_like(x)
        device.copy_out(out, blocks[2])
        device.copy_out(y, blocks[3])
    finally:
        for block in blocks:
            device.free(block)
    for what, got, wanted in zip(("integers", "floats"), (out, y), expected(a, x), strict=True):
        wrong = np.flatnonzero(got != wanted)
        if wrong.size:
            first = int(wrong[0])
            return (f"{wrong.size} of {got.size} {what} are wrong, the first at index {first} (lane {first % 32}): "
                    f"{got[first]} in place of {wanted[first]}.")
    return None
