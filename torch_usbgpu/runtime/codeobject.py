"""Loads the relocatable code object that the compiler gives: what a linker would do, and no more.

One image per object: read-only data, code, data, bss, in that order. Everything in it is found
relative to the program counter, so the image can lie at any 256-byte aligned GPU address; only
pointers stored in data (`placed_at`) depend on it. Relocation numbers, the kernel descriptor and
the metadata note are those of LLVM's AMDGPUUsage ("Relocation Records", "Kernel Descriptor",
"Code Object V5 Metadata").
"""
from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Section, SymbolTableSection

from ..errors import CodeObjectError

EM_AMDGPU = 224
SHN_UNDEF, SHN_ABS, SHN_LORESERVE = 0, 0xFFF1, 0xFF00
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
NT_AMDGPU_METADATA = 32

R_AMDGPU_NONE = 0
R_AMDGPU_ABS64 = 3
R_AMDGPU_REL32 = 4
R_AMDGPU_REL64 = 5
R_AMDGPU_REL32_LO = 10
R_AMDGPU_REL32_HI = 11

DESCRIPTOR_BYTES = 64
# Kernel code starts on these boundaries (COMPUTE_PGM_LO holds address >> 8).
CODE_ALIGNMENT = 256
# The instruction prefetcher (INST_PREF_SIZE) runs past the last function; that must be mapped.
PREFETCH_TAIL_BYTES = 256


class Argument(NamedTuple):
    """One explicit parameter, where the compiler put it in the kernel argument segment."""
    offset: int
    size: int
    kind: str            # metadata's .value_kind: "by_value", "global_buffer", "dynamic_shared_pointer"..


@dataclass(frozen=True)
class KernelDescriptor:
    """What a dispatch needs of one kernel. rsrc1-3 go to the registers as they are, except that
    rsrc2's LDS_SIZE is 0 here: static plus dynamic LDS is the dispatcher's sum."""
    symbol: str
    entry_offset: int                      # of the first instruction, from the start of the image
    rsrc1: int
    rsrc2: int
    rsrc3: int
    lds_bytes: int                         # static
    scratch_bytes: int                     # per lane
    kernarg_bytes: int                     # explicit and hidden
    properties: int                        # KERNEL_CODE_PROPERTIES: which user SGPRs, wave32
    arguments: tuple[Argument, ...] = ()
    # Hidden arguments that the kernel's metadata lists: value kind -> offset in the kernel
    # argument segment. Empty for kernels that use neither blockDim nor gridDim.
    hidden: Mapping[str, int] = field(default_factory=dict)
    max_threads: int = 1024                # largest workgroup it was compiled for
    required_threads: tuple[int, int, int] | None = None
    vgprs: int = 0
    sgprs: int = 0
    vgpr_spills: int = 0

    @property
    def explicit_bytes(self) -> int:
        return max((a.offset + a.size for a in self.arguments), default=0)

    def hidden_block(self, groups: tuple[int, int, int], threads: tuple[int, int, int],
                     dynamic_lds_bytes: int = 0) -> tuple[int, bytes]:
        """(offset, bytes) of the hidden arguments for one launch; the rest of them stay zero."""
        if not self.hidden:
            return 0, b""
        values = {
            **{f"hidden_block_count_{axis}": ("<I", n) for axis, n in zip("xyz", groups, strict=True)},
            **{f"hidden_group_size_{axis}": ("<H", n) for axis, n in zip("xyz", threads, strict=True)},
            "hidden_grid_dims": ("<H", 3 if groups[2] * threads[2] > 1 else 2 if groups[1] * threads[1] > 1 else 1),
            "hidden_dynamic_lds_size": ("<I", dynamic_lds_bytes),
        }
        start = min(self.hidden.values())
        block = bytearray(self.kernarg_bytes - start)
        for kind, offset in self.hidden.items():
            if kind in values:
                code, value = values[kind]
                struct.pack_into(code, block, offset - start, value)
        return start, bytes(block)


@dataclass(frozen=True)
class CodeImage:
    image: bytes
    kernels: Mapping[str, KernelDescriptor]
    arch: str
    # (offset, target offset): 64-bit words that hold an address inside the image.
    absolute: tuple[tuple[int, int], ...] = ()

    def placed_at(self, address: int) -> bytes:
        """The image for a GPU address."""
        if address % CODE_ALIGNMENT:
            raise CodeObjectError(f"Code cannot start at {address:#x}: it is not a multiple of {CODE_ALIGNMENT}.")
        if not self.absolute:
            return self.image
        placed = bytearray(self.image)
        for offset, target in self.absolute:
            struct.pack_into("<Q", placed, offset, address + target)
        return bytes(placed)


