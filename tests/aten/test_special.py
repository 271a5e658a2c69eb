"""Special functions and the pointwise operators around them, against the CPU."""
from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch
import torch.nn.functional as F
from torch import special

from .layouts import SHAPE, Guarded, assert_same, lay_out, sample, to_device

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
FULL = (torch.float32, torch.float64)       # what ATen's CPU kernels take
INF, NAN = math.inf, math.nan

# name: (function, dtypes, range of the arguments, special arguments that the CPU answers as mathematics does)
EDGES = (NAN, INF, -INF, 0.0, -0.0)
UNARY = {
    "lgamma": (torch.lgamma, FLOATS, (0.1, 9), (*EDGES, -1.0, -2.5)),
    "digamma": (torch.digamma, FLOATS, (0.1, 9), (*EDGES, -1.0, -2.5)),
    "polygamma 1": (lambda x: torch.polygamma(1, x), FLOATS, (0.1, 9), (NAN, INF, 0.0, -2.5)),
    "polygamma 3": (lambda x: torch.polygamma(3, x), FULL, (0.1, 9), (NAN, 0.0, -1.0, -2.5)),
    "erfinv": (torch.erfinv, FLOATS, (-1, 1), (*EDGES, 1.0, -1.0, 1.5)),
    "erfcx": (special.erfcx, FULL, (-4, 30), EDGES),
    "ndtri": (special.ndtri, FULL, (0, 1), (*EDGES, 1.0, 1.5)),
    "log_ndtr": (special.log_ndtr, FULL, (-30, 6), EDGES),
    "i0": (torch.i0, FLOATS, (-10, 10), EDGES), "i0e": (special.i0e, FLOATS, (-30, 30), EDGES),
    "i1": (special.i1, FULL, (-10, 10), EDGES), "i1e": (special.i1e, FULL, (-30, 30), EDGES),
    "bessel_j0": (special.bessel_j0, FULL, (-30, 30), EDGES), "bessel_j1": (special.bessel_j1, FULL, (-30, 30), EDGES),
    "bessel_y0": (special.bessel_y0, FULL, (0.1, 30), (*EDGES, -1.0)),
    "bessel_y1": (special.bessel_y1, FULL, (0.1, 30), (*EDGES, -1.0)),
    "modified_bessel_i0": (special.modified_bessel_i0, FULL, (-10, 10), EDGES),
    "modified_bessel_i1": (special.modified_bessel_i1, FULL, (-10, 10), EDGES),
    "modified_bessel_k0": (special.modified_bessel_k0, FULL, (0.1, 10), (*EDGES, -1.0)),
    "modified_bessel_k1": (special.modified_bessel_k1, FULL, (0.1, 10), (*EDGES, -1.0)),
    "scaled_modified_bessel_k0": (special.scaled_modified_bessel_k0, FULL, (0.1, 30), (*EDGES, -1.0)),
    "scaled_modified_bessel_k1": (special.scaled_modified_bessel_k1, FULL, (0.1, 30), (*EDGES, -1.0)),
    "spherical_bessel_j0": (special.spherical_bessel_j0, FULL, (-30, 30), EDGES),
    "airy_ai": (special.airy_ai, FULL, (-10, 10), EDGES),
}
POLYNOMIALS = ["chebyshev_polynomial_t", "chebyshev_polynomial_u", "chebyshev_polynomial_v", "chebyshev_polynomial_w",
               "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p",
               "shifted_chebyshev_polynomial_t", "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
               "shifted_chebyshev_polynomial_w"]
# The CPU's double results are right to 1e-7 (trigamma: 1e-9) only.
EXACT = {"bessel_j0": lambda x: mp.besselj(0, x), "bessel_j1": lambda x: mp.besselj(1, x), "bessel_y0": lambda x: mp.bessely(0, x),
         "bessel_y1": lambda x: mp.bessely(1, x), "airy_ai": mp.airyai, "polygamma 1": lambda x: mp.polygamma(1, x)}
# The CPU's own series are some units off (its float series, or their double tables near zeros).
TOLERANCE = {torch.float32: {"rtol": 2e-5, "atol": 2e-6}, torch.float64: {"rtol": 1e-11, "atol": 1e-14}}


