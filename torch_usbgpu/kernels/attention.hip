// Scaled dot product attention, forward and backward, without the matrix of scores in memory.
//
//   attention           online softmax (Milakov and Gimelshein, "Online normalizer calculation for
//                       softmax", 2018) over tiles of keys (Dao et al., "FlashAttention", 2022)
//   attention_delta     sum of grad_output * output, a wave per query
//   attention_grad_q    gradients of a tile of queries: goes over the keys
//   attention_grad_kv   gradients of a tile of keys: goes over the queries of all heads that share them
// Each gradient is summed by one workgroup in a fixed order: no atomics, the same bits every time.
//
// 256 threads are 16 x 16. Thread (x, y) holds rows y, y + 16, ... and columns x, x + 16, ... of a tile of
// scores, so that a row lies in 16 neighbouring lanes. Scores, sums and the softmax are in accumulate_t<T>.
// Products of f16 and bf16 go through the matrix units; weights are rounded to that type for it.
#include "attention_tiles.h"
#include "philox.h"

namespace usbgpu_family {

template <typename Op, typename Acc>
USBGPU_INLINE Acc reduce_columns(Acc value, Op op) {
#pragma unroll
  for (uint32_t mask = 8; mask; mask >>= 1) value = op(value, shuffle_xor(value, mask));
  return value;
}

template <typename Acc> USBGPU_INLINE Acc minus_infinity() { return -(Acc)__builtin_inff(); }
USBGPU_INLINE float attention_exp(float x) { return __builtin_expf(x); }
USBGPU_INLINE double attention_exp(double x) { return usbgpu::math::exp(x); }
USBGPU_INLINE float attention_log(float x) { return __builtin_logf(x); }
USBGPU_INLINE double attention_log(double x) { return usbgpu::math::log(x); }

// What dropout multiplies an element's weight with: 0 or 1 / keep.
template <typename Acc>
USBGPU_INLINE Acc dropped(const AttentionArgs& args, uint32_t batch, uint32_t head, uint32_t query, uint32_t key) {
  const uint64_t i = (((uint64_t)batch * args.heads + head) * args.queries + query) * args.keys + key;
  const PhiloxBlock block = philox(args.seed, args.block, i / 4);
  const uint32_t e = i & 3, low = e & 1 ? block.word[1] : block.word[0], high = e & 1 ? block.word[3] : block.word[2];
  return (float)((e & 2 ? high : low) >> 8) * 0x1p-24f < (float)args.keep ? (Acc)1 / (Acc)args.keep : (Acc)0;
}

// The score of (query, key) out of their dot product; -inf where it is masked or does not exist.
template <typename T, typename Acc>
USBGPU_INLINE Acc score(const AttentionArgs& args, Acc product, uint32_t batch, uint32_t head, uint32_t query, uint32_t key) {
  if (query >= args.queries || key >= args.keys || (args.causal && key > query)) return minus_infinity<Acc>();
  Acc value = product * (Acc)args.scale;
  if (args.bias.address)
    value += convert<Acc>(at<T>(base_of(args.bias, sizeof(T), batch, head, query))[key * args.bias.column]);
  return value;
}

template <typename T, uint32_t M, uint32_t N, uint32_t D, bool Dropout>
USBGPU_INLINE void attention(const AttentionArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ __attribute__((aligned(16))) Acc lds_a[M * kDepthPitch], lds_b[N * kDepthPitch];
  __shared__ __attribute__((aligned(16))) Acc lds_p[M * (N + 1)];
  __shared__ Acc lds_rows[M];
  const uint32_t x = threadIdx.x & 15, y = threadIdx.x >> 4;
  const uint32_t first = blockIdx.x * M, head = blockIdx.y, batch = blockIdx.z, shared = head / args.group;
  const uint64_t query = base_of(args.query, sizeof(T), batch, head, first);
  const uint32_t queries = args.queries - first;

  Sums<T, M, D> sum;
  Acc largest[M / 16], total[M / 16];
#pragma unroll
  for (uint32_t i = 0; i < M / 16; ++i) largest[i] = minus_infinity<Acc>(), total[i] = 0;
  const uint32_t end = args.causal && first + M < args.keys ? first + M : args.keys;
#pragma clang loop unroll(disable)
  for (uint32_t n0 = 0; n0 < end; n0 += N) {
    Acc s[M / 16][N / 16] = {};
    rows_times_rows<T, M, N>(s, lds_a, lds_b, lds_p, args.query, query, queries, args.key,
                             base_of(args.key, sizeof(T), batch, shared, n0), args.keys - n0, args.width);
#pragma unroll
    for (uint32_t i = 0; i < M / 16; ++i) {
      const uint32_t row = first + y + i * 16;
      Acc top = largest[i];
#pragma unroll
      for (uint32_t j = 0; j < N / 16; ++j) {
        s[i][j] = score<T>(args, s[i][j], batch, head, row, n0 + x + j * 16);
        top = Max{}(top, s[i][j]);
      }
      top = reduce_columns(top, Max{});
      // Nothing but masked keys so far: any finite shift makes their weights 0 and keeps inf - inf away.
      const Acc shift = top == minus_infinity<Acc>() ? (Acc)0 : top;
      const Acc shrink = attention_exp(largest[i] - shift);
      largest[i] = top, total[i] *= shrink;
      sum.scale_row(i, shrink, lds_rows);
#pragma unroll
      for (uint32_t j = 0; j < N / 16; ++j) {
        Acc weight = attention_exp(s[i][j] - shift);
        total[i] += weight;
        if constexpr (Dropout) weight *= dropped<Acc>(args, batch, head, row, n0 + x + j * 16);
        put_weight<T, N>(lds_p, y + i * 16, x + j * 16, weight);
      }
    }
    sum.rows_are_scaled(lds_rows);
    tile_times_rows<T, M, N, D>(sum, lds_p, lds_b, args.value, base_of(args.value, sizeof(T), batch, shared, n0), args.keys - n0,
                                args.value_width);
  }
#pragma unroll
  for (uint32_t i = 0; i < M / 16; ++i) {
    const uint32_t row = first + y + i * 16;
    const Acc all = reduce_columns(total[i], Sum{});
    sum.scale_row(i, all == 0 ? (Acc)0 : (Acc)1 / all, lds_rows);  // no key at all: 0, as on the CPU
    // +inf where no key is: every weight that is made from it is 0
    if (x == 0 && row < args.queries)
      at<Acc>(args.logsumexp)[((uint64_t)batch * args.heads + head) * args.queries + row] =
          all == 0 ? -minus_infinity<Acc>() : largest[i] + attention_log(all);
  }
  sum.rows_are_scaled(lds_rows);
  sum.store(args.output, (Acc)1, batch, head, first, args.queries, args.value_width);
}

template <typename T>
USBGPU_INLINE void attention_delta(const AttentionArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t row = blockIdx.x * 8 + wave_id(), head = blockIdx.y, batch = blockIdx.z;
  if (row >= args.queries) return;
  const global_ptr<T> output = at<T>(base_of(args.output, sizeof(T), batch, head, row));
  const global_ptr<T> grad = at<T>(base_of(args.grad_output, sizeof(T), batch, head, row));
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = lane_id(); i < args.value_width; i += 32)
    sum += convert<Acc>(output[i * args.output.column]) * convert<Acc>(grad[i * args.grad_output.column]);
  sum = wave_reduce(sum, Sum{});
  if (lane_id() == 0) at<Acc>(args.delta)[((uint64_t)batch * args.heads + head) * args.queries + row] = sum;
}

