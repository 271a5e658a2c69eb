"""Autocast chooses dtypes as torch.cuda's does, GradScaler, generators and their states."""
from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

DEVICE = "usbgpu"
LOW = [torch.float16, torch.bfloat16]


def half(dtype):
    return torch.randn(4, 4, device=DEVICE).to(dtype)


# torch's documentation, "Autocast Op Reference", the part on CUDA: an operator or two of each kind of arithmetic.
LOWERED = {
    "matmul": lambda x: x @ x, "mm": lambda x: torch.mm(x, x), "bmm": lambda x: torch.bmm(x[None], x[None]),
    "addmm": lambda x: torch.addmm(x, x, x), "baddbmm": lambda x: torch.baddbmm(x[None], x[None], x[None]),
    "addmv": lambda x: torch.addmv(x[0], x, x[0]), "mv": lambda x: torch.mv(x, x[0]), "linear": lambda x: F.linear(x, x, x[0]),
    "conv1d": lambda x: F.conv1d(x[None], x[:, :, None]), "conv2d": lambda x: F.conv2d(x[None, None], x[None, None, :2, :2]),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x[None, None], x[None, None, :2, :2]), "prelu": lambda x: F.prelu(x, x[0, :1]),
    "attention": lambda x: F.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None]),
    "einsum": lambda x: torch.einsum("ij,jk->ik", x, x), "multi_dot": lambda x: torch.linalg.multi_dot([x, x, x]),
    "chain_matmul": lambda x: torch.addbmm(x, x[None], x[None]), "GRUCell": lambda x: nn.GRUCell(4, 4).to(DEVICE)(x.float()),
    "LSTMCell": lambda x: nn.LSTMCell(4, 4).to(DEVICE)(x.float())[1],
}
RAISED = {
    **{name: getattr(torch, name) for name in ("acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2",
                                               "log1p", "reciprocal", "rsqrt", "sinh", "tan", "norm", "sum", "prod", "renorm")
       if name not in ("norm", "renorm", "prod", "sum")},
    "pow": lambda x: x.abs() ** 2.5, "softplus": F.softplus, "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(-1), "layer_norm": lambda x: F.layer_norm(x, (4,)),
    "group_norm": lambda x: F.group_norm(x[None], 2), "nll_loss": lambda x: F.nll_loss(x, torch.arange(4, device=DEVICE)),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.arange(4, device=DEVICE)), "mse_loss": lambda x: F.mse_loss(x, x),
    "l1_loss": lambda x: F.l1_loss(x, x), "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, x), "cumsum": lambda x: x.cumsum(0),
    "kl_div": lambda x: F.kl_div(x, x.exp(), reduction="sum"), "cosine_similarity": lambda x: F.cosine_similarity(x, x),
    "sum": lambda x: x.sum(), "prod": lambda x: x.prod(), "norm": lambda x: x.norm(), "cumprod": lambda x: x.cumprod(0),
    "binary_cross_entropy_with_logits": lambda x: F.binary_cross_entropy_with_logits(x, x.sigmoid()),
    "margin_ranking_loss": lambda x: F.margin_ranking_loss(x, x, x),
    "huber_loss": lambda x: F.huber_loss(x, x), "poisson_nll_loss": lambda x: F.poisson_nll_loss(x, x),
}
WIDEST = {
    "cat": lambda x: torch.cat([x, x.float()]), "stack": lambda x: torch.stack([x, x.float()]),
    "addcmul": lambda x: torch.addcmul(x, x, x.float()), "addcdiv": lambda x: torch.addcdiv(x, x, x.float()),
    "atan2": lambda x: torch.atan2(x, x.float()), "dot": lambda x: torch.dot(x[0], x[0].float()),
    "cross": lambda x: torch.cross(x[:, :3], x[:, :3].float(), dim=1), "index_put": lambda x: x.float().index_put(
        (torch.tensor([1], device=DEVICE),), x[:1]),
    "bilinear": lambda x: F.bilinear(x, x.float(), x[None].expand(3, 4, 4)), "scatter_add": lambda x: x.float().scatter_add(
        0, torch.zeros(4, 4, dtype=torch.int64, device=DEVICE), x),
    "grid_sample": lambda x: F.grid_sample(x[None, None], x.float()[None, :, :2, None].expand(1, 4, 2, 2), align_corners=False),
}
UNTOUCHED = {"relu": F.relu, "add": lambda x: x + x, "max_pool2d": lambda x: F.max_pool2d(x[None], 2), "tanh": torch.tanh, "gelu": F.gelu,
             "dropout": lambda x: F.dropout(x, 0.5), "sigmoid": torch.sigmoid, "transpose": lambda x: x.T + 1}


@pytest.mark.parametrize("low", LOW, ids=str)
@pytest.mark.parametrize("call", LOWERED.values(), ids=LOWERED)
def test_operators_that_run_in_low_precision(call, low):
    with torch.autocast(DEVICE, dtype=low):
        assert call(half(torch.float32)).dtype == low


@pytest.mark.parametrize("low", LOW, ids=str)
@pytest.mark.parametrize("call", RAISED.values(), ids=RAISED)
def test_operators_that_run_in_float32(call, low):
    with torch.autocast(DEVICE, dtype=low):
        assert call(half(low)).dtype == torch.float32


@pytest.mark.parametrize("low", LOW, ids=str)
@pytest.mark.parametrize("call", WIDEST.values(), ids=WIDEST)
def test_operators_that_take_the_widest_of_their_operands(call, low):
    with torch.autocast(DEVICE, dtype=low):
        assert call(half(low)).dtype == torch.float32


