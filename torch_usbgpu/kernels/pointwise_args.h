// Arguments of kernels/pointwise.hip; compiles as host C++ and as device code.
//
// OPERANDS counts the output (first) and all inputs. An operand is the address of its first element,
// or, for a CPU scalar, the value itself (the bits of the type that the operation takes).
#pragma once

#if !defined(__HIP__)
#include <cstdint>
#endif

namespace usbgpu::kernels {

template <int OPERANDS, int PARAMS>
struct ContiguousArgs {
  uint64_t operand[OPERANDS];
  uint64_t param[PARAMS ? PARAMS : 1];   // scalars of the operation, in its arithmetic type
  uint32_t count;                        // elements
};

// Division of n < 2^31 by a constant: (mulhi(n, magic) + n) >> shift (Granlund and Montgomery 1994,
// "Division by invariant integers using multiplication", figure 4.1 with N = 32).
struct Divisor {
  uint32_t value, magic, shift;
};

template <int OPERANDS, int PARAMS, int DIMS>
struct StridedArgs {
  uint64_t operand[OPERANDS];
  uint64_t param[PARAMS ? PARAMS : 1];
  uint32_t count;
  Divisor size[DIMS];                    // fastest dimension first
  uint32_t stride[OPERANDS][DIMS];       // bytes
};

constexpr int kPointwiseThreads = 256;

// Elements per thread of the contiguous kernel: what makes the widest operand a 16-byte access,
// between 1 and 8.
constexpr int vector_width(int widest_bytes) { return widest_bytes <= 2 ? 8 : 16 / widest_bytes; }

}  // namespace usbgpu::kernels
