// Buffer descriptors (V#) and the address of one lane's element. Only ops_*.cpp include this.
//
// RDNA3 ISA, 'Buffer resource descriptor' and 'Buffer addressing': base [47:0], stride [61:48], swizzle_enable [63:62] (0 off,
// 1/2/3 = elements of 4/8/16 bytes), num_records [95:64]; in the last dword index_stride [22:21], add_tid_enable [23],
// OOB_SELECT [29:28]. RDNA4 keeps these fields.
#pragma once

#include "emulator/isa/handler.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {

struct Descriptor {
  uint64_t base;
  uint32_t stride, swizzle, records, index_stride, out_of_bounds;
  bool add_lane;

  Descriptor(const Wave& w, const Inst* i, uint32_t registers) {
    uint32_t word[4];
    __builtin_memcpy(word, scalar_at(w, i, registers), sizeof word);
    base = word[0] | uint64_t{word[1] & 0xFFFF} << 32;
    stride = word[1] >> 16 & 0x3FFF;
    swizzle = word[1] >> 30;
    records = word[2];
    index_stride = 8u << (word[3] >> 21 & 3);
    add_lane = word[3] >> 23 & 1;
    out_of_bounds = word[3] >> 28 & 3;
  }
  // Size that scalar loads check against.
  uint64_t bytes() const { return uint64_t{records} * (stride ? stride : 1); }

  // Address of (index, offset), without the SGPR offset.
  uint64_t address(uint64_t index, uint64_t offset) const {
    if (swizzle == 0) return base + index * stride + offset;
    const uint64_t element = 2u << swizzle;
    return base + (index / index_stride * stride + offset / element * element) * index_stride + index % index_stride * element + offset % element;
  }
  // OOB_SELECT 0: structured (index and offset), 1: structured by index only, 2: only an empty buffer refuses, 3: raw.
  bool inside(uint64_t index, uint64_t offset, uint32_t size) const {
    switch (out_of_bounds) {
      case 0: return index < records && (stride == 0 || offset + size <= stride);
      case 1: return index < records;
      case 2: return records != 0;
      default: return swizzle && stride ? index < records && offset + size <= stride : index * stride + offset + size <= records;
    }
  }
};

// The lanes of a buffer instruction. Operands as Builder::mubuf() lays them out: src[0] = index and/or offset VGPRs, src[1] = SGPR
// offset, src3 = descriptor, aux bit 1: idxen, bit 2: offen.
struct BufferAccess {
  Descriptor descriptor;
  uint32_t scalar_offset;
  uint64_t constant;
  const uint32_t *index, *offset;
  uint32_t first_lane;

  BufferAccess(Wave& w, const Inst* i)
      : descriptor(w, i, i->src3), scalar_offset(scalar<uint32_t>(w, i, i->src[1])), constant(static_cast<uint64_t>(static_cast<int64_t>(i->imm))),
        index(i->aux & 2 ? lanes_at(w, i->src[0]) : nullptr),
        offset(i->aux & 4 ? lanes_at(w, i->src[0] + (i->aux & 2 ? 128 : 0)) : nullptr), first_lane(w.first_lane) {}
  uint64_t index_of(unsigned lane) const { return (index ? uint64_t{index[lane]} : 0) + (descriptor.add_lane ? first_lane + lane : 0); }
  uint64_t offset_of(unsigned lane, unsigned byte) const { return constant + (offset ? offset[lane] : 0) + byte; }
  // The SGPR offset takes no part in the range check (RDNA ISA).
  bool inside(unsigned lane, unsigned byte, uint32_t size) const { return descriptor.inside(index_of(lane), offset_of(lane, byte), size); }
  uint64_t address(unsigned lane, unsigned byte) const { return descriptor.address(index_of(lane), offset_of(lane, byte)) + scalar_offset; }
};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
