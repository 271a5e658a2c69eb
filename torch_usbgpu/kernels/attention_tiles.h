// Tiles of attention.hip: products of rows with rows (scores), of a tile of weights with rows, and the sums of the
// latter, on the vector units or, for f16 and bf16, on the matrix units.
//
// A workgroup has 256 threads, which are 16 x 16 for scores and eight waves for the matrix units. Of those, wave w
// works on the 16 x 16 piece (w / 2, w % 2) of scores, M rows high and 32 columns wide: there are M / 8 of them.
#pragma once
#include "attention_args.h"
#include "family.h"
#include "matrix_unit.h"

namespace usbgpu_family {

constexpr uint32_t kDepth = 32;                  // of a product's inner dimension in LDS at a time
constexpr uint32_t kDepthPitch = kDepth + 4;     // keeps 16-byte alignment, spreads the banks

USBGPU_INLINE uint64_t base_of(const Heads& of, uint32_t itemsize, uint32_t batch, uint32_t head, uint32_t row) {
  return of.address + itemsize * (uint64_t)(batch * of.batch + head * of.head + row * of.row);
}

template <typename Acc> using Four4 = Acc __attribute__((ext_vector_type(4)));

// Rows x kDepth of a matrix into LDS; beyond its edges 0. rows: how many there are from the tile's first.
template <typename T, uint32_t Rows, typename Acc>
USBGPU_INLINE void load_slab(Acc* lds, const Heads& of, uint64_t tile, uint32_t rows, uint32_t depth, uint32_t from) {
#pragma unroll
  for (uint32_t i = 0; i < Rows * kDepth / 256; ++i) {
    const uint32_t t = threadIdx.x + i * 256, row = t / kDepth, k = t % kDepth;
    Acc value = 0;
    if (row < rows && from + k < depth)
      value = convert<Acc>(*at<T>(tile, (uint32_t)sizeof(T) * (row * (uint32_t)of.row + (from + k) * (uint32_t)of.column)));
    lds[row * kDepthPitch + k] = value;
  }
}

// Sum[i][j] += A[row] . B[column] over `depth`: products of rows with rows. Lds: a tile of each.
template <typename T, uint32_t M, uint32_t N, typename Acc>
USBGPU_INLINE void rows_times_rows_plain(Acc (&sum)[M / 16][N / 16], Acc* lds_a, Acc* lds_b, const Heads& a, uint64_t tile_a,
                                         uint32_t rows_a, const Heads& b, uint64_t tile_b, uint32_t rows_b, uint32_t depth) {
  const uint32_t x = threadIdx.x & 15, y = threadIdx.x >> 4;
#pragma clang loop unroll(disable)
  for (uint32_t from = 0; from < depth; from += kDepth) {
    local_barrier();
    load_slab<T, M>(lds_a, a, tile_a, rows_a, depth, from);
    load_slab<T, N>(lds_b, b, tile_b, rows_b, depth, from);
    local_barrier();
#pragma clang loop unroll_count(2)
    for (uint32_t k = 0; k < kDepth; k += 4) {
      Four4<Acc> fb[N / 16];
#pragma unroll
      for (uint32_t j = 0; j < N / 16; ++j) fb[j] = *(const Four4<Acc>*)(lds_b + (x + j * 16) * kDepthPitch + k);
#pragma unroll
      for (uint32_t i = 0; i < M / 16; ++i) {
        const Four4<Acc> fa = *(const Four4<Acc>*)(lds_a + (y + i * 16) * kDepthPitch + k);
#pragma unroll
        for (uint32_t j = 0; j < N / 16; ++j)
#pragma unroll
          for (uint32_t e = 0; e < 4; ++e) sum[i][j] = __builtin_elementwise_fma(fa[e], fb[j][e], sum[i][j]);
      }
    }
  }
}

// Sum[i][j] += P[row, n] * X[n, column] for the tile's n. P is in LDS (pitch N + 1); X comes there by slabs.
template <typename T, uint32_t M, uint32_t N, uint32_t D, typename Acc>
USBGPU_INLINE void tile_times_rows_plain(Acc (&sum)[M / 16][D / 16], const Acc* lds_p, Acc* lds_x, const Heads& of, uint64_t tile,
                                         uint32_t rows, uint32_t width) {
  const uint32_t x = threadIdx.x & 15, y = threadIdx.x >> 4;
#pragma unroll
  for (uint32_t slab = 0; slab < D; slab += kDepth) {
    if (slab >= width) break;
    local_barrier();
    load_slab<T, N>(lds_x, of, tile, rows, width, slab);
    local_barrier();
#pragma clang loop unroll_count(4)
    for (uint32_t n = 0; n < N; ++n) {
      Acc p[M / 16];
#pragma unroll
      for (uint32_t i = 0; i < M / 16; ++i) p[i] = lds_p[(y + i * 16) * (N + 1) + n];
#pragma unroll
      for (uint32_t j = 0; j < kDepth / 16; ++j) {
        const Acc value = lds_x[n * kDepthPitch + x + j * 16];
#pragma unroll
        for (uint32_t i = 0; i < M / 16; ++i)
          sum[i][slab / 16 + j] = __builtin_elementwise_fma(p[i], value, sum[i][slab / 16 + j]);
      }
    }
  }
}

// ---- matrix units

template <typename T> constexpr bool on_matrix_unit = same_type<T, _Float16>::value || same_type<T, __bf16>::value;
constexpr uint32_t kHalfPitch = kDepth + 8;      // of 32 elements of 16 bits: aligned to 16 bytes, spread over the banks

// Rows x 32 elements into LDS, as they are; beyond the edges 0. Transposed: element k of a row goes to row k of LDS.
template <uint32_t Rows, bool Transposed>
USBGPU_INLINE void load_half_slab(uint16_t* lds, const Heads& of, uint64_t tile, uint32_t rows, uint32_t depth, uint32_t from) {
#pragma unroll
  for (uint32_t i = 0; i < Rows * kDepth / 256; ++i) {
    const uint32_t t = threadIdx.x + i * 256, row = t / kDepth, k = t % kDepth;
    uint16_t value = 0;
    if (row < rows && from + k < depth)
      value = *at<uint16_t>(tile, 2u * (row * (uint32_t)of.row + (from + k) * (uint32_t)of.column));
    lds[Transposed ? k * kHalfPitch + row : row * kHalfPitch + k] = value;
  }
}

// Where lane l's operand lies: row l & 15 of 16 rows of LDS.
USBGPU_INLINE const uint16_t* operand_row(const uint16_t* lds, uint32_t piece) {
  return lds + (piece * 16 + (lane_id() & 15)) * kHalfPitch;
}

template <typename T, uint32_t M>
USBGPU_INLINE void rows_times_rows_matrix(float (&sum)[M / 16][2], uint16_t* lds_a, uint16_t* lds_b, float* lds_p, const Heads& a,
                                          uint64_t tile_a, uint32_t rows_a, const Heads& b, uint64_t tile_b, uint32_t rows_b,
                                          uint32_t depth) {
  const uint32_t wave = wave_id();
  float8 piece = {};
#pragma clang loop unroll(disable)
  for (uint32_t from = 0; from < depth; from += kDepth) {
    local_barrier();
    load_half_slab<M, false>(lds_a, a, tile_a, rows_a, depth, from);
    load_half_slab<32, false>(lds_b, b, tile_b, rows_b, depth, from);
    local_barrier();
    if (wave < M / 8) {
#pragma unroll
      for (uint32_t k = 0; k < kDepth; k += 16)
        piece = matrix_multiply<T>(load_operand(operand_row(lds_a, wave / 2) + k), load_operand(operand_row(lds_b, wave % 2) + k), piece);
    }
  }
  // Over LDS to the threads that hold a row together.
  if (wave < M / 8) {
#pragma unroll
    for (uint32_t r = 0; r < 8; ++r)
      lds_p[(wave / 2 * 16 + result_row(r, lane_id())) * 33 + wave % 2 * 16 + (lane_id() & 15)] = piece[r];
  }
  local_barrier();
#pragma unroll
  for (uint32_t i = 0; i < M / 16; ++i)
#pragma unroll
    for (uint32_t j = 0; j < 2; ++j) sum[i][j] += lds_p[((threadIdx.x >> 4) + i * 16) * 33 + (threadIdx.x & 15) + j * 16];
  local_barrier();
}

// ---- what the kernels use

// Sum[i][j] = A[row] . B[column] over `depth`.
template <typename T, uint32_t M, uint32_t N, typename Acc>
USBGPU_INLINE void rows_times_rows(Acc (&sum)[M / 16][N / 16], Acc* lds_a, Acc* lds_b, Acc* lds_p, const Heads& a, uint64_t tile_a,
                                   uint32_t rows_a, const Heads& b, uint64_t tile_b, uint32_t rows_b, uint32_t depth) {
  if constexpr (on_matrix_unit<T>) {
    static_assert(N == 32);
    rows_times_rows_matrix<T, M>(sum, (uint16_t*)lds_a, (uint16_t*)lds_b, lds_p, a, tile_a, rows_a, b, tile_b, rows_b, depth);
  } else {
    rows_times_rows_plain<T, M, N>(sum, lds_a, lds_b, a, tile_a, rows_a, b, tile_b, rows_b, depth);
  }
}

// An element of the left operand of tile_times_rows.
template <typename T, uint32_t N, typename Acc>
USBGPU_INLINE void put_weight(Acc* lds_p, uint32_t row, uint32_t column, Acc weight) {
  if constexpr (on_matrix_unit<T>) ((uint16_t*)lds_p)[row * kHalfPitch + column] = __builtin_bit_cast(uint16_t, convert<T>(weight));
  else lds_p[row * (N + 1) + column] = weight;
}

// M rows of D sums.
template <typename T, uint32_t M, uint32_t D, bool Matrix = on_matrix_unit<T>>
struct Sums {
  using Acc = accumulate_t<T>;
  Acc value[M / 16][D / 16] = {};
  // Row threadIdx.x / 16 + 16 i; all threads of the row call it. Done when rows_are_scaled() has been called.
  USBGPU_INLINE void scale_row(uint32_t i, Acc factor, Acc*) {
#pragma unroll
    for (uint32_t j = 0; j < D / 16; ++j) value[i][j] *= factor;
  }
  USBGPU_INLINE void rows_are_scaled(const Acc*) {}
  USBGPU_INLINE void store(const Heads& to, Acc scale, uint32_t batch, uint32_t head, uint32_t first, uint32_t rows, uint32_t width) {
    const uint32_t x = threadIdx.x & 15, y = threadIdx.x >> 4;
#pragma unroll
    for (uint32_t i = 0; i < M / 16; ++i) {
      const uint32_t row = first + y + i * 16;
      if (row >= rows) continue;
      const global_ptr<T> output = at<T>(base_of(to, sizeof(T), batch, head, row));
#pragma unroll
      for (uint32_t j = 0; j < D / 16; ++j)
        if (x + j * 16 < width) output[(x + j * 16) * to.column] = convert<T>(value[i][j] * scale);
    }
  }
};
template <typename T, uint32_t M, uint32_t D>
struct Sums<T, M, D, true> {
  // Where M / 8 waves would do, the others take every second (fourth) 32 columns.
  static constexpr uint32_t Waves = M / 8, Groups = 8 / Waves;
  float8 value[(D / 32 + Groups - 1) / Groups] = {};
  static USBGPU_INLINE uint32_t piece() { return wave_id() % Waves; }
  static USBGPU_INLINE uint32_t group() { return wave_id() / Waves; }
  USBGPU_INLINE void scale_row(uint32_t i, float factor, float* lds_rows) {
    if ((threadIdx.x & 15) == 0) lds_rows[(threadIdx.x >> 4) + i * 16] = factor;
  }
  USBGPU_INLINE void rows_are_scaled(const float* lds_rows) {
    local_barrier();
#pragma unroll
    for (uint32_t r = 0; r < 8; ++r) {
      const float factor = lds_rows[piece() / 2 * 16 + result_row(r, lane_id())];
#pragma unroll
      for (float8& part : value) part[r] *= factor;
    }
  }
  USBGPU_INLINE void store(const Heads& to, float scale, uint32_t batch, uint32_t head, uint32_t first, uint32_t rows, uint32_t width) {
#pragma unroll
    for (uint32_t r = 0; r < 8; ++r) {
      const uint32_t row = first + piece() / 2 * 16 + result_row(r, lane_id());
      if (row >= rows) continue;
      const global_ptr<T> output = at<T>(base_of(to, sizeof(T), batch, head, row));
#pragma unroll
      for (uint32_t k = 0; k < sizeof value / sizeof value[0]; ++k) {
        const uint32_t column = (k * Groups + group()) * 32 + piece() % 2 * 16 + (lane_id() & 15);
        if (column < width) output[column * to.column] = convert<T>(value[k][r] * scale);
      }
    }
  }
};

// Sums += weights in LDS (put_weight) * X. A barrier comes first.
template <typename T, uint32_t M, uint32_t N, uint32_t D, typename Acc>
USBGPU_INLINE void tile_times_rows(Sums<T, M, D>& sum, const Acc* lds_p, Acc* lds_x, const Heads& of, uint64_t tile, uint32_t rows,
                                   uint32_t width) {
  if constexpr (on_matrix_unit<T>) {
    const uint16_t *weights = (const uint16_t*)lds_p, *columns = (const uint16_t*)lds_x;
    const uint32_t piece = sum.piece(), group = sum.group();
    constexpr uint32_t Groups = Sums<T, M, D>::Groups;
#pragma unroll
    for (uint32_t slab = 0; slab < D / 32; ++slab) {
      if (slab * 32 >= width) break;
      local_barrier();
      load_half_slab<32, true>((uint16_t*)lds_x, of, tile, rows, width, slab * 32);
      local_barrier();
      if (group == slab % Groups) {
        float8& part = sum.value[slab / Groups];
#pragma unroll
        for (uint32_t n = 0; n < N; n += 16)
          part = matrix_multiply<T>(load_operand(operand_row(weights, piece / 2) + n), load_operand(operand_row(columns, piece % 2) + n), part);
      }
    }
  } else {
    tile_times_rows_plain<T, M, N, D>(sum.value, lds_p, lds_x, of, tile, rows, width);
  }
}

}  // namespace usbgpu_family
