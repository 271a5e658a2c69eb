"""Workgroups: LDS, barriers, scans, histograms, transposes, three dimensions, partial workgroups."""
from __future__ import annotations

from tests.emulator.differential.model import Kernel, c_type, given, result, value


def reduction(kind: str, fill: str = "edges") -> Kernel:
    t = c_type(kind)
    return Kernel(f"lds_reduction_{kind}", (given("a", kind, 1000, fill), result("o", kind, 4), value("n", "i32", 1000)), f"""
static __shared__ {t} part[256];
const int i = GLOBAL_INDEX, t = threadIdx.x;
part[t] = i < n ? a[i] : ({t})0;
for (int step = 128; step > 0; step /= 2) {{
  __syncthreads();
  if (t < step) part[t] = ({t})(part[t] + part[t + step]);
}}
if (t == 0) o[blockIdx.x] = part[0];""", groups=(4, 1, 1), threads=(256, 1, 1), wave64=True)


def transpose(kind: str) -> Kernel:
    t = c_type(kind)
    return Kernel(f"transpose_{kind}", (given("a", kind, 48 * 80), result("o", kind, 48 * 80)), f"""
static __shared__ {t} tile[16][17];
const int x = blockIdx.x * 16 + threadIdx.x, y = blockIdx.y * 16 + threadIdx.y;
tile[threadIdx.y][threadIdx.x] = a[y * 80 + x];
__syncthreads();
o[(blockIdx.x * 16 + threadIdx.y) * 48 + blockIdx.y * 16 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];""",
                  groups=(5, 3, 1), threads=(16, 16, 1), wave64=True)


def gemm(kind: str, accumulate: str, tiled: bool, fill: str = "small") -> Kernel:
    """Small whole numbers: exact in any order."""
    t, c = c_type(kind), c_type(accumulate)
    m, n, k = 37, 41, 50
    name = f"gemm_{'tiled' if tiled else 'naive'}_{kind}"
    arguments = (given("a", kind, m * k, fill), given("b", kind, k * n, fill), result("o", accumulate, m * n),
                 value("m", "i32", m), value("n", "i32", n), value("k", "i32", k))
    if not tiled:
        return Kernel(name, arguments, f"""
const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
if (x >= n || y >= m) return;
{c} sum = 0;
for (int p = 0; p < k; ++p) sum = ({c})(sum + ({c})a[y * k + p] * ({c})b[p * n + x]);
o[y * n + x] = sum;""", groups=(3, 5, 1), threads=(16, 8, 1))
    return Kernel(name, arguments, f"""
static __shared__ {t} left[16][16], right[16][17];
const int tx = threadIdx.x, ty = threadIdx.y, x = blockIdx.x * 16 + tx, y = blockIdx.y * 16 + ty;
{c} sum = 0;
for (int base = 0; base < k; base += 16) {{
  left[ty][tx] = y < m && base + tx < k ? a[y * k + base + tx] : ({t})0;
  right[ty][tx] = x < n && base + ty < k ? b[(base + ty) * n + x] : ({t})0;
  __syncthreads();
#pragma unroll
  for (int p = 0; p < 16; ++p) sum = ({c})(sum + ({c})left[ty][p] * ({c})right[p][tx]);
  __syncthreads();
}}
if (x < n && y < m) o[y * n + x] = sum;""", groups=(3, 3, 1), threads=(16, 16, 1))


def scan(kind: str, fill: str = "edges") -> Kernel:
    t = c_type(kind)
    return Kernel(f"lds_scan_{kind}", (given("a", kind, 512, fill), result("o", kind, 512)), f"""
static __shared__ {t} even[256], odd[256];
const int i = GLOBAL_INDEX, t = threadIdx.x;
even[t] = a[i];
{t} *from = even, *to = odd;
for (int step = 1; step < 256; step *= 2) {{
  __syncthreads();
  to[t] = t >= step ? ({t})(from[t] + from[t - step]) : from[t];
  {t}* other = from; from = to; to = other;
}}
__syncthreads();
o[i] = from[t];""", groups=(2, 1, 1), threads=(256, 1, 1))


