// Convolutions, transposed ones and their gradients. Kernels: torch_usbgpu/kernels/convolution.hip.
//
// ATen brings every convolution on this device to convolution_overrideable and its backward, with any
// strides. All of it is one sum (convolution_args.h); what differs is which tensor plays which part.
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/sum.h>
#include <torch/library.h>

#include <numeric>

#include "../../torch_usbgpu/kernels/convolution_args.h"
#include "aten/arguments.h"
#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::ScalarType;
using at::Tensor;
using usbgpu_family::conv::ConvArgs;
using usbgpu_family::conv::ConvFinishArgs;
using usbgpu_family::conv::Divisor;
using usbgpu_family::conv::Phase;

constexpr int64_t kLimit = int64_t{1} << 31;   // of a Divisor's dividend

// Per spatial dimension; the last of three is the innermost, missing ones are the neutral element.
using Triple = std::array<int64_t, 3>;

Triple triple(IntArrayRef values, int rank, int64_t neutral) {
  Triple result{neutral, neutral, neutral};
  for (int d = 0; d < rank; ++d) result[3 - rank + d] = values[values.size() == 1 ? 0 : d];
  return result;
}

int64_t product(const Triple& values) { return values[0] * values[1] * values[2]; }

struct Window {
  Triple stride, padding, dilation;
  int64_t groups;
  int rank;
  Window(IntArrayRef stride_, IntArrayRef padding_, IntArrayRef dilation_, int64_t groups_, int rank_)
      : stride(triple(stride_, rank_, 1)), padding(triple(padding_, rank_, 0)), dilation(triple(dilation_, rank_, 1)),
        groups(groups_), rank(rank_) {}
  int dims() const { return rank == 3 ? 3 : 2; }   // the kernels know 2 and 3
  Triple sizes(const Tensor& tensor) const { return triple(tensor.sizes().slice(2), rank, 1); }
  Triple strides(const Tensor& tensor) const { return triple(tensor.strides().slice(2), rank, 0); }
};

// Elements between the first and the last one, if all were addressed from the first.
int64_t span(const Tensor& tensor) {
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  return last;
}

bool fits_32_bits(const Tensor& tensor) {
  return (span(tensor) + 1) * static_cast<int64_t>(tensor.element_size()) < (int64_t{1} << 32) && span(tensor) < kLimit;
}

bool channels_last(const Tensor& tensor, const Window& window) {
  return tensor.stride(1) == 1 && tensor.size(1) > 1 && window.strides(tensor)[2] != 1;
}

uint32_t narrow(int64_t value) {
  TORCH_CHECK(value < kLimit, "convolution: ", value, " is more than usbgpu's kernels can index");
  return static_cast<uint32_t>(value);
}

Divisor divide_by(int64_t value) { return divisor(narrow(std::max<int64_t>(value, 1))); }

// ---- which kernel

enum class Form : uint8_t { large, middle, small, narrow_rows, narrow_columns, other, unit, large_unit, direct, direct_weight };

struct Tile {
  Form form;
  uint32_t rows, columns, k, threads;
};
constexpr Tile kLarge{Form::large, 128, 128, 16, 256}, kMiddle{Form::middle, 64, 64, 16, 256}, kSmall{Form::small, 32, 32, 32, 256};
constexpr Tile kNarrowRows{Form::narrow_rows, 32, 128, 16, 256}, kNarrowColumns{Form::narrow_columns, 128, 32, 16, 256};
constexpr Tile kOther{Form::other, 32, 32, 16, 256}, kUnit{Form::unit, 64, 64, 32, 128}, kLargeUnit{Form::large_unit, 128, 128, 32, 256};

struct Problem {
  ConvArgs args{};
  ScalarType type;
  Window window;
  bool weight = false;                                // the gradient of a weight
  bool image_columns = true, image_fast = true, dense_fast = false, u_fastest = false, phased = false;
  bool fits = true;                                   // 32-bit offsets
  int64_t phases = 1;
  Tensor out;                                         // dense in memory, in whatever order
  int64_t channel_stride = 1;                         // of `out`, for the bias

  Problem(ScalarType type, const Window& window, const Tensor& out) : type(type), window(window), out(out) {}
  int64_t tile_rows() const { return image_columns ? args.rows : args.sides; }
  int64_t tile_columns() const { return image_columns ? args.sides : args.rows; }
};

