// What the matrix exponential needs besides products: scaling by its norm, the blocks of a Taylor
// polynomial evaluated as Paterson and Stockmeyer (1973) do, and the choice of what to square.
#include "linalg.h"
#include "linalg_exp_args.h"

namespace usbgpu_family {

template <typename T>
USBGPU_INLINE void exp_scale(const ExpScaleArgs& args) {
  using R = Real<T>;
  __shared__ R scratch[kLinalgWaves];
  const uint32_t n = args.n;
  const uint64_t first = (uint64_t)blockIdx.x * n * n;
  const GlobalMatrix<T> a{at<T>(args.a) + first, n, 1}, scaled{at<T>(args.scaled) + first, n, 1};
  R norm = R(0);
#pragma clang loop unroll(disable)
  for (uint32_t j = threadIdx.x; j < n; j += kLinalgThreads) {
    R sum = R(0);
#pragma clang loop unroll(disable)
    for (uint32_t i = 0; i < n; ++i) sum += magnitude(number(a(i, j)));
    norm = Max{}(norm, sum);
  }
  norm = block_reduce<kLinalgThreads>(norm, Max{}, scratch);
  // An infinity or NaN spreads by itself.
  int halvings = norm > R(0) && finite(norm) ? exponent_of(norm / R(kExpNorm)) : 0;
  if (halvings < 0) halvings = 0;
  if (threadIdx.x == 0) at<int32_t>(args.halvings)[blockIdx.x] = halvings;
  for_elements(n, n, [&](uint32_t j, uint32_t i) { scaled(i, j) = scale_by_power(number(a(i, j)), -halvings); });
}

constexpr double reciprocal_factorial(uint32_t k) {
  double result = 1.0;
  for (uint32_t i = 2; i <= k; ++i) result /= i;
  return result;
}

// Width * Blocks is the polynomial's degree.
template <typename T, uint32_t Width, uint32_t Blocks>
USBGPU_INLINE void exp_blocks(const ExpBlocksArgs& args) {
  const uint64_t e = (uint64_t)blockIdx.x * kLinalgThreads + threadIdx.x;
  if (e >= args.count) return;
  const uint64_t inside = e % ((uint64_t)args.n * args.n);
  T power[Width + 1];
  power[0] = inside % (args.n + 1) == 0 ? T(1) : T(0);
#pragma unroll
  for (uint32_t j = 1; j <= Width; ++j) power[j] = element_at<T>(args.power[j - 1], e);
#pragma unroll
  for (uint32_t b = 0; b < Blocks; ++b) {
    T sum = b + 1 == Blocks ? times(power[Width], Real<T>(reciprocal_factorial(Width * Blocks))) : T(0);
#pragma unroll
    for (uint32_t j = Width; j-- > 0;) sum = fused(T(reciprocal_factorial(b * Width + j)), power[j], sum);
    element_at<T>(args.blocks, b * args.count + e) = sum;
  }
}

template <typename T>
USBGPU_INLINE void exp_keep(const ExpKeepArgs& args) {
  const uint64_t e = (uint64_t)blockIdx.x * kLinalgThreads + threadIdx.x;
  if (e >= args.count) return;
  const uint64_t batch = e / ((uint64_t)args.n * args.n);
  if ((int32_t)args.step < at<int32_t>(args.halvings)[batch])
    element_at<T>(args.p, e) = number(element_at<T>(args.square, e));
}

}  // namespace usbgpu_family

#define USBGPU_LINALG_EXP(symbol, form, Args, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::Args args) { usbgpu_family::form<__VA_ARGS__>(args); }
