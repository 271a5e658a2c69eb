"""The device as torch sees it: module, memory, generator, streams, fallback, autocast, kernels, fork."""
import multiprocessing
import os

import numpy as np
import pytest
import torch

from torch_usbgpu import errors


def test_device_queries():
    assert torch.usbgpu.is_available() and torch.usbgpu.device_count() == 1 and torch.usbgpu.current_device() == 0
    assert torch.device("usbgpu").type == "usbgpu"
    assert torch.accelerator.current_accelerator().type == "usbgpu"
    properties = torch.usbgpu.get_device_properties()
    assert properties.arch.startswith("gfx") and properties.warp_size == 32
    assert torch.usbgpu.get_device_name() == properties.name
    assert torch.usbgpu.get_device_capability() == (properties.major, properties.minor)
    with torch.usbgpu.device(0), torch.device("usbgpu"):
        assert torch.ones(1).is_usbgpu
    with pytest.raises(RuntimeError, match="one device"):
        torch.usbgpu.set_device(1)


def test_memory_statistics():
    before = torch.usbgpu.memory_allocated()
    x = torch.empty(1 << 20, dtype=torch.uint8, device="usbgpu")
    assert torch.usbgpu.memory_allocated() - before >= 1 << 20
    assert torch.usbgpu.memory_reserved() >= torch.usbgpu.memory_allocated()
    assert torch.accelerator.memory_stats()["allocated_bytes.all.current"] == torch.usbgpu.memory_allocated()
    del x
    assert torch.usbgpu.memory_allocated() == before
    torch.usbgpu.empty_cache()
    free, total = torch.usbgpu.mem_get_info()
    assert 0 < free <= total


def test_out_of_memory_names_the_sizes():
    _, total = torch.usbgpu.mem_get_info()
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate .*total capacity of .*free") as caught:
        torch.empty(total + (1 << 30), dtype=torch.uint8, device="usbgpu")
    assert "GiB" in str(caught.value) or "MiB" in str(caught.value)
    assert torch.ones(2, device="usbgpu").sum().item() == 2


def test_generator_state():
    torch.usbgpu.manual_seed(7)
    assert torch.usbgpu.initial_seed() == 7
    state = torch.usbgpu.get_rng_state()
    torch.usbgpu.manual_seed(8)
    torch.usbgpu.set_rng_state(state)
    assert torch.usbgpu.initial_seed() == 7 and torch.equal(torch.usbgpu.get_rng_state(), state)
    generator = torch.Generator(device="usbgpu").manual_seed(3)
    assert generator.initial_seed() == 3 and generator.device.type == "usbgpu"
    torch.manual_seed(11)
    assert torch.usbgpu.initial_seed() == 11
    with pytest.raises(RuntimeError, match="RNG state"):
        torch.usbgpu.set_rng_state(torch.zeros(3, dtype=torch.uint8))


def test_streams_and_events():
    stream = torch.usbgpu.Stream()
    start, end = torch.usbgpu.Event(enable_timing=True), torch.usbgpu.Event(enable_timing=True)
    start.record()
    with torch.usbgpu.stream(stream):
        assert torch.usbgpu.current_stream() == stream
        x = torch.ones(8, device="usbgpu") + 1
        end.record(stream)
    assert torch.usbgpu.current_stream() == torch.usbgpu.default_stream()
    torch.usbgpu.current_stream().wait_stream(stream)
    end.synchronize()
    assert start.query() and end.query() and start.elapsed_time(end) >= 0
    x.record_stream(stream)
    stream.synchronize()
    torch.usbgpu.synchronize()
    assert x.sum().item() == 16


