"""Stepping through waves: both generations, both wave sizes."""
from __future__ import annotations

import numpy as np
import pytest

from torch_usbgpu import compiler
from torch_usbgpu.emulator.debugger import WAVE64, Debugger
from torch_usbgpu.errors import DebuggerError, LaunchError

SOURCE = """
extern "C" __global__ void scale(float* x, float k, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = x[i] * k;
}
extern "C" __global__ void reverse(float* x) {
  __shared__ float t[64];
  t[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = t[63 - threadIdx.x];
}
extern "C" __global__ void wild(float* x) { x[threadIdx.x] = 1; }
"""
ARCHES = ["gfx1100", "gfx1201"]

# v_mov_b32 v1, 7 · s_mov_b32 s4, 5 · v_add_nc_u32 v2, s4, v1 · s_endpgm
STRAIGHT = {"gfx1100": [0x7E020287, 0xBE840085, 0x4A040204, 0xBFB00000],
            "gfx1201": [0x7E020287, 0xBE840085, 0x4A040204, 0xBFB00000]}


@pytest.fixture(params=ARCHES)
def debugger(request):
    with Debugger.compile(SOURCE, request.param, timeout_s=20) as found:
        yield found


def scale(debugger, block=64, n=60):
    x = debugger.array(np.arange(64, dtype=np.float32))
    return x, debugger.launch("scale", 1, block, [x, np.float32(3), np.int32(n)])


def test_stops_at_the_first_instruction(debugger):
    _, wave = scale(debugger)
    stop = debugger.last_stop
    assert (stop.reason, stop.where, stop.group, stop.wave) == ("entry", "scale", (0, 0, 0), 0)
    assert wave.pc == debugger.address_of("scale")
    assert wave.exec == 0xFFFFFFFF and wave.lanes == 32
    assert (wave.vgpr[0] & 0x3FF == np.arange(32)).all()


def test_result_is_that_of_an_undisturbed_run(debugger):
    x, wave = scale(debugger)
    for _ in range(9):
        wave.step()
    assert debugger.run().reason == "finished"
    expected = np.arange(64, dtype=np.float32)
    expected[:60] *= 3
    assert (debugger.read(x, 64, np.float32) == expected).all()


def test_step_executes_every_instruction_once(debugger):
    """The addresses that stepping visits are the listing's, in order, up to the end."""
    _, wave = scale(debugger, block=32, n=32)
    visited = [wave.pc]
    while (stop := wave.step()).reason == "step":
        visited.append(stop.pc)
    assert stop.reason == "end" and "s_endpgm" in stop.text
    listed = [at for at, _ in debugger.listing(visited[0], visited[-1] + 4)]
    assert visited == listed
    result = debugger.finish()
    assert result["counters"]["instructions"] == len(visited)


def test_step_counts(debugger):
    _, wave = scale(debugger, block=32)
    wave.step(5)
    five = wave.pc
    _, wave = scale(debugger, block=32)
    for _ in range(5):
        wave.step()
    assert wave.pc - debugger.address_of("scale") == five - debugger.address_of("scale")


def test_breakpoint_stops_every_wave(debugger):
    _, wave = scale(debugger, block=64)
    end = next(at for at, text in debugger.listing(wave.pc, wave.pc + 256) if text == "s_endpgm")
    assert debugger.break_at(f"scale+{end - wave.pc:#x}") == end
    assert [(stop.reason, stop.wave) for stop in (debugger.run(), debugger.run())] == [("breakpoint", 0), ("breakpoint", 1)]
    assert debugger.run().reason == "finished"
    debugger.clear_breakpoints()
    scale(debugger)
    assert debugger.run().reason == "finished"


def test_follow_one_wave_of_one_workgroup(debugger):
    x = debugger.array(np.zeros(256, np.float32))
    debugger.follow((2, 0, 0), wave=1)
    wave = debugger.launch("scale", 4, 64, [x, np.float32(1), np.int32(256)])
    assert (wave.group, wave.index) == ((2, 0, 0), 1)
    assert (wave.vgpr[0] & 0x3FF == 32 + np.arange(32)).all()
    assert debugger.run().reason == "finished"
    debugger.follow()


def test_registers_can_be_written(debugger):
    """The multiplication gets another operand."""
    x, wave = scale(debugger, block=32, n=32)
    at = next(at for at, text in debugger.listing(wave.pc, wave.pc + 256) if text.startswith("v_mul_f32"))
    debugger.break_at(at)
    debugger.run()
    scalar = int(wave.instruction.split(", s")[1].split(",")[0])
    assert wave.sgpr.view(np.float32)[scalar] == 3
    wave.sgpr[scalar] = np.float32(0.5).view(np.uint32)
    wave.exec = 0xFFFF
    debugger.run()
    expected = np.arange(32, dtype=np.float32)
    expected[:16] *= 0.5
    assert (debugger.read(x, 32, np.float32) == expected).all()


def test_barrier_runs_the_other_waves(debugger):
    """Stepping over a barrier lets the second wave store its half of the LDS."""
    x = debugger.array(np.arange(64, dtype=np.float32))
    wave = debugger.launch("reverse", 1, 64, [x])
    while "barrier" not in wave.instruction:
        wave.step()
    shared = wave.lds.view(np.float32)
    assert (shared[:32] == np.arange(32)).all()
    while "barrier" in wave.instruction:
        assert wave.step().wave == 0
    assert (wave.lds.view(np.float32)[:64] == np.arange(64)).all()
    debugger.run()
    assert (debugger.read(x, 64, np.float32) == np.arange(64)[::-1]).all()


