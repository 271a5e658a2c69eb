// What the parts of the backend share among themselves.
#pragma once

#include <ATen/core/Generator.h>
#include <c10/core/Device.h>
#include <c10/core/GeneratorImpl.h>

namespace usbgpu::aten {

void check_device_index(c10::DeviceIndex index);

// Philox4x32-10: the state is a key (seed) and a counter offset. A kernel that draws n numbers per
// thread takes (seed, offset) as arguments and moves the offset on, so that the device keeps none.
class PhiloxGenerator final : public c10::GeneratorImpl {
 public:
  PhiloxGenerator();

  void set_current_seed(uint64_t seed) override;
  void set_offset(uint64_t offset) override { offset_ = offset; }
  uint64_t get_offset() const override { return offset_; }
  uint64_t current_seed() const override { return seed_; }
  uint64_t seed() override;
  void set_state(const c10::TensorImpl& state) override;
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override;

  // The offset before the call, moved on by `increment` rounded up to whole Philox blocks (4).
  // Caller holds mutex_.
  uint64_t take(uint64_t increment);

  static c10::DeviceType device_type() { return c10::DeviceType::PrivateUse1; }

 private:
  PhiloxGenerator* clone_impl() const override;

  uint64_t seed_ = 0;
  uint64_t offset_ = 0;
};

const at::Generator& default_generator();

struct PhiloxSeed {
  uint64_t seed, offset;
};
// Locks the generator (or the default one) and draws room for `increment` numbers per thread.
PhiloxSeed draw(const std::optional<at::Generator>& generator, uint64_t increment);

}  // namespace usbgpu::aten
