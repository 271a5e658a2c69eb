// Eigenvalues and eigenvectors of general complex matrices: reduction to Hessenberg form by reflections,
// then the QR iteration with one shift at a time (Francis 1961; Wilkinson's shift), whose triangular form
// shows the values and, by back substitution, the vectors. One wave works on one matrix, as in linalg_eig.hip.
#include "linalg.h"
#include "complex_math.h"
#include "linalg_eig_args.h"

namespace usbgpu_family {

template <typename R>
struct ComplexEig {
  using T = Complex<R>;
  GlobalMatrix<T> h, v;
  GlobalColumn<T> values, vectors;
  uint32_t n;
  bool want;

  // H := Q^H H Q, V := Q.
  USBGPU_INLINE void reduce() const {
#pragma clang loop unroll(disable)
    for (uint32_t i = 0; want && i < n; ++i) for_lanes(0, n, [&](uint32_t j) { v(i, j) = i == j ? T(1) : T(0); });
#pragma clang loop unroll(disable)
    for (uint32_t k = 0; k + 2 < n; ++k) {
      const R scale = sum_lanes<R>(k + 2, n, [&](uint32_t i) { return magnitude(h(i, k)); });
      if (scale <= precision<R>::null) {   // of a matrix of numbers near 1
        for_lanes(k + 2, n, [&](uint32_t i) { h(i, k) = T(0); });
        continue;
      }
      const T top = h(k + 1, k);
      const R all = scale + magnitude(top);
      const R squares = sum_lanes<R>(k + 1, n, [&](uint32_t i) { return square_of(over(h(i, k), all)); });
      const R size = root(squares) * all, length = top.re >= R(0) ? -size : size;
      const T first = top - T(length);     // of the reflector: (1, h(k+2..)/first)
      const T tau = over(T(length) - top, length);
      for_lanes(k + 2, n, [&](uint32_t i) { h(i, k) = quotient(h(i, k), first); });
      const auto u = [&](uint32_t i) { return i == k + 1 ? T(1) : number(h(i, k)); };
#pragma clang loop unroll(disable)
      for (uint32_t j = k + 1; j < n; ++j) {   // from the left, the adjoint
        const T product = sum_lanes<T>(k + 1, n, [&](uint32_t i) { return conjugate(u(i)) * h(i, j); });
        const T factor = -conjugate(tau) * product;
        for_lanes(k + 1, n, [&](uint32_t i) { h(i, j) = fused(u(i), factor, h(i, j)); });
      }
#pragma clang loop unroll(disable)
      for (uint32_t i = 0; i < n; ++i) {       // from the right, and V with it
        const T factor = -tau * sum_lanes<T>(k + 1, n, [&](uint32_t j) { return u(j) * h(i, j); });
        for_lanes(k + 1, n, [&](uint32_t j) { h(i, j) = fused(conjugate(u(j)), factor, h(i, j)); });
        if (!want) continue;
        const T turn = -tau * sum_lanes<T>(k + 1, n, [&](uint32_t j) { return u(j) * v(i, j); });
        for_lanes(k + 1, n, [&](uint32_t j) { v(i, j) = fused(conjugate(u(j)), turn, v(i, j)); });
      }
      for_lanes(k + 1, n, [&](uint32_t i) { h(i, k) = i == k + 1 ? T(length) : T(0); });
    }
  }

  // The eigenvalue nearer to h(e, e) of the last block of two.
  USBGPU_INLINE T shift_of(uint32_t e) const {
    const T last = h(e, e), product = h(e - 1, e) * h(e, e - 1), half = times(h(e - 1, e - 1) - last, R(0.5));
    if (product == T(0)) return last;
    T discriminant = usbgpu::kernels::cmath::sqrt(half * half + product);
    if (half.re * discriminant.re + half.im * discriminant.im < R(0)) discriminant = -discriminant;
    return last - quotient(product, half + discriminant);
  }

  // One step of H - shift on rows and columns top .. end.
  USBGPU_INLINE void chase(uint32_t top, uint32_t end, T shift) const {
    T x = h(top, top) - shift, y = h(top + 1, top);
#pragma clang loop unroll(disable)
    for (uint32_t k = top; k < end; ++k) {
      if (k != top) x = h(k, k - 1), y = h(k + 1, k - 1);
      const R most = magnitude(x) + magnitude(y);
      if (most == R(0)) continue;
      const T p = over(x, most), q = over(y, most);
      const R length = root(square_of(p) + square_of(q));
      const T c = over(p, length), s = over(q, length);
      wave_sync();
      if (k != top) {
        h(k, k - 1) = T(length * most);
        h(k + 1, k - 1) = T(0);
      }
      for_lanes(k, n, [&](uint32_t j) {
        const T upper = h(k, j), lower = h(k + 1, j);
        h(k, j) = fused(conjugate(c), upper, conjugate(s) * lower);
        h(k + 1, j) = fused(-s, upper, c * lower);
      });
      const auto columns = [&](const GlobalMatrix<T>& m, uint32_t rows) {
        for_lanes(0, rows, [&](uint32_t i) {
          const T left = m(i, k), right = m(i, k + 1);
          m(i, k) = fused(left, c, right * s);
          m(i, k + 1) = fused(right, conjugate(c), -left * conjugate(s));
        });
      };
      columns(h, end < k + 2 ? end + 1 : k + 3);
      if (want) columns(v, n);
    }
  }

