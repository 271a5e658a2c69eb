// Somebody to tell of every operator that runs on the CPU: Python, which knows the line that asked for it.
#pragma once

#include <functional>
#include <string>

namespace usbgpu::aten {

// Called with every counted operator's name, on the thread that runs it; empty: nobody. Set once, at import.
void set_fallback_listener(std::function<void(const std::string&)> listener);

}  // namespace usbgpu::aten