@pytest.mark.parametrize("low", LOW, ids=str)
@pytest.mark.parametrize("call", UNTOUCHED.values(), ids=UNTOUCHED)
def test_other_operators_keep_their_operands(call, low):
    with torch.autocast(DEVICE, dtype=low):
        assert call(half(low)).dtype == low and call(half(torch.float32)).dtype == torch.float32


def test_where_autocast_reaches():
    x = half(torch.float32)
    assert (x @ x).dtype == torch.float32 and not torch.is_autocast_enabled(DEVICE)
    with torch.autocast(DEVICE):
        assert torch.is_autocast_enabled(DEVICE) and (x @ x).dtype == torch.get_autocast_dtype(DEVICE) == torch.float16
        with torch.autocast(DEVICE, enabled=False):
            assert (x @ x).dtype == torch.float32
        with torch.usbgpu.amp.autocast(dtype=torch.bfloat16):
            assert (x @ x).dtype == torch.bfloat16
        assert (x.double() @ x.double()).dtype == torch.float64, "float64 is left alone"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.float32
    with pytest.warns(UserWarning, match="usbgpu autocast"), torch.autocast(DEVICE, dtype=torch.float64):
        assert (x @ x).dtype == torch.float32
    with torch.autocast(DEVICE), pytest.raises(RuntimeError, match="unsafe to autocast"):
        F.binary_cross_entropy(x.sigmoid(), x.sigmoid())


def test_weights_are_cast_once_and_functions_may_choose():
    layer, x = nn.Linear(4, 4).to(DEVICE), half(torch.float32)

    class Full(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type=DEVICE, cast_inputs=torch.float32)
        def forward(context, x):
            assert x.dtype == torch.float32 and not torch.is_autocast_enabled(DEVICE)
            return x @ x

        @staticmethod
        @torch.amp.custom_bwd(device_type=DEVICE)
        def backward(context, gradient):
            return gradient

    with torch.autocast(DEVICE):
        layer(x)
        torch.usbgpu.synchronize()
        before = torch.usbgpu.link_stats()["launches"]
        layer(x)
        cached = torch.usbgpu.link_stats()["launches"] - before
        with torch.autocast(DEVICE, cache_enabled=False):
            before = torch.usbgpu.link_stats()["launches"]
            layer(x)
            assert torch.usbgpu.link_stats()["launches"] - before > cached
        Full.apply(x.half().requires_grad_()).sum().backward()


def test_grad_scaler():
    layer = nn.Linear(3, 3).to(DEVICE)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler(DEVICE, init_scale=1024.0, growth_interval=2)
    x = torch.ones(2, 3, device=DEVICE)
    for _ in range(2):
        with torch.autocast(DEVICE):
            loss = layer(x).float().pow(2).sum()
        gradient, = torch.autograd.grad(loss, layer.bias, retain_graph=True)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.testing.assert_close(layer.bias.grad, gradient, rtol=2e-3, atol=2e-3)
        norm = nn.utils.clip_grad_norm_(layer.parameters(), 0.5)
        assert norm.is_usbgpu
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 2048.0
    weight = layer.weight.detach().cpu()
    layer.weight.grad[1, 1] = float("inf")
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 1024.0 and torch.equal(layer.weight.detach().cpu(), weight)
    other = torch.usbgpu.amp.GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == 1024.0


# ---- generators

DRAW = {
    "rand": lambda g: torch.rand(50, device=DEVICE, generator=g), "randn": lambda g: torch.randn(50, device=DEVICE, generator=g),
    "randint": lambda g: torch.randint(99, (50,), device=DEVICE, generator=g),
    "randperm": lambda g: torch.randperm(50, device=DEVICE, generator=g),
    "bernoulli": lambda g: torch.full((50,), 0.5, device=DEVICE).bernoulli(generator=g),
    "multinomial": lambda g: torch.ones(50, device=DEVICE).multinomial(20, generator=g),
    "exponential_": lambda g: torch.empty(50, device=DEVICE).exponential_(generator=g),
}


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_a_generator_repeats_itself(draw):
    first = torch.Generator(DEVICE).manual_seed(5)
    second = torch.Generator(DEVICE).manual_seed(5)
    want = draw(first)
    assert torch.equal(draw(second).cpu(), want.cpu())
    state = first.get_state()
    more = draw(first)
    assert not torch.equal(more.cpu(), want.cpu())
    first.set_state(state)
    for again in (first, second.clone_state(), pickle.loads(pickle.dumps(second))):
        assert torch.equal(draw(again).cpu(), more.cpu())
    torch.manual_seed(5)
    of_the_device = draw(None)
    torch.usbgpu.manual_seed(5)
    assert torch.equal(draw(None).cpu(), of_the_device.cpu())
    assert torch.equal(of_the_device.cpu(), want.cpu()), "the device's own generator is one of the same kind"


def test_generators_of_other_devices_are_refused():
    with pytest.raises(RuntimeError, match="Expected a 'usbgpu'.*'cpu'"):
        torch.rand(3, device=DEVICE, generator=torch.Generator())
    with pytest.raises(RuntimeError, match="Expected a 'cpu'"):
        torch.rand(3, generator=torch.Generator(DEVICE))


def test_forked_random_numbers():
    torch.manual_seed(1)
    with torch.random.fork_rng(devices=[0], device_type=DEVICE):
        inside = torch.rand(3, device=DEVICE)
    assert torch.equal(torch.rand(3, device=DEVICE).cpu(), inside.cpu())
    state = torch.usbgpu.get_rng_state()
    first = torch.rand(3, device=DEVICE)
    torch.usbgpu.set_rng_state(state)
    assert torch.equal(torch.rand(3, device=DEVICE).cpu(), first.cpu())
