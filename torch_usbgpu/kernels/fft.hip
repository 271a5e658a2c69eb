// Fourier transforms of complex, real and Hermitian lines, of any length and any strides.
//
// A workgroup transforms one or several lines in LDS by Stockham's self-sorting passes (C. Van Loan,
// "Computational frameworks for the fast Fourier transform", 1992, section 1.7), each pass of one factor
// of the length: 8, 7, 5, 4, 3, 2 in registers, other primes as sums. Lines too long for LDS are cut in
// two (the same book, section 3.3: columns, roots of unity, rows). Lengths with a large prime factor are
// convolutions (L. I. Bluestein, 1970), whose first and last step are the chirp kernels.
//
// The inverse is the forward transform of numbers whose parts are exchanged.
#pragma once
#include <hip/hip_runtime.h>

#include "convert.h"
#include "fft_args.h"

namespace usbgpu::kernels::fft {

#define FFT_FN __device__ __forceinline__

enum Input { kComplexInput, kRealInput, kHermitianInput, kProductInput };

// The m-th power of exp(-2 pi i / length): the angle is reduced exactly, by integers. m < length < 2^28.
template <class R>
struct Roots {
  uint32_t length;
  R quarters, angle;   // 4 / length, pi / 2 / length
  FFT_FN explicit Roots(uint32_t length)
      : length(length), quarters(R(4) / R(length)), angle(R(1.57079632679489661923) / R(length)) {}
  FFT_FN Complex<R> operator()(uint32_t m) const {
    const uint32_t quadrant = static_cast<uint32_t>(R(m) * quarters + R(0.5));
    const R x = static_cast<R>(static_cast<int32_t>(4 * m - quadrant * length)) * angle;
    const R s = math::sin_core(x, R(0)), c = math::cos_core(x, R(0));
    const bool swap = quadrant & 1;
    const R sine = swap ? c : s, cosine = swap ? s : c;
    return {(quadrant + 1) & 2 ? -cosine : cosine, quadrant & 2 ? sine : -sine};
  }
};

template <int N> struct Circle;   // cos and sin of 2 pi m / N
template <> struct Circle<3> {
  static constexpr double cosine[] = {1, -0.5, -0.5}, sine[] = {0, 0.86602540378443864676, -0.86602540378443864676};
};
template <> struct Circle<5> {
  static constexpr double cosine[] = {1, 0.30901699437494742410, -0.80901699437494742410, -0.80901699437494742410, 0.30901699437494742410};
  static constexpr double sine[] = {0, 0.95105651629515357212, 0.58778525229247312917, -0.58778525229247312917, -0.95105651629515357212};
};
template <> struct Circle<7> {
  static constexpr double cosine[] = {1, 0.62348980185873353053, -0.22252093395631440429, -0.90096886790241912624,
                                      -0.90096886790241912624, -0.22252093395631440429, 0.62348980185873353053};
  static constexpr double sine[] = {0, 0.78183148246802980871, 0.97492791218182360702, 0.43388373911755812048,
                                    -0.43388373911755812048, -0.97492791218182360702, -0.78183148246802980871};
};

template <class R> FFT_FN Complex<R> minus_i(Complex<R> a) { return {a.im, -a.re}; }

template <int N, class R>
FFT_FN void butterfly(Complex<R>* x) {
  if constexpr (N == 2) {
    const Complex<R> a = x[0], b = x[1];
    x[0] = a + b, x[1] = a - b;
  } else if constexpr (N == 4) {
    const Complex<R> a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = minus_i(x[1] - x[3]);
    x[0] = a + c, x[1] = b + d, x[2] = a - c, x[3] = b - d;
  } else if constexpr (N == 8) {
    Complex<R> even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
    butterfly<4>(even);
    butterfly<4>(odd);
    const R h = R(0.70710678118654752440);
    odd[1] = Complex<R>(odd[1].re + odd[1].im, odd[1].im - odd[1].re) * h;
    odd[2] = minus_i(odd[2]);
    odd[3] = Complex<R>(odd[3].im - odd[3].re, -odd[3].re - odd[3].im) * h;
#pragma unroll
    for (int k = 0; k < 4; ++k) x[k] = even[k] + odd[k], x[k + 4] = even[k] - odd[k];
  } else {   // odd: elements m and N - m share cosines and, but for the sign, sines
    constexpr int half = N / 2;
    Complex<R> sum[half], difference[half], first = x[0];
#pragma unroll
    for (int m = 0; m < half; ++m) {
      sum[m] = x[m + 1] + x[N - 1 - m];
      difference[m] = minus_i(x[m + 1] - x[N - 1 - m]);
      first = first + sum[m];
    }
    const Complex<R> zero = x[0];
#pragma unroll
    for (int k = 1; k <= half; ++k) {
      Complex<R> even = zero, odd(R(0), R(0));
#pragma unroll
      for (int m = 1; m <= half; ++m) {
        even = even + sum[m - 1] * R(Circle<N>::cosine[m * k % N]);
        odd = odd + difference[m - 1] * R(Circle<N>::sine[m * k % N]);
      }
      x[k] = even + odd;
      x[N - k] = even - odd;
    }
    x[0] = first;
  }
}

// One pass over all lines of the group: from and to are offsets in LDS; `done`: product of the factors before.
template <int N, class R>
FFT_FN void pass(Complex<R>* lds, uint32_t from, uint32_t to, uint32_t length, uint32_t lines, uint32_t done) {
  const uint32_t apart = length / N, count = apart * lines;
  const Roots<R> roots(done * N);
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < count; i += kFftThreads) {
    const uint32_t line = i / apart, j = i - line * apart, block = j / done, place = j - block * done;
    const uint32_t source = from + line * length + j;
    Complex<R> x[N];
#pragma unroll
    for (int k = 0; k < N; ++k) x[k] = lds[source + k * apart];
    if (done > 1) {
#pragma unroll
      for (int k = 1; k < N; ++k) x[k] = x[k] * roots(k * place);
    }
    butterfly<N>(x);
    const uint32_t target = to + line * length + block * done * N + place;
#pragma unroll
    for (int k = 0; k < N; ++k) lds[target + k * done] = x[k];
  }
}
// Any other factor: every output is a sum over as many inputs.
template <class R>
FFT_FN void sum_pass(Complex<R>* lds, uint32_t from, uint32_t to, uint32_t length, uint32_t lines, uint32_t done, uint32_t factor) {
  const uint32_t apart = length / factor, period = done * factor;
  const Roots<R> roots(period);
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < length * lines; i += kFftThreads) {
    const uint32_t line = i / length, q = i - line * length, block = q / period, root = q - block * period;
    const uint32_t source = from + line * length + block * done + root % done;
    Complex<R> sum = lds[source];
    uint32_t power = 0;
#pragma clang loop unroll(disable)
    for (uint32_t m = 1; m < factor; ++m) {
      power += root;
      if (power >= period) power -= period;
      sum = sum + lds[source + m * apart] * roots(power);
    }
    lds[to + i] = sum;
  }
}

