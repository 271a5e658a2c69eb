"""Lanes of a wave: shuffles of all kinds, votes, DPP, permutes, divergence around them."""
from __future__ import annotations

from tests.emulator.differential.model import Argument, Kernel, c_type, given, result, value

N = 256
LAUNCH = {"groups": (2, 1, 1), "threads": (128, 1, 1)}


def lanes(name: str, arguments: list[Argument], body: str) -> Kernel:
    return Kernel(name, tuple(arguments), f"const int i = GLOBAL_INDEX;\nconst int lane = threadIdx.x & 31;\n{body}", **LAUNCH)


def shuffle(kind: str) -> Kernel:
    return lanes(f"shuffle_{kind}", [given("a", kind, N), given("b", "i32", N, "index"), *(result(f"o{n}", kind, N) for n in range(6))], f"""
const {c_type(kind)} x = a[i];
o0[i] = __shfl(x, b[i]); o1[i] = __shfl_up(x, 3); o2[i] = __shfl_down(x, 5); o3[i] = __shfl_xor(x, 17);
o4[i] = __shfl_sync(0xffffffffull, x, b[i] & 7, 8); o5[i] = __shfl_xor(x, 9, 16);""")


def dpp(name: str, control: int, rows: int = 15, banks: int = 15, bound: bool = True) -> Kernel:
    return lanes(f"dpp_{name}", [given("a", "i32", N), given("b", "i32", N), result("o", "i32", N)],
                 f"o[i] = __builtin_amdgcn_update_dpp(b[i], a[i], {control}, {rows}, {banks}, {str(bound).lower()});")


DPP = [
    dpp("quad_perm", 0x1B), dpp("quad_broadcast", 0x55), dpp("row_shl", 0x103), dpp("row_shr", 0x10F + 3), dpp("row_ror", 0x125),
    dpp("row_mirror", 0x140), dpp("row_half_mirror", 0x141), dpp("row_share", 0x15A), dpp("row_xmask", 0x163),
    dpp("row_shl_unbound", 0x104, bound=False), dpp("row_shr_unbound", 0x117, bound=False), dpp("row_mask", 0x121, rows=1),
    dpp("bank_mask", 0x142 - 1, banks=5), dpp("masks", 0x16F, rows=2, banks=9, bound=False),
]

VOTES = [
    lanes("ballot", [given("a", "i32", N, "small"), *(result(f"o{n}", "u32", N) for n in range(4))], """
o0[i] = __ballot(a[i] > 2); o1[i] = __any(a[i] > 6) | __all(a[i] > -9) << 1 | __all(a[i] > -8) << 2;
o2[i] = __builtin_amdgcn_mbcnt_lo(__ballot(a[i] & 1), 100); o3[i] = __activemask();"""),
    lanes("ballot_in_divergence", [given("a", "i32", N, "small"), result("o0", "u32", N), result("o1", "u32", N, "zero")], """
unsigned m = 0;
if (a[i] > 0) {
  m = __ballot(lane & 1);
  if (a[i] > 4) o1[i] = __activemask();
}
o0[i] = m ^ __ballot(m != 0);"""),
    lanes("ballot_in_loop", [given("a", "i32", N, "index"), result("o", "u32", N)], """
unsigned m = 0;
for (int k = 0; k < (a[i] & 15); ++k) m = m * 31 + __ballot(k & 1 ? lane > 3 : lane < 20);
o[i] = m;"""),
    lanes("read_first_lane", [given("a", "i32", N), result("o0", "i32", N), result("o1", "i32", N, "zero")], """
o0[i] = __builtin_amdgcn_readfirstlane(a[i]);
if (lane > 6 && a[i] & 2) o1[i] = __builtin_amdgcn_readfirstlane(a[i] ^ 5);"""),
    lanes("waterfall", [given("a", "i32", N, "index"), result("o0", "i32", N), result("o1", "u32", N)], """
// The loop that visits each distinct value once: scalar registers from varying ones.
int rounds = 0, mine = a[i] & 7; unsigned together = 0;
for (bool open = true; open; ++rounds) {
  const int leader = __builtin_amdgcn_readfirstlane(mine);
  const unsigned same = __ballot(mine == leader);
  if (mine == leader) { together = same; open = false; }
}
o0[i] = rounds; o1[i] = together;"""),
]

