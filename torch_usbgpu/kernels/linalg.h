// What the linear algebra families share on the device: matrices in memory and in LDS.
#pragma once
#include "family.h"
#include "linalg_args.h"
#include "linalg_scalar.h"

namespace usbgpu_family {

constexpr uint32_t kLinalgWaves = kLinalgThreads / 32;

// An element in memory. A struct cannot be assigned across address spaces, so that a complex one is a
// proxy, which moves both parts at once.
template <typename T>
struct ComplexElement {
  typedef Real<T> Pair __attribute__((ext_vector_type(2)));
  global_ptr<Pair> place;
  USBGPU_INLINE operator T() const {
    const Pair parts = *place;
    return {parts.x, parts.y};
  }
  USBGPU_INLINE const ComplexElement& operator=(T value) const {
    *place = Pair{value.re, value.im};
    return *this;
  }
  USBGPU_INLINE const ComplexElement& operator=(const ComplexElement& other) const { return *this = number(other); }
};
template <typename T>
struct element {
  using reference = __attribute__((address_space(1))) T&;
  static USBGPU_INLINE reference of(global_ptr<T> place) { return *place; }
};
template <typename R>
struct element<Complex<R>> {
  using reference = ComplexElement<Complex<R>>;
  static USBGPU_INLINE reference of(global_ptr<Complex<R>> place) {
    return {(global_ptr<typename reference::Pair>)place};
  }
};

template <typename T>
USBGPU_INLINE typename element<T>::reference element_at(uint64_t address, uint64_t index) {
  return element<T>::of(at<T>(address) + index);
}

template <typename T>
struct GlobalMatrix {
  global_ptr<T> data;
  int64_t row, column;
  USBGPU_INLINE typename element<T>::reference operator()(uint32_t i, uint32_t j) const {
    return element<T>::of(data + (i * row + j * column));
  }
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
    __shared__ T tile[linalg_tile(sizeof(T))];
    const LdsMatrix<T> inside{tile, rows | 1};
    for_elements(rows, columns, [&](uint32_t i, uint32_t j) { inside(i, j) = number(outside(i, j)); });
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
  USBGPU_INLINE typename element<T>::reference operator()(uint32_t i) const { return element<T>::of(data + i * step); }
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
    __shared__ T columns[kLinalgWaves][linalg_column(sizeof(T))];
    const LdsColumn<T> inside{columns[wave_id()]};
    if (read) {
#pragma clang loop unroll(disable)
      for (uint32_t i = lane_id(); i < rows; i += 32) inside(i) = number(outside(i));
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

// f(i) for first <= i < last, a lane each; of a wave alone with its matrix.
template <typename F>
USBGPU_INLINE void for_lanes(uint32_t first, uint32_t last, F f) {
#pragma clang loop unroll(disable)
  for (uint32_t i = first + lane_id(); i < last; i += 32) f(i);
  wave_sync();
}
template <typename T, typename F>
USBGPU_INLINE T sum_lanes(uint32_t first, uint32_t last, F f) {
  T sum = T(0);
#pragma clang loop unroll(disable)
  for (uint32_t i = first + lane_id(); i < last; i += 32) sum = sum + f(i);
  return wave_sum(sum);
}
template <typename R, typename F>
USBGPU_INLINE R max_lanes(uint32_t first, uint32_t last, F f) {
  R most(0);
#pragma clang loop unroll(disable)
  for (uint32_t i = first + lane_id(); i < last; i += 32) most = Max{}(most, f(i));
  return wave_reduce(most, Max{});
}

struct Largest {   // of magnitudes; the first of equals, as iamax of the BLAS
  template <typename T>
  struct Item { T value; uint32_t index; };
  template <typename T>
  static USBGPU_INLINE Item<T> pick(Item<T> a, Item<T> b) {
    const Real<T> x = magnitude(a.value), y = magnitude(b.value);
    const bool second = y > x || (y == x && b.index < a.index);
    return {choose(second, b.value, a.value), second ? b.index : a.index};   // by parts, which stay in registers
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
    best = Largest::pick(best, Item{of_lane_xor(best.value, mask), shuffle_xor(best.index, mask)});
  if (lane_id() == 0) values[wave_id()] = best.value, indices[wave_id()] = best.index;
  __syncthreads();
  best = {values[0], indices[0]};
#pragma unroll
  for (uint32_t wave = 1; wave < kLinalgWaves; ++wave) best = Largest::pick(best, Item{values[wave], indices[wave]});
  if (best.index == ~0u) best.index = first;
  return best;
}

}  // namespace usbgpu_family
