// LDS: loads, stores, atomics, and the lane permutations that use the LDS crossbar.
// src[0] = address, src[1] = data0, src[2] = data1, imm = offset0 | offset1 << 8.
// Out of range: loads give 0, stores and atomics are dropped. No M0 limit on gfx11.
#include "emulator/isa/atomic_ops.h"
#include "emulator/isa/dispatch.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/vmem.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

// Lane offsets into LDS; false when a lane is out of range.
USBGPU_INLINE bool map_lds(Wave& w, U32 address, uint32_t exec, uint32_t bytes, LaneOffsets& o) {
  const uint32_t size = w.group->lds_bytes;
  if (size < bytes) return false;
  if (mask_of(bits<I32>(address > size - bytes)) & exec) return false;
  o.vector = substitute_inactive(address, exec);
  o.base = reinterpret_cast<char*>(w.group->lds);
  return true;
}
USBGPU_INLINE bool inside(const Wave& w, uint32_t address, uint32_t bytes) {
  return uint64_t{address} + bytes <= w.group->lds_bytes;
}

// With some lanes out of range: one lane at a time, through a copy of EXEC.
template <class Body> USBGPU_INLINE void lane_by_lane(Wave& w, uint32_t exec, U32 address, Body body) {
  alignas(128) uint32_t at[kLanes];
  __builtin_memcpy(at, &address, sizeof at);
  for (uint32_t left = exec; left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    body(lane, at[lane]);
  }
}

template <unsigned n> USBGPU_INLINE void load_dwords(Wave& w, uint32_t dst, U32 address) {
  const uint32_t exec = exec_of(w);
  LaneOffsets o;
  if (__builtin_expect(map_lds(w, address, exec, 4 * n, o), 1)) {
    gather<n>(w, dst, o);
    return;
  }
  lane_by_lane(w, exec, address, [&](unsigned lane, uint32_t at) {
    for (unsigned k = 0; k < n; ++k)
      lanes_at(w, dst)[kLanes * k + lane] = inside(w, at, 4 * n) ? load_at<uint32_t>(reinterpret_cast<const char*>(w.group->lds) + at + 4 * k) : 0;
  });
}
template <unsigned n> USBGPU_INLINE void store_lds(Wave& w, uint32_t src, U32 address) {
  const uint32_t exec = exec_of(w);
  LaneOffsets o;
  if (__builtin_expect(map_lds(w, address, exec, 4 * n, o), 1)) {
    scatter<n>(w, src, o);
    return;
  }
  lane_by_lane(w, exec, address, [&](unsigned lane, uint32_t at) {
    if (!inside(w, at, 4 * n)) return;
    for (unsigned k = 0; k < n; ++k) store_at<uint32_t>(reinterpret_cast<char*>(w.group->lds) + at + 4 * k, lanes_at(w, src)[kLanes * k + lane]);
  });
}

template <unsigned n> const Inst* load(Wave& w, const Inst* i) {
  if (exec_of(w)) load_dwords<n>(w, i->dst, load_lanes<U32>(w, i->src[0]) + static_cast<uint32_t>(i->imm & 0xFFFF));
  return i + 1;
}
template <unsigned n> const Inst* store(Wave& w, const Inst* i) {
  if (exec_of(w)) store_lds<n>(w, i->src[1], load_lanes<U32>(w, i->src[0]) + static_cast<uint32_t>(i->imm & 0xFFFF));
  return i + 1;
}
// Two accesses at offsets scaled by the element (times 64 for the stride64 forms). The address
// register is read before any result is written.
template <unsigned n, unsigned stride> const Inst* load2(Wave& w, const Inst* i) {
  if (!exec_of(w)) return i + 1;
  const U32 address = load_lanes<U32>(w, i->src[0]);
  load_dwords<n>(w, i->dst, address + static_cast<uint32_t>(i->imm & 0xFF) * 4 * n * stride);
  load_dwords<n>(w, i->dst + 128 * n, address + static_cast<uint32_t>(i->imm >> 8 & 0xFF) * 4 * n * stride);
  return i + 1;
}
template <unsigned n, unsigned stride> const Inst* store2(Wave& w, const Inst* i) {
  if (!exec_of(w)) return i + 1;
  const U32 address = load_lanes<U32>(w, i->src[0]);
  store_lds<n>(w, i->src[1], address + static_cast<uint32_t>(i->imm & 0xFF) * 4 * n * stride);
  store_lds<n>(w, i->src[2], address + static_cast<uint32_t>(i->imm >> 8 & 0xFF) * 4 * n * stride);
  return i + 1;
}
template <class T, Half half> const Inst* load_small(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (!exec) return i + 1;
  const U32 address = load_lanes<U32>(w, i->src[0]) + static_cast<uint32_t>(i->imm & 0xFFFF);
  LaneOffsets o;
  if (map_lds(w, address, exec, sizeof(T), o)) {
    gather_small<T, half>(w, i->dst, o);
    return i + 1;
  }
  U32 values{};
  lane_by_lane(w, exec, address, [&](unsigned lane, uint32_t at) {
    if (inside(w, at, sizeof(T))) values[lane] = static_cast<uint32_t>(static_cast<int32_t>(load_at<T>(reinterpret_cast<const char*>(w.group->lds) + at)));
  });
  store_half(w, i->dst, values, half);
  return i + 1;
}
template <class T, unsigned shift> const Inst* store_small(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (!exec) return i + 1;
  const U32 address = load_lanes<U32>(w, i->src[0]) + static_cast<uint32_t>(i->imm & 0xFFFF);
  LaneOffsets o;
  if (map_lds(w, address, exec, sizeof(T), o)) {
    scatter_small<T, shift>(w, i->src[1], o);
    return i + 1;
  }
  lane_by_lane(w, exec, address, [&](unsigned lane, uint32_t at) {
    if (inside(w, at, sizeof(T))) store_at<T>(reinterpret_cast<char*>(w.group->lds) + at, static_cast<T>(lanes_at(w, i->src[1])[lane] >> shift));
  });
  return i + 1;
}

