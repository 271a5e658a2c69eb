// Wide and cached loads and stores, bit casts.
#pragma once

namespace usbgpu {

template <class To, class From> USBGPU_FN To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast between different sizes");
  return __builtin_bit_cast(To, from);
}

// N elements moved by as few instructions as possible: 16 bytes per lane are one global_load_b128.
template <class T, int N> struct __attribute__((aligned(sizeof(T) * N > 16 ? 16 : sizeof(T) * N))) aligned_vector {
  T value[N];
  __device__ __forceinline__ T& operator[](int i) { return value[i]; }
  __device__ __forceinline__ const T& operator[](int i) const { return value[i]; }
};
// `from` and `to` must be aligned to the vector.
template <int N, class T> USBGPU_FN aligned_vector<T, N> load_vector(const T* from) {
  return *reinterpret_cast<const aligned_vector<T, N>*>(from);
}
template <int N, class T> USBGPU_FN void store_vector(T* to, const aligned_vector<T, N>& vector) {
  *reinterpret_cast<aligned_vector<T, N>*>(to) = vector;
}
template <class T> USBGPU_FN T load_streaming(const T* from) { return __builtin_nontemporal_load(from); }
template <class T> USBGPU_FN void store_streaming(T* to, T value) { __builtin_nontemporal_store(value, to); }

}  // namespace usbgpu

// CUDA's cache-hinted forms. Plain loads are as good here: caches are read-write and unified.
template <class T> USBGPU_FN T __ldg(const T* from) { return *from; }
template <class T> USBGPU_FN T __ldca(const T* from) { return *from; }
template <class T> USBGPU_FN T __ldcg(const T* from) { return *from; }
template <class T> USBGPU_FN T __ldcs(const T* from) { return *from; }
template <class T> USBGPU_FN void __stcs(T* to, T value) { *to = value; }
template <class T> USBGPU_FN void __stcg(T* to, T value) { *to = value; }

USBGPU_FN int __float_as_int(float x) { return usbgpu::bit_cast<int>(x); }
USBGPU_FN unsigned __float_as_uint(float x) { return usbgpu::bit_cast<unsigned>(x); }
USBGPU_FN float __int_as_float(int x) { return usbgpu::bit_cast<float>(x); }
USBGPU_FN float __uint_as_float(unsigned x) { return usbgpu::bit_cast<float>(x); }
USBGPU_FN long long __double_as_longlong(double x) { return usbgpu::bit_cast<long long>(x); }
USBGPU_FN double __longlong_as_double(long long x) { return usbgpu::bit_cast<double>(x); }
USBGPU_FN int __double2hiint(double x) { return (int)(usbgpu::bit_cast<long long>(x) >> 32); }
USBGPU_FN int __double2loint(double x) { return (int)usbgpu::bit_cast<long long>(x); }
USBGPU_FN double __hiloint2double(int hi, int lo) {
  return usbgpu::bit_cast<double>(((long long)hi << 32) | (unsigned)lo);
}
