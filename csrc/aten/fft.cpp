// Fourier transforms: _fft_c2c, _fft_r2c, _fft_c2r, of which ATen composes torch.fft.*, stft and istft.
// Kernels: torch_usbgpu/kernels/fft.hip. One launch per dimension; two where a line exceeds LDS; four or
// more where a length has a large prime factor.
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/_fft_c2c_ops.h>
#include <ATen/ops/_fft_c2r_ops.h>
#include <ATen/ops/_fft_r2c_ops.h>
#include <torch/library.h>

#include <cmath>

#include "../../torch_usbgpu/kernels/fft_args.h"
#include "aten/backend/complex.h"
#include "aten/launch.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::ScalarType;
using at::Tensor;
using kernels::FftArgs;
using kernels::FftSide;
using kernels::kFftDims;
using Sizes = c10::SmallVector<int64_t, 8>;

constexpr uint32_t kLdsBytes = 64 * 1024;
constexpr uint32_t kComfortableBytes = 32 * 1024;   // of one workgroup, so that two fit a compute unit
constexpr uint32_t kLargestFactor = 127;            // summed directly; above, a convolution is cheaper

enum class Input { complex, real, hermitian, product };
constexpr const char* kInputNames[] = {"kComplexInput", "kRealInput", "kHermitianInput", "kProductInput"};
constexpr const char* kInputSymbols[] = {"c", "r", "h", "p"};

// A batch of lines: what is common to both sides, and where their elements are.
struct Lines {
  ScalarType real;          // kFloat or kDouble
  Input input;
  bool real_output, inverse;
  double scale;
  uint32_t length;          // of the transform
  Sizes sizes;              // of the batch, fastest first
  uint64_t factor = 0;
  struct Side {
    uint64_t address;
    int64_t stride;         // bytes
    Sizes steps;
    uint32_t length;        // elements that exist
  } in, out;

  int64_t item() const { return 2 * static_cast<int64_t>(c10::elementSize(real)); }
  int64_t count() const { return c10::multiply_integers(sizes); }
};

int64_t bytes(const Tensor& tensor, int64_t elements) { return elements * static_cast<int64_t>(tensor.element_size()); }

uint32_t longest_in_lds(ScalarType real) { return kLdsBytes / (4 * static_cast<uint32_t>(c10::elementSize(real))); }

bool has_large_factor(uint32_t length) {
  for (uint32_t factor = 2; factor <= kLargestFactor && length > 1; ++factor) {
    while (length % factor == 0) length /= factor;
  }
  return length > 1;
}

void put_factors(FftArgs& args) {
  uint32_t rest = args.length;
  const auto take = [&](uint32_t factor) {
    while (rest % factor == 0) {
      args.radix[args.passes++] = factor;
      rest /= factor;
    }
  };
  for (const uint32_t factor : {7u, 5u, 3u}) take(factor);
  for (uint32_t factor = 11; rest > 1 && factor <= kLargestFactor; factor += 2) take(factor);
  take(8);
  take(4);
  take(2);
}

void put_side(FftSide& to, const Lines::Side& from) {
  to.address = from.address;
  to.stride = from.stride;
  to.length = from.length;
  to.multiply = 1;
  to.add = 0;
  for (size_t d = 0; d < from.steps.size(); ++d) to.step[d] = from.steps[d];
}

FftArgs arguments(const Lines& lines) {
  TORCH_INTERNAL_ASSERT(lines.sizes.size() <= kFftDims);
  TORCH_CHECK(lines.count() < (int64_t{1} << 31), "usbgpu: a Fourier transform of ", lines.count(),
              " lines in one call: transform parts of the batch");
  FftArgs args{};
  put_side(args.in, lines.in);
  put_side(args.out, lines.out);
  args.factor = lines.factor;
  args.scale = lines.scale;
  for (int d = 0; d < kFftDims; ++d) args.size[d] = d < static_cast<int>(lines.sizes.size()) ? static_cast<uint32_t>(lines.sizes[d]) : 1;
  args.lines = static_cast<uint32_t>(lines.count());
  args.length = args.whole = lines.length;
  args.inverse = lines.inverse;
  args.columns = !lines.sizes.empty() && std::abs(lines.in.steps[0]) < std::abs(lines.in.stride);
  return args;
}

