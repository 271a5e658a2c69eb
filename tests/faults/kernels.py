"""What the scenes run on the GPU."""
from __future__ import annotations

import functools

from torch_usbgpu import compiler

SOURCE = r"""
extern "C" __global__ void add_one(unsigned* data) {
  data[blockIdx.x * 64 + threadIdx.x] += 1;
}

// Takes that many ticks of the 100 MHz clock, whatever the GPU's speed.
extern "C" __global__ void take(unsigned long long ticks) {
  unsigned long long start = __builtin_amdgcn_s_sendmsg_rtnl(131);
  while (__builtin_amdgcn_s_sendmsg_rtnl(131) - start < ticks) {}
}

extern "C" __global__ void outside(volatile unsigned* nowhere) { nowhere[0] = 1; }
extern "C" __global__ void illegal() { asm volatile("s_nop 0\n.long 0xbfffffff"); }
extern "C" __global__ void endless(volatile unsigned* flag) { while (flag[0] == 0) {} }
"""
TICKS_PER_SECOND = 100_000_000


@functools.cache
def code_object(arch: str) -> bytes:
    return compiler.compile(SOURCE, arch)
