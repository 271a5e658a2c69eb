// Eigenvalues and singular values by Jacobi rotations, one workgroup per matrix.
//
//   eigh  two-sided: n/2 disjoint pairs (p, q) are rotated at once, and a round-robin tournament
//         brings every pair together once per sweep (Brent and Luk 1985)
//   svd   one-sided (Hestenes 1958): columns are made orthogonal, a wave per pair
//
// Of complex matrices the second of a pair is first multiplied by the phase that makes real what is to be
// annihilated; the rotation is a real one then, too.
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

USBGPU_INLINE double modulus(double x) { return magnitude(x); }
USBGPU_INLINE double modulus(Complex<double> x) { return ::hypot(x.re, x.im); }

// What a pair of columns (x, y) is turned by: y times the phase, then the rotation. Of real numbers the
// phase is 1, and sine has either sign.
template <typename T>
struct Turn {
  Real<T> cosine, sine;
  T phase;
  USBGPU_INLINE void columns(T& x, T& y) const {
    const T left = x, right = is_complex<T> ? y * phase : y;
    x = turned(cosine, left, -sine, right);
    y = turned(sine, left, cosine, right);
  }
  USBGPU_INLINE void rows(T& x, T& y) const {
    T left = conjugate(x), right = conjugate(y);
    columns(left, right);
    x = conjugate(left), y = conjugate(right);
  }
};
// `off`: what is to vanish, between diagonal elements (or squared lengths) `gap` apart. In double: an error
// of the angle's cosine would stretch every vector it turns. size: of `off`, with its sign if it is real.
template <typename T>
USBGPU_INLINE Turn<T> turn_of(Wide<T> off, double gap, double& tangent_of_it, double& size) {
  if constexpr (is_complex<T>) size = modulus(off);
  else size = off;
  tangent_of_it = tangent(gap / (2.0 * size));
  const double cosine = 1.0 / root(fused(tangent_of_it, tangent_of_it, 1.0));
  Turn<T> turn{(Real<T>)cosine, (Real<T>)(tangent_of_it * cosine), T(1)};
  if constexpr (is_complex<T>) {
    if (turn.sine != Real<T>(0)) turn.phase = {(Real<T>)(off.re / size), (Real<T>)(-off.im / size)};
  }
  return turn;
}
// In memory: two T, which for complex ones are (cosine, sine) and the phase.
template <typename T>
USBGPU_INLINE void store_turn(const GlobalColumn<T>& turns, uint32_t k, const Turn<T>& turn) {
  if constexpr (is_complex<T>) {
    turns(2 * k) = T(turn.cosine, turn.sine);
    turns(2 * k + 1) = turn.phase;
  } else {
    turns(2 * k) = turn.cosine;
    turns(2 * k + 1) = turn.sine;
  }
}
template <typename T>
USBGPU_INLINE Turn<T> load_turn(const GlobalColumn<T>& turns, uint32_t k) {
  const T first = turns(2 * k), second = turns(2 * k + 1);
  if constexpr (is_complex<T>) return {first.re, first.im, second};
  else return {first, second, T(1)};
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

// max |f(i, j)| (of complex numbers their parts'), or infinity when there is anything that is not finite; for every thread.
template <typename T, typename F>
USBGPU_INLINE Real<T> largest_element(uint32_t rows, uint32_t columns, F f) {
  __shared__ Real<T> scratch[kLinalgWaves];
  Real<T> largest(0);
  for_elements(rows, columns, [&](uint32_t i, uint32_t j) { largest = Max{}(largest, largest_part(f(i, j))); });
  return block_reduce<kLinalgThreads>(largest, Max{}, scratch);
}

template <typename T, typename M>
USBGPU_INLINE void eigh_in(const M& s, const EighArgs& args, uint32_t batch) {
  using R = Real<T>;
  const uint32_t n = args.n, teams = (n + 1) & ~1u, pairs = teams / 2;
  const auto a = matrix<T>(args.a, batch), v = matrix<T>(args.v, batch);
  const auto values = at<R>(args.values) + batch * args.values_batch;
  const GlobalColumn<T> turns{at<T>(args.rotations) + batch * args.rotations_batch, 1};
  const auto info = at<int32_t>(args.info) + batch;
  __shared__ R scratch[kLinalgWaves];
  __shared__ uint32_t rotated;

  const auto triangle = [&](uint32_t i, uint32_t j) {
    if (i == j) return T(real_part(a(i, i)));
    return (args.upper != 0) == (i < j) ? number(a(i, j)) : conjugate(a(j, i));
  };
  const R largest = largest_element<T>(n, n, triangle);
  if (!finite(largest)) {
    __syncthreads();
    const R nan = largest - largest;
    for_elements(n, n, [&](uint32_t i, uint32_t j) {
      if (args.vectors) a(i, j) = T(nan);
      if (j == 0) values[i] = nan;
    });
    if (threadIdx.x == 0) *info = (int32_t)n;
    return;
  }
  const int power = largest > R(0) ? exponent_of(largest) : 0;
  R squares(0);
  for_elements(n, n, [&](uint32_t i, uint32_t j) {
    const T x = scale_by_power(triangle(i, j), -power);
    s(i, j) = x;
    squares += square_of(x);
    if (args.vectors) v(i, j) = i == j ? T(1) : T(0);
  });
  const R norm = root(block_reduce<kLinalgThreads>(squares, Sum{}, scratch));
  // Elements below this move no eigenvalue by more than an epsilon of the matrix's norm.
  const R threshold = norm * precision<R>::epsilon * R(0.5) / (R)n;
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
        Turn<T> turn{R(1), R(0), T(1)};
        if (q < n) {
          const T off = s(p, q);
          if (magnitude(off) > threshold) {
            double wide, size;
            turn = turn_of<T>(widen(off), (double)real_part(s(q, q)) - (double)real_part(s(p, p)), wide, size);
            const R t = (R)wide;
            s(p, p) = T(fused(-t, (R)size, real_part(s(p, p))));
            s(q, q) = T(fused(t, (R)size, real_part(s(q, q))));
            s(p, q) = T(0);
            s(q, p) = T(0);
            rotated = 1;
          }
        }
        store_turn(turns, k, turn);
      }
      __syncthreads();
      // Block (k, l) of 2 x 2 elements: rows turn by pair k, columns by pair l.
#pragma clang loop unroll(disable)
      for (uint32_t l = wave_id(); l < pairs; l += kLinalgWaves) {
        uint32_t lp, lq;
        pairing(teams, round, l, lp, lq);
        const Turn<T> of_columns = load_turn(turns, l);
        const bool two_columns = lq < n;
#pragma clang loop unroll(disable)
        for (uint32_t k = lane_id(); k < pairs; k += 32) {
          if (k == l) continue;
          uint32_t kp, kq;
          pairing(teams, round, k, kp, kq);
          const Turn<T> of_rows = load_turn(turns, k);
          if (of_columns.sine == R(0) && of_rows.sine == R(0)) continue;
          const bool two_rows = kq < n;
          T pp = s(kp, lp), pq = two_columns ? number(s(kp, lq)) : T(0), qp = two_rows ? number(s(kq, lp)) : T(0);
          T qq = two_rows && two_columns ? number(s(kq, lq)) : T(0);
          of_rows.rows(pp, qp), of_rows.rows(pq, qq);
          of_columns.columns(pp, pq), of_columns.columns(qp, qq);
          s(kp, lp) = pp;
          if (two_columns) s(kp, lq) = pq;
          if (two_rows) s(kq, lp) = qp;
          if (two_rows && two_columns) s(kq, lq) = qq;
        }
        if (args.vectors && two_columns && of_columns.sine != R(0)) {
#pragma clang loop unroll(disable)
          for (uint32_t i = lane_id(); i < n; i += 32) {
            T x = v(i, lp), y = v(i, lq);
            of_columns.columns(x, y);
            v(i, lp) = x;
            v(i, lq) = y;
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
  const auto value = [&](uint32_t i) { return real_part(s(i, i)); };
#pragma clang loop unroll(disable)
  for (uint32_t j = wave_id(); j < n; j += kLinalgWaves) {
    const uint32_t place = place_of<false>(j, n, value);
    if (lane_id() == 0) values[place] = scale_by_power(value(j), power);
    if (!args.vectors) continue;
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < n; i += 32) a(i, place) = number(v(i, j));
  }
}

template <typename T, bool Staged>
USBGPU_INLINE void eigh(const EighArgs& args) {
  if constexpr (Staged) {
    __shared__ T tile[linalg_tile(sizeof(T))];
    eigh_in<T>(LdsMatrix<T>{tile, args.n | 1}, args, blockIdx.x);
  } else {
    eigh_in<T>(matrix<T>(args.work, blockIdx.x), args, blockIdx.x);
  }
}

template <typename T, typename M>
USBGPU_INLINE void svd_in(const M& w, const SvdArgs& args, uint32_t batch) {
  using R = Real<T>;
  const uint32_t rows = args.rows, n = args.columns, teams = (n + 1) & ~1u, pairs = teams / 2;
  const auto v = matrix<T>(args.v, batch), u_out = matrix<T>(args.u_out, batch), v_out = matrix<T>(args.v_out, batch);
  const auto outside = matrix<T>(args.w, batch);
  const auto values = at<R>(args.values) + batch * args.values_batch;
  const auto info = at<int32_t>(args.info) + batch;
  __shared__ uint32_t rotated;

  const R largest = largest_element<T>(rows, n, outside);
  if (!finite(largest)) {
    const R nan = largest - largest;
    for_elements(rows, n, [&](uint32_t i, uint32_t j) {
      if (args.vectors) u_out(i, j) = T(nan);
      if (args.vectors && i < n) v_out(i, j) = T(nan);
      if (i == 0) values[j] = nan;
    });
    if (threadIdx.x == 0) {
      *info = -4;   // LAPACK's word for it: the argument A is not finite
      if (args.vectors) at<int32_t>(args.rank)[batch] = (int32_t)n;
    }
    return;
  }
  const int power = largest > R(0) ? exponent_of(largest) : 0;
  for_elements(rows, n, [&](uint32_t i, uint32_t j) {
    w(i, j) = scale_by_power(number(outside(i, j)), -power);
    if (args.vectors && i < n) v(i, j) = i == j ? T(1) : T(0);
  });
  const auto product = [&](uint32_t p, uint32_t q) {   // in double: the angles decide how orthogonal U is
    Wide<T> sum(0.0);
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < rows; i += 32) {
      const T x = number(w(i, p)), y = number(w(i, q));
      sum = fused(conjugate(widen(x)), widen(y), sum);
    }
    return wave_sum(sum);
  };
  const auto squares = [&](uint32_t p) {
    double sum = 0.0;
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < rows; i += 32) sum += square_of(widen(number(w(i, p))));
    return wave_sum(sum);
  };
  // Angles below the tolerance of LAPACK's gesvj count as right ones.
  const double tolerance = root((double)rows) * (double)precision<R>::epsilon;

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
        const Wide<T> cross = product(p, q);
        const double first = squares(p), second = squares(q), limit = tolerance * (root(first) * root(second));
        // "limit > 0": a column of zeros, or one whose square vanishes, is orthogonal to all.
        if (!(limit > 0.0 && modulus(cross) > limit)) continue;
        double wide, size;
        const Turn<T> turn = turn_of<T>(cross, second - first, wide, size);
        if (lane_id() == 0) rotated = 1;
#pragma clang loop unroll(disable)
        for (uint32_t i = lane_id(); i < rows; i += 32) {
          T x = w(i, p), y = w(i, q);
          turn.columns(x, y);
          w(i, p) = x;
          w(i, q) = y;
        }
        if (!args.vectors) continue;
#pragma clang loop unroll(disable)
        for (uint32_t i = lane_id(); i < n; i += 32) {
          T x = v(i, p), y = v(i, q);
          turn.columns(x, y);
          v(i, p) = x;
          v(i, q) = y;
        }
      }
    }
    __syncthreads();
    if (rotated == 0) break;
  }
  const auto lengths = at<R>(args.lengths) + (uint64_t)batch * n;
