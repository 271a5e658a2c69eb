"""Complex numbers against the CPU: storage, views, lazy conjugation, casts, arithmetic, functions, sums, products."""
from __future__ import annotations

import cmath
import itertools
import math

import pytest
import torch

from .gradients import compare
from .layouts import LAYOUTS, Guarded, lay_out, to_device

COMPLEX = (torch.complex64, torch.complex128)
TOLERANCE = {torch.complex64: dict(rtol=1.3e-6, atol=2e-6), torch.complex128: dict(rtol=1e-12, atol=1e-12),
             torch.float32: dict(rtol=1.3e-6, atol=2e-6), torch.float64: dict(rtol=1e-12, atol=1e-12)}
UNARY = ("abs", "acos", "acosh", "angle", "asin", "asinh", "atan", "atanh", "conj_physical", "cos", "cosh", "exp", "exp2",
         "expm1", "isfinite", "isinf", "isnan", "isreal", "log", "log10", "log1p", "log2", "logical_not", "neg", "reciprocal",
         "rsqrt", "sgn", "sigmoid", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh")
BINARY = ("add", "div", "eq", "logaddexp", "logical_and", "logical_or", "logical_xor", "mul", "ne", "pow", "sub")


def number(shape, dtype, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def assert_same(got, want, **tolerance):
    assert got.device.type == "usbgpu" and got.dtype == want.dtype and got.shape == want.shape
    limits = tolerance or TOLERANCE.get(want.dtype, dict(rtol=0, atol=0))
    torch.testing.assert_close(got.cpu().resolve_conj().resolve_neg(), want.resolve_conj().resolve_neg(), equal_nan=True, **limits)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("name", UNARY)
def test_functions(name, dtype):
    function = getattr(torch, name)
    values = torch.cat([number((3, 4, 5), dtype), number((3, 4, 5), dtype, 1) * 1e-3, number((3, 4, 5), dtype, 2) * 8])
    for layout in ("contiguous", "transposed", "sliced"):
        tensor = lay_out(values, layout)
        assert_same(function(to_device(tensor)), function(tensor))


@pytest.mark.parametrize("name", ("sqrt", "log", "asin", "acos", "atanh", "exp", "tanh", "sinh", "cosh"))
def test_functions_where_they_are_delicate(name):
    """Zeros of either sign, the branch cuts' ends, the unit circle, sizes whose squares overflow: against Python's."""
    sides = (0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -3.0, 1e-8, 80.0) + (() if name in ("exp", "sinh", "cosh") else (1e30, -1e-30))
    points, want = [], []
    for re, im in itertools.product(sides, sides):
        try:
            want.append(getattr(cmath, name)(complex(re, im)))
        except (ValueError, OverflowError):
            continue
        points.append(complex(re, im))
    for dtype, rtol in ((torch.complex128, 1e-14), (torch.complex64, 1e-6)):
        narrow = torch.tensor(points, dtype=dtype)
        expected = want if dtype == torch.complex128 else [getattr(cmath, name)(complex(z)) for z in narrow.tolist()]
        got = getattr(torch, name)(narrow.to("usbgpu")).cpu().tolist()
        for z, g, w in zip(narrow.tolist(), got, expected, strict=True):
            for part in ("real", "imag"):
                a, b = getattr(g, part), getattr(w, part)
                if abs(b) > 3e38 and dtype == torch.complex64:
                    continue
                # a part much smaller than the other is allowed the other's rounding
                assert abs(a - b) <= rtol * max(abs(b), 1e-3 * abs(w)) + (1e-37 if dtype == torch.complex64 else 1e-300), (name, z, g, w)
                assert b != 0 or math.copysign(1, a) == math.copysign(1, b) or name in ("atanh", "cosh"), (name, z, g, w)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name, dtype):
    function = getattr(torch, name)
    a, b = number((3, 4, 5), dtype), number((3, 4, 5), dtype, 1)
    b[0, 0, 0] = a[0, 0, 0]
    others = [b, b.real.contiguous(), b[0, :, :1], torch.tensor(2 - 3j), 1.5 + 2j, 3]
    others += [] if name == "pow" else [torch.arange(5)]
    others += [torch.tensor([True, False, True, True, False])] if name in ("add", "mul", "eq", "logical_and") else []
    for layout in LAYOUTS:
        left = lay_out(a, layout)
        right = lay_out(b, "transposed")
        assert_same(function(to_device(left), to_device(right)), function(left, right))
    for other in others:
        if name.startswith("log") and not isinstance(other, torch.Tensor):
            continue
        on_device = isinstance(other, torch.Tensor) and (other.dim() or name == "logaddexp")   # which takes no number of the CPU
        moved = other.to("usbgpu") if on_device else other
        assert_same(function(a.to("usbgpu"), moved), function(a, other))


@pytest.mark.parametrize("dtype", COMPLEX)
def test_more_operands(dtype):
    a, b, c = (number((4, 5), dtype, seed) for seed in range(3))
    da, db, dc = a.to("usbgpu"), b.to("usbgpu"), c.to("usbgpu")
    assert_same(torch.addcmul(da, db, dc, value=2 - 1j), torch.addcmul(a, b, c, value=2 - 1j))
    assert_same(torch.addcdiv(da, db, dc, value=1j), torch.addcdiv(a, b, c, value=1j))
    assert_same(torch.add(da, db, alpha=1 - 2j), torch.add(a, b, alpha=1 - 2j))
    assert_same(1j - da, 1j - a)
    assert_same(2j ** da, 2j ** a)
    assert_same(torch.lerp(da, db, 0.75), torch.lerp(a, b, 0.75))
    assert_same(torch.lerp(da, db, dc), torch.lerp(a, b, c))
    assert_same(torch.where(da.real > 0, da, db), torch.where(a.real > 0, a, b))
    assert_same(torch.nn.functional.silu(da), torch.nn.functional.silu(a))
    for exponent in (2, 3, -1, 0.5, -2, 0, 1.5 - 1j):
        assert_same(da ** exponent, a ** exponent)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("layout", ("contiguous", "transposed", "sliced", "offset"))
def test_outputs(layout, dtype):
    """In place, and into `out=` of any layout: nothing around it is written."""
    a, b = number((3, 4, 5), dtype), number((3, 4, 5), dtype, 1)
    out = Guarded((3, 4, 5), dtype, layout)
    torch.mul(a.to("usbgpu"), b.to("usbgpu"), out=out.tensor)
    assert_same(out.tensor, a * b)
    out.check()
    out.tensor.sub_(b.to("usbgpu"))
    assert_same(out.tensor, a * b - b)
    out.tensor.fill_(3 - 4j)
    assert_same(out.tensor.abs(), torch.full((3, 4, 5), 5.0, dtype=dtype.to_real()))
    out.tensor.zero_()
    assert not out.tensor.cpu().any()
    out.check()


@pytest.mark.parametrize("dtype", COMPLEX)
def test_views_and_lazy_bits(dtype):
    a = number((3, 4), dtype)
    da = a.to("usbgpu")
    assert_same(torch.view_as_real(da), torch.view_as_real(a))
    assert_same(torch.view_as_complex(torch.view_as_real(da)), a)
    assert da.real.data_ptr() == da.data_ptr() and da.imag.data_ptr() == da.data_ptr() + dtype.itemsize // 2
    assert da.conj().is_conj() and da.conj().imag.is_neg()
    for view in (lambda x: x.conj(), lambda x: x.conj().imag, lambda x: x.t().conj(), lambda x: x.mH, lambda x: x.conj()[:, ::2]):
        assert_same(view(da).clone(), view(a).clone())
        assert_same(view(da).contiguous(), view(a).contiguous())
        assert_same(view(da) * 2, view(a) * 2)
        assert torch.equal(view(da).cpu().resolve_conj().resolve_neg(), view(a).resolve_conj().resolve_neg())
    target = torch.zeros_like(da)
    target.conj().copy_(da)                       # into a lazily conjugated tensor
    assert_same(target, a.conj().resolve_conj())
    target.imag.copy_(da.conj().imag)             # from a lazily negated one
    assert_same(target.imag.clone(), -a.imag)
    assert da[1, 2].item() == a[1, 2].item() and da.conj()[1, 2].item() == a.conj()[1, 2].item()
    assert torch.is_complex(da) and repr(da).startswith("tensor([[")
    assert torch.equal(da, da.clone()) and not torch.equal(da, da.conj())


REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
        torch.bool)