@pytest.mark.expects_fallback
def test_fallback_is_counted():
    torch.usbgpu.set_fallback("silent")
    torch.usbgpu.reset_fallbacks()
    x = torch.tensor([4, 1 + 1j, 3], dtype=torch.complex32).to("usbgpu")   # stored and copied, not computed with
    expected = x.cpu() * x.cpu()
    for _ in range(2):
        assert torch.equal(torch.view_as_real((x * x).cpu()), torch.view_as_real(expected))
    counts = torch.usbgpu.fallbacks()
    assert any("mul" in name and count == 2 for name, count in counts.items()), counts
    torch.usbgpu.reset_fallbacks()
    assert torch.usbgpu.fallbacks() == {}


@pytest.mark.expects_fallback
def test_fallback_can_be_forbidden():
    torch.usbgpu.set_fallback("error")
    x = torch.ones(2, dtype=torch.complex32).to("usbgpu")
    with pytest.raises(NotImplementedError, match="mul.*USBGPU_FALLBACK"):
        x * x
    torch.usbgpu.set_fallback("warn")
    with pytest.raises(ValueError, match="loud"):
        torch.usbgpu.set_fallback("loud")


@pytest.mark.expects_fallback
@pytest.mark.parametrize("view", [lambda x: x[:4, :4], lambda x: x.T[:4, :4], lambda x: x[:4, ::2][:, :4].T])
def test_fallback_keeps_the_layout_that_formulas_ask_for(view):
    """det's CPU operator factors A or its transpose by A's layout, and its backward asks A again."""
    torch.usbgpu.set_fallback("silent")
    torch.manual_seed(0)
    cpu = torch.randn(9, 9, dtype=torch.float64, requires_grad=True)
    gpu = cpu.detach().to("usbgpu").requires_grad_()
    torch.linalg.det(view(cpu)).backward()
    result = torch.linalg.det(view(gpu))
    assert result.device.type == "usbgpu"
    result.backward()
    torch.testing.assert_close(gpu.grad.cpu(), cpu.grad)


def test_autocast_policies():
    x = torch.ones(4, 4, device="usbgpu")
    with torch.autocast("usbgpu", torch.float16):
        assert (x @ x).dtype == torch.float16
        assert torch.exp(x.half()).dtype == torch.float32
        assert (x.half() + x).dtype == torch.float32
    assert torch.usbgpu.get_amp_supported_dtype() == [torch.float16, torch.bfloat16]


def test_module_moves():
    model = torch.nn.Linear(3, 2).usbgpu()
    assert model.weight.is_usbgpu and next(model.cpu().parameters()).device.type == "cpu"


KERNEL = """
__global__ void scale(const float* x, float* y, float by, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] * by;
}
"""


def test_compile_kernel():
    scale = torch.usbgpu.compile_kernel(KERNEL, "scale")
    x = torch.arange(100.0, device="usbgpu")
    y = torch.zeros_like(x)
    scale(x, y, 2.5, 90, grid=(2,), block=(64,))
    assert torch.equal(y.cpu(), torch.cat([torch.arange(90.0) * 2.5, torch.zeros(10)]))
    scale(x, y, np.float32(3), np.int32(100), grid=2, block=64)
    assert y[99].item() == 297


@pytest.mark.parametrize("args, text", [
    (lambda x: (x, x, 1.0), "takes 4 arguments"), (lambda x: (x, x.cpu(), 1.0, 3), "is a tensor on cpu"),
    (lambda x: (x, x, x, 3), "no pointer"), (lambda x: (x, x, 1.0, 1 << 40), "does not fit 32 bits"),
    (lambda x: (x, x, "2", 3), "is a str"), (lambda x: (x, x, np.float64(1), 3), "has 8 bytes"),
])
def test_compile_kernel_arguments(args, text):
    x = torch.zeros(4, device="usbgpu")
    with pytest.raises(errors.LaunchError, match=text):
        torch.usbgpu.compile_kernel(KERNEL, "scale")(*args(x), grid=1, block=64)


def test_compile_kernel_errors():
    with pytest.raises(errors.CompileError, match="undeclared|unknown"):
        torch.usbgpu.compile_kernel("__global__ void broken() { nonsense; }", "broken")
    with pytest.raises(errors.CompileError, match="is not in the source"):
        torch.usbgpu.compile_kernel(KERNEL, "scal")