// ---- atomics: one thread runs the whole workgroup, so plain read-modify-write -----------------
template <class T> USBGPU_INLINE T data_of(Wave& w, uint32_t reg, unsigned lane) {
  uint32_t dwords[sizeof(T) / 4];
  for (unsigned k = 0; k < sizeof(T) / 4; ++k) dwords[k] = lanes_at(w, reg)[kLanes * k + lane];
  T v;
  __builtin_memcpy(&v, dwords, sizeof v);
  return v;
}
template <class T> USBGPU_INLINE void set_data(Wave& w, uint32_t reg, unsigned lane, T v) {
  uint32_t dwords[sizeof(T) / 4];
  __builtin_memcpy(dwords, &v, sizeof v);
  for (unsigned k = 0; k < sizeof(T) / 4; ++k) lanes_at(w, reg)[kLanes * k + lane] = dwords[k];
}
// Two-operand forms take (old, data0, data1).
template <class T, T (*op)(T, T)> struct One { using type = T; static USBGPU_INLINE T next(T old, T a, T) { return op(old, a); } };
template <class T> struct MaskOr { using type = T; static USBGPU_INLINE T next(T old, T mask, T bits) { return (old & ~mask) | bits; } };
template <class T> struct CompareStore { using type = T; static USBGPU_INLINE T next(T old, T value, T compare) { return old == compare ? value : old; } };
template <class T> struct Wrap { using type = T; static USBGPU_INLINE T next(T old, T a, T b) { return old >= a ? old - a : old + b; } };

template <class Op, bool returns> const Inst* atomic(Wave& w, const Inst* i) {
  using T = typename Op::type;
  const uint32_t exec = exec_of(w);
  T old_values[kLanes];
  lane_by_lane(w, exec, load_lanes<U32>(w, i->src[0]) + static_cast<uint32_t>(i->imm & 0xFFFF), [&](unsigned lane, uint32_t at) {
    at &= ~static_cast<uint32_t>(sizeof(T) - 1);  // LDS atomics ignore the low address bits
    old_values[lane] = T{};
    if (!inside(w, at, sizeof(T))) return;
    char* p = reinterpret_cast<char*>(w.group->lds) + at;
    const T old = load_at<T>(p);
    store_at<T>(p, Op::next(old, data_of<T>(w, i->src[1], lane), data_of<T>(w, i->src[2], lane)));
    old_values[lane] = old;
  });
  if (returns)
    for (uint32_t left = exec; left; left &= left - 1) {
      const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
      set_data<T>(w, i->dst, lane, old_values[lane]);
    }
  return i + 1;
}
template <class T, unsigned stride> const Inst* exchange2(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  const U32 address = load_lanes<U32>(w, i->src[0]);
  T old_values[2][kLanes];
  for (unsigned n = 0; n < 2; ++n) {
    const uint32_t offset = static_cast<uint32_t>(i->imm >> (8 * n) & 0xFF) * sizeof(T) * stride;
    lane_by_lane(w, exec, address + offset, [&](unsigned lane, uint32_t at) {
      old_values[n][lane] = T{};
      if (!inside(w, at, sizeof(T))) return;
      char* p = reinterpret_cast<char*>(w.group->lds) + at;
      old_values[n][lane] = load_at<T>(p);
      store_at<T>(p, data_of<T>(w, i->src[1 + n], lane));
    });
  }
  for (unsigned n = 0; n < 2; ++n)
    for (uint32_t left = exec; left; left &= left - 1) {
      const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
      set_data<T>(w, i->dst + static_cast<uint32_t>(32 * sizeof(T)) * n, lane, old_values[n][lane]);
    }
  return i + 1;
}

