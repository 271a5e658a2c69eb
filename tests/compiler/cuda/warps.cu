#include <cuda_runtime.h>

// One warp: what every lane intrinsic gives, 12 words per lane.
extern "C" __global__ void warps(const int *in, int *out)
{
    int lane = threadIdx.x;
    int v = in[lane];
    int *o = out + lane * 12;
    o[0] = __shfl_sync(0xffffffffu, v, 5);
    o[1] = __shfl_up_sync(0xffffffffu, v, 3);
    o[2] = __shfl_down_sync(0xffffffffu, v, 4, 16);
    o[3] = __shfl_xor_sync(0xffffffffu, v, 7);
    o[4] = (int)__ballot_sync(0xffffffffu, v & 1);
    o[5] = __any_sync(0xffffffffu, v == 1000) * 2 + __all_sync(0xffffffffu, v >= 0);
    o[6] = __popc(v) | __clz(v) << 8 | __ffs(v) << 16;
    o[7] = (int)__brev((unsigned)v);
    o[8] = (int)__shfl_xor_sync(0xffffffffu, (double)v, 16);
    o[9] = __reduce_max_sync(0xffffffffu, v);
    o[10] = v & 1 ? (int)__activemask() : 0;
    o[11] = (int)__umulhi((unsigned)v, 0x10000000u);
}
