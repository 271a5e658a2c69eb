// What torch asks of a backend besides the guard: default generator, storage resize, availability.
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/Allocator.h>

#include <algorithm>

#include "aten/backend/backend.h"
#include "aten/backend/pinned.h"
#include "aten/launch.h"

namespace usbgpu::aten {

namespace {

struct UsbGpuHooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  // The emulated device is always there; a real one is looked for when it is opened.
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return device_is_open(); }
  void init() const override { device(); }
  c10::DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(c10::DeviceIndex index) const override { check_device_index(index); }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex index) const override {
    check_device_index(index);
    return 0;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex index) const override { return exchangeDevice(index); }

  const at::Generator& getDefaultGenerator(c10::DeviceIndex index) const override {
    check_device_index(index);
    return default_generator();
  }
  at::Generator getNewGenerator(c10::DeviceIndex index) const override {
    check_device_index(index);
    return at::Generator(c10::make_intrusive<PhiloxGenerator>());
  }
  at::Device getDeviceFromPtr(void*) const override { return {c10::DeviceType::PrivateUse1, 0}; }

  bool isPinnedPtr(const void* data) const override { return is_pinned(data); }
  at::Allocator* getPinnedMemoryAllocator() const override { return pinned_allocator(); }

  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    auto* impl = storage.unsafeGetStorageImpl();
    auto block = impl->allocator()->allocate(bytes);
    const size_t kept = std::min(bytes, impl->nbytes());
    if (kept) {
      device().copy(reinterpret_cast<uint64_t>(block.get()), reinterpret_cast<uint64_t>(impl->data()), kept);
    }
    impl->set_data_ptr_noswap(std::move(block));
    impl->set_nbytes(bytes);
  }
};

const bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new UsbGpuHooks);
  return true;
}();

}  // namespace
}  // namespace usbgpu::aten
