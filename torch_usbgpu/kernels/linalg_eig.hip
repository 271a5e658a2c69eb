// Eigenvalues and eigenvectors of general real matrices: reduction to Hessenberg form by reflections,
// then the double-shift QR iteration (Francis 1961; the course of it and the ad hoc shifts follow the
// algorithms `orthes` and `hqr2` of Wilkinson and Reinsch, Handbook for Automatic Computation, 1971).
//
// The iteration is a chain of small dependent steps, so one wave works on one matrix: all lanes take
// the same decisions, and share the rows and columns that a step turns.
#include "linalg.h"
#include "linalg_eig_args.h"

namespace usbgpu_family {

// Smith (1962): no overflow where the quotient has none.
template <typename T>
USBGPU_INLINE Complex<T> divide(T a, T b, T c, T d) {
  if (magnitude(c) > magnitude(d)) {
    const T ratio = d / c, denominator = c + ratio * d;
    return {(a + ratio * b) / denominator, (b - ratio * a) / denominator};
  }
  const T ratio = c / d, denominator = d + ratio * c;
  return {(ratio * a + b) / denominator, (ratio * b - a) / denominator};
}

template <typename T>
struct Eig {
  GlobalMatrix<T> h, v;
  global_ptr<T> values, vectors;
  uint32_t n;
  bool want;

  // All lanes write the same value; wave_sync has to follow.
  USBGPU_INLINE void set_value(uint32_t i, T re, T im) const {
    values[2 * i] = re;
    values[2 * i + 1] = im;
  }
  USBGPU_INLINE T re(uint32_t i) const { return values[2 * i]; }
  USBGPU_INLINE T im(uint32_t i) const { return values[2 * i + 1]; }

  // H := Q^T H Q, V := Q.
  USBGPU_INLINE void reduce() const {
#pragma clang loop unroll(disable)
    for (uint32_t i = 0; want && i < n; ++i) for_lanes(0, n, [&](uint32_t j) { v(i, j) = i == j ? T(1) : T(0); });
#pragma clang loop unroll(disable)
    for (uint32_t k = 0; k + 2 < n; ++k) {
      const T scale = sum_lanes<T>(k + 2, n, [&](uint32_t i) { return magnitude((T)h(i, k)); });
      if (scale == T(0)) continue;
      const T top = h(k + 1, k), all = scale + magnitude(top);
      const T squares = sum_lanes<T>(k + 1, n, [&](uint32_t i) {
        const T x = h(i, k) / all;
        return x * x;
      });
      const T length = top > T(0) ? -root(squares) * all : root(squares) * all;
      const T first = top - length;        // of the reflector: (1, h(k+2..)/first)
      const T tau = -first / length;
      for_lanes(k + 2, n, [&](uint32_t i) { h(i, k) = h(i, k) / first; });
      const auto u = [&](uint32_t i) { return i == k + 1 ? T(1) : (T)h(i, k); };
#pragma clang loop unroll(disable)
      for (uint32_t j = k + 1; j < n; ++j) {   // from the left
        const T factor = -tau * sum_lanes<T>(k + 1, n, [&](uint32_t i) { return u(i) * h(i, j); });
        for_lanes(k + 1, n, [&](uint32_t i) { h(i, j) = fused(u(i), factor, (T)h(i, j)); });
      }
#pragma clang loop unroll(disable)
      for (uint32_t i = 0; i < n; ++i) {       // from the right, and V with it
        const T factor = -tau * sum_lanes<T>(k + 1, n, [&](uint32_t j) { return u(j) * h(i, j); });
        for_lanes(k + 1, n, [&](uint32_t j) { h(i, j) = fused(u(j), factor, (T)h(i, j)); });
        if (!want) continue;
        const T turn = -tau * sum_lanes<T>(k + 1, n, [&](uint32_t j) { return u(j) * v(i, j); });
        for_lanes(k + 1, n, [&](uint32_t j) { v(i, j) = fused(u(j), turn, (T)v(i, j)); });
      }
      for_lanes(k + 1, n, [&](uint32_t i) { h(i, k) = i == k + 1 ? length : T(0); });
    }
  }

