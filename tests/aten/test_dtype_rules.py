"""Which dtypes an operator takes, and what comes of mixing them: as on the CPU, errors included."""
import itertools

import pytest
import torch

from .families import DEVICE, check

BOOL = torch.tensor([True, False])
INT = torch.tensor([5, 3, 7])
FLOAT = torch.tensor([1.0, 2.0, 0.5])

# name -> call, refused on the CPU for this dtype
REFUSED = {
    "neg": lambda b, i, f: -b,
    "sub": lambda b, i, f: b - b,
    "rsub": lambda b, i, f: 1 - b,
    "abs": lambda b, i, f: b.abs(),
    "ceil": lambda b, i, f: b.ceil(),
    "floor": lambda b, i, f: b.floor(),
    "trunc": lambda b, i, f: b.trunc(),
    "round": lambda b, i, f: b.round(),
    "round to decimals": lambda b, i, f: i.round(decimals=1),
    "frac": lambda b, i, f: i.frac(),
    "clamp by numbers": lambda b, i, f: b.clamp(False, True),
    "clamp_min": lambda b, i, f: b.clamp_min(False),
    "clamp_max": lambda b, i, f: b.clamp_max(True),
    "clamp by tensors": lambda b, i, f: b.clamp(b, b),
    "pow": lambda b, i, f: b.pow(b),
    "pow negative": lambda b, i, f: i.pow(-1),
    "addcmul": lambda b, i, f: torch.addcmul(b, b, b),
    "addcdiv": lambda b, i, f: torch.addcdiv(i, i, i),
    "lerp": lambda b, i, f: torch.lerp(i, i, 0.5),
    "lerp by tensor": lambda b, i, f: torch.lerp(i, i, i),
    "threshold": lambda b, i, f: torch.nn.functional.threshold(b, True, True),
    "relu": lambda b, i, f: b.relu(),
    "div floor": lambda b, i, f: torch.div(b, b, rounding_mode="floor"),
    "div trunc": lambda b, i, f: torch.div(b, b, rounding_mode="trunc"),
    "remainder": lambda b, i, f: torch.remainder(b, b),
    "fmod": lambda b, i, f: torch.fmod(b, b),
    "gcd": lambda b, i, f: torch.gcd(b, b),
    "shift": lambda b, i, f: b << b,
    "shift of floats": lambda b, i, f: f << f,
    "bits of floats": lambda b, i, f: f & f,
    "nextafter": lambda b, i, f: torch.nextafter(i, i),
    "cumsum": lambda b, i, f: b.cumsum(0, dtype=torch.bool),
    "cumprod": lambda b, i, f: b.cumprod(0, dtype=torch.bool),
    "logcumsumexp": lambda b, i, f: i.logcumsumexp(0),
    "argmax": lambda b, i, f: b.argmax(),
    "mean": lambda b, i, f: i.mean(),
    "std": lambda b, i, f: i.std(),
    "median": lambda b, i, f: b.median(),
    "kthvalue": lambda b, i, f: b.kthvalue(1),
    "bincount": lambda b, i, f: b.bincount(),
    "histc": lambda b, i, f: b.histc(3),
    "mm": lambda b, i, f: b[None].mm(b[:, None]),
    "dot": lambda b, i, f: b.dot(b),
    "mixed mm": lambda b, i, f: f[None].mm(f[:, None].double()),
    "searchsorted": lambda b, i, f: torch.searchsorted(b, b),
    "scatter_reduce": lambda b, i, f: b.clone().scatter_reduce(0, (i[:2] > 9).long(), b, "mean"),
    "index_reduce": lambda b, i, f: b.clone().index_reduce(0, (i[:2] > 9).long(), b, "prod"),
    "log_sigmoid": lambda b, i, f: torch.nn.functional.logsigmoid(i),
    "mse": lambda b, i, f: torch.nn.functional.mse_loss(i, i, reduction="none"),
    "huber": lambda b, i, f: torch.nn.functional.huber_loss(i, i, reduction="none"),
    "smooth_l1": lambda b, i, f: torch.nn.functional.smooth_l1_loss(i, i, reduction="none"),
    "uniform": lambda b, i, f: i.clone().uniform_(),
    "normal": lambda b, i, f: i.clone().normal_(),
    "log_normal": lambda b, i, f: i.clone().log_normal_(),
    "exponential": lambda b, i, f: i.clone().exponential_(),
    "cauchy": lambda b, i, f: i.clone().cauchy_(),
    "geometric": lambda b, i, f: b.clone().geometric_(0.5),
    "bernoulli": lambda b, i, f: i.bernoulli(),
    "bool from float": lambda b, i, f: b.clone().add_(1.5),
    "int from float": lambda b, i, f: i.clone().mul_(f),
    "out of another dtype": lambda b, i, f: torch.add(f, f, out=i.clone()),
    "div into int": lambda b, i, f: i.clone().div_(2),
    "floor_divide by zero": lambda b, i, f: i // 0,
    "remainder by zero": lambda b, i, f: i % 0,
    "int8 overflow": lambda b, i, f: torch.zeros(2, dtype=torch.int8, device=f.device).fill_(300),
    "arange of bool": lambda b, i, f: torch.arange(0, 2, dtype=torch.bool, device=f.device),
    "linspace of bool": lambda b, i, f: torch.linspace(0, 1, 3, dtype=torch.bool, device=f.device),
}


