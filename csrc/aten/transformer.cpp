// What nn.MultiheadAttention and nn.TransformerEncoderLayer call when nothing is trained: one operator for the
// block, made here of products, fused attention and normalisation, all of them kernels of ours.
#include <ATen/core/Tensor.h>
#include <ATen/ops/_native_multi_head_attention_ops.h>
#include <ATen/ops/_transformer_encoder_layer_fwd_ops.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <torch/library.h>

#include <limits>

#include "aten/backend/fallback.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;
using MaybeTensor = std::optional<Tensor>;

enum class MaskKind : int64_t { scores = 0, padding = 1, full = 2 };  // torch's numbers

// True where attention is forbidden, in a shape that broadcasts to [batch, head, query, key].
Tensor forbidden(const MaybeTensor& mask, std::optional<int64_t> kind, const Tensor& query) {
  if (!mask.has_value() || !mask->defined()) return {};
  TORCH_CHECK(kind.has_value(), "Mask Type should be defined");
  const Tensor given = mask->to(at::kBool);  // -inf of a float mask is true
  switch (static_cast<MaskKind>(*kind)) {
    case MaskKind::scores: return given;
    case MaskKind::padding:
      TORCH_CHECK(given.dim() == 2 && given.size(0) == query.size(0), "Mask Type 1 should have a shape of [", query.size(0),
                  ", key length], but has ", given.sizes());
      return given.unsqueeze(1).unsqueeze(1);
    case MaskKind::full: return given;
  }
  TORCH_CHECK(false, "Mask Type should be 0 (src_mask), 1 (src_key_padding_mask), or 2 (default_mask)");
}

std::tuple<Tensor, Tensor> multi_head_attention(const Tensor& query, const Tensor& key, const Tensor& value, int64_t embed_dim,
                                                int64_t heads, const Tensor& qkv_weight, const Tensor& qkv_bias,
                                                const Tensor& proj_weight, const Tensor& proj_bias, const MaybeTensor& mask,
                                                bool need_weights, bool average_weights, std::optional<int64_t> mask_kind) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_native_multi_head_attention, query, key, value, embed_dim, heads, qkv_weight, qkv_bias,
                            proj_weight, proj_bias, mask, need_weights, average_weights, mask_kind);
  check_same_device("_native_multi_head_attention", {{"query", &query}, {"key", &key}, {"value", &value},
                                                     {"qkv_weight", &qkv_weight}, {"proj_weight", &proj_weight}});
  TORCH_CHECK(query.dim() == 3, "expected 3-D `query`, got ", query.dim(), "-D tensor");
  TORCH_CHECK(query.size(2) == embed_dim, "passed-in embed_dim ", embed_dim, " didn't match last dim of query ", query.size(2));
  TORCH_CHECK(key.dim() == 3 && value.dim() == 3, "expected 3-D `key` and `value`, got ", key.dim(), "-D and ", value.dim(), "-D");
  TORCH_CHECK(qkv_weight.dim() == 2 && qkv_weight.size(0) == 3 * embed_dim,
              "expected `qkv_weight` first dim to be 3x embed_dim, got ", qkv_weight.sizes());
  TORCH_CHECK(embed_dim % heads == 0, "embed_dim ", embed_dim, " is not divisible by num_head ", heads);
  auto split = [&](const Tensor& projected) {  // a view: [batch, head, position, width]
    return projected.unflatten(-1, {heads, embed_dim / heads}).transpose(1, 2);
  };
  auto part = [&](const Tensor& of, int64_t i) { return of.narrow(0, i * embed_dim, embed_dim); };
  Tensor q, k, v;
  if (query.is_same(key) && key.is_same(value)) {
    const Tensor all = at::linear(query, qkv_weight, qkv_bias);
    q = split(all.narrow(-1, 0, embed_dim)), k = split(all.narrow(-1, embed_dim, embed_dim)),
    v = split(all.narrow(-1, 2 * embed_dim, embed_dim));
  } else {
    q = split(at::linear(query, part(qkv_weight, 0), part(qkv_bias, 0)));
    k = split(at::linear(key, part(qkv_weight, 1), part(qkv_bias, 1)));
    v = split(at::linear(value, part(qkv_weight, 2), part(qkv_bias, 2)));
  }
  const Tensor masked = forbidden(mask, mask_kind, query);
  Tensor mixed, weights;
  if (need_weights) {
    Tensor scores = at::matmul(q.mul(1.0 / std::sqrt(static_cast<double>(embed_dim / heads))), k.transpose(-2, -1));
    if (masked.defined()) scores = scores.masked_fill(masked, -std::numeric_limits<double>::infinity());
    weights = at::softmax(scores, -1);
    mixed = at::matmul(weights, v);
    if (average_weights) weights = weights.mean(1);
  } else {
    mixed = at::scaled_dot_product_attention(q, k, v, masked.defined() ? MaybeTensor(masked.logical_not()) : std::nullopt);
  }
  return {at::linear(mixed.transpose(1, 2).flatten(2), proj_weight, proj_bias), weights};
}

Tensor encoder_layer(const Tensor& src, int64_t embed_dim, int64_t heads, const Tensor& qkv_weight, const Tensor& qkv_bias,
                     const Tensor& proj_weight, const Tensor& proj_bias, bool use_gelu, bool norm_first, double eps,
                     const Tensor& norm_weight_1, const Tensor& norm_bias_1, const Tensor& norm_weight_2,
                     const Tensor& norm_bias_2, const Tensor& ffn_weight_1, const Tensor& ffn_bias_1,
                     const Tensor& ffn_weight_2, const Tensor& ffn_bias_2, const MaybeTensor& mask,
                     std::optional<int64_t> mask_kind) {
  auto norm_1 = [&](const Tensor& x) { return at::layer_norm(x, {embed_dim}, norm_weight_1, norm_bias_1, eps); };
  auto norm_2 = [&](const Tensor& x) { return at::layer_norm(x, {embed_dim}, norm_weight_2, norm_bias_2, eps); };
  auto attend = [&](const Tensor& x) {
    return std::get<0>(multi_head_attention(x, x, x, embed_dim, heads, qkv_weight, qkv_bias, proj_weight, proj_bias, mask, false,
                                            true, mask_kind));
  };
  auto feed_forward = [&](const Tensor& x) {
    const Tensor hidden = at::linear(x, ffn_weight_1, ffn_bias_1);
    return at::linear(use_gelu ? at::gelu(hidden) : at::relu(hidden), ffn_weight_2, ffn_bias_2);
  };
  if (norm_first) {
    const Tensor x = src.add(attend(norm_1(src)));
    return x.add(feed_forward(norm_2(x)));
  }
  const Tensor x = norm_1(src.add(attend(src)));
  return norm_2(x.add(feed_forward(x)));
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_native_multi_head_attention", &multi_head_attention);
  m.impl("_transformer_encoder_layer_fwd", &encoder_layer);
}

}  // namespace
}  // namespace usbgpu::aten
