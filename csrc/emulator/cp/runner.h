// Runs the board's agents: each on its own thread, or, in deterministic mode, inside the bus
// accesses that could have given them work.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "emulator/ip/board.h"

namespace usbgpu::emulator {

class Runner {
 public:
  Runner(Board& board, bool deterministic) : board_(board), deterministic_(deterministic) {}
  ~Runner() { stop(); }

  void add(Agent& agent) { agents_.push_back(&agent); }
  void start();
  void stop();
  void advance();  // deterministic mode: let every agent work until all wait
  bool wait_idle(std::chrono::milliseconds timeout);

  // A bus access. In deterministic mode the agents work when it ends, not inside it, so that no
  // lock of the access is held while they reach out to the bus.
  class Access {
   public:
    explicit Access(Runner& runner) : runner_(runner) { runner_.accesses_.fetch_add(1); }
    ~Access() {
      if (runner_.accesses_.fetch_sub(1) == 1) runner_.advance();
    }

   private:
    Runner& runner_;
  };

  // Holds all agents between steps for as long as it lives.
  class Pause {
   public:
    explicit Pause(Runner& runner);
    ~Pause();

   private:
    Runner& runner_;
  };

 private:
  void run(Agent& agent);

  Board& board_;
  const bool deterministic_;
  std::vector<Agent*> agents_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> pausing_{0};
  std::atomic<int> stepping_{0}, accesses_{0};
  std::atomic<bool> advancing_{false}, again_{false};
};

}  // namespace usbgpu::emulator