@pytest.mark.expects_fallback      # some errors are the CPU's own
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_on_the_cpu(name):
    torch.usbgpu.set_fallback("silent")
    with pytest.raises((RuntimeError, NotImplementedError)) as theirs:
        REFUSED[name](BOOL, INT, FLOAT)
    with pytest.raises((RuntimeError, NotImplementedError)) as ours:
        REFUSED[name](BOOL.to(DEVICE), INT.to(DEVICE), FLOAT.to(DEVICE))
    assert type(ours.value) is type(theirs.value)
    reason = "not implemented for"
    assert (reason in str(ours.value)) == (reason in str(theirs.value)), str(ours.value)
    if reason in str(theirs.value):     # for the same dtype
        assert str(ours.value).split(reason)[1].split("'")[1] == str(theirs.value).split(reason)[1].split("'")[1]


@pytest.mark.parametrize("divide", (lambda a, b: a // b, lambda a, b: a % b, torch.fmod,
                                    lambda a, b: torch.div(a, b, rounding_mode="trunc")))
@pytest.mark.parametrize("dtype", (torch.int64, torch.int32, torch.uint8))
def test_integers_divided_by_zero(divide, dtype):
    a, b = INT.to(dtype), torch.tensor([2, 0, 1], dtype=dtype)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        divide(a, b)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        divide(a.to(DEVICE), b.to(DEVICE)).cpu()       # found where the result is read
    check(divide, a, torch.tensor([2, 1, 3], dtype=dtype))        # and the device goes on
    check(divide, a.float(), b.float())
    empty = torch.empty(0, dtype=dtype)
    check(divide, empty, 0 if divide is torch.fmod else empty)


DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64,
          torch.bool)


@pytest.mark.parametrize("first,second", list(itertools.combinations(DTYPES, 2)), ids=str)
def test_promotion_of_two_dtypes(first, second):
    """Dtypes and values; also where one operand has no dimension, or is a number of Python's or the CPU's."""
    a, b = torch.tensor([0, 1, 3, 4]).to(first), torch.tensor([2, 1, 0, 1]).to(second)
    tolerance = dict(rtol=1e-2, atol=1e-2)
    for call in (torch.mul, torch.true_divide, torch.ge, torch.where):
        if call is torch.where:
            check(lambda x, y: torch.where(x == y, x, y), a, b, tolerance=tolerance)
            continue
        check(call, a, b, tolerance=tolerance)
        check(lambda x, y, f=call: f(x, y[1]), a, b, tolerance=tolerance)
    check(lambda x: x * 2, b)
    check(lambda x: x + 1.5, a, tolerance=tolerance)
    expected = a * b[0]
    assert torch.equal((a.to(DEVICE) * b[0]).cpu(), expected) and (a.to(DEVICE) * b[0]).dtype == expected.dtype
    into = torch.zeros(4, dtype=torch.promote_types(first, second))
    check(lambda x, y, z: torch.add(x, y, out=z), a, b, into, tolerance=tolerance)
    check(lambda x, y: torch.cat([x, y]), a, b, tolerance=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_linspace_and_logspace(dtype):
    if dtype == torch.bool:
        return
    for start, end, steps in ((0.9, 9.7, 5), (3, 0, 7), (2, 2, 1), (0, 5, 0)):
        for make in (torch.linspace, lambda *a, **k: torch.logspace(*a, base=2.0, **k)):
            want = make(start, end, steps, dtype=dtype)
            got = make(start, end, steps, dtype=dtype, device=DEVICE)
            tolerance = 3e-2 if dtype == torch.bfloat16 else 4e-3 if dtype == torch.float16 else 2e-6
            torch.testing.assert_close(got.cpu(), want, rtol=tolerance, atol=tolerance)
