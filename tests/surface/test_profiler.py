"""torch.profiler with ProfilerActivity.PrivateUse1: kernels, by name, under the operators that launched them."""
from __future__ import annotations

import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

DEVICE = "usbgpu"
BOTH = [ProfilerActivity.CPU, ProfilerActivity.PrivateUse1]


def work(x):
    with record_function("a step of mine"):
        for _ in range(3):
            y = (x @ x).relu()
    return y.sum().item()


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    x = torch.randn(64, 64, device=DEVICE)
    work(x)                 # the kernels are compiled
    with profile(activities=BOTH, record_shapes=True) as profiled:
        work(x)
        torch.randn(32 << 10).to(DEVICE)
    torch.relu(x)           # after the end: not in it
    path = tmp_path_factory.mktemp("trace") / "trace.json"
    profiled.export_chrome_trace(str(path))
    return profiled, json.loads(path.read_text())["traceEvents"]


def test_kernels_are_named_counted_and_timed(trace):
    profiled, _ = trace
    rows = {row.key: row for row in profiled.key_averages()}
    gemm = [row for name, row in rows.items() if name.startswith("gemm")]
    relu = [row for name, row in rows.items() if name.startswith("pw_clamp_min")]
    assert [row.count for row in gemm] == [3] and [row.count for row in relu] == [3]
    assert gemm[0].self_device_time_total > relu[0].self_device_time_total > 0, "the emulated device models times"
    assert rows["Memcpy DtoH"].count == 1 and rows["Memcpy HtoD"].count == 1


def test_they_belong_to_their_operators(trace):
    profiled, _ = trace
    rows = {row.key: row for row in profiled.key_averages()}
    kernels = sum(row.self_device_time_total for name, row in rows.items() if name.startswith("gemm"))
    assert rows["aten::mm"].self_device_time_total == pytest.approx(kernels)
    assert rows["aten::matmul"].device_time_total == pytest.approx(kernels)
    table = profiled.key_averages().table(sort_by="self_device_time_total")
    assert "gemm" in table and "USBGPU" in table


def test_the_trace(trace):
    _, events = trace
    kernels = [event for event in events if event.get("cat") == "kernel"]
    assert len(kernels) >= 7
    for before, after in zip(kernels, kernels[1:]):
        assert before["ts"] + before["dur"] <= after["ts"] + 1e-3, "one queue: one after the other"
    gemm = next(event for event in kernels if event["name"].startswith("gemm"))
    assert gemm["args"]["time"] == "modelled" and len(gemm["args"]["grid"]) == len(gemm["args"]["block"]) == 3
    copies = {event["name"]: event["args"]["bytes"] for event in events if event.get("cat") == "gpu_memcpy"}
    assert copies == {"Memcpy DtoH": 4, "Memcpy HtoD": 4 * 32 << 10}


def test_without_our_activity_nothing_of_ours_is_recorded():
    x = torch.ones(8, device=DEVICE)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        (x + x).sum().item()
    assert not any(row.key.startswith(("pw_", "Memcpy")) for row in profiled.key_averages())


def test_sessions_one_after_the_other_and_by_schedule():
    x = torch.ones(8, device=DEVICE)
    counts = []
    done = lambda profiled: counts.append(sum(row.count for row in profiled.key_averages() if row.key.startswith("pw_add")))  # noqa: E731
    with profile(activities=BOTH, schedule=torch.profiler.schedule(wait=1, warmup=1, active=2, repeat=2),
                 on_trace_ready=done) as profiled:
        for _ in range(8):
            x + x
            profiled.step()
    assert counts == [2, 2]


def test_the_kernels_of_a_backward_pass():
    layer, x = torch.nn.Linear(8, 8).to(DEVICE), torch.ones(2, 8, device=DEVICE)
    with profile(activities=BOTH) as profiled:
        layer(x).sum().backward()
        torch.usbgpu.synchronize()
    assert sum(row.count for row in profiled.key_averages() if row.key.startswith("gemm")) >= 2


def test_an_error_ends_the_session_and_the_next_one_works():
    x = torch.ones(3, device=DEVICE)
    with pytest.raises(IndexError):
        with profile(activities=BOTH):
            x[torch.tensor([5], device=DEVICE)].cpu()
    with profile(activities=BOTH) as profiled:
        x + x
    assert any(row.key.startswith("pw_add") for row in profiled.key_averages())