  // H to triangular form; the values. Not converged: what is left, else 0.
  USBGPU_INLINE uint32_t iterate(R norm) const {
    uint32_t tries = 0;
#pragma clang loop unroll(disable)
    for (int32_t end = (int32_t)n - 1; end >= 0;) {
      const uint32_t e = (uint32_t)end;
      uint32_t top = e;
#pragma clang loop unroll(disable)
      for (; top > 0; --top) {
        R size = magnitude(h(top - 1, top - 1)) + magnitude(h(top, top));
        if (size == R(0)) size = norm;
        const R below = magnitude(h(top, top - 1));
        if (below <= precision<R>::epsilon * size || below <= precision<R>::null) break;   // zero matrices too
      }
      if (top == e) {
        const T value = h(e, e);
        wave_sync();
        values(e) = value;
        wave_sync();
        end -= 1, tries = 0;
        continue;
      }
      if (tries == 90) return e + 1;
      // Now and then a shift of no meaning, against going round in circles.
      const T shift = tries % 20 == 10 ? h(e, e) + T(R(0.75) * magnitude(h(e, e - 1))) : shift_of(e);
      ++tries;
      chase(top, e, shift);
    }
    return 0;
  }

  // Column e of H := the vector in terms of V's columns.
  USBGPU_INLINE void solve(uint32_t e, R smallest) const {
    const T value = values(e);
    wave_sync();
    h(e, e) = T(1);
    wave_sync();
#pragma clang loop unroll(disable)
    for (uint32_t i = e; i-- > 0;) {
      const T sum = sum_lanes<T>(i + 1, e + 1, [&](uint32_t j) { return h(i, j) * h(j, e); });
      T gap = h(i, i) - value;
      if (magnitude(gap) < smallest) gap = T(smallest);
      const T x = quotient(-sum, gap);
      wave_sync();
      h(i, e) = x;
      wave_sync();
      const R size = magnitude(x);
      if (precision<R>::epsilon * size * size > R(1))
        for_lanes(i, e + 1, [&](uint32_t j) { h(j, e) = over(h(j, e), size); });
    }
  }

  // Vectors of length 1, whose largest component is real, as LAPACK's geev has it.
  USBGPU_INLINE void deliver(uint32_t e) const {
    const GlobalColumn<T> own{vectors.data + (uint64_t)e * n, 1};
#pragma clang loop unroll(disable)
    for (uint32_t i = 0; i < n; ++i) {
      const T sum = sum_lanes<T>(0, e + 1, [&](uint32_t k) { return v(i, k) * h(k, e); });
      own(i) = sum;
    }
    wave_sync();
    R largest(0), squares(0);
    T phase(1);
#pragma clang loop unroll(disable)
    for (uint32_t i = 0; i < n; ++i) {
      const T x = own(i);
      const R size = square_of(x);
      squares += size;
      if (size > largest) largest = size, phase = x;
    }
    const R length = root(squares);
    const T turn = over(conjugate(phase), root(largest) * length);
    wave_sync();
    for_lanes(0, n, [&](uint32_t i) {
      const T x = own(i), turned = x * turn;
      own(i) = x == phase ? T(turned.re) : turned;
    });
  }
};

template <typename R>
USBGPU_INLINE void eig_complex(const EigArgs& args) {
  using T = Complex<R>;
  const uint32_t n = args.n;
  const uint64_t first = (uint64_t)blockIdx.x * n * n;
  const ComplexEig<R> e{{at<T>(args.h) + first, n, 1}, {at<T>(args.v) + first, n, 1},
                        {at<T>(args.values) + (uint64_t)blockIdx.x * n, 1}, {at<T>(args.vectors) + first, 1}, n,
                        args.want_vectors != 0};
  R largest(0);
#pragma clang loop unroll(disable)
  for (uint32_t i = 0; i < n; ++i)
    largest = Max{}(largest, max_lanes<R>(0, n, [&](uint32_t j) { return largest_part(e.h(i, j)); }));
  // Numbers near 1: their squares neither overflow nor vanish. (The host refuses what is not finite.)
  const int power = largest > R(0) && finite(largest) ? exponent_of(largest) : 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = 0; i < n; ++i) for_lanes(0, n, [&](uint32_t j) { e.h(i, j) = scale_by_power(e.h(i, j), -power); });
  e.reduce();
  R norm(0);
#pragma clang loop unroll(disable)
  for (uint32_t i = 0; i < n; ++i)
    norm += sum_lanes<R>(i ? i - 1 : 0, n, [&](uint32_t j) { return magnitude(e.h(i, j)); });
  const uint32_t failed = e.iterate(norm);
  if (lane_id() == 0) at<int32_t>(args.info)[blockIdx.x] = (int32_t)failed;
  if (args.want_vectors && !failed) {
    const R smallest = norm > R(0) ? precision<R>::epsilon * norm : R(1);
#pragma clang loop unroll(disable)
    for (uint32_t column = n; column-- > 0;) {
      e.solve(column, smallest);
      e.deliver(column);
    }
  }
  for_lanes(0, n, [&](uint32_t i) { e.values(i) = scale_by_power(e.values(i), power); });
}

}  // namespace usbgpu_family

#define USBGPU_LINALG_EIG_COMPLEX(symbol, R) \
  USBGPU_FAMILY_KERNEL(32) void symbol(usbgpu_family::EigArgs args) { usbgpu_family::eig_complex<R>(args); }
