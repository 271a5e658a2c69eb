// Arguments of linalg_eig.hip and linalg_eig_complex.hip: eigenvalues of general matrices. All matrices dense, n x n.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct EigArgs {
  uint64_t h;               // in: the matrices, row-major, overwritten
  uint64_t v;               // workspace for the vectors
  uint64_t values, vectors; // complex: pairs of T. vectors are column-major
  uint64_t info;            // int32
  uint32_t n, want_vectors;
};

}  // namespace usbgpu_family
