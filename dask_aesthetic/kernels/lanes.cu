// Dot products with HEADS weights and sum of squares of every row: one warp a row, its 32 threads are the 32 lanes.
// Built with -fmad=false, so that every product and every sum is rounded. It needs no header. CuPy builds with -ftz=true,
// which would take subnormal floats as 0, but for instructions that are written out.

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

__device__ __forceinline__ float product(float one, float other) {
  float value;
  asm("mul.rn.f32 %0, %1, %2;" : "=f"(value) : "f"(one), "f"(other));
  return value;
}
__device__ __forceinline__ double product(double one, double other) { return one * other; }
__device__ __forceinline__ float sum_of(float one, float other) {
  float value;
  asm("add.rn.f32 %0, %1, %2;" : "=f"(value) : "f"(one), "f"(other));
  return value;
}
__device__ __forceinline__ double sum_of(double one, double other) { return one + other; }
__device__ __forceinline__ void convert(float from, float& to) { to = from; }
__device__ __forceinline__ void convert(float from, double& to) {
  asm("cvt.f64.f32 %0, %1;" : "=d"(to) : "f"(from));
}
__device__ __forceinline__ void convert(double from, float& to) {
  asm("cvt.rn.f32.f64 %0, %1;" : "=f"(to) : "d"(from));
}
__device__ __forceinline__ void convert(double from, double& to) { to = from; }

// The last of the sums is that of the squares.
template <typename Working, int HEADS>
__device__ __forceinline__ void add(Working* sums, Working value, const Working* weights, long long width) {
#pragma unroll
  for (int head = 0; head < HEADS; head++) sums[head] = sum_of(sums[head], product(value, __ldg(weights + head * width)));
  sums[HEADS] = sum_of(sums[HEADS], product(value, value));
}

template <typename Value, typename Working, int HEADS>
__device__ __forceinline__ void add_at(Working* sums, const Value* at, const Working* weights, long long width) {
  Working value;
  convert(load(at), value);
  add<Working, HEADS>(sums, value, weights, width);
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
    add_at<Value, Working, HEADS>(sums, x + at, weights + at, width);
  if (whole + lane < width)  // Other lanes would add 0 * 0, which changes no sum.
    add_at<Value, Working, HEADS>(sums, x + whole + lane, weights + whole + lane, width);
#pragma unroll
  for (int sum = 0; sum <= HEADS; sum++) {
#pragma unroll
    for (int half = 16; half > 0; half /= 2) sums[sum] = sum_of(sums[sum], __shfl_xor_sync(0xffffffff, sums[sum], half));
  }
  if (lane > 0) return;
#pragma unroll
  for (int head = 0; head < HEADS; head++) dots[head * across + row] = sums[head];
  squares[row] = sums[HEADS];
}
