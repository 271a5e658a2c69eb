// Arguments of cross.hip: result, a, b with the dimension of three left out.
#pragma once
#include "index_args.h"

namespace usbgpu_family {

struct CrossArgs {
  Walk<3> rows;
  int64_t stride[3];  // bytes along the dimension of three
};

}  // namespace usbgpu_family
