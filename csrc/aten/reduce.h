// Launches a reduction of kernels/reduce_ops.h over a reducing TensorIterator.
#pragma once

#include <ATen/native/TensorIterator.h>

#include <initializer_list>

#include "aten/launch.h"

namespace usbgpu::aten {

// A name in reduce_ops.h. Make it a static object: it holds the kernels found so far.
class Reduction {
 public:
  explicit Reduction(const char* name) : name_(name) {}

  // The iterator has one or two outputs (expanded over the reduced dimensions, stride 0) and one input.
  // arithmetic: the type to accumulate in.
  void operator()(at::TensorIteratorBase& iter, at::ScalarType arithmetic, std::initializer_list<at::Scalar> params = {});

 private:
  void run(at::TensorIteratorBase& iter, at::ScalarType arithmetic, const uint64_t* params);

  const char* name_;
  KernelCache cache_;
};

}  // namespace usbgpu::aten