template <typename T, uint32_t M, uint32_t N, uint32_t D, bool Dropout>
USBGPU_INLINE void attention_grad_q(const AttentionArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ __attribute__((aligned(16))) Acc lds_a[M * kDepthPitch], lds_b[N * kDepthPitch];
  __shared__ __attribute__((aligned(16))) Acc lds_p[M * (N + 1)];
  const uint32_t x = threadIdx.x & 15, y = threadIdx.x >> 4;
  const uint32_t first = blockIdx.x * M, head = blockIdx.y, batch = blockIdx.z, shared = head / args.group;
  const uint64_t query = base_of(args.query, sizeof(T), batch, head, first);
  const uint64_t grad = base_of(args.grad_output, sizeof(T), batch, head, first);
  const uint32_t queries = args.queries - first;
  const uint64_t statistics = ((uint64_t)batch * args.heads + head) * args.queries;

  Sums<T, M, D> sum;
  // The bias's gradient covers masked keys too (with 0).
  const uint32_t end = args.causal && !args.grad_bias.address && first + M < args.keys ? first + M : args.keys;
#pragma clang loop unroll(disable)
  for (uint32_t n0 = 0; n0 < end; n0 += N) {
    const uint64_t key = base_of(args.key, sizeof(T), batch, shared, n0);
    Acc s[M / 16][N / 16] = {}, d[M / 16][N / 16] = {};
    rows_times_rows<T, M, N>(s, lds_a, lds_b, lds_p, args.query, query, queries, args.key, key, args.keys - n0, args.width);
    rows_times_rows<T, M, N>(d, lds_a, lds_b, lds_p, args.grad_output, grad, queries, args.value,
                             base_of(args.value, sizeof(T), batch, shared, n0), args.keys - n0, args.value_width);
#pragma unroll
    for (uint32_t i = 0; i < M / 16; ++i) {
      const uint32_t row = first + y + i * 16;
      Acc logsumexp = 0, delta = 0;
      if (row < args.queries) logsumexp = at<Acc>(args.logsumexp)[statistics + row], delta = at<Acc>(args.delta)[statistics + row];
#pragma unroll
      for (uint32_t j = 0; j < N / 16; ++j) {
        const uint32_t column = n0 + x + j * 16;
        const Acc weight = attention_exp(score<T>(args, s[i][j], batch, head, row, column) - logsumexp);
        if constexpr (Dropout) d[i][j] *= dropped<Acc>(args, batch, head, row, column);
        const Acc gradient = weight * (d[i][j] - delta);
        put_weight<T, N>(lds_p, y + i * 16, x + j * 16, gradient);
        if (args.grad_bias.address && row < args.queries && column < args.keys)
          at<T>(base_of(args.grad_bias, sizeof(T), batch, head, row))[column * args.grad_bias.column] = convert<T>(gradient);
      }
    }
    tile_times_rows<T, M, N, D>(sum, lds_p, lds_b, args.key, key, args.keys - n0, args.width);
  }
  sum.store(args.grad_query, (Acc)args.scale, batch, head, first, args.queries, args.width);
}

