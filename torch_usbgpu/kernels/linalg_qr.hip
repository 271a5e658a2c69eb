// Householder QR with LAPACK's conventions: H = I - tau v v^H, v(0) = 1 is not stored, R's diagonal is real
// and has the sign that avoids cancellation. Of complex matrices H is not its own adjoint: H^H makes R.
#include "linalg.h"

namespace usbgpu_family {

// |x| of rows first .. rows-1 of a column, for every thread, safe from overflow and underflow.
template <typename T, typename Value>
USBGPU_INLINE double column_norm(uint32_t first, uint32_t rows, Value value) {
  __shared__ double scratch[kLinalgWaves];
  if constexpr (sizeof(Real<T>) == 4) {   // squares of floats fit a double
    double sum = 0.0;
#pragma clang loop unroll(disable)
    for (uint32_t i = first + threadIdx.x; i < rows; i += kLinalgThreads) sum += square_of(widen(value(i)));
    return root(block_reduce<kLinalgThreads>(sum, Sum{}, scratch));
  } else {
    double largest = 0.0;
#pragma clang loop unroll(disable)
    for (uint32_t i = first + threadIdx.x; i < rows; i += kLinalgThreads) largest = Max{}(largest, largest_part(value(i)));
    largest = block_reduce<kLinalgThreads>(largest, Max{}, scratch);
    if (largest == 0.0 || !finite(largest)) return largest;
    const int power = exponent_of(largest);
    double sum = 0.0;
#pragma clang loop unroll(disable)
    for (uint32_t i = first + threadIdx.x; i < rows; i += kLinalgThreads)
      sum += square_of(scale_by_power(value(i), -power));
    return scale_by_power(root(block_reduce<kLinalgThreads>(sum, Sum{}, scratch)), power);
  }
}

template <typename T, typename M>
USBGPU_INLINE void geqrf_in(const M& a, uint32_t rows, uint32_t columns, const GlobalColumn<T>& taus) {
  using R = Real<T>;
  const uint32_t steps = rows < columns ? rows : columns;
#pragma clang loop unroll(disable)
  for (uint32_t j = 0; j < steps; ++j) {
    const T alpha = a(j, j);
    const double below = column_norm<T>(j + 1, rows, [&](uint32_t i) { return number(a(i, j)); });
    T tau = T(0);
    if (below != 0.0 || imaginary_part(alpha) != R(0)) {   // uniform
      // Of numbers near 1: of subnormal ones tau would not fit its vector, and Q not be unitary.
      const int power = exponent_of(Max{}(below, (double)largest_part(alpha)));
      const T x = scale_by_power(alpha, -power);
      const R y = (R)scale_by_power(below, -power), length = root(square_of(x) + y * y);
      const R beta = real_part(x) >= R(0) ? -length : length;
      tau = over(T(beta) - x, beta);
      const T divisor = x - T(beta);
      __syncthreads();   // all have read alpha
#pragma clang loop unroll(disable)
      for (uint32_t i = j + 1 + threadIdx.x; i < rows; i += kLinalgThreads)
        a(i, j) = quotient(scale_by_power(a(i, j), -power), divisor);
      if (threadIdx.x == 0) a(j, j) = T(scale_by_power(beta, power));
    }
    if (threadIdx.x == 0) taus(j) = tau;
    __syncthreads();
    if (tau == T(0)) continue;
#pragma clang loop unroll(disable)
    for (uint32_t c = j + 1 + wave_id(); c < columns; c += kLinalgWaves) {
      T sum = T(0);
#pragma clang loop unroll(disable)
      for (uint32_t i = j + 1 + lane_id(); i < rows; i += 32) sum = fused(conjugate(a(i, j)), number(a(i, c)), sum);
      const T top = a(j, c), factor = -conjugate(tau) * (wave_sum(sum) + top);
      wave_sync();
      if (lane_id() == 0) a(j, c) = top + factor;
#pragma clang loop unroll(disable)
      for (uint32_t i = j + 1 + lane_id(); i < rows; i += 32) a(i, c) = fused(number(a(i, j)), factor, number(a(i, c)));
    }
    __syncthreads();
  }
}

template <typename T, bool Staged>
USBGPU_INLINE void geqrf(const FactorArgs& args) {
  const GlobalColumn<T> taus{at<T>(args.tau) + blockIdx.x * args.tau_batch, 1};
  with_matrix<T, Staged>(matrix<T>(args.a, blockIdx.x), args.rows, args.columns,
                         [&](const auto& a) { geqrf_in<T>(a, args.rows, args.columns, taus); });
}

template <typename T, bool Staged>
USBGPU_INLINE void reflect(const ReflectArgs& args) {
  const uint32_t column = blockIdx.x * kLinalgWaves + wave_id(), rows = args.rows;
  if (column >= args.columns) return;
  const auto whole = matrix<T>(args.c, blockIdx.y), reflectors = matrix<T>(args.v, blockIdx.y);
  const GlobalColumn<T> taus{at<T>(args.tau) + blockIdx.y * args.tau_batch, 1};
  const GlobalColumn<T> outside{whole.data + column * whole.column, whole.row};
  const auto v = [&](uint32_t i, uint32_t k) { return conjugate_if(args.conjugate != 0, reflectors(i, k)); };
  with_column<T, Staged>(outside, rows, !args.identity, [&](const auto& c) {
    if (args.identity) {
#pragma clang loop unroll(disable)
      for (uint32_t i = lane_id(); i < rows; i += 32) c(i) = i == column ? T(1) : T(0);
      wave_sync();
    }
#pragma clang loop unroll(disable)
    for (uint32_t step = 0; step < args.reflectors; ++step) {
      const uint32_t k = args.adjoint ? step : args.reflectors - 1 - step;
      const T tau = conjugate_if((args.adjoint != 0) != (args.conjugate != 0), taus(k)), top = c(k);
      T sum = T(0);
#pragma clang loop unroll(disable)
      for (uint32_t i = k + 1 + lane_id(); i < rows; i += 32) sum = fused(conjugate(v(i, k)), number(c(i)), sum);
      const T factor = -tau * (wave_sum(sum) + top);
      wave_sync();
      if (lane_id() == 0) c(k) = top + factor;
#pragma clang loop unroll(disable)
      for (uint32_t i = k + 1 + lane_id(); i < rows; i += 32) c(i) = fused(v(i, k), factor, number(c(i)));
      wave_sync();
    }
  });
}

}  // namespace usbgpu_family

#define USBGPU_LINALG_GEQRF(symbol, T, staged) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::FactorArgs args) { usbgpu_family::geqrf<T, staged>(args); }
#define USBGPU_LINALG_REFLECT(symbol, T, staged) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::ReflectArgs args) { usbgpu_family::reflect<T, staged>(args); }
