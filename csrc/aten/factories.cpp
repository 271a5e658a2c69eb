// Values out of nothing: fill, zero, arange, linspace, eye; tril and triu; equal.
#include <ATen/TensorIterator.h>
#include <ATen/native/Fill.h>
#include <ATen/ops/all.h>
#include <ATen/ops/arange_ops.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/eye_ops.h>
#include <ATen/ops/fill_ops.h>
#include <ATen/ops/linspace_ops.h>
#include <ATen/ops/logspace_ops.h>
#include <ATen/ops/equal_ops.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "../../torch_usbgpu/kernels/factories_args.h"
#include "aten/backend/complex.h"
#include "aten/bits.h"
#include "aten/pointwise.h"

namespace usbgpu::aten {

namespace {

using at::Scalar;
using at::Tensor;
constexpr uint32_t kThreads = kernels::kFactoryThreads;

// ---- fill

void fill_elements(at::TensorIteratorBase& iter, const Scalar& value) {
  static Pointwise op("fill");
  if (iter.numel() == 0) return;
  const auto type = iter.dtype(0);
  const auto item = static_cast<unsigned>(c10::elementSize(type));
  if (iter.is_contiguous() && item <= 8) {
    return device().fill(reinterpret_cast<uint64_t>(iter.data_ptr(0)), scalar_bits(value, type), item,
                         static_cast<size_t>(iter.numel()) * item);
  }
  op(iter, type, {value});
}

Tensor& fill_scalar(Tensor& self, const Scalar& value) {
  if (self.numel() == 0) return self;
  const auto type = self.scalar_type();
  if (dtype_convertible(type) && !dtype_supported(type)) {   // uint16/32/64, 8-bit floats: a pattern of bits
    TORCH_CHECK(!value.isComplex() || value.toComplexDouble().imag() == 0,
                "value cannot be converted to type ", type, " without overflow");
    const uint64_t bits = scalar_bits(value, type);
    const auto as = bits_type(type);
    Scalar pattern = as == at::kByte ? Scalar(static_cast<uint8_t>(bits)) : as == at::kShort ? Scalar(static_cast<int16_t>(bits))
                     : as == at::kInt ? Scalar(static_cast<int32_t>(bits)) : Scalar(static_cast<int64_t>(bits));
    Tensor alias = reinterpret(self, as);
    fill_scalar(alias, pattern);
    return self;
  }
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::fill__Scalar, self, value);
  auto iter = at::TensorIteratorConfig().set_check_mem_overlap(false).check_all_same_dtype(false).add_output(self).resize_outputs(false).build();
  fill_elements(iter, value);
  return self;
}

Tensor& fill_tensor(Tensor& self, const Tensor& value) {
  TORCH_CHECK(value.dim() == 0, "fill_ only supports 0-dimension value tensor but got tensor with ", value.dim(), " dimensions.");
  if (value.is_cpu()) return fill_scalar(self, value.item());
  self.copy_(value);
  return self;
}

// All bits zero is zero in every dtype.
Tensor& zero_(Tensor& self) {
  if (self.numel() == 0) return self;
  if (self.is_non_overlapping_and_dense()) {
    device().fill(address(self), 0, 1, self.nbytes());
    return self;
  }
  return fill_scalar(self, 0);
}

// ---- ranges

Kernel* range_kernel(const char* what, at::ScalarType type) {
  static KernelCache cache;
  return cache.get(key(what[0], what[1], type), [&] {
    std::string symbol = std::string(what) + "_" + dtype_name(type);
    const std::string macro = what[0] == 'a' ? "USBGPU_ARANGE(" : what[1] == 'i' ? "USBGPU_LINSPACE(" : "USBGPU_LOGSPACE(";
    return KernelSource{"factories", symbol, macro + symbol + ", " + dtype_c_type(type) + ")"};
  });
}

// Runs `write` on the tensor if it is contiguous, else on a contiguous one that is copied over.
template <class Write>
Tensor& through_contiguous(Tensor& out, Write write) {
  if (out.numel() == 0) return out;
  if (out.is_contiguous()) {
    write(out);
    return out;
  }
  Tensor packed = empty(out.sizes(), out.scalar_type());
  write(packed);
  return out.copy_(packed);
}

int64_t arange_size(const Scalar& start, const Scalar& end, const Scalar& step, bool integral) {
  const double first = start.toDouble(), last = end.toDouble(), by = step.toDouble();
  TORCH_CHECK(by > 0 || by < 0, "step must be nonzero");
  TORCH_CHECK(std::isfinite(first) && std::isfinite(last), "unsupported range: ", first, " -> ", last);
  TORCH_CHECK((by > 0 && last >= first) || (by < 0 && last <= first), "upper bound and lower bound inconsistent with step sign");
  if (integral) {   // exact beyond 2^53
    const int64_t a = start.toLong(), b = end.toLong(), s = step.toLong();
    TORCH_CHECK(s != 0, "step must be nonzero");
    return (b - a + s - (s > 0 ? 1 : -1)) / s;
  }
  const double size = std::ceil((last - first) / by);
  TORCH_CHECK(size >= 0 && size <= static_cast<double>(std::numeric_limits<int64_t>::max()), "invalid size, possible overflow?");
  return static_cast<int64_t>(size);
}

Tensor& arange_out(const Scalar& start, const Scalar& end, const Scalar& step, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::arange_start_out, start, end, step, out);
  TORCH_CHECK_NOT_IMPLEMENTED(out.scalar_type() != at::kBool, "\"arange_cpu\" not implemented for 'Bool'");
  const bool exact = start.isIntegral(true) && end.isIntegral(true) && step.isIntegral(true);
  const int64_t size = arange_size(start, end, step, exact && out.scalar_type() == at::kLong);
  if (out.numel() != size) {
    if (out.numel() > 0) {
      TORCH_WARN("The number of elements in the out tensor of shape ", out.sizes(), " is ", out.numel(),
                 " which does not match the computed number of elements ", size,
                 ". Note that this may occur as a result of rounding error. The out tensor will be resized to a tensor of "
                 "shape (", size, ",).");
    }
    out.resize_({size});
  }
  return through_contiguous(out, [&](Tensor& to) {
    const auto type = to.scalar_type();
    kernels::RangeArgs args{};
    args.out = address(to);
    args.count = static_cast<uint64_t>(size);
    const auto wide = c10::isFloatingType(type) ? at::kDouble : at::kLong;
    args.start = scalar_bits(start, wide);
    args.step = scalar_bits(step, wide);
    launch(range_kernel("arange", type), {ceil_div(args.count, kThreads)}, {kThreads}, args);
  });
}

