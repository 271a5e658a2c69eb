// Cross products of vectors of three, a thread each.
#include "complex_family.h"
#include "cross_args.h"
#include "walk.h"

namespace usbgpu_family {

template <typename T>
USBGPU_INLINE void cross(const CrossArgs& args) {
  using Acc = typename select<traits<T>::floating, accumulate_t<T>, T>::type;
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.rows.count) return;
  const Position<3> position(args.rows, i);
  const auto load = [&](uint32_t operand, uint32_t d) {
    const auto from = (global_ptr<T>)(position.of<char>(args.rows, operand) + d * args.stride[operand]);
    return usbgpu_family::convert<Acc>(read_element(from));
  };
  const Acc a0 = load(1, 0), a1 = load(1, 1), a2 = load(1, 2), b0 = load(2, 0), b1 = load(2, 1), b2 = load(2, 2);
  const auto store = [&](uint32_t d, Acc value) {
    const auto to = (global_ptr<T>)(position.of<char>(args.rows, 0) + d * args.stride[0]);
    write_element(to, usbgpu_family::convert<T>(value));
  };
  store(0, (Acc)(a1 * b2 - a2 * b1));
  store(1, (Acc)(a2 * b0 - a0 * b2));
  store(2, (Acc)(a0 * b1 - a1 * b0));
}

}  // namespace usbgpu_family

#define USBGPU_CROSS(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::CrossArgs args) { usbgpu_family::cross<T>(args); }
