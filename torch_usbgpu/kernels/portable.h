// Integer types for argument structs that the host (csrc/aten) and the device (*.hip) share.
// The device has no standard library: hip_runtime.h brings the types there.
#pragma once
#if defined(__AMDGCN__)
#include <hip_runtime.h>
#else
#include <cstdint>
#endif
