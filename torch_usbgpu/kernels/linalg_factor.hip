// Factorisations of small and middle matrices, one workgroup each: Cholesky, LU with partial pivoting,
// LDL^T (of Hermitian matrices LDL^H) with Bunch-Kaufman pivoting. Right-looking: a column, then the
// trailing matrix. Larger matrices are cut into blocks by the host (csrc/aten/linalg_factor.cpp).
#include "linalg.h"

namespace usbgpu_family {

// ---- Cholesky: A = L L^H, lower triangle only. info: the first leading minor that is not positive.
template <typename T, typename M>
USBGPU_INLINE uint32_t cholesky_in(const M& a, uint32_t n) {
#pragma clang loop unroll(disable)
  for (uint32_t j = 0; j < n; ++j) {
    const Real<T> pivot = real_part(a(j, j));
    if (!(pivot > Real<T>(0))) return j + 1;
    const Real<T> diagonal = root(pivot);
#pragma clang loop unroll(disable)
    for (uint32_t i = j + 1 + threadIdx.x; i < n; i += kLinalgThreads) a(i, j) = over(a(i, j), diagonal);
    __syncthreads();
    if (threadIdx.x == 0) a(j, j) = T(diagonal);
#pragma clang loop unroll(disable)
    for (uint32_t k = j + 1 + wave_id(); k < n; k += kLinalgWaves) {
      const T factor = -conjugate(a(k, j));
#pragma clang loop unroll(disable)
      for (uint32_t i = k + lane_id(); i < n; i += 32) a(i, k) = fused(a(i, j), factor, a(i, k));
    }
    __syncthreads();
  }
  return 0;
}

template <typename T, bool Staged>
USBGPU_INLINE void cholesky(const FactorArgs& args) {
  const uint32_t batch = blockIdx.x;
  auto info = at<int32_t>(args.info) + batch;
  if (args.first && *info) return;   // an earlier block of this matrix has failed
  with_matrix<T, Staged>(matrix<T>(args.a, batch), args.rows, args.columns, [&](const auto& a) {
    const uint32_t failed = cholesky_in<T>(a, args.rows);
    if (threadIdx.x == 0) *info = failed ? (int32_t)(args.first + failed) : 0;
  });
}

// ---- LU: P A = L U. info: the first pivot that is zero.
template <typename T, typename M>
USBGPU_INLINE uint32_t lu_in(const M& a, const FactorArgs& args, global_ptr<int32_t> pivots) {
  const uint32_t rows = args.rows, columns = args.columns, steps = rows < columns ? rows : columns;
  uint32_t info = 0;
#pragma clang loop unroll(disable)
  for (uint32_t j = 0; j < steps; ++j) {
    const T diagonal = a(j, j);
    T pivot = diagonal;
    uint32_t from = j;
    if (args.pivoting) {
      const auto best = find_largest<T>(j, rows, [&](uint32_t i) { return number(a(i, j)); });
      // All NaN: the diagonal, whose NaN goes on.
      from = best.index, pivot = choose(from == j, diagonal, best.value);
    } else {
      __syncthreads();   // all have read the diagonal
    }
    if (threadIdx.x == 0) pivots[j] = (int32_t)(args.first + from + 1);
    if (pivot == T(0) && !info) info = j + 1;
    // The exchange of rows; column j is scaled in the same pass.
#pragma clang loop unroll(disable)
    for (uint32_t i = j + 1 + threadIdx.x; i < rows; i += kLinalgThreads) {
      const T value = choose(i == from, diagonal, a(i, j));
      if (pivot != T(0)) a(i, j) = quotient(value, pivot);
    }
    if (from != j) {
#pragma clang loop unroll(disable)
      for (uint32_t c = threadIdx.x; c < columns; c += kLinalgThreads) {
        const T upper = number(a(j, c));
        if (c == j) {
          a(j, c) = pivot;
        } else {
          a(j, c) = a(from, c);
          a(from, c) = upper;
        }
      }
    }
    __syncthreads();
#pragma clang loop unroll(disable)
    for (uint32_t c = j + 1 + wave_id(); c < columns; c += kLinalgWaves) {
      const T factor = -a(j, c);
#pragma clang loop unroll(disable)
      for (uint32_t i = j + 1 + lane_id(); i < rows; i += 32) a(i, c) = fused(a(i, j), factor, a(i, c));
    }
    __syncthreads();
  }
  return info;
}

template <typename T, bool Staged>
USBGPU_INLINE void lu(const FactorArgs& args) {
  const uint32_t batch = blockIdx.x;
  auto info = at<int32_t>(args.info) + batch;
  auto pivots = at<int32_t>(args.pivots) + batch * args.pivots_batch;
  with_matrix<T, Staged>(matrix<T>(args.a, batch), args.rows, args.columns, [&](const auto& a) {
    const uint32_t failed = lu_in<T>(a, args, pivots);
    if (threadIdx.x == 0 && (args.first == 0 || (failed && !*info))) *info = failed ? (int32_t)(args.first + failed) : 0;
  });
}

// ---- LDL^T, or LDL^H, of the lower triangle (Bunch and Kaufman 1977, with the conventions of LAPACK's
// sytf2 and hetf2):
// pivots[k] = p > 0: rows k and p-1 were exchanged, D(k, k) is 1 x 1;
// pivots[k] = pivots[k+1] = -p < 0: rows k+1 and p-1 were exchanged, D(k:k+2, k:k+2) is 2 x 2.
template <typename T, typename M>
USBGPU_INLINE uint32_t ldl_in(const M& a, uint32_t n, bool hermitian, global_ptr<int32_t> pivots) {
  using R = Real<T>;
  const R alpha = R(0.6403882032022076);   // (1 + sqrt(17)) / 8
  const auto across = [&](T x) { return conjugate_if(hermitian, x); };   // the diagonal
  const auto on_diagonal = [&](T x) { return hermitian ? T(real_part(x)) : x; };
  uint32_t info = 0;
#pragma clang loop unroll(disable)
  for (uint32_t k = 0; k < n;) {
    const T diagonal = on_diagonal(a(k, k));
    const R size = magnitude(diagonal);
    const auto column = find_largest<T>(k + 1, n, [&](uint32_t i) { return number(a(i, k)); });
    const R column_max = k + 1 < n ? magnitude(column.value) : R(0);
    uint32_t step = 1, from = k;
    if (!(size > R(0) || column_max > R(0))) {
      if (!info) info = k + 1;
    } else if (size < alpha * column_max) {
      const uint32_t row = column.index;
      const R candidate = magnitude(on_diagonal(a(row, row)));
      __syncthreads();
      const auto other = find_largest<T>(k, n, [&](uint32_t i) {
        return i == row ? T(0) : i < row ? number(a(row, i)) : number(a(i, row));
      });
      const R row_max = magnitude(other.value);
      if (size >= alpha * column_max * (column_max / row_max)) from = k;
      else if (candidate >= alpha * row_max) from = row;
      else from = row, step = 2;
    }
    __syncthreads();
    const uint32_t to = k + step - 1;
    if (from != to) {
#pragma clang loop unroll(disable)
      for (uint32_t i = to + 1 + threadIdx.x; i < n; i += kLinalgThreads) {
        if (i < from) {
          const T x = number(a(i, to));
          a(i, to) = across(a(from, i));
          a(from, i) = across(x);
        } else if (i > from) {
          const T x = number(a(i, to));
          a(i, to) = number(a(i, from));
          a(i, from) = x;
        }
      }
      if (threadIdx.x == 0) {
        const T x = number(a(to, to));
        a(to, to) = number(a(from, from));
        a(from, from) = x;
        a(from, to) = across(a(from, to));
        if (step == 2) {
          const T y = number(a(k + 1, k));
          a(k + 1, k) = number(a(from, k));
          a(from, k) = y;
        }
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) {
      pivots[k] = step == 1 ? (int32_t)(from + 1) : -(int32_t)(from + 1);
      if (step == 2) pivots[k + 1] = -(int32_t)(from + 1);
    }
    const T d00 = on_diagonal(a(k, k));
    if (step == 1) {
      if (d00 != T(0)) {
        const T inverse = T(1) / d00;
#pragma clang loop unroll(disable)
        for (uint32_t c = k + 1 + wave_id(); c < n; c += kLinalgWaves) {
          const T factor = -inverse * across(a(c, k));
#pragma clang loop unroll(disable)
          for (uint32_t i = c + lane_id(); i < n; i += 32) a(i, c) = fused(a(i, k), factor, a(i, c));
        }
        __syncthreads();
#pragma clang loop unroll(disable)
        for (uint32_t i = k + 1 + threadIdx.x; i < n; i += kLinalgThreads) a(i, k) = a(i, k) * inverse;
      }
    } else {   // (x, y) D^-1 of the rows below, with D's elements over those off its diagonal
      const T d10 = a(k + 1, k), d01 = across(d10), d11 = on_diagonal(a(k + 1, k + 1)) / d10, d22 = d00 / d01;
      const T determinant = d11 * d22 - T(1), low = T(1) / determinant / d01, high = T(1) / determinant / d10;
      const auto first = [&](uint32_t i) { return low * (d11 * a(i, k) - a(i, k + 1)); };
      const auto second = [&](uint32_t i) { return high * (d22 * a(i, k + 1) - a(i, k)); };
#pragma clang loop unroll(disable)
      for (uint32_t c = k + 2 + wave_id(); c < n; c += kLinalgWaves) {
        const T x = -across(first(c)), y = -across(second(c));
#pragma clang loop unroll(disable)
        for (uint32_t i = c + lane_id(); i < n; i += 32) a(i, c) = fused(a(i, k + 1), y, fused(a(i, k), x, a(i, c)));
      }
      __syncthreads();
#pragma clang loop unroll(disable)
      for (uint32_t i = k + 2 + threadIdx.x; i < n; i += kLinalgThreads) {
        const T x = first(i), y = second(i);
        a(i, k) = x;
        a(i, k + 1) = y;
      }
    }
    if (is_complex<T> && hermitian && threadIdx.x < step) {
      const uint32_t own = k + threadIdx.x;
      a(own, own) = on_diagonal(a(own, own));
    }
    __syncthreads();
    k += step;
  }
  return info;
}

template <typename T, bool Staged>
USBGPU_INLINE void ldl(const FactorArgs& args) {
  const uint32_t batch = blockIdx.x;
  auto info = at<int32_t>(args.info) + batch;
  auto pivots = at<int32_t>(args.pivots) + batch * args.pivots_batch;
  with_matrix<T, Staged>(matrix<T>(args.a, batch), args.rows, args.columns, [&](const auto& a) {
    const uint32_t failed = ldl_in<T>(a, args.rows, args.hermitian != 0, pivots);
    if (threadIdx.x == 0) *info = (int32_t)failed;
  });
}

}  // namespace usbgpu_family

#define USBGPU_LINALG_FACTOR(symbol, form, T, staged) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::FactorArgs args) { usbgpu_family::form<T, staged>(args); }