OTHERS = [
    Kernel("lds_histogram", (given("a", "u32", 2000), result("o", "u32", 64, "zero"), value("n", "i32", 2000)), """
static __shared__ unsigned bins[64];
if (threadIdx.x < 64) bins[threadIdx.x] = 0;
__syncthreads();
for (int i = GLOBAL_INDEX; i < n; i += gridDim.x * blockDim.x) atomicAdd(&bins[a[i] >> 3 & 63], 1u + (a[i] & 3));
__syncthreads();
if (threadIdx.x < 64 && bins[threadIdx.x]) atomicAdd(&o[threadIdx.x], bins[threadIdx.x]);""", groups=(3, 1, 1), threads=(128, 1, 1), wave64=True),
    Kernel("bitonic_sort", (given("a", "u32", 512), result("o", "u32", 512)), """
static __shared__ unsigned s[256];
const int t = threadIdx.x;
s[t] = a[GLOBAL_INDEX];
for (int size = 2; size <= 256; size *= 2)
  for (int step = size / 2; step > 0; step /= 2) {
    __syncthreads();
    const int other = t ^ step;
    if (other > t) {
      const unsigned x = s[t], y = s[other];
      if ((x > y) == ((t & size) == 0)) { s[t] = y; s[other] = x; }
    }
  }
__syncthreads();
o[GLOBAL_INDEX] = s[t];""", groups=(2, 1, 1), threads=(256, 1, 1), wave64=True),
    Kernel("three_dimensions", (result("o", "u32", 5 * 6 * 7 * 2 * 3 * 2, "zero"),), """
const unsigned x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, z = blockIdx.z * blockDim.z + threadIdx.z;
const unsigned wide = gridDim.x * blockDim.x, high = gridDim.y * blockDim.y;
o[(z * high + y) * wide + x] = x | y << 8 | z << 16 | threadIdx.x << 24 | threadIdx.y << 27;""", groups=(2, 3, 2), threads=(5, 6, 7), wave64=True),
    Kernel("workgroup_ids", (result("o", "u32", 4 * 3 * 5),), """
o[(blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] =
    blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z + 1000 * gridDim.x + 10000 * gridDim.y + 100000 * gridDim.z;""",
           groups=(4, 3, 5), threads=(1, 1, 1), wave64=True),
    Kernel("one_thread_groups", (given("a", "i32", 33), result("o", "i32", 33)), "o[blockIdx.x] = a[blockIdx.x] * 3;", groups=(33, 1, 1), threads=(1, 1, 1)),
    Kernel("odd_workgroup", (given("a", "i32", 3 * 77), result("o", "i32", 3 * 77)), """
static __shared__ int s[77];
s[threadIdx.x] = a[GLOBAL_INDEX];
__syncthreads();
o[GLOBAL_INDEX] = s[76 - threadIdx.x] - s[(threadIdx.x + 40) % 77];""", groups=(3, 1, 1), threads=(77, 1, 1), wave64=True),
    Kernel("largest_workgroup", (given("a", "i32", 1024), result("o", "i32", 1024)), """
static __shared__ int s[1024];
const int t = threadIdx.x;
s[t] = a[t];
for (int k = 1; k < 1024; k *= 4) { __syncthreads(); const int x = s[(t + k) & 1023]; __syncthreads(); s[t] ^= x; }
o[t] = s[t];""", groups=(1, 1, 1), threads=(1024, 1, 1)),
    Kernel("early_exit_before_barrier", (given("a", "i32", 256), result("o", "i32", 256, "zero")), """
static __shared__ int s[128];
const int t = threadIdx.x;
s[t] = a[GLOBAL_INDEX];
__syncthreads();
if (t >= 64) return;                       // whole waves leave; the rest meets again
s[t] += s[t + 64];
__syncthreads();
o[GLOBAL_INDEX] = s[t ^ 1];""", groups=(2, 1, 1), threads=(128, 1, 1)),
    Kernel("barrier_in_loop", (given("a", "i32", 128), result("o", "i32", 128)), """
static __shared__ volatile int token;
const int t = threadIdx.x;
if (t == 0) token = a[0];
int seen = 0;
for (int turn = 0; turn < 4; ++turn) {       // the waves take turns with a flag in LDS
  __syncthreads();
  if (t == turn * 32) token = token * 5 + turn;
  __syncthreads();
  seen = seen * 3 + token;
}
o[t] = seen + a[t];""", groups=(1, 1, 1), threads=(128, 1, 1)),
    Kernel("wait_for_flag", (given("a", "i32", 64), result("o", "i32", 64)), """
static __shared__ int flag, box;
const int t = threadIdx.x;
if (t == 0) flag = 0;
__syncthreads();
if (t == 40) {
  box = a[40];
  __threadfence_block();
  __hip_atomic_store(&flag, 1, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_WORKGROUP);
}
if (t < 32) {                                // the other wave spins
  while (__hip_atomic_load(&flag, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_WORKGROUP) == 0) __builtin_amdgcn_s_sleep(1);
}
o[t] = (t < 32 ? box : 7) + a[t];""", groups=(1, 1, 1), threads=(64, 1, 1)),
    Kernel("syncthreads_votes", (given("a", "i32", 192, "small"), *(result(f"o{n}", "i32", 192, "edges") for n in range(3))), """
const int x = a[GLOBAL_INDEX];
o0[GLOBAL_INDEX] = __syncthreads_count(x > 3); o1[GLOBAL_INDEX] = __syncthreads_or(x > 7); o2[GLOBAL_INDEX] = __syncthreads_and(x > -9);""",
           groups=(2, 1, 1), threads=(96, 1, 1)),
    Kernel("lds_structures", (given("a", "i32", 128), result("o", "i32", 128), result("p", "f64", 128)), """
struct item { char tag; short small; int number; double wide; unsigned char bytes[5]; };
static __shared__ item s[128];
const int t = threadIdx.x;
item mine{(char)a[t], (short)(a[t] >> 3), a[t], (double)a[t] * 0.5, {1, 2, 3, (unsigned char)t, 5}};
s[t] = mine;
__syncthreads();
const item& other = s[(t * 37 + 5) & 127];
o[t] = other.tag + other.small * 3 + other.number + other.bytes[3] + other.bytes[4];
p[t] = other.wide;""", groups=(1, 1, 1), threads=(128, 1, 1), wave64=True),
    Kernel("lds_sub_dword", (given("a", "u8", 256), given("b", "u16", 256), result("o", "u32", 256)), """
static __shared__ unsigned char bytes[256];
static __shared__ unsigned short halves[256];
const int t = threadIdx.x;
bytes[(t * 5) & 255] = a[t]; halves[(t * 3) & 255] = b[t];
__syncthreads();
o[t] = bytes[t] | (unsigned)halves[t] << 8 | (unsigned)(unsigned char)(signed char)bytes[255 - t] << 24;""",
           groups=(1, 1, 1), threads=(256, 1, 1), wave64=True),
    Kernel("lds_wide", (given("a", "u64", 512), result("o", "u64", 512)), """
static __shared__ ulong4 s[64];
const int t = threadIdx.x;
if (t < 64) s[t] = {a[4 * t], a[4 * t + 1], a[4 * t + 2], a[4 * t + 3]};
__syncthreads();
const ulong4 v = s[(t * 7) & 63];
o[2 * t] = v.x ^ v.w; o[2 * t + 1] = v.y + v.z;""", groups=(1, 1, 1), threads=(256, 1, 1), wave64=True),
    Kernel("stencil", (given("a", "f32", 1024, "small"), result("o", "f32", 1024)), """
static __shared__ float s[34][34];
const int x = threadIdx.x, y = threadIdx.y;
for (int dy = y; dy < 34; dy += 8)
  for (int dx = x; dx < 34; dx += 32) {
    const int gx = dx - 1, gy = dy - 1;
    s[dy][dx] = gx >= 0 && gx < 32 && gy >= 0 && gy < 32 ? a[gy * 32 + gx] : 0.0f;
  }
__syncthreads();
for (int dy = y; dy < 32; dy += 8)
  o[dy * 32 + x] = 4.0f * s[dy + 1][x + 1] - s[dy][x + 1] - s[dy + 2][x + 1] - s[dy + 1][x] - s[dy + 1][x + 2];""",
           groups=(1, 1, 1), threads=(32, 8, 1)),
    Kernel("convolution", (given("a", "f32", 20 * 20, "small"), given("w", "f32", 25, "small"), result("o", "f32", 16 * 16)), """
const int x = threadIdx.x, y = threadIdx.y;
float sum = 0;
#pragma unroll
for (int dy = 0; dy < 5; ++dy)
#pragma unroll
  for (int dx = 0; dx < 5; ++dx) sum += a[(y + dy) * 20 + x + dx] * w[dy * 5 + dx];
o[y * 16 + x] = sum;""", groups=(1, 1, 1), threads=(16, 16, 1)),
    Kernel("block_reduce", (given("a", "f32", 512, "small"), result("o", "f32", 512), result("p", "i32", 512)), """
o[GLOBAL_INDEX] = usbgpu::block_reduce<256>(a[GLOBAL_INDEX], [](float x, float y) { return x + y; }, 0.0f);
p[GLOBAL_INDEX] = usbgpu::block_reduce<256>((int)threadIdx.x * 7919 % 1000, [](int x, int y) { return x > y ? x : y; }, -1);""",
           groups=(2, 1, 1), threads=(256, 1, 1)),
    Kernel("matrix_vector", (given("a", "f32", 40 * 96, "small"), given("x", "f32", 96, "small"), result("o", "f32", 40)), """
const int row = blockIdx.x * 4 + (threadIdx.x >> 5), lane = threadIdx.x & 31;
float sum = 0;
for (int k = lane; k < 96; k += 32) sum = fmaf(a[row * 96 + k], x[k], sum);
sum = usbgpu::wave_sum(sum);
if (lane == 0) o[row] = sum;""", groups=(10, 1, 1), threads=(128, 1, 1)),
    Kernel("stream_compaction", (given("a", "i32", 256), result("o", "i32", 256, "zero"), result("count", "u32", 2, "zero")), """
static __shared__ unsigned base[8];
const int t = threadIdx.x, lane = t & 31, i = GLOBAL_INDEX;
const bool keep = a[i] > 0;
const unsigned mask = __ballot(keep);
if (lane == 0) base[t >> 5] = __popc(mask);
__syncthreads();
unsigned before = 0, all = 0;
for (int w = 0; w < 4; ++w) { if (w < t >> 5) before += base[w]; all += base[w]; }
if (keep) o[blockIdx.x * 128 + before + __popc(mask & ((1u << lane) - 1))] = a[i];
if (t == 0) count[blockIdx.x] = all;""", groups=(2, 1, 1), threads=(128, 1, 1)),
]

KERNELS = [
    *(reduction(k) for k in ("i32", "u8", "i16", "u64")), reduction("f32", "small"), reduction("f64", "small"), reduction("f16", "zero"),
    *(transpose(k) for k in ("u8", "f16", "f32", "f64")),
    *(scan(k) for k in ("i32", "u64")), scan("f32", "small"),
    *(gemm(k, c, False) for k, c in (("f32", "f32"), ("f64", "f64"), ("i32", "i32"), ("i8", "i32"), ("f16", "f32"), ("u64", "u64"), ("bf16", "f32"))),
    *(gemm(k, c, True) for k, c in (("f32", "f32"), ("f16", "f32"), ("i8", "i32"), ("f64", "f64"))),
    *OTHERS,
]
