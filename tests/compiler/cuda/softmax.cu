#include <cuda_runtime.h>
#include <math.h>
#include <float.h>

// One block per row.
__global__ void softmax(const float *input, float *output, int cols)
{
    extern __shared__ float sdata[];
    const float *x = input + blockIdx.x * cols;
    float *y = output + blockIdx.x * cols;
    int tid = threadIdx.x;

    float maxval = -FLT_MAX;
    for (int i = tid; i < cols; i += blockDim.x)
        maxval = fmaxf(maxval, x[i]);
    sdata[tid] = maxval;
    __syncthreads();
    for (unsigned int s = blockDim.x / 2; s > 0; s >>= 1) {
        if (tid < s)
            sdata[tid] = fmaxf(sdata[tid], sdata[tid + s]);
        __syncthreads();
    }
    maxval = sdata[0];
    __syncthreads();

    float sum = 0.0f;
    for (int i = tid; i < cols; i += blockDim.x) {
        y[i] = expf(x[i] - maxval);
        sum += y[i];
    }
    sdata[tid] = sum;
    __syncthreads();
    for (unsigned int s = blockDim.x / 2; s > 0; s >>= 1) {
        if (tid < s)
            sdata[tid] += sdata[tid + s];
        __syncthreads();
    }
    sum = sdata[0];
    for (int i = tid; i < cols; i += blockDim.x)
        y[i] /= sum;
}
