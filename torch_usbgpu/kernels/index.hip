// Gathers, scatters, masks, flips. Elements are moved as words of their size; only
// reductions know their type.
#include "atomics.h"
#include "complex_family.h"
#include "device_error.h"
#include "family.h"
#include "index_args.h"
#include "walk.h"

namespace usbgpu_family {

// Sum of index * stride over all index tensors; false (and recorded) if one is out of bounds.
template <typename Index, uint32_t Indices>
USBGPU_INLINE bool indexed_offset(const IndexArgs<Indices>& args, const Position<2 + Indices>& position, int64_t& offset) {
  bool valid = true;
  offset = 0;
#pragma unroll
  for (uint32_t k = 0; k < Indices; ++k) {
    int64_t index = (int64_t)*position.template of<Index>(args.walk, 2 + k), size = args.size[k];
    int64_t wrapped = index < 0 && args.allow_negative ? index + size : index;
    if (wrapped < 0 || wrapped >= size) {
      record_out_of_bounds(args.error_block, args.dimension[k], index, size);
      valid = false;
    }
    offset += wrapped * args.stride[k];
  }
  return valid;
}

// result[walk] = source[walk][indices]
template <uint32_t Bytes, typename Index, uint32_t Indices>
USBGPU_INLINE void index_get(const IndexArgs<Indices>& args) {
  using T = typename word<Bytes>::type;
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.walk.count) return;
  const Position<2 + Indices> position(args.walk, i);
  int64_t offset;
  T value = 0;
  if (indexed_offset<Index>(args, position, offset))
    value = *(global_ptr<T>)((global_ptr<char>)position.template of<char>(args.walk, 1) + offset);
  *position.template of<T>(args.walk, 0) = value;
}

// result[walk][indices] = source[walk] (or the value). Which of several writers wins is not defined.
template <uint32_t Bytes, typename Index, uint32_t Indices>
USBGPU_INLINE void index_put(const IndexArgs<Indices>& args) {
  using T = typename word<Bytes>::type;
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.walk.count) return;
  const Position<2 + Indices> position(args.walk, i);
  int64_t offset;
  if (!indexed_offset<Index>(args, position, offset)) return;
  const T value = args.walk.address[1] ? *position.template of<T>(args.walk, 1) : (T)args.value;
  *(global_ptr<T>)((global_ptr<char>)position.template of<char>(args.walk, 0) + offset) = value;
}

struct ReduceAdd { template <typename T> USBGPU_INLINE T operator()(T a, T b) const { return a + b; } };
struct ReduceMultiply { template <typename T> USBGPU_INLINE T operator()(T a, T b) const { return a * b; } };
struct ReduceMaximum { template <typename T> USBGPU_INLINE T operator()(T a, T b) const { return (a > b || a != a) ? a : b; } };
struct ReduceMinimum { template <typename T> USBGPU_INLINE T operator()(T a, T b) const { return (a < b || a != a) ? a : b; } };

// result[walk][indices] = op(result[walk][indices], source[walk])
template <typename T, typename Op, typename Index, uint32_t Indices>
USBGPU_INLINE void index_reduce(const IndexArgs<Indices>& args) {
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.walk.count) return;
  const Position<2 + Indices> position(args.walk, i);
  int64_t offset;
  if (!indexed_offset<Index>(args, position, offset)) return;
  T value;
  if (args.walk.address[1]) value = *position.template of<T>(args.walk, 1);
  else value = __builtin_bit_cast(T, (typename word<sizeof(T)>::type)args.value);
  const global_ptr<char> to = position.template of<char>(args.walk, 0) + offset;
  if constexpr (same_type<Op, ReduceAdd>::value) {
    atomic_add(to, value);
  } else {
    atomic_combine<T>(to, value, Op{});
  }
}

// ---- in a fixed order (torch.use_deterministic_algorithms): each element's address is written down,
// these are sorted stably, and one thread takes all that goes to one address, in the walk's order.
inline constexpr int64_t kNowhere = 0x7fffffffffffffff;

template <typename Index, uint32_t Indices>
USBGPU_INLINE void index_places(const IndexArgs<Indices>& args) {
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.walk.count) return;
  const Position<2 + Indices> position(args.walk, i);
  int64_t offset, place = kNowhere;
  if (indexed_offset<Index>(args, position, offset)) place = (int64_t)(position.template of<char>(args.walk, 0) + offset);
  at<int64_t>(args.keys)[i] = place;
}

// f(source) for all sources of the place that position i is the first of.
template <typename T, uint32_t Indices, typename F>
USBGPU_INLINE void for_sources(const IndexArgs<Indices>& args, uint32_t i, F f) {
  const int64_t place = at<int64_t>(args.keys)[i];
#pragma clang loop unroll(disable)
  for (; i < args.walk.count && at<int64_t>(args.keys)[i] == place; ++i) {
    const Position<2 + Indices> position(args.walk, (uint32_t)at<int64_t>(args.order)[i]);
    f(read_element(position.template of<T>(args.walk, 1)));
  }
}
template <uint32_t Indices>
USBGPU_INLINE bool first_of_place(const IndexArgs<Indices>& args, uint32_t i) {
  if (i >= args.walk.count) return false;
  const int64_t place = at<int64_t>(args.keys)[i];
  return place != kNowhere && (i == 0 || at<int64_t>(args.keys)[i - 1] != place);
}

template <uint32_t Bytes, uint32_t Indices>
USBGPU_INLINE void ordered_put(const IndexArgs<Indices>& args) {
  using T = typename word<Bytes>::type;
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (!first_of_place(args, i)) return;
  T last{};
  for_sources<T>(args, i, [&](T value) { last = value; });
  *at<T>((uint64_t)at<int64_t>(args.keys)[i]) = last;
}