uint64_t workgroups(const Problem& p, const Tile& tile) {
  return uint64_t{ceil_div(p.tile_rows(), tile.rows)} * ceil_div(p.tile_columns(), tile.columns) * p.window.groups * p.phases;
}

Tile choose_tile(const Problem& p) {
  const int64_t m = p.tile_rows(), n = p.tile_columns();
  if (is_low_precision(p.type)) return m > 64 && n > 64 && workgroups(p, kLargeUnit) >= 64 ? kLargeUnit : kUnit;
  if (p.type != at::kFloat) return kOther;
  if (m > 64 && n > 64 && workgroups(p, kLarge) >= 64) return kLarge;
  if (m > 32 && n > 32) return kMiddle;
  if (n >= 256) return kNarrowRows;
  if (m >= 256) return kNarrowColumns;
  return kSmall;
}

KernelSource source_of(const Problem& p, Form form) {
  const std::string type = dtype_c_type(p.type), rank = std::to_string(p.window.dims());
  auto flag = [](bool value) { return value ? ", true" : ", false"; };
  std::string name, start, end;
  if (form == Form::direct_weight) {
    name = "conv_direct_weight", start = "USBGPU_CONV_DIRECT_WEIGHT(", end = type + ", " + rank;
  } else if (form == Form::direct) {
    const bool channels_fast = !p.image_columns;
    name = std::string("conv_direct") + (channels_fast ? "_c" : "") + (p.phased ? "_p" : "");
    start = "USBGPU_CONV_DIRECT(", end = type + flag(channels_fast) + ", " + rank + flag(p.phased);
  } else {
    const char* shape = "";
    switch (form) {
      case Form::large: name = "conv_128", shape = "128, 128, 16, 8, 8"; break;
      case Form::middle: name = "conv_64", shape = "64, 64, 16, 4, 4"; break;
      case Form::narrow_rows: name = "conv_32x128", shape = "32, 128, 16, 4, 4"; break;
      case Form::narrow_columns: name = "conv_128x32", shape = "128, 32, 16, 4, 4"; break;
      case Form::small: name = "conv_32", shape = "32, 32, 32, 2, 2"; break;
      case Form::unit: name = "conv_unit_64", shape = "64, 64, 32, 32", start = "128, "; break;
      case Form::large_unit: name = "conv_unit_128", shape = "128, 128, 64, 32", start = "256, "; break;
      default: name = "conv_other", shape = "32, 32, 16, 2, 2"; break;
    }
    const bool unit = !start.empty();
    end = start + type + ", " + shape + flag(p.image_columns) + flag(p.image_fast) + flag(p.dense_fast) + ", " + rank +
          flag(p.u_fastest) + flag(p.phased);
    start = unit ? "USBGPU_CONV_MATRIX_UNIT(" : "USBGPU_CONV_TILE(";
    name += std::string(p.image_columns ? "_nc" : "_nr") + (p.image_fast ? "_if" : "") + (p.dense_fast ? "_df" : "") +
            (p.u_fastest ? "_uf" : "") + (p.phased ? "_p" : "");
  }
  const std::string symbol = name + "_" + dtype_name(p.type) + "_" + rank + "d";
  return {"convolution", symbol, start + symbol + ", " + end + ")"};
}

void launch_conv(const Problem& p, Form form, uint32_t threads) {
  static KernelCache cache;
  const ConvArgs& args = p.args;
  const int64_t groups = int64_t{args.columns_of_tiles.value} * args.rows_of_tiles.value * args.parts.value * args.phases.value *
                         (form == Form::direct && !p.image_columns ? 1 : p.window.groups);
  const uint8_t flags = p.image_columns | p.image_fast << 1 | p.dense_fast << 2 | p.u_fastest << 3 | p.phased << 4;
  Kernel* kernel = cache.get(key(form, p.type, flags, p.window.dims()), [&] { return source_of(p, form); });
  launch(kernel, {narrow(groups), 1, 1}, {threads, 1, 1}, args);
}

