// Operations across lanes: read and write of single lanes, permutes, DPP, relative moves, swaps.
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

USBGPU_INLINE void put(Wave& w, uint32_t offset, const uint32_t* v) { __builtin_memcpy(lanes_at(w, offset), v, 4 * kLanes); }
USBGPU_INLINE void store_lanes(Wave& w, uint32_t offset, const uint32_t* v) { store<U32>(w, offset, lanes_of(v)); }

// wave64: which lane of 64 -> the register half of a VGPR operand
USBGPU_INLINE uint32_t* half_at(Wave& w, uint32_t offset, unsigned lane) { return lanes_at(w, offset + (lane & 32 ? kUpperHalf : 0)); }

template <unsigned lanes> USBGPU_INLINE void read(Wave& w, const Inst* i, unsigned lane) {
  lane &= lanes - 1;
  const uint32_t value = is_vgpr(i->src[0]) ? half_at(w, i->src[0], lane)[lane & 31] : scalar<uint32_t>(w, i, i->src[0]);
  set_scalar<uint32_t>(w, i->dst, value);
}
template <unsigned lanes> const Inst* readfirstlane(Wave& w, const Inst* i) {
  const uint64_t exec = lanes == 64 ? exec64_of(w) : exec_of(w);
  read<lanes>(w, i, exec ? static_cast<unsigned>(__builtin_ctzll(exec)) : 0);  // EXEC = 0: lane 0
  return i + 1;
}
template <unsigned lanes> const Inst* readlane(Wave& w, const Inst* i) {  // ignores EXEC, as v_writelane does
  read<lanes>(w, i, scalar<uint32_t>(w, i, i->src[1]));
  return i + 1;
}
template <unsigned lanes> const Inst* writelane(Wave& w, const Inst* i) {
  const unsigned lane = scalar<uint32_t>(w, i, i->src[1]) & (lanes - 1);
  half_at(w, i->dst, lane)[lane & 31] = scalar<uint32_t>(w, i, i->src[0]);
  return i + 1;
}
template <Handler in32, Handler in64> Handler by_wave(const Shape& s) { return s.wave64 ? in64 : in32; }

// ---- DPP ---------------------------------------------------------------------------------------
// The decoder stages src0 through .dpp16 / .dpp8: each lane takes the value of another one. Lanes
// that are not to be written leave EXEC until .dpp_end.
// Control dword of DPP16: [16:8] pattern, 18 fetch inactive, 19 bound_ctrl, [27:24] bank mask,
// [31:28] row mask.
constexpr U32 kLaneNumber = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                             16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
struct Pattern { U32 from; U32 inside; };  // lane to read; all ones where it is in the row
USBGPU_INLINE Pattern dpp16_pattern(unsigned control) {
  const U32 lane = kLaneNumber, row = lane & 16, n = lane & 15;
  const unsigned amount = control & 15;
  const U32 always = ~U32{};
  if (control < 0x100) return {(lane & ~3u) | ((U32{} + control) >> (2 * (lane & 3)) & 3), always};      // quad_perm
  switch (control >> 4) {
    case 0x10: return {lane + amount, bits<U32>(n + amount < 16)};                                       // row_shl
    case 0x11: return {lane - amount, bits<U32>(n >= amount)};                                           // row_shr
    case 0x12: return {row | ((n - amount) & 15), always};                                               // row_ror
    case 0x14: return {amount == 0 ? row | (15 - n) : (lane & ~7u) | (7 - (lane & 7)), always};          // mirror, half mirror
    case 0x15: return {row | amount, always};                                                            // row_share
    default: return {row | (n ^ amount), always};                                                        // row_xmask
  }
}
const Inst* dpp16(Wave& w, const Inst* i) {
  const uint32_t control = static_cast<uint32_t>(i->imm), exec = exec_of(w);
  const unsigned banks = control >> 24 & 15, rows = control >> 28;
  const bool fetch_inactive = control >> 18 & 1, bound_control = control >> 19 & 1;
  const Pattern pattern = dpp16_pattern(control >> 8 & 0x1FF);
  const uint32_t* in = lanes_at(w, i->src[0]);
  alignas(128) uint32_t from[kLanes], r[kLanes];
  const U32 bounded = pattern.from & 31;
  __builtin_memcpy(from, &bounded, sizeof from);
  for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = in[from[lane]];
  const U32 active = bits<U32>(((U32{} + exec) >> bounded & 1) != 0);
  const U32 valid = fetch_inactive ? pattern.inside : pattern.inside & active;
  const U32 value = lanes_of(r) & valid;
  __builtin_memcpy(r, &value, sizeof r);
  // lanes whose row and bank are enabled: a nibble of banks for each of the two rows, four lanes per bank.
  // Rows 2 and 3 are those of a wave64's upper half.
  uint32_t enabled = 0;
  for (unsigned bank = 0; bank < 8; ++bank) enabled |= ((rows >> ((w.first_lane >> 4) + (bank >> 2))) & (banks >> (bank & 3)) & 1u ? 0xFu : 0) << (4 * bank);
  const uint32_t written = enabled & (bound_control ? ~0u : mask_of(bits<I32>(valid)));
  put(w, i->dst, r);
  w.staged_exec = exec;
  w.sgpr[kExec] = exec & written;
  return i + 1;
}
const Inst* dpp8(Wave& w, const Inst* i) {  // eight 3-bit selectors from bit 8; inactive sources read 0
  const uint32_t selectors = static_cast<uint32_t>(i->imm) >> 8, exec = exec_of(w);
  const uint32_t* in = lanes_at(w, i->src[0]);
  alignas(128) uint32_t r[kLanes];
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned from = (lane & ~7u) | (selectors >> (3 * (lane & 7)) & 7);
    r[lane] = i->aux || (exec >> from & 1) ? in[from] : 0;
  }
  put(w, i->dst, r);
  w.staged_exec = exec;
  return i + 1;
}
const Inst* dpp_end(Wave& w, const Inst* i) {
  w.sgpr[kExec] = w.staged_exec;
  return i + 1;
}
const Inst* dpp_end_cmpx(Wave&, const Inst* i) { return i + 1; }  // EXEC is the result

