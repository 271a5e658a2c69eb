// Least squares, put together from the factorisations: driver "gels" by QR, the others, which also
// serve matrices of deficient rank, by singular values.
#include "aten/linalg.h"

#include <ATen/native/LinearAlgebraUtils.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_linalg_check_errors.h>
#include <ATen/ops/_linalg_svd.h>
#include <ATen/ops/linalg_lstsq_ops.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "aten/backend/complex.h"

namespace usbgpu::aten {
namespace linalg {
namespace {

constexpr const char* kName = "torch.linalg.lstsq";

struct Solved {
  Tensor solution, residuals, rank, singular_values;   // what a driver does not tell stays empty
};

// The sums of |x|^2 down the columns.
Tensor squares(const Tensor& x) {
  if (!x.is_complex()) return x.mul(x).sum(-2);
  const Tensor parts = at::view_as_real(x.resolve_conj());
  return parts.mul(parts).sum(at::IntArrayRef{-3, -1});
}

// a: (batch, m, n) of full rank; b: (batch, m, k)
Solved by_qr(const Tensor& a, const Tensor& b, bool single) {
  const int64_t batch = a.size(0), m = a.size(1), n = a.size(2), steps = std::min(m, n);
  const bool tall = m >= n;
  const Tensor qr = clone_columns(tall ? a : a.mH());
  const Tensor tau = empty({batch, steps}, a.scalar_type()), info = empty({batch}, at::kInt);
  geqrf(qr, tau);
  check_diagonal(qr, info);
  at::_linalg_check_errors(info, kName, single);
  const Tensor r = qr.narrow(1, 0, steps);
  Solved result;
  if (tall) {   // R x = Q^H b; what Q^H b has below R is the residual
    const Tensor c = clone_columns(b);
    reflect(qr, tau, c, true, false);
    result.solution = c.narrow(1, 0, n);
    if (b.size(2)) solve_triangular(r, result.solution, true, false);
    if (m > n) result.residuals = squares(c.narrow(1, n, m - n));
  } else {      // the shortest solution: R^H y = b, x = Q (y, 0)
    const Tensor x = empty_columns(batch, n, b.size(2), a.scalar_type());
    x.zero_();
    const Tensor y = x.narrow(1, 0, m);
    y.copy_(b);
    if (b.size(2)) solve_triangular(r.mH(), y, false, false);
    reflect(qr, tau, x, false, false);
    result.solution = x;
  }
  return result;
}

Solved by_singular_values(const Tensor& a, const Tensor& b, double rcond, const std::string& driver) {
  const int64_t m = a.size(1), n = a.size(2);
  const auto [u, s, vh] = at::_linalg_svd(a, /*full_matrices=*/false, /*compute_uv=*/true, std::nullopt);
  const Tensor kept = s.gt(s.narrow(1, 0, 1).mul(rcond));
  const Tensor inverse = at::where(kept, s.reciprocal(), at::zeros({}, s.options()));
  Solved result;
  result.rank = kept.sum(-1);
  result.solution = at::matmul(vh.mH(), at::matmul(u.mH(), b).mul(inverse.unsqueeze(-1)));
  if (driver == "gelsy") return result;
  result.singular_values = s;
  if (m > n && result.rank.eq(n).all().item<bool>()) result.residuals = squares(b.sub(at::matmul(a, result.solution)));
  return result;
}

void deliver(const Tensor& out, const Tensor& value, at::DimVector sizes) {
  if (!value.defined()) sizes = {0};
  at::native::resize_output(out, sizes);
  if (value.defined() && out.numel()) out.copy_(value.reshape(sizes));
}

std::tuple<Tensor&, Tensor&, Tensor&, Tensor&> lstsq_out(const Tensor& self, const Tensor& b, std::optional<double> rcond,
                                                         std::optional<std::string_view> driver, Tensor& solution,
                                                         Tensor& residuals, Tensor& rank, Tensor& singular_values) {
  if (self.numel() == 0) {   // nothing to compute: what comes out is LAPACK's habit
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::linalg_lstsq_out>::call(
        self, b, rcond, driver, solution, residuals, rank, singular_values);
  }
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::linalg_lstsq_out, self, b, rcond, driver, solution, residuals, rank,
                                    singular_values);
  TORCH_CHECK(self.dim() >= 2, kName, ": input must have at least 2 dimensions.");
  TORCH_CHECK(b.dim() >= 1, kName, ": other must have at least 1 dimension.");
  TORCH_CHECK(self.scalar_type() == b.scalar_type(), kName, ": Expected input and other to have the same dtype, but got input's dtype ",
              self.scalar_type(), " and other's dtype ", b.scalar_type());
  const int64_t difference = self.dim() - b.dim();
  TORCH_CHECK(0 <= difference && difference <= 1, kName,
              ": input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1");
  const bool vector = at::native::linalg_solve_is_vector_rhs(self, b);
  const Tensor columns = vector ? b.unsqueeze(-1) : b;
  TORCH_CHECK(self.size(-2) == columns.size(-2), kName, ": input.size(-2) should match other.size(", vector ? -1 : -2, ")");
  const std::string name(driver.value_or("gelsy"));
  TORCH_CHECK(name == "gels" || name == "gelsy" || name == "gelsd" || name == "gelss", kName,
              ": parameter `driver` should be one of (gels, gelsy, gelsd, gelss)");
  const at::ScalarType real = c10::toRealValueType(self.scalar_type());
  TORCH_CHECK(real == at::kFloat || real == at::kDouble,
              "This function doesn't handle types other than float and double");
  for (const Tensor* out : {&solution, &residuals, &rank, &singular_values}) check_on_device(kName, "an output", *out);
  at::native::checkLinalgCompatibleDtype(kName, solution, self, "solution");
  at::native::checkLinalgCompatibleDtype(kName, residuals.scalar_type(), real, "residuals");
  at::native::checkLinalgCompatibleDtype(kName, singular_values.scalar_type(), real, "singular_values");
  at::native::checkLinalgCompatibleDtype(kName, rank.scalar_type(), at::kLong, "rank");

  const auto [a_wide, b_wide] = at::native::_linalg_broadcast_batch_dims(self, columns, nullptr);
  const int64_t m = self.size(-2), n = self.size(-1), k = columns.size(-1);
  const bool single = real == at::kFloat;
  const double epsilon = single ? std::numeric_limits<float>::epsilon() : std::numeric_limits<double>::epsilon();
  double limit = rcond.value_or(epsilon * static_cast<double>(std::max(m, n)));
  if (limit < 0) limit = epsilon;   // LAPACK's reading of a negative one
  const Tensor a3 = readable(a_wide, a_wide), b3 = readable(b_wide, b_wide);
  const Solved solved = name == "gels" ? by_qr(a3, b3, a_wide.dim() == 2) : by_singular_values(a3, b3, limit, name);

  const at::DimVector batch(a_wide.sizes().begin(), a_wide.sizes().end() - 2);
  const auto with = [&](std::initializer_list<int64_t> inner) {
    at::DimVector sizes = batch;
    sizes.append(inner);
    return sizes;
  };
  deliver(solution, solved.solution, vector ? with({n}) : with({n, k}));
  deliver(residuals, solved.residuals, with({k}));
  deliver(rank, solved.rank, batch);
  deliver(singular_values, solved.singular_values, with({std::min(m, n)}));
  return {solution, residuals, rank, singular_values};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("linalg_lstsq.out", &lstsq_out); }

}  // namespace
}  // namespace linalg
}  // namespace usbgpu::aten