void finish(const Problem& p, const Tensor& partial, uint64_t bias, uint32_t splits) {
  static KernelCache cache;
  ConvFinishArgs args{};
  args.partial = address(partial), args.out = address(p.out), args.bias = bias;
  args.count = p.out.numel(), args.channel_stride = p.channel_stride;
  args.splits = splits, args.channels = static_cast<uint32_t>(p.weight ? 1 : p.out.size(1));
  Kernel* kernel = cache.get(key(p.type), [&]() -> KernelSource {
    const std::string symbol = std::string("conv_finish_") + dtype_name(p.type);
    return {"convolution", symbol, "USBGPU_CONV_FINISH(" + symbol + ", " + dtype_c_type(p.type) + ")"};
  });
  launch(kernel, {ceil_div(args.count, 256), 1, 1}, {256, 1, 1}, args);
}

void run(Problem& p) {
  ConvArgs& args = p.args;
  args.phases = divide_by(p.phases), args.parts = divide_by(1);
  args.row_count = divide_by(args.rows), args.groups = static_cast<uint32_t>(p.window.groups);
  args.per_split = args.reductions;
  // A tile of few channels would be mostly empty.
  if (args.rows <= 4 || !p.fits) {
    if (p.weight) {
      args.columns_of_tiles = divide_by(args.sides), args.rows_of_tiles = divide_by(args.rows);
      return launch_conv(p, Form::direct_weight, 256);
    }
    const int64_t channels = int64_t{args.rows} * p.window.groups;
    p.image_columns = p.image_columns || channels < 32;
    args.columns_of_tiles = divide_by(ceil_div(p.image_columns ? args.sides : channels, 256));
    args.rows_of_tiles = divide_by(p.image_columns ? args.rows : args.sides);
    return launch_conv(p, Form::direct, 256);
  }
  const Tile tile = choose_tile(p);
  args.columns_of_tiles = divide_by(ceil_div(p.tile_columns(), tile.columns));
  args.rows_of_tiles = divide_by(ceil_div(p.tile_rows(), tile.rows));
  // Few tiles would leave most of the GPU idle: several workgroups share a tile's sum, 8 steps each or more.
  uint32_t splits = 1;
  if (const uint64_t tiles = workgroups(p, tile); at::isFloatingType(p.type) && tiles < 64)
    splits = static_cast<uint32_t>(std::clamp<uint64_t>(std::min<uint64_t>(128 / tiles, args.reductions / (8 * tile.k)), 1, 32));
  if (splits == 1) return launch_conv(p, tile.form, tile.threads);
  args.per_split = ceil_div(ceil_div(args.reductions, splits), tile.k) * tile.k;
  splits = ceil_div(args.reductions, args.per_split);
  const Tensor partial = empty({splits, p.out.numel()}, compute_dtype(p.type));
  const uint64_t bias = args.bias;
  args.parts = divide_by(splits), args.partial = p.out.numel(), args.out = address(partial), args.bias = 0;
  launch_conv(p, tile.form, tile.threads);
  finish(p, partial, bias, splits);
}

// ---- who plays which part

void set_coordinates(ConvArgs& args, const Window& window, const Tensor& image, const Tensor& out) {
  const Triple size = window.sizes(image), stride = window.strides(image), out_stride = window.strides(out);
  const Triple out_size = window.sizes(out);
  for (int d = 0; d < 3; ++d) {
    args.size[d] = static_cast<int32_t>(narrow(size[d])), args.image_x[d] = stride[d], args.out_x[d] = out_stride[d];
    args.out_size[d] = narrow(out_size[d]);
  }
  args.image = address(image), args.out = address(out);
}

void choose_layout(Problem& p, const Tensor& image) {
  ConvArgs& args = p.args;
  p.u_fastest = channels_last(image, p.window);
  p.image_fast = !p.u_fastest;
  p.image_columns = !channels_last(p.out, p.window);
  const int64_t along = p.u_fastest || args.reduction.x[2].value == 1 ? args.dense_u : args.dense_x[2];
  p.dense_fast = args.dense_row == 1 && along != 1;
  p.channel_stride = p.out.stride(1);
}

