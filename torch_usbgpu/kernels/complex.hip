// The forms of pointwise.hip where an operand is complex: a family of its own, because the mathematics of
// complex_math.h is much text that the others need not read.
#pragma once
#include "pointwise.hip"
#include "complex_ops.h"
