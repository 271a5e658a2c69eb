// Scaled dot product attention, fused: torch asks `_fused_sdp_choice` and then calls the overrideable
// operators. Kernels: torch_usbgpu/kernels/attention.hip.
//
// One launch forward, three backward. What the kernels do not do (other ranks, widths above 256, mixed
// dtypes) takes torch's own composition of matmul and softmax, on the GPU too.
#include <ATen/Context.h>
#include <ATen/ExpandUtils.h>
#include <ATen/SDPBackend.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/transformers/attention.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/attention_args.h"
#include "aten/backend/backend.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using usbgpu_family::AttentionArgs;
using usbgpu_family::Heads;
using MaybeTensor = std::optional<Tensor>;

constexpr int64_t kWidest = 256;
constexpr int64_t kLongestTile = 64;

// ---- which road

bool fits(const Tensor& query, const Tensor& key, const Tensor& value, const MaybeTensor& mask, bool grouped) {
  for (const Tensor* tensor : {&query, &key, &value}) {
    if (tensor->is_nested() || tensor->dim() != 4 || tensor->numel() == 0 || tensor->size(3) > kWidest) return false;
    if (tensor->scalar_type() != query.scalar_type() || tensor->size(0) != query.size(0)) return false;
  }
  if (!at::isFloatingType(query.scalar_type()) || !dtype_supported(query.scalar_type())) return false;
  if (key.size(1) != value.size(1) || key.size(2) != value.size(2) || query.size(3) != key.size(3)) return false;
  if (grouped ? query.size(1) % key.size(1) != 0 : query.size(1) != key.size(1)) return false;
  constexpr int64_t grid_limit = 65535;
  if (query.size(0) > grid_limit || query.size(1) > grid_limit || std::max(query.size(2), key.size(2)) >= int64_t{1} << 31) return false;
  if (mask.has_value() && mask->defined()) {
    if (mask->is_nested() || (mask->scalar_type() != at::kBool && mask->scalar_type() != query.scalar_type())) return false;
    if (!at::is_expandable_to(mask->sizes(), {query.size(0), query.size(1), query.size(2), key.size(2)})) return false;
  }
  return true;
}

int64_t fused_choice(const Tensor& query, const Tensor& key, const Tensor& value, const MaybeTensor& mask, double,
                     bool causal, std::optional<double>, bool grouped) {
  const at::Context& context = at::globalContext();
  const bool wanted = context.userEnabledOverrideableSDP() || context.userEnabledFlashSDP() || context.userEnabledMemEfficientSDP();
  if (wanted && fits(query, key, value, mask, grouped)) return static_cast<int64_t>(at::SDPBackend::overrideable);
  if (context.userEnabledMathSDP()) return static_cast<int64_t>(at::SDPBackend::math);
  return static_cast<int64_t>(at::SDPBackend::error);
}

// ---- operands

// The kernels reach a tile with 32-bit offsets.
Tensor reachable(const Tensor& tensor) {
  const int64_t span = (kLongestTile - 1) * tensor.stride(2) + (tensor.size(3) - 1) * tensor.stride(3);
  return span * tensor.element_size() < int64_t{1} << 32 ? tensor : tensor.contiguous();
}

Heads heads_of(const Tensor& tensor) {
  return {address(tensor), tensor.stride(0), tensor.stride(1), tensor.stride(2), tensor.stride(3)};
}

// [batch, head, position, width] with the heads of a position together, as the projections around it want
// them: transpose(1, 2).flatten(2) is then a view.
Tensor heads_together(const Tensor& like, int64_t width) {
  return empty({like.size(0), like.size(2), like.size(1), width}, like.scalar_type()).transpose(1, 2);
}

void check(const char* op, const Tensor& query, const Tensor& key, const Tensor& value, const MaybeTensor& bias, double dropout) {
  check_same_device(op, {{"query", &query}, {"key", &key}, {"value", &value}});
  if (bias.has_value() && bias->defined()) check_same_device(op, {{"query", &query}, {"attn_bias", &*bias}});
  TORCH_CHECK(fits(query, key, value, bias, true), op, ": no fused kernel for query ", query.scalar_type(), " ",
              query.sizes(), ", key ", key.scalar_type(), " ", key.sizes(), ", value ", value.scalar_type(), " ", value.sizes());
  TORCH_CHECK(dropout >= 0 && dropout <= 1, op, ": dropout has to be between 0 and 1, but got ", dropout);
}

