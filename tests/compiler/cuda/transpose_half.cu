#include <cuda_runtime.h>
#include <cuda_fp16.h>
#include <cuda_bf16.h>

// float matrix to its transpose in half and in bfloat16; a 2D block, LDS with a padded row.
template <int TILE_DIM, int BLOCK_ROWS>
__device__ void transposeTile(const float *in, __half *out, __nv_bfloat16 *out2, int width, int height)
{
    __shared__ float tile[TILE_DIM][TILE_DIM + 1];
    int x = blockIdx.x * TILE_DIM + threadIdx.x;
    int y = blockIdx.y * TILE_DIM + threadIdx.y;
    for (int j = 0; j < TILE_DIM; j += BLOCK_ROWS)
        if (x < width && y + j < height)
            tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * width + x];
    __syncthreads();
    x = blockIdx.y * TILE_DIM + threadIdx.x;
    y = blockIdx.x * TILE_DIM + threadIdx.y;
    for (int j = 0; j < TILE_DIM; j += BLOCK_ROWS)
        if (x < height && y + j < width) {
            out[(y + j) * height + x] = __float2half(tile[threadIdx.x][threadIdx.y + j]);
            out2[(y + j) * height + x] = __float2bfloat16(tile[threadIdx.x][threadIdx.y + j]);
        }
}

extern "C" __global__ __launch_bounds__(256) void transpose(const float *in, __half *out, __nv_bfloat16 *out2, int width, int height)
{
    transposeTile<32, 8>(in, out, out2, width, height);
}
