// The forms of pointwise.hip, for the operations of special_ops.h: a family of its own, because their
// mathematics is much text that the others need not read.
#pragma once
#include "pointwise.hip"
#include "special_ops.h"
