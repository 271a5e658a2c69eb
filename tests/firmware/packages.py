"""Packages and archives as distributions make them, around given files."""
from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping

import zstandard

Tree = Mapping[str, "bytes | str"]     # path -> content, or the target of a link


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
                                                 ".zst": zst}


def tar(tree: Tree, compression: str = "", hard: bool = False) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in tree.items():
            member = tarfile.TarInfo(path)
            if isinstance(content, str):
                member.type, member.linkname = (tarfile.LNKTYPE if hard else tarfile.SYMTYPE), content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return COMPRESS[compression](out.getvalue())


def deb(tree: Tree, compression: str = ".xz") -> bytes:
    """deb(5): ar of debian-binary, control.tar, data.tar."""
    out = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n"), (f"control.tar{compression}", tar({"./control": b"Package: x\n"}, compression)),
                       (f"data.tar{compression}", tar({f"./{path}": content for path, content in tree.items()}, compression))):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) & 1)
    return out


def pkg(tree: Tree) -> bytes:
    """Arch's package: a tar with its own files first."""
    return tar({".PKGINFO": b"pkgname = linux-firmware-amdgpu\n", ".MTREE": b"", **tree}, ".zst")


def archive_zip(tree: Tree) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in tree.items():
            info = zipfile.ZipInfo(path)
            if isinstance(content, str):
                info.external_attr = 0o120777 << 16
                content = content.encode()
            archive.writestr(info, content)
    return out.getvalue()


# ---- RPM: lead, signature header, header, compressed cpio. Tags and types: rpmtag.h.

_STRING, _STRING_ARRAY, _INT32 = 6, 8, 4


def _rpm_header(entries: list[tuple[int, int, object]]) -> bytes:
    index, store = b"", b""
    for tag, kind, value in entries:
        if kind == _INT32:
            store += bytes(-len(store) % 4)
            data = struct.pack(">I", value)
        else:
            data = str(value).encode() + b"\0"
        index += struct.pack(">4I", tag, kind, len(store), 1)
        store += data
    return b"\x8e\xad\xe8\x01" + bytes(4) + struct.pack(">2I", len(entries), len(store)) + index + store


def _cpio(tree: Tree) -> bytes:
    """The new ASCII format, cpio(5)."""
    out = b""
    for number, (path, content) in enumerate([*((f"./{path}", content) for path, content in tree.items()), ("TRAILER!!!", b"")], 1):
        mode = 0o120777 if isinstance(content, str) else 0o100644
        data = content.encode() if isinstance(content, str) else content
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


def rpm(tree: Tree, compression: str = ".zst", digest: str | None = None) -> bytes:
    payload = COMPRESS[compression](_cpio(tree))
    kind = {".zst": "zstd", ".xz": "xz", ".gz": "gzip", ".bz2": "bzip2"}[compression]
    lead = struct.pack("!4sBBhh66shh16s", b"\xed\xab\xee\xdb", 3, 0, 0, 1, b"amd-gpu-firmware-1", 1, 5, bytes(16))
    signature = _rpm_header([(1000, _INT32, len(payload))])
    header = _rpm_header([(1000, _STRING, "amd-gpu-firmware"), (1001, _STRING, "20260916"), (1124, _STRING, "cpio"),
                          (1125, _STRING, kind), (1126, _STRING, "19"),
                          (5092, _STRING_ARRAY, digest or hashlib.sha256(payload).hexdigest()), (5093, _INT32, 8)])
    return lead + signature + bytes(-len(signature) % 8) + header + payload
