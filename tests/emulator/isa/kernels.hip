// Kernels that between them use most instruction formats. Decoding is compared with the compiler's
// own listing, execution with NumPy (test_kernels.py).
KERNEL void add(float* o, const float* a, const float* b, long n) {
  long i = (long)BLOCK * 256 + TID;
  if (i < n) o[i] = a[i] + b[i];
}

typedef float f4 __attribute__((ext_vector_type(4)));
KERNEL __attribute__((amdgpu_flat_work_group_size(256, 256))) void gemm(float* C, const float* A, const float* B, int N) {
  __shared__ __attribute__((aligned(16))) float As[16][64];
  __shared__ __attribute__((aligned(16))) float Bs[16][64];
  int t = TID, tx = t & 15, ty = t >> 4, bx = BLOCK, by = __builtin_amdgcn_workgroup_id_y();
  float acc[4][4] = {};
  for (int k = 0; k < N; k += 16) {
    f4 av = *(const f4*)&A[(by * 64 + (t >> 2)) * (long)N + k + (t & 3) * 4];
    for (int j = 0; j < 4; j++) As[(t & 3) * 4 + j][t >> 2] = av[j];
    *(f4*)&Bs[t >> 4][(t & 15) * 4] = *(const f4*)&B[(k + (t >> 4)) * (long)N + bx * 64 + (t & 15) * 4];
    SYNC();
#pragma unroll
    for (int kk = 0; kk < 16; kk++) {
      f4 a = *(f4*)&As[kk][ty * 4], b = *(f4*)&Bs[kk][tx * 4];
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) acc[i][j] = __builtin_fmaf(a[i], b[j], acc[i][j]);
    }
    SYNC();
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) C[(by * 64 + ty * 4 + i) * (long)N + bx * 64 + tx * 4 + j] = acc[i][j];
}

KERNEL void atomics(u32* o, u64* d) {
  __shared__ u32 s[64];
  s[TID & 63] = 0;
  SYNC();
  __hip_atomic_fetch_add(&s[TID & 7], TID, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
  SYNC();
  __hip_atomic_fetch_add(&o[TID & 7], s[TID & 7], __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  __hip_atomic_fetch_max(&d[0], (u64)TID << 33, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  u64 e = d[1];
  while (!__hip_atomic_compare_exchange_strong(&d[1], &e, e + TID, __ATOMIC_RELAXED, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT));
}

KERNEL void mixed(_Float16* o, const _Float16* a, float* x, double* y, char* c) {
  int i = TID;
  o[i] = a[i] * a[i + 64] + (_Float16)x[i];
  y[i] = y[i] / 3.0 + x[i];
  c[i] = c[i] + 3;
  x[i] = x[i] / (float)(i + 1);
}

__device__ __attribute__((noinline)) float pick(float x, int n) {
  float b[8];
  for (int i = 0; i < 8; i++) b[i] = x * i;
  return b[n & 7];
}
KERNEL void calls(float* o, int n) {
  float b[32];
  for (int i = 0; i < 32; i++) b[i] = o[i];
  for (int i = 0; i < n; i++) b[(int)o[i] & 31] += i;
  o[TID] = b[n & 31] + pick(o[TID], n);
}

KERNEL void divide64(long* q, long* r, const long* a, const long* b) {
  int i = TID;
  q[i] = a[i] / b[i];
  r[i] = a[i] % b[i];
}

KERNEL void scan(int* out, const int* in) {  // inclusive scan of one workgroup: barriers under divergent control
  extern __shared__ int line[];
  int t = TID;
  line[t] = in[t];
  SYNC();
  for (int d = 1; d < 256; d *= 2) {
    int v = t >= d ? line[t - d] : 0;
    SYNC();
    line[t] += v;
    SYNC();
  }
  out[t] = line[t];
}

KERNEL void generic(float* global, int pick_lds) {  // FLAT through the shared and the private aperture
  __shared__ float shared[256];
  volatile float mine[4];
  mine[TID & 3] = TID + 0.5f;
  shared[TID] = TID + 0.25f;
  SYNC();
  volatile float* p = (int)TID % 3 == 0 ? (volatile float*)&shared[TID] : (int)TID % 3 == 1 ? (volatile float*)&mine[TID & 3] : (volatile float*)&global[TID];
  *p = *p + pick_lds;
  SYNC();
  global[TID + 256] = *p;
}

KERNEL void shuffle(float* o, const float* a) {
  float v = a[TID];
  for (int d = 16; d; d >>= 1) v += __builtin_bit_cast(float, __builtin_amdgcn_ds_bpermute(((TID ^ d) & 31) * 4, __builtin_bit_cast(int, v)));
  o[TID] = v;
}
