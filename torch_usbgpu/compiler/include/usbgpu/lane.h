// Lanes of one wave: shuffles, votes, bit counting, reductions. A wave has 32 lanes.
#pragma once

USBGPU_FN int __popc(unsigned x) { return __builtin_popcount(x); }
USBGPU_FN int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
USBGPU_FN int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
USBGPU_FN int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
USBGPU_FN int __ffs(int x) { return __builtin_ffs(x); }
USBGPU_FN int __ffsll(long long x) { return __builtin_ffsll(x); }
USBGPU_FN unsigned __brev(unsigned x) { return __builtin_bitreverse32(x); }
USBGPU_FN unsigned long long __brevll(unsigned long long x) { return __builtin_bitreverse64(x); }
USBGPU_FN unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
USBGPU_FN int __mulhi(int a, int b) { return (int)(((long long)a * b) >> 32); }
USBGPU_FN unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
USBGPU_FN long long __mul64hi(long long a, long long b) { return (long long)(((__int128)a * b) >> 64); }
USBGPU_FN int __mul24(int a, int b) { return (int)((unsigned)((a << 8) >> 8) * (unsigned)((b << 8) >> 8)); }
USBGPU_FN unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffffu) * (b & 0xffffffu); }
USBGPU_FN unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned shift) {
  return (unsigned)(((((unsigned long long)hi << 32) | lo) << (shift & 31)) >> 32);
}
USBGPU_FN unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned shift) {
  return (unsigned)((((unsigned long long)hi << 32) | lo) >> (shift & 31));
}
USBGPU_FN unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  // Selector nibbles: three bits pick one of the eight bytes of b:a, the fourth replicates its sign.
  unsigned result = 0;
  const unsigned long long bytes = ((unsigned long long)b << 32) | a;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const unsigned nibble = (selector >> (4 * i)) & 15;
    unsigned byte = (unsigned)(bytes >> (8 * (nibble & 7))) & 255;
    if (nibble & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << (8 * i);
  }
  return result;
}

namespace usbgpu {

USBGPU_FN int lane_id() { return (int)__builtin_amdgcn_mbcnt_lo(~0u, 0); }

// Any trivially copyable value, moved as 32-bit words by `move(int) -> int`.
template <class T, class Move> USBGPU_FN T by_words(T value, Move move) {
  if constexpr (sizeof(T) % 4 == 0) {
    struct words { int word[sizeof(T) / 4]; };
    words w = __builtin_bit_cast(words, value);
#pragma unroll
    for (unsigned i = 0; i < sizeof(T) / 4; ++i) w.word[i] = move(w.word[i]);
    return __builtin_bit_cast(T, w);
  } else if constexpr (sizeof(T) == 2) {
    return __builtin_bit_cast(T, (short)move(__builtin_bit_cast(short, value)));
  } else {
    static_assert(sizeof(T) == 1, "a lane moves 1, 2 or a multiple of 4 bytes");
    return __builtin_bit_cast(T, (signed char)move(__builtin_bit_cast(signed char, value)));
  }
}

template <class T> USBGPU_FN T read_lane(T value, int lane) {
  return by_words(value, [lane](int word) { return __builtin_amdgcn_ds_bpermute(lane << 2, word); });
}
// The value of the first active lane, in a scalar register.
template <class T> USBGPU_FN T read_first_lane(T value) {
  return by_words(value, [](int word) { return __builtin_amdgcn_readfirstlane(word); });
}

// Rotation within rows of 16 lanes (n = 1..15), in the operand path of the consuming instruction.
template <int n, class T> USBGPU_FN T rotate_row(T value) {
  return by_words(value, [](int word) { return __builtin_amdgcn_update_dpp(word, word, 0x120 + n, 0xf, 0xf, true); });
}
// Lane i of one row of 16 with lane i of the other.
template <class T> USBGPU_FN T swap_rows(T value) {
  return by_words(value, [](int word) {
    return (int)__builtin_amdgcn_permlanex16(word, word, 0x76543210u, 0xfedcba98u, true, true);
  });
}

// op over all 32 lanes (all must be active), the same bits in every lane. op is commutative; the
// order of evaluation is a fixed tree, so results do not vary between runs.
template <class T, class Op> USBGPU_FN T wave_reduce(T value, Op op) {
  value = op(value, rotate_row<8>(value));
  value = op(value, rotate_row<4>(value));
  value = op(value, rotate_row<2>(value));
  value = op(value, rotate_row<1>(value));
  return op(value, swap_rows(value));
}
template <class T> USBGPU_FN T wave_sum(T value) { return wave_reduce(value, [](T a, T b) { return T(a + b); }); }
template <class T> USBGPU_FN T wave_max(T value) { return wave_reduce(value, [](T a, T b) { return a > b ? a : b; }); }
template <class T> USBGPU_FN T wave_min(T value) { return wave_reduce(value, [](T a, T b) { return a < b ? a : b; }); }

// op over a one-dimensional group of `threads` (a multiple of 32), the same bits in every thread.
// All threads must call it. Starts with a barrier, so that it can be called in a row.
template <int threads, class T, class Op> USBGPU_FN T block_reduce(T value, Op op, T identity) {
  static_assert(threads % 32 == 0 && threads <= 1024, "whole waves");
  value = wave_reduce(value, op);
  if constexpr (threads > 32) {
    constexpr int waves = threads / 32;
    static __shared__ T partial[waves];
    const int thread = (int)__builtin_amdgcn_workitem_id_x(), lane = thread & 31;
    barrier_lds();
    if (lane == 0) partial[thread >> 5] = value;
    barrier_lds();
    value = wave_reduce(lane < waves ? partial[lane < waves ? lane : 0] : identity, op);
  }
  return value;
}

}  // namespace usbgpu