@pytest.mark.parametrize("dtype", (*REAL, torch.complex32, *COMPLEX), ids=str)
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_casts(dtype):
    values = torch.tensor([0, 1, 2.5, 100, 3]) + 1j * torch.tensor([1.0, 0, -3, 4, 0])
    for source, strided in itertools.product(COMPLEX, (False, True)):
        a = values.to(source)
        da = a.to("usbgpu")
        if strided:
            a, da = a[::2], da[::2]
        assert torch.equal(torch.view_as_real(da.to(dtype).cpu().to(source)), torch.view_as_real(a.to(dtype).to(source)))
        assert torch.equal(da.cpu().to(dtype).to(source), a.to(dtype).to(source))
        back, want = da.to(dtype).to(source), a.to(dtype).to(source)
        assert torch.equal(back.cpu(), want)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_out_of_real_numbers(dtype):
    a, b = torch.randn(2, 5, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))
    for left, right in ((a, b), (a.t(), b.t()), (a[:, ::2], b[:1, ::2])):
        assert_same(torch.complex(left.to("usbgpu"), right.to("usbgpu")), torch.complex(left, right))
        assert_same(torch.polar(left.to("usbgpu"), right.to("usbgpu")), torch.polar(left, right))
    with pytest.raises(RuntimeError, match="Expected"):
        torch.complex(a.to("usbgpu"), b.double().float().half().to("usbgpu"))


