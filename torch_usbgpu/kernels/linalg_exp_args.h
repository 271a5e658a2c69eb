// Arguments of linalg_exp.hip. Matrices are dense, row-major, n x n.
#pragma once
#include "portable.h"

namespace usbgpu_family {

// One workgroup per matrix: halvings[i] = s, scaled = a / 2^s with a 1-norm of at most kExpNorm.
struct ExpScaleArgs {
  uint64_t a, scaled, halvings;   // halvings: int32
  uint32_t n;
};
// The Taylor polynomial needs a norm below this for full precision: the first term left out is 2^17 / 17!
// for float (degree 16) and 2^26 / 26! for double (degree 25). Every squaring that a lower degree would
// need doubles the rounding error, and costs as much as a product here.
inline constexpr double kExpNorm = 2;

// The coefficients of a polynomial in the highest power, matrices themselves: block b is
// sum_j A^j / (b * width + j)!, of `count` elements each.
struct ExpBlocksArgs {
  uint64_t power[5];    // A, A^2, ..., A^width
  uint64_t blocks;
  uint64_t count;
  uint32_t n;
};

// Squares what still has halvings to undo: p = step < halvings[i] ? square : p.
struct ExpKeepArgs {
  uint64_t p, square, halvings;
  uint64_t count;
  uint32_t n, step;
};

}  // namespace usbgpu_family