#pragma clang loop unroll(disable)
  for (uint32_t j = wave_id(); j < n; j += kLinalgWaves) {
    const R length = (R)root(squares(j));
    if (lane_id() == 0) lengths[j] = length;
  }
  __shared__ uint32_t nulls;
  if (threadIdx.x == 0) {
    nulls = 0;
    *info = sweep < kSweeps ? 0 : 1;
  }
  __syncthreads();
  const auto value = [&](uint32_t i) { return (R)lengths[i]; };
#pragma clang loop unroll(disable)
  for (uint32_t j = wave_id(); j < n; j += kLinalgWaves) {
    const R length = value(j);
    const uint32_t place = place_of<true>(j, n, value);
    if (lane_id() == 0) values[place] = scale_by_power(length, power);
    if (!args.vectors) continue;
    const bool null = length < precision<R>::null;
    if (null && lane_id() == 0) __hip_atomic_fetch_add(&nulls, 1u, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < rows; i += 32) {
      u_out(i, place) = null ? T(0) : conjugate_if(args.conjugate_u != 0, over(w(i, j), length));
    }
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < n; i += 32) v_out(i, place) = conjugate_if(args.conjugate_v != 0, v(i, j));
  }
  __syncthreads();
  if (threadIdx.x == 0 && args.vectors) at<int32_t>(args.rank)[batch] = (int32_t)(n - nulls);
}

