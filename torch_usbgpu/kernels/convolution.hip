// Convolutions as implicit matrix products: see convolution_args.h for the one sum that all three are.
//
//   conv_tile          register tiles of FMAs: f32 (up to 128 x 128), f64 and integers (32 x 32)
//   conv_matrix_unit   f16 and bf16 through the matrix units, f32 accumulation
//   conv_direct        one output per thread, 64-bit offsets: depthwise and other narrow groups, huge tensors
//   conv_direct_weight one element of a weight's gradient per workgroup: the same cases
//   conv_finish        adds the parts of a split reduction, always in the same order
//
// Operands come through any strides; a tile is brought to LDS by threads that are neighbours along
// whichever index is contiguous in memory ("fast").
#include "convolution_args.h"
#include "family.h"
#include "matrix_unit.h"

namespace usbgpu_family::conv {

// What a stored value is multiplied as. Integers wrap, so 32 bits hold all that narrow ones need.
template <typename T> struct conv_traits { using value = int32_t; };
template <> struct conv_traits<float> { using value = float; };
template <> struct conv_traits<_Float16> { using value = float; };
template <> struct conv_traits<__bf16> { using value = float; };
template <> struct conv_traits<double> { using value = double; };
template <> struct conv_traits<int64_t> { using value = int64_t; };
template <typename T> using conv_value = typename conv_traits<T>::value;

template <typename V>
USBGPU_INLINE V multiply_add(V a, V b, V c) {
  if constexpr (same_type<V, float>::value) return __builtin_fmaf(a, b, c);
  else if constexpr (same_type<V, double>::value) return __builtin_fma(a, b, c);
  else if constexpr (same_type<V, int32_t>::value) return (int32_t)((uint32_t)a * (uint32_t)b + (uint32_t)c);
  else return (int64_t)((uint64_t)a * (uint64_t)b + (uint64_t)c);
}

USBGPU_INLINE uint32_t divide(uint32_t n, const Divisor& by) { return (__umulhi(n, by.magic) + n) >> by.shift; }

struct Index {
  uint32_t u, x[3];
};

// x[0] exists where Dims is 3.
template <uint32_t Dims>
USBGPU_INLINE Index split(uint32_t n, const Divisor (&x)[3], const Divisor& u, bool u_fastest) {
  Index index{};
  if (u_fastest) {
    uint32_t rest = divide(n, u);
    index.u = n - rest * u.value, n = rest;
  }
#pragma unroll
  for (uint32_t d = 2; d > 3 - Dims; --d) {
    uint32_t rest = divide(n, x[d]);
    index.x[d] = n - rest * x[d].value, n = rest;
  }
  if (u_fastest) {
    index.x[3 - Dims] = n;
  } else {
    uint32_t rest = divide(n, x[3 - Dims]);
    index.x[3 - Dims] = n - rest * x[3 - Dims].value, index.u = rest;
  }
  return index;
}

// A workgroup's share: the same in all its threads.
template <uint32_t Dims, bool Phased>
struct Share {
  Divisor tap[3];                       // reduction x
  int32_t origin[3];
  int64_t dense_x[3], out_x[3];
  uint32_t phase[3], stride[3];
  int64_t dense_from, out_from;         // elements
  uint32_t begin, end;                  // of the reduction