@pytest.mark.parametrize("name, dtype", [pytest.param(n, d, id=f"{n}-{str(d)[6:]}") for n, row in UNARY.items() for d in row[1]])
def test_unary(name, dtype):
    function, _, (low, high), edges = UNARY[name]
    x = sample((5, 40), dtype, 1, low, high)
    x.view(-1)[:len(edges)] = torch.tensor(edges, dtype=dtype)
    wanted = function(x)
    if name in EXACT and dtype == torch.float64:
        rest = slice(len(edges), None)
        wanted.view(-1)[rest] = torch.tensor([float(EXACT[name](v)) for v in x.view(-1)[rest].tolist()], dtype=dtype)
    assert_same(function(x.to("usbgpu")), wanted, **TOLERANCE.get(dtype, {}))


@pytest.mark.parametrize("name", ("erfinv", "i0", "lgamma"))
def test_layouts_and_guards(name):
    function, _, (low, high), _ = UNARY[name]
    values = sample(SHAPE, torch.float32, 2, low, high)
    for layout in ("transposed", "sliced", "offset", "expanded"):
        x = lay_out(values, layout)
        assert_same(function(to_device(x)), function(x), **TOLERANCE[torch.float32])
    out = Guarded(SHAPE, torch.float32, "transposed")
    getattr(special, {"lgamma": "gammaln"}.get(name, name))(values.to("usbgpu"), out=out.tensor)
    assert_same(out.tensor, function(values), **TOLERANCE[torch.float32])
    out.check()


def test_mvlgamma_out():
    values = lay_out(sample(SHAPE, torch.float32, 2, 2, 5), "transposed")
    out = Guarded(SHAPE, torch.float32, "sliced")
    torch.mvlgamma(to_device(values), 3, out=out.tensor)
    assert_same(out.tensor, torch.mvlgamma(values, 3), **TOLERANCE[torch.float32])
    out.check()


@pytest.mark.parametrize("name", ("digamma", "i0e", "ndtri"))
def test_integers_are_promoted(name):
    x = torch.tensor([0, 1, 1, 0], dtype=torch.int32)
    function = getattr(special, name)
    assert_same(function(x.to("usbgpu")), function(x), **TOLERANCE[torch.float32])
    assert_same(function(x.bool().to("usbgpu")), function(x.bool()), **TOLERANCE[torch.float32])
    if name != "ndtri":
        half = x.half()
        assert_same(function(half.to("usbgpu")), function(half))


@pytest.mark.parametrize("dtype", FULL)
@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials(name, dtype):
    function = getattr(special, name)
    x = torch.cat([sample((40,), dtype, 1, -3, 3), torch.tensor([0.0, 1.0, -1.0], dtype=dtype)])
    degree = torch.arange(-1, 10).to(dtype).unsqueeze(1)
    wanted = function(x, degree)
    # The CPU's own recurrence loses relative to the largest of its terms.
    scale = 1 + wanted.abs().amax()
    limit = 1e-6 if dtype == torch.float32 else 1e-14
    assert_same(function(x.to("usbgpu"), degree.to("usbgpu")).div_(scale.item()), wanted / scale, rtol=1e-5, atol=limit)


def test_polynomials_of_scalars_and_nan():
    x = torch.tensor([0.5, -2.0, 3.0])
    for function in (special.legendre_polynomial_p, special.hermite_polynomial_he):
        assert_same(function(x.to("usbgpu"), 3), function(x, 3), rtol=1e-5, atol=1e-5)
        assert_same(function(0.25, x.to("usbgpu")), function(0.25, x), rtol=1e-5, atol=1e-5)
    assert special.chebyshev_polynomial_u(torch.tensor([NAN], device="usbgpu"), 2).isnan().all()


@pytest.mark.parametrize("dtype", FULL)
def test_high_degrees(dtype):
    x = torch.tensor([0.3, -0.7, 0.999], dtype=dtype)
    wanted = torch.cos(5000 * torch.acos(x.double())).to(dtype)
    assert_same(special.chebyshev_polynomial_t(x.to("usbgpu"), 5000), wanted, rtol=1e-3 if dtype == torch.float32 else 1e-9, atol=1e-5)
    assert special.hermite_polynomial_h(x.to("usbgpu"), 600).isnan().all()