template <typename T, typename Op, uint32_t Indices>
USBGPU_INLINE void ordered_reduce(const IndexArgs<Indices>& args) {
  using Acc = typename select<traits<T>::floating, accumulate_t<T>, T>::type;
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (!first_of_place(args, i)) return;
  const global_ptr<T> to = at<T>((uint64_t)at<int64_t>(args.keys)[i]);
  Acc result = usbgpu_family::convert<Acc>(read_element(to));
  for_sources<T>(args, i, [&](T value) { result = Op{}(result, usbgpu_family::convert<Acc>(value)); });
  write_element(to, usbgpu_family::convert<T>(result));
}

template <uint32_t Bytes>
USBGPU_INLINE void masked_fill(const MaskedFillArgs& args) {
  using T = typename word<Bytes>::type;
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.walk.count) return;
  const Position<2> position(args.walk, i);
  if (!*position.of<uint8_t>(args.walk, 1)) return;
  *position.of<T>(args.walk, 0) = args.value_address ? at<T>(args.value_address)[0] : (T)args.value;
}

template <uint32_t Bytes>
USBGPU_INLINE void strided_copy(const CopyArgs& args) {
  using T = typename word<Bytes>::type;
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.walk.count) return;
  const Position<2> position(args.walk, i);
  *position.of<T>(args.walk, 0) = *position.of<T>(args.walk, 1);
}

// ---- compaction: where the mask is set, in order. Each thread owns 8 neighbouring elements.
inline constexpr uint32_t kPerThread = kCompactElements / 256;

USBGPU_INLINE uint64_t compact_first() { return (uint64_t)blockIdx.x * kCompactElements + threadIdx.x * kPerThread; }
USBGPU_INLINE uint32_t compact_bits(const CompactArgs& args) {
  const uint64_t first = compact_first();
  uint32_t bits = 0;
#pragma unroll
  for (uint32_t k = 0; k < kPerThread; ++k)
    if (first + k < args.count && at<uint8_t>(args.mask)[first + k]) bits |= 1u << k;
  return bits;
}

USBGPU_INLINE void compact_count(const CompactArgs& args) {
  __shared__ uint32_t scratch[8];
  const uint32_t sum = block_reduce<256>((uint32_t)__builtin_popcount(compact_bits(args)), Sum{}, scratch);
  if (threadIdx.x == 0) at<uint32_t>(args.counts)[blockIdx.x] = sum;
}

// One workgroup: counts become their exclusive prefix.
USBGPU_INLINE void compact_scan(const CompactArgs& args) {
  __shared__ uint32_t scratch[8];
  uint64_t before = 0;
#pragma clang loop unroll(disable)
  for (uint32_t first = 0; first < args.groups; first += 256) {
    const uint32_t i = first + threadIdx.x;
    uint32_t all, count = i < args.groups ? at<uint32_t>(args.counts)[i] : 0;
    uint32_t prefix = block_exclusive_sum(count, all, scratch);
    if (i < args.groups) at<uint32_t>(args.counts)[i] = (uint32_t)before + prefix;
    before += all;
  }
  if (threadIdx.x == 0) at<int64_t>(args.total)[0] = (int64_t)before;
}

// visit(position among the set elements, element)
template <typename Visit>
USBGPU_INLINE void compact_visit(const CompactArgs& args, Visit visit) {
  __shared__ uint32_t scratch[8];
  uint32_t bits = compact_bits(args), all;
  uint64_t to = at<uint32_t>(args.counts)[blockIdx.x] + (uint64_t)block_exclusive_sum(__builtin_popcount(bits), all, scratch);
  const uint64_t first = compact_first();
#pragma clang loop unroll(disable)
  for (; bits; bits &= bits - 1) visit(to++, first + __builtin_ctz(bits));
}

USBGPU_INLINE void nonzero(const CompactArgs& args) {
  compact_visit(args, [&](uint64_t to, uint64_t element) {
    if (to >= args.output_rows) return;
    const global_ptr<int64_t> row = at<int64_t>(args.output) + to * args.dims;
#pragma clang loop unroll(disable)
    for (uint32_t d = args.dims; d-- > 0;) {
      uint64_t rest = element / args.size[d];
      row[d] = (int64_t)(element - rest * args.size[d]);
      element = rest;
    }
  });
}

template <uint32_t Bytes>
USBGPU_INLINE void masked_select(const CompactArgs& args) {
  using T = typename word<Bytes>::type;
  compact_visit(args, [&](uint64_t to, uint64_t element) { at<T>(args.output)[to] = at<T>(args.source)[element]; });
}

template <uint32_t Bytes>
USBGPU_INLINE void masked_scatter(const CompactArgs& args) {
  using T = typename word<Bytes>::type;
  compact_visit(args, [&](uint64_t from, uint64_t element) {
    if (from < args.source_count) at<T>(args.output)[element] = at<T>(args.source)[from];
    else record_out_of_bounds(args.error_block, 0, (int64_t)from, (int64_t)args.source_count);
  });
}

}  // namespace usbgpu_family

#define USBGPU_INDEX(symbol, indices, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::IndexArgs<indices> args) { usbgpu_family::__VA_ARGS__(args); }
#define USBGPU_INDEX_REDUCE(symbol, indices, T, Op, Index) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::IndexArgs<indices> args) { \
    usbgpu_family::index_reduce<T, usbgpu_family::Op, Index>(args); \
  }
#define USBGPU_MOVE(symbol, Args, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::Args args) { usbgpu_family::__VA_ARGS__(args); }