FFT_FN int64_t line_offset(const FftArgs& args, const FftSide& side, uint32_t line) {
  int64_t offset = 0;
#pragma unroll
  for (int d = 0; d < kFftDims; ++d) {
    const uint32_t rest = line / args.size[d];
    offset += static_cast<int64_t>(line - rest * args.size[d]) * side.step[d];
    line = rest;
  }
  return offset;
}

template <class R> FFT_FN Complex<R> swapped(Complex<R> a, uint32_t swap) { return swap ? Complex<R>(a.im, a.re) : a; }

// Element g of a line; the whole line has `whole` elements.
template <Input IN, class R>
FFT_FN Complex<R> read(const FftArgs& args, int64_t offset, uint32_t g) {
  if (g >= args.in.length && IN != kHermitianInput) return Complex<R>(R(0), R(0));
  const uint32_t m = IN == kHermitianInput && g > args.whole / 2 ? args.whole - g : g;
  const uint64_t address = args.in.address + static_cast<uint64_t>(offset + static_cast<int64_t>(m) * args.in.stride);
  Complex<R> value;
  if constexpr (IN == kRealInput) {
    value = Complex<R>(read_global<R>(address, 0), R(0));
  } else {
    value = read_global<Complex<R>>(address, 0);
    if constexpr (IN == kHermitianInput) {
      if (m != g) value.im = -value.im;
      if (g == 0 || 2 * g == args.whole) value.im = R(0);   // these are their own conjugates
    }
    if constexpr (IN == kProductInput) {
      value = value * read_global<Complex<R>>(args.factor + static_cast<uint64_t>(g) * sizeof(value), 0);
    }
  }
  return swapped(value, args.inverse);
}
template <bool REAL_OUTPUT, class R>
FFT_FN void write(const FftArgs& args, int64_t offset, uint32_t g, Complex<R> value) {
  if (g >= args.out.length) return;
  value = swapped(value, args.inverse) * R(args.scale);
  const uint64_t address = args.out.address + static_cast<uint64_t>(offset + static_cast<int64_t>(g) * args.out.stride);
  if constexpr (REAL_OUTPUT) write_global<R>(address, 0, value.re);
  else write_global<Complex<R>>(address, 0, value);
}

template <Input IN, bool REAL_OUTPUT, class R>
FFT_FN void transform(const FftArgs& args) {
  extern __shared__ __attribute__((aligned(16))) char fft_lds[];
  Complex<R>* lds = reinterpret_cast<Complex<R>*>(fft_lds);
  const uint32_t length = args.length, first = blockIdx.x * args.per_group;
  const uint32_t lines = min(args.per_group, args.lines - first), count = lines * length;
  // Where the lines are, behind the elements; a single line's place is known to all, and may leave no room.
  int64_t* in_offset = reinterpret_cast<int64_t*>(lds + 2 * args.per_group * length);
  int64_t* out_offset = in_offset + args.per_group;
  const bool single = args.per_group == 1;
  const int64_t only_in = line_offset(args, args.in, first), only_out = line_offset(args, args.out, first);
  if (!single && threadIdx.x < lines) {
    in_offset[threadIdx.x] = line_offset(args, args.in, first + threadIdx.x);
    out_offset[threadIdx.x] = line_offset(args, args.out, first + threadIdx.x);
  }
  __syncthreads();
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < count; i += kFftThreads) {
    const uint32_t quotient = i / (args.columns ? lines : length), rest = i - quotient * (args.columns ? lines : length);
    const uint32_t line = args.columns ? rest : quotient, n = args.columns ? quotient : rest;
    const uint32_t j = (first + line) % args.size[0];
    lds[line * length + n] = read<IN, R>(args, single ? only_in : in_offset[line], n * args.in.multiply + j * args.in.add);
  }
  uint32_t from = 0, to = args.per_group * length, done = 1;