  USBGPU_INLINE Share(const ConvArgs& args, uint32_t phase_index, uint32_t part) {
    dense_from = 0, out_from = 0;
    uint32_t reductions = args.reductions;
    if constexpr (Phased) reductions = args.reduction.u.value;
#pragma unroll
    for (uint32_t d = 3 - Dims; d < 3; ++d) {
      tap[d] = args.reduction.x[d], origin[d] = args.origin[d];
      dense_x[d] = args.dense_x[d], out_x[d] = args.out_x[d];
      phase[d] = 0, stride[d] = 1;
      if constexpr (Phased) {
        const Phase& p = args.phase[d];
        // phases of the last dimension are next to each other
        uint32_t rest = divide(phase_index, p.stride);
        phase[d] = phase_index - rest * p.stride.value, phase_index = rest;
        const uint32_t from = phase[d] + p.padding, scaled = divide(from, p.gcd);
        const bool any = scaled * p.gcd.value == from;
        uint32_t first = scaled - divide(scaled, p.step) * p.step.value;
        first *= p.inverse;
        first -= divide(first, p.step) * p.step.value;
        const bool fewer = first >= p.taps - p.taps_less.value * p.step.value;
        if (fewer) tap[d] = p.taps_less;
        uint32_t count = fewer ? p.taps_less.value : p.taps_less.value + 1;
        reductions *= any ? count : 0;
        origin[d] = (int32_t)divide(from + p.lift * p.stride.value - first * p.dilation, p.stride) - (int32_t)p.lift;
        dense_from += first * dense_x[d];
        dense_x[d] *= p.step.value;
        out_from += phase[d] * out_x[d];
        out_x[d] *= p.stride.value;
        stride[d] = p.stride.value;
      }
    }
    begin = part * args.per_split;
    end = begin + args.per_split < reductions ? begin + args.per_split : reductions;
  }
};

// One operand's part of a thread: Count elements of a Rows x TK tile, from global memory to registers
// and from there to LDS. Fast: neighbouring threads take neighbouring rows, else neighbouring k.
template <typename T, uint32_t Rows, uint32_t TK, uint32_t Threads, bool IsImage, bool Fast, uint32_t Dims, bool UFastest>
struct Loader {
  static constexpr uint32_t Count = Rows * TK / Threads, States = Fast ? 1 : Count;
  static_assert(Threads % Rows == 0 && Threads % TK == 0 && Rows % 32 == 0);
  int32_t offset[States];      // elements
  int32_t x[States][3];        // image: coordinate of the row
  T value[Count];

  // Of a Fast tile, k is the same in a whole wave.
  static USBGPU_INLINE uint32_t row_of(uint32_t i) { return Fast ? threadIdx.x % Rows : threadIdx.x / TK + i * (Threads / TK); }
  static USBGPU_INLINE uint32_t k_of(uint32_t i) {
    return Fast ? __builtin_amdgcn_readfirstlane(threadIdx.x / Rows) + i * (Threads / Rows) : threadIdx.x % TK;
  }

  template <class Part>
  USBGPU_INLINE Loader(const ConvArgs& args, const Part& share, uint32_t first_row) {
#pragma unroll
    for (uint32_t i = 0; i < States; ++i) {
      uint32_t row = first_row + row_of(i);
      if constexpr (IsImage) {
        Index at = split<Dims>(row, args.side.x, args.side.u, args.side_u_fastest);
        offset[i] = (int32_t)(at.u * (uint32_t)args.image_side_u);
#pragma unroll
        for (uint32_t d = 3 - Dims; d < 3; ++d) {
          x[i][d] = share.origin[d] + (int32_t)at.x[d] * args.side_step[d];
          offset[i] += x[i][d] * (int32_t)args.image_x[d];
        }
        // a row beyond the end is outside every image
        if (row >= args.sides) x[i][2] = -0x40000000;
      } else {
        row = row < args.rows ? row : args.rows - 1;   // computed, not stored
        offset[i] = (int32_t)(row * (uint32_t)args.dense_row);
      }
    }
  }

