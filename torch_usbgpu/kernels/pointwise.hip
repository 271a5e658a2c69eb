// Any elementwise operation, over any mixture of element types and layouts.
//
// An operation (pointwise_ops.h) is a struct template over its arithmetic type with a static
// apply(scalars, a, b, ...). Operands are converted to apply's parameter types when loaded and its
// result to the output type when stored: ATen's iterators do not cast for devices.
#pragma once
#include <hip/hip_runtime.h>

#include "convert.h"
#include "pointwise_args.h"
#include "pointwise_ops.h"

namespace usbgpu::kernels {

// bool lives in memory as a byte: arrays of the compiler's own bool end up in scratch.
template <class T> struct Memory { using Type = T; };
template <> struct Memory<bool> { using Type = uint8_t; };

struct Scalar {};   // stands for the type of an operand that is passed by value

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T item[N];
};

// Types of apply's parameters after the scalars.
template <class F> struct Signature;
template <class R, class S, class... A>
struct Signature<R (*)(S, A...)> {
  using Scalars = S;
  template <template <class...> class To> using Arguments = To<A...>;
  static constexpr int count = sizeof...(A);
};

template <int... I> struct Indices {};
template <int N, int... I> struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I> struct MakeIndices<0, I...> { using Type = Indices<I...>; };

template <class... T> struct Types {};
template <int I, class List> struct At;
template <class Head, class... Tail> struct At<0, Types<Head, Tail...>> { using Type = Head; };
template <int I, class Head, class... Tail>
struct At<I, Types<Head, Tail...>> { using Type = typename At<I - 1, Types<Tail...>>::Type; };

template <int... values> constexpr int maximum() {
  int result = 1;
  ((result = values > result ? values : result), ...);
  return result;
}
template <class T> struct SizeOf { static constexpr int value = sizeof(T); };
template <> struct SizeOf<Scalar> { static constexpr int value = 1; };

// A pack moves as a vector of words: structs cannot be assigned across address spaces.
template <int BYTES> struct Word;
template <> struct Word<1> { using Type = unsigned char; };
template <> struct Word<2> { using Type = unsigned short; };
template <> struct Word<4> { using Type = unsigned; };
template <> struct Word<8> { typedef unsigned Type __attribute__((ext_vector_type(2))); };
template <> struct Word<16> { typedef unsigned Type __attribute__((ext_vector_type(4))); };

template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_pack(uint64_t base, uint32_t byte_offset) {
  using W = typename Word<sizeof(T) * N>::Type;
  return __builtin_bit_cast(Pack<T, N>, *global_at<const W>(base, byte_offset));
}
template <class T, int N>
__device__ __forceinline__ void store_pack(uint64_t base, uint32_t byte_offset, const Pack<T, N>& pack) {
  using W = typename Word<sizeof(T) * N>::Type;
  *global_at<W>(base, byte_offset) = __builtin_bit_cast(W, pack);
}

// One operand of the vector kernel: N items of In converted to T.
template <class T, class In, int N>
struct Loaded {
  typename Memory<T>::Type item[N];
  __device__ __forceinline__ Loaded(uint64_t operand, uint32_t first) {
    if constexpr (same<In, Scalar>) {
#pragma unroll
      for (int i = 0; i < N; ++i) item[i] = from_bits<T>(operand);
    } else {
      const auto pack = load_pack<typename Memory<In>::Type, N>(operand, first * sizeof(In));
#pragma unroll
      for (int i = 0; i < N; ++i) item[i] = convert<T>(pack.item[i]);
    }
  }
};

template <class T, class In>
__device__ __forceinline__ T load(uint64_t operand, uint32_t byte_offset) {
  if constexpr (same<In, Scalar>) {
    return from_bits<T>(operand);
  } else {
    return convert<T>(read_global<typename Memory<In>::Type>(operand, byte_offset));
  }
}