@pytest.mark.parametrize("dtype", FULL)
def test_zeta(dtype):
    s, q = sample((60,), dtype, 1, 1.05, 12), sample((60,), dtype, 2, 0.05, 20)
    assert_same(special.zeta(s.to("usbgpu"), q.to("usbgpu")), special.zeta(s, q), **TOLERANCE[dtype])
    s = torch.tensor([1.0, 0.5, 2, 3, 2.5, NAN, 2, 3, 4, 2], dtype=dtype)
    q = torch.tensor([2.0, 2, -1, -1.5, -0.5, 1, NAN, -0.25, -7.75, 0], dtype=dtype)
    assert_same(special.zeta(s.to("usbgpu"), q.to("usbgpu")), special.zeta(s, q), **TOLERANCE[dtype])
    assert_same(special.zeta(2, q[:4].to("usbgpu")), special.zeta(2, q[:4]), **TOLERANCE[dtype])


def test_polygamma_far_below_zero_ends():
    x = torch.tensor([-123456.25, -0.75], dtype=torch.float64)
    trigamma = torch.polygamma(1, x.to("usbgpu")).cpu()
    # trigamma(1 - x) + trigamma(x) = (pi / sin(pi x))^2
    wanted = (math.pi / torch.sin(math.pi * (x + 123457).frac())) ** 2 - torch.polygamma(1, 1 - x)
    torch.testing.assert_close(trigamma, wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ("igamma", "igammac"))
def test_incomplete_gamma(name, dtype):
    function = getattr(torch, name)
    a, x = sample((150,), dtype, 1, 0.05, 30), sample((150,), dtype, 2, 0.05, 30)
    edges = torch.tensor([[0, 0], [0, 2], [2, 0], [INF, 2], [2, INF], [INF, INF], [-1, 2], [2, -1], [NAN, 1], [1, NAN]], dtype=dtype)
    a, x = torch.cat([a, edges[:, 0]]), torch.cat([x, edges[:, 1]])
    wanted = function(a, x)
    if dtype == torch.float64:       # the CPU's is right to 1e-9 where a and x are alike; and Temme's expansion, and both sides of it
        a = torch.cat([a, torch.tensor([250.0, 1000, 1e4, 1e5, 300, 300], dtype=dtype)])
        x = torch.cat([x, torch.tensor([240.0, 1010, 1e4, 1e5 + 300, 150, 600], dtype=dtype)])
        wanted = function(a, x)
        bounds = ((0, "x") if name == "igamma" else ("x", mp.inf))
        for i in [*range(150), *range(160, 166)]:
            at_x = [x[i].item() if bound == "x" else bound for bound in bounds]
            wanted[i] = float(mp.gammainc(a[i].item(), *at_x, regularized=True))
    limits = {torch.float32: {"rtol": 5e-5, "atol": 2e-6}, torch.float64: {"rtol": 1e-11, "atol": 1e-14}}.get(dtype, {})
    assert_same(function(a.to("usbgpu"), x.to("usbgpu")), wanted, **limits)


