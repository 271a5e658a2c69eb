#include "emulator/ip/discovery.h"

#include <cstring>
#include <numeric>
#include <string_view>

#include "emulator/ip/register_tables.h"

namespace usbgpu::emulator {

namespace {

class Writer {
 public:
  template <typename T>
  void put(size_t at, T value) {
    if (bytes.size() < at + sizeof(T)) bytes.resize(at + sizeof(T));
    std::memcpy(bytes.data() + at, &value, sizeof(T));
  }
  uint16_t sum(size_t from, size_t to) const {
    uint16_t total = 0;
    for (size_t i = from; i < to; i++) total += static_cast<uint8_t>(bytes[i]);
    return total;
  }
  std::vector<std::byte> bytes;
};

// One die with the IP blocks of the chip (table version 3, 32-bit bases).
void put_ip_table(Writer& w, size_t at, const ChipFacts& chip, std::optional<std::array<uint8_t, 3>> gc) {
  namespace header = layout::discovery_ip_header;
  namespace ip = layout::discovery_ip_v3;
  const size_t die = at + header::total_bytes;
  w.put<uint32_t>(at + header::signature, facts::discovery::IP_TABLE_SIGNATURE_IPDS);
  w.put<uint16_t>(at + header::version, 3);
  w.put<uint32_t>(at + header::id, 1);
  w.put<uint16_t>(at + header::num_dies, 1);
  w.put<uint16_t>(at + header::die_info, 0);
  w.put<uint16_t>(at + header::die_info + 2, static_cast<uint16_t>(die));  // from the start of the binary
  w.put<uint16_t>(die, 0);
  w.put<uint16_t>(die + 2, static_cast<uint16_t>(chip.ips.size()));
  size_t record = die + layout::discovery_die_header::total_bytes;
  for (const IpFact& fact : chip.ips) {
    w.put<uint16_t>(record + ip::hw_id, fact.hw_id);
    w.put<uint8_t>(record + ip::instance_number, 0);
    w.put<uint8_t>(record + ip::num_base_address, static_cast<uint8_t>(fact.bases.size()));
    const uint8_t* version = gc && std::string_view(fact.name) == "GC" ? gc->data() : fact.version;
    w.put<uint8_t>(record + ip::major, version[0]);
    w.put<uint8_t>(record + ip::minor, version[1]);
    w.put<uint8_t>(record + ip::revision, version[2]);
    w.put<uint8_t>(record + 7, 0);
    record += ip::total_bytes;
    for (uint32_t base : fact.bases) w.put<uint32_t>(record, base), record += 4;
  }
  w.put<uint16_t>(at + header::size, static_cast<uint16_t>(record - at));
}

size_t gc_info_bytes(const ChipFacts& chip) {
  return chip.gc_info_minor >= 3 ? layout::discovery_gc_info_v1_3::total_bytes : layout::discovery_gc_info_v1_2::total_bytes;
}

void put_gc_info(Writer& w, size_t at, const ChipFacts& chip) {
  namespace gc = layout::discovery_gc_info_v1_3;  // each minor version adds to the one before
  const Geometry& g = chip.geometry;
  w.put<uint32_t>(at + gc::header_table_id, facts::discovery::GC_TABLE_ID);
  w.put<uint16_t>(at + gc::header_version_major, 1);
  w.put<uint16_t>(at + gc::header_version_minor, chip.gc_info_minor);
  w.put<uint32_t>(at + gc::header_size, static_cast<uint32_t>(gc_info_bytes(chip)));
  w.put<uint32_t>(at + gc::gc_num_se, g.num_se);
  w.put<uint32_t>(at + gc::gc_num_wgp0_per_sa, g.num_wgp_per_sa);
  w.put<uint32_t>(at + gc::gc_num_wgp1_per_sa, 0);
  w.put<uint32_t>(at + gc::gc_num_gl2c, g.num_gl2c);
  w.put<uint32_t>(at + gc::gc_wave_size, g.wave_size);
  w.put<uint32_t>(at + gc::gc_max_waves_per_simd, g.max_waves_per_simd);
  w.put<uint32_t>(at + gc::gc_max_scratch_slots_per_cu, g.max_scratch_slots_per_cu);
  w.put<uint32_t>(at + gc::gc_lds_size, g.lds_kib);
  w.put<uint32_t>(at + gc::gc_num_sa_per_se, g.num_sa_per_se);
  w.put<uint32_t>(at + gc::gc_gl2c_per_gpu, g.num_gl2c);
}

}  // namespace

std::vector<std::byte> discovery_binary(const ChipFacts& chip, std::optional<std::array<uint8_t, 3>> gc) {
  namespace header = layout::discovery_binary_header;
  namespace table = layout::discovery_table_info;
  Writer w;
  w.put<uint32_t>(header::binary_signature, facts::discovery::BINARY_SIGNATURE);
  w.put<uint16_t>(header::version_major, 1);
  w.put<uint16_t>(header::version_minor, 3);
  w.bytes.resize(header::total_bytes);
  auto section = [&](uint32_t index, auto&& fill) {
    const size_t at = (w.bytes.size() + 3) & ~size_t{3};
    w.bytes.resize(at);
    fill(at);
    const size_t entry = header::table_list + index * table::total_bytes;
    w.put<uint16_t>(entry + table::offset, static_cast<uint16_t>(at));
    w.put<uint16_t>(entry + table::size, static_cast<uint16_t>(w.bytes.size() - at));
    w.put<uint16_t>(entry + table::checksum, w.sum(at, w.bytes.size()));
  };
  section(facts::discovery::table_index::IP_DISCOVERY, [&](size_t at) { put_ip_table(w, at, chip, gc); });
  section(facts::discovery::table_index::GC, [&](size_t at) {
    w.bytes.resize(at + gc_info_bytes(chip));
    put_gc_info(w, at, chip);
  });
  section(facts::discovery::table_index::HARVEST_INFO, [&](size_t at) {  // an empty list: nothing is fused off
    w.bytes.resize(at + layout::discovery_harvest_header::total_bytes + 32 * layout::discovery_harvest_entry::total_bytes);
    w.put<uint32_t>(at, facts::discovery::HARVEST_SIGNATURE_HARV);
    w.put<uint32_t>(at + 4, 0);
  });
  w.put<uint16_t>(header::binary_size, static_cast<uint16_t>(w.bytes.size()));
  w.put<uint16_t>(header::binary_checksum, w.sum(header::binary_size, w.bytes.size()));  // everything after itself
  return w.bytes;
}

}  // namespace usbgpu::emulator
