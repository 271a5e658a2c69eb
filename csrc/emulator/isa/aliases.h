// Operations that RDNA4 renamed without changing what they compute: name in data/gfx12.json -> the
// name their handler row has. An operation that does change gets a row of its own and is not here.
#pragma once

namespace usbgpu::emulator::isa {

struct MnemonicAlias {
  const char* name;
  const char* row;
};

constexpr MnemonicAlias kMnemonicAliases[] = {
    // scalar ALU
    {"s_add_co_u32", "s_add_u32"},       {"s_sub_co_u32", "s_sub_u32"},       {"s_add_co_i32", "s_add_i32"},
    {"s_sub_co_i32", "s_sub_i32"},       {"s_add_co_ci_u32", "s_addc_u32"},   {"s_sub_co_ci_u32", "s_subb_u32"},
    {"s_addk_co_i32", "s_addk_i32"},     {"s_min_num_f32", "s_min_f32"},      {"s_max_num_f32", "s_max_f32"},
    {"s_min_num_f16", "s_min_f16"},      {"s_max_num_f16", "s_max_f16"},
    // vector ALU
    {"v_min_num_f16", "v_min_f16"},      {"v_min_num_f32", "v_min_f32"},      {"v_min_num_f64", "v_min_f64"},
    {"v_max_num_f16", "v_max_f16"},      {"v_max_num_f32", "v_max_f32"},      {"v_max_num_f64", "v_max_f64"},
    {"v_min3_num_f16", "v_min3_f16"},    {"v_min3_num_f32", "v_min3_f32"},    {"v_max3_num_f16", "v_max3_f16"},
    {"v_max3_num_f32", "v_max3_f32"},    {"v_med3_num_f16", "v_med3_f16"},    {"v_med3_num_f32", "v_med3_f32"},
    {"v_minmax_num_f16", "v_minmax_f16"}, {"v_minmax_num_f32", "v_minmax_f32"}, {"v_maxmin_num_f16", "v_maxmin_f16"},
    {"v_maxmin_num_f32", "v_maxmin_f32"}, {"v_pk_min_num_f16", "v_pk_min_f16"}, {"v_pk_max_num_f16", "v_pk_max_f16"},
    {"v_mad_co_u64_u32", "v_mad_u64_u32"}, {"v_mad_co_i64_i32", "v_mad_i64_i32"},
    {"v_dual_min_num_f32", "v_dual_min_f32"}, {"v_dual_max_num_f32", "v_dual_max_f32"},
    // LDS
    {"ds_min_num_f32", "ds_min_f32"},    {"ds_max_num_f32", "ds_max_f32"},    {"ds_min_num_rtn_f32", "ds_min_rtn_f32"},
    {"ds_max_num_rtn_f32", "ds_max_rtn_f32"}, {"ds_min_num_f64", "ds_min_f64"}, {"ds_max_num_f64", "ds_max_f64"},
    {"ds_min_num_rtn_f64", "ds_min_rtn_f64"}, {"ds_max_num_rtn_f64", "ds_max_rtn_f64"},
    // memory atomics
    {"global_atomic_min_num_f32", "global_atomic_min_f32"}, {"global_atomic_max_num_f32", "global_atomic_max_f32"},
    {"flat_atomic_min_num_f32", "flat_atomic_min_f32"},     {"flat_atomic_max_num_f32", "flat_atomic_max_f32"},
    {"buffer_atomic_min_num_f32", "buffer_atomic_min_f32"}, {"buffer_atomic_max_num_f32", "buffer_atomic_max_f32"},
    {"global_atomic_sub_clamp_u32", "global_atomic_csub_u32"}, {"flat_atomic_sub_clamp_u32", "flat_atomic_csub_u32"},
    {"buffer_atomic_sub_clamp_u32", "buffer_atomic_csub_u32"},
};

}  // namespace usbgpu::emulator::isa