// Bits of data that are set and cleared of a bit each: two dwords at once (RDNA ISA, DS_CONDXCHG32_RTN_B64).
struct ConditionalExchange {
  using type = uint64_t;
  static USBGPU_INLINE uint64_t next(uint64_t old, uint64_t data, uint64_t) {
    uint64_t r = old;
    for (unsigned half = 0; half < 64; half += 32)
      if (data >> (half + 31) & 1) r = (r & ~(uint64_t{0xFFFFFFFFu} << half)) | (data & uint64_t{0x7FFFFFFFu} << half);
    return r;
  }
};

// ds_append, ds_consume: a counter in LDS at M0[15:0] + offset goes up or down by the number of enabled lanes; all of them get
// what it was. (LLVM passes the pointer in M0 on both generations.)
template <bool append> const Inst* append_consume(Wave& w, const Inst* i) {
  const uint32_t lanes = static_cast<uint32_t>(__builtin_popcount(exec_of(w)) + (w.lanes == 64 ? __builtin_popcount(w.sgpr[kExec + 1]) : 0));
  const uint32_t at = ((w.sgpr[kM0] & 0xFFFF) + static_cast<uint32_t>(i->imm & 0xFFFF)) & ~3u;
  uint32_t old = 0;
  if (lanes && inside(w, at, 4)) {
    char* p = reinterpret_cast<char*>(w.group->lds) + at;
    old = load_at<uint32_t>(p);
    store_at<uint32_t>(p, append ? old + lanes : old - lanes);
  }
  for (unsigned h = 0; h < w.lanes / 32; ++h) {
    uint32_t* out = lanes_at(w, i->dst + h * kUpperHalf);
    for (unsigned lane = 0; lane < kLanes; ++lane)
      if (w.sgpr[kExec + h] >> lane & 1) out[lane] = old;
  }
  return i + 1;
}

// ---- lane permutations -------------------------------------------------------------------------
template <unsigned lanes> struct AllLanes { uint32_t at[lanes]; };
template <unsigned lanes> USBGPU_INLINE void read_all(Wave& w, uint32_t offset, AllLanes<lanes>& v) {
  for (unsigned h = 0; h < lanes / 32; ++h) __builtin_memcpy(v.at + 32 * h, lanes_at(w, offset + h * kUpperHalf), 128);
}
template <unsigned lanes> USBGPU_INLINE void write_all(Wave& w, uint32_t offset, const AllLanes<lanes>& v) {
  for (unsigned h = 0; h < lanes / 32; ++h) {
    uint32_t* to = lanes_at(w, offset + h * kUpperHalf);
    for (unsigned lane = 0; lane < 32; ++lane)
      if (w.sgpr[kExec + h] >> lane & 1) to[lane] = v.at[32 * h + lane];
  }
}
USBGPU_INLINE bool enabled(const Wave& w, unsigned lane) { return w.sgpr[kExec + lane / 32] >> (lane % 32) & 1; }

