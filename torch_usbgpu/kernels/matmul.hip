// Matrix products.
//
//   gemm_f32   register-tiled fp32: 256 threads, each RM x RN outputs, double-buffered LDS
//   gemm_wmma  f16 and bf16 through the matrix units, fp32 accumulation
//   gemm_sum   adds up what the two above made of pieces of k, where there are few tiles
//   gemm_plain one output per thread: f64, integers, and strides too large for 32-bit offsets
//   gemv_*     matrix times vector, and dot products
//
// Tails in m and n are computed on clamped (valid) rows and not stored; tails in k are loaded as 0.
#include "family.h"
#include "matmul_args.h"
#include "matrix_unit.h"

namespace usbgpu_family {

template <typename Acc>
USBGPU_INLINE Acc pick_scale(double real, int64_t integer) {
  if constexpr (traits<Acc>::floating) return (Acc)real;
  else return (Acc)integer;
}

template <typename T, typename Acc>
USBGPU_INLINE void store_product(const GemmArgs& args, Acc value, uint32_t row, uint32_t column, uint32_t batch) {
  Acc result = value * pick_scale<Acc>(args.alpha, args.alpha_int);
  if (args.c) {
    T addend = at<T>(args.c)[batch * args.c_batch + row * args.c_m + column * args.c_n];
    result += pick_scale<Acc>(args.beta, args.beta_int) * convert<Acc>(addend);
  }
  at<T>(args.d)[batch * args.d_batch + row * args.d_m + column * args.d_n] = convert<T>(result);
}

// The part of a product that a workgroup computes: one matrix of a batch, and all of k or a piece of it.
struct GemmPart {
  uint32_t batch, split, first_k, k;
  USBGPU_INLINE explicit GemmPart(const GemmArgs& args) : batch(blockIdx.z), split(0), first_k(0), k(args.k) {
    if (args.splits == 1) return;
    split = batch / args.batches, batch -= split * args.batches;
    first_k = split * args.split_k;
    const uint32_t left = args.k - first_k;
    k = left < args.split_k ? left : args.split_k;
  }
};

template <typename T>
USBGPU_INLINE void store_part(const GemmArgs& args, const GemmPart& part, float value, uint32_t row, uint32_t column) {
  if (args.splits == 1) return store_product<T>(args, value, row, column, part.batch);
  at<float>(args.partial)[(((uint64_t)part.split * args.batches + part.batch) * args.m + row) * args.n + column] = value;
}

typedef float float4_lds __attribute__((ext_vector_type(4)));
typedef float float2_lds __attribute__((ext_vector_type(2)));

// One operand's share of a thread: `Count` elements of a Rows x TK tile, brought from global memory
// to registers and from there to LDS, stored k-major (lds[k][row]).
// RowFast: neighbouring threads take neighbouring rows (the operand's row stride is 1).
template <uint32_t Rows, uint32_t TK, uint32_t Threads, bool RowFast>
struct TileLoader {
  static constexpr uint32_t Count = Rows * TK / Threads;
  static constexpr uint32_t Pitch = Rows + 4;  // keeps 16-byte alignment, spreads the banks
  uint32_t offset[Count];  // bytes from the tile's first element
  float value[Count];

  static USBGPU_INLINE uint32_t row_of(uint32_t i) {
    uint32_t t = threadIdx.x + i * Threads;
    return RowFast ? t % Rows : t / TK;
  }
  static USBGPU_INLINE uint32_t k_of(uint32_t i) {
    uint32_t t = threadIdx.x + i * Threads;
    return RowFast ? t / Rows : t % TK;
  }
  USBGPU_INLINE TileLoader(uint32_t rows_left, uint32_t row_stride, uint32_t k_stride) {
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) {
      uint32_t row = row_of(i), last = rows_left - 1;
      offset[i] = ((row < last ? row : last) * row_stride + k_of(i) * k_stride) * 4u;
    }
  }
  USBGPU_INLINE void load(uint64_t tile) {
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) value[i] = *at<float>(tile, offset[i]);
  }
  USBGPU_INLINE void load_tail(uint64_t tile, uint32_t k_left) {
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) {
      value[i] = 0.0f;
      if (k_of(i) < k_left) value[i] = *at<float>(tile, offset[i]);
    }
  }
  USBGPU_INLINE void store(float* lds) const {
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) lds[k_of(i) * Pitch + row_of(i)] = value[i];
  }
};

