"""A kernel of the differential test: source, launch, arguments; and how its text is put together for both sides."""
from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tests.emulator.isa_valu.values import random_bits

# C type and NumPy type of the bits. Floats are compared by their bits, NaN as a class.
TYPES: dict[str, tuple[str, type[np.generic]]] = {
    "i8": ("signed char", np.int8), "i16": ("short", np.int16), "i32": ("int", np.int32), "i64": ("long", np.int64),
    "u8": ("unsigned char", np.uint8), "u16": ("unsigned short", np.uint16), "u32": ("unsigned", np.uint32),
    "u64": ("unsigned long", np.uint64), "f16": ("__half", np.uint16), "bf16": ("__hip_bfloat16", np.uint16),
    "f32": ("float", np.uint32), "f64": ("double", np.uint64),
}
SIGNED, UNSIGNED, FLOATS = ("i8", "i16", "i32", "i64"), ("u8", "u16", "u32", "u64"), ("f16", "bf16", "f32", "f64")
INTEGERS = SIGNED + UNSIGNED
EXPONENT = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000, "f64": 0x7FF0000000000000}
GUARD = 64                         # bytes on either side of every buffer


def c_type(kind: str) -> str:
    return TYPES[kind][0]


def bits_of(kind: str) -> int:
    return TYPES[kind][1]().itemsize * 8


@dataclass(frozen=True)
class Argument:
    """A buffer of `count` elements, or a value (`count` is 0). fill: edges, small, unit, positive, zero, ones, index."""

    name: str
    kind: str
    count: int = 0
    fill: str = "edges"
    value: float = 0
    written: bool = False
    ulp: float = 0                 # what an element may be off, for functions without an exact definition
    absolute: float = 0            # or absolutely

    @property
    def parameter(self) -> str:
        c = c_type(self.kind)
        return f"{'' if self.written else 'const '}{c}* __restrict__ {self.name}" if self.count else f"{c} {self.name}"


def given(name: str, kind: str, count: int, fill: str = "edges") -> Argument:
    return Argument(name, kind, count, fill)


def result(name: str, kind: str, count: int, fill: str = "ones", ulp: float = 0, absolute: float = 0) -> Argument:
    return Argument(name, kind, count, fill, written=True, ulp=ulp, absolute=absolute)


def value(name: str, kind: str, number: float) -> Argument:
    return Argument(name, kind, value=number)


@dataclass(frozen=True)
class Kernel:
    """`body` is the kernel's statements; `before` stands in front of it at file scope, once per distinct text."""

    name: str
    arguments: tuple[Argument, ...]
    body: str
    groups: tuple[int, int, int] = (4, 1, 1)
    threads: tuple[int, int, int] = (64, 1, 1)
    before: str = ""
    chips: tuple[str, ...] = ("gfx1100", "gfx1201")
    wave64: bool = False           # also meaningful with waves of 64 lanes
    tags: tuple[str, ...] = field(default_factory=tuple)

    @property
    def source(self) -> str:
        parameters = ", ".join(a.parameter for a in self.arguments)
        return f'extern "C" __global__ void {self.name}({parameters}) {{\n{self.body}\n}}\n'

    @property
    def host_entry(self) -> str:
        """The kernel behind one signature: pointers to the arguments."""
        cast = ", ".join(f"*({c_type(a.kind)}{'*' if a.count else ''}*)a[{n}]" for n, a in enumerate(self.arguments))
        return f'extern "C" void host_{self.name}(void** a) {{ {self.name}({cast}); }}\n'

    def buffers(self) -> list[np.ndarray]:
        """Fresh argument values; buffers with their guards around them."""
        out = []
        for argument in self.arguments:
            seed = zlib.crc32(f"{self.name} {argument.name}".encode())
            dtype = TYPES[argument.kind][1]
            if not argument.count:
                out.append(scalar(argument.kind, argument.value))
                continue
            guard = GUARD // dtype().itemsize
            whole = np.frombuffer(np.random.default_rng(seed + 1).bytes((argument.count + 2 * guard) * dtype().itemsize), dtype).copy()
            whole[guard:-guard] = contents(argument, np.random.default_rng(seed), seed)
            out.append(whole)
        return out