// start ... end, or the powers of a base with those exponents.
Tensor& spaced(const char* what, Scalar start, Scalar end, int64_t steps, std::optional<double> base, Tensor& out) {
  TORCH_CHECK(steps >= 0, "number of steps must be non-negative");
  if (out.numel() != steps) out.resize_({steps});
  TORCH_CHECK_NOT_IMPLEMENTED(out.scalar_type() != at::kBool || steps < 2, "\"", what, "_cpu\" not implemented for 'Bool'");
  if (steps == 1) {
    out.fill_(base ? Scalar(std::pow(*base, start.toDouble())) : start);
    return out;
  }
  return through_contiguous(out, [&](Tensor& to) {
    const auto type = to.scalar_type();
    kernels::RangeArgs args{};
    args.out = address(to);
    args.count = static_cast<uint64_t>(steps);
    const auto arithmetic = c10::isIntegralType(type, false) ? at::kDouble : compute_dtype(type);
    if (c10::isIntegralType(type, false)) {   // the ends are numbers of that type
      start = start.toLong();
      end = end.toLong();
    }
    if (type == at::kFloat || is_low_precision(type)) {
      // the step in f32, as ATen computes it for these dtypes
      const float a = start.to<float>(), b = end.to<float>();
      args.step = scalar_bits((b - a) / static_cast<float>(steps - 1), arithmetic);
    } else {
      args.step = scalar_bits((end.toDouble() - start.toDouble()) / static_cast<double>(steps - 1), arithmetic);
    }
    args.start = scalar_bits(start, arithmetic);
    args.end = scalar_bits(end, arithmetic);
    args.base = scalar_bits(base.value_or(0), arithmetic);
    launch(range_kernel(what, type), {ceil_div(args.count, kThreads)}, {kThreads}, args);
  });
}

