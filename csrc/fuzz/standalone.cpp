// A driver for the targets where libFuzzer is not at hand: replays files, then mutates them.
//
//   target [-runs=N] [-seed=S] [-seconds=T] FILE_OR_FOLDER...
//
// Mutations are those that find most in practice: bit flips, interesting values, copies, insertions,
// deletions, splices of two inputs. No coverage feedback: for long hunts build with clang.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <unistd.h>

#include "fuzz/target.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)());  // of the sanitizers' run-time

namespace {

using Bytes = std::vector<uint8_t>;
constexpr size_t max_bytes = 4096;
constexpr unsigned seconds_per_input = 20;
Bytes current;

// The input that was being tried, so that it can be replayed.
void keep_current(const char* why) {
  const std::string name = "crash-" + std::to_string(::getpid());
  std::ofstream(name, std::ios::binary).write(reinterpret_cast<const char*>(current.data()), static_cast<std::streamsize>(current.size()));
  std::fprintf(stderr, "%s; the input is in %s\n", why, name.c_str());
}
void on_alarm(int) {
  keep_current("one input took longer than its time-out");
  std::_Exit(3);
}
void on_abort(int) {
  keep_current("the process was aborted");
  std::_Exit(4);
}
void on_finding() { keep_current("a sanitizer has found something"); }

void run(const Bytes& input) {
  current = Bytes(input.begin(), input.end());  // without room behind it: one byte too far is noticed
  ::alarm(seconds_per_input);
  LLVMFuzzerTestOneInput(current.data(), current.size());
  ::alarm(0);
}

Bytes read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Bytes mutate(Bytes bytes, const std::vector<Bytes>& corpus, std::mt19937_64& random) {
  const auto below = [&](size_t n) { return n ? random() % n : 0; };
  static constexpr uint32_t interesting[] = {0, 1, 2, 3, 4, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x1FF, 0xFFF, 0x1000, 0x3FFF, 0x7FFF, 0x8000, 0xFFFF,
                                             0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x820800, 0x200000, 0x27FFFC};
  for (size_t rounds = 1 + below(6); rounds--;) {
    const size_t at = below(bytes.size());
    switch (below(7)) {
      case 0: if (!bytes.empty()) bytes[at] ^= static_cast<uint8_t>(1u << below(8)); break;
      case 1: if (!bytes.empty()) bytes[at] = static_cast<uint8_t>(random()); break;
      case 2: {  // an interesting dword, mostly where dwords are
        const uint32_t value = interesting[below(std::size(interesting))];
        const size_t to = below(4) ? at & ~size_t{3} : at;
        if (to + 4 <= bytes.size()) std::memcpy(bytes.data() + to, &value, 4);
        break;
      }
      case 3: bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at), 4 * (1 + below(4)), static_cast<uint8_t>(random())); break;
      case 4: bytes.erase(bytes.begin() + static_cast<ptrdiff_t>(at), bytes.begin() + static_cast<ptrdiff_t>(std::min(bytes.size(), at + 4 * (1 + below(8))))); break;
      case 5: {  // a piece of another input
        const Bytes& other = corpus[below(corpus.size())];
        const size_t from = below(other.size()) & ~size_t{3}, n = std::min(other.size() - from, size_t{4} * (1 + below(64)));
        bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at & ~size_t{3}), other.begin() + static_cast<ptrdiff_t>(from), other.begin() + static_cast<ptrdiff_t>(from + n));
        break;
      }
      default: {  // a number somewhat larger or smaller
        uint32_t value = 0;
        const size_t to = at & ~size_t{3};
        if (to + 4 > bytes.size()) break;
        std::memcpy(&value, bytes.data() + to, 4);
        value += static_cast<uint32_t>(below(33)) - 16;
        std::memcpy(bytes.data() + to, &value, 4);
      }
    }
    if (bytes.size() > max_bytes) bytes.resize(max_bytes);
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 0, seed = 1;
  double seconds = 1e9;
  std::vector<Bytes> corpus;
  for (int i = 1; i < argc; i++) {
    const std::string argument = argv[i];
    if (argument.starts_with("-runs=")) runs = std::stoull(argument.substr(6));
    else if (argument.starts_with("-seed=")) seed = std::stoull(argument.substr(6));
    else if (argument.starts_with("-seconds=")) seconds = std::stod(argument.substr(9));
    else if (std::filesystem::is_directory(argument)) {
      std::vector<std::filesystem::path> files;
      for (const auto& entry : std::filesystem::directory_iterator(argument)) files.push_back(entry.path());
      std::sort(files.begin(), files.end());
      for (const auto& file : files) corpus.push_back(read_file(file));
    } else {
      corpus.push_back(read_file(argument));
    }
  }
  std::signal(SIGALRM, on_alarm);
  std::signal(SIGABRT, on_abort);
  __sanitizer_set_death_callback(on_finding);
  const auto start = std::chrono::steady_clock::now();
  for (const Bytes& input : corpus) run(input);
  if (corpus.empty()) corpus.emplace_back();
  std::mt19937_64 random(seed);
  uint64_t done = 0;
  for (; done < runs; done++) {
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > seconds) break;
    run(mutate(corpus[random() % corpus.size()], corpus, random));
  }
  std::printf("%zu inputs replayed, %llu mutated, no fault\n", corpus.size(), static_cast<unsigned long long>(done));
  return 0;
}