def load(code_object: bytes, arch: str | None = None) -> CodeImage:
    """Lays out and relocates a relocatable AMDGPU object.

    Raises:
        CodeObjectError: not such an object, for another GPU than `arch`, an undefined symbol, or
            a relocation that is not PC-relative.
    """
    try:
        return _Loader(ELFFile(io.BytesIO(code_object))).load(arch)
    except (ELFError, struct.error, KeyError, ValueError, AttributeError, msgpack.UnpackException) as error:
        if isinstance(error, CodeObjectError):
            raise
        raise CodeObjectError(f"This is not a whole AMDGPU code object: {error}") from error


def _align(value: int, alignment: int) -> int:
    return (value + alignment - 1) // alignment * alignment


class _Loader:
    def __init__(self, elf: ELFFile):
        self.elf = elf
        if elf["e_machine"] not in ("EM_AMDGPU", EM_AMDGPU):
            raise CodeObjectError(f"The object is for {elf['e_machine']}, not for an AMD GPU.")
        if elf["e_type"] != "ET_REL":
            raise CodeObjectError(f"The object is of type {elf['e_type']}; only relocatable ones are loaded.",
                                  action="Compile with -c (no link step), or use torch_usbgpu.compiler.")
        self.sections: list[Section] = list(elf.iter_sections())
        self.offset_of: dict[int, int] = {}        # section index -> offset in the image
        self.image = bytearray()
        self.absolute: list[tuple[int, int]] = []

    def load(self, arch: str | None) -> CodeImage:
        metadata = self._metadata()
        target = str(metadata.get("amdhsa.target", "")).rpartition("--")[2]
        # A target id may carry features: gfx1100:xnack-
        built_for = target.split(":")[0]
        if arch is not None and built_for != arch and not _generic_covers(built_for, arch):
            raise CodeObjectError(f"The code object is for {built_for or 'an unnamed GPU'}, the device is {arch}.")
        self._lay_out()
        self._relocate()
        return CodeImage(bytes(self.image), self._kernels(metadata), built_for, tuple(self.absolute))

    def _lay_out(self) -> None:
        def rank(section: Section) -> int:
            flags = section["sh_flags"]
            if flags & SHF_EXECINSTR:
                return 1
            if not flags & SHF_WRITE:
                return 0
            return 3 if section["sh_type"] == "SHT_NOBITS" else 2

        loaded = [(rank(s), i, s) for i, s in enumerate(self.sections)
                  if s["sh_flags"] & SHF_ALLOC and s["sh_type"] in ("SHT_PROGBITS", "SHT_NOBITS") and s["sh_size"]]
        for order, index, section in sorted(loaded, key=lambda item: item[:2]):
            alignment = max(section["sh_addralign"], CODE_ALIGNMENT if order == 1 else 1)
            start = _align(len(self.image), alignment)
            self.image.extend(bytes(start - len(self.image)))
            self.offset_of[index] = start
            self.image.extend(bytes(section["sh_size"]) if section["sh_type"] == "SHT_NOBITS" else section.data())
            if order == 1:
                self.image.extend(bytes(PREFETCH_TAIL_BYTES))
        self.image.extend(bytes(_align(len(self.image), CODE_ALIGNMENT) - len(self.image)))

    def _address_of(self, symbol: Any) -> int:
        """Offset in the image that a symbol stands for."""
        index = symbol["st_shndx"]
        if index == "SHN_UNDEF":
            raise _undefined(symbol.name)
        if not isinstance(index, int) or index not in self.offset_of:
            raise CodeObjectError(f"Symbol {symbol.name!r} lies in section {index}, which is not loaded.")
        return self.offset_of[index] + symbol["st_value"]

    def _relocate(self) -> None:
        for section in self.sections:
            if not isinstance(section, RelocationSection) or section["sh_info"] not in self.offset_of:
                continue
            base = self.offset_of[section["sh_info"]]
            symbols = self.elf.get_section(section["sh_link"])
            for entry in section.iter_relocations():
                kind = entry["r_info_type"]
                if kind == R_AMDGPU_NONE:
                    continue
                symbol = symbols.get_symbol(entry["r_info_sym"])
                place = base + entry["r_offset"]
                target = self._address_of(symbol) + (entry["r_addend"] if section.is_RELA() else 0)
                if kind == R_AMDGPU_REL64:
                    struct.pack_into("<q", self.image, place, target - place)
                elif kind in (R_AMDGPU_REL32, R_AMDGPU_REL32_LO):
                    struct.pack_into("<I", self.image, place, (target - place) & 0xFFFFFFFF)
                elif kind == R_AMDGPU_REL32_HI:
                    struct.pack_into("<I", self.image, place, ((target - place) >> 32) & 0xFFFFFFFF)
                elif kind == R_AMDGPU_ABS64:
                    self.absolute.append((place, target))
                    struct.pack_into("<Q", self.image, place, target)
                else:
                    raise CodeObjectError(
                        f"Relocation type {kind} against {symbol.name!r} is not one that we load.",
                        action="Compile with -fvisibility=hidden and -mrelocation-model pic.")

    def _symbols(self) -> dict[str, Any]:
        found = {}
        for section in self.sections:
            if isinstance(section, SymbolTableSection):
                for symbol in section.iter_symbols():
                    # An undefined symbol that nothing relocates against was optimised away.
                    if symbol.name and symbol["st_shndx"] != "SHN_UNDEF":
                        found[symbol.name] = symbol
        return found

    def _metadata(self) -> dict[str, Any]:
        for section in self.sections:
            if section["sh_type"] == "SHT_NOTE":
                for kind, content in _notes(section.data()):
                    if kind == NT_AMDGPU_METADATA:
                        return msgpack.unpackb(content, strict_map_key=False)
        raise CodeObjectError("The object has no AMDGPU metadata note.")

    def _kernels(self, metadata: dict[str, Any]) -> dict[str, KernelDescriptor]:
        symbols = self._symbols()
        kernels = {}
        for entry in metadata.get("amdhsa.kernels", ()):
            name, symbol = entry[".name"], symbols[entry[".symbol"]]
            at = self._address_of(symbol)
            if at + DESCRIPTOR_BYTES > len(self.image):
                raise CodeObjectError(f"The descriptor of {name} lies outside the image.")
            lds, scratch, kernarg = struct.unpack_from("<III", self.image, at)
            (entry_offset,) = struct.unpack_from("<q", self.image, at + 16)
            rsrc3, rsrc1, rsrc2, properties = struct.unpack_from("<IIIH", self.image, at + 44)
            if (at + entry_offset) % CODE_ALIGNMENT:
                raise CodeObjectError(f"The code of {name} is not {CODE_ALIGNMENT}-byte aligned.")
            arguments = entry.get(".args", ())
            required = entry.get(".reqd_workgroup_size")
            kernels[name] = KernelDescriptor(
                symbol=name, entry_offset=at + entry_offset, rsrc1=rsrc1, rsrc2=rsrc2, rsrc3=rsrc3,
                lds_bytes=lds, scratch_bytes=scratch, kernarg_bytes=kernarg, properties=properties,
                arguments=tuple(Argument(a[".offset"], a[".size"], a[".value_kind"]) for a in arguments
                                if not a[".value_kind"].startswith("hidden_")),
                hidden={a[".value_kind"]: a[".offset"] for a in arguments if a[".value_kind"].startswith("hidden_")},
                max_threads=entry.get(".max_flat_workgroup_size", 1024),
                required_threads=tuple(required) if required else None,
                vgprs=entry.get(".vgpr_count", 0), sgprs=entry.get(".sgpr_count", 0),
                vgpr_spills=entry.get(".vgpr_spill_count", 0))
        return kernels


def _notes(data: bytes):
    """(type, descriptor) of each ELF note; names and descriptors are padded to 4 bytes."""
    at = 0
    while at + 12 <= len(data):
        name_bytes, content_bytes, kind = struct.unpack_from("<III", data, at)
        start = at + 12 + _align(name_bytes, 4)
        yield kind, data[start:start + content_bytes]
        at = start + _align(content_bytes, 4)


def _generic_covers(built_for: str, arch: str) -> bool:
    """gfx11-generic runs on gfx1100: the generic name's digits start the chip's."""
    return built_for.endswith("-generic") and arch.startswith(built_for.removesuffix("-generic"))


def _undefined(name: str) -> CodeObjectError:
    if "printf" in name or "hostcall" in name:
        return CodeObjectError("The kernel calls printf, which needs a host service that there is not.",
                               action="Write the values to a buffer and print them on the host.", symbol=name)
    return CodeObjectError(f"The kernel calls {name!r}, which nothing defines.",
                           action="Define it in the source, or use a function of hip_runtime.h.", symbol=name)
