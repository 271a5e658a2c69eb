// Arguments of convolution.hip.
//
// Forward, gradient of the input (which is also the transposed convolution) and gradient of the weight
// are one sum of products over a table that is never written out:
//
//   out[side, row] = sum over reduction of image[side, reduction] * dense[row, reduction]
//
//              side                      row                 reduction           image    dense    out
//   forward    output positions          output channels     channels x taps     input    weight   output
//   backward   input positions           input channels      channels x taps     grad     weight   grad of input
//   weight     input channels x taps     output channels     output positions    input    grad     grad of weight
//
// Both `side` and `reduction` split into u (a batch or a channel: never out of bounds) and up to three
// x (positions or taps). The image's coordinate in a spatial dimension is
//   origin + side x * side_step + reduction x * reduction_step,   0 outside the image.
//
// A gradient of the input with a stride s is cut into s phases per dimension: the positions of one phase
// meet the same taps, so that within a phase it is a convolution of stride 1 and no product is wasted.
#pragma once
#include "portable.h"
#include "pointwise_args.h"

namespace usbgpu_family::conv {

using usbgpu::kernels::Divisor;

// index -> u, x: u is either the slowest (then its size is not needed) or the fastest digit
struct Digits {
  Divisor x[3];
  Divisor u;
};

struct Phase {                       // of one dimension
  Divisor stride, gcd, step;         // gcd(stride, dilation); stride / gcd
  Divisor taps_less;                 // taps / step, rounded down: what the later phases have
  uint32_t inverse;                  // of dilation / gcd, modulo step
  uint32_t taps, padding, dilation;
  uint32_t lift;                     // keeps the dividend of the coordinate positive
};

struct ConvArgs {
  uint64_t image, dense, out, bias;                 // bias == 0: none
  int64_t image_group, dense_group, out_group;      // strides of groups; all strides in elements
  int64_t image_side_u, image_reduction_u, image_x[3];
  int64_t dense_row, dense_u, dense_x[3];
  int64_t out_side_u, out_x[3], out_row;
  int64_t partial;                   // split reduction: elements of the accumulation type per part, else 0
  Digits side, reduction;
  // A workgroup's place, fastest first: the grid has one dimension, as gfx12 counts no further than
  // 65535 in the others.
  Divisor columns_of_tiles, rows_of_tiles, parts, phases;
  Divisor row_count;                 // = rows
  uint32_t side_u_fastest, groups;
  uint32_t sides, rows, reductions, per_split;
  int32_t size[3], origin[3], side_step[3], reduction_step[3];
  uint32_t out_size[3];
  Phase phase[3];
};

// out[i] = bias[channel of i] + sum of partial[s][i]
struct ConvFinishArgs {
  uint64_t partial, out, bias;
  uint64_t count;
  uint64_t channel_stride;           // elements of `out` between channels
  uint32_t splits, channels;
};

}  // namespace usbgpu_family::conv
