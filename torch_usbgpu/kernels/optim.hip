// Multi-tensor kernels: _foreach_* arithmetic, fused optimisers, gradient scaling.
#include "family.h"
#include "optim_args.h"

namespace usbgpu_family {

// The tensor that this workgroup works on, and its part of it. A linear search in scalar registers.
template <uint32_t Operands, uint32_t Limit>
struct Chunk {
  uint32_t tensor, first, end;
  USBGPU_INLINE explicit Chunk(const MultiTensorTable<Operands, Limit>& table) {
    tensor = 0;
#pragma clang loop unroll(disable)
    for (uint32_t next = 1; next < table.tensors && table.first_chunk[next] <= blockIdx.x; ++next) tensor = next;
    first = (blockIdx.x - table.first_chunk[tensor]) * kMultiTensorChunk;
    uint32_t left = table.elements[tensor] - first;
    end = first + (left < kMultiTensorChunk ? left : kMultiTensorChunk);
  }
};

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
template <typename T, typename Op, uint32_t Operands, uint32_t Limit>
USBGPU_INLINE void foreach_map(const ForeachArgs<Operands, Limit>& args) {
  using Acc = accumulate_t<T>;
  const Chunk chunk(args.table);
  Acc s = (Acc)args.scalars[args.scalar_per_tensor ? chunk.tensor : 0];
  if (args.scalar_tensor) s *= convert<Acc>(at<T>(args.scalar_tensor)[0]);
  global_ptr<T> operand[Operands];
#pragma unroll
  for (uint32_t i = 0; i < Operands; ++i) operand[i] = at<T>(args.table.address[i][chunk.tensor]);
#pragma unroll 2
  for (uint32_t i = chunk.first + threadIdx.x; i < chunk.end; i += kMultiTensorThreads) {
    Acc result;
    if constexpr (Operands == 1) result = Op{}(s);
    else if constexpr (Operands == 2) result = Op{}(convert<Acc>(operand[1][i]), s);
    else if constexpr (Operands == 3) result = Op{}(convert<Acc>(operand[1][i]), convert<Acc>(operand[2][i]), s);
    else result = Op{}(convert<Acc>(operand[1][i]), convert<Acc>(operand[2][i]), convert<Acc>(operand[3][i]), s);
    operand[0][i] = convert<T>(result);
  }
}

// Copies with a change of dtype.
template <typename To, typename From, uint32_t Limit>
USBGPU_INLINE void foreach_copy(const ForeachArgs<2, Limit>& args) {
  const Chunk chunk(args.table);
  const global_ptr<To> to = at<To>(args.table.address[0][chunk.tensor]);
  const global_ptr<From> from = at<From>(args.table.address[1][chunk.tensor]);
  for (uint32_t i = chunk.first + threadIdx.x; i < chunk.end; i += kMultiTensorThreads) to[i] = convert<To>(from[i]);
}

// ---- norms: partial results per chunk, then one workgroup per tensor
template <typename Acc>
USBGPU_INLINE Acc norm_combine(uint32_t order, Acc a, Acc b) { return order == kInfinityNorm ? Max{}(a, b) : a + b; }
struct NormOp {
  uint32_t order;
  template <typename Acc> USBGPU_INLINE Acc operator()(Acc a, Acc b) const { return norm_combine(order, a, b); }
};
template <typename T, uint32_t Limit>
USBGPU_INLINE void norm_partial(const NormArgs<Limit>& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const Chunk chunk(args.table);
  const global_ptr<T> from = at<T>(args.table.address[0][chunk.tensor]);
  const NormOp op{args.order};
  Acc sum = 0;
  for (uint32_t i = chunk.first + threadIdx.x; i < chunk.end; i += kMultiTensorThreads) {
    Acc x = convert<Acc>(from[i]);
    sum = op(sum, args.order == 2 ? x * x : (x < Acc(0) ? -x : x));
  }
  sum = block_reduce<256>(sum, op, scratch);
  if (threadIdx.x == 0) at<Acc>(args.partial)[blockIdx.x] = sum;
}
template <typename T, typename Out, uint32_t Limit>
USBGPU_INLINE void norm_final(const NormArgs<Limit>& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t tensor = blockIdx.x, first = args.table.first_chunk[tensor];
  const uint32_t chunks = (args.table.elements[tensor] + kMultiTensorChunk - 1) / kMultiTensorChunk;
  const NormOp op{args.order};
  Acc sum = 0;
  for (uint32_t i = threadIdx.x; i < chunks; i += 256) sum = op(sum, at<Acc>(args.partial)[first + i]);
  sum = block_reduce<256>(sum, op, scratch);
  if (args.order == 2) sum = __builtin_elementwise_sqrt(sum);
  if (threadIdx.x == 0) at<Out>(args.result[tensor])[0] = convert<Out>(sum);
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
template <typename T, bool Decoupled, bool Amsgrad, uint32_t Limit>
USBGPU_INLINE void adam(const AdamArgs<Limit>& args) {
  using Acc = accumulate_t<T>;
  if (args.found_inf && at<float>(args.found_inf)[0] == 1.0f) return;
  const Chunk chunk(args.table);
  const uint32_t t = chunk.tensor;
  const double step = at<float>(args.step[t])[0];
  const double lr = args.lr_tensor ? (double)at<float>(args.lr_tensor)[0] : args.lr;
  const double correction1 = 1.0 - power(args.beta1, step);
  const double correction2 = 1.0 - power(args.beta2, step);
  const Acc step_size = (Acc)(lr / correction1), correction2_root = (Acc)__builtin_sqrt(correction2);
  const Acc beta1 = (Acc)args.beta1, beta2 = (Acc)args.beta2, decay = (Acc)args.weight_decay, epsilon = (Acc)args.epsilon;
  const Acc rest1 = (Acc)(1.0 - args.beta1), rest2 = (Acc)(1.0 - args.beta2);
  const Acc shrink = (Acc)(1.0 - lr * args.weight_decay);
  const Acc unscale = args.grad_scale ? Acc(1) / (Acc)at<float>(args.grad_scale)[0] : Acc(1);
  const global_ptr<T> parameter = at<T>(args.table.address[0][t]), gradient = at<T>(args.table.address[1][t]);
  const global_ptr<T> average = at<T>(args.table.address[2][t]), squares = at<T>(args.table.address[3][t]);
  const global_ptr<T> largest = at<T>(args.table.address[4][t]);
#pragma clang loop unroll(disable)
  for (uint32_t i = chunk.first + threadIdx.x; i < chunk.end; i += kMultiTensorThreads) {
    Acc p = convert<Acc>(parameter[i]), g = convert<Acc>(gradient[i]);
    if (args.grad_scale) {
      g *= unscale;
      gradient[i] = convert<T>(g);
    }
    if (args.maximize) g = -g;
    if constexpr (Decoupled) p *= shrink;
    else if (decay != Acc(0)) g += p * decay;
    Acc m = convert<Acc>(average[i]), v = convert<Acc>(squares[i]);
    m = m + rest1 * (g - m);
    v = beta2 * v + rest2 * g * g;
    Acc root;
    if constexpr (Amsgrad) {
      Acc most = convert<Acc>(largest[i]);
      most = (most > v || most != most) ? most : v;
      largest[i] = convert<T>(most);
      root = __builtin_elementwise_sqrt(most);
    } else {
      root = __builtin_elementwise_sqrt(v);
    }
    p -= step_size * m / (root / correction2_root + epsilon);
    parameter[i] = convert<T>(p), average[i] = convert<T>(m), squares[i] = convert<T>(v);
  }
}

template <typename T, bool Momentum, uint32_t Limit>
USBGPU_INLINE void sgd(const SgdArgs<Limit>& args) {
  using Acc = accumulate_t<T>;
  if (args.found_inf && at<float>(args.found_inf)[0] == 1.0f) return;
  const Chunk chunk(args.table);
  const uint32_t t = chunk.tensor;
  const Acc lr = (Acc)(args.lr_tensor ? (double)at<float>(args.lr_tensor)[0] : args.lr);
  const Acc decay = (Acc)args.weight_decay, momentum = (Acc)args.momentum, rest = (Acc)(1.0 - args.dampening);
  const Acc unscale = args.grad_scale ? Acc(1) / (Acc)at<float>(args.grad_scale)[0] : Acc(1);
  const global_ptr<T> parameter = at<T>(args.table.address[0][t]), gradient = at<T>(args.table.address[1][t]);
  const global_ptr<T> buffer = at<T>(args.table.address[2][t]);
#pragma clang loop unroll(disable)
  for (uint32_t i = chunk.first + threadIdx.x; i < chunk.end; i += kMultiTensorThreads) {
    Acc p = convert<Acc>(parameter[i]), g = convert<Acc>(gradient[i]);
    if (args.grad_scale) {
      g *= unscale;
      gradient[i] = convert<T>(g);
    }
    if (args.maximize) g = -g;
    if (decay != Acc(0)) g += p * decay;
    if constexpr (Momentum) {
      Acc b = args.first_step ? g : convert<Acc>(buffer[i]) * momentum + rest * g;
      buffer[i] = convert<T>(b);
      g = args.nesterov ? g + momentum * b : b;
    }
    parameter[i] = convert<T>(p - lr * g);
  }
}

// ---- gradient scaling
template <typename T, uint32_t Limit>
USBGPU_INLINE void unscale(const UnscaleArgs<Limit>& args) {
  using Acc = accumulate_t<T>;
  const Chunk chunk(args.table);
  const global_ptr<T> gradient = at<T>(args.table.address[0][chunk.tensor]);
  const float inverse = at<float>(args.inverse_scale)[0];
#pragma clang loop unroll(disable)
  for (uint32_t i = chunk.first + threadIdx.x; i < chunk.end; i += kMultiTensorThreads) {
    Acc g = convert<Acc>(gradient[i]);
    if (!(g - g == Acc(0))) at<float>(args.found_inf)[0] = 1.0f;  // infinite or NaN; all write the same
    gradient[i] = convert<T>(inverse == 1.0f ? g : g * (Acc)inverse);
  }
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

#define USBGPU_FOREACH(symbol, operands, limit, T, Op) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::ForeachArgs<operands, limit> args) { \
    usbgpu_family::foreach_map<T, usbgpu_family::Op>(args); \
  }
#define USBGPU_FOREACH_COPY(symbol, limit, To, From) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::ForeachArgs<2, limit> args) { \
    usbgpu_family::foreach_copy<To, From>(args); \
  }
#define USBGPU_MULTI(symbol, limit, Args, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::Args<limit> args) { usbgpu_family::__VA_ARGS__(args); }
#define USBGPU_UPDATE_SCALE(symbol) \
  USBGPU_FAMILY_KERNEL(32) void symbol(usbgpu_family::UpdateScaleArgs args) { usbgpu_family::update_scale(args); }
