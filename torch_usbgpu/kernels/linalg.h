// What the linear algebra families share on the device: matrices in memory and in LDS, and arithmetic.
#pragma once
#include "family.h"
#include "linalg_args.h"

namespace usbgpu_family {

constexpr uint32_t kLinalgWaves = kLinalgThreads / 32;

template <typename T>
struct GlobalMatrix {
  global_ptr<T> data;
  int64_t row, column;
  USBGPU_INLINE __attribute__((address_space(1))) T& operator()(uint32_t i, uint32_t j) const { return data[i * row + j * column]; }
};

// An odd pitch spreads rows and columns alike over the banks.
template <typename T>
struct LdsMatrix {
  T* data;
  uint32_t pitch;
  USBGPU_INLINE T& operator()(uint32_t i, uint32_t j) const { return data[j * pitch + i]; }
};

template <typename T>
USBGPU_INLINE GlobalMatrix<T> matrix(const MatrixArg& arg, uint32_t batch) {
  return {at<T>(arg.data) + batch * arg.batch, arg.row, arg.column};
}

// f(i, j) for all elements, shared among the workgroup's threads; rows are neighbours.
template <typename F>
USBGPU_INLINE void for_elements(uint32_t rows, uint32_t columns, F f) {
#pragma clang loop unroll(disable)
  for (uint32_t j = wave_id(); j < columns; j += kLinalgWaves) {
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < rows; i += 32) f(i, j);
  }
}

// Runs body on the matrix itself, or on a copy in LDS that is written back.
template <typename T, bool Staged, typename Body>
USBGPU_INLINE void with_matrix(const GlobalMatrix<T>& outside, uint32_t rows, uint32_t columns, Body body) {
  if constexpr (Staged) {
    __shared__ T tile[kLinalgTile];
    const LdsMatrix<T> inside{tile, rows | 1};
    for_elements(rows, columns, [&](uint32_t i, uint32_t j) { inside(i, j) = outside(i, j); });
    __syncthreads();
    body(inside);
    __syncthreads();
    for_elements(rows, columns, [&](uint32_t i, uint32_t j) { outside(i, j) = inside(i, j); });
  } else {
    body(outside);
  }
}

template <typename T>
struct GlobalColumn {
  global_ptr<T> data;
  int64_t step;
  USBGPU_INLINE __attribute__((address_space(1))) T& operator()(uint32_t i) const { return data[i * step]; }
};
template <typename T>
struct LdsColumn {
  T* data;
  USBGPU_INLINE T& operator()(uint32_t i) const { return data[i]; }
};

// What the other lanes of this wave wrote is seen after this.
USBGPU_INLINE void wave_sync() {
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "workgroup");
  __builtin_amdgcn_wave_barrier();
}

// The same for one column, owned by one wave.
template <typename T, bool Staged, typename Body>
USBGPU_INLINE void with_column(const GlobalColumn<T>& outside, uint32_t rows, bool read, Body body) {
  if constexpr (Staged) {
    __shared__ T columns[kLinalgWaves][kLinalgColumn];
    const LdsColumn<T> inside{columns[wave_id()]};
    if (read) {
#pragma clang loop unroll(disable)
      for (uint32_t i = lane_id(); i < rows; i += 32) inside(i) = outside(i);
    }
    wave_sync();
    body(inside);
    wave_sync();
#pragma clang loop unroll(disable)
    for (uint32_t i = lane_id(); i < rows; i += 32) outside(i) = inside(i);
  } else {
    body(outside);
  }
}

USBGPU_INLINE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
USBGPU_INLINE double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
USBGPU_INLINE float root(float x) { return sqrtf(x); }
USBGPU_INLINE double root(double x) { return sqrt(x); }
USBGPU_INLINE float magnitude(float x) { return __builtin_fabsf(x); }
USBGPU_INLINE double magnitude(double x) { return __builtin_fabs(x); }
template <typename T> USBGPU_INLINE bool finite(T x) { return x - x == T(0); }

// Binary exponent of x > 0: x * 2^-exponent is in [0.5, 1). And the way back, exact.
USBGPU_INLINE int exponent_of(float x) { return __builtin_amdgcn_frexp_expf(x); }
USBGPU_INLINE int exponent_of(double x) { return __builtin_amdgcn_frexp_exp(x); }
USBGPU_INLINE float scale_by_power(float x, int power) { return __builtin_ldexpf(x, power); }
USBGPU_INLINE double scale_by_power(double x, int power) { return __builtin_ldexp(x, power); }

template <typename T> struct precision;
template <> struct precision<float> { static constexpr float epsilon = 0x1p-23f, null = 0x1p-100f; };
template <> struct precision<double> { static constexpr double epsilon = 0x1p-52, null = 0x1p-900; };

struct Largest {   // of magnitudes; the first of equals, as iamax of the BLAS
  template <typename T>
  struct Item { T value; uint32_t index; };
  template <typename T>
  static USBGPU_INLINE Item<T> pick(Item<T> a, Item<T> b) {
    const T x = magnitude(a.value), y = magnitude(b.value);
    return y > x || (y == x && b.index < a.index) ? b : a;
  }
};

// The element of largest magnitude among value(i), first <= i < last, for every thread. Nothing but
// NaN: index `first`. Ends with LDS in use: a barrier has to come before the next call.
template <typename T, typename Value>
USBGPU_INLINE Largest::Item<T> find_largest(uint32_t first, uint32_t last, Value value) {
  using Item = Largest::Item<T>;
  __shared__ T values[kLinalgWaves];
  __shared__ uint32_t indices[kLinalgWaves];
  Item best{T(0), ~0u};
#pragma clang loop unroll(disable)
  for (uint32_t i = first + threadIdx.x; i < last; i += kLinalgThreads) best = Largest::pick(best, Item{value(i), i});
#pragma unroll
  for (uint32_t mask = 16; mask; mask >>= 1)
    best = Largest::pick(best, Item{shuffle_xor(best.value, mask), shuffle_xor(best.index, mask)});
  if (lane_id() == 0) values[wave_id()] = best.value, indices[wave_id()] = best.index;
  __syncthreads();
  best = {values[0], indices[0]};
#pragma unroll
  for (uint32_t wave = 1; wave < kLinalgWaves; ++wave) best = Largest::pick(best, Item{values[wave], indices[wave]});
  if (best.index == ~0u) best.index = first;
  return best;
}

}  // namespace usbgpu_family
