// Connectionist temporal classification and its gradient.
// Source: A. Graves et al., "Connectionist Temporal Classification", ICML 2006, equations (6) to (16), in
// logarithms throughout.
//
// A workgroup takes a sample: its threads own the states, time runs in a loop. Nothing is added atomically.
#include "family.h"
#include "device_error.h"
#include "ctc_args.h"

namespace usbgpu_family {

template <typename T>
USBGPU_INLINE T minus_infinity() { return (T)-__builtin_inff(); }

// log(exp(a) + exp(b) + exp(c)) + step. The logarithm of the sum and the step are small and come together first:
// one rounding at the size of the result, which grows with time. A NaN stays one.
template <typename T>
USBGPU_INLINE T log_sum(T a, T b, T c, T step) {
  T high = a > b ? a : b;
  high = c > high ? c : high;
  if (high == minus_infinity<T>()) high = 0;   // all impossible: the logarithm of 0 says so
  return high + (::log(::exp(a - high) + ::exp(b - high) + ::exp(c - high)) + step);
}

struct CtcSample {
  int64_t first, times, labels;
  USBGPU_INLINE CtcSample(const CtcArgs& args, uint32_t n)
      : first(at<int64_t>(args.sizes)[n]), times(at<int64_t>(args.sizes)[args.batch + n]),
        labels(at<int64_t>(args.sizes)[2 * args.batch + n]) {}
  USBGPU_INLINE uint32_t states() const { return (uint32_t)(2 * labels + 1); }
};

// The class of a state; a label out of range is recorded and taken for a blank.
template <typename Index>
USBGPU_INLINE uint32_t ctc_class(const CtcArgs& args, const CtcSample& sample, uint32_t state) {
  if (state % 2 == 0) return args.blank;
  const int64_t label = (int64_t)at<Index>(args.targets)[(sample.first + state / 2) * args.target_stride];
  if (label >= 0 && label < (int64_t)args.classes) return (uint32_t)label;
  record_out_of_bounds(args.error_block, 0, label, args.classes);
  return args.blank;
}

template <typename T>
USBGPU_INLINE T ctc_log_prob(const CtcArgs& args, uint32_t n, int64_t t, uint32_t c) {
  return at<T>(args.log_probs)[t * args.stride_t + (int64_t)n * args.stride_n + (int64_t)c * args.stride_c];
}

// alpha[t][s]: all beginnings that are in state s at time t
template <typename T, typename Index>
USBGPU_INLINE void ctc_alpha(const CtcArgs& args) {
  const uint32_t n = blockIdx.x;
  const CtcSample sample(args, n);
  const uint32_t states = sample.states();
  const global_ptr<T> alpha = at<T>(args.alpha) + (uint64_t)n * args.times * args.states;
  if (sample.times == 0) {
    if (threadIdx.x == 0) at<T>(args.loss)[n] = sample.labels ? -minus_infinity<T>() : (T)0;
    return;
  }
#pragma clang loop unroll(disable)
  for (int64_t t = 0; t < sample.times; ++t) {
    const global_ptr<T> now = alpha + t * args.states, before = now - args.states;
#pragma clang loop unroll(disable)
    for (uint32_t s = threadIdx.x; s < args.states; s += 256) {
      T value = minus_infinity<T>();
      if (s < states && (t || s < 2)) {
        const uint32_t c = ctc_class<Index>(args, sample, s);
        const T step = ctc_log_prob<T>(args, n, t, c);
        if (t == 0) {
          value = step;
        } else {
          // over a blank only between labels that differ
          const bool skips = s >= 2 && s % 2 && ctc_class<Index>(args, sample, s - 2) != c;
          value = log_sum(before[s], s >= 1 ? before[s - 1] : minus_infinity<T>(), skips ? before[s - 2] : minus_infinity<T>(), step);
        }
      }
      now[s] = value;
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    const global_ptr<T> end = alpha + (sample.times - 1) * args.states;
    const T label = sample.labels ? end[states - 2] : minus_infinity<T>();
    at<T>(args.loss)[n] = -log_sum(end[states - 1], label, minus_infinity<T>(), (T)0);
  }
}

// beta[t][s]: all endings from state s at time t, its own probability included
template <typename T, typename Index>
USBGPU_INLINE void ctc_beta(const CtcArgs& args) {
  const uint32_t n = blockIdx.x;
  const CtcSample sample(args, n);
  const uint32_t states = sample.states();
  const global_ptr<T> beta = at<T>(args.beta) + (uint64_t)n * args.times * args.states;
#pragma clang loop unroll(disable)
  for (int64_t t = sample.times - 1; t >= 0; --t) {
    const global_ptr<T> now = beta + t * args.states, after = now + args.states;
    const bool last = t == sample.times - 1;
#pragma clang loop unroll(disable)
    for (uint32_t s = threadIdx.x; s < states; s += 256) {
      T value = minus_infinity<T>();
      if (!last || s + 2 >= states) {
        const uint32_t c = ctc_class<Index>(args, sample, s);
        const T step = ctc_log_prob<T>(args, n, t, c);
        if (last) {
          value = step;
        } else {
          const bool skips = s + 2 < states && s % 2 && ctc_class<Index>(args, sample, s + 2) != c;
          value = log_sum(after[s], s + 1 < states ? after[s + 1] : minus_infinity<T>(), skips ? after[s + 2] : minus_infinity<T>(), step);
        }
      }
      now[s] = value;
    }
    __syncthreads();
  }
}

// A wave per sample and time step: (probability of the class - share of the paths that take it) * grad.
template <typename T, typename Index>
USBGPU_INLINE void ctc_backward(const CtcArgs& args) {
  const uint64_t place = (uint64_t)blockIdx.x * 8 + wave_id();
  if (place >= (uint64_t)args.times * args.batch) return;
  const uint32_t t = (uint32_t)(place / args.batch), n = (uint32_t)(place - (uint64_t)t * args.batch);
  const CtcSample sample(args, n);
  const uint32_t states = sample.states();
  const global_ptr<T> result = at<T>(args.grad_input) + place * args.classes;
  const T loss = at<T>(args.loss)[n];
  const bool nothing = (int64_t)t >= sample.times || (args.zero_infinity && loss == -minus_infinity<T>());
  const T grad = nothing ? (T)0 : at<T>(args.grad)[(int64_t)n * args.grad_stride];
  const uint64_t row = ((uint64_t)n * args.times + t) * args.states;
  const global_ptr<T> alpha = at<T>(args.alpha) + row, beta = at<T>(args.beta) + row;
  // Large numbers that cancel: a share is at most 1. Both alpha and beta hold this step's probability.
  const auto share = [&](T ways, T others, T log_prob) __attribute__((device)) {
    return ::exp((T)((double)ways + (double)others + (double)loss - (double)log_prob));
  };
  // at first as if no path led through a class; where no path leads anywhere, the loss makes it NaN
#pragma clang loop unroll(disable)
  for (uint32_t c = lane_id(); c < args.classes; c += 32) {
    const T log_prob = ctc_log_prob<T>(args, n, t, c);
    result[c] = nothing ? (T)0 : (::exp(log_prob) - share(minus_infinity<T>(), (T)0, log_prob)) * grad;
  }
  if (nothing) return;
  __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "workgroup");   // what one lane stored, another replaces
  const T blank_prob = ctc_log_prob<T>(args, n, t, args.blank);
  T blanks = 0;
#pragma clang loop unroll(disable)
  for (uint32_t s = 2 * lane_id(); s < states; s += 64) blanks += share(alpha[s], beta[s], blank_prob);
  // A label that comes several times is finished where it comes first.
#pragma clang loop unroll(disable)
  for (uint32_t s = 2 * lane_id() + 1; s < states; s += 64) {
    const uint32_t c = ctc_class<Index>(args, sample, s);
    if (c == args.blank) {
      blanks += share(alpha[s], beta[s], blank_prob);
      continue;
    }
    bool first = true;
#pragma clang loop unroll(disable)
    for (uint32_t earlier = 1; earlier < s && first; earlier += 2) first = ctc_class<Index>(args, sample, earlier) != c;
    if (!first) continue;
    const T log_prob = ctc_log_prob<T>(args, n, t, c);
    T shares = 0;
#pragma clang loop unroll(disable)
    for (uint32_t later = s; later < states; later += 2)
      if (ctc_class<Index>(args, sample, later) == c) shares += share(alpha[later], beta[later], log_prob);
    result[c] = (::exp(log_prob) - shares) * grad;
  }
  blanks = wave_reduce(blanks, Sum{});
  if (lane_id() == 0) result[args.blank] = (::exp(blank_prob) - blanks) * grad;
}

}  // namespace usbgpu_family

#define USBGPU_CTC(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::CtcArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
