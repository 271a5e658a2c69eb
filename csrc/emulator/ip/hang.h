// An engine that stops answering, on purpose: it leaves its work undone until something cures it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace usbgpu::emulator {

// What brings a hung engine back. A stronger remedy does what the weaker ones do.
enum class Cure : uint8_t {
  never,
  power,   // the card loses its power
  reset,   // mode-1 reset
  engine,  // the engine's own reset
  queue,   // its queue is taken away
};

class Hang {
 public:
  Hang() = default;
  Hang(uint64_t after, Cure until) : armed_(true), left_(after), until_(until) {}

  bool stands() const { return armed_ && left_ == 0; }
  void count() {  // a unit of work is done
    if (armed_ && left_) --left_;
  }
  // A remedy came. One that is not yet due is not cured: it lies in wait.
  void meet(Cure remedy) {
    if (stands() && until_ >= remedy) *this = {};
  }

 private:
  bool armed_ = false;
  uint64_t left_ = 0;
  Cure until_ = Cure::never;
};

// Defects of the board. What is empty is not changed by Gpu::inject().
struct GpuFaults {
  std::optional<Hang> psp;   // counted in boot loader components and ring commands
  std::optional<Hang> smu;   // in messages
  std::optional<Hang> mec;   // in packets
  std::optional<Hang> sdma;  // in packets, of both engines each
  std::optional<bool> wrong_results;                  // a shader core's lane computes wrong
  std::optional<std::array<uint8_t, 3>> gc_version;   // the discovery table tells of another core; zeros: of the chip's

  static GpuFaults none() { return {Hang{}, Hang{}, Hang{}, Hang{}, false, std::array<uint8_t, 3>{}}; }
};

}  // namespace usbgpu::emulator
