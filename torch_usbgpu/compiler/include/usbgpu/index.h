// threadIdx, blockIdx, blockDim, gridDim: empty objects whose members read registers (thread and
// block) or the hidden kernel arguments (sizes).
#pragma once

namespace usbgpu {

// Hidden arguments of code object v5 and v6 (LLVM AMDGPUUsage, "Code Object V5 Kernel Argument
// Metadata"): block counts at 0, 4, 8 (u32), group sizes at 12, 14, 16 (u16).
typedef const __attribute__((address_space(4))) uint32_t* hidden_u32;
typedef const __attribute__((address_space(4))) uint16_t* hidden_u16;
USBGPU_FN unsigned hidden_block_count(int axis) { return ((hidden_u32)__builtin_amdgcn_implicitarg_ptr())[axis]; }
USBGPU_FN unsigned hidden_group_size(int axis) { return ((hidden_u16)__builtin_amdgcn_implicitarg_ptr())[6 + axis]; }

#define USBGPU_AXIS(name, expression)                                  \
  __declspec(property(get = get_##name)) unsigned name;                \
  static __device__ __forceinline__ unsigned get_##name() { return (expression); }
#define USBGPU_AS(type) \
  __device__ __forceinline__ operator type() const { return type{get_x(), get_y(), get_z()}; }

struct thread_index {
  USBGPU_AXIS(x, __builtin_amdgcn_workitem_id_x())
  USBGPU_AXIS(y, __builtin_amdgcn_workitem_id_y())
  USBGPU_AXIS(z, __builtin_amdgcn_workitem_id_z())
  USBGPU_AS(uint3)
};
struct block_index {
  USBGPU_AXIS(x, __builtin_amdgcn_workgroup_id_x())
  USBGPU_AXIS(y, __builtin_amdgcn_workgroup_id_y())
  USBGPU_AXIS(z, __builtin_amdgcn_workgroup_id_z())
  USBGPU_AS(uint3)
};
struct block_size {
  USBGPU_AXIS(x, hidden_group_size(0))
  USBGPU_AXIS(y, hidden_group_size(1))
  USBGPU_AXIS(z, hidden_group_size(2))
  USBGPU_AS(dim3)
};
struct grid_size {
  USBGPU_AXIS(x, hidden_block_count(0))
  USBGPU_AXIS(y, hidden_block_count(1))
  USBGPU_AXIS(z, hidden_block_count(2))
  USBGPU_AS(dim3)
};
#undef USBGPU_AXIS
#undef USBGPU_AS

}  // namespace usbgpu

// Declared only, never stored to or loaded from: the members are property calls.
extern const __device__ __attribute__((weak)) usbgpu::thread_index threadIdx;
extern const __device__ __attribute__((weak)) usbgpu::block_index blockIdx;
extern const __device__ __attribute__((weak)) usbgpu::block_size blockDim;
extern const __device__ __attribute__((weak)) usbgpu::grid_size gridDim;
static constexpr int warpSize = 32;
