// cdist and pdist with their gradients, and the factors of renorm.
//
// A distance is taken by one lane, or, of long vectors, by a wave; where both sides have many rows, a
// workgroup takes a tile of them, as a matrix product would. Gradients are gathered, an element of the
// result per thread: no atomics, the same sum every time.
#include "complex_family.h"
#include "distance_args.h"

namespace usbgpu_family {

enum DistanceNorm { kDistanceZero, kDistanceOne, kDistanceTwo, kDistanceInfinite, kDistanceAny };

template <typename T> USBGPU_INLINE T absolute(T x) { return __builtin_elementwise_abs(x); }

template <DistanceNorm Norm, typename T>
USBGPU_INLINE T distance_step(T sum, T difference, T p) {
  const T size = absolute(difference);
  if constexpr (Norm == kDistanceZero) return sum + (size != 0 ? T(1) : T(0));
  else if constexpr (Norm == kDistanceOne) return sum + size;
  else if constexpr (Norm == kDistanceTwo) return sum + size * size;
  else if constexpr (Norm == kDistanceInfinite) return Max{}(size, sum);
  else return sum + ::pow(size, p);
}

template <DistanceNorm Norm, typename T>
USBGPU_INLINE T distance_end(T sum, T p) {
  if constexpr (Norm == kDistanceTwo) return __builtin_elementwise_sqrt(sum);
  else if constexpr (Norm == kDistanceAny) return ::pow(sum, T(1) / p);
  else return sum;
}

// Pairs (0,1) (0,2) ... (1,2) ...: before row i there are i * (2n - i - 1) / 2.
USBGPU_INLINE void pair_of(uint64_t k, uint64_t n, uint32_t& i, uint32_t& j) {
  const double b = 2.0 * (double)n - 1.0;
  const double root = b * b - 8.0 * (double)k;
  int64_t row = (int64_t)((b - __builtin_elementwise_sqrt(root > 0 ? root : 0.0)) * 0.5);
  // the root is rounded: the row may be one off
  while (row > 0 && (uint64_t)row * (2 * n - row - 1) / 2 > k) --row;
  while ((uint64_t)(row + 1) * (2 * n - row - 2) / 2 <= k) ++row;
  i = (uint32_t)row;
  j = (uint32_t)(k - (uint64_t)row * (2 * n - row - 1) / 2 + row + 1);
}
USBGPU_INLINE uint64_t pair_index(uint64_t i, uint64_t j, uint64_t n) { return i * (2 * n - i - 1) / 2 + j - i - 1; }

template <typename T, DistanceNorm Norm, uint32_t Lanes, bool Pairs>
USBGPU_INLINE void distance(const DistanceArgs& args) {
  const uint64_t k = (uint64_t)blockIdx.x * (256 / Lanes) + threadIdx.x / Lanes;
  if (k >= args.count) return;
  uint64_t a, b;
  if constexpr (Pairs) {
    uint32_t i, j;
    pair_of(k, args.rows1, i, j);
    a = i, b = j;
  } else {
    const uint64_t row = k / args.rows2, batch = row / args.rows1;
    a = row, b = batch * args.rows2 + (k - row * args.rows2);
  }
  const global_ptr<T> x1 = at<T>(args.x1) + a * args.width, x2 = at<T>(args.x2) + b * args.width;
  const T p = (T)args.p;
  T sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t m = Lanes == 1 ? 0 : lane_id(); m < args.width; m += Lanes) sum = distance_step<Norm>(sum, x1[m] - x2[m], p);
  if constexpr (Lanes > 1) {
    if constexpr (Norm == kDistanceInfinite) sum = wave_reduce(sum, Max{});
    else sum = wave_reduce(sum, Sum{});
    if (lane_id() != 0) return;
  }
  at<T>(args.output)[k] = distance_end<Norm>(sum, p);
}

