"""USBGPU_CHECK: operators that are wrong on purpose are named; right ones, of all kinds, pass."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
NAME = "usbgpu_check"
library = torch.library.Library(NAME, "FRAGMENT")
library.define("add_one(Tensor x) -> Tensor")
library.define("add_one_(Tensor(a!) x) -> Tensor(a!)")
library.define("right(Tensor x) -> Tensor")
library.impl("add_one", lambda x: x + 1, "CPU")
library.impl("add_one_", lambda x: x.add_(1), "CPU")
library.impl("right", lambda x: x + 1, "CPU")


def off_by_one_element(x):
    out = x + 1
    out[-1, -1] += 0.5
    return out


library.impl("add_one", lambda x: off_by_one_element(x) if x.dim() == 2 else x + 2, "PrivateUse1")
library.impl("add_one_", lambda x: x.add_(2), "PrivateUse1")
library.impl("right", lambda x: x + 1, "PrivateUse1")
ops = getattr(torch.ops, NAME)


def test_a_divergence_names_operator_shapes_strides_and_line():
    x = torch.arange(24.).reshape(4, 6).to("usbgpu")[1:, ::2].t()
    with pytest.raises(torch.usbgpu.Divergence) as error, torch.usbgpu.checked():
        ops.right(x)
        ops.add_one(x)
    said = str(error.value)
    for words in ("usbgpu_check.add_one", "1 of 9 elements", "first at [2, 2]", "x = torch.float32 (3, 3)",
                  "strides (2, 6)", "storage offset 6", f"{__file__}:"):
        assert words in said, said


def test_in_place():
    x = torch.zeros(4, device="usbgpu")
    with pytest.raises(torch.usbgpu.Divergence, match="add_one_") as error, torch.usbgpu.checked():
        ops.add_one_(x)
    assert "2.0 instead of 1.0" in str(error.value)


def test_in_the_backward_pass():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x * 2

        @staticmethod
        def backward(context, gradient):
            return ops.add_one(gradient)

    x = torch.ones(3, device="usbgpu", requires_grad=True)
    with pytest.raises(torch.usbgpu.Divergence, match="add_one"), torch.usbgpu.checked():
        Wrong.apply(x).sum().backward()


def test_without_it_nobody_looks():
    with torch.usbgpu.checked():
        pass
    ops.add_one(torch.zeros(3, device="usbgpu"))


def test_a_training_step_passes():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.LayerNorm(8), torch.nn.GELU(), torch.nn.Dropout(),
                                torch.nn.Linear(8, 3)).to("usbgpu")
    optimizer = torch.optim.AdamW(model.parameters())
    x, y = torch.randn(5, 6).to("usbgpu"), torch.randint(3, (5,)).to("usbgpu")
    with torch.usbgpu.checked():
        for _ in range(2):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        assert loss.item() > 0


def test_views_gaps_and_what_is_not_compared_pass():
    with torch.usbgpu.checked():
        x = torch.randn(4, 5, device="usbgpu")      # random: the CPU has other numbers
        x[:, ::2].mul_(2)
        x.t()[1:].exp().sum(0, keepdim=True).expand(3, 4).contiguous()
        torch.empty(7, device="usbgpu")
        x.to(torch.float16).sort(dim=1)
        torch.zeros(3, dtype=torch.int64, device="usbgpu").topk(2)      # ties
        torch.add(x, 1, out=torch.empty(0, device="usbgpu"))
        x.unsqueeze(0).transpose(1, 2) @ x
        torch.full((2,), float("nan"), device="usbgpu").nan_to_num()
        torch.nn.EmbeddingBag(4, 3, mode="sum").to("usbgpu")(torch.tensor([[1, 2]], device="usbgpu"))   # the rest: notes
        assert x.cpu().shape == (4, 5)


@pytest.mark.parametrize("setting, status, words", [
    ("1", 1, "Divergence: usbgpu_check.wrong"), ("0", 0, ""), ("maybe", 1, "USBGPU_CHECK is 'maybe'")])
def test_the_environment(setting, status, words):
    program = ("import torch, torch_usbgpu\n"
               "library = torch.library.Library('usbgpu_check', 'FRAGMENT')\n"
               "library.define('wrong(Tensor x) -> Tensor')\n"
               "library.impl('wrong', lambda x: x + 1, 'CPU')\n"
               "library.impl('wrong', lambda x: x + 2, 'PrivateUse1')\n"
               "torch.ops.usbgpu_check.wrong(torch.ones(3, device='usbgpu') * 2)\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=ROOT,
                          env={**os.environ, "USBGPU_CHECK": setting, "USBGPU_DEVICE": "emulated"})
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr
