// Cells of nn.LSTM and nn.GRU. For every device but the CPU, ATen sends the gates that its matmuls made to these
// operators. Kernels: torch_usbgpu/kernels/rnn.hip.
#include <ATen/core/Tensor.h>
#include <ATen/ops/_thnn_fused_gru_cell_backward_ops.h>
#include <ATen/ops/_thnn_fused_gru_cell_ops.h>
#include <ATen/ops/_thnn_fused_lstm_cell_backward_impl_ops.h>
#include <ATen/ops/_thnn_fused_lstm_cell_ops.h>
#include <ATen/ops/sum.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/rnn_args.h"
#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using Optional = std::optional<Tensor>;
using usbgpu_family::CellArgs;

constexpr const char* kCells[] = {"lstm_cell", "lstm_cell_backward", "gru_cell", "gru_cell_backward"};
enum Cell : uint8_t { lstm, lstm_back, gru, gru_back };

void launch_cell(Cell cell, ScalarType type, const CellArgs& args) {
  static KernelCache cache;
  if (args.count == 0) return;
  Kernel* kernel = cache.get(key(cell, type), [&]() -> KernelSource {
    const std::string symbol = std::string(kCells[cell]) + "_" + dtype_name(type);
    return {"rnn", symbol, "USBGPU_CELL(" + symbol + ", " + kCells[cell] + ", " + dtype_c_type(type) + ")"};
  });
  launch(kernel, {ceil_div(args.count, 256), 1, 1}, {256, 1, 1}, args);
}

Tensor dense(const Optional& tensor) { return tensor && tensor->defined() ? tensor->contiguous() : Tensor(); }
uint64_t address_or_none(const Tensor& tensor) { return tensor.defined() ? address(tensor) : 0; }

// What a kernel may take for granted of each operand.
void check(const char* op, const Tensor& like, const char* name, const Tensor& tensor, at::IntArrayRef sizes) {
  if (!tensor.defined()) return;
  check_same_device(op, {{"input_gates", &like}, {name, &tensor}});
  TORCH_CHECK(at::isFloatingType(tensor.scalar_type()) && tensor.scalar_type() == like.scalar_type(), op, ": expected ", name, " of dtype ",
              like.scalar_type(), ", but got ", tensor.scalar_type());
  TORCH_CHECK(tensor.numel() == c10::multiply_integers(sizes) && (sizes.size() < 2 || tensor.sizes() == sizes), op, ": expected ", name,
              " of size ", sizes, ", but got ", tensor.sizes());
}

// Operands of a forward cell, dense, with `gates` gates.
struct Operands {
  Tensor input_gates, hidden_gates, state, input_bias, hidden_bias;
  CellArgs args{};
  Operands(const char* op, int64_t gates, const Tensor& input, const Tensor& hidden, const Tensor& old, const Optional& b1, const Optional& b2)
      : input_gates(input.contiguous()), hidden_gates(hidden.contiguous()), state(old.contiguous()), input_bias(dense(b1)),
        hidden_bias(dense(b2)) {
    TORCH_CHECK(old.dim() == 2, op, ": expected a state of 2 dimensions, but got ", old.sizes());
    const int64_t batch = old.size(0), units = old.size(1);
    check(op, input_gates, "input_gates", input_gates, {batch, gates * units});
    check(op, input_gates, "hidden_gates", hidden_gates, {batch, gates * units});
    check(op, input_gates, "state", state, {batch, units});
    check(op, input_gates, "input_bias", input_bias, {gates * units});
    check(op, input_gates, "hidden_bias", hidden_bias, {gates * units});
    TORCH_CHECK(input_bias.defined() == hidden_bias.defined(), op, ": expected both biases or none");
    TORCH_CHECK(old.numel() < INT32_MAX / 8, op, ": ", old.sizes(), " is more than usbgpu's kernels can index");
    args.input_gates = address(input_gates), args.hidden_gates = address(hidden_gates), args.state = address(state);
    args.input_bias = address_or_none(input_bias), args.hidden_bias = address_or_none(hidden_bias);
    args.count = static_cast<uint32_t>(old.numel()), args.hidden = static_cast<uint32_t>(units);
  }
};

std::tuple<Tensor, Tensor, Tensor> lstm_cell(const Tensor& input_gates, const Tensor& hidden_gates, const Tensor& cx,
                                             const Optional& input_bias, const Optional& hidden_bias) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_thnn_fused_lstm_cell, input_gates, hidden_gates, cx, input_bias, hidden_bias);
  Operands o("_thnn_fused_lstm_cell", 4, input_gates, hidden_gates, cx, input_bias, hidden_bias);
  Tensor hy = dense_like(cx), cy = dense_like(cx), workspace = dense_like(input_gates);
  o.args.output = address(hy), o.args.new_cell = address(cy), o.args.workspace = address(workspace);
  launch_cell(lstm, cx.scalar_type(), o.args);
  return {hy, cy, workspace};
}

