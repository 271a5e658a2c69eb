// What the parts of `lower` share: operands to offsets, staging micro-ops. Included by lower*.cpp only.
//   lower.cpp                entry points, strict mode
//   lower_vector.cpp         VOP1, VOP2, VOP3, VOP3P, VOPC, VOPD
//   lower_scalar_memory.cpp  SOP*, SMEM, DS, FLAT/GLOBAL/SCRATCH, buffers
#pragma once

#include <string>
#include <vector>

#include "emulator/isa/decode.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/lower.h"
#include "emulator/isa/wave.h"

namespace usbgpu::emulator::isa {

constexpr uint32_t kInvalid = 0x7FFFFFFF;
constexpr uint32_t constant_offset(unsigned n) { return static_cast<uint32_t>(offsetof(Wave, constant) + 8 * n); }
constexpr uint32_t kZero = constant_offset(kConstInteger);

inline bool is_float64(Type t) { return t == Type::t_F64; }
inline bool is_half(Type t) {
  switch (t) {
    case Type::t_F16: case Type::t_BF16: case Type::t_PK2_F16: case Type::t_PK2_BF16: case Type::t_WMMA_DC_F16: return true;
    default: return false;
  }
}
inline bool is_sixteen(const OperandRow& o) { return o.bits == 16; }

// Operands of an Inst that are lane masks, a bit per lane.
enum MaskOperand : uint8_t { mask_dst = 1, mask_dst2 = 2, mask_src2 = 4, mask_src3 = 8 };

// Builds the Insts of one instruction.
class Builder {
 public:
  Builder(const Decoded& d, uint64_t pc, std::vector<Inst>& out, const LowerOptions& options)
      : d_(d), pc_(pc), out_(out), options_(options), first_(out.size()) {}

  // An empty string, or what is missing.
  std::string build() {
    if (!d_.row) return "unknown encoding";
    if (d_.row->absent) return std::string(d_.row->name) + " is not on this chip";
    switch (d_.format->format) {
      case Format::VOPD: return vopd();
      case Format::VOP1: case Format::VOP2: case Format::VOP3: case Format::VOP3P: case Format::VOP3SD: case Format::VOPC:
        return vector();
      case Format::SOP1: case Format::SOP2: case Format::SOPC: case Format::SOPK: case Format::SOPP:
        return scalar();
      case Format::SMEM: return smem();
      case Format::DS: return ds();
      case Format::FLAT: case Format::GLOBAL: case Format::SCRATCH: return flat(Field::f_addr, Field::f_data, Field::f_offset);
      case Format::VFLAT: case Format::VGLOBAL: case Format::VSCRATCH: return flat(Field::f_vaddr, Field::f_vsrc, Field::f_ioffset);
      default: return mubuf();
    }
  }

  // wave64: one Inst sees both halves
  bool whole_wave() const { return row_ && (row_->handles & isa::whole_wave); }
  size_t masked_inst() const { return masked_inst_; }
  uint8_t masks() const { return masks_; }

 private:
  struct Source { uint32_t offset = kZero; bool scalar = true; bool high = false; };

  Inst blank(const char* mnemonic) {
    Inst i{};
    i.pc = pc_;
    i.cls = d_.row->cls;
    i.dst = i.dst2 = static_cast<uint32_t>(offsetof(Wave, discard));
    i.src[0] = i.src[1] = i.src[2] = i.src3 = kZero;
    row_ = find_handler(mnemonic);
    return i;
  }

