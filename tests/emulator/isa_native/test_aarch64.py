"""The shader cores on aarch64 (NEON handlers, FPCR): built by zig, run by qemu, bit by bit what this machine's build computes.

The tests of single instructions, of waves and of compiled kernels run once more with twin.py in the place of the cores: their own
references hold, and every byte, counter and fault record must be the same on both architectures. Left out are programs whose
result depends on time: clocks, cancelling, and orders of threads (loops of compare-and-swap).
"""
from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulator.isa_native.build import build, zig

TESTS = Path(__file__).resolve().parents[1]
TARGET = "aarch64-linux-musl"
PARTS = {"instructions": ("isa_valu", 2000), "waves": ("isa", 500), "kernels": ("differential", 700)}
BY_TIME = "two_threads or shuffled or cancel or until_cancelled or test_hardware_registers"
ELSEWHERE = "gfx1200 or test_baseline"  # the same code as gfx1201's; a process of its own
pytestmark = pytest.mark.timeout(1200)  # the first run builds


def qemu() -> str | None:
    return os.environ.get("USBGPU_QEMU_AARCH64") or shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


@pytest.fixture(scope="module")
def command() -> list[str]:
    if sys.platform != "linux":
        pytest.skip("qemu's user mode and the driver's target are Linux")
    if zig() is None:
        pytest.skip("the ziglang wheel, which cross-compiles, is not installed")
    native = platform.machine() == "aarch64"
    if not native and not qemu():
        pytest.skip("no qemu-aarch64 on PATH or in USBGPU_QEMU_AARCH64 (Debian: qemu-user, or .ci/fetch_qemu.sh)")
    driver = build(TARGET, jobs=os.cpu_count() or 1)
    return [str(driver)] if native else [qemu(), str(driver)]


def run(command: list[str], *arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "tests.emulator.isa_native.twin", "-p", "no:cacheprovider", *arguments],
        env=os.environ | {"USBGPU_ISA_DRIVER": shlex.join(command)}, cwd=TESTS.parents[1],
        capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("part", PARTS)
def test_same_bits(command: list[str], part: str) -> None:
    folder, least = PARTS[part]
    status, output = run(command, str(TESTS / folder), "-k", f"not ({BY_TIME} or {ELSEWHERE})")
    assert status == 0, output[-6000:]
    launches, level = re.search(r"twin: (\d+) launches, \d+ bytes equal on (.*)", output).groups()
    assert level == "baseline aarch64"
    assert int(launches) >= least, "the other architecture was not asked"


def test_a_different_bit_is_seen(command: list[str], tmp_path: Path) -> None:
    """The comparison itself: a byte that only one of the two memories has, and a result that depends on the clock."""
    test = tmp_path / "test_difference.py"
    test.write_text("""
from tests.emulator.isa.machine import DATA, Machine, assemble
def test_memory():
    machine = Machine()
    machine.memory.map(DATA, 4096)
    machine.memory.here.write(DATA + 40, b"x")
    machine.memory.read(DATA, 4096)
def test_result():
    machine = Machine()
    code = assemble("s_sendmsg_rtn_b64 s[0:1], sendmsg(MSG_RTN_GET_REALTIME)\\ns_waitcnt lgkmcnt(0)\\ns_trap 2")
    assert machine.run_code(code)["end"] == "fault"      # equal: s_trap, at the same place
    machine.memory.map(DATA, 4096)
    code = assemble('''s_sendmsg_rtn_b64 s[2:3], sendmsg(MSG_RTN_GET_REALTIME)
s_waitcnt lgkmcnt(0)
v_mov_b32 v1, s2
v_mov_b32 v0, 0
global_store_b32 v0, v1, s[0:1]
s_endpgm''')
    machine.run_code(code, [DATA & 0xFFFFFFFF, DATA >> 32])
    machine.memory.read(DATA, 4)
""")
    status, output = run(command, str(test), "--rootdir", str(TESTS.parents[1]), "-c", str(TESTS.parents[1] / "pyproject.toml"))
    assert status == 1
    assert "2 failed" in output, output[-3000:]
    assert output.count("twin.Different") >= 2, output[-3000:]