  // Two rows, or two columns, turned by (p, q).
  USBGPU_INLINE void rotate(uint32_t at, T p, T q) const {
    for_lanes(at, n, [&](uint32_t j) {
      const T x = h(at, j), y = h(at + 1, j);
      h(at, j) = q * x + p * y;
      h(at + 1, j) = q * y - p * x;
    });
    for_lanes(0, at + 2, [&](uint32_t i) {
      const T x = h(i, at), y = h(i, at + 1);
      h(i, at) = q * x + p * y;
      h(i, at + 1) = q * y - p * x;
    });
    if (!want) return;
    for_lanes(0, n, [&](uint32_t i) {
      const T x = v(i, at), y = v(i, at + 1);
      v(i, at) = q * x + p * y;
      v(i, at + 1) = q * y - p * x;
    });
  }

  // Rows and columns top .. end, of which the chase starts at `start` with the vector (p, q, r).
  USBGPU_INLINE void chase(uint32_t top, uint32_t start, uint32_t end, T p, T q, T r) const {
    for_lanes(start + 2, end + 1, [&](uint32_t i) {
      h(i, i - 2) = T(0);
      if (i > start + 2) h(i, i - 3) = T(0);
    });
#pragma clang loop unroll(disable)
    for (uint32_t k = start; k < end; ++k) {
      const bool three = k + 1 != end;
      T size = T(1);
      if (k != start) {
        p = h(k, k - 1), q = h(k + 1, k - 1), r = three ? (T)h(k + 2, k - 1) : T(0);
        size = magnitude(p) + magnitude(q) + magnitude(r);
        if (size == T(0)) continue;
        p /= size, q /= size, r /= size;
      }
      T length = root(p * p + q * q + r * r);
      if (p < T(0)) length = -length;
      if (length == T(0)) continue;
      wave_sync();
      if (k != start) h(k, k - 1) = -length * size;
      else if (top != start) h(k, k - 1) = -h(k, k - 1);
      wave_sync();
      p += length;
      const T x = p / length, y = q / length, z = r / length;
      q /= p, r /= p;
      for_lanes(k, n, [&](uint32_t j) {
        const T turn = h(k, j) + q * h(k + 1, j) + (three ? r * h(k + 2, j) : T(0));
        h(k, j) = h(k, j) - turn * x;
        h(k + 1, j) = h(k + 1, j) - turn * y;
        if (three) h(k + 2, j) = h(k + 2, j) - turn * z;
      });
      const auto columns = [&](const GlobalMatrix<T>& m, uint32_t rows) {
        for_lanes(0, rows, [&](uint32_t i) {
          const T turn = x * m(i, k) + y * m(i, k + 1) + (three ? z * m(i, k + 2) : T(0));
          m(i, k) = m(i, k) - turn;
          m(i, k + 1) = m(i, k + 1) - turn * q;
          if (three) m(i, k + 2) = m(i, k + 2) - turn * r;
        });
      };
      columns(h, end < k + 3 ? end + 1 : k + 4);
      if (want) columns(v, n);
    }
  }