  template <class Part>
  USBGPU_INLINE void load(const ConvArgs& args, const Part& share, uint64_t base, uint32_t k0) {
    int32_t along = 0, step[3] = {};
    bool inside = false;
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) {
      if (Fast || i == 0) {
        const uint32_t k = k0 + k_of(i);
        inside = k < share.end;
        Index at = split<Dims>(k, share.tap, args.reduction.u, UFastest);
        along = (int32_t)(at.u * (uint32_t)(IsImage ? args.image_reduction_u : args.dense_u));
#pragma unroll
        for (uint32_t d = 3 - Dims; d < 3; ++d) {
          if constexpr (IsImage) {
            step[d] = (int32_t)at.x[d] * args.reduction_step[d];
            along += step[d] * (int32_t)args.image_x[d];
          } else {
            along += (int32_t)(at.x[d] * (uint32_t)share.dense_x[d]);
          }
        }
      }
      bool valid = inside;
      if constexpr (IsImage) {
#pragma unroll
        for (uint32_t d = 3 - Dims; d < 3; ++d) valid &= (uint32_t)(x[Fast ? 0 : i][d] + step[d]) < (uint32_t)args.size[d];
      }
      value[i] = T(0);
      if (valid) value[i] = *at<T>(base, (uint32_t)(offset[Fast ? 0 : i] + along) * (uint32_t)sizeof(T));
    }
  }
};

// Where an output of side `index` lies, relative to the share's outputs; false: nowhere.
template <uint32_t Dims, bool Phased>
USBGPU_INLINE bool place(const ConvArgs& args, const Share<Dims, Phased>& share, uint32_t index, int64_t& offset) {
  if (index >= args.sides) return false;
  Index at = split<Dims>(index, args.side.x, args.side.u, args.side_u_fastest);
  offset = at.u * args.out_side_u;
  bool valid = true;
#pragma unroll
  for (uint32_t d = 3 - Dims; d < 3; ++d) {
    offset += at.x[d] * share.out_x[d];
    if constexpr (Phased) valid &= at.x[d] * share.stride[d] + share.phase[d] < args.out_size[d];
  }
  return valid;
}

struct Place {                 // of a workgroup
  uint32_t column, row, part, phase, group;
  USBGPU_INLINE Place(const ConvArgs& args) {
    uint32_t index = blockIdx.x;
    auto next = [&](const Divisor& by) {
      const uint32_t rest = divide(index, by), digit = index - rest * by.value;
      index = rest;
      return digit;
    };
    column = next(args.columns_of_tiles), row = next(args.rows_of_tiles);
    part = next(args.parts), phase = next(args.phases), group = index;
  }
};

template <typename T, typename V>
USBGPU_INLINE void store_result(const ConvArgs& args, const Place& z, uint64_t out, int64_t offset, uint32_t row, V value) {
  if (args.partial) {
    at<V>(out)[z.part * args.partial + offset] = value;
    return;
  }
  if (args.bias) value += convert<V>(at<T>(args.bias)[z.group * args.rows + row]);
  at<T>(out)[offset] = convert<T>(value);
}

// ---- tiles of FMAs

// A thread's R rows: R/Width groups of Width, apart, so that the lanes of a wave read neighbouring
// 16-byte (or smaller) pieces of LDS.
template <typename V, uint32_t R, uint32_t Rows>
struct Piece {
  static constexpr uint32_t Width = R < 4 ? R : 4, Groups = R / Width, Step = Rows / Groups;
  typedef V Vector __attribute__((ext_vector_type(Width)));
  V value[R];
  static USBGPU_INLINE uint32_t row(uint32_t position, uint32_t i) { return (i / Width) * Step + position * Width + i % Width; }
  USBGPU_INLINE void load(const V* lds, uint32_t position) {
#pragma unroll
    for (uint32_t g = 0; g < Groups; ++g) {
      Vector v = *(const Vector*)(lds + g * Step + position * Width);
#pragma unroll
      for (uint32_t i = 0; i < Width; ++i) value[g * Width + i] = v[i];
    }
  }
};

// Rows of the tile are M, columns N: one is the image's side, the other the dense operand's rows.
template <typename T, uint32_t TM, uint32_t TN, uint32_t TK, uint32_t RM, uint32_t RN, bool ImageColumns, bool ImageFast,
          bool DenseFast, uint32_t Dims, bool UFastest, bool Phased>
