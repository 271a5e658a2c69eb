// Solving with factored matrices: one wave per column of the right-hand side, which it keeps in LDS
// when it fits. Transposed systems and those from the right come as exchanged strides.
#include "linalg.h"

namespace usbgpu_family {

// A column of B for each wave of the grid; blockIdx.y: batch.
template <typename T, bool Staged, typename Body>
USBGPU_INLINE void for_column(const MatrixArg& b, uint32_t rows, uint32_t columns, bool read, Body body) {
  const uint32_t column = blockIdx.x * kLinalgWaves + wave_id();
  if (column >= columns) return;
  const auto whole = matrix<T>(b, blockIdx.y);
  with_column<T, Staged>(GlobalColumn<T>{whole.data + column * whole.column, whole.row}, rows, read, body);
}

template <typename T, bool Staged>
USBGPU_INLINE void triangular(const SolveArgs& args) {
  const auto a = matrix<T>(args.a, blockIdx.y);
  const uint32_t n = args.n;
  const auto of_a = [&](uint32_t i, uint32_t j) { return conjugate_if(args.conjugate != 0, a(i, j)); };
  for_column<T, Staged>(args.b, n, args.columns, true, [&](const auto& b) {
#pragma clang loop unroll(disable)
    for (uint32_t step = 0; step < n; ++step) {
      const uint32_t k = args.upper ? n - 1 - step : step;
      T x = b(k);
      if (!args.unit) {
        x = quotient(x, of_a(k, k));
        wave_sync();
        if (lane_id() == 0) b(k) = x;
      }
      const uint32_t first = args.upper ? 0 : k + 1, last = args.upper ? k : n;
#pragma clang loop unroll(disable)
      for (uint32_t i = first + lane_id(); i < last; i += 32) b(i) = fused(-of_a(i, k), x, number(b(i)));
      wave_sync();
    }
  });
}

// Row exchanges as getrf recorded them, `n` of them from row `first` on, in a matrix of `rows` rows: a
// lane per column.
template <typename T>
USBGPU_INLINE void exchange_rows(const SolveArgs& args) {
  const uint32_t column = blockIdx.x * kLinalgThreads + threadIdx.x;
  if (column >= args.columns) return;
  const auto b = matrix<T>(args.b, blockIdx.y);
  const auto pivots = at<int32_t>(args.pivots) + blockIdx.y * args.pivots_batch;
#pragma clang loop unroll(disable)
  for (uint32_t step = 0; step < args.n; ++step) {
    const uint32_t at_step = args.backward ? args.n - 1 - step : step;
    const uint32_t k = args.first + at_step, other = (uint32_t)pivots[at_step] - 1;
    if (other == k || other >= args.rows) continue;   // a pivot out of range must not write out of range
    const T x = number(b(k, column));
    b(k, column) = number(b(other, column));
    b(other, column) = x;
  }
}

// A factored by `ldl` of linalg_factor.hip.
template <typename T, bool Staged>
USBGPU_INLINE void ldl_solve(const SolveArgs& args) {
  const auto a = matrix<T>(args.a, blockIdx.y);
  const auto pivots = at<int32_t>(args.pivots) + blockIdx.y * args.pivots_batch;
  const uint32_t n = args.n;
  const bool hermitian = args.hermitian != 0;
  const auto on_diagonal = [&](uint32_t k) { return hermitian ? T(real_part(a(k, k))) : number(a(k, k)); };
  for_column<T, Staged>(args.b, n, args.columns, true, [&](const auto& b) {
    const auto exchange = [&](uint32_t i, uint32_t j) {
      if (j >= n) return;   // a pivot out of range must not write out of range
      const T x = number(b(i)), y = number(b(j));
      wave_sync();
      if (lane_id() == 0) {
        b(i) = y;
        b(j) = x;
      }
      wave_sync();
    };
#pragma clang loop unroll(disable)
    for (uint32_t k = 0; k < n;) {
      const int32_t pivot = pivots[k];
      if (pivot > 0) {
        if ((uint32_t)pivot - 1 != k) exchange(k, (uint32_t)pivot - 1);
        const T x = b(k);
        wave_sync();
#pragma clang loop unroll(disable)
        for (uint32_t i = k + 1 + lane_id(); i < n; i += 32) b(i) = fused(-a(i, k), x, number(b(i)));
        if (lane_id() == 0) b(k) = quotient(x, on_diagonal(k));
        k += 1;
      } else {
        if ((uint32_t)-pivot - 1 != k + 1) exchange(k + 1, (uint32_t)-pivot - 1);
        const T x = b(k), y = b(k + 1);
        wave_sync();
#pragma clang loop unroll(disable)
        for (uint32_t i = k + 2 + lane_id(); i < n; i += 32)
          b(i) = fused(-a(i, k + 1), y, fused(-a(i, k), x, number(b(i))));
        const T d10 = a(k + 1, k), d01 = conjugate_if(hermitian, d10);
        const T d00 = on_diagonal(k) / d01, d11 = on_diagonal(k + 1) / d10, denominator = d00 * d11 - T(1);
        if (lane_id() == 0) {
          b(k) = (d11 * (x / d01) - y / d10) / denominator;
          b(k + 1) = (d00 * (y / d10) - x / d01) / denominator;
        }
        k += 2;
      }
      wave_sync();
    }
    const auto below = [&](uint32_t first, uint32_t k) {
      T sum = T(0);
#pragma clang loop unroll(disable)
      for (uint32_t i = first + lane_id(); i < n; i += 32)
        sum = fused(conjugate_if(hermitian, a(i, k)), number(b(i)), sum);
      return wave_sum(sum);
    };
#pragma clang loop unroll(disable)
    for (int64_t k = (int64_t)n - 1; k >= 0;) {
      const int32_t pivot = pivots[k];
      const T x = b((uint32_t)k) - below((uint32_t)k + 1, (uint32_t)k);
      T y = T(0);
      if (pivot < 0) y = b((uint32_t)k - 1) - below((uint32_t)k + 1, (uint32_t)k - 1);
      wave_sync();
      if (lane_id() == 0) {
        b((uint32_t)k) = x;
        if (pivot < 0) b((uint32_t)k - 1) = y;
      }
      wave_sync();
      const uint32_t other = (uint32_t)(pivot > 0 ? pivot : -pivot) - 1;
      if (other != (uint32_t)k) exchange((uint32_t)k, other);
      k -= pivot > 0 ? 1 : 2;
    }
  });
}

// Is the diagonal free of zeros? info: the first one.
template <typename T>
USBGPU_INLINE void check_diagonal(const FactorArgs& args) {
  const auto a = matrix<T>(args.a, blockIdx.x);
  uint32_t first = ~0u;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.rows; i += kLinalgThreads) {
    if (a(i, i) == T(0) && i < first) first = i;
  }
  __shared__ uint32_t scratch[kLinalgWaves];
  struct Min {
    USBGPU_INLINE uint32_t operator()(uint32_t x, uint32_t y) const { return x < y ? x : y; }
  };
  first = block_reduce<kLinalgThreads>(first, Min{}, scratch);
  if (threadIdx.x == 0) at<int32_t>(args.info)[blockIdx.x] = first == ~0u ? 0 : (int32_t)first + 1;
}

// pivots -> permutation: the rows' order after all exchanges. One thread per batch
// element, of which there are `columns`.
USBGPU_INLINE void unpack_pivots(const SolveArgs& args) {
  const uint32_t batch = blockIdx.x * kLinalgThreads + threadIdx.x;
  if (batch >= args.columns) return;
  const auto pivots = at<int32_t>(args.pivots) + batch * args.pivots_batch;
  const auto order = at<int64_t>(args.b.data) + batch * args.b.batch;
#pragma clang loop unroll(disable)
  for (uint32_t k = 0; k < args.n; ++k) {
    const uint32_t other = (uint32_t)pivots[k * args.a.row] - 1;
    if (other >= args.rows) continue;
    const int64_t x = order[k * args.b.row];
    order[k * args.b.row] = order[other * args.b.row];
    order[other * args.b.row] = x;
  }
}

}  // namespace usbgpu_family

#define USBGPU_LINALG_SOLVE(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SolveArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
#define USBGPU_LINALG_CHECK(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::FactorArgs args) { usbgpu_family::check_diagonal<T>(args); }
#define USBGPU_LINALG_PIVOTS(symbol) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SolveArgs args) { usbgpu_family::unpack_pivots(args); }