// A thread's R rows: R/4 groups of 4 (or one group of R < 4), groups Rows/(R/4) apart, so that the
// lanes of a wave read neighbouring 16-byte pieces.
template <uint32_t R, uint32_t Rows>
struct Fragment {
  static constexpr uint32_t Width = R < 4 ? R : 4;
  static constexpr uint32_t Groups = R / Width;
  static constexpr uint32_t Step = Rows / Groups;
  float value[R];
  static USBGPU_INLINE uint32_t row(uint32_t position, uint32_t i) {
    return (i / Width) * Step + position * Width + i % Width;
  }
  USBGPU_INLINE void load(const float* lds, uint32_t position) {
#pragma unroll
    for (uint32_t g = 0; g < Groups; ++g) {
      const float* from = lds + g * Step + position * Width;
      if constexpr (Width == 4) {
        float4_lds v = *(const float4_lds*)from;
        value[g * 4] = v.x, value[g * 4 + 1] = v.y, value[g * 4 + 2] = v.z, value[g * 4 + 3] = v.w;
      } else {
        float2_lds v = *(const float2_lds*)from;
        value[0] = v.x, value[1] = v.y;
      }
    }
  }
};

template <uint32_t TM, uint32_t TN, uint32_t TK, uint32_t RM, uint32_t RN, bool ARowFast, bool BRowFast>
USBGPU_INLINE void gemm_f32(const GemmArgs& args) {
  constexpr uint32_t Threads = 256, Across = TN / RN;
  static_assert((TM / RM) * Across == Threads);
  using LoadA = TileLoader<TM, TK, Threads, ARowFast>;
  using LoadB = TileLoader<TN, TK, Threads, BRowFast>;
  __shared__ __attribute__((aligned(16))) float lds_a[2][TK * LoadA::Pitch];
  __shared__ __attribute__((aligned(16))) float lds_b[2][TK * LoadB::Pitch];

  const uint32_t tile_m = blockIdx.y * TM, tile_n = blockIdx.x * TN;
  const GemmPart part(args);
  uint64_t a = args.a + 4 * (part.batch * args.a_batch + tile_m * args.a_m + part.first_k * args.a_k);
  uint64_t b = args.b + 4 * (part.batch * args.b_batch + tile_n * args.b_n + part.first_k * args.b_k);
  LoadA load_a(args.m - tile_m, (uint32_t)args.a_m, (uint32_t)args.a_k);
  LoadB load_b(args.n - tile_n, (uint32_t)args.b_n, (uint32_t)args.b_k);
  const uint32_t x = threadIdx.x % Across, y = threadIdx.x / Across;

  float sum[RM][RN] = {};
  uint32_t left = part.k;  // from the tile that is loaded next
  auto load = [&] {
    if (left >= TK) load_a.load(a), load_b.load(b);
    else load_a.load_tail(a, left), load_b.load_tail(b, left);
    left = left > TK ? left - TK : 0;
    a += 4 * TK * args.a_k, b += 4 * TK * args.b_k;
  };
  load();
  load_a.store(lds_a[0]), load_b.store(lds_b[0]);
  local_barrier();
  uint32_t current = 0;
#pragma clang loop unroll(disable)
  for (uint32_t k0 = 0; k0 < part.k; k0 += TK) {
    const bool more = left != 0;
    if (more) load();
    const float *from_a = lds_a[current], *from_b = lds_b[current];
    // Full unrolling spills: the compiler hoists every LDS read.
#pragma unroll 2
    for (uint32_t k = 0; k < TK; ++k) {
      Fragment<RM, TM> fa;
      Fragment<RN, TN> fb;
      fa.load(from_a + k * LoadA::Pitch, y);
      fb.load(from_b + k * LoadB::Pitch, x);
#pragma unroll
      for (uint32_t i = 0; i < RM; ++i)
#pragma unroll
        for (uint32_t j = 0; j < RN; ++j) sum[i][j] = __builtin_fmaf(fa.value[i], fb.value[j], sum[i][j]);
    }
    current ^= 1;
    if (more) {
      load_a.store(lds_a[current]), load_b.store(lds_b[current]);
      local_barrier();
    }
  }
#pragma unroll
  for (uint32_t i = 0; i < RM; ++i) {
    uint32_t row = tile_m + Fragment<RM, TM>::row(y, i);
    if (row >= args.m) continue;
#pragma unroll
    for (uint32_t j = 0; j < RN; ++j) {
      uint32_t column = tile_n + Fragment<RN, TN>::row(x, j);
      if (column < args.n) store_part<float>(args, part, sum[i][j], row, column);
    }
  }
}