#pragma clang loop unroll(disable)
  for (uint32_t p = 0; p < args.passes; ++p) {
    __syncthreads();
    const uint32_t factor = args.radix[p];
    switch (factor) {
      case 2: pass<2>(lds, from, to, length, lines, done); break;
      case 3: pass<3>(lds, from, to, length, lines, done); break;
      case 4: pass<4>(lds, from, to, length, lines, done); break;
      case 5: pass<5>(lds, from, to, length, lines, done); break;
      case 7: pass<7>(lds, from, to, length, lines, done); break;
      case 8: pass<8>(lds, from, to, length, lines, done); break;
      default: sum_pass(lds, from, to, length, lines, done, factor);
    }
    done *= factor;
    const uint32_t other = from;
    from = to;
    to = other;
  }
  __syncthreads();
  const Roots<R> roots(args.whole);
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < count; i += kFftThreads) {
    const uint32_t quotient = i / (args.columns ? lines : length), rest = i - quotient * (args.columns ? lines : length);
    const uint32_t line = args.columns ? rest : quotient, k = args.columns ? quotient : rest;
    const uint32_t j = (first + line) % args.size[0];
    Complex<R> value = lds[from + line * length + k];
    if (args.twist) value = value * roots(j * k);
    write<REAL_OUTPUT>(args, single ? only_out : out_offset[line], k * args.out.multiply + j * args.out.add, value);
  }
}

// ---- lengths with a large prime factor, N. With c(n) = exp(-pi i n^2 / N) the transform is c(k) times the
// convolution of x c with the conjugate of c: of length M >= 2 N - 1, a power of two.

template <class R> FFT_FN Complex<R> chirp(const Roots<R>& roots, uint32_t n) {   // roots of 2 N
  return roots(static_cast<uint32_t>(static_cast<uint64_t>(n) * n % roots.length));
}

// One row of args.length = M elements per line; one more holds the conjugate chirp, around 0 modulo M.
template <Input IN, class R>
FFT_FN void chirp_in(const FftArgs& args) {
  const uint64_t i = static_cast<uint64_t>(blockIdx.x) * kFftThreads + threadIdx.x;
  const uint32_t line = static_cast<uint32_t>(i / args.length), n = static_cast<uint32_t>(i % args.length);
  if (line > args.lines) return;
  const Roots<R> roots(2 * args.whole);
  Complex<R> value(R(0), R(0));
  if (line == args.lines) {
    const uint32_t distance = n < args.whole ? n : args.length - n;
    if (distance < args.whole) value = conjugate(chirp(roots, distance));
  } else if (n < args.whole) {
    value = read<IN, R>(args, line_offset(args, args.in, line), n) * chirp(roots, n);
  }
  write_global<Complex<R>>(args.out.address + i * sizeof(value), 0, value);
}
template <bool REAL_OUTPUT, class R>
FFT_FN void chirp_out(const FftArgs& args) {
  const uint64_t i = static_cast<uint64_t>(blockIdx.x) * kFftThreads + threadIdx.x;
  const uint32_t line = static_cast<uint32_t>(i / args.out.length), k = static_cast<uint32_t>(i % args.out.length);
  if (line >= args.lines) return;
  const Roots<R> roots(2 * args.whole);
  const uint64_t row = args.in.address + static_cast<uint64_t>(line) * args.length * sizeof(Complex<R>);
  const Complex<R> value = read_global<Complex<R>>(row + static_cast<uint64_t>(k) * sizeof(Complex<R>), 0);
  write<REAL_OUTPUT>(args, line_offset(args, args.out, line), k, value * chirp(roots, k));
}

#undef FFT_FN

}  // namespace usbgpu::kernels::fft

#define USBGPU_FFT(SYMBOL, INPUT, REAL_OUTPUT, R)                                                             \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::FftArgs args) {                   \
    usbgpu::kernels::fft::transform<usbgpu::kernels::fft::INPUT, REAL_OUTPUT, R>(args);                       \
  }
#define USBGPU_CHIRP_IN(SYMBOL, INPUT, R)                                                                     \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::FftArgs args) {                   \
    usbgpu::kernels::fft::chirp_in<usbgpu::kernels::fft::INPUT, R>(args);                                     \
  }
#define USBGPU_CHIRP_OUT(SYMBOL, REAL_OUTPUT, R)                                                              \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::FftArgs args) {                   \
    usbgpu::kernels::fft::chirp_out<REAL_OUTPUT, R>(args);                                                    \
  }
