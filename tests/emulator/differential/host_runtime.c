// Runs GPU kernels that were compiled for this machine: one workgroup at a time, every thread a fiber, so
// that barriers and lane operations wait for the others. Written without a look at the emulator: it is the
// other side of a comparison with it.
//
// A lane operation waits until all lanes of its wave have stopped somewhere. Those that stopped at the
// call with the lowest address are the active lanes: structured code reconverges in this order.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { WAVE = 32, MAX_THREADS = 1024, STACK = 256 * 1024 };
enum state { READY, AT_WAVE, AT_BARRIER, YIELDED, DONE };

struct fiber {
  ucontext_t context;
  enum state state;
  const void* site;
  uint32_t given;
  uint32_t taken[WAVE], active;       // what every lane gave, at the lane operation that ended last
  unsigned x, y, z, linear;
  char* stack;
};

struct hidden_arguments {              // blockDim and gridDim, in the order the headers read them
  uint32_t groups[3];
  uint16_t threads[3];
} host_hidden;
unsigned host_group[3];

static struct fiber fibers[MAX_THREADS];
static struct fiber* current;
static ucontext_t scheduler;
static void (*entry)(void**);
static void** entry_arguments;

static void fiber_main(void) {
  entry(entry_arguments);
  current->state = DONE;
  swapcontext(&current->context, &scheduler);
}

static void park(enum state state, const void* site) {
  current->state = state;
  current->site = site;
  swapcontext(&current->context, &scheduler);
}

unsigned host_thread(int axis) { return axis == 0 ? current->x : axis == 1 ? current->y : current->z; }
unsigned host_lane(void) { return current->linear % WAVE; }
__attribute__((noinline)) void host_barrier(void) { park(AT_BARRIER, 0); }
__attribute__((noinline)) void host_yield(void) { park(YIELDED, 0); }

__attribute__((noinline)) const uint32_t* host_exchange(uint32_t value, uint32_t* active) {
  current->given = value;
  park(AT_WAVE, __builtin_return_address(0));
  *active = current->active;
  return current->taken;
}

static void finish_lane_operation(struct fiber* wave, unsigned lanes) {
  const void* first = 0;
  for (unsigned n = 0; n < lanes; ++n)
    if (wave[n].state == AT_WAVE && (!first || wave[n].site < first)) first = wave[n].site;
  if (!first) return;
  uint32_t values[WAVE] = {0}, active = 0;
  for (unsigned n = 0; n < lanes; ++n)
    if (wave[n].state == AT_WAVE && wave[n].site == first) values[n] = wave[n].given, active |= 1u << n;
  for (unsigned n = 0; n < lanes; ++n)
    if (active >> n & 1) {
      memcpy(wave[n].taken, values, sizeof values);
      wave[n].active = active;
      wave[n].state = READY;
    }
}

static int run_group(unsigned count) {
  for (;;) {
    unsigned ready = 0, done = 0, waiting = 0;
    for (unsigned n = 0; n < count; ++n) {
      if (fibers[n].state == READY) {
        current = &fibers[n];
        swapcontext(&scheduler, &fibers[n].context);
      }
    }
    for (unsigned wave = 0; wave < count; wave += WAVE) finish_lane_operation(fibers + wave, count - wave < WAVE ? count - wave : WAVE);
    for (unsigned n = 0; n < count; ++n) {
      if (fibers[n].state == YIELDED) fibers[n].state = READY;
      ready += fibers[n].state == READY;
      done += fibers[n].state == DONE;
      waiting += fibers[n].state == AT_BARRIER;
    }
    if (done == count) return 0;
    if (ready) continue;
    if (waiting + done != count) return 1;
    for (unsigned n = 0; n < count; ++n)
      if (fibers[n].state == AT_BARRIER) fibers[n].state = READY;
  }
}

int host_run(void (*kernel)(void**), void** arguments, const uint32_t* groups, const uint32_t* threads) {
  const unsigned count = threads[0] * threads[1] * threads[2];
  if (count > MAX_THREADS) return 2;
  entry = kernel;
  entry_arguments = arguments;
  for (int axis = 0; axis < 3; ++axis) host_hidden.groups[axis] = groups[axis], host_hidden.threads[axis] = (uint16_t)threads[axis];
  for (host_group[2] = 0; host_group[2] < groups[2]; ++host_group[2])
    for (host_group[1] = 0; host_group[1] < groups[1]; ++host_group[1])
      for (host_group[0] = 0; host_group[0] < groups[0]; ++host_group[0]) {
        for (unsigned n = 0; n < count; ++n) {
          struct fiber* f = &fibers[n];
          if (!f->stack) {
            f->stack = mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (f->stack == MAP_FAILED) return 3;
          }
          getcontext(&f->context);
          f->context.uc_stack.ss_sp = f->stack;
          f->context.uc_stack.ss_size = STACK;
          f->context.uc_link = 0;
          makecontext(&f->context, fiber_main, 0);
          f->state = READY;
          f->linear = n;
          f->x = n % threads[0], f->y = n / threads[0] % threads[1], f->z = n / threads[0] / threads[1];
        }
        const int status = run_group(count);
        if (status) return status;
      }
  return 0;
}

// Roundings to bfloat16 that not every compiler library has: to nearest, ties to even.
__bf16 __truncsfbf2(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) bits |= 0x400000;
  else bits += 0x7FFF + (bits >> 16 & 1);
  const uint16_t half = (uint16_t)(bits >> 16);
  __bf16 out;
  memcpy(&out, &half, 2);
  return out;
}

__bf16 __truncdfbf2(double x) {
  float nearest = (float)x;            // to odd, so that the second rounding is the only one
  if (nearest == nearest && (double)nearest != x) {
    uint32_t bits;
    memcpy(&bits, &nearest, 4);
    if (!(bits & 1)) {
      const double magnitude = x < 0 ? -x : x, rounded = nearest < 0 ? -(double)nearest : (double)nearest;
      bits += rounded < magnitude ? 1 : (uint32_t)-1;
      memcpy(&nearest, &bits, 4);
    }
  }
  return __truncsfbf2(nearest);
}
