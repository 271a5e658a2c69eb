"""What the adapter's SPI flash holds: the wrapped firmware image, two configuration blocks, a backup of all of it.

    0x00000  configuration block 0: USB ids and texts          0x00100  wrapped image
    0x00080  configuration block 1: USB4 texts                 0x10000  what the second write command carries

Nothing here talks to an adapter. An image is accepted for flashing only if everything about it that can be checked
holds: the wrapper's length, mark, sum and CRC, and the marks by which a known firmware is told (reset vector, USB ids,
texts). Sources: see `flash` in asm2464pd.json.
"""
from __future__ import annotations

import hashlib
import re
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property

from ..errors import ImageRefused
from .facts import FACTS
from .identity import BOOTSTUB, CUSTOM_OR_LEGACY

FLASH = FACTS["flash"]
CONFIG_BYTES, IMAGE_OFFSET, REACHABLE_BYTES = FLASH["config_bytes"], FLASH["image_offset"], FLASH["reachable_bytes"]
MOST_IMAGE_BYTES = REACHABLE_BYTES - IMAGE_OFFSET
CONFIG_MAGIC: list[int] = FLASH["config_magic"]
STOCK: dict = FLASH["stock"]

_LENGTH, _TRAILER = struct.Struct("<I"), struct.Struct("<BBI")
WRAPPER_BYTES = _LENGTH.size + _TRAILER.size
_MAGIC, _SUM_FROM = FLASH["image_magic"], FLASH["config_sum_from"]
_MAGIC_AT, _SUM_AT = CONFIG_BYTES - 2, CONFIG_BYTES - 1
_LONG_JUMP = 0x02               # 8051: what the reset vector holds
_LEAST_BODY_BYTES = 64
_ASMEDIA_VENDOR = 0x174C
_APPLICATION_MAGIC = FLASH["application_magic"].encode()

