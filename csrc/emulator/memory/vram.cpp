#include "emulator/memory/vram.h"

#include <new>

#ifdef _WIN32
#define NOMINMAX
#include <windows.h>
#else
#include <sys/mman.h>
#endif

namespace usbgpu::emulator {

#ifdef _WIN32
Vram::Vram(uint64_t bytes) : bytes_(bytes) {
  data_ = static_cast<std::byte*>(VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
  if (!data_) throw std::bad_alloc();
}
Vram::~Vram() { VirtualFree(data_, 0, MEM_RELEASE); }
void Vram::discard() {
  VirtualFree(data_, bytes_, MEM_DECOMMIT);
  VirtualAlloc(data_, bytes_, MEM_COMMIT, PAGE_READWRITE);
}
#else
Vram::Vram(uint64_t bytes) : bytes_(bytes) {
  int flags = MAP_PRIVATE | MAP_ANON;
#ifdef MAP_NORESERVE
  flags |= MAP_NORESERVE;  // 24 GiB of address space, not of memory
#endif
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(at);
}
Vram::~Vram() { munmap(data_, bytes_); }
void Vram::discard() {
  // a fresh mapping in place: madvise does not promise zeros everywhere
  int flags = MAP_PRIVATE | MAP_ANON | MAP_FIXED;
#ifdef MAP_NORESERVE
  flags |= MAP_NORESERVE;
#endif
  mmap(data_, bytes_, PROT_READ | PROT_WRITE, flags, -1, 0);
}
#endif

}  // namespace usbgpu::emulator
