// Arguments of rnn.hip. Everything is contiguous: gates [batch, 4 * hidden] (LSTM) or [batch, 3 * hidden] (GRU),
// states [batch, hidden].
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct CellArgs {
  uint64_t input_gates, hidden_gates, input_bias, hidden_bias;   // biases: 0 = none
  uint64_t state, new_cell, workspace;                           // cell of LSTM (new_cell: cy), hidden state of GRU
  uint64_t output;                                               // the new hidden state
  uint64_t grad_hidden, grad_cell;                               // backward: 0 = none
  uint64_t grad_input_gates, grad_hidden_gates, grad_state;
  uint32_t count, hidden;                                        // count: batch * hidden
};

}  // namespace usbgpu_family
