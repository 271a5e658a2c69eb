"""Control flow, calls, private memory, structures, unaligned and sub-dword memory, small algorithms."""
from __future__ import annotations

from tests.emulator.differential.model import TYPES, Kernel, bits_of, c_type, given, result, value

N = 256
LAUNCH = {"groups": (4, 1, 1), "threads": (64, 1, 1)}
START = "const int i = GLOBAL_INDEX;\n"


def plain(name: str, inputs: list[tuple[str, str, str]], outputs: list[tuple[str, str]], body: str, before: str = "",
          wave64: bool = True) -> Kernel:
    arguments = [given(a, kind, N, fill) for a, kind, fill in inputs] + [result(a, kind, N) for a, kind in outputs]
    return Kernel(name, tuple(arguments), START + body, before=before, wave64=wave64, **LAUNCH)


A, O = [("a", "i32", "edges")], [("o", "i32")]
UNSIGNED = [("a", "u32", "edges")]
OU = [("o", "u32")]

FLOW = [
    plain("switch_dense", A, O, """
int r;
switch (a[i] & 15) {
  case 0: r = a[i] * 3; break; case 1: r = a[i] - 7; break; case 2: r = ~a[i]; break; case 3: r = a[i] >> 5;
  case 4: r = a[i] ^ 0x5a5a; break; case 5: case 6: r = a[i] | 1; break; case 7: r = -1; break;
  case 9: r = (int)__popc((unsigned)a[i]); break; case 12: r = a[i] / 3; break; default: r = a[i] + 1000; break;
}
o[i] = r;"""),
    plain("switch_sparse", A, O, """
int r = 0;
for (int k = 0; k < 5; ++k) {
  switch ((a[i] >> k) & 0xff) {
    case 3: r += 5; break; case 100: r -= 9; continue; case 255: r ^= 0x77; break; case 17: r *= 2; break; case 128: r = ~r; break;
    default: if (k == 3) { r += 1; break; } r += k;
  }
  r += 10;
}
o[i] = r;"""),
    plain("nested_loops", A, O, """
int r = 0;
for (int x = 0; x < (a[i] & 7); ++x)
  for (int y = x; y < (a[i] >> 3 & 7); ++y) {
    if ((x ^ y) == 3) continue;
    for (int z = 0; z <= y; ++z) { if (z == 5) break; r = r * 7 + x * 100 + y * 10 + z; }
  }
o[i] = r;"""),
    plain("collatz", UNSIGNED, OU, """
unsigned x = (a[i] & 0xffff) + 1, steps = 0;
while (x != 1 && steps < 300) { x = x & 1 ? 3 * x + 1 : x / 2; ++steps; }
o[i] = steps;"""),
    plain("divergent_early_exit", A, [("o", "i32"), ("p", "i32")], """
p[i] = 0;
int x = a[i] & 63;
for (;;) {
  if (x == 13) { o[i] = -1; return; }
  if (x > 100) break;
  x += (x & 3) + 1;
  if (x == 77) { o[i] = 77; return; }
}
o[i] = x; p[i] = x * 2;"""),
    plain("do_while_with_goto", A, O, """
int x = a[i] & 255, n = 0;
again:
do { x = x * 5 + 3 & 255; if (++n > 40) goto out; } while (x & 1);
if (x > 20) goto again;
out:
o[i] = x * 1000 + n;"""),
    plain("short_circuit", [*A, ("b", "i32", "index")], O, """
int r = 0;
if ((a[i] & 1) && (a[b[i]] > 0 || a[255 - b[i]] < -5)) r |= 1;
if (!(a[i] & 2) || (a[b[i]] & 4 && (r += 2))) r |= 8;
o[i] = (a[i] > 5 ? r : a[i] < -5 ? -r : 100) + (r && a[i]);"""),
    plain("binary_search", [("a", "u32", "permutation"), ("b", "u32", "edges")], OU, """
int low = 0, high = 255;                      // in a table of squares
while (low < high) { const int mid = (low + high + 1) / 2; if ((unsigned)(mid * mid) <= (b[i] & 0xffff)) low = mid; else high = mid - 1; }
o[i] = (unsigned)low + (a[low] << 16);"""),
    plain("greatest_common_divisor", [("a", "u32", "edges"), ("b", "u32", "edges")], OU, """
unsigned x = a[i], y = b[i];
while (y) { const unsigned t = x % y; x = y; y = t; }
o[i] = x;"""),
    plain("modular_power", [("a", "u32", "edges"), ("b", "u32", "edges")], OU, """
unsigned long base = a[i] % 1000003u, result = 1;
for (unsigned e = b[i] & 0xffff; e; e >>= 1) { if (e & 1) result = result * base % 1000003u; base = base * base % 1000003u; }
o[i] = (unsigned)result;"""),
    plain("mandelbrot", [("a", "f32", "unit"), ("b", "f32", "unit")], [("o", "i32")], """
const float x = a[i] * 2, y = b[i] * 1.5f;
float zx = 0, zy = 0;
int k = 0;
for (; k < 60 && zx * zx + zy * zy < 4.0f; ++k) { const float t = zx * zx - zy * zy + x; zy = 2 * zx * zy + y; zx = t; }
o[i] = k;"""),
    plain("crc32", UNSIGNED, OU, """
unsigned crc = ~0u;
for (int byte = 0; byte < 4; ++byte) {
  crc ^= a[i] >> (8 * byte) & 255;
  for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
}
o[i] = ~crc;"""),
    plain("philox", UNSIGNED, [(f"o{n}", "u32") for n in range(4)], """
unsigned c0 = a[i], c1 = (unsigned)i, c2 = 5, c3 = 9, k0 = 0xa511e9b3u, k1 = 77;
for (int round = 0; round < 10; ++round) {
  const unsigned h0 = __umulhi(0xd2511f53u, c0), l0 = 0xd2511f53u * c0, h1 = __umulhi(0xcd9e8d57u, c2), l1 = 0xcd9e8d57u * c2;
  c0 = h1 ^ c1 ^ k0; c1 = l1; c2 = h0 ^ c3 ^ k1; c3 = l0; k0 += 0x9e3779b9u; k1 += 0xbb67ae85u;
}
o0[i] = c0; o1[i] = c1; o2[i] = c2; o3[i] = c3;"""),
    plain("sha_rounds", UNSIGNED, OU, """
unsigned w[16], h = 0x6a09e667u, g = 0xbb67ae85u;
for (int k = 0; k < 16; ++k) w[k] = a[(i + k) & 255];
for (int k = 0; k < 48; ++k) {
  const unsigned x = w[(k + 1) & 15], y = w[(k + 14) & 15];
  w[k & 15] += w[(k + 9) & 15] + ((x >> 7 | x << 25) ^ (x >> 18 | x << 14) ^ x >> 3) + ((y >> 17 | y << 15) ^ (y >> 19 | y << 13) ^ y >> 10);
  const unsigned t = h + w[k & 15] + ((g & h) ^ (~g & 0x3c6ef372u));
  h = g; g = t;
}
o[i] = g;"""),
    plain("xorshift_u64", [("a", "u64", "edges")], [("o", "u64")], """
unsigned long x = a[i] | 1;
for (int k = 0; k < 20; ++k) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; x *= 0x2545f4914f6cdd1dul; }
o[i] = x;"""),
    plain("queens", UNSIGNED, OU, """
// Placements of six queens whose first row is given: recursion turned into a stack of masks.
unsigned columns[8] = {}, left[8] = {}, right[8] = {}, tried[8] = {}, count = 0;
const unsigned first = 1u << (a[i] % 6);
columns[1] = first; left[1] = first << 1; right[1] = first >> 1;
int row = 1;
while (row > 0) {
  const unsigned open = 63u & ~(columns[row] | left[row] | right[row]) & ~tried[row];
  if (!open) { tried[row] = 0; --row; continue; }
  const unsigned bit = open & (0u - open);
  tried[row] |= bit;
  if (row == 5) { ++count; continue; }
  columns[row + 1] = columns[row] | bit; left[row + 1] = (left[row] | bit) << 1; right[row + 1] = (right[row] | bit) >> 1;
  ++row;
}
o[i] = count;"""),
]

