"""Launch economy: no operator takes more launches than its CUDA counterpart.

The numbers are what PyTorch's CUDA code launches for these shapes by what is known of that code, not measured on a
GPU (copies and fills on the device count, transfers do not); where it goes through cuBLAS or cuDNN: one.
Operators that ATen composes of others are in here with what they come to on either device.
"""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from .spatial import launches

DEVICE = "usbgpu"


@pytest.fixture(scope="module")
def t():
    """Operands by short names."""
    generator = torch.Generator().manual_seed(0)

    class Operands:
        pass

    operands = Operands()
    for name, shape in dict(x=(64, 48), y=(64, 48), v=(48,), b=(4, 16, 24), c=(4, 16, 16), img=(2, 8, 12, 12), w=(8, 8, 3, 3),
                            eight=(8,), q=(1, 4, 16, 24), big=(100_000,), square=(48, 48)).items():
        setattr(operands, name, torch.randn(shape, generator=generator).to(DEVICE))
    operands.mask = operands.x > 0
    operands.i = torch.randint(0, 48, (64, 48), generator=generator).to(DEVICE)
    operands.rows = torch.randint(0, 64, (10,), generator=generator).to(DEVICE)
    operands.target = operands.i[:, 0].contiguous()
    operands.half = operands.x.half()
    operands.mean, operands.var = torch.zeros(8, device=DEVICE), torch.ones(8, device=DEVICE)
    return operands