// ---- matrix units. Waves of WM x WN outputs in 16 x 16 pieces.
template <typename T, uint32_t TM, uint32_t TN, uint32_t WM, uint32_t WN, bool ARowFast, bool BRowFast>
USBGPU_INLINE void gemm_wmma(const GemmArgs& args) {
  constexpr uint32_t TK = 32, Pitch = TK + 8;  // 16-byte aligned rows, spread over the banks
  constexpr uint32_t Across = TN / WN, Threads = (TM / WM) * Across * 32;
  constexpr uint32_t CountA = TM * TK / Threads, CountB = TN * TK / Threads;
  __shared__ __attribute__((aligned(16))) uint16_t lds_a[TM * Pitch];
  __shared__ __attribute__((aligned(16))) uint16_t lds_b[TN * Pitch];
  const uint32_t tile_m = blockIdx.y * TM, tile_n = blockIdx.x * TN;
  const GemmPart part(args);
  uint64_t a = args.a + 2 * (part.batch * args.a_batch + tile_m * args.a_m + part.first_k * args.a_k);
  uint64_t b = args.b + 2 * (part.batch * args.b_batch + tile_n * args.b_n + part.first_k * args.b_k);

  uint32_t offset_a[CountA], offset_b[CountB];
  uint16_t value_a[CountA], value_b[CountB];
  auto row_of = [](uint32_t i, uint32_t rows, bool fast) {
    uint32_t t = threadIdx.x + i * Threads;
    return fast ? t % rows : t / TK;
  };
  auto k_of = [](uint32_t i, uint32_t rows, bool fast) {
    uint32_t t = threadIdx.x + i * Threads;
    return fast ? t / rows : t % TK;
  };
#pragma unroll
  for (uint32_t i = 0; i < CountA; ++i) {
    uint32_t row = row_of(i, TM, ARowFast), last = args.m - tile_m - 1;
    offset_a[i] = 2u * ((row < last ? row : last) * (uint32_t)args.a_m + k_of(i, TM, ARowFast) * (uint32_t)args.a_k);
  }
#pragma unroll
  for (uint32_t i = 0; i < CountB; ++i) {
    uint32_t row = row_of(i, TN, BRowFast), last = args.n - tile_n - 1;
    offset_b[i] = 2u * ((row < last ? row : last) * (uint32_t)args.b_n + k_of(i, TN, BRowFast) * (uint32_t)args.b_k);
  }
  uint32_t left = part.k;
  auto load = [&] {
    if (left >= TK) {
#pragma unroll
      for (uint32_t i = 0; i < CountA; ++i) value_a[i] = *at<uint16_t>(a, offset_a[i]);
#pragma unroll
      for (uint32_t i = 0; i < CountB; ++i) value_b[i] = *at<uint16_t>(b, offset_b[i]);
    } else {
#pragma unroll
      for (uint32_t i = 0; i < CountA; ++i) {
        value_a[i] = 0;
        if (k_of(i, TM, ARowFast) < left) value_a[i] = *at<uint16_t>(a, offset_a[i]);
      }
#pragma unroll
      for (uint32_t i = 0; i < CountB; ++i) {
        value_b[i] = 0;
        if (k_of(i, TN, BRowFast) < left) value_b[i] = *at<uint16_t>(b, offset_b[i]);
      }
    }
    left = left > TK ? left - TK : 0;
    a += 2 * TK * args.a_k, b += 2 * TK * args.b_k;
  };

  const uint32_t wave = wave_id(), lane = lane_id();
  const uint32_t wave_m = wave / Across * WM, wave_n = wave % Across * WN;
  float8 sum[WM / 16][WN / 16] = {};
  load();
#pragma clang loop unroll(disable)
  for (uint32_t k0 = 0; k0 < part.k; k0 += TK) {
    local_barrier();
#pragma unroll
    for (uint32_t i = 0; i < CountA; ++i) lds_a[row_of(i, TM, ARowFast) * Pitch + k_of(i, TM, ARowFast)] = value_a[i];
#pragma unroll
    for (uint32_t i = 0; i < CountB; ++i) lds_b[row_of(i, TN, BRowFast) * Pitch + k_of(i, TN, BRowFast)] = value_b[i];
    local_barrier();
    if (left) load();
#pragma unroll
    for (uint32_t k = 0; k < TK; k += 16) {
      Operand fb[WN / 16];
#pragma unroll
      for (uint32_t j = 0; j < WN / 16; ++j) fb[j] = load_operand(lds_b + (wave_n + j * 16 + (lane & 15)) * Pitch + k);
#pragma unroll
      for (uint32_t i = 0; i < WM / 16; ++i) {
        Operand fa = load_operand(lds_a + (wave_m + i * 16 + (lane & 15)) * Pitch + k);
#pragma unroll
        for (uint32_t j = 0; j < WN / 16; ++j) sum[i][j] = matrix_multiply<T>(fa, fb[j], sum[i][j]);
      }
    }
  }
#pragma unroll
  for (uint32_t i = 0; i < WM / 16; ++i)
#pragma unroll
    for (uint32_t j = 0; j < WN / 16; ++j)
#pragma unroll
      for (uint32_t r = 0; r < 8; ++r) {
        uint32_t row = tile_m + wave_m + i * 16 + result_row(r, lane), column = tile_n + wave_n + j * 16 + (lane & 15);
        if (row < args.m && column < args.n) store_part<T>(args, part, sum[i][j][r], row, column);
      }
}

