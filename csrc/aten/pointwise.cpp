#include "aten/pointwise.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstring>
#include <string_view>

#include "aten/arguments.h"

namespace usbgpu::aten {

namespace {

using kernels::kPointwiseThreads;

constexpr uint64_t kScalarOperand = 255;   // in a cache key, instead of a dtype's number

enum Layout : uint32_t { contiguous = 0, vector = 1, strided = 2 };   // strided: 2 + number of dimensions

uint64_t dtype_code(at::ScalarType type) { return static_cast<uint64_t>(type); }

at::Scalar read_scalar(const void* data, at::ScalarType type) {
  switch (type) {
    case at::kByte: return *static_cast<const uint8_t*>(data);
    case at::kChar: return *static_cast<const int8_t*>(data);
    case at::kShort: return *static_cast<const int16_t*>(data);
    case at::kInt: return *static_cast<const int32_t*>(data);
    case at::kLong: return *static_cast<const int64_t*>(data);
    case at::kHalf: return static_cast<float>(*static_cast<const c10::Half*>(data));
    case at::kFloat: return *static_cast<const float*>(data);
    case at::kDouble: return *static_cast<const double*>(data);
    case at::kBool: return *static_cast<const bool*>(data);
    case at::kBFloat16: return static_cast<float>(*static_cast<const c10::BFloat16*>(data));
    case at::kComplexFloat: return *static_cast<const c10::complex<float>*>(data);
    case at::kComplexDouble: return *static_cast<const c10::complex<double>*>(data);
    default: TORCH_CHECK_NOT_IMPLEMENTED(false, "a CPU scalar of dtype ", type, " cannot be passed to usbgpu");
  }
}

template <class T>
uint64_t bits_of(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

static_assert(sizeof(kernels::ContiguousArgs<3, 1>) == 40 && sizeof(kernels::StridedArgs<3, 1, 2>) == 88);

}  // namespace

uint64_t scalar_bits(const at::Scalar& value, at::ScalarType type) {
  switch (type) {
    case at::kByte: return value.to<uint8_t>();
    case at::kChar: return static_cast<uint8_t>(value.to<int8_t>());
    case at::kShort: return static_cast<uint16_t>(value.to<int16_t>());
    case at::kInt: return static_cast<uint32_t>(value.to<int32_t>());
    case at::kLong: return static_cast<uint64_t>(value.to<int64_t>());
    case at::kHalf: return bits_of(value.to<at::Half>());
    case at::kBFloat16: return bits_of(value.to<at::BFloat16>());
    case at::kFloat: return bits_of(value.to<float>());
    case at::kDouble: return bits_of(value.to<double>());
    case at::kBool: return value.to<bool>();
    case at::kComplexFloat: return bits_of(value.to<c10::complex<float>>());
    case at::kUInt16: return value.to<uint16_t>();
    case at::kUInt32: return value.to<uint32_t>();
    case at::kUInt64: return value.to<uint64_t>();
    case at::kFloat8_e4m3fn: return bits_of(value.to<at::Float8_e4m3fn>());
    case at::kFloat8_e5m2: return bits_of(value.to<at::Float8_e5m2>());
    case at::kFloat8_e4m3fnuz: return bits_of(value.to<at::Float8_e4m3fnuz>());
    case at::kFloat8_e5m2fnuz: return bits_of(value.to<at::Float8_e5m2fnuz>());
    case at::kFloat8_e8m0fnu: return bits_of(value.to<at::Float8_e8m0fnu>());
    default: TORCH_CHECK_NOT_IMPLEMENTED(false, "dtype ", type, " has no kernels on usbgpu");
  }
}

// Operations that ATen's CPU kernels refuse for bool, or for integers too, though ours would compute something:
// who meets torch's error on the CPU meets it here.
struct Undefined {
  const char* operation;
  enum : uint8_t { for_bool, for_integers } what;
  const char* name;   // in the message
};
constexpr Undefined kUndefined[] = {
    {"abs", Undefined::for_bool, "abs_cpu"},
    {"addcdiv", Undefined::for_bool, "addcdiv_cpu_out"},
    {"addcmul", Undefined::for_bool, "addcmul_cpu_out"},
    {"ceil", Undefined::for_bool, "ceil_vml_cpu"},
    {"clamp", Undefined::for_bool, "clamp_scalar_cpu"},
    {"clamp_max", Undefined::for_bool, "clamp_max_scalar_cpu"},
    {"clamp_min", Undefined::for_bool, "clamp_min_scalar_cpu"},
    {"clamp_tensor", Undefined::for_bool, "clamp_cpu"},
    {"div_floor", Undefined::for_bool, "div_floor_cpu"},
    {"div_trunc", Undefined::for_bool, "div_trunc_cpu"},
    {"floor", Undefined::for_bool, "floor_vml_cpu"},
    {"fmod", Undefined::for_bool, "fmod_cpu"},
    {"frac", Undefined::for_integers, "frac_cpu"},
    {"huber", Undefined::for_integers, "huber_cpu"},
    {"lerp", Undefined::for_integers, "lerp_kernel_tensor"},
    {"lerp_scalar", Undefined::for_integers, "lerp_kernel_scalar"},
    {"log_sigmoid", Undefined::for_integers, "log_sigmoid_cpu"},
    {"mse", Undefined::for_integers, "mse_cpu"},
    {"pow", Undefined::for_bool, "pow"},
    {"remainder", Undefined::for_bool, "remainder_cpu"},
    {"round", Undefined::for_integers, "round_vml_cpu"},
    {"round_decimals_down", Undefined::for_integers, "round_cpu"},
    {"round_decimals_up", Undefined::for_integers, "round_cpu"},
    {"smooth_l1", Undefined::for_integers, "smooth_l1_cpu"},
    {"threshold", Undefined::for_bool, "threshold_cpu"},
    {"trunc", Undefined::for_bool, "trunc_vml_cpu"},
};

Pointwise::Pointwise(const char* name, int bool_operand, const char* family)
    : name_(name), family_(family), bool_operand_(bool_operand), undefined_(nullptr) {
  for (const Undefined& row : kUndefined) {
    if (std::string_view(row.operation) == name) undefined_ = &row;
  }
}

void Pointwise::check_defined(at::ScalarType arithmetic) const {
  if (C10_LIKELY(!undefined_)) return;
  const bool refused = arithmetic == at::kBool || (undefined_->what == Undefined::for_integers && c10::isIntegralType(arithmetic, false));
  TORCH_CHECK_NOT_IMPLEMENTED(!refused, "\"", undefined_->name, "\" not implemented for '", arithmetic, "'");
}

void Pointwise::with_address(at::TensorIteratorBase& iter, at::ScalarType arithmetic, uint64_t address) {
  check_defined(arithmetic);
  if (iter.numel() != 0) run(iter, arithmetic, &address, 1);
}

void Pointwise::operator()(at::TensorIteratorBase& iter, at::ScalarType arithmetic, std::initializer_list<at::Scalar> params) {
  check_defined(arithmetic);
  if (iter.numel() == 0) return;
  TORCH_INTERNAL_ASSERT(params.size() <= kMaxParams && iter.ninputs() <= kMaxInputs && iter.noutputs() <= 2);
  uint64_t bits[2 * kMaxParams] = {};
  int count = 0;
  for (const at::Scalar& param : params) {
    if (arithmetic == at::kComplexDouble) {   // two words each
      const auto number = param.to<c10::complex<double>>();
      bits[count++] = bits_of(number.real());
      bits[count++] = bits_of(number.imag());
    } else {
      bits[count++] = scalar_bits(param, arithmetic);
    }
  }
  run(iter, arithmetic, bits, count);
}

void Pointwise::run(at::TensorIteratorBase& iter, at::ScalarType arithmetic, const uint64_t* params, int param_count) {
  if (!iter.can_use_32bit_indexing()) {
    for (auto& part : iter.with_32bit_indexing()) run(part, arithmetic, params, param_count);
    return;
  }
  const int operands = iter.ntensors(), outputs = iter.noutputs();
  const int dims = iter.ndim();
  const int64_t count = iter.numel();
  const auto sizes = iter.shape();

  uint64_t cache_key = dtype_code(arithmetic);
  bool is_complex = at::isComplexType(arithmetic);
  std::array<at::Tensor, kMaxInputs> staged;   // lives until the launch is queued: one in-order stream
  uint64_t values[kMaxInputs + 2];
  bool by_value[kMaxInputs + 2] = {};
  at::ScalarType types_of[kMaxInputs + 2];
  bool is_contiguous = true;
  unsigned widest = 1;
  for (int i = 0; i < operands; ++i) {
    const auto type = iter.dtype(i);
    types_of[i] = type;
    is_complex |= at::isComplexType(type);
    // Outputs are on the device: TensorIterator allows only inputs to be CPU scalars.
    if (i >= outputs && iter.is_cpu_scalar(i) && arithmetic == at::kComplexDouble && i - outputs != bool_operand_) {
      // 16 bytes do not fit an operand's word: an element in memory, read with stride 0
      const auto number = read_scalar(iter.data_ptr(i), type).to<c10::complex<double>>();
      at::Tensor& element = staged[static_cast<size_t>(i - outputs)];
      element = empty({}, arithmetic);
      device().copy_in(address(element), &number, sizeof number);
      values[i] = address(element);
      cache_key = cache_key << 8 | dtype_code(arithmetic);
      types_of[i] = arithmetic;
      is_contiguous = count == 1 && is_contiguous;
      widest = sizeof number;
      continue;
    }
    if (i >= outputs && iter.is_cpu_scalar(i)) {
      by_value[i] = true;
      at::Scalar value = read_scalar(iter.data_ptr(i), type);
      const auto as = i - outputs == bool_operand_ ? at::kBool : arithmetic;
      // A comparison sees the scalar as an element of the other operand's dtype would be.
      if (iter.dtype(0) == at::kBool && arithmetic == at::kFloat && is_low_precision(iter.dtype(1))) {
        value = iter.dtype(1) == at::kHalf ? static_cast<float>(value.to<at::Half>()) : static_cast<float>(value.to<at::BFloat16>());
      }
      values[i] = scalar_bits(value, as);
      cache_key = cache_key << 8 | kScalarOperand;
      continue;
    }
    const unsigned item = static_cast<unsigned>(c10::elementSize(type));
    values[i] = reinterpret_cast<uint64_t>(iter.data_ptr(i));
    cache_key = cache_key << 8 | dtype_code(type);
    widest = std::max(widest, item);
    if (count > 1 && !(dims == 1 && iter.strides(i)[0] == item)) is_contiguous = false;
  }

  uint32_t layout;
  const int width = kernels::vector_width(static_cast<int>(widest));
  if (is_contiguous) {
    layout = count >= width ? vector : contiguous;
    for (int i = 0; i < operands; ++i) {
      if (!by_value[i] && values[i] % (width * c10::elementSize(types_of[i]))) layout = contiguous;
    }
  } else {
    layout = strided + static_cast<uint32_t>(rank_class(dims));
  }
  cache_key = cache_key << 8 | layout;

  Kernel* kernel = cache_.get(cache_key, [&] {
    const std::string family = is_complex ? "complex" : family_;
    std::string symbol = std::string("pw_") + name_ + "_" + dtype_name(arithmetic);
    std::string types;
    for (int i = 0; i < operands; ++i) {
      symbol += std::string("_") + (by_value[i] ? "s" : dtype_name(types_of[i]));
      types += std::string(", ") + (by_value[i] ? "usbgpu::kernels::Scalar" : dtype_c_type(types_of[i]));
    }
    const std::string operation = std::string("usbgpu::kernels::op_") + name_ + "<" + dtype_c_type(arithmetic) + ">" + types + ")";
    const std::string scalars = std::to_string(param_count);
    const std::string form = outputs == 2 ? "USBGPU_PAIR_" : "USBGPU_POINTWISE_";
    if (layout == vector) {
      symbol += "_v";
      return KernelSource{family, symbol, form + "VECTOR(" + symbol + ", " + scalars + ", " + operation};
    }
    if (layout == contiguous) {
      symbol += "_c";
      return KernelSource{family, symbol, form + "CONTIGUOUS(" + symbol + ", " + scalars + ", " + operation};
    }
    const std::string rank = std::to_string(layout - strided);
    symbol += "_d" + rank;
    return KernelSource{family, symbol, form + "STRIDED(" + symbol + ", " + rank + ", " + scalars + ", " + operation};
  });

  ArgumentBuffer args;
  for (int i = 0; i < operands; ++i) args.word(values[i]);
  for (int i = 0; i < std::max(param_count, 1); ++i) args.word(params[i]);
  args.half(static_cast<uint32_t>(count));
  if (layout >= strided) {
    const int rank = static_cast<int>(layout - strided);
    for (int d = 0; d < rank; ++d) {
      const auto size = divisor(d < dims ? static_cast<uint32_t>(sizes[d]) : 1);
      args.half(size.value);
      args.half(size.magic);
      args.half(size.shift);
    }
    for (int i = 0; i < operands; ++i) {
      for (int d = 0; d < rank; ++d) {
        args.half(d < dims && !by_value[i] ? static_cast<uint32_t>(iter.strides(i)[d]) : 0);
      }
    }
  }
  args.align();
  const int per_thread = layout == vector ? width : 1;
  device().launch(kernel, {ceil_div(static_cast<uint64_t>(count), static_cast<uint64_t>(kPointwiseThreads * per_thread))},
                  {kPointwiseThreads}, args.data(), args.size());
}

}  // namespace usbgpu::aten
