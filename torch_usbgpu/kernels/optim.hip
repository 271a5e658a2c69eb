// Multi-tensor kernels: _foreach_* arithmetic, fused optimisers, gradient scaling.
#include "family.h"
#include "optim_args.h"

namespace usbgpu_family {

// The tensor that this workgroup works on, and its part of it: a binary search in scalar registers.
template <uint32_t Operands>
struct Chunk {
  using Entry = TensorEntry<Operands>;
  const __attribute__((address_space(4))) Entry* entry;
  uint32_t first, end;
  USBGPU_INLINE explicit Chunk(const MultiTensorTable& table) {
    const auto* entries = (const __attribute__((address_space(4))) Entry*)table.entries;
    uint32_t low = 0, high = table.tensors;
#pragma clang loop unroll(disable)
    while (high - low > 1) {
      const uint32_t middle = (low + high) / 2;
      if (entries[middle].first_chunk <= blockIdx.x) low = middle;
      else high = middle;
    }
    entry = entries + low;
    first = (blockIdx.x - entry->first_chunk) * kMultiTensorChunk;
    const uint32_t left = entry->elements - first;
    end = first + (left < kMultiTensorChunk ? left : kMultiTensorChunk);
  }
  template <typename T>
  USBGPU_INLINE global_ptr<T> of(uint32_t operand) const { return at<T>(entry->address[operand]); }
};

// Neighbouring elements in one access.
template <typename T, uint32_t N>
struct Elements {
  typedef T Vector __attribute__((ext_vector_type(N)));
  Vector value;
  USBGPU_INLINE explicit Elements(global_ptr<T> from) : value(*(global_ptr<Vector>)from) {}
  USBGPU_INLINE Elements() {}
  USBGPU_INLINE void store(global_ptr<T> to) const { *(global_ptr<Vector>)to = value; }
  USBGPU_INLINE T get(uint32_t k) const { return value[k]; }
  USBGPU_INLINE void set(uint32_t k, T v) { value[k] = v; }
};
template <typename T>
struct Elements<T, 1> {
  T value;
  USBGPU_INLINE explicit Elements(global_ptr<T> from) : value(*from) {}
  USBGPU_INLINE Elements() {}
  USBGPU_INLINE void store(global_ptr<T> to) const { *to = value; }
  USBGPU_INLINE T get(uint32_t) const { return value; }
  USBGPU_INLINE void set(uint32_t, T v) { value = v; }
};

template <uint32_t N> struct Width { static constexpr uint32_t value = N; };

// body(first element, Width<how many>)
template <uint32_t Operands, typename Body>
USBGPU_INLINE void for_elements(const MultiTensorTable& table, const Chunk<Operands>& chunk, Body body) {
  if (table.aligned) {
#pragma clang loop unroll(disable)
    for (uint32_t i = chunk.first + threadIdx.x * 4; i + 4 <= chunk.end; i += kMultiTensorThreads * 4) body(i, Width<4>{});
    const uint32_t rest = (chunk.end & ~3u) + threadIdx.x;
    if (rest < chunk.end) body(rest, Width<1>{});
  } else {
#pragma clang loop unroll(disable)
    for (uint32_t i = chunk.first + threadIdx.x; i < chunk.end; i += kMultiTensorThreads) body(i, Width<1>{});
  }
}

// ---- elementwise functors: f(values of the inputs, scalar)
struct ForeachAdd { template <typename A> USBGPU_INLINE A operator()(A x, A s) const { return x + s; } };
struct ForeachMul { template <typename A> USBGPU_INLINE A operator()(A x, A s) const { return x * s; } };
struct ForeachDiv { template <typename A> USBGPU_INLINE A operator()(A x, A s) const { return x / s; } };
struct ForeachSqrt { template <typename A> USBGPU_INLINE A operator()(A x, A) const { return __builtin_elementwise_sqrt(x); } };
struct ForeachReciprocal { template <typename A> USBGPU_INLINE A operator()(A x, A) const { return A(1) / x; } };
struct ForeachNeg { template <typename A> USBGPU_INLINE A operator()(A x, A) const { return -x; } };
struct ForeachAbs { template <typename A> USBGPU_INLINE A operator()(A x, A) const { return x < A(0) ? -x : (x == A(0) ? A(0) : x); } };
struct ForeachCopy { template <typename A> USBGPU_INLINE A operator()(A x, A) const { return x; } };
struct ForeachFill { template <typename A> USBGPU_INLINE A operator()(A s) const { return s; } };
struct ForeachClampMax { template <typename A> USBGPU_INLINE A operator()(A x, A s) const { return x != x ? x : (s != s ? s : (x < s ? x : s)); } };
struct ForeachClampMin { template <typename A> USBGPU_INLINE A operator()(A x, A s) const { return x != x ? x : (s != s ? s : (x > s ? x : s)); } };

struct ForeachAddTensor { template <typename A> USBGPU_INLINE A operator()(A x, A y, A s) const { return x + s * y; } };
struct ForeachMulTensor { template <typename A> USBGPU_INLINE A operator()(A x, A y, A) const { return x * y; } };
struct ForeachDivTensor { template <typename A> USBGPU_INLINE A operator()(A x, A y, A) const { return x / y; } };
struct ForeachMaximum { template <typename A> USBGPU_INLINE A operator()(A x, A y, A) const { return x != x ? x : (y != y ? y : (x > y ? x : y)); } };
struct ForeachMinimum { template <typename A> USBGPU_INLINE A operator()(A x, A y, A) const { return x != x ? x : (y != y ? y : (x < y ? x : y)); } };
// As at::lerp: the form that is exact at both ends.
struct ForeachLerp {
  template <typename A> USBGPU_INLINE A operator()(A x, A y, A s) const {
    return (s < A(0.5) && s > A(-0.5)) ? x + s * (y - x) : y - (y - x) * (A(1) - s);
  }
};
struct ForeachAddcmul { template <typename A> USBGPU_INLINE A operator()(A x, A y, A z, A s) const { return x + s * (y * z); } };
struct ForeachAddcdiv { template <typename A> USBGPU_INLINE A operator()(A x, A y, A z, A s) const { return x + s * (y / z); } };

// Operands: the result, then the inputs; for in-place forms the host passes one address twice.
template <typename T, typename Op, uint32_t Operands>
USBGPU_INLINE void foreach_map(const ForeachArgs& args) {
  using Acc = accumulate_t<T>;
  const Chunk<Operands> chunk(args.table);
  Acc s = (Acc)(args.scalar_per_tensor ? __builtin_bit_cast(double, chunk.entry->own) : args.scalar);
  if (args.scalar_tensor) s *= convert<Acc>(at<T>(args.scalar_tensor)[0]);
  global_ptr<T> operand[Operands];
#pragma unroll
  for (uint32_t i = 0; i < Operands; ++i) operand[i] = chunk.template of<T>(i);
  for_elements(args.table, chunk, [&](uint32_t i, auto width) {
    constexpr uint32_t N = decltype(width)::value;
    Elements<T, N> result, a, b, c;
    if constexpr (Operands > 1) a = Elements<T, N>(operand[1] + i);
    if constexpr (Operands > 2) b = Elements<T, N>(operand[2] + i);
    if constexpr (Operands > 3) c = Elements<T, N>(operand[3] + i);
#pragma unroll
    for (uint32_t k = 0; k < N; ++k) {
      Acc value;
      if constexpr (Operands == 1) value = Op{}(s);
      else if constexpr (Operands == 2) value = Op{}(convert<Acc>(a.get(k)), s);
      else if constexpr (Operands == 3) value = Op{}(convert<Acc>(a.get(k)), convert<Acc>(b.get(k)), s);
      else value = Op{}(convert<Acc>(a.get(k)), convert<Acc>(b.get(k)), convert<Acc>(c.get(k)), s);
      result.set(k, convert<T>(value));
    }
    result.store(operand[0] + i);
  });
}

// Copies with a change of dtype.
template <typename To, typename From>
USBGPU_INLINE void foreach_copy(const ForeachArgs& args) {
  const Chunk<2> chunk(args.table);
  const global_ptr<To> to = chunk.of<To>(0);
  const global_ptr<From> from = chunk.of<From>(1);
#pragma clang loop unroll(disable)
  for (uint32_t i = chunk.first + threadIdx.x; i < chunk.end; i += kMultiTensorThreads) to[i] = convert<To>(from[i]);
}

// ---- norms: partial results per chunk, then one workgroup per tensor
template <typename Acc>
USBGPU_INLINE Acc norm_combine(uint32_t order, Acc a, Acc b) { return order == kInfinityNorm ? Max{}(a, b) : a + b; }
struct NormOp {
  uint32_t order;
  template <typename Acc> USBGPU_INLINE Acc operator()(Acc a, Acc b) const { return norm_combine(order, a, b); }
};
template <typename T>
USBGPU_INLINE void norm_partial(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const Chunk<1> chunk(args.table);
  const global_ptr<T> from = chunk.of<T>(0);
  const NormOp op{args.order};
  Acc sum = 0;
  for (uint32_t i = chunk.first + threadIdx.x; i < chunk.end; i += kMultiTensorThreads) {
    Acc x = convert<Acc>(from[i]);
    sum = op(sum, args.order == 2 ? x * x : (x < Acc(0) ? -x : x));
  }
  sum = block_reduce<256>(sum, op, scratch);
  if (threadIdx.x == 0) at<Acc>(args.partial)[blockIdx.x] = sum;
}
template <typename T, typename Out>
USBGPU_INLINE void norm_final(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const TensorEntry<1> entry = at<TensorEntry<1>>(args.table.entries)[blockIdx.x];
  const uint32_t first = entry.first_chunk, chunks = (entry.elements + kMultiTensorChunk - 1) / kMultiTensorChunk;
  const NormOp op{args.order};
  Acc sum = 0;
  for (uint32_t i = threadIdx.x; i < chunks; i += 256) sum = op(sum, at<Acc>(args.partial)[first + i]);
  sum = block_reduce<256>(sum, op, scratch);
  if (args.order == 2) sum = __builtin_elementwise_sqrt(sum);
  if (threadIdx.x == 0) at<Out>(entry.own)[0] = convert<Out>(sum);
}

// ---- fused optimisers. Arithmetic in the accumulation type, in the order of PyTorch's fused CPU
// and CUDA kernels.
// beta ** step, for a step that is a whole number, by repeated squaring
USBGPU_INLINE double power(double base, double exponent) {
  double result = 1;
#pragma clang loop unroll(disable)
  for (uint32_t n = (uint32_t)exponent; n; n >>= 1, base *= base)
    if (n & 1) result *= base;
  return result;
}

// Step counters are advanced by the host's launch before this one (or not at all if found_inf).
template <typename T, bool Decoupled, bool Amsgrad>
USBGPU_INLINE void adam(const AdamArgs& args) {
  using Acc = accumulate_t<T>;
  if (args.found_inf && at<float>(args.found_inf)[0] == 1.0f) return;
  const Chunk<5> chunk(args.table);
  const double step = at<float>(chunk.entry->own)[0];
  const double lr = args.lr_tensor ? (double)at<float>(args.lr_tensor)[0] : args.lr;
  const double correction1 = 1.0 - power(args.beta1, step);
  const double correction2 = 1.0 - power(args.beta2, step);
  const Acc step_size = (Acc)(lr / correction1), correction2_root = (Acc)__builtin_sqrt(correction2);
  const Acc beta1 = (Acc)args.beta1, beta2 = (Acc)args.beta2, decay = (Acc)args.weight_decay, epsilon = (Acc)args.epsilon;
  const Acc rest1 = (Acc)(1.0 - args.beta1), rest2 = (Acc)(1.0 - args.beta2);
  const Acc shrink = (Acc)(1.0 - lr * args.weight_decay);
  const Acc unscale = args.grad_scale ? Acc(1) / (Acc)at<float>(args.grad_scale)[0] : Acc(1);
  const global_ptr<T> parameter = chunk.of<T>(0), gradient = chunk.of<T>(1), average = chunk.of<T>(2), squares = chunk.of<T>(3);
  const global_ptr<T> largest = chunk.of<T>(4);
  for_elements(args.table, chunk, [&](uint32_t i, auto width) {
    constexpr uint32_t N = decltype(width)::value;
    Elements<T, N> parameters(parameter + i), gradients(gradient + i), averages(average + i), means(squares + i), most;
    if constexpr (Amsgrad) most = Elements<T, N>(largest + i);
#pragma unroll
    for (uint32_t k = 0; k < N; ++k) {
      Acc p = convert<Acc>(parameters.get(k)), g = convert<Acc>(gradients.get(k));
      if (args.grad_scale) {
        g *= unscale;
        gradients.set(k, convert<T>(g));
      }
      if (args.maximize) g = -g;
      if constexpr (Decoupled) p *= shrink;
      else if (decay != Acc(0)) g += p * decay;
      Acc m = convert<Acc>(averages.get(k)), v = convert<Acc>(means.get(k));
      m = m + rest1 * (g - m);
      v = beta2 * v + rest2 * g * g;
      Acc root;
      if constexpr (Amsgrad) {
        Acc so_far = convert<Acc>(most.get(k));
        so_far = (so_far > v || so_far != so_far) ? so_far : v;
        most.set(k, convert<T>(so_far));
        root = __builtin_elementwise_sqrt(so_far);
      } else {
        root = __builtin_elementwise_sqrt(v);
      }
      p -= step_size * m / (root / correction2_root + epsilon);
      parameters.set(k, convert<T>(p)), averages.set(k, convert<T>(m)), means.set(k, convert<T>(v));
    }
    parameters.store(parameter + i), averages.store(average + i), means.store(squares + i);
    if (args.grad_scale) gradients.store(gradient + i);
    if constexpr (Amsgrad) most.store(largest + i);
  });
}

template <typename T, bool Momentum>
USBGPU_INLINE void sgd(const SgdArgs& args) {
  using Acc = accumulate_t<T>;
  if (args.found_inf && at<float>(args.found_inf)[0] == 1.0f) return;
  const Chunk<3> chunk(args.table);
  const Acc lr = (Acc)(args.lr_tensor ? (double)at<float>(args.lr_tensor)[0] : args.lr);
  const Acc decay = (Acc)args.weight_decay, momentum = (Acc)args.momentum, rest = (Acc)(1.0 - args.dampening);
  const Acc unscale = args.grad_scale ? Acc(1) / (Acc)at<float>(args.grad_scale)[0] : Acc(1);
  const global_ptr<T> parameter = chunk.of<T>(0), gradient = chunk.of<T>(1), buffer = chunk.of<T>(2);
  for_elements(args.table, chunk, [&](uint32_t i, auto width) {
    constexpr uint32_t N = decltype(width)::value;
    Elements<T, N> parameters(parameter + i), gradients(gradient + i), buffers;
    if constexpr (Momentum) buffers = Elements<T, N>(buffer + i);
#pragma unroll
    for (uint32_t k = 0; k < N; ++k) {
      Acc p = convert<Acc>(parameters.get(k)), g = convert<Acc>(gradients.get(k));
      if (args.grad_scale) {
        g *= unscale;
        gradients.set(k, convert<T>(g));
      }
      if (args.maximize) g = -g;
      if (decay != Acc(0)) g += p * decay;
      if constexpr (Momentum) {
        // The first step's buffer is not initialised: it may be NaN.
        Acc b = args.first_step ? g : convert<Acc>(buffers.get(k)) * momentum + rest * g;
        buffers.set(k, convert<T>(b));
        g = args.nesterov ? g + momentum * b : b;
      }
      parameters.set(k, convert<T>(p - lr * g));
    }
    parameters.store(parameter + i);
    if (args.grad_scale) gradients.store(gradient + i);
    if constexpr (Momentum) buffers.store(buffer + i);
  });
}

// ---- gradient scaling
template <typename T>
USBGPU_INLINE void unscale(const UnscaleArgs& args) {
  using Acc = accumulate_t<T>;
  const Chunk<1> chunk(args.table);
  const global_ptr<T> gradient = chunk.of<T>(0);
  const float inverse = at<float>(args.inverse_scale)[0];
  for_elements(args.table, chunk, [&](uint32_t i, auto width) {
    constexpr uint32_t N = decltype(width)::value;
    Elements<T, N> gradients(gradient + i);
#pragma unroll
    for (uint32_t k = 0; k < N; ++k) {
      Acc g = convert<Acc>(gradients.get(k));
      if (!(g - g == Acc(0))) at<float>(args.found_inf)[0] = 1.0f;  // infinite or NaN; all write the same
      gradients.set(k, convert<T>(inverse == 1.0f ? g : g * (Acc)inverse));
    }
    gradients.store(gradient + i);
  });
}

USBGPU_INLINE void update_scale(const UpdateScaleArgs& args) {
  if (threadIdx.x) return;
  const global_ptr<float> scale = at<float>(args.scale);
  const global_ptr<int32_t> tracker = at<int32_t>(args.growth_tracker);
  if (at<float>(args.found_inf)[0] != 0.0f) {
    scale[0] = (float)(scale[0] * args.backoff_factor);
    tracker[0] = 0;
  } else {
    int32_t successes = tracker[0] + 1;
    if (successes == args.growth_interval) {
      float grown = (float)(scale[0] * args.growth_factor);
      if (grown - grown == 0.0f) scale[0] = grown;
      successes = 0;
    }
    tracker[0] = successes;
  }
}

}  // namespace usbgpu_family

#define USBGPU_MULTI(symbol, Args, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::Args args) { usbgpu_family::__VA_ARGS__(args); }
#define USBGPU_UPDATE_SCALE(symbol) \
  USBGPU_FAMILY_KERNEL(32) void symbol(usbgpu_family::UpdateScaleArgs args) { usbgpu_family::update_scale(args); }