Tensor& linspace_out(const Scalar& start, const Scalar& end, int64_t steps, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::linspace_out, start, end, steps, out);
  return spaced("linspace", start, end, steps, std::nullopt, out);
}

Tensor& logspace_out(const Scalar& start, const Scalar& end, int64_t steps, double base, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::logspace_out, start, end, steps, base, out);
  return spaced("logspace", start, end, steps, base, out);
}

Tensor& eye_m_out(int64_t n, int64_t m, Tensor& out) {
  TORCH_CHECK(n >= 0, "n must be greater or equal to 0, got ", n);
  TORCH_CHECK(m >= 0, "m must be greater or equal to 0, got ", m);
  out.resize_({n, m});
  out.zero_();
  if (n > 0 && m > 0) out.diagonal().fill_(1);
  return out;
}
Tensor& eye_out(int64_t n, Tensor& out) { return eye_m_out(n, n, out); }

// ---- masks by position

Tensor& triangle(const char* what, const Tensor& self, int64_t diagonal, Tensor& out) {
  static KernelCache cache;
  check_on_device(what, "self", self);
  TORCH_CHECK(self.dim() >= 2, what, ": input tensor must have at least 2 dimensions");
  TORCH_CHECK(out.scalar_type() == self.scalar_type(), "Expected out tensor to have dtype ", self.scalar_type(),
              ", but got ", out.scalar_type(), " instead");
  resize_out(out, self.sizes());
  const auto item = c10::elementSize(self.scalar_type());
  const bool lower = what[3] == 'l';   // tril, triu
  const Tensor source = self.contiguous();
  return through_contiguous(out, [&](Tensor& to) {
    Kernel* kernel = cache.get(key(lower, item), [&] {
      const std::string bits = std::to_string(item * 8), symbol = std::string(what) + "_" + bits;
      const std::string word = item == 16 ? "usbgpu::kernels::Bits128" : "uint" + bits + "_t";
      const char* which = lower ? ", true)" : ", false)";
      return KernelSource{"factories", symbol, "USBGPU_TRIANGLE(" + symbol + ", " + word + which};
    });
    kernels::TriangleArgs args{};
    args.out = address(to);
    args.in = address(source);
    args.count = static_cast<uint64_t>(to.numel());
    args.rows = static_cast<uint32_t>(self.size(-2));
    args.columns = static_cast<uint32_t>(self.size(-1));
    args.diagonal = std::clamp<int64_t>(diagonal, -int64_t{args.rows} - 1, int64_t{args.columns} + 1);
    launch(kernel, {ceil_div(args.count, kThreads)}, {kThreads}, args);
  });
}
Tensor& tril_out(const Tensor& self, int64_t diagonal, Tensor& out) {
  return triangle("tril", self, diagonal, out);
}
Tensor& triu_out(const Tensor& self, int64_t diagonal, Tensor& out) {
  return triangle("triu", self, diagonal, out);
}

// ---- comparison as a whole

bool equal(const Tensor& self, const Tensor& other) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::equal, self, other);
  TORCH_CHECK(self.device() == other.device(), "Cannot compare two tensors on different devices. Got: ", self.device(),
              " and ", other.device());
  if (self.sizes() != other.sizes()) return false;
  if (self.numel() == 0) return true;
  return at::all(at::eq(self, other)).item<bool>();
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("fill_.Scalar", &fill_scalar);
  m.impl("fill_.Tensor", &fill_tensor);
  m.impl("zero_", &zero_);
  m.impl("arange.start_out", &arange_out);
  m.impl("linspace.out", &linspace_out);
  m.impl("logspace.out", &logspace_out);
  m.impl("eye.out", &eye_out);
  m.impl("eye.m_out", &eye_m_out);
  m.impl("tril.out", &tril_out);
  m.impl("triu.out", &triu_out);
  m.impl("equal", &equal);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
// Reached from ATen's own kernels (full_like and friends).
static void fill_usbgpu(TensorIterator& iter, const Scalar& value) { usbgpu::aten::fill_elements(iter, value); }
REGISTER_PRIVATEUSE1_DISPATCH(fill_stub, &fill_usbgpu)
}  // namespace at::native
