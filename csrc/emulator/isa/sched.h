// A worker: one host thread running whole workgroups of a dispatch.
#pragma once

#include <memory>

#include "emulator/isa/counters.h"
#include "emulator/isa/dispatch.h"
#include "emulator/isa/program.h"
#include "emulator/isa/vm.h"
#include "emulator/isa/wave.h"

namespace usbgpu::emulator::isa {

constexpr unsigned kMaxWaves = 32;              // 1024 threads
constexpr uint32_t kMaxLds = 64 * 1024;
constexpr int64_t kQuantum = 10000;             // instructions before the next wave gets its turn
constexpr int64_t kWorthHelp = 8192;            // instructions in sight that are worth waking other threads (tens of microseconds)

struct alignas(128) Worker {                     // no cache line in common with a neighbour
  Program* program = nullptr;
  const DispatchState* state = nullptr;         // of the dispatch that runs
  Memory memory;
  std::unique_ptr<Wave[]> waves;                // kMaxWaves, constants filled once; a wave64 takes two
  std::unique_ptr<PendingLoads[]> pending;      // strict mode: one per wave
  WaveObserver* observer = nullptr;             // of a watched dispatch
  AccessCounters access;                        // of counting programs
  struct ItemIds {                              // v0 of each wave (half of a wave64), for workgroups of nx * ny * ...
    uint32_t nx = 0, ny = 0, waves = 0;
    uint32_t at[kMaxWaves][32];
  } item_ids;
  std::unique_ptr<std::byte[]> lds_storage;
  uint8_t* lds = nullptr;

  Worker();
};

}  // namespace usbgpu::emulator::isa
