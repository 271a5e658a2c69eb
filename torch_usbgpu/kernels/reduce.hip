// Reductions over any set of dimensions of any strided tensor.
//
// Four ways to share the work, all with workgroups of 256 threads (the host chooses):
//   row, 32      a wave per output, lanes along the reduced dimension
//   row, 256     a workgroup per output
//   row, packed  both of these, of rows dense and aligned: 16 bytes per load
//   column, 1    a thread per output, neighbouring threads at neighbouring outputs
//   column, 8    eight threads per output, combined through LDS
// Very long reductions into few outputs are cut into segments (grid.y); a second kernel combines them.
#pragma once
#include <hip/hip_runtime.h>

#include "convert.h"
#include "reduce_args.h"
#include "reduce_ops.h"

namespace usbgpu::kernels {

// Splits a linear index over DIMS dimensions and adds up the byte offset.
template <int DIMS>
__device__ __forceinline__ void split(uint32_t linear, const Divisor* sizes, uint32_t* index) {
#pragma unroll
  for (int d = 0; d < DIMS; ++d) {
    if (d == DIMS - 1) {
      index[d] = linear;
    } else {
      const uint32_t quotient = (__umulhi(linear, sizes[d].magic) + linear) >> sizes[d].shift;
      index[d] = linear - quotient * sizes[d].value;
      linear = quotient;
    }
  }
}
template <int DIMS>
__device__ __forceinline__ uint32_t dot(const uint32_t* index, const uint32_t* stride) {
  uint32_t sum = 0;
#pragma unroll
  for (int d = 0; d < DIMS; ++d) sum += index[d] * stride[d];
  return sum;
}

template <class Op, class Out, class Second, int KEPT, int REDUCED>
__device__ __forceinline__ void write_result(const ReduceArgs<KEPT, REDUCED>& args, const uint32_t* index,
                                             typename Op::Acc value, uint32_t count) {
  write_global<Out>(args.out, dot<KEPT>(index, args.out_stride), convert<Out>(Op::finish(value, count, args.param)));
  if constexpr (Op::two_outputs) {
    *global_at<Second>(args.second, dot<KEPT>(index, args.second_stride)) =
        convert<Second>(Op::finish_second(value, count, args.param));
  }
}

// Elements first, first + step, ... below end, in four independent chains.
template <class Op, class In, int KEPT, int REDUCED>
__device__ __forceinline__ typename Op::Acc accumulate(const ReduceArgs<KEPT, REDUCED>& args, uint32_t base, uint32_t first,
                                                       uint32_t end, uint32_t step) {
  using T = typename Op::Input;
  const auto element = [&](uint32_t i) {
    uint32_t index[REDUCED];
    split<REDUCED>(i, args.reduced, index);
    return convert<T>(read_global<In>(args.in, base + dot<REDUCED>(index, args.reduced_stride)));
  };
  typename Op::Acc acc[4] = {Op::start(), Op::start(), Op::start(), Op::start()};
  uint32_t i = first;
#pragma clang loop unroll(disable)
  for (; i + 3 * step < end && i + 3 * step >= i; i += 4 * step) {
    T value[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) value[k] = element(i + k * step);
#pragma unroll
    for (int k = 0; k < 4; ++k) acc[k] = Op::step(acc[k], value[k], i + k * step, args.param);
  }
#pragma clang loop unroll(disable)
  for (; i < end; i += step) acc[0] = Op::step(acc[0], element(i), i, args.param);
  return Op::combine(Op::combine(acc[0], acc[1]), Op::combine(acc[2], acc[3]));
}

// The same where the elements are neighbours, and element 0 and `begin` at multiples of 16 bytes.
template <class Op, class In, int KEPT, int REDUCED>
__device__ __forceinline__ typename Op::Acc accumulate_packed(const ReduceArgs<KEPT, REDUCED>& args, uint32_t base, uint32_t begin,
                                                              uint32_t slice, uint32_t end, uint32_t step) {
  using T = typename Op::Input;
  typedef unsigned Pack __attribute__((ext_vector_type(4)));
  constexpr uint32_t width = 16 / sizeof(In);
  struct Items { In item[width]; };
  typename Op::Acc acc[4] = {Op::start(), Op::start(), Op::start(), Op::start()};
  const uint32_t packs = end > begin ? (end - begin) / width : 0;
  const auto load = [&](uint32_t pack) { return *global_at<const Pack>(args.in, base + (begin + pack * width) * sizeof(In)); };
  const auto take = [&](Pack pack, uint32_t at) {
    const Items items = __builtin_bit_cast(Items, pack);
#pragma unroll
    for (uint32_t k = 0; k < width; ++k) {
      acc[k % 4] = Op::step(acc[k % 4], convert<T>(items.item[k]), begin + at * width + k, args.param);
    }
  };
  uint32_t i = slice;
#pragma clang loop unroll(disable)
  for (; i + step < packs; i += 2 * step) {
    const Pack first = load(i), second = load(i + step);
    take(first, i);
    take(second, i + step);
  }
  if (i < packs) take(load(i), i);
  // what is left is less than a pack
  const uint32_t last = begin + packs * width + slice;
  if (last < end) {
    acc[0] = Op::step(acc[0], convert<T>(read_global<In>(args.in, base + last * sizeof(In))), last, args.param);
  }
  return Op::combine(Op::combine(acc[0], acc[1]), Op::combine(acc[2], acc[3]));
}

template <class Op, class In, class Out, class Second, bool ROW, bool PACKED, int SLICES, bool TWO_PASS, int KEPT, int REDUCED>
__device__ __forceinline__ void reduce(const ReduceArgs<KEPT, REDUCED>& args) {
  using Acc = typename Op::Acc;
  constexpr int per_group = kReduceThreads / SLICES;
  const uint32_t thread = threadIdx.x;
  const uint32_t slice = ROW ? thread % SLICES : thread / per_group;
  const uint32_t output = blockIdx.x * per_group + (ROW ? thread / SLICES : thread % per_group);
  const bool exists = output < args.outputs;
  uint32_t index[KEPT];
  split<KEPT>(exists ? output : 0, args.kept, index);
  const uint32_t begin = TWO_PASS ? blockIdx.y * args.segment_length : 0;
  const uint32_t end = TWO_PASS ? min(begin + args.segment_length, args.length) : args.length;
  const uint32_t base = dot<KEPT>(index, args.in_stride);
  Acc value;
  if constexpr (PACKED) value = accumulate_packed<Op, In>(args, base, begin, slice, exists ? end : 0, SLICES);
  else value = accumulate<Op, In>(args, base, begin + slice, exists ? end : 0, SLICES);

  const auto combine = [](Acc a, Acc b) { return Op::combine(a, b); };
  bool writes = exists;
  if constexpr (ROW && SLICES == 32) {
    value = usbgpu::wave_reduce(value, combine);
    writes = exists && slice == 0;
  } else if constexpr (ROW) {
    value = usbgpu::block_reduce<kReduceThreads>(value, combine, Op::start());
    writes = exists && slice == 0;
  } else if constexpr (SLICES > 1) {
    __shared__ Acc shared[SLICES][per_group];
    const uint32_t column = thread % per_group;
    shared[slice][column] = value;
    __syncthreads();
    writes = exists && slice == 0;
    if (writes) {
      for (int s = 1; s < SLICES; ++s) value = Op::combine(value, shared[s][column]);
    }
  }
  if (!writes) return;
  if constexpr (TWO_PASS) {
    reinterpret_cast<Acc*>(args.partial)[blockIdx.y * args.outputs + output] = value;
  } else {
    write_result<Op, Out, Second>(args, index, value, args.length);
  }
}

// Second pass: a workgroup per output.
template <class Op, class Out, class Second, int KEPT, int REDUCED>
__device__ __forceinline__ void reduce_partials(const ReduceArgs<KEPT, REDUCED>& args) {
  using Acc = typename Op::Acc;
  const uint32_t output = blockIdx.x;
  Acc value = Op::start();
  for (uint32_t s = threadIdx.x; s < args.segments; s += kReduceThreads) {
    value = Op::combine(value, reinterpret_cast<const Acc*>(args.partial)[s * args.outputs + output]);
  }
  value = usbgpu::block_reduce<kReduceThreads>(value, [](Acc a, Acc b) { return Op::combine(a, b); }, Op::start());
  if (threadIdx.x != 0) return;
  uint32_t index[KEPT];
  split<KEPT>(output, args.kept, index);
  write_result<Op, Out, Second>(args, index, value, args.length);
}

}  // namespace usbgpu::kernels

#define USBGPU_REDUCE(SYMBOL, OP, IN, OUT, SECOND, ROW, PACKED, SLICES, TWO_PASS, KEPT, REDUCED)                  \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::ReduceArgs<KEPT, REDUCED> args) {     \
    usbgpu::kernels::reduce<OP, IN, OUT, SECOND, ROW, PACKED, SLICES, TWO_PASS>(args);                            \
  }
#define USBGPU_REDUCE_PARTIALS(SYMBOL, OP, OUT, SECOND, KEPT, REDUCED)                                            \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::ReduceArgs<KEPT, REDUCED> args) {     \
    usbgpu::kernels::reduce_partials<OP, OUT, SECOND>(args);                                                      \
  }