// The lane that an address names, for lane `own`. A wave64 of gfx11 is two halves that do not see each other (RDNA3 ISA,
// 'LDS Lane-permute Ops'), on gfx12 all 64 lanes can be named: `span`.
template <unsigned span> USBGPU_INLINE unsigned named_lane(unsigned own, uint32_t address, const Inst* i) {
  return (own & ~(span - 1)) | ((address + static_cast<uint32_t>(i->imm & 0xFFFF)) / 4 % span);
}
// Pull: a disabled source lane gives 0, unless fetched as well (_fi).
template <unsigned lanes, unsigned span, bool fetch_inactive> const Inst* bpermute(Wave& w, const Inst* i) {
  AllLanes<lanes> address, data, out;
  read_all(w, i->src[0], address);
  read_all(w, i->src[1], data);
  for (unsigned lane = 0; lane < lanes && !fetch_inactive; ++lane)
    if (!enabled(w, lane)) data.at[lane] = 0;
  for (unsigned lane = 0; lane < lanes; ++lane) out.at[lane] = data.at[named_lane<span>(lane, address.at[lane], i)];
  write_all(w, i->dst, out);
  return i + 1;
}
// Push: unaddressed lanes get 0, the highest source lane wins.
template <unsigned lanes, unsigned span> const Inst* permute(Wave& w, const Inst* i) {
  AllLanes<lanes> address, data, out{};
  read_all(w, i->src[0], address);
  read_all(w, i->src[1], data);
  for (unsigned lane = 0; lane < lanes; ++lane)
    if (enabled(w, lane)) out.at[named_lane<span>(lane, address.at[lane], i)] = data.at[lane];
  write_all(w, i->dst, out);
  return i + 1;
}
// Within 32 lanes, so each half of a wave64 by itself. RDNA3 ISA, DS_SWIZZLE_B32: by the offset a FFT order, a rotation, a
// permutation within quads, or lane = ((lane & and) | or) ^ xor.
USBGPU_INLINE unsigned swizzled_lane(uint32_t offset, unsigned lane) {
  const unsigned mask = offset & 31;
  if (offset >= 0xE000) {
    unsigned reversed = 0;
    for (unsigned n = 0; n < 5; ++n) reversed |= (lane >> n & 1) << (4 - n);
    return reversed >> __builtin_popcount(mask) | (lane & mask);
  }
  if (offset >= 0xC000) {
    const unsigned by = offset >> 5 & 31;
    return (lane & mask) | ((offset & 0x400 ? lane - by : lane + by) & ~mask & 31);
  }
  if (offset & 0x8000) return (lane & ~3u) | (offset >> (2 * (lane & 3)) & 3);
  return ((lane & mask) | (offset >> 5 & 31)) ^ (offset >> 10 & 31);
}
const Inst* swizzle(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w), offset = static_cast<uint32_t>(i->imm & 0xFFFF);
  const U32 source = load_lanes<U32>(w, i->src[0]);  // ds_swizzle takes its data from the address register
  U32 out{};
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned from = swizzled_lane(offset, lane);
    out[lane] = (exec >> from & 1) ? source[from] : 0;
  }
  store_dwords(w, i->dst, out);
  return i + 1;
}
template <bool fetch_inactive> Handler select_bpermute(const Shape& s) {
  return !s.wave64 ? bpermute<32, 32, fetch_inactive> : s.gfx12 ? bpermute<64, 64, fetch_inactive> : bpermute<64, 32, fetch_inactive>;
}
Handler select_permute(const Shape& s) { return !s.wave64 ? permute<32, 32> : s.gfx12 ? permute<64, 64> : permute<64, 32>; }
const Inst* nop(Wave&, const Inst* i) { return i + 1; }

// ds_load_addtid: address = offset + M0[15:0] + lane * 4
const Inst* load_addtid(Wave& w, const Inst* i) {
  if (exec_of(w)) load_dwords<1>(w, i->dst, kLaneIndex * 4 + (w.first_lane * 4 + static_cast<uint32_t>(i->imm & 0xFFFF) + (w.sgpr[kM0] & 0xFFFF)));
  return i + 1;
}
const Inst* store_addtid(Wave& w, const Inst* i) {
  if (exec_of(w)) store_lds<1>(w, i->src[1], kLaneIndex * 4 + (w.first_lane * 4 + static_cast<uint32_t>(i->imm & 0xFFFF) + (w.sgpr[kM0] & 0xFFFF)));
  return i + 1;
}

#define RMW(name, suffix, ...) \
  {"ds_" name "_" suffix, always<atomic<__VA_ARGS__, false>>}, {"ds_" name "_rtn_" suffix, always<atomic<__VA_ARGS__, true>>}
#define WIDTHS(name, type, u, op) RMW(name, type "32", One<u##32_t, op<u##32_t>>), RMW(name, type "64", One<u##64_t, op<u##64_t>>)

