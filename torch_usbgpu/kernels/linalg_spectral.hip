// Eigenvalues and singular values by Jacobi rotations, one workgroup per matrix.
//
//   eigh  two-sided: n/2 disjoint pairs (p, q) are rotated at once, and a round-robin tournament
//         brings every pair together once per sweep (Brent and Luk 1985)
//   svd   one-sided (Hestenes 1958): columns are made orthogonal, a wave per pair
//
// Both converge quadratically, in 6 to 10 sweeps as a rule, and are accurate for small values too.
#include "linalg.h"

namespace usbgpu_family {

constexpr uint32_t kSweeps = 60;

// Pair `k` of `teams / 2` in round `round` of a tournament among an even number of teams.
USBGPU_INLINE void pairing(uint32_t teams, uint32_t round, uint32_t k, uint32_t& p, uint32_t& q) {
  const uint32_t ring = teams - 1;
  const uint32_t x = round + k, y = round + ring - k;
  p = x >= ring ? x - ring : x;
  q = k == 0 ? ring : y >= ring ? y - ring : y;
  if (p > q) {
    const uint32_t swapped = p;
    p = q, q = swapped;
  }
}

// Tangent of the rotation that annihilates, with cotangent of twice its angle = zeta.
template <typename T>
USBGPU_INLINE T tangent(T zeta) {
  const T size = magnitude(zeta);
  const T result = size > T(1e8) ? T(0.5) / size : T(1) / (size + root(fused(size, size, T(1))));
  return zeta < T(0) ? -result : result;
}

// The place of value(i) among n, smallest first (or largest first).
template <bool Descending, typename Value>
USBGPU_INLINE uint32_t place_of(uint32_t i, uint32_t n, Value value) {
  const auto own = value(i);
  uint32_t place = 0;
#pragma clang loop unroll(disable)
  for (uint32_t j = 0; j < n; ++j) {
    const auto other = value(j);
    place += (Descending ? other > own : other < own) || (other == own && j < i);
  }
  return place;
}

// max |f(i, j)|, or infinity when there is anything that is not finite; for every thread.
template <typename T, typename F>
USBGPU_INLINE T largest_element(uint32_t rows, uint32_t columns, F f) {
  __shared__ T scratch[kLinalgWaves];
  T largest = T(0);
  for_elements(rows, columns, [&](uint32_t i, uint32_t j) { largest = Max{}(largest, magnitude((T)f(i, j))); });
  return block_reduce<kLinalgThreads>(largest, Max{}, scratch);
}

template <typename T, typename M>
USBGPU_INLINE void eigh_in(const M& s, const EighArgs& args, uint32_t batch) {
  const uint32_t n = args.n, teams = (n + 1) & ~1u, pairs = teams / 2;
  const auto a = matrix<T>(args.a, batch), v = matrix<T>(args.v, batch);
  const auto values = at<T>(args.values) + batch * args.values_batch;
  const auto rotations = at<T>(args.rotations) + batch * args.rotations_batch;
  const auto info = at<int32_t>(args.info) + batch;
  __shared__ T scratch[kLinalgWaves];
  __shared__ uint32_t rotated;

  const auto triangle = [&](uint32_t i, uint32_t j) { return (T)((args.upper != 0) == (i < j) ? a(i, j) : a(j, i)); };
  const T largest = largest_element<T>(n, n, triangle);
  if (!finite(largest)) {
    __syncthreads();
    const T nan = largest - largest;
    for_elements(n, n, [&](uint32_t i, uint32_t j) {
      if (args.vectors) a(i, j) = nan;
      if (j == 0) values[i] = nan;
    });
    if (threadIdx.x == 0) *info = (int32_t)n;
    return;
  }
  const int power = largest > T(0) ? exponent_of(largest) : 0;
  T squares = T(0);
  for_elements(n, n, [&](uint32_t i, uint32_t j) {
    const T x = scale_by_power(triangle(i, j), -power);
    s(i, j) = x;
    squares = fused(x, x, squares);
    if (args.vectors) v(i, j) = i == j ? T(1) : T(0);
  });
  const T norm = root(block_reduce<kLinalgThreads>(squares, Sum{}, scratch));
  // Elements below this move no eigenvalue by more than an epsilon of the matrix's norm.
  const T threshold = norm * precision<T>::epsilon * T(0.5) / (T)n;
  __syncthreads();

  uint32_t sweep = 0;
#pragma clang loop unroll(disable)
  for (; sweep < kSweeps; ++sweep) {
    if (threadIdx.x == 0) rotated = 0;
#pragma clang loop unroll(disable)
    for (uint32_t round = 0; round + 1 < teams; ++round) {
      __syncthreads();
#pragma clang loop unroll(disable)
      for (uint32_t k = threadIdx.x; k < pairs; k += kLinalgThreads) {
        uint32_t p, q;
        pairing(teams, round, k, p, q);
        T cosine = T(1), sine = T(0);
        if (q < n) {
          const T off = s(p, q);
          if (magnitude(off) > threshold) {
            // In double: an error of the angle's cosine would stretch every vector it turns.
            const double wide = tangent(((double)s(q, q) - (double)s(p, p)) / (2.0 * (double)off));
            const double narrow = 1.0 / root(fused(wide, wide, 1.0));
            const T t = (T)wide;
            cosine = (T)narrow;
            sine = (T)(wide * narrow);
            s(p, p) = fused(-t, off, (T)s(p, p));
            s(q, q) = fused(t, off, (T)s(q, q));
            s(p, q) = T(0);
            s(q, p) = T(0);
            rotated = 1;
          }
        }
        rotations[2 * k] = cosine;
        rotations[2 * k + 1] = sine;
      }
      __syncthreads();
      // Block (k, l) of 2 x 2 elements: rows turn by pair k, columns by pair l.
#pragma clang loop unroll(disable)
      for (uint32_t l = wave_id(); l < pairs; l += kLinalgWaves) {
        uint32_t lp, lq;
        pairing(teams, round, l, lp, lq);
        const T lc = rotations[2 * l], ls = rotations[2 * l + 1];
        const bool two_columns = lq < n;
#pragma clang loop unroll(disable)
        for (uint32_t k = lane_id(); k < pairs; k += 32) {
          if (k == l) continue;
          uint32_t kp, kq;
          pairing(teams, round, k, kp, kq);
          const T kc = rotations[2 * k], ks = rotations[2 * k + 1];
          if (ls == T(0) && ks == T(0)) continue;
          const bool two_rows = kq < n;
          T pp = s(kp, lp), pq = two_columns ? (T)s(kp, lq) : T(0), qp = two_rows ? (T)s(kq, lp) : T(0);
          T qq = two_rows && two_columns ? (T)s(kq, lq) : T(0);
          const T up = fused(kc, pp, -ks * qp), uq = fused(kc, pq, -ks * qq), dp = fused(ks, pp, kc * qp), dq = fused(ks, pq, kc * qq);
          pp = fused(lc, up, -ls * uq), pq = fused(ls, up, lc * uq), qp = fused(lc, dp, -ls * dq), qq = fused(ls, dp, lc * dq);
          s(kp, lp) = pp;
          if (two_columns) s(kp, lq) = pq;
          if (two_rows) s(kq, lp) = qp;
          if (two_rows && two_columns) s(kq, lq) = qq;
        }
        if (args.vectors && two_columns && ls != T(0)) {
#pragma clang loop unroll(disable)
          for (uint32_t i = lane_id(); i < n; i += 32) {
            const T x = v(i, lp), y = v(i, lq);
            v(i, lp) = fused(lc, x, -ls * y);
            v(i, lq) = fused(ls, x, lc * y);
          }
        }
      }
    }
    __syncthreads();
    const bool done = rotated == 0;
    __syncthreads();
    if (done) break;
  }
  if (threadIdx.x == 0) *info = sweep < kSweeps ? 0 : 1;
  const auto value = [&](uint32_t i) { return (T)s(i, i); };
#pragma clang loop unroll(disable)
  for (uint32_t j = wave_id(); j < n; j += kLinalgWaves) {
    const uint32_t place = place_of<false>(j, n, value);
    if (lane_id() == 0) values[place] = scale_by_power(value(j), power);
    if (!args.vectors) continue;
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < n; i += 32) a(i, place) = v(i, j);
  }
}