template <int N, class Op, class Out, class... In, class... A, int... I, class Args>
__device__ __forceinline__ void apply_pack(const Args& args, uint32_t first, Types<In...>, Types<A...>, Indices<I...>) {
  using Scalars = typename Signature<decltype(&Op::apply)>::Scalars;
  const Scalars scalars{args.param};
  const auto compute = [&](const Loaded<A, In, N>&... loaded) {
    Pack<typename Memory<Out>::Type, N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) out.item[k] = convert<Out>(Op::apply(scalars, A(loaded.item[k])...));
    store_pack(args.operand[0], first * sizeof(Out), out);
  };
  compute(Loaded<A, In, N>(args.operand[I + 1], first)...);
}

template <int N, class Op, class Out, class... In, class Args>
__device__ __forceinline__ void contiguous(const Args& args) {
  using S = Signature<decltype(&Op::apply)>;
  static_assert(S::count == sizeof...(In));
  using A = typename S::template Arguments<Types>;
  using I = typename MakeIndices<sizeof...(In)>::Type;
  const uint32_t first = (blockIdx.x * kPointwiseThreads + threadIdx.x) * N;
  if constexpr (N == 1) {
    if (first < args.count) apply_pack<1, Op, Out>(args, first, Types<In...>{}, A{}, I{});
  } else {
    if (first + N <= args.count) {
      apply_pack<N, Op, Out>(args, first, Types<In...>{}, A{}, I{});
    } else {
#pragma clang loop unroll(disable)
      for (uint32_t i = first; i < args.count; ++i) apply_pack<1, Op, Out>(args, i, Types<In...>{}, A{}, I{});
    }
  }
}

template <class Op, class Out, class... In, class... A, int... I, class Args>
__device__ __forceinline__ void apply_at(const Args& args, const uint32_t* offset, Types<In...>, Types<A...>, Indices<I...>) {
  using Scalars = typename Signature<decltype(&Op::apply)>::Scalars;
  write_global<Out>(args.operand[0], offset[0],
                    convert<Out>(Op::apply(Scalars{args.param}, load<A, In>(args.operand[I + 1], offset[I + 1])...)));
}

template <int DIMS, class Op, class Out, class... In, class Args>
__device__ __forceinline__ void strided(const Args& args) {
  using S = Signature<decltype(&Op::apply)>;
  static_assert(S::count == sizeof...(In));
  constexpr int operands = 1 + sizeof...(In);
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
  apply_at<Op, Out>(args, offset, Types<In...>{}, typename S::template Arguments<Types>{},
                    typename MakeIndices<sizeof...(In)>::Type{});
}

template <class Out, class... In> constexpr int operand_count = 1 + sizeof...(In);
template <class Out, class... In>
constexpr int pack_width = vector_width(maximum<static_cast<int>(sizeof(Out)), SizeOf<In>::value...>());

}  // namespace usbgpu::kernels

// OP: an operation with its arithmetic type; then the types of the output and the inputs.
#define USBGPU_POINTWISE_VECTOR(SYMBOL, PARAMS, OP, ...)                                                     \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(                                                  \
      usbgpu::kernels::ContiguousArgs<usbgpu::kernels::operand_count<__VA_ARGS__>, PARAMS> args) {           \
    using namespace usbgpu::kernels;                                                                         \
    contiguous<pack_width<__VA_ARGS__>, OP, __VA_ARGS__>(args);                                              \
  }

#define USBGPU_POINTWISE_CONTIGUOUS(SYMBOL, PARAMS, OP, ...)                                                 \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(                                                  \
      usbgpu::kernels::ContiguousArgs<usbgpu::kernels::operand_count<__VA_ARGS__>, PARAMS> args) {           \
    using namespace usbgpu::kernels;                                                                         \
    contiguous<1, OP, __VA_ARGS__>(args);                                                                    \
  }

#define USBGPU_POINTWISE_STRIDED(SYMBOL, DIMS, PARAMS, OP, ...)                                              \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(                                                  \
      usbgpu::kernels::StridedArgs<usbgpu::kernels::operand_count<__VA_ARGS__>, PARAMS, DIMS> args) {        \
    using namespace usbgpu::kernels;                                                                         \
    strided<DIMS, OP, __VA_ARGS__>(args);                                                                    \
  }
