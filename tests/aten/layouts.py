"""Tensors in awkward layouts, with guard elements around the memory that an operator may write."""
from __future__ import annotations

import torch

GUARD = 16          # elements on either side
SHAPE = (3, 4, 5)

LAYOUTS = ("contiguous", "transposed", "sliced", "offset", "expanded")


def sample(shape, dtype: torch.dtype, seed: int, low: float = -3.0, high: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low
    if dtype == torch.bool:
        return values > (low + high) / 2
    if not dtype.is_floating_point:
        values = values.round()
        if dtype == torch.uint8:
            values = values.abs()
    return values.to(dtype)


def lay_out(values: torch.Tensor, layout: str) -> torch.Tensor:
    """A CPU tensor of these values whose memory is arranged as the name says."""
    if layout == "contiguous":
        return values.contiguous()
    if layout == "transposed":
        return values.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "sliced":       # every second element of a larger block
        block = torch.zeros((*values.shape[:-1], values.shape[-1] * 2), dtype=values.dtype)
        view = block[..., ::2]
        view.copy_(values)
        return view
    if layout == "offset":       # not aligned to anything but its own size
        block = torch.zeros(values.numel() + 3, dtype=values.dtype)
        view = block[3:].view(values.shape)
        view.copy_(values)
        return view
    if layout == "expanded":     # broadcast along the first dimension
        return values[:1].expand(values.shape)
    raise AssertionError(layout)


def to_device(tensor: torch.Tensor) -> torch.Tensor:
    """The same layout on the device: strides and storage offset included."""
    storage = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
    block = storage.as_strided((tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,)).to("usbgpu")
    return block.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


class Guarded:
    """An output tensor inside a block of known values.

        out = Guarded(like, "transposed")
        torch.add(a, b, out=out.tensor)
        out.check()          # nothing around it was written
    """

    def __init__(self, shape, dtype: torch.dtype, layout: str):
        probe = lay_out(torch.zeros(shape, dtype=dtype), "contiguous" if layout == "expanded" else layout)
        elements = probe.untyped_storage().nbytes() // probe.element_size()
        self.block_on_cpu = torch.full((elements + 2 * GUARD,), 1 if dtype == torch.bool else 77, dtype=dtype)
        self.block = self.block_on_cpu.to("usbgpu")
        view = (probe.shape, probe.stride(), probe.storage_offset() + GUARD)
        self.tensor = self.block.as_strided(*view)
        self._view = view

    def check(self) -> None:
        after = self.block.cpu()
        inside = torch.zeros(after.shape, dtype=torch.bool)
        inside.as_strided(*self._view).fill_(True)
        assert torch.equal(after[~inside], self.block_on_cpu[~inside]), "memory around the output was written"


TOLERANCE = {torch.float16: (2e-3, 2e-3), torch.bfloat16: (1.6e-2, 1.6e-2), torch.float32: (2e-6, 2e-6),
             torch.float64: (1e-13, 1e-13)}


def assert_same(actual: torch.Tensor, expected: torch.Tensor, **tolerance) -> None:
    """Device result against the CPU's: dtype, shape and values (NaN equals NaN)."""
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    if not tolerance:
        rtol, atol = TOLERANCE.get(expected.dtype, (0, 0))
        tolerance = {"rtol": rtol, "atol": atol}
    torch.testing.assert_close(actual.cpu(), expected, equal_nan=True, **tolerance)
