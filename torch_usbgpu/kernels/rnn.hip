// The cells of nn.LSTM and nn.GRU after their matrix products, and their gradients: a thread per hidden unit.
// Definitions: the formulas of torch.nn.LSTM and torch.nn.GRU. The workspace keeps what backward needs.
#include "family.h"
#include "rnn_args.h"

namespace usbgpu_family {

template <typename Acc> USBGPU_INLINE Acc sigmoid(Acc x) { return (Acc)1 / ((Acc)1 + ::exp(-x)); }

// Of what one thread computes: a sample and a hidden unit.
struct CellPlace {
  uint32_t sample, unit;
  bool inside;
  USBGPU_INLINE explicit CellPlace(const CellArgs& args) {
    const uint32_t i = blockIdx.x * 256 + threadIdx.x;
    inside = i < args.count;
    sample = i / args.hidden, unit = i - sample * args.hidden;
  }
};

template <typename T>
USBGPU_INLINE accumulate_t<T> gate(uint64_t gates, uint64_t bias, uint32_t hidden, const CellPlace& place, uint32_t k, uint32_t all) {
  using Acc = accumulate_t<T>;
  Acc value = convert<Acc>(at<T>(gates)[((uint64_t)place.sample * all + k) * hidden + place.unit]);
  if (bias) value += convert<Acc>(at<T>(bias)[k * hidden + place.unit]);
  return value;
}

template <typename T>
USBGPU_INLINE void lstm_cell(const CellArgs& args) {
  using Acc = accumulate_t<T>;
  const CellPlace place(args);
  if (!place.inside) return;
  Acc gates[4];
#pragma unroll
  for (uint32_t k = 0; k < 4; ++k)
    gates[k] = gate<T>(args.input_gates, args.input_bias, args.hidden, place, k, 4) +
               gate<T>(args.hidden_gates, args.hidden_bias, args.hidden, place, k, 4);
  const Acc in = sigmoid(gates[0]), forget = sigmoid(gates[1]), candidate = ::tanh(gates[2]), out = sigmoid(gates[3]);
  const uint64_t i = (uint64_t)place.sample * args.hidden + place.unit;
  const Acc cell = forget * convert<Acc>(at<T>(args.state)[i]) + in * candidate;
  at<T>(args.new_cell)[i] = convert<T>(cell);
  at<T>(args.output)[i] = convert<T>(out * ::tanh(cell));
  const global_ptr<T> workspace = at<T>(args.workspace) + (uint64_t)place.sample * 4 * args.hidden + place.unit;
  workspace[0] = convert<T>(in), workspace[args.hidden] = convert<T>(forget);
  workspace[2 * (uint64_t)args.hidden] = convert<T>(candidate), workspace[3 * (uint64_t)args.hidden] = convert<T>(out);
}

template <typename T>
USBGPU_INLINE void lstm_cell_backward(const CellArgs& args) {
  using Acc = accumulate_t<T>;
  const CellPlace place(args);
  if (!place.inside) return;
  const uint64_t i = (uint64_t)place.sample * args.hidden + place.unit, base = (uint64_t)place.sample * 4 * args.hidden + place.unit;
  const global_ptr<T> workspace = at<T>(args.workspace) + base, result = at<T>(args.grad_input_gates) + base;
  const uint64_t step = args.hidden;
  const Acc in = convert<Acc>(workspace[0]), forget = convert<Acc>(workspace[step]);
  const Acc candidate = convert<Acc>(workspace[2 * step]), out = convert<Acc>(workspace[3 * step]);
  const Acc squashed = ::tanh(convert<Acc>(at<T>(args.new_cell)[i]));
  const Acc grad_hidden = args.grad_hidden ? convert<Acc>(at<T>(args.grad_hidden)[i]) : (Acc)0;
  Acc grad_cell = grad_hidden * out * ((Acc)1 - squashed * squashed);
  if (args.grad_cell) grad_cell += convert<Acc>(at<T>(args.grad_cell)[i]);
  result[0] = convert<T>(grad_cell * candidate * in * ((Acc)1 - in));
  result[step] = convert<T>(grad_cell * convert<Acc>(at<T>(args.state)[i]) * forget * ((Acc)1 - forget));
  result[2 * step] = convert<T>(grad_cell * in * ((Acc)1 - candidate * candidate));
  result[3 * step] = convert<T>(grad_hidden * squashed * out * ((Acc)1 - out));
  at<T>(args.grad_state)[i] = convert<T>(grad_cell * forget);
}

template <typename T>
USBGPU_INLINE void gru_cell(const CellArgs& args) {
  using Acc = accumulate_t<T>;
  const CellPlace place(args);
  if (!place.inside) return;
  Acc in[3], hidden[3];
#pragma unroll
  for (uint32_t k = 0; k < 3; ++k) {
    in[k] = gate<T>(args.input_gates, args.input_bias, args.hidden, place, k, 3);
    hidden[k] = gate<T>(args.hidden_gates, args.hidden_bias, args.hidden, place, k, 3);
  }
  const Acc reset = sigmoid(in[0] + hidden[0]), update = sigmoid(in[1] + hidden[1]);
  const Acc candidate = ::tanh(in[2] + reset * hidden[2]);
  const uint64_t i = (uint64_t)place.sample * args.hidden + place.unit, step = args.hidden;
  const Acc state = convert<Acc>(at<T>(args.state)[i]);
  at<T>(args.output)[i] = convert<T>(candidate + update * (state - candidate));
  const global_ptr<T> workspace = at<T>(args.workspace) + (uint64_t)place.sample * 5 * step + place.unit;
  workspace[0] = convert<T>(reset), workspace[step] = convert<T>(update), workspace[2 * step] = convert<T>(candidate);
  workspace[3 * step] = convert<T>(state), workspace[4 * step] = convert<T>(hidden[2]);
}

template <typename T>
USBGPU_INLINE void gru_cell_backward(const CellArgs& args) {
  using Acc = accumulate_t<T>;
  const CellPlace place(args);
  if (!place.inside) return;
  const uint64_t i = (uint64_t)place.sample * args.hidden + place.unit, step = args.hidden;
  const global_ptr<T> workspace = at<T>(args.workspace) + (uint64_t)place.sample * 5 * step + place.unit;
  const Acc reset = convert<Acc>(workspace[0]), update = convert<Acc>(workspace[step]), candidate = convert<Acc>(workspace[2 * step]);
  const Acc state = convert<Acc>(workspace[3 * step]), hidden = convert<Acc>(workspace[4 * step]);
  const Acc grad = convert<Acc>(at<T>(args.grad_hidden)[i]);
  const Acc grad_update = grad * (state - candidate) * update * ((Acc)1 - update);
  const Acc grad_candidate = grad * ((Acc)1 - update) * ((Acc)1 - candidate * candidate);
  const Acc grad_reset = grad_candidate * hidden * reset * ((Acc)1 - reset);
  const uint64_t base = (uint64_t)place.sample * 3 * step + place.unit;
  const global_ptr<T> to_input = at<T>(args.grad_input_gates) + base, to_hidden = at<T>(args.grad_hidden_gates) + base;
  to_input[0] = to_hidden[0] = convert<T>(grad_reset);
  to_input[step] = to_hidden[step] = convert<T>(grad_update);
  to_input[2 * step] = convert<T>(grad_candidate);
  to_hidden[2 * step] = convert<T>(grad_candidate * reset);
  at<T>(args.grad_state)[i] = convert<T>(grad * update);
}

}  // namespace usbgpu_family

#define USBGPU_CELL(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::CellArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
