// Pinned host memory: see pinned.cpp.
#pragma once

#include <c10/core/Allocator.h>

namespace usbgpu::aten {

at::Allocator* pinned_allocator();
bool is_pinned(const void* data);

}  // namespace usbgpu::aten