def test_two_halves_are_a_complex32():
    a, b = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0)).half()
    for left, right in ((a, b), (a[:, ::2], b[:1, ::2])):
        got, want = torch.complex(left.to("usbgpu"), right.to("usbgpu")), torch.complex(left, right)
        assert got.dtype == torch.complex32
        assert torch.equal(torch.view_as_real(got).cpu(), torch.view_as_real(want))


@pytest.mark.parametrize("dtype", COMPLEX)
def test_random_numbers(dtype):
    torch.manual_seed(3)
    drawn = torch.full((3000, 2), 9j, dtype=dtype, device="usbgpu")
    drawn[:, 0].uniform_(-1, 2)                   # each part by itself
    parts = torch.view_as_real(drawn[:, 0]).cpu()
    assert parts.min() >= -1 and parts.max() < 2 and (parts.mean(0) - 0.5).abs().max() < 0.1
    assert abs(torch.corrcoef(parts.t())[0, 1]) < 0.1 and (drawn[:, 1] == 9j).all()
    torch.manual_seed(3)
    first = torch.randn(4000, dtype=dtype, device="usbgpu")
    torch.manual_seed(3)
    assert torch.equal(first, torch.randn(4000, dtype=dtype, device="usbgpu"))
    assert abs(first.cpu().abs().square().mean() - 1) < 0.1 and abs(first.cpu().mean()) < 0.1


