// What a kernel may find wrong with its data, besides an index out of bounds. The number goes into the
// `detail` of the runtime's error block; csrc/aten/backend/device.cpp has the text that users read.
#pragma once
#include "portable.h"

namespace usbgpu_family {

enum DataErrorKind : uint32_t {
  kInputNotProbability = 1,
  kTargetNotProbability,
  kMarginTargetOutOfRange,
  kMultilabelTargetOutOfRange,
  kDivisionByZero,   // of integers
  kBagsStart,   // the first offset of embedding_bag; index: what it is
  kBagsEnd,     // the last one; index: what it is, size: the number of indices
};

}  // namespace usbgpu_family