  // H to quasi-triangular form; the values. Not converged: what is left, else 0.
  USBGPU_INLINE uint32_t iterate(T norm) const {
    const T epsilon = precision<T>::epsilon;
    T shifted = T(0);
    uint32_t tries = 0;
#pragma clang loop unroll(disable)
    for (int32_t end = (int32_t)n - 1; end >= 0;) {
      const uint32_t e = (uint32_t)end;
      uint32_t top = e;
#pragma clang loop unroll(disable)
      for (; top > 0; --top) {
        T size = magnitude((T)h(top - 1, top - 1)) + magnitude((T)h(top, top));
        if (size == T(0)) size = norm;
        if (magnitude((T)h(top, top - 1)) <= epsilon * size) break;   // zero matrices too
      }
      T x = h(e, e);
      if (top == e) {
        wave_sync();
        h(e, e) = x + shifted;
        set_value(e, x + shifted, T(0));
        wave_sync();
        end -= 1, tries = 0;
        continue;
      }
      T y = h(e - 1, e - 1), w = h(e, e - 1) * h(e - 1, e);
      if (top + 1 == e) {
        T p = (y - x) / T(2), q = p * p + w, z = root(magnitude(q));
        wave_sync();
        h(e, e) = x + shifted;
        h(e - 1, e - 1) = y + shifted;
        x += shifted;
        wave_sync();
        if (q >= T(0)) {
          z = p >= T(0) ? p + z : p - z;
          set_value(e - 1, x + z, T(0));
          set_value(e, z != T(0) ? x - w / z : x + z, T(0));
          const T below = h(e, e - 1), size = magnitude(below) + magnitude(z);
          p = below / size, q = z / size;
          const T length = root(p * p + q * q);
          rotate(e - 1, p / length, q / length);
        } else {
          set_value(e - 1, x + p, z);
          set_value(e, x + p, -z);
        }
        wave_sync();
        end -= 2, tries = 0;
        continue;
      }
      if (tries == 90) return e + 1;
      if (tries % 20 == 10) {   // an ad hoc shift against going round in circles
        shifted += x;
        for_lanes(0, e + 1, [&](uint32_t i) { h(i, i) = h(i, i) - x; });
        const T size = magnitude((T)h(e, e - 1)) + magnitude((T)h(e - 1, e - 2));
        x = y = T(0.75) * size;
        w = T(-0.4375) * size * size;
      }
      else {   // of two real shifts the nearer one, twice, as LAPACK's lahqr takes them: values come in its order
        const T half = (x - y) / T(2), discriminant = half * half + w;
        if (discriminant > T(0)) {
          const T middle = y + half, away = root(discriminant);
          x = y = half > T(0) ? middle + away : middle - away;
          w = T(0);
        }
      }
      ++tries;
      T p, q, r;
      uint32_t start = e - 2;
#pragma clang loop unroll(disable)
      for (;; --start) {
        const T z = h(start, start), a = x - z, b = y - z;
        p = (a * b - w) / h(start + 1, start) + h(start, start + 1);
        q = h(start + 1, start + 1) - z - a - b;
        r = h(start + 2, start + 1);
        const T size = magnitude(p) + magnitude(q) + magnitude(r);
        p /= size, q /= size, r /= size;
        if (start == top) break;
        const T near = magnitude((T)h(start - 1, start - 1)) + magnitude(z) + magnitude((T)h(start + 1, start + 1));
        if (magnitude((T)h(start, start - 1)) * (magnitude(q) + magnitude(r)) < epsilon * magnitude(p) * near) break;
      }
      chase(top, start, e, p, q, r);
    }
    return 0;
  }

  // Column e of H := the vector, in terms of V's columns, of a real value.
  USBGPU_INLINE void solve_real(uint32_t e, T smallest) const {
    const T p = re(e);
    h(e, e) = T(1);
    wave_sync();
    uint32_t first = e;
    T z = T(0), s = T(0);
#pragma clang loop unroll(disable)
    for (uint32_t i = e; i-- > 0;) {
      const T w = h(i, i) - p, r = sum_lanes<T>(first, e + 1, [&](uint32_t j) { return h(i, j) * h(j, e); });
      if (im(i) < T(0)) {   // the lower row of a block
        z = w, s = r;
        continue;
      }
      first = i;
      T x;
      if (im(i) == T(0)) {
        x = -r / (w != T(0) ? w : smallest);
        wave_sync();
        h(i, e) = x;
      } else {
        const T right = h(i, i + 1), below = h(i + 1, i), d = re(i) - p;
        x = (right * s - z * r) / (d * d + im(i) * im(i));
        const T lower = magnitude(right) > magnitude(z) ? (-r - w * x) / right : (-s - below * x) / z;
        wave_sync();
        h(i, e) = x;
        h(i + 1, e) = lower;
      }
      wave_sync();
      const T size = magnitude(x);
      if (precision<T>::epsilon * size * size > T(1)) for_lanes(i, e + 1, [&](uint32_t j) { h(j, e) = h(j, e) / size; });
    }
  }