USBGPU_INLINE void conv_tile(const ConvArgs& args) {
  using V = conv_value<T>;
  constexpr uint32_t Threads = 256, Across = TN / RN, PitchM = TM + 4, PitchN = TN + 4;
  static_assert((TM / RM) * Across == Threads);
  __shared__ __attribute__((aligned(16))) V lds_m[2][TK * PitchM];
  __shared__ __attribute__((aligned(16))) V lds_n[2][TK * PitchN];
  const Place z(args);
  const Share<Dims, Phased> share(args, z.phase, z.part);
  const uint64_t image = args.image + sizeof(T) * (z.group * args.image_group);
  const uint64_t dense = args.dense + sizeof(T) * (z.group * args.dense_group + share.dense_from);
  const uint32_t tile_m = z.row * TM, tile_n = z.column * TN;
  Loader<T, TM, TK, Threads, !ImageColumns, ImageColumns ? DenseFast : ImageFast, Dims, UFastest> m(args, share, tile_m);
  Loader<T, TN, TK, Threads, ImageColumns, ImageColumns ? ImageFast : DenseFast, Dims, UFastest> n(args, share, tile_n);
  const uint32_t x = threadIdx.x % Across, y = threadIdx.x / Across;
  auto load = [&](uint32_t k0) {
    m.load(args, share, ImageColumns ? dense : image, k0);
    n.load(args, share, ImageColumns ? image : dense, k0);
  };
  auto store = [&](uint32_t buffer) {
#pragma unroll
    for (uint32_t i = 0; i < m.Count; ++i) lds_m[buffer][m.k_of(i) * PitchM + m.row_of(i)] = convert<V>(m.value[i]);
#pragma unroll
    for (uint32_t i = 0; i < n.Count; ++i) lds_n[buffer][n.k_of(i) * PitchN + n.row_of(i)] = convert<V>(n.value[i]);
  };

  V sum[RM][RN] = {};
  if (share.begin < share.end) {
    load(share.begin);
    store(0);
    local_barrier();
  }
  uint32_t current = 0;
#pragma clang loop unroll(disable)
  for (uint32_t k0 = share.begin; k0 < share.end; k0 += TK) {
    const bool more = k0 + TK < share.end;
    if (more) load(k0 + TK);
    const V *from_m = lds_m[current], *from_n = lds_n[current];
    // Full unrolling spills: the compiler hoists every LDS read.
#pragma unroll 2
    for (uint32_t k = 0; k < TK; ++k) {
      Piece<V, RM, TM> fm;
      Piece<V, RN, TN> fn;
      fm.load(from_m + k * PitchM, y);
      fn.load(from_n + k * PitchN, x);
#pragma unroll
      for (uint32_t i = 0; i < RM; ++i)
#pragma unroll
        for (uint32_t j = 0; j < RN; ++j) sum[i][j] = multiply_add(fm.value[i], fn.value[j], sum[i][j]);
    }
    current ^= 1;
    if (more) {
      store(current);
      local_barrier();
    }
  }

  const uint64_t out = args.out + (args.partial ? sizeof(V) : sizeof(T)) * (z.group * args.out_group + share.out_from);
  constexpr uint32_t Sides = ImageColumns ? RN : RM, Denses = ImageColumns ? RM : RN;
#pragma unroll
  for (uint32_t s = 0; s < Sides; ++s) {
    int64_t offset;
    const uint32_t side = ImageColumns ? tile_n + Piece<V, RN, TN>::row(x, s) : tile_m + Piece<V, RM, TM>::row(y, s);
    if (!place<Dims, Phased>(args, share, side, offset)) continue;
#pragma unroll
    for (uint32_t d = 0; d < Denses; ++d) {
      const uint32_t row = ImageColumns ? tile_m + Piece<V, RM, TM>::row(y, d) : tile_n + Piece<V, RN, TN>::row(x, d);
      if (row < args.rows) store_result<T>(args, z, out, offset + row * args.out_row, row, sum[ImageColumns ? d : s][ImageColumns ? s : d]);
    }
  }
}

