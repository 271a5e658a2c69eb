// Sources that include <math.h> get our own vocabulary; nothing of the host is read.
#pragma once
#include "hip_runtime.h"