def scalar(kind: str, number: float) -> np.ndarray:
    as_float = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
    if kind == "bf16":
        return (np.array([number], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if kind in as_float:
        return np.array([number], as_float[kind]).view(TYPES[kind][1])
    return np.array([number], TYPES[kind][1])


def as_bits(kind: str, numbers: np.ndarray) -> np.ndarray:
    if kind == "bf16":
        return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if kind in FLOATS:
        return numbers.astype({"f16": np.float16, "f32": np.float32, "f64": np.float64}[kind]).view(TYPES[kind][1])
    return numbers.astype(np.int64).astype(TYPES[kind][1])


def contents(argument: Argument, rng: np.random.Generator, seed: int) -> np.ndarray:
    kind, n, dtype = argument.kind, argument.count, TYPES[argument.kind][1]
    if argument.fill == "edges":
        width = bits_of(kind)
        if width == 8:
            return rng.integers(0, 256, n).astype(np.uint8).view(dtype)
        name = kind if kind in FLOATS else f"u{width}"
        return random_bits(rng, name, n, seed % 7).astype({16: np.uint16, 32: np.uint32, 64: np.uint64}[width]).view(dtype)
    if argument.fill == "small":                         # whole numbers: sums of them are exact in every order
        return as_bits(kind, rng.integers(0 if kind in UNSIGNED else -8, 9, n))
    if argument.fill == "unit":
        return as_bits(kind, rng.uniform(-1, 1, n))
    if argument.fill == "positive":
        return as_bits(kind, np.exp(rng.uniform(-8, 8, n)) if kind in FLOATS else rng.integers(1, 100, n))
    if argument.fill == "wide":                          # plain numbers of many magnitudes
        return as_bits(kind, rng.standard_normal(n) * 10.0 ** rng.uniform(-4, 3, n))
    if argument.fill == "index":
        return as_bits(kind, rng.integers(0, n, n))
    if argument.fill == "permutation":
        return as_bits(kind, rng.permutation(n))
    return as_bits(kind, np.full(n, 0 if argument.fill == "zero" else 1))


def same(argument: Argument, device: np.ndarray, host: np.ndarray) -> np.ndarray:
    """Element by element."""
    equal = device == host
    if argument.kind not in FLOATS:
        return equal
    width, exponent = bits_of(argument.kind), EXPONENT[argument.kind]
    unsigned = TYPES[argument.kind][1]
    magnitude = unsigned((1 << (width - 1)) - 1)
    nan = ((device & magnitude) > unsigned(exponent)) & ((host & magnitude) > unsigned(exponent))
    equal |= nan
    if argument.ulp or argument.absolute:
        a, b = (ordered(x, width) for x in (device, host))
        finite = ((device & magnitude) <= unsigned(exponent)) & ((host & magnitude) <= unsigned(exponent))
        equal |= finite & (np.abs(a - b) <= argument.ulp)
        if argument.absolute:
            view = {"f32": np.float32, "f64": np.float64, "f16": np.float16}[argument.kind]
            with np.errstate(invalid="ignore"):
                equal |= finite & (np.abs(device.view(view).astype(float) - host.view(view).astype(float)) <= argument.absolute)
    return equal


def ordered(bits: np.ndarray, width: int) -> np.ndarray:
    """Bit patterns as whole numbers whose distance counts ulps."""
    sign = 1 << (width - 1)
    wide = bits.astype(np.uint64).view(np.int64) if width < 64 else bits.view(np.int64)
    magnitude = wide & np.int64(sign - 1)
    negative = wide < 0 if width == 64 else (wide & np.int64(sign)) != 0
    return np.where(negative, -magnitude, magnitude)


def translation_unit(kernels: Iterable[Kernel], host: bool) -> str:
    kernels = list(kernels)
    before = list(dict.fromkeys(k.before for k in kernels if k.before))
    lines = ["#define HOST 1" if host else "#define HOST 0", PRELUDE, *before]
    for kernel in kernels:
        lines.append(kernel.source)
        if host:
            lines.append(kernel.host_entry)
    return "\n".join(lines)


PRELUDE = """
#define GLOBAL_INDEX (int)(blockIdx.x * blockDim.x + threadIdx.x)
// Conversions C leaves undefined: out of range is the nearest value, NaN is 0.
template <class To, class From> __device__ To saturate(From x) {
  constexpr double low = To(-1) < To(0) ? -(double)(1ull << (sizeof(To) * 8 - 1)) : 0.0;
  constexpr double high = To(-1) < To(0) ? -low - 1 : (double)(((1ull << (sizeof(To) * 8 - 1)) - 1) * 2 + 1);
  const double d = (double)x;
  if (d != d) return 0;
  if (d <= low) return (To)low;
  if (d >= high) return sizeof(To) == 8 ? (To)(To(-1) < To(0) ? (1ull << 63) - 1 : ~0ull) : (To)high;
  return (To)x;
}
"""