// ---- CUDA's names. The mask is not needed: lanes that are off neither give nor take.
template <class T> USBGPU_FN T __shfl(T value, int lane, int width = 32) {
  const int self = usbgpu::lane_id();
  return usbgpu::read_lane(value, (lane & (width - 1)) | (self & ~(width - 1)));
}
template <class T> USBGPU_FN T __shfl_up(T value, unsigned delta, int width = 32) {
  const int self = usbgpu::lane_id(), from = self - (int)delta;
  return usbgpu::read_lane(value, from < (self & ~(width - 1)) ? self : from);
}
template <class T> USBGPU_FN T __shfl_down(T value, unsigned delta, int width = 32) {
  const int self = usbgpu::lane_id();
  return usbgpu::read_lane(value, (self & (width - 1)) + (int)delta >= width ? self : self + (int)delta);
}
template <class T> USBGPU_FN T __shfl_xor(T value, int mask, int width = 32) {
  const int self = usbgpu::lane_id(), from = self ^ mask;
  return usbgpu::read_lane(value, from >= ((self + width) & ~(width - 1)) ? self : from);
}
template <class T> USBGPU_FN T __shfl_sync(unsigned long long, T value, int lane, int width = 32) {
  return __shfl(value, lane, width);
}
template <class T> USBGPU_FN T __shfl_up_sync(unsigned long long, T value, unsigned delta, int width = 32) {
  return __shfl_up(value, delta, width);
}
template <class T> USBGPU_FN T __shfl_down_sync(unsigned long long, T value, unsigned delta, int width = 32) {
  return __shfl_down(value, delta, width);
}
template <class T> USBGPU_FN T __shfl_xor_sync(unsigned long long, T value, int mask, int width = 32) {
  return __shfl_xor(value, mask, width);
}

USBGPU_FN unsigned __activemask() { return __builtin_amdgcn_ballot_w32(true); }
USBGPU_FN unsigned __ballot(int predicate) { return __builtin_amdgcn_ballot_w32(predicate != 0); }
USBGPU_FN int __any(int predicate) { return __ballot(predicate) != 0; }
USBGPU_FN int __all(int predicate) { return __ballot(predicate == 0) == 0; }
USBGPU_FN unsigned __ballot_sync(unsigned mask, int predicate) { return __ballot(predicate) & mask; }
USBGPU_FN int __any_sync(unsigned mask, int predicate) { return (__ballot(predicate) & mask) != 0; }
USBGPU_FN int __all_sync(unsigned mask, int predicate) { return (__ballot(predicate == 0) & mask) == 0; }
USBGPU_FN unsigned __lane_id() { return (unsigned)usbgpu::lane_id(); }

#define USBGPU_REDUCE_SYNC(name, T, expression)                                     \
  USBGPU_FN T __reduce_##name##_sync(unsigned, T value) {                           \
    return usbgpu::wave_reduce(value, [](T a, T b) -> T { return (expression); });  \
  }
USBGPU_REDUCE_SYNC(add, unsigned, a + b)
USBGPU_REDUCE_SYNC(add, int, a + b)
USBGPU_REDUCE_SYNC(min, unsigned, a < b ? a : b)
USBGPU_REDUCE_SYNC(min, int, a < b ? a : b)
USBGPU_REDUCE_SYNC(max, unsigned, a > b ? a : b)
USBGPU_REDUCE_SYNC(max, int, a > b ? a : b)
USBGPU_REDUCE_SYNC(and, unsigned, a & b)
USBGPU_REDUCE_SYNC(or, unsigned, a | b)
USBGPU_REDUCE_SYNC(xor, unsigned, a ^ b)
#undef USBGPU_REDUCE_SYNC