def test_fault_stops_at_the_store(debugger):
    debugger.launch("wild", 1, 32, [0x123456789000])
    stop = debugger.run()
    assert stop.reason == "fault" and stop.text.startswith("global_store_b32")
    assert debugger.wave.vgpr.shape == (256, 32)
    assert "global_store" in debugger.run().fault


def test_disassembly_marks_the_place(debugger):
    _, wave = scale(debugger)
    wave.step(2)
    lines = wave.disassembly(before=1, after=2).splitlines()
    assert len(lines) == 4 and lines[1].startswith("=>") and wave.instruction in lines[1]
    assert not lines[0].startswith("=>")


@pytest.mark.parametrize("arch", ARCHES)
def test_machine_code(arch):
    with Debugger(arch) as debugger:
        code = debugger.load_code(STRAIGHT[arch])
        wave = debugger.launch_code(code)
        assert wave.instruction == "v_mov_b32_e32 v1, 7"
        wave.step(2)
        assert (wave.vgpr[1] == 7).all() and wave.sgpr[4] == 5
        wave.sgpr[4] = 100
        wave.step()
        assert (wave.vgpr[2] == 107).all()
        wave.pc = code                                   # once more
        assert wave.step(3).text == "s_endpgm"
        assert (wave.vgpr[2] == 12).all()


@pytest.mark.parametrize("arch", ARCHES)
def test_jump_over_an_instruction(arch):
    with Debugger(arch) as debugger:
        code = debugger.load_code(STRAIGHT[arch])
        wave = debugger.launch_code(code)
        wave.pc = code + 4
        wave.step()
        assert wave.pc == code + 8 and (wave.vgpr[1] == 0).all() and wave.sgpr[4] == 5


@pytest.mark.parametrize("arch", ARCHES)
def test_wave64(arch):
    with Debugger(arch) as debugger:
        wave = debugger.launch_code(debugger.load_code(STRAIGHT[arch]), block=64, initiator=WAVE64)
        assert wave.lanes == 64 and wave.exec == (1 << 64) - 1
        assert (wave.vgpr[0] & 0x3FF == np.arange(64)).all()
        wave.step()
        wave.write_vgpr(1, np.arange(64) * 10)
        wave.exec = 0x8000_0000_0000_0001
        wave.step(2)
        assert wave.vgpr[2][0] == 5 and wave.vgpr[2][63] == 635 and (wave.vgpr[2][1:63] == 0).all()
        with pytest.raises(ValueError):
            wave.vgpr[2][0] = 1


def test_mode_takes_effect_at_once():
    """v_add_f32 v1, 1.0, v0 with v0 = 2^-24 + a bit: round to nearest, then towards +infinity."""
    with Debugger("gfx1100") as debugger:
        code = debugger.load_code([0x060200F2, 0x060400F2, 0xBFB00000])       # into v1, then into v2
        wave = debugger.launch_code(code)
        wave.write_vgpr(0, np.float32(2.0 ** -25))
        wave.step()
        wave.mode = wave.mode | 1
        wave.step()
        assert wave.vgpr_f32[1][0] == 1.0
        assert wave.vgpr_f32[2][0] == np.nextafter(np.float32(1), np.float32(2))


def test_scratch_and_flat_kernels():
    """Private arrays live in scratch memory of the debugger's own."""
    source = """extern "C" __global__ void picks(int* x, int n) {
      int t[40];
      for (int i = 0; i < 40; ++i) t[i] = i * n;
      x[threadIdx.x] = t[x[threadIdx.x] % 40];
    }"""
    with Debugger.compile(source, "gfx1100", ("-O1",)) as debugger:
        x = debugger.array(np.arange(32, dtype=np.int32))
        debugger.launch("picks", 1, 32, [x, np.int32(7)])
        assert debugger.run().reason == "finished"
        assert (debugger.read(x, 32, np.int32) == 7 * np.arange(32)).all()


def test_pause_stops_an_endless_loop():
    with Debugger("gfx1100") as debugger:
        code = debugger.load_code([0xBF800000, 0xBFA0FFFE, 0xBFB00000], "forever")   # s_nop; s_branch back; s_endpgm
        wave = debugger.launch_code(code)
        with pytest.raises(DebuggerError, match="No wave stopped"):
            debugger.session.resume(0)
            debugger.wait(0.1)
        assert debugger.pause().reason == "paused"
        wave.pc = code + 8
        assert debugger.run().reason == "finished"


def test_close_ends_whatever_runs():
    debugger = Debugger("gfx1100")
    debugger.launch_code(debugger.load_code([0xBFA0FFFF]))      # branches to itself
    debugger.session.resume(0)
    debugger.close()
    assert debugger._thread is None


@pytest.mark.parametrize("call, error, message", [
    (lambda d: d.step(), DebuggerError, "No wave is stopped"),
    (lambda d: d.wave, DebuggerError, "No wave is stopped"),
    (lambda d: d.break_at("nowhere"), DebuggerError, "no symbol"),
    (lambda d: d.launch("nothing", 1, 1), LaunchError, "No kernel"),
    (lambda d: d.launch("scale", 1, 1, [1]), LaunchError, "takes 3 arguments"),
    (lambda d: d.launch("scale", (1, 1, 1, 1), 1, [1, np.float32(1), np.int32(1)]), LaunchError, "one to three"),
    (lambda d: d.read(0x1000, 4), DebuggerError, "cannot be read"),
    (lambda d: d.launch_code(0x10000, 0), DebuggerError, "without executing"),
])
def test_errors(call, error, message):
    with Debugger("gfx1100") as debugger:
        debugger.load(compiler.compile(SOURCE, "gfx1100"))
        with pytest.raises(error, match=message):
            call(debugger)