def test_link_statistics():
    torch.usbgpu.synchronize()
    torch.usbgpu.reset_link_stats()
    x = torch.ones(64, device="usbgpu")
    for _ in range(10):
        x = x + 1
    assert x.sum().item() == 64 * 11
    stats = torch.usbgpu.link_stats()
    assert stats["launches"] >= 11
    transfers = sum(stats[kind] for kind in ("control_out", "control_in", "bulk_out", "bulk_in"))
    assert transfers <= 12, stats


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_the_board_measures():
    """Names and units are torch.cuda's; with kernels in flight, whose results stay right."""
    x = torch.arange(1 << 12, dtype=torch.float32, device="usbgpu")
    y = x
    for _ in range(5):
        y = y + x
        assert 20 <= torch.usbgpu.temperature() < 120
        assert 5_000 < torch.usbgpu.power_draw() < 500_000
        assert 400 < torch.usbgpu.clock_rate() < 4000
        assert 0 <= torch.usbgpu.utilization() <= 100 and 0 <= torch.usbgpu.memory_usage() <= 100
    assert torch.equal(y.cpu(), 6 * torch.arange(1 << 12, dtype=torch.float32))
    for name in ("temperature", "power_draw", "clock_rate", "utilization", "memory_usage"):
        assert name in torch.usbgpu.__all__ and hasattr(torch.cuda, name)
    with pytest.raises(RuntimeError, match="one device"):
        torch.usbgpu.temperature(1)


def test_fork_after_use_is_refused():
    torch.ones(1, device="usbgpu")

    def child(pipe):
        try:
            torch.ones(1, device="usbgpu")
            pipe.send("worked")
        except RuntimeError as error:
            pipe.send(str(error))

    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(there,))
    process.start()
    assert here.poll(30)
    assert "spawn" in here.recv()
    process.join(30)
    assert process.exitcode == 0
    assert torch.ones(1, device="usbgpu").item() == 1


def test_dlpack_device():
    assert torch.ones(1, device="usbgpu").__dlpack_device__()[1] == 0


def test_code_lost_with_the_work_is_uploaded_again():
    # The kernel's first launch travels with its code in a submission that dies: the code may never have
    # arrived, although the kernel counts as loaded.
    poke = torch.usbgpu.compile_kernel(
        'extern "C" __global__ void poke(float* p) { *(volatile float*)0x123456789000ull = p[0]; }', "poke")
    fresh = torch.usbgpu.compile_kernel(
        'extern "C" __global__ void fresh(float* p) { p[threadIdx.x] = 5.0f + threadIdx.x; }', "fresh")
    x = torch.arange(4.0, device="usbgpu")
    x.sum().item()
    for _ in range(3):
        with pytest.raises(errors.GpuFault):
            poke(x, grid=1, block=1)
            torch.usbgpu.synchronize()
        with pytest.raises(errors.GpuFault):        # refused before it is sent
            fresh(x, grid=1, block=4)
            torch.erfc(x).cpu()
        torch.usbgpu.reset()
        torch.testing.assert_close(torch.erfc(x).cpu(), torch.erfc(torch.arange(4.0)))
    fresh(x, grid=1, block=4)
    assert x.tolist() == [5, 6, 7, 8]


def test_kernel_statistics():
    x = torch.ones(1000, device="usbgpu")
    x + 1
    torch.usbgpu.reset_kernel_stats()
    for _ in range(3):
        x = x + 1
    stats = torch.usbgpu.kernel_stats()
    assert sum(row["launches"] for row in stats.values()) == 3
    (row,) = stats.values()
    assert row["bytes_stored"] in (None, 3 * 4000), "None on real hardware"
    torch.usbgpu.reset_kernel_stats()
    assert torch.usbgpu.kernel_stats() == {}
