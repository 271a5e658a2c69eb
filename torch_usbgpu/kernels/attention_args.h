// Arguments of attention.hip. Strides in elements: of the batch, the head, the position, and along the head.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct Heads {
  uint64_t address;          // 0: absent
  int64_t batch, head;
  int64_t row, column;       // a tile's byte offsets fit 32 bits
};

struct AttentionArgs {
  Heads query, key, value, output;
  Heads bias;                // added to the scaled scores; row: query, column: key
  uint64_t logsumexp;        // [batch, head, query], dense
  // gradients
  Heads grad_output, grad_query, grad_key, grad_value, grad_bias;
  uint64_t delta;            // [batch, head, query], dense: sum of grad_output * output
  uint64_t seed, block;      // dropout: element i of the dense [batch, head, query, key] is word i % 4 of
  double keep;               // Philox block (block, i / 4); kept where its unit value < keep
  double scale;
  uint32_t heads, group;     // `group` query heads share a key head
  uint32_t queries, keys, width, value_width;
  uint32_t causal, batches;
};

}  // namespace usbgpu_family
