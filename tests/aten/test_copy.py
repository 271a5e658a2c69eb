"""Copies: host to device, device to host, on the device; dtypes, strides, offsets, overlap."""
import copy
import io

import pytest
import torch

from .layouts import LAYOUTS, SHAPE, Guarded, assert_same, lay_out, sample, to_device

TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.int32,
         torch.int64, torch.bool)


@pytest.mark.parametrize("dtype", (*TYPES, torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.uint16))
def test_round_trip(dtype):
    x = torch.arange(24, dtype=torch.float32).reshape(SHAPE[0], 2, 4).to(dtype)
    back = x.to("usbgpu").cpu()
    assert back.dtype == dtype
    assert torch.equal(back.view(torch.uint8), x.view(torch.uint8))


@pytest.mark.parametrize("source", TYPES)
@pytest.mark.parametrize("target", TYPES)
def test_conversions(source, target):
    x = sample(SHAPE, source, 1, 0, 9)
    assert_same(x.to("usbgpu").to(target), x.to(target))                    # on the device
    assert_same(x.to("usbgpu", target), x.to(target))                       # on the way in
    result = torch.empty(SHAPE, dtype=target)
    result.copy_(x.to("usbgpu"))                                            # on the way out
    assert_same(result, x.to(target))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layout_out", [name for name in LAYOUTS if name != "expanded"])
@pytest.mark.parametrize("dtype", (torch.float32, torch.int8))
def test_strides(layout, layout_out, dtype):
    x = lay_out(sample(SHAPE, dtype, 1), layout)
    for source in (x, to_device(x)):
        out = Guarded(SHAPE, dtype, layout_out)
        out.tensor.copy_(source)
        assert_same(out.tensor, x)
        out.check()
    host = lay_out(torch.zeros(SHAPE, dtype=dtype), layout_out)
    host.copy_(to_device(x))
    assert_same(host, x)


def test_broadcast_and_empty():
    x = torch.zeros(3, 4, device="usbgpu")
    x.copy_(torch.arange(4.0))
    assert_same(x, torch.arange(4.0).expand(3, 4))
    assert torch.empty(0, 3).to("usbgpu").cpu().shape == (0, 3)


def test_overlapping_copy():
    a = torch.arange(10.0)
    b = a.to("usbgpu")
    b[1:].copy_(b[:-1].clone())
    a[1:].copy_(a[:-1].clone())
    assert_same(b, a)


def test_large_copy():
    x = sample((700_001,), torch.float32, 1)
    assert torch.equal(x.to("usbgpu").cpu(), x)


@pytest.mark.parametrize("dtype", TYPES)
def test_item(dtype):
    x = sample((5,), dtype, 1)
    y = x.to("usbgpu")
    assert [y[i].item() for i in range(5)] == x.tolist()


def test_print_and_numpy():
    x = torch.arange(4.0, device="usbgpu")
    assert repr(x) == "tensor([0., 1., 2., 3.], device='usbgpu:0')"
    with pytest.raises(TypeError, match="usbgpu"):
        x.numpy()


def test_save_load_deepcopy():
    x = torch.arange(6.0, device="usbgpu").reshape(2, 3)
    file = io.BytesIO()
    torch.save({"x": x, "row": x[1]}, file)
    file.seek(0)
    loaded = torch.load(file)
    assert loaded["x"].device.type == "usbgpu"
    assert_same(loaded["x"], x.cpu())
    loaded["x"][1, 0] = 9
    assert loaded["row"][0].item() == 9          # shared storage survives
    file.seek(0)
    assert torch.load(file, map_location="cpu")["x"].device.type == "cpu"
    assert_same(copy.deepcopy(x), x.cpu())


def test_views_share_memory():
    x = torch.zeros(4, 4, device="usbgpu")
    x.view(16)[5] = 1
    x.t()[0, 2] = 2
    x.unfold(0, 2, 2)[1, 1, 0] = 3
    x[:, 3].fill_(4)
    expected = torch.zeros(4, 4)
    expected[1, 1], expected[2, 0], expected[2, 1], expected[:, 3] = 1, 2, 3, 4
    assert_same(x, expected)


def test_resize_keeps_content():
    x = torch.arange(4.0, device="usbgpu")
    x.resize_(2)
    x.resize_(100)
    assert x[:4].tolist() == [0, 1, 2, 3]
    x.untyped_storage().resize_(1000)
    assert x[:2].tolist() == [0, 1]


@pytest.mark.parametrize("make", [
    lambda d: torch.zeros(3, 2, device=d), lambda d: torch.ones(5, dtype=torch.int8, device=d),
    lambda d: torch.full((4,), 2.5, dtype=torch.float16, device=d), lambda d: torch.full((2,), True, device=d),
    lambda d: torch.arange(7, device=d), lambda d: torch.arange(1.0, 2.0, 0.1, device=d), lambda d: torch.arange(5, 0, -2, device=d),
    lambda d: torch.arange(0, 300, 7, dtype=torch.int16, device=d), lambda d: torch.linspace(-1, 1, 11, device=d),
    lambda d: torch.linspace(0, 9, 4, dtype=torch.int32, device=d), lambda d: torch.eye(3, 5, device=d),
    lambda d: torch.zeros(3, dtype=torch.complex64, device=d), lambda d: torch.ones(9, device=d)[::2].fill_(3),
    lambda d: torch.tril(torch.ones(2, 4, 5, device=d), 1), lambda d: torch.triu(torch.ones(4, 5, device=d).t(), -1),
    lambda d: torch.ones(3, 4, device=d).t().zero_(), lambda d: torch.empty(2, 3, device=d).fill_(torch.tensor(4.0)),
], ids=range(17))
def test_factories(make):
    assert_same(make("usbgpu"), make("cpu"))


def test_equal():
    x = torch.arange(4.0)
    y = x.to("usbgpu")
    assert torch.equal(y, x.to("usbgpu")) and not torch.equal(y, y + 1) and not torch.equal(y, y[:3])
