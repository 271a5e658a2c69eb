"""`torch.usbgpu.reset()` as users see it: tensors that keep their content, and what is left when they cannot."""
from __future__ import annotations

from .run import output

LOST = """
import copy, torch, warnings
import torch_usbgpu
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
inputs = torch.randn(32, 64)
expected = model(inputs).detach()
state = copy.deepcopy(model.state_dict())
model.to("usbgpu")
on_gpu = inputs.to("usbgpu")
torch.testing.assert_close(model(on_gpu).cpu(), expected, rtol=1e-4, atol=1e-5)
numbers = torch.arange(1000, device="usbgpu")
event = torch.usbgpu.Event(); event.record()
"""


def test_tensors_survive_the_milder_rungs():
    print(output(LOST + """
assert torch.usbgpu.reset().rung == "re-arm"
for rung in ("clear halt", "re-open", "queue reset", "MEC reset"):
    later = numbers + 1                 # queued, which a healthy device is given before
    report = torch.usbgpu.reset(rung)
    assert report.rung == rung and not report.vram_lost, str(report)
    torch.testing.assert_close(model(on_gpu).cpu(), expected, rtol=1e-4, atol=1e-5)
    assert later.sum().item() == sum(range(1, 1001))
    event.synchronize(); assert event.query()
"""))


def test_tensors_whose_content_is_lost_can_be_filled_again():
    print(output(LOST + """
before = torch.usbgpu.memory_allocated()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    report = torch.usbgpu.reset("mode-1 reset")
assert report.vram_lost and report.lost_bytes == before and "lost" in str(caught[-1].message), str(report)
assert model(on_gpu).isnan().all() and (numbers == -1).all()
assert torch.usbgpu.memory_allocated() >= before
model.load_state_dict(state)
on_gpu.copy_(inputs)
torch.testing.assert_close(model(on_gpu).cpu(), expected, rtol=1e-4, atol=1e-5)
assert torch.arange(10, device="usbgpu").sum().item() == 45
event.synchronize(); assert event.query()
"""))


def test_training_goes_on_after_a_hang_and_a_replug():
    print(output("""
import torch, torch_usbgpu, warnings
from torch_usbgpu import errors, runtime
warnings.simplefilter("ignore")
torch.manual_seed(0)
model = torch.nn.Linear(16, 4).to("usbgpu")
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
x, y = torch.randn(64, 16, device="usbgpu"), torch.randn(64, 4, device="usbgpu")

def steps(n):
    for _ in range(n):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()

first = steps(5)
spin = torch.usbgpu.compile_kernel('extern "C" __global__ void spin(volatile int* flag) { while (flag[0] == 0) {} }', "spin")
flag = torch.zeros(1, dtype=torch.int32, device="usbgpu")
spin(flag, grid=1, block=1)
try:
    steps(1)
    raise SystemExit("it did not hang")
except errors.GpuHang as hang:
    assert hang.kernel == "spin", str(hang)
report = torch.usbgpu.reset()
assert report.rung == "queue reset" and not report.vram_lost
second = steps(20)
assert second < first, (first, second)
checkpoint = {name: value.cpu() for name, value in model.state_dict().items()}
dock = runtime.device().handle
dock.unplug()
try:
    steps(1)
    raise SystemExit("it was not there")
except errors.DeviceLost:
    pass
dock.replug()
assert torch.usbgpu.reset().vram_lost
model.load_state_dict(checkpoint)
x.copy_(torch.randn(64, 16)); y.copy_(torch.randn(64, 4))
for group in optimizer.state.values():
    for value in group.values():
        if value.device.type == "usbgpu": value.zero_()
assert not torch.tensor(steps(3)).isnan()
""", USBGPU_TIMEOUT_S="1"))
