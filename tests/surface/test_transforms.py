"""torch.func, torch.export, torch.jit, torch.compile's backends, hooks and checkpoints, each against the CPU."""
from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import func, nn
from torch.utils.checkpoint import checkpoint

DEVICE = "usbgpu"


def same(got, want, rtol=1e-5, atol=1e-5):
    got, want = (torch.utils._pytree.tree_leaves(tree) for tree in (got, want))
    for mine, its in zip(got, want, strict=True):
        assert mine.is_usbgpu
        torch.testing.assert_close(mine.detach().cpu(), its.detach(), rtol=rtol, atol=atol)


def wave(x):
    return (x.sin() * x).sum()


# ---- torch.func

DERIVATIVES = {
    "grad": lambda x: func.grad(wave)(x), "grad_and_value": lambda x: func.grad_and_value(wave)(x),
    "grad of grad": lambda x: func.grad(func.grad(lambda y: (y ** 3).sum() if y.dim() else y ** 3))(x[0]),
    "vjp": lambda x: func.vjp(wave, x)[1](torch.ones((), device=x.device)),
    "jvp": lambda x: func.jvp(torch.tanh, (x,), (torch.ones_like(x),)),
    "jacrev": lambda x: func.jacrev(torch.softmax, argnums=0)(x, 0), "jacfwd": lambda x: func.jacfwd(torch.tanh)(x),
    "hessian": lambda x: func.hessian(wave)(x), "linearize": lambda x: func.linearize(torch.exp, x)[1](x),
    "vmap of grad": lambda x: func.vmap(func.grad(wave))(x[:, None] * x),
    "functionalize": lambda x: func.functionalize(lambda y: y.clone().add_(1)[1:].mul_(2))(x),
    "jacobian": lambda x: torch.autograd.functional.jacobian(torch.exp, x),
}


@pytest.mark.parametrize("derive", DERIVATIVES.values(), ids=DERIVATIVES)
def test_derivatives(derive):
    x = torch.randn(4)
    same(derive(x.to(DEVICE)), derive(x))


BATCHED = {
    "mm": lambda p, q: p @ q, "softmax": lambda p, q: p.softmax(-1) @ q, "sum": lambda p, q: p.sum(0),
    "cat": lambda p, q: torch.cat([p.flatten(), q.flatten()]), "index": lambda p, q: p[1],
    "where": lambda p, q: torch.where(p > 0, p, 0.0), "argmax": lambda p, q: p.argmax(),
    "sort": lambda p, q: p.sort().values, "cumsum": lambda p, q: p.cumsum(0),
    "layer_norm": lambda p, q: nn.functional.layer_norm(p, (5,)), "solve by hand": lambda p, q: (p @ p.T).diagonal(),
    "conv1d": lambda p, q: nn.functional.conv1d(p[None], q[None, :, :].expand(4, 5, 2).transpose(0, 1)[:, :, :2]),
    "gather": lambda p, q: p.gather(1, p.argsort(1)), "in place": lambda p, q: p.clone().mul_(2).add_(p),
    "attention": lambda p, q: nn.functional.scaled_dot_product_attention(
        p[None, None], p[None, None], p[None, None]),
}


@pytest.mark.parametrize("function", BATCHED.values(), ids=BATCHED)
def test_vmap(function):
    p, q = torch.randn(3, 4, 5), torch.randn(3, 5, 2)
    same(func.vmap(function)(p.to(DEVICE), q.to(DEVICE)), func.vmap(function)(p, q))


@pytest.mark.parametrize("mode", [func.jvp, lambda f, x, t: func.jacfwd(f)(*x), lambda f, x, t: func.vmap(func.grad(lambda y: f(y).sum()))(*x)],
                         ids=["jvp", "jacfwd", "gradients per sample"])
def test_fused_attention_under_transforms(mode):
    x = torch.randn(2, 2, 3, 4)

    def attend(y):
        y = y if y.dim() == 4 else y[None]
        return nn.functional.scaled_dot_product_attention(y, y, y)

    got = mode(attend, (x.to(DEVICE),), (torch.ones_like(x, device=DEVICE),))
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):    # the CPU's fused one has no forward mode
        same(got, mode(attend, (x,), (torch.ones_like(x),)))


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_vmap_of_random_numbers(randomness):
    drawn = func.vmap(torch.rand_like, randomness=randomness)(torch.zeros(2, 50, device=DEVICE)).cpu()
    assert torch.equal(drawn[0], drawn[1]) == (randomness == "same") and 0.2 < drawn.mean() < 0.8


def test_an_ensemble_and_gradients_per_sample():
    models = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(3)]
    x = torch.randn(5, 3)

    def both(device):
        ours = [copy.deepcopy(model).to(device) for model in models]
        parameters, buffers = func.stack_module_state(ours)
        base = copy.deepcopy(ours[0]).to("meta")
        together = func.vmap(lambda p, b, x: func.functional_call(base, (p, b), (x,)), in_dims=(0, 0, None))

        def loss(p, x):
            return func.functional_call(ours[0], p, (x[None],)).pow(2).sum()

        single = {name: parameter.detach() for name, parameter in ours[0].named_parameters()}
        return (together(parameters, buffers, x.to(device)),
                func.vmap(func.grad(loss), in_dims=(None, 0))(single, x.to(device)))

    same(both(DEVICE), both("cpu"))


