// Copies: host to device, device to host, on the device; any strides, any dtype on either side.
//
// The cable is the bottleneck: whatever narrows data happens before it, whatever widens data after it,
// and strides are straightened on the side that has the data.
#include <ATen/Functions.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/TensorIterator.h>
#include <ATen/native/Copy.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/bits.h"
#include "aten/pointwise.h"

namespace usbgpu::aten {

namespace {

using at::Tensor;

// Kernels convert between these.
bool convertible(at::ScalarType type) { return dtype_convertible(type) || at::isComplexType(type); }

// The elements as they are in memory: a view without the lazy conjugation and negation.
Tensor plain(const Tensor& tensor) {
  Tensor result = tensor.is_conj() ? at::_conj(tensor) : tensor;
  return result.is_neg() ? at::_neg_view(result) : result;
}

bool same_block(const Tensor& a, const Tensor& b) {
  return a.strides() == b.strides() && a.is_non_overlapping_and_dense();
}

void copy_elements(Tensor dst, Tensor src) {
  static Pointwise op("copy");
  if (dst.scalar_type() == src.scalar_type()) {
    if ((dst.is_contiguous() && src.is_contiguous()) || same_block(dst, src)) {
      const size_t bytes = dst.nbytes();
      if (address(dst) == address(src)) return;
      const auto overlap = at::get_overlap_status(dst, src);
      if (overlap == at::MemOverlapStatus::No) return device().copy(address(dst), address(src), bytes);
    }
    const auto type = dst.scalar_type();
    if (c10::elementSize(type) == 16) {
      dst = at::view_as_real(dst);
      src = at::view_as_real(src);
    } else if (!dtype_supported(type) || c10::isFloatingType(type)) {
      // bits, so that a NaN's payload survives
      dst = reinterpret(dst, bits_type(type));
      src = reinterpret(src, bits_type(type));
    }
  }
  if (at::get_overlap_status(dst, src) == at::MemOverlapStatus::Partial) src = src.clone();
  auto iter = at::TensorIteratorConfig()
                  .set_check_mem_overlap(false)
                  .add_output(dst)
                  .add_const_input(src)
                  .resize_outputs(false)
                  .check_all_same_dtype(false)
                  .build();
  op(iter, dst.scalar_type());
}

// What a lazily conjugated or negated operand means, computed in the type that has an imaginary part.
void copy_conjugated(const Tensor& dst, const Tensor& src, bool conjugated, bool negated) {
  static Pointwise neg("neg"), conj("conj"), both("neg_conj");
  auto iter = at::TensorIteratorConfig()
                  .set_check_mem_overlap(false)
                  .add_output(dst)
                  .add_const_input(at::get_overlap_status(dst, src) == at::MemOverlapStatus::No ? src : src.clone())
                  .resize_outputs(false)
                  .check_all_same_dtype(false)
                  .build();
  (!conjugated ? neg : negated ? both : conj)(iter, (src.is_complex() ? src : dst).scalar_type());
}

void copy_on_device(const Tensor& dst, const Tensor& src) {
  const bool conjugated = dst.is_conj() != src.is_conj(), negated = dst.is_neg() != src.is_neg();
  const bool kernels = convertible(dst.scalar_type()) && convertible(src.scalar_type());
  if (!conjugated && !negated && (kernels || dst.scalar_type() == src.scalar_type())) return copy_elements(plain(dst), plain(src));
  if (kernels && (dst.is_complex() || src.is_complex())) return copy_conjugated(plain(dst), plain(src), conjugated, negated);
  if (kernels) return copy_elements(plain(dst), at::neg(plain(src)));   // real: they differ in the sign only
  // A conversion from or to a dtype without kernels: over the CPU.
  Tensor host = plain(src).to(at::kCPU);
  if (src.is_conj()) host = host.conj();
  if (src.is_neg()) host = at::_neg_view(host);
  host = host.to(dst.scalar_type());
  if (dst.is_conj()) host = host.conj();
  if (dst.is_neg()) host = at::_neg_view(host);
  host = host.resolve_conj().resolve_neg().contiguous();
  Tensor staged = empty(host.sizes(), host.scalar_type());
  device().copy_in(address(staged), host.const_data_ptr(), host.nbytes());
  copy_elements(plain(dst), staged);
}

void copy_to_device(const Tensor& dst, const Tensor& src) {
  const auto to = dst.scalar_type(), from = src.scalar_type();
  Tensor host = src;
  if (to != from && (c10::elementSize(to) <= c10::elementSize(from) || !convertible(to) || !convertible(from))) {
    host = host.to(to);
  }
  host = host.resolve_conj().resolve_neg();
  const bool as_is = host.scalar_type() == to && !dst.is_conj() && !dst.is_neg();
  if (as_is && same_block(dst, host)) {
    return device().copy_in(address(dst), host.const_data_ptr(), host.nbytes());
  }
  host = host.contiguous();
  if (as_is && dst.is_contiguous()) {
    return device().copy_in(address(dst), host.const_data_ptr(), host.nbytes());
  }
  Tensor staged = empty(host.sizes(), host.scalar_type());
  device().copy_in(address(staged), host.const_data_ptr(), host.nbytes());
  copy_on_device(dst, staged);
}

void copy_to_host(const Tensor& dst, const Tensor& source) {
  Tensor src = source;
  const auto to = dst.scalar_type(), from = src.scalar_type();
  if (to != from && c10::elementSize(to) < c10::elementSize(from) && dtype_convertible(to) && dtype_convertible(from) &&
      !src.is_neg()) {
    Tensor narrowed = empty(src.sizes(), to);
    copy_on_device(narrowed, src);
    src = narrowed;
  }
  const bool bits = src.scalar_type() == to && src.is_conj() == dst.is_conj() && src.is_neg() == dst.is_neg();
  if (!src.is_non_overlapping_and_dense()) {
    Tensor packed = empty(src.sizes(), src.scalar_type());
    copy_elements(packed, plain(src));
    if (source.is_conj()) packed._set_conj(true);
    if (source.is_neg()) packed._set_neg(true);
    src = packed;
  }
  if (bits && same_block(dst, src)) {
    return read_back(dst.mutable_data_ptr(), address(src), src.nbytes());
  }
  Tensor host = at::empty_strided(src.sizes(), src.strides(), at::TensorOptions().dtype(src.scalar_type()));
  read_back(host.mutable_data_ptr(), address(src), src.nbytes());
  if (src.is_conj()) host._set_conj(true);
  if (src.is_neg()) host._set_neg(true);
  dst.copy_(host);
}

Tensor copy_from(const Tensor& self, const Tensor& dst, bool non_blocking) {
  if (self.is_same(dst)) return dst;
  const Tensor src = self.sizes() == dst.sizes() ? self : self.expand(dst.sizes());
  if (dst.numel() == 0) return dst;
  at::assert_no_internal_overlap(dst);
  const bool to_device = dst.is_privateuseone(), from_device = src.is_privateuseone();
  if (to_device && from_device) {
    at::assert_no_partial_overlap(dst, src);
    copy_on_device(dst, src);
  } else if (to_device) {
    copy_to_device(dst, src.is_cpu() ? src : src.cpu());
  } else {
    TORCH_CHECK(dst.is_cpu(), "cannot copy from usbgpu to ", dst.device(), ": copy to the CPU first");
    copy_to_host(dst, src);
  }
  return dst;
}

Tensor copy_from_and_resize(const Tensor& self, const Tensor& dst) {
  if (self.sizes() != dst.sizes()) dst.resize_(self.sizes());
  return copy_from(self, dst, false);
}

// .item(), print, `if tensor:`: the one place where Python waits for the device.
at::Scalar local_scalar_dense(const Tensor& self) {
  TORCH_CHECK(self.numel() == 1, "a Tensor with ", self.numel(), " elements cannot be converted to Scalar");
  Tensor host = at::empty({}, at::TensorOptions().dtype(self.scalar_type()));
  read_back(host.mutable_data_ptr(), address(self), host.nbytes());
  if (self.is_neg()) host._set_neg(true);
  if (self.is_conj()) host._set_conj(true);
  return host.item();
}

// Not so asynchronous here: a read-back is what finds out.
void assert_true_with(const Tensor& condition, std::string_view message) {
  TORCH_CHECK(condition.is_nonzero(), message);
}
void assert_true(const Tensor& condition) {
  assert_true_with(condition, "Expected Tensor with single nonzero value, but got zero");
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_assert_async", &assert_true);
  m.impl("_assert_async.msg", &assert_true_with);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &local_scalar_dense);
}

// Lazily conjugated or negated tensors reach copy_from as they are. Without this ATen would first
// materialise them by a clone, that is by a copy, without end.
TORCH_LIBRARY_IMPL(aten, Conjugate, m) {
  m.impl("_copy_from", torch::CppFunction::makeFallthrough());
  m.impl("_copy_from_and_resize", torch::CppFunction::makeFallthrough());
}
TORCH_LIBRARY_IMPL(aten, Negative, m) {
  m.impl("_copy_from", torch::CppFunction::makeFallthrough());
  m.impl("_copy_from_and_resize", torch::CppFunction::makeFallthrough());
}

}  // namespace
}  // namespace usbgpu::aten
