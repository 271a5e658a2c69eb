// The elementwise operations: one line each, templates over the arithmetic type T (f32 for f16 and
// bf16). s(i) is the operation's i-th scalar. Definitions follow ATen's CPU kernels, also where those
// treat NaN, signed zero or a threshold in one particular way.
#pragma once
#include <hip/hip_runtime.h>

#include "convert.h"
#include "device_error.h"

namespace usbgpu::kernels {

template <class T>
struct Scalars {
  const uint64_t* param;
  __device__ __forceinline__ T operator()(int i) const {
    // complex128 is the one type that takes two words
    if constexpr (sizeof(T) == 16) return T(from_bits<double>(param[2 * i]), from_bits<double>(param[2 * i + 1]));
    else return from_bits<T>(param[i]);
  }
};

#define OP0(NAME, ...) \
  template <class T> struct NAME { static __device__ __forceinline__ T apply(Scalars<T> s) { return __VA_ARGS__; } };
#define OP1(NAME, ...) \
  template <class T> struct NAME { static __device__ __forceinline__ T apply(Scalars<T> s, T a) { return __VA_ARGS__; } };
#define OP2(NAME, ...) \
  template <class T> struct NAME { static __device__ __forceinline__ T apply(Scalars<T> s, T a, T b) { return __VA_ARGS__; } };
#define OP3(NAME, ...) \
  template <class T> struct NAME { static __device__ __forceinline__ T apply(Scalars<T> s, T a, T b, T c) { return __VA_ARGS__; } };
#define TEST1(NAME, ...) \
  template <class T> struct NAME { static __device__ __forceinline__ bool apply(Scalars<T> s, T a) { return __VA_ARGS__; } };
#define TEST2(NAME, ...) \
  template <class T> struct NAME { static __device__ __forceinline__ bool apply(Scalars<T> s, T a, T b) { return __VA_ARGS__; } };

template <class T> __device__ __forceinline__ bool is_nan(T a) {
  if constexpr (floating<T>) return a != a;
  return false;
}
template <class T> __device__ __forceinline__ T maximum_of(T a, T b) { return a > b || is_nan(a) ? a : b; }   // NaN wins
template <class T> __device__ __forceinline__ T minimum_of(T a, T b) { return a < b || is_nan(a) ? a : b; }
template <class T> __device__ __forceinline__ T sigmoid_of(T a) { return T(1) / (T(1) + ::exp(-a)); }
template <class T> __device__ __forceinline__ T absolute_of(T a) {
  if constexpr (floating<T>) return ::fabs(a);
  else if constexpr (T(-1) < T(0)) return a < 0 ? T(-a) : a;
  else return a;
}
template <class T> __device__ __forceinline__ T infinity_of() { return T(__builtin_inff()); }
template <class T> __device__ __forceinline__ T nan_of() { return T(__builtin_nanf("")); }

// ---- fill, copy
OP0(op_fill, s(0))
OP1(op_copy, a)

// ---- arithmetic
OP2(op_add, T(a + s(0) * b))
OP2(op_add_plain, T(a + b))
OP2(op_sub_plain, T(a - b))
OP2(op_mul, T(a * b))
OP2(op_div, T(a / b))
OP1(op_neg, T(-a))
OP1(op_reciprocal, T(T(1) / a))

// Of integers: an error that the next read-back raises. The parameter is the address of the error block.
template <class T> __device__ __forceinline__ T divided_by_zero(const Scalars<T>& s) {
  usbgpu_family::record_data_error(s.param[0], usbgpu_family::kDivisionByZero);
  return T(0);
}
template <class T> struct op_div_trunc {
  static __device__ __forceinline__ T apply(Scalars<T> s, T a, T b) {
    if constexpr (floating<T>) return ::trunc(a / b);
    else return b == 0 ? divided_by_zero(s) : T(a / b);
  }
};
template <class T> struct op_div_floor {
  static __device__ __forceinline__ T apply(Scalars<T> s, T a, T b) {
    if constexpr (floating<T>) {   // Python's floor division, as c10::div_floor_floating
      if (b == 0) return a / b;
      const T mod = ::fmod(a, b);
      T div = (a - mod) / b;
      if (mod != 0 && (b < 0) != (mod < 0)) div -= T(1);
      if (div == 0) return ::copysign(T(0), a / b);
      T floored = ::floor(div);
      if (div - floored > T(0.5)) floored += T(1);
      return floored;
    } else {
      if (b == 0) return divided_by_zero(s);
      const T q = T(a / b);
      if constexpr (T(-1) < T(0)) return T(q * b) != a && (a < 0) != (b < 0) ? T(q - 1) : q;
      return q;
    }
  }
};
template <class T> struct op_remainder {   // sign of the divisor
  static __device__ __forceinline__ T apply(Scalars<T> s, T a, T b) {
    if constexpr (floating<T>) {
      T mod = ::fmod(a, b);
      if (mod != 0 && (b < 0) != (mod < 0)) mod += b;
      return mod;
    } else {
      if (b == 0) return divided_by_zero(s);
      T mod = T(a % b);
      if (mod != 0 && (b < 0) != (mod < 0)) mod = T(mod + b);
      return mod;
    }
  }
};
template <class T> struct op_fmod {   // sign of the dividend
  static __device__ __forceinline__ T apply(Scalars<T> s, T a, T b) {
    if constexpr (floating<T>) return ::fmod(a, b);
    else return b == 0 ? divided_by_zero(s) : T(a % b);
  }
};
template <class T> __device__ __forceinline__ T power_of(T a, T b) {
  if constexpr (floating<T>) {
    return ::pow(a, b);
  } else {
    if constexpr (T(-1) < T(0)) {
      if (b < 0) return a == 1 ? T(1) : a == T(-1) ? (b & 1 ? T(-1) : T(1)) : T(0);
    }
    T result = 1;
    while (b) {
      if (b & 1) result = T(result * a);
      b = T(b / 2);
      a = T(a * a);
    }
    return result;
  }
}
OP2(op_pow, power_of<T>(a, b))
OP1(op_pow_scalar, power_of<T>(a, s(0)))
OP1(op_square, T(a * a))
OP1(op_cube, T(a * a * a))
OP1(op_reciprocal_square, T(T(1) / (a * a)))
OP2(op_maximum, maximum_of(a, b))
OP2(op_minimum, minimum_of(a, b))
OP2(op_fmax, a > b || is_nan(b) ? a : b)
OP2(op_fmin, a < b || is_nan(b) ? a : b)
OP2(op_atan2, ::atan2(a, b))
OP2(op_hypot, ::hypot(a, b))
OP2(op_copysign, ::copysign(a, b))
OP2(op_nextafter, ::nextafter(a, b))
OP2(op_heaviside, a == 0 ? b : T(a > 0 ? 1 : 0))
OP2(op_xlogy, is_nan(b) ? b : a == 0 ? T(0) : T(a * ::log(b)))
OP2(op_xlog1py, is_nan(b) ? b : a == 0 ? T(0) : T(a * ::log1p(b)))
OP2(op_logaddexp, a == b && ::fabs(a) == infinity_of<T>() ? a : maximum_of(a, b) + ::log1p(::exp(-::fabs(a - b))))
OP2(op_logaddexp2, a == b && ::fabs(a) == infinity_of<T>()
        ? a : maximum_of(a, b) + ::log1p(::exp2(-::fabs(a - b))) * T(1.4426950408889634))
template <class T> __device__ __forceinline__ T gcd_of(T a, T b) {
  a = absolute_of(a);
  b = absolute_of(b);
  while (a != 0) {
    const T c = a;
    a = T(b % a);
    b = c;
  }
  return b;
}
OP2(op_gcd, gcd_of(a, b))
OP2(op_lcm, gcd_of(a, b) == 0 ? T(0) : T(absolute_of(T(a / gcd_of(a, b) * b))))
OP3(op_addcmul, T(a + s(0) * b * c))
OP3(op_addcdiv, T(a + s(0) * (b / c)))
OP2(op_mul_scaled, T(a * b * s(0)))
OP3(op_addr, T(s(0) * a + s(1) * b * c))
OP3(op_addr_product, T(s(1) * b * c))
// From the nearer end, so that weight 1 gives exactly b.
template <class T> __device__ __forceinline__ T lerp_of(T a, T b, T w) {
  return ::fabs(w) < T(0.5) ? a + w * (b - a) : b - (b - a) * (T(1) - w);
}
OP2(op_lerp_scalar, lerp_of(a, b, s(0)))
OP3(op_lerp, lerp_of(a, b, c))

// ---- comparison and logic
TEST2(op_eq, a == b)
TEST2(op_ne, a != b)
TEST2(op_lt, a < b)
TEST2(op_le, a <= b)
TEST2(op_gt, a > b)
TEST2(op_ge, a >= b)
TEST1(op_logical_not, a == T(0))
TEST2(op_logical_and, a != T(0) && b != T(0))
TEST2(op_logical_or, a != T(0) || b != T(0))
TEST2(op_logical_xor, (a != T(0)) != (b != T(0)))
TEST1(op_isposinf, a == infinity_of<T>())
TEST1(op_isneginf, a == -infinity_of<T>())
TEST1(op_signbit, ::copysign(T(1), a) < T(0))
TEST1(op_signbit_integer, a < T(0))
template <class T> struct op_where {
  static __device__ __forceinline__ T apply(Scalars<T>, bool condition, T a, T b) { return condition ? a : b; }
};

// ---- bits
OP2(op_bitwise_and, T(a & b))
OP2(op_bitwise_or, T(a | b))
OP2(op_bitwise_xor, T(a ^ b))
OP1(op_bitwise_not, same<T, bool> ? T(!a) : T(~a))
// A shift by a negative count or by all bits: 0, or the sign when shifting right.
OP2(op_lshift, b < 0 || b >= T(sizeof(T) * 8) ? T(0) : T(static_cast<uint64_t>(a) << b))
OP2(op_rshift, T(a >> (b < 0 || b >= T(sizeof(T) * 8) ? sizeof(T) * 8 - (T(-1) < T(0) ? 1 : 0) : static_cast<unsigned>(b))))

// ---- clamp
OP1(op_clamp, minimum_of(maximum_of(a, s(0)), s(1)))
OP1(op_clamp_min, maximum_of(a, s(0)))
OP1(op_clamp_max, minimum_of(a, s(0)))
OP3(op_clamp_tensor, is_nan(a) ? a : minimum_of(maximum_of(a, b), c))
OP1(op_nan_to_num, is_nan(a) ? s(0) : a == infinity_of<T>() ? s(1) : a == -infinity_of<T>() ? s(2) : a)

// ---- unary
OP1(op_abs, absolute_of(a))
OP1(op_sign, T((a > T(0)) - (a < T(0))))
OP1(op_angle, is_nan(a) ? a : a < 0 ? T(3.14159265358979323846) : T(0))
OP1(op_ceil, ::ceil(a))
OP1(op_floor, ::floor(a))
OP1(op_trunc, ::trunc(a))
OP1(op_round, ::rint(a))
OP1(op_round_decimals_up, ::rint(a * s(0)) / s(0))     // s(0) = 10^decimals
OP1(op_round_decimals_down, ::rint(a / s(0)) * s(0))   // s(0) = 10^-decimals
OP1(op_frac, a - ::trunc(a))
OP1(op_sqrt, ::sqrt(a))
OP1(op_rsqrt, T(1) / ::sqrt(a))
OP1(op_exp, ::exp(a))
OP1(op_exp2, ::exp2(a))
OP1(op_expm1, ::expm1(a))
OP1(op_log, ::log(a))
OP1(op_log2, ::log2(a))
OP1(op_log10, ::log10(a))
OP1(op_log1p, ::log1p(a))
OP1(op_sin, ::sin(a))
OP1(op_cos, ::cos(a))
OP1(op_tan, ::tan(a))
OP1(op_asin, ::asin(a))
OP1(op_acos, ::acos(a))
OP1(op_atan, ::atan(a))
OP1(op_sinh, ::sinh(a))
OP1(op_cosh, ::cosh(a))
OP1(op_tanh, ::tanh(a))
OP1(op_asinh, ::asinh(a))
OP1(op_acosh, ::acosh(a))
OP1(op_atanh, ::atanh(a))
OP1(op_erf, ::erf(a))
OP1(op_erfc, ::erfc(a))
OP1(op_sinc, a == 0 ? T(1) : ::sin(T(3.14159265358979323846) * a) / (T(3.14159265358979323846) * a))
OP1(op_entr, is_nan(a) ? a : a > 0 ? -a * ::log(a) : a == 0 ? T(0) : -infinity_of<T>())

// ---- activations and their derivatives (g: gradient of the output)
OP1(op_sigmoid, sigmoid_of(a))
OP2(op_sigmoid_backward, a * (T(1) - b) * b)
OP2(op_tanh_backward, a * (T(1) - b * b))
template <class T> struct op_logit {
  static __device__ __forceinline__ T apply(Scalars<T> s, T a) {
    const T eps = s(0);   // negative: none
    const T x = eps < 0 ? a : a < eps ? eps : a > T(1) - eps ? T(1) - eps : a;
    return ::log(x / (T(1) - x));
  }
};
template <class T> struct op_logit_backward {
  static __device__ __forceinline__ T apply(Scalars<T> s, T g, T a) {
    const T eps = s(0);
    if (eps < 0) return a < 0 || a > 1 ? nan_of<T>() : a == 0 || a == 1 ? g * infinity_of<T>() : g / (a * (T(1) - a));
    return a < eps || a > T(1) - eps ? T(0) : a == 0 || a == 1 ? g * infinity_of<T>() : g / (a * (T(1) - a));
  }
};
OP2(op_threshold, a <= s(0) ? s(1) : b)
OP1(op_leaky_relu, a > 0 ? a : a * s(0))
OP2(op_leaky_relu_backward, a > 0 ? b : b * s(0))
OP1(op_elu, a < 0 ? ::expm1(a * s(2)) * s(0) : a * s(1))   // alpha*scale, scale, input scale
OP2(op_elu_backward, b <= 0 ? a * s(2) * s(0) * ::exp(b * s(2)) : a * s(1))
OP2(op_elu_backward_result, b <= 0 ? a * s(2) * (b + s(0)) : a * s(1))
OP1(op_softplus, a * s(0) > s(1) ? a : ::log1p(::exp(a * s(0))) / s(0))
OP2(op_softplus_backward, b * s(0) > s(1) ? a : a * sigmoid_of(b * s(0)))
OP1(op_log_sigmoid, minimum_of(a, T(0)) - ::log1p(::exp(-::fabs(a))))
OP2(op_log_sigmoid_backward, a * sigmoid_of(-b))
OP2(op_hardtanh_backward, b <= s(0) || b >= s(1) ? T(0) : a)
OP1(op_hardsigmoid, minimum_of(maximum_of(a + T(3), T(0)), T(6)) / T(6))
OP2(op_hardsigmoid_backward, b > T(-3) && b < T(3) ? a / T(6) : T(0))
OP1(op_hardswish, a * minimum_of(maximum_of(a + T(3), T(0)), T(6)) / T(6))
OP2(op_hardswish_backward, b <= T(-3) ? T(0) : b < T(3) ? a * (b / T(3) + T(0.5)) : a)
OP1(op_hardshrink, a >= -s(0) && a <= s(0) ? T(0) : a)
OP1(op_softshrink, a > s(0) ? a - s(0) : a < -s(0) ? a + s(0) : a * T(0))
OP2(op_shrink_backward, b >= -s(0) && b <= s(0) ? T(0) : a)
OP1(op_silu, a / (T(1) + ::exp(-a)))
OP2(op_silu_backward, a * sigmoid_of(b) * (T(1) + b * (T(1) - sigmoid_of(b))))
OP1(op_mish, a * ::tanh(::log1p(::exp(a))))
template <class T> struct op_mish_backward {
  static __device__ __forceinline__ T apply(Scalars<T>, T g, T a) {
    const T t = ::tanh(::log1p(::exp(a)));
    return g * (t + a * sigmoid_of(a) * (T(1) - t * t));
  }
};
OP2(op_glu, a * sigmoid_of(b))
OP2(op_prelu, a > 0 ? a : a * b)
OP1(op_gelu, a * T(0.5) * (T(1) + ::erf(a * T(0.70710678118654752440))))
OP2(op_gelu_backward, a * (T(0.5) * (T(1) + ::erf(b * T(0.70710678118654752440))) +
                           b * ::exp(b * b * T(-0.5)) * T(0.39894228040143267794)))   // 1/sqrt(2 pi)
template <class T> __device__ __forceinline__ T gelu_inner(T a) {
  return T(0.79788456080286535588) * (a + T(0.044715) * a * a * a);   // sqrt(2/pi)
}
OP1(op_gelu_tanh, T(0.5) * a * (T(1) + ::tanh(gelu_inner(a))))
template <class T> struct op_gelu_tanh_backward {
  static __device__ __forceinline__ T apply(Scalars<T>, T g, T a) {
    const T t = ::tanh(gelu_inner(a));
    const T slope = T(0.79788456080286535588) * (T(1) + T(3 * 0.044715) * a * a);
    return g * (T(0.5) * (T(1) + t) + T(0.5) * a * (T(1) - t * t) * slope);
  }
};

// ---- losses, elementwise part (input, target[, gradient])
OP2(op_mse, (a - b) * (a - b))
OP3(op_mse_backward, s(0) * (a - b) * c)
OP2(op_smooth_l1, ::fabs(a - b) < s(0) ? T(0.5) * (a - b) * (a - b) / s(0) : ::fabs(a - b) - T(0.5) * s(0))
OP3(op_smooth_l1_backward, a - b <= -s(1) ? -s(0) * c : a - b >= s(1) ? s(0) * c : s(0) * (a - b) * c / s(1))
OP2(op_huber, ::fabs(a - b) <= s(0) ? T(0.5) * (a - b) * (a - b) : s(0) * (::fabs(a - b) - T(0.5) * s(0)))
OP3(op_huber_backward, a - b <= -s(1) ? -s(0) * c * s(1) : a - b >= s(1) ? s(0) * c * s(1) : s(0) * (a - b) * c)

#undef OP0
#undef OP1
#undef OP2
#undef OP3
#undef TEST1
#undef TEST2

}  // namespace usbgpu::kernels
