// Elementwise operations with two results: the forms of pointwise.hip, once more for two outputs.
//
// apply returns a Two<T>; its parts are converted to the outputs' types.
#pragma once
#include "pair_ops.h"
#include "pointwise.hip"

namespace usbgpu::kernels {

template <int N, class Op, class Out, class Second, class... In, class... A, int... I, class Args>
__device__ __forceinline__ void apply_pack_pair(const Args& args, uint32_t first, Types<In...>, Types<A...>, Indices<I...>) {
  using Scalars = typename Signature<decltype(&Op::apply)>::Scalars;
  const Scalars scalars{args.param};
  const auto compute = [&](const Loaded<A, In, N>&... loaded) {
    Pack<typename Memory<Out>::Type, N> out;
    Pack<typename Memory<Second>::Type, N> second;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const auto result = Op::apply(scalars, A(loaded.item[k])...);
      out.item[k] = convert<Out>(result.first), second.item[k] = convert<Second>(result.second);
    }
    store_pack(args.operand[0], first * sizeof(Out), out);
    store_pack(args.operand[1], first * sizeof(Second), second);
  };
  compute(Loaded<A, In, N>(args.operand[I + 2], first)...);
}

template <int N, class Op, class Out, class Second, class... In, class Args>
__device__ __forceinline__ void contiguous_pair(const Args& args) {
  using S = Signature<decltype(&Op::apply)>;
  static_assert(S::count == sizeof...(In));
  using A = typename S::template Arguments<Types>;
  using I = typename MakeIndices<sizeof...(In)>::Type;
  const uint32_t first = (blockIdx.x * kPointwiseThreads + threadIdx.x) * N;
  if (N > 1 && first + N <= args.count) {
    apply_pack_pair<N, Op, Out, Second>(args, first, Types<In...>{}, A{}, I{});
  } else {
#pragma clang loop unroll(disable)
    for (uint32_t i = first; i < args.count && i < first + N; ++i) {
      apply_pack_pair<1, Op, Out, Second>(args, i, Types<In...>{}, A{}, I{});
    }
  }
}

template <class Op, class Out, class Second, class... In, class... A, int... I, class Args>
__device__ __forceinline__ void apply_pair_at(const Args& args, const uint32_t* offset, Types<In...>, Types<A...>, Indices<I...>) {
  using Scalars = typename Signature<decltype(&Op::apply)>::Scalars;
  const auto result = Op::apply(Scalars{args.param}, load<A, In>(args.operand[I + 2], offset[I + 2])...);
  *global_at<Out>(args.operand[0], offset[0]) = convert<Out>(result.first);
  *global_at<Second>(args.operand[1], offset[1]) = convert<Second>(result.second);
}

template <int DIMS, class Op, class Out, class Second, class... In, class Args>
__device__ __forceinline__ void strided_pair(const Args& args) {
  using S = Signature<decltype(&Op::apply)>;
  static_assert(S::count == sizeof...(In));
  constexpr int operands = 2 + sizeof...(In);
  uint32_t rest = blockIdx.x * kPointwiseThreads + threadIdx.x;
  if (rest >= args.count) return;
  uint32_t offset[operands] = {};
#pragma unroll
  for (int d = 0; d < DIMS; ++d) {
    uint32_t index = rest;
    if (d < DIMS - 1) {
      const Divisor divisor = args.size[d];
      rest = (__umulhi(rest, divisor.magic) + rest) >> divisor.shift;
      index -= rest * divisor.value;
    }
#pragma unroll
    for (int i = 0; i < operands; ++i) offset[i] += index * args.stride[i][d];
  }
  apply_pair_at<Op, Out, Second>(args, offset, Types<In...>{}, typename S::template Arguments<Types>{},
                                 typename MakeIndices<sizeof...(In)>::Type{});
}

}  // namespace usbgpu::kernels

// OP: an operation with its arithmetic type; then the types of both outputs and the inputs.
#define USBGPU_PAIR_VECTOR(SYMBOL, PARAMS, OP, ...)                                                          \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(                                                  \
      usbgpu::kernels::ContiguousArgs<usbgpu::kernels::operand_count<__VA_ARGS__>, PARAMS> args) {           \
    using namespace usbgpu::kernels;                                                                         \
    contiguous_pair<pack_width<__VA_ARGS__>, OP, __VA_ARGS__>(args);                                         \
  }
#define USBGPU_PAIR_CONTIGUOUS(SYMBOL, PARAMS, OP, ...)                                                      \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(                                                  \
      usbgpu::kernels::ContiguousArgs<usbgpu::kernels::operand_count<__VA_ARGS__>, PARAMS> args) {           \
    using namespace usbgpu::kernels;                                                                         \
    contiguous_pair<1, OP, __VA_ARGS__>(args);                                                               \
  }
#define USBGPU_PAIR_STRIDED(SYMBOL, DIMS, PARAMS, OP, ...)                                                   \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(                                                  \
      usbgpu::kernels::StridedArgs<usbgpu::kernels::operand_count<__VA_ARGS__>, PARAMS, DIMS> args) {        \
    using namespace usbgpu::kernels;                                                                         \
    strided_pair<DIMS, OP, __VA_ARGS__>(args);                                                               \
  }