// Rows of the tiles are keys, columns are queries.
template <typename T, uint32_t M, uint32_t N, uint32_t D, bool Dropout>
USBGPU_INLINE void attention_grad_kv(const AttentionArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ __attribute__((aligned(16))) Acc lds_a[M * kDepthPitch], lds_b[N * kDepthPitch];
  __shared__ __attribute__((aligned(16))) Acc lds_p[M * (N + 1)];
  const uint32_t x = threadIdx.x & 15, y = threadIdx.x >> 4;
  const uint32_t first = blockIdx.x * M, shared = blockIdx.y, batch = blockIdx.z;
  const uint64_t key = base_of(args.key, sizeof(T), batch, shared, first);
  const uint64_t value = base_of(args.value, sizeof(T), batch, shared, first);
  const uint32_t keys = args.keys - first;

  Sums<T, M, D> sum_key, sum_value;
#pragma clang loop unroll(disable)
  for (uint32_t member = 0; member < args.group; ++member) {
    const uint32_t head = shared * args.group + member;
    const uint64_t statistics = ((uint64_t)batch * args.heads + head) * args.queries;
    // Earlier queries than the tile's first key do not see it.
#pragma clang loop unroll(disable)
    for (uint32_t n0 = args.causal ? first / N * N : 0; n0 < args.queries; n0 += N) {
      const uint64_t query = base_of(args.query, sizeof(T), batch, head, n0);
      const uint64_t grad = base_of(args.grad_output, sizeof(T), batch, head, n0);
      Acc s[M / 16][N / 16] = {}, d[M / 16][N / 16] = {};
      rows_times_rows<T, M, N>(s, lds_a, lds_b, lds_p, args.key, key, keys, args.query, query, args.queries - n0, args.width);
      rows_times_rows<T, M, N>(d, lds_a, lds_b, lds_p, args.value, value, keys, args.grad_output, grad, args.queries - n0,
                               args.value_width);
#pragma unroll
      for (uint32_t j = 0; j < N / 16; ++j) {
        const uint32_t column = n0 + x + j * 16;
        Acc logsumexp = 0, delta = 0;
        if (column < args.queries)
          logsumexp = at<Acc>(args.logsumexp)[statistics + column], delta = at<Acc>(args.delta)[statistics + column];
#pragma unroll
        for (uint32_t i = 0; i < M / 16; ++i) {
          const uint32_t row = first + y + i * 16;
          Acc weight = attention_exp(score<T>(args, s[i][j], batch, head, column, row) - logsumexp), factor = 1;
          if constexpr (Dropout) factor = dropped<Acc>(args, batch, head, column, row);
          s[i][j] = weight * (d[i][j] * factor - delta);
          put_weight<T, N>(lds_p, y + i * 16, x + j * 16, weight * factor);
        }
      }
      tile_times_rows<T, M, N, D>(sum_value, lds_p, lds_b, args.grad_output, grad, args.queries - n0, args.value_width);
      local_barrier();  // the weights are read
#pragma unroll
      for (uint32_t i = 0; i < M / 16; ++i)
#pragma unroll
        for (uint32_t j = 0; j < N / 16; ++j) put_weight<T, N>(lds_p, y + i * 16, x + j * 16, s[i][j]);
      tile_times_rows<T, M, N, D>(sum_key, lds_p, lds_b, args.query, query, args.queries - n0, args.width);
    }
  }
  if (args.grad_key.address)
    sum_key.store(args.grad_key, (Acc)args.scale, batch, shared, first, args.keys, args.width);
  if (args.grad_value.address)
    sum_value.store(args.grad_value, (Acc)1, batch, shared, first, args.keys, args.value_width);
}

}  // namespace usbgpu_family

#define USBGPU_ATTENTION(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::AttentionArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