// [kDistanceTile, kDistanceTile] distances of a group: 4 x 4 per thread, both sides' vectors through LDS in
// pieces of kDistanceDepth. Differences are squared as they are: the product form, |a|^2 - 2ab + |b|^2,
// would lose the distances of near points.
template <typename T, DistanceNorm Norm>
USBGPU_INLINE void distance_tiled(const DistanceArgs& args) {
  constexpr uint32_t kRow = kDistanceTile + 4;   // a quarter of the banks apart, and still aligned for four at once
  __shared__ __attribute__((aligned(16))) T left[kDistanceDepth][kRow], right[kDistanceDepth][kRow];
  const uint32_t row = blockIdx.y * kDistanceTile, column = blockIdx.x * kDistanceTile;
  const uint32_t down = threadIdx.x / 16 * 4, across = threadIdx.x % 16 * 4, depth = threadIdx.x % kDistanceDepth;
  const global_ptr<T> x1 = at<T>(args.x1) + (uint64_t)blockIdx.z * args.rows1 * args.width;
  const global_ptr<T> x2 = at<T>(args.x2) + (uint64_t)blockIdx.z * args.rows2 * args.width;
  const T p = (T)args.p;
  T sum[4][4] = {};
#pragma clang loop unroll(disable)
  for (uint32_t first = 0; first < args.width; first += kDistanceDepth) {
    const uint32_t m = first + depth;
    T a[4], b[4];
#pragma unroll
    for (uint32_t k = 0; k < 4; ++k) {   // beyond the end both sides are 0, and so is what they add
      const uint32_t i = threadIdx.x / kDistanceDepth + k * (256 / kDistanceDepth);
      a[k] = m < args.width && row + i < args.rows1 ? x1[(uint64_t)(row + i) * args.width + m] : T(0);
      b[k] = m < args.width && column + i < args.rows2 ? x2[(uint64_t)(column + i) * args.width + m] : T(0);
    }
    local_barrier();
#pragma unroll
    for (uint32_t k = 0; k < 4; ++k) {
      const uint32_t i = threadIdx.x / kDistanceDepth + k * (256 / kDistanceDepth);
      left[depth][i] = a[k], right[depth][i] = b[k];
    }
    local_barrier();
#pragma clang loop unroll(disable)
    for (uint32_t k = 0; k < kDistanceDepth; ++k) {
      T u[4], v[4];
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) u[i] = left[k][down + i], v[i] = right[k][across + i];
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i)
#pragma unroll
        for (uint32_t j = 0; j < 4; ++j) sum[i][j] = distance_step<Norm>(sum[i][j], u[i] - v[j], p);
    }
  }
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
    if (row + down + i >= args.rows1) break;
    const global_ptr<T> to = at<T>(args.output) + ((uint64_t)blockIdx.z * args.rows1 + row + down + i) * args.rows2 + column + across;
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j)
      if (column + across + j < args.rows2) to[j] = distance_end<Norm>(sum[i][j], p);
  }
}

// d distance / d difference, times g
template <DistanceNorm Norm, typename T>
USBGPU_INLINE T distance_slope(T difference, T g, T distance, T p) {
  const T sign = difference > 0 ? T(1) : difference < 0 ? T(-1) : difference != difference ? difference : T(0);
  const T size = absolute(difference);
  if constexpr (Norm == kDistanceZero) return T(0);
  else if constexpr (Norm == kDistanceOne) return g * sign;
  else if constexpr (Norm == kDistanceTwo) return distance == 0 ? T(0) : g * difference / distance;
  else if constexpr (Norm == kDistanceInfinite) return size == distance ? g * sign : T(0);
  else {
    if (distance == 0 || (p < 1 && difference == 0)) return T(0);
    // (|difference| / distance)^(p - 1)
    return g * sign * ::pow(size, p - T(1)) / ::pow(distance, p - T(1));
  }
}

template <typename T, DistanceNorm Norm, bool Pairs>
USBGPU_INLINE void distance_backward(const DistanceArgs& args) {
  const uint64_t index = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (index >= args.count) return;
  const uint64_t row = index / args.width, batch = row / args.rows1, i = row - batch * args.rows1;
  const uint32_t m = (uint32_t)(index - row * args.width);
  const T p = (T)args.p, x = at<T>(args.x1)[index];
  T sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t j = 0; j < args.rows2; ++j) {
    uint64_t k;
    if constexpr (Pairs) {
      if (j == i) continue;
      k = i < j ? pair_index(i, j, args.rows1) : pair_index(j, i, args.rows1);
    } else {
      k = row * args.rows2 + j;
    }
    const T difference = x - at<T>(args.x2)[(batch * args.rows2 + j) * args.width + m];
    sum += distance_slope<Norm>(difference, at<T>(args.grad)[k], at<T>(args.distance)[k], p);
  }
  at<T>(args.output)[index] = sum;
}

// 1 where the norm is small enough; 1e-7 as torch.renorm has it
template <typename Out, typename In>
USBGPU_INLINE void renorm_factor(const RenormArgs& args) {
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.count) return;
  const accumulate_t<In> norm = convert<accumulate_t<In>>(at<In>(args.norm)[i]), maximum = (accumulate_t<In>)args.maximum;
  const accumulate_t<In> factor = norm > maximum ? maximum / (norm + (accumulate_t<In>)1e-7) : (accumulate_t<In>)1;
  write_element(at<Out>(args.factor) + i, usbgpu_family::convert<Out>(factor));
}

}  // namespace usbgpu_family

#define USBGPU_DISTANCE(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::DistanceArgs args) { \
    using namespace usbgpu_family; \
    form<__VA_ARGS__>(args); \
  }
#define USBGPU_RENORM(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::RenormArgs args) { usbgpu_family::renorm_factor<__VA_ARGS__>(args); }
