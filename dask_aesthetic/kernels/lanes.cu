// Dot products with HEADS weights and sum of squares of every row: one warp a row, its 32 threads are the 32 lanes.
// Built with -fmad=false, so that every product and every sum is rounded, and -ftz=false, so that subnormal numbers stay
// what they are. It needs no header.

struct Half {
  unsigned short bits;
};
struct BFloat16 {
  unsigned short bits;
};

// Rows are read once: they leave the cache to the weights.
__device__ __forceinline__ float load(const float* at) { return __ldcs(at); }
__device__ __forceinline__ double load(const double* at) { return __ldcs(at); }
__device__ __forceinline__ float load(const BFloat16* at) {
  return __uint_as_float((unsigned)__ldcs(&at->bits) << 16);
}
__device__ __forceinline__ float load(const Half* at) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(__ldcs(&at->bits)));
  return value;
}

// The last of the sums is that of the squares.
template <typename Working, int HEADS>
__device__ __forceinline__ void add(Working* sums, Working value, const Working* weights, long long width) {
#pragma unroll
  for (int head = 0; head < HEADS; head++) sums[head] += value * __ldg(weights + head * width);
  sums[HEADS] += value * value;
}

template <typename Value, typename Working, int HEADS>
__global__ void lanes(const Value* __restrict__ x, long long stride, const Working* __restrict__ weights,
                      Working* __restrict__ dots, long long across, Working* __restrict__ squares, long long n,
                      long long width) {
  const long long row = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / 32;
  const int lane = threadIdx.x % 32;
  if (row >= n) return;
  x += row * stride;
  Working sums[HEADS + 1] = {};
  const long long whole = width / 32 * 32;
#pragma unroll 8
  for (long long at = lane; at < whole; at += 32)
    add<Working, HEADS>(sums, (Working)load(x + at), weights + at, width);
  if (whole + lane < width)  // Other lanes would add 0 * 0, which changes no sum.
    add<Working, HEADS>(sums, (Working)load(x + whole + lane), weights + whole + lane, width);
#pragma unroll
  for (int sum = 0; sum <= HEADS; sum++) {
#pragma unroll
    for (int half = 16; half > 0; half /= 2) sums[sum] += __shfl_xor_sync(0xffffffff, sums[sum], half);
  }
  if (lane > 0) return;
#pragma unroll
  for (int head = 0; head < HEADS; head++) dots[head * across + row] = sums[head];
  squares[row] = sums[HEADS];
}
