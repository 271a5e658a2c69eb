#include <ATen/EmptyTensor.h>
#include <ATen/core/TensorBase.h>
#include <c10/util/Exception.h>

#include <cstring>
#include <mutex>

#include "aten/backend/backend.h"

namespace usbgpu::aten {

namespace {
// c10::default_rng_seed_val: what torch.cuda starts with too
constexpr uint64_t kInitialSeed = c10::default_rng_seed_val;
constexpr size_t kStateBytes = 2 * sizeof(uint64_t);  // seed, offset
}  // namespace

PhiloxGenerator::PhiloxGenerator()
    : GeneratorImpl(c10::Device(c10::DeviceType::PrivateUse1, 0), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
      seed_(kInitialSeed) {}

void PhiloxGenerator::set_current_seed(uint64_t seed) {
  seed_ = seed;
  offset_ = 0;
}

uint64_t PhiloxGenerator::seed() {
  set_current_seed(c10::detail::getNonDeterministicRandom(/*is_cuda=*/true));
  return seed_;
}

void PhiloxGenerator::set_state(const c10::TensorImpl& state) {
  TORCH_CHECK_TYPE(state.device().is_cpu() && state.dtype() == caffe2::TypeMeta::Make<uint8_t>() && state.is_contiguous(),
                   "RNG state must be a contiguous torch.ByteTensor on the CPU");
  TORCH_CHECK(state.numel() == static_cast<int64_t>(kStateBytes), "RNG state of usbgpu has ", kStateBytes,
              " bytes, but ", state.numel(), " were given");
  uint64_t words[2];
  std::memcpy(words, state.data(), sizeof words);
  seed_ = words[0];
  offset_ = words[1];
}

c10::intrusive_ptr<c10::TensorImpl> PhiloxGenerator::get_state() const {
  auto state = at::detail::empty_cpu({static_cast<int64_t>(kStateBytes)}, at::kByte);
  const uint64_t words[2] = {seed_, offset_};
  std::memcpy(state.mutable_data_ptr(), words, sizeof words);
  return state.getIntrusivePtr();
}

uint64_t PhiloxGenerator::take(uint64_t increment) {
  const uint64_t before = offset_;
  offset_ += (increment + 3) / 4 * 4;
  return before;
}

PhiloxGenerator* PhiloxGenerator::clone_impl() const {
  auto* copy = new PhiloxGenerator;
  copy->seed_ = seed_;
  copy->offset_ = offset_;
  return copy;
}

const at::Generator& default_generator() {
  // leaked: used by modules that may be torn down later than this one
  static auto* generator = new at::Generator(c10::make_intrusive<PhiloxGenerator>());
  return *generator;
}

PhiloxSeed draw(const std::optional<at::Generator>& generator, uint64_t increment) {
  const at::Generator& source = generator.has_value() && generator->defined() ? *generator : default_generator();
  TORCH_CHECK(source.device().type() == c10::DeviceType::PrivateUse1, "Expected a 'usbgpu' generator, but found one for '",
              source.device(), "'");
  auto* philox = source.get<PhiloxGenerator>();
  std::lock_guard lock(philox->mutex_);
  const uint64_t offset = philox->take(increment);
  return {philox->current_seed(), offset};
}

}  // namespace usbgpu::aten