AttentionArgs arguments(const Tensor& query, const Tensor& key, const Tensor& value, const MaybeTensor& bias, double dropout,
                        bool causal, std::optional<double> scale) {
  AttentionArgs args{};
  args.query = heads_of(query), args.key = heads_of(key), args.value = heads_of(value);
  if (bias.has_value() && bias->defined())
    args.bias = heads_of(bias->expand({query.size(0), query.size(1), query.size(2), key.size(2)}));
  args.keep = 1.0 - dropout;
  args.scale = scale.value_or(1.0 / std::sqrt(static_cast<double>(query.size(3))));
  args.batches = query.size(0), args.heads = query.size(1), args.group = query.size(1) / key.size(1);
  args.queries = query.size(2), args.keys = key.size(2), args.width = query.size(3), args.value_width = value.size(3);
  args.causal = causal;
  return args;
}

enum class Form : uint8_t { forward, delta, grad_q, grad_kv };
constexpr const char* kForms[] = {"attention", "attention_delta", "attention_grad_q", "attention_grad_kv"};

// rows: what a workgroup's tile is cut from; width: of the sums it keeps in registers.
void launch_tiles(Form form, ScalarType type, uint32_t rows, uint32_t width, uint32_t heads, bool dropout, const AttentionArgs& args) {
  static KernelCache cache;
  const uint32_t sums = width <= 32 ? 32 : width <= 64 ? 64 : width <= 128 ? 128 : 256;
  uint32_t tile = rows <= 16 ? 16 : rows <= 32 || type == at::kDouble || sums == 256 ? 32 : 64;
  if (type == at::kDouble && sums == 256) tile = 16;
  if (form == Form::delta) tile = 8;
  Kernel* kernel = cache.get(key(form, type, tile, sums / 32, dropout), [&]() -> KernelSource {
    const std::string name = kForms[static_cast<size_t>(form)], c_type = dtype_c_type(type);
    std::string symbol = name + "_" + dtype_name(type);
    if (form == Form::delta) return {"attention", symbol, "USBGPU_ATTENTION(" + symbol + ", " + name + ", " + c_type + ")"};
    symbol += "_m" + std::to_string(tile) + "_d" + std::to_string(sums) + (dropout ? "_dropout" : "");
    return {"attention", symbol,
            "USBGPU_ATTENTION(" + symbol + ", " + name + ", " + c_type + ", " + std::to_string(tile) + ", 32, " +
                std::to_string(sums) + (dropout ? ", true)" : ", false)")};
  });
  launch(kernel, {ceil_div(rows, tile), heads, args.batches}, {256, 1, 1}, args);
}

// ---- operators

