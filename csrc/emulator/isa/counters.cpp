#include "emulator/isa/counters.h"

#include <algorithm>
#include <cstring>

#include "emulator/isa/decode.h"
#include "emulator/isa/inst.h"
#include "emulator/isa/sched.h"
#include "emulator/isa/wave.h"

namespace usbgpu::emulator::isa {
namespace {

constexpr unsigned kBanks = 32;  // of 4 bytes

// Bits of the element that a memory instruction's name ends in: "b128", "u8", "f32". 0: none.
uint32_t element_bits(std::string_view name) {
  while (!name.empty()) {
    const size_t end = std::min(name.find('_'), name.size());
    std::string_view token = name.substr(0, end);
    name.remove_prefix(std::min(end + 1, name.size()));
    if (token.starts_with("bf")) token.remove_prefix(1);
    if (token.size() < 2 || !std::strchr("buif", token[0])) continue;
    uint32_t bits = 0;
    bool number = true;
    for (char c : token.substr(1)) {
      number = number && c >= '0' && c <= '9';
      bits = bits * 10 + static_cast<uint32_t>(c - '0');
    }
    if (number) return bits;
  }
  return 0;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

bool is_format(const Decoded& d, std::initializer_list<Format> formats) {
  return d.format && std::find(formats.begin(), formats.end(), d.format->format) != formats.end();
}

// The lane permutations, ordered counts and address-free forms do not address banks lane by lane.
bool addresses_lds(std::string_view name) {
  for (const char* other : {"permute", "swizzle", "nop", "gws", "append", "consume", "addtid", "bvh", "ordered", "gs_reg"})
    if (contains(name, other)) return false;
  return true;
}

}  // namespace

Transfer transfer_of(const Decoded& d) {
  Transfer t;
  if (!d.row) return t;
  const std::string_view name = d.row->name;
  uint32_t bytes = (element_bits(name) + 7) / 8;
  switch (d.row->cls) {
    case InstClass::smem:
      if (contains(name, "load")) t.scalar_dwords = (bytes + 3) / 4;
      break;
    case InstClass::lds:
      t.lds_passes = !addresses_lds(name) || bytes <= 4 ? 1 : bytes <= 8 ? 2 : 4;
      if (contains(name, "2addr")) t.lds_passes *= 2;
      break;
    case InstClass::vmem_load:
    case InstClass::vmem_store:
      if (contains(name, "_pk_")) bytes *= 2;
      if (const size_t at = name.find("format_"); at != name.npos)  // one letter per component
        bytes = static_cast<uint32_t>(name.size() - at - 7) * (contains(name, "d16") ? 2 : 4);
      if (contains(name, "_atomic_")) {
        t.stored = bytes;
        if (d[Field::f_glc] || (d[Field::f_th] & 1)) t.loaded = bytes;
      } else {
        (d.row->cls == InstClass::vmem_load ? t.loaded : t.stored) = bytes;
      }
      break;
    default: break;
  }
  return t;
}

// ---- accesses lane by lane ---------------------------------------------------------------------

namespace {

enum class AccessKind : uint32_t { global, flat, scratch, lds, lds_atomic };

uint64_t vgpr_lane(const Wave& w, uint32_t offset, unsigned lane) {
  uint32_t value;
  std::memcpy(&value, reinterpret_cast<const char*>(&w) + offset + 4 * (lane % 32) + lane / 32 * kUpperHalf, sizeof value);
  return value;
}

// One access of up to 32 lanes per pass: banks hit by different dwords take turns.
void count_lds(AccessCounters& c, const uint32_t* addresses, unsigned count, uint32_t bytes, bool atomic) {
  const unsigned dwords = std::max(1u, bytes / 4), lanes_per_pass = 32 / std::bit_ceil(dwords);
  for (unsigned first = 0; first < count; first += lanes_per_pass) {
    std::array<uint32_t, 64> seen;
    unsigned known = 0, worst = 0;
    std::array<uint8_t, kBanks> hits{};
    for (unsigned lane = first; lane < std::min(count, first + lanes_per_pass); ++lane) {
      if (addresses[lane] == ~0u) continue;
      for (unsigned k = 0; k < dwords; ++k) {
        const uint32_t dword = addresses[lane] / 4 + k;
        if (!atomic && std::find(seen.begin(), seen.begin() + known, dword) != seen.begin() + known) continue;
        seen[known++] = dword;
        worst = std::max<unsigned>(worst, ++hits[dword % kBanks]);
      }
    }
    c.lds_cycles += worst;
    if (worst > 1) c.lds_conflicts += worst - 1;
  }
}

struct Blocks {  // of 32 bytes
  std::array<uint64_t, 64 * 5> at;
  unsigned count = 0;
  void add(uint64_t address, uint32_t bytes) {
    for (uint64_t block = address / 32; block <= (address + bytes - 1) / 32; ++block) at[count++] = block;
  }
};

void count_segments(AccessCounters& c, Blocks& blocks) {
  std::sort(blocks.at.begin(), blocks.at.begin() + blocks.count);
  for (unsigned n = 0; n < blocks.count; ++n) {
    for (unsigned size = 0; size < 3; ++size)
      if (n == 0 || blocks.at[n] >> size != blocks.at[n - 1] >> size) ++c.segments[size];
    if (n == 0 || blocks.at[n] >> 2 != blocks.at[n - 1] >> 2) c.footprint.touch(blocks.at[n] >> 2);
  }
}

}  // namespace

// dst: kind. src[0]: address VGPR. src[1]: saddr, kInInst: none. src[2]: a VGPR takes part. imm: offset. src3: bytes per lane.
// LDS: dst2 = 1 + offset of the second access.
bool access_counter(const Decoded& d, Inst& micro) {
  if (!d.row || !d.format) return false;
  const std::string_view name = d.row->name;
  const Transfer transfer = transfer_of(d);
  micro.src[1] = kInInst;
  micro.src[2] = 1;
  if (d.row->cls == InstClass::lds) {
    if (!addresses_lds(name)) return false;
    const uint32_t bytes = (element_bits(name) + 7) / 8;
    const bool atomic = !contains(name, "_load_") && !contains(name, "_store_");
    micro.dst = static_cast<uint32_t>(atomic ? AccessKind::lds_atomic : AccessKind::lds);
    micro.src[0] = vgpr_offset(d[Field::f_addr] & 0xFF);
    micro.src3 = bytes;
    micro.imm = static_cast<int32_t>(d[Field::f_offset0] | d[Field::f_offset1] << 8);
    if (contains(name, "2addr")) {
      const uint32_t unit = bytes * (contains(name, "stride64") ? 64 : 1);
      micro.imm = static_cast<int32_t>(d[Field::f_offset0] * unit);
      micro.dst2 = 1 + d[Field::f_offset1] * unit;
    }
    return bytes != 0;
  }
  if (d.row->cls != InstClass::vmem_load && d.row->cls != InstClass::vmem_store) return false;
  micro.src3 = std::max(transfer.loaded, transfer.stored);
  if (micro.src3 == 0) return false;
  const bool gfx11 = is_format(d, {Format::FLAT, Format::GLOBAL, Format::SCRATCH});
  if (!gfx11 && !is_format(d, {Format::VFLAT, Format::VGLOBAL, Format::VSCRATCH})) return false;
  const bool scratch = is_format(d, {Format::SCRATCH, Format::VSCRATCH}), flat = is_format(d, {Format::FLAT, Format::VFLAT});
  const unsigned unused = 32 - (gfx11 ? 13 : 24);
  const uint32_t raw = d[gfx11 ? Field::f_offset : Field::f_ioffset];
  micro.imm = gfx11 && flat ? static_cast<int32_t>(raw & 0xFFF) : static_cast<int32_t>(raw << unused) >> unused;
  micro.dst = static_cast<uint32_t>(scratch ? AccessKind::scratch : flat ? AccessKind::flat : AccessKind::global);
  micro.src[0] = vgpr_offset(d[gfx11 ? Field::f_addr : Field::f_vaddr] & 0xFF);
  const uint32_t saddr = d[Field::f_saddr];
  if (!flat && saddr != kNull && saddr != 127) micro.src[1] = sgpr_offset(saddr);
  if (scratch) micro.src[2] = d[Field::f_sve] != 0;
  return true;
}

void count_access(Wave& w, const Inst* i) {
  AccessCounters& c = w.worker->access;
  const auto kind = static_cast<AccessKind>(i->dst);
  const uint32_t bytes = i->src3;
  const unsigned lanes = w.lanes;
  const uint64_t exec = lanes == 64 ? w.sgpr[kExec] | uint64_t{w.sgpr[kExec + 1]} << 32 : w.sgpr[kExec];
  if (kind == AccessKind::lds || kind == AccessKind::lds_atomic) {
    const uint32_t second = i->dst2 ? i->dst2 - 1 : 0;
    for (unsigned access = 0; access < (i->dst2 ? 2u : 1u); ++access) {
      std::array<uint32_t, 64> addresses;
      for (unsigned lane = 0; lane < lanes; ++lane) {
        const uint32_t at = static_cast<uint32_t>(vgpr_lane(w, i->src[0], lane)) + (access ? second : static_cast<uint32_t>(i->imm));
        addresses[lane] = (exec >> lane & 1) && uint64_t{at} + bytes <= w.group->lds_bytes ? at : ~0u;
      }
      count_lds(c, addresses.data(), lanes, bytes, kind == AccessKind::lds_atomic);
    }
    return;
  }
  uint64_t base = static_cast<uint64_t>(static_cast<int64_t>(i->imm));
  if (i->src[1] != kInInst) {
    uint64_t saddr = 0;
    std::memcpy(&saddr, reinterpret_cast<const char*>(&w) + i->src[1], kind == AccessKind::scratch ? 4 : 8);
    base += saddr;
  }
  const bool wide = kind == AccessKind::flat || (kind == AccessKind::global && i->src[1] == kInInst);
  Blocks blocks;
  std::array<uint32_t, 64> in_lds;
  in_lds.fill(~0u);
  bool any_lds = false;
  const auto in_scratch = [&](uint32_t offset, unsigned lane) {  // dwords interleaved over the lanes
    for (uint32_t at = offset; at < offset + bytes;) {
      const uint32_t step = std::min(4 - at % 4, offset + bytes - at);
      blocks.add(w.scratch + uint64_t{at & ~3u} * lanes + lane * 4 + at % 4, step);
      at += step;
    }
  };
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if (!(exec >> lane & 1)) continue;
    uint64_t address = base + (i->src[2] ? vgpr_lane(w, i->src[0], lane) : 0);
    if (wide) address += vgpr_lane(w, i->src[0] + 128, lane) << 32;
    const uint32_t high = static_cast<uint32_t>(address >> 32);
    if (kind == AccessKind::scratch) {
      in_scratch(static_cast<uint32_t>(address), lane);
    } else if (kind == AccessKind::flat && high == w.apertures[0]) {
      in_lds[lane] = static_cast<uint32_t>(address);
      any_lds = true;
    } else if (kind == AccessKind::flat && high == w.apertures[1]) {
      in_scratch(static_cast<uint32_t>(address), lane);
    } else {
      blocks.add(address, bytes);
    }
  }
  if (any_lds) count_lds(c, in_lds.data(), lanes, bytes, false);
  if (blocks.count) count_segments(c, blocks);
}

void Footprint::touch(uint64_t line) { pages_[line / kLinesPerPage].set(line % kLinesPerPage); }
void Footprint::add(const Footprint& other) {
  for (const auto& [page, lines] : other.pages_) pages_[page] |= lines;
}
uint64_t Footprint::lines() const {
  uint64_t sum = 0;
  for (const auto& [page, lines] : pages_) sum += lines.count();
  return sum;
}

}  // namespace usbgpu::emulator::isa
