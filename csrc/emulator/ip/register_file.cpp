#include "emulator/ip/register_file.h"

#include <algorithm>
#include <iterator>

namespace usbgpu::emulator {

namespace {
template <typename Id, size_t N>
std::optional<Id> find_name(const char* const (&names)[N], std::string_view name) {
  // the generator sorts by code point, as string_view compares
  auto at = std::lower_bound(std::begin(names), std::end(names), name,
                             [](const char* row, std::string_view wanted) { return std::string_view(row) < wanted; });
  if (at == std::end(names) || name != *at) return std::nullopt;
  return static_cast<Id>(at - std::begin(names));
}
}  // namespace

std::optional<Reg> RegisterFile::find(std::string_view name) { return find_name<Reg>(register_names, name); }
std::optional<Field> RegisterFile::find_field(std::string_view name) { return find_name<Field>(field_names, name); }

void RegisterFile::clear() {
  std::fill(direct_.begin(), direct_.end(), 0);
  far_.clear();
  strays_.clear();
}

}  // namespace usbgpu::emulator
