"""Batches on their way to the device: pinned memory, DataLoader with workers, copies that do not wait."""
from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

DEVICE = "usbgpu"


@pytest.mark.parametrize("make", [lambda: torch.randn(100).pin_memory(), lambda: torch.empty(100, pin_memory=True),
                                  lambda: torch.randn(3, 100).pin_memory()[1, 7:50]])
def test_pinned_memory_is_known(make):
    tensor = make()
    assert tensor.is_pinned() and tensor.untyped_storage().is_pinned() and tensor.device.type == "cpu"
    assert not torch.randn(100).is_pinned() and not tensor.clone().is_pinned()
    assert tensor.pin_memory() is tensor


def test_pinned_memory_is_given_back():
    tensor = torch.empty(1000, pin_memory=True)
    address = tensor.data_ptr()
    del tensor
    ordinary = [torch.empty(1000) for _ in range(20)]
    assert not any(block.is_pinned() for block in ordinary), f"{address:#x} is pinned no longer"
    torch.accelerator.empty_host_cache()


def test_a_copy_that_does_not_wait_takes_what_was_there():
    source = torch.randn(1000).pin_memory()
    want = source.clone()
    there = source.to(DEVICE, non_blocking=True)
    source.zero_()
    back = torch.empty(1000, pin_memory=True)
    back.copy_(there, non_blocking=True)
    torch.usbgpu.synchronize()
    assert torch.equal(back, want)


@pytest.mark.parametrize("workers", [0, 2])
def test_data_loader(workers):
    data = TensorDataset(torch.randn(20, 3), torch.arange(20))
    loader = DataLoader(data, batch_size=6, num_workers=workers, pin_memory=True, persistent_workers=workers > 0)
    for _ in range(2):
        seen = []
        for x, y in loader:
            assert x.is_pinned() and y.is_pinned()
            x, y = x.to(DEVICE, non_blocking=True), y.to(DEVICE, non_blocking=True)
            seen.append((x, y))
        assert torch.equal(torch.cat([y for _, y in seen]).cpu(), torch.arange(20))
        assert torch.equal(torch.cat([x for x, _ in seen]).cpu(), data.tensors[0])


def test_a_data_set_on_the_device_and_the_default_device():
    data = TensorDataset(torch.arange(8, device=DEVICE))
    generator = torch.Generator().manual_seed(1)
    seen = torch.cat([batch for batch, in DataLoader(data, batch_size=3, shuffle=True, generator=generator)])
    assert seen.is_usbgpu and sorted(seen.tolist()) == list(range(8)) != seen.tolist()
    torch.set_default_device(DEVICE)
    try:
        layer = torch.nn.Linear(2, 2)
        assert layer.weight.is_usbgpu and layer(torch.ones(1, 2)).is_usbgpu and torch.randperm(5).is_usbgpu
        loader = DataLoader(list(range(4)), shuffle=True, batch_size=4, generator=torch.Generator(DEVICE))
        assert sorted(next(iter(loader)).tolist()) == [0, 1, 2, 3]
    finally:
        torch.set_default_device(None)


def test_packed_sequences():
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    for moved in (packed.usbgpu(), packed.to(DEVICE)):
        assert moved.is_usbgpu and moved.data.is_usbgpu and moved.batch_sizes.device.type == "cpu"
        output, _ = torch.nn.LSTM(2, 3).to(DEVICE)(moved)
        padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(output)
        assert padded.shape == (3, 2, 3) and lengths.tolist() == [3, 2] and padded[2, 1].abs().sum().item() == 0
    assert packed.usbgpu().cpu().data.device.type == "cpu"