# What people have in hand instead of a wrapped image, and what to do about it.
_OTHER_FILES = (
    (b":", "an Intel HEX file", "Convert it to binary and wrap it: the open firmware's `make wrapped` does both."),
    (b"\x02", "bare 8051 code without a wrapper", "Use the wrapped image: firmware_wrapped.bin of `make wrapped`."),
    (_APPLICATION_MAGIC, "the application of a bootstub-based firmware",
     "Use the tools that came with it: bootstub formats have changed several times."),
    (b"PK\x03\x04", "a ZIP archive", "Unpack it first."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
)


@dataclass(frozen=True)
class ImageIdentity:
    """Which firmware an image is. kind: custom | stock | legacy | bootstub | unknown; `why`: what is wrong, if any."""

    kind: str
    vendor_id: int | None = None
    product_id: int | None = None
    bcd_device: int | None = None
    product: str | None = None
    version: str | None = None
    why: str = ""

    @property
    def ids(self) -> str | None:
        return None if self.vendor_id is None else f"{self.vendor_id:04x}:{self.product_id:04x}"

    def __str__(self) -> str:
        names = {"custom": "the open firmware", "stock": "ASMedia's firmware", "legacy": "ASMedia's firmware, patched",
                 "bootstub": "a bootstub", "unknown": "an unknown firmware"}
        version = None if self.product and self.version and self.version in self.product else self.version
        details = ", ".join(filter(None, (self.product, version, self.ids)))
        return names[self.kind] + (f" ({details})" if details else "")


@dataclass(frozen=True)
class Image:
    """A firmware image whose wrapper holds."""

    body: bytes

    @cached_property
    def data(self) -> bytes:
        """As it stands in the flash."""
        return wrap(self.body)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def identity(self) -> ImageIdentity:
        return identify_body(self.body)

    def require_known(self) -> ImageIdentity:
        """The identity, if it is one that may be flashed.

        Raises:
            ImageRefused: a bootstub, or nothing that we know.
        """
        identity = self.identity
        if identity.kind == "bootstub":
            raise ImageRefused("The image is a bootstub, to which an application belongs that is not in it.",
                               "Use the tools that came with it: bootstub formats have changed several times.",
                               ids=identity.ids)
        if identity.kind == "unknown":
            raise ImageRefused(f"The image's sums hold, but it is no firmware that we know: {identity.why}.",
                               "Use firmware_wrapped.bin of the open firmware, or a backup of this dock.",
                               sha256=self.sha256)
        return identity


def wrap(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body + _TRAILER.pack(_MAGIC, sum(body) & 0xFF, zlib.crc32(body))


def parse_image(data: bytes, *, padded: bool = False) -> Image:
    """The image at the start of `data`.

    Args:
        padded: more may follow it, as in a flash. Otherwise only blank flash (0xFF) may.

    Raises:
        ImageRefused: the wrapper does not hold; the text says in what.
    """
    for start, what, action in _OTHER_FILES:
        if not padded and data.startswith(start) and not _wrapper_fits(data):
            raise ImageRefused(f"This is {what}, not a firmware image of the ASM2464PD.", action, bytes=len(data))
    if len(data) < WRAPPER_BYTES + _LEAST_BODY_BYTES:
        raise ImageRefused("This is too short for a firmware image.", bytes=len(data))
    length, = _LENGTH.unpack_from(data)
    if length == 0xFFFF_FFFF:
        raise ImageRefused("There is no image: the flash is blank where it should begin.")
    end = _LENGTH.size + length
    if not _LEAST_BODY_BYTES <= length <= MOST_IMAGE_BYTES - WRAPPER_BYTES or end + _TRAILER.size > len(data):
        raise ImageRefused("The image's length field does not fit its size: it is cut off, or no image.",
                           length_field=f"{length:#x}", bytes=len(data))
    body, trailer, rest = data[_LENGTH.size:end], data[end:end + _TRAILER.size], data[end + _TRAILER.size:]
    magic, total, crc = _TRAILER.unpack(trailer)
    if magic != _MAGIC:
        raise ImageRefused("The image's mark is missing.", found_mark=f"{magic:#04x}", expected_mark=f"{_MAGIC:#04x}")
    if total != sum(body) & 0xFF or crc != zlib.crc32(body):
        raise ImageRefused("The image is damaged: its sum or CRC-32 does not hold.",
                           sum=f"{sum(body) & 0xFF:#04x}", sum_in_file=f"{total:#04x}",
                           crc32=f"{zlib.crc32(body):#010x}", crc32_in_file=f"{crc:#010x}")
    if not padded and rest.strip(b"\xFF"):
        raise ImageRefused("Something else follows the image.", image_bytes=end + _TRAILER.size, bytes=len(data))
    return Image(bytes(body))


def _wrapper_fits(data: bytes) -> bool:
    length = _LENGTH.unpack_from(data)[0] if len(data) >= _LENGTH.size else 0
    end = _LENGTH.size + length
    return end < len(data) and data[end] == _MAGIC


# ---- which firmware it is

def identify_body(body: bytes) -> ImageIdentity:
    devices = _device_descriptors(body)
    if any((vendor, product) in BOOTSTUB for _usb, vendor, product, _release in devices):
        return ImageIdentity("bootstub", *next(d[1:3] for d in devices if d[1:3] in BOOTSTUB))
    if body[0] != _LONG_JUMP or int.from_bytes(body[1:3], "big") >= len(body):
        return ImageIdentity("unknown", why="its first instruction is no jump into it")
    if any(vendor == _ASMEDIA_VENDOR for _usb, vendor, _product, _release in devices):
        return _identify_stock(body, devices)
    return _identify_custom(body, devices)


def _identify_custom(body: bytes, devices: list[tuple[int, int, int, int]]) -> ImageIdentity:
    """The open firmware: its descriptors for both speeds, with its ids, and its product text are in the code."""
    texts = re.findall(rb"custom[ -~]{0,56}(?=\0)", body)
    known = [device for device in devices if device[1:3] in CUSTOM_OR_LEGACY]
    unknown = ImageIdentity("unknown", product=texts[0].decode() if texts else None)
    if not known or len(known) != len(devices):
        ids = ", ".join(f"{vendor:04x}:{product:04x}" for _usb, vendor, product, _release in devices) or "none"
        return _because(unknown, f"the USB ids in it are {ids}")
    if len({device[1:] for device in known}) != 1:
        return _because(unknown, "the device descriptors in it contradict each other")
    if not {0x0200, 0x0320} <= {usb for usb, *_ids in known}:
        return _because(unknown, "it lacks a device descriptor for one of the USB speeds")
    if not texts:
        return _because(unknown, "it lacks the product text 'custom ...'")
    product = texts[0].decode()
    return ImageIdentity("custom", *known[0][1:], product=product, version=product.removeprefix("custom").strip())


def _identify_stock(body: bytes, devices: list[tuple[int, int, int, int]]) -> ImageIdentity:
    at, count = STOCK["version_at"], STOCK["version_bytes"]
    raw = body[at:at + count]
    version = f"{raw[:3].hex()}_{raw[3:4].hex()}_{raw[4:5].hex()}_{raw[5:6].hex()}"
    ids = next(device[1:] for device in devices if device[1] == _ASMEDIA_VENDOR)
    unknown = ImageIdentity("unknown", *ids, version=version)
    if len(body) <= 0x8000 or not re.fullmatch(r"\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])_\w\w_\w\w_\w\w", version):
        return _because(unknown, "it has ASMedia's USB ids, but neither size nor version of its firmware")
    kind = "stock"
    if version == STOCK["patched_version"] and len(body) == STOCK["body_bytes"]:
        byte = body[STOCK["patched_at"]]
        if byte not in (STOCK["patched_value"], STOCK["original_value"]):
            return _because(unknown, "it is ASMedia's 240417 with a patch that we do not know")
        kind = "legacy" if byte == STOCK["patched_value"] else "stock"
    return ImageIdentity(kind, *ids, version=version)


def _because(identity: ImageIdentity, why: str) -> ImageIdentity:
    return ImageIdentity(identity.kind, identity.vendor_id, identity.product_id, identity.bcd_device, identity.product,
                         identity.version, why)


def _device_descriptors(body: bytes) -> list[tuple[int, int, int, int]]:
    """(bcdUSB, idVendor, idProduct, bcdDevice) of every device descriptor in the code."""
    found = []
    # length, type, bcdUSB 2.00 to 3.20, three zero bytes of class, packet size of EP0, ..., one configuration
    for match in re.finditer(rb"(?=\x12\x01([\x00\x10\x20][\x02\x03])\x00\x00\x00[\x40\x09](.{6})...\x01)", body, re.S):
        usb, ids = match.groups()
        found.append((int.from_bytes(usb, "little"), *struct.unpack("<HHH", ids)))
    return found


# ---- configuration blocks

@dataclass(frozen=True)
class ConfigBlock:
    """One of the two blocks in front of the image. The open firmware ignores them, ASMedia's names itself by them."""

    index: int
    data: bytes

    @property
    def blank(self) -> bool:
        return set(self.data) == {0xFF}

    @property
    def problem(self) -> str | None:
        """What is wrong with it, or None."""
        if len(self.data) != CONFIG_BYTES:
            return f"it has {len(self.data)} bytes"
        if self.blank:
            return "it is blank"
        if self.data[_MAGIC_AT] != CONFIG_MAGIC[self.index]:
            return f"its mark is {self.data[_MAGIC_AT]:#04x}, not {CONFIG_MAGIC[self.index]:#04x}"
        if self.data[_SUM_AT] != config_sum(self.data):
            return f"its sum is {self.data[_SUM_AT]:#04x}, not {config_sum(self.data):#04x}"
        return None

    def fields(self) -> dict[str, str]:
        """Texts and ids, as far as the layout is known."""
        shown = {}
        for name, (at, count) in FLASH[f"config{self.index}"].items():
            raw = self.data[at:at + count]
            if name in ("vendor_id", "product_id", "bcd_device"):
                shown[name] = f"{int.from_bytes(raw, 'little'):04x}"
            elif name == "policy":
                shown[name] = raw.hex()
            else:
                shown[name] = re.match(rb"[ -~]*", raw).group().decode().strip()
        return shown


def config_sum(block: bytes) -> int:
    return sum(block[_SUM_FROM:_SUM_AT]) & 0xFF


def fresh_config(identity: ImageIdentity) -> tuple[bytes, bytes]:
    """Both blocks for a dock that has none, with the image's own ids. Only for images that ignore them.

    What nobody has decoded stays blank, except the policy bytes, which are those of the published block.
    """
    texts = ({"product": identity.product or "", "scsi_product": identity.product or ""}, {})
    numbers = {"vendor_id": identity.vendor_id, "product_id": identity.product_id, "bcd_device": identity.bcd_device}
    blocks = []
    for index in (0, 1):
        block = bytearray(b"\xFF" * CONFIG_BYTES)
        for name, (at, count) in FLASH[f"config{index}"].items():
            if name in texts[index]:
                content = texts[index][name].encode("ascii", "replace")[:count]
            elif name in numbers:
                content = (numbers[name] or 0).to_bytes(count, "little")
            else:
                content = bytes.fromhex(FLASH["policy_default"]) if name == "policy" else b""
            block[at:at + len(content)] = content
        block[_MAGIC_AT] = CONFIG_MAGIC[index]
        block[_SUM_AT] = config_sum(block)
        blocks.append(bytes(block))
    return blocks[0], blocks[1]


def legacy_config(block: bytes) -> bytes:
    """Block 0 with the USB ids and text of the patched firmware: drivers know it by nothing else."""
    patched = bytearray(block)
    for name, value in STOCK["patched_config"].items():
        at, count = FLASH["config0"][name]
        content = value.encode("ascii") if isinstance(value, str) else value.to_bytes(count, "little")
        patched[at:at + count] = content.ljust(count, b"\xFF")
    patched[_SUM_AT] = config_sum(patched)
    return bytes(patched)


def has_legacy_ids(block: ConfigBlock) -> bool:
    fields, ids = block.fields(), STOCK["patched_config"]
    return (fields["vendor_id"], fields["product_id"]) == (f"{ids['vendor_id']:04x}", f"{ids['product_id']:04x}")


# ---- everything in the flash

@dataclass(frozen=True)
class FlashContent:
    """The first 128 KiB of the flash: what the vendor commands reach, and more than any firmware fills."""

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != REACHABLE_BYTES:
            raise ValueError(f"a flash's content has {REACHABLE_BYTES} bytes, not {len(self.data)}")

    @property
    def config(self) -> tuple[ConfigBlock, ConfigBlock]:
        return tuple(ConfigBlock(index, self.data[index * CONFIG_BYTES:(index + 1) * CONFIG_BYTES]) for index in (0, 1))

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def image(self) -> Image | ImageRefused:
        """The image in it, or what is wrong with it."""
        try:
            return parse_image(self.data[IMAGE_OFFSET:], padded=True)
        except ImageRefused as refused:
            return refused

    @property
    def has_bootstub_application(self) -> bool:
        at = FLASH["application_offset"]
        return self.data[at:at + 4] == _APPLICATION_MAGIC

    @property
    def verified(self) -> bool:
        """Would a dock start from it?"""
        return isinstance(self.image, Image) and not any(block.problem for block in self.config)


@dataclass(frozen=True)
class ImageFile:
    """What a file for flashing holds: an image, and if it is a backup, all of the flash around it."""

    image: Image
    content: FlashContent | None = None

    @property
    def payload(self) -> bytes:
        """What has to be in the flash behind the configuration blocks: to a bootstub its application belongs."""
        if self.content is not None and self.image.identity.kind == "bootstub":
            return self.content.data[IMAGE_OFFSET:].rstrip(b"\xFF")
        return self.image.data


def parse_file(data: bytes) -> ImageFile:
    """A wrapped image, or a backup (`usbgpu adapter backup`).

    Raises:
        ImageRefused
    """
    blank_config = not data[:IMAGE_OFFSET].strip(b"\xFF")
    if len(data) == REACHABLE_BYTES and (data[_MAGIC_AT] == CONFIG_MAGIC[0] or blank_config):
        content = FlashContent(bytes(data))
        if isinstance(content.image, ImageRefused):
            raise ImageRefused(f"This is a backup without a usable image: {content.image.found}",
                               "Use a backup that `usbgpu adapter backup` called verified.", **content.image.state)
        return ImageFile(content.image, content)
    return ImageFile(parse_image(data))