@pytest.mark.parametrize("dtype", COMPLEX)
def test_reductions(dtype):
    a = number((7, 5, 40), dtype) * 0.7
    da = a.to("usbgpu")
    for name in ("sum", "mean", "std", "var"):
        function = getattr(torch, name)
        for dims in ((0,), (1,), (2,), (0, 2), (0, 1, 2)):
            for x, dx in ((a, da), (a.transpose(0, 2), da.transpose(0, 2)), (a[:, ::2], da[:, ::2])):
                assert_same(function(dx, dim=dims), function(x, dim=dims), rtol=1e-5 if dtype == torch.complex64 else 1e-11,
                            atol=1e-5 if dtype == torch.complex64 else 1e-11)
    assert_same(torch.prod(da[0, 0, :9]), torch.prod(a[0, 0, :9]))
    assert_same(torch.prod(da, dim=1, keepdim=True), torch.prod(a, dim=1, keepdim=True))
    big = a.repeat(20, 20, 2)
    assert_same(big.to("usbgpu").sum(), big.sum(), rtol=1e-4, atol=1e-2 if dtype == torch.complex64 else 1e-9)
    mask = torch.where(a.real > 0, a, 0j)
    assert_same(torch.any(mask.to("usbgpu"), dim=1), torch.any(mask, dim=1))
    assert_same(torch.all(mask.to("usbgpu"), dim=1), torch.all(mask, dim=1))
    assert_same(torch.count_nonzero(mask.to("usbgpu")), torch.count_nonzero(mask))
    assert_same(da.real.sum(dtype=dtype), a.real.sum(dtype=dtype), rtol=1e-4, atol=1e-4)
    for order in (0, 1, 2, 3.5, float("inf"), float("-inf")):
        assert_same(torch.linalg.vector_norm(da, order, dim=1), torch.linalg.vector_norm(a, order, dim=1))
    assert_same(torch.zeros(0, 3, dtype=dtype, device="usbgpu").sum(0), torch.zeros(0, 3, dtype=dtype).sum(0))


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("name", ("cumsum", "cumprod", "logcumsumexp"))
def test_scans(name, dtype):
    """Short rows, and long ones that one workgroup shares, or several; sums and products keep to a moderate size."""
    longest = 70 if name == "logcumsumexp" else 9000
    function, limits = getattr(torch, name), dict(rtol=2e-5, atol=5e-5) if dtype == torch.complex64 else dict(rtol=1e-11, atol=1e-11)
    for shape, dim in (((3, 4, 5), 1), ((2, 600, 2), 1), ((longest,), 0), ((), 0), ((0, 3), 0), ((3, 0), 0)):
        a = number(shape, dtype)
        a = a / a.abs() if name == "cumprod" else a * 0.5
        for layout in ("contiguous", "transposed", "sliced") if 1 < a.numel() < 9000 else ("contiguous",):
            x = lay_out(a, layout)
            assert_same(function(to_device(x), dim), function(x, dim), **limits)
            assert_same(function(to_device(x).conj(), dim), function(x.conj(), dim), **limits)
    a = number((3, 4, 5), dtype)
    out = Guarded((3, 4, 5), dtype, "transposed")
    function(a.to("usbgpu"), 2, out=out.tensor)
    assert_same(out.tensor, function(a, 2), **limits)
    out.check()
    if name != "logcumsumexp":
        assert_same(function(a.real.to("usbgpu"), 0, dtype=dtype), function(a.real, 0, dtype=dtype), **limits)