template <typename T, bool Staged>
USBGPU_INLINE void eigh(const EighArgs& args) {
  if constexpr (Staged) {
    __shared__ T tile[kLinalgTile];
    eigh_in<T>(LdsMatrix<T>{tile, args.n | 1}, args, blockIdx.x);
  } else {
    eigh_in<T>(matrix<T>(args.work, blockIdx.x), args, blockIdx.x);
  }
}

template <typename T, typename M>
USBGPU_INLINE void svd_in(const M& w, const SvdArgs& args, uint32_t batch) {
  const uint32_t rows = args.rows, n = args.columns, teams = (n + 1) & ~1u, pairs = teams / 2;
  const auto v = matrix<T>(args.v, batch), u_out = matrix<T>(args.u_out, batch), v_out = matrix<T>(args.v_out, batch);
  const auto outside = matrix<T>(args.w, batch);
  const auto values = at<T>(args.values) + batch * args.values_batch;
  const auto info = at<int32_t>(args.info) + batch;
  __shared__ uint32_t rotated;

  const T largest = largest_element<T>(rows, n, outside);
  if (!finite(largest)) {
    const T nan = largest - largest;
    for_elements(rows, n, [&](uint32_t i, uint32_t j) {
      if (args.vectors) u_out(i, j) = nan;
      if (args.vectors && i < n) v_out(i, j) = nan;
      if (i == 0) values[j] = nan;
    });
    if (threadIdx.x == 0) {
      *info = -4;   // LAPACK's word for it: the argument A is not finite
      if (args.vectors) at<int32_t>(args.rank)[batch] = (int32_t)n;
    }
    return;
  }
  const int power = largest > T(0) ? exponent_of(largest) : 0;
  for_elements(rows, n, [&](uint32_t i, uint32_t j) {
    w(i, j) = scale_by_power((T)outside(i, j), -power);
    if (args.vectors && i < n) v(i, j) = i == j ? T(1) : T(0);
  });
  const auto product = [&](uint32_t p, uint32_t q) {   // in double: the angles decide how orthogonal U is
    double sum = 0.0;
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < rows; i += 32) sum = fused((double)w(i, p), (double)w(i, q), sum);
    return wave_reduce(sum, Sum{});
  };
  // Angles below the tolerance of LAPACK's gesvj count as right ones.
  const double tolerance = root((double)rows) * (double)precision<T>::epsilon;

  uint32_t sweep = 0;