constexpr HandlerRow rows[] = {
    {"ds_load_b32", always<load<1>>}, {"ds_load_b64", always<load<2>>}, {"ds_load_b96", always<load<3>>}, {"ds_load_b128", always<load<4>>},
    {"ds_store_b32", always<store<1>>}, {"ds_store_b64", always<store<2>>}, {"ds_store_b96", always<store<3>>}, {"ds_store_b128", always<store<4>>},
    {"ds_load_2addr_b32", always<load2<1, 1>>}, {"ds_load_2addr_b64", always<load2<2, 1>>},
    {"ds_load_2addr_stride64_b32", always<load2<1, 64>>}, {"ds_load_2addr_stride64_b64", always<load2<2, 64>>},
    {"ds_store_2addr_b32", always<store2<1, 1>>}, {"ds_store_2addr_b64", always<store2<2, 1>>},
    {"ds_store_2addr_stride64_b32", always<store2<1, 64>>}, {"ds_store_2addr_stride64_b64", always<store2<2, 64>>},
    {"ds_load_u8", always<load_small<uint8_t, Half::none>>}, {"ds_load_i8", always<load_small<int8_t, Half::none>>},
    {"ds_load_u16", always<load_small<uint16_t, Half::none>>}, {"ds_load_i16", always<load_small<int16_t, Half::none>>},
    {"ds_load_u8_d16", always<load_small<uint8_t, Half::low>>}, {"ds_load_u8_d16_hi", always<load_small<uint8_t, Half::high>>},
    {"ds_load_i8_d16", always<load_small<int8_t, Half::low>>}, {"ds_load_i8_d16_hi", always<load_small<int8_t, Half::high>>},
    {"ds_load_u16_d16", always<load_small<uint16_t, Half::low>>}, {"ds_load_u16_d16_hi", always<load_small<uint16_t, Half::high>>},
    {"ds_store_b8", always<store_small<uint8_t, 0>>}, {"ds_store_b16", always<store_small<uint16_t, 0>>},
    {"ds_store_b8_d16_hi", always<store_small<uint8_t, 16>>}, {"ds_store_b16_d16_hi", always<store_small<uint16_t, 16>>},
    WIDTHS("add", "u", uint, rmw_add), WIDTHS("sub", "u", uint, rmw_sub), WIDTHS("rsub", "u", uint, rmw_rsub),
    WIDTHS("inc", "u", uint, rmw_inc), WIDTHS("dec", "u", uint, rmw_dec),
    WIDTHS("min", "i", int, rmw_min), WIDTHS("max", "i", int, rmw_max), WIDTHS("min", "u", uint, rmw_min), WIDTHS("max", "u", uint, rmw_max),
    WIDTHS("and", "b", uint, rmw_and), WIDTHS("or", "b", uint, rmw_or), WIDTHS("xor", "b", uint, rmw_xor),
    RMW("mskor", "b32", MaskOr<uint32_t>), RMW("mskor", "b64", MaskOr<uint64_t>),
    RMW("cmpstore", "b32", CompareStore<uint32_t>), RMW("cmpstore", "b64", CompareStore<uint64_t>),
    RMW("cmpstore", "f32", CompareStore<float>), RMW("cmpstore", "f64", CompareStore<double>),
    RMW("add", "f32", One<float, rmw_add<float>>),
    RMW("min", "f32", One<float, rmw_fmin<float>>), RMW("max", "f32", One<float, rmw_fmax<float>>),
    RMW("min", "f64", One<double, rmw_fmin<double>>), RMW("max", "f64", One<double, rmw_fmax<double>>),
    {"ds_storexchg_rtn_b32", always<atomic<One<uint32_t, rmw_swap<uint32_t>>, true>>},
    {"ds_storexchg_rtn_b64", always<atomic<One<uint64_t, rmw_swap<uint64_t>>, true>>},
    {"ds_storexchg_2addr_rtn_b32", always<exchange2<uint32_t, 1>>}, {"ds_storexchg_2addr_rtn_b64", always<exchange2<uint64_t, 1>>},
    {"ds_storexchg_2addr_stride64_rtn_b32", always<exchange2<uint32_t, 64>>},
    {"ds_storexchg_2addr_stride64_rtn_b64", always<exchange2<uint64_t, 64>>},
    {"ds_wrap_rtn_b32", always<atomic<Wrap<uint32_t>, true>>},
    {"ds_bpermute_b32", select_bpermute<false>, whole_wave}, {"ds_bpermute_fi_b32", select_bpermute<true>, whole_wave},
    {"ds_permute_b32", select_permute, whole_wave}, {"ds_swizzle_b32", always<swizzle>},
    {"ds_append", always<append_consume<true>>, whole_wave}, {"ds_consume", always<append_consume<false>>, whole_wave},
    {"ds_condxchg32_rtn_b64", always<atomic<ConditionalExchange, true>>},
    RMW("cond_sub", "u32", One<uint32_t, rmw_cond_sub<uint32_t>>), RMW("sub_clamp", "u32", One<uint32_t, rmw_csub<uint32_t>>),
    RMW("pk_add", "f16", One<uint32_t, rmw_pk_add_f16>), RMW("pk_add", "bf16", One<uint32_t, rmw_pk_add_bf16>),
    {"ds_load_addtid_b32", always<load_addtid>}, {"ds_store_addtid_b32", always<store_addtid>}, {"ds_nop", always<nop>},
};

}  // namespace

const HandlerGroup group_ds{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
