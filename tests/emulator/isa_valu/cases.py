"""Instruction forms of the reference tables: operand text, and how each source is to be read."""
from __future__ import annotations

from dataclasses import dataclass, field

from tests.emulator.isa_valu.reference import WIDTH, Op
from tests.emulator.isa_valu.values import bits_of

SOURCES, DESTINATION = (2, 4, 6), 8
LITERAL = {"f16": 0x4248, "f32": 0x40490FDB, "f64": 0x40590000}
LITERAL_INTEGER = {16: 0x1234, 32: 0x12345678}
INLINE = {"f16": ("-4.0", 0xC400), "f32": ("0.5", 0x3F000000), "f64": ("2.0", 0x4000000000000000), "bf16": ("1.0", 0x3F80)}


@dataclass(frozen=True)
class Source:
    kind: str
    text: str
    where: str = "vgpr"       # vgpr, sgpr, constant, mask
    register: int = 0
    constant: int = 0
    high: bool = False
    neg: bool = False
    abs: bool = False


@dataclass(frozen=True)
class Case:
    mnemonic: str
    op: Op
    form: str
    sources: tuple[Source, ...] = field(default_factory=tuple)
    high: bool = False         # destination half
    clamp: bool = False

    @property
    def name(self) -> str:
        return f"{self.mnemonic}__{self.form}"

    @property
    def text(self) -> str:
        operands = [vgpr(self.op.result, DESTINATION, self.high), *(s.text for s in self.sources)]
        return f"{self.mnemonic} {', '.join(operands)}{' clamp' if self.clamp else ''}"


def vgpr(kind: str, n: int, high: bool = False) -> str:
    if WIDTH[kind] == 64:
        return f"v[{n}:{n + 1}]"
    return f"v{n}" + ((".h" if high else ".l") if WIDTH[kind] == 16 else "")


def register(kind: str, n: int, high: bool = False, neg: bool = False, abs: bool = False) -> Source:
    if kind == "mask":
        return Source(kind, "s21", "mask")
    text = vgpr(kind, SOURCES[n], high)
    text = f"|{text}|" if abs else text
    text = f"-{text}" if neg else text
    return Source(kind, text, "vgpr", SOURCES[n], high=high, neg=neg, abs=abs)


def scalar(kind: str) -> Source:
    return Source(kind, "s[28:29]" if WIDTH[kind] == 64 else "s28", "sgpr")


def inline(kind: str) -> Source:
    if kind in INLINE:
        return Source(kind, INLINE[kind][0], "constant", constant=INLINE[kind][1])
    return Source(kind, "-7", "constant", constant=-7 & ((1 << WIDTH[kind]) - 1))


def literal(kind: str) -> Source:
    width, is_float = bits_of(kind)
    value = LITERAL[kind] if is_float else LITERAL_INTEGER[width]
    return Source(kind, f"0x{value:x}", "constant", constant=value << 32 if kind == "f64" else value)


def forms(mnemonic: str, op: Op) -> list[Case]:
    kinds = op.sources
    plain = [register(k, n) for n, k in enumerate(kinds)]
    cases = [Case(mnemonic, op, "vgprs", tuple(plain))]
    if not kinds:
        return cases
    packed = any(k.startswith("p") for k in kinds)
    add = lambda form, sources, **options: cases.append(Case(mnemonic, op, form, tuple(sources), **options))  # noqa: E731
    if not packed:
        add("sgpr_first", [scalar(kinds[0]), *plain[1:]])
        add("inline_first", [inline(kinds[0]), *plain[1:]])
        if WIDTH[kinds[0]] != 64 or kinds[0] == "f64":
            add("literal_first", [literal(kinds[0]), *plain[1:]])
        if len(kinds) == 3 and kinds[2] != "mask":
            add("sgpr_last", [*plain[:2], scalar(kinds[2])])
            add("scalars", [scalar(kinds[0]), inline(kinds[1]), plain[2]])
        elif len(kinds) == 2 and not op.accumulates:
            add("sgpr_second", [plain[0], scalar(kinds[1])])
    else:
        add("sgpr_first", [scalar(kinds[0]), *plain[1:]])
    halves = [k for k in kinds if WIDTH[k] == 16]
    if halves:
        add("high_sources", [register(k, n, high=WIDTH[k] == 16) for n, k in enumerate(kinds)])
    if WIDTH[op.result] == 16:
        add("high_result", plain, high=True)
    if op.modifiers:
        add("neg", [register(k, n, neg=True) for n, k in enumerate(kinds)])
        add("abs", [register(k, n, abs=True) for n, k in enumerate(kinds)])
        add("neg_abs_first", [register(kinds[0], 0, neg=True, abs=True), *plain[1:]])
        if op.result in ("f16", "f32", "f64"):
            add("clamp", plain, clamp=True)
        if halves:
            add("neg_high", [register(k, n, high=WIDTH[k] == 16, neg=True) for n, k in enumerate(kinds)], high=WIDTH[op.result] == 16)
    if op.clamp:
        add("clamp", plain, clamp=True)
    return cases
