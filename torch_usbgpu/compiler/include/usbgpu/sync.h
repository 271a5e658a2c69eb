// Barriers and fences.
#pragma once

// Everything written by the group before is seen by the group after, in LDS and in memory. In CU
// mode all waves of a group share one L0 cache, so no invalidation is needed.
USBGPU_FN void __syncthreads() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

namespace usbgpu {
// Orders LDS accesses only: outstanding global loads keep flying across the barrier, which is
// what prefetching loops need.
USBGPU_FN void barrier_lds() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup", "local");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup", "local");
}
}  // namespace usbgpu

USBGPU_FN void __threadfence_block() { __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "workgroup"); }
USBGPU_FN void __threadfence() { __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "agent"); }
USBGPU_FN void __threadfence_system() { __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, ""); }
// Lanes of a wave run in step; only the compiler has to be held back.
USBGPU_FN void __syncwarp(unsigned = 0xffffffffu) {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}

namespace usbgpu {
// One LDS word that every wave adds to; three barriers, because a caller may use it again at once.
USBGPU_FN int block_count(int nonzero) {
  static __shared__ int total;
  __syncthreads();
  if (__builtin_amdgcn_workitem_id_x() == 0 && __builtin_amdgcn_workitem_id_y() == 0 &&
      __builtin_amdgcn_workitem_id_z() == 0)
    total = 0;
  __syncthreads();
  const unsigned ballot = __builtin_amdgcn_ballot_w32(nonzero != 0);
  if (nonzero && __builtin_amdgcn_mbcnt_lo(ballot, 0) == 0)
    __hip_atomic_fetch_add(&total, __builtin_popcount(ballot), __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
  __syncthreads();
  return total;
}
}  // namespace usbgpu

USBGPU_FN int __syncthreads_count(int predicate) { return usbgpu::block_count(predicate != 0); }
USBGPU_FN int __syncthreads_or(int predicate) { return usbgpu::block_count(predicate != 0) != 0; }
USBGPU_FN int __syncthreads_and(int predicate) { return usbgpu::block_count(predicate == 0) == 0; }
