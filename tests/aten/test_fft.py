"""Fourier transforms against the CPU: every kind of length, any dimensions and strides, norms, out=, gradients."""
from __future__ import annotations

import pytest
import torch

from .gradients import compare
from .layouts import Guarded, to_device

PAIRS = ((torch.complex64, torch.float32), (torch.complex128, torch.float64))
# sums of few terms, each butterfly, mixed factors, a prime summed directly, primes as convolutions
SHORT = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 25, 30, 49, 64, 77, 105, 127, 128, 131, 210, 262)
# the longest line in LDS of each type, the first ones cut in two, cut unevenly, long convolutions
LONG = (2048, 4095, 4096, 4098, 4099, 5040, 10007, 16384, 30000)


def number(shape, dtype, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def check(function, *args):
    want = function(*args)
    got = function(*[to_device(x.resolve_conj().resolve_neg()) for x in args])
    assert got.device.type == "usbgpu" and got.dtype == want.dtype and got.shape == want.shape
    error = (got.cpu() - want).abs().max() / want.abs().max().clamp(min=1e-30) if want.numel() else 0
    assert error < (1e-6 if want.dtype in (torch.float32, torch.complex64) else 1e-14)


@pytest.mark.parametrize("dtype, real", PAIRS)
@pytest.mark.parametrize("n", SHORT + LONG)
def test_lengths(n, dtype, real):
    a = number((5 if n < 300 else 2, n), dtype)
    r = a.real.contiguous()
    check(torch.fft.fft, a)
    check(torch.fft.ifft, a)
    check(torch.fft.rfft, r)
    check(lambda x: torch.fft.irfft(x, n=n), a[:, :n // 2 + 1].contiguous())
    if n < 300:
        check(torch.fft.fft, r)
        check(torch.fft.ihfft, r)
        check(lambda x: torch.fft.hfft(x, n=n), a)
        check(lambda x: torch.fft.irfft(x, n=2 * n), a)      # padded


@pytest.mark.parametrize("dtype, real", PAIRS)
def test_dimensions_norms_and_strides(dtype, real):
    a = number((4, 6, 5, 7), dtype)
    for dim in range(4):
        for norm in ("backward", "ortho", "forward"):
            check(lambda x, dim=dim, norm=norm: torch.fft.fft(x, dim=dim, norm=norm), a)
            check(lambda x, dim=dim, norm=norm: torch.fft.rfft(x, dim=dim, norm=norm), a.real)
            check(lambda x, dim=dim, norm=norm: torch.fft.irfft(x, dim=dim, norm=norm), a.transpose(0, 3))
    check(torch.fft.fftn, a.permute(3, 1, 0, 2))
    check(lambda x: torch.fft.ifftn(x[:, ::2], dim=(0, 2), norm="ortho"), a)
    check(torch.fft.rfftn, a.real)
    check(torch.fft.irfftn, a)
    check(torch.fft.hfft2, a)
    check(torch.fft.ihfftn, a.real)
    check(lambda x: torch.fft.fft2(x, s=(8, 3)), a)
    check(lambda x: torch.fft.fft(x.conj()), a)
    check(lambda x: torch.fft.rfft(x.conj().imag), a)
    check(lambda x: torch.fft.fft(x[:1].expand(4, 6, 5, 7), dim=1), a)
    check(lambda x: torch.fft.fft(x.as_strided((2, 2, 2, 2, 2, 2, 2, 4), (7, 3, 1, 11, 5, 2, 13, 9))), number((300,), dtype))
    check(lambda x: torch.fft.fftshift(torch.fft.fft(x)), a)
    assert torch.fft.fft(torch.zeros(0, 8, dtype=dtype, device="usbgpu")).shape == (0, 8)


@pytest.mark.parametrize("dtype, real", PAIRS)
def test_outputs(dtype, real):
    a = number((6, 10), dtype)
    for layout in ("contiguous", "transposed", "sliced"):
        out = Guarded((6, 10), dtype, layout)
        torch.fft.fft(a.to("usbgpu"), out=out.tensor)
        torch.testing.assert_close(out.tensor.cpu(), torch.fft.fft(a), rtol=1e-5, atol=1e-5)
        out.check()


def test_launches():
    """One per dimension; two where a line does not fit LDS; a convolution has four."""
    a = number((8, 4096), torch.complex64).to("usbgpu")

    def count(function):
        function()
        torch.usbgpu.synchronize()
        before = torch.usbgpu.link_stats()["launches"]
        function()
        torch.usbgpu.synchronize()
        return torch.usbgpu.link_stats()["launches"] - before

    assert count(lambda: torch.fft.fft(a)) == 1
    assert count(lambda: torch.fft.fft2(a)) == 2
    assert count(lambda: torch.fft.rfft(a.real)) == 1
    assert count(lambda: torch.fft.fft(a.view(1, -1))) == 2
    assert count(lambda: torch.fft.fft(a[:, :131])) == 4


def test_short_time_transforms():
    x, window = torch.randn(2, 700, generator=torch.Generator().manual_seed(0)), torch.hann_window(100)
    check(lambda x, w: torch.stft(x, 100, hop_length=30, window=w, return_complex=True), x, window)
    check(lambda x, w: torch.stft(x, 128, win_length=100, window=w, onesided=False, normalized=True, return_complex=True), x, window)
    spectrum = torch.stft(x, 100, hop_length=25, window=window, return_complex=True)
    check(lambda s, w: torch.istft(s, 100, hop_length=25, window=w, length=690), spectrum, window)


def test_gradients():
    x = torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(0))
    for function in (lambda x: torch.view_as_real(torch.fft.rfft(x)),
                     lambda x: torch.view_as_real(torch.fft.fft2(x, norm="ortho")),
                     lambda x: torch.fft.rfftn(x, dim=(0, 2)).abs(),
                     lambda x: torch.fft.irfft(torch.fft.rfft(x) * (1 + 2j), n=10),
                     lambda x: torch.fft.hfft(torch.complex(x, x.flip(0))),
                     lambda x: torch.view_as_real(torch.fft.ihfft(x).resolve_conj()),
                     lambda x: torch.fft.ifft(torch.complex(x, 2 * x), dim=1).imag):
        compare(function, x, rtol=1e-4, atol=1e-4)


def test_refusals():
    with pytest.raises(RuntimeError, match="Invalid number of data points"):
        torch.fft.fft(torch.zeros(3, 0, device="usbgpu"))
    with pytest.raises(RuntimeError, match="Unsupported dtype Half"):
        torch.fft.fft(torch.zeros(8, dtype=torch.float16, device="usbgpu"))


@pytest.mark.expects_fallback
def test_lengths_beyond_two_trips_through_lds():
    torch.usbgpu.set_fallback("silent")
    torch.usbgpu.reset_fallbacks()
    x = torch.zeros(2048 * 2048 + 2, dtype=torch.float64)
    x[1] = 1
    got = torch.fft.rfft(x.to("usbgpu"))[1].cpu()
    assert torch.usbgpu.fallbacks() == {"aten::_fft_r2c": 1}
    torch.testing.assert_close(got, torch.fft.rfft(x)[1])