PERMUTES = [
    lanes("permlane16", [given("a", "i32", N), given("b", "i32", N), result("o0", "i32", N), result("o1", "i32", N)], """
o0[i] = __builtin_amdgcn_permlane16(b[i], a[i], 0x76543210u ^ 0x33333333u, 0x01234567u, false, false);
o1[i] = __builtin_amdgcn_permlanex16(b[i], a[i], 0xfdb97531u, 0xeca86420u, false, true);"""),
    lanes("permlane_from_disabled", [given("a", "i32", N, "small"), given("b", "i32", N), result("o", "i32", N, "zero")], """
if (a[i] > 0) o[i] = __builtin_amdgcn_permlane16(b[i], a[i], 0x13579bdfu, 0x02468aceu, false, true);"""),
    lanes("swizzle", [given("a", "i32", N), *(result(f"o{n}", "i32", N) for n in range(4))], """
o0[i] = __builtin_amdgcn_ds_swizzle(a[i], 0x041f); o1[i] = __builtin_amdgcn_ds_swizzle(a[i], 0x80b1);
o2[i] = __builtin_amdgcn_ds_swizzle(a[i], 0x7c1f); o3[i] = __builtin_amdgcn_ds_swizzle(a[i], 0x0070 | 0x18);"""),
    lanes("bpermute", [given("a", "i32", N), given("b", "i32", N, "index"), result("o0", "i32", N), result("o1", "i32", N, "zero")], """
o0[i] = __builtin_amdgcn_ds_bpermute(b[i] << 2, a[i]);
if (b[i] & 4) o1[i] = __builtin_amdgcn_ds_bpermute(b[i] * 4 + 64, a[i]);"""),
]


def reduce(kind: str, op: str, fill: str = "edges") -> Kernel:
    expression = {"sum": "a + b", "max": "a < b ? b : a", "xor": "a ^ b"}[op]
    t = c_type(kind)
    return lanes(f"wave_{op}_{kind}", [given("a", kind, N, fill), result("o", kind, N)],
                 f"o[i] = usbgpu::wave_reduce(a[i], [](auto a, auto b) {{ return ({t})({expression}); }});")


REDUCTIONS = [
    reduce("i32", "sum"), reduce("u32", "xor"), reduce("i64", "sum"), reduce("f32", "sum", "unit"), reduce("f64", "sum", "unit"),
    reduce("f32", "max", "unit"), reduce("f16", "sum", "unit"), reduce("u64", "max"), reduce("i16", "max"), reduce("u8", "xor"),
    lanes("wave_scan", [given("a", "i32", N), result("o0", "i32", N), result("o1", "i32", N)], """
unsigned x = (unsigned)a[i];
for (unsigned d = 1; d < 32; d *= 2) {
  const unsigned y = __shfl_up(x, d);
  if (lane >= (int)d) x += y;
}
o0[i] = (int)x; o1[i] = (int)(x - (unsigned)a[i]);"""),
    lanes("wave_sort", [given("a", "u32", N), result("o", "u32", N)], """
unsigned x = a[i];
for (int size = 2; size <= 32; size *= 2)
  for (int step = size / 2; step > 0; step /= 2) {
    const unsigned y = __shfl_xor(x, step);
    const bool up = (lane & size) == 0, low = (lane & step) == 0;
    x = (up == low) == (x < y) ? x : y;
  }
o[i] = x;"""),
    lanes("match_any", [given("a", "i32", N, "index"), result("o", "u32", N)], """
const int mine = a[i] & 3; unsigned mask = 0;
for (int v = 0; v < 4; ++v) {
  const unsigned same = __ballot(mine == v);
  if (mine == v) mask = same;
}
o[i] = mask;"""),
    lanes("reduce_sync", [given("a", "u32", N), given("b", "i32", N), result("o0", "u32", N), result("o1", "i32", N), result("o2", "u32", N)], """
o0[i] = __reduce_add_sync(~0u, a[i]); o1[i] = __reduce_min_sync(~0u, b[i]); o2[i] = __reduce_and_sync(~0u, a[i] | 0xff);"""),
    Kernel("shuffle_partial_wave", (given("a", "i32", 96), result("o", "i32", 96), value("n", "i32", 20)), """
const int i = GLOBAL_INDEX;
o[i] = __shfl_down(a[i], 4) + (int)__ballot(a[i] > 0) * n;""", groups=(2, 1, 1), threads=(48, 1, 1)),
]

KERNELS = [*(shuffle(k) for k in ("i32", "f32", "i64", "f64", "i16", "u8", "f16")), *DPP, *VOTES, *PERMUTES, *REDUCTIONS]