void launch_lines(FftArgs& args, const Lines& lines, Input input, bool real_output) {
  static KernelCache cache;
  const auto real = lines.real;
  Kernel* kernel = cache.get(key(input, real_output, real), [&] {
    const std::string symbol = std::string("fft_") + kInputSymbols[static_cast<int>(input)] + (real_output ? "r_" : "c_") + dtype_name(real);
    return KernelSource{"fft", symbol, "USBGPU_FFT(" + symbol + ", " + kInputNames[static_cast<int>(input)] + ", " +
                        (real_output ? "true" : "false") + ", " + dtype_c_type(real) + ")"};
  });
  put_factors(args);
  const uint32_t line_bytes = 2 * args.length * static_cast<uint32_t>(lines.item());   // from one half to the other and back
  args.per_group = std::clamp(kComfortableBytes / line_bytes, 1u, static_cast<uint32_t>(kernels::kFftMostLines));
  args.per_group = std::min(args.per_group, args.lines);
  const uint32_t table = args.per_group > 1 ? args.per_group * 2 * static_cast<uint32_t>(sizeof(int64_t)) : 0;
  launch(kernel, {ceil_div(args.lines, args.per_group)}, {kernels::kFftThreads}, args, args.per_group * line_bytes + table);
}

// The divisor of length that cuts it most evenly into two parts that fit LDS; 0 if there is none.
uint32_t cut(uint32_t length, uint32_t limit) {
  for (auto first = static_cast<uint32_t>(std::sqrt(static_cast<double>(length))); first > 1; --first) {
    if (length % first == 0) return length / first <= limit ? length / first : 0;
  }
  return 0;
}

Tensor scratch(int64_t elements, ScalarType real) { return empty({elements}, c10::toComplexType(real)); }

void transform(const Lines& lines);

// First the columns of the line seen as first x second, then its rows.
void transform_cut(const Lines& lines, uint32_t first) {
  const uint32_t second = lines.length / first;
  const int64_t item = lines.item(), count = lines.count();
  const Tensor between = scratch(count * lines.length, lines.real);

  Lines columns = lines;
  columns.length = first;
  columns.scale = 1;
  columns.inverse = lines.inverse;
  const auto batch = [&](Lines& part, uint32_t size) {
    part.sizes.insert(part.sizes.begin(), size);
    part.in.steps.insert(part.in.steps.begin(), 0);
    part.out.steps.insert(part.out.steps.begin(), 0);
  };
  Sizes steps;
  int64_t step = item * lines.length;
  for (const int64_t size : lines.sizes) {
    steps.push_back(step);
    step *= size;
  }
  columns.out = {address(between), item, steps, lines.length};
  batch(columns, second);
  FftArgs args = arguments(columns);
  args.whole = lines.length;
  args.in.multiply = second, args.in.add = 1;
  args.out.multiply = second, args.out.add = 1;
  args.twist = 1;
  args.columns = 1;
  launch_lines(args, columns, lines.input, false);

  Lines rows = lines;
  rows.length = second;
  rows.in = {address(between), item, steps, lines.length};
  batch(rows, first);
  args = arguments(rows);
  args.whole = lines.length;
  args.in.multiply = 1, args.in.add = second;
  args.out.multiply = first, args.out.add = 1;
  args.columns = 0;
  launch_lines(args, rows, Input::complex, lines.real_output);
}

// As a convolution of a length that has small factors only.
void transform_chirp(const Lines& lines) {
  static KernelCache cache;
  const uint32_t padded = std::bit_ceil(2 * lines.length - 1);
  const int64_t item = lines.item(), count = lines.count();
  const Tensor rows = scratch((count + 1) * padded, lines.real);
  const auto type = std::string(dtype_name(lines.real)), c_type = std::string(dtype_c_type(lines.real));

  FftArgs args = arguments(lines);
  args.length = padded;
  args.out.address = address(rows);
  Kernel* in = cache.get(key(0, lines.input, lines.real), [&] {
    const std::string symbol = "fft_chirp_in_" + std::string(kInputSymbols[static_cast<int>(lines.input)]) + "_" + type;
    return KernelSource{"fft", symbol, "USBGPU_CHIRP_IN(" + symbol + ", " + kInputNames[static_cast<int>(lines.input)] + ", " + c_type + ")"};
  });
  launch(in, {ceil_div(static_cast<uint64_t>(rows.numel()), kernels::kFftThreads)}, {kernels::kFftThreads}, args);

  Lines inner{};
  inner.real = lines.real;
  inner.scale = 1;
  inner.length = padded;
  inner.sizes = {count + 1};
  inner.in = inner.out = {address(rows), item, {item * padded}, padded};
  transform(inner);
  inner.input = Input::product;
  inner.factor = address(rows) + static_cast<uint64_t>(item * count * padded);
  inner.inverse = true;
  inner.scale = 1.0 / padded;
  inner.sizes = {count};
  transform(inner);

  args = arguments(lines);
  args.length = padded;
  args.in.address = address(rows);
  Kernel* out = cache.get(key(1, lines.real_output, lines.real), [&] {
    const std::string symbol = std::string("fft_chirp_out_") + (lines.real_output ? "r_" : "c_") + type;
    return KernelSource{"fft", symbol, "USBGPU_CHIRP_OUT(" + symbol + ", " + (lines.real_output ? "true, " : "false, ") + c_type + ")"};
  });
  const uint64_t results = static_cast<uint64_t>(count) * lines.out.length;
  launch(out, {ceil_div(results, kernels::kFftThreads)}, {kernels::kFftThreads}, args);
}

