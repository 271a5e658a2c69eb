// What a fuzz target is, and how it reads its input.
//
// Each .cpp with a `fuzz_one` is one target: requests, pm4, sdma, page_tables, instructions, firmware.
// With clang they are linked with libFuzzer; with any other compiler with standalone.cpp, which
// replays a corpus and mutates it from a seed. docs/emulator-fuzzing.md has the commands.
//
// The rule they check is the emulator's promise to whoever sends it bytes: an USB error, a GPU fault
// or a time-out, never a crash, a hang, a leak or undefined behaviour in the process.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace usbgpu::fuzz {

// Values from the front of the input; zeros when it is used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(data, size) {}
  bool empty() const { return rest_.empty(); }
  size_t left() const { return rest_.size(); }
  template <class T = uint8_t> T take() {
    T value{};
    const size_t n = std::min(sizeof value, rest_.size());
    if (n) std::memcpy(&value, rest_.data(), n);
    rest_ = rest_.subspan(n);
    return value;
  }
  std::span<const uint8_t> bytes(size_t n) {
    const auto out = rest_.first(std::min(n, rest_.size()));
    rest_ = rest_.subspan(out.size());
    return out;
  }
  std::vector<uint32_t> dwords(size_t n) {
    std::vector<uint32_t> out(std::min(n, (rest_.size() + 3) / 4));
    for (uint32_t& word : out) word = take<uint32_t>();
    return out;
  }

 private:
  std::span<const uint8_t> rest_;
};

}  // namespace usbgpu::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
