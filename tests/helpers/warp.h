// A warp on a CPU: its 32 threads run in turn, each up to its next shuffle.
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <functional>

#define __device__
#define __global__
#define __forceinline__ inline
#define __restrict__
#define __ldg(at) (*(at))
#define __ldcs(at) (*(at))

static int turn;
static struct {
  int& x;
} threadIdx{turn};
static struct {
  long long x;
} blockIdx, blockDim{32};

static ucontext_t caller, threads[32];
static char stacks[32][1 << 16];
static std::function<void()> work;

static void pass() {
  int mine = turn;
  turn = (turn + 1) % 32;
  swapcontext(&threads[mine], &threads[turn]);
}

static void run() {
  work();
  turn = (turn + 1) % 32;
}

static void launch(long long blocks, std::function<void()> kernel) {
  work = kernel;
  for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) {
    for (int thread = 0; thread < 32; thread++) {
      getcontext(&threads[thread]);
      threads[thread].uc_stack.ss_sp = stacks[thread];
      threads[thread].uc_stack.ss_size = sizeof stacks[thread];
      threads[thread].uc_link = thread < 31 ? &threads[thread + 1] : &caller;
      makecontext(&threads[thread], run, 0);
    }
    swapcontext(&caller, &threads[0]);
  }
}

// Two buffers: a thread may come to its next shuffle before others have read from this one.
template <typename Value>
Value __shfl_xor_sync(unsigned, Value value, int mask) {
  static Value given[2][32];
  static int count[32];
  Value* buffer = given[count[turn]++ % 2];
  buffer[turn] = value;
  pass();
  return buffer[turn ^ mask];
}

inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

inline float from_half(unsigned short bits) {
  _Float16 value;
  memcpy(&value, &bits, 2);
  return value;
}