#pragma clang loop unroll(disable)
  for (; sweep < kSweeps; ++sweep) {
    __syncthreads();
    if (threadIdx.x == 0) rotated = 0;
#pragma clang loop unroll(disable)
    for (uint32_t round = 0; round + 1 < teams; ++round) {
      __syncthreads();
#pragma clang loop unroll(disable)
      for (uint32_t k = wave_id(); k < pairs; k += kLinalgWaves) {
        uint32_t p, q;
        pairing(teams, round, k, p, q);
        if (q >= n) continue;
        const double cross = product(p, q), first = product(p, p), second = product(q, q);
        const double limit = tolerance * (root(first) * root(second));
        // "limit > 0": a column of zeros, or one whose square vanishes, is orthogonal to all.
        if (!(limit > 0.0 && magnitude(cross) > limit)) continue;
        const double wide = tangent((second - first) / (2.0 * cross)), narrow = 1.0 / root(fused(wide, wide, 1.0));
        const T cosine = (T)narrow, sine = (T)(wide * narrow);
        if (lane_id() == 0) rotated = 1;
#pragma clang loop unroll(disable)
        for (uint32_t i = lane_id(); i < rows; i += 32) {
          const T x = w(i, p), y = w(i, q);
          w(i, p) = fused(cosine, x, -sine * y);
          w(i, q) = fused(sine, x, cosine * y);
        }
        if (!args.vectors) continue;
#pragma clang loop unroll(disable)
        for (uint32_t i = lane_id(); i < n; i += 32) {
          const T x = v(i, p), y = v(i, q);
          v(i, p) = fused(cosine, x, -sine * y);
          v(i, q) = fused(sine, x, cosine * y);
        }
      }
    }
    __syncthreads();
    if (rotated == 0) break;
  }
  const auto lengths = at<T>(args.lengths) + (uint64_t)batch * n;
#pragma clang loop unroll(disable)
  for (uint32_t j = wave_id(); j < n; j += kLinalgWaves) {
    const T length = (T)root(product(j, j));
    if (lane_id() == 0) lengths[j] = length;
  }
  __shared__ uint32_t nulls;
  if (threadIdx.x == 0) {
    nulls = 0;
    *info = sweep < kSweeps ? 0 : 1;
  }
  __syncthreads();
  const auto value = [&](uint32_t i) { return (T)lengths[i]; };
#pragma clang loop unroll(disable)
  for (uint32_t j = wave_id(); j < n; j += kLinalgWaves) {
    const T length = value(j);
    const uint32_t place = place_of<true>(j, n, value);
    if (lane_id() == 0) values[place] = scale_by_power(length, power);
    if (!args.vectors) continue;
    const bool null = length < precision<T>::null;
    if (null && lane_id() == 0) __hip_atomic_fetch_add(&nulls, 1u, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < rows; i += 32) u_out(i, place) = null ? T(0) : (T)(w(i, j) / length);
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < n; i += 32) v_out(i, place) = v(i, j);
  }
  __syncthreads();
  if (threadIdx.x == 0 && args.vectors) at<int32_t>(args.rank)[batch] = (int32_t)(n - nulls);
}

template <typename T, bool Staged>
USBGPU_INLINE void svd(const SvdArgs& args) {
  if constexpr (Staged) {
    __shared__ T tile[kLinalgTile];
    svd_in<T>(LdsMatrix<T>{tile, args.rows | 1}, args, blockIdx.x);
  } else {
    svd_in<T>(matrix<T>(args.w, blockIdx.x), args, blockIdx.x);
  }
}

template <typename T>
USBGPU_INLINE void complete(const CompleteArgs& args) {
  const uint32_t rank = (uint32_t)at<int32_t>(args.rank)[blockIdx.x];
  const auto u = matrix<T>(args.u, blockIdx.x), q = matrix<T>(args.q, blockIdx.x);
  for_elements(args.rows, args.columns - rank, [&](uint32_t i, uint32_t j) { u(i, rank + j) = q(i, rank + j); });
}

}  // namespace usbgpu_family

#define USBGPU_LINALG_EIGH(symbol, T, staged) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::EighArgs args) { usbgpu_family::eigh<T, staged>(args); }
#define USBGPU_LINALG_SVD(symbol, T, staged) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SvdArgs args) { usbgpu_family::svd<T, staged>(args); }
#define USBGPU_LINALG_COMPLETE(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::CompleteArgs args) { usbgpu_family::complete<T>(args); }