std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor, Tensor, Tensor> attention(
    const Tensor& query_, const Tensor& key_, const Tensor& value_, const MaybeTensor& bias, double dropout, bool causal,
    bool return_debug_mask, std::optional<double> scale) {
  const char* op = "_scaled_dot_product_fused_attention_overrideable";
  check(op, query_, key_, value_, bias, dropout);
  TORCH_CHECK(!return_debug_mask, op, ": return_debug_mask is not supported on usbgpu");
  const Tensor query = reachable(query_), key = reachable(key_), value = reachable(value_);
  Tensor output = heads_together(query, value.size(3));
  Tensor logsumexp = empty({query.size(0), query.size(1), query.size(2)}, compute_dtype(query.scalar_type()));
  AttentionArgs args = arguments(query, key, value, bias, dropout, causal, scale);
  args.output = heads_of(output), args.logsumexp = address(logsumexp);
  // On the CPU: the backward pass needs them as numbers, and nothing has to wait for the GPU.
  Tensor seed = at::detail::empty_cpu({}, at::kLong), offset = at::detail::empty_cpu({}, at::kLong);
  PhiloxSeed drawn{0, 0};
  if (dropout > 0) drawn = draw(std::nullopt, 4);
  *seed.mutable_data_ptr<int64_t>() = static_cast<int64_t>(drawn.seed);
  *offset.mutable_data_ptr<int64_t>() = static_cast<int64_t>(drawn.offset);
  args.seed = drawn.seed, args.block = drawn.offset / 4;
  launch_tiles(Form::forward, query.scalar_type(), args.queries, args.value_width, args.heads, dropout > 0, args);
  return {output, logsumexp, Tensor(), Tensor(), query.size(2), key.size(2), seed, offset, Tensor()};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention_backward(
    const Tensor& grad_out, const Tensor& query_, const Tensor& key_, const Tensor& value_, const Tensor& bias,
    std::array<bool, 4> wanted, const Tensor& out, const Tensor& logsumexp_, const Tensor&, const Tensor&, c10::SymInt,
    c10::SymInt, double dropout, bool causal, const Tensor& seed, const Tensor& offset, std::optional<double> scale) {
  const char* op = "_scaled_dot_product_fused_attention_overrideable_backward";
  if (!grad_out.defined()) return {};
  check(op, query_, key_, value_, bias, dropout);
  const ScalarType type = query_.scalar_type();
  TORCH_CHECK(grad_out.sizes() == out.sizes() && grad_out.scalar_type() == type, op, ": expected a gradient like the output, ",
              type, " ", out.sizes(), ", but got ", grad_out.scalar_type(), " ", grad_out.sizes());
  check_same_device(op, {{"grad_out", &grad_out}, {"query", &query_}, {"out", &out}, {"logsumexp", &logsumexp_}});
  const Tensor query = reachable(query_), key = reachable(key_), value = reachable(value_), grad = reachable(grad_out);
  const Tensor logsumexp = logsumexp_.contiguous(), delta = dense_like(logsumexp);
  AttentionArgs args = arguments(query, key, value, bias, dropout, causal, scale);
  args.output = heads_of(out), args.grad_output = heads_of(grad);
  args.logsumexp = address(logsumexp), args.delta = address(delta);
  if (dropout > 0) {
    TORCH_CHECK(seed.is_cpu() && offset.is_cpu(), op, ": expected philox_seed and philox_offset on the CPU");
    args.seed = static_cast<uint64_t>(*seed.const_data_ptr<int64_t>());
    args.block = static_cast<uint64_t>(*offset.const_data_ptr<int64_t>()) / 4;
  }
  const bool wants_bias = wanted[3] && bias.defined(), wants_keys = wanted[1] || wanted[2];
  Tensor grad_query, grad_key, grad_value, grad_bias;
  if (wanted[0] || wants_bias) grad_query = heads_together(query, query.size(3)), args.grad_query = heads_of(grad_query);
  if (wanted[1]) grad_key = heads_together(key, key.size(3)), args.grad_key = heads_of(grad_key);
  if (wanted[2]) grad_value = heads_together(value, value.size(3)), args.grad_value = heads_of(grad_value);
  if (wants_bias) {
    grad_bias = empty({query.size(0), query.size(1), query.size(2), key.size(2)}, type);
    args.grad_bias = heads_of(grad_bias);
  }
  if (!grad_query.defined() && !wants_keys) return {};
  launch_tiles(Form::delta, type, args.queries, args.value_width, args.heads, false, args);
  if (grad_query.defined()) launch_tiles(Form::grad_q, type, args.queries, args.width, args.heads, dropout > 0, args);
  if (wants_keys)
    launch_tiles(Form::grad_kv, type, args.keys, std::max(args.width, args.value_width), args.heads / args.group, dropout > 0, args);
  if (wants_bias) grad_bias = at::sum_to(grad_bias, bias.sizes());
  return {wanted[0] ? grad_query : Tensor(), grad_key, grad_value, grad_bias};
}

int64_t fused_choice_operator(const Tensor& query, const Tensor& key, const Tensor& value, const MaybeTensor& mask, double dropout,
                              bool causal, std::optional<double> scale, bool grouped) {
  return fused_choice(query, key, value, mask, dropout, causal, scale, grouped);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_fused_sdp_choice", &fused_choice_operator);
  m.impl("_scaled_dot_product_fused_attention_overrideable", &attention);
  m.impl("_scaled_dot_product_fused_attention_overrideable_backward", &attention_backward);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(_fused_sdp_choice_stub, &usbgpu::aten::fused_choice)
}  // namespace at::native