// The pieces of k, always added in the same order.
template <typename T>
USBGPU_INLINE void gemm_sum(const GemmArgs& args) {
  const uint64_t matrix = (uint64_t)args.m * args.n, all = matrix * args.batches;
  const uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= all) return;
  float sum = 0;
#pragma clang loop unroll_count(4)
  for (uint32_t split = 0; split < args.splits; ++split) sum += at<float>(args.partial)[split * all + i];
  const uint32_t batch = (uint32_t)(i / matrix), in_matrix = (uint32_t)(i - batch * matrix), row = in_matrix / args.n;
  store_product<T>(args, sum, row, in_matrix - row * args.n, batch);
}

// ---- one output per thread, 16 x 16 tiles, any strides
template <typename T>
USBGPU_INLINE void gemm_plain(const GemmArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ T lds_a[16][17], lds_b[16][17];
  const uint32_t x = threadIdx.x & 15, y = threadIdx.x >> 4;
  const uint32_t row = blockIdx.y * 16 + y, column = blockIdx.x * 16 + x, batch = blockIdx.z;
  const int64_t from_a = batch * args.a_batch + (int64_t)row * args.a_m;
  const int64_t from_b = batch * args.b_batch + (int64_t)column * args.b_n;
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t k0 = 0; k0 < args.k; k0 += 16) {
    T va = T(0), vb = T(0);
    if (row < args.m && k0 + x < args.k) va = at<T>(args.a)[from_a + (int64_t)(k0 + x) * args.a_k];
    if (column < args.n && k0 + y < args.k) vb = at<T>(args.b)[from_b + (int64_t)(k0 + y) * args.b_k];
    local_barrier();
    lds_a[y][x] = va, lds_b[y][x] = vb;
    local_barrier();
#pragma unroll
    for (uint32_t k = 0; k < 16; ++k) {
      Acc left = convert<Acc>(lds_a[y][k]), right = convert<Acc>(lds_b[k][x]);
      if constexpr (same_type<Acc, double>::value) sum = __builtin_fma(left, right, sum);
      else sum += left * right;
    }
  }
  if (row < args.m && column < args.n) store_product<T>(args, sum, row, column, batch);
}