@pytest.mark.parametrize("dtype", COMPLEX)
def test_logaddexp_at_the_ends(dtype):
    """Infinities, numbers whose exponentials are 0, a NaN in either part, sums that cancel."""
    inf, nan = math.inf, math.nan
    ends = [complex(re, im) for re, im in itertools.product((inf, -inf, nan, 0.0, 800.0, -800.0), (0.0, 2.5, nan))]
    a = torch.tensor([x for x in ends for _ in ends], dtype=dtype)
    b = torch.tensor(ends * len(ends), dtype=dtype)
    both = torch.isinf(a.real) & (a.real == b.real)     # no angle where both vanish; any infinite one where none is bounded
    got, want = torch.logaddexp(a.to("usbgpu"), b.to("usbgpu")), torch.logaddexp(a, b)
    assert_same(got[~both.to("usbgpu")], want[~both])
    torch.testing.assert_close(got.real.cpu()[both], want.real[both], equal_nan=True)
    half_turn = torch.tensor([1 + 0j, 1 + math.pi * 1j], dtype=dtype)
    assert_same(torch.logcumsumexp(half_turn.to("usbgpu"), 0).exp(), torch.logcumsumexp(half_turn, 0).exp(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", COMPLEX)
def test_matrix_products(dtype):
    tolerance = dict(rtol=1e-5, atol=2e-5) if dtype == torch.complex64 else dict(rtol=1e-11, atol=1e-11)

    def check(function, *args):
        assert_same(function(*[to_device(x.resolve_conj()) for x in args]), function(*args), **tolerance)

    a, b, c = number((3, 35, 40), dtype), number((3, 40, 33), dtype, 1), number((35, 33), dtype, 2)
    check(torch.bmm, a, b)
    check(lambda a, b: a[0] @ b[0], a, b)
    check(lambda a, b: a[0].conj() @ b[0], a, b)                    # the bit reaches the kernel
    check(lambda a, b: b[0].mH @ a[0].mH, a, b)
    check(lambda a, b: a[:, 1:, ::2] @ b[:, ::2].conj(), a, b)
    check(lambda a, b, c: torch.addmm(c, a[0], b[0], beta=2j, alpha=1 - 1j), a, b, c)
    check(lambda a, b, c: torch.baddbmm(c, a, b, beta=0.5), a, b, c)
    check(lambda a, b: a[0] @ b[0, :, 3], a, b)
    check(lambda a, b, c: torch.addbmm(c, a, b, beta=2j, alpha=1 - 1j), a, b, c)
    check(lambda a, b, c: c.conj().clone().addbmm_(a.conj(), b), a, b, c)
    check(lambda a: torch.trace(a[0].conj()), a)
    check(lambda a: torch.trace(a[0, ::2, 1::3]), a)
    check(lambda a: torch.linalg.cross(a[:, :4].conj(), a[:, 5:6], dim=0), a)
    check(lambda a: torch.cross(a[:, :3, ::2].mT, a[:, :3, 1::2].mT, dim=2), a)
    check(lambda a, b, c: torch.addmv(c[:, 0].conj(), a[0], b[0, :, 0]), a, b, c)
    check(lambda a: torch.dot(a[0, 0], a[1, 0].conj()), a)
    check(lambda a: torch.vdot(a[0, 0], a[1, 0]), a)
    check(lambda a: torch.linalg.vecdot(a[0], a[1]), a)
    check(lambda a: a[:, :, :0] @ a.mT[:, :0], a)
    out = Guarded((35, 33), dtype, "transposed")
    torch.mm(a[0].to("usbgpu"), b[0].to("usbgpu"), out=out.tensor)
    assert_same(out.tensor, a[0] @ b[0], **tolerance)
    out.check()
    poisoned = torch.full_like(c, complex("nan"))
    check(lambda a, b, c: torch.addmm(c, a[0], b[0], beta=0), a, b, poisoned)


MOVEMENT = {   # x, rows that repeat none, a mask
    "rows": lambda x, i, m: x[i],
    "mask": lambda x, i, m: x[m],
    "flip": lambda x, i, m: x.flip(0),
    "roll": lambda x, i, m: x.roll(2, 1),
    "cat": lambda x, i, m: torch.cat([x, x[:, ::2].conj()], 1),
    "index_select": lambda x, i, m: x.index_select(0, i),
    "gather": lambda x, i, m: x.gather(0, i[:, None].expand(3, 5)),
    "take": lambda x, i, m: x.take(i),
    "masked_fill": lambda x, i, m: x.masked_fill(m, 2 - 1j),
    "tril": lambda x, i, m: x.tril(),
    "index_put": lambda x, i, m: x.index_put((i,), x[:3] * 2),
    "index_put accumulate": lambda x, i, m: x.index_put((i - i,), x[:3], accumulate=True),
    "scatter": lambda x, i, m: x.scatter(0, i[None, :].expand(1, 3), x[1:2, :3]),
    "scatter value": lambda x, i, m: x.scatter(0, i[None, :].expand(1, 3), 2 - 1j),
    "index_copy": lambda x, i, m: x.index_copy(0, i, x[:3]),
    "masked_scatter": lambda x, i, m: x.masked_scatter(m, x.conj().resolve_conj()),
    "index_fill": lambda x, i, m: x.index_fill(1, i.clamp(max=4), 2 - 1j),
    "index_fill tensor": lambda x, i, m: x.index_fill(0, i, x[2, 2].conj()),
    "put": lambda x, i, m: x.clone().put_(i * 3, x[1, :3]),
    "put accumulate": lambda x, i, m: x.clone().put_(i // 3, x[1, :3].conj(), accumulate=True),
    "index_add": lambda x, i, m: x.index_add(1, i // 2, x[:, 1:4].conj()),
    "index_add alpha": lambda x, i, m: x.index_add(0, i // 5, x[2:5], alpha=1 - 2j),
    "index_reduce": lambda x, i, m: x.index_reduce(0, i // 3, x[:3], "prod"),
    "index_reduce mean": lambda x, i, m: x.index_reduce(0, i // 3, x[:3], "mean"),
    "scatter_add": lambda x, i, m: x.scatter_add(0, (i // 3)[:, None].expand(3, 5), x[:3].conj()),
    "scatter_add columns": lambda x, i, m: x.scatter_add(1, (i // 3)[None, :].expand(6, 3), x[:, 2:]),
    "scatter reduce": lambda x, i, m: x.scatter(0, (i // 3)[:, None].expand(3, 5), x[:3], reduce="multiply"),
    "scatter reduce value": lambda x, i, m: x.scatter(1, (i // 3)[None, :].expand(6, 3), 2 - 1j, reduce="multiply"),
    "scatter add value": lambda x, i, m: x.scatter(1, (i // 3)[None, :].expand(6, 3), 2 - 1j, reduce="add"),
    "scatter_reduce": lambda x, i, m: x.scatter_reduce(0, (i // 3)[:, None].expand(3, 5), x[:3], "mean"),
    "nonzero": lambda x, i, m: torch.where(m, x, 0 * x).nonzero(),
    "nonzero of the imaginary": lambda x, i, m: (x - x.real).nonzero_static(size=40, fill_value=-3),
    "argwhere": lambda x, i, m: torch.where(m, x, 0 * x).argwhere(),
    "channel_shuffle": lambda x, i, m: torch.nn.functional.channel_shuffle(x.reshape(1, 6, 5), 3),
    "renorm": lambda x, i, m: x.renorm(2, 0, 1.5),
    "embedding": lambda x, i, m: torch.ops.aten.embedding_dense_backward(x[:3], i // 3, 4, -1, False),
}


@pytest.mark.filterwarnings("ignore:The reduce argument", "ignore:index_reduce")
@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("name", MOVEMENT)
def test_movement(name, dtype):
    function, a = MOVEMENT[name], number((6, 5), dtype)
    rows, mask = torch.tensor([3, 0, 5]), a.real > 0
    for x in (a, lay_out(a, "transposed"), lay_out(a, "sliced"), a.conj()):
        moved = x.to("usbgpu") if x.is_conj() else to_device(x)
        assert_same(function(moved, rows.to("usbgpu"), mask.to("usbgpu")), function(x, rows, mask))


@pytest.mark.parametrize("dtype", COMPLEX)
def test_sums_into_places(dtype):
    """In place on views, into `out=`: what lies between stays; many terms for one place; an index out of bounds."""
    a, index = number((4, 6), dtype), torch.tensor([1, 0, 1, 1])
    want = torch.index_add(a, 0, index, a)
    out = Guarded((4, 6), dtype, "sliced")
    torch.index_add(a.to("usbgpu"), 0, index.to("usbgpu"), a.to("usbgpu"), out=out.tensor)
    assert_same(out.tensor, want)
    out.tensor.scatter_add_(0, index[:, None].expand(4, 6).to("usbgpu"), a.to("usbgpu"))
    assert_same(out.tensor, want.scatter_add(0, index[:, None].expand(4, 6), a))
    out.tensor.index_fill_(1, index.to("usbgpu"), 5 - 1j)
    assert (out.tensor[:, :2] == 5 - 1j).all() and not (out.tensor[:, 2:] == 5 - 1j).any()
    out.check()
    ones = torch.ones(3000, dtype=dtype) * (1 - 2j)
    places = torch.arange(3000) % 2
    total = torch.zeros(2, dtype=dtype).to("usbgpu").index_add_(0, places.to("usbgpu"), ones.to("usbgpu"))
    assert total.cpu().tolist() == [1500 - 3000j] * 2
    turned = torch.ones(2, dtype=dtype).to("usbgpu").scatter_reduce_(0, places.to("usbgpu"), (ones * 0 + 1j).to("usbgpu"), "prod")
    assert turned.cpu().tolist() == [1, 1]                       # 1500 quarter turns
    with pytest.raises(IndexError):
        total.index_add_(0, torch.tensor([2], device="usbgpu"), ones[:1].to("usbgpu"))
        total.cpu()


def test_gradients():
    """Of a real loss through complex intermediates, with lazily conjugated gradients on the way."""
    x, y = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    for function in (lambda x, y: torch.complex(x, y).abs(),
                     lambda x, y: torch.polar(x.abs(), y).mul(torch.complex(y, x)).imag,
                     lambda x, y: torch.view_as_real(torch.complex(x, y).tanh() / (1 + 2j)),
                     lambda x, y: torch.complex(x, y).sigmoid().angle(),
                     lambda x, y: (torch.complex(x, y) @ torch.complex(y, x).mH).abs().sum(0),
                     lambda x, y: torch.complex(x, y).sgn().real,
                     lambda x, y: torch.linalg.vector_norm(torch.complex(x, y), dim=0),
                     lambda x, y: torch.complex(x, y).pow(2.5).log().sum(1).real,
                     lambda x, y: torch.complex(x, y).cumsum(0).mul(torch.complex(y, x)).imag,
                     lambda x, y: torch.complex(x, y).cumprod(1).abs(),
                     lambda x, y: torch.complex(x, y).logcumsumexp(1).real,
                     lambda x, y: torch.logaddexp(torch.complex(x, y), torch.complex(y, x)).abs(),
                     lambda x, y: torch.complex(x, y).index_add(0, torch.tensor([1, 1], device=x.device), torch.complex(y, x)[:2]).abs(),
                     lambda x, y: torch.complex(x, y).index_fill(0, torch.tensor([1], device=x.device), 2j).abs(),
                     lambda x, y: torch.linalg.cross(torch.complex(x, y)[:, :3], torch.complex(y, x)[:, 3:]).abs(),
                     lambda x, y: torch.addbmm(torch.complex(x, y), torch.complex(x, y)[None, :, :5], torch.complex(y, x)[None]).abs(),
                     lambda x, y: torch.complex(x, y).renorm(2, 0, 1.0).abs()):
        compare(function, x, y, rtol=1e-4, atol=1e-4)


def test_refusals():
    """What the CPU refuses for complex numbers is refused here in its words, and not computed without the imaginary part."""
    a = number((3, 3), torch.complex64)
    da = a.to("usbgpu")
    for name in ("floor", "ceil", "trunc", "sign", "erf"):
        with pytest.raises((RuntimeError, NotImplementedError)):
            getattr(torch, name)(a)
        torch.usbgpu.set_fallback("silent")
        with pytest.raises((RuntimeError, NotImplementedError)):
            getattr(torch, name)(da)
    with pytest.raises(RuntimeError):
        torch.lt(da, da)
    index = torch.zeros(2, 3, dtype=torch.int64)
    for refused in (lambda x, i: x.scatter_reduce(0, i, x, "amax"), lambda x, i: x.index_reduce(0, i[0], x, "amin"),
                    lambda x, i: x.index_reduce(0, i[0], x[:3], "prod", include_self=False),
                    lambda x, i: torch.logaddexp2(x, x), lambda x, i: x.real.scatter(0, i, 2j),
                    lambda x, i: x.real.index_fill(0, i[0], 2j), lambda x, i: x.real.index_add(0, i[0], x.real, alpha=2j),
                    lambda x, i: x.index_add(0, i[0], x.real), lambda x, i: torch.addbmm(x.real, x.real[None], x.real[None], alpha=2j),
                    lambda x, i: torch.addbmm(x, x[None].real, x[None].real), lambda x, i: x.cummax(0),
                    lambda x, i: x.clone().geometric_(0.5), lambda x, i: torch.linalg.cross(x, x.real)):
        with pytest.raises(RuntimeError) as on_cpu:
            refused(a, index)
        with pytest.raises(RuntimeError) as on_device:
            refused(da, index.to("usbgpu"))
            torch.usbgpu.synchronize()
        assert type(on_device.value) is type(on_cpu.value)
    with pytest.raises(RuntimeError, match="result type ComplexFloat can't be cast"):
        torch.ones(3, 3, device="usbgpu").add_(da)
