"""Atomic operations on memory and on LDS; order does not matter to what they leave behind."""
from __future__ import annotations

from tests.emulator.differential.model import FLOATS, Kernel, c_type, given, result

N = 256
OPERATIONS = {
    "add": "atomicAdd(&{at}, {x})", "sub": "atomicSub(&{at}, {x})", "min": "atomicMin(&{at}, {x})", "max": "atomicMax(&{at}, {x})",
    "and": "atomicAnd(&{at}, {x})", "or": "atomicOr(&{at}, {x})", "xor": "atomicXor(&{at}, {x})",
    "inc": "atomicInc(&{at}, {x} & 0xff)", "dec": "atomicDec(&{at}, {x} & 0xff)",
}
# inc and dec depend on the order unless every thread has the same limit
LIMIT = {"inc": "37u", "dec": "41u"}


def memory(op: str, kind: str, lds: bool) -> Kernel:
    t = "unsigned long long" if kind == "u64" else c_type(kind)
    x = LIMIT.get(op) or "x"
    call = OPERATIONS[op].format(at="cells[a[i] & 15]" if lds else "p[a[i] & 15]", x=x).replace(" & 0xff", "")
    fill = "small" if kind in FLOATS else "edges"
    if lds:
        body = f"""
static __shared__ {t} cells[16];
const int i = GLOBAL_INDEX;
if (threadIdx.x < 16) cells[threadIdx.x] = ({t})o[threadIdx.x + 16 * blockIdx.x];
__syncthreads();
const {t} x = b[i];
{call};
__syncthreads();
if (threadIdx.x < 16) o[threadIdx.x + 16 * blockIdx.x] = cells[threadIdx.x];"""
    else:
        body = f"const int i = GLOBAL_INDEX;\nconst {t} x = b[i];\n{t}* p = ({t}*)o + 16 * blockIdx.x;\n{call};"
    return Kernel(f"atomic_{op}_{kind}_{'lds' if lds else 'memory'}",
                  (given("a", "u32", N), given("b", kind, N, fill), result("o", kind, 32, fill)), body, groups=(2, 1, 1), threads=(128, 1, 1))


def returning(name: str, kind: str, expression: str) -> Kernel:
    """One thread per cell: the old value is known."""
    t = "unsigned long long" if kind == "u64" else c_type(kind)
    return Kernel(f"atomic_returns_{name}_{kind}", (given("a", kind, N), given("b", kind, N), result("o", kind, N), result("q", kind, N, "edges")), f"""
const int i = GLOBAL_INDEX;
{t}* p = ({t}*)q + i;
const {t} x = a[i], y = b[i];
o[i] = ({t})({expression});""", groups=(2, 1, 1), threads=(128, 1, 1))


RETURNING = [
    returning("add", "u32", "atomicAdd(p, x)"), returning("add", "u64", "atomicAdd(p, x)"), returning("min", "i32", "atomicMin(p, x)"),
    returning("max", "u64", "atomicMax(p, x)"), returning("swap", "u32", "atomicExch(p, x)"), returning("swap", "u64", "atomicExch(p, x)"),
    returning("compare_swap", "u32", "atomicCAS(p, y & 1 ? *p : y, x)"), returning("compare_swap", "u64", "atomicCAS(p, y & 1 ? *p : y, x)"),
    returning("inc", "u32", "atomicInc(p, x)"), returning("dec", "u32", "atomicDec(p, x)"), returning("and_or", "u32", "atomicAnd(p, x) ^ atomicOr(p, y)"),
    returning("add", "f32", "atomicAdd(p, x)"), returning("swap", "f32", "atomicExch(p, x)"), returning("swap", "f64", "atomicExch(p, x)"),
    returning("add", "f64", "atomicAdd(p, x)"), returning("sub", "i32", "atomicSub(p, x == (int)0x80000000 ? 1 : x)"),
]

LOOPS = [
    Kernel("atomic_add_f16", (given("a", "f16", N, "small"), result("o", "f16", 8, "zero")), "atomicAdd(&o[threadIdx.x % 7], a[GLOBAL_INDEX]);", groups=(2, 1, 1), threads=(128, 1, 1)),
    Kernel("atomic_add_bf16", (given("a", "bf16", N, "zero"), result("o", "bf16", 8, "small")),
           "atomicAdd(&o[threadIdx.x % 7], (__hip_bfloat16)((float)a[GLOBAL_INDEX] + 1.0f));", groups=(1, 1, 1), threads=(64, 1, 1)),
    Kernel("compare_swap_loop", (given("a", "u32", N), result("o", "u32", 4, "zero")), """
unsigned* at = &o[a[GLOBAL_INDEX] & 3];
unsigned old = *at, seen;
do {
  seen = old;
  old = atomicCAS(at, seen, seen + (a[GLOBAL_INDEX] >> 20) * 2 + 1);
} while (old != seen);""", groups=(2, 1, 1), threads=(128, 1, 1)),
    Kernel("ticket_per_wave", (result("o", "u32", 4, "zero"), result("p", "u32", N, "zero")), """
// One lane asks for the wave; the tickets together are a permutation, so their sum is known.
const unsigned lane = threadIdx.x & 31;
unsigned first = 0;
if (lane == 0) first = atomicAdd(&o[0], 32u);
first = __shfl(first, 0);
atomicAdd(&p[(first + lane) % 256], 1u);""", groups=(2, 1, 1), threads=(128, 1, 1)),
    Kernel("global_histogram", (given("a", "u32", 2000), result("o", "u32", 32, "zero")), """
for (int i = GLOBAL_INDEX; i < 2000; i += 256) atomicAdd(&o[__popc(a[i]) & 31], 1u);""", groups=(2, 1, 1), threads=(128, 1, 1)),
    Kernel("atomic_flags", (given("a", "u32", N), result("o", "u32", 64, "zero")), """
const unsigned bit = a[GLOBAL_INDEX] & 2047;
atomicOr(&o[bit >> 5], 1u << (bit & 31));""", groups=(2, 1, 1), threads=(128, 1, 1)),
]

KERNELS = [
    *(memory(op, "u32", lds) for op in OPERATIONS for lds in (False, True)),
    *(memory(op, "u64", lds) for op in ("add", "sub", "min", "max", "and", "or", "xor") for lds in (False, True)),
    *(memory(op, kind, lds) for op in ("add", "min", "max") for kind in ("i32", "f32") for lds in (False, True)),
    *(memory(op, "f64", lds) for op in ("add", "min", "max") for lds in (False, True)),
    *RETURNING, *LOOPS,
]
