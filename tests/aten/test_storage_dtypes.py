"""uint16/32/64 and the 8-bit floats: stored, filled, copied in any layout, converted from and to every dtype."""
import pytest
import torch

from .layouts import LAYOUTS, SHAPE, Guarded, lay_out, to_device

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu)
OTHERS = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.uint32, torch.float8_e5m2)


def bits(tensor):
    return tensor.cpu().contiguous().view(torch.uint8)


def assert_same_bits(actual, expected):
    assert actual.device.type == "usbgpu" and actual.dtype == expected.dtype and actual.shape == expected.shape
    got, want = bits(actual), bits(expected)
    if expected.dtype in FLOAT8:        # a NaN's sign is nobody's promise
        nan = expected.float().isnan().flatten()
        got, want = got.flatten(), want.flatten()
        assert torch.equal(actual.cpu().float().isnan().flatten(), nan)
        got, want = got[~nan], want[~nan]
    assert torch.equal(got, want)


def all_codes(dtype):
    return torch.arange(256, dtype=torch.uint8).view(dtype)


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_every_float8_is_widened_exactly(dtype):
    x = all_codes(dtype)
    for target in (torch.float32, torch.bfloat16, torch.float64):
        torch.testing.assert_close(x.to("usbgpu").to(target).cpu(), x.to(target), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(x.to("usbgpu").to(torch.bool).cpu(), x.to(torch.bool))


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_every_half_is_rounded_to_float8(dtype):
    x = torch.arange(-2**15, 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    assert_same_bits(x.to("usbgpu").to(dtype), x.to(dtype))


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_rounding_at_the_edges_of_float8(dtype):
    """Each number of the type, the middle to the next one, and their neighbours in f32."""
    numbers = all_codes(dtype).to(torch.float32)
    numbers = numbers[numbers.isfinite()].unique()
    ends = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 3e38, -3e38, 1e-45, 464.0, 480.0, 61440.0, 65536.0])
    points = torch.cat([numbers, (numbers[1:] + numbers[:-1]) / 2, ends])
    infinity = torch.tensor(float("inf"))
    x = torch.cat([points, points.nextafter(infinity), points.nextafter(-infinity)])
    assert_same_bits(x.to("usbgpu").to(dtype), x.to(dtype))
    assert_same_bits(x.double().to("usbgpu").to(dtype), x.double().to(dtype))


@pytest.mark.parametrize("dtype", (*UNSIGNED, *FLOAT8), ids=str)
@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_conversions(dtype, other):
    values = [0, 1, 2, 3, 9, 100]
    if dtype in UNSIGNED and other == torch.int64:      # what does not fit loses its high bits
        values += [2**16 - 1, 2**32 - 1, 2**40 + 5]
    x = torch.tensor(values, dtype=torch.int64).to(other)
    assert_same_bits(x.to("usbgpu").to(dtype), x.to(dtype))                  # on the device
    assert_same_bits(x.to("usbgpu", dtype), x.to(dtype))                     # on the way in
    y = torch.tensor(values, dtype=torch.int64).to(dtype)
    assert_same_bits(y.to("usbgpu").to(other), y.to(other))
    back = torch.empty(y.shape, dtype=other)
    back.copy_(y.to("usbgpu"))                                               # on the way out
    assert torch.equal(bits(back), bits(y.to(other)))


@pytest.mark.parametrize("dtype", UNSIGNED, ids=str)
def test_large_and_negative_numbers_become_unsigned(dtype):
    for x in (torch.tensor([-1, -2, 2**62, -2**62]), torch.tensor([-1.0, -2.0, 3.7, 65535.0]), torch.tensor([2.0**30, -3.5]).double()):
        assert_same_bits(x.to("usbgpu").to(dtype), x.to(dtype))
    top = torch.tensor([2**64 - 1, 2**63, 2**63 + 2**40], dtype=torch.uint64)
    for target in (torch.float32, torch.float64, torch.int64, torch.bool):
        assert_same_bits(top.to("usbgpu").to(target), top.to(target))


@pytest.mark.parametrize("dtype", (torch.uint16, torch.uint64, torch.float8_e4m3fn), ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(dtype, layout):
    values = torch.arange(60).reshape(SHAPE).to(torch.float32).to(dtype)
    source = lay_out(values.view(torch.uint8), layout).view(dtype) if dtype.itemsize == 1 else lay_out(values, layout)
    out = Guarded(SHAPE, torch.float32, "transposed" if layout == "expanded" else layout)
    out.tensor.copy_(to_device(source))
    assert torch.equal(out.tensor.cpu(), source.float())
    out.check()
    assert_same_bits(to_device(source).clone(), source.clone())
    straight = torch.empty(SHAPE[::-1], dtype=dtype, device="usbgpu").permute(2, 1, 0)
    straight.copy_(to_device(source))
    assert_same_bits(straight, source)


@pytest.mark.parametrize("dtype", (*UNSIGNED, *FLOAT8), ids=str)
@pytest.mark.parametrize("value", (0, 1, 3, 0.3, -1))
def test_fill(dtype, value):
    try:
        expected = torch.full((4, 6), value, dtype=dtype)
    except RuntimeError as refused:
        with pytest.raises(RuntimeError, match="without overflow"):
            torch.full((4, 6), value, dtype=dtype, device="usbgpu")
        assert "without overflow" in str(refused)
        return
    assert_same_bits(torch.full((4, 6), value, dtype=dtype, device="usbgpu"), expected)
    x = torch.zeros(4, 6, dtype=dtype, device="usbgpu")
    x[:, ::2].fill_(value)
    want = torch.zeros(4, 6, dtype=dtype)
    want[:, ::2].fill_(value)
    assert_same_bits(x, want)
    assert_same_bits(torch.ones(3, dtype=dtype, device="usbgpu"), torch.ones(3, dtype=dtype))
    x[1:3] = torch.tensor(2.0)          # a tensor on the CPU, of another dtype
    want[1:3] = torch.tensor(2.0)
    assert_same_bits(x, want)
    assert torch.equal(x[1, 0].cpu().float(), torch.tensor(2.0)) and x.view(torch.uint8).shape == want.view(torch.uint8).shape


def test_item_and_print():
    assert torch.tensor(2**63, dtype=torch.uint64, device="usbgpu").item() == 2**63
    assert torch.tensor(1.5, dtype=torch.float8_e4m3fn, device="usbgpu").item() == 1.5
    x = torch.tensor([1, 65535], dtype=torch.uint16, device="usbgpu")
    assert "65535" in str(x) and x.tolist() == [1, 65535]