FORWARD = {
    # elementwise: one
    "add": (1, lambda t: t.x + t.y), "add scalar": (1, lambda t: t.x + 1), "broadcast": (1, lambda t: t.x * t.v),
    "promotion": (1, lambda t: t.x + t.half), "comparison": (1, lambda t: t.x < t.y), "cast": (1, lambda t: t.x.half()),
    "clone": (1, lambda t: t.x.clone()), "transposed copy": (1, lambda t: t.x.t().contiguous()),
    "where": (1, lambda t: torch.where(t.mask, t.x, t.y)), "masked_fill": (2, lambda t: t.x.masked_fill(t.mask, 0)),
    "addcmul": (1, lambda t: torch.addcmul(t.x, t.x, t.y)), "lerp": (1, lambda t: torch.lerp(t.x, t.y, 0.5)),
    "clamp": (1, lambda t: t.x.clamp(0, 1)), "gelu": (1, lambda t: F.gelu(t.x)), "glu": (1, lambda t: F.glu(t.x)),
    "dropout": (1, lambda t: F.dropout(t.x)), "where of a number": (1, lambda t: torch.where(t.mask, t.x, torch.tensor(0.0))),
    "clamp by tensors": (1, lambda t: t.x.clamp(t.y, t.y)), "lerp by a tensor": (1, lambda t: torch.lerp(t.x, t.y, t.x)),
    "addr": (1, lambda t: torch.addr(t.square, t.v, t.v)), "outer": (1, lambda t: torch.outer(t.v, t.v)),
    "isclose": (13, lambda t: torch.isclose(t.x, t.y)), "frexp": (1, lambda t: torch.frexp(t.x)),
    "prelu": (1, lambda t: F.prelu(t.img, t.eight)), "cross": (1, lambda t: torch.linalg.cross(t.x[:, :3], t.y[:, :3])),
    # reductions: one, two where many workgroups share an output
    "sum": (1, lambda t: t.x.sum()), "sum of many": (2, lambda t: t.big.sum()), "mean": (1, lambda t: t.x.mean(0)),
    "var_mean": (1, lambda t: torch.var_mean(t.x, 1)), "max": (1, lambda t: t.x.max()), "max dim": (1, lambda t: t.x.max(1)),
    "argmax": (1, lambda t: t.x.argmax(1)), "aminmax": (1, lambda t: torch.aminmax(t.x)),
    "aminmax dim": (1, lambda t: torch.aminmax(t.x, dim=0)), "all": (1, lambda t: t.mask.all(1)),
    "norm": (1, lambda t: torch.linalg.vector_norm(t.x, dim=1)), "norm of all": (1, lambda t: t.x.norm()),
    "std": (1, lambda t: t.x.std(1)), "var": (1, lambda t: t.x.var()), "prod": (1, lambda t: t.x.prod(1)),
    "nansum": (1, lambda t: t.x.nansum(1)), "count_nonzero": (2, lambda t: t.x.count_nonzero()), "amax": (1, lambda t: t.x.amax(1)),
    "normalize": (3, lambda t: F.normalize(t.x)), "renorm": (3, lambda t: t.x.renorm(2, 0, 1.0)),
    "trace": (1, lambda t: t.square.trace()),
    # scans: two where workgroups share a row
    "cumsum": (1, lambda t: t.x.cumsum(1)), "cumsum down": (1, lambda t: t.x.cumsum(0)), "cumsum of one row": (2, lambda t: t.big.cumsum(0)),
    "cumprod": (1, lambda t: t.x.cumprod(1)), "cummax": (1, lambda t: t.x.cummax(1)), "cummax of one row": (2, lambda t: t.big.cummax(0)),
    "logcumsumexp": (1, lambda t: t.x.logcumsumexp(1)),
    "softmax": (1, lambda t: t.x.softmax(-1)), "log_softmax": (1, lambda t: t.x.log_softmax(0)),
    "logsumexp": (9, lambda t: t.x.logsumexp(1)), "equal": (2, lambda t: torch.equal(t.x, t.y)),
    # order
    "sort": (3, lambda t: t.x.sort(1)), "sort down": (3, lambda t: t.x.sort(0)), "argsort": (3, lambda t: t.x.argsort(1)), "topk": (2, lambda t: t.x.topk(5)), "kthvalue": (1, lambda t: t.x.kthvalue(3)),
    "median": (2, lambda t: t.x.median()), "unique": (6, lambda t: t.i.unique()), "nonzero": (3, lambda t: t.mask.nonzero()),
    "bincount": (4, lambda t: t.i.view(-1).bincount()), "searchsorted": (1, lambda t: torch.searchsorted(t.v, t.v)),
    "histc": (4, lambda t: torch.histc(t.x, 10)), "histc of a range": (2, lambda t: torch.histc(t.x, 10, -1, 1)),
    "unique_consecutive": (6, lambda t: t.i.unique_consecutive()), "masked_select": (4, lambda t: t.x.masked_select(t.mask)),
    "isin": (1, lambda t: torch.isin(t.i, t.rows)), "cdist": (1, lambda t: torch.cdist(t.x, t.y)),
    "cdist 1": (1, lambda t: torch.cdist(t.x, t.y, p=1.0)), "pdist": (1, lambda t: F.pdist(t.x)),
    # gathers and scatters
    "index_select": (1, lambda t: t.x.index_select(0, t.rows)), "index": (1, lambda t: t.x[t.rows]),
    "gather": (1, lambda t: t.x.gather(1, t.i)), "scatter": (2, lambda t: t.x.scatter(1, t.i, t.y)),
    "scatter_add": (2, lambda t: t.x.scatter_add(1, t.i, t.y)), "index_add": (2, lambda t: t.x.index_add(0, t.rows, t.y[:10])),
    "index_put": (2, lambda t: t.x.clone().index_put_((t.rows,), t.y[:10])), "take": (1, lambda t: t.x.take(t.i)),
    "scatter_reduce": (3, lambda t: t.x.scatter_reduce(1, t.i, t.y, "amax")), "put": (2, lambda t: t.x.put(t.i, t.y)),
    "index_copy": (2, lambda t: t.x.index_copy(0, t.rows, t.y[:10])), "index_fill": (2, lambda t: t.x.index_fill(0, t.rows, 0)),
    "mask": (4, lambda t: t.x[t.mask]), "assign to a mask": (2, lambda t: t.y.clone().masked_fill_(t.mask, 0)),
    "embedding_bag": (2, lambda t: F.embedding_bag(t.rows.view(2, 5), t.x)),
    "embedding": (1, lambda t: F.embedding(t.rows, t.x)), "one_hot": (2, lambda t: F.one_hot(t.rows, 64)),
    # places
    "cat": (1, lambda t: torch.cat([t.x, t.y])), "cat of many": (1, lambda t: torch.cat([t.x] * 40, 1)),
    "cat of strided": (1, lambda t: torch.cat([t.x.t(), t.y[:, :3].t()], 0)), "stack": (1, lambda t: torch.stack([t.x, t.y], 1)),
    "roll": (1, lambda t: t.x.roll(3, 0)), "roll two": (2, lambda t: t.x.roll((3, 1), (0, 1))),
    "flip": (1, lambda t: t.x.flip(0)), "tril": (1, lambda t: t.x.tril()), "repeat": (1, lambda t: t.x.repeat(2, 2)),
    "pad": (2, lambda t: F.pad(t.x, (1, 1))), "pad reflect": (1, lambda t: F.pad(t.x, (1, 1), mode="reflect")),
    "diag_embed": (2, lambda t: torch.diag_embed(t.v)), "unfold": (2, lambda t: F.unfold(t.img, 3)),
    "pixel_shuffle": (1, lambda t: F.pixel_shuffle(t.img, 2)), "fold": (2, lambda t: F.fold(F.unfold(t.img, 3), (12, 12), 3)),
    # factories
    "zeros": (1, lambda t: torch.zeros(99, device=DEVICE)), "arange": (1, lambda t: torch.arange(99, device=DEVICE)),
    "eye": (2, lambda t: torch.eye(9, device=DEVICE)), "randn": (1, lambda t: torch.randn(99, device=DEVICE)),
    # products
    "mm": (1, lambda t: t.x @ t.y.t()), "addmm": (1, lambda t: torch.addmm(t.v, t.x, t.square)), "bmm": (1, lambda t: t.b @ t.b.mT),
    "baddbmm": (2, lambda t: torch.baddbmm(t.c, t.b, t.b.mT)), "mv": (1, lambda t: t.x @ t.v), "dot": (1, lambda t: t.v @ t.v),
    "linear of a slice": (1, lambda t: F.linear(t.x[:, ::2], t.y[:, ::2])),
    "einsum": (1, lambda t: torch.einsum("ij,kj->ik", t.x, t.y)), "addbmm": (4, lambda t: torch.addbmm(t.c[0], t.b, t.b.mT)),
    "addmv": (1, lambda t: torch.addmv(t.x[:, 0], t.x, t.v)), "matrix_power": (2, lambda t: torch.linalg.matrix_power(t.c, 3)),
    # zeros, the diagonal, a copy, factors, exchanges, two triangles, two for the errors
    "inv": (9, lambda t: torch.linalg.inv(t.c)), "inv of one": (9, lambda t: torch.linalg.inv(t.square)),
    "fft": (1, lambda t: torch.fft.fft(t.x)),
    # networks
    "conv2d": (1, lambda t: F.conv2d(t.img, t.w, t.eight)), "conv_transpose2d": (1, lambda t: F.conv_transpose2d(t.img, t.w, t.eight)),
    "max_pool2d": (1, lambda t: F.max_pool2d(t.img, 2)), "avg_pool2d": (1, lambda t: F.avg_pool2d(t.img, 2)),
    "adaptive_avg_pool2d": (1, lambda t: F.adaptive_avg_pool2d(t.img, 3)),
    "interpolate": (1, lambda t: F.interpolate(t.img, scale_factor=2, mode="bilinear")),
    "batch_norm": (3, lambda t: F.batch_norm(t.img, t.mean, t.var, t.eight, t.eight, training=True)),
    "layer_norm": (1, lambda t: F.layer_norm(t.x, (48,), t.v, t.v)), "group_norm": (3, lambda t: F.group_norm(t.img, 2, t.eight)),
    "attention": (1, lambda t: F.scaled_dot_product_attention(t.q, t.q, t.q)),
    "rms_norm": (1, lambda t: F.rms_norm(t.x, (48,), t.v)), "instance_norm": (1, lambda t: F.instance_norm(t.img)),
    "max_pool3d": (1, lambda t: F.max_pool3d(t.img, 2)), "adaptive_max_pool2d": (1, lambda t: F.adaptive_max_pool2d(t.img, 3)),
    "grid_sample": (1, lambda t: F.grid_sample(t.img, t.img[:, :2].permute(0, 2, 3, 1), align_corners=False)),
    "smooth_l1_loss": (2, lambda t: F.smooth_l1_loss(t.x, t.y)), "kl_div": (5, lambda t: F.kl_div(t.x, t.y, reduction="batchmean")),
    "nll_loss": (1, lambda t: F.nll_loss(t.x, t.target)), "bernoulli": (1, lambda t: torch.bernoulli(t.var)),
    "multinomial": (4, lambda t: torch.multinomial(t.var, 3, replacement=True)),
    "cross_entropy": (2, lambda t: F.cross_entropy(t.x, t.target)), "mse_loss": (2, lambda t: F.mse_loss(t.x, t.y)),
}


