"""Reductions against the CPU: operator x dtype x dimensions x layout, and every way of sharing the work."""
import pytest
import torch

from .layouts import Guarded, assert_same, lay_out, sample, to_device

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
ALL = (*FLOATS, *INTEGERS, torch.bool)

REDUCTIONS = {
    "sum": (torch.sum, ALL), "mean": (torch.mean, FLOATS), "prod": (None, (*FLOATS[:2], torch.int64, torch.bool)),
    "amax": (torch.amax, ALL), "amin": (torch.amin, ALL), "any": (torch.any, ALL), "all": (torch.all, ALL),
    "nansum": (torch.nansum, FLOATS), "var": (torch.var, FLOATS), "std": (torch.std, FLOATS),
    "norm 2": (torch.linalg.vector_norm, FLOATS),
    "norm 1": (lambda x, dim: torch.linalg.vector_norm(x, 1, dim), FLOATS),
    "norm inf": (lambda x, dim: torch.linalg.vector_norm(x, float("inf"), dim), FLOATS),
    "norm 0": (lambda x, dim: torch.linalg.vector_norm(x, 0, dim), FLOATS),
    "norm 3": (lambda x, dim: torch.linalg.vector_norm(x, 3, dim), FLOATS[:2]),
    "count_nonzero": (torch.count_nonzero, ALL),
}
DIMS = ((0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2))


def loose(dtype):
    return {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.float64: {"rtol": 1e-11, "atol": 1e-11},
            torch.float16: {"rtol": 4e-3, "atol": 4e-3}, torch.bfloat16: {"rtol": 3e-2, "atol": 3e-2}}.get(dtype, {})


@pytest.mark.parametrize("layout", ("contiguous", "transposed", "sliced"))
@pytest.mark.parametrize("name, dtype", [pytest.param(n, d, id=f"{n}-{str(d)[6:]}") for n, (_, ds) in REDUCTIONS.items() for d in ds])
def test_dimensions(name, dtype, layout):
    function = REDUCTIONS[name][0]
    x = lay_out(sample((3, 4, 21), dtype, 1), layout)
    y = to_device(x)
    for dims in DIMS:
        if function is None:
            if len(dims) > 1:
                continue
            assert_same(y.prod(dims[0]), x.prod(dims[0]), **loose(dtype))
        else:
            expected = function(x, dim=dims)
            assert_same(function(y, dim=dims), expected, **loose(expected.dtype))


@pytest.mark.parametrize("name, dtype", [(name, dtype) for name in ("max", "min", "argmax", "argmin", "aminmax") for dtype in ALL
                                         if dtype != torch.bool or not name.startswith("arg")])
def test_extremes_and_where_they_are(name, dtype):
    x = sample((5, 40, 3), dtype, 1, -9, 9)
    if dtype.is_floating_point:
        x[2, 7, 1] = float("nan")
    y = x.to("usbgpu")
    for dim in range(3):
        if name == "aminmax":
            actual, expected = torch.aminmax(y, dim=dim), torch.aminmax(x, dim=dim)
        else:
            actual, expected = getattr(y, name)(dim), getattr(x, name)(dim)
        if isinstance(expected, torch.Tensor):
            actual, expected = (actual,), (expected,)
        for a, e in zip(actual, expected, strict=True):
            assert_same(a, e)
    if name != "aminmax":
        assert_same(getattr(y, name)(), getattr(x, name)())


@pytest.mark.parametrize("shape, dim", [
    ((1,), 0), ((7,), 0), ((33,), 0), ((300,), 0), ((1000,), 0), ((40000,), 0),       # thread, wave, group, two passes
    ((5, 700), 1), ((300, 20), 1), ((700, 5), 0), ((64, 300), 0), ((9000, 3), 0), ((2, 9000, 3), 1),
])
@pytest.mark.parametrize("name", ("sum", "amax", "var", "argmax"))
def test_ways_of_sharing_the_work(name, shape, dim):
    x = sample(shape, torch.float32, 1)
    if name == "var" and shape == (1,):
        pytest.skip("variance of one element")
    out_shape = shape[:dim] + shape[dim + 1:]
    expected = getattr(x, name)(dim)
    out = Guarded(out_shape, expected.dtype, "contiguous")
    out.tensor.copy_(getattr(x.to("usbgpu"), name)(dim))
    assert_same(out.tensor, expected, rtol=1e-5, atol=1e-2 if name == "sum" else 1e-5)