@pytest.mark.parametrize("dtype", FLOATS)
def test_frexp(dtype):
    x = torch.cat([sample((30,), dtype, 1, -100, 100), torch.tensor([0.0, -0.0, 1e-7, 0.5, 1, -4], dtype=dtype)])
    mantissa, exponent = torch.frexp(x.to("usbgpu"))
    wanted = torch.frexp(x)
    assert_same(mantissa, wanted[0], rtol=0, atol=0)
    assert_same(exponent, wanted[1], rtol=0, atol=0)
    values = sample(SHAPE, dtype, 2, -100, 100)
    out, power = Guarded(SHAPE, dtype, "transposed"), Guarded(SHAPE, torch.int32, "sliced")
    torch.frexp(to_device(lay_out(values, "sliced")), out=(out.tensor, power.tensor))
    assert_same(out.tensor, torch.frexp(values)[0], rtol=0, atol=0)
    assert_same(power.tensor, torch.frexp(values)[1], rtol=0, atol=0)
    out.check(), power.check()


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.uint8))
@pytest.mark.parametrize("tests", (0, 1, 20, 200))
def test_isin(dtype, tests):
    elements, among = sample(SHAPE, dtype, 1, -60, 60), sample((tests,), dtype, 2, -60, 60)
    if dtype.is_floating_point:
        elements.view(-1)[0] = NAN
        if tests:
            among[0] = NAN
    elements.view(-1)[-tests // 2:] = among[-1] if tests else elements.view(-1)[-1]
    for invert in (False, True):
        for layout in ("contiguous", "transposed"):
            x = lay_out(elements, layout)
            assert_same(torch.isin(to_device(x), among.to("usbgpu"), invert=invert), torch.isin(x, among, invert=invert))
    out = Guarded(SHAPE, torch.bool, "sliced")
    torch.isin(elements.to("usbgpu"), among.to("usbgpu"), out=out.tensor)
    assert_same(out.tensor, torch.isin(elements, among))
    out.check()


def test_isin_of_scalars_and_mixed_dtypes():
    x = torch.tensor([1, 2, 3, 250], dtype=torch.uint8)
    y = torch.tensor([1.5, 2, -6], dtype=torch.float32)
    assert_same(torch.isin(x.to("usbgpu"), y.to("usbgpu")), torch.isin(x, y))
    assert_same(torch.isin(x.to("usbgpu"), 2), torch.isin(x, 2))
    assert_same(torch.isin(2, x.to("usbgpu"), invert=True), torch.isin(2, x, invert=True))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape, dim", [((7,), 0), ((3, 300), 1), ((300, 3), 0), ((2, 5, 4), 1), ((), 0), ((0, 3), 1), ((9001,), 0)])
def test_logcumsumexp(shape, dim, dtype):
    x = sample(shape, dtype, 1)
    limits = {torch.float16: (5e-3, 5e-3), torch.bfloat16: (4e-2, 4e-2)}.get(dtype, (1e-5, 1e-5) if dtype == torch.float32 else (1e-12, 1e-12))
    assert_same(torch.logcumsumexp(x.to("usbgpu"), dim), torch.logcumsumexp(x, dim), rtol=limits[0], atol=limits[1])


def test_logcumsumexp_edges_and_out():
    x = torch.tensor([[-INF, -INF, 1.0, INF, 2.0], [1.0, NAN, 2.0, 3.0, -INF], [-INF, 1e30, 5.0, -1e30, INF]])
    assert_same(torch.logcumsumexp(x.to("usbgpu"), 1), torch.logcumsumexp(x, 1))
    values = lay_out(sample(SHAPE, torch.float32, 1), "transposed")
    out = Guarded(SHAPE, torch.float32, "sliced")
    torch.logcumsumexp(to_device(values), 0, out=out.tensor)
    assert_same(out.tensor, torch.logcumsumexp(values, 0), rtol=1e-5, atol=1e-5)
    out.check()
    with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
        torch.logcumsumexp(torch.ones(3, dtype=torch.int64, device="usbgpu"), 0)


@pytest.mark.parametrize("dtype", (*FLOATS, torch.int8, torch.int32, torch.int64, torch.uint8, torch.bool))
def test_hash_tensor(dtype):
    x = sample((4, 300), dtype, 1, -50, 50)
    for keyword in ({}, {"dim": 1}, {"dim": 0, "keepdim": True}):
        for layout in ("contiguous", "transposed"):
            y = lay_out(x, layout)
            got = torch.hash_tensor(to_device(y), **keyword).cpu()
            assert torch.equal(got.view(torch.int64), torch.hash_tensor(y, **keyword).view(torch.int64))


@pytest.mark.parametrize("dtype", FLOATS)
def test_glu_backward(dtype):
    x = lay_out(sample((4, 6, 5), dtype, 1), "transposed")
    gradient = sample((4, 3, 5), dtype, 2)
    grads = []
    for where in ("cpu", "usbgpu"):
        y = x.clone().to(where).detach().requires_grad_()
        F.glu(y, 1).backward(gradient.to(where))
        grads.append(y.grad)
    assert_same(grads[1], grads[0], rtol=4e-3 if dtype == torch.float16 else 3e-2 if dtype == torch.bfloat16 else 1e-5,
                atol=2e-2 if dtype == torch.bfloat16 else 2e-3 if dtype == torch.float16 else 1e-6)


def test_rrelu():
    x = sample((3, 400), torch.float32, 1)
    y = x.to("usbgpu")
    assert_same(F.rrelu(y, 0.1, 0.3), F.rrelu(x, 0.1, 0.3))
    torch.manual_seed(5)
    z = y.clone().requires_grad_()
    out = F.rrelu(z, 0.1, 0.3, training=True)
    out.sum().backward()
    slope, expected = z.grad.cpu(), out.detach().cpu()
    negative = x <= 0
    assert (slope[~negative] == 1).all() and (slope[negative] >= 0.1).all() and (slope[negative] < 0.3).all()
    assert slope[negative].std() > 0.03 and abs(slope[negative].mean() - 0.2) < 0.02
    torch.testing.assert_close(expected, x * slope)
    torch.manual_seed(5)
    again = y.clone()
    F.rrelu_(again, 0.1, 0.3, training=True)
    assert torch.equal(again.cpu(), expected)


def test_zero_tensor():
    x = torch.randn(3, device="usbgpu", requires_grad=True)
    torch.sgn(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]
    zero = torch._efficientzerotensor((2, 3), device="usbgpu", dtype=torch.float16)
    assert zero._is_zerotensor() and zero.dtype == torch.float16
    assert_same(zero + torch.ones(2, 3, device="usbgpu", dtype=torch.float16), torch.ones(2, 3, dtype=torch.float16))


BACKWARD = {
    "lgamma": (torch.lgamma, (0.2, 5)), "digamma": (torch.digamma, (0.2, 5)), "polygamma": (lambda x: torch.polygamma(2, x), (0.2, 5)),
    "erfinv": (torch.erfinv, (-0.9, 0.9)), "erfcx": (special.erfcx, (-2, 4)), "ndtri": (special.ndtri, (0.1, 0.9)),
    "log_ndtr": (special.log_ndtr, (-4, 4)), "i0": (torch.i0, (-4, 4)), "i0e": (special.i0e, (-4, 4)), "i1": (special.i1, (-4, 4)),
    "i1e": (special.i1e, (-4, 4)), "mvlgamma": (lambda x: torch.mvlgamma(x, 3), (2, 5)),
    "igamma": (lambda x: torch.igamma(x.detach() + 1, x), (0.2, 5)), "igammac": (lambda x: torch.igammac(x.detach() + 1, x), (0.2, 5)),
    "logcumsumexp": (lambda x: torch.logcumsumexp(x, 0), (-2, 2)), "frexp": (lambda x: torch.frexp(x)[0], (0.2, 5)),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_backward(name):
    function, (low, high) = BACKWARD[name]
    values = sample((12,), torch.float32, 3, low, high)
    grads = []
    for where in ("cpu", "usbgpu"):
        x = values.clone().to(where).detach().requires_grad_()
        function(x).sum().backward()
        grads.append(x.grad)
    assert_same(grads[1], grads[0], rtol=5e-5, atol=5e-6)


@pytest.mark.parametrize("call, error, text", [
    (lambda x: special.airy_ai(x.half()), NotImplementedError, "\"airy_ai_cpu\" not implemented for 'Half'"),
    (lambda x: torch.igamma(x.int(), x.int()), NotImplementedError, "not implemented for 'Int'"),
    (lambda x: torch.polygamma(-1, x), RuntimeError, "polygamma"),
    (lambda x: torch.frexp(x.int()), RuntimeError, "only supports floating-point"),
    (lambda x: torch.lgamma(x, out=torch.empty(3, dtype=torch.int32, device=x.device)), RuntimeError, "can't be cast"),
    (lambda x: F.glu(x), RuntimeError, "must be even"),
])
def test_errors_are_the_cpus(call, error, text):
    for where in ("cpu", "usbgpu"):
        with pytest.raises(error, match=text):
            call(torch.ones(3, device=where))
