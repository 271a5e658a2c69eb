// Random numbers out of Philox blocks.
#include "philox.h"
#include "random_args.h"

namespace usbgpu_family {

// 64 random bits for each of the thread's four elements
struct Bits64 { uint64_t value[4]; };
USBGPU_INLINE Bits64 bits64(const RandomArgs& args, uint64_t thread) {
  const PhiloxBlock x = philox(args.seed, args.block, thread), y = philox(args.seed, args.block + 1, thread);
  Bits64 r;
#pragma unroll
  for (int k = 0; k < 4; ++k) r.value[k] = (uint64_t)y.word[k] << 32 | x.word[k];
  return r;
}

// [0, 1) in steps that T represents, so that 1 is never reached by rounding
template <typename T> struct unit;
template <> struct unit<float> { static USBGPU_INLINE float of(uint32_t x) { return (float)(x >> 8) * 0x1p-24f; } };
template <> struct unit<_Float16> { static USBGPU_INLINE float of(uint32_t x) { return (float)(x >> 21) * 0x1p-11f; } };
template <> struct unit<__bf16> { static USBGPU_INLINE float of(uint32_t x) { return (float)(x >> 24) * 0x1p-8f; } };
template <> struct unit<double> { static USBGPU_INLINE double of(uint64_t x) { return (double)(x >> 11) * 0x1p-53; } };
// (0, 1]
USBGPU_INLINE float unit_above_zero(uint32_t x) { return ((float)(x >> 8) + 1.0f) * 0x1p-24f; }
USBGPU_INLINE double unit_above_zero(uint64_t x) { return ((double)(x >> 11) + 1.0) * 0x1p-53; }

template <typename Acc> struct Four { Acc value[4]; };

// The random words of a thread: 32 bits per element, for double 64.
template <typename Acc>
USBGPU_INLINE auto words(const RandomArgs& args, uint64_t thread) {
  if constexpr (same_type<Acc, double>::value) return bits64(args, thread);
  else {
    struct { uint32_t value[4]; } r;
    const PhiloxBlock x = philox(args.seed, args.block, thread);
#pragma unroll
    for (int k = 0; k < 4; ++k) r.value[k] = x.word[k];
    return r;
  }
}

template <typename T>
USBGPU_INLINE void store_four(const RandomArgs& args, uint64_t thread, const Four<T>& values) {
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (thread * 4 + k < args.count) at<T>(args.output)[thread * 4 + k] = values.value[k];
}

struct Uniform {  // [a, b)
  template <typename T> static USBGPU_INLINE Four<T> draw(const RandomArgs& args, uint64_t thread) {
    using Acc = accumulate_t<T>;
    const auto x = words<Acc>(args, thread);
    Four<T> r;
#pragma unroll
    for (int k = 0; k < 4; ++k) r.value[k] = convert<T>(unit<T>::of(x.value[k]) * ((Acc)args.b - (Acc)args.a) + (Acc)args.a);
    return r;
  }
};

template <typename Acc>
USBGPU_INLINE Four<Acc> standard_normal(const RandomArgs& args, uint64_t thread) {  // Box and Muller, 1958
  const auto x = words<Acc>(args, thread);
  Four<Acc> r;
#pragma unroll
  for (int k = 0; k < 4; k += 2) {
    const Acc radius = __builtin_elementwise_sqrt((Acc)-2 * (Acc)::log(unit_above_zero(x.value[k])));
    const Acc angle = (Acc)2 * unit<Acc>::of(x.value[k + 1]);  // in units of pi
    r.value[k] = radius * ::cospi(angle), r.value[k + 1] = radius * ::sinpi(angle);
  }
  return r;
}

struct Normal {  // mean a, standard deviation b
  template <typename T> static USBGPU_INLINE Four<T> draw(const RandomArgs& args, uint64_t thread) {
    using Acc = accumulate_t<T>;
    const Four<Acc> z = standard_normal<Acc>(args, thread);
    Four<T> r;
#pragma unroll
    for (int k = 0; k < 4; ++k) r.value[k] = convert<T>(z.value[k] * (Acc)args.b + (Acc)args.a);
    return r;
  }
};

struct LogNormal {
  template <typename T> static USBGPU_INLINE Four<T> draw(const RandomArgs& args, uint64_t thread) {
    using Acc = accumulate_t<T>;
    const Four<Acc> z = standard_normal<Acc>(args, thread);
    Four<T> r;
#pragma unroll
    for (int k = 0; k < 4; ++k) r.value[k] = convert<T>((Acc)::exp(z.value[k] * (Acc)args.b + (Acc)args.a));
    return r;
  }
};

struct Exponential {  // rate a
  template <typename T> static USBGPU_INLINE Four<T> draw(const RandomArgs& args, uint64_t thread) {
    using Acc = accumulate_t<T>;
    const auto x = words<Acc>(args, thread);
    Four<T> r;
#pragma unroll
    for (int k = 0; k < 4; ++k) r.value[k] = convert<T>(-(Acc)::log(unit_above_zero(x.value[k])) / (Acc)args.a);
    return r;
  }
};

struct Cauchy {  // median a, scale b
  template <typename T> static USBGPU_INLINE Four<T> draw(const RandomArgs& args, uint64_t thread) {
    using Acc = accumulate_t<T>;
    const auto x = words<Acc>(args, thread);
    Four<T> r;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const Acc angle = unit<Acc>::of(x.value[k]);  // of pi: tan(pi (u - 1/2)) = -cos(pi u) / sin(pi u)
      r.value[k] = convert<T>((Acc)args.a - (Acc)args.b * ::cospi(angle) / ::sinpi(angle));
    }
    return r;
  }
};