// out[n, k, p] = sum over c, r of input[n, c, p * stride - padding + r * dilation] * weight[k, c, r]
void forward(const Tensor& input, const Tensor& weight, uint64_t bias, const Window& window, const Tensor& out) {
  Problem p(out.scalar_type(), window, out);
  ConvArgs& args = p.args;
  const int64_t rows = out.size(1) / window.groups, channels = weight.size(1);
  const Triple taps = window.sizes(weight), positions = window.sizes(out);
  set_coordinates(args, window, input, out);
  args.dense = address(weight), args.bias = bias;
  args.image_group = channels * input.stride(1), args.dense_group = rows * weight.stride(0), args.out_group = rows * out.stride(1);
  args.image_side_u = input.stride(0), args.image_reduction_u = input.stride(1);
  args.dense_row = weight.stride(0), args.dense_u = weight.stride(1);
  args.out_side_u = out.stride(0), args.out_row = out.stride(1);
  const Triple dense_x = window.strides(weight);
  for (int d = 0; d < 3; ++d) {
    args.dense_x[d] = dense_x[d];
    args.side.x[d] = divide_by(positions[d]), args.reduction.x[d] = divide_by(taps[d]);
    args.origin[d] = -static_cast<int32_t>(window.padding[d]);
    args.side_step[d] = static_cast<int32_t>(window.stride[d]), args.reduction_step[d] = static_cast<int32_t>(window.dilation[d]);
  }
  args.side.u = divide_by(input.size(0)), args.reduction.u = divide_by(channels);
  args.sides = narrow(out.size(0) * product(positions)), args.rows = narrow(rows);
  args.reductions = narrow(channels * product(taps));
  p.fits = fits_32_bits(input) && fits_32_bits(weight);
  choose_layout(p, input);
  run(p);
}

// The inverse of value modulo `modulus`, to which it is prime.
int64_t inverse(int64_t value, int64_t modulus) {
  for (int64_t candidate = 0; candidate < modulus; ++candidate)
    if (value % modulus * candidate % modulus == 1 % modulus) return candidate;
  return 0;
}

// out[n, c, q] = sum over k, r with p * stride - padding + r * dilation == q of grad[n, k, p] * weight[k, c, r]
void backward_input(const Tensor& grad, const Tensor& weight, uint64_t bias, const Window& window, const Tensor& out) {
  Problem p(out.scalar_type(), window, out);
  ConvArgs& args = p.args;
  const int64_t rows = weight.size(1), channels = weight.size(0) / window.groups;
  const Triple taps = window.sizes(weight), positions = window.sizes(out), dense_x = window.strides(weight);
  set_coordinates(args, window, grad, out);
  args.dense = address(weight), args.bias = bias;
  args.image_group = channels * grad.stride(1), args.dense_group = channels * weight.stride(0), args.out_group = rows * out.stride(1);
  args.image_side_u = grad.stride(0), args.image_reduction_u = grad.stride(1);
  args.dense_row = weight.stride(1), args.dense_u = weight.stride(0);
  args.out_side_u = out.stride(0), args.out_row = out.stride(1);
  p.phased = product(window.stride) != 1, p.phases = product(window.stride);
  Triple most = taps, places = positions;
  for (int d = 0; d < 3; ++d) {
    const int64_t stride = window.stride[d], dilation = window.dilation[d], gcd = std::gcd(stride, dilation), step = stride / gcd;
    if (p.phased) {
      Phase& phase = args.phase[d];
      phase.stride = divide_by(stride), phase.gcd = divide_by(gcd), phase.step = divide_by(step);
      const int64_t fewer = taps[d] / step;
      phase.taps_less = divide_by(fewer), phase.taps_less.value = static_cast<uint32_t>(fewer);
      phase.inverse = static_cast<uint32_t>(inverse(dilation / gcd, step));
      phase.taps = narrow(taps[d]), phase.padding = narrow(window.padding[d]), phase.dilation = narrow(dilation);
      phase.lift = narrow(((step - 1) * dilation + stride - 1) / stride);
      most[d] = (taps[d] + step - 1) / step, places[d] = (positions[d] + stride - 1) / stride;
    }
    args.dense_x[d] = dense_x[d];
    args.side.x[d] = divide_by(places[d]);
    args.reduction.x[d] = divide_by(p.phased ? taps[d] / step + 1 : taps[d]);
    args.origin[d] = static_cast<int32_t>(window.padding[d]);
    args.side_step[d] = 1, args.reduction_step[d] = -static_cast<int32_t>(dilation / gcd);
  }
  args.side.u = divide_by(grad.size(0)), args.reduction.u = divide_by(channels);
  args.sides = narrow(out.size(0) * product(places)), args.rows = narrow(rows);
  args.reductions = narrow(channels * product(most));
  p.fits = fits_32_bits(grad) && fits_32_bits(weight);
  choose_layout(p, grad);
  run(p);
}

