// Written by tools/fit_special_math.py: edit that, not this.
#pragma once
#include "core.h"

namespace usbgpu::math {

// digamma(x)/(x - z) about its zero z, 1 <= x <= 2, t = 2x - 3
USBGPU_FN double fit_digamma_near_zero(double t) {
  return poly(t,
      0x1.e6f0cbb873616p-1, -0x1.b1cb63005ee96p-3, 0x1.eca189b8e6f7bp-5, -0x1.2feeeb98a7e14p-6, 0x1.8512e59037f3fp-8,
      -0x1.fb4420299c39ep-10, 0x1.4de9aa17fed5cp-11, -0x1.b9f8b14eb372ep-13, 0x1.256471573c163p-14,
      -0x1.8635595c28480p-16, 0x1.03c0b29031197p-17, -0x1.5a07ffdcf1525p-19, 0x1.cd1f2dbc0dbedp-21,
      -0x1.335166d938f39p-22, 0x1.99e14548a2d9bp-24, -0x1.1138fd323dc0cp-25, 0x1.69be71d89ad40p-27,
      -0x1.e24e3f4fdc1dcp-29, 0x1.56ae8897d5d3dp-30, -0x1.c8e71b670fd14p-32, 0x1.80c273fb322c5p-34,
      -0x1.0081238b97022p-35, 0x1.0080971c5617fp-35, -0x1.5600aebc07538p-37);
}

// log Gamma*(1/y) is y/12 + y^3 times this, z = y^2, y <= 1/8
USBGPU_FN double stirling_rest(double z) {
  return poly(z,
      -0x1.6c16c16c16c17p-9, 0x1.a01a01a01a01ap-11, -0x1.3813813813814p-11, 0x1.b951e2b18ff23p-11,
      -0x1.f6ab0d9993c7dp-10, 0x1.a41a41a41a41ap-8, -0x1.e4286cb0f5398p-6, 0x1.6fe96381e0680p-3,
      -0x1.6476701181f3ap+0, 0x1.ace44322ce006p+3);
}

// (exp(z) - 1 - z - z^2/2)/z^3, |z| < 0.35
USBGPU_FN double exp_rest(double z) {
  return poly(z,
      0x1.5555555555555p-3, 0x1.5555555555555p-5, 0x1.1111111111111p-7, 0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-13,
      0x1.a01a01a01a01ap-16, 0x1.71de3a556c734p-19, 0x1.27e4fb7789f5cp-22, 0x1.ae64567f544e4p-26,
      0x1.1eed8eff8d898p-29, 0x1.6124613a86d09p-33, 0x1.93974a8c07c9dp-37, 0x1.ae7f3e733b81fp-41,
      0x1.ae7f3e733b81fp-45);
}

inline constexpr double kDigammaZeroHigh = 0x1.762d86356be3fp+0, kDigammaZeroLow = 0x1.b86a722197829p-54;

}  // namespace usbgpu::math