std::tuple<Tensor, Tensor, Tensor> lstm_cell_backward(const Optional& grad_hy_, const Optional& grad_cy_, const Tensor& cx_,
                                                      const Tensor& cy_, const Tensor& workspace_, bool has_bias) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_thnn_fused_lstm_cell_backward_impl, grad_hy_, grad_cy_, cx_, cy_, workspace_, has_bias);
  const Tensor grad_hy = dense(grad_hy_), grad_cy = dense(grad_cy_);
  if (!grad_hy.defined() && !grad_cy.defined()) return {};
  constexpr const char* op = "_thnn_fused_lstm_cell_backward";
  const Tensor cx = cx_.contiguous(), cy = cy_.contiguous(), workspace = workspace_.contiguous();
  TORCH_CHECK(cx.dim() == 2, op, ": expected a state of 2 dimensions, but got ", cx.sizes());
  check(op, cx, "cy", cy, cx.sizes()), check(op, cx, "workspace", workspace, {cx.size(0), 4 * cx.size(1)});
  check(op, cx, "grad_hy", grad_hy, cx.sizes()), check(op, cx, "grad_cy", grad_cy, cx.sizes());
  Tensor grad_gates = dense_like(workspace), grad_cx = dense_like(cx);
  CellArgs args{};
  args.state = address(cx), args.new_cell = address(cy), args.workspace = address(workspace);
  args.grad_hidden = address_or_none(grad_hy), args.grad_cell = address_or_none(grad_cy);
  args.grad_input_gates = address(grad_gates), args.grad_state = address(grad_cx);
  args.count = static_cast<uint32_t>(cx.numel()), args.hidden = static_cast<uint32_t>(cx.size(1));
  launch_cell(lstm_back, cx.scalar_type(), args);
  return {grad_gates, grad_cx, has_bias ? grad_gates.sum(0) : Tensor()};
}

std::tuple<Tensor, Tensor> gru_cell(const Tensor& input_gates, const Tensor& hidden_gates, const Tensor& hx,
                                    const Optional& input_bias, const Optional& hidden_bias) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_thnn_fused_gru_cell, input_gates, hidden_gates, hx, input_bias, hidden_bias);
  Operands o("_thnn_fused_gru_cell", 3, input_gates, hidden_gates, hx, input_bias, hidden_bias);
  Tensor hy = dense_like(hx), workspace = empty({hx.size(0), 5 * hx.size(1)}, hx.scalar_type());
  o.args.output = address(hy), o.args.workspace = address(workspace);
  launch_cell(gru, hx.scalar_type(), o.args);
  return {hy, workspace};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> gru_cell_backward(const Tensor& grad_hy_, const Tensor& workspace_, bool has_bias) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_thnn_fused_gru_cell_backward, grad_hy_, workspace_, has_bias);
  constexpr const char* op = "_thnn_fused_gru_cell_backward";
  const Tensor grad = grad_hy_.contiguous(), workspace = workspace_.contiguous();
  TORCH_CHECK(grad.dim() == 2, op, ": expected a gradient of 2 dimensions, but got ", grad.sizes());
  const int64_t batch = grad.size(0), units = grad.size(1);
  check(op, grad, "workspace", workspace, {batch, 5 * units});
  Tensor grad_input = empty({batch, 3 * units}, grad.scalar_type()), grad_hidden = dense_like(grad_input), grad_hx = dense_like(grad);
  CellArgs args{};
  args.workspace = address(workspace), args.grad_hidden = address(grad), args.grad_input_gates = address(grad_input);
  args.grad_hidden_gates = address(grad_hidden), args.grad_state = address(grad_hx);
  args.count = static_cast<uint32_t>(grad.numel()), args.hidden = static_cast<uint32_t>(units);
  launch_cell(gru_back, grad.scalar_type(), args);
  return {grad_input, grad_hidden, grad_hx, has_bias ? grad_input.sum(0) : Tensor(), has_bias ? grad_hidden.sum(0) : Tensor()};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_thnn_fused_lstm_cell", &lstm_cell);
  m.impl("_thnn_fused_lstm_cell_backward_impl", &lstm_cell_backward);
  m.impl("_thnn_fused_gru_cell", &gru_cell);
  m.impl("_thnn_fused_gru_cell_backward", &gru_cell_backward);
}

}  // namespace
}  // namespace usbgpu::aten