@pytest.mark.parametrize("name", FORWARD)
def test_forward(t, name):
    most, function = FORWARD[name]
    assert launches(lambda: function(t)) <= most


BACKWARD = {
    "linear": (3, lambda t, x: F.linear(x["x"], x["square"], x["v"])),
    "conv2d": (3, lambda t, x: F.conv2d(x["img"], x["w"], x["eight"])),
    "layer_norm": (3, lambda t, x: F.layer_norm(x["x"], (48,), x["v"])),
    "group_norm": (4, lambda t, x: F.group_norm(x["img"], 2, x["eight"])),
    "batch_norm": (2, lambda t, x: F.batch_norm(x["img"], None, None, x["eight"], training=True)),
    "softmax": (1, lambda t, x: x["x"].softmax(1)), "gelu": (1, lambda t, x: F.gelu(x["x"])),
    "max_pool2d": (2, lambda t, x: F.max_pool2d(x["img"], 2)), "embedding": (2, lambda t, x: F.embedding(t.rows, x["x"])),
    "cross_entropy": (3, lambda t, x: F.cross_entropy(x["x"], t.target)), "roll": (1, lambda t, x: x["x"].roll((1, 2), (0, 1))),
    "split and cat": (1, lambda t, x: torch.cat(x["x"].split(16)[::-1])), "gather": (2, lambda t, x: x["x"].gather(1, t.i)),
    "dropout": (1, lambda t, x: F.dropout(x["x"])), "log_softmax": (1, lambda t, x: x["x"].log_softmax(1)),
    "logsumexp": (3, lambda t, x: x["x"].logsumexp(1)), "cumsum": (3, lambda t, x: x["x"].cumsum(1)),
    "topk": (2, lambda t, x: x["x"].topk(3)[0]), "max dim": (2, lambda t, x: x["x"].max(1)[0]), "cummax": (2, lambda t, x: x["x"].cummax(1)[0]),
    "index_select": (2, lambda t, x: x["x"].index_select(0, t.rows)), "index": (2, lambda t, x: x["x"][t.rows]),
    "scatter_add": (1, lambda t, x: t.y.scatter_add(1, t.i, x["x"])), "masked_select": (4, lambda t, x: x["x"].masked_select(t.mask)),
    "masked_fill": (2, lambda t, x: x["x"].masked_fill(t.mask, 0)), "clamp": (5, lambda t, x: x["x"].clamp(0, 1)),
    "broadcast": (1, lambda t, x: t.x + x["v"]), "var": (4, lambda t, x: x["x"].var(1)), "norm": (4, lambda t, x: x["x"].norm(dim=1)),
    "cdist 1": (1, lambda t, x: torch.cdist(x["x"], t.y, p=1.0)), "mse_loss": (2, lambda t, x: F.mse_loss(x["x"], t.y)),
    "conv_transpose2d": (3, lambda t, x: F.conv_transpose2d(x["img"], x["w"], x["eight"])),
    "rms_norm": (2, lambda t, x: F.rms_norm(x["x"], (48,), x["v"])), "instance_norm": (2, lambda t, x: F.instance_norm(x["img"])),
    "avg_pool2d": (1, lambda t, x: F.avg_pool2d(x["img"], 2)), "adaptive_avg_pool2d": (1, lambda t, x: F.adaptive_avg_pool2d(x["img"], 3)),
    "interpolate": (2, lambda t, x: F.interpolate(x["img"], scale_factor=2, mode="bilinear")),
    "pad reflect": (2, lambda t, x: F.pad(x["img"], (1, 1, 1, 1), mode="reflect")), "unfold": (1, lambda t, x: F.unfold(x["img"], 3)),
    "embedding_bag": (2, lambda t, x: F.embedding_bag(t.rows.view(2, 5), x["x"], mode="sum")),
    "attention": (4, lambda t, x: F.scaled_dot_product_attention(x["q"], t.q, t.q)),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_backward(t, name):
    most, function = BACKWARD[name]
    operands = {key: getattr(t, key).clone().requires_grad_() for key in ("x", "v", "square", "img", "w", "eight", "q")}
    y = function(t, operands)
    used = [o for o in operands.values() if torch.autograd.grad(y.sum(), o, retain_graph=True, allow_unused=True)[0] is not None]
    cotangent = torch.randn_like(y)
    assert launches(lambda: torch.autograd.grad(y, used, cotangent, retain_graph=True)) <= most


@pytest.mark.parametrize("make, most", [
    (lambda p: torch.optim.AdamW(p, fused=True), 2),              # the step counters, the update
    (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True), 1),
    (lambda p: torch.optim.AdamW(p), 8), (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 3),
], ids=["AdamW fused", "SGD fused", "AdamW", "SGD"])
def test_optimizer_step_of_300_tensors(make, most):
    parameters = [torch.randn(3, i % 5 + 1, device=DEVICE).requires_grad_() for i in range(300)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer = make(parameters)
    optimizer.step()
    assert launches(optimizer.step) <= most


def test_gradient_scaling_and_clipping_of_300_tensors():
    gradients = [torch.randn(3, i % 5 + 1, device=DEVICE) for i in range(300)]
    found, scale = torch.zeros((), device=DEVICE), torch.ones((), device=DEVICE)
    assert launches(lambda: torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, scale)) == 1
    assert launches(lambda: torch._foreach_norm(gradients)) == 2
    assert launches(lambda: torch._foreach_zero_(gradients)) == 1