// out[k, c, r] = sum over n, p of grad[n, k, p] * input[n, c, p * stride - padding + r * dilation]
void backward_weight(const Tensor& input, const Tensor& grad, const Window& window, const Tensor& out) {
  Problem p(out.scalar_type(), window, out);
  ConvArgs& args = p.args;
  p.weight = true;
  const int64_t rows = out.size(0) / window.groups, channels = out.size(1);
  const Triple taps = window.sizes(out), positions = window.sizes(grad), dense_x = window.strides(grad);
  set_coordinates(args, window, input, out);
  args.dense = address(grad);
  args.image_group = channels * input.stride(1), args.dense_group = rows * grad.stride(1), args.out_group = rows * out.stride(0);
  args.image_side_u = input.stride(1), args.image_reduction_u = input.stride(0);
  args.dense_row = grad.stride(1), args.dense_u = grad.stride(0);
  args.out_side_u = out.stride(1), args.out_row = out.stride(0);
  for (int d = 0; d < 3; ++d) {
    args.dense_x[d] = dense_x[d];
    args.side.x[d] = divide_by(taps[d]), args.reduction.x[d] = divide_by(positions[d]);
    args.origin[d] = -static_cast<int32_t>(window.padding[d]);
    args.side_step[d] = static_cast<int32_t>(window.dilation[d]), args.reduction_step[d] = static_cast<int32_t>(window.stride[d]);
  }
  args.side.u = divide_by(channels), args.reduction.u = divide_by(grad.size(0));
  args.sides = narrow(channels * product(taps)), args.rows = narrow(rows);
  args.reductions = narrow(grad.size(0) * product(positions));
  p.fits = fits_32_bits(input) && fits_32_bits(grad);
  p.image_fast = channels_last(input, window), args.side_u_fastest = p.image_fast;
  p.dense_fast = channels_last(grad, window);
  run(p);
}

// ---- operators

at::MemoryFormat format_of(const Tensor& a, const Tensor& b) {
  const auto first = a.suggest_memory_format();
  return first != at::MemoryFormat::Contiguous ? first : b.suggest_memory_format();
}

void check(const char* op, const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
           const char* bias_name = "bias") {
  const int64_t rank = input.dim() - 2;
  TORCH_CHECK(rank >= 1 && rank <= 3, op, ": expected 3D, 4D or 5D input, but got ", input.dim(), "D");
  TORCH_CHECK(weight.dim() == input.dim(), op, ": expected a ", input.dim(), "D weight, but got ", weight.dim(), "D");
  TORCH_CHECK(weight.scalar_type() == input.scalar_type(), "Input type (", input.dtype().name(), ") and weight type (",
              weight.dtype().name(), ") should be the same");
  TORCH_CHECK(!bias || !bias->defined() || bias->scalar_type() == input.scalar_type(), "Input type (", input.dtype().name(),
              ") and ", bias_name, " type (", bias->dtype().name(), ") should be the same");
  TORCH_CHECK_NOT_IMPLEMENTED(input.scalar_type() != at::kBool, '"', op, "\" not implemented for 'Bool'");
}

// Dtypes without kernels. The boxed fallback cannot run these operators: their CPU side only throws.
Tensor convolution_on_cpu(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias, IntArrayRef stride,
                          IntArrayRef padding, IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups) {
  count_fallback("aten::convolution_overrideable");
  const bool with_bias = bias && bias->defined();
  return at::convolution(input.cpu(), weight.cpu(), with_bias ? std::optional(bias->cpu()) : std::nullopt, stride, padding,
                         dilation, transposed, output_padding, groups)
      .to(input.device());
}

