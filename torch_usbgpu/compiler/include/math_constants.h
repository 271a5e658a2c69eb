// Sources that include <math_constants.h> get our own vocabulary; nothing of the host is read.
#pragma once
#include "hip_runtime.h"