// ---- matrix units: waves of WM x WN outputs in pieces of 16 x 16
template <uint32_t Threads, typename T, uint32_t TM, uint32_t TN, uint32_t WM, uint32_t WN, bool ImageColumns, bool ImageFast,
          bool DenseFast, uint32_t Dims, bool UFastest, bool Phased>
USBGPU_INLINE void conv_matrix_unit(const ConvArgs& args) {
  constexpr uint32_t TK = 32, Pitch = TK + 8;  // 16-byte aligned rows, spread over the banks
  constexpr uint32_t Across = TN / WN;
  static_assert((TM / WM) * Across * 32 == Threads);
  __shared__ __attribute__((aligned(16))) uint16_t lds_m[TM * Pitch];
  __shared__ __attribute__((aligned(16))) uint16_t lds_n[TN * Pitch];
  const Place z(args);
  const Share<Dims, Phased> share(args, z.phase, z.part);
  const uint64_t image = args.image + 2 * (z.group * args.image_group);
  const uint64_t dense = args.dense + 2 * (z.group * args.dense_group + share.dense_from);
  const uint32_t tile_m = z.row * TM, tile_n = z.column * TN;
  Loader<uint16_t, TM, TK, Threads, !ImageColumns, ImageColumns ? DenseFast : ImageFast, Dims, UFastest> m(args, share, tile_m);
  Loader<uint16_t, TN, TK, Threads, ImageColumns, ImageColumns ? ImageFast : DenseFast, Dims, UFastest> n(args, share, tile_n);
  auto load = [&](uint32_t k0) {
    m.load(args, share, ImageColumns ? dense : image, k0);
    n.load(args, share, ImageColumns ? image : dense, k0);
  };

  const uint32_t wave = wave_id(), lane = lane_id();
  const uint32_t wave_m = wave / Across * WM, wave_n = wave % Across * WN;
  float8 sum[WM / 16][WN / 16] = {};
  if (share.begin < share.end) load(share.begin);
#pragma clang loop unroll(disable)
  for (uint32_t k0 = share.begin; k0 < share.end; k0 += TK) {
    local_barrier();
#pragma unroll
    for (uint32_t i = 0; i < m.Count; ++i) lds_m[m.row_of(i) * Pitch + m.k_of(i)] = m.value[i];
#pragma unroll
    for (uint32_t i = 0; i < n.Count; ++i) lds_n[n.row_of(i) * Pitch + n.k_of(i)] = n.value[i];
    local_barrier();
    if (k0 + TK < share.end) load(k0 + TK);
#pragma unroll
    for (uint32_t k = 0; k < TK; k += 16) {
      Operand fn[WN / 16];
#pragma unroll
      for (uint32_t j = 0; j < WN / 16; ++j) fn[j] = load_operand(lds_n + (wave_n + j * 16 + (lane & 15)) * Pitch + k);
#pragma unroll
      for (uint32_t i = 0; i < WM / 16; ++i) {
        Operand fm = load_operand(lds_m + (wave_m + i * 16 + (lane & 15)) * Pitch + k);
#pragma unroll
        for (uint32_t j = 0; j < WN / 16; ++j) sum[i][j] = matrix_multiply<T>(fm, fn[j], sum[i][j]);
      }
    }
  }

  const uint64_t out = args.out + (args.partial ? 4 : 2) * (z.group * args.out_group + share.out_from);
  if constexpr (ImageColumns) {
#pragma unroll
    for (uint32_t j = 0; j < WN / 16; ++j) {
      int64_t offset;
      if (!place<Dims, Phased>(args, share, tile_n + wave_n + j * 16 + (lane & 15), offset)) continue;
#pragma unroll
      for (uint32_t i = 0; i < WM / 16; ++i)
#pragma unroll
        for (uint32_t r = 0; r < 8; ++r) {
          const uint32_t row = tile_m + wave_m + i * 16 + result_row(r, lane);
          if (row < args.rows) store_result<T>(args, z, out, offset + row * args.out_row, row, (float)sum[i][j][r]);
        }
    }
  } else {
#pragma unroll
    for (uint32_t i = 0; i < WM / 16; ++i)
#pragma unroll
      for (uint32_t r = 0; r < 8; ++r) {
        int64_t offset;
        if (!place<Dims, Phased>(args, share, tile_m + wave_m + i * 16 + result_row(r, lane), offset)) continue;
#pragma unroll
        for (uint32_t j = 0; j < WN / 16; ++j) {
          const uint32_t row = tile_n + wave_n + j * 16 + (lane & 15);
          if (row < args.rows) store_result<T>(args, z, out, offset + row * args.out_row, row, (float)sum[i][j][r]);
        }
      }
  }
}

