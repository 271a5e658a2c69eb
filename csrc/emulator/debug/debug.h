// Seam to the other bindings: what can be hung into a dock or into bare shader cores.
#pragma once

#include "emulator/debug/log.h"
#include "emulator/debug/session.h"
