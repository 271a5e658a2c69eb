// Packs lists of tensors into the tables of torch_usbgpu/kernels/optim.hip: one launch for many.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <limits>

#include "../../torch_usbgpu/kernels/optim_args.h"
#include "aten/launch.h"

namespace usbgpu::aten {

using usbgpu_family::kFewTensors;
using usbgpu_family::kManyTensors;

template <size_t Operands, class Args, class KernelFor, class PerTensor>
void multi_tensor_launches(const std::array<at::TensorList, Operands>& lists, uint32_t limit, Args args,
                           KernelFor&& kernel_for, PerTensor&& per_tensor) {
  auto& table = args.table;
  uint32_t slot = 0, chunks = 0;
  auto flush = [&] {
    if (slot == 0) return;
    table.tensors = slot;
    launch(kernel_for(limit), {chunks, 1, 1}, {usbgpu_family::kMultiTensorThreads, 1, 1}, args);
    slot = chunks = 0;
  };
  for (size_t i = 0; i < lists[0].size(); ++i) {
    const uint64_t elements = lists[0][i].numel();
    if (elements == 0) continue;
    TORCH_CHECK(elements <= std::numeric_limits<uint32_t>::max(), "a tensor of ", elements,
                " elements is more than usbgpu's multi-tensor kernels can index");
    for (size_t operand = 0; operand < Operands; ++operand)
      table.address[operand][slot] = lists[operand].empty() ? 0 : address(lists[operand][i]);
    table.elements[slot] = static_cast<uint32_t>(elements);
    table.first_chunk[slot] = chunks;
    chunks += ceil_div(elements, usbgpu_family::kMultiTensorChunk);
    per_tensor(args, slot, i);
    if (++slot == limit) flush();
  }
  flush();
}

// setup(args) fills what all tensors share, per_tensor(args, slot, i) what belongs to lists[..][i];
// kernel_for(limit) names the kernel. Lists have equal lengths, or are empty (address 0).
template <template <uint32_t> class Args, size_t Operands, class KernelFor, class Setup, class PerTensor>
void multi_tensor(const std::array<at::TensorList, Operands>& lists, KernelFor&& kernel_for, Setup&& setup,
                  PerTensor&& per_tensor) {
  auto run = [&]<uint32_t Limit>(std::integral_constant<uint32_t, Limit>) {
    Args<Limit> args{};
    setup(args);
    multi_tensor_launches(lists, Limit, args, kernel_for, per_tensor);
  };
  const auto filled = std::count_if(lists[0].begin(), lists[0].end(), [](const at::Tensor& t) { return t.numel() != 0; });
  if (filled <= static_cast<ptrdiff_t>(kFewTensors)) run(std::integral_constant<uint32_t, kFewTensors>{});
  else run(std::integral_constant<uint32_t, kManyTensors>{});
}

// "USBGPU_MULTI(symbol, limit, Args, function<...>)"
inline KernelSource multi_tensor_source(const std::string& name, uint32_t limit, const char* args, const std::string& call) {
  const std::string symbol = name + "_by" + std::to_string(limit);
  return {"optim", symbol, "USBGPU_MULTI(" + symbol + ", " + std::to_string(limit) + ", " + args + ", " + call + ")"};
}

}  // namespace usbgpu::aten
