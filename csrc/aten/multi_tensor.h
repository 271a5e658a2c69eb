// Launches the kernels of torch_usbgpu/kernels/optim.hip over lists of tensors: one launch for all of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "../../torch_usbgpu/kernels/optim_args.h"
#include "aten/launch.h"

namespace usbgpu::aten {

// The table of a launch: on the device as long as this object lives, and, memory being given out in
// stream order, as long as launches that were made meanwhile need it.
template <size_t Operands>
class TensorTable {
 public:
  using Entry = usbgpu_family::TensorEntry<Operands>;

  // Lists have equal lengths, or are empty (address 0). own(i): what kernels call the entry's own.
  template <class Own>
  TensorTable(const std::array<at::TensorList, Operands>& lists, Own&& own) {
    entries_.reserve(lists[0].size());
    uint64_t low_bits = 0;
    for (size_t i = 0; i < lists[0].size(); ++i) {
      const uint64_t elements = lists[0][i].numel();
      if (elements == 0) continue;
      TORCH_CHECK(elements <= std::numeric_limits<uint32_t>::max(), "a tensor of ", elements,
                  " elements is more than usbgpu's multi-tensor kernels can index");
      Entry entry{};
      for (size_t operand = 0; operand < Operands; ++operand) {
        if (lists[operand].empty()) continue;
        entry.address[operand] = address(lists[operand][i]);
        low_bits |= entry.address[operand] / lists[operand][i].element_size();
      }
      entry.own = own(i);
      entry.elements = static_cast<uint32_t>(elements), entry.first_chunk = chunks_;
      chunks_ += ceil_div(elements, usbgpu_family::kMultiTensorChunk);
      entries_.push_back(entry);
    }
    if (entries_.empty()) return;
    const size_t bytes = entries_.size() * sizeof(Entry);
    there_ = empty({static_cast<int64_t>(bytes)}, at::kByte);
    // Pieces that travel within the command stream: a larger one would take a launch to copy it to its place.
    constexpr size_t kPiece = 8 * 1024;
    for (size_t at = 0; at < bytes; at += kPiece)
      device().copy_in(address(there_) + at, reinterpret_cast<const char*>(entries_.data()) + at, std::min(kPiece, bytes - at));
    table_ = {address(there_), static_cast<uint32_t>(entries_.size()), low_bits % 4 == 0};
  }

  uint32_t chunks() const { return chunks_; }
  uint32_t tensors() const { return table_.tensors; }
  const usbgpu_family::MultiTensorTable& table() const { return table_; }

 private:
  std::vector<Entry> entries_;
  at::Tensor there_;
  usbgpu_family::MultiTensorTable table_{};
  uint32_t chunks_ = 0;
};

// args: what all tensors share; its table is filled here.
template <size_t Operands, class Args, class Own>
void multi_tensor(Kernel* kernel, const std::array<at::TensorList, Operands>& lists, Args args, Own&& own) {
  const TensorTable<Operands> table(lists, own);
  if (table.chunks() == 0) return;
  args.table = table.table();
  launch(kernel, {table.chunks(), 1, 1}, {usbgpu_family::kMultiTensorThreads, 1, 1}, args);
}
inline constexpr auto kNothingOwn = [](size_t) { return uint64_t{0}; };

// "USBGPU_MULTI(symbol, Args, function<...>)"
inline KernelSource multi_tensor_source(const std::string& symbol, const char* args, const std::string& call) {
  return {"optim", symbol, "USBGPU_MULTI(" + symbol + ", " + args + ", " + call + ")"};
}

}  // namespace usbgpu::aten