// ---- without tiles

// ChannelsFast: neighbouring threads take neighbouring channels of all groups, else neighbouring positions.
template <typename T, bool ChannelsFast, uint32_t Dims, bool Phased>
USBGPU_INLINE void conv_direct(const ConvArgs& args) {
  using V = conv_value<T>;
  Place z(args);
  uint32_t row = z.row, side = z.column * 256 + threadIdx.x;
  bool mine = true;
  if constexpr (ChannelsFast) {
    const uint32_t channel = side;
    side = z.row;
    z.group = divide(channel, args.row_count);
    row = channel - z.group * args.rows;
    mine = z.group < args.groups;
  }
  const Share<Dims, Phased> share(args, z.phase, z.part);
  int64_t to;
  if (!mine || !place<Dims, Phased>(args, share, side, to)) return;
  const Index at_side = split<Dims>(side, args.side.x, args.side.u, args.side_u_fastest);
  global_ptr<T> image = at<T>(args.image) + z.group * args.image_group + at_side.u * args.image_side_u;
  global_ptr<T> dense = at<T>(args.dense) + z.group * args.dense_group + share.dense_from + row * args.dense_row;
  V sum = 0;
  const uint32_t channels = share.end ? args.reduction.u.value : 0;
  int32_t from[3] = {};
#pragma unroll
  for (uint32_t d = 3 - Dims; d < 3; ++d) from[d] = share.origin[d] + (int32_t)at_side.x[d] * args.side_step[d];
  const uint32_t count0 = Dims == 3 ? share.tap[0].value : 1;
#pragma clang loop unroll(disable)
  for (uint32_t t0 = 0; t0 < count0; ++t0) {
    const int32_t x0 = Dims == 3 ? from[0] + (int32_t)t0 * args.reduction_step[0] : 0;
    if (Dims == 3 && (uint32_t)x0 >= (uint32_t)args.size[0]) continue;
#pragma clang loop unroll(disable)
    for (uint32_t t1 = 0; t1 < share.tap[1].value; ++t1) {
      const int32_t x1 = from[1] + (int32_t)t1 * args.reduction_step[1];
      if ((uint32_t)x1 >= (uint32_t)args.size[1]) continue;
#pragma clang loop unroll(disable)
      for (uint32_t t2 = 0; t2 < share.tap[2].value; ++t2) {
        const int32_t x2 = from[2] + (int32_t)t2 * args.reduction_step[2];
        if ((uint32_t)x2 >= (uint32_t)args.size[2]) continue;
        global_ptr<T> i = image + x1 * args.image_x[1] + x2 * args.image_x[2];
        global_ptr<T> w = dense + t1 * share.dense_x[1] + t2 * share.dense_x[2];
        if constexpr (Dims == 3) i += x0 * args.image_x[0], w += t0 * share.dense_x[0];
#pragma clang loop unroll(disable)
        for (uint32_t u = 0; u < channels; ++u) {
          sum = multiply_add(convert<V>(*i), convert<V>(*w), sum);
          i += args.image_reduction_u, w += args.dense_u;
        }
      }
    }
  }
  const uint64_t out = args.out + sizeof(T) * (z.group * args.out_group + share.out_from);
  store_result<T>(args, z, out, to + row * args.out_row, row, sum);
}