// Transforms too long for two trips through LDS: lengths above limit^2, or none of whose divisors fit.
bool too_long(int64_t length, ScalarType real) {
  const uint64_t limit = longest_in_lds(real);
  if (length > static_cast<int64_t>(limit * limit)) return true;
  const auto size = static_cast<uint32_t>(length);
  if (has_large_factor(size)) return std::bit_ceil(uint64_t{2} * size - 1) > limit * limit;
  return size > limit && cut(size, static_cast<uint32_t>(limit)) == 0 && std::bit_ceil(uint64_t{2} * size - 1) > limit * limit;
}

void transform(const Lines& lines) {
  const uint32_t limit = longest_in_lds(lines.real);
  if (has_large_factor(lines.length)) return transform_chirp(lines);
  if (lines.length <= limit) {
    FftArgs args = arguments(lines);
    return launch_lines(args, lines, lines.input, lines.real_output);
  }
  const uint32_t first = cut(lines.length, limit);
  if (first == 0) return transform_chirp(lines);
  transform_cut(lines, first);
}

// Along one dimension. `in` and `out` differ there at most (and may be the same tensor).
void transform_dim(const Tensor& in, const Tensor& out, int64_t dim, int64_t length, Input input, bool inverse, double scale) {
  Lines lines{};
  lines.real = c10::toRealValueType(out.scalar_type());
  lines.input = input;
  lines.real_output = !out.is_complex();
  lines.inverse = inverse;
  lines.scale = scale;
  lines.length = static_cast<uint32_t>(length);
  Tensor source = in;
  for (bool again : {false, true}) {
    lines.sizes.clear();
    lines.in = {address(source), bytes(source, source.stride(dim)), {}, static_cast<uint32_t>(source.size(dim))};
    lines.out = {address(out), bytes(out, out.stride(dim)), {}, static_cast<uint32_t>(out.size(dim))};
    if (input == Input::real) lines.in.length = std::min(lines.in.length, lines.length);
    for (int64_t d = out.dim() - 1; d >= 0; --d) {   // fastest first; neighbours that follow each other become one
      if (d == dim || out.size(d) == 1) continue;
      const int64_t in_step = bytes(source, source.stride(d));
      const int64_t out_step = bytes(out, out.stride(d));
      if (!lines.sizes.empty() && in_step == lines.in.steps.back() * lines.sizes.back() &&
          out_step == lines.out.steps.back() * lines.sizes.back()) {
        lines.sizes.back() *= out.size(d);
        continue;
      }
      lines.sizes.push_back(out.size(d));
      lines.in.steps.push_back(in_step);
      lines.out.steps.push_back(out_step);
    }
    // one dimension more where the line is cut
    if (lines.sizes.size() + 1 <= kFftDims) break;
    TORCH_INTERNAL_ASSERT(!again);
    source = source.contiguous();
  }
  transform(lines);
}

double scale_of(int64_t normalization, IntArrayRef sizes, IntArrayRef dims) {   // 0: none, 1: by root n, 2: by n
  if (normalization == 0) return 1;
  double n = 1;
  for (const int64_t dim : dims) n *= static_cast<double>(sizes[dim]);
  return normalization == 1 ? 1 / std::sqrt(n) : 1 / n;
}

Sizes wrapped(IntArrayRef dims, int64_t rank) {
  Sizes result(dims.begin(), dims.end());
  for (int64_t& dim : result) dim = at::maybe_wrap_dim(dim, rank);
  return result;
}

bool any_too_long(const Tensor& self, IntArrayRef dims, ScalarType real, int64_t last = 1) {
  for (const int64_t dim : wrapped(dims, self.dim())) {
    if (too_long(std::max<int64_t>(self.size(dim), 1), real)) return true;
  }
  return too_long(std::max<int64_t>(last, 1), real);
}

template <class Op, class... Arguments>
Tensor on_cpu(const Arguments&... arguments) {
  return at::native::call_fallback_fn_symint<&boxed_fallback, Op>::call(arguments...);
}