// ---- v_permlane16, v_permlanex16: 16 nibbles in {src2, src1}; x reads the other row -----------------
template <unsigned flip> const Inst* permlane16(Wave& w, const Inst* i) {
  const uint64_t selectors = scalar<uint32_t>(w, i, i->src[1]) | static_cast<uint64_t>(scalar<uint32_t>(w, i, i->src[2])) << 32;
  const bool fetch_inactive = i->opsel & 1, bound_control = i->opsel & 2;
  const uint32_t exec = exec_of(w);
  const uint32_t *in = lanes_at(w, i->src[0]), *old = lanes_at(w, i->dst);
  alignas(128) uint32_t r[kLanes];
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned from = ((lane & 16) ^ flip) | (selectors >> (4 * (lane & 15)) & 15);
    const bool valid = fetch_inactive || (exec >> from & 1);
    r[lane] = valid ? in[from] : bound_control ? 0 : old[lane];
  }
  store_lanes(w, i->dst, r);
  return i + 1;
}
// v_permlane16_var, v_permlanex16_var (gfx12): each lane names the lane of its row, in src1.
template <unsigned flip> const Inst* permlane16_var(Wave& w, const Inst* i) {
  const bool fetch_inactive = i->opsel & 1, bound_control = i->opsel & 2;
  const uint32_t exec = exec_of(w);
  const uint32_t *in = lanes_at(w, i->src[0]), *select = lanes_at(w, i->src[1]), *old = lanes_at(w, i->dst);
  alignas(128) uint32_t r[kLanes];
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned from = ((lane & 16) ^ flip) | (select[lane] & 15);
    const bool valid = fetch_inactive || (exec >> from & 1);
    r[lane] = valid ? in[from] : bound_control ? 0 : old[lane];
  }
  store_lanes(w, i->dst, r);
  return i + 1;
}
// The other half's lane; nothing in wave32. Both registers are read before either is written.
const Inst* permlane64(Wave& w, const Inst* i) {
  const U32 low = load_lanes<U32>(w, i->src[0]), high = load_lanes<U32>(w, i->src[0] + kUpperHalf);
  store_in_half(w, i->dst, 0, high);
  store_in_half(w, i->dst, 1, low);
  return i + 1;
}
const Inst* nothing(Wave&, const Inst* i) { return i + 1; }

// ---- v_mbcnt: bits of the mask below the own lane -------------------------------------------------
template <bool high> const Inst* mbcnt(Wave& w, const Inst* i) {
  alignas(128) uint32_t staged_mask[kLanes], staged_base[kLanes], r[kLanes];
  const uint32_t *mask = values<u32>(w, i, 0, staged_mask), *base = values<u32>(w, i, 1, staged_base);
  const bool upper = w.first_lane;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const uint32_t below = upper == high ? (1u << lane) - 1u : high ? 0u : ~0u;
    r[lane] = base[lane] + sem::popcount(mask[lane] & below);
  }
  store_lanes(w, i->dst, r);
  return i + 1;
}

