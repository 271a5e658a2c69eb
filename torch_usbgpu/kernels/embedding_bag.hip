// embedding_bag: rows of a table, summed, averaged or maximised over bags of indices; and its gradients.
//
// Forward, a thread owns a feature of a bag and takes the bag's indices in order. The gradient of the table
// is added up atomically: its last bit may differ between runs (csrc/aten/embedding_bag.cpp has a
// deterministic way, too).
#include "atomics.h"
#include "device_error.h"
#include "family.h"
#include "embedding_bag_args.h"

namespace usbgpu_family {

enum BagMode : uint32_t { kBagSum, kBagMean, kBagMax };

struct Bag {
  uint32_t first, end;
};

// A bag reaches to the next one, the last to the end of the indices. Wrong offsets are recorded and cut off.
template <typename Index>
USBGPU_INLINE Bag bag_bounds(const BagArgs& args, uint32_t bag) {
  const global_ptr<Index> offsets = at<Index>(args.offsets);
  int64_t first = (int64_t)offsets[bag];
  int64_t end = bag + 1 < args.bags || args.last_given ? (int64_t)offsets[bag + 1] : (int64_t)args.count;
  if (bag == 0 && first != 0) record_data_error(args.error_block, kBagsStart, first);
  const int64_t last = args.last_given ? end : first;
  if (bag + 1 == args.bags && last > (int64_t)args.count) record_data_error(args.error_block, kBagsEnd, last, args.count);
  if (first < 0) first = 0;
  if (end > (int64_t)args.count) end = args.count;
  return {(uint32_t)(first < end ? first : end < 0 ? 0 : end), (uint32_t)(end < 0 ? 0 : end)};
}

// A row of the table; -1: padding, or out of range (recorded).
template <typename Index>
USBGPU_INLINE int64_t bag_row(const BagArgs& args, uint32_t i) {
  const int64_t row = (int64_t)at<Index>(args.indices)[i];
  if (row >= 0 && row < args.rows) return row == args.padding ? -1 : row;
  record_out_of_bounds(args.error_block, 0, row, args.rows);
  return -1;
}

template <typename T, typename Index, BagMode Mode>
USBGPU_INLINE void embedding_bag(const BagArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t thread = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  const uint32_t columns = args.width ? args.width : 1;   // without features there are still sizes to write
  if (thread >= (uint64_t)args.bags * columns) return;
  const uint32_t bag = (uint32_t)(thread / columns), column = (uint32_t)(thread - (uint64_t)bag * columns);
  const Bag bounds = bag_bounds<Index>(args, bag);
  Acc value = 0;
  uint32_t used = 0;
  int64_t best = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = bounds.first; i < bounds.end; ++i) {
    if (column == 0) at<Index>(args.offset2bag)[i] = (Index)bag;
    const int64_t row = bag_row<Index>(args, i);
    if (row < 0) continue;
    if (args.width) {
      Acc x = convert<Acc>(at<T>(args.weight)[row * args.weight_row + (int64_t)column * args.weight_column]);
      if constexpr (Mode == kBagMax) {
        if (used == 0 || x > value) value = x, best = row;
      } else {
        if (args.sample_weight) x *= convert<Acc>(at<T>(args.sample_weight)[i]);
        value += x;
      }
    }
    ++used;
  }
  if constexpr (Mode == kBagMean) {
    if (used) value /= (Acc)used;
  }
  if (args.width) {
    at<T>(args.output)[thread] = convert<T>(value);
    if constexpr (Mode == kBagMax) at<Index>(args.max_indices)[thread] = (Index)best;
  }
  if (column != 0) return;
  at<Index>(args.bag_size)[bag] = (Index)used;
  if constexpr (Mode != kBagMax) at<Index>(args.max_indices)[bag] = (Index)used;   // says nothing: as on the CPU
}

// How often each row of the table is used.
template <typename Index>
USBGPU_INLINE void embedding_bag_count(const BagArgs& args) {
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.count) return;
  const int64_t row = bag_row<Index>(args, i);
  if (row >= 0) atomic_add<int32_t>((global_ptr<char>)(at<int32_t>(args.counts) + row), 1);
}

// The bag of index i, -1 where it is in none.
template <typename Index>
USBGPU_INLINE int64_t bag_of(const BagArgs& args, uint32_t i) {
  const int64_t bag = (int64_t)at<Index>(args.offset2bag)[i];
  return bag < (int64_t)args.bags ? bag : -1;
}

template <typename Acc, typename T, typename Index>
USBGPU_INLINE Acc bag_slope(const BagArgs& args, uint32_t i, uint32_t column, int64_t row, int64_t bag, bool mean) {
  Acc slope = convert<Acc>(at<T>(args.grad)[(uint64_t)bag * args.width + column]);
  if (args.sample_weight) slope *= convert<Acc>(at<T>(args.sample_weight)[i]);
  if (mean) slope /= (Acc)(int64_t)at<Index>(args.bag_size)[bag];
  if (args.counts) slope /= (Acc)at<int32_t>(args.counts)[row];
  return slope;
}

// A thread per feature of an index: adds to the row's gradient, which is kept in Acc.
template <typename T, typename Index, bool Mean>
USBGPU_INLINE void embedding_bag_backward(const BagArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t thread = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (thread >= (uint64_t)args.count * args.width) return;
  const uint32_t i = (uint32_t)(thread / args.width), column = (uint32_t)(thread - (uint64_t)i * args.width);
  const int64_t row = bag_row<Index>(args, i), bag = bag_of<Index>(args, i);
  if (row < 0 || bag < 0) return;
  atomic_add<Acc>((global_ptr<char>)(at<Acc>(args.output) + (uint64_t)row * args.width + column),
                  bag_slope<Acc, T, Index>(args, i, column, row, bag, Mean));
}