  // Scalar register, constant or literal as a source.
  uint32_t scalar_source(uint32_t code, const OperandRow& o) {
    if (code < kNull || code == kM0 || code == kExec || code == kExec + 1) return sgpr_offset(code);
    if (code == kNull) return kZero;
    if (code >= 128 && code <= 192) return constant_offset(kConstInteger + code - 128);
    if (code >= 193 && code <= 208) return constant_offset(kConstInteger + 65 + code - 193);
    if (code >= 235 && code <= 238) return constant_offset(kConstShared + code - 235);
    if (code >= 240 && code <= 248) {
      const unsigned base = o.bits == 64 ? kConstF64 : is_half(o.type) || o.bits == 16 ? kConstF16 : kConstF32;
      return constant_offset(base + code - 240);
    }
    if (code == 253) return static_cast<uint32_t>(offsetof(Wave, scc));
    if (code == 255) return literal_source(o);
    return kInvalid;
  }
  uint32_t literal_source(const OperandRow& o) {
    // A literal is 32 bits: the high dword of a double, else extended by the operand's signedness.
    if (is_float64(o.type)) literal_ = uint64_t{d_.literal} << 32;
    else if (o.type == Type::t_I64) literal_ = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(d_.literal)));
    else literal_ = d_.literal;
    return kInInst | static_cast<uint32_t>(offsetof(Inst, literal));
  }
  Source any_source(uint32_t code, const OperandRow& o, bool short_encoding) {
    if (code < 256) return {scalar_source(code, o), true, false};
    unsigned n = code - 256;
    bool high = false;
    if (short_encoding && is_sixteen(o)) high = n >= 128, n &= 127;  // true16
    return {vgpr_offset(n), false, high};
  }
  static uint32_t scalar_destination(uint32_t code) {
    return code == kNull || code > kExec + 1 ? static_cast<uint32_t>(offsetof(Wave, discard))
           : code >= kTtmp0 && code < kNull ? static_cast<uint32_t>(offsetof(Wave, discard))  // TTMPs: user writes are dropped
                                            : sgpr_offset(code);
  }

  bool finish(Inst& i, Shape shape) {
    if (!row_ || (options_.wave64 && (row_->handles & wave32_only))) return false;
    complete(shape);
    i.fn = row_->select(shape);
    i.literal = literal_;
    if (!i.fn) return false;
    out_.push_back(i);
    return true;
  }
  void complete(Shape& shape) const {
    shape.gfx12 = d_.arch == Arch::gfx12;
    shape.wave64 = options_.wave64;
    shape.any_mode = options_.any_mode;
    shape.ieee = options_.ieee && !shape.gfx12;
  }
  std::string missing(const char* name) { return std::string(name) + (row_ ? " (this form)" : "") + " is not implemented"; }

  void micro(const char* mnemonic, Inst i, bool scalar) {
    const HandlerRow* row = find_handler(mnemonic);
    Shape shape{};
    shape.scalars = scalar;
    complete(shape);
    i.fn = row ? row->select(shape) : nullptr;
    i.literal = literal_;
    i.pc = pc_;
    i.cls = d_.row->cls;
    staging_failed_ |= !i.fn;
    out_.push_back(i);
  }
  uint32_t temp() { temps_ += 2; return temp_offset(temps_ - 2); }

  // Replaces a source by a staged copy with neg/abs applied or the high half shifted down.
  void stage_half(Source& s) {
    Inst i{};
    i.src[0] = s.offset;
    i.dst = temp();
    micro(".half", i, s.scalar);
    s = {i.dst, false, false};
  }
  void stage_modifiers(Source& s, const OperandRow& o, bool neg, bool abs) {
    Inst i{};
    i.src[0] = s.offset;
    i.dst = temp();
    i.neg = neg;
    i.abs = abs;
    micro(o.bits == 64 ? ".mod_f64" : o.bits == 16 ? ".mod_f16" : ".mod_f32", i, s.scalar);
    s = {i.dst, false, false};
  }

  // For MODE other than the usual: denormals of `from` flushed into `to` where the bit of MODE is
  // clear; the host's rounding direction around an operation.
  void flush(const OperandRow& o, Source from, uint32_t to, int32_t mode_bit);
  void rounding(const OperandRow* result, bool begin);

  std::string vector();
  std::string vopd();
  std::string scalar();
  std::string smem();
  std::string ds();
  std::string flat(Field address, Field data, Field offset);
  std::string mubuf();

  const Decoded& d_;
  uint64_t pc_;
  std::vector<Inst>& out_;
  const LowerOptions& options_;
  size_t first_;
  size_t masked_inst_ = 0;   // index in out_ of the Inst that masks_ speaks of
  uint8_t masks_ = 0;
  const HandlerRow* row_ = nullptr;
  uint64_t literal_ = 0;
  unsigned temps_ = 0;
  bool staging_failed_ = false;
};

}  // namespace usbgpu::emulator::isa
