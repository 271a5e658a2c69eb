"""Optimisers step as on the CPU, in few launches; _foreach_* and gradient scaling."""
from __future__ import annotations

import pytest
import torch

from .families import DEVICE, assert_same, check, no_fallback, random

SHAPES = [(128, 64), (128,), (10, 128), (10,)]


def launches():
    return torch.usbgpu.link_stats()["launches"]


def train(make, device, steps=3, shapes=SHAPES):
    parameters = [random(shape, seed=i).to(device).requires_grad_() for i, shape in enumerate(shapes)]
    optimizer = make(parameters)
    for step in range(steps):
        for i, parameter in enumerate(parameters):
            parameter.grad = random(parameter.shape, seed=100 * step + i).to(device)
        optimizer.step()
    return [p.detach() for p in parameters]


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.Adam(p, lr=0.01),
    lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    lambda p: torch.optim.Adam(p, lr=0.01, fused=True, weight_decay=0.1),
    lambda p: torch.optim.Adam(p, lr=0.01, fused=True, amsgrad=True, maximize=True),
    lambda p: torch.optim.AdamW(p, lr=0.01),
    lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    lambda p: torch.optim.SGD(p, lr=0.01),
    lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
    lambda p: torch.optim.SGD(p, lr=0.01, fused=True),
    lambda p: torch.optim.SGD(p, lr=0.01, fused=True, momentum=0.9, dampening=0.1),
    lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    lambda p: torch.optim.Adagrad(p, lr=0.01),
], ids=["adam", "adam amsgrad", "adam fused", "adam fused amsgrad", "adamw", "adamw fused", "sgd", "sgd momentum",
        "sgd fused", "sgd fused momentum", "rmsprop", "adagrad"])
def test_steps_equal_the_cpu(make):
    expected = train(make, "cpu")
    with no_fallback():
        assert_same(train(make, DEVICE), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fused, most", [(None, 7), (True, 2)])
def test_adam_step_takes_few_launches(fused, most):
    parameters = [random(shape).to(DEVICE).requires_grad_() for shape in SHAPES]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.Adam(parameters, fused=fused)
    optimizer.step()
    torch.usbgpu.synchronize()
    before = launches()
    optimizer.step()
    torch.usbgpu.synchronize()
    assert launches() - before <= most


def test_many_tensors():
    # a table of several pieces; chunks of all lengths; elements after the last whole four
    shapes = [(i % 7 + 1, 5) for i in range(300)] + [(9000,), (0,), (4096,), (8193,)]
    expected = train(lambda p: torch.optim.Adam(p, fused=True), "cpu", 2, shapes)
    with no_fallback():
        assert_same(train(lambda p: torch.optim.Adam(p, fused=True), DEVICE, 2, shapes), expected, rtol=1e-5, atol=1e-6)


def test_tensors_at_odd_places():
    """Four elements at a time only where all tensors start at a multiple of that."""
    def train(device):
        block = random((4, 5000)).to(device)
        parameters = [block[0, 1:4099].requires_grad_(), block[1, :4098].requires_grad_()]
        optimizer = torch.optim.AdamW(parameters, lr=0.01, fused=True)
        for step in range(2):
            for parameter in parameters:
                parameter.grad = random(parameter.shape, seed=step).to(device)
            optimizer.step()
        return block.detach()
    expected = train("cpu")
    with no_fallback():
        assert_same(train(DEVICE), expected, rtol=1e-5, atol=1e-6)


FOREACH_DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64]


@pytest.mark.parametrize("name, arguments, dtype", [(*row, dtype) for row in [
    ("add", [2]), ("sub", [3]), ("mul", [2]), ("sqrt", []), ("neg", []), ("abs", []),
    ("add", ["list"]), ("mul", ["list"]), ("sub", ["list"]),
    ("addcmul", ["list", "list"]), ("mul", ["scalars"]), ("maximum", ["list"]),
] for dtype in FOREACH_DTYPES if dtype != torch.int64 or row[0] not in ("sqrt", "addcmul")], ids=str)
def test_foreach(name, arguments, dtype):
    shapes = [(3, 5), (5000,), (), (0,)]
    lists = [[random(s, dtype, i + 10 * k).abs() for i, s in enumerate(shapes)] for k in range(3)]
    rest = [lists[1 + k] if a == "list" else [1, 2, 3, 4] if a == "scalars" else a for k, a in enumerate(arguments)]
    check(getattr(torch, f"_foreach_{name}"), lists[0], *rest)

    def in_place(x, *rest):
        x = [t.clone() for t in x]
        getattr(torch, f"_foreach_{name}_")(x, *rest)
        return x

    check(in_place, lists[0], *rest)


def test_foreach_norm_and_clipping():
    x = [random((3, 5)), random((9000,), seed=1), random((1,), seed=2)]
    for order in (1, 2, float("inf")):
        check(lambda t, order=order: torch._foreach_norm(t, order), x, tolerance=dict(rtol=1e-4, atol=1e-4))

    def clip(t):
        parameters = [torch.zeros_like(v).requires_grad_() for v in t]
        for p, v in zip(parameters, t, strict=True):
            p.grad = v.clone()
        return torch.nn.utils.clip_grad_norm_(parameters, 1.0), [p.grad for p in parameters]

    check(clip, x, tolerance=dict(rtol=1e-4, atol=1e-5))


@pytest.mark.parametrize("bad", [None, float("inf"), float("nan")])
def test_gradient_scaling(bad):
    grads = [random((40,)), random((3, 4), torch.float16, 1), random((4, 3), seed=2).t()]
    if bad is not None:
        grads[1][1, 1] = bad

    def unscale(grads, found, inverse):
        grads, found = [g.clone(memory_format=torch.preserve_format) for g in grads], found.clone()
        torch._amp_foreach_non_finite_check_and_unscale_(grads, found, inverse)
        return grads, found

    check(unscale, grads, torch.zeros(()), torch.tensor(0.25))

    def update(scale, tracker, found):
        scale, tracker = scale.clone(), tracker.clone()
        torch._amp_update_scale_(scale, tracker, found, 2.0, 0.5, 3)
        return scale, tracker

    for tracker in (0, 2):
        check(update, torch.tensor(8.0), torch.tensor(tracker, dtype=torch.int32), torch.tensor(0.0 if bad is None else 1.0))
