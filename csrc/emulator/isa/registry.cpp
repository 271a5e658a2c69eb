// Mnemonic -> handler row, for the best ISA level this CPU has.
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <unordered_map>

#include "emulator/isa/aliases.h"
#include "emulator/isa/handlers.h"

namespace usbgpu::emulator::isa {
namespace {

// USBGPU_EMULATOR_ISA=baseline measures and tests the fallback copy on a newer machine.
bool use_v3() {
#if defined(__x86_64__) && !defined(USBGPU_ISA_BASELINE_ONLY)
  const char* wish = std::getenv("USBGPU_EMULATOR_ISA");
  if (wish && !std::strcmp(wish, "baseline")) return false;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
         __builtin_cpu_supports("bmi2");
#else
  return false;
#endif
}

using Index = std::unordered_map<std::string_view, const HandlerRow*>;

void add(Index& index, const HandlerGroup& group) {
  for (size_t n = 0; n < group.count; ++n) index.emplace(group.rows[n].mnemonic, &group.rows[n]);
}

// A renamed operation finds the row of its old name, unless it has one of its own.
void add_aliases(Index& index) {
  for (const MnemonicAlias& alias : kMnemonicAliases)
    if (const auto row = index.find(alias.row); row != index.end()) index.emplace(alias.name, row->second);
}

const Index& index() {
  static const Index built = [] {
    Index index;
#if defined(__x86_64__) && !defined(USBGPU_ISA_BASELINE_ONLY)
    if (use_v3()) {
#define X(name) add(index, v3::group_##name);
      USBGPU_ISA_GROUPS(X)
#undef X
      add_aliases(index);
      return index;
    }
#endif
#define X(name) add(index, baseline::group_##name);
    USBGPU_ISA_GROUPS(X)
#undef X
    add_aliases(index);
    return index;
  }();
  return built;
}

}  // namespace

const HandlerRow* find_handler(const char* mnemonic) {
  const auto found = index().find(mnemonic);
  return found == index().end() ? nullptr : found->second;
}

const char* isa_level() { return use_v3() ? "v3" : "baseline"; }

}  // namespace usbgpu::emulator::isa