CALLS = [
    plain("call_not_inlined", A, O, "o[i] = scaled(a[i], 3) - scaled(a[i] >> 1, -5);", """
__device__ __noinline__ int scaled(int x, int k) { return x * k + (x ^ k); }"""),
    plain("call_with_many_arguments", [*A, ("d", "f64", "small")], [("o", "i32"), ("p", "f64")], """
double wide = 0;
o[i] = gather_all(a[i], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, a[i] ^ 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34,
                  d[i], &wide);
p[i] = wide;""", """
__device__ __noinline__ int gather_all(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l, int m, int n, int o, int p,
    int q, int r, int s, int t, int u, int v, int w, int x, int y, int z, int aa, int bb, int cc, int dd, int ee, int ff, int gg, int hh, double wide,
    double* out) {
  *out = wide * 3 + hh;
  return a + 2 * b - 3 * c + 5 * d - 7 * e + f * g + h * i - j * k + l + m - n + o - p + q * 2 + r - s + t * u - v + w + x * y - z + aa * bb - cc + dd * ee - ff * gg;
}"""),
    plain("recursion", UNSIGNED, OU, "o[i] = ackermann(a[i] & 1, a[i] >> 1 & 3) + fibonacci(a[i] >> 3 & 7);", """
__device__ __noinline__ unsigned ackermann(unsigned m, unsigned n) {
  return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}
__device__ __noinline__ unsigned fibonacci(unsigned n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }"""),
    plain("function_pointers", A, O, """
const operation table[4] = {plus_five, times_three, inverted, halved};
int x = a[i];
for (int k = 0; k < 3; ++k) x = table[(a[i] >> (2 * k)) & 3](x);
o[i] = x;""", """
using operation = int (*)(int);
__device__ __noinline__ int plus_five(int x) { return x + 5; }
__device__ __noinline__ int times_three(int x) { return (int)((unsigned)x * 3u); }
__device__ __noinline__ int inverted(int x) { return ~x; }
__device__ __noinline__ int halved(int x) { return x / 2; }"""),
    plain("call_returning_structure", [("a", "f32", "small"), ("b", "f32", "small")], [("o", "f32"), ("p", "f32")], """
const complex_number z = multiply(multiply({a[i], b[i]}, {b[i], a[i]}), {1.0f, -2.0f});
o[i] = z.re; p[i] = z.im;""", """
struct complex_number { float re, im; };
__device__ __noinline__ complex_number multiply(complex_number x, complex_number y) { return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re}; }"""),
    plain("lambda_and_template", A, O, """
const int k = i & 3;
auto mix = [k](int x) { return x * (k + 1) - k; };
o[i] = apply<3>(mix, a[i] >> 8);""", """
template <int n, class F> __device__ int apply(F f, int x) { if constexpr (n == 0) return x; else return apply<n - 1>(f, f(x)); }"""),
    plain("divergent_calls", A, O, "o[i] = a[i] & 1 ? collect(a[i], 3) : a[i] & 2 ? collect(a[i] >> 4, 9) : 1;", """
__device__ __noinline__ int collect(int x, int n) { int r = 0; while (n-- > 0 && x) { r += x & 7; x = (int)((unsigned)x >> 3); } return r; }"""),
]