# Rows of whole and of broken packs of 16 bytes, of a wider block: where they begin decides how they are read.
@pytest.mark.parametrize("begin", (0, 1), ids=("aligned", "not aligned"))
@pytest.mark.parametrize("columns", (512, 1043, 20013))
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64, torch.float16, torch.uint8, torch.complex64), ids=str)
def test_packed_rows(dtype, columns, begin):
    real = sample((3, (columns + 31) // 16 * 16), torch.float32 if dtype.is_complex else dtype, 1, 0, 4)
    whole = torch.complex(real, real.flip(1)) if dtype.is_complex else real
    if not dtype.is_complex:
        whole[:, columns // 3] = whole[:, begin + columns - 1] = whole[:, begin + columns] = 9
    x, y = (block[:, begin:begin + columns] for block in (whole, whole.to("usbgpu")))
    limits = {torch.float16: dict(rtol=1e-3, atol=1e-3), torch.float64: dict(rtol=1e-12, atol=1e-12), torch.uint8: {}}
    tolerance = limits.get(dtype, dict(rtol=1e-5, atol=1e-5))
    assert_same(y.sum(1), x.sum(1), **tolerance)
    if dtype.is_complex:
        return
    for got, want in zip(y.max(1), x.max(1)):       # the first of equals
        assert_same(got, want)
    if dtype.is_floating_point:
        assert_same(y.var(1), x.var(1), **tolerance)


def test_out_and_keepdim():
    x = sample((4, 6), torch.float32, 1)
    out = Guarded((4, 1), torch.float32, "sliced")
    torch.sum(x.to("usbgpu"), 1, keepdim=True, out=out.tensor)
    assert_same(out.tensor, x.sum(1, keepdim=True), rtol=1e-5, atol=1e-5)
    out.check()


@pytest.mark.parametrize("name", ("sum", "prod", "mean", "any", "all"))
def test_empty(name):
    x = torch.empty(0, 3)
    assert_same(getattr(x.to("usbgpu"), name)(), getattr(x, name)())
    assert_same(getattr(x.to("usbgpu"), name)(0), getattr(x, name)(0))


@pytest.mark.parametrize("order", (0, 1, 2, 3))
def test_norm_of_nothing(order):
    x = torch.empty(0, 4)
    y = x.to("usbgpu")
    for dims in (None, 0):
        del_me = torch.full((4,), 7.0).to("usbgpu")   # the result is likely to get this block: it must not show through
        del del_me
        assert_same(torch.linalg.vector_norm(y, order, dims), torch.linalg.vector_norm(x, order, dims))


def test_zero_dimensional():
    x = torch.tensor(3.0)
    for name in ("sum", "mean", "max", "min", "argmax", "amax", "any"):
        assert_same(getattr(x.to("usbgpu"), name)(), getattr(x, name)())


def test_var_mean_and_dtype_argument():
    x = sample((8, 9), torch.float16, 1)
    y = x.to("usbgpu")
    for actual, expected in zip(torch.var_mean(y, 1), torch.var_mean(x, 1), strict=True):
        assert_same(actual, expected, rtol=4e-3, atol=4e-3)
    assert_same(y.sum(1, dtype=torch.float32), x.sum(1, dtype=torch.float32), rtol=1e-5, atol=1e-5)


def test_gradients():
    gradients = []
    values = sample((4, 6), torch.float32, 3)
    for where in ("cpu", "usbgpu"):
        x = values.clone().to(where).requires_grad_()
        (x.sum(0).pow(2).mean() + x.var() + x.norm() + x.max(1).values.sum() + x.amax(0).sum()).backward()
        gradients.append(x.grad)
    assert_same(gradients[1], gradients[0], rtol=1e-5, atol=1e-5)