template <typename T, typename Acc>
USBGPU_INLINE void store_vector(const GemvArgs& args, Acc sum, uint32_t row) {
  Acc result = sum * pick_scale<Acc>(args.alpha, args.alpha_int);
  if (args.c) result += pick_scale<Acc>(args.beta, args.beta_int) * convert<Acc>(at<T>(args.c)[row * args.c_m]);
  at<T>(args.d)[row * args.d_m] = convert<T>(result);
}

// A wave per row, for rows that are contiguous in k.
template <typename T>
USBGPU_INLINE void gemv_wave(const GemvArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t row = blockIdx.x * 8 + wave_id();
  if (row >= args.m) return;
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t k = lane_id(); k < args.k; k += 32)
    sum += convert<Acc>(at<T>(args.a)[row * args.a_m + k * args.a_k]) * convert<Acc>(at<T>(args.x)[k * args.x_k]);
  sum = wave_reduce(sum, Sum{});
  if (lane_id() == 0) store_vector<T>(args, sum, row);
}

// A thread per row, for matrices that are contiguous in m.
template <typename T>
USBGPU_INLINE void gemv_thread(const GemvArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t row = blockIdx.x * 256 + threadIdx.x;
  if (row >= args.m) return;
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t k = 0; k < args.k; ++k)
    sum += convert<Acc>(at<T>(args.a)[row * args.a_m + k * args.a_k]) * convert<Acc>(at<T>(args.x)[k * args.x_k]);
  store_vector<T>(args, sum, row);
}

// A workgroup per row: one or few long rows (dot); or several, and gemv_sum adds up what they made.
template <typename T>
USBGPU_INLINE void gemv_group(const GemvArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t row = blockIdx.x, first = blockIdx.y * args.split_k;
  const uint32_t end = args.k - first < args.split_k ? args.k : first + args.split_k;
  Acc sum = 0;
#pragma clang loop unroll_count(4)
  for (uint32_t k = first + threadIdx.x; k < end; k += 256)
    sum += convert<Acc>(at<T>(args.a)[row * args.a_m + k * args.a_k]) * convert<Acc>(at<T>(args.x)[k * args.x_k]);
  sum = block_reduce<256>(sum, Sum{}, scratch);
  if (threadIdx.x) return;
  if (args.splits == 1) store_vector<T>(args, sum, row);
  else at<Acc>(args.partial)[blockIdx.y * args.m + row] = sum;
}

template <typename T>
USBGPU_INLINE void gemv_sum(const GemvArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t row = blockIdx.x * 8 + wave_id();
  if (row >= args.m) return;
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t split = lane_id(); split < args.splits; split += 32) sum += at<Acc>(args.partial)[split * args.m + row];
  sum = wave_reduce(sum, Sum{});
  if (lane_id() == 0) store_vector<T>(args, sum, row);
}

}  // namespace usbgpu_family

#define USBGPU_GEMM_F32(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::GemmArgs args) { usbgpu_family::gemm_f32<__VA_ARGS__>(args); }
#define USBGPU_GEMM_WMMA(symbol, threads, ...) \
  USBGPU_FAMILY_KERNEL(threads) void symbol(usbgpu_family::GemmArgs args) { usbgpu_family::gemm_wmma<__VA_ARGS__>(args); }
#define USBGPU_GEMM_SUM(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::GemmArgs args) { usbgpu_family::gemm_sum<T>(args); }
#define USBGPU_GEMM_PLAIN(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::GemmArgs args) { usbgpu_family::gemm_plain<T>(args); }
#define USBGPU_GEMV(symbol, form, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::GemvArgs args) { usbgpu_family::form<T>(args); }
