"""Tensors and modules leave the device and come back: files, pickles, copies, DLPack, NumPy."""
from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import safetensors
import torch
from safetensors import torch as safe
from torch import nn

DEVICE = "usbgpu"


def same(got, want, **limits):
    torch.testing.assert_close(got.detach().cpu(), want.detach().cpu(), **limits)


def reloaded(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)

    def load(**how):
        file.seek(0)
        return torch.load(file, **how)

    return load


BASE = torch.arange(40).view(5, 8)
TENSORS = {
    **{str(dtype): lambda dtype=dtype: BASE.to(dtype).to(DEVICE) for dtype in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.int32,
        torch.int64, torch.bool)},
    "a view with an offset": lambda: BASE.float().to(DEVICE)[1:, ::2], "transposed": lambda: BASE.to(DEVICE).T,
    "expanded": lambda: BASE[:, :1].to(DEVICE).expand(5, 4), "nothing": lambda: torch.empty(0, 3, device=DEVICE),
    "a number": lambda: torch.tensor(2.5, device=DEVICE),
    "a parameter": lambda: nn.Parameter(torch.randn(3, device=DEVICE)),
}


@pytest.mark.parametrize("make", TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_torch_save_and_load(make, zipped):
    tensor = make()
    load = reloaded(tensor, _use_new_zipfile_serialization=zipped)
    back = load()
    assert back.device == tensor.device and back.stride() == tensor.stride() and type(back) is type(tensor)
    assert back.requires_grad == tensor.requires_grad
    same(back, tensor)
    for where in ("cpu", torch.device("cpu"), {"usbgpu:0": "cpu"}, lambda storage, location: storage):
        there = load(map_location=where)
        assert there.device.type == "cpu"
        same(there, tensor)


@pytest.mark.parametrize("where", ["usbgpu", "usbgpu:0", torch.device("usbgpu"), {"cpu": "usbgpu:0"},
                                   lambda storage, location: storage.usbgpu()],
                         ids=["name", "number", "device", "table", "function"])
def test_what_was_saved_on_the_cpu_is_loaded_to_the_device(where):
    tensor = torch.randn(4, 3)
    back = reloaded({"x": [tensor, tensor[1:]]})(map_location=where)["x"]
    assert all(part.device == torch.device("usbgpu:0") for part in back)
    same(back[0], tensor)
    back[0][1] = 7
    assert back[1][0].tolist() == [7, 7, 7], "two tensors of one storage still share it"


def test_a_mapped_file(tmp_path):
    torch.save({"x": BASE.float()}, tmp_path / "file")
    back = torch.load(tmp_path / "file", mmap=True, map_location=DEVICE)["x"]
    assert back.is_usbgpu
    same(back, BASE.float())


def test_a_device_that_does_not_exist():
    with pytest.raises(RuntimeError, match="usbgpu.*(1|device)"):
        reloaded(torch.ones(1))(map_location="usbgpu:1")


def test_training_goes_on_after_a_checkpoint():
    def step(model, optimizer):
        optimizer.zero_grad()
        (model(torch.ones(2, 3, device=DEVICE)) - 1).pow(2).sum().backward()
        optimizer.step()

    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    step(model, optimizer)
    saved = reloaded({"model": model.state_dict(), "optimizer": optimizer.state_dict()})(map_location="cpu")
    again = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(DEVICE)
    its = torch.optim.AdamW(again.parameters(), lr=0.1)
    again.load_state_dict(saved["model"])
    its.load_state_dict(saved["optimizer"])
    assert all(state["exp_avg"].is_usbgpu for state in its.state.values())
    for _ in range(2):
        step(model, optimizer)
        step(again, its)
    for got, want in zip(again.state_dict().values(), model.state_dict().values(), strict=True):
        same(got, want)


def test_modules_from_the_meta_device():
    source = nn.Linear(3, 4)
    with torch.device("meta"):
        assigned, emptied = nn.Linear(3, 4), nn.Linear(3, 4)
    assigned.load_state_dict({name: tensor.to(DEVICE) for name, tensor in source.state_dict().items()}, assign=True)
    assert assigned.weight.is_usbgpu
    same(assigned.weight, source.weight)
    emptied.to_empty(device=DEVICE).reset_parameters()
    assert 0 < emptied.weight.abs().max().item() < 1


def test_pickle_and_copies():
    tensor = torch.randn(3, 4, device=DEVICE)
    for back in (pickle.loads(pickle.dumps(tensor)), copy.copy(tensor), copy.deepcopy(tensor)):
        assert back.is_usbgpu
        same(back, tensor)
    both = copy.deepcopy({"whole": tensor, "part": tensor[:, 1]})
    both["whole"].zero_()
    assert both["part"].abs().sum().item() == 0 < tensor.abs().sum().item()
    layer = pickle.loads(pickle.dumps(nn.Linear(2, 2).to(DEVICE)))
    assert layer.weight.is_usbgpu and isinstance(copy.deepcopy(layer).weight, nn.Parameter)


# ---- safetensors


def contents():
    return {"f32": torch.randn(3, 4, device=DEVICE), "i64": torch.arange(5, device=DEVICE),
            "f16": torch.randn(3, device=DEVICE).half(), "bf16": torch.randn(2, 2, device=DEVICE).bfloat16(),
            "bool": torch.tensor([True, False], device=DEVICE)}


@pytest.mark.parametrize("where", ["usbgpu", "usbgpu:0", torch.device("usbgpu"), "cpu"], ids=str)
def test_safetensors(tmp_path, where):
    path, tensors = tmp_path / "file.safetensors", contents()
    safe.save_file(tensors, path)
    back = safe.load_file(path, device=where)
    with safetensors.safe_open(path, "pt", device=where) as file:
        for name, tensor in tensors.items():
            for got in (back[name], file.get_tensor(name)):
                assert got.device.type == torch.device(where).type
                same(got, tensor)
        got = file.get_slice("f32")[1:, 2]
        assert got.device.type == torch.device(where).type
        same(got, tensors["f32"][1:, 2])
    same(safe.load(safe.save(tensors))["bf16"], tensors["bf16"])


def test_safetensors_of_a_model_with_tied_weights(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model.to(DEVICE)
    safe.save_model(model, str(tmp_path / "file"))
    again = copy.deepcopy(model)
    nn.init.zeros_(again[0].weight)
    safe.load_model(again, str(tmp_path / "file"), device=DEVICE)
    assert again[0].weight is again[1].weight
    same(again[0].weight, model[0].weight)


# ---- DLPack and NumPy


def test_dlpack_within_the_device_shares_memory():
    tensor = torch.arange(6.0, device=DEVICE).view(2, 3)
    for back in (torch.from_dlpack(tensor), torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(tensor.T)).T):
        assert back.device == tensor.device and back.data_ptr() == tensor.data_ptr() and back.stride() == tensor.stride()
    torch.from_dlpack(tensor)[0, 0] = 9
    assert tensor[0, 0].item() == 9
    other = torch.from_dlpack(tensor, copy=True)
    other[0, 0] = 1
    assert other.is_usbgpu and tensor[0, 0].item() == 9


def test_dlpack_over_the_cable():
    tensor = torch.arange(6.0, device=DEVICE)
    assert np.array_equal(np.from_dlpack(tensor, device="cpu"), np.arange(6.0))
    there = torch.from_dlpack(tensor, device="cpu")
    assert there.device.type == "cpu"
    same(there, tensor)
    for source in (np.arange(4.0), torch.arange(4.0)):
        here = torch.from_dlpack(source, device=DEVICE)
        assert here.is_usbgpu
        same(here, torch.from_dlpack(source))
    with pytest.raises((RuntimeError, BufferError)):
        np.from_dlpack(tensor)      # the protocol: without being asked, no copy to another device


def test_numpy():
    tensor = torch.arange(6.0, device=DEVICE)
    for convert in (lambda: tensor.numpy(), lambda: np.asarray(tensor)):
        with pytest.raises(TypeError, match="usbgpu:0.*Tensor.cpu"):
            convert()
    assert np.array_equal(tensor.numpy(force=True), np.arange(6.0))
    for make in (torch.tensor, torch.as_tensor, torch.asarray):
        made = make(np.arange(3), device=DEVICE)
        assert made.is_usbgpu and made.dtype == torch.int64 and made.tolist() == [0, 1, 2]