Tensor fft_c2c(const Tensor& self, c10::SymIntArrayRef dim, int64_t normalization, bool forward) {
  TORCH_CHECK(self.is_complex(), "_fft_c2c expects a complex tensor, got ", self.scalar_type());
  const auto real = c10::toRealValueType(self.scalar_type());
  const auto given = C10_AS_INTARRAYREF_SLOW(dim);
  if (unsupported_even_complex(self) || any_too_long(self, given, real)) {
    return on_cpu<at::_ops::_fft_c2c>(self, dim, normalization, forward);
  }
  if (given.empty()) return self.clone();
  const Sizes dims = wrapped(given, self.dim());
  Tensor out = empty(self.sizes(), self.scalar_type());
  if (out.numel() == 0) return out;
  Tensor from = self;
  const double scale = scale_of(normalization, self.sizes(), dims);
  for (size_t i = dims.size(); i-- > 0; from = out) {
    transform_dim(from, out, dims[i], self.size(dims[i]), Input::complex, !forward, i == 0 ? scale : 1);
  }
  return out;
}

Tensor fft_r2c(const Tensor& self, IntArrayRef dim, int64_t normalization, bool onesided) {
  TORCH_CHECK(self.is_floating_point(), "_fft_r2c expects a floating point tensor, got ", self.scalar_type());
  const auto real = self.scalar_type();
  if ((real != at::kFloat && real != at::kDouble) || any_too_long(self, dim, real)) {
    return on_cpu<at::_ops::_fft_r2c>(self, dim, normalization, onesided);
  }
  const Sizes dims = wrapped(dim, self.dim());
  Sizes sizes(self.sizes().begin(), self.sizes().end());
  if (onesided) sizes[dims.back()] = sizes[dims.back()] / 2 + 1;
  Tensor out = empty(sizes, c10::toComplexType(real));
  if (out.numel() == 0) return out;
  const double scale = scale_of(normalization, self.sizes(), dims);
  transform_dim(self, out, dims.back(), self.size(dims.back()), Input::real, false, dims.size() == 1 ? scale : 1);
  for (size_t i = dims.size() - 1; i-- > 0;) {
    transform_dim(out, out, dims[i], out.size(dims[i]), Input::complex, false, i == 0 ? scale : 1);
  }
  return out;
}

Tensor fft_c2r(const Tensor& self, IntArrayRef dim, int64_t normalization, c10::SymInt last_dim_size) {
  TORCH_CHECK(self.is_complex(), "_fft_c2r expects a complex tensor, got ", self.scalar_type());
  const auto real = c10::toRealValueType(self.scalar_type());
  const int64_t last = last_dim_size.guard_int(__FILE__, __LINE__);
  if (unsupported_even_complex(self) || any_too_long(self, dim, real, last)) {
    return on_cpu<at::_ops::_fft_c2r>(self, dim, normalization, last_dim_size);
  }
  const Sizes dims = wrapped(dim, self.dim());
  TORCH_CHECK(last >= 1, "Invalid number of data points (", last, ") specified");
  TORCH_CHECK(self.numel() == 0 || self.size(dims.back()) >= last / 2 + 1, "_fft_c2r: ", last, " points need ", last / 2 + 1,
              " elements, got ", self.size(dims.back()));
  Sizes sizes(self.sizes().begin(), self.sizes().end());
  sizes[dims.back()] = last;
  Tensor out = empty(sizes, real);
  if (out.numel() == 0) return out;
  const double scale = scale_of(normalization, sizes, dims);
  Tensor from = self;
  if (dims.size() > 1) {
    const Tensor between = empty(self.sizes(), self.scalar_type());
    for (size_t i = dims.size() - 1; i-- > 0; from = between) {
      transform_dim(from, between, dims[i], self.size(dims[i]), Input::complex, true, 1);
    }
  }
  transform_dim(from, out, dims.back(), last, Input::hermitian, true, scale);
  return out;
}

Tensor& into(Tensor& out, const Tensor& result) {
  TORCH_CHECK(out.is_privateuseone(), "Expected out tensor to have device ", result.device(), ", but got ", out.device(), " instead");
  resize_out(out, result.sizes());
  return out.copy_(result);
}
Tensor& fft_c2c_out(const Tensor& self, c10::SymIntArrayRef dim, int64_t normalization, bool forward, Tensor& out) {
  return into(out, fft_c2c(self, dim, normalization, forward));
}
Tensor& fft_r2c_out(const Tensor& self, IntArrayRef dim, int64_t normalization, bool onesided, Tensor& out) {
  return into(out, fft_r2c(self, dim, normalization, onesided));
}
Tensor& fft_c2r_out(const Tensor& self, IntArrayRef dim, int64_t normalization, c10::SymInt last_dim_size, Tensor& out) {
  return into(out, fft_c2r(self, dim, normalization, std::move(last_dim_size)));
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_fft_c2c", &fft_c2c);
  m.impl("_fft_c2c.out", &fft_c2c_out);
  m.impl("_fft_r2c", &fft_r2c);
  m.impl("_fft_r2c.out", &fft_r2c_out);
  m.impl("_fft_c2r", &fft_c2r);
  m.impl("_fft_c2r.out", &fft_c2r_out);
}

}  // namespace
}  // namespace usbgpu::aten