std::tuple<Tensor, Tensor, Tensor> backward_on_cpu(const Tensor& grad, const Tensor& input, const Tensor& weight,
                                                   IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation,
                                                   bool transposed, IntArrayRef output_padding, int64_t groups,
                                                   std::array<bool, 3> wanted) {
  count_fallback("aten::convolution_backward_overrideable");
  auto [grad_input, grad_weight, grad_bias] =
      at::convolution_backward(grad.cpu(), input.cpu(), weight.cpu(), IntArrayRef(grad.size(1)), stride, padding, dilation,
                               transposed, output_padding, groups, wanted);
  const auto back = [&](const Tensor& tensor) { return tensor.defined() ? tensor.to(input.device()) : tensor; };
  return {back(grad_input), back(grad_weight), back(grad_bias)};
}

Tensor convolution(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias, IntArrayRef stride,
                   IntArrayRef padding, IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups) {
  const bool with_bias = bias && bias->defined();
  check_same_device("convolution", {{"input", &input}, {"weight", &weight}});
  if (with_bias) check_same_device("convolution", {{"input", &input}, {"bias", &*bias}});
  if (any_unsupported(input, weight, bias) || input.is_complex())
    return convolution_on_cpu(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups);
  check("convolution", input, weight, bias);
  const Window window(stride, padding, dilation, groups, static_cast<int>(input.dim() - 2));
  TORCH_CHECK_NOT_IMPLEMENTED(!transposed || at::isFloatingType(input.scalar_type()) || input.scalar_type() == at::kLong,
                              "\"conv_transpose", window.rank, "d\" not implemented for '", input.scalar_type(), "'");
  at::DimVector sizes{input.size(0), transposed ? weight.size(1) * groups : weight.size(0)};
  for (int64_t d = 0; d < window.rank; ++d) {
    const auto at = [&](IntArrayRef values) { return values[values.size() == 1 ? 0 : d]; };
    const int64_t reach = at(dilation) * (weight.size(2 + d) - 1) + 1, size = input.size(2 + d);
    sizes.push_back(transposed ? (size - 1) * at(stride) - 2 * at(padding) + reach + at(output_padding)
                               : (size + 2 * at(padding) - reach) / at(stride) + 1);
  }
  const Tensor out = empty(sizes, input.scalar_type(), format_of(input, weight));
  if (out.numel() == 0) return out;
  const Tensor addend = with_bias ? bias->contiguous() : Tensor();
  if (weight.numel() == 0) {   // a sum over no channels
    at::DimVector shape(input.dim(), 1);
    shape[1] = out.size(1);
    return with_bias ? out.copy_(addend.view(shape).expand_as(out)) : out.zero_();
  }
  (transposed ? backward_input : forward)(input, weight, with_bias ? address(addend) : 0, window, out);
  return out;
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& grad, const Tensor& input, const Tensor& weight,
                                                        IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation,
                                                        bool transposed, IntArrayRef output_padding, int64_t groups,
                                                        std::array<bool, 3> wanted) {
  check_same_device("convolution_backward", {{"grad_output", &grad}, {"input", &input}, {"weight", &weight}});
  if (any_unsupported(grad, input, weight) || input.is_complex())
    return backward_on_cpu(grad, input, weight, stride, padding, dilation, transposed, output_padding, groups, wanted);
  check("convolution_backward", input, weight, grad, "grad_output");
  const Window window(stride, padding, dilation, groups, static_cast<int>(input.dim() - 2));
  const ScalarType type = input.scalar_type();
  const auto format = format_of(input, weight);
  const bool nothing = grad.numel() == 0 || weight.numel() == 0;
  Tensor grad_input, grad_weight, grad_bias;
  if (wanted[0]) {
    grad_input = empty(input.sizes(), type, format);
    if (nothing) grad_input.zero_();
    else if (grad_input.numel()) (transposed ? forward : backward_input)(grad, weight, 0, window, grad_input);
  }
  if (wanted[1]) {
    grad_weight = empty(weight.sizes(), type, format);
    if (nothing || input.numel() == 0) grad_weight.zero_();
    else backward_weight(transposed ? grad : input, transposed ? input : grad, window, grad_weight);
  }
  if (wanted[2]) {
    at::DimVector others{0};
    for (int64_t d = 2; d < grad.dim(); ++d) others.push_back(d);
    grad_bias = at::sum(grad, others);
  }
  return {grad_input, grad_weight, grad_bias};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}

}  // namespace
}  // namespace usbgpu::aten