def test_forward_mode():
    x = torch.randn(3, device=DEVICE)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual((forward_ad.make_dual(x, torch.ones_like(x)) ** 2).exp()).tangent
    same(tangent, (2 * x * (x * x).exp()).cpu())


def test_numerical_gradients():
    x = torch.randn(3, 4, device=DEVICE, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: torch.tanh(x) @ x.T, x)
    assert torch.autograd.gradgradcheck(lambda x: torch.tanh(x).sum(0), x)


# ---- programs as data


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Dropout(0.0), nn.Linear(4, 2))


def test_export():
    model, x = network(), torch.randn(2, 3)
    want = model(x)
    ours = model.to(DEVICE)
    program = torch.export.export(ours, (x.to(DEVICE),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    same(program.module()(x.to(DEVICE)), want)
    assert program.module()(torch.randn(7, 3, device=DEVICE)).shape == (7, 2)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    same(torch.export.load(file).module()(x.to(DEVICE)), want)
    same(program.run_decompositions().module()(x.to(DEVICE)), want)


@pytest.mark.filterwarnings("ignore")
def test_jit():
    model, x = network(), torch.randn(2, 3)
    want = model(x)
    ours = model.to(DEVICE)
    for program in (torch.jit.trace(ours, x.to(DEVICE)), torch.jit.script(ours)):
        for _ in range(3):      # the second and third call run what was optimised
            same(program(x.to(DEVICE)), want)
        file = io.BytesIO()
        torch.jit.save(program, file)
        file.seek(0)
        same(torch.jit.load(file, map_location=DEVICE)(x.to(DEVICE)), want)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile(backend):
    torch._dynamo.reset()
    model, x = network(), torch.randn(2, 3)
    ours = copy.deepcopy(model).to(DEVICE)
    compiled = torch.compile(ours, backend=backend, fullgraph=True)
    got, want = compiled(x.to(DEVICE)), model(x)
    same(got, want)
    got.sum().backward()
    want.sum().backward()
    for mine, its in zip(ours.parameters(), model.parameters(), strict=True):
        same(mine.grad, its.grad)


def test_the_compiler_that_is_not_there_says_what_to_use_instead():
    torch._dynamo.reset()
    with pytest.raises(Exception, match="backend='aot_eager'"):
        torch.compile(network().to(DEVICE))(torch.ones(2, 3, device=DEVICE))


def test_fake_tensors_and_fx():
    with torch._subclasses.FakeTensorMode():
        x = torch.randn(3, 4, device=DEVICE)
        assert (x @ x.T).softmax(-1).is_usbgpu
    from torch.fx.experimental.proxy_tensor import make_fx

    x = torch.randn(3)
    same(make_fx(wave)(x.to(DEVICE))(x.to(DEVICE)), wave(x))


def test_custom_operators():
    @torch.library.custom_op("usbgpu_tests::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    twice.register_fake(torch.empty_like)
    x = torch.ones(2, device=DEVICE)
    same(twice(x), torch.full((2,), 2.0))
    twice.register_kernel("usbgpu")(lambda x: x + x + 1)
    same(twice(x), torch.full((2,), 3.0))
    torch.library.opcheck(twice, (x,), test_utils=("test_schema", "test_faketensor"))


# ---- hooks


def test_hooks():
    seen = []
    layer = nn.Linear(3, 3).to(DEVICE)
    layer.register_forward_pre_hook(lambda *_: seen.append("before"))
    layer.register_forward_hook(lambda *_: seen.append("after"))
    layer.register_full_backward_hook(lambda module, gave, got: seen.append(got[0].device.type))
    layer.weight.register_hook(lambda gradient: gradient * 2)
    layer.weight.register_post_accumulate_grad_hook(lambda parameter: seen.append("accumulated"))
    layer(torch.ones(1, 3, device=DEVICE)).sum().backward()
    assert seen == ["before", "after", "accumulated", "usbgpu"] or set(seen) == {"before", "after", "usbgpu", "accumulated"}
    same(layer.weight.grad, torch.full((3, 3), 2.0))


def test_saved_tensors_may_wait_on_the_cpu():
    x = torch.randn(5, device=DEVICE, requires_grad=True)
    with torch.autograd.graph.save_on_cpu():
        y = (x * x).sum()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.device.type), t.cpu())[1], lambda t: t.to(DEVICE)):
        y = y + x.exp().sum()
    y.backward()
    assert kept == ["usbgpu"]
    same(x.grad, (2 * x + x.exp()).detach().cpu())


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_segment_draws_the_same_dropout_again(reentrant):
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8)).to(DEVICE)
    gradients = []
    for run in (lambda x: model(x), lambda x: checkpoint(model, x, use_reentrant=reentrant)):
        x = torch.ones(4, 8, device=DEVICE, requires_grad=True)
        torch.manual_seed(3)
        y = run(x)
        torch.rand(5, device=DEVICE)       # what is drawn in between does not matter
        y.pow(2).sum().backward()
        gradients.append((x.grad, y))
    same(gradients[1], [part.cpu() for part in gradients[0]])


def test_anomalies_are_found():
    x = torch.zeros(3, device=DEVICE, requires_grad=True)
    with pytest.raises(RuntimeError, match="nan"), pytest.warns(UserWarning), torch.autograd.detect_anomaly():
        (x / x * 0).sum().backward()