PRIVATE = [
    plain("private_array", A, O, """
int s[24];
for (int k = 0; k < 24; ++k) s[k] = a[(i + k * 3) & 255] >> 8;
for (int k = 0; k < 24; ++k) { const int j = (s[k] & 0x7fffffff) % 24, t = s[k]; s[k] = s[j]; s[j] = t; }
int r = 0;
for (int k = 0; k < 24; ++k) r = r * 3 + s[k];
o[i] = r;"""),
    plain("insertion_sort", [("a", "i32", "edges")], O, """
int s[12];
for (int k = 0; k < 12; ++k) s[k] = a[(i * 5 + k) & 255];
for (int k = 1; k < 12; ++k) { const int x = s[k]; int j = k; while (j > 0 && s[j - 1] > x) { s[j] = s[j - 1]; --j; } s[j] = x; }
int r = 0;
for (int k = 0; k < 12; ++k) r = r * 5 + s[k];
o[i] = r;"""),
    plain("private_bytes", UNSIGNED, OU, """
unsigned char s[40]; unsigned short h[20];
for (int k = 0; k < 40; ++k) s[k] = (unsigned char)(a[(i + k) & 255] >> (k & 15));
for (int k = 0; k < 20; ++k) h[(k * 7) % 20] = (unsigned short)(s[k] * s[39 - k]);
unsigned r = 0;
for (int k = 0; k < 20; ++k) r = r * 31 + h[(a[i] + k) % 20] + s[(a[i] >> 8) % 40];
o[i] = r;"""),
    plain("private_doubles", [("a", "f64", "small")], [("o", "f64")], """
double s[9];
for (int k = 0; k < 9; ++k) s[k] = a[(i + k) & 255];
for (int k = 0; k < 9; ++k) s[((int)s[k] + 16 + k) % 9] += 0.5 * k;
o[i] = s[((int)a[i] + 9) % 9] + s[4];"""),
    Kernel("register_spills", (given("a", "f32", 4096, "small"), result("o", "f32", N)), START + """
float v[160];
#pragma unroll
for (int k = 0; k < 160; ++k) v[k] = a[(i + k * 13) & 4095];
#pragma unroll
for (int round = 0; round < 2; ++round)
#pragma unroll
  for (int k = 0; k < 160; ++k) v[k] = v[k] + v[(k * 7 + 1) % 160] * 0.25f;
float r = 0;
#pragma unroll
for (int k = 0; k < 160; ++k) r += v[k];
o[i] = r;""", wave64=False, **LAUNCH),
    plain("pointer_to_private_or_global", A, O, """
int mine[4] = {a[i], 1, 2, 3};
const int* from = a[i] & 1 ? mine : a + (i & 128);
o[i] = from[a[i] >> 1 & 3];"""),
    plain("pointer_to_lds_or_global", A, O, """
static __shared__ int s[64];
s[threadIdx.x] = a[i] * 2;
__syncthreads();
const int* from = a[i] & 4 ? s : a + blockIdx.x * 64;
o[i] = from[63 - threadIdx.x];"""),
]