  // Columns e-1 and e: real and imaginary part, of the second value of a pair.
  USBGPU_INLINE void solve_pair(uint32_t e, T norm) const {
    const T p = re(e), q = im(e);
    const uint32_t d = e - 1;
    Complex<T> start;
    if (magnitude((T)h(e, d)) > magnitude((T)h(d, e))) start = {q / h(e, d), -(h(e, e) - p) / h(e, d)};
    else start = divide<T>(T(0), -h(d, e), h(d, d) - p, q);
    wave_sync();
    h(d, d) = start.re;
    h(d, e) = start.im;
    h(e, d) = T(0);
    h(e, e) = T(1);
    wave_sync();
    uint32_t first = d;
    T z = T(0), r = T(0), s = T(0);
#pragma clang loop unroll(disable)
    for (uint32_t i = d; i-- > 0;) {
      const T ra = sum_lanes<T>(first, e + 1, [&](uint32_t j) { return h(i, j) * h(j, d); });
      const T sa = sum_lanes<T>(first, e + 1, [&](uint32_t j) { return h(i, j) * h(j, e); });
      const T w = h(i, i) - p;
      if (im(i) < T(0)) {
        z = w, r = ra, s = sa;
        continue;
      }
      first = i;
      Complex<T> x;
      if (im(i) == T(0)) {
        x = divide<T>(-ra, -sa, w, q);
        wave_sync();
      } else {
        const T right = h(i, i + 1), below = h(i + 1, i), gap = re(i) - p;
        T vr = gap * gap + im(i) * im(i) - q * q, vi = gap * T(2) * q;
        if (vr == T(0) && vi == T(0))
          vr = precision<T>::epsilon * norm * (magnitude(w) + magnitude(q) + magnitude(right) + magnitude(below) + magnitude(z));
        x = divide<T>(right * r - z * ra + q * sa, right * s - z * sa - q * ra, vr, vi);
        Complex<T> lower;
        if (magnitude(right) > magnitude(z) + magnitude(q))
          lower = {(-ra - w * x.re + q * x.im) / right, (-sa - w * x.im - q * x.re) / right};
        else lower = divide<T>(-r - below * x.re, -s - below * x.im, z, q);
        wave_sync();
        h(i + 1, d) = lower.re;
        h(i + 1, e) = lower.im;
      }
      h(i, d) = x.re;
      h(i, e) = x.im;
      wave_sync();
      const T size = magnitude(x.re) > magnitude(x.im) ? magnitude(x.re) : magnitude(x.im);
      if (precision<T>::epsilon * size * size > T(1)) {
        for_lanes(i, e + 1, [&](uint32_t j) {
          h(j, d) = h(j, d) / size;
          h(j, e) = h(j, e) / size;
        });
      }
    }
  }

