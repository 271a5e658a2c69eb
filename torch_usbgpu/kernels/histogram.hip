// Counting points in bins: histc, histogram, histogramdd, bincount.
//
// Unweighted bins are integers, so that the result does not depend on the order of the points;
// where they fit, a workgroup counts in LDS and adds to memory once per bin.
#include "family.h"
#include "histogram_args.h"

namespace usbgpu_family {

// How a point's bin is found: by binary search; by its place between the outer edges; by that place
// and a look at the neighbouring edges, for rounding's sake.
enum : uint32_t { kSearch, kLinear, kLinearAndLook };

template <typename T>
USBGPU_INLINE uint32_t edges_up_to(global_ptr<T> edges, uint32_t low, uint32_t high, accumulate_t<T> value) {
#pragma clang loop unroll(disable)
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (convert<accumulate_t<T>>(edges[middle]) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

// Which of `bins` equal parts of [first, last] a value lies in.
// Rounded to T after each step, as the CPU's f16 and bf16 are: points at edges fall as there.
template <typename T, typename Acc>
USBGPU_INLINE uint32_t place_between(Acc value, Acc first, Acc last, uint32_t bins) {
  const auto rounded = [](Acc x) { return convert<Acc>(convert<T>(x)); };
  return (uint32_t)rounded(rounded(rounded(value - first) * rounded((Acc)bins)) / rounded(last - first));
}

// Bin of a point, -1 outside; NaN is outside.
template <typename T, uint32_t Method>
USBGPU_INLINE int64_t bin_of(const HistogramArgs& args, uint64_t point) {
  using Acc = accumulate_t<T>;
  int64_t bin = 0;
#pragma clang loop unroll(disable)
  for (uint32_t d = 0; d < args.dims; ++d) {
    const Acc value = convert<Acc>(at<T>(args.input)[point * args.dims + d]);
    const global_ptr<T> edges = at<T>(args.edges[d]);
    const uint32_t count = args.edge_count[d];
    const Acc first = convert<Acc>(edges[0]), last = convert<Acc>(edges[count - 1]);
    if (!(value >= first && value <= last)) return -1;
    uint32_t place;
    if constexpr (Method == kSearch) {
      place = edges_up_to<T>(edges, 0, count, value) - 1;
    } else {
      place = place_between<T>(value, first, last, count - 1);
      if constexpr (Method == kLinearAndLook) {
        const uint32_t low = place ? place - 1 : 0, high = place + 2 < count ? place + 2 : count;
        place = edges_up_to<T>(edges, low < count ? low : count, high, value) - 1;
      }
    }
    // The last bin has both its edges.
    if (place >= count - 1) place = count - 2;
    bin += (int64_t)place * args.stride[d];
  }
  return bin;
}

template <typename T>
USBGPU_INLINE int64_t bin_of_integer(const HistogramArgs& args, uint64_t point) {
  const int64_t bin = (int64_t)at<T>(args.input)[point];
  return bin < (int64_t)args.bins ? bin : -1;
}

// This group's points, into `local` where the bins fit there, else into `counts`.
template <typename Args, typename Bin>
USBGPU_INLINE void count_into(const Args& args, uint32_t* local, uint64_t counts, Bin bin) {
  const bool in_lds = args.bins <= kHistogramLocal;
  if (in_lds) {
#pragma clang loop unroll(disable)
    for (uint32_t i = threadIdx.x; i < args.bins; i += 256) local[i] = 0;
    local_barrier();
  }
  const uint64_t step = (uint64_t)args.groups * 256;
#pragma clang loop unroll(disable)
  for (uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x; i < args.points; i += step) {
    const int64_t place = bin(i);
    if (place < 0) continue;
    if (in_lds) __hip_atomic_fetch_add(&local[place], 1u, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
    else __hip_atomic_fetch_add(at<uint64_t>(counts) + place, (uint64_t)1, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  }
  if (in_lds) local_barrier();
}

template <typename Args>
USBGPU_INLINE void add_local(const Args& args, const uint32_t* local, uint64_t counts) {
  if (args.bins > kHistogramLocal) return;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.bins; i += 256)
    if (local[i]) __hip_atomic_fetch_add(at<uint64_t>(counts) + i, (uint64_t)local[i], __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}

template <typename Bin>
USBGPU_INLINE void count_points(const HistogramArgs& args, Bin bin) {
  __shared__ uint32_t local[kHistogramLocal];
  count_into(args, local, args.bins_out, bin);
  add_local(args, local, args.bins_out);
}

// The group that comes last writes the result, so that no launch has to: it waits for nobody.
template <typename T>
USBGPU_INLINE void histc(const HistcArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ uint32_t local[kHistogramLocal], arrived;
  const Acc first = convert<Acc>(convert<T>(args.least)), last = convert<Acc>(convert<T>(args.most));
  count_into(args, local, args.counts, [&](uint64_t i) -> int64_t {
    const Acc value = convert<Acc>(at<T>(args.input)[i]);
    if (!(value >= first && value <= last)) return -1;
    uint32_t place;
    if constexpr (!traits<T>::floating) place = (uint32_t)((double)((uint64_t)value - (uint64_t)first) * args.bins /
                                                    (double)((uint64_t)last - (uint64_t)first));
    else place = place_between<T>(value, first, last, args.bins);
    return place < args.bins ? place : args.bins - 1;   // the last bin has both its edges
  });
  const bool alone = args.groups == 1 && args.bins <= kHistogramLocal;
  if (!alone) {
    add_local(args, local, args.counts);
    __threadfence();   // this thread's additions, before the group's arrival
    __syncthreads();
    if (threadIdx.x == 0)
      arrived = (uint32_t)__hip_atomic_fetch_add(at<uint64_t>(args.counts) + args.bins, (uint64_t)1, __ATOMIC_RELAXED,
                                                 __HIP_MEMORY_SCOPE_AGENT);
    __syncthreads();
    if (arrived != args.groups - 1) return;
    __threadfence();
  }
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.bins; i += 256) {
    const uint64_t count = alone ? local[i]
                                 : __hip_atomic_load(at<uint64_t>(args.counts) + i, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
    at<T>(args.output)[i] = convert<T>(count);
  }
}

// Sums of weights, in double: their order matters to the last bit of that only.
template <typename W, typename Bin>
USBGPU_INLINE void weigh_points(const HistogramArgs& args, Bin bin) {
  const uint64_t step = (uint64_t)args.groups * 256;
#pragma clang loop unroll(disable)
  for (uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x; i < args.points; i += step) {
    const int64_t place = bin(i);
    if (place < 0) continue;
    const double weight = convert<double>(at<W>(args.weights)[i]);
    const global_ptr<uint64_t> target = at<uint64_t>(args.bins_out) + place;
    uint64_t seen = __hip_atomic_load(target, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
    while (!__hip_atomic_compare_exchange_strong(target, &seen,
                                                 __builtin_bit_cast(uint64_t, __builtin_bit_cast(double, seen) + weight),
                                                 __ATOMIC_RELAXED, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT)) {}
  }
}

template <typename T, uint32_t Method>
USBGPU_INLINE void histogram_count(const HistogramArgs& args) {
  count_points(args, [&](uint64_t i) { return bin_of<T, Method>(args, i); });
}
template <typename T, uint32_t Method>
USBGPU_INLINE void histogram_weigh(const HistogramArgs& args) {
  weigh_points<T>(args, [&](uint64_t i) { return bin_of<T, Method>(args, i); });
}
template <typename T>
USBGPU_INLINE void bincount_count(const HistogramArgs& args) {
  count_points(args, [&](uint64_t i) { return bin_of_integer<T>(args, i); });
}
template <typename T, typename W>
USBGPU_INLINE void bincount_weigh(const HistogramArgs& args) {
  weigh_points<W>(args, [&](uint64_t i) { return bin_of_integer<T>(args, i); });
}

}  // namespace usbgpu_family

#define USBGPU_HISTOGRAM(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::HistogramArgs args) { usbgpu_family::__VA_ARGS__(args); }
#define USBGPU_HISTC(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::HistcArgs args) { usbgpu_family::histc<T>(args); }