// The same, but each index's share is written to a row of its own, [count, width], for sums in a fixed order.
template <typename T, typename Index, bool Mean>
USBGPU_INLINE void embedding_bag_shares(const BagArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t thread = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (thread >= (uint64_t)args.count * args.width) return;
  const uint32_t i = (uint32_t)(thread / args.width), column = (uint32_t)(thread - (uint64_t)i * args.width);
  const int64_t row = bag_row<Index>(args, i), bag = bag_of<Index>(args, i);
  at<Acc>(args.output)[thread] = row < 0 || bag < 0 ? (Acc)0 : bag_slope<Acc, T, Index>(args, i, column, row, bag, Mean);
}

// Max: a thread per feature of a bag, to the row that was the largest.
template <typename T, typename Index>
USBGPU_INLINE void embedding_bag_backward_max(const BagArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t thread = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (thread >= (uint64_t)args.bags * args.width) return;
  const uint32_t bag = (uint32_t)(thread / args.width), column = (uint32_t)(thread - (uint64_t)bag * args.width);
  if (at<Index>(args.bag_size)[bag] == 0) return;
  const int64_t row = (int64_t)at<Index>(args.max_indices)[thread];
  if (row < 0 || row >= args.rows) return;
  atomic_add<Acc>((global_ptr<char>)(at<Acc>(args.output) + (uint64_t)row * args.width + column),
                  convert<Acc>(at<T>(args.grad)[thread]));
}

// A wave per index: the gradient of its weight.
template <typename T, typename Index>
USBGPU_INLINE void embedding_bag_sample_weights(const BagArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t i = blockIdx.x * 8 + wave_id();
  if (i >= args.count) return;
  const int64_t row = bag_row<Index>(args, i), bag = bag_of<Index>(args, i);
  Acc sum = 0;
  if (row >= 0 && bag >= 0) {
#pragma clang loop unroll(disable)
    for (uint32_t column = lane_id(); column < args.width; column += 32)
      sum += convert<Acc>(at<T>(args.grad)[(uint64_t)bag * args.width + column]) *
             convert<Acc>(at<T>(args.weight)[row * args.weight_row + (int64_t)column * args.weight_column]);
  }
  sum = wave_reduce(sum, Sum{});
  if (lane_id() == 0) at<T>(args.output)[i] = convert<T>(sum);
}

// embedding_renorm_: a wave per index; of those that name the same row, the first one to claim it shrinks it.
// Norm: 0, 1, 2, or 3 for the greatest element, 4 for any other (args.power)
template <typename T, typename Index, uint32_t Norm>
USBGPU_INLINE void embedding_renorm(const RenormRowsArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t i = blockIdx.x * 8 + wave_id();
  if (i >= args.count) return;
  const int64_t row = (int64_t)at<Index>(args.indices)[i];
  if (row < 0 || row >= args.rows) {
    record_out_of_bounds(args.error_block, 0, row, args.rows);
    return;
  }
  uint32_t claimed = 0;
  if (lane_id() == 0) {
    uint32_t expected = 0;
    claimed = __hip_atomic_compare_exchange_strong(at<uint32_t>(args.claims) + row, &expected, 1u, __ATOMIC_RELAXED, __ATOMIC_RELAXED,
                                                   __HIP_MEMORY_SCOPE_AGENT);
  }
  if (!__builtin_amdgcn_readfirstlane(claimed)) return;
  const global_ptr<T> values = at<T>(args.weight) + row * args.row_stride;
  Acc norm = 0;
#pragma clang loop unroll(disable)
  for (uint32_t column = lane_id(); column < args.width; column += 32) {
    const Acc x = __builtin_elementwise_abs(convert<Acc>(values[(int64_t)column * args.column_stride]));
    if constexpr (Norm == 0) norm += x != 0 ? (Acc)1 : (Acc)0;
    else if constexpr (Norm == 1) norm += x;
    else if constexpr (Norm == 2) norm += x * x;
    else if constexpr (Norm == 3) norm = Max{}(x, norm);
    else norm += ::pow(x, (Acc)args.power);
  }
  if constexpr (Norm == 3) norm = wave_reduce(norm, Max{});
  else norm = wave_reduce(norm, Sum{});
  if constexpr (Norm == 2) norm = __builtin_elementwise_sqrt(norm);
  if constexpr (Norm == 4) norm = ::pow(norm, (Acc)1 / (Acc)args.power);
  if (!(norm > (Acc)args.maximum)) return;
  const Acc scale = (Acc)args.maximum / (norm + (Acc)1e-7);   // 1e-7: torch.nn.functional.embedding's
#pragma clang loop unroll(disable)
  for (uint32_t column = lane_id(); column < args.width; column += 32) {
    const global_ptr<T> x = values + (int64_t)column * args.column_stride;
    *x = convert<T>(convert<Acc>(*x) * scale);
  }
}

}  // namespace usbgpu_family

#define USBGPU_ROWS(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::RenormRowsArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
#define USBGPU_BAG(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::BagArgs args) { \
    using namespace usbgpu_family; \
    form<__VA_ARGS__>(args); \
  }