struct Geometric {  // success probability a: trials up to the first success
  template <typename T> static USBGPU_INLINE Four<T> draw(const RandomArgs& args, uint64_t thread) {
    const auto x = words<float>(args, thread);
    Four<T> r;
    const float rest = ::log1p((float)-args.a);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float trials = __builtin_ceilf((float)::log(unit_above_zero(x.value[k])) / rest);
      r.value[k] = convert<T>(trials < 1.0f ? 1.0f : trials);
    }
    return r;
  }
};

struct Bernoulli {  // probability a, or one per element (float)
  template <typename T> static USBGPU_INLINE Four<T> draw(const RandomArgs& args, uint64_t thread) {
    const auto x = words<float>(args, thread);
    Four<T> r;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint64_t i = thread * 4 + k;
      const float p = args.input ? (i < args.count ? at<float>(args.input)[i] : 0.0f) : (float)args.a;
      r.value[k] = convert<T>((int32_t)(unit<float>::of(x.value[k]) < p));
    }
    return r;
  }
};

struct Integers {
  template <typename T> static USBGPU_INLINE Four<T> draw(const RandomArgs& args, uint64_t thread) {
    Four<T> r;
    if (args.range && args.range <= 0x100000000ull) {
      const PhiloxBlock x = philox(args.seed, args.block, thread);
      const bool all = args.range == 0x100000000ull;
      const uint32_t range = all ? 1 : (uint32_t)args.range;
#pragma unroll
      for (int k = 0; k < 4; ++k) r.value[k] = convert<T>((int64_t)(all ? x.word[k] : x.word[k] % range) + args.base);
    } else {
      const Bits64 x = bits64(args, thread);
#pragma unroll
      for (int k = 0; k < 4; ++k)
        r.value[k] = convert<T>((int64_t)((args.range ? x.value[k] % args.range : x.value[k]) + (uint64_t)args.base));
    }
    return r;
  }
};

template <typename Distribution, typename T>
USBGPU_INLINE void random(const RandomArgs& args) {
  const uint64_t thread = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (thread * 4 >= args.count) return;
  store_four<T>(args, thread, Distribution::template draw<T>(args, thread));
}

// output = kept ? input / (1 - p) : 0; mask = kept. a: probability to keep, b: scale
template <typename T>
USBGPU_INLINE void dropout(const RandomArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t thread = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (thread * 4 >= args.count) return;
  const PhiloxBlock x = philox(args.seed, args.block, thread);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint64_t i = thread * 4 + k;
    if (i >= args.count) continue;
    const bool keep = unit<float>::of(x.word[k]) < (float)args.a;
    at<uint8_t>(args.mask)[i] = keep;
    at<T>(args.output)[i] = keep ? convert<T>(convert<Acc>(at<T>(args.input)[i]) * (Acc)args.b) : T(0);
  }
}

// Negative elements times a slope out of [a, b), which mask (of the input's type) keeps; slope 1 for the others.
template <typename T>
USBGPU_INLINE void rrelu(const RandomArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t thread = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (thread * 4 >= args.count) return;
  const Four<T> slopes = Uniform::draw<T>(args, thread);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint64_t i = thread * 4 + k;
    if (i >= args.count) continue;
    const Acc x = convert<Acc>(at<T>(args.input)[i]);
    const T slope = x <= Acc(0) ? slopes.value[k] : T(1);
    at<T>(args.mask)[i] = slope;
    at<T>(args.output)[i] = convert<T>(x * convert<Acc>(slope));
  }
}

}  // namespace usbgpu_family

#define USBGPU_RANDOM(symbol, Distribution, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::RandomArgs args) { \
    usbgpu_family::random<usbgpu_family::Distribution, T>(args); \
  }
#define USBGPU_DROPOUT(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::RandomArgs args) { usbgpu_family::dropout<T>(args); }
#define USBGPU_RRELU(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::RandomArgs args) { usbgpu_family::rrelu<T>(args); }