template <typename T, uint32_t Dims>
USBGPU_INLINE void conv_direct_weight(const ConvArgs& args) {
  using V = conv_value<T>;
  __shared__ int64_t scratch[8];
  const Place z(args);
  const Share<Dims, false> share(args, 0, 0);
  const uint32_t side = z.column, row = z.row;
  const Index at_side = split<Dims>(side, args.side.x, args.side.u, args.side_u_fastest);
  global_ptr<T> image = at<T>(args.image) + z.group * args.image_group + at_side.u * args.image_side_u;
  global_ptr<T> dense = at<T>(args.dense) + z.group * args.dense_group + row * args.dense_row;
  int32_t from[3] = {};
#pragma unroll
  for (uint32_t d = 3 - Dims; d < 3; ++d) from[d] = args.origin[d] + (int32_t)at_side.x[d] * args.side_step[d];
  V sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t k = threadIdx.x; k < args.reductions; k += 256) {
    const Index at = split<Dims>(k, args.reduction.x, args.reduction.u, false);
    int64_t i = at.u * args.image_reduction_u, w = at.u * args.dense_u;
    bool inside = true;
#pragma unroll
    for (uint32_t d = 3 - Dims; d < 3; ++d) {
      const int32_t x = from[d] + (int32_t)at.x[d] * args.reduction_step[d];
      inside &= (uint32_t)x < (uint32_t)args.size[d];
      i += x * args.image_x[d], w += at.x[d] * args.dense_x[d];
    }
    if (inside) sum = multiply_add(convert<V>(image[i]), convert<V>(dense[w]), sum);
  }
  sum = block_reduce<256>(sum, Sum{}, (V*)scratch);
  int64_t to;
  if (threadIdx.x == 0 && place<Dims, false>(args, share, side, to))
    at<T>(args.out)[z.group * args.out_group + to + row * args.out_row] = convert<T>(sum);
}

template <typename T>
USBGPU_INLINE void conv_finish(const ConvFinishArgs& args) {
  using V = conv_value<T>;
  const uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= args.count) return;
  V sum = 0;
  global_ptr<V> part = at<V>(args.partial) + i;
#pragma clang loop unroll_count(4)
  for (uint32_t s = 0; s < args.splits; ++s, part += args.count) sum += *part;
  if (args.bias) sum += convert<V>(at<T>(args.bias)[i / args.channel_stride % args.channels]);
  at<T>(args.out)[i] = convert<T>(sum);
}

}  // namespace usbgpu_family::conv

#define USBGPU_CONV_TILE(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::conv::ConvArgs args) { usbgpu_family::conv::conv_tile<__VA_ARGS__>(args); }
#define USBGPU_CONV_MATRIX_UNIT(symbol, threads, ...) \
  USBGPU_FAMILY_KERNEL(threads) void symbol(usbgpu_family::conv::ConvArgs args) { usbgpu_family::conv::conv_matrix_unit<threads, __VA_ARGS__>(args); }
#define USBGPU_CONV_DIRECT(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::conv::ConvArgs args) { usbgpu_family::conv::conv_direct<__VA_ARGS__>(args); }
#define USBGPU_CONV_DIRECT_WEIGHT(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::conv::ConvArgs args) { usbgpu_family::conv::conv_direct_weight<__VA_ARGS__>(args); }
#define USBGPU_CONV_FINISH(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::conv::ConvFinishArgs args) { usbgpu_family::conv::conv_finish<T>(args); }
