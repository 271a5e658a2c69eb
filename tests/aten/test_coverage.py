"""What `usbgpu coverage` counts, on entries that are made to be native, fall back, be wrong, or fail."""
from __future__ import annotations

import json

import pytest
import torch
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

from tests.cli.conftest import usbgpu
from torch_usbgpu import coverage

pytestmark = pytest.mark.expects_fallback


@torch.library.custom_op("usbgpu_coverage::on_the_cpu", mutates_args=(), device_types="cpu")
def on_the_cpu(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def falls_back(x):
    return on_the_cpu(x) + 1


def differs(x):
    return x + 1 if x.device.type == "cpu" else x + 2


def differs_in_dtype(x):
    return x + 1 if x.device.type == "cpu" else (x + 1).double()


def fails(x):
    if x.device.type != "cpu":
        raise NotImplementedError("No kernel. Some more words")
    return x + 1


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x * 2

    @staticmethod
    def backward(context, gradient):
        return gradient * (2 if gradient.device.type == "cpu" else 3)


def entry(function, backward: bool = False, name: str = "made_up", dtype: torch.dtype = torch.float32, make=torch.randn) -> OpInfo:
    def samples(op, device, dtype, requires_grad, **_):
        for size in (3, 5):
            yield SampleInput(make(size, device=device, dtype=dtype, requires_grad=requires_grad))

    return OpInfo(name, op=function, dtypes={dtype}, sample_inputs_func=samples, supports_out=False, supports_autograd=backward)


def spoilt(function, spoil):
    """On the device something happens to the result."""
    return lambda x: spoil(function(x)) if x.device.type == "usbgpu" else function(x)


@pytest.mark.parametrize("function, state, reason", [
    (torch.exp, coverage.NATIVE, []),
    (falls_back, coverage.FALLBACK, ["usbgpu_coverage::on_the_cpu"]),
    (differs, coverage.WRONG, ["other values than the CPU's"]),
    (differs_in_dtype, coverage.WRONG, ["torch.float64 instead of torch.float32"]),
    (fails, coverage.UNSUPPORTED, ["NotImplementedError: No kernel"])])
def test_states(function, state, reason):
    assert coverage.measure(entry(function)) == {"name": "made_up", "forward": {"state": state, "reason": reason},
                                                 "backward": None, "dtypes": {}}


LAYER_NORM = lambda x: torch.native_layer_norm(x, x.shape, None, None, 1e-5)       # noqa: E731
LENIENT = [
    ("sort", torch.randn, lambda x: x.sort(), lambda r: (r[0], r[1].flip(0)), "other values than the CPU's"),
    ("sort", torch.randn, lambda x: x.sort(), lambda r: (r[0].flip(0), r[1]), "other values than the CPU's"),
    ("sort", torch.zeros, lambda x: x.sort(), lambda r: (r[0], r[1].flip(0)), None),
    ("argsort", torch.randn, lambda x: x.argsort(), lambda r: r.flip(0), "other values than the CPU's"),
    ("topk", torch.randn, lambda x: x.topk(2), lambda r: (r[0], r[1].flip(0)), "other values than the CPU's"),
    ("topk", torch.zeros, lambda x: x.topk(2), lambda r: (r[0], r[1].flip(0)), None),
    ("kthvalue", torch.randn, lambda x: x.kthvalue(2), lambda r: (r[0], (r[1] + 1) % 3), "other values than the CPU's"),
    ("polygamma", torch.zeros, lambda x: x + 3e12, lambda r: r / 0, None),
    ("polygamma", torch.zeros, lambda x: x + 3, lambda r: r + 1, "other values than the CPU's"),
    ("native_layer_norm", torch.randn, LAYER_NORM, lambda r: (r[0], r[1] + 1, r[2]), "other values than the CPU's"),
]


@pytest.mark.parametrize("name, make, function, spoil, reason", LENIENT, ids=[f"{row[0]}-{i}" for i, row in enumerate(LENIENT)])
def test_what_may_differ_and_what_not(name, make, function, spoil, reason):
    found = coverage.measure(entry(spoilt(function, spoil), name=name, make=make))["forward"]
    assert found["reason"] == ([reason] if reason else []), found


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_may_be_nearer_than_the_cpus_not_farther(dtype):
    def rounded(where):
        """pi, by way of numbers that are far from it on one of the devices."""
        return lambda x: (x * 0 + 3.140625) * (1.1 if x.device.type == where else 1)

    def state(function):
        return coverage.measure(entry(function, name="half", dtype=dtype), dtypes=(dtype,))["dtypes"][str(dtype)[6:]]["state"]

    assert state(rounded("usbgpu")) == coverage.WRONG
    assert state(lambda x: x * 0 + (3.4 if x.device.type == "cpu" and x.dtype == dtype else 3.140625)) == coverage.NATIVE


def test_backward_is_counted_by_itself():
    found = coverage.measure(entry(WrongBackward.apply, backward=True))
    assert found["forward"]["state"] == coverage.NATIVE
    assert found["backward"]["state"] == coverage.WRONG
    assert coverage.measure(entry(torch.exp, backward=True))["backward"]["state"] == coverage.NATIVE


def test_the_mode_stays():
    before = torch.usbgpu.set_fallback("error")
    try:
        coverage.measure(entry(falls_back))
    finally:
        assert torch.usbgpu.set_fallback(before) == "error"


def test_other_dtypes():
    op = OpInfo("made_up", op=differs, dtypes={torch.float32, torch.float16, torch.int64}, supports_out=False,
                sample_inputs_func=lambda op, device, dtype, requires_grad, **_: [SampleInput(torch.ones(3, dtype=dtype))],
                supports_autograd=False)
    found = coverage.measure(op, dtypes=coverage.DTYPES)
    assert {name: result["state"] for name, result in found["dtypes"].items()} == {"float16": coverage.WRONG, "int64": coverage.WRONG}
    op.op = torch.neg
    found = coverage.measure(op, dtypes=(torch.float16, torch.int64))
    assert found["forward"] is None and {result["state"] for result in found["dtypes"].values()} == {coverage.NATIVE}
    op.op = lambda x: x + 2e-3 * (x.device.type != "cpu")     # one part of 500: f16 has eleven bits
    assert coverage.measure(op, dtypes=(torch.float16,))["dtypes"]["float16"]["state"] == coverage.NATIVE
    op.op = lambda x: x + 2e-2 * (x.device.type != "cpu")
    assert coverage.measure(op, dtypes=(torch.float16,))["dtypes"]["float16"]["state"] == coverage.WRONG


def test_the_command(tmp_path):
    page = tmp_path / "page.md"
    report = json.loads(usbgpu("coverage", "add", "nn.functional.linear", "argmax", "--samples", 2, "--json", "--dtype", "float32",
                               "--dtype", "int64", "--output", page, check=0).stdout)
    found = {found["name"]: found for found in report["operators"]}
    assert set(found) == {"add", "nn.functional.linear", "argmax"}
    assert found["add"]["forward"]["state"] == found["add"]["backward"]["state"] == coverage.NATIVE
    assert found["argmax"]["backward"] is None and found["argmax"]["dtypes"]["int64"]["state"] == coverage.NATIVE
    assert report["totals"]["forward"]["native"] == 3 and report["totals"]["backward"]["native"] == 2
    text = page.read_text(encoding="utf-8")
    assert "forward (3)" in text and "| argmax | ● |  | ● |" in text


def test_what_falls_back_is_said_on_the_page():
    measured = [coverage.measure(entry(function), dtypes=(torch.float32,)) for function in (falls_back, torch.exp)]
    measured[1]["dtypes"] = {name: {"state": coverage.FALLBACK, "reason": ["aten::exp"]} for name in ("int64", "bool")}
    fallen = {state: 2 * (state == coverage.FALLBACK) for state in coverage.page.__globals__["MEANING"]}
    text = coverage.page({"operators": measured, "samples": 2, "dtype": "float32", "dtypes": ["float32", "int64", "bool"],
                          "arch": "gfx1100", "torch": "2", "totals": {"int64": fallen, "bool": fallen}})
    assert "| usbgpu_coverage::on_the_cpu | 1 | 0 |" in text
    assert "| made_up | fallback: usbgpu_coverage::on_the_cpu | none |" in text
    assert "| native | 1 | 0 |" in text
    assert "| made_up | int64, bool | fallback: exp |" in text and "| made_up | ● |  | ○ | ○ |" in text


def test_another_gpu_beside(tmp_path):
    here = coverage.report([entry(torch.exp)], dtypes=(torch.float32,))
    there = json.loads(json.dumps({**here, "arch": "gfx9999"}))
    assert "on gfx9999: 1 of 1 float32 entries native forward, 0 of 0 with backward, 0 wrong in all dtypes; every cell" \
        in coverage.page(here, there)
    there["operators"][0]["forward"] = {"state": coverage.WRONG, "reason": ["other values"]}
    assert "| made_up | forward | wrong: other values |" in coverage.page(here, there)
    other = tmp_path / "there.json"
    for text in ("[1]", json.dumps({**there, "samples": 1})):
        other.write_text(text)
        assert "there.json is no" in usbgpu("coverage", "neg", "--dtype", "float32", "--beside", other, check=2).stderr


def test_an_unknown_entry():
    done = usbgpu("coverage", "no_such_entry", check=2)
    assert "no_such_entry" in done.stderr
    assert "float23 is none of" in usbgpu("coverage", "add", "--dtype", "float23", check=2).stderr
