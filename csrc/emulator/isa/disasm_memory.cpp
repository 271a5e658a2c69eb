// Text of memory instructions: scalar loads, LDS, flat, buffers, images, exports.
#include <bit>
#include <cstring>
#include <vector>

#include "emulator/isa/disasm.h"

namespace usbgpu::emulator::isa::text {
namespace {

bool contains(const char* name, const char* part) { return std::strstr(name, part) != nullptr; }
int32_t signed_bits(uint32_t value, unsigned width) { return static_cast<int32_t>(value << (32 - width)) >> (32 - width); }
std::string signed_hex(int32_t value) { return (value < 0 ? "-" : "") + hex(static_cast<uint32_t>(value < 0 ? -value : value)); }

// gfx12: temporal hint and scope. RDNA4 ISA, 'Cache Controls'; the names are LLVM's.
std::string cache_policy(const Decoded& d) {
  const uint32_t th = d[Field::f_th], scope = d[Field::f_scope];
  std::string text;
  if (th && contains(d.row->name, "atomic")) {
    const bool device = scope >= 2;                     // cascading needs device or system scope
    const char* const plain[] = {"", "RETURN", "NT", "NT_RETURN"};
    text = " th:TH_ATOMIC_" + (th < 4 ? plain[th] : device ? (th & 2 ? "CASCADE_NT" : "CASCADE_RT") : hex(th));
  } else if (th) {
    const bool store = contains(d.row->name, "_store"), system = scope == 3;
    const char* const hint[] = {"", "NT", "HT", system ? "BYPASS" : store ? "WB" : "LU", "NT_RT", "RT_NT", "NT_HT", store ? "NT_WB" : nullptr};
    text = hint[th] ? std::string(" th:TH_") + (store ? "STORE_" : "LOAD_") + hint[th] : " th:" + hex(th);
  }
  const char* const scopes[] = {"", "SE", "DEV", "SYS"};
  if (scope) text += std::string(" scope:SCOPE_") + scopes[scope];
  return text + (d[Field::f_nv] ? " nv" : "");
}

std::string cache_bits(const Decoded& d) {
  if (d.arch == Arch::gfx12) return cache_policy(d);
  return std::string(d[Field::f_glc] ? " glc" : "") + (d[Field::f_slc] ? " slc" : "") + (d[Field::f_dlc] ? " dlc" : "");
}

// ds_swizzle_b32's offset. RDNA3 ISA, 'DS_SWIZZLE_B32'; the macros are those of LLVM's assembler.
std::string swizzle(uint32_t offset) {
  const auto numbers = [](const char* mode, std::initializer_list<uint32_t> values) {
    std::string text = std::string("swizzle(") + mode;
    for (const uint32_t v : values) text += "," + std::to_string(v);
    return text + ")";
  };
  if ((offset & 0xE000) == 0xE000) return numbers("FFT", {offset & 31});
  if ((offset & 0xE000) == 0xC000) return numbers("ROTATE", {offset >> 10 & 1, offset >> 5 & 31});
  if ((offset & 0xFF00) == 0x8000) return numbers("QUAD_PERM", {offset & 3, offset >> 2 & 3, offset >> 4 & 3, offset >> 6 & 3});
  if (offset & 0x8000) return std::to_string(offset);
  const uint32_t keep = offset & 31, set = offset >> 5 & 31, flip = offset >> 10 & 31;
  if (keep == 31 && set == 0 && std::has_single_bit(flip)) return numbers("SWAP", {flip});
  if (keep == 31 && set == 0 && flip > 0 && std::has_single_bit(flip + 1)) return numbers("REVERSE", {flip + 1});
  const uint32_t group = 32 - keep;
  if (group > 1 && std::has_single_bit(group) && set < group && flip == 0) return numbers("BROADCAST", {group, set});
  std::string text = "swizzle(BITMASK_PERM,\"";
  for (unsigned bit = 5; bit-- > 0;) {
    const bool zero = ((0 & keep) | set) >> bit & 1, one = ((31 & keep) | set) >> bit & 1, inverted = flip >> bit & 1;
    text += zero != one ? (inverted ? 'i' : 'p') : (zero ^ inverted) ? '1' : '0';
  }
  return text + "\")";
}

const char* const kBufferFormats[] = {
    "INVALID", "8_UNORM", "8_SNORM", "8_USCALED", "8_SSCALED", "8_UINT", "8_SINT", "16_UNORM", "16_SNORM", "16_USCALED", "16_SSCALED",
    "16_UINT", "16_SINT", "16_FLOAT", "8_8_UNORM", "8_8_SNORM", "8_8_USCALED", "8_8_SSCALED", "8_8_UINT", "8_8_SINT", "32_UINT", "32_SINT",
    "32_FLOAT", "16_16_UNORM", "16_16_SNORM", "16_16_USCALED", "16_16_SSCALED", "16_16_UINT", "16_16_SINT", "16_16_FLOAT",
    "10_11_11_FLOAT", "11_11_10_FLOAT", "10_10_10_2_UNORM", "10_10_10_2_SNORM", "10_10_10_2_UINT", "10_10_10_2_SINT", "2_10_10_10_UNORM",
    "2_10_10_10_SNORM", "2_10_10_10_USCALED", "2_10_10_10_SSCALED", "2_10_10_10_UINT", "2_10_10_10_SINT", "8_8_8_8_UNORM",
    "8_8_8_8_SNORM", "8_8_8_8_USCALED", "8_8_8_8_SSCALED", "8_8_8_8_UINT", "8_8_8_8_SINT", "32_32_UINT", "32_32_SINT", "32_32_FLOAT",
    "16_16_16_16_UNORM", "16_16_16_16_SNORM", "16_16_16_16_USCALED", "16_16_16_16_SSCALED", "16_16_16_16_UINT", "16_16_16_16_SINT",
    "16_16_16_16_FLOAT", "32_32_32_UINT", "32_32_32_SINT", "32_32_32_FLOAT", "32_32_32_32_UINT", "32_32_32_32_SINT", "32_32_32_32_FLOAT"};
constexpr uint32_t kDefaultFormat = 1;

// Address registers of an image instruction: what the operation's name says it takes, by dimension.
unsigned address_registers(const Decoded& d) {
  const std::string name = std::string(d.row->name) + "_";
  const uint32_t dim = d[Field::f_dim] & 7;
  constexpr unsigned coordinates[] = {1, 2, 3, 3, 2, 3, 3, 4}, gradients[] = {2, 4, 6, 4, 2, 4, 4, 4};
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  const bool a16 = d[Field::f_a16], sampler = has("_sample_") || has("_gather4") || has("_get_lod");
  unsigned extra = 0, components = has("get_resinfo") ? 0 : coordinates[dim];
  if (sampler) extra += has("_o_") + has("_c_") + has("_b_");
  if (has("get_resinfo") || has("_mip_") || (sampler && (has("_l_") || has("_cl_")))) components += 1;
  unsigned count = extra + (a16 ? (components + 1) / 2 : components);
  if (sampler && has("_d_")) count += has("_g16_") ? (gradients[dim] / 2 + 1) / 2 * 2 : gradients[dim];
  return count;
}

unsigned data_registers(const Decoded& d) {
  const char* name = d.row->name;
  unsigned count = contains(name, "gather4") || contains(name, "msaa_load") ? 4 : std::popcount(d[Field::f_dmask]);
  if (count == 0) count = 1;
  if (d[Field::f_d16]) count = (count + 1) / 2;
  return count + d[Field::f_tfe];
}

}  // namespace

std::string smem(const Decoded& d) {
  const OpRow& op = *d.row;
  if (op.operand_count == 0) return op.name;
  const bool gfx12 = d.arch == Arch::gfx12, prefetch = contains(op.name, "prefetch");
  List list;
  const OperandRow* data = find_operand(op, Field::f_sdata);
  const std::string immediate = number(d[Field::f_sdata] & (prefetch ? 31 : 127));
  if (data && data->kind == OperandKind::k_sreg) list.add(scalar_register(d[Field::f_sdata], dwords(*data)));
  else if (data && !prefetch) list.add(immediate);
  if (const OperandRow* base = find_operand(op, Field::f_sbase)) list.add(scalar_register(d[Field::f_sbase], dwords(*base)));
  const int32_t offset = gfx12 ? signed_bits(d[Field::f_ioffset], 24) : signed_bits(d[Field::f_offset], 21);
  const uint32_t soffset = d[Field::f_soffset];
  std::string after;
  if (prefetch) {
    list.add(signed_hex(offset));
    list.add(scalar_register(soffset, 1));
    list.add(immediate);
  } else if (soffset == 124 && (offset || gfx12)) {
    list.add(signed_hex(offset));
  } else {
    list.add(scalar_register(soffset, 1));
    if (offset || gfx12) after = " offset:" + signed_hex(offset);
  }
  return op.name + list.text + after + cache_bits(d);
}

std::string ds(const Decoded& d) {
  const OpRow& op = *d.row;
  List list;
  for (const Field f : {Field::f_vdst, Field::f_addr, Field::f_data0, Field::f_data1})
    if (const OperandRow* o = find_operand(op, f)) list.add(vgprs(d[f], dwords(*o)));
  std::string text = op.name + list.text;
  const uint32_t offset = d[Field::f_offset0] | d[Field::f_offset1] << 8;
  if (contains(op.name, "2addr")) {
    if (d[Field::f_offset0]) text += " offset0:" + std::to_string(d[Field::f_offset0]);
    if (d[Field::f_offset1]) text += " offset1:" + std::to_string(d[Field::f_offset1]);
  } else if (offset) {
    text += " offset:" + (contains(op.name, "swizzle") ? swizzle(offset) : std::to_string(offset));
  }
  return text + (d[Field::f_gds] ? " gds" : "");
}

std::string lds_direct(const Decoded& d) {
  List list;
  list.add(vgprs(d[Field::f_vdst], 1));
  if (contains(d.row->name, "param")) list.add("attr" + std::to_string(d[Field::f_attr]) + "." + "xyzw"[d[Field::f_attr_chan] & 3]);
  if (d.arch == Arch::gfx11) return d.row->name + list.text + " wait_vdst:" + std::to_string(d[Field::f_wait_vdst]);
  return d.row->name + list.text + " wait_va_vdst:" + std::to_string(d[Field::f_wait_va_vdst]) +
         " wait_vm_vsrc:" + std::to_string(d[Field::f_wait_vm_vsrc]);
}

std::string flat(const Decoded& d) {
  const OpRow& op = *d.row;
  const Format f = d.format->format;
  const bool gfx12 = d.arch == Arch::gfx12;
  const bool scratch = f == Format::SCRATCH || f == Format::VSCRATCH, segment_flat = f == Format::FLAT || f == Format::VFLAT;
  const Field address = gfx12 ? Field::f_vaddr : Field::f_addr, data = gfx12 ? Field::f_vsrc : Field::f_data;
  const bool returns = gfx12 ? d[Field::f_th] & 1 : d[Field::f_glc];
  const bool atomic = contains(op.name, "atomic"), control = op.operand_count == 0;
  const OperandRow* from = find_operand(op, data);
  const OperandRow* result = find_operand(op, Field::f_vdst);
  const uint32_t saddr = d[Field::f_saddr];
  const bool has_saddr = !segment_flat && saddr != 124;
  List list;
  // Compare and swap reads two values and returns one.
  if (result && (!atomic || returns)) list.add(vgprs(d[Field::f_vdst], contains(op.name, "cmpswap") ? dwords(*from) / 2 : dwords(*result)));
  if (scratch) list.add(d[Field::f_sve] ? vgprs(d[address], 1) : "off");
  else if (find_operand(op, address)) list.add(vgprs(d[address], has_saddr ? 1 : 2));
  if (from) list.add(vgprs(d[data], dwords(*from)));
  if (!segment_flat && !control) list.add(has_saddr ? scalar_register(saddr, scratch ? 1 : 2) : "off");
  std::string text = op.name + list.text;
  const uint32_t raw = gfx12 ? d[Field::f_ioffset] : d[Field::f_offset];
  // gfx11's FLAT segment has twelve bits without a sign.
  const int32_t offset = !gfx12 && segment_flat ? static_cast<int32_t>(raw & 0xFFF) : signed_bits(raw, gfx12 ? 24 : 13);
  if (offset) text += " offset:" + std::to_string(offset);
  return text + cache_bits(d);
}

std::string buffer(const Decoded& d) {
  const OpRow& op = *d.row;
  if (op.operand_count == 0) return op.name;
  const bool gfx12 = d.arch == Arch::gfx12, typed = op.name[0] == 't';
  List list;
  if (const OperandRow* data = find_operand(op, Field::f_vdata)) list.add(vgprs(d[Field::f_vdata], dwords(*data) + d[Field::f_tfe]));
  const unsigned addresses = d[Field::f_offen] + d[Field::f_idxen];
  list.add(addresses ? vgprs(d[Field::f_vaddr], addresses) : "off");
  list.add(gfx12 ? scalar_register(d[Field::f_rsrc], 4) : scalar_register(d[Field::f_srsrc], 4));
  OperandRow offset_source{};
  offset_source.bits = 32;
  list.add(constant_or_scalar(d[Field::f_soffset], offset_source, d.literal));
  std::string text = op.name + list.text;
  if (typed && d[Field::f_format] != kDefaultFormat) {
    const uint32_t format = d[Field::f_format];
    text += " format:" + (format < std::size(kBufferFormats) ? std::string("[BUF_FMT_") + kBufferFormats[format] + "]" : std::to_string(format));
  }
  if (d[Field::f_idxen]) text += " idxen";
  if (d[Field::f_offen]) text += " offen";
  if (const uint32_t offset = gfx12 ? d[Field::f_ioffset] : d[Field::f_offset]) text += " offset:" + std::to_string(offset);
  return text + cache_bits(d) + (d[Field::f_tfe] ? " tfe" : "");
}

std::string image(const Decoded& d) {
  const OpRow& op = *d.row;
  const bool gfx12 = d.arch == Arch::gfx12, sample = d.format->format == Format::VSAMPLE;
  const unsigned count = address_registers(d);
  std::vector<unsigned> named;                 // registers that have a field of their own
  if (gfx12) {
    for (const Field f : {Field::f_vaddr0, Field::f_vaddr1, Field::f_vaddr2, Field::f_vaddr3}) named.push_back(d[f]);
    if (!sample) named.push_back(d[Field::f_vaddr4]);
  } else {
    named.push_back(d[Field::f_vaddr]);
    if (d[Field::f_nsa])
      for (unsigned n = 0; n < 4; ++n) named.push_back(d.literal >> (8 * n) & 255);
  }
  std::string address;
  if (!gfx12 && !d[Field::f_nsa]) {
    address = vgprs(named[0], count);
  } else if (count == 1) {
    address = vgprs(named[0], 1);
  } else {
    for (unsigned n = 0; n < named.size() && n < count; ++n)      // the last field begins a range
      address += (n ? ", " : "[") + vgprs(named[n], n + 1 == named.size() ? count - n : 1);
    address += "]";
  }
  List list;
  list.add(vgprs(d[Field::f_vdata], data_registers(d)));
  list.add(address);
  list.add(scalar_register(gfx12 ? d[Field::f_rsrc] : d[Field::f_srsrc], 8));
  if (find_operand(op, Field::f_ssamp) || find_operand(op, Field::f_samp)) list.add(scalar_register(gfx12 ? d[Field::f_samp] : d[Field::f_ssamp], 4));
  const char* const dimensions[] = {"1D", "2D", "3D", "CUBE", "1D_ARRAY", "2D_ARRAY", "2D_MSAA", "2D_MSAA_ARRAY"};
  std::string text = op.name + list.text;
  if (d[Field::f_dmask]) text += " dmask:" + hex(d[Field::f_dmask]);
  text += std::string(" dim:SQ_RSRC_IMG_") + dimensions[d[Field::f_dim] & 7];
  if (d[Field::f_unrm]) text += " unorm";
  text += cache_bits(d);
  const std::pair<Field, const char*> flags[] = {{Field::f_r128, " r128"}, {Field::f_a16, " a16"}, {Field::f_tfe, " tfe"},
                                                 {Field::f_lwe, " lwe"}, {Field::f_d16, " d16"}};
  for (const auto& [field, label] : flags)
    if (d[field]) text += label;
  return text;
}

std::string exported(const Decoded& d) {
  const uint32_t target = d[Field::f_target];
  std::string text = std::string(d.row->name) + " ";
  if (target < 8) text += "mrt" + std::to_string(target);
  else if (target == 8) text += "mrtz";
  else if (target >= 12 && target <= 16) text += "pos" + std::to_string(target - 12);
  else if (target == 20) text += "prim";
  else if (target == 21 || target == 22) text += "dual_src_blend" + std::to_string(target - 21);
  else text += "invalid_target_" + std::to_string(target);
  const Field sources[] = {Field::f_vsrc0, Field::f_vsrc1, Field::f_vsrc2, Field::f_vsrc3};
  for (unsigned n = 0; n < 4; ++n)
    text += (n ? ", " : " ") + (d[Field::f_en] >> n & 1 ? vgprs(d[sources[n]], 1) : "off");
  return text + (d[Field::f_done] ? " done" : "") + (d[Field::f_row] ? " row_en" : "");
}

}  // namespace usbgpu::emulator::isa::text
