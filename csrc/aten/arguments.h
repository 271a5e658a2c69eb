// Argument structs of kernels whose size depends on the rank of the tensors.
#pragma once

#include <c10/util/Exception.h>

#include <bit>
#include <cstdint>
#include <cstring>

#include "../../torch_usbgpu/kernels/pointwise_args.h"

namespace usbgpu::aten {

// Granlund-Montgomery: for n < 2^31, (mulhi(n, magic) + n) >> shift == n / value.
inline kernels::Divisor divisor(uint32_t value) {
  uint32_t shift = 0;
  while (shift < 32 && (uint64_t{1} << shift) < value) ++shift;
  const uint64_t magic = ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - value)) / value + 1;
  return {value, static_cast<uint32_t>(magic), shift};
}

// Ranks are rounded up so that few kernels serve all.
inline int rank_class(int dims) { return dims <= 2 ? 2 : dims <= 4 ? 4 : static_cast<int>(std::bit_ceil(static_cast<unsigned>(dims))); }

// A kernel's argument struct, filled in the order of its *_args.h. All fields are 4 or 8 bytes
// and the 8-byte ones come first, so that there is no padding but at the end.
class ArgumentBuffer {
 public:
  void word(uint64_t value) { put(&value, sizeof value); }
  void half(uint32_t value) { put(&value, sizeof value); }
  void align() { size_ = (size_ + 7) / 8 * 8; }
  const void* data() const { return bytes_; }
  size_t size() const { return size_; }

 private:
  void put(const void* value, size_t bytes) {
    TORCH_INTERNAL_ASSERT(size_ + bytes <= sizeof bytes_);
    std::memcpy(bytes_ + size_, value, bytes);
    size_ += bytes;
  }
  alignas(8) char bytes_[2560] = {};   // 5 operands x 64 dimensions
  size_t size_ = 0;
};
}  // namespace usbgpu::aten