STRUCTURES = [
    Kernel("array_of_structures", (given("a", "u32", 4 * N), result("o", "u32", 4 * N)), START + """
struct record { unsigned char kind; unsigned short size; unsigned id; unsigned char name[5]; };
static_assert(sizeof(record) == 16);
const record r = ((const record*)a)[i];
record w = r;
w.kind = (unsigned char)(r.kind + r.name[4]); w.size = (unsigned short)(r.size * 3); w.id = r.id ^ r.name[0];
for (int k = 0; k < 5; ++k) w.name[k] = r.name[4 - k];
((record*)o)[i] = w;
((unsigned char*)o)[16 * i + 1] = 7; for (int k = 13; k < 16; ++k) ((unsigned char*)o)[16 * i + k] = (unsigned char)k;""", wave64=True, **LAUNCH),
    Kernel("unaligned_memory", (given("a", "u8", 16 * N + 64), result("o", "u8", 16 * N + 64, "zero")), START + """
struct __attribute__((packed)) odd { unsigned char one; unsigned four; unsigned long eight; unsigned short two; };
static_assert(sizeof(odd) == 15);
const odd r = *(const odd*)(a + 15 * i + 3);
odd w{(unsigned char)(r.one + 1), r.four * 3, r.eight ^ 0x123456789abcdeful, (unsigned short)(r.two >> 3)};
*(odd*)(o + 15 * i + 5) = w;""", wave64=True, **LAUNCH),
    plain("bit_fields", UNSIGNED, [("o", "u32"), ("p", "i32")], """
struct packed_word { unsigned low : 5; int middle : 9; unsigned wide : 17; unsigned top : 1; };
union { unsigned word; packed_word f; } u{a[i]};
p[i] = u.f.middle + (int)u.f.low;
u.f.low += 3; u.f.middle -= 200; u.f.wide = u.f.wide * 5 + u.f.top; u.f.top ^= 1;
o[i] = u.word;"""),
    plain("union_of_types", [("a", "f64", "edges")], [("o", "u64")], """
union { double d; unsigned long u; unsigned short h[4]; } x;
x.d = a[i]; x.h[1] ^= 0x55; x.u += 3; o[i] = x.u ^ x.h[2];"""),
    Kernel("vector_loads", (given("a", "f32", 4 * N, "small"), result("o", "f32", 4 * N), result("p", "f32", 2 * N)), START + """
const float4 v = ((const float4*)a)[i];
((float4*)o)[i] = {v.w, v.z + 1, v.y * 2, v.x - v.w};
((float2*)p)[i] = make_float2(v.x + v.y, v.z - v.w);""", wave64=True, **LAUNCH),
    Kernel("three_component_vectors", (given("a", "f32", 3 * N, "small"), result("o", "f32", 3 * N)), START + """
const float3 v = ((const float3*)a)[i], w = ((const float3*)a)[255 - i];
((float3*)o)[i] = {v.y * w.z - v.z * w.y, v.z * w.x - v.x * w.z, v.x * w.y - v.y * w.x};""", **LAUNCH),
    Kernel("gather_scatter", (given("a", "i32", N), given("b", "i32", N, "permutation"), result("o", "i32", N), result("p", "i32", N)), START + """
o[b[i]] = a[i]; p[i] = a[b[255 - i]];""", wave64=True, **LAUNCH),
    Kernel("volatile_memory", (given("a", "i32", N), result("o", "i32", N)), START + """
volatile int* v = o + i;
*v = a[i]; *v = *v + 1; const int x = *v; *v = x * 2; o[i] = *v - x;""", **LAUNCH),
    Kernel("streaming_memory", (given("a", "u64", N), result("o", "u64", N)), START +
           "usbgpu::store_streaming(o + i, usbgpu::load_streaming(a + i) * 3);", **LAUNCH),
    Kernel("constant_table", (given("a", "u32", N), result("o", "u32", N), result("p", "f64", N)), START +
           "o[i] = table_of_primes[a[i] % 12] + table_of_bytes[a[i] >> 8 & 7]; p[i] = table_of_doubles[a[i] >> 16 & 3];", before="""
__constant__ unsigned table_of_primes[12] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
static const __device__ unsigned char table_of_bytes[8] = {9, 8, 7, 6, 5, 200, 100, 50};
static const __device__ double table_of_doubles[4] = {0.1, 1e300, -0.0, 3.25};""", wave64=True, **LAUNCH),
    Kernel("scalar_arguments", (value("k", "i8", -7), value("h", "u16", 65000), value("x", "f32", 1.5), value("d", "f64", -2.25), value("w", "u64", 1 << 40),
                                value("e", "f16", 0.5), result("o", "f64", N), result("p", "u64", N)), START +
           "o[i] = k * 1.0 + h + x + d * i + (double)(float)e; p[i] = w + (unsigned long)(k + i);", wave64=True, **LAUNCH),
    Kernel("grid_stride", (given("a", "i32", 1500), result("o", "i32", 1500), value("n", "i32", 1500)), """
for (int i = GLOBAL_INDEX; i < n; i += (int)(gridDim.x * blockDim.x)) o[i] = a[n - 1 - i] * 2 + i;""", groups=(3, 1, 1), threads=(96, 1, 1), wave64=True),
    Kernel("strided_copy_64_bit_index", (given("a", "u8", 8192), result("o", "u8", 8192, "zero")), """
const long i = (long)blockIdx.x * blockDim.x + threadIdx.x;
for (long k = i; k < 8192; k += 256 * 3 + 1) o[8191 - k] = a[k];
if (i < 13) o[i * 600] = (unsigned char)i;""", groups=(1, 1, 1), threads=(1, 1, 1)),
]


def copy(kind: str) -> Kernel:
    """Loads and stores of one width, with offsets of both signs, and a neighbour's element."""
    t = c_type(kind)
    return Kernel(f"copy_{kind}", (given("a", kind, N + 8), result("o", kind, N + 8, "zero")), START + f"""
const {t}* from = a + 4 + i; {t}* to = o + 4 + i;
to[0] = from[-4]; if (i % {bits_of(kind)} == 5) to[1 - 2 * (i & 1)] = from[3];""", groups=(1, 1, 1), threads=(32, 1, 1))


KERNELS = [*FLOW, *CALLS, *PRIVATE, *STRUCTURES, *(copy(kind) for kind in TYPES)]