  // Vectors of length 1; of a complex one the largest component is real, as LAPACK's geev has it.
  USBGPU_INLINE void deliver(uint32_t e, bool pair) const {
    const uint32_t d = pair ? e - 1 : e;
#pragma clang loop unroll(disable)
    for (uint32_t i = 0; i < n; ++i) {
      const T x = sum_lanes<T>(0, e + 1, [&](uint32_t k) { return v(i, k) * h(k, d); });
      const T y = pair ? sum_lanes<T>(0, e + 1, [&](uint32_t k) { return v(i, k) * h(k, e); }) : T(0);
      vectors[2 * ((uint64_t)d * n + i)] = x;
      vectors[2 * ((uint64_t)d * n + i) + 1] = y;
    }
    wave_sync();
    const auto own = vectors + 2 * (uint64_t)d * n;
    T largest = T(0), squares = T(0), cosine = T(1), sine = T(0);
#pragma clang loop unroll(disable)
    for (uint32_t i = 0; i < n; ++i) {
      const T size = own[2 * i] * own[2 * i] + own[2 * i + 1] * own[2 * i + 1];
      squares += size;
      if (size > largest) largest = size, cosine = own[2 * i], sine = own[2 * i + 1];
    }
    const T length = root(squares), turn = pair ? root(largest) : T(1);
    if (!pair) cosine = T(1), sine = T(0);
    cosine /= turn, sine /= turn;
    wave_sync();
    for_lanes(0, n, [&](uint32_t i) {
      const T x = own[2 * i], y = own[2 * i + 1];
      const T real = (cosine * x + sine * y) / length;
      const T imaginary = pair ? (cosine * y - sine * x) / length : T(0);
      own[2 * i] = real;
      own[2 * i + 1] = imaginary;
      if (pair) {
        own[2 * (n + i)] = real;
        own[2 * (n + i) + 1] = -imaginary;
      }
    });
  }
};

template <typename T>
USBGPU_INLINE void eig(const EigArgs& args) {
  const uint32_t n = args.n;
  const uint64_t first = (uint64_t)blockIdx.x * n * n;
  const Eig<T> e{{at<T>(args.h) + first, n, 1}, {at<T>(args.v) + first, n, 1}, at<T>(args.values) + (uint64_t)blockIdx.x * n * 2,
                 at<T>(args.vectors) + 2 * first, n, args.want_vectors != 0};
  T largest = T(0);
#pragma clang loop unroll(disable)
  for (uint32_t i = 0; i < n; ++i)
    largest = Max{}(largest, max_lanes<T>(0, n, [&](uint32_t j) { return magnitude((T)e.h(i, j)); }));
  const auto info = at<int32_t>(args.info) + blockIdx.x;
  if (!finite(largest)) {
    if (lane_id() == 0) *info = (int32_t)n;
    for_lanes(0, n, [&](uint32_t i) { e.set_value(i, largest - largest, T(0)); });
    return;
  }
  // Numbers near 1: their squares neither overflow nor vanish.
  const int power = largest > T(0) ? exponent_of(largest) : 0;
  for (uint32_t i = 0; i < n; ++i) for_lanes(0, n, [&](uint32_t j) { e.h(i, j) = scale_by_power((T)e.h(i, j), -power); });
  e.reduce();
  T norm = T(0);
#pragma clang loop unroll(disable)
  for (uint32_t i = 0; i < n; ++i) norm += sum_lanes<T>(i ? i - 1 : 0, n, [&](uint32_t j) { return magnitude((T)e.h(i, j)); });
  const uint32_t failed = e.iterate(norm);
  if (lane_id() == 0) *info = (int32_t)failed;
  if (args.want_vectors && !failed) {
    const T smallest = norm > T(0) ? precision<T>::epsilon * norm : T(1);
#pragma clang loop unroll(disable)
    for (uint32_t column = n; column-- > 0;) {
      if (e.im(column) == T(0)) e.solve_real(column, smallest);
      else if (e.im(column) < T(0)) e.solve_pair(column, norm);
    }
#pragma clang loop unroll(disable)
    for (uint32_t column = n; column-- > 0;) {
      if (e.im(column) <= T(0)) e.deliver(column, e.im(column) < T(0));
    }
  }
  for_lanes(0, n, [&](uint32_t i) { e.set_value(i, scale_by_power(e.re(i), power), scale_by_power(e.im(i), power)); });
}

}  // namespace usbgpu_family

#define USBGPU_LINALG_EIG(symbol, T) \
  USBGPU_FAMILY_KERNEL(32) void symbol(usbgpu_family::EigArgs args) { usbgpu_family::eig<T>(args); }