template <typename T, bool Staged>
USBGPU_INLINE void svd(const SvdArgs& args) {
  if constexpr (Staged) {
    __shared__ T tile[linalg_tile(sizeof(T))];
    svd_in<T>(LdsMatrix<T>{tile, args.rows | 1}, args, blockIdx.x);
  } else {
    svd_in<T>(matrix<T>(args.w, blockIdx.x), args, blockIdx.x);
  }
}

template <typename T>
USBGPU_INLINE void complete(const CompleteArgs& args) {
  const uint32_t rank = (uint32_t)at<int32_t>(args.rank)[blockIdx.x];
  const auto u = matrix<T>(args.u, blockIdx.x), q = matrix<T>(args.q, blockIdx.x);
  for_elements(args.rows, args.columns - rank,
               [&](uint32_t i, uint32_t j) { u(i, rank + j) = number(q(i, rank + j)); });
}

}  // namespace usbgpu_family

#define USBGPU_LINALG_EIGH(symbol, T, staged) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::EighArgs args) { usbgpu_family::eigh<T, staged>(args); }
#define USBGPU_LINALG_SVD(symbol, T, staged) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SvdArgs args) { usbgpu_family::svd<T, staged>(args); }
#define USBGPU_LINALG_COMPLETE(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::CompleteArgs args) { usbgpu_family::complete<T>(args); }
