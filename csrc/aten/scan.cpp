// cumsum, cumprod. Kernels: torch_usbgpu/kernels/scan.hip.
#include "aten/walk.h"

#include <ATen/WrapDimUtils.h>
#include <ATen/native/ReduceOps.h>
#include <c10/util/accumulate.h>

#include "../../torch_usbgpu/kernels/scan_args.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;

void scan(bool product, const Tensor& result, const Tensor& self, int64_t dim) {
  static KernelCache cache;
  if (result.numel() == 0) return;
  if (self.dim() == 0) {
    result.copy_(self);
    return;
  }
  dim = at::maybe_wrap_dim(dim, self.dim());
  const Tensor input = self.contiguous();
  const Tensor target = result.is_contiguous() ? result : empty_like(result);
  const int64_t inner = c10::multiply_integers(self.sizes().slice(dim + 1)), size = self.size(dim), rows = self.numel() / size;
  TORCH_CHECK(rows < (int64_t{1} << 31) && size < (int64_t{1} << 31), "cumsum: ", self.sizes(),
              " is more than usbgpu's kernels can index");
  // Long rows are shared by a group; where there are many, or short ones, each thread takes one.
  const bool columns = size <= 64 || rows >= 4096;
  const at::ScalarType type = self.scalar_type();
  Kernel* kernel = cache.get(key(product, columns, type), [&]() -> KernelSource {
    const std::string form = columns ? "scan_columns" : "scan_rows";
    const std::string symbol = std::string(product ? "cumprod_" : "cumsum_") + (columns ? "columns_" : "rows_") + dtype_name(type);
    return {"scan", symbol,
            "USBGPU_SCAN(" + symbol + ", " + form + ", " + dtype_c_type(type) + (product ? ", ScanProduct)" : ", ScanSum)")};
  });
  const usbgpu_family::ScanArgs args{address(input), address(target), static_cast<uint32_t>(size), static_cast<uint32_t>(inner),
                                     static_cast<uint32_t>(rows)};
  launch(kernel, columns ? grid_for(rows) : Dim3{args.rows, 1, 1}, kGroup256, args);
  if (!target.is_same(result)) result.copy_(target);
}

void cumsum_kernel(const Tensor& result, const Tensor& self, int64_t dim) { scan(false, result, self, dim); }
void cumprod_kernel(const Tensor& result, const Tensor& self, int64_t dim) { scan(true, result, self, dim); }

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(cumsum_stub, &usbgpu::aten::cumsum_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(cumprod_stub, &usbgpu::aten::cumprod_kernel)
}  // namespace at::native
