// Arguments of random.hip. Thread i writes elements 4i .. 4i+3 of a dense tensor from one or two
// Philox blocks with counter (block offset, i): the numbers depend on seed and offset alone, not on
// the grid.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct RandomArgs {
  uint64_t output;
  uint64_t count;
  uint64_t seed, block;     // block: the generator's offset / 4
  double a, b;              // parameters of the distribution
  uint64_t range;           // integers: base + x % range; 0: all 64 bits
  int64_t base;
  uint64_t input;           // dropout, rrelu: values; bernoulli: probabilities (0: a)
  uint64_t mask;            // dropout; rrelu: slopes
};

}  // namespace usbgpu_family