// ---- Relative moves: M0 moves the register number ---------------------------------------------------
USBGPU_INLINE uint32_t moved(const Wave& w, uint32_t offset, uint32_t by) {
  const uint32_t file = w.first_lane ? kUpperHalf : 0;
  const uint32_t n = (offset - file - static_cast<uint32_t>(offsetof(Wave, vgpr))) / 128 + by;
  return file + vgpr_offset(n & (kVgprs - 1));
}
// Which of source and destination M0 moves, and by which of its bits.
enum class Relative { none, whole, low10, high10 };
template <Relative r> USBGPU_INLINE uint32_t relative(const Wave& w, uint32_t offset) {
  const uint32_t m0 = w.sgpr[kM0];
  if constexpr (r == Relative::none) return offset;
  else return moved(w, offset, r == Relative::whole ? m0 : r == Relative::low10 ? m0 & 0x3FF : m0 >> 16 & 0x3FF);
}
template <Relative source_by, Relative destination_by> const Inst* move_relative(Wave& w, const Inst* i) {
  U32 v;
  if (is_vgpr(i->src[0])) v = load_lanes<U32>(w, relative<source_by>(w, i->src[0]));
  else v = U32{} + scalar<uint32_t>(w, i, i->src[0]);
  store<U32>(w, relative<destination_by>(w, i->dst), v);
  return i + 1;
}
template <Relative source_by, Relative destination_by> const Inst* swap(Wave& w, const Inst* i) {
  const uint32_t a = relative<source_by>(w, i->src[0]), b = relative<destination_by>(w, i->dst);
  const U32 x = load_lanes<U32>(w, a), y = load_lanes<U32>(w, b);
  store<U32>(w, b, x);
  store<U32>(w, a, y);
  return i + 1;
}
const Inst* swap16(Wave& w, const Inst* i) {
  const unsigned from = i->opsel & 1 ? 16 : 0, to = i->opsel & 8 ? 16 : 0;
  const U32 source = load_lanes<U32>(w, i->src[0]), destination = load_lanes<U32>(w, i->dst);
  const U32 x = source >> from & 0xFFFF, y = destination >> to & 0xFFFF;
  if (i->src[0] == i->dst) {  // the halves of one register, or nothing
    if (from != to) store<U32>(w, i->dst, source << 16 | source >> 16);
    return i + 1;
  }
  store<U32>(w, i->dst, (destination & ~(0xFFFFu << to)) | x << to);
  store<U32>(w, i->src[0], (source & ~(0xFFFFu << from)) | y << from);
  return i + 1;
}

// Sources (a bit each) that are looked at lane by lane are VGPRs.
template <uint8_t vectors, Select select> Handler vgprs(const Shape& s) { return s.scalars & vectors ? nullptr : select(s); }

using enum Relative;
constexpr HandlerRow rows[] = {
    {"v_readfirstlane_b32", by_wave<readfirstlane<32>, readfirstlane<64>>, own_all | whole_wave},
    {"v_readlane_b32", by_wave<readlane<32>, readlane<64>>, own_all | whole_wave},
    {"v_writelane_b32", by_wave<writelane<32>, writelane<64>>, own_all | whole_wave},
    {".dpp16", always<dpp16>},
    {".dpp8", always<dpp8>},
    {".dpp_end", always<dpp_end>},
    {".dpp_end_cmpx", always<dpp_end_cmpx>},
    {"v_permlane16_b32", vgprs<1, always<permlane16<0>>>, own_all},
    {"v_permlanex16_b32", vgprs<1, always<permlane16<16>>>, own_all},
    {"v_permlane16_var_b32", vgprs<3, always<permlane16_var<0>>>, own_all},
    {"v_permlanex16_var_b32", vgprs<3, always<permlane16_var<16>>>, own_all},
    {"v_permlane64_b32", vgprs<1, by_wave<nothing, permlane64>>, own_all | whole_wave},
    {"v_mbcnt_lo_u32_b32", always<mbcnt<false>>, own_all},
    {"v_mbcnt_hi_u32_b32", always<mbcnt<true>>, own_all},
    {"v_movreld_b32", always<move_relative<none, whole>>, own_all},
    {"v_movrels_b32", always<move_relative<whole, none>>, own_all},
    {"v_movrelsd_b32", always<move_relative<whole, whole>>, own_all},
    {"v_movrelsd_2_b32", always<move_relative<low10, high10>>, own_all},
    {"v_swap_b32", vgprs<1, always<swap<none, none>>>, own_all},
    {"v_swaprel_b32", vgprs<1, always<swap<low10, high10>>>, own_all},
    {"v_swap_b16", vgprs<1, always<swap16>>, own_all},
};

}  // namespace

const HandlerGroup group_lane{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
